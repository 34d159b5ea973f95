//! How long a node stays suspect: Lifeguard's falling timer.
//!
//! With few accusers the suspicion lasts long, because the accuser may be the sick one; each
//! independent confirmation shortens it on a logarithmic scale (Lifeguard, section IV-B).

use std::sync::Arc;
use std::time::Duration;

use crate::config::Config;
use crate::time::Time;

/// log10(n), at least 1, in thousandths.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss
)]
fn log_factor(n: usize) -> u32 {
    let log = (n.max(1) as f64).log10().max(1.0);
    (log * 1000.0) as u32
}

/// The shortest suspicion in a pool of `n` known nodes.
#[must_use]
pub fn suspicion_min(mult: u32, n: usize, probe_interval: Duration) -> Duration {
    probe_interval * mult * log_factor(n) / 1000
}

/// Packets in which a message is sent at most.
#[must_use]
pub fn retransmit_limit(mult: u32, n: usize) -> u32 {
    mult * ceil_log10(n.saturating_add(1))
}

/// ceil(log10(n)), without the rounding of floats.
#[must_use]
pub fn ceil_log10(n: usize) -> u32 {
    n.saturating_sub(1)
        .checked_ilog10()
        .map_or(0, |log| log + 1)
}

/// A running suspicion.
#[derive(Clone, Debug)]
pub struct Suspicion {
    start: Time,
    min: Duration,
    max: Duration,
    wanted: usize,
    /// The first accuser, then those who confirmed.
    accusers: Vec<Arc<str>>,
    /// How much of its life the node that suspects was paused, as far as this suspicion knows.
    paused: Duration,
    /// Time given for pauses.
    extension: Duration,
}

impl Suspicion {
    /// Starts one in a pool of `n` known nodes.
    pub fn new(start: Time, from: Arc<str>, n: usize, config: &Config, paused: Duration) -> Self {
        let min = suspicion_min(config.suspicion_mult, n, config.probe_interval);
        let mut wanted = config.suspicion_mult.saturating_sub(2) as usize;
        // Too few others to confirm: waiting for them would only delay.
        if n < wanted + 2 {
            wanted = 0;
        }
        let max = if wanted == 0 {
            min
        } else {
            min * config.suspicion_max_mult
        };
        Self {
            start,
            min,
            max,
            wanted,
            accusers: vec![from],
            paused,
            extension: Duration::ZERO,
        }
    }

    /// When the suspicion becomes a verdict.
    pub fn deadline(&self) -> Time {
        self.start + self.timeout(self.accusers.len() - 1) + self.extension
    }

    /// Gives back the time in which the node that suspects was paused, given all its pauses so far:
    /// true if there was any, and the deadline is later now.
    pub fn extend(&mut self, paused: Duration) -> bool {
        let lost = paused.saturating_sub(self.paused);
        self.paused = paused;
        self.extension = self.extension.saturating_add(lost);
        !lost.is_zero()
    }

    /// The whole duration after this many confirmations.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss
    )]
    fn timeout(&self, confirmed: usize) -> Duration {
        if self.wanted == 0 {
            return self.min;
        }
        let done = (confirmed as f64).ln_1p() / (self.wanted as f64).ln_1p();
        let span = self.max.saturating_sub(self.min).as_secs_f64();
        let millis = ((self.max.as_secs_f64() - span * done) * 1000.0).floor() as u64;
        Duration::from_millis(millis).max(self.min)
    }

    /// Counts a confirmation: true if it was a new one and still wanted.
    pub fn confirm(&mut self, from: &Arc<str>) -> bool {
        if self.accusers.len() > self.wanted || self.accusers.contains(from) {
            return false;
        }
        self.accusers.push(from.clone());
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn suspicion(mult: u32, n: usize) -> Suspicion {
        let config = Config {
            suspicion_mult: mult,
            ..Config::lan()
        };
        Suspicion::new(Time::from_millis(500), name(0), n, &config, SECOND)
    }

    fn name(number: usize) -> Arc<str> {
        format!("n{number}").into()
    }

    #[test]
    fn the_window_grows_with_the_logarithm() {
        for (n, millis) in [
            (0, 4000),
            (1, 4000),
            (10, 4000),
            (20, 5204),
            (100, 8000),
            (10_000, 16_000),
        ] {
            assert_eq!(suspicion_min(4, n, SECOND).as_millis(), millis, "{n}");
        }
    }

    #[test]
    fn retransmissions() {
        for (n, limit) in [
            (0, 0),
            (1, 4),
            (8, 4),
            (9, 4),
            (10, 8),
            (99, 8),
            (100, 12),
            (999, 12),
            (1000, 16),
        ] {
            assert_eq!(retransmit_limit(4, n), limit, "{n}");
        }
    }

    #[test]
    fn confirmations_shorten_it_and_stop_counting() {
        let mut it = suspicion(5, 100);
        let at = |millis| Time::from_millis(500) + Duration::from_millis(millis);
        assert_eq!(it.deadline(), at(60_000));
        assert!(!it.confirm(&name(0)), "the accuser is no witness");
        assert!(it.confirm(&name(1)));
        assert_eq!(it.deadline(), at(35_000));
        assert!(!it.confirm(&name(1)));
        assert!(it.confirm(&name(2)));
        assert_eq!(it.deadline(), at(20_375));
        assert!(it.confirm(&name(3)));
        assert_eq!(it.deadline(), at(10_000));
        assert!(!it.confirm(&name(4)));
        assert_eq!(it.deadline(), at(10_000));
    }

    #[test]
    fn in_a_small_pool_nobody_can_confirm() {
        assert_eq!(suspicion(4, 3).deadline(), Time::from_millis(4500));
        assert_eq!(suspicion(4, 4).deadline(), Time::from_millis(24_500));
    }

    #[test]
    fn pauses_are_given_back_once() {
        let mut it = suspicion(4, 3);
        assert!(!it.extend(SECOND));
        assert!(it.extend(3 * SECOND));
        assert!(!it.extend(3 * SECOND));
        assert_eq!(it.deadline(), Time::from_millis(6500));
        assert!(it.extend(1000 * SECOND));
        assert_eq!(it.deadline(), Time::from_millis(1_003_500));
    }
}
