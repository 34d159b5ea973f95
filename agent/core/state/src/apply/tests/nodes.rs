//! Names and ids of nodes.

use crate::testing::*;
use crate::{Command, CoordinateUpdate, WatchKey};
use lictor_wire::{Coordinate, RegisterRequest, SessionBehavior, Status};

const ID: &str = "aaaaaaaa-0000-0000-0000-000000000001";
const OTHER: &str = "bbbbbbbb-0000-0000-0000-000000000002";

fn with_id(name: &str, id: &str) -> RegisterRequest {
    RegisterRequest {
        id: id.into(),
        ..node(name)
    }
}

/// A node that its agent keeps alive.
fn member(w: &mut World, name: &str, id: &str) {
    let serf = check("serfHealth", "", Status::Passing);
    w.done(register(RegisterRequest {
        check: Some(Box::new(serf)),
        ..with_id(name, id)
    }));
}

#[test]
fn the_identical_node_is_no_change() {
    let mut w = World::new();
    w.done(register(with_id("n", ID)));
    let before = w.bytes();
    for same in [
        with_id("n", ID),
        with_id("N", ID),
        with_id("n", &ID.to_uppercase()),
    ] {
        w.done(register(same));
        assert_eq!(w.bytes(), before);
        assert!(w.changes.is_empty());
    }
}

#[test]
fn names_are_one_whatever_their_case() {
    let mut w = World::new();
    w.done(register(node("Node")));
    w.done(with_service("NODE", instance("Web-1", "Web")));
    w.done(with_check("node", check("C", "WEB-1", Status::Passing)));
    let view = w.view();
    assert_eq!(
        (view.node_count(), view.node("nODE").unwrap().node.as_str()),
        (1, "Node")
    );
    assert_eq!(view.health("wEB")[0].checks[0].check_id, "C");
    assert_eq!(view.service("node", "web-1").unwrap().service, "Web");
    // A change brings the name as it is now written.
    w.done(register(RegisterRequest {
        address: "10.9.9.9".into(),
        ..node("NODE")
    }));
    assert_eq!(w.view().node("node").unwrap().node, "NODE");
    w.done(deregister("nodE", "", ""));
    assert_eq!(
        (w.view().node_count(), w.view().has_service("web")),
        (0, false)
    );
}

#[test]
fn a_node_without_an_id_is_known_by_its_name() {
    let mut w = World::new();
    let made = w.done(register(node("n")));
    let changed = w.done(register(RegisterRequest {
        address: "10.0.0.2".into(),
        ..node("n")
    }));
    let row = w.view().node("n").unwrap().clone();
    assert_eq!(
        (row.create_index, row.modify_index, row.address.as_str()),
        (made, changed, "10.0.0.2")
    );
    assert_eq!(
        (w.view().tables().nodes, w.view().node_index("n")),
        (changed, changed)
    );
    // It may get an id later, and is the same node.
    w.done(register(with_id("n", ID)));
    assert_eq!(w.view().node("n").unwrap().create_index, made);
    assert_eq!(w.view().node_by_id(&ID.to_uppercase()).unwrap().node, "n");
    // And lose it again.
    w.done(register(node("n")));
    assert!(w.view().node_by_id(ID).is_none());
}

#[test]
fn the_name_of_a_living_node_is_reserved() {
    let mut w = World::new();
    member(&mut w, "Taken", ID);
    let text = w.refused(register(with_id("taken", OTHER)));
    let reserved = format!("Node name taken is reserved by node {ID} with name Taken (10.0.0.1)");
    assert_eq!(
        text,
        format!("failed inserting node: Error while renaming Node ID: \"{OTHER}\": {reserved}")
    );
    // The same for a node that exists under another name.
    w.done(register(with_id("mine", OTHER)));
    let text = w.refused(register(with_id("taken", OTHER)));
    assert_eq!(
        text,
        format!(
            "failed inserting node: Error while renaming Node ID: \"{OTHER}\" (10.0.0.1): {reserved}"
        )
    );
    assert!(w.view().node("mine").is_some());
}

#[test]
fn the_name_of_a_failed_node_is_free() {
    for serf in [None, Some(Status::Critical)] {
        let mut w = World::new();
        let made = w.done(register(with_id("n", ID)));
        if let Some(status) = serf {
            w.done(with_check_keeping("n", check("serfHealth", "", status)));
        }
        w.done(with_service_keeping("n"));
        w.done(register(with_id("n", OTHER)));
        let view = w.view();
        assert_eq!(view.node("n").unwrap().id, OTHER);
        assert_eq!(view.node("n").unwrap().create_index, made);
        assert_eq!(view.node_by_id(OTHER).unwrap().node, "n");
        assert!(view.node_by_id(ID).is_none(), "the old id leads nowhere");
        assert!(
            view.service("n", "web").is_some(),
            "what hangs on the name stays"
        );
    }
}

fn with_check_keeping(name: &str, check: lictor_wire::HealthCheck) -> Command {
    register(RegisterRequest {
        check: Some(Box::new(check)),
        skip_node_update: true,
        ..node(name)
    })
}

fn with_service_keeping(name: &str) -> Command {
    register(RegisterRequest {
        service: Some(Box::new(instance("web", "web"))),
        skip_node_update: true,
        ..node(name)
    })
}

#[test]
fn a_node_without_an_id_gives_its_name_to_a_new_one_but_not_to_a_renamed_one() {
    let mut w = World::new();
    member(&mut w, "n", "");
    w.done(register(with_id("other", ID)));
    let text = w.refused(register(with_id("n", ID)));
    assert!(
        text.contains("Node name n is reserved by node  with name n"),
        "{text}"
    );
    w.done(register(with_id("n", OTHER)));
    assert_eq!(w.view().node_by_id(OTHER).unwrap().node, "n");
}

#[test]
fn a_renamed_node_leaves_its_old_name_with_all_on_it() {
    let mut w = World::new();
    let made = w.done(register(with_id("old", ID)));
    w.done(with_service_keeping("old"));
    w.done(with_check_keeping(
        "old",
        check("c", "web", Status::Passing),
    ));
    w.done(create(session("s", "old", SessionBehavior::Release, 0)));
    w.done(Command::Coordinates(vec![CoordinateUpdate {
        node: "OLD".into(),
        coord: Coordinate::default(),
    }]));
    let renamed = w.done(register(with_id("new", ID)));
    let view = w.view();
    assert!(
        view.node("old").is_none() && !view.has_service("web") && view.checks().next().is_none()
    );
    assert!(view.sessions().next().is_none() && view.coordinates().is_empty());
    let row = view.node("new").unwrap();
    assert_eq!((row.create_index, row.modify_index), (made, renamed));
    assert_eq!(view.node_by_id(ID).unwrap().node, "new");
    assert_eq!(
        (
            view.tables().node_extinction,
            view.node_index("old"),
            view.node_index("new")
        ),
        (renamed, renamed, renamed)
    );
    for key in [
        WatchKey::Nodes,
        WatchKey::Node("old".into()),
        WatchKey::Node("new".into()),
        WatchKey::Coordinates,
    ] {
        assert!(w.woke(&key), "{key:?}");
    }
}

#[test]
fn a_node_that_takes_a_name_takes_it_from_the_id_that_had_it() {
    let mut w = World::new();
    w.done(register(with_id("mine", ID)));
    w.done(register(with_id("yours", OTHER)));
    w.done(register(with_id("yours", ID)));
    assert_eq!(w.view().node("yours").unwrap().id, ID);
    assert!(
        w.view().node_by_id(OTHER).is_none(),
        "nobody has that id any more"
    );
    assert!(w.view().node("mine").is_none());
    w.done(register(with_id("mine", OTHER)));
    assert_eq!(
        (
            w.view().node_by_id(OTHER).unwrap().node.as_str(),
            w.view().node_count()
        ),
        ("mine", 2)
    );
}

#[test]
fn a_node_is_left_alone_where_that_is_asked() {
    let mut w = World::new();
    w.done(register(RegisterRequest {
        skip_node_update: true,
        ..with_id("n", ID)
    }));
    assert_eq!(
        w.view().node_by_id(ID).unwrap().node,
        "n",
        "but it is made where there is none"
    );
    let before = w.bytes();
    w.done(register(RegisterRequest {
        skip_node_update: true,
        address: "10.9.9.9".into(),
        ..node("n")
    }));
    assert_eq!(w.bytes(), before);
}

#[test]
fn a_node_change_wakes_what_shows_the_node() {
    let mut w = World::new();
    w.done(with_service("n", instance("web", "web")));
    w.done(with_check("n", check("c", "web", Status::Passing)));
    w.done(with_service("m", instance("db", "db")));
    let (checks, services) = (w.view().tables().checks, w.view().tables().services);
    let changed = w.done(register(RegisterRequest {
        address: "10.9.9.9".into(),
        ..node("n")
    }));
    for key in [
        WatchKey::Nodes,
        WatchKey::Node("n".into()),
        WatchKey::Service("web".into()),
        WatchKey::ServiceHealth("web".into()),
    ] {
        assert!(w.woke(&key), "{key:?}");
    }
    for key in [
        WatchKey::Node("m".into()),
        WatchKey::Service("db".into()),
        WatchKey::ServiceHealth("db".into()),
        WatchKey::Services,
        WatchKey::Checks,
        WatchKey::ChecksInState("passing".into()),
        WatchKey::ServiceChecks("web".into()),
        WatchKey::NodeChecks("n".into()),
    ] {
        assert!(!w.woke(&key), "{key:?}");
    }
    let view = w.view();
    assert_eq!(
        (
            view.service_index("web"),
            view.node_index("n"),
            view.tables().nodes
        ),
        (changed, changed, changed)
    );
    assert!(view.service_index("db") < changed && view.node_index("m") < changed);
    assert_eq!(
        (view.tables().checks, view.tables().services),
        (checks, services)
    );
}

#[test]
fn a_removed_node_takes_all_with_it() {
    let mut w = World::new();
    w.done(with_service("n", instance("web", "web")));
    w.done(with_check("n", check("c", "web", Status::Passing)));
    w.done(with_check("n", check("node", "", Status::Warning)));
    w.done(with_service("m", instance("web", "web")));
    w.done(Command::Coordinates(vec![CoordinateUpdate {
        node: "n".into(),
        coord: Coordinate::default(),
    }]));
    let gone = w.done(deregister("n", "", ""));
    let view = w.view();
    assert_eq!(
        (
            view.node_count(),
            view.instances("web").len(),
            view.checks().count()
        ),
        (1, 1, 0)
    );
    assert_eq!(
        (view.service_index("web"), view.tables().node_extinction),
        (gone, gone)
    );
    let t = view.tables();
    assert_eq!(
        (t.nodes, t.services, t.checks, t.coordinates),
        (gone, gone, gone, gone)
    );
    assert_eq!(
        (view.node_index("n"), view.node_index("never")),
        (gone, gone)
    );
    assert_eq!(t.service_extinction, 0, "one instance is left");
    for key in [
        WatchKey::Nodes,
        WatchKey::Node("n".into()),
        WatchKey::Services,
        WatchKey::Service("web".into()),
        WatchKey::ServiceHealth("web".into()),
        WatchKey::NodeChecks("n".into()),
        WatchKey::ServiceChecks("web".into()),
        WatchKey::ChecksInState("passing".into()),
        WatchKey::ChecksInState("warning".into()),
        WatchKey::NodeCoordinate("n".into()),
    ] {
        assert!(w.woke(&key), "{key:?}");
    }
    assert!(!w.woke(&WatchKey::Node("m".into())));
    let before = w.bytes();
    w.done(deregister("n", "", ""));
    assert_eq!(w.bytes(), before, "removing it again is no change");
}

#[test]
fn coordinates_are_for_nodes_that_are_there() {
    let mut w = World::new();
    w.done(register(node("n")));
    let at = |name: &str| CoordinateUpdate {
        node: name.into(),
        coord: Coordinate {
            height: 0.5,
            ..Coordinate::default()
        },
    };
    w.done(Command::Coordinates(vec![at("gone")]));
    assert!(w.changes.is_empty() && w.view().tables().coordinates == 0);
    let set = w.done(Command::Coordinates(vec![at("gone"), at("N")]));
    assert_eq!(
        (w.view().tables().coordinates, w.view().coordinates().len()),
        (set, 1)
    );
    assert_eq!(w.view().coordinate_of("n").unwrap().coord.height, 0.5);
    assert!(w.woke(&WatchKey::Coordinates) && w.woke(&WatchKey::NodeCoordinate("n".into())));
    assert!(!w.woke(&WatchKey::Nodes) && !w.woke(&WatchKey::Node("n".into())));
}
