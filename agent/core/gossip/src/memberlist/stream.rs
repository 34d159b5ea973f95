//! Streams: full exchanges, probes by TCP and long user messages, as sessions of bytes.
//!
//! One request per connection; the side that was dialled closes it. Memory is bounded per stream and
//! over all streams.

mod read;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use super::table::State;
use super::{Delegate, Exchange, Memberlist, Note, Timer};
use crate::msgpack::{self, Value, Writer};
use crate::packet::message::{Ack, Failure, NodeState, PushPullHeader};
use crate::packet::{PacketError, kind};
use crate::time::Time;
use read::{StreamMessage, StreamReader};

/// Identifies a stream between core and driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u64);

/// What the driver shall do with a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamAction {
    /// Connect, and then call `handle_stream_open`; or `handle_stream_closed` if it fails.
    Dial {
        /// The new stream.
        id: StreamId,
        /// Where to.
        to: SocketAddr,
        /// Pointless after this.
        deadline: Time,
    },
    /// Send these bytes.
    Write {
        /// The stream.
        id: StreamId,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// Send what is pending, then close. The core knows the stream no more.
    Close {
        /// The stream.
        id: StreamId,
    },
}

/// How a stream ended for the driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamClosed {
    /// The other side closed it.
    End,
    /// It could not be opened, or broke.
    Failed(String),
}

/// Why a stream failed. Whatever was received by it was not used, unless it says "refused".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// Bytes that are no message, or could not be decrypted.
    #[error(transparent)]
    Packet(#[from] PacketError),
    /// The connection failed.
    #[error("{0}")]
    Failed(String),
    /// It took too long.
    #[error("timeout")]
    Timeout,
    /// The other side closed it before its message was whole.
    #[error("closed before the message was whole")]
    Closed,
    /// The other side answered with an error.
    #[error("remote error: {0}")]
    Remote(String),
    /// Plaintext in an encrypted pool.
    #[error("encryption is configured but remote state is not encrypted")]
    NotEncrypted,
    /// Ciphertext in a pool without encryption.
    #[error("remote state is encrypted and encryption is not configured")]
    Encrypted,
    /// Another message than the request asks for.
    #[error("unexpected message type {0}")]
    Unexpected(u8),
    /// The exchange was whole, and its nodes were refused.
    #[error("{0}")]
    Refused(String),
    /// Too many streams, or too many bytes in them.
    #[error("too many streams")]
    TooMany,
    /// We are leaving or have left.
    #[error("leaving the pool")]
    Leaving,
}

/// What a stream is for.
#[derive(Debug)]
pub(super) enum Purpose {
    Inbound,
    Exchange(Exchange),
    Ping { seq: u32, node: Arc<str> },
}

#[derive(Debug)]
pub(super) struct Stream {
    purpose: Purpose,
    with: SocketAddr,
    reader: StreamReader,
    deadline: Time,
}

/// Streams that others open at once: full exchanges are large.
const MAX_INBOUND: usize = 128;
/// Streams that we open at once.
const MAX_OUTBOUND: usize = 64;
/// Bytes that all streams together may hold.
const MAX_HELD: usize = 128 << 20;

/// All streams.
#[derive(Debug, Default)]
pub(super) struct Streams {
    pub(super) open: BTreeMap<StreamId, Stream>,
    pub(super) inbound: usize,
    pub(super) held: usize,
    pub(super) next: u64,
    pub(super) actions: VecDeque<StreamAction>,
}

impl Memberlist {
    /// The next thing to do with a stream.
    pub fn poll_stream(&mut self) -> Option<StreamAction> {
        self.streams.actions.pop_front()
    }

    fn open(&mut self, purpose: Purpose, with: SocketAddr, deadline: Time) -> StreamId {
        self.streams.next += 1;
        let id = StreamId(self.streams.next);
        self.timers.set(deadline, Timer::Stream(id));
        let reader = StreamReader::new(matches!(purpose, Purpose::Inbound));
        self.streams.open.insert(
            id,
            Stream {
                purpose,
                with,
                reader,
                deadline,
            },
        );
        id
    }

    /// Takes a connection in. `None` if there are too many: close it.
    pub fn accept_stream(&mut self, now: Time, from: SocketAddr) -> Option<StreamId> {
        if self.streams.inbound >= MAX_INBOUND {
            self.counters.dropped += 1;
            return None;
        }
        self.streams.inbound += 1;
        Some(self.open(Purpose::Inbound, from, now + self.config.stream_timeout))
    }

    pub(super) fn dial(
        &mut self,
        purpose: Purpose,
        to: SocketAddr,
        deadline: Time,
    ) -> Option<StreamId> {
        if self.streams.open.len() - self.streams.inbound >= MAX_OUTBOUND {
            self.counters.dropped += 1;
            return None;
        }
        let id = self.open(purpose, to, deadline);
        self.streams
            .actions
            .push_back(StreamAction::Dial { id, to, deadline });
        Some(id)
    }

    /// Begins an exchange. Its outcome comes by [`Delegate::exchanged`], unless this fails at once.
    ///
    /// # Errors
    /// Too many streams, or we are leaving.
    pub fn exchange(
        &mut self,
        now: Time,
        exchange: Exchange,
        with: SocketAddr,
    ) -> Result<(), StreamError> {
        if self.leaving {
            return Err(StreamError::Leaving);
        }
        let deadline = now + self.config.stream_timeout;
        self.dial(Purpose::Exchange(exchange), with, deadline)
            .map(drop)
            .ok_or(StreamError::TooMany)
    }

    /// The connection that we asked for is there.
    pub fn handle_stream_open(&mut self, d: &mut dyn Delegate, id: StreamId) {
        let Some(stream) = self.streams.open.get(&id) else {
            return;
        };
        let message = match &stream.purpose {
            Purpose::Inbound => return,
            Purpose::Ping { seq, node } => {
                msgpack::tagged(kind::PING, &self.ping(node.clone(), *seq))
            }
            Purpose::Exchange(Exchange::Peek(_)) => msgpack::tagged(
                kind::PUSH_PULL,
                &PushPullHeader {
                    join: false,
                    nodes: 0,
                    user_state_len: 0,
                },
            ),
            Purpose::Exchange(exchange) => {
                let join = exchange.is_join();
                self.full_state(d, join)
            }
        };
        let label = self.codec.label_header();
        self.write(id, label, &message);
    }

    fn write(&mut self, id: StreamId, mut first: Vec<u8>, message: &[u8]) {
        let sealed = self.codec.seal_stream(message, self.config.compress);
        if first.is_empty() {
            first = sealed;
        } else {
            first.extend_from_slice(&sealed);
        }
        self.streams
            .actions
            .push_back(StreamAction::Write { id, bytes: first });
    }

    /// All nodes and the delegate's state as one message.
    fn full_state(&mut self, d: &mut dyn Delegate, join: bool) -> Vec<u8> {
        let user = d.local_state();
        let header = PushPullHeader {
            join,
            nodes: i64::try_from(self.table.len()).unwrap_or(0),
            user_state_len: i64::try_from(user.len()).unwrap_or(0),
        };
        let mut out = Writer::after(Vec::with_capacity(64 + 160 * self.table.len() + user.len()));
        out.bytes.push(kind::PUSH_PULL);
        header.write(&mut out);
        for node in self.table.iter() {
            let state = NodeState {
                addr: node.ip,
                incarnation: node.incarnation,
                meta: node.meta.clone(),
                name: node.name.clone(),
                port: node.port,
                state: i64::from(node.state.number()),
                vsn: node.versions,
            };
            state.write(&mut out);
        }
        out.bytes.extend_from_slice(&user);
        out.bytes
    }

    /// Bytes came.
    pub fn handle_stream_data(
        &mut self,
        d: &mut dyn Delegate,
        now: Time,
        id: StreamId,
        bytes: &[u8],
    ) {
        let Some(stream) = self.streams.open.get_mut(&id) else {
            return;
        };
        self.counters.bytes_in += bytes.len() as u64;
        let before = stream.reader.held();
        let result = stream.reader.push(&self.codec, bytes);
        self.streams.held = (self.streams.held + stream.reader.held()).saturating_sub(before);
        match result {
            Ok(None) if self.streams.held > MAX_HELD => self.fail(d, now, id, StreamError::TooMany),
            Ok(None) => {}
            Ok(Some(message)) => self.handle_stream_message(d, now, id, message),
            Err(error) => {
                let answer = match &error {
                    StreamError::NotEncrypted
                    | StreamError::Encrypted
                    | StreamError::Packet(PacketError::NoKeyFits) => Some(error.to_string()),
                    _ => None,
                };
                if let Some(error) = answer
                    && matches!(stream.purpose, Purpose::Inbound)
                {
                    self.reply(id, &msgpack::tagged(kind::ERROR, &Failure { error }));
                }
                self.fail(d, now, id, error);
            }
        }
    }

    /// Answers a stream that others opened. Only who dials says the label.
    fn reply(&mut self, id: StreamId, message: &[u8]) {
        self.write(id, Vec::new(), message);
    }

    fn handle_stream_message(
        &mut self,
        d: &mut dyn Delegate,
        now: Time,
        id: StreamId,
        message: StreamMessage,
    ) {
        let Some(stream) = self.remove(id) else {
            return;
        };
        let with = stream.with;
        let result = match (&stream.purpose, message) {
            (Purpose::Inbound, StreamMessage::Ping(ping)) => {
                if ping.node.is_empty() || ping.node == self.identity.name {
                    let ack = Ack {
                        payload: msgpack::Bytes::default(),
                        seq: ping.seq,
                    };
                    self.reply(id, &msgpack::tagged(kind::ACK, &ack));
                }
                Ok(Vec::new())
            }
            (Purpose::Inbound, StreamMessage::User(message)) => {
                d.user_message(now, &message);
                Ok(Vec::new())
            }
            (Purpose::Inbound, StreamMessage::PushPull { join, nodes, user }) => {
                if let Err(error) = d.admit_asker(&nodes) {
                    let failure = Failure {
                        error: error.clone(),
                    };
                    self.reply(id, &msgpack::tagged(kind::ERROR, &failure));
                    Err(StreamError::Refused(error))
                } else {
                    // Our state first: the other side shall have it even if we refuse theirs.
                    let state = self.full_state(d, join);
                    self.reply(id, &state);
                    self.merge(d, now, None, join, nodes, &user)
                }
            }
            (Purpose::Exchange(Exchange::Peek(_)), StreamMessage::PushPull { nodes, .. }) => {
                Ok(nodes)
            }
            (Purpose::Exchange(exchange), StreamMessage::PushPull { nodes, user, .. }) => {
                self.merge(d, now, Some(*exchange), exchange.is_join(), nodes, &user)
            }
            (Purpose::Ping { seq, .. }, StreamMessage::Ack(ack)) if ack.seq == *seq => {
                self.probe_answered_by_tcp(*seq);
                Ok(Vec::new())
            }
            (_, StreamMessage::Failure(error)) => Err(StreamError::Remote(error)),
            (_, other) => Err(StreamError::Unexpected(other.kind())),
        };
        self.streams.actions.push_back(StreamAction::Close { id });
        self.conclude(d, now, stream.purpose, with, result);
    }

    /// Takes over what the other side of an exchange knows.
    fn merge(
        &mut self,
        d: &mut dyn Delegate,
        now: Time,
        exchange: Option<Exchange>,
        join: bool,
        nodes: Vec<NodeState>,
        user: &[u8],
    ) -> Result<Vec<NodeState>, StreamError> {
        self.versions_agree(&nodes).map_err(StreamError::Refused)?;
        if join {
            d.admit_merge(&nodes).map_err(StreamError::Refused)?;
        }
        self.merge_nodes(d, now, &nodes);
        if !user.is_empty() {
            d.merge_state(now, user, exchange, join);
        }
        self.counters.exchanges += 1;
        Ok(nodes)
    }

    /// Tells the outcome to whom it concerns.
    fn conclude(
        &mut self,
        d: &mut dyn Delegate,
        now: Time,
        purpose: Purpose,
        with: SocketAddr,
        result: Result<Vec<NodeState>, StreamError>,
    ) {
        if let Err(error) = &result {
            self.counters.streams_failed += 1;
            // A probe's own end tells enough.
            if !matches!(purpose, Purpose::Ping { .. }) {
                d.note(Note::Stream {
                    with,
                    error: error.clone(),
                });
            }
        }
        if let Purpose::Exchange(exchange) = purpose {
            d.exchanged(now, exchange, with, result);
        }
    }

    fn remove(&mut self, id: StreamId) -> Option<Stream> {
        let stream = self.streams.open.remove(&id)?;
        self.timers.cancel(stream.deadline, Timer::Stream(id));
        self.streams.inbound -= usize::from(matches!(stream.purpose, Purpose::Inbound));
        self.streams.held = self.streams.held.saturating_sub(stream.reader.held());
        Some(stream)
    }

    fn fail(&mut self, d: &mut dyn Delegate, now: Time, id: StreamId, error: StreamError) {
        let Some(stream) = self.remove(id) else {
            return;
        };
        self.streams.actions.push_back(StreamAction::Close { id });
        self.conclude(d, now, stream.purpose, stream.with, Err(error));
    }

    /// The connection ended, or could not be opened.
    pub fn handle_stream_closed(
        &mut self,
        d: &mut dyn Delegate,
        now: Time,
        id: StreamId,
        how: StreamClosed,
    ) {
        let error = match how {
            StreamClosed::End => StreamError::Closed,
            StreamClosed::Failed(why) => StreamError::Failed(why),
        };
        self.fail(d, now, id, error);
    }

    pub(super) fn stream_timeout(&mut self, d: &mut dyn Delegate, now: Time, id: StreamId) {
        self.fail(d, now, id, StreamError::Timeout);
    }

    /// Forgets a stream whose answer is of no use any more.
    pub(super) fn abandon(&mut self, id: StreamId) {
        if self.remove(id).is_some() {
            self.streams.actions.push_back(StreamAction::Close { id });
        }
    }

    pub(super) fn push_pull_tick(&mut self, d: &mut dyn Delegate, now: Time) {
        self.timers.set(
            now + self.config.push_pull_interval * push_pull_scale(self.table.len()),
            Timer::PushPull,
        );
        let Some(&id) = self.table.random_alive(&mut self.rng, 1, None).first() else {
            return;
        };
        let Some(to) = self
            .table
            .get(id)
            .and_then(|node| node.addr(self.identity.advertise.port()))
        else {
            return;
        };
        debug_assert!(
            self.table
                .get(id)
                .is_some_and(|node| node.state == State::Alive)
        );
        if let Err(error) = self.exchange(now, Exchange::Periodic, to)
            && error != StreamError::Leaving
        {
            d.note(Note::Stream { with: to, error });
        }
    }
}

/// How much rarer full exchanges get in a pool of `n` nodes: each costs in proportion to n.
fn push_pull_scale(n: usize) -> u32 {
    const FREE: usize = 32;
    if n <= FREE {
        return 1;
    }
    // ceil(log2(n)) - log2(32) + 1
    (n - 1).ilog2() + 1 - FREE.ilog2() + 1
}

#[cfg(test)]
mod tests {
    use super::push_pull_scale;

    #[test]
    fn exchanges_get_rarer_with_the_logarithm() {
        for (n, scale) in [
            (1, 1),
            (32, 1),
            (33, 2),
            (64, 2),
            (65, 3),
            (128, 3),
            (10_000, 10),
        ] {
            assert_eq!(push_pull_scale(n), scale, "{n}");
        }
    }
}
