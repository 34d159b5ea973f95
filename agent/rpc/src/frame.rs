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

    /// Bytes that the value needs at least, beyond those that were looked at.
    pub fn missing(&self) -> usize {
        usize::try_from(self.skip.saturating_add(self.values)).unwrap_or(usize::MAX)
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
pub fn lossy(from: &mut Reader<'_>) -> Result<String, ReadError> {
    Ok(String::from_utf8_lossy(from.raw()?).into_owned())
}

/// Reads the fields of a map, or of a list that has them in this order.
pub fn fields<'a>(
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMIT: usize = 1000;

    fn end(bytes: &[u8]) -> Result<Option<usize>, FrameError> {
        Scanner::from(0).scan(bytes, LIMIT)
    }

    #[test]
    fn values_end_where_they_end() {
        for value in [
            &[0x05][..],
            &[0xc0],
            &[0xe0],
            &[0xcc, 1],
            &[0xcd, 1, 2],
            &[0xce, 1, 2, 3, 4],
            &[0xcf, 1, 2, 3, 4, 5, 6, 7, 8],
            &[0xca, 0, 0, 0, 0],
            &[0xcb, 0, 0, 0, 0, 0, 0, 0, 0],
            &[0xa0],
            &[0xa2, 1, 2],
            &[0xd9, 1, 9],
            &[0xda, 0, 1, 9],
            &[0xdb, 0, 0, 0, 1, 9],
            &[0xc4, 0],
            &[0xc7, 1, 5, 9],
            &[0xd4, 5, 9],
            &[
                0xd8, 5, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16,
            ],
            &[0x80],
            &[0x81, 0xa1, 7, 0x92, 1, 2],
            &[0xdc, 0, 2, 1, 0x81, 1, 2],
            &[0xde, 0, 1, 1, 0xc0],
        ] {
            let mut bytes = value.to_vec();
            bytes.push(0xc1);
            assert_eq!(end(&bytes), Ok(Some(value.len())), "{value:02x?}");
            for cut in 0..value.len() {
                assert_eq!(end(&value[..cut]), Ok(None), "{value:02x?} cut at {cut}");
            }
        }
        assert_eq!(end(&[0xc1]), Err(FrameError::Malformed));
    }

    #[test]
    fn lengths_that_lie_are_refused_at_once() {
        for head in [
            &[0xdb, 0xff, 0xff, 0xff, 0xff][..],
            &[0xdd, 0xff, 0xff, 0xff, 0xff],
            &[0xdf, 0xff, 0xff, 0xff, 0xff],
            &[0xc9, 0xff, 0xff, 0xff, 0xff],
            &[0xda, 0x03, 0xe6],
        ] {
            assert_eq!(end(head), Err(FrameError::TooLarge(LIMIT)), "{head:02x?}");
        }
        assert_eq!(end(&[0xda, 0x03, 0xe5]), Ok(None), "997 and 3 fit");
        // Lists of lists of lists, each of which takes one byte.
        assert_eq!(end(&[0x91; 999]), Ok(None));
        assert_eq!(end(&[0x91; 1000]), Err(FrameError::TooLarge(LIMIT)));
        assert_eq!(end(&[0x9f; 80]), Err(FrameError::TooLarge(LIMIT)));
    }

    #[test]
    fn headers() {
        let recorded = b"\x82\xa3Seq\x01\xadServiceMethod\xb4Catalog.NodeServices";
        let head = RequestHead::decode(recorded).expect("well-formed");
        assert_eq!((&head.method[..], head.seq), ("Catalog.NodeServices", 1));
        assert_eq!(RequestHead::encode("Catalog.NodeServices", 1), recorded);
        let recorded = b"\x83\xa5Error\xa0\xa3Seq\x01\xadServiceMethod\xb4Catalog.NodeServices";
        let head = ResponseHead::decode(recorded).expect("well-formed");
        assert_eq!((&head.error[..], head.seq), ("", 1));
        assert_eq!(
            ResponseHead::encode("", 1, "Catalog.NodeServices"),
            recorded
        );
        let list = b"\x92\xabStatus.Ping\xcd\x01\x00";
        let head = RequestHead::decode(list).expect("a list is accepted");
        assert_eq!((&head.method[..], head.seq), ("Status.Ping", 256));
        let more = b"\x83\xa1X\x93\x01\x02\x03\xa3Seq\x07\xadServiceMethod\xd9\x03A.B";
        let head = RequestHead::decode(more).expect("what is unknown is passed over");
        assert_eq!((&head.method[..], head.seq), ("A.B", 7));
        assert!(RequestHead::decode(b"\xa1X").is_err());
        assert!(RequestHead::decode(b"\x81\xa3Seq\xff").is_err(), "negative");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// In pieces as in one, and as a reader that decodes.
        #[test]
        fn pieces_make_no_difference(bytes: Vec<u8>, cuts: Vec<u8>) {
            let whole = end(&bytes);
            let (mut scanner, mut have) = (Scanner::from(0), 0);
            let mut pieces = Ok(None);
            for cut in cuts.into_iter().map(usize::from).chain([bytes.len()]) {
                have = (have + cut).min(bytes.len());
                pieces = scanner.scan(&bytes[..have], LIMIT);
                if pieces != Ok(None) {
                    break;
                }
            }
            prop_assert_eq!(pieces, whole);
            let mut reader = Reader::new(&bytes);
            match (reader.skip(), whole) {
                (Ok(()), Ok(end)) => prop_assert_eq!(end, Some(bytes.len() - reader.rest().len())),
                (Err(ReadError::Incomplete), Ok(end)) => prop_assert_eq!(end, None),
                (Err(ReadError::Depth), _) | (Err(_), Err(_)) => {}
                (read, whole) => prop_assert!(
                    whole == Err(FrameError::TooLarge(LIMIT)), "{:?} {:?}", read, whole
                ),
            }
        }

        #[test]
        fn messages_in_pieces(bodies in proptest::collection::vec(0..300_usize, 1..5), cut in 1..50_usize) {
            let message = |size: usize| {
                let mut bytes = RequestHead::encode("A.B", size as u64);
                let mut body = Writer::default();
                body.raw(&vec![7; size]);
                bytes.extend_from_slice(&body.bytes);
                (bytes, body.bytes)
            };
            let wire: Vec<u8> = bodies.iter().flat_map(|size| message(*size).0).collect();
            let (mut inbox, mut got) = (Inbox::default(), Vec::new());
            for piece in wire.chunks(cut) {
                inbox.bytes.extend_from_slice(piece);
                while let Some(message) = inbox.take(LIMIT).expect("well-formed") {
                    got.push(message);
                }
            }
            prop_assert!(inbox.is_empty());
            prop_assert_eq!(got.len(), bodies.len());
            for (got, size) in got.iter().zip(bodies) {
                prop_assert_eq!(&got.body[..], &message(size).1);
                let head = RequestHead::decode(&got.head).expect("well-formed");
                prop_assert_eq!(head.seq, size as u64);
            }
        }
    }
}
