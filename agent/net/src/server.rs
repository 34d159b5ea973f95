//! The server: accepts connections from all listeners of an agent, and ends them.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{
    AtomicU8, AtomicUsize,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Body;
use rustls_pki_types::CertificateDer;
use socket2::SockRef;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::body::RequestBody;
use crate::h1::{self, End};
use crate::h2;
use crate::limits::{Admission, Census, Counters, Limits, Refusal};
use crate::listener::{Listener, Socketed};
use crate::peer::Peer;
use crate::raw;
use crate::stream::{Rewound, Stream};
use crate::tls::Tls;

/// Any error.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// How long `accept` pauses after an error such as too many open files: doubled up to the second.
const PAUSES: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));
/// Refused connections that are kept open for a moment, so that the client can read why.
const MAX_FAREWELLS: usize = 32;
const FAREWELL: Duration = Duration::from_millis(500);

/// What answers requests. Implemented by every [`hyper::service::Service`] that fits.
pub trait HttpService: Clone + Send + 'static {
    /// The body of an answer.
    type Body: Body<Data: Send, Error: Into<BoxError>> + Send + 'static;
    /// An error instead of an answer closes the connection.
    type Error: Into<BoxError>;
    /// The answer to come. Dropped when nobody waits for it any more.
    type Future: Future<Output = Result<Response<Self::Body>, Self::Error>> + Send + 'static;

    /// Begins to answer.
    fn answer(&self, request: Request<RequestBody>) -> Self::Future;
}

impl<S, B> HttpService for S
where
    S: hyper::service::Service<Request<RequestBody>, Response = Response<B>>,
    S: Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    type Body = B;
    type Error = S::Error;
    type Future = S::Future;

    fn answer(&self, request: Request<RequestBody>) -> S::Future {
        self.call(request)
    }
}

/// What a shutdown left undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Connections that were still open at the deadline, and have been cut.
    pub cut: usize,
}

/// Serves any number of listeners under one set of limits.
#[derive(Clone, Debug)]
pub struct HttpServer(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limits: Arc<Limits>,
    census: Arc<Census>,
    control: Arc<Control>,
    /// Refused connections still open.
    farewells: AtomicUsize,
}

impl HttpServer {
    /// A server without listeners.
    pub fn new(limits: Arc<Limits>) -> Self {
        Self(Arc::new(Inner {
            limits,
            census: Arc::default(),
            control: Arc::default(),
            farewells: AtomicUsize::new(0),
        }))
    }

    /// Serves a listener until [`HttpServer::shutdown`]. Must be called within a tokio runtime.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn serve<S: HttpService>(&self, listener: Listener, service: S) {
        let guard = Task::new(&self.0.control, |c| &c.listeners);
        tokio::spawn(accept(self.0.clone(), listener, service, guard));
    }

    /// What has been counted.
    pub fn counters(&self) -> Counters {
        self.0.census.counters()
    }

    /// The limits, to be replaced when the configuration changes.
    pub fn limits(&self) -> &Arc<Limits> {
        &self.0.limits
    }

    /// Ends the server. Listeners are closed at once (files of unix sockets are removed), idle
    /// connections too; requests that have begun are answered. What is open after `deadline` is
    /// cut. Nothing is left when this returns.
    pub async fn shutdown(&self, deadline: Duration) -> Drained {
        let control = &self.0.control;
        control.go_to(DRAINING);
        control.wait_for_none(&control.listeners).await;
        let drained = timeout(deadline, control.wait_for_none(&control.connections)).await;
        let cut = if drained.is_ok() {
            0
        } else {
            control.connections.load(Relaxed)
        };
        control.go_to(CUT);
        control.wait_for_none(&control.connections).await;
        Drained { cut }
    }
}

const RUNNING: u8 = 0;
const DRAINING: u8 = 1;
const CUT: u8 = 2;

/// Tells connections when to end, and knows when they have.
#[derive(Debug, Default)]
pub(crate) struct Control {
    phase: AtomicU8,
    changed: Notify,
    listeners: AtomicUsize,
    connections: AtomicUsize,
    /// One of the counts above has come to zero.
    none: Notify,
}

impl Control {
    /// Connections are to end when they can.
    pub(crate) fn is_draining(&self) -> bool {
        self.phase.load(Acquire) != RUNNING
    }

    fn go_to(&self, phase: u8) {
        self.phase.fetch_max(phase, AcqRel);
        self.changed.notify_waiters();
    }

    async fn wait_for_none(&self, count: &AtomicUsize) {
        loop {
            // Before the look, so that the change between look and wait is not missed.
            let mut changed = pin!(self.none.notified());
            changed.as_mut().enable();
            if count.load(Acquire) == 0 {
                return;
            }
            changed.await;
        }
    }

    /// Runs `work`, which is polled whenever the phase changes, until it ends or is cut. To be the
    /// whole of a spawned task: the wish to be woken is registered once for each phase, not at each
    /// poll, and holds because a task is always woken by the same means.
    async fn run(&self, mut work: Pin<&mut impl Future<Output = ()>>) {
        let mut changed = pin!(self.changed.notified());
        let mut known = None;
        poll_fn(|cx| {
            loop {
                let phase = self.phase.load(Acquire);
                if known == Some(phase) {
                    break;
                }
                if known.is_some() {
                    changed.set(self.changed.notified());
                }
                // Registered first and looked at again after, so that no change is missed.
                let _ = changed.as_mut().poll(cx);
                known = Some(phase);
            }
            if known == Some(CUT) {
                return std::task::Poll::Ready(());
            }
            work.as_mut().poll(cx)
        })
        .await;
    }
}

/// Counts a task from before it is spawned until it is gone, however it ends.
struct Task {
    control: Arc<Control>,
    which: fn(&Control) -> &AtomicUsize,
}

impl Task {
    fn new(control: &Arc<Control>, which: fn(&Control) -> &AtomicUsize) -> Self {
        which(control).fetch_add(1, Relaxed);
        Self {
            control: control.clone(),
            which,
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if (self.which)(&self.control).fetch_sub(1, Release) == 1 {
            self.control.none.notify_waiters();
        }
    }
}

async fn accept<S: HttpService>(inner: Arc<Inner>, listener: Listener, service: S, guard: Task) {
    let local = listener.local_addr().to_string();
    let tls = listener.tls.clone();
    let mut pause = PAUSES.0;
    while !inner.control.is_draining() {
        match next(&inner, &listener).await {
            Ok((stream, addr)) => {
                pause = PAUSES.0;
                admit(&inner, stream, addr, tls.as_ref(), &service);
            }
            Err(error) if is_of_the_client(&error) => {}
            Err(error) => {
                inner.census.accept_errors.fetch_add(1, Relaxed);
                tracing::warn!(%error, %local, "connections cannot be accepted");
                let _ = timeout(pause, inner.control.drained()).await;
                pause = (pause * 2).min(PAUSES.1);
            }
        }
    }
    // First the socket and its file, then the word that they are gone.
    drop(listener);
    drop(guard);
}

impl Control {
    /// Ready once connections are to end.
    async fn drained(&self) {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            if self.is_draining() {
                return;
            }
            changed.await;
        }
    }
}

/// The next connection; an error of no meaning when the server ends.
async fn next(inner: &Inner, listener: &Listener) -> std::io::Result<(Stream, Option<SocketAddr>)> {
    let accepted = async {
        match &listener.socket {
            Socketed::Tcp(socket) => {
                let (stream, addr) = socket.accept().await?;
                let addr = SocketAddr::new(addr.ip().to_canonical(), addr.port());
                Ok((Stream::Tcp(stream), Some(addr)))
            }
            Socketed::Unix(socket) => {
                let (stream, _) = socket.accept().await?;
                Ok((Stream::Unix(stream), None))
            }
        }
    };
    tokio::select! {
        biased;
        () = inner.control.drained() => Err(std::io::ErrorKind::ConnectionAborted.into()),
        accepted = accepted => accepted,
    }
}

/// The connection was gone before it was accepted: nothing to wait for.
fn is_of_the_client(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | Interrupted
    )
}

fn admit<S: HttpService>(
    inner: &Arc<Inner>,
    stream: Stream,
    addr: Option<SocketAddr>,
    tls: Option<&Arc<Tls>>,
    service: &S,
) {
    let limits = inner.limits.get();
    let admission = match inner.census.admit(addr.map(|a| a.ip()), &limits) {
        Ok(admission) => admission,
        Err(refusal) => {
            tracing::debug!(?addr, ?refusal, "connection refused");
            // Before its handshake a TLS client could not read anything.
            if tls.is_none() {
                refuse(inner, stream, refusal);
            }
            return;
        }
    };
    let guard = Task::new(&inner.control, |c| &c.connections);
    let mut settings = h1::Settings {
        peer: Peer {
            addr,
            unix: addr.is_none(),
            tls: false,
            certificate: None,
        },
        limits,
        first_byte: None,
    };
    match (stream, tls) {
        (Stream::Tcp(stream), Some(tls)) => {
            settings.first_byte = Some(Instant::now() + settings.limits.https_handshake_timeout);
            settings.peer.tls = true;
            let (inner, tls, service) = (inner.clone(), tls.clone(), service.clone());
            tokio::spawn(async move {
                let work = pin!(secure(&inner, stream, tls, settings, service));
                inner.control.run(work).await;
                gone(admission, guard);
            });
        }
        (stream, _) => {
            let (control, service) = (inner.control.clone(), service.clone());
            tokio::spawn(async move {
                // Made where it stays: a future that is handed on is stored at every stop.
                let work = pin!(plain(stream, service, &settings, &control));
                control.run(work).await;
                gone(admission, guard);
            });
        }
    }
}

/// A connection has ended. When shutdown hears of it, it is no longer counted.
fn gone(admission: Admission, guard: Task) {
    drop(admission);
    drop(guard);
}

async fn plain<S: HttpService>(
    stream: Stream,
    service: S,
    settings: &h1::Settings,
    control: &Control,
) {
    if let End::Http2(stream, read, service) = h1::serve(stream, service, settings, control).await {
        // Boxed: it is large, and the connections that wait in their thousands are not of its kind.
        let stream = Rewound { read, stream };
        Box::pin(h2::serve(stream, service, settings, control)).await;
    }
}

async fn secure<S: HttpService>(
    inner: &Inner,
    stream: TcpStream,
    tls: Arc<Tls>,
    mut settings: h1::Settings,
    service: S,
) {
    let control = &inner.control;
    let until = settings.first_byte.unwrap_or_else(Instant::now);
    // Boxed, so that its state is gone when it is done.
    let handshake = Box::pin(timeout_at(until, handshake(stream, &tls)));
    let stream = tokio::select! {
        biased;
        () = control.drained() => return,
        done = handshake => match done {
            Ok(Ok(Some(stream))) => stream,
            Ok(Ok(None)) => return,
            failed => {
                inner.census.failed_handshakes.fetch_add(1, Relaxed);
                let error = match failed {
                    Ok(Err(error)) => error.to_string(),
                    _ => "timeout".into(),
                };
                tracing::debug!(%error, peer = ?settings.peer.addr, "TLS handshake failed");
                return;
            }
        },
    };
    let session = stream.get_ref().1;
    settings.peer.certificate = session
        .peer_certificates()
        .and_then(<[CertificateDer<'_>]>::first)
        .map(|leaf| Arc::new(leaf.clone().into_owned()));
    let http2 = session.alpn_protocol() == Some(b"h2");
    let mut stream = Stream::Tls(Box::new(stream));
    if http2 {
        if let Some(read) = h1::wait_for_bytes(&mut stream, until).await {
            let stream = Rewound { read, stream };
            Box::pin(h2::serve(stream, service, &settings, control)).await;
        }
    } else {
        plain(stream, service, &settings, control).await;
    }
}

/// TLS; `None` for a client that speaks HTTP in the clear, which has been told.
async fn handshake(stream: TcpStream, tls: &Tls) -> std::io::Result<Option<TlsStream<TcpStream>>> {
    // What Go looks for: the beginnings of request lines.
    const IN_THE_CLEAR: [&[u8]; 5] = [b"GET /", b"HEAD ", b"POST ", b"PUT /", b"OPTIO"];
    let mut start = [0; 5];
    let n = stream.peek(&mut start).await?;
    if IN_THE_CLEAR.contains(&&start[..n]) {
        say(&SockRef::from(&stream), raw::HTTP_ON_HTTPS);
        let _ = timeout(FAREWELL, linger(Stream::Tcp(stream))).await;
        return Ok(None);
    }
    TlsAcceptor::from(tls.current())
        .accept(stream)
        .await
        .map(Some)
}

/// Tells a client why it is not let in.
fn refuse(inner: &Arc<Inner>, stream: Stream, refusal: Refusal) {
    let words = match refusal {
        Refusal::PerClient => raw::TOO_MANY_FROM_CLIENT,
        Refusal::Total => raw::TOO_MANY,
    };
    // A fresh socket has room for these few bytes, so there is nothing to wait for.
    match &stream {
        Stream::Tcp(s) => say(&SockRef::from(s), words),
        Stream::Unix(s) => say(&SockRef::from(s), words),
        Stream::Tls(_) => return,
    }
    if inner.farewells.fetch_add(1, Relaxed) < MAX_FAREWELLS {
        let (inner, guard) = (inner.clone(), Task::new(&inner.control, |c| &c.connections));
        tokio::spawn(async move {
            let _ = timeout(FAREWELL, inner.control.run(pin!(linger(stream)))).await;
            inner.farewells.fetch_sub(1, Relaxed);
            drop(guard);
        });
    } else {
        inner.farewells.fetch_sub(1, Relaxed);
    }
}

/// Sends a few bytes and closes our side. Whether they arrive is the client's affair.
fn say(socket: &SockRef<'_>, words: &[u8]) {
    if let Err(error) = socket
        .send(words)
        .and_then(|_| socket.shutdown(std::net::Shutdown::Write))
    {
        tracing::debug!(%error, "refusal not delivered");
    }
}

/// Waits for the client to close, for closing a socket with unread bytes resets the connection, and
/// what was said may be lost. To be bounded in time.
async fn linger(mut stream: Stream) {
    let mut space = [0; 512];
    while stream.read(&mut space).await.is_ok_and(|n| n > 0) {}
}
