//! Paths and queries as Go's client writes them.

use lictor_wire::GoDuration;
use std::time::Duration;

/// What a read may be told beside its path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueryOptions {
    /// The datacenter; empty for that of the client's configuration, or the agent's own.
    pub datacenter: String,
    /// Any server may answer.
    pub stale: bool,
    /// The leader makes sure that it still leads.
    pub consistent: bool,
    /// Wait until the result's index is above this one; zero answers at once.
    pub index: u64,
    /// How long to wait at most; the agent's default unless given.
    pub wait: Option<Duration>,
    /// Sort by distance from this node.
    pub near: String,
    /// Only nodes with this metadata.
    pub node_meta: Vec<(String, String)>,
    /// A filter expression.
    pub filter: String,
}

impl QueryOptions {
    /// The parameters of the query string.
    pub fn to_params(&self) -> Vec<(String, String)> {
        let mut out = Vec::new();
        let mut put = |k: &str, v: String| out.push((k.to_owned(), v));
        if !self.datacenter.is_empty() {
            put("dc", self.datacenter.clone());
        }
        if self.stale {
            put("stale", String::new());
        }
        if self.consistent {
            put("consistent", String::new());
        }
        if self.index > 0 {
            put("index", self.index.to_string());
        }
        if let Some(wait) = self.wait {
            // Go's client writes milliseconds.
            put(
                "wait",
                format!("{}ms", GoDuration::from(wait).0 / 1_000_000),
            );
        }
        if !self.near.is_empty() {
            put("near", self.near.clone());
        }
        for (k, v) in &self.node_meta {
            put("node-meta", format!("{k}:{v}"));
        }
        if !self.filter.is_empty() {
            put("filter", self.filter.clone());
        }
        out
    }
}

fn push_escaped(out: &mut String, byte: u8) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    out.push('%');
    out.push(char::from(HEX[usize::from(byte >> 4)]));
    out.push(char::from(HEX[usize::from(byte & 15)]));
}

/// A path with everything escaped that Go's `net/url` escapes in one; slashes stay.
pub fn escape_path(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => out.push(char::from(byte)),
            b'-' | b'_' | b'.' | b'~' | b'$' | b'&' | b'+' | b',' | b'/' | b':' | b';' | b'='
            | b'@' => {
                out.push(char::from(byte));
            }
            _ => push_escaped(&mut out, byte),
        }
    }
    out
}

/// A query string, sorted by key, as Go's `url.Values` writes it; without the question mark.
pub fn encode_query<K: AsRef<str>, V: AsRef<str>>(params: &[(K, V)]) -> String {
    let mut sorted: Vec<(&str, &str)> = params
        .iter()
        .map(|(k, v)| (k.as_ref(), v.as_ref()))
        .collect();
    sorted.sort_by_key(|(k, _)| *k);
    let mut out = String::new();
    let escape = |out: &mut String, text: &str| {
        for byte in text.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                    out.push(char::from(byte))
                }
                b' ' => out.push('+'),
                _ => push_escaped(out, byte),
            }
        }
    };
    for (k, v) in sorted {
        if !out.is_empty() {
            out.push('&');
        }
        escape(&mut out, k);
        out.push('=');
        escape(&mut out, v);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_queries_are_escaped_as_go_does() {
        assert_eq!(
            escape_path("/v1/kv/a b/%2F?#(\u{e9})"),
            "/v1/kv/a%20b/%252F%3F%23%28%C3%A9%29"
        );
        assert_eq!(
            encode_query(&[("separator", "/"), ("keys", "")]),
            "keys=&separator=%2F"
        );
        assert_eq!(
            encode_query(&[("b", "1 2"), ("a", "x"), ("b", "&")]),
            "a=x&b=1+2&b=%26"
        );
        assert_eq!(encode_query::<&str, &str>(&[]), "");
    }

    #[test]
    fn options_become_parameters() {
        let options = QueryOptions {
            datacenter: "dc2".into(),
            stale: true,
            index: 7,
            wait: Some(Duration::from_secs(2)),
            node_meta: vec![("a".into(), "b".into())],
            ..QueryOptions::default()
        };
        assert_eq!(
            encode_query(&options.to_params()),
            "dc=dc2&index=7&node-meta=a%3Ab&stale=&wait=2000ms"
        );
        assert!(QueryOptions::default().to_params().is_empty());
    }
}
