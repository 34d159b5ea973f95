//! What can be wrong with a filter, in Consul's words.

use std::fmt;

use crate::ast::Operator;
use crate::number::NumberError;
use crate::quote::quote;

/// What Consul's HTTP interface writes before nearly every [`Error`].
///
/// The exceptions are type errors on `/v1/agent/checks` and on streamed health queries, where the
/// error stands alone. All of them are answered with status 500.
pub const ERROR_PREFIX: &str = "Failed to create boolean expression evaluator: ";

/// Why an expression is not usable. Its text is what Consul prints after [`ERROR_PREFIX`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The text is not of the language. Several findings are separated by newlines, each as
    /// `line:column (byte offset): …`.
    Syntax(String),
    /// A selector leads nowhere: the path up to and including its first bad part.
    Selector {
        /// Parts joined by dots.
        selector: String,
    },
    /// The operator does not apply to a field of this kind.
    Operator {
        /// `Equal`, `Not In`, …
        operator: &'static str,
        /// Parts joined by dots.
        selector: String,
    },
    /// The value cannot be read as one of the field's type.
    Value {
        /// As given; need not be UTF-8.
        value: Vec<u8>,
        /// Parts joined by dots.
        selector: String,
        /// What the number or truth value lacks.
        cause: NumberError,
    },
    /// A regular expression that is malformed, or too large.
    Regex {
        /// As given; need not be UTF-8.
        pattern: Vec<u8>,
        /// `error parsing regexp: …`
        cause: String,
    },
}

impl Error {
    /// Whether the grammar refused it (as opposed to a type error found by compiling).
    pub fn is_syntax(&self) -> bool {
        matches!(self, Error::Syntax(_))
    }

    pub(crate) fn operator(operator: Operator, selector: &[String]) -> Self {
        Error::Operator {
            operator: operator.name(),
            selector: selector.join("."),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Syntax(text) => f.write_str(text),
            Error::Selector { selector } => {
                write!(f, "Selector {} is not valid", quote(selector.as_bytes()))
            }
            Error::Operator { operator, selector } => write!(
                f,
                "Invalid match operator \"{operator}\" for selector {}",
                quote(selector.as_bytes())
            ),
            Error::Value {
                value,
                selector,
                cause,
            } => write!(
                f,
                "Failed to coerce value {} for selector {}: strconv.{}: parsing {}: {}",
                quote(value),
                quote(selector.as_bytes()),
                cause.function,
                quote(value),
                cause.problem
            ),
            Error::Regex { pattern, cause } => write!(
                f,
                "Failed to compile regular expression {}: {cause}",
                quote(pattern)
            ),
        }
    }
}

impl std::error::Error for Error {}
