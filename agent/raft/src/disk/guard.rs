//! A database file that is not written to before it has passed its check.
//!
//! redb repairs and marks a file while it opens it. A file that turns out to be damaged must stay
//! as it was found, for those who want to rescue something. So what redb does while opening is
//! held back, and carried out in its order, flushes included, once the check is passed; it is
//! dropped with the guard if it is not.

use redb::StorageBackend;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[derive(Debug)]
enum Held {
    Write(u64, Vec<u8>),
    Length(u64),
    Flush,
}

#[derive(Debug)]
struct Shared {
    inner: Box<dyn StorageBackend>,
    /// Whether the guard has let go.
    through: AtomicBool,
    /// What is held back.
    held: Mutex<Vec<Held>>,
}

impl Shared {
    fn held(&self) -> MutexGuard<'_, Vec<Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is held back, while anything is to be held back.
    fn holding(&self) -> Option<MutexGuard<'_, Vec<Held>>> {
        // Asked without the lock first: readers and the writer must not wait for each other.
        if self.through.load(Ordering::Acquire) {
            return None;
        }
        let held = self.held();
        if self.through.load(Ordering::Acquire) {
            None
        } else {
            Some(held)
        }
    }
}

/// The backend that redb gets.
#[derive(Debug)]
pub(crate) struct Guarded(Arc<Shared>);

/// Holds writes back until it is released.
#[derive(Debug)]
pub(crate) struct Guard(Arc<Shared>);

/// Puts a guard before a backend.
pub(crate) fn guarded(inner: Box<dyn StorageBackend>) -> (Guarded, Guard) {
    let shared = Arc::new(Shared {
        inner,
        through: AtomicBool::new(false),
        held: Mutex::default(),
    });
    (Guarded(shared.clone()), Guard(shared))
}

impl Guard {
    /// Carries out what was held back; from now on everything goes through.
    pub(crate) fn release(self) -> io::Result<()> {
        let mut held = self.0.held();
        for step in std::mem::take(&mut *held) {
            match step {
                Held::Write(at, bytes) => self.0.inner.write(at, &bytes)?,
                Held::Length(length) => self.0.inner.set_len(length)?,
                Held::Flush => self.0.inner.sync_data()?,
            }
        }
        self.0.through.store(true, Ordering::Release);
        Ok(())
    }
}

impl StorageBackend for Guarded {
    fn len(&self) -> io::Result<u64> {
        let inner = self.0.inner.len()?;
        let Some(held) = self.0.holding() else {
            return Ok(inner);
        };
        Ok(held.iter().fold(inner, |length, step| match step {
            Held::Write(at, bytes) => length.max(at + bytes.len() as u64),
            Held::Length(length) => *length,
            Held::Flush => length,
        }))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let Some(held) = self.0.holding() else {
            return self.0.inner.read(offset, out);
        };
        if held.is_empty() {
            return self.0.inner.read(offset, out);
        }
        let there = self
            .0
            .inner
            .len()?
            .saturating_sub(offset)
            .min(out.len() as u64) as usize;
        let (known, new) = out.split_at_mut(there);
        self.0.inner.read(offset, known)?;
        new.fill(0);
        for step in held.iter() {
            match step {
                Held::Write(at, bytes) => {
                    let from = offset.max(*at);
                    let to = (offset + out.len() as u64).min(at + bytes.len() as u64);
                    if from < to {
                        let piece = &bytes[(from - at) as usize..(to - at) as usize];
                        out[(from - offset) as usize..(to - offset) as usize]
                            .copy_from_slice(piece);
                    }
                }
                Held::Length(length) => {
                    let keep = length.saturating_sub(offset).min(out.len() as u64) as usize;
                    out[keep..].fill(0);
                }
                Held::Flush => {}
            }
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        match self.0.holding() {
            Some(mut held) => held.push(Held::Length(len)),
            None => return self.0.inner.set_len(len),
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        match self.0.holding() {
            Some(mut held) => held.push(Held::Flush),
            None => return self.0.inner.sync_data(),
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        match self.0.holding() {
            Some(mut held) => held.push(Held::Write(offset, data.to_vec())),
            None => return self.0.inner.write(offset, data),
        }
        Ok(())
    }

    fn close(&self) -> io::Result<()> {
        self.0.inner.close()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use redb::backends::InMemoryBackend;

    #[derive(Debug, Clone)]
    struct Seen(Arc<InMemoryBackend>);

    impl StorageBackend for Seen {
        fn len(&self) -> io::Result<u64> {
            self.0.len()
        }
        fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
            StorageBackend::read(&*self.0, offset, out)
        }
        fn set_len(&self, len: u64) -> io::Result<()> {
            self.0.set_len(len)
        }
        fn sync_data(&self) -> io::Result<()> {
            self.0.sync_data()
        }
        fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
            StorageBackend::write(&*self.0, offset, data)
        }
    }

    fn content(backend: &dyn StorageBackend) -> Vec<u8> {
        let mut out = vec![0; backend.len().unwrap() as usize];
        backend.read(0, &mut out).unwrap();
        out
    }

    #[test]
    fn nothing_is_written_before_the_release_and_all_of_it_after() {
        let disk = Seen(Arc::new(InMemoryBackend::new()));
        disk.set_len(4).unwrap();
        disk.write(0, b"abcd").unwrap();
        let (file, guard) = guarded(Box::new(disk.clone()));
        file.write(1, b"XY").unwrap();
        file.set_len(2).unwrap();
        file.set_len(6).unwrap();
        file.write(4, b"Z").unwrap();
        file.sync_data().unwrap();
        assert_eq!(content(&disk), b"abcd");
        assert_eq!(content(&file), b"aX\0\0Z\0");
        let mut middle = [9; 3];
        file.read(3, &mut middle).unwrap();
        assert_eq!(&middle, b"\0Z\0");
        guard.release().unwrap();
        assert_eq!(content(&disk), b"aX\0\0Z\0");
        file.write(0, b"!").unwrap();
        assert_eq!(content(&disk), b"!X\0\0Z\0");
    }
}
