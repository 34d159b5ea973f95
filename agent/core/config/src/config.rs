//! What the agent runs with: concrete, validated values, with every default filled in.
//!
//! The whole agent reads these types; nothing here knows where a value came from. Durations are
//! [`GoDuration`] (nanoseconds); use `to_std()` where a timer wants `std::time::Duration`.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use lictor_wire::GoDuration;
use serde_json::Value;

use crate::definitions::{CheckDefinition, ServiceDefinition};

/// The agent's configuration. Its `Debug` form is [`Config::debug_json`]: secrets stay hidden.
#[derive(Clone, PartialEq)]
#[allow(clippy::struct_excessive_bools)] // each is a switch of the product
pub struct Config {
    // ---- who this agent is
    /// Name of the own datacenter, lower case, `[a-z0-9_-]+`.
    pub datacenter: String,
    /// Datacenter that has the authority over ACLs; the own one unless set. Lower case.
    pub primary_datacenter: String,
    /// Name of the node; the host name unless set.
    pub node_name: String,
    /// Node id from the configuration (a lower-case UUID). `None`: the agent keeps one of its own.
    pub node_id: Option<String>,
    /// Use a random id instead of one derived from the host.
    pub disable_host_node_id: bool,
    /// Metadata of the node, as the user gave it (at most 64 pairs).
    pub node_meta: BTreeMap<String, String>,
    /// Locality of the node, if given.
    pub locality: Option<Locality>,
    /// This agent is a server.
    pub server: bool,
    /// Started with `-dev`: one server, everything in memory.
    pub dev_mode: bool,
    /// Start alone as leader.
    pub bootstrap: bool,
    /// Number of servers to wait for before the first election; 0 when unused. Never 1 (that is
    /// `bootstrap`).
    pub bootstrap_expect: u32,
    /// Directory of the persistent state. `None` in dev mode unless set.
    pub data_dir: Option<String>,
    /// File to write the process id to.
    pub pid_file: Option<String>,

    // ---- addresses
    /// Address that cluster traffic is bound to.
    pub bind_addr: IpAddr,
    /// Addresses of the client listeners that have none of their own. May be empty.
    pub client_addrs: Vec<IpAddr>,
    /// Addresses told to others.
    pub advertise: Advertise,
    /// `lan`, `lan_ipv4`, `wan`, ... of the node, computed over what the user gave.
    pub tagged_addresses: BTreeMap<String, String>,
    /// Hand out WAN addresses for nodes of other datacenters.
    pub translate_wan_addrs: bool,
    /// Port numbers; `None` is off.
    pub ports: Ports,
    /// Addresses that clients connect to.
    pub listeners: Listeners,
    /// Address that the server's RPC listens on (unused on clients).
    pub rpc_bind: SocketAddr,
    /// Address of the RPC listener as told to others.
    pub rpc_advertise: SocketAddr,
    /// Owner and mode of Unix sockets that listeners create.
    pub unix_sockets: UnixSockets,

    // ---- gossip and joining
    /// The LAN gossip pool.
    pub serf_lan: SerfPool,
    /// The WAN gossip pool; `None` on clients and when its port is off.
    pub serf_wan: Option<SerfPool>,
    /// Gossip key, standard base64 of 16, 24 or 32 bytes.
    pub encrypt: Option<String>,
    /// Refuse gossip that is not encrypted.
    pub encrypt_verify_incoming: bool,
    /// Encrypt the gossip that is sent.
    pub encrypt_verify_outgoing: bool,
    /// Keep the gossip keys in memory only.
    pub disable_keyring_file: bool,
    /// Version of the gossip protocol (2 or 3).
    pub protocol: u32,
    /// Who to join on the LAN.
    pub retry_join_lan: RetryJoin,
    /// Who to join on the WAN.
    pub retry_join_wan: RetryJoin,
    /// Join the members known from the last run even after a leave.
    pub rejoin_after_leave: bool,
    /// A server that was away for longer refuses to start.
    pub server_rejoin_age_max: GoDuration,
    /// How long others keep this failed node, told to them by gossip; zero: their own setting.
    pub advertise_reconnect_timeout: GoDuration,
    /// No network coordinates.
    pub disable_coordinates: bool,

    // ---- leaving
    /// SIGTERM leaves the cluster first.
    pub leave_on_terminate: bool,
    /// SIGINT ends without leaving.
    pub skip_leave_on_interrupt: bool,

    // ---- HTTP and the UI
    /// The HTTP interface.
    pub http: HttpConfig,
    /// The web UI.
    pub ui: UiConfig,
    /// pprof and other insights for operators.
    pub enable_debug: bool,
    /// Ignore query parameters' non-printable characters instead of refusing them.
    pub disable_http_unprintable_char_filter: bool,
    /// Longest wait of a blocking query when the client names none.
    pub default_query_time: GoDuration,
    /// Upper limit of a blocking query's wait.
    pub max_query_time: GoDuration,
    /// How stale an answer of a service list may be (0: not at all).
    pub discovery_max_stale: GoDuration,
    /// Serve health queries from a stream of changes (client agents).
    pub use_streaming_backend: bool,
    /// Offer that stream (servers).
    pub rpc_enable_streaming: bool,

    // ---- DNS
    /// The DNS interface.
    pub dns: DnsConfig,

    // ---- services, checks, watches
    /// Services of the files, sidecars not expanded, each with its checks.
    pub services: Vec<ServiceDefinition>,
    /// Checks of the files that stand outside of a service definition.
    pub checks: Vec<CheckDefinition>,
    /// Watches, each a JSON object with at least `type`.
    pub watches: Vec<Value>,
    /// Script checks from the API and from files.
    pub enable_script_checks: bool,
    /// Script checks from files.
    pub enable_local_script_checks: bool,
    /// Refuse `exec` from others.
    pub disable_remote_exec: bool,
    /// How long a change of a check's output alone may wait before it is synced.
    pub check_update_interval: GoDuration,
    /// Bytes kept of a check's output.
    pub check_output_max_size: usize,
    /// Keep no output of checks.
    pub discard_check_output: bool,
    /// Checks present the agent's TLS certificate.
    pub enable_agent_tls_for_checks: bool,
    /// Merge service-defaults into registrations.
    pub enable_central_service_config: bool,
    /// The containers of a Docker daemon.
    pub docker: Docker,
    /// What is done on EC2 and ECS.
    pub aws: Aws,
    /// Shortest TTL of a session.
    pub session_ttl_min: GoDuration,
    /// Cache of the agent.
    pub cache: CacheConfig,

    // ---- security
    /// Access control. Off means that everything is allowed.
    pub acl: AclConfig,
    /// TLS of the listeners.
    pub tls: TlsConfig,
    /// Name to expect in servers' certificates.
    pub server_name: Option<String>,
    /// `allow` or `deny`, what holds for a pair of services without intention. Empty: as the ACLs.
    pub default_intention_policy: String,
    /// Limits against overload.
    pub limits: Limits,

    // ---- consensus and servers
    /// Timing of consensus, leaving and RPC.
    pub performance: Performance,
    /// Version of the Raft protocol (always 3).
    pub raft_protocol: u32,
    /// Entries between two snapshots.
    pub raft_snapshot_threshold: u64,
    /// How often to look whether a snapshot is due.
    pub raft_snapshot_interval: GoDuration,
    /// Entries kept behind a snapshot.
    pub raft_trailing_logs: u64,
    /// Name of the log store that was asked for (`wal`, `boltdb`, ...). Lictor has one store.
    pub raft_logstore_backend: String,
    /// First configuration of autopilot.
    pub autopilot: Autopilot,
    /// Config entries written by the first leader.
    pub config_entries_bootstrap: Vec<Value>,

    // ---- telling what happens
    /// Logging.
    pub logging: Logging,
    /// Metrics.
    pub telemetry: Telemetry,
    /// Watch the files and reload when they change.
    pub auto_reload_config: bool,
    /// No check for updates. Lictor never makes one.
    pub disable_update_check: bool,
    /// Part of the update check. Lictor never makes one.
    pub disable_anonymous_signature: bool,
    /// `connect.enabled` as given (the mesh itself is not part of Lictor).
    pub connect_enabled: bool,
    /// `peering.enabled` as given (the mesh itself is not part of Lictor).
    pub peering_enabled: bool,
}

/// Region and zone of a node or of a service instance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Locality {
    /// Region, such as `us-west-1`.
    pub region: String,
    /// Zone in the region, such as `us-west-1a`.
    pub zone: String,
}

/// Addresses told to other members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advertise {
    /// Address for the own datacenter.
    pub lan: IpAddr,
    /// IPv4 address for the own datacenter, if known.
    pub lan_ipv4: Option<IpAddr>,
    /// IPv6 address for the own datacenter, if known.
    pub lan_ipv6: Option<IpAddr>,
    /// Address for other datacenters.
    pub wan: IpAddr,
    /// IPv4 address for other datacenters, if known.
    pub wan_ipv4: Option<IpAddr>,
    /// IPv6 address for other datacenters, if known.
    pub wan_ipv6: Option<IpAddr>,
}

/// Port numbers; `None` is off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ports {
    /// DNS over UDP and TCP.
    pub dns: Option<u16>,
    /// HTTP.
    pub http: Option<u16>,
    /// HTTPS.
    pub https: Option<u16>,
    /// gRPC without TLS.
    pub grpc: Option<u16>,
    /// gRPC with TLS.
    pub grpc_tls: Option<u16>,
    /// LAN gossip, UDP and TCP.
    pub serf_lan: u16,
    /// WAN gossip, UDP and TCP.
    pub serf_wan: Option<u16>,
    /// RPC of servers.
    pub server: u16,
}

/// One address to listen on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ListenAddr {
    /// An address and port.
    Tcp(SocketAddr),
    /// Path of a Unix socket.
    Unix(String),
}

impl fmt::Display for ListenAddr {
    /// As in logs and in `DebugConfig`: `tcp://127.0.0.1:8500`, `unix:///run/l.sock`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenAddr::Tcp(addr) => write!(f, "tcp://{addr}"),
            ListenAddr::Unix(path) => write!(f, "unix://{path}"),
        }
    }
}

/// Addresses that clients connect to; an empty list is off.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listeners {
    /// DNS, each over UDP and TCP.
    pub dns: Vec<SocketAddr>,
    /// HTTP.
    pub http: Vec<ListenAddr>,
    /// HTTPS.
    pub https: Vec<ListenAddr>,
    /// gRPC without TLS.
    pub grpc: Vec<ListenAddr>,
    /// gRPC with TLS.
    pub grpc_tls: Vec<ListenAddr>,
}

/// Owner and mode of Unix sockets; empty means unchanged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnixSockets {
    /// User name or id.
    pub user: String,
    /// Group name or id.
    pub group: String,
    /// Mode in octal digits, such as `0770`.
    pub mode: Option<u32>,
}

/// A gossip pool.
#[derive(Clone, Debug, PartialEq)]
pub struct SerfPool {
    /// Address to listen on.
    pub bind: SocketAddr,
    /// Address told to others.
    pub advertise: SocketAddr,
    /// Networks whose members may join, as given (`10.0.0.0/8`); empty: all.
    pub allowed_cidrs: Vec<String>,
    /// A failed member is forgotten after this.
    pub reconnect_timeout: GoDuration,
    /// Members told in one round of gossip.
    pub gossip_nodes: u32,
    /// Time between two rounds of gossip.
    pub gossip_interval: GoDuration,
    /// Time between two probes.
    pub probe_interval: GoDuration,
    /// Wait for a direct answer to a probe.
    pub probe_timeout: GoDuration,
    /// A message is sent again `retransmit_mult * log(members + 1)` times.
    pub retransmit_mult: u32,
    /// A suspect has `suspicion_mult * log(members + 1) * probe_interval` to refute.
    pub suspicion_mult: u32,
}

/// Whom to join, and how often to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryJoin {
    /// Host names, addresses with or without port, or `provider=... key=value` texts.
    pub addresses: Vec<String>,
    /// Time between two tries.
    pub interval: GoDuration,
    /// Tries before the agent gives up and ends; 0: never.
    pub max: u32,
}

/// The HTTP interface.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpConfig {
    /// Path prefixes that answer 403.
    pub block_endpoints: Vec<String>,
    /// Networks that may write through the HTTP interface; empty: all.
    pub allow_write_http_from: Vec<String>,
    /// Headers added to every answer.
    pub response_headers: BTreeMap<String, String>,
    /// Serve `?cached` requests from the agent's cache.
    pub use_cache: bool,
    /// Upper limit of a request's header block in bytes.
    pub max_header_bytes: usize,
    /// Indent JSON answers unless told otherwise (dev mode).
    pub pretty: bool,
}

/// The web UI.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UiConfig {
    /// Serve the UI.
    pub enabled: bool,
    /// Serve this directory instead of the built-in UI.
    pub dir: Option<String>,
    /// Path below which the UI is served, with `/` at both ends.
    pub content_path: String,
    /// Links shown for each service, by name.
    pub dashboard_url_templates: BTreeMap<String, String>,
}

/// How recursors are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecursorStrategy {
    /// In the order given.
    Sequential,
    /// In random order for each query.
    Random,
}

/// SOA values, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Soa {
    /// How long a secondary keeps the zone.
    pub expire: u32,
    /// Time to live of negative answers.
    pub min_ttl: u32,
    /// How often a secondary asks.
    pub refresh: u32,
    /// How long it waits after a failure.
    pub retry: u32,
}

/// The DNS interface.
#[derive(Clone, Debug, PartialEq)]
pub struct DnsConfig {
    /// Domain, ending in a dot: `consul.`.
    pub domain: String,
    /// A second domain, ending in a dot; empty: none.
    pub alt_domain: String,
    /// Servers for other names, `address:port`.
    pub recursors: Vec<SocketAddr>,
    /// Order of the recursors.
    pub recursor_strategy: RecursorStrategy,
    /// Wait for one recursor.
    pub recursor_timeout: GoDuration,
    /// Answer from any server, not only from the leader.
    pub allow_stale: bool,
    /// An answer older than this is asked again from the leader.
    pub max_stale: GoDuration,
    /// Time to live of node answers.
    pub node_ttl: GoDuration,
    /// Time to live of service answers, by name, prefix with `*`, or `*`.
    pub service_ttl: BTreeMap<String, GoDuration>,
    /// Only instances that are passing (not warning).
    pub only_passing: bool,
    /// Set the TC bit where a UDP answer was cut.
    pub enable_truncate: bool,
    /// Answers in one UDP message.
    pub udp_answer_limit: u32,
    /// A and AAAA records in an answer; 0: no limit.
    pub a_record_limit: u32,
    /// No name compression.
    pub disable_compression: bool,
    /// TXT records with the node's metadata beside node answers.
    pub enable_additional_node_meta_txt: bool,
    /// Start of authority.
    pub soa: Soa,
    /// Use the agent's cache.
    pub use_cache: bool,
    /// Oldest answer to take from the cache.
    pub cache_max_age: GoDuration,
}

/// The agent's cache.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CacheConfig {
    /// Fetches of one entry that may come at once.
    pub entry_fetch_max_burst: u32,
    /// Fetches of one entry per second; `None`: no limit.
    pub entry_fetch_rate: Option<f64>,
}

/// Access control.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools)]
pub struct AclConfig {
    /// ACLs are enforced.
    pub enabled: bool,
    /// `allow` or `deny`.
    pub default_policy: String,
    /// `allow`, `deny`, `extend-cache` or `async-cache`.
    pub down_policy: String,
    /// How long policies are cached.
    pub policy_ttl: GoDuration,
    /// How long roles are cached.
    pub role_ttl: GoDuration,
    /// How long tokens are cached.
    pub token_ttl: GoDuration,
    /// `list` on key prefixes is enforced.
    pub enable_key_list_policy: bool,
    /// Tokens set by the API are kept over restarts.
    pub enable_token_persistence: bool,
    /// Secondary datacenters replicate tokens.
    pub enable_token_replication: bool,
    /// Tokens of the agent.
    pub tokens: AclTokens,
}

/// Tokens of the agent; empty: none. These are secrets.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct AclTokens {
    /// First management token, made by the first leader.
    pub initial_management: String,
    /// For replication between datacenters.
    pub replication: String,
    /// Allows operations on this agent while no server is reached.
    pub agent_recovery: String,
    /// For requests without a token.
    pub default: String,
    /// For what the agent does itself.
    pub agent: String,
    /// For services and checks of files that name none.
    pub config_file_service_registration: String,
    /// For DNS.
    pub dns: String,
}

impl fmt::Debug for AclTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AclTokens(hidden)")
    }
}

/// TLS of the listeners and of outgoing connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsConfig {
    /// RPC between agents and servers.
    pub internal_rpc: TlsProtocol,
    /// HTTPS.
    pub https: TlsProtocol,
    /// gRPC.
    pub grpc: TlsProtocol,
}

/// TLS of one protocol, `tls.defaults` already laid under it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools)]
pub struct TlsProtocol {
    /// PEM file of authorities.
    pub ca_file: String,
    /// Directory of such files.
    pub ca_path: String,
    /// PEM file of the own certificate.
    pub cert_file: String,
    /// PEM file of its key.
    pub key_file: String,
    /// `TLSv1_0` to `TLSv1_3`.
    pub min_version: String,
    /// Names of cipher suites; empty: a good choice.
    pub cipher_suites: Vec<String>,
    /// Ask clients for a certificate and verify it.
    pub verify_incoming: bool,
    /// Use TLS for outgoing connections and verify the server.
    pub verify_outgoing: bool,
    /// Verify the name in a server's certificate too.
    pub verify_server_hostname: bool,
    /// Use the certificate from auto_encrypt or auto_config.
    pub use_auto_cert: bool,
}

/// What happens when a limit of request rates is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestLimitsMode {
    /// Nothing is counted.
    Disabled,
    /// Only logged.
    Permissive,
    /// Refused.
    Enforcing,
}

/// Limits against overload. A rate of `None` is no limit.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Connections of one client address to the HTTP listeners; 0: no limit.
    pub http_max_conns_per_client: u32,
    /// Time for the TLS handshake of HTTPS.
    pub https_handshake_timeout: GoDuration,
    /// Time for the first byte and TLS handshake of RPC.
    pub rpc_handshake_timeout: GoDuration,
    /// Time a client agent waits for a server's answer.
    pub rpc_client_timeout: GoDuration,
    /// Connections of one address to the RPC listener; 0: no limit.
    pub rpc_max_conns_per_client: u32,
    /// RPC requests per second that a client agent sends.
    pub rpc_rate: Option<f64>,
    /// How many of them may come at once.
    pub rpc_max_burst: u32,
    /// Bytes of a value in the key/value store.
    pub kv_max_value_size: u64,
    /// Bytes of a transaction's request.
    pub txn_max_req_len: u64,
    /// What to do at `request_limits`.
    pub request_limits_mode: RequestLimitsMode,
    /// Reads per second.
    pub request_limits_read_rate: Option<f64>,
    /// Writes per second.
    pub request_limits_write_rate: Option<f64>,
}

/// Timing of consensus, leaving and RPC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Performance {
    /// 1 (fast) to 10.
    pub raft_multiplier: u32,
    /// How long a leaving server still answers.
    pub leave_drain_time: GoDuration,
    /// How long a request is held while there is no leader.
    pub rpc_hold_timeout: GoDuration,
    /// gRPC keep-alive.
    pub grpc_keepalive_interval: GoDuration,
    /// gRPC keep-alive.
    pub grpc_keepalive_timeout: GoDuration,
}

/// Which containers become services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DockerMode {
    /// None.
    Off,
    /// Those with a service name in label or variable.
    Explicit,
    /// All that publish a port.
    Published,
}

/// The containers of a Docker daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Docker {
    /// Which containers. `Off` unless enabled.
    pub mode: DockerMode,
    /// The daemon; `None`: where the environment says.
    pub host: Option<String>,
    /// The host's address, as the operator sets it.
    pub host_address: Option<IpAddr>,
    /// First part of the ids of services; `None`: the name of the daemon's host.
    pub hostname: Option<String>,
    /// Register containers' own addresses and exposed ports.
    pub internal: bool,
    /// Label that holds a container's address.
    pub ip_label: Option<String>,
    /// Network to take addresses from where a container is on several.
    pub network: Option<String>,
    /// Tags of every service.
    pub tags: Vec<String>,
    /// Only containers with this label, `key` or `key=value`.
    pub filter_label: Option<String>,
    /// Containers that failed stay, critical.
    pub keep_failed: bool,
    /// Time between two looks at all containers.
    pub resync_interval: GoDuration,
    /// How long a container that outlives its stop signal stays out of answers.
    pub drain_timeout: GoDuration,
}

/// What is done on EC2 and ECS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aws {
    /// Drain and leave when the end of this instance or task is announced.
    pub leave_on_notice: bool,
    /// Time between two looks for such a notice.
    pub notice_interval: GoDuration,
    /// How long services stay out of answers before the agent leaves.
    pub drain_time: GoDuration,
}

/// First configuration of autopilot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Autopilot {
    /// Remove dead servers when a new one joins.
    pub cleanup_dead_servers: bool,
    /// A server out of contact for longer is not healthy.
    pub last_contact_threshold: GoDuration,
    /// A server further behind is not healthy.
    pub max_trailing_logs: u64,
    /// Never remove servers below this number.
    pub min_quorum: u32,
    /// How long a new server must be healthy before it votes.
    pub server_stabilization_time: GoDuration,
    /// How often health is computed (2 s; 10 ms in dev mode).
    pub health_interval: GoDuration,
}

/// Levels of logging.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Everything.
    Trace,
    /// For those who look for a fault.
    Debug,
    /// What happens.
    Info,
    /// What may be wrong.
    Warn,
    /// What is wrong.
    Error,
}

impl LogLevel {
    /// Reads a level without regard to case; `ERR` is `ERROR`.
    pub fn parse(text: &str) -> Option<LogLevel> {
        match text.to_ascii_uppercase().as_str() {
            "TRACE" => Some(LogLevel::Trace),
            "DEBUG" => Some(LogLevel::Debug),
            "INFO" => Some(LogLevel::Info),
            "WARN" => Some(LogLevel::Warn),
            "ERROR" | "ERR" => Some(LogLevel::Error),
            _ => None,
        }
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LogLevel::Trace => "TRACE",
            LogLevel::Debug => "DEBUG",
            LogLevel::Info => "INFO",
            LogLevel::Warn => "WARN",
            LogLevel::Error => "ERROR",
        })
    }
}

/// Logging.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logging {
    /// Least level that is written.
    pub level: LogLevel,
    /// One JSON object per line.
    pub json: bool,
    /// File to write to as well; a directory, or a path whose last part names the files.
    pub file: Option<String>,
    /// Start a new file after this time.
    pub rotate_duration: GoDuration,
    /// Start a new file after this many bytes; 0: no limit.
    pub rotate_bytes: u64,
    /// Old files to keep; 0: all, -1: none.
    pub rotate_max_files: i64,
    /// Write to syslog as well.
    pub syslog: bool,
    /// Facility for it, such as `LOCAL0`.
    pub syslog_facility: String,
}

/// Metrics.
#[derive(Clone, Debug, PartialEq)]
pub struct Telemetry {
    /// First word of every name.
    pub metrics_prefix: String,
    /// Leave the host name out of gauges.
    pub disable_hostname: bool,
    /// Metrics about the host.
    pub enable_host_metrics: bool,
    /// Keep metrics that no prefix names.
    pub filter_default: bool,
    /// Prefixes to keep (`+x`).
    pub allowed_prefixes: Vec<String>,
    /// Prefixes to drop (`-x`).
    pub blocked_prefixes: Vec<String>,
    /// statsd over UDP.
    pub statsd_address: Option<String>,
    /// statsite over TCP.
    pub statsite_address: Option<String>,
    /// dogstatsd over UDP.
    pub dogstatsd_addr: Option<String>,
    /// Tags for dogstatsd.
    pub dogstatsd_tags: Vec<String>,
    /// How long Prometheus may ask for a metric; 0: no Prometheus form.
    pub prometheus_retention_time: GoDuration,
    /// Try again when a sink cannot be reached at the start.
    pub retry_failed_connection: bool,
}
