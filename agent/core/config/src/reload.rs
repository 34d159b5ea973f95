//! What a reload changes, and what it cannot.

use crate::config::Config;

/// The outcome of comparing the running configuration with a new one.
#[derive(Clone, Debug, PartialEq)]
pub struct ReloadPlan {
    /// Keys that changed and take effect, by name, in alphabetic order.
    pub changed: Vec<&'static str>,
    /// Keys that changed and need a restart, by name, in alphabetic order.
    pub ignored: Vec<&'static str>,
    /// What to run with from now on: the new values of `changed`, the old ones of everything else.
    pub config: Config,
}

impl ReloadPlan {
    /// The warning for what needs a restart, if anything does.
    pub fn warning(&self) -> Option<String> {
        if self.ignored.is_empty() {
            return None;
        }
        Some(format!(
            "Changes of these keys need a restart and were not applied: {}",
            self.ignored.join(", ")
        ))
    }
}

/// Compares fields. `live` ones are taken over, `fixed` ones stay; each may hold several keys, then
/// the key's name is that of the object.
macro_rules! compare {
    ($plan:ident, $old:ident, $new:ident, $all:ident; $($mark:ident $name:literal: $($field:ident).+;)+) => {
        $(
            if $old.$($field).+ != $new.$($field).+ {
                $all.$($field).+ = $new.$($field).+.clone();
                compare!(@$mark $plan, $new, $name, $($field).+);
            }
        )+
    };
    (@live $plan:ident, $new:ident, $name:literal, $($field:ident).+) => {
        $plan.config.$($field).+ = $new.$($field).+.clone();
        $plan.changed.push($name);
    };
    (@fixed $plan:ident, $new:ident, $name:literal, $($field:ident).+) => {
        $plan.ignored.push($name);
    };
}

impl Config {
    /// Compares a running configuration with a new one.
    pub fn diff_for_reload(old: &Config, new: &Config) -> ReloadPlan {
        let mut plan = ReloadPlan {
            changed: Vec::new(),
            ignored: Vec::new(),
            config: old.clone(),
        };
        // Follows every field named below; what then still differs has been forgotten there.
        let mut all = old.clone();
        compare!(plan, old, new, all;
            live "acl.tokens": acl.tokens;
            fixed "acl": acl.enabled;
            fixed "acl.default_policy": acl.default_policy;
            fixed "acl.down_policy": acl.down_policy;
            fixed "acl.policy_ttl": acl.policy_ttl;
            fixed "acl.role_ttl": acl.role_ttl;
            fixed "acl.token_ttl": acl.token_ttl;
            fixed "acl.enable_key_list_policy": acl.enable_key_list_policy;
            fixed "acl.enable_token_persistence": acl.enable_token_persistence;
            fixed "acl.enable_token_replication": acl.enable_token_replication;
            fixed "advertise_addr": advertise;
            fixed "advertise_reconnect_timeout": advertise_reconnect_timeout;
            fixed "auto_reload_config": auto_reload_config;
            fixed "autopilot": autopilot;
            fixed "bind_addr": bind_addr;
            fixed "bootstrap": bootstrap;
            fixed "bootstrap_expect": bootstrap_expect;
            live "cache": cache;
            fixed "check_output_max_size": check_output_max_size;
            fixed "check_update_interval": check_update_interval;
            live "checks": checks;
            fixed "client_addr": client_addrs;
            live "config_entries.bootstrap": config_entries_bootstrap;
            fixed "connect": connect_enabled;
            fixed "data_dir": data_dir;
            fixed "datacenter": datacenter;
            fixed "default_intention_policy": default_intention_policy;
            fixed "default_query_time": default_query_time;
            fixed "dev": dev_mode;
            fixed "disable_anonymous_signature": disable_anonymous_signature;
            fixed "disable_coordinates": disable_coordinates;
            fixed "disable_host_node_id": disable_host_node_id;
            fixed "disable_http_unprintable_char_filter": disable_http_unprintable_char_filter;
            fixed "disable_keyring_file": disable_keyring_file;
            fixed "disable_remote_exec": disable_remote_exec;
            fixed "disable_update_check": disable_update_check;
            live "discard_check_output": discard_check_output;
            fixed "discovery_max_stale": discovery_max_stale;
            fixed "alt_domain": dns.alt_domain;
            fixed "domain": dns.domain;
            live "recursors": dns.recursors;
            live "dns_config.recursor_strategy": dns.recursor_strategy;
            live "dns_config.recursor_timeout": dns.recursor_timeout;
            live "dns_config.allow_stale": dns.allow_stale;
            live "dns_config.max_stale": dns.max_stale;
            live "dns_config.node_ttl": dns.node_ttl;
            live "dns_config.service_ttl": dns.service_ttl;
            live "dns_config.only_passing": dns.only_passing;
            live "dns_config.enable_truncate": dns.enable_truncate;
            live "dns_config.udp_answer_limit": dns.udp_answer_limit;
            live "dns_config.a_record_limit": dns.a_record_limit;
            live "dns_config.disable_compression": dns.disable_compression;
            live "dns_config.enable_additional_node_meta_txt": dns.enable_additional_node_meta_txt;
            live "dns_config.soa": dns.soa;
            live "dns_config.use_cache": dns.use_cache;
            live "dns_config.cache_max_age": dns.cache_max_age;
            fixed "aws": aws;
            fixed "docker": docker;
            fixed "enable_agent_tls_for_checks": enable_agent_tls_for_checks;
            fixed "enable_central_service_config": enable_central_service_config;
            live "enable_debug": enable_debug;
            fixed "enable_local_script_checks": enable_local_script_checks;
            fixed "enable_script_checks": enable_script_checks;
            fixed "encrypt": encrypt;
            fixed "encrypt_verify_incoming": encrypt_verify_incoming;
            fixed "encrypt_verify_outgoing": encrypt_verify_outgoing;
            fixed "http_config": http;
            fixed "leave_on_terminate": leave_on_terminate;
            live "limits.http_max_conns_per_client": limits.http_max_conns_per_client;
            fixed "limits.https_handshake_timeout": limits.https_handshake_timeout;
            fixed "limits.rpc_handshake_timeout": limits.rpc_handshake_timeout;
            live "limits.rpc_client_timeout": limits.rpc_client_timeout;
            live "limits.rpc_max_conns_per_client": limits.rpc_max_conns_per_client;
            live "limits.rpc_rate": limits.rpc_rate;
            live "limits.rpc_max_burst": limits.rpc_max_burst;
            fixed "limits.kv_max_value_size": limits.kv_max_value_size;
            fixed "limits.txn_max_req_len": limits.txn_max_req_len;
            live "limits.request_limits.mode": limits.request_limits_mode;
            live "limits.request_limits.read_rate": limits.request_limits_read_rate;
            live "limits.request_limits.write_rate": limits.request_limits_write_rate;
            fixed "addresses": listeners;
            fixed "locality": locality;
            live "log_level": logging.level;
            fixed "log_json": logging.json;
            fixed "log_file": logging.file;
            fixed "log_rotate_duration": logging.rotate_duration;
            fixed "log_rotate_bytes": logging.rotate_bytes;
            fixed "log_rotate_max_files": logging.rotate_max_files;
            fixed "enable_syslog": logging.syslog;
            fixed "syslog_facility": logging.syslog_facility;
            fixed "max_query_time": max_query_time;
            fixed "node_id": node_id;
            live "node_meta": node_meta;
            fixed "node_name": node_name;
            fixed "peering": peering_enabled;
            fixed "performance": performance;
            fixed "pid_file": pid_file;
            fixed "ports": ports;
            fixed "primary_datacenter": primary_datacenter;
            fixed "protocol": protocol;
            fixed "raft_logstore.backend": raft_logstore_backend;
            fixed "raft_protocol": raft_protocol;
            fixed "raft_snapshot_interval": raft_snapshot_interval;
            fixed "raft_snapshot_threshold": raft_snapshot_threshold;
            fixed "raft_trailing_logs": raft_trailing_logs;
            fixed "rejoin_after_leave": rejoin_after_leave;
            fixed "retry_join": retry_join_lan;
            fixed "retry_join_wan": retry_join_wan;
            fixed "rpc address": rpc_bind;
            fixed "rpc advertise address": rpc_advertise;
            fixed "rpc.enable_streaming": rpc_enable_streaming;
            fixed "gossip_lan": serf_lan;
            fixed "gossip_wan": serf_wan;
            fixed "server": server;
            fixed "server_name": server_name;
            fixed "server_rejoin_age_max": server_rejoin_age_max;
            live "services": services;
            fixed "session_ttl_min": session_ttl_min;
            fixed "skip_leave_on_interrupt": skip_leave_on_interrupt;
            fixed "tagged_addresses": tagged_addresses;
            live "telemetry.prefix_filter": telemetry.allowed_prefixes;
            live "telemetry.prefix_filter": telemetry.blocked_prefixes;
            fixed "telemetry.metrics_prefix": telemetry.metrics_prefix;
            fixed "telemetry.disable_hostname": telemetry.disable_hostname;
            fixed "telemetry.enable_host_metrics": telemetry.enable_host_metrics;
            fixed "telemetry.filter_default": telemetry.filter_default;
            fixed "telemetry.statsd_address": telemetry.statsd_address;
            fixed "telemetry.statsite_address": telemetry.statsite_address;
            fixed "telemetry.dogstatsd_addr": telemetry.dogstatsd_addr;
            fixed "telemetry.dogstatsd_tags": telemetry.dogstatsd_tags;
            fixed "telemetry.prometheus_retention_time": telemetry.prometheus_retention_time;
            fixed "telemetry.retry_failed_connection": telemetry.retry_failed_connection;
            live "tls": tls;
            fixed "translate_wan_addrs": translate_wan_addrs;
            fixed "ui_config": ui;
            fixed "unix_sockets": unix_sockets;
            fixed "use_streaming_backend": use_streaming_backend;
            live "watches": watches;
        );
        debug_assert_eq!(&all, new, "a field is missing in the list above");
        plan.changed.sort_unstable();
        plan.changed.dedup();
        plan.ignored.sort_unstable();
        plan
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::{Kind, Schema, Support};
    use crate::testing::config;

    #[test]
    fn a_reload_takes_what_it_can() {
        let old = config("node_name = \"a\"\nlog_level = \"INFO\"\nservice { name = \"one\" }");
        let new = config(
            "node_name = \"b\"\nlog_level = \"DEBUG\"\nservice { name = \"two\" }\nports { http = 9500 }\nrecursors = [\"9.9.9.9\"]\ndomain = \"x\"",
        );
        let plan = Config::diff_for_reload(&old, &new);
        assert_eq!(plan.changed, ["log_level", "recursors", "services"]);
        assert_eq!(plan.ignored, ["addresses", "domain", "node_name", "ports"]);
        assert_eq!(plan.config.services[0].name, "two");
        assert_eq!(
            (plan.config.node_name.as_str(), plan.config.ports.http),
            ("a", Some(8500))
        );
        assert!(
            plan.warning()
                .is_some_and(|text| text.ends_with("addresses, domain, node_name, ports"))
        );
        let same = Config::diff_for_reload(&old, &old);
        assert!(same.changed.is_empty() && same.ignored.is_empty() && same.warning().is_none());
    }

    /// A value for the key that differs from its default.
    fn other_value(path: &str, kind: Kind) -> Option<String> {
        let text = match path {
            // Some need company to be valid, or stand for something else.
            "bootstrap" | "bootstrap_expect" | "node_id" | "encrypt" | "raft_protocol"
            | "protocol" => return None,
            "data_dir" | "bind_addr" | "advertise_addr_ipv6" | "advertise_addr_wan_ipv6" => {
                return None;
            }
            // These listeners are off by default.
            "addresses.grpc" | "addresses.https" => return None,
            "server" | "skip_leave_on_interrupt" => "false",
            "log_level" => "\"WARN\"",
            "ui_config.content_path" => "\"/x/\"",
            "unix_sockets.mode" => "\"0700\"",
            "datacenter" | "primary_datacenter" => "\"other\"",
            "default_intention_policy" => "\"deny\"",
            "dns_config.recursor_strategy" => "\"random\"",
            "limits.request_limits.mode" => "\"permissive\"",
            "telemetry.prefix_filter" => "[\"+x\"]",
            // Says nothing while the block is off.
            "docker.mode" => return None,
            "docker.deregister" => "\"on-success\"",
            "docker.host" => "\"tcp://127.0.0.1:1\"",
            "ports.serf_wan" | "ports.sidecar_min_port" => return None,
            "tls.https.cert_file"
            | "tls.https.key_file"
            | "tls.internal_rpc.cert_file"
            | "tls.internal_rpc.key_file"
            | "tls.defaults.cert_file"
            | "tls.defaults.key_file" => return None,
            p if p.starts_with("tls.") && p.contains(".verify_") => return None,
            p if p.ends_with("tls_min_version") => "\"TLSv1_3\"",
            p if p.ends_with("allowed_cidrs") || p.ends_with("write_http_from") => {
                "[\"10.0.0.0/8\"]"
            }
            "recursors" => "[\"9.9.9.9\"]",
            "performance.raft_multiplier" => "2",
            "services" | "service" => "{ name = \"x\" }",
            "checks" | "check" => "{ name = \"x\", ttl = \"5s\" }",
            "watches" => "[{ type = \"key\" }]",
            "server_rejoin_age_max" => "\"700h\"",
            p if p.contains("addr") || p == "serf_lan" || p == "serf_wan" => match kind {
                Kind::Text => "\"127.0.0.9\"",
                _ => return other_of(path, kind),
            },
            _ => return other_of(path, kind),
        };
        Some(text.to_string())
    }

    fn other_of(path: &str, kind: Kind) -> Option<String> {
        let default = Schema::agent().key(path).and_then(|key| key.default);
        Some(match kind {
            Kind::Bool => (default != Some("true")).to_string(),
            Kind::Int | Kind::Port | Kind::Float => "4321".into(),
            Kind::Text => "\"other\"".into(),
            Kind::Duration => "\"4321s\"".into(),
            Kind::List => "[\"other\"]".into(),
            Kind::Map => "{ k = \"v\" }".into(),
            Kind::DurationMap => "{ k = \"4321s\" }".into(),
            Kind::AnyList => "[{ k = 1 }]".into(),
            _ => return None,
        })
    }

    /// Every key reaches the configuration, and reloads as its definition says.
    #[test]
    fn the_table_of_keys_and_the_list_of_fields_agree() {
        let old = config("server = true");
        let mut without_effect = Vec::new();
        for key in Schema::agent()
            .keys()
            .filter(|key| key.support == Support::Full)
        {
            let Some(value) = other_value(key.path, key.kind) else {
                continue;
            };
            let parts: Vec<&str> = key.path.split('.').collect();
            let (last, outer) = parts.split_last().expect("a name");
            let open: String = outer.iter().map(|part| format!("{part} {{ ")).collect();
            let text = format!(
                "server = true\n{open}{last} = {value}{}",
                " }".repeat(outer.len())
            );
            let text = text.replace("server = true\nserver = false", "server = false");
            let new = config(&text);
            let plan = Config::diff_for_reload(&old, &new);
            if new == old {
                without_effect.push(key.path);
            } else if key.reload {
                assert!(
                    plan.ignored.is_empty() && !plan.changed.is_empty(),
                    "{}: {plan:?}",
                    key.path
                );
            } else {
                assert!(
                    plan.changed.is_empty() && !plan.ignored.is_empty(),
                    "{}: {plan:?}",
                    key.path
                );
            }
        }
        assert_eq!(
            without_effect,
            Vec::<&str>::new(),
            "keys that change nothing"
        );
    }
}
