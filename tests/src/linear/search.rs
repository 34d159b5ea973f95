//! The search for an order of one key's operations.

use super::{Call, Calls, Event, Op, Outcome, Violation};
use std::collections::{HashMap, HashSet};

/// What the key holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Held {
    Nothing,
    /// The write of this number.
    Written(u64),
    /// A write that nobody read or expected; which one makes no difference.
    Unseen,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    held: Held,
    /// The highest modify index known of a write taken so far. It follows from the set of those
    /// taken, so it is no part of what is remembered.
    floor: u64,
}

/// A set of completed operations that were taken and the state they lead to.
#[derive(PartialEq, Eq, Hash)]
struct Place {
    /// The first word of `taken` that is kept: all before it are full.
    from: u32,
    taken: Box<[u64]>,
    held: Held,
}

/// Where the search was, and how many of each class it had used there. A visit with no fewer of
/// any class can do nothing that the earlier one could not: what is in doubt stays open for ever.
#[derive(Default)]
struct Visits {
    places: HashMap<Place, Vec<Box<[u32]>>>,
    count: usize,
}

impl Visits {
    /// Whether there was no such visit, or better one. It is remembered.
    fn is_new(&mut self, place: Place, used: &[u32]) -> bool {
        let here = self.places.entry(place).or_default();
        let covers = |a: &[u32], b: &[u32]| a.iter().zip(b).all(|(a, b)| a <= b);
        if here.iter().any(|earlier| covers(earlier, used)) {
            return false;
        }
        here.retain(|earlier| !covers(used, earlier));
        here.push(used.into());
        self.count += 1;
        true
    }
}

/// Which operation was taken.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A completed one, by its call's entry.
    Entry(usize),
    /// The next of a class of equal ones in doubt.
    Class(usize),
}

struct Frame {
    before: State,
    step: Step,
    /// There was no alternative to it.
    forced: bool,
}

/// The start or the end of a completed operation.
struct Entry {
    call: usize,
    is_call: bool,
    time: u64,
    prev: usize,
    next: usize,
    /// For a start: its end's entry.
    end: usize,
}

/// A list of starts and ends by time, from which operations are taken out and put back in the
/// reverse order. Entry 0 is its head.
struct List(Vec<Entry>);

const HEAD: usize = 0;
const NONE: usize = usize::MAX;

impl List {
    fn new(calls: &[Call], completed: &[usize]) -> List {
        // An end at the instant of a start leaves the two concurrent: starts come first.
        let mut times: Vec<(u64, bool, usize)> = Vec::new();
        for (place, call) in completed.iter().enumerate() {
            let call = &calls[*call];
            times.push((call.start, false, place));
            times.push((call.end.unwrap_or(call.start), true, place));
        }
        times.sort_unstable();
        let mut entries = vec![Entry {
            call: NONE,
            is_call: false,
            time: 0,
            prev: NONE,
            next: NONE,
            end: NONE,
        }];
        let mut start_of = vec![NONE; completed.len()];
        for (time, is_end, place) in times {
            let at = entries.len();
            entries[at - 1].next = at;
            if is_end {
                entries[start_of[place]].end = at;
            } else {
                start_of[place] = at;
            }
            entries.push(Entry {
                call: place,
                is_call: !is_end,
                time,
                prev: at - 1,
                next: NONE,
                end: NONE,
            });
        }
        List(entries)
    }

    fn unlink(&mut self, at: usize) {
        let (prev, next) = (self.0[at].prev, self.0[at].next);
        self.0[prev].next = next;
        if next != NONE {
            self.0[next].prev = prev;
        }
    }

    fn relink(&mut self, at: usize) {
        let (prev, next) = (self.0[at].prev, self.0[at].next);
        self.0[prev].next = at;
        if next != NONE {
            self.0[next].prev = at;
        }
    }

    fn take(&mut self, at: usize) {
        let end = self.0[at].end;
        self.unlink(at);
        self.unlink(end);
    }

    fn put_back(&mut self, at: usize) {
        let end = self.0[at].end;
        self.relink(end);
        self.relink(at);
    }

    /// The first end of an operation not yet taken.
    fn first_end(&self) -> Option<usize> {
        let mut at = self.0[HEAD].next;
        while at != NONE && self.0[at].is_call {
            at = self.0[at].next;
        }
        (at != NONE).then_some(at)
    }
}

struct Search<'a> {
    events: &'a [&'a Event],
    calls: Vec<Call>,
    index_of: HashMap<u64, u64>,
    /// Numbers that somebody read or expected.
    known: HashSet<u64>,
    completed: Vec<usize>,
    /// Equal operations in doubt, each class by start.
    classes: Vec<Vec<usize>>,
    list: List,
    taken: Vec<u64>,
    used: Vec<u32>,
    state: State,
    stack: Vec<Frame>,
    visited: Visits,
    /// The longest order so far.
    best: Vec<usize>,
}

/// Looks for an order. Gives the number of states visited.
pub(super) fn search(
    key: &str,
    events: &[&Event],
    calls: Calls,
    limit: usize,
) -> Result<usize, Violation> {
    let Calls { calls, index_of } = calls;
    let mut known: HashSet<u64> = index_of.keys().copied().collect();
    for call in &calls {
        if let Op::Cas { expected, .. } = call.op {
            known.extend(expected);
        }
    }
    let mut completed: Vec<usize> = Vec::new();
    let mut by_effect: HashMap<(u8, Option<u64>, Option<u64>), Vec<usize>> = HashMap::new();
    let mut in_order: Vec<usize> = (0..calls.len()).collect();
    in_order.sort_by_key(|i| calls[*i].start);
    for i in in_order {
        let call = &calls[i];
        if call.end.is_some() {
            completed.push(i);
            continue;
        }
        let value = call.op.value().filter(|v| known.contains(v));
        let effect = match call.op {
            Op::Delete | Op::Get => (0, None, None),
            Op::Put(_) => (1, None, value),
            Op::Cas { expected, .. } => (2, expected, value),
        };
        by_effect.entry(effect).or_default().push(i);
    }
    let mut classes: Vec<Vec<usize>> = by_effect.into_values().collect();
    classes.sort();
    let list = List::new(&calls, &completed);
    let search = Search {
        events,
        index_of,
        known,
        list,
        taken: vec![0; completed.len().div_ceil(64)],
        used: vec![0; classes.len()],
        completed,
        classes,
        calls,
        state: State {
            held: Held::Nothing,
            floor: 0,
        },
        stack: Vec::new(),
        visited: Visits::default(),
        best: Vec::new(),
    };
    search.run(key, limit)
}

impl Search<'_> {
    fn run(mut self, key: &str, limit: usize) -> Result<usize, Violation> {
        // Where to look for the next step; `None` at a state just reached.
        let mut next = None;
        while let Some(first_end) = self.list.first_end() {
            let found = match next {
                None => self.find_forced().or_else(|| {
                    let first = self.first_step();
                    self.find(first, first_end)
                }),
                Some(step) => self.find(step, first_end),
            };
            if let Some(frame) = found {
                self.apply(frame);
                if self.stack.len() > self.best.len() {
                    self.best = self.stack.iter().map(|f| self.call_before(f)).collect();
                }
                if self.visited.count > limit {
                    return Err(Violation::Undecided {
                        key: key.to_owned(),
                        states: limit,
                    });
                }
                next = None;
                continue;
            }
            // Stuck: back to the last step that had an alternative.
            loop {
                let Some(frame) = self.stack.pop() else {
                    return Err(Violation::NotLinearizable {
                        key: key.to_owned(),
                        explanation: self.explanation(),
                    });
                };
                self.undo(&frame);
                if !frame.forced {
                    next = Some(self.after(frame.step));
                    break;
                }
            }
        }
        Ok(self.visited.count)
    }

    fn first_step(&self) -> Step {
        match self.list.0[HEAD].next {
            NONE => Step::Class(0),
            at => Step::Entry(at),
        }
    }

    fn after(&self, step: Step) -> Step {
        match step {
            Step::Class(k) => Step::Class(k + 1),
            Step::Entry(at) => match self.list.0[at].next {
                NONE => Step::Class(0),
                next => Step::Entry(next),
            },
        }
    }

    /// The operation that a step would take, if its turn is open.
    fn call_of(&self, step: Step) -> Option<usize> {
        match step {
            Step::Entry(at) => Some(self.completed[self.list.0[at].call]),
            Step::Class(k) => self.classes[k].get(self.used[k] as usize).copied(),
        }
    }

    /// The operation of a step that was made.
    fn call_before(&self, frame: &Frame) -> usize {
        match frame.step {
            Step::Entry(at) => self.completed[self.list.0[at].call],
            // Its class's next was another one before each of its steps; for a text this is enough.
            Step::Class(k) => self.classes[k][self.used[k].saturating_sub(1) as usize],
        }
    }

    /// An operation that never changes anything and fits now: it can as well come first.
    fn find_forced(&self) -> Option<Frame> {
        let mut at = self.list.0[HEAD].next;
        while at != NONE && self.list.0[at].is_call {
            let call = &self.calls[self.completed[self.list.0[at].call]];
            let reads_only = matches!(call.op, Op::Get) || !call.applied;
            if reads_only && self.effect(call).is_some() {
                return Some(Frame {
                    before: self.state,
                    step: Step::Entry(at),
                    forced: true,
                });
            }
            at = self.list.0[at].next;
        }
        None
    }

    /// The next step from `step` on that is possible and leads where nobody was.
    fn find(&mut self, mut step: Step, first_end: usize) -> Option<Frame> {
        loop {
            match step {
                Step::Entry(at) if !self.list.0[at].is_call => {
                    // Behind the first end nothing's turn is open.
                    step = Step::Class(0);
                    continue;
                }
                Step::Class(k) if k >= self.classes.len() => return None,
                _ => {}
            }
            let open = self
                .call_of(step)
                .filter(|i| self.calls[*i].start <= self.list.0[first_end].time);
            let after = open.and_then(|i| self.effect(&self.calls[i]));
            // What need not happen is of no use where it changes nothing.
            let useless = matches!(step, Step::Class(_)) && after == Some(self.state);
            if let Some(after) = after
                && !useless
            {
                self.mark(step, true);
                let place = self.place(after);
                let is_new = self.visited.is_new(place, &self.used);
                self.mark(step, false);
                if is_new {
                    return Some(Frame {
                        before: self.state,
                        step,
                        forced: false,
                    });
                }
            }
            step = self.after(step);
        }
    }

    fn apply(&mut self, frame: Frame) {
        if let Some(call) = self.call_of(frame.step)
            && let Some(after) = self.effect(&self.calls[call])
        {
            self.state = after;
        }
        self.mark(frame.step, true);
        if let Step::Entry(at) = frame.step {
            self.list.take(at);
        }
        self.stack.push(frame);
    }

    fn undo(&mut self, frame: &Frame) {
        if let Step::Entry(at) = frame.step {
            self.list.put_back(at);
        }
        self.mark(frame.step, false);
        self.state = frame.before;
    }

    fn mark(&mut self, step: Step, taken: bool) {
        match step {
            Step::Entry(at) => {
                let place = self.list.0[at].call;
                let bit = 1 << (place % 64);
                if taken {
                    self.taken[place / 64] |= bit;
                } else {
                    self.taken[place / 64] &= !bit;
                }
            }
            Step::Class(k) if taken => self.used[k] += 1,
            Step::Class(k) => self.used[k] -= 1,
        }
    }

    fn place(&self, state: State) -> Place {
        let full = self.taken.iter().take_while(|w| **w == u64::MAX).count();
        let empty = self.taken.iter().rev().take_while(|w| **w == 0).count();
        let end = (self.taken.len() - empty).max(full);
        Place {
            from: full as u32,
            taken: self.taken[full..end].into(),
            held: state.held,
        }
    }

    /// The state after an operation; `None` if its outcome does not fit the present one.
    fn effect(&self, call: &Call) -> Option<State> {
        let State { held, floor } = self.state;
        let holds = |expected: Option<u64>| match expected {
            None => held == Held::Nothing,
            Some(value) => held == Held::Written(value),
        };
        let write = |value: u64| {
            let held = match self.known.contains(&value) {
                true => Held::Written(value),
                false => Held::Unseen,
            };
            match self.index_of.get(&value) {
                // Indexes tell the order of writes: a later one has a higher index.
                Some(index) if *index <= floor => None,
                Some(index) => Some(State {
                    held,
                    floor: *index,
                }),
                None => Some(State { held, floor }),
            }
        };
        match call.op {
            Op::Get => {
                let Outcome::Read(seen) = self.events[call.event].outcome else {
                    return None;
                };
                holds(seen.map(|s| s.value)).then_some(self.state)
            }
            Op::Put(value) => write(value),
            Op::Cas { expected, value } if call.applied => {
                holds(expected).then(|| write(value)).flatten()
            }
            Op::Cas { expected, .. } => (!holds(expected)).then_some(self.state),
            Op::Delete => Some(State {
                held: Held::Nothing,
                floor,
            }),
        }
    }

    /// How far an order goes and what does not fit then.
    fn explanation(&self) -> String {
        let mut text = format!(
            "the longest order takes {} of {} operations and ends with",
            self.best.len(),
            self.calls.len()
        );
        for call in &self.best[self.best.len().saturating_sub(6)..] {
            text.push_str(&format!("\n      {}", self.events[self.calls[*call].event]));
        }
        text.push_str("\n    and none of these can follow:");
        let taken: HashSet<usize> = self.best.iter().copied().collect();
        let open = self.completed.iter().filter(|c| !taken.contains(c));
        let first_end = open.clone().filter_map(|c| self.calls[*c].end).min();
        let open = open.filter(|c| Some(self.calls[**c].start) <= first_end);
        for call in open.take(12) {
            text.push_str(&format!("\n      {}", self.events[self.calls[*call].event]));
        }
        text
    }
}
