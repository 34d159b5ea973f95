//! A server with a service that shows what it got, and a client that speaks in bytes.

#![allow(dead_code, reason = "each test file uses what it needs")]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Either, Full};
use hyper::body::{Body, Frame, SizeHint};
use hyper::service::Service;
use lictor_net::{
    BodyError, HttpServer, LimitValues, Limits, ListenAddr, Listener, LocalAddr, Peer, RequestBody,
    Tls, TlsSettings,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, Semaphore};

/// No test waits longer.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Fails instead of hanging.
pub async fn soon<F: Future>(work: F) -> F::Output {
    tokio::time::timeout(PATIENCE, work)
        .await
        .expect("it does not take that long")
}

/// Pieces of an unknown total length.
pub struct Pieces(pub Vec<Bytes>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop().map(|b| Ok(Frame::data(b))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

pub type Answer = Response<Either<Full<Bytes>, Pieces>>;

/// What the service and a test share.
pub struct Shared {
    /// Requests to `/wait` that have begun.
    pub begun: Semaphore,
    /// Lets one request to `/wait` end.
    pub go: Semaphore,
    /// Requests to `/wait` that nobody waited for.
    pub dropped: Semaphore,
    pub seen: Notify,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            begun: Semaphore::new(0),
            go: Semaphore::new(0),
            dropped: Semaphore::new(0),
            seen: Notify::new(),
        }
    }
}

#[derive(Clone, Default)]
pub struct Show(pub Arc<Shared>);

impl Service<Request<RequestBody>> for Show {
    type Response = Answer;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Answer, Infallible>> + Send>>;

    fn call(&self, request: Request<RequestBody>) -> Self::Future {
        let shared = self.0.clone();
        Box::pin(async move { Ok(show(shared, request).await) })
    }
}

struct OnDrop(Option<Arc<Shared>>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        if let Some(shared) = &self.0 {
            shared.dropped.add_permits(1);
        }
    }
}

pub fn text(text: impl Into<Bytes>) -> Answer {
    Response::new(Either::Left(Full::new(text.into())))
}

async fn show(shared: Arc<Shared>, request: Request<RequestBody>) -> Answer {
    let (parts, body) = request.into_parts();
    match parts.uri.path() {
        "/echo" => match body.collect().await {
            Ok(body) => text(body.to_bytes()),
            Err(error) => text(format!("body: {error}")),
        },
        // From another task than the connection's.
        "/echo-elsewhere" => {
            let read = tokio::spawn(async move { body.collect().await.map(|b| b.to_bytes()) });
            match read.await.expect("no panic") {
                Ok(body) => text(body),
                Err(error) => text(format!("body: {error}")),
            }
        }
        // Reads its body only when it has answered.
        "/later" => {
            tokio::spawn(async move {
                shared.go.acquire().await.expect("open").forget();
                let end = body.collect().await.expect_err("it is over");
                assert!(matches!(end, BodyError::Answered), "{end}");
                shared.seen.notify_one();
            });
            text("not yet")
        }
        "/count" => {
            let mut body = body;
            let mut n = 0;
            while let Some(frame) = body.frame().await {
                n += frame.expect("good").into_data().expect("data").len();
            }
            text(n.to_string())
        }
        "/wait" => {
            let mut guard = OnDrop(Some(shared.clone()));
            shared.begun.add_permits(1);
            shared.go.acquire().await.expect("open").forget();
            guard.0 = None;
            text("waited")
        }
        "/peer" => {
            let peer = parts.extensions.get::<Peer>().expect("always there");
            let certificate = peer.certificate.as_ref().map(|c| c.len());
            text(format!(
                "addr={} unix={} tls={} certificate={certificate:?}",
                peer.addr.map_or("none".into(), |a| a.ip().to_string()),
                peer.unix,
                peer.tls
            ))
        }
        "/pieces" => Response::new(Either::Right(Pieces(vec![
            Bytes::from(vec![b'z'; 10_000]),
            Bytes::new(),
            Bytes::from_static(b"second "),
            Bytes::from_static(b"first "),
        ]))),
        "/big" => text(vec![b'x'; 20_000_000]),
        "/204" => {
            let mut answer = text("");
            *answer.status_mut() = http::StatusCode::NO_CONTENT;
            answer
        }
        "/close" => {
            let mut answer = text("bye");
            answer
                .headers_mut()
                .insert("connection", http::HeaderValue::from_static("close"));
            answer
        }
        path => {
            let mut answer = text(format!("{} {path} {:?}", parts.method, parts.version));
            answer
                .headers_mut()
                .insert("x-consul-index", http::HeaderValue::from_static("7"));
            answer
        }
    }
}

/// A running server.
pub struct Running {
    pub server: HttpServer,
    pub addr: SocketAddr,
    pub shared: Arc<Shared>,
    pub show: Show,
}

pub fn quick() -> LimitValues {
    LimitValues::default()
}

pub fn start(limits: LimitValues) -> Running {
    start_with(limits, None)
}

pub fn start_with(limits: LimitValues, tls: Option<Arc<Tls>>) -> Running {
    let server = HttpServer::new(Arc::new(Limits::new(limits)));
    let show = Show::default();
    let addr = listen(&server, &show, tls);
    Running {
        server,
        addr,
        shared: show.0.clone(),
        show,
    }
}

pub fn listen(server: &HttpServer, show: &Show, tls: Option<Arc<Tls>>) -> SocketAddr {
    let at = ListenAddr::Tcp(([127, 0, 0, 1], 0).into());
    let listener = Listener::bind(&at, tls).expect("a free port");
    let LocalAddr::Tcp(addr) = *listener.local_addr() else {
        panic!("TCP")
    };
    server.serve(listener, show.clone());
    addr
}

impl Running {
    pub async fn connect(&self) -> Client<TcpStream> {
        Client(TcpStream::connect(self.addr).await.expect("it listens"))
    }

    /// Sends bytes on a new connection, and reads to its end.
    pub async fn raw(&self, bytes: impl AsRef<[u8]>) -> String {
        let mut client = self.connect().await;
        client.send(bytes).await;
        client.rest().await
    }

    pub async fn begun(&self) {
        soon(self.shared.begun.acquire())
            .await
            .expect("open")
            .forget();
    }

    pub async fn dropped(&self) {
        soon(self.shared.dropped.acquire())
            .await
            .expect("open")
            .forget();
    }

    /// Waits until this many connections are open.
    pub async fn until_open(&self, n: usize) {
        soon(async {
            while self.server.counters().open != n {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
    }
}

/// A client that speaks in bytes.
pub struct Client<S>(pub S);

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        soon(self.0.write_all(bytes.as_ref()))
            .await
            .expect("it reads");
        self.0.flush().await.expect("it reads");
    }

    /// All that comes until the connection ends, which must not be by a reset.
    pub async fn rest(&mut self) -> String {
        let mut all = vec![];
        soon(self.0.read_to_end(&mut all)).await.expect("no reset");
        String::from_utf8(all).expect("text")
    }

    /// Reads until `end` has come.
    pub async fn until(&mut self, end: &str) -> String {
        let mut all = vec![];
        while !all.ends_with(end.as_bytes()) {
            let mut byte = [0];
            let n = soon(self.0.read(&mut byte)).await.expect("no reset");
            assert_ne!(n, 0, "ended after {:?}", String::from_utf8_lossy(&all));
            all.push(byte[0]);
        }
        String::from_utf8(all).expect("text")
    }

    /// Reads one answer with a stated length: head and body.
    pub async fn answer(&mut self) -> (String, String) {
        let head = self.until("\r\n\r\n").await;
        let n = head
            .lines()
            .find_map(|l| l.strip_prefix("Content-Length: "))
            .map_or(0, |n| n.parse().expect("a number"));
        let mut body = vec![0; n];
        soon(self.0.read_exact(&mut body)).await.expect("all of it");
        (head, String::from_utf8(body).expect("text"))
    }

    /// Whether the connection has ended, however.
    pub async fn has_ended(&mut self) -> bool {
        let mut byte = [0];
        !matches!(soon(self.0.read(&mut byte)).await, Ok(n) if n > 0)
    }
}

pub fn tls_settings() -> TlsSettings {
    TlsSettings {
        cert_pem: include_bytes!("../pki/server.pem").to_vec(),
        key_pem: include_bytes!("../pki/server-key.pem").to_vec(),
        ..TlsSettings::default()
    }
}
