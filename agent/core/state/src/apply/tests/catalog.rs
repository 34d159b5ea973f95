//! Services and checks: whose index moves, and who wakes.

use crate::testing::*;
use crate::{Command, WatchKey};
use lictor_wire::{HealthCheck, NodeService, RegisterRequest, Status, Weights};

/// What reads of a node, a service and its checks wait for.
fn watches(service: &str, node: &str) -> [WatchKey; 9] {
    [
        WatchKey::Nodes,
        WatchKey::Node(node.into()),
        WatchKey::Services,
        WatchKey::Service(service.into()),
        WatchKey::ServiceHealth(service.into()),
        WatchKey::Checks,
        WatchKey::ChecksInState("passing".into()),
        WatchKey::NodeChecks(node.into()),
        WatchKey::ServiceChecks(service.into()),
    ]
}

/// Exactly these of the above wake.
#[track_caller]
fn wakes(w: &World, service: &str, node: &str, expected: &[WatchKey]) {
    for key in watches(service, node) {
        assert_eq!(w.woke(&key), expected.contains(&key), "{key:?}");
    }
}

#[test]
fn the_life_of_a_service_index() {
    let mut w = World::new();
    let first = w.done(register(node("n")));
    // Never there, and nothing ever went: the tables.
    assert_eq!(
        (w.view().service_index("web"), w.view().health_index("web")),
        (first, first)
    );
    let checked = w.done(with_check("n", check("c", "", Status::Passing)));
    assert_eq!(
        (w.view().service_index("web"), w.view().health_index("web")),
        (first, checked)
    );
    // Registered.
    let born = w.done(with_service("n", instance("web-1", "web")));
    assert_eq!(
        (w.view().service_index("web"), w.view().health_index("web")),
        (born, born)
    );
    // The identical registration is no change.
    let before = w.bytes();
    w.done(with_service("n", instance("web-1", "web")));
    assert_eq!(w.bytes(), before);
    assert!(w.changes.is_empty());
    // One of several goes.
    w.done(with_service("n", instance("web-2", "web")));
    let one = w.done(deregister("n", "web-2", ""));
    assert_eq!(
        (
            w.view().service_index("web"),
            w.view().tables().service_extinction
        ),
        (one, 0)
    );
    // The last goes: every absent name jumps to that.
    let last = w.done(deregister("n", "web-1", ""));
    for name in ["web", "never"] {
        assert_eq!(
            (w.view().service_index(name), w.view().health_index(name)),
            (last, last),
            "{name}"
        );
    }
    // Absent names no longer follow the tables.
    w.done(with_service("n", instance("db", "db")));
    assert_eq!(w.view().service_index("web"), last);
    // Registered again: never back.
    let again = w.done(with_service("n", instance("web-1", "web")));
    assert_eq!(w.view().service_index("web"), again);
    assert!(again > last);
}

#[test]
fn a_service_write_moves_services_nodes_and_its_node() {
    let mut w = World::new();
    w.done(register(node("n")));
    let made = w.done(with_service("n", instance("web", "web")));
    let service = [
        WatchKey::Node("n".into()),
        WatchKey::Services,
        WatchKey::Service("web".into()),
        WatchKey::ServiceHealth("web".into()),
    ];
    wakes(&w, "web", "n", &service);
    let t = *w.view().tables();
    assert_eq!(
        (t.services, t.nodes, t.checks, w.view().node_index("n")),
        (made, made, 0, made)
    );
    let changed = w.done(with_service(
        "n",
        NodeService {
            port: 81,
            ..instance("web", "web")
        },
    ));
    wakes(&w, "web", "n", &service);
    let row = w.view().service("n", "web").unwrap().clone();
    assert_eq!(
        (row.create_index, row.modify_index, row.port),
        (made, changed, 81)
    );
    let gone = w.done(deregister("n", "web", ""));
    wakes(&w, "web", "n", &service);
    let t = *w.view().tables();
    assert_eq!(
        (t.services, t.nodes, t.checks, w.view().node_index("n")),
        (gone, gone, gone, gone)
    );
}

#[test]
fn other_services_sleep_on() {
    let mut w = World::new();
    let db = w.done(with_service("n", instance("db", "db")));
    w.done(with_service("n", instance("web", "web")));
    w.done(with_check("n", check("c", "web", Status::Passing)));
    w.done(deregister("n", "web", ""));
    assert_eq!(w.view().service_index("db"), db);
    assert!(
        !w.woke(&WatchKey::Service("db".into())) && !w.woke(&WatchKey::ServiceHealth("db".into()))
    );
}

#[test]
fn a_check_of_a_service_wakes_health_and_not_the_catalog() {
    let mut w = World::new();
    w.done(with_service("n", instance("web", "web")));
    let (nodes, services) = (w.view().tables().nodes, w.view().tables().services);
    let node_index = w.view().node_index("n");
    let health = [
        WatchKey::ServiceHealth("web".into()),
        WatchKey::Checks,
        WatchKey::ChecksInState("passing".into()),
        WatchKey::NodeChecks("n".into()),
        WatchKey::ServiceChecks("web".into()),
    ];
    let made = w.done(with_check("n", check("c", "web", Status::Passing)));
    wakes(&w, "web", "n", &health);
    let row = w.view().check("n", "c").unwrap().clone();
    assert_eq!(
        (
            row.service_name.as_str(),
            row.node.as_str(),
            row.create_index
        ),
        ("web", "n", made)
    );
    // Out of a state and into another: both lists change.
    let failed = w.done(with_check("n", check("c", "web", Status::Critical)));
    wakes(&w, "web", "n", &health);
    assert!(w.woke(&WatchKey::ChecksInState("critical".into())));
    assert_eq!(w.view().check("n", "c").unwrap().modify_index, failed);
    // The output alone is a change too.
    let output = HealthCheck {
        output: "why".into(),
        ..check("c", "web", Status::Critical)
    };
    let said = w.done(with_check("n", output));
    assert!(
        w.woke(&WatchKey::ServiceHealth("web".into()))
            && !w.woke(&WatchKey::ChecksInState("passing".into()))
    );
    let gone = w.done(deregister("n", "", "c"));
    assert!(
        w.woke(&WatchKey::ServiceHealth("web".into()))
            && w.woke(&WatchKey::ChecksInState("critical".into()))
    );
    assert!(said < gone);
    let t = *w.view().tables();
    assert_eq!(
        (
            t.checks,
            w.view().service_index("web"),
            w.view().health_index("web")
        ),
        (gone, gone, gone)
    );
    assert_eq!(
        (t.nodes, t.services, w.view().node_index("n")),
        (nodes, services, node_index),
        "only what shows checks"
    );
}

#[test]
fn the_identical_check_is_no_change_whatever_its_schedule() {
    let mut w = World::new();
    w.done(with_check("n", check("c", "", Status::Passing)));
    let before = w.bytes();
    let scheduled = HealthCheck {
        interval: "10s".into(),
        timeout: "1s".into(),
        kind: "http".into(),
        ..check("c", "", Status::Passing)
    };
    w.done(with_check("n", scheduled));
    assert_eq!(w.bytes(), before);
    assert!(w.changes.is_empty());
    let defined = serde_json::json!({"HTTP": "http://x"});
    w.done(with_check(
        "n",
        HealthCheck {
            definition: Some(Box::new(defined)),
            ..check("c", "", Status::Passing)
        },
    ));
    assert!(w.woke(&WatchKey::Checks), "the definition counts");
}

#[test]
fn a_check_of_the_node_counts_for_all_its_services() {
    let mut w = World::new();
    w.done(with_service("n", instance("web", "web")));
    w.done(with_service("n", instance("db", "db")));
    let other = w.done(with_service("m", instance("mq", "mq")));
    let services = w.view().tables().services;
    let made = w.done(with_check("n", check("c", "", Status::Passing)));
    for name in ["web", "db"] {
        assert_eq!(w.view().service_index(name), made);
        assert!(
            w.woke(&WatchKey::ServiceHealth(name.into()))
                && !w.woke(&WatchKey::ServiceChecks(name.into()))
        );
        assert!(!w.woke(&WatchKey::Service(name.into())));
        assert_eq!(w.view().health(name)[0].checks.len(), 1);
    }
    assert_eq!(
        (w.view().service_index("mq"), w.view().tables().services),
        (other, services)
    );
    // Its removal moves the table of services too, without waking there.
    let gone = w.done(deregister("n", "", "c"));
    assert_eq!(
        (w.view().tables().services, w.view().service_index("web")),
        (gone, gone)
    );
    assert!(w.woke(&WatchKey::ServiceHealth("db".into())) && !w.woke(&WatchKey::Services));
}

#[test]
fn a_check_keeps_the_tags_it_was_written_with() {
    let mut w = World::new();
    let tagged = |tag: &str| NodeService {
        tags: [tag.into()].into(),
        ..instance("web", "web")
    };
    w.done(with_service("n", tagged("old")));
    w.done(with_check("n", check("c", "web", Status::Passing)));
    w.done(with_service("n", tagged("new")));
    assert!(!w.woke(&WatchKey::Checks));
    assert_eq!(w.view().check("n", "c").unwrap().service_tags[0], "old");
    w.done(with_check("n", check("c", "web", Status::Passing)));
    assert_eq!(
        w.view().check("n", "c").unwrap().service_tags[0],
        "new",
        "a write takes them over, and is a change"
    );
}

#[test]
fn a_registration_is_whole_or_not_at_all() {
    let mut w = World::new();
    let r = RegisterRequest {
        service: Some(Box::new(instance("web", "web"))),
        checks: vec![
            check("ok", "web", Status::Passing),
            check("c", "nope", Status::Passing),
        ],
        ..node("x")
    };
    assert_eq!(
        w.refused(register(r.clone())),
        "Unknown service ID 'nope' for check ID 'c'"
    );
    assert_eq!(
        (w.view().node_count(), w.view().index()),
        (0, w.index),
        "but the entry was applied"
    );
    let fixed = RegisterRequest {
        checks: r.checks[..1].to_vec(),
        ..r
    };
    let made = w.done(register(fixed));
    let view = w.view();
    assert_eq!(
        [
            view.tables().nodes,
            view.tables().services,
            view.tables().checks
        ],
        [made; 3]
    );
}

#[test]
fn rows_without_an_id_are_refused() {
    let mut w = World::new();
    let text = w.refused(with_service("n", instance("", "web")));
    assert_eq!(
        text,
        "failed inserting service: failed inserting service: object missing primary index"
    );
    assert_eq!(
        w.refused(with_check("n", check("", "", Status::Passing))),
        "failed inserting check: object missing primary index"
    );
}

#[test]
fn a_check_may_go_over_to_another_owner() {
    let mut w = World::new();
    w.done(with_service("n", instance("web", "web")));
    w.done(with_service("n", instance("db", "db")));
    w.done(with_check("n", check("c", "web", Status::Passing)));
    let moved = w.done(with_check("n", check("c", "db", Status::Passing)));
    let view = w.view();
    assert_eq!(
        (
            view.health("web")[0].checks.len(),
            view.health("db")[0].checks.len()
        ),
        (0, 1)
    );
    assert_eq!(
        (view.service_index("web"), view.service_index("db")),
        (moved, moved)
    );
    assert!(
        w.woke(&WatchKey::ServiceHealth("web".into()))
            && w.woke(&WatchKey::ServiceChecks("web".into()))
    );
    assert!(
        w.woke(&WatchKey::ServiceHealth("db".into()))
            && w.woke(&WatchKey::ServiceChecks("db".into()))
    );
    // To the node itself.
    w.done(with_check("n", check("c", "", Status::Passing)));
    assert_eq!(
        (
            w.view().checks_of_instance("n", "db").len(),
            w.view().health("web")[0].checks.len()
        ),
        (0, 1)
    );
    w.done(deregister("n", "db", ""));
    assert!(
        w.view().check("n", "c").is_some(),
        "it is no check of that service any more"
    );
}

#[test]
fn an_instance_may_go_over_to_another_service() {
    let mut w = World::new();
    w.done(with_service("n", instance("i", "old")));
    w.done(with_check("n", check("c", "i", Status::Passing)));
    let moved = w.done(with_service("n", instance("i", "new")));
    let view = w.view();
    assert_eq!(
        (view.instances("old").len(), view.instances("new").len()),
        (0, 1)
    );
    assert_eq!(
        (view.service_index("old"), view.service_index("new")),
        (moved, moved)
    );
    assert_eq!(view.tables().service_extinction, moved);
    assert_eq!(
        view.service_names()
            .map(ToString::to_string)
            .collect::<Vec<_>>(),
        ["new"]
    );
    // Its checks are seen under the new name: whoever waits for them wakes and sees a new index.
    assert_eq!(
        (view.checks_of_service("new").len(), view.tables().checks),
        (1, moved)
    );
    for name in ["old", "new"] {
        assert!(
            w.woke(&WatchKey::Service(name.into()))
                && w.woke(&WatchKey::ServiceChecks(name.into())),
            "{name}"
        );
    }
    // And so do later changes of the check, whose row still says the old name.
    let gone = w.done(deregister("n", "", "c"));
    assert_eq!(w.view().service_index("new"), gone);
    assert!(
        w.woke(&WatchKey::ServiceHealth("new".into()))
            && w.woke(&WatchKey::ServiceChecks("new".into()))
    );
    assert!(!w.view().has_service("old"));
}

#[test]
fn removing_what_is_not_there_is_no_change() {
    let mut w = World::new();
    w.done(with_service("n", instance("web", "web")));
    for command in [
        deregister("n", "zz", ""),
        deregister("n", "", "zz"),
        deregister("zz", "", ""),
        deregister("zz", "web", ""),
    ] {
        let before = w.bytes();
        w.done(command);
        assert_eq!(w.bytes(), before);
        assert!(w.changes.is_empty());
    }
}

#[test]
fn weights_of_nothing_are_one_each() {
    let mut w = World::new();
    w.done(with_service(
        "n",
        NodeService {
            weights: Weights {
                passing: 0,
                warning: 0,
            },
            ..instance("web", "web")
        },
    ));
    assert_eq!(
        w.view().service("n", "web").unwrap().weights,
        Weights {
            passing: 1,
            warning: 1
        }
    );
    w.done(with_service(
        "n",
        NodeService {
            weights: Weights {
                passing: 3,
                warning: 0,
            },
            ..instance("web", "web")
        },
    ));
    assert_eq!(
        w.view().service("n", "web").unwrap().weights,
        Weights {
            passing: 3,
            warning: 0
        }
    );
}

#[test]
fn a_proxy_stands_for_its_service_and_has_a_mesh_address() {
    let mut w = World::new();
    w.done(with_service("n", instance("web", "web")));
    let made = w.done(with_service("n", proxy("px", "web-px", "Web")));
    assert!(w.woke(&WatchKey::Connect("web".into())));
    let view = w.view();
    assert_eq!(
        (
            view.connect_instances("WEB")[0].service.id.as_str(),
            view.connect_index("web")
        ),
        ("px", made)
    );
    let address = |w: &World, id: &str| {
        let row = w.view().service("n", id).unwrap().clone();
        row.tagged_addresses
            .as_ref()
            .and_then(|t| t.get("consul-virtual"))
            .map(|a| a.address.to_string())
    };
    assert_eq!(
        (address(&w, "px").as_deref(), address(&w, "web")),
        (Some("240.0.0.1"), None)
    );
    w.done(with_service("n", proxy("py", "db-px", "db")));
    assert_eq!(address(&w, "py").as_deref(), Some("240.0.0.2"));
    // The same proxy again is the same.
    let before = w.bytes();
    w.done(with_service("n", proxy("px", "web-px", "Web")));
    assert_eq!(w.bytes(), before);
    // Its checks and its node count.
    w.done(with_check("n", check("c", "px", Status::Passing)));
    assert!(w.woke(&WatchKey::Connect("web".into())) && !w.woke(&WatchKey::Connect("db".into())));
    w.done(with_check("n", check("d", "", Status::Passing)));
    assert!(w.woke(&WatchKey::Connect("web".into())) && w.woke(&WatchKey::Connect("db".into())));
    // Gone: the index is that of its going, not the older one of the service itself.
    let seen = w.view().connect_index("web");
    let gone = w.done(deregister("n", "px", ""));
    assert!(w.woke(&WatchKey::Connect("web".into())));
    assert_eq!(
        (
            w.view().connect_instances("web").len(),
            w.view().connect_index("web")
        ),
        (0, gone)
    );
    assert!(gone > seen);
}

#[test]
fn a_batch_is_each_for_itself() {
    let mut w = World::new();
    let bad = with_check("n", check("c", "nope", Status::Passing));
    let outcome = w.run(Command::Batch(vec![
        register(node("a")),
        bad,
        set("k", "v"),
    ]));
    let crate::Outcome::Batch(all) = outcome else {
        panic!("{outcome:?}")
    };
    assert!(matches!(
        &all[..],
        [
            crate::Outcome::Done,
            crate::Outcome::Refused(_),
            crate::Outcome::Flag(true)
        ]
    ));
    assert_eq!((w.view().node_count(), w.view().kv_count()), (1, 1));
    assert!(
        w.woke(&WatchKey::Node("a".into()))
            && !w.woke(&WatchKey::Node("n".into()))
            && w.woke(&WatchKey::Kv("k".into()))
    );
}
