//! The help of the `agent` command.

use super::{Flag, all};
use crate::keys::{Kind, Schema, Support};

/// The help of the `agent` command, in the form of Go's commands. `program` is the name that it was
/// called by.
pub fn help(program: &str) -> String {
    use std::fmt::Write as _;
    let mut out = format!(
        "Usage: {program} agent [options]

  Runs an agent until it is told to end. One for a look, all in memory:

    $ {program} agent -dev

  A server that keeps its data:

    $ {program} agent -server -bootstrap-expect=1 -data-dir=/var/lib/{program}

  Most flags are keys of the configuration, which may also stand in files
  (-config-dir) and in variables (LICTOR_CONFIG_...). Flags win.

Options:
"
    );
    for flag in all() {
        let value = if flag.takes_value {
            format!("=<{}>", value_word(&flag))
        } else {
            String::new()
        };
        let _ = write!(out, "\n  -{}{value}\n", flag.name);
        for line in wrap(&sentences(&flag), 72) {
            let _ = writeln!(out, "     {line}");
        }
    }
    out.truncate(out.trim_end().len());
    out
}

/// What stands for the value of a flag.
fn value_word(flag: &Flag) -> &'static str {
    let Some(key) = flag.key else {
        return match flag.name {
            "config-format" => "format",
            "hcl" => "fragment",
            _ => "path",
        };
    };
    match key.kind {
        Kind::Port => "port",
        Kind::Duration => "duration",
        Kind::Int | Kind::Float => "number",
        Kind::Map => "key:value",
        _ if key.path.contains("addr") || key.path.contains("join") => "address",
        _ if key.path.ends_with("_dir") || key.path.ends_with("_file") => "path",
        _ => "value",
    }
}

/// What is said of a flag.
fn sentences(flag: &Flag) -> String {
    let mut text = flag.help.replace('`', "");
    if flag.repeatable {
        text.push_str(" May be given several times.");
    }
    let Some(key) = flag.key else { return text };
    match (key.default_note, key.default) {
        ("", Some("" | "false")) | ("", None) => {}
        ("", Some(default)) => text.push_str(&format!(" The default is {default}.")),
        (note, _) => text.push_str(&format!(" The default: {}.", note.replace('`', ""))),
    }
    match key.support {
        Support::Full => {}
        Support::NoEffect(reason) => text.push_str(&format!(" Has no effect: {reason}.")),
        Support::Mesh => text.push_str(" For the service mesh: accepted, without effect."),
        Support::Enterprise => text.push_str(" Only for Consul Enterprise: refused."),
        Support::NotYet(_) => text.push_str(" Not supported by this version."),
        Support::Renamed(to) => {
            let now = Schema::agent().key(to).and_then(|key| key.flag);
            match now {
                Some(now) => text.push_str(&format!(" An old name of -{now}.")),
                None => text.push_str(&format!(" An old name of the key {to}.")),
            }
        }
    }
    text
}

fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_says_what_it_is_and_what_becomes_of_it() {
        let text = help("consul");
        assert!(
            text.starts_with("Usage: consul agent [options]\n"),
            "{text}"
        );
        assert!(text.lines().all(|l| l.chars().count() <= 80), "{text}");
        for flag in all() {
            let about = text.split_once(&format!("\n  -{}", flag.name));
            let about = about.map(|(_, rest)| rest.split("\n\n").next().unwrap_or_default());
            assert!(
                about.is_some_and(|a| a.contains("\n     ")),
                "-{}",
                flag.name
            );
        }
        for part in [
            "\n  -http-port=<port>\n     Port of HTTP. The default is 8500.\n",
            "\n  -retry-join=<address>\n",
            "\n  -dev\n",
            "Only for Consul Enterprise: refused.",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains('`'), "{text}");
    }
}
