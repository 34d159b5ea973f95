//! Services and checks as configuration files define them.

use std::collections::BTreeMap;

use lictor_wire::GoDuration;
use serde_json::Value;

use crate::config::Locality;

/// A service of a configuration file. Field by field the form of `agent/service/register`. Its
/// `Debug` form hides tokens.
#[derive(Clone, PartialEq)]
pub struct ServiceDefinition {
    /// Id, unique on the agent; empty: the name.
    pub id: String,
    /// Name; never empty.
    pub name: String,
    /// Tags, in order.
    pub tags: Vec<String>,
    /// Address; empty: the node's.
    pub address: String,
    /// Further addresses by name (`lan`, `wan`, ...).
    pub tagged_addresses: BTreeMap<String, ServiceAddress>,
    /// Metadata.
    pub meta: BTreeMap<String, String>,
    /// Port; 0: none.
    pub port: i64,
    /// Path of a Unix socket instead of address and port.
    pub socket_path: String,
    /// Weights in DNS answers.
    pub weights: Weights,
    /// The catalog may change the tags without anti-entropy taking that back.
    pub enable_tag_override: bool,
    /// Checks, `check` last.
    pub checks: Vec<CheckDefinition>,
    /// Token to register with; empty: the agent's. A secret.
    pub token: String,
    /// Empty for a usual service; else a kind of the service mesh, such as `connect-proxy`.
    pub kind: String,
    /// Proxy settings of the service mesh, as given.
    pub proxy: Option<Value>,
    /// Connect settings of the service mesh, as given.
    pub connect: Option<Value>,
    /// Region and zone.
    pub locality: Option<Locality>,
}

impl ServiceDefinition {
    /// The id, or the name where no id is given.
    pub fn effective_id(&self) -> &str {
        if self.id.is_empty() {
            &self.name
        } else {
            &self.id
        }
    }
}

/// An address with its port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceAddress {
    /// Address.
    pub address: String,
    /// Port.
    pub port: i64,
}

/// Weights of an instance by its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weights {
    /// Weight while passing.
    pub passing: i64,
    /// Weight while warning.
    pub warning: i64,
}

/// A check of a configuration file. Its `Debug` form hides tokens.
#[derive(Clone, Default, PartialEq)]
#[allow(clippy::struct_excessive_bools)]
pub struct CheckDefinition {
    /// Id, unique on the agent; empty: derived from the name or the service.
    pub id: String,
    /// Name.
    pub name: String,
    /// Notes for humans.
    pub notes: String,
    /// Service that the check is about; empty: the node.
    pub service_id: String,
    /// Token to register with. A secret.
    pub token: String,
    /// First status; empty: critical.
    pub status: String,
    /// Command and its arguments: a script check, or inside `docker_container_id`.
    pub args: Vec<String>,
    /// URL to ask.
    pub http: String,
    /// Headers to send.
    pub header: BTreeMap<String, Vec<String>>,
    /// Method; empty: GET.
    pub method: String,
    /// Body to send.
    pub body: String,
    /// Do not follow redirects.
    pub disable_redirects: bool,
    /// `host:port` to connect to.
    pub tcp: String,
    /// Use TLS for it.
    pub tcp_use_tls: bool,
    /// `host:port` to send a datagram to.
    pub udp: String,
    /// Time between two runs.
    pub interval: GoDuration,
    /// Node whose state is taken over.
    pub alias_node: String,
    /// Service whose state is taken over.
    pub alias_service: String,
    /// Container to run `args` in.
    pub docker_container_id: String,
    /// Shell to use there.
    pub shell: String,
    /// `host:port[/service]` for the standard gRPC health protocol.
    pub grpc: String,
    /// Use TLS for it.
    pub grpc_use_tls: bool,
    /// `host:port` for an HTTP/2 ping.
    pub h2ping: String,
    /// Use TLS for it (on unless given).
    pub h2ping_use_tls: bool,
    /// Service of the operating system.
    pub os_service: String,
    /// Name to expect in the certificate.
    pub tls_server_name: String,
    /// Do not verify the certificate.
    pub tls_skip_verify: bool,
    /// Longest duration of one run; 0: the default of the type.
    pub timeout: GoDuration,
    /// Time within which the check must be updated: a TTL check.
    pub ttl: GoDuration,
    /// Consecutive successes before passing.
    pub success_before_passing: i64,
    /// Consecutive failures before warning.
    pub failures_before_warning: i64,
    /// Consecutive failures before critical.
    pub failures_before_critical: i64,
    /// Deregister the service after it was critical for so long; 0: never.
    pub deregister_critical_service_after: GoDuration,
    /// Bytes kept of the output; 0: the agent's limit.
    pub output_max_size: i64,
}

impl CheckDefinition {
    /// A script check (a check inside a container counts as one).
    pub fn is_script(&self) -> bool {
        !self.args.is_empty()
    }

    /// A check that takes over another's state.
    pub fn is_alias(&self) -> bool {
        !self.alias_node.is_empty() || !self.alias_service.is_empty()
    }

    /// Applies Consul's rules for which fields go together.
    ///
    /// # Errors
    /// Consul's text for the first rule that is broken.
    pub fn validate(&self) -> Result<(), &'static str> {
        let periodic = self.is_script()
            || [
                &self.http,
                &self.tcp,
                &self.udp,
                &self.grpc,
                &self.h2ping,
                &self.os_service,
            ]
            .iter()
            .any(|field| !field.is_empty());
        let (interval, ttl) = (self.interval.0, self.ttl.0);
        if interval > 0 && ttl > 0 {
            return Err("Interval and TTL cannot both be specified");
        }
        if periodic && interval <= 0 {
            return Err(
                "Interval must be > 0 for Script, HTTP, H2PING, TCP, UDP or OSService checks",
            );
        }
        if periodic && self.is_alias() {
            return Err("Interval cannot be set for Alias checks");
        }
        if self.is_alias() && ttl > 0 {
            return Err("TTL must be not be set for Alias checks");
        }
        if !periodic && !self.is_alias() && ttl <= 0 {
            return Err("TTL must be > 0 for TTL checks");
        }
        if self.output_max_size < 0 {
            return Err("MaxOutputMaxSize must be positive");
        }
        // Zero failures before a warning stand for "as many as before critical".
        if self.failures_before_warning > self.failures_before_critical {
            return Err("FailuresBeforeWarning can't be higher than FailuresBeforeCritical");
        }
        Ok(())
    }
}
