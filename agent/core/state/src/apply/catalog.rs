//! Registering and deregistering nodes, services and checks.

use super::Step;
use crate::command::Outcome;
use crate::view::{NameRow, fold};
use crate::watch::WatchKey;
use lictor_wire::{
    DeregisterRequest, HealthCheck, Node, NodeService, RegisterRequest, ServiceAddress, Status, Str,
};
use std::sync::Arc;

/// The check that the leader keeps for each member.
const SERF_HEALTH: &str = "serfhealth";

/// Consul's words for a write that hangs on something that is not there.
const MISSING_NODE: &str = "Missing node registration";
const MISSING_SERVICE: &str = "Missing service registration";
/// And for a row without an id.
const NO_KEY: &str = "object missing primary index";

impl Step<'_> {
    /// Registers all of a request or nothing of it.
    pub(super) fn register(&mut self, r: &RegisterRequest) -> Outcome {
        let saved = self.save();
        match self.try_register(r) {
            Ok(()) => Outcome::Done,
            Err(text) => {
                self.undo(saved);
                Outcome::Refused(text)
            }
        }
    }

    fn try_register(&mut self, r: &RegisterRequest) -> Result<(), String> {
        let key = fold(&r.node);
        if !r.skip_node_update || !self.v.nodes.contains_key(&key) {
            let node = Node {
                id: r.id.clone(),
                node: r.node.clone(),
                address: r.address.clone(),
                datacenter: r.datacenter.clone(),
                tagged_addresses: r.tagged_addresses.clone(),
                meta: r.node_meta.clone(),
                ..Node::default()
            };
            self.put_node(&node)
                .map_err(|e| format!("failed inserting node: {e}"))?;
        }
        if let Some(service) = &r.service {
            self.put_service(&key, service)
                .map_err(|e| format!("failed inserting service: {e}"))?;
        }
        for check in r.check.as_deref().into_iter().chain(&r.checks) {
            // Consul looks for this before it registers, and says it in other words than the
            // transaction that writes a check alone.
            if !check.service_id.is_empty()
                && !self
                    .v
                    .services
                    .contains_key(&(key.clone(), fold(&check.service_id)))
            {
                return Err(format!(
                    "Unknown service ID '{}' for check ID '{}'",
                    check.service_id, check.check_id
                ));
            }
            self.put_check(&key, check)?;
        }
        Ok(())
    }

    /// Writes a node's row. A node is known by its id where it has one: under a new name it is
    /// renamed, and what hung on the old name goes.
    pub(super) fn put_node(&mut self, given: &Node) -> Result<(), String> {
        let key = fold(&given.node);
        let id = fold(&given.id);
        let mut known = None;
        if !id.is_empty() {
            match self.v.node_ids.get(&id).cloned() {
                Some(name) if name != key => {
                    self.name_is_free(given, false).map_err(|e| {
                        format!(
                            "Error while renaming Node ID: \"{}\" ({}): {e}",
                            given.id, given.address
                        )
                    })?;
                    known = self.v.nodes.get(&name).cloned();
                    self.remove_node(&name);
                }
                Some(name) => known = self.v.nodes.get(&name).cloned(),
                None => self
                    .name_is_free(given, true)
                    .map_err(|e| format!("Error while renaming Node ID: \"{}\": {e}", given.id))?,
            }
        }
        let present = self.v.nodes.get(&key).cloned();
        let known = known.or_else(|| present.clone());
        let mut row = Node {
            id: id.clone(),
            create_index: self.index,
            modify_index: self.index,
            ..given.clone()
        };
        if let Some(known) = known {
            row.create_index = known.create_index;
            row.modify_index = known.modify_index;
            // The same name in other letters is no change.
            if fold(&known.node) == key
                && *known
                    == (Node {
                        node: known.node.clone(),
                        ..row.clone()
                    })
            {
                return Ok(());
            }
            row.modify_index = self.index;
        }
        // Whoever had this name has it no more, and its id leads nowhere.
        if let Some(present) = present.filter(|p| p.id != id) {
            self.v.node_ids.remove(&present.id);
        }
        if !id.is_empty() {
            self.v.node_ids.insert(id, key.clone());
        }
        self.v.nodes.insert(key.clone(), Arc::new(row));
        self.v.tables.nodes = self.index;
        self.v.node_index.insert(key.clone(), self.index);
        self.changes.touch(WatchKey::Nodes);
        self.changes.touch(WatchKey::Node(key.clone()));
        self.touch_services_of(&key, true);
        Ok(())
    }

    /// Whether a node may take this name: nobody else has it, or whoever has it is known to have
    /// failed (Consul's rule against two machines under one name).
    fn name_is_free(&self, given: &Node, clash_without_id: bool) -> Result<(), String> {
        let key = fold(&given.node);
        let Some(other) = self.v.nodes.get(&key) else {
            return Ok(());
        };
        if other.id == fold(&given.id) {
            return Ok(());
        }
        let serf = self.v.checks.get(&(key, Str::from(SERF_HEALTH)));
        if serf.is_none_or(|check| check.status == Status::Critical)
            || (other.id.is_empty() && clash_without_id)
        {
            return Ok(());
        }
        Err(format!(
            "Node name {} is reserved by node {} with name {} ({})",
            given.node, other.id, other.node, other.address
        ))
    }

    /// Writes an instance of a registered node.
    pub(super) fn put_service(&mut self, node: &Str, given: &NodeService) -> Result<(), String> {
        if !self.v.nodes.contains_key(node) {
            return Err(MISSING_NODE.to_owned());
        }
        let id = fold(&given.id);
        if id.is_empty() {
            return Err(format!("failed inserting service: {NO_KEY}"));
        }
        let place = (node.clone(), id.clone());
        let known = self.v.services.get(&place).cloned();
        let mut row = given.clone();
        if row.weights.passing == 0 && row.weights.warning == 0 {
            row.weights = Default::default();
        }
        row.create_index = self.index;
        row.modify_index = self.index;
        self.give_virtual_ip(&mut row);
        if let Some(known) = &known {
            if known.same_as(&row) {
                return Ok(());
            }
            row.create_index = known.create_index;
            self.unlink_connect(node, &id, known, &connect_names(&row));
            if fold(&known.service) != fold(&row.service) {
                self.unlink_service(node, &id, known);
                self.checks_change_service(node, &id, &fold(&known.service), &fold(&row.service));
            }
        }
        let name = fold(&row.service);
        if self
            .v
            .instances
            .insert((name.clone(), node.clone(), id.clone()))
            .is_none()
        {
            let instances = self.v.names.get(&name).map_or(0, |row| row.instances) + 1;
            self.v.names.insert(
                name.clone(),
                NameRow {
                    name: row.service.clone(),
                    index: self.index,
                    instances,
                },
            );
        }
        for destination in connect_names(&row) {
            self.v
                .connect
                .insert((destination.clone(), node.clone(), id.clone()));
            self.changes.touch(WatchKey::Connect(destination));
        }
        self.v.services.insert(place, Arc::new(row));
        self.service_written(node, &name);
        Ok(())
    }

    /// An instance went over to another service, and its checks with it.
    fn checks_change_service(&mut self, node: &Str, id: &Str, from: &Str, to: &Str) {
        if !self.v.checks_of_instance(node, id).is_empty() {
            self.v.tables.checks = self.index;
            self.changes.touch(WatchKey::ServiceChecks(from.clone()));
            self.changes.touch(WatchKey::ServiceChecks(to.clone()));
        }
    }

    /// A proxy and a native instance get a mesh address for the service they stand for: the
    /// first free one of 240.0.0.0/4, kept for good.
    fn give_virtual_ip(&mut self, row: &mut NodeService) {
        let Some(name) = connect_names(row).into_iter().next() else {
            return;
        };
        let number = match self.v.virtual_ips.get(&name) {
            Some(number) => *number,
            None => {
                let next = self.v.virtual_ips.len() as u32 + 1;
                self.v.virtual_ips.insert(name, next);
                next
            }
        };
        let ip = std::net::Ipv4Addr::from_bits((240 << 24) | number);
        let tagged = row.tagged_addresses.get_or_insert_with(Default::default);
        tagged.insert(
            "consul-virtual".into(),
            ServiceAddress {
                address: Str::from(ip.to_string()),
                port: row.port,
            },
        );
    }

    /// Moves the indexes that a written instance moves, and wakes who watches it.
    fn service_written(&mut self, node: &Str, name: &Str) {
        self.v.tables.services = self.index;
        self.v.tables.nodes = self.index;
        self.v.node_index.insert(node.clone(), self.index);
        self.move_name(name);
        self.changes.touch(WatchKey::Services);
        self.changes.touch(WatchKey::Node(node.clone()));
        self.changes.touch(WatchKey::Service(name.clone()));
        self.changes.touch(WatchKey::ServiceHealth(name.clone()));
    }

    fn move_name(&mut self, name: &Str) {
        if let Some(row) = self.v.names.get_mut(name) {
            row.index = self.index;
        }
    }

    /// A node or a check of the node changed: the health of all its instances with it.
    fn touch_services_of(&mut self, node: &Str, rows: bool) {
        let mut names: Vec<Str> = self.v.services_of(node).map(|s| fold(&s.service)).collect();
        names.sort_unstable();
        names.dedup();
        let destinations: Vec<Str> = self
            .v
            .services_of(node)
            .flat_map(|s| connect_names(s))
            .collect();
        for name in names {
            self.move_name(&name);
            if rows {
                self.changes.touch(WatchKey::Service(name.clone()));
            }
            self.changes.touch(WatchKey::ServiceHealth(name));
        }
        for destination in destinations {
            self.changes.touch(WatchKey::Connect(destination));
        }
    }

    /// Writes a check of a registered node, and perhaps of an instance on it.
    pub(super) fn put_check(&mut self, node: &Str, given: &HealthCheck) -> Result<(), String> {
        let Some(owner) = self.v.nodes.get(node) else {
            return Err(MISSING_NODE.to_owned());
        };
        let id = fold(&given.check_id);
        if id.is_empty() {
            return Err(format!("failed inserting check: {NO_KEY}"));
        }
        let mut row = given.clone();
        row.node = owner.node.clone();
        row.create_index = self.index;
        row.modify_index = self.index;
        let service_id = fold(&row.service_id);
        if !service_id.is_empty() {
            let Some(service) = self.v.services.get(&(node.clone(), service_id.clone())) else {
                return Err(MISSING_SERVICE.to_owned());
            };
            row.service_name = service.service.clone();
            row.service_tags = service.tags.clone();
        } else {
            row.service_name = Str::new();
            row.service_tags = Arc::from([]);
        }
        let place = (node.clone(), id.clone());
        let known = self.v.checks.get(&place).cloned();
        if let Some(known) = &known {
            if known.same_as(&row) {
                return Ok(());
            }
            row.create_index = known.create_index;
            let owner = fold(&known.service_id);
            if owner != service_id {
                self.v
                    .check_owners
                    .remove(&(node.clone(), owner, id.clone()));
                self.check_touched(node, known, false);
            }
            self.changes
                .touch(WatchKey::ChecksInState(known.status.as_str().into()));
        }
        let ends_sessions = row.status == Status::Critical;
        let row = Arc::new(row);
        self.v
            .check_owners
            .insert((node.clone(), service_id, id.clone()));
        self.v.checks.insert(place, row.clone());
        self.v.tables.checks = self.index;
        self.check_touched(node, &row, false);
        if ends_sessions {
            self.end_sessions_of_check(node, &id);
        }
        Ok(())
    }

    /// Moves the indexes and wakes the watchers of a written or removed check.
    fn check_touched(&mut self, node: &Str, check: &HealthCheck, removed: bool) {
        self.v.tables.checks = self.index;
        self.changes.touch(WatchKey::Checks);
        self.changes
            .touch(WatchKey::ChecksInState(check.status.as_str().into()));
        self.changes.touch(WatchKey::NodeChecks(node.clone()));
        if check.service_id.is_empty() {
            self.touch_services_of(node, false);
            if removed {
                // Consul moves the service table with it.
                self.v.tables.services = self.index;
            }
        } else {
            // The row says which service its instance was of when it was written: the instance
            // may have gone over to another one since.
            let service = self
                .v
                .services
                .get(&(node.clone(), fold(&check.service_id)));
            let name = service.map_or_else(|| fold(&check.service_name), |s| fold(&s.service));
            let destinations = service.map(|s| connect_names(s)).unwrap_or_default();
            self.move_name(&name);
            self.changes.touch(WatchKey::ServiceChecks(name.clone()));
            for destination in destinations {
                self.changes.touch(WatchKey::Connect(destination));
            }
            self.changes.touch(WatchKey::ServiceHealth(name));
        }
    }

    pub(super) fn deregister(&mut self, r: &DeregisterRequest) -> Outcome {
        let node = fold(&r.node);
        if !r.service_id.is_empty() {
            self.remove_service(&node, &fold(&r.service_id));
        } else if !r.check_id.is_empty() {
            self.remove_check(&node, &fold(&r.check_id));
        } else {
            self.remove_node(&node);
        }
        Outcome::Done
    }

    pub(super) fn remove_check(&mut self, node: &Str, id: &Str) {
        let Some(check) = self.v.checks.remove(&(node.clone(), id.clone())) else {
            return;
        };
        self.v
            .check_owners
            .remove(&(node.clone(), fold(&check.service_id), id.clone()));
        self.check_touched(node, &check, true);
        self.end_sessions_of_check(node, id);
    }

    pub(super) fn remove_service(&mut self, node: &Str, id: &Str) {
        let Some(service) = self.v.services.get(&(node.clone(), id.clone())).cloned() else {
            return;
        };
        for check in self.v.checks_of_instance(node, id) {
            self.remove_check(node, &fold(&check.check_id));
        }
        self.v.services.remove(&(node.clone(), id.clone()));
        self.unlink_connect(node, id, &service, &[]);
        self.unlink_service(node, id, &service);
        // Consul moves the table of checks even where the instance had none.
        self.v.tables.checks = self.index;
        self.service_written(node, &fold(&service.service));
    }

    /// Takes an instance out of the lists by name. The last one leaves the mark of extinction.
    fn unlink_service(&mut self, node: &Str, id: &Str, service: &NodeService) {
        let name = fold(&service.service);
        if self
            .v
            .instances
            .remove(&(name.clone(), node.clone(), id.clone()))
            .is_none()
        {
            return;
        }
        match self.v.names.get_mut(&name) {
            Some(row) if row.instances > 1 => {
                row.instances -= 1;
                row.index = self.index;
            }
            _ => {
                self.v.names.remove(&name);
                self.v.tables.service_extinction = self.index;
            }
        }
        self.changes.touch(WatchKey::Service(name.clone()));
        self.changes.touch(WatchKey::ServiceHealth(name));
    }

    /// Takes an instance out of what it stands for in the mesh, but for what it goes on to.
    fn unlink_connect(&mut self, node: &Str, id: &Str, service: &NodeService, goes_on: &[Str]) {
        for destination in connect_names(service)
            .into_iter()
            .filter(|d| !goes_on.contains(d))
        {
            self.v
                .connect
                .remove(&(destination.clone(), node.clone(), id.clone()));
            self.v.tables.connect_removal = self.index;
            self.changes.touch(WatchKey::Connect(destination));
        }
    }

    pub(super) fn remove_node(&mut self, node: &Str) {
        let Some(row) = self.v.nodes.get(node).cloned() else {
            return;
        };
        let services: Vec<Str> = self.v.services_of(node).map(|s| fold(&s.id)).collect();
        for id in services {
            self.remove_service(node, &id);
        }
        let checks: Vec<Str> = self
            .v
            .checks_of_node(node)
            .map(|c| fold(&c.check_id))
            .collect();
        for id in checks {
            self.remove_check(node, &id);
        }
        let sessions: Vec<Str> = self
            .v
            .sessions_of_node(node)
            .map(|s| s.id.clone())
            .collect();
        for id in sessions {
            self.end_session(&id);
        }
        if self.v.coordinates.remove(node).is_some() {
            self.v.tables.coordinates = self.index;
            self.changes.touch(WatchKey::Coordinates);
            self.changes.touch(WatchKey::NodeCoordinate(node.clone()));
        }
        self.v.nodes.remove(node);
        self.v.node_index.remove(node);
        if !row.id.is_empty() {
            self.v.node_ids.remove(&row.id);
        }
        self.v.tables.nodes = self.index;
        self.v.tables.node_extinction = self.index;
        self.changes.touch(WatchKey::Nodes);
        self.changes.touch(WatchKey::Node(node.clone()));
    }
}

/// The services that an instance stands for in the mesh.
fn connect_names(service: &NodeService) -> Vec<Str> {
    if service.kind == "connect-proxy" {
        service.proxy_destination().map(fold).into_iter().collect()
    } else if service.connect_native() {
        vec![fold(&service.service)]
    } else {
        Vec::new()
    }
}
