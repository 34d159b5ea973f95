//! What is due when.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::time::Time;

/// Timers in order of time, then of key: one seed, one order.
#[derive(Debug)]
pub struct Timers<K> {
    due: BTreeSet<(Time, K)>,
}

impl<K: Ord> Timers<K> {
    /// No timers.
    pub fn new() -> Self {
        Self {
            due: BTreeSet::new(),
        }
    }

    /// Sets a timer. One key may be set for several times.
    pub fn set(&mut self, at: Time, key: K) {
        self.due.insert((at, key));
    }

    /// Removes a timer that was set for this time.
    pub fn cancel(&mut self, at: Time, key: K) {
        self.due.remove(&(at, key));
    }

    /// Removes every timer whose key is not wanted any more.
    pub fn retain(&mut self, mut wanted: impl FnMut(&K) -> bool) {
        self.due.retain(|(_, key)| wanted(key));
    }

    /// The next time at which something is due.
    pub fn next(&self) -> Option<Time> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Takes the next timer that is due, with how late it is.
    pub fn pop(&mut self, now: Time) -> Option<(K, Duration)> {
        if self.due.first()?.0 > now {
            return None;
        }
        let (at, key) = self.due.pop_first()?;
        Some((key, now.since(at)))
    }
}
