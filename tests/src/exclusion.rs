//! Mutual exclusion: at no time do two holders believe to hold one lock.

use std::collections::BTreeMap;
use std::fmt;

/// A time in which somebody was sure to hold a lock, by the clock of the recorder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The lock.
    pub lock: String,
    /// The session that held it.
    pub session: String,
    /// When the answer was there that said so, in nanoseconds.
    pub from: u64,
    /// When it asked to give the lock up, or when its session could have ended without it knowing:
    /// the start of the last renewal that was answered plus the session's TTL.
    pub until: u64,
    /// The key's lock index as the holder read it; zero if it did not.
    pub lock_index: u64,
}

/// Two who held one lock at a time, or a lock index that did not grow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clash {
    /// What is wrong with the two.
    pub what: &'static str,
    /// The earlier.
    pub one: Hold,
    /// The later.
    pub other: Hold,
}

impl fmt::Display for Clash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:?} and {:?}", self.what, self.one, self.other)
    }
}

/// Checks all holds of all locks. Gives how often a lock changed hands.
///
/// # Errors
/// The first two that do not go together.
pub fn check(holds: &[Hold]) -> Result<usize, Box<Clash>> {
    let mut locks: BTreeMap<&str, Vec<&Hold>> = BTreeMap::new();
    for hold in holds.iter().filter(|h| h.from < h.until) {
        locks.entry(&hold.lock).or_default().push(hold);
    }
    let mut handed_over = 0;
    for holds in locks.values_mut() {
        holds.sort_by_key(|h| (h.from, h.until));
        // The one that lasts longest so far: a later one must begin after it.
        let mut longest: Option<&Hold> = None;
        for hold in holds.iter().copied() {
            if let Some(before) = longest {
                let clash = |what| {
                    Box::new(Clash {
                        what,
                        one: before.clone(),
                        other: hold.clone(),
                    })
                };
                let same = before.session == hold.session;
                if !same && hold.from < before.until {
                    return Err(clash("two hold one lock"));
                }
                let (earlier, later) = (before.lock_index, hold.lock_index);
                if !same && earlier != 0 && later != 0 && later <= earlier {
                    return Err(clash("the lock index did not grow"));
                }
                handed_over += usize::from(!same);
            }
            if longest.is_none_or(|l| l.until < hold.until) {
                longest = Some(hold);
            }
        }
    }
    Ok(handed_over)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hold(session: &str, from: u64, until: u64, lock_index: u64) -> Hold {
        Hold {
            lock: "l".to_owned(),
            session: session.to_owned(),
            from,
            until,
            lock_index,
        }
    }

    #[test]
    fn one_after_the_other_is_good() {
        let holds = [
            hold("b", 10, 20, 2),
            hold("a", 0, 10, 1),
            hold("a", 20, 30, 3),
        ];
        assert_eq!(check(&holds), Ok(2));
        let mut other = hold("c", 0, 100, 1);
        other.lock = "another".to_owned();
        assert_eq!(check(&[holds.to_vec(), vec![other]].concat()), Ok(2));
    }

    #[test]
    fn two_at_once_are_seen() {
        for (from, until) in [(5, 15), (2, 3), (9, 12)] {
            let clash = check(&[hold("a", 0, 10, 0), hold("b", from, until, 0)]);
            assert_eq!(clash.expect_err("two").what, "two hold one lock");
        }
        // Even if a short hold lies between the two.
        let clash = check(&[
            hold("a", 0, 100, 0),
            hold("a", 5, 6, 0),
            hold("b", 50, 60, 0),
        ]);
        assert!(clash.is_err());
    }

    #[test]
    fn a_session_may_hold_twice_and_a_hold_may_be_over_before_it_is_known() {
        assert_eq!(check(&[hold("a", 0, 10, 1), hold("a", 5, 20, 1)]), Ok(0));
        assert_eq!(check(&[hold("a", 0, 10, 1), hold("b", 8, 7, 2)]), Ok(0));
    }

    #[test]
    fn a_lock_index_grows() {
        let clash = check(&[hold("a", 0, 10, 2), hold("b", 10, 20, 2)]);
        assert_eq!(clash.expect_err("same").what, "the lock index did not grow");
    }
}
