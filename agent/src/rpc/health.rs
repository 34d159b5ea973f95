//! `Health`.

use super::catalog::{is_elsewhere, tags};
use super::read::wanted;
use super::{Call, Reply};
use crate::http::filter::{CheckRow, HealthRow, Wanted};
use crate::query::{Narrow, Query, What, rows};
use lictor_rpc_wire::message::{
    self, ChecksInStateRequest, IndexedCheckServiceNodes, IndexedHealthChecks, NodeSpecificRequest,
    QueryOptions, ServiceSpecificRequest,
};
use lictor_state::View;
use lictor_wire::HealthCheck;
use std::sync::Arc;

pub(super) async fn call(call: &Call<'_>, method: &str) -> Option<Reply> {
    Some(match method {
        "ServiceNodes" => service_nodes(call).await,
        "NodeChecks" => node_checks(call).await,
        "ServiceChecks" => service_checks(call).await,
        "ChecksInState" => checks_in_state(call).await,
        _ => return None,
    })
}

async fn service_nodes(call: &Call<'_>) -> Reply {
    let args: ServiceSpecificRequest = call.args()?;
    call.own_datacenter(&args.datacenter)?;
    if args.service_name.is_empty() {
        return Err("Must provide service name".to_owned());
    }
    let filter = wanted::<HealthRow<'_>>(&args.options)?;
    let narrow = Narrow {
        tags: tags(&args),
        ..call.narrow(args.node_meta_filters.clone(), &args.source, &args.options)
    };
    let (name, mesh) = (&args.service_name, args.connect);
    let what = What::Health {
        name: name.clone(),
        mesh,
    };
    let query = what.narrowed(narrow);
    call.read(&query, &args.options, |view, meta| {
        let found = if is_elsewhere(&args) {
            Vec::new()
        } else {
            // Those whose checks pass are the client's to choose.
            rows::health(view, name, mesh, false, &query.narrow, &filter)
        };
        IndexedCheckServiceNodes {
            nodes: found.iter().map(message::CheckServiceNode::from).collect(),
            meta,
        }
    })
    .await
}

async fn node_checks(call: &Call<'_>) -> Reply {
    let args: NodeSpecificRequest = call.args()?;
    call.own_datacenter(&args.datacenter)?;
    let query = Query::from(What::NodeChecks {
        node: args.node.clone(),
    });
    checks(call, &query, &args.options, |view, filter| {
        rows::node_checks(view, &args.node, &query.narrow, filter)
    })
    .await
}

async fn service_checks(call: &Call<'_>) -> Reply {
    let args: ServiceSpecificRequest = call.args()?;
    call.own_datacenter(&args.datacenter)?;
    let what = What::ServiceChecks {
        name: args.service_name.clone(),
    };
    let query = what.narrowed(call.narrow(args.node_meta_filters, &args.source, &args.options));
    checks(call, &query, &args.options, |view, filter| {
        rows::service_checks(view, &args.service_name, &query.narrow, filter)
    })
    .await
}

async fn checks_in_state(call: &Call<'_>) -> Reply {
    let args: ChecksInStateRequest = call.args()?;
    call.own_datacenter(&args.datacenter)?;
    let what = What::ChecksInState {
        state: args.state.clone(),
    };
    let query = what.narrowed(call.narrow(args.node_meta_filters, &args.source, &args.options));
    checks(call, &query, &args.options, |view, filter| {
        rows::checks_in_state(view, &args.state, &query.narrow, filter)
    })
    .await
}

async fn checks(
    call: &Call<'_>,
    query: &Query,
    options: &QueryOptions,
    find: impl FnOnce(&View, &Wanted<CheckRow<'_>>) -> Vec<Arc<HealthCheck>>,
) -> Reply {
    let filter = wanted(options)?;
    call.read(query, options, |view, meta| {
        let found = find(view, &filter);
        IndexedHealthChecks {
            health_checks: found.iter().map(|c| (&**c).into()).collect(),
            meta,
        }
    })
    .await
}
