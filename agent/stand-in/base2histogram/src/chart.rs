//! Drawing histograms with characters.

use std::fmt;

use crate::Histogram;
use crate::histogram::bucket_range;

/// The bar of the largest bucket, in characters.
const BAR_WIDTH: u128 = 48;

/// One for each series of a chart, from the start again when they run out.
const MARKS: [char; 8] = ['#', '=', '*', '.', 'o', '+', '%', '~'];

/// A chart of named histograms, stacked.
#[derive(Debug, Clone)]
pub struct AsciiChart<T = ()> {
    series: Vec<(String, Histogram<T>)>,
}

impl<T> Default for AsciiChart<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> AsciiChart<T> {
    /// A chart without series.
    pub const fn new() -> Self {
        Self { series: Vec::new() }
    }

    /// Puts a histogram on top of those the chart has.
    #[must_use]
    pub fn add(mut self, name: impl ToString, histogram: Histogram<T>) -> Self {
        self.series.push((name.to_string(), histogram));
        self
    }

    /// The chart as text: a legend, then one line for each bucket in use.
    pub const fn detailed(&self) -> DetailedDisplay<'_, T> {
        DetailedDisplay { chart: self }
    }

    /// All values counted in bucket `index`, over all series.
    fn stacked(&self, index: usize) -> u128 {
        self.counts_at(index).sum()
    }

    fn counts_at(&self, index: usize) -> impl Iterator<Item = u128> {
        self.series.iter().map(move |(_, histogram)| {
            u128::from(histogram.counts().get(index).copied().unwrap_or(0))
        })
    }
}

/// Draws an [`AsciiChart`] when formatted.
#[derive(Debug)]
pub struct DetailedDisplay<'a, T> {
    chart: &'a AsciiChart<T>,
}

impl<T> fmt::Display for DetailedDisplay<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let chart = self.chart;
        let buckets = chart
            .series
            .iter()
            .map(|(_, histogram)| histogram.counts().len())
            .max()
            .unwrap_or(0);
        let largest = (0..buckets).map(|index| chart.stacked(index)).max();
        let Some(largest) = largest.filter(|&count| count > 0) else {
            return Ok(());
        };

        for ((name, histogram), mark) in chart.series.iter().zip(MARKS.iter().cycle()) {
            writeln!(f, "{mark} {name}: {}", histogram.percentile_stats())?;
        }
        let width = bucket_range(buckets - 1).1.to_string().len();
        for index in 0..buckets {
            let total = chart.stacked(index);
            if total == 0 {
                continue;
            }
            let (low, high) = bucket_range(index);
            write!(f, "{low:>width$} ..= {high:>width$} |")?;
            // Each series ends where its running sum does, so that rounding
            // never makes the stack longer than the sum of its parts.
            let mut sum = 0;
            let mut drawn = 0;
            for (count, mark) in chart.counts_at(index).zip(MARKS.iter().cycle()) {
                sum += count;
                let end = (sum * BAR_WIDTH).div_ceil(largest);
                while drawn < end {
                    write!(f, "{mark}")?;
                    drawn += 1;
                }
            }
            writeln!(f, " {total}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repeated(value: u64, times: u64) -> Histogram {
        let mut histogram = Histogram::new();
        histogram.record_n(value, times);
        histogram
    }

    fn bars(text: &str) -> Vec<&str> {
        text.lines().filter(|line| line.contains('|')).collect()
    }

    #[test]
    fn nothing_recorded_draws_nothing() {
        let chart: AsciiChart = AsciiChart::new();
        assert_eq!(chart.detailed().to_string(), "");
        let chart = chart.add("idle", Histogram::new());
        assert_eq!(chart.detailed().to_string(), "");
    }

    #[test]
    fn one_line_for_each_bucket_in_use() {
        let mut histogram = repeated(10, 4);
        histogram.record_n(100, 2);
        let text = AsciiChart::new()
            .add("latency", histogram)
            .detailed()
            .to_string();
        let full = "#".repeat(48);
        let half = "#".repeat(24);
        assert_eq!(
            bars(&text),
            [
                format!("  8 ..=  15 |{full} 4"),
                format!(" 64 ..= 127 |{half} 2")
            ]
        );
        assert!(text.starts_with("# latency: [samples: 6,"), "{text}");
    }

    #[test]
    fn series_are_stacked_in_order() {
        let text = AsciiChart::new()
            .add("a", repeated(1, 3))
            .add("b", repeated(1, 1))
            .detailed()
            .to_string();
        let bar = format!("1 ..= 1 |{}{} 4", "#".repeat(36), "=".repeat(12));
        assert_eq!(bars(&text), [bar]);
    }

    #[test]
    fn the_largest_counts_still_fit_the_width() {
        let chart = (0..20).fold(AsciiChart::new(), |chart, series| {
            chart.add(series, repeated(u64::MAX, u64::MAX))
        });
        let text = chart.detailed().to_string();
        let marks = |line: &&str| line.chars().filter(|c| MARKS[1..].contains(c)).count();
        let row = bars(&text);
        assert_eq!(row.len(), 1);
        assert!(marks(&row[0]) <= 48, "{}", row[0]);
        let all = 20 * u128::from(u64::MAX);
        assert!(row[0].ends_with(&format!(" {all}")), "{}", row[0]);
    }
}
