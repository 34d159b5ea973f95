//! The core's clock: an offset from a start that the driver chooses.
//!
//! `std::time::Instant` cannot be made without reading a clock, so a core that must not read one, and
//! a simulator that invents time, need a type of their own.

use std::fmt;
use std::ops::Add;
use std::time::Duration;

/// A moment: nanoseconds since the driver's start. Monotonic; has nothing to do with wall clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

impl Time {
    /// The start itself.
    pub const ZERO: Self = Self(0);
    /// Later than anything that happens.
    pub const MAX: Self = Self(u64::MAX);

    /// The moment `offset` after the start.
    #[must_use]
    pub fn from_start(offset: Duration) -> Self {
        Self(nanos(offset))
    }

    /// The moment this many milliseconds after the start.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000_000))
    }

    /// The distance from the start.
    #[must_use]
    pub const fn offset(self) -> Duration {
        Duration::from_nanos(self.0)
    }

    /// The moment this long before; `None` before the start.
    #[must_use]
    pub fn checked_sub(self, duration: Duration) -> Option<Self> {
        self.0.checked_sub(nanos(duration)).map(Self)
    }

    /// Time passed since `earlier`, zero if that lies in the future.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// Nanoseconds, saturating: 584 years are enough.
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Add<Duration> for Time {
    type Output = Self;
    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(nanos(duration)))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}s", self.offset().as_secs_f64())
    }
}
