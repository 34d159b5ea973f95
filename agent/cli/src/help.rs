//! Help texts, laid out as Consul's users know them.

use crate::command::{Command, Group};
use crate::commands;
use crate::goflags::{self, Kind};
use crate::http_flags::HEADING;
use std::fmt::Write;

const WIDTH: usize = 72;

/// The list of all commands.
pub(crate) fn overview(program: &str) -> String {
    let mut rows: Vec<(&str, &str)> = commands::ALL
        .iter()
        .filter(|e| !e.name.contains(' '))
        .map(|e| (e.name, e.about))
        .chain(
            commands::GROUPS
                .iter()
                .filter(|g| !g.name.contains(' '))
                .map(|g| (g.name, g.about)),
        )
        .chain(commands::OF_AGENT)
        .collect();
    rows.sort_unstable();
    let mut out = format!(
        "Usage: {program} [--version] [--help] <command> [<args>]\n\nAvailable commands are:\n"
    );
    list(&mut out, &rows);
    out
}

/// What a group has, with an explanation.
pub(crate) fn group(program: &str, group: &Group) -> String {
    let prefix = format!("{} ", group.name);
    let mut rows: Vec<(&str, &str)> = commands::ALL
        .iter()
        .filter_map(|e| e.name.strip_prefix(&prefix).map(|name| (name, e.about)))
        .chain(
            commands::GROUPS
                .iter()
                .filter_map(|g| g.name.strip_prefix(&prefix).map(|name| (name, g.about))),
        )
        .filter(|(name, _)| !name.contains(' '))
        .collect();
    rows.sort_unstable();
    let mut out = format!(
        "Usage: {program} {} <subcommand> [options] [args]\n\n",
        group.name
    );
    out.push_str(&text(program, group.long));
    out.push_str("\n\nSubcommands:\n");
    list(&mut out, &rows);
    out
}

fn list(out: &mut String, rows: &[(&str, &str)]) {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, about) in rows {
        let _ = writeln!(out, "    {name:width$}    {about}");
    }
    out.truncate(out.trim_end().len());
}

/// A command's help.
pub(crate) fn command<C: Command>(program: &str) -> String {
    let mut out = format!("Usage: {program} {} {}", C::NAME, C::USAGE)
        .trim_end()
        .to_owned();
    out.push_str("\n\n");
    out.push_str(&text(program, C::LONG));
    flags::<C>(&mut out);
    out
}

/// Appends the flags of `A` under their headings.
pub fn flags<A: clap::Args>(out: &mut String) {
    let command = goflags::command_of::<A>();
    for heading in [HEADING, "Command Options"] {
        let mut args: Vec<&clap::Arg> = command
            .get_arguments()
            .filter(|a| {
                (a.get_help_heading() == Some(HEADING)) == (heading == HEADING) && !a.is_hide_set()
            })
            .collect();
        args.sort_by_key(|a| a.get_long());
        if args.is_empty() {
            continue;
        }
        let _ = write!(out, "\n\n{heading}");
        for arg in args {
            let Some(name) = arg.get_long() else { continue };
            match goflags::kind_of(arg) {
                Kind::Switch => {
                    let _ = write!(out, "\n\n  -{name}");
                }
                Kind::Value => {
                    let what = arg
                        .get_value_names()
                        .and_then(|n| n.first())
                        .map_or("value", |n| n.as_str());
                    let what = if what.chars().any(char::is_lowercase) {
                        what
                    } else {
                        "value"
                    };
                    let _ = write!(out, "\n\n  -{name}=<{what}>");
                }
            }
            let mut words = arg.get_help().map(ToString::to_string).unwrap_or_default();
            if !words.is_empty() && !words.ends_with('.') {
                words.push('.');
            }
            let default = arg
                .get_default_values()
                .first()
                .and_then(|v| v.to_str())
                .unwrap_or_default();
            if !default.is_empty() && default != "false" {
                let _ = write!(words, " The default is {default}.");
            }
            for line in wrap(&words, WIDTH - 5) {
                let _ = write!(out, "\n     {line}");
            }
        }
    }
}

/// Paragraphs indented by two and wrapped; lines that begin with blanks stay as they are.
fn text(program: &str, raw: &str) -> String {
    let raw = raw.replace("{p}", program);
    let mut out: Vec<String> = Vec::new();
    for paragraph in raw.split("\n\n") {
        if !out.is_empty() {
            out.push(String::new());
        }
        if paragraph.starts_with(' ') {
            out.extend(paragraph.lines().map(|l| format!("  {l}")));
        } else {
            let joined = paragraph.lines().collect::<Vec<_>>().join(" ");
            out.extend(wrap(&joined, WIDTH).into_iter().map(|l| format!("  {l}")));
        }
    }
    out.join("\n")
}

fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("there is always a last line");
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
            lines.push(word.to_owned());
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}
