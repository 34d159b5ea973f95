//! Keys from the environment.
//!
//! `LICTOR_CONFIG_<KEY>`: the key's path in capitals, its dots as two underscores. Lists by comma,
//! maps as `name:value` by comma, booleans also as `1` and `0`; keys that hold objects take JSON.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::decode::decode_item;
use crate::given::{Given, Item, Origin};
use crate::keys::{Key, Kind, Schema, nearest};

/// What the names of all variables begin with.
pub const PREFIX: &str = "LICTOR_CONFIG_";

/// Reads the variables that carry the prefix. Others are not looked at.
///
/// # Errors
/// One text for each variable that names no key or whose value does not fit.
pub fn read(variables: impl Iterator<Item = (String, String)>) -> Result<Given, Vec<String>> {
    // Sorted, so that errors come in a stable order.
    let named: BTreeMap<String, String> = envy::prefixed(PREFIX)
        .from_iter(variables)
        .map_err(|error| vec![format!("cannot read the environment: {error}")])?;
    let schema = Schema::agent();
    let mut given = Given::default();
    let mut errors = Vec::new();
    for (name, value) in &named {
        let variable = format!("{PREFIX}{}", name.to_ascii_uppercase());
        let path = name.replace("__", ".");
        let Some(key) = schema.key(&path) else {
            let hint = match nearest(&path, schema.keys().map(|key| key.path))
                .and_then(|path| schema.key(path))
            {
                Some(key) => format!(" (did you mean {}?)", key.env_name()),
                None => String::new(),
            };
            errors.push(format!("{variable}: invalid config key {path}{hint}"));
            continue;
        };
        match item(key, value, &variable) {
            Ok(Some(item)) => given.set(key, item, Origin::of(variable.as_str())),
            Ok(None) => {}
            Err(text) => errors.push(format!("{variable}: {text}")),
        }
    }
    if errors.is_empty() {
        Ok(given)
    } else {
        Err(errors)
    }
}

/// Reads a value in the form that flags and variables share.
///
/// # Errors
/// What is wrong with the text.
pub(crate) fn item(key: &Key, text: &str, source: &str) -> Result<Option<Item>, String> {
    let wrong = |wanted: &str| {
        let shown = if key.secret { "(hidden)" } else { text };
        format!(
            "'{}' expected {wanted}, got {}",
            key.path,
            lictor_wire::duration::go_quote(shown)
        )
    };
    let item = match key.kind {
        Kind::Bool => Item::Bool(match text {
            "1" => true,
            "0" => false,
            _ if text.eq_ignore_ascii_case("true") => true,
            _ if text.eq_ignore_ascii_case("false") => false,
            _ => return Err(wrong("true or false")),
        }),
        Kind::Int | Kind::Port => {
            Item::Int(text.trim().parse().map_err(|_| wrong("a whole number"))?)
        }
        Kind::Float => Item::Float(
            text.trim()
                .parse()
                .ok()
                .filter(|x: &f64| x.is_finite())
                .ok_or_else(|| wrong("a number"))?,
        ),
        Kind::Text | Kind::Duration => Item::Text(text.to_string()),
        Kind::List => Item::List(
            text.split(',')
                .map(str::trim)
                .filter(|part| !part.is_empty())
                .map(String::from)
                .collect(),
        ),
        Kind::Map | Kind::DurationMap => {
            let mut map = BTreeMap::new();
            for part in text
                .split(',')
                .map(str::trim)
                .filter(|part| !part.is_empty())
            {
                let (name, value) = part
                    .split_once(':')
                    .ok_or_else(|| wrong("name:value by comma"))?;
                map.insert(name.to_string(), value.to_string());
            }
            Item::Map(map)
        }
        Kind::ListMap
        | Kind::Any
        | Kind::AnyList
        | Kind::Object(_)
        | Kind::Objects(_)
        | Kind::ObjectMap(_) => {
            let tree = crate::json::parse_value(text.as_bytes(), false)?;
            let source: Arc<str> = source.into();
            return decode_item(&tree, key, &source).map_err(|texts| texts.join("; "));
        }
    };
    Ok(Some(item))
}
