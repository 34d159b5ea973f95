//! `/v1/catalog`: nodes, services and instances as registered.

use super::filter::{self, InstanceRow, NodeRow, ServiceRow};
use super::options::{ReadOptions, node_meta};
use super::read::{self, Found, Read, body};
use super::{Call, HttpError, Reply, sort};
use crate::agent::Shared;
use lictor_state::{Command, Outcome, View, WatchKey, fold};
use lictor_wire::gojson::{self, Mode};
use lictor_wire::rows::{NodeServiceList, NodeServices, ServiceNode};
use lictor_wire::{
    CoordinateUpdateRequest, DeregisterRequest, HealthCheck, Node, NodeService, RegisterRequest,
    Str, Weights,
};
use std::collections::BTreeMap;
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

fn has_meta(node: &Node, wanted: &[(String, String)]) -> bool {
    wanted.iter().all(|(k, v)| {
        node.meta
            .as_ref()
            .and_then(|m| m.get(k))
            .is_some_and(|have| have == v.as_str())
    })
}

/// `GET /v1/catalog/nodes`
pub async fn nodes(shared: &Arc<Shared>, call: &mut Call) -> Result<Reply, HttpError> {
    let options = ReadOptions::of(call, &shared.live().wait, true)?;
    let meta = node_meta(&call.params);
    let filter = match filter::of::<NodeRow<'_>>(call) {
        Ok(filter) => filter,
        Err(error) => return Ok(read::failed(error)),
    };
    let answer = |view: &View| {
        let mut rows: Vec<&Arc<Node>> = view
            .nodes()
            .filter(|n| has_meta(n, &meta) && filter.keeps(&NodeRow(n)))
            .collect();
        sort::near(shared, call, view, &mut rows, |n| &n.node);
        Ok(body(shared, call, &rows))
    };
    let read = Read {
        keys: &|_| vec![WatchKey::Nodes],
        index: &|view| view.tables().nodes,
        answer: &answer,
        shareable: true,
        names_consistency: true,
    };
    read::run(shared, call, &options, &read).await
}

/// `GET /v1/catalog/services`
pub async fn services(shared: &Arc<Shared>, call: &mut Call) -> Result<Reply, HttpError> {
    let options = ReadOptions::of(call, &shared.live().wait, true)?;
    let meta = node_meta(&call.params);
    let filter = match filter::of::<InstanceRow<'_>>(call) {
        Ok(filter) => filter,
        Err(error) => return Ok(read::failed(error)),
    };
    let by_node = !meta.is_empty() || filter.is_some();
    let answer = |view: &View| {
        let mut out: BTreeMap<Str, Vec<Str>> = BTreeMap::new();
        for row in view
            .all_instances()
            .filter(|r| has_meta(&r.node, &meta) && filter.keeps(&InstanceRow(r)))
        {
            let tags = out.entry(row.service.service.clone()).or_default();
            for tag in row.service.tags.iter() {
                if !tags.contains(tag) {
                    tags.push(tag.clone());
                }
            }
        }
        out.values_mut().for_each(|tags| tags.sort());
        Ok(body(shared, call, &out))
    };
    let read = Read {
        keys: &|_| {
            if by_node {
                vec![WatchKey::Services, WatchKey::Nodes]
            } else {
                vec![WatchKey::Services]
            }
        },
        index: &|view| {
            let t = view.tables();
            if by_node {
                t.services.max(t.nodes)
            } else {
                t.services
            }
        },
        answer: &answer,
        shareable: true,
        names_consistency: true,
    };
    read::run(shared, call, &options, &read).await
}

fn has_tags(service: &NodeService, wanted: &[String]) -> bool {
    wanted.iter().all(|tag| {
        service
            .tags
            .iter()
            .any(|have| have.eq_ignore_ascii_case(tag))
    })
}

/// The `?tag=` parameters that say something.
pub fn tags(call: &Call) -> Vec<String> {
    call.params
        .all("tag")
        .filter(|t| !t.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Whether a row is among those asked for.
pub fn wanted(
    node: &Node,
    service: &NodeService,
    tags: &[String],
    meta: &[(String, String)],
) -> bool {
    has_tags(service, tags) && has_meta(node, meta)
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
    let options = ReadOptions::of(call, &shared.live().wait, true)?;
    let name = call.rest.clone();
    if name.is_empty() {
        return Err(HttpError::bad_request("Missing service name"));
    }
    let (tags, meta) = (tags(call), node_meta(&call.params));
    let filter = match filter::of::<InstanceRow<'_>>(call) {
        Ok(filter) => filter,
        Err(error) => return Ok(read::failed(error)),
    };
    // There are no peerings: a peer has no instances here.
    let elsewhere = !call.params.get("peer").is_empty();
    let answer = |view: &View| {
        let mut rows = if elsewhere {
            Vec::new()
        } else if mesh {
            view.connect_instances(&name)
        } else {
            view.instances(&name)
        };
        rows.retain(|r: &ServiceNode| {
            wanted(&r.node, &r.service, &tags, &meta) && filter.keeps(&InstanceRow(r))
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
                WatchKey::Service(key.clone())
            }]
        },
        index: &|view| {
            if mesh {
                view.connect_index(&name)
            } else {
                view.service_index(&name)
            }
        },
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
    let options = ReadOptions::of(call, &shared.live().wait, true)?;
    let name = call.rest.clone();
    if name.is_empty() {
        return Err(HttpError::bad_request("Missing node name"));
    }
    let filter = match filter::of::<ServiceRow<'_>>(call) {
        Ok(filter) => filter,
        Err(error) => return Ok(read::failed(error)),
    };
    let answer = |view: &View| {
        let mut found = view.node_services(&name);
        if let Some(found) = &mut found {
            found.services.retain(|s| filter.keeps(&ServiceRow(s)));
        }
        Ok(print(shared, call, found))
    };
    let read = Read {
        keys: &|view| {
            vec![WatchKey::Node(
                view.node_by_name_or_id(&name)
                    .map_or_else(|| fold(&name), |n| fold(&n.node)),
            )]
        },
        index: &|view| match view.node_by_name_or_id(&name) {
            Some(node) => view.node_index(&node.node),
            None => view.tables().node_extinction,
        },
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
