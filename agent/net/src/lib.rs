//! Every HTTP listener of an agent is made here: plain or TLS, TCP or unix socket, with its limits,
//! deadlines, counters and graceful end.
//!
//! ```no_run
//! # async fn run<S>(service: S) -> Result<(), Box<dyn std::error::Error>>
//! # where S: lictor_net::HttpService {
//! use lictor_net::{HttpServer, LimitValues, Limits, ListenAddr, Listener};
//! use std::{sync::Arc, time::Duration};
//!
//! let limits = Arc::new(Limits::new(LimitValues::for_this_process()));
//! let server = HttpServer::new(limits);
//! let listener = Listener::bind(&ListenAddr::Tcp("127.0.0.1:8500".parse()?), None)?;
//! server.serve(listener, service);
//! // ... until the agent ends
//! server.shutdown(Duration::from_secs(5)).await;
//! # Ok(()) }
//! ```
//!
//! A service is a [`hyper::service::Service`] of `http::Request<RequestBody>`, for example
//! `TowerToHyperService::new(warp::service(filter))`. Every request carries a [`Peer`] in its
//! extensions.
//!
//! # Why HTTP/1.1 is spoken by this crate itself
//!
//! An agent holds ten thousand blocking queries as a matter of course: connections that have asked
//! and wait. A hyper HTTP/1 connection owns an 8 KiB read buffer and an 8 KiB write buffer from its
//! first byte to its end, neither of which can be made smaller. Here a waiting connection owns its
//! task and the head it has read, because bytes are read into and written from buffers that belong
//! to the thread: 4 KiB of memory where hyper's takes 18 (`examples/idle.rs`), at the same speed
//! (`examples/requests.rs`). Two more things follow: refusals of malformed requests are Go's, byte
//! for byte, and request lines that Go accepts (`<`, `"`, bytes that are not UTF-8) are accepted.
//! HTTP/2 (by ALPN, and by prior knowledge on plain connections) is hyper's.

mod accounts;
mod body;
mod h1;
mod h2;
mod limits;
mod listener;
mod open_files;
mod peer;
mod raw;
mod server;
mod stream;
mod tcp;
mod tls;
mod unix;

pub use body::{BodyError, RequestBody};
pub use limits::{Counters, LimitValues, Limits};
pub use listener::{BindError, ListenAddr, Listener, LocalAddr};
pub use open_files::{connections_for, raise_open_files};
pub use peer::Peer;
pub use server::{BoxError, Drained, HttpServer, HttpService};
pub use tcp::TcpServer;
pub use tls::{Tls, TlsError, TlsSettings, TlsVersion};
pub use unix::{UnixSocket, parse_mode};
