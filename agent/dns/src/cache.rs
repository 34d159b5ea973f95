//! The instances of services as records need them, kept while the catalog says the same.
//!
//! To read thousands of instances takes milliseconds, and a service of that size changes all the
//! time. Its rows are kept for a moment longer, so that reading them again after each change
//! takes no more than a part of the time; where stale answers are not allowed, they are not.

use crate::rows::{Address, Filter, NodeRow, Rows};
use crate::zone::Zone;
use lictor_state::View;
use lictor_wire::Str;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

/// Instances kept at most; beyond that all are forgotten and read again as they are asked for.
const MOST_ENDPOINTS: usize = 100_000;
/// Services kept at most.
const MOST_SERVICES: usize = 10_000;

/// Instances of a service that is worth the moment.
const LARGE: usize = 512;
/// The moment: so many times what the reading took.
const MOMENT: u32 = 8;
/// The longest moment.
const LONGEST_MOMENT: Duration = Duration::from_millis(200);

/// How long the rows of a service may outlive a change, by the number of its instances and the
/// time it took to read them.
fn moment(instances: usize, cost: Duration) -> Option<Duration> {
    (instances >= LARGE).then(|| (cost * MOMENT).min(LONGEST_MOMENT))
}

/// What was read for one service.
struct Entry {
    epoch: u64,
    /// The index of the service's health.
    health: u64,
    /// The newest view for which that was so.
    seen: AtomicU64,
    /// Until when changes may wait.
    settled_until: Option<Instant>,
    rows: Arc<Rows>,
    /// Those of the rows that have a tag.
    tagged: RwLock<Kept<Arc<Rows>>>,
}

impl Entry {
    fn read(view: &View, zone: &Zone, name: &str) -> Entry {
        let start = Instant::now();
        let found = view.health(name);
        let rows = Arc::new(Rows::new(&found, filter(zone, None)));
        let moment = moment(found.len(), start.elapsed()).filter(|_| zone.settings.allow_stale);
        Entry {
            epoch: view.epoch(),
            health: view.health_index(name),
            seen: AtomicU64::new(view.index()),
            settled_until: moment.map(|moment| Instant::now() + moment),
            rows,
            tagged: RwLock::default(),
        }
    }

    fn counts_for(&self, view: &View, name: &str) -> bool {
        if self.epoch != view.epoch() {
            return false;
        }
        if self.seen.load(Ordering::Relaxed) == view.index() {
            return true;
        }
        if view.has_service(name) && self.health == view.health_index(name) {
            self.seen.store(view.index(), Ordering::Relaxed);
            return true;
        }
        self.settled_until
            .is_some_and(|until| Instant::now() < until)
    }

    fn with_tag(&self, tag: &str) -> Arc<Rows> {
        if let Some(rows) = self
            .tagged
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(tag)
        {
            return rows.clone();
        }
        let rows = Arc::new(self.rows.with_tag(tag));
        // Tags are the client's words: those that nobody has would fill the cache.
        if !rows.endpoints.is_empty() {
            let most = self.rows.endpoints.len() * 4 + 1000;
            let mut tagged = self.tagged.write().unwrap_or_else(PoisonError::into_inner);
            tagged.put(tag, rows.clone(), rows.endpoints.len(), most, usize::MAX);
        }
        rows
    }
}

/// A bounded map that forgets everything when it is full.
struct Kept<T> {
    entries: HashMap<Box<str>, (T, usize)>,
    weight: usize,
}

impl<T> Default for Kept<T> {
    fn default() -> Kept<T> {
        Kept {
            entries: HashMap::new(),
            weight: 0,
        }
    }
}

impl<T> Kept<T> {
    fn get(&self, name: &str) -> Option<&T> {
        self.entries.get(name).map(|(item, _)| item)
    }

    fn put(&mut self, name: &str, item: T, weight: usize, most: usize, most_entries: usize) {
        self.remove(name);
        if self.weight + weight > most || self.entries.len() >= most_entries {
            *self = Kept::default();
        }
        self.weight += weight;
        self.entries.insert(name.into(), (item, weight));
    }

    fn remove(&mut self, name: &str) {
        if let Some((_, weight)) = self.entries.remove(name) {
            self.weight -= weight;
        }
    }
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
    services: RwLock<Kept<Arc<Entry>>>,
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
        match (self.entry(view, zone, name), tag) {
            (None, _) => Arc::default(),
            (Some(entry), None) => entry.rows.clone(),
            (Some(entry), Some(tag)) => entry.with_tag(tag),
        }
    }

    fn entry(&self, view: &View, zone: &Zone, name: &str) -> Option<Arc<Entry>> {
        let known = self
            .services
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(name)
            .cloned();
        let stale = match known {
            Some(entry) if entry.counts_for(view, name) => return Some(entry),
            known => known.is_some(),
        };
        if !view.has_service(name) {
            if stale {
                self.services
                    .write()
                    .unwrap_or_else(PoisonError::into_inner)
                    .remove(name);
            }
            return None;
        }
        let entry = Arc::new(Entry::read(view, zone, name));
        let weight = entry.rows.endpoints.len();
        let mut services = self
            .services
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        services.put(name, entry.clone(), weight, MOST_ENDPOINTS, MOST_SERVICES);
        Some(entry)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;
    use lictor_state::{Changes, Command, Entry as Change, State};
    use lictor_wire::{NodeService, RegisterRequest};

    fn register(state: &mut State, name: &str, at: usize, tags: &[&str]) {
        let service = NodeService {
            id: name.into(),
            service: name.into(),
            tags: tags.iter().map(|t| Str::from(*t)).collect(),
            ..NodeService::default()
        };
        let request = RegisterRequest {
            node: format!("n{at}").into(),
            address: "10.0.0.1".into(),
            service: Some(Box::new(service)),
            ..RegisterRequest::default()
        };
        let command = Command::Register(Box::new(request));
        state.apply(
            state.index() + 1,
            &Change { at: 0, command },
            &mut Changes::default(),
        );
    }

    fn zone(allow_stale: bool) -> Zone {
        Zone::new(Settings {
            allow_stale,
            ..Settings::default()
        })
        .unwrap()
    }

    #[test]
    fn only_large_services_outlive_changes() {
        let ms = Duration::from_millis;
        assert_eq!(moment(511, ms(5)), None);
        assert_eq!(moment(512, ms(5)), Some(ms(40)));
        assert_eq!(moment(100_000, ms(500)), Some(LONGEST_MOMENT));
    }

    #[test]
    fn a_large_service_catches_up() {
        let mut state = State::default();
        (0..LARGE).for_each(|i| register(&mut state, "big", i, &[]));
        for allow_stale in [false, true] {
            let (cache, zone) = (Cache::default(), zone(allow_stale));
            let count = |view: &View| cache.service(view, &zone, "big", None).endpoints.len();
            let before = count(&state.view());
            register(&mut state, "big", before, &[]);
            let (view, start) = (state.view(), Instant::now());
            assert!(allow_stale || count(&view) == before + 1);
            while count(&view) == before {
                assert!(start.elapsed() < Duration::from_secs(10));
                std::thread::yield_now();
            }
            assert_eq!(count(&view), before + 1);
        }
    }

    #[test]
    fn rows_are_made_once_for_each_state() {
        let mut state = State::default();
        register(&mut state, "web", 1, &["a"]);
        let (cache, zone) = (Cache::default(), zone(true));
        let read = |view: &View, tag| cache.service(view, &zone, "web", tag);
        let (all, tagged) = (read(&state.view(), None), read(&state.view(), Some("a")));
        register(&mut state, "db", 1, &[]);
        assert!(Arc::ptr_eq(&all, &read(&state.view(), None)));
        assert!(Arc::ptr_eq(&tagged, &read(&state.view(), Some("a"))));
        register(&mut state, "web", 2, &["a"]);
        assert_eq!(read(&state.view(), Some("a")).endpoints.len(), 2);
        assert_eq!(read(&state.view(), Some("b")).endpoints.len(), 0);
        let entry = cache.entry(&state.view(), &zone, "web").unwrap();
        assert_eq!(entry.tagged.read().unwrap().entries.len(), 1);
    }

    #[test]
    fn what_is_kept_has_a_bound() {
        let mut kept = Kept::default();
        for name in ["a", "b", "a", "a"] {
            kept.put(name, (), 4, 10, 9);
        }
        assert_eq!((kept.entries.len(), kept.weight), (2, 8));
        kept.put("c", (), 4, 10, 9);
        assert_eq!((kept.entries.len(), kept.weight), (1, 4));
        for name in ["d", "e"] {
            kept.put(name, (), 0, 10, 2);
        }
        assert_eq!(kept.entries.len(), 1);
        kept.remove("e");
        assert_eq!((kept.entries.len(), kept.weight), (0, 0));
    }
}
