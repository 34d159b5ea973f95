//! The time of this machine, and the time that a leader stamps on what it writes.
//!
//! Stamps decide how long a lock-delay lasts, and nothing else: sessions, elections and gossip go by
//! the monotonic clock. A machine's clock may be set at any moment, by an hour if it was wrong by
//! one. So a leader reads it once a term and counts from there; and because the leader before it may
//! have had a clock that was ahead, a term begins no earlier than the delays of the last one allow.

use lictor_state::LOCK_DELAY_MAX;
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Names a file with a number of milliseconds that this process adds to the machine's clock. For
/// tests: who sets a clock cannot do it for one process alone.
const SHIFT: &str = "LICTOR_TEST_CLOCK";

/// Milliseconds since 1970 by this machine's clock.
pub fn unix_ms() -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX));
    now.saturating_add_signed(shift())
}

fn shift() -> i64 {
    static FILE: OnceLock<Option<PathBuf>> = OnceLock::new();
    let Some(file) = FILE.get_or_init(|| std::env::var_os(SHIFT).map(PathBuf::from)) else {
        return 0;
    };
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.trim().parse().unwrap_or(0)
}

/// The clock of a leader.
#[derive(Debug, Default)]
pub struct Stamps(Mutex<Option<Anchor>>);

#[derive(Clone, Copy, Debug)]
struct Anchor {
    term: u64,
    at: u64,
    read: Instant,
}

impl Stamps {
    /// Now, in milliseconds since 1970. In a new term the machine's clock is read, by `clock`; and
    /// `latest`, when the last of the present lock-delays ends.
    pub fn stamp(
        &self,
        term: u64,
        now: Instant,
        clock: impl FnOnce() -> u64,
        latest: impl FnOnce() -> Option<u64>,
    ) -> u64 {
        let mut anchor = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let anchor = match &*anchor {
            Some(known) if known.term == term => *known,
            _ => {
                let floor = latest().map_or(0, |until| until.saturating_sub(LOCK_DELAY_MAX));
                *anchor.insert(Anchor {
                    term,
                    at: clock().max(floor),
                    read: now,
                })
            }
        };
        let passed = now.saturating_duration_since(anchor.read).as_millis();
        let passed = u64::try_from(passed).unwrap_or(u64::MAX);
        anchor.at.saturating_add(passed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const HOUR: u64 = 3_600_000;

    #[test]
    fn a_clock_that_is_set_is_not_followed_within_a_term() {
        let (stamps, start) = (Stamps::default(), Instant::now());
        let at = |term, secs, clock| {
            let now = start + Duration::from_secs(secs);
            stamps.stamp(term, now, || clock, || None)
        };
        assert_eq!(at(1, 0, HOUR), HOUR);
        assert_eq!(at(1, 5, 9 * HOUR), HOUR + 5_000);
        assert_eq!(at(1, 7, 0), HOUR + 7_000);
        // The next term takes it up.
        assert_eq!(at(2, 9, 9 * HOUR), 9 * HOUR);
        assert_eq!(at(2, 10, 0), 9 * HOUR + 1_000);
    }

    #[test]
    fn a_leader_whose_clock_is_behind_ends_delays_all_the_same() {
        let (stamps, start) = (Stamps::default(), Instant::now());
        // Its predecessor, an hour ahead, has left a delay that ends within the longest delay.
        let until = 2 * HOUR + 15_000;
        let at = |secs| {
            let now = start + Duration::from_secs(secs);
            stamps.stamp(1, now, || HOUR, || Some(until))
        };
        assert_eq!(at(0), until - LOCK_DELAY_MAX);
        assert!(at(61) > until);
    }
}
