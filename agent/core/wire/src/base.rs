//! Small building blocks: the string type of the catalog and a compact sorted map.

use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The string of catalog rows: sixteen bytes, short texts inline, clones share long ones.
pub type Str = ecow::EcoString;

/// A sorted map of texts in one allocation. Metadata and tagged addresses have a handful of
/// entries, where a tree would cost hundreds of bytes a row.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StrMap(Vec<(Str, Str)>);

impl StrMap {
    /// An empty map, without an allocation.
    pub const fn new() -> StrMap {
        StrMap(Vec::new())
    }

    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&Str> {
        self.find(key).ok().map(|at| &self.0[at].1)
    }

    /// Sets `key` and gives the value it had.
    pub fn insert(&mut self, key: impl Into<Str>, value: impl Into<Str>) -> Option<Str> {
        let (key, value) = (key.into(), value.into());
        match self.find(&key) {
            Ok(at) => Some(std::mem::replace(&mut self.0[at].1, value)),
            Err(at) => {
                self.0.insert(at, (key, value));
                None
            }
        }
    }

    /// Removes `key` and gives the value it had.
    pub fn remove(&mut self, key: &str) -> Option<Str> {
        self.find(key).ok().map(|at| self.0.remove(at).1)
    }

    /// The entries in the order of their keys.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Str, &Str)> {
        self.0.iter().map(|(k, v)| (k, v))
    }

    /// The number of entries.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn find(&self, key: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(k, _)| k.as_str().cmp(key))
    }
}

impl<K: Into<Str>, V: Into<Str>> FromIterator<(K, V)> for StrMap {
    fn from_iter<T: IntoIterator<Item = (K, V)>>(iter: T) -> StrMap {
        let mut out = StrMap::new();
        for (k, v) in iter {
            out.insert(k, v);
        }
        out.0.shrink_to_fit();
        out
    }
}

impl Serialize for StrMap {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (k, v) in &self.0 {
            map.serialize_entry(k, v)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for StrMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<StrMap, D::Error> {
        struct V;
        impl<'de> Visitor<'de> for V {
            type Value = StrMap;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a map of texts")
            }
            fn visit_unit<E: serde::de::Error>(self) -> Result<StrMap, E> {
                Ok(StrMap::new())
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<StrMap, A::Error> {
                let mut out = StrMap::new();
                while let Some((k, v)) = map.next_entry::<Str, Str>()? {
                    out.insert(k, v);
                }
                out.0.shrink_to_fit();
                Ok(out)
            }
        }
        deserializer.deserialize_map(V)
    }
}

/// Whether a value is its type's default: for fields that are left out when empty.
pub fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_stays_sorted_and_replaces() {
        let mut m: StrMap = [("b", "2"), ("a", "1"), ("b", "3")].into_iter().collect();
        assert_eq!(
            m.iter().map(|(k, v)| format!("{k}{v}")).collect::<Vec<_>>(),
            ["a1", "b3"]
        );
        assert_eq!(m.remove("a").as_deref(), Some("1"));
        assert_eq!((m.len(), m.get("a")), (1, None));
        assert_eq!(serde_json::to_string(&m).unwrap(), r#"{"b":"3"}"#);
    }
}
