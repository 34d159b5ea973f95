//! Queries as calls, and replies as rows.

use super::{Ask, broken};
use crate::query::{Freshness, Query, What};
use crate::store::WriteError;
use lictor_rpc_wire::message::{
    self, ChecksInStateRequest, DcSpecificRequest, IndexedCheckServiceNodes, IndexedCoordinates,
    IndexedDirEntries, IndexedHealthChecks, IndexedKeyList, IndexedNodeDump, IndexedNodeServices,
    IndexedNodes, IndexedNodesWithGateways, IndexedServiceNodes, IndexedServices, IndexedSessions,
    KeyListRequest, KeyRequest, NodeSpecificRequest, QueryMeta, QueryOptions, QuerySource,
    ServiceDumpRequest, ServiceSpecificRequest, SessionSpecificRequest,
};
use lictor_rpc_wire::{Error, from_slice, to_vec};
use lictor_state::{CoordinateUpdate, Part};
use lictor_wire::rows::{CheckServiceNode, CoordinateRow, NodeServices, ServiceNode};
use lictor_wire::{HealthCheck, KvEntry, Node, NodeService, Session, Str, StrMap};
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;

type Request = Result<(&'static str, Vec<u8>), WriteError>;

/// The options of a read.
pub(super) fn options(ask: &Ask, filter: &Str) -> QueryOptions {
    QueryOptions {
        min_query_index: ask.index,
        max_query_time: nanos(ask.wait),
        allow_stale: ask.freshness == Freshness::Stale,
        require_consistent: ask.freshness == Freshness::Consistent,
        filter: filter.clone(),
        ..QueryOptions::default()
    }
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

fn call<T: Serialize>(method: &'static str, args: &T) -> Request {
    Ok((method, to_vec(args).map_err(broken)?))
}

/// The call that answers a query about this datacenter; `home` is where who asks is.
pub(super) fn request(query: &Query, datacenter: &str, home: &str, ask: &Ask) -> Request {
    let narrow = &query.narrow;
    let dc = || Str::from(datacenter);
    let options = || options(ask, &narrow.filter);
    let meta = || -> Option<StrMap> {
        (!narrow.meta.is_empty()).then(|| {
            narrow
                .meta
                .iter()
                .map(|(k, v)| (k.as_str(), v.as_str()))
                .collect()
        })
    };
    let source = || QuerySource {
        datacenter: home.into(),
        node: narrow.near.clone(),
        ..QuerySource::default()
    };
    let all = || DcSpecificRequest {
        datacenter: dc(),
        node_meta_filters: meta(),
        source: source(),
        options: options(),
        ..DcSpecificRequest::default()
    };
    let of_node = |node: &Str| NodeSpecificRequest {
        datacenter: dc(),
        node: node.clone(),
        options: options(),
        ..NodeSpecificRequest::default()
    };
    let of_service = |name: &Str, connect: bool| ServiceSpecificRequest {
        datacenter: dc(),
        service_name: name.clone(),
        service_tags: narrow.tags.clone(),
        tag_filter: !narrow.tags.is_empty(),
        node_meta_filters: meta(),
        source: source(),
        connect,
        options: options(),
        ..ServiceSpecificRequest::default()
    };
    let of_key = |key: &Str| KeyRequest {
        datacenter: dc(),
        key: key.clone(),
        options: options(),
    };
    match &query.what {
        What::Nodes => call("Catalog.ListNodes", &all()),
        What::Services => call("Catalog.ListServices", &all()),
        What::Instances { name, mesh } => call("Catalog.ServiceNodes", &of_service(name, *mesh)),
        What::InstancesAt { address } => {
            let mut args = of_service(&Str::new(), false);
            args.service_address = address.clone();
            call("Catalog.ServiceNodes", &args)
        }
        What::Health { name, mesh } => call("Health.ServiceNodes", &of_service(name, *mesh)),
        What::Node { name } => call("Catalog.NodeServices", &of_node(name)),
        What::NodeChecks { node } => call("Health.NodeChecks", &of_node(node)),
        What::ServiceChecks { name } => call("Health.ServiceChecks", &of_service(name, false)),
        What::ChecksInState { state } => call(
            "Health.ChecksInState",
            &ChecksInStateRequest {
                datacenter: dc(),
                node_meta_filters: meta(),
                state: state.clone(),
                source: source(),
                options: options(),
                ..ChecksInStateRequest::default()
            },
        ),
        What::Key { key } => call("KVS.Get", &of_key(key)),
        What::KeyTree { prefix } => call("KVS.List", &of_key(prefix)),
        What::KeyNames { prefix, separator } => call(
            "KVS.ListKeys",
            &KeyListRequest {
                datacenter: dc(),
                prefix: prefix.clone(),
                separator: separator.clone(),
                options: options(),
            },
        ),
        What::Session { id } => call(
            "Session.Get",
            &SessionSpecificRequest::of(datacenter, id, options()),
        ),
        What::Sessions => call("Session.List", &all()),
        What::NodeSessions { node } => call("Session.NodeSessions", &of_node(node)),
        What::Coordinates => call("Coordinate.ListNodes", &all()),
        What::Coordinate { node } => call("Coordinate.Node", &of_node(node)),
        What::NodeInfo { name } => call("Internal.NodeInfo", &of_node(name)),
        What::NodeDump => call("Internal.NodeDump", &all()),
        What::ServiceDump => call(
            "Internal.ServiceDump",
            &ServiceDumpRequest {
                datacenter: dc(),
                source: source(),
                options: options(),
                ..ServiceDumpRequest::default()
            },
        ),
    }
}

/// The rows of a reply, and what it says of itself.
pub(super) fn rows(query: &Query, reply: &[u8]) -> Result<(Part, QueryMeta), Error> {
    let mut part = Part::default();
    let meta = match &query.what {
        What::Nodes => {
            let r: IndexedNodes = from_slice(reply)?;
            part.nodes = r.nodes.into_iter().map(|n| Arc::new(n.into())).collect();
            part.order = part.nodes.iter().map(|n| n.node.clone()).collect();
            r.meta
        }
        What::Services => {
            let r: IndexedServices = from_slice(reply)?;
            let mut names = r.services;
            names.values_mut().for_each(|tags| tags.sort());
            part.names = Some(names);
            r.meta
        }
        What::Instances { .. } | What::InstancesAt { .. } => {
            let r: IndexedServiceNodes = from_slice(reply)?;
            for row in r.service_nodes {
                let row = ServiceNode::from(row);
                part.order.push(row.node.node.clone());
                part.services.push((row.node.node.clone(), row.service));
                part.nodes.push(row.node);
            }
            r.meta
        }
        What::Health { .. } => {
            let r: IndexedCheckServiceNodes = from_slice(reply)?;
            instances(&mut part, r.nodes);
            r.meta
        }
        What::ServiceDump => {
            let r: IndexedNodesWithGateways = from_slice(reply)?;
            instances(&mut part, r.nodes);
            r.meta
        }
        What::Node { .. } => {
            let r: IndexedNodeServices = from_slice(reply)?;
            if let Some(found) = r.node_services {
                let found = NodeServices::from(found);
                let name = &found.node.node;
                part.services = found
                    .services
                    .into_iter()
                    .map(|s| (name.clone(), s))
                    .collect();
                part.nodes.push(found.node);
            }
            r.meta
        }
        What::NodeChecks { .. } | What::ServiceChecks { .. } | What::ChecksInState { .. } => {
            let r: IndexedHealthChecks = from_slice(reply)?;
            let checks = r.health_checks.into_iter();
            part.checks = checks.map(|c| Arc::new(HealthCheck::from(c))).collect();
            part.order = part.checks.iter().map(|c| c.node.clone()).collect();
            r.meta
        }
        What::Key { .. } | What::KeyTree { .. } => {
            let r: IndexedDirEntries = from_slice(reply)?;
            let keys = r.entries.into_iter();
            part.keys = keys.map(|e| Arc::new(KvEntry::from(e))).collect();
            r.meta
        }
        What::KeyNames { .. } => {
            let r: IndexedKeyList = from_slice(reply)?;
            let named = |key| {
                Arc::new(KvEntry {
                    key,
                    ..KvEntry::default()
                })
            };
            part.keys = r.keys.into_iter().map(named).collect();
            r.meta
        }
        What::Session { .. } | What::Sessions | What::NodeSessions { .. } => {
            let r: IndexedSessions = from_slice(reply)?;
            for row in r.sessions {
                let row = Session::try_from(row).map_err(<Error as serde::de::Error>::custom)?;
                part.sessions.push(Arc::new(row));
            }
            r.meta
        }
        What::Coordinates | What::Coordinate { .. } => {
            let r: IndexedCoordinates = from_slice(reply)?;
            for row in r.coordinates {
                let row = CoordinateRow::from(row);
                part.coordinates.push(CoordinateUpdate {
                    node: row.node,
                    coord: row.coord,
                });
            }
            r.meta
        }
        What::NodeInfo { .. } | What::NodeDump => {
            let r: IndexedNodeDump = from_slice(reply)?;
            r.dump.into_iter().for_each(|row| dumped(&mut part, row));
            r.meta
        }
    };
    if query.narrow.near.is_empty() {
        part.order = Vec::new();
    }
    Ok((part, meta))
}

fn instances(part: &mut Part, rows: Vec<message::CheckServiceNode>) {
    for row in rows {
        let row = CheckServiceNode::from(row);
        part.order.push(row.node.node.clone());
        part.services.push((row.node.node.clone(), row.service));
        part.checks.extend(row.checks);
        part.nodes.push(row.node);
    }
}

fn dumped(part: &mut Part, row: message::NodeInfo) {
    for service in row.services {
        let service = Arc::new(NodeService::from(service));
        part.services.push((row.node.clone(), service));
    }
    let checks = row.checks.into_iter();
    part.checks
        .extend(checks.map(|c| Arc::new(HealthCheck::from(c))));
    part.nodes.push(Arc::new(Node {
        id: row.id,
        node: row.node,
        address: row.address,
        tagged_addresses: row.tagged_addresses,
        meta: row.meta,
        ..Node::default()
    }));
}
