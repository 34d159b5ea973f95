//! Writing.

use super::Error;
use lictor_gossip::msgpack::Writer;
use serde::ser::{self, Error as _, Impossible, Serialize};

/// Writes values one behind the other.
#[derive(Debug, Default)]
pub(super) struct Encoder {
    out: Writer,
    /// Where the entries of the maps that are open begin: those of inner maps lie behind those of
    /// outer ones.
    entries: Vec<Entry>,
}

/// An entry of an open map.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Where its key begins, in its own encoding.
    key: usize,
    /// Where its value begins.
    value: usize,
}

impl Encoder {
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.out.bytes
    }

    fn at(&self) -> usize {
        self.out.bytes.len()
    }

    fn open(&mut self, announced: Option<usize>) -> MapEncoder<'_> {
        if let Some(len) = announced {
            self.out.map(len);
        }
        MapEncoder {
            first: self.entries.len(),
            start: self.at(),
            announced,
            encoder: self,
        }
    }
}

/// A map or struct whose entries are being written. Where their number is not announced, the
/// header is put before them at the end.
pub(super) struct MapEncoder<'a> {
    encoder: &'a mut Encoder,
    announced: Option<usize>,
    /// Where the first entry begins.
    start: usize,
    first: usize,
}

impl MapEncoder<'_> {
    fn key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        let at = self.encoder.at();
        key.serialize(&mut *self.encoder)?;
        if !matches!(
            self.encoder.out.bytes.get(at),
            Some(0xa0..=0xbf | 0xda | 0xdb)
        ) {
            return Err(Error::custom("a map needs texts as keys"));
        }
        let value = self.encoder.at();
        self.encoder.entries.push(Entry { key: at, value });
        Ok(())
    }

    /// Brings the entries into order.
    fn close(self) -> Result<(), Error> {
        let Encoder { out, entries } = self.encoder;
        let open = &entries[self.first..];
        let bytes = &mut out.bytes;
        let text = |e: &Entry| {
            let key = &bytes[e.key..e.value];
            &key[match key[0] {
                0xda => 3,
                0xdb => 5,
                _ => 1,
            }..]
        };
        if !open.is_sorted_by_key(text) {
            let mut order: Vec<usize> = (0..open.len()).collect();
            order.sort_by_key(|at| text(&open[*at]));
            let mut sorted = Vec::with_capacity(bytes.len() - self.start);
            for at in order {
                let end = open.get(at + 1).map_or(bytes.len(), |next| next.key);
                sorted.extend_from_slice(&bytes[open[at].key..end]);
            }
            bytes[self.start..].copy_from_slice(&sorted);
        }
        let len = open.len();
        entries.truncate(self.first);
        match self.announced {
            None => {
                let mut header = Writer::default();
                header.map(len);
                bytes.splice(self.start..self.start, header.bytes);
                Ok(())
            }
            Some(announced) if announced == len => Ok(()),
            Some(announced) => Err(Error::custom(format_args!(
                "a map of {announced} entries has {len}"
            ))),
        }
    }
}

impl ser::SerializeMap for MapEncoder<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        self.key(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        value.serialize(&mut *self.encoder)
    }

    fn end(self) -> Result<(), Error> {
        self.close()
    }
}

impl ser::SerializeStruct for MapEncoder<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        self.key(key)?;
        value.serialize(&mut *self.encoder)
    }

    fn end(self) -> Result<(), Error> {
        self.close()
    }
}

/// The header of a list; an empty one is nil.
fn list(out: &mut Writer, len: usize) {
    if len == 0 {
        out.nil();
    } else {
        out.array(len);
    }
}

/// A list, with its header as that of a map.
pub(super) struct SeqEncoder<'a> {
    encoder: &'a mut Encoder,
    announced: Option<usize>,
    start: usize,
    len: usize,
}

impl ser::SerializeSeq for SeqEncoder<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.len += 1;
        value.serialize(&mut *self.encoder)
    }

    fn end(self) -> Result<(), Error> {
        match self.announced {
            None => {
                let mut header = Writer::default();
                list(&mut header, self.len);
                let bytes = &mut self.encoder.out.bytes;
                bytes.splice(self.start..self.start, header.bytes);
                Ok(())
            }
            Some(announced) if announced == self.len => Ok(()),
            Some(announced) => Err(Error::custom(format_args!(
                "a list of {announced} values has {}",
                self.len
            ))),
        }
    }
}

impl ser::SerializeTuple for SeqEncoder<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        ser::SerializeSeq::serialize_element(self, value)
    }

    fn end(self) -> Result<(), Error> {
        ser::SerializeSeq::end(self)
    }
}

impl ser::SerializeTupleStruct for SeqEncoder<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        ser::SerializeSeq::serialize_element(self, value)
    }

    fn end(self) -> Result<(), Error> {
        ser::SerializeSeq::end(self)
    }
}

impl<'a> ser::Serializer for &'a mut Encoder {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = SeqEncoder<'a>;
    type SerializeTuple = SeqEncoder<'a>;
    type SerializeTupleStruct = SeqEncoder<'a>;
    type SerializeTupleVariant = Impossible<(), Error>;
    type SerializeMap = MapEncoder<'a>;
    type SerializeStruct = MapEncoder<'a>;
    type SerializeStructVariant = Impossible<(), Error>;

    fn is_human_readable(&self) -> bool {
        false
    }

    fn serialize_bool(self, v: bool) -> Result<(), Error> {
        self.out.bool(v);
        Ok(())
    }

    fn serialize_i8(self, v: i8) -> Result<(), Error> {
        self.serialize_i64(v.into())
    }

    fn serialize_i16(self, v: i16) -> Result<(), Error> {
        self.serialize_i64(v.into())
    }

    fn serialize_i32(self, v: i32) -> Result<(), Error> {
        self.serialize_i64(v.into())
    }

    fn serialize_i64(self, v: i64) -> Result<(), Error> {
        self.out.int(v);
        Ok(())
    }

    fn serialize_u8(self, v: u8) -> Result<(), Error> {
        self.serialize_u64(v.into())
    }

    fn serialize_u16(self, v: u16) -> Result<(), Error> {
        self.serialize_u64(v.into())
    }

    fn serialize_u32(self, v: u32) -> Result<(), Error> {
        self.serialize_u64(v.into())
    }

    fn serialize_u64(self, v: u64) -> Result<(), Error> {
        self.out.uint(v);
        Ok(())
    }

    fn serialize_f32(self, v: f32) -> Result<(), Error> {
        self.serialize_f64(v.into())
    }

    fn serialize_f64(self, v: f64) -> Result<(), Error> {
        self.out.float(v);
        Ok(())
    }

    fn serialize_char(self, v: char) -> Result<(), Error> {
        self.serialize_str(v.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, v: &str) -> Result<(), Error> {
        self.out.raw(v.as_bytes());
        Ok(())
    }

    fn serialize_bytes(self, v: &[u8]) -> Result<(), Error> {
        if v.is_empty() {
            self.out.nil();
        } else {
            self.out.raw(v);
        }
        Ok(())
    }

    fn serialize_none(self) -> Result<(), Error> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, v: &T) -> Result<(), Error> {
        v.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Error> {
        self.out.nil();
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Error> {
        self.out.map(0);
        Ok(())
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<(), Error> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        v: &T,
    ) -> Result<(), Error> {
        v.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<(), Error> {
        Err(no_form(name))
    }

    fn serialize_seq(self, announced: Option<usize>) -> Result<SeqEncoder<'a>, Error> {
        if let Some(len) = announced {
            list(&mut self.out, len);
        }
        Ok(SeqEncoder {
            announced,
            start: self.at(),
            len: 0,
            encoder: self,
        })
    }

    fn serialize_tuple(self, len: usize) -> Result<SeqEncoder<'a>, Error> {
        self.serialize_seq(Some(len))
    }

    fn serialize_tuple_struct(self, _: &'static str, len: usize) -> Result<SeqEncoder<'a>, Error> {
        self.serialize_seq(Some(len))
    }

    fn serialize_tuple_variant(
        self,
        name: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Impossible<(), Error>, Error> {
        Err(no_form(name))
    }

    fn serialize_map(self, len: Option<usize>) -> Result<MapEncoder<'a>, Error> {
        Ok(self.open(len))
    }

    fn serialize_struct(self, _: &'static str, len: usize) -> Result<MapEncoder<'a>, Error> {
        Ok(self.open(Some(len)))
    }

    fn serialize_struct_variant(
        self,
        name: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Impossible<(), Error>, Error> {
        Err(no_form(name))
    }
}

fn no_form(name: &str) -> Error {
    Error::custom(format_args!("{name} has no form here: an enum with data"))
}
