//! `Operator`.

use super::{Call, Reply, empty, reply};
use crate::cluster::operator;
use lictor_rpc_wire::message::{AutopilotSetConfigRequest, DcRequest, RaftRemovePeerRequest};
use lictor_state::{AutopilotChange, AutopilotRule};

pub(super) async fn call(call: &Call<'_>, method: &str) -> Option<Reply> {
    Some(match method {
        "RaftGetConfiguration" => raft_configuration(call).await,
        "RaftRemovePeerByAddress" => remove(call, false).await,
        "RaftRemovePeerByID" => remove(call, true).await,
        "TransferLeader" => transfer(call).await,
        "AutopilotGetConfiguration" => configuration(call).await,
        "AutopilotSetConfiguration" => set_configuration(call).await,
        "ServerHealth" => health(call).await,
        "AutopilotStateDocument" => state(call).await,
        _ => return None,
    })
}

async fn raft_configuration(call: &Call<'_>) -> Reply {
    let args: DcRequest = call.args()?;
    call.own_datacenter(&args.datacenter)?;
    let found = operator::peers(call.shared, args.options.allow_stale).await;
    reply(&found.map_err(|e| e.to_string())?)
}

async fn remove(call: &Call<'_>, by_id: bool) -> Reply {
    let args: RaftRemovePeerRequest = call.args()?;
    call.own_datacenter(&args.datacenter)?;
    let (id, address) = if by_id {
        (args.id.as_str(), "")
    } else {
        ("", args.address.as_str())
    };
    let removed = operator::remove(call.shared, id, address).await;
    removed.map_err(|e| e.to_string())??;
    empty()
}

/// Of this project: Consul's servers do this over gRPC.
async fn transfer(call: &Call<'_>) -> Reply {
    let args: RaftRemovePeerRequest = call.args()?;
    call.own_datacenter(&args.datacenter)?;
    let done = operator::hand_over(call.shared, &args.id).await;
    done.map_err(|e| e.to_string())??;
    empty()
}

async fn configuration(call: &Call<'_>) -> Reply {
    let args: DcRequest = call.args()?;
    call.own_datacenter(&args.datacenter)?;
    let found = operator::autopilot_config(call.shared, args.options.allow_stale).await;
    reply(&operator::to_message(&found.map_err(|e| e.to_string())?))
}

async fn set_configuration(call: &Call<'_>) -> Reply {
    let args: AutopilotSetConfigRequest = call.args()?;
    call.own_datacenter(&args.datacenter)?;
    let rule = if args.cas {
        AutopilotRule::Cas(args.config.index.modify_index)
    } else {
        AutopilotRule::Always
    };
    let config = operator::from_message(args.config);
    let change = AutopilotChange { config, rule };
    let set = operator::set_autopilot_config(call.shared, change).await;
    reply(&set.map_err(|e| e.to_string())?)
}

async fn health(call: &Call<'_>) -> Reply {
    let args: DcRequest = call.args()?;
    call.own_datacenter(&args.datacenter)?;
    let found = operator::health(call.shared).await;
    reply(&found.map_err(|e| e.to_string())?)
}

/// Of this project: the whole state, as the HTTP API shows it.
async fn state(call: &Call<'_>) -> Reply {
    let args: DcRequest = call.args()?;
    call.own_datacenter(&args.datacenter)?;
    let found = operator::state(call.shared).await;
    reply(&found.map_err(|e| e.to_string())?.to_string())
}
