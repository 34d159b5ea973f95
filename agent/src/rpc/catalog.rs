//! `Catalog`.

use super::read::wanted;
use super::{Call, Reply, empty, reply};
use crate::http::filter::{InstanceRow, NodeRow, ServiceRow};
use crate::query::{Narrow, Query, What, rows};
use crate::writes;
use lictor_rpc_wire::message::{
    self, DcSpecificRequest, IndexedNodeServiceList, IndexedNodeServices, IndexedNodes,
    IndexedServiceList, IndexedServiceNodes, IndexedServices, NodeSpecificRequest, QueryMeta,
    ServiceName, ServiceSpecificRequest,
};
use lictor_state::{Command, Outcome, RequestId, View};
use lictor_wire::rows::NodeServices;
use lictor_wire::{DeregisterRequest, RegisterRequest, Str};
use serde::Serialize;

pub(super) async fn call(call: &Call<'_>, method: &str) -> Option<Reply> {
    Some(match method {
        "Register" => register(call).await,
        "Deregister" => deregister(call).await,
        "ListDatacenters" => reply(&crate::gossip::distance::by_distance(call.shared).await),
        "ListNodes" => nodes(call).await,
        "ListServices" => services(call).await,
        "ServiceList" => service_list(call).await,
        "ServiceNodes" => service_nodes(call).await,
        "NodeServices" => node_services(call).await,
        "NodeServiceList" => node_service_list(call).await,
        _ => return None,
    })
}

async fn register(call: &Call<'_>) -> Reply {
    let args: message::RegisterRequest = call.args()?;
    call.own_datacenter(&args.datacenter)?;
    let number = args.write.request;
    let mut r = RegisterRequest::from(args);
    r.datacenter = call.shared.datacenter.clone();
    writes::registration(&mut r)?;
    call.write(Command::Register(Box::new(r)), number).await
}

async fn deregister(call: &Call<'_>) -> Reply {
    let args: message::DeregisterRequest = call.args()?;
    call.own_datacenter(&args.datacenter)?;
    let number = args.write.request;
    let mut r = DeregisterRequest::from(args);
    writes::deregistration(&mut r)?;
    call.write(Command::Deregister(r), number).await
}

impl Call<'_> {
    /// Writes what has no answer.
    async fn write(&self, command: Command, number: Option<RequestId>) -> Reply {
        match self.shared.store.write_as(command, number).await {
            Ok(Outcome::Refused(text)) => Err(text),
            Ok(_) => empty(),
            Err(error) => Err(error.to_string()),
        }
    }
}

async fn nodes(call: &Call<'_>) -> Reply {
    let args: DcSpecificRequest = call.args()?;
    call.own_datacenter(&args.datacenter)?;
    let filter = wanted::<NodeRow<'_>>(&args.options)?;
    let narrow = call.narrow(args.node_meta_filters, &args.source, &args.options);
    let query = What::Nodes.narrowed(narrow);
    call.read(&query, &args.options, |view, meta| IndexedNodes {
        nodes: match args.peer_name.is_empty() {
            true => rows::nodes(view, &query.narrow, &filter)
                .into_iter()
                .map(|n| (&**n).into())
                .collect(),
            false => Vec::new(),
        },
        meta,
    })
    .await
}

async fn services(call: &Call<'_>) -> Reply {
    let args: DcSpecificRequest = call.args()?;
    call.own_datacenter(&args.datacenter)?;
    let filter = wanted::<InstanceRow<'_>>(&args.options)?;
    let narrow = call.narrow(args.node_meta_filters, &args.source, &args.options);
    let query = What::Services.narrowed(narrow);
    call.read(&query, &args.options, |view, meta| IndexedServices {
        services: rows::services(view, &query.narrow, &filter),
        meta,
    })
    .await
}

async fn service_list(call: &Call<'_>) -> Reply {
    let args: DcSpecificRequest = call.args()?;
    call.own_datacenter(&args.datacenter)?;
    call.read_all(What::Services, &args.options, |view, meta| {
        let names = view.service_names();
        IndexedServiceList {
            services: names.map(|n| ServiceName { name: n.clone() }).collect(),
            meta,
        }
    })
    .await
}

/// The tags that are asked for.
pub(super) fn tags(args: &ServiceSpecificRequest) -> Vec<Str> {
    if !args.tag_filter {
        Vec::new()
    } else if args.service_tag.is_empty() {
        let tags = args.service_tags.iter().filter(|t| !t.is_empty());
        tags.cloned().collect()
    } else {
        vec![args.service_tag.clone()]
    }
}

/// Whether the instances asked for are of a kind that there is none of: imported from a peer, or
/// behind an ingress gateway.
pub(super) fn is_elsewhere(args: &ServiceSpecificRequest) -> bool {
    !args.peer_name.is_empty() || args.ingress
}

async fn service_nodes(call: &Call<'_>) -> Reply {
    let args: ServiceSpecificRequest = call.args()?;
    call.own_datacenter(&args.datacenter)?;
    if args.service_name.is_empty() && args.service_address.is_empty() {
        return Err("Must provide service name".to_owned());
    }
    let filter = wanted::<InstanceRow<'_>>(&args.options)?;
    let narrow = Narrow {
        tags: tags(&args),
        ..call.narrow(args.node_meta_filters.clone(), &args.source, &args.options)
    };
    let (name, mesh) = (&args.service_name, args.connect);
    let what = if args.service_address.is_empty() || mesh {
        What::Instances {
            name: name.clone(),
            mesh,
        }
    } else {
        What::InstancesAt {
            address: args.service_address.clone(),
        }
    };
    let query = what.narrowed(narrow);
    call.read(&query, &args.options, |view, meta| {
        let found = match &query.what {
            _ if is_elsewhere(&args) => Vec::new(),
            What::InstancesAt { address } => rows::instances_at(view, address),
            _ => rows::instances(view, name, mesh, &query.narrow, &filter),
        };
        IndexedServiceNodes {
            service_nodes: found.iter().map(message::ServiceNode::from).collect(),
            meta,
        }
    })
    .await
}

async fn node_services(call: &Call<'_>) -> Reply {
    node(call, |found, meta| IndexedNodeServices {
        node_services: found.as_ref().map(message::NodeServices::from),
        meta,
    })
    .await
}

async fn node_service_list(call: &Call<'_>) -> Reply {
    node(call, |found, meta| IndexedNodeServiceList {
        node_services: found
            .as_ref()
            .map(message::NodeServiceList::from)
            .unwrap_or_default(),
        meta,
    })
    .await
}

async fn node<T: Serialize>(
    call: &Call<'_>,
    show: impl FnOnce(Option<NodeServices>, QueryMeta) -> T,
) -> Reply {
    let args: NodeSpecificRequest = call.args()?;
    call.own_datacenter(&args.datacenter)?;
    if args.node.is_empty() {
        return Err("Must provide node".to_owned());
    }
    let filter = wanted::<ServiceRow<'_>>(&args.options)?;
    let query = Query::from(What::Node {
        name: args.node.clone(),
    });
    let answer = |view: &View, meta| show(rows::node(view, &args.node, &filter), meta);
    call.read(&query, &args.options, answer).await
}
