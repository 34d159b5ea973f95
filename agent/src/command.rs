//! The command line's ways into the agent: `agent`, `validate`, and the definitions in files.

use crate::load::Loader;
use crate::{addresses, entrypoint, local, registrator, run};
use lictor_cli::{ConfigFormat, Hooks};
use lictor_config::{FlagError, Flags, Format, flags, parse_agent_flags};
use lictor_wire::ServiceRequest;

/// Runs the command line and gives the exit code.
pub fn run(args: &[String], program: &str) -> i32 {
    let hooks = Hooks {
        agent: &|name, args| match name {
            "addresses" => addresses::run(args, program),
            "entrypoint" => entrypoint::run(args),
            "registrator" => registrator::run(args),
            _ => agent(args, program),
        },
        service_files: &service_files,
        validate: &validate,
    };
    lictor_cli::run(args, program, &hooks)
}

/// `lictor agent`
fn agent(args: &[String], program: &str) -> i32 {
    let flags = match parse_agent_flags(args) {
        Ok(flags) => flags,
        Err(FlagError::Help) => {
            println!("{}", flags::help(program));
            return 0;
        }
        Err(error) => {
            eprintln!("{error}");
            return 1;
        }
    };
    if let Err(text) = crate::random::available() {
        eprintln!("==> {text}");
        return 1;
    }
    let loader = Loader::new(flags);
    match loader.load() {
        Ok(loaded) => run::run(loaded, loader, program),
        Err(text) => {
            eprintln!("==> {text}");
            1
        }
    }
}

/// `lictor validate`: files and folders, as the agent would read them.
fn validate(paths: &[String], format: Option<ConfigFormat>) -> Result<Vec<String>, String> {
    let config_format = format.map(|f| match f {
        ConfigFormat::Hcl => Format::Hcl,
        ConfigFormat::Json => Format::Json,
    });
    let flags = Flags {
        config_paths: paths.to_vec(),
        config_format,
        ..Flags::default()
    };
    Loader::new(flags).load().map(|loaded| loaded.warnings)
}

/// The services that files define, for `services register` and `deregister`.
fn service_files(paths: &[String]) -> Result<Vec<ServiceRequest>, String> {
    // The mode needs nothing but the definitions: no data directory, no addresses.
    let flags = Flags {
        dev: true,
        config_paths: paths.to_vec(),
        ..Flags::default()
    };
    let services = Loader::new(flags).load()?.config.services;
    Ok(services.iter().map(local::service_from_file).collect())
}
