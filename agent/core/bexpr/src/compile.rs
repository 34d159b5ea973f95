//! From an expression to a filter: everything that can be wrong is found here.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::ast::{Match, Node, Operator};
use crate::error::Error;
use crate::number::{parse_bool, parse_int, parse_uint};
use crate::re2::{Regex, RegexError};
use crate::row::{Probe, Row};
use crate::schema::{Field, Kind, Scalar, Schema};

/// An expression bound to a type of row. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Filter {
    /// None: everything matches.
    root: Option<Arc<Branch>>,
    schema: &'static Schema,
}

impl Filter {
    /// Whether the row is of those asked for. Stops at the first part of an `and` or `or` that
    /// decides.
    ///
    /// The row must be of the type the filter was compiled for; for another the answer has no
    /// meaning (and builds with debug assertions panic).
    pub fn matches<R: Row>(&self, row: &R) -> bool {
        debug_assert!(
            std::ptr::eq(self.schema, R::SCHEMA),
            "a filter for other rows"
        );
        self.root.as_ref().is_none_or(|root| root.matches(row))
    }

    /// Whether it was made from the empty expression, so that no row need be looked at.
    pub fn matches_all(&self) -> bool {
        self.root.is_none()
    }
}

/// A compiled [`Node`].
#[derive(Debug)]
enum Branch {
    Or(Box<[Branch]>),
    And(Box<[Branch]>),
    Not(Box<Branch>),
    Test { path: Box<[Step]>, test: Test },
}

/// A part of a selector.
#[derive(Debug)]
pub(crate) enum Step {
    /// Index into the fields of the schema that has been reached.
    Field(usize),
    Key(Box<str>),
}

/// An operator with its value.
#[derive(Debug)]
pub(crate) enum Test {
    Equal(Literal),
    NotEqual(Literal),
    In(Literal),
    NotIn(Literal),
    IsEmpty,
    IsNotEmpty,
    Matches(Arc<Regex>),
    NotMatches(Arc<Regex>),
}

/// A value of the type that it is compared with.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Literal {
    Str(Box<str>),
    /// Text that is not UTF-8; equal to no text, but perhaps within one.
    Bytes(Box<[u8]>),
    Bool(bool),
    Int(i64),
    Uint(u64),
}

impl Branch {
    fn matches<R: Row>(&self, row: &R) -> bool {
        match self {
            Branch::Or(parts) => parts.iter().any(|part| part.matches(row)),
            Branch::And(parts) => parts.iter().all(|part| part.matches(row)),
            Branch::Not(part) => !part.matches(row),
            Branch::Test { path, test } => row.test(Probe::new(path, test)),
        }
    }
}

pub(crate) fn compile(root: Option<&Node>, schema: &'static Schema) -> Result<Filter, Error> {
    let root = match root {
        Some(node) => {
            let mut compiler = Compiler {
                schema,
                regexes: BTreeMap::new(),
                regex_bytes: (REGEX_BYTES / count_regexes(node).max(1)).min(Regex::MAX_BYTES),
            };
            Some(Arc::new(compiler.node(node)?))
        }
        None => None,
    };
    Ok(Filter { root, schema })
}

/// What all regular expressions of a filter may take in memory, once compiled. A filter comes from
/// outside, and a pattern of ten characters can ask for megabytes.
const REGEX_BYTES: usize = 16 << 20;

fn count_regexes(node: &Node) -> usize {
    match node {
        Node::Or(parts) | Node::And(parts) => parts.iter().map(count_regexes).sum(),
        Node::Not(part) => count_regexes(part),
        Node::Match(m) => usize::from(matches!(
            m.operator,
            Operator::Matches | Operator::NotMatches
        )),
    }
}

struct Compiler<'n> {
    schema: &'static Schema,
    /// Those already compiled.
    regexes: BTreeMap<&'n [u8], Arc<Regex>>,
    /// The bound of each.
    regex_bytes: usize,
}

impl<'n> Compiler<'n> {
    fn node(&mut self, node: &'n Node) -> Result<Branch, Error> {
        let all = |compiler: &mut Self, parts: &'n [Node]| {
            parts
                .iter()
                .map(|part| compiler.node(part))
                .collect::<Result<Box<[Branch]>, Error>>()
        };
        Ok(match node {
            Node::Or(parts) => Branch::Or(all(self, parts)?),
            Node::And(parts) => Branch::And(all(self, parts)?),
            Node::Not(part) => Branch::Not(Box::new(self.node(part)?)),
            Node::Match(m) => {
                let (path, target) = resolve(&m.selector, self.schema)?;
                let test = self.test(m, target)?;
                Branch::Test { path, test }
            }
        })
    }

    fn test(&mut self, m: &'n Match, target: Target) -> Result<Test, Error> {
        let compared =
            operand(m.operator, target).ok_or_else(|| Error::operator(m.operator, &m.selector))?;
        let literal = || {
            literal(&m.value, compared).map_err(|cause| Error::Value {
                value: m.value.clone(),
                selector: m.selector.join("."),
                cause,
            })
        };
        Ok(match m.operator {
            Operator::Equal => Test::Equal(literal()?),
            Operator::NotEqual => Test::NotEqual(literal()?),
            Operator::In => Test::In(literal()?),
            Operator::NotIn => Test::NotIn(literal()?),
            Operator::IsEmpty => Test::IsEmpty,
            Operator::IsNotEmpty => Test::IsNotEmpty,
            Operator::Matches => Test::Matches(self.regex(&m.value)?),
            Operator::NotMatches => Test::NotMatches(self.regex(&m.value)?),
        })
    }

    fn regex(&mut self, pattern: &'n [u8]) -> Result<Arc<Regex>, Error> {
        if let Some(known) = self.regexes.get(pattern) {
            return Ok(Arc::clone(known));
        }
        let regex = std::str::from_utf8(pattern)
            .map_err(|error| RegexError::not_utf8(pattern, error))
            .and_then(|text| Regex::with_limit(text, self.regex_bytes))
            .map_err(|cause| Error::Regex {
                pattern: pattern.to_vec(),
                cause: cause.to_string(),
            })?;
        let regex = Arc::new(regex);
        self.regexes.insert(pattern, Arc::clone(&regex));
        Ok(regex)
    }
}

/// Where a selector has led.
#[derive(Clone, Copy)]
enum Target {
    Field(Kind),
    /// The value of a key.
    Scalar(Scalar),
    Object(&'static Schema),
}

fn resolve(selector: &[String], schema: &'static Schema) -> Result<(Box<[Step]>, Target), Error> {
    let mut target = Target::Object(schema);
    let mut path = Vec::with_capacity(selector.len());
    for (i, part) in selector.iter().enumerate() {
        let invalid = || Error::Selector {
            selector: selector.get(..=i).unwrap_or(selector).join("."),
        };
        let step = match target {
            Target::Object(schema)
            | Target::Field(Kind::Object(schema) | Kind::Objects(schema)) => {
                let (index, Field { kind, .. }) = schema.find(part).ok_or_else(invalid)?;
                target = Target::Field(*kind);
                Step::Field(index)
            }
            Target::Field(Kind::Map(scalar)) => {
                target = Target::Scalar(scalar);
                Step::Key(part.as_str().into())
            }
            Target::Field(Kind::ObjectMap(schema)) => {
                target = Target::Object(schema);
                Step::Key(part.as_str().into())
            }
            Target::Scalar(_) | Target::Field(Kind::Scalar(_) | Kind::List(_)) => {
                return Err(invalid());
            }
        };
        path.push(step);
    }
    Ok((path.into(), target))
}

/// The type of value that the operator takes here, or None if it does not apply.
/// For operators without a value the type means nothing.
fn operand(operator: Operator, target: Target) -> Option<Scalar> {
    let target = match target {
        Target::Field(Kind::Scalar(scalar)) => Target::Scalar(scalar),
        other => other,
    };
    match operator {
        Operator::Equal | Operator::NotEqual => match target {
            Target::Scalar(scalar) => Some(scalar),
            _ => None,
        },
        Operator::In | Operator::NotIn => match target {
            Target::Scalar(Scalar::Str) => Some(Scalar::Str),
            Target::Field(Kind::List(scalar)) => Some(scalar),
            Target::Field(Kind::Map(_) | Kind::ObjectMap(_)) => Some(Scalar::Str),
            _ => None,
        },
        Operator::IsEmpty | Operator::IsNotEmpty => match target {
            Target::Field(Kind::List(_) | Kind::Map(_) | Kind::Objects(_) | Kind::ObjectMap(_)) => {
                Some(Scalar::Str)
            }
            _ => None,
        },
        Operator::Matches | Operator::NotMatches => match target {
            Target::Scalar(Scalar::Str) => Some(Scalar::Str),
            _ => None,
        },
    }
}

fn literal(value: &[u8], scalar: Scalar) -> Result<Literal, crate::number::NumberError> {
    Ok(match scalar {
        Scalar::Str => match std::str::from_utf8(value) {
            Ok(text) => Literal::Str(text.into()),
            Err(_) => Literal::Bytes(value.into()),
        },
        Scalar::Bool => Literal::Bool(parse_bool(value)?),
        Scalar::Int(bits) => Literal::Int(parse_int(value, bits)?),
        Scalar::Uint(bits) => Literal::Uint(parse_uint(value, bits)?),
    })
}
