//! The bare warp handler: what the framework can do when there is nothing to do.

use crate::Result;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use tokio::sync::Notify;
use warp::Filter;
use warp::http::{Method, Response};
use warp::hyper::body::Bytes;

/// Serves until it is killed. One thread, because it has one processor.
pub fn serve(port: u16, file: &Path) -> Result<()> {
    let bytes = Bytes::from(std::fs::read(file)?);
    let changed = Arc::new(Notify::new());
    let waiting = Arc::clone(&changed);
    let get = warp::get()
        .and(warp::query::raw().or(warp::any().map(String::new)).unify())
        .then(move |query: String| {
            let (bytes, waiting) = (bytes.clone(), Arc::clone(&waiting));
            async move {
                if query.contains("index=") {
                    waiting.notified().await;
                }
                json(bytes)
            }
        });
    let put = warp::method()
        .and(warp::path::full())
        .and(warp::body::bytes())
        .map(
            move |method: Method, path: warp::path::FullPath, _body: Bytes| {
                if method == Method::PUT && path.as_str() == "/change" {
                    changed.notify_waiters();
                }
                json(Bytes::from_static(b"true"))
            },
        );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(warp::serve(get.or(put)).run(SocketAddr::from((Ipv4Addr::LOCALHOST, port))));
    Ok(())
}

fn json(bytes: Bytes) -> Response<Bytes> {
    let mut response = Response::new(bytes);
    response.headers_mut().insert(
        warp::http::header::CONTENT_TYPE,
        warp::http::HeaderValue::from_static("application/json"),
    );
    response
}
