//! Whether the machine was suspended lately.
//!
//! A leader's lease is counted by the monotonic clock, which stands still while the machine is
//! suspended. When it goes on, another may lead and the lease still seems to hold. The boot clock
//! counts such times, so the distance between the two tells.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A distance that has grown by less is the time between the readings of the two clocks. Followers
/// grant far more than a lease takes: so much does no harm.
const GRAIN: u64 = 10_000_000;

/// What is known of suspensions.
#[derive(Debug)]
pub(super) struct Suspensions {
    /// How far the boot clock was ahead of the monotonic one, in nanoseconds.
    ahead: AtomicU64,
    /// When it was found to have moved, by the monotonic clock, in nanoseconds; zero: never.
    noticed: AtomicU64,
}

impl Suspensions {
    /// Begins now.
    pub(super) fn new() -> Suspensions {
        let (monotonic, boot) = clocks();
        Suspensions::at(monotonic, boot)
    }

    fn at(monotonic: u64, boot: u64) -> Suspensions {
        Suspensions {
            ahead: AtomicU64::new(boot.saturating_sub(monotonic)),
            noticed: AtomicU64::new(0),
        }
    }

    /// Whether it was noticed within this time that the machine had been suspended.
    pub(super) fn within(&self, time: Duration) -> bool {
        let (monotonic, boot) = clocks();
        self.look(monotonic, boot, time)
    }

    fn look(&self, monotonic: u64, boot: u64, time: Duration) -> bool {
        let ahead = boot.saturating_sub(monotonic);
        if ahead.abs_diff(self.ahead.load(Ordering::Acquire)) > GRAIN {
            // In this order: whoever sees the new distance knows when it was noticed.
            self.noticed.store(monotonic, Ordering::Release);
            self.ahead.store(ahead, Ordering::Release);
        }
        let noticed = self.noticed.load(Ordering::Acquire);
        noticed > 0 && u128::from(monotonic.saturating_sub(noticed)) <= time.as_nanos()
    }
}

/// The monotonic clock and the boot clock, in nanoseconds.
fn clocks() -> (u64, u64) {
    (
        nanoseconds(libc::CLOCK_MONOTONIC),
        nanoseconds(libc::CLOCK_BOOTTIME),
    )
}

fn nanoseconds(clock: libc::clockid_t) -> u64 {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `now` is a timespec that this function owns. A clock that there is not, which Linux
    // has both of, leaves it as it is.
    unsafe { libc::clock_gettime(clock, &raw mut now) };
    let part = |n: i64| u64::try_from(n).unwrap_or(0);
    part(now.tv_sec) * 1_000_000_000 + part(now.tv_nsec)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;
    const LEASE: Duration = Duration::from_millis(45);

    #[test]
    fn a_suspension_is_noticed_for_as_long_as_a_lease_may_last() {
        let known = Suspensions::at(1_000 * MS, 1_500 * MS);
        assert!(!known.look(2_000 * MS, 2_500 * MS, LEASE));
        // Ten seconds of suspension.
        assert!(known.look(2_001 * MS, 12_501 * MS, LEASE));
        assert!(known.look(2_046 * MS, 12_546 * MS, LEASE));
        assert!(!known.look(2_047 * MS, 12_547 * MS, LEASE));
        assert!(!known.look(9_000 * MS, 19_500 * MS, LEASE));
    }

    #[test]
    fn a_moment_between_the_readings_is_none() {
        let known = Suspensions::at(1_000 * MS, 1_500 * MS);
        assert!(!known.look(2_000 * MS, 2_509 * MS, LEASE));
        assert!(!Suspensions::new().within(LEASE));
    }
}
