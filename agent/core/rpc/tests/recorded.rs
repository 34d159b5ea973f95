//! Messages as Go's codec writes them: `recorded/README.md` says which.

use lictor_rpc_wire::message::*;
use lictor_rpc_wire::{Bytes, Time, from_slice, to_vec};
use lictor_wire::StrMap;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The values recorded from a version.
struct Recorded(BTreeMap<&'static str, Vec<u8>>);

impl Recorded {
    fn of(text: &'static str) -> Recorded {
        let digit = |b: u8| char::from(b).to_digit(16).unwrap() as u8;
        let line = |line: &'static str| {
            let (name, hex) = line.split_once(' ').unwrap();
            let pairs = hex.as_bytes().chunks(2);
            (
                name,
                pairs.map(|p| digit(p[0]) << 4 | digit(p[1])).collect(),
            )
        };
        Recorded(text.lines().map(line).collect())
    }

    fn bytes(&self, name: &str) -> &[u8] {
        &self.0[name]
    }
}

fn old() -> Recorded {
    Recorded::of(include_str!("recorded/go-msgpack-0.5.5.txt"))
}

fn new() -> Recorded {
    Recorded::of(include_str!("recorded/go-msgpack-1.1.5.txt"))
}

/// Both generations are read as the value; the older one's bytes are ours.
fn is<T>(name: &str, value: &T)
where
    T: Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug,
{
    for from in [old(), new()] {
        assert_eq!(&from_slice::<T>(from.bytes(name)).unwrap(), value, "{name}");
    }
    let written = to_vec(value).unwrap();
    assert!(
        written == old().bytes(name),
        "{name}:\n{}\n{}",
        String::from_utf8_lossy(&written),
        String::from_utf8_lossy(old().bytes(name))
    );
}

fn map(key: &str, value: &str) -> Option<StrMap> {
    Some([(key, value)].into_iter().collect())
}

const SECOND: i64 = 1_000_000_000;

fn meta() -> QueryMeta {
    QueryMeta {
        index: 70_000,
        last_contact: 12_345_678,
        known_leader: true,
        ..QueryMeta::default()
    }
}

fn service() -> NodeService {
    let address = ServiceAddress {
        address: "10.0.0.1".into(),
        port: 8080,
    };
    let config = serde_json::json!({"limits": {"of": ["a", null, -5, 1.5, true, 300]}});
    NodeService {
        kind: "connect-proxy".into(),
        id: "web-1".into(),
        service: "web".into(),
        tags: vec!["a".into(), "b".into()],
        address: "10.0.0.1".into(),
        tagged_addresses: Some([("lan".into(), address)].into_iter().collect()),
        meta: map("version", "1"),
        port: 8080,
        weights: Some(Weights {
            passing: 10,
            warning: 1,
        }),
        enable_tag_override: true,
        locality: Some(Locality {
            region: "eu".into(),
            zone: "eu-1".into(),
        }),
        proxy: ConnectProxyConfig {
            destination_service_name: "db".into(),
            local_service_port: 5432,
            mode: "direct".into(),
            config: config.as_object().cloned(),
            upstreams: vec![Upstream {
                destination_type: "service".into(),
                destination_name: "cache".into(),
                local_bind_port: 9191,
                ..Upstream::default()
            }],
            expose: Expose {
                checks: true,
                paths: vec![ExposePath {
                    listener_port: 21500,
                    path: "/health".into(),
                    local_path_port: 8080,
                    protocol: "http".into(),
                    parsed_from_check: false,
                }],
            },
            ..ConnectProxyConfig::default()
        },
        connect: ServiceConnect {
            native: true,
            ..ServiceConnect::default()
        },
        create_index: 128,
        modify_index: 1 << 32,
        ..NodeService::default()
    }
}

fn check() -> HealthCheck {
    HealthCheck {
        node: "n1".into(),
        check_id: "service:web-1".into(),
        name: "web alive".into(),
        status: "passing".into(),
        output:
            "an output that is longer than thirty-one bytes, and so is written with a longer header"
                .into(),
        service_id: "web-1".into(),
        service_name: "web".into(),
        service_tags: vec!["a".into()],
        kind: "http".into(),
        interval: "10s".into(),
        timeout: "1s".into(),
        definition: CheckDefinition {
            http: "http://10.0.0.1/".into(),
            header: Some(
                [("X-A".to_owned(), vec!["1".to_owned(), "2".to_owned()])]
                    .into_iter()
                    .collect(),
            ),
            interval: 10 * SECOND,
            timeout: SECOND,
            deregister_critical_service_after: 3600 * SECOND,
            output_max_size: 4096,
            ..CheckDefinition::default()
        },
        create_index: 5,
        modify_index: 6,
        ..HealthCheck::default()
    }
}

const ID: &str = "f4d2431d-78a5-9136-6282-0418a1d95840";

fn node() -> Node {
    Node {
        id: ID.into(),
        node: "n1".into(),
        address: "10.0.0.1".into(),
        datacenter: "dc1".into(),
        tagged_addresses: map("lan", "10.0.0.1"),
        meta: map("rack", "r1"),
        create_index: 4,
        modify_index: 40,
        ..Node::default()
    }
}

#[test]
fn requests() {
    is(
        "key-request",
        &KeyRequest {
            datacenter: "dc1".into(),
            key: "foo/bar".into(),
            options: QueryOptions {
                token: "t".into(),
                min_query_index: 300,
                max_query_time: 300 * SECOND,
                allow_stale: true,
                max_stale_duration: -1,
                filter: "Key == `a`".into(),
                ..QueryOptions::default()
            },
        },
    );
    is(
        "session",
        &SessionRequest {
            datacenter: "dc1".into(),
            op: "create".into(),
            session: Session {
                name: "lock".into(),
                node: "n1".into(),
                lock_delay: 15 * SECOND,
                behavior: "delete".into(),
                ttl: "30s".into(),
                node_checks: vec!["serfHealth".into()],
                service_checks: vec![ServiceCheck {
                    id: "web".into(),
                    namespace: "".into(),
                }],
                ..Session::default()
            },
            write: WriteRequest::default(),
        },
    );
    is(
        "coordinate",
        &CoordinateUpdateRequest {
            datacenter: "dc1".into(),
            node: "n1".into(),
            coord: Some(Coordinate {
                vec: vec![0.5, -0.25, 0.0, 1e-9, 0.0, 0.0, 0.0, 0.0],
                error: 1.5,
                adjustment: -1e-5,
                height: 1e-5,
            }),
            ..CoordinateUpdateRequest::default()
        },
    );
    let cas = TxnKvOp {
        verb: "cas".into(),
        dir_ent: DirEntry {
            key: "a".into(),
            value: Bytes::from(&b"v"[..]),
            modify_index: 12,
            ..DirEntry::default()
        },
    };
    let get = TxnNodeOp {
        verb: "get".into(),
        node: Node {
            node: "n1".into(),
            ..Node::default()
        },
    };
    is(
        "txn",
        &TxnRequest {
            datacenter: "dc1".into(),
            ops: vec![
                TxnOp {
                    kv: Some(cas),
                    ..TxnOp::default()
                },
                TxnOp {
                    node: Some(get),
                    ..TxnOp::default()
                },
            ],
            write: WriteRequest::default(),
        },
    );
}

#[test]
fn rows() {
    is(
        "register",
        &RegisterRequest {
            datacenter: "dc1".into(),
            id: ID.into(),
            node: "n1".into(),
            address: "10.0.0.1".into(),
            tagged_addresses: map("lan", "10.0.0.1"),
            // Empty, which is not nil.
            node_meta: Some(StrMap::new()),
            service: Some(Box::new(service())),
            checks: vec![check()],
            skip_node_update: true,
            write: WriteRequest {
                token: "secret".into(),
                request: None,
            },
            ..RegisterRequest::default()
        },
    );
    // The second row has no instance.
    let rows = vec![
        CheckServiceNode {
            node: Some(Box::new(node())),
            service: Some(Box::new(service())),
            checks: vec![check()],
        },
        CheckServiceNode {
            node: Some(Box::new(node())),
            ..CheckServiceNode::default()
        },
    ];
    is(
        "health",
        &IndexedCheckServiceNodes {
            nodes: rows,
            meta: meta(),
        },
    );
    let full = DirEntry {
        lock_index: 3,
        key: "k".into(),
        flags: 1 << 63,
        value: Bytes::from(&[0, 255, 195][..]),
        session: "s".into(),
        create_index: 7,
        modify_index: 9,
    };
    let empty = DirEntry {
        key: "empty".into(),
        ..DirEntry::default()
    };
    is(
        "entries",
        &IndexedDirEntries {
            entries: vec![full, empty],
            meta: meta(),
        },
    );
    is(
        "no-entries",
        &IndexedDirEntries {
            entries: Vec::new(),
            meta: QueryMeta {
                index: 1,
                ..QueryMeta::default()
            },
        },
    );
}

fn servers() -> OperatorHealthReply {
    let time = Time::from_unix(1_795_218_967, 244_579_237);
    OperatorHealthReply {
        healthy: true,
        failure_tolerance: 1,
        servers: vec![
            ServerHealth {
                id: "a".into(),
                name: "s1".into(),
                address: "10.0.0.1:8300".into(),
                serf_status: 1,
                version: "1.21.0".into(),
                leader: true,
                last_term: 2,
                last_index: 200,
                healthy: true,
                voter: true,
                stable_since: time,
                ..ServerHealth::default()
            },
            ServerHealth {
                id: "b".into(),
                last_contact: 55_000_000,
                stable_since: Time {
                    nanos: 0,
                    offset: Some(19_800),
                    ..time
                },
                ..ServerHealth::default()
            },
            ServerHealth {
                id: "c".into(),
                ..ServerHealth::default()
            },
        ],
    }
}

#[test]
fn operators() {
    is("servers", &servers());
    let keys = || Some([("k".to_owned(), 3)].into_iter().collect());
    let lan = KeyringResponse {
        datacenter: "dc1".into(),
        messages: Some([("n1".to_owned(), "no".to_owned())].into_iter().collect()),
        keys: keys(),
        primary_keys: keys(),
        num_nodes: 3,
        error: "1/3 nodes reported failure".into(),
        ..KeyringResponse::default()
    };
    let wan = KeyringResponse {
        wan: true,
        ..KeyringResponse::default()
    };
    is(
        "keyrings",
        &KeyringResponses {
            responses: vec![lan, wan],
            meta: meta(),
        },
    );
}

/// The instants of later generations are the same, but for their zones.
#[test]
fn later_times() {
    let mut want = servers();
    for server in &mut want.servers {
        server.stable_since.offset = None;
    }
    let read: OperatorHealthReply = from_slice(new().bytes("servers-later-times")).unwrap();
    assert_eq!(read, want);
}

#[test]
fn scalars() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Numbers {
        unsigned: Vec<u64>,
        signed: Vec<i64>,
        floats: Vec<f64>,
    }
    let wide = [127, 128, 255, 256];
    is(
        "numbers",
        &Numbers {
            unsigned: [0]
                .into_iter()
                .chain(wide)
                .chain([65_535, 65_536, (1 << 32) - 1, 1 << 32, u64::MAX])
                .collect(),
            signed: [0]
                .into_iter()
                .chain(wide.map(|n| n as i64))
                .chain([32_767, 32_768, 65_536, 1 << 31, i64::MAX])
                .chain([-1, -32, -33, -128, -129, -32_768, -32_769])
                .chain([-(1 << 31), -(1 << 31) - 1, i64::MIN])
                .collect(),
            floats: vec![0.0, 1.0, -1.5, 1e300, 0.1],
        },
    );
    is("false", &false);
    let texts = [
        "",
        "short",
        "exactly thirty-one bytes long..",
        "exactly thirty-two bytes long...",
    ];
    is("texts", &texts.map(str::to_owned).to_vec());
}
