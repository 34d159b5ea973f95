//! Linearizability of single keys (Herlihy and Wing): whether what clients saw can be explained by
//! one order of their operations in which each takes effect at an instant between its start and
//! its end.
//!
//! The search is that of Wing and Gong with the memory of Lowe ("Testing for linearizability",
//! 2016): take any operation that may come next, go back when stuck, never visit the same set of
//! taken operations in the same state twice. Keys are independent of each other, so each is
//! checked alone (linearizability is local). Three things keep the search small:
//!
//! - Each write carries a number of its own. A write of unknown outcome whose number was seen by
//!   somebody has happened, and before that reader's end; only those nobody saw stay in doubt.
//! - Of equal writes in doubt the one begun first is taken first: its turn is open whenever
//!   another's is.
//! - An operation that changes nothing and fits the present state is taken at once, with no
//!   alternative: whatever order remains is possible without it too.

mod search;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::fmt;

/// States that a check of one key may visit before it gives up.
pub const STATE_LIMIT: usize = 400_000;

/// What was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// A read.
    Get,
    /// A write without a condition. The number is the value, and that of no other write.
    Put(u64),
    /// A write on the condition that the key still holds what `expected` wrote; `None`: that there
    /// is no such key.
    Cas {
        /// The number read before.
        expected: Option<u64>,
        /// The number of this write.
        value: u64,
    },
    /// A removal.
    Delete,
}

impl Op {
    /// The number that it writes.
    pub fn value(&self) -> Option<u64> {
        match *self {
            Op::Put(value) | Op::Cas { value, .. } => Some(value),
            Op::Get | Op::Delete => None,
        }
    }
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A read's answer: the number of the write that was there and its modify index.
    Read(Option<Seen>),
    /// A put or delete was acknowledged.
    Done,
    /// A conditional write was answered: whether it was made.
    Applied(bool),
    /// No answer, or one that leaves it open: it may have happened, or happen at any time after
    /// its start, or never.
    Unknown,
    /// It did not happen and will not.
    Failed,
}

/// What a read saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Seen {
    /// The number of the write.
    pub value: u64,
    /// The modify index of the key.
    pub index: u64,
}

/// One operation of one client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Who asked.
    pub client: u32,
    /// The key.
    pub key: String,
    /// What was asked.
    pub op: Op,
    /// What came of it.
    pub outcome: Outcome,
    /// When it was asked, in nanoseconds of the recorder's clock.
    pub start: u64,
    /// When the answer was there, or was given up.
    pub end: u64,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |t: u64| t as f64 / 1e6;
        let (start, end, client, op) = (ms(self.start), ms(self.end), self.client, self.op);
        write!(
            f,
            "{start:.3}..{end:.3} ms client {client}: {op:?} -> {:?}",
            self.outcome
        )
    }
}

/// What a good history consisted of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Keys.
    pub keys: usize,
    /// Operations with a known outcome.
    pub known: usize,
    /// Writes of unknown outcome that somebody saw.
    pub resolved: usize,
    /// Writes of unknown outcome that nobody saw.
    pub in_doubt: usize,
    /// Operations that surely did not happen, and reads without an answer.
    pub left_out: usize,
    /// States that the search visited.
    pub states: usize,
}

/// Why a history was not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// No order explains what was seen.
    NotLinearizable {
        /// The key.
        key: String,
        /// How far an order goes, and what does not fit then.
        explanation: String,
    },
    /// The search was given up: too many operations at once with unknown outcomes.
    Undecided {
        /// The key.
        key: String,
        /// States visited.
        states: usize,
    },
    /// The history itself is not one: an outcome that its operation cannot have, a number that was
    /// written twice, an end before its start.
    Malformed(String),
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Violation::NotLinearizable { key, explanation } => {
                write!(
                    f,
                    "the history of {key:?} is not linearizable: {explanation}"
                )
            }
            Violation::Undecided { key, states } => {
                write!(
                    f,
                    "whether the history of {key:?} is linearizable was not decided in {states} states"
                )
            }
            Violation::Malformed(text) => write!(f, "this is no history: {text}"),
        }
    }
}

/// Checks a history key by key. At most `limit` states are visited for each key; [`STATE_LIMIT`]
/// is plenty for what the tests record.
///
/// # Errors
/// The first key, by name, whose history is not linearizable or not decided.
pub fn check(history: &[Event], limit: usize) -> Result<Summary, Violation> {
    let mut keys: BTreeMap<&str, Vec<&Event>> = BTreeMap::new();
    for event in history {
        keys.entry(&event.key).or_default().push(event);
    }
    let mut summary = Summary {
        keys: keys.len(),
        ..Summary::default()
    };
    for (key, events) in keys {
        let calls = prepare(key, &events, &mut summary)?;
        summary.states += search::search(key, &events, calls, limit)?;
    }
    Ok(summary)
}

/// An operation as the search sees it.
#[derive(Clone, Copy, Debug)]
struct Call {
    /// Its place among the key's events.
    event: usize,
    op: Op,
    /// For a conditional write: whether it was made.
    applied: bool,
    start: u64,
    /// By when it took effect; `None`: perhaps never.
    end: Option<u64>,
}

/// Facts of one key and the operations to be put in order.
struct Calls {
    calls: Vec<Call>,
    /// The modify index of each number that was read.
    index_of: HashMap<u64, u64>,
}

fn prepare(key: &str, events: &[&Event], summary: &mut Summary) -> Result<Calls, Violation> {
    let malformed =
        |event: &Event, what: &str| Violation::Malformed(format!("{key:?}: {event}: {what}"));
    let wrong = |explanation: String| Violation::NotLinearizable {
        key: key.to_owned(),
        explanation,
    };
    let mut written: HashMap<u64, &Event> = HashMap::new();
    let mut calls = Vec::new();
    for (place, event) in events.iter().enumerate() {
        if event.end < event.start {
            return Err(malformed(event, "it ends before it starts"));
        }
        if let Some(value) = event.op.value()
            && written.insert(value, event).is_some()
        {
            return Err(malformed(event, "another operation writes this number"));
        }
        let (applied, end) = match (event.op, event.outcome) {
            (_, Outcome::Failed) | (Op::Get, Outcome::Unknown) => {
                summary.left_out += 1;
                continue;
            }
            (Op::Get, Outcome::Read(_)) | (Op::Put(_) | Op::Delete, Outcome::Done) => {
                (true, Some(event.end))
            }
            (Op::Cas { .. }, Outcome::Applied(applied)) => (applied, Some(event.end)),
            (_, Outcome::Unknown) => (true, None),
            _ => return Err(malformed(event, "such an operation has no such outcome")),
        };
        summary.known += usize::from(end.is_some());
        calls.push(Call {
            event: place,
            op: event.op,
            applied,
            start: event.start,
            end,
        });
    }

    let mut index_of: HashMap<u64, u64> = HashMap::new();
    for event in events {
        let Outcome::Read(Some(seen)) = event.outcome else {
            continue;
        };
        match written.get(&seen.value) {
            None => return Err(wrong(format!("{event}: nobody wrote this"))),
            Some(write) if write.outcome == Outcome::Failed => {
                return Err(wrong(format!("{event}: this write had failed: {write}")));
            }
            Some(write) if write.outcome == Outcome::Applied(false) => {
                return Err(wrong(format!(
                    "{event}: this write had been refused: {write}"
                )));
            }
            Some(_) => {}
        }
        let index = *index_of.entry(seen.value).or_insert(seen.index);
        if index != seen.index {
            return Err(wrong(format!(
                "{event}: others read the same write with modify index {index}"
            )));
        }
    }

    let in_doubt = calls.iter().filter(|c| c.end.is_none()).count();
    resolve(&mut calls, events);
    let still = calls.iter().filter(|c| c.end.is_none()).count();
    summary.resolved += in_doubt - still;
    summary.in_doubt += still;
    if let Some(call) = calls.iter().find(|c| c.end.is_some_and(|e| e < c.start)) {
        return Err(wrong(format!(
            "{}: seen before it was asked for",
            events[call.event]
        )));
    }
    if let Some(explanation) = outdated(&calls, events) {
        return Err(wrong(explanation));
    }
    Ok(Calls { calls, index_of })
}

/// The commonest violation has a short explanation: a write had ended before another began, that
/// one had ended too, and then somebody saw the first. The search would find no order either, but
/// only after trying many.
fn outdated(calls: &[Call], events: &[&Event]) -> Option<String> {
    let write_of: HashMap<u64, &Call> = calls
        .iter()
        .filter(|c| c.applied)
        .filter_map(|c| Some((c.op.value()?, c)))
        .collect();
    // By end; with each the latest start of those that ended no later.
    let mut changes: Vec<(u64, &Call)> = calls
        .iter()
        .filter(|c| c.applied && c.op != Op::Get)
        .filter_map(|c| Some((c.end?, c)))
        .collect();
    changes.sort_by_key(|(end, _)| *end);
    let mut latest: Vec<(u64, &Call)> = Vec::with_capacity(changes.len());
    for (end, change) in changes {
        let call = match latest.last() {
            Some((_, before)) if before.start >= change.start => before,
            _ => change,
        };
        latest.push((end, call));
    }
    for call in calls.iter().filter(|c| c.applied && c.end.is_some()) {
        let saw = match (call.op, events[call.event].outcome) {
            (Op::Get, Outcome::Read(Some(seen))) => Some(seen.value),
            (Op::Cas { expected, .. }, _) => expected,
            _ => None,
        };
        let Some(write) = saw.and_then(|v| write_of.get(&v)) else {
            continue;
        };
        let before = latest.partition_point(|(end, _)| *end < call.start);
        let Some((_, change)) = before.checked_sub(1).map(|i| latest[i]) else {
            continue;
        };
        if write.end.is_some_and(|end| end < change.start) {
            return Some(format!(
                "{}\n    saw what had been replaced:\n      {}\n      {}",
                events[call.event], events[write.event], events[change.event]
            ));
        }
    }
    None
}

/// Writes in doubt that somebody saw have happened by the end of the first who saw them.
fn resolve(calls: &mut [Call], events: &[&Event]) {
    let in_doubt: Vec<bool> = calls.iter().map(|c| c.end.is_none()).collect();
    loop {
        let mut seen_by: HashMap<u64, u64> = HashMap::new();
        for call in calls.iter() {
            let saw = match (call.op, events[call.event].outcome) {
                (Op::Get, Outcome::Read(Some(seen))) => Some(seen.value),
                (Op::Cas { expected, .. }, _) if call.applied => expected,
                _ => None,
            };
            if let (Some(value), Some(end)) = (saw, call.end) {
                let first = seen_by.entry(value).or_insert(end);
                *first = end.min(*first);
            }
        }
        let mut changed = false;
        for (call, _) in calls.iter_mut().zip(&in_doubt).filter(|(_, doubt)| **doubt) {
            let by = call.op.value().and_then(|v| seen_by.get(&v)).copied();
            if by.is_some() && by != call.end {
                call.end = by;
                changed = true;
            }
        }
        // Ends only come down, each to one of finitely many: this ends.
        if !changed {
            return;
        }
    }
}
