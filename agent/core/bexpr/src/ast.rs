//! The tree of an expression, and its text.

use std::fmt;

use crate::compile::{self, Filter};
use crate::error::Error;
use crate::row::Row;
use crate::schema::Schema;
use crate::{parse, quote};

/// A filter that has passed the grammar and knows nothing of rows yet.
///
/// Its `Display` form is an expression with the same meaning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expression {
    /// None: everything matches.
    pub(crate) root: Option<Node>,
}

/// Part of an expression. The depth is bounded by the parser; width is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    /// At least two.
    Or(Vec<Node>),
    /// At least two.
    And(Vec<Node>),
    Not(Box<Node>),
    Match(Match),
}

/// `selector operator value`, however it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Match {
    /// At least one part.
    pub(crate) selector: Vec<String>,
    pub(crate) operator: Operator,
    /// Empty for the operators that take none. Not always UTF-8: quoted text may escape any byte.
    pub(crate) value: Vec<u8>,
}

/// `contains` is `In` with the sides swapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operator {
    Equal,
    NotEqual,
    In,
    NotIn,
    IsEmpty,
    IsNotEmpty,
    Matches,
    NotMatches,
}

impl Operator {
    /// As error texts call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Operator::Equal => "Equal",
            Operator::NotEqual => "Not Equal",
            Operator::In => "In",
            Operator::NotIn => "Not In",
            Operator::IsEmpty => "Is Empty",
            Operator::IsNotEmpty => "Is Not Empty",
            Operator::Matches => "Matches",
            Operator::NotMatches => "Not Matches",
        }
    }

    fn symbol(self) -> &'static str {
        match self {
            Operator::Equal => "==",
            Operator::NotEqual => "!=",
            Operator::In => "in",
            Operator::NotIn => "not in",
            Operator::IsEmpty => "is empty",
            Operator::IsNotEmpty => "is not empty",
            Operator::Matches => "matches",
            Operator::NotMatches => "not matches",
        }
    }
}

impl Expression {
    /// Reads the text of a filter. Only the grammar is checked.
    ///
    /// The empty string is the expression that everything matches, as in an HTTP query whose
    /// `filter` is empty; blanks alone are an error.
    ///
    /// # Errors
    /// [`Error::Syntax`]. Besides what the grammar refuses, nesting deeper than
    /// [`Expression::MAX_DEPTH`] is an error.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text.is_empty() {
            return Ok(Self { root: None });
        }
        parse::parse(text).map(|root| Self { root: Some(root) })
    }

    /// How deep parentheses and `not` may be nested, together.
    ///
    /// Consul has no such limit, but its parser's work multiplies with each parenthesis, so nobody
    /// has come near.
    pub const MAX_DEPTH: usize = 128;

    /// Binds the expression to rows of type `R`.
    ///
    /// # Errors
    /// The first of: an unknown selector, an operator that does not apply, a value that cannot be
    /// read, a regular expression that cannot be compiled; from left to right.
    pub fn compile<R: Row>(&self) -> Result<Filter, Error> {
        self.compile_for(R::SCHEMA)
    }

    /// [`Expression::compile`] for the type of row that `schema` belongs to.
    ///
    /// # Errors
    /// As [`Expression::compile`].
    pub fn compile_for(&self, schema: &'static Schema) -> Result<Filter, Error> {
        compile::compile(self.root.as_ref(), schema)
    }
}

impl std::str::FromStr for Expression {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::parse(text)
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.root {
            Some(root) => write!(f, "{root}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, parts: &[Node], word: &str| {
            for (i, part) in parts.iter().enumerate() {
                if i > 0 {
                    write!(f, " {word} ")?;
                }
                match part {
                    Node::Or(_) | Node::And(_) => write!(f, "({part})")?,
                    Node::Not(_) | Node::Match(_) => write!(f, "{part}")?,
                }
            }
            Ok(())
        };
        match self {
            Node::Or(parts) => list(f, parts, "or"),
            Node::And(parts) => list(f, parts, "and"),
            Node::Not(part) => match **part {
                Node::Or(_) | Node::And(_) => write!(f, "not ({part})"),
                Node::Not(_) | Node::Match(_) => write!(f, "not {part}"),
            },
            Node::Match(m) => write!(f, "{m}"),
        }
    }
}

impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let selector = Selector(&self.selector);
        let symbol = self.operator.symbol();
        match self.operator {
            Operator::IsEmpty | Operator::IsNotEmpty => write!(f, "{selector} {symbol}"),
            // The value comes first: a selector named "not" would be read as the word.
            Operator::In | Operator::NotIn => {
                write!(f, "{} {symbol} {selector}", literal(&self.value))
            }
            _ => write!(f, "{selector} {symbol} {}", literal(&self.value)),
        }
    }
}

struct Selector<'a>(&'a [String]);

impl fmt::Display for Selector<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, part) in self.0.iter().enumerate() {
            match (i, parse::is_identifier(part)) {
                (0, _) => f.write_str(part)?,
                (_, true) => write!(f, ".{part}")?,
                (_, false) => write!(f, "[{}]", literal(part.as_bytes()))?,
            }
        }
        Ok(())
    }
}

/// A quoted literal. A double quote ends one even after a backslash, so it is written by its code.
fn literal(bytes: &[u8]) -> String {
    let quoted = quote::quote(bytes);
    let mut out = String::with_capacity(quoted.len());
    let mut rest = quoted.chars();
    while let Some(c) = rest.next() {
        match (c, c == '\\') {
            (_, true) => match rest.next() {
                Some('"') => out.push_str("\\x22"),
                Some(other) => out.extend(['\\', other]),
                None => out.push('\\'),
            },
            (other, false) => out.push(other),
        }
    }
    out
}
