//! The rows that answer a query, out of a view: for HTTP and for RPC alike.
//!
//! Filters are compiled before anything is read, so that a wrong one fails even where there is no
//! row; hence they come as values of their own.

use super::Narrow;
use crate::http::filter::{CheckRow, HealthRow, InstanceRow, NodeRow, ServiceRow, Wanted};
use lictor_state::View;
use lictor_wire::rows::{CheckServiceNode, NodeServices, ServiceNode};
use lictor_wire::{HealthCheck, Node, NodeService, Status, Str};
use std::collections::BTreeMap;
use std::sync::Arc;

impl Narrow {
    /// Whether a node has the metadata asked for.
    pub fn keeps_node(&self, node: &Node) -> bool {
        self.meta.iter().all(|(k, v)| {
            node.meta
                .as_ref()
                .and_then(|m| m.get(k))
                .is_some_and(|have| have == v)
        })
    }

    /// Whether an instance has the tags asked for.
    pub fn keeps_service(&self, service: &NodeService) -> bool {
        self.tags.iter().all(|tag| {
            service
                .tags
                .iter()
                .any(|have| have.eq_ignore_ascii_case(tag))
        })
    }
}

/// Sorts rows by the estimated round trip from the node that [`Narrow::near`] names. Nodes without
/// a coordinate come last; an unknown node sorts nothing; equal distances keep their order.
fn sort<T>(view: &View, narrow: &Narrow, rows: &mut [T], node: impl Fn(&T) -> &str) {
    if narrow.near.is_empty() {
        return;
    }
    if view.is_part() {
        // Who gave the rows has sorted them; a part has no coordinates.
        rows.sort_by_cached_key(|row| view.place(node(row)));
        return;
    }
    let Some(origin) = view.coordinate(&narrow.near).cloned() else {
        return;
    };
    rows.sort_by_cached_key(|row| {
        let seconds = view
            .coordinate(node(row))
            .map_or(f64::INFINITY, |c| origin.distance_to(c));
        // Distances are not negative, so that their bits sort as they do.
        seconds.to_bits()
    });
}

/// Nodes.
pub fn nodes<'v>(
    view: &'v View,
    narrow: &Narrow,
    filter: &Wanted<NodeRow<'_>>,
) -> Vec<&'v Arc<Node>> {
    let mut rows: Vec<&Arc<Node>> = view
        .nodes()
        .filter(|n| narrow.keeps_node(n) && filter.keeps(&NodeRow(n)))
        .collect();
    sort(view, narrow, &mut rows, |n| &n.node);
    rows
}

/// The names of services, each with the tags of its instances, sorted.
pub fn services(
    view: &View,
    narrow: &Narrow,
    filter: &Wanted<InstanceRow<'_>>,
) -> BTreeMap<Str, Vec<Str>> {
    if let Some(names) = view.listed_names() {
        return names.clone();
    }
    let mut out: BTreeMap<Str, Vec<Str>> = BTreeMap::new();
    for row in view
        .all_instances()
        .filter(|r| narrow.keeps_node(&r.node) && filter.keeps(&InstanceRow(r)))
    {
        let tags = out.entry(row.service.service.clone()).or_default();
        for tag in row.service.tags.iter() {
            if !tags.contains(tag) {
                tags.push(tag.clone());
            }
        }
    }
    out.values_mut().for_each(|tags| tags.sort());
    out
}

/// The instances of a service, or what stands for it in the mesh.
pub fn instances(
    view: &View,
    name: &str,
    mesh: bool,
    narrow: &Narrow,
    filter: &Wanted<InstanceRow<'_>>,
) -> Vec<ServiceNode> {
    let mut rows = if mesh {
        view.connect_instances(name)
    } else {
        view.instances(name)
    };
    rows.retain(|r| {
        narrow.keeps_service(&r.service)
            && narrow.keeps_node(&r.node)
            && filter.keeps(&InstanceRow(r))
    });
    sort(view, narrow, &mut rows, |r| &r.node.node);
    rows
}

/// The instances that are registered with this address of their own.
pub fn instances_at(view: &View, address: &str) -> Vec<ServiceNode> {
    view.all_instances()
        .filter(|r| r.service.address == address)
        .collect()
}

/// The instances of a service, or what stands for it in the mesh, with the checks that count for
/// them; those alone whose checks all pass, if `passing`.
pub fn health(
    view: &View,
    name: &str,
    mesh: bool,
    passing: bool,
    narrow: &Narrow,
    filter: &Wanted<HealthRow<'_>>,
) -> Vec<CheckServiceNode> {
    let mut rows = if mesh {
        view.connect_health(name)
    } else {
        view.health(name)
    };
    rows.retain(|r| {
        narrow.keeps_service(&r.service)
            && narrow.keeps_node(&r.node)
            && filter.keeps(&HealthRow(r))
            && (!passing || r.checks.iter().all(|c| c.status == Status::Passing))
    });
    sort(view, narrow, &mut rows, |r| &r.node.node);
    rows
}

/// A node with its instances.
pub fn node(view: &View, name: &str, filter: &Wanted<ServiceRow<'_>>) -> Option<NodeServices> {
    let mut found = view.node_services(name)?;
    found.services.retain(|s| filter.keeps(&ServiceRow(s)));
    Some(found)
}

/// The checks of a node and of its instances.
pub fn node_checks(
    view: &View,
    node: &str,
    narrow: &Narrow,
    filter: &Wanted<CheckRow<'_>>,
) -> Vec<Arc<HealthCheck>> {
    let rows = if view.is_part() {
        // The node may have been named by its id, which its checks do not show.
        view.checks().cloned().collect()
    } else {
        let node = view
            .node_by_name_or_id(node)
            .map_or(node, |n| n.node.as_str());
        view.checks_of_node(node).cloned().collect()
    };
    checks(view, rows, narrow, filter)
}

/// The checks of a service.
pub fn service_checks(
    view: &View,
    name: &str,
    narrow: &Narrow,
    filter: &Wanted<CheckRow<'_>>,
) -> Vec<Arc<HealthCheck>> {
    let rows = if view.is_part() {
        view.checks().cloned().collect()
    } else {
        view.checks_of_service(name)
    };
    checks(view, rows, narrow, filter)
}

/// The checks in a state; `any` is every state.
pub fn checks_in_state(
    view: &View,
    state: &str,
    narrow: &Narrow,
    filter: &Wanted<CheckRow<'_>>,
) -> Vec<Arc<HealthCheck>> {
    let rows = view
        .checks()
        .filter(|c| state == "any" || c.status.as_str() == state)
        .cloned()
        .collect();
    checks(view, rows, narrow, filter)
}

fn checks(
    view: &View,
    mut rows: Vec<Arc<HealthCheck>>,
    narrow: &Narrow,
    filter: &Wanted<CheckRow<'_>>,
) -> Vec<Arc<HealthCheck>> {
    rows.retain(|check| {
        // A part need not have the nodes of its checks: who gave the rows looked at them.
        let node = narrow.meta.is_empty()
            || view.is_part()
            || view.node(&check.node).is_some_and(|n| narrow.keeps_node(n));
        node && filter.keeps(&CheckRow(check))
    });
    sort(view, narrow, &mut rows, |c| &c.node);
    rows
}

/// The names of keys with a prefix, each cut behind the first separator after the prefix, none
/// twice.
pub fn key_names<'v>(view: &'v View, prefix: &'v str, separator: &str) -> Vec<&'v str> {
    let mut out: Vec<&str> = Vec::new();
    for entry in view.kv_range(prefix) {
        let mut key = entry.key.as_str();
        if !separator.is_empty()
            && let Some(at) = key[prefix.len()..].find(separator)
        {
            key = &key[..prefix.len() + at + separator.len()];
        }
        if out.last() != Some(&key) {
            out.push(key);
        }
    }
    out
}
