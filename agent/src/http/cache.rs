//! Encoded answers, kept while what they show has not changed.
//!
//! Two thousand clients that watch one service get one encoding of it. An entry is valid as long
//! as the index of its range stands where it stood: that index moves whenever the answer may have
//! changed, which is what a blocking query relies on too.

use super::answer::gzip;
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Most answers kept.
const ENTRIES_MAX: usize = 4096;
/// Most bytes of answers kept, in both forms.
const BYTES_MAX: usize = 16 << 20;
/// A larger answer is made anew each time.
const ANSWER_MAX: usize = 2 << 20;

/// The answer to a longer request is made anew each time: the client chooses its length.
const REQUEST_MAX: usize = 1024;

/// An encoded answer that several requests share, in plain and, once one has asked for that, packed.
#[derive(Debug)]
pub struct Encoded {
    plain: Bytes,
    packed: OnceLock<Option<Bytes>>,
}

impl Encoded {
    /// Of this body.
    pub fn new(plain: Bytes) -> Arc<Encoded> {
        Arc::new(Encoded {
            plain,
            packed: OnceLock::new(),
        })
    }

    /// As it is.
    pub fn plain(&self) -> &Bytes {
        &self.plain
    }

    /// With gzip; packed once for all who ask. `None` where it cannot be.
    pub fn packed(&self) -> Option<&Bytes> {
        self.packed.get_or_init(|| gzip(&self.plain)).as_ref()
    }

    /// What it may come to hold, in bytes: packed it is no longer than plain, or hardly.
    fn weight(&self) -> usize {
        2 * self.plain.len()
    }
}

/// The answers kept.
#[derive(Debug, Default)]
pub struct AnswerCache {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    answers: HashMap<Box<str>, Kept>,
    bytes: usize,
}

#[derive(Debug)]
struct Kept {
    epoch: u64,
    index: u64,
    answer: Arc<Encoded>,
}

impl AnswerCache {
    /// The answer kept for this request, if its range is still where it was.
    pub fn find(&self, request: &str, epoch: u64, index: u64) -> Option<Arc<Encoded>> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = inner.answers.get(request)?;
        (kept.epoch == epoch && kept.index == index).then(|| kept.answer.clone())
    }

    /// Keeps an answer.
    pub fn keep(&self, request: &str, epoch: u64, index: u64, answer: &Arc<Encoded>) {
        if answer.plain.len() > ANSWER_MAX || request.len() > REQUEST_MAX {
            return;
        }
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.answers.len() >= ENTRIES_MAX || inner.bytes + answer.weight() > BYTES_MAX {
            // What is asked for often is back at once; bookkeeping for every hit would cost more.
            inner.answers = HashMap::new();
            inner.bytes = 0;
        }
        let kept = Kept {
            epoch,
            index,
            answer: answer.clone(),
        };
        inner.bytes += answer.weight();
        match inner.answers.get_mut(request) {
            Some(old) => {
                let freed = old.answer.weight();
                *old = kept;
                inner.bytes -= freed;
            }
            None => {
                inner.answers.insert(request.into(), kept);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_valid_at_its_index_alone() {
        let cache = AnswerCache::default();
        let body = Encoded::new(Bytes::from_static(b"[]"));
        cache.keep("/a", 0, 7, &body);
        let found = cache.find("/a", 0, 7).expect("it is kept");
        assert!(Arc::ptr_eq(&found, &body));
        assert!(cache.find("/a", 0, 8).is_none());
        assert!(cache.find("/a", 1, 7).is_none(), "a restore voids it");
        assert!(cache.find("/b", 0, 7).is_none());
        cache.keep("/a", 0, 8, &body);
        assert_eq!(cache.inner.lock().unwrap().bytes, body.weight());
    }

    #[test]
    fn it_is_packed_once_for_all() {
        let body = Encoded::new(Bytes::from(vec![b'a'; 4096]));
        let first = body.packed().expect("it can be packed").as_ptr();
        assert_eq!(body.packed().map(|b| b.as_ptr()), Some(first));
        assert!(body.packed().is_some_and(|b| b.len() < 100));
    }

    #[test]
    fn it_is_bounded() {
        let cache = AnswerCache::default();
        let body = Encoded::new(Bytes::from(vec![0; 64 << 10]));
        for n in 0..1000 {
            cache.keep(&n.to_string(), 0, 1, &body);
            assert!(cache.inner.lock().unwrap().bytes <= BYTES_MAX);
        }
    }
}
