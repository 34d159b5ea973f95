//! The command line: every command but the agent itself.
//!
//! Commands are clients of an agent's HTTP API. Their flags, columns, texts and exit codes are
//! Consul's, because scripts depend on them; help and advice are our own. [`run`] is the way in.
//! What a command needs from its surroundings (output, input, environment, and the parts of the
//! agent that it cannot know) comes in a [`Cx`], so that all of it runs in a test.

mod command;
mod commands;
mod cx;
pub mod goflags;
mod help;
mod http_flags;
mod table;

pub use commands::version::{BUILD_DATE, COMPATIBLE_VERSION, VERSION, metadata};
pub use cx::{ConfigFormat, Cx, Hooks};
pub use help::flags as append_flags_help;

use command::{Entry, Group};
use std::io::Write;

/// The exit status for no command, and for one that does not exist.
pub const EXIT_NO_COMMAND: i32 = 127;

/// Runs the command line with this process's streams and environment and gives the exit status.
/// `args` are those after the program's name; `program` is the name it was called by, which help
/// texts repeat.
pub fn run(args: &[String], program: &str, hooks: &Hooks<'_>) -> i32 {
    // Whoever reads our output may stop early, as `head` does: then writes fail, and are ignored.
    let mut out = std::io::BufWriter::new(std::io::stdout());
    let mut err = std::io::stderr();
    let mut input = std::io::stdin();
    let mut cx = Cx {
        program,
        out: &mut out,
        err: &mut err,
        input: &mut input,
        env: &|name| std::env::var(name).ok(),
        hooks,
    };
    let code = dispatch(args, &mut cx);
    let _ = out.flush();
    code
}

/// What the words in front of the flags ask for.
enum Asked<'a> {
    Nothing,
    Version,
    Help,
    /// A command of the agent, and the words behind it.
    Agent(&'static str, &'a [String]),
    Group(&'static Group),
    Command(&'static Entry, &'a [String]),
    Unknown(&'a str),
    /// Flags in front of the command.
    Misplaced,
}

fn is_help(arg: &str) -> bool {
    matches!(arg, "-h" | "-help" | "--help")
}

fn asked(args: &[String]) -> Asked<'_> {
    let mut flags_before = false;
    let mut help = false;
    for (at, arg) in args.iter().enumerate() {
        match arg.as_str() {
            "--" => break,
            a if is_help(a) => help = true,
            "-v" | "-version" | "--version" => return Asked::Version,
            a if a.starts_with('-') => flags_before = true,
            _ if flags_before => return Asked::Misplaced,
            _ => {
                let words = &args[at..];
                return match find(words) {
                    Asked::Agent(name, rest) => Asked::Agent(name, rest),
                    Asked::Unknown(_) if help => Asked::Help,
                    other => other,
                };
            }
        }
    }
    match (help, flags_before) {
        (true, _) => Asked::Help,
        (false, true) => Asked::Misplaced,
        (false, false) => Asked::Nothing,
    }
}

/// The longest command that the words begin with.
fn find(words: &[String]) -> Asked<'_> {
    if let Some((name, _)) = commands::OF_AGENT
        .iter()
        .find(|(name, _)| *name == words[0])
    {
        return Asked::Agent(name, &words[1..]);
    }
    for length in [3, 2, 1] {
        let Some(first) = words.get(..length) else {
            continue;
        };
        let name = first.join(" ");
        if let Some(entry) = commands::ALL.iter().find(|e| e.name == name) {
            return Asked::Command(entry, &words[length..]);
        }
        if let Some(group) = commands::GROUPS.iter().find(|g| g.name == name) {
            return Asked::Group(group);
        }
    }
    Asked::Unknown(&words[0])
}

/// Does what `args` ask for.
pub fn dispatch(args: &[String], cx: &mut Cx<'_>) -> i32 {
    // As in Consul's command line, a request for help anywhere before `--` is one.
    let help = args.iter().take_while(|a| *a != "--").any(|a| is_help(a));
    match asked(args) {
        Asked::Version => commands::version::print(cx),
        Asked::Help => {
            let text = help::overview(cx.program);
            cx.say(text);
            0
        }
        Asked::Agent(name, rest) => {
            let _ = cx.out.flush();
            (cx.hooks.agent)(name, rest)
        }
        Asked::Command(entry, _) if help => {
            let text = (entry.help)(cx.program);
            cx.say(text);
            0
        }
        Asked::Command(entry, rest) => (entry.run)(cx, rest),
        Asked::Group(group) => {
            let text = help::group(cx.program, group);
            if help {
                cx.say(text);
                0
            } else {
                cx.complain(text);
                1
            }
        }
        Asked::Misplaced => {
            let text = help::overview(cx.program);
            cx.complain("Flags belong behind the command that they are for.\n");
            cx.complain(text);
            1
        }
        Asked::Nothing => {
            let text = help::overview(cx.program);
            cx.complain(text);
            EXIT_NO_COMMAND
        }
        Asked::Unknown(word) => {
            let text = help::overview(cx.program);
            cx.complain(text);
            let names = commands::ALL
                .iter()
                .map(|e| e.name)
                .chain(commands::GROUPS.iter().map(|g| g.name));
            let near = goflags::nearest(
                word,
                names.chain(commands::OF_AGENT.iter().map(|(name, _)| *name)),
            );
            let advice = near
                .map(|n| format!(" Did you mean {n:?}?"))
                .unwrap_or_default();
            cx.complain(format!("\nThere is no command {word:?}.{advice}"));
            EXIT_NO_COMMAND
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::cx::testing::Ran;

    #[test]
    fn no_command_and_an_unknown_one_print_help_and_end_with_127() {
        let ran = Ran::without_agent(&[]);
        assert_eq!((ran.code, ran.out.as_str()), (127, ""));
        assert!(
            ran.err
                .starts_with("Usage: lictor [--version] [--help] <command> [<args>]"),
            "{}",
            ran.err
        );
        let ran = Ran::without_agent(&["membrs"]);
        assert_eq!(ran.code, 127);
        assert!(
            ran.err
                .ends_with("There is no command \"membrs\". Did you mean \"members\"?\n"),
            "{}",
            ran.err
        );
    }

    #[test]
    fn help_goes_to_stdout_and_succeeds() {
        for args in [
            &["--help"][..],
            &["-h"],
            &["kv", "-h"],
            &["kv", "get", "-h"],
            &["kv", "put", "a", "-help"],
        ] {
            let ran = Ran::without_agent(args);
            assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{args:?}");
            assert!(ran.out.starts_with("Usage: lictor "), "{args:?}");
        }
    }

    #[test]
    fn a_group_alone_fails_with_its_help() {
        let ran = Ran::without_agent(&["kv"]);
        assert_eq!((ran.code, ran.out.as_str()), (1, ""));
        assert!(
            ran.err.starts_with("Usage: lictor kv <subcommand>"),
            "{}",
            ran.err
        );
        for name in ["delete", "export", "get", "import", "put"] {
            assert!(ran.err.contains(&format!("\n    {name} ")), "{name}");
        }
    }

    #[test]
    fn an_unknown_flag_is_named_with_the_nearest() {
        let ran = Ran::without_agent(&["members", "-detaild"]);
        assert_eq!(ran.code, 1);
        assert!(
            ran.err
                .starts_with("flag provided but not defined: -detaild\n"),
            "{}",
            ran.err
        );
        assert!(ran.err.contains("Did you mean -detailed?"), "{}", ran.err);
    }

    #[test]
    fn the_agent_gets_its_words_as_they_are() {
        let ran = Ran::without_agent(&["agent", "-dev", "-h"]);
        assert_eq!(
            (ran.code, ran.agent_args.as_slice()),
            (42, &["-dev".to_owned(), "-h".to_owned()][..])
        );
    }

    #[test]
    fn flags_in_front_of_the_command_are_refused() {
        let ran = Ran::without_agent(&["-token=x", "members"]);
        assert_eq!(ran.code, 1);
        assert!(ran.err.starts_with("Flags belong behind"), "{}", ran.err);
    }

    /// What the documentation says is there is there, and nothing else.
    #[test]
    fn the_documentation_names_the_commands() {
        let text = include_str!("../../../docs/compatibility.md");
        let table = text.split_once("| there | not there |").unwrap().1;
        let row = table.lines().nth(2).unwrap();
        let mut columns = row.trim_matches('|').split('|').map(|column| {
            let names = column.split('`').skip(1).step_by(2);
            names.map(str::to_owned).collect::<Vec<_>>()
        });
        let (there, missing) = (columns.next().unwrap(), columns.next().unwrap());
        let mut all: Vec<_> = crate::commands::ALL.iter().map(|e| e.name).collect();
        all.extend(crate::commands::OF_AGENT.map(|(name, _)| name));
        all.sort_unstable();
        assert_eq!(there, all);
        for name in missing {
            let words: Vec<String> = name.split(' ').map(str::to_owned).collect();
            assert!(
                !matches!(super::find(&words), super::Asked::Command(..)),
                "{name} is there"
            );
        }
    }

    /// Every line of the overview is a command or a group that answers.
    #[test]
    fn the_overview_lists_what_exists() {
        let overview = crate::help::overview("lictor");
        let list = overview.split_once("Available commands are:\n").unwrap().1;
        let listed: Vec<&str> = list
            .lines()
            .map(|l| l.split_whitespace().next().unwrap())
            .collect();
        let names = crate::commands::ALL.iter().map(|e| e.name);
        let names = names.chain(crate::commands::GROUPS.iter().map(|g| g.name));
        let mut first: Vec<&str> = names.filter_map(|n| n.split(' ').next()).collect();
        first.extend(crate::commands::OF_AGENT.map(|(name, _)| name));
        first.sort_unstable();
        first.dedup();
        assert_eq!(listed, first);
        for name in listed {
            let ran = Ran::without_agent(&[name, "-h"]);
            assert!([0, 42].contains(&ran.code), "{name}");
        }
    }

    #[test]
    fn every_command_has_help_that_names_its_flags() {
        for entry in crate::commands::ALL {
            let text = (entry.help)("consul");
            assert!(
                text.starts_with(&format!("Usage: consul {}", entry.name)),
                "{text}"
            );
            assert!(!text.contains("{p}") && !text.contains("--"), "{text}");
            assert!(text.lines().all(|l| l.chars().count() <= 80), "{text}");
        }
    }
}
