//! Failure detection: direct probe, indirect probes, a try by TCP, and the health score.

use std::sync::Arc;

use super::stream::{Purpose, StreamId};
use super::table::{NodeId, State};
use super::{Delegate, Memberlist, Note, Timer};
use crate::msgpack;
use crate::packet::message::{Accusation, Ack, IndirectPing, Nack};
use crate::packet::{self, kind};
use crate::time::Time;

/// A running round.
#[derive(Debug)]
pub(super) struct Round {
    seq: u32,
    target: NodeId,
    name: Arc<str>,
    sent: Time,
    timeout: Time,
    end: Time,
    indirect: bool,
    nacks_expected: u32,
    nacks: u32,
    fallback: Option<StreamId>,
    by_tcp: bool,
}

/// Dead nodes forgotten in one tick at most.
const REAP_BATCH: usize = 64;

impl Memberlist {
    pub(super) fn probe_tick(&mut self, d: &mut dyn Delegate, now: Time) {
        self.timers
            .set(now + self.config.probe_interval, Timer::Probe);
        for _ in 0..REAP_BATCH {
            if !self
                .reap_horizon
                .is_some_and(|horizon| self.table.reap_one(horizon))
            {
                break;
            }
        }
        // One round at a time. A long one swallows ticks, but the next begins at its end.
        if self.probe.is_some() {
            self.probe_pending = true;
        } else {
            self.begin_probe(d, now);
        }
    }

    fn begin_probe(&mut self, d: &mut dyn Delegate, now: Time) {
        if self.leaving {
            return;
        }
        let (target, wrapped) = self.table.next_probe(&mut self.rng);
        if wrapped {
            self.reap_horizon = now.checked_sub(self.config.gossip_to_the_dead);
        }
        let Some(target) = target else { return };
        let Some(node) = self.table.get(target) else {
            return;
        };
        let (name, incarnation, state) = (node.name.clone(), node.incarnation, node.state);
        let Some(to) = node.addr(self.identity.advertise.port()) else {
            return;
        };
        let checksum = node.versions.max() >= 5;

        let seq = self.next_seq();
        let timeout = now + self.config.probe_timeout;
        // The score stretches the round, so that a slow member gives others more time, but not the
        // direct timeout, so that helpers are asked as soon as ever.
        let end = now + self.config.probe_interval * (self.health + 1);
        self.timers.set(timeout, Timer::ProbeTimeout);
        self.timers.set(end, Timer::ProbeEnd);
        self.counters.probes += 1;

        let ping = msgpack::tagged(kind::PING, &self.ping(name.clone(), seq));
        if state == State::Alive {
            self.send_with_gossip(d, to, ping);
        } else {
            // The suspect hears of the suspicion with the ping, and can object at once.
            let from = self.identity.name.clone();
            let suspect = Accusation {
                from,
                incarnation,
                node: name.clone(),
            };
            let pair = packet::compound(&[ping, msgpack::tagged(kind::SUSPECT, &suspect)]);
            self.send(to, &pair, checksum);
        }
        self.probe = Some(Round {
            seq,
            target,
            name,
            sent: now,
            timeout,
            end,
            indirect: false,
            nacks_expected: 0,
            nacks: 0,
            fallback: None,
            by_tcp: false,
        });
    }

    /// The direct probe was not answered in time: others try, and so does TCP.
    pub(super) fn probe_timeout(&mut self, now: Time) {
        let Some(mut round) = self.probe.take() else {
            return;
        };
        round.indirect = true;
        if let Some(node) = self.table.get(round.target) {
            let (ip, port, max) = (node.ip, node.port, node.versions.max());
            let to = node.addr(self.identity.advertise.port());
            let helpers = self.table.random_alive(
                &mut self.rng,
                self.config.indirect_checks,
                Some(round.target),
            );
            for helper in helpers {
                let Some(helper) = self.table.get(helper) else {
                    continue;
                };
                let Some(helper_addr) = helper.addr(self.identity.advertise.port()) else {
                    continue;
                };
                let nack = helper.versions.max() >= 4;
                round.nacks_expected += u32::from(nack);
                let own = self.ping(round.name.clone(), round.seq);
                let ask = IndirectPing {
                    nack,
                    node: own.node,
                    port,
                    seq: round.seq,
                    source_addr: own.source_addr,
                    source_node: own.source_node,
                    source_port: own.source_port,
                    target: ip,
                };
                // Peers piggyback here too; the queue is better spent on gossip rounds.
                self.send(
                    helper_addr,
                    &msgpack::tagged(kind::INDIRECT_PING, &ask),
                    false,
                );
            }
            if self.config.tcp_pings
                && max >= 3
                && round.end > now
                && let Some(to) = to
            {
                let purpose = Purpose::Ping {
                    seq: round.seq,
                    node: round.name.clone(),
                };
                round.fallback = self.dial(purpose, to, round.end);
            }
        }
        self.probe = Some(round);
    }

    /// An ack by UDP.
    pub(super) fn probe_answered(&mut self, d: &mut dyn Delegate, now: Time, ack: &Ack) {
        let Some(round) = self.probe.take_if(|round| round.seq == ack.seq) else {
            return;
        };
        self.finish_round(&round);
        if !round.indirect {
            d.measured(now, &round.name, now.since(round.sent), &ack.payload.0);
        }
        self.change_health(-1);
        self.next_round(d, now);
    }

    /// An ack by TCP: it counts if none comes by UDP.
    pub(super) fn probe_answered_by_tcp(&mut self, seq: u32) {
        if let Some(round) = self.probe.as_mut().filter(|round| round.seq == seq) {
            round.by_tcp = true;
            round.fallback = None;
        }
    }

    pub(super) fn handle_nack(&mut self, nack: &Nack) {
        if let Some(round) = self.probe.as_mut().filter(|round| round.seq == nack.seq) {
            round.nacks += 1;
        }
    }

    pub(super) fn probe_end(&mut self, d: &mut dyn Delegate, now: Time) {
        let Some(round) = self.probe.take() else {
            return;
        };
        self.finish_round(&round);
        if round.by_tcp {
            self.change_health(-1);
            d.note(Note::OnlyTcp {
                node: round.name.clone(),
            });
        } else {
            // Helpers that say "no answer here either" show that the network around us is well.
            let missing = if round.nacks_expected > 0 {
                round.nacks_expected.saturating_sub(round.nacks)
            } else {
                1
            };
            self.change_health(i64::from(missing));
            self.counters.probes_failed += 1;
            if let Some(node) = self
                .table
                .get(round.target)
                .filter(|node| node.name == round.name)
            {
                let incarnation = node.incarnation;
                let from = self.identity.name.clone();
                self.suspect(
                    d,
                    now,
                    &Accusation {
                        from,
                        incarnation,
                        node: round.name,
                    },
                );
            }
        }
        self.next_round(d, now);
    }

    fn finish_round(&mut self, round: &Round) {
        self.timers.cancel(round.timeout, Timer::ProbeTimeout);
        self.timers.cancel(round.end, Timer::ProbeEnd);
        if let Some(stream) = round.fallback {
            self.abandon(stream);
        }
    }

    /// Ends the running round without a verdict.
    pub(super) fn drop_probe(&mut self) {
        if let Some(round) = self.probe.take() {
            self.finish_round(&round);
        }
    }

    fn next_round(&mut self, d: &mut dyn Delegate, now: Time) {
        if std::mem::take(&mut self.probe_pending) {
            self.begin_probe(d, now);
        }
    }
}
