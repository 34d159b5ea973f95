//! The thin driver of one gossip pool: one UDP socket, one TCP listener, one timer.
//!
//! All decisions are the core's. The driver owns it in one task, feeds it what the network brings,
//! does what it asks for, and publishes what it knows; connections have a task each that moves
//! bytes and nothing more. Nobody waits for the driver's lock, because there is none.

use super::files::{self, SnapshotFile};
use super::notes;
use crate::servers::ServerMember;
use arc_swap::ArcSwap;
use lictor_gossip::coordinate::Coordinate;
use lictor_gossip::memberlist::StreamError;
use lictor_gossip::packet::message::NodeState;
use lictor_gossip::serf::{KeyOperation, KeyResult, QueryError};
use lictor_gossip::{Core, Event, Member, StreamAction, StreamClosed, StreamId, Time};
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

/// The largest packet of UDP.
const PACKET: usize = 65_536;
/// Packets taken in before anything else is looked at.
const BURST: usize = 64;
/// Reports of connections, and orders, that wait for the core.
const BACKLOG: usize = 256;
/// User events that wait for the agent; Serf's own queues are as long.
const USER_EVENTS: usize = 4096;
/// Pieces in which a stream is read.
const PIECE: usize = 32 << 10;
/// As far as a timer needs to reach.
const FAR: Duration = Duration::from_secs(24 * 3600);
/// What the socket may hold while the driver is busy, as memberlist asks for it.
const RECEIVE_BUFFER: usize = 2 << 20;
/// After this a snapshot that could not be handed to its file is offered again.
const SNAPSHOT_RETRY: Duration = Duration::from_millis(500);

/// The members of a pool by name. Clones share everything; two of them compare by what differs.
pub type Members = imbl::OrdMap<Arc<str>, Member>;

/// What a pool shows to everyone without being asked.
pub struct Published {
    members: ArcSwap<Members>,
    servers: ArcSwap<Vec<ServerMember>>,
    coordinate: ArcSwap<Coordinate>,
    changed: watch::Sender<u64>,
    servers_changed: watch::Sender<u64>,
    keys: watch::Sender<Vec<Vec<u8>>>,
    moves: Mutex<Moves>,
}

/// How many members came and went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moves {
    /// Those who appeared, or came back.
    pub joined: u32,
    /// Those who do not answer any more.
    pub failed: u32,
    /// Those who left.
    pub left: u32,
}

impl Default for Published {
    /// Nobody is known yet.
    fn default() -> Published {
        Published {
            members: ArcSwap::default(),
            servers: ArcSwap::default(),
            coordinate: ArcSwap::default(),
            changed: watch::Sender::new(0),
            servers_changed: watch::Sender::new(0),
            keys: watch::Sender::new(Vec::new()),
            moves: Mutex::default(),
        }
    }
}

impl Published {
    /// The members, those too that failed or left and are not forgotten.
    pub fn members(&self) -> Arc<Members> {
        self.members.load_full()
    }

    /// The servers among them, by name.
    pub fn servers(&self) -> Arc<Vec<ServerMember>> {
        self.servers.load_full()
    }

    /// The own network coordinate.
    pub fn coordinate(&self) -> Arc<Coordinate> {
        self.coordinate.load_full()
    }

    /// Who came and went since this was asked the last time.
    pub fn take_moves(&self) -> Moves {
        std::mem::take(&mut *self.moves.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Tells that the members changed.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Tells that the servers among them changed.
    pub fn servers_changed(&self) -> watch::Receiver<u64> {
        self.servers_changed.subscribe()
    }

    /// Tells the own keys when they changed, the primary one first.
    pub fn keys(&self) -> watch::Receiver<Vec<Vec<u8>>> {
        self.keys.subscribe()
    }
}

/// A user event as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Its Lamport time.
    pub ltime: u64,
    /// Its name.
    pub name: String,
    /// Its payload.
    pub payload: Vec<u8>,
}

/// How a join ended.
#[derive(Clone, Debug, Default)]
pub struct Joined {
    /// Addresses where it worked.
    pub contacted: usize,
    /// Addresses where it did not, and why.
    pub failed: Vec<(SocketAddr, StreamError)>,
}

type Answer<T> = oneshot::Sender<T>;
type Task = Box<dyn FnOnce(&mut Core, Time) + Send>;

enum Order {
    Run(Task),
    Join(Vec<SocketAddr>, Answer<Joined>),
    Peek(SocketAddr, Answer<Result<Vec<NodeState>, StreamError>>),
    Keys {
        operation: KeyOperation,
        key: Vec<u8>,
        relay_factor: u8,
        answer: Answer<Result<KeyResult, QueryError>>,
    },
    Leave(Answer<()>),
    Stop(Answer<()>),
}

/// A running member of a pool. It ends when it is stopped, or this and all its clones are gone.
#[derive(Clone)]
pub struct Pool {
    orders: mpsc::Sender<Order>,
    published: Arc<Published>,
}

/// The sockets of a pool, open and not yet read.
pub struct Sockets {
    udp: UdpSocket,
    tcp: TcpListener,
}

impl Sockets {
    /// Opens both on the same port.
    ///
    /// # Errors
    /// What could not be opened and which settings decide about it.
    pub async fn open(pool: &str, at: SocketAddr, keys: &str) -> Result<Sockets, String> {
        let failed = |network: &str, error: std::io::Error| {
            format!(
                "Failed to start {pool} gossip: listen {network} {at}: {} (set by {keys})",
                crate::members::go_error(&error)
            )
        };
        let tcp = TcpListener::bind(at).await.map_err(|e| failed("tcp", e))?;
        let udp = UdpSocket::bind(at).await.map_err(|e| failed("udp", e))?;
        // As much as the system allows; less loses packets in a storm, and they are repeated.
        let _ = socket2::SockRef::from(&udp).set_recv_buffer_size(RECEIVE_BUFFER);
        Ok(Sockets { udp, tcp })
    }
}

/// What a member needs beside its core.
pub struct Setup {
    /// `lan` or `wan`, for the log.
    pub pool: &'static str,
    /// Where it listens.
    pub sockets: Sockets,
    /// The snapshot file, if one is kept.
    pub snapshot: Option<SnapshotFile>,
    /// Networks that may talk to us; empty: all.
    pub allowed: Vec<(IpAddr, u8)>,
    /// What the core's rules look at, too.
    pub published: Arc<Published>,
}

impl Pool {
    /// Begins to live. User events come from the receiver; what is not taken when it is full is lost.
    pub fn start(core: Core, setup: Setup) -> (Pool, mpsc::Receiver<Heard>) {
        let (orders, order_queue) = mpsc::channel(BACKLOG);
        let (reports, report_queue) = mpsc::channel(BACKLOG);
        let (heard, heard_queue) = mpsc::channel(USER_EVENTS);
        let published = setup.published;
        let mut driver = Driver {
            core,
            start: Instant::now(),
            sockets: setup.sockets,
            published: published.clone(),
            members: Members::default(),
            servers: BTreeMap::new(),
            heard,
            reports,
            connections: HashMap::new(),
            allowed: setup.allowed,
            snapshot: setup.snapshot.map(files::write_snapshots),
            snapshot_retry: None,
            waiting: Waiting::default(),
            left: false,
            log: notes::Log::new(setup.pool),
        };
        // The own member is there before anybody looks.
        driver.publish();
        tokio::spawn(driver.run(order_queue, report_queue));
        (Pool { orders, published }, heard_queue)
    }

    /// What the pool shows.
    pub fn published(&self) -> &Arc<Published> {
        &self.published
    }

    /// Runs something on the core, between two packets. `None` once the member has ended.
    pub async fn with<R: Send + 'static>(
        &self,
        f: impl FnOnce(&mut Core, Time) -> R + Send + 'static,
    ) -> Option<R> {
        self.order(|answer| {
            Order::Run(Box::new(move |core, now| {
                let _ = answer.send(f(core, now));
            }))
        })
        .await
    }

    /// Exchanges the full state with these addresses.
    pub async fn join(&self, targets: Vec<SocketAddr>) -> Joined {
        self.order(|answer| Order::Join(targets, answer))
            .await
            .unwrap_or_default()
    }

    /// Looks at the nodes that an address knows, without being seen.
    ///
    /// # Errors
    /// There was no answer, or none that could be read.
    pub async fn peek(&self, target: SocketAddr) -> Result<Vec<NodeState>, StreamError> {
        self.order(|answer| Order::Peek(target, answer))
            .await
            .unwrap_or(Err(StreamError::Leaving))
    }

    /// Does something to the keys of all members.
    ///
    /// # Errors
    /// The question was not asked.
    pub async fn keys(
        &self,
        operation: KeyOperation,
        key: Vec<u8>,
        relay_factor: u8,
    ) -> Result<KeyResult, QueryError> {
        self.order(|answer| Order::Keys {
            operation,
            key,
            relay_factor,
            answer,
        })
        .await
        .unwrap_or(Err(QueryError::Leaving))
    }

    /// Leaves the pool; ends when nobody will take us for failed.
    pub async fn leave(&self) {
        self.order(Order::Leave).await;
    }

    /// Ends the member; what it remembers is in its file when this returns.
    pub async fn stop(&self) {
        self.order(Order::Stop).await;
    }

    async fn order<T>(&self, order: impl FnOnce(Answer<T>) -> Order) -> Option<T> {
        let (answer, result) = oneshot::channel();
        self.orders.send(order(answer)).await.ok()?;
        result.await.ok()
    }
}

/// Who waits for what the core is about to tell. The core bounds how much of it there is.
#[derive(Default)]
struct Waiting {
    joins: BTreeMap<u64, Answer<Joined>>,
    peeks: BTreeMap<u64, Answer<Result<Vec<NodeState>, StreamError>>>,
    keys: BTreeMap<u64, Answer<Result<KeyResult, QueryError>>>,
    leaves: Vec<Answer<()>>,
}

/// What a connection does next.
enum Write {
    Bytes(Vec<u8>),
    Close,
}

/// What a connection has to say.
enum Report {
    Open(StreamId),
    Data(StreamId, Vec<u8>),
    Closed(StreamId, StreamClosed),
}

struct Driver {
    core: Core,
    start: Instant,
    sockets: Sockets,
    published: Arc<Published>,
    members: Members,
    servers: BTreeMap<Arc<str>, ServerMember>,
    heard: mpsc::Sender<Heard>,
    reports: mpsc::Sender<Report>,
    connections: HashMap<StreamId, mpsc::Sender<Write>>,
    allowed: Vec<(IpAddr, u8)>,
    snapshot: Option<files::SnapshotWriter>,
    snapshot_retry: Option<Instant>,
    waiting: Waiting,
    left: bool,
    log: notes::Log,
}

impl Driver {
    fn now(&self) -> Time {
        Time::from_start(self.start.elapsed())
    }

    async fn run(mut self, mut orders: mpsc::Receiver<Order>, mut reports: mpsc::Receiver<Report>) {
        let mut buffer = vec![0; PACKET];
        let stopped = loop {
            self.flush().await;
            let wake_at = self.wake_at();
            tokio::select! {
                // The timer last: an objection that waits in the socket shall be heard before a
                // suspicion is judged.
                biased;
                order = orders.recv() => match order {
                    Some(Order::Stop(answer)) => break Some(answer),
                    Some(order) => self.obey(order),
                    None => break None,
                },
                received = self.sockets.udp.recv_from(&mut buffer) => {
                    if let Ok((len, from)) = received {
                        self.packet(from, &buffer[..len]);
                    }
                    self.receive_more(&mut buffer);
                }
                Some(report) = reports.recv() => self.report(report),
                Ok((stream, from)) = self.sockets.tcp.accept() => self.accept(stream, from),
                () = sleep_until(wake_at) => self.core.handle_timeout(self.now()),
            }
        };
        if let Some(writer) = self.snapshot.take() {
            let last = std::iter::from_fn(|| self.core.poll_snapshot());
            writer.finish(last.collect()).await;
        }
        // Whoever waits for it may go on; the sockets are closed with the driver.
        drop(self);
        if let Some(answer) = stopped {
            let _ = answer.send(());
        }
    }

    /// When something is due; `None`: only when somebody comes.
    fn wake_at(&self) -> Option<Instant> {
        let core = self
            .core
            .poll_timeout()
            .map(|at| self.start + at.offset().min(self.start.elapsed() + FAR));
        [core, self.snapshot_retry].into_iter().flatten().min()
    }

    fn allows(&self, from: SocketAddr) -> bool {
        let ip = from.ip().to_canonical();
        self.allowed.is_empty()
            || self
                .allowed
                .iter()
                .any(|net| crate::live::contains(*net, ip))
    }

    fn packet(&mut self, from: SocketAddr, bytes: &[u8]) {
        if self.allows(from) {
            self.core.handle_packet(self.now(), from, bytes);
        }
    }

    /// Takes in what else has come meanwhile.
    fn receive_more(&mut self, buffer: &mut [u8]) {
        for _ in 0..BURST {
            // An error here is that of an earlier send (nobody listens there), or no more packets.
            let Ok((len, from)) = self.sockets.udp.try_recv_from(buffer) else {
                return;
            };
            self.packet(from, &buffer[..len]);
        }
    }

    fn accept(&mut self, stream: TcpStream, from: SocketAddr) {
        if !self.allows(from) {
            return;
        }
        if let Some(id) = self.core.accept_stream(self.now(), from) {
            let writes = self.connection(id);
            tokio::spawn(carry(id, stream, writes, self.reports.clone()));
        }
    }

    fn obey(&mut self, order: Order) {
        let now = self.now();
        match order {
            Order::Run(run) => run(&mut self.core, now),
            Order::Join(targets, answer) => {
                // Events of before are of no interest to an agent.
                let id = self.core.join(now, &targets, true);
                self.waiting.joins.insert(id, answer);
            }
            Order::Peek(target, answer) => {
                let id = self.core.peek(now, target);
                self.waiting.peeks.insert(id, answer);
            }
            Order::Keys {
                operation,
                key,
                relay_factor,
                answer,
            } => match self.core.key_operation(now, operation, &key, relay_factor) {
                Ok(id) => _ = self.waiting.keys.insert(id, answer),
                Err(error) => _ = answer.send(Err(error)),
            },
            Order::Leave(answer) if self.left => _ = answer.send(()),
            Order::Leave(answer) => {
                self.waiting.leaves.push(answer);
                self.core.leave(now);
            }
            Order::Stop(answer) => _ = answer.send(()),
        }
    }

    fn report(&mut self, report: Report) {
        let now = self.now();
        match report {
            Report::Open(id) => self.core.handle_stream_open(now, id),
            Report::Data(id, bytes) => self.core.handle_stream_data(now, id, &bytes),
            Report::Closed(id, how) => {
                self.connections.remove(&id);
                self.core.handle_stream_closed(now, id, how);
            }
        }
    }

    /// Does what the core asks for.
    async fn flush(&mut self) {
        while let Some(packet) = self.core.poll_transmit() {
            // Gossip is repeated; a packet that cannot be sent is a lost packet.
            let _ = self.sockets.udp.send_to(&packet.bytes, packet.to).await;
        }
        while let Some(action) = self.core.poll_stream() {
            match action {
                StreamAction::Dial { id, to, .. } => {
                    let writes = self.connection(id);
                    tokio::spawn(dial(id, to, writes, self.reports.clone()));
                }
                StreamAction::Write { id, bytes } => self.write(id, Write::Bytes(bytes)),
                StreamAction::Close { id } => {
                    self.write(id, Write::Close);
                    self.connections.remove(&id);
                }
            }
        }
        self.publish();
        self.snapshot_retry = None;
        if let Some(writer) = &self.snapshot {
            // A disk that is slow delays only its own file: the core collects meanwhile.
            match writer.slot() {
                Some(slot) => {
                    if let Some(action) = self.core.poll_snapshot() {
                        slot.send(action);
                    }
                }
                None => self.snapshot_retry = Some(Instant::now() + SNAPSHOT_RETRY),
            }
        }
    }

    /// Hands on what happened.
    fn publish(&mut self) {
        let (mut changed, mut servers_changed) = (false, false);
        let mut moves = Moves::default();
        while let Some(event) = self.core.poll_event() {
            self.log.event(&event);
            match &event {
                Event::MemberJoin(_) => moves.joined += 1,
                Event::MemberFailed(_) => moves.failed += 1,
                Event::MemberLeave(_) => moves.left += 1,
                _ => {}
            }
            match event {
                Event::MemberJoin(member)
                | Event::MemberUpdate(member)
                | Event::MemberStatus(member)
                | Event::MemberLeave(member)
                | Event::MemberFailed(member) => {
                    servers_changed |= match crate::members::server(&member) {
                        Some(server) => {
                            let known = self.servers.insert(member.name.clone(), server.clone());
                            known != Some(server)
                        }
                        None => self.servers.remove(&member.name).is_some(),
                    };
                    self.members.insert(member.name.clone(), member);
                    changed = true;
                }
                Event::MemberReap(member) => {
                    servers_changed |= self.servers.remove(&member.name).is_some();
                    self.members.remove(&member.name);
                    changed = true;
                }
                Event::User {
                    ltime,
                    name,
                    payload,
                    ..
                } => {
                    let heard = Heard {
                        ltime,
                        name,
                        payload,
                    };
                    if self.heard.try_send(heard).is_err() {
                        self.log.lost_event();
                    }
                }
                Event::KeyDone(result) => {
                    if let Some(answer) = self.waiting.keys.remove(&result.id) {
                        let _ = answer.send(Ok(result));
                    }
                }
                Event::KeyringChanged(keys) => _ = self.published.keys.send_replace(keys),
                Event::JoinDone {
                    id,
                    contacted,
                    failed,
                } => {
                    if let Some(answer) = self.waiting.joins.remove(&id) {
                        let _ = answer.send(Joined { contacted, failed });
                    }
                }
                Event::PeekDone { id, result } => {
                    if let Some(answer) = self.waiting.peeks.remove(&id) {
                        let _ = answer.send(result);
                    }
                }
                Event::Left => {
                    self.left = true;
                    for answer in self.waiting.leaves.drain(..) {
                        let _ = answer.send(());
                    }
                }
                _ => {}
            }
        }
        if moves != Moves::default() {
            let mut all = self
                .published
                .moves
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            all.joined += moves.joined;
            all.failed += moves.failed;
            all.left += moves.left;
        }
        if changed {
            self.published.members.store(Arc::new(self.members.clone()));
            if servers_changed {
                let servers = self.servers.values().cloned().collect();
                self.published.servers.store(Arc::new(servers));
                self.published.servers_changed.send_modify(|n| *n += 1);
            }
            self.published.changed.send_modify(|n| *n += 1);
        }
        if **self.published.coordinate.load() != *self.core.coordinate() {
            let coordinate = self.core.coordinate().clone();
            self.published.coordinate.store(Arc::new(coordinate));
        }
    }

    fn connection(&mut self, id: StreamId) -> mpsc::Receiver<Write> {
        // The core sends one message on a stream and closes it.
        let (writes, queue) = mpsc::channel(4);
        self.connections.insert(id, writes);
        queue
    }

    fn write(&mut self, id: StreamId, write: Write) {
        if let Some(writes) = self.connections.get(&id) {
            let _ = writes.try_send(write);
        }
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

async fn dial(
    id: StreamId,
    to: SocketAddr,
    mut writes: mpsc::Receiver<Write>,
    reports: mpsc::Sender<Report>,
) {
    // The core closes what takes too long.
    let stream = tokio::select! {
        stream = TcpStream::connect(to) => stream,
        _ = writes.recv() => return,
    };
    match stream {
        Ok(stream) => {
            if reports.send(Report::Open(id)).await.is_ok() {
                carry(id, stream, writes, reports).await;
            }
        }
        Err(error) => {
            let why = crate::members::go_error(&error);
            let how = StreamClosed::Failed(format!("dial tcp {to}: connect: {why}"));
            let _ = reports.send(Report::Closed(id, how)).await;
        }
    }
}

/// Moves bytes between a connection and the core until one of them ends it.
async fn carry(
    id: StreamId,
    stream: TcpStream,
    mut writes: mpsc::Receiver<Write>,
    reports: mpsc::Sender<Report>,
) {
    let (mut read, mut write) = stream.into_split();
    let how = loop {
        tokio::select! {
            order = writes.recv() => match order {
                Some(Write::Bytes(bytes)) => {
                    // Both sides may send a large state at once: read while writing.
                    let result = tokio::select! {
                        result = write.write_all(&bytes) => result,
                        how = pump(id, &mut read, &reports) => break how,
                    };
                    if let Err(error) = result {
                        break StreamClosed::Failed(error.to_string());
                    }
                }
                // What was written is in the system's hands; the other side reads it to the end.
                Some(Write::Close) | None => {
                    let _ = write.shutdown().await;
                    return;
                }
            },
            how = pump(id, &mut read, &reports) => break how,
        }
    };
    let _ = reports.send(Report::Closed(id, how)).await;
}

/// Hands on what comes, until the end.
async fn pump(
    id: StreamId,
    read: &mut tokio::net::tcp::OwnedReadHalf,
    reports: &mpsc::Sender<Report>,
) -> StreamClosed {
    let mut buffer = vec![0; PIECE];
    loop {
        match read.read(&mut buffer).await {
            Ok(0) => return StreamClosed::End,
            Ok(len) => {
                let data = Report::Data(id, buffer[..len].to_vec());
                if reports.send(data).await.is_err() {
                    return StreamClosed::End;
                }
            }
            Err(error) => return StreamClosed::Failed(error.to_string()),
        }
    }
}
