//! `/v1/session`: sessions.

use super::options::read_options;
use super::read::{self, Read, body};
use super::{Call, HttpError, Reply};
use crate::agent::Shared;
use crate::query::{Query, ReadOptions, What};
use crate::writes;
use lictor_state::{Command, View};
use lictor_wire::gojson::{self, Mode};
use lictor_wire::{GoDuration, Session, SessionBehavior, SessionRequest, Str};
use std::sync::Arc;

/// Where a client says nothing.
const LOCK_DELAY: GoDuration = GoDuration::from_secs(15);

/// `PUT /v1/session/create`
pub async fn create(shared: &Arc<Shared>, call: &mut Call) -> Result<Reply, HttpError> {
    let store = read::store(shared, call)?;
    let body = call.document().await?;
    let r: SessionRequest = if body.is_empty() || body.trim_ascii() == b"null" {
        SessionRequest::default()
    } else {
        gojson::decode(&body, Mode::Lenient, "structs.Session").map_err(HttpError::decode)?
    };
    let session = prepare(shared, r)?;
    shared.metrics.count("session.apply");
    match store.create_session(session).await? {
        Ok(id) => Ok(Reply::json(shared, call, &serde_json::json!({ "ID": id }))),
        Err(text) => Err(HttpError::internal(format!("apply failed: {text}"))),
    }
}

fn prepare(shared: &Shared, r: SessionRequest) -> Result<Session, HttpError> {
    let behavior = match r.behavior.as_str() {
        "" | "release" => SessionBehavior::Release,
        "delete" => SessionBehavior::Delete,
        other => {
            return Err(HttpError::internal(format!(
                "Invalid Behavior setting '{other}'"
            )));
        }
    };
    // The old list, if given, stands in for the new one.
    let node_checks = match (r.node_checks, r.checks) {
        (Some(checks), _) | (None, Some(checks)) => checks,
        (None, None) => vec![Str::from("serfHealth")],
    };
    let session = Session {
        id: crate::random::uuid(),
        name: r.name,
        node: if r.node.is_empty() {
            shared.node_name.clone()
        } else {
            r.node
        },
        lock_delay: r.lock_delay.map_or(LOCK_DELAY, |d| d.0),
        behavior,
        ttl: r.ttl,
        node_checks,
        service_checks: r.service_checks,
        create_index: 0,
        modify_index: 0,
    };
    writes::session(&session, shared.live().session_ttl_min).map_err(HttpError::internal)?;
    Ok(session)
}

fn need_id(call: &Call) -> Result<Str, HttpError> {
    if call.rest.is_empty() {
        Err(HttpError::bad_request("Missing session"))
    } else {
        Ok(Str::from(call.rest.as_str()))
    }
}

/// `PUT /v1/session/destroy/:id`
pub async fn destroy(shared: &Arc<Shared>, call: &mut Call) -> Result<Reply, HttpError> {
    let store = read::store(shared, call)?;
    let id = need_id(call)?;
    shared.metrics.count("session.apply");
    store.write(Command::SessionDestroy(id)).await?;
    Ok(Reply::json(shared, call, &true))
}

/// `PUT /v1/session/renew/:id`
pub async fn renew(shared: &Arc<Shared>, call: &mut Call) -> Result<Reply, HttpError> {
    let store = read::store(shared, call)?;
    let id = need_id(call)?;
    let renewed = match store.upstream() {
        Some(upstream) => upstream.renew_session(&id).await?,
        None => crate::leader::renew_session(shared, &id).await?,
    };
    match renewed {
        Some(session) => Ok(Reply::json(shared, call, &[session])),
        None => Err(HttpError::not_found(format!("Session id '{id}' not found"))),
    }
}

/// `GET /v1/session/info/:id`
pub async fn info(shared: &Arc<Shared>, call: &mut Call) -> Result<Reply, HttpError> {
    let id = need_id(call);
    let options = read_options(call, &shared.live().wait, false)?;
    let id = id?;
    let answer = |view: &View| {
        let rows: Vec<&Arc<Session>> = view.session(&id).into_iter().collect();
        Ok(body(shared, call, &rows))
    };
    session_read(
        shared,
        call,
        &options,
        What::Session { id: id.clone() },
        &answer,
    )
    .await
}

/// `GET /v1/session/node/:node`
pub async fn node(shared: &Arc<Shared>, call: &mut Call) -> Result<Reply, HttpError> {
    let options = read_options(call, &shared.live().wait, false)?;
    if call.rest.is_empty() {
        return Err(HttpError::bad_request("Missing node name"));
    }
    let node = Str::from(call.rest.as_str());
    let answer = |view: &View| {
        let rows: Vec<&Arc<Session>> = view.sessions_of_node(&node).collect();
        Ok(body(shared, call, &rows))
    };
    session_read(
        shared,
        call,
        &options,
        What::NodeSessions { node: node.clone() },
        &answer,
    )
    .await
}

/// `GET /v1/session/list`
pub async fn list(shared: &Arc<Shared>, call: &mut Call) -> Result<Reply, HttpError> {
    let options = read_options(call, &shared.live().wait, false)?;
    let answer = |view: &View| {
        let rows: Vec<&Arc<Session>> = view.sessions().collect();
        Ok(body(shared, call, &rows))
    };
    session_read(shared, call, &options, What::Sessions, &answer).await
}

async fn session_read(
    shared: &Arc<Shared>,
    call: &Call,
    options: &ReadOptions,
    what: What,
    answer: &(dyn Fn(&View) -> Result<read::Found, HttpError> + Sync),
) -> Result<Reply, HttpError> {
    let read = Read {
        query: &Query::from(what),
        answer,
        shareable: false,
        names_consistency: false,
    };
    read::run(shared, call, options, &read).await
}
