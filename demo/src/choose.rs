//! What the client chooses: how to look up, in which order to ask for protocols, and whom to call.

use crate::protocol::Protocol;
use crate::random::Random;
use crate::tally::Via;

/// An instance that a lookup found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// An IP address, or a name.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// What it speaks.
    pub protocol: Protocol,
    /// The share of calls that it should get; zero counts as the least.
    pub weight: u16,
}

impl Instance {
    /// `host:port`, with brackets where they belong.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

/// How lookups are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ways {
    /// By DNS and by HTTP in turn.
    #[default]
    Both,
    /// Always the same.
    Only(Via),
}

impl std::str::FromStr for Ways {
    type Err = String;

    fn from_str(text: &str) -> Result<Ways, String> {
        match text {
            "both" => Ok(Ways::Both),
            "dns" => Ok(Ways::Only(Via::Dns)),
            "http" => Ok(Ways::Only(Via::Http)),
            _ => Err(format!(
                "{text:?} is no way to look up; there are both, dns and http"
            )),
        }
    }
}

impl<'de> serde::Deserialize<'de> for Ways {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Ways, D::Error> {
        String::deserialize(d)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// The client's memory.
#[derive(Clone, Debug)]
pub struct Chooser {
    ways: Ways,
    locked: Option<Protocol>,
    last: Protocol,
    turn: u64,
    random: Random,
}

impl Chooser {
    /// Nothing has happened yet. `locked` speaks one protocol only.
    pub fn new(ways: Ways, locked: Option<Protocol>, random: Random) -> Chooser {
        Chooser {
            ways,
            locked,
            last: locked.unwrap_or(Protocol::V1),
            turn: 0,
            random,
        }
    }

    /// How the next lookup is made.
    pub fn next_way(&mut self) -> Via {
        self.turn += 1;
        match self.ways {
            Ways::Only(via) => via,
            Ways::Both if self.turn % 2 == 1 => Via::Dns,
            Ways::Both => Via::Http,
        }
    }

    /// The protocols to ask DNS for: what worked last comes first.
    pub fn order(&self) -> Vec<Protocol> {
        match self.locked {
            Some(only) => vec![only],
            None => vec![self.last, self.last.other()],
        }
    }

    /// The protocol that is spoken alone, if one is.
    pub fn locked(&self) -> Option<Protocol> {
        self.locked
    }

    /// Remembers what worked.
    pub fn worked(&mut self, protocol: Protocol) {
        self.last = protocol;
    }

    /// One of the instances, by weight.
    pub fn pick<'i>(&mut self, instances: &'i [Instance]) -> Option<&'i Instance> {
        let weight = |i: &Instance| u64::from(i.weight.max(1));
        let mut at = self.random.below(instances.iter().map(weight).sum());
        instances.iter().find(|i| {
            let here = at < weight(i);
            at = at.saturating_sub(weight(i));
            here
        })
    }

    /// A number for a DNS query.
    pub fn query_id(&mut self) -> u16 {
        (self.random.next() >> 48) as u16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(port: u16, weight: u16) -> Instance {
        Instance {
            host: "127.0.0.1".into(),
            port,
            protocol: Protocol::V1,
            weight,
        }
    }

    #[test]
    fn lookups_alternate_unless_told() {
        let mut c = Chooser::new(Ways::Both, None, Random::new(1));
        assert_eq!(
            [c.next_way(), c.next_way(), c.next_way()],
            [Via::Dns, Via::Http, Via::Dns]
        );
        let mut c = Chooser::new("http".parse().unwrap(), None, Random::new(1));
        assert_eq!([c.next_way(), c.next_way()], [Via::Http, Via::Http]);
        assert!("carrier pigeon".parse::<Ways>().is_err());
    }

    #[test]
    fn the_protocol_that_worked_last_comes_first() {
        let mut c = Chooser::new(Ways::Both, None, Random::new(1));
        assert_eq!(c.order(), [Protocol::V1, Protocol::V2]);
        c.worked(Protocol::V2);
        assert_eq!(c.order(), [Protocol::V2, Protocol::V1]);
        let c = Chooser::new(Ways::Both, Some(Protocol::V2), Random::new(1));
        assert_eq!(c.order(), [Protocol::V2]);
    }

    #[test]
    fn calls_are_spread_by_weight() {
        let mut c = Chooser::new(Ways::Both, None, Random::new(7));
        assert_eq!(c.pick(&[]), None);
        let all = [instance(1, 0), instance(2, 3)];
        let second = (0..4000)
            .filter(|_| c.pick(&all).is_some_and(|i| i.port == 2))
            .count();
        assert!((2800..3200).contains(&second), "{second}");
    }

    #[test]
    fn addresses_of_version_6_get_brackets() {
        assert_eq!(
            Instance {
                host: "::1".into(),
                ..instance(5, 1)
            }
            .authority(),
            "[::1]:5"
        );
        assert_eq!(instance(5, 1).authority(), "127.0.0.1:5");
    }
}
