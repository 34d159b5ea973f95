//! Queries: a question gossiped to all, answers straight to who asks.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lictor_bexpr::re2::Regex;

use super::keys::{KeyOperation, Tally};
use super::message::{
    ConflictMember, FLAG_ACK, FLAG_NO_BROADCAST, QueryMessage, QueryResponse, RelayHeader,
    TagFilter, UdpAddr, kind,
};
use super::user_event::RING;
use super::{Effect, Life, Serf, Timer};
use crate::event::Event;
use crate::msgpack::{self, Bytes, RawIp, Reader, Value};
use crate::packet::PacketError;
use crate::time::Time;

/// Identifies a query in its pool: Lamport time and a random number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueryId {
    /// Its Lamport time.
    pub ltime: u64,
    /// Its random number.
    pub id: u32,
}

/// A query of somebody, to be answered with [`Core::respond`](crate::Core::respond).
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// Which.
    pub id: QueryId,
    /// Its name.
    pub name: String,
    /// Its payload.
    pub payload: Vec<u8>,
    /// Who asks, if it says so.
    pub source: String,
    /// Answers are of no use after this.
    pub deadline: Time,
    reply_to: SocketAddr,
    reply_ip: RawIp,
    relay_factor: u8,
}

/// Who is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    /// These members.
    Nodes(Vec<String>),
    /// Members with a tag in which this regular expression is found.
    Tag {
        /// The tag.
        tag: String,
        /// The expression.
        expr: String,
    },
}

/// A query to ask.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueryParams {
    /// All must match; none is everybody.
    pub filters: Vec<Filter>,
    /// Whether everybody who is asked says so.
    pub ack: bool,
    /// How many others carry each answer, too.
    pub relay_factor: u8,
    /// How long answers are awaited; the default grows with the pool.
    pub timeout: Option<Duration>,
}

/// Why a query or an answer was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// Larger than the limit.
    #[error("message exceeds limit of {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: usize,
    },
    /// The time for answers is over.
    #[error("response is past the deadline")]
    Late,
    /// Too many queries of ours are running.
    #[error("too many queries")]
    TooMany,
    /// We are leaving or have left.
    #[error("leaving the pool")]
    Leaving,
}

/// The queries seen lately, by time.
#[derive(Debug, Default)]
pub(super) struct Ring {
    slots: Vec<(u64, BTreeSet<u32>)>,
    /// Older ones are not wanted.
    pub min_time: u64,
}

/// Queries of one time that are remembered: each comes from another member.
const SLOT_MAX: usize = 4096;
/// Queries of ours that run at once.
const MAX_PENDING: usize = 1024;
/// The longest time that a query may run.
const MAX_TIMEOUT: Duration = Duration::from_secs(3600);
/// Filters of a query, and bytes that each one's expression may compile to.
const MAX_FILTERS: usize = 16;
const MAX_EXPR: usize = 256 << 10;

impl Ring {
    fn is_new(&mut self, clock: u64, id: QueryId) -> bool {
        if id.ltime < self.min_time || (clock > RING && id.ltime < clock - RING) {
            return false;
        }
        if self.slots.is_empty() {
            self.slots.resize(512, (0, BTreeSet::new()));
        }
        let Ok(at) = usize::try_from(id.ltime % RING) else {
            return false;
        };
        let (time, seen) = &mut self.slots[at];
        if *time != id.ltime {
            *time = id.ltime;
            seen.clear();
        }
        seen.len() < SLOT_MAX && seen.insert(id.id)
    }
}

/// A query of ours that runs.
#[derive(Debug)]
pub(super) struct Pending {
    deadline: Time,
    acks: BTreeSet<Arc<str>>,
    responses: BTreeSet<Arc<str>>,
    pub(super) purpose: Purpose,
}

/// Who gets the answers.
#[derive(Debug)]
pub(super) enum Purpose {
    /// The user.
    User,
    /// An operation on the pool's keys.
    Keys(Tally),
    /// A vote about our name: answers, and those for us.
    Conflict { answers: usize, for_us: usize },
}

impl Filter {
    fn encode(&self) -> Vec<u8> {
        match self {
            Self::Nodes(names) => msgpack::tagged(0, names),
            Self::Tag { tag, expr } => msgpack::tagged(
                1,
                &TagFilter {
                    expr: expr.clone(),
                    tag: tag.clone(),
                },
            ),
        }
    }
}

impl Serf {
    /// Asks the pool.
    pub(crate) fn query(
        &mut self,
        now: Time,
        name: &str,
        payload: &[u8],
        params: &QueryParams,
    ) -> Result<QueryId, QueryError> {
        self.ask(now, name, payload, params, Purpose::User)
    }

    pub(super) fn ask(
        &mut self,
        now: Time,
        name: &str,
        payload: &[u8],
        params: &QueryParams,
        purpose: Purpose,
    ) -> Result<QueryId, QueryError> {
        if self.life != Life::Alive {
            return Err(QueryError::Leaving);
        }
        if self.pending.len() >= MAX_PENDING {
            return Err(QueryError::TooMany);
        }
        let timeout = params
            .timeout
            .unwrap_or_else(|| self.default_query_timeout())
            .min(MAX_TIMEOUT);
        let id = QueryId {
            ltime: self.query_clock.now(),
            id: (self.rng.next_u64() >> 32) as u32,
        };
        let message = QueryMessage {
            addr: RawIp::from(self.advertise.ip()),
            filters: params
                .filters
                .iter()
                .map(|filter| Bytes(filter.encode()))
                .collect(),
            flags: if params.ack { FLAG_ACK } else { 0 },
            id: id.id,
            ltime: id.ltime,
            name: name.to_owned(),
            payload: Bytes(payload.to_vec()),
            port: self.advertise.port(),
            relay_factor: params.relay_factor,
            source_node: self.name.to_string(),
            timeout: i64::try_from(timeout.as_nanos()).unwrap_or(i64::MAX),
        };
        let framed = Self::framed(kind::QUERY, &message);
        let limit = self.config.serf.query_limit;
        if framed.len() - 1 > limit {
            return Err(QueryError::TooLarge { limit });
        }
        self.query_clock.tick();
        let deadline = now + timeout;
        let pending = Pending {
            deadline,
            acks: BTreeSet::new(),
            responses: BTreeSet::new(),
            purpose,
        };
        self.pending.insert(id, pending);
        self.timers.set(deadline, Timer::Query(id));
        self.handle_query(now, message);
        self.enqueue(|it| &mut it.query_queue, framed, None);
        Ok(id)
    }

    pub(super) fn end_query(&mut self, id: QueryId) {
        let Some(pending) = self.pending.remove(&id) else {
            return;
        };
        self.timers.cancel(pending.deadline, Timer::Query(id));
        match pending.purpose {
            Purpose::User => self.emit(Event::QueryDone { id }),
            Purpose::Keys(tally) => self.emit(Event::KeyDone(tally.result)),
            Purpose::Conflict { answers, for_us } => {
                if for_us < answers / 2 + 1 {
                    self.emit(Event::NameLost);
                }
            }
        }
    }

    /// A query came: true if it is news to spread.
    pub(super) fn handle_query(&mut self, now: Time, message: QueryMessage) -> bool {
        let id = QueryId {
            ltime: message.ltime,
            id: message.id,
        };
        if !self.query_clock.witness(id.ltime)
            || !self.queries_seen.is_new(self.query_clock.now(), id)
        {
            return false;
        }
        self.snapshot.saw_query(id.ltime);
        let spread = message.flags & FLAG_NO_BROADCAST == 0;
        let Some(ip) = message.addr.ip() else {
            return spread;
        };
        if !self.is_asked(&message.filters) {
            return spread;
        }
        let timeout =
            Duration::from_nanos(u64::try_from(message.timeout).unwrap_or(0)).min(MAX_TIMEOUT);
        let query = Query {
            id,
            name: message.name,
            payload: message.payload.0,
            source: message.source_node,
            deadline: now + timeout,
            reply_to: SocketAddr::new(ip, message.port),
            reply_ip: message.addr,
            relay_factor: message.relay_factor,
        };
        if message.flags & FLAG_ACK != 0 {
            self.answer(&query, FLAG_ACK, Vec::new());
        }
        match query.name.strip_prefix("_serf_") {
            Some(internal) => {
                let internal = internal.to_owned();
                self.internal_query(now, query, &internal);
            }
            None => self.emit(Event::Query(query)),
        }
        spread
    }

    /// Whether all filters match us. An unknown or broken one matches nobody.
    fn is_asked(&self, filters: &[Bytes]) -> bool {
        filters.len() <= MAX_FILTERS
            && filters
                .iter()
                .all(|Bytes(filter)| match filter.split_first() {
                    Some((0, body)) => msgpack::decode::<Vec<String>>(body)
                        .is_ok_and(|names| names.iter().any(|name| **name == *self.name)),
                    Some((1, body)) => msgpack::decode::<TagFilter>(body).is_ok_and(|filter| {
                        let value = self
                            .member(&self.name)
                            .and_then(|own| own.tags.get(&filter.tag));
                        Regex::with_limit(&filter.expr, MAX_EXPR)
                            .is_ok_and(|regex| regex.is_match(value.map_or("", String::as_str)))
                    }),
                    _ => false,
                })
    }

    fn internal_query(&mut self, now: Time, query: Query, name: &str) {
        let operation = match name {
            "conflict" => return self.conflict_query(now, &query),
            "install-key" => KeyOperation::Install,
            "use-key" => KeyOperation::Use,
            "remove-key" => KeyOperation::Remove,
            "list-keys" => KeyOperation::List,
            // A ping wants its ack only; anything else is from a newer Serf.
            _ => return,
        };
        self.key_query(query, operation);
    }

    /// Somebody asks who owns a name.
    fn conflict_query(&mut self, now: Time, query: &Query) {
        let Ok(name) = std::str::from_utf8(&query.payload) else {
            return;
        };
        if *name == *self.name {
            return;
        }
        let known = self.member(name).map(|member| {
            let [
                protocol_min,
                protocol_max,
                protocol_cur,
                delegate_min,
                delegate_max,
                delegate_cur,
            ] = member.versions.0;
            ConflictMember {
                addr: member.ip,
                delegate_cur,
                delegate_max,
                delegate_min,
                name: member.name.clone(),
                port: member.addr.port(),
                protocol_cur,
                protocol_max,
                protocol_min,
                status: i64::from(member.status.number()),
                tags: member.tags.as_ref().clone(),
            }
        });
        let _ = self.respond(
            now,
            query,
            &msgpack::tagged(kind::CONFLICT_RESPONSE, &known),
        );
    }

    /// Another node uses our name: let the pool vote.
    pub(super) fn resolve_conflict(&mut self, now: Time) {
        let running = self
            .pending
            .values()
            .any(|pending| matches!(pending.purpose, Purpose::Conflict { .. }));
        if !running && self.config.serf.resolve_name_conflicts {
            let name = self.name.clone();
            let purpose = Purpose::Conflict {
                answers: 0,
                for_us: 0,
            };
            let _ = self.ask(
                now,
                "_serf_conflict",
                name.as_bytes(),
                &QueryParams::default(),
                purpose,
            );
        }
    }

    /// Answers a query.
    pub(crate) fn respond(
        &mut self,
        now: Time,
        query: &Query,
        payload: &[u8],
    ) -> Result<(), QueryError> {
        if now > query.deadline {
            return Err(QueryError::Late);
        }
        let limit = self.config.serf.response_limit;
        let response = self.response(query, 0, payload.to_vec());
        if msgpack::tagged(kind::QUERY_RESPONSE, &response).len() > limit {
            return Err(QueryError::TooLarge { limit });
        }
        self.send_response(query, &response);
        Ok(())
    }

    fn response(&self, query: &Query, flags: u32, payload: Vec<u8>) -> QueryResponse {
        QueryResponse {
            flags,
            from: self.name.clone(),
            id: query.id.id,
            ltime: query.id.ltime,
            payload: Bytes(payload),
        }
    }

    fn answer(&mut self, query: &Query, flags: u32, payload: Vec<u8>) {
        let response = self.response(query, flags, payload);
        self.send_response(query, &response);
    }

    /// Whether an answer with this payload keeps to the limit.
    pub(super) fn response_fits(&self, query: &Query, payload: &[u8]) -> bool {
        let response = self.response(query, 0, payload.to_vec());
        msgpack::tagged(kind::QUERY_RESPONSE, &response).len() <= self.config.serf.response_limit
    }

    fn send_response(&mut self, query: &Query, response: &QueryResponse) {
        let message = msgpack::tagged(kind::QUERY_RESPONSE, response);
        let count = usize::from(query.relay_factor);
        if count > 0 && self.roster.len() > count {
            let header = RelayHeader {
                addr: UdpAddr {
                    ip: query.reply_ip,
                    port: i64::from(query.reply_to.port()),
                    zone: String::new(),
                },
                name: query.source.clone(),
            };
            let mut relayed = msgpack::tagged(kind::RELAY, &header);
            relayed.extend_from_slice(&message);
            if relayed.len() <= self.config.serf.response_limit {
                self.effects.push_back(Effect::Relay {
                    count,
                    message: relayed,
                });
            }
        }
        self.effects.push_back(Effect::Send {
            to: query.reply_to,
            message,
        });
    }

    /// Carries an answer for another member.
    pub(super) fn handle_relay(&mut self, body: &[u8]) -> Result<(), PacketError> {
        let mut reader = Reader::new(body);
        let header = RelayHeader::read(&mut reader)?;
        let ip = header.addr.ip.ip().ok_or(PacketError::Address)?;
        let port = u16::try_from(header.addr.port).map_err(|_| PacketError::Address)?;
        // Only answers travel like this; a relay of a relay would never end.
        if reader.rest().first() != Some(&kind::QUERY_RESPONSE) {
            return Err(PacketError::Kind(kind::RELAY));
        }
        self.effects.push_back(Effect::Send {
            to: SocketAddr::new(ip, port),
            message: reader.rest().to_vec(),
        });
        Ok(())
    }

    /// An answer came.
    pub(super) fn handle_response(&mut self, now: Time, response: QueryResponse) {
        let id = QueryId {
            ltime: response.ltime,
            id: response.id,
        };
        let members = self.roster.len();
        let Some(pending) = self.pending.get_mut(&id) else {
            return;
        };
        if now > pending.deadline {
            return;
        }
        let ack = response.flags & FLAG_ACK != 0;
        let heard = if ack {
            &mut pending.acks
        } else {
            &mut pending.responses
        };
        // One answer each; relays bring copies. Nobody invents members beyond the pool's size.
        if heard.len() > 2 * members || !heard.insert(response.from.clone()) {
            return;
        }
        match (&mut pending.purpose, ack) {
            (Purpose::User, true) => self.emit(Event::QueryAck {
                id,
                from: response.from,
            }),
            (Purpose::User, false) => {
                self.emit(Event::QueryResponse {
                    id,
                    from: response.from,
                    payload: response.payload.0,
                });
            }
            (Purpose::Keys(tally), false) => {
                if tally.count(&response.from, &response.payload.0) {
                    self.end_query(id);
                }
            }
            (Purpose::Conflict { answers, for_us }, false) => {
                let Some((&kind::CONFLICT_RESPONSE, body)) = response.payload.0.split_first()
                else {
                    return;
                };
                let Ok(Some(known)) = msgpack::decode::<Option<ConflictMember>>(body) else {
                    return;
                };
                *answers += 1;
                let ours = (RawIp::from(self.advertise.ip()), self.advertise.port());
                *for_us += usize::from((known.addr, known.port) == ours);
            }
            (Purpose::Keys(_) | Purpose::Conflict { .. }, true) => {}
        }
    }
}
