//! Rules that hold whatever is written.

use crate::testing::*;
use crate::{
    CatalogVerb, CheckOp, Command, CoordinateUpdate, KvOp, KvRead, KvReadVerb, KvVerb, NodeOp,
    Outcome, ServiceOp, TxnOp, View, WatchKey,
};
use lictor_wire::{
    ConnectMarks, Coordinate, HealthCheck, Node, NodeService, RegisterRequest, Session,
    SessionBehavior, Status, Str,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use std::sync::Arc;

const NODES: [&str; 3] = ["n0", "n1", "n2"];
const IDS: [&str; 4] = [
    "",
    "aaaa0000-0000-0000-0000-000000000001",
    "aaaa0000-0000-0000-0000-000000000002",
    "bbbb0000-0000-0000-0000-000000000003",
];
const SERVICES: [&str; 3] = ["s0", "s1", "s2"];
const INSTANCES: [&str; 3] = ["i0", "i1", "i2"];
const CHECKS: [&str; 3] = ["serfHealth", "c0", "c1"];
const KEYS: [&str; 6] = ["a", "a/", "a/b", "a/b/c", "a/b/d", "b"];
const PREFIXES: [&str; 6] = ["", "a", "a/", "a/b", "a/b/", "c"];
const SESSIONS: [&str; 3] = ["x", "y", "z"];

fn status() -> impl Strategy<Value = Status> {
    select(vec![Status::Passing, Status::Warning, Status::Critical])
}

fn index() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), 11..40u64]
}

fn a_service() -> impl Strategy<Value = NodeService> {
    let kind = prop_oneof![3 => Just(None), 1 => select(&SERVICES).prop_map(Some)];
    (
        select(&INSTANCES),
        select(&SERVICES),
        80..82i64,
        kind,
        any::<bool>(),
    )
        .prop_map(|(id, name, port, stands_for, native)| {
            let service = stands_for.map_or_else(
                || instance(id, name),
                |destination| proxy(id, name, destination),
            );
            let connect = native.then(|| {
                Box::new(ConnectMarks {
                    native,
                    ..ConnectMarks::default()
                })
            });
            NodeService {
                port,
                connect,
                ..service
            }
        })
}

fn a_check() -> impl Strategy<Value = HealthCheck> {
    let owner = prop_oneof![Just(""), select(&INSTANCES)];
    (select(&CHECKS), owner, status(), select(&["", "out"])).prop_map(
        |(id, owner, status, output)| HealthCheck {
            output: output.into(),
            ..check(id, owner, status)
        },
    )
}

fn a_registration() -> impl Strategy<Value = Command> {
    (
        select(&NODES),
        select(&IDS),
        1..3u8,
        any::<bool>(),
        proptest::option::of(a_service()),
        vec(a_check(), 0..2),
    )
        .prop_map(|(name, id, address, skip_node_update, service, checks)| {
            register(RegisterRequest {
                id: id.into(),
                address: format!("10.0.0.{address}").into(),
                skip_node_update,
                service: service.map(Box::new),
                checks,
                ..node(name)
            })
        })
}

fn a_removal() -> impl Strategy<Value = Command> {
    let part = prop_oneof![
        Just(("", "")),
        select(&INSTANCES).prop_map(|i| (i, "")),
        select(&CHECKS).prop_map(|c| ("", c))
    ];
    (select(&NODES), part).prop_map(|(node, (service, check))| deregister(node, service, check))
}

fn a_kv_op() -> impl Strategy<Value = KvOp> {
    use KvVerb::{Cas, Delete, DeleteCas, DeleteTree, Lock, Set, Unlock};
    let verb = select(vec![Set, Set, Cas, Lock, Lock, Unlock, Delete, DeleteCas]);
    let one = (verb, select(&KEYS)).boxed();
    let tree = (Just(DeleteTree), select(&PREFIXES)).boxed();
    (
        prop_oneof![6 => one, 1 => tree],
        select(&["", "1", "2"]),
        0..2u64,
        select(&SESSIONS),
        index(),
    )
        .prop_map(|((verb, key), value, flags, session, index)| KvOp {
            flags,
            session: session.into(),
            index,
            ..kv_op(verb, key, value)
        })
}

fn a_session() -> impl Strategy<Value = Session> {
    let behavior = select(vec![SessionBehavior::Release, SessionBehavior::Delete]);
    (
        select(&SESSIONS),
        select(&NODES),
        behavior,
        0..3i64,
        vec(select(&CHECKS), 0..2),
    )
        .prop_map(|(id, node, behavior, delay, checks)| Session {
            node_checks: checks.into_iter().map(Str::from).collect(),
            ..session(id, node, behavior, delay)
        })
}

fn a_txn_op() -> impl Strategy<Value = TxnOp> {
    use CatalogVerb::{Cas, Delete, DeleteCas, Get, Set};
    use KvReadVerb::{CheckIndex, CheckNotExists, CheckSession, GetOrEmpty, GetTree};
    let verb = || select(vec![Get, Set, Set, Set, Cas, Delete, DeleteCas]);
    let reading = (
        select(vec![
            KvReadVerb::Get,
            GetOrEmpty,
            GetTree,
            CheckIndex,
            CheckSession,
            CheckNotExists,
        ]),
        select(&KEYS),
    );
    prop_oneof![
        4 => a_kv_op().prop_map(TxnOp::Kv),
        2 => (reading, select(&SESSIONS), index()).prop_map(|((verb, key), session, index)| {
            TxnOp::KvRead(KvRead { verb, key: key.into(), flags: 0, session: session.into(), index })
        }),
        2 => (verb(), select(&NODES), select(&IDS), index()).prop_map(|(verb, name, id, modify_index)| {
            TxnOp::Node(NodeOp { verb, node: Node { id: id.into(), node: name.into(), modify_index, ..Node::default() } })
        }),
        2 => (verb(), select(&NODES), a_service(), index()).prop_map(|(verb, node, service, modify_index)| {
            let service = Box::new(NodeService { modify_index, ..service });
            TxnOp::Service(ServiceOp { verb, node: node.into(), service })
        }),
        2 => (verb(), select(&NODES), a_check(), index()).prop_map(|(verb, node, check, modify_index)| {
            TxnOp::Check(CheckOp { verb, check: Box::new(HealthCheck { node: node.into(), modify_index, ..check }) })
        }),
    ]
}

fn a_command() -> impl Strategy<Value = Command> {
    let coordinate = (select(&NODES), 0..2u8).prop_map(|(node, height)| {
        let coord = Coordinate {
            height: f64::from(height),
            ..Coordinate::default()
        };
        Command::Coordinates(vec![CoordinateUpdate {
            node: node.into(),
            coord,
        }])
    });
    prop_oneof![
        6 => a_registration(),
        3 => a_removal(),
        5 => a_kv_op().prop_map(Command::Kv),
        2 => a_session().prop_map(create),
        1 => select(&SESSIONS).prop_map(|id| Command::SessionDestroy(id.into())),
        1 => (0..60u64).prop_map(Command::ReapTombstones),
        1 => coordinate,
        3 => vec(a_txn_op(), 0..4).prop_map(Command::Txn),
    ]
}

/// Commands with the milliseconds that pass before each.
fn a_history() -> impl Strategy<Value = Vec<(u64, Command)>> {
    vec(
        (
            0..2_000u64,
            prop_oneof![9 => a_command(), 1 => vec(a_command(), 0..3).prop_map(Command::Batch)],
        ),
        1..40,
    )
}

/// A session's id is made anew each time: a history that uses one twice cannot be.
fn repeats_a_session(w: &World, command: &Command) -> bool {
    match command {
        Command::SessionCreate(session) => w.view().session(&session.id).is_some(),
        Command::Batch(all) => all.iter().any(|c| matches!(c, Command::SessionCreate(_))),
        _ => false,
    }
}

fn play(history: &[(u64, Command)], mut each: impl FnMut(&mut World, &Command)) -> World {
    let mut w = World::new();
    for (passed, command) in history {
        w.now += passed;
        if !repeats_a_session(&w, command) {
            each(&mut w, command);
        }
    }
    w
}

/// A read: its answer, its index, and what it waits for.
struct Reading {
    answer: String,
    index: u64,
    key: WatchKey,
}

fn readings(view: &View) -> Vec<Reading> {
    let mut out = Vec::new();
    let mut add = |key: WatchKey, index: u64, answer: &dyn std::fmt::Debug| {
        out.push(Reading {
            answer: format!("{answer:?}"),
            index: index.max(1),
            key,
        });
    };
    let t = view.tables();
    add(WatchKey::Nodes, t.nodes, &view.nodes().collect::<Vec<_>>());
    let instances: Vec<_> = view.all_instances().map(|row| row.service).collect();
    add(WatchKey::Services, t.services, &instances);
    add(
        WatchKey::Checks,
        t.checks,
        &view.checks().collect::<Vec<_>>(),
    );
    for word in ["passing", "warning", "critical"] {
        let rows: Vec<_> = view
            .checks()
            .filter(|c| c.status.as_str() == word)
            .collect();
        add(WatchKey::ChecksInState(word.into()), t.checks, &rows);
    }
    for node in NODES {
        let row = (view.node(node), view.services_of(node).collect::<Vec<_>>());
        add(WatchKey::Node(node.into()), view.node_index(node), &row);
        add(
            WatchKey::NodeChecks(node.into()),
            t.checks,
            &view.checks_of_node(node).collect::<Vec<_>>(),
        );
        add(
            WatchKey::NodeSessions(node.into()),
            t.sessions,
            &view.sessions_of_node(node).collect::<Vec<_>>(),
        );
        add(
            WatchKey::NodeCoordinate(node.into()),
            t.coordinates,
            &view.coordinate_of(node),
        );
    }
    for name in SERVICES {
        add(
            WatchKey::Service(name.into()),
            view.service_index(name),
            &view.instances(name),
        );
        add(
            WatchKey::ServiceHealth(name.into()),
            view.health_index(name),
            &view.health(name),
        );
        add(
            WatchKey::ServiceChecks(name.into()),
            t.checks,
            &view.checks_of_service(name),
        );
        add(
            WatchKey::Connect(name.into()),
            view.connect_index(name),
            &view.connect_health(name),
        );
    }
    for key in KEYS {
        add(WatchKey::Kv(key.into()), view.kv_index(key), &view.kv(key));
    }
    for prefix in PREFIXES {
        let rows: Vec<_> = view.kv_range(prefix).collect();
        add(
            WatchKey::KvPrefix(prefix.into()),
            view.kv_prefix_index(prefix),
            &rows,
        );
    }
    add(
        WatchKey::Sessions,
        t.sessions,
        &view.sessions().collect::<Vec<_>>(),
    );
    for id in SESSIONS {
        add(WatchKey::Session(id.into()), t.sessions, &view.session(id));
    }
    add(WatchKey::Coordinates, t.coordinates, &view.coordinates());
    out
}

fn failed(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Refused(_) | Outcome::Flag(false) => true,
        Outcome::Txn { errors, .. } => !errors.is_empty(),
        _ => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    /// The rule that blocking queries live by: whenever an answer changes, whoever waits for it is
    /// woken and finds a higher index. And a restored state is the state that was written.
    #[test]
    fn a_changed_answer_has_a_higher_index_and_wakes(history in a_history()) {
        let mut before = readings(&View::default());
        let w = play(&history, |w, command| {
            let snapshot = w.bytes();
            let outcome = w.run(command.clone());
            let after = readings(&w.view());
            for (old, new) in before.iter().zip(&after).filter(|(old, new)| old.answer != new.answer) {
                assert!(w.woke(&new.key), "{:?} sleeps through {command:?}: {} -> {}", new.key, old.answer, new.answer);
                assert!(new.index > old.index, "{:?} stays at {} for {command:?}, was {}", new.key, new.index, old.index);
            }
            if failed(&outcome) && !matches!(command, Command::Batch(_)) {
                assert!(w.changes.is_empty(), "{outcome:?} wakes {:?}", w.changes);
                // A lock may find that a delay is over, and forget it.
                if !matches!(command, Command::Kv(KvOp { verb: KvVerb::Lock, .. })) {
                    assert_eq!(w.bytes(), snapshot, "{outcome:?} changed something");
                }
            }
            before = after;
        });
        let view = w.view();
        let mut bytes = Vec::new();
        crate::write_snapshot(&view, &mut bytes).unwrap();
        let back = crate::read_snapshot(&mut bytes.as_slice(), view.epoch()).unwrap();
        // The whole with all that is derived, not only what readers see.
        prop_assert_eq!(format!("{back:?}"), format!("{view:?}"));
    }

    /// Two servers that apply the same log have the same state, byte for byte, and so has one that
    /// went on from a snapshot in the middle.
    #[test]
    fn the_same_log_gives_the_same_bytes(history in a_history(), middle in 0..40usize) {
        let whole = play(&history, |w, command| _ = w.run(command.clone()));
        let again = play(&history, |w, command| _ = w.run(command.clone()));
        let mut steps = 0;
        let restored = play(&history, |w, command| {
            if steps == middle {
                let mut bytes = Vec::new();
                crate::write_snapshot(&w.view(), &mut bytes).unwrap();
                w.state = crate::State::from_view(crate::read_snapshot(&mut bytes.as_slice(), 7).unwrap());
            }
            steps += 1;
            w.run(command.clone());
        });
        let bytes = whole.bytes();
        prop_assert_eq!(&bytes, &again.bytes());
        prop_assert_eq!(&bytes, &restored.bytes());
    }

    /// Doing the same twice changes nothing the second time, and wakes nobody.
    #[test]
    fn registering_twice_is_registering_once(history in a_history(), r in a_registration()) {
        let mut w = play(&history, |w, command| _ = w.run(command.clone()));
        if w.run(r.clone()) == Outcome::Done {
            let before = w.bytes();
            w.run(r);
            prop_assert_eq!(w.bytes(), before);
            prop_assert!(w.changes.is_empty());
        }
    }

    /// Entries survive the log whatever they say.
    #[test]
    fn every_entry_survives_its_encoding(command in a_command(), at in any::<u64>(), value in vec(any::<u8>(), 0..40)) {
        let set = TxnOp::Kv(KvOp { value: Arc::from(value), ..kv_op(KvVerb::Set, "k", "") });
        let command = Command::Batch(vec![command, Command::Txn(vec![set])]);
        let entry = crate::Entry { at, command };
        prop_assert_eq!(crate::Entry::decode(&entry.encode()), Ok(entry));
    }
}
