//! Chunked bodies, taken apart (RFC 9112, section 7.1).

use bytes::{Buf, Bytes, BytesMut};

/// Bytes of chunk extensions, and of trailers, that one body may have.
const MAX_EXTRA: u32 = 16 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// Within the digits of a size, of which this many have come.
    Size(u8),
    Extension,
    SizeEnd,
    Data,
    DataCr,
    DataLf,
    /// At the start of a line after the last chunk.
    TrailerStart,
    Trailer,
    TrailerEnd,
    Over,
}

/// The state between two pieces of a chunked body.
#[derive(Debug)]
pub(crate) struct Chunked {
    at: At,
    /// Bytes of the current chunk still to come.
    left: u64,
    extra: u32,
}

/// The bytes are not chunks.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

impl Chunked {
    pub(crate) fn new() -> Self {
        Self {
            at: At::Size(0),
            left: 0,
            extra: 0,
        }
    }

    /// The last chunk and the trailers have been read.
    pub(crate) fn is_over(&self) -> bool {
        self.at == At::Over
    }

    /// Takes the next piece of data out of `input`; `None` when more input is needed, or when the
    /// body is over. What follows the body is left in `input`.
    pub(crate) fn next(&mut self, input: &mut BytesMut) -> Result<Option<Bytes>, Malformed> {
        while self.at != At::Over {
            if self.at == At::Data {
                if input.is_empty() {
                    break;
                }
                let n = usize::try_from(self.left).map_or(input.len(), |l| l.min(input.len()));
                self.left -= n as u64;
                if self.left == 0 {
                    self.at = At::DataCr;
                }
                return Ok(Some(input.split_to(n).freeze()));
            }
            let Some(&byte) = input.first() else { break };
            input.advance(1);
            self.at = self.step(byte)?;
        }
        Ok(None)
    }

    fn step(&mut self, byte: u8) -> Result<At, Malformed> {
        Ok(match (self.at, byte) {
            (At::Size(n), b) if b.is_ascii_hexdigit() => {
                // Sixteen digits fill 64 bits.
                if n == 16 {
                    return Err(Malformed);
                }
                let digit = (b as char).to_digit(16).ok_or(Malformed)?;
                self.left = (self.left << 4) | u64::from(digit);
                At::Size(n + 1)
            }
            (At::Size(0), _) => return Err(Malformed),
            (At::Size(_), b'\r') => At::SizeEnd,
            (At::Size(_), b';' | b' ' | b'\t') => At::Extension,
            (At::Extension, b'\r') => At::SizeEnd,
            (At::Extension, b) if b != b'\n' => self.skip(At::Extension)?,
            (At::SizeEnd, b'\n') if self.left == 0 => At::TrailerStart,
            (At::SizeEnd, b'\n') => At::Data,
            (At::DataCr, b'\r') => At::DataLf,
            (At::DataLf, b'\n') => At::Size(0),
            (At::TrailerStart, b'\r') => At::TrailerEnd,
            (At::TrailerEnd, b'\n') => At::Over,
            (At::Trailer, b'\n') => At::TrailerStart,
            (At::TrailerStart | At::Trailer, b) if b != b'\n' => self.skip(At::Trailer)?,
            _ => return Err(Malformed),
        })
    }

    /// A byte that says nothing to us.
    fn skip(&mut self, then: At) -> Result<At, Malformed> {
        self.extra += 1;
        if self.extra > MAX_EXTRA {
            return Err(Malformed);
        }
        Ok(then)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Feeds `text` in pieces of `step` bytes; the data, and what is left over.
    fn read(text: &[u8], step: usize) -> Result<(Vec<u8>, Vec<u8>, bool), Malformed> {
        let mut chunked = Chunked::new();
        let (mut input, mut data) = (BytesMut::new(), vec![]);
        for piece in text.chunks(step) {
            input.extend_from_slice(piece);
            while let Some(bytes) = chunked.next(&mut input)? {
                assert!(!bytes.is_empty());
                data.extend_from_slice(&bytes);
            }
        }
        Ok((data, input.to_vec(), chunked.is_over()))
    }

    #[test]
    fn however_it_is_cut() {
        let text = b"5;name=\"v\"\r\nhello\r\n00006 \r\n world\r\n0\r\nTrailer: x\r\n\r\nGET";
        for step in 1..text.len() {
            let (data, rest, over) = read(text, step).expect("good");
            assert_eq!(data, b"hello world");
            assert!(over);
            assert_eq!(rest, b"GET");
        }
    }

    #[test]
    fn bad_ones() {
        for text in [
            &b"\r\n"[..],
            b"g\r\n",
            b"5\nhello\r\n",
            b"5\r\nhelloX",
            b"-5\r\n",
            b"0x5\r\n",
            b"10000000000000000\r\n",
            b"0\r\n\n",
            b"5;a\nb\r\n",
        ] {
            assert_eq!(
                read(text, 1),
                Err(Malformed),
                "{:?}",
                text.escape_ascii().to_string()
            );
        }
    }

    #[test]
    fn extras_are_bounded() {
        let mut text = b"1;".to_vec();
        text.resize(20_000, b'x');
        assert_eq!(read(&text, 1000), Err(Malformed));
        let mut text = b"0\r\n".to_vec();
        text.resize(20_000, b'x');
        assert_eq!(read(&text, 1000), Err(Malformed));
    }

    proptest! {
        #[test]
        fn what_is_cut_up_comes_back(
            pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..50), 0..8),
            step in 1usize..64,
        ) {
            let mut text = vec![];
            for p in &pieces {
                text.extend(format!("{:x}\r\n", p.len()).bytes());
                text.extend(p);
                text.extend(b"\r\n");
            }
            text.extend(b"0\r\n\r\n");
            prop_assert_eq!(read(&text, step), Ok((pieces.concat(), vec![], true)));
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 1..200), step in 1usize..20) {
            let _ = read(&bytes, step);
        }
    }
}
