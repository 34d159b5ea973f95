//! The configuration as `/v1/agent/self` shows it.

use std::fmt::{self, Display};

use serde_json::{Map, Value, json};

use crate::config::{Config, RecursorStrategy, RequestLimitsMode, SerfPool, TlsProtocol};
use crate::definitions::{CheckDefinition, ServiceDefinition};

/// Stands for every secret.
const HIDDEN: &str = "hidden";

impl Config {
    /// The `DebugConfig` of `/v1/agent/self`: keys and forms as Consul has them, in alphabetic
    /// order, secrets as `hidden`, durations as text. What only the running agent knows (version,
    /// build date, the node's id where none is configured) is for the caller to add.
    pub fn debug_json(&self) -> Value {
        let mut out = Map::new();
        for part in [
            self.debug_node(),
            self.debug_network(),
            self.debug_clients(),
            self.debug_security(),
        ] {
            if let Value::Object(part) = part {
                out.extend(part);
            }
        }
        sorted(Value::Object(out))
    }

    fn debug_node(&self) -> Value {
        let checks: Vec<Value> = self.checks.iter().map(check).collect();
        let services: Vec<Value> = self.services.iter().map(service).collect();
        let logging = &self.logging;
        let telemetry = &self.telemetry;
        let autopilot = &self.autopilot;
        let locality = self
            .locality
            .as_ref()
            .map_or(Value::Null, |l| json!({"Region": l.region, "Zone": l.zone}));
        json!({
            "AutoReloadConfig": self.auto_reload_config,
            "AutopilotCleanupDeadServers": autopilot.cleanup_dead_servers,
            "AutopilotDisableUpgradeMigration": false,
            "AutopilotLastContactThreshold": text(autopilot.last_contact_threshold),
            "AutopilotMaxTrailingLogs": autopilot.max_trailing_logs,
            "AutopilotMinQuorum": autopilot.min_quorum,
            "AutopilotRedundancyZoneTag": "",
            "AutopilotServerStabilizationTime": text(autopilot.server_stabilization_time),
            "AutopilotUpgradeVersionTag": "",
            "Bootstrap": self.bootstrap,
            "BootstrapExpect": self.bootstrap_expect,
            "Cache": {
                "EntryFetchMaxBurst": self.cache.entry_fetch_max_burst,
                "EntryFetchRate": rate(self.cache.entry_fetch_rate),
            },
            "CheckOutputMaxSize": self.check_output_max_size,
            "CheckUpdateInterval": text(self.check_update_interval),
            "Checks": checks,
            "ConfigEntryBootstrap": self.config_entries_bootstrap,
            "ConnectEnabled": self.connect_enabled,
            "ConsulServerHealthInterval": text(autopilot.health_interval),
            "DataDir": self.data_dir.clone().unwrap_or_default(),
            "Datacenter": self.datacenter,
            "DefaultIntentionPolicy": self.default_intention_policy,
            "DevMode": self.dev_mode,
            "DisableAnonymousSignature": self.disable_anonymous_signature,
            "DisableHostNodeID": self.disable_host_node_id,
            "DisableRemoteExec": self.disable_remote_exec,
            "DisableUpdateCheck": self.disable_update_check,
            "DiscardCheckOutput": self.discard_check_output,
            "EnableAgentTLSForChecks": self.enable_agent_tls_for_checks,
            "EnableCentralServiceConfig": self.enable_central_service_config,
            "EnableDebug": self.enable_debug,
            "EnableLocalScriptChecks": self.enable_local_script_checks,
            "EnableRemoteScriptChecks": self.enable_script_checks,
            "EnterpriseRuntimeConfig": {},
            "Experiments": [],
            "GRPCKeepaliveInterval": text(self.performance.grpc_keepalive_interval),
            "GRPCKeepaliveTimeout": text(self.performance.grpc_keepalive_timeout),
            "LeaveDrainTime": text(self.performance.leave_drain_time),
            "LeaveOnTerm": self.leave_on_terminate,
            "Locality": locality,
            "Logging": {
                "EnableSyslog": logging.syslog,
                "LogFilePath": logging.file.clone().unwrap_or_default(),
                "LogJSON": logging.json,
                "LogLevel": text(logging.level),
                "LogRotateBytes": logging.rotate_bytes,
                "LogRotateDuration": text(logging.rotate_duration),
                "LogRotateMaxFiles": logging.rotate_max_files,
                "Name": "agent",
                "SyslogFacility": logging.syslog_facility,
            },
            "NodeID": self.node_id.clone().unwrap_or_default(),
            "NodeMeta": self.node_meta,
            "NodeName": self.node_name,
            "PeeringEnabled": self.peering_enabled,
            "PidFile": self.pid_file.clone().unwrap_or_default(),
            "PrimaryDatacenter": self.primary_datacenter,
            "RPCHoldTimeout": text(self.performance.rpc_hold_timeout),
            "RaftLogStoreConfig": {"Backend": self.raft_logstore_backend},
            "RaftProtocol": self.raft_protocol,
            "RaftSnapshotInterval": text(self.raft_snapshot_interval),
            "RaftSnapshotThreshold": self.raft_snapshot_threshold,
            "RaftTrailingLogs": self.raft_trailing_logs,
            "ReadReplica": false,
            "SegmentName": "",
            "Segments": [],
            "ServerMode": self.server,
            "ServerName": self.server_name.clone().unwrap_or_default(),
            "ServerRejoinAgeMax": text(self.server_rejoin_age_max),
            "Services": services,
            "SessionTTLMin": text(self.session_ttl_min),
            "SkipLeaveOnInt": self.skip_leave_on_interrupt,
            "Telemetry": {
                "AllowedPrefixes": telemetry.allowed_prefixes,
                "BlockedPrefixes": telemetry.blocked_prefixes,
                "DisableHostname": telemetry.disable_hostname,
                "DogstatsdAddr": telemetry.dogstatsd_addr.clone().unwrap_or_default(),
                "DogstatsdTags": telemetry.dogstatsd_tags,
                "EnableHostMetrics": telemetry.enable_host_metrics,
                "FilterDefault": telemetry.filter_default,
                "MetricsPrefix": telemetry.metrics_prefix,
                "PrometheusOpts": {"Expiration": text(telemetry.prometheus_retention_time)},
                "RetryFailedConfiguration": telemetry.retry_failed_connection,
                "StatsdAddr": telemetry.statsd_address.clone().unwrap_or_default(),
                "StatsiteAddr": telemetry.statsite_address.clone().unwrap_or_default(),
            },
            "Watches": self.watches,
        })
    }

    fn debug_network(&self) -> Value {
        let lan = &self.serf_lan;
        let mut out = json!({
            "AdvertiseAddrLAN": text(self.advertise.lan),
            "AdvertiseAddrWAN": text(self.advertise.wan),
            "AdvertiseReconnectTimeout": text(self.advertise_reconnect_timeout),
            "BindAddr": text(self.bind_addr),
            "ClientAddrs": texts(&self.client_addrs),
            "DisableCoordinates": self.disable_coordinates,
            "DisableKeyringFile": self.disable_keyring_file,
            "EncryptKey": HIDDEN,
            "EncryptVerifyIncoming": self.encrypt_verify_incoming,
            "EncryptVerifyOutgoing": self.encrypt_verify_outgoing,
            "RPCAdvertiseAddr": format!("tcp://{}", self.rpc_advertise),
            "RPCBindAddr": format!("tcp://{}", self.rpc_bind),
            "RPCProtocol": self.protocol,
            "ReconnectTimeoutLAN": text(lan.reconnect_timeout),
            "RejoinAfterLeave": self.rejoin_after_leave,
            "RetryJoinIntervalLAN": text(self.retry_join_lan.interval),
            "RetryJoinIntervalWAN": text(self.retry_join_wan.interval),
            "RetryJoinLAN": joins(&self.retry_join_lan.addresses),
            "RetryJoinMaxAttemptsLAN": self.retry_join_lan.max,
            "RetryJoinMaxAttemptsWAN": self.retry_join_wan.max,
            "RetryJoinWAN": joins(&self.retry_join_wan.addresses),
            "SerfPortLAN": self.ports.serf_lan,
            "SerfPortWAN": port(self.ports.serf_wan),
            "ServerPort": self.ports.server,
            "TaggedAddresses": self.tagged_addresses,
            "TranslateWANAddrs": self.translate_wan_addrs,
            "UnixSocketGroup": self.unix_sockets.group,
            "UnixSocketMode": self.unix_sockets.mode.map(|m| format!("{m:04o}")).unwrap_or_default(),
            "UnixSocketUser": self.unix_sockets.user,
        });
        if let Value::Object(out) = &mut out {
            pool(out, lan, "LAN");
            match &self.serf_wan {
                Some(wan) => {
                    out.insert("ReconnectTimeoutWAN".into(), text(wan.reconnect_timeout));
                    pool(out, wan, "WAN");
                }
                None => {
                    out.insert("SerfAdvertiseAddrWAN".into(), "".into());
                    out.insert("SerfBindAddrWAN".into(), "".into());
                }
            }
        }
        out
    }

    fn debug_clients(&self) -> Value {
        let dns = &self.dns;
        let ttl: Map<String, Value> = dns
            .service_ttl
            .iter()
            .map(|(name, ttl)| (name.clone(), text(*ttl)))
            .collect();
        let udp_and_tcp: Vec<String> = self
            .listeners
            .dns
            .iter()
            .flat_map(|addr| [format!("tcp://{addr}"), format!("udp://{addr}")])
            .collect();
        let recursors: Vec<String> = dns
            .recursors
            .iter()
            .map(|addr| {
                if addr.port() == 53 {
                    addr.ip().to_string()
                } else {
                    addr.to_string()
                }
            })
            .collect();
        json!({
            "AllowWriteHTTPFrom": self.http.allow_write_http_from,
            "DNSARecordLimit": dns.a_record_limit,
            "DNSAddrs": udp_and_tcp,
            "DNSAllowStale": dns.allow_stale,
            "DNSAltDomain": dns.alt_domain,
            "DNSCacheMaxAge": text(dns.cache_max_age),
            "DNSDisableCompression": dns.disable_compression,
            "DNSDomain": dns.domain,
            "DNSEnableTruncate": dns.enable_truncate,
            "DNSMaxStale": text(dns.max_stale),
            "DNSNodeMetaTXT": dns.enable_additional_node_meta_txt,
            "DNSNodeTTL": text(dns.node_ttl),
            "DNSOnlyPassing": dns.only_passing,
            "DNSPort": port(self.ports.dns),
            "DNSRecursorStrategy": match dns.recursor_strategy {
                RecursorStrategy::Sequential => "sequential",
                RecursorStrategy::Random => "random",
            },
            "DNSRecursorTimeout": text(dns.recursor_timeout),
            "DNSRecursors": recursors,
            "DNSSOA": {
                "Expire": dns.soa.expire,
                "Minttl": dns.soa.min_ttl,
                "Refresh": dns.soa.refresh,
                "Retry": dns.soa.retry,
            },
            "DNSServiceTTL": ttl,
            "DNSUDPAnswerLimit": dns.udp_answer_limit,
            "DNSUseCache": dns.use_cache,
            "DefaultQueryTime": text(self.default_query_time),
            "DisableHTTPUnprintableCharFilter": self.disable_http_unprintable_char_filter,
            "DiscoveryMaxStale": text(self.discovery_max_stale),
            "GRPCAddrs": texts(&self.listeners.grpc),
            "GRPCPort": port(self.ports.grpc),
            "GRPCTLSAddrs": texts(&self.listeners.grpc_tls),
            "GRPCTLSPort": port(self.ports.grpc_tls),
            "HTTPAddrs": texts(&self.listeners.http),
            "HTTPBlockEndpoints": self.http.block_endpoints,
            "HTTPMaxHeaderBytes": self.http.max_header_bytes,
            "HTTPPort": port(self.ports.http),
            "HTTPResponseHeaders": self.http.response_headers,
            "HTTPSAddrs": texts(&self.listeners.https),
            "HTTPSPort": port(self.ports.https),
            "HTTPUseCache": self.http.use_cache,
            "MaxQueryTime": text(self.max_query_time),
            "RPCConfig": {"EnableStreaming": self.rpc_enable_streaming},
            "UIConfig": {
                "ContentPath": self.ui.content_path,
                "DashboardURLTemplates": self.ui.dashboard_url_templates,
                "Dir": self.ui.dir.clone().unwrap_or_default(),
                "Enabled": self.ui.enabled,
                "HCPEnabled": false,
                "MetricsProvider": "",
                "MetricsProviderFiles": [],
                "MetricsProviderOptionsJSON": "",
                "MetricsProxy": {"AddHeaders": [], "BaseURL": "", "PathAllowlist": []},
            },
            "UseStreamingBackend": self.use_streaming_backend,
        })
    }

    fn debug_security(&self) -> Value {
        let (acl, limits) = (&self.acl, &self.limits);
        json!({
            "ACLEnableKeyListPolicy": acl.enable_key_list_policy,
            "ACLInitialManagementToken": HIDDEN,
            "ACLResolverSettings": {
                "ACLDefaultPolicy": acl.default_policy,
                "ACLDownPolicy": acl.down_policy,
                "ACLPolicyTTL": text(acl.policy_ttl),
                "ACLRoleTTL": text(acl.role_ttl),
                "ACLTokenTTL": text(acl.token_ttl),
                "ACLsEnabled": acl.enabled,
                "Datacenter": self.datacenter,
                "EnterpriseMeta": {},
                "NodeName": self.node_name,
            },
            "ACLTokenReplication": acl.enable_token_replication,
            "ACLTokens": {
                "ACLAgentRecoveryToken": HIDDEN,
                "ACLAgentToken": HIDDEN,
                "ACLConfigFileRegistrationToken": HIDDEN,
                "ACLDNSToken": HIDDEN,
                "ACLDefaultToken": HIDDEN,
                "ACLReplicationToken": HIDDEN,
                "DataDir": self.data_dir.clone().unwrap_or_default(),
                "EnablePersistence": acl.enable_token_persistence,
                "EnterpriseConfig": {},
            },
            "ACLsEnabled": acl.enabled,
            "AutoEncryptAllowTLS": false,
            "AutoEncryptDNSSAN": [],
            "AutoEncryptIPSAN": [],
            "AutoEncryptTLS": false,
            "HTTPMaxConnsPerClient": limits.http_max_conns_per_client,
            "HTTPSHandshakeTimeout": text(limits.https_handshake_timeout),
            "KVMaxValueSize": limits.kv_max_value_size,
            "RPCClientTimeout": text(limits.rpc_client_timeout),
            "RPCHandshakeTimeout": text(limits.rpc_handshake_timeout),
            "RPCMaxBurst": limits.rpc_max_burst,
            "RPCMaxConnsPerClient": limits.rpc_max_conns_per_client,
            "RPCRateLimit": rate(limits.rpc_rate),
            "RequestLimitsMode": match limits.request_limits_mode {
                RequestLimitsMode::Disabled => 0,
                RequestLimitsMode::Permissive => 1,
                RequestLimitsMode::Enforcing => 2,
            },
            "RequestLimitsReadRate": rate(limits.request_limits_read_rate),
            "RequestLimitsWriteRate": rate(limits.request_limits_write_rate),
            "TLS": {
                "AutoTLS": false,
                "Domain": self.dns.domain,
                "EnableAgentTLSForChecks": self.enable_agent_tls_for_checks,
                "GRPC": tls(&self.tls.grpc),
                "HTTPS": tls(&self.tls.https),
                "InternalRPC": tls(&self.tls.internal_rpc),
                "NodeName": self.node_name,
                "ServerMode": self.server,
                "ServerName": self.server_name.clone().unwrap_or_default(),
            },
            "TxnMaxReqLen": limits.txn_max_req_len,
        })
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Config({})", self.debug_json())
    }
}

impl fmt::Debug for ServiceDefinition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServiceDefinition({})", service(self))
    }
}

impl fmt::Debug for CheckDefinition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CheckDefinition({})", check(self))
    }
}

fn text(value: impl Display) -> Value {
    Value::String(value.to_string())
}

fn texts<T: Display>(values: &[T]) -> Vec<String> {
    values.iter().map(ToString::to_string).collect()
}

/// A port, -1 when off.
fn port(port: Option<u16>) -> i32 {
    port.map_or(-1, i32::from)
}

/// A rate; no limit is the largest float, as Go has it.
fn rate(rate: Option<f64>) -> f64 {
    rate.unwrap_or(f64::MAX)
}

fn pool(out: &mut Map<String, Value>, pool: &SerfPool, name: &str) {
    let mut put = |key: &str, value: Value| out.insert(format!("Gossip{name}{key}"), value);
    put("GossipInterval", text(pool.gossip_interval));
    put("GossipNodes", pool.gossip_nodes.into());
    put("ProbeInterval", text(pool.probe_interval));
    put("ProbeTimeout", text(pool.probe_timeout));
    put("RetransmitMult", pool.retransmit_mult.into());
    put("SuspicionMult", pool.suspicion_mult.into());
    out.insert(
        format!("SerfAdvertiseAddr{name}"),
        text(format!("tcp://{}", pool.advertise)),
    );
    out.insert(
        format!("SerfBindAddr{name}"),
        text(format!("tcp://{}", pool.bind)),
    );
    out.insert(format!("SerfAllowedCIDRs{name}"), json!(pool.allowed_cidrs));
}

fn tls(tls: &TlsProtocol) -> Value {
    json!({
        "CAFile": tls.ca_file,
        "CAPath": tls.ca_path,
        "CertFile": tls.cert_file,
        "CipherSuites": tls.cipher_suites,
        "KeyFile": HIDDEN,
        "TLSMinVersion": tls.min_version,
        "UseAutoCert": tls.use_auto_cert,
        "VerifyIncoming": tls.verify_incoming,
        "VerifyOutgoing": tls.verify_outgoing,
        "VerifyServerHostname": tls.verify_server_hostname,
    })
}

fn joins(texts: &[String]) -> Vec<String> {
    texts.iter().map(|text| without_secrets(text)).collect()
}

/// An address to join, without the values of a `provider=...` text that grant something.
pub fn without_secrets(text: &str) -> String {
    if !text.contains("provider=") {
        return text.to_string();
    }
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('=') {
        let (before, after) = (&rest[..at], &rest[at + 1..]);
        let key = before
            .rsplit(char::is_whitespace)
            .next()
            .unwrap_or(before)
            .to_lowercase();
        let value = value_length(after);
        out.push_str(before);
        out.push('=');
        let secret = [
            "secret",
            "token",
            "password",
            "credential",
            "access_key",
            "api_key",
        ];
        if secret.iter().any(|word| key.contains(word)) {
            out.push_str(HIDDEN);
        } else {
            out.push_str(&after[..value]);
        }
        rest = &after[value..];
    }
    out.push_str(rest);
    out
}

/// Length of a value: to the next blank, or to the closing quote.
fn value_length(text: &str) -> usize {
    if !text.starts_with('"') {
        return text.find(char::is_whitespace).unwrap_or(text.len());
    }
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn service(service: &ServiceDefinition) -> Value {
    let addresses: Map<String, Value> = service
        .tagged_addresses
        .iter()
        .map(|(tag, a)| (tag.clone(), json!({"Address": a.address, "Port": a.port})))
        .collect();
    let checks: Vec<Value> = service.checks.iter().map(check).collect();
    json!({
        "Address": service.address,
        "Checks": checks,
        "Connect": service.connect,
        "EnableTagOverride": service.enable_tag_override,
        "ID": service.id,
        "Kind": service.kind,
        "Meta": service.meta,
        "Name": service.name,
        "Port": service.port,
        "Proxy": service.proxy,
        "SocketPath": service.socket_path,
        "TaggedAddresses": addresses,
        "Tags": service.tags,
        "Token": HIDDEN,
        "Weights": {"Passing": service.weights.passing, "Warning": service.weights.warning},
    })
}

fn check(check: &CheckDefinition) -> Value {
    // Header values are often credentials.
    let header: Map<String, Value> = check
        .header
        .keys()
        .map(|name| (name.clone(), json!([HIDDEN])))
        .collect();
    json!({
        "AliasNode": check.alias_node,
        "AliasService": check.alias_service,
        "Body": check.body,
        "DeregisterCriticalServiceAfter": text(check.deregister_critical_service_after),
        "DisableRedirects": check.disable_redirects,
        "DockerContainerID": check.docker_container_id,
        "FailuresBeforeCritical": check.failures_before_critical,
        "FailuresBeforeWarning": check.failures_before_warning,
        "GRPC": check.grpc,
        "GRPCUseTLS": check.grpc_use_tls,
        "H2PING": check.h2ping,
        "H2PingUseTLS": check.h2ping_use_tls,
        "HTTP": check.http,
        "Header": header,
        "ID": check.id,
        "Interval": text(check.interval),
        "Method": check.method,
        "Name": check.name,
        "Notes": check.notes,
        "OSService": check.os_service,
        "OutputMaxSize": check.output_max_size,
        "ScriptArgs": check.args,
        "ServiceID": check.service_id,
        "Shell": check.shell,
        "Status": check.status,
        "SuccessBeforePassing": check.success_before_passing,
        "TCP": check.tcp,
        "TCPUseTLS": check.tcp_use_tls,
        "TLSServerName": check.tls_server_name,
        "TLSSkipVerify": check.tls_skip_verify,
        "TTL": text(check.ttl),
        "Timeout": text(check.timeout),
        "Token": HIDDEN,
        "UDP": check.udp,
    })
}

/// Objects with their keys in order, at every depth.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<(String, Value)> = map.into_iter().collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(
                entries
                    .into_iter()
                    .map(|(key, value)| (key, sorted(value)))
                    .collect(),
            )
        }
        Value::Array(list) => Value::Array(list.into_iter().map(sorted).collect()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::config;

    #[test]
    fn the_debug_form_hides_secrets_and_is_sorted() {
        let c = config(
            "encrypt = \"AAAAAAAAAAAAAAAAAAAAAA==\"\nretry_join = [\"provider=aws secret_access_key=geheim tag_key=\\\"a b\\\" token=\\\"x y\\\"\"]
             service { name = \"a\"\n token = \"geheim\"\n check { http = \"u\"\n interval = \"1s\"\n token = \"geheim\"\n header { Authorization = [\"geheim\"] } } }
             tls { https { cert_file = \"c\"\n key_file = \"geheim\" } }",
        );
        let json = c.debug_json();
        let text = json.to_string();
        assert!(
            !text.contains("geheim") && !text.contains("AAAAAAAA"),
            "{text}"
        );
        assert_eq!(
            json["RetryJoinLAN"][0],
            "provider=aws secret_access_key=hidden tag_key=\"a b\" token=hidden"
        );
        let keys: Vec<&String> = json.as_object().expect("object").keys().collect();
        assert!(keys.windows(2).all(|pair| pair[0] < pair[1]), "{keys:?}");
        assert!(!format!("{c:?}").contains("AAAA") || c.encrypt.is_some());
        for key in [
            "AdvertiseAddrLAN",
            "AdvertiseAddrWAN",
            "BindAddr",
            "DNSAltDomain",
            "DNSDomain",
            "DNSRecursorStrategy",
            "DataDir",
            "Datacenter",
            "DefaultIntentionPolicy",
            "EncryptKey",
            "NodeID",
            "NodeName",
            "PidFile",
            "PrimaryDatacenter",
            "RPCAdvertiseAddr",
            "RPCBindAddr",
            "SegmentName",
            "SerfAdvertiseAddrLAN",
            "SerfBindAddrLAN",
            "ServerName",
            "CheckUpdateInterval",
            "DNSNodeTTL",
            "DNSMaxStale",
            "DefaultQueryTime",
            "LeaveDrainTime",
            "MaxQueryTime",
            "ReconnectTimeoutLAN",
            "SessionTTLMin",
            "ACLsEnabled",
            "AutoEncryptAllowTLS",
            "Bootstrap",
            "ConnectEnabled",
            "DevMode",
            "DisableRemoteExec",
            "DisableUpdateCheck",
            "EnableDebug",
            "EnableLocalScriptChecks",
            "EnableRemoteScriptChecks",
            "LeaveOnTerm",
            "PeeringEnabled",
            "RejoinAfterLeave",
            "ServerMode",
            "SkipLeaveOnInt",
            "TranslateWANAddrs",
            "UseStreamingBackend",
            "BootstrapExpect",
            "DNSPort",
            "GRPCPort",
            "GRPCTLSPort",
            "HTTPPort",
            "HTTPSPort",
            "HTTPMaxConnsPerClient",
            "KVMaxValueSize",
            "RaftProtocol",
            "SerfPortLAN",
            "SerfPortWAN",
            "ServerPort",
            "TxnMaxReqLen",
            "RPCRateLimit",
            "RequestLimitsReadRate",
            "RequestLimitsWriteRate",
            "Checks",
            "ClientAddrs",
            "DNSAddrs",
            "DNSRecursors",
            "GRPCAddrs",
            "HTTPAddrs",
            "HTTPSAddrs",
            "RetryJoinLAN",
            "RetryJoinWAN",
            "Services",
            "ACLResolverSettings",
            "ACLTokens",
            "DNSSOA",
            "DNSServiceTTL",
            "Logging",
            "NodeMeta",
            "RaftLogStoreConfig",
            "RPCConfig",
            "TLS",
            "TaggedAddresses",
            "Telemetry",
            "UIConfig",
        ] {
            assert!(json.get(key).is_some(), "{key} is missing");
        }
        assert_eq!(json["HTTPAddrs"][0], "tcp://127.0.0.1:8500");
        assert_eq!(json["CheckUpdateInterval"], "5m0s");
        assert_eq!(json["HTTPSPort"], -1);
        assert_eq!(
            json["RPCRateLimit"].to_string(),
            "1.7976931348623157e+308".to_string()
        );
    }
}
