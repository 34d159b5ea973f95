//! Writing: Go's `encoding/json` with its HTML escaping.

use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, PrettyFormatter, Serializer};
use std::io;

/// Escapes what Go escapes inside strings beyond JSON's own needs.
struct GoFormatter<F>(F);

fn write_fragment<W: ?Sized + io::Write>(w: &mut W, fragment: &str) -> io::Result<()> {
    let bytes = fragment.as_bytes();
    let mut start = 0;
    for (at, byte) in bytes.iter().enumerate() {
        let escape: &[u8] = match byte {
            b'<' => b"\\u003c",
            b'>' => b"\\u003e",
            b'&' => b"\\u0026",
            // U+2028 and U+2029 are E2 80 A8 and E2 80 A9.
            0xe2 if bytes[at..].starts_with("\u{2028}".as_bytes()) => b"\\u2028",
            0xe2 if bytes[at..].starts_with("\u{2029}".as_bytes()) => b"\\u2029",
            _ => continue,
        };
        w.write_all(&bytes[start..at])?;
        w.write_all(escape)?;
        start = at + if *byte == 0xe2 { 3 } else { 1 };
    }
    w.write_all(&bytes[start..])
}

fn write_float<W: ?Sized + io::Write>(w: &mut W, value: f64) -> io::Result<()> {
    // Go: exponent form below 1e-6 and from 1e21 on, with at least two exponent digits removed
    // to one for e-0X; integers have no fraction.
    if value == 0.0 {
        return w.write_all(if value.is_sign_negative() {
            b"-0"
        } else {
            b"0"
        });
    }
    let size = value.abs();
    if !(1e-6..1e21).contains(&size) {
        let text = format!("{value:e}");
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, digits) = match exponent.strip_prefix('-') {
            Some(d) => ("-", d),
            None => ("+", exponent),
        };
        // Go writes e-09 as e-9 and e+21 as it is.
        return write!(w, "{mantissa}e{sign}{digits:0>2}")
            .and(Ok(()))
            .or(Ok(()));
    }
    write!(w, "{value}")
}

macro_rules! pass {
    ($($name:ident($($arg:ident: $ty:ty),*);)*) => {
        $(fn $name<W: ?Sized + io::Write>(&mut self, w: &mut W $(, $arg: $ty)*) -> io::Result<()> {
            self.0.$name(w $(, $arg)*)
        })*
    };
}

impl<F: Formatter> Formatter for GoFormatter<F> {
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        w: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        write_fragment(w, fragment)
    }
    fn write_f64<W: ?Sized + io::Write>(&mut self, w: &mut W, value: f64) -> io::Result<()> {
        write_float(w, value)
    }
    fn write_f32<W: ?Sized + io::Write>(&mut self, w: &mut W, value: f32) -> io::Result<()> {
        write!(w, "{value}")
    }
    pass! {
        begin_array(); end_array(); begin_array_value(first: bool); end_array_value();
        begin_object(); end_object(); begin_object_key(first: bool); end_object_key();
        begin_object_value(); end_object_value();
    }
}

/// Compact JSON as Go writes it.
pub fn to_vec<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    let mut ser = Serializer::with_formatter(&mut out, GoFormatter(CompactFormatter));
    // Our types have string keys and no failing serialisers; writing to memory does not fail.
    if value.serialize(&mut ser).is_err() {
        out.clear();
        out.extend_from_slice(b"null");
    }
    out
}

/// [`to_vec`] as text.
pub fn to_string<T: Serialize + ?Sized>(value: &T) -> String {
    String::from_utf8(to_vec(value)).unwrap_or_default()
}

/// JSON with four blanks, as `?pretty` gives it (which adds a newline).
pub fn to_pretty<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    let inner = PrettyFormatter::with_indent(b"    ");
    let mut ser = Serializer::with_formatter(&mut out, GoFormatter(inner));
    if value.serialize(&mut ser).is_err() {
        out.clear();
        out.extend_from_slice(b"null");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_what_go_escapes() {
        assert_eq!(
            to_string("a<b>&c\u{2028}\"\n\u{e9}"),
            r#""a\u003cb\u003e\u0026c\u2028\"\n"#.to_owned() + "\u{e9}\""
        );
    }

    #[test]
    fn pretty_is_four_blanks() {
        let v = serde_json::json!({"a": [1], "b": {}, "c": []});
        assert_eq!(
            String::from_utf8(to_pretty(&v)).unwrap(),
            "{\n    \"a\": [\n        1\n    ],\n    \"b\": {},\n    \"c\": []\n}"
        );
    }

    #[test]
    fn floats_as_go() {
        for (v, want) in [
            (0.0, "0"),
            (1.5, "1.5"),
            (1e-5, "0.00001"),
            (1e-7, "1e-07"),
            (1e21, "1e+21"),
            (3.0, "3"),
        ] {
            assert_eq!(to_string(&v), want);
        }
    }
}
