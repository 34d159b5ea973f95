//! `?filter=`: which fields of each row can be asked about (Consul's documentation of filtering).

use super::{Call, HttpError};
use lictor_bexpr::{ERROR_PREFIX, Expression, Filter, Row, row};
use lictor_wire::rows::{CheckServiceNode, ServiceNode};
use lictor_wire::{
    HealthCheck, Member, Node, NodeService, ServiceAddress, ServiceAddresses, Str, StrMap,
};
use serde_json::Value;
use std::marker::PhantomData;

/// A filter for rows that are shown as `R`.
pub struct Wanted<R> {
    filter: Option<Filter>,
    of: PhantomData<fn() -> R>,
}

impl<R> Wanted<R> {
    /// Whether the row is among those asked for.
    pub fn keeps<S: Row>(&self, row: &S) -> bool {
        self.filter.as_ref().is_none_or(|f| f.matches(row))
    }
}

fn refused(error: &lictor_bexpr::Error) -> HttpError {
    HttpError::internal(format!("{ERROR_PREFIX}{error}"))
}

/// The filter of a request for rows of this kind. It is compiled before anything is read, so that
/// a wrong one fails even where there is no row.
pub fn of<R: Row>(call: &Call) -> Result<Wanted<R>, HttpError> {
    compile(call.params.get("filter"))
}

/// The filter that a text describes; the empty one wants every row.
pub fn compile<R: Row>(text: &str) -> Result<Wanted<R>, HttpError> {
    let filter = if text.is_empty() {
        None
    } else {
        let expression = Expression::parse(text).map_err(|e| refused(&e))?;
        Some(expression.compile::<R>().map_err(|e| refused(&e))?)
    };
    Ok(Wanted {
        filter,
        of: PhantomData,
    })
}

/// The same where only the grammar is checked while there is no row.
pub fn lazily<R: Row>(call: &Call, rows: bool) -> Result<Wanted<R>, HttpError> {
    let filter = match call.params.get("filter") {
        "" => None,
        text => {
            let expression = Expression::parse(text).map_err(|e| refused(&e))?;
            // Errors of this stage stand alone here, as in Consul.
            match rows {
                true => Some(
                    expression
                        .compile::<R>()
                        .map_err(|e| HttpError::internal(e.to_string()))?,
                ),
                false => None,
            }
        }
    };
    Ok(Wanted {
        filter,
        of: PhantomData,
    })
}

/// A map that may not be there.
pub struct MaybeMap<'a>(pub Option<&'a StrMap>);

impl MaybeMap<'_> {
    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.0.is_none_or(StrMap::is_empty)
    }
    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&Str> {
        self.0?.get(key)
    }
}

/// Addresses by purpose that may not be there.
struct MaybeAddresses<'a>(Option<&'a ServiceAddresses>);

impl MaybeAddresses<'_> {
    fn is_empty(&self) -> bool {
        self.0.is_none_or(ServiceAddresses::is_empty)
    }
    fn get(&self, key: &str) -> Option<&ServiceAddress> {
        self.0?.get(key)
    }
}

/// An address.
struct AddressRow<'a>(&'a ServiceAddress);
row! { AddressRow<'_> as a { Address: str = a.0.address; Port: int = a.0.port; } }

/// A node.
pub struct NodeRow<'a>(pub &'a Node);
row! {
    NodeRow<'_> as n {
        ID: str = n.0.id;
        Node: str = n.0.node;
        Address: str = n.0.address;
        Datacenter: str = n.0.datacenter;
        PeerName: str = "";
        Partition: str = "";
        TaggedAddresses: map = MaybeMap(n.0.tagged_addresses.as_ref());
        Meta: map = MaybeMap(n.0.meta.as_ref());
    }
}

/// SRV weights.
struct WeightsRow(lictor_wire::Weights);
row! { WeightsRow as w { Passing: int = w.0.passing; Warning: int = w.0.warning; } }

/// Mesh marks.
struct ConnectRow(bool);
row! { ConnectRow as c { Native: bool = c.0; } }

/// A mesh mode.
struct ModeRow<'a>(&'a Value);
row! { ModeRow<'_> as m { Mode: str = text(m.0, "Mode"); } }

/// How a proxy reaches another service.
struct UpstreamRow<'a>(&'a Value);
row! {
    UpstreamRow<'_> as u {
        DestinationType: str = text(u.0, "DestinationType");
        DestinationNamespace: str = text(u.0, "DestinationNamespace");
        DestinationPartition: str = text(u.0, "DestinationPartition");
        DestinationPeer: str = text(u.0, "DestinationPeer");
        DestinationName: str = text(u.0, "DestinationName");
        Datacenter: str = text(u.0, "Datacenter");
        LocalBindAddress: str = text(u.0, "LocalBindAddress");
        LocalBindPort: int = number(u.0, "LocalBindPort");
        LocalBindSocketPath: str = text(u.0, "LocalBindSocketPath");
        LocalBindSocketMode: str = text(u.0, "LocalBindSocketMode");
        MeshGateway: object(ModeRow<'_>) = ModeRow(part(u.0, "MeshGateway"));
    }
}

/// A path that a proxy exposes.
struct PathRow<'a>(&'a Value);
row! {
    PathRow<'_> as p {
        Path: str = text(p.0, "Path");
        Protocol: str = text(p.0, "Protocol");
        ListenerPort: int = number(p.0, "ListenerPort");
        LocalPathPort: int = number(p.0, "LocalPathPort");
    }
}

/// What a proxy exposes.
struct ExposeRow<'a>(&'a Value);
row! {
    ExposeRow<'_> as e {
        Checks: bool = truth(e.0, "Checks");
        Paths: objects(PathRow<'_>) = list(e.0, "Paths").iter().map(PathRow);
    }
}

/// A transparent proxy.
struct TransparentRow<'a>(&'a Value);
row! {
    TransparentRow<'_> as t {
        OutboundListenerPort: int = number(t.0, "OutboundListenerPort");
        DialedDirectly: bool = truth(t.0, "DialedDirectly");
    }
}

/// Access logs of a proxy.
struct AccessLogsRow<'a>(&'a Value);
row! {
    AccessLogsRow<'_> as l {
        Enabled: bool = truth(l.0, "Enabled");
        DisableListenerLogs: bool = truth(l.0, "DisableListenerLogs");
        Type: str = text(l.0, "Type");
        Path: str = text(l.0, "Path");
        JSONFormat: str = text(l.0, "JSONFormat");
        TextFormat: str = text(l.0, "TextFormat");
    }
}

/// A proxy's extension.
struct ExtensionRow<'a>(&'a Value);
row! {
    ExtensionRow<'_> as e {
        Name: str = text(e.0, "Name");
        Required: bool = truth(e.0, "Required");
        ConsulVersion: str = text(e.0, "ConsulVersion");
        EnvoyVersion: str = text(e.0, "EnvoyVersion");
    }
}

/// Proxy settings.
struct ProxyRow<'a>(&'a Value);
row! {
    ProxyRow<'_> as p {
        DestinationServiceName: str = text(p.0, "DestinationServiceName");
        DestinationServiceID: str = text(p.0, "DestinationServiceID");
        LocalServiceAddress: str = text(p.0, "LocalServiceAddress");
        LocalServicePort: int = number(p.0, "LocalServicePort");
        LocalServiceSocketPath: str = text(p.0, "LocalServiceSocketPath");
        Mode: str = text(p.0, "Mode");
        Upstreams: objects(UpstreamRow<'_>) = list(p.0, "Upstreams").iter().map(UpstreamRow);
        MeshGateway: object(ModeRow<'_>) = ModeRow(part(p.0, "MeshGateway"));
        Expose: object(ExposeRow<'_>) = ExposeRow(part(p.0, "Expose"));
        TransparentProxy: object(TransparentRow<'_>) = TransparentRow(part(p.0, "TransparentProxy"));
        AccessLogs: object(AccessLogsRow<'_>) = AccessLogsRow(part(p.0, "AccessLogs"));
        EnvoyExtensions: objects(ExtensionRow<'_>) = list(p.0, "EnvoyExtensions").iter().map(ExtensionRow);
    }
}

static NOTHING: Value = Value::Null;

fn part<'a>(v: &'a Value, key: &str) -> &'a Value {
    v.get(key).unwrap_or(&NOTHING)
}

fn text<'a>(v: &'a Value, key: &str) -> &'a str {
    v.get(key).and_then(Value::as_str).unwrap_or("")
}

fn number(v: &Value, key: &str) -> i64 {
    v.get(key).and_then(Value::as_i64).unwrap_or(0)
}

fn truth(v: &Value, key: &str) -> bool {
    v.get(key).and_then(Value::as_bool).unwrap_or(false)
}

fn list<'a>(v: &'a Value, key: &str) -> &'a [Value] {
    v.get(key)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

fn proxy(s: &NodeService) -> &Value {
    s.proxy.as_deref().unwrap_or(&NOTHING)
}

/// An instance on a node.
pub struct ServiceRow<'a>(pub &'a NodeService);
row! {
    ServiceRow<'_> as s {
        Kind: str = s.0.kind;
        ID: str = s.0.id;
        Service: str = s.0.service;
        Tags: strs = s.0.tags.iter();
        Address: str = s.0.address;
        TaggedAddresses: object_map(AddressRow<'_>, AddressRow) = MaybeAddresses(s.0.tagged_addresses.as_deref());
        Meta: map = MaybeMap(s.0.meta.as_ref());
        Port: int = s.0.port;
        SocketPath: str = s.0.socket_path;
        Weights: object(WeightsRow) = WeightsRow(s.0.weights);
        EnableTagOverride: bool = s.0.enable_tag_override;
        Proxy: object(ProxyRow<'_>) = ProxyRow(proxy(s.0));
        Connect: object(ConnectRow) = ConnectRow(s.0.connect_native());
        PeerName: str = "";
    }
}

/// A row of `/v1/catalog/service/:name`.
pub struct InstanceRow<'a>(pub &'a ServiceNode);
row! {
    InstanceRow<'_> as r {
        ID: str = r.0.node.id;
        Node: str = r.0.node.node;
        Address: str = r.0.node.address;
        Datacenter: str = r.0.node.datacenter;
        PeerName: str = "";
        TaggedAddresses: map = MaybeMap(r.0.node.tagged_addresses.as_ref());
        NodeMeta: map = MaybeMap(r.0.node.meta.as_ref());
        ServiceKind: str = r.0.service.kind;
        ServiceID: str = r.0.service.id;
        ServiceName: str = r.0.service.service;
        ServiceTags: strs = r.0.service.tags.iter();
        ServiceAddress: str = r.0.service.address;
        ServiceTaggedAddresses: object_map(AddressRow<'_>, AddressRow) = MaybeAddresses(r.0.service.tagged_addresses.as_deref());
        ServiceWeights: object(WeightsRow) = WeightsRow(r.0.service.weights);
        ServiceMeta: map = MaybeMap(r.0.service.meta.as_ref());
        ServicePort: int = r.0.service.port;
        ServiceSocketPath: str = r.0.service.socket_path;
        ServiceEnableTagOverride: bool = r.0.service.enable_tag_override;
        ServiceProxy: object(ProxyRow<'_>) = ProxyRow(proxy(&r.0.service));
        ServiceConnect: object(ConnectRow) = ConnectRow(r.0.service.connect_native());
    }
}

/// A check.
pub struct CheckRow<'a>(pub &'a HealthCheck);
row! {
    CheckRow<'_> as c {
        Node: str = c.0.node;
        CheckID: str = c.0.check_id;
        Name: str = c.0.name;
        Status: str = c.0.status.as_str();
        Notes: str = c.0.notes;
        Output: str = c.0.output;
        ServiceID: str = c.0.service_id;
        ServiceName: str = c.0.service_name;
        ServiceTags: strs = c.0.service_tags.iter();
        Type: str = c.0.kind;
        Interval: str = c.0.interval;
        Timeout: str = c.0.timeout;
        ExposedPort: int = c.0.exposed_port;
        PeerName: str = "";
    }
}

/// A row of `/v1/health/service/:name`.
pub struct HealthRow<'a>(pub &'a CheckServiceNode);
row! {
    HealthRow<'_> as h {
        Node: object(NodeRow<'_>) = NodeRow(&h.0.node);
        Service: object(ServiceRow<'_>) = ServiceRow(&h.0.service);
        Checks: objects(CheckRow<'_>) = h.0.checks.iter().map(|c| CheckRow(c));
    }
}

/// A member of the gossip pool.
pub struct MemberRow<'a>(pub &'a Member);
row! {
    MemberRow<'_> as m {
        Name: str = m.0.name;
        Addr: bytes = address_bytes(&m.0.addr);
        Port: u16 = m.0.port;
        Tags: map = m.0.tags;
        Status: int = m.0.status;
        ProtocolMin: u8 = m.0.protocol_min;
        ProtocolMax: u8 = m.0.protocol_max;
        ProtocolCur: u8 = m.0.protocol_cur;
        DelegateMin: u8 = m.0.delegate_min;
        DelegateMax: u8 = m.0.delegate_max;
        DelegateCur: u8 = m.0.delegate_cur;
    }
}

/// An address is a list of bytes to a filter: sixteen, as Go keeps it.
fn address_bytes(text: &str) -> Vec<u8> {
    match text.parse::<std::net::IpAddr>() {
        Ok(std::net::IpAddr::V4(ip)) => ip.to_ipv6_mapped().octets().to_vec(),
        Ok(std::net::IpAddr::V6(ip)) => ip.octets().to_vec(),
        Err(_) => Vec::new(),
    }
}
