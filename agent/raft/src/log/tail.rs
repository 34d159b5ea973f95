//! The part of the log that is in memory: everything that is not yet on the disk, and the latest
//! that is, for the state machine and for followers that are nearly up to date.

use super::Content;
use crate::types::{LogEntry, LogId};
use std::collections::VecDeque;

/// No more bytes of flushed records stay in memory.
const KEEP_BYTES: usize = 4 << 20;
/// No more applied entries stay in memory.
const KEEP_APPLIED: usize = 256;

/// The end of the log.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    /// Without gaps. The size is zero until the record is on the disk.
    entries: VecDeque<(LogEntry, usize)>,
    bytes: usize,
    /// The last entry of the whole log.
    pub(crate) last: Option<LogId>,
    /// The last entry dropped from its front.
    pub(crate) purged: Option<LogId>,
    /// The last entry known as committed.
    pub(crate) committed: Option<LogId>,
    /// Where the log began.
    begin: u64,
}

impl Tail {
    /// The end of a log that lies in a file: nothing of it is in memory.
    pub(crate) fn of(content: &Content) -> Tail {
        let Content {
            committed,
            purged,
            last,
            begin,
            ..
        } = *content;
        Tail {
            last,
            purged,
            committed,
            begin,
            ..Tail::default()
        }
    }

    /// The first index that the log holds, if it holds any.
    pub(crate) fn begin(&self) -> u64 {
        self.purged.map_or(self.begin, |id| id.index + 1)
    }

    /// The index of the first entry in memory; of the next one if there is none.
    pub(crate) fn first(&self) -> u64 {
        match self.entries.front() {
            Some((entry, _)) => entry.log_id.index,
            None => self.last.map_or(0, |id| id.index + 1),
        }
    }

    fn position(&self, index: u64) -> Option<usize> {
        let at = usize::try_from(index.checked_sub(self.first())?).ok()?;
        (at < self.entries.len()).then_some(at)
    }

    /// Adds an entry.
    pub(crate) fn push(&mut self, entry: LogEntry) {
        if self.last.is_none() {
            self.begin = entry.log_id.index;
        }
        self.last = Some(entry.log_id);
        self.entries.push_back((entry, 0));
    }

    /// The entries from `start`, which is in memory, to before `end`; no more than `limit` bytes,
    /// as far as sizes are known.
    pub(crate) fn read(&self, start: u64, end: u64, limit: usize) -> Vec<LogEntry> {
        let Some(at) = self.position(start) else {
            return Vec::new();
        };
        let count = usize::try_from(end.saturating_sub(start))
            .unwrap_or(usize::MAX)
            .min(self.entries.len() - at);
        let mut size = 0;
        let fits = |(entry, bytes): &&(LogEntry, usize)| {
            size += bytes;
            size <= limit || entry.log_id.index == start
        };
        self.entries
            .range(at..at + count)
            .take_while(fits)
            .map(|(entry, _)| entry.clone())
            .collect()
    }

    /// Removes all entries after this one.
    pub(crate) fn truncate_after(&mut self, after: Option<LogId>) {
        if self.last.map(|id| id.index) <= after.map(|id| id.index) {
            return;
        }
        let from = after.map_or(0, |id| id.index + 1);
        while self
            .entries
            .back()
            .is_some_and(|(entry, _)| entry.log_id.index >= from)
        {
            self.bytes -= self.entries.pop_back().map_or(0, |(_, size)| size);
        }
        self.last = after.max(self.purged);
    }

    /// Drops all entries up to this one, even if it is beyond the last.
    pub(crate) fn purge(&mut self, upto: LogId) {
        while self
            .entries
            .front()
            .is_some_and(|(entry, _)| entry.log_id.index <= upto.index)
        {
            self.pop();
        }
        self.purged = self.purged.max(Some(upto));
        if self.last.is_none_or(|last| last.index < upto.index) {
            self.last = Some(upto);
        }
    }

    /// Notes that these records are on the disk, and forgets what need not be in memory.
    pub(crate) fn flushed(&mut self, sizes: &[(u64, usize)]) {
        for (index, size) in sizes {
            if let Some(at) = self.position(*index) {
                self.bytes += size;
                self.entries[at].1 = *size;
            }
        }
        let applied = self.committed.map_or(0, |id| id.index);
        while let Some((entry, size)) = self.entries.front() {
            let spare = entry.log_id.index <= applied && self.entries.len() > KEEP_APPLIED;
            if *size == 0 || !(spare || self.bytes > KEEP_BYTES) {
                break;
            }
            self.pop();
        }
    }

    fn pop(&mut self) {
        self.bytes -= self.entries.pop_front().map_or(0, |(_, size)| size);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::log_id;
    use openraft::entry::RaftEntry;

    fn blank(index: u64) -> LogEntry {
        LogEntry::new(log_id(1, index), openraft::EntryPayload::Blank)
    }

    fn tail(indexes: std::ops::RangeInclusive<u64>) -> Tail {
        let mut tail = Tail::default();
        indexes.for_each(|i| tail.push(blank(i)));
        tail
    }

    #[test]
    fn what_is_not_flushed_stays_in_memory() {
        let mut tail = tail(1..=1000);
        tail.committed = Some(log_id(1, 1000));
        tail.flushed(&[]);
        assert_eq!(tail.first(), 1);
        let sizes: Vec<_> = (1..=900).map(|i| (i, 10)).collect();
        tail.flushed(&sizes);
        assert_eq!(tail.first(), 1000 - KEEP_APPLIED as u64 + 1);
        tail.flushed(&[(901, KEEP_BYTES + 1)]);
        assert_eq!(tail.first(), 902);
        assert_eq!(tail.bytes, 0);
        assert_eq!(tail.read(950, 953, usize::MAX).len(), 3);
        assert!(tail.read(901, 905, usize::MAX).is_empty());
    }

    #[test]
    fn what_is_not_applied_stays_unless_it_is_large() {
        let mut tail = tail(1..=1000);
        tail.flushed(&(1..=1000).map(|i| (i, 10)).collect::<Vec<_>>());
        assert_eq!(tail.first(), 1);
        assert_eq!(tail.read(1, 1001, 45).len(), 4);
        assert_eq!(tail.read(1, 1001, 1).len(), 1);
    }

    #[test]
    fn both_ends_can_be_cut() {
        let mut tail = tail(1..=10);
        tail.truncate_after(Some(log_id(1, 8)));
        assert_eq!(tail.last, Some(log_id(1, 8)));
        tail.purge(log_id(1, 3));
        assert_eq!(
            (
                tail.first(),
                tail.read(3, 9, 9).len(),
                tail.read(4, 99, 9).len()
            ),
            (4, 0, 5)
        );
        tail.purge(log_id(2, 20));
        assert_eq!((tail.first(), tail.last), (21, Some(log_id(2, 20))));
        tail.truncate_after(None);
        assert_eq!(tail.last, Some(log_id(2, 20)));
    }
}
