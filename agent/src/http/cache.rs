//! Encoded answers, kept while what they show has not changed.
//!
//! Two thousand clients that watch one service get one encoding of it. An entry is valid as long
//! as the index of its range stands where it stood: that index moves whenever the answer may have
//! changed, which is what a blocking query relies on too.

use bytes::Bytes;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// Most answers kept.
const ENTRIES_MAX: usize = 4096;
/// Most bytes of answers kept.
const BYTES_MAX: usize = 8 << 20;
/// A larger answer is made anew each time.
const ANSWER_MAX: usize = 2 << 20;

/// The answer to a longer request is made anew each time: the client chooses its length.
const REQUEST_MAX: usize = 1024;

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
    body: Bytes,
}

impl AnswerCache {
    /// The answer kept for this request, if its range is still where it was.
    pub fn find(&self, request: &str, epoch: u64, index: u64) -> Option<Bytes> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = inner.answers.get(request)?;
        (kept.epoch == epoch && kept.index == index).then(|| kept.body.clone())
    }

    /// Keeps an answer.
    pub fn keep(&self, request: &str, epoch: u64, index: u64, body: &Bytes) {
        if body.len() > ANSWER_MAX || request.len() > REQUEST_MAX {
            return;
        }
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.answers.len() >= ENTRIES_MAX || inner.bytes + body.len() > BYTES_MAX {
            // What is asked for often is back at once; bookkeeping for every hit would cost more.
            inner.answers = HashMap::new();
            inner.bytes = 0;
        }
        let kept = Kept {
            epoch,
            index,
            body: body.clone(),
        };
        inner.bytes += body.len();
        match inner.answers.get_mut(request) {
            Some(old) => {
                let freed = old.body.len();
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
        let body = Bytes::from_static(b"[]");
        cache.keep("/a", 0, 7, &body);
        assert_eq!(cache.find("/a", 0, 7), Some(body.clone()));
        assert_eq!(cache.find("/a", 0, 8), None);
        assert_eq!(cache.find("/a", 1, 7), None, "a restore voids it");
        assert_eq!(cache.find("/b", 0, 7), None);
        cache.keep("/a", 0, 8, &body);
        assert_eq!(cache.inner.lock().unwrap().bytes, 2);
    }

    #[test]
    fn it_is_bounded() {
        let cache = AnswerCache::default();
        let body = Bytes::from(vec![0; 64 << 10]);
        for n in 0..1000 {
            cache.keep(&n.to_string(), 0, 1, &body);
            assert!(cache.inner.lock().unwrap().bytes <= BYTES_MAX);
        }
    }
}
