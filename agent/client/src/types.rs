//! Rows of answers as a reader takes them: unknown fields are passed over, so that a newer agent,
//! or Consul itself, can be asked.

use lictor_wire::{KvEntry, StrMap, UserEvent};
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;

/// `null` where Go has an empty slice or map.
fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    d: D,
) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(d)?.unwrap_or_default())
}

/// A node of `/v1/catalog/nodes`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeEntry {
    /// A UUID, or empty.
    #[serde(rename = "ID")]
    pub id: String,
    /// The name.
    #[serde(rename = "Node")]
    pub node: String,
    /// The address.
    #[serde(rename = "Address")]
    pub address: String,
    /// The datacenter.
    #[serde(rename = "Datacenter")]
    pub datacenter: String,
    /// Addresses by purpose.
    #[serde(rename = "TaggedAddresses", deserialize_with = "or_default")]
    pub tagged_addresses: StrMap,
    /// Metadata; rows of services call it `NodeMeta`.
    #[serde(rename = "Meta", alias = "NodeMeta", deserialize_with = "or_default")]
    pub meta: StrMap,
}

/// An instance of `/v1/catalog/service/:name`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CatalogService {
    /// The node's UUID, or empty.
    #[serde(rename = "ID")]
    pub id: String,
    /// The node's name.
    #[serde(rename = "Node")]
    pub node: String,
    /// The node's address.
    #[serde(rename = "Address")]
    pub address: String,
    /// The datacenter.
    #[serde(rename = "Datacenter")]
    pub datacenter: String,
    /// The node's addresses by purpose.
    #[serde(rename = "TaggedAddresses", deserialize_with = "or_default")]
    pub tagged_addresses: StrMap,
    /// The node's metadata.
    #[serde(rename = "NodeMeta", deserialize_with = "or_default")]
    pub node_meta: StrMap,
    /// The instance's id.
    #[serde(rename = "ServiceID")]
    pub service_id: String,
    /// The service's name.
    #[serde(rename = "ServiceName")]
    pub service_name: String,
    /// Its address; empty for that of the node.
    #[serde(rename = "ServiceAddress")]
    pub service_address: String,
    /// Its port.
    #[serde(rename = "ServicePort")]
    pub service_port: i64,
    /// Its tags.
    #[serde(rename = "ServiceTags", deserialize_with = "or_default")]
    pub service_tags: Vec<String>,
}

/// A service on a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServiceEntry {
    /// The instance's id.
    #[serde(rename = "ID")]
    pub id: String,
    /// The service's name.
    #[serde(rename = "Service")]
    pub service: String,
    /// Its tags.
    #[serde(rename = "Tags", deserialize_with = "or_default")]
    pub tags: Vec<String>,
    /// Its address; empty for that of the node.
    #[serde(rename = "Address")]
    pub address: String,
    /// Its port.
    #[serde(rename = "Port")]
    pub port: i64,
    /// Metadata.
    #[serde(rename = "Meta", deserialize_with = "or_default")]
    pub meta: StrMap,
}

/// The answer of `/v1/catalog/node/:node`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeServices {
    /// The node.
    #[serde(rename = "Node")]
    pub node: NodeEntry,
    /// Its services by id.
    #[serde(rename = "Services", deserialize_with = "or_default")]
    pub services: BTreeMap<String, ServiceEntry>,
}

/// A check, of the agent's own or of a health answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AgentCheck {
    /// The node's name.
    #[serde(rename = "Node")]
    pub node: String,
    /// The id.
    #[serde(rename = "CheckID")]
    pub check_id: String,
    /// A name for people.
    #[serde(rename = "Name")]
    pub name: String,
    /// `passing`, `warning`, `critical`.
    #[serde(rename = "Status")]
    pub status: String,
    /// Notes for people.
    #[serde(rename = "Notes")]
    pub notes: String,
    /// What its last run said.
    #[serde(rename = "Output")]
    pub output: String,
    /// The instance it belongs to; empty for the node.
    #[serde(rename = "ServiceID")]
    pub service_id: String,
    /// That instance's service.
    #[serde(rename = "ServiceName")]
    pub service_name: String,
}

/// An instance of `/v1/health/service/:name`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HealthEntry {
    /// The node.
    #[serde(rename = "Node")]
    pub node: NodeEntry,
    /// The instance.
    #[serde(rename = "Service")]
    pub service: ServiceEntry,
    /// Its checks and those of the node.
    #[serde(rename = "Checks", deserialize_with = "or_default")]
    pub checks: Vec<AgentCheck>,
}

impl HealthEntry {
    /// The address to connect to: the instance's own, else that of its node.
    pub fn reachable_address(&self) -> &str {
        if self.service.address.is_empty() {
            &self.node.address
        } else {
            &self.service.address
        }
    }
}

/// A user event.
pub type EventRow = UserEvent;

/// A key and its value, as `/v1/kv` shows it.
pub(crate) type KvRow = KvEntry;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nulls_and_unknown_fields_are_passed_over() {
        let row = r#"{"Node":{"Node":"n","Address":"10.0.0.1","Meta":null,"New":1},
            "Service":{"ID":"a","Service":"web","Tags":null,"Address":"","Port":80,"Proxy":{}},"Checks":null}"#;
        let entry: HealthEntry = serde_json::from_str(row).unwrap();
        assert_eq!(
            (entry.reachable_address(), entry.service.port),
            ("10.0.0.1", 80)
        );
        let own = HealthEntry {
            service: ServiceEntry {
                address: "10.0.0.2".into(),
                ..ServiceEntry::default()
            },
            ..entry
        };
        assert_eq!(own.reachable_address(), "10.0.0.2");
    }
}
