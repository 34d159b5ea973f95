//! `lictor entrypoint`: the first process of a container, with the conventions of the `consul`
//! image: directories, variables, user, privileges. It runs nothing but this program.
//!
//! As process 1 it stays in front of the agent: it forwards signals and reaps what nobody waits
//! for. Anywhere else it becomes the agent.

use crate::privileges::{self, User};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command};

const DATA_DIR: &str = "/consul/data";
const CONFIG_DIR: &str = "/consul/config";
/// The user and group of the image.
const USER: User = User {
    uid: 100,
    gid: 1000,
};
const DOCKER_SOCKET: &str = "/var/run/docker.sock";

/// The variables that count: `LICTOR_X` before `CONSUL_X`, empty ones not at all.
struct Variables(BTreeMap<String, String>);

impl Variables {
    fn of(vars: impl Iterator<Item = (String, String)>) -> Variables {
        Variables(vars.filter(|(_, v)| !v.is_empty()).collect())
    }

    fn get(&self, name: &str) -> Option<&str> {
        let of = |prefix: &str| self.0.get(&format!("{prefix}_{name}")).map(String::as_str);
        of("LICTOR").or_else(|| of("CONSUL"))
    }
}

/// What is to be run, and what has to be done before.
#[derive(Debug, PartialEq, Eq)]
struct Plan {
    args: Vec<String>,
    /// Directories that the agent must be able to write.
    dirs: Vec<String>,
    /// A file to write: path and content.
    local_config: Option<(String, String)>,
    /// Who to become, unless that is switched off.
    user: Option<User>,
    /// Keep the right to ports below 1024.
    low_ports: bool,
}

/// The IPv4 address of an interface, by name.
type InterfaceAddress<'a> = &'a dyn Fn(&str) -> Option<IpAddr>;

impl Plan {
    /// # Errors
    /// A text for the operator.
    fn of(
        args: &[String],
        vars: &Variables,
        address: InterfaceAddress<'_>,
    ) -> Result<Plan, String> {
        let data = vars.get("DATA_DIR").unwrap_or(DATA_DIR).to_owned();
        let config = vars.get("CONFIG_DIR").unwrap_or(CONFIG_DIR).to_owned();
        let flag = |name: &str, key: &str| -> Result<Vec<String>, String> {
            if let Some(whole) = vars.get(key) {
                return Ok(whole.split_whitespace().map(str::to_owned).collect());
            }
            let Some(interface) = vars.get(&format!("{key}_INTERFACE")) else {
                return Ok(Vec::new());
            };
            match address(interface) {
                Some(address) => Ok(vec![format!("-{name}={address}")]),
                None => Err(format!(
                    "Could not find IP for interface '{interface}', exiting"
                )),
            }
        };
        let bind = flag("bind", "BIND")?;
        let client = flag("client", "CLIENT")?;
        let number = |key: &str, default: u32| match vars.get(key) {
            None => Ok(default),
            Some(text) => text
                .parse::<u32>()
                .map_err(|_| format!("{key}: {text:?} is no number of a user or group")),
        };
        let user = User {
            uid: number("UID", USER.uid)?,
            gid: number("GID", USER.gid)?,
        };
        let mut words: &[String] = args;
        if words
            .first()
            .is_some_and(|w| matches!(w.as_str(), "lictor" | "consul"))
        {
            words = &words[1..];
        }
        let agent = words.first().is_some_and(|w| w == "agent");
        let mut run: Vec<String> = Vec::new();
        if agent {
            run.push("agent".to_owned());
            run.push(format!("-data-dir={data}"));
            run.push(format!("-config-dir={config}"));
            run.extend(bind);
            run.extend(client);
            run.extend(words[1..].iter().cloned());
        } else {
            run.extend(words.iter().cloned());
        }
        Ok(Plan {
            args: run,
            dirs: if agent {
                vec![data, config.clone()]
            } else {
                Vec::new()
            },
            local_config: vars
                .get("LOCAL_CONFIG")
                .filter(|_| agent)
                .map(|text| (format!("{config}/local.json"), text.to_owned())),
            user: vars.get("DISABLE_PERM_MGMT").is_none().then_some(user),
            low_ports: vars.get("ALLOW_PRIVILEGED_PORTS").is_some(),
        })
    }
}

/// Runs the command and gives its exit code.
pub fn run(args: &[String]) -> i32 {
    let address = |name: &str| {
        let all = lictor_host::interfaces().ok()?;
        let found = all.into_iter().find(|i| i.name == name)?;
        let mut addresses = found.addresses.into_iter().map(|(address, _)| address);
        addresses.find(IpAddr::is_ipv4)
    };
    let plan = Plan::of(args, &Variables::of(std::env::vars()), &address);
    let plan = match plan.and_then(|plan| prepare(&plan).map(|()| plan)) {
        Ok(plan) => plan,
        Err(text) => {
            eprintln!("{text}");
            return 1;
        }
    };
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => {
            eprintln!("cannot find this program: {error}");
            return 1;
        }
    };
    let mut command = Command::new(program);
    command.arg0("lictor").args(&plan.args);
    if std::process::id() != 1 {
        let error = command.exec();
        eprintln!("cannot run the agent: {error}");
        return 1;
    }
    in_front_of(command)
}

/// Directories, files, user.
fn prepare(plan: &Plan) -> Result<(), String> {
    let root = privileges::is_root();
    for dir in &plan.dirs {
        std::fs::create_dir_all(dir).map_err(|e| format!("cannot make {dir}: {e}"))?;
        if let Some(user) = plan.user.filter(|_| root) {
            // Only the directory itself: what is in it is somebody's decision.
            let owner = std::fs::metadata(dir).map_err(|e| format!("{dir}: {e}"))?;
            if owner.uid() != user.uid {
                std::os::unix::fs::chown(dir, Some(user.uid), Some(user.gid))
                    .map_err(|e| format!("cannot give {dir} to user {}: {e}", user.uid))?;
            }
        }
    }
    if let Some((path, text)) = &plan.local_config {
        std::fs::write(path, text).map_err(|e| format!("cannot write {path}: {e}"))?;
    }
    if let Some(user) = plan.user.filter(|_| root) {
        // The daemon's socket belongs to a group whose number differs from host to host.
        let group = std::fs::metadata(Path::new(DOCKER_SOCKET))
            .ok()
            .map(|m| m.gid());
        privileges::become_user(user, group.as_slice(), plan.low_ports)
            .map_err(|e| format!("cannot become user {}: {e}", user.uid))?;
    }
    Ok(())
}

/// Process 1: starts the agent, forwards signals to it, reaps every process that ends, and ends as
/// the agent did.
fn in_front_of(mut command: Command) -> i32 {
    let signals = privileges::Signals::block();
    signals.let_through(&mut command);
    let child: Child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            eprintln!("cannot run the agent: {error}");
            return 1;
        }
    };
    let agent = child.id();
    loop {
        let signal = signals.wait();
        if signal != libc::SIGCHLD {
            privileges::send(agent, signal);
            continue;
        }
        while let Some((pid, status)) = privileges::reap() {
            if pid == agent {
                let status = std::process::ExitStatus::from_raw(status);
                return match (status.code(), status.signal()) {
                    (Some(code), _) => code,
                    (None, Some(signal)) => 128 + signal,
                    (None, None) => 1,
                };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(args: &[&str], vars: &[(&str, &str)]) -> Result<Plan, String> {
        let args: Vec<String> = args.iter().map(|a| (*a).to_owned()).collect();
        let vars = vars.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        Plan::of(&args, &Variables::of(vars), &|name| {
            (name == "eth0").then(|| "10.0.0.5".parse().unwrap())
        })
    }

    #[test]
    fn the_agent_gets_its_directories_and_addresses() {
        let p = plan(&["agent", "-dev"], &[]).unwrap();
        assert_eq!(
            p.args,
            [
                "agent",
                "-data-dir=/consul/data",
                "-config-dir=/consul/config",
                "-dev"
            ]
        );
        assert_eq!((p.user, p.low_ports), (Some(USER), false));
        let p = plan(
            &["consul", "agent", "-server"],
            &[
                ("CONSUL_BIND_INTERFACE", "eth0"),
                ("LICTOR_CLIENT", "-client=0.0.0.0"),
                ("CONSUL_CLIENT_INTERFACE", "none"),
                ("CONSUL_DATA_DIR", "/a"),
                ("LICTOR_DATA_DIR", "/b"),
                ("CONSUL_LOCAL_CONFIG", "{}"),
                ("CONSUL_UID", "7"),
                ("CONSUL_ALLOW_PRIVILEGED_PORTS", "yes"),
            ],
        )
        .unwrap();
        assert_eq!(
            p.args,
            [
                "agent",
                "-data-dir=/b",
                "-config-dir=/consul/config",
                "-bind=10.0.0.5",
                "-client=0.0.0.0",
                "-server"
            ]
        );
        assert_eq!(
            p.local_config,
            Some(("/consul/config/local.json".into(), "{}".into()))
        );
        assert_eq!(
            (p.user, p.low_ports),
            (Some(User { uid: 7, gid: 1000 }), true)
        );
        assert_eq!(
            plan(&["agent"], &[("CONSUL_DISABLE_PERM_MGMT", "1")])
                .unwrap()
                .user,
            None
        );
    }

    #[test]
    fn other_commands_are_passed_on_as_they_are() {
        assert_eq!(
            plan(&["members", "-wan"], &[]).unwrap().args,
            ["members", "-wan"]
        );
        assert_eq!(
            plan(&["-version"], &[("CONSUL_LOCAL_CONFIG", "{}")])
                .unwrap()
                .local_config,
            None
        );
    }

    #[test]
    fn an_interface_without_an_address_ends_the_start() {
        let text = plan(&["agent"], &[("CONSUL_BIND_INTERFACE", "eth9")]).unwrap_err();
        assert_eq!(text, "Could not find IP for interface 'eth9', exiting");
        assert!(plan(&["agent"], &[("CONSUL_UID", "root")]).is_err());
    }
}
