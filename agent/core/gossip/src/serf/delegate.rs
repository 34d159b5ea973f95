//! What memberlist asks of Serf, and tells it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::message::{self, JoinIntent, LeaveIntent, PushPull, UserEvent};
use super::{Member, Serf, Status, decode_tags};
use crate::admission::Peer;
use crate::coordinate::Coordinate;
use crate::event::Event;
use crate::memberlist::{Delegate, Exchange, Node, Note, State, StreamError};
use crate::msgpack;
use crate::packet::message::{Alive, NodeState, Versions};
use crate::time::Time;

/// Go's duration text, as far as a reconnect timeout uses it: numbers with units.
fn go_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(rest.len());
        let seconds = match &rest[..unit] {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        rest = &rest[unit..];
        total = total.checked_add(Duration::try_from_secs_f64(number * seconds).ok()?)?;
    }
    (!text.is_empty()).then_some(total)
}

impl Serf {
    fn member_of(&self, node: &Node, status: Status) -> Option<Member> {
        Some(Member {
            name: node.name.clone(),
            addr: node.addr(self.advertise.port())?,
            tags: Arc::new(decode_tags(&node.meta)),
            status,
            versions: node.versions,
            ip: node.ip,
        })
    }

    /// After how long this member is forgotten if it fails.
    fn reconnect_timeout(&self, member: &Member) -> Duration {
        let serf = &self.config.serf;
        let tag = serf
            .reconnect_timeout_tag
            .as_ref()
            .and_then(|tag| member.tags.get(tag));
        tag.and_then(|text| go_duration(text))
            .unwrap_or(serf.reconnect_timeout)
    }

    fn peer(
        name: &Arc<str>,
        ip: crate::msgpack::RawIp,
        port: u16,
        meta: &[u8],
        versions: Versions,
        left: bool,
    ) -> Peer {
        Peer {
            name: name.clone(),
            ip,
            port,
            tags: decode_tags(meta),
            versions,
            left,
        }
    }

    fn peers(nodes: &[NodeState]) -> Vec<Peer> {
        let peer = |node: &NodeState| {
            let left = node.state == 3;
            Self::peer(&node.name, node.addr, node.port, &node.meta, node.vsn, left)
        };
        nodes.iter().map(peer).collect()
    }
}

impl Delegate for Serf {
    fn admit(&mut self, node: &Alive) -> Result<(), String> {
        if node.node == self.name {
            return Ok(());
        }
        self.admission.admit(&Self::peer(
            &node.node, node.addr, node.port, &node.meta, node.vsn, false,
        ))
    }

    fn admit_asker(&mut self, nodes: &[NodeState]) -> Result<(), String> {
        self.admission.admit_asker(&Self::peers(nodes))
    }

    fn admit_merge(&mut self, nodes: &[NodeState]) -> Result<(), String> {
        self.admission.admit_merge(&Self::peers(nodes))
    }

    fn joined(&mut self, now: Time, node: &Node) {
        let Some(mut member) = self.member_of(node, Status::Alive) else {
            return;
        };
        if let Some(entry) = self.roster.get_mut(&node.name) {
            let status = entry.member.status;
            entry.member = Member { status, ..member };
            self.roster.set_status(&node.name, Status::Alive, None);
        } else {
            let mut time = 0;
            if let Some(intent) = self.intents.remove(&node.name) {
                time = intent.ltime;
                if intent.leave {
                    member.status = Status::Leaving;
                }
            }
            self.roster.insert(member, time);
        }
        let Some(member) = self.member(&node.name).cloned() else {
            return;
        };
        self.record_alive(now, &member);
        self.emit(Event::MemberJoin(member));
    }

    fn updated(&mut self, now: Time, node: &Node) {
        let Some(member) = self.member_of(node, Status::Alive) else {
            return;
        };
        let Some(entry) = self.roster.get_mut(&node.name) else {
            return;
        };
        let moved = entry.member.addr != member.addr;
        entry.member = Member {
            status: entry.member.status,
            ..member
        };
        let member = entry.member.clone();
        if moved {
            self.record_alive(now, &member);
        }
        self.emit(Event::MemberUpdate(member));
    }

    fn gone(&mut self, now: Time, node: &Node) {
        debug_assert!(matches!(node.state, State::Dead | State::Left));
        let Some(entry) = self.roster.get(&node.name) else {
            return;
        };
        match entry.member.status {
            Status::Leaving => self.mark_left(now, &node.name),
            Status::Alive => {
                let reap_at = now + self.reconnect_timeout(&entry.member);
                self.roster
                    .set_status(&node.name, Status::Failed, Some(reap_at));
                let Some(member) = self.member(&node.name).cloned() else {
                    return;
                };
                self.record_gone(now, &member.name);
                self.emit(Event::MemberFailed(member));
            }
            Status::Left | Status::Failed => return,
        }
        self.coordinates.forget(&node.name);
    }

    fn conflict(&mut self, now: Time, known: &Node, other: &Alive) {
        let (Some(known_addr), Some(ip)) = (known.addr(self.advertise.port()), other.addr.ip())
        else {
            return;
        };
        self.emit(Event::NameConflict {
            name: known.name.clone(),
            known: known_addr,
            other: SocketAddr::new(ip, other.port),
        });
        if known.name == self.name {
            self.resolve_conflict(now);
        }
    }

    fn user_message(&mut self, now: Time, message: &[u8]) {
        if let Err(error) = self.handle_message(now, message) {
            self.note(Note::Message { error });
        }
    }

    fn has_broadcasts(&self) -> bool {
        !(self.intent_queue.is_empty()
            && self.query_queue.is_empty()
            && self.event_queue.is_empty())
    }

    fn broadcasts(
        &mut self,
        overhead: usize,
        room: &mut usize,
        most: usize,
        out: &mut Vec<Arc<[u8]>>,
    ) {
        let limit = self.retransmits();
        for queue in [
            &mut self.intent_queue,
            &mut self.query_queue,
            &mut self.event_queue,
        ] {
            queue.take(overhead, room, limit, most, out);
        }
    }

    fn local_state(&mut self) -> Vec<u8> {
        let state = PushPull {
            event_ltime: self.event_clock.now(),
            events: self.events_seen.recent(),
            ltime: self.clock.now(),
            left: self.roster.left().iter().cloned().collect(),
            query_ltime: self.query_clock.now(),
            status: self
                .roster
                .iter()
                .map(|entry| (entry.member.name.clone(), entry.status_time))
                .collect(),
        };
        msgpack::tagged(message::kind::PUSH_PULL, &state)
    }

    fn merge_state(&mut self, now: Time, state: &[u8], exchange: Option<Exchange>, join: bool) {
        let Some((&message::kind::PUSH_PULL, body)) = state.split_first() else {
            return;
        };
        let state: PushPull = match msgpack::decode(body) {
            Ok(state) => state,
            Err(error) => {
                return self.note(Note::Message {
                    error: error.into(),
                });
            }
        };
        // The other side's clock is one ahead of what it has seen.
        self.clock.witness(state.ltime.saturating_sub(1));
        self.event_clock
            .witness(state.event_ltime.saturating_sub(1));
        self.query_clock
            .witness(state.query_ltime.saturating_sub(1));
        let left: std::collections::BTreeSet<&Arc<str>> = state.left.iter().collect();
        for name in &left {
            let time = state.status.get(*name).copied().unwrap_or(0);
            if let Some(entry) = self.roster.get_mut(name)
                && entry.member.status == Status::Left
                && **name != self.name
            {
                // Agreed already. Peers count the time up at each exchange, without end; we do not.
                entry.status_time = entry.status_time.max(time);
                continue;
            }
            // The time is that of the join before; the leave came later.
            self.leave_intent(
                now,
                &LeaveIntent {
                    ltime: time.saturating_add(1),
                    node: (*name).clone(),
                    prune: false,
                },
            );
        }
        for (node, ltime) in &state.status {
            if !left.contains(node) {
                self.join_intent(
                    now,
                    &JoinIntent {
                        ltime: *ltime,
                        node: node.clone(),
                    },
                );
            }
        }
        if join
            && matches!(
                exchange,
                Some(Exchange::Join {
                    ignore_old: true,
                    ..
                })
            )
        {
            self.events_seen.min_time = self.events_seen.min_time.max(state.event_ltime);
            self.queries_seen.min_time = self.queries_seen.min_time.max(state.query_ltime);
        }
        for slot in state.events.into_iter().flatten() {
            for body in slot.events {
                self.user_event(UserEvent {
                    coalesce: false,
                    ltime: slot.ltime,
                    name: body.name,
                    payload: body.payload,
                });
            }
        }
    }

    fn ack_payload(&mut self) -> Vec<u8> {
        self.coordinates.own().encode()
    }

    fn measured(&mut self, _now: Time, node: &Arc<str>, round_trip: Duration, payload: &[u8]) {
        if let Some(other) = Coordinate::decode(payload) {
            self.coordinates
                .observe(node, other, round_trip, &mut self.rng);
        }
    }

    fn exchanged(
        &mut self,
        now: Time,
        exchange: Exchange,
        with: SocketAddr,
        result: Result<Vec<NodeState>, StreamError>,
    ) {
        self.exchange_ended(now, exchange, with, result);
    }

    fn note(&mut self, note: Note) {
        self.emit(Event::Note(note));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_of_go() {
        assert_eq!(go_duration("72h"), Some(Duration::from_secs(72 * 3600)));
        assert_eq!(
            go_duration("1h30m0.5s"),
            Some(Duration::from_millis(5_400_500))
        );
        for wrong in ["", "5", "h", "-5s", "5x", "1h5", "99999999999999999999h"] {
            assert_eq!(go_duration(wrong), None, "{wrong}");
        }
    }
}
