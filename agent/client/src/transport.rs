//! Connections: made, used, kept for the next request.

use crate::config::{ClientConfig, Endpoint};
use crate::error::{DialPhase, Error, errno_text};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

/// Idle connections kept for later requests.
const MAX_IDLE: usize = 8;
/// How long one is kept; below the two minutes after which agents close them.
const IDLE_LIMIT: Duration = Duration::from_secs(90);

type Sender = SendRequest<Full<Bytes>>;
type Request = http::Request<Full<Bytes>>;

pub(crate) struct Transport {
    endpoint: Endpoint,
    tls: Option<(
        tokio_rustls::TlsConnector,
        rustls_pki_types::ServerName<'static>,
    )>,
    connect_timeout: Duration,
    idle: Mutex<Vec<(Sender, Instant)>>,
}

/// A connection in use; goes back to the pool by [`Transport::give_back`].
pub(crate) struct Lease(Sender);

struct DialError {
    network: &'static str,
    address: String,
    phase: DialPhase,
    source: io::Error,
}

impl Transport {
    pub(crate) fn new(config: &ClientConfig, endpoint: Endpoint) -> Result<Transport, Error> {
        let tls = match &endpoint {
            Endpoint::Tcp {
                tls: true, host, ..
            } => {
                let name = config
                    .tls
                    .server_name
                    .clone()
                    .unwrap_or_else(|| host.clone());
                let server =
                    rustls_pki_types::ServerName::try_from(name.clone()).map_err(|_| {
                        Error::Config(format!("{name:?} cannot be the name of a TLS server"))
                    })?;
                Some((
                    tokio_rustls::TlsConnector::from(crate::tls::client_config(&config.tls)?),
                    server,
                ))
            }
            _ => None,
        };
        Ok(Transport {
            endpoint,
            tls,
            connect_timeout: config.connect_timeout,
            idle: Mutex::new(Vec::new()),
        })
    }

    /// Sends one request and gives the head of its answer. A request that a kept connection did
    /// not take, and a plain read that it lost, is sent again on a new one.
    pub(crate) async fn exchange(
        &self,
        request: Request,
        url: &str,
    ) -> Result<(http::Response<Incoming>, Lease), Error> {
        let method = request.method().clone();
        let broken = |err: &hyper::Error| Error::Broken {
            method: method.to_string(),
            url: url.to_owned(),
            what: broken_text(err),
        };
        let mut request = request;
        while let Some(mut sender) = self.take_idle() {
            if sender.ready().await.is_err() {
                continue;
            }
            let spare = (method == http::Method::GET).then(|| request.clone());
            match sender.try_send_request(request).await {
                Ok(response) => return Ok((response, Lease(sender))),
                Err(mut err) => match err.take_message().or(spare) {
                    Some(again) => request = again,
                    None => return Err(broken(err.error())),
                },
            }
        }
        let mut sender = self.connect().await.map_err(|e| Error::Unreachable {
            method: method.to_string(),
            url: url.to_owned(),
            network: e.network,
            address: e.address,
            phase: e.phase,
            source: e.source,
        })?;
        match sender.send_request(request).await {
            Ok(response) => Ok((response, Lease(sender))),
            Err(err) => Err(broken(&err)),
        }
    }

    /// Keeps a connection whose answer was read to its end.
    pub(crate) fn give_back(&self, lease: Lease) {
        if lease.0.is_closed() {
            return;
        }
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < MAX_IDLE {
            idle.push((lease.0, Instant::now()));
        }
    }

    /// The youngest kept connection; those kept too long are closed.
    fn take_idle(&self) -> Option<Sender> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|(sender, since)| !sender.is_closed() && since.elapsed() < IDLE_LIMIT);
        idle.pop().map(|(sender, _)| sender)
    }

    async fn connect(&self) -> Result<Sender, DialError> {
        match tokio::time::timeout(self.connect_timeout, self.dial()).await {
            Ok(result) => result,
            Err(_) => Err(self.failed(DialPhase::Connect, io::ErrorKind::TimedOut.into())),
        }
    }

    fn failed(&self, phase: DialPhase, source: io::Error) -> DialError {
        match &self.endpoint {
            Endpoint::Tcp { host, port, .. } => DialError {
                network: "tcp",
                address: match phase {
                    DialPhase::Lookup => host.clone(),
                    _ => join_host_port(host, *port),
                },
                phase,
                source,
            },
            Endpoint::Unix(path) => DialError {
                network: "unix",
                address: path.display().to_string(),
                phase,
                source,
            },
        }
    }

    async fn dial(&self) -> Result<Sender, DialError> {
        match &self.endpoint {
            Endpoint::Unix(path) => {
                let io = UnixStream::connect(path)
                    .await
                    .map_err(|e| self.failed(DialPhase::Connect, e))?;
                self.start(io).await
            }
            Endpoint::Tcp { host, port, .. } => {
                let tcp = self.dial_tcp(host, *port).await?;
                match &self.tls {
                    None => self.start(tcp).await,
                    Some((connector, name)) => {
                        let io = connector
                            .connect(name.clone(), tcp)
                            .await
                            .map_err(|e| self.failed(DialPhase::Handshake, e))?;
                        self.start(io).await
                    }
                }
            }
        }
    }

    /// Tries the addresses of the host in order; the error is that of the last.
    async fn dial_tcp(&self, host: &str, port: u16) -> Result<TcpStream, DialError> {
        let addresses = tokio::net::lookup_host((host, port))
            .await
            .map_err(|e| self.failed(DialPhase::Lookup, e))?;
        let mut last = None;
        for address in addresses {
            match TcpStream::connect(address).await {
                Ok(tcp) => {
                    // Requests are small and answers are waited for; a failure costs only speed.
                    let _ = tcp.set_nodelay(true);
                    return Ok(tcp);
                }
                Err(source) => {
                    last = Some(DialError {
                        network: "tcp",
                        address: address.to_string(),
                        phase: DialPhase::Connect,
                        source,
                    });
                }
            }
        }
        Err(last.unwrap_or_else(|| self.failed(DialPhase::Lookup, io::ErrorKind::NotFound.into())))
    }

    async fn start<I>(&self, io: I) -> Result<Sender, DialError>
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = handshake(TokioIo::new(io))
            .await
            .map_err(|e| self.failed(DialPhase::Connect, io::Error::other(e)))?;
        // The task ends with the connection; errors reach whoever waits for the answer.
        tokio::spawn(async move {
            let _ = connection.await;
        });
        Ok(sender)
    }
}

pub(crate) type SharedTransport = Arc<Transport>;

/// `host:port`, with brackets around what has colons.
pub(crate) fn join_host_port(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

/// What happened to a connection, in Go's words where Go has them.
pub(crate) fn broken_text(err: &hyper::Error) -> String {
    use std::error::Error as _;
    let mut cause = err.source();
    while let Some(inner) = cause {
        if let Some(io) = inner.downcast_ref::<io::Error>() {
            return if io.kind() == io::ErrorKind::UnexpectedEof {
                "EOF".to_owned()
            } else {
                errno_text(io)
            };
        }
        cause = inner.source();
    }
    if err.is_incomplete_message() || err.is_canceled() || err.is_closed() {
        "EOF".to_owned()
    } else if err.is_parse() {
        "net/http: HTTP/1.x transport connection broken: malformed HTTP response".to_owned()
    } else {
        err.to_string()
    }
}
