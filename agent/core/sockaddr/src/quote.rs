//! Go's way of writing and reading quoted text.

use std::fmt::Write;

/// Quotes as Go's `%q` does.
pub(crate) fn quote(text: &str) -> String {
    quoted(text, false)
}

/// Quotes as Go's `%+q` does: nothing but ASCII.
pub(crate) fn quote_ascii(text: &str) -> String {
    quoted(text, true)
}

/// Quotes a character as Go's `%q` does.
pub(crate) fn quote_char(c: char) -> String {
    let mut out = String::from('\'');
    push_escaped(&mut out, c, '\'', false);
    out.push('\'');
    out
}

fn quoted(text: &str, ascii_only: bool) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        push_escaped(&mut out, c, '"', ascii_only);
    }
    out.push('"');
    out
}

fn push_escaped(out: &mut String, c: char, quote: char, ascii_only: bool) {
    let code = u32::from(c);
    // Writing to a string cannot fail.
    let _ = match c {
        '\u{7}' => write!(out, "\\a"),
        '\u{8}' => write!(out, "\\b"),
        '\u{c}' => write!(out, "\\f"),
        '\n' => write!(out, "\\n"),
        '\r' => write!(out, "\\r"),
        '\t' => write!(out, "\\t"),
        '\u{b}' => write!(out, "\\v"),
        '\\' => write!(out, "\\\\"),
        c if c == quote => write!(out, "\\{c}"),
        ' '..='~' => write!(out, "{c}"),
        c if c.is_ascii() => write!(out, "\\x{code:02x}"),
        c if !ascii_only && is_printable(c) => write!(out, "{c}"),
        _ if code <= 0xffff => write!(out, "\\u{code:04x}"),
        _ => write!(out, "\\U{code:08x}"),
    };
}

fn is_printable(c: char) -> bool {
    // Rust escapes for debugging what has no glyph, just as Go does.
    !c.is_whitespace() && c.escape_debug().count() == 1
}

/// Names a character as Go's `%#U` does: `U+0040 '@'`.
pub(crate) fn name_char(c: char) -> String {
    let code = u32::from(c);
    if (' '..='~').contains(&c) || (!c.is_ascii() && is_printable(c)) {
        format!("U+{code:04X} '{c}'")
    } else {
        format!("U+{code:04X}")
    }
}

/// Reads a Go string literal, quotes included: `"..."` with escapes or
/// `` `...` `` without. Bytes written by escapes that are no UTF-8 become
/// U+FFFD.
pub(crate) fn unquote(literal: &str) -> Option<String> {
    if let Some(raw) = literal.strip_prefix('`') {
        // Go drops carriage returns, so that sources mean the same everywhere.
        return Some(raw.strip_suffix('`')?.replace('\r', ""));
    }
    let inner = literal.strip_prefix('"')?.strip_suffix('"')?;
    let mut bytes = Vec::with_capacity(inner.len());
    let mut rest = inner.chars();
    while let Some(c) = rest.next() {
        match c {
            '"' | '\n' => return None,
            '\\' => match unescape(&mut rest, '"')? {
                Escape::Byte(byte) => bytes.push(byte),
                Escape::Char(c) => push_char(&mut bytes, c),
            },
            c => push_char(&mut bytes, c),
        }
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// Reads a Go character literal, quotes included, as its code.
pub(crate) fn unquote_char(literal: &str) -> Result<u32, String> {
    let malformed = || format!("malformed character constant: {literal}");
    let Some(inner) = literal.strip_prefix('\'') else {
        return Err(malformed());
    };
    let mut rest = inner.chars();
    let code = match rest.next() {
        None | Some('\'' | '\n') => None,
        Some('\\') => unescape(&mut rest, '\'').map(|escape| match escape {
            Escape::Byte(byte) => u32::from(byte),
            Escape::Char(c) => u32::from(c),
        }),
        Some(c) => Some(u32::from(c)),
    };
    match code {
        None => Err("invalid syntax".to_owned()),
        Some(code) if rest.as_str() == "'" => Ok(code),
        Some(_) => Err(malformed()),
    }
}

enum Escape {
    Byte(u8),
    Char(char),
}

/// Reads what follows a backslash within quotes of the kind `quote`.
fn unescape(rest: &mut std::str::Chars<'_>, quote: char) -> Option<Escape> {
    Some(Escape::Char(match rest.next()? {
        'a' => '\u{7}',
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\u{b}',
        '\\' => '\\',
        c if c == quote => c,
        'x' => return Some(Escape::Byte(u8::try_from(digits(rest, 2, 16, 0)?).ok()?)),
        'u' => char::from_u32(digits(rest, 4, 16, 0)?)?,
        'U' => char::from_u32(digits(rest, 8, 16, 0)?)?,
        c @ '0'..='7' => {
            let code = digits(rest, 2, 8, c.to_digit(8)?)?;
            return Some(Escape::Byte(u8::try_from(code).ok()?));
        }
        _ => return None,
    }))
}

/// Reads exactly `count` digits after what `value` holds already.
fn digits(rest: &mut std::str::Chars<'_>, count: usize, radix: u32, value: u32) -> Option<u32> {
    (0..count).try_fold(value, |value, _| {
        let digit = rest.next()?.to_digit(radix)?;
        value.checked_mul(radix)?.checked_add(digit)
    })
}

fn push_char(bytes: &mut Vec<u8>, c: char) {
    bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes() {
        assert_eq!(quote("a\"b\\\n\u{1}é\u{7f}"), r#""a\"b\\\n\x01é\x7f""#);
        assert_eq!(quote_ascii("é😀'"), r#""\u00e9\U0001f600'""#);
        assert_eq!(quote("\u{200b}\u{a0}"), r#""\u200b\u00a0""#);
        assert_eq!(quote_char('\''), r"'\''");
        assert_eq!(quote_char('"'), "'\"'");
        assert_eq!(quote_char('\0'), r"'\x00'");
        assert_eq!(name_char('@'), "U+0040 '@'");
        assert_eq!(name_char('\u{1}'), "U+0001");
    }

    #[test]
    fn unquotes() {
        let cases = [
            (r#""a\tb""#, Some("a\tb")),
            (r#""\x41\101\u0041\U00000041""#, Some("AAAA")),
            (r#""\xc3\xa9""#, Some("é")),
            (r#""\xff""#, Some("\u{fffd}")),
            (r#""\"""#, Some("\"")),
            ("`a\\n\rb`", Some("a\\nb")),
            (r#""\q""#, None),
            (r#""\'""#, None),
            (r#""\x4""#, None),
            (r#""\400""#, None),
            (r#""\ud800""#, None),
            (r#""\""#, None),
            (r#"""#, None),
            ("`", None),
            ("", None),
        ];
        for (literal, expected) in cases {
            assert_eq!(unquote(literal).as_deref(), expected, "{literal}");
        }
    }

    #[test]
    fn unquotes_characters() {
        let cases = [
            ("'a'", Some(97)),
            (r"'\n'", Some(10)),
            (r"'\''", Some(39)),
            (r"'\xff'", Some(255)),
            ("'ab'", None),
            ("''", None),
            ("'", None),
        ];
        for (literal, expected) in cases {
            assert_eq!(unquote_char(literal).ok(), expected, "{literal}");
        }
    }
}
