//! `Internal`: what Consul's own agents and UI ask for.

use super::read::{meta, wanted};
use super::{Call, Reply, reply};
use crate::gossip::keys::{self, KeyOperation, KeyringAnswer};
use crate::http::filter::{CheckRow, HealthRow, MaybeMap, ServiceRow};
use crate::query::{Narrow, Query, What};
use lictor_bexpr::row;
use lictor_rpc_wire::message::{
    self, DcSpecificRequest, EventFireRequest, IndexedNodeDump, IndexedNodesWithGateways,
    KeyringRequest, KeyringResponse, KeyringResponses, NodeInfo, NodeSpecificRequest, QueryMeta,
    ServiceDumpRequest,
};
use lictor_state::View;
use lictor_wire::{HealthCheck, Node, NodeService};
use std::collections::BTreeMap;
use std::sync::Arc;

pub(super) async fn call(call: &Call<'_>, method: &str) -> Option<Reply> {
    Some(match method {
        "NodeInfo" => node_info(call).await,
        "NodeDump" => node_dump(call).await,
        "ServiceDump" => service_dump(call).await,
        "EventFire" => event_fire(call).await,
        "KeyringOperation" => keyring(call).await,
        _ => return None,
    })
}

/// A node with all that is on it.
struct Info<'a> {
    node: &'a Node,
    services: Vec<&'a Arc<NodeService>>,
    checks: Vec<&'a Arc<HealthCheck>>,
}

row! {
    Info<'_> as i {
        ID: str = i.node.id;
        Node: str = i.node.node;
        Address: str = i.node.address;
        TaggedAddresses: map = MaybeMap(i.node.tagged_addresses.as_ref());
        Meta: map = MaybeMap(i.node.meta.as_ref());
        PeerName: str = "";
        Partition: str = "";
        Services: objects(ServiceRow<'_>) = i.services.iter().map(|s| ServiceRow(s));
        Checks: objects(CheckRow<'_>) = i.checks.iter().map(|c| CheckRow(c));
    }
}

impl<'a> Info<'a> {
    fn of(view: &'a View, node: &'a Node) -> Info<'a> {
        Info {
            node,
            services: view.services_of(&node.node).collect(),
            checks: view.checks_of_node(&node.node).collect(),
        }
    }
}

impl From<&Info<'_>> for NodeInfo {
    fn from(info: &Info<'_>) -> NodeInfo {
        NodeInfo {
            id: info.node.id.clone(),
            node: info.node.node.clone(),
            address: info.node.address.clone(),
            tagged_addresses: info.node.tagged_addresses.clone(),
            meta: info.node.meta.clone(),
            services: info.services.iter().map(|s| (&***s).into()).collect(),
            checks: info.checks.iter().map(|c| (&***c).into()).collect(),
            ..NodeInfo::default()
        }
    }
}

async fn node_info(call: &Call<'_>) -> Reply {
    let args: NodeSpecificRequest = call.args()?;
    call.own_datacenter(&args.datacenter)?;
    let what = What::NodeInfo {
        name: args.node.clone(),
    };
    call.read_all(what, &args.options, |view, meta| {
        let node = view.node_by_name_or_id(&args.node);
        let info = node.map(|node| NodeInfo::from(&Info::of(view, node)));
        IndexedNodeDump {
            imported_dump: Vec::new(),
            dump: info.into_iter().collect(),
            meta,
        }
    })
    .await
}

async fn node_dump(call: &Call<'_>) -> Reply {
    let args: DcSpecificRequest = call.args()?;
    call.own_datacenter(&args.datacenter)?;
    let filter = wanted::<Info<'_>>(&args.options)?;
    let query = Query::from(What::NodeDump);
    call.read(&query, &args.options, |view, meta| {
        let infos = view.nodes().map(|node| Info::of(view, node));
        IndexedNodeDump {
            imported_dump: Vec::new(),
            dump: infos
                .filter(|info| filter.keeps(info))
                .map(|info| NodeInfo::from(&info))
                .collect(),
            meta,
        }
    })
    .await
}

async fn service_dump(call: &Call<'_>) -> Reply {
    let args: ServiceDumpRequest = call.args()?;
    call.own_datacenter(&args.datacenter)?;
    let filter = wanted::<HealthRow<'_>>(&args.options)?;
    let query = What::ServiceDump.narrowed(Narrow::default());
    call.read(&query, &args.options, |view, meta| {
        let all = view.service_names().flat_map(|name| view.health(name));
        let kept = all.filter(|row| {
            (!args.use_service_kind || row.service.kind == args.service_kind)
                && filter.keeps(&HealthRow(row))
        });
        IndexedNodesWithGateways {
            nodes: kept
                .map(|row| message::CheckServiceNode::from(&row))
                .collect(),
            meta,
            ..IndexedNodesWithGateways::default()
        }
    })
    .await
}

async fn event_fire(call: &Call<'_>) -> Reply {
    let args: EventFireRequest = call.args()?;
    call.own_datacenter(&args.datacenter)?;
    let body = args.payload.0.to_vec();
    crate::gossip::fire_encoded(call.shared, &args.name, body).await?;
    reply(&QueryMeta::default())
}

/// Of this datacenter's pools alone: nothing is forwarded to servers elsewhere.
async fn keyring(call: &Call<'_>) -> Reply {
    let args: KeyringRequest = call.args()?;
    call.own_datacenter(&args.datacenter)?;
    let operation = match &*args.operation {
        "list" => KeyOperation::List,
        "install" => KeyOperation::Install,
        "use" => KeyOperation::Use,
        "remove" => KeyOperation::Remove,
        other => return Err(format!("Unknown keyring operation: {other}")),
    };
    let local_only = args.local_only && operation == KeyOperation::List;
    let answers = keys::operate(
        call.shared,
        operation,
        &args.key,
        args.relay_factor,
        local_only,
    );
    let counts = |keys: BTreeMap<String, usize>| {
        let count = |(key, n)| (key, i64::try_from(n).unwrap_or(i64::MAX));
        (!keys.is_empty()).then(|| keys.into_iter().map(count).collect())
    };
    let shown = |a: KeyringAnswer| KeyringResponse {
        wan: a.wan,
        datacenter: a.datacenter.into(),
        segment: a.segment.into(),
        messages: (!a.messages.is_empty()).then_some(a.messages),
        keys: counts(a.keys),
        primary_keys: counts(a.primary_keys),
        num_nodes: i64::try_from(a.num_nodes).unwrap_or(i64::MAX),
        error: a.error,
        ..KeyringResponse::default()
    };
    reply(&KeyringResponses {
        responses: answers.await.into_iter().map(shown).collect(),
        meta: meta(0, call.shared.store.contact()),
    })
}
