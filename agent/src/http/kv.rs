//! `/v1/kv`: the key/value store.

use super::answer::JSON;
use super::options::read_options;
use super::read::{self, Found, Read, body};
use super::{Call, HttpError, Reply};
use crate::agent::Shared;
use crate::query::{Query, What, rows};
use crate::store::Store;
use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, StatusCode};
use lictor_state::{Command, KvOp, KvVerb, Outcome, View};
use lictor_wire::{KvEntry, Str};
use std::sync::Arc;

/// `GET`, `PUT` and `DELETE /v1/kv/:key`
pub async fn kv(shared: &Arc<Shared>, call: &mut Call) -> Result<Reply, HttpError> {
    if call.head.method == Method::PUT {
        put(shared, call).await
    } else if call.head.method == Method::DELETE {
        delete(shared, call).await
    } else if call.params.has("keys") {
        keys(shared, call).await
    } else {
        get(shared, call).await
    }
}

fn need_key(key: &str) -> Result<(), HttpError> {
    if key.is_empty() {
        Err(HttpError::bad_request("Missing key name"))
    } else {
        Ok(())
    }
}

async fn get(shared: &Arc<Shared>, call: &mut Call) -> Result<Reply, HttpError> {
    let options = read_options(call, &shared.live().wait, false)?;
    read::store(shared, call)?;
    let key = Str::from(call.rest.as_str());
    let recurse = call.params.has("recurse");
    if !recurse {
        need_key(&key)?;
    }
    let raw = call.params.has("raw") && !recurse;
    let answer = |view: &View| {
        if recurse {
            let rows: Vec<&Arc<KvEntry>> = view.kv_range(&key).collect();
            return Ok(if rows.is_empty() {
                Found::Missing
            } else {
                body(shared, call, &rows)
            });
        }
        Ok(match view.kv(&key) {
            None => Found::Missing,
            Some(entry) if raw => Found::Reply(raw_value(entry)),
            Some(entry) => body(shared, call, &[entry]),
        })
    };
    let query = Query::from(if recurse {
        What::KeyTree {
            prefix: key.clone(),
        }
    } else {
        What::Key { key: key.clone() }
    });
    let read = Read {
        query: &query,
        answer: &answer,
        shareable: false,
        names_consistency: false,
    };
    read::run(shared, call, &options, &read).await
}

/// The value as it is. The headers keep a browser from taking a stored page for one of ours.
fn raw_value(entry: &KvEntry) -> Reply {
    Reply::bare(StatusCode::OK, Bytes::copy_from_slice(&entry.value))
        .with(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"))
        .with(
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        )
        .with(
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static("sandbox"),
        )
}

async fn keys(shared: &Arc<Shared>, call: &mut Call) -> Result<Reply, HttpError> {
    let options = read_options(call, &shared.live().wait, false)?;
    read::store(shared, call)?;
    let prefix = Str::from(call.rest.as_str());
    let correct = call.params.get("separator");
    let separator = Str::from(if correct.is_empty() {
        call.params.get("seperator")
    } else {
        correct
    });
    let answer = |view: &View| {
        let names = rows::key_names(view, &prefix, &separator);
        Ok(if names.is_empty() && !prefix.is_empty() {
            Found::Missing
        } else {
            body(shared, call, &names)
        })
    };
    let query = Query::from(What::KeyNames {
        prefix: prefix.clone(),
        separator: separator.clone(),
    });
    let read = Read {
        query: &query,
        answer: &answer,
        shareable: false,
        names_consistency: false,
    };
    read::run(shared, call, &options, &read).await
}

/// More than one of these makes no sense.
fn conflicts(call: &Call, names: &[&str]) -> Result<(), HttpError> {
    if names.iter().filter(|n| call.params.has(n)).count() > 1 {
        return Err(HttpError::bad_request(format!(
            "Conflicting flags: {}\n",
            call.params.encode()
        )));
    }
    Ok(())
}

/// Go's `strconv.ParseUint` with its texts, which reach the client as a 500.
pub fn parse_uint(text: &str) -> Result<u64, HttpError> {
    let quoted = lictor_wire::duration::go_quote(text);
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(HttpError::internal(format!(
            "strconv.ParseUint: parsing {quoted}: invalid syntax"
        )));
    }
    text.parse().map_err(|_| {
        HttpError::internal(format!(
            "strconv.ParseUint: parsing {quoted}: value out of range"
        ))
    })
}

async fn put(shared: &Arc<Shared>, call: &mut Call) -> Result<Reply, HttpError> {
    let store = read::store(shared, call)?;
    need_key(&call.rest)?;
    conflicts(call, &["cas", "acquire", "release"])?;
    let p = &call.params;
    let flags = if p.has("flags") {
        parse_uint(p.get("flags"))?
    } else {
        0
    };
    let (verb, session, index) = if p.has("cas") {
        (KvVerb::Cas, "", parse_uint(p.get("cas"))?)
    } else if p.has("acquire") {
        (KvVerb::Lock, p.get("acquire"), 0)
    } else if p.has("release") {
        (KvVerb::Unlock, p.get("release"), 0)
    } else {
        (KvVerb::Set, "", 0)
    };
    let session = Str::from(session);
    let limit = shared.live().kv_max_value_size;
    let value = value(call, limit).await?;
    let op = KvOp {
        verb,
        key: Str::from(call.rest.as_str()),
        value: Arc::from(&value[..]),
        flags,
        session,
        index,
    };
    write(shared, &store, call, op).await
}

async fn value(call: &mut Call, limit: usize) -> Result<Bytes, HttpError> {
    let too_large = |size: u64| {
        HttpError::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!(
                "Request body({size} bytes) too large, max size: {limit} bytes. See https://www.consul.io/docs/agent/config/config-files#kv_max_value_size."
            ),
        )
    };
    if let Some(size) = call.content_length().filter(|n| *n > limit as u64) {
        return Err(too_large(size));
    }
    match call.body(limit).await {
        Err(error) if error.status == StatusCode::PAYLOAD_TOO_LARGE => {
            Err(too_large(limit as u64 + 1))
        }
        other => other,
    }
}

async fn delete(shared: &Arc<Shared>, call: &mut Call) -> Result<Reply, HttpError> {
    let store = read::store(shared, call)?;
    conflicts(call, &["recurse", "cas"])?;
    let p = &call.params;
    let (verb, index) = if p.has("recurse") {
        (KvVerb::DeleteTree, 0)
    } else if p.has("cas") {
        need_key(&call.rest)?;
        (KvVerb::DeleteCas, parse_uint(p.get("cas"))?)
    } else {
        need_key(&call.rest)?;
        (KvVerb::Delete, 0)
    };
    let op = KvOp {
        verb,
        key: Str::from(call.rest.as_str()),
        value: Arc::from([]),
        flags: 0,
        session: Str::new(),
        index,
    };
    write(shared, &store, call, op).await
}

async fn write(shared: &Shared, store: &Store, call: &Call, op: KvOp) -> Result<Reply, HttpError> {
    shared.metrics.count("kvs.apply");
    let took_place = match store.write(Command::Kv(op)).await? {
        Outcome::Flag(flag) => flag,
        Outcome::Refused(text) => {
            return Err(HttpError::internal(format!("raft apply failed: {text}")));
        }
        Outcome::Done | Outcome::Batch(_) | Outcome::Txn { .. } => true,
    };
    let word: &'static str = if took_place { "true" } else { "false" };
    let asked = call.params.has("pretty");
    let body = if asked {
        Bytes::from(format!("{word}\n"))
    } else {
        Bytes::from_static(word.as_bytes())
    };
    Ok(Reply::bare(StatusCode::OK, body).with(header::CONTENT_TYPE, JSON))
}
