//! `/v1/operator`: the servers and autopilot.

use super::kv::parse_uint;
use super::options::Freshness;
use super::{Call, HttpError, Reply, read};
use crate::agent::Shared;
use crate::cluster::autopilot::{self, config as autopilot_config};
use crate::cluster::{forward, operator};
use crate::cluster::wire::{Answer, Ask, Failure};
use http::StatusCode;
use lictor_state::{AutopilotChange, AutopilotConfig, AutopilotRule, Command, Outcome};
use lictor_wire::gojson::{self, Mode};
use lictor_wire::{GoDuration, Str};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// What the leader is asked here it does at once, or after a change of the servers.
const LIMIT: Duration = Duration::from_secs(10);

fn no_leader() -> HttpError {
    HttpError::internal("No cluster leader")
}

async fn leader(shared: &Arc<Shared>, ask: Ask) -> Result<Answer, HttpError> {
    match forward::ask_leader(shared, &ask, LIMIT).await? {
        Answer::Failed(Failure::Refused(text) | Failure::Missing(text)) => {
            Err(HttpError::internal(text))
        }
        Answer::Failed(_) => Err(no_leader()),
        answer => Ok(answer),
    }
}

/// `GET /v1/operator/raft/configuration`
pub async fn raft_configuration(
    shared: &Arc<Shared>,
    call: &mut Call,
) -> Result<Reply, HttpError> {
    read::own_datacenter(shared, call)?;
    let found = if call.params.has("stale") {
        let consensus = shared.store.consensus();
        consensus.map(|c| operator::configuration(shared, c))
    } else {
        match leader(shared, Ask::Peers).await? {
            Answer::Json(text) => serde_json::from_str(&text).ok(),
            _ => None,
        }
    };
    let found: Value = found.ok_or_else(no_leader)?;
    Ok(Reply::json(shared, call, &found))
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
    let ask = Ask::RemovePeer {
        id: call.params.get("id").to_owned(),
        address: call.params.get("address").to_owned(),
    };
    leader(shared, ask).await?;
    Ok(Reply::empty())
}

/// `POST /v1/operator/raft/transfer-leader`
pub async fn transfer_leader(shared: &Arc<Shared>, call: &mut Call) -> Result<Reply, HttpError> {
    read::own_datacenter(shared, call)?;
    let id = call.params.get("id").to_owned();
    leader(shared, Ask::Transfer { id }).await?;
    Ok(Reply::json(shared, call, &json!({ "Success": true })))
}

/// `/v1/operator/autopilot/configuration`
pub async fn configuration(shared: &Arc<Shared>, call: &mut Call) -> Result<Reply, HttpError> {
    read::own_datacenter(shared, call)?;
    if call.head.method == http::Method::PUT {
        return set_configuration(shared, call).await;
    }
    if !call.params.has("stale") {
        read::barrier(shared, Freshness::Default).await?;
    }
    let config = autopilot_config(shared);
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
    let outcome = shared
        .store
        .write(Command::Autopilot(Box::new(change)))
        .await?;
    Ok(Reply::json(shared, call, &(outcome == Outcome::Flag(true))))
}

/// `GET /v1/operator/autopilot/health`
pub async fn health(shared: &Arc<Shared>, call: &mut Call) -> Result<Reply, HttpError> {
    read::own_datacenter(shared, call)?;
    let state = autopilot::of_leader(shared).await?;
    let reply = Reply::json(shared, call, &state.health());
    Ok(if state.healthy() {
        reply
    } else {
        reply.status(StatusCode::TOO_MANY_REQUESTS)
    })
}

/// `GET /v1/operator/autopilot/state`
pub async fn state(shared: &Arc<Shared>, call: &mut Call) -> Result<Reply, HttpError> {
    read::own_datacenter(shared, call)?;
    let state = autopilot::of_leader(shared).await?;
    let view = shared.store.view();
    let meta = |name: &str| match view.node(name) {
        Some(node) => json!(node.meta),
        None => Value::Null,
    };
    Ok(Reply::json(shared, call, &state.state(meta)))
}
