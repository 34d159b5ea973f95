//! Numbers and truth values as Go's `strconv` reads them (base 0, that is: prefix decides).

/// Why a text is not a number or truth value of the type wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NumberError {
    /// The name under which Go reports it: `ParseInt`, `ParseUint` or `ParseBool`.
    pub function: &'static str,
    /// `invalid syntax` or `value out of range`.
    pub problem: &'static str,
}

const SYNTAX: &str = "invalid syntax";
const RANGE: &str = "value out of range";

/// One of Go's thirteen spellings.
pub(crate) fn parse_bool(text: &[u8]) -> Result<bool, NumberError> {
    match text {
        b"1" | b"t" | b"T" | b"TRUE" | b"true" | b"True" => Ok(true),
        b"0" | b"f" | b"F" | b"FALSE" | b"false" | b"False" => Ok(false),
        _ => Err(NumberError {
            function: "ParseBool",
            problem: SYNTAX,
        }),
    }
}

/// A signed number of `bits` (1 to 64): sign, prefix `0x 0o 0b 0`, underscores between digits.
pub(crate) fn parse_int(text: &[u8], bits: u8) -> Result<i64, NumberError> {
    let fail = |problem| NumberError {
        function: "ParseInt",
        problem,
    };
    let (negative, digits) = match text {
        [b'+', rest @ ..] => (false, rest),
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    let magnitude = magnitude(digits, bits).map_err(fail)?;
    let signed = i128::from(magnitude) * if negative { -1 } else { 1 };
    let limit = 1i128 << (bits - 1);
    if signed < -limit || signed >= limit {
        return Err(fail(RANGE));
    }
    i64::try_from(signed).map_err(|_| fail(RANGE))
}

/// An unsigned number of `bits` (1 to 64); no sign is allowed.
pub(crate) fn parse_uint(text: &[u8], bits: u8) -> Result<u64, NumberError> {
    let fail = |problem| NumberError {
        function: "ParseUint",
        problem,
    };
    magnitude(text, bits).map_err(fail)
}

/// What is too large is reported where it becomes so, a bad digit where it stands, and a misplaced
/// underscore only at the end: the first to be found is the error, as in Go.
fn magnitude(text: &[u8], bits: u8) -> Result<u64, &'static str> {
    let (base, mut previous, digits) = match text {
        [b'0', b'x' | b'X', rest @ ..] if !rest.is_empty() => (16, Last::Digit, rest),
        [b'0', b'o' | b'O', rest @ ..] if !rest.is_empty() => (8, Last::Digit, rest),
        [b'0', b'b' | b'B', rest @ ..] if !rest.is_empty() => (2, Last::Digit, rest),
        [b'0', rest @ ..] => (8, Last::Digit, rest),
        [] => return Err(SYNTAX),
        _ => (10, Last::Other, text),
    };
    let limit = u64::MAX >> (64 - u32::from(bits));
    let mut value = 0u64;
    let mut misplaced = false;
    for &byte in digits {
        if byte == b'_' {
            misplaced |= previous != Last::Digit;
            previous = Last::Other;
            continue;
        }
        let digit = (byte as char).to_digit(base).ok_or(SYNTAX)?;
        value = value
            .checked_mul(u64::from(base))
            .and_then(|v| v.checked_add(u64::from(digit)))
            .filter(|v| *v <= limit)
            .ok_or(RANGE)?;
        previous = Last::Digit;
    }
    if misplaced || previous != Last::Digit {
        return Err(SYNTAX);
    }
    Ok(value)
}

/// What an underscore would follow. The prefix of a base counts as a digit.
#[derive(PartialEq, Eq)]
enum Last {
    Digit,
    Other,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signed() {
        for (text, bits, want) in [
            ("80", 64, Ok(80)),
            ("0x50", 64, Ok(80)),
            ("0X5_0", 64, Ok(80)),
            ("010", 64, Ok(8)),
            ("0o10", 64, Ok(8)),
            ("0b11", 64, Ok(3)),
            ("0_7", 64, Ok(7)),
            ("1_000", 64, Ok(1000)),
            ("+1", 64, Ok(1)),
            ("-0x10", 64, Ok(-16)),
            ("0", 8, Ok(0)),
            ("127", 8, Ok(127)),
            ("-128", 8, Ok(-128)),
            ("128", 8, Err(RANGE)),
            ("-129", 8, Err(RANGE)),
            ("9223372036854775807", 64, Ok(i64::MAX)),
            ("-9223372036854775808", 64, Ok(i64::MIN)),
            ("9223372036854775808", 64, Err(RANGE)),
            ("99999999999999999999", 64, Err(RANGE)),
            ("99999999999999999999x", 64, Err(RANGE)),
            ("", 64, Err(SYNTAX)),
            ("-", 64, Err(SYNTAX)),
            ("+-1", 64, Err(SYNTAX)),
            ("_1", 64, Err(SYNTAX)),
            ("1_", 64, Err(SYNTAX)),
            ("1__0", 64, Err(SYNTAX)),
            ("0x", 64, Err(SYNTAX)),
            ("0x_5", 64, Ok(5)),
            ("0_", 64, Err(SYNTAX)),
            ("300x", 8, Err(RANGE)),
            ("1__99999999999999999999", 64, Err(RANGE)),
            ("08", 64, Err(SYNTAX)),
            ("1.5", 64, Err(SYNTAX)),
            ("1e3", 64, Err(SYNTAX)),
            (" 1", 64, Err(SYNTAX)),
        ] {
            let got = parse_int(text.as_bytes(), bits).map_err(|e| e.problem);
            assert_eq!(got, want, "{text}");
        }
    }

    #[test]
    fn unsigned() {
        for (text, bits, want) in [
            ("255", 8, Ok(255)),
            ("256", 8, Err(RANGE)),
            ("18446744073709551615", 64, Ok(u64::MAX)),
            ("18446744073709551616", 64, Err(RANGE)),
            ("-1", 8, Err(SYNTAX)),
            ("+1", 8, Err(SYNTAX)),
        ] {
            let got = parse_uint(text.as_bytes(), bits).map_err(|e| e.problem);
            assert_eq!(got, want, "{text}");
        }
    }

    #[test]
    fn truth() {
        assert_eq!(parse_bool(b"T"), Ok(true));
        assert_eq!(parse_bool(b"False"), Ok(false));
        assert!(parse_bool(b"tRUE").is_err());
        assert!(parse_bool(b"").is_err());
    }
}
