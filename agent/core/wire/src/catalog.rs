//! The rows of the catalog, the key/value store and the session table.

use crate::base::{Str, StrMap, is_default};
use crate::duration::GoDuration;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The state of a health check.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Status {
    /// All is well.
    Passing,
    /// Still serving, but not well.
    Warning,
    /// Not serving; left out of DNS answers.
    #[default]
    Critical,
    /// Any other word: the catalog keeps what external registrations say. Counts as neither
    /// passing nor critical.
    Other(Str),
}

impl Status {
    /// The word on the wire.
    pub fn as_str(&self) -> &str {
        match self {
            Status::Passing => "passing",
            Status::Warning => "warning",
            Status::Critical => "critical",
            Status::Other(word) => word,
        }
    }

    /// The status of that word, if it is one of the three.
    pub fn parse(word: &str) -> Option<Status> {
        match word {
            "passing" => Some(Status::Passing),
            "warning" => Some(Status::Warning),
            "critical" => Some(Status::Critical),
            _ => None,
        }
    }

    /// The status of any word; the empty one is critical, as in Consul.
    pub fn from_word(word: &str) -> Status {
        Status::parse(word).unwrap_or_else(|| {
            if word.is_empty() {
                Status::Critical
            } else {
                Status::Other(word.into())
            }
        })
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Status {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Status {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Status, D::Error> {
        Str::deserialize(deserializer).map(|word| Status::from_word(&word))
    }
}

/// A node: a machine or container host with an address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Node {
    /// A UUID in lower case, or empty for nodes registered without one.
    #[serde(rename = "ID")]
    pub id: Str,
    /// The name, unique without regard to case.
    #[serde(rename = "Node")]
    pub node: Str,
    /// The address: an IP, or a name for external nodes.
    #[serde(rename = "Address")]
    pub address: Str,
    /// The datacenter.
    #[serde(rename = "Datacenter")]
    pub datacenter: Str,
    /// Addresses by purpose: `lan`, `wan`, `lan_ipv4` and so on.
    #[serde(rename = "TaggedAddresses")]
    pub tagged_addresses: Option<StrMap>,
    /// Metadata.
    #[serde(rename = "Meta")]
    pub meta: Option<StrMap>,
    /// Index of the write that made it.
    #[serde(rename = "CreateIndex")]
    pub create_index: u64,
    /// Index of the last write that changed it.
    #[serde(rename = "ModifyIndex")]
    pub modify_index: u64,
}

/// How much of the traffic an instance should get, by its health (DNS SRV weights).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Weights {
    /// The weight while passing.
    #[serde(rename = "Passing", alias = "passing")]
    pub passing: i64,
    /// The weight while warning.
    #[serde(rename = "Warning", alias = "warning")]
    pub warning: i64,
}

impl Default for Weights {
    fn default() -> Weights {
        Weights {
            passing: 1,
            warning: 1,
        }
    }
}

/// An address of a service for one purpose.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServiceAddress {
    /// IP or name.
    #[serde(rename = "Address", alias = "address")]
    pub address: Str,
    /// Port.
    #[serde(rename = "Port", alias = "port")]
    pub port: i64,
}

/// Service addresses by purpose, sorted.
pub type ServiceAddresses = std::collections::BTreeMap<Str, ServiceAddress>;

/// The service-mesh marks of a service; stored and returned, not acted on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConnectMarks {
    /// Whether the service speaks mesh TLS itself.
    #[serde(rename = "Native", skip_serializing_if = "is_default")]
    pub native: bool,
    /// A sidecar definition, as given.
    #[serde(rename = "SidecarService", skip_serializing_if = "Option::is_none")]
    pub sidecar_service: Option<serde_json::Value>,
}

/// A service instance on a node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NodeService {
    /// Empty, or the kind of mesh proxy.
    #[serde(rename = "Kind", skip_serializing_if = "Str::is_empty")]
    pub kind: Str,
    /// The instance's id, unique on its node.
    #[serde(rename = "ID")]
    pub id: Str,
    /// The service's name.
    #[serde(rename = "Service")]
    pub service: Str,
    /// Tags, in the order given.
    #[serde(rename = "Tags")]
    pub tags: Arc<[Str]>,
    /// Its own address; empty means that of the node.
    #[serde(rename = "Address")]
    pub address: Str,
    /// Addresses by purpose.
    #[serde(rename = "TaggedAddresses", skip_serializing_if = "is_empty_addresses")]
    pub tagged_addresses: Option<Box<ServiceAddresses>>,
    /// Metadata.
    #[serde(rename = "Meta")]
    pub meta: Option<StrMap>,
    /// The port, or zero.
    #[serde(rename = "Port", skip_serializing_if = "is_default")]
    pub port: i64,
    /// A unix socket in place of address and port.
    #[serde(rename = "SocketPath", skip_serializing_if = "Str::is_empty")]
    pub socket_path: Str,
    /// SRV weights.
    #[serde(rename = "Weights")]
    pub weights: Weights,
    /// Whether the catalog's tags win over the agent's.
    #[serde(rename = "EnableTagOverride")]
    pub enable_tag_override: bool,
    /// Mesh proxy settings, as given and normalised.
    #[serde(rename = "Proxy", with = "proxy_form")]
    pub proxy: Option<Box<serde_json::Value>>,
    /// Mesh marks.
    #[serde(rename = "Connect", with = "connect_form")]
    pub connect: Option<Box<ConnectMarks>>,
    /// Where it runs (region, zone), as given.
    #[serde(rename = "Locality", skip_serializing_if = "Option::is_none")]
    pub locality: Option<Box<serde_json::Value>>,
    /// The peer it was imported from: always empty here.
    #[serde(rename = "PeerName")]
    pub peer_name: Str,
    /// Index of the write that made it.
    #[serde(rename = "CreateIndex")]
    pub create_index: u64,
    /// Index of the last write that changed it.
    #[serde(rename = "ModifyIndex")]
    pub modify_index: u64,
}

fn is_empty_addresses(v: &Option<Box<ServiceAddresses>>) -> bool {
    v.as_ref().is_none_or(|v| v.is_empty())
}

impl NodeService {
    /// The mesh destination of a proxy: the service that it stands for.
    pub fn proxy_destination(&self) -> Option<&str> {
        self.proxy
            .as_ref()?
            .get("DestinationServiceName")?
            .as_str()
            .filter(|s| !s.is_empty())
    }

    /// Whether it speaks mesh TLS itself.
    pub fn connect_native(&self) -> bool {
        self.connect.as_ref().is_some_and(|c| c.native)
    }

    /// Whether all but the indexes is the same.
    pub fn same_as(&self, other: &NodeService) -> bool {
        self.kind == other.kind
            && self.id == other.id
            && self.service == other.service
            && self.tags == other.tags
            && self.address == other.address
            && self.tagged_addresses == other.tagged_addresses
            && self.meta == other.meta
            && self.port == other.port
            && self.socket_path == other.socket_path
            && self.weights == other.weights
            && self.enable_tag_override == other.enable_tag_override
            && self.proxy == other.proxy
            && self.connect == other.connect
            && self.locality == other.locality
    }
}

/// The proxy block as Consul prints it where none was given.
pub(crate) fn empty_proxy() -> serde_json::Value {
    serde_json::json!({"Mode": "", "MeshGateway": {}, "Expose": {}})
}

mod proxy_form {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use serde_json::Value;

    pub(super) fn serialize<S: Serializer>(
        v: &Option<Box<Value>>,
        s: S,
    ) -> Result<S::Ok, S::Error> {
        match v {
            Some(v) => v.serialize(s),
            None => super::empty_proxy().serialize(s),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        d: D,
    ) -> Result<Option<Box<Value>>, D::Error> {
        let v = Option::<Value>::deserialize(d)?;
        Ok(v.filter(|v| !v.is_null() && *v != super::empty_proxy())
            .map(Box::new))
    }
}

mod connect_form {
    use super::ConnectMarks;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(
        v: &Option<Box<ConnectMarks>>,
        s: S,
    ) -> Result<S::Ok, S::Error> {
        match v {
            Some(v) => v.serialize(s),
            None => ConnectMarks::default().serialize(s),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        d: D,
    ) -> Result<Option<Box<ConnectMarks>>, D::Error> {
        let v = Option::<ConnectMarks>::deserialize(d)?;
        Ok(v.filter(|v| *v != ConnectMarks::default()).map(Box::new))
    }
}

/// A health check as the catalog has it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HealthCheck {
    /// The node's name.
    #[serde(rename = "Node")]
    pub node: Str,
    /// The id, unique on its node.
    #[serde(rename = "CheckID")]
    pub check_id: Str,
    /// A name for people.
    #[serde(rename = "Name")]
    pub name: Str,
    /// The state.
    #[serde(rename = "Status")]
    pub status: Status,
    /// Notes for people.
    #[serde(rename = "Notes")]
    pub notes: Str,
    /// The output of its last run.
    #[serde(rename = "Output")]
    pub output: Str,
    /// The instance it belongs to; empty for a check of the node.
    #[serde(rename = "ServiceID")]
    pub service_id: Str,
    /// The name of that service.
    #[serde(rename = "ServiceName")]
    pub service_name: Str,
    /// The tags of that service when the check was last written.
    #[serde(rename = "ServiceTags")]
    pub service_tags: Arc<[Str]>,
    /// `http`, `ttl` and so on; empty where nobody said.
    #[serde(rename = "Type")]
    pub kind: Str,
    /// How often it runs, as text.
    #[serde(rename = "Interval")]
    pub interval: Str,
    /// Its limit, as text.
    #[serde(rename = "Timeout")]
    pub timeout: Str,
    /// The port a proxy exposes for it, or zero.
    #[serde(rename = "ExposedPort")]
    pub exposed_port: i64,
    /// What external monitors should run, as given.
    #[serde(rename = "Definition", with = "definition_form")]
    pub definition: Option<Box<serde_json::Value>>,
    /// Index of the write that made it.
    #[serde(rename = "CreateIndex")]
    pub create_index: u64,
    /// Index of the last write that changed it.
    #[serde(rename = "ModifyIndex")]
    pub modify_index: u64,
}

impl HealthCheck {
    /// Whether all that counts as a change is the same: everything but indexes, type, interval
    /// and timeout.
    pub fn same_as(&self, other: &HealthCheck) -> bool {
        self.node == other.node
            && self.check_id == other.check_id
            && self.name == other.name
            && self.status == other.status
            && self.notes == other.notes
            && self.output == other.output
            && self.service_id == other.service_id
            && self.service_name == other.service_name
            && self.service_tags == other.service_tags
            && self.definition == other.definition
    }
}

mod definition_form {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use serde_json::{Map, Value};

    pub(super) fn serialize<S: Serializer>(
        v: &Option<Box<Value>>,
        s: S,
    ) -> Result<S::Ok, S::Error> {
        match v {
            Some(v) => v.serialize(s),
            None => Map::new().serialize(s),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        d: D,
    ) -> Result<Option<Box<Value>>, D::Error> {
        let v = Option::<Value>::deserialize(d)?;
        Ok(v.filter(|v| v.as_object().is_some_and(|o| !o.is_empty()))
            .map(Box::new))
    }
}

/// A network coordinate (Vivaldi): distances between nodes in seconds of round trip.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename = "Coordinate")]
pub struct Coordinate {
    /// Position in eight dimensions, seconds.
    #[serde(rename = "Vec")]
    pub vec: Vec<f64>,
    /// Confidence; 1.5 is none, 0 is perfect.
    #[serde(rename = "Error")]
    pub error: f64,
    /// Correction from recent samples, seconds.
    #[serde(rename = "Adjustment")]
    pub adjustment: f64,
    /// Distance from the core of the network, seconds.
    #[serde(rename = "Height")]
    pub height: f64,
}

impl Default for Coordinate {
    fn default() -> Coordinate {
        Coordinate {
            vec: vec![0.0; 8],
            error: 1.5,
            adjustment: 0.0,
            height: 1.0e-5,
        }
    }
}

impl Coordinate {
    /// The estimated round trip to `other` in seconds (Serf's rule: the adjustments count only
    /// while the sum stays positive).
    pub fn distance_to(&self, other: &Coordinate) -> f64 {
        let square: f64 = self
            .vec
            .iter()
            .zip(&other.vec)
            .map(|(a, b)| (a - b) * (a - b))
            .sum();
        let raw = square.sqrt() + self.height + other.height;
        let adjusted = raw + self.adjustment + other.adjustment;
        if adjusted > 0.0 { adjusted } else { raw }
    }

    /// Whether it has the right number of dimensions.
    pub fn is_compatible(&self) -> bool {
        self.vec.len() == 8
    }

    /// Whether every part is a number.
    pub fn is_valid(&self) -> bool {
        self.vec
            .iter()
            .chain([&self.error, &self.adjustment, &self.height])
            .all(|v| v.is_finite())
    }
}

/// What happens to the keys that a session holds when it ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SessionBehavior {
    /// The locks are released.
    #[default]
    Release,
    /// The keys are deleted.
    Delete,
}

/// A session: the owner of locks, alive as long as its node, its checks and its TTL are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Session {
    /// A UUID.
    #[serde(rename = "ID")]
    pub id: Str,
    /// A name for people.
    #[serde(rename = "Name")]
    pub name: Str,
    /// The node it lives on.
    #[serde(rename = "Node")]
    pub node: Str,
    /// How long its keys cannot be locked after it was invalidated.
    #[serde(rename = "LockDelay")]
    pub lock_delay: GoDuration,
    /// What happens to its keys.
    #[serde(rename = "Behavior")]
    pub behavior: SessionBehavior,
    /// Time to live as given; empty for none.
    #[serde(rename = "TTL")]
    pub ttl: Str,
    /// Node checks that end it when critical.
    #[serde(rename = "NodeChecks")]
    pub node_checks: Vec<Str>,
    /// Service checks that end it when critical.
    #[serde(rename = "ServiceChecks")]
    pub service_checks: Option<Vec<ServiceCheckRef>>,
    /// Index of the write that made it.
    #[serde(rename = "CreateIndex")]
    pub create_index: u64,
    /// Index of the last write that changed it.
    #[serde(rename = "ModifyIndex")]
    pub modify_index: u64,
}

/// A service check named by a session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServiceCheckRef {
    /// The check's id.
    #[serde(rename = "ID")]
    pub id: Str,
    /// Enterprise only: kept as given.
    #[serde(rename = "Namespace")]
    pub namespace: Str,
}

/// A key with its value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct KvEntry {
    /// How often it was locked.
    #[serde(rename = "LockIndex")]
    pub lock_index: u64,
    /// The key.
    #[serde(rename = "Key")]
    pub key: Str,
    /// An opaque number of the client's.
    #[serde(rename = "Flags")]
    pub flags: u64,
    /// The value; written in base64, `null` when empty.
    #[serde(rename = "Value", with = "value_form")]
    pub value: Arc<[u8]>,
    /// The session that holds it.
    #[serde(rename = "Session", skip_serializing_if = "Str::is_empty")]
    pub session: Str,
    /// Index of the write that made it.
    #[serde(rename = "CreateIndex")]
    pub create_index: u64,
    /// Index of the last write that changed it.
    #[serde(rename = "ModifyIndex")]
    pub modify_index: u64,
}

mod value_form {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize, Deserializer, Serializer};
    use std::sync::Arc;

    // Text formats carry base64 as Go does; our own binary records carry the bytes.
    pub(super) fn serialize<S: Serializer>(v: &Arc<[u8]>, s: S) -> Result<S::Ok, S::Error> {
        if !s.is_human_readable() {
            s.serialize_bytes(v)
        } else if v.is_empty() {
            s.serialize_none()
        } else {
            s.serialize_str(&STANDARD.encode(v))
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Arc<[u8]>, D::Error> {
        if d.is_human_readable() {
            let text = Option::<String>::deserialize(d)?.unwrap_or_default();
            return STANDARD
                .decode(text)
                .map(Arc::from)
                .map_err(serde::de::Error::custom);
        }
        struct V;
        impl<'de> serde::de::Visitor<'de> for V {
            type Value = Arc<[u8]>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E: serde::de::Error>(self, v: &[u8]) -> Result<Arc<[u8]>, E> {
                Ok(Arc::from(v))
            }
            fn visit_seq<A: serde::de::SeqAccess<'de>>(
                self,
                mut seq: A,
            ) -> Result<Arc<[u8]>, A::Error> {
                let mut out = Vec::new();
                while let Some(byte) = seq.next_element()? {
                    out.push(byte);
                }
                Ok(Arc::from(out))
            }
        }
        d.deserialize_bytes(V)
    }
}

/// A user event.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct UserEvent {
    /// A UUID.
    #[serde(rename = "ID")]
    pub id: Str,
    /// The event's name.
    #[serde(rename = "Name")]
    pub name: Str,
    /// What it carries, in base64; `null` when empty.
    #[serde(rename = "Payload", with = "value_form")]
    pub payload: Arc<[u8]>,
    /// A regular expression that the node's name must match.
    #[serde(rename = "NodeFilter")]
    pub node_filter: Str,
    /// A regular expression that a service's name must match.
    #[serde(rename = "ServiceFilter")]
    pub service_filter: Str,
    /// A regular expression that a tag of that service must match.
    #[serde(rename = "TagFilter")]
    pub tag_filter: Str,
    /// The format of events: 1.
    #[serde(rename = "Version")]
    pub version: i64,
    /// Serf's Lamport time.
    #[serde(rename = "LTime")]
    pub ltime: u64,
}

/// A member of the gossip pool, as `/v1/agent/members` shows it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Member {
    /// Its name; on the WAN `node.datacenter`.
    #[serde(rename = "Name")]
    pub name: Str,
    /// Its gossip address.
    #[serde(rename = "Addr")]
    pub addr: Str,
    /// Its gossip port.
    #[serde(rename = "Port")]
    pub port: u16,
    /// Its tags.
    #[serde(rename = "Tags")]
    pub tags: StrMap,
    /// 0 none, 1 alive, 2 leaving, 3 left, 4 failed.
    #[serde(rename = "Status")]
    pub status: i64,
    /// Lowest memberlist protocol it speaks.
    #[serde(rename = "ProtocolMin")]
    pub protocol_min: u8,
    /// Highest memberlist protocol it speaks.
    #[serde(rename = "ProtocolMax")]
    pub protocol_max: u8,
    /// The memberlist protocol it uses.
    #[serde(rename = "ProtocolCur")]
    pub protocol_cur: u8,
    /// Lowest Serf protocol it speaks.
    #[serde(rename = "DelegateMin")]
    pub delegate_min: u8,
    /// Highest Serf protocol it speaks.
    #[serde(rename = "DelegateMax")]
    pub delegate_max: u8,
    /// The Serf protocol it uses.
    #[serde(rename = "DelegateCur")]
    pub delegate_cur: u8,
}
