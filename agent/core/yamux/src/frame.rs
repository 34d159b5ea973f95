//! The 12 bytes in front of everything: version, type, flags, stream, length; big-endian.

/// Bytes of a header.
pub const HEADER: usize = 12;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `length` bytes of a stream follow.
    Data,
    /// `length` is credit for a stream.
    Window,
    /// `length` is an opaque value to be sent back.
    Ping,
    /// `length` is a [`Code`].
    GoAway,
}

/// Flags of a frame. Bits of no meaning are kept and ignored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(pub u16);

impl Flags {
    /// None.
    pub const NONE: Self = Self(0);
    /// Opens a stream; asks, on a ping.
    pub const SYN: Self = Self(1);
    /// Acknowledges a stream; answers, on a ping.
    pub const ACK: Self = Self(2);
    /// The sender will send no more on this stream.
    pub const FIN: Self = Self(4);
    /// The stream is gone at once, in both directions.
    pub const RST: Self = Self(8);

    /// Whether this flag is set.
    #[must_use]
    pub const fn has(self, flag: Self) -> bool {
        self.0 & flag.0 != 0
    }
}

/// Why a session ends, as said in go away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// No new streams; those there are go on.
    Normal,
    /// The other side broke the protocol.
    Protocol,
    /// The own side has failed.
    Internal,
    /// Another number.
    Other(u32),
}

impl Code {
    const fn number(self) -> u32 {
        match self {
            Self::Normal => 0,
            Self::Protocol => 1,
            Self::Internal => 2,
            Self::Other(number) => number,
        }
    }

    pub(crate) const fn of(number: u32) -> Self {
        match number {
            0 => Self::Normal,
            1 => Self::Protocol,
            2 => Self::Internal,
            other => Self::Other(other),
        }
    }
}

/// The head of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What it is.
    pub kind: Kind,
    /// Its flags.
    pub flags: Flags,
    /// The stream it belongs to; 0 for ping and go away.
    pub stream: u32,
    /// Its meaning depends on `kind`.
    pub length: u32,
}

/// A header that cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Only version 0 exists.
    #[error("unknown version {0}")]
    Version(u8),
    /// Types are 0 to 3.
    #[error("unknown frame type {0}")]
    Kind(u8),
}

impl Header {
    /// Go away.
    #[must_use]
    pub const fn go_away(code: Code) -> Self {
        Self {
            kind: Kind::GoAway,
            flags: Flags::NONE,
            stream: 0,
            length: code.number(),
        }
    }

    /// The header as it is sent.
    #[must_use]
    pub fn encode(self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[1] = match self.kind {
            Kind::Data => 0,
            Kind::Window => 1,
            Kind::Ping => 2,
            Kind::GoAway => 3,
        };
        bytes[2..4].copy_from_slice(&self.flags.0.to_be_bytes());
        bytes[4..8].copy_from_slice(&self.stream.to_be_bytes());
        bytes[8..].copy_from_slice(&self.length.to_be_bytes());
        bytes
    }

    /// The header in these bytes.
    ///
    /// # Errors
    /// Another version, or a type that does not exist.
    pub fn decode(bytes: [u8; HEADER]) -> Result<Self, HeaderError> {
        let [version, kind, f0, f1, s0, s1, s2, s3, l0, l1, l2, l3] = bytes;
        if version != 0 {
            return Err(HeaderError::Version(version));
        }
        let kind = match kind {
            0 => Kind::Data,
            1 => Kind::Window,
            2 => Kind::Ping,
            3 => Kind::GoAway,
            other => return Err(HeaderError::Kind(other)),
        };
        Ok(Self {
            kind,
            flags: Flags(u16::from_be_bytes([f0, f1])),
            stream: u32::from_be_bytes([s0, s1, s2, s3]),
            length: u32::from_be_bytes([l0, l1, l2, l3]),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_a_real_client() {
        let open = [0, 1, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0];
        let header = Header::decode(open).expect("well-formed");
        assert_eq!(
            header,
            Header {
                kind: Kind::Window,
                flags: Flags::SYN,
                stream: 1,
                length: 0
            }
        );
        assert_eq!(header.encode(), open);
        let data = [0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0xc8];
        let header = Header::decode(data).expect("well-formed");
        assert_eq!((header.kind, header.length), (Kind::Data, 200));
        assert_eq!(header.encode(), data);
    }

    #[test]
    fn what_does_not_exist_is_refused() {
        assert_eq!(
            Header::decode([1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0]),
            Err(HeaderError::Version(1))
        );
        assert_eq!(
            Header::decode([0, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0]),
            Err(HeaderError::Kind(4))
        );
    }

    #[test]
    fn codes() {
        for code in [Code::Normal, Code::Protocol, Code::Internal, Code::Other(9)] {
            assert_eq!(Code::of(code.number()), code);
        }
    }
}
