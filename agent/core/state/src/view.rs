//! The tables, and what can be read from them.
//!
//! All tables are persistent maps: cloning the whole is a few pointer copies. The instances of
//! all nodes lie in one map sorted by node, not in a map per node: ten thousand small maps would
//! cost more than their contents.

use crate::autopilot::AutopilotConfig;
use crate::command::Outcome;
use crate::once::Origin;
use crate::part::PartFacts;
use imbl::{OrdMap, OrdSet};
use lictor_wire::rows::{CheckServiceNode, CoordinateRow, NodeServices, ServiceNode};
use lictor_wire::{Coordinate, HealthCheck, KvEntry, Node, NodeService, Session, Status, Str};
use std::ops::Bound;
use std::sync::Arc;

/// A name as the tables know it: Consul compares names without regard to case.
pub fn fold(name: &str) -> Str {
    if name
        .bytes()
        .any(|b| b.is_ascii_uppercase() || !b.is_ascii())
    {
        Str::from(name.to_lowercase())
    } else {
        Str::from(name)
    }
}

/// An answer of a read with its index.
#[derive(Clone, Debug, PartialEq)]
pub struct Row<T> {
    /// The index; never zero once it is sent.
    pub index: u64,
    /// The answer.
    pub value: T,
}

/// The highest index that touched each table, and the marks of the last removals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableIndexes {
    /// Nodes; moved by service writes too.
    pub nodes: u64,
    /// Services.
    pub services: u64,
    /// Checks.
    pub checks: u64,
    /// Keys.
    pub kvs: u64,
    /// Deleted keys.
    pub tombstones: u64,
    /// Sessions.
    pub sessions: u64,
    /// Coordinates.
    pub coordinates: u64,
    /// The last time a service lost its last instance.
    pub service_extinction: u64,
    /// The last time a node was removed.
    pub node_extinction: u64,
    /// The last time an instance ceased to stand for a service in the mesh.
    pub connect_removal: u64,
}

/// What is known of a service's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NameRow {
    /// The name as first registered.
    pub(crate) name: Str,
    /// The index of all that its health answer shows.
    pub(crate) index: u64,
    /// Its instances.
    pub(crate) instances: u32,
}

/// The whole state at one index: immutable, cheap to clone, safe to read from any thread.
#[derive(Clone, Debug, Default)]
pub struct View {
    pub(crate) index: u64,
    pub(crate) epoch: u64,
    pub(crate) tables: TableIndexes,
    pub(crate) nodes: OrdMap<Str, Arc<Node>>,
    pub(crate) node_index: OrdMap<Str, u64>,
    pub(crate) node_ids: OrdMap<Str, Str>,
    /// (node, instance id)
    pub(crate) services: OrdMap<(Str, Str), Arc<NodeService>>,
    pub(crate) names: OrdMap<Str, NameRow>,
    /// (name, node, instance id)
    pub(crate) instances: OrdSet<(Str, Str, Str)>,
    /// (destination, node, instance id)
    pub(crate) connect: OrdSet<(Str, Str, Str)>,
    /// (node, check id)
    pub(crate) checks: OrdMap<(Str, Str), Arc<HealthCheck>>,
    /// (node, instance id or nothing, check id)
    pub(crate) check_owners: OrdSet<(Str, Str, Str)>,
    pub(crate) kv: OrdMap<Str, Arc<KvEntry>>,
    pub(crate) tombstones: OrdMap<Str, u64>,
    pub(crate) lock_delays: OrdMap<Str, u64>,
    pub(crate) sessions: OrdMap<Str, Arc<Session>>,
    /// (session, key)
    pub(crate) session_keys: OrdSet<(Str, Str)>,
    /// (node, check id, session)
    pub(crate) session_checks: OrdSet<(Str, Str, Str)>,
    pub(crate) coordinates: OrdMap<Str, Arc<Coordinate>>,
    /// Mesh addresses by service: the last part of 240.0.0.0/4.
    pub(crate) virtual_ips: OrdMap<Str, u32>,
    /// Set where this is not the whole state.
    pub(crate) part: Option<Arc<PartFacts>>,
    pub(crate) autopilot: Option<Arc<AutopilotConfig>>,
    /// The agents whose requests are told apart from copies.
    pub(crate) origins: OrdMap<u64, Origin>,
    /// (origin, number): what became of requests of which a copy may come.
    pub(crate) answered: OrdMap<(u64, u64), Outcome>,
}

/// The entries of a three-part set that begin with these two parts.
fn pair_range<'a>(
    set: &'a OrdSet<(Str, Str, Str)>,
    a: &'a str,
    b: &'a str,
) -> impl Iterator<Item = &'a (Str, Str, Str)> {
    set.range((Str::from(a), Str::from(b), Str::new())..)
        .take_while(move |(x, y, _)| x == a && y == b)
}

/// The entries of a three-part set that begin with this part.
fn first_range<'a>(
    set: &'a OrdSet<(Str, Str, Str)>,
    a: &'a str,
) -> impl Iterator<Item = &'a (Str, Str, Str)> {
    set.range((Str::from(a), Str::new(), Str::new())..)
        .take_while(move |(x, _, _)| x == a)
}

impl View {
    /// The index of the last entry applied.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// Changes when a snapshot was restored: what was derived from an older view is void.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The indexes of the tables.
    pub fn tables(&self) -> &TableIndexes {
        &self.tables
    }

    /// The configuration of autopilot, once a leader has set it.
    pub fn autopilot(&self) -> Option<&AutopilotConfig> {
        self.autopilot.as_deref()
    }

    // ---- indexes ----

    /// The index of a service's health and catalog answers.
    pub fn service_index(&self, name: &str) -> u64 {
        match self.names.get(&fold(name)) {
            Some(row) => row.index,
            None if self.tables.service_extinction > 0 => self.tables.service_extinction,
            None => self.tables.services.max(self.tables.nodes),
        }
    }

    /// The same for health answers, where a service that never was counts checks too.
    pub fn health_index(&self, name: &str) -> u64 {
        match self.names.get(&fold(name)) {
            Some(row) => row.index,
            None if self.tables.service_extinction > 0 => self.tables.service_extinction,
            None => self
                .tables
                .services
                .max(self.tables.nodes)
                .max(self.tables.checks),
        }
    }

    /// The index of a node with its instances.
    pub fn node_index(&self, name: &str) -> u64 {
        self.node_index
            .get(&fold(name))
            .copied()
            .unwrap_or(self.tables.node_extinction)
    }

    /// The index of a key: its own, or of the store where there is none.
    pub fn kv_index(&self, key: &str) -> u64 {
        match self.kv.get(key) {
            Some(entry) => entry.modify_index,
            None => self.kv_table_index(),
        }
    }

    /// The index of the whole key/value store.
    pub fn kv_table_index(&self) -> u64 {
        self.tables.kvs.max(self.tables.tombstones)
    }

    /// The index of all keys with a prefix, deletions included.
    pub fn kv_prefix_index(&self, prefix: &str) -> u64 {
        if prefix.is_empty() {
            return self.kv_table_index();
        }
        let live = self.kv_range(prefix).map(|e| e.modify_index).max();
        let dead = self.tombstone_range(prefix).map(|(_, index)| *index).max();
        match (live, dead) {
            (None, None) => self.kv_table_index(),
            (live, dead) => live.max(dead).unwrap_or(0),
        }
    }

    // ---- nodes ----

    /// All nodes by name.
    pub fn nodes(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.nodes.values()
    }

    /// How many nodes there are.
    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// A node by name.
    pub fn node(&self, name: &str) -> Option<&Arc<Node>> {
        self.nodes.get(&fold(name))
    }

    /// A node by its UUID.
    pub fn node_by_id(&self, id: &str) -> Option<&Arc<Node>> {
        self.nodes.get(self.node_ids.get(&fold(id))?)
    }

    /// A node by name, or by its UUID, or by four or more leading letters of it if these fit one
    /// node alone, as the read endpoints of the catalog take it.
    pub fn node_by_name_or_id(&self, text: &str) -> Option<&Arc<Node>> {
        if let Some(node) = self.node(text) {
            return Some(node);
        }
        let text = fold(text);
        if text.len() < 4 || !text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-') {
            return None;
        }
        let mut fits = self
            .node_ids
            .range(text.clone()..)
            .take_while(|(id, _)| id.starts_with(text.as_str()));
        let (_, name) = fits.next()?;
        if fits.next().is_some() {
            None
        } else {
            self.nodes.get(name)
        }
    }

    /// The instances on a node, by id.
    pub fn services_of(&self, node: &str) -> impl Iterator<Item = &Arc<NodeService>> {
        let node = fold(node);
        self.services
            .range((node.clone(), Str::new())..)
            .take_while(move |((n, _), _)| *n == node)
            .map(|(_, v)| v)
    }

    /// A node with its instances.
    pub fn node_services(&self, name: &str) -> Option<NodeServices> {
        let node = self.node_by_name_or_id(name)?;
        Some(NodeServices {
            node: node.clone(),
            services: self.services_of(&node.node).cloned().collect(),
        })
    }

    /// An instance.
    pub fn service(&self, node: &str, id: &str) -> Option<&Arc<NodeService>> {
        self.services.get(&(fold(node), fold(id)))
    }

    /// All instances with their nodes, sorted by service name.
    pub fn all_instances(&self) -> impl Iterator<Item = ServiceNode> {
        self.instances
            .iter()
            .filter_map(|(_, node, id)| self.service_node(node, id))
    }

    /// Whether a service of that name has an instance.
    pub fn has_service(&self, name: &str) -> bool {
        self.names.contains_key(&fold(name))
    }

    /// The names of all services that have an instance.
    pub fn service_names(&self) -> impl Iterator<Item = &Str> {
        self.names.values().map(|row| &row.name)
    }

    /// How many services and how many instances there are.
    pub fn service_counts(&self) -> (usize, usize) {
        (self.names.len(), self.services.len())
    }

    fn service_node(&self, node: &str, id: &Str) -> Option<ServiceNode> {
        let node = Str::from(node);
        let row = self.nodes.get(&node)?.clone();
        let service = self.services.get(&(node, id.clone()))?.clone();
        Some(ServiceNode { node: row, service })
    }

    /// The instances of a service, by node and id.
    pub fn instances(&self, name: &str) -> Vec<ServiceNode> {
        let name = fold(name);
        first_range(&self.instances, &name)
            .filter_map(|(_, node, id)| self.service_node(node, id))
            .collect()
    }

    /// The instances that stand for a service in the mesh: its proxies and native instances.
    pub fn connect_instances(&self, name: &str) -> Vec<ServiceNode> {
        let name = fold(name);
        first_range(&self.connect, &name)
            .filter_map(|(_, node, id)| self.service_node(node, id))
            .collect()
    }

    /// The instances of a service with the checks that count for them.
    pub fn health(&self, name: &str) -> Vec<CheckServiceNode> {
        self.instances(name)
            .into_iter()
            .map(|row| self.with_checks(row))
            .collect()
    }

    /// [`View::health`] for the mesh.
    pub fn connect_health(&self, name: &str) -> Vec<CheckServiceNode> {
        self.connect_instances(name)
            .into_iter()
            .map(|row| self.with_checks(row))
            .collect()
    }

    /// The index of a mesh answer: that of the names found, or of the last time that one may have
    /// gone. Where nothing is found the last extinction counts too, and before that the name
    /// asked for.
    pub fn connect_index(&self, name: &str) -> u64 {
        let found = self
            .connect_instances(name)
            .iter()
            .map(|row| self.service_index(&row.service.service))
            .max();
        match found
            .unwrap_or(self.tables.service_extinction)
            .max(self.tables.connect_removal)
        {
            0 => self.health_index(name),
            index => index,
        }
    }

    fn with_checks(&self, row: ServiceNode) -> CheckServiceNode {
        let node = fold(&row.node.node);
        let id = fold(&row.service.id);
        let checks = pair_range(&self.check_owners, &node, "")
            .chain(pair_range(&self.check_owners, &node, &id))
            .filter_map(|(n, _, check)| self.checks.get(&(n.clone(), check.clone())).cloned())
            .collect();
        CheckServiceNode {
            node: row.node,
            service: row.service,
            checks,
        }
    }

    // ---- checks ----

    /// All checks, by node and id.
    pub fn checks(&self) -> impl Iterator<Item = &Arc<HealthCheck>> {
        self.checks.values()
    }

    /// The checks of a node and of its instances.
    pub fn checks_of_node(&self, node: &str) -> impl Iterator<Item = &Arc<HealthCheck>> {
        let node = fold(node);
        self.checks
            .range((node.clone(), Str::new())..)
            .take_while(move |((n, _), _)| *n == node)
            .map(|(_, v)| v)
    }

    /// The checks of a service, by node and id.
    pub fn checks_of_service(&self, name: &str) -> Vec<Arc<HealthCheck>> {
        let name = fold(name);
        let mut owners: Vec<&(Str, Str, Str)> = first_range(&self.instances, &name)
            .flat_map(|(_, node, id)| pair_range(&self.check_owners, node, id))
            .collect();
        owners.sort_by(|a, b| (&a.0, &a.2).cmp(&(&b.0, &b.2)));
        owners
            .into_iter()
            .filter_map(|(node, _, check)| self.checks.get(&(node.clone(), check.clone())).cloned())
            .collect()
    }

    /// A check.
    pub fn check(&self, node: &str, id: &str) -> Option<&Arc<HealthCheck>> {
        self.checks.get(&(fold(node), fold(id)))
    }

    /// The checks of an instance alone, without those of its node.
    pub fn checks_of_instance(&self, node: &str, id: &str) -> Vec<Arc<HealthCheck>> {
        let (node, id) = (fold(node), fold(id));
        pair_range(&self.check_owners, &node, &id)
            .filter_map(|(n, _, check)| self.checks.get(&(n.clone(), check.clone())).cloned())
            .collect()
    }

    /// Whether the node's own checks let its instances serve: none is critical.
    pub fn node_is_critical(&self, node: &str) -> bool {
        let node = fold(node);
        pair_range(&self.check_owners, &node, "")
            .filter_map(|(n, _, check)| self.checks.get(&(n.clone(), check.clone())))
            .any(|check| check.status == Status::Critical)
    }

    // ---- keys ----

    /// A key's entry.
    pub fn kv(&self, key: &str) -> Option<&Arc<KvEntry>> {
        self.kv.get(key)
    }

    /// The entries whose key begins with the prefix, in order.
    pub fn kv_range<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a Arc<KvEntry>> {
        self.kv
            .range::<_, str>((Bound::Included(prefix), Bound::Unbounded))
            .take_while(move |(key, _)| key.starts_with(prefix))
            .map(|(_, entry)| entry)
    }

    fn tombstone_range<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a Str, &'a u64)> {
        self.tombstones
            .range::<_, str>((Bound::Included(prefix), Bound::Unbounded))
            .take_while(move |(key, _)| key.starts_with(prefix))
    }

    /// The tombstones whose text begins with the prefix.
    pub(crate) fn tombstones_below<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a Str> {
        self.tombstone_range(prefix).map(|(key, _)| key)
    }

    /// How many keys there are.
    pub fn kv_count(&self) -> usize {
        self.kv.len()
    }

    /// Whether deletions are remembered that a reap would forget.
    pub fn has_tombstones(&self) -> bool {
        !self.tombstones.is_empty()
    }

    /// Until when a key cannot be locked, in milliseconds since 1970.
    pub fn lock_delay(&self, key: &str) -> Option<u64> {
        self.lock_delays.get(key).copied()
    }

    /// When the last of the present lock-delays ends.
    pub fn last_lock_delay(&self) -> Option<u64> {
        self.lock_delays.values().max().copied()
    }

    // ---- sessions ----

    /// All sessions by id.
    pub fn sessions(&self) -> impl Iterator<Item = &Arc<Session>> {
        self.sessions.values()
    }

    /// A session.
    pub fn session(&self, id: &str) -> Option<&Arc<Session>> {
        self.sessions.get(id)
    }

    /// The sessions of a node.
    pub fn sessions_of_node(&self, node: &str) -> impl Iterator<Item = &Arc<Session>> {
        let node = fold(node);
        self.sessions
            .values()
            .filter(move |s| fold(&s.node) == node)
    }

    /// The keys that a session holds.
    pub fn keys_of_session<'a>(&'a self, id: &'a str) -> impl Iterator<Item = &'a Str> {
        self.session_keys
            .range((Str::from(id), Str::new())..)
            .take_while(move |(s, _)| s == id)
            .map(|(_, key)| key)
    }

    // ---- coordinates ----

    /// All coordinates, by node.
    pub fn coordinates(&self) -> Vec<CoordinateRow> {
        self.coordinates
            .iter()
            .filter_map(|(node, c)| self.coordinate_row(node, c))
            .collect()
    }

    /// The coordinate of a node.
    pub fn coordinate(&self, node: &str) -> Option<&Arc<Coordinate>> {
        self.coordinates.get(&fold(node))
    }

    /// The coordinate of a node as the API shows it.
    pub fn coordinate_of(&self, node: &str) -> Option<CoordinateRow> {
        let node = fold(node);
        self.coordinate_row(&node, self.coordinates.get(&node)?)
    }

    fn coordinate_row(&self, node: &Str, coord: &Coordinate) -> Option<CoordinateRow> {
        let name = self.nodes.get(node)?.node.clone();
        Some(CoordinateRow {
            node: name,
            segment: Str::new(),
            coord: coord.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fold_as_consul_compares_them() {
        assert_eq!(fold("Web-1"), "web-1");
        assert_eq!(fold("\u{dc}ber"), "\u{fc}ber");
    }
}
