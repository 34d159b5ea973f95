//! `Coordinate`.

use super::{Call, Reply, empty, reply};
use crate::query::What;
use crate::writes;
use lictor_rpc_wire::message::{
    CoordinateRecord, CoordinateUpdateRequest, DatacenterMap, DcSpecificRequest,
    IndexedCoordinates, NodeSpecificRequest,
};
use lictor_wire::Str;
use lictor_wire::rows::CoordinateRow;

pub(super) async fn call(call: &Call<'_>, method: &str) -> Option<Reply> {
    Some(match method {
        "Update" => update(call).await,
        "ListDatacenters" => reply(&datacenters(call).await),
        "ListNodes" => nodes(call).await,
        "Node" => node(call).await,
        _ => return None,
    })
}

async fn update(call: &Call<'_>) -> Reply {
    let args: CoordinateUpdateRequest = call.args()?;
    call.own_datacenter(&args.datacenter)?;
    let update = args.into_update();
    writes::coordinate(&update.coord)?;
    match call.shared.update_coordinate(update).await {
        Ok(()) => empty(),
        Err(error) => Err(error.to_string()),
    }
}

async fn datacenters(call: &Call<'_>) -> Vec<DatacenterMap> {
    let known = crate::gossip::distance::datacenters(call.shared).await;
    let map = |(datacenter, rows): (Str, Vec<CoordinateRow>)| DatacenterMap {
        datacenter,
        area_id: "wan".into(),
        coordinates: rows.iter().map(CoordinateRecord::from).collect(),
    };
    known.into_iter().map(map).collect()
}

async fn nodes(call: &Call<'_>) -> Reply {
    let args: DcSpecificRequest = call.args()?;
    call.own_datacenter(&args.datacenter)?;
    call.read_all(What::Coordinates, &args.options, |view, meta| {
        let rows = view.coordinates();
        IndexedCoordinates {
            coordinates: rows.iter().map(CoordinateRecord::from).collect(),
            meta,
        }
    })
    .await
}

async fn node(call: &Call<'_>) -> Reply {
    let args: NodeSpecificRequest = call.args()?;
    call.own_datacenter(&args.datacenter)?;
    let what = What::Coordinate {
        node: args.node.clone(),
    };
    call.read_all(what, &args.options, |view, meta| {
        let row = view.coordinate_of(&args.node);
        IndexedCoordinates {
            coordinates: row.iter().map(CoordinateRecord::from).collect(),
            meta,
        }
    })
    .await
}
