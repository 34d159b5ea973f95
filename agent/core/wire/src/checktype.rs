//! What a check does: the normalised form of all ways to define one.

use crate::base::Str;
use crate::duration::GoDuration;
use crate::request::CheckRequest;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A check's definition, with everything its runner needs. Written into the agent's check files
/// with Consul's field names.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct CheckType {
    /// The id; empty until one is derived.
    #[serde(rename = "CheckID")]
    pub check_id: Str,
    /// A name for people.
    pub name: Str,
    /// The status it starts with, as given.
    pub status: Str,
    /// Notes for people.
    pub notes: Str,
    /// A command line.
    pub script_args: Vec<Str>,
    /// A URL.
    #[serde(rename = "HTTP")]
    pub http: Str,
    /// host:port for an HTTP/2 ping.
    #[serde(rename = "H2PING")]
    pub h2ping: Str,
    /// Whether the ping goes through TLS.
    #[serde(rename = "H2PingUseTLS")]
    pub h2ping_use_tls: bool,
    /// Headers of the HTTP request.
    pub header: BTreeMap<String, Vec<String>>,
    /// Its method; empty for GET.
    pub method: Str,
    /// Its body.
    pub body: Str,
    /// Whether a redirect is the answer.
    pub disable_redirects: bool,
    /// host:port
    #[serde(rename = "TCP")]
    pub tcp: Str,
    /// Whether TLS is spoken on it.
    #[serde(rename = "TCPUseTLS")]
    pub tcp_use_tls: bool,
    /// host:port
    #[serde(rename = "UDP")]
    pub udp: Str,
    /// How often it runs.
    pub interval: GoDuration,
    /// The node to follow.
    pub alias_node: Str,
    /// The service to follow.
    pub alias_service: Str,
    /// The container to run in.
    #[serde(rename = "DockerContainerID")]
    pub docker_container_id: Str,
    /// The shell in it.
    pub shell: Str,
    /// host:port/service
    #[serde(rename = "GRPC")]
    pub grpc: Str,
    /// Whether TLS is spoken on it.
    #[serde(rename = "GRPCUseTLS")]
    pub grpc_use_tls: bool,
    /// A service of the operating system.
    #[serde(rename = "OSService")]
    pub os_service: Str,
    /// The name expected in certificates.
    #[serde(rename = "TLSServerName")]
    pub tls_server_name: Str,
    /// Whether certificates are not verified.
    #[serde(rename = "TLSSkipVerify")]
    pub tls_skip_verify: bool,
    /// The limit of one run; zero for the kind's default.
    pub timeout: GoDuration,
    /// Silence longer than this is critical.
    #[serde(rename = "TTL")]
    pub ttl: GoDuration,
    /// Consecutive successes before passing.
    pub success_before_passing: i64,
    /// Consecutive failures before warning.
    pub failures_before_warning: i64,
    /// Consecutive failures before critical.
    pub failures_before_critical: i64,
    /// Where a proxy exposes HTTP checks.
    #[serde(rename = "ProxyHTTP")]
    pub proxy_http: Str,
    /// Where a proxy exposes gRPC checks.
    #[serde(rename = "ProxyGRPC")]
    pub proxy_grpc: Str,
    /// Critical for this long: the service is removed.
    pub deregister_critical_service_after: GoDuration,
    /// Most bytes of output kept; zero for the agent's limit.
    pub output_max_size: i64,
}

impl CheckType {
    /// Whether nothing selects a kind: then there is no check.
    pub fn is_empty(&self) -> bool {
        *self
            == CheckType {
                h2ping_use_tls: self.h2ping_use_tls,
                failures_before_warning: self.failures_before_warning,
                ..CheckType::default()
            }
    }

    /// A command on this host.
    pub fn is_script(&self) -> bool {
        !self.script_args.is_empty() && self.docker_container_id.is_empty()
    }

    /// A command in a container.
    pub fn is_docker(&self) -> bool {
        !self.script_args.is_empty() && !self.docker_container_id.is_empty()
    }

    /// Whether it follows another.
    pub fn is_alias(&self) -> bool {
        !self.alias_node.is_empty() || !self.alias_service.is_empty()
    }

    /// Whether it waits to be told.
    pub fn is_ttl(&self) -> bool {
        self.ttl.0 > 0
    }

    /// The word of the `Type` field. Consul's order of precedence.
    pub fn kind(&self) -> &'static str {
        let interval = self.interval.0 > 0;
        if self.is_alias() {
            "alias"
        } else if self.is_ttl() {
            "ttl"
        } else if self.is_script() {
            "script"
        } else if !self.http.is_empty() && interval {
            "http"
        } else if !self.tcp.is_empty() && interval {
            "tcp"
        } else if !self.udp.is_empty() && interval {
            "udp"
        } else if self.is_docker() && interval {
            "docker"
        } else if !self.grpc.is_empty() && interval {
            "grpc"
        } else if !self.h2ping.is_empty() && interval {
            "h2ping"
        } else if !self.os_service.is_empty() && interval {
            "os_service"
        } else {
            ""
        }
    }

    /// What is wrong with it, in Consul's words.
    pub fn validate(&self) -> Result<(), String> {
        let runs_at_intervals = !self.script_args.is_empty()
            || !self.http.is_empty()
            || !self.tcp.is_empty()
            || !self.udp.is_empty()
            || !self.grpc.is_empty()
            || !self.h2ping.is_empty()
            || !self.os_service.is_empty();
        if self.interval.0 > 0 && self.ttl.0 > 0 {
            return Err("Interval and TTL cannot both be specified".to_owned());
        }
        if runs_at_intervals && self.interval.0 <= 0 {
            return Err(
                "Interval must be > 0 for Script, HTTP, H2PING, TCP, UDP or OSService checks"
                    .to_owned(),
            );
        }
        if !runs_at_intervals && !self.is_alias() && self.ttl.0 <= 0 {
            return Err("TTL must be > 0 for TTL checks".to_owned());
        }
        if self.output_max_size < 0 {
            return Err("MaxOutputMaxSize must be positive".to_owned());
        }
        if self.failures_before_warning > self.failures_before_critical {
            return Err(
                "FailuresBeforeWarning can't be higher than FailuresBeforeCritical".to_owned(),
            );
        }
        Ok(())
    }
}

impl From<&CheckRequest> for CheckType {
    fn from(r: &CheckRequest) -> CheckType {
        CheckType {
            check_id: if r.check_id.is_empty() {
                r.id.clone()
            } else {
                r.check_id.clone()
            },
            name: r.name.clone(),
            status: r.status.clone(),
            notes: r.notes.clone(),
            script_args: if r.args.is_empty() {
                r.script_args.clone()
            } else {
                r.args.clone()
            },
            http: r.http.clone(),
            h2ping: r.h2ping.clone(),
            h2ping_use_tls: r.h2ping_use_tls.unwrap_or(!r.h2ping.is_empty()),
            header: r.header.clone(),
            method: r.method.clone(),
            body: r.body.clone(),
            disable_redirects: r.disable_redirects,
            tcp: r.tcp.clone(),
            tcp_use_tls: r.tcp_use_tls,
            udp: r.udp.clone(),
            interval: r.interval,
            alias_node: r.alias_node.clone(),
            alias_service: r.alias_service.clone(),
            docker_container_id: r.docker_container_id.clone(),
            shell: r.shell.clone(),
            grpc: r.grpc.clone(),
            grpc_use_tls: r.grpc_use_tls,
            os_service: r.os_service.clone(),
            tls_server_name: r.tls_server_name.clone(),
            tls_skip_verify: r.tls_skip_verify,
            timeout: r.timeout,
            ttl: r.ttl,
            success_before_passing: r.success_before_passing,
            failures_before_warning: r
                .failures_before_warning
                .unwrap_or(r.failures_before_critical),
            failures_before_critical: r.failures_before_critical,
            proxy_http: r.proxy_http.clone(),
            proxy_grpc: r.proxy_grpc.clone(),
            deregister_critical_service_after: r.deregister_critical_service_after,
            output_max_size: r.output_max_size,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(f: impl FnOnce(&mut CheckType)) -> Result<(), String> {
        let mut c = CheckType::default();
        f(&mut c);
        c.validate()
    }

    #[test]
    fn what_is_wrong_is_said_in_consuls_words() {
        let second = GoDuration::from_secs(1);
        assert_eq!(
            check(|c| c.http = "http://x".into()).unwrap_err(),
            "Interval must be > 0 for Script, HTTP, H2PING, TCP, UDP or OSService checks"
        );
        assert_eq!(
            check(|c| c.interval = second).unwrap_err(),
            "TTL must be > 0 for TTL checks"
        );
        assert_eq!(
            check(|c| (c.interval, c.ttl) = (second, second)).unwrap_err(),
            "Interval and TTL cannot both be specified"
        );
        assert_eq!(
            check(|c| (c.alias_service, c.interval) = ("x".into(), second)),
            Ok(())
        );
        assert_eq!(check(|c| c.ttl = second), Ok(()));
    }

    #[test]
    fn both_spellings_of_a_request_are_read() {
        let go = crate::gojson::decode::<CheckRequest>(
            br#"{"Args":["a"],"DockerContainerID":"c","Interval":"5s"}"#,
            crate::gojson::Mode::Strict,
            "",
        );
        let snake = crate::gojson::decode::<CheckRequest>(
            br#"{"args":["a"],"docker_container_id":"c","interval":5000000000}"#,
            crate::gojson::Mode::Strict,
            "",
        );
        assert_eq!(
            CheckType::from(&go.unwrap()),
            CheckType::from(&snake.unwrap())
        );
    }
}
