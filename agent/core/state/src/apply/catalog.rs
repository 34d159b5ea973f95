//! Registering and deregistering nodes, services and checks.

use super::Step;
use crate::command::Outcome;
use crate::view::{NameRow, fold};
use crate::watch::WatchKey;
use lictor_wire::{DeregisterRequest, HealthCheck, Node, NodeService, RegisterRequest, ServiceAddress, Status, Str};
use std::sync::Arc;

/// The check that the leader keeps for each member.
const SERF_HEALTH: &str = "serfhealth";

impl Step<'_> {
    /// Registers all of a request or nothing of it.
    pub(super) fn register(&mut self, r: &RegisterRequest) -> Outcome {
        let before = self.v.clone();
        let mark = self.changes.clone();
        match self.try_register(r) {
            Ok(()) => Outcome::Done,
            Err(text) => {
                let index = self.v.index;
                *self.v = before;
                self.v.index = index;
                *self.changes = mark;
                Outcome::Refused(text)
            }
        }
    }

    fn try_register(&mut self, r: &RegisterRequest) -> Result<(), String> {
        let key = fold(&r.node);
        let known = self.v.nodes.contains_key(&key);
        if !r.skip_node_update || !known {
            self.put_node(r)?;
        }
        if let Some(service) = &r.service {
            self.put_service(&key, service);
        }
        for check in r.check.as_deref().into_iter().chain(&r.checks) {
            self.put_check(&key, check)?;
        }
        Ok(())
    }

    fn put_node(&mut self, r: &RegisterRequest) -> Result<(), String> {
        let key = fold(&r.node);
        let id = fold(&r.id);
        let mut known = None;
        if !id.is_empty() {
            match self.v.node_ids.get(&id).cloned() {
                Some(name) if name != key => {
                    self.name_is_free(r, false)
                        .map_err(|e| format!("Error while renaming Node ID: \"{}\" ({}): {e}", r.id, r.address))?;
                    known = self.v.nodes.get(&name).cloned();
                    self.remove_node(&name);
                }
                Some(name) => known = self.v.nodes.get(&name).cloned(),
                None => self.name_is_free(r, true).map_err(|e| format!("Error while renaming Node ID: \"{}\": {e}", r.id))?,
            }
        }
        let known = known.or_else(|| self.v.nodes.get(&key).cloned());
        let mut row = Node {
            id: id.clone(),
            node: r.node.clone(),
            address: r.address.clone(),
            datacenter: r.datacenter.clone(),
            tagged_addresses: r.tagged_addresses.clone(),
            meta: r.node_meta.clone(),
            create_index: self.index,
            modify_index: self.index,
        };
        if let Some(known) = known {
            row.create_index = known.create_index;
            row.modify_index = known.modify_index;
            if *known == row && self.v.nodes.contains_key(&key) {
                return Ok(());
            }
            row.modify_index = self.index;
            if known.id != id {
                self.v.node_ids.remove(&known.id);
            }
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
    fn name_is_free(&self, r: &RegisterRequest, clash_without_id: bool) -> Result<(), String> {
        let key = fold(&r.node);
        let Some(other) = self.v.nodes.get(&key) else { return Ok(()) };
        if other.id == fold(&r.id) {
            return Ok(());
        }
        let serf = self.v.checks.get(&(key, Str::from(SERF_HEALTH)));
        if serf.is_none_or(|check| check.status == Status::Critical) || (other.id.is_empty() && clash_without_id) {
            return Ok(());
        }
        Err(format!("Node name {} is reserved by node {} with name {} ({})", r.node, other.id, other.node, other.address))
    }

    fn put_service(&mut self, node: &Str, given: &NodeService) {
        let id = fold(&given.id);
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
                return;
            }
            row.create_index = known.create_index;
            if fold(&known.service) != fold(&row.service) {
                self.unlink_service(node, &id, known);
            } else {
                self.unlink_connect(node, &id, known);
            }
        }
        let name = fold(&row.service);
        if self.v.instances.insert((name.clone(), node.clone(), id.clone())).is_none() {
            let instances = self.v.names.get(&name).map_or(0, |row| row.instances) + 1;
            self.v.names.insert(name.clone(), NameRow { name: row.service.clone(), index: self.index, instances });
        }
        for destination in connect_names(&row) {
            self.v.connect.insert((destination.clone(), node.clone(), id.clone()));
            self.changes.touch(WatchKey::Connect(destination));
        }
        self.v.services.insert(place, Arc::new(row));
        self.service_written(node, &name);
    }

    /// A proxy and a native instance get a mesh address for the service they stand for: the
    /// first free one of 240.0.0.0/4, kept for good.
    fn give_virtual_ip(&mut self, row: &mut NodeService) {
        let Some(name) = connect_names(row).into_iter().next() else { return };
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
        tagged.insert("consul-virtual".into(), ServiceAddress { address: Str::from(ip.to_string()), port: row.port });
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
        let destinations: Vec<Str> = self.v.services_of(node).flat_map(|s| connect_names(s)).collect();
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

    fn put_check(&mut self, node: &Str, given: &HealthCheck) -> Result<(), String> {
        let id = fold(&given.check_id);
        let mut row = given.clone();
        row.node = self.v.nodes.get(node).map_or_else(|| node.clone(), |n| n.node.clone());
        row.create_index = self.index;
        row.modify_index = self.index;
        let service_id = fold(&row.service_id);
        if !service_id.is_empty() {
            let Some(service) = self.v.services.get(&(node.clone(), service_id.clone())) else {
                return Err(format!("Unknown service ID '{}' for check ID '{}'", row.service_id, row.check_id));
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
                self.v.check_owners.remove(&(node.clone(), owner, id.clone()));
                self.check_touched(node, known, false);
            }
            self.changes.touch(WatchKey::ChecksInState(known.status.as_str().into()));
        }
        let ends_sessions = row.status == Status::Critical;
        let row = Arc::new(row);
        self.v.check_owners.insert((node.clone(), service_id, id.clone()));
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
        self.changes.touch(WatchKey::ChecksInState(check.status.as_str().into()));
        self.changes.touch(WatchKey::NodeChecks(node.clone()));
        if check.service_id.is_empty() {
            self.touch_services_of(node, false);
            if removed {
                // Consul moves the service table with it.
                self.v.tables.services = self.index;
            }
        } else {
            let name = fold(&check.service_name);
            self.move_name(&name);
            self.changes.touch(WatchKey::ServiceChecks(name.clone()));
            let destinations = self
                .v
                .services
                .get(&(node.clone(), fold(&check.service_id)))
                .map(|s| connect_names(s))
                .unwrap_or_default();
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

    fn remove_check(&mut self, node: &Str, id: &Str) {
        let Some(check) = self.v.checks.remove(&(node.clone(), id.clone())) else { return };
        self.v.check_owners.remove(&(node.clone(), fold(&check.service_id), id.clone()));
        self.check_touched(node, &check, true);
        self.end_sessions_of_check(node, id);
    }

    fn remove_service(&mut self, node: &Str, id: &Str) {
        let Some(service) = self.v.services.get(&(node.clone(), id.clone())).cloned() else { return };
        for check in self.v.checks_of_instance(node, id) {
            self.remove_check(node, &fold(&check.check_id));
        }
        self.v.services.remove(&(node.clone(), id.clone()));
        self.unlink_service(node, id, &service);
        self.service_written(node, &fold(&service.service));
    }

    /// Takes an instance out of the lists by name. The last one leaves the mark of extinction.
    fn unlink_service(&mut self, node: &Str, id: &Str, service: &NodeService) {
        let name = fold(&service.service);
        self.unlink_connect(node, id, service);
        if self.v.instances.remove(&(name.clone(), node.clone(), id.clone())).is_none() {
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

    fn unlink_connect(&mut self, node: &Str, id: &Str, service: &NodeService) {
        for destination in connect_names(service) {
            self.v.connect.remove(&(destination.clone(), node.clone(), id.clone()));
            self.changes.touch(WatchKey::Connect(destination));
        }
    }

    pub(super) fn remove_node(&mut self, node: &Str) {
        let Some(row) = self.v.nodes.get(node).cloned() else { return };
        let services: Vec<Str> = self.v.services_of(node).map(|s| fold(&s.id)).collect();
        for id in services {
            self.remove_service(node, &id);
        }
        let checks: Vec<Str> = self.v.checks_of_node(node).map(|c| fold(&c.check_id)).collect();
        for id in checks {
            self.remove_check(node, &id);
        }
        let sessions: Vec<Str> = self.v.sessions_of_node(node).map(|s| s.id.clone()).collect();
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
