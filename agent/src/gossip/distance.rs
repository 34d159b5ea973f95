//! How far datacenters are, by the coordinates of their servers in the WAN pool.

use crate::agent::Shared;
use lictor_wire::rows::CoordinateRow;
use lictor_wire::{Coordinate, Str};
use std::collections::BTreeMap;

/// The servers of each datacenter with their coordinates, as far as they are known.
pub async fn datacenters(shared: &Shared) -> BTreeMap<Str, Vec<CoordinateRow>> {
    let mut all: BTreeMap<Str, Vec<CoordinateRow>> = BTreeMap::new();
    let Some(wan) = shared.gossip.wan() else {
        return all;
    };
    let own = shared.gossip.wan_name.clone();
    let known = wan.with(move |core, _| {
        let coordinate = |name: &str| {
            let at = if *name == *own {
                Some(core.coordinate())
            } else {
                core.coordinate_of(name)
            };
            at.map(super::coordinate)
        };
        core.members()
            .map(|m| (crate::members::server(m), coordinate(&m.name)))
            .collect::<Vec<_>>()
    });
    for (server, coord) in known.await.unwrap_or_default() {
        let Some(server) = server else { continue };
        let suffix = format!(".{}", server.datacenter);
        let node = server.name.strip_suffix(&suffix).unwrap_or(&server.name);
        let rows = all.entry(server.datacenter.clone()).or_default();
        if let Some(coord) = coord {
            rows.push(CoordinateRow {
                node: node.into(),
                segment: Str::new(),
                coord,
            });
        }
    }
    all
}

/// The datacenters that this agent knows: the own one first, then by the median distance of their
/// servers, then by name.
pub async fn by_distance(shared: &Shared) -> Vec<Str> {
    let known = datacenters(shared).await;
    let own = match shared.gossip.wan() {
        Some(wan) => super::coordinate(&wan.published().coordinate()),
        None => Coordinate::default(),
    };
    let mut all: Vec<(f64, Str)> = known
        .into_iter()
        .filter(|(datacenter, _)| *datacenter != shared.datacenter)
        .map(|(datacenter, rows)| (median(&own, &rows), datacenter))
        .collect();
    all.sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| a.1.cmp(&b.1)));
    let others = all.into_iter().map(|(_, datacenter)| datacenter);
    std::iter::once(shared.datacenter.clone())
        .chain(others)
        .collect()
}

/// Seconds; unknown is farther than anything.
fn median(from: &Coordinate, rows: &[CoordinateRow]) -> f64 {
    let mut all: Vec<f64> = rows.iter().map(|r| from.distance_to(&r.coord)).collect();
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or(f64::INFINITY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_server_counts() {
        let at = |x: f64| {
            let mut coord = Coordinate::default();
            coord.vec[0] = x;
            CoordinateRow {
                node: "n".into(),
                segment: Str::new(),
                coord,
            }
        };
        let origin = Coordinate::default();
        let middle = median(&origin, &[at(9.0), at(0.1), at(0.2)]);
        assert!((middle - 0.200_02).abs() < 1e-9, "{middle}");
        assert_eq!(median(&origin, &[]), f64::INFINITY);
    }
}
