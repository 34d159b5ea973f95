//! HTTP/2, which is hyper's.

use std::future::{Future, poll_fn};
use std::pin::pin;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::Service;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};

use crate::body::RequestBody;
use crate::h1::Settings;
use crate::peer::Peer;
use crate::server::{Control, HttpService};
use crate::stream::Rewound;

/// Requests at a time on one connection: Go's default.
const MAX_STREAMS: u32 = 250;

/// Serves a connection to its end.
pub(crate) async fn serve<S: HttpService>(
    stream: Rewound,
    service: S,
    settings: &Settings,
    control: &Control,
) {
    let peer = settings.peer.clone();
    let max_header = settings.limits.max_header_bytes;
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(u32::try_from(max_header).unwrap_or(u32::MAX));
    let connection = builder.serve_connection(TokioIo::new(stream), Adapter { service, peer });
    let mut connection = pin!(connection);
    let mut told = false;
    let end = poll_fn(|cx| {
        if !told && control.is_draining() {
            told = true;
            connection.as_mut().graceful_shutdown();
        }
        connection.as_mut().poll(cx)
    });
    if let Err(error) = end.await {
        tracing::debug!(%error, "HTTP/2 connection ended");
    }
}

struct Adapter<S> {
    service: S,
    peer: Peer,
}

impl<S: HttpService> Service<Request<Incoming>> for Adapter<S> {
    type Response = http::Response<S::Body>;
    type Error = S::Error;
    type Future = S::Future;

    fn call(&self, request: Request<Incoming>) -> S::Future {
        let mut request = request.map(RequestBody::http2);
        request.extensions_mut().insert(self.peer.clone());
        self.service.answer(request)
    }
}
