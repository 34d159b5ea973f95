use super::message::{Alive, NodeState, Ping, PushPullHeader, Versions};
use super::*;
use crate::msgpack::{RawIp, Reader, Value};
use crate::random::Seed;
use crate::testing::{hex, unhex};
use proptest::prelude::*;

fn codec(label: &str, keys: &[&[u8]]) -> Codec {
    let nonces = NonceSource::new(&Seed::from_number(1));
    Codec::new(
        label.as_bytes().to_vec(),
        Keyring::new(keys.iter().copied()).unwrap(),
        true,
        true,
        nonces,
    )
}

fn key(len: u8) -> Vec<u8> {
    (0..len).collect()
}

fn messages(codec: &Codec, packet: &str) -> Vec<String> {
    codec
        .open_packet(&unhex(packet))
        .unwrap()
        .iter()
        .map(hex)
        .collect()
}

const PING: &str = "0082a44e6f6465a26e31a55365714e6f2a";

#[test]
fn layers_as_recorded() {
    let ping = msgpack::tagged(
        kind::PING,
        &Ping {
            node: "n1".into(),
            seq: 42,
            ..Ping::default()
        },
    );
    assert_eq!(hex(&ping), PING);
    let mut plain = codec("", &[]);
    assert_eq!(hex(&plain.seal_packet(&ping, false, false)), PING);
    let checked = "0cd99326620082a44e6f6465a26e31a55365714e6f2a";
    assert_eq!(hex(&plain.seal_packet(&ping, true, false)), checked);
    assert_eq!(messages(&plain, checked), [PING]);
    let packed = "0982a4416c676f00a3427566b500010822e5e40d9932a2dcc42835a54c9c822a0202";
    assert_eq!(messages(&plain, packed), [PING]);
    assert_eq!(hex(&compress(&ping)), packed);
    let two = "0702001100110082a44e6f6465a26e31a55365714e6f2a0082a44e6f6465a26e31a55365714e6f2a";
    assert_eq!(hex(&compound(&[&ping, &ping])), two);
    assert_eq!(messages(&plain, two), [PING, PING]);
    let labelled = "f4046c61623101a0a1a2a3a4a5a6a7a8a9aaabe69ad8632aaf671d0c542280620b8eb15ae86822639b8a0b2886e86adc46681ab0";
    assert_eq!(messages(&codec("lab1", &[&key(32)]), labelled), [PING]);
    assert_eq!(
        codec("lab2", &[&key(32)])
            .open_packet(&unhex(labelled))
            .unwrap_err(),
        PacketError::Label
    );
    assert_eq!(
        codec("", &[&key(32)])
            .open_packet(&unhex(labelled))
            .unwrap_err(),
        PacketError::Label
    );
    assert_eq!(
        codec("lab1", &[&key(16)])
            .open_packet(&unhex(labelled))
            .unwrap_err(),
        PacketError::NoKeyFits
    );
}

#[test]
fn streams_as_recorded() {
    for (label, text) in [
        (
            "",
            "0a0000002e01a0a1a2a3a4a5a6a7a8a9aaabe69ad8632aaf671d0c542280620b8eb15a786b8b75dd85ad94fc0a167b40480c33",
        ),
        (
            "lab1",
            "f4046c6162310a0000002e01a0a1a2a3a4a5a6a7a8a9aaabe69ad8632aaf671d0c542280620b8eb15a273cfd026b8bd4d3a76679301dd60e29",
        ),
    ] {
        let codec = codec(label, &[&key(32)]);
        let bytes = unhex(text);
        let (header, sealed) = codec.strip_label(&bytes).unwrap().split_at(5);
        assert_eq!(hex(&codec.open_stream(header, sealed).unwrap()), PING);
    }
}

#[test]
fn packets_captured_from_live_agents() {
    let plain = codec("", &[]);
    let gossip = "0c6dc9e53b0982a4416c676f00a3427566da009f000f0c00d0048011001408182215840c1939a4fe0038b06055123763c2c87113864e9a376e02906a52864e1858ff049192f3864d995177ca881145664c283ca49cbc2153a654183670d0842105e58d1c3acd3e281865658e1b53010a081050a08042860e214a3cc0c022468d1c3d821449d2a4aa7f8156b62c43534cce9d6548892939b4e8d1a44b9b3e8d3ab52a8200824a31a192a64d19913a79caa51b10";
    let alive_alpha = "0486a441646472a47f00070bab496e6361726e6174696f6e01a44d657461b0ff82a4726f6c65a3776562a26463a178a44e6f6465a5616c706861a4506f7274cd1f0aa356736ea6010502020505";
    let alive_beta = "0486a441646472a47f00070cab496e6361726e6174696f6e01a44d657461aaff81a4726f6c65a26462a44e6f6465a462657461a4506f7274cd1f0aa356736ea6010502020505";
    let join_beta = "080182a54c54696d6501a44e6f6465a462657461";
    assert_eq!(
        messages(&plain, gossip),
        [alive_alpha, alive_beta, join_beta]
    );
    let alive: Alive = msgpack::decode(&unhex(alive_alpha)[1..]).unwrap();
    assert_eq!(
        (&*alive.node, alive.addr, alive.port),
        ("alpha", RawIp::V4([127, 0, 7, 11]), 7946)
    );
    assert_eq!(alive.vsn, Versions::ours(5));
    assert_eq!(hex(&msgpack::tagged(kind::ALIVE, &alive)), alive_alpha);

    let ping = "0085a44e6f6465a5616c706861a55365714e6f01aa536f7572636541646472a47f00070caa536f757263654e6f6465a462657461aa536f75726365506f7274cd1f0a";
    let read: Ping = msgpack::decode(&unhex(ping)[1..]).unwrap();
    assert_eq!(
        (&*read.node, read.seq, &*read.source_node, read.source_port),
        ("alpha", 1, "beta", 7946)
    );
    assert_eq!(hex(&msgpack::tagged(kind::PING, &read)), ping);
}

#[test]
fn push_pull_as_recorded() {
    let bytes = unhex(
        "0683a44a6f696ec3a54e6f64657301ac5573657253746174654c656e0387a441646472a47f000001ab496e6361726e6174696f6e01a44d657461a2ff80a44e616d65a26e31a4506f7274cd1f0aa5537461746500a356736ea6010502020504616263",
    );
    let mut reader = Reader::new(&bytes[1..]);
    let header = PushPullHeader::read(&mut reader).unwrap();
    let node = NodeState::read(&mut reader).unwrap();
    assert_eq!(reader.rest(), b"abc");
    assert_eq!(
        (
            header.join,
            header.nodes,
            header.user_state_len,
            &*node.name
        ),
        (true, 1, 3, "n1")
    );
    let mut out = crate::msgpack::Writer::after(vec![kind::PUSH_PULL]);
    header.write(&mut out);
    node.write(&mut out);
    out.bytes.extend_from_slice(b"abc");
    assert_eq!(out.bytes, bytes);
}

#[test]
fn plaintext_beside_a_key() {
    let strict = codec("", &[&key(16)]);
    assert!(strict.open_packet(&unhex(PING)).is_err());
    let nonces = NonceSource::new(&Seed::from_number(1));
    let lenient = Codec::new(
        vec![],
        Keyring::new([key(16)]).unwrap(),
        false,
        false,
        nonces,
    );
    assert_eq!(messages(&lenient, PING), [PING]);
    assert_eq!(
        messages(
            &lenient,
            "01a0a1a2a3a4a5a6a7a8a9aaabaa049cf511ed56a8e44910532363fe0f792cc37e533bd50eb75c68f8dd64b85bc0"
        ),
        [PING]
    );
}

#[test]
fn a_cut_compound_gives_its_whole_parts() {
    let plain = codec("", &[]);
    let two = compound(&[unhex(PING), unhex(PING)]);
    let parts = plain.open_packet(&two[..two.len() - 1]).unwrap();
    assert_eq!(
        (parts.iter().count(), parts.error),
        (1, Some(PacketError::Short))
    );
    // An empty part does not spoil its neighbours.
    let parts = plain
        .open_packet(&compound(&[unhex(PING), vec![], unhex(PING)]))
        .unwrap();
    assert_eq!(
        (parts.iter().count(), parts.error),
        (2, Some(PacketError::Short))
    );
}

#[test]
fn a_changed_bit_under_a_checksum_drops_all() {
    let mut plain = codec("", &[]);
    let packet = plain.seal_packet(&unhex(PING), true, false);
    for bit in 8..packet.len() * 8 {
        let mut changed = packet.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(
            plain.open_packet(&changed).unwrap_err(),
            PacketError::Checksum
        );
    }
}

#[test]
fn bombs_are_defused() {
    let plain = codec("", &[]);
    let mut nested = unhex(PING);
    for _ in 0..20 {
        nested = compound(&[nested.clone(), unhex(PING)]);
    }
    assert_eq!(
        plain.open_packet(&nested).unwrap().error,
        Some(PacketError::Depth)
    );
    let zeros = compress(&vec![0; 4 << 20]);
    assert_eq!(
        plain.open_packet(&zeros).unwrap().error,
        Some(PacketError::TooLarge)
    );
    // The limit is shared by all parts of a packet.
    let half = compress(&vec![8; MAX_UNPACKED / 2]);
    let parts = plain
        .open_packet(&compound(&[&half, &half, &half]))
        .unwrap();
    assert_eq!(
        (parts.iter().count(), parts.error),
        (2, Some(PacketError::TooLarge))
    );
}

proptest! {
    #[test]
    fn packets_round_trip(message in proptest::collection::vec(any::<u8>(), 1..600), checksum: bool, smaller: bool, encrypt: bool, label in "[a-z]{0,9}") {
        // The first byte decides what a message is; a user message is opaque.
        let message = [&[kind::USER], &message[..]].concat();
        let key = key(32);
        let keys: &[&[u8]] = if encrypt { &[&key] } else { &[] };
        let mut codec = codec(&label, keys);
        let packet = codec.seal_packet(&message, checksum, smaller);
        prop_assert!(packet.len() <= message.len() + codec.overhead() + 5);
        let parts = codec.open_packet(&packet).unwrap();
        prop_assert_eq!(parts.iter().collect::<Vec<_>>(), [&message[..]]);
    }

    #[test]
    fn no_packet_panics(packet: Vec<u8>, first in 0_u8..14) {
        for codec in [codec("", &[]), codec("x", &[]), codec("", &[&key(16)])] {
            let _ = codec.open_packet(&packet);
            let _ = codec.open_packet(&[&[first], &packet[..]].concat());
        }
    }
}
