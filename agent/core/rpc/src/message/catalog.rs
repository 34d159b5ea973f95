//! `Catalog`, `Health` and `Coordinate`.

use super::{
    CheckServiceNode, Coordinate, CoordinateRecord, HealthCheck, Locality, Node, NodeService,
    NodeServiceList, NodeServices, QueryMeta, QueryOptions, QuerySource, ServiceNode, WriteRequest,
    messages,
};
use lictor_wire::{Str, StrMap};
use std::collections::BTreeMap;

messages! {
    /// Arguments of `Catalog.Register`.
    RegisterRequest {
        datacenter: Str = "Datacenter",
        id: Str = "ID",
        node: Str = "Node",
        address: Str = "Address",
        tagged_addresses: Option<StrMap> = "TaggedAddresses",
        node_meta: Option<StrMap> = "NodeMeta",
        service: Option<Box<NodeService>> = "Service",
        check: Option<Box<HealthCheck>> = "Check",
        checks: Vec<HealthCheck> = "Checks",
        skip_node_update: bool = "SkipNodeUpdate",
        peer_name: Str = "PeerName",
        locality: Option<Locality> = "Locality",
        ..write: WriteRequest,
        ..index: RaftIndex,
    }

    /// The indexes that a row was written at.
    RaftIndex {
        create_index: u64 = "CreateIndex",
        modify_index: u64 = "ModifyIndex",
    }

    /// Arguments of `Catalog.Deregister`.
    DeregisterRequest {
        datacenter: Str = "Datacenter",
        node: Str = "Node",
        service_id: Str = "ServiceID",
        check_id: Str = "CheckID",
        peer_name: Str = "PeerName",
        ..write: WriteRequest,
    }

    /// Reply of `Catalog.ListNodes`.
    IndexedNodes {
        nodes: Vec<Node> = "Nodes",
        ..meta: QueryMeta,
    }

    /// Reply of `Catalog.ListServices`: tags by name.
    IndexedServices {
        services: BTreeMap<Str, Vec<Str>> = "Services",
        ..meta: QueryMeta,
    }

    /// A service's name.
    ServiceName {
        name: Str = "Name",
    }

    /// Reply of `Catalog.ServiceList`.
    IndexedServiceList {
        services: Vec<ServiceName> = "Services",
        ..meta: QueryMeta,
    }

    /// Arguments of `Catalog.ServiceNodes`, `Health.ServiceNodes` and `Health.ServiceChecks`.
    ServiceSpecificRequest {
        datacenter: Str = "Datacenter",
        node_meta_filters: Option<StrMap> = "NodeMetaFilters",
        peer_name: Str = "PeerName",
        service_name: Str = "ServiceName",
        service_kind: Str = "ServiceKind",
        /// The one tag of clients before 1.3; wins where it is set.
        service_tag: Str = "ServiceTag",
        service_tags: Vec<Str> = "ServiceTags",
        service_address: Str = "ServiceAddress",
        tag_filter: bool = "TagFilter",
        health_filter_type: Str = "HealthFilterType",
        source: QuerySource = "Source",
        sameness_group: Str = "SamenessGroup",
        sameness_group_health_filter: Str = "SamenessGroupHealthFilter",
        connect: bool = "Connect",
        ingress: bool = "Ingress",
        merge_central_config: bool = "MergeCentralConfig",
        ..options: QueryOptions,
    }

    /// Reply of `Catalog.ServiceNodes`.
    IndexedServiceNodes {
        service_nodes: Vec<ServiceNode> = "ServiceNodes",
        ..meta: QueryMeta,
    }

    /// Reply of `Catalog.NodeServices`; nothing for an unknown node.
    IndexedNodeServices {
        node_services: Option<NodeServices> = "NodeServices",
        ..meta: QueryMeta,
    }

    /// Reply of `Catalog.NodeServiceList`.
    IndexedNodeServiceList {
        node_services: NodeServiceList = "NodeServices",
        ..meta: QueryMeta,
    }

    /// Reply of `Health.ServiceNodes`.
    IndexedCheckServiceNodes {
        nodes: Vec<CheckServiceNode> = "Nodes",
        ..meta: QueryMeta,
    }

    /// Reply of the methods of `Health` that list checks.
    IndexedHealthChecks {
        health_checks: Vec<HealthCheck> = "HealthChecks",
        ..meta: QueryMeta,
    }

    /// Arguments of `Health.ChecksInState`.
    ChecksInStateRequest {
        datacenter: Str = "Datacenter",
        node_meta_filters: Option<StrMap> = "NodeMetaFilters",
        /// `any`, or the word of a status.
        state: Str = "State",
        source: QuerySource = "Source",
        peer_name: Str = "PeerName",
        ..options: QueryOptions,
    }

    /// Arguments of `Coordinate.Update`.
    CoordinateUpdateRequest {
        datacenter: Str = "Datacenter",
        node: Str = "Node",
        segment: Str = "Segment",
        partition: Str = "Partition",
        coord: Option<Coordinate> = "Coord",
        ..write: WriteRequest,
    }

    /// Reply of `Coordinate.ListNodes` and `Coordinate.Node`.
    IndexedCoordinates {
        coordinates: Vec<CoordinateRecord> = "Coordinates",
        ..meta: QueryMeta,
    }

    /// The servers of a datacenter as `Coordinate.ListDatacenters` lists them.
    DatacenterMap {
        datacenter: Str = "Datacenter",
        area_id: Str = "AreaID",
        coordinates: Vec<CoordinateRecord> = "Coordinates",
    }
}
