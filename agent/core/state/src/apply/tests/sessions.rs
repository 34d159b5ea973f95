use crate::testing::*;
use crate::{Command, WatchKey};
use lictor_wire::SessionBehavior::{Delete, Release};
use lictor_wire::{ServiceCheckRef, Session, Status};

fn world() -> World {
    let mut w = World::new();
    w.done(with_check("n", check("serfHealth", "", Status::Passing)));
    w.done(with_service("n", instance("web-1", "web")));
    w.done(with_check("n", check("c", "web-1", Status::Warning)));
    w
}

fn bound(id: &str) -> Session {
    Session {
        node_checks: vec!["serfHealth".into()],
        ..session(id, "n", Release, 0)
    }
}

#[test]
fn a_session_is_made_with_its_index_and_wakes_its_readers() {
    let mut w = world();
    let index = w.done(create(bound("s")));
    let made = w.view().session("s").unwrap().clone();
    assert_eq!(
        (
            made.create_index,
            made.modify_index,
            w.view().tables().sessions
        ),
        (index, index, index)
    );
    let keys = [
        WatchKey::Sessions,
        WatchKey::Session("s".into()),
        WatchKey::NodeSessions("n".into()),
    ];
    assert!(keys.iter().all(|key| w.woke(key)));
    assert!(
        !w.woke(&WatchKey::Session("t".into())) && !w.woke(&WatchKey::NodeSessions("m".into()))
    );
    assert_eq!(w.view().sessions_of_node("N").count(), 1);
}

#[test]
fn a_session_needs_its_node_and_healthy_checks() {
    let mut w = world();
    w.done(with_check("n", check("bad", "", Status::Critical)));
    let on = |checks: &[&str]| {
        create(Session {
            node_checks: checks.iter().map(|c| (*c).into()).collect(),
            ..bound("s")
        })
    };
    assert_eq!(
        w.refused(create(session("", "n", Release, 0))),
        "Missing Session ID"
    );
    assert_eq!(
        w.refused(create(session("s", "m", Release, 0))),
        "Missing node registration"
    );
    assert_eq!(
        w.refused(on(&["serfHealth", "zz"])),
        "Missing check 'zz' registration"
    );
    assert_eq!(
        w.refused(on(&["serfHealth", "bad"])),
        "Check 'bad' is in critical state"
    );
    let by_service = ServiceCheckRef {
        id: "zz".into(),
        ..ServiceCheckRef::default()
    };
    let with = Session {
        service_checks: Some(vec![by_service]),
        ..bound("s")
    };
    assert_eq!(w.refused(create(with)), "Missing check 'zz' registration");
    // A warning is no reason to refuse, and no reason to end.
    w.done(on(&["c"]));
    assert!(w.view().session("s").is_some());
}

/// A change that ends a session.
type End = fn(&mut World);

#[test]
fn whatever_a_session_hangs_on_ends_it() {
    let ends: [(&str, End); 7] = [
        ("destroyed", |w| {
            _ = w.done(Command::SessionDestroy("s".into()))
        }),
        ("node removed", |w| _ = w.done(deregister("N", "", ""))),
        ("check removed", |w| {
            _ = w.done(deregister("n", "", "SerfHealth"))
        }),
        ("service removed", |w| {
            _ = w.done(deregister("n", "web-1", ""))
        }),
        ("check critical", |w| {
            _ = w.done(with_check("n", check("serfHealth", "", Status::Critical)))
        }),
        ("service check critical", |w| {
            _ = w.done(with_check("n", check("c", "web-1", Status::Critical)))
        }),
        ("node renamed", |w| {
            let id = "aaaaaaaa-0000-0000-0000-000000000001";
            let with_id = |name: &str| {
                let mut r = node(name);
                r.id = id.into();
                register(r)
            };
            w.done(with_id("n"));
            w.done(with_id("m"));
        }),
    ];
    for (why, end) in ends {
        let mut w = world();
        let service_check = ServiceCheckRef {
            id: "c".into(),
            ..ServiceCheckRef::default()
        };
        w.done(create(Session {
            service_checks: Some(vec![service_check]),
            ..bound("s")
        }));
        w.done(lock("k", "s", "v"));
        end(&mut w);
        assert!(w.view().session("s").is_none(), "{why}");
        assert!(w.view().kv("k").unwrap().session.is_empty(), "{why}");
        assert_eq!(
            (w.view().tables().sessions, w.view().kv_index("k")),
            (w.index, w.index),
            "{why}"
        );
        assert!(
            w.woke(&WatchKey::Session("s".into())) && w.woke(&WatchKey::Kv("k".into())),
            "{why}"
        );
        // Nothing is left that could end it again.
        w.run(Command::SessionDestroy("s".into()));
        assert!(w.changes.is_empty(), "{why}");
    }
}

#[test]
fn a_warning_does_not_end_a_session() {
    let mut w = world();
    w.done(create(bound("s")));
    w.done(with_check("n", check("serfHealth", "", Status::Warning)));
    w.done(with_check("n", check("other", "", Status::Critical)));
    assert!(w.view().session("s").is_some());
}

#[test]
fn its_keys_are_released_or_deleted() {
    let mut w = world();
    w.done(create(session("r", "n", Release, 0)));
    w.done(create(session("d", "n", Delete, 0)));
    w.done(lock("k/r", "r", "v"));
    w.done(lock("k/d", "d", "v"));
    let made = w.view().kv("k/r").unwrap().clone();
    let released = w.done(Command::SessionDestroy("r".into()));
    let entry = w.view().kv("k/r").unwrap().clone();
    assert_eq!(
        (
            entry.session.as_str(),
            entry.modify_index,
            entry.create_index
        ),
        ("", released, made.create_index)
    );
    assert_eq!(
        (entry.lock_index, &entry.value[..]),
        (1, &b"v"[..]),
        "all else stays"
    );
    assert!(w.woke(&WatchKey::KvPrefix("k/".into())) && !w.view().has_tombstones());
    let deleted = w.done(Command::SessionDestroy("d".into()));
    assert!(w.view().kv("k/d").is_none());
    assert_eq!(w.view().kv_prefix_index("k/d"), deleted, "a tombstone");
    assert!(w.woke(&WatchKey::Kv("k/d".into())));
}

#[test]
fn destroying_what_is_not_there_is_no_change() {
    let mut w = world();
    let before = w.bytes();
    w.done(Command::SessionDestroy("zz".into()));
    assert_eq!(w.bytes(), before);
    assert!(w.changes.is_empty());
}

#[test]
fn the_sessions_of_other_nodes_live_on() {
    let mut w = world();
    w.done(register(node("m")));
    w.done(create(bound("s")));
    w.done(create(session("t", "m", Release, 0)));
    w.done(deregister("n", "", ""));
    assert!(w.view().session("t").is_some() && w.view().session("s").is_none());
}
