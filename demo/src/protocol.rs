//! The two protocols: one line there, one line back.

use std::fmt;

/// Which protocol a server speaks; the tag that it registers says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// `ping` is answered with `pong`.
    V1,
    /// `syn` is answered with `ack`.
    V2,
}

/// The longest line that either side reads, in bytes.
pub const MAX_LINE: u64 = 256;

impl Protocol {
    /// Both.
    pub const ALL: [Protocol; 2] = [Protocol::V1, Protocol::V2];

    /// The tag in the catalog.
    pub fn tag(self) -> &'static str {
        match self {
            Protocol::V1 => "v1",
            Protocol::V2 => "v2",
        }
    }

    /// The protocol of a tag.
    pub fn of_tag(tag: &str) -> Option<Protocol> {
        Protocol::ALL.into_iter().find(|p| p.tag() == tag)
    }

    /// The other one.
    pub fn other(self) -> Protocol {
        match self {
            Protocol::V1 => Protocol::V2,
            Protocol::V2 => Protocol::V1,
        }
    }

    /// What a client sends.
    pub fn request(self) -> &'static str {
        match self {
            Protocol::V1 => "ping",
            Protocol::V2 => "syn",
        }
    }

    /// What a server answers.
    pub fn answer(self) -> &'static str {
        match self {
            Protocol::V1 => "pong",
            Protocol::V2 => "ack",
        }
    }

    /// What a server of this protocol says to a line, and whether the line was right.
    pub fn reply(self, line: &str) -> (String, bool) {
        if line == self.request() {
            return (self.answer().to_owned(), true);
        }
        let why = if line == self.other().request() {
            "speaks"
        } else {
            "understands only"
        };
        (format!("error: this server {why} {self}"), false)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.tag())
    }
}

impl std::str::FromStr for Protocol {
    type Err = String;

    fn from_str(text: &str) -> Result<Protocol, String> {
        Protocol::of_tag(text)
            .ok_or_else(|| format!("{text:?} is no protocol; there are v1 and v2"))
    }
}

impl<'de> serde::Deserialize<'de> for Protocol {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Protocol, D::Error> {
        String::deserialize(d)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answers_its_own_word_alone() {
        assert_eq!(Protocol::V1.reply("ping"), ("pong".to_owned(), true));
        assert_eq!(Protocol::V2.reply("syn"), ("ack".to_owned(), true));
        for p in Protocol::ALL {
            for wrong in [p.other().request(), "", "PING", "hello"] {
                let (text, right) = p.reply(wrong);
                assert!(
                    !right && text.starts_with("error: ") && text.ends_with(p.tag()),
                    "{p} {wrong:?}: {text}"
                );
            }
            assert_eq!(Protocol::of_tag(p.tag()), Some(p));
        }
        assert!("v3".parse::<Protocol>().is_err());
    }
}
