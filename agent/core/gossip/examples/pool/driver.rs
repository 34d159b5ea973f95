//! A thin driver of the gossip core: one UDP socket, one TCP listener, one timer.
//!
//! All decisions are the core's. The driver owns it in one task, feeds it what the network brings,
//! and does what it asks for; connections have a task each that moves bytes and nothing more.
// A driver is the edge: the fence of the core does not hold here.
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    clippy::disallowed_macros
)]

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use lictor_gossip::random::Seed;
use lictor_gossip::serf::{Snapshot, SnapshotAction};
use lictor_gossip::{
    Admission, Config, Core, Event, Own, StreamAction, StreamClosed, StreamId, Time,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// The largest packet of UDP.
const PACKET: usize = 65_536;
/// Packets taken in before anything else is looked at.
const BURST: usize = 64;
/// Reports of connections, and commands, that wait for the core.
const BACKLOG: usize = 256;
/// Pieces in which a stream is read.
const PIECE: usize = 64 << 10;

type Command = Box<dyn FnOnce(&mut Core, Time) + Send>;

/// What a connection does next.
enum Order {
    Write(Vec<u8>),
    Close,
}

/// What a connection has to say.
enum Report {
    Open(StreamId),
    Data(StreamId, Vec<u8>),
    Closed(StreamId, StreamClosed),
}

/// A running member. It ends when this and all its clones are gone.
#[derive(Clone)]
pub struct Pool {
    commands: mpsc::Sender<Command>,
}

/// What a member needs beside its configuration.
pub struct Setup {
    /// Where to listen; the same port for UDP and TCP.
    pub bind: SocketAddr,
    /// The snapshot file, if one is kept.
    pub snapshot: Option<PathBuf>,
    /// The pool's rules.
    pub admission: Box<dyn Admission>,
    /// Fresh from the operating system.
    pub seed: Seed,
}

impl Pool {
    /// Opens the sockets and begins. Events are to be taken: the member waits for nobody, and drops
    /// what is not taken when `events` is full.
    pub async fn start(
        config: Config,
        own: Own,
        setup: Setup,
        events: mpsc::Sender<Event>,
    ) -> io::Result<Self> {
        let udp = UdpSocket::bind(setup.bind).await?;
        let tcp = TcpListener::bind(setup.bind).await?;
        let start = Instant::now();
        let snapshot = match &setup.snapshot {
            None => None,
            Some(path) => {
                let text = match tokio::fs::read_to_string(path).await {
                    Ok(text) => text,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
                    Err(error) => return Err(error),
                };
                Some(Snapshot::replay(&text, config.serf.rejoin_after_leave))
            }
        };
        let mut core = Core::new(
            config,
            own,
            setup.admission,
            &setup.seed,
            snapshot.as_ref(),
            Time::ZERO,
        )
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        if let Some(snapshot) = &snapshot {
            core.rejoin(Time::ZERO, snapshot);
        }
        let (commands, command_queue) = mpsc::channel(BACKLOG);
        let (reports, report_queue) = mpsc::channel(BACKLOG);
        let driver = Driver {
            core,
            start,
            udp,
            tcp,
            events,
            reports,
            connections: BTreeMap::new(),
            snapshot: setup.snapshot,
        };
        tokio::spawn(driver.run(command_queue, report_queue));
        Ok(Self { commands })
    }

    /// Runs something on the core, between two packets. `None` once the member has ended.
    pub async fn with<R: Send + 'static>(
        &self,
        f: impl FnOnce(&mut Core, Time) -> R + Send + 'static,
    ) -> Option<R> {
        let (answer, result) = oneshot::channel();
        let command: Command = Box::new(move |core, now| {
            let _ = answer.send(f(core, now));
        });
        self.commands.send(command).await.ok()?;
        result.await.ok()
    }
}

struct Driver {
    core: Core,
    start: Instant,
    udp: UdpSocket,
    tcp: TcpListener,
    events: mpsc::Sender<Event>,
    reports: mpsc::Sender<Report>,
    connections: BTreeMap<StreamId, mpsc::Sender<Order>>,
    snapshot: Option<PathBuf>,
}

impl Driver {
    fn now(&self) -> Time {
        Time::from_start(self.start.elapsed())
    }

    async fn run(
        mut self,
        mut commands: mpsc::Receiver<Command>,
        mut reports: mpsc::Receiver<Report>,
    ) {
        let mut buffer = vec![0; PACKET];
        loop {
            self.flush().await;
            let wake_at = self.start
                + self
                    .core
                    .poll_timeout()
                    .unwrap_or(Time::MAX)
                    .offset()
                    .min(FAR);
            tokio::select! {
                // The timer last: an objection that waits in the socket shall be heard before a
                // suspicion is judged.
                biased;
                command = commands.recv() => match command {
                    Some(command) => command(&mut self.core, Time::from_start(self.start.elapsed())),
                    None => return,
                },
                received = self.udp.recv_from(&mut buffer) => {
                    if let Ok((len, from)) = received {
                        self.core.handle_packet(self.now(), from, &buffer[..len]);
                    }
                    self.receive_more(&mut buffer);
                }
                Some(report) = reports.recv() => self.handle_report(report),
                Ok((stream, from)) = self.tcp.accept() => {
                    if let Some(id) = self.core.accept_stream(self.now(), from) {
                        let orders = self.connection(id);
                        tokio::spawn(carry(id, stream, orders, self.reports.clone()));
                    }
                }
                () = tokio::time::sleep_until(wake_at) => self.core.handle_timeout(self.now()),
            }
        }
    }

    /// Takes in what else has come meanwhile.
    fn receive_more(&mut self, buffer: &mut [u8]) {
        for _ in 0..BURST {
            // An error here is that of an earlier send (nobody listens there), or no more packets.
            let Ok((len, from)) = self.udp.try_recv_from(buffer) else {
                return;
            };
            self.core.handle_packet(self.now(), from, &buffer[..len]);
        }
    }

    fn handle_report(&mut self, report: Report) {
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
            let _ = self.udp.send_to(&packet.bytes, packet.to).await;
        }
        while let Some(action) = self.core.poll_stream() {
            match action {
                StreamAction::Dial { id, to, .. } => {
                    let orders = self.connection(id);
                    tokio::spawn(dial(id, to, orders, self.reports.clone()));
                }
                StreamAction::Write { id, bytes } => self.order(id, Order::Write(bytes)),
                StreamAction::Close { id } => {
                    self.order(id, Order::Close);
                    self.connections.remove(&id);
                }
            }
        }
        while let Some(event) = self.core.poll_event() {
            let _ = self.events.try_send(event);
        }
        if let Some(path) = &self.snapshot
            && let Some(action) = self.core.poll_snapshot()
        {
            // A snapshot only helps a restart; without it one joins by address.
            let _ = save(path, action).await;
        }
    }

    fn connection(&mut self, id: StreamId) -> mpsc::Receiver<Order> {
        // The core sends one message on a stream and closes it.
        let (orders, queue) = mpsc::channel(4);
        self.connections.insert(id, orders);
        queue
    }

    fn order(&mut self, id: StreamId, order: Order) {
        if let Some(orders) = self.connections.get(&id) {
            let _ = orders.try_send(order);
        }
    }
}

/// As far as a timer needs to reach.
const FAR: std::time::Duration = std::time::Duration::from_secs(3600);

async fn save(path: &PathBuf, action: SnapshotAction) -> io::Result<()> {
    match action {
        SnapshotAction::Append(text) => {
            let mut file = tokio::fs::OpenOptions::new()
                .create(true)
                .append(true)
                .open(path)
                .await?;
            file.write_all(text.as_bytes()).await?;
            file.flush().await
        }
        SnapshotAction::Replace(text) => {
            let mut beside = path.clone().into_os_string();
            beside.push(".compact");
            tokio::fs::write(&beside, text).await?;
            tokio::fs::rename(&beside, path).await
        }
    }
}

async fn dial(
    id: StreamId,
    to: SocketAddr,
    mut orders: mpsc::Receiver<Order>,
    reports: mpsc::Sender<Report>,
) {
    // The core closes what takes too long.
    let stream = tokio::select! {
        stream = TcpStream::connect(to) => stream,
        _ = orders.recv() => return,
    };
    match stream {
        Ok(stream) => {
            if reports.send(Report::Open(id)).await.is_ok() {
                carry(id, stream, orders, reports).await;
            }
        }
        Err(error) => {
            let how = StreamClosed::Failed(format!("dial tcp {to}: {error}"));
            let _ = reports.send(Report::Closed(id, how)).await;
        }
    }
}

/// Moves bytes between a connection and the core until one of them ends it.
async fn carry(
    id: StreamId,
    stream: TcpStream,
    mut orders: mpsc::Receiver<Order>,
    reports: mpsc::Sender<Report>,
) {
    let (mut read, mut write) = stream.into_split();
    let mut buffer = vec![0; PIECE];
    let how = loop {
        tokio::select! {
            order = orders.recv() => match order {
                Some(Order::Write(bytes)) => {
                    // Both sides may send a large state at once: read while writing.
                    let result = tokio::select! {
                        result = write.write_all(&bytes) => result,
                        how = pump(id, &mut read, &mut buffer, &reports) => {
                            let _ = reports.send(Report::Closed(id, how)).await;
                            return;
                        }
                    };
                    if let Err(error) = result {
                        break StreamClosed::Failed(error.to_string());
                    }
                }
                // What was written is in the system's hands; the other side reads it to the end.
                Some(Order::Close) | None => {
                    let _ = write.shutdown().await;
                    return;
                }
            },
            how = pump(id, &mut read, &mut buffer, &reports) => break how,
        }
    };
    let _ = reports.send(Report::Closed(id, how)).await;
}

/// Hands on what comes, until the end.
async fn pump(
    id: StreamId,
    read: &mut tokio::net::tcp::OwnedReadHalf,
    buffer: &mut [u8],
    reports: &mpsc::Sender<Report>,
) -> StreamClosed {
    loop {
        match read.read(buffer).await {
            Ok(0) => return StreamClosed::End,
            Ok(len) => {
                if reports
                    .send(Report::Data(id, buffer[..len].to_vec()))
                    .await
                    .is_err()
                {
                    return StreamClosed::End;
                }
            }
            Err(error) => return StreamClosed::Failed(error.to_string()),
        }
    }
}
