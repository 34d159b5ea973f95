//! When checks run: intervals, first offsets, the queue of what is due, and the timers of checks
//! that wait to be told. Times are spans since an origin of the caller's; nothing here reads a
//! clock or draws a number.

use lictor_wire::catalog::Status;
use lictor_wire::duration::GoDuration;
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

/// The shortest interval: smaller ones are raised to it, as in Consul, so that a slip of the pen
/// does not fork a script a thousand times a second.
pub const MIN_INTERVAL: Duration = Duration::from_secs(1);

/// How often an agent looks for services to remove for being critical too long. Consul's figure.
pub const REAP_EVERY: Duration = Duration::from_secs(30);

/// The shortest time a service may be critical before it is removed for it. Consul's figure.
pub const MIN_DEREGISTER_AFTER: Duration = Duration::from_secs(60);

/// The interval to run at: what was given, but not below `min`.
pub fn interval(given: GoDuration, min: Duration) -> Duration {
    given.to_std().max(min)
}

/// The limit of one run: what was given, or the kind's own when nothing was.
pub fn timeout(given: GoDuration, default: Duration) -> Duration {
    if given.0 > 0 { given.to_std() } else { default }
}

/// Where in its first interval a check starts: uniform over `[0, interval)` for a uniform
/// `random`. Spreads the checks of an agent that starts, or registers many at once.
pub fn first_offset(interval: Duration, random: u64) -> Duration {
    let nanos = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX);
    let offset = (u128::from(nanos) * u128::from(random)) >> 64;
    Duration::from_nanos(u64::try_from(offset).unwrap_or(u64::MAX))
}

/// The span after which a critical service is removed, raised to the minimum; `None` when never.
pub fn deregister_after(given: GoDuration) -> Option<Duration> {
    (given.0 > 0).then(|| given.to_std().max(MIN_DEREGISTER_AFTER))
}

/// Since when a check has been critical.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CriticalSince(Option<Duration>);

impl CriticalSince {
    /// Takes a result into account: the first critical one counts, any other ends it.
    pub fn note(&mut self, status: &Status, now: Duration) {
        match status {
            Status::Critical => _ = self.0.get_or_insert(now),
            _ => self.0 = None,
        }
    }

    /// How long it has been critical; `None` if it is not.
    pub fn lasts(&self, now: Duration) -> Option<Duration> {
        self.0.map(|since| now.saturating_sub(since))
    }

    /// Whether it has been critical for longer than `after`.
    pub fn is_due(&self, now: Duration, after: Duration) -> bool {
        self.lasts(now).is_some_and(|lasts| lasts > after)
    }
}

/// What is due when. Each id stands in it at most once, so it is as large as there are checks.
#[derive(Debug, Default)]
pub struct Queue {
    order: BTreeSet<(Duration, u64)>,
    at: HashMap<u64, Duration>,
}

impl Queue {
    /// Sets when `id` is due, whether or not it was in the queue.
    pub fn put(&mut self, id: u64, at: Duration) {
        if let Some(old) = self.at.insert(id, at) {
            self.order.remove(&(old, id));
        }
        self.order.insert((at, id));
    }

    /// Takes `id` out.
    pub fn remove(&mut self, id: u64) {
        if let Some(at) = self.at.remove(&id) {
            self.order.remove(&(at, id));
        }
    }

    /// Takes out the first that is due at `now`.
    pub fn pop_due(&mut self, now: Duration) -> Option<u64> {
        let &(at, id) = self.order.first()?;
        if at > now {
            return None;
        }
        self.remove(id);
        Some(id)
    }

    /// Whether `id` waits.
    pub fn contains(&self, id: u64) -> bool {
        self.at.contains_key(&id)
    }

    /// When the next is due.
    pub fn next(&self) -> Option<Duration> {
        self.order.first().map(|(at, _)| *at)
    }
}

/// The timer of a check that waits to be told: silence longer than its span is critical.
#[derive(Debug)]
pub struct Ttl {
    span: Duration,
    expires: Duration,
    expired: bool,
    last_output: String,
}

/// What a look at a [`Ttl`] finds.
#[derive(Debug, PartialEq, Eq)]
pub enum TtlState {
    /// Time is left: look again then.
    Waits(Duration),
    /// It has just expired, with this output.
    Expired(String),
    /// It had expired before and nobody has spoken since.
    Over,
}

impl Ttl {
    /// A timer of this span that starts at `now`.
    pub fn new(span: Duration, now: Duration) -> Ttl {
        Ttl {
            span,
            expires: now.saturating_add(span),
            expired: false,
            last_output: String::new(),
        }
    }

    /// Somebody spoke: the span starts again. The output is repeated when it runs out.
    pub fn set(&mut self, now: Duration, output: String) {
        self.expires = now.saturating_add(self.span);
        self.expired = false;
        self.last_output = output;
    }

    /// When the span ends.
    pub fn expires(&self) -> Duration {
        self.expires
    }

    /// Looks at the time. `Expired` is said once for each silence.
    pub fn poll(&mut self, now: Duration) -> TtlState {
        if self.expired {
            return TtlState::Over;
        }
        if now < self.expires {
            return TtlState::Waits(self.expires);
        }
        self.expired = true;
        TtlState::Expired(match self.last_output.as_str() {
            "" => "TTL expired".to_owned(),
            last => format!("TTL expired (last output before timeout follows): {last}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn an_offset_lies_within_the_interval_and_follows_the_number() {
        for (random, want) in [
            (0, 0),
            (u64::MAX / 2 + 1, 5_000_000_000),
            (u64::MAX, 9_999_999_999),
        ] {
            assert_eq!(
                first_offset(10 * SECOND, random),
                Duration::from_nanos(want)
            );
        }
        assert_eq!(first_offset(Duration::ZERO, u64::MAX), Duration::ZERO);
        assert!(first_offset(Duration::MAX, u64::MAX) < Duration::MAX);
    }

    #[test]
    fn short_intervals_are_raised_and_absent_limits_filled() {
        assert_eq!(interval(GoDuration::from_millis(100), MIN_INTERVAL), SECOND);
        assert_eq!(interval(GoDuration::from_secs(-5), MIN_INTERVAL), SECOND);
        assert_eq!(interval(GoDuration::from_secs(7), MIN_INTERVAL), 7 * SECOND);
        assert_eq!(timeout(GoDuration::ZERO, 10 * SECOND), 10 * SECOND);
        assert_eq!(
            timeout(GoDuration::from_millis(300), 10 * SECOND),
            Duration::from_millis(300)
        );
    }

    #[test]
    fn the_queue_gives_what_is_due_in_order_and_each_once() {
        let mut q = Queue::default();
        q.put(1, 3 * SECOND);
        q.put(2, SECOND);
        q.put(3, 2 * SECOND);
        q.put(1, SECOND); // earlier than before: the old place is gone
        q.remove(3);
        q.remove(9);
        assert_eq!(q.next(), Some(SECOND));
        assert_eq!(q.pop_due(Duration::from_millis(999)), None);
        assert_eq!(
            (q.pop_due(SECOND), q.pop_due(SECOND), q.pop_due(9 * SECOND)),
            (Some(1), Some(2), None)
        );
        assert_eq!(q.next(), None);
        assert!(!q.contains(1));
    }

    #[test]
    fn silence_expires_once_and_a_word_starts_it_again() {
        let mut ttl = Ttl::new(SECOND, SECOND);
        assert_eq!(
            ttl.poll(Duration::from_millis(1_999)),
            TtlState::Waits(2 * SECOND)
        );
        assert_eq!(
            ttl.poll(2 * SECOND),
            TtlState::Expired("TTL expired".to_owned())
        );
        assert_eq!(ttl.poll(3 * SECOND), TtlState::Over);
        ttl.set(3 * SECOND, "all good".to_owned());
        assert_eq!(ttl.poll(3 * SECOND), TtlState::Waits(4 * SECOND));
        assert_eq!(
            ttl.poll(5 * SECOND),
            TtlState::Expired(
                "TTL expired (last output before timeout follows): all good".to_owned()
            )
        );
    }

    #[test]
    fn removal_counts_from_the_first_critical_result() {
        let after = deregister_after(GoDuration::from_secs(5)).unwrap();
        assert_eq!(after, MIN_DEREGISTER_AFTER);
        assert_eq!(deregister_after(GoDuration::ZERO), None);
        let mut since = CriticalSince::default();
        since.note(&Status::Critical, SECOND);
        since.note(&Status::Critical, 50 * SECOND);
        assert!(!since.is_due(61 * SECOND, after));
        assert!(since.is_due(62 * SECOND, after));
        since.note(&Status::Warning, 62 * SECOND);
        assert!(!since.is_due(999 * SECOND, after));
    }
}
