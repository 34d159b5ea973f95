//! How many results in a row it takes to change a check's status.

use lictor_wire::catalog::Status;

/// Counts results in a row. The counters start at their thresholds, so the very first result
/// counts at once; a threshold of zero or one means every result does. A warning counts as a
/// success. Consul's rules.
#[derive(Clone, Debug)]
pub struct Thresholds {
    success_before_passing: u64,
    failures_before_warning: u64,
    failures_before_critical: u64,
    successes: u64,
    failures: u64,
}

impl Thresholds {
    /// Thresholds as a definition gives them; negative ones are zero.
    pub fn new(
        success_before_passing: i64,
        failures_before_warning: i64,
        failures_before_critical: i64,
    ) -> Thresholds {
        let [passing, warning, critical] = [
            success_before_passing,
            failures_before_warning,
            failures_before_critical,
        ]
        .map(|given| u64::try_from(given).unwrap_or(0));
        Thresholds {
            success_before_passing: passing,
            failures_before_warning: warning,
            failures_before_critical: critical,
            successes: passing,
            failures: critical,
        }
    }

    /// Takes a result in. Gives the status to report, or `None` while the check keeps the one it
    /// has.
    pub fn result(&mut self, status: Status) -> Option<Status> {
        if status == Status::Critical {
            self.failures = self.failures.saturating_add(1);
            self.successes = 0;
            return if self.failures >= self.failures_before_critical {
                Some(Status::Critical)
            } else if self.failures >= self.failures_before_warning {
                Some(Status::Warning)
            } else {
                None
            };
        }
        self.successes = self.successes.saturating_add(1);
        self.failures = 0;
        (self.successes >= self.success_before_passing).then_some(status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs results given as letters; `.` stands for "keeps its status".
    fn run(thresholds: [i64; 3], results: &str) -> String {
        let [passing, warning, critical] = thresholds;
        let mut t = Thresholds::new(passing, warning, critical);
        let letter = |s: Option<Status>| match s {
            Some(Status::Passing) => 'p',
            Some(Status::Warning) => 'w',
            Some(Status::Critical) => 'c',
            Some(Status::Other(_)) => '?',
            None => '.',
        };
        results
            .chars()
            .map(|c| match c {
                'p' => Status::Passing,
                'w' => Status::Warning,
                _ => Status::Critical,
            })
            .map(|s| letter(t.result(s)))
            .collect()
    }

    #[test]
    fn results_in_a_row_decide() {
        for (thresholds, results, want) in [
            ([0, 0, 0], "pcwcp", "pcwcp"), // nothing asked for: every result counts
            ([1, 1, 1], "pcwcp", "pcwcp"), // one is the same as none
            ([3, 0, 0], "pcppp", "pc..p"), // the first result counts at once, later ones need three
            ([3, 0, 0], "cpwp", "c..p"),   // a warning counts as a success
            ([0, 3, 3], "cpccc", "cp..c"), // and a first failure counts at once, too
            ([0, 3, 3], "pccpccc", "p..p..c"),
            ([0, 2, 4], "pccccc", "p.wwcc"), // between the two thresholds it warns
            ([0, 1, 3], "pccc", "pwwc"),
            ([2, 3, 3], "pcpcpp", "p....p"),
            ([-1, -1, -1], "pc", "pc"),
        ] {
            assert_eq!(run(thresholds, results), want, "{thresholds:?} {results}");
        }
    }
}
