//! Strict JSON as Go reads it, with Go's error texts.

use std::collections::BTreeMap;

use crate::tree::{Entry, MAX_DEPTH, Object, Pos, Tree, Value};

/// Reads a JSON file; the top value must be an object (or `null`, which is an empty one).
///
/// # Errors
/// Go's text for the first error.
pub fn parse(bytes: &[u8]) -> Result<Tree, String> {
    let (tree, too_large) = syntax(bytes, false)?;
    let pos = tree.pos;
    match tree.value {
        Value::Object(_) => too_large.map_or(Ok(tree), Err),
        Value::Null => Ok(Tree {
            value: Value::Object(Object::default()),
            pos,
        }),
        other => {
            let what = match other {
                Value::List(_) | Value::Blocks(_) => "array",
                Value::Bool(_) => "bool",
                Value::String(_) => "string",
                _ => "number",
            };
            Err(format!(
                "json: cannot unmarshal {what} into Go value of type map[string]interface {{}}"
            ))
        }
    }
}

/// Reads the JSON that HCL allows: commas may stand before a closing bracket.
pub(crate) fn parse_lenient(bytes: &[u8]) -> Result<Tree, String> {
    parse_value(bytes, true)
}

/// Reads any value, for instance one from an environment variable.
pub(crate) fn parse_value(bytes: &[u8], lenient: bool) -> Result<Tree, String> {
    let (tree, too_large) = syntax(bytes, lenient)?;
    too_large.map_or(Ok(tree), Err)
}

/// Reads a value, and says whether it holds a number that no float can.
fn syntax(bytes: &[u8], lenient: bool) -> Result<(Tree, Option<String>), String> {
    let mut reader = Reader {
        bytes,
        at: 0,
        line: 1,
        line_start: 0,
        depth: 0,
        lenient,
        too_large: None,
    };
    let tree = reader.value()?;
    reader.blanks();
    match reader.peek() {
        None => Ok((tree, reader.too_large)),
        Some(_) => Err(reader.unexpected("after top-level value")),
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    line: u32,
    line_start: usize,
    depth: usize,
    lenient: bool,
    /// The first number that no float can hold; told only if the syntax is right.
    too_large: Option<String>,
}

const VALUE: &str = "looking for beginning of value";
const STRING: &str = "in string literal";

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn pos(&self) -> Pos {
        let column = self.at.saturating_sub(self.line_start).saturating_add(1);
        Pos {
            line: self.line,
            column: u32::try_from(column).unwrap_or(u32::MAX),
        }
    }

    fn blanks(&mut self) {
        while let Some(byte) = self.peek() {
            match byte {
                b'\n' => {
                    self.at += 1;
                    self.line = self.line.saturating_add(1);
                    self.line_start = self.at;
                }
                b' ' | b'\t' | b'\r' => self.at += 1,
                _ => break,
            }
        }
    }

    /// The error for the byte that is next.
    fn unexpected(&self, context: &str) -> String {
        match self.peek() {
            // Inside of a word or number Go tries a blank behind the end first.
            None if context.starts_with("in ") && context != STRING
                || context.starts_with("after d") =>
            {
                format!("invalid character ' ' {context}")
            }
            None => "unexpected end of JSON input".to_string(),
            Some(byte) => format!("invalid character {} {context}", quote_byte(byte)),
        }
    }

    fn value(&mut self) -> Result<Tree, String> {
        self.blanks();
        let pos = self.pos();
        let value = match self.peek() {
            Some(b'{') => self.nested(Self::object)?,
            Some(b'[') => self.nested(Self::list)?,
            Some(b'"') => Value::String(self.string()?),
            Some(b't') => self.word("true", Value::Bool(true))?,
            Some(b'f') => self.word("false", Value::Bool(false))?,
            Some(b'n') => self.word("null", Value::Null)?,
            Some(b'-' | b'0'..=b'9') => Value::Float(self.number()?),
            _ => return Err(self.unexpected(VALUE)),
        };
        Ok(Tree { value, pos })
    }

    fn nested(&mut self, read: fn(&mut Self) -> Result<Value, String>) -> Result<Value, String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err("exceeded max depth".to_string());
        }
        self.at += 1; // the opening bracket
        let value = read(self)?;
        self.depth -= 1;
        Ok(value)
    }

    fn object(&mut self) -> Result<Value, String> {
        let mut object = Object::default();
        let mut index: BTreeMap<String, usize> = BTreeMap::new();
        loop {
            self.blanks();
            let first = object.entries.is_empty();
            match self.peek() {
                Some(b'}') if first || self.lenient => {
                    self.at += 1;
                    return Ok(Value::Object(object));
                }
                Some(b'"') => {}
                _ => return Err(self.unexpected("looking for beginning of object key string")),
            }
            let pos = self.pos();
            let key = self.string()?;
            self.blanks();
            if self.peek() != Some(b':') {
                return Err(self.unexpected("after object key"));
            }
            self.at += 1;
            let value = self.value()?;
            // Of a repeated key the last value counts, whole.
            match index.get(&key) {
                Some(&at) => object.entries[at] = Entry { key, pos, value },
                None => {
                    index.insert(key.clone(), object.entries.len());
                    object.entries.push(Entry { key, pos, value });
                }
            }
            self.blanks();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(Value::Object(object));
                }
                _ => return Err(self.unexpected("after object key:value pair")),
            }
        }
    }

    fn list(&mut self) -> Result<Value, String> {
        let mut items = Vec::new();
        loop {
            self.blanks();
            if self.peek() == Some(b']') && (items.is_empty() || self.lenient) {
                self.at += 1;
                return Ok(Value::List(items));
            }
            items.push(self.value()?);
            self.blanks();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(Value::List(items));
                }
                _ => return Err(self.unexpected("after array element")),
            }
        }
    }

    fn word(&mut self, word: &str, value: Value) -> Result<Value, String> {
        for (i, expected) in word.bytes().enumerate() {
            if self.peek() != Some(expected) {
                debug_assert!(i > 0, "the first letter chose the word");
                return Err(self.unexpected(&format!(
                    "in literal {word} (expecting '{}')",
                    expected as char
                )));
            }
            self.at += 1;
        }
        Ok(value)
    }

    fn number(&mut self) -> Result<f64, String> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek() {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits(),
            _ => return Err(self.unexpected("in numeric literal")),
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.need_digit("after decimal point in numeric literal")?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.need_digit("in exponent of numeric literal")?;
        }
        let text = std::str::from_utf8(&self.bytes[start..self.at]).unwrap_or_default();
        match text.parse::<f64>() {
            Ok(x) if x.is_finite() => Ok(x),
            _ => {
                let error =
                    format!("json: cannot unmarshal number {text} into Go value of type float64");
                self.too_large.get_or_insert(error);
                Ok(0.0)
            }
        }
    }

    fn need_digit(&mut self, context: &str) -> Result<(), String> {
        if !self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            return Err(self.unexpected(context));
        }
        self.digits();
        Ok(())
    }

    fn digits(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
    }

    fn string(&mut self) -> Result<String, String> {
        self.at += 1; // the opening quote
        let mut raw: Vec<u8> = Vec::new();
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    // Bytes that are no text become U+FFFD, as in Go.
                    return Ok(String::from_utf8_lossy(&raw).into_owned());
                }
                Some(b'\\') => {
                    self.at += 1;
                    self.escape(&mut raw)?;
                }
                Some(byte) if byte >= 0x20 => {
                    self.at += 1;
                    raw.push(byte);
                }
                _ => return Err(self.unexpected(STRING)),
            }
        }
    }

    fn escape(&mut self, raw: &mut Vec<u8>) -> Result<(), String> {
        let plain = match self.peek() {
            Some(byte @ (b'"' | b'\\' | b'/')) => byte,
            Some(b'b') => 8,
            Some(b'f') => 12,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'u') => {
                self.at += 1;
                let c = self.unicode()?;
                raw.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                return Ok(());
            }
            _ => return Err(self.unexpected("in string escape code")),
        };
        self.at += 1;
        raw.push(plain);
        Ok(())
    }

    /// A character after `\u`; two escapes may form one, half a pair is U+FFFD.
    fn unicode(&mut self) -> Result<char, String> {
        let first = self.hex4()?;
        if (0xd800..0xdc00).contains(&first) && self.bytes[self.at..].starts_with(b"\\u") {
            let back = self.at;
            self.at += 2;
            let second = self.hex4()?;
            if (0xdc00..0xe000).contains(&second) {
                let code = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                return Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            self.at = back;
        }
        Ok(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn hex4(&mut self) -> Result<u32, String> {
        let mut code = 0;
        for _ in 0..4 {
            let Some(digit) = self.peek().and_then(|byte| (byte as char).to_digit(16)) else {
                return Err(self.unexpected("in \\u hexadecimal character escape"));
            };
            code = code * 16 + digit;
            self.at += 1;
        }
        Ok(code)
    }
}

/// A byte as Go's decoder quotes it: taken as the character of that code.
fn quote_byte(byte: u8) -> String {
    match byte {
        b'\'' => r"'\''".to_string(),
        b'"' => "'\"'".to_string(),
        b'\\' => r"'\\'".to_string(),
        7 => r"'\a'".to_string(),
        8 => r"'\b'".to_string(),
        b'\t' => r"'\t'".to_string(),
        b'\n' => r"'\n'".to_string(),
        11 => r"'\v'".to_string(),
        12 => r"'\f'".to_string(),
        b'\r' => r"'\r'".to_string(),
        0x20..=0x7e | 0xa1..=0xac | 0xae..=0xff => format!("'{}'", byte as char),
        0x7f..=0xad => format!("'\\u{byte:04x}'"),
        _ => format!("'\\x{byte:02x}'"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        parse(text.as_bytes()).expect_err(text)
    }

    #[test]
    fn errors_have_go_texts() {
        let table = [
            (
                r#"{"a": 1,}"#,
                "invalid character '}' looking for beginning of object key string",
            ),
            (
                r#"{"a": 1} x"#,
                "invalid character 'x' after top-level value",
            ),
            (r#"{"datacenter": "#, "unexpected end of JSON input"),
            ("{", "unexpected end of JSON input"),
            ("", "unexpected end of JSON input"),
            (
                "[1]",
                "json: cannot unmarshal array into Go value of type map[string]interface {}",
            ),
            (
                "5",
                "json: cannot unmarshal number into Go value of type map[string]interface {}",
            ),
            (
                r#""a""#,
                "json: cannot unmarshal string into Go value of type map[string]interface {}",
            ),
            (
                "true",
                "json: cannot unmarshal bool into Go value of type map[string]interface {}",
            ),
            (r#"{"a" 1}"#, "invalid character '1' after object key"),
            (
                r#"{"a": 1 "b"}"#,
                "invalid character '\"' after object key:value pair",
            ),
            (
                r#"{"a": [1 2]}"#,
                "invalid character '2' after array element",
            ),
            (
                r#"{"a": [1,]}"#,
                "invalid character ']' looking for beginning of value",
            ),
            (
                r#"{"a": tru}"#,
                "invalid character '}' in literal true (expecting 'e')",
            ),
            (
                r#"{"a": 01}"#,
                "invalid character '1' after object key:value pair",
            ),
            (
                r#"{"a": 1.}"#,
                "invalid character '}' after decimal point in numeric literal",
            ),
            (
                r#"{"a": 1e}"#,
                "invalid character '}' in exponent of numeric literal",
            ),
            (r#"{"a": -}"#, "invalid character '}' in numeric literal"),
            (
                r#"{"a": "\q"}"#,
                "invalid character 'q' in string escape code",
            ),
            (
                r#"{"a": "\u00g0"}"#,
                "invalid character 'g' in \\u hexadecimal character escape",
            ),
            (
                "{\"a\": \"\n\"}",
                "invalid character '\\n' in string literal",
            ),
            (
                "// note",
                "invalid character '/' looking for beginning of value",
            ),
            (
                "\u{feff}{}",
                "invalid character 'ï' looking for beginning of value",
            ),
            (
                r#"{"a": 1e999}"#,
                "json: cannot unmarshal number 1e999 into Go value of type float64",
            ),
        ];
        for (text, expected) in table {
            assert_eq!(error(text), expected, "for {text:?}");
        }
    }

    #[test]
    fn values_are_read() {
        let tree = parse(
            br#" {"a": [1, "x\u00e9\ud83d\ude00\ud800", null], "a": {"b": false}, "c": 1e2} "#,
        );
        let Ok(Tree {
            value: Value::Object(object),
            ..
        }) = tree
        else {
            panic!("{tree:?}")
        };
        assert_eq!(object.entries.len(), 2, "the last of two equal keys counts");
        assert_eq!(object.value("c"), Some(&Value::Float(100.0)));
        assert!(matches!(object.value("a"), Some(Value::Object(_))));
        let text = parse_value(br#""x\u00e9\ud83d\ude00\ud800""#, false).map(|tree| tree.value);
        assert_eq!(text, Ok(Value::String("x\u{e9}\u{1f600}\u{fffd}".into())));
    }

    #[test]
    fn null_is_an_empty_object_and_positions_are_kept() {
        assert!(matches!(
            parse(b"null"),
            Ok(Tree {
                value: Value::Object(_),
                ..
            })
        ));
        let Ok(tree) = parse(b"{\n  \"a\": 1}") else {
            panic!("valid")
        };
        let Value::Object(object) = tree.value else {
            panic!("an object")
        };
        assert_eq!(object.entries[0].pos, Pos { line: 2, column: 3 });
        assert_eq!(object.entries[0].value.pos, Pos { line: 2, column: 8 });
    }

    #[test]
    fn nesting_is_bounded() {
        let deep = "[".repeat(100_000);
        assert_eq!(error(&deep), "exceeded max depth");
    }
}
