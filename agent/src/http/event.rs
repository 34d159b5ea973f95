//! `/v1/event`: user events.

use super::{Call, HttpError, Reply, read};
use crate::agent::Shared;
use http::header::HeaderName;
use http::header::HeaderValue;
use lictor_wire::{Str, UserEvent};
use std::sync::Arc;

static INDEX: HeaderName = HeaderName::from_static("x-consul-index");

/// `PUT /v1/event/fire/:name`
pub async fn fire(shared: &Arc<Shared>, call: &mut Call) -> Result<Reply, HttpError> {
    read::own_datacenter(shared, call)?;
    if call.rest.is_empty() {
        return Err(HttpError::bad_request("Missing name"));
    }
    let payload = call.document().await?;
    let p = &call.params;
    let event = UserEvent {
        id: crate::random::uuid(),
        name: Str::from(call.rest.as_str()),
        payload: Arc::from(&payload[..]),
        node_filter: p.get("node").into(),
        service_filter: p.get("service").into(),
        tag_filter: p.get("tag").into(),
        version: 1,
        ltime: 0,
    };
    shared
        .events
        .fire(shared, &event)
        .await
        .map_err(HttpError::internal)?;
    Ok(Reply::json(shared, call, &event))
}

/// `GET /v1/event/list`, waiting for another newest event where an index is given.
pub async fn list(shared: &Arc<Shared>, call: &mut Call) -> Result<Reply, HttpError> {
    let options = super::options::read_options(call, &shared.live().wait, false)?;
    let name = call.params.get("name").to_owned();
    let deadline = tokio::time::Instant::now() + options.wait;
    let mut news = shared.events.news();
    loop {
        news.mark_unchanged();
        let (index, events) = shared.events.list(&name);
        let over = tokio::time::Instant::now() >= deadline || shared.is_ending();
        if options.index == 0 || index != options.index || over {
            return Ok(
                Reply::json(shared, call, &events).with(INDEX.clone(), HeaderValue::from(index))
            );
        }
        tokio::select! {
            _ = news.changed() => {}
            () = shared.ended() => {}
            () = tokio::time::sleep_until(deadline) => {}
        }
    }
}
