//! The number of a request, by which a second copy of it is known.
//!
//! Whoever sends a write and loses the connection cannot know whether it took place. It sends it
//! again with the same number, and the state, which has kept the outcome of the first copy, gives
//! that instead of doing it twice. So that the outcomes do not pile up, each request says which
//! numbers are done with. This is the scheme of section 6.3 of Ongaro's dissertation on Raft.

use serde::{Deserialize, Serialize};

/// Which request of which agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "(u64, u64, u64)", into = "(u64, u64, u64)")]
pub struct RequestId {
    /// The run of an agent: chosen by chance at each start.
    pub origin: u64,
    /// Counts up with each request of the origin.
    pub number: u64,
    /// No request of the origin with a number below this is sent any more. At most `number`.
    pub floor: u64,
}

impl From<(u64, u64, u64)> for RequestId {
    fn from((origin, number, floor): (u64, u64, u64)) -> RequestId {
        RequestId {
            origin,
            number,
            floor,
        }
    }
}

impl From<RequestId> for (u64, u64, u64) {
    fn from(id: RequestId) -> (u64, u64, u64) {
        (id.origin, id.number, id.floor)
    }
}

/// What is known of an origin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Origin {
    /// When it was last heard of: the time that the leader stamped on its last request.
    pub(crate) at: u64,
    /// Requests below this are over: their copies are not carried out.
    pub(crate) floor: u64,
    /// How many outcomes are kept.
    pub(crate) kept: u64,
}
