//! Leaving as a server: the lead is handed over, the vote given back, gossip left, and the place
//! in the membership vacated.

use super::forward::remote_leader;
use super::links::AskError;
use super::wire::{Answer, Ask, Failure};
use crate::agent::Shared;
use crate::servers::{self, Standing};
use lictor_raft::{Consensus, ProposeError, ServerInfo};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// A leave takes no longer.
pub const LIMIT: Duration = Duration::from_secs(14);
/// Of members that are there.
const ALIVE: i64 = 1;
/// How long the lead may take to change hands.
const HAND_OVER: Duration = Duration::from_secs(3);
/// How long giving the vote back may take.
const GIVE_BACK: Duration = Duration::from_secs(2);
/// How long a removal may take.
const REMOVAL: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(50);

/// The first part: hands over the lead, and the vote. A lone server keeps all.
pub async fn before_gossip(shared: &Arc<Shared>) {
    let Some(consensus) = shared.store.consensus().cloned() else {
        return;
    };
    if !shares(&consensus) {
        return;
    }
    // Should it have to remove itself it does not take itself in again.
    shared.cluster.autopilot.leaving(&shared.node_id);
    if consensus.is_leader()
        && let Err(error) = hand_over(&consensus, "").await
    {
        // As Consul does: out of the membership, so that the others choose a leader.
        tracing::error!(target: "agent.server", error = %error, "failed to transfer leadership, removing the server");
        let own = &consensus.server().node_id;
        if let Err(error) = consensus.remove(own).await {
            tracing::error!(target: "agent.server", error = %error, "failed to remove ourself as raft peer");
        }
        return;
    }
    let ask = Ask::Leaving {
        id: shared.node_id.to_string(),
    };
    if let Err(why) = tell_leader(shared, &consensus, &ask, GIVE_BACK).await {
        tracing::warn!(target: "agent.server", error = %why, "the vote could not be given back");
    }
}

/// The last part: the place in the membership, and what is still under way. Over by `end`.
pub async fn after_gossip(shared: &Arc<Shared>, end: Instant) {
    let Some(consensus) = shared.store.consensus().cloned() else {
        return;
    };
    if shares(&consensus) {
        let ask = Ask::Left {
            id: shared.node_id.to_string(),
        };
        // The leader that saw it leave gossip may have been faster.
        if let Err(why) = tell_leader(shared, &consensus, &ask, REMOVAL).await {
            tracing::warn!(target: "agent.server", error = %why, "failed to leave raft configuration gracefully, timeout");
        }
    }
    let others = crate::members::lan(shared)
        .iter()
        .any(|m| m.status == ALIVE && m.name != shared.node_name);
    if others {
        let drain = shared.config().performance.leave_drain_time.to_std();
        let left = end.saturating_duration_since(Instant::now());
        tracing::info!(target: "agent.server", drain_time = ?drain, "Waiting to drain RPC traffic");
        sleep(drain.min(left)).await;
    }
}

/// Whether there is another voter.
fn shares(consensus: &Consensus) -> bool {
    let own = consensus.server().id();
    let status = consensus.status();
    status.voters.iter().any(|p| p.voter && p.info.id() != own)
}

/// Asks the leader until it has done it, or time is out.
async fn tell_leader(
    shared: &Arc<Shared>,
    consensus: &Consensus,
    ask: &Ask,
    limit: Duration,
) -> Result<(), String> {
    let end = Instant::now() + limit;
    let mut why = "No cluster leader".to_owned();
    while Instant::now() < end {
        if let Some(leader) = remote_leader(consensus) {
            let left = end.saturating_duration_since(Instant::now());
            match shared.cluster.links.ask(&leader, ask, left).await {
                Ok(Answer::Done) => return Ok(()),
                Ok(Answer::Failed(Failure::Refused(text))) => why = text,
                Ok(_) => {}
                Err(AskError::NotSent(text) | AskError::Lost(text)) => why = text,
            }
        }
        sleep(LOOK).await;
    }
    Err(why)
}

/// Before a server ends without leaving: whoever can takes over, so that nobody has to find out
/// that there is no leader. At once where nobody can.
pub async fn step_down(shared: &Shared) {
    let Some(consensus) = shared.store.consensus() else {
        return;
    };
    let limit = consensus.election_timeout();
    let heard = |p: &lictor_raft::Progress| p.contact.is_some_and(|c| c < limit);
    let own = consensus.server().id();
    let heard: Vec<u64> = consensus
        .progress()
        .iter()
        .filter(|p| p.id != own && heard(p))
        .map(|p| p.id)
        .collect();
    let voters = consensus.status().voters;
    let can = voters
        .iter()
        .any(|p| p.voter && heard.contains(&p.info.id()));
    if consensus.is_leader()
        && can
        && let Err(error) = hand_over(consensus, "").await
    {
        tracing::warn!(target: "agent.server", error = %error, "failed to transfer leadership");
    }
}

/// Hands the lead to the server with this id, or to the one that is furthest if empty, and waits
/// until it leads. Who was asked may not have been chosen: then it is asked again, while there is
/// time.
///
/// # Errors
/// When nobody can take it, or has not in time.
pub async fn hand_over(consensus: &Consensus, id: &str) -> Result<(), String> {
    let end = Instant::now() + HAND_OVER;
    let own = consensus.server().id();
    let mut leadership = consensus.leadership();
    let other = |l: &lictor_raft::Leadership| {
        !l.is_leader && l.leader.as_ref().is_some_and(|now| now.id() != own)
    };
    loop {
        if consensus.is_leader() {
            let taker = taker(consensus, id).ok_or("cannot find peer")?;
            consensus
                .transfer_leadership(&taker)
                .await
                .map_err(|e| e.to_string())?;
        }
        let left = end.saturating_duration_since(Instant::now());
        let step = (2 * consensus.election_timeout()).min(left);
        match timeout(step, leadership.wait_for(other)).await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(_)) => return Err("raft is already shutdown".to_owned()),
            Err(_) if step == left => return Err("leadership transfer timeout".to_owned()),
            Err(_) => {}
        }
    }
}

/// Who takes the lead over: the server with this id, or the one that is furthest if empty.
fn taker(consensus: &Consensus, id: &str) -> Option<ServerInfo> {
    let own = consensus.server().id();
    let peers = consensus.status().voters;
    let progress = consensus.progress();
    let mut takers: Vec<_> = peers
        .iter()
        .filter(|p| p.voter && p.info.id() != own)
        .filter(|p| id.is_empty() || p.info.node_id.eq_ignore_ascii_case(id))
        .collect();
    let reached = |id: u64| {
        progress
            .iter()
            .find(|p| p.id == id)
            .filter(|p| p.contact.is_some_and(|c| c < consensus.election_timeout()))
            .map_or(0, |p| p.index + 1)
    };
    takers.sort_by_key(|p| std::cmp::Reverse(reached(p.info.id())));
    takers.first().map(|p| p.info.clone())
}

/// On the leader: a server is about to leave.
pub async fn leaving(shared: &Shared, consensus: &Consensus, id: &str) -> Answer {
    shared.cluster.autopilot.leaving(id);
    done(consensus.demote(id).await)
}

/// On the leader: a server has left.
pub async fn left(shared: &Shared, consensus: &Consensus, id: &str) -> Answer {
    let servers = shared.cluster.links.servers();
    if servers::best(&servers, id).is_some_and(|s| s.standing == Standing::Alive) {
        // Its word was faster than gossip, by which it would be taken in again.
        shared.cluster.autopilot.leaving(id);
    }
    let known = |p: &lictor_raft::Peer| p.info.node_id.eq_ignore_ascii_case(id);
    if !consensus.status().voters.iter().any(known) {
        return Answer::Done;
    }
    done(consensus.remove(id).await)
}

fn done(result: Result<(), ProposeError>) -> Answer {
    match result {
        Ok(()) => Answer::Done,
        Err(ProposeError::Refused(text)) => Answer::Failed(Failure::Refused(text)),
        Err(_) => Answer::Failed(Failure::NoLeader),
    }
}
