//! The instances of services as records need them, kept while the catalog says the same.

use crate::rows::{Address, Filter, NodeRow, Rows};
use crate::zone::Zone;
use lictor_state::View;
use lictor_wire::Str;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// Instances kept at most; beyond that all are forgotten and read again as they are asked for.
const MOST_ENDPOINTS: usize = 100_000;
/// Services and pairs of service and tag kept at most.
const MOST_ENTRIES: usize = 10_000;

/// What was read for one service and tag.
struct Entry {
    epoch: u64,
    /// The index of the service's health.
    health: u64,
    /// The newest view for which that was so.
    seen: AtomicU64,
    rows: Arc<Rows>,
}

#[derive(Default)]
struct Kept {
    entries: HashMap<Box<[u8]>, Arc<Entry>>,
    endpoints: usize,
}

/// What the catalog knows by address.
struct Reverse {
    epoch: u64,
    index: (u64, u64),
    nodes: HashMap<IpAddr, Str>,
    services: HashMap<IpAddr, Str>,
}

/// Derived from a view and the settings; made anew when the settings change.
#[derive(Default)]
pub(crate) struct Cache {
    kept: RwLock<Kept>,
    reverse: Mutex<Option<Arc<Reverse>>>,
}

impl Cache {
    /// The instances of a service (its name and tag in lower case) that may be answered with.
    pub(crate) fn service(
        &self,
        view: &View,
        zone: &Zone,
        name: &str,
        tag: Option<&str>,
    ) -> Arc<Rows> {
        let mut room = [0u8; 512];
        let Some(key) = key(&mut room, name, tag) else {
            return read(view, zone, name, tag);
        };
        let known = self
            .kept
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .entries
            .get(key)
            .cloned();
        if let Some(entry) = &known
            && entry.epoch == view.epoch()
        {
            if entry.seen.load(Ordering::Relaxed) == view.index() {
                return entry.rows.clone();
            }
            if view.has_service(name) && entry.health == view.health_index(name) {
                entry.seen.store(view.index(), Ordering::Relaxed);
                return entry.rows.clone();
            }
        }
        if !view.has_service(name) {
            self.forget(key);
            return Arc::default();
        }
        let rows = read(view, zone, name, tag);
        // Tags are the client's words: those that nobody has would fill the cache.
        if !rows.endpoints.is_empty() || tag.is_none() {
            let entry = Entry {
                epoch: view.epoch(),
                health: view.health_index(name),
                seen: AtomicU64::new(view.index()),
                rows: rows.clone(),
            };
            self.keep(key, entry);
        } else {
            self.forget(key);
        }
        rows
    }

    fn keep(&self, key: &[u8], entry: Entry) {
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        let new = entry.rows.endpoints.len();
        if kept.endpoints + new > MOST_ENDPOINTS || kept.entries.len() >= MOST_ENTRIES {
            *kept = Kept::default();
        }
        let old = kept.entries.insert(key.into(), Arc::new(entry));
        kept.endpoints += new;
        kept.endpoints -= old.map_or(0, |old| old.rows.endpoints.len());
    }

    fn forget(&self, key: &[u8]) {
        let known = self
            .kept
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .entries
            .contains_key(key);
        if known {
            let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
            let old = kept.entries.remove(key);
            kept.endpoints -= old.map_or(0, |old| old.rows.endpoints.len());
        }
    }

    /// The node with that address, else the service with it.
    pub(crate) fn named(&self, view: &View, ip: IpAddr) -> (Option<Str>, Option<Str>) {
        let tables = view.tables();
        let index = (tables.nodes, tables.services);
        let known = self
            .reverse
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let reverse = match known.filter(|r| r.epoch == view.epoch() && r.index == index) {
            Some(reverse) => reverse,
            None => {
                let reverse = Arc::new(Reverse::read(view, index));
                *self.reverse.lock().unwrap_or_else(PoisonError::into_inner) =
                    Some(reverse.clone());
                reverse
            }
        };
        (
            reverse.nodes.get(&ip).cloned(),
            reverse.services.get(&ip).cloned(),
        )
    }
}

impl Reverse {
    fn read(view: &View, index: (u64, u64)) -> Reverse {
        let mut reverse = Reverse {
            epoch: view.epoch(),
            index,
            nodes: HashMap::new(),
            services: HashMap::new(),
        };
        for node in view.nodes() {
            if let Address::Ip(ip) = Address::parse(&node.address) {
                reverse.nodes.entry(ip).or_insert_with(|| node.node.clone());
            }
        }
        for row in view.all_instances() {
            if let Address::Ip(ip) = Address::parse(&row.service.address) {
                reverse
                    .services
                    .entry(ip)
                    .or_insert_with(|| row.service.service.clone());
            }
        }
        reverse
    }
}

/// Name and tag as one key, with a byte between them that stands in no text; nothing if they are
/// longer than any name in DNS.
fn key<'b>(room: &'b mut [u8; 512], name: &str, tag: Option<&str>) -> Option<&'b [u8]> {
    let tag = tag.unwrap_or_default();
    let length = name.len() + 1 + tag.len();
    let out = room.get_mut(..length)?;
    out[..name.len()].copy_from_slice(name.as_bytes());
    out[name.len()] = 0xff;
    out[name.len() + 1..].copy_from_slice(tag.as_bytes());
    Some(out)
}

fn read(view: &View, zone: &Zone, name: &str, tag: Option<&str>) -> Arc<Rows> {
    Arc::new(Rows::new(&view.health(name), filter(zone, tag)))
}

/// The filter of the settings, for this datacenter.
pub(crate) fn filter<'a>(zone: &'a Zone, tag: Option<&'a str>) -> Filter<'a> {
    let settings = &zone.settings;
    Filter {
        tag,
        only_passing: settings.only_passing,
        datacenter: &settings.datacenter,
        wan: false,
    }
}

/// A node by its name in lower case.
pub(crate) fn node(view: &View, name: &str) -> Option<NodeRow> {
    view.node(name).map(|node| NodeRow::new(node, false))
}

/// The mesh address of a service: what its first stand-in carries.
pub(crate) fn virtual_ip(view: &View, name: &str) -> Option<IpAddr> {
    view.connect_instances(name).iter().find_map(|row| {
        let tagged = row
            .service
            .tagged_addresses
            .as_deref()?
            .get("consul-virtual")?;
        tagged.address.parse().ok()
    })
}
