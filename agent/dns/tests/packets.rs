//! Packets that are no proper questions, and any bytes at all.

mod common;

use common::{Catalog, ask, client, lines, responder, service};
use hickory_proto::op::{Message, ResponseCode};
use lictor_dns::{Responder, Settings, Transport};
use proptest::prelude::*;
use std::sync::{Arc, LazyLock};

fn target() -> Arc<Responder> {
    let (catalog, responder) = responder(Catalog::default(), Settings::default());
    catalog.parity_node();
    catalog.web(40, "dweb");
    let long = "x".repeat(63);
    catalog.service(&long, "host.example.org", service("l", "long", -1));
    catalog.service(&"y".repeat(64), "10.0.0.1", service("l", "long", 70_000));
    catalog.node("meta", "10.1.1.1", &[("k", &"v".repeat(500)), ("`=", "`")]);
    responder
}

async fn send(responder: &Responder, packet: &[u8]) -> Option<Vec<u8>> {
    responder.respond(packet, client(), Transport::Udp).await
}

#[tokio::test]
async fn malformed_packets_get_formerr_or_silence() {
    let responder = target();
    let good = ask("dweb.service.consul", "A").bytes();
    let with = |at: usize, byte: u8| {
        let mut packet = good.clone();
        packet[at] = byte;
        packet
    };
    for silent in [&[][..], &good[..11], &with(2, 0x81)] {
        assert_eq!(send(&responder, silent).await, None);
    }
    let formerr = [0x12, 0x67, 0x81, 0x01, 0, 0, 0, 0, 0, 0, 0, 0];
    for (what, packet) in [
        ("no question", with(5, 0)),
        ("two questions", with(5, 2)),
        ("a question cut off", good[..20].to_vec()),
        ("records announced and missing", with(11, 1)),
        ("a label that never ends", with(12, 0x3f)),
        (
            "a pointer to itself",
            [&good[..12], &[0xc0, 12, 0, 1, 0, 1]].concat(),
        ),
        ("sixty thousand questions", with(4, 0xff)),
    ] {
        assert_eq!(
            send(&responder, &packet).await.as_deref(),
            Some(&formerr[..]),
            "{what}"
        );
    }
    // An opcode that is not ours: the header comes back alone.
    let status = send(&responder, &with(2, 0x11)).await.unwrap();
    assert_eq!(status, [0x12, 0x67, 0x91, 0x04, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(responder.stats().malformed, 11);
    assert!(
        send(&responder, &[&good[..], b"trailing"].concat())
            .await
            .is_some()
    );
}

#[tokio::test]
async fn a_newer_edns_is_told_which_one_we_speak() {
    let responder = target();
    let mut packet = ask("dweb.service.consul", "A").edns(1232).bytes();
    let opt = packet.len() - 11;
    packet[opt + 6] = 1;
    let message = Message::from_vec(&send(&responder, &packet).await.unwrap()).unwrap();
    // BADVERS; as a number, because it shares that with BADSIG.
    assert_eq!(u16::from(message.metadata.response_code), 16);
    assert_eq!(message.edns.unwrap().version(), 0);
}

#[tokio::test]
async fn names_of_any_bytes_are_names_that_do_not_exist() {
    let responder = target();
    let mut packet = ask("AAAA.service.consul", "A").bytes();
    packet[13..17].copy_from_slice(&[0xff, 0, b'.', 0x80]);
    let message = Message::from_vec(&send(&responder, &packet).await.unwrap()).unwrap();
    assert_eq!(message.metadata.response_code, ResponseCode::NXDomain);
}

#[tokio::test]
async fn what_dns_cannot_carry_is_left_out() {
    let responder = target();
    // One node's name is a byte too long for a label; the other's address is a name.
    let hosts = ask("long.service.consul", "SRV").lines(&responder).await;
    assert_eq!(
        hosts,
        [
            "NoError aa rd",
            "ans long.service.consul. 0 SRV 1 1 0 host.example.org."
        ]
    );
    let addresses = ask("long.service.consul", "A").lines(&responder).await;
    assert_eq!(
        addresses,
        ["NoError aa rd", "ans long.service.consul. 0 A 10.0.0.1"]
    );
    let texts = ask("meta.node.consul", "TXT")
        .edns(4096)
        .send(&responder)
        .await;
    assert_eq!(texts.answers.len(), 2, "{:?}", lines(&texts));
}

static TARGET: LazyLock<Arc<Responder>> = LazyLock::new(target);

fn check(packet: &[u8], transport: Transport) -> Result<(), TestCaseError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let Some(answer) = runtime.block_on(TARGET.respond(packet, client(), transport)) else {
        return Ok(());
    };
    let message = Message::from_vec(&answer).map_err(|e| TestCaseError::fail(e.to_string()))?;
    prop_assert_eq!(message.metadata.id.to_be_bytes(), [packet[0], packet[1]]);
    prop_assert!(answer[2] & 0x80 != 0);
    if transport == Transport::Udp {
        let asked = Message::from_vec(packet)
            .ok()
            .and_then(|m| m.edns)
            .map_or(512, |e| e.max_payload());
        let single = message.answers.len() == 1;
        prop_assert!(
            answer.len() <= usize::from(asked.max(512)) || single,
            "{} bytes",
            answer.len()
        );
    }
    Ok(())
}

const NAMES: [&str; 22] = [
    "dweb.service.consul",
    "t1.dweb.service.dc1.consul",
    "_dweb._tcp.service.consul",
    "_dweb._all.consul",
    "long.service.consul",
    "none.service.consul",
    "dweb.service.dc9.consul",
    "web.connect.consul",
    "parity-node.node.consul",
    "meta.node.dc1.dc.consul",
    "0a630001.addr.consul",
    "20010db8000000000000000000000005.addr.dc1.consul",
    "my.query.consul",
    "web.virtual.consul",
    "web.ingress.consul",
    "consul",
    "service.consul",
    "1.0.20.10.in-addr.arpa",
    "x.ip6.arpa",
    "arpa",
    "example.org",
    "consul.service.consul",
];

/// Labels of names that mean something, as they are or with others between them.
fn labels() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let name = proptest::sample::select(&NAMES[..]);
    let name = name.prop_map(|name| {
        name.split('.')
            .map(|l| l.as_bytes().to_vec())
            .collect::<Vec<_>>()
    });
    let strange = proptest::collection::vec(
        (
            any::<usize>(),
            proptest::collection::vec(any::<u8>(), 1..63),
        ),
        0..3,
    );
    (name, strange).prop_map(|(mut labels, strange)| {
        for (at, label) in strange {
            labels.insert(at % (labels.len() + 1), label);
        }
        labels
    })
}

#[test]
fn every_name_with_every_type() {
    for name in NAMES {
        for kind in (0..=260).chain([0x1234, 0xfffe, 0xffff]) {
            for transport in [Transport::Udp, Transport::Tcp] {
                let mut question = ask(name, "A");
                question.kind = kind.into();
                check(&question.bytes(), transport).unwrap();
                check(&question.edns(1232).bytes(), transport).unwrap();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2048, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes(packet in proptest::collection::vec(any::<u8>(), 0..600), tcp: bool) {
        check(&packet, if tcp { Transport::Tcp } else { Transport::Udp })?;
    }

    #[test]
    fn any_name_and_type(
        labels in labels(),
        kind in prop_oneof![any::<u16>(), proptest::sample::select(&[1u16, 2, 5, 6, 12, 16, 28, 33, 255, 252][..])],
        class: u16,
        flags: u16,
        edns in proptest::option::of((any::<u16>(), any::<u32>(), proptest::collection::vec(any::<u8>(), 0..40))),
        tcp: bool,
    ) {
        let mut packet = vec![7, 9];
        packet.extend((flags & 0x7fff & !0x7800).to_be_bytes());
        packet.extend([0, 1, 0, 0, 0, 0, 0, u8::from(edns.is_some())]);
        for label in &labels {
            packet.push(label.len() as u8);
            packet.extend(label);
        }
        packet.push(0);
        packet.extend(kind.to_be_bytes());
        packet.extend(class.to_be_bytes());
        if let Some((size, ttl, options)) = edns {
            packet.extend([0, 0, 41]);
            packet.extend(size.to_be_bytes());
            packet.extend(ttl.to_be_bytes());
            packet.extend((options.len() as u16).to_be_bytes());
            packet.extend(options);
        }
        check(&packet, if tcp { Transport::Tcp } else { Transport::Udp })?;
    }

    #[test]
    fn a_good_packet_with_some_bytes_changed(
        changes in proptest::collection::vec((0usize..80, any::<u8>()), 1..6),
        cut in 12usize..80,
    ) {
        let mut packet = ask("_dweb._tcp.service.consul", "SRV").edns(1232).bytes();
        for (at, byte) in changes {
            let length = packet.len();
            packet[at % length] = byte;
        }
        packet.truncate(cut);
        check(&packet, Transport::Udp)?;
    }
}
