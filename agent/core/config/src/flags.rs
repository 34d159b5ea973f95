//! Flags of the `agent` command, in the dialect of Go's flag package.
//!
//! One dash or two; `-flag value` or `-flag=value`; a boolean takes a value only behind `=`; of a
//! repeated flag the last wins, save those that collect. Almost every flag is a configuration key,
//! so the table of keys defines them.

mod help;

pub use help::help;

use std::fmt;

use crate::env::item;
use crate::given::{Given, Item, Origin};
use crate::keys::{Key, Kind, Schema};
use crate::source::Format;

/// A flag of the `agent` command.
#[derive(Clone, Copy, Debug)]
pub struct Flag {
    /// Name without dashes.
    pub name: &'static str,
    /// Takes a value in any case; else it is a boolean.
    pub takes_value: bool,
    /// May be given several times, and all count.
    pub repeatable: bool,
    /// One sentence of help.
    pub help: &'static str,
    /// The key that it sets; `None` for the few that steer the reading of configuration.
    pub key: Option<&'static Key>,
}

/// Flags that are no configuration keys: name, takes a value, repeatable, help.
const OWN: [(&str, bool, bool, &str); 5] = [
    (
        "config-dir",
        true,
        true,
        "Directory to read configuration files from, in order of name.",
    ),
    (
        "config-file",
        true,
        true,
        "Configuration file, JSON or HCL, or a directory of such.",
    ),
    (
        "config-format",
        true,
        false,
        "Format of all configuration files, whatever their names: hcl or json.",
    ),
    (
        "dev",
        false,
        false,
        "Development mode: one server, everything in memory.",
    ),
    (
        "hcl",
        true,
        true,
        "Fragment of configuration in HCL, laid over files and flags.",
    ),
];

/// All flags, sorted by name.
pub fn all() -> Vec<Flag> {
    let mut flags: Vec<Flag> = OWN
        .iter()
        .map(|&(name, takes_value, repeatable, help)| Flag {
            name,
            takes_value,
            repeatable,
            help,
            key: None,
        })
        .collect();
    for key in Schema::agent().keys() {
        for name in key.flag.iter().chain(key.flag_alias.iter()) {
            flags.push(Flag {
                name,
                takes_value: !matches!(key.kind, Kind::Bool),
                repeatable: matches!(key.kind, Kind::List | Kind::Map),
                help: key.help,
                key: Some(key),
            });
        }
    }
    flags.sort_by_key(|flag| flag.name);
    flags
}

/// What the command line of `agent` said.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Flags {
    /// `-dev`
    pub dev: bool,
    /// `-config-file` and `-config-dir`, in order.
    pub config_paths: Vec<String>,
    /// `-config-format`
    pub config_format: Option<Format>,
    /// `-hcl`, in order.
    pub hcl: Vec<String>,
    /// Keys set by flags that collect; they stand before the files.
    pub lists: Given,
    /// Keys set by other flags; they are laid over files and environment.
    pub scalars: Given,
}

/// Why a command line is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FlagError {
    /// `-h` or `-help` was given.
    Help,
    /// There is no such flag.
    Unknown {
        /// Its name without dashes.
        name: String,
        /// The name that may have been meant.
        nearest: Option<&'static str>,
    },
    /// The flag's value is missing.
    NeedsValue(String),
    /// The value does not fit.
    BadValue {
        /// The flag's name.
        name: String,
        /// What was given.
        value: String,
        /// The flag is a boolean.
        boolean: bool,
    },
    /// An argument that is no flag in Go's syntax, such as `-=x`.
    Syntax(String),
    /// Arguments that are no flags.
    Arguments(Vec<String>),
    /// `-config-format` is neither `hcl` nor `json`.
    ConfigFormat,
}

impl fmt::Display for FlagError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FlagError::Help => f.write_str("help requested"),
            FlagError::Unknown { name, nearest } => {
                write!(f, "flag provided but not defined: -{name}")?;
                match nearest {
                    Some(nearest) => write!(f, " (did you mean -{nearest}?)"),
                    None => Ok(()),
                }
            }
            FlagError::NeedsValue(name) => write!(f, "flag needs an argument: -{name}"),
            FlagError::BadValue {
                name,
                value,
                boolean: true,
            } => {
                write!(
                    f,
                    "invalid boolean value {value:?} for -{name}: parse error"
                )
            }
            FlagError::BadValue {
                name,
                value,
                boolean: false,
            } => {
                write!(f, "invalid value {value:?} for flag -{name}: parse error")
            }
            FlagError::Syntax(argument) => write!(f, "bad flag syntax: {argument}"),
            FlagError::Arguments(arguments) => {
                write!(f, "Unexpected extra arguments: [{}]", arguments.join(" "))
            }
            FlagError::ConfigFormat => {
                f.write_str("config: -config-format must be either 'hcl' or 'json'")
            }
        }
    }
}

impl std::error::Error for FlagError {}

/// Reads the arguments behind `agent`.
///
/// # Errors
/// The first error; nothing is set then.
pub fn parse_agent_flags<I>(arguments: I) -> Result<Flags, FlagError>
where
    I: IntoIterator,
    I::Item: Into<String>,
{
    let known = all();
    let mut flags = Flags::default();
    let mut arguments = arguments.into_iter().map(Into::into);
    while let Some(argument) = arguments.next() {
        let bare = argument
            .strip_prefix("--")
            .or_else(|| argument.strip_prefix('-'));
        let bare = match bare {
            // A lone dash is an argument; two end the flags.
            Some("") if argument == "--" => {
                let rest: Vec<String> = arguments.collect();
                return if rest.is_empty() {
                    Ok(flags)
                } else {
                    Err(FlagError::Arguments(rest))
                };
            }
            None | Some("") => {
                let mut rest = vec![argument];
                rest.extend(arguments);
                return Err(FlagError::Arguments(rest));
            }
            Some(bare) => bare,
        };
        if bare.starts_with(['-', '=']) {
            return Err(FlagError::Syntax(argument));
        }
        let (name, value) = match bare.split_once('=') {
            Some((name, value)) => (name.to_string(), Some(value.to_string())),
            None => (bare.to_string(), None),
        };
        let Ok(at) = known.binary_search_by(|flag| flag.name.cmp(&name)) else {
            if name == "h" || name == "help" {
                return Err(FlagError::Help);
            }
            let nearest =
                crate::keys::nearest(&name.replace('-', "_"), known.iter().map(|f| f.name))
                    .or_else(|| crate::keys::nearest(&name, known.iter().map(|f| f.name)));
            return Err(FlagError::Unknown { name, nearest });
        };
        let flag = known[at];
        let value = match (flag.takes_value, value) {
            (false, None) => "true".to_string(),
            (_, Some(value)) => value,
            (true, None) => arguments.next().ok_or(FlagError::NeedsValue(name))?,
        };
        set(&mut flags, &flag, value)?;
    }
    Ok(flags)
}

fn set(flags: &mut Flags, flag: &Flag, value: String) -> Result<(), FlagError> {
    let boolean = !flag.takes_value;
    let bad = |value: String| FlagError::BadValue {
        name: flag.name.to_string(),
        value,
        boolean,
    };
    let Some(key) = flag.key else {
        match flag.name {
            "dev" => flags.dev = go_bool(&value).ok_or_else(|| bad(value))?,
            "hcl" => flags.hcl.push(value),
            "config-format" => {
                flags.config_format = Some(Format::named(&value).ok_or(FlagError::ConfigFormat)?);
            }
            _ => flags.config_paths.push(value),
        }
        return Ok(());
    };
    let source = format!("-{}", flag.name);
    let origin = Origin::of(source.as_str());
    let mut one = Given::default();
    match key.kind {
        Kind::Bool => one.set(
            key,
            Item::Bool(go_bool(&value).ok_or_else(|| bad(value))?),
            origin,
        ),
        Kind::Int | Kind::Port => one.set(
            key,
            Item::Int(go_int(&value).ok_or_else(|| bad(value))?),
            origin,
        ),
        // Each flag is one element, whatever it holds.
        Kind::List => one.set(key, Item::List(vec![value]), origin),
        Kind::Map => {
            let (name, value) = value.split_once(':').unwrap_or((&value, ""));
            let map = [(name.to_string(), value.to_string())].into();
            one.set(key, Item::Map(map), origin);
        }
        _ => match item(key, &value, &source) {
            Ok(Some(item)) => one.set(key, item, origin),
            Ok(None) => {}
            Err(_) => return Err(bad(value)),
        },
    }
    if key.kind.adds_up() {
        flags.lists.merge(one);
    } else {
        flags.scalars.merge(one);
    }
    Ok(())
}

/// Booleans as Go's flags read them.
fn go_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// Whole numbers as Go's flags read them: also hexadecimal, octal and binary.
fn go_int(text: &str) -> Option<i64> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    if digits.starts_with(['-', '+']) {
        return None;
    }
    let lower = digits.to_ascii_lowercase();
    let (base, digits) = match lower.as_bytes() {
        [b'0', b'x', ..] => (16, &lower[2..]),
        [b'0', b'b', ..] => (2, &lower[2..]),
        [b'0', b'o', ..] => (8, &lower[2..]),
        [b'0', _, ..] => (8, &lower[1..]),
        _ => (10, lower.as_str()),
    };
    i64::from_str_radix(&format!("{sign}{digits}"), base).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Flags, FlagError> {
        parse_agent_flags(arguments.iter().copied())
    }

    fn error(arguments: &[&str]) -> String {
        parse(arguments).expect_err("an error").to_string()
    }

    #[test]
    fn gos_dialect() {
        let flags = parse(&[
            "-dev",
            "--server=false",
            "-http-port",
            "1",
            "--http-port=0x2",
            "-node=n=1",
            "-retry-join",
            "a",
            "-retry-join=b,c",
            "-config-file",
            "x",
            "-config-dir=y",
            "-config-file=z",
            "-hcl",
            "a = 1",
            "-config-format=json",
            "-node-meta",
            "k:v:w",
            "-node-meta=l",
            "--",
        ])
        .expect("valid");
        assert!(flags.dev);
        assert_eq!(flags.config_paths, ["x", "y", "z"]);
        assert_eq!(flags.config_format, Some(Format::Json));
        assert_eq!(flags.hcl, ["a = 1"]);
        assert_eq!(flags.scalars.item("server"), Some(&Item::Bool(false)));
        assert_eq!(
            flags.scalars.item("ports.http"),
            Some(&Item::Int(2)),
            "the last wins"
        );
        assert_eq!(
            flags.scalars.item("node_name"),
            Some(&Item::Text("n=1".into()))
        );
        assert_eq!(
            flags.lists.item("retry_join"),
            Some(&Item::List(vec!["a".into(), "b,c".into()]))
        );
        let meta = [
            ("k".to_string(), "v:w".to_string()),
            ("l".to_string(), String::new()),
        ]
        .into();
        assert_eq!(flags.scalars.item("node_meta"), Some(&Item::Map(meta)));
        assert_eq!(
            parse(&["-http-port", "-1"]).map(|f| f.scalars.item("ports.http").cloned()),
            Ok(Some(Item::Int(-1)))
        );
    }

    #[test]
    fn errors_have_gos_texts() {
        assert_eq!(
            error(&["-no-such-flag"]),
            "flag provided but not defined: -no-such-flag"
        );
        assert_eq!(
            error(&["-dta-dir", "x"]),
            "flag provided but not defined: -dta-dir (did you mean -data-dir?)"
        );
        assert_eq!(error(&["-node"]), "flag needs an argument: -node");
        assert_eq!(
            error(&["-server=yes"]),
            "invalid boolean value \"yes\" for -server: parse error"
        );
        assert_eq!(
            error(&["-http-port", "x"]),
            "invalid value \"x\" for flag -http-port: parse error"
        );
        assert_eq!(
            error(&["-dev", "word", "-server"]),
            "Unexpected extra arguments: [word -server]"
        );
        assert_eq!(
            error(&["-server", "false"]),
            "Unexpected extra arguments: [false]"
        );
        assert_eq!(error(&["-=x"]), "bad flag syntax: -=x");
        assert_eq!(error(&["---x"]), "bad flag syntax: ---x");
        assert_eq!(
            error(&["-config-format=yaml"]),
            "config: -config-format must be either 'hcl' or 'json'"
        );
        assert_eq!(parse(&["-h"]), Err(FlagError::Help));
        assert_eq!(parse(&["--help"]), Err(FlagError::Help));
    }

    #[test]
    fn every_flag_of_tier_s_is_there() {
        let all = all();
        for name in [
            "advertise",
            "advertise-wan",
            "allow-write-http-from",
            "alt-domain",
            "auto-reload-config",
            "bind",
            "bootstrap",
            "bootstrap-expect",
            "check_output_max_size",
            "client",
            "config-dir",
            "config-file",
            "config-format",
            "data-dir",
            "datacenter",
            "default-query-time",
            "dev",
            "disable-host-node-id",
            "disable-keyring-file",
            "dns-port",
            "domain",
            "enable-local-script-checks",
            "enable-script-checks",
            "encrypt",
            "grpc-port",
            "grpc-tls-port",
            "hcl",
            "http-port",
            "https-port",
            "join",
            "join-wan",
            "leave-on-terminate",
            "log-file",
            "log-json",
            "log-level",
            "log-rotate-bytes",
            "log-rotate-duration",
            "log-rotate-max-files",
            "max-query-time",
            "node",
            "node-id",
            "node-meta",
            "non-voting-server",
            "pid-file",
            "primary-gateway",
            "protocol",
            "raft-protocol",
            "read-replica",
            "recursor",
            "rejoin",
            "retry-interval",
            "retry-interval-wan",
            "retry-join",
            "retry-join-wan",
            "retry-max",
            "retry-max-wan",
            "segment",
            "serf-lan-allowed-cidrs",
            "serf-lan-bind",
            "serf-lan-port",
            "serf-wan-allowed-cidrs",
            "serf-wan-bind",
            "serf-wan-port",
            "server",
            "server-port",
            "skip-leave-on-interrupt",
            "syslog",
            "ui",
            "ui-content-path",
            "ui-dir",
        ] {
            assert!(
                all.iter().any(|flag| flag.name == name),
                "-{name} is missing"
            );
        }
        assert!(all.windows(2).all(|pair| pair[0].name < pair[1].name));
    }
}
