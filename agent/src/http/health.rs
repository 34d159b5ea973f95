//! `/v1/health`: checks, and instances with the checks that count for them.

use super::options::{narrow, read_options};
use super::read::{self, Read, body};
use super::{Call, HttpError, Reply, filter};
use crate::agent::Shared;
use crate::query::{What, rows};
use lictor_state::View;
use lictor_wire::Str;
use std::sync::Arc;

/// `GET /v1/health/node/:node`
pub async fn node(shared: &Arc<Shared>, call: &mut Call) -> Result<Reply, HttpError> {
    let what = |node| What::NodeChecks { node };
    checks(shared, call, what, "Missing node name").await
}

/// `GET /v1/health/checks/:service`
pub async fn service_checks(shared: &Arc<Shared>, call: &mut Call) -> Result<Reply, HttpError> {
    let what = |name| What::ServiceChecks { name };
    checks(shared, call, what, "Missing service name").await
}

/// `GET /v1/health/state/:state`
pub async fn state(shared: &Arc<Shared>, call: &mut Call) -> Result<Reply, HttpError> {
    let what = |state| What::ChecksInState { state };
    checks(shared, call, what, "Missing check state").await
}

async fn checks(
    shared: &Arc<Shared>,
    call: &mut Call,
    what: impl Fn(Str) -> What,
    missing: &str,
) -> Result<Reply, HttpError> {
    let options = read_options(call, &shared.live().wait, true)?;
    if call.rest.is_empty() {
        return Err(HttpError::bad_request(missing));
    }
    let what = what(Str::from(call.rest.as_str()));
    let mut narrow = narrow(shared, &call.params);
    narrow.tags = Vec::new();
    if matches!(what, What::NodeChecks { .. }) {
        narrow.meta = Vec::new();
    }
    let query = what.narrowed(narrow);
    let filter = match filter::of(call) {
        Ok(filter) => filter,
        Err(error) => return Ok(read::failed(error)),
    };
    let answer = |view: &View| {
        let rows = match &query.what {
            What::NodeChecks { node } => rows::node_checks(view, node, &query.narrow, &filter),
            What::ServiceChecks { name } => {
                rows::service_checks(view, name, &query.narrow, &filter)
            }
            What::ChecksInState { state } => {
                rows::checks_in_state(view, state, &query.narrow, &filter)
            }
            _ => Vec::new(),
        };
        Ok(body(shared, call, &rows))
    };
    let read = Read {
        query: &query,
        answer: &answer,
        shareable: query.narrow.meta.is_empty(),
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
    let options = read_options(call, &shared.live().wait, true)?;
    if call.rest.is_empty() {
        return Err(HttpError::bad_request("Missing service name"));
    }
    let name = Str::from(call.rest.as_str());
    let passing = passing(call)?;
    let query = What::Health {
        name: name.clone(),
        mesh,
    }
    .narrowed(narrow(shared, &call.params));
    let filter = match filter::of(call) {
        Ok(filter) => filter,
        Err(error) => return Ok(read::failed(error)),
    };
    // There are no peerings: a peer has no instances here.
    let elsewhere = !call.params.get("peer").is_empty();
    let answer = |view: &View| {
        let rows = if elsewhere {
            Vec::new()
        } else {
            rows::health(view, &name, mesh, passing, &query.narrow, &filter)
        };
        Ok(body(shared, call, &rows))
    };
    let read = Read {
        query: &query,
        answer: &answer,
        shareable: !mesh,
        names_consistency: true,
    };
    read::run(shared, call, &options, &read).await
}
