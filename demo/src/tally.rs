//! What became of the requests.

use std::collections::BTreeMap;
use std::fmt;

/// How the server was looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Via {
    /// By DNS.
    Dns,
    /// By the HTTP API.
    Http,
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Padded, so that lines stand in columns.
        f.pad(match self {
            Via::Dns => "dns",
            Via::Http => "http",
        })
    }
}

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failure {
    /// The lookup found no instance.
    NoSuchHost,
    /// The lookup itself failed.
    Lookup(String),
    /// Nobody listened at the address.
    Refused,
    /// No answer in time.
    Timeout,
    /// The server speaks the other protocol.
    WrongProtocol,
    /// The connection ended, or the answer was none.
    Broken(String),
}

impl Failure {
    /// The word that it is counted under.
    fn kind(&self) -> &'static str {
        match self {
            Failure::NoSuchHost => "no such host",
            Failure::Lookup(_) => "lookup failed",
            Failure::Refused => "connection refused",
            Failure::Timeout => "timed out",
            Failure::WrongProtocol => "wrong protocol",
            Failure::Broken(_) => "broken",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Lookup(why) | Failure::Broken(why) => write!(f, "{}: {why}", self.kind()),
            _ => f.write_str(self.kind()),
        }
    }
}

/// Counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    answered: BTreeMap<Via, u64>,
    sent: BTreeMap<Via, u64>,
    failures: BTreeMap<&'static str, u64>,
}

impl Tally {
    /// Counts one request.
    pub fn count(&mut self, via: Via, outcome: Result<(), &Failure>) {
        *self.sent.entry(via).or_default() += 1;
        match outcome {
            Ok(()) => *self.answered.entry(via).or_default() += 1,
            Err(failure) => *self.failures.entry(failure.kind()).or_default() += 1,
        }
    }

    /// How many were sent.
    pub fn sent(&self) -> u64 {
        self.sent.values().sum()
    }

    /// How many were answered.
    pub fn answered(&self) -> u64 {
        self.answered.values().sum()
    }

    /// How many were not.
    pub fn failed(&self) -> u64 {
        self.failures.values().sum()
    }

    /// The count beside each line.
    pub fn running(&self) -> String {
        format!("{} ok, {} failed", self.answered(), self.failed())
    }

    /// The last line.
    pub fn summary(&self) -> String {
        let mut out = format!(
            "sent {}: {} answered, {} failed",
            self.sent(),
            self.answered(),
            self.failed()
        );
        if !self.failures.is_empty() {
            let kinds: Vec<String> = self
                .failures
                .iter()
                .map(|(kind, n)| format!("{n} {kind}"))
                .collect();
            out.push_str(&format!(" ({})", kinds.join(", ")));
        }
        for (via, sent) in &self.sent {
            let answered = self.answered.get(via).copied().unwrap_or(0);
            out.push_str(&format!("; {via} {answered} of {sent}"));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_sent_is_counted_once() {
        let mut t = Tally::default();
        t.count(Via::Dns, Ok(()));
        t.count(Via::Http, Err(&Failure::NoSuchHost));
        t.count(Via::Dns, Err(&Failure::NoSuchHost));
        t.count(Via::Http, Err(&Failure::Broken("EOF".into())));
        t.count(Via::Http, Ok(()));
        assert_eq!((t.sent(), t.answered(), t.failed()), (5, 2, 3));
        assert_eq!(t.running(), "2 ok, 3 failed");
        assert_eq!(
            t.summary(),
            "sent 5: 2 answered, 3 failed (1 broken, 2 no such host); dns 1 of 2; http 1 of 3"
        );
        assert_eq!(Tally::default().summary(), "sent 0: 0 answered, 0 failed");
        assert_eq!(Failure::Lookup("x".into()).to_string(), "lookup failed: x");
    }
}
