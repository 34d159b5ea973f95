//! What requests may take together, so that many of them cannot take all.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Bytes of requests that a server holds at once, over all sessions: those that have begun to
/// come, and those that are being answered.
#[derive(Clone, Debug)]
pub struct Memory(Arc<Budget>);

#[derive(Debug)]
struct Budget {
    taken: AtomicUsize,
    total: usize,
}

impl Memory {
    /// At most this many bytes.
    pub fn new(total: usize) -> Self {
        Self(Arc::new(Budget {
            taken: AtomicUsize::new(0),
            total,
        }))
    }

    /// Bytes that are taken now.
    pub fn taken(&self) -> usize {
        self.0.taken.load(Relaxed)
    }

    /// A share without anything in it.
    pub(crate) fn share(&self) -> Share {
        Share {
            memory: self.clone(),
            bytes: 0,
        }
    }
}

impl Default for Memory {
    /// 256 MiB.
    fn default() -> Self {
        Self::new(256 << 20)
    }
}

/// What one request has taken; given back when dropped.
#[derive(Debug)]
pub(crate) struct Share {
    memory: Memory,
    bytes: usize,
}

impl Share {
    /// Changes the share to this many bytes; `false` when there are not as many left.
    pub(crate) fn set(&mut self, bytes: usize) -> bool {
        if bytes == self.bytes {
            return true;
        }
        let budget = &self.memory.0;
        if bytes <= self.bytes {
            budget.taken.fetch_sub(self.bytes - bytes, Relaxed);
            self.bytes = bytes;
            return true;
        }
        let more = bytes - self.bytes;
        if budget.taken.fetch_add(more, Relaxed).saturating_add(more) > budget.total {
            budget.taken.fetch_sub(more, Relaxed);
            return false;
        }
        self.bytes = bytes;
        true
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.memory.0.taken.fetch_sub(self.bytes, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_given_back() {
        let memory = Memory::new(100);
        let (mut a, mut b) = (memory.share(), memory.share());
        assert!(a.set(60));
        assert!(!b.set(41), "only 40 are left");
        assert!(b.set(40));
        assert!(a.set(10), "less is always possible");
        assert_eq!(memory.taken(), 50);
        drop(a);
        assert!(b.set(100));
        drop(b);
        assert_eq!(memory.taken(), 0);
    }
}
