//! The log as openraft sees it, in memory or in a file.
//!
//! Appends are handed to the log's thread and can be read at once; they are reported as stored
//! when the commit that holds them was flushed. In memory they are stored at once.

mod file;
mod tail;
mod writer;

pub(crate) use file::{Content, LogFile};
pub(crate) use writer::{Job, Writer};

use crate::snapshot::Floor;
use crate::types::{Done, LogEntry, LogId, TypeConfig, Vote};
use file::LogFileReader;
use futures_util::{Stream, stream};
use openraft::storage::{LogState, RaftLogStorage};
use openraft::{OptionalSend, RaftLogReader};
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use tail::Tail;
use tokio::sync::{mpsc, oneshot, watch};

/// How many handed-over jobs may wait for the log's thread. Beyond it, openraft waits.
const JOBS: usize = 1024;

/// How many bytes of records a follower is sent, and the state machine is given, at a time.
const CHUNK_BYTES: usize = 1 << 20;

/// What the store, its readers and its thread share.
#[derive(Debug)]
pub(crate) struct Shared {
    tail: Mutex<Tail>,
    vote: Mutex<Option<Vote>>,
    /// The file; none in memory, and none once it is closed.
    file: RwLock<Option<LogFileReader>>,
}

impl Shared {
    fn tail(&self) -> MutexGuard<'_, Tail> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last entry of the log, of those dropped if there are no others.
    pub(crate) fn last(&self) -> Option<LogId> {
        self.tail().last
    }

    fn vote(&self) -> MutexGuard<'_, Option<Vote>> {
        self.vote.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) {
        *self.file.write().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// Where a log in a file is sent what it has to store.
#[derive(Debug)]
struct Durable {
    jobs: mpsc::Sender<Job>,
    /// What must stay in the log.
    floor: Arc<Floor>,
}

/// The log.
#[derive(Debug)]
pub(crate) struct LogStore {
    shared: Arc<Shared>,
    durable: Option<Durable>,
}

/// Reads the log.
#[derive(Clone, Debug)]
pub(crate) struct LogReader {
    shared: Arc<Shared>,
}

/// Closes the log of a directory.
#[derive(Debug)]
pub(crate) struct LogCloser {
    jobs: mpsc::Sender<Job>,
}

impl LogCloser {
    /// Stores what is under way and closes the file.
    pub(crate) async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.jobs.send(Job::Close { done }).await.is_ok() {
            // An answer that does not come means that the thread has ended before.
            let _ = closed.await;
        }
    }
}

impl LogStore {
    /// A log in memory.
    pub(crate) fn memory() -> LogStore {
        let shared = Shared {
            tail: Mutex::default(),
            vote: Mutex::default(),
            file: RwLock::new(None),
        };
        LogStore {
            shared: Arc::new(shared),
            durable: None,
        }
    }

    /// A log in a file with a thread of its own. `fatal` is told when it can no longer store.
    pub(crate) fn file(
        file: LogFile,
        content: &Content,
        floor: Arc<Floor>,
        fatal: watch::Sender<Option<Arc<str>>>,
    ) -> io::Result<(LogStore, LogCloser)> {
        let (log, writer, received) = LogStore::parts(file, content, floor, fatal);
        std::thread::Builder::new()
            .name("raft-log".to_owned())
            .spawn(move || writer.run(received))?;
        let closer = log.durable.as_ref().map(|durable| LogCloser {
            jobs: durable.jobs.clone(),
        });
        Ok((log, closer.ok_or_else(stopped)?))
    }

    /// A log in a file, and what its thread runs.
    pub(crate) fn parts(
        file: LogFile,
        content: &Content,
        floor: Arc<Floor>,
        fatal: watch::Sender<Option<Arc<str>>>,
    ) -> (LogStore, Writer, mpsc::Receiver<Job>) {
        let (jobs, received) = mpsc::channel(JOBS);
        let shared = Arc::new(Shared {
            tail: Mutex::new(Tail::of(content)),
            vote: Mutex::new(content.vote),
            file: RwLock::new(Some(file.reader())),
        });
        let writer = Writer::new(file, shared.clone(), fatal);
        (
            LogStore {
                shared,
                durable: Some(Durable { jobs, floor }),
            },
            writer,
            received,
        )
    }

    /// What the status tells of the log.
    pub(crate) fn handle(&self) -> Arc<Shared> {
        self.shared.clone()
    }

    /// Hands a job over and waits until it is done.
    async fn stored(
        durable: &Durable,
        job: impl FnOnce(oneshot::Sender<io::Result<()>>) -> Job,
    ) -> io::Result<()> {
        let (done, stored) = oneshot::channel();
        durable.jobs.send(job(done)).await.map_err(|_| stopped())?;
        stored.await.unwrap_or_else(|_| Err(stopped()))
    }
}

fn stopped() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the log is closed")
}

fn bounds(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let start = match range.start_bound() {
        Bound::Included(x) => *x,
        Bound::Excluded(x) => x.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(x) => x.saturating_add(1),
        Bound::Excluded(x) => *x,
        Bound::Unbounded => u64::MAX,
    };
    (start, end)
}

impl LogReader {
    /// A reader of what a store shares.
    pub(crate) fn new(shared: Arc<Shared>) -> LogReader {
        LogReader { shared }
    }

    /// The entries from `start` to before `end` that the log holds, in order and without gaps; the
    /// first of them only, if all are larger than `limit` bytes.
    pub(crate) async fn read(
        &self,
        start: u64,
        end: u64,
        limit: usize,
    ) -> io::Result<Vec<LogEntry>> {
        let (start, middle, rest) = {
            let tail = self.shared.tail();
            let start = start.max(tail.begin());
            let end = end.min(tail.last.map_or(0, |id| id.index + 1));
            let middle = tail.first();
            if start >= middle {
                return Ok(tail.read(start, end, limit));
            }
            // Both parts are taken at once: what leaves the memory afterwards is in the file.
            let rest = if limit == usize::MAX {
                tail.read(middle, end, limit)
            } else {
                Vec::new()
            };
            (start, middle.min(end), rest)
        };
        if start >= middle {
            return Ok(Vec::new());
        }
        let file = self
            .shared
            .file
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let file = file.ok_or_else(stopped)?;
        let mut found = tokio::task::spawn_blocking(move || file.read(start, middle, limit))
            .await
            .unwrap_or_else(|_| Err(stopped()))?;
        // The front may have been dropped meanwhile.
        let first = start.max(self.shared.tail().begin());
        found.retain(|entry| entry.log_id.index >= first);
        let whole = found
            .iter()
            .zip(first..)
            .all(|(entry, index)| entry.log_id.index == index);
        let enough = limit != usize::MAX || found.len() as u64 >= middle.saturating_sub(first);
        if !whole || !enough || (found.is_empty() && first < middle) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("the log has a gap after {first}"),
            ));
        }
        found.extend(rest);
        Ok(found)
    }
}

impl RaftLogReader<TypeConfig> for LogReader {
    async fn try_get_log_entries<RB>(&mut self, range: RB) -> Result<Vec<LogEntry>, io::Error>
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (start, end) = bounds(&range);
        self.read(start, end, usize::MAX).await
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(*self.shared.vote())
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<LogEntry>, io::Error> {
        self.read(start, end, CHUNK_BYTES).await
    }

    /// In chunks: after a start, all that was committed since the snapshot may come this way.
    async fn entries_stream<RB>(
        &mut self,
        range: RB,
    ) -> impl Stream<Item = Result<LogEntry, io::Error>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        struct Cursor {
            reader: LogReader,
            chunk: std::vec::IntoIter<LogEntry>,
            next: u64,
            end: u64,
        }
        let (next, end) = bounds(&range);
        let cursor = Cursor {
            reader: self.clone(),
            chunk: Vec::new().into_iter(),
            next,
            end,
        };
        stream::unfold(cursor, |mut cursor| async move {
            if cursor.chunk.len() == 0 && cursor.next < cursor.end {
                match cursor
                    .reader
                    .read(cursor.next, cursor.end, CHUNK_BYTES)
                    .await
                {
                    Ok(chunk) => cursor.chunk = chunk.into_iter(),
                    Err(error) => {
                        cursor.next = cursor.end;
                        return Some((Err(error), cursor));
                    }
                }
            }
            let entry = cursor.chunk.next()?;
            cursor.next = entry.log_id.index + 1;
            Some((Ok(entry), cursor))
        })
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = LogReader;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let tail = self.shared.tail();
        Ok(LogState {
            last_purged_log_id: tail.purged,
            last_log_id: tail.last,
        })
    }

    async fn get_log_reader(&mut self) -> LogReader {
        LogReader::new(self.shared.clone())
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        if let Some(durable) = &self.durable {
            LogStore::stored(durable, |done| Job::Vote { vote: *vote, done }).await?;
        }
        *self.shared.vote() = Some(*vote);
        Ok(())
    }

    /// Only remembered: it goes to the disk with the next commit. After a start a lagging value
    /// means that more is applied again, once the cluster says that it is committed.
    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        self.shared.tail().committed = committed;
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        let tail = self.shared.tail();
        // A purge may have gone beyond it, after a snapshot was received.
        Ok(tail
            .committed
            .filter(|committed| tail.last.is_some_and(|last| last >= *committed)))
    }

    async fn append<I>(&mut self, entries: I, callback: Done) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = LogEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let Some(durable) = &self.durable else {
            {
                let mut tail = self.shared.tail();
                entries.into_iter().for_each(|entry| tail.push(entry));
            }
            callback.io_completed(Ok(()));
            return Ok(());
        };
        // A place in the queue first: entries that can be read must also be on their way.
        let place = durable.jobs.reserve().await.map_err(|_| stopped())?;
        let entries: Vec<LogEntry> = entries.into_iter().collect();
        {
            let mut tail = self.shared.tail();
            entries.iter().for_each(|entry| tail.push(entry.clone()));
        }
        place.send(Job::Append {
            entries,
            done: callback,
        });
        Ok(())
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> Result<(), io::Error> {
        self.shared.tail().truncate_after(last_log_id);
        if let Some(durable) = &self.durable {
            let from = last_log_id.map_or(0, |id| id.index + 1);
            LogStore::stored(durable, |done| Job::Truncate { from, done }).await?;
        }
        Ok(())
    }

    /// Goes no further than to the older of the two kept snapshots, unless the log ends before.
    async fn purge(&mut self, log_id: LogId) -> Result<(), io::Error> {
        let Some(durable) = &self.durable else {
            self.shared.tail().purge(log_id);
            return Ok(());
        };
        let upto = {
            let mut tail = self.shared.tail();
            let beyond = tail.last.is_none_or(|last| last.index < log_id.index);
            let upto = if beyond {
                Some(log_id)
            } else {
                durable.floor.lower(log_id)
            };
            let Some(upto) = upto.filter(|upto| tail.purged < Some(*upto)) else {
                return Ok(());
            };
            tail.purge(upto);
            upto
        };
        durable
            .jobs
            .send(Job::Purge { upto })
            .await
            .map_err(|_| stopped())
    }
}

#[cfg(test)]
mod tests;
