//! Go's words for what is wrong with a JSON text.

/// What Go's decoder says of the first value in `text`, or `None` where it has no complaint.
/// What follows the first value is not looked at, as Go's streaming decoder does not either.
pub fn syntax_error(text: &[u8]) -> Option<String> {
    let mut scan = Scan { text, at: 0 };
    scan.blanks();
    if scan.at == text.len() {
        return Some("EOF".to_owned());
    }
    scan.document().err()
}

/// Deeper nesting than this is refused, as in Go.
const DEPTH: usize = 10_000;

struct Scan<'a> {
    text: &'a [u8],
    at: usize,
}

#[derive(Clone, Copy)]
enum Frame {
    Object,
    Array,
}

impl Scan<'_> {
    fn blanks(&mut self) {
        while matches!(self.text.get(self.at), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn peek(&mut self) -> Result<u8, String> {
        self.text
            .get(self.at)
            .copied()
            .ok_or_else(|| "unexpected EOF".to_owned())
    }

    fn bad<T>(&self, byte: u8, context: &str) -> Result<T, String> {
        Err(format!("invalid character {} {context}", quote_char(byte)))
    }

    /// One value, without recursion: hostile nesting must not reach the stack.
    fn document(&mut self) -> Result<(), String> {
        let mut stack: Vec<Frame> = Vec::new();
        loop {
            // A value begins here.
            self.blanks();
            let byte = self.peek()?;
            let mut opened = false;
            match byte {
                b'{' => {
                    self.at += 1;
                    self.blanks();
                    if self.peek()? == b'}' {
                        self.at += 1;
                    } else {
                        stack.push(Frame::Object);
                        self.key()?;
                        opened = true;
                    }
                }
                b'[' => {
                    self.at += 1;
                    self.blanks();
                    if self.peek()? == b']' {
                        self.at += 1;
                    } else {
                        stack.push(Frame::Array);
                        opened = true;
                    }
                }
                b'"' => self.string()?,
                b'-' | b'0'..=b'9' => self.number()?,
                b't' => self.word("true")?,
                b'f' => self.word("false")?,
                b'n' => self.word("null")?,
                other => return self.bad(other, "looking for beginning of value"),
            }
            if stack.len() > DEPTH {
                return Err("exceeded max depth".to_owned());
            }
            if opened {
                continue;
            }
            // A value has ended: close what it closes.
            loop {
                let Some(frame) = stack.last().copied() else {
                    return Ok(());
                };
                self.blanks();
                let byte = self.peek()?;
                match (frame, byte) {
                    (Frame::Object, b',') => {
                        self.at += 1;
                        self.blanks();
                        self.key()?;
                        break;
                    }
                    (Frame::Array, b',') => {
                        self.at += 1;
                        break;
                    }
                    (Frame::Object, b'}') | (Frame::Array, b']') => {
                        self.at += 1;
                        stack.pop();
                    }
                    (Frame::Object, other) => {
                        return self.bad(other, "after object key:value pair");
                    }
                    (Frame::Array, other) => return self.bad(other, "after array element"),
                }
            }
        }
    }

    fn key(&mut self) -> Result<(), String> {
        let byte = self.peek()?;
        if byte != b'"' {
            return self.bad(byte, "looking for beginning of object key string");
        }
        self.string()?;
        self.blanks();
        let byte = self.peek()?;
        if byte != b':' {
            return self.bad(byte, "after object key");
        }
        self.at += 1;
        Ok(())
    }

    fn string(&mut self) -> Result<(), String> {
        self.at += 1;
        loop {
            let byte = self.peek()?;
            match byte {
                b'"' => {
                    self.at += 1;
                    return Ok(());
                }
                b'\\' => {
                    self.at += 1;
                    let escape = self.peek()?;
                    match escape {
                        b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"' => self.at += 1,
                        b'u' => {
                            self.at += 1;
                            for _ in 0..4 {
                                let hex = self.peek()?;
                                if !hex.is_ascii_hexdigit() {
                                    return self.bad(hex, "in \\u hexadecimal character escape");
                                }
                                self.at += 1;
                            }
                        }
                        other => return self.bad(other, "in string escape code"),
                    }
                }
                0..0x20 => return self.bad(byte, "in string literal"),
                _ => self.at += 1,
            }
        }
    }

    fn digits(&mut self) {
        while matches!(self.text.get(self.at), Some(b'0'..=b'9')) {
            self.at += 1;
        }
    }

    fn number(&mut self) -> Result<(), String> {
        if self.text[self.at] == b'-' {
            self.at += 1;
            let byte = self.peek()?;
            if !byte.is_ascii_digit() {
                return self.bad(byte, "in numeric literal");
            }
        }
        if self.text[self.at] == b'0' {
            self.at += 1;
        } else {
            self.digits();
        }
        if self.text.get(self.at) == Some(&b'.') {
            self.at += 1;
            let byte = self.peek()?;
            if !byte.is_ascii_digit() {
                return self.bad(byte, "after decimal point in numeric literal");
            }
            self.digits();
        }
        if matches!(self.text.get(self.at), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.text.get(self.at), Some(b'+' | b'-')) {
                self.at += 1;
            }
            let byte = self.peek()?;
            if !byte.is_ascii_digit() {
                return self.bad(byte, "in exponent of numeric literal");
            }
            self.digits();
        }
        Ok(())
    }

    fn word(&mut self, word: &str) -> Result<(), String> {
        for want in word.bytes() {
            let byte = self.peek()?;
            if byte != want {
                return self.bad(
                    byte,
                    &format!("in literal {word} (expecting '{}')", char::from(want)),
                );
            }
            self.at += 1;
        }
        Ok(())
    }
}

/// Go's `quoteChar`: single quotes, with the two quote characters written plainly.
fn quote_char(byte: u8) -> String {
    match byte {
        b'\'' => r"'\''".to_owned(),
        b'"' => "'\"'".to_owned(),
        b'\\' => r"'\\'".to_owned(),
        b'\n' => r"'\n'".to_owned(),
        b'\r' => r"'\r'".to_owned(),
        b'\t' => r"'\t'".to_owned(),
        0x20..=0x7e => format!("'{}'", char::from(byte)),
        0x80.. => {
            // Go quotes the byte as the code point of the same number.
            let c = char::from(byte);
            if (0xa1..=0xff).contains(&byte) && byte != 0xad {
                format!("'{c}'")
            } else {
                format!("'\\u{byte:04x}'")
            }
        }
        _ => format!("'\\x{byte:02x}'"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_go_says() {
        for (text, want) in [
            ("", "EOF"),
            ("{", "unexpected EOF"),
            ("[", "unexpected EOF"),
            (
                "{oops",
                "invalid character 'o' looking for beginning of object key string",
            ),
            (
                "nonsense",
                "invalid character 'o' in literal null (expecting 'u')",
            ),
            (
                "{\"a\":1,}",
                "invalid character '}' looking for beginning of object key string",
            ),
            (
                "[1,]",
                "invalid character ']' looking for beginning of value",
            ),
            ("{\"a\" 1}", "invalid character '1' after object key"),
            (
                "{\"a\":1 2}",
                "invalid character '2' after object key:value pair",
            ),
            ("[1 2]", "invalid character '2' after array element"),
            ("-x", "invalid character 'x' in numeric literal"),
            ("\"\\q\"", "invalid character 'q' in string escape code"),
        ] {
            assert_eq!(
                syntax_error(text.as_bytes()).as_deref(),
                Some(want),
                "{text}"
            );
        }
        assert_eq!(
            syntax_error(b" {\"a\":[1,{\"b\":null}],\"c\":-1.5e3} rest"),
            None
        );
    }

    #[test]
    fn hostile_nesting_is_an_error() {
        assert_eq!(
            syntax_error("[".repeat(1_000_000).as_bytes()).as_deref(),
            Some("exceeded max depth")
        );
    }
}
