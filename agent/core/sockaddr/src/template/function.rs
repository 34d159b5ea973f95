//! The functions templates can call.

use std::cmp::Ordering;
use std::fmt::Write;

use super::printf::printf;
use super::value::Value;
use crate::filter::{Keep, filter};
use crate::interface::{IfAddr, Interface, all};
use crate::{limits, math, order, source};

/// A function, by what it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    AllInterfaces,
    DefaultInterfaces,
    PrivateInterfaces,
    PublicInterfaces,
    PrivateIp,
    PrivateIps,
    PublicIp,
    PublicIps,
    InterfaceIp,
    InterfaceIps,
    Attr,
    Exclude,
    Include,
    Join,
    Limit,
    Math,
    Offset,
    Sort,
    Unique,
    And,
    Or,
    Not,
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    Index,
    Len,
    Slice,
    Print,
    Printf,
    Println,
}

/// What a function takes at one position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Param {
    Text,
    Signed,
    Unsigned,
    List,
    /// The name of an attribute, as a method takes it: nothing but a literal is
    /// of this type.
    Attribute,
    Any,
}

impl Param {
    /// The name of the type in messages.
    pub(super) const fn type_name(self) -> &'static str {
        match self {
            Self::Text => "string",
            Self::Signed => "int",
            Self::Unsigned => "uint",
            Self::List => "sockaddr.IfAddrs",
            Self::Attribute => "sockaddr.AttrName",
            Self::Any => "interface {}",
        }
    }
}

/// What a function takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Signature {
    pub(super) fixed: &'static [Param],
    /// Whether any number of values may follow.
    pub(super) is_variadic: bool,
}

impl Signature {
    pub(super) fn param(&self, position: usize) -> Param {
        self.fixed.get(position).copied().unwrap_or(Param::Any)
    }
}

impl Function {
    pub(super) fn find(name: &str) -> Option<Self> {
        Some(match name {
            "GetAllInterfaces" => Self::AllInterfaces,
            "GetDefaultInterfaces" => Self::DefaultInterfaces,
            "GetPrivateInterfaces" => Self::PrivateInterfaces,
            "GetPublicInterfaces" => Self::PublicInterfaces,
            "GetPrivateIP" => Self::PrivateIp,
            "GetPrivateIPs" => Self::PrivateIps,
            "GetPublicIP" => Self::PublicIp,
            "GetPublicIPs" => Self::PublicIps,
            "GetInterfaceIP" => Self::InterfaceIp,
            "GetInterfaceIPs" => Self::InterfaceIps,
            "attr" => Self::Attr,
            "exclude" => Self::Exclude,
            "include" => Self::Include,
            "join" => Self::Join,
            "limit" => Self::Limit,
            "math" => Self::Math,
            "offset" => Self::Offset,
            "sort" => Self::Sort,
            "unique" => Self::Unique,
            "and" => Self::And,
            "or" => Self::Or,
            "not" => Self::Not,
            "eq" => Self::Eq,
            "ne" => Self::Ne,
            "lt" => Self::Lt,
            "le" => Self::Le,
            "gt" => Self::Gt,
            "ge" => Self::Ge,
            "index" => Self::Index,
            "len" => Self::Len,
            "slice" => Self::Slice,
            "print" => Self::Print,
            "printf" => Self::Printf,
            "println" => Self::Println,
            _ => return None,
        })
    }

    pub(super) const fn signature(self) -> Signature {
        use Param::{Any, List, Signed, Text, Unsigned};
        let (fixed, is_variadic): (&'static [Param], bool) = match self {
            Self::AllInterfaces
            | Self::DefaultInterfaces
            | Self::PrivateInterfaces
            | Self::PublicInterfaces
            | Self::PrivateIp
            | Self::PrivateIps
            | Self::PublicIp
            | Self::PublicIps => (&[], false),
            Self::InterfaceIp | Self::InterfaceIps => (&[Text], false),
            Self::Attr => (&[Text, Any], false),
            Self::Exclude | Self::Include | Self::Join | Self::Math => (&[Text, Text, List], false),
            Self::Limit => (&[Unsigned, List], false),
            Self::Offset => (&[Signed, List], false),
            Self::Sort | Self::Unique => (&[Text, List], false),
            Self::Not | Self::Len => (&[Any], false),
            Self::Ne | Self::Lt | Self::Le | Self::Gt | Self::Ge => (&[Any, Any], false),
            Self::And | Self::Or | Self::Eq | Self::Index | Self::Slice => (&[Any], true),
            Self::Print | Self::Println => (&[], true),
            Self::Printf => (&[Text], true),
        };
        Signature { fixed, is_variadic }
    }

    /// The steps a call takes on a machine with so many addresses.
    pub(super) fn cost(self, arguments: &[Value<'_>], addresses: u64) -> u64 {
        const SORTING: u64 = 16;
        const REGEX: u64 = 1000;

        let args = Arguments(arguments);
        let weight: u64 = arguments.iter().map(Value::weight).sum();
        let alternatives = |position, separator| {
            let separators = args.text(position).matches(separator).count();
            u64::try_from(separators).map_or(u64::MAX, |n| n.saturating_add(1))
        };
        match self {
            Self::AllInterfaces | Self::DefaultInterfaces => addresses,
            Self::PrivateInterfaces
            | Self::PublicInterfaces
            | Self::PrivateIp
            | Self::PrivateIps
            | Self::PublicIp
            | Self::PublicIps => addresses.saturating_mul(SORTING),
            Self::InterfaceIp | Self::InterfaceIps => addresses
                .saturating_mul(SORTING)
                .saturating_add(weight + REGEX),
            Self::Sort => weight
                .saturating_mul(SORTING)
                .saturating_mul(alternatives(0, ',')),
            Self::Include | Self::Exclude => {
                let compiled = match args.text(0).to_lowercase().as_str() {
                    "address" | "name" | "port" => REGEX,
                    _ => 0,
                };
                weight
                    .saturating_mul(alternatives(1, '|'))
                    .saturating_add(compiled)
            }
            _ => weight,
        }
    }

    /// Calls the function with arguments that fit its signature.
    pub(super) fn call<'a>(
        self,
        arguments: &[Value<'a>],
        interfaces: &'a [Interface],
    ) -> Result<Value<'a>, String> {
        let args = Arguments(arguments);
        Ok(match self {
            Self::AllInterfaces => Value::list(all(interfaces)),
            Self::DefaultInterfaces => Value::list(source::default_interfaces(interfaces)?),
            Self::PrivateInterfaces => Value::list(source::private_interfaces(interfaces)),
            Self::PublicInterfaces => Value::list(source::public_interfaces(interfaces)),
            Self::PrivateIp => Value::text(source::first_address(&source::private_interfaces(
                interfaces,
            ))?),
            Self::PublicIp => Value::text(source::first_address(&source::public_interfaces(
                interfaces,
            ))?),
            Self::PrivateIps => Value::text(source::private_ips(interfaces)?),
            Self::PublicIps => Value::text(source::public_ips(interfaces)?),
            Self::InterfaceIp => Value::text(source::interface_ip(args.text(0), interfaces)?),
            Self::InterfaceIps => Value::text(source::interface_ips(args.text(0), interfaces)?),
            Self::Attr => Value::text(attr(args.text(0), args.any(1))?),
            Self::Exclude => {
                let (selector, value) = (args.text(0), args.text(1));
                Value::list(filter(Keep::Others, selector, value, args.list(2))?)
            }
            Self::Include => {
                let (selector, value) = (args.text(0), args.text(1));
                Value::list(filter(Keep::Matching, selector, value, args.list(2))?)
            }
            Self::Join => Value::text(order::join(args.text(0), args.text(1), args.list(2))?),
            Self::Limit => Value::list(order::limit(args.unsigned(0), args.list(1))),
            Self::Math => Value::list(math::math(args.text(0), args.text(1), args.list(2))?),
            Self::Offset => Value::list(order::offset(args.signed(0), args.list(1))?),
            Self::Sort => Value::list(order::sort(args.text(0), args.list(1))?),
            Self::Unique => Value::list(order::unique(args.text(0), args.list(1))?),
            // Called only with values left to decide between.
            Self::And => first_or_last(arguments, false),
            Self::Or => first_or_last(arguments, true),
            Self::Not => Value::Bool(!args.any(0).is_true()),
            Self::Eq => Value::Bool(eq(arguments)?),
            Self::Ne => Value::Bool(!equal(args.any(0), args.any(1))?),
            Self::Lt => Value::Bool(compare(args.any(0), args.any(1))?.is_lt()),
            Self::Le => Value::Bool(compare(args.any(0), args.any(1))?.is_le()),
            Self::Gt => Value::Bool(compare(args.any(0), args.any(1))?.is_gt()),
            Self::Ge => Value::Bool(compare(args.any(0), args.any(1))?.is_ge()),
            Self::Index => index(args.any(0), args.after(1))?,
            Self::Len => Value::Int(len(args.any(0))?),
            Self::Slice => slice(args.any(0), args.after(1))?,
            Self::Print => Value::text(print(arguments, false)?),
            Self::Println => Value::text(print(arguments, true)?),
            Self::Printf => Value::text(printf(args.text(0), args.after(1))?),
        })
    }
}

/// Arguments that were checked against the signature. What is not there reads
/// as nothing.
struct Arguments<'v, 'a>(&'v [Value<'a>]);

impl<'v, 'a> Arguments<'v, 'a> {
    fn any(&self, position: usize) -> &'v Value<'a> {
        self.0.get(position).unwrap_or(&Value::Nil)
    }

    fn text(&self, position: usize) -> &'v str {
        match self.any(position) {
            Value::Text(text) => text,
            _ => "",
        }
    }

    fn list(&self, position: usize) -> &'v [IfAddr<'a>] {
        match self.any(position) {
            Value::List(list) => list,
            _ => &[],
        }
    }

    fn signed(&self, position: usize) -> i64 {
        match self.any(position) {
            Value::Int(value) => *value,
            _ => 0,
        }
    }

    fn unsigned(&self, position: usize) -> u64 {
        match self.any(position) {
            Value::Uint(value) => *value,
            _ => 0,
        }
    }

    fn after(&self, position: usize) -> &'v [Value<'a>] {
        self.0.get(position..).unwrap_or(&[])
    }
}

/// An attribute of an address, or of the first of a list.
fn attr(name: &str, value: &Value<'_>) -> Result<String, String> {
    match value {
        Value::Address(item) => item.attribute(name),
        Value::List(list) => list
            .first()
            .map_or_else(|| Ok(String::new()), |item| item.attribute(name)),
        other => Err(format!(
            "unable to obtain attribute {name} from type {} ({other})",
            other.type_name()
        )),
    }
}

fn first_or_last<'a>(values: &[Value<'a>], wanted: bool) -> Value<'a> {
    let first = values.iter().find(|value| value.is_true() == wanted);
    first.or(values.last()).cloned().unwrap_or(Value::Nil)
}

fn eq(values: &[Value<'_>]) -> Result<bool, String> {
    match values {
        [] | [_] => Err("missing argument for comparison".to_owned()),
        [first, others @ ..] => {
            for other in others {
                if equal(first, other)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
    }
}

fn equal(a: &Value<'_>, b: &Value<'_>) -> Result<bool, String> {
    Ok(match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Int(a), Value::Int(b)) => a == b,
        (Value::Float(a), Value::Float(b)) => a == b,
        (Value::Text(a), Value::Text(b)) => a == b,
        (Value::Nil, Value::Nil) => true,
        (Value::Nil, _) | (_, Value::Nil) => false,
        (Value::List(_) | Value::Address(_), Value::List(_) | Value::Address(_)) => {
            return Err(format!("non-comparable type {a}: {}", a.type_name()));
        }
        _ => return Err("incompatible types for comparison".to_owned()),
    })
}

fn compare(a: &Value<'_>, b: &Value<'_>) -> Result<Ordering, String> {
    let has_order = |value: &Value<'_>| {
        matches!(
            value,
            Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Text(_)
        )
    };
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => Ok(a.cmp(b)),
        // Literals are never NaN.
        (Value::Float(a), Value::Float(b)) => Ok(a.total_cmp(b)),
        (Value::Text(a), Value::Text(b)) => Ok(a.cmp(b)),
        (Value::Bool(_), Value::Bool(_)) => Err("invalid type for comparison".to_owned()),
        (a, b) if has_order(a) && has_order(b) => {
            Err("incompatible types for comparison".to_owned())
        }
        _ => Err("invalid type for comparison".to_owned()),
    }
}

fn len(value: &Value<'_>) -> Result<i64, String> {
    let len = match value {
        Value::Text(text) => text.len(),
        Value::List(list) => list.len(),
        Value::Nil => {
            return Err("reflect: call of reflect.Value.Type on zero Value".to_owned());
        }
        other => return Err(format!("len of type {}", other.type_name())),
    };
    i64::try_from(len).map_err(|_| limits::too_much_text())
}

/// A position from 0 up to `end`.
fn position(value: &Value<'_>, end: usize) -> Result<usize, String> {
    match value {
        Value::Int(at) => usize::try_from(*at)
            .ok()
            .filter(|at| *at <= end)
            .ok_or_else(|| format!("index out of range: {at}")),
        Value::Nil => Err("cannot index slice/array with nil".to_owned()),
        other => Err(format!(
            "cannot index slice/array with type {}",
            other.type_name()
        )),
    }
}

fn index<'a>(value: &Value<'a>, positions: &[Value<'a>]) -> Result<Value<'a>, String> {
    if let Value::Nil = value {
        return Err("index of untyped nil".to_owned());
    }
    let mut value = value.clone();
    for at in positions {
        let past_the_end = |what| format!("reflect: {what} index out of range");
        value = match &value {
            Value::List(list) => list
                .get(position(at, list.len())?)
                .map(|item| Value::Address(*item))
                .ok_or_else(|| past_the_end("slice"))?,
            Value::Text(text) => text
                .as_bytes()
                .get(position(at, text.len())?)
                .map(|byte| Value::Int(i64::from(*byte)))
                .ok_or_else(|| past_the_end("string"))?,
            other => return Err(format!("can't index item of type {}", other.type_name())),
        };
    }
    Ok(value)
}

fn slice<'a>(value: &Value<'a>, positions: &[Value<'a>]) -> Result<Value<'a>, String> {
    let end = match value {
        Value::List(list) => list.len(),
        Value::Text(_) if positions.len() > 2 => {
            return Err("cannot 3-index slice a string".to_owned());
        }
        Value::Text(text) => text.len(),
        Value::Nil => return Err("slice of untyped nil".to_owned()),
        other => return Err(format!("can't slice item of type {}", other.type_name())),
    };
    if positions.len() > 3 {
        return Err(format!("too many slice indexes: {}", positions.len()));
    }
    let mut bounds = [0, end];
    for (i, at) in positions.iter().enumerate() {
        let at = position(at, end)?;
        if i < 2 {
            bounds[i] = at;
        } else if bounds[1] > at {
            // The third only bounds the others.
            return Err(format!("invalid slice index: {} > {at}", bounds[1]));
        }
    }
    let [from, to] = bounds;
    if from > to {
        return Err(format!("invalid slice index: {from} > {to}"));
    }
    Ok(match value {
        Value::List(list) => Value::list(list[from..to].to_vec()),
        Value::Text(text) => {
            let bytes = &text.as_bytes()[from..to];
            Value::text(String::from_utf8_lossy(bytes).into_owned())
        }
        other => other.clone(),
    })
}

/// Writes values one after the other: with blanks between all of them and a
/// line's end, or with blanks only between two that are no text.
fn print(values: &[Value<'_>], as_line: bool) -> Result<String, String> {
    let mut out = String::new();
    let mut after_text = true;
    for (i, value) in values.iter().enumerate() {
        let is_text = matches!(value, Value::Text(_));
        if i > 0 && (as_line || !(is_text || after_text)) {
            out.push(' ');
        }
        after_text = is_text;
        // Writing to a string cannot fail.
        let _ = write!(out, "{value}");
        if out.len() > limits::TEXT {
            return Err(limits::too_much_text());
        }
    }
    if as_line {
        out.push('\n');
    }
    Ok(out)
}
