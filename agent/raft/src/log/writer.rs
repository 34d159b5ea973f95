//! The one who writes the log file: everything that waits goes into one commit, and is answered
//! when that commit is on the disk.

use super::{LogFile, Shared};
use crate::types::{Done, LogEntry, LogId, Vote};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot, watch};

/// No commit carries more jobs.
const BATCH: usize = 512;

/// Something to store. Jobs are stored in the order in which they come.
pub(crate) enum Job {
    /// Entries at the end.
    Append {
        /// Without gaps.
        entries: Vec<LogEntry>,
        /// Who waits.
        done: Done,
    },
    /// A vote.
    Vote {
        /// The vote.
        vote: Vote,
        /// Who waits.
        done: oneshot::Sender<io::Result<()>>,
    },
    /// Removes the end of the log.
    Truncate {
        /// The first index that goes.
        from: u64,
        /// Who waits.
        done: oneshot::Sender<io::Result<()>>,
    },
    /// Drops the front of the log.
    Purge {
        /// The last entry that goes.
        upto: LogId,
    },
    /// Closes the file.
    Close {
        /// Who waits.
        done: oneshot::Sender<io::Result<()>>,
    },
}

impl Job {
    fn answer(self, result: io::Result<()>) {
        match self {
            Job::Append { done, .. } => done.io_completed(result),
            Job::Vote { done, .. } | Job::Truncate { done, .. } | Job::Close { done } => {
                // Who asked may have gone.
                let _ = done.send(result);
            }
            Job::Purge { .. } => {}
        }
    }
}

/// Writes the log file.
pub(crate) struct Writer {
    file: LogFile,
    shared: Arc<Shared>,
    fatal: watch::Sender<Option<Arc<str>>>,
    committed: Option<LogId>,
    sizes: Vec<(u64, usize)>,
}

impl Writer {
    /// A writer of this file.
    pub(crate) fn new(
        file: LogFile,
        shared: Arc<Shared>,
        fatal: watch::Sender<Option<Arc<str>>>,
    ) -> Writer {
        let committed = shared.tail().committed;
        Writer {
            file,
            shared,
            fatal,
            committed,
            sizes: Vec::new(),
        }
    }

    /// Stores until it is told to close, nobody is left who could ask, or storing fails.
    pub(crate) fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        let mut batch = Vec::new();
        loop {
            // What was dropped leaves the file while there is nothing else to do.
            let job = match jobs.try_recv() {
                Err(mpsc::error::TryRecvError::Empty) if !self.file.has_dropped() => {
                    jobs.blocking_recv()
                }
                other => other.ok(),
            };
            if job.is_none() && (jobs.is_closed() || !self.file.has_dropped()) {
                break;
            }
            batch.extend(job);
            while batch.len() < BATCH
                && let Ok(job) = jobs.try_recv()
            {
                batch.push(job);
            }
            let close = batch
                .iter()
                .position(|job| matches!(job, Job::Close { .. }));
            let closing = close.map(|at| batch.split_off(at));
            let failed = self.step(&mut batch);
            if let Some(why) = failed {
                return self.fail(jobs, closing.unwrap_or_default(), &why);
            }
            if let Some(closing) = closing {
                let Writer { file, shared, .. } = self;
                jobs.close();
                shared.close();
                drop(file);
                for job in closing {
                    let result = closed(&job);
                    job.answer(result);
                }
                while let Some(job) = jobs.blocking_recv() {
                    job.answer(Err(super::stopped()));
                }
                return;
            }
        }
    }

    /// Stores a batch and answers it. The reason is given if that failed; after it nothing may be
    /// stored any more, since what is on the disk is no longer known.
    pub(crate) fn step(&mut self, batch: &mut Vec<Job>) -> Option<Arc<str>> {
        self.sizes.clear();
        let result = catch_unwind(AssertUnwindSafe(|| self.store(batch))).unwrap_or_else(|_| {
            Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the structure of the file is broken",
            ))
        });
        match result {
            Ok(()) => {
                self.shared.tail().flushed(&self.sizes);
                batch.drain(..).for_each(|job| job.answer(Ok(())));
                None
            }
            Err(error) => {
                let why: Arc<str> = format!(
                    "{}: the log cannot be written: {error}",
                    self.file.path().display()
                )
                .into();
                self.fatal.send_replace(Some(why.clone()));
                batch
                    .drain(..)
                    .for_each(|job| job.answer(Err(io::Error::new(error.kind(), &*why))));
                Some(why)
            }
        }
    }

    fn store(&mut self, batch: &[Job]) -> io::Result<()> {
        let committed = self.shared.tail().committed;
        let mut txn = self.file.begin()?;
        for job in batch {
            match job {
                Job::Append { entries, .. } => txn.append(entries, &mut self.sizes)?,
                Job::Vote { vote, .. } => txn.vote(vote)?,
                Job::Truncate { from, .. } => txn.truncate(*from)?,
                Job::Purge { upto } => txn.purge(upto)?,
                Job::Close { .. } => {}
            }
        }
        if let Some(id) = committed.filter(|id| self.committed != Some(*id)) {
            txn.committed(&id)?;
        }
        txn.sweep()?;
        txn.commit()?;
        self.committed = committed;
        Ok(())
    }

    /// Refuses everything until nobody is left who could ask.
    fn fail(self, mut jobs: mpsc::Receiver<Job>, rest: Vec<Job>, why: &str) {
        let Writer { file, shared, .. } = self;
        shared.close();
        drop(file);
        let refuse = |job: Job| job.answer(Err(io::Error::other(why)));
        rest.into_iter().for_each(refuse);
        while let Some(job) = jobs.blocking_recv() {
            refuse(job);
        }
    }
}

/// A file that could be closed is what the first of them waited for; what came later is too late.
fn closed(job: &Job) -> io::Result<()> {
    match job {
        Job::Close { .. } => Ok(()),
        _ => Err(super::stopped()),
    }
}
