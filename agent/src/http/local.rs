//! The part of `/v1/agent` that is about this agent's own services and checks.

use super::catalog::decode;
use super::filter::{self, CheckRow, ServiceRow};
use super::health::go_bool;
use super::options::jittered;
use super::{Call, HttpError, Reply};
use crate::agent::Shared;
use crate::local::{LocalCheck, Source};
use crate::registrar;
use bytes::Bytes;
use http::StatusCode;
use http::header::{self, HeaderName, HeaderValue};
use lictor_wire::duration::go_quote;
use lictor_wire::rows::AgentService;
use lictor_wire::{CheckRequest, CheckUpdateRequest, HealthCheck, ServiceRequest, Status, Str};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// `GET /v1/agent/services`
pub async fn services(shared: &Arc<Shared>, call: &mut Call) -> Result<Reply, HttpError> {
    let filter = filter::of::<ServiceRow<'_>>(call)?;
    let all = shared.local.services();
    let rows: BTreeMap<&Str, AgentService<'_>> = all
        .iter()
        .filter(|row| filter.keeps(&ServiceRow(&row.service)))
        .map(|row| {
            let shown = AgentService {
                service: &row.service,
                datacenter: &shared.datacenter,
                content_hash: None,
            };
            (&row.service.id, shown)
        })
        .collect();
    Ok(Reply::json(shared, call, &rows))
}

static CONTENT_HASH: HeaderName = HeaderName::from_static("x-consul-contenthash");
static REASON: HeaderName = HeaderName::from_static("x-consul-reason");

/// `GET /v1/agent/service/:id`, with `?hash=` waiting for another definition.
pub async fn service(shared: &Arc<Shared>, call: &mut Call) -> Result<Reply, HttpError> {
    let id = call.rest.clone();
    let hash = call.params.get("hash").to_owned();
    let wait = super::options::wait_time(&call.params)?;
    let deadline = tokio::time::Instant::now() + jittered(wait, &shared.live().wait);
    let mut changes = shared.local.definitions();
    loop {
        changes.mark_unchanged();
        let Some(row) = shared.local.service(&id) else {
            return Err(HttpError::not_found(format!("unknown service ID: {id}")));
        };
        let over = tokio::time::Instant::now() >= deadline || shared.is_ending();
        if hash.is_empty() || hash != row.hash.as_str() || over {
            let shown = AgentService {
                service: &row.service,
                datacenter: &shared.datacenter,
                content_hash: Some(&row.hash),
            };
            let reply = Reply::json(shared, call, &shown);
            return Ok(match HeaderValue::from_str(&row.hash) {
                Ok(value) => reply.with(CONTENT_HASH.clone(), value),
                Err(_) => reply,
            });
        }
        tokio::select! {
            _ = changes.changed() => {}
            () = shared.ended() => {}
            () = tokio::time::sleep_until(deadline) => {}
        }
    }
}

/// Syncs now, as Consul does before it answers. A failure is logged and tried again later.
async fn sync(shared: &Arc<Shared>) {
    if let Err(error) = crate::local::sync::now(shared).await {
        tracing::error!(target: "agent.anti_entropy", error = %error, "failed to sync changes");
    }
}

/// `PUT /v1/agent/service/register`
pub async fn service_register(shared: &Arc<Shared>, call: &mut Call) -> Result<Reply, HttpError> {
    let body = call.document().await?;
    let r: ServiceRequest = decode_agent(&body)?;
    let replace = call.params.has("replace-existing-checks");
    shared.on_disk(|| registrar::register_service(shared, &r, Source::Api, replace))?;
    sync(shared).await;
    Ok(Reply::empty())
}

/// Go's decoder names the embedded type of these bodies in its errors.
fn decode_agent<T: serde::de::DeserializeOwned + Default>(body: &[u8]) -> Result<T, HttpError> {
    decode::<T>(body, "").map_err(|mut error| {
        error.text = error
            .text
            .replace("Go struct field .", "Go struct field .Alias.");
        error
    })
}

/// `PUT /v1/agent/service/deregister/:id`
pub async fn service_deregister(shared: &Arc<Shared>, call: &mut Call) -> Result<Reply, HttpError> {
    if !shared.on_disk(|| registrar::remove_service(shared, &call.rest)) {
        return Err(registrar::unknown_service(&call.rest));
    }
    sync(shared).await;
    Ok(Reply::empty())
}

/// `?enable=`, which must be there and a boolean.
fn enable(call: &Call) -> Result<bool, HttpError> {
    if !call.params.has("enable") {
        return Err(HttpError::bad_request("Missing value for enable"));
    }
    let text = call.params.get("enable");
    go_bool(text).ok_or_else(|| {
        HttpError::bad_request(format!("Invalid value for enable: {}", go_quote(text)))
    })
}

/// `PUT /v1/agent/service/maintenance/:id`
pub async fn service_maintenance(
    shared: &Arc<Shared>,
    call: &mut Call,
) -> Result<Reply, HttpError> {
    if call.rest.is_empty() {
        return Err(HttpError::bad_request("Missing service ID"));
    }
    let enable = enable(call)?;
    shared.on_disk(|| {
        registrar::service_in_maintenance(shared, &call.rest, enable, call.params.get("reason"))
    })?;
    sync(shared).await;
    Ok(Reply::empty())
}

/// `PUT /v1/agent/maintenance`
pub async fn node_maintenance(shared: &Arc<Shared>, call: &mut Call) -> Result<Reply, HttpError> {
    let enable = enable(call)?;
    shared.on_disk(|| registrar::node_in_maintenance(shared, enable, call.params.get("reason")));
    sync(shared).await;
    Ok(Reply::empty())
}

/// `GET /v1/agent/checks`
pub async fn checks(shared: &Arc<Shared>, call: &mut Call) -> Result<Reply, HttpError> {
    let all = shared.local.checks();
    // The grammar is checked first; everything else only against rows that are there.
    let filter = filter::lazily::<CheckRow<'_>>(call, !all.is_empty())?;
    let rows: BTreeMap<&Str, &HealthCheck> = all
        .iter()
        .filter(|row| filter.keeps(&CheckRow(&row.check)))
        .map(|row| (&row.check.check_id, &*row.check))
        .collect();
    Ok(Reply::json(shared, call, &rows))
}

/// `PUT /v1/agent/check/register`
pub async fn check_register(shared: &Arc<Shared>, call: &mut Call) -> Result<Reply, HttpError> {
    let body = call.document().await?;
    let r: CheckRequest = decode_agent(&body)?;
    shared.on_disk(|| registrar::register_check(shared, &r, Source::Api))?;
    sync(shared).await;
    Ok(Reply::empty())
}

/// `PUT /v1/agent/check/deregister/:id`
pub async fn check_deregister(shared: &Arc<Shared>, call: &mut Call) -> Result<Reply, HttpError> {
    if !shared.on_disk(|| registrar::remove_check(shared, &call.rest)) {
        return Err(registrar::unknown_check(&call.rest));
    }
    sync(shared).await;
    Ok(Reply::empty())
}

/// `PUT /v1/agent/check/pass/:id`
pub async fn check_pass(shared: &Arc<Shared>, call: &mut Call) -> Result<Reply, HttpError> {
    let note = call.params.get("note").to_owned();
    ttl(shared, &call.rest, Status::Passing, note).await
}

/// `PUT /v1/agent/check/warn/:id`
pub async fn check_warn(shared: &Arc<Shared>, call: &mut Call) -> Result<Reply, HttpError> {
    let note = call.params.get("note").to_owned();
    ttl(shared, &call.rest, Status::Warning, note).await
}

/// `PUT /v1/agent/check/fail/:id`
pub async fn check_fail(shared: &Arc<Shared>, call: &mut Call) -> Result<Reply, HttpError> {
    let note = call.params.get("note").to_owned();
    ttl(shared, &call.rest, Status::Critical, note).await
}

/// `PUT /v1/agent/check/update/:id`
pub async fn check_update(shared: &Arc<Shared>, call: &mut Call) -> Result<Reply, HttpError> {
    let body = call.document().await?;
    let r: CheckUpdateRequest = decode(&body, "agent.checkUpdate")?;
    let Some(status) = Status::parse(&r.status) else {
        return Err(HttpError::bad_request(format!(
            "Invalid check status: '{}'",
            r.status
        )));
    };
    ttl(shared, &call.rest, status, r.output.to_string()).await
}

async fn ttl(
    shared: &Arc<Shared>,
    id: &str,
    status: Status,
    output: String,
) -> Result<Reply, HttpError> {
    let Some(row) = shared.local.check(id) else {
        return Err(registrar::unknown_check(id));
    };
    shared
        .checks
        .ttl_set(id, status, &output)
        .map_err(|e| HttpError::internal(e.to_string()))?;
    if let Some(kind) = &row.kind {
        shared.on_disk(|| shared.local.save_state(id, kind.ttl));
    }
    sync(shared).await;
    Ok(Reply::empty())
}

/// The worst of the checks, where maintenance is worse than all.
fn aggregate<'a>(checks: impl Iterator<Item = &'a HealthCheck>) -> &'static str {
    let mut worst = "passing";
    for check in checks {
        if check.check_id == registrar::NODE_MAINTENANCE
            || check.check_id.starts_with("_service_maintenance:")
        {
            return "maintenance";
        }
        worst = match (&check.status, worst) {
            (Status::Critical, _) | (_, "critical") => "critical",
            (Status::Warning, _) | (_, "warning") => "warning",
            _ => worst,
        };
    }
    worst
}

fn status_of(word: &str) -> StatusCode {
    match word {
        "passing" => StatusCode::OK,
        "warning" => StatusCode::TOO_MANY_REQUESTS,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    }
}

fn wants_text(call: &Call) -> bool {
    call.params.get("format") == "text"
        || call
            .header("accept")
            .is_some_and(|a| a.starts_with("text/plain"))
}

/// The health of an instance as the agent shows it to load balancers.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct InstanceHealth {
    aggregated_status: &'static str,
    service: Option<Value>,
    checks: Option<Vec<Value>>,
}

fn health_of(shared: &Shared, id: &str) -> Option<InstanceHealth> {
    let row = shared.local.service(id)?;
    let checks: Vec<LocalCheck> = shared
        .local
        .checks()
        .into_iter()
        .filter(|c| c.check.service_id == row.service.id || c.check.service_id.is_empty())
        .collect();
    let word = aggregate(checks.iter().map(|c| &*c.check));
    let shown = AgentService {
        service: &row.service,
        datacenter: &shared.datacenter,
        content_hash: None,
    };
    Some(InstanceHealth {
        aggregated_status: word,
        service: serde_json::to_value(&shown).ok(),
        checks: Some(checks.iter().map(|c| plain_check(&c.check)).collect()),
    })
}

/// A check in the form of this endpoint: that of Consul's API client.
fn plain_check(c: &HealthCheck) -> Value {
    json!({
        "Node": c.node, "CheckID": c.check_id, "Name": c.name, "Status": c.status, "Notes": c.notes,
        "Output": c.output, "ServiceID": c.service_id, "ServiceName": c.service_name, "ServiceTags": Value::Null,
        "Type": "", "ExposedPort": 0,
        "Definition": {
            "HTTP": "", "Header": Value::Null, "Method": "", "Body": "", "TLSServerName": "", "TLSSkipVerify": false,
            "TCP": "", "TCPUseTLS": false, "UDP": "", "GRPC": "", "OSService": "", "GRPCUseTLS": false,
            "Interval": "0s", "Timeout": "0s", "DeregisterCriticalServiceAfter": "0s",
        },
        "CreateIndex": 0, "ModifyIndex": 0,
    })
}

fn reason(reply: Reply, text: &str) -> Reply {
    match HeaderValue::from_str(text) {
        Ok(value) => reply.with(REASON.clone(), value),
        Err(_) => reply,
    }
}

fn plain(status: StatusCode, text: impl Into<Bytes>) -> Reply {
    Reply::bare(status, text.into())
        .with(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"))
}

/// `GET /v1/agent/health/service/id/:id`
pub async fn health_by_id(shared: &Arc<Shared>, call: &mut Call) -> Result<Reply, HttpError> {
    if call.rest.is_empty() {
        return Err(HttpError::internal("Missing serviceID"));
    }
    let text = wants_text(call);
    Ok(match health_of(shared, &call.rest) {
        None => {
            let why = format!("ServiceId {} not found", call.rest);
            let reply = if text {
                plain(StatusCode::NOT_FOUND, why.clone())
            } else {
                let nothing = InstanceHealth {
                    aggregated_status: "critical",
                    service: None,
                    checks: None,
                };
                Reply::json(shared, call, &nothing).status(StatusCode::NOT_FOUND)
            };
            reason(reply, &why)
        }
        Some(health) => {
            let word = health.aggregated_status;
            let reply = if text {
                plain(status_of(word), word)
            } else {
                Reply::json(shared, call, &health).status(status_of(word))
            };
            reason(reply, word)
        }
    })
}

/// `GET /v1/agent/health/service/name/:name`
pub async fn health_by_name(shared: &Arc<Shared>, call: &mut Call) -> Result<Reply, HttpError> {
    if call.rest.is_empty() {
        return Err(HttpError::internal("Missing service Name"));
    }
    let text = wants_text(call);
    let all: Vec<InstanceHealth> = shared
        .local
        .services()
        .iter()
        .filter(|row| row.service.service == call.rest.as_str())
        .filter_map(|row| health_of(shared, &row.service.id))
        .collect();
    if all.is_empty() {
        let why = format!("ServiceName {} Not Found", call.rest);
        let reply = if text {
            plain(StatusCode::NOT_FOUND, why.clone())
        } else {
            Reply::json(shared, call, &all).status(StatusCode::NOT_FOUND)
        };
        return Ok(reason(reply, &why));
    }
    let rank = |word: &str| {
        ["passing", "warning", "critical", "maintenance"]
            .iter()
            .position(|w| *w == word)
    };
    let word = all
        .iter()
        .map(|h| h.aggregated_status)
        .max_by_key(|w| rank(w))
        .unwrap_or("critical");
    let reply = if text {
        plain(status_of(word), word)
    } else {
        Reply::json(shared, call, &all).status(status_of(word))
    };
    Ok(reason(reply, word))
}

/// `PUT /v1/agent/token/:kind`: there are no tokens without ACLs.
pub async fn token(_: &Arc<Shared>, _: &mut Call) -> Result<Reply, HttpError> {
    Err(acl_disabled())
}

/// The error of everything that has to do with ACLs while they are off.
pub fn acl_disabled() -> HttpError {
    HttpError::new(StatusCode::UNAUTHORIZED, "ACL support disabled")
}

/// `/v1/acl/...`
pub async fn acl(_: &Arc<Shared>, _: &mut Call) -> Result<Reply, HttpError> {
    Err(acl_disabled())
}

/// `PUT /v1/agent/reload`
pub async fn reload(shared: &Arc<Shared>, _: &mut Call) -> Result<Reply, HttpError> {
    shared.reload().await.map_err(HttpError::internal)?;
    Ok(Reply::empty())
}

/// `PUT /v1/agent/leave`: answered when the leave is done, before the process ends.
pub async fn leave(shared: &Arc<Shared>, _: &mut Call) -> Result<Reply, HttpError> {
    shared.leave().await.map_err(HttpError::internal)?;
    shared.end_after_leave();
    Ok(Reply::empty())
}
