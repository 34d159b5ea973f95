//! Counting values by their magnitude.

use std::marker::PhantomData;

use crate::PercentileStats;

/// Counts of recorded values, one counter for each power of two.
///
/// Counter 0 counts the value 0; counter `k` counts the values from `2^(k-1)`
/// to `2^k - 1`. There are at most 65 of them, and an unused histogram
/// allocates none: the list only reaches as far as the largest value recorded.
///
/// The type parameter is a tag that keeps histograms of different meaning
/// apart; it holds no data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Histogram<T = ()> {
    /// Never ends in a zero, so that equal contents compare equal.
    counts: Vec<u64>,
    total: u64,
    tag: PhantomData<T>,
}

impl<T> Default for Histogram<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Histogram<T> {
    /// An empty histogram. Allocates nothing.
    pub const fn new() -> Self {
        Self {
            counts: Vec::new(),
            total: 0,
            tag: PhantomData,
        }
    }

    /// Counts `value` once.
    pub fn record(&mut self, value: u64) {
        self.record_n(value, 1);
    }

    /// Counts `value` `times` times. Counters stop at `u64::MAX`.
    pub fn record_n(&mut self, value: u64, times: u64) {
        if times == 0 {
            return;
        }
        let index = bucket_of(value);
        if index >= self.counts.len() {
            self.counts.resize(index + 1, 0);
        }
        if let Some(count) = self.counts.get_mut(index) {
            *count = count.saturating_add(times);
        }
        self.total = self.total.saturating_add(times);
    }

    /// How many values were recorded.
    pub const fn total(&self) -> u64 {
        self.total
    }

    /// An estimate of the value that `permille` thousandths of the recorded
    /// values do not exceed; 0 if nothing was recorded.
    ///
    /// Values are taken to lie evenly in their bucket, so the estimate is in
    /// the same power of two as the true value. `permille` above 1000 counts as
    /// 1000.
    pub fn permille(&self, permille: u64) -> u64 {
        let wanted = u128::from(self.total) * u128::from(permille.min(1000));
        // Nearest rank: the smallest rank that covers the fraction, from 1 on.
        let rank = wanted.div_ceil(1000).max(1);

        let mut before = 0u128;
        for (index, &count) in self.counts.iter().enumerate() {
            let count = u128::from(count);
            if before + count >= rank {
                let (low, high) = bucket_range(index);
                // The middle of the sample's share of the bucket.
                let share = 2 * (rank - before) - 1;
                let offset = (u128::from(high - low) * share) / (2 * count);
                return low.saturating_add(u64::try_from(offset).unwrap_or(u64::MAX));
            }
            before += count;
        }
        // Only reached when empty, or when the total stopped at its limit.
        self.counts
            .len()
            .checked_sub(1)
            .map_or(0, |last| bucket_range(last).1)
    }

    /// The percentiles openraft reports.
    pub fn percentile_stats(&self) -> PercentileStats {
        PercentileStats {
            samples: self.total,
            p0_1: self.permille(1),
            p1: self.permille(10),
            p5: self.permille(50),
            p10: self.permille(100),
            p50: self.permille(500),
            p90: self.permille(900),
            p99: self.permille(990),
            p99_9: self.permille(999),
        }
    }

    /// The counters from the smallest bucket on.
    pub(crate) fn counts(&self) -> &[u64] {
        &self.counts
    }
}

/// The counter that `value` belongs to: its length in bits.
fn bucket_of(value: u64) -> usize {
    (u64::BITS - value.leading_zeros()) as usize
}

/// The smallest and the largest value counter `index` counts.
pub(crate) fn bucket_range(index: usize) -> (u64, u64) {
    match u32::try_from(index) {
        Ok(0) => (0, 0),
        Ok(bits @ 1..=64) => (1 << (bits - 1), u64::MAX >> (64 - bits)),
        _ => (u64::MAX, u64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[u64]) -> Histogram {
        let mut histogram = Histogram::new();
        for &value in values {
            histogram.record(value);
        }
        histogram
    }

    #[test]
    fn buckets_cover_all_values_without_overlap() {
        assert_eq!(bucket_range(0), (0, 0));
        for index in 1..=64 {
            let (low, high) = bucket_range(index);
            assert_eq!(low, bucket_range(index - 1).1 + 1, "bucket {index}");
            assert_eq!(bucket_of(low), index);
            assert_eq!(bucket_of(high), index);
        }
        assert_eq!(bucket_range(64).1, u64::MAX);
    }

    #[test]
    fn an_empty_histogram_owns_no_memory() {
        let histogram = Histogram::<()>::new();
        assert_eq!(histogram.counts.capacity(), 0);
        assert!(size_of::<Histogram>() <= 32);
    }

    #[test]
    fn empty_reports_zeros() {
        let stats = Histogram::<()>::new().percentile_stats();
        assert_eq!(stats, PercentileStats::default());
    }

    #[test]
    fn estimates_stay_in_the_true_power_of_two() {
        let values: Vec<u64> = (0..1000).map(|i| i * 7).collect();
        let histogram = of(&values);
        for permille in [1, 10, 50, 100, 500, 900, 990, 999, 1000] {
            let rank = (values.len() * permille).div_ceil(1000).max(1);
            let truth = values[rank - 1];
            let estimate = histogram.permille(permille as u64);
            assert_eq!(
                bucket_of(estimate),
                bucket_of(truth),
                "{permille}: {estimate} for {truth}"
            );
        }
    }

    #[test]
    fn evenly_spread_values_are_estimated_closely() {
        let histogram = of(&(1024..2048).collect::<Vec<_>>());
        let median = histogram.permille(500);
        assert!((1530..=1540).contains(&median), "{median}");
    }

    #[test]
    fn percentiles_never_fall() {
        let stats = of(&[0, 1, 3, 9, 80, 81, 4000, 5000, 60_000, u64::MAX]).percentile_stats();
        let row = [
            stats.p0_1,
            stats.p1,
            stats.p5,
            stats.p10,
            stats.p50,
            stats.p90,
            stats.p99,
            stats.p99_9,
        ];
        assert!(row.is_sorted(), "{row:?}");
        assert_eq!(stats.samples, 10);
        assert_eq!(stats.p0_1, 0);
        assert!(stats.p99_9 >= 1 << 63);
    }

    #[test]
    fn recording_many_at_once_is_recording_each() {
        let mut at_once = Histogram::<()>::new();
        at_once.record_n(6, 3);
        at_once.record_n(0, 1);
        assert_eq!(at_once, of(&[6, 0, 6, 6]));
        assert_eq!(at_once.total(), 4);
    }

    #[test]
    fn recording_nothing_changes_nothing() {
        let mut histogram = Histogram::<()>::new();
        histogram.record_n(u64::MAX, 0);
        assert_eq!(histogram, Histogram::new());
    }

    #[test]
    fn counters_stop_at_their_limit() {
        let mut histogram = Histogram::<()>::new();
        histogram.record_n(1, u64::MAX);
        histogram.record_n(1, u64::MAX);
        histogram.record_n(900, u64::MAX);
        assert_eq!(histogram.total(), u64::MAX);
        assert_eq!(histogram.permille(1), 1);
        assert_eq!(histogram.permille(u64::MAX), 1);
    }
}
