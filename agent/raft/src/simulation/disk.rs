//! A disk in memory that keeps only what was flushed. When its power is cut it forgets some of the
//! rest, in any order, and tears the last write that it kept.

use super::Chance;
use crate::disk::{Fs, Lock, Output};
use redb::StorageBackend;
use std::collections::BTreeMap;
use std::fs::TryLockError;
use std::io::{self, Cursor, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

/// The flushes that can be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flush {
    /// A commit of the log.
    Log,
    /// A snapshot's content.
    Snapshot,
    /// A snapshot's name.
    SnapshotName,
    /// The header's content.
    Header,
    /// The names of log and header.
    Names,
}

#[derive(Clone, Debug)]
enum Change {
    Write(usize, Vec<u8>),
    Length(usize),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Change::Write(at, data) => {
                let end = at + data.len();
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[*at..end].copy_from_slice(data);
            }
            Change::Length(length) => bytes.resize(*length, 0),
        }
    }
}

#[derive(Clone, Debug, Default)]
struct File {
    flushed: Vec<u8>,
    now: Vec<u8>,
    pending: Vec<Change>,
}

#[derive(Clone, Debug)]
enum Naming {
    Set(PathBuf, usize),
    Unset(PathBuf),
}

impl Naming {
    fn path(&self) -> &Path {
        match self {
            Naming::Set(path, _) | Naming::Unset(path) => path,
        }
    }

    fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
            Naming::Set(path, file) => names.insert(path.clone(), *file),
            Naming::Unset(path) => names.remove(path),
        };
    }
}

/// A directory has a name like a file, with this number.
const DIRECTORY: usize = usize::MAX;

#[derive(Clone, Debug)]
struct Disk {
    files: Vec<File>,
    flushed: BTreeMap<PathBuf, usize>,
    now: BTreeMap<PathBuf, usize>,
    pending: Vec<Naming>,
    /// Changes until the power goes.
    left: u64,
    ignored: Option<Flush>,
}

/// The disk.
#[derive(Clone, Debug)]
pub(crate) struct SimulatedDisk(Arc<Mutex<Disk>>);

fn power() -> io::Error {
    io::Error::other("the power is cut")
}

fn absent(path: &Path) -> io::Error {
    io::Error::new(
        io::ErrorKind::NotFound,
        format!("{}: not there", path.display()),
    )
}

impl Disk {
    /// Counts a change; the one at which the power goes may or may not happen.
    fn change(&mut self) -> io::Result<()> {
        self.left = self.left.saturating_sub(1);
        if self.left == 0 { Err(power()) } else { Ok(()) }
    }

    fn alive(&self) -> io::Result<()> {
        if self.left == 0 { Err(power()) } else { Ok(()) }
    }

    fn rename(&mut self, naming: Naming) {
        naming.apply(&mut self.now);
        self.pending.push(naming);
    }

    fn write(&mut self, file: usize, change: Change) -> io::Result<()> {
        self.alive()?;
        let at = &mut self.files[file];
        change.apply(&mut at.now);
        at.pending.push(change);
        self.change()
    }

    fn flush(&mut self, file: usize, kind: Flush) -> io::Result<()> {
        self.alive()?;
        self.change()?;
        if self.ignored != Some(kind) {
            let at = &mut self.files[file];
            at.flushed.clone_from(&at.now);
            at.pending.clear();
        }
        Ok(())
    }
}

impl SimulatedDisk {
    /// An empty disk that leaves out one kind of flush, or none.
    pub(crate) fn new(ignored: Option<Flush>) -> SimulatedDisk {
        SimulatedDisk(Arc::new(Mutex::new(Disk {
            files: Vec::new(),
            flushed: BTreeMap::new(),
            now: BTreeMap::new(),
            pending: Vec::new(),
            left: u64::MAX,
            ignored,
        })))
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap()
    }

    /// Another disk with the same content.
    pub(crate) fn copy(&self) -> SimulatedDisk {
        let disk = self.disk();
        SimulatedDisk(Arc::new(Mutex::new(Disk {
            left: u64::MAX,
            ..disk.clone()
        })))
    }

    /// Whether the power is gone.
    pub(crate) fn is_dark(&self) -> bool {
        self.disk().left == 0
    }

    /// Lets the power last for so many changes.
    pub(crate) fn power_for(&self, changes: u64) {
        self.disk().left = changes;
    }

    /// Cuts the power and gives the disk that is found afterwards.
    pub(crate) fn cut(&self, chance: &mut Chance) -> SimulatedDisk {
        let mut disk = self.disk();
        disk.left = 0;
        let keep = [0, 30, 70, 100][chance.below(4) as usize];
        let mut names = disk.flushed.clone();
        for naming in &disk.pending {
            if chance.percent(keep) {
                naming.apply(&mut names);
            }
        }
        // What lies in a directory that is not there is not there either.
        let all = names.clone();
        let rooted = |path: &Path| {
            path.parent()
                .is_none_or(|dir| dir == Path::new("/") || all.contains_key(dir))
        };
        names.retain(|path, _| rooted(path) && path.parent().is_none_or(rooted));
        let files = disk.files.iter().map(|file| {
            let mut kept: Vec<Change> = file
                .pending
                .iter()
                .filter(|_| chance.percent(keep))
                .cloned()
                .collect();
            if let Some(Change::Write(_, data)) = kept.last_mut() {
                data.truncate(chance.below(data.len() as u64 + 1) as usize);
            }
            let mut bytes = file.flushed.clone();
            kept.iter().for_each(|change| change.apply(&mut bytes));
            File {
                flushed: bytes.clone(),
                now: bytes,
                pending: Vec::new(),
            }
        });
        SimulatedDisk(Arc::new(Mutex::new(Disk {
            files: files.collect(),
            flushed: names.clone(),
            now: names,
            pending: Vec::new(),
            left: u64::MAX,
            ignored: disk.ignored,
        })))
    }
}

impl Fs for SimulatedDisk {
    fn make_dir(&self, dir: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        disk.alive()?;
        for dir in dir
            .ancestors()
            .filter(|d| *d != Path::new("/"))
            .collect::<Vec<_>>()
            .into_iter()
            .rev()
        {
            if !disk.now.contains_key(dir) {
                disk.rename(Naming::Set(dir.to_path_buf(), DIRECTORY));
                disk.change()?;
            }
        }
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let disk = self.disk();
        disk.alive()?;
        let inside = disk.now.keys().filter(|path| path.parent() == Some(dir));
        Ok(inside
            .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
            .collect())
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        let disk = self.disk();
        disk.alive().map(|()| disk.now.contains_key(path))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn Output>> {
        let mut disk = self.disk();
        disk.alive()?;
        disk.files.push(File::default());
        let file = disk.files.len() - 1;
        disk.rename(Naming::Set(path.to_path_buf(), file));
        disk.change()?;
        let kind = if path.starts_with("/raft/snapshots") {
            Flush::Snapshot
        } else {
            Flush::Header
        };
        Ok(Box::new(Handle {
            disk: self.clone(),
            file,
            kind,
        }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Read + Send>> {
        let disk = self.disk();
        disk.alive()?;
        let file = *disk.now.get(path).ok_or_else(|| absent(path))?;
        Ok(Box::new(Cursor::new(disk.files[file].now.clone())))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        disk.alive()?;
        let file = *disk.now.get(from).ok_or_else(|| absent(from))?;
        // A journal carries out a rename as a whole.
        disk.rename(Naming::Set(to.to_path_buf(), file));
        disk.rename(Naming::Unset(from.to_path_buf()));
        disk.change()
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        disk.alive()?;
        if !disk.now.contains_key(path) {
            return Err(absent(path));
        }
        disk.rename(Naming::Unset(path.to_path_buf()));
        disk.change()
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        disk.alive()?;
        disk.change()?;
        let kind = if dir == Path::new("/raft/snapshots") {
            Flush::SnapshotName
        } else {
            Flush::Names
        };
        if disk.ignored != Some(kind) {
            let Disk {
                pending, flushed, ..
            } = &mut *disk;
            pending.retain(|naming| {
                let here = naming.path().parent() == Some(dir);
                if here {
                    naming.apply(flushed);
                }
                !here
            });
        }
        Ok(())
    }

    fn lock(&self, _: &Path) -> Result<Lock, TryLockError> {
        self.disk()
            .alive()
            .map(|()| Lock::none())
            .map_err(TryLockError::Error)
    }

    fn database(&self, path: &Path) -> io::Result<Box<dyn StorageBackend>> {
        let mut disk = self.disk();
        disk.alive()?;
        let known = disk.now.get(path).copied();
        let file = match known {
            Some(file) => file,
            None => {
                disk.files.push(File::default());
                let file = disk.files.len() - 1;
                disk.rename(Naming::Set(path.to_path_buf(), file));
                disk.change()?;
                file
            }
        };
        Ok(Box::new(Handle {
            disk: self.clone(),
            file,
            kind: Flush::Log,
        }))
    }
}

#[derive(Debug)]
struct Handle {
    disk: SimulatedDisk,
    file: usize,
    kind: Flush,
}

impl Write for Handle {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut disk = self.disk.disk();
        let at = disk.files[self.file].now.len();
        disk.write(self.file, Change::Write(at, bytes.to_vec()))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Output for Handle {
    fn sync(&mut self) -> io::Result<()> {
        self.disk.disk().flush(self.file, self.kind)
    }
}

impl StorageBackend for Handle {
    fn len(&self) -> io::Result<u64> {
        let disk = self.disk.disk();
        disk.alive()
            .map(|()| disk.files[self.file].now.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let disk = self.disk.disk();
        disk.alive()?;
        let at = offset as usize;
        let bytes = disk.files[self.file].now.get(at..at + out.len());
        out.copy_from_slice(bytes.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk
            .disk()
            .write(self.file, Change::Length(len as usize))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.disk().flush(self.file, self.kind)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.disk
            .disk()
            .write(self.file, Change::Write(offset as usize, data.to_vec()))
    }
}
