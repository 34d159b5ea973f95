//! The rows of the catalog in the form that records are made of.

use crate::name::hex_label;
use crate::record::{Data, Dn};
use lictor_state::fold;
use lictor_wire::rows::CheckServiceNode;
use lictor_wire::{HealthCheck, Node, NodeService, Status, Str};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// An address as DNS can give it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Address {
    /// None, or a text that is neither.
    #[default]
    None,
    /// An IP address.
    Ip(IpAddr),
    /// A name to look up.
    Name(Dn),
}

impl Address {
    /// Reads an address. An IPv4 address in IPv6 clothes counts as IPv4.
    pub fn parse(text: &str) -> Address {
        if text.is_empty() {
            return Address::None;
        }
        match text.parse::<IpAddr>() {
            Ok(ip) => Address::Ip(ip.to_canonical()),
            Err(_) => Dn::whole(text).map_or(Address::None, Address::Name),
        }
    }

    fn ip(&self) -> Option<IpAddr> {
        match self {
            Address::Ip(ip) => Some(*ip),
            _ => None,
        }
    }
}

/// The addresses of a node or a service: the one it gives, and those tagged by family, which win
/// in questions for that family.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    given: Address,
    v4: Option<Ipv4Addr>,
    v6: Option<Ipv6Addr>,
}

impl Addresses {
    fn of_node(node: &Node, wan: bool) -> Addresses {
        let tag = |name: &str| {
            node.tagged_addresses
                .as_ref()
                .and_then(|t| t.get(name))
                .map(Str::as_str)
        };
        Addresses::choose(&node.address, tag, wan)
    }

    fn of_service(service: &NodeService, wan: bool) -> Addresses {
        let tagged = service.tagged_addresses.as_deref();
        let tag = |name: &str| tagged.and_then(|t| t.get(name)).map(|a| a.address.as_str());
        Addresses::choose(&service.address, tag, wan)
    }

    fn choose<'a>(given: &str, tag: impl Fn(&str) -> Option<&'a str>, wan: bool) -> Addresses {
        let (names, given) = match wan {
            true => (
                ["wan_ipv4", "wan_ipv6"],
                tag("wan").filter(|a| !a.is_empty()).unwrap_or(given),
            ),
            false => (["lan_ipv4", "lan_ipv6"], given),
        };
        Addresses {
            given: Address::parse(given),
            v4: tag(names[0]).and_then(|a| a.parse().ok()),
            v6: tag(names[1]).and_then(|a| a.parse().ok()),
        }
    }

    fn is_none(&self) -> bool {
        self.given == Address::None && self.v4.is_none() && self.v6.is_none()
    }

    /// The address for answers of any family.
    pub fn any(&self) -> Address {
        match (self.v4, self.v6) {
            (Some(ip), _) => Address::Ip(ip.into()),
            (None, Some(ip)) => Address::Ip(ip.into()),
            (None, None) => self.given.clone(),
        }
    }

    /// The IPv4 address.
    pub fn v4(&self) -> Option<Ipv4Addr> {
        self.v4.or(match self.given {
            Address::Ip(IpAddr::V4(ip)) => Some(ip),
            _ => None,
        })
    }

    /// The IPv6 address.
    pub fn v6(&self) -> Option<Ipv6Addr> {
        self.v6.or(match self.given {
            Address::Ip(IpAddr::V6(ip)) => Some(ip),
            _ => None,
        })
    }

    /// The name, where no IP address is given.
    pub fn name(&self) -> Option<&Dn> {
        match &self.given {
            Address::Name(name) => Some(name),
            _ => None,
        }
    }
}

/// A node as answers show it.
#[derive(Clone, Debug)]
pub struct NodeRow {
    /// Its addresses.
    pub addresses: Addresses,
    /// Its metadata as TXT records.
    pub texts: Arc<[Data]>,
}

impl NodeRow {
    /// The row of a node.
    pub fn new(node: &Node, wan: bool) -> NodeRow {
        NodeRow {
            addresses: Addresses::of_node(node, wan),
            texts: texts(node),
        }
    }
}

/// An instance that answers may show.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Its addresses: its own, else those of its node.
    pub addresses: Addresses,
    /// The address of its node, if that is an IP address.
    pub node_ip: Option<IpAddr>,
    /// `<node>.node.<dc>`, if DNS can carry it.
    pub node_name: Option<Dn>,
    /// The host for SRV records; none if DNS cannot carry its name.
    pub host: Option<Dn>,
    /// The port.
    pub port: u16,
    /// Its share.
    pub weight: u16,
    /// The metadata of its node as TXT records.
    pub texts: Arc<[Data]>,
    /// Whether the name of its node is one of letters, digits and hyphens.
    pub plain_name: bool,
    /// Its tags.
    pub tags: Arc<[Str]>,
}

/// The instances that may be answered with, in the catalog's order.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    /// The instances.
    pub endpoints: Vec<Endpoint>,
}

/// Which instances count and how their names are made.
#[derive(Clone, Copy, Debug)]
pub struct Filter<'a> {
    /// A tag in lower case.
    pub tag: Option<&'a str>,
    /// Leave out what is not passing; else only what is critical.
    pub only_passing: bool,
    /// The datacenter for names where a row does not say its own.
    pub datacenter: &'a str,
    /// Use the addresses for other datacenters.
    pub wan: bool,
}

impl Rows {
    /// Filters instances and prepares what records need.
    pub fn new(found: &[CheckServiceNode], filter: Filter<'_>) -> Rows {
        let counts = |row: &&CheckServiceNode| {
            filter.tag.is_none_or(|tag| has_tag(&row.service.tags, tag))
                && serves(&row.checks, filter.only_passing)
        };
        Rows {
            endpoints: found
                .iter()
                .filter(counts)
                .map(|row| Endpoint::new(row, filter))
                .collect(),
        }
    }

    /// Those that have a tag, given in lower case.
    pub fn with_tag(&self, tag: &str) -> Rows {
        let has_tag = |endpoint: &&Endpoint| has_tag(&endpoint.tags, tag);
        Rows {
            endpoints: self.endpoints.iter().filter(has_tag).cloned().collect(),
        }
    }
}

impl Endpoint {
    fn new(row: &CheckServiceNode, filter: Filter<'_>) -> Endpoint {
        let (node, service) = (&*row.node, &*row.service);
        let node_addresses = Addresses::of_node(node, filter.wan);
        let node_ip = node_addresses.any().ip();
        let own = Addresses::of_service(service, filter.wan);
        let has_own = !own.is_none();
        let addresses = if has_own { own } else { node_addresses };

        let dc = if node.datacenter.is_empty() {
            filter.datacenter
        } else {
            node.datacenter.as_str()
        };
        let node_name = Dn::below(&format!("{}.node.{dc}", node.node));
        let host = match addresses.any() {
            Address::Name(name) => Some(name),
            Address::Ip(ip) if has_own && Some(ip) != node_ip => {
                Dn::below(&format!("{}.addr.{dc}", hex_label(ip)))
            }
            Address::Ip(_) => node_name.clone(),
            Address::None => None,
        };
        let wan_port = filter
            .wan
            .then(|| {
                service
                    .tagged_addresses
                    .as_deref()?
                    .get("wan")
                    .map(|a| a.port)
            })
            .flatten();
        let port = wan_port.filter(|p| *p != 0).unwrap_or(service.port);
        Endpoint {
            addresses,
            node_ip,
            node_name,
            host,
            port: clamp(port),
            weight: weight(service, &row.checks),
            texts: texts(node),
            tags: service.tags.clone(),
            plain_name: node
                .node
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-'),
        }
    }
}

fn clamp(number: i64) -> u16 {
    number.clamp(0, i64::from(u16::MAX)) as u16
}

fn has_tag(tags: &[Str], tag: &str) -> bool {
    tags.iter()
        .any(|t| t.eq_ignore_ascii_case(tag) || (!t.is_ascii() && fold(t) == tag))
}

fn serves(checks: &[Arc<HealthCheck>], only_passing: bool) -> bool {
    checks.iter().all(|check| match check.status {
        Status::Passing => true,
        Status::Critical => false,
        _ => !only_passing,
    })
}

/// The share of an instance by its worst check; one where a check says a word of its own.
fn weight(service: &NodeService, checks: &[Arc<HealthCheck>]) -> u16 {
    if checks
        .iter()
        .any(|check| matches!(check.status, Status::Other(_)))
    {
        1
    } else if checks.iter().any(|check| check.status == Status::Warning) {
        clamp(service.weights.warning)
    } else {
        clamp(service.weights.passing)
    }
}

/// A node's metadata as texts `key=value` (RFC 1464). Of keys that begin with `rfc1035-` only the
/// value is shown.
fn texts(node: &Node) -> Arc<[Data]> {
    let Some(meta) = &node.meta else {
        return Arc::from([]);
    };
    meta.iter()
        .map(|(key, value)| {
            if key
                .get(..8)
                .is_some_and(|start| start.eq_ignore_ascii_case("rfc1035-"))
            {
                Data::txt(value.as_bytes())
            } else {
                Data::txt(rfc1464(key, value).as_bytes())
            }
        })
        .collect()
}

/// Quotes with a grave accent what would end or change the key.
fn rfc1464(key: &str, value: &str) -> String {
    let mut out = String::with_capacity(key.len() + value.len() + 1);
    let inner = key.trim_matches(' ');
    let (before, after) = match inner.is_empty() {
        true => (key.len(), 0),
        false => (
            key.len() - key.trim_start_matches(' ').len(),
            key.len() - key.trim_end_matches(' ').len(),
        ),
    };
    out.push_str(&"` ".repeat(before));
    for c in inner.chars() {
        if matches!(c, '`' | '=') {
            out.push('`');
        }
        out.push(c);
    }
    out.push_str(&"` ".repeat(after));
    out.push('=');
    out.push_str(&value.replace('`', "``"));
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use lictor_wire::{ServiceAddress, Weights};

    /// The examples of RFC 1464.
    #[test]
    fn keys_are_quoted() {
        for (key, value, text) in [
            ("color", "blue", "color=blue"),
            ("equation", "a=4", "equation=a=4"),
            ("a=a", "true", "a`=a=true"),
            ("a\\=a", "false", "a\\`=a=false"),
            ("=", "\\=", "`==\\="),
            ("string2", "`abc`", "string2=``abc``"),
            ("novalue", "", "novalue="),
            ("a b", "c d", "a b=c d"),
            ("abc ", "123 ", "abc` =123 "),
            ("  x", "1", "` ` x=1"),
            (" ", "1", "` =1"),
            ("`", "", "``="),
        ] {
            assert_eq!(rfc1464(key, value), text);
        }
    }

    fn row(status: &[Status]) -> CheckServiceNode {
        let check = |s: &Status| {
            Arc::new(HealthCheck {
                status: s.clone(),
                ..HealthCheck::default()
            })
        };
        CheckServiceNode {
            node: Arc::new(Node {
                node: "n1".into(),
                address: "10.0.0.1".into(),
                ..Node::default()
            }),
            service: Arc::new(NodeService {
                service: "web".into(),
                port: 80,
                weights: Weights {
                    passing: 9,
                    warning: 3,
                },
                tags: vec![Str::from("V1"), Str::from("\u{c4}b")].into(),
                ..NodeService::default()
            }),
            checks: status.iter().map(check).collect(),
        }
    }

    fn rows(row: &CheckServiceNode, tag: Option<&str>, only_passing: bool) -> Rows {
        Rows::new(
            std::slice::from_ref(row),
            Filter {
                tag,
                only_passing,
                datacenter: "dc1",
                wan: false,
            },
        )
    }

    #[test]
    fn health_decides_who_answers_and_with_what_weight() {
        use Status::{Critical, Passing, Warning};
        let odd = || Status::Other("odd".into());
        for (status, any, passing) in [
            (vec![], Some(9), Some(9)),
            (vec![Passing], Some(9), Some(9)),
            (vec![Passing, Warning], Some(3), None),
            (vec![odd()], Some(1), None),
            (vec![Warning, odd()], Some(1), None),
            (vec![Passing, Critical], None, None),
        ] {
            let weight = |only| {
                rows(&row(&status), None, only)
                    .endpoints
                    .first()
                    .map(|e| e.weight)
            };
            assert_eq!((weight(false), weight(true)), (any, passing), "{status:?}");
        }
    }

    #[test]
    fn tags_are_compared_without_case() {
        assert_eq!(rows(&row(&[]), Some("v1"), false).endpoints.len(), 1);
        assert_eq!(rows(&row(&[]), Some("\u{e4}b"), false).endpoints.len(), 1);
        assert_eq!(rows(&row(&[]), Some("v2"), false).endpoints.len(), 0);
    }

    #[test]
    fn the_host_of_an_instance() {
        let host = |address: &str| {
            let mut row = row(&[]);
            Arc::make_mut(&mut row.service).address = address.into();
            rows(&row, None, false).endpoints[0].host.clone().unwrap()
        };
        let below = |text: &str| Dn::below(text).unwrap();
        assert_eq!(host(""), below("n1.node.dc1"));
        assert_eq!(host("10.0.0.1"), below("n1.node.dc1"));
        assert_eq!(host("10.0.0.2"), below("0a000002.addr.dc1"));
        assert_eq!(host("::ffff:10.0.0.2"), below("0a000002.addr.dc1"));
        assert_eq!(
            host("2001:db8::5"),
            below("20010db8000000000000000000000005.addr.dc1")
        );
        assert_eq!(
            host("www.example.org"),
            Dn::whole("www.example.org.").unwrap()
        );
        assert_eq!(host("a..b"), below("n1.node.dc1"));
    }

    #[test]
    fn addresses_tagged_by_family_win_for_that_family() {
        let mut row = row(&[]);
        let service = Arc::make_mut(&mut row.service);
        service.address = "10.0.0.9".into();
        let tagged = [
            ("lan_ipv6", "2001:db8::9", 0),
            ("wan", "192.0.2.1", 8080),
            ("wan_ipv4", "192.0.2.1", 8080),
        ];
        service.tagged_addresses = Some(Box::new(
            tagged
                .iter()
                .map(|(k, a, p)| {
                    (
                        Str::from(*k),
                        ServiceAddress {
                            address: (*a).into(),
                            port: *p,
                        },
                    )
                })
                .collect(),
        ));
        let lan = &rows(&row, None, false).endpoints[0];
        assert_eq!(lan.addresses.v4(), Some("10.0.0.9".parse().unwrap()));
        assert_eq!(lan.addresses.v6(), Some("2001:db8::9".parse().unwrap()));
        assert_eq!(lan.port, 80);
        let filter = Filter {
            tag: None,
            only_passing: false,
            datacenter: "dc2",
            wan: true,
        };
        let wan = &Rows::new(std::slice::from_ref(&row), filter).endpoints[0];
        assert_eq!(wan.addresses.v4(), Some("192.0.2.1".parse().unwrap()));
        assert_eq!((wan.addresses.v6(), wan.port), (None, 8080));
    }
}
