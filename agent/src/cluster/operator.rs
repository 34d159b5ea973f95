//! What operators ask: of the leader, wherever it is.

use super::wire::{Answer, Ask, Failure};
use super::{autopilot, forward, leave};
use crate::agent::Shared;
use crate::servers;
use crate::store::WriteError;
use crate::upstream::Kind;
use lictor_raft::{Consensus, Consistency, Peer, ProposeError};
use lictor_rpc_wire::message::{
    self, AutopilotSetConfigRequest, DcRequest, Empty, OperatorHealthReply, QueryOptions,
    RaftConfiguration, RaftIndex, RaftRemovePeerRequest, RaftServer,
};
use lictor_state::{AutopilotChange, AutopilotConfig, AutopilotRule, Command, Outcome};
use lictor_wire::GoDuration;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// The leader answers at once, or after a change of the servers.
const LIMIT: Duration = Duration::from_secs(10);

/// The servers of the cluster, as this one knows them.
pub fn configuration(shared: &Shared, consensus: &Consensus) -> RaftConfiguration {
    let status = consensus.status();
    let members = shared.cluster.links.servers();
    let known = autopilot::last_indexes(shared);
    let row = |peer: &Peer| {
        let id = &peer.info.node_id;
        let member = servers::best(&members, id);
        let own = peer.info.id() == consensus.server().id();
        RaftServer {
            id: id.as_str().into(),
            node: member.map_or("(unknown)", |m| &*m.name).into(),
            address: peer.info.address.as_str().into(),
            leader: peer.leader,
            protocol_version: "3".into(),
            voter: peer.voter,
            last_index: if own {
                status.last_log_index
            } else {
                known.get(id.as_str()).copied().unwrap_or(0)
            },
        }
    };
    RaftConfiguration {
        servers: status.voters.iter().map(row).collect(),
        index: 0,
    }
}

/// The servers of the cluster: as the leader shows them, or with `stale` as any server does.
///
/// # Errors
/// Without a leader, or without servers.
pub async fn peers(shared: &Arc<Shared>, stale: bool) -> Result<RaftConfiguration, WriteError> {
    if let Some(upstream) = shared.store.upstream() {
        let request = DcRequest {
            datacenter: shared.datacenter.clone(),
            options: QueryOptions {
                allow_stale: stale,
                ..QueryOptions::default()
            },
        };
        return upstream
            .call("Operator.RaftGetConfiguration", &request, Kind::Read)
            .await;
    }
    if let (Some(consensus), true) = (shared.store.consensus(), stale) {
        return Ok(configuration(shared, consensus));
    }
    match forward::ask_leader(shared, &Ask::Peers, LIMIT).await? {
        Answer::Json(text) => serde_json::from_str(&text).map_err(|_| WriteError::NoLeader),
        _ => Err(WriteError::NoLeader),
    }
}

/// Removes a server by id or by address; one of them is empty. Gives why not, if it cannot be.
///
/// # Errors
/// Without a leader, or without servers.
pub async fn remove(
    shared: &Arc<Shared>,
    id: &str,
    address: &str,
) -> Result<Result<(), String>, WriteError> {
    if let Some(upstream) = shared.store.upstream() {
        let request = RaftRemovePeerRequest {
            datacenter: shared.datacenter.clone(),
            address: address.into(),
            id: id.into(),
            ..RaftRemovePeerRequest::default()
        };
        let method = if id.is_empty() {
            "Operator.RaftRemovePeerByAddress"
        } else {
            "Operator.RaftRemovePeerByID"
        };
        let _: Empty = upstream.call(method, &request, Kind::Write).await?;
        return Ok(Ok(()));
    }
    let ask = Ask::RemovePeer {
        id: id.to_owned(),
        address: address.to_owned(),
    };
    done(forward::ask_leader(shared, &ask, LIMIT).await?)
}

/// Hands over the lead: to the server with this id, or to any if empty. Gives why not, if nobody
/// took it.
///
/// # Errors
/// Without a leader, or without servers.
pub async fn hand_over(shared: &Arc<Shared>, id: &str) -> Result<Result<(), String>, WriteError> {
    if let Some(upstream) = shared.store.upstream() {
        // Consul has no such method; its servers say so.
        let request = RaftRemovePeerRequest {
            datacenter: shared.datacenter.clone(),
            id: id.into(),
            ..RaftRemovePeerRequest::default()
        };
        let _: Empty = upstream
            .call("Operator.TransferLeader", &request, Kind::Write)
            .await?;
        return Ok(Ok(()));
    }
    let ask = Ask::Transfer { id: id.to_owned() };
    done(forward::ask_leader(shared, &ask, LIMIT).await?)
}

fn done(answer: Answer) -> Result<Result<(), String>, WriteError> {
    match answer {
        Answer::Done => Ok(Ok(())),
        Answer::Failed(Failure::Refused(text) | Failure::Missing(text)) => Ok(Err(text)),
        _ => Err(WriteError::NoLeader),
    }
}

/// The configuration of autopilot.
///
/// # Errors
/// Without a leader, unless `stale`; without servers.
pub async fn autopilot_config(
    shared: &Arc<Shared>,
    stale: bool,
) -> Result<AutopilotConfig, WriteError> {
    if let Some(upstream) = shared.store.upstream() {
        let request = DcRequest {
            datacenter: shared.datacenter.clone(),
            options: QueryOptions {
                allow_stale: stale,
                ..QueryOptions::default()
            },
        };
        let found: message::AutopilotConfig = upstream
            .call("Operator.AutopilotGetConfiguration", &request, Kind::Read)
            .await?;
        return Ok(from_message(found));
    }
    if !stale {
        shared.store.ready_for(Consistency::Default).await?;
    }
    Ok(autopilot::config(shared))
}

/// Sets the configuration of autopilot; gives whether it was set.
///
/// # Errors
/// Without a leader, or without servers.
pub async fn set_autopilot_config(
    shared: &Arc<Shared>,
    change: AutopilotChange,
) -> Result<bool, WriteError> {
    if let Some(upstream) = shared.store.upstream() {
        let mut config = to_message(&change.config);
        let cas = match change.rule {
            AutopilotRule::Cas(index) => {
                config.index.modify_index = index;
                true
            }
            _ => false,
        };
        let request = AutopilotSetConfigRequest {
            datacenter: shared.datacenter.clone(),
            config,
            cas,
            ..AutopilotSetConfigRequest::default()
        };
        return upstream
            .call("Operator.AutopilotSetConfiguration", &request, Kind::Write)
            .await;
    }
    let command = Command::Autopilot(Box::new(change));
    let outcome = shared.store.write(command).await?;
    Ok(outcome == Outcome::Flag(true))
}

/// The configuration as RPC has it.
pub fn to_message(config: &AutopilotConfig) -> message::AutopilotConfig {
    message::AutopilotConfig {
        cleanup_dead_servers: config.cleanup_dead_servers,
        last_contact_threshold: config.last_contact_threshold.0,
        max_trailing_logs: config.max_trailing_logs,
        min_quorum: config.min_quorum,
        server_stabilization_time: config.server_stabilization_time.0,
        redundancy_zone_tag: config.redundancy_zone_tag.clone(),
        disable_upgrade_migration: config.disable_upgrade_migration,
        upgrade_version_tag: config.upgrade_version_tag.clone(),
        index: RaftIndex {
            create_index: config.create_index,
            modify_index: config.modify_index,
        },
    }
}

/// The configuration from RPC.
pub fn from_message(config: message::AutopilotConfig) -> AutopilotConfig {
    AutopilotConfig {
        cleanup_dead_servers: config.cleanup_dead_servers,
        last_contact_threshold: GoDuration(config.last_contact_threshold),
        max_trailing_logs: config.max_trailing_logs,
        min_quorum: config.min_quorum,
        server_stabilization_time: GoDuration(config.server_stabilization_time),
        redundancy_zone_tag: config.redundancy_zone_tag,
        disable_upgrade_migration: config.disable_upgrade_migration,
        upgrade_version_tag: config.upgrade_version_tag,
        create_index: config.index.create_index,
        modify_index: config.index.modify_index,
    }
}

/// The health of the servers.
///
/// # Errors
/// Without a leader, or without servers.
pub async fn health(shared: &Arc<Shared>) -> Result<OperatorHealthReply, WriteError> {
    if let Some(upstream) = shared.store.upstream() {
        let request = DcRequest {
            datacenter: shared.datacenter.clone(),
            ..DcRequest::default()
        };
        return upstream
            .call("Operator.ServerHealth", &request, Kind::Read)
            .await;
    }
    Ok(autopilot::of_leader(shared).await?.health())
}

/// The state of autopilot, as JSON.
///
/// # Errors
/// Without a leader, or without servers.
pub async fn state(shared: &Arc<Shared>) -> Result<Value, WriteError> {
    if let Some(upstream) = shared.store.upstream() {
        let request = DcRequest {
            datacenter: shared.datacenter.clone(),
            ..DcRequest::default()
        };
        let text: String = upstream
            .call("Operator.AutopilotStateDocument", &request, Kind::Read)
            .await?;
        return serde_json::from_str(&text).map_err(|e| WriteError::Rpc(e.to_string()));
    }
    let state = autopilot::of_leader(shared).await?;
    let view = shared.store.view();
    let meta = |name: &str| match view.node(name) {
        Some(node) => json!(node.meta),
        None => Value::Null,
    };
    Ok(state.state(meta))
}

/// On the leader: removes a server by id or by address.
pub async fn remove_peer(consensus: &Consensus, id: &str, address: &str) -> Answer {
    let peers = consensus.status().voters;
    let found = peers.iter().find(|p| {
        if id.is_empty() {
            p.info.address == address
        } else {
            p.info.node_id.eq_ignore_ascii_case(id)
        }
    });
    let Some(peer) = found else {
        let text = if id.is_empty() {
            format!("address \"{address}\" was not found in the Raft configuration")
        } else {
            format!("id \"{id}\" was not found in the Raft configuration")
        };
        return Answer::Failed(Failure::Refused(text));
    };
    match consensus.remove(&peer.info.node_id).await {
        Ok(()) => {
            tracing::warn!(target: "agent.server.operator", peer = %peer.info.node_id, address = %peer.info.address, "Removed Raft peer");
            Answer::Done
        }
        Err(ProposeError::Refused(text)) => {
            tracing::warn!(target: "agent.server.operator", peer = %peer.info.node_id, error = %text, "Failed to remove Raft peer");
            Answer::Failed(Failure::Refused(text))
        }
        Err(_) => Answer::Failed(Failure::NoLeader),
    }
}

/// On the leader: hands over the lead.
pub async fn transfer(consensus: &Consensus, id: &str) -> Answer {
    match leave::hand_over(consensus, id).await {
        Ok(()) => Answer::Done,
        Err(text) => Answer::Failed(Failure::Refused(text)),
    }
}
