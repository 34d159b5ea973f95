//! Msgpack as Go's codec speaks it to memberlist: the dialect from before strings and bytes were
//! told apart ("raw"), structs as maps with keys in ascending order.
//!
//! The reader takes what all generations of peers write (str8, bin, every width of integer that
//! fits, nil for any zero value) and allocates no more than the input is long. It tells input that
//! is too short ([`ReadError::Incomplete`]) from input that is wrong, so that a stream can wait for
//! the rest.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Why a value could not be read. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The bytes end inside the value; more may follow on a stream.
    #[error("input ends inside a value")]
    Incomplete,
    /// Another kind of value than the field wants.
    #[error("unexpected type byte {0:#04x}")]
    Type(u8),
    /// A number outside the range of its field.
    #[error("number out of range")]
    Range,
    /// A text that is not UTF-8.
    #[error("text is not UTF-8")]
    Utf8,
    /// Deeper than any message is.
    #[error("nested too deeply")]
    Depth,
}

/// Writes values to the end of a buffer.
#[derive(Debug, Default)]
pub struct Writer {
    /// What was written.
    pub bytes: Vec<u8>,
}

/// Lengths in memory fit 32 bits: the largest message is some megabytes.
fn length(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

impl Writer {
    /// A writer that continues after `bytes`.
    #[must_use]
    pub fn after(bytes: Vec<u8>) -> Self {
        Self { bytes }
    }

    #[allow(clippy::cast_possible_truncation)]
    fn header(&mut self, len: usize, small: u8, limit: usize, middle: u8, large: u8) {
        let len32 = length(len);
        if len < limit {
            self.bytes.push(small | len as u8);
        } else if let Ok(len) = u16::try_from(len) {
            self.bytes.push(middle);
            self.bytes.extend_from_slice(&len.to_be_bytes());
        } else {
            self.bytes.push(large);
            self.bytes.extend_from_slice(&len32.to_be_bytes());
        }
    }

    /// A map of `len` pairs follows.
    pub fn map(&mut self, len: usize) {
        self.header(len, 0x80, 16, 0xde, 0xdf);
    }

    /// A list of `len` values follows.
    pub fn array(&mut self, len: usize) {
        self.header(len, 0x90, 16, 0xdc, 0xdd);
    }

    /// Text or bytes.
    pub fn raw(&mut self, value: &[u8]) {
        self.header(value.len(), 0xa0, 32, 0xda, 0xdb);
        self.bytes.extend_from_slice(value);
    }

    /// Nil: the absent value.
    pub fn nil(&mut self) {
        self.bytes.push(0xc0);
    }

    /// A truth value.
    pub fn bool(&mut self, value: bool) {
        self.bytes.push(if value { 0xc3 } else { 0xc2 });
    }

    /// An unsigned number, in its shortest form.
    pub fn uint(&mut self, value: u64) {
        let out = &mut self.bytes;
        if let Ok(small) = u8::try_from(value) {
            if small >= 0x80 {
                out.push(0xcc);
            }
            out.push(small);
        } else if let Ok(value) = u16::try_from(value) {
            out.push(0xcd);
            out.extend_from_slice(&value.to_be_bytes());
        } else if let Ok(value) = u32::try_from(value) {
            out.push(0xce);
            out.extend_from_slice(&value.to_be_bytes());
        } else {
            out.push(0xcf);
            out.extend_from_slice(&value.to_be_bytes());
        }
    }

    /// A signed number: unsigned when it is not negative, which every generation of peers reads.
    #[allow(clippy::cast_sign_loss)]
    pub fn int(&mut self, value: i64) {
        if let Ok(value) = u64::try_from(value) {
            return self.uint(value);
        }
        let out = &mut self.bytes;
        if let Ok(small) = i8::try_from(value) {
            if small < -32 {
                out.push(0xd0);
            }
            out.push(small as u8);
        } else if let Ok(value) = i16::try_from(value) {
            out.push(0xd1);
            out.extend_from_slice(&value.to_be_bytes());
        } else if let Ok(value) = i32::try_from(value) {
            out.push(0xd2);
            out.extend_from_slice(&value.to_be_bytes());
        } else {
            out.push(0xd3);
            out.extend_from_slice(&value.to_be_bytes());
        }
    }

    /// A 64-bit float.
    pub fn float(&mut self, value: f64) {
        self.bytes.push(0xcb);
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }
}

/// Reads values from the front of a slice.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

/// Values inside values that a message may have; ours have three levels.
const MAX_DEPTH: usize = 32;

impl<'a> Reader<'a> {
    /// A reader of these bytes.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What was not read yet.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next `len` bytes as they are.
    ///
    /// # Errors
    /// [`ReadError::Incomplete`].
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], ReadError> {
        let (head, rest) = self
            .rest
            .split_at_checked(len)
            .ok_or(ReadError::Incomplete)?;
        self.rest = rest;
        Ok(head)
    }

    /// The next byte as it is.
    ///
    /// # Errors
    /// [`ReadError::Incomplete`].
    pub fn byte(&mut self) -> Result<u8, ReadError> {
        Ok(self.take(1)?[0])
    }

    fn peek(&self) -> Result<u8, ReadError> {
        self.rest.first().copied().ok_or(ReadError::Incomplete)
    }

    fn number<const N: usize>(&mut self) -> Result<[u8; N], ReadError> {
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.take(N)?);
        Ok(bytes)
    }

    fn len(&mut self, width: usize) -> Result<usize, ReadError> {
        let value = self
            .take(width)?
            .iter()
            .fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
        usize::try_from(value).map_err(|_| ReadError::Range)
    }

    /// Takes a nil if one is next.
    ///
    /// # Errors
    /// [`ReadError::Incomplete`].
    pub fn nil(&mut self) -> Result<bool, ReadError> {
        let nil = self.peek()? == 0xc0;
        if nil {
            self.rest = &self.rest[1..];
        }
        Ok(nil)
    }

    /// The number of pairs of a map; nil is an empty one.
    ///
    /// # Errors
    /// No map, or no more bytes.
    pub fn map(&mut self) -> Result<usize, ReadError> {
        match self.byte()? {
            0xc0 => Ok(0),
            byte @ 0x80..=0x8f => Ok(usize::from(byte & 0x0f)),
            0xde => self.len(2),
            0xdf => self.len(4),
            byte => Err(ReadError::Type(byte)),
        }
    }

    /// The number of values of a list; nil is an empty one.
    ///
    /// # Errors
    /// No list, or no more bytes.
    pub fn array(&mut self) -> Result<usize, ReadError> {
        match self.byte()? {
            0xc0 => Ok(0),
            byte @ 0x90..=0x9f => Ok(usize::from(byte & 0x0f)),
            0xdc => self.len(2),
            0xdd => self.len(4),
            byte => Err(ReadError::Type(byte)),
        }
    }

    /// Text or bytes, in any of the encodings; nil is empty.
    ///
    /// # Errors
    /// Neither, or no more bytes.
    pub fn raw(&mut self) -> Result<&'a [u8], ReadError> {
        let len = self.raw_len()?;
        self.take(len)
    }

    /// The length of text or bytes that follow.
    ///
    /// # Errors
    /// Neither, or no more bytes.
    pub fn raw_len(&mut self) -> Result<usize, ReadError> {
        match self.byte()? {
            0xc0 => Ok(0),
            byte @ 0xa0..=0xbf => Ok(usize::from(byte & 0x1f)),
            0xd9 | 0xc4 => self.len(1),
            0xda | 0xc5 => self.len(2),
            0xdb | 0xc6 => self.len(4),
            byte => Err(ReadError::Type(byte)),
        }
    }

    /// Text.
    ///
    /// # Errors
    /// As [`Reader::raw`], or not UTF-8.
    pub fn text(&mut self) -> Result<&'a str, ReadError> {
        std::str::from_utf8(self.raw()?).map_err(|_| ReadError::Utf8)
    }

    /// A truth value; numbers count too.
    ///
    /// # Errors
    /// Another value, or no more bytes.
    pub fn bool(&mut self) -> Result<bool, ReadError> {
        match self.byte()? {
            0xc0 | 0xc2 | 0x00 => Ok(false),
            0xc3 | 0x01 => Ok(true),
            byte => Err(ReadError::Type(byte)),
        }
    }

    /// An integer of any width and sign.
    fn integer(&mut self) -> Result<i128, ReadError> {
        Ok(match self.byte()? {
            0xc0 => 0,
            byte @ 0x00..=0x7f => i128::from(byte),
            byte @ 0xe0..=0xff => i128::from(i8::from_be_bytes([byte])),
            0xcc => i128::from(self.byte()?),
            0xcd => i128::from(u16::from_be_bytes(self.number()?)),
            0xce => i128::from(u32::from_be_bytes(self.number()?)),
            0xcf => i128::from(u64::from_be_bytes(self.number()?)),
            0xd0 => i128::from(i8::from_be_bytes(self.number()?)),
            0xd1 => i128::from(i16::from_be_bytes(self.number()?)),
            0xd2 => i128::from(i32::from_be_bytes(self.number()?)),
            0xd3 => i128::from(i64::from_be_bytes(self.number()?)),
            byte => return Err(ReadError::Type(byte)),
        })
    }

    /// An integer that fits the wanted type; nil is 0.
    ///
    /// # Errors
    /// No integer, or out of range, or no more bytes.
    pub fn int<T: TryFrom<i128>>(&mut self) -> Result<T, ReadError> {
        T::try_from(self.integer()?).map_err(|_| ReadError::Range)
    }

    /// A float; integers count too.
    ///
    /// # Errors
    /// No number, or no more bytes.
    #[allow(clippy::cast_precision_loss)]
    pub fn float(&mut self) -> Result<f64, ReadError> {
        match self.peek()? {
            0xcb => {
                self.byte()?;
                Ok(f64::from_be_bytes(self.number()?))
            }
            0xca => {
                self.byte()?;
                Ok(f64::from(f32::from_be_bytes(self.number()?)))
            }
            _ => Ok(self.integer()? as f64),
        }
    }

    /// Passes over one value of any kind.
    ///
    /// # Errors
    /// Malformed or too deep, or no more bytes.
    pub fn skip(&mut self) -> Result<(), ReadError> {
        self.skip_at(0)
    }

    fn skip_at(&mut self, depth: usize) -> Result<(), ReadError> {
        if depth > MAX_DEPTH {
            return Err(ReadError::Depth);
        }
        let values = match self.byte()? {
            0x00..=0x7f | 0xe0..=0xff | 0xc0 | 0xc2 | 0xc3 => return Ok(()),
            byte @ 0x80..=0x8f => usize::from(byte & 0x0f).saturating_mul(2),
            byte @ 0x90..=0x9f => usize::from(byte & 0x0f),
            0xdc => self.len(2)?,
            0xdd => self.len(4)?,
            0xde => self.len(2)?.saturating_mul(2),
            0xdf => self.len(4)?.saturating_mul(2),
            byte @ 0xa0..=0xbf => return self.take(usize::from(byte & 0x1f)).map(drop),
            0xc4 | 0xd9 => return self.pass(1, 0),
            0xc5 | 0xda => return self.pass(2, 0),
            0xc6 | 0xdb => return self.pass(4, 0),
            0xc7 => return self.pass(1, 1),
            0xc8 => return self.pass(2, 1),
            0xc9 => return self.pass(4, 1),
            0xca | 0xce | 0xd2 => return self.take(4).map(drop),
            0xcb | 0xcf | 0xd3 => return self.take(8).map(drop),
            0xcc | 0xd0 => return self.take(1).map(drop),
            0xcd | 0xd1 => return self.take(2).map(drop),
            byte @ 0xd4..=0xd8 => return self.take(1 + (1 << (byte - 0xd4))).map(drop),
            byte @ 0xc1 => return Err(ReadError::Type(byte)),
        };
        // Every value takes a byte at least, so a lying count ends at the end of the input.
        for _ in 0..values {
            self.skip_at(depth + 1)?;
        }
        Ok(())
    }

    fn pass(&mut self, width: usize, more: usize) -> Result<(), ReadError> {
        let len = self.len(width)?;
        self.take(len.checked_add(more).ok_or(ReadError::Range)?)
            .map(drop)
    }
}

/// A type with one encoding.
pub trait Value: Sized {
    /// Appends the value.
    fn write(&self, out: &mut Writer);
    /// Reads one value; nil gives the zero value.
    ///
    /// # Errors
    /// The bytes are not such a value.
    fn read(from: &mut Reader<'_>) -> Result<Self, ReadError>;
    /// Whether an optional field with this value is left out.
    fn is_absent(&self) -> bool {
        false
    }
}

macro_rules! unsigned {
    ($($kind:ty)*) => {$(
        impl Value for $kind {
            fn write(&self, out: &mut Writer) {
                out.uint(u64::from(*self));
            }
            fn read(from: &mut Reader<'_>) -> Result<Self, ReadError> {
                from.int()
            }
            fn is_absent(&self) -> bool {
                *self == 0
            }
        }
    )*};
}
unsigned!(u8 u16 u32 u64);

impl Value for i64 {
    fn write(&self, out: &mut Writer) {
        out.int(*self);
    }
    fn read(from: &mut Reader<'_>) -> Result<Self, ReadError> {
        from.int()
    }
}

impl Value for bool {
    fn write(&self, out: &mut Writer) {
        out.bool(*self);
    }
    fn read(from: &mut Reader<'_>) -> Result<Self, ReadError> {
        from.bool()
    }
}

impl Value for f64 {
    fn write(&self, out: &mut Writer) {
        out.float(*self);
    }
    fn read(from: &mut Reader<'_>) -> Result<Self, ReadError> {
        from.float()
    }
}

impl Value for String {
    fn write(&self, out: &mut Writer) {
        out.raw(self.as_bytes());
    }
    fn read(from: &mut Reader<'_>) -> Result<Self, ReadError> {
        from.text().map(str::to_owned)
    }
    fn is_absent(&self) -> bool {
        self.is_empty()
    }
}

impl Value for std::sync::Arc<str> {
    fn write(&self, out: &mut Writer) {
        out.raw(self.as_bytes());
    }
    fn read(from: &mut Reader<'_>) -> Result<Self, ReadError> {
        from.text().map(Self::from)
    }
    fn is_absent(&self) -> bool {
        self.is_empty()
    }
}

/// Bytes. Empty ones are written as nil, which peers read alike.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub Vec<u8>);

impl Value for Bytes {
    fn write(&self, out: &mut Writer) {
        if self.0.is_empty() {
            out.nil()
        } else {
            out.raw(&self.0)
        }
    }
    fn read(from: &mut Reader<'_>) -> Result<Self, ReadError> {
        from.raw().map(|raw| Self(raw.to_vec()))
    }
    fn is_absent(&self) -> bool {
        self.0.is_empty()
    }
}

impl Value for std::sync::Arc<[u8]> {
    fn write(&self, out: &mut Writer) {
        out.raw(self);
    }
    fn read(from: &mut Reader<'_>) -> Result<Self, ReadError> {
        from.raw().map(Self::from)
    }
    fn is_absent(&self) -> bool {
        self.is_empty()
    }
}

impl<T: Value> Value for Vec<T> {
    fn write(&self, out: &mut Writer) {
        if self.is_empty() {
            return out.nil();
        }
        out.array(self.len());
        for value in self {
            value.write(out);
        }
    }
    fn read(from: &mut Reader<'_>) -> Result<Self, ReadError> {
        let len = from.array()?;
        // A lying length reserves little; the input ends before it costs more.
        let mut list = Self::with_capacity(len.min(256));
        for _ in 0..len {
            list.push(T::read(from)?);
        }
        Ok(list)
    }
    fn is_absent(&self) -> bool {
        self.is_empty()
    }
}

/// A value that may be nil.
impl<T: Value> Value for Option<T> {
    fn write(&self, out: &mut Writer) {
        match self {
            Some(value) => value.write(out),
            None => out.nil(),
        }
    }
    fn read(from: &mut Reader<'_>) -> Result<Self, ReadError> {
        if from.nil()? {
            Ok(None)
        } else {
            T::read(from).map(Some)
        }
    }
    fn is_absent(&self) -> bool {
        self.is_none()
    }
}

impl<K: Value + Ord, V: Value> Value for std::collections::BTreeMap<K, V> {
    fn write(&self, out: &mut Writer) {
        out.map(self.len());
        for (key, value) in self {
            key.write(out);
            value.write(out);
        }
    }
    fn read(from: &mut Reader<'_>) -> Result<Self, ReadError> {
        let len = from.map()?;
        let mut map = Self::new();
        for _ in 0..len {
            let key = K::read(from)?;
            map.insert(key, V::read(from)?);
        }
        Ok(map)
    }
    fn is_absent(&self) -> bool {
        self.is_empty()
    }
}

/// An address as a peer wrote it. Peers compare addresses byte for byte, so an IPv4 address in its
/// 16-byte form is another address than the 4-byte form, and both must travel on unchanged.
#[derive(Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RawIp {
    /// No address.
    #[default]
    None,
    /// Four bytes.
    V4([u8; 4]),
    /// Sixteen bytes.
    V6([u8; 16]),
}

impl std::fmt::Debug for RawIp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::None => f.write_str("-"),
            Self::V4(bytes) => write!(f, "{}", Ipv4Addr::from(*bytes)),
            Self::V6(bytes) => write!(f, "{}", Ipv6Addr::from(*bytes)),
        }
    }
}

impl RawIp {
    /// The address to send to: an IPv4 address in 16 bytes is IPv4.
    #[must_use]
    pub fn ip(self) -> Option<IpAddr> {
        match self {
            Self::None => None,
            Self::V4(bytes) => Some(IpAddr::V4(bytes.into())),
            Self::V6(bytes) => Some(IpAddr::V6(bytes.into()).to_canonical()),
        }
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::None => &[],
            Self::V4(bytes) => bytes,
            Self::V6(bytes) => bytes,
        }
    }
}

impl From<IpAddr> for RawIp {
    fn from(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => Self::V4(ip.octets()),
            IpAddr::V6(ip) => Self::V6(ip.octets()),
        }
    }
}

impl Value for RawIp {
    fn write(&self, out: &mut Writer) {
        if *self == Self::None {
            out.nil()
        } else {
            out.raw(self.as_bytes())
        }
    }
    fn read(from: &mut Reader<'_>) -> Result<Self, ReadError> {
        let raw = from.raw()?;
        if let Ok(bytes) = raw.try_into() {
            Ok(Self::V4(bytes))
        } else if let Ok(bytes) = raw.try_into() {
            Ok(Self::V6(bytes))
        } else if raw.is_empty() {
            Ok(Self::None)
        } else {
            Err(ReadError::Range)
        }
    }
    fn is_absent(&self) -> bool {
        *self == Self::None
    }
}

/// Defines a struct that travels as a map: fields in ascending order of their keys, each marked
/// `always` or `if_set`.
macro_rules! record {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $field:ident: $kind:ty = $key:literal $when:ident,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq)]
        #[allow(missing_docs)]
        pub struct $name {
            $($(#[$doc])* pub $field: $kind,)*
        }

        impl $crate::msgpack::Value for $name {
            fn write(&self, out: &mut $crate::msgpack::Writer) {
                let mut count = 0;
                $(if $crate::msgpack::record!(@$when self.$field) { count += 1; })*
                out.map(count);
                $(if $crate::msgpack::record!(@$when self.$field) {
                    out.raw($key.as_bytes());
                    self.$field.write(out);
                })*
            }

            fn read(from: &mut $crate::msgpack::Reader<'_>) -> Result<Self, $crate::msgpack::ReadError> {
                let mut value = Self::default();
                for _ in 0..from.map()? {
                    let key = from.raw()?;
                    $(if key == $key.as_bytes() {
                        value.$field = $crate::msgpack::Value::read(from)?;
                        continue;
                    })*
                    from.skip()?;
                }
                Ok(value)
            }
        }
    };
    (@always $field:expr) => { true };
    (@if_set $field:expr) => { !$crate::msgpack::Value::is_absent(&$field) };
}
pub(crate) use record;

/// The encoding of a value after a type byte.
pub fn tagged(tag: u8, value: &impl Value) -> Vec<u8> {
    let mut out = Writer::after(Vec::with_capacity(64));
    out.bytes.push(tag);
    value.write(&mut out);
    out.bytes
}

/// Reads one value and ignores what follows it, as peers do.
///
/// # Errors
/// The bytes do not begin with such a value.
pub fn decode<T: Value>(bytes: &[u8]) -> Result<T, ReadError> {
    T::read(&mut Reader::new(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(write: impl FnOnce(&mut Writer)) -> Vec<u8> {
        let mut out = Writer::default();
        write(&mut out);
        out.bytes
    }

    #[test]
    fn strings_are_raw_at_every_length() {
        assert_eq!(written(|w| w.raw(b"")), [0xa0]);
        assert_eq!(written(|w| w.raw(&[7; 31]))[..2], [0xbf, 7]);
        assert_eq!(written(|w| w.raw(&[7; 32]))[..4], [0xda, 0, 32, 7]);
        assert_eq!(written(|w| w.raw(&[7; 300]))[..4], [0xda, 1, 44, 7]);
        assert_eq!(written(|w| w.raw(&[7; 65_536]))[..6], [0xdb, 0, 1, 0, 0, 7]);
    }

    #[test]
    fn every_generation_of_strings_is_read() {
        for head in [
            &[0xa2][..],
            &[0xd9, 2],
            &[0xda, 0, 2],
            &[0xdb, 0, 0, 0, 2],
            &[0xc4, 2],
            &[0xc5, 0, 2],
            &[0xc6, 0, 0, 0, 2],
        ] {
            let mut bytes = head.to_vec();
            bytes.extend_from_slice(b"hi");
            assert_eq!(Reader::new(&bytes).text(), Ok("hi"));
        }
        assert_eq!(Reader::new(&[0xc0]).text(), Ok(""));
    }

    #[test]
    fn integers_of_any_sign_that_fit() {
        // 682 as newer peers write it: signed.
        assert_eq!(Reader::new(&[0xd1, 0x02, 0xaa]).int::<u32>(), Ok(682));
        assert_eq!(
            Reader::new(&[0xd3, 0, 0, 0, 0, 0, 0, 0, 200]).int::<u8>(),
            Ok(200)
        );
        assert_eq!(Reader::new(&[0xff]).int::<u8>(), Err(ReadError::Range));
        assert_eq!(Reader::new(&[0xff]).int::<i64>(), Ok(-1));
        assert_eq!(
            Reader::new(&[0xcd, 1, 0]).int::<u8>(),
            Err(ReadError::Range)
        );
        assert_eq!(
            Reader::new(&[0xcd, 1]).int::<u16>(),
            Err(ReadError::Incomplete)
        );
        assert_eq!(
            Reader::new(&[0xa1, b'1']).int::<u16>(),
            Err(ReadError::Type(0xa1))
        );
    }

    #[test]
    fn lying_counts_end_with_the_input() {
        for bytes in [
            &[0xdd, 0xff, 0xff, 0xff, 0xff][..],
            &[0xdf, 0xff, 0xff, 0xff, 0xff],
            &[0xdb, 0xff, 0xff, 0xff, 0xff],
        ] {
            assert_eq!(Reader::new(bytes).skip(), Err(ReadError::Incomplete));
            assert!(decode::<Vec<Bytes>>(bytes).is_err());
        }
        assert_eq!(Reader::new(&[0x91; 100]).skip(), Err(ReadError::Depth));
    }

    proptest! {
        #[test]
        fn integers_round_trip(value: i64, other: u64) {
            prop_assert_eq!(Reader::new(&written(|w| w.int(value))).int::<i64>(), Ok(value));
            prop_assert_eq!(Reader::new(&written(|w| w.uint(other))).int::<u64>(), Ok(other));
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = Reader::new(&bytes).skip();
            let _ = decode::<Vec<Option<String>>>(&bytes);
            let _ = decode::<std::collections::BTreeMap<String, u64>>(&bytes);
            let _ = Reader::new(&bytes).float();
        }
    }
}
