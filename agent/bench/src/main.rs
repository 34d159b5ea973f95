//! Lictor under load, beside something real in the same run.
//!
//! `cargo run --profile quick -p lictor-bench -- [--seconds N] [--rounds N] [--only NAME,…]`
//!
//! The server under test is bound to one processor and the load to another; everything is on
//! loopback. Absolute figures move with the machine and with whoever shares it, so each scenario
//! alternates between Lictor and its references, takes the median of the rounds and prints a ratio:
//! above 1 Lictor is faster, or takes less.
//!
//! The references: a warp handler that returns the same bytes from memory (this program, run as
//! `serve-bare`), nginx with the same bytes in a file, Knot and unbound with the same records, etcd
//! for durable writes, and the disk itself (`write` and `fdatasync`, nothing else). wrk and dnsperf
//! make the load. What is missing is named, and the scenario goes on without it.

mod bare;
mod client;
mod load;
mod peers;
mod process;
mod scenario;
mod table;
mod watch;

use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// What everything here may fail with: for people, and the end of the scenario.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Puts Lictor under load and prints how it compares.
#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    mode: Option<Mode>,
    /// The lictor binary.
    #[arg(long, env = "LICTOR_BIN", default_value = "target/release/lictor")]
    lictor: PathBuf,
    /// Seconds of load in each round.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Rounds; the median counts.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Only these scenarios, commas between.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Only these references, commas between.
    #[arg(long, value_delimiter = ',')]
    against: Vec<String>,
    /// The processor of the server and that of the load.
    #[arg(long, value_delimiter = ',', num_args = 2, default_values_t = [0, 1])]
    cores: Vec<usize>,
    /// A folder on the disk to measure; data is put into a new folder in it, removed afterwards.
    #[arg(long, default_value = "/var/tmp")]
    dir: PathBuf,
    /// Lists the scenarios and ends.
    #[arg(long)]
    list: bool,
}

#[derive(Subcommand)]
enum Mode {
    /// The bare warp handler: any GET returns the file, with `index=` in the query after the next
    /// `PUT /change`; any PUT is read and answered `true`.
    ServeBare {
        /// The port on 127.0.0.1.
        port: u16,
        /// What to return.
        file: PathBuf,
    },
}

fn main() -> ExitCode {
    let args = Args::parse();
    let outcome = match &args.mode {
        Some(Mode::ServeBare { port, file }) => bare::serve(*port, file),
        None => run(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lictor-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    if args.list {
        for scenario in scenario::ALL {
            println!("{:16} {:8} {}", scenario.name, scenario.unit, scenario.what);
        }
        return Ok(());
    }
    for name in &args.only {
        if !scenario::ALL.iter().any(|s| s.name == name) {
            return Err(format!("no scenario {name}; --list shows them").into());
        }
    }
    if !args.lictor.is_file() {
        return Err(format!(
            "no binary at {}: build it with `cargo build --release`, or name it with --lictor or \
             LICTOR_BIN",
            args.lictor.display()
        )
        .into());
    }
    let bench = process::Bench::new(
        &args.lictor,
        [args.cores[0], args.cores[1]],
        &args.dir,
        args.seconds,
        args.rounds,
        args.against.clone(),
    )?;
    println!("{}", bench.machine());
    table::head();
    let mut failed = 0;
    for scenario in scenario::ALL {
        if !args.only.is_empty() && !args.only.iter().any(|name| name == scenario.name) {
            continue;
        }
        match (scenario.run)(&bench) {
            Ok(rows) => table::rows(scenario, &rows),
            Err(error) => {
                failed += 1;
                println!("{:16} failed: {error}", scenario.name);
            }
        }
    }
    if failed > 0 {
        return Err(format!("{failed} scenarios failed").into());
    }
    Ok(())
}
