//! Rows.

use crate::codec::Bytes;
use crate::message::{self, ConnectProxyConfig, ServiceConnect};
use lictor_wire::rows;
use lictor_wire::{
    ConnectMarks, Coordinate, HealthCheck, KvEntry, Node, NodeService, ServiceAddresses,
    ServiceCheckRef, Session, SessionBehavior, Status, Str, Weights,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

impl From<&Node> for message::Node {
    fn from(n: &Node) -> message::Node {
        message::Node {
            id: n.id.clone(),
            node: n.node.clone(),
            address: n.address.clone(),
            datacenter: n.datacenter.clone(),
            tagged_addresses: n.tagged_addresses.clone(),
            meta: n.meta.clone(),
            create_index: n.create_index,
            modify_index: n.modify_index,
            ..message::Node::default()
        }
    }
}

impl From<message::Node> for Node {
    fn from(n: message::Node) -> Node {
        Node {
            id: n.id,
            node: n.node,
            address: n.address,
            datacenter: n.datacenter,
            tagged_addresses: n.tagged_addresses,
            meta: n.meta,
            create_index: n.create_index,
            modify_index: n.modify_index,
        }
    }
}

impl From<Weights> for message::Weights {
    fn from(w: Weights) -> message::Weights {
        message::Weights {
            passing: w.passing,
            warning: w.warning,
        }
    }
}

impl From<message::Weights> for Weights {
    fn from(w: message::Weights) -> Weights {
        Weights {
            passing: w.passing,
            warning: w.warning,
        }
    }
}

type MessageAddresses = Option<BTreeMap<Str, message::ServiceAddress>>;

fn addresses_out(addresses: Option<&ServiceAddresses>) -> MessageAddresses {
    let addresses = addresses.filter(|a| !a.is_empty())?;
    let entry = |(purpose, a): (&Str, &lictor_wire::ServiceAddress)| {
        let address = message::ServiceAddress {
            address: a.address.clone(),
            port: a.port,
        };
        (purpose.clone(), address)
    };
    Some(addresses.iter().map(entry).collect())
}

fn addresses_in(addresses: MessageAddresses) -> Option<Box<ServiceAddresses>> {
    let addresses = addresses.filter(|a| !a.is_empty())?;
    let entry = |(purpose, a): (Str, message::ServiceAddress)| {
        let address = lictor_wire::ServiceAddress {
            address: a.address,
            port: a.port,
        };
        (purpose, address)
    };
    Some(Box::new(addresses.into_iter().map(entry).collect()))
}

pub(super) fn locality_out(value: Option<&Value>) -> Option<message::Locality> {
    let value = value?;
    let text = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default();
    Some(message::Locality {
        region: text("Region").into(),
        zone: text("Zone").into(),
    })
}

pub(super) fn locality_in(locality: Option<message::Locality>) -> Option<Value> {
    locality.map(|l| json!({ "Region": l.region, "Zone": l.zone }))
}

fn proxy_out(proxy: Option<&Value>) -> ConnectProxyConfig {
    proxy.map(ConnectProxyConfig::from).unwrap_or_default()
}

fn connect_out(connect: Option<&ConnectMarks>) -> ServiceConnect {
    // A sidecar's definition stays with the agent that registers it.
    ServiceConnect {
        native: connect.is_some_and(|c| c.native),
        ..ServiceConnect::default()
    }
}

fn connect_in(connect: &ServiceConnect) -> Option<Box<ConnectMarks>> {
    connect.native.then(|| {
        Box::new(ConnectMarks {
            native: true,
            sidecar_service: None,
        })
    })
}

impl From<&NodeService> for message::NodeService {
    fn from(s: &NodeService) -> message::NodeService {
        message::NodeService {
            kind: s.kind.clone(),
            id: s.id.clone(),
            service: s.service.clone(),
            tags: s.tags.to_vec(),
            address: s.address.clone(),
            tagged_addresses: addresses_out(s.tagged_addresses.as_deref()),
            meta: s.meta.clone(),
            port: s.port,
            socket_path: s.socket_path.clone(),
            weights: Some(s.weights.into()),
            enable_tag_override: s.enable_tag_override,
            locality: locality_out(s.locality.as_deref()),
            proxy: proxy_out(s.proxy.as_deref()),
            connect: connect_out(s.connect.as_deref()),
            locally_registered_as_sidecar: false,
            peer_name: Str::new(),
            create_index: s.create_index,
            modify_index: s.modify_index,
        }
    }
}

impl From<message::NodeService> for NodeService {
    /// Absent weights are 1 and 1.
    fn from(s: message::NodeService) -> NodeService {
        NodeService {
            kind: s.kind,
            id: s.id,
            service: s.service,
            tags: s.tags.into(),
            address: s.address,
            tagged_addresses: addresses_in(s.tagged_addresses),
            meta: s.meta,
            port: s.port,
            socket_path: s.socket_path,
            weights: s.weights.map(Weights::from).unwrap_or_default(),
            enable_tag_override: s.enable_tag_override,
            proxy: s.proxy.to_json(),
            connect: connect_in(&s.connect),
            locality: locality_in(s.locality).map(Box::new),
            peer_name: Str::new(),
            create_index: s.create_index,
            modify_index: s.modify_index,
        }
    }
}

impl From<&rows::ServiceNode> for message::ServiceNode {
    fn from(row: &rows::ServiceNode) -> message::ServiceNode {
        let (n, s) = (&*row.node, &*row.service);
        message::ServiceNode {
            id: n.id.clone(),
            node: n.node.clone(),
            address: n.address.clone(),
            datacenter: n.datacenter.clone(),
            tagged_addresses: n.tagged_addresses.clone(),
            node_meta: n.meta.clone(),
            service_kind: s.kind.clone(),
            service_id: s.id.clone(),
            service_name: s.service.clone(),
            service_tags: s.tags.to_vec(),
            service_address: s.address.clone(),
            service_tagged_addresses: addresses_out(s.tagged_addresses.as_deref()),
            service_weights: s.weights.into(),
            service_meta: s.meta.clone(),
            service_port: s.port,
            service_socket_path: s.socket_path.clone(),
            service_enable_tag_override: s.enable_tag_override,
            service_proxy: proxy_out(s.proxy.as_deref()),
            service_connect: connect_out(s.connect.as_deref()),
            service_locality: locality_out(s.locality.as_deref()),
            peer_name: Str::new(),
            create_index: s.create_index,
            modify_index: s.modify_index,
        }
    }
}

impl From<message::ServiceNode> for rows::ServiceNode {
    /// The node's own indexes are not among the columns: zero.
    fn from(row: message::ServiceNode) -> rows::ServiceNode {
        let node = Node {
            id: row.id,
            node: row.node,
            address: row.address,
            datacenter: row.datacenter,
            tagged_addresses: row.tagged_addresses,
            meta: row.node_meta,
            create_index: 0,
            modify_index: 0,
        };
        let service = NodeService {
            kind: row.service_kind,
            id: row.service_id,
            service: row.service_name,
            tags: row.service_tags.into(),
            address: row.service_address,
            tagged_addresses: addresses_in(row.service_tagged_addresses),
            meta: row.service_meta,
            port: row.service_port,
            socket_path: row.service_socket_path,
            weights: row.service_weights.into(),
            enable_tag_override: row.service_enable_tag_override,
            proxy: row.service_proxy.to_json(),
            connect: connect_in(&row.service_connect),
            locality: locality_in(row.service_locality).map(Box::new),
            peer_name: Str::new(),
            create_index: row.create_index,
            modify_index: row.modify_index,
        };
        rows::ServiceNode {
            node: Arc::new(node),
            service: Arc::new(service),
        }
    }
}

impl From<&HealthCheck> for message::HealthCheck {
    fn from(c: &HealthCheck) -> message::HealthCheck {
        message::HealthCheck {
            node: c.node.clone(),
            check_id: c.check_id.clone(),
            name: c.name.clone(),
            status: c.status.as_str().into(),
            notes: c.notes.clone(),
            output: c.output.clone(),
            service_id: c.service_id.clone(),
            service_name: c.service_name.clone(),
            service_tags: c.service_tags.to_vec(),
            kind: c.kind.clone(),
            interval: c.interval.clone(),
            timeout: c.timeout.clone(),
            exposed_port: c.exposed_port,
            peer_name: Str::new(),
            definition: c
                .definition
                .as_deref()
                .map(message::CheckDefinition::from)
                .unwrap_or_default(),
            create_index: c.create_index,
            modify_index: c.modify_index,
        }
    }
}

impl From<message::HealthCheck> for HealthCheck {
    fn from(c: message::HealthCheck) -> HealthCheck {
        HealthCheck {
            node: c.node,
            check_id: c.check_id,
            name: c.name,
            status: Status::from_word(&c.status),
            notes: c.notes,
            output: c.output,
            service_id: c.service_id,
            service_name: c.service_name,
            service_tags: c.service_tags.into(),
            kind: c.kind,
            interval: c.interval,
            timeout: c.timeout,
            exposed_port: c.exposed_port,
            definition: c.definition.to_json(),
            create_index: c.create_index,
            modify_index: c.modify_index,
        }
    }
}

impl From<&rows::CheckServiceNode> for message::CheckServiceNode {
    fn from(row: &rows::CheckServiceNode) -> message::CheckServiceNode {
        message::CheckServiceNode {
            node: Some(Box::new((&*row.node).into())),
            service: Some(Box::new((&*row.service).into())),
            checks: row.checks.iter().map(|c| (&**c).into()).collect(),
        }
    }
}

impl From<message::CheckServiceNode> for rows::CheckServiceNode {
    /// An absent node or instance is an empty one.
    fn from(row: message::CheckServiceNode) -> rows::CheckServiceNode {
        rows::CheckServiceNode {
            node: Arc::new(row.node.map(|n| Node::from(*n)).unwrap_or_default()),
            service: Arc::new(
                row.service
                    .map(|s| NodeService::from(*s))
                    .unwrap_or_default(),
            ),
            checks: row
                .checks
                .into_iter()
                .map(|c| Arc::new(HealthCheck::from(c)))
                .collect(),
        }
    }
}

impl From<&rows::NodeServices> for message::NodeServices {
    fn from(row: &rows::NodeServices) -> message::NodeServices {
        let services = row.services.iter();
        message::NodeServices {
            node: Some(Box::new((&*row.node).into())),
            services: services.map(|s| (s.id.clone(), (&**s).into())).collect(),
        }
    }
}

impl From<message::NodeServices> for rows::NodeServices {
    /// An absent node is an empty one.
    fn from(row: message::NodeServices) -> rows::NodeServices {
        rows::NodeServices {
            node: Arc::new(row.node.map(|n| Node::from(*n)).unwrap_or_default()),
            services: row
                .services
                .into_values()
                .map(|s| Arc::new(NodeService::from(s)))
                .collect(),
        }
    }
}

impl From<&rows::NodeServices> for message::NodeServiceList {
    fn from(row: &rows::NodeServices) -> message::NodeServiceList {
        message::NodeServiceList {
            node: Some(Box::new((&*row.node).into())),
            services: row.services.iter().map(|s| (&**s).into()).collect(),
        }
    }
}

impl From<message::NodeServiceList> for rows::NodeServiceList {
    fn from(row: message::NodeServiceList) -> rows::NodeServiceList {
        let services = row.services.into_iter();
        rows::NodeServiceList {
            services: row
                .node
                .is_some()
                .then(|| services.map(|s| Arc::new(NodeService::from(s))).collect()),
            node: row.node.map(|n| Arc::new(Node::from(*n))),
        }
    }
}

impl From<&Coordinate> for message::Coordinate {
    fn from(c: &Coordinate) -> message::Coordinate {
        message::Coordinate {
            vec: c.vec.clone(),
            error: c.error,
            adjustment: c.adjustment,
            height: c.height,
        }
    }
}

impl From<message::Coordinate> for Coordinate {
    fn from(c: message::Coordinate) -> Coordinate {
        Coordinate {
            vec: c.vec,
            error: c.error,
            adjustment: c.adjustment,
            height: c.height,
        }
    }
}

impl From<&rows::CoordinateRow> for message::CoordinateRecord {
    fn from(row: &rows::CoordinateRow) -> message::CoordinateRecord {
        message::CoordinateRecord {
            node: row.node.clone(),
            segment: row.segment.clone(),
            partition: Str::new(),
            coord: Some((&row.coord).into()),
        }
    }
}

impl From<message::CoordinateRecord> for rows::CoordinateRow {
    /// An absent coordinate is that of a node that knows nothing yet.
    fn from(row: message::CoordinateRecord) -> rows::CoordinateRow {
        rows::CoordinateRow {
            node: row.node,
            segment: row.segment,
            coord: row.coord.map(Coordinate::from).unwrap_or_default(),
        }
    }
}

impl From<&KvEntry> for message::DirEntry {
    fn from(e: &KvEntry) -> message::DirEntry {
        message::DirEntry {
            lock_index: e.lock_index,
            key: e.key.clone(),
            flags: e.flags,
            value: Bytes(e.value.clone()),
            session: e.session.clone(),
            create_index: e.create_index,
            modify_index: e.modify_index,
        }
    }
}

impl From<message::DirEntry> for KvEntry {
    fn from(e: message::DirEntry) -> KvEntry {
        KvEntry {
            lock_index: e.lock_index,
            key: e.key,
            flags: e.flags,
            value: e.value.0,
            session: e.session,
            create_index: e.create_index,
            modify_index: e.modify_index,
        }
    }
}

impl From<&Session> for message::Session {
    fn from(s: &Session) -> message::Session {
        let service_checks = s.service_checks.iter().flatten();
        message::Session {
            id: s.id.clone(),
            name: s.name.clone(),
            node: s.node.clone(),
            lock_delay: s.lock_delay.0,
            behavior: match s.behavior {
                SessionBehavior::Release => "release".into(),
                SessionBehavior::Delete => "delete".into(),
            },
            ttl: s.ttl.clone(),
            node_checks: s.node_checks.clone(),
            service_checks: service_checks
                .map(|c| message::ServiceCheck {
                    id: c.id.clone(),
                    namespace: c.namespace.clone(),
                })
                .collect(),
            checks: Vec::new(),
            create_index: s.create_index,
            modify_index: s.modify_index,
        }
    }
}

impl TryFrom<message::Session> for Session {
    type Error = String;

    /// The checks of both lists, each once; no word on the behaviour is `release`.
    ///
    /// # Errors
    /// Another word on the behaviour, in Consul's words.
    fn try_from(s: message::Session) -> Result<Session, String> {
        let behavior = match s.behavior.as_str() {
            "" | "release" => SessionBehavior::Release,
            "delete" => SessionBehavior::Delete,
            other => return Err(format!("Invalid Behavior setting '{other}'")),
        };
        let mut node_checks = s.node_checks;
        for check in s.checks {
            if !node_checks.contains(&check) {
                node_checks.push(check);
            }
        }
        let service_checks: Vec<ServiceCheckRef> = s
            .service_checks
            .into_iter()
            .map(|c| ServiceCheckRef {
                id: c.id,
                namespace: c.namespace,
            })
            .collect();
        Ok(Session {
            id: s.id,
            name: s.name,
            node: s.node,
            lock_delay: lictor_wire::GoDuration(s.lock_delay),
            behavior,
            ttl: s.ttl,
            node_checks,
            service_checks: (!service_checks.is_empty()).then_some(service_checks),
            create_index: s.create_index,
            modify_index: s.modify_index,
        })
    }
}
