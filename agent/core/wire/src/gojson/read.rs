//! Reading: a serde deserializer that behaves as Go's `encoding/json`.
//!
//! Requests that already have the exact spelling go through `serde_json` alone; this reader is
//! asked only where that fails, so its care costs nothing on the usual path.

use super::syntax::syntax_error;
use serde::de::value::Error;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error as _, IntoDeserializer, MapAccess,
    SeqAccess, Visitor,
};
use serde_json::{Map, Value};

/// What happens to fields that the type does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// An unknown field is an error, as in most of Consul's endpoints.
    Strict,
    /// Unknown fields are passed over.
    Lenient,
}

/// Decodes the first JSON value in `body`. `root` is what Go would call the type in its errors.
pub fn decode<T: DeserializeOwned>(
    body: &[u8],
    mode: Mode,
    root: &'static str,
) -> Result<T, String> {
    // Lenient types would drop a field in another case without a word, and serde would read an
    // array as a struct: both are for the careful reader.
    if mode == Mode::Strict
        && body.first() == Some(&b'{')
        && let Ok(value) = serde_json::from_slice(body)
    {
        return Ok(value);
    }
    if let Some(text) = syntax_error(body) {
        return Err(text);
    }
    // Only the first value counts; what follows it is not read.
    let mut stream = serde_json::Deserializer::from_slice(body).into_iter::<Value>();
    match stream.next() {
        Some(Ok(value)) => decode_value(&value, mode, root),
        Some(Err(error)) => {
            // The syntax is right by Go's rules: what is left is nesting, or text that is not
            // UTF-8, which Go would replace.
            match String::from_utf8_lossy(body) {
                std::borrow::Cow::Owned(mended) => decode(mended.as_bytes(), mode, root),
                std::borrow::Cow::Borrowed(_) => Err(error.to_string()),
            }
        }
        None => Err("EOF".to_owned()),
    }
}

/// Decodes a parsed value by Go's rules.
pub fn decode_value<T: DeserializeOwned>(
    value: &Value,
    mode: Mode,
    root: &'static str,
) -> Result<T, String> {
    T::deserialize(Go {
        value,
        mode,
        at: Place {
            up: None,
            structure: root,
            field: "",
        },
    })
    .map_err(|e| e.to_string())
}

/// Where in the value we are: for error texts.
#[derive(Clone, Copy)]
struct Place<'p> {
    up: Option<&'p Place<'p>>,
    structure: &'static str,
    field: &'static str,
}

impl Place<'_> {
    fn path(&self, out: &mut String) {
        if let Some(up) = self.up {
            up.path(out);
        }
        if !self.field.is_empty() {
            if !out.is_empty() {
                out.push('.');
            }
            out.push_str(self.field);
        }
    }
}

#[derive(Clone, Copy)]
struct Go<'v, 'p> {
    value: &'v Value,
    mode: Mode,
    at: Place<'p>,
}

impl<'v> Go<'v, '_> {
    fn mismatch(&self, wanted: &str) -> Error {
        let kind = match self.value {
            Value::Null => "null".to_owned(),
            Value::Bool(_) => "bool".to_owned(),
            Value::Number(n) if wanted.contains("int") => format!("number {n}"),
            Value::Number(_) => "number".to_owned(),
            Value::String(_) => "string".to_owned(),
            Value::Array(_) => "array".to_owned(),
            Value::Object(_) => "object".to_owned(),
        };
        if self.at.field.is_empty() {
            return Error::custom(format!(
                "json: cannot unmarshal {kind} into Go value of type {wanted}"
            ));
        }
        let mut path = String::new();
        self.at.path(&mut path);
        let structure = self.at.structure;
        Error::custom(format!(
            "json: cannot unmarshal {kind} into Go struct field {structure}.{path} of type {wanted}"
        ))
    }

    fn integer<V: Visitor<'v>>(self, visitor: V, wanted: &str) -> Result<V::Value, Error> {
        match self.value {
            Value::Number(n) => {
                if let Some(v) = n.as_i64() {
                    visitor.visit_i64(v)
                } else if let Some(v) = n.as_u64() {
                    visitor.visit_u64(v)
                } else {
                    Err(self.mismatch(wanted))
                }
            }
            _ => Err(self.mismatch(wanted)),
        }
    }
}

macro_rules! integers {
    ($($name:ident $wanted:literal;)*) => {
        $(fn $name<V: Visitor<'v>>(self, visitor: V) -> Result<V::Value, Error> {
            self.integer(visitor, $wanted)
        })*
    };
}

impl<'v> Deserializer<'v> for Go<'v, '_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'v>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(v) => visitor.visit_bool(*v),
            Value::Number(n) => match (n.as_i64(), n.as_u64()) {
                (Some(v), _) => visitor.visit_i64(v),
                (_, Some(v)) => visitor.visit_u64(v),
                _ => visitor.visit_f64(n.as_f64().unwrap_or(0.0)),
            },
            Value::String(v) => visitor.visit_borrowed_str(v),
            Value::Array(_) => self.deserialize_seq(visitor),
            Value::Object(_) => self.deserialize_map(visitor),
        }
    }

    integers! {
        deserialize_i8 "int8"; deserialize_i16 "int16"; deserialize_i32 "int"; deserialize_i64 "int";
        deserialize_u8 "uint8"; deserialize_u16 "uint16"; deserialize_u32 "uint32"; deserialize_u64 "uint64";
    }

    fn deserialize_f32<V: Visitor<'v>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'v>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.value.as_f64() {
            Some(v) => visitor.visit_f64(v),
            None => Err(self.mismatch("float64")),
        }
    }

    fn deserialize_bool<V: Visitor<'v>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.value {
            Value::Bool(v) => visitor.visit_bool(*v),
            _ => Err(self.mismatch("bool")),
        }
    }

    fn deserialize_str<V: Visitor<'v>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.value {
            Value::String(v) => visitor.visit_borrowed_str(v),
            _ => Err(self.mismatch("string")),
        }
    }

    fn deserialize_string<V: Visitor<'v>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'v>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'v>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'v>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.value {
            Value::Array(items) => visitor.visit_seq(Items {
                items: items.iter(),
                up: self,
            }),
            Value::Null => visitor.visit_seq(Items {
                items: [].iter(),
                up: self,
            }),
            _ => Err(self.mismatch("[]string")),
        }
    }

    fn deserialize_map<V: Visitor<'v>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.value {
            Value::Object(map) => visitor.visit_map(Entries {
                entries: map.iter(),
                value: None,
                up: self,
            }),
            Value::Null => visitor.visit_unit(),
            _ => Err(self.mismatch("map[string]string")),
        }
    }

    fn deserialize_struct<V: Visitor<'v>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let Value::Object(map) = self.value else {
            let wanted = if self.at.field.is_empty() {
                self.at.structure
            } else {
                name
            };
            return Err(self.mismatch(wanted));
        };
        let found = match_fields(map, fields, self.mode)?;
        let structure = if self.at.up.is_none() && self.at.field.is_empty() {
            self.at.structure
        } else {
            name
        };
        // Go names the type without its package.
        let structure = structure.rsplit('.').next().unwrap_or(structure);
        visitor.visit_map(Fields {
            found: found.into_iter(),
            value: None,
            structure,
            up: self,
        })
    }

    serde::forward_to_deserialize_any! {
        <W: Visitor<'v>>
        i128 u128 char bytes byte_buf unit unit_struct tuple tuple_struct enum identifier ignored_any
    }
}

/// Pairs the given keys with the type's fields; the last of several wins, `null` counts as absent.
fn match_fields<'v>(
    map: &'v Map<String, Value>,
    fields: &'static [&'static str],
    mode: Mode,
) -> Result<Vec<(&'static str, &'v Value)>, Error> {
    let mut found: Vec<(&'static str, &'v Value)> = Vec::with_capacity(map.len());
    for (key, value) in map {
        let field = fields
            .iter()
            .find(|f| **f == key.as_str())
            .or_else(|| fields.iter().find(|f| f.eq_ignore_ascii_case(key)));
        match field {
            Some(field) => {
                found.retain(|(name, _)| name != field);
                if !value.is_null() {
                    found.push((field, value));
                }
            }
            None if mode == Mode::Strict => {
                return Err(Error::custom(format!(
                    "json: unknown field {}",
                    crate::duration::go_quote(key)
                )));
            }
            None => {}
        }
    }
    Ok(found)
}

struct Fields<'v, 'p> {
    found: std::vec::IntoIter<(&'static str, &'v Value)>,
    value: Option<(&'static str, &'v Value)>,
    structure: &'static str,
    up: Go<'v, 'p>,
}

impl<'v> MapAccess<'v> for Fields<'v, '_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'v>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        self.value = self.found.next();
        match self.value {
            Some((field, _)) => seed.deserialize(field.into_deserializer()).map(Some),
            None => Ok(None),
        }
    }

    fn next_value_seed<S: DeserializeSeed<'v>>(&mut self, seed: S) -> Result<S::Value, Error> {
        let Some((field, value)) = self.value.take() else {
            return Err(Error::custom("a value without its key"));
        };
        let at = Place {
            up: Some(&self.up.at),
            structure: self.structure,
            field,
        };
        seed.deserialize(Go {
            value,
            mode: self.up.mode,
            at,
        })
    }
}

struct Entries<'v, 'p> {
    entries: serde_json::map::Iter<'v>,
    value: Option<&'v Value>,
    up: Go<'v, 'p>,
}

impl<'v> MapAccess<'v> for Entries<'v, '_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'v>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        match self.entries.next() {
            Some((key, value)) => {
                self.value = Some(value);
                seed.deserialize(key.as_str().into_deserializer()).map(Some)
            }
            None => Ok(None),
        }
    }

    fn next_value_seed<S: DeserializeSeed<'v>>(&mut self, seed: S) -> Result<S::Value, Error> {
        let Some(value) = self.value.take() else {
            return Err(Error::custom("a value without its key"));
        };
        // A null entry of a text map is the empty text.
        static EMPTY: Value = Value::String(String::new());
        let value = if value.is_null() { &EMPTY } else { value };
        seed.deserialize(Go { value, ..self.up })
    }
}

struct Items<'v, 'p> {
    items: std::slice::Iter<'v, Value>,
    up: Go<'v, 'p>,
}

impl<'v> SeqAccess<'v> for Items<'v, '_> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'v>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Error> {
        match self.items.next() {
            Some(value) => seed.deserialize(Go { value, ..self.up }).map(Some),
            None => Ok(None),
        }
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default, deny_unknown_fields, rename_all = "PascalCase")]
    struct Inner {
        port: i64,
        tags: Vec<String>,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default, deny_unknown_fields, rename_all = "PascalCase")]
    struct Outer {
        name: String,
        inner: Option<Inner>,
        on: bool,
        meta: crate::StrMap,
    }

    fn read(text: &str) -> Result<Outer, String> {
        decode(text.as_bytes(), Mode::Strict, "structs.Outer")
    }

    #[test]
    fn names_match_without_case_and_null_is_absent() {
        let v =
            read(r#"{"NAME":"x","inner":{"port":5,"Tags":null},"on":null,"Meta":{"a":"b"}} tail"#)
                .unwrap();
        assert_eq!(
            (v.name.as_str(), v.inner.unwrap().port, v.meta.len()),
            ("x", 5, 1)
        );
        assert_eq!(read(r#"{"Name":"a","name":"b"}"#).unwrap().name, "b");
    }

    #[test]
    fn errors_read_as_in_go() {
        for (text, want) in [
            (r#"{"Bogus":1}"#, r#"json: unknown field "Bogus""#),
            (
                r#"{"Name":1}"#,
                "json: cannot unmarshal number into Go struct field Outer.Name of type string",
            ),
            (
                r#"{"Inner":{"Port":"x"}}"#,
                "json: cannot unmarshal string into Go struct field Inner.Inner.Port of type int",
            ),
            (
                r#"{"Inner":{"Port":1.5}}"#,
                "json: cannot unmarshal number 1.5 into Go struct field Inner.Inner.Port of type int",
            ),
            (
                "[]",
                "json: cannot unmarshal array into Go value of type structs.Outer",
            ),
            ("{", "unexpected EOF"),
        ] {
            assert_eq!(read(text), Err(want.to_owned()), "{text}");
        }
    }

    #[test]
    fn lenient_passes_over_the_unknown() {
        #[derive(Default, Deserialize)]
        #[serde(default, rename_all = "PascalCase")]
        struct Open {
            name: String,
        }
        let v: Open = decode(br#"{"name":"n","Else":[1]}"#, Mode::Lenient, "").unwrap();
        assert_eq!(v.name, "n");
    }
}
