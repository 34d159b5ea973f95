//! The one way to read: consistency, waiting, the answer, and the headers that tell of it.

use super::answer::{Reply, encode};
use super::cache::Encoded;
use super::{Call, HttpError};
use crate::agent::Shared;
use crate::query::{Query, ReadOptions};
use crate::store::{Answered, CacheNote, Store};
use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use lictor_state::View;
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;

/// What was found.
pub enum Found {
    /// An answer.
    Body(Bytes),
    /// An answer that others have too.
    Shared(Arc<Encoded>),
    /// An answer that is not plain JSON.
    Reply(Reply),
    /// Nothing: 404 with the headers of a read.
    Missing,
}

/// A read: what it asks for and its answer.
pub struct Read<'a> {
    /// What it asks for.
    pub query: &'a Query,
    /// The answer.
    pub answer: &'a (dyn Fn(&View) -> Result<Found, HttpError> + Sync),
    /// Whether equal requests may share an encoding: the index must move with every change of
    /// the answer.
    pub shareable: bool,
    /// Whether the answer names its consistency (catalog and health do, keys and sessions not).
    pub names_consistency: bool,
}

static INDEX: HeaderName = HeaderName::from_static("x-consul-index");
static KNOWN_LEADER: HeaderName = HeaderName::from_static("x-consul-knownleader");
static LAST_CONTACT: HeaderName = HeaderName::from_static("x-consul-lastcontact");
static BACKEND: HeaderName = HeaderName::from_static("x-consul-query-backend");
static CONSISTENCY: HeaderName = HeaderName::from_static("x-consul-effective-consistency");
static CACHE: HeaderName = HeaderName::from_static("x-cache");
static TRANSLATE: HeaderName = HeaderName::from_static("x-consul-translate-addresses");

/// Runs a read to its answer.
pub async fn run(
    shared: &Arc<Shared>,
    call: &Call,
    options: &ReadOptions,
    read: &Read<'_>,
) -> Result<Reply, HttpError> {
    let store = match store(shared, call) {
        Ok(store) => store,
        Err(error) => return Ok(failed(error)),
    };
    let _counted = (options.index != 0).then(|| shared.metrics.query_blocks());
    let answered = match store.read(read.query, options).await {
        Ok(answered) => answered,
        // The headers of a list are there even where the list is not.
        Err(error) if read.names_consistency => return Ok(failed(error.into())),
        Err(error) => return Err(error.into()),
    };
    respond(shared, call, options, read, &answered)
}

fn respond(
    shared: &Shared,
    call: &Call,
    options: &ReadOptions,
    read: &Read<'_>,
    answered: &Answered,
) -> Result<Reply, HttpError> {
    let (view, index) = (&*answered.view, answered.index);
    let mut hit = false;
    // What was read for this request alone will not be asked for again.
    let once = view.is_part() && options.index == 0 && answered.cache.is_none();
    let found = if read.shareable && read.query.narrow.near.is_empty() && !once {
        let request = request_key(call);
        match shared.answers.find(&request, view.epoch(), index) {
            Some(answer) => {
                hit = true;
                Ok(Found::Shared(answer))
            }
            None => (read.answer)(view).map(|found| match found {
                Found::Body(body) => {
                    let answer = Encoded::new(body);
                    let answers = &shared.answers;
                    answers.keep(&request, view.epoch(), index, &answer);
                    Found::Shared(answer)
                }
                found => found,
            }),
        }
    } else {
        (read.answer)(view)
    };
    let found = match found {
        Ok(found) => found,
        Err(error) => return Ok(failed(error)),
    };
    let mut reply = match found {
        Found::Body(body) => Reply::encoded(body),
        Found::Shared(answer) => Reply::shared(answer),
        Found::Reply(reply) => reply,
        Found::Missing => Reply::bare(http::StatusCode::NOT_FOUND, Bytes::new()),
    };
    let h = &mut reply.headers;
    h.insert(INDEX.clone(), HeaderValue::from(index));
    let contact = answered.contact;
    h.insert(
        KNOWN_LEADER.clone(),
        HeaderValue::from_static(if contact.known { "true" } else { "false" }),
    );
    h.insert(
        LAST_CONTACT.clone(),
        HeaderValue::from(contact.last_contact_ms),
    );
    h.insert(BACKEND.clone(), HeaderValue::from_static("blocking-query"));
    if read.names_consistency {
        h.insert(
            CONSISTENCY.clone(),
            HeaderValue::from_static(answered.freshness.word()),
        );
        if shared.config().translate_wan_addrs {
            h.insert(TRANSLATE.clone(), HeaderValue::from_static("true"));
        }
    }
    let note = answered.cache.or_else(|| {
        (options.cached && !view.is_part()).then_some(CacheNote {
            hit,
            age: Duration::ZERO,
        })
    });
    if let Some(note) = note {
        let word = if note.hit { "HIT" } else { "MISS" };
        h.insert(CACHE.clone(), HeaderValue::from_static(word));
        if note.hit {
            h.insert(
                http::header::AGE,
                HeaderValue::from(note.age.as_secs_f64().round() as u64),
            );
        }
    }
    Ok(reply)
}

/// An error of a list read carries the headers of a read that saw nothing: clients of Consul see
/// the index 1 there.
pub fn failed(error: HttpError) -> Reply {
    let mut reply = Reply::from(error);
    let h = &mut reply.headers;
    h.insert(INDEX.clone(), HeaderValue::from_static("1"));
    h.insert(KNOWN_LEADER.clone(), HeaderValue::from_static("false"));
    h.insert(LAST_CONTACT.clone(), HeaderValue::from_static("0"));
    h.insert(BACKEND.clone(), HeaderValue::from_static("blocking-query"));
    reply
}

/// The datacenter asked for, where it is not ours.
pub fn foreign_datacenter(shared: &Shared, call: &Call) -> Option<String> {
    let long = call.params.get("datacenter");
    let dc = if long.is_empty() {
        call.params.get("dc")
    } else {
        long
    };
    (!dc.is_empty() && dc != shared.datacenter.as_str()).then(|| dc.to_owned())
}

/// The state of the datacenter that a request asks about.
///
/// # Errors
/// Nobody knows a way to it.
pub fn store(shared: &Shared, call: &Call) -> Result<Store, HttpError> {
    match foreign_datacenter(shared, call) {
        None => Ok(shared.store.clone()),
        Some(datacenter) => shared.store.at(&datacenter).ok_or_else(no_path),
    }
}

/// The error for a datacenter that nobody knows a way to.
pub fn no_path() -> HttpError {
    HttpError::internal("No path to datacenter")
}

/// What two requests must have in common to share an answer: the path and every parameter but
/// those that decide only when to answer.
fn request_key(call: &Call) -> String {
    let path = call.head.uri.path();
    let query = call.head.uri.query().unwrap_or("");
    let mut out = String::with_capacity(path.len() + query.len() + 1);
    out.push_str(path);
    for part in query.split('&') {
        let name = part.split('=').next().unwrap_or("");
        if !matches!(
            name,
            "index" | "wait" | "stale" | "consistent" | "leader" | "max_stale" | "cached" | ""
        ) {
            out.push('&');
            out.push_str(part);
        }
    }
    out
}

/// Encodes an answer in the form that the request asks for.
pub fn body<T: Serialize + ?Sized>(shared: &Shared, call: &Call, value: &T) -> Found {
    Found::Body(encode(shared, call, value))
}

/// Refuses requests about other datacenters, where they are answered for the own one alone.
pub fn own_datacenter(shared: &Shared, call: &Call) -> Result<(), HttpError> {
    match foreign_datacenter(shared, call) {
        Some(_) => Err(no_path()),
        None => Ok(()),
    }
}
