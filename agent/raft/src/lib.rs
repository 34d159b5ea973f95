//! Lictor's consensus and durable storage.
//!
//! [`Consensus`] drives openraft over [`lictor_state`]: it takes an [`Entry`](lictor_state::Entry),
//! has a quorum store it, applies it, publishes one [`View`](lictor_state::View) for each batch
//! and then answers. `-dev` and a server with a data directory are the same code; only
//! [`Storage`] differs.
//!
//! # What lies where
//!
//! ```text
//! <directory>/lock              held while a process uses the directory
//! <directory>/header            format of the whole, and whose it is
//! <directory>/log.redb          log, vote, commit index
//! <directory>/snapshots/        <index>-<term>.snap, the two newest
//! ```
//!
//! # Durability
//!
//! An append or a vote is acknowledged after the commit that holds it was flushed to the disk; one
//! flush serves all that waited for it. A snapshot is written aside, flushed, renamed, and its
//! directory flushed, before anything that it covers leaves the log; and the log reaches back to
//! the older of the two snapshots, so that a damaged newest one costs nothing. Every record
//! carries a CRC-32. What is damaged is named and ends the start; nothing is written to a log that
//! did not pass its check.

mod config;
mod consensus;
mod directory;
mod disk;
mod error;
mod format;
mod log;
mod machine;
mod network;
mod recover;
mod snapshot;
mod status;
mod types;

#[cfg(test)]
mod simulation;

pub use consensus::{Applied, Consensus, Consistency, Options, Publish, Storage};
pub use error::{FatalError, ProposeError, ReadError, ServeError, StartError};
pub use format::{FORMATS, Format};
pub use network::{Lane, NoPeers, SnapshotBody, Transport, TransportError};
pub use recover::{Recovered, recover};
pub use status::{Leadership, Peer, Progress, Role, Status};
pub use types::{ServerInfo, server_id};
