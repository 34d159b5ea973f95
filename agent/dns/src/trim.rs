//! What fits into an answer: Consul's limits by count and by size.

use crate::encode::{Head, Scratch, plain_len, write_parts};
use crate::record::{Data, Dn, Record, Reply};
use crate::respond::Transport;
use hickory_proto::rr::RecordType;
use std::collections::{HashMap, HashSet};

/// The size of a datagram where the client names none (RFC 1035, 4.2.1).
pub const PLAIN_UDP: usize = 512;
/// The most answers of a datagram of that size, whatever the settings say.
pub const MOST_PLAIN_UDP: usize = 8;
/// The largest datagram: 65,535 bytes without the headers of IPv4 with all its options and UDP.
pub const LARGEST_UDP: usize = 65_467;
/// Kept free in datagrams, as Consul does.
const UDP_MARGIN: usize = 8;
/// The largest message over TCP.
pub const LARGEST_TCP: usize = 65_523;
/// The most answers over TCP: more would not fit, however well compressed.
const MOST_TCP: usize = 4096;
/// The same for SRV records.
const MOST_TCP_SRV: usize = 1024;

/// How much an answer may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The number of answers.
    pub answers: usize,
    /// Bytes.
    pub size: usize,
    /// Whether an answer cut by number is measured with its names in full: whatever writes them
    /// out again on its way to the client then still fits.
    pub plain_after_cut: bool,
    /// Bytes of that which stay free.
    pub margin: usize,
}

impl Limits {
    /// The limits of a question. `size` is what its EDNS record offers (RFC 6891).
    pub fn of(
        transport: Transport,
        kind: RecordType,
        size: Option<u16>,
        udp_answer_limit: usize,
    ) -> Limits {
        match (transport, size.map(usize::from)) {
            (Transport::Tcp, _) => {
                let answers = if kind == RecordType::SRV {
                    MOST_TCP_SRV
                } else {
                    MOST_TCP
                };
                Limits {
                    answers,
                    size: LARGEST_TCP,
                    plain_after_cut: false,
                    margin: 0,
                }
            }
            (Transport::Udp, Some(size)) if size > PLAIN_UDP => {
                // Not even bare addresses would be more.
                Limits {
                    answers: size / 12,
                    size: size.min(LARGEST_UDP),
                    plain_after_cut: false,
                    margin: UDP_MARGIN,
                }
            }
            (Transport::Udp, _) => {
                let limit = if udp_answer_limit == 0 {
                    MOST_PLAIN_UDP
                } else {
                    udp_answer_limit
                };
                Limits {
                    answers: limit.min(MOST_PLAIN_UDP),
                    size: PLAIN_UDP,
                    plain_after_cut: true,
                    margin: UDP_MARGIN,
                }
            }
        }
    }

    /// How many answers are worth making: one more than fits tells that something was left out.
    pub fn worth_making(&self) -> usize {
        self.answers + 1
    }
}

/// Writes a reply that keeps to the limits, and says whether answers were left out. The reply
/// itself is cut, too.
pub fn write(
    head: &Head<'_>,
    reply: &mut Reply,
    limits: Limits,
    compress: bool,
    scratch: &mut Scratch,
    out: &mut Vec<u8>,
) -> bool {
    let base = out.len();
    let before = reply.answers.len();
    let budget = limits.size.saturating_sub(limits.margin);
    let mut plain = !compress;
    if before > limits.answers {
        reply.answers.truncate(limits.answers);
        reply.additional = synced(&reply.answers, &reply.additional)
            .into_iter()
            .cloned()
            .collect();
        plain |= limits.plain_after_cut;
        if plain && plain_len(head, all(reply)) > budget {
            shrink(head, reply, budget, true, scratch);
        }
    }
    crate::encode::write(head, reply, compress, scratch, out);
    if out.len() - base > budget {
        shrink(head, reply, budget, plain, scratch);
        out.truncate(base);
        crate::encode::write(head, reply, compress, scratch, out);
        // What only decorates a single answer gives way; the answer itself is sent whatever its
        // size, as Consul does.
        while out.len() - base > limits.size && !reply.additional.is_empty() {
            let keep = reply.additional.len() / 2;
            reply.additional.truncate(keep);
            out.truncate(base);
            crate::encode::write(head, reply, compress, scratch, out);
        }
    }
    reply.answers.len() < before
}

fn all(reply: &Reply) -> impl Iterator<Item = &Record> {
    reply
        .answers
        .iter()
        .chain(&reply.authority)
        .chain(&reply.additional)
}

/// Leaves out what does not fit: first the authority section, then answers from the end. The
/// first answer stays.
fn shrink(head: &Head<'_>, reply: &mut Reply, budget: usize, plain: bool, scratch: &mut Scratch) {
    if reply.answers.is_empty() {
        return;
    }
    reply.authority.clear();
    let mut bytes = Vec::new();
    let mut fits = |count: usize| {
        let answers = &reply.answers[..count];
        let additional = synced(answers, &reply.additional);
        let size = if plain {
            plain_len(head, answers.iter().chain(additional.iter().copied()))
        } else {
            bytes.clear();
            write_parts(
                head,
                reply,
                answers,
                &[],
                additional.iter().copied(),
                true,
                scratch,
                &mut bytes,
            );
            bytes.len()
        };
        size <= budget
    };
    // The most that fits lies in low..=high: the size grows with the count.
    let (mut low, mut high) = (1, reply.answers.len());
    while low < high {
        let middle = (low + high).div_ceil(2);
        if fits(middle) {
            low = middle
        } else {
            high = middle - 1
        }
    }
    reply.answers.truncate(low);
    reply.additional = synced(&reply.answers, &reply.additional)
        .into_iter()
        .cloned()
        .collect();
}

/// The additional records that answers still need: the first of each host of an SRV record, and
/// what its CNAMEs lead to. Answers of other types need none.
fn synced<'r>(answers: &[Record], additional: &'r [Record]) -> Vec<&'r Record> {
    if additional.is_empty() {
        return Vec::new();
    }
    let mut first: HashMap<&Dn, &'r Record> = HashMap::with_capacity(additional.len());
    for record in additional {
        if let Some(name) = &record.name {
            first.entry(name).or_insert(record);
        }
    }
    let mut done = HashSet::new();
    let mut out = Vec::new();
    for answer in answers {
        let Data::Srv { target, .. } = &answer.data else {
            continue;
        };
        let mut target = target;
        while done.insert(target.clone()) {
            let Some(record) = first.get(target) else {
                break;
            };
            out.push(*record);
            match &record.data {
                Data::Cname(next) => target = next,
                _ => break,
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::op::ResponseCode;

    fn name(text: &str) -> Dn {
        Dn::whole(text).unwrap()
    }

    fn a(count: usize) -> Reply {
        let mut reply = Reply::own(ResponseCode::NoError);
        for i in 0..count {
            let ip = std::net::Ipv4Addr::from_bits(0x0a00_0000 + i as u32);
            reply.answers.push(Record {
                name: None,
                ttl: 0,
                data: Data::A(ip),
            });
        }
        reply
    }

    fn srv(count: usize, with_text: bool) -> Reply {
        let mut reply = Reply::own(ResponseCode::NoError);
        for i in 0..count {
            let target = name(&format!("a-node-with-a-name-{i:05}.node.dc1.consul"));
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
            let owner = Some(target);
            reply.additional.push(Record {
                name: owner.clone(),
                ttl: 0,
                data: Data::A([10, 0, 0, 1].into()),
            });
            if with_text {
                reply.additional.push(Record {
                    name: owner,
                    ttl: 0,
                    data: Data::txt(b"k=v"),
                });
            }
        }
        reply
    }

    struct Sent {
        answers: usize,
        additional: usize,
        size: usize,
        cut: bool,
    }

    fn send(
        mut reply: Reply,
        transport: Transport,
        kind: RecordType,
        size: Option<u16>,
        limit: usize,
    ) -> Sent {
        let question = b"\x04dbig\x07service\x06consul";
        let head = Head {
            id: 1,
            recursion_desired: true,
            recursion_available: false,
            checking_disabled: false,
            name: question,
            domain: b"\x06consul",
            kind: kind.into(),
            class: 1,
            edns: size.map(|size| crate::encode::EdnsReply {
                size,
                dnssec_ok: false,
                subnet: None,
            }),
        };
        let mut out = Vec::new();
        let limits = Limits::of(transport, kind, size, limit);
        let cut = write(
            &head,
            &mut reply,
            limits,
            true,
            &mut Scratch::default(),
            &mut out,
        );
        assert!(
            out.len() <= limits.size || reply.answers.len() == 1,
            "{} bytes",
            out.len()
        );
        Sent {
            answers: reply.answers.len(),
            additional: reply.additional.len(),
            size: out.len(),
            cut,
        }
    }

    #[test]
    fn small_datagrams_hold_a_few_answers() {
        for (limit, answers) in [(3, 3), (2, 2), (1, 1), (8, 8), (100, 8), (0, 8)] {
            let sent = send(a(60), Transport::Udp, RecordType::A, None, limit);
            assert_eq!((sent.answers, sent.cut), (answers, true), "limit {limit}");
        }
        // An offer of 512 bytes is none.
        assert_eq!(
            send(a(60), Transport::Udp, RecordType::A, Some(512), 3).answers,
            3
        );
        let whole = send(a(3), Transport::Udp, RecordType::A, None, 3);
        assert_eq!((whole.answers, whole.cut), (3, false));
    }

    #[test]
    fn what_was_cut_by_number_must_fit_uncompressed() {
        let sent = send(srv(8, false), Transport::Udp, RecordType::SRV, None, 8);
        assert_eq!((sent.answers, sent.additional, sent.cut), (6, 6, true));
        assert!(sent.size <= 504);
        // Nine are cut to eight, and these measured in full: 12 + 25 + n (21 + 10 + 6 + 45 + 45 + 14).
        let sent = send(srv(9, false), Transport::Udp, RecordType::SRV, None, 8);
        assert_eq!((sent.answers, sent.additional, sent.cut), (3, 3, true));
    }

    #[test]
    fn edns_lifts_the_limit_by_number() {
        let sent = send(a(60), Transport::Udp, RecordType::A, Some(1400), 3);
        assert_eq!((sent.answers, sent.cut), (60, false));
        let sent = send(a(200), Transport::Udp, RecordType::A, Some(1400), 3);
        assert!(
            sent.cut && sent.size <= 1392 && sent.size > 1392 - 16,
            "{}",
            sent.size
        );
        let sent = send(
            srv(200, true),
            Transport::Udp,
            RecordType::SRV,
            Some(1232),
            3,
        );
        assert!(sent.cut && sent.size <= 1224);
        assert_eq!(sent.answers, sent.additional);
    }

    #[test]
    fn tcp_holds_what_tcp_can() {
        let sent = send(a(60), Transport::Tcp, RecordType::A, None, 3);
        assert_eq!((sent.answers, sent.cut), (60, false));
        let sent = send(a(5000), Transport::Tcp, RecordType::A, None, 3);
        assert!(
            sent.cut && sent.size <= LARGEST_TCP && sent.answers > 4090,
            "{}",
            sent.answers
        );
        let sent = send(srv(1100, false), Transport::Tcp, RecordType::SRV, None, 3);
        assert!(sent.cut && sent.size <= LARGEST_TCP);
        assert_eq!(sent.answers, sent.additional);
    }

    #[test]
    fn the_authority_section_goes_first() {
        let mut reply = a(30);
        for _ in 0..3 {
            reply.authority.push(Record {
                name: None,
                ttl: 0,
                data: Data::Ns(name("n1.node.dc1.consul")),
            });
        }
        // 12 + 25 + 11 + 30 * 16 = 528 without, 624 with it.
        let sent = send(reply, Transport::Udp, RecordType::A, Some(540), 3);
        assert_eq!((sent.answers, sent.cut), (30, false));
    }

    #[test]
    fn one_answer_is_always_sent_but_not_its_decoration() {
        let mut reply = a(1);
        for _ in 0..64 {
            reply.additional.push(Record {
                name: None,
                ttl: 0,
                data: Data::txt(&[b'x'; 200]),
            });
        }
        let sent = send(reply, Transport::Udp, RecordType::A, None, 3);
        assert_eq!((sent.answers, sent.cut), (1, false));
        assert!(sent.size <= 512 && sent.additional < 3);

        let mut reply = a(0);
        reply.answers.push(Record {
            name: None,
            ttl: 0,
            data: Data::txt(&[b'x'; 600]),
        });
        assert_eq!(
            send(reply, Transport::Udp, RecordType::TXT, None, 3).answers,
            1
        );
    }

    #[test]
    fn cnames_of_hosts_are_followed_once() {
        let mut reply = a(0);
        let (one, two) = (name("one.example.org"), name("two.example.org"));
        let target = one.clone();
        reply.answers.push(Record {
            name: None,
            ttl: 0,
            data: Data::Srv {
                priority: 1,
                weight: 1,
                port: 1,
                target,
            },
        });
        reply.additional.push(Record {
            name: Some(one.clone()),
            ttl: 0,
            data: Data::Cname(two.clone()),
        });
        reply.additional.push(Record {
            name: Some(two),
            ttl: 0,
            data: Data::Cname(one),
        });
        assert_eq!(synced(&reply.answers, &reply.additional).len(), 2);
    }
}
