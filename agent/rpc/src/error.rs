//! What can go wrong, and what that says about the request.

use std::io;

use lictor_yamux::End;

/// Why a session is over.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The other side has closed the connection.
    #[error("EOF")]
    Eof,
    /// The connection broke.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The multiplexer ended it.
    #[error("{0}")]
    Session(#[from] End),
}

/// Why a call has no reply. The texts are Consul's, because HTTP clients see them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The server has answered with an error: its text. By Consul's rules texts are matched by
    /// what they contain.
    #[error("rpc error making call: {0}")]
    Remote(String),
    /// No server can have executed it: no connection, or the request did not leave.
    #[error("rpc error getting client: {0}")]
    NotSent(String),
    /// The connection was lost after the request had left: it may have been executed.
    #[error("rpc error making call: {0}")]
    Lost(String),
    /// No answer in time: it may have been executed, or may yet be.
    #[error("rpc error making call: i/o deadline reached")]
    Timeout,
}

impl CallError {
    /// The server could not be reached, or went away.
    #[must_use]
    pub fn is_connection(&self) -> bool {
        matches!(self, Self::NotSent(_) | Self::Lost(_))
    }
}
