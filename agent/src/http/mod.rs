//! The HTTP API: from a request to the one function that answers it.

mod answer;
mod cache;
mod catalog;
mod coordinate;
mod docker;
mod error;
mod event;
pub mod filter;
mod health;
mod kv;
mod local;
mod operator;
mod options;
mod raft;
mod read;
mod route;
mod selfinfo;
mod session;
mod status;
mod txn;
mod ui;

pub use answer::Reply;
pub use cache::{AnswerCache, Encoded};
pub use error::HttpError;
pub use options::{WaitLimits, jittered};

use crate::agent::Shared;
use answer::finish;
use bytes::{Buf, Bytes};
use futures_util::{Stream, StreamExt};
use http::{HeaderMap, Method, Uri};
use lictor_net::Peer;
use options::Params;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// The head of a request, moved out of hyper's without a copy.
#[derive(Debug)]
pub struct Head {
    /// The method.
    pub method: Method,
    /// Path and query as they came.
    pub uri: Uri,
    /// The headers.
    pub headers: HeaderMap,
    /// Who asks.
    pub peer: Peer,
}

/// The body of a request, unread.
pub type Body = Pin<Box<dyn Stream<Item = Result<Bytes, String>> + Send + Sync>>;

/// A request on its way to its handler.
pub struct Call {
    /// The head.
    pub head: Arc<Head>,
    /// The query's parameters.
    pub params: Params,
    /// What follows the route's prefix, percent-decoded.
    pub rest: String,
    body: Option<Body>,
}

/// A body must arrive within this, whatever its size: a slow sender must not hold a request.
const BODY_TIME: Duration = Duration::from_secs(60);

/// Bodies of requests other than KV writes are small documents.
const BODY_MAX: usize = 4 << 20;

impl Call {
    /// The whole body, at most `limit` bytes.
    pub async fn body(&mut self, limit: usize) -> Result<Bytes, HttpError> {
        let Some(mut body) = self.body.take() else {
            return Ok(Bytes::new());
        };
        let read = async {
            let mut first = Bytes::new();
            let mut rest: Vec<u8> = Vec::new();
            while let Some(part) = body.next().await {
                let part =
                    part.map_err(|e| HttpError::bad_request(format!("the body broke off: {e}")))?;
                if first.len() + rest.len() + part.len() > limit {
                    return Err(HttpError::too_large(limit));
                }
                if first.is_empty() && rest.is_empty() {
                    first = part;
                } else {
                    if rest.is_empty() {
                        rest.extend_from_slice(&first);
                        first = Bytes::new();
                    }
                    rest.extend_from_slice(&part);
                }
            }
            Ok(if rest.is_empty() {
                first
            } else {
                Bytes::from(rest)
            })
        };
        match tokio::time::timeout(BODY_TIME, read).await {
            Ok(result) => result,
            Err(_) => Err(HttpError::new(
                http::StatusCode::REQUEST_TIMEOUT,
                "the body did not arrive in time",
            )),
        }
    }

    /// The whole body of an ordinary request.
    pub async fn document(&mut self) -> Result<Bytes, HttpError> {
        self.body(BODY_MAX).await
    }

    /// A header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.headers.get(name)?.to_str().ok()
    }

    /// The declared length of the body.
    pub fn content_length(&self) -> Option<u64> {
        self.header("content-length")?.parse().ok()
    }
}

/// Answers one request.
pub async fn answer(shared: Arc<Shared>, head: Arc<Head>, body: Body) -> warp::reply::Response {
    let begun = std::time::Instant::now();
    let outcome = route::dispatch(&shared, &head, body).await;
    let (reply, wrapped, endpoint) = match outcome {
        route::Outcome::Wrapped(reply, endpoint) => (reply, true, endpoint),
        route::Outcome::Plain(reply) => (reply, false, ""),
    };
    if !endpoint.is_empty() {
        shared
            .metrics
            .http_request(head.method.as_str(), endpoint, begun.elapsed());
        tracing::debug!(
            target: "agent.http",
            method = %head.method, url = %head.uri, latency = ?begun.elapsed(),
            from = %PeerName(&head.peer),
            "Request finished"
        );
    }
    finish(&shared, &head, reply, wrapped)
}

/// How a peer is named in logs.
struct PeerName<'a>(&'a Peer);

impl std::fmt::Display for PeerName<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0.addr {
            Some(addr) => write!(f, "{addr}"),
            None => f.write_str("@"),
        }
    }
}

/// The warp filter that serves the API, as a service for [`lictor_net`].
pub fn service(
    shared: Arc<Shared>,
) -> impl hyper::service::Service<
    http::Request<lictor_net::RequestBody>,
    Response = warp::reply::Response,
    Error = std::convert::Infallible,
    Future: Send + 'static,
> + Clone
+ Send
+ Sync
+ 'static {
    use warp::Filter;
    let filter = warp::ext::get::<Arc<Head>>()
        .and(warp::body::stream())
        .then(move |head: Arc<Head>, body| {
            let shared = shared.clone();
            async move {
                let body = stream(body);
                answer(shared, head, body).await
            }
        });
    let warp = hyper_util::service::TowerToHyperService::new(warp::service(filter));
    hyper::service::service_fn(move |mut request: http::Request<lictor_net::RequestBody>| {
        let head = Head {
            method: request.method().clone(),
            uri: request.uri().clone(),
            headers: std::mem::take(request.headers_mut()),
            peer: request
                .extensions_mut()
                .remove::<Peer>()
                .unwrap_or_default(),
        };
        request.extensions_mut().insert(Arc::new(head));
        hyper::service::Service::call(&warp, request)
    })
}

fn stream<S, B>(body: S) -> Body
where
    S: Stream<Item = Result<B, warp::Error>> + Send + Sync + 'static,
    B: Buf,
{
    Box::pin(body.map(|part| {
        part.map(|mut b| b.copy_to_bytes(b.remaining()))
            .map_err(|e| e.to_string())
    }))
}

/// A read by the agent itself, without a socket: status, index and body.
pub async fn internal_get(shared: &Arc<Shared>, path: &str, query: &str) -> (u16, String, Bytes) {
    let target = if query.is_empty() {
        path.to_owned()
    } else {
        format!("{path}?{query}")
    };
    let Ok(uri) = target.parse::<Uri>() else {
        return (400, String::new(), Bytes::new());
    };
    let head = Head {
        method: Method::GET,
        uri,
        headers: HeaderMap::new(),
        peer: Peer::default(),
    };
    let empty: Body = Box::pin(futures_util::stream::empty());
    let (route::Outcome::Wrapped(reply, _) | route::Outcome::Plain(reply)) =
        route::dispatch(shared, &Arc::new(head), empty).await;
    let index = reply
        .headers
        .get("x-consul-index")
        .and_then(|v| v.to_str().ok())
        .unwrap_or("0")
        .to_owned();
    let body = match reply.body {
        answer::Payload::Whole(body) => body,
        answer::Payload::Shared(answer) => answer.plain().clone(),
        answer::Payload::Stream(_) => Bytes::new(),
    };
    (reply.status.as_u16(), index, body)
}
