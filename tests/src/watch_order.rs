//! What blocking queries promise: an answer holds all that its index covers, indexes and values
//! never go back whichever server answers, and a change reaches everybody who waits.

use std::fmt;

/// A write of the watched key that was acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its number, which grows with every write of the only writer.
    pub value: u64,
    /// The modify index that it got.
    pub index: u64,
    /// When it was acknowledged, in nanoseconds of the recorder's clock.
    pub acknowledged: u64,
}

/// One answer of a blocking query, in the order of one watcher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sight {
    /// The index that the query had waited on; zero if it had not waited.
    pub asked: u64,
    /// The index of the answer.
    pub index: u64,
    /// What the key held and its modify index; `None`: no such key.
    pub held: Option<(u64, u64)>,
    /// When the query was sent.
    pub sent: u64,
    /// When the answer was there.
    pub answered: u64,
    /// The server or agent that was asked; for the text of a violation.
    pub agent: u32,
}

/// A rule that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken(pub String);

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Checks what one watcher saw against all acknowledged writes. `limit` is how long after its
/// acknowledgement, in nanoseconds, a change must have reached the watcher; `None` where no time
/// is promised (but the last change must be there all the same).
///
/// # Errors
/// The first answer that breaks a rule, or the change that was missed.
pub fn check(changes: &[Change], sights: &[Sight], limit: Option<u64>) -> Result<(), Broken> {
    let mut changes = changes.to_vec();
    changes.sort_by_key(|c| c.index);
    for pair in changes.windows(2) {
        if pair[0].index == pair[1].index || pair[0].value > pair[1].value {
            return Err(Broken(format!(
                "two writes of one writer, one after the other, are {:?} and {:?}",
                pair[0], pair[1]
            )));
        }
    }
    let mut last: Option<&Sight> = None;
    for sight in sights {
        one(&changes, sight, last)?;
        last = Some(sight);
    }
    // Who waits sees each change, or a later one, soon.
    for change in &changes {
        let seen = sights
            .iter()
            .find(|s| s.held.is_some_and(|(_, index)| index >= change.index));
        match (seen, limit) {
            (None, _) => {
                return Err(Broken(format!(
                    "{change:?} was never seen; the last answer was {last:?}"
                )));
            }
            (Some(seen), Some(limit))
                if seen.answered > change.acknowledged.saturating_add(limit) =>
            {
                let late = (seen.answered - change.acknowledged) as f64 / 1e9;
                return Err(Broken(format!("{change:?} was seen {late:.1} s late")));
            }
            _ => {}
        }
    }
    Ok(())
}

fn one(changes: &[Change], sight: &Sight, last: Option<&Sight>) -> Result<(), Broken> {
    let broken = |what: String| Err(Broken(format!("{sight:?}: {what}")));
    if sight.index == 0 {
        return broken("an index is at least 1".to_owned());
    }
    if sight.index < sight.asked {
        return broken(format!("its index is behind the {} waited on", sight.asked));
    }
    if let Some(last) = last {
        if sight.index < last.index {
            return broken(format!("the index went back from {}", last.index));
        }
        let (now, before) = (sight.held.map(|h| h.1), last.held.map(|h| h.1));
        if now < before {
            return broken(format!("the value went back from {:?}", last.held));
        }
        if sight.index == last.index && sight.held != last.held {
            return broken(format!("one index, two values: {:?} before", last.held));
        }
    }
    let held = sight.held.map_or(0, |(_, index)| index);
    if let Some((value, index)) = sight.held {
        // What is not among the acknowledged writes was in doubt.
        if let Some(change) = changes.iter().find(|c| c.value == value)
            && change.index != index
        {
            return broken(format!("its modify index is another than of {change:?}"));
        }
        if index > sight.index {
            return broken("its index does not cover its value".to_owned());
        }
    }
    // All that the index covers is in the answer.
    if let Some(missed) = changes
        .iter()
        .find(|c| c.index > held && c.index <= sight.index)
    {
        return broken(format!("it passes over {missed:?}"));
    }
    // So is all that was acknowledged before the question, as reads are linearizable.
    if let Some(missed) = changes
        .iter()
        .find(|c| c.index > held && c.acknowledged < sight.sent)
    {
        return broken(format!("{missed:?} had been acknowledged before"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANGES: [Change; 3] = [change(1, 10, 100), change(2, 20, 200), change(3, 30, 300)];

    const fn change(value: u64, index: u64, acknowledged: u64) -> Change {
        Change {
            value,
            index,
            acknowledged,
        }
    }

    fn sight(asked: u64, index: u64, held: Option<(u64, u64)>, sent: u64, answered: u64) -> Sight {
        Sight {
            asked,
            index,
            held,
            sent,
            answered,
            agent: 0,
        }
    }

    fn good() -> Vec<Sight> {
        vec![
            sight(0, 5, None, 0, 1),
            sight(5, 10, Some((1, 10)), 2, 101),
            // Both later changes in one answer.
            sight(10, 30, Some((3, 30)), 102, 301),
            // Nothing new until the wait was over.
            sight(30, 30, Some((3, 30)), 302, 900),
        ]
    }

    #[track_caller]
    fn broken(sights: &[Sight], limit: Option<u64>, text: &str) {
        let Err(broken) = check(&CHANGES, sights, limit) else {
            panic!("accepted");
        };
        assert!(broken.0.contains(text), "{broken}");
    }

    #[test]
    fn a_watcher_that_sees_all_is_good() {
        check(&CHANGES, &good(), Some(150)).expect("good");
    }

    #[test]
    fn indexes_and_values_do_not_go_back() {
        let mut sights = good();
        sights[3].index = 29;
        broken(&sights, None, "behind the 30 waited on");
        sights[3].asked = 0;
        broken(&sights, None, "the index went back");
        let mut sights = good();
        sights.push(sight(0, 31, Some((2, 20)), 901, 902));
        broken(&sights, None, "the value went back");
        let mut sights = good();
        sights[3].held = Some((4, 30));
        broken(&sights, None, "two values");
        let mut sights = good();
        sights[0].index = 0;
        broken(&sights, None, "at least 1");
    }

    #[test]
    fn a_change_that_is_passed_over_is_seen() {
        let mut sights = good();
        // It says that it knows all up to 20 and shows what was before.
        sights.insert(2, sight(10, 20, Some((1, 10)), 102, 150));
        broken(&sights, None, "passes over");
        let sights = [
            sight(0, 10, Some((1, 10)), 250, 251),
            sight(10, 30, Some((3, 30)), 252, 301),
        ];
        broken(&sights, None, "had been acknowledged before");
    }

    #[test]
    fn a_change_that_comes_late_or_never_is_seen() {
        broken(&good()[..2], None, "never seen");
        broken(&good(), Some(90), "late");
        check(&CHANGES, &good(), None).expect("no time is promised");
    }

    #[test]
    fn values_and_their_indexes_belong_together() {
        let mut sights = good();
        sights[1].held = Some((1, 9));
        broken(&sights, None, "another than of");
        let mut sights = good();
        sights[3].held = Some((7, 31));
        broken(&sights[3..], None, "does not cover");
        let writes = [change(2, 10, 100), change(1, 20, 200)];
        assert!(check(&writes, &[], None).is_err());
    }
}
