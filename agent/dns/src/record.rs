//! The records and the reply they make up.

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, RData, RecordType};
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// The longest name with the root's length byte (RFC 1035, 2.3.4).
pub(crate) const LONGEST_NAME: usize = 255;

/// A name as records hold it: labels, each with its length before it, without the root's. It is
/// whole, or ends in the domain of the question. Clones share the labels, and nothing is put
/// together before it is written: that is what an answer would cost most.
#[derive(Clone, Debug)]
pub struct Dn {
    labels: Arc<[u8]>,
    below: bool,
}

impl Dn {
    /// A whole name from a text, with or without the final dot, if DNS can carry it. What stands
    /// in the labels does not matter: catalog names are not always host names.
    pub fn whole(text: &str) -> Option<Dn> {
        Some(Dn {
            labels: labels(text)?,
            below: false,
        })
    }

    /// The same for a name below the domain of the question.
    pub fn below(text: &str) -> Option<Dn> {
        Some(Dn {
            labels: labels(text)?,
            below: true,
        })
    }

    /// The domain of the question itself.
    pub fn domain() -> Dn {
        Dn {
            labels: Arc::from([]),
            below: true,
        }
    }

    /// A whole name from its labels.
    #[cfg(test)]
    pub(crate) fn of_labels(labels: &[u8]) -> Dn {
        Dn {
            labels: labels.into(),
            below: false,
        }
    }

    /// The labels, and those of the domain where the name ends in it.
    pub(crate) fn parts<'a>(&'a self, domain: &'a [u8]) -> [&'a [u8]; 2] {
        [&self.labels, if self.below { domain } else { &[] }]
    }

    /// The length of the whole name in a message, uncompressed.
    pub(crate) fn len_in(&self, domain: &[u8]) -> usize {
        self.labels.len() + if self.below { domain.len() } else { 0 } + 1
    }

    /// The whole name below that domain.
    pub(crate) fn in_domain(&self, domain: &[u8]) -> Dn {
        Dn {
            labels: self.parts(domain).concat().into(),
            below: false,
        }
    }

    /// Whether it is whole and these are its labels, in whatever case.
    pub(crate) fn is(&self, labels: &[u8]) -> bool {
        !self.below && self.labels.eq_ignore_ascii_case(labels)
    }

    /// A whole name as hickory has it.
    pub(crate) fn to_name(&self) -> Name {
        let mut name = Name::root();
        for label in split(&self.labels) {
            name = match name.append_label(label) {
                Ok(name) => name,
                Err(_) => return Name::root(),
            };
        }
        name
    }
}

impl From<&Name> for Dn {
    fn from(name: &Name) -> Dn {
        let mut labels = Vec::with_capacity(name.len());
        for label in name.iter() {
            labels.push(label.len() as u8);
            labels.extend_from_slice(label);
        }
        Dn {
            labels: labels.into(),
            below: false,
        }
    }
}

// Names are compared without regard to case (RFC 4343). The lengths of labels are no letters.
impl PartialEq for Dn {
    fn eq(&self, other: &Dn) -> bool {
        self.below == other.below
            && (Arc::ptr_eq(&self.labels, &other.labels)
                || self.labels.eq_ignore_ascii_case(&other.labels))
    }
}

impl Eq for Dn {}

impl Hash for Dn {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for byte in self.labels.iter() {
            state.write_u8(byte.to_ascii_lowercase());
        }
    }
}

/// The labels of a text; nothing if one of them, or all, are too long or empty.
fn labels(text: &str) -> Option<Arc<[u8]>> {
    let text = text.strip_suffix('.').unwrap_or(text);
    let mut out = Vec::with_capacity(text.len() + 1);
    for label in text.split('.') {
        if label.is_empty() || label.len() > 63 {
            return None;
        }
        out.push(label.len() as u8);
        out.extend_from_slice(label.as_bytes());
    }
    (out.len() < LONGEST_NAME).then(|| out.into())
}

/// The labels one by one.
pub(crate) fn split(mut labels: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, rest) = labels.split_first()?;
        let (label, rest) = rest.split_at_checked((*length).into())?;
        labels = rest;
        Some(label)
    })
}

/// A resource record of class IN.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The owner; nothing for the name of the question.
    pub name: Option<Dn>,
    /// Seconds that it may be cached.
    pub ttl: u32,
    /// What it says.
    pub data: Data,
}

/// What a record says.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// An IPv4 address.
    A(Ipv4Addr),
    /// An IPv6 address.
    Aaaa(Ipv6Addr),
    /// Another name.
    Cname(Dn),
    /// A name server.
    Ns(Dn),
    /// The name of an address.
    Ptr(Dn),
    /// Where a service is (RFC 2782).
    Srv {
        /// Lower ones first.
        priority: u16,
        /// Share among those of the same priority.
        weight: u16,
        /// The port.
        port: u16,
        /// The host.
        target: Dn,
    },
    /// The start of the zone.
    Soa(Arc<SoaData>),
    /// Texts, already as length-prefixed strings (RFC 1035, 3.3.14).
    Txt(Arc<[u8]>),
}

/// The fields of a SOA record.
#[derive(Clone, Debug, PartialEq)]
pub struct SoaData {
    /// The primary name server.
    pub mname: Dn,
    /// The mailbox of who is responsible.
    pub rname: Dn,
    /// The version: the time of the answer.
    pub serial: u32,
    /// Seconds.
    pub refresh: u32,
    /// Seconds.
    pub retry: u32,
    /// Seconds.
    pub expire: u32,
    /// Seconds that a negative answer may be cached.
    pub minimum: u32,
}

impl Data {
    /// The record of an address.
    pub fn of_ip(ip: IpAddr) -> Data {
        match ip {
            IpAddr::V4(ip) => Data::A(ip),
            IpAddr::V6(ip) => Data::Aaaa(ip),
        }
    }

    /// The type's number.
    pub fn kind(&self) -> RecordType {
        match self {
            Data::A(_) => RecordType::A,
            Data::Aaaa(_) => RecordType::AAAA,
            Data::Cname(_) => RecordType::CNAME,
            Data::Ns(_) => RecordType::NS,
            Data::Ptr(_) => RecordType::PTR,
            Data::Srv { .. } => RecordType::SRV,
            Data::Soa(_) => RecordType::SOA,
            Data::Txt(_) => RecordType::TXT,
        }
    }

    /// A text as the strings of a TXT record: pieces of at most 255 bytes.
    pub fn txt(text: &[u8]) -> Data {
        let mut out = Vec::with_capacity(text.len() + 1);
        if text.is_empty() {
            out.push(0);
        }
        for piece in text.chunks(255) {
            out.push(piece.len() as u8);
            out.extend_from_slice(piece);
        }
        Data::Txt(out.into())
    }

    /// What a recursor's record says, if it is of a kind that belongs beside a CNAME.
    pub(crate) fn of_foreign(data: &RData) -> Option<Data> {
        match data {
            RData::A(a) => Some(Data::A(a.0)),
            RData::AAAA(a) => Some(Data::Aaaa(a.0)),
            RData::CNAME(name) => Some(Data::Cname(Dn::from(&name.0))),
            RData::TXT(txt) => {
                let mut out = Vec::new();
                for piece in txt.txt_data.iter().filter(|p| p.len() <= 255) {
                    out.push(piece.len() as u8);
                    out.extend_from_slice(piece);
                }
                Some(Data::Txt(out.into()))
            }
            _ => None,
        }
    }
}

/// A reply before it is written.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// The code.
    pub code: ResponseCode,
    /// Whether this server is the authority (AA).
    pub authoritative: bool,
    /// The answers.
    pub answers: Vec<Record>,
    /// The authority section.
    pub authority: Vec<Record>,
    /// The additional section, without OPT.
    pub additional: Vec<Record>,
    /// Whether the answer depends on where the client is (RFC 7871: the scope of its subnet).
    pub by_subnet: bool,
}

impl Reply {
    /// A reply with that code and no records, from the authority.
    pub fn own(code: ResponseCode) -> Reply {
        Reply {
            code,
            authoritative: true,
            answers: Vec::new(),
            authority: Vec::new(),
            additional: Vec::new(),
            by_subnet: false,
        }
    }

    /// A reply with that code and no records about somebody else's names.
    pub fn foreign(code: ResponseCode) -> Reply {
        Reply {
            authoritative: false,
            ..Reply::own(code)
        }
    }
}
