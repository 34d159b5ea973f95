//! The definition of a configuration key.
//!
//! Each key is defined once, in [`table::KEYS`] (and the keys inside service and check
//! definitions in [`table::SERVICE_KEYS`] and [`table::CHECK_KEYS`]). What a file may say, the
//! command line's flags, the environment's variables, defaults, the nearest-key hints and the
//! documentation all follow from that definition.

pub mod table;

use std::collections::BTreeMap;
use std::sync::OnceLock;

use strsim::{damerau_levenshtein, jaro_winkler};

/// What a key holds.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// `true` or `false`.
    Bool,
    /// A whole number.
    Int,
    /// Any number.
    Float,
    /// A port: 1 to 65535, anything below is off.
    Port,
    /// Text.
    Text,
    /// Text in Go's form of durations, `1h30m`.
    Duration,
    /// A list of texts.
    List,
    /// Texts by name.
    Map,
    /// Durations by name.
    DurationMap,
    /// Lists of texts by name.
    ListMap,
    /// Anything, passed on as it is.
    Any,
    /// A list of objects, passed on as they are.
    AnyList,
    /// One object with keys of its own.
    Object(fn() -> &'static Schema),
    /// A list of such objects.
    Objects(fn() -> &'static Schema),
    /// Such objects by name.
    ObjectMap(fn() -> &'static Schema),
}

impl Kind {
    /// The kind's name in documentation.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Bool => "bool",
            Kind::Int => "int",
            Kind::Float => "number",
            Kind::Port => "port",
            Kind::Text => "text",
            Kind::Duration => "duration",
            Kind::List => "list",
            Kind::Map => "map",
            Kind::DurationMap => "map of durations",
            Kind::ListMap => "map of lists",
            Kind::Any | Kind::Object(_) => "object",
            Kind::AnyList | Kind::Objects(_) => "list of objects",
            Kind::ObjectMap(_) => "map of objects",
        }
    }

    /// Values of several sources add up instead of replacing each other.
    pub fn adds_up(self) -> bool {
        matches!(self, Kind::List | Kind::AnyList | Kind::Objects(_))
    }
}

/// Whether Lictor does what the key asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// Yes.
    Full,
    /// The key is accepted and does nothing; the text says why.
    NoEffect(&'static str),
    /// Part of the service mesh: accepted whole, with one warning for all of them.
    Mesh,
    /// Part of Consul's enterprise edition: refused.
    Enterprise,
    /// Refused by name, unless the value is the default, or one of these (`|` between them).
    NotYet(&'static str),
    /// Another spelling of the named key; accepted with a warning.
    Renamed(&'static str),
}

/// One configuration key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Full name, parts joined by dots: `ports.http`.
    pub path: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// One sentence of documentation.
    pub help: &'static str,
    /// Default as text, as an environment variable would give it. `None`: nothing.
    pub default: Option<&'static str>,
    /// Default of dev mode where it differs.
    pub dev: Option<&'static str>,
    /// Default as documentation says it, where it depends on more.
    pub default_note: &'static str,
    /// Flag of the `agent` command, without dashes.
    pub flag: Option<&'static str>,
    /// Further flags that set it.
    pub flag_alias: Option<&'static str>,
    /// Other spellings of the last part of the path.
    pub aliases: &'static [&'static str],
    /// Whether Lictor does it.
    pub support: Support,
    /// A reload takes up a new value.
    pub reload: bool,
    /// The value must not be shown.
    pub secret: bool,
}

/// Starts the definition of a key.
pub const fn key(path: &'static str, kind: Kind, help: &'static str) -> Key {
    Key {
        path,
        kind,
        help,
        default: None,
        dev: None,
        default_note: "",
        flag: None,
        flag_alias: None,
        aliases: &[],
        support: Support::Full,
        reload: false,
        secret: false,
    }
}

impl Key {
    const fn flag(mut self, name: &'static str) -> Key {
        self.flag = Some(name);
        self
    }
    const fn flag_alias(mut self, name: &'static str) -> Key {
        self.flag_alias = Some(name);
        self
    }
    const fn default(mut self, text: &'static str) -> Key {
        self.default = Some(text);
        self
    }
    const fn dev(mut self, text: &'static str) -> Key {
        self.dev = Some(text);
        self
    }
    const fn note(mut self, text: &'static str) -> Key {
        self.default_note = text;
        self
    }
    const fn aliases(mut self, names: &'static [&'static str]) -> Key {
        self.aliases = names;
        self
    }
    const fn reload(mut self) -> Key {
        self.reload = true;
        self
    }
    const fn secret(mut self) -> Key {
        self.secret = true;
        self
    }
    const fn support(mut self, support: Support) -> Key {
        self.support = support;
        self
    }
    const fn mesh(self) -> Key {
        self.support(Support::Mesh)
    }
    const fn enterprise(self) -> Key {
        self.support(Support::Enterprise)
    }
    const fn not_yet(self, accepted: &'static str) -> Key {
        self.support(Support::NotYet(accepted))
    }
    const fn no_effect(self, reason: &'static str) -> Key {
        self.support(Support::NoEffect(reason))
    }
    const fn renamed(self, to: &'static str) -> Key {
        self.support(Support::Renamed(to))
    }

    /// Name of the environment variable that sets the key.
    pub fn env_name(&self) -> String {
        format!(
            "{}{}",
            crate::env::PREFIX,
            self.path.to_ascii_uppercase().replace('.', "__")
        )
    }

    /// Last part of the path.
    pub fn last_part(&self) -> &'static str {
        self.path.rsplit('.').next().unwrap_or(self.path)
    }
}

/// The keys of one sort of object, as a tree.
pub struct Schema {
    top: Fields,
    by_path: BTreeMap<&'static str, &'static Key>,
}

/// The keys directly in an object.
pub type Fields = BTreeMap<&'static str, Field>;

/// What a name in an object means.
pub enum Field {
    /// A key.
    Leaf(&'static Key),
    /// An object of further keys; the text is its path.
    Inner(Fields),
}

impl Schema {
    /// Builds the tree of a table of keys.
    fn new(keys: &'static [Key]) -> Schema {
        let mut top = Fields::new();
        let mut by_path = BTreeMap::new();
        for key in keys {
            by_path.insert(key.path, key);
            let mut fields = &mut top;
            let mut rest = key.path;
            while let Some((part, after)) = rest.split_once('.') {
                let field = fields
                    .entry(part)
                    .or_insert_with(|| Field::Inner(Fields::new()));
                let Field::Inner(inner) = field else {
                    // Two keys of the table contradict each other; a test reads the whole table.
                    unreachable!("{} lies inside a key that is no object", key.path)
                };
                fields = inner;
                rest = after;
            }
            fields.insert(rest, Field::Leaf(key));
        }
        Schema { top, by_path }
    }

    /// The agent's keys.
    pub fn agent() -> &'static Schema {
        static SCHEMA: OnceLock<Schema> = OnceLock::new();
        SCHEMA.get_or_init(|| Schema::new(table::KEYS))
    }

    /// The keys of a service definition.
    pub fn service() -> &'static Schema {
        static SCHEMA: OnceLock<Schema> = OnceLock::new();
        SCHEMA.get_or_init(|| Schema::new(table::SERVICE_KEYS))
    }

    /// The keys of a check definition.
    pub fn check() -> &'static Schema {
        static SCHEMA: OnceLock<Schema> = OnceLock::new();
        SCHEMA.get_or_init(|| Schema::new(table::CHECK_KEYS))
    }

    /// The keys of a tagged address.
    pub fn service_address() -> &'static Schema {
        static SCHEMA: OnceLock<Schema> = OnceLock::new();
        SCHEMA.get_or_init(|| Schema::new(table::SERVICE_ADDRESS_KEYS))
    }

    /// The names at the top.
    pub fn fields(&self) -> &Fields {
        &self.top
    }

    /// The key of a full path.
    pub fn key(&self, path: &str) -> Option<&'static Key> {
        self.by_path.get(path).copied()
    }

    /// All keys, by path.
    pub fn keys(&self) -> impl Iterator<Item = &'static Key> {
        self.by_path.values().copied()
    }
}

/// The name out of `names` that someone who wrote `given` most likely meant.
pub fn nearest<'a>(given: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let given = given.to_ascii_lowercase().replace('-', "_");
    let mut best: Option<(f64, &str)> = None;
    for name in names {
        let length = given.chars().count().max(name.chars().count()).max(1);
        #[allow(clippy::cast_precision_loss)] // names are short
        let likeness = 1.0 - damerau_levenshtein(&given, name) as f64 / length as f64;
        // Half a name or a common beginning also counts, a little less.
        let score = likeness.max(jaro_winkler(&given, name) - 0.25);
        if score >= 0.5 && best.is_none_or(|(other, _)| score > other) {
            best = Some((score, name));
        }
    }
    best.map(|(_, name)| name)
}

/// The key meant by an unknown name inside an object. At the top someone may have written a flag's
/// name (`http_port` for `ports.http`) or left the object out (`raft_multiplier`); else the nearest
/// name in the same object is meant, else the nearest of all.
pub fn nearest_key(fields: &Fields, path: &str, name: &str, schema: &Schema) -> Option<String> {
    let lower = name.to_ascii_lowercase().replace('-', "_");
    let flag_or_part = || {
        let named = |key: &&Key| key.flag.is_some_and(|flag| flag.replace('-', "_") == lower);
        let part = |key: &&Key| key.last_part() == lower;
        let find = |fits: &dyn Fn(&&Key) -> bool| {
            let usable = |key: &&'static Key| !matches!(key.support, Support::Renamed(_));
            schema
                .keys()
                .filter(usable)
                .find(|key| fits(key))
                .map(|key| key.path.to_string())
        };
        find(&named).or_else(|| find(&part))
    };
    let inside = || {
        let found = nearest(name, fields.keys().copied())?;
        Some(if path.is_empty() {
            found.to_string()
        } else {
            format!("{path}.{found}")
        })
    };
    let anywhere = || nearest(&lower, schema.keys().map(|key| key.path)).map(str::to_string);
    if fields.contains_key(lower.as_str()) || !path.is_empty() {
        inside().or_else(flag_or_part)
    } else {
        flag_or_part().or_else(inside).or_else(anywhere)
    }
}

/// All keys of the agent as a Markdown table, for the documentation.
pub fn markdown() -> String {
    table(
        "| key | type | default | flag | reload | meaning |\n| --- | --- | --- | --- | --- | --- |\n",
        Schema::agent(),
        |key| {
            let flag = key.flag.map(|flag| format!("`-{flag}`"));
            let reload = if key.reload { "yes" } else { "" };
            format!(" {} | {reload} |", flag.unwrap_or_default())
        },
    )
}

/// The keys of a service or a check, likewise.
fn markdown_of(schema: &'static Schema) -> String {
    let head = "| key | type | default | meaning |\n| --- | --- | --- | --- |\n";
    table(head, schema, |_| String::new())
}

/// A table of keys; `more` gives the columns between the default and the meaning.
fn table(head: &str, schema: &'static Schema, more: impl Fn(&Key) -> String) -> String {
    use std::fmt::Write as _;
    let mut out = head.to_owned();
    for key in schema.keys() {
        let default = match (key.default_note, key.default) {
            ("", Some(text)) => match key.dev {
                Some(dev) => format!("`{text}`; dev: `{dev}`"),
                None => format!("`{text}`"),
            },
            ("", None) => match key.dev {
                Some(dev) => format!("dev: `{dev}`"),
                None => String::new(),
            },
            (note, _) => note.to_string(),
        };
        let state = match key.support {
            Support::Full => String::new(),
            Support::NoEffect(reason) => format!(" Accepted, no effect: {reason}."),
            Support::Mesh if std::ptr::eq(schema, Schema::agent()) => {
                " Service mesh: accepted, ignored with a warning.".to_string()
            }
            Support::Mesh => " Service mesh: kept as given.".to_string(),
            Support::Enterprise => " Enterprise: refused.".to_string(),
            Support::NotYet(_) => " Not supported by this version.".to_string(),
            Support::Renamed(to) => format!(" Old name of `{to}`."),
        };
        let help = key.help.replace('|', "\\|");
        let _ = writeln!(
            out,
            "| `{}` | {} | {default} |{} {help}{state} |",
            key.path,
            key.kind.name(),
            more(key),
        );
    }
    out
}

/// The document with its tables of keys as they are now. They stand between the lines
/// `<!-- begin: keys -->` and `<!-- end: keys -->`, and likewise for `service keys` and
/// `check keys`; a pair that is missing is left out.
pub fn document(text: &str) -> String {
    let mut out = text.to_owned();
    for (name, table) in [
        ("keys", markdown()),
        ("service keys", markdown_of(Schema::service())),
        ("check keys", markdown_of(Schema::check())),
    ] {
        let (begin, end) = (
            format!("<!-- begin: {name} -->\n"),
            format!("<!-- end: {name} -->\n"),
        );
        let Some((before, rest)) = out.split_once(&begin) else {
            continue;
        };
        let Some((_, after)) = rest.split_once(&end) else {
            continue;
        };
        out = format!("{before}{begin}{table}{end}{after}");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_defined_once_and_has_help() {
        for (name, keys, schema) in [
            ("agent", table::KEYS, Schema::agent()),
            ("service", table::SERVICE_KEYS, Schema::service()),
            ("check", table::CHECK_KEYS, Schema::check()),
        ] {
            assert_eq!(
                schema.keys().count(),
                keys.len(),
                "a key of {name} is there twice"
            );
            for key in keys {
                assert!(key.help.ends_with('.'), "{}: a sentence", key.path);
                assert_eq!(key.path, key.path.to_ascii_lowercase());
                if let Support::Renamed(to) = key.support {
                    let target = schema
                        .key(to)
                        .unwrap_or_else(|| panic!("{} -> {to}", key.path));
                    assert_eq!(target.kind.name(), key.kind.name(), "{} -> {to}", key.path);
                }
            }
        }
    }

    #[test]
    fn flags_are_unique() {
        let mut seen = std::collections::BTreeSet::new();
        for key in Schema::agent().keys() {
            for flag in key.flag.iter().chain(key.flag_alias.iter()) {
                assert!(seen.insert(*flag), "-{flag} is there twice");
            }
        }
    }

    #[test]
    fn hints_name_the_nearest_key() {
        let schema = Schema::agent();
        let hint = |name: &str| nearest_key(schema.fields(), "", name, schema);
        for (given, meant) in [
            ("prots", "ports"),
            ("data-dir", "data_dir"),
            ("datadir", "data_dir"),
            ("datacentre", "datacenter"),
            ("retryjoin", "retry_join"),
            ("bootstrap_expected", "bootstrap_expect"),
            ("server_port", "ports.server"),
            ("http_port", "ports.http"),
            ("node", "node_name"),
        ] {
            assert_eq!(hint(given).as_deref(), Some(meant), "for {given}");
        }
        let Some(Field::Inner(ports)) = schema.fields().get("ports") else {
            panic!("an object")
        };
        assert_eq!(
            nearest_key(ports, "ports", "htpp", schema).as_deref(),
            Some("ports.http")
        );
        assert_eq!(hint("zzzzqqqq"), None);
    }

    #[test]
    fn the_markdown_table_names_every_key() {
        let text = markdown();
        assert_eq!(text.lines().count(), table::KEYS.len() + 2);
        assert!(
            text.contains("| `ports.http` | port | `8500` | `-http-port` |"),
            "{text}"
        );
    }

    /// What operators read is what the agent does. `cargo run -p lictor-config --example document`
    /// writes the tables anew.
    #[test]
    fn the_documentation_has_these_tables() {
        let text = include_str!("../../../../docs/configuration.md");
        for name in ["keys", "service keys", "check keys"] {
            let has = |mark: &str| text.matches(&format!("<!-- {mark}: {name} -->\n")).count();
            assert_eq!((has("begin"), has("end")), (1, 1), "{name}");
        }
        for (is, should) in text.lines().zip(document(text).lines()) {
            assert_eq!(is, should, "docs/configuration.md");
        }
        assert_eq!(text, document(text), "docs/configuration.md");
    }

    #[test]
    fn variables_follow_from_the_path() {
        let key = Schema::agent().key("ports.http").map(Key::env_name);
        assert_eq!(key.as_deref(), Some("LICTOR_CONFIG_PORTS__HTTP"));
    }
}
