//! The little of a file system that the storage needs, as a seam: the tests put a disk behind it
//! that forgets what was not flushed.

mod guard;

pub(crate) use guard::{Guard, Guarded, guarded};

use redb::StorageBackend;
use std::fmt::Debug;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::Path;

/// What the storage asks of the system. Names are durable after [`Fs::sync_dir`] of their
/// directory, contents after [`Output::sync`] or the backend's `sync_data`.
pub(crate) trait Fs: Debug + Send + Sync + 'static {
    /// Makes a directory and its parents.
    fn make_dir(&self, dir: &Path) -> io::Result<()>;
    /// The names in a directory.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Whether there is such a file.
    fn exists(&self, path: &Path) -> io::Result<bool>;
    /// A new file, or an emptied one.
    fn create(&self, path: &Path) -> io::Result<Box<dyn Output>>;
    /// Opens a file for reading.
    fn open(&self, path: &Path) -> io::Result<Box<dyn Read + Send>>;
    /// Gives a file another name, replacing what had it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Keeps others out of what this file stands for, until the lock is dropped or the process ends.
    fn lock(&self, path: &Path) -> Result<Lock, TryLockError>;
    /// The file of a database, made if it is not there.
    fn database(&self, path: &Path) -> io::Result<Box<dyn StorageBackend>>;
}

/// Others are kept out while this is held.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: Option<File>,
}

#[cfg(test)]
impl Lock {
    /// For a disk that nobody shares.
    pub(crate) fn none() -> Lock {
        Lock { _file: None }
    }
}

/// A file being written.
pub(crate) trait Output: Write + Send {
    /// Makes what was written durable.
    fn sync(&mut self) -> io::Result<()>;
}

impl Output for File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }
}

/// The file system. What it makes, only the own user may read: the state holds secrets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RealFs;

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

impl Fs for RealFs {
    fn make_dir(&self, dir: &Path) -> io::Result<()> {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        std::fs::read_dir(dir)?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect()
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        path.try_exists()
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn Output>> {
        let file = private()
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)?;
        Ok(Box::new(file))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(File::open(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn lock(&self, path: &Path) -> Result<Lock, TryLockError> {
        let file = private()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path);
        let file = file.map_err(TryLockError::Error)?;
        file.try_lock()?;
        Ok(Lock { _file: Some(file) })
    }

    fn database(&self, path: &Path) -> io::Result<Box<dyn StorageBackend>> {
        let file = private()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        redb::backends::FileBackend::new(file)
            .map(|b| Box::new(b) as Box<dyn StorageBackend>)
            .map_err(io::Error::other)
    }
}

/// Writes a file so that it is there whole or not at all: aside, flushed, renamed, its directory
/// flushed. `aside` is in the same directory; a leftover of it is overwritten.
pub(crate) fn write_whole(
    fs: &dyn Fs,
    dir: &Path,
    aside: &str,
    name: &str,
    content: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let (aside, path) = (dir.join(aside), dir.join(name));
    let mut out = io::BufWriter::with_capacity(1 << 16, Sink(fs.create(&aside)?));
    content(&mut out)?;
    out.flush()?;
    out.get_mut().0.sync()?;
    drop(out);
    fs.rename(&aside, &path)?;
    fs.sync_dir(dir)
}

struct Sink(Box<dyn Output>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
