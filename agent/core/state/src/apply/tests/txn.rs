use crate::testing::*;
use crate::{
    CatalogVerb, CheckOp, Command, KvOp, KvRead, KvReadVerb, KvVerb, NodeOp, Outcome, ServiceOp,
    TxnOp, TxnResult, WatchKey,
};
use lictor_wire::{HealthCheck, KvEntry, Node, NodeService, SessionBehavior, Status};

impl World {
    /// A transaction that must take place. Gives its rows.
    fn txn(&mut self, ops: Vec<TxnOp>) -> Vec<TxnResult> {
        match self.run(Command::Txn(ops)) {
            Outcome::Txn { results, errors } if errors.is_empty() => results,
            other => panic!("{other:?}"),
        }
    }

    /// A transaction that must fail, changing nothing and waking nobody. Gives the errors.
    fn fails(&mut self, ops: Vec<TxnOp>) -> Vec<(u64, String)> {
        let before = self.bytes();
        let outcome = self.run(Command::Txn(ops));
        assert_eq!(self.bytes(), before, "something changed");
        assert!(self.changes.is_empty(), "{:?}", self.changes);
        assert_eq!(
            self.state.index(),
            self.index,
            "the entry was applied all the same"
        );
        match outcome {
            Outcome::Txn { results, errors } if results.is_empty() && !errors.is_empty() => {
                errors.into_iter().map(|e| (e.op_index, e.what)).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    /// The text of the one operation that fails behind a write.
    fn why(&mut self, op: TxnOp) -> String {
        let mut errors = self.fails(vec![kv(KvVerb::Set, "written-before", "x"), op]);
        assert_eq!((errors.len(), errors[0].0), (1, 1), "{errors:?}");
        errors.remove(0).1
    }
}

fn kv(verb: KvVerb, key: &str, value: &str) -> TxnOp {
    TxnOp::Kv(kv_op(verb, key, value))
}

fn kv_at(verb: KvVerb, key: &str, value: &str, index: u64) -> TxnOp {
    TxnOp::Kv(KvOp {
        index,
        ..kv_op(verb, key, value)
    })
}

fn kv_by(verb: KvVerb, key: &str, value: &str, session: &str) -> TxnOp {
    TxnOp::Kv(KvOp {
        session: session.into(),
        ..kv_op(verb, key, value)
    })
}

fn read(verb: KvReadVerb, key: &str) -> KvRead {
    KvRead {
        verb,
        key: key.into(),
        flags: 0,
        session: "".into(),
        index: 0,
    }
}

fn get(key: &str) -> TxnOp {
    TxnOp::KvRead(read(KvReadVerb::Get, key))
}

fn node_op(verb: CatalogVerb, name: &str, address: &str, index: u64) -> TxnOp {
    TxnOp::Node(NodeOp {
        verb,
        node: Node {
            node: name.into(),
            address: address.into(),
            modify_index: index,
            ..Node::default()
        },
    })
}

fn service_op(verb: CatalogVerb, node: &str, port: i64, index: u64) -> TxnOp {
    let service = NodeService {
        port,
        modify_index: index,
        ..instance("web-1", "web")
    };
    TxnOp::Service(ServiceOp {
        verb,
        node: node.into(),
        service: Box::new(service),
    })
}

fn check_op(verb: CatalogVerb, node: &str, service_id: &str, status: Status, index: u64) -> TxnOp {
    let check = HealthCheck {
        node: node.into(),
        modify_index: index,
        ..check("c", service_id, status)
    };
    TxnOp::Check(CheckOp {
        verb,
        check: Box::new(check),
    })
}

/// The keys of the rows with what they show of them.
fn keys(results: &[TxnResult]) -> Vec<(String, String, u64)> {
    let row = |entry: &KvEntry| {
        let value = String::from_utf8(entry.value.to_vec()).unwrap();
        (entry.key.to_string(), value, entry.modify_index)
    };
    results
        .iter()
        .map(|r| {
            if let TxnResult::Kv(entry) = r {
                row(entry)
            } else {
                panic!("{r:?}")
            }
        })
        .collect()
}

#[test]
fn writes_and_reads_see_each_other_in_order() {
    let mut w = World::new();
    let results = w.txn(vec![
        kv(KvVerb::Set, "a", "1"),
        get("a"),
        kv(KvVerb::Set, "a", "2"),
        get("a"),
    ]);
    let at = w.index;
    let row = |value: &str| ("a".to_owned(), value.to_owned(), at);
    assert_eq!(
        keys(&results),
        [row(""), row("1"), row(""), row("2")],
        "writes do not show their value"
    );
    assert!(w.woke(&WatchKey::Kv("a".into())));
}

#[test]
fn an_empty_transaction_does_nothing() {
    let mut w = World::new();
    assert_eq!(w.txn(Vec::new()), []);
    assert!(w.changes.is_empty());
}

#[test]
fn one_failure_undoes_all_and_all_failures_are_told() {
    let mut w = World::new();
    w.done(register(node("n")));
    w.done(create(session("s", "n", SessionBehavior::Delete, 15)));
    w.done(lock("held", "s", "v"));
    let errors = w.fails(vec![
        kv(KvVerb::Set, "a", "x"),
        get("none"),
        node_op(CatalogVerb::Delete, "n", "", 0),
        service_op(CatalogVerb::Set, "gone", 80, 0),
        kv(KvVerb::DeleteTree, "", ""),
        kv_at(KvVerb::Cas, "b", "x", 99),
    ]);
    let texts: Vec<(u64, &str)> = errors
        .iter()
        .map(|(at, what)| (*at, what.as_str()))
        .collect();
    assert_eq!(
        texts,
        [
            (1, "key \"none\" doesn't exist"),
            (3, "Missing node registration"),
            (5, "failed to set key \"b\", index is stale"),
        ]
    );
    assert!(w.view().session("s").is_some() && w.view().lock_delay("held").is_none());
}

#[test]
fn what_woke_before_in_the_same_batch_still_wakes() {
    let mut w = World::new();
    let failing = Command::Txn(vec![kv(KvVerb::Set, "b", "x"), get("none")]);
    w.run(Command::Batch(vec![set("a", "v"), failing, set("c", "v")]));
    let woke = |key: &str| w.woke(&WatchKey::Kv(key.into()));
    assert_eq!([woke("a"), woke("b"), woke("c")], [true, false, true]);
}

#[test]
fn set_cas_and_removals_of_keys() {
    let mut w = World::new();
    w.txn(vec![kv_at(KvVerb::Cas, "k", "1", 0)]);
    let made = w.index;
    assert_eq!(
        w.why(kv_at(KvVerb::Cas, "k", "2", 0)),
        "failed to set key \"k\", index is stale"
    );
    assert_eq!(
        w.why(kv_at(KvVerb::Cas, "k", "2", made + 1)),
        "failed to set key \"k\", index is stale"
    );
    let results = w.txn(vec![kv_at(KvVerb::Cas, "k", "2", made)]);
    assert_eq!(keys(&results), [("k".into(), String::new(), w.index)]);
    // Writing the same again gives the row as it was.
    let changed = w.index;
    let results = w.txn(vec![kv(KvVerb::Set, "k", "2")]);
    assert_eq!(keys(&results), [("k".into(), String::new(), changed)]);
    assert!(w.changes.is_empty());
    assert_eq!(
        w.why(kv_at(KvVerb::DeleteCas, "k", "", 1)),
        "failed to delete key \"k\", index is stale"
    );
    w.txn(vec![
        kv(KvVerb::Set, "t/1", "x"),
        kv(KvVerb::Set, "t/2", "x"),
        kv(KvVerb::Set, "u", "x"),
    ]);
    let removals = vec![
        kv_at(KvVerb::DeleteCas, "k", "", changed),
        kv_at(KvVerb::DeleteCas, "never", "", 5),
        kv(KvVerb::Delete, "u", ""),
        kv(KvVerb::Delete, "never", ""),
        kv(KvVerb::DeleteTree, "t/", ""),
    ];
    assert_eq!(w.txn(removals), [], "removals give no rows");
    assert_eq!(w.view().kv_count(), 0);
    assert_eq!(w.view().kv_prefix_index("t/"), w.index);
}

#[test]
fn locks_of_keys() {
    let mut w = World::new();
    w.done(register(node("n")));
    for id in ["s", "t"] {
        w.done(create(session(id, "n", SessionBehavior::Release, 0)));
    }
    let results = w.txn(vec![kv_by(KvVerb::Lock, "k", "v", "s")]);
    let [TxnResult::Kv(entry)] = &results[..] else {
        panic!("{results:?}")
    };
    assert_eq!(
        (entry.lock_index, entry.session.as_str(), entry.value.len()),
        (1, "s", 0)
    );
    assert_eq!(
        w.why(kv_by(KvVerb::Lock, "k", "v", "t")),
        "failed to lock key \"k\", lock is already held"
    );
    assert_eq!(
        w.why(kv_by(KvVerb::Lock, "k", "v", "zz")),
        "invalid session \"zz\""
    );
    assert_eq!(w.why(kv_by(KvVerb::Lock, "k", "v", "")), "missing session");
    assert_eq!(
        w.why(kv_by(KvVerb::Unlock, "k", "v", "")),
        "missing session"
    );
    let not_held = "failed to unlock key \"k\", lock isn't held, or is held by another session";
    assert_eq!(w.why(kv_by(KvVerb::Unlock, "k", "v", "t")), not_held);
    let results = w.txn(vec![kv_by(KvVerb::Unlock, "k", "w", "s")]);
    let [TxnResult::Kv(entry)] = &results[..] else {
        panic!("{results:?}")
    };
    assert_eq!((entry.lock_index, entry.session.as_str()), (1, ""));
    // A plain write forgets the count, here as elsewhere.
    w.txn(vec![
        kv_by(KvVerb::Lock, "k", "v", "s"),
        kv(KvVerb::Set, "k", "plain"),
    ]);
    let entry = w.view().kv("k").unwrap().clone();
    assert_eq!((entry.lock_index, entry.session.as_str()), (0, "s"));
}

#[test]
fn a_lock_delay_is_told_before_anything_is_tried() {
    let mut w = World::new();
    w.done(register(node("n")));
    w.done(create(session("old", "n", SessionBehavior::Release, 15)));
    w.done(create(session("s", "n", SessionBehavior::Release, 15)));
    w.done(lock("k", "old", "v"));
    w.done(Command::SessionDestroy("old".into()));
    let errors = w.fails(vec![get("none"), kv_by(KvVerb::Lock, "k", "v", "zz")]);
    assert_eq!(
        errors,
        [(1, "failed to lock key \"k\" due to lock delay".to_owned())]
    );
    w.now += 15_000;
    w.txn(vec![kv_by(KvVerb::Lock, "k", "v", "s")]);
}

#[test]
fn reads_and_conditions_of_keys() {
    let mut w = World::new();
    w.done(register(node("n")));
    w.done(create(session("s", "n", SessionBehavior::Release, 0)));
    let locked = w.done(lock("k/1", "s", "one"));
    let set_at = w.done(set("k/2", "two"));
    let one = |op: KvRead| vec![TxnOp::KvRead(op)];
    let view = w.view();
    let rows = |op: KvRead| keys(&view.txn_read(&one(op)).unwrap());
    let what = |op: KvRead| view.txn_read(&one(op)).unwrap_err().remove(0).what;
    let row = |key: &str, value: &str, index| (key.to_owned(), value.to_owned(), index);

    assert_eq!(
        rows(read(KvReadVerb::Get, "k/1")),
        [row("k/1", "one", locked)]
    );
    assert_eq!(
        what(read(KvReadVerb::Get, "no")),
        "key \"no\" doesn't exist"
    );
    let both = [row("k/1", "one", locked), row("k/2", "two", set_at)];
    assert_eq!(rows(read(KvReadVerb::GetTree, "k/")), both);
    assert_eq!(rows(read(KvReadVerb::GetTree, "no")), []);
    assert_eq!(
        rows(read(KvReadVerb::GetOrEmpty, "k/2")),
        [row("k/2", "two", set_at)]
    );
    // Where there is no key, what was asked comes back.
    let asked = KvRead {
        flags: 7,
        index: 9,
        session: "x".into(),
        ..read(KvReadVerb::GetOrEmpty, "no")
    };
    let found = view.txn_read(&one(asked)).unwrap();
    let [TxnResult::Kv(empty)] = &found[..] else {
        panic!("{found:?}")
    };
    assert_eq!(
        (
            empty.key.as_str(),
            empty.flags,
            empty.modify_index,
            empty.create_index
        ),
        ("no", 7, 9, 0)
    );

    let at = |index, key: &str| KvRead {
        index,
        ..read(KvReadVerb::CheckIndex, key)
    };
    assert_eq!(
        rows(at(set_at, "k/2")),
        [row("k/2", "", set_at)],
        "a condition shows no value"
    );
    let text = format!("failed index check for key \"k/2\", current modify index {set_at} != 3");
    assert_eq!(what(at(3, "k/2")), text);
    assert_eq!(
        what(at(3, "no")),
        "failed to check index, key \"no\" doesn't exist"
    );

    let by = |session: &str, key: &str| KvRead {
        session: session.into(),
        ..read(KvReadVerb::CheckSession, key)
    };
    assert_eq!(rows(by("s", "k/1")), [row("k/1", "", locked)]);
    assert_eq!(rows(by("", "k/2")), [row("k/2", "", set_at)]);
    assert_eq!(
        what(by("t", "k/1")),
        "failed session check for key \"k/1\", current session \"s\" != \"t\""
    );
    assert_eq!(
        what(by("t", "no")),
        "failed to check session, key \"no\" doesn't exist"
    );

    assert_eq!(rows(read(KvReadVerb::CheckNotExists, "no")), []);
    assert_eq!(
        what(read(KvReadVerb::CheckNotExists, "k/1")),
        "key \"k/1\" exists"
    );
    // The same through the log.
    for (op, fits) in [
        (at(set_at, "k/2"), true),
        (at(1, "k/2"), false),
        (by("s", "k/1"), true),
        (by("t", "k/1"), false),
    ] {
        let outcome = w.run(Command::Txn(one(op)));
        assert!(matches!(outcome, Outcome::Txn { errors, .. } if errors.is_empty() == fits));
        assert!(w.changes.is_empty());
    }
}

#[test]
fn a_read_only_transaction_does_not_write() {
    let mut w = World::new();
    w.done(with_service("n", instance("web-1", "web")));
    let view = w.view();
    let errors = view
        .txn_read(&[
            kv(KvVerb::Set, "k", "v"),
            node_op(CatalogVerb::Delete, "n", "", 0),
        ])
        .unwrap_err();
    assert_eq!(
        errors.iter().map(|e| e.op_index).collect::<Vec<_>>(),
        [0, 1]
    );
    let reads = [
        node_op(CatalogVerb::Get, "N", "", 0),
        service_op(CatalogVerb::Get, "n", 0, 0),
        check_op(CatalogVerb::Get, "n", "", Status::Passing, 0),
    ];
    assert_eq!(view.txn_read(&reads[..2]).unwrap().len(), 2);
    assert_eq!(
        view.txn_read(&reads).unwrap_err()[0].what,
        "check \"c\" on node \"n\" doesn't exist"
    );
    assert!(reads.iter().all(|op| !op.is_write()) && kv(KvVerb::Delete, "k", "").is_write());
}

#[test]
fn operations_on_nodes() {
    let mut w = World::new();
    assert_eq!(
        w.why(node_op(CatalogVerb::Get, "n", "", 0)),
        "node \"n\" doesn't exist"
    );
    assert_eq!(
        w.why(node_op(CatalogVerb::Cas, "n", "a", 4)),
        "failed to set node \"n\", index is stale"
    );
    assert_eq!(
        w.why(node_op(CatalogVerb::DeleteCas, "n", "", 0)),
        "failed to delete node \"n\", index is stale"
    );
    let results = w.txn(vec![node_op(CatalogVerb::Cas, "n", "a", 0)]);
    let made = w.index;
    let [TxnResult::Node(row)] = &results[..] else {
        panic!("{results:?}")
    };
    assert_eq!(
        (row.create_index, row.modify_index, row.address.as_str()),
        (made, made, "a")
    );
    assert!(w.woke(&WatchKey::Nodes));
    assert_eq!(
        w.why(node_op(CatalogVerb::Cas, "n", "b", 0)),
        "failed to set node \"n\", index is stale"
    );
    w.txn(vec![node_op(CatalogVerb::Cas, "n", "b", made)]);
    let changed = w.index;
    let results = w.txn(vec![
        node_op(CatalogVerb::Set, "n", "b", 0),
        node_op(CatalogVerb::Get, "n", "", 0),
    ]);
    assert!(w.changes.is_empty(), "the same again");
    assert!(
        results
            .iter()
            .all(|r| matches!(r, TxnResult::Node(row) if row.modify_index == changed))
    );
    assert_eq!(
        w.why(node_op(CatalogVerb::DeleteCas, "n", "", made)),
        "failed to delete node \"n\", index is stale"
    );
    assert_eq!(
        w.txn(vec![node_op(CatalogVerb::DeleteCas, "n", "", changed)]),
        []
    );
    assert_eq!(
        w.txn(vec![node_op(CatalogVerb::Delete, "n", "", 0)]),
        [],
        "also where it is gone"
    );
    assert_eq!(w.view().node_count(), 0);
}

#[test]
fn nodes_are_found_by_their_id() {
    let mut w = World::new();
    let by_id = |verb, id: &str, name: &str| {
        TxnOp::Node(NodeOp {
            verb,
            node: Node {
                id: id.into(),
                node: name.into(),
                ..Node::default()
            },
        })
    };
    w.txn(vec![by_id(
        CatalogVerb::Set,
        "AAAAAAAA-0000-0000-0000-000000000001",
        "n",
    )]);
    for id in ["aaaaaaaa-0000-0000-0000-000000000001", "aaaa"] {
        let results = w.txn(vec![by_id(CatalogVerb::Get, id, "whatever")]);
        assert!(
            matches!(&results[..], [TxnResult::Node(row)] if row.node == "n"),
            "{id}"
        );
    }
    assert_eq!(
        w.why(by_id(CatalogVerb::Get, "aabb", "x")),
        "node \"x\" doesn't exist"
    );
    // A name that is reserved, told without the words of a registration.
    let serf = HealthCheck {
        node: "n".into(),
        ..check("serfHealth", "", Status::Passing)
    };
    w.txn(vec![TxnOp::Check(CheckOp {
        verb: CatalogVerb::Set,
        check: Box::new(serf),
    })]);
    let text = w.why(by_id(
        CatalogVerb::Set,
        "bbbbbbbb-0000-0000-0000-000000000001",
        "n",
    ));
    assert!(
        text.starts_with("Error while renaming Node ID: \"bbbbbbbb-"),
        "{text}"
    );
}

#[test]
fn operations_on_services() {
    let mut w = World::new();
    let named = "\"web-1\" on node \"n\"";
    assert_eq!(
        w.why(service_op(CatalogVerb::Set, "n", 80, 0)),
        "Missing node registration"
    );
    w.done(register(node("n")));
    assert_eq!(
        w.why(service_op(CatalogVerb::Get, "n", 0, 0)),
        format!("service {named} doesn't exist")
    );
    assert_eq!(
        w.why(service_op(CatalogVerb::Cas, "n", 80, 3)),
        format!("failed to set service {named}, index is stale")
    );
    let stale = format!("failed to delete service {named}, index is stale");
    assert_eq!(w.why(service_op(CatalogVerb::DeleteCas, "n", 80, 0)), stale);
    let results = w.txn(vec![service_op(CatalogVerb::Cas, "N", 80, 0)]);
    let made = w.index;
    assert!(
        matches!(&results[..], [TxnResult::Service(row)] if row.create_index == made && row.port == 80)
    );
    assert!(w.woke(&WatchKey::Service("web".into())));
    assert_eq!(
        w.why(service_op(CatalogVerb::Cas, "n", 81, 0)),
        format!("failed to set service {named}, index is stale")
    );
    let results = w.txn(vec![
        service_op(CatalogVerb::Cas, "n", 81, made),
        service_op(CatalogVerb::Get, "n", 0, 0),
    ]);
    let changed = w.index;
    assert!(results.iter().all(
        |r| matches!(r, TxnResult::Service(row) if row.port == 81 && row.modify_index == changed)
    ));
    assert_eq!(
        w.why(service_op(CatalogVerb::DeleteCas, "n", 0, made)),
        stale
    );
    assert_eq!(
        w.txn(vec![service_op(CatalogVerb::DeleteCas, "n", 0, changed)]),
        []
    );
    assert_eq!(w.txn(vec![service_op(CatalogVerb::Delete, "n", 0, 0)]), []);
    assert_eq!(
        (
            w.view().has_service("web"),
            w.view().tables().service_extinction
        ),
        (false, changed + 2)
    );
}

#[test]
fn operations_on_checks() {
    let mut w = World::new();
    let named = "\"c\" on node \"n\"";
    let set = |service: &str, status| check_op(CatalogVerb::Set, "n", service, status, 0);
    assert_eq!(w.why(set("", Status::Passing)), "Missing node registration");
    w.done(register(node("n")));
    assert_eq!(
        w.why(set("web-1", Status::Passing)),
        "Missing service registration"
    );
    let op = |verb, index| check_op(verb, "n", "", Status::Warning, index);
    assert_eq!(
        w.why(op(CatalogVerb::Get, 0)),
        format!("check {named} doesn't exist")
    );
    assert_eq!(
        w.why(op(CatalogVerb::Cas, 2)),
        format!("failed to set check {named}, index is stale")
    );
    assert_eq!(
        w.why(op(CatalogVerb::DeleteCas, 0)),
        format!("failed to delete check {named}, index is stale")
    );
    // A service and its check in one go.
    let results = w.txn(vec![
        service_op(CatalogVerb::Set, "n", 80, 0),
        set("web-1", Status::Passing),
    ]);
    let made = w.index;
    assert!(
        matches!(&results[..], [_, TxnResult::Check(row)] if row.service_name == "web" && row.modify_index == made)
    );
    assert!(w.woke(&WatchKey::ServiceHealth("web".into())));
    assert_eq!(
        w.why(op(CatalogVerb::Cas, 0)),
        format!("failed to set check {named}, index is stale")
    );
    let results = w.txn(vec![op(CatalogVerb::Cas, made), op(CatalogVerb::Get, 0)]);
    let changed = w.index;
    assert!(
        results
            .iter()
            .all(|r| matches!(r, TxnResult::Check(row) if row.status == Status::Warning))
    );
    assert_eq!(
        w.why(op(CatalogVerb::DeleteCas, made)),
        format!("failed to delete check {named}, index is stale")
    );
    assert_eq!(
        w.txn(vec![
            op(CatalogVerb::DeleteCas, changed),
            op(CatalogVerb::Delete, 0)
        ]),
        []
    );
    assert!(w.view().check("n", "c").is_none());
}

#[test]
fn a_critical_check_ends_sessions_in_the_same_transaction() {
    let mut w = World::new();
    w.done(with_check("n", check("c", "", Status::Passing)));
    let bound = lictor_wire::Session {
        node_checks: vec!["c".into()],
        ..session("s", "n", SessionBehavior::Release, 0)
    };
    w.done(create(bound));
    let errors = w.fails(vec![
        check_op(CatalogVerb::Set, "n", "", Status::Critical, 0),
        kv_by(KvVerb::Lock, "k", "v", "s"),
    ]);
    assert_eq!(errors, [(1, "invalid session \"s\"".to_owned())]);
    w.txn(vec![
        kv_by(KvVerb::Lock, "k", "v", "s"),
        check_op(CatalogVerb::Set, "n", "", Status::Critical, 0),
    ]);
    assert!(w.view().session("s").is_none() && w.view().kv("k").unwrap().session.is_empty());
}

#[test]
fn outcomes_survive_the_way_from_the_leader() {
    let mut w = World::new();
    w.done(register(node("n")));
    let ops = vec![
        kv(KvVerb::Set, "k", "v"),
        get("k"),
        node_op(CatalogVerb::Get, "n", "", 0),
        service_op(CatalogVerb::Set, "n", 80, 0),
        check_op(CatalogVerb::Set, "n", "web-1", Status::Passing, 0),
    ];
    for ops in [ops, vec![get("none")]] {
        let outcome = w.run(Command::Txn(ops));
        let bytes = rmp_serde::to_vec_named(&outcome).unwrap();
        assert_eq!(rmp_serde::from_slice::<Outcome>(&bytes).unwrap(), outcome);
    }
}
