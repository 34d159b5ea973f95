//! `Status`: what every server answers by itself.

use super::{Call, Reply, empty, reply};
use lictor_rpc_wire::message::{DcRequest, RaftStats};
use lictor_wire::Str;

pub(super) fn call(call: &Call<'_>, method: &str) -> Option<Reply> {
    Some(match method {
        "Ping" => empty(),
        "Leader" => own(call).and_then(|()| reply(&leader(call))),
        "Peers" => own(call).and_then(|()| reply(&peers(call))),
        "RaftStats" => reply(&stats(call)),
        _ => return None,
    })
}

fn own(call: &Call<'_>) -> Result<(), String> {
    let args: DcRequest = call.args()?;
    call.own_datacenter(&args.datacenter)
}

fn leader(call: &Call<'_>) -> String {
    let consensus = call.shared.store.consensus();
    let leader = consensus.and_then(lictor_raft::Consensus::leader);
    leader.map(|l| l.address).unwrap_or_default()
}

fn peers(call: &Call<'_>) -> Vec<String> {
    let consensus = call.shared.store.consensus();
    let servers = consensus.map(|c| c.status().voters).unwrap_or_default();
    servers.into_iter().map(|p| p.info.address).collect()
}

fn stats(call: &Call<'_>) -> RaftStats {
    let Some(consensus) = call.shared.store.consensus() else {
        return RaftStats::default();
    };
    let status = consensus.status();
    let contact = call.shared.store.contact();
    RaftStats {
        last_contact: match (consensus.is_leader(), contact.known) {
            (true, _) => "0".into(),
            (false, false) => "never".into(),
            (false, true) => {
                let millis = i64::try_from(contact.last_contact_ms).unwrap_or(i64::MAX);
                Str::from(lictor_wire::GoDuration::from_millis(millis).to_string())
            }
        },
        last_term: status.last_log_term,
        last_index: status.last_log_index,
    }
}
