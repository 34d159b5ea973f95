//! What a pool tells its user.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::memberlist::{Note, StreamError};
use crate::packet::message::NodeState;
use crate::serf::{KeyResult, Member, Query, QueryId};

/// Tags of a member.
pub type Tags = BTreeMap<String, String>;

/// What happened. Ask for events after each call; a full queue drops user events and queries first.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A member appeared, or came back.
    MemberJoin(Member),
    /// A member changed its tags or address.
    MemberUpdate(Member),
    /// A member is about to leave, or thought better of it: it neither came nor went yet.
    MemberStatus(Member),
    /// A member left by its own will, or was told to.
    MemberLeave(Member),
    /// A member does not answer any more.
    MemberFailed(Member),
    /// A member was forgotten.
    MemberReap(Member),
    /// Somebody fired a user event.
    User {
        /// Its Lamport time.
        ltime: u64,
        /// Its name.
        name: String,
        /// Its payload.
        payload: Vec<u8>,
        /// Equal ones may be taken together.
        coalesce: bool,
    },
    /// Somebody asks.
    Query(Query),
    /// Somebody got our query.
    QueryAck {
        /// Which.
        id: QueryId,
        /// Who.
        from: Arc<str>,
    },
    /// Somebody answered our query.
    QueryResponse {
        /// Which.
        id: QueryId,
        /// Who.
        from: Arc<str>,
        /// The answer.
        payload: Vec<u8>,
    },
    /// The time of our query is over.
    QueryDone {
        /// Which.
        id: QueryId,
    },
    /// An operation on the pool's keys ended.
    KeyDone(KeyResult),
    /// The own keyring changed: keep these keys, the primary one first.
    KeyringChanged(Vec<Vec<u8>>),
    /// A join ended.
    JoinDone {
        /// Which.
        id: u64,
        /// Addresses where it worked.
        contacted: usize,
        /// Addresses where it did not, and why.
        failed: Vec<(SocketAddr, StreamError)>,
    },
    /// A look at another member's state ended.
    PeekDone {
        /// Which.
        id: u64,
        /// The nodes that it knows.
        result: Result<Vec<NodeState>, StreamError>,
    },
    /// We have left; nobody will take us for failed.
    Left,
    /// Another node uses a name that we know. Nothing changed.
    NameConflict {
        /// The name.
        name: Arc<str>,
        /// Where we know it.
        known: SocketAddr,
        /// Where it is, too.
        other: SocketAddr,
    },
    /// The pool voted that our name belongs to another: shut down.
    NameLost,
    /// For the log.
    Note(Note),
}
