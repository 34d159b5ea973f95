//! Snapshots in a directory: the two newest, each written whole or not at all.

use crate::disk::{Fs, write_whole};
use crate::error::StartError;
use crate::format::{self, SnapshotHead, Unreadable};
use crate::types::{LogId, log_id, term_of};
use lictor_state::{SnapshotError, View};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many snapshots are kept.
const KEEP: usize = 2;

const SUFFIX: &str = ".snap";
const ASIDE: &str = ".tmp";

/// Up to where the log may be dropped: the older of the two kept snapshots, so that it can stand
/// in for the newest.
#[derive(Debug, Default)]
pub(crate) struct Floor(Mutex<Option<LogId>>);

impl Floor {
    /// The lower of this entry and the floor; nothing while there is no floor.
    pub(crate) fn lower(&self, id: LogId) -> Option<LogId> {
        let floor = (*self.0.lock().unwrap_or_else(PoisonError::into_inner))?;
        Some(if floor.index < id.index { floor } else { id })
    }

    pub(crate) fn set(&self, id: Option<LogId>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = id;
    }
}

/// A snapshot that was read.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// What it covers.
    pub(crate) head: SnapshotHead,
    /// The state.
    pub(crate) view: View,
}

/// A snapshot that is known to be good.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    /// What it covers.
    pub(crate) head: SnapshotHead,
    /// Where it lies.
    pub(crate) path: PathBuf,
}

impl Kept {
    fn index(&self) -> u64 {
        self.head.last.map_or(0, |id| id.index)
    }
}

/// The snapshots of a directory.
#[derive(Debug)]
pub(crate) struct SnapshotStore {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    /// Newest first.
    kept: Mutex<Vec<Kept>>,
    floor: Arc<Floor>,
    /// Held while something is written; true once it is closed.
    closed: Mutex<bool>,
}

/// What was found in the directory.
#[derive(Debug)]
pub(crate) struct Found {
    /// The store, which knows the good ones.
    pub(crate) store: SnapshotStore,
    /// The newest good one.
    pub(crate) newest: Option<Loaded>,
    /// The damaged ones that are newer, and why.
    pub(crate) damaged: Vec<(PathBuf, String)>,
}

/// Writes a snapshot: the head, then the state.
pub(crate) fn write(head: &SnapshotHead, view: &View, out: &mut dyn Write) -> io::Result<()> {
    let mut out = out;
    out.write_all(&format::write_snapshot_head(head))?;
    lictor_state::write_snapshot(view, &mut out).map_err(|e| match e {
        SnapshotError::Io(error) => error,
        error => io::Error::other(error),
    })
}

/// Reads a snapshot to its end.
///
/// # Errors
///
/// Outside: reading failed. Inside: what was read is no snapshot.
pub(crate) fn read(input: &mut dyn Read, epoch: u64) -> io::Result<Result<Loaded, Unreadable>> {
    let mut input = input;
    let head = match format::read_snapshot_head(input)? {
        Ok(head) => head,
        Err(error) => return Ok(Err(error)),
    };
    let damaged = |why: String| Ok(Err(Unreadable::Damaged(why)));
    let view = match lictor_state::read_snapshot(&mut input, epoch) {
        Ok(view) => view,
        Err(SnapshotError::Io(error)) if error.kind() != io::ErrorKind::UnexpectedEof => {
            return Err(error);
        }
        Err(SnapshotError::Io(_)) => return damaged("it ends too early".to_owned()),
        Err(SnapshotError::Format { found }) => {
            return Ok(Err(Unreadable::Newer {
                found: found.into(),
                known: lictor_state::SNAPSHOT_FORMAT.into(),
            }));
        }
        Err(error) => return damaged(error.to_string()),
    };
    if input.read(&mut [0])? != 0 {
        return damaged("something follows its end".to_owned());
    }
    if view.index() != head.last.map_or(0, |id| id.index) {
        return damaged(format!(
            "its head says {:?}, its state {}",
            head.last,
            view.index()
        ));
    }
    Ok(Ok(Loaded { head, view }))
}

/// Reads what another server sends, which must be what it announced.
pub(crate) fn receive(expected: &SnapshotHead, body: impl Read, epoch: u64) -> io::Result<View> {
    let damaged = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
    let loaded = read(&mut io::BufReader::with_capacity(1 << 16, body), epoch)?;
    let loaded = loaded.map_err(|e| damaged(e.to_string()))?;
    if loaded.head != *expected {
        return Err(damaged(
            "it is not the snapshot that was announced".to_owned(),
        ));
    }
    Ok(loaded.view)
}

fn name(id: &LogId) -> String {
    format!("{}-{}{SUFFIX}", id.index, term_of(id))
}

fn parse(name: &str) -> Option<LogId> {
    let (index, term) = name.strip_suffix(SUFFIX)?.split_once('-')?;
    Some(log_id(term.parse().ok()?, index.parse().ok()?))
}

impl SnapshotStore {
    /// Looks through the directory, making it if need be. `floor` is kept up to date from now on.
    pub(crate) fn open(
        fs: Arc<dyn Fs>,
        dir: &Path,
        epoch: u64,
        floor: Arc<Floor>,
    ) -> Result<Found, StartError> {
        let failed = |e| StartError::io(dir, e);
        fs.make_dir(dir).map_err(failed)?;
        let names = fs.list(dir).map_err(failed)?;
        let mut ids: Vec<LogId> = names.iter().filter_map(|n| parse(n)).collect();
        ids.sort_by_key(|id| std::cmp::Reverse((id.index, term_of(id))));
        let (mut newest, mut kept, mut damaged) = (None, Vec::new(), Vec::new());
        for id in ids {
            let path = dir.join(name(&id));
            let mut input = fs
                .open(&path)
                .map(io::BufReader::new)
                .map_err(|e| StartError::io(&path, e))?;
            // All but the newest good one are only looked at: they are read when they are needed.
            let head = if newest.is_none() {
                read(&mut input, epoch).map(|found| {
                    found.map(|loaded| {
                        let head = loaded.head.clone();
                        newest = Some(loaded);
                        head
                    })
                })
            } else {
                format::read_snapshot_head(&mut input)
            };
            match head.map_err(|e| StartError::io(&path, e))? {
                Ok(head) if head.last == Some(id) => kept.push(Kept { head, path }),
                Ok(head) => {
                    if newest.as_ref().is_some_and(|loaded| loaded.head == head) {
                        newest = None;
                    }
                    damaged.push((path, "its name is not that of its content".to_owned()));
                }
                Err(Unreadable::Damaged(why)) => damaged.push((path, why)),
                Err(Unreadable::Newer { found, known }) => {
                    return Err(StartError::Newer {
                        file: path,
                        found,
                        known,
                    });
                }
            }
        }
        let store = SnapshotStore {
            fs,
            dir: dir.to_path_buf(),
            kept: Mutex::new(kept),
            floor,
            closed: Mutex::new(false),
        };
        store.set_floor();
        Ok(Found {
            store,
            newest,
            damaged,
        })
    }

    fn kept(&self) -> MutexGuard<'_, Vec<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_floor(&self) {
        let kept = self.kept();
        self.floor.set(kept.get(KEEP - 1).and_then(|k| k.head.last));
    }

    /// Removes what an interrupted write has left behind.
    pub(crate) fn tidy(&self) -> io::Result<()> {
        for leftover in self
            .fs
            .list(&self.dir)?
            .iter()
            .filter(|name| name.ends_with(ASIDE))
        {
            self.fs.remove(&self.dir.join(leftover))?;
        }
        Ok(())
    }

    /// Nothing is written any more once this returned. It blocks until what is being written is.
    pub(crate) fn close(&self) {
        *self.closed.lock().unwrap_or_else(PoisonError::into_inner) = true;
    }

    fn writing(&self) -> io::Result<MutexGuard<'_, bool>> {
        let closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        if *closed {
            Err(io::Error::new(
                io::ErrorKind::BrokenPipe,
                "the server has stopped",
            ))
        } else {
            Ok(closed)
        }
    }

    /// The newest good snapshot.
    pub(crate) fn newest(&self) -> Option<Kept> {
        self.kept().first().cloned()
    }

    /// Writes a snapshot. It is durable when this returns, and older ones than the two newest are
    /// gone.
    pub(crate) fn write(&self, head: &SnapshotHead, view: &View) -> io::Result<Kept> {
        let id = head
            .last
            .ok_or_else(|| io::Error::other("a snapshot of nothing"))?;
        let name = name(&id);
        let _writing = self.writing()?;
        let path = self.dir.join(&name);
        let written = write_whole(
            &*self.fs,
            &self.dir,
            &format!("{name}{ASIDE}"),
            &name,
            |out| write(head, view, out),
        );
        let added = written.and_then(|()| {
            self.add(Kept {
                head: head.clone(),
                path: path.clone(),
            })
        });
        added.map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", path.display())))
    }

    /// Takes in a file that [`SnapshotStore::receive`] wrote.
    pub(crate) fn adopt(&self, staged: &Path, head: &SnapshotHead) -> io::Result<Kept> {
        let id = head
            .last
            .ok_or_else(|| io::Error::other("a snapshot of nothing"))?;
        let path = self.dir.join(name(&id));
        let _writing = self.writing()?;
        self.fs.rename(staged, &path)?;
        self.fs.sync_dir(&self.dir)?;
        self.add(Kept {
            head: head.clone(),
            path,
        })
    }

    /// Writes what another server sends to a file aside, durable but without its name, and reads
    /// it from there.
    pub(crate) fn receive(
        &self,
        number: u64,
        expected: &SnapshotHead,
        body: impl Read,
        epoch: u64,
    ) -> io::Result<(View, PathBuf)> {
        let path = self.dir.join(format!("received-{number}{ASIDE}"));
        let view = self
            .stage(&path, body)
            .and_then(|()| receive(expected, self.fs.open(&path)?, epoch));
        if view.is_err() {
            self.discard(&path);
        }
        view.map(|view| (view, path))
    }

    fn stage(&self, path: &Path, mut body: impl Read) -> io::Result<()> {
        let _writing = self.writing()?;
        let mut out = self.fs.create(path)?;
        io::copy(&mut body, &mut out)?;
        out.flush()?;
        out.sync()
    }

    /// Opens a file of this directory.
    pub(crate) fn reader(&self, path: &Path) -> io::Result<Box<dyn Read + Send>> {
        self.fs.open(path)
    }

    /// Removes a file aside that is not wanted.
    pub(crate) fn discard(&self, path: &Path) {
        // A leftover is removed at the next start.
        let _ = self.fs.remove(path);
    }

    fn add(&self, new: Kept) -> io::Result<Kept> {
        let old = {
            let mut kept = self.kept();
            kept.retain(|k| k.path != new.path);
            kept.push(new.clone());
            kept.sort_by_key(|k| std::cmp::Reverse(k.index()));
            if kept.len() > KEEP {
                kept.split_off(KEEP)
            } else {
                Vec::new()
            }
        };
        self.set_floor();
        for gone in old {
            self.fs.remove(&gone.path)?;
        }
        // A damaged file below the older good one serves nobody.
        if let Some(oldest) = self.kept().get(KEEP - 1).and_then(|k| k.head.last) {
            for other in self.fs.list(&self.dir)? {
                if parse(&other).is_some_and(|id| id.index < oldest.index) {
                    self.fs.remove(&self.dir.join(other))?;
                }
            }
        }
        Ok(new)
    }
}

#[cfg(test)]
mod tests;
