//! When a server moves, and what it speaks then.

use crate::protocol::Protocol;
use crate::random::Random;
use std::time::Duration;

/// A server's place among several that move in turn: the `number`th of `count`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    number: u64,
    count: u64,
}

impl Turn {
    /// The `number`th (from one) of `count`; nothing if there is no such place.
    pub fn new(number: u64, count: u64) -> Option<Turn> {
        (number >= 1 && number <= count && count <= 1000).then_some(Turn { number, count })
    }
}

impl Turn {
    /// How many there are.
    pub fn count(self) -> u64 {
        self.count
    }
}

/// How long servers that move in turn may each be gone so that one is always there; nothing if
/// there is only one. Their moves begin an equal part of the interval apart, so all are gone at
/// once when the first is gone until the last has gone, too.
pub fn longest_absence(interval: Duration, servers: u64) -> Option<Duration> {
    let servers = u32::try_from(servers).ok().filter(|n| *n > 1)?;
    Some(interval / servers * (servers - 1))
}

impl std::str::FromStr for Turn {
    type Err = String;

    fn from_str(text: &str) -> Result<Turn, String> {
        text.split_once('/')
            .and_then(|(number, count)| Turn::new(number.parse().ok()?, count.parse().ok()?))
            .ok_or_else(|| {
                format!("{text:?} is no place in a row; it is written like 1/2, the first of two")
            })
    }
}

impl<'de> serde::Deserialize<'de> for Turn {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Turn, D::Error> {
        String::deserialize(d)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// A server's future, as it follows from its seed and the clock.
#[derive(Clone, Debug)]
pub struct Schedule {
    interval: Duration,
    turn: Option<Turn>,
    locked: Option<Protocol>,
    random: Random,
}

impl Schedule {
    /// Moves every `interval`. Servers with a turn share the interval by the wall clock, which
    /// needs no talk between them; others vary it by a quarter, so that they do not march in step.
    pub fn new(
        interval: Duration,
        turn: Option<Turn>,
        locked: Option<Protocol>,
        random: Random,
    ) -> Schedule {
        Schedule {
            interval: interval.max(Duration::from_millis(1)),
            turn,
            locked,
            random,
        }
    }

    /// How long to stay from `now` (the time since the Unix epoch). With a turn at least half an
    /// interval, so that a server that begins shortly before its time does not move at once.
    pub fn stay(&mut self, now: Duration) -> Duration {
        let interval = self.interval.as_nanos();
        let nanos = match self.turn {
            None => interval * u128::from(750 + self.random.below(501)) / 1000,
            Some(turn) => {
                let slot = interval * u128::from(turn.number - 1) / u128::from(turn.count);
                let into = (now.as_nanos() + interval - slot) % interval;
                let left = interval - into;
                if left < interval / 2 {
                    left + interval
                } else {
                    left
                }
            }
        };
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// What it speaks next.
    pub fn protocol(&mut self) -> Protocol {
        match self.locked {
            Some(only) => only,
            None if self.random.below(2) == 0 => Protocol::V1,
            None => Protocol::V2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn a_seed_is_a_future() {
        let future = |seed| {
            let mut s = Schedule::new(4 * S, None, None, Random::new(seed));
            (0..50)
                .map(|_| (s.protocol(), s.stay(S)))
                .collect::<Vec<_>>()
        };
        assert_eq!(future(1), future(1));
        assert_ne!(future(1), future(2));
        assert!(
            future(1)
                .iter()
                .all(|(_, stay)| (3 * S..=5 * S).contains(stay))
        );
        assert!(
            future(1).iter().any(|(p, _)| *p == Protocol::V1)
                && future(1).iter().any(|(p, _)| *p == Protocol::V2)
        );
    }

    #[test]
    fn servers_with_turns_never_move_together() {
        let of = |number| Schedule::new(6 * S, Turn::new(number, 2), None, Random::new(number));
        let (mut a, mut b) = (of(1), of(2));
        for ms in (0..20_000).step_by(333) {
            let now = 1_800_000_000 * S + Duration::from_millis(ms);
            let (x, y) = (now + a.stay(now), now + b.stay(now));
            assert_eq!(x.as_millis() % 6000, 0);
            assert_eq!(y.as_millis() % 6000, 3000);
            assert!(x - now >= 3 * S && x - now < 9 * S);
        }
    }

    /// Plays servers whose moves take no time but the grace period, from instants that a seed gives.
    fn are_all_gone_at_once(interval: Duration, grace: Duration, servers: u64) -> bool {
        let mut changes = Vec::new();
        for number in 1..=servers {
            let turn = Turn::new(number, servers);
            let mut schedule = Schedule::new(interval, turn, None, Random::new(number));
            let mut now = 1_800_000_000 * S + Duration::from_millis(137);
            for _ in 0..40 {
                now += schedule.stay(now);
                changes.push((now, -1));
                now += grace;
                changes.push((now, 1));
            }
        }
        // Who comes at the moment in which another goes comes a little later.
        changes.sort_by_key(|(at, change)| (*at, *change));
        let mut there = i64::try_from(servers).unwrap();
        changes.iter().any(|(_, change)| {
            there += change;
            there == 0
        })
    }

    #[test]
    fn one_is_always_there_unless_each_is_gone_for_too_long() {
        assert_eq!(longest_absence(6 * S, 1), None);
        for servers in 2..=5 {
            let limit = longest_absence(6 * S, servers).unwrap();
            let hair = Duration::from_millis(1);
            for grace in [Duration::ZERO, S, limit / 2, limit - hair] {
                assert!(
                    !are_all_gone_at_once(6 * S, grace, servers),
                    "{servers} {grace:?}"
                );
            }
        }
        // With two it is exact.
        for grace in [3 * S, 4 * S, 5 * S] {
            assert!(are_all_gone_at_once(6 * S, grace, 2), "{grace:?}");
        }
    }

    #[test]
    fn a_lock_is_kept_and_turns_are_read() {
        let mut s = Schedule::new(S, None, Some(Protocol::V2), Random::new(1));
        assert!((0..20).all(|_| s.protocol() == Protocol::V2));
        assert_eq!(
            "2/3".parse(),
            Ok(Turn {
                number: 2,
                count: 3
            })
        );
        for bad in ["0/2", "3/2", "1", "a/b", "1/0"] {
            assert!(bad.parse::<Turn>().is_err(), "{bad}");
        }
    }
}
