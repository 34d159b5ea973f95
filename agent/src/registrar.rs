//! Registering with the agent: from a definition, whoever gave it, to the local state and its
//! running checks.

use crate::agent::Shared;
use crate::http::HttpError;
use crate::local::{Local, Source};
use http::StatusCode;
use lictor_wire::duration::go_quote;
use lictor_wire::{
    CheckRequest, CheckType, HealthCheck, NodeService, ServiceAddress, ServiceRequest, Status, Str,
    StrMap, Weights,
};
use std::net::IpAddr;
use std::sync::Arc;

/// Most pairs of metadata.
const META_MAX: usize = 64;
const META_KEY_MAX: usize = 128;
const META_VALUE_MAX: usize = 512;

/// The check that stands for a node in maintenance.
pub const NODE_MAINTENANCE: &str = "_node_maintenance";
const NODE_REASON: &str = "Maintenance mode is enabled for this node, but no reason was provided. This is a default message.";
const SERVICE_REASON: &str = "Maintenance mode is enabled for this service, but no reason was provided. This is a default message.";

/// The check that stands for a service in maintenance.
pub fn service_maintenance(id: &str) -> Str {
    Str::from(format!("_service_maintenance:{id}"))
}

/// Registers a service with its checks. `replace` removes checks that the definition no longer
/// has.
pub fn register_service(
    shared: &Arc<Shared>,
    r: &ServiceRequest,
    source: Source,
    replace: bool,
) -> Result<(), HttpError> {
    if r.name.is_empty() {
        return Err(HttpError::bad_request("Missing service name"));
    }
    if matches!(r.address.as_str(), "0.0.0.0" | "::" | "[::]") {
        return Err(HttpError::bad_request("Invalid service address"));
    }
    let service = service_row(r);
    if let Some(w) = &r.weights {
        check_weights(w).map_err(|e| HttpError::bad_request(format!("Invalid Weights: {e}")))?;
    }
    if let Some(meta) = &r.meta {
        check_meta(meta)
            .map_err(|e| HttpError::bad_request(format!("Invalid Service Meta: {e}")))?;
    }
    let faults = crate::mesh::proxy_faults(&service);
    if !faults.is_empty() {
        return Err(HttpError::bad_request(format!(
            "Validation failed: {}",
            crate::mesh::fault_list(&faults)
        )));
    }
    if !r
        .name
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b == b'-')
    {
        tracing::warn!(target: "agent", service = %r.name, "Service name will not be discoverable via DNS due to invalid characters. Valid characters include all alpha-numerics and dashes.");
    }

    let kinds: Vec<CheckRequest> = r
        .check
        .as_deref()
        .into_iter()
        .chain(&r.checks)
        .cloned()
        .collect();
    let kinds: Vec<(CheckRequest, CheckType)> = kinds
        .into_iter()
        .map(|c| {
            let kind = CheckType::from(&c);
            (c, kind)
        })
        .filter(|(_, k)| !k.is_empty())
        .collect();
    for (_, kind) in &kinds {
        kind.validate()
            .map_err(|e| HttpError::bad_request(format!("Invalid check: {e}")))?;
        if !kind.status.is_empty() && Status::parse(&kind.status).is_none() {
            return Err(HttpError::bad_request(
                "Status for checks must 'passing', 'warning', 'critical'",
            ));
        }
        allowed(shared, kind, source)?;
    }

    let id = service.id.clone();
    let name = service.service.clone();
    let tags = service.tags.clone();
    shared.local.put_service(service, r.token.clone(), source);
    let many = kinds.len() > 1;
    let mut wanted: Vec<Str> = Vec::new();
    for (at, (request, mut kind)) in kinds.into_iter().enumerate() {
        if kind.check_id.is_empty() {
            kind.check_id = if many {
                format!("service:{id}:{}", at + 1)
            } else {
                format!("service:{id}")
            }
            .into();
        }
        if kind.name.is_empty() {
            kind.name = format!("Service '{name}' check").into();
        }
        let check = HealthCheck {
            check_id: kind.check_id.clone(),
            name: kind.name.clone(),
            status: Status::from_word(&kind.status),
            notes: kind.notes.clone(),
            service_id: id.clone(),
            service_name: name.clone(),
            service_tags: tags.clone(),
            kind: kind.kind().into(),
            ..HealthCheck::default()
        };
        wanted.push(kind.check_id.clone());
        let token = if request.token.is_empty() {
            r.token.clone()
        } else {
            request.token
        };
        add_check(shared, check, kind, token, source);
    }
    if replace {
        for row in shared.local.checks() {
            let maintenance = row.kind.is_none();
            if row.check.service_id == id && !maintenance && !wanted.contains(&row.check.check_id) {
                remove_check(shared, &row.check.check_id);
            }
        }
    }
    refresh_aliases(&shared.local, &id);
    Ok(())
}

fn service_row(r: &ServiceRequest) -> NodeService {
    let mut tagged = r.tagged_addresses.clone();
    if let Ok(ip) = r.address.parse::<IpAddr>() {
        let names = if ip.is_ipv4() {
            ["lan_ipv4", "wan_ipv4"]
        } else {
            ["lan_ipv6", "wan_ipv6"]
        };
        for name in names {
            tagged.entry(name.into()).or_insert_with(|| ServiceAddress {
                address: r.address.clone(),
                port: r.port,
            });
        }
    }
    NodeService {
        kind: r.kind.clone(),
        id: if r.id.is_empty() {
            r.name.clone()
        } else {
            r.id.clone()
        },
        service: r.name.clone(),
        tags: r.tags.iter().cloned().collect(),
        address: r.address.clone(),
        tagged_addresses: (!tagged.is_empty()).then(|| Box::new(tagged)),
        meta: r.meta.clone(),
        port: r.port,
        socket_path: r.socket_path.clone(),
        weights: r.weights.unwrap_or_default(),
        enable_tag_override: r.enable_tag_override,
        proxy: r
            .proxy
            .clone()
            .map(|p| Box::new(crate::mesh::normal_proxy(p))),
        connect: r
            .connect
            .clone()
            .filter(|c| *c != Default::default())
            .map(Box::new),
        locality: r.locality.clone().map(Box::new),
        ..NodeService::default()
    }
}

fn check_weights(w: &Weights) -> Result<(), &'static str> {
    if w.passing < 1 {
        return Err("Passing must be greater than 0");
    }
    if w.warning < 0 {
        return Err("Warning must be greater or equal than 0");
    }
    if w.passing > 65_535 || w.warning > 65_535 {
        return Err("DNS Weight must be between 0 and 65535");
    }
    Ok(())
}

/// Checks metadata by Consul's rules: at most 64 pairs, keys of letters, digits, `-` and `_`.
pub fn check_meta(meta: &StrMap) -> Result<(), String> {
    if meta.len() > META_MAX {
        return Err(format!(
            "Node metadata cannot contain more than {META_MAX} key/value pairs"
        ));
    }
    for (key, value) in meta.iter() {
        let fault = if key.is_empty() {
            "Key cannot be blank".to_owned()
        } else if !key
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        {
            "Key contains invalid characters".to_owned()
        } else if key.len() > META_KEY_MAX {
            format!("Key is too long (limit: {META_KEY_MAX} characters)")
        } else if key.starts_with("consul-")
            && !matches!(key.as_str(), "consul-version" | "consul-network-segment")
        {
            "Key prefix 'consul-' is reserved for internal use".to_owned()
        } else if value.len() > META_VALUE_MAX {
            format!("Value is too long (limit: {META_VALUE_MAX} characters)")
        } else {
            continue;
        };
        return Err(format!(
            "Couldn't load metadata pair ('{key}', '{value}'): {fault}"
        ));
    }
    Ok(())
}

/// Whether a check of this kind may run here.
fn allowed(shared: &Shared, kind: &CheckType, source: Source) -> Result<(), HttpError> {
    let config = shared.config();
    if kind.script_args.is_empty() {
        return Ok(());
    }
    let (enabled, text) = match source {
        Source::Api | Source::Docker => (
            config.enable_script_checks,
            lictor_check::SCRIPTS_DISABLED_REMOTE,
        ),
        Source::File => (
            config.enable_script_checks || config.enable_local_script_checks,
            lictor_check::SCRIPTS_DISABLED,
        ),
    };
    if !enabled {
        return Err(HttpError::internal(text));
    }
    Ok(())
}

/// Registers a check that stands for itself, or for a service that is there.
pub fn register_check(
    shared: &Arc<Shared>,
    r: &CheckRequest,
    source: Source,
) -> Result<(), HttpError> {
    if r.name.is_empty() {
        return Err(HttpError::bad_request("Missing check name"));
    }
    if !r.status.is_empty() && Status::parse(&r.status).is_none() {
        return Err(HttpError::bad_request("Bad check status"));
    }
    let mut kind = CheckType::from(r);
    if kind.check_id.is_empty() {
        kind.check_id = r.name.clone();
    }
    kind.validate()
        .map_err(|e| HttpError::bad_request(format!("Invalid check: {e}")))?;
    allowed(shared, &kind, source)?;
    let mut token = r.token.clone();
    if !r.service_id.is_empty() {
        let Some(service) = shared.local.service(&r.service_id) else {
            return Err(HttpError::not_found(format!(
                "ServiceID {} does not exist",
                go_quote(&r.service_id)
            )));
        };
        if token.is_empty() {
            token = service.token;
        }
    }
    let check = HealthCheck {
        check_id: kind.check_id.clone(),
        name: r.name.clone(),
        status: Status::from_word(&r.status),
        notes: r.notes.clone(),
        service_id: r.service_id.clone(),
        // Checks of files carry no type in Consul's catalog.
        kind: if source == Source::File {
            Str::new()
        } else {
            kind.kind().into()
        },
        interval: kind.interval.to_string().into(),
        timeout: kind.timeout.to_string().into(),
        ..HealthCheck::default()
    };
    add_check(shared, check, kind, token, source);
    Ok(())
}

/// Puts a check into the local state and starts it. What runs already as it is goes on.
pub fn add_check(
    shared: &Arc<Shared>,
    mut check: HealthCheck,
    kind: CheckType,
    token: Str,
    source: Source,
) {
    let id = check.check_id.clone();
    if let Some(known) = shared.local.check(&id) {
        // A definition given again keeps what is known of its health.
        check.status = known.check.status.clone();
        check.output = known.check.output.clone();
        if known.kind.as_deref() == Some(&kind) {
            shared.local.put_check(check, Some(kind), token, source);
            return;
        }
    }
    let shortest = lictor_check::schedule::MIN_INTERVAL;
    if kind.interval.0 > 0 && kind.interval.to_std() < shortest {
        tracing::warn!(target: "agent", check = %id, minimum_interval = ?shortest, "check has interval below minimum");
    }
    let elsewhere = !kind.alias_node.is_empty() && kind.alias_node != shared.node_name;
    if kind.is_alias() && !elsewhere {
        let (status, output) = shared.local.alias(&id, &kind);
        check.status = status;
        check.output = output.into();
    }
    let status = check.status.clone();
    shared
        .local
        .put_check(check, Some(kind.clone()), token, source);
    shared.aliases.stop(&id);
    if kind.is_alias() && elsewhere {
        shared.checks.stop(&id);
        shared.aliases.start(shared, &id, &kind);
    } else {
        shared.checks.start(&id, &kind, status);
    }
}

/// Removes a check and ends its runs. Whether it was there.
pub fn remove_check(shared: &Shared, id: &str) -> bool {
    shared.checks.stop(id);
    shared.aliases.stop(id);
    let service = shared
        .local
        .check(id)
        .map(|row| row.check.service_id.clone());
    let there = shared.local.remove_check(id);
    if let Some(service) = service {
        refresh_aliases(&shared.local, &service);
    }
    there
}

/// Removes a service and its checks. Whether it was there.
pub fn remove_service(shared: &Shared, id: &str) -> bool {
    let Some(checks) = shared.local.remove_service(id) else {
        return false;
    };
    for check in checks {
        shared.checks.stop(&check);
        shared.aliases.stop(&check);
    }
    refresh_aliases(&shared.local, id);
    true
}

/// Lets the aliases of a service follow it.
pub fn refresh_aliases(local: &Local, service: &str) {
    // An alias may be followed by another; a circle ends because nothing changes any more, and
    // at the latest here.
    let mut again = vec![Str::from(service)];
    for _ in 0..16 {
        let Some(service) = again.pop() else { return };
        for (id, status, output) in local.aliases_of(&service) {
            again.extend(local.update_check(&id, status, output));
        }
    }
}

/// Takes a service in or out of maintenance.
pub fn service_in_maintenance(
    shared: &Shared,
    id: &str,
    enable: bool,
    reason: &str,
) -> Result<(), HttpError> {
    let Some(service) = shared.local.service(id) else {
        return Err(unknown_service(id));
    };
    let check_id = service_maintenance(id);
    if !enable {
        if shared.local.remove_check(&check_id) {
            tracing::info!(target: "agent", service = %id, "Service left maintenance mode");
        }
        return Ok(());
    }
    if shared.local.check(&check_id).is_some() {
        return Ok(());
    }
    let check = HealthCheck {
        check_id,
        name: "Service Maintenance Mode".into(),
        status: Status::Critical,
        notes: if reason.is_empty() {
            SERVICE_REASON.into()
        } else {
            reason.into()
        },
        service_id: service.service.id.clone(),
        kind: "maintenance".into(),
        ..HealthCheck::default()
    };
    shared
        .local
        .put_check(check, None, service.token, Source::Api);
    tracing::info!(target: "agent", service = %id, "Service entered maintenance mode");
    Ok(())
}

/// Takes the node's services out of answers, as maintenance does, until this process ends.
pub fn drain_node(shared: &Shared, reason: &str) {
    if shared.local.check(NODE_MAINTENANCE).is_none() {
        let check = node_maintenance(reason);
        shared
            .local
            .put_check(check, None, Str::new(), Source::File);
        tracing::info!(target: "agent", "Node entered maintenance mode");
    }
}

fn node_maintenance(reason: &str) -> HealthCheck {
    HealthCheck {
        check_id: NODE_MAINTENANCE.into(),
        name: "Node Maintenance Mode".into(),
        status: Status::Critical,
        notes: if reason.is_empty() {
            NODE_REASON.into()
        } else {
            reason.into()
        },
        kind: "maintenance".into(),
        ..HealthCheck::default()
    }
}

/// Takes the node in or out of maintenance.
pub fn node_in_maintenance(shared: &Shared, enable: bool, reason: &str) {
    if !enable {
        if shared.local.remove_check(NODE_MAINTENANCE) {
            tracing::info!(target: "agent", "Node left maintenance mode");
        }
        return;
    }
    if shared.local.check(NODE_MAINTENANCE).is_some() {
        return;
    }
    let check = node_maintenance(reason);
    shared.local.put_check(check, None, Str::new(), Source::Api);
    tracing::info!(target: "agent", "Node entered maintenance mode");
}

/// The error for a service that this agent does not have.
pub fn unknown_service(id: &str) -> HttpError {
    let text = format!(
        "Unknown service ID {}. Ensure that the service ID is passed, not the service name.",
        go_quote(id)
    );
    HttpError::new(StatusCode::NOT_FOUND, text)
}

/// The error for a check that this agent does not have.
pub fn unknown_check(id: &str) -> HttpError {
    let text = format!(
        "Unknown check ID {}. Ensure that the check ID is passed, not the check name.",
        go_quote(id)
    );
    HttpError::new(StatusCode::NOT_FOUND, text)
}
