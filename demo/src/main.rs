//! `lictor-demo`: a server that keeps moving to another port, a client that finds it each time,
//! and `up`, which shows both with an agent in one terminal.
//!
//! What is decided (protocols, choices, schedules, counts, DNS messages) is pure and stands in
//! modules of its own; `server`, `client`, `resolver`, `agent` and `up` do the talking.

mod agent;
mod choose;
mod client;
mod message;
mod protocol;
mod random;
mod resolver;
mod schedule;
mod server;
mod settings;
mod tally;
mod towards;
mod transcript;
mod up;

use lictor_cli::goflags::{self, Stop};
use settings::{ClientArgs, ServerArgs, UpArgs};
use std::process::ExitCode;
use std::sync::Arc;
use tokio::sync::watch;
use transcript::Transcript;

const USAGE: &str = "\
Usage: lictor-demo <command> [options]

  up       an agent, two servers and a client in one terminal, until Ctrl-C
  server   listens on a random port, registers itself, and moves every few seconds
  client   looks the server up by DNS and HTTP in turn and talks to it

Every option is also an environment variable: -count=10 is LICTOR_DEMO_COUNT=10.
Where the agent is can also be said by CONSUL_HTTP_ADDR, as for every client.
\"lictor-demo <command> -help\" lists the options of a command.";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args_os()
        .skip(1)
        .map(|a| a.to_string_lossy().into_owned())
        .collect();
    let (command, rest) = match args.split_first() {
        Some((command, rest)) => (command.as_str(), rest),
        None => ("", &args[..]),
    };
    let run = match command {
        "server" => read::<ServerArgs>("server", rest).and_then(|args| start(Demo::Server(args))),
        "client" => read::<ClientArgs>("client", rest).and_then(|args| start(Demo::Client(args))),
        "up" => read::<UpArgs>("up", rest).and_then(|args| start(Demo::Up(args))),
        "-h" | "-help" | "--help" => {
            println!("{USAGE}");
            Ok(ExitCode::SUCCESS)
        }
        "-v" | "-version" | "--version" | "version" => {
            println!("lictor-demo v{}", env!("CARGO_PKG_VERSION"));
            Ok(ExitCode::SUCCESS)
        }
        "" => Err(USAGE.to_owned()),
        other => Err(format!("There is no command {other:?}.\n\n{USAGE}")),
    };
    match run {
        Ok(code) => code,
        Err(text) if text.is_empty() => ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("{text}");
            ExitCode::FAILURE
        }
    }
}

/// The flags of a command. Help has been printed if the error is empty.
fn read<A: clap::Args>(command: &str, args: &[String]) -> Result<A, String> {
    match goflags::parse::<A>(args) {
        Ok((parsed, words)) if words.is_empty() => Ok(parsed),
        Ok((_, words)) => Err(format!(
            "lictor-demo {command} takes no words, but got {:?}",
            words[0]
        )),
        Err(Stop::Help) => {
            println!("{}", help::<A>(command));
            Err(String::new())
        }
        Err(Stop::Wrong(text)) => Err(format!("{text}\n{}", help::<A>(command))),
    }
}

fn help<A: clap::Args>(command: &str) -> String {
    let mut text = format!("Usage: lictor-demo {command} [options]");
    lictor_cli::append_flags_help::<A>(&mut text);
    text
}

enum Demo {
    Server(ServerArgs),
    Client(ClientArgs),
    Up(UpArgs),
}

fn start(demo: Demo) -> Result<ExitCode, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|err| format!("cannot start: {err}"))?;
    runtime.block_on(run(demo))
}

async fn run(demo: Demo) -> Result<ExitCode, String> {
    let env: Vec<(String, String)> = std::env::vars_os()
        .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)))
        .collect();
    let stop = stop_on_signals()?;
    match demo {
        Demo::Server(args) => {
            let mut settings = args.resolve(&env)?;
            let log = Arc::new(Transcript::to_stdout(settings.common.color));
            let client = settings.common.client(&env)?;
            if settings.server.address == "auto" {
                settings.server.address = towards::own_address(client.base_url()).await?;
            }
            let summary = server::run("server", settings.server, client, log.clone(), stop).await;
            log.note("server", &summary.to_string());
            Ok(ExitCode::SUCCESS)
        }
        Demo::Client(args) => {
            let settings = args.resolve(&env)?;
            let log = Arc::new(Transcript::to_stdout(settings.common.color));
            let client = settings.common.client(&env)?;
            let strict = settings.client.strict;
            let tally = client::run(settings.client, client, log.clone(), stop).await;
            log.note("client", &tally.summary());
            Ok(if strict && tally.failed() > 0 {
                ExitCode::FAILURE
            } else {
                ExitCode::SUCCESS
            })
        }
        Demo::Up(args) => up::run(args.resolve(&env)?, &env, stop).await,
    }
}

/// Becomes true on SIGINT or SIGTERM.
fn stop_on_signals() -> Result<watch::Receiver<bool>, String> {
    use tokio::signal::unix::{SignalKind, signal};
    let listen = |kind| signal(kind).map_err(|err| format!("cannot wait for signals: {err}"));
    let (mut interrupt, mut terminate) = (
        listen(SignalKind::interrupt())?,
        listen(SignalKind::terminate())?,
    );
    let (tell, told) = watch::channel(false);
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        let _ = tell.send(true);
        // Kept, so that receivers never take its end for a signal.
        tell.closed().await;
    });
    Ok(told)
}
