//! What is printed.

use crate::scenario::{Row, Scenario};

/// The head of the table.
pub fn head() {
    println!(
        "{:13} {:>4} {:>8} {:9} {:>9} {:>6} | {:>8} {:>9} {:>6}  notes",
        "", "", "", "", "", "", "by cpu:", "", ""
    );
    println!(
        "{:13} {:>4} {:>8} {:9} {:>9} {:>6} | {:>8} {:>9} {:>6}",
        "scenario", "unit", "lictor", "reference", "", "ratio", "lictor", "reference", "ratio"
    );
}

/// The rows of a scenario.
pub fn rows(scenario: &Scenario, rows: &[Row]) {
    for row in rows {
        let (lictor, theirs, ratio) = compared(
            Some(row.lictor.value),
            row.reference.map(|r| r.value),
            scenario,
        );
        let by_cpu = row.reference.and_then(|r| r.by_cpu);
        let (cpu, their_cpu, cpu_ratio) = compared(row.lictor.by_cpu, by_cpu, scenario);
        println!(
            "{:13} {:>4} {lictor:>8} {:9} {theirs:>9} {ratio:>6} | {cpu:>8} {their_cpu:>9} {cpu_ratio:>6}  {}",
            scenario.name, scenario.unit, row.against, row.note,
        );
    }
}

/// Both figures and the ratio: above 1 Lictor is better.
fn compared(
    ours: Option<f64>,
    theirs: Option<f64>,
    scenario: &Scenario,
) -> (String, String, String) {
    let ratio = ours.zip(theirs).map(|(ours, theirs)| {
        if scenario.more_is_better {
            ours / theirs
        } else {
            theirs / ours
        }
    });
    let show = |value: Option<f64>| value.map_or(String::new(), figure);
    (
        show(ours),
        show(theirs),
        ratio.map_or(String::new(), |r| format!("{r:.2}")),
    )
}

fn figure(value: f64) -> String {
    match value {
        v if v >= 1000.0 => format!("{v:.0}"),
        v if v >= 1.0 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    }
}

/// The middle one.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn the_median_is_the_middle_or_between_the_two() {
        assert_eq!(median(&[9.0, 1.0, 5.0]), 5.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 100.0]), 3.0);
        assert!(median(&[]).is_nan());
    }
}
