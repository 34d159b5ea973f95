//! The bodies of requests, as Consul's clients send them.

use crate::base::{Str, StrMap};
use crate::catalog::{
    ConnectMarks, Coordinate, HealthCheck, NodeService, ServiceAddresses, ServiceCheckRef, Weights,
};
use crate::duration::GoDuration;
use serde::{Deserialize, Serialize};

/// Body of `PUT /v1/catalog/register`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "PascalCase")]
pub struct RegisterRequest {
    /// The datacenter to register in; empty for that of the agent.
    pub datacenter: Str,
    /// The node's UUID, or empty.
    #[serde(rename = "ID")]
    pub id: Str,
    /// The node's name.
    pub node: Str,
    /// The node's address.
    pub address: Str,
    /// Addresses by purpose.
    pub tagged_addresses: Option<StrMap>,
    /// The node's metadata.
    pub node_meta: Option<StrMap>,
    /// An instance on it.
    pub service: Option<Box<NodeService>>,
    /// One check.
    pub check: Option<Box<HealthCheck>>,
    /// More checks.
    pub checks: Vec<HealthCheck>,
    /// Leave the node's own row alone when it exists.
    pub skip_node_update: bool,
    /// Where the node is; kept by Consul, not stored here.
    pub locality: Option<serde_json::Value>,
    /// The peer it was imported from; must be empty.
    pub peer_name: Str,
    /// A token in the body; the header wins.
    pub token: Str,
}

/// Body of `PUT /v1/catalog/deregister`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "PascalCase")]
pub struct DeregisterRequest {
    /// The datacenter; empty for that of the agent.
    pub datacenter: Str,
    /// The node's name.
    pub node: Str,
    /// Remove only this instance.
    #[serde(rename = "ServiceID")]
    pub service_id: Str,
    /// Remove only this check.
    #[serde(rename = "CheckID")]
    pub check_id: Str,
    /// The peer it was imported from; must be empty.
    pub peer_name: Str,
    /// A token in the body; the header wins.
    pub token: Str,
}

/// Body of `PUT /v1/coordinate/update`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "PascalCase")]
pub struct CoordinateUpdateRequest {
    /// The datacenter; empty for that of the agent.
    pub datacenter: Str,
    /// The node's name.
    pub node: Str,
    /// Enterprise only: empty.
    pub segment: Str,
    /// Where it is.
    pub coord: Option<Coordinate>,
    /// A token in the body; the header wins.
    pub token: Str,
}

/// Body of `PUT /v1/session/create`. Unknown fields are passed over, as in Consul.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct SessionRequest {
    /// Ignored: ids are made by the server.
    #[serde(rename = "ID")]
    pub id: Str,
    /// A name for people.
    pub name: Str,
    /// The node it lives on; empty for the agent's.
    pub node: Str,
    /// Checks of old clients: node checks.
    pub checks: Option<Vec<Str>>,
    /// Node checks; absent for `serfHealth`.
    pub node_checks: Option<Vec<Str>>,
    /// Service checks.
    pub service_checks: Option<Vec<ServiceCheckRef>>,
    /// Text, or a number (below 1000: seconds, else nanoseconds).
    pub lock_delay: Option<LockDelay>,
    /// `release` or `delete`.
    pub behavior: Str,
    /// Time to live as text.
    #[serde(rename = "TTL")]
    pub ttl: Str,
}

/// A lock delay: a number below 1000 is seconds, for clients of old.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LockDelay(pub GoDuration);

impl<'de> Deserialize<'de> for LockDelay {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<LockDelay, D::Error> {
        struct V;
        impl serde::de::Visitor<'_> for V {
            type Value = LockDelay;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a duration")
            }
            fn visit_i64<E: serde::de::Error>(self, v: i64) -> Result<LockDelay, E> {
                Ok(LockDelay(if v < 1000 {
                    GoDuration::from_secs(v)
                } else {
                    GoDuration(v)
                }))
            }
            fn visit_u64<E: serde::de::Error>(self, v: u64) -> Result<LockDelay, E> {
                self.visit_i64(i64::try_from(v).unwrap_or(i64::MAX))
            }
            fn visit_f64<E: serde::de::Error>(self, v: f64) -> Result<LockDelay, E> {
                self.visit_i64(v as i64)
            }
            fn visit_str<E: serde::de::Error>(self, v: &str) -> Result<LockDelay, E> {
                GoDuration::parse(v).map(LockDelay).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(V)
    }
}

/// A check in the bodies of `/v1/agent/check/register` and `/v1/agent/service/register`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "PascalCase")]
pub struct CheckRequest {
    /// The id; `CheckID` says the same inside a service.
    #[serde(rename = "ID")]
    pub id: Str,
    /// The id, in the spelling of service bodies.
    #[serde(rename = "CheckID", alias = "check_id")]
    pub check_id: Str,
    /// A name for people.
    pub name: Str,
    /// Notes for people.
    pub notes: Str,
    /// The instance it belongs to.
    #[serde(rename = "ServiceID", alias = "service_id")]
    pub service_id: Str,
    /// The token it is registered with.
    pub token: Str,
    /// The status it starts with.
    pub status: Str,
    /// A command line.
    #[serde(alias = "script_args")]
    pub script_args: Vec<Str>,
    /// The same, in the usual spelling.
    pub args: Vec<Str>,
    /// An old single command line: refused by Consul since 1.1.
    pub script: Str,
    /// A URL.
    #[serde(rename = "HTTP")]
    pub http: Str,
    /// Headers of the HTTP request.
    pub header: std::collections::BTreeMap<String, Vec<String>>,
    /// Its method.
    pub method: Str,
    /// Its body.
    pub body: Str,
    /// Whether redirects are an answer.
    #[serde(alias = "disable_redirects")]
    pub disable_redirects: bool,
    /// host:port
    #[serde(rename = "TCP")]
    pub tcp: Str,
    /// Whether TLS is spoken on it.
    #[serde(rename = "TCPUseTLS", alias = "tcp_use_tls")]
    pub tcp_use_tls: bool,
    /// host:port
    #[serde(rename = "UDP")]
    pub udp: Str,
    /// How often.
    pub interval: GoDuration,
    /// The node to follow.
    #[serde(alias = "alias_node")]
    pub alias_node: Str,
    /// The service to follow.
    #[serde(alias = "alias_service")]
    pub alias_service: Str,
    /// The container to run in.
    #[serde(rename = "DockerContainerID", alias = "docker_container_id")]
    pub docker_container_id: Str,
    /// The shell in it.
    pub shell: Str,
    /// host:port/service
    #[serde(rename = "GRPC")]
    pub grpc: Str,
    /// Whether TLS is spoken on it.
    #[serde(rename = "GRPCUseTLS", alias = "grpc_use_tls")]
    pub grpc_use_tls: bool,
    /// host:port
    #[serde(rename = "H2PING", alias = "H2Ping")]
    pub h2ping: Str,
    /// Whether TLS is spoken on it; yes unless told.
    #[serde(rename = "H2PingUseTLS", alias = "h2ping_use_tls")]
    pub h2ping_use_tls: Option<bool>,
    /// A service of the operating system.
    #[serde(rename = "OSService", alias = "os_service")]
    pub os_service: Str,
    /// The name in the certificate.
    #[serde(rename = "TLSServerName", alias = "tls_server_name")]
    pub tls_server_name: Str,
    /// Whether certificates are not verified.
    #[serde(rename = "TLSSkipVerify", alias = "tls_skip_verify")]
    pub tls_skip_verify: bool,
    /// The limit of one run.
    pub timeout: GoDuration,
    /// Silence longer than this is critical.
    #[serde(rename = "TTL")]
    pub ttl: GoDuration,
    /// Consecutive successes before passing.
    #[serde(alias = "success_before_passing")]
    pub success_before_passing: i64,
    /// Consecutive failures before warning.
    #[serde(alias = "failures_before_warning")]
    pub failures_before_warning: Option<i64>,
    /// Consecutive failures before critical.
    #[serde(alias = "failures_before_critical")]
    pub failures_before_critical: i64,
    /// Where a proxy exposes HTTP checks.
    #[serde(rename = "ProxyHTTP")]
    pub proxy_http: Str,
    /// Where a proxy exposes gRPC checks.
    #[serde(rename = "ProxyGRPC")]
    pub proxy_grpc: Str,
    /// Critical for this long: the service is removed.
    #[serde(alias = "deregister_critical_service_after")]
    pub deregister_critical_service_after: GoDuration,
    /// Most bytes of output kept.
    #[serde(alias = "output_max_size")]
    pub output_max_size: i64,
}

/// Body of `PUT /v1/agent/service/register`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "PascalCase")]
pub struct ServiceRequest {
    /// Empty, or the kind of mesh proxy.
    pub kind: Str,
    /// The id; the name unless given.
    #[serde(rename = "ID")]
    pub id: Str,
    /// The name.
    pub name: Str,
    /// Tags.
    pub tags: Vec<Str>,
    /// Address; empty for that of the node.
    pub address: Str,
    /// Addresses by purpose.
    #[serde(alias = "tagged_addresses")]
    pub tagged_addresses: ServiceAddresses,
    /// Metadata.
    pub meta: Option<StrMap>,
    /// Port.
    pub port: i64,
    /// A unix socket.
    #[serde(alias = "socket_path")]
    pub socket_path: Str,
    /// One check.
    pub check: Option<Box<CheckRequest>>,
    /// More checks.
    pub checks: Vec<CheckRequest>,
    /// SRV weights.
    pub weights: Option<Weights>,
    /// The token it is registered with.
    pub token: Str,
    /// Whether the catalog's tags win.
    #[serde(alias = "enable_tag_override")]
    pub enable_tag_override: bool,
    /// Mesh proxy settings.
    pub proxy: Option<serde_json::Value>,
    /// Mesh marks.
    pub connect: Option<ConnectMarks>,
    /// Where it runs.
    pub locality: Option<serde_json::Value>,
}

/// Body of `PUT /v1/agent/check/update/:id`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "PascalCase")]
pub struct CheckUpdateRequest {
    /// `passing`, `warning` or `critical`.
    pub status: Str,
    /// What to show.
    pub output: Str,
}
