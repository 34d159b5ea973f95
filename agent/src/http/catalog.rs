//! `/v1/catalog`: nodes, services and instances as registered.

use super::options::{narrow, read_options};
use super::read::{self, Found, Read, body};
use super::{Call, HttpError, Reply, filter};
use crate::agent::Shared;
use crate::query::{Narrow, What, rows};
use crate::store::Store;
use crate::writes;
use lictor_state::{Command, Outcome, View};
use lictor_wire::gojson::{self, Mode};
use lictor_wire::rows::{NodeServiceList, NodeServices};
use lictor_wire::{CoordinateUpdateRequest, DeregisterRequest, RegisterRequest, Str};
use std::sync::Arc;

/// `PUT /v1/catalog/register`
pub async fn register(shared: &Arc<Shared>, call: &mut Call) -> Result<Reply, HttpError> {
    let body = call.document().await?;
    let mut r: RegisterRequest = decode(&body, "structs.RegisterRequest")?;
    let store = named_datacenter(shared, call, &mut r.datacenter)?;
    writes::registration(&mut r).map_err(HttpError::internal)?;
    done(store.write(Command::Register(Box::new(r))).await?)?;
    Ok(Reply::json(shared, call, &true))
}

/// `PUT /v1/catalog/deregister`
pub async fn deregister(shared: &Arc<Shared>, call: &mut Call) -> Result<Reply, HttpError> {
    let body = call.document().await?;
    let mut r: DeregisterRequest = decode(&body, "structs.DeregisterRequest")?;
    let store = named_datacenter(shared, call, &mut r.datacenter)?;
    writes::deregistration(&mut r).map_err(HttpError::internal)?;
    done(store.write(Command::Deregister(r)).await?)?;
    Ok(Reply::json(shared, call, &true))
}

/// `null` decodes to an empty request, as in Go.
pub fn decode<T: serde::de::DeserializeOwned + Default>(
    body: &[u8],
    root: &'static str,
) -> Result<T, HttpError> {
    if body.trim_ascii() == b"null" {
        return Ok(T::default());
    }
    gojson::decode(body, Mode::Strict, root).map_err(HttpError::decode)
}

/// A refused command is Consul's 500 with its text.
pub fn done(outcome: Outcome) -> Result<bool, HttpError> {
    match outcome {
        Outcome::Refused(text) => Err(HttpError::internal(text)),
        Outcome::Flag(flag) => Ok(flag),
        Outcome::Done | Outcome::Batch(_) | Outcome::Txn { .. } => Ok(true),
    }
}

/// The state of the datacenter that the body names, else the request; its name is written to
/// `named`.
fn named_datacenter(shared: &Shared, call: &Call, named: &mut Str) -> Result<Store, HttpError> {
    if named.is_empty() {
        let asked = read::foreign_datacenter(shared, call);
        *named = asked.map_or_else(|| shared.datacenter.clone(), Str::from);
    }
    if *named == shared.datacenter {
        return Ok(shared.store.clone());
    }
    shared.store.at(named).ok_or_else(read::no_path)
}

/// `GET /v1/catalog/datacenters`
pub async fn datacenters(shared: &Arc<Shared>, call: &mut Call) -> Result<Reply, HttpError> {
    let all = match shared.store.upstream() {
        Some(upstream) => upstream.datacenters().await?,
        None => crate::gossip::distance::by_distance(shared).await,
    };
    Ok(Reply::json(shared, call, &all))
}

/// `GET /v1/catalog/nodes`
pub async fn nodes(shared: &Arc<Shared>, call: &mut Call) -> Result<Reply, HttpError> {
    let options = read_options(call, &shared.live().wait, true)?;
    let query = What::Nodes.narrowed(narrow(shared, &call.params));
    let filter = match filter::of(call) {
        Ok(filter) => filter,
        Err(error) => return Ok(read::failed(error)),
    };
    let answer = |view: &View| {
        let rows = rows::nodes(view, &query.narrow, &filter);
        Ok(body(shared, call, &rows))
    };
    let read = Read {
        query: &query,
        answer: &answer,
        shareable: true,
        names_consistency: true,
    };
    read::run(shared, call, &options, &read).await
}

/// `GET /v1/catalog/services`
pub async fn services(shared: &Arc<Shared>, call: &mut Call) -> Result<Reply, HttpError> {
    let options = read_options(call, &shared.live().wait, true)?;
    let narrow = narrow(shared, &call.params);
    let query = What::Services.narrowed(Narrow {
        tags: Vec::new(),
        ..narrow
    });
    let filter = match filter::of(call) {
        Ok(filter) => filter,
        Err(error) => return Ok(read::failed(error)),
    };
    let answer = |view: &View| {
        let names = rows::services(view, &query.narrow, &filter);
        Ok(body(shared, call, &names))
    };
    let read = Read {
        query: &query,
        answer: &answer,
        shareable: true,
        names_consistency: true,
    };
    read::run(shared, call, &options, &read).await
}

/// `GET /v1/catalog/service/:name`
pub async fn service(shared: &Arc<Shared>, call: &mut Call) -> Result<Reply, HttpError> {
    instances(shared, call, false).await
}

/// `GET /v1/catalog/connect/:name`
pub async fn connect(shared: &Arc<Shared>, call: &mut Call) -> Result<Reply, HttpError> {
    instances(shared, call, true).await
}

async fn instances(shared: &Arc<Shared>, call: &mut Call, mesh: bool) -> Result<Reply, HttpError> {
    let options = read_options(call, &shared.live().wait, true)?;
    if call.rest.is_empty() {
        return Err(HttpError::bad_request("Missing service name"));
    }
    let name = Str::from(call.rest.as_str());
    let query = What::Instances {
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
            rows::instances(view, &name, mesh, &query.narrow, &filter)
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

/// `GET /v1/catalog/node/:node`
pub async fn node(shared: &Arc<Shared>, call: &mut Call) -> Result<Reply, HttpError> {
    node_read(shared, call, |shared, call, found| match found {
        Some(found) => body(shared, call, &found),
        None => body(shared, call, &()),
    })
    .await
}

/// `GET /v1/catalog/node-services/:node`
pub async fn node_services(shared: &Arc<Shared>, call: &mut Call) -> Result<Reply, HttpError> {
    node_read(shared, call, |shared, call, found| {
        let list = match found {
            Some(found) => NodeServiceList {
                node: Some(found.node),
                services: Some(found.services),
            },
            None => NodeServiceList {
                node: None,
                services: None,
            },
        };
        body(shared, call, &list)
    })
    .await
}

async fn node_read(
    shared: &Arc<Shared>,
    call: &mut Call,
    print: impl Fn(&Shared, &Call, Option<NodeServices>) -> Found + Sync,
) -> Result<Reply, HttpError> {
    let options = read_options(call, &shared.live().wait, true)?;
    if call.rest.is_empty() {
        return Err(HttpError::bad_request("Missing node name"));
    }
    let name = Str::from(call.rest.as_str());
    let query = What::Node { name: name.clone() }.narrowed(Narrow {
        filter: call.params.get("filter").into(),
        ..Narrow::default()
    });
    let filter = match filter::of(call) {
        Ok(filter) => filter,
        Err(error) => return Ok(read::failed(error)),
    };
    let answer = |view: &View| Ok(print(shared, call, rows::node(view, &name, &filter)));
    let read = Read {
        query: &query,
        answer: &answer,
        shareable: true,
        names_consistency: true,
    };
    read::run(shared, call, &options, &read).await
}

/// The body of a coordinate update.
pub fn coordinate_request(body: &[u8]) -> Result<CoordinateUpdateRequest, HttpError> {
    decode(body, "structs.CoordinateUpdateRequest")
}
