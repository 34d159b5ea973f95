//! What a command is: its name, its words and its run.

use crate::cx::Cx;
use crate::goflags::{self, Stop};
use crate::help;

/// A command of the command line. Its flags are the fields of the type.
pub(crate) trait Command: clap::Args + Sized {
    /// The words that call it.
    const NAME: &'static str;
    /// What follows them, for the first line of its help.
    const USAGE: &'static str;
    /// One line for the list of commands.
    const ABOUT: &'static str;
    /// Its help; `{p}` stands for the program's name.
    const LONG: &'static str;

    /// Does it; `args` are the words behind the flags. Gives the exit status.
    async fn run(self, args: Vec<String>, cx: &mut Cx<'_>) -> i32;
}

/// A command in the list of all.
pub(crate) struct Entry {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) help: fn(&str) -> String,
    pub(crate) run: fn(&mut Cx<'_>, &[String]) -> i32,
}

/// A name that only stands in front of others.
pub(crate) struct Group {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) long: &'static str,
}

pub(crate) const fn entry<C: Command>() -> Entry {
    Entry {
        name: C::NAME,
        about: C::ABOUT,
        help: help::command::<C>,
        run: run::<C>,
    }
}

fn run<C: Command>(cx: &mut Cx<'_>, args: &[String]) -> i32 {
    let (command, rest) = match goflags::parse::<C>(args) {
        Ok(parsed) => parsed,
        Err(Stop::Help) => {
            let text = help::command::<C>(cx.program);
            cx.say(text);
            return 0;
        }
        Err(Stop::Wrong(text)) => {
            let help = help::command::<C>(cx.program);
            cx.complain(text);
            cx.complain(help);
            return 1;
        }
    };
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(err) => {
            cx.complain(format!("Error starting: {err}"));
            return 1;
        }
    };
    runtime.block_on(command.run(rest, cx))
}
