//! `/v1/health`: checks, and instances with the checks that count for them.

use super::catalog::{tags, wanted};
use super::filter::{self, CheckRow, HealthRow};
use super::options::{ReadOptions, node_meta};
use super::read::{self, Read, body};
use super::{Call, HttpError, Reply, sort};
use crate::agent::Shared;
use lictor_state::{View, WatchKey, fold};
use lictor_wire::rows::CheckServiceNode;
use lictor_wire::{HealthCheck, Status};
use std::sync::Arc;

/// Rows of checks, by what they belong to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    Node,
    Service,
    State,
}

/// `GET /v1/health/node/:node`
pub async fn node(shared: &Arc<Shared>, call: &mut Call) -> Result<Reply, HttpError> {
    checks(shared, call, Of::Node, "Missing node name").await
}

/// `GET /v1/health/checks/:service`
pub async fn service_checks(shared: &Arc<Shared>, call: &mut Call) -> Result<Reply, HttpError> {
    checks(shared, call, Of::Service, "Missing service name").await
}

/// `GET /v1/health/state/:state`
pub async fn state(shared: &Arc<Shared>, call: &mut Call) -> Result<Reply, HttpError> {
    checks(shared, call, Of::State, "Missing check state").await
}

async fn checks(
    shared: &Arc<Shared>,
    call: &mut Call,
    of: Of,
    missing: &str,
) -> Result<Reply, HttpError> {
    let options = ReadOptions::of(call, &shared.live().wait, true)?;
    let name = call.rest.clone();
    if name.is_empty() {
        return Err(HttpError::bad_request(missing));
    }
    let meta = if of == Of::Node {
        Vec::new()
    } else {
        node_meta(&call.params)
    };
    let filter = match filter::of::<CheckRow<'_>>(call) {
        Ok(filter) => filter,
        Err(error) => return Ok(read::failed(error)),
    };
    let fits_meta = |view: &View, check: &HealthCheck| {
        meta.is_empty()
            || view.node(&check.node).is_some_and(|n| {
                meta.iter().all(|(k, v)| {
                    n.meta
                        .as_ref()
                        .and_then(|m| m.get(k))
                        .is_some_and(|have| have == v.as_str())
                })
            })
    };
    let answer = |view: &View| {
        let mut rows: Vec<Arc<HealthCheck>> = match of {
            Of::Node => {
                let node = view
                    .node_by_name_or_id(&name)
                    .map_or(name.as_str(), |n| n.node.as_str());
                view.checks_of_node(node).cloned().collect()
            }
            Of::Service => view.checks_of_service(&name),
            Of::State => view
                .checks()
                .filter(|c| name == "any" || c.status.as_str() == name)
                .cloned()
                .collect(),
        };
        rows.retain(|check| fits_meta(view, check) && filter.keeps(&CheckRow(check)));
        sort::near(shared, call, view, &mut rows, |c| &c.node);
        Ok(body(shared, call, &rows))
    };
    let keys = |view: &View| match of {
        Of::Node => vec![WatchKey::NodeChecks(
            view.node_by_name_or_id(&name)
                .map_or_else(|| fold(&name), |n| fold(&n.node)),
        )],
        Of::Service => vec![WatchKey::ServiceChecks(fold(&name))],
        Of::State if name == "any" => vec![WatchKey::Checks],
        Of::State => vec![WatchKey::ChecksInState(name.as_str().into())],
    };
    let read = Read {
        keys: &keys,
        index: &|view| view.tables().checks,
        answer: &answer,
        shareable: meta.is_empty(),
        names_consistency: true,
    };
    read::run(shared, call, &options, &read).await
}

/// `GET /v1/health/service/:name`
pub async fn service(shared: &Arc<Shared>, call: &mut Call) -> Result<Reply, HttpError> {
    instances(shared, call, false).await
}

/// `GET /v1/health/connect/:name`
pub async fn connect(shared: &Arc<Shared>, call: &mut Call) -> Result<Reply, HttpError> {
    instances(shared, call, true).await
}

/// `?passing`: bare or a boolean.
fn passing(call: &Call) -> Result<bool, HttpError> {
    if !call.params.has("passing") {
        return Ok(false);
    }
    match call.params.get("passing") {
        "" => Ok(true),
        text => go_bool(text).ok_or_else(|| HttpError::bad_request("Invalid value for ?passing")),
    }
}

/// Go's `strconv.ParseBool`.
pub fn go_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

async fn instances(shared: &Arc<Shared>, call: &mut Call, mesh: bool) -> Result<Reply, HttpError> {
    let options = ReadOptions::of(call, &shared.live().wait, true)?;
    let name = call.rest.clone();
    if name.is_empty() {
        return Err(HttpError::bad_request("Missing service name"));
    }
    let passing = passing(call)?;
    let (tags, meta) = (tags(call), node_meta(&call.params));
    let filter = match filter::of::<HealthRow<'_>>(call) {
        Ok(filter) => filter,
        Err(error) => return Ok(read::failed(error)),
    };
    // There are no peerings: a peer has no instances here.
    let elsewhere = !call.params.get("peer").is_empty();
    let answer = |view: &View| {
        let mut rows = if elsewhere {
            Vec::new()
        } else if mesh {
            view.connect_health(&name)
        } else {
            view.health(&name)
        };
        rows.retain(|r: &CheckServiceNode| {
            wanted(&r.node, &r.service, &tags, &meta)
                && filter.keeps(&HealthRow(r))
                && (!passing || r.checks.iter().all(|c| c.status == Status::Passing))
        });
        sort::near(shared, call, view, &mut rows, |r| &r.node.node);
        Ok(body(shared, call, &rows))
    };
    let key = fold(&name);
    let read = Read {
        keys: &|_| {
            vec![if mesh {
                WatchKey::Connect(key.clone())
            } else {
                WatchKey::ServiceHealth(key.clone())
            }]
        },
        index: &|view| {
            if mesh {
                view.connect_index(&name)
            } else {
                view.health_index(&name)
            }
        },
        answer: &answer,
        shareable: !mesh,
        names_consistency: true,
    };
    read::run(shared, call, &options, &read).await
}
