//! Dissemination: filling packets with what the queues hold.

use std::net::SocketAddr;
use std::sync::Arc;

use super::suspicion::retransmit_limit;
use super::{Delegate, MAX_OUTBOX, Memberlist, Note, Timer, Token, Transmit};
use crate::packet::{self, MAX_PARTS};
use crate::time::Time;

/// Type byte and count of a compound.
const COMPOUND_HEADER: usize = 2;
/// The length of each part.
const PART_HEADER: usize = 2;

impl Memberlist {
    /// Queues a message about a node for gossip, instead of an older one about it.
    pub(super) fn broadcast(
        &mut self,
        d: &mut dyn Delegate,
        name: &Arc<str>,
        message: Vec<u8>,
        token: Option<Token>,
    ) {
        let bound = self.config.serf.queue_depth.max(2 * self.table.len());
        let dropped = self
            .queue
            .push(Some(name.clone()), message.into(), token, bound);
        if dropped > 0 {
            self.counters.dropped += dropped as u64;
            d.note(Note::QueueFull { dropped });
        }
    }

    /// Messages for one packet with this much room: ours first, then the delegate's.
    fn fill(&mut self, d: &mut dyn Delegate, mut room: usize, most: usize) -> Vec<Arc<[u8]>> {
        let mut out = Vec::new();
        let limit = retransmit_limit(self.config.retransmit_mult, self.table.len());
        self.queue
            .take(PART_HEADER, &mut room, limit, most, &mut out);
        d.broadcasts(PART_HEADER, &mut room, most, &mut out);
        out
    }

    fn room(&self) -> usize {
        self.config
            .packet_budget
            .saturating_sub(COMPOUND_HEADER + self.codec.overhead())
    }

    /// Sends one packet.
    pub(super) fn send(&mut self, to: SocketAddr, message: &[u8], checksum: bool) {
        if self.outbox.len() >= MAX_OUTBOX {
            self.counters.dropped += 1;
            return;
        }
        let bytes = self
            .codec
            .seal_packet(message, checksum, self.config.compress);
        self.counters.packets_out += 1;
        self.counters.bytes_out += bytes.len() as u64;
        self.outbox.push_back(Transmit { to, bytes });
    }

    /// Sends a message, with as much gossip as fits beside it.
    pub(super) fn send_with_gossip(
        &mut self,
        d: &mut dyn Delegate,
        to: SocketAddr,
        message: Vec<u8>,
    ) {
        let room = self.room().saturating_sub(message.len() + PART_HEADER);
        let more = self.fill(d, room, MAX_PARTS - 1);
        if more.is_empty() {
            return self.send(to, &message, false);
        }
        let mut parts: Vec<Arc<[u8]>> = vec![message.into()];
        parts.extend(more);
        self.send(to, &packet::compound(&parts), false);
    }

    /// Sends a user message straight to an address.
    pub fn send_user(&mut self, to: SocketAddr, message: &[u8]) {
        let mut framed = Vec::with_capacity(message.len() + 1);
        framed.push(packet::kind::USER);
        framed.extend_from_slice(message);
        self.send(to, &framed, false);
    }

    pub(super) fn gossip_tick(&mut self, d: &mut dyn Delegate, now: Time) {
        self.quiet = self.queue.is_empty() && !d.has_broadcasts();
        if self.quiet {
            return;
        }
        self.timers
            .set(now + self.config.gossip_interval, Timer::Gossip);
        let config = &self.config;
        let targets = self.table.random_gossip(
            &mut self.rng,
            config.gossip_nodes,
            config.gossip_to_the_dead,
            now,
        );
        for id in targets {
            let Some(node) = self.table.get(id) else {
                continue;
            };
            let Some(to) = node.addr(self.identity.advertise.port()) else {
                continue;
            };
            let checksum = node.versions.max() >= 5;
            let room = self.room();
            let messages = if node.state.is_live() {
                self.fill(d, room, MAX_PARTS)
            } else {
                // The dead are told what might make them object. A message has few transmissions, and
                // none shall be spent on who most likely does not hear it; memberlist spends them.
                self.queue.peek(PART_HEADER, room, MAX_PARTS)
            };
            if messages.is_empty() {
                continue;
            }
            self.send(to, &packet::compound(&messages), checksum);
        }
    }
}
