//! Flags as Go's `flag` package reads them, in front of clap.
//!
//! Go takes `-name`, `-name=value`, `-name value` and the same with two dashes. A switch takes a
//! value only by `=`. The first word that is no flag ends the flags, and so does `--`. The pass
//! here turns that into the one form that clap reads without doubt (`--name=value`), and clap
//! does the rest: types, defaults, repetition.

use clap::error::{ContextKind, ContextValue, ErrorKind};
use std::any::TypeId;

/// Why the flags are not to be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Help was asked for.
    Help,
    /// Something is wrong, in Go's words.
    Wrong(String),
}

/// Whether a flag takes a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// On or off.
    Switch,
    /// One value.
    Value,
}

/// Splits `args` into flags, each as `--name=value`, and the words behind them. `kind` knows the
/// flags.
///
/// # Errors
/// [`Stop::Help`] for `-h`, `-help`; [`Stop::Wrong`] for what Go refuses.
pub fn split(
    args: &[String],
    kind: impl Fn(&str) -> Option<Kind>,
) -> Result<(Vec<String>, Vec<String>), Stop> {
    let mut flags = Vec::new();
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        if arg == "--" {
            break;
        }
        if arg.len() < 2 || !arg.starts_with('-') {
            let words = std::iter::once(arg).chain(rest).cloned().collect();
            return Ok((flags, words));
        }
        let bare = arg.strip_prefix("--").unwrap_or(&arg[1..]);
        if bare.is_empty() || bare.starts_with(['-', '=']) {
            return Err(Stop::Wrong(format!("bad flag syntax: {arg}")));
        }
        let (name, value) = match bare.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (bare, None),
        };
        let value = match (kind(name), value) {
            (None, _) if name == "h" || name == "help" => return Err(Stop::Help),
            (None, _) => {
                return Err(Stop::Wrong(format!(
                    "flag provided but not defined: -{name}"
                )));
            }
            (Some(Kind::Switch), None) => "true",
            (Some(Kind::Switch), Some(text)) => match lictor_client::parse_bool(text) {
                Some(true) => "true",
                Some(false) => "false",
                None => {
                    return Err(Stop::Wrong(format!(
                        "invalid boolean value {text:?} for -{name}: parse error"
                    )));
                }
            },
            (Some(Kind::Value), Some(text)) => text,
            (Some(Kind::Value), None) => match rest.next() {
                Some(next) => next,
                None => return Err(Stop::Wrong(format!("flag needs an argument: -{name}"))),
            },
        };
        flags.push(format!("--{name}={value}"));
    }
    Ok((flags, rest.cloned().collect()))
}

/// The clap command that has the fields of `A` as its flags. Fields of type `bool` are switches
/// and need `action = ArgAction::Set`.
pub fn command_of<A: clap::Args>() -> clap::Command {
    A::augment_args(clap::Command::new(""))
        .no_binary_name(true)
        .args_override_self(true)
        .disable_help_flag(true)
}

/// Reads the flags of `A` and gives the words behind them.
///
/// # Errors
/// As [`split`]; also values that do not fit, in Go's words.
pub fn parse<A: clap::Args>(args: &[String]) -> Result<(A, Vec<String>), Stop> {
    let command = command_of::<A>();
    let kind = |name: &str| {
        let arg = command
            .get_arguments()
            .find(|a| a.get_long() == Some(name))?;
        Some(kind_of(arg))
    };
    let (flags, words) = split(args, kind).map_err(|stop| match stop {
        Stop::Wrong(text) => match text.strip_prefix("flag provided but not defined: -") {
            Some(name) => {
                let near = nearest(name, command.get_arguments().filter_map(|a| a.get_long()));
                Stop::Wrong(
                    near.map(|n| format!("{text}\nDid you mean -{n}?"))
                        .unwrap_or(text),
                )
            }
            None => Stop::Wrong(text),
        },
        Stop::Help => Stop::Help,
    })?;
    let matches = command
        .try_get_matches_from(flags)
        .map_err(|err| Stop::Wrong(clap_error(&err)))?;
    A::from_arg_matches(&matches)
        .map(|flags| (flags, words))
        .map_err(|err| Stop::Wrong(clap_error(&err)))
}

/// Whether a flag takes a value.
pub fn kind_of(arg: &clap::Arg) -> Kind {
    if arg.get_value_parser().type_id() == TypeId::of::<bool>() {
        Kind::Switch
    } else {
        Kind::Value
    }
}

fn clap_error(err: &clap::Error) -> String {
    let text = |kind| match err.get(kind) {
        Some(ContextValue::String(s)) => s.clone(),
        _ => String::new(),
    };
    // Clap names a flag as "--port <PORT>".
    let named = text(ContextKind::InvalidArg);
    let name = named
        .trim_start_matches('-')
        .split([' ', '='])
        .next()
        .unwrap_or_default()
        .to_owned();
    match err.kind() {
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => {
            let why = std::error::Error::source(err)
                .map_or_else(|| "parse error".to_owned(), ToString::to_string);
            format!(
                "invalid value {:?} for flag -{name}: {why}",
                text(ContextKind::InvalidValue)
            )
        }
        _ => err.to_string(),
    }
}

/// The name that someone who typed `word` most likely meant, if one is near.
pub fn nearest<'n>(word: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    names
        .map(|name| (strsim::damerau_levenshtein(word, name), name))
        .filter(|(distance, name)| *distance <= 2.min(name.len() / 2))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ArgAction;

    #[derive(clap::Args, Debug, PartialEq)]
    struct Flags {
        #[arg(long, action = ArgAction::Set, default_value_t = false)]
        dev: bool,
        #[arg(long, action = ArgAction::Set, default_value_t = true)]
        shell: bool,
        #[arg(long)]
        http_port: Option<i32>,
        #[arg(long, default_value = "/")]
        separator: String,
        #[arg(long)]
        tag: Vec<String>,
    }

    fn read(args: &[&str]) -> Result<(Flags, Vec<String>), Stop> {
        parse(&args.iter().map(|a| (*a).to_owned()).collect::<Vec<_>>())
    }

    fn wrong(args: &[&str]) -> String {
        match read(args) {
            Err(Stop::Wrong(text)) => text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_spelling_of_go_is_read() {
        let (f, rest) = read(&[
            "-dev",
            "--shell=0",
            "-http-port",
            "-1",
            "-tag=a",
            "-tag",
            "-b",
            "x",
            "-dev=false",
        ])
        .unwrap();
        assert!(f.dev && !f.shell);
        assert_eq!(f.http_port, Some(-1));
        assert_eq!(f.tag, ["a", "-b"]);
        assert_eq!(rest, ["x", "-dev=false"]);
        let (f, rest) = read(&["-separator=", "--", "-dev"]).unwrap();
        assert_eq!(
            (f.separator.as_str(), f.dev, rest),
            ("", false, vec!["-dev".to_owned()])
        );
        let (f, rest) = read(&["-separator=a=b", "-"]).unwrap();
        assert_eq!((f.separator.as_str(), rest), ("a=b", vec!["-".to_owned()]));
    }

    #[test]
    fn the_last_of_a_repeated_flag_counts() {
        let (f, _) = read(&["-dev", "-dev=f", "-http-port=1", "-http-port=2"]).unwrap();
        assert_eq!((f.dev, f.http_port), (false, Some(2)));
    }

    #[test]
    fn errors_are_in_gos_words() {
        assert_eq!(
            wrong(&["-nothing-like-it"]),
            "flag provided but not defined: -nothing-like-it"
        );
        assert_eq!(
            wrong(&["-htp-port=1"]),
            "flag provided but not defined: -htp-port\nDid you mean -http-port?"
        );
        assert_eq!(
            wrong(&["-dev=maybe"]),
            "invalid boolean value \"maybe\" for -dev: parse error"
        );
        assert_eq!(wrong(&["-http-port"]), "flag needs an argument: -http-port");
        assert_eq!(wrong(&["---dev"]), "bad flag syntax: ---dev");
        assert_eq!(
            wrong(&["-http-port=x"]),
            "invalid value \"x\" for flag -http-port: invalid digit found in string"
        );
        assert_eq!(read(&["-h"]).unwrap_err(), Stop::Help);
        assert_eq!(read(&["--help"]).unwrap_err(), Stop::Help);
    }
}
