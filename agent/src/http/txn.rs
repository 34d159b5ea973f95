//! `PUT /v1/txn`: several operations that take place together or not at all.

use super::answer::{JSON, encode};
use super::options::read_options;
use super::{Call, HttpError, Reply, read};
use crate::agent::Shared;
use crate::writes::{self, OPS_MAX};
use given::{CheckRow, Given, GivenKv, GivenService, NodeRow, decode};
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use lictor_rpc_wire::convert;
use lictor_state::{
    CatalogVerb, CheckOp, Command, KvOp, KvRead, KvReadVerb, KvVerb, NodeOp, Outcome, ServiceOp,
    TxnError, TxnOp, TxnResult,
};
use lictor_wire::duration::go_quote;
use lictor_wire::{HealthCheck, Node, NodeService, Status, Str, Weights};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};
use std::sync::Arc;

mod base64;
mod given;

/// `PUT /v1/txn`
pub async fn txn(shared: &Arc<Shared>, call: &mut Call) -> Result<Reply, HttpError> {
    let value_max = shared.live().kv_max_value_size;
    let txn_max = usize::try_from(shared.config().limits.txn_max_req_len).unwrap_or(usize::MAX);
    let body = body(call, txn_max.max(value_max)).await?;
    let txn = Txn::of(decode(&body)?, &shared.datacenter, value_max)?;
    if txn.writes {
        shared.metrics.count("txn.apply");
        write(shared, call, txn).await
    } else {
        shared.metrics.count("txn.read");
        reading(shared, call, txn).await
    }
}

/// The body, or Consul's words for too large a one.
async fn body(call: &mut Call, limit: usize) -> Result<bytes::Bytes, HttpError> {
    const SEE: &str = "See https://www.consul.io/docs/agent/config/config-files#txn_max_req_len.";
    if let Some(size) = call.content_length().filter(|n| *n > limit as u64) {
        let text = format!("Request body({size} bytes) too large, max size: {limit} bytes. {SEE}");
        return Err(HttpError::new(StatusCode::PAYLOAD_TOO_LARGE, text));
    }
    call.body(limit).await.map_err(|error| match error.status {
        StatusCode::PAYLOAD_TOO_LARGE => HttpError::new(
            error.status,
            format!("Request body too large, max size: {limit} bytes. {SEE}"),
        ),
        _ => error,
    })
}

async fn write(shared: &Arc<Shared>, call: &Call, txn: Txn) -> Result<Reply, HttpError> {
    let store = read::store(shared, call)?;
    let (results, errors) = if txn.errors.is_empty() {
        match store.write(Command::Txn(txn.ops)).await? {
            Outcome::Txn { results, errors } => (results, errors),
            Outcome::Refused(text) => return Err(HttpError::internal(text)),
            other => {
                return Err(HttpError::internal(format!(
                    "unexpected outcome of a transaction: {other:?}"
                )));
            }
        }
    } else {
        (Vec::new(), txn.errors)
    };
    Ok(answer(shared, call, &results, &errors, None))
}

/// A transaction without writes needs no log entry, and may be as stale as the client allows.
async fn reading(shared: &Arc<Shared>, call: &Call, txn: Txn) -> Result<Reply, HttpError> {
    static KNOWN_LEADER: HeaderName = HeaderName::from_static("x-consul-knownleader");
    static LAST_CONTACT: HeaderName = HeaderName::from_static("x-consul-lastcontact");
    let options = read_options(call, &shared.live().wait, false)?;
    let store = read::store(shared, call)?;
    let (outcome, meta) = if txn.errors.is_empty() {
        let read = store.txn_read(&txn.ops, options.freshness);
        let (outcome, contact) = read.await?;
        (
            outcome,
            Meta {
                index: 1,
                last_contact_ms: contact.last_contact_ms,
                known_leader: contact.known,
            },
        )
    } else {
        // What is refused at the door was not read: there is nothing to say of its freshness.
        (
            Err(txn.errors),
            Meta {
                index: 0,
                last_contact_ms: 0,
                known_leader: false,
            },
        )
    };
    let (results, errors) = match outcome {
        Ok(results) => (results, Vec::new()),
        Err(errors) => (Vec::new(), errors),
    };
    let mut reply = answer(shared, call, &results, &errors, Some(&meta));
    reply.headers.insert(
        KNOWN_LEADER.clone(),
        HeaderValue::from_static(if meta.known_leader { "true" } else { "false" }),
    );
    reply.headers.insert(
        LAST_CONTACT.clone(),
        HeaderValue::from(meta.last_contact_ms),
    );
    Ok(reply)
}

fn answer(
    shared: &Shared,
    call: &Call,
    results: &[TxnResult],
    errors: &[TxnError],
    meta: Option<&Meta>,
) -> Reply {
    let body = encode(
        shared,
        call,
        &Answer {
            results,
            errors,
            meta,
        },
    );
    let status = if errors.is_empty() {
        StatusCode::OK
    } else {
        StatusCode::CONFLICT
    };
    Reply::bare(status, body).with(CONTENT_TYPE, JSON)
}

/// How fresh a read is: Consul's query metadata.
struct Meta {
    index: u64,
    last_contact_ms: u64,
    known_leader: bool,
}

struct Answer<'a> {
    results: &'a [TxnResult],
    errors: &'a [TxnError],
    meta: Option<&'a Meta>,
}

impl Serialize for Answer<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        let mut out = s.serialize_map(None)?;
        if self.errors.is_empty() {
            out.serialize_entry(
                "Results",
                &self.results.iter().map(Shown).collect::<Vec<_>>(),
            )?;
            out.serialize_entry("Errors", &())?;
        } else {
            out.serialize_entry("Results", &())?;
            out.serialize_entry("Errors", self.errors)?;
        }
        if let Some(meta) = self.meta {
            out.serialize_entry("Index", &meta.index)?;
            out.serialize_entry("LastContact", &(meta.last_contact_ms * 1_000_000))?;
            out.serialize_entry("KnownLeader", &meta.known_leader)?;
            out.serialize_entry("ConsistencyLevel", "")?;
            out.serialize_entry("NotModified", &false)?;
            out.serialize_entry("Backend", &0)?;
            out.serialize_entry("ResultsFilteredByACLs", &false)?;
        }
        out.end()
    }
}

/// A row as transactions show it: absent tags are `null` here, and an empty list elsewhere.
struct Shown<'a>(&'a TxnResult);

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let field = match self.0 {
            TxnResult::Service(row) if row.tags.is_empty() => "Tags",
            TxnResult::Check(row) if row.service_tags.is_empty() => "ServiceTags",
            other => return other.serialize(s),
        };
        let mut shown = serde_json::to_value(self.0).map_err(serde::ser::Error::custom)?;
        if let Some(tags) = shown
            .as_object_mut()
            .and_then(|row| row.values_mut().next()?.get_mut(field))
        {
            *tags = Value::Null;
        }
        shown.serialize(s)
    }
}

/// A transaction that may be run, or what is wrong with its operations.
#[derive(Debug, Default)]
struct Txn {
    ops: Vec<TxnOp>,
    errors: Vec<TxnError>,
    writes: bool,
}

impl Txn {
    fn of(given: Vec<Given>, datacenter: &Str, value_max: usize) -> Result<Txn, HttpError> {
        let too_large = |text| Err(HttpError::new(StatusCode::PAYLOAD_TOO_LARGE, text));
        if given.len() > OPS_MAX {
            return too_large(format!(
                "Transaction contains too many operations ({} > {OPS_MAX})",
                given.len()
            ));
        }
        let mut txn = Txn::default();
        let mut at = 0;
        for given in given {
            let (op, is_write) = match given {
                Given { kv: Some(kv), .. } => {
                    let size = kv.value.0.len();
                    if size > value_max {
                        let key = go_quote(&kv.key);
                        return too_large(format!(
                            "Value for key {key} is too large ({size} > {value_max} bytes)"
                        ));
                    }
                    // A verb that nobody knows is no write, unlike those of the catalog.
                    let is_write = matches!(kv_verb(&kv.verb), Some(Verb::Write(_)));
                    (kv_op(kv), is_write)
                }
                Given {
                    node: Some(node), ..
                } => (node_op(&node.verb, node.node), &node.verb != "get"),
                Given {
                    service: Some(service),
                    ..
                } => {
                    let is_write = &service.verb != "get";
                    (service_op(service), is_write)
                }
                Given {
                    check: Some(check), ..
                } => (check_op(&check.verb, check.check), &check.verb != "get"),
                // An empty operation is none, and is not counted.
                Given { .. } => continue,
            };
            txn.writes |= is_write;
            let checked = op.and_then(|mut op| {
                writes::operation(&mut op, datacenter)?;
                Ok(op)
            });
            match checked {
                Ok(op) => txn.ops.push(op),
                Err(what) => txn.errors.push(TxnError::new(at, what)),
            }
            at += 1;
        }
        Ok(txn)
    }
}

fn kv_op(given: GivenKv) -> Result<TxnOp, String> {
    if given.key.is_empty() && given.verb != "delete-tree" {
        return Err("Must provide key".to_owned());
    }
    let Some(verb) = kv_verb(&given.verb) else {
        return Err(format!("unknown KV operation: {}", given.verb));
    };
    let GivenKv {
        key,
        value,
        flags,
        index,
        session,
        ..
    } = given;
    Ok(match verb {
        Verb::Write(verb) => TxnOp::Kv(KvOp {
            verb,
            key,
            value: value.0,
            flags,
            session,
            index,
        }),
        Verb::Read(verb) => TxnOp::KvRead(KvRead {
            verb,
            key,
            flags,
            session,
            index,
        }),
    })
}

enum Verb {
    Write(KvVerb),
    Read(KvReadVerb),
}

fn kv_verb(word: &str) -> Option<Verb> {
    let write = convert::kv_verb(word).map(Verb::Write);
    write.or_else(|| convert::read_verb(word).map(Verb::Read))
}

fn catalog_verb(word: &str, what: &str) -> Result<CatalogVerb, String> {
    convert::catalog_verb(word).ok_or_else(|| format!("unknown {what} operation: {word}"))
}

fn node_op(verb: &str, row: NodeRow) -> Result<TxnOp, String> {
    let verb = catalog_verb(verb, "node")?;
    let node = Node {
        id: row.id,
        node: row.node,
        address: row.address,
        datacenter: row.datacenter,
        tagged_addresses: row.tagged_addresses,
        meta: row.meta,
        create_index: 0,
        modify_index: row.modify_index,
    };
    Ok(TxnOp::Node(NodeOp { verb, node }))
}

fn service_op(given: GivenService) -> Result<TxnOp, String> {
    let GivenService {
        verb,
        node,
        service: row,
    } = given;
    let verb = catalog_verb(&verb, "service")?;
    let tagged = Some(Box::new(row.tagged_addresses)).filter(|t| !t.is_empty());
    let service = NodeService {
        kind: row.kind,
        id: row.id,
        service: row.service,
        tags: row.tags.into(),
        address: row.address,
        tagged_addresses: tagged,
        meta: row.meta,
        port: row.port,
        weights: Weights {
            passing: row.weights.passing,
            warning: row.weights.warning,
        },
        enable_tag_override: row.enable_tag_override,
        proxy: row.proxy.and_then(proxy).map(Box::new),
        modify_index: row.modify_index,
        ..NodeService::default()
    };
    Ok(TxnOp::Service(ServiceOp {
        verb,
        node,
        service: Box::new(service),
    }))
}

/// The part of a proxy block that Consul takes over from a transaction.
fn proxy(given: Value) -> Option<Value> {
    let Value::Object(given) = crate::mesh::normal_proxy(given) else {
        return None;
    };
    let kept = |name: &String| {
        matches!(
            name.as_str(),
            "DestinationServiceName"
                | "DestinationServiceID"
                | "LocalServiceAddress"
                | "LocalServicePort"
                | "LocalServiceSocketPath"
                | "MeshGateway"
                | "TransparentProxy"
        )
    };
    let kept: Map<String, Value> = given.into_iter().filter(|(name, _)| kept(name)).collect();
    Some(crate::mesh::normal_proxy(Value::Object(kept)))
}

fn check_op(verb: &str, row: CheckRow) -> Result<TxnOp, String> {
    let verb = catalog_verb(verb, "check")?;
    let check = HealthCheck {
        node: row.node,
        check_id: row.check_id,
        name: row.name,
        status: Status::from_word(&row.status),
        notes: row.notes,
        output: row.output,
        service_id: row.service_id,
        kind: row.kind,
        exposed_port: row.exposed_port,
        definition: row
            .definition
            .filter(|d| !d.is_empty())
            .map(|d| Box::new(Value::Object(d))),
        modify_index: row.modify_index,
        ..HealthCheck::default()
    };
    Ok(TxnOp::Check(CheckOp {
        verb,
        check: Box::new(check),
    }))
}

#[cfg(test)]
mod tests;
