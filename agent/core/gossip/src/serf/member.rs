//! Members as Serf sees them, and the roster of all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use crate::event::Tags;
use crate::msgpack::{RawIp, Reader, Value, Writer};
use crate::packet::message::Versions;
use crate::random::Rng;
use crate::time::Time;

/// What a member does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// It takes part.
    Alive,
    /// It said goodbye and is still there.
    Leaving,
    /// It left.
    Left,
    /// It does not answer.
    Failed,
}

impl Status {
    /// The number in Serf's API and in name conflicts.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Alive => 1,
            Self::Leaving => 2,
            Self::Left => 3,
            Self::Failed => 4,
        }
    }

    /// As printed by every tool.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Alive => "alive",
            Self::Leaving => "leaving",
            Self::Left => "left",
            Self::Failed => "failed",
        }
    }
}

/// A member. Cheap to clone.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// Unique in the pool.
    pub name: Arc<str>,
    /// Its address.
    pub addr: SocketAddr,
    /// Its tags.
    pub tags: Arc<Tags>,
    /// What it does.
    pub status: Status,
    /// Its protocol versions.
    pub versions: Versions,
    /// The address as it travels.
    pub ip: RawIp,
}

/// The first byte of encoded tags. Members from before tags existed send their role as plain text.
const TAGS: u8 = 255;

/// Tags as node meta.
#[must_use]
pub fn encode_tags(tags: &Tags) -> Vec<u8> {
    let mut out = Writer::after(vec![TAGS]);
    tags.write(&mut out);
    out.bytes
}

/// Node meta as tags; what cannot be read is no tags.
#[must_use]
pub fn decode_tags(meta: &[u8]) -> Tags {
    match meta.split_first() {
        None => Tags::new(),
        Some((&TAGS, body)) => Tags::read(&mut Reader::new(body)).unwrap_or_default(),
        Some(_) => Tags::from([(
            "role".to_owned(),
            String::from_utf8_lossy(meta).into_owned(),
        )]),
    }
}

/// A member with what only the roster knows.
#[derive(Debug)]
pub(super) struct Entry {
    pub member: Member,
    /// When its status was said, in the member clock.
    pub status_time: u64,
    reap_at: Option<Time>,
    failed_place: usize,
}

/// All members, with constant-time answers to what is asked per tick.
#[derive(Debug, Default)]
pub(super) struct Roster {
    entries: BTreeMap<Arc<str>, Entry>,
    failed: Vec<Arc<str>>,
    left: BTreeSet<Arc<str>>,
    reap: BTreeSet<(Time, Arc<str>)>,
}

impl Roster {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn failed(&self) -> usize {
        self.failed.len()
    }

    /// Whether anybody will have to be forgotten.
    pub(super) fn forgets(&self) -> bool {
        !self.reap.is_empty()
    }

    pub(super) fn left(&self) -> &BTreeSet<Arc<str>> {
        &self.left
    }

    /// Members that are neither failed nor left.
    pub(super) fn present(&self) -> usize {
        self.len() - self.failed.len() - self.left.len()
    }

    pub(super) fn get(&self, name: &str) -> Option<&Entry> {
        self.entries.get(name)
    }

    pub(super) fn get_mut(&mut self, name: &str) -> Option<&mut Entry> {
        self.entries.get_mut(name)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    pub(super) fn insert(&mut self, member: Member, status_time: u64) {
        let entry = Entry {
            member,
            status_time,
            reap_at: None,
            failed_place: 0,
        };
        self.entries.insert(entry.member.name.clone(), entry);
    }

    /// Changes a status. A member that is gone is forgotten at `reap_at`.
    pub(super) fn set_status(&mut self, name: &str, status: Status, reap_at: Option<Time>) {
        self.unlist(name);
        let Some(entry) = self.entries.get_mut(name) else {
            return;
        };
        entry.member.status = status;
        entry.reap_at = reap_at;
        let name = entry.member.name.clone();
        match status {
            Status::Failed => {
                entry.failed_place = self.failed.len();
                self.failed.push(name.clone());
            }
            Status::Left => {
                self.left.insert(name.clone());
            }
            Status::Alive | Status::Leaving => {}
        }
        if let Some(at) = reap_at {
            self.reap.insert((at, name));
        }
    }

    /// Takes a member out of the lists of its status.
    fn unlist(&mut self, name: &str) {
        let Some(entry) = self.entries.get_mut(name) else {
            return;
        };
        if let Some(at) = entry.reap_at.take() {
            self.reap.remove(&(at, entry.member.name.clone()));
        }
        match entry.member.status {
            Status::Failed => {
                let place = entry.failed_place;
                self.failed.swap_remove(place);
                if let Some(moved) = self
                    .failed
                    .get(place)
                    .and_then(|name| self.entries.get_mut(name))
                {
                    moved.failed_place = place;
                }
            }
            Status::Left => {
                self.left.remove(name);
            }
            Status::Alive | Status::Leaving => {}
        }
    }

    pub(super) fn remove(&mut self, name: &str) -> Option<Member> {
        self.unlist(name);
        self.entries.remove(name).map(|entry| entry.member)
    }

    pub(super) fn random_failed(&self, rng: &mut Rng) -> Option<&Member> {
        let name = self.failed.get(rng.below(self.failed.len()))?;
        self.entries.get(name).map(|entry| &entry.member)
    }

    /// A member whose time to be forgotten has come.
    pub(super) fn due(&self, now: Time) -> Option<Arc<str>> {
        self.reap
            .first()
            .filter(|(at, _)| *at <= now)
            .map(|(_, name)| name.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

    fn member(name: &str) -> Member {
        Member {
            name: name.into(),
            addr: SocketAddr::from(([127, 0, 0, 1], 1)),
            tags: Arc::default(),
            status: Status::Alive,
            versions: Versions::ours(4),
            ip: RawIp::V4([127, 0, 0, 1]),
        }
    }

    #[test]
    fn tags_of_all_generations() {
        let tags = Tags::from([("role".into(), "web".into()), ("dc".into(), "x".into())]);
        assert_eq!(decode_tags(&encode_tags(&tags)), tags);
        assert_eq!(encode_tags(&Tags::new()), [255, 0x80]);
        assert_eq!(decode_tags(b""), Tags::new());
        assert_eq!(
            decode_tags(b"web"),
            Tags::from([("role".into(), "web".into())])
        );
        assert_eq!(decode_tags(&[255, 0x81, 0xa1]), Tags::new());
    }

    proptest! {
        #[test]
        fn lists_follow_the_statuses(steps in proptest::collection::vec((0_u8..6, 0_u8..5, 0_u64..9), 0..100)) {
            let mut roster = Roster::default();
            for (number, step, at) in steps {
                let name = format!("n{number}");
                let at = Some(Time::from_millis(at));
                match step {
                    0 if roster.get(&name).is_none() => roster.insert(member(&name), 0),
                    0 => roster.set_status(&name, Status::Alive, None),
                    1 => roster.set_status(&name, Status::Left, at),
                    2 => roster.set_status(&name, Status::Failed, at),
                    3 => roster.set_status(&name, Status::Leaving, None),
                    _ => drop(roster.remove(&name)),
                }
                let count = |status| roster.iter().filter(|entry| entry.member.status == status).count();
                prop_assert_eq!(roster.failed(), count(Status::Failed));
                prop_assert_eq!(roster.left().len(), count(Status::Left));
                prop_assert_eq!(roster.reap.len(), count(Status::Failed) + count(Status::Left));
                for (place, name) in roster.failed.iter().enumerate() {
                    prop_assert!(roster.get(name).is_some_and(|entry| entry.failed_place == place));
                }
            }
        }
    }
}
