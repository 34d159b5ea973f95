//! Reading one message from a stream, piece by piece.

use super::StreamError;
use crate::msgpack::{self, ReadError, Reader, Value};
use crate::packet::message::{Ack, Failure, NodeState, Ping, PushPullHeader, UserHeader};
use crate::packet::{Codec, PacketError, decompress, kind};

/// Bytes of a message, and of what a compressed one becomes.
const MAX_MESSAGE: usize = 40 << 20;
/// Bytes of the user state or of a user message.
const MAX_USER: usize = 20 << 20;
/// Nodes of an exchange.
const MAX_NODES: i64 = 1 << 20;
/// Bytes in which a length must be told, and of a small message. What is incomplete is read again
/// with each piece, so it must be short.
const MAX_HEADER: usize = 4096;
/// Bytes of one node.
const MAX_NODE: usize = 16 << 10;

/// A whole message.
#[derive(Debug, PartialEq)]
pub(super) enum StreamMessage {
    Ping(Ping),
    Ack(Ack),
    PushPull {
        join: bool,
        nodes: Vec<NodeState>,
        user: Vec<u8>,
    },
    User(Vec<u8>),
    Failure(String),
}

impl StreamMessage {
    /// The type byte.
    pub(super) fn kind(&self) -> u8 {
        match self {
            Self::Ping(_) => kind::PING,
            Self::Ack(_) => kind::ACK,
            Self::PushPull { .. } => kind::PUSH_PULL,
            Self::User(_) => kind::USER,
            Self::Failure(_) => kind::ERROR,
        }
    }
}

/// Collects bytes until a message is whole. Work already done is not repeated with each piece.
#[derive(Debug, Default)]
pub(super) struct StreamReader {
    buffer: Vec<u8>,
    /// The label is behind us, or there is none.
    stripped: bool,
    plain: bool,
    /// Before the buffer is this long, nothing can be whole.
    wanted: usize,
    at: usize,
    header: Option<PushPullHeader>,
    nodes: Vec<NodeState>,
}

impl StreamReader {
    /// A reader of a stream that begins with the label, as those do that others open.
    pub(super) fn new(labelled: bool) -> Self {
        Self {
            stripped: !labelled,
            ..Self::default()
        }
    }

    /// Bytes that it keeps.
    pub(super) fn held(&self) -> usize {
        self.buffer.len() + self.nodes.len() * size_of::<NodeState>()
    }

    /// Takes a piece: the message if it is whole now.
    pub(super) fn push(
        &mut self,
        codec: &Codec,
        bytes: &[u8],
    ) -> Result<Option<StreamMessage>, StreamError> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() > MAX_MESSAGE {
            return Err(PacketError::TooLarge.into());
        }
        if !self.stripped {
            let rest = match codec.strip_label(&self.buffer) {
                Ok(rest) => rest.len(),
                Err(PacketError::Short) => return Ok(None),
                Err(error) => return Err(error.into()),
            };
            self.buffer.drain(..self.buffer.len() - rest);
            self.stripped = true;
        }
        if self.buffer.len() < self.wanted {
            return Ok(None);
        }
        match self.advance(codec) {
            Ok(message) => Ok(Some(message)),
            Err(StreamError::Packet(
                PacketError::Body(ReadError::Incomplete) | PacketError::Short,
            )) => {
                let known = self.wanted.max(self.at);
                let slack = if self.header.is_some() {
                    MAX_NODE + MAX_USER
                } else {
                    MAX_HEADER
                };
                if self.buffer.len() > known + slack {
                    Err(PacketError::TooLarge.into())
                } else {
                    Ok(None)
                }
            }
            Err(error) => Err(error),
        }
    }

    fn advance(&mut self, codec: &Codec) -> Result<StreamMessage, StreamError> {
        let first = *self.buffer.first().ok_or(PacketError::Short)?;
        if first == kind::ENCRYPT && !self.plain {
            return self.sealed(codec);
        }
        if !self.plain && codec.requires_encryption() {
            return Err(StreamError::NotEncrypted);
        }
        self.plain = true;
        if first == kind::COMPRESS {
            if self.wanted == 0 {
                self.wanted = 1 + compressed_end(&self.buffer[1..]).map_err(PacketError::from)?;
            }
            if self.buffer.len() < self.wanted {
                return Err(PacketError::Short.into());
            }
            let inner = decompress(&self.buffer[1..], MAX_MESSAGE)?;
            return whole(inner);
        }
        self.message()
    }

    fn sealed(&mut self, codec: &Codec) -> Result<StreamMessage, StreamError> {
        if !codec.keyring.is_enabled() {
            return Err(StreamError::Encrypted);
        }
        let (header, rest) = self.buffer.split_at_checked(5).ok_or(PacketError::Short)?;
        let len = header[1..]
            .iter()
            .fold(0, |len, byte| len << 8 | usize::from(*byte));
        if len > MAX_MESSAGE {
            return Err(PacketError::TooLarge.into());
        }
        self.wanted = 5 + len;
        let sealed = rest.get(..len).ok_or(PacketError::Short)?;
        // From here on, what is short stays short.
        let mut plain = codec.open_stream(header, sealed).map_err(final_error)?;
        if plain.first() == Some(&kind::COMPRESS) {
            plain = decompress(&plain[1..], MAX_MESSAGE).map_err(final_error)?;
        }
        whole(plain)
    }

    /// Reads the plain message in the buffer, as far as it is there.
    fn message(&mut self) -> Result<StreamMessage, StreamError> {
        let (kind, body) = self.buffer.split_first().ok_or(PacketError::Short)?;
        match *kind {
            kind::PING => Ok(StreamMessage::Ping(
                msgpack::decode(body).map_err(PacketError::from)?,
            )),
            kind::ACK => Ok(StreamMessage::Ack(
                msgpack::decode(body).map_err(PacketError::from)?,
            )),
            kind::ERROR => {
                let failure: Failure = msgpack::decode(body).map_err(PacketError::from)?;
                Ok(StreamMessage::Failure(failure.error))
            }
            kind::USER => {
                let mut reader = Reader::new(body);
                let header = UserHeader::read(&mut reader).map_err(PacketError::from)?;
                let len = length(header.len)?;
                self.wanted = self.buffer.len() - reader.rest().len() + len;
                Ok(StreamMessage::User(
                    reader.take(len).map_err(PacketError::from)?.to_vec(),
                ))
            }
            kind::PUSH_PULL => self.push_pull(),
            kind => Err(PacketError::Kind(kind).into()),
        }
    }

    fn push_pull(&mut self) -> Result<StreamMessage, StreamError> {
        if self.header.is_none() {
            let mut reader = Reader::new(&self.buffer[1..]);
            let header = PushPullHeader::read(&mut reader).map_err(PacketError::from)?;
            if !(0..=MAX_NODES).contains(&header.nodes) {
                return Err(PacketError::TooLarge.into());
            }
            length(header.user_state_len)?;
            self.at = self.buffer.len() - reader.rest().len();
            self.header = Some(header);
        }
        let Some(header) = &self.header else {
            return Err(PacketError::Short.into());
        };
        let wanted = usize::try_from(header.nodes).unwrap_or(0);
        let mut reader = Reader::new(&self.buffer[self.at..]);
        while self.nodes.len() < wanted {
            let node = match NodeState::read(&mut reader) {
                Err(ReadError::Incomplete) if self.buffer.len() - self.at > MAX_NODE => {
                    return Err(PacketError::TooLarge.into());
                }
                node => node.map_err(PacketError::from)?,
            };
            // A map of no fields takes one byte on the wire and a hundred here.
            if node.name.is_empty() {
                return Err(PacketError::Address.into());
            }
            self.nodes.push(node);
            self.at = self.buffer.len() - reader.rest().len();
        }
        let len = length(header.user_state_len)?;
        self.wanted = self.at + len;
        let user = reader.take(len).map_err(PacketError::from)?.to_vec();
        Ok(StreamMessage::PushPull {
            join: header.join,
            nodes: std::mem::take(&mut self.nodes),
            user,
        })
    }
}

/// Where the bytes of a compressed message end.
fn compressed_end(body: &[u8]) -> Result<usize, ReadError> {
    let mut reader = Reader::new(body);
    for _ in 0..reader.map()? {
        if reader.raw()? == b"Buf" {
            let len = reader.raw_len()?;
            return Ok(body.len() - reader.rest().len() + len);
        }
        reader.skip()?;
    }
    Ok(body.len() - reader.rest().len())
}

fn length(len: i64) -> Result<usize, PacketError> {
    usize::try_from(len)
        .ok()
        .filter(|len| *len <= MAX_USER)
        .ok_or(PacketError::TooLarge)
}

/// The message of a layer that is whole: nothing more will come.
fn whole(plain: Vec<u8>) -> Result<StreamMessage, StreamError> {
    StreamReader {
        buffer: plain,
        plain: true,
        stripped: true,
        ..StreamReader::default()
    }
    .message()
    .map_err(|error| match error {
        StreamError::Packet(error) => final_error(error),
        error => error,
    })
}

/// Too short, and waiting does not help.
fn final_error(error: PacketError) -> StreamError {
    match error {
        PacketError::Short | PacketError::Body(ReadError::Incomplete) => StreamError::Closed,
        error => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyring::Keyring;
    use crate::msgpack::Writer;
    use crate::packet::message::Versions;
    use crate::random::{NonceSource, Seed};
    use proptest::prelude::*;

    fn codec(label: &str, key: Option<&[u8]>) -> Codec {
        let nonces = NonceSource::new(&Seed::from_number(1));
        Codec::new(
            label.as_bytes().to_vec(),
            Keyring::new(key).unwrap(),
            true,
            true,
            nonces,
        )
    }

    fn exchange(count: usize) -> (Vec<u8>, StreamMessage) {
        let nodes: Vec<_> = (0..count)
            .map(|n| NodeState {
                name: format!("n{n}").into(),
                vsn: Versions::ours(5),
                ..NodeState::default()
            })
            .collect();
        let mut out = Writer::after(vec![kind::PUSH_PULL]);
        PushPullHeader {
            join: true,
            nodes: i64::try_from(count).unwrap(),
            user_state_len: 3,
        }
        .write(&mut out);
        for node in &nodes {
            node.write(&mut out);
        }
        out.bytes.extend_from_slice(b"abc");
        (
            out.bytes,
            StreamMessage::PushPull {
                join: true,
                nodes,
                user: b"abc".to_vec(),
            },
        )
    }

    #[test]
    fn in_any_framing_and_any_pieces() {
        let (message, wanted) = exchange(20);
        for (label, key) in [
            ("", None),
            ("lab", None),
            ("", Some(&[1; 32][..])),
            ("lab", Some(&[1; 16][..])),
        ] {
            for compress in [false, true] {
                let mut codec = codec(label, key);
                let bytes = [codec.label_header(), codec.seal_stream(&message, compress)].concat();
                for size in [1, 7, bytes.len()] {
                    let mut reader = StreamReader::default();
                    let mut got = None;
                    for piece in bytes.chunks(size) {
                        assert_eq!(got, None, "whole before its end");
                        got = reader.push(&codec, piece).unwrap();
                    }
                    assert_eq!(got.as_ref(), Some(&wanted), "{label} {compress} {size}");
                }
            }
        }
    }

    #[test]
    fn mixed_pools_are_noticed() {
        let (message, _) = exchange(1);
        let (mut plain, mut sealed) = (codec("", None), codec("", Some(&[1; 16])));
        let got = StreamReader::default().push(&plain, &sealed.seal_stream(&message, false));
        assert_eq!(got, Err(StreamError::Encrypted));
        let got = StreamReader::default().push(&sealed, &plain.seal_stream(&message, true));
        assert_eq!(got, Err(StreamError::NotEncrypted));
        let got = StreamReader::default().push(
            &codec("", Some(&[2; 16])),
            &sealed.seal_stream(&message, true),
        );
        assert_eq!(got, Err(PacketError::NoKeyFits.into()));
        let got = StreamReader::default().push(&codec("x", None), &message);
        assert_eq!(got, Err(PacketError::Label.into()));
    }

    #[test]
    fn lengths_that_lie() {
        let plain = codec("", None);
        for (nodes, user_state_len) in [(-1, 0), (MAX_NODES + 1, 0), (0, -1), (0, 21 << 20)] {
            let header = PushPullHeader {
                join: false,
                nodes,
                user_state_len,
            };
            let got =
                StreamReader::default().push(&plain, &msgpack::tagged(kind::PUSH_PULL, &header));
            assert_eq!(got, Err(PacketError::TooLarge.into()));
        }
        let sealed = codec("", Some(&[1; 16]));
        let got = StreamReader::default().push(&sealed, &[kind::ENCRYPT, 255, 255, 255, 255]);
        assert_eq!(got, Err(PacketError::TooLarge.into()));
        // A compressed message that is whole, around one that is not.
        let cut = crate::packet::compress(&exchange(2).0[..30]);
        assert_eq!(
            StreamReader::default().push(&plain, &cut),
            Err(StreamError::Closed)
        );
    }

    #[test]
    fn what_never_gets_whole_is_cut_off() {
        let plain = codec("", None);
        for start in [
            &[kind::PING, 0xdd, 0, 255, 255, 255][..],
            &[kind::COMPRESS, 0xdf, 0, 255, 255, 255, 0xa1],
        ] {
            let mut reader = StreamReader::default();
            let mut got = reader.push(&plain, start);
            for _ in 0..20 {
                if got == Ok(None) {
                    got = reader.push(&plain, &[0x91; 1000]);
                }
            }
            assert!(got.is_err(), "{start:?}");
            assert!(reader.held() < 10_000);
        }
    }

    proptest! {
        #[test]
        fn no_stream_panics(pieces: Vec<Vec<u8>>, first in 0_u8..14) {
            for codec in [codec("", None), codec("", Some(&[1; 16]))] {
                let mut reader = StreamReader::default();
                let _ = reader.push(&codec, &[first]);
                for piece in &pieces {
                    if reader.push(&codec, piece) != Ok(None) {
                        break;
                    }
                }
            }
        }
    }
}
