//! Mesh proxies: stored and returned, not acted on.

use super::messages;
use lictor_wire::Str;
use serde_json::{Map, Value};

messages! {
    /// The settings of a proxy.
    ConnectProxyConfig {
        envoy_extensions: Vec<EnvoyExtension> = "EnvoyExtensions",
        destination_service_name: Str = "DestinationServiceName",
        destination_service_id: Str = "DestinationServiceID",
        local_service_address: Str = "LocalServiceAddress",
        local_service_port: i64 = "LocalServicePort",
        local_service_socket_path: Str = "LocalServiceSocketPath",
        mode: Str = "Mode",
        config: Option<Map<String, Value>> = "Config",
        upstreams: Vec<Upstream> = "Upstreams",
        mesh_gateway: MeshGateway = "MeshGateway",
        expose: Expose = "Expose",
        transparent_proxy: TransparentProxy = "TransparentProxy",
        mutual_tls_mode: Str = "MutualTLSMode",
        access_logs: AccessLogs = "AccessLogs",
    }

    /// Another service that a proxy makes reachable.
    Upstream {
        destination_type: Str = "DestinationType",
        destination_namespace: Str = "DestinationNamespace",
        destination_partition: Str = "DestinationPartition",
        destination_peer: Str = "DestinationPeer",
        destination_name: Str = "DestinationName",
        datacenter: Str = "Datacenter",
        local_bind_address: Str = "LocalBindAddress",
        local_bind_port: i64 = "LocalBindPort",
        local_bind_socket_path: Str = "LocalBindSocketPath",
        local_bind_socket_mode: Str = "LocalBindSocketMode",
        config: Option<Map<String, Value>> = "Config",
        mesh_gateway: MeshGateway = "MeshGateway",
        ingress_hosts: Vec<Str> = "IngressHosts",
        centrally_configured: bool = "CentrallyConfigured",
    }

    /// Through which gateway another datacenter is reached.
    MeshGateway {
        mode: Str = "Mode",
    }

    /// What a proxy lets through without mesh TLS.
    Expose {
        checks: bool = "Checks",
        paths: Vec<ExposePath> = "Paths",
    }

    /// One exposed path.
    ExposePath {
        listener_port: i64 = "ListenerPort",
        path: Str = "Path",
        local_path_port: i64 = "LocalPathPort",
        protocol: Str = "Protocol",
        parsed_from_check: bool = "ParsedFromCheck",
    }

    /// A transparent proxy.
    TransparentProxy {
        outbound_listener_port: i64 = "OutboundListenerPort",
        dialed_directly: bool = "DialedDirectly",
    }

    /// Where a proxy logs.
    AccessLogs {
        enabled: bool = "Enabled",
        disable_listener_logs: bool = "DisableListenerLogs",
        kind: Str = "Type",
        path: Str = "Path",
        json_format: Str = "JSONFormat",
        text_format: Str = "TextFormat",
    }

    /// An extension of a proxy.
    EnvoyExtension {
        name: Str = "Name",
        required: bool = "Required",
        arguments: Option<Map<String, Value>> = "Arguments",
        consul_version: Str = "ConsulVersion",
        envoy_version: Str = "EnvoyVersion",
    }
}
