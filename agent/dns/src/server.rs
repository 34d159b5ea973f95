//! Sockets around a [`Responder`]: datagrams and connections on one port.

use crate::datagram::Datagrams;
use crate::encode::Scratch;
use crate::respond::{Next, Responder, Transport};
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::{sleep, timeout};

/// Connections at a time, and of one client.
const MOST_CONNECTIONS: usize = 512;
const MOST_CONNECTIONS_OF_ONE: usize = 64;
/// How long a connection may be silent between questions (RFC 7766, 6.2.3 leaves it to us).
const IDLE: Duration = Duration::from_secs(10);
/// How long a message may take to come in or go out.
const TRANSFER: Duration = Duration::from_secs(5);
/// Datagrams answered before others get their turn.
const BURST: usize = 64;
/// How long [`DnsServer::shutdown`] waits for pending answers.
const GRACE: Duration = Duration::from_secs(3);
/// Tasks that read one UDP socket, at most.
const MOST_READERS: usize = 4;
/// Attempts to find a port that is free for both protocols, where any port will do.
const PORT_ATTEMPTS: usize = 16;

/// Why a DNS server cannot listen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// Ports below 1024 are for the privileged.
    #[error(
        "cannot serve DNS on {address}: no right to open ports below 1024. Run lictor as root, or \
         give it that right with `setcap cap_net_bind_service=+ep /path/to/lictor`, or use another \
         port with `-dns-port 8600`"
    )]
    NoRight {
        /// The address.
        address: SocketAddr,
    },
    /// Somebody else has the port.
    #[error(
        "cannot serve DNS on {address} ({protocol}): the address is in use by another program \
         (another agent, or a resolver such as systemd-resolved or dnsmasq)"
    )]
    InUse {
        /// The address.
        address: SocketAddr,
        /// `udp` or `tcp`.
        protocol: &'static str,
    },
    /// Anything else.
    #[error("cannot serve DNS on {address} ({protocol}): {source}")]
    Other {
        /// The address.
        address: SocketAddr,
        /// `udp` or `tcp`.
        protocol: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl BindError {
    fn new(address: SocketAddr, protocol: &'static str, source: io::Error) -> BindError {
        match source.kind() {
            io::ErrorKind::PermissionDenied if (1..1024).contains(&address.port()) => {
                BindError::NoRight { address }
            }
            io::ErrorKind::AddrInUse => BindError::InUse { address, protocol },
            _ => BindError::Other {
                address,
                protocol,
                source,
            },
        }
    }
}

/// A DNS server on one address. Dropping it stops it without waiting.
pub struct DnsServer {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    /// Closed when the last task has ended: each holds a sender.
    ended: mpsc::Receiver<()>,
}

/// Listens for datagrams and connections on one address and answers them.
///
/// Port zero takes any port that is free for both; [`DnsServer::local_addr`] tells which.
pub async fn bind(address: SocketAddr, responder: Arc<Responder>) -> Result<DnsServer, BindError> {
    let (udp, tcp) = listen(address).await?;
    let address = udp
        .local_addr()
        .map_err(|e| BindError::new(address, "udp", e))?;
    let (stop, stopped) = watch::channel(false);
    let (running, ended) = mpsc::channel(1);

    let udp = Arc::new(Datagrams::new(udp).map_err(|e| BindError::new(address, "udp", e))?);
    let readers = std::thread::available_parallelism().map_or(1, |n| n.get().min(MOST_READERS));
    for _ in 0..readers {
        let udp = udp.clone();
        let task = Task {
            responder: responder.clone(),
            stopped: stopped.clone(),
            running: running.clone(),
        };
        tokio::spawn(datagrams(udp, task));
    }
    tokio::spawn(connections(
        tcp,
        Task {
            responder,
            stopped,
            running,
        },
    ));
    Ok(DnsServer {
        address,
        stop,
        ended,
    })
}

async fn listen(address: SocketAddr) -> Result<(UdpSocket, TcpListener), BindError> {
    let mut attempt = 1;
    loop {
        let udp = UdpSocket::bind(address)
            .await
            .map_err(|e| BindError::new(address, "udp", e))?;
        let bound = udp
            .local_addr()
            .map_err(|e| BindError::new(address, "udp", e))?;
        match TcpListener::bind(bound).await {
            Ok(tcp) => return Ok((udp, tcp)),
            Err(error)
                if address.port() == 0
                    && error.kind() == io::ErrorKind::AddrInUse
                    && attempt < PORT_ATTEMPTS =>
            {
                attempt += 1;
            }
            Err(error) => return Err(BindError::new(bound, "tcp", error)),
        }
    }
}

impl DnsServer {
    /// The address it listens on.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Stops listening, and waits a little for answers that are on their way.
    pub async fn shutdown(mut self) {
        self.stop.send_replace(true);
        let _ = timeout(GRACE, self.ended.recv()).await;
    }
}

impl Drop for DnsServer {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

/// What every task of a server holds.
#[derive(Clone)]
struct Task {
    responder: Arc<Responder>,
    stopped: watch::Receiver<bool>,
    running: mpsc::Sender<()>,
}

impl Task {
    /// Ends when the server is to stop.
    async fn stop(&mut self) {
        // An error means that the server was dropped.
        let _ = self.stopped.wait_for(|stop| *stop).await;
    }
}

async fn datagrams(socket: Arc<Datagrams>, mut task: Task) {
    let mut buffer = vec![0; usize::from(u16::MAX)];
    let mut out = Vec::with_capacity(4096);
    let mut scratch = Scratch::default();
    loop {
        tokio::select! {
            biased;
            () = task.stop() => return,
            ready = socket.readable() => {
                if ready.is_err() {
                    sleep(Duration::from_millis(20)).await;
                }
            }
        }
        for turn in 0.. {
            if turn == BURST {
                tokio::task::yield_now().await;
                break;
            }
            let (length, from, local) = match socket.try_recv(&mut buffer) {
                Ok(got) => got,
                Err(error) => {
                    // Errors that the system reports for earlier answers concern nobody here.
                    if error.kind() == io::ErrorKind::WouldBlock {
                        break;
                    }
                    continue;
                }
            };
            out.clear();
            match task.responder.begin(
                &buffer[..length],
                from,
                Transport::Udp,
                &mut scratch,
                &mut out,
            ) {
                Next::Silent => {}
                Next::Done => {
                    // An answer that cannot be sent is the client's to ask for again.
                    let _ = socket.send(&out, from, local).await;
                }
                Next::Later(job) => {
                    // Bounded: a job holds one of a fixed number of permits.
                    let (socket, task) = (socket.clone(), task.clone());
                    tokio::spawn(async move {
                        let answer = task.responder.finish(*job).await;
                        let _ = socket.send(&answer, from, local).await;
                        drop(task.running);
                    });
                }
            }
        }
    }
}

/// How many connections each client has.
type Clients = Arc<Mutex<HashMap<IpAddr, usize>>>;

/// A connection's place among those of its client.
struct Place {
    clients: Clients,
    client: IpAddr,
}

impl Place {
    fn take(clients: &Clients, client: IpAddr) -> Option<Place> {
        let mut table = clients.lock().unwrap_or_else(PoisonError::into_inner);
        let count = table.entry(client).or_insert(0);
        if *count >= MOST_CONNECTIONS_OF_ONE {
            return None;
        }
        *count += 1;
        Some(Place {
            clients: clients.clone(),
            client,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut table = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = table.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                table.remove(&self.client);
            }
        }
    }
}

async fn connections(listener: TcpListener, mut task: Task) {
    let clients = Clients::default();
    let all = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            biased;
            () = task.stop() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, from) = match accepted {
            Ok(accepted) => accepted,
            Err(_) => {
                // Most likely no file descriptor is left: one will be.
                sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        // Over the limits the connection is closed at once.
        let Ok(permit) = all.clone().try_acquire_owned() else {
            continue;
        };
        let Some(place) = Place::take(&clients, from.ip()) else {
            continue;
        };
        let task = task.clone();
        tokio::spawn(async move {
            let _ = connection(stream, from, task).await;
            drop((permit, place));
        });
    }
}

/// Answers one question after another, until the client is silent or the server stops.
async fn connection(mut stream: TcpStream, from: SocketAddr, mut task: Task) -> io::Result<()> {
    let _ = stream.set_nodelay(true);
    let mut scratch = Scratch::default();
    let (mut packet, mut out) = (Vec::new(), Vec::new());
    loop {
        let length = tokio::select! {
            biased;
            () = task.stop() => return Ok(()),
            length = timeout(IDLE, stream.read_u16()) => length??,
        };
        packet.resize(length.into(), 0);
        timeout(TRANSFER, stream.read_exact(&mut packet)).await??;
        out.clear();
        out.extend_from_slice(&[0, 0]);
        match task
            .responder
            .begin(&packet, from, Transport::Tcp, &mut scratch, &mut out)
        {
            // Who sends what is no question gets no second chance.
            Next::Silent => return Ok(()),
            Next::Done => {}
            Next::Later(job) => out.extend(task.responder.finish(*job).await),
        }
        let Ok(length) = u16::try_from(out.len() - 2) else {
            return Ok(());
        };
        out[..2].copy_from_slice(&length.to_be_bytes());
        timeout(TRANSFER, stream.write_all(&out)).await??;
    }
}
