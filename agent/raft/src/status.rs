//! What a server knows of its cluster.

use crate::types::{LogId, ServerInfo, StoredMembership, TypeConfig, term_of};
use openraft::{RaftMetrics, ServerState};
use std::collections::BTreeSet;

/// The part that a server plays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// It decides what comes next.
    Leader,
    /// It votes and follows.
    Follower,
    /// It asks for votes.
    Candidate,
    /// It follows without a vote, or belongs to no cluster yet.
    #[default]
    Learner,
    /// It has stopped.
    Stopped,
}

impl Role {
    /// The word that Consul's status uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Leader => "Leader",
            Role::Follower => "Follower",
            Role::Candidate => "Candidate",
            Role::Learner => "Learner",
            Role::Stopped => "Shutdown",
        }
    }

    pub(crate) fn of(state: ServerState) -> Role {
        match state {
            ServerState::Leader => Role::Leader,
            ServerState::Follower => Role::Follower,
            ServerState::Candidate => Role::Candidate,
            ServerState::Learner => Role::Learner,
            ServerState::Shutdown => Role::Stopped,
        }
    }
}

/// A server of the membership.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Who it is.
    pub info: ServerInfo,
    /// Whether it votes.
    pub voter: bool,
    /// Whether it leads.
    pub leader: bool,
}

/// Who leads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leadership {
    /// Whether this server leads and has applied all that was committed before.
    pub is_leader: bool,
    /// The leader, as far as this server knows.
    pub leader: Option<ServerInfo>,
    /// The term.
    pub term: u64,
}

/// How a server stands. Indexes and terms are zero where there is nothing yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Its part.
    pub state: Role,
    /// The leader, as far as it knows.
    pub leader: Option<ServerInfo>,
    /// The term.
    pub term: u64,
    /// The last entry of its log.
    pub last_log_index: u64,
    /// The term of that entry.
    pub last_log_term: u64,
    /// The last entry that it knows as committed.
    pub commit_index: u64,
    /// The last entry that its state contains.
    pub applied_index: u64,
    /// The last entry of its newest snapshot.
    pub last_snapshot_index: u64,
    /// The term of that entry.
    pub last_snapshot_term: u64,
    /// The servers of the latest membership, voters or not, by id.
    pub voters: Vec<Peer>,
    /// The entry of that membership.
    pub membership_index: u64,
    /// A change of the membership has begun and not ended: two sets of voters decide together.
    pub joint: bool,
}

/// How far another server has come, as the leader knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The number of the server.
    pub id: u64,
    /// The last entry that it is known to have; zero: none.
    pub index: u64,
    /// How long ago it answered last; `None`: never.
    pub contact: Option<std::time::Duration>,
}

/// The server with this number.
pub(crate) fn server(membership: &StoredMembership, id: Option<u64>) -> Option<ServerInfo> {
    membership.get_node(&id?).cloned()
}

/// Whether the server decides alone: no other has a vote.
pub(crate) fn alone(membership: &StoredMembership, id: u64) -> bool {
    let mut voters = membership.voter_ids();
    voters.next() == Some(id) && voters.next().is_none()
}

impl Status {
    pub(crate) fn of(metrics: &RaftMetrics<TypeConfig>, last: Option<LogId>) -> Status {
        let pair = |id: Option<LogId>| id.map_or((0, 0), |id| (id.index, term_of(&id)));
        let (last_log_index, last_log_term) = pair(last);
        let (last_snapshot_index, last_snapshot_term) = pair(metrics.snapshot);
        let membership = &metrics.membership_config;
        let voters: BTreeSet<u64> = membership.voter_ids().collect();
        let peer = |(id, info): (&u64, &ServerInfo)| Peer {
            info: info.clone(),
            voter: voters.contains(id),
            leader: metrics.current_leader == Some(*id),
        };
        Status {
            state: if metrics.running_state.is_err() {
                Role::Stopped
            } else {
                Role::of(metrics.state)
            },
            leader: server(membership, metrics.current_leader),
            term: metrics.current_term,
            last_log_index,
            last_log_term,
            commit_index: pair(metrics.local_committed).0,
            applied_index: pair(metrics.last_applied).0,
            last_snapshot_index,
            last_snapshot_term,
            voters: membership.nodes().map(peer).collect(),
            membership_index: pair(*membership.log_id()).0,
            joint: membership.membership().get_joint_config().len() > 1,
        }
    }
}
