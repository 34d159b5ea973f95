//! A gRPC server that says how its services are, as grpc.health.v1.Health asks it to.

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{HeaderMap, HeaderValue};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// It knows the service `web` and itself, and no other.
pub struct GrpcTarget {
    address: SocketAddr,
    serving: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl GrpcTarget {
    /// Starts one whose services are well.
    pub async fn start() -> GrpcTarget {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let address = listener.local_addr().expect("its address");
        let serving = Arc::new(AtomicBool::new(true));
        let shared = serving.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let serving = shared.clone();
                let service = hyper::service::service_fn(move |request| {
                    answer(request, serving.load(Ordering::Relaxed))
                });
                let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                // Whoever asked may go at any time.
                tokio::spawn(server.serve_connection(TokioIo::new(stream), service));
            }
        });
        GrpcTarget {
            address,
            serving,
            task,
        }
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How its services are from now on.
    pub fn serves(&self, yes: bool) {
        self.serving.store(yes, Ordering::Relaxed);
    }
}

impl Drop for GrpcTarget {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type Answer = Response<http_body_util::combinators::BoxBody<Bytes, Infallible>>;

async fn answer(request: Request<Incoming>, serving: bool) -> Result<Answer, hyper::Error> {
    let path = request.uri().path().to_owned();
    let body = request.into_body().collect().await?.to_bytes();
    // Five bytes of frame; then the field 1 with its length and the name, or nothing.
    let name = body.get(7..).unwrap_or_default();
    let known = path == "/grpc.health.v1.Health/Check" && (name.is_empty() || name == b"web");
    let mut trailers = HeaderMap::new();
    let status = if known { "0" } else { "5" };
    trailers.insert("grpc-status", HeaderValue::from_static(status));
    trailers.insert("grpc-message", HeaderValue::from_static("unknown service"));
    // The field 1 of the answer: 1 is serving, 2 is not.
    let message = [0, 0, 0, 0, 2, 8, if serving { 1 } else { 2 }];
    let message = Bytes::copy_from_slice(if known { &message } else { &[] });
    let body = Full::new(message).with_trailers(async { Some(Ok(trailers)) });
    let mut answer = Response::new(body.boxed());
    let kind = HeaderValue::from_static("application/grpc");
    answer.headers_mut().insert("content-type", kind);
    Ok(answer)
}
