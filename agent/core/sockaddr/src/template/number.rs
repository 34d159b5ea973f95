//! Number literals.

use crate::quote::{quote, unquote_char};

/// A literal without sign or point may stand for several types; Go calls such
/// constants ideal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Number {
    /// Its value if it is whole, however it is written.
    pub(super) whole: Option<Whole>,
    /// Its value as a fraction.
    pub(super) float: f64,
    /// Whether it is written with a point or an exponent.
    pub(super) is_written_as_float: bool,
}

/// A whole number that fits 64 bits with or without sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Whole(i128);

impl Whole {
    /// As a signed number.
    pub(super) fn signed(self) -> Option<i64> {
        i64::try_from(self.0).ok()
    }

    /// As an unsigned number.
    pub(super) fn unsigned(self) -> Option<u64> {
        u64::try_from(self.0).ok()
    }
}

impl Number {
    /// Reads a number or, in single quotes, a character.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.starts_with('\'') {
            let code = unquote_char(text)?;
            return Ok(Self::whole(i128::from(code)));
        }
        if let Some(value) = parse_whole(text) {
            return Ok(Self::whole(value));
        }
        let illegal = || format!("illegal number syntax: {}", quote(text));
        let has_prefix = text.trim_start_matches(['+', '-']).starts_with("0x")
            || text.trim_start_matches(['+', '-']).starts_with("0X");
        if has_prefix || text.contains('_') {
            return Err(illegal());
        }
        let float: f64 = text.parse().map_err(|_| illegal())?;
        if !text.contains(['.', 'e', 'E']) {
            return Err(format!("integer overflow: {}", quote(text)));
        }
        if !float.is_finite() {
            return Err(illegal());
        }
        let limit = 2f64.powi(64);
        let whole = (float.fract() == 0.0 && float > -limit / 2.0 && float < limit)
            // In range by the check before.
            .then_some(Whole(float as i128));
        Ok(Self {
            whole,
            float,
            is_written_as_float: true,
        })
    }

    fn whole(value: i128) -> Self {
        Self {
            whole: Some(Whole(value)),
            float: value as f64,
            is_written_as_float: false,
        }
    }
}

/// Reads a whole number as Go source writes it: decimal, `0x`, `0o` or `0`,
/// `0b`, with single underscores between digits.
fn parse_whole(text: &str) -> Option<i128> {
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let lower = unsigned.to_ascii_lowercase();
    let (radix, digits) = if let Some(digits) = lower.strip_prefix("0x") {
        (16, digits.strip_prefix('_').unwrap_or(digits))
    } else if let Some(digits) = lower.strip_prefix("0o") {
        (8, digits.strip_prefix('_').unwrap_or(digits))
    } else if let Some(digits) = lower.strip_prefix("0b") {
        (2, digits.strip_prefix('_').unwrap_or(digits))
    } else if lower.len() > 1 && lower.starts_with('0') {
        (8, lower[1..].strip_prefix('_').unwrap_or(&lower[1..]))
    } else {
        (10, lower.as_str())
    };
    let stray = digits.starts_with('_') || digits.ends_with('_') || digits.contains("__");
    if stray || digits.starts_with(['+', '-']) {
        return None;
    }
    let value = i128::from_str_radix(&digits.replace('_', ""), radix).ok()?;
    let value = if negative { -value } else { value };
    (i128::from(i64::MIN)..=i128::from(u64::MAX))
        .contains(&value)
        .then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers() {
        let cases = [
            ("0", Some(0)),
            ("-5", Some(-5)),
            ("+5", Some(5)),
            ("017", Some(15)),
            ("0o17", Some(15)),
            ("0x_1F", Some(31)),
            ("0b11", Some(3)),
            ("1_000", Some(1000)),
            ("1e3", Some(1000)),
            ("1.0", Some(1)),
            ("'a'", Some(97)),
            ("18446744073709551615", Some(u64::MAX.into())),
            ("1.5", None),
            ("1e300", None),
        ];
        for (text, expected) in cases {
            let number = Number::parse(text).unwrap();
            assert_eq!(number.whole, expected.map(Whole), "{text}");
        }
    }

    #[test]
    fn not_numbers() {
        for text in [
            "",
            "-",
            "1__0",
            "_1",
            "1_",
            "0x",
            "08",
            "0b2",
            "1e",
            "1e999",
            ".",
            "--1",
            "0x1p4",
            "18446744073709551616",
            "'ab'",
            "nan",
            "inf",
        ] {
            assert!(Number::parse(text).is_err(), "{text:?}");
        }
    }
}
