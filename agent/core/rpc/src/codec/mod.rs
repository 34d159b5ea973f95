//! The encoding of arguments and replies: msgpack from before strings and bytes were told apart,
//! as Go's codec writes it, for any type that serde knows.
//!
//! Writing: structs are maps with their keys in ascending order of bytes; an empty list and empty
//! bytes are nil, which peers read alike; an absent option is nil; no str8, no bin.
//! Reading: nil is the zero value of whatever is wanted; unknown keys are passed over; a struct may
//! be an array of its fields; str8 is text and bytes, bin is bytes only; text that is not UTF-8 is
//! mended, as Go's JSON does. What is read costs no more memory than a bounded multiple of the
//! input, whatever lengths it claims, and nesting is bounded.

mod bytes;
mod de;
mod ser;
mod time;

pub use bytes::Bytes;
pub use time::Time;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Why a value could not be written or read. The text of a failed read begins as Go's codec
/// begins it, `codec.decoder:`, by which peers tell that the arguments were at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(String);

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

impl serde::de::Error for Error {
    fn custom<T: std::fmt::Display>(text: T) -> Error {
        Error(format!("codec.decoder: {text}"))
    }
}

impl serde::ser::Error for Error {
    fn custom<T: std::fmt::Display>(text: T) -> Error {
        Error(format!("codec.encoder: {text}"))
    }
}

/// The encoding of a value.
///
/// # Errors
/// The type has no form in this encoding: an enum with data, or a map without text keys.
pub fn to_vec<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, Error> {
    let mut out = ser::Encoder::default();
    value.serialize(&mut out)?;
    Ok(out.into_bytes())
}

/// Reads the value at the front of the bytes and ignores what follows it, as peers do.
///
/// # Errors
/// The bytes do not begin with such a value, or nest too deeply, or hold more empty structs than
/// any message does.
pub fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    T::deserialize(&mut de::Decoder::new(bytes))
}

#[cfg(test)]
mod tests;
