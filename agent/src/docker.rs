//! Containers of a Docker daemon as services of this agent, and checks inside them.

use crate::agent::Shared;
use crate::local::Source;
use crate::query::{Freshness, Query, ReadOptions, What};
use crate::registrar;
use lictor_check::{Exec, ExecFuture, Tail};
use lictor_config::{Config, DockerMode};
use lictor_container::{
    Action, Deregister, Filter, Held, HostAddress, Mode, Rivals, Settings, Wanted, health_check_id,
    state_check_id,
};
use lictor_docker::{BoxFuture, DockerExec, Options, Registry, Watcher, host_from_env, metadata};
use lictor_wire::{HealthCheck, Status, Str};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock, Weak};

/// The agent's watcher of containers, if it has one.
#[derive(Default)]
pub struct Docker(OnceLock<Watcher>);

impl Docker {
    /// The watcher, if containers are registered.
    pub fn watcher(&self) -> Option<&Watcher> {
        self.0.get()
    }
}

fn daemon_host(config: &Config) -> String {
    config.docker.host.clone().unwrap_or_else(host_from_env)
}

/// What runs the checks inside containers.
pub fn exec(config: &Config) -> Arc<dyn Exec> {
    let host = config.docker.host.clone();
    let exec = DockerExec::new(move || host.clone().unwrap_or_else(host_from_env));
    Arc::new(InContainer(exec))
}

struct InContainer(DockerExec);

impl Exec for InContainer {
    fn exec<'a>(
        &'a self,
        container: &'a str,
        argv: &'a [Str],
        output: &'a mut Tail,
    ) -> ExecFuture<'a> {
        Box::pin(async move {
            let argv: Vec<String> = argv.iter().map(ToString::to_string).collect();
            let mut write = |bytes: &[u8]| output.write(bytes);
            self.0.run(container, &argv, &mut write).await
        })
    }
}

/// How the configuration wants containers to be followed.
fn options(config: &Config) -> Option<Options> {
    let d = &config.docker;
    let mode = match d.mode {
        DockerMode::Off => return None,
        DockerMode::Explicit => Mode::Explicit,
        DockerMode::Published => Mode::Published,
    };
    Some(Options {
        host: daemon_host(config),
        settings: Settings {
            mode,
            internal: d.internal,
            ip_label: d.ip_label.clone(),
            network: d.network.clone(),
            tags: d.tags.clone(),
            hostname: d.hostname.clone().unwrap_or_default(),
            filter: d.filter_label.as_deref().and_then(Filter::parse),
            deregister: if d.keep_failed {
                Deregister::OnSuccess
            } else {
                Deregister::Always
            },
            drain_ms: u64::try_from(d.drain_timeout.to_std().as_millis()).unwrap_or(u64::MAX),
        },
        forced_address: d.host_address.map(|address| HostAddress::of(address, true)),
        own_address: own_address(config),
        resync: d.resync_interval.to_std(),
        ecs_agent: metadata::ECS_AGENT.to_owned(),
    })
}

/// The address of this network namespace: what the agent tells others, or, where that is loopback,
/// what the default route is left by. Never loopback.
fn own_address(config: &Config) -> Option<HostAddress> {
    let advertised = [
        Some(config.advertise.lan),
        config.advertise.lan_ipv4,
        config.advertise.lan_ipv6,
    ];
    let mut out: Option<HostAddress> = None;
    let usable = |a: &IpAddr| !a.is_loopback() && !a.is_unspecified();
    let routed = || lictor_host::default_route_sources().into_iter();
    let mut all: Vec<IpAddr> = advertised.into_iter().flatten().filter(usable).collect();
    if all.is_empty() {
        all.extend(routed().filter(usable));
    }
    for address in all {
        match &mut out {
            None => out = Some(HostAddress::of(address, false)),
            Some(host) => host.add(address),
        }
    }
    out
}

/// Begins to follow the containers, if that is wanted; the result is the task that does it. If it is
/// not, what was registered for containers goes.
pub fn start(shared: &Arc<Shared>) -> Option<impl Future<Output = ()> + Send + use<>> {
    let Some(options) = options(&shared.config()) else {
        for row in shared.local.services() {
            if row.source == Source::Docker {
                registrar::remove_service(shared, &row.service.id);
            }
        }
        return None;
    };
    tracing::info!(target: "agent.docker", host = %options.host, mode = ?options.settings.mode, "following containers");
    let watcher = Watcher::new(options);
    let _ = shared.docker.0.set(watcher.clone());
    let registry = Arc::new(LocalRegistry(Arc::downgrade(shared)));
    Some(watcher.run(registry))
}

/// The agent's own local state.
struct LocalRegistry(Weak<Shared>);

impl Registry for LocalRegistry {
    fn held(&self) -> BoxFuture<'_, Result<Vec<Held>, String>> {
        let shared = self.0.upgrade();
        Box::pin(async move {
            let shared = shared.ok_or("the agent is gone")?;
            let services = shared.local.services();
            Ok(services
                .iter()
                .map(|row| Held {
                    id: row.service.id.clone(),
                    owned: row.source == Source::Docker,
                })
                .collect())
        })
    }

    fn apply<'a>(&'a self, action: &'a Action) -> BoxFuture<'a, Result<(), String>> {
        let shared = self.0.upgrade();
        Box::pin(async move {
            let shared = shared.ok_or("the agent is gone")?;
            // No round of anti-entropy may see a service without the checks that hold it back.
            let _whole = shared.syncing.lock().await;
            shared.on_disk(|| apply(&shared, action))
        })
    }

    fn rivals(&self, ours: Vec<Arc<Wanted>>) -> BoxFuture<'_, Rivals> {
        let shared = self.0.upgrade();
        Box::pin(async move {
            match shared {
                Some(shared) => rivals(&shared, &ours).await,
                None => Rivals::new(),
            }
        })
    }
}

/// Names of services that are looked up for rivals, at most.
const RIVAL_NAMES_MAX: usize = 256;

/// Services of the same id at the same address that another node has, which is not down.
async fn rivals(shared: &Shared, ours: &[Arc<Wanted>]) -> Rivals {
    let mut by_name: BTreeMap<&Str, Vec<&Wanted>> = BTreeMap::new();
    for w in ours {
        by_name.entry(&w.request().name).or_default().push(w);
    }
    let mut found = Rivals::new();
    for (name, ours) in by_name.into_iter().take(RIVAL_NAMES_MAX) {
        let (name, mesh) = (name.clone(), false);
        let query = Query::from(What::Health {
            name: name.clone(),
            mesh,
        });
        let options = ReadOptions::now(Freshness::Stale);
        // Another time, if it is not to be known now.
        let Ok(answered) = shared.store.read(&query, &options).await else {
            break;
        };
        for row in answered.view.health(&name) {
            let down =
                |c: &Arc<HealthCheck>| c.check_id == "serfHealth" && c.status == Status::Critical;
            if row.node.node.eq_ignore_ascii_case(&shared.node_name) || row.checks.iter().any(down)
            {
                continue;
            }
            let same = |w: &&&Wanted| {
                let request = w.request();
                *w.id() == row.service.id
                    && request.address == row.service.address
                    && request.port == row.service.port
            };
            if let Some(w) = ours.iter().find(same) {
                found.insert(w.id().clone(), row.node.node.to_string());
            }
        }
    }
    found
}

fn apply(shared: &Arc<Shared>, action: &Action) -> Result<(), String> {
    match action {
        Action::Register(w) => {
            registrar::register_service(shared, w.request(), Source::Docker, true)
                .map_err(|e| e.text)?;
            tracing::info!(target: "agent.docker", service = %w.id(), container = %w.container_name, address = %w.registration.endpoint.at, rule = %w.registration.endpoint.rule, "registered");
            show_health(shared, w);
            show_state(shared, w);
        }
        Action::Health(w) => show_health(shared, w),
        Action::Mark(w) => {
            match &w.mark {
                Some(mark) => {
                    tracing::info!(target: "agent.docker", service = %w.id(), container = %w.container_name, "{mark}");
                }
                None => {
                    tracing::info!(target: "agent.docker", service = %w.id(), container = %w.container_name, "serves again");
                }
            }
            show_state(shared, w);
        }
        Action::Deregister(id) => {
            registrar::remove_service(shared, id);
            tracing::info!(target: "agent.docker", service = %id, "deregistered");
        }
    }
    Ok(())
}

/// Shows what the container's HEALTHCHECK says as a check of the service.
fn show_health(shared: &Arc<Shared>, w: &Wanted) {
    let id = health_check_id(w.id());
    let shown = w.health.clone();
    show(shared, w, &id, "Docker HEALTHCHECK", shown);
}

/// Keeps a service out of answers that does not serve, as maintenance does.
fn show_state(shared: &Arc<Shared>, w: &Wanted) {
    let id = state_check_id(w.id());
    let shown = w.mark.as_ref().map(|m| (Status::Critical, m.to_string()));
    show(shared, w, &id, "Docker container state", shown);
}

fn show(shared: &Arc<Shared>, w: &Wanted, id: &Str, name: &str, shown: Option<(Status, String)>) {
    let Some((status, output)) = shown else {
        registrar::remove_check(shared, id);
        return;
    };
    if shared.local.check(id).is_some() {
        if let Some(service) = shared.local.update_check(id, status, output) {
            registrar::refresh_aliases(&shared.local, &service);
        }
        return;
    }
    let check = HealthCheck {
        check_id: id.clone(),
        name: name.into(),
        status,
        output: output.into(),
        service_id: w.id().clone(),
        kind: "docker".into(),
        ..HealthCheck::default()
    };
    shared
        .local
        .put_check(check, None, Str::new(), Source::Docker);
    registrar::refresh_aliases(&shared.local, w.id());
}
