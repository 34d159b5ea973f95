use super::*;
use crate::message::*;
use lictor_wire::{Str, StrMap};
use proptest::prelude::*;
use std::collections::BTreeMap;

fn bytes(hex: &str) -> Vec<u8> {
    let digit = |b: u8| char::from(b).to_digit(16).unwrap() as u8;
    let pairs = hex.as_bytes().chunks(2);
    pairs.map(|p| digit(p[0]) << 4 | digit(p[1])).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Written and read alike.
fn both_ways<T>(hexes: &str, value: &T)
where
    T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug,
{
    assert_eq!(&from_slice::<T>(&bytes(hexes)).unwrap(), value);
    assert_eq!(hex(&to_vec(value).unwrap()), hexes);
}

/// Read; and what is written, with the fields that came later, reads the same.
fn read_as<T>(hexes: &str, value: &T)
where
    T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug,
{
    assert_eq!(&from_slice::<T>(&bytes(hexes)).unwrap(), value);
    assert_eq!(&from_slice::<T>(&to_vec(value).unwrap()).unwrap(), value);
}

// Captured between a Consul 1.4.4 server and its clients.

#[test]
fn headers_as_captured() {
    both_ways(
        "82a353657101ad536572766963654d6574686f64b4436174616c6f672e4e6f64655365727669636573",
        &RequestHeader {
            service_method: "Catalog.NodeServices".into(),
            seq: 1,
        },
    );
    both_ways(
        "83a54572726f72a0a353657101ad536572766963654d6574686f64b4436174616c6f672e4e6f64655365727669636573",
        &ResponseHeader {
            error: Str::new(),
            seq: 1,
            service_method: "Catalog.NodeServices".into(),
        },
    );
    both_ways("80", &Empty {});
}

fn entry() -> DirEntry {
    DirEntry {
        key: "foo/bar".into(),
        value: Bytes::from(&b"abc"[..]),
        ..DirEntry::default()
    }
}

#[test]
fn keys_as_captured() {
    read_as(
        "8caa416c6c6f775374616c65c2aa4461746163656e746572a3646331a34b6579a7666f6f2f626172a64d617841676500ac4d6178517565727954696d6500b04d61785374616c654475726174696f6e00ad4d696e5175657279496e64657800ae4d757374526576616c6964617465c2b152657175697265436f6e73697374656e74c2ac5374616c6549664572726f7200a5546f6b656ea0a85573654361636865c2",
        &KeyRequest {
            datacenter: "dc1".into(),
            key: "foo/bar".into(),
            options: QueryOptions::default(),
        },
    );
    read_as(
        "85b0436f6e73697374656e63794c6576656ca0a7456e74726965739187ab437265617465496e64657840a5466c61677300a34b6579a7666f6f2f626172a94c6f636b496e64657800ab4d6f64696679496e64657840a753657373696f6ea0a556616c7565a3616263a5496e64657840ab4b6e6f776e4c6561646572c3ab4c617374436f6e7461637400",
        &IndexedDirEntries {
            entries: vec![DirEntry {
                create_index: 64,
                modify_index: 64,
                ..entry()
            }],
            meta: QueryMeta {
                index: 64,
                known_leader: true,
                ..QueryMeta::default()
            },
        },
    );
    both_ways(
        "84aa4461746163656e746572a3646331a6446972456e7487ab437265617465496e64657800a5466c61677300a34b6579a7666f6f2f626172a94c6f636b496e64657800ab4d6f64696679496e64657800a753657373696f6ea0a556616c7565a3616263a24f70a3736574a5546f6b656ea0",
        &KvsRequest {
            datacenter: "dc1".into(),
            op: "set".into(),
            dir_ent: entry(),
            write: WriteRequest::default(),
        },
    );
    both_ways("c2", &false);
}

#[test]
fn the_catalog_as_captured() {
    let addresses: StrMap = [("lan", "127.0.7.62"), ("wan", "127.0.7.62")]
        .into_iter()
        .collect();
    read_as(
        "85b0436f6e73697374656e63794c6576656ca0a5496e6465783dab4b6e6f776e4c6561646572c3ab4c617374436f6e7461637400ac4e6f6465536572766963657382a44e6f646588a741646472657373aa3132372e302e372e3632ab437265617465496e6465783daa4461746163656e746572a3646331a24944da002466346432343331642d373861352d393133362d363238322d303431386131643935383430a44d657461c0ab4d6f64696679496e6465783da44e6f6465a4636c6931af546167676564416464726573736573c0a8536572766963657380",
        &IndexedNodeServices {
            node_services: Some(NodeServices {
                node: Some(Box::new(Node {
                    id: "f4d2431d-78a5-9136-6282-0418a1d95840".into(),
                    node: "cli1".into(),
                    address: "127.0.7.62".into(),
                    datacenter: "dc1".into(),
                    create_index: 61,
                    modify_index: 61,
                    ..Node::default()
                })),
                services: BTreeMap::new(),
            }),
            meta: QueryMeta {
                index: 61,
                known_leader: true,
                ..QueryMeta::default()
            },
        },
    );
    read_as(
        "8ba741646472657373aa3132372e302e372e3632a5436865636bc0a6436865636b73c0aa4461746163656e746572a3646331a24944da002466346432343331642d373861352d393133362d363238322d303431386131643935383430a44e6f6465a4636c6931a84e6f64654d65746182a47261636ba27231b6636f6e73756c2d6e6574776f726b2d7365676d656e74a0a753657276696365c0ae536b69704e6f6465557064617465c2af54616767656441646472657373657382a36c616eaa3132372e302e372e3632a377616eaa3132372e302e372e3632a5546f6b656ea0",
        &RegisterRequest {
            datacenter: "dc1".into(),
            id: "f4d2431d-78a5-9136-6282-0418a1d95840".into(),
            node: "cli1".into(),
            address: "127.0.7.62".into(),
            tagged_addresses: Some(addresses),
            node_meta: Some(
                [("rack", "r1"), ("consul-network-segment", "")]
                    .into_iter()
                    .collect(),
            ),
            ..RegisterRequest::default()
        },
    );
}

#[test]
fn times_as_captured() {
    let instant = |offset| Time {
        offset,
        ..Time::from_unix(1_795_218_967, 244_579_237)
    };
    for (hexes, time) in [
        ("01000000000000000000000000ffff", Time::default()),
        ("010000000e7791f70000000000ffff", Time::from_unix(0, 0)),
        ("010000000ee292d5170e93fba5ffff", instant(None)),
        ("010000000ee292d5170e93fba5003c", instant(Some(3600))),
        ("010000000ee292d5170e93fba5fed4", instant(Some(-5 * 3600))),
        ("010000000ee292d5170e93fba50000", instant(Some(0))),
    ] {
        both_ways(&format!("af{hexes}"), &time);
    }
    // Odd seconds take a byte more, east and west.
    for offset in [1172, -1172] {
        let odd = instant(Some(offset));
        let written = to_vec(&odd).unwrap();
        assert_eq!((written[0], written[1], written.len()), (0xb0, 2, 17));
        assert_eq!(from_slice::<Time>(&written).unwrap(), odd);
    }
    assert!(from_slice::<Time>(&[0xc0]).unwrap().is_zero());
    for wrong in ["a101", "a39502a6", "af030000000000000000000000ffff"] {
        assert!(from_slice::<Time>(&bytes(wrong)).is_err(), "{wrong}");
    }
}

#[test]
fn large_structs_are_large_maps_with_their_keys_in_order() {
    let written = to_vec(&RegisterRequest::default()).unwrap();
    assert_eq!(written[0], 0x8f);
    let written = to_vec(&HealthCheck::default()).unwrap();
    assert_eq!(hex(&written[..3]), "de0011");
    let read: serde_json::Map<String, serde_json::Value> = from_slice(&written).unwrap();
    let keys: Vec<&String> = read.keys().collect();
    assert_eq!(keys.len(), 17);
    assert!(keys.is_sorted(), "{keys:?}");
}

#[test]
fn unknown_keys_missing_keys_and_nil_are_no_trouble() {
    // {"Key": "k", "New": [{}, nil], "Datacenter": nil}
    let newer = "83a34b6579a16ba34e65779280c0aa4461746163656e746572c0";
    let want = KeyRequest {
        key: "k".into(),
        ..KeyRequest::default()
    };
    assert_eq!(from_slice::<KeyRequest>(&bytes(newer)).unwrap(), want);
    // Names count with their case.
    let lower = "81a36b6579a16b";
    assert_eq!(
        from_slice::<KeyRequest>(&bytes(lower)).unwrap(),
        KeyRequest::default()
    );
    assert_eq!(
        from_slice::<IndexedSessions>(&[0xc0]).unwrap(),
        IndexedSessions::default()
    );
    // A struct as an array, shorter or longer than ours.
    let header = RequestHeader {
        service_method: "M".into(),
        seq: 7,
    };
    for array in ["92a14d07", "93a14d0793c0c0c0"] {
        assert_eq!(from_slice::<RequestHeader>(&bytes(array)).unwrap(), header);
    }
    assert_eq!(
        from_slice::<KeyRequest>(&bytes("93a3646331a16ba174")).unwrap(),
        KeyRequest {
            datacenter: "dc1".into(),
            key: "k".into(),
            options: QueryOptions {
                token: "t".into(),
                ..QueryOptions::default()
            },
        }
    );
}

#[test]
fn what_is_wrong_is_said_as_go_says_it() {
    for (hexes, why) in [
        // A text for a duration.
        (
            "81ac4d6178517565727954696d65a3313073",
            "text for a duration",
        ),
        // -1 for an unsigned number.
        ("81ad4d696e5175657279496e646578ff", "negative"),
        // bin for a text.
        ("81a34b6579c4016b", "bin"),
        ("81a34b6579", "cut off"),
        ("a16b", "no map"),
        ("", "nothing"),
    ] {
        let error = from_slice::<KeyRequest>(&bytes(hexes))
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("codec.decoder:"), "{why}: {error}");
    }
    // str8 for a text, bin for bytes.
    assert_eq!(
        from_slice::<KeyRequest>(&bytes("81a34b6579d9016b"))
            .unwrap()
            .key,
        "k"
    );
    assert_eq!(
        from_slice::<DirEntry>(&bytes("81a556616c7565c4020001"))
            .unwrap()
            .value,
        Bytes::from(&[0, 1][..])
    );
}

#[test]
fn empty_bytes_are_nil_and_text_is_mended() {
    let written = to_vec(&DirEntry::default()).unwrap();
    assert!(hex(&written).ends_with("a556616c7565c0"));
    for hexes in ["81a556616c7565a0", "81a556616c7565c0"] {
        let entry: DirEntry = from_slice(&bytes(hexes)).unwrap();
        assert_eq!(entry.value, Bytes::default());
    }
    // Output of a program, cut inside a letter.
    let check: HealthCheck = from_slice(&bytes("81a64f7574707574a261c3")).unwrap();
    assert_eq!(check.output, "a\u{fffd}");
}

#[test]
fn free_form_maps_are_json() {
    let mut proxy = ConnectProxyConfig::default();
    let config = serde_json::json!({"a": [1, -1, 1.5, "text", null, true, {"b": {}}], "z": "y"});
    proxy.config = config.as_object().cloned();
    let written = to_vec(&proxy).unwrap();
    let back: ConnectProxyConfig = from_slice(&written).unwrap();
    // An empty list is nil, and the rest as it was.
    assert_eq!(back, proxy);
}

#[test]
fn input_cannot_make_more_of_itself() {
    // Lists that claim four thousand million values.
    for hexes in [
        "81a54368656373dd",
        "81a6436865636b73ddffffffff",
        "ddffffffff",
        "dfffffffff",
    ] {
        assert!(from_slice::<RegisterRequest>(&bytes(hexes)).is_err());
    }
    // A list of nothing but nil: some are taken, a million are not.
    let many = |n: u32| {
        let mut list = bytes("81a6436865636b73dd");
        list.extend_from_slice(&n.to_be_bytes());
        list.resize(list.len() + n as usize, 0xc0);
        list
    };
    assert_eq!(
        from_slice::<RegisterRequest>(&many(1000))
            .unwrap()
            .checks
            .len(),
        1000
    );
    let error = from_slice::<RegisterRequest>(&many(1_000_000)).unwrap_err();
    assert_eq!(error.to_string(), "codec.decoder: too many structs");
    // The same in a free-form map.
    let mut deep = bytes("81a6436f6e666967");
    deep.extend(bytes("81a161dd00100000"));
    deep.resize(deep.len() + (1 << 20), 0xc0);
    let error = from_slice::<ConnectProxyConfig>(&deep).unwrap_err();
    assert_eq!(error.to_string(), "codec.decoder: too many values");
    // And depth.
    let mut deep = bytes("81a6436f6e666967");
    for _ in 0..100_000 {
        deep.extend(bytes("81a161"));
    }
    let error = from_slice::<ConnectProxyConfig>(&deep)
        .unwrap_err()
        .to_string();
    assert_eq!(error, "codec.decoder: nested too deeply");
    assert!(
        from_slice::<ConnectProxyConfig>(&bytes(&format!("81a178{}", "91".repeat(5000)))).is_err()
    );
}

#[test]
fn a_map_needs_texts_as_keys() {
    let numbers: BTreeMap<u8, u8> = [(1, 2)].into_iter().collect();
    let error = to_vec(&numbers).unwrap_err().to_string();
    assert!(error.starts_with("codec.encoder:"), "{error}");
    // Maps of any type are in order, whatever order they are written in.
    let json = serde_json::json!({"b": 1, "a": 2, "B": 3});
    assert_eq!(hex(&to_vec(&json).unwrap()), "83a14203a16102a16201");
}

/// Reads bytes as every kind of message.
fn read_all(bytes: &[u8]) {
    macro_rules! each {
        ($($kind:ty)*) => {$(
            if let Ok(value) = from_slice::<$kind>(bytes) {
                // What was read can be written and read.
                let written = to_vec(&value).unwrap();
                let _ = from_slice::<$kind>(&written).unwrap();
            }
        )*};
    }
    each! {
        RequestHeader ResponseHeader RegisterRequest DeregisterRequest ServiceSpecificRequest
        IndexedCheckServiceNodes IndexedServiceNodes IndexedNodeServices KvsRequest KeyListRequest
        SessionRequest TxnRequest TxnReadResponse CoordinateUpdateRequest IndexedCoordinates
        KeyringResponses IndexedNodeDump EventFireRequest IndexedCaRoots RaftConfiguration
        AutopilotSetConfigRequest OperatorHealthReply IndexedNodesWithGateways DcRequest
        serde_json::Value BTreeMap<String, Vec<Str>>
    }
}

/// Bytes that begin like a message of ours and go wrong somewhere.
fn nearly() -> impl Strategy<Value = Vec<u8>> {
    let base = to_vec(&TxnRequest {
        ops: vec![TxnOp {
            service: Some(TxnServiceOp::default()),
            check: Some(TxnCheckOp::default()),
            node: Some(TxnNodeOp::default()),
            ..TxnOp::default()
        }],
        ..TxnRequest::default()
    });
    let base = base.unwrap();
    let len = base.len();
    (prop::collection::vec((0..len, any::<u8>()), 1..8), 0..=len).prop_map(move |(edits, end)| {
        let mut bytes = base.clone();
        for (at, byte) in edits {
            bytes[at] = byte;
        }
        bytes.truncate(end);
        bytes
    })
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes: Vec<u8>) {
        read_all(&bytes);
    }

    #[test]
    fn no_damaged_message_panics(bytes in nearly()) {
        read_all(&bytes);
    }

    #[test]
    fn options_round_trip(index: u64, wait: i64, stale: bool, token: String, filter: String) {
        let options = QueryOptions {
            token: token.into(),
            min_query_index: index,
            max_query_time: wait,
            allow_stale: stale,
            filter: filter.into(),
            ..QueryOptions::default()
        };
        let request = DcRequest { datacenter: "dc1".into(), options };
        prop_assert_eq!(&from_slice::<DcRequest>(&to_vec(&request).unwrap()).unwrap(), &request);
    }
}
