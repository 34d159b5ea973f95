//! Requests that may come twice, and are carried out once.

use super::Step;
use crate::command::{Command, Outcome};
use crate::once::{Origin, RequestId};

/// An agent that was silent for so long, in milliseconds, sends no copy of an old request any
/// more: whoever asks through it has given up after a minute or so.
const SILENT: u64 = 60 * 60 * 1000;
/// Agents that are remembered. Beyond that the one that was silent for longest is forgotten.
const ORIGINS_MAX: usize = 65_536;
/// Outcomes that are kept for one agent. It has no more requests under way.
const KEPT_MAX: u64 = 32_768;
/// The silent ones are looked for each time that so many new ones have come.
const SWEEP: usize = 64;

impl Step<'_> {
    /// Carries out a request, or gives the outcome of its first copy.
    pub(super) fn once(&mut self, id: RequestId, command: &Command) -> Outcome {
        let known = self.v.origins.get(&id.origin).copied();
        let mut origin = known.unwrap_or_default();
        if id.number < origin.floor {
            // A copy that was late: whoever sent it has an answer, or wants none.
            return Outcome::Refused("the request is over".to_owned());
        }
        let key = (id.origin, id.number);
        if let Some(outcome) = self.v.answered.get(&key) {
            return outcome.clone();
        }
        if known.is_none() {
            self.make_room();
        }
        let outcome = self.run(command);
        origin.at = origin.at.max(self.now);
        origin.kept += 1;
        self.v.answered.insert(key, outcome.clone());
        let floor = id.floor.min(id.number);
        if floor > origin.floor {
            origin.floor = floor;
            self.forget_answers(id.origin, &mut origin, floor);
        }
        while origin.kept > KEPT_MAX {
            let Some(lowest) = self.lowest_answer(id.origin) else {
                break;
            };
            origin.floor = lowest + 1;
            self.forget_answers(id.origin, &mut origin, lowest + 1);
        }
        self.v.origins.insert(id.origin, origin);
        outcome
    }

    fn lowest_answer(&self, origin: u64) -> Option<u64> {
        let mut all = self.v.answered.range((origin, 0)..=(origin, u64::MAX));
        all.next().map(|((_, number), _)| *number)
    }

    fn forget_answers(&mut self, of: u64, origin: &mut Origin, below: u64) {
        while let Some(number) = self.lowest_answer(of).filter(|n| *n < below) {
            self.v.answered.remove(&(of, number));
            origin.kept = origin.kept.saturating_sub(1);
        }
    }

    /// Forgets agents that are gone, before a new one comes.
    fn make_room(&mut self) {
        let count = self.v.origins.len();
        let mut gone: Vec<u64> = Vec::new();
        if count > 0 && count.is_multiple_of(SWEEP) {
            let silent = |o: &Origin| o.at.saturating_add(SILENT) < self.now;
            let all = self.v.origins.iter();
            gone.extend(all.filter(|(_, o)| silent(o)).map(|(id, _)| *id));
        }
        if gone.is_empty() && count >= ORIGINS_MAX {
            let all = self.v.origins.iter();
            gone.extend(all.min_by_key(|(_, o)| o.at).map(|(id, _)| *id));
        }
        for of in gone {
            let mut origin = self.v.origins.remove(&of).unwrap_or_default();
            self.forget_answers(of, &mut origin, u64::MAX);
            // The highest number there is.
            self.v.answered.remove(&(of, u64::MAX));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Entry, KvOp, KvVerb};
    use crate::{Changes, State, View};
    use std::sync::Arc;

    struct Run {
        state: State,
        index: u64,
    }

    impl Run {
        fn new() -> Run {
            Run {
                state: State::default(),
                index: 0,
            }
        }

        fn at(&mut self, at: u64, id: (u64, u64, u64), command: Command) -> (Outcome, bool) {
            self.index += 1;
            let mut changes = Changes::default();
            let command = Command::Once(id.into(), Box::new(command));
            let outcome = self
                .state
                .apply(self.index, &Entry { at, command }, &mut changes);
            (outcome, !changes.is_empty())
        }

        fn view(&self) -> View {
            self.state.view()
        }
    }

    fn write(verb: KvVerb, index: u64, value: &str) -> Command {
        Command::Kv(KvOp {
            verb,
            key: "k".into(),
            value: Arc::from(value.as_bytes()),
            flags: 0,
            session: Default::default(),
            index,
        })
    }

    fn value(run: &Run) -> Vec<u8> {
        let view = run.view();
        view.kv("k").map_or_else(Vec::new, |e| e.value.to_vec())
    }

    #[test]
    fn a_copy_gets_the_outcome_of_the_first_and_changes_nothing() {
        let mut run = Run::new();
        let create = || write(KvVerb::Cas, 0, "a");
        assert_eq!(run.at(5, (1, 1, 1), create()), (Outcome::Flag(true), true));
        // Another one changes the key before the copy comes.
        let (_, changed) = run.at(5, (2, 1, 1), write(KvVerb::Set, 0, "b"));
        assert!(changed);
        assert_eq!(run.at(5, (1, 1, 1), create()), (Outcome::Flag(true), false));
        assert_eq!(value(&run), b"b");
        // Without the number it is a request of its own, which fails.
        run.index += 1;
        let entry = Entry {
            at: 5,
            command: create(),
        };
        let again = run.state.apply(run.index, &entry, &mut Changes::default());
        assert_eq!(again, Outcome::Flag(false));
    }

    #[test]
    fn a_plain_write_that_comes_late_does_not_undo_a_newer_one() {
        let mut run = Run::new();
        run.at(5, (1, 1, 1), write(KvVerb::Set, 0, "old"));
        run.at(5, (1, 2, 2), write(KvVerb::Set, 0, "new"));
        let (outcome, changed) = run.at(5, (1, 1, 1), write(KvVerb::Set, 0, "old"));
        assert!(matches!(outcome, Outcome::Refused(_)), "{outcome:?}");
        assert!(!changed);
        assert_eq!(value(&run), b"new");
    }

    #[test]
    fn outcomes_are_kept_while_they_may_be_asked_for() {
        let mut run = Run::new();
        for number in 1..=10 {
            // The third is under way all the time.
            let floor = number.min(3);
            run.at(5, (7, number, floor), write(KvVerb::Set, 0, "v"));
        }
        assert_eq!(run.view().answered.len(), 8);
        let (outcome, changed) = run.at(5, (7, 3, 3), write(KvVerb::Set, 0, "v"));
        assert_eq!((outcome, changed), (Outcome::Flag(true), false));
        run.at(5, (7, 11, 11), write(KvVerb::Set, 0, "v"));
        assert_eq!(run.view().answered.len(), 1);
        assert_eq!(run.view().origins.get(&7).map(|o| o.kept), Some(1));
        // A floor above the number would forget the outcome itself.
        run.at(5, (7, 12, 99), write(KvVerb::Set, 0, "v"));
        let (outcome, changed) = run.at(5, (7, 12, 99), write(KvVerb::Set, 0, "w"));
        assert_eq!((outcome, changed), (Outcome::Flag(true), false));
    }

    #[test]
    fn nothing_grows_without_a_bound() {
        let mut run = Run::new();
        for number in 1..=KEPT_MAX + 5 {
            // One that never says what is done with.
            run.at(5, (1, number, 0), write(KvVerb::Delete, 0, ""));
        }
        assert_eq!(run.view().answered.len() as u64, KEPT_MAX);
        for origin in 2..=1 + SWEEP as u64 {
            run.at(10, (origin, 1, 1), write(KvVerb::Delete, 0, ""));
        }
        assert_eq!(run.view().origins.len(), SWEEP + 1);
        let later = 10 + SILENT + 1;
        for origin in 1000..1000 + SWEEP as u64 {
            run.at(later, (origin, 1, 1), write(KvVerb::Delete, 0, ""));
        }
        let view = run.view();
        assert!(
            view.origins.keys().all(|o| *o >= 1000),
            "{:?}",
            view.origins
        );
        assert_eq!(view.answered.len(), SWEEP);
    }
}
