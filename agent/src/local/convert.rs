//! Definitions of configuration files as the types of the API.

use lictor_config::{CheckDefinition, ServiceDefinition};
use lictor_wire::{CheckRequest, ServiceAddress, ServiceRequest, Weights};

/// A check of a configuration file.
pub fn check_from_file(d: &CheckDefinition) -> CheckRequest {
    CheckRequest {
        id: d.id.as_str().into(),
        name: d.name.as_str().into(),
        notes: d.notes.as_str().into(),
        service_id: d.service_id.as_str().into(),
        token: d.token.as_str().into(),
        status: d.status.as_str().into(),
        args: d.args.iter().map(|a| a.as_str().into()).collect(),
        http: d.http.as_str().into(),
        header: d.header.clone(),
        method: d.method.as_str().into(),
        body: d.body.as_str().into(),
        disable_redirects: d.disable_redirects,
        tcp: d.tcp.as_str().into(),
        tcp_use_tls: d.tcp_use_tls,
        udp: d.udp.as_str().into(),
        interval: d.interval,
        alias_node: d.alias_node.as_str().into(),
        alias_service: d.alias_service.as_str().into(),
        docker_container_id: d.docker_container_id.as_str().into(),
        shell: d.shell.as_str().into(),
        grpc: d.grpc.as_str().into(),
        grpc_use_tls: d.grpc_use_tls,
        h2ping: d.h2ping.as_str().into(),
        h2ping_use_tls: Some(d.h2ping_use_tls),
        os_service: d.os_service.as_str().into(),
        tls_server_name: d.tls_server_name.as_str().into(),
        tls_skip_verify: d.tls_skip_verify,
        timeout: d.timeout,
        ttl: d.ttl,
        success_before_passing: d.success_before_passing,
        failures_before_warning: Some(d.failures_before_warning),
        failures_before_critical: d.failures_before_critical,
        deregister_critical_service_after: d.deregister_critical_service_after,
        output_max_size: d.output_max_size,
        ..CheckRequest::default()
    }
}

/// A service of a configuration file.
pub fn service_from_file(d: &ServiceDefinition) -> ServiceRequest {
    ServiceRequest {
        kind: d.kind.as_str().into(),
        id: d.id.as_str().into(),
        name: d.name.as_str().into(),
        tags: d.tags.iter().map(|t| t.as_str().into()).collect(),
        address: d.address.as_str().into(),
        tagged_addresses: d
            .tagged_addresses
            .iter()
            .map(|(k, v)| {
                (
                    k.as_str().into(),
                    ServiceAddress {
                        address: v.address.as_str().into(),
                        port: v.port,
                    },
                )
            })
            .collect(),
        meta: (!d.meta.is_empty()).then(|| {
            d.meta
                .iter()
                .map(|(k, v)| (k.as_str(), v.as_str()))
                .collect()
        }),
        port: d.port,
        socket_path: d.socket_path.as_str().into(),
        check: None,
        checks: d.checks.iter().map(check_from_file).collect(),
        weights: Some(Weights {
            passing: d.weights.passing,
            warning: d.weights.warning,
        }),
        token: d.token.as_str().into(),
        enable_tag_override: d.enable_tag_override,
        proxy: d.proxy.clone(),
        connect: d
            .connect
            .clone()
            .and_then(|v| serde_json::from_value(v).ok()),
        locality: d
            .locality
            .as_ref()
            .map(|l| serde_json::json!({"Region": l.region, "Zone": l.zone})),
    }
}
