use super::*;
use proptest::prelude::*;

fn event(client: u32, op: Op, outcome: Outcome, start: u64, end: u64) -> Event {
    Event {
        client,
        key: "k".to_owned(),
        op,
        outcome,
        start,
        end,
    }
}

fn read(value: u64) -> Outcome {
    Outcome::Read(Some(Seen {
        value,
        index: value * 10,
    }))
}

const NOTHING: Outcome = Outcome::Read(None);

fn cas(expected: u64, value: u64) -> Op {
    Op::Cas {
        expected: Some(expected),
        value,
    }
}

fn verdict(events: &[Event]) -> Result<Summary, Violation> {
    check(events, STATE_LIMIT)
}

#[track_caller]
fn good(events: &[Event]) -> Summary {
    verdict(events).unwrap_or_else(|v| panic!("{v}"))
}

#[track_caller]
fn bad(events: &[Event]) -> String {
    match verdict(events) {
        Err(Violation::NotLinearizable { explanation, .. }) => explanation,
        other => panic!("{other:?}"),
    }
}

#[test]
fn one_after_the_other_is_good() {
    let summary = good(&[
        event(1, Op::Get, NOTHING, 0, 1),
        event(1, Op::Put(1), Outcome::Done, 2, 3),
        event(1, Op::Get, read(1), 4, 5),
        event(1, cas(1, 2), Outcome::Applied(true), 6, 7),
        event(1, cas(1, 3), Outcome::Applied(false), 8, 9),
        event(1, Op::Get, read(2), 10, 11),
        event(1, Op::Delete, Outcome::Done, 12, 13),
        event(1, Op::Get, NOTHING, 14, 15),
    ]);
    assert_eq!((summary.keys, summary.known), (1, 8));
}

#[test]
fn operations_at_the_same_time_may_take_either_order() {
    for seen in [1, 2] {
        good(&[
            event(1, Op::Put(1), Outcome::Done, 0, 10),
            event(2, Op::Put(2), Outcome::Done, 0, 10),
            event(3, Op::Get, read(seen), 11, 12),
        ]);
    }
}

/// A stale read: it starts after a later write was acknowledged and gives the earlier one.
#[test]
fn a_stale_read_is_bad() {
    let text = bad(&[
        event(1, Op::Put(1), Outcome::Done, 0, 1),
        event(1, Op::Put(2), Outcome::Done, 2, 3),
        event(2, Op::Get, read(1), 4, 5),
    ]);
    assert!(text.contains("client 2: Get"), "{text}");
}

#[test]
fn reads_do_not_go_back() {
    // The write has not ended: either answer is right for each read, but not in this order.
    let text = bad(&[
        event(1, Op::Put(1), Outcome::Done, 0, 1),
        event(1, Op::Put(2), Outcome::Done, 2, 9),
        event(2, Op::Get, read(2), 3, 4),
        event(3, Op::Get, read(1), 5, 6),
    ]);
    assert!(text.contains("client 3: Get"), "{text}");
}

#[test]
fn a_lost_write_is_bad() {
    bad(&[
        event(1, Op::Put(1), Outcome::Done, 0, 1),
        event(2, Op::Get, NOTHING, 2, 3),
    ]);
}

#[test]
fn two_winners_of_one_condition_are_bad() {
    bad(&[
        event(1, Op::Put(1), Outcome::Done, 0, 1),
        event(1, cas(1, 2), Outcome::Applied(true), 2, 9),
        event(2, cas(1, 3), Outcome::Applied(true), 2, 9),
    ]);
    good(&[
        event(1, Op::Put(1), Outcome::Done, 0, 1),
        event(1, cas(1, 2), Outcome::Applied(true), 2, 9),
        event(2, cas(1, 3), Outcome::Applied(false), 2, 9),
    ]);
}

#[test]
fn a_write_without_an_answer_may_happen_late_or_never() {
    let lost = event(1, Op::Put(1), Outcome::Unknown, 0, 1);
    good(&[lost.clone(), event(2, Op::Get, NOTHING, 5, 6)]);
    let summary = good(&[
        lost.clone(),
        event(2, Op::Get, NOTHING, 5, 6),
        event(2, Op::Get, read(1), 7, 8),
    ]);
    assert_eq!((summary.resolved, summary.in_doubt), (1, 0));
    // But not before it was asked for, and only once.
    bad(&[
        event(2, Op::Get, read(1), 0, 1),
        event(1, Op::Put(1), Outcome::Unknown, 2, 3),
    ]);
    bad(&[
        lost,
        event(2, Op::Get, read(1), 2, 3),
        event(2, Op::Put(2), Outcome::Done, 4, 5),
        event(2, Op::Get, read(1), 6, 7),
    ]);
}

#[test]
fn a_chain_of_writes_without_answers_is_followed() {
    // Only the last was seen; that it was made says that the one before it was.
    let summary = good(&[
        event(1, Op::Put(1), Outcome::Unknown, 0, 1),
        event(1, cas(1, 2), Outcome::Unknown, 2, 3),
        event(2, Op::Get, read(2), 4, 5),
    ]);
    assert_eq!(summary.resolved, 2);
    bad(&[
        event(1, Op::Put(1), Outcome::Failed, 0, 1),
        event(1, cas(1, 2), Outcome::Unknown, 2, 3),
        event(2, Op::Get, read(2), 4, 5),
    ]);
}

#[test]
fn a_delete_in_doubt_explains_what_is_missing() {
    let put = event(1, Op::Put(1), Outcome::Done, 0, 1);
    let delete = event(2, Op::Delete, Outcome::Unknown, 0, 1);
    let gone = event(3, Op::Get, NOTHING, 5, 6);
    good(&[put.clone(), delete.clone(), gone.clone()]);
    bad(&[
        put,
        delete,
        gone,
        event(3, Op::Put(2), Outcome::Done, 7, 8),
        event(3, Op::Get, NOTHING, 9, 10),
    ]);
}

#[test]
fn what_failed_or_was_refused_must_not_be_seen() {
    for (op, outcome) in [
        (Op::Put(1), Outcome::Failed),
        (cas(7, 1), Outcome::Applied(false)),
    ] {
        bad(&[
            event(1, op, outcome, 0, 1),
            event(2, Op::Get, read(1), 2, 3),
        ]);
    }
    bad(&[event(2, Op::Get, read(1), 2, 3)]);
}

#[test]
fn modify_indexes_follow_the_order() {
    let seen = |value, index| Outcome::Read(Some(Seen { value, index }));
    let puts = [
        event(1, Op::Put(1), Outcome::Done, 0, 1),
        event(1, Op::Get, seen(1, 20), 2, 3),
        event(1, Op::Put(2), Outcome::Done, 4, 5),
    ];
    let with = |last| [puts.to_vec(), vec![last]].concat();
    good(&with(event(1, Op::Get, seen(2, 21), 6, 7)));
    bad(&with(event(1, Op::Get, seen(2, 19), 6, 7)));
    bad(&[
        event(1, Op::Put(1), Outcome::Done, 0, 1),
        event(1, Op::Get, seen(1, 20), 2, 3),
        event(1, Op::Get, seen(1, 21), 4, 5),
    ]);
}

#[test]
fn what_is_no_history_is_said_to_be_none() {
    for events in [
        vec![event(1, Op::Get, NOTHING, 5, 4)],
        vec![event(1, Op::Get, Outcome::Done, 0, 1)],
        vec![event(1, Op::Put(1), Outcome::Applied(true), 0, 1)],
        vec![
            event(1, Op::Put(1), Outcome::Done, 0, 1),
            event(2, Op::Put(1), Outcome::Unknown, 0, 1),
        ],
    ] {
        assert!(
            matches!(verdict(&events), Err(Violation::Malformed(_))),
            "{events:?}"
        );
    }
}

#[test]
fn keys_are_independent_and_the_bad_one_is_named() {
    let mut events = Vec::new();
    for n in 0..3 {
        let mut put = event(1, Op::Put(1), Outcome::Done, 0, 1);
        let mut get = event(1, Op::Get, if n == 1 { NOTHING } else { read(1) }, 2, 3);
        (put.key, get.key) = (format!("k{n}"), format!("k{n}"));
        events.extend([put, get]);
    }
    match verdict(&events) {
        Err(Violation::NotLinearizable { key, .. }) => assert_eq!(key, "k1"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_search_has_an_end() {
    // All at once, and none leaves what the last read saw: every order would have to be tried.
    let mut events = Vec::new();
    for n in 0..12 {
        let (one, other) = (u64::from(n) * 2 + 1, u64::from(n) * 2 + 2);
        events.push(event(n, Op::Put(one), Outcome::Done, 0, 50));
        events.push(event(n, cas(one, other), Outcome::Applied(true), 0, 50));
    }
    events.push(event(1, Op::Get, NOTHING, 60, 61));
    let result = check(&events, 1_000);
    assert!(
        matches!(result, Err(Violation::Undecided { .. })),
        "{result:?}"
    );
}

/// A long history with many clients at once and many writes in doubt is decided quickly.
#[test]
fn long_histories_are_decided() {
    let mut events = Vec::new();
    let mut held = None;
    let mut random = 7_u64;
    let mut draw = move |n: u64| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % n
    };
    // Each operation happens at its place in the order and is stretched to both sides.
    for n in 1..4_000_u64 {
        let (start, end) = (n * 100 - draw(99), n * 100 + draw(900));
        let client = draw(20) as u32;
        let lost = draw(20) == 0;
        let (op, outcome) = match draw(10) {
            0..5 => (Op::Get, held.map_or(NOTHING, read)),
            5..8 => {
                // One in two of those that are lost is made.
                if !lost || draw(2) == 0 {
                    held = Some(n);
                }
                (Op::Put(n), Outcome::Done)
            }
            8 => {
                let expected = held.filter(|_| draw(2) == 0).or(Some(n.saturating_sub(3)));
                let applied = held == expected;
                let op = Op::Cas { expected, value: n };
                if applied {
                    held = Some(n);
                }
                (op, Outcome::Applied(applied))
            }
            _ => {
                held = None;
                (Op::Delete, Outcome::Done)
            }
        };
        let outcome = if lost { Outcome::Unknown } else { outcome };
        events.push(event(client, op, outcome, start, end));
    }
    let started = std::time::Instant::now();
    let summary = good(&events);
    assert!(
        started.elapsed().as_secs() < 20,
        "{summary:?} {:?}",
        started.elapsed()
    );
    assert!(summary.in_doubt > 50 && summary.resolved > 5, "{summary:?}");

    // The same with one read of the middle replaced by what was there long before.
    let old = events[1_000..1_500]
        .iter()
        .find_map(|e| match e.outcome {
            Outcome::Read(Some(seen)) => Some(seen),
            _ => None,
        })
        .expect("a read");
    let late = events[2_000..]
        .iter_mut()
        .find(|e| matches!(e.outcome, Outcome::Read(Some(_))))
        .expect("a read");
    late.outcome = Outcome::Read(Some(old));
    let text = bad(&events);
    assert!(text.contains("saw what had been replaced"), "{text}");
    println!("{summary:?}");
}

/// A register with a copy that lags: what clients see who read the register, and what those see
/// whose reads the copy answers.
fn with_a_copy(read_the_copy: bool) -> Vec<Event> {
    let mut held: Vec<(u64, Option<Seen>)> = vec![(0, None)];
    let mut events = Vec::new();
    let mut random = 11_u64;
    let mut draw = move |n: u64| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % n
    };
    for n in 1..200_u64 {
        let (start, at, end) = (n * 10, n * 10 + draw(8), n * 10 + 9);
        if draw(2) == 0 {
            held.push((at, Some(Seen { value: n, index: n })));
            events.push(event(1, Op::Put(n), Outcome::Done, start, end));
        } else {
            // The copy is a little behind, and now and then far.
            let lag = match (read_the_copy, draw(10)) {
                (false, _) => 0,
                (true, 0) => 40,
                (true, _) => 1,
            };
            let then = held.iter().rev().find(|(t, _)| *t + lag <= at);
            let seen = then.and_then(|(_, seen)| *seen);
            events.push(event(2, Op::Get, Outcome::Read(seen), start, end));
        }
    }
    events
}

#[test]
fn reads_of_a_copy_that_lags_are_seen() {
    good(&with_a_copy(false));
    let text = bad(&with_a_copy(true));
    assert!(text.contains("saw what had been replaced"), "{text}");
}

// ---- against a brute force ----

/// Whether any order of any choice of the operations in doubt explains the history; from the
/// definition alone.
fn brute_force(events: &[Event]) -> bool {
    let must = |e: &Event| {
        !matches!(
            (e.op, e.outcome),
            (_, Outcome::Failed) | (_, Outcome::Unknown)
        )
    };
    let may = |e: &Event| e.outcome == Outcome::Unknown && e.op != Op::Get;
    let all: Vec<&Event> = events.iter().filter(|e| must(e) || may(e)).collect();
    let mut order = Vec::new();
    let mut used = vec![false; all.len()];
    extend(&all, &must, &mut order, &mut used, events)
}

fn extend<'a>(
    all: &[&'a Event],
    must: &dyn Fn(&Event) -> bool,
    order: &mut Vec<&'a Event>,
    used: &mut [bool],
    events: &[Event],
) -> bool {
    let complete = all.iter().zip(&*used).all(|(e, u)| *u || !must(e));
    if complete && explains(order, must, events) {
        return true;
    }
    for i in 0..all.len() {
        if used[i] {
            continue;
        }
        used[i] = true;
        order.push(all[i]);
        if extend(all, must, order, used, events) {
            return true;
        }
        order.pop();
        used[i] = false;
    }
    false
}

fn explains(order: &[&Event], must: &dyn Fn(&Event) -> bool, events: &[Event]) -> bool {
    for (i, earlier) in order.iter().enumerate() {
        for later in &order[i + 1..] {
            // The later one in the order must not have ended before the earlier one began.
            if must(later) && later.end < earlier.start {
                return false;
            }
        }
    }
    let index_of = |value: u64| {
        events.iter().find_map(|e| match e.outcome {
            Outcome::Read(Some(seen)) if seen.value == value => Some(seen.index),
            _ => None,
        })
    };
    let mut held = None;
    let mut highest = 0;
    for event in order {
        let mut wrote = None;
        match (event.op, event.outcome) {
            (Op::Get, Outcome::Read(seen)) if seen.map(|s| s.value) != held => return false,
            (Op::Get, _) => {}
            (Op::Put(value), _) => wrote = Some(value),
            (Op::Delete, _) => held = None,
            (Op::Cas { expected, value }, outcome) => match (held == expected, outcome) {
                (true, Outcome::Applied(false)) | (false, Outcome::Applied(true)) => return false,
                (true, _) => wrote = Some(value),
                (false, _) => {}
            },
        }
        if let Some(value) = wrote {
            held = Some(value);
            if let Some(index) = index_of(value) {
                if index <= highest {
                    return false;
                }
                highest = index;
            }
        }
    }
    true
}

fn any_event() -> impl Strategy<Value = (u8, u8, u64, u64, u64, u64)> {
    (0_u8..10, 0_u8..10, 0_u64..7, 0_u64..8, 0_u64..14, 0_u64..6)
}

/// Events from free numbers. The number that an operation writes is its place.
fn assemble(raw: &[(u8, u8, u64, u64, u64, u64)], swapped: bool) -> Vec<Event> {
    let some = |n: u64| (n > 0).then_some(n);
    raw.iter()
        .enumerate()
        .map(|(i, &(kind, luck, a, b, start, length))| {
            let value = i as u64 + 1;
            let index = |v: u64| if swapped { 100 - v } else { v };
            let seen = some(b).map(|value| Seen {
                value,
                index: index(value),
            });
            let (op, outcome) = match kind {
                0..4 => (Op::Get, Outcome::Read(seen)),
                4..7 => (Op::Put(value), Outcome::Done),
                7..9 => {
                    let op = Op::Cas {
                        expected: some(a),
                        value,
                    };
                    (op, Outcome::Applied(luck % 2 == 0))
                }
                _ => (Op::Delete, Outcome::Done),
            };
            let outcome = match luck {
                0..3 => Outcome::Unknown,
                3 => Outcome::Failed,
                _ => outcome,
            };
            event(i as u32, op, outcome, start, start + length)
        })
        .collect()
}

/// What a register that works would have answered, each operation at some instant of its time.
fn truthful(events: &mut [Event], points: &[u64]) {
    let mut order: Vec<usize> = (0..events.len()).collect();
    let point = |e: &Event, i: usize| match e.outcome {
        Outcome::Unknown => e.start + points[i % points.len()],
        _ => e.start + points[i % points.len()] % (e.end - e.start + 1),
    };
    order.sort_by_key(|i| (point(&events[*i], *i), *i));
    let mut held: Option<Seen> = None;
    for (n, i) in order.into_iter().enumerate() {
        let index = n as u64 + 1;
        let event = &mut events[i];
        let happens = match event.outcome {
            Outcome::Failed => false,
            Outcome::Unknown => n % 2 == 0,
            _ => true,
        };
        let mut applied = true;
        match event.op {
            Op::Get => {}
            Op::Cas { expected, .. } if held.map(|h| h.value) != expected => applied = false,
            _ if !happens => {}
            op => held = op.value().map(|value| Seen { value, index }),
        }
        event.outcome = match (event.op, event.outcome) {
            (_, Outcome::Unknown | Outcome::Failed) => event.outcome,
            (Op::Get, _) => Outcome::Read(held),
            (Op::Cas { .. }, _) => Outcome::Applied(applied),
            _ => Outcome::Done,
        };
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    #[test]
    fn it_agrees_with_a_brute_force(
        raw in prop::collection::vec(any_event(), 1..6),
        swapped in any::<bool>(),
    ) {
        let events = assemble(&raw, swapped);
        let expected = brute_force(&events);
        let got = verdict(&events);
        prop_assert!(!matches!(got, Err(Violation::Malformed(_) | Violation::Undecided { .. })), "{got:?}");
        prop_assert_eq!(got.is_ok(), expected, "{:?}", got);
    }

    /// Free numbers are seldom right. These begin right and have one answer changed, or none.
    #[test]
    fn it_agrees_with_a_brute_force_near_the_truth(
        raw in prop::collection::vec(any_event(), 1..7),
        points in prop::collection::vec(0_u64..20, 1..7),
        change in prop::option::of((0_usize..7, 0_u64..8)),
    ) {
        let mut events = assemble(&raw, false);
        truthful(&mut events, &points);
        prop_assert!(verdict(&events).is_ok(), "{:?}", verdict(&events));
        let indexes: Vec<Seen> = events.iter().filter_map(|e| match e.outcome {
            Outcome::Read(seen) => seen,
            _ => None,
        }).collect();
        if let Some((at, to)) = change
            && let Some(event) = events.get_mut(at)
        {
            event.outcome = match event.outcome {
                Outcome::Read(_) => Outcome::Read(indexes.get(to as usize).copied()),
                Outcome::Applied(applied) => Outcome::Applied(!applied),
                other => other,
            };
        }
        prop_assert_eq!(verdict(&events).is_ok(), brute_force(&events), "{:?}", verdict(&events));
    }
}
