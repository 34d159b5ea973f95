//! Connections to other servers: found by id, kept, and made again when they break.

use super::identity::Identity;
use super::wire::{
    self, Answer, Ask, FIRST_BYTE, FORMAT, FRAME_MAX, HELLO_MAX, Hello, Lane, Welcome,
};
use crate::servers::{self, ServerMember, Standing};
use futures_util::future::BoxFuture;
use lictor_raft::{ServerInfo, SnapshotBody, Transport, TransportError};
use lictor_rpc::PortTls;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, ReadHalf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};

/// A connection, whatever carries it.
pub trait Io: AsyncRead + AsyncWrite + Unpin + Send + 'static {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send + 'static> Io for T {}
/// A connection.
pub type Stream = Box<dyn Io>;

/// Gives the servers that are known at present.
pub type Servers = Box<dyn Fn() -> Vec<ServerMember> + Send + Sync>;

/// A server that cannot be reached is one that does not answer within this.
const DIAL_LIMIT: Duration = Duration::from_secs(3);
/// A server that does not answer is told of after so long.
const SILENCE: Duration = Duration::from_secs(1);
/// Idle connections kept for one server and lane.
const IDLE_MAX: usize = 2;
/// Questions that wait to be written, for one server.
const OUTBOX: usize = 1024;
/// The pieces that a snapshot is sent in.
const PIECE: usize = 128 << 10;
/// A snapshot that does not move for so long is given up, and begun again.
const STALL_LIMIT: Duration = Duration::from_secs(20);
/// Pieces of a snapshot that wait to be sent.
const PIECES: usize = 8;

/// The ways from this server to the others.
pub struct Links {
    own: ServerInfo,
    datacenter: String,
    identity: Arc<Identity>,
    /// The own address of connections; the system chooses where there is none.
    source: Option<IpAddr>,
    tls: Arc<PortTls>,
    servers: OnceLock<Servers>,
    idle: Mutex<HashMap<(String, Lane), Vec<Stream>>>,
    callers: Mutex<HashMap<String, Arc<Caller>>>,
    /// Servers that do not answer consensus, since when, and whether that was told.
    silent: Mutex<HashMap<String, (Instant, bool)>>,
}

impl Links {
    /// Links of the server `own`. Until [`Links::follow`] others are sought where the membership
    /// says that they are.
    pub fn new(
        own: ServerInfo,
        datacenter: &str,
        identity: Arc<Identity>,
        source: Option<IpAddr>,
        tls: Arc<PortTls>,
    ) -> Arc<Links> {
        Arc::new(Links {
            own,
            datacenter: datacenter.to_owned(),
            identity,
            source,
            tls,
            servers: OnceLock::new(),
            idle: Mutex::default(),
            callers: Mutex::default(),
            silent: Mutex::default(),
        })
    }

    /// Tells once that a server cannot be reached, and once that it can again.
    fn note_contact(&self, target: &ServerInfo, error: Option<&TransportError>) {
        let mut silent = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(error) = error else {
            if let Some((since, true)) = silent.remove(&target.node_id) {
                tracing::info!(target: "agent.server.raft", server_id = %target.node_id, name = %target.name, time = ?since.elapsed(), "server answers again");
            }
            return;
        };
        let (since, told) = silent
            .entry(target.node_id.clone())
            .or_insert((Instant::now(), false));
        if !*told && since.elapsed() >= SILENCE {
            *told = true;
            tracing::warn!(target: "agent.server.raft", server_id = %target.node_id, name = %target.name, address = %target.address, error = %error, "failed to contact");
        }
    }

    /// Finds servers by what `servers` says from now on. Only the first call counts.
    pub fn follow(&self, servers: Servers) {
        self.servers.set(servers).ok();
    }

    /// The servers that are known, this one among them.
    pub fn servers(&self) -> Vec<ServerMember> {
        self.servers.get().map_or_else(Vec::new, |all| all())
    }

    /// Where the server may be, best first: where gossip sees it, then where it was.
    fn addresses(&self, target: &ServerInfo) -> Vec<String> {
        let servers = self.servers();
        let member = servers::best(&servers, &target.node_id);
        let mut found: Vec<String> = member
            .filter(|s| s.standing != Standing::Left)
            .map(|s| s.rpc.to_string())
            .into_iter()
            .collect();
        if !target.address.is_empty() && !found.contains(&target.address) {
            found.push(target.address.clone());
        }
        found
    }

    async fn dial(&self, target: &ServerInfo, lane: Lane) -> io::Result<Stream> {
        let mut error = io::Error::new(
            io::ErrorKind::NotFound,
            format!("no address of {target} is known"),
        );
        for address in self.addresses(target) {
            match timeout(DIAL_LIMIT, self.dial_at(&address, target, lane)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(e)) => error = e,
                Err(_) => error = io::ErrorKind::TimedOut.into(),
            }
        }
        Err(error)
    }

    async fn dial_at(&self, at: &str, target: &ServerInfo, lane: Lane) -> io::Result<Stream> {
        let stream = match at.parse::<SocketAddr>() {
            Ok(at) => connect(at, self.source).await?,
            Err(_) => TcpStream::connect(at).await?,
        };
        stream.set_nodelay(true)?;
        let tls = self.tls.outgoing(&self.datacenter);
        let mut stream: Stream = match tls.map_err(io::Error::other)? {
            Some(tls) => Box::new(lictor_rpc::secure(stream, tls).await?),
            None => Box::new(stream),
        };
        let hello = Hello {
            format: FORMAT,
            lane,
            datacenter: self.datacenter.clone(),
            id: self.own.node_id.clone(),
            target: target.node_id.clone(),
            // Consensus calls others only where it has a log.
            cluster: self.identity.cluster(lane.is_raft()),
        };
        let mut first = vec![FIRST_BYTE];
        let hello = wire::encode(&hello);
        first.extend_from_slice(&(hello.len() as u32).to_le_bytes());
        first.extend_from_slice(&hello);
        stream.write_all(&first).await?;
        stream.flush().await?;
        match wire::decode(&wire::receive(&mut stream, HELLO_MAX).await?)? {
            Welcome::Yes => Ok(stream),
            Welcome::No(why) => Err(io::Error::other(format!("{at} refuses: {why}"))),
        }
    }

    fn take_idle(&self, target: &ServerInfo, lane: Lane) -> Option<Stream> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.get_mut(&(target.node_id.clone(), lane))?.pop()
    }

    /// What was kept may lead nowhere.
    fn drop_idle(&self, target: &ServerInfo, lane: Lane) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.remove(&(target.node_id.clone(), lane));
    }

    fn keep(&self, target: &ServerInfo, lane: Lane, stream: Stream) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = idle.entry((target.node_id.clone(), lane)).or_default();
        if kept.len() < IDLE_MAX {
            kept.push(stream);
        }
    }

    /// Forgets the kept connections to a server that is gone.
    pub fn forget(&self, id: &str) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|(node, _), _| !node.eq_ignore_ascii_case(id));
        let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        callers.retain(|node, _| !node.eq_ignore_ascii_case(id));
        let mut silent = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        silent.retain(|node, _| !node.eq_ignore_ascii_case(id));
    }

    async fn exchange(
        &self,
        target: &ServerInfo,
        lane: Lane,
        request: &[u8],
    ) -> io::Result<Vec<u8>> {
        // A kept connection may have been closed at the other end; what consensus says may be
        // said twice.
        if let Some(mut stream) = self.take_idle(target, lane)
            && let Ok(answer) = once(&mut stream, request).await
        {
            self.keep(target, lane, stream);
            return read_answer(answer);
        }
        let mut stream = self.dial(target, lane).await?;
        let answer = once(&mut stream, request).await?;
        self.keep(target, lane, stream);
        read_answer(answer)
    }

    async fn snapshot(
        &self,
        target: &ServerInfo,
        head: Vec<u8>,
        body: SnapshotBody,
        limit: Duration,
    ) -> io::Result<Vec<u8>> {
        let stalled = |_| io::Error::from(io::ErrorKind::TimedOut);
        let mut stream = self.dial(target, Lane::Snapshot).await?;
        let stall = limit.min(STALL_LIMIT);
        timeout(stall, wire::send(&mut stream, &[&head]))
            .await
            .map_err(stalled)??;
        let (pieces, mut written) = mpsc::channel::<Vec<u8>>(PIECES);
        let writer = tokio::task::spawn_blocking(move || {
            let mut out = io::BufWriter::with_capacity(PIECE, Pieces(pieces));
            body.write_to(&mut out)?;
            io::Write::flush(&mut out)
        });
        while let Some(piece) = written.recv().await {
            timeout(stall, wire::send(&mut stream, &[&piece]))
                .await
                .map_err(stalled)??;
        }
        // Without the empty frame the other side knows that it is not whole.
        writer.await.map_err(io::Error::other)??;
        timeout(limit, async {
            wire::send(&mut stream, &[&[]]).await?;
            read_answer(wire::receive(&mut stream, FRAME_MAX).await?)
        })
        .await
        .map_err(stalled)?
    }

    /// Asks a server and waits for its answer, no longer than `limit`.
    ///
    /// # Errors
    /// [`AskError::NotSent`] when it surely has not seen the question, else [`AskError::Lost`].
    pub async fn ask(
        self: &Arc<Links>,
        target: &ServerInfo,
        ask: &Ask,
        limit: Duration,
    ) -> Result<Answer, AskError> {
        self.send(target, ask, limit).await?.answer(limit).await
    }

    /// Sends a question, no longer than `limit`. Dropping the future before it is done sends
    /// nothing, unless it was about to end with success.
    ///
    /// # Errors
    /// [`AskError::NotSent`].
    pub async fn send(
        self: &Arc<Links>,
        target: &ServerInfo,
        ask: &Ask,
        limit: Duration,
    ) -> Result<Sent, AskError> {
        match timeout(limit, self.put(target, wire::encode(ask))).await {
            Ok(Ok((caller, reply))) => Ok(Sent {
                links: self.clone(),
                target: target.clone(),
                caller,
                reply,
            }),
            Ok(Err(e)) => Err(AskError::NotSent(e.to_string())),
            Err(_) => Err(AskError::NotSent("no connection in time".to_owned())),
        }
    }

    /// Hands a question to a connection.
    async fn put(
        self: &Arc<Links>,
        target: &ServerInfo,
        question: Vec<u8>,
    ) -> io::Result<(Arc<Caller>, Reply)> {
        loop {
            let known = {
                let callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
                callers.get(&target.node_id).cloned()
            };
            let caller = match known {
                Some(caller) => caller,
                None => {
                    let stream = self.dial(target, Lane::Questions).await?;
                    let caller = Caller::start(stream);
                    let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
                    // Someone else may have been faster.
                    callers
                        .entry(target.node_id.clone())
                        .or_insert(caller)
                        .clone()
                }
            };
            if caller.outbox.is_closed() {
                self.discard(target, &caller);
                continue;
            }
            let number = caller.next.fetch_add(1, Ordering::Relaxed);
            let (sender, receiver) = oneshot::channel();
            let reply = Reply {
                number,
                receiver,
                caller: Arc::downgrade(&caller),
            };
            if !caller.expect(number, sender) {
                self.discard(target, &caller);
                continue;
            }
            match caller.outbox.send((number, question)).await {
                Ok(()) => return Ok((caller, reply)),
                Err(_) => {
                    self.discard(target, &caller);
                    return Err(io::ErrorKind::BrokenPipe.into());
                }
            }
        }
    }

    fn discard(&self, target: &ServerInfo, caller: &Arc<Caller>) {
        let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        if callers
            .get(&target.node_id)
            .is_some_and(|known| Arc::ptr_eq(known, caller))
        {
            callers.remove(&target.node_id);
        }
    }
}

/// A question that was sent.
pub struct Sent {
    links: Arc<Links>,
    target: ServerInfo,
    caller: Arc<Caller>,
    reply: Reply,
}

impl Sent {
    /// Waits for the answer, no longer than `limit`.
    ///
    /// # Errors
    /// [`AskError::Lost`].
    pub async fn answer(self, limit: Duration) -> Result<Answer, AskError> {
        let answer = match timeout(limit, self.reply.wait()).await {
            Ok(Some(answer)) => answer,
            Ok(None) => return Err(AskError::Lost("the connection broke".to_owned())),
            Err(_) => {
                // It may be that nothing comes through any more: the next one tries anew.
                self.links.discard(&self.target, &self.caller);
                return Err(AskError::Lost("no answer in time".to_owned()));
            }
        };
        wire::decode(&answer).map_err(|e| AskError::Lost(e.to_string()))
    }
}

/// Why a question has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// The other server has not seen it.
    #[error("{0}")]
    NotSent(String),
    /// It may have seen it.
    #[error("{0}")]
    Lost(String),
}

async fn connect(at: SocketAddr, source: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = match at {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    if let Some(source) = source.filter(|ip| ip.is_ipv4() == at.is_ipv4()) {
        socket.bind(SocketAddr::new(source, 0))?;
    }
    socket.connect(at).await
}

async fn once(stream: &mut Stream, request: &[u8]) -> io::Result<Vec<u8>> {
    wire::send(stream, &[request]).await?;
    wire::receive(stream, FRAME_MAX).await
}

/// An answer begins with a byte that says whether it is one.
fn read_answer(mut bytes: Vec<u8>) -> io::Result<Vec<u8>> {
    match bytes.first() {
        Some(0) => {
            bytes.remove(0);
            Ok(bytes)
        }
        Some(_) => Err(io::Error::other(
            String::from_utf8_lossy(&bytes[1..]).into_owned(),
        )),
        None => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// Writes into pieces that are sent elsewhere. Blocks.
struct Pieces(mpsc::Sender<Vec<u8>>);

impl io::Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        match self.0.blocking_send(bytes.to_vec()) {
            Ok(()) => Ok(bytes.len()),
            Err(_) => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A connection on which many questions are under way at a time.
struct Caller {
    outbox: mpsc::Sender<(u64, Vec<u8>)>,
    next: AtomicU64,
    /// `None` once the connection is gone.
    waiting: Mutex<Option<HashMap<u64, oneshot::Sender<Vec<u8>>>>>,
}

/// An answer to come. Dropping it gives up.
struct Reply {
    number: u64,
    receiver: oneshot::Receiver<Vec<u8>>,
    caller: Weak<Caller>,
}

impl Reply {
    async fn wait(mut self) -> Option<Vec<u8>> {
        (&mut self.receiver).await.ok()
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if let Some(caller) = self.caller.upgrade()
            && let Some(waiting) = &mut *caller.lock()
        {
            waiting.remove(&self.number);
        }
    }
}

impl Caller {
    fn start(stream: Stream) -> Arc<Caller> {
        let (outbox, questions) = mpsc::channel(OUTBOX);
        let caller = Arc::new(Caller {
            outbox,
            next: AtomicU64::new(1),
            waiting: Mutex::new(Some(HashMap::new())),
        });
        let (input, output) = tokio::io::split(stream);
        // The reading task holds the caller only weakly: with the last user all ends.
        let weak = Arc::downgrade(&caller);
        tokio::spawn(async move {
            let read = read_answers(input, &weak);
            let write = write_frames(output, questions);
            tokio::select! {
                () = read => {}
                () = write => {}
            }
            if let Some(caller) = weak.upgrade() {
                *caller.lock() = None;
            }
        });
        caller
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<HashMap<u64, oneshot::Sender<Vec<u8>>>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn expect(&self, number: u64, sender: oneshot::Sender<Vec<u8>>) -> bool {
        match &mut *self.lock() {
            Some(waiting) => {
                waiting.insert(number, sender);
                true
            }
            None => false,
        }
    }
}

async fn read_answers(input: ReadHalf<Stream>, caller: &Weak<Caller>) {
    let mut input = BufReader::with_capacity(16 << 10, input);
    while let Ok(mut frame) = wire::receive(&mut input, FRAME_MAX).await {
        let Some(number) = frame.first_chunk::<8>().map(|n| u64::from_le_bytes(*n)) else {
            return;
        };
        let Some(caller) = caller.upgrade() else {
            return;
        };
        let waiting = match &mut *caller.lock() {
            Some(all) => all.remove(&number),
            None => return,
        };
        if let Some(waiting) = waiting {
            frame.drain(..8);
            // Whoever asked may be gone.
            let _ = waiting.send(frame);
        }
    }
}

/// Writes numbered frames as they come; those that wait together leave together.
pub async fn write_frames<W: AsyncWrite + Unpin>(
    output: W,
    mut frames: mpsc::Receiver<(u64, Vec<u8>)>,
) {
    let mut output = tokio::io::BufWriter::with_capacity(32 << 10, output);
    while let Some(first) = frames.recv().await {
        let mut next = Some(first);
        while let Some((number, body)) = next {
            let length = body.len() + 8;
            if length > FRAME_MAX {
                // Nobody gets an answer that large; the other side's limit of time ends it.
                next = frames.try_recv().ok();
                continue;
            }
            let mut head = [0; 12];
            head[..4].copy_from_slice(&(length as u32).to_le_bytes());
            head[4..].copy_from_slice(&number.to_le_bytes());
            if output.write_all(&head).await.is_err() || output.write_all(&body).await.is_err() {
                return;
            }
            next = frames.try_recv().ok();
        }
        if output.flush().await.is_err() {
            return;
        }
    }
}

/// Consensus travels over links.
pub struct RaftLinks(pub Arc<Links>);

fn lane(lane: lictor_raft::Lane) -> Lane {
    match lane {
        lictor_raft::Lane::Replication => Lane::Replication,
        lictor_raft::Lane::Heartbeat => Lane::Heartbeat,
        lictor_raft::Lane::Snapshot => Lane::Snapshot,
    }
}

impl Transport for RaftLinks {
    fn call<'a>(
        &'a self,
        target: &'a ServerInfo,
        on: lictor_raft::Lane,
        request: Vec<u8>,
        limit: Duration,
    ) -> BoxFuture<'a, Result<Vec<u8>, TransportError>> {
        Box::pin(async move {
            let answer = match timeout(limit, self.0.exchange(target, lane(on), &request)).await {
                Ok(Ok(answer)) => Ok(answer),
                Ok(Err(e)) => Err(TransportError(e.to_string())),
                Err(_) => Err(TransportError(format!("{target} does not answer in time"))),
            };
            self.0.note_contact(target, answer.as_ref().err());
            if answer.is_err() {
                self.0.drop_idle(target, lane(on));
            }
            answer
        })
    }

    fn send_snapshot<'a>(
        &'a self,
        target: &'a ServerInfo,
        head: Vec<u8>,
        body: SnapshotBody,
        limit: Duration,
    ) -> BoxFuture<'a, Result<Vec<u8>, TransportError>> {
        Box::pin(async move {
            self.0
                .snapshot(target, head, body, limit)
                .await
                .map_err(|e| TransportError(e.to_string()))
        })
    }
}
