//! What templates calculate with.

use std::fmt;
use std::rc::Rc;

use super::number::Number;
use crate::interface::IfAddr;

/// A value. Cloning is cheap: lists and texts are shared.
#[derive(Debug, Clone)]
pub(super) enum Value<'a> {
    Nil,
    Bool(bool),
    Int(i64),
    /// Only as an argument.
    Uint(u64),
    Float(f64),
    Text(Rc<str>),
    List(Rc<[IfAddr<'a>]>),
    Address(IfAddr<'a>),
}

impl<'a> Value<'a> {
    pub(super) fn text(text: impl Into<Rc<str>>) -> Self {
        Self::Text(text.into())
    }

    pub(super) fn list(list: Vec<IfAddr<'a>>) -> Self {
        Self::List(list.into())
    }

    /// The value of a number written where any type will do, or nothing if it
    /// is too large.
    pub(super) fn ideal(number: Number) -> Option<Self> {
        if number.is_written_as_float {
            Some(Self::Float(number.float))
        } else {
            number.whole?.signed().map(Self::Int)
        }
    }

    /// Whether `if` takes it for true: what is not zero and not empty.
    pub(super) fn is_true(&self) -> bool {
        match self {
            Self::Nil => false,
            Self::Bool(value) => *value,
            Self::Int(value) => *value != 0,
            Self::Uint(value) => *value != 0,
            Self::Float(value) => *value != 0.0,
            Self::Text(text) => !text.is_empty(),
            Self::List(list) => !list.is_empty(),
            Self::Address(_) => true,
        }
    }

    /// The name of its type in messages.
    pub(super) const fn type_name(&self) -> &'static str {
        match self {
            Self::Nil => "<nil>",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Uint(_) => "uint",
            Self::Float(_) => "float64",
            Self::Text(_) => "string",
            Self::List(_) => "sockaddr.IfAddrs",
            Self::Address(_) => "sockaddr.IfAddr",
        }
    }

    /// How much work it is to handle, in steps.
    pub(super) fn weight(&self) -> u64 {
        let size = match self {
            Self::Text(text) => text.len() / 64,
            Self::List(list) => list.len(),
            _ => 0,
        };
        u64::try_from(size).unwrap_or(u64::MAX)
    }
}

/// Writes the value as Go's `%v` does.
impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nil => f.write_str("<nil>"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Uint(value) => write!(f, "{value}"),
            Self::Float(value) => f.write_str(&float_text(*value)),
            Self::Text(text) => f.write_str(text),
            Self::List(list) => {
                f.write_str("[")?;
                for (i, item) in list.iter().enumerate() {
                    let separator = if i == 0 { "" } else { " " };
                    write!(f, "{separator}{item}")?;
                }
                f.write_str("]")
            }
            Self::Address(item) => write!(f, "{item}"),
        }
    }
}

/// The shortest text that reads as this number again, with an exponent below
/// -4 and from 6 on (Go's `%g`).
pub(super) fn float_text(value: f64) -> String {
    let scientific = format!("{value:e}");
    let exponent = scientific
        .split_once('e')
        .map_or("0", |(_, exponent)| exponent);
    match exponent.parse::<i32>() {
        Ok(-4..6) => format!("{value}"),
        _ => exponent_text(&scientific),
    }
}

/// Turns Rust's `1e6` into Go's `1e+06`.
pub(super) fn exponent_text(text: &str) -> String {
    let Some((digits, exponent)) = text.split_once('e') else {
        return text.to_owned();
    };
    let (sign, size) = match exponent.strip_prefix('-') {
        Some(size) => ('-', size),
        None => ('+', exponent),
    };
    format!("{digits}e{sign}{size:0>2}")
}
