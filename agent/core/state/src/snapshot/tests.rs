use super::*;
use crate::{Changes, Command, CoordinateUpdate, Entry, KvOp, KvVerb, RequestId, State, TxnOp};
use lictor_wire::{DeregisterRequest, RegisterRequest, SessionBehavior};

/// A state with something in every table.
pub(crate) fn sample() -> State {
    let mut state = State::default();
    let mut changes = Changes::default();
    let mut index = 0;
    let mut run = |command| {
        index += 1;
        state.apply(index, &Entry { at: 1_000, command }, &mut changes)
    };
    let service = |name: &str| NodeService {
        id: name.into(),
        service: name.into(),
        port: 80,
        ..NodeService::default()
    };
    for (node, name) in [("a", "web"), ("B", "web"), ("b", "db")] {
        run(Command::Register(Box::new(RegisterRequest {
            node: node.into(),
            address: "10.0.0.1".into(),
            service: Some(Box::new(service(name))),
            check: Some(Box::new(HealthCheck {
                check_id: format!("c-{name}").into(),
                service_id: name.into(),
                status: lictor_wire::Status::Passing,
                ..HealthCheck::default()
            })),
            ..RegisterRequest::default()
        })));
    }
    run(Command::Register(Box::new(RegisterRequest {
        node: "a".into(),
        address: "10.0.0.1".into(),
        service: Some(Box::new(NodeService {
            kind: "connect-proxy".into(),
            id: "px".into(),
            service: "px".into(),
            proxy: Some(Box::new(
                serde_json::json!({"DestinationServiceName": "web"}),
            )),
            ..NodeService::default()
        })),
        ..RegisterRequest::default()
    })));
    let session = Session {
        id: "s1".into(),
        node: "a".into(),
        node_checks: vec!["c-web".into()],
        behavior: SessionBehavior::Release,
        lock_delay: lictor_wire::GoDuration::from_secs(15),
        ..Session::default()
    };
    run(Command::SessionCreate(Box::new(session.clone())));
    run(Command::SessionCreate(Box::new(Session {
        id: "s2".into(),
        ..session
    })));
    let op = |verb, key: &str, session: &str| {
        Command::Kv(KvOp {
            verb,
            key: key.into(),
            value: Arc::from(&b"v\xff"[..]),
            flags: 3,
            session: session.into(),
            index: 0,
        })
    };
    run(op(KvVerb::Set, "k/1", ""));
    run(op(KvVerb::Set, "k/2", ""));
    run(op(KvVerb::Lock, "k/lock", "s1"));
    run(op(KvVerb::Lock, "k/free", "s2"));
    run(Command::SessionDestroy("s2".into()));
    run(op(KvVerb::Delete, "k/2", ""));
    run(Command::Coordinates(vec![CoordinateUpdate {
        node: "a".into(),
        coord: Coordinate::default(),
    }]));
    let once = |origin, number| RequestId::from((origin, number, 1));
    let txn = Command::Txn(vec![TxnOp::Kv(KvOp {
        verb: KvVerb::Set,
        key: "k/3".into(),
        value: Arc::from(&b"v"[..]),
        flags: 0,
        session: Str::new(),
        index: 0,
    })]);
    run(Command::Once(once(7, 1), Box::new(txn)));
    let lock = Box::new(op(KvVerb::Lock, "k/lock", "s9"));
    run(Command::Once(once(7, 2), lock));
    run(Command::Deregister(DeregisterRequest {
        node: "b".into(),
        service_id: "db".into(),
        ..DeregisterRequest::default()
    }));
    state
}

#[test]
fn a_restored_view_is_the_same_view() {
    let view = sample().view();
    let mut bytes = Vec::new();
    write(&view, &mut bytes).unwrap();
    let back = read(&mut bytes.as_slice(), 1).unwrap();
    assert_eq!(
        format!(
            "{:?}",
            View {
                epoch: 1,
                ..view.clone()
            }
        ),
        format!("{back:?}")
    );
    let mut again = Vec::new();
    write(&back, &mut again).unwrap();
    assert_eq!(bytes, again);
}

#[test]
fn every_flipped_bit_is_noticed() {
    let mut bytes = Vec::new();
    write(&sample().view(), &mut bytes).unwrap();
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << (at % 8);
        assert!(
            read(&mut damaged.as_slice(), 1).is_err(),
            "byte {at} of {}",
            bytes.len()
        );
    }
    for end in 0..bytes.len() {
        assert!(read(&mut &bytes[..end], 1).is_err(), "cut at {end}");
    }
}

#[test]
fn a_newer_format_is_refused_by_name() {
    let mut bytes = Vec::new();
    write(&View::default(), &mut bytes).unwrap();
    bytes[8] = 9;
    assert!(
        read(&mut bytes.as_slice(), 1)
            .unwrap_err()
            .to_string()
            .contains("newer")
    );
}

#[test]
fn values_may_be_as_large_as_anyone_configures() {
    let mut state = State::default();
    let value: Arc<[u8]> = vec![7; 20 << 20].into();
    let op = KvOp {
        verb: KvVerb::Set,
        key: "k".into(),
        value,
        flags: 0,
        session: Str::new(),
        index: 0,
    };
    state.apply(
        1,
        &Entry {
            at: 0,
            command: Command::Kv(op),
        },
        &mut Changes::default(),
    );
    let mut bytes = Vec::new();
    write(&state.view(), &mut bytes).unwrap();
    let back = read(&mut bytes.as_slice(), 1).unwrap();
    assert_eq!(back.kv("k"), state.view().kv("k"));
}
