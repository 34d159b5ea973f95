//! What is printed.

use crate::scenario::{Row, Scenario};

/// The head of the table.
pub fn head() {
    println!(
        "{:16} {:>6} {:>12}  {:16} {:>12} {:>8}  notes",
        "scenario", "unit", "lictor", "reference", "reference", "ratio"
    );
}

/// The rows of a scenario.
pub fn rows(scenario: &Scenario, rows: &[Row]) {
    for row in rows {
        let (theirs, ratio) = match row.reference {
            Some(value) => {
                let ratio = if scenario.more_is_better {
                    row.lictor / value
                } else {
                    value / row.lictor
                };
                (figure(value), format!("{ratio:.2}"))
            }
            None => (String::new(), String::new()),
        };
        println!(
            "{:16} {:>6} {:>12}  {:16} {theirs:>12} {ratio:>8}  {}",
            scenario.name,
            scenario.unit,
            figure(row.lictor),
            row.against,
            row.note,
        );
    }
}

fn figure(value: f64) -> String {
    if value >= 1000.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.1}")
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
