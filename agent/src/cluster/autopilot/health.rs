//! How the servers are, and what follows from it. No clock, no network.

use super::super::wire::Stats;
use crate::servers::{self, ServerMember, Standing};
use lictor_raft::ServerInfo;
use lictor_state::AutopilotConfig;
use std::collections::BTreeMap;
use std::time::Duration;

/// A server of the membership, as consensus knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerFacts {
    /// Who and where.
    pub info: ServerInfo,
    /// Whether it votes.
    pub voter: bool,
    /// Whether it leads.
    pub leader: bool,
    /// It has answered the leader of late.
    pub answers: bool,
    /// What it says of itself now, if it has answered.
    pub stats: Option<Stats>,
}

/// How a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Its UUID.
    pub id: String,
    /// Its name; empty if gossip does not know it.
    pub name: String,
    /// Where its server port is.
    pub address: String,
    /// How gossip sees it; `None`: not at all.
    pub standing: Option<Standing>,
    /// The version that it claims.
    pub version: String,
    /// Whether it votes.
    pub voter: bool,
    /// Whether it leads.
    pub leader: bool,
    /// It is never to vote.
    pub read_replica: bool,
    /// What it last said of itself.
    pub stats: Stats,
    /// Whether it does its work.
    pub healthy: bool,
    /// Since when `healthy` is as it is: milliseconds since 1970, and by the monotonic clock.
    pub stable_since: (u64, Duration),
    /// It has answered the leader of late.
    pub answers: bool,
    /// Since when gossip does not know it, by the monotonic clock.
    unknown_since: Option<Duration>,
}

/// The servers, by id, as of the last round.
#[derive(Clone, Debug, Default)]
pub struct Health {
    /// All of the membership.
    pub servers: BTreeMap<String, Server>,
    /// When the rounds began, by the monotonic clock.
    began: Duration,
}

/// A change of the membership that follows from who is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A new server: it follows without a vote.
    Add(ServerInfo),
    /// It has another address or name.
    Readdress(ServerInfo),
    /// It has left, or another has its address.
    Remove {
        /// Which.
        id: String,
        /// Why.
        why: &'static str,
    },
}

/// A server that is to be removed because it is dead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removal {
    /// Its UUID.
    pub id: String,
    /// Its name in gossip, which is to forget it too; `None` if gossip does not know it.
    pub member: Option<String>,
}

/// What is not known to gossip for less time may only not have joined yet.
const UNKNOWN_FOR: Duration = Duration::from_secs(60);

impl Health {
    /// Begins anew: a leader has taken over.
    pub fn begin(&mut self, now: Duration) {
        self.servers.clear();
        self.began = now;
    }

    /// One round. `now` is of the monotonic clock, `wall` in milliseconds since 1970.
    pub fn update(
        &mut self,
        config: &AutopilotConfig,
        peers: &[PeerFacts],
        members: &[ServerMember],
        now: Duration,
        wall: u64,
    ) {
        let leader = peers.iter().find(|p| p.leader).and_then(|p| p.stats);
        let old = std::mem::take(&mut self.servers);
        for peer in peers {
            let id = peer.info.node_id.to_lowercase();
            let member = servers::best(members, &id);
            let before = old.get(&id);
            let stats = peer.stats.or(before.map(|b| b.stats)).unwrap_or_default();
            let standing = member.map(|m| m.standing);
            let healthy = leader.is_some_and(|l| {
                matches!(standing, Some(Standing::Alive | Standing::Leaving))
                    && is_healthy(config, &stats, &l)
            });
            let stable_since = match before {
                Some(b) if b.healthy == healthy => b.stable_since,
                _ => (wall, now),
            };
            let unknown_since = match (standing, before) {
                (Some(_), _) => None,
                (None, Some(b)) => b.unknown_since.or(Some(now)),
                (None, None) => Some(now),
            };
            let server = Server {
                name: member.map_or_else(String::new, |m| m.name.to_string()),
                address: peer.info.address.clone(),
                standing,
                version: member.map_or_else(String::new, |m| m.build.to_string()),
                voter: peer.voter,
                leader: peer.leader,
                read_replica: member.is_some_and(|m| m.non_voter),
                stats,
                healthy,
                stable_since,
                answers: peer.answers,
                unknown_since,
                id: peer.info.node_id.clone(),
            };
            self.servers.insert(id, server);
        }
    }

    /// Those that have earned a vote.
    pub fn promotions(&self, config: &AutopilotConfig, now: Duration) -> Vec<String> {
        let wanted = config.server_stabilization_time.to_std();
        // In the first moments nobody can have been stable for long.
        let stable = if now.saturating_sub(self.began) < wanted {
            Duration::ZERO
        } else {
            wanted
        };
        let mut found: Vec<String> = self
            .servers
            .values()
            .filter(|s| !s.voter && s.healthy && !s.read_replica)
            .filter(|s| s.standing == Some(Standing::Alive))
            .filter(|s| now.saturating_sub(s.stable_since.1) >= stable)
            .map(|s| s.id.clone())
            .collect();
        found.sort();
        found
    }

    /// Those that are to be removed because they are dead, in order.
    pub fn removals(&self, config: &AutopilotConfig, now: Duration) -> Vec<Removal> {
        if !config.cleanup_dead_servers {
            return Vec::new();
        }
        let failed = |s: &&Server| s.standing == Some(Standing::Failed) && !s.answers;
        let stale = |s: &&Server| {
            !s.answers
                && !s.leader
                && s.unknown_since
                    .is_some_and(|since| now.saturating_sub(since) >= UNKNOWN_FOR)
        };
        let removal = |s: &Server| Removal {
            id: s.id.clone(),
            member: s.standing.map(|_| s.name.clone()),
        };
        let all = || self.servers.values();
        let mut found: Vec<Removal> = Vec::new();
        found.extend(all().filter(|s| !s.voter).filter(failed).map(removal));
        found.extend(all().filter(|s| !s.voter).filter(stale).map(removal));
        let mut voters = all().filter(|s| s.voter).count();
        let mut room = voters.saturating_sub(1) / 2;
        let dead = all()
            .filter(|s| s.voter)
            .filter(stale)
            .chain(all().filter(|s| s.voter).filter(failed));
        for server in dead {
            if voters - 1 < usize::try_from(config.min_quorum).unwrap_or(usize::MAX) {
                tracing::debug!(target: "agent.server.autopilot", id = %server.id, min = config.min_quorum, "will not remove server as it would leave less voters than the minimum number allowed");
                break;
            }
            if room == 0 {
                tracing::debug!(target: "agent.server.autopilot", id = %server.id, "will not remove server as removal of a majority of servers is not safe");
                break;
            }
            found.push(removal(server));
            (voters, room) = (voters - 1, room - 1);
        }
        found
    }

    /// How many voters may fail.
    pub fn failure_tolerance(&self) -> usize {
        let voters = self.servers.values().filter(|s| s.voter).count();
        let healthy = self
            .servers
            .values()
            .filter(|s| s.voter && s.healthy)
            .count();
        healthy.saturating_sub(voters / 2 + 1)
    }

    /// Whether every server is healthy.
    pub fn healthy(&self) -> bool {
        !self.servers.is_empty() && self.servers.values().all(|s| s.healthy)
    }
}

fn is_healthy(config: &AutopilotConfig, stats: &Stats, leader: &Stats) -> bool {
    let threshold = config.last_contact_threshold.to_std().as_millis();
    leader.last_index > 0
        && leader.last_term > 0
        && stats
            .last_contact_ms
            .is_some_and(|ms| u128::from(ms) <= threshold)
        && stats.last_term == leader.last_term
        && stats.last_index.saturating_add(config.max_trailing_logs) >= leader.last_index
}

/// What the members mean for the membership. `leaving` tells of servers that have said that they
/// are about to leave.
pub fn reconcile(
    own: &str,
    datacenter: &str,
    peers: &[ServerInfo],
    members: &[ServerMember],
    leaving: impl Fn(&str) -> bool,
) -> Vec<Change> {
    let mut changes = Vec::new();
    let same = |a: &str, b: &str| a.eq_ignore_ascii_case(b);
    let peer_of = |id: &str| peers.iter().find(|p| same(&p.node_id, id));
    let usable =
        |m: &&ServerMember| m.datacenter == datacenter && m.format.is_some() && !m.id.is_empty();
    let counts =
        |m: &&ServerMember| servers::best(members, &m.id).is_some_and(|b| b.name == m.name);
    for member in members.iter().filter(usable).filter(counts) {
        match member.standing {
            Standing::Left => {
                if let Some(peer) = peer_of(&member.id).filter(|p| !same(&p.node_id, own)) {
                    changes.push(Change::Remove {
                        id: peer.node_id.clone(),
                        why: "left",
                    });
                }
            }
            Standing::Alive if !leaving(&member.id) => {
                let info = super::super::founding::info(member);
                match peer_of(&member.id) {
                    Some(peer) if peer.address == info.address && peer.name == info.name => {}
                    Some(peer) => {
                        evict(&mut changes, peers, &info, own);
                        changes.push(Change::Readdress(ServerInfo {
                            node_id: peer.node_id.clone(),
                            ..info
                        }));
                    }
                    None => {
                        evict(&mut changes, peers, &info, own);
                        changes.push(Change::Add(info));
                    }
                }
            }
            Standing::Alive | Standing::Leaving | Standing::Failed => {}
        }
    }
    changes
}

/// Another server that still stands there with this address is gone.
fn evict(changes: &mut Vec<Change>, peers: &[ServerInfo], new: &ServerInfo, own: &str) {
    for peer in peers {
        if peer.address == new.address
            && !peer.node_id.eq_ignore_ascii_case(&new.node_id)
            && !peer.node_id.eq_ignore_ascii_case(own)
        {
            changes.push(Change::Remove {
                id: peer.node_id.clone(),
                why: "another server has its address",
            });
        }
    }
}

#[cfg(test)]
mod tests;
