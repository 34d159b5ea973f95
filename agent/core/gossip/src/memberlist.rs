//! Memberlist: SWIM with Lifeguard's extensions, without IO.
//!
//! Packets, streams and due times go in; packets, stream requests and calls of the [`Delegate`] come
//! out. The delegate is Serf in the product and a stub in tests.

mod gossip;
mod probe;
mod queue;
mod rules;
mod stream;
pub mod suspicion;
mod table;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

pub use queue::{Queue, Token};
pub use stream::{StreamAction, StreamClosed, StreamError, StreamId};
pub use table::{Node, State};
use table::{NodeId, Table};

use crate::config::Config;
use crate::msgpack::{self, RawIp};
use crate::packet::message::{
    Accusation, Ack, Alive, IndirectPing, Nack, NodeState, Ping, Versions,
};
use crate::packet::{Codec, PacketError, kind};
use crate::random::Rng;
use crate::stats::Counters;
use crate::time::Time;
use crate::timers::Timers;

/// A packet to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Where to.
    pub to: SocketAddr,
    /// What.
    pub bytes: Vec<u8>,
}

/// What a full exchange is for; comes back with its outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exchange {
    /// The regular one with a random node.
    Periodic,
    /// A part of the join of this number.
    Join {
        /// The join.
        id: u64,
        /// Events from before the join are not wanted.
        ignore_old: bool,
    },
    /// An attempt to reach a failed member.
    Reconnect,
    /// Only a look: we show no nodes and take over none.
    Peek(u64),
}

impl Exchange {
    /// Whether two pools may become one by it: then the rules of merging are asked.
    const fn is_join(self) -> bool {
        matches!(self, Self::Join { .. } | Self::Reconnect)
    }
}

/// What memberlist asks of, and tells to, the layer above.
pub trait Delegate {
    /// May this node be known at all?
    fn admit(&mut self, node: &Alive) -> Result<(), String>;
    /// May who knows these nodes hear of us? Asked before an exchange that another began is answered.
    fn admit_asker(&mut self, nodes: &[NodeState]) -> Result<(), String>;
    /// May these nodes and we become one pool? Asked when one side joins.
    fn admit_merge(&mut self, nodes: &[NodeState]) -> Result<(), String>;
    /// A node appeared, or came back.
    fn joined(&mut self, now: Time, node: &Node);
    /// A live node changed.
    fn updated(&mut self, now: Time, node: &Node);
    /// A node is dead or left.
    fn gone(&mut self, now: Time, node: &Node);
    /// Two nodes use one name.
    fn conflict(&mut self, now: Time, known: &Node, other: &Alive);
    /// A user message, by packet or stream.
    fn user_message(&mut self, now: Time, message: &[u8]);
    /// Whether there are messages to gossip.
    fn has_broadcasts(&self) -> bool;
    /// Messages to gossip, each to be counted with its length and `overhead`.
    fn broadcasts(
        &mut self,
        overhead: usize,
        room: &mut usize,
        most: usize,
        out: &mut Vec<Arc<[u8]>>,
    );
    /// The user state of an exchange.
    fn local_state(&mut self) -> Vec<u8>;
    /// The other side's user state.
    fn merge_state(&mut self, now: Time, state: &[u8], exchange: Option<Exchange>, join: bool);
    /// What our acks carry.
    fn ack_payload(&mut self) -> Vec<u8>;
    /// A direct probe was answered.
    fn measured(&mut self, now: Time, node: &Arc<str>, round_trip: Duration, payload: &[u8]);
    /// An exchange that we began has ended.
    fn exchanged(
        &mut self,
        now: Time,
        exchange: Exchange,
        with: SocketAddr,
        result: Result<Vec<NodeState>, StreamError>,
    );
    /// Something an operator may want to read.
    fn note(&mut self, note: Note);
}

/// Something an operator may want to read in a log. The driver writes the text; nothing depends on it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Note {
    /// A packet, or a part of it, was dropped.
    Packet {
        /// Its source.
        from: SocketAddr,
        /// Why.
        error: PacketError,
    },
    /// A message of the layer above was malformed.
    Message {
        /// Why.
        error: PacketError,
    },
    /// A stream failed.
    Stream {
        /// The other side.
        with: SocketAddr,
        /// Why.
        error: StreamError,
    },
    /// Somebody suspected us, and we objected.
    Refuted {
        /// Who.
        from: Arc<str>,
    },
    /// A node did not answer and is suspect now.
    Suspect {
        /// Who.
        node: Arc<str>,
        /// Who says so.
        from: Arc<str>,
    },
    /// A node answers by TCP but not by UDP: look at the firewall.
    OnlyTcp {
        /// Who.
        node: Arc<str>,
    },
    /// A node was refused by the pool's rules.
    Refused {
        /// Who.
        node: Arc<str>,
        /// Why.
        why: String,
    },
    /// We did not run for a while; suspicions of that time are given as much more.
    Paused {
        /// How long.
        lasted: Duration,
    },
    /// Messages were dropped because a queue is full.
    QueueFull {
        /// How many.
        dropped: usize,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    // A round ends before the next begins at the same moment.
    ProbeTimeout,
    ProbeEnd,
    Probe,
    Gossip,
    PushPull,
    Suspicion(NodeId),
    Relay(u32),
    Stream(StreamId),
}

/// A ping that we send for somebody else.
#[derive(Debug)]
struct Relay {
    to: SocketAddr,
    seq: u32,
    nack: bool,
}

/// Bounds on what the network can make us keep.
const MAX_RELAYS: usize = 4096;
const MAX_OUTBOX: usize = 16_384;
/// Names as long as a label of DNS is allowed to be twice; a longer one fits no packet with its tags.
const MAX_NAME: usize = 512;
/// Meta of a node: tags.
pub const MAX_META: usize = 512;

/// The own node's fixed part.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Unique in the pool.
    pub name: Arc<str>,
    /// The address that others shall use.
    pub advertise: SocketAddr,
    /// Our versions.
    pub versions: Versions,
}

/// The state machine.
pub struct Memberlist {
    config: Config,
    identity: Identity,
    codec: Codec,
    rng: Rng,
    table: Table,
    queue: Queue,
    timers: Timers<Timer>,
    outbox: VecDeque<Transmit>,
    streams: stream::Streams,
    seq: u32,
    incarnation: u32,
    health: u32,
    probe: Option<probe::Round>,
    probe_pending: bool,
    reap_horizon: Option<Time>,
    relays: BTreeMap<u32, Relay>,
    paused: Duration,
    leaving: bool,
    /// There is nothing to gossip: the next message begins the rounds anew.
    quiet: bool,
    /// Counted for the operator.
    pub counters: Counters,
}

impl Memberlist {
    /// A member alone in its pool. Call [`Memberlist::start`] once the delegate is there.
    pub fn new(config: Config, identity: Identity, codec: Codec, rng: Rng) -> Self {
        Self {
            config,
            identity,
            codec,
            rng,
            table: Table::new(),
            queue: Queue::default(),
            timers: Timers::new(),
            outbox: VecDeque::new(),
            streams: stream::Streams::default(),
            seq: 0,
            incarnation: 0,
            health: 0,
            probe: None,
            probe_pending: false,
            reap_horizon: None,
            relays: BTreeMap::new(),
            paused: Duration::ZERO,
            leaving: false,
            quiet: false,
            counters: Counters::default(),
        }
    }

    /// Begins to live: the own node enters the table.
    pub fn start(&mut self, d: &mut dyn Delegate, now: Time, meta: Arc<[u8]>) {
        self.announce(d, now, meta);
    }

    /// The own node with a new incarnation and these tags, to be gossiped.
    fn announce(&mut self, d: &mut dyn Delegate, now: Time, meta: Arc<[u8]>) {
        self.incarnation += 1;
        let alive = Alive {
            addr: RawIp::from(self.identity.advertise.ip()),
            incarnation: self.incarnation,
            meta,
            node: self.identity.name.clone(),
            port: self.identity.advertise.port(),
            vsn: self.identity.versions,
        };
        self.alive(d, now, &alive, true);
    }

    /// Whether there is nobody to probe, to gossip with or to forget. A member alone sleeps.
    fn alone(&self) -> bool {
        self.table.len() <= 1
    }

    /// Begins to probe and to gossip: the first other node is there.
    fn begin_beats(&mut self, now: Time) {
        self.timers
            .retain(|timer| !matches!(timer, Timer::Probe | Timer::Gossip | Timer::PushPull));
        self.quiet = false;
        let (config, rng) = (&self.config, &mut self.rng);
        // A random first beat: members that start together shall not act together.
        self.timers
            .set(now + rng.part_of(config.probe_interval), Timer::Probe);
        self.timers
            .set(now + rng.part_of(config.gossip_interval), Timer::Gossip);
        if !config.push_pull_interval.is_zero() {
            self.timers.set(
                now + rng.part_of(config.push_pull_interval),
                Timer::PushPull,
            );
        }
    }

    /// Knows these nodes as if since long, in an order of its own.
    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn acquaint<'n>(
        &mut self,
        now: Time,
        nodes: impl ExactSizeIterator<Item = &'n Alive>,
    ) {
        let mut others: Vec<&Alive> = nodes.filter(|n| n.node != self.identity.name).collect();
        self.table.reserve(others.len());
        for left in (1..=others.len()).rev() {
            let node = others.swap_remove(self.rng.below(left));
            let new = table::NewNode {
                name: node.node.clone(),
                ip: node.addr,
                port: node.port,
                meta: node.meta.clone(),
                versions: node.vsn,
                incarnation: node.incarnation,
            };
            self.table.insert(new, false, now);
        }
        self.begin_beats(now);
    }

    /// Gossips again if there is something to say: here, or `above` in the delegate.
    pub fn stir(&mut self, now: Time, above: bool) {
        if self.quiet && !self.alone() && (above || !self.queue.is_empty()) {
            self.quiet = false;
            // As long as a message waits for the round of a member that never rests.
            let wait = self.rng.part_of(self.config.gossip_interval);
            self.timers.set(now + wait, Timer::Gossip);
        }
    }

    /// Changes the own tags.
    pub fn update(&mut self, d: &mut dyn Delegate, now: Time, meta: Arc<[u8]>) {
        if !self.leaving {
            self.announce(d, now, meta);
        }
    }

    /// The keys and layers.
    pub fn codec_mut(&mut self) -> &mut Codec {
        &mut self.codec
    }

    /// The keys and layers.
    pub fn codec(&self) -> &Codec {
        &self.codec
    }

    /// The parameters.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Nodes that are known in any state.
    pub fn known(&self) -> usize {
        self.table.len()
    }

    /// Live nodes, the own one included.
    pub fn live(&self) -> usize {
        self.table.live_count()
    }

    /// Live nodes other than the own one.
    pub fn live_others(&self) -> usize {
        self.table.live_others()
    }

    /// Nodes under suspicion.
    pub fn suspects(&self) -> usize {
        self.table.suspects()
    }

    /// Lifeguard's health score: 0 is well.
    pub fn health(&self) -> u32 {
        self.health
    }

    /// Membership messages that wait to be gossiped.
    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    /// A node by its name.
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.table.get(self.table.id(name)?)
    }

    /// All nodes.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.table.iter()
    }

    /// The own incarnation.
    pub fn incarnation(&self) -> u32 {
        self.incarnation
    }

    /// The next packet to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.outbox.pop_front()
    }

    /// When [`Memberlist::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.timers.next()
    }

    /// Tokens of messages that have been sent as often as they are.
    pub fn take_done(&mut self) -> Vec<Token> {
        self.queue.take_done()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, d: &mut dyn Delegate, now: Time) {
        if let Some(due) = self.timers.next() {
            self.notice_pause(d, now.since(due));
        }
        while let Some((timer, _)) = self.timers.pop(now) {
            match timer {
                // Whoever comes next begins the beats anew.
                Timer::Probe | Timer::Gossip | Timer::PushPull if self.alone() => {}
                Timer::Probe => self.probe_tick(d, now),
                Timer::ProbeTimeout => self.probe_timeout(now),
                Timer::ProbeEnd => self.probe_end(d, now),
                Timer::Gossip => self.gossip_tick(d, now),
                Timer::PushPull => self.push_pull_tick(d, now),
                Timer::Suspicion(id) => self.suspicion_fires(d, now, id),
                Timer::Relay(seq) => self.relay_timeout(d, seq),
                Timer::Stream(id) => self.stream_timeout(d, now, id),
            }
        }
        self.stir(now, false);
    }

    /// A process that was stopped heard nothing, and must not judge others by what it did not hear:
    /// the running probe ends without verdict, and suspicions get the lost time back. This goes
    /// beyond memberlist.
    fn notice_pause(&mut self, d: &mut dyn Delegate, late: Duration) {
        if late <= self.config.probe_interval {
            return;
        }
        self.paused += late;
        self.drop_probe();
        self.change_health(1);
        d.note(Note::Paused { lasted: late });
    }

    /// Lifeguard's local health: worse by `delta`, within the bounds.
    fn change_health(&mut self, delta: i64) {
        let top = i64::from(self.config.awareness_max.saturating_sub(1));
        let score = (i64::from(self.health) + delta).clamp(0, top);
        self.health = u32::try_from(score).unwrap_or(0);
    }

    fn next_seq(&mut self) -> u32 {
        self.seq = self.seq.wrapping_add(1);
        self.seq
    }

    /// Takes in a packet.
    pub fn handle_packet(
        &mut self,
        d: &mut dyn Delegate,
        now: Time,
        from: SocketAddr,
        packet: &[u8],
    ) {
        self.counters.packets_in += 1;
        self.counters.bytes_in += packet.len() as u64;
        let parts = match self.codec.open_packet(packet) {
            Ok(parts) => parts,
            Err(error) => return self.reject(d, from, error),
        };
        if let Some(error) = parts.error {
            self.reject(d, from, error);
        }
        for message in parts.iter() {
            if let Err(error) = self.handle_message(d, now, from, message) {
                self.reject(d, from, error);
            }
        }
        self.stir(now, false);
    }

    fn reject(&mut self, d: &mut dyn Delegate, from: SocketAddr, error: PacketError) {
        self.counters.packets_rejected += 1;
        d.note(Note::Packet { from, error });
    }

    fn handle_message(
        &mut self,
        d: &mut dyn Delegate,
        now: Time,
        from: SocketAddr,
        message: &[u8],
    ) -> Result<(), PacketError> {
        let (kind, body) = message.split_first().ok_or(PacketError::Short)?;
        match *kind {
            kind::PING => self.handle_ping(d, from, &msgpack::decode(body)?),
            kind::INDIRECT_PING => {
                self.handle_indirect_ping(d, now, from, &msgpack::decode(body)?)?
            }
            kind::ACK => self.handle_ack(d, now, &msgpack::decode(body)?),
            kind::NACK => self.handle_nack(&msgpack::decode(body)?),
            kind::SUSPECT => {
                let accusation = msgpack::decode(body)?;
                self.correct(from, &accusation, false);
                self.suspect(d, now, &accusation);
            }
            kind::ALIVE => {
                let alive: Alive = msgpack::decode(body)?;
                if alive.addr == RawIp::None {
                    return Err(PacketError::Address);
                }
                self.alive(d, now, &alive, false);
            }
            kind::DEAD => {
                let verdict = msgpack::decode(body)?;
                self.correct(from, &verdict, true);
                self.dead(d, now, &verdict, None);
            }
            kind::USER => d.user_message(now, body),
            kind => return Err(PacketError::Kind(kind)),
        }
        Ok(())
    }

    /// Where an answer goes: the address in the message if it has one, else the packet's source.
    fn answer_to(source: RawIp, port: u16, from: SocketAddr) -> SocketAddr {
        match (source.ip(), port) {
            (Some(ip), 1..) => SocketAddr::new(ip, port),
            _ => from,
        }
    }

    fn handle_ping(&mut self, d: &mut dyn Delegate, from: SocketAddr, ping: &Ping) {
        if !ping.node.is_empty() && ping.node != self.identity.name {
            self.counters.misdirected_pings += 1;
            return;
        }
        let to = Self::answer_to(ping.source_addr, ping.source_port, from);
        let ack = Ack {
            payload: msgpack::Bytes(d.ack_payload()),
            seq: ping.seq,
        };
        self.send_with_gossip(d, to, msgpack::tagged(kind::ACK, &ack));
    }

    fn handle_indirect_ping(
        &mut self,
        d: &mut dyn Delegate,
        now: Time,
        from: SocketAddr,
        ask: &IndirectPing,
    ) -> Result<(), PacketError> {
        let ip = ask.target.ip().ok_or(PacketError::Address)?;
        let port = if ask.port == 0 {
            self.identity.advertise.port()
        } else {
            ask.port
        };
        if self.relays.len() >= MAX_RELAYS {
            self.counters.dropped += 1;
            return Ok(());
        }
        let to = Self::answer_to(ask.source_addr, ask.source_port, from);
        let seq = self.next_seq();
        self.relays.insert(
            seq,
            Relay {
                to,
                seq: ask.seq,
                nack: ask.nack,
            },
        );
        self.timers
            .set(now + self.config.probe_timeout, Timer::Relay(seq));
        let ping = self.ping(ask.node.clone(), seq);
        self.send_with_gossip(
            d,
            SocketAddr::new(ip, port),
            msgpack::tagged(kind::PING, &ping),
        );
        Ok(())
    }

    /// A ping of ours.
    fn ping(&self, node: Arc<str>, seq: u32) -> Ping {
        Ping {
            node,
            seq,
            source_addr: RawIp::from(self.identity.advertise.ip()),
            source_node: self.identity.name.clone(),
            source_port: self.identity.advertise.port(),
        }
    }

    fn handle_ack(&mut self, d: &mut dyn Delegate, now: Time, ack: &Ack) {
        if let Some(relay) = self.relays.remove(&ack.seq) {
            // Its timer finds nothing and passes. Peers relay no payload.
            let ack = Ack {
                payload: msgpack::Bytes::default(),
                seq: relay.seq,
            };
            self.send_with_gossip(d, relay.to, msgpack::tagged(kind::ACK, &ack));
            return;
        }
        self.probe_answered(d, now, ack);
    }

    fn relay_timeout(&mut self, d: &mut dyn Delegate, seq: u32) {
        if let Some(relay) = self.relays.remove(&seq)
            && relay.nack
        {
            let nack = Nack { seq: relay.seq };
            self.send_with_gossip(d, relay.to, msgpack::tagged(kind::NACK, &nack));
        }
    }

    /// Leaves the pool: true if others are there to be told, and `token` comes back when they were.
    pub fn leave(&mut self, d: &mut dyn Delegate, now: Time, token: Token) -> bool {
        self.leaving = true;
        let Some(own) = self.table.own() else {
            return false;
        };
        let goodbye = Accusation {
            from: self.identity.name.clone(),
            incarnation: own.incarnation,
            node: self.identity.name.clone(),
        };
        let others = self.table.live_others() > 0;
        self.dead(d, now, &goodbye, others.then_some(token));
        others
    }

    /// The addresses of up to `count` random alive nodes that understand this protocol.
    pub fn random_peers(&mut self, count: usize, protocol: u8) -> Vec<SocketAddr> {
        let ids = self.table.random_alive(&mut self.rng, count, None);
        let nodes = ids.iter().filter_map(|id| self.table.get(*id));
        let able = nodes.filter(|node| node.versions.max() >= protocol);
        able.filter_map(|node| node.addr(self.identity.advertise.port()))
            .collect()
    }

    /// Whether we are leaving or have left.
    pub fn is_leaving(&self) -> bool {
        self.leaving
    }
}

#[cfg(test)]
mod tests;
