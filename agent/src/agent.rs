//! The parts of an agent, started in order and stopped in reverse.

use crate::aliases::Aliases;
use crate::clock::unix_ms;
use crate::cluster::forward::Forward;
use crate::cluster::identity::Identity as ClusterIdentity;
use crate::cluster::links::{Links, RaftLinks};
use crate::cluster::{self, Cluster, autopilot};
use crate::events::Events;
use crate::gossip::{self, Gossip};
use crate::http::{self, AnswerCache};
use crate::leader::{self, Leader};
use crate::live::Live;
use crate::load::Loader;
use crate::local::plan::Identity;
use crate::local::{self, Files, Local, Source};
use crate::metrics::Metrics;
use crate::store::{Store, WriteError};
use crate::upstream::{Abroad, Upstream};
use crate::watches::Watching;
use crate::{node_id, registrar, servers};
use arc_swap::ArcSwap;
use lictor_check::Checks;
use lictor_config::{Config, ListenAddr};
use lictor_dns::{DnsServer, Responder};
use lictor_net::{HttpServer, LimitValues, Limits, Listener};
use lictor_raft::{Consensus, Options, ServerInfo, Storage};
use lictor_rpc::PortTls;
use lictor_state::{Command, CoordinateUpdate, OLDEST_COMMAND_FORMAT};
use lictor_wire::{Coordinate, Status, Str, StrMap};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;
use tokio::sync::{Mutex, watch};
use tokio::task::JoinSet;

/// When an agent ends, answers to other agents may take this long.
const RPC_DRAIN: Duration = Duration::from_secs(3);
/// When it leaves, a round of anti-entropy that is under way may take this long.
const LAST_SYNC: Duration = Duration::from_secs(2);

/// What every part of the agent may look at.
pub struct Shared {
    config: ArcSwap<Config>,
    live: ArcSwap<Live>,
    /// The node's name.
    pub node_name: Str,
    /// The node's UUID.
    pub node_id: Str,
    /// The own datacenter.
    pub datacenter: Str,
    /// JSON is indented even where nobody asks for it.
    pub pretty: bool,
    /// The replicated state.
    pub store: Store,
    /// What this agent vouches for.
    pub local: Local,
    /// The runs of its checks.
    pub checks: Checks,
    /// This server among the servers.
    pub cluster: Cluster,
    /// The duties of a leader.
    pub leader: Leader,
    /// Metrics.
    pub metrics: Metrics,
    /// Encoded answers.
    pub answers: AnswerCache,
    /// User events.
    pub events: Events,
    /// The pools that this agent is in.
    pub gossip: Gossip,
    /// One anti-entropy round at a time.
    pub syncing: Mutex<local::sync::LastFailure>,
    /// Limits of the HTTP listeners.
    pub http_limits: Arc<Limits>,
    /// Limits of the servers' port.
    pub rpc_limits: Arc<Limits>,
    /// What the connections of that port share.
    pub rpc: crate::rpc::Port,
    /// Log lines for `monitor`.
    pub log: lictor_log::Handle,
    ending: watch::Sender<bool>,
    left: AtomicBool,
    end: watch::Sender<Option<End>>,
    loader: Loader,
    reloading: Mutex<()>,
    data_dir: Option<PathBuf>,
    dns: OnceLock<Arc<Responder>>,
    https: OnceLock<Arc<lictor_net::Tls>>,
    /// TLS of the servers' port.
    pub rpc_tls: Arc<PortTls>,
    watches: Watching,
    /// Containers of a Docker daemon.
    pub docker: crate::docker::Docker,
    /// Aliases of services on other nodes.
    pub aliases: Aliases,
}

/// Why the agent ends by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It left because it was asked to by the API.
    Left,
    /// It cannot go on.
    Fatal(String),
}

impl Shared {
    /// The configuration.
    pub fn config(&self) -> Arc<Config> {
        self.config.load_full()
    }

    /// The settings that requests look at.
    pub fn live(&self) -> arc_swap::Guard<Arc<Live>> {
        self.live.load()
    }

    /// The data directory, if there is one.
    pub fn data_dir(&self) -> Option<&Path> {
        self.data_dir.as_deref()
    }

    /// Whether the agent is on its way down.
    pub fn is_ending(&self) -> bool {
        *self.ending.borrow()
    }

    /// Returns when the agent is on its way down.
    pub async fn ended(&self) {
        let mut ending = self.ending.subscribe();
        // An error means that there is no agent any more.
        let _ = ending.wait_for(|e| *e).await;
    }

    /// Becomes true when the agent is on its way down.
    pub fn ending(&self) -> watch::Receiver<bool> {
        self.ending.subscribe()
    }

    /// The node's coordinate.
    pub fn coordinate(&self) -> Coordinate {
        self.gossip.coordinate()
    }

    /// Tells the servers where this node is.
    pub async fn send_coordinate(self: &Arc<Shared>, coord: Coordinate) -> Result<(), String> {
        let update = CoordinateUpdate {
            node: self.node_name.clone(),
            coord,
        };
        let sent = self.update_coordinate(update).await;
        sent.map_err(|e| e.to_string())
    }

    /// Tells the servers where a node is. They write it some seconds later.
    pub async fn update_coordinate(
        self: &Arc<Shared>,
        update: CoordinateUpdate,
    ) -> Result<(), WriteError> {
        if self.store.upstream().is_some() {
            let command = Command::Coordinates(vec![update]);
            return self.store.write(command).await.map(drop);
        }
        let ask = cluster::wire::Ask::Coordinate(update);
        let limit = cluster::forward::ANSWER;
        let asked = cluster::forward::ask_leader(self, &ask, limit).await;
        asked.map(drop)
    }

    /// What this agent says of its node.
    pub fn identity(&self) -> Identity {
        let config = self.config();
        let mut meta: StrMap = config
            .node_meta
            .iter()
            .map(|(k, v)| (k.as_str(), v.as_str()))
            .collect();
        meta.insert("consul-network-segment", "");
        meta.insert("consul-version", crate::version::COMPATIBLE);
        Identity {
            id: self.node_id.clone(),
            name: self.node_name.clone(),
            address: config.advertise.lan.to_string().into(),
            datacenter: self.datacenter.clone(),
            tagged_addresses: config
                .tagged_addresses
                .iter()
                .map(|(k, v)| (k.as_str(), v.as_str()))
                .collect(),
            meta,
        }
    }

    /// What reads the configuration.
    pub fn loader(&self) -> &Loader {
        &self.loader
    }

    /// Does what may wait for a disk. Without a data directory nothing does.
    pub fn on_disk<T>(&self, work: impl FnOnce() -> T) -> T {
        if self.data_dir.is_some() {
            tokio::task::block_in_place(work)
        } else {
            work()
        }
    }

    /// Reads the configuration again and applies what may change while running.
    pub async fn reload(self: &Arc<Shared>) -> Result<(), String> {
        let _one = self.reloading.lock().await;
        let loaded = self
            .loader
            .load()
            .map_err(|e| format!("Failed reloading configuration: {e}"))?;
        for warning in &loaded.warnings {
            tracing::warn!(target: "agent", "{warning}");
        }
        self.apply(loaded.config)
    }

    fn apply(self: &Arc<Shared>, new: Config) -> Result<(), String> {
        let old = self.config();
        let plan = Config::diff_for_reload(&old, &new);
        if let Some(warning) = plan.warning() {
            tracing::warn!(target: "agent", "{warning}");
        }
        let new = plan.config;
        load_definitions(self, &new)?;
        self.live.store(Arc::new(Live::of(&new)));
        self.http_limits.set(http_limits(&new));
        crate::tls::reload_rpc(&self.rpc_tls, &new)?;
        if let Some(upstream) = self.store.upstream() {
            upstream.configure(&new);
        }
        if let Some(abroad) = self.store.abroad() {
            abroad.configure(&new);
        }
        self.rpc_limits.set(cluster::listen::limits(&new));
        self.rpc.configure(&new);
        self.log.set_level(log_level(&new));
        self.local
            .configure(new.check_update_interval.to_std(), new.discard_check_output);
        if let Some(dns) = self.dns.get() {
            crate::dns::reload(dns, &new);
        }
        if let Some(tls) = self.https.get() {
            crate::tls::reload(tls, &new)?;
        }
        if old.watches != new.watches {
            self.watches.set(self, &new.watches);
        }
        let meta_changed = old.node_meta != new.node_meta;
        self.config.store(Arc::new(new));
        if meta_changed {
            self.local.doubt_node();
        }
        Ok(())
    }

    /// Leaves the cluster. A lone server has nobody to tell and keeps its data.
    pub async fn leave(self: &Arc<Shared>) -> Result<(), String> {
        if self.config().server {
            tracing::info!(target: "agent.server", "server starting leave");
        } else {
            tracing::info!(target: "agent.client", "client starting leave");
        }
        let end = tokio::time::Instant::now() + cluster::leave::LIMIT;
        cluster::leave::before_gossip(self).await;
        self.left.store(true, Ordering::Relaxed);
        // The leader takes this node out of the catalog: nothing may bring it back.
        let _ = tokio::time::timeout(LAST_SYNC, self.syncing.lock()).await;
        self.gossip.leave().await;
        cluster::leave::after_gossip(self, end).await;
        Ok(())
    }

    /// Whether the agent has left the cluster, or is about to.
    pub fn has_left(&self) -> bool {
        self.left.load(Ordering::Relaxed)
    }

    /// Ends the process with an error: the agent cannot go on.
    pub fn end_fatal(&self, why: String) {
        self.end.send_if_modified(|end| {
            let first = end.is_none();
            end.get_or_insert(End::Fatal(why));
            first
        });
    }

    /// Ends the process once the pending answers are out: a leave was asked for and is done.
    pub fn end_after_leave(&self) {
        self.end.send_replace(Some(End::Left));
    }
}

/// A running agent.
pub struct Agent {
    /// What its parts share.
    pub shared: Arc<Shared>,
    http: HttpServer,
    dns: Vec<DnsServer>,
    tasks: JoinSet<()>,
    /// Where it listens, for the ready line.
    pub listening: Listening,
}

/// Where an agent listens.
#[derive(Clone, Debug, Default)]
pub struct Listening {
    /// HTTP and HTTPS, as URLs or socket paths.
    pub http: Vec<String>,
    /// DNS.
    pub dns: Vec<String>,
    /// The UI's address, if it is on.
    pub ui: Option<String>,
}

/// Why an agent did not start. Nothing is left running.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StartFailed(pub String);

impl From<String> for StartFailed {
    fn from(text: String) -> StartFailed {
        StartFailed(text)
    }
}

fn log_level(config: &Config) -> lictor_log::Level {
    use lictor_config::LogLevel;
    match config.logging.level {
        LogLevel::Trace => lictor_log::Level::Trace,
        LogLevel::Debug => lictor_log::Level::Debug,
        LogLevel::Info => lictor_log::Level::Info,
        LogLevel::Warn => lictor_log::Level::Warn,
        LogLevel::Error => lictor_log::Level::Error,
    }
}

fn http_limits(config: &Config) -> LimitValues {
    LimitValues {
        max_conns_per_client: usize::try_from(config.limits.http_max_conns_per_client).unwrap_or(0),
        max_header_bytes: LimitValues::header_bytes(
            i64::try_from(config.http.max_header_bytes).unwrap_or(0),
        ),
        https_handshake_timeout: config.limits.https_handshake_timeout.to_std(),
        ..LimitValues::for_this_process()
    }
}

impl Agent {
    /// Starts the parts of an agent in order.
    pub async fn start(
        config: Config,
        loader: Loader,
        log: lictor_log::Handle,
    ) -> Result<Agent, StartFailed> {
        let data_dir = config.data_dir.as_ref().map(PathBuf::from);
        if let Some(dir) = data_dir.as_ref().filter(|_| !config.dev_mode) {
            prepare_data_dir(dir, config.server)?;
        }
        // In dev mode nothing is kept, wherever the data directory is.
        let durable = data_dir.filter(|_| !config.dev_mode);
        let node_id = node_id::node_id(&config, durable.as_deref())?;
        let now = unix_ms() / 1000;
        if let Some(dir) = durable.as_deref().filter(|_| config.server) {
            node_id::check_age(&config, dir, now)?;
        }
        let sockets = gossip::open(&config).await?;
        let store = Store::new();
        // A client agent has no part in consensus.
        let raft_dir = durable.as_deref().filter(|_| config.server);
        let raft_dir = raft_dir.map(|dir| dir.join("raft"));
        if let Some(dir) = &raft_dir {
            cluster::recovery::apply(dir)?;
        }
        let identity = Arc::new(ClusterIdentity::open(raft_dir.as_deref()).map_err(StartFailed)?);
        let own = server_info(&config, &node_id);
        let rpc_tls = crate::tls::rpc(&config).map_err(StartFailed)?;
        let links = Links::new(
            own,
            &config.datacenter,
            identity.clone(),
            servers::source(config.rpc_bind),
            rpc_tls.clone(),
        );
        if config.server {
            let consensus =
                start_consensus(&config, &node_id, durable.as_deref(), &store, &links).await?;
            if consensus.is_founded().await {
                let named = identity.founded(|| crate::random::uuid().to_string());
                named.map_err(StartFailed)?;
            }
            store.attach(consensus.clone());
            let hold = config.performance.rpc_hold_timeout.to_std();
            store.attach_forward(Forward::start(consensus, links.clone(), hold));
            store.attach_abroad(Arc::new(Abroad::new(&config, rpc_tls.clone())));
        } else {
            store.attach_upstream(Upstream::routed(&config, rpc_tls.clone()));
        }
        // After the lock on the directory is ours.
        let files = durable
            .as_deref()
            .map(Files::open)
            .transpose()
            .map_err(|e| StartFailed(e.to_string()))?;
        if let Some(dir) = durable.as_deref().filter(|_| config.server) {
            node_id::note_alive(dir, now);
        }

        let (gossip, inbox) = Gossip::start(&config, &node_id, durable.as_deref(), sockets)?;

        let node_name = Str::from(config.node_name.as_str());
        let local = Local::new(node_name.clone(), files);
        local.configure(
            config.check_update_interval.to_std(),
            config.discard_check_output,
        );
        let sink: Arc<OnceLock<Weak<Shared>>> = Arc::default();
        let checks = Checks::new(check_options(&config), check_sink(sink.clone()));
        let http_limits = Arc::new(Limits::new(self::http_limits(&config)));
        let shared = Arc::new(Shared {
            live: ArcSwap::from_pointee(Live::of(&config)),
            node_name,
            node_id,
            datacenter: Str::from(config.datacenter.as_str()),
            pretty: config.http.pretty,
            store,
            local,
            checks,
            cluster: Cluster::new(links.clone(), identity),
            leader: Leader::default(),
            metrics: Metrics::default(),
            answers: AnswerCache::default(),
            events: Events::default(),
            gossip,
            syncing: Mutex::default(),
            http_limits: http_limits.clone(),
            rpc_limits: Arc::new(Limits::new(cluster::listen::limits(&config))),
            rpc: crate::rpc::Port::default(),
            log,
            ending: watch::Sender::new(false),
            left: AtomicBool::new(false),
            end: watch::Sender::new(None),
            loader,
            reloading: Mutex::new(()),
            data_dir: durable,
            dns: OnceLock::new(),
            https: OnceLock::new(),
            rpc_tls,
            watches: Watching::default(),
            docker: crate::docker::Docker::default(),
            aliases: Aliases::default(),
            config: ArcSwap::from_pointee(config),
        });
        let _ = sink.set(Arc::downgrade(&shared));
        let weak = Arc::downgrade(&shared);
        links.follow(Box::new(move || {
            weak.upgrade()
                .map_or_else(Vec::new, |shared| crate::members::servers(&shared))
        }));

        shared.rpc.configure(&shared.config());
        if let Some(consensus) = shared.store.consensus() {
            let weak = Arc::downgrade(&shared);
            consensus.learn_readable(Box::new(move || {
                let shared = weak.upgrade();
                shared.map_or(OLDEST_COMMAND_FORMAT, |s| autopilot::readable(&s))
            }));
        }

        let config = shared.config();
        load_definitions(&shared, &config)?;
        load_saved(&shared)?;

        let mut agent = Agent {
            http: HttpServer::new(http_limits),
            dns: Vec::new(),
            tasks: JoinSet::new(),
            listening: Listening::default(),
            shared: shared.clone(),
        };
        if let Err(error) = agent.listen(&config).await {
            agent.stop(Duration::ZERO).await;
            return Err(error);
        }
        agent.tasks.spawn(gossip::run(shared.clone(), inbox));
        agent.tasks.spawn(cluster::bootstrap::run(shared.clone()));
        agent.tasks.spawn(leader::run(shared.clone()));
        agent.tasks.spawn(local::sync::run(shared.clone()));
        agent.tasks.spawn(reap_services(shared.clone()));
        if let Some(task) = crate::docker::start(&shared) {
            agent.tasks.spawn(task);
        }
        if let Some(task) = crate::cloud::watch_notices(&shared) {
            agent.tasks.spawn(task);
        }
        if let Some(consensus) = shared.store.consensus().cloned() {
            agent.tasks.spawn(watch_fatal(shared.clone(), consensus));
        }
        if let Some(upstream) = shared.store.upstream().cloned() {
            let follow = shared.clone();
            agent
                .tasks
                .spawn(async move { upstream.follow(follow).await });
        }
        if let Some(abroad) = shared.store.abroad().cloned() {
            let follow = shared.clone();
            agent
                .tasks
                .spawn(async move { abroad.follow(follow).await });
        }
        if let Some(dir) = shared.data_dir.clone().filter(|_| config.server) {
            agent.tasks.spawn(note_alive_hourly(dir));
        }
        if config.auto_reload_config {
            agent
                .tasks
                .spawn(crate::load::reload_on_change(shared.clone()));
        }
        shared.watches.set(&shared, &config.watches);
        Ok(agent)
    }

    async fn listen(&mut self, config: &Config) -> Result<(), StartFailed> {
        if let Some(listener) = cluster::listen::bind(config)? {
            let limits = self.shared.rpc_limits.clone();
            let serve = cluster::listen::run(self.shared.clone(), listener, limits);
            self.tasks.spawn(serve);
        }
        if !config.listeners.dns.is_empty() {
            let responder = crate::dns::responder(config, &self.shared)
                .map_err(|e| StartFailed(e.to_string()))?;
            let _ = self.shared.dns.set(responder);
        }
        for (at, responder) in config
            .listeners
            .dns
            .iter()
            .zip(std::iter::repeat(self.shared.dns.get()))
        {
            let Some(responder) = responder.cloned() else {
                continue;
            };
            let server = lictor_dns::bind(*at, responder)
                .await
                .map_err(|e| StartFailed(e.to_string()))?;
            for network in ["udp", "tcp"] {
                tracing::info!(target: "agent", address = %at, network, "Started DNS server");
            }
            self.listening.dns.push(at.to_string());
            self.dns.push(server);
        }
        let service = http::service(self.shared.clone());
        for at in &config.listeners.http {
            self.serve(at, None, config, service.clone())?;
        }
        if !config.listeners.https.is_empty() {
            let tls = crate::tls::https(config)?;
            let _ = self.shared.https.set(tls.clone());
            for at in &config.listeners.https {
                self.serve(at, Some(tls.clone()), config, service.clone())?;
            }
        }
        if (config.ui.enabled || config.ui.dir.is_some())
            && let Some(first) = self.listening.http.iter().find(|u| u.starts_with("http"))
        {
            self.listening.ui = Some(format!("{first}{}", config.ui.content_path));
        }
        Ok(())
    }

    fn serve<S: lictor_net::HttpService>(
        &mut self,
        at: &ListenAddr,
        tls: Option<Arc<lictor_net::Tls>>,
        config: &Config,
        service: S,
    ) -> Result<(), StartFailed> {
        let protocol = if tls.is_some() { "https" } else { "http" };
        let address = match at {
            ListenAddr::Tcp(addr) => lictor_net::ListenAddr::Tcp(*addr),
            ListenAddr::Unix(path) => lictor_net::ListenAddr::Unix(lictor_net::UnixSocket {
                path: path.into(),
                user: Some(config.unix_sockets.user.clone()).filter(|u| !u.is_empty()),
                group: Some(config.unix_sockets.group.clone()).filter(|g| !g.is_empty()),
                mode: config.unix_sockets.mode,
            }),
        };
        let listener = Listener::bind(&address, tls).map_err(|e| {
            let hint = e.hint().map(|h| format!(" ({h})")).unwrap_or_default();
            StartFailed(format!("{e}{hint}"))
        })?;
        let (network, shown) = match at {
            ListenAddr::Tcp(addr) => ("tcp", addr.to_string()),
            ListenAddr::Unix(path) => ("unix", path.clone()),
        };
        tracing::info!(target: "agent", address = %shown, network, protocol, "Starting server");
        self.listening.http.push(match at {
            ListenAddr::Tcp(addr) => format!("{protocol}://{addr}"),
            ListenAddr::Unix(path) => path.clone(),
        });
        self.http.serve(listener, service);
        Ok(())
    }

    /// Returns when the agent should end by itself.
    pub async fn ends(&self) -> End {
        let mut end = self.shared.end.subscribe();
        match end.wait_for(Option::is_some).await {
            Ok(why) => why.clone().unwrap_or(End::Left),
            Err(_) => End::Left,
        }
    }

    /// Stops in two stages: first what the agent does by itself, then, when all pending answers
    /// are delivered or `deadline` has passed, the interfaces.
    pub async fn stop(mut self, deadline: Duration) {
        let shared = &self.shared;
        tracing::info!(target: "agent", "Requesting shutdown");
        if !shared.has_left() {
            cluster::leave::step_down(shared).await;
        }
        shared.ending.send_replace(true);
        shared.store.end();
        shared.watches.end();
        shared.aliases.end();
        // What other agents have asked is answered while there is somebody to answer it.
        let _ = tokio::time::timeout(RPC_DRAIN, shared.rpc.drained()).await;
        self.tasks.shutdown().await;
        shared.checks.shutdown().await;
        shared.gossip.stop().await;
        if let Some(consensus) = shared.store.consensus() {
            tracing::info!(target: "agent.server", "shutting down server");
            consensus.shutdown().await;
        }
        let role = if shared.config().server {
            "server"
        } else {
            "client"
        };
        tracing::info!(target: "agent", "consul {role} down");
        tracing::info!(target: "agent", "shutdown complete");
        for dns in self.dns.drain(..) {
            tracing::info!(target: "agent", address = %dns.local_addr(), protocol = "DNS", "Stopping server");
            dns.shutdown().await;
        }
        tracing::info!(target: "agent", "Waiting for endpoints to shut down");
        self.http.shutdown(deadline).await;
        tracing::info!(target: "agent", "Endpoints down");
    }
}

fn prepare_data_dir(dir: &Path, server: bool) -> Result<(), StartFailed> {
    let failed = |path: &Path, e: std::io::Error| {
        StartFailed(format!(
            "failed to create data_dir {}: {e}; check that the user of this process may write there",
            path.display()
        ))
    };
    std::fs::create_dir_all(dir).map_err(|e| failed(dir, e))?;
    if !server {
        return Ok(());
    }
    let raft = dir.join("raft");
    for theirs in ["raft.db", "wal"] {
        if raft.join(theirs).exists() {
            return Err(StartFailed(format!(
                "{} holds the data of a Consul server ({theirs}), which Lictor does not read: choose another data_dir, and bring keys over with `kv export` and `kv import`",
                raft.display()
            )));
        }
    }
    // Every value of the key/value store lies in there.
    std::fs::create_dir_all(&raft).map_err(|e| failed(&raft, e))?;
    std::fs::set_permissions(&raft, std::fs::Permissions::from_mode(0o700))
        .map_err(|e| failed(&raft, e))
}

fn server_info(config: &Config, node_id: &Str) -> ServerInfo {
    ServerInfo {
        node_id: node_id.to_string(),
        name: config.node_name.clone(),
        address: config.rpc_advertise.to_string(),
    }
}

async fn start_consensus(
    config: &Config,
    node_id: &Str,
    data_dir: Option<&Path>,
    store: &Store,
    links: &Arc<Links>,
) -> Result<Consensus, StartFailed> {
    let options = Options {
        server: server_info(config, node_id),
        storage: match data_dir {
            None => Storage::Memory,
            Some(dir) => Storage::Directory(dir.join("raft")),
        },
        bootstrap: config.bootstrap || config.dev_mode,
        multiplier: config.performance.raft_multiplier,
        // A log in memory serves nobody but this process: it is kept short.
        snapshot_threshold: if data_dir.is_some() {
            config.raft_snapshot_threshold
        } else {
            1024
        },
        trailing_logs: if data_dir.is_some() {
            config.raft_trailing_logs
        } else {
            64
        },
    };
    Consensus::start_with(
        options,
        store.publisher(),
        Arc::new(RaftLinks(links.clone())),
    )
    .await
    .map_err(|e| StartFailed(e.to_string()))
}

fn check_options(config: &Config) -> lictor_check::Options {
    lictor_check::Options {
        output_max_size: config.check_output_max_size.max(1),
        exec: Some(crate::docker::exec(config)),
        ..lictor_check::Options::default()
    }
}

/// Results of checks go into the local state. The checks are made before the agent is whole,
/// hence the place to fill.
fn check_sink(
    shared: Arc<OnceLock<Weak<Shared>>>,
) -> impl Fn(&str, Status, String) + Send + Sync + 'static {
    move |id: &str, status: Status, output: String| {
        let Some(shared) = shared.get().and_then(Weak::upgrade) else {
            return;
        };
        if let Some(service) = shared.local.update_check(id, status, output) {
            registrar::refresh_aliases(&shared.local, &service);
        }
    }
}

/// Makes the definitions of the configuration files the agent's, and takes away those that were
/// in the files and are no more. What did not change is not touched.
fn load_definitions(shared: &Arc<Shared>, config: &Config) -> Result<(), String> {
    let mut services: Vec<String> = Vec::new();
    let mut checks: Vec<String> = Vec::new();
    for definition in &config.services {
        let request = local::service_from_file(definition);
        services.push(definition.effective_id().to_owned());
        registrar::register_service(shared, &request, Source::File, true)
            .map_err(|e| format!("Failed to register service \"{}\": {e}", definition.name))?;
    }
    for definition in &config.checks {
        let request = local::check_from_file(definition);
        checks.push(if definition.id.is_empty() {
            definition.name.clone()
        } else {
            definition.id.clone()
        });
        registrar::register_check(shared, &request, Source::File)
            .map_err(|e| format!("Failed to register check \"{}\": {e}", definition.name))?;
    }
    for row in shared.local.services() {
        if row.source == Source::File && !services.iter().any(|id| *id == row.service.id) {
            registrar::remove_service(shared, &row.service.id);
        }
    }
    for row in shared.local.checks() {
        let of_service = services.iter().any(|id| *id == row.check.service_id);
        // A mark of maintenance has no kind, and no file has it.
        if row.source == Source::File
            && row.kind.is_some()
            && !of_service
            && !checks.iter().any(|id| *id == row.check.check_id)
        {
            registrar::remove_check(shared, &row.check.check_id);
        }
    }
    Ok(())
}

/// Brings back what was registered by the API before the last end.
fn load_saved(shared: &Arc<Shared>) -> Result<(), StartFailed> {
    let Some(files) = shared.local.files().cloned() else {
        return Ok(());
    };
    let failed = |e: local::FilesError| StartFailed(e.to_string());
    for saved in files.services().map_err(failed)? {
        let id = saved.service.id.clone();
        if shared.local.service(&id).is_some() {
            // The configuration has it too, and wins.
            files.remove_service(&id);
            continue;
        }
        tracing::debug!(target: "agent", service = %id, "restored service definition");
        shared
            .local
            .put_service(saved.service, saved.token, Source::of_word(&saved.source));
    }
    let now = unix_ms() / 1000;
    for saved in files.checks().map_err(failed)? {
        let id = saved.check.check_id.clone();
        let source = Source::of_word(&saved.source);
        if shared.local.check(&id).is_some() {
            files.remove_check(&id);
            continue;
        }
        let mut check = saved.check;
        if !check.service_id.is_empty() && shared.local.service(&check.service_id).is_none() {
            tracing::warn!(target: "agent", check = %id, service = %check.service_id, "Failed to restore check: its service is gone");
            files.remove_check(&id);
            continue;
        }
        let Some(kind) = saved.kind else {
            // The mark of maintenance stays what it was.
            shared.local.put_check(check, None, saved.token, source);
            continue;
        };
        check.status = Status::Critical;
        check.output = Str::new();
        if let Some(state) = files.state(&id, now) {
            check.status = state.status;
            check.output = state.output;
        }
        registrar::add_check(shared, check, kind, saved.token, source);
    }
    Ok(())
}

/// How often services that were critical for too long are looked for.
const REAP: Duration = Duration::from_secs(30);
/// Nobody is removed sooner than this.
const REAP_MIN: Duration = Duration::from_secs(60);

/// Removes services whose check asks for it after being critical for long enough.
async fn reap_services(shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(REAP).await;
        for row in shared.local.checks() {
            let Some(kind) = &row.kind else { continue };
            let after = kind.deregister_critical_service_after.to_std();
            if after.is_zero() || row.check.service_id.is_empty() {
                continue;
            }
            let critical = row
                .critical_since
                .map(|since| since.elapsed())
                .unwrap_or_default();
            if row.check.status == Status::Critical && critical >= after.max(REAP_MIN) {
                registrar::remove_service(&shared, &row.check.service_id);
                tracing::info!(target: "agent", service = %row.check.service_id, check = %row.check.check_id,
                    "deregistered service with critical health due to exceeding health check's 'deregister_critical_service_after' timeout");
            }
        }
    }
}

async fn watch_fatal(shared: Arc<Shared>, consensus: Consensus) {
    let text = consensus.fatal().await.to_string();
    shared.end.send_replace(Some(End::Fatal(text)));
}

async fn note_alive_hourly(dir: PathBuf) {
    loop {
        tokio::time::sleep(Duration::from_secs(3600)).await;
        node_id::note_alive(&dir, unix_ms() / 1000);
    }
}
