//! Registrator's keys in labels and variables.

use std::collections::BTreeMap;

const PREFIX: &str = "SERVICE_";

/// The keys of a container: lower-cased, without their prefix, empty values left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    general: BTreeMap<String, String>,
    by_port: BTreeMap<u32, BTreeMap<String, String>>,
}

/// What holds for one port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortMetadata {
    values: BTreeMap<String, String>,
    /// The name came from a key of this port.
    pub own_name: bool,
    /// The id came from a key of this port.
    pub own_id: bool,
}

impl Metadata {
    /// Reads variables, then labels: of two equal keys the label wins.
    pub fn read(env: &[String], labels: &BTreeMap<String, String>) -> Metadata {
        let mut out = Metadata::default();
        let variables = env.iter().filter_map(|line| line.split_once('='));
        let labels = labels.iter().map(|(k, v)| (k.as_str(), v.as_str()));
        for (key, value) in variables.chain(labels) {
            let Some(key) = key.strip_prefix(PREFIX) else {
                continue;
            };
            if key.is_empty() || value.is_empty() {
                continue;
            }
            let key = key.to_lowercase();
            let port = key
                .split_once('_')
                .and_then(|(port, rest)| Some((port.parse::<u32>().ok()?, rest)));
            match port {
                Some((port, rest)) if !rest.is_empty() => {
                    let values = out.by_port.entry(port).or_default();
                    values.insert(rest.to_owned(), value.to_owned());
                }
                _ => {
                    out.general.insert(key, value.to_owned());
                }
            }
        }
        out
    }

    /// What holds for a port: its own keys before the general ones.
    pub fn of_port(&self, port: u16) -> PortMetadata {
        let own = self.by_port.get(&u32::from(port));
        let has = |key: &str| own.is_some_and(|own| own.contains_key(key));
        let (own_name, own_id) = (has("name"), has("id"));
        let mut values = self.general.clone();
        values.extend(
            own.into_iter()
                .flatten()
                .map(|(k, v)| (k.clone(), v.clone())),
        );
        PortMetadata {
            values,
            own_name,
            own_id,
        }
    }

    /// A key that holds for the whole container.
    pub fn general(&self, key: &str) -> Option<&str> {
        self.general.get(key).map(String::as_str)
    }

    /// Whether any service of the container has a name of its own.
    pub fn names_something(&self) -> bool {
        let mut all = std::iter::once(&self.general).chain(self.by_port.values());
        all.any(|values| values.contains_key("name"))
    }

    /// Ports that have keys of their own.
    pub fn ports(&self) -> impl Iterator<Item = u32> {
        self.by_port.keys().copied()
    }
}

impl PortMetadata {
    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(String::as_str)
    }

    /// Whether the port is left out. Registrator took any value for yes; `false` means no here.
    pub fn ignored(&self) -> bool {
        self.get("ignore").is_some_and(|value| !is_no(value))
    }

    /// The tags, `\,` being a comma of one. In the order given, unlike Registrator's.
    pub fn tags(&self) -> Vec<String> {
        self.get("tags").map(split_escaped).unwrap_or_default()
    }

    /// What becomes metadata of the service: all that is no instruction to the registration itself.
    pub fn attributes(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values
            .iter()
            .filter(|(k, _)| !matches!(k.as_str(), "name" | "id" | "tags" | "ignore" | "network"))
            .map(|(k, v)| (k.as_str(), v.as_str()))
    }
}

/// Whether a text says no.
fn is_no(value: &str) -> bool {
    matches!(
        value.trim().to_lowercase().as_str(),
        "0" | "f" | "false" | "no" | "off"
    )
}

/// Splits at commas that have no backslash before them; empty parts vanish.
pub fn split_escaped(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' if chars.peek() == Some(&',') => {
                chars.next();
                if let Some(last) = parts.last_mut() {
                    last.push(',');
                }
            }
            ',' => parts.push(String::new()),
            c => {
                if let Some(last) = parts.last_mut() {
                    last.push(c);
                }
            }
        }
    }
    parts.retain(|part| !part.is_empty());
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(env: &[&str], labels: &[(&str, &str)]) -> Metadata {
        let env: Vec<String> = env.iter().map(|e| (*e).to_owned()).collect();
        let labels = labels
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        Metadata::read(&env, &labels)
    }

    #[test]
    fn a_key_of_the_port_beats_a_label_beats_a_variable() {
        let m = read(
            &[
                "SERVICE_80_NAME=port-env",
                "SERVICE_REGION=env",
                "SERVICE_A=env",
                "OTHER=1",
                "SERVICE_",
            ],
            &[
                ("SERVICE_NAME", "label"),
                ("SERVICE_REGION", "label"),
                ("service_a", "not a key"),
            ],
        );
        let port = m.of_port(80);
        assert_eq!((port.get("name"), port.own_name), (Some("port-env"), true));
        assert_eq!(port.get("region"), Some("label"));
        assert_eq!(port.get("a"), Some("env"));
        let other = m.of_port(81);
        assert_eq!((other.get("name"), other.own_name), (Some("label"), false));
    }

    #[test]
    fn an_empty_value_is_no_value() {
        let m = read(
            &["SERVICE_NAME=x"],
            &[("SERVICE_NAME", ""), ("SERVICE_80_NAME", "")],
        );
        assert_eq!(m.of_port(80).get("name"), Some("x"));
    }

    #[test]
    fn ignoring_takes_a_word_that_means_yes() {
        for (value, ignored) in [
            ("1", true),
            ("true", true),
            ("anything", true),
            ("false", false),
            ("0", false),
            ("No", false),
        ] {
            assert_eq!(
                read(&[], &[("SERVICE_IGNORE", value)]).of_port(1).ignored(),
                ignored,
                "{value}"
            );
        }
        let one = read(&[], &[("SERVICE_443_IGNORE", "1")]);
        assert_eq!(
            (one.of_port(443).ignored(), one.of_port(80).ignored()),
            (true, false)
        );
    }

    #[test]
    fn tags_keep_their_order_and_escaped_commas() {
        let m = read(&[], &[("SERVICE_TAGS", "a,b\\,c,,d\\e")]);
        assert_eq!(m.of_port(1).tags(), ["a", "b,c", "d\\e"]);
    }

    #[test]
    fn the_rest_are_attributes() {
        let m = read(
            &[
                "SERVICE_REGION=us2",
                "SERVICE_80_CHECK_TTL=3s",
                "SERVICE_80=x",
            ],
            &[
                ("SERVICE_NAME", "n"),
                ("SERVICE_ID", "i"),
                ("SERVICE_TAGS", "t"),
                ("SERVICE_NETWORK", "n"),
            ],
        );
        let port = m.of_port(80);
        let all: Vec<_> = port.attributes().collect();
        assert_eq!(all, [("80", "x"), ("check_ttl", "3s"), ("region", "us2")]);
    }
}
