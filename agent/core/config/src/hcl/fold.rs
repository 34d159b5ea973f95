//! From items as written to one object with each key once.
//!
//! Blocks of one name become a list, lists of one name are joined, and of a repeated scalar the
//! last wins, read by the first one's type: that is what the original decoder does with maps.

use std::collections::BTreeMap;

use lictor_wire::duration::go_quote;

use super::lexer::{Kind, Token};
use super::parser::{Item, Node};
use crate::tree::{Entry, Object, Pos, Tree, Value};

/// Merges the items of an object. `path` names it in error texts; the top is `root`.
pub fn fold(items: Vec<Item>, path: &str) -> Result<Object, String> {
    let mut object = Object::default();
    let mut index: BTreeMap<String, usize> = BTreeMap::new();
    for item in items {
        let mut keys = item.keys.into_iter();
        let Some(key) = keys.next() else { continue };
        let name = key_text(&key)?;
        let path = format!("{path}.{name}");
        let labels: Vec<Token> = keys.collect();
        let found = index.get(&name).copied();
        let old =
            found.map(|at| std::mem::replace(&mut object.entries[at].value.value, Value::Null));
        let value = if labels.is_empty() {
            value_over(&path, old, item.node, item.pos)?
        } else {
            // Labels nest: `a "b" { }` is `a { b { } }`.
            let mut value = value_over(&path, None, item.node, item.pos)?;
            for label in labels.iter().rev() {
                let inner = Tree {
                    value,
                    pos: item.pos,
                };
                let entry = Entry {
                    key: key_text(label)?,
                    pos: label.pos,
                    value: inner,
                };
                let object = Value::Object(Object {
                    entries: vec![entry],
                });
                value = Value::Blocks(vec![Tree {
                    value: object,
                    pos: label.pos,
                }]);
            }
            join(&path, old, value, item.pos)?
        };
        let value = Tree {
            value,
            pos: item.pos,
        };
        match found {
            Some(at) => object.entries[at].value = value,
            None => {
                index.insert(name.clone(), object.entries.len());
                object.entries.push(Entry {
                    key: name,
                    pos: key.pos,
                    value,
                });
            }
        }
    }
    Ok(object)
}

/// The value of a node laid over what the key had before.
fn value_over(path: &str, old: Option<Value>, node: Node, pos: Pos) -> Result<Value, String> {
    match node {
        Node::Object(items) => {
            let object = Value::Object(fold(items, &format!("{path}[0]"))?);
            join(
                path,
                old,
                Value::Blocks(vec![Tree { value: object, pos }]),
                pos,
            )
        }
        Node::List(elements) => {
            let mut list = Vec::with_capacity(elements.len());
            for (i, (node, pos)) in elements.into_iter().enumerate() {
                let path = format!("{path}[{i}]");
                let value = match node {
                    // Objects in lists stand for themselves, not for blocks.
                    Node::Object(items) => Value::Object(fold(items, &path)?),
                    other => value_over(&path, None, other, pos)?,
                };
                list.push(Tree { value, pos });
            }
            join(path, old, Value::List(list), pos)
        }
        Node::Literal(token) => match old {
            None => literal(&token),
            Some(old) => retyped(path, &old, &token, pos),
        },
    }
}

/// Lists and blocks of one key are joined in order, as the sort that came first.
fn join(path: &str, old: Option<Value>, new: Value, pos: Pos) -> Result<Value, String> {
    let node = match new {
        Value::List(_) => "*ast.ListType",
        _ => "*ast.ObjectType",
    };
    match (old, new) {
        (None, new) => Ok(new),
        (Some(Value::Blocks(mut old)), Value::Blocks(new) | Value::List(new)) => {
            for (i, tree) in new.into_iter().enumerate() {
                match tree.value {
                    Value::Object(_) => old.push(tree),
                    other => {
                        let node = match other {
                            Value::List(_) => "*ast.ListType",
                            _ => "*ast.LiteralType",
                        };
                        let at = tree.pos;
                        return Err(format!(
                            "At {at}: {path}[{i}]: not an object type for map ({node})"
                        ));
                    }
                }
            }
            Ok(Value::Blocks(old))
        }
        (Some(Value::List(mut old)), Value::List(new) | Value::Blocks(new)) => {
            old.extend(new);
            Ok(Value::List(old))
        }
        (Some(old), _) => Err(unknown_type(path, &old, node, pos)),
    }
}

/// The complaint of the original decoder about two values of one key that do not go together.
fn unknown_type(path: &str, old: &Value, node: &str, pos: Pos) -> String {
    match old {
        Value::String(_) => format!("At {pos}: {path}: unknown type for string {node}"),
        Value::List(_) | Value::Blocks(_) => format!("At {pos}: unknown slice type: {node}"),
        _ => format!("At {pos}: {path}: unknown type {node}"),
    }
}

/// A later scalar read as the type of the earlier one.
fn retyped(path: &str, old: &Value, token: &Token, pos: Pos) -> Result<Value, String> {
    let literal = literal(token)?;
    let mismatch = || Err(unknown_type(path, old, "*ast.LiteralType", pos));
    match (old, literal) {
        (Value::String(_), Value::String(s)) => Ok(Value::String(s)),
        (Value::String(_), Value::Int(_)) => Ok(Value::String(token.text.clone())),
        (Value::Int(_), Value::Int(i)) => Ok(Value::Int(i)),
        (Value::Int(_), Value::String(s)) => int(&s).map(Value::Int),
        (Value::Float(_), Value::Float(x)) => Ok(Value::Float(x)),
        #[allow(clippy::cast_precision_loss)] // as the original: the text is read as a float
        (Value::Float(_), Value::Int(i)) => Ok(Value::Float(i as f64)),
        (Value::Bool(_), Value::Bool(b)) => Ok(Value::Bool(b)),
        _ => mismatch(),
    }
}

fn key_text(token: &Token) -> Result<String, String> {
    match token.kind {
        Kind::String => unquote(&token.text).ok_or_else(|| bad_escape(token)),
        _ => Ok(token.text.clone()),
    }
}

fn bad_escape(token: &Token) -> String {
    format!("At {}: illegal char escape", token.pos)
}

fn literal(token: &Token) -> Result<Value, String> {
    let text = token.text.as_str();
    match token.kind {
        Kind::Bool => Ok(Value::Bool(text == "true")),
        Kind::Number => int(text).map(Value::Int),
        Kind::Float => match text.parse::<f64>() {
            Ok(x) if x.is_finite() => Ok(Value::Float(x)),
            Ok(_) => Err(format!(
                "strconv.ParseFloat: parsing {}: value out of range",
                go_quote(text)
            )),
            Err(_) => Err(format!(
                "strconv.ParseFloat: parsing {}: invalid syntax",
                go_quote(text)
            )),
        },
        Kind::Heredoc => Ok(Value::String(heredoc(text))),
        _ => unquote(text)
            .map(Value::String)
            .ok_or_else(|| bad_escape(token)),
    }
}

/// A whole number in Go's syntax with base 0: `0x` is hexadecimal, a leading `0` octal.
fn int(text: &str) -> Result<i64, String> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (base, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    let syntax = || format!("strconv.ParseInt: parsing \"{text}\": invalid syntax");
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(base)) {
        return Err(syntax());
    }
    let signed = if negative {
        format!("-{digits}")
    } else {
        digits.to_string()
    };
    i64::from_str_radix(&signed, base)
        .map_err(|_| format!("strconv.ParseInt: parsing \"{text}\": value out of range"))
}

/// The text between the quotes, escapes resolved. Inside `${ }` everything stays as written.
fn unquote(text: &str) -> Option<String> {
    let inner = text.strip_prefix('"')?.strip_suffix('"')?;
    let mut out = String::with_capacity(inner.len());
    // Octal and hexadecimal escapes are bytes, which together may form a character.
    let mut bytes: Vec<u8> = Vec::with_capacity(inner.len());
    let mut chars = inner.chars().peekable();
    let mut braces = 0u32;
    while let Some(c) = chars.next() {
        if braces == 0 && c == '$' && chars.peek() == Some(&'{') {
            chars.next();
            bytes.extend_from_slice(b"${");
            braces = 1;
            continue;
        }
        if braces > 0 {
            match c {
                '{' => braces = braces.saturating_add(1),
                '}' => braces -= 1,
                _ => {}
            }
        }
        if braces > 0 || c != '\\' {
            bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        // The lexer has already refused other escapes.
        let escape = chars.next()?;
        let mut number = |start: u32, base: u32, count: usize| -> Option<u32> {
            let mut value = start;
            for _ in 0..count {
                value = value
                    .checked_mul(base)?
                    .checked_add(chars.next()?.to_digit(base)?)?;
            }
            Some(value)
        };
        match escape {
            'a' => bytes.push(7),
            'b' => bytes.push(8),
            'f' => bytes.push(12),
            'n' => bytes.push(b'\n'),
            'r' => bytes.push(b'\r'),
            't' => bytes.push(b'\t'),
            'v' => bytes.push(11),
            '\\' => bytes.push(b'\\'),
            '"' => bytes.push(b'"'),
            '0'..='7' => bytes.push(u8::try_from(number(escape.to_digit(8)?, 8, 2)?).ok()?),
            'x' => bytes.push(u8::try_from(number(0, 16, 2)?).ok()?),
            'u' | 'U' => {
                let count = if escape == 'u' { 4 } else { 8 };
                let c = char::from_u32(number(0, 16, count)?)?;
                bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            }
            _ => return None,
        }
    }
    out.push_str(&String::from_utf8_lossy(&bytes));
    Some(out)
}

/// The lines of a heredoc, each with its line feed.
fn heredoc(text: &str) -> String {
    let Some((anchor, rest)) = text.split_once('\n') else {
        return String::new();
    };
    let body = rest.strip_suffix('\n').unwrap_or(rest);
    let (lines, last) = match body.rfind('\n') {
        Some(at) => (&body[..=at], &body[at + 1..]),
        None => ("", body),
    };
    if !anchor.starts_with("<<-") {
        return lines.to_string();
    }
    let indent = &last[..last.len() - last.trim_start().len()];
    if !lines
        .split_inclusive('\n')
        .all(|line| line.starts_with(indent))
    {
        return lines.to_string();
    }
    lines
        .split_inclusive('\n')
        .map(|line| &line[indent.len()..])
        .collect()
}

/// In HCL's own JSON every object is a block, except directly in a list.
pub fn blocks_of_json(tree: Tree) -> Tree {
    fn inner(tree: Tree, in_list: bool) -> Tree {
        let pos = tree.pos;
        let value = match tree.value {
            Value::Object(object) => {
                let entries = object
                    .entries
                    .into_iter()
                    .map(|entry| Entry {
                        value: inner(entry.value, false),
                        ..entry
                    })
                    .collect();
                let object = Value::Object(Object { entries });
                if in_list {
                    object
                } else {
                    Value::Blocks(vec![Tree { value: object, pos }])
                }
            }
            Value::List(items) => {
                Value::List(items.into_iter().map(|item| inner(item, true)).collect())
            }
            other => other,
        };
        Tree { value, pos }
    }
    inner(tree, true)
}
