//! What a filter may say about a row: names and kinds of its fields.

/// The fields of a row or of an object in it. Written by [`row!`](crate::row!).
#[derive(Debug)]
pub struct Schema {
    /// In the order of the numbers that [`Probe::field`](crate::Probe::field) gives.
    pub fields: &'static [Field],
}

/// One selectable name.
#[derive(Debug)]
pub struct Field {
    /// Case counts.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
}

/// What a field holds; it decides which operators and sub-fields there are.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// One value.
    Scalar(Scalar),
    /// Values of one type: `in`, `is empty`.
    List(Scalar),
    /// Text to value: `in` asks for keys; `is empty`; any key is a sub-field.
    Map(Scalar),
    /// An object: only sub-fields.
    Object(&'static Schema),
    /// Objects: `is empty`; a sub-field is compared with that of any element.
    Objects(&'static Schema),
    /// Text to object.
    ObjectMap(&'static Schema),
}

/// The type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scalar {
    /// Text.
    Str,
    /// True or false.
    Bool,
    /// Signed, with its width in bits (1 to 64).
    Int(u8),
    /// Unsigned, with its width in bits (1 to 64).
    Uint(u8),
}

impl Schema {
    /// Number and description of a field.
    pub(crate) fn find(&self, name: &str) -> Option<(usize, &'static Field)> {
        let at = self.fields.iter().position(|field| field.name == name)?;
        self.fields.get(at).map(|field| (at, field))
    }
}
