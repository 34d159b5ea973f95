//! Base64 as Go's JSON reads it.

use serde::{Deserialize, Deserializer};
use std::sync::Arc;

/// Bytes that are base64 in JSON.
#[derive(Debug)]
pub(super) struct Base64(pub(super) Arc<[u8]>);

impl Default for Base64 {
    fn default() -> Base64 {
        Base64(Arc::from([]))
    }
}

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Base64, D::Error> {
        struct V;
        impl serde::de::Visitor<'_> for V {
            type Value = Base64;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("base64")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Base64, E> {
                decode(text.as_bytes())
                    .map(|bytes| Base64(Arc::from(bytes)))
                    .map_err(|at| E::custom(format!("illegal base64 data at input byte {at}")))
            }
        }
        deserializer.deserialize_str(V)
    }
}

fn symbol(byte: u8) -> Option<u32> {
    Some(u32::from(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    }))
}

/// RFC 4648 with padding; ends of lines are passed over, left-over bits are not looked at.
/// The error is the place that Go names.
pub(super) fn decode(text: &[u8]) -> Result<Vec<u8>, usize> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0u32, 0);
    let mut at = 0;
    let skip_ends = |mut at: usize| {
        while matches!(text.get(at), Some(b'\r' | b'\n')) {
            at += 1;
        }
        at
    };
    while let Some(byte) = text.get(at) {
        at += 1;
        if let Some(value) = symbol(*byte) {
            bits = bits << 6 | value;
            count += 1;
            if count == 4 {
                out.extend_from_slice(&bits.to_be_bytes()[1..]);
                (bits, count) = (0, 0);
            }
            continue;
        }
        match byte {
            b'\r' | b'\n' => continue,
            b'=' if count >= 2 => {}
            _ => return Err(at - 1),
        }
        // The end: two letters want two pads, three want one.
        if count == 2 {
            at = skip_ends(at);
            match text.get(at) {
                None => return Err(text.len()),
                Some(b'=') => at += 1,
                Some(_) => return Err(at - 1),
            }
        }
        at = skip_ends(at);
        if at < text.len() {
            return Err(at);
        }
        let last = (bits << (6 * (4 - count))).to_be_bytes();
        out.extend_from_slice(&last[1..count]);
        return Ok(out);
    }
    if count == 0 {
        Ok(out)
    } else {
        Err(text.len() - count)
    }
}
