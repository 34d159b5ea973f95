//! The rows that requests and replies carry.

use super::{ConnectProxyConfig, messages};
use lictor_wire::{Str, StrMap};
use std::collections::BTreeMap;

messages! {
    /// Where something runs.
    Locality {
        region: Str = "Region",
        zone: Str = "Zone",
    }

    /// A node.
    Node {
        id: Str = "ID",
        node: Str = "Node",
        address: Str = "Address",
        datacenter: Str = "Datacenter",
        partition: Str = "Partition",
        peer_name: Str = "PeerName",
        tagged_addresses: Option<StrMap> = "TaggedAddresses",
        meta: Option<StrMap> = "Meta",
        locality: Option<Locality> = "Locality",
        create_index: u64 = "CreateIndex",
        modify_index: u64 = "ModifyIndex",
    }

    /// SRV weights. Zero where nothing was said: the default of 1 and 1 belongs to absent weights.
    Weights {
        passing: i64 = "Passing",
        warning: i64 = "Warning",
    }

    /// An address for one purpose.
    ServiceAddress {
        address: Str = "Address",
        port: i64 = "Port",
    }

    /// Names by which a peer knows a service.
    PeerMeta {
        sni: Vec<Str> = "SNI",
        spiffe_id: Vec<Str> = "SpiffeID",
        protocol: Str = "Protocol",
    }

    /// The mesh marks of a service.
    ServiceConnect {
        native: bool = "Native",
        sidecar_service: Option<serde_json::Value> = "SidecarService",
        peer_meta: Option<PeerMeta> = "PeerMeta",
    }

    /// An instance on a node.
    NodeService {
        kind: Str = "Kind",
        id: Str = "ID",
        service: Str = "Service",
        tags: Vec<Str> = "Tags",
        address: Str = "Address",
        tagged_addresses: Option<BTreeMap<Str, ServiceAddress>> = "TaggedAddresses",
        meta: Option<StrMap> = "Meta",
        port: i64 = "Port",
        socket_path: Str = "SocketPath",
        weights: Option<Weights> = "Weights",
        enable_tag_override: bool = "EnableTagOverride",
        locality: Option<Locality> = "Locality",
        proxy: ConnectProxyConfig = "Proxy",
        connect: ServiceConnect = "Connect",
        locally_registered_as_sidecar: bool = "LocallyRegisteredAsSidecar",
        peer_name: Str = "PeerName",
        create_index: u64 = "CreateIndex",
        modify_index: u64 = "ModifyIndex",
    }

    /// An instance with the columns of its node, as the catalog shows it.
    ServiceNode {
        id: Str = "ID",
        node: Str = "Node",
        address: Str = "Address",
        datacenter: Str = "Datacenter",
        tagged_addresses: Option<StrMap> = "TaggedAddresses",
        node_meta: Option<StrMap> = "NodeMeta",
        service_kind: Str = "ServiceKind",
        service_id: Str = "ServiceID",
        service_name: Str = "ServiceName",
        service_tags: Vec<Str> = "ServiceTags",
        service_address: Str = "ServiceAddress",
        service_tagged_addresses: Option<BTreeMap<Str, ServiceAddress>> = "ServiceTaggedAddresses",
        service_weights: Weights = "ServiceWeights",
        service_meta: Option<StrMap> = "ServiceMeta",
        service_port: i64 = "ServicePort",
        service_socket_path: Str = "ServiceSocketPath",
        service_enable_tag_override: bool = "ServiceEnableTagOverride",
        service_proxy: ConnectProxyConfig = "ServiceProxy",
        service_connect: ServiceConnect = "ServiceConnect",
        service_locality: Option<Locality> = "ServiceLocality",
        peer_name: Str = "PeerName",
        create_index: u64 = "CreateIndex",
        modify_index: u64 = "ModifyIndex",
    }

    /// A check.
    HealthCheck {
        node: Str = "Node",
        check_id: Str = "CheckID",
        name: Str = "Name",
        status: Str = "Status",
        notes: Str = "Notes",
        output: Str = "Output",
        service_id: Str = "ServiceID",
        service_name: Str = "ServiceName",
        service_tags: Vec<Str> = "ServiceTags",
        kind: Str = "Type",
        /// A duration as text.
        interval: Str = "Interval",
        /// A duration as text.
        timeout: Str = "Timeout",
        exposed_port: i64 = "ExposedPort",
        peer_name: Str = "PeerName",
        definition: CheckDefinition = "Definition",
        create_index: u64 = "CreateIndex",
        modify_index: u64 = "ModifyIndex",
    }

    /// What an external monitor should run. Durations are nanoseconds.
    CheckDefinition {
        http: Str = "HTTP",
        tls_server_name: Str = "TLSServerName",
        tls_skip_verify: bool = "TLSSkipVerify",
        header: Option<BTreeMap<String, Vec<String>>> = "Header",
        method: Str = "Method",
        body: Str = "Body",
        disable_redirects: bool = "DisableRedirects",
        tcp: Str = "TCP",
        tcp_use_tls: bool = "TCPUseTLS",
        udp: Str = "UDP",
        h2ping: Str = "H2PING",
        os_service: Str = "OSService",
        h2ping_use_tls: bool = "H2PingUseTLS",
        interval: i64 = "Interval",
        output_max_size: u64 = "OutputMaxSize",
        timeout: i64 = "Timeout",
        deregister_critical_service_after: i64 = "DeregisterCriticalServiceAfter",
        script_args: Vec<Str> = "ScriptArgs",
        docker_container_id: Str = "DockerContainerID",
        shell: Str = "Shell",
        grpc: Str = "GRPC",
        grpc_use_tls: bool = "GRPCUseTLS",
        alias_node: Str = "AliasNode",
        alias_service: Str = "AliasService",
        ttl: i64 = "TTL",
    }

    /// An instance with its node and the checks that count for it.
    CheckServiceNode {
        node: Option<Box<Node>> = "Node",
        service: Option<Box<NodeService>> = "Service",
        checks: Vec<HealthCheck> = "Checks",
    }

    /// A node with its instances by id.
    NodeServices {
        node: Option<Box<Node>> = "Node",
        services: BTreeMap<Str, NodeService> = "Services",
    }

    /// A node with its instances in a list.
    NodeServiceList {
        node: Option<Box<Node>> = "Node",
        services: Vec<NodeService> = "Services",
    }

    /// A node with all that is on it.
    NodeInfo {
        id: Str = "ID",
        node: Str = "Node",
        partition: Str = "Partition",
        peer_name: Str = "PeerName",
        address: Str = "Address",
        tagged_addresses: Option<StrMap> = "TaggedAddresses",
        meta: Option<StrMap> = "Meta",
        services: Vec<NodeService> = "Services",
        checks: Vec<HealthCheck> = "Checks",
    }

    /// A network coordinate, in seconds.
    Coordinate {
        vec: Vec<f64> = "Vec",
        error: f64 = "Error",
        adjustment: f64 = "Adjustment",
        height: f64 = "Height",
    }

    /// The coordinate of a node.
    CoordinateRecord {
        node: Str = "Node",
        segment: Str = "Segment",
        partition: Str = "Partition",
        coord: Option<Coordinate> = "Coord",
    }
}
