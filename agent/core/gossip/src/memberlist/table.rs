//! The table of nodes, with everything that is asked of it per tick in constant time.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::suspicion::Suspicion;
use crate::msgpack::RawIp;
use crate::packet::message::Versions;
use crate::random::Rng;
use crate::time::Time;

/// A place in the table.
pub type NodeId = u32;

/// What memberlist thinks of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It answers.
    Alive,
    /// It did not answer somebody; it has time to object.
    Suspect,
    /// It did not object.
    Dead,
    /// It said goodbye.
    Left,
}

impl State {
    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Alive => 0,
            Self::Suspect => 1,
            Self::Dead => 2,
            Self::Left => 3,
        }
    }

    /// Alive or suspect: to be probed, gossiped to and counted on.
    #[must_use]
    pub const fn is_live(self) -> bool {
        matches!(self, Self::Alive | Self::Suspect)
    }
}

/// One node.
#[derive(Clone, Debug)]
pub struct Node {
    /// Unique in the pool.
    pub name: Arc<str>,
    /// Address as received.
    pub ip: RawIp,
    /// Port as received.
    pub port: u16,
    /// Tags as received.
    pub meta: Arc<[u8]>,
    /// Protocol versions.
    pub versions: Versions,
    /// Which of its lives this is.
    pub incarnation: u32,
    /// What we think of it.
    pub state: State,
    /// Since when.
    pub changed: Time,
    pub(super) suspicion: Option<Box<Suspicion>>,
    /// Where it stands in the dense list of its state.
    place: usize,
}

impl Node {
    /// Where to send to; port 0 stands for our own port.
    #[must_use]
    pub fn addr(&self, own_port: u16) -> Option<SocketAddr> {
        let port = if self.port == 0 { own_port } else { self.port };
        Some(SocketAddr::new(self.ip.ip()?, port))
    }
}

/// What a new node begins with.
pub struct NewNode {
    pub name: Arc<str>,
    pub ip: RawIp,
    pub port: u16,
    pub meta: Arc<[u8]>,
    pub versions: Versions,
    pub incarnation: u32,
}

/// All nodes, the own one included.
#[derive(Debug)]
pub struct Table {
    slots: Vec<Option<Node>>,
    free: Vec<NodeId>,
    by_name: BTreeMap<Arc<str>, NodeId>,
    /// Live nodes without the own one. Those before `cursor` were probed in this cycle.
    live: Vec<NodeId>,
    cursor: usize,
    /// Nodes that died lately: some may be dead for too long already, and are dropped when met.
    dead: Vec<NodeId>,
    /// Dead and left nodes by the time of it.
    by_death: BTreeSet<(Time, NodeId)>,
    own: Option<NodeId>,
    suspects: usize,
}

/// Not in a dense list.
const NOWHERE: usize = usize::MAX;

impl Table {
    pub fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            by_name: BTreeMap::new(),
            live: Vec::new(),
            cursor: 0,
            dead: Vec::new(),
            by_death: BTreeSet::new(),
            own: None,
            suspects: 0,
        }
    }

    /// Nodes in any state.
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Live nodes without the own one.
    pub fn live_others(&self) -> usize {
        self.live.len()
    }

    /// Live nodes, the own one included while it lives.
    pub fn live_count(&self) -> usize {
        self.live.len() + usize::from(self.own().is_some_and(|node| node.state.is_live()))
    }

    /// Suspect nodes.
    pub fn suspects(&self) -> usize {
        self.suspects
    }

    pub fn id(&self, name: &str) -> Option<NodeId> {
        self.by_name.get(name).copied()
    }

    pub fn get(&self, id: NodeId) -> Option<&Node> {
        self.slots.get(id as usize)?.as_ref()
    }

    /// Everything but the state, which changes by [`Table::set_state`] alone.
    pub fn get_mut(&mut self, id: NodeId) -> Option<&mut Node> {
        self.slots.get_mut(id as usize)?.as_mut()
    }

    pub fn own(&self) -> Option<&Node> {
        self.get(self.own?)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Node> + Clone {
        self.by_name.values().filter_map(|id| self.get(*id))
    }

    /// Adds a live node.
    pub fn insert(&mut self, new: NewNode, own: bool, now: Time) -> NodeId {
        let id = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            NodeId::try_from(self.slots.len() - 1).unwrap_or(NodeId::MAX)
        });
        let NewNode {
            name,
            ip,
            port,
            meta,
            versions,
            incarnation,
        } = new;
        self.by_name.insert(name.clone(), id);
        let node = Node {
            name,
            ip,
            port,
            meta,
            versions,
            incarnation,
            state: State::Alive,
            changed: now,
            suspicion: None,
            place: NOWHERE,
        };
        self.slots[id as usize] = Some(node);
        if own {
            self.own = Some(id);
        } else {
            self.enter_live(id);
        }
        id
    }

    /// Makes room for exactly so many more nodes.
    #[cfg(any(test, feature = "sim"))]
    pub fn reserve(&mut self, more: usize) {
        self.slots.reserve_exact(more);
        self.live.reserve_exact(more);
    }

    fn set_place(&mut self, id: NodeId, place: usize) {
        if let Some(node) = self.get_mut(id) {
            node.place = place;
        }
    }

    fn enter_live(&mut self, id: NodeId) {
        // At the end: still to be probed in this cycle, and the next one is drawn from all of them.
        self.set_place(id, self.live.len());
        self.live.push(id);
    }

    fn leave_live(&mut self, place: usize) {
        let mut hole = place;
        if hole < self.cursor {
            // Keep the probed ones together: the last of them fills the hole.
            self.cursor -= 1;
            let moved = self.live[self.cursor];
            self.live[hole] = moved;
            self.set_place(moved, hole);
            hole = self.cursor;
        }
        self.live.swap_remove(hole);
        if let Some(&moved) = self.live.get(hole) {
            self.set_place(moved, hole);
        }
    }

    fn leave_dead(&mut self, place: usize) {
        self.dead.swap_remove(place);
        if let Some(&moved) = self.dead.get(place) {
            self.set_place(moved, place);
        }
    }

    /// Changes a node's state and keeps all lists right.
    pub fn set_state(&mut self, id: NodeId, state: State, now: Time) {
        let own = self.own == Some(id);
        let Some(node) = self.get(id) else { return };
        let (old, place, changed) = (node.state, node.place, node.changed);
        if old == state {
            return;
        }
        self.suspects -= usize::from(old == State::Suspect);
        self.suspects += usize::from(state == State::Suspect);
        if !old.is_live() {
            self.by_death.remove(&(changed, id));
        }
        if !own {
            if old.is_live() && !state.is_live() {
                self.leave_live(place);
                self.set_place(id, NOWHERE);
            }
            if old == State::Dead && place != NOWHERE {
                self.leave_dead(place);
                self.set_place(id, NOWHERE);
            }
            if state == State::Dead {
                self.set_place(id, self.dead.len());
                self.dead.push(id);
            }
            if !old.is_live() && state.is_live() {
                self.enter_live(id);
            }
        }
        if !state.is_live() && !own {
            self.by_death.insert((now, id));
        }
        if let Some(node) = self.get_mut(id) {
            node.state = state;
            node.changed = now;
        }
    }

    /// Forgets one node that is dead or left since `horizon` or longer.
    pub fn reap_one(&mut self, horizon: Time) -> bool {
        let Some(&(changed, id)) = self.by_death.first() else {
            return false;
        };
        if changed > horizon {
            return false;
        }
        self.by_death.remove(&(changed, id));
        let Some(node) = self.slots[id as usize].take() else {
            return false;
        };
        if node.state == State::Dead && node.place != NOWHERE {
            self.leave_dead(node.place);
        }
        self.by_name.remove(&node.name);
        self.free.push(id);
        true
    }

    /// The next node to probe, in random order, each once a cycle; and whether a cycle ended.
    pub fn next_probe(&mut self, rng: &mut Rng) -> (Option<NodeId>, bool) {
        let wrapped = self.cursor >= self.live.len();
        if wrapped {
            self.cursor = 0;
        }
        let left = self.live.len() - self.cursor;
        if left == 0 {
            return (None, wrapped);
        }
        // One step of a shuffle at a time, so that no tick costs more than another.
        let pick = self.cursor + rng.below(left);
        self.live.swap(self.cursor, pick);
        self.set_place(self.live[self.cursor], self.cursor);
        self.set_place(self.live[pick], pick);
        self.cursor += 1;
        (Some(self.live[self.cursor - 1]), wrapped)
    }

    /// Up to `count` different alive nodes, not the own one, not `except`.
    pub fn random_alive(&self, rng: &mut Rng, count: usize, except: Option<NodeId>) -> Vec<NodeId> {
        let mut out = Vec::with_capacity(count);
        // A few tries more than wanted; in a small or sick pool fewer are found.
        for _ in 0..3 * count + 8 {
            if out.len() >= count || self.live.is_empty() {
                break;
            }
            let id = self.live[rng.below(self.live.len())];
            if Some(id) != except
                && !out.contains(&id)
                && self.get(id).is_some_and(|node| node.state == State::Alive)
            {
                out.push(id);
            }
        }
        out
    }

    /// Up to `count` different nodes to gossip to: live, or dead for less than `dead_for`.
    pub fn random_gossip(
        &mut self,
        rng: &mut Rng,
        count: usize,
        dead_for: Duration,
        now: Time,
    ) -> Vec<NodeId> {
        let mut out = Vec::with_capacity(count);
        let mut tries = 3 * count + 8;
        while out.len() < count && tries > 0 {
            let total = self.live.len() + self.dead.len();
            if total == 0 {
                break;
            }
            tries -= 1;
            let at = rng.below(total);
            let id = if let Some(at) = at.checked_sub(self.live.len()) {
                let id = self.dead[at];
                if self
                    .get(id)
                    .is_none_or(|node| now.since(node.changed) > dead_for)
                {
                    self.leave_dead(at);
                    self.set_place(id, NOWHERE);
                    continue;
                }
                id
            } else {
                self.live[at]
            };
            if !out.contains(&id) {
                out.push(id);
            }
        }
        out
    }

    /// Panics if the lists contradict each other.
    #[cfg(test)]
    pub fn check(&self) {
        let mut suspects = 0;
        for (name, &id) in &self.by_name {
            let node = self.get(id).expect("a named node exists");
            assert_eq!(*name, node.name);
            suspects += usize::from(node.state == State::Suspect);
            if self.own == Some(id) {
                continue;
            }
            if node.state.is_live() {
                assert_eq!(self.live[node.place], id);
            } else if node.place != NOWHERE {
                assert_eq!(self.dead[node.place], id);
            }
            assert_eq!(
                self.by_death.contains(&(node.changed, id)),
                !node.state.is_live()
            );
        }
        assert_eq!(suspects, self.suspects);
        assert!(self.cursor <= self.live.len());
        assert_eq!(self.slots.iter().flatten().count(), self.by_name.len());
        assert!(self.live.len() + self.dead.len() <= self.by_name.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::proptest;

    fn new(name: &str) -> NewNode {
        NewNode {
            name: name.into(),
            ip: RawIp::V4([127, 0, 0, 1]),
            port: 1,
            meta: Arc::from([]),
            versions: Versions::ours(5),
            incarnation: 1,
        }
    }

    fn table(others: usize) -> Table {
        let mut table = Table::new();
        table.insert(new("own"), true, Time::ZERO);
        for number in 0..others {
            table.insert(new(&format!("n{number}")), false, Time::ZERO);
        }
        table
    }

    #[test]
    fn each_node_is_probed_once_a_cycle() {
        let mut table = table(20);
        let mut rng = Rng::new(1);
        let mut orders = Vec::new();
        for _ in 0..3 {
            let order: Vec<_> = (0..20)
                .map(|_| table.next_probe(&mut rng).0.unwrap())
                .collect();
            let mut sorted = order.clone();
            sorted.sort_unstable();
            sorted.dedup();
            assert_eq!(sorted.len(), 20);
            orders.push(order);
        }
        assert_ne!(orders[0], orders[1]);
    }

    #[test]
    fn a_newcomer_is_probed_in_the_running_cycle() {
        let mut table = table(10);
        let mut rng = Rng::new(1);
        for _ in 0..7 {
            table.next_probe(&mut rng);
        }
        let id = table.insert(new("late"), false, Time::ZERO);
        assert!((0..4).any(|_| table.next_probe(&mut rng).0 == Some(id)));
    }

    #[test]
    fn gossip_reaches_the_freshly_dead_and_not_the_left() {
        let mut table = table(3);
        let mut rng = Rng::new(1);
        let ids: Vec<_> = (0..3)
            .map(|n| table.id(&format!("n{n}")).unwrap())
            .collect();
        table.set_state(ids[0], State::Dead, Time::from_millis(1000));
        table.set_state(ids[1], State::Left, Time::from_millis(1000));
        let dead_for = Duration::from_secs(30);
        let mut at = |table: &mut Table, millis| {
            let mut found = table.random_gossip(&mut rng, 3, dead_for, Time::from_millis(millis));
            found.sort_unstable();
            found
        };
        assert_eq!(at(&mut table, 2000), [ids[0], ids[2]]);
        assert_eq!(at(&mut table, 32_000), [ids[2]]);
        table.check();
        assert!(!table.reap_one(Time::from_millis(999)));
        assert!(table.reap_one(Time::from_millis(1000)) && table.reap_one(Time::from_millis(1000)));
        assert!(!table.reap_one(Time::MAX));
        assert_eq!(table.len(), 2);
    }

    proptest! {
        #[test]
        fn lists_agree_after_any_changes(steps in proptest::collection::vec((0_usize..12, 0_u8..6), 0..200)) {
            let mut table = table(4);
            let mut rng = Rng::new(9);
            for (at, (number, step)) in steps.into_iter().enumerate() {
                let now = Time::from_millis(at as u64);
                let name = format!("n{number}");
                match (table.id(&name), step) {
                    (None, 0..=3) => { table.insert(new(&name), false, now); }
                    (Some(id), 0) => table.set_state(id, State::Alive, now),
                    (Some(id), 1) => table.set_state(id, State::Suspect, now),
                    (Some(id), 2) => table.set_state(id, State::Dead, now),
                    (Some(id), 3) => table.set_state(id, State::Left, now),
                    (_, 4) => { table.next_probe(&mut rng); }
                    _ => {
                        table.random_gossip(&mut rng, 2, Duration::from_millis(5), now);
                        now.checked_sub(Duration::from_millis(20)).map(|horizon| table.reap_one(horizon));
                    }
                }
                table.check();
            }
        }
    }
}
