//! The snapshot: a file of text lines from which a restarted member finds its pool again.
//!
//! The core gives lines out and takes a text in; the driver keeps the file.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::{Serf, member::Member};
use crate::random::Rng;
use crate::time::Time;

/// How long lines are collected.
pub(super) const FLUSH: Duration = Duration::from_millis(500);
/// A file smaller than this is never rewritten.
const COMPACT_MIN: usize = 128 << 10;
/// What a member may cost in the file before it is rewritten.
const COMPACT_MEMBER: usize = 256;
/// Lines that wait for the driver.
const MAX_PENDING: usize = 4 << 20;

/// What a snapshot file tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Members that were alive.
    pub alive: BTreeMap<String, SocketAddr>,
    /// The last time seen in the member clock.
    pub clock: u64,
    /// The last time seen in the event clock.
    pub event_clock: u64,
    /// The last time seen in the query clock.
    pub query_clock: u64,
    /// Bytes of the file.
    pub size: usize,
}

impl Snapshot {
    /// Reads a file. Lines that cannot be read are passed over, as the last one may be torn. After a
    /// graceful leave nothing is remembered, unless `rejoin_after_leave`.
    #[must_use]
    pub fn replay(text: &str, rejoin_after_leave: bool) -> Self {
        let mut it = Self::default();
        for line in text.lines() {
            let number = |text: &str| text.parse::<u64>().unwrap_or(0);
            if let Some(rest) = line.strip_prefix("alive: ") {
                // Names may hold spaces, addresses not.
                if let Some((name, addr)) = rest.rsplit_once(' ')
                    && let Ok(addr) = addr.parse()
                {
                    it.alive.insert(name.to_owned(), addr);
                }
            } else if let Some(name) = line.strip_prefix("not-alive: ") {
                it.alive.remove(name);
            } else if let Some(time) = line.strip_prefix("clock: ") {
                it.clock = number(time);
            } else if let Some(time) = line.strip_prefix("event-clock: ") {
                it.event_clock = number(time);
            } else if let Some(time) = line.strip_prefix("query-clock: ") {
                it.query_clock = number(time);
            } else if line == "leave" && !rejoin_after_leave {
                it = Self::default();
            }
        }
        it.size = text.len();
        it
    }
}

/// What the driver shall do with the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnapshotAction {
    /// Append this.
    Append(String),
    /// Write this to a file beside it, and rename that over it.
    Replace(String),
}

/// Collects lines.
#[derive(Debug, Default)]
pub(super) struct Recorder {
    enabled: bool,
    left: bool,
    pending: String,
    size: usize,
    clock: u64,
    event_clock: u64,
    query_clock: u64,
    written_clock: u64,
}

impl Recorder {
    fn line(&mut self, what: &str, value: std::fmt::Arguments<'_>) {
        if self.enabled && !self.left && self.pending.len() < MAX_PENDING {
            // Writing to a string cannot fail.
            let _ = writeln!(self.pending, "{what}: {value}");
        }
    }

    /// Whether the member clock moved since it was written down.
    pub(super) fn is_behind(&self, clock: u64) -> bool {
        self.enabled && !self.left && clock.saturating_sub(1) != self.written_clock
    }

    pub(super) fn saw_event(&mut self, time: u64) {
        if time > self.event_clock {
            self.event_clock = time;
            self.line("event-clock", format_args!("{time}"));
        }
    }

    pub(super) fn saw_query(&mut self, time: u64) {
        if time > self.query_clock {
            self.query_clock = time;
            self.line("query-clock", format_args!("{time}"));
        }
    }
}

impl Serf {
    /// Starts where a snapshot ends.
    pub(super) fn resume(&mut self, snapshot: &Snapshot) {
        self.snapshot.enabled = true;
        self.snapshot.size = snapshot.size;
        self.clock.witness(snapshot.clock);
        self.event_clock.witness(snapshot.event_clock);
        self.query_clock.witness(snapshot.query_clock);
        self.events_seen.min_time = snapshot.event_clock + 1;
        self.queries_seen.min_time = snapshot.query_clock + 1;
        self.snapshot.clock = snapshot.clock;
        self.snapshot.written_clock = snapshot.clock;
        self.snapshot.event_clock = snapshot.event_clock;
        self.snapshot.query_clock = snapshot.query_clock;
    }

    /// The addresses of a snapshot in random order, without our own.
    pub(crate) fn rejoin_targets(&mut self, snapshot: &Snapshot) -> Vec<SocketAddr> {
        let own = self.name.clone();
        let mut targets: Vec<_> = snapshot
            .alive
            .iter()
            .filter(|(name, _)| **name != *own)
            .map(|(_, addr)| *addr)
            .collect();
        shuffle(&mut targets, &mut self.rng);
        targets
    }

    pub(super) fn record_alive(&mut self, _now: Time, member: &Member) {
        // A name with a line break would forge lines.
        if !member.name.contains(['\n', '\r']) {
            self.snapshot
                .line("alive", format_args!("{} {}", member.name, member.addr));
        }
    }

    pub(super) fn record_gone(&mut self, _now: Time, name: &Arc<str>) {
        if !name.contains(['\n', '\r']) {
            self.snapshot.line("not-alive", format_args!("{name}"));
        }
    }

    /// The last line for this life.
    pub(super) fn record_leave(&mut self) {
        let recorder = &mut self.snapshot;
        if recorder.enabled && !recorder.left {
            if !self.config.serf.rejoin_after_leave {
                recorder.pending.clear();
            }
            recorder.pending.push_str("leave\n");
            recorder.left = true;
        }
    }

    pub(super) fn snapshot_tick(&mut self) {
        let clock = self.clock.now() - 1;
        let recorder = &mut self.snapshot;
        if clock != recorder.written_clock {
            recorder.written_clock = clock;
            recorder.line("clock", format_args!("{clock}"));
        }
    }

    /// What the driver shall write, if it is time.
    pub(crate) fn poll_snapshot(&mut self) -> Option<SnapshotAction> {
        let recorder = &mut self.snapshot;
        if recorder.pending.is_empty() {
            return None;
        }
        let text = std::mem::take(&mut recorder.pending);
        recorder.size += text.len();
        let limit = COMPACT_MIN.max(COMPACT_MEMBER * self.roster.present());
        if recorder.size > limit && !recorder.left {
            let text = self.compact();
            self.snapshot.size = text.len();
            return Some(SnapshotAction::Replace(text));
        }
        Some(SnapshotAction::Append(text))
    }

    /// The whole file anew.
    fn compact(&self) -> String {
        let mut text = String::new();
        for member in self
            .roster_members()
            .filter(|member| super::Status::Alive == member.status)
        {
            if !member.name.contains(['\n', '\r']) {
                let _ = writeln!(text, "alive: {} {}", member.name, member.addr);
            }
        }
        let recorder = &self.snapshot;
        let _ = writeln!(text, "clock: {}", recorder.written_clock);
        let _ = writeln!(text, "event-clock: {}", recorder.event_clock);
        let _ = writeln!(text, "query-clock: {}", recorder.query_clock);
        text
    }
}

fn shuffle<T>(list: &mut [T], rng: &mut Rng) {
    for at in (1..list.len()).rev() {
        list.swap(at, rng.below(at + 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "alive: alpha 127.0.0.1:7946\nalive: two words 127.0.0.2:7946\nclock: 7\n\
        # comment\ncoordinate: {}\nnot-alive: alpha\nevent-clock: 3\nquery-clock: 2\nalive: gamma [::1]:1\nalive: torn 127.";

    #[test]
    fn a_file_is_replayed() {
        let snapshot = Snapshot::replay(FILE, false);
        let names: Vec<_> = snapshot.alive.keys().map(String::as_str).collect();
        assert_eq!(names, ["gamma", "two words"]);
        assert_eq!(
            (snapshot.clock, snapshot.event_clock, snapshot.query_clock),
            (7, 3, 2)
        );
    }

    #[test]
    fn after_a_leave_nothing_is_remembered_unless_asked() {
        let text = format!("{FILE}\nleave\n");
        assert_eq!(
            Snapshot::replay(&text, false),
            Snapshot {
                size: text.len(),
                ..Snapshot::default()
            }
        );
        assert_eq!(Snapshot::replay(&text, true).alive.len(), 2);
        let again = format!("{text}alive: new 127.0.0.9:1\n");
        assert_eq!(Snapshot::replay(&again, false).alive.len(), 1);
    }
}
