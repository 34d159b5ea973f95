//! Reading numbers, with the errors of Go's `strconv`.

use crate::quote::quote;

/// Reads a decimal number without sign into `bits` bits (at most 64).
pub(crate) fn parse_uint(text: &str, bits: u32) -> Result<u64, String> {
    let fail = |reason| error("ParseUint", text, reason);
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(fail("invalid syntax"));
    }
    match text.parse::<u64>() {
        Ok(value) if bits >= 64 || value >> bits == 0 => Ok(value),
        _ => Err(fail("value out of range")),
    }
}

/// Reads a decimal number with an optional sign into `bits` bits (at most 64)
/// of two's complement.
pub(crate) fn parse_int(text: &str, bits: u32) -> Result<i64, String> {
    let fail = |reason| error("ParseInt", text, reason);
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(fail("invalid syntax"));
    }
    let limit = 1i128 << (bits.clamp(1, 64) - 1);
    match text.parse::<i64>() {
        Ok(value) if (-limit..limit).contains(&i128::from(value)) => Ok(value),
        _ => Err(fail("value out of range")),
    }
}

fn error(function: &str, text: &str, reason: &str) -> String {
    format!("strconv.{function}: parsing {}: {reason}", quote(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsigned() {
        assert_eq!(parse_uint("0", 32), Ok(0));
        assert_eq!(parse_uint("4294967295", 32), Ok(4_294_967_295));
        assert_eq!(parse_uint("18446744073709551615", 64), Ok(u64::MAX));
        for text in ["", "+1", "-1", "1_0", " 1", "0x1", "\u{661}"] {
            let error = parse_uint(text, 64).unwrap_err();
            assert!(error.ends_with("invalid syntax"), "{error}");
        }
        for (text, bits) in [("4294967296", 32), ("18446744073709551616", 64)] {
            let error = parse_uint(text, bits).unwrap_err();
            assert!(error.ends_with("value out of range"), "{error}");
        }
    }

    #[test]
    fn signed() {
        assert_eq!(parse_int("+4294967295", 33), Ok(4_294_967_295));
        assert_eq!(parse_int("-4294967296", 33), Ok(-4_294_967_296));
        assert_eq!(parse_int("-9223372036854775808", 64), Ok(i64::MIN));
        for text in ["", "+", "-", "+-1", "1.0", " +1"] {
            let error = parse_int(text, 64).unwrap_err();
            assert!(error.ends_with("invalid syntax"), "{error}");
        }
        for (text, bits) in [
            ("+4294967296", 33),
            ("-4294967297", 33),
            ("9223372036854775808", 64),
        ] {
            let error = parse_int(text, bits).unwrap_err();
            assert!(error.ends_with("value out of range"), "{error}");
        }
    }
}
