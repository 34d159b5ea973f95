//! Messages: two msgpack values back to back, without a length in front.
//!
//! [`Scanner`] finds where a value ends without decoding it, over bytes that come in pieces, and
//! without going back. [`Inbox`] collects one message after the other.

use bytes::Bytes;
use lictor_gossip::msgpack::{ReadError, Reader, Writer};

/// Why bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// No msgpack.
    #[error("malformed message")]
    Malformed,
    /// It is, or says that it will be, larger than the limit.
    #[error("message is larger than {0} bytes")]
    TooLarge(usize),
    /// The first value is no header.
    #[error("malformed header: {0}")]
    Header(#[from] ReadError),
}

/// Finds the end of one msgpack value.
#[derive(Clone, Copy, Debug)]
pub struct Scanner {
    /// Values that have not begun.
    values: u64,
    /// Bytes of the current value that are not looked at.
    skip: u64,
    /// Up to here everything was looked at.
    at: usize,
}

impl Scanner {
    /// Looks for the end of the value that begins at `at`.
    pub fn from(at: usize) -> Self {
        Self {
            values: 1,
            skip: 0,
            at,
        }
    }

    /// Goes on with all bytes there are so far; the end of the value if it has come.
    pub fn scan(&mut self, bytes: &[u8], limit: usize) -> Result<Option<usize>, FrameError> {
        loop {
            let have = bytes.len().saturating_sub(self.at);
            let step = usize::try_from(self.skip).unwrap_or(usize::MAX).min(have);
            self.at += step;
            self.skip -= step as u64;
            // Each value to come takes a byte at least.
            let least = (self.at as u64)
                .saturating_add(self.skip)
                .saturating_add(self.values);
            if least > limit as u64 {
                return Err(FrameError::TooLarge(limit));
            }
            if self.skip > 0 {
                return Ok(None);
            }
            if self.values == 0 {
                return Ok(Some(self.at));
            }
            let rest = &bytes[self.at..];
            let Some(&first) = rest.first() else {
                return Ok(None);
            };
            let width = match first {
                0xc4 | 0xc7 | 0xd9 => 1,
                0xc5 | 0xc8 | 0xda | 0xdc | 0xde => 2,
                0xc6 | 0xc9 | 0xdb | 0xdd | 0xdf => 4,
                _ => 0,
            };
            let Some(length) = rest.get(1..=width) else {
                return Ok(None);
            };
            let length = length.iter().fold(0, |sum, b| sum << 8 | u64::from(*b));
            let (skip, values) = match first {
                0x80..=0x8f => (0, 2 * u64::from(first & 0x0f)),
                0x90..=0x9f => (0, u64::from(first & 0x0f)),
                0xa0..=0xbf => (u64::from(first & 0x1f), 0),
                0xc4..=0xc6 | 0xd9..=0xdb => (length, 0),
                0xc7..=0xc9 => (length + 1, 0),
                0xdc | 0xdd => (0, length),
                0xde | 0xdf => (0, 2 * length),
                0xcc | 0xd0 => (1, 0),
                0xcd | 0xd1 => (2, 0),
                0xca | 0xce | 0xd2 => (4, 0),
                0xcb | 0xcf | 0xd3 => (8, 0),
                0xd4..=0xd8 => (1 + (1 << (first - 0xd4)), 0),
                0xc1 => return Err(FrameError::Malformed),
                0x00..=0x7f | 0xc0 | 0xc2 | 0xc3 | 0xe0..=0xff => (0, 0),
            };
            self.at += 1 + width;
            self.skip = skip;
            self.values = self.values - 1 + values;
        }
    }
}

/// Collects messages from pieces.
#[derive(Debug)]
pub struct Inbox {
    /// What came and was not taken.
    pub bytes: Vec<u8>,
    scanner: Scanner,
    head: Option<usize>,
}

/// One message: the bytes of its two values.
#[derive(Debug, PartialEq, Eq)]
pub struct Message {
    /// The header.
    pub head: Bytes,
    /// Arguments or reply.
    pub body: Bytes,
}

impl Default for Inbox {
    fn default() -> Self {
        Self {
            bytes: Vec::new(),
            scanner: Scanner::from(0),
            head: None,
        }
    }
}

impl Inbox {
    /// The next message, if all of it has come. After an error nothing more can be read.
    pub fn take(&mut self, limit: usize) -> Result<Option<Message>, FrameError> {
        loop {
            let Some(end) = self.scanner.scan(&self.bytes, limit)? else {
                return Ok(None);
            };
            let Some(head) = self.head else {
                self.head = Some(end);
                self.scanner = Scanner::from(end);
                continue;
            };
            let rest = self.bytes.split_off(end);
            let mut all = Bytes::from(std::mem::replace(&mut self.bytes, rest));
            *self = Self {
                bytes: std::mem::take(&mut self.bytes),
                ..Self::default()
            };
            let body = all.split_off(head);
            return Ok(Some(Message { head: all, body }));
        }
    }

    /// Nothing of a next message is here.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

/// What stands before the arguments of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHead {
    /// `Service.Method`.
    pub method: String,
    /// Echoed in the answer.
    pub seq: u64,
}

/// What stands before a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponseHead {
    /// Empty, or why there is no reply.
    pub error: String,
    /// The request's.
    pub seq: u64,
}

impl RequestHead {
    /// The header of a request as it is sent.
    pub fn encode(method: &str, seq: u64) -> Vec<u8> {
        let mut out = Writer::default();
        out.map(2);
        out.raw(b"Seq");
        out.uint(seq);
        out.raw(b"ServiceMethod");
        out.raw(method.as_bytes());
        out.bytes
    }

    /// Reads a map, or the fields in their order.
    pub fn decode(bytes: &[u8]) -> Result<Self, ReadError> {
        let (mut method, mut seq) = (String::new(), 0);
        fields(bytes, &["ServiceMethod", "Seq"], |name, from| {
            match name {
                "ServiceMethod" => method = lossy(from)?,
                "Seq" => seq = from.int()?,
                _ => from.skip()?,
            }
            Ok(())
        })?;
        Ok(Self { method, seq })
    }
}

impl ResponseHead {
    /// The header of an answer as it is sent.
    pub fn encode(error: &str, seq: u64, method: &str) -> Vec<u8> {
        let mut out = Writer::default();
        out.map(3);
        out.raw(b"Error");
        out.raw(error.as_bytes());
        out.raw(b"Seq");
        out.uint(seq);
        out.raw(b"ServiceMethod");
        out.raw(method.as_bytes());
        out.bytes
    }

    /// Reads a map, or the fields in the order of the reference implementation.
    pub fn decode(bytes: &[u8]) -> Result<Self, ReadError> {
        let (mut error, mut seq) = (String::new(), 0);
        fields(bytes, &["ServiceMethod", "Seq", "Error"], |name, from| {
            match name {
                "Error" => error = lossy(from)?,
                "Seq" => seq = from.int()?,
                _ => from.skip()?,
            }
            Ok(())
        })?;
        Ok(Self { error, seq })
    }
}

/// Texts of strangers need not be UTF-8; nothing here depends on it.
fn lossy(from: &mut Reader<'_>) -> Result<String, ReadError> {
    Ok(String::from_utf8_lossy(from.raw()?).into_owned())
}

fn fields<'a>(
    bytes: &'a [u8],
    order: &[&str],
    mut field: impl FnMut(&str, &mut Reader<'a>) -> Result<(), ReadError>,
) -> Result<(), ReadError> {
    let mut from = Reader::new(bytes);
    if matches!(bytes.first(), Some(0x90..=0x9f | 0xdc | 0xdd)) {
        for at in 0..from.array()? {
            field(order.get(at).copied().unwrap_or_default(), &mut from)?;
        }
    } else {
        for _ in 0..from.map()? {
            let name = lossy(&mut from)?;
            field(&name, &mut from)?;
        }
    }
    Ok(())
}
