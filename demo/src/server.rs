//! The server: answers on a port, and moves to another every few seconds.

use crate::protocol::{MAX_LINE, Protocol};
use crate::schedule::Schedule;
use crate::settings::Server;
use crate::transcript::{Tone, Transcript};
use lictor_client::Client;
use lictor_wire::{CheckRequest, GoDuration, ServiceRequest};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};

/// Connections served at once; more wait.
const MAX_CONNECTIONS: usize = 256;
/// How long a connection may be silent.
const SILENCE: Duration = Duration::from_secs(5);
/// The time between tries to register while the agent is not there.
const RETRY: Duration = Duration::from_secs(1);

/// What a server did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Messages answered.
    pub answered: u64,
    /// Messages of the wrong protocol.
    pub refused: u64,
    /// Ports it was on.
    pub ports: u64,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "answered {}, refused {}, on {} ports",
            self.answered, self.refused, self.ports
        )
    }
}

struct Counts {
    answered: AtomicU64,
    refused: AtomicU64,
}

/// The registration of a port.
fn registration(settings: &Server, port: u16, protocol: Protocol) -> ServiceRequest {
    // Without an address of its own the server is where the agent is.
    let host = if settings.address.is_empty() {
        "127.0.0.1"
    } else {
        &settings.address
    };
    let tcp = if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    };
    // Servers in containers share an agent, and may have the same port.
    let id = if settings.address.is_empty() {
        format!("{}-{port}", settings.name)
    } else {
        format!("{}-{}-{port}", settings.name, settings.address)
    };
    ServiceRequest {
        id: id.into(),
        name: settings.name.as_str().into(),
        tags: vec![protocol.tag().into()],
        address: settings.address.as_str().into(),
        port: i64::from(port),
        check: Some(Box::new(CheckRequest {
            name: "accepts connections".into(),
            tcp: tcp.into(),
            interval: GoDuration::from_secs(5),
            timeout: GoDuration::from_secs(1),
            // It listens already, so nobody has to wait for the first run of the check.
            status: "passing".into(),
            // A server that was killed cannot deregister itself.
            deregister_critical_service_after: GoDuration::from_secs(60),
            ..CheckRequest::default()
        })),
        ..ServiceRequest::default()
    }
}

fn since_epoch() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

/// Waits until it is time to stop.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that nobody can ask for it any more, which is as good as being asked.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Serves until told to stop; deregisters and waits for the grace period then, too.
pub async fn run(
    me: &str,
    settings: Server,
    agent: Client,
    log: Arc<Transcript>,
    mut stop: watch::Receiver<bool>,
) -> Summary {
    let counts = Arc::new(Counts {
        answered: AtomicU64::new(0),
        refused: AtomicU64::new(0),
    });
    let mut schedule = Schedule::new(
        settings.interval,
        settings.turn,
        settings.locked,
        settings.random.clone(),
    );
    let limit = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut ports = 0;
    while !*stop.borrow() {
        let protocol = schedule.protocol();
        let listener = match TcpListener::bind(SocketAddr::new(settings.bind, 0)).await {
            Ok(listener) => listener,
            Err(err) => {
                log.say(
                    me,
                    Tone::Bad,
                    &format!("cannot listen on {}: {err}", settings.bind),
                );
                tokio::select! { () = sleep(RETRY) => continue, () = stopped(&mut stop) => break }
            }
        };
        let port = listener.local_addr().map_or(0, |a| a.port());
        ports += 1;
        let accepting = tokio::spawn(accept(
            listener,
            protocol,
            me.to_owned(),
            log.clone(),
            counts.clone(),
            limit.clone(),
        ));
        let service = registration(&settings, port, protocol);
        let registered = register(me, &service, &agent, &log, &mut stop).await;
        if registered {
            log.note(
                me,
                &format!(
                    "registered {} port {port} speaking {protocol}",
                    settings.name
                ),
            );
            tokio::select! {
                () = sleep(schedule.stay(since_epoch())) => {}
                () = stopped(&mut stop) => {}
            }
            match agent.deregister_service(&service.id).await {
                Ok(()) => log.note(
                    me,
                    &format!(
                        "deregistered port {port}, serving on for {:?}",
                        settings.grace
                    ),
                ),
                Err(err) => log.say(
                    me,
                    Tone::Bad,
                    &format!("cannot deregister port {port}: {err}"),
                ),
            }
            // Whoever asked before has the address and may still call.
            sleep(settings.grace).await;
        }
        accepting.abort();
    }
    Summary {
        answered: counts.answered.load(Ordering::Relaxed),
        refused: counts.refused.load(Ordering::Relaxed),
        ports,
    }
}

/// Registers, however long the agent takes to be there. False if told to stop before.
async fn register(
    me: &str,
    service: &ServiceRequest,
    agent: &Client,
    log: &Transcript,
    stop: &mut watch::Receiver<bool>,
) -> bool {
    let mut told = false;
    loop {
        match agent.register_service(service).await {
            Ok(()) => return true,
            Err(err) => {
                if !told {
                    let hint = err.hint().map(|h| format!(" {h}")).unwrap_or_default();
                    log.say(
                        me,
                        Tone::Bad,
                        &format!("cannot register, trying on: {err}.{hint}"),
                    );
                    told = true;
                }
            }
        }
        tokio::select! {
            () = sleep(RETRY) => {}
            () = stopped(stop) => return false,
        }
    }
}

async fn accept(
    listener: TcpListener,
    protocol: Protocol,
    me: String,
    log: Arc<Transcript>,
    counts: Arc<Counts>,
    limit: Arc<Semaphore>,
) {
    loop {
        let Ok(permit) = limit.clone().acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((io, peer)) => {
                let (me, log, counts) = (me.clone(), log.clone(), counts.clone());
                tokio::spawn(async move {
                    // Callers may go away at any time; there is nobody to tell.
                    let _ = converse(io, peer, protocol, &me, &log, &counts).await;
                    drop(permit);
                });
            }
            // Too many open files, for instance: passes when others close theirs.
            Err(_) => sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Answers each line until the other side closes, is silent, or sends a line without an end.
async fn converse(
    io: TcpStream,
    peer: SocketAddr,
    protocol: Protocol,
    me: &str,
    log: &Transcript,
    counts: &Counts,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(io);
    loop {
        let mut line = Vec::new();
        let mut limited = (&mut reader).take(MAX_LINE);
        match timeout(SILENCE, limited.read_until(b'\n', &mut line)).await {
            Ok(Ok(n)) if n > 0 && line.ends_with(b"\n") => {}
            _ => return Ok(()),
        }
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        let (reply, right) = protocol.reply(&text);
        if right {
            counts.answered.fetch_add(1, Ordering::Relaxed);
        } else {
            counts.refused.fetch_add(1, Ordering::Relaxed);
            log.say(
                me,
                Tone::Bad,
                &format!("{peer} sent {text:?}, but this is {protocol}"),
            );
        }
        reader
            .get_mut()
            .write_all(format!("{reply}\n").as_bytes())
            .await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn talk(protocol: Protocol, lines: &str) -> (String, u64, u64) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let counts = Arc::new(Counts {
            answered: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        });
        let log = Arc::new(Transcript::new(Box::new(std::io::sink()), false));
        let task = tokio::spawn(accept(
            listener,
            protocol,
            "s".into(),
            log,
            counts.clone(),
            Arc::new(Semaphore::new(1)),
        ));
        let mut io = TcpStream::connect(address).await.unwrap();
        io.write_all(lines.as_bytes()).await.unwrap();
        io.shutdown().await.unwrap();
        let mut all = String::new();
        io.read_to_string(&mut all).await.unwrap();
        task.abort();
        (
            all,
            counts.answered.load(Ordering::Relaxed),
            counts.refused.load(Ordering::Relaxed),
        )
    }

    #[tokio::test]
    async fn lines_are_answered_and_wrong_ones_counted() {
        assert_eq!(
            talk(Protocol::V1, "ping\nsyn\nping\n").await,
            (
                "pong\nerror: this server speaks v1\npong\n".to_owned(),
                2,
                1
            )
        );
        assert_eq!(
            talk(Protocol::V2, "syn\r\n").await,
            ("ack\n".to_owned(), 1, 0)
        );
    }

    #[tokio::test]
    async fn a_line_without_an_end_is_not_waited_for() {
        assert_eq!(talk(Protocol::V1, &"x".repeat(5000)).await.1, 0);
        assert_eq!(talk(Protocol::V1, "").await, (String::new(), 0, 0));
    }

    #[test]
    fn a_registration_is_passing_and_checked() {
        let settings = Server {
            name: "web".into(),
            interval: Duration::from_secs(1),
            grace: Duration::ZERO,
            address: String::new(),
            bind: [0, 0, 0, 0].into(),
            turn: None,
            locked: None,
            random: crate::random::Random::new(1),
        };
        let r = registration(&settings, 81, Protocol::V2);
        let check = r.check.unwrap();
        assert_eq!(
            (
                r.id.as_str(),
                r.port,
                r.tags[0].as_str(),
                r.address.as_str()
            ),
            ("web-81", 81, "v2", "")
        );
        assert_eq!(
            (check.tcp.as_str(), check.status.as_str()),
            ("127.0.0.1:81", "passing")
        );
        let r = registration(
            &Server {
                address: "fd00::1".into(),
                ..settings
            },
            81,
            Protocol::V2,
        );
        assert_eq!(
            (r.id.as_str(), r.check.unwrap().tcp.as_str()),
            ("web-fd00::1-81", "[fd00::1]:81")
        );
    }
}
