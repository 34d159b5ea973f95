//! Go's durations: how configuration, requests and answers write spans of time.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::time::Duration;

/// A span in nanoseconds, as Go's `time.Duration`. Requests may give it as a text (`"10s"`) or as
/// a number of nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GoDuration(pub i64);

const UNITS: [(&str, i64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

impl GoDuration {
    /// No time at all.
    pub const ZERO: GoDuration = GoDuration(0);

    /// Whole seconds.
    pub const fn from_secs(secs: i64) -> GoDuration {
        GoDuration(secs * 1_000_000_000)
    }

    /// Whole milliseconds.
    pub const fn from_millis(ms: i64) -> GoDuration {
        GoDuration(ms * 1_000_000)
    }

    /// The span as Rust has it; a negative one is zero.
    pub fn to_std(self) -> Duration {
        Duration::from_nanos(u64::try_from(self.0).unwrap_or(0))
    }

    /// Reads Go's form (`1h30m`, `1.5s`, `-2ms`, `0`), with Go's error texts.
    pub fn parse(text: &str) -> Result<GoDuration, String> {
        let quoted = || go_quote(text);
        let invalid = || format!("time: invalid duration {}", quoted());
        let (negative, mut rest) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        if rest == "0" {
            return Ok(GoDuration(0));
        }
        if rest.is_empty() {
            return Err(invalid());
        }
        let mut total: u128 = 0;
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let whole = &rest[..digits];
            rest = &rest[digits..];
            let mut fraction = "";
            if let Some(after) = rest.strip_prefix('.') {
                let n = after.bytes().take_while(u8::is_ascii_digit).count();
                fraction = &after[..n];
                rest = &after[n..];
            }
            if whole.is_empty() && fraction.is_empty() {
                return Err(invalid());
            }
            let end = rest
                .find(|c: char| c == '.' || c.is_ascii_digit())
                .unwrap_or(rest.len());
            let unit = &rest[..end];
            rest = &rest[end..];
            if unit.is_empty() {
                return Err(format!("time: missing unit in duration {}", quoted()));
            }
            let Some((_, scale)) = UNITS.iter().find(|(name, _)| *name == unit) else {
                return Err(format!(
                    "time: unknown unit {} in duration {}",
                    go_quote(unit),
                    quoted()
                ));
            };
            let scale = *scale as u128;
            let whole: u128 = match whole {
                "" => 0,
                w if w.len() > 19 => return Err(invalid()),
                w => w.parse().map_err(|_| invalid())?,
            };
            total += whole * scale;
            let mut unit_part = scale;
            let mut part = 0u128;
            for digit in fraction.bytes().take(18) {
                part = part * 10 + u128::from(digit - b'0');
                unit_part *= 10;
            }
            if part > 0 {
                total += part * scale / (unit_part / scale);
            }
            if total > 1 << 63 {
                return Err(invalid());
            }
        }
        if negative {
            return i64::try_from(-(total as i128))
                .map(GoDuration)
                .map_err(|_| invalid());
        }
        i64::try_from(total).map(GoDuration).map_err(|_| invalid())
    }
}

impl From<Duration> for GoDuration {
    fn from(d: Duration) -> GoDuration {
        GoDuration(i64::try_from(d.as_nanos()).unwrap_or(i64::MAX))
    }
}

impl std::fmt::Display for GoDuration {
    /// Go's `Duration.String`: `1h30m0s`, `1.5s`, `100ms`, `0s`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ns = self.0.unsigned_abs();
        if ns == 0 {
            return f.write_str("0s");
        }
        if self.0 < 0 {
            f.write_str("-")?;
        }
        let decimal = |f: &mut std::fmt::Formatter<'_>, value: u64, scale: u64, unit: &str| {
            let (whole, part) = (value / scale, value % scale);
            write!(f, "{whole}")?;
            if part > 0 {
                let width = scale.ilog10() as usize;
                let text = format!("{part:0width$}");
                write!(f, ".{}", text.trim_end_matches('0'))?;
            }
            f.write_str(unit)
        };
        match ns {
            0..1_000 => write!(f, "{ns}ns"),
            1_000..1_000_000 => decimal(f, ns, 1_000, "\u{b5}s"),
            1_000_000..1_000_000_000 => decimal(f, ns, 1_000_000, "ms"),
            _ => {
                let minutes = ns / 60_000_000_000;
                if minutes >= 60 {
                    write!(f, "{}h", minutes / 60)?;
                }
                if minutes > 0 {
                    write!(f, "{}m", minutes % 60)?;
                }
                decimal(f, ns % 60_000_000_000, 1_000_000_000, "s")
            }
        }
    }
}

impl Serialize for GoDuration {
    /// Writes the number of nanoseconds, as Go's encoder does.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(self.0)
    }
}

impl<'de> Deserialize<'de> for GoDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<GoDuration, D::Error> {
        struct V;
        impl serde::de::Visitor<'_> for V {
            type Value = GoDuration;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a duration")
            }
            fn visit_unit<E: serde::de::Error>(self) -> Result<GoDuration, E> {
                Ok(GoDuration(0))
            }
            fn visit_i64<E: serde::de::Error>(self, v: i64) -> Result<GoDuration, E> {
                Ok(GoDuration(v))
            }
            fn visit_u64<E: serde::de::Error>(self, v: u64) -> Result<GoDuration, E> {
                Ok(GoDuration(i64::try_from(v).unwrap_or(i64::MAX)))
            }
            fn visit_f64<E: serde::de::Error>(self, v: f64) -> Result<GoDuration, E> {
                Ok(GoDuration(v as i64))
            }
            fn visit_str<E: serde::de::Error>(self, v: &str) -> Result<GoDuration, E> {
                if v.is_empty() {
                    return Ok(GoDuration(0));
                }
                GoDuration::parse(v).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(V)
    }
}

/// Go's `strconv.Quote` for the texts that error messages repeat.
pub fn go_quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0b' => out.push_str("\\v"),
            '\x0c' => out.push_str("\\f"),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => {
                out.push_str(&format!("\\x{:02x}", c as u32));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_go_reads() {
        for (text, ns) in [
            ("0", 0),
            ("5s", 5_000_000_000),
            ("1.5s", 1_500_000_000),
            ("1h30m", 5_400_000_000_000),
            ("-2ms", -2_000_000),
            ("100us", 100_000),
            (".5m", 30_000_000_000),
            ("1ns", 1),
        ] {
            assert_eq!(GoDuration::parse(text), Ok(GoDuration(ns)), "{text}");
        }
    }

    #[test]
    fn names_what_is_wrong_as_go_does() {
        for (text, want) in [
            ("", r#"time: invalid duration """#),
            ("soon", r#"time: invalid duration "soon""#),
            ("5", r#"time: missing unit in duration "5""#),
            ("5x", r#"time: unknown unit "x" in duration "5x""#),
            ("9999999999h", r#"time: invalid duration "9999999999h""#),
        ] {
            assert_eq!(GoDuration::parse(text), Err(want.to_owned()), "{text}");
        }
    }

    #[test]
    fn prints_what_go_prints() {
        for (ns, want) in [
            (0, "0s"),
            (1, "1ns"),
            (1_500, "1.5\u{b5}s"),
            (100_000_000, "100ms"),
            (1_500_000_000, "1.5s"),
            (86_400_000_000_000, "24h0m0s"),
            (5_400_000_000_000, "1h30m0s"),
            (-60_000_000_000, "-1m0s"),
        ] {
            assert_eq!(GoDuration(ns).to_string(), want);
        }
    }
}
