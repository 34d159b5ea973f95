//! What was given: the keys that some source set, with typed values, and nothing else.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde_json::Value as Json;

use crate::keys::Key;
use crate::tree::Pos;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Name of the source: a file, a flag, an environment variable.
    pub source: Arc<str>,
    /// Place in it; `None` for what has no lines.
    pub pos: Option<Pos>,
}

impl Origin {
    /// An origin without a place.
    pub fn of(source: impl Into<Arc<str>>) -> Origin {
        Origin {
            source: source.into(),
            pos: None,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pos {
            Some(pos) => write!(f, "{}:{pos}", self.source),
            None => f.write_str(&self.source),
        }
    }
}

/// A value in the type of its key.
#[derive(Clone, PartialEq)]
pub enum Item {
    /// `Bool`
    Bool(bool),
    /// `Int` and `Port`
    Int(i64),
    /// `Float`
    Float(f64),
    /// `Text` and `Duration`
    Text(String),
    /// `List`
    List(Vec<String>),
    /// `Map` and `DurationMap`
    Map(BTreeMap<String, String>),
    /// `ListMap`
    ListMap(BTreeMap<String, Vec<String>>),
    /// `Any`
    Any(Json),
    /// `AnyList`
    AnyList(Vec<Json>),
    /// `Object` and `Objects`, each of the latter
    Objects(Vec<Given>),
    /// `ObjectMap`
    ObjectMap(BTreeMap<String, Given>),
}

impl fmt::Debug for Item {
    /// The type only: the value may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Item::Bool(_) => "Bool",
            Item::Int(_) => "Int",
            Item::Float(_) => "Float",
            Item::Text(_) => "Text",
            Item::List(_) => "List",
            Item::Map(_) => "Map",
            Item::ListMap(_) => "ListMap",
            Item::Any(_) => "Any",
            Item::AnyList(_) => "AnyList",
            Item::Objects(_) => "Objects",
            Item::ObjectMap(_) => "ObjectMap",
        })
    }
}

impl Item {
    /// The value says the same as no value: false, 0, empty.
    pub fn is_zero(&self) -> bool {
        match self {
            Item::Bool(b) => !b,
            Item::Int(i) => *i == 0,
            Item::Float(x) => *x == 0.0,
            Item::Text(s) => s.is_empty(),
            Item::List(v) => v.is_empty(),
            Item::Map(m) => m.is_empty(),
            Item::ListMap(m) => m.is_empty(),
            Item::Any(json) => match json {
                Json::Null => true,
                Json::Object(map) => map
                    .values()
                    .all(|v| matches!(v, Json::Null | Json::Bool(false))),
                _ => false,
            },
            Item::AnyList(v) => v.is_empty(),
            Item::Objects(v) => v.is_empty(),
            Item::ObjectMap(m) => m.is_empty(),
        }
    }

    /// A scalar as text, for comparison with the texts of the table of keys.
    pub fn scalar_text(&self) -> Option<String> {
        match self {
            Item::Bool(b) => Some(b.to_string()),
            Item::Int(i) => Some(i.to_string()),
            Item::Float(x) => Some(x.to_string()),
            Item::Text(s) => Some(s.clone()),
            _ => None,
        }
    }
}

/// A key that was set.
#[derive(Clone, PartialEq)]
pub struct Set {
    /// Its value.
    pub item: Item,
    /// Where the value came from (the last source, for values that add up).
    pub origin: Origin,
}

/// The keys that were set, by path. Also one service or check definition. The `Debug` form names
/// keys and where they come from, but no values: some are secrets.
#[derive(Clone, Default, PartialEq)]
pub struct Given {
    /// The keys.
    pub keys: BTreeMap<&'static str, Set>,
    /// Where the object begins, for definitions.
    pub origin: Option<Origin>,
}

impl fmt::Debug for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = self
            .keys
            .iter()
            .map(|(path, set)| (path, set.origin.to_string()));
        f.debug_map().entries(keys).finish()
    }
}

impl Given {
    /// Sets a key, over what was there.
    pub fn set(&mut self, key: &Key, item: Item, origin: Origin) {
        self.keys.insert(key.path, Set { item, origin });
    }

    /// The value of a key.
    pub fn item(&self, path: &str) -> Option<&Item> {
        self.keys.get(path).map(|set| &set.item)
    }

    /// Where the value of a key came from.
    pub fn origin(&self, path: &str) -> Option<&Origin> {
        self.keys.get(path).map(|set| &set.origin)
    }

    /// Lays a later source over this one: scalars replace, lists are appended, maps overlaid.
    pub fn merge(&mut self, later: Given) {
        for (path, set) in later.keys {
            match self.keys.get_mut(path) {
                None => {
                    self.keys.insert(path, set);
                }
                Some(old) => {
                    old.origin = set.origin;
                    old.item.merge(set.item);
                }
            }
        }
    }
}

impl Item {
    fn merge(&mut self, later: Item) {
        match (self, later) {
            (Item::List(old), Item::List(new)) => old.extend(new),
            (Item::AnyList(old), Item::AnyList(new)) => old.extend(new),
            (Item::Objects(old), Item::Objects(new)) => old.extend(new),
            (Item::Map(old), Item::Map(new)) => old.extend(new),
            (Item::ListMap(old), Item::ListMap(new)) => old.extend(new),
            (Item::ObjectMap(old), Item::ObjectMap(new)) => old.extend(new),
            (Item::Any(old), Item::Any(new)) => merge_json(old, new),
            (old, new) => *old = new,
        }
    }
}

fn merge_json(old: &mut Json, new: Json) {
    match (old, new) {
        (Json::Object(old), Json::Object(new)) => {
            for (key, value) in new {
                match old.get_mut(&key) {
                    Some(inner) => merge_json(inner, value),
                    None => {
                        old.insert(key, value);
                    }
                }
            }
        }
        (old, new) => *old = new,
    }
}
