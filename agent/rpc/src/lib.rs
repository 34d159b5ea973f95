//! Consul's server RPC (port 8300) between agents: sessions, requests, replies, and who is asked.
//!
//! Arguments and replies are opaque here: bytes of one msgpack value each. `lictor_yamux` is the
//! multiplexer; this crate joins it with sockets, and puts requests on streams.
//!
//! | module | what |
//! | --- | --- |
//! | `server` | [`serve_multiplexed`] (first byte 4) and [`serve_plain`] (first byte 0) for a [`Service`] |
//! | `client`, `pool` | [`Client`], one session; [`Pool`], one session for each server, made on demand |
//! | `router` | [`Router`]: which server is asked, and what is asked again |
//! | `snapshot` | archives of the whole state, on connections of their own (first byte 5) |
//! | `frame` | where a message ends, and its header |
//!
//! The caller listens, and reads the first byte; so it can tell the protocols apart, limit
//! connections and speak TLS.

mod client;
mod dial;
mod error;
mod frame;
mod link;
mod memory;
mod plain;
mod pool;
mod rate;
mod router;
mod server;
mod snapshot;
mod tls;

pub use client::{Client, ClientLimits};
pub use dial::{ClientTls, DIAL_TIMEOUT, Dial, Stream, secure};
pub use error::{CallError, SessionError};
pub use memory::Memory;
pub use plain::serve_plain;
pub use pool::Pool;
pub use rate::TokenBucket;
pub use router::{Kind, Random, RouteError, Router, RouterSettings, Server, rebalance_interval};
pub use server::{BoxFuture, ServeOptions, Service, serve_multiplexed};
pub use snapshot::{
    SNAPSHOT_STALL, SnapshotError, SnapshotOp, SnapshotReply, SnapshotRequest, accept_snapshot,
    copy_archive, request_restore, request_save, send_reply, send_saved,
};
pub use tls::{PortTls, PortTlsError, PortTlsSettings};

/// The first byte of a connection, which decides the protocol on it (Consul's numbers).
pub mod first_byte {
    /// Requests one after the other, without a multiplexer.
    pub const PLAIN: u8 = 0;
    /// Consul's Raft.
    pub const RAFT: u8 = 1;
    /// TLS; inside it another first byte.
    pub const TLS: u8 = 3;
    /// A yamux session whose streams carry requests.
    pub const MULTIPLEXED: u8 = 4;
    /// One snapshot saved or restored.
    pub const SNAPSHOT: u8 = 5;
    /// TLS without a client's certificate.
    pub const TLS_INSECURE: u8 = 7;
    /// gRPC.
    pub const GRPC: u8 = 8;
}
