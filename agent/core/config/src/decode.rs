//! From what a file says to typed keys, strictly.
//!
//! Nothing is converted: text is no number and `1` is no boolean. Two leniencies exist, because
//! HCL blocks need them: a list of one is taken as its element where no list is wanted, and a
//! float is cut where a whole number is. Names are compared without case. All type errors of a
//! source are found at once, and so are all unknown keys.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::given::{Given, Item, Origin};
use crate::keys::{Field, Fields, Key, Kind, Schema, nearest_key};
use crate::tree::{Entry, Object, Tree, Value};

/// What is wrong with a source.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Values of the wrong type, sorted.
    pub types: Vec<String>,
    /// Unknown keys, inner before outer ones.
    pub unknown: Vec<String>,
}

/// Decodes a source by a schema.
///
/// # Errors
/// Everything that is wrong. Type errors hide unknown keys only when printed.
pub fn decode(tree: &Tree, source: &Arc<str>, schema: &Schema) -> Result<Given, Faults> {
    let mut decoder = Decoder {
        source,
        faults: Faults::default(),
        secret: false,
    };
    let given = match &tree.value {
        Value::Object(object) => decoder.object(object, schema, ""),
        _ => Given::default(),
    };
    let mut faults = decoder.faults;
    if faults.types.is_empty() && faults.unknown.is_empty() {
        return Ok(given);
    }
    faults.types.sort();
    Err(faults)
}

/// Decodes the text of one value, for keys that an environment variable sets with JSON.
pub fn decode_item(tree: &Tree, key: &Key, source: &Arc<str>) -> Result<Option<Item>, Vec<String>> {
    let mut decoder = Decoder {
        source,
        faults: Faults::default(),
        secret: key.secret,
    };
    let item = decoder.item(tree, key.kind, key.path);
    let Faults { mut types, unknown } = decoder.faults;
    types.extend(unknown);
    if types.is_empty() {
        Ok(item)
    } else {
        Err(types)
    }
}

struct Decoder<'a> {
    source: &'a Arc<str>,
    faults: Faults,
    /// The value being read must not be shown.
    secret: bool,
}

/// Hints are looked for no more often than this in one source: who has more unknown keys has
/// another problem.
const HINTS: usize = 50;

impl Decoder<'_> {
    fn origin(&self, tree: &Tree) -> Origin {
        Origin {
            source: Arc::clone(self.source),
            pos: Some(tree.pos),
        }
    }

    fn object(&mut self, object: &Object, schema: &Schema, path: &str) -> Given {
        let mut given = Given::default();
        self.fields(object, schema.fields(), schema, path, "", &mut given);
        given
    }

    /// Decodes an object. `path` is its name in error texts, `inside` the path within the schema.
    fn fields(
        &mut self,
        object: &Object,
        fields: &Fields,
        schema: &Schema,
        path: &str,
        inside: &str,
        given: &mut Given,
    ) {
        let mut used: Vec<&str> = Vec::new();
        for (&name, field) in fields {
            let Some(entry) = find(object, name, field) else {
                continue;
            };
            used.push(&entry.key);
            // The other spelling beside the right one is passed over, not unknown.
            if let Field::Leaf(key) = field {
                for alias in key.aliases {
                    let other = object
                        .entries
                        .iter()
                        .find(|e| e.key.eq_ignore_ascii_case(alias));
                    used.extend(other.map(|e| e.key.as_str()));
                }
            }
            let path = join(path, name);
            match field {
                Field::Inner(inner) => {
                    let Some(tree) = unwrapped(&entry.value) else {
                        continue;
                    };
                    match &tree.value {
                        Value::Null => {}
                        Value::Object(object) => {
                            let inside = join(inside, name);
                            self.fields(object, inner, schema, &path, &inside, given);
                        }
                        other => self.expected_map(&path, other, tree),
                    }
                }
                Field::Leaf(key) => {
                    self.secret = key.secret;
                    let item = self.item(&entry.value, key.kind, &path);
                    self.secret = false;
                    if let Some(item) = item {
                        let origin = Origin {
                            source: Arc::clone(self.source),
                            pos: Some(entry.pos),
                        };
                        given.set(key, item, origin);
                    }
                }
            }
        }
        for entry in &object.entries {
            if used.contains(&entry.key.as_str()) {
                continue;
            }
            let hints = self.faults.unknown.len() < HINTS;
            let nearest = hints.then(|| nearest_key(fields, inside, &entry.key, schema));
            let hint = match nearest.flatten() {
                Some(key) => format!("did you mean \"{}\"? ", outer(path, inside, &key)),
                None => String::new(),
            };
            let name = join(path, &entry.key);
            self.faults.unknown.push(format!(
                "invalid config key {name} ({hint}at {}:{})",
                self.source, entry.pos
            ));
        }
    }

    fn expected_map(&mut self, path: &str, value: &Value, tree: &Tree) {
        let text = format!("'{path}' expected a map, got '{}'", value.go_kind());
        self.type_fault(text, tree);
    }

    fn type_fault(&mut self, text: String, tree: &Tree) {
        self.faults
            .types
            .push(format!("{text} (at {}:{})", self.source, tree.pos));
    }

    fn unconvertible(&mut self, path: &str, wanted: &str, tree: &Tree) {
        let shown = if self.secret {
            "hidden".to_string()
        } else {
            tree.value.go_text()
        };
        let text = format!(
            "'{path}' expected type '{wanted}', got unconvertible type '{}', value: '{shown}'",
            tree.value.go_type(),
        );
        self.type_fault(text, tree);
    }

    /// The value of a key; `None` when it is not set or of the wrong type.
    fn item(&mut self, tree: &Tree, kind: Kind, path: &str) -> Option<Item> {
        match kind {
            Kind::List => self.list(tree, path).map(Item::List),
            Kind::AnyList => {
                let items = self.elements(tree, path)?;
                Some(Item::AnyList(
                    items.iter().map(|item| item.value.to_json()).collect(),
                ))
            }
            Kind::Objects(schema) => {
                let items = self.elements(tree, path)?;
                let mut objects = Vec::with_capacity(items.len());
                for (i, item) in items.iter().enumerate() {
                    objects.extend(self.definition(item, schema(), &format!("{path}[{i}]")));
                }
                Some(Item::Objects(objects))
            }
            _ => self.single(unwrapped(tree)?, kind, path),
        }
    }

    fn single(&mut self, tree: &Tree, kind: Kind, path: &str) -> Option<Item> {
        #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)] // cut, as in Go
        match (kind, &tree.value) {
            (_, Value::Null) => None,
            (Kind::Bool, Value::Bool(b)) => Some(Item::Bool(*b)),
            (Kind::Bool, _) => {
                self.unconvertible(path, "bool", tree);
                None
            }
            (Kind::Int | Kind::Port, Value::Int(i)) => Some(Item::Int(*i)),
            (Kind::Int | Kind::Port, Value::Float(x)) => Some(Item::Int(*x as i64)),
            (Kind::Int | Kind::Port, _) => {
                self.unconvertible(path, "int", tree);
                None
            }
            (Kind::Float, Value::Float(x)) => Some(Item::Float(*x)),
            (Kind::Float, Value::Int(i)) => Some(Item::Float(*i as f64)),
            (Kind::Float, _) => {
                self.unconvertible(path, "float64", tree);
                None
            }
            (Kind::Text | Kind::Duration, _) => self.text(tree, path).map(Item::Text),
            (Kind::Any, Value::Object(_)) => Some(Item::Any(tree.value.to_json())),
            (Kind::Map | Kind::DurationMap, Value::Object(object)) => {
                let map = self.each(object, path, Self::text);
                Some(Item::Map(map))
            }
            (Kind::ListMap, Value::Object(object)) => {
                let map = self.each(object, path, Self::list);
                Some(Item::ListMap(map))
            }
            (Kind::ObjectMap(schema), Value::Object(object)) => {
                let map = self.each(object, path, |decoder, tree, path| {
                    decoder.definition(tree, schema(), path)
                });
                Some(Item::ObjectMap(map))
            }
            (Kind::Object(schema), _) => self
                .definition(tree, schema(), path)
                .map(|given| Item::Objects(vec![given])),
            (_, other) => {
                self.expected_map(path, other, tree);
                None
            }
        }
    }

    fn each<T>(
        &mut self,
        object: &Object,
        path: &str,
        mut read: impl FnMut(&mut Self, &Tree, &str) -> Option<T>,
    ) -> BTreeMap<String, T> {
        let mut map = BTreeMap::new();
        for entry in &object.entries {
            if let Some(value) = read(self, &entry.value, &format!("{path}[{}]", entry.key)) {
                map.insert(entry.key.clone(), value);
            }
        }
        map
    }

    fn text(&mut self, tree: &Tree, path: &str) -> Option<String> {
        let tree = unwrapped(tree)?;
        match &tree.value {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            _ => {
                self.unconvertible(path, "string", tree);
                None
            }
        }
    }

    fn list(&mut self, tree: &Tree, path: &str) -> Option<Vec<String>> {
        let items = self.elements(tree, path)?;
        let mut texts = Vec::with_capacity(items.len());
        for (i, item) in items.iter().enumerate() {
            // A null in a list is an empty text.
            match item.value {
                Value::Null => texts.push(String::new()),
                _ => texts.extend(self.text(item, &format!("{path}[{i}]"))),
            }
        }
        Some(texts)
    }

    fn elements<'t>(&mut self, tree: &'t Tree, path: &str) -> Option<&'t [Tree]> {
        match &tree.value {
            Value::List(items) | Value::Blocks(items) => Some(items),
            Value::Null => None,
            other => {
                let text = format!(
                    "'{path}': source data must be an array or slice, got {}",
                    other.go_kind()
                );
                self.type_fault(text, tree);
                None
            }
        }
    }

    fn definition(&mut self, tree: &Tree, schema: &Schema, path: &str) -> Option<Given> {
        let tree = unwrapped(tree)?;
        match &tree.value {
            Value::Null => None,
            Value::Object(object) => {
                let mut given = self.object(object, schema, path);
                given.origin = Some(self.origin(tree));
                Some(given)
            }
            other => {
                self.expected_map(path, other, tree);
                None
            }
        }
    }
}

/// The entry for a name: written exactly, in another case, or by another spelling.
fn find<'o>(object: &'o Object, name: &str, field: &Field) -> Option<&'o Entry> {
    let by_case = |name: &str| {
        object
            .entries
            .iter()
            .find(|e| e.key.eq_ignore_ascii_case(name))
    };
    let aliases: &[&str] = match field {
        Field::Leaf(key) => key.aliases,
        Field::Inner(_) => &[],
    };
    object
        .entry(name)
        .or_else(|| by_case(name))
        .or_else(|| aliases.iter().find_map(|alias| by_case(alias)))
}

/// A list of one is its element; an empty list is nothing.
fn unwrapped(tree: &Tree) -> Option<&Tree> {
    match &tree.value {
        Value::List(items) | Value::Blocks(items) => match items.as_slice() {
            [] => None,
            [one] => Some(one),
            _ => Some(tree),
        },
        _ => Some(tree),
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_string()
    } else {
        format!("{path}.{name}")
    }
}

/// A path of the schema as it is called from outside: the name of the definition in front.
fn outer(path: &str, inside: &str, key: &str) -> String {
    let prefix = path
        .strip_suffix(inside)
        .unwrap_or(path)
        .trim_end_matches('.');
    join(prefix, key)
}
