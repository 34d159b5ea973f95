use crate::testing::*;
use crate::{Command, KvOp, KvVerb, Outcome, WatchKey};
use lictor_wire::SessionBehavior::{Delete, Release};

/// A world with a node and these sessions on it, none with a delay.
fn world(sessions: &[&str]) -> World {
    let mut w = World::new();
    w.done(register(node("n")));
    for id in sessions {
        w.done(create(session(id, "n", Release, 0)));
    }
    w
}

fn prefix(text: &str) -> WatchKey {
    WatchKey::KvPrefix(text.into())
}

#[test]
fn a_write_makes_the_key_and_moves_its_indexes() {
    let mut w = world(&[]);
    let first = w.done(set("k", "v"));
    assert!(w.woke(&WatchKey::Kv("k".into())) && w.woke(&prefix("")) && !w.woke(&prefix("kk")));
    let second = w.done(set("k", "w"));
    let view = w.view();
    let entry = view.kv("k").unwrap();
    assert_eq!(
        (entry.create_index, entry.modify_index, &entry.value[..]),
        (first, second, &b"w"[..])
    );
    assert_eq!(
        (
            view.kv_index("k"),
            view.kv_prefix_index("k"),
            view.kv_table_index()
        ),
        (second, second, second)
    );
}

#[test]
fn writing_the_same_again_is_no_change() {
    let mut w = world(&[]);
    let first = w.done(set("k", "v"));
    let before = w.bytes();
    w.done(set("k", "v"));
    assert_eq!(w.bytes(), before);
    assert!(w.changes.is_empty());
    assert_eq!(w.view().kv_index("k"), first);
    // Other flags are a change.
    let flagged = w.done(Command::Kv(KvOp {
        flags: 1,
        ..kv_op(KvVerb::Set, "k", "v")
    }));
    assert_eq!(w.view().kv_index("k"), flagged);
}

#[test]
fn check_and_set_compares_the_index() {
    let mut w = world(&[]);
    assert_eq!(
        w.run(cas("k", "v", 5)),
        Outcome::Flag(false),
        "there is no such key"
    );
    let first = w.done(cas("k", "v", 0));
    for index in [0, first - 1, first + 1] {
        assert_eq!(w.run(cas("k", "w", index)), Outcome::Flag(false), "{index}");
        assert!(w.changes.is_empty());
    }
    w.done(cas("k", "w", first));
    assert_eq!(&w.view().kv("k").unwrap().value[..], b"w");
}

#[test]
fn a_missing_key_has_the_index_of_the_store() {
    let mut w = world(&[]);
    let other = w.done(set("other", "v"));
    assert_eq!(
        (w.view().kv_index("k"), w.view().kv_prefix_index("k")),
        (other, other)
    );
    let gone = w.done(delete("other"));
    assert_eq!(w.view().kv_index("k"), gone);
}

#[test]
fn a_removal_wakes_and_leaves_a_tombstone_for_lists() {
    let mut w = world(&[]);
    w.done(set("a/1", "v"));
    w.done(set("a/2", "v"));
    let gone = w.done(delete("a/1"));
    assert!(w.woke(&WatchKey::Kv("a/1".into())) && w.woke(&prefix("a/")));
    let later = w.done(set("b", "v"));
    assert_eq!(
        w.view().kv_prefix_index("a/"),
        gone,
        "the removal, not what happened elsewhere"
    );
    assert_eq!(
        w.view().kv_prefix_index("a/1"),
        gone,
        "a prefix without keys but with a tombstone"
    );
    assert_eq!(
        w.view().kv_prefix_index(""),
        later,
        "everything has the table's index"
    );
    // After the reap the highest key counts, or the table where there is none.
    w.done(Command::ReapTombstones(gone));
    assert!(!w.view().has_tombstones() && w.changes.is_empty());
    assert!(w.view().kv_prefix_index("a/") < gone);
    assert_eq!(w.view().kv_prefix_index("a/1"), later);
}

#[test]
fn a_reap_takes_only_what_is_old_enough() {
    let mut w = world(&[]);
    w.done(set("a", "v"));
    w.done(set("b", "v"));
    let old = w.done(delete("a"));
    let young = w.done(delete("b"));
    w.done(Command::ReapTombstones(old));
    assert_eq!(
        (w.view().has_tombstones(), w.view().kv_prefix_index("b")),
        (true, young)
    );
    assert_eq!(
        w.view().kv_table_index(),
        young,
        "the table's index does not go back"
    );
    w.done(Command::ReapTombstones(young));
    assert_eq!(
        (w.view().has_tombstones(), w.view().kv_table_index()),
        (false, young)
    );
}

#[test]
fn removing_what_is_not_there_is_no_change() {
    let mut w = world(&[]);
    w.done(set("k", "v"));
    for command in [delete("x"), delete_tree("x"), delete_cas("x", 7)] {
        let before = w.bytes();
        w.done(command);
        assert_eq!(w.bytes(), before);
        assert!(w.changes.is_empty());
    }
}

#[test]
fn removal_by_index_compares_it() {
    let mut w = world(&[]);
    let index = w.done(set("k", "v"));
    for wrong in [0, index + 1] {
        assert_eq!(w.run(delete_cas("k", wrong)), Outcome::Flag(false));
    }
    w.done(delete_cas("k", index));
    assert!(w.view().kv("k").is_none());
}

#[test]
fn a_tree_goes_with_one_tombstone() {
    let mut w = world(&[]);
    for key in ["a", "a/", "a/1", "a/b/1", "ab", "b"] {
        w.done(set(key, "v"));
    }
    let gone = w.done(delete_tree("a/"));
    let left: Vec<String> = w.view().kv_range("").map(|e| e.key.to_string()).collect();
    assert_eq!(left, ["a", "ab", "b"], "a prefix is a text, not a folder");
    assert!(
        w.woke(&WatchKey::Kv("a/b/1".into())) && w.woke(&prefix("a/b/")) && !w.woke(&prefix("ab"))
    );
    let later = w.done(set("c", "v"));
    assert_eq!(
        (
            w.view().kv_prefix_index("a/"),
            w.view().kv_prefix_index("a/b/")
        ),
        (gone, later)
    );
}

#[test]
fn no_tombstone_holds_back_a_list_whose_keys_went_with_a_tree() {
    for tree in ["", "a/", "a/b"] {
        let mut w = world(&[]);
        w.done(set("a/b/1", "v"));
        w.done(set("a/b/2", "v"));
        w.done(delete("a/b/1"));
        let seen = w.done(set("a/b/2", "w"));
        assert_eq!(w.view().kv_prefix_index("a/b/"), seen);
        // A reader that waits beyond `seen` must be answered by the removal of the tree.
        let gone = w.done(delete_tree(tree));
        assert!(w.woke(&prefix("a/b/")));
        assert_eq!(w.view().kv_prefix_index("a/b/"), gone, "{tree:?}");
    }
}

#[test]
fn everything_goes_without_a_tombstone() {
    let mut w = world(&[]);
    w.done(set("a", "v"));
    w.done(delete_tree(""));
    assert_eq!((w.view().kv_count(), w.view().has_tombstones()), (0, false));
}

#[test]
fn a_lock_is_counted_and_held() {
    let mut w = world(&["s1", "s2"]);
    w.done(lock("k", "s1", "one"));
    let entry = w.view().kv("k").unwrap().clone();
    assert_eq!((entry.lock_index, entry.session.as_str()), (1, "s1"));
    assert_eq!(
        w.view()
            .keys_of_session("s1")
            .map(ToString::to_string)
            .collect::<Vec<_>>(),
        ["k"]
    );
    // Another session does not get it; the holder writes on without a new count.
    assert_eq!(w.run(lock("k", "s2", "two")), Outcome::Flag(false));
    assert!(w.changes.is_empty());
    let again = w.done(lock("k", "s1", "three"));
    let entry = w.view().kv("k").unwrap().clone();
    assert_eq!(
        (entry.lock_index, &entry.value[..], entry.modify_index),
        (1, &b"three"[..], again)
    );
    // The same once more is no change at all.
    w.done(lock("k", "s1", "three"));
    assert!(w.changes.is_empty());
    // Released and taken by the other: the second lock.
    w.done(unlock("k", "s1", "four"));
    let entry = w.view().kv("k").unwrap().clone();
    assert_eq!(
        (entry.lock_index, entry.session.as_str(), &entry.value[..]),
        (1, "", &b"four"[..])
    );
    w.done(lock("k", "s2", "five"));
    assert_eq!(w.view().kv("k").unwrap().lock_index, 2);
    assert_eq!(w.view().keys_of_session("s1").count(), 0);
}

#[test]
fn a_plain_write_keeps_the_holder_and_forgets_the_count() {
    for write in [
        set("k", "plain"),
        Command::Kv(KvOp {
            index: 13,
            ..kv_op(KvVerb::Cas, "k", "plain")
        }),
    ] {
        let mut w = world(&["s"]);
        let locked = w.done(lock("k", "s", "v"));
        assert_eq!(locked, 13, "the check-and-set above names it");
        w.done(write);
        let entry = w.view().kv("k").unwrap().clone();
        assert_eq!((entry.lock_index, entry.session.as_str()), (0, "s"));
        w.done(lock("k", "s", "again"));
        assert_eq!(
            w.view().kv("k").unwrap().lock_index,
            0,
            "the holder takes no new lock"
        );
        w.done(unlock("k", "s", ""));
        w.done(lock("k", "s", ""));
        assert_eq!(w.view().kv("k").unwrap().lock_index, 1);
    }
}

#[test]
fn a_lock_needs_a_session() {
    let mut w = world(&["s"]);
    assert_eq!(w.refused(lock("k", "", "v")), "missing session");
    assert_eq!(w.refused(lock("k", "zz", "v")), "invalid session \"zz\"");
    assert_eq!(w.refused(unlock("k", "", "v")), "missing session");
    assert_eq!(
        w.run(unlock("k", "s", "v")),
        Outcome::Flag(false),
        "there is no such key"
    );
    w.done(set("k", "v"));
    assert_eq!(
        w.run(unlock("k", "s", "v")),
        Outcome::Flag(false),
        "nobody holds it"
    );
}

#[test]
fn a_held_key_can_be_removed_and_its_session_lives_on() {
    let mut w = world(&["s"]);
    w.done(lock("k", "s", "v"));
    w.done(delete("k"));
    assert!(w.view().session("s").is_some() && w.view().keys_of_session("s").next().is_none());
    w.done(lock("k", "s", "v"));
    assert_eq!(w.view().kv("k").unwrap().lock_index, 1, "a new key");
    w.done(delete_tree("k"));
    assert!(w.view().keys_of_session("s").next().is_none());
}

#[test]
fn a_lock_waits_for_its_delay() {
    let mut w = world(&["s"]);
    w.done(create(session("old", "n", Release, 15)));
    w.done(lock("k", "old", "v"));
    w.done(Command::SessionDestroy("old".into()));
    assert_eq!(w.view().lock_delay("k"), Some(w.now + 15_000));
    w.now += 14_999;
    // The session is not even looked at.
    for id in ["s", "", "zz"] {
        assert_eq!(w.run(lock("k", id, "v")), Outcome::Flag(false), "{id:?}");
    }
    w.now += 1;
    w.done(lock("k", "s", "v"));
    assert_eq!(w.view().lock_delay("k"), None);
}

#[test]
fn a_delay_is_for_what_was_held_and_at_most_a_minute() {
    let mut w = world(&[]);
    for (id, seconds) in [("none", 0), ("some", 3), ("long", 3_600)] {
        w.done(create(session(id, "n", Delete, seconds)));
        w.done(lock(id, id, "v"));
    }
    w.done(create(session("loose", "n", Release, 15)));
    w.done(lock("loose", "loose", "v"));
    w.done(unlock("loose", "loose", "v"));
    for id in ["none", "some", "long", "loose"] {
        w.done(Command::SessionDestroy(id.into()));
    }
    let delay = |key| w.view().lock_delay(key).map(|until| until - w.now);
    // It outlives the key, which was deleted with its session.
    assert!(w.view().kv("some").is_none());
    assert_eq!(
        [delay("none"), delay("some"), delay("long"), delay("loose")],
        [None, Some(3_000), Some(60_000), None]
    );
    // A reap forgets the delays that are over.
    w.now += 3_000;
    w.done(Command::ReapTombstones(0));
    assert_eq!(
        (
            w.view().lock_delay("some"),
            w.view().lock_delay("long").is_some()
        ),
        (None, true)
    );
}
