//! From what was found to a reply: pure, and the same for the same seed.

use crate::record::{Data, Dn, LONGEST_NAME, Record, Reply, SoaData};
use crate::rows::{Addresses, Endpoint, NodeRow, Rows};
use crate::shuffle::Shuffle;
use crate::zone::Zone;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use std::collections::HashSet;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;

/// Name servers in one answer.
const MOST_SERVERS: usize = 3;
/// Names that one answer looks up elsewhere.
const MOST_LOOKUPS: usize = 16;
/// Records of a looked-up name that go into an answer of 512 bytes.
const MOST_RESOLVED: usize = 5;

/// A question, with all that its answer depends on besides what was found.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// The labels of the name, in the case it was asked in.
    pub name: &'a [u8],
    /// The type.
    pub kind: RecordType,
    /// The labels of the domain that answers are below.
    pub domain: &'a [u8],
    /// The settings.
    pub zone: &'a Zone,
    /// Seconds since 1970, for the serial of SOA records.
    pub now: u32,
    /// Decides the order of the answers.
    pub seed: u64,
    /// How many answers are worth making.
    pub most: usize,
    /// Whether the question has an EDNS record.
    pub edns: bool,
}

/// What was found for a question.
#[derive(Clone, Debug)]
pub enum Facts {
    /// No such thing.
    Nothing,
    /// A node.
    Node(Arc<NodeRow>),
    /// Instances of a service and the TTL of answers about it.
    Service {
        /// The instances; none is as if there were no such service.
        rows: Arc<Rows>,
        /// Seconds.
        ttl: u32,
        /// Whether they depend on where the client is.
        by_subnet: bool,
    },
    /// The servers of the datacenter: what SOA and NS answers name.
    Servers(Arc<Rows>),
    /// The address that the name itself spells.
    Address(IpAddr),
    /// The name that an address has.
    Pointer(Dn),
}

/// Names that were looked up, with the records they led to.
pub type Resolved = [(Dn, Vec<Record>)];

/// The names that have to be looked up before [`reply`], in the same order for the same seed.
pub fn lookups(ask: &Ask<'_>, facts: &Facts) -> Vec<Dn> {
    let mut names = Vec::new();
    match facts {
        Facts::Node(node)
            if !matches!(ask.kind, RecordType::SRV | RecordType::TXT)
                && pick(ask.kind, &node.addresses).is_none() =>
        {
            names.extend(node.addresses.name().cloned());
        }
        Facts::Service { rows, .. }
            if ask.kind == RecordType::SRV
                && rows.endpoints.iter().any(|e| e.addresses.name().is_some()) =>
        {
            for at in Shuffle::new(rows.endpoints.len(), ask.seed).take(ask.most) {
                let endpoint = &rows.endpoints[at];
                let name = endpoint
                    .addresses
                    .name()
                    .filter(|name| !is_itself(ask, name, endpoint));
                names.extend(name.filter(|name| !names.contains(name)).cloned());
                if names.len() == MOST_LOOKUPS {
                    break;
                }
            }
        }
        Facts::Service { rows, .. } => names.extend(alias(ask, rows).cloned()),
        _ => {}
    }
    names
}

/// Makes the reply.
pub fn reply(ask: &Ask<'_>, facts: &Facts, resolved: &Resolved) -> Reply {
    match facts {
        Facts::Nothing => no_such_name(ask),
        Facts::Node(node) => of_node(ask, node, resolved),
        Facts::Service { rows, .. } if rows.endpoints.is_empty() => no_such_name(ask),
        Facts::Service {
            rows,
            ttl,
            by_subnet,
        } => {
            let mut reply = match ask.kind {
                RecordType::SRV => hosts(ask, rows, *ttl, resolved),
                _ => addresses(ask, rows, *ttl, resolved),
            };
            if reply.answers.is_empty() {
                reply.authority.push(soa(ask));
            }
            reply.by_subnet = *by_subnet;
            reply
        }
        Facts::Servers(rows) => of_zone(ask, rows),
        Facts::Address(ip) => of_address(ask, *ip),
        Facts::Pointer(name) => {
            let mut reply = Reply::own(ResponseCode::NoError);
            reply.answers.push(Record {
                name: None,
                ttl: 0,
                data: Data::Ptr(name.clone()),
            });
            reply
        }
    }
}

/// There is no such name (RFC 2308): the SOA record says for how long.
pub fn no_such_name(ask: &Ask<'_>) -> Reply {
    let mut reply = Reply::own(ResponseCode::NXDomain);
    reply.authority.push(soa(ask));
    reply
}

fn soa(ask: &Ask<'_>) -> Record {
    let numbers = &ask.zone.settings.soa;
    let data = SoaData {
        mname: ask.zone.name_server.clone(),
        rname: ask.zone.mailbox.clone(),
        serial: ask.now,
        refresh: numbers.refresh,
        retry: numbers.retry,
        expire: numbers.expire,
        minimum: numbers.min_ttl,
    };
    Record {
        name: Some(ask.zone.apex.clone()),
        ttl: numbers.min_ttl,
        data: Data::Soa(Arc::new(data)),
    }
}

/// The address that answers a question of this type. TXT questions about services get addresses
/// too, as from Consul.
fn pick(kind: RecordType, addresses: &Addresses) -> Option<IpAddr> {
    match kind {
        RecordType::A => addresses.v4().map(IpAddr::V4),
        RecordType::AAAA => addresses.v6().map(IpAddr::V6),
        RecordType::ANY | RecordType::TXT | RecordType::SRV => match addresses.any() {
            crate::rows::Address::Ip(ip) => Some(ip),
            _ => None,
        },
        _ => None,
    }
}

/// Whether DNS can carry a name together with the domain of the question.
fn fits(ask: &Ask<'_>, name: &Dn) -> bool {
    name.len_in(ask.domain) <= LONGEST_NAME
}

/// Whether an instance's host is the very name that was asked for: then its node answers.
fn is_itself(ask: &Ask<'_>, host: &Dn, endpoint: &Endpoint) -> bool {
    endpoint.node_ip.is_some() && host.is(ask.name)
}

fn pick_of(ask: &Ask<'_>, endpoint: &Endpoint) -> Option<IpAddr> {
    match endpoint.addresses.name() {
        Some(name) if is_itself(ask, name, endpoint) => {
            let fits = |ip: &IpAddr| match ask.kind {
                RecordType::A => ip.is_ipv4(),
                RecordType::AAAA => ip.is_ipv6(),
                RecordType::ANY | RecordType::TXT => true,
                _ => false,
            };
            endpoint.node_ip.filter(fits)
        }
        _ => pick(ask.kind, &endpoint.addresses),
    }
}

/// The name that stands for a service when no instance has a fitting address: that of the first.
fn alias<'r>(ask: &Ask<'_>, rows: &'r Rows) -> Option<&'r Dn> {
    let has_name = |e: &&Endpoint| e.addresses.name().is_some();
    rows.endpoints.iter().find(has_name)?;
    if rows.endpoints.iter().any(|e| pick_of(ask, e).is_some()) {
        return None;
    }
    let mut order = Shuffle::new(rows.endpoints.len(), ask.seed);
    order.find_map(|at| {
        let endpoint = &rows.endpoints[at];
        endpoint
            .addresses
            .name()
            .filter(|name| !is_itself(ask, name, endpoint))
    })
}

fn addresses(ask: &Ask<'_>, rows: &Rows, ttl: u32, resolved: &Resolved) -> Reply {
    let mut reply = Reply::own(ResponseCode::NoError);
    let limit = match ask.zone.settings.a_record_limit {
        0 => ask.most,
        limit => limit.min(ask.most),
    };
    let mut seen = Seen::default();
    for at in Shuffle::new(rows.endpoints.len(), ask.seed) {
        if reply.answers.len() == limit {
            break;
        }
        if let Some(ip) = pick_of(ask, &rows.endpoints[at]).filter(|ip| seen.is_new(*ip)) {
            reply.answers.push(Record {
                name: None,
                ttl,
                data: Data::of_ip(ip),
            });
        }
    }
    if reply.answers.is_empty()
        && let Some(name) = alias(ask, rows)
    {
        push_alias(ask, name, ttl, resolved, &mut reply);
    }
    reply
}

/// A CNAME record and what its name led to.
fn push_alias(ask: &Ask<'_>, name: &Dn, ttl: u32, resolved: &Resolved, reply: &mut Reply) {
    reply.answers.push(Record {
        name: None,
        ttl,
        data: Data::Cname(name.clone()),
    });
    reply
        .answers
        .extend(resolved_records(ask, name, ttl, resolved));
}

fn resolved_records(
    ask: &Ask<'_>,
    name: &Dn,
    ttl: u32,
    resolved: &Resolved,
) -> impl Iterator<Item = Record> {
    let found = resolved
        .iter()
        .find(|(n, _)| n == name)
        .map_or(&[][..], |(_, records)| records);
    let most = if ask.edns { usize::MAX } else { MOST_RESOLVED };
    found
        .iter()
        .take(most)
        .cloned()
        .map(move |record| Record { ttl, ..record })
}

fn hosts(ask: &Ask<'_>, rows: &Rows, ttl: u32, resolved: &Resolved) -> Reply {
    let mut reply = Reply::own(ResponseCode::NoError);
    let texts = ask.zone.settings.enable_additional_node_meta_txt;
    let mut answered = Seen::default();
    let mut decorated = Seen::default();
    for at in Shuffle::new(rows.endpoints.len(), ask.seed) {
        if reply.answers.len() == ask.most {
            break;
        }
        let endpoint = &rows.endpoints[at];
        let (target, ip) = match endpoint.addresses.name() {
            Some(name) if is_itself(ask, name, endpoint) => (&endpoint.node_name, endpoint.node_ip),
            Some(_) => (&endpoint.host, None),
            None => (&endpoint.host, pick(RecordType::SRV, &endpoint.addresses)),
        };
        let Some(target) = target.as_ref().filter(|name| fits(ask, name)) else {
            continue;
        };
        if !answered.is_new((target.clone(), endpoint.port)) {
            continue;
        }
        if decorated.is_new(target.clone()) {
            match ip {
                Some(ip) => {
                    let name = Some(target.clone());
                    reply.additional.push(Record {
                        name,
                        ttl,
                        data: Data::of_ip(ip),
                    });
                }
                None => reply
                    .additional
                    .extend(resolved_records(ask, target, ttl, resolved)),
            }
            if texts {
                let owner = || Some(target.clone());
                reply
                    .additional
                    .extend(endpoint.texts.iter().map(|t| Record {
                        name: owner(),
                        ttl,
                        data: t.clone(),
                    }));
            }
        }
        let (weight, port) = (endpoint.weight, endpoint.port);
        let data = Data::Srv {
            priority: 1,
            weight,
            port,
            target: target.clone(),
        };
        reply.answers.push(Record {
            name: None,
            ttl,
            data,
        });
    }
    reply
}

/// Answers about nodes have no SOA record, found or not of that type.
fn of_node(ask: &Ask<'_>, node: &NodeRow, resolved: &Resolved) -> Reply {
    let mut reply = Reply::own(ResponseCode::NoError);
    let ttl = ask.zone.node_ttl();
    if ask.kind == RecordType::SRV {
        return reply;
    }
    let texts = node.texts.iter().map(|t| Record {
        name: None,
        ttl,
        data: t.clone(),
    });
    let is_text = ask.kind == RecordType::TXT;
    match (pick(ask.kind, &node.addresses), node.addresses.name()) {
        (Some(ip), _) if !is_text => reply.answers.push(Record {
            name: None,
            ttl,
            data: Data::of_ip(ip),
        }),
        (None, Some(name)) if !is_text => push_alias(ask, name, ttl, resolved, &mut reply),
        _ => {}
    }
    if is_text || ask.kind == RecordType::ANY {
        reply.answers.extend(texts);
    } else if ask.zone.settings.enable_additional_node_meta_txt {
        reply.additional.extend(texts);
    }
    reply
}

/// SOA and NS answers: the zone with up to three of its servers.
fn of_zone(ask: &Ask<'_>, servers: &Rows) -> Reply {
    let mut reply = Reply::own(ResponseCode::NoError);
    let ttl = ask.zone.node_ttl();
    let mut names = Vec::new();
    let mut seen = Seen::default();
    for at in Shuffle::new(servers.endpoints.len(), ask.seed) {
        let server = &servers.endpoints[at];
        let name = server
            .node_name
            .as_ref()
            .filter(|name| server.plain_name && fits(ask, name));
        let Some(name) = name.filter(|name| seen.is_new((*name).clone())).cloned() else {
            continue;
        };
        names.push(Record {
            name: Some(ask.zone.apex.clone()),
            ttl,
            data: Data::Ns(name.clone()),
        });
        if let Some(ip) = server.node_ip {
            reply.additional.push(Record {
                name: Some(name),
                ttl,
                data: Data::of_ip(ip),
            });
        }
        if names.len() == MOST_SERVERS {
            break;
        }
    }
    match ask.kind {
        RecordType::NS => {
            if names.is_empty() {
                reply.authority.push(soa(ask));
            }
            reply.answers = names;
        }
        _ => {
            reply.answers.push(soa(ask));
            reply.authority = names;
        }
    }
    reply
}

/// An address that its own name spells. For other types it goes into the additional section.
fn of_address(ask: &Ask<'_>, ip: IpAddr) -> Reply {
    let mut reply = Reply::own(ResponseCode::NoError);
    let record = Record {
        name: None,
        ttl: ask.zone.node_ttl(),
        data: Data::of_ip(ip),
    };
    match ask.kind {
        RecordType::ANY => reply.answers.push(record),
        kind if kind == record.data.kind() => reply.answers.push(record),
        _ => reply.additional.push(record),
    }
    reply
}

/// A set that looks through a short list as long as there is little in it.
struct Seen<T> {
    few: Vec<T>,
    many: HashSet<T>,
}

impl<T> Default for Seen<T> {
    fn default() -> Seen<T> {
        Seen {
            few: Vec::new(),
            many: HashSet::new(),
        }
    }
}

impl<T: Eq + Hash> Seen<T> {
    const FEW: usize = 16;

    fn is_new(&mut self, item: T) -> bool {
        if self.few.contains(&item) {
            return false;
        }
        if self.few.len() < Self::FEW {
            self.few.push(item);
            return true;
        }
        self.many.insert(item)
    }
}
