//! A simulated pool: many members, one queue of virtual time, one seed.
//!
//! The seed decides every delay, loss and choice, so a failure is repeated by its number. The
//! network loses, delays and duplicates packets and cuts links in one direction; members are
//! paused, killed, restarted and made to leave. Rules that must hold at every moment are checked
//! while it runs ([`Sim::assert_safety`]); what must come about in the end is checked after
//! healing ([`Sim::assert_converged`]).

pub(crate) mod acquaint;
pub mod storm;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::memberlist::Note;
use crate::random::{Rng, Seed};
use crate::serf::{Snapshot, SnapshotAction};
use crate::{
    AdmitAll, Config, Core, Event, Own, Status, StreamAction, StreamClosed, StreamId, Tags, Time,
};

/// What the network does to packets, and to streams as far as it applies.
#[derive(Clone, Debug)]
pub struct Network {
    /// The chance that a packet is lost.
    pub loss: f64,
    /// The chance that a packet comes twice.
    pub duplication: f64,
    /// The shortest time that a packet takes.
    pub delay_min: Duration,
    /// The longest.
    pub delay_max: Duration,
    /// Links that carry nothing, from the first member to the second. A stream needs both directions.
    pub cut: BTreeSet<(usize, usize)>,
    /// Members whose packets are lost more often, coming and going: to this chance.
    pub lossy: BTreeMap<usize, f64>,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            loss: 0.0,
            duplication: 0.0,
            delay_min: Duration::from_micros(200),
            delay_max: Duration::from_millis(2),
            cut: BTreeSet::new(),
            lossy: BTreeMap::new(),
        }
    }
}

/// What members saw of each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sight {
    /// When.
    pub at: Time,
    /// Who saw it.
    pub by: usize,
    /// Of whom.
    pub of: usize,
    /// What.
    pub what: Seen,
}

/// Kinds of [`Sight`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Seen {
    Suspect,
    Join,
    Update,
    Leave,
    Failed,
    Reap,
}

/// One member and what surrounds it.
struct Slot {
    core: Option<Core>,
    config: Config,
    tags: Tags,
    wake: Time,
    paused: bool,
    /// What waits in the sockets of a paused member.
    inbox: VecDeque<Item>,
    snapshot: String,
    life: u32,
    /// Whether it may be seen as left: it left, or was declared gone.
    may_be_left: bool,
    left: bool,
    heard: BTreeMap<Vec<u8>, u32>,
    kept: Option<Vec<Event>>,
}

/// Packets that wait for a paused member: beyond them the socket drops.
const SOCKET_BUFFER: usize = 256;

enum Item {
    Packet { from: SocketAddr, bytes: Vec<u8> },
    Wake,
    Dial { id: StreamId, from: usize },
    Open { id: StreamId },
    Data { id: StreamId, bytes: Vec<u8> },
    Closed { id: StreamId, how: StreamClosed },
}

/// The two ends of a stream: member, its life, and the number there.
type End = (usize, u32, StreamId);

/// The pool.
pub struct Sim {
    /// The number from which all of this follows.
    pub seed: u64,
    /// The network; change it at will.
    pub network: Network,
    /// All that members saw, oldest first.
    pub sights: Vec<Sight>,
    /// Packets sent so far.
    pub packets: u64,
    /// Bytes sent so far.
    pub bytes: u64,
    now: Time,
    rng: Rng,
    next: u64,
    queue: BTreeMap<(Time, u64), (usize, u32, Item)>,
    slots: Vec<Slot>,
    peers: BTreeMap<End, End>,
    arrival: BTreeMap<End, Time>,
    fired: BTreeSet<Vec<u8>>,
    trace: u64,
}

fn name(member: usize) -> String {
    format!("m{member}")
}

fn tags(member: usize) -> Tags {
    Tags::from([("n".to_owned(), member.to_string())])
}

fn addr(member: usize) -> SocketAddr {
    let [_, _, high, low] = u32::try_from(member).unwrap_or(0).to_be_bytes();
    SocketAddr::from(([10, 7, high, low], 7946))
}

fn member_at(addr: SocketAddr) -> Option<usize> {
    match addr {
        SocketAddr::V4(addr) => {
            let [_, _, high, low] = addr.ip().octets();
            Some(usize::from(high) << 8 | usize::from(low))
        }
        SocketAddr::V6(_) => None,
    }
}

fn member_named(name: &str) -> Option<usize> {
    name.strip_prefix('m')?.parse().ok()
}

impl Sim {
    /// A pool of nobody.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            network: Network::default(),
            sights: Vec::new(),
            packets: 0,
            bytes: 0,
            now: Time::ZERO,
            rng: Rng::new(seed),
            next: 0,
            queue: BTreeMap::new(),
            slots: Vec::new(),
            peers: BTreeMap::new(),
            arrival: BTreeMap::new(),
            fired: BTreeSet::new(),
            trace: 0xcbf2_9ce4_8422_2325,
        }
    }

    /// A pool of `count` members that know each other.
    #[must_use]
    pub fn pool(seed: u64, count: usize, config: &Config) -> Self {
        let mut sim = Self::new(seed);
        for member in 0..count {
            sim.add(config.clone());
            if member > 0 {
                // Through somebody who is there already, as operators do.
                let target = sim.rng.below(member.min(3));
                sim.join(member, target);
            }
        }
        sim.run(Duration::from_secs(20));
        sim
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Time {
        self.now
    }

    /// Randomness of the scenario, of the same seed.
    pub fn rng(&mut self) -> &mut Rng {
        &mut self.rng
    }

    /// A number that is the same for the same packets at the same times.
    #[must_use]
    pub fn trace(&self) -> u64 {
        self.trace
    }

    /// Members, dead and alive.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Adds a member that knows nobody.
    pub fn add(&mut self, config: Config) -> usize {
        let member = self.slots.len();
        self.slots.push(Slot {
            core: None,
            config,
            tags: tags(member),
            wake: Time::MAX,
            paused: false,
            inbox: VecDeque::new(),
            snapshot: String::new(),
            life: 0,
            may_be_left: false,
            left: false,
            heard: BTreeMap::new(),
            kept: None,
        });
        self.start(member);
        member
    }

    /// Starts a member that does not run, with the snapshot of its last life.
    pub fn start(&mut self, member: usize) {
        let seed = Seed::from_number(self.rng.next_u64());
        let now = self.now;
        let slot = &mut self.slots[member];
        assert!(slot.core.is_none(), "m{member} runs");
        let own = Own {
            name: name(member),
            advertise: addr(member),
            tags: slot.tags.clone(),
        };
        let snapshot = Snapshot::replay(&slot.snapshot, slot.config.serf.rejoin_after_leave);
        let mut core = Core::new(
            slot.config.clone(),
            own,
            Box::new(AdmitAll),
            &seed,
            Some(&snapshot),
            now,
        )
        .unwrap_or_else(|error| panic!("m{member}: {error}"));
        core.rejoin(now, &snapshot);
        slot.core = Some(core);
        slot.life += 1;
        slot.wake = Time::MAX;
        slot.paused = false;
        slot.may_be_left = false;
        slot.left = false;
        slot.heard.clear();
        self.drain(member);
    }

    /// Ends a member without a word.
    pub fn kill(&mut self, member: usize) {
        let slot = &mut self.slots[member];
        slot.core = None;
        slot.inbox.clear();
        slot.paused = false;
        // Connections break.
        let ends: Vec<End> = self
            .peers
            .range((member, 0, StreamId(0))..(member + 1, 0, StreamId(0)))
            .map(|(end, _)| *end)
            .collect();
        for end in ends {
            self.hang_up(end);
        }
    }

    /// Stops a member in its tracks: it neither reads nor acts.
    pub fn pause(&mut self, member: usize) {
        self.slots[member].paused = true;
    }

    /// Lets a paused member go on: first it reads what has come, then its timers fire.
    pub fn resume(&mut self, member: usize) {
        let slot = &mut self.slots[member];
        slot.paused = false;
        let life = slot.life;
        let inbox = std::mem::take(&mut slot.inbox);
        for item in inbox {
            self.deliver(member, life, item);
        }
        self.wake(member);
    }

    /// Makes a member leave.
    pub fn leave(&mut self, member: usize) {
        self.slots[member].may_be_left = true;
        self.with(member, |core, now| core.leave(now));
    }

    /// Makes a member join by another.
    pub fn join(&mut self, member: usize, by: usize) {
        self.with(member, |core, now| core.join(now, &[addr(by)], false));
    }

    /// Makes a member declare another gone.
    pub fn force_leave(&mut self, member: usize, gone: usize) {
        self.slots[gone].may_be_left = true;
        self.with(member, |core, now| {
            core.force_leave(now, &name(gone), false)
        });
    }

    /// Changes a member's tags.
    pub fn set_tags(&mut self, member: usize, tags: Tags) {
        self.slots[member].tags = tags.clone();
        self.with(member, |core, now| core.set_tags(now, &tags))
            .transpose()
            .unwrap_or_else(|error| panic!("{error}"));
    }

    /// Fires a user event with a payload that nobody used before.
    pub fn fire(&mut self, member: usize) -> Vec<u8> {
        let payload = format!("event {}", self.fired.len()).into_bytes();
        self.fired.insert(payload.clone());
        self.with(member, |core, now| {
            core.fire_event(now, "sim", &payload, false).map(drop)
        })
        .transpose()
        .unwrap_or_else(|error| panic!("{error}"));
        payload
    }

    /// How many running members delivered this event.
    #[must_use]
    pub fn deliveries(&self, payload: &[u8]) -> usize {
        self.slots
            .iter()
            .filter(|slot| slot.core.is_some() && slot.heard.contains_key(payload))
            .count()
    }

    /// Runs something on a running member. `None` if it does not run.
    pub fn with<R>(&mut self, member: usize, f: impl FnOnce(&mut Core, Time) -> R) -> Option<R> {
        let now = self.now;
        let result = f(self.slots[member].core.as_mut()?, now);
        self.drain(member);
        Some(result)
    }

    /// A running member.
    #[must_use]
    pub fn core(&self, member: usize) -> Option<&Core> {
        self.slots[member].core.as_ref()
    }

    /// How often a member was started.
    #[must_use]
    pub fn lives(&self, member: usize) -> u32 {
        self.slots[member].life
    }

    /// Members that run and take part, paused or not.
    #[must_use]
    pub fn running(&self) -> Vec<usize> {
        (0..self.slots.len())
            .filter(|member| self.slots[*member].core.is_some() && !self.slots[*member].may_be_left)
            .collect()
    }

    /// One member at random that runs, takes part and is not paused.
    pub fn any_running(&mut self) -> Option<usize> {
        let running: Vec<_> = self
            .running()
            .into_iter()
            .filter(|member| !self.slots[*member].paused)
            .collect();
        let at = self.rng.below(running.len());
        running.get(at).copied()
    }

    /// Begins or stops to keep a member's events; gives those kept until now.
    pub fn collect(&mut self, member: usize, keep: bool) -> Vec<Event> {
        std::mem::replace(&mut self.slots[member].kept, keep.then(Vec::new)).unwrap_or_default()
    }

    /// Lets time pass.
    pub fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some((&(at, number), _)) = self.queue.first_key_value() {
            if at > end {
                break;
            }
            self.now = at;
            if let Some((member, life, item)) = self.queue.remove(&(at, number)) {
                self.deliver(member, life, item);
            }
        }
        self.now = end;
    }

    /// Runs until something holds: how long it took, `None` if it does not come about in time.
    pub fn run_until(
        &mut self,
        limit: Duration,
        step: Duration,
        holds: impl Fn(&Self) -> bool,
    ) -> Option<Duration> {
        let start = self.now;
        while !holds(self) {
            if self.now.since(start) >= limit {
                return None;
            }
            self.run(step);
        }
        Some(self.now.since(start))
    }

    fn schedule(&mut self, at: Time, member: usize, item: Item) {
        self.next += 1;
        let life = self.slots[member].life;
        self.queue.insert((at, self.next), (member, life, item));
    }

    fn note(&mut self, bytes: &[u8]) {
        // FNV-1a over a few bytes of each packet is enough to notice any other course of things.
        for byte in bytes
            .iter()
            .take(32)
            .chain(&self.now.offset().as_nanos().to_le_bytes())
        {
            self.trace = (self.trace ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        }
    }

    fn delay(&mut self) -> Duration {
        let span = self
            .network
            .delay_max
            .saturating_sub(self.network.delay_min);
        self.network.delay_min + self.rng.part_of(span)
    }

    fn is_cut(&self, from: usize, to: usize) -> bool {
        self.network.cut.contains(&(from, to))
    }

    fn deliver(&mut self, member: usize, life: u32, item: Item) {
        let slot = &mut self.slots[member];
        if slot.life != life || slot.core.is_none() {
            if let Item::Dial { id, from } = item {
                // Nobody listens: the system there says so.
                let how = StreamClosed::Failed("connection refused".to_owned());
                let at = self.now + Duration::from_micros(300);
                self.schedule(at, from, Item::Closed { id, how });
            }
            return;
        }
        if slot.paused {
            match item {
                Item::Wake => {}
                Item::Packet { .. } if slot.inbox.len() >= SOCKET_BUFFER => {}
                item => slot.inbox.push_back(item),
            }
            return;
        }
        let now = self.now;
        let Some(core) = &mut slot.core else { return };
        match item {
            Item::Wake => {
                if slot.wake != now {
                    return;
                }
                return self.wake(member);
            }
            Item::Packet { from, bytes } => core.handle_packet(now, from, &bytes),
            Item::Dial { id, from } => {
                let here = core.accept_stream(now, addr(from));
                let there = (from, self.slots[from].life, id);
                match here {
                    Some(here) => {
                        let here = (member, life, here);
                        self.peers.insert(here, there);
                        self.peers.insert(there, here);
                        let at = self.now + self.delay();
                        self.schedule(at, from, Item::Open { id });
                    }
                    None => {
                        let at = self.now + self.delay();
                        self.schedule(
                            at,
                            from,
                            Item::Closed {
                                id,
                                how: StreamClosed::End,
                            },
                        );
                    }
                }
            }
            Item::Open { id } => core.handle_stream_open(now, id),
            Item::Data { id, bytes } => core.handle_stream_data(now, id, &bytes),
            Item::Closed { id, how } => core.handle_stream_closed(now, id, how),
        }
        self.drain(member);
    }

    fn wake(&mut self, member: usize) {
        let now = self.now;
        let slot = &mut self.slots[member];
        slot.wake = Time::MAX;
        if let Some(core) = &mut slot.core {
            core.handle_timeout(now);
        }
        self.drain(member);
    }

    /// Does what a member's core asks for.
    fn drain(&mut self, member: usize) {
        loop {
            let Some(core) = &mut self.slots[member].core else {
                return;
            };
            if let Some(packet) = core.poll_transmit() {
                self.send(member, packet.to, &packet.bytes);
            } else if let Some(action) = core.poll_stream() {
                self.stream_action(member, action);
            } else if let Some(event) = core.poll_event() {
                self.see(member, event);
            } else if let Some(action) = core.poll_snapshot() {
                let file = &mut self.slots[member].snapshot;
                match action {
                    SnapshotAction::Append(text) => file.push_str(&text),
                    SnapshotAction::Replace(text) => *file = text,
                }
            } else {
                break;
            }
        }
        let slot = &mut self.slots[member];
        if let Some(due) = slot.core.as_ref().and_then(Core::poll_timeout)
            && due < slot.wake
        {
            slot.wake = due.max(self.now);
            let at = slot.wake;
            self.schedule(at, member, Item::Wake);
        }
    }

    fn send(&mut self, from: usize, to: SocketAddr, bytes: &[u8]) {
        self.packets += 1;
        self.bytes += bytes.len() as u64;
        self.note(bytes);
        let Some(target) = member_at(to).filter(|target| *target < self.slots.len()) else {
            return;
        };
        if self.is_cut(from, target) {
            return;
        }
        let mut loss = self.network.loss;
        for end in [from, target] {
            loss = self
                .network
                .lossy
                .get(&end)
                .copied()
                .unwrap_or(0.0)
                .max(loss);
        }
        let copies = 1 + usize::from(self.rng.unit() < self.network.duplication);
        for _ in 0..copies {
            if self.rng.unit() >= loss {
                let at = self.now + self.delay();
                self.schedule(
                    at,
                    target,
                    Item::Packet {
                        from: addr(from),
                        bytes: bytes.to_vec(),
                    },
                );
            }
        }
    }

    fn stream_action(&mut self, member: usize, action: StreamAction) {
        let life = self.slots[member].life;
        match action {
            StreamAction::Dial { id, to, .. } => {
                let Some(target) = member_at(to).filter(|target| *target < self.slots.len()) else {
                    return;
                };
                // Over a cut link nothing comes back: the core gives up by itself.
                if !self.is_cut(member, target) && !self.is_cut(target, member) {
                    let at = self.now + self.delay() * 2;
                    self.schedule(at, target, Item::Dial { id, from: member });
                }
            }
            StreamAction::Write { id, bytes } => {
                let Some(&(to, _, there)) = self.peers.get(&(member, life, id)) else {
                    return;
                };
                if self.is_cut(member, to) || self.is_cut(to, member) {
                    return;
                }
                let at = self.in_order((member, life, id));
                self.schedule(at, to, Item::Data { id: there, bytes });
            }
            StreamAction::Close { id } => self.hang_up((member, life, id)),
        }
    }

    /// When the next piece of a stream arrives: never before the one before it.
    fn in_order(&mut self, end: End) -> Time {
        let at = self.now + self.delay();
        let last = self.arrival.entry(end).or_insert(at);
        *last = (*last).max(at);
        *last
    }

    fn hang_up(&mut self, end: End) {
        let Some((to, to_life, there)) = self.peers.remove(&end) else {
            return;
        };
        let at = self.in_order(end);
        self.arrival.remove(&end);
        if self.slots[to].life == to_life {
            self.schedule(
                at,
                to,
                Item::Closed {
                    id: there,
                    how: StreamClosed::End,
                },
            );
        }
    }

    fn see(&mut self, by: usize, event: Event) {
        if let Some(kept) = &mut self.slots[by].kept {
            kept.push(event.clone());
        }
        let (member, what) = match event {
            Event::MemberJoin(member) => (member.name, Seen::Join),
            Event::MemberUpdate(member) => (member.name, Seen::Update),
            Event::MemberLeave(member) => (member.name, Seen::Leave),
            Event::MemberFailed(member) => (member.name, Seen::Failed),
            Event::MemberReap(member) => (member.name, Seen::Reap),
            Event::Note(Note::Suspect { node, .. }) => (node, Seen::Suspect),
            Event::User { payload, .. } => {
                *self.slots[by].heard.entry(payload).or_default() += 1;
                return;
            }
            Event::Left => {
                self.slots[by].left = true;
                return;
            }
            _ => return,
        };
        let of = member_named(&member)
            .unwrap_or_else(|| panic!("seed {}: m{by} knows {member}", self.seed));
        self.sights.push(Sight {
            at: self.now,
            by,
            of,
            what,
        });
    }

    /// Whether a member has left in peace.
    #[must_use]
    pub fn has_left(&self, member: usize) -> bool {
        self.slots[member].left
    }

    /// Ends all faults of the network, and lets paused members go on.
    pub fn heal(&mut self) {
        self.network = Network::default();
        for member in 0..self.slots.len() {
            if self.slots[member].paused {
                self.resume(member);
            }
        }
    }

    /// What must hold at every moment, faults or not.
    ///
    /// # Panics
    /// It does not; the text names the seed.
    pub fn assert_safety(&self) {
        let seed = self.seed;
        for (by, slot) in self.slots.iter().enumerate() {
            let Some(core) = &slot.core else { continue };
            let stats = core.stats();
            for member in core.members() {
                let of = member_named(&member.name).filter(|of| *of < self.slots.len());
                let Some(of) = of else {
                    panic!("seed {seed}: m{by} invented {}", member.name)
                };
                assert_eq!(
                    member.addr,
                    addr(of),
                    "seed {seed}: m{by} has m{of} at a wrong address"
                );
                if of == by {
                    let fine = matches!(member.status, Status::Alive) || slot.may_be_left;
                    assert!(
                        fine,
                        "seed {seed}: m{by} takes itself for {:?}",
                        member.status
                    );
                }
                if member.status == Status::Left {
                    let said = self.slots[of].may_be_left;
                    assert!(
                        said || self.slots[of].life > 1,
                        "seed {seed}: m{by} believes that m{of} left, which nobody said"
                    );
                }
            }
            for (payload, times) in &slot.heard {
                assert_eq!(
                    *times, 1,
                    "seed {seed}: m{by} delivered {payload:?} {times} times"
                );
                assert!(
                    self.fired.contains(payload),
                    "seed {seed}: m{by} invented {payload:?}"
                );
            }
            let bound = 4096_usize.max(2 * self.slots.len());
            for depth in [
                stats.member_queue,
                stats.intent_queue,
                stats.event_queue,
                stats.query_queue,
            ] {
                assert!(
                    depth <= bound,
                    "seed {seed}: a queue of m{by} holds {depth}"
                );
            }
        }
    }

    /// Why the pool has not converged: the first difference found.
    #[must_use]
    pub fn difference(&self) -> Option<String> {
        let alive: BTreeSet<usize> = self.running().into_iter().collect();
        for &by in &alive {
            let core = self.slots[by].core.as_ref()?;
            let mut seen = BTreeSet::new();
            for member in core.members() {
                let Some(of) = member_named(&member.name) else {
                    continue;
                };
                if member.status == Status::Alive {
                    seen.insert(of);
                    if alive.contains(&of) && *member.tags != self.slots[of].tags {
                        return Some(format!("m{by} sees m{of} with {:?}", member.tags));
                    }
                } else if alive.contains(&of) {
                    return Some(format!("m{by} sees m{of} as {}", member.status.as_str()));
                } else if self.slots[of].left && member.status != Status::Left {
                    return Some(format!(
                        "m{by} sees m{of} as {}, which left",
                        member.status.as_str()
                    ));
                }
            }
            if let Some(of) = seen.symmetric_difference(&alive).next() {
                let what = if alive.contains(of) {
                    "does not see"
                } else {
                    "still sees"
                };
                return Some(format!("m{by} {what} m{of}"));
            }
            let live = core.memberlist().live();
            if live != alive.len() {
                return Some(format!("m{by} has {live} live nodes of {}", alive.len()));
            }
        }
        None
    }

    /// What must hold some time after healing: all agree, and what they agree on is true.
    ///
    /// # Panics
    /// They do not agree within `limit`; the text names the seed.
    pub fn assert_converges(&mut self, limit: Duration) -> Duration {
        let took = self.run_until(limit, Duration::from_secs(1), |sim| {
            sim.difference().is_none()
        });
        took.unwrap_or_else(|| {
            panic!(
                "seed {}: after {limit:?} of peace, {}",
                self.seed,
                self.difference().unwrap_or_default()
            )
        })
    }

    /// First time at which a kind of sight of a member was had by anybody, from `since` on.
    #[must_use]
    pub fn first(&self, of: usize, what: Seen, since: Time) -> Option<Time> {
        self.sights
            .iter()
            .find(|sight| sight.of == of && sight.what == what && sight.at >= since)
            .map(|sight| sight.at)
    }

    /// Sights of failures of members that ran at the time: false alarms.
    #[must_use]
    pub fn false_failures(&self) -> usize {
        self.sights
            .iter()
            .filter(|sight| sight.what == Seen::Failed && self.slots[sight.of].core.is_some())
            .count()
    }

    /// Names the file of a member's snapshot, for tests that look into it.
    #[must_use]
    pub fn snapshot(&self, member: usize) -> &str {
        &self.slots[member].snapshot
    }

    /// A member's name.
    #[must_use]
    pub fn name(member: usize) -> Arc<str> {
        name(member).into()
    }

    /// A member's address.
    #[must_use]
    pub fn addr(member: usize) -> SocketAddr {
        addr(member)
    }
}

#[cfg(test)]
mod tests;
