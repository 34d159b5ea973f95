//! Writing replies (RFC 1035, section 4).
//!
//! Names are compressed against everything written before, the question included, and keep the
//! case they have: clients that mix the case of questions compare it. The host of an SRV record is
//! written in full, as RFC 2782 wants, and what comes later may point into it.

use crate::record::{Data, Record, Reply};
use std::net::IpAddr;

/// What a reply repeats of the question, and the flags that do not depend on the answer.
#[derive(Clone, Debug)]
pub struct Head<'a> {
    /// The id of the question.
    pub id: u16,
    /// Recursion desired (RD), copied.
    pub recursion_desired: bool,
    /// Recursion available (RA).
    pub recursion_available: bool,
    /// Checking disabled (CD), copied.
    pub checking_disabled: bool,
    /// The labels of the name, in the case it was asked in (RFC 1035, 3.1, without the root).
    pub name: &'a [u8],
    /// The labels of the domain that names of records may be below.
    pub domain: &'a [u8],
    /// The number of the type.
    pub kind: u16,
    /// The number of the class.
    pub class: u16,
    /// What the OPT record says, where the question has one.
    pub edns: Option<EdnsReply>,
}

/// The OPT record of a reply (RFC 6891).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EdnsReply {
    /// The largest datagram, in bytes.
    pub size: u16,
    /// DNSSEC OK (DO), copied.
    pub dnssec_ok: bool,
    /// The client's subnet and the length of its prefix (RFC 7871).
    pub subnet: Option<(IpAddr, u8)>,
}

/// Scratch space for compression, kept between replies.
#[derive(Debug, Default)]
pub struct Scratch {
    /// Offsets of the names written so far, by the hash of the name. Zero is free.
    slots: Vec<u16>,
}

/// Bits of a header's third and fourth byte (RFC 1035, 4.1.1; RFC 2535, 6.1).
const QR: u16 = 0x8000;
const AA: u16 = 0x0400;
/// The third byte's bit that says that something was left out.
pub(crate) const TC: u8 = 0x02;
const RD: u16 = 0x0100;
const RA: u16 = 0x0080;
const CD: u16 = 0x0010;

/// The type of the OPT record.
const OPT: u16 = 41;
/// The largest offset that a pointer can name.
const POINTER_LIMIT: usize = 0x3fff;
/// Places that are tried for a hash.
const PROBES: usize = 4;
/// Names of more labels are written in full: the reverse names of IPv6 alone have that many.
const MOST_LABELS: usize = 16;

/// A header alone: for questions that are not worth more.
pub fn header_only(request: &[u8], code: u8) -> Option<[u8; 12]> {
    let head: [u8; 4] = request.get(..4)?.try_into().ok()?;
    let mut out = [0; 12];
    out[..2].copy_from_slice(&head[..2]);
    // Opcode and RD as they came.
    out[2] = (QR >> 8) as u8 | head[2] & 0x79;
    out[3] = code & 0x0f;
    Some(out)
}

/// Appends a reply to `out`. Offsets count from where it starts.
pub fn write(
    head: &Head<'_>,
    reply: &Reply,
    compress: bool,
    scratch: &mut Scratch,
    out: &mut Vec<u8>,
) {
    write_parts(
        head,
        reply,
        &reply.answers,
        &reply.authority,
        reply.additional.iter(),
        compress,
        scratch,
        out,
    );
}

/// [`write`] with sections of its own.
#[allow(clippy::too_many_arguments)]
pub(crate) fn write_parts<'r>(
    head: &Head<'_>,
    reply: &Reply,
    answers: &[Record],
    authority: &[Record],
    additional: impl Iterator<Item = &'r Record>,
    compress: bool,
    scratch: &mut Scratch,
    out: &mut Vec<u8>,
) {
    let base = out.len();
    let code = u16::from(reply.code);
    let mut flags = QR | code & 0x0f;
    for (bit, set) in [
        (AA, reply.authoritative),
        (RD, head.recursion_desired),
        (RA, head.recursion_available),
        (CD, head.checking_disabled),
    ] {
        flags |= if set { bit } else { 0 };
    }
    for word in [head.id, flags, 1, 0, 0, 0] {
        out.extend_from_slice(&word.to_be_bytes());
    }

    let expected = 2 + answers.len() + authority.len() + reply.additional.len();
    scratch.slots.clear();
    if compress {
        // At most half full with two new suffixes a record.
        scratch
            .slots
            .resize((expected * 4).next_power_of_two().clamp(64, 1 << 14), 0);
    }
    let mut w = Writer {
        out,
        base,
        slots: &mut scratch.slots,
    };
    w.name([head.name, &[]], true);
    w.word(head.kind);
    w.word(head.class);

    for record in answers {
        w.record(record, head);
    }
    for record in authority {
        w.record(record, head);
    }
    let mut extra: usize = 0;
    for record in additional {
        w.record(record, head);
        extra += 1;
    }
    if let Some(edns) = &head.edns {
        w.opt(edns, (code >> 4) as u8, reply.by_subnet);
        extra += 1;
    }
    for (at, count) in [(6, answers.len()), (8, authority.len()), (10, extra)] {
        let count = u16::try_from(count).unwrap_or(u16::MAX);
        out[base + at..base + at + 2].copy_from_slice(&count.to_be_bytes());
    }
}

/// The length of a reply with every name in full.
pub(crate) fn plain_len<'r>(head: &Head<'_>, records: impl Iterator<Item = &'r Record>) -> usize {
    let question = head.name.len() + 1;
    let domain = head.domain;
    let opt = head
        .edns
        .as_ref()
        .map_or(0, |edns| 11 + subnet_len(edns.subnet));
    let owner = |record: &Record| {
        record
            .name
            .as_ref()
            .map_or(question, |name| name.len_in(domain))
    };
    let records: usize = records
        .map(|r| owner(r) + 10 + data_len(&r.data, domain))
        .sum();
    12 + question + 4 + records + opt
}

fn data_len(data: &Data, domain: &[u8]) -> usize {
    match data {
        Data::A(_) => 4,
        Data::Aaaa(_) => 16,
        Data::Cname(name) | Data::Ns(name) | Data::Ptr(name) => name.len_in(domain),
        Data::Srv { target, .. } => 6 + target.len_in(domain),
        Data::Soa(soa) => soa.mname.len_in(domain) + soa.rname.len_in(domain) + 20,
        Data::Txt(texts) => texts.len(),
    }
}

/// The bytes of an address that a prefix touches, if the prefix fits the family.
fn subnet_bytes(subnet: (IpAddr, u8)) -> Option<usize> {
    let (ip, prefix) = subnet;
    let most = if ip.is_ipv4() { 32 } else { 128 };
    (prefix <= most).then(|| usize::from(prefix).div_ceil(8))
}

fn subnet_len(subnet: Option<(IpAddr, u8)>) -> usize {
    subnet.and_then(subnet_bytes).map_or(0, |bytes| 8 + bytes)
}

struct Writer<'a> {
    out: &'a mut Vec<u8>,
    base: usize,
    slots: &'a mut Vec<u16>,
}

impl Writer<'_> {
    fn word(&mut self, word: u16) {
        self.out.extend_from_slice(&word.to_be_bytes());
    }

    fn long(&mut self, long: u32) {
        self.out.extend_from_slice(&long.to_be_bytes());
    }

    fn record(&mut self, record: &Record, head: &Head<'_>) {
        let domain = head.domain;
        match &record.name {
            // The question stands right behind the header.
            None if !self.slots.is_empty() && !head.name.is_empty() => self.word(0xc000 | 12),
            None => self.name([head.name, &[]], true),
            Some(name) => self.name(name.parts(domain), true),
        }
        self.word(record.data.kind().into());
        self.word(1);
        self.long(record.ttl);
        let length_at = self.out.len();
        self.word(0);
        match &record.data {
            Data::A(ip) => self.out.extend_from_slice(&ip.octets()),
            Data::Aaaa(ip) => self.out.extend_from_slice(&ip.octets()),
            Data::Cname(name) | Data::Ns(name) | Data::Ptr(name) => {
                self.name(name.parts(domain), true)
            }
            Data::Srv {
                priority,
                weight,
                port,
                target,
            } => {
                self.word(*priority);
                self.word(*weight);
                self.word(*port);
                self.name(target.parts(domain), false);
            }
            Data::Soa(soa) => {
                self.name(soa.mname.parts(domain), true);
                self.name(soa.rname.parts(domain), true);
                for number in [soa.serial, soa.refresh, soa.retry, soa.expire, soa.minimum] {
                    self.long(number);
                }
            }
            Data::Txt(texts) => self
                .out
                .extend_from_slice(&texts[..texts.len().min(u16::MAX.into())]),
        }
        // Names and numbers are short, texts were cut: the length fits.
        let length = (self.out.len() - length_at - 2) as u16;
        self.out[length_at..length_at + 2].copy_from_slice(&length.to_be_bytes());
    }

    fn opt(&mut self, edns: &EdnsReply, high_code: u8, by_subnet: bool) {
        self.out.push(0);
        self.word(OPT);
        self.word(edns.size);
        self.out
            .extend_from_slice(&[high_code, 0, if edns.dnssec_ok { 0x80 } else { 0 }, 0]);
        let subnet = edns
            .subnet
            .and_then(|subnet| Some((subnet, subnet_bytes(subnet)?)));
        let Some(((ip, prefix), bytes)) = subnet else {
            return self.word(0);
        };
        self.word(8 + bytes as u16);
        self.word(8);
        self.word(4 + bytes as u16);
        self.word(if ip.is_ipv4() { 1 } else { 2 });
        self.out.push(prefix);
        self.out.push(if by_subnet { prefix } else { 0 });
        match ip {
            IpAddr::V4(ip) => self.out.extend_from_slice(&ip.octets()[..bytes]),
            IpAddr::V6(ip) => self.out.extend_from_slice(&ip.octets()[..bytes]),
        }
    }

    /// Writes a name, and notes where it and its ends stand.
    fn name(&mut self, parts: [&[u8]; 2], may_point: bool) {
        let start = self.out.len();
        self.out.extend_from_slice(parts[0]);
        self.out.extend_from_slice(parts[1]);
        let end = self.out.len();
        self.out.push(0);
        if self.slots.is_empty() {
            return;
        }
        let (mut starts, mut count, mut at) = ([0u32; MOST_LABELS], 0, start);
        while at < end {
            if count == MOST_LABELS {
                return;
            }
            starts[count] = at as u32;
            count += 1;
            at += 1 + usize::from(self.out[at]);
        }
        // From the root on, so that the hash of an end is part of that of the whole (FNV-1a).
        let (mut hashes, mut hash, mut upper) = ([0u32; MOST_LABELS], 0x811c_9dc5_u32, end);
        for at in (0..count).rev() {
            let lower = starts[at] as usize;
            for byte in &self.out[lower..upper] {
                hash = (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
            }
            (hashes[at], upper) = (hash, lower);
        }
        for at in 0..count {
            let from = starts[at] as usize;
            if may_point && let Some(pointer) = self.find(hashes[at], from, end) {
                self.out.truncate(from);
                self.word(0xc000 | pointer);
                return;
            }
            self.note(hashes[at], from);
        }
    }

    fn note(&mut self, hash: u32, at: usize) {
        let offset = at - self.base;
        if offset > POINTER_LIMIT {
            return;
        }
        let mask = self.slots.len() - 1;
        for probe in 0..PROBES {
            let slot = &mut self.slots[(hash as usize + probe) & mask];
            if *slot == 0 {
                *slot = offset as u16;
                return;
            }
        }
    }

    /// Where the labels of `from..end` already stand as a whole name.
    fn find(&self, hash: u32, from: usize, end: usize) -> Option<u16> {
        let mask = self.slots.len() - 1;
        for probe in 0..PROBES {
            match self.slots[(hash as usize + probe) & mask] {
                0 => return None,
                offset if self.stands_at(offset.into(), from, end) => return Some(offset),
                _ => {}
            }
        }
        None
    }

    fn stands_at(&self, offset: usize, from: usize, end: usize) -> bool {
        let message = &self.out[self.base..];
        let wanted = &self.out[from..end];
        let (mut at, mut done) = (offset, 0);
        loop {
            match message[at] {
                // Our own pointers lead backwards to names written whole.
                length if length >= 0xc0 => {
                    at = usize::from(length & 0x3f) << 8 | usize::from(message[at + 1])
                }
                0 => return done == wanted.len(),
                length => {
                    let next = 1 + usize::from(length);
                    if wanted.get(done..done + next) != message.get(at..at + next) {
                        return false;
                    }
                    (at, done) = (at + next, done + next);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Dn, SoaData};
    use hickory_proto::op::{Message, ResponseCode};
    use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption};
    use hickory_proto::rr::{RData, RecordType};
    use std::sync::Arc;

    fn name(text: &str) -> Dn {
        Dn::whole(text).unwrap()
    }

    fn labels(text: &str) -> Vec<u8> {
        name(text).parts(&[])[0].to_vec()
    }

    fn head(name: &[u8], edns: Option<EdnsReply>) -> Head<'_> {
        Head {
            id: 0x1234,
            recursion_desired: true,
            recursion_available: false,
            checking_disabled: false,
            name,
            domain: &name[name.len() - 7..],
            kind: RecordType::SRV.into(),
            class: 1,
            edns,
        }
    }

    fn sample() -> Reply {
        let mut reply = Reply::own(ResponseCode::NoError);
        for i in 0..3 {
            let target = Dn::below(&format!("n{i}.node.dc1")).unwrap();
            reply.answers.push(Record {
                name: None,
                ttl: 5,
                data: Data::Srv {
                    priority: 1,
                    weight: 2,
                    port: 80 + i,
                    target: target.clone(),
                },
            });
            reply.additional.push(Record {
                name: Some(target),
                ttl: 5,
                data: Data::A([10, 0, 0, i as u8].into()),
            });
        }
        let soa = SoaData {
            mname: Dn::below("ns").unwrap(),
            rname: Dn::below("hostmaster").unwrap(),
            serial: 1,
            refresh: 2,
            retry: 3,
            expire: 4,
            minimum: 5,
        };
        reply.authority.push(Record {
            name: Some(Dn::domain()),
            ttl: 0,
            data: Data::Soa(Arc::new(soa)),
        });
        reply.additional.push(Record {
            name: None,
            ttl: 0,
            data: Data::txt(&[b'x'; 300]),
        });
        reply.additional.push(Record {
            name: None,
            ttl: 0,
            data: Data::Aaaa("2001:db8::1".parse().unwrap()),
        });
        reply.additional.push(Record {
            name: None,
            ttl: 0,
            data: Data::Cname(name("www.example.org")),
        });
        reply.additional.push(Record {
            name: Some(Dn::of_labels(&[])),
            ttl: 0,
            data: Data::Ns(Dn::of_labels(&[])),
        });
        reply.additional.push(Record {
            name: None,
            ttl: 0,
            data: Data::Ptr(name("n1.node.dc1.CONSUL")),
        });
        reply
    }

    fn bytes(head: &Head<'_>, reply: &Reply, compress: bool, before: &[u8]) -> Vec<u8> {
        let mut out = before.to_vec();
        write(head, reply, compress, &mut Scratch::default(), &mut out);
        out.split_off(before.len())
    }

    fn all(reply: &Reply) -> impl Iterator<Item = &Record> {
        reply
            .answers
            .iter()
            .chain(&reply.authority)
            .chain(&reply.additional)
    }

    #[test]
    fn another_decoder_reads_what_was_written() {
        let question = labels("_Web._tcp.SERVICE.CONSUL");
        let reply = sample();
        let edns = EdnsReply {
            size: 4096,
            dnssec_ok: true,
            subnet: Some(("10.1.2.0".parse().unwrap(), 24)),
        };
        let head = head(&question, Some(edns));
        let plain = bytes(&head, &reply, false, &[]);
        let small = bytes(&head, &reply, true, &[]);
        assert_eq!(plain.len(), plain_len(&head, all(&reply)));
        assert!(small.len() < plain.len());
        // Where the message begins makes no difference: TCP puts a length before it.
        assert_eq!(bytes(&head, &reply, true, &[9, 9]), small);
        assert_eq!(bytes(&head, &reply, false, &[9, 9]), plain);

        let one = Message::from_vec(&plain).unwrap();
        let two = Message::from_vec(&small).unwrap();
        assert_eq!(one, two);
        assert_eq!(two.metadata.id, 0x1234);
        assert!(
            two.metadata.authoritative
                && two.metadata.recursion_desired
                && !two.metadata.recursion_available
        );
        assert!(
            two.queries[0]
                .name()
                .eq_case(&Dn::of_labels(&question).to_name())
        );
        assert!(
            two.answers[0]
                .name
                .eq_case(&Dn::of_labels(&question).to_name())
        );
        assert_eq!(two.answers.len(), 3);
        let RData::SRV(srv) = &two.answers[2].data else {
            panic!("{:?}", two.answers[2])
        };
        assert_eq!((srv.priority, srv.weight, srv.port), (1, 2, 82));
        assert!(srv.target.eq_case(&name("n2.node.dc1.CONSUL").to_name()));
        let RData::SOA(soa) = &two.authorities[0].data else {
            panic!("no SOA")
        };
        assert_eq!(
            (soa.serial, soa.refresh, soa.retry, soa.expire, soa.minimum),
            (1, 2, 3, 4, 5)
        );
        let RData::TXT(txt) = &two.additionals[3].data else {
            panic!("no TXT")
        };
        assert_eq!(
            txt.txt_data.iter().map(|t| t.len()).collect::<Vec<_>>(),
            [255, 45]
        );
        let edns = two.edns.unwrap();
        assert_eq!((edns.max_payload(), edns.flags().dnssec_ok), (4096, true));
        let Some(EdnsOption::Subnet(subnet)) = edns.option(EdnsCode::Subnet) else {
            panic!("no subnet")
        };
        assert_eq!(
            (subnet.addr(), subnet.source_prefix(), subnet.scope_prefix()),
            ("10.1.2.0".parse().unwrap(), 24, 0)
        );
    }

    #[test]
    fn names_point_at_the_question_and_hosts_of_srv_are_whole() {
        let question = labels("web.service.consul");
        let mut reply = Reply::own(ResponseCode::NoError);
        let target = name("n1.node.dc1.consul");
        reply.answers.push(Record {
            name: None,
            ttl: 0,
            data: Data::Srv {
                priority: 1,
                weight: 1,
                port: 1,
                target: target.clone(),
            },
        });
        reply.additional.push(Record {
            name: Some(target),
            ttl: 0,
            data: Data::A([1, 2, 3, 4].into()),
        });
        let out = bytes(&head(&question, None), &reply, true, &[]);
        let host = b"\x02n1\x04node\x03dc1\x06consul\0";
        let answer_at = 12 + 20 + 4;
        assert_eq!(out[answer_at..answer_at + 2], [0xc0, 12]);
        let host_at = answer_at + 12 + 6;
        assert_eq!(&out[host_at..host_at + host.len()], host);
        let extra_at = host_at + host.len();
        assert_eq!(out[extra_at..extra_at + 2], [0xc0, host_at as u8]);
        assert_eq!(out.len(), extra_at + 16);
    }

    #[test]
    fn many_hosts_stay_small_and_right() {
        let question = labels("web.service.consul");
        let mut reply = Reply::own(ResponseCode::NoError);
        let hosts: Vec<Dn> = (0..700)
            .map(|i| name(&format!("host-{i:04}.node.dc1.consul")))
            .collect();
        for target in &hosts {
            let data = Data::Srv {
                priority: 1,
                weight: 1,
                port: 1,
                target: target.clone(),
            };
            reply.answers.push(Record {
                name: None,
                ttl: 0,
                data,
            });
            reply.additional.push(Record {
                name: Some(target.clone()),
                ttl: 0,
                data: Data::A([1; 4].into()),
            });
        }
        let out = bytes(&head(&question, None), &reply, true, &[]);
        // 700 answers of 45 bytes; an address is 16 with a pointer to its host. Pointers reach 16
        // KiB: half of the hosts stand beyond that, and take 26.
        assert!((45_500..46_500).contains(&out.len()), "{}", out.len());
        let message = Message::from_vec(&out).unwrap();
        for ((host, answer), extra) in hosts.iter().zip(&message.answers).zip(&message.additionals)
        {
            let RData::SRV(srv) = &answer.data else {
                panic!("{answer}")
            };
            assert_eq!(
                (Dn::from(&srv.target), Dn::from(&extra.name)),
                (host.clone(), host.clone())
            );
        }
        assert_eq!(message.additionals.len(), 700);
    }

    #[test]
    fn case_is_kept_so_names_of_other_case_do_not_point() {
        let question = labels("WEB.Service.consul");
        let mut reply = Reply::own(ResponseCode::NoError);
        reply.answers.push(Record {
            name: Some(name("web.service.consul")),
            ttl: 0,
            data: Data::A([1; 4].into()),
        });
        let message = Message::from_vec(&bytes(&head(&question, None), &reply, true, &[])).unwrap();
        assert!(
            message.answers[0]
                .name
                .eq_case(&name("web.service.consul").to_name())
        );
    }

    #[test]
    fn a_header_alone_keeps_id_opcode_and_rd() {
        assert_eq!(
            header_only(&[1, 2, 0x15, 0xff, 9], 4),
            Some([1, 2, 0x91, 4, 0, 0, 0, 0, 0, 0, 0, 0])
        );
        assert_eq!(header_only(&[1, 2, 3], 4), None);
    }
}
