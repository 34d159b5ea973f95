//! `/v1/catalog`: nodes, services and instances as registered.

use super::options::{narrow, read_options};
use super::read::{self, Found, Read, body};
use super::{Call, HttpError, Reply, filter};
use crate::agent::Shared;
use crate::query::{Narrow, What, rows};
use lictor_state::{Command, Outcome, View, fold};
use lictor_wire::gojson::{self, Mode};
use lictor_wire::rows::{NodeServiceList, NodeServices};
use lictor_wire::{
    CoordinateUpdateRequest, DeregisterRequest, HealthCheck, RegisterRequest, Str, Weights,
};
use std::sync::Arc;

/// `PUT /v1/catalog/register`
pub async fn register(shared: &Arc<Shared>, call: &mut Call) -> Result<Reply, HttpError> {
    let body = call.document().await?;
    let mut r: RegisterRequest = decode(&body, "structs.RegisterRequest")?;
    own_datacenter(shared, call, &r.datacenter)?;
    r.datacenter = shared.datacenter.clone();
    prepare(&mut r)?;
    done(shared.store.write(Command::Register(Box::new(r))).await?)?;
    Ok(Reply::json(shared, call, &true))
}

/// Checks and completes a registration, in Consul's order and words.
fn prepare(r: &mut RegisterRequest) -> Result<(), HttpError> {
    r.token = Str::new();
    if r.node.is_empty() {
        return Err(HttpError::internal("Must provide node"));
    }
    if r.address.is_empty() && !r.skip_node_update {
        return Err(HttpError::internal(
            "Must provide address if SkipNodeUpdate is not set",
        ));
    }
    if !r.id.is_empty() {
        check_uuid(&r.id).map_err(|e| HttpError::internal(format!("Bad node ID: {e}")))?;
    }
    if let Some(service) = &mut r.service {
        if service.service.is_empty() && !service.id.is_empty() {
            return Err(HttpError::internal(
                "Must provide service name (Service.Service) when service ID is provided",
            ));
        }
        if service.id.is_empty() {
            service.id = service.service.clone();
        }
        if matches!(service.address.as_str(), "0.0.0.0" | "::" | "[::]") {
            return Err(HttpError::internal("Invalid service address"));
        }
        if service.kind == "connect-proxy" {
            let texts = crate::mesh::proxy_faults(service);
            if !texts.is_empty() {
                return Err(HttpError::internal(crate::mesh::fault_list(&texts)));
            }
        }
        if service.weights
            == (Weights {
                passing: 0,
                warning: 0,
            })
        {
            service.weights = Weights::default();
        }
        service.proxy = service
            .proxy
            .take()
            .map(|p| Box::new(crate::mesh::normal_proxy(*p)));
    }
    // A service without a name or id is no service.
    if r.service.as_ref().is_some_and(|s| s.service.is_empty()) {
        r.service = None;
    }
    if let Some(check) = r.check.take() {
        r.checks.push(*check);
    }
    let node = r.node.clone();
    for check in &mut r.checks {
        prepare_check(check, &node)?;
    }
    Ok(())
}

fn prepare_check(check: &mut HealthCheck, node: &Str) -> Result<(), HttpError> {
    if check.check_id.is_empty() {
        check.check_id = check.name.clone();
    }
    if check.node.is_empty() {
        check.node = node.clone();
    }
    if fold(&check.node) != fold(node) {
        return Err(HttpError::internal(format!(
            "check's node \"{}\" does not match node name \"{node}\" in the registration request",
            check.node
        )));
    }
    Ok(())
}

/// A UUID in the usual form, in the words of Go's library where it is not.
pub fn check_uuid(text: &str) -> Result<(), String> {
    if text.len() != 36 {
        return Err("uuid string is wrong length".to_owned());
    }
    let fits = text.bytes().enumerate().all(|(at, b)| match at {
        8 | 13 | 18 | 23 => b == b'-',
        _ => b.is_ascii_hexdigit(),
    });
    if fits {
        Ok(())
    } else {
        Err("uuid is improperly formatted".to_owned())
    }
}

/// `PUT /v1/catalog/deregister`
pub async fn deregister(shared: &Arc<Shared>, call: &mut Call) -> Result<Reply, HttpError> {
    let body = call.document().await?;
    let mut r: DeregisterRequest = decode(&body, "structs.DeregisterRequest")?;
    own_datacenter(shared, call, &r.datacenter)?;
    if r.node.is_empty() {
        return Err(HttpError::internal("Must provide node"));
    }
    r.token = Str::new();
    done(shared.store.write(Command::Deregister(r)).await?)?;
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

fn own_datacenter(shared: &Shared, call: &Call, named: &Str) -> Result<(), HttpError> {
    if !named.is_empty() && *named != shared.datacenter {
        return Err(read::no_path());
    }
    read::own_datacenter(shared, call)
}

/// `GET /v1/catalog/datacenters`
pub async fn datacenters(shared: &Arc<Shared>, call: &mut Call) -> Result<Reply, HttpError> {
    let all = crate::gossip::distance::by_distance(shared).await;
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
