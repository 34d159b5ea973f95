//! `lictor registrator`: registers the containers of a daemon with an agent over HTTP, with
//! Registrator's flags, arguments, names and ids.

use clap::{ArgAction, Args};
use lictor_cli::goflags::{self, Stop};
use lictor_client::{Client, ClientConfig, ServiceEntry};
use lictor_container::{Action, Deregister, Held, HostAddress, Mode, Settings, is_generated_id};
use lictor_docker::{BoxFuture, Options, Registry, Watcher, metadata};
use lictor_wire::Str;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

const USAGE: &str = "\
Usage: lictor registrator [options] <registry URI>

  Registers the containers of a Docker daemon with an agent, as Registrator does:
  its flags, labels, names and ids. The URI is consul://host:port,
  consul-unix:///path or consul-tls://host:port; without a host it is
  127.0.0.1:8500. An agent does all of it by itself with -docker.

  The daemon is that of DOCKER_HOST, else the one at /tmp/docker.sock or
  /var/run/docker.sock.";

/// Registrator's flags.
#[derive(Args, Debug, Default)]
struct Flags {
    /// Register containers' own addresses and exposed ports.
    #[arg(long, action = ArgAction::Set, default_value_t = false)]
    internal: bool,
    /// The host's address, for all published ports.
    #[arg(long, value_name = "address")]
    ip: Option<String>,
    /// The label that holds a container's address.
    #[arg(long = "useIpFromLabel", value_name = "label")]
    use_ip_from_label: Option<String>,
    /// Only containers that have a service name.
    #[arg(long, action = ArgAction::Set, default_value_t = false)]
    explicit: bool,
    /// Tags of every service, commas between them. Templates are not supported.
    #[arg(long, value_name = "tags")]
    tags: Option<String>,
    /// Seconds between two looks at all containers; 60 unless given.
    #[arg(
        long,
        default_value_t = 0,
        hide_default_value = true,
        value_name = "seconds"
    )]
    resync: u64,
    /// Remove what a registrator of this host left behind.
    #[arg(long, action = ArgAction::Set, default_value_t = false)]
    cleanup: bool,
    /// always, or on-success: containers that failed stay.
    #[arg(long, default_value = "always", value_name = "when")]
    deregister: String,
    /// No effect with Consul.
    #[arg(long, default_value_t = 0, hide = true)]
    ttl: u64,
    /// No effect with Consul.
    #[arg(long = "ttl-refresh", default_value_t = 0, hide = true)]
    ttl_refresh: u64,
    /// Further attempts to reach the agent at the start; -1: for ever.
    #[arg(
        long = "retry-attempts",
        default_value_t = 0,
        allow_negative_numbers = true,
        value_name = "number"
    )]
    retry_attempts: i64,
    /// Milliseconds between those attempts.
    #[arg(long = "retry-interval", default_value_t = 2000, value_name = "ms")]
    retry_interval: u64,
    /// Show what would be adopted, registered and removed, and change nothing.
    #[arg(long = "dry-run", action = ArgAction::Set, default_value_t = false)]
    dry_run: bool,
}

/// Runs the command and gives its exit code.
pub fn run(args: &[String]) -> i32 {
    if args.len() == 1 && matches!(args[0].as_str(), "-version" | "--version") {
        println!("{}", crate::version::OWN);
        return 0;
    }
    let (flags, words) = match goflags::parse::<Flags>(args) {
        Ok(parsed) => parsed,
        Err(Stop::Help) => {
            println!("{}", help());
            return 0;
        }
        Err(Stop::Wrong(text)) => {
            eprintln!("{text}\n{}", help());
            return 2;
        }
    };
    let plan = match Plan::of(&flags, &words, &|name| std::env::var(name).ok()) {
        Ok(plan) => plan,
        Err(text) => {
            eprintln!("{text}");
            return 2;
        }
    };
    let log = lictor_log::init(lictor_log::Settings {
        level: lictor_log::Level::Info,
        json: false,
        file: None,
        syslog: None,
        name: "registrator".to_owned(),
    });
    let log = match log {
        Ok(log) => log,
        Err(error) => {
            eprintln!("{error}");
            return 1;
        }
    };
    log.release();
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("cannot start: {error}");
            return 1;
        }
    };
    let code = runtime.block_on(live(plan, &flags));
    log.flush();
    code
}

fn help() -> String {
    let mut text = USAGE.to_owned();
    lictor_cli::append_flags_help::<Flags>(&mut text);
    text
}

/// What the command line asks for.
struct Plan {
    agent: ClientConfig,
    options: Options,
}

impl Plan {
    fn of(
        flags: &Flags,
        words: &[String],
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Plan, String> {
        let [uri] = words else {
            return Err(match words {
                [] => "Missing required argument for registry URI.".to_owned(),
                [uri, rest @ ..] => format!(
                    "Extra unparsed arguments: {} (options must come before the registry URI {uri})",
                    rest.join(" ")
                ),
            });
        };
        if (flags.ttl == 0) != (flags.ttl_refresh == 0) {
            return Err(
                "-ttl and -ttl-refresh must be specified together or not at all".to_owned(),
            );
        }
        if flags.ttl > 0 && flags.ttl <= flags.ttl_refresh {
            return Err("-ttl must be greater than -ttl-refresh".to_owned());
        }
        if flags.retry_interval == 0 {
            return Err("-retry-interval must be greater than 0".to_owned());
        }
        let deregister = Deregister::parse(&flags.deregister)
            .ok_or("-deregister must be \"always\" or \"on-success\"")?;
        let forced_address = match flags.ip.as_deref().filter(|ip| !ip.is_empty()) {
            None => None,
            Some(ip) => {
                let ip: IpAddr = ip
                    .parse()
                    .map_err(|_| format!("-ip: {ip:?} is no address"))?;
                Some(HostAddress::of(ip, true))
            }
        };
        let tags = flags.tags.as_deref().unwrap_or_default();
        if tags.contains("{{") {
            return Err(
                "-tags: templates are not supported; SERVICE_TAGS on containers are".to_owned(),
            );
        }
        let mut own = lictor_host::default_route_sources()
            .into_iter()
            .filter(|a| !a.is_loopback());
        let own_address = own.next().map(|first| {
            let mut host = HostAddress::of(first, false);
            own.for_each(|a| host.add(a));
            host
        });
        Ok(Plan {
            agent: agent_of(uri, env)?,
            options: Options {
                host: env("DOCKER_HOST")
                    .filter(|host| !host.is_empty())
                    .unwrap_or_else(default_host),
                settings: Settings {
                    mode: if flags.explicit {
                        Mode::Explicit
                    } else {
                        Mode::Published
                    },
                    internal: flags.internal,
                    ip_label: flags.use_ip_from_label.clone().filter(|l| !l.is_empty()),
                    tags: tags
                        .split(',')
                        .filter(|t| !t.is_empty())
                        .map(str::to_owned)
                        .collect(),
                    hostname: lictor_host::hostname(),
                    deregister,
                    drain_ms: 40_000,
                    ..Settings::default()
                },
                forced_address,
                own_address,
                resync: Duration::from_secs(if flags.resync == 0 { 60 } else { flags.resync }),
                ecs_agent: metadata::ECS_AGENT.to_owned(),
            },
        })
    }
}

/// Where Registrator's image has the socket, else where it usually is.
fn default_host() -> String {
    let path = if Path::new("/tmp/docker.sock").exists() {
        "/tmp/docker.sock"
    } else {
        "/var/run/docker.sock"
    };
    format!("unix://{path}")
}

/// The agent that a registry URI names.
fn agent_of(uri: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<ClientConfig, String> {
    let (scheme, rest) = uri
        .split_once("://")
        .ok_or_else(|| format!("bad adapter uri: {uri}"))?;
    let at = rest.split('/').next().unwrap_or_default();
    let at = if at.is_empty() { "127.0.0.1:8500" } else { at };
    let address = match scheme {
        "consul" => format!("http://{at}"),
        "consul-unix" => format!("unix:///{}", rest.trim_start_matches('/')),
        "consul-tls" => format!("https://{at}"),
        "consulkv" | "etcd" | "skydns2" | "zookeeper" | "zookeeper-path" => {
            return Err(format!(
                "{scheme}: only agents are registered with: consul://, consul-unix:// and consul-tls://"
            ));
        }
        other => return Err(format!("unrecognized adapter: {other}://")),
    };
    let mut config = ClientConfig::from_env(env).map_err(|e| e.to_string())?;
    config.address = address;
    Ok(config)
}

async fn live(plan: Plan, flags: &Flags) -> i32 {
    let client = match Client::new(plan.agent) {
        Ok(client) => client,
        Err(error) => {
            eprintln!("{error}");
            return 1;
        }
    };
    let mut attempt = 0i64;
    while let Err(error) = client.leader().await {
        if flags.retry_attempts >= 0 && attempt >= flags.retry_attempts {
            eprintln!("the agent at {} is not reached: {error}", client.base_url());
            return 1;
        }
        attempt += 1;
        tokio::time::sleep(Duration::from_millis(flags.retry_interval)).await;
    }
    let hostname = plan.options.settings.hostname.clone();
    let registry = Remote {
        client,
        hostname,
        cleanup: flags.cleanup,
        own: Mutex::default(),
        held_back: Mutex::default(),
    };
    let watcher = Watcher::new(plan.options);
    if flags.dry_run {
        return dry_run(&watcher, registry).await;
    }
    let (terminate, interrupt) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    );
    let (Ok(mut terminate), Ok(mut interrupt)) = (terminate, interrupt) else {
        eprintln!("cannot wait for signals");
        return 1;
    };
    tokio::select! {
        () = watcher.run(Arc::new(registry)) => 1,
        // What is registered stays, as it did: the next one takes it over.
        _ = terminate.recv() => 0,
        _ = interrupt.recv() => 0,
    }
}

async fn dry_run(watcher: &Watcher, registry: Remote) -> i32 {
    let found = async {
        let before: BTreeSet<Str> = registry.held().await?.into_iter().map(|h| h.id).collect();
        Ok::<_, String>((watcher.dry_run(&registry).await?, before))
    };
    let (actions, before) = match found.await {
        Ok(found) => found,
        Err(error) => {
            eprintln!("{error}");
            return 1;
        }
    };
    let mut lines: Vec<String> = actions
        .iter()
        .map(|action| match action {
            Action::Register(w) => {
                let verb = if before.contains(w.id()) {
                    "adopt"
                } else {
                    "register"
                };
                format!(
                    "{verb:8}  {}  {}  {}",
                    w.id(),
                    w.request().name,
                    w.registration.endpoint.at
                )
            }
            Action::Deregister(id) => format!("{:8}  {id}", "remove"),
            Action::Health(w) | Action::Mark(w) => format!("{:8}  {}", "update", w.id()),
        })
        .collect();
    lines.sort();
    for line in lines {
        println!("{line}");
    }
    for c in watcher.report() {
        for problem in c.problems {
            eprintln!("{}: {problem}", c.name);
        }
    }
    0
}

/// Marks services with an id of their own, so that the next registrator of this host knows them.
const HOST_KEY: &str = "registrator-host";

/// An agent reached over HTTP.
struct Remote {
    client: Client,
    hostname: String,
    cleanup: bool,
    /// What this process registered.
    own: Mutex<BTreeSet<Str>>,
    /// What this process keeps out of answers.
    held_back: Mutex<BTreeSet<Str>>,
}

impl Remote {
    fn is_own(&self, id: &Str) -> bool {
        let own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        own.contains(id)
    }

    async fn register(&self, w: &lictor_container::Wanted) -> Result<(), String> {
        let mut request = w.request().clone();
        if !is_generated_id(w.id(), &self.hostname) {
            let mut meta = request.meta.take().unwrap_or_default();
            meta.insert(HOST_KEY, self.hostname.as_str());
            request.meta = Some(meta);
        }
        self.client
            .register_service(&request)
            .await
            .map_err(|e| e.to_string())?;
        self.own
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(w.id().clone());
        tracing::info!(target: "registrator", service = %w.id(), container = %w.container_name, address = %w.registration.endpoint.at, "added");
        self.mark(w).await
    }

    /// Maintenance keeps a service out of answers, with any version of Consul.
    async fn mark(&self, w: &lictor_container::Wanted) -> Result<(), String> {
        let reason = w.mark.as_ref().map(ToString::to_string);
        let held_back = {
            let set = self
                .held_back
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            set.contains(w.id())
        };
        if reason.is_none() && !held_back {
            return Ok(());
        }
        self.client
            .service_maintenance(
                w.id(),
                reason.is_some(),
                reason.as_deref().unwrap_or_default(),
            )
            .await
            .map_err(|e| e.to_string())?;
        let mut set = self
            .held_back
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if reason.is_some() {
            set.insert(w.id().clone());
        } else {
            set.remove(w.id());
        }
        Ok(())
    }
}

impl Registry for Remote {
    fn held(&self) -> BoxFuture<'_, Result<Vec<Held>, String>> {
        Box::pin(async move {
            let all: BTreeMap<String, ServiceEntry> = self
                .client
                .agent_services()
                .await
                .map_err(|e| e.to_string())?;
            Ok(all
                .into_iter()
                .map(|(id, entry)| {
                    let id = Str::from(id);
                    let marked = entry
                        .meta
                        .iter()
                        .any(|(k, v)| k.as_str() == HOST_KEY && v.as_str() == self.hostname);
                    let left = self.cleanup && is_generated_id(&id, &self.hostname);
                    Held {
                        owned: self.is_own(&id) || marked || left,
                        id,
                    }
                })
                .collect())
        })
    }

    fn apply<'a>(&'a self, action: &'a Action) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            match action {
                Action::Register(w) => self.register(w).await,
                // Registrator takes no notice of a HEALTHCHECK.
                Action::Health(_) => Ok(()),
                Action::Mark(w) => self.mark(w).await,
                Action::Deregister(id) => {
                    self.client
                        .deregister_service(id)
                        .await
                        .map_err(|e| e.to_string())?;
                    tracing::info!(target: "registrator", service = %id, "removed");
                    for set in [&self.own, &self.held_back] {
                        set.lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .remove(id);
                    }
                    Ok(())
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(line: &str) -> Result<Plan, String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let (flags, words) = match goflags::parse::<Flags>(&words) {
            Ok(parsed) => parsed,
            Err(stop) => return Err(format!("{stop:?}")),
        };
        Plan::of(&flags, &words, &|_| None)
    }

    #[test]
    fn registrators_command_lines_are_read() {
        let p = plan("-internal -ip 192.0.2.7 -useIpFromLabel net.ip -explicit -tags a,b -resync 30 -cleanup -deregister on-success -retry-attempts -1 -retry-interval 100 -ttl 60 -ttl-refresh 30 consul://10.0.0.1:8500").unwrap();
        let s = &p.options.settings;
        assert_eq!(
            (s.internal, s.mode, s.deregister),
            (true, Mode::Explicit, Deregister::OnSuccess)
        );
        assert_eq!((s.ip_label.as_deref(), s.tags.len()), (Some("net.ip"), 2));
        assert_eq!(p.options.resync, Duration::from_secs(30));
        assert!(p.options.forced_address.as_ref().unwrap().forced);
        assert_eq!(p.agent.address, "http://10.0.0.1:8500");
        assert_eq!(plan("consul:").err().unwrap(), "bad adapter uri: consul:");
        assert_eq!(
            plan("consul://").unwrap().agent.address,
            "http://127.0.0.1:8500"
        );
        assert_eq!(
            plan("consul-unix:///run/c.sock").unwrap().agent.address,
            "unix:///run/c.sock"
        );
        assert_eq!(
            plan("consul-tls://h:1").unwrap().agent.address,
            "https://h:1"
        );
    }

    #[test]
    fn what_registrator_refuses_is_refused() {
        for (line, want) in [
            ("", "Missing required argument"),
            ("consul:// -internal", "Extra unparsed arguments: -internal"),
            ("-ttl 5 consul://", "specified together"),
            ("-ttl 5 -ttl-refresh 5 consul://", "greater than"),
            ("-retry-interval 0 consul://", "greater than 0"),
            ("-deregister never consul://", "on-success"),
            ("-ip here consul://", "is no address"),
            ("-tags {{.ID}} consul://", "templates"),
            ("etcd://h", "only agents"),
            ("carrier://h", "unrecognized adapter"),
        ] {
            let text = plan(line).err().unwrap();
            assert!(text.contains(want), "{line}: {text}");
        }
    }
}
