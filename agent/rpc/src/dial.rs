//! Connections to servers: TCP, and TLS when the caller gives a configuration.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use rustls_pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::first_byte;

/// How long a connection may take, its TLS handshake included.
pub const DIAL_TIMEOUT: Duration = Duration::from_secs(10);

/// Go's default: a server that vanished is noticed after 15 s and nine unanswered probes.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// The TLS side of connections to servers.
#[derive(Clone, Debug)]
pub struct ClientTls {
    /// What is verified, and with which certificate of the own.
    pub config: Arc<rustls::ClientConfig>,
    /// The name that is sent, and checked if the configuration does so:
    /// `server.<datacenter>.<domain>`.
    pub name: ServerName<'static>,
}

/// How connections are made.
#[derive(Debug, Default)]
pub struct Dial {
    /// The own address of connections; the system chooses when there is none.
    pub source: Option<IpAddr>,
    tls: Mutex<Option<ClientTls>>,
}

impl Dial {
    /// Connections from this address, without TLS.
    pub fn new(source: Option<IpAddr>) -> Self {
        Self {
            source,
            tls: Mutex::new(None),
        }
    }

    /// Connections made from now on use this TLS, or none.
    pub fn set_tls(&self, tls: Option<ClientTls>) {
        *self.tls.lock().unwrap_or_else(PoisonError::into_inner) = tls;
    }

    /// A connection that waits for its first byte: the protocol's, after TLS if there is some.
    ///
    /// # Errors
    /// A text as Go writes it.
    pub async fn connect(&self, addr: SocketAddr, deadline: Instant) -> Result<Stream, String> {
        let deadline = deadline.min(Instant::now() + DIAL_TIMEOUT);
        let source = self
            .source
            .map_or_else(|| "<nil>".into(), |ip| SocketAddr::new(ip, 0).to_string());
        let failed = |error: io::Error| format!("dial tcp {source}->{addr}: {}", words(&error));
        let stream = timeout_at(deadline, self.tcp(addr))
            .await
            .unwrap_or_else(|late| Err(late.into()))
            .map_err(failed)?;
        let Some(tls) = self.tls() else {
            return Ok(Stream::Plain(stream));
        };
        timeout_at(deadline, secure(stream, tls))
            .await
            .unwrap_or_else(|late| Err(late.into()))
            .map_err(|error| format!("TLS handshake with {addr}: {error}"))
    }

    fn tls(&self) -> Option<ClientTls> {
        let tls = self.tls.lock().unwrap_or_else(PoisonError::into_inner);
        tls.clone()
    }

    async fn tcp(&self, addr: SocketAddr) -> io::Result<TcpStream> {
        let socket = match addr {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        if let Some(source) = self.source.filter(|ip| ip.is_ipv4() == addr.is_ipv4()) {
            socket.bind(SocketAddr::new(source, 0))?;
        }
        let stream = socket.connect(addr).await?;
        stream.set_nodelay(true)?;
        let keepalive = TcpKeepalive::new()
            .with_time(KEEPALIVE)
            .with_interval(KEEPALIVE);
        SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
        Ok(stream)
    }
}

/// Announces TLS on a connection on which nothing was sent yet, and makes it.
///
/// # Errors
/// What the connection or the handshake says.
pub async fn secure(mut stream: TcpStream, tls: ClientTls) -> io::Result<Stream> {
    stream.write_all(&[first_byte::TLS]).await?;
    let stream = TlsConnector::from(tls.config)
        .connect(tls.name, stream)
        .await?;
    Ok(Stream::Tls(Box::new(stream)))
}

/// Go's words for common errors.
fn words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connect: connection refused".into(),
        io::ErrorKind::HostUnreachable => "connect: no route to host".into(),
        io::ErrorKind::NetworkUnreachable => "connect: network is unreachable".into(),
        io::ErrorKind::ConnectionReset => "connect: connection reset by peer".into(),
        io::ErrorKind::TimedOut => "i/o timeout".into(),
        _ => error.to_string(),
    }
}

/// A connection to a server.
#[derive(Debug)]
pub enum Stream {
    /// TCP.
    Plain(TcpStream),
    /// TLS over TCP.
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
