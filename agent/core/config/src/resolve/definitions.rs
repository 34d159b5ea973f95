//! Services and checks of files.

use std::collections::BTreeMap;

use lictor_wire::{GoDuration, duration::go_quote};

use super::{Resolver, locality};
use crate::definitions::{CheckDefinition, ServiceAddress, ServiceDefinition, Weights};
use crate::given::{Given, Item};

/// Reads the fields of a definition.
struct Fields<'a>(&'a Given);

impl Fields<'_> {
    fn text(&self, name: &str) -> String {
        match self.0.item(name) {
            Some(Item::Text(text)) => text.clone(),
            _ => String::new(),
        }
    }

    fn bool(&self, name: &str, default: bool) -> bool {
        match self.0.item(name) {
            Some(Item::Bool(b)) => *b,
            _ => default,
        }
    }

    fn int(&self, name: &str, default: i64) -> i64 {
        match self.0.item(name) {
            Some(Item::Int(i)) => *i,
            _ => default,
        }
    }

    fn list(&self, name: &str) -> Vec<String> {
        match self.0.item(name) {
            Some(Item::List(list)) => list.clone(),
            _ => Vec::new(),
        }
    }

    fn map(&self, name: &str) -> BTreeMap<String, String> {
        match self.0.item(name) {
            Some(Item::Map(map)) => map.clone(),
            _ => BTreeMap::new(),
        }
    }

    fn any(&self, name: &str) -> Option<serde_json::Value> {
        match self.0.item(name) {
            Some(Item::Any(json)) => Some(json.clone()),
            _ => None,
        }
    }

    fn objects(&self, name: &str) -> &[Given] {
        match self.0.item(name) {
            Some(Item::Objects(objects)) => objects,
            _ => &[],
        }
    }

    /// ` (at file:1:2)`
    fn place(&self) -> String {
        match &self.0.origin {
            Some(origin) => format!(" (at {origin})"),
            None => String::new(),
        }
    }
}

impl Resolver<'_> {
    /// All services and all checks that stand alone.
    pub(super) fn definitions(&mut self) -> (Vec<ServiceDefinition>, Vec<CheckDefinition>) {
        let given = self.given;
        let top = Fields(given);
        let services: Vec<_> = top
            .objects("services")
            .iter()
            .map(|given| self.service(&Fields(given)))
            .collect();
        let checks: Vec<_> = top
            .objects("checks")
            .iter()
            .map(|given| self.check(&Fields(given)))
            .collect();
        (services, checks)
    }

    fn service(&mut self, fields: &Fields<'_>) -> ServiceDefinition {
        let name = fields.text("name");
        let place = fields.place();
        if name.is_empty() {
            self.error(format!(
                "service {}: Service name missing{place}",
                go_quote(&fields.text("id"))
            ));
        }
        let meta = fields.map("meta");
        if let Err(reason) = metadata(&meta, true) {
            self.error(format!("invalid meta for service {name}: {reason}{place}"));
        }
        let weights = Weights {
            passing: fields.int("weights.passing", 1),
            warning: fields.int("weights.warning", 1),
        };
        if let Err(reason) = check_weights(weights) {
            self.error(format!(
                "Invalid weight definition for service {name}: {reason}{place}"
            ));
        }
        let port = fields.int("port", 0);
        if !(0..=65535).contains(&port) {
            self.error(format!(
                "service {}: invalid port: {port}{place}",
                go_quote(&name)
            ));
        }
        let socket_path = fields.text("socket_path");
        if port != 0 && !socket_path.is_empty() {
            self.error(format!(
                "service {}: port and socket_path cannot both be set{place}",
                go_quote(&name)
            ));
        }
        let mut tagged_addresses = BTreeMap::new();
        if let Some(Item::ObjectMap(map)) = fields.0.item("tagged_addresses") {
            for (tag, given) in map {
                let fields = Fields(given);
                let address = ServiceAddress {
                    address: fields.text("address"),
                    port: fields.int("port", 0),
                };
                tagged_addresses.insert(tag.clone(), address);
            }
        }
        let checks = fields
            .objects("checks")
            .iter()
            .chain(fields.objects("check"))
            .map(|given| self.check(&Fields(given)))
            .collect();
        ServiceDefinition {
            id: fields.text("id"),
            name,
            tags: fields.list("tags"),
            address: fields.text("address"),
            tagged_addresses,
            meta,
            port,
            socket_path,
            weights,
            enable_tag_override: fields.bool("enable_tag_override", false),
            checks,
            token: fields.text("token"),
            kind: fields.text("kind"),
            proxy: fields.any("proxy"),
            connect: fields.any("connect"),
            locality: locality(
                &fields.text("locality.region"),
                &fields.text("locality.zone"),
            ),
        }
    }

    fn check(&mut self, fields: &Fields<'_>) -> CheckDefinition {
        let (id, place) = (fields.text("id"), fields.place());
        let before = self.errors.len();
        let mut duration = |name: &str| {
            let text = fields.text(name);
            if text.is_empty() {
                return GoDuration::ZERO;
            }
            GoDuration::parse(&text).unwrap_or_else(|reason| {
                let text = go_quote(&text);
                self.error(format!(
                    "check[{id}].{name}: invalid duration: {text}: {reason}{place}"
                ));
                GoDuration::ZERO
            })
        };
        let interval = duration("interval");
        let timeout = duration("timeout");
        let ttl = duration("ttl");
        let deregister_critical_service_after = duration("deregister_critical_service_after");
        let header = match fields.0.item("header") {
            Some(Item::ListMap(map)) => map.clone(),
            _ => BTreeMap::new(),
        };
        let failures_before_critical = fields.int("failures_before_critical", 0);
        let check = CheckDefinition {
            id,
            name: fields.text("name"),
            notes: fields.text("notes"),
            service_id: fields.text("service_id"),
            token: fields.text("token"),
            status: fields.text("status"),
            args: fields.list("args"),
            http: fields.text("http"),
            header,
            method: fields.text("method"),
            body: fields.text("body"),
            disable_redirects: fields.bool("disable_redirects", false),
            tcp: fields.text("tcp"),
            tcp_use_tls: fields.bool("tcp_use_tls", false),
            udp: fields.text("udp"),
            interval,
            alias_node: fields.text("alias_node"),
            alias_service: fields.text("alias_service"),
            docker_container_id: fields.text("docker_container_id"),
            shell: fields.text("shell"),
            grpc: fields.text("grpc"),
            grpc_use_tls: fields.bool("grpc_use_tls", false),
            h2ping: fields.text("h2ping"),
            h2ping_use_tls: fields.bool("h2ping_use_tls", true),
            os_service: fields.text("os_service"),
            tls_server_name: fields.text("tls_server_name"),
            tls_skip_verify: fields.bool("tls_skip_verify", false),
            timeout,
            ttl,
            success_before_passing: fields.int("success_before_passing", 0),
            // Without a number of its own the warning comes with the critical state.
            failures_before_warning: fields
                .int("failures_before_warning", failures_before_critical),
            failures_before_critical,
            deregister_critical_service_after,
            output_max_size: fields.int("output_max_size", 0),
        };
        // A duration that is none would look like a missing one here.
        if self.errors.len() == before {
            let name = go_quote(&check.name);
            if let Err(reason) = check.validate() {
                self.error(format!("check {name}: {reason}{place}"));
            }
            if !matches!(
                check.status.as_str(),
                "" | "passing" | "warning" | "critical"
            ) {
                self.error(format!(
                    "check {name}: Invalid check status: '{}'{place}",
                    check.status
                ));
            }
        }
        check
    }
}

fn check_weights(weights: Weights) -> Result<(), &'static str> {
    if weights.passing < 1 {
        return Err("Passing must be greater than 0");
    }
    if weights.warning < 0 {
        return Err("Warning must be greater or equal than 0");
    }
    if weights.passing > 65535 || weights.warning > 65535 {
        return Err("DNS Weight must be between 0 and 65535");
    }
    Ok(())
}

/// Metadata of a node or a service: number, names, lengths. Only services may use `consul-`.
pub(super) fn metadata(
    meta: &BTreeMap<String, String>,
    reserved_allowed: bool,
) -> Result<(), String> {
    if meta.len() > 64 {
        return Err("Node metadata cannot contain more than 64 key/value pairs".to_string());
    }
    for (key, value) in meta {
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        let reason = if key.is_empty() {
            "Key cannot be blank"
        } else if !key.chars().all(fits) {
            "Key contains invalid characters"
        } else if key.len() > 128 {
            "Key is too long (limit: 128 characters)"
        } else if key.starts_with("consul-") && !reserved_allowed {
            "Key prefix 'consul-' is reserved for internal use"
        } else if value.len() > 512 {
            "Value is too long (limit: 512 characters)"
        } else {
            continue;
        };
        return Err(format!(
            "Couldn't load metadata pair ('{key}', '{value}'): {reason}"
        ));
    }
    Ok(())
}
