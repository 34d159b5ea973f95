//! Go's `printf`: the verbs and flags that make sense for addresses.

use std::fmt::Write;

use super::value::{Value, exponent_text, float_text};
use crate::limits;
use crate::quote::{quote, quote_char};

/// The widest padding and the most digits Go allows.
const MAX_WIDTH: usize = 1_000_000;

#[derive(Debug, Default, Clone, Copy)]
struct Spec {
    left: bool,
    plus: bool,
    space: bool,
    sharp: bool,
    zero: bool,
    width: usize,
    precision: Option<usize>,
}

/// Formats `arguments` by `format`. Mistakes show in the text, as in Go.
pub(super) fn printf(format: &str, arguments: &[Value<'_>]) -> Result<String, String> {
    let mut out = String::new();
    let mut arguments = arguments.iter();
    let mut rest = format;
    while let Some((text, directive)) = rest.split_once('%') {
        out.push_str(text);
        let (spec, after, bad_width) = parse_spec(directive);
        if bad_width {
            out.push_str("%!(BADWIDTH)");
        }
        let mut chars = after.chars();
        let Some(verb) = chars.next() else {
            out.push_str("%!(NOVERB)");
            rest = "";
            break;
        };
        rest = chars.as_str();
        if verb == '%' {
            out.push('%');
        } else if let Some(argument) = arguments.next() {
            out.push_str(&format_one(verb, spec, argument));
        } else {
            // Writing to a string cannot fail, here and below.
            let _ = write!(out, "%!{verb}(MISSING)");
        }
        if out.len() > limits::TEXT {
            return Err(limits::too_much_text());
        }
    }
    out.push_str(rest);
    if arguments.len() > 0 {
        let mut separator = "%!(EXTRA ";
        for argument in arguments {
            let _ = match argument {
                Value::Nil => write!(out, "{separator}<nil>"),
                value => write!(out, "{separator}{}={value}", value.type_name()),
            };
            separator = ", ";
            if out.len() > limits::TEXT {
                return Err(limits::too_much_text());
            }
        }
        out.push(')');
    }
    Ok(out)
}

/// Reads flags, width and precision. Tells whether the width was too large and
/// is left out.
fn parse_spec(directive: &str) -> (Spec, &str, bool) {
    let mut spec = Spec::default();
    let flags = directive.len()
        - directive
            .trim_start_matches(['-', '+', ' ', '#', '0'])
            .len();
    for flag in directive[..flags].chars() {
        match flag {
            '-' => spec.left = true,
            '+' => spec.plus = true,
            ' ' => spec.space = true,
            '#' => spec.sharp = true,
            _ => spec.zero = true,
        }
    }
    let (width, mut rest) = parse_digits(&directive[flags..]);
    spec.width = width.unwrap_or(0);
    let bad_width = spec.width > MAX_WIDTH;
    if bad_width {
        spec.width = 0;
    }
    if let Some(after) = rest.strip_prefix('.') {
        let (precision, after) = parse_digits(after);
        spec.precision = Some(precision.unwrap_or(0).min(MAX_WIDTH));
        rest = after;
    }
    (spec, rest, bad_width)
}

fn parse_digits(text: &str) -> (Option<usize>, &str) {
    let rest = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let digits = &text[..text.len() - rest.len()];
    let value = (!digits.is_empty()).then(|| digits.parse().unwrap_or(usize::MAX));
    (value, rest)
}

fn format_one(verb: char, spec: Spec, value: &Value<'_>) -> String {
    if verb == 'T' {
        return pad(spec, value.type_name().to_owned());
    }
    let formatted = match value {
        Value::Nil => (verb == 'v').then(|| pad(spec, value.to_string())),
        Value::Bool(b) => matches!(verb, 't' | 'v').then(|| pad(spec, b.to_string())),
        Value::Int(n) => integer(verb, spec, i128::from(*n)),
        Value::Uint(n) => integer(verb, spec, i128::from(*n)),
        Value::Float(n) => float(verb, spec, *n),
        Value::Text(text) => string(verb, spec, text),
        Value::Address(item) => string(verb, spec, &item.to_string()),
        Value::List(list) => {
            let items: Option<Vec<String>> = list
                .iter()
                .map(|item| string(verb, spec, &item.to_string()))
                .collect();
            items.map(|items| format!("[{}]", items.join(" ")))
        }
    };
    formatted.unwrap_or_else(|| match value {
        Value::Nil => format!("%!{verb}(<nil>)"),
        _ => format!("%!{verb}({}={value})", value.type_name()),
    })
}

fn string(verb: char, spec: Spec, text: &str) -> Option<String> {
    let cut = match spec.precision {
        Some(most) => match text.char_indices().nth(most) {
            Some((at, _)) => &text[..at],
            None => text,
        },
        None => text,
    };
    let formatted = match verb {
        's' | 'v' => cut.to_owned(),
        'q' => quote(cut),
        'x' => text.bytes().map(|b| format!("{b:02x}")).collect(),
        'X' => text.bytes().map(|b| format!("{b:02X}")).collect(),
        _ => return None,
    };
    Some(pad(spec, formatted))
}

fn integer(verb: char, spec: Spec, value: i128) -> Option<String> {
    let size = value.unsigned_abs();
    let (prefix, digits) = match verb {
        'd' | 'v' => ("", size.to_string()),
        'b' => ("0b", format!("{size:b}")),
        'o' => ("0", format!("{size:o}")),
        'x' => ("0x", format!("{size:x}")),
        'X' => ("0X", format!("{size:X}")),
        'c' | 'q' => {
            let c = u32::try_from(value).ok().and_then(char::from_u32);
            let c = c.unwrap_or(char::REPLACEMENT_CHARACTER);
            let text = match verb {
                'c' => c.to_string(),
                _ => quote_char(c),
            };
            return Some(pad(spec, text));
        }
        _ => return None,
    };
    let prefix = if spec.sharp { prefix } else { "" };
    Some(signed(spec, value < 0, prefix, &digits))
}

fn float(verb: char, spec: Spec, value: f64) -> Option<String> {
    let size = value.abs();
    let digits = match (verb, spec.precision) {
        ('f' | 'F', precision) => format!("{size:.*}", precision.unwrap_or(6)),
        ('e', precision) => exponent_text(&format!("{size:.*e}", precision.unwrap_or(6))),
        ('g' | 'v', None) => float_text(size),
        _ => return None,
    };
    Some(signed(spec, value.is_sign_negative(), "", &digits))
}

/// Puts the sign and the prefix before the digits, with zeros between if they
/// are asked for.
fn signed(spec: Spec, negative: bool, prefix: &str, digits: &str) -> String {
    let sign = if negative {
        "-"
    } else if spec.plus {
        "+"
    } else if spec.space {
        " "
    } else {
        ""
    };
    if spec.zero && !spec.left {
        let digit_width = spec.width.saturating_sub(sign.len());
        return format!("{sign}{prefix}{digits:0>digit_width$}");
    }
    pad(spec, format!("{sign}{prefix}{digits}"))
}

fn pad(spec: Spec, text: String) -> String {
    let missing = spec.width.saturating_sub(text.chars().count());
    if missing == 0 {
        text
    } else if spec.left {
        text + &" ".repeat(missing)
    } else {
        " ".repeat(missing) + &text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs_and_flags() {
        let text = || Value::text("ab");
        let cases = [
            (
                "%s|%5s|%-5s|%.1s|%q|%x|%X",
                text(),
                "ab|   ab|ab   |a|\"ab\"|6162|6162",
            ),
            (
                "%d|%5d|%-5d|%05d|%+d|% d|%x|%#x|%b|%o|%c",
                Value::Int(65),
                "65|   65|65   |00065|+65| 65|41|0x41|1000001|101|A",
            ),
            ("%d|%05d|%x", Value::Int(-10), "-10|-0010|-a"),
            (
                "%v|%f|%.1f|%e|%g",
                Value::Float(2.5),
                "2.5|2.500000|2.5|2.500000e+00|2.5",
            ),
            ("%t|%v|%5t", Value::Bool(true), "true|true| true"),
            ("%v", Value::Nil, "<nil>"),
            ("%T", Value::Int(1), "int"),
            ("%z", Value::Int(1), "%!z(int=1)"),
            ("%d", Value::Nil, "%!d(<nil>)"),
            ("%99999999999999999999d", Value::Int(1), "%!(BADWIDTH)1"),
        ];
        for (format, value, expected) in cases {
            let count = format.matches('%').count();
            let arguments = vec![value; count];
            assert_eq!(printf(format, &arguments).unwrap(), expected, "{format}");
        }
    }

    #[test]
    fn mistakes_show() {
        assert_eq!(printf("%d", &[]).unwrap(), "%!d(MISSING)");
        assert_eq!(printf("%", &[]).unwrap(), "%!(NOVERB)");
        assert_eq!(printf("%%", &[]).unwrap(), "%");
        assert_eq!(
            printf("", &[Value::Int(1), Value::Nil]).unwrap(),
            "%!(EXTRA int=1, <nil>)"
        );
    }

    #[test]
    fn the_text_is_bounded() {
        let format = "%900000s".repeat(3);
        let arguments = vec![Value::text(""); 3];
        assert_eq!(printf(&format, &arguments), Err(limits::too_much_text()));
    }
}
