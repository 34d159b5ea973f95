//! The summary openraft prints.

use std::fmt;

/// Percentiles of a histogram, in the unit of the recorded values.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PercentileStats {
    /// How many values were recorded.
    pub samples: u64,
    /// One value in a thousand is not above this.
    pub p0_1: u64,
    /// 1 % of the values are not above this.
    pub p1: u64,
    /// 5 % of the values are not above this.
    pub p5: u64,
    /// 10 % of the values are not above this.
    pub p10: u64,
    /// The median.
    pub p50: u64,
    /// 90 % of the values are not above this.
    pub p90: u64,
    /// 99 % of the values are not above this.
    pub p99: u64,
    /// All but one value in a thousand are not above this.
    pub p99_9: u64,
}

impl fmt::Display for PercentileStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = [
            ("P0.1", self.p0_1),
            ("P1", self.p1),
            ("P5", self.p5),
            ("P10", self.p10),
            ("P50", self.p50),
            ("P90", self.p90),
            ("P99", self.p99),
            ("P99.9", self.p99_9),
        ];
        write!(f, "[samples: {}", self.samples)?;
        for (name, value) in named {
            write!(f, ", {name}: {value}")?;
        }
        f.write_str("]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_all_percentiles_on_one_line() {
        let stats = PercentileStats {
            samples: 9,
            p50: 4,
            p99_9: 12,
            ..PercentileStats::default()
        };
        assert_eq!(
            stats.to_string(),
            "[samples: 9, P0.1: 0, P1: 0, P5: 0, P10: 0, P50: 4, P90: 0, P99: 0, P99.9: 12]"
        );
    }
}
