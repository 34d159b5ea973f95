//! The rows of answers, borrowed from the catalog and written in Consul's field order.

use crate::base::{Str, StrMap};
use crate::catalog::{
    ConnectMarks, HealthCheck, Node, NodeService, ServiceAddresses, Weights, empty_proxy,
};
use serde::ser::{SerializeMap, SerializeStruct};
use serde::{Serialize, Serializer};
use std::sync::Arc;

/// An empty object where Consul prints one for an absent map.
struct EmptyIfNone<'a>(&'a Option<StrMap>);

impl Serialize for EmptyIfNone<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Some(map) => map.serialize(s),
            None => s.serialize_map(Some(0))?.end(),
        }
    }
}

/// A row of `/v1/catalog/service/:name`.
#[derive(Clone, Debug)]
pub struct ServiceNode {
    /// The node.
    pub node: Arc<Node>,
    /// The instance on it.
    pub service: Arc<NodeService>,
}

impl Serialize for ServiceNode {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let (n, v) = (&*self.node, &*self.service);
        let mut row = s.serialize_struct("ServiceNode", 23)?;
        row.serialize_field("ID", &n.id)?;
        row.serialize_field("Node", &n.node)?;
        row.serialize_field("Address", &n.address)?;
        row.serialize_field("Datacenter", &n.datacenter)?;
        row.serialize_field("TaggedAddresses", &n.tagged_addresses)?;
        row.serialize_field("NodeMeta", &n.meta)?;
        row.serialize_field("ServiceKind", &v.kind)?;
        row.serialize_field("ServiceID", &v.id)?;
        row.serialize_field("ServiceName", &v.service)?;
        row.serialize_field("ServiceTags", &v.tags)?;
        row.serialize_field("ServiceAddress", &v.address)?;
        if let Some(tagged) = v.tagged_addresses.as_deref().filter(|t| !t.is_empty()) {
            row.serialize_field("ServiceTaggedAddresses", tagged)?;
        }
        row.serialize_field("ServiceWeights", &v.weights)?;
        row.serialize_field("ServiceMeta", &EmptyIfNone(&v.meta))?;
        row.serialize_field("ServicePort", &v.port)?;
        row.serialize_field("ServiceSocketPath", &v.socket_path)?;
        row.serialize_field("ServiceEnableTagOverride", &v.enable_tag_override)?;
        match v.proxy.as_deref() {
            Some(proxy) => row.serialize_field("ServiceProxy", proxy)?,
            None => row.serialize_field("ServiceProxy", &empty_proxy())?,
        }
        match v.connect.as_deref() {
            Some(connect) => row.serialize_field("ServiceConnect", connect)?,
            None => row.serialize_field("ServiceConnect", &ConnectMarks::default())?,
        }
        row.serialize_field("ServiceLocality", &v.locality)?;
        row.serialize_field("CreateIndex", &v.create_index)?;
        row.serialize_field("ModifyIndex", &v.modify_index)?;
        row.end()
    }
}

/// A row of `/v1/health/service/:name`.
#[derive(Clone, Debug, Serialize)]
pub struct CheckServiceNode {
    /// The node.
    #[serde(rename = "Node")]
    pub node: Arc<Node>,
    /// The instance on it.
    #[serde(rename = "Service")]
    pub service: Arc<NodeService>,
    /// The checks of the node and of the instance.
    #[serde(rename = "Checks")]
    pub checks: Vec<Arc<HealthCheck>>,
}

/// Answer of `/v1/catalog/node/:node`.
#[derive(Clone, Debug)]
pub struct NodeServices {
    /// The node.
    pub node: Arc<Node>,
    /// Its instances, by id.
    pub services: Vec<Arc<NodeService>>,
}

impl Serialize for NodeServices {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        struct ById<'a>(&'a [Arc<NodeService>]);
        impl Serialize for ById<'_> {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_map(self.0.iter().map(|v| (&v.id, v)))
            }
        }
        let mut out = s.serialize_struct("NodeServices", 2)?;
        out.serialize_field("Node", &self.node)?;
        out.serialize_field("Services", &ById(&self.services))?;
        out.end()
    }
}

/// Answer of `/v1/catalog/node-services/:node`.
#[derive(Clone, Debug, Serialize)]
pub struct NodeServiceList {
    /// The node, or nothing.
    #[serde(rename = "Node")]
    pub node: Option<Arc<Node>>,
    /// Its instances.
    #[serde(rename = "Services")]
    pub services: Option<Vec<Arc<NodeService>>>,
}

/// A service as its own agent shows it.
#[derive(Clone, Debug)]
pub struct AgentService<'a> {
    /// The service.
    pub service: &'a NodeService,
    /// The agent's datacenter.
    pub datacenter: &'a str,
    /// The hash of the definition, where a single service is read.
    pub content_hash: Option<&'a str>,
}

impl Serialize for AgentService<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let v = self.service;
        let mut row = s.serialize_map(None)?;
        if !v.kind.is_empty() {
            row.serialize_entry("Kind", &v.kind)?;
        }
        row.serialize_entry("ID", &v.id)?;
        row.serialize_entry("Service", &v.service)?;
        row.serialize_entry("Tags", &v.tags)?;
        row.serialize_entry("Meta", &EmptyIfNone(&v.meta))?;
        row.serialize_entry("Port", &v.port)?;
        row.serialize_entry("Address", &v.address)?;
        if !v.socket_path.is_empty() {
            row.serialize_entry("SocketPath", &v.socket_path)?;
        }
        if let Some(tagged) = v
            .tagged_addresses
            .as_deref()
            .filter(|t: &&ServiceAddresses| !t.is_empty())
        {
            row.serialize_entry("TaggedAddresses", tagged)?;
        }
        let weights: &Weights = &v.weights;
        row.serialize_entry("Weights", weights)?;
        row.serialize_entry("EnableTagOverride", &v.enable_tag_override)?;
        if v.create_index != 0 {
            row.serialize_entry("CreateIndex", &v.create_index)?;
        }
        if v.modify_index != 0 {
            row.serialize_entry("ModifyIndex", &v.modify_index)?;
        }
        if let Some(hash) = self.content_hash {
            row.serialize_entry("ContentHash", hash)?;
        }
        if let Some(proxy) = v.proxy.as_deref().filter(|_| !v.kind.is_empty()) {
            row.serialize_entry("Proxy", &agent_proxy(proxy))?;
        }
        if let Some(connect) = v.connect.as_deref() {
            row.serialize_entry("Connect", connect)?;
        }
        if let Some(locality) = v.locality.as_deref() {
            row.serialize_entry("Locality", locality)?;
        }
        row.serialize_entry("Datacenter", self.datacenter)?;
        row.end()
    }
}

/// The agent's own API leaves out what is empty in a proxy block.
fn agent_proxy(proxy: &serde_json::Value) -> serde_json::Value {
    let mut out = proxy.clone();
    if let Some(map) = out.as_object_mut() {
        if map.get("Mode").is_some_and(|m| m == "") {
            map.remove("Mode");
        }
        if let Some(upstreams) = map.get_mut("Upstreams").and_then(|u| u.as_array_mut()) {
            for up in upstreams.iter_mut().filter_map(|u| u.as_object_mut()) {
                if up.get("Datacenter").is_some_and(|d| d == "") {
                    up.remove("Datacenter");
                }
            }
        }
    }
    out
}

/// A coordinate of a node: a row of `/v1/coordinate/nodes`.
#[derive(Clone, Debug, Serialize, serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CoordinateRow {
    /// The node's name.
    pub node: Str,
    /// Enterprise only: empty.
    pub segment: Str,
    /// Where it is.
    pub coord: crate::catalog::Coordinate,
}
