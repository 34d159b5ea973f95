//! Sockets to listen on.

use std::fmt::{self, Display};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, UnixListener};

use crate::tls::Tls;
use crate::unix::{self, SocketFile, UnixSocket};

/// Connections the kernel may hold before they are accepted; it takes at most `somaxconn`.
pub(crate) const BACKLOG: i32 = 4096;

/// Go's defaults: a client that vanished is noticed after 15 s and nine unanswered probes.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddr {
    /// TCP. The unspecified IPv6 address takes IPv4 connections as well, as in Go.
    Tcp(SocketAddr),
    /// A unix socket.
    Unix(UnixSocket),
}

/// Where a listener came to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LocalAddr {
    /// With the port the system chose, if it was asked to.
    Tcp(SocketAddr),
    /// The socket's file.
    Unix(PathBuf),
}

impl Display for LocalAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(addr) => addr.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

/// Why an address cannot be listened on. Reads as Go writes it:
/// `listen tcp 127.0.0.1:8500: bind: address already in use`.
#[derive(Debug)]
pub struct BindError {
    network: &'static str,
    address: String,
    call: &'static str,
    error: io::Error,
    hint: Option<&'static str>,
}

impl BindError {
    pub(crate) fn new(
        network: &'static str,
        address: impl Display,
        call: &'static str,
        error: io::Error,
    ) -> Self {
        Self {
            network,
            address: address.to_string(),
            call,
            error,
            hint: None,
        }
    }

    pub(crate) fn with_hint(mut self, hint: &'static str) -> Self {
        self.hint = Some(hint);
        self
    }

    /// What may help, where we know.
    pub fn hint(&self) -> Option<&'static str> {
        if self.hint.is_some() {
            return self.hint;
        }
        match self.error.raw_os_error()? {
            libc::EADDRINUSE => Some(
                "another process listens there; stop it, or set another port (ports.http, -http-port)",
            ),
            libc::EADDRNOTAVAIL => Some(
                "this machine has no such address; see client_addr, addresses.http and -client",
            ),
            libc::EACCES if self.network == "tcp" => {
                Some("ports below 1024 need root or the capability CAP_NET_BIND_SERVICE")
            }
            libc::EACCES => Some("the directory of the socket is not writable for this user"),
            libc::ENOENT => Some("the directory of the socket does not exist"),
            libc::EMFILE | libc::ENFILE => Some("the limit of open files is reached (ulimit -n)"),
            _ => None,
        }
    }

    /// What the system said.
    pub fn io_error(&self) -> &io::Error {
        &self.error
    }
}

impl Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = go_words(&self.error);
        write!(
            f,
            "listen {} {}: {}: {words}",
            self.network, self.address, self.call
        )
    }
}

impl std::error::Error for BindError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

/// Go's words for an error number are the C library's, in lower case.
fn go_words(error: &io::Error) -> String {
    let text = error.to_string();
    if error.raw_os_error().is_none() {
        return text;
    }
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first.to_lowercase().chain(letters).collect(),
        None => String::new(),
    }
}

#[derive(Debug)]
pub(crate) enum Socketed {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A socket that is listened on: connections queue up in the kernel until it is served.
#[derive(Debug)]
pub struct Listener {
    pub(crate) socket: Socketed,
    pub(crate) tls: Option<Arc<Tls>>,
    local: LocalAddr,
    /// Dropped after the socket.
    _file: Option<SocketFile>,
}

impl Listener {
    /// Listens. Must be called within a tokio runtime. TLS on a unix socket is not offered: `tls`
    /// is ignored there.
    ///
    /// # Errors
    /// [`BindError`], when the address is taken, not ours or not permitted.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn bind(at: &ListenAddr, tls: Option<Arc<Tls>>) -> Result<Self, BindError> {
        match at {
            ListenAddr::Tcp(addr) => {
                let fail = |call, error| BindError::new("tcp", addr, call, error);
                let socket = tcp(*addr)?;
                let listener =
                    TcpListener::from_std(socket.into()).map_err(|e| fail("register", e))?;
                let local = listener.local_addr().map_err(|e| fail("getsockname", e))?;
                Ok(Self {
                    socket: Socketed::Tcp(listener),
                    tls,
                    local: LocalAddr::Tcp(local),
                    _file: None,
                })
            }
            ListenAddr::Unix(want) => {
                let (listener, file) = unix::bind(want)?;
                let listener = UnixListener::from_std(listener)
                    .map_err(|e| BindError::new("unix", want.path.display(), "register", e))?;
                Ok(Self {
                    socket: Socketed::Unix(listener),
                    tls: None,
                    local: LocalAddr::Unix(want.path.clone()),
                    _file: Some(file),
                })
            }
        }
    }

    /// Where it listens.
    pub fn local_addr(&self) -> &LocalAddr {
        &self.local
    }
}

fn tcp(addr: SocketAddr) -> Result<Socket, BindError> {
    let fail = |call: &'static str| move |error| BindError::new("tcp", addr, call, error);
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))
        .map_err(fail("socket"))?;
    if addr.is_ipv6() {
        socket
            .set_only_v6(!addr.ip().is_unspecified())
            .map_err(fail("setsockopt"))?;
    }
    socket.set_reuse_address(true).map_err(fail("setsockopt"))?;
    // Linux gives accepted sockets what the listening one has: no system calls for each of them.
    socket.set_tcp_nodelay(true).map_err(fail("setsockopt"))?;
    let probes = TcpKeepalive::new()
        .with_time(KEEPALIVE)
        .with_interval(KEEPALIVE)
        .with_retries(9);
    socket
        .set_tcp_keepalive(&probes)
        .map_err(fail("setsockopt"))?;
    socket.set_nonblocking(true).map_err(fail("setsockopt"))?;
    socket.bind(&addr.into()).map_err(fail("bind"))?;
    socket.listen(BACKLOG).map_err(fail("listen"))?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpStream;

    fn loopback() -> ListenAddr {
        ListenAddr::Tcp(([127, 0, 0, 1], 0).into())
    }

    fn port_of(listener: &Listener) -> SocketAddr {
        match listener.local_addr() {
            LocalAddr::Tcp(addr) => *addr,
            LocalAddr::Unix(path) => panic!("not TCP: {path:?}"),
        }
    }

    #[tokio::test]
    async fn errors_are_in_gos_words() {
        let first = Listener::bind(&loopback(), None).expect("a free port");
        let taken = port_of(&first);
        let error = Listener::bind(&ListenAddr::Tcp(taken), None).expect_err("taken");
        assert_eq!(
            error.to_string(),
            format!("listen tcp {taken}: bind: address already in use")
        );
        assert!(error.hint().is_some());

        let foreign = ListenAddr::Tcp(([192, 0, 2, 77], 0).into());
        let error = Listener::bind(&foreign, None).expect_err("not our address");
        assert_eq!(
            error.to_string(),
            "listen tcp 192.0.2.77:0: bind: cannot assign requested address"
        );
    }

    #[tokio::test]
    async fn a_port_can_be_taken_again_at_once() {
        let first = Listener::bind(&loopback(), None).expect("a free port");
        let addr = port_of(&first);
        let client = TcpStream::connect(addr).await.expect("a client");
        drop(first); // a connection is still there on the client's side
        Listener::bind(&ListenAddr::Tcp(addr), None).expect("the port again");
        drop(client);
    }

    #[tokio::test]
    async fn accepted_sockets_inherit_their_options() {
        let listener = Listener::bind(&loopback(), None).expect("a free port");
        let _client = TcpStream::connect(port_of(&listener))
            .await
            .expect("a client");
        let Socketed::Tcp(socket) = &listener.socket else {
            panic!("TCP")
        };
        let (accepted, _) = socket.accept().await.expect("it comes");
        assert!(accepted.nodelay().expect("readable"));
        let options = socket2::SockRef::from(&accepted);
        assert!(options.keepalive().expect("readable"));
        assert_eq!(options.tcp_keepalive_time().expect("readable"), KEEPALIVE);
    }
}
