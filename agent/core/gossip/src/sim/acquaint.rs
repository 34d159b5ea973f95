//! A pool that has been there for long: all know each other, and nothing is left to be said.
//!
//! Thousands of members that join one by one would each tell all others of each: that is what joins
//! cost, and not what a scenario about something else wants to wait for. Names and tags are shared
//! by all members of the simulation, so that a large pool fits into memory.

use std::net::SocketAddr;
use std::sync::Arc;

use super::Sim;
use crate::core::Core;
use crate::memberlist::Memberlist;
use crate::packet::message::{Alive, Versions};
use crate::serf::{Member, Serf, Status, encode_tags};
use crate::{Config, Tags, Time};

/// A member as others know it.
pub(crate) struct Acquaintance {
    pub(crate) node: Alive,
    pub(crate) member: Member,
}

impl Acquaintance {
    fn new(name: Arc<str>, addr: SocketAddr, tags: Tags, protocol: u8) -> Self {
        let versions = Versions::ours(protocol);
        let node = Alive {
            addr: addr.ip().into(),
            incarnation: 1,
            meta: encode_tags(&tags).into(),
            node: name.clone(),
            port: addr.port(),
            vsn: versions,
        };
        let member = Member {
            name,
            addr,
            tags: Arc::new(tags),
            status: Status::Alive,
            versions,
            ip: addr.ip().into(),
        };
        Self { node, member }
    }
}

impl Core {
    /// Knows these members as if since long: nobody is told.
    fn acquaint(&mut self, now: Time, all: &[Acquaintance]) {
        let (memberlist, serf): (&mut Memberlist, &mut Serf) = self.layers();
        memberlist.acquaint(now, all.iter().map(|one| &one.node));
        serf.acquaint(all.iter().map(|one| &one.member));
    }
}

impl Sim {
    /// A pool of `count` members that have known each other for long.
    #[must_use]
    pub fn settled(seed: u64, count: usize, config: &Config) -> Self {
        let mut sim = Self::new(seed);
        let all: Vec<Acquaintance> = (0..count)
            .map(|member| {
                let tags = super::tags(member);
                Acquaintance::new(
                    Self::name(member),
                    Self::addr(member),
                    tags,
                    config.serf.protocol,
                )
            })
            .collect();
        for _ in 0..count {
            let member = sim.add(config.clone());
            sim.with(member, |core, now| core.acquaint(now, &all));
        }
        // The first beats fall on random moments, and what each said of itself at its start is heard.
        sim.run(std::time::Duration::from_secs(10));
        sim.sights.clear();
        sim
    }
}
