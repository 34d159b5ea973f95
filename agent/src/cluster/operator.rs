//! What operators ask of the leader.

use super::wire::{Answer, Failure};
use super::{autopilot, leave};
use crate::agent::Shared;
use lictor_raft::{Consensus, ProposeError};
use serde_json::{Value, json};

/// The servers of the cluster.
pub fn configuration(shared: &Shared, consensus: &Consensus) -> Value {
    let status = consensus.status();
    let members = shared.cluster.links.servers();
    let known = autopilot::last_indexes(shared);
    let servers: Vec<Value> = status
        .voters
        .iter()
        .map(|peer| {
            let id = &peer.info.node_id;
            let member = members.iter().find(|m| m.id.eq_ignore_ascii_case(id));
            let own = peer.info.id() == consensus.server().id();
            let last = if own {
                status.last_log_index
            } else {
                known.get(id.as_str()).copied().unwrap_or(0)
            };
            json!({
                "ID": id,
                "Node": member.map_or("(unknown)", |m| m.name.as_str()),
                "Address": peer.info.address,
                "Leader": peer.leader,
                "ProtocolVersion": "3",
                "Voter": peer.voter,
                "LastIndex": last,
            })
        })
        .collect();
    json!({ "Servers": servers, "Index": 0 })
}

/// Removes a server by id or by address.
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

/// Hands over the lead.
pub async fn transfer(consensus: &Consensus, id: &str) -> Answer {
    match leave::hand_over(consensus, id).await {
        Ok(()) => Answer::Done,
        Err(text) => Answer::Failed(Failure::Refused(text)),
    }
}
