//! `/v1/operator/raft` and `/v1/operator/autopilot`: the servers.

use super::kv::parse_uint;
use super::{Call, HttpError, Reply, read};
use crate::agent::Shared;
use crate::cluster::operator;
use crate::time::rfc3339;
use http::StatusCode;
use lictor_state::{AutopilotChange, AutopilotConfig, AutopilotRule};
use lictor_wire::gojson::{self, Mode};
use lictor_wire::{GoDuration, Str};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// `GET /v1/operator/raft/configuration`
pub async fn raft_configuration(shared: &Arc<Shared>, call: &mut Call) -> Result<Reply, HttpError> {
    read::own_datacenter(shared, call)?;
    let found = operator::peers(shared, call.params.has("stale")).await?;
    let rows: Vec<Value> = found
        .servers
        .iter()
        .map(|s| {
            json!({
                "ID": s.id, "Node": s.node, "Address": s.address, "Leader": s.leader,
                "ProtocolVersion": s.protocol_version, "Voter": s.voter, "LastIndex": s.last_index,
            })
        })
        .collect();
    let shown = json!({ "Servers": rows, "Index": found.index });
    Ok(Reply::json(shared, call, &shown))
}

/// `DELETE /v1/operator/raft/peer`
pub async fn raft_peer(shared: &Arc<Shared>, call: &mut Call) -> Result<Reply, HttpError> {
    read::own_datacenter(shared, call)?;
    let (by_id, by_address) = (call.params.has("id"), call.params.has("address"));
    if !by_id && !by_address {
        return Err(HttpError::bad_request(
            "Must specify either ?id with the server's ID or ?address with IP:port of peer to remove",
        ));
    }
    if by_id && by_address {
        return Err(HttpError::bad_request(
            "Must specify only one of ?id or ?address",
        ));
    }
    let (id, address) = (call.params.get("id"), call.params.get("address"));
    let removed = operator::remove(shared, id, address).await?;
    removed.map_err(HttpError::internal)?;
    Ok(Reply::empty())
}

/// `POST /v1/operator/raft/transfer-leader`
pub async fn transfer_leader(shared: &Arc<Shared>, call: &mut Call) -> Result<Reply, HttpError> {
    read::own_datacenter(shared, call)?;
    let done = operator::hand_over(shared, call.params.get("id")).await?;
    done.map_err(HttpError::internal)?;
    Ok(Reply::json(shared, call, &json!({ "Success": true })))
}

/// `/v1/operator/autopilot/configuration`
pub async fn configuration(shared: &Arc<Shared>, call: &mut Call) -> Result<Reply, HttpError> {
    read::own_datacenter(shared, call)?;
    if call.head.method == http::Method::PUT {
        return set_configuration(shared, call).await;
    }
    let config = operator::autopilot_config(shared, call.params.has("stale")).await?;
    let shown = json!({
        "CleanupDeadServers": config.cleanup_dead_servers,
        "LastContactThreshold": config.last_contact_threshold.to_string(),
        "MaxTrailingLogs": config.max_trailing_logs,
        "MinQuorum": config.min_quorum,
        "ServerStabilizationTime": config.server_stabilization_time.to_string(),
        "RedundancyZoneTag": config.redundancy_zone_tag,
        "DisableUpgradeMigration": config.disable_upgrade_migration,
        "UpgradeVersionTag": config.upgrade_version_tag,
        "CreateIndex": config.create_index,
        "ModifyIndex": config.modify_index,
    });
    Ok(Reply::json(shared, call, &shown))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Given {
    cleanup_dead_servers: bool,
    last_contact_threshold: GoDuration,
    max_trailing_logs: u64,
    min_quorum: u64,
    server_stabilization_time: GoDuration,
    redundancy_zone_tag: Str,
    disable_upgrade_migration: bool,
    upgrade_version_tag: Str,
}

impl Default for Given {
    fn default() -> Given {
        let d = AutopilotConfig::default();
        Given {
            cleanup_dead_servers: d.cleanup_dead_servers,
            last_contact_threshold: d.last_contact_threshold,
            max_trailing_logs: d.max_trailing_logs,
            min_quorum: d.min_quorum,
            server_stabilization_time: d.server_stabilization_time,
            redundancy_zone_tag: Str::new(),
            disable_upgrade_migration: false,
            upgrade_version_tag: Str::new(),
        }
    }
}

async fn set_configuration(shared: &Arc<Shared>, call: &mut Call) -> Result<Reply, HttpError> {
    let body = call.document().await?;
    let given: Given = gojson::decode(&body, Mode::Lenient, "api.AutopilotConfiguration")
        .map_err(|e| HttpError::bad_request(format!("Error parsing autopilot config: {e}")))?;
    let rule = if call.params.has("cas") {
        let index = parse_uint(call.params.get("cas"))
            .map_err(|e| HttpError::bad_request(format!("Error parsing cas value: {e}")))?;
        AutopilotRule::Cas(index)
    } else {
        AutopilotRule::Always
    };
    let config = AutopilotConfig {
        cleanup_dead_servers: given.cleanup_dead_servers,
        last_contact_threshold: given.last_contact_threshold,
        max_trailing_logs: given.max_trailing_logs,
        min_quorum: given.min_quorum,
        server_stabilization_time: given.server_stabilization_time,
        redundancy_zone_tag: given.redundancy_zone_tag,
        disable_upgrade_migration: given.disable_upgrade_migration,
        upgrade_version_tag: given.upgrade_version_tag,
        create_index: 0,
        modify_index: 0,
    };
    let change = AutopilotChange { config, rule };
    let set = operator::set_autopilot_config(shared, change).await?;
    Ok(Reply::json(shared, call, &set))
}

/// `GET /v1/operator/autopilot/health`
pub async fn health(shared: &Arc<Shared>, call: &mut Call) -> Result<Reply, HttpError> {
    read::own_datacenter(shared, call)?;
    let found = operator::health(shared).await?;
    let rows: Vec<Value> = found
        .servers
        .iter()
        .map(|s| {
            let standing = match s.serf_status {
                1 => "alive",
                2 => "leaving",
                3 => "left",
                4 => "failed",
                _ => "none",
            };
            let since = u64::try_from(s.stable_since.unix()).unwrap_or(0) * 1000;
            json!({
                "ID": s.id, "Name": s.name, "Address": s.address, "SerfStatus": standing,
                "Version": s.version, "Leader": s.leader,
                "LastContact": GoDuration(s.last_contact).to_string(),
                "LastTerm": s.last_term, "LastIndex": s.last_index,
                "Healthy": s.healthy, "Voter": s.voter, "StableSince": rfc3339(since, false),
            })
        })
        .collect();
    let shown = json!({
        "Healthy": found.healthy, "FailureTolerance": found.failure_tolerance, "Servers": rows,
    });
    let reply = Reply::json(shared, call, &shown);
    Ok(if found.healthy {
        reply
    } else {
        reply.status(StatusCode::TOO_MANY_REQUESTS)
    })
}

/// `GET /v1/operator/autopilot/state`
pub async fn state(shared: &Arc<Shared>, call: &mut Call) -> Result<Reply, HttpError> {
    read::own_datacenter(shared, call)?;
    let shown = operator::state(shared).await?;
    Ok(Reply::json(shared, call, &shown))
}
