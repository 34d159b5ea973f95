//! How messages are written and read: their fields in one map, with the fields of the options and
//! metadata that they embed beside their own, never below a key.

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::ser::{SerializeStruct, Serializer};
use std::borrow::Cow;
use std::marker::PhantomData;

/// A struct whose fields lie in the map of the struct that embeds it.
pub trait Flat: Default {
    /// The name for messages of errors.
    const NAME: &'static str;
    /// How many fields it has, those of embedded structs among them.
    const FIELDS: usize;

    /// How many of them are not written, because they say nothing.
    fn left_out(&self) -> usize {
        0
    }

    /// Writes its fields.
    ///
    /// # Errors
    /// Those of the serializer.
    fn put<S: SerializeStruct>(&self, out: &mut S) -> Result<(), S::Error>;

    /// Reads the value of the field of that name, if it has one; else says that it has none.
    ///
    /// # Errors
    /// Those of the deserializer.
    fn take<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<bool, A::Error>;

    /// Reads its fields from an array, in the order of their declaration, and says whether there
    /// were enough values.
    ///
    /// # Errors
    /// Those of the deserializer.
    fn take_in_order<'de, A: SeqAccess<'de>>(&mut self, seq: &mut A) -> Result<bool, A::Error>;
}

/// Writes a message.
pub(super) fn serialize<T: Flat, S: Serializer>(value: &T, s: S) -> Result<S::Ok, S::Error> {
    let mut out = s.serialize_struct(T::NAME, T::FIELDS - value.left_out())?;
    value.put(&mut out)?;
    out.end()
}

/// Reads a message.
pub(super) fn deserialize<'de, T: Flat, D: Deserializer<'de>>(d: D) -> Result<T, D::Error> {
    struct Fields<T>(PhantomData<T>);
    impl<'de, T: Flat> Visitor<'de> for Fields<T> {
        type Value = T;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str(T::NAME)
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<T, A::Error> {
            let mut out = T::default();
            while let Some(Key(key)) = map.next_key::<Key<'de>>()? {
                if !out.take(&key, &mut map)? {
                    map.next_value::<IgnoredAny>()?;
                }
            }
            Ok(out)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<T, A::Error> {
            let mut out = T::default();
            out.take_in_order(&mut seq)?;
            Ok(out)
        }
    }
    // The names of the fields only matter to formats that ask for them beforehand.
    d.deserialize_struct(T::NAME, &[], Fields(PhantomData))
}

/// A field's name, borrowed where that is possible.
struct Key<'de>(Cow<'de, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Key<'de>, D::Error> {
        struct V;
        impl<'de> Visitor<'de> for V {
            type Value = Key<'de>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("the name of a field")
            }
            fn visit_borrowed_str<E: Error>(self, key: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(key)))
            }
            fn visit_str<E: Error>(self, key: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(key.to_owned())))
            }
        }
        d.deserialize_identifier(V)
    }
}

/// Defines messages: fields in the order of Go's declaration with their names on the wire, then
/// the embedded structs.
macro_rules! messages {
    ($(
        $(#[$doc:meta])*
        $name:ident {
            $($(#[$field_doc:meta])* $field:ident: $kind:ty = $key:literal,)*
            $(..$group:ident: $flat:ty,)*
        }
    )*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq)]
        #[allow(missing_docs)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: $kind,)*
            $(pub $group: $flat,)*
        }

        impl $crate::message::Flat for $name {
            const NAME: &'static str = stringify!($name);
            const FIELDS: usize = 0
                $(+ { let _ = $key; 1 })*
                $(+ <$flat as $crate::message::Flat>::FIELDS)*;

            fn left_out(&self) -> usize {
                0 $(+ $crate::message::Flat::left_out(&self.$group))*
            }

            #[allow(unused_variables)]
            fn put<S: serde::ser::SerializeStruct>(&self, out: &mut S) -> Result<(), S::Error> {
                $(out.serialize_field($key, &self.$field)?;)*
                $($crate::message::Flat::put(&self.$group, out)?;)*
                Ok(())
            }

            #[allow(unused_variables)]
            fn take<'de, A: serde::de::MapAccess<'de>>(
                &mut self,
                key: &str,
                map: &mut A,
            ) -> Result<bool, A::Error> {
                match key {
                    $($key => self.$field = map.next_value()?,)*
                    _ => return Ok(false $(|| $crate::message::Flat::take(&mut self.$group, key, map)?)*),
                }
                #[allow(unreachable_code)]
                Ok(true)
            }

            #[allow(unused_variables)]
            fn take_in_order<'de, A: serde::de::SeqAccess<'de>>(
                &mut self,
                seq: &mut A,
            ) -> Result<bool, A::Error> {
                $(match seq.next_element()? {
                    Some(value) => self.$field = value,
                    None => return Ok(false),
                })*
                Ok(true $(&& $crate::message::Flat::take_in_order(&mut self.$group, seq)?)*)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                $crate::message::flat::serialize(self, s)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                $crate::message::flat::deserialize(d)
            }
        }
    )*};
}
pub(crate) use messages;
