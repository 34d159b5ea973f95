//! The life of an agent process: banner, signals, reload, exit code.

use crate::agent::{Agent, End};
use crate::load::Loader;
use crate::version;
use lictor_config::{Config, Loaded};
use std::io::Write;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// A graceful leave that takes longer ends the process.
const LEAVE_MAX: Duration = Duration::from_secs(15);
/// Pending answers have this long to go out.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// Runs an agent to its end and gives the exit code. `program` is the name it was called by.
pub fn run(loaded: Loaded, loader: Loader, program: &str) -> i32 {
    let Loaded { config, warnings } = loaded;
    if let Err(text) = supported(&config) {
        return refused(&text);
    }
    let log = match lictor_log::init(log_settings(&config)) {
        Ok(log) => log,
        Err(error) => return refused(&error.to_string()),
    };
    let workers = std::thread::available_parallelism()
        .map_or(1, std::num::NonZero::get)
        .clamp(1, 4);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .max_blocking_threads(64)
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return refused(&format!("cannot start the runtime: {error}")),
    };
    let code = runtime.block_on(live(config, warnings, loader, log.clone(), program));
    tracing::info!(target: "agent", code, "Exit code");
    runtime.shutdown_timeout(Duration::from_millis(100));
    log.release();
    log.flush();
    code
}

/// Says why there will be no agent, in one piece: other lines may go to the same place.
fn refused(text: &str) -> i32 {
    let lines: String = text.lines().map(|line| format!("==> {line}\n")).collect();
    let _ = std::io::stderr().write_all(lines.as_bytes());
    1
}

/// Refuses by name what this version does not do.
fn supported(config: &Config) -> Result<(), String> {
    let not = |what: &str| Err(format!("{what} is not supported by this version of Lictor"));
    for (key, join) in [
        ("retry_join", &config.retry_join_lan),
        ("retry_join_wan", &config.retry_join_wan),
    ] {
        if let Err(provider) = crate::cloud::supported(join) {
            return not(&format!("{key} with {provider}"));
        }
    }
    let unread = [
        (
            "config_entries.bootstrap",
            !config.config_entries_bootstrap.is_empty(),
        ),
        (
            "enable_agent_tls_for_checks",
            config.enable_agent_tls_for_checks,
        ),
        (
            "tls.https.tls_cipher_suites",
            !config.tls.https.cipher_suites.is_empty(),
        ),
    ];
    for (key, given) in unread {
        if given {
            return Err(format!(
                "{key} is not supported by this version of Lictor: remove it"
            ));
        }
    }
    let t = &config.telemetry;
    for (key, sink) in [
        ("telemetry.statsd_address", &t.statsd_address),
        ("telemetry.statsite_address", &t.statsite_address),
        ("telemetry.dogstatsd_addr", &t.dogstatsd_addr),
    ] {
        if sink.is_some() {
            return Err(format!(
                "{key} is not supported by this version of Lictor: read /v1/agent/metrics instead (with ?format=prometheus for Prometheus)"
            ));
        }
    }
    Ok(())
}

fn log_settings(config: &Config) -> lictor_log::Settings {
    use lictor_config::LogLevel;
    let l = &config.logging;
    lictor_log::Settings {
        level: match l.level {
            LogLevel::Trace => lictor_log::Level::Trace,
            LogLevel::Debug => lictor_log::Level::Debug,
            LogLevel::Info => lictor_log::Level::Info,
            LogLevel::Warn => lictor_log::Level::Warn,
            LogLevel::Error => lictor_log::Level::Error,
        },
        json: l.json,
        file: l.file.clone().map(|path| lictor_log::FileSettings {
            path,
            rotate_bytes: l.rotate_bytes,
            rotate_duration: l.rotate_duration.to_std(),
            rotate_max_files: l.rotate_max_files,
        }),
        syslog: l.syslog.then(|| l.syslog_facility.clone()),
        name: "lictor".to_owned(),
    }
}

struct Signals {
    hangup: Signal,
    interrupt: Signal,
    terminate: Signal,
}

enum Asked {
    Reload,
    End {
        name: &'static str,
        gracefully: bool,
    },
}

impl Signals {
    fn new() -> std::io::Result<Signals> {
        Ok(Signals {
            hangup: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self, config: &Config) -> Asked {
        tokio::select! {
            _ = self.hangup.recv() => Asked::Reload,
            _ = self.interrupt.recv() => Asked::End { name: "interrupt", gracefully: !config.skip_leave_on_interrupt },
            _ = self.terminate.recv() => Asked::End { name: "terminated", gracefully: config.leave_on_terminate },
        }
    }

    /// Any further signal.
    async fn any(&mut self) {
        tokio::select! {
            _ = self.hangup.recv() => {}
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

async fn live(
    config: Config,
    warnings: Vec<String>,
    loader: Loader,
    log: lictor_log::Handle,
    program: &str,
) -> i32 {
    let mut signals = match Signals::new() {
        Ok(signals) => signals,
        Err(error) => return refused(&format!("cannot listen for signals: {error}")),
    };
    if !config.logging.json {
        let _ = writeln!(
            std::io::stdout(),
            "==> Starting {} agent...",
            version::product(program)
        );
    }
    for warning in &warnings {
        tracing::warn!(target: "agent", "{warning}");
    }
    if config.ports.grpc.is_some() && !config.dev_mode {
        tracing::warn!(target: "agent", "ports.grpc has no effect: this version of Lictor has no gRPC interface");
    }
    crate::addresses::log(&config);
    let json = config.logging.json;
    let pid_file = config.pid_file.clone();
    let banner_config = config.clone();
    let started = tokio::select! {
        started = Agent::start(config, loader, log.clone()) => started,
        () = signals.any() => {
            log.release();
            tracing::info!(target: "agent", "Caught a signal while starting, the start is given up");
            return 1;
        }
    };
    let agent = match started {
        Ok(agent) => agent,
        Err(error) => {
            log.release();
            tracing::error!(target: "agent", error = %error, "Error starting agent");
            log.flush();
            return refused(&format!("Error starting agent: {error}"));
        }
    };
    let _pid = match pid_file.map(PidFile::write).transpose() {
        Ok(pid) => pid,
        Err(text) => {
            log.release();
            agent.stop(Duration::ZERO).await;
            log.flush();
            return refused(&text);
        }
    };
    if !json {
        banner(&banner_config, &agent.shared.node_id);
    }
    log.release();
    let l = &agent.listening;
    tracing::info!(target: "agent", http = %l.http.join(" "), dns = %l.dns.join(" "), ui = %l.ui.as_deref().unwrap_or("off"), "{} agent running!", version::product(program));
    lictor_host::sd_notify("READY=1");

    loop {
        let config = agent.shared.config();
        tokio::select! {
            asked = signals.next(&config) => match asked {
                Asked::Reload => {
                    tracing::info!(target: "agent", signal = "hangup", "Caught");
                    tracing::info!(target: "agent", "Reloading configuration...");
                    if let Err(error) = agent.shared.reload().await {
                        tracing::error!(target: "agent", error = %error, "Reload config failed");
                    }
                }
                Asked::End { name, gracefully } => {
                    tracing::info!(target: "agent", signal = name, "Caught");
                    return end(agent, &mut signals, name, gracefully).await;
                }
            },
            why = agent.ends() => match why {
                End::Left => {
                    agent.stop(DRAIN_MAX).await;
                    return 0;
                }
                End::Fatal(text) => {
                    tracing::error!(target: "agent", error = %text, "the agent cannot go on");
                    agent.stop(DRAIN_MAX).await;
                    log.flush();
                    return refused(&text);
                }
            },
        }
    }
}

async fn end(agent: Agent, signals: &mut Signals, name: &str, gracefully: bool) -> i32 {
    if !gracefully {
        let rule = if name == "interrupt" {
            "skip_leave_on_interrupt is true"
        } else {
            "leave_on_terminate is false"
        };
        tracing::info!(target: "agent", rule, "Graceful shutdown disabled. Exiting");
        agent.stop(DRAIN_MAX).await;
        return 1;
    }
    let rule = if name == "interrupt" {
        "skip_leave_on_interrupt is false"
    } else {
        "leave_on_terminate is true"
    };
    tracing::info!(target: "agent", rule, "Gracefully shutting down agent...");
    let shared = agent.shared.clone();
    let code = tokio::select! {
        left = shared.leave() => match left {
            Ok(()) => {
                tracing::info!(target: "agent", "Graceful exit completed");
                0
            }
            Err(error) => {
                tracing::error!(target: "agent", error = %error, "Error on leave");
                1
            }
        },
        () = signals.any() => {
            tracing::info!(target: "agent", signal = name, "Caught second signal, Exiting");
            1
        }
        () = tokio::time::sleep(LEAVE_MAX) => {
            tracing::info!(target: "agent", "Timeout on graceful leave. Exiting");
            1
        }
    };
    agent.stop(DRAIN_MAX).await;
    code
}

/// The file that names the process; it goes with the process.
struct PidFile(String);

impl PidFile {
    fn write(path: String) -> Result<PidFile, String> {
        std::fs::write(&path, std::process::id().to_string())
            .map_err(|e| format!("Could not write pid file: {path}: {e}"))?;
        Ok(PidFile(path))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn banner(config: &Config, node_id: &str) {
    let port = |p: Option<u16>| p.map_or(-1, i64::from);
    let clients: Vec<String> = config
        .client_addrs
        .iter()
        .map(ToString::to_string)
        .collect();
    let segment = if config.server { "<all>" } else { "" };
    let rows = [
        (
            "Version",
            format!("'{}' ({} {})", version::COMPATIBLE, "Lictor", version::OWN),
        ),
        (
            "Build Date",
            format!(
                "'{}'",
                version::BUILD_DATE
                    .replace('T', " ")
                    .replace('Z', " +0000 UTC")
            ),
        ),
        ("Node ID", format!("'{node_id}'")),
        ("Node name", format!("'{}'", config.node_name)),
        (
            "Datacenter",
            format!("'{}' (Segment: '{segment}')", config.datacenter),
        ),
        (
            "Server",
            format!("{} (Bootstrap: {})", config.server, config.bootstrap),
        ),
        (
            "Client Addr",
            format!(
                "[{}] (HTTP: {}, HTTPS: {}, gRPC: {}, gRPC-TLS: {}, DNS: {})",
                clients.join(" "),
                port(config.ports.http),
                port(config.ports.https),
                // There is no gRPC interface, whatever the ports say.
                port(None),
                port(None),
                port(config.ports.dns)
            ),
        ),
        (
            "Cluster Addr",
            format!(
                "{} (LAN: {}, WAN: {})",
                config.advertise.lan,
                config.ports.serf_lan,
                port(config.ports.serf_wan)
            ),
        ),
        ("Gossip Encryption", config.encrypt.is_some().to_string()),
        ("ACL Enabled", config.acl.enabled.to_string()),
        ("ACL Default Policy", config.acl.default_policy.clone()),
    ];
    let mut out = String::new();
    for (name, value) in rows {
        out.push_str(&format!("{name:>18}: {value}\n"));
    }
    out.push_str("\n==> Log data will now stream in as it occurs:\n\n");
    // A closed standard output is no reason not to run.
    let _ = std::io::stdout().write_all(out.as_bytes());
}
