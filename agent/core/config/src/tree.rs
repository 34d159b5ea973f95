//! What a file says, before anyone asks whether it makes sense.
//!
//! HCL and JSON are read into the same [`Tree`]. It keeps positions, the order of keys, and the
//! difference between an HCL block (which may stand for one object or for a list of objects) and
//! a plain list.

use std::fmt::{self, Write as _};

use serde_json::{Map, Number};

/// Nesting that either reader accepts. Deeper files are refused, so that nothing recurses without
/// a limit.
pub const MAX_DEPTH: usize = 64;

/// A place in a source; both count from 1. Columns are characters in HCL and bytes in JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pos {
    /// Line.
    pub line: u32,
    /// Column.
    pub column: u32,
}

impl fmt::Display for Pos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// A value and where it begins.
#[derive(Clone, Debug, PartialEq)]
pub struct Tree {
    /// The value.
    pub value: Value,
    /// Where it begins.
    pub pos: Pos,
}

/// A value of a configuration file.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// JSON's `null`: as if the key were not there.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number (HCL only).
    Int(i64),
    /// Any number of a JSON file, or an HCL number with a fraction or exponent.
    Float(f64),
    /// Text.
    String(String),
    /// A list.
    List(Vec<Tree>),
    /// HCL blocks of one name: a list of objects, or one object where one is wanted.
    Blocks(Vec<Tree>),
    /// An object.
    Object(Object),
}

/// An object: entries in the order of the file, each key once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Object {
    /// The entries.
    pub entries: Vec<Entry>,
}

/// A key, where it stands, and its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The key as written.
    pub key: String,
    /// Where it stands.
    pub pos: Pos,
    /// Its value.
    pub value: Tree,
}

impl Object {
    /// The entry of exactly this key.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// The value of exactly this key.
    pub fn value(&self, key: &str) -> Option<&Value> {
        self.entry(key).map(|entry| &entry.value.value)
    }
}

impl Value {
    /// The type as Go names it, for error texts.
    pub fn go_type(&self) -> &'static str {
        match self {
            Value::Null => "<nil>",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Float(_) => "float64",
            Value::String(_) => "string",
            Value::List(_) => "[]interface {}",
            Value::Blocks(_) => "[]map[string]interface {}",
            Value::Object(_) => "map[string]interface {}",
        }
    }

    /// The kind of that type, as Go names it.
    pub fn go_kind(&self) -> &'static str {
        match self {
            Value::List(_) | Value::Blocks(_) => "slice",
            Value::Object(_) => "map",
            other => other.go_type(),
        }
    }

    /// The value as Go prints it with `%v`, for error texts.
    pub fn go_text(&self) -> String {
        let mut out = String::new();
        self.write_go(&mut out);
        out
    }

    fn write_go(&self, out: &mut String) {
        match self {
            Value::Null => out.push_str("<nil>"),
            Value::Bool(b) => {
                let _ = write!(out, "{b}");
            }
            Value::Int(i) => {
                let _ = write!(out, "{i}");
            }
            Value::Float(x) => out.push_str(&go_float(*x)),
            Value::String(s) => out.push_str(s),
            Value::List(items) | Value::Blocks(items) => {
                out.push('[');
                for (i, item) in items.iter().enumerate() {
                    if i > 0 {
                        out.push(' ');
                    }
                    item.value.write_go(out);
                }
                out.push(']');
            }
            Value::Object(object) => {
                let mut entries: Vec<&Entry> = object.entries.iter().collect();
                entries.sort_by(|a, b| a.key.cmp(&b.key));
                out.push_str("map[");
                for (i, entry) in entries.iter().enumerate() {
                    if i > 0 {
                        out.push(' ');
                    }
                    out.push_str(&entry.key);
                    out.push(':');
                    entry.value.value.write_go(out);
                }
                out.push(']');
            }
        }
    }

    /// The value as JSON, for parts that are passed on as they are. A single block is one object;
    /// whole numbers lose the point that JSON files gave them.
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match self {
            Value::Null => Json::Null,
            Value::Bool(b) => Json::Bool(*b),
            Value::Int(i) => Json::from(*i),
            Value::Float(x) => json_number(*x),
            Value::String(s) => Json::String(s.clone()),
            Value::Blocks(items) if items.len() == 1 => items[0].value.to_json(),
            Value::List(items) | Value::Blocks(items) => {
                Json::Array(items.iter().map(|item| item.value.to_json()).collect())
            }
            Value::Object(object) => {
                let mut map = Map::new();
                for entry in &object.entries {
                    map.insert(entry.key.clone(), entry.value.value.to_json());
                }
                Json::Object(map)
            }
        }
    }
}

/// Largest magnitude below which every whole number is exact in a float.
const EXACT: f64 = 9_007_199_254_740_992.0;

fn json_number(x: f64) -> serde_json::Value {
    if x.fract() == 0.0 && x.abs() < EXACT {
        #[allow(clippy::cast_possible_truncation)] // whole and in range
        return serde_json::Value::from(x as i64);
    }
    Number::from_f64(x).map_or(serde_json::Value::Null, serde_json::Value::Number)
}

/// A float as Go's `%v` prints it: shortest form, exponent below 1e-4 and from 1e21 on.
fn go_float(x: f64) -> String {
    let magnitude = x.abs();
    if magnitude != 0.0 && !(1e-4..1e21).contains(&magnitude) {
        let text = format!("{x:e}");
        if let Some((digits, exponent)) = text.split_once('e') {
            let (sign, exponent) = match exponent.strip_prefix('-') {
                Some(rest) => ('-', rest),
                None => ('+', exponent),
            };
            return format!("{digits}e{sign}{exponent:0>2}");
        }
    }
    format!("{x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(value: Value) -> Tree {
        Tree {
            value,
            pos: Pos::default(),
        }
    }

    #[test]
    fn values_print_as_go_prints_them() {
        assert_eq!(go_float(5.0), "5");
        assert_eq!(go_float(1.5), "1.5");
        assert_eq!(go_float(1e21), "1e+21");
        assert_eq!(go_float(0.00001), "1e-05");
        let list = Value::List(vec![tree(Value::String("a".into())), tree(Value::Int(5))]);
        assert_eq!(list.go_text(), "[a 5]");
        let entry = |key: &str, value| Entry {
            key: key.into(),
            pos: Pos::default(),
            value: tree(value),
        };
        let object = Object {
            entries: vec![entry("b", Value::Bool(true)), entry("a", list)],
        };
        assert_eq!(Value::Object(object).go_text(), "map[a:[a 5] b:true]");
    }

    #[test]
    fn one_block_is_one_object_in_json() {
        let object = tree(Value::Object(Object::default()));
        assert_eq!(
            Value::Blocks(vec![object.clone()]).to_json(),
            serde_json::json!({})
        );
        assert_eq!(Value::List(vec![object]).to_json(), serde_json::json!([{}]));
        assert_eq!(Value::Float(8080.0).to_json(), serde_json::json!(8080));
        assert_eq!(Value::Float(0.5).to_json(), serde_json::json!(0.5));
    }
}
