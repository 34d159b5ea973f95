//! Who belongs to the cluster, changed one server at a time; and what is known of the others.

use super::Consensus;
use crate::error::ProposeError;
use crate::status::Progress;
use crate::types::{ServerInfo, TypeConfig, server_id, term_of};
use openraft::async_runtime::instant::Instant as _;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{InitializeError, RaftError};
use openraft::{ChangeMembers, RaftMetrics};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::time::Duration;

impl Consensus {
    /// Whether this server has a log: it belongs, or belonged, to a cluster.
    pub async fn is_founded(&self) -> bool {
        // An error means that consensus has ended: nothing is to be founded there.
        self.inner.raft.is_initialized().await.unwrap_or(true)
    }

    /// Makes a cluster of these voters, of which this server is one. The others must have no log;
    /// they get theirs from here.
    ///
    /// # Errors
    /// [`ProposeError::Refused`] where this server has a log already.
    pub async fn found(&self, voters: &[ServerInfo]) -> Result<(), ProposeError> {
        let raft = &self.inner.raft;
        let members: BTreeMap<u64, ServerInfo> =
            voters.iter().map(|s| (s.id(), s.clone())).collect();
        if members.len() != voters.len() {
            return Err(ProposeError::Refused(
                "two servers have the same id".to_owned(),
            ));
        }
        match raft.initialize(members).await {
            Ok(()) => {}
            Err(RaftError::APIError(InitializeError::NotAllowed(_))) => {
                return Err(ProposeError::Refused(
                    "this server belongs to a cluster".to_owned(),
                ));
            }
            Err(RaftError::APIError(error)) => {
                return Err(ProposeError::Refused(error.to_string()));
            }
            Err(RaftError::Fatal(_)) => return Err(ProposeError::Stopped),
        }
        raft.runtime_config().tick(true);
        Ok(())
    }

    /// Takes a server in without a vote. It may be out of reach: nothing waits for it.
    pub async fn add_learner(&self, server: &ServerInfo) -> Result<(), ProposeError> {
        let nodes = BTreeMap::from([(server.id(), server.clone())]);
        self.change(ChangeMembers::AddNodes(nodes), true).await
    }

    /// Gives a server that follows a vote.
    pub async fn promote(&self, node_id: &str) -> Result<(), ProposeError> {
        let ids = BTreeSet::from([server_id(node_id)]);
        self.change(ChangeMembers::AddVoterIds(ids), true).await
    }

    /// Takes a server's vote; it goes on following.
    pub async fn demote(&self, node_id: &str) -> Result<(), ProposeError> {
        let ids = BTreeSet::from([server_id(node_id)]);
        self.change(ChangeMembers::RemoveVoters(ids), true).await
    }

    /// Removes a server: its vote, if it has one, and its place.
    pub async fn remove(&self, node_id: &str) -> Result<(), ProposeError> {
        let ids = BTreeSet::from([server_id(node_id)]);
        let votes = {
            let metrics = self.inner.raft.server_metrics();
            let now = metrics.borrow_watched();
            now.membership_config.voter_ids().any(|v| ids.contains(&v))
        };
        if votes {
            self.change(ChangeMembers::RemoveVoters(ids), false).await
        } else {
            self.change(ChangeMembers::RemoveNodes(ids), true).await
        }
    }

    /// Writes down a server's new address or name. It keeps its vote.
    pub async fn readdress(&self, server: &ServerInfo) -> Result<(), ProposeError> {
        let nodes = BTreeMap::from([(server.id(), server.clone())]);
        self.change(ChangeMembers::SetNodes(nodes), true).await
    }

    /// Ends a change of the membership that a leader before this one has left halfway.
    pub async fn settle(&self) -> Result<(), ProposeError> {
        self.change(ChangeMembers::AddVoterIds(BTreeSet::new()), true)
            .await
    }

    /// The servers that have lost a part of the logs that they had while this server led: their
    /// votes are worth nothing, and nothing is sent to them. See [`Consensus::begin_anew`].
    pub fn lost(&self) -> Vec<ServerInfo> {
        let metrics = self.inner.raft.server_metrics();
        let now = metrics.borrow_watched();
        let lost = self.inner.acknowledged.lost().into_iter();
        lost.filter_map(|id| now.membership_config.get_node(&id).cloned())
            .collect()
    }

    /// Lets a server that has lost its log begin anew. With more than two voters it is removed, and
    /// is to be added again: until it has everything it must not vote. Where there are only two,
    /// nothing could be decided without it: it gets everything from this server, as the leader.
    pub async fn begin_anew(&self, server: &ServerInfo) -> Result<(), ProposeError> {
        let id = server.id();
        let (voters, votes) = {
            let metrics = self.inner.raft.server_metrics();
            let now = metrics.borrow_watched();
            let config = &now.membership_config;
            (
                config.voter_ids().count(),
                config.voter_ids().any(|v| v == id),
            )
        };
        if !votes || voters > 2 {
            self.remove(&server.node_id).await?;
            self.inner.acknowledged.forget(id);
            return Ok(());
        }
        let allowed = self.inner.raft.trigger().allow_next_revert(&id, true).await;
        match allowed {
            Ok(Ok(())) => {
                self.inner.acknowledged.forget(id);
                Ok(())
            }
            Ok(Err(error)) => Err(ProposeError::Refused(error.to_string())),
            Err(_) => Err(ProposeError::Stopped),
        }
    }

    /// One change. It goes on to its end even where nobody waits for it any more.
    async fn change(
        &self,
        change: ChangeMembers<u64, ServerInfo>,
        retain: bool,
    ) -> Result<(), ProposeError> {
        let consensus = self.clone();
        let changed = tokio::spawn(async move {
            let inner = &*consensus.inner;
            if inner.stopped.load(Ordering::Acquire) {
                return Err(ProposeError::Stopped);
            }
            // One that has removed itself still leads until that is agreed on. A change in that time
            // is beyond what openraft takes.
            let votes = {
                let metrics = inner.raft.server_metrics();
                let now = metrics.borrow_watched();
                now.membership_config.voter_ids().any(|v| v == inner.id)
            };
            if inner.leads.load(Ordering::Acquire) && !votes {
                return Err(ProposeError::NoLeader);
            }
            inner.change_begins();
            let result = inner.raft.change_membership(change, retain).await;
            inner.change_ended();
            result.map(|_| ()).map_err(|error| inner.refused(error))
        });
        changed
            .await
            .unwrap_or(Err(ProposeError::Unknown("the change was broken off")))
    }

    /// How long ago the leader was heard: zero on the leader itself, `None` before the first time.
    pub fn last_contact(&self) -> Option<Duration> {
        if self.is_leader() {
            return Some(Duration::ZERO);
        }
        let at = self.inner.heard.load(Ordering::Relaxed).checked_sub(1)?;
        let now = self.inner.started.elapsed();
        Some(now.saturating_sub(Duration::from_millis(at)))
    }

    /// The leader, if it can be counted on: a follower has heard it of late, a leader has heard a
    /// quorum.
    pub fn leader(&self) -> Option<ServerInfo> {
        let leadership = self.inner.leadership.borrow();
        let leader = leadership.leader.as_ref()?;
        self.counts_on(leader).then(|| leader.clone())
    }

    /// Whether there is a [`leader`](Consensus::leader).
    pub fn has_leader(&self) -> bool {
        let leadership = self.inner.leadership.borrow();
        leadership
            .leader
            .as_ref()
            .is_some_and(|l| self.counts_on(l))
    }

    fn counts_on(&self, leader: &ServerInfo) -> bool {
        let limit = 2 * self.election_timeout();
        if leader.id() != self.inner.id {
            return self.last_contact().is_some_and(|c| c <= limit);
        }
        if self.inner.sole.load(Ordering::Acquire) {
            return true;
        }
        let metrics = self.inner.raft.metrics();
        let acked = metrics.borrow_watched().last_quorum_acked;
        acked.is_some_and(|at| at.elapsed() <= limit)
    }

    /// The longest time that a follower waits for its leader before it asks for votes.
    pub fn election_timeout(&self) -> Duration {
        Duration::from_millis(self.inner.raft.config().election_timeout_max)
    }

    /// How far the others have come; empty unless this server leads.
    pub fn progress(&self) -> Vec<Progress> {
        let metrics = self.inner.raft.metrics();
        let metrics: RaftMetrics<TypeConfig> = metrics.borrow_watched().clone();
        let beats = metrics.heartbeat.unwrap_or_default();
        let replication = metrics.replication.unwrap_or_default();
        replication
            .into_iter()
            .filter(|(id, _)| *id != self.inner.id)
            .map(|(id, matched)| Progress {
                id,
                index: matched.map_or(0, |m| m.index),
                contact: beats
                    .get(&id)
                    .and_then(|at| at.as_ref())
                    .map(|at| at.elapsed()),
            })
            .collect()
    }

    /// Index and term of the last entry of the log; zeroes where there is none.
    pub fn last_log(&self) -> (u64, u64) {
        self.inner
            .log
            .last()
            .map_or((0, 0), |id| (id.index, term_of(&id)))
    }
}
