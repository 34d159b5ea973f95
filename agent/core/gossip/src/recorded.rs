//! Reads what real peers wrote, and writes it again.

use std::collections::BTreeMap;

use crate::keyring::Keyring;
use crate::msgpack::{Reader, Value, decode, tagged};
use crate::packet::message::{
    Accusation, Ack, Alive, IndirectPing, Nack, NodeState, Ping, PushPullHeader,
};
use crate::packet::{Codec, decompress, kind};
use crate::random::{NonceSource, Seed};
use crate::serf::{message as serf, message::kind as serf_kind};
use crate::testing::{hex, unhex};

/// How many messages of each kind were read.
type Seen = BTreeMap<&'static str, usize>;

/// Reads a body, and checks that it is written again in the same bytes.
fn same<T: Value>(tag: u8, message: &[u8]) -> T {
    let value: T =
        decode(&message[1..]).unwrap_or_else(|error| panic!("{error}: {}", hex(message)));
    assert_eq!(hex(&tagged(tag, &value)), hex(message));
    value
}

/// Reads a body that holds a signed number: it is written again with another encoding and one meaning.
fn alike<T: Value + PartialEq + std::fmt::Debug>(message: &[u8]) -> T {
    let value: T =
        decode(&message[1..]).unwrap_or_else(|error| panic!("{error}: {}", hex(message)));
    assert_eq!(decode::<T>(&tagged(0, &value)[1..]).as_ref(), Ok(&value));
    value
}

fn serf_message(message: &[u8], seen: &mut Seen) {
    let what = match message[0] {
        serf_kind::LEAVE => {
            same::<serf::LeaveIntent>(message[0], message);
            "leave"
        }
        serf_kind::JOIN => {
            same::<serf::JoinIntent>(message[0], message);
            "join"
        }
        serf_kind::USER_EVENT => {
            let event: serf::UserEvent = same(message[0], message);
            assert_eq!(
                (&*event.name, &*event.payload.0, event.coalesce),
                ("deploy", &b"payload of the event"[..], true)
            );
            "event"
        }
        serf_kind::QUERY => {
            let query: serf::QueryMessage = alike(message);
            assert_eq!(query.source_node, "alpha");
            if query.name == "who" {
                assert_eq!(
                    (query.timeout, query.relay_factor, query.filters.len()),
                    (1_000_000_000, 2, 2)
                );
                same::<Vec<String>>(0, &query.filters[0].0);
                let filter: serf::TagFilter = same(1, &query.filters[1].0);
                assert_eq!((&*filter.tag, &*filter.expr), ("role", "^w"));
            } else {
                alike::<serf::KeyRequest>(&query.payload.0);
            }
            "query"
        }
        serf_kind::QUERY_RESPONSE => {
            let response: serf::QueryResponse = same(message[0], message);
            if response.payload.0.first() == Some(&serf_kind::KEY_RESPONSE) {
                let keys: serf::KeyResponse = same(serf_kind::KEY_RESPONSE, &response.payload.0);
                assert!(keys.result);
                "key response"
            } else if response.flags == serf::FLAG_ACK {
                "query ack"
            } else {
                assert_eq!(
                    response.payload.0,
                    format!("answer of {}", response.from).into_bytes()
                );
                "response"
            }
        }
        serf_kind::RELAY => {
            let mut reader = Reader::new(&message[1..]);
            let header = serf::RelayHeader::read(&mut reader).expect("a relay header");
            assert_eq!((header.addr.port, &*header.name), (7946, "alpha"));
            serf_message(reader.rest(), &mut Seen::new());
            "relay"
        }
        other => panic!("unknown message {other}"),
    };
    *seen.entry(what).or_default() += 1;
}

fn packet(codec: &Codec, bytes: &[u8], seen: &mut Seen) {
    let parts = codec
        .open_packet(bytes)
        .unwrap_or_else(|error| panic!("{error}: {}", hex(bytes)));
    assert_eq!(parts.error, None);
    for message in parts.iter() {
        let what = match message[0] {
            kind::PING => {
                same::<Ping>(kind::PING, message);
                "ping"
            }
            kind::INDIRECT_PING => {
                same::<IndirectPing>(kind::INDIRECT_PING, message);
                "indirect ping"
            }
            kind::ACK => {
                let ack: Ack = same(kind::ACK, message);
                assert!(
                    ack.payload.0.is_empty()
                        || crate::coordinate::Coordinate::decode(&ack.payload.0).is_some()
                );
                "ack"
            }
            kind::NACK => {
                same::<Nack>(kind::NACK, message);
                "nack"
            }
            kind::SUSPECT | kind::DEAD => {
                same::<Accusation>(message[0], message);
                if message[0] == kind::SUSPECT {
                    "suspect"
                } else {
                    "dead"
                }
            }
            kind::ALIVE => {
                let alive: Alive = same(kind::ALIVE, message);
                let tags = crate::serf::decode_tags(&alive.meta);
                match tags.get("long") {
                    Some(long) => assert!(long.len() > 31 && tags["role"] == "db"),
                    None => assert_eq!(tags["n"], *alive.node),
                }
                "alive"
            }
            kind::USER => {
                serf_message(&message[1..], seen);
                continue;
            }
            other => panic!("unknown message {other}"),
        };
        *seen.entry(what).or_default() += 1;
    }
}

/// One direction of a stream; only the side that dials sends the label.
fn stream(codec: &Codec, bytes: &[u8], seen: &mut Seen) {
    let bytes = if bytes[0] == kind::LABEL {
        codec.strip_label(bytes).expect("our label")
    } else {
        bytes
    };
    let mut plain = bytes.to_vec();
    if plain[0] == kind::ENCRYPT {
        plain = codec
            .open_stream(&bytes[..5], &bytes[5..])
            .expect("sealed with our key");
    }
    if plain[0] == kind::COMPRESS {
        plain = decompress(&plain[1..], 1 << 20).expect("a whole stream");
    }
    match plain[0] {
        kind::PUSH_PULL => {}
        kind::PING => {
            same::<Ping>(kind::PING, &plain);
            return;
        }
        kind::ACK => {
            assert!(same::<Ack>(kind::ACK, &plain).payload.0.is_empty());
            return;
        }
        other => panic!("unknown stream {other}"),
    }
    let mut reader = Reader::new(&plain[1..]);
    let header = PushPullHeader::read(&mut reader).expect("a header");
    for _ in 0..header.nodes {
        let node = NodeState::read(&mut reader).expect("a node");
        assert_eq!((node.state, node.vsn.0), (0, [1, 5, 2, 2, 5, 4]));
    }
    assert_eq!(
        reader.rest().len(),
        usize::try_from(header.user_state_len).unwrap()
    );
    let state: serf::PushPull = alike(reader.rest());
    assert!(state.ltime > 0 && state.status.len() == usize::try_from(header.nodes).unwrap());
    *seen.entry("exchange").or_default() += 1;
}

fn read(file: &str, label: &str, keys: &[&[u8]]) -> Seen {
    let nonces = NonceSource::new(&Seed::from_number(1));
    let ring = Keyring::new(keys.iter().copied()).unwrap();
    let codec = Codec::new(label.as_bytes().to_vec(), ring, true, true, nonces);
    let mut seen = Seen::new();
    for line in file.lines() {
        match line.split_once(' ') {
            Some(("udp", bytes)) => packet(&codec, &unhex(bytes), &mut seen),
            Some(("tcp", bytes)) => stream(&codec, &unhex(bytes), &mut seen),
            _ => panic!("unknown line {line}"),
        }
    }
    seen
}

#[test]
fn conversations_of_real_members() {
    let common = [
        "ping",
        "indirect ping",
        "ack",
        "nack",
        "suspect",
        "dead",
        "alive",
        "leave",
        "join",
        "event",
        "query",
        "query ack",
        "response",
        "relay",
        "exchange",
    ];
    let key: Vec<u8> = (0..32).collect();
    for (file, label, keys) in [
        (include_str!("../tests/recorded/plain.txt"), "", &[][..]),
        (
            include_str!("../tests/recorded/compressed.txt"),
            "",
            &[][..],
        ),
        (
            include_str!("../tests/recorded/sealed.txt"),
            "lab1",
            &[&key[..]][..],
        ),
    ] {
        let seen = read(file, label, keys);
        for what in common {
            assert!(seen.contains_key(what), "no {what} in {label:?}: {seen:?}");
        }
        assert_eq!(seen.contains_key("key response"), !keys.is_empty());
        assert_eq!(seen["exchange"], 4);
    }
}
