//! What a name asks for.

use crate::record::split;
use crate::zone::Zone;
use hickory_proto::rr::{Name, RecordType};
use lictor_wire::Str;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What a question is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A name outside the domains answered for.
    Foreign,
    /// A name of the reverse tree; the address, if it spells a whole one.
    Reverse(Option<IpAddr>),
    /// A name in one of the domains.
    Own {
        /// How many labels the domain has.
        domain: usize,
        /// What it asks for.
        what: Wanted,
    },
}

/// What a name in the domain asks for. All texts are in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The zone itself: any question for SOA or NS.
    Zone,
    /// A node.
    Node {
        /// Its name, dots kept.
        name: Str,
        /// The datacenter, if one is named.
        datacenter: Option<Str>,
    },
    /// A service.
    Service {
        /// Its name.
        name: Str,
        /// A tag that instances must have.
        tag: Option<Str>,
        /// The datacenter, if one is named.
        datacenter: Option<Str>,
        /// Its stand-ins in the mesh rather than itself.
        mesh: bool,
    },
    /// The mesh address of a service.
    Virtual {
        /// Its name.
        name: Str,
        /// The datacenter, if one is named.
        datacenter: Option<Str>,
    },
    /// A prepared query.
    Query {
        /// Its name or id, dots kept.
        name: Str,
        /// The datacenter, if one is named.
        datacenter: Option<Str>,
    },
    /// The address that the name spells.
    Address(IpAddr),
    /// Nothing that there could be.
    Nothing,
}

/// Reads a name. `name` is in lower case.
pub fn read(name: &Name, kind: RecordType, zone: &Zone) -> Target {
    if let Some(domain) = zone.domains.iter().find(|d| d.zone_of(name)) {
        let domain = domain.iter().count();
        if matches!(kind, RecordType::SOA | RecordType::NS) {
            return Target::Own {
                domain,
                what: Wanted::Zone,
            };
        }
        let labels: Vec<&[u8]> = name.iter().collect();
        let what = read_own(&labels[..labels.len() - domain], kind);
        return Target::Own { domain, what };
    }
    let mut end = name.iter().rev();
    if end.next() == Some(b"arpa") && matches!(end.next(), Some(b"in-addr" | b"ip6")) {
        return Target::Reverse(read_reverse(name));
    }
    Target::Foreign
}

/// The labels before the domain: what is asked for, a word that says its kind, a datacenter. The
/// last such word counts, so that a service may be called `node`.
fn read_own(labels: &[&[u8]], kind: RecordType) -> Wanted {
    for (at, label) in labels.iter().enumerate().rev() {
        let (head, rest) = (&labels[..at], &labels[at + 1..]);
        let Some(datacenter) = read_datacenter(rest) else {
            return Wanted::Nothing;
        };
        let read = match *label {
            b"service" => read_service(head, datacenter, false),
            b"connect" => read_service(head, datacenter, true),
            b"node" => join(head).map(|name| Wanted::Node { name, datacenter }),
            b"query" => match rfc2782(head) {
                Some((name, _)) => text(name),
                None => join(head),
            }
            .map(|name| Wanted::Query { name, datacenter }),
            b"addr" => match head {
                [hex] => read_hex(hex).map(Wanted::Address),
                _ => None,
            },
            b"virtual" => match head {
                [name] => text(name).map(|name| Wanted::Virtual { name, datacenter }),
                _ => None,
            },
            b"ingress" => None,
            // RFC 2782 names do without the word, in the questions they are made for.
            _ if kind == RecordType::SRV && label.starts_with(b"_") => {
                read_service(&labels[..=at], datacenter, false)
            }
            _ => continue,
        };
        return read.unwrap_or(Wanted::Nothing);
    }
    Wanted::Nothing
}

/// `<dc>` or `<dc>.dc` or nothing; anything else is no name of ours.
fn read_datacenter(labels: &[&[u8]]) -> Option<Option<Str>> {
    match labels {
        [] => Some(None),
        [dc] | [dc, b"dc"] => text(dc).map(Some),
        _ => None,
    }
}

fn read_service(labels: &[&[u8]], datacenter: Option<Str>, mesh: bool) -> Option<Wanted> {
    let (name, tag) = match rfc2782(labels) {
        // The protocol stands for no tag.
        Some((name, b"tcp")) => (text(name)?, None),
        Some((name, tag)) => (text(name)?, Some(text(tag)?)),
        None => match labels.split_last()? {
            (name, []) => (text(name)?, None),
            (name, tag) => (text(name)?, Some(join(tag)?)),
        },
    };
    Some(Wanted::Service {
        name,
        tag,
        datacenter,
        mesh,
    })
}

/// `_name._tag`.
fn rfc2782<'a>(labels: &[&'a [u8]]) -> Option<(&'a [u8], &'a [u8])> {
    match labels {
        [name, tag] => Some((name.strip_prefix(b"_")?, tag.strip_prefix(b"_")?)),
        _ => None,
    }
}

fn text(label: &[u8]) -> Option<Str> {
    std::str::from_utf8(label)
        .ok()
        .filter(|text| !text.is_empty())
        .map(Str::from)
}

fn join(labels: &[&[u8]]) -> Option<Str> {
    let (first, rest) = labels.split_first()?;
    let mut out = text(first)?;
    for label in rest {
        out.push('.');
        out.push_str(std::str::from_utf8(label).ok()?);
    }
    Some(out)
}

/// Eight hexadecimal digits are an IPv4 address, thirty-two an IPv6 one.
fn read_hex(hex: &[u8]) -> Option<IpAddr> {
    if !hex.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let hex = std::str::from_utf8(hex).ok()?;
    match hex.len() {
        8 => u32::from_str_radix(hex, 16)
            .ok()
            .map(|bits| Ipv4Addr::from_bits(bits).into()),
        32 => u128::from_str_radix(hex, 16)
            .ok()
            .map(|bits| Ipv6Addr::from_bits(bits).into()),
        _ => None,
    }
}

/// The label that spells an address below `addr`.
pub(crate) fn hex_label(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => format!("{:08x}", ip.to_bits()),
        IpAddr::V6(ip) => format!("{:032x}", ip.to_bits()),
    }
}

/// The address that a whole name of the reverse tree spells (RFC 1035, 3.5; RFC 3596, 2.5).
fn read_reverse(name: &Name) -> Option<IpAddr> {
    let mut labels = name.iter().rev().skip(1);
    let v4 = labels.next()? == b"in-addr";
    let mut bits: u128 = 0;
    let mut count = 0;
    for label in labels {
        let label = std::str::from_utf8(label).ok()?;
        if v4 {
            if label.len() > 3 || !label.bytes().all(|b| b.is_ascii_digit()) {
                return None;
            }
            bits = bits << 8 | u128::from(label.parse::<u8>().ok()?);
        } else {
            if label.len() != 1 {
                return None;
            }
            bits = bits << 4 | u128::from_str_radix(label, 16).ok()?;
        }
        count += 1;
        if count > if v4 { 4 } else { 32 } {
            return None;
        }
    }
    match (v4, count) {
        (true, 4) => Some(Ipv4Addr::from_bits(bits as u32).into()),
        (false, 32) => Some(Ipv6Addr::from_bits(bits).into()),
        _ => None,
    }
}

/// Where the last `domain` labels of a name begin among its labels.
pub(crate) fn domain_at(labels: &[u8], domain: usize) -> usize {
    let skip = split(labels).count().saturating_sub(domain);
    split(labels).take(skip).map(|label| label.len() + 1).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Dn;
    use crate::settings::Settings;

    fn absolute(text: &str) -> Option<Name> {
        Dn::whole(text).map(|name| name.to_name())
    }

    fn zone() -> Zone {
        Zone::new(Settings {
            alt_domain: "test.consul.".into(),
            ..Settings::default()
        })
        .unwrap()
    }

    fn own(name: &str, kind: RecordType) -> Wanted {
        match read(&absolute(name).unwrap(), kind, &zone()) {
            Target::Own { what, .. } => what,
            other => panic!("{name}: {other:?}"),
        }
    }

    fn service(name: &str, tag: Option<&str>, dc: Option<&str>) -> Wanted {
        Wanted::Service {
            name: name.into(),
            tag: tag.map(Str::from),
            datacenter: dc.map(Str::from),
            mesh: false,
        }
    }

    fn node(name: &str, dc: Option<&str>) -> Wanted {
        Wanted::Node {
            name: name.into(),
            datacenter: dc.map(Str::from),
        }
    }

    #[test]
    fn the_forms_of_names() {
        use RecordType::{A, SRV};
        for (name, kind, wanted) in [
            ("web.service.consul", A, service("web", None, None)),
            (
                "web.service.dc2.consul",
                A,
                service("web", None, Some("dc2")),
            ),
            (
                "web.service.dc2.dc.consul",
                A,
                service("web", None, Some("dc2")),
            ),
            ("v1.web.service.consul", A, service("web", Some("v1"), None)),
            (
                "a.b.web.service.dc1.consul",
                A,
                service("web", Some("a.b"), Some("dc1")),
            ),
            (
                "_web._v1.service.consul",
                SRV,
                service("web", Some("v1"), None),
            ),
            ("_web._tcp.service.consul", A, service("web", None, None)),
            (
                "_web._udp.service.consul",
                A,
                service("web", Some("udp"), None),
            ),
            ("_web._tcp.consul", SRV, service("web", None, None)),
            (
                "_web._tcp.dc2.consul",
                SRV,
                service("web", None, Some("dc2")),
            ),
            ("_web._tcp.consul", A, Wanted::Nothing),
            (
                "_web.v1.service.consul",
                A,
                service("v1", Some("_web"), None),
            ),
            ("service.service.consul", A, service("service", None, None)),
            ("node.service.consul", A, service("node", None, None)),
            ("web.service.default.ns.consul", A, Wanted::Nothing),
            ("web.service.other.peer.consul", A, Wanted::Nothing),
            ("service.consul", A, Wanted::Nothing),
            ("consul", A, Wanted::Nothing),
            ("nothing.consul", A, Wanted::Nothing),
            ("a.b.c.d.consul", A, Wanted::Nothing),
            ("n1.node.consul", A, node("n1", None)),
            (
                "n1.example.org.node.dc2.consul",
                A,
                node("n1.example.org", Some("dc2")),
            ),
            ("node.consul", A, Wanted::Nothing),
            (
                "0a630001.addr.dc1.consul",
                A,
                Wanted::Address("10.99.0.1".parse().unwrap()),
            ),
            (
                "0A630001.addr.consul",
                A,
                Wanted::Address("10.99.0.1".parse().unwrap()),
            ),
            (
                "20010db8000000000000000000000005.addr.consul",
                A,
                Wanted::Address("2001:db8::5".parse().unwrap()),
            ),
            ("0a63.addr.consul", A, Wanted::Nothing),
            ("+a630001.addr.consul", A, Wanted::Nothing),
            ("x.0a630001.addr.consul", A, Wanted::Nothing),
            ("web.ingress.consul", A, Wanted::Nothing),
            (
                "web.virtual.dc2.consul",
                A,
                Wanted::Virtual {
                    name: "web".into(),
                    datacenter: Some("dc2".into()),
                },
            ),
            (
                "web.virtual.consul",
                A,
                Wanted::Virtual {
                    name: "web".into(),
                    datacenter: None,
                },
            ),
            (
                "my.query.consul",
                A,
                Wanted::Query {
                    name: "my".into(),
                    datacenter: None,
                },
            ),
            (
                "a.b.query.dc2.consul",
                A,
                Wanted::Query {
                    name: "a.b".into(),
                    datacenter: Some("dc2".into()),
                },
            ),
            (
                "_my._tcp.query.consul",
                SRV,
                Wanted::Query {
                    name: "my".into(),
                    datacenter: None,
                },
            ),
            ("x.service.consul", RecordType::SOA, Wanted::Zone),
            ("consul", RecordType::NS, Wanted::Zone),
        ] {
            assert_eq!(own(name, kind), wanted, "{kind} {name}");
        }
    }

    #[test]
    fn mesh_names_ask_for_the_stand_ins() {
        assert!(matches!(
            own("web.connect.consul", RecordType::A),
            Wanted::Service { mesh: true, .. }
        ));
    }

    #[test]
    fn the_longest_domain_counts() {
        let at = |name: &str| match read(&absolute(name).unwrap(), RecordType::A, &zone()) {
            Target::Own { domain, .. } => Some(domain),
            _ => None,
        };
        assert_eq!(at("web.service.consul"), Some(1));
        assert_eq!(at("web.service.test.consul"), Some(2));
        assert_eq!(at("consul.example.org"), None);
        assert_eq!(at("xconsul"), None);
    }

    #[test]
    fn reverse_names() {
        let ip = |name: &str| match read(&absolute(name).unwrap(), RecordType::PTR, &zone()) {
            Target::Reverse(ip) => ip.map(|ip| ip.to_string()),
            other => panic!("{name}: {other:?}"),
        };
        assert_eq!(ip("7.0.23.10.in-addr.arpa").as_deref(), Some("10.23.0.7"));
        let v6 = "7.7.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa";
        assert_eq!(ip(v6).as_deref(), Some("2001:db8::77"));
        for bad in [
            "in-addr.arpa",
            "0.23.10.in-addr.arpa",
            "1.7.0.23.10.in-addr.arpa",
            "300.0.23.10.in-addr.arpa",
            "+1.0.23.10.in-addr.arpa",
            "x.ip6.arpa",
        ] {
            assert_eq!(ip(bad), None, "{bad}");
        }
        assert_eq!(
            read(&absolute("home.arpa").unwrap(), RecordType::A, &zone()),
            Target::Foreign
        );
        assert_eq!(
            read(&Name::root(), RecordType::NS, &zone()),
            Target::Foreign
        );
    }

    #[test]
    fn labels_that_are_no_text_are_nothing() {
        let name = Name::root().append_label(&b"\xff\x00"[..]).unwrap();
        let name = name
            .append_label("service")
            .unwrap()
            .append_label("consul")
            .unwrap();
        let Target::Own { what, .. } = read(&name, RecordType::A, &zone()) else {
            panic!("foreign")
        };
        assert_eq!(what, Wanted::Nothing);
    }

    #[test]
    fn where_the_domain_begins() {
        let labels = b"\x04DWEB\x07Service\x06CONSUL";
        assert_eq!(&labels[domain_at(labels, 1)..], b"\x06CONSUL");
        assert_eq!(domain_at(labels, 0), labels.len());
        assert_eq!(domain_at(labels, 3), 0);
        assert_eq!(domain_at(labels, 9), 0);
    }
}
