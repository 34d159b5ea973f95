//! How a row shows itself to a filter.

use std::borrow::Borrow;

use crate::compile::{Literal, Step, Test};
use crate::schema::Schema;

/// What a filter can be asked about. Write it with [`row!`](crate::row!).
///
/// Rows are usually views: a struct that borrows what the row is made of.
pub trait Row {
    /// The fields.
    const SCHEMA: &'static Schema;

    /// Answers one comparison: takes the number of a field from the probe and hands that field's
    /// value to the probe that remains.
    fn test(&self, probe: Probe<'_>) -> bool;
}

impl<R: Row + ?Sized> Row for &R {
    const SCHEMA: &'static Schema = R::SCHEMA;

    fn test(&self, probe: Probe<'_>) -> bool {
        (**self).test(probe)
    }
}

/// One comparison on its way to a value: the rest of its selector, and what to ask at the end.
///
/// Every method that ends it gives the answer. A value of another kind than the schema promised is
/// answered with false.
#[derive(Clone, Copy)]
pub struct Probe<'f> {
    path: &'f [Step],
    test: &'f Test,
}

impl<'f> Probe<'f> {
    pub(crate) fn new(path: &'f [Step], test: &'f Test) -> Self {
        Self { path, test }
    }

    /// The field (its place in [`Schema::fields`]) that is asked for, and the probe for its value.
    /// None where an object itself is meant, which no filter that compiles does.
    pub fn field(self) -> Option<(usize, Self)> {
        match self.path.split_first() {
            Some((Step::Field(index), path)) => Some((*index, Self { path, ..self })),
            _ => None,
        }
    }

    /// The value is text.
    pub fn str(self, value: impl AsRef<str>) -> bool {
        let value = value.as_ref();
        match self.test {
            Test::Equal(literal) => literal.is_str(value),
            Test::NotEqual(literal) => !literal.is_str(value),
            Test::In(literal) => literal.is_in_str(value),
            Test::NotIn(literal) => !literal.is_in_str(value),
            Test::Matches(regex) => regex.is_match(value),
            Test::NotMatches(regex) => !regex.is_match(value),
            Test::IsEmpty | Test::IsNotEmpty => false,
        }
    }

    /// The value is true or false.
    pub fn bool(self, value: bool) -> bool {
        self.equal(|literal| *literal == Literal::Bool(value))
    }

    /// The value is a signed number.
    pub fn int(self, value: impl Into<i64>) -> bool {
        let value = value.into();
        self.equal(|literal| *literal == Literal::Int(value))
    }

    /// The value is an unsigned number.
    pub fn uint(self, value: impl Into<u64>) -> bool {
        let value = value.into();
        self.equal(|literal| *literal == Literal::Uint(value))
    }

    fn equal(self, equal: impl Fn(&Literal) -> bool) -> bool {
        match self.test {
            Test::Equal(literal) => equal(literal),
            Test::NotEqual(literal) => !equal(literal),
            _ => false,
        }
    }

    /// The value is a list of texts.
    pub fn strs<S: AsRef<str>>(self, values: impl IntoIterator<Item = S>) -> bool {
        self.list(values, |literal, value| literal.is_str(value.as_ref()))
    }

    /// The value is a list of signed numbers.
    pub fn ints<N: Into<i64>>(self, values: impl IntoIterator<Item = N>) -> bool {
        self.list(values, |literal, value| {
            *literal == Literal::Int(value.into())
        })
    }

    /// The value is a list of unsigned numbers (bytes, for one).
    pub fn uints<N: Into<u64>>(self, values: impl IntoIterator<Item = N>) -> bool {
        self.list(values, |literal, value| {
            *literal == Literal::Uint(value.into())
        })
    }

    fn list<T>(
        self,
        values: impl IntoIterator<Item = T>,
        equal: impl Fn(&Literal, T) -> bool,
    ) -> bool {
        let mut values = values.into_iter();
        match self.test {
            Test::In(literal) => values.any(|value| equal(literal, value)),
            Test::NotIn(literal) => !values.any(|value| equal(literal, value)),
            Test::IsEmpty => values.next().is_none(),
            Test::IsNotEmpty => values.next().is_some(),
            _ => false,
        }
    }

    /// The value is a list of objects: true if the comparison is true of any of them.
    pub fn rows<R: Row>(self, rows: impl IntoIterator<Item = R>) -> bool {
        let mut rows = rows.into_iter();
        if !self.path.is_empty() {
            return rows.any(|row| row.test(self));
        }
        match self.test {
            Test::IsEmpty => rows.next().is_none(),
            Test::IsNotEmpty => rows.next().is_some(),
            _ => false,
        }
    }

    /// The value is a map. `get` looks up a key; `test` answers for what it found.
    pub fn map<V>(
        self,
        is_empty: bool,
        get: impl FnOnce(&str) -> Option<V>,
        test: impl FnOnce(V, Self) -> bool,
    ) -> bool {
        match self.path.split_first() {
            Some((Step::Key(key), path)) => match get(key) {
                Some(value) => test(value, Self { path, ..self }),
                None => self.absent(),
            },
            Some((Step::Field(_), _)) => false,
            None => match self.test {
                Test::IsEmpty => is_empty,
                Test::IsNotEmpty => !is_empty,
                Test::In(literal) => literal.as_str().is_some_and(|key| get(key).is_some()),
                Test::NotIn(literal) => literal.as_str().is_none_or(|key| get(key).is_none()),
                _ => false,
            },
        }
    }

    /// There is no value, because a map on the way has no such key.
    ///
    /// Consul's rule: what asks for something is false (`==`, `in`, `is not empty`) and all else is
    /// true; `matches` counts as the latter, like `not matches`.
    pub fn absent(self) -> bool {
        match self.test {
            Test::Equal(_) | Test::In(_) | Test::IsNotEmpty => false,
            Test::NotEqual(_)
            | Test::NotIn(_)
            | Test::IsEmpty
            | Test::Matches(_)
            | Test::NotMatches(_) => true,
        }
    }
}

impl Literal {
    fn as_str(&self) -> Option<&str> {
        match self {
            Literal::Str(text) => Some(text.borrow()),
            _ => None,
        }
    }

    fn is_str(&self, value: &str) -> bool {
        self.as_str() == Some(value)
    }

    fn is_in_str(&self, value: &str) -> bool {
        match self {
            Literal::Str(part) => value.contains(&**part),
            // Part of a character: it can only be found byte by byte.
            Literal::Bytes(part) => value
                .as_bytes()
                .windows(part.len().max(1))
                .any(|window| window == &**part),
            Literal::Bool(_) | Literal::Int(_) | Literal::Uint(_) => false,
        }
    }
}
