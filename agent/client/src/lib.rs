//! An asynchronous client of the HTTP API, as used by the command line, the demo and the tests.
//!
//! One [`Client`] speaks to one agent over TCP, TLS or a unix socket, keeps a few connections
//! open between requests and never retries a request that may have reached the agent, save plain
//! reads. Where it looks for the agent, and who it says it is, is a [`ClientConfig`], usually read
//! from the environment that Consul's own clients use.
//!
//! Texts of errors are those of Consul's Go client, because scripts and people search for them;
//! [`Error::hint`] adds what to do about it.

mod api;
mod client;
mod config;
mod error;
mod query;
mod tls;
mod transport;
mod types;

pub use api::{KeyAction, KeyringAnswer, KvWrite, MemberQuery};
pub use client::{Client, QueryMeta, Request, Response, Streaming};
pub use config::{BasicAuth, ClientConfig, Endpoint, TlsOptions, parse_bool};
pub use error::{DialPhase, Error};
pub use query::{QueryOptions, encode_query, escape_path};
pub use types::{
    AgentCheck, CatalogService, EventRow, HealthEntry, NodeEntry, NodeServices, ServiceEntry,
};

/// The methods that a request can have.
pub use http::Method;
/// The status of an answer.
pub use http::StatusCode;
