//! The whole member: memberlist below, Serf above, and what goes between them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::admission::Admission;
use crate::config::Config;
use crate::coordinate::Coordinate;
use crate::event::{Event, Tags};
use crate::keyring::{Keyring, KeyringError};
use crate::memberlist::{
    Exchange, Identity, MAX_META, Memberlist, StreamAction, StreamClosed, StreamId, Transmit,
};
use crate::packet::Codec;
use crate::packet::message::Versions;
use crate::random::{NonceSource, Seed};
use crate::serf::{
    Effect, EventError, GOODBYE, KeyOperation, Member, Query, QueryError, QueryId, QueryParams,
    Serf, Snapshot, SnapshotAction, encode_tags,
};
use crate::stats::{Counters, Stats};
use crate::time::Time;

/// Who we are.
#[derive(Clone, Debug)]
pub struct Own {
    /// Our name, unique in the pool.
    pub name: String,
    /// The address that others shall use.
    pub advertise: SocketAddr,
    /// Our tags; at most 512 bytes encoded.
    pub tags: Tags,
}

/// Why a member cannot be. Nothing was started.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyringError),
    /// The tags are larger than a node's meta may be.
    #[error("encoded length of tags exceeds limit of {MAX_META} bytes")]
    Tags,
    /// A name that nobody could be told.
    #[error("name must have 1 to {max} bytes", max = MAX_NAME)]
    Name,
    /// The label's length travels in one byte.
    #[error("label must have at most 255 bytes")]
    Label,
    /// An address that stands for "any", or port 0: nobody could answer.
    #[error("advertised address {0} cannot be dialled")]
    Advertise(SocketAddr),
    /// A time that must pass is zero.
    #[error("{0} must not be zero")]
    Zero(&'static str),
}

const MAX_NAME: usize = 255;

/// A member of a pool, without IO.
///
/// The driver calls `handle_*` with what happened and the time, and after each call takes what
/// `poll_*` gives until there is no more:
///
/// ```
/// # use lictor_gossip::{*, config::Config, random::Seed};
/// # let config = Config::lan();
/// # let own = Own { name: "a".into(), advertise: ([127, 0, 0, 1], 8301).into(), tags: Default::default() };
/// let mut core = Core::new(config, own, Box::new(AdmitAll), &Seed::from_number(1), None, Time::ZERO)?;
/// while let Some(packet) = core.poll_transmit() { /* socket.send_to(packet.bytes, packet.to) */ }
/// while let Some(action) = core.poll_stream() { /* dial, write, close */ }
/// while let Some(event) = core.poll_event() { /* tell the user */ }
/// let wake_at = core.poll_timeout();
/// # Ok::<_, ConfigError>(())
/// ```
pub struct Core {
    memberlist: Memberlist,
    serf: Serf,
    advertise: SocketAddr,
    next_peek: u64,
}

impl Core {
    /// A member alone in its pool.
    ///
    /// With a snapshot (an empty one at first) lines for its file come from [`Core::poll_snapshot`]; call
    /// [`Core::rejoin`] to find the pool again.
    ///
    /// # Errors
    /// A parameter that cannot work.
    pub fn new(
        config: Config,
        own: Own,
        admission: Box<dyn Admission>,
        seed: &Seed,
        snapshot: Option<&Snapshot>,
        now: Time,
    ) -> Result<Self, ConfigError> {
        let Own {
            name,
            advertise,
            tags,
        } = own;
        for (what, value) in [
            ("probe interval", config.probe_interval),
            ("probe timeout", config.probe_timeout),
            ("gossip interval", config.gossip_interval),
            ("stream timeout", config.stream_timeout),
            ("reap interval", config.serf.reap_interval),
            ("reconnect interval", config.serf.reconnect_interval),
        ] {
            if value.is_zero() {
                return Err(ConfigError::Zero(what));
            }
        }
        if name.is_empty() || name.len() > MAX_NAME {
            return Err(ConfigError::Name);
        }
        if config.label.len() > 255 {
            return Err(ConfigError::Label);
        }
        if advertise.ip().is_unspecified() || advertise.port() == 0 {
            return Err(ConfigError::Advertise(advertise));
        }
        let meta = meta(&tags)?;
        let keyring = Keyring::new(&config.keys)?;
        let mut nonces = NonceSource::new(seed);
        let (below, above) = (nonces.rng(), nonces.rng());
        let codec = Codec::new(
            config.label.clone(),
            keyring,
            config.verify_incoming,
            config.verify_outgoing,
            nonces,
        );
        let name: Arc<str> = name.into();
        let identity = Identity {
            name: name.clone(),
            advertise,
            versions: Versions::ours(config.serf.protocol),
        };
        let serf = Serf::new(config.clone(), name, advertise, admission, above, snapshot);
        let memberlist = Memberlist::new(config, identity, codec, below);
        let mut it = Self {
            memberlist,
            serf,
            advertise,
            next_peek: 0,
        };
        it.memberlist.start(&mut it.serf, now, meta);
        it.settle(now);
        Ok(it)
    }

    /// Takes in a packet.
    pub fn handle_packet(&mut self, now: Time, from: SocketAddr, packet: &[u8]) {
        self.memberlist
            .handle_packet(&mut self.serf, now, from, packet);
        self.settle(now);
    }

    /// Takes in a connection. `None` if there are too many: close it.
    pub fn accept_stream(&mut self, now: Time, from: SocketAddr) -> Option<StreamId> {
        self.memberlist.accept_stream(now, from)
    }

    /// A connection that was asked for is there.
    pub fn handle_stream_open(&mut self, now: Time, id: StreamId) {
        self.memberlist.handle_stream_open(&mut self.serf, id);
        self.settle(now);
    }

    /// Bytes came on a connection.
    pub fn handle_stream_data(&mut self, now: Time, id: StreamId, bytes: &[u8]) {
        self.memberlist
            .handle_stream_data(&mut self.serf, now, id, bytes);
        self.settle(now);
    }

    /// A connection ended, or could not be made.
    pub fn handle_stream_closed(&mut self, now: Time, id: StreamId, how: StreamClosed) {
        self.memberlist
            .handle_stream_closed(&mut self.serf, now, id, how);
        self.settle(now);
    }

    /// Does what is due. A call too early does nothing.
    pub fn handle_timeout(&mut self, now: Time) {
        self.memberlist.handle_timeout(&mut self.serf, now);
        self.serf.handle_timeout(now);
        self.settle(now);
    }

    /// Carries out what Serf wants, until it wants nothing more.
    fn settle(&mut self, now: Time) {
        loop {
            let sent = self.memberlist.take_done();
            self.serf.notice_sent(now, &sent);
            let Some(effect) = self.serf.effects.pop_front() else {
                self.serf.arm(now);
                let above = crate::memberlist::Delegate::has_broadcasts(&self.serf);
                self.memberlist.stir(now, above);
                return;
            };
            match effect {
                // An answer to ourselves needs no network.
                Effect::Send { to, message } if to == self.advertise => {
                    crate::memberlist::Delegate::user_message(&mut self.serf, now, &message);
                }
                Effect::Send { to, message } => self.memberlist.send_user(to, &message),
                Effect::Relay { count, message } => {
                    for to in self.memberlist.random_peers(count, 5) {
                        self.memberlist.send_user(to, &message);
                    }
                }
                Effect::Exchange { exchange, to } => {
                    if let Err(error) = self.memberlist.exchange(now, exchange, to) {
                        self.serf.exchange_ended(now, exchange, to, Err(error));
                    }
                }
                Effect::Leave => {
                    let heard = self.memberlist.leave(&mut self.serf, now, GOODBYE);
                    self.serf.said_goodbye(now, heard);
                }
                Effect::Keys {
                    query,
                    operation,
                    key,
                } => {
                    let ring = &mut self.memberlist.codec_mut().keyring;
                    self.serf.change_keys(now, ring, &query, operation, &key);
                }
            }
        }
    }

    /// The next packet to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.memberlist.poll_transmit()
    }

    /// The next thing to do with a connection.
    pub fn poll_stream(&mut self) -> Option<StreamAction> {
        self.memberlist.poll_stream()
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.serf.poll_event()
    }

    /// What to write to the snapshot file. Ask twice a second; what is not asked for yet is collected.
    pub fn poll_snapshot(&mut self) -> Option<SnapshotAction> {
        self.serf.poll_snapshot()
    }

    /// When [`Core::handle_timeout`] wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        [self.memberlist.poll_timeout(), self.serf.poll_timeout()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Joins the pools at these addresses. [`Event::JoinDone`] with the returned number tells the end.
    /// With `ignore_old`, user events from before are not delivered.
    pub fn join(&mut self, now: Time, targets: &[SocketAddr], ignore_old: bool) -> u64 {
        let id = self.serf.join(now, targets, ignore_old, false);
        self.settle(now);
        id
    }

    /// Finds the pool of a snapshot again: its members are tried until one answers. As
    /// [`Core::join`]; `None` if the snapshot knows nobody.
    pub fn rejoin(&mut self, now: Time, snapshot: &Snapshot) -> Option<u64> {
        let targets = self.serf.rejoin_targets(snapshot);
        if targets.is_empty() {
            return None;
        }
        let id = self.serf.join(now, &targets, false, true);
        self.settle(now);
        Some(id)
    }

    /// Looks at what the member at this address knows, without becoming known to it.
    /// [`Event::PeekDone`] with the returned number tells the result.
    pub fn peek(&mut self, now: Time, target: SocketAddr) -> u64 {
        self.next_peek += 1;
        let exchange = Exchange::Peek(self.next_peek);
        if let Err(error) = self.memberlist.exchange(now, exchange, target) {
            self.serf.exchange_ended(now, exchange, target, Err(error));
        }
        self.next_peek
    }

    /// Leaves the pool. [`Event::Left`] tells when it is done; until then keep driving.
    pub fn leave(&mut self, now: Time) {
        self.serf.leave(now);
        self.settle(now);
    }

    /// Declares a failed member gone, in the whole pool; with `prune`, forgets it at once. An alive
    /// member objects. False for an unknown name.
    pub fn force_leave(&mut self, now: Time, name: &str, prune: bool) -> bool {
        let known = self.serf.force_leave(now, name, prune);
        self.settle(now);
        known
    }

    /// Fires a user event: its Lamport time.
    ///
    /// # Errors
    /// Too large, or we are leaving.
    pub fn fire_event(
        &mut self,
        now: Time,
        name: &str,
        payload: &[u8],
        coalesce: bool,
    ) -> Result<u64, EventError> {
        let result = self.serf.fire_event(name, payload, coalesce);
        self.settle(now);
        result
    }

    /// Asks the pool. Answers come as events, and [`Event::QueryDone`] at the end.
    ///
    /// # Errors
    /// Too large, too many, or we are leaving.
    pub fn query(
        &mut self,
        now: Time,
        name: &str,
        payload: &[u8],
        params: &QueryParams,
    ) -> Result<QueryId, QueryError> {
        let result = self.serf.query(now, name, payload, params);
        self.settle(now);
        result
    }

    /// Answers a query that came as an event.
    ///
    /// # Errors
    /// Too late, or too large.
    pub fn respond(&mut self, now: Time, query: &Query, payload: &[u8]) -> Result<(), QueryError> {
        let result = self.serf.respond(now, query, payload);
        self.settle(now);
        result
    }

    /// How long a query waits by default: it grows with the pool.
    #[must_use]
    pub fn default_query_timeout(&self) -> Duration {
        self.serf.default_query_timeout()
    }

    /// Changes our tags.
    ///
    /// # Errors
    /// They are too large. Nothing changed.
    pub fn set_tags(&mut self, now: Time, tags: &Tags) -> Result<(), ConfigError> {
        self.memberlist.update(&mut self.serf, now, meta(tags)?);
        self.settle(now);
        Ok(())
    }

    /// Does something to the keys of all members, ours too; `key` is empty for a list.
    /// [`Event::KeyDone`] with the returned number tells the answers.
    ///
    /// # Errors
    /// Too many queries, or we are leaving.
    pub fn key_operation(
        &mut self,
        now: Time,
        operation: KeyOperation,
        key: &[u8],
        relay_factor: u8,
    ) -> Result<u64, QueryError> {
        let nodes = self.memberlist.live();
        let result = self
            .serf
            .key_operation(now, operation, key, relay_factor, nodes);
        self.settle(now);
        result.map(|id| u64::from(id.id))
    }

    /// Our keys, the primary one first.
    pub fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.memberlist
            .codec()
            .keyring
            .keys()
            .map(crate::packet::seal::Key::bytes)
    }

    /// All members in the order of their names, those too that are gone but not forgotten.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.serf.roster_members()
    }

    /// The own member.
    #[must_use]
    pub fn own(&self) -> Option<&Member> {
        self.serf.own()
    }

    /// A member by its name.
    #[must_use]
    pub fn member(&self, name: &str) -> Option<&Member> {
        self.serf.member(name)
    }

    /// Our network coordinate.
    #[must_use]
    pub fn coordinate(&self) -> &Coordinate {
        self.serf.coordinates().own()
    }

    /// The last network coordinate that a member told us.
    #[must_use]
    pub fn coordinate_of(&self, name: &str) -> Option<&Coordinate> {
        self.serf.coordinates().of(name)
    }

    /// Counters since the start.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let mut counters = self.memberlist.counters;
        counters.dropped += self.serf.dropped;
        counters
    }

    /// How things stand.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let (members, failed, left) = self.serf.counts();
        let (member_time, event_time, query_time) = self.serf.clocks();
        let (intent_queue, event_queue, query_queue) = self.serf.queued();
        Stats {
            members,
            failed,
            left,
            known: self.memberlist.known(),
            live: self.memberlist.live(),
            suspects: self.memberlist.suspects(),
            health_score: self.memberlist.health(),
            incarnation: self.memberlist.incarnation(),
            member_time,
            event_time,
            query_time,
            member_queue: self.memberlist.queued(),
            intent_queue,
            event_queue,
            query_queue,
            encrypted: self.memberlist.codec().keyring.is_enabled(),
            coordinate_resets: self.serf.coordinates().resets,
        }
    }

    /// Both layers, for pools that the simulator makes whole.
    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn layers(&mut self) -> (&mut Memberlist, &mut Serf) {
        (&mut self.memberlist, &mut self.serf)
    }

    /// Memberlist's view, for tests that compare both layers.
    #[cfg(any(test, feature = "sim"))]
    #[must_use]
    pub fn memberlist(&self) -> &Memberlist {
        &self.memberlist
    }
}

/// Tags as meta, if they fit.
fn meta(tags: &Tags) -> Result<Arc<[u8]>, ConfigError> {
    let meta = encode_tags(tags);
    if meta.len() > MAX_META {
        Err(ConfigError::Tags)
    } else {
        Ok(meta.into())
    }
}
