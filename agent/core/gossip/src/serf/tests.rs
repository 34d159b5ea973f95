//! Scenarios of a few members on a quiet network, on the simulator.

use std::time::Duration;

use super::*;
use crate::Tags;
use crate::sim::{Seen, Sim};

const SECOND: Duration = Duration::from_secs(1);

fn pool(count: usize) -> Sim {
    Sim::pool(1, count, &Config::lan())
}

fn status(sim: &Sim, by: usize, of: usize) -> Option<Status> {
    sim.core(by)?
        .member(&Sim::name(of))
        .map(|member| member.status)
}

fn events(
    sim: &mut Sim,
    by: usize,
    seconds: u32,
    call: impl FnOnce(&mut crate::Core, Time),
) -> Vec<Event> {
    // The simulator takes the events after each call; here they are wanted.
    let mut events = Vec::new();
    sim.collect(by, true);
    sim.with(by, call);
    sim.run(SECOND * seconds);
    events.append(&mut sim.collect(by, false));
    events
}

#[test]
fn a_leave_is_seen_as_a_leave_and_a_death_as_a_failure() {
    let mut sim = pool(5);
    assert_eq!(sim.difference(), None);
    sim.leave(1);
    sim.run(SECOND * 8);
    assert!(sim.has_left(1));
    assert_eq!(status(&sim, 0, 1), Some(Status::Left));
    assert!(sim.first(1, Seen::Failed, Time::ZERO).is_none());
    sim.kill(1);
    sim.kill(2);
    sim.run(SECOND * 40);
    for by in [0, 3, 4] {
        assert_eq!(
            (status(&sim, by, 1), status(&sim, by, 2)),
            (Some(Status::Left), Some(Status::Failed))
        );
    }
    // Declared gone.
    sim.force_leave(3, 2);
    sim.run(SECOND * 3);
    assert_eq!(status(&sim, 0, 2), Some(Status::Left));
    sim.assert_safety();
}

#[test]
fn a_live_member_objects_to_a_forced_leave() {
    let mut sim = pool(4);
    sim.with(0, |core, now| assert!(core.force_leave(now, "m1", false)));
    sim.with(0, |core, now| {
        assert!(!core.force_leave(now, "nobody", false))
    });
    sim.run(SECOND * 5);
    assert_eq!(sim.difference(), None);
}

#[test]
fn who_left_comes_back() {
    let mut sim = pool(4);
    sim.leave(1);
    sim.run(SECOND * 8);
    sim.kill(1);
    sim.start(1);
    assert_eq!(
        sim.core(1).map(|core| core.members().count()),
        Some(1),
        "its snapshot ends with its leave"
    );
    sim.join(1, 0);
    sim.assert_converges(SECOND * 30);
}

#[test]
fn a_restart_finds_the_pool_by_its_snapshot() {
    let mut sim = pool(4);
    let heard = sim.fire(0);
    sim.run(SECOND * 3);
    assert_eq!(sim.deliveries(&heard), 4);
    sim.kill(1);
    sim.start(1);
    sim.assert_converges(SECOND * 30);
    // What was delivered in the life before is not delivered again.
    assert_eq!(sim.deliveries(&heard), 3);
    let text = sim.snapshot(1);
    assert!(
        text.contains("alive: m0 10.7.0.0:7946\n") && text.contains("event-clock: 1\n"),
        "{text}"
    );
    let snapshot = Snapshot::replay(text, false);
    assert!(snapshot.clock > 0 && snapshot.alive.contains_key("m3"));
}

#[test]
fn tags_travel() {
    let mut sim = pool(4);
    sim.set_tags(2, Tags::from([("role".into(), "db".into())]));
    sim.run(SECOND * 3);
    assert_eq!(sim.difference(), None);
    let large = Tags::from([("x".to_owned(), "y".repeat(600))]);
    assert_eq!(
        sim.with(2, |core, now| core.set_tags(now, &large)),
        Some(Err(crate::ConfigError::Tags))
    );
}

#[test]
fn events_reach_all_once_and_late_comers_by_the_exchange() {
    let mut sim = pool(8);
    let payload = sim.fire(3);
    sim.run(SECOND * 4);
    assert_eq!(sim.deliveries(&payload), 8);
    let late = sim.add(Config::lan());
    sim.join(late, 0);
    sim.run(SECOND * 3);
    assert_eq!(sim.deliveries(&payload), 9);
    // Unless it does not want the old ones.
    let later = sim.add(Config::lan());
    sim.with(later, |core, now| core.join(now, &[Sim::addr(0)], true));
    sim.run(SECOND * 3);
    assert_eq!(sim.deliveries(&payload), 9);
    let fresh = sim.fire(0);
    sim.run(SECOND * 3);
    assert_eq!(sim.deliveries(&fresh), 10);
    sim.assert_safety();
    let too_large = sim.with(0, |core, now| core.fire_event(now, "x", &[0; 512], false));
    assert_eq!(too_large, Some(Err(EventError::TooLarge { limit: 512 })));
}

#[test]
fn a_query_finds_those_it_is_for() {
    let mut sim = pool(6);
    sim.set_tags(2, Tags::from([("role".into(), "db-1".into())]));
    sim.set_tags(3, Tags::from([("role".into(), "db-2".into())]));
    sim.run(SECOND * 3);
    for by in 1..6 {
        sim.collect(by, true);
    }
    let params = QueryParams {
        filters: vec![
            Filter::Tag {
                tag: "role".into(),
                expr: "^db".into(),
            },
            Filter::Nodes(vec!["m2".into(), "m4".into()]),
        ],
        ack: true,
        relay_factor: 2,
        timeout: Some(SECOND * 5),
    };
    let mut asked = None;
    sim.collect(0, true);
    sim.with(0, |core, now| {
        asked = core.query(now, "load", b"now", &params).ok()
    });
    let id = asked.expect("the query is asked");
    sim.run(SECOND * 2);
    for by in 1..6 {
        let got = sim.collect(by, false);
        let queries: Vec<Query> = got
            .into_iter()
            .filter_map(|event| {
                if let Event::Query(query) = event {
                    Some(query)
                } else {
                    None
                }
            })
            .collect();
        assert_eq!(queries.len(), usize::from(by == 2), "m{by}");
        for query in queries {
            assert_eq!(
                (&*query.name, &query.payload[..], &*query.source),
                ("load", &b"now"[..], "m0")
            );
            sim.with(by, |core, now| {
                core.respond(now, &query, b"little").unwrap();
                assert_eq!(
                    core.respond(now, &query, &[0; 1100]),
                    Err(QueryError::TooLarge { limit: 1024 })
                );
                assert_eq!(
                    core.respond(now + SECOND * 60, &query, b""),
                    Err(QueryError::Late)
                );
            });
        }
    }
    sim.run(SECOND * 4);
    let got = sim.collect(0, false);
    let from: Arc<str> = "m2".into();
    assert!(got.contains(&Event::QueryAck {
        id,
        from: from.clone()
    }));
    // Relays bring copies; one answer counts.
    let answers = got
        .iter()
        .filter(|event| matches!(event, Event::QueryResponse { .. }))
        .count();
    assert_eq!(answers, 1);
    assert!(got.contains(&Event::QueryResponse {
        id,
        from,
        payload: b"little".to_vec()
    }));
    assert_eq!(
        got.iter()
            .filter(|event| matches!(event, Event::QueryDone { .. }))
            .count(),
        1
    );
}

#[test]
fn keys_are_changed_in_the_whole_pool() {
    let config = Config {
        keys: vec![vec![1; 16]],
        ..Config::lan()
    };
    let mut sim = Sim::pool(1, 4, &config);
    let mut run = |operation, key: &[u8]| {
        let got = events(&mut sim, 2, 10, |core, now| {
            let _ = core.key_operation(now, operation, key, 0);
        });
        got.into_iter()
            .find_map(|event| {
                if let Event::KeyDone(result) = event {
                    Some(result)
                } else {
                    None
                }
            })
            .unwrap()
    };
    let done = run(KeyOperation::Use, &[2; 16]);
    assert_eq!((done.nodes, done.responses, done.errors), (4, 4, 4));
    assert!(
        done.messages
            .values()
            .all(|text| text == "requested key is not in the keyring")
    );
    assert_eq!(run(KeyOperation::Install, &[2; 16]).errors, 0);
    assert_eq!(run(KeyOperation::Use, &[2; 16]).errors, 0);
    assert_eq!(run(KeyOperation::Remove, &[1; 16]).errors, 0);
    let done = run(KeyOperation::List, &[]);
    assert_eq!(
        done.keys.into_iter().collect::<Vec<_>>(),
        [("AgICAgICAgICAgICAgICAg==".to_owned(), 4)]
    );
    assert_eq!(done.primary_keys.len(), 1);
    sim.assert_converges(SECOND * 10);
    // Without encryption there is nothing to change.
    let mut sim = pool(2);
    let got = events(&mut sim, 0, 10, |core, now| {
        let _ = core.key_operation(now, KeyOperation::List, &[], 0);
    });
    let text = "Keyring is empty (encryption not enabled)";
    assert!(got.iter().any(|event| matches!(event, Event::KeyDone(r) if r.errors == 2 && r.messages.values().all(|m| m == text))));
}

#[test]
fn who_is_gone_for_long_is_forgotten() {
    let mut config = Config::lan();
    config.serf.reconnect_timeout = SECOND * 60;
    config.serf.tombstone_timeout = SECOND * 120;
    config.serf.reconnect_timeout_tag = Some("rc_tm".to_owned());
    let mut sim = Sim::pool(1, 5, &config);
    sim.set_tags(2, Tags::from([("rc_tm".into(), "10m".into())]));
    sim.leave(3);
    sim.run(SECOND * 8);
    for dead in [1, 2, 3] {
        sim.kill(dead);
    }
    sim.run(SECOND * 40);
    assert_eq!(
        (status(&sim, 0, 1), status(&sim, 0, 2)),
        (Some(Status::Failed), Some(Status::Failed))
    );
    sim.run(SECOND * 70);
    assert_eq!(
        (status(&sim, 0, 1), status(&sim, 0, 2)),
        (None, Some(Status::Failed))
    );
    assert_eq!(status(&sim, 0, 3), Some(Status::Left));
    sim.run(SECOND * 60);
    assert_eq!(status(&sim, 0, 3), None);
    sim.run(SECOND * 600);
    assert_eq!(status(&sim, 0, 2), None);
}

#[test]
fn a_pruned_member_is_forgotten_at_once() {
    let mut sim = pool(4);
    sim.kill(1);
    sim.run(SECOND * 40);
    sim.with(0, |core, now| core.force_leave(now, "m1", true));
    sim.run(SECOND * 4);
    for by in [0, 2, 3] {
        assert_eq!(status(&sim, by, 1), None);
    }
}

#[test]
fn times_of_the_left_do_not_creep() {
    let mut sim = pool(4);
    sim.leave(1);
    sim.run(SECOND * 60);
    let time = |sim: &Sim| sim.core(0).map(|core| core.stats().member_time);
    let before = time(&sim);
    sim.run(SECOND * 600);
    assert_eq!(time(&sim), before);
}

#[test]
fn a_look_without_being_seen() {
    let mut sim = pool(3);
    let shy = sim.add(Config::lan());
    let got = events(&mut sim, shy, 3, |core, now| {
        core.peek(now, Sim::addr(1));
    });
    let nodes = got.iter().find_map(|event| match event {
        Event::PeekDone {
            result: Ok(nodes), ..
        } => Some(nodes),
        _ => None,
    });
    let names: Vec<&str> = nodes
        .expect("an answer")
        .iter()
        .map(|node| &*node.name)
        .collect();
    assert_eq!(names, ["m0", "m1", "m2"]);
    assert_eq!(sim.core(shy).map(|core| core.members().count()), Some(1));
    assert_eq!(status(&sim, 1, shy), None);
}

#[test]
fn a_join_that_reaches_nobody_says_so() {
    let mut sim = pool(2);
    let lonely = sim.add(Config::lan());
    sim.network.cut.insert((0, lonely));
    sim.kill(1);
    let targets = [Sim::addr(0), Sim::addr(1)];
    let got = events(&mut sim, lonely, 11, |core, now| {
        core.join(now, &targets, false);
    });
    let done = got.iter().find_map(|event| match event {
        Event::JoinDone {
            contacted, failed, ..
        } => Some((*contacted, failed)),
        _ => None,
    });
    let (contacted, failed) = done.expect("an end");
    assert_eq!((contacted, failed.len()), (0, 2));
    assert!(failed.contains(&(targets[0], StreamError::Timeout)));
}

#[test]
fn coordinates_are_learned() {
    let mut sim = pool(6);
    sim.network.delay_min = Duration::from_millis(10);
    sim.network.delay_max = Duration::from_millis(11);
    sim.run(SECOND * 300);
    let core = sim.core(0).expect("it runs");
    let there = core.coordinate_of("m1").expect("a coordinate");
    let distance = core.coordinate().distance_to(there).as_secs_f64();
    assert!((0.015..0.027).contains(&distance), "{distance}");
    sim.kill(1);
    sim.run(SECOND * 60);
    assert!(
        sim.core(0)
            .is_some_and(|core| core.coordinate_of("m1").is_none())
    );
}

#[test]
fn intents_may_come_before_their_member() {
    let mut sim = pool(2);
    let early = msgpack::tagged(
        message::kind::LEAVE,
        &message::LeaveIntent {
            ltime: 50,
            node: "m2".into(),
            prune: false,
        },
    );
    sim.with(0, |core, now| {
        let packet = [&[packet::kind::USER], &early[..]].concat();
        core.handle_packet(now, Sim::addr(1), &packet);
        assert_eq!(core.stats().member_time, 51);
    });
    let late = sim.add(Config::lan());
    sim.with(0, |core, now| {
        core.handle_packet(now, Sim::addr(1), &alive(late))
    });
    assert_eq!(status(&sim, 0, late), Some(Status::Leaving));
    // It is there, and says so.
    sim.join(late, 0);
    sim.assert_converges(SECOND * 60);
}

/// What is said of a member reaches the others first, and the member by an exchange, which has the
/// time of it alone, or at a time of its own.
#[test]
fn a_live_member_objects_to_what_it_has_not_heard() {
    for behind in [0, 5] {
        let mut sim = pool(3);
        let known = sim.core(0).map_or(0, |core| core.stats().member_time);
        let ltime = known + 10;
        let said = |kind: u8, ltime: u64| {
            let intent = message::JoinIntent {
                ltime,
                node: "m2".into(),
            };
            [&[packet::kind::USER], &msgpack::tagged(kind, &intent)[..]].concat()
        };
        let leave = message::LeaveIntent {
            ltime,
            node: "m2".into(),
            prune: false,
        };
        let leave = msgpack::tagged(message::kind::LEAVE, &leave);
        let leave = [&[packet::kind::USER], &leave[..]].concat();
        // m2 is deaf while the others hear of its leave.
        sim.network.cut.extend([(0, 2), (1, 2)]);
        for by in [0, 1] {
            sim.with(by, |core, now| {
                core.handle_packet(now, Sim::addr(1 - by), &leave)
            });
            assert_eq!(status(&sim, by, 2), Some(Status::Leaving));
        }
        sim.run(SECOND);
        sim.network.cut.clear();
        // A join of its own at that time or before, as it comes back; then what an exchange says.
        let own = said(message::kind::JOIN, ltime - behind);
        sim.with(2, |core, now| core.handle_packet(now, Sim::addr(0), &own));
        let exchange = said(message::kind::JOIN, ltime);
        sim.with(2, |core, now| {
            core.handle_packet(now, Sim::addr(0), &exchange)
        });
        sim.with(2, |core, now| core.handle_packet(now, Sim::addr(0), &leave));
        sim.assert_converges(SECOND * 30);
    }
}

fn alive(member: usize) -> Vec<u8> {
    let alive = crate::packet::message::Alive {
        addr: Sim::addr(member).ip().into(),
        incarnation: 1,
        meta: encode_tags(&Tags::from([("n".to_owned(), member.to_string())])).into(),
        node: Sim::name(member),
        port: 7946,
        vsn: crate::packet::message::Versions::ours(5),
    };
    msgpack::tagged(packet::kind::ALIVE, &alive)
}

#[test]
fn messages_of_absurd_times_stop_no_clock() {
    let mut sim = pool(2);
    let before = sim.core(0).map(|core| core.stats().member_time);
    for kind in [message::kind::LEAVE, message::kind::JOIN] {
        let intent = message::JoinIntent {
            ltime: u64::MAX,
            node: "m1".into(),
        };
        let packet = [&[packet::kind::USER], &msgpack::tagged(kind, &intent)[..]].concat();
        sim.with(0, |core, now| {
            core.handle_packet(now, Sim::addr(1), &packet)
        });
    }
    assert_eq!(sim.core(0).map(|core| core.stats().member_time), before);
    assert_eq!(status(&sim, 0, 1), Some(Status::Alive));
}
