//! The rules of membership: what "alive", "suspect" and "dead" change.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::suspicion::Suspicion;
use super::table::{NewNode, Node, NodeId, State};
use super::{Delegate, MAX_META, MAX_NAME, Memberlist, Note, Timer, Token};
use crate::msgpack::{self, RawIp};
use crate::packet::kind;
use crate::packet::message::{Accusation, Alive, NodeState};
use crate::time::Time;

impl Memberlist {
    /// A node lives. `ours` if we say it about ourselves.
    pub(super) fn alive(&mut self, d: &mut dyn Delegate, now: Time, alive: &Alive, ours: bool) {
        let own = alive.node == self.identity.name;
        if own && self.leaving {
            return;
        }
        let [min, max, ..] = alive.vsn.0;
        if min == 0 || max == 0 || min > max || alive.node.is_empty() || alive.addr == RawIp::None {
            return;
        }
        if alive.node.len() > MAX_NAME || alive.meta.len() > MAX_META {
            self.counters.refused += 1;
            return;
        }
        let known = self.table.id(&alive.node);
        if let Some(node) = known.and_then(|id| self.table.get(id))
            && node.state == State::Alive
            && alive.incarnation <= node.incarnation
            && (node.ip, node.port) == (alive.addr, alive.port)
            && !own
        {
            // The common case of gossip and exchanges: nothing new.
            return;
        }
        if let Err(why) = d.admit(alive) {
            self.counters.refused += 1;
            d.note(Note::Refused {
                node: alive.node.clone(),
                why,
            });
            return;
        }
        let Some(id) = known else {
            return self.newcomer(d, now, alive, own);
        };
        let Some(node) = self.table.get(id) else {
            return;
        };

        let mut moved = false;
        if (node.ip, node.port) != (alive.addr, alive.port) {
            let reclaim = self.config.dead_name_reclaim;
            moved = node.state == State::Left
                || (node.state == State::Dead
                    && reclaim > Duration::ZERO
                    && now.since(node.changed) > reclaim);
            if !moved {
                let node = node.clone();
                return d.conflict(now, &node, alive);
            }
        }
        if own {
            if alive.incarnation < node.incarnation {
                return;
            }
        } else if alive.incarnation <= node.incarnation && !moved {
            return;
        }
        self.drop_suspicion(id);
        let Some(node) = self.table.get(id) else {
            return;
        };
        if own && !ours {
            // What we said ourselves comes back; anything else was said by an earlier life of ours.
            if alive.incarnation == node.incarnation
                && alive.meta == node.meta
                && alive.vsn == node.versions
            {
                return;
            }
            return self.refute(d, alive.incarnation);
        }
        let old = node.state;
        let changed = node.meta != alive.meta || (node.ip, node.port) != (alive.addr, alive.port);
        self.broadcast(d, &alive.node, msgpack::tagged(kind::ALIVE, alive), None);
        if let Some(node) = self.table.get_mut(id) {
            node.ip = alive.addr;
            node.port = alive.port;
            node.meta = alive.meta.clone();
            node.versions = alive.vsn;
            node.incarnation = alive.incarnation;
        }
        self.table.set_state(id, State::Alive, now);
        let Some(node) = self.table.get(id) else {
            return;
        };
        if !old.is_live() {
            d.joined(now, node);
        } else if changed {
            d.updated(now, node);
        }
    }

    fn newcomer(&mut self, d: &mut dyn Delegate, now: Time, alive: &Alive, own: bool) {
        if alive.incarnation == 0 {
            return;
        }
        if self.table.len() >= self.config.max_members {
            self.counters.refused += 1;
            return;
        }
        self.broadcast(d, &alive.node, msgpack::tagged(kind::ALIVE, alive), None);
        let new = NewNode {
            name: alive.node.clone(),
            ip: alive.addr,
            port: alive.port,
            meta: alive.meta.clone(),
            versions: alive.vsn,
            incarnation: alive.incarnation,
        };
        let id = self.table.insert(new, own, now);
        if self.table.len() == 2 {
            self.begin_beats(now);
        }
        if let Some(node) = self.table.get(id) {
            d.joined(now, node);
        }
    }

    /// Somebody is said not to answer.
    pub(super) fn suspect(&mut self, d: &mut dyn Delegate, now: Time, accusation: &Accusation) {
        let Some(id) = self.table.id(&accusation.node) else {
            return;
        };
        let Some(node) = self.table.get_mut(id) else {
            return;
        };
        if accusation.incarnation < node.incarnation {
            return;
        }
        if let Some(suspicion) = &mut node.suspicion {
            let before = suspicion.deadline();
            if suspicion.confirm(&accusation.from) {
                let after = suspicion.deadline();
                self.timers.cancel(before, Timer::Suspicion(id));
                self.timers.set(after.max(now), Timer::Suspicion(id));
                self.broadcast(
                    d,
                    &accusation.node,
                    msgpack::tagged(kind::SUSPECT, accusation),
                    None,
                );
                // Enough witnesses, long enough ago.
                if after <= now {
                    self.timers.cancel(after.max(now), Timer::Suspicion(id));
                    self.suspicion_fires(d, now, id);
                }
            }
            return;
        }
        if node.state != State::Alive {
            return;
        }
        if accusation.node == self.identity.name {
            d.note(Note::Refuted {
                from: accusation.from.clone(),
            });
            return self.refute(d, accusation.incarnation);
        }
        let suspicion = Suspicion::new(
            now,
            accusation.from.clone(),
            self.table.len(),
            &self.config,
            self.paused,
        );
        self.timers.set(suspicion.deadline(), Timer::Suspicion(id));
        if let Some(node) = self.table.get_mut(id) {
            node.incarnation = accusation.incarnation;
            node.suspicion = Some(Box::new(suspicion));
        }
        self.table.set_state(id, State::Suspect, now);
        self.broadcast(
            d,
            &accusation.node,
            msgpack::tagged(kind::SUSPECT, accusation),
            None,
        );
        d.note(Note::Suspect {
            node: accusation.node.clone(),
            from: accusation.from.clone(),
        });
    }

    pub(super) fn suspicion_fires(&mut self, d: &mut dyn Delegate, now: Time, id: NodeId) {
        let paused = self.paused;
        let Some(node) = self.table.get_mut(id) else {
            return;
        };
        let Some(suspicion) = &mut node.suspicion else {
            return;
        };
        if suspicion.extend(paused) {
            // Time in which we could not hear an objection does not count.
            self.timers.set(suspicion.deadline(), Timer::Suspicion(id));
            return;
        }
        if now < suspicion.deadline() {
            return;
        }
        if node.state != State::Suspect {
            return;
        }
        let verdict = Accusation {
            from: self.identity.name.clone(),
            incarnation: node.incarnation,
            node: node.name.clone(),
        };
        self.counters.verdicts += 1;
        self.dead(d, now, &verdict, None);
    }

    /// A node is dead, or left.
    pub(super) fn dead(
        &mut self,
        d: &mut dyn Delegate,
        now: Time,
        verdict: &Accusation,
        token: Option<Token>,
    ) {
        let Some(id) = self.table.id(&verdict.node) else {
            return;
        };
        let Some(node) = self.table.get(id) else {
            return;
        };
        if verdict.incarnation < node.incarnation {
            return;
        }
        self.drop_suspicion(id);
        let Some(node) = self.table.get_mut(id) else {
            return;
        };
        if !node.state.is_live() {
            return;
        }
        if verdict.node == self.identity.name && !self.leaving {
            d.note(Note::Refuted {
                from: verdict.from.clone(),
            });
            // A suspicion that was running is gone, and with it the state.
            return self.refute(d, verdict.incarnation);
        }
        node.incarnation = verdict.incarnation;
        let state = if verdict.from == verdict.node {
            State::Left
        } else {
            State::Dead
        };
        self.table.set_state(id, state, now);
        self.broadcast(
            d,
            &verdict.node,
            msgpack::tagged(kind::DEAD, verdict),
            token,
        );
        if let Some(node) = self.table.get(id) {
            d.gone(now, node);
        }
    }

    /// Objects: a new incarnation, higher than the one accused.
    fn refute(&mut self, d: &mut dyn Delegate, accused: u32) {
        self.incarnation = self.incarnation.max(accused).saturating_add(1);
        self.counters.refutations += 1;
        // Somebody did not hear us, and perhaps we are the reason.
        self.change_health(1);
        let incarnation = self.incarnation;
        let Some(id) = self.table.id(&self.identity.name) else {
            return;
        };
        let Some(own) = self.table.get_mut(id) else {
            return;
        };
        own.incarnation = incarnation;
        let alive = Self::alive_of(own);
        self.broadcast(d, &alive.node, msgpack::tagged(kind::ALIVE, &alive), None);
    }

    /// Somebody spreads what was refuted: tell it so. A refutation is sent a limited number of times
    /// and may miss a member, who then holds a live node for dead until the next full exchange.
    /// Suspicions die out by themselves, so of those only the ones about us are worth an answer. This
    /// goes beyond memberlist.
    pub(super) fn correct(&mut self, from: SocketAddr, stale: &Accusation, verdict: bool) {
        let own = stale.node == self.identity.name;
        if !(verdict || own) {
            return;
        }
        let Some(node) = self.table.id(&stale.node).and_then(|id| self.table.get(id)) else {
            return;
        };
        if node.state == State::Alive && stale.incarnation < node.incarnation {
            let alive = Self::alive_of(node);
            self.send(from, &msgpack::tagged(kind::ALIVE, &alive), false);
        }
    }

    /// What an alive node says of itself.
    fn alive_of(node: &Node) -> Alive {
        Alive {
            addr: node.ip,
            incarnation: node.incarnation,
            meta: node.meta.clone(),
            node: node.name.clone(),
            port: node.port,
            vsn: node.versions,
        }
    }

    fn drop_suspicion(&mut self, id: NodeId) {
        let Some(node) = self.table.get_mut(id) else {
            return;
        };
        if let Some(suspicion) = node.suspicion.take() {
            self.timers
                .cancel(suspicion.deadline(), Timer::Suspicion(id));
        }
    }

    /// Whether two lists of nodes speak a common version: every node's current version must lie in
    /// the range that all live nodes understand.
    pub(super) fn versions_agree(&self, remote: &[NodeState]) -> Result<(), String> {
        let ours = self
            .table
            .iter()
            .map(|node| (&node.name, node.versions.0, node.state == State::Alive));
        let theirs = remote
            .iter()
            .map(|node| (&node.name, node.vsn.0, node.state == 0));
        let mut range = [0_u8, u8::MAX, 0, u8::MAX];
        for (_, [min, max, _, serf_min, serf_max, _], alive) in ours.clone().chain(theirs.clone()) {
            if alive {
                range = [
                    range[0].max(min),
                    range[1].min(max),
                    range[2].max(serf_min),
                    range[3].min(serf_max),
                ];
            }
        }
        for (name, [_, _, current, _, _, serf], _) in ours.chain(theirs) {
            if !(range[0]..=range[1]).contains(&current) {
                return Err(format!(
                    "node '{name}' protocol version ({current}) is incompatible: [{}, {}]",
                    range[0], range[1]
                ));
            }
            if !(range[2]..=range[3]).contains(&serf) {
                return Err(format!(
                    "node '{name}' delegate protocol version ({serf}) is incompatible: [{}, {}]",
                    range[2], range[3]
                ));
            }
        }
        Ok(())
    }

    /// Takes over the nodes of an exchange.
    pub(super) fn merge_nodes(&mut self, d: &mut dyn Delegate, now: Time, nodes: &[NodeState]) {
        for node in nodes {
            let accused_by = |from: Arc<str>| Accusation {
                from,
                incarnation: node.incarnation,
                node: node.name.clone(),
            };
            match node.state {
                0 => {
                    let alive = Alive {
                        addr: node.addr,
                        incarnation: node.incarnation,
                        meta: node.meta.clone(),
                        node: node.name.clone(),
                        port: node.port,
                        vsn: node.vsn,
                    };
                    self.alive(d, now, &alive, false);
                }
                // Another's verdict is no more than a suspicion here: the node may object.
                1 | 2 => {
                    let accusation = accused_by(self.identity.name.clone());
                    self.suspect(d, now, &accusation);
                }
                3 => self.dead(d, now, &accused_by(node.name.clone()), None),
                _ => {}
            }
        }
    }
}
