//! Memberlist's packets and stream frames: label, encryption, checksum, compression, compound.
//!
//! [`Codec::open_packet`] takes the layers off, bounded in depth and in bytes; what remains are
//! plain messages: a type byte and a body ([`message`]).

pub mod lzw;
pub mod message;
pub mod seal;

use crate::keyring::Keyring;
use crate::msgpack::{self, Bytes};
use crate::random::NonceSource;
use message::Compressed;

/// Type bytes.
pub mod kind {
    #![allow(missing_docs)]
    pub const PING: u8 = 0;
    pub const INDIRECT_PING: u8 = 1;
    pub const ACK: u8 = 2;
    pub const SUSPECT: u8 = 3;
    pub const ALIVE: u8 = 4;
    pub const DEAD: u8 = 5;
    pub const PUSH_PULL: u8 = 6;
    pub const COMPOUND: u8 = 7;
    pub const USER: u8 = 8;
    pub const COMPRESS: u8 = 9;
    pub const ENCRYPT: u8 = 10;
    pub const NACK: u8 = 11;
    pub const CHECKSUM: u8 = 12;
    pub const ERROR: u8 = 13;
    pub const LABEL: u8 = 244;
}

/// Why a packet, or a part of it, was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PacketError {
    /// The bytes end too early.
    #[error("packet too short")]
    Short,
    /// The label is not the pool's.
    #[error("label of another pool")]
    Label,
    /// The version byte of the encryption is unknown; an unencrypted packet looks like this too.
    #[error("unknown encryption version {0}, or a packet without encryption")]
    EncryptionVersion(u8),
    /// No key opens it.
    #[error("no installed keys could decrypt the message")]
    NoKeyFits,
    /// The padding of encryption version 0 is wrong.
    #[error("wrong padding")]
    Padding,
    /// Damaged on the way.
    #[error("checksum does not match")]
    Checksum,
    /// A compressed part of an unknown algorithm or with a broken stream.
    #[error("malformed compression")]
    Compression,
    /// Decompressed, it is larger than any message.
    #[error("message too large")]
    TooLarge,
    /// Packed more often than any peer does.
    #[error("nested too deeply")]
    Depth,
    /// A body that is no msgpack, or not of the right shape.
    #[error("malformed message: {0}")]
    Body(#[from] msgpack::ReadError),
    /// A type byte that nobody knows.
    #[error("unknown message type {0}")]
    Kind(u8),
    /// An address that no node can have.
    #[error("malformed address")]
    Address,
}

/// Peers pack once in each layer; more is an attack.
const MAX_DEPTH: usize = 8;

/// Decompressed bytes of one packet. Peers fill 1,400 bytes, and a user message may take a whole
/// datagram.
const MAX_UNPACKED: usize = 1 << 20;

/// The plain messages of a packet, in order.
#[derive(Debug, Default)]
pub struct Parts {
    buffers: Vec<Vec<u8>>,
    parts: Vec<(usize, std::ops::Range<usize>)>,
    unpacked: usize,
    /// What stopped the unpacking; the parts before it are whole.
    pub error: Option<PacketError>,
}

impl Parts {
    /// The messages: type byte and body each.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.parts
            .iter()
            .map(|(buffer, range)| &self.buffers[*buffer][range.clone()])
    }

    fn unpack(
        &mut self,
        buffer: usize,
        range: std::ops::Range<usize>,
        depth: usize,
    ) -> Result<(), PacketError> {
        if depth > MAX_DEPTH {
            return Err(PacketError::Depth);
        }
        let bytes = &self.buffers[buffer][range.clone()];
        match *bytes.first().ok_or(PacketError::Short)? {
            kind::COMPOUND => {
                let count = usize::from(*bytes.get(1).ok_or(PacketError::Short)?);
                let lengths = bytes.get(2..2 + 2 * count).ok_or(PacketError::Short)?;
                let lengths: Vec<usize> = lengths
                    .chunks_exact(2)
                    .map(|pair| usize::from(pair[0]) << 8 | usize::from(pair[1]))
                    .collect();
                let mut at = range.start + 2 + 2 * count;
                for len in lengths {
                    // Complete parts count even if the last one is cut off.
                    if at + len > range.end {
                        return Err(PacketError::Short);
                    }
                    // A part that cannot be unpacked does not spoil the others.
                    if let Err(error) = self.unpack(buffer, at..at + len, depth + 1) {
                        self.error.get_or_insert(error);
                    }
                    at += len;
                }
                Ok(())
            }
            kind::COMPRESS => {
                let inner = decompress(&bytes[1..], MAX_UNPACKED - self.unpacked)?;
                self.unpacked += inner.len();
                let len = inner.len();
                self.buffers.push(inner);
                self.unpack(self.buffers.len() - 1, 0..len, depth + 1)
            }
            _ => {
                self.parts.push((buffer, range));
                Ok(())
            }
        }
    }
}

/// Opens the body of a compressed message.
///
/// # Errors
/// Malformed, or larger than the limit.
pub fn decompress(body: &[u8], limit: usize) -> Result<Vec<u8>, PacketError> {
    let compressed: Compressed = msgpack::decode(body)?;
    if compressed.algo != 0 {
        return Err(PacketError::Compression);
    }
    lzw::decompress(&compressed.buf.0, limit)
}

/// A message as a compressed one.
#[must_use]
pub fn compress(message: &[u8]) -> Vec<u8> {
    msgpack::tagged(
        kind::COMPRESS,
        &Compressed {
            algo: 0,
            buf: Bytes(lzw::compress(message)),
        },
    )
}

/// Parts of one compound: old readers compute the size of the length table in eight bits.
pub const MAX_PARTS: usize = 127;

/// Joins messages; one alone stays bare. The caller keeps to [`MAX_PARTS`].
#[must_use]
pub fn compound<M: AsRef<[u8]>>(messages: &[M]) -> Vec<u8> {
    if let [message] = messages {
        return message.as_ref().to_vec();
    }
    debug_assert!(messages.len() <= MAX_PARTS);
    let mut out =
        Vec::with_capacity(2 + messages.iter().map(|m| m.as_ref().len() + 2).sum::<usize>());
    out.push(kind::COMPOUND);
    out.push(u8::try_from(messages.len()).unwrap_or(u8::MAX));
    for message in messages {
        let len = u16::try_from(message.as_ref().len()).unwrap_or(u16::MAX);
        out.extend_from_slice(&len.to_be_bytes());
    }
    for message in messages {
        out.extend_from_slice(message.as_ref());
    }
    out
}

/// The outer layers of one pool: its label and its keys.
#[derive(Debug)]
pub struct Codec {
    label: Vec<u8>,
    /// The keys; empty without encryption.
    pub keyring: Keyring,
    verify_incoming: bool,
    verify_outgoing: bool,
    nonces: NonceSource,
}

impl Codec {
    /// The layers of a pool. Without `verify_incoming` plaintext is accepted beside ciphertext, without
    /// `verify_outgoing` plaintext is sent although there are keys: the two steps of turning
    /// encryption on in a running pool.
    #[must_use]
    pub fn new(
        label: Vec<u8>,
        keyring: Keyring,
        verify_incoming: bool,
        verify_outgoing: bool,
        nonces: NonceSource,
    ) -> Self {
        Self {
            label,
            keyring,
            verify_incoming,
            verify_outgoing,
            nonces,
        }
    }

    /// The pool's label.
    #[must_use]
    pub fn label(&self) -> &[u8] {
        &self.label
    }

    /// Whether plaintext is refused.
    #[must_use]
    pub fn requires_encryption(&self) -> bool {
        self.keyring.is_enabled() && self.verify_incoming
    }

    /// Whether we send ciphertext.
    #[must_use]
    pub fn seals(&self) -> bool {
        self.keyring.is_enabled() && self.verify_outgoing
    }

    /// Bytes that label and encryption add to a packet.
    #[must_use]
    pub fn overhead(&self) -> usize {
        let label = if self.label.is_empty() {
            0
        } else {
            2 + self.label.len()
        };
        label + if self.seals() { seal::OVERHEAD } else { 0 }
    }

    /// Takes the label off the front of a packet or stream: the rest.
    ///
    /// # Errors
    /// No label where one is due, or another one. [`PacketError::Short`] if a stream may still bring it.
    pub fn strip_label<'b>(&self, bytes: &'b [u8]) -> Result<&'b [u8], PacketError> {
        let first = *bytes.first().ok_or(PacketError::Short)?;
        if first != kind::LABEL {
            return if self.label.is_empty() {
                Ok(bytes)
            } else {
                Err(PacketError::Label)
            };
        }
        let len = usize::from(*bytes.get(1).ok_or(PacketError::Short)?);
        let rest = &bytes[2..];
        if len == 0 || len != self.label.len() {
            return Err(PacketError::Label);
        }
        let (label, rest) = rest.split_at_checked(len).ok_or(PacketError::Short)?;
        if label == self.label {
            Ok(rest)
        } else {
            Err(PacketError::Label)
        }
    }

    /// What a stream of ours begins with.
    #[must_use]
    pub fn label_header(&self) -> Vec<u8> {
        let Ok(len) = u8::try_from(self.label.len()) else {
            return Vec::new();
        };
        if len == 0 {
            return Vec::new();
        }
        let mut out = vec![kind::LABEL, len];
        out.extend_from_slice(&self.label);
        out
    }

    /// Unpacks a packet.
    ///
    /// # Errors
    /// The packet as a whole is of no use. An error in a part of it is in [`Parts::error`].
    pub fn open_packet(&self, packet: &[u8]) -> Result<Parts, PacketError> {
        let bytes = self.strip_label(packet)?;
        let mut plain = if self.keyring.is_enabled() {
            match seal::open(self.keyring.keys(), &self.label, bytes) {
                Ok(plain) => plain,
                Err(error) if self.verify_incoming => return Err(error),
                Err(_) => bytes.to_vec(),
            }
        } else {
            bytes.to_vec()
        };
        if plain.first() == Some(&kind::CHECKSUM) {
            let (header, rest) = plain.split_at_checked(5).ok_or(PacketError::Short)?;
            if crc32fast::hash(rest).to_be_bytes() != header[1..] {
                return Err(PacketError::Checksum);
            }
            plain.drain(..5);
        }
        let mut parts = Parts::default();
        let len = plain.len();
        parts.buffers.push(plain);
        if let Err(error) = parts.unpack(0, 0..len, 0) {
            parts.error.get_or_insert(error);
        }
        Ok(parts)
    }

    /// Packs a message (or a compound) for the wire. Take `checksum` if the receiver is known to
    /// understand protocol 5, and `smaller` to compress what gets smaller by it.
    #[must_use]
    pub fn seal_packet(&mut self, message: &[u8], checksum: bool, smaller: bool) -> Vec<u8> {
        let mut body = Vec::with_capacity(message.len() + 5);
        if checksum {
            body.extend_from_slice(&[kind::CHECKSUM, 0, 0, 0, 0]);
        }
        let start = body.len();
        match smaller.then(|| compress(message)) {
            Some(packed) if packed.len() < message.len() => body.extend_from_slice(&packed),
            _ => body.extend_from_slice(message),
        }
        if checksum {
            let sum = crc32fast::hash(&body[start..]).to_be_bytes();
            body[1..5].copy_from_slice(&sum);
        }
        let mut out = self.label_header();
        match self.keyring.primary() {
            Some(key) if self.verify_outgoing => {
                out.extend_from_slice(&seal::seal(key, self.nonces.nonce(), &self.label, &body));
            }
            _ if out.is_empty() => return body,
            _ => out.extend_from_slice(&body),
        }
        out
    }

    /// Packs a whole message for a stream, without the label.
    #[must_use]
    pub fn seal_stream(&mut self, message: &[u8], smaller: bool) -> Vec<u8> {
        let packed;
        let message = if smaller {
            packed = compress(message);
            &packed
        } else {
            message
        };
        match self.keyring.primary() {
            Some(key) if self.verify_outgoing => {
                let len = u32::try_from(message.len() + seal::OVERHEAD).unwrap_or(u32::MAX);
                let mut out = vec![kind::ENCRYPT];
                out.extend_from_slice(&len.to_be_bytes());
                let mut aad = out.clone();
                aad.extend_from_slice(&self.label);
                out.extend_from_slice(&seal::seal(key, self.nonces.nonce(), &aad, message));
                out
            }
            _ => message.to_vec(),
        }
    }

    /// Opens the encryption of a stream: `header` is the type byte and the length, `sealed` the rest.
    ///
    /// # Errors
    /// No key fits.
    pub fn open_stream(&self, header: &[u8], sealed: &[u8]) -> Result<Vec<u8>, PacketError> {
        let mut aad = header.to_vec();
        aad.extend_from_slice(&self.label);
        seal::open(self.keyring.keys(), &aad, sealed)
    }
}

#[cfg(test)]
mod tests;
