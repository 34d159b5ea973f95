//! Serf: members with a status, tags, user events and queries, carried by memberlist.
//!
//! `Serf` is memberlist's [`Delegate`](crate::memberlist::Delegate). What it wants done in return
//! it puts into a list of `Effect`s, which the [`Core`](crate::Core) carries out.

mod clock;
mod delegate;
mod intent;
mod join;
mod keys;
mod leave;
mod member;
pub(crate) mod message;
mod query;
mod snapshot;
mod user_event;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

pub use clock::Lamport;
pub use keys::{KeyOperation, KeyResult};
pub(crate) use leave::GOODBYE;
pub use member::{Member, Status, decode_tags, encode_tags};
pub use query::{Filter, Query, QueryError, QueryId, QueryParams};
pub use snapshot::{Snapshot, SnapshotAction};
pub use user_event::EventError;

use crate::admission::Admission;
use crate::config::Config;
use crate::coordinate::Coordinates;
use crate::event::Event;
use crate::memberlist::suspicion::{ceil_log10, retransmit_limit};
use crate::memberlist::{Exchange, Note, Queue, StreamError, Token};
use crate::msgpack::{self, Value};
use crate::packet;
use crate::random::Rng;
use crate::time::Time;
use crate::timers::Timers;
use member::Roster;

/// What Serf wants done below it.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Send a Serf message straight to an address.
    Send { to: SocketAddr, message: Vec<u8> },
    /// Send a Serf message to some random members who understand relays.
    Relay { count: usize, message: Vec<u8> },
    /// Begin a full exchange.
    Exchange { exchange: Exchange, to: SocketAddr },
    /// Tell memberlist to leave.
    Leave,
    /// Do something to the keyring, and answer the query.
    Keys {
        query: Query,
        operation: KeyOperation,
        key: Vec<u8>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Reap,
    Reconnect,
    Leave,
    Snapshot,
    Query(QueryId),
    Prune(Arc<str>),
}

/// Events that wait for the driver; beyond this user events and queries are dropped.
const MAX_EVENTS: usize = 16_384;
/// Notes that wait for the driver.
const MAX_NOTES: usize = 1024;
/// Intents that wait for their member to appear.
const MAX_INTENTS: usize = 16_384;
/// What a message costs beyond its length in a packet of its own: headers, checksum, user byte.
const PACKET_SLACK: usize = 64;

/// Which of the regular rounds are due at some time. One with nothing to do is not.
#[derive(Debug, Default)]
struct Rounds {
    reap: bool,
    reconnect: bool,
    snapshot: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Alive,
    Leaving,
    Left,
}

/// The state machine.
pub(crate) struct Serf {
    config: Config,
    name: Arc<str>,
    advertise: SocketAddr,
    rng: Rng,
    admission: Box<dyn Admission>,
    life: Life,
    clock: Lamport,
    event_clock: Lamport,
    query_clock: Lamport,
    roster: Roster,
    intents: BTreeMap<Arc<str>, intent::Intent>,
    events_seen: user_event::Ring,
    queries_seen: query::Ring,
    pending: BTreeMap<QueryId, query::Pending>,
    intent_queue: Queue,
    query_queue: Queue,
    event_queue: Queue,
    timers: Timers<Timer>,
    rounds: Rounds,
    leave: leave::Phase,
    joins: join::Joins,
    coordinates: Coordinates,
    snapshot: snapshot::Recorder,
    events: VecDeque<Event>,
    notes: usize,
    /// Events, notes and messages dropped because a bound was reached.
    pub(crate) dropped: u64,
    pub(crate) effects: VecDeque<Effect>,
}

impl Serf {
    pub(crate) fn new(
        config: Config,
        name: Arc<str>,
        advertise: SocketAddr,
        admission: Box<dyn Admission>,
        rng: Rng,
        snapshot: Option<&Snapshot>,
    ) -> Self {
        let mut it = Self {
            config,
            name,
            advertise,
            rng,
            admission,
            life: Life::Alive,
            clock: Lamport::default(),
            event_clock: Lamport::default(),
            query_clock: Lamport::default(),
            roster: Roster::default(),
            intents: BTreeMap::new(),
            events_seen: user_event::Ring::default(),
            queries_seen: query::Ring::default(),
            pending: BTreeMap::new(),
            intent_queue: Queue::default(),
            query_queue: Queue::default(),
            event_queue: Queue::default(),
            timers: Timers::new(),
            rounds: Rounds::default(),
            leave: leave::Phase::None,
            joins: join::Joins::default(),
            coordinates: Coordinates::default(),
            snapshot: snapshot::Recorder::default(),
            events: VecDeque::new(),
            notes: 0,
            dropped: 0,
            effects: VecDeque::new(),
        };
        if let Some(snapshot) = snapshot {
            it.resume(snapshot);
        }
        it
    }

    pub(crate) fn roster_members(&self) -> impl Iterator<Item = &Member> {
        self.roster.iter().map(|entry| &entry.member)
    }

    pub(crate) fn own(&self) -> Option<&Member> {
        self.member(&self.name)
    }

    pub(crate) fn member(&self, name: &str) -> Option<&Member> {
        self.roster.get(name).map(|entry| &entry.member)
    }

    pub(crate) fn counts(&self) -> (usize, usize, usize) {
        (
            self.roster.len(),
            self.roster.failed(),
            self.roster.left().len(),
        )
    }

    pub(crate) fn clocks(&self) -> (u64, u64, u64) {
        (
            self.clock.now(),
            self.event_clock.now(),
            self.query_clock.now(),
        )
    }

    pub(crate) fn queued(&self) -> (usize, usize, usize) {
        (
            self.intent_queue.len(),
            self.event_queue.len(),
            self.query_queue.len(),
        )
    }

    pub(crate) fn coordinates(&self) -> &Coordinates {
        &self.coordinates
    }

    pub(crate) fn poll_event(&mut self) -> Option<Event> {
        let event = self.events.pop_front()?;
        self.notes -= usize::from(matches!(event, Event::Note(_)));
        Some(event)
    }

    pub(crate) fn poll_timeout(&self) -> Option<Time> {
        self.timers.next()
    }

    pub(crate) fn handle_timeout(&mut self, now: Time) {
        while let Some((timer, _)) = self.timers.pop(now) {
            match timer {
                Timer::Reap => {
                    self.rounds.reap = false;
                    self.reap(now);
                }
                Timer::Reconnect => {
                    self.rounds.reconnect = false;
                    self.reconnect();
                }
                Timer::Leave => self.leave_step(now),
                Timer::Snapshot => {
                    self.rounds.snapshot = false;
                    self.snapshot_tick();
                }
                Timer::Query(id) => self.end_query(id),
                Timer::Prune(name) => self.erase(&name),
            }
        }
    }

    /// Sets the timers of rounds that have something to do.
    pub(crate) fn arm(&mut self, now: Time) {
        let rounds = &mut self.rounds;
        let serf = &self.config.serf;
        if !rounds.reap && (self.roster.forgets() || !self.intents.is_empty()) {
            rounds.reap = true;
            self.timers.set(now + serf.reap_interval, Timer::Reap);
        }
        if !rounds.reconnect && self.roster.failed() > 0 {
            rounds.reconnect = true;
            self.timers
                .set(now + serf.reconnect_interval, Timer::Reconnect);
        }
        if !rounds.snapshot && self.snapshot.is_behind(self.clock.now()) {
            rounds.snapshot = true;
            self.timers.set(now + snapshot::FLUSH, Timer::Snapshot);
        }
    }

    /// Hands something to the user.
    fn emit(&mut self, event: Event) {
        match &event {
            Event::Note(_) => {
                if self.notes >= MAX_NOTES {
                    self.dropped += 1;
                    return;
                }
                self.notes += 1;
            }
            Event::User { .. }
            | Event::Query(_)
            | Event::QueryAck { .. }
            | Event::QueryResponse { .. }
                if self.events.len() >= MAX_EVENTS =>
            {
                self.dropped += 1;
                return;
            }
            // What happened to members is never dropped: it is bounded by the members.
            _ => {}
        }
        self.events.push_back(event);
    }

    /// A Serf message in the frame in which it is gossiped.
    fn framed(kind: u8, message: &impl Value) -> Vec<u8> {
        let mut bytes = vec![packet::kind::USER];
        bytes.append(&mut msgpack::tagged(kind, message));
        bytes
    }

    fn bound(&self) -> usize {
        self.config.serf.queue_depth.max(2 * self.roster.len())
    }

    /// Puts a framed message into a queue; one that fits no packet would only wait there.
    fn enqueue(
        &mut self,
        queue: fn(&mut Self) -> &mut Queue,
        framed: Vec<u8>,
        token: Option<Token>,
    ) {
        if framed.len() + PACKET_SLACK > self.config.packet_budget {
            self.dropped += 1;
            return;
        }
        let bound = self.bound();
        let dropped = queue(self).push(None, framed.into(), token, bound);
        if dropped > 0 {
            self.dropped += dropped as u64;
            self.emit(Event::Note(Note::QueueFull { dropped }));
        }
    }

    fn queue_intent(&mut self, framed: Vec<u8>, token: Option<Token>) {
        self.enqueue(|it| &mut it.intent_queue, framed, token);
    }

    fn retransmits(&self) -> u32 {
        retransmit_limit(self.config.retransmit_mult, self.roster.len())
    }

    /// How long an answer takes to come from everywhere.
    pub(crate) fn default_query_timeout(&self) -> std::time::Duration {
        let spread = ceil_log10(self.roster.present().saturating_add(1));
        self.config.gossip_interval * 16 * spread.max(1)
    }

    /// Knows these members as if since long.
    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn acquaint<'m>(&mut self, members: impl Iterator<Item = &'m Member>) {
        for member in members.filter(|m| m.name != self.name) {
            self.roster.insert(member.clone(), 0);
        }
    }

    /// Forgets who is gone for long, and intents whose members never came.
    fn reap(&mut self, now: Time) {
        while let Some(name) = self.roster.due(now) {
            self.erase(&name);
        }
        let oldest = now.checked_sub(self.config.serf.recent_intents);
        self.intents
            .retain(|_, intent| oldest.is_none_or(|oldest| intent.at > oldest));
    }

    /// Forgets a member.
    fn erase(&mut self, name: &str) {
        let Some(member) = self.roster.remove(name) else {
            return;
        };
        self.coordinates.forget(name);
        self.emit(Event::MemberReap(member));
    }

    /// Tries to reach one failed member, more often the more there are of them.
    #[allow(clippy::cast_precision_loss)]
    fn reconnect(&mut self) {
        if self.life != Life::Alive || self.roster.failed() == 0 {
            return;
        }
        let chance = self.roster.failed() as f64 / self.roster.present().max(1) as f64;
        if self.rng.unit() > chance {
            return;
        }
        let Some(to) = self
            .roster
            .random_failed(&mut self.rng)
            .map(|member| member.addr)
        else {
            return;
        };
        self.effects.push_back(Effect::Exchange {
            exchange: Exchange::Reconnect,
            to,
        });
    }

    /// Takes in a Serf message: type byte and body.
    pub(crate) fn handle_message(
        &mut self,
        now: Time,
        message: &[u8],
    ) -> Result<(), packet::PacketError> {
        let (kind, body) = message.split_first().ok_or(packet::PacketError::Short)?;
        let framed = || [&[packet::kind::USER], message].concat();
        match *kind {
            message::kind::LEAVE => {
                if self.leave_intent(now, &msgpack::decode(body)?) {
                    self.queue_intent(framed(), None);
                }
            }
            message::kind::JOIN => {
                if self.join_intent(now, &msgpack::decode(body)?) {
                    self.queue_intent(framed(), None);
                }
            }
            message::kind::USER_EVENT => {
                if self.user_event(msgpack::decode(body)?) {
                    self.enqueue(|it| &mut it.event_queue, framed(), None);
                }
            }
            message::kind::QUERY => {
                if self.handle_query(now, msgpack::decode(body)?) {
                    self.enqueue(|it| &mut it.query_queue, framed(), None);
                }
            }
            message::kind::QUERY_RESPONSE => self.handle_response(now, msgpack::decode(body)?),
            message::kind::RELAY => self.handle_relay(body)?,
            kind => return Err(packet::PacketError::Kind(kind)),
        }
        Ok(())
    }

    /// An exchange that memberlist began for us has ended, or could not begin.
    pub(crate) fn exchange_ended(
        &mut self,
        now: Time,
        exchange: Exchange,
        with: SocketAddr,
        result: Result<Vec<packet::message::NodeState>, StreamError>,
    ) {
        match exchange {
            Exchange::Join { id, .. } => self.join_progress(now, id, with, result.map(drop)),
            Exchange::Peek(id) => self.emit(Event::PeekDone { id, result }),
            Exchange::Periodic | Exchange::Reconnect => {}
        }
    }
}

#[cfg(test)]
mod tests;
