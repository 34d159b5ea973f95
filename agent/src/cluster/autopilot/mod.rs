//! Autopilot: the leader looks after the servers. New ones are taken in and get a vote when they
//! have proved themselves, dead ones are removed while that is safe.

mod formats;
mod health;
mod report;

pub use report::State;

use super::forward;
use super::wire::{Answer, Ask};
use crate::agent::Shared;
use crate::servers::{self, ServerMember, Standing};
use crate::store::WriteError;
use futures_util::future::join_all;
use health::{Change, Health, PeerFacts, Removal, reconcile};
use lictor_raft::{Consensus, ProposeError, ServerInfo};
use lictor_state::{
    AutopilotChange, AutopilotConfig, AutopilotRule, COMMAND_FORMAT, Command, OLDEST_COMMAND_FORMAT,
};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// How often the members are compared with the membership.
const ROUND: Duration = Duration::from_secs(1);
/// How often the servers are asked how they are.
const HEALTH: Duration = Duration::from_secs(2);
/// How often the dead are removed.
const CLEANUP: Duration = Duration::from_secs(10);
/// A lone server looks less often whether others have come.
const ALONE: Duration = Duration::from_secs(10);
/// A server has this long to say how it is.
const ANSWER: Duration = Duration::from_secs(1);
/// A change of the membership that takes longer goes on by itself.
const CHANGE: Duration = Duration::from_secs(10);
/// A server that answered within this is there, whatever gossip says.
const ANSWERS: Duration = Duration::from_secs(5);
/// One that is about to leave is not taken in again for so long.
const LEAVING: Duration = Duration::from_secs(60);

/// What is known of the servers' health.
pub struct Autopilot {
    began: Instant,
    rounds: tokio::sync::Mutex<Rounds>,
    /// The result of the last round, for those who cannot wait.
    last: Mutex<Option<State>>,
    leaving: Mutex<HashMap<String, Instant>>,
}

#[derive(Default)]
struct Rounds {
    health: Health,
    at: Option<Instant>,
}

impl Default for Autopilot {
    fn default() -> Autopilot {
        Autopilot {
            began: Instant::now(),
            rounds: tokio::sync::Mutex::default(),
            last: Mutex::default(),
            leaving: Mutex::default(),
        }
    }
}

impl Autopilot {
    /// Notes that a server is about to leave.
    pub fn leaving(&self, id: &str) {
        let mut all = self.leaving.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, at| at.elapsed() < LEAVING);
        all.insert(id.to_lowercase(), Instant::now());
    }

    /// Forgets those who are gone by now: whoever is back is welcome.
    fn note_gone(&self, members: &[ServerMember]) {
        let mut all = self.leaving.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|id, _| {
            let member = servers::best(members, id);
            member.is_some_and(|m| matches!(m.standing, Standing::Alive | Standing::Leaving))
        });
    }

    fn is_leaving(&self, id: &str) -> bool {
        let all = self.leaving.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(&id.to_lowercase())
            .is_some_and(|at| at.elapsed() < LEAVING)
    }

    /// What the last round found.
    pub fn last(&self) -> Option<State> {
        self.last
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn clock(&self) -> Duration {
        self.began.elapsed()
    }
}

/// The configuration that holds.
pub fn config(shared: &Shared) -> AutopilotConfig {
    match shared.store.view().autopilot() {
        Some(config) => config.clone(),
        None => seed(shared),
    }
}

/// What this server's configuration file says, for a cluster that has none yet.
fn seed(shared: &Shared) -> AutopilotConfig {
    let config = shared.config();
    let a = &config.autopilot;
    AutopilotConfig {
        cleanup_dead_servers: a.cleanup_dead_servers,
        last_contact_threshold: a.last_contact_threshold,
        max_trailing_logs: a.max_trailing_logs,
        min_quorum: u64::from(a.min_quorum),
        server_stabilization_time: a.server_stabilization_time,
        ..AutopilotConfig::default()
    }
}

/// How the servers are now: the last round, or a new one if that is old.
pub async fn now(shared: &Shared) -> State {
    let fresh = {
        let rounds = shared.cluster.autopilot.rounds.lock().await;
        rounds.at.is_some_and(|at| at.elapsed() < HEALTH) && rounds.health.servers.len() > 1
    };
    match shared.cluster.autopilot.last().filter(|_| fresh) {
        Some(state) => state,
        None => round(shared).await,
    }
}

/// The last entries of the servers by their ids, as of the last round.
pub fn last_indexes(shared: &Shared) -> HashMap<String, u64> {
    shared
        .cluster
        .autopilot
        .last()
        .map_or_else(HashMap::new, |state| {
            state
                .servers
                .iter()
                .map(|s| (s.id.clone(), s.stats.last_index))
                .collect()
        })
}

/// Asks all servers how they are.
async fn round(shared: &Shared) -> State {
    let Some(consensus) = shared.store.consensus() else {
        return State::default();
    };
    let autopilot = &shared.cluster.autopilot;
    let mut rounds = autopilot.rounds.lock().await;
    let status = consensus.status();
    let progress = consensus.progress();
    let own = consensus.server().id();
    let links = &shared.cluster.links;
    let stats = join_all(status.voters.iter().map(|peer| async move {
        if peer.info.id() == own {
            return Some(super::serve::stats(consensus));
        }
        match links.ask(&peer.info, &Ask::Stats, ANSWER).await {
            Ok(Answer::Stats(stats)) => Some(stats),
            _ => None,
        }
    }))
    .await;
    let facts: Vec<PeerFacts> = status
        .voters
        .iter()
        .zip(stats)
        .map(|(peer, stats)| PeerFacts {
            info: peer.info.clone(),
            voter: peer.voter,
            leader: peer.leader,
            answers: peer.info.id() == own
                || progress
                    .iter()
                    .any(|p| p.id == peer.info.id() && p.contact.is_some_and(|c| c < ANSWERS)),
            stats,
        })
        .collect();
    let members = links.servers();
    rounds.health.update(
        &config(shared),
        &facts,
        &members,
        autopilot.clock(),
        crate::clock::unix_ms(),
    );
    rounds.at = Some(Instant::now());
    let state = State::of(&rounds.health);
    *autopilot
        .last
        .lock()
        .unwrap_or_else(PoisonError::into_inner) = Some(state.clone());
    state
}

/// The leader's duty; to be dropped when it leads no more.
pub async fn lead(shared: &Arc<Shared>) {
    let Some(consensus) = shared.store.consensus() else {
        return;
    };
    let autopilot = &shared.cluster.autopilot;
    {
        let mut rounds = autopilot.rounds.lock().await;
        rounds.health.begin(autopilot.clock());
        rounds.at = None;
    }
    if shared.store.view().autopilot().is_none() {
        let change = AutopilotChange {
            config: seed(shared),
            rule: AutopilotRule::IfAbsent,
        };
        if let Err(error) = shared
            .store
            .write_as_leader(Command::Autopilot(Box::new(change)))
            .await
        {
            tracing::error!(target: "agent.server", error = %error, "failed to initialize autopilot config");
        }
    }
    let (mut asked, mut cleaned) = (None::<Instant>, Instant::now());
    let mut changed = shared.gossip.changed();
    let mut strangers = HashSet::new();
    loop {
        changed.mark_unchanged();
        follow_members(shared, consensus, &mut strangers).await;
        let alone = consensus.status().voters.len() < 2;
        if !alone {
            if asked.is_none_or(|at| at.elapsed() >= HEALTH) {
                asked = Some(Instant::now());
                round(shared).await;
                promote(shared, consensus).await;
            }
            if cleaned.elapsed() >= CLEANUP {
                cleaned = Instant::now();
                remove_dead(shared, consensus).await;
            }
        }
        tokio::select! {
            () = tokio::time::sleep(if alone { ALONE } else { ROUND }) => {}
            _ = changed.changed() => {}
        }
    }
}

/// The newest format of commands that all servers read, as far as is known now.
pub fn readable(shared: &Shared) -> u8 {
    let Some(consensus) = shared.store.consensus() else {
        return OLDEST_COMMAND_FORMAT;
    };
    let voters = consensus.status().voters.into_iter();
    let peers: Vec<ServerInfo> = voters.map(|p| p.info).collect();
    let members = shared.cluster.links.servers();
    formats::readable(COMMAND_FORMAT, &shared.node_id, &peers, &members)
}

/// Makes the membership what the members say. `strangers` are the servers of other clusters that
/// were told of.
async fn follow_members(shared: &Shared, consensus: &Consensus, strangers: &mut HashSet<String>) {
    let status = consensus.status();
    let mut members = shared.cluster.links.servers();
    shared.cluster.autopilot.note_gone(&members);
    let peers: Vec<ServerInfo> = status.voters.into_iter().map(|p| p.info).collect();
    let readable = formats::readable(COMMAND_FORMAT, &shared.node_id, &peers, &members);
    if consensus.readable() != readable {
        tracing::info!(target: "agent.server.autopilot", format = readable, "the log is written in the newest format that all servers read");
        consensus.set_readable(readable);
    }
    if status.joint {
        log_refusal("end a change of the servers", consensus.settle()).await;
        return;
    }
    for server in consensus.lost() {
        tracing::error!(target: "agent.server.autopilot", id = %server.node_id, name = %server.name, address = %server.address,
            "server has lost its log: it is taken in anew");
        log_refusal("take a server in anew", consensus.begin_anew(&server)).await;
    }
    let status = consensus.status();
    let peers: Vec<ServerInfo> = status.voters.into_iter().map(|p| p.info).collect();
    if shared.config().bootstrap && !shared.config().dev_mode {
        members.retain(|m| {
            let other = m.bootstrap && !m.id.eq_ignore_ascii_case(&shared.node_id);
            if other {
                tracing::error!(target: "agent.server", node_to_add = %m.name, other = %shared.node_name,
                    "Two nodes are in bootstrap mode. Only one node should be in bootstrap mode, not adding Raft peer.");
            }
            !other
        });
    }
    let leaving = |id: &str| shared.cluster.autopilot.is_leaving(id);
    for change in reconcile(
        &shared.node_id,
        &shared.datacenter,
        &peers,
        &members,
        leaving,
    ) {
        match change {
            Change::Add(info) if formats::is_too_old(&info.node_id, &members, readable) => {
                if strangers.insert(info.node_id.clone()) {
                    tracing::error!(target: "agent.server.autopilot", id = %info.node_id, address = %info.address, name = %info.name, format = readable,
                        "server cannot read the format that the log is written in and is not taken in: it needs a newer version");
                }
            }
            Change::Add(info) if !is_ours(shared, &info, strangers).await => {}
            Change::Add(info) => {
                tracing::info!(target: "agent.server.autopilot", id = %info.node_id, address = %info.address, name = %info.name, "adding server");
                log_refusal("add a server", consensus.add_learner(&info)).await;
            }
            Change::Readdress(info) => {
                tracing::info!(target: "agent.server.autopilot", id = %info.node_id, address = %info.address, name = %info.name, "server has another address or name");
                log_refusal("change a server's address", consensus.readdress(&info)).await;
            }
            Change::Remove { id, why } => {
                tracing::info!(target: "agent.server.autopilot", id = %id, reason = why, "removing server");
                if log_refusal("remove a server", consensus.remove(&id)).await {
                    shared.cluster.links.forget(&id);
                }
            }
        }
    }
}

/// Whether a new server may be taken in: it is there, and belongs to no other cluster.
async fn is_ours(shared: &Shared, info: &ServerInfo, strangers: &mut HashSet<String>) -> bool {
    let links = &shared.cluster.links;
    match links.ask(info, &Ask::Founded, ANSWER).await {
        Ok(Answer::Founded { peers, cluster, .. }) => {
            let ours = peers.is_empty() || cluster == shared.cluster.identity.cluster(true);
            if ours {
                strangers.remove(&info.node_id);
            } else if strangers.insert(info.node_id.clone()) {
                tracing::error!(target: "agent.server.autopilot", id = %info.node_id, address = %info.address, name = %info.name,
                    "server belongs to a cluster of its own and is not taken in: it was started with -bootstrap or -dev, or has the data of another cluster");
            }
            ours
        }
        // It is not there yet: the next round asks again.
        _ => false,
    }
}

async fn promote(shared: &Shared, consensus: &Consensus) {
    let autopilot = &shared.cluster.autopilot;
    let found = {
        let rounds = autopilot.rounds.lock().await;
        rounds.health.promotions(&config(shared), autopilot.clock())
    };
    for id in found {
        if autopilot.is_leaving(&id) {
            continue;
        }
        tracing::info!(target: "agent.server.autopilot", id = %id, "Promoting server");
        log_refusal("promote a server", consensus.promote(&id)).await;
    }
}

async fn remove_dead(shared: &Shared, consensus: &Consensus) {
    let autopilot = &shared.cluster.autopilot;
    let found: Vec<Removal> = {
        let rounds = autopilot.rounds.lock().await;
        rounds.health.removals(&config(shared), autopilot.clock())
    };
    for Removal { id, member } in found {
        // It may have come back since the last round.
        let alive = |name: &String| {
            let members = shared.gossip.lan_members();
            let member = members.get(name.as_str());
            member.is_some_and(|m| m.status == lictor_gossip::Status::Alive)
        };
        if member.as_ref().is_some_and(alive) {
            continue;
        }
        tracing::info!(target: "agent.server.autopilot", id = %id, name = %member.as_deref().unwrap_or("(unknown)"), "Attempting removal of failed server node");
        if let Some(name) = &member
            && let Err(error) = crate::members::force_leave(shared, name, false, false).await
        {
            tracing::warn!(target: "agent.server.autopilot", name = %name, error = %error, "cannot make gossip forget a server");
        }
        if log_refusal("remove a server", consensus.remove(&id)).await {
            tracing::info!(target: "agent.server.autopilot", id = %id, "removed server");
            shared.cluster.links.forget(&id);
        }
    }
}

/// Waits for a change and tells if it came to nothing. The next round tries again.
async fn log_refusal(what: &str, change: impl Future<Output = Result<(), ProposeError>>) -> bool {
    match timeout(CHANGE, change).await {
        Ok(Ok(())) => true,
        Ok(Err(error)) => {
            tracing::warn!(target: "agent.server.autopilot", error = %error, "failed to {what}");
            false
        }
        Err(_) => {
            tracing::warn!(target: "agent.server.autopilot", "it takes long to {what}");
            false
        }
    }
}

/// The state of autopilot, from the leader.
///
/// # Errors
/// Without a leader.
pub async fn of_leader(shared: &Arc<Shared>) -> Result<State, WriteError> {
    match forward::ask_leader(shared, &Ask::Autopilot, forward::ANSWER).await? {
        Answer::Json(text) => serde_json::from_str(&text).map_err(|_| WriteError::NoLeader),
        _ => Err(WriteError::NoLeader),
    }
}

/// The word of the API for a standing.
pub fn word(standing: Option<crate::servers::Standing>) -> &'static str {
    use crate::servers::Standing;
    match standing {
        None => "none",
        Some(Standing::Alive) => "alive",
        Some(Standing::Leaving) => "leaving",
        Some(Standing::Left) => "left",
        Some(Standing::Failed) => "failed",
    }
}
