//! Text between quotes, by the rules of Go's `strconv`.

use std::fmt::Write as _;

/// As `%q` prints it: printable characters as they are, all else escaped, bytes that are not UTF-8
/// as `\xNN`.
pub(crate) fn quote(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() + 2);
    out.push('"');
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            quote_char(&mut out, c);
        }
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out.push('"');
    out
}

fn quote_char(out: &mut String, c: char) {
    let short = match c {
        '"' => "\\\"",
        '\\' => "\\\\",
        '\x07' => "\\a",
        '\x08' => "\\b",
        '\x0c' => "\\f",
        '\n' => "\\n",
        '\r' => "\\r",
        '\t' => "\\t",
        '\x0b' => "\\v",
        _ => "",
    };
    let code = u32::from(c);
    let written = if !short.is_empty() {
        out.push_str(short);
        Ok(())
    } else if is_printable(c) {
        out.push(c);
        Ok(())
    } else if code < 0x80 {
        write!(out, "\\x{code:02x}")
    } else if code < 0x1_0000 {
        write!(out, "\\u{code:04x}")
    } else {
        write!(out, "\\U{code:08x}")
    };
    debug_assert!(written.is_ok(), "a String takes all");
}

/// Letters, marks, numbers, punctuation, symbols and the ASCII blank.
fn is_printable(c: char) -> bool {
    if c.is_ascii() {
        return (' '..='~').contains(&c);
    }
    // The standard library escapes what is not printable, and a combining mark only where a string
    // begins with it; so the mark is shown to it in second place.
    let mut pair = [0u8; 5];
    pair[0] = b'a';
    let end = 1 + c.encode_utf8(&mut pair[1..]).len();
    std::str::from_utf8(&pair[..end]).is_ok_and(|s| s.escape_debug().count() == 2)
}

/// The content of a double-quoted literal (without its quotes). `None` is Go's `invalid syntax`.
///
/// Escapes of a byte (`\xNN`, `\NNN`) may give what is not UTF-8.
pub(crate) fn unquote(content: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(content.len());
    let mut rest = content.chars();
    while let Some(c) = rest.next() {
        match c {
            '\n' => return None,
            '\\' => {
                let escape = rest.next()?;
                match escape {
                    'a' => out.push(0x07),
                    'b' => out.push(0x08),
                    'f' => out.push(0x0c),
                    'n' => out.push(b'\n'),
                    'r' => out.push(b'\r'),
                    't' => out.push(b'\t'),
                    'v' => out.push(0x0b),
                    '\\' => out.push(b'\\'),
                    '"' => out.push(b'"'),
                    'x' => out.push(u8::try_from(digits(&mut rest, 2, 16, 0)?).ok()?),
                    '0'..='7' => {
                        let first = escape.to_digit(8)?;
                        out.push(u8::try_from(digits(&mut rest, 2, 8, first)?).ok()?);
                    }
                    'u' => push(&mut out, char::from_u32(digits(&mut rest, 4, 16, 0)?)?),
                    'U' => push(&mut out, char::from_u32(digits(&mut rest, 8, 16, 0)?)?),
                    _ => return None,
                }
            }
            other => push(&mut out, other),
        }
    }
    Some(out)
}

fn push(out: &mut Vec<u8>, c: char) {
    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}

fn digits(rest: &mut std::str::Chars<'_>, count: usize, base: u32, first: u32) -> Option<u32> {
    let mut value = first;
    for _ in 0..count {
        let digit = rest.next()?.to_digit(base)?;
        value = value.checked_mul(base)?.checked_add(digit)?;
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoting() {
        for (bytes, want) in [
            (&b"plain"[..], r#""plain""#),
            (b"a\"b\\c", r#""a\"b\\c""#),
            (b"\x07\x08\x0c\n\r\t\x0b", r#""\a\b\f\n\r\t\v""#),
            (b"\x00\x1f\x7f", r#""\x00\x1f\x7f""#),
            (b"a\x80\xffb", r#""a\x80\xffb""#),
            ("é世".as_bytes(), r#""é世""#),
            (
                "\u{a0}\u{2028}\u{e000}".as_bytes(),
                r#""\u00a0\u2028\ue000""#,
            ),
            ("\u{301}".as_bytes(), "\"\u{301}\""),
            ("\u{1F600}".as_bytes(), "\"\u{1F600}\""),
            ("\u{10FFFF}".as_bytes(), r#""\U0010ffff""#),
        ] {
            assert_eq!(quote(bytes), want);
        }
    }

    #[test]
    fn unquoting() {
        for (text, want) in [
            ("plain", Some(&b"plain"[..])),
            (r"\n\t\\", Some(b"\n\t\\")),
            (r"we\u0062", Some(b"web")),
            (r"\x41\101\U00000042", Some(b"AAB")),
            (r"\x80", Some(b"\x80")),
            (r"\377", Some(b"\xff")),
            (r"\400", None),
            (r"\q", None),
            (r"\'", None),
            (r"\ud800", None),
            (r"\U00110000", None),
            (r"\u12", None),
            (r"\x4", None),
            ("\\", None),
            ("a\nb", None),
            ("a\rb", Some(b"a\rb")),
        ] {
            assert_eq!(unquote(text).as_deref(), want, "{text}");
        }
    }
}
