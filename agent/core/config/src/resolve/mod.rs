//! From what was given to a validated [`Config`].
//!
//! Some rules end the work at once (a bind address that is none); most faults are collected and
//! told together. Both follow Consul, in order and in text.

mod containers;
mod definitions;
mod gate;
mod network;
mod rules;
mod security;

use std::collections::BTreeMap;

use lictor_sockaddr::Interface;
use lictor_wire::{GoDuration, duration::go_quote};

use crate::config::{
    Autopilot, CacheConfig, Config, DnsConfig, HttpConfig, Limits, Locality, LogLevel, Logging,
    Performance, RecursorStrategy, RequestLimitsMode, Soa, Telemetry, UiConfig,
};
use crate::definitions::{CheckDefinition, ServiceDefinition};
use crate::error::Errors;
use crate::given::{Given, Item};
use crate::keys::{Key, Kind, Schema};

/// Reads typed values with their defaults, and collects what is wrong with them.
pub(crate) struct Resolver<'a> {
    given: &'a Given,
    interfaces: &'a [Interface],
    dev: bool,
    errors: Vec<String>,
    warnings: Vec<String>,
}

/// Turns the merged keys into a configuration.
pub(crate) fn resolve(
    given: &Given,
    dev: bool,
    interfaces: &[Interface],
    hostname: &str,
    warnings: Vec<String>,
) -> Result<(Config, Vec<String>), Errors> {
    let mut r = Resolver {
        given,
        interfaces,
        dev,
        errors: Vec::new(),
        warnings,
    };
    gate::check(&mut r);
    let config = r.config(hostname)?;
    if !r.errors.is_empty() {
        return Err(Errors::Many(r.errors));
    }
    rules::check(&config, &mut r).map_err(Errors::One)?;
    Ok((config, r.warnings))
}

/// Only the services and checks.
pub(crate) fn definitions(
    given: &Given,
) -> Result<(Vec<ServiceDefinition>, Vec<CheckDefinition>), Errors> {
    let (errors, warnings) = (Vec::new(), Vec::new());
    let mut r = Resolver {
        given,
        interfaces: &[],
        dev: false,
        errors,
        warnings,
    };
    let found = r.definitions();
    if r.errors.is_empty() {
        Ok(found)
    } else {
        Err(Errors::Many(r.errors))
    }
}

impl Resolver<'_> {
    fn error(&mut self, text: impl Into<String>) {
        self.errors.push(text.into());
    }

    fn warn(&mut self, text: impl Into<String>) {
        self.warnings.push(text.into());
    }

    /// ` (at file:1:2)` for a key that was given.
    fn place(&self, path: &str) -> String {
        match self.given.origin(path) {
            Some(origin) => format!(" (at {origin})"),
            None => String::new(),
        }
    }

    /// The text of the key's default in this mode.
    fn default(&self, path: &str) -> Option<&'static str> {
        let key: Option<&Key> = Schema::agent().key(path);
        debug_assert!(key.is_some(), "{path} is not in the table of keys");
        let key = key?;
        if self.dev && key.dev.is_some() {
            key.dev
        } else {
            key.default
        }
    }

    /// A boolean without a default.
    fn maybe_bool(&self, path: &str) -> Option<bool> {
        match self.given.item(path) {
            Some(Item::Bool(b)) => Some(*b),
            _ => self.default(path).map(|text| text == "true"),
        }
    }

    fn bool(&self, path: &str) -> bool {
        self.maybe_bool(path).unwrap_or(false)
    }

    fn maybe_int(&self, path: &str) -> Option<i64> {
        match self.given.item(path) {
            Some(Item::Int(i)) => Some(*i),
            _ => self.default(path).and_then(|text| text.parse().ok()),
        }
    }

    fn int(&self, path: &str) -> i64 {
        self.maybe_int(path).unwrap_or(0)
    }

    /// A number that must not be negative.
    fn count(&mut self, path: &str) -> u64 {
        let value = self.int(path);
        u64::try_from(value).unwrap_or_else(|_| {
            let place = self.place(path);
            self.error(format!(
                "{path} cannot be {value}. Must be greater than or equal to zero{place}"
            ));
            0
        })
    }

    /// Such a number that is far below four thousand million; larger ones are cut to that.
    fn small(&mut self, path: &str) -> u32 {
        u32::try_from(self.count(path)).unwrap_or(u32::MAX)
    }

    fn float(&self, path: &str) -> Option<f64> {
        match self.given.item(path) {
            Some(Item::Float(x)) => Some(*x),
            _ => self.default(path).and_then(|text| text.parse().ok()),
        }
    }

    /// A rate per second; negative or absent is no limit.
    fn rate(&self, path: &str) -> Option<f64> {
        self.float(path).filter(|rate| *rate >= 0.0)
    }

    fn text(&self, path: &str) -> &str {
        match self.given.item(path) {
            Some(Item::Text(text)) => text,
            _ => self.default(path).unwrap_or(""),
        }
    }

    fn owned(&self, path: &str) -> String {
        self.text(path).to_string()
    }

    /// Text that is `None` when empty.
    fn maybe_text(&self, path: &str) -> Option<String> {
        Some(self.owned(path)).filter(|text| !text.is_empty())
    }

    fn duration(&mut self, path: &str) -> GoDuration {
        let text = self.owned(path);
        self.parse_duration(path, &text)
    }

    /// Reads a duration; empty is zero.
    fn parse_duration(&mut self, path: &str, text: &str) -> GoDuration {
        if text.is_empty() {
            return GoDuration::ZERO;
        }
        GoDuration::parse(text).unwrap_or_else(|reason| {
            let place = self.place(path);
            let text = go_quote(text);
            self.error(format!("{path}: invalid duration: {text}: {reason}{place}"));
            GoDuration::ZERO
        })
    }

    fn duration_min(&mut self, path: &str, min: GoDuration) -> GoDuration {
        let value = self.duration(path);
        if value < min {
            let (text, place) = (self.owned(path), self.place(path));
            // A text that is no duration has been told already.
            if GoDuration::parse(&text).is_ok() {
                self.error(format!(
                    "{path}: duration '{text}' cannot be less than: {min}{place}"
                ));
            }
        }
        value
    }

    fn list(&self, path: &str) -> Vec<String> {
        debug_assert!(
            Schema::agent().key(path).is_some(),
            "{path} is not in the table of keys"
        );
        match self.given.item(path) {
            Some(Item::List(list)) => list.clone(),
            _ => Vec::new(),
        }
    }

    fn map(&self, path: &str) -> BTreeMap<String, String> {
        debug_assert!(
            Schema::agent().key(path).is_some(),
            "{path} is not in the table of keys"
        );
        match self.given.item(path) {
            Some(Item::Map(map)) => map.clone(),
            _ => BTreeMap::new(),
        }
    }

    fn any_list(&self, path: &str) -> Vec<serde_json::Value> {
        match self.given.item(path) {
            Some(Item::AnyList(list)) => list.clone(),
            _ => Vec::new(),
        }
    }

    /// A boolean inside an object that is passed on as it is.
    fn inner_bool(&self, path: &str, name: &str, default: bool) -> bool {
        match self.given.item(path) {
            Some(Item::Any(json)) => json.get(name).and_then(|v| v.as_bool()).unwrap_or(default),
            _ => default,
        }
    }

    fn config(&mut self, hostname: &str) -> Result<Config, Errors> {
        let server = self.bool("server");
        let datacenter = self.text("datacenter").to_lowercase();
        let primary = self.text("primary_datacenter").to_lowercase();
        let primary_datacenter = if primary.is_empty() {
            datacenter.clone()
        } else {
            primary
        };
        let network = self.network(server)?;
        let (bootstrap, bootstrap_expect) = self.bootstrap()?;
        let node_name = self
            .maybe_text("node_name")
            .unwrap_or_else(|| hostname.to_string());
        let watches = self.any_list("watches");
        for (i, watch) in watches.iter().enumerate() {
            if watch
                .get("type")
                .and_then(|v| v.as_str())
                .is_none_or(str::is_empty)
            {
                self.error(format!("watches[{i}]: Watch type must be specified"));
            }
        }
        let (services, checks) = self.definitions();
        let config = Config {
            datacenter,
            primary_datacenter,
            node_name: node_name.trim().to_string(),
            node_id: self.node_id(),
            disable_host_node_id: self.bool("disable_host_node_id"),
            node_meta: self.map("node_meta"),
            locality: locality(self.text("locality.region"), self.text("locality.zone")),
            server,
            dev_mode: self.dev,
            bootstrap,
            bootstrap_expect,
            data_dir: self.maybe_text("data_dir"),
            pid_file: self.maybe_text("pid_file"),

            bind_addr: network.bind_addr,
            client_addrs: network.client_addrs,
            advertise: network.advertise,
            tagged_addresses: network.tagged_addresses,
            translate_wan_addrs: self.bool("translate_wan_addrs"),
            ports: network.ports,
            listeners: network.listeners,
            rpc_bind: network.rpc_bind,
            rpc_advertise: network.rpc_advertise,
            unix_sockets: network.unix_sockets,

            serf_lan: network.serf_lan,
            serf_wan: network.serf_wan,
            // A key read from a file often ends in a line feed.
            encrypt: self.maybe_text("encrypt").map(|key| key.trim().to_string()),
            encrypt_verify_incoming: self.bool("encrypt_verify_incoming"),
            encrypt_verify_outgoing: self.bool("encrypt_verify_outgoing"),
            disable_keyring_file: self.bool("disable_keyring_file"),
            protocol: self.small("protocol"),
            retry_join_lan: network.retry_join_lan,
            retry_join_wan: network.retry_join_wan,
            rejoin_after_leave: self.bool("rejoin_after_leave"),
            server_rejoin_age_max: self
                .duration_min("server_rejoin_age_max", GoDuration::from_secs(6 * 3600)),
            advertise_reconnect_timeout: self.duration("advertise_reconnect_timeout"),
            disable_coordinates: self.bool("disable_coordinates"),

            leave_on_terminate: self.maybe_bool("leave_on_terminate").unwrap_or(!server),
            skip_leave_on_interrupt: self.maybe_bool("skip_leave_on_interrupt").unwrap_or(server),

            http: self.http(),
            ui: self.ui(),
            enable_debug: self.bool("enable_debug"),
            disable_http_unprintable_char_filter: self.bool("disable_http_unprintable_char_filter"),
            default_query_time: self.duration("default_query_time"),
            max_query_time: self.duration("max_query_time"),
            discovery_max_stale: self.duration("discovery_max_stale"),
            use_streaming_backend: self.bool("use_streaming_backend"),
            rpc_enable_streaming: self.bool("rpc.enable_streaming"),

            dns: self.dns(),

            services,
            checks,
            watches,
            enable_script_checks: self.bool("enable_script_checks"),
            enable_local_script_checks: self.bool("enable_local_script_checks"),
            disable_remote_exec: self.bool("disable_remote_exec"),
            check_update_interval: self.duration("check_update_interval"),
            check_output_max_size: self.check_output_max_size(),
            discard_check_output: self.bool("discard_check_output"),
            enable_agent_tls_for_checks: self.bool("enable_agent_tls_for_checks"),
            enable_central_service_config: self.bool("enable_central_service_config"),
            docker: self.docker(),
            aws: self.aws(),
            session_ttl_min: self.duration("session_ttl_min"),
            cache: CacheConfig {
                entry_fetch_max_burst: self.small("cache.entry_fetch_max_burst"),
                entry_fetch_rate: self.rate("cache.entry_fetch_rate"),
            },

            acl: self.acl(),
            tls: self.tls(),
            server_name: self.maybe_text("server_name"),
            default_intention_policy: self.owned("default_intention_policy"),
            limits: self.limits(),

            performance: self.performance(),
            raft_protocol: self.small("raft_protocol"),
            raft_snapshot_threshold: self.count("raft_snapshot_threshold"),
            raft_snapshot_interval: self.duration("raft_snapshot_interval"),
            raft_trailing_logs: self.count("raft_trailing_logs"),
            raft_logstore_backend: self.owned("raft_logstore.backend"),
            autopilot: Autopilot {
                cleanup_dead_servers: self.bool("autopilot.cleanup_dead_servers"),
                last_contact_threshold: self.duration("autopilot.last_contact_threshold"),
                max_trailing_logs: self.count("autopilot.max_trailing_logs"),
                min_quorum: self.small("autopilot.min_quorum"),
                server_stabilization_time: self.duration("autopilot.server_stabilization_time"),
                health_interval: GoDuration::from_millis(if self.dev { 10 } else { 2000 }),
            },
            config_entries_bootstrap: self.any_list("config_entries.bootstrap"),

            logging: self.logging(),
            telemetry: self.telemetry(),
            auto_reload_config: self.bool("auto_reload_config"),
            disable_update_check: self.bool("disable_update_check"),
            disable_anonymous_signature: self.bool("disable_anonymous_signature"),
            connect_enabled: self.inner_bool("connect", "enabled", true),
            peering_enabled: self.inner_bool("peering", "enabled", true),
        };
        Ok(config)
    }

    /// Whether to start alone, and how many servers to wait for. One to wait for is the same as
    /// starting alone.
    fn bootstrap(&mut self) -> Result<(bool, u32), Errors> {
        // Dev mode starts alone, unless it is told to be a client.
        let given = self.given.item("bootstrap").is_some();
        let bootstrap = self.bool("bootstrap") && (given || self.bool("server"));
        let expect = self.int("bootstrap_expect");
        if expect < 0 {
            return Err(Errors::One(format!(
                "bootstrap_expect cannot be {expect}. Must be greater than or equal to zero{}",
                self.place("bootstrap_expect")
            )));
        }
        if expect == 1 && !self.dev && !bootstrap && self.bool("server") {
            self.warn("BootstrapExpect is set to 1; this is the same as Bootstrap mode.");
            return Ok((true, 0));
        }
        Ok((bootstrap, u32::try_from(expect).unwrap_or(u32::MAX)))
    }

    fn node_id(&mut self) -> Option<String> {
        let id = self.maybe_text("node_id")?.to_lowercase();
        let shape = |(i, c): (usize, char)| match i {
            8 | 13 | 18 | 23 => c == '-',
            _ => c.is_ascii_hexdigit(),
        };
        if id.len() != 36 || !id.chars().enumerate().all(shape) {
            let place = self.place("node_id");
            self.error(format!("node_id: {} is not a UUID{place}", go_quote(&id)));
        }
        Some(id)
    }

    fn check_output_max_size(&mut self) -> usize {
        let size = self.int("check_output_max_size");
        if size < 1 {
            self.error(
                "check_output_max_size must be positive, to discard check output use the discard_check_output flag",
            );
        }
        usize::try_from(size).unwrap_or(1)
    }

    fn http(&mut self) -> HttpConfig {
        HttpConfig {
            block_endpoints: self.list("http_config.block_endpoints"),
            allow_write_http_from: self.networks("http_config.allow_write_http_from"),
            response_headers: self.map("http_config.response_headers"),
            use_cache: self.bool("http_config.use_cache"),
            max_header_bytes: usize::try_from(self.count("http_config.max_header_bytes"))
                .unwrap_or(usize::MAX),
            pretty: self.dev,
        }
    }

    fn ui(&mut self) -> UiConfig {
        let path = self.owned("ui_config.content_path");
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '/');
        if !path.chars().all(fits) {
            let place = self.place("ui_config.content_path");
            self.error(format!(
                "ui_config.content_path can only contain alphanumeric, -, _, or /. received: {}{place}",
                go_quote(&path)
            ));
        }
        let trimmed = path.trim_matches('/');
        UiConfig {
            enabled: self.bool("ui_config.enabled"),
            dir: self.maybe_text("ui_config.dir"),
            content_path: if trimmed.is_empty() {
                "/".into()
            } else {
                format!("/{trimmed}/")
            },
            dashboard_url_templates: self.map("ui_config.dashboard_url_templates"),
        }
    }

    fn dns(&mut self) -> DnsConfig {
        let mut service_ttl = BTreeMap::new();
        for (name, text) in self.map("dns_config.service_ttl") {
            let ttl = GoDuration::parse(&text).unwrap_or_else(|reason| {
                let place = self.place("dns_config.service_ttl");
                self.error(format!(
                    "dns_config.service_ttl[{}]: invalid duration: {}: {reason}{place}",
                    go_quote(&name),
                    go_quote(&text)
                ));
                GoDuration::ZERO
            });
            service_ttl.insert(name, ttl);
        }
        let strategy = self.owned("dns_config.recursor_strategy");
        let recursor_strategy = match strategy.as_str() {
            "random" => RecursorStrategy::Random,
            "sequential" | "" => RecursorStrategy::Sequential,
            other => {
                let place = self.place("dns_config.recursor_strategy");
                self.error(format!(
                    "dns_config.recursor_strategy: invalid strategy: {}{place}",
                    go_quote(other)
                ));
                RecursorStrategy::Sequential
            }
        };
        DnsConfig {
            domain: domain(self.text("domain")),
            alt_domain: domain(self.text("alt_domain")),
            recursors: self.recursors(),
            recursor_strategy,
            recursor_timeout: self.duration("dns_config.recursor_timeout"),
            allow_stale: self.bool("dns_config.allow_stale"),
            max_stale: self.duration("dns_config.max_stale"),
            node_ttl: self.duration("dns_config.node_ttl"),
            service_ttl,
            only_passing: self.bool("dns_config.only_passing"),
            enable_truncate: self.bool("dns_config.enable_truncate"),
            udp_answer_limit: self.small("dns_config.udp_answer_limit"),
            a_record_limit: self.small("dns_config.a_record_limit"),
            disable_compression: self.bool("dns_config.disable_compression"),
            enable_additional_node_meta_txt: self
                .bool("dns_config.enable_additional_node_meta_txt"),
            soa: Soa {
                expire: self.small("dns_config.soa.expire"),
                min_ttl: self.small("dns_config.soa.min_ttl"),
                refresh: self.small("dns_config.soa.refresh"),
                retry: self.small("dns_config.soa.retry"),
            },
            use_cache: self.bool("dns_config.use_cache"),
            cache_max_age: self.duration("dns_config.cache_max_age"),
        }
    }

    fn limits(&mut self) -> Limits {
        let mode = match self.text("limits.request_limits.mode") {
            "disabled" | "" => RequestLimitsMode::Disabled,
            "permissive" => RequestLimitsMode::Permissive,
            "enforcing" => RequestLimitsMode::Enforcing,
            other => {
                let text = format!(
                    "limits.request_limits.mode: invalid mode {}; must be disabled, permissive or enforcing{}",
                    go_quote(other),
                    self.place("limits.request_limits.mode")
                );
                self.error(text);
                RequestLimitsMode::Disabled
            }
        };
        Limits {
            http_max_conns_per_client: self.small("limits.http_max_conns_per_client"),
            https_handshake_timeout: self.duration("limits.https_handshake_timeout"),
            rpc_handshake_timeout: self.duration("limits.rpc_handshake_timeout"),
            rpc_client_timeout: self.duration("limits.rpc_client_timeout"),
            rpc_max_conns_per_client: self.small("limits.rpc_max_conns_per_client"),
            rpc_rate: self.rate("limits.rpc_rate"),
            rpc_max_burst: self.small("limits.rpc_max_burst"),
            kv_max_value_size: self.count("limits.kv_max_value_size"),
            txn_max_req_len: self.count("limits.txn_max_req_len"),
            request_limits_mode: mode,
            request_limits_read_rate: self.rate("limits.request_limits.read_rate"),
            request_limits_write_rate: self.rate("limits.request_limits.write_rate"),
        }
    }

    fn performance(&mut self) -> Performance {
        let multiplier = self.int("performance.raft_multiplier");
        if !(1..=10).contains(&multiplier) {
            let place = self.place("performance.raft_multiplier");
            self.error(format!(
                "performance.raft_multiplier cannot be {multiplier}. Must be between 1 and 10{place}"
            ));
        }
        Performance {
            raft_multiplier: u32::try_from(multiplier).unwrap_or(1),
            leave_drain_time: self.duration("performance.leave_drain_time"),
            rpc_hold_timeout: self.duration("performance.rpc_hold_timeout"),
            grpc_keepalive_interval: self.duration("performance.grpc_keepalive_interval"),
            grpc_keepalive_timeout: self.duration("performance.grpc_keepalive_timeout"),
        }
    }

    fn logging(&mut self) -> Logging {
        let text = self.owned("log_level");
        let level = LogLevel::parse(&text).unwrap_or_else(|| {
            let place = self.place("log_level");
            self.error(format!(
                "Invalid log level: {text}. Valid log levels are: [TRACE DEBUG INFO WARN ERROR]{place}"
            ));
            LogLevel::Info
        });
        Logging {
            level,
            json: self.bool("log_json"),
            file: self.maybe_text("log_file"),
            rotate_duration: self.duration("log_rotate_duration"),
            rotate_bytes: self.count("log_rotate_bytes"),
            rotate_max_files: self.int("log_rotate_max_files"),
            syslog: self.bool("enable_syslog"),
            syslog_facility: self.owned("syslog_facility"),
        }
    }

    fn telemetry(&mut self) -> Telemetry {
        let (mut allowed_prefixes, mut blocked_prefixes) = (Vec::new(), Vec::new());
        for rule in self.list("telemetry.prefix_filter") {
            match rule.chars().next() {
                Some('+') => allowed_prefixes.push(rule[1..].to_string()),
                Some('-') => blocked_prefixes.push(rule[1..].to_string()),
                Some(_) => self.warn(format!(
                    "Filter rule must begin with either '+' or '-': {}",
                    go_quote(&rule)
                )),
                None => self.warn("Cannot have empty filter rule in prefix_filter"),
            }
        }
        Telemetry {
            metrics_prefix: self.owned("telemetry.metrics_prefix"),
            disable_hostname: self.bool("telemetry.disable_hostname"),
            enable_host_metrics: self.bool("telemetry.enable_host_metrics"),
            filter_default: self.bool("telemetry.filter_default"),
            allowed_prefixes,
            blocked_prefixes,
            statsd_address: self.maybe_text("telemetry.statsd_address"),
            statsite_address: self.maybe_text("telemetry.statsite_address"),
            dogstatsd_addr: self.maybe_text("telemetry.dogstatsd_addr"),
            dogstatsd_tags: self.list("telemetry.dogstatsd_tags"),
            prometheus_retention_time: self.duration("telemetry.prometheus_retention_time"),
            retry_failed_connection: self.bool("telemetry.retry_failed_connection"),
        }
    }
}

/// A region and zone, if either was given.
fn locality(region: &str, zone: &str) -> Option<Locality> {
    if region.is_empty() && zone.is_empty() {
        return None;
    }
    Some(Locality {
        region: region.to_string(),
        zone: zone.to_string(),
    })
}

/// A DNS domain in lower case with its last dot; empty stays empty.
fn domain(text: &str) -> String {
    let text = text.trim_matches('.').to_lowercase();
    if text.is_empty() {
        text
    } else {
        format!("{text}.")
    }
}

/// Whether a key's value is in a `|` list of texts; `*` is any value.
pub(crate) fn listed(item: &Item, kind: Kind, texts: &str) -> bool {
    if texts == "*" || item.is_zero() {
        return true;
    }
    match (kind, item.scalar_text()) {
        (_, Some(text)) => texts.split('|').any(|accepted| accepted == text),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
