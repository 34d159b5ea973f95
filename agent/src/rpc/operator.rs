//! `Operator`.

use super::{Call, Reply, reply};
use lictor_rpc_wire::message::{DcRequest, RaftConfiguration, RaftServer};

pub(super) fn call(call: &Call<'_>, method: &str) -> Option<Reply> {
    Some(match method {
        "RaftGetConfiguration" => raft_configuration(call),
        _ => return None,
    })
}

fn raft_configuration(call: &Call<'_>) -> Reply {
    let args: DcRequest = call.args()?;
    call.own_datacenter(&args.datacenter)?;
    let Some(consensus) = call.shared.store.consensus() else {
        return Err("No cluster leader".to_owned());
    };
    let members = crate::members::servers(call.shared);
    let status = consensus.status();
    let server = |peer: lictor_raft::Peer| {
        let member = members.iter().find(|m| *m.id == *peer.info.node_id);
        RaftServer {
            id: peer.info.node_id.as_str().into(),
            node: member.map_or("(unknown)", |m| &*m.name).into(),
            address: peer.info.address.as_str().into(),
            leader: peer.leader,
            protocol_version: "3".into(),
            voter: peer.voter,
            last_index: 0,
        }
    };
    reply(&RaftConfiguration {
        servers: status.voters.into_iter().map(server).collect(),
        index: 0,
    })
}
