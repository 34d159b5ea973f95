//! Reading.

use super::Error;
use lictor_gossip::msgpack::{ReadError, Reader};
use serde::de::value::StrDeserializer;
use serde::de::{
    self, DeserializeSeed, Error as _, IgnoredAny, IntoDeserializer, MapAccess, SeqAccess, Visitor,
};
use std::borrow::Cow;

/// Values inside values that a message may have. The deepest of ours, a proxy's free-form
/// configuration in a service in a list, have about ten levels.
const DEPTH_MAX: usize = 64;
/// Structs that any message may hold, however short it is.
const STRUCTS_FREE: usize = 4096;
/// Bytes of a message for every further struct. Structs of real peers take more; without this, a
/// message of empty ones would cost a hundredfold of its size.
const BYTES_A_STRUCT: usize = 16;
/// Values in all free-form maps of a message.
const FREE_FORM_MAX: usize = 1 << 16;

/// Reads values one behind the other.
pub(super) struct Decoder<'de> {
    reader: Reader<'de>,
    depth: usize,
    structs: usize,
    free_form: usize,
}

impl From<ReadError> for Error {
    fn from(error: ReadError) -> Error {
        match error {
            ReadError::Incomplete => Error::custom("EOF"),
            other => Error::custom(other),
        }
    }
}

impl<'de> Decoder<'de> {
    pub(super) fn new(bytes: &'de [u8]) -> Decoder<'de> {
        Decoder {
            reader: Reader::new(bytes),
            depth: DEPTH_MAX,
            structs: STRUCTS_FREE + bytes.len() / BYTES_A_STRUCT,
            free_form: FREE_FORM_MAX,
        }
    }

    fn peek(&self) -> Result<u8, Error> {
        let next = self.reader.rest().first().copied();
        next.ok_or_else(|| ReadError::Incomplete.into())
    }

    fn spend(budget: &mut usize, what: &str) -> Result<(), Error> {
        *budget = budget
            .checked_sub(1)
            .ok_or_else(|| Error::custom(format_args!("too many {what}")))?;
        Ok(())
    }

    fn text(&mut self) -> Result<Cow<'de, str>, Error> {
        let byte = self.peek()?;
        if matches!(byte, 0xc4..=0xc6) {
            return Err(ReadError::Type(byte).into());
        }
        Ok(String::from_utf8_lossy(self.reader.raw()?))
    }

    fn visit_text<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Error> {
        match self.text()? {
            Cow::Borrowed(text) => visitor.visit_borrowed_str(text),
            Cow::Owned(text) => visitor.visit_string(text),
        }
    }

    fn visit_integer<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Error> {
        let value: i128 = self.reader.int()?;
        if let Ok(value) = u64::try_from(value) {
            visitor.visit_u64(value)
        } else if let Ok(value) = i64::try_from(value) {
            visitor.visit_i64(value)
        } else {
            Err(ReadError::Range.into())
        }
    }

    /// Runs a visitor one level deeper.
    fn deeper<T>(&mut self, run: impl FnOnce(&mut Self) -> Result<T, Error>) -> Result<T, Error> {
        self.depth = self.depth.checked_sub(1).ok_or(ReadError::Depth)?;
        let result = run(self);
        self.depth += 1;
        result
    }

    fn visit_list<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Error> {
        self.deeper(|from| {
            let left = from.reader.array()?;
            let mut items = Items { from, left };
            let value = visitor.visit_seq(&mut items)?;
            // A struct as a longer array of a newer peer: what is more is passed over.
            while items.next_element::<IgnoredAny>()?.is_some() {}
            Ok(value)
        })
    }

    fn visit_pairs<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Error> {
        self.deeper(|from| {
            let left = from.reader.map()?;
            visitor.visit_map(Items { from, left })
        })
    }
}

/// The values of a list, or the pairs of a map.
struct Items<'a, 'de> {
    from: &'a mut Decoder<'de>,
    left: usize,
}

impl Items<'_, '_> {
    /// Every value takes a byte at least: a lying count reserves no more than the input is long.
    fn hint(&self) -> usize {
        self.left.min(self.from.reader.rest().len())
    }
}

impl<'de> SeqAccess<'de> for Items<'_, 'de> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        let Some(left) = self.left.checked_sub(1) else {
            return Ok(None);
        };
        self.left = left;
        seed.deserialize(&mut *self.from).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.hint())
    }
}

impl<'de> MapAccess<'de> for Items<'_, 'de> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        self.next_element_seed(seed)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        seed.deserialize(&mut *self.from)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.hint())
    }
}

macro_rules! integers {
    ($($name:ident)*) => {$(
        fn $name<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            self.visit_integer(visitor)
        }
    )*};
}

macro_rules! texts {
    ($($name:ident)*) => {$(
        fn $name<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            self.visit_text(visitor)
        }
    )*};
}

macro_rules! floats {
    ($($name:ident)*) => {$(
        fn $name<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            visitor.visit_f64(self.reader.float()?)
        }
    )*};
}

impl<'de> de::Deserializer<'de> for &mut Decoder<'de> {
    type Error = Error;

    fn is_human_readable(&self) -> bool {
        false
    }

    /// A value of a free-form map: raw is text there.
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        Decoder::spend(&mut self.free_form, "values")?;
        match self.peek()? {
            0xc0 => {
                self.reader.nil()?;
                visitor.visit_unit()
            }
            0xc2 | 0xc3 => visitor.visit_bool(self.reader.bool()?),
            0xca | 0xcb => visitor.visit_f64(self.reader.float()?),
            0x00..=0x7f | 0xe0..=0xff | 0xcc..=0xd3 => self.visit_integer(visitor),
            0xa0..=0xbf | 0xd9..=0xdb => self.visit_text(visitor),
            0xc4..=0xc6 => visitor.visit_bytes(self.reader.raw()?),
            0x90..=0x9f | 0xdc | 0xdd => self.visit_list(visitor),
            0x80..=0x8f | 0xde | 0xdf => self.visit_pairs(visitor),
            byte => Err(ReadError::Type(byte).into()),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_bool(self.reader.bool()?)
    }

    integers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64
    }
    floats! { deserialize_f32 deserialize_f64 }
    texts! { deserialize_char deserialize_str deserialize_string deserialize_identifier }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_borrowed_bytes(self.reader.raw()?)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.reader.nil()? {
            visitor.visit_none()
        } else {
            visitor.visit_some(self)
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.reader.skip()?;
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.visit_list(visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        self.visit_list(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.visit_list(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.visit_pairs(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        Decoder::spend(&mut self.structs, "structs")?;
        match self.peek()? {
            0x90..=0x9f | 0xdc | 0xdd => self.visit_list(visitor),
            _ => self.visit_pairs(visitor),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let word = self.text()?;
        let word: StrDeserializer<'_, Error> = word.as_ref().into_deserializer();
        visitor.visit_enum(word)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.reader.skip()?;
        visitor.visit_unit()
    }
}
