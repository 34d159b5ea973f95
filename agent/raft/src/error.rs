//! What can go wrong.

use crate::types::ServerInfo;
use std::path::PathBuf;
use std::sync::Arc;

/// Why a server did not start. Nothing that was on the disk has been changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Another process uses the directory.
    #[error("the data directory {} is in use by another process", dir.display())]
    Locked {
        /// The directory.
        dir: PathBuf,
    },
    /// Written by another version, most likely a newer one.
    #[error(
        "{} has format {found}, this version reads format {known}: it was written by a newer lictor", file.display()
    )]
    Newer {
        /// The file.
        file: PathBuf,
        /// The format found.
        found: u32,
        /// The newest format that can be read.
        known: u32,
    },
    /// The bytes are not what was written.
    #[error("{} is damaged: {why}", file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// What does not fit.
        why: String,
    },
    /// The directory belongs to another server.
    #[error(
        "the data directory {} belongs to the server {found}, not to {own}; restore its node id or give this server an \
         empty directory", dir.display()
    )]
    Foreign {
        /// The directory.
        dir: PathBuf,
        /// The UUID in the directory.
        found: String,
        /// The UUID of this node.
        own: String,
    },
    /// The system refused.
    #[error("{}: {source}", file.display())]
    Io {
        /// The file or directory.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The options contradict each other.
    #[error("{0}")]
    Options(String),
    /// The servers given for a recovery cannot form a cluster.
    #[error("{0}")]
    Servers(String),
    /// Consensus could not begin.
    #[error("consensus could not start: {0}")]
    Raft(String),
}

impl StartError {
    pub(crate) fn io(file: impl Into<PathBuf>, source: std::io::Error) -> StartError {
        StartError::Io {
            file: file.into(),
            source,
        }
    }

    pub(crate) fn damaged(file: impl Into<PathBuf>, why: impl std::fmt::Display) -> StartError {
        StartError::Damaged {
            file: file.into(),
            why: why.to_string(),
        }
    }
}

/// Why a proposal has no outcome.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProposeError {
    /// Nobody leads; nothing was changed.
    #[error("No cluster leader")]
    NoLeader,
    /// Another server leads; nothing was changed.
    #[error("this server is not the leader, {leader} is")]
    NotLeader {
        /// The leader.
        leader: ServerInfo,
    },
    /// The proposal may or may not take effect: time ran out, leadership was lost, or the server
    /// stopped while it was under way.
    #[error("the outcome of the write is unknown: {0}")]
    Unknown(&'static str),
    /// The servers of the cluster cannot be changed like this, or not now; nothing was changed.
    #[error("{0}")]
    Refused(String),
    /// A server of the cluster could not read the command; nothing was changed.
    #[error(
        "this needs format {needs} of the log's entries and a server of the cluster reads only format {readable}: upgrade all servers first"
    )]
    TooNew {
        /// The format that has the command.
        needs: u8,
        /// The newest that all servers read.
        readable: u8,
    },
    /// The server has stopped; nothing was changed.
    #[error("the server has stopped")]
    Stopped,
}

/// Why a read cannot be answered from this server's view.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// Nobody leads, or the leader cannot reach a quorum.
    #[error("No cluster leader")]
    NoLeader,
    /// Another server leads.
    #[error("this server is not the leader, {leader} is")]
    NotLeader {
        /// The leader.
        leader: ServerInfo,
    },
    /// The view did not catch up in time.
    #[error("the state did not catch up in time")]
    Behind,
    /// The server has stopped.
    #[error("the server has stopped")]
    Stopped,
}

/// Consensus has ended for good: the process must end too.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FatalError(pub(crate) Arc<str>);

/// Why a request of another server was not served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The bytes are no request.
    #[error("not a request between servers: {0}")]
    Malformed(String),
    /// Sent by another version.
    #[error("the request has format {found}, this version reads format {known}")]
    Format {
        /// The format found.
        found: u8,
        /// The format that can be read.
        known: u8,
    },
    /// A server without a log votes for nobody.
    #[error("this server has no log and votes for nobody")]
    NoVote,
    /// The snapshot did not arrive whole.
    #[error("the snapshot was not received: {0}")]
    Snapshot(String),
    /// The server has stopped.
    #[error("the server has stopped")]
    Stopped,
}
