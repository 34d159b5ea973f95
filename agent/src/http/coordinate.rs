//! `/v1/coordinate`: where nodes are in the network.

use super::catalog::coordinate_request;
use super::options::read_options;
use super::read::{self, Read, body};
use super::{Call, HttpError, Reply};
use crate::agent::Shared;
use crate::query::{Query, ReadOptions, What};
use crate::writes;
use bytes::Bytes;
use http::StatusCode;
use lictor_state::{CoordinateUpdate, View};
use lictor_wire::Str;
use lictor_wire::rows::CoordinateRow;
use std::sync::Arc;

fn enabled(shared: &Shared) -> Result<(), HttpError> {
    if shared.config().disable_coordinates {
        return Err(HttpError::new(
            StatusCode::UNAUTHORIZED,
            "Coordinate support disabled",
        ));
    }
    Ok(())
}

/// `GET /v1/coordinate/datacenters`
pub async fn datacenters(shared: &Arc<Shared>, call: &mut Call) -> Result<Reply, HttpError> {
    enabled(shared)?;
    if let Some(upstream) = shared.store.upstream() {
        let all = upstream.datacenter_coordinates().await?;
        let rows: Vec<serde_json::Value> = all
            .into_iter()
            .map(|dc| {
                let rows = dc.coordinates.into_iter().map(CoordinateRow::from);
                serde_json::json!({
                    "Datacenter": dc.datacenter,
                    "AreaID": dc.area_id,
                    "Coordinates": rows.collect::<Vec<_>>(),
                })
            })
            .collect();
        return Ok(Reply::json(shared, call, &rows));
    }
    let known = crate::gossip::distance::datacenters(shared).await;
    let rows: Vec<_> = known
        .iter()
        .map(|(datacenter, servers)| {
            serde_json::json!({
                "Datacenter": datacenter,
                "AreaID": "wan",
                "Coordinates": servers,
            })
        })
        .collect();
    Ok(Reply::json(shared, call, &rows))
}

/// `GET /v1/coordinate/nodes`
pub async fn nodes(shared: &Arc<Shared>, call: &mut Call) -> Result<Reply, HttpError> {
    enabled(shared)?;
    let options = read_options(call, &shared.live().wait, false)?;
    let segment = call.params.get("segment").to_owned();
    let answer = |view: &View| {
        let rows = if segment.is_empty() {
            view.coordinates()
        } else {
            Vec::new()
        };
        Ok(body(shared, call, &rows))
    };
    let read = Read {
        query: &Query::from(What::Coordinates),
        answer: &answer,
        shareable: true,
        names_consistency: false,
    };
    read::run(shared, call, &options, &read).await
}

/// `GET /v1/coordinate/node/:node`
pub async fn node(shared: &Arc<Shared>, call: &mut Call) -> Result<Reply, HttpError> {
    enabled(shared)?;
    let options = read_options(call, &shared.live().wait, false)?;
    let name = Str::from(call.rest.as_str());
    let store = read::store(shared, call)?;
    let query = Query::from(What::Coordinate { node: name.clone() });
    // An unknown node has no index to wait on: the answer comes at once and bare.
    let now = ReadOptions::now(options.freshness);
    let found = store.read(&query, &now).await?;
    if found.view.coordinate_of(&name).is_none() {
        return Ok(Reply::bare(StatusCode::NOT_FOUND, Bytes::new()));
    }
    let answer = |view: &View| {
        Ok(match view.coordinate_of(&name) {
            Some(row) => body(shared, call, &[row]),
            None => read::Found::Missing,
        })
    };
    let read = Read {
        query: &query,
        answer: &answer,
        shareable: true,
        names_consistency: false,
    };
    read::run(shared, call, &options, &read).await
}

/// `PUT /v1/coordinate/update`
pub async fn update(shared: &Arc<Shared>, call: &mut Call) -> Result<Reply, HttpError> {
    enabled(shared)?;
    let r = coordinate_request(&call.document().await?)?;
    if !r.datacenter.is_empty() && r.datacenter != shared.datacenter {
        return Err(read::no_path());
    }
    read::own_datacenter(shared, call)?;
    let coord = r.coord.unwrap_or_default();
    writes::coordinate(&coord).map_err(HttpError::internal)?;
    let update = CoordinateUpdate {
        node: r.node,
        coord,
    };
    shared.update_coordinate(update).await?;
    Ok(Reply::empty())
}
