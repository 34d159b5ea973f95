//! How many requests may be made in a time.

use std::time::Duration;

/// A bucket that fills by `rate` tokens each second up to `burst`. Each request takes one.
#[derive(Clone, Debug)]
pub struct TokenBucket {
    rate: f64,
    burst: f64,
    tokens: f64,
    last: Duration,
}

impl TokenBucket {
    /// A full bucket. An infinite rate (or one that is no number) limits nothing, as in
    /// `limits.rpc_rate`.
    pub fn new(rate: f64, burst: u32) -> Self {
        let burst = f64::from(burst);
        Self {
            rate: if rate.is_nan() {
                f64::INFINITY
            } else {
                rate.max(0.0)
            },
            burst,
            tokens: burst,
            last: Duration::ZERO,
        }
    }

    /// Takes a token if there is one. `now` is the time since any fixed moment.
    pub fn take(&mut self, now: Duration) -> bool {
        if self.rate.is_infinite() {
            return true;
        }
        let passed = now.saturating_sub(self.last).as_secs_f64();
        self.last = self.last.max(now);
        self.tokens = (self.tokens + passed * self.rate).min(self.burst);
        let taken = self.tokens >= 1.0;
        if taken {
            self.tokens -= 1.0;
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bursts_then_the_rate() {
        let mut bucket = TokenBucket::new(10.0, 5);
        let now = Duration::from_secs(100);
        let burst = (0..20).filter(|_| bucket.take(now)).count();
        assert_eq!(burst, 5);
        assert!(!bucket.take(now + Duration::from_millis(99)));
        assert!(bucket.take(now + Duration::from_millis(101)));
        assert!(!bucket.take(now + Duration::from_millis(150)));
        let later = now + Duration::from_secs(60);
        assert_eq!((0..20).filter(|_| bucket.take(later)).count(), 5);
        assert!(!bucket.take(now), "time does not go back");
    }

    #[test]
    fn none() {
        for rate in [f64::INFINITY, f64::NAN] {
            let mut bucket = TokenBucket::new(rate, 1);
            assert!((0..1000).all(|_| bucket.take(Duration::ZERO)));
        }
        let mut closed = TokenBucket::new(0.0, 0);
        assert!(!closed.take(Duration::from_secs(1000)));
    }
}
