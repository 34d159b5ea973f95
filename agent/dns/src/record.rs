//! The records and the reply they make up.

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, RData, RecordType};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// A resource record of class IN.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The owner; nothing for the name of the question.
    pub name: Option<Name>,
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
    Cname(Name),
    /// A name server.
    Ns(Name),
    /// The name of an address.
    Ptr(Name),
    /// Where a service is (RFC 2782).
    Srv {
        /// Lower ones first.
        priority: u16,
        /// Share among those of the same priority.
        weight: u16,
        /// The port.
        port: u16,
        /// The host.
        target: Name,
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
    pub mname: Name,
    /// The mailbox of who is responsible.
    pub rname: Name,
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
            RData::CNAME(name) => Some(Data::Cname(name.0.clone())),
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
        Reply { authoritative: false, ..Reply::own(code) }
    }
}
