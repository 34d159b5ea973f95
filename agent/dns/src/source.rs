//! Where the answers come from: the seam between DNS and the rest of the agent.

use lictor_state::View;
use lictor_wire::rows::CheckServiceNode;
use lictor_wire::{Node, Str};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// What the agent gives to its DNS server.
///
/// A server answers most questions from [`Source::view`] at once. Everything that has to ask
/// somebody is `async` and counts against the limit of pending answers.
#[async_trait::async_trait]
pub trait Source: Send + Sync + 'static {
    /// The state as this agent has it now, or nothing where it holds none (a client agent).
    /// Called for each question: must not block.
    fn view(&self) -> Option<Arc<View>>;

    /// How long ago the leader was last heard; zero on the leader. A view that is older than
    /// `max_stale` is not used.
    fn staleness(&self) -> Duration {
        Duration::ZERO
    }

    /// A view that holds all that was acknowledged before the call, or nothing on a client agent.
    async fn consistent_view(&self) -> Result<Option<Arc<View>>, SourceError>;

    /// What the view cannot tell: other datacenters, prepared queries, and everything on a client
    /// agent.
    async fn find(&self, lookup: Lookup) -> Result<Found, SourceError> {
        match (&lookup.datacenter, &lookup.what) {
            (Some(_), _) => Err(SourceError::UnknownDatacenter),
            (None, What::Query { .. }) => Ok(Found::Query(None)),
            (None, _) => Err(SourceError::Unavailable(
                "this agent holds no catalog".into(),
            )),
        }
    }
}

/// A question for [`Source::find`]. Names are in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lookup {
    /// The datacenter; nothing for that of the agent.
    pub datacenter: Option<Str>,
    /// Whether an answer without the leader is good enough.
    pub allow_stale: bool,
    /// What is asked for.
    pub what: What,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// The instances of a service with their checks, whatever their health.
    Service {
        /// The service.
        name: Str,
        /// Its stand-ins in the mesh rather than itself.
        mesh: bool,
    },
    /// A node.
    Node {
        /// Its name.
        name: Str,
    },
    /// Who has an address.
    Address {
        /// The address.
        ip: IpAddr,
    },
    /// A prepared query.
    Query {
        /// Its name or id.
        name: Str,
        /// Where the client is: its subnet if it says so, else its address.
        client: IpAddr,
    },
}

/// The answer of [`Source::find`]: the variant that belongs to the question.
#[derive(Clone, Debug)]
pub enum Found {
    /// The instances, none if there is no such service.
    Service(Vec<CheckServiceNode>),
    /// The node.
    Node(Option<Arc<Node>>),
    /// The name of the node, else the name of a service, with that address.
    Address {
        /// A node with that address.
        node: Option<Str>,
        /// A service with that address.
        service: Option<Str>,
    },
    /// The result of a prepared query; nothing if there is none of that name.
    Query(Option<Queried>),
}

/// The result of a prepared query.
#[derive(Clone, Debug)]
pub struct Queried {
    /// The service that was looked for, after templates.
    pub service: Str,
    /// The datacenter that answered.
    pub datacenter: Str,
    /// The instances to answer with.
    pub nodes: Vec<CheckServiceNode>,
    /// The query's own TTL.
    pub ttl: Option<Duration>,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// No leader to ask.
    #[error("no cluster leader")]
    NoLeader,
    /// No datacenter of that name, or no way to it.
    #[error("no path to datacenter")]
    UnknownDatacenter,
    /// Anything else that may pass.
    #[error("{0}")]
    Unavailable(String),
}
