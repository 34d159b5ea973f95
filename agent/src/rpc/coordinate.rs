//! `Coordinate`.

use super::{Call, Reply, empty, reply};
use crate::query::What;
use crate::writes;
use lictor_rpc_wire::message::{
    CoordinateRecord, CoordinateUpdateRequest, DatacenterMap, DcSpecificRequest,
    IndexedCoordinates, NodeSpecificRequest,
};

pub(super) async fn call(call: &Call<'_>, method: &str) -> Option<Reply> {
    Some(match method {
        "Update" => update(call),
        "ListDatacenters" => reply(&[datacenter(call)]),
        "ListNodes" => nodes(call).await,
        "Node" => node(call).await,
        _ => return None,
    })
}

fn update(call: &Call<'_>) -> Reply {
    let args: CoordinateUpdateRequest = call.args()?;
    call.own_datacenter(&args.datacenter)?;
    let update = args.into_update();
    writes::coordinate(&update.coord)?;
    call.shared.leader.coordinate(update);
    empty()
}

fn datacenter(call: &Call<'_>) -> DatacenterMap {
    DatacenterMap {
        datacenter: call.shared.datacenter.clone(),
        area_id: "wan".into(),
        coordinates: vec![CoordinateRecord {
            node: call.shared.node_name.clone(),
            coord: Some((&call.shared.coordinate()).into()),
            ..CoordinateRecord::default()
        }],
    }
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
