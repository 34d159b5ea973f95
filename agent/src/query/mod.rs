//! What a read asks for, as a value.
//!
//! A handler names a [`Query`] and reads the rows out of the view that comes back; where the view
//! is from is not its business. On a server it is the replicated state at one index. The query
//! knows what there wakes it and which index its answer has (Consul's rules for blocking queries).

pub mod rows;

use lictor_raft::Consistency;
use lictor_state::{View, WatchKey, fold};
use lictor_wire::Str;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What a read asks for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Query {
    /// The datacenter; empty for the own one.
    pub datacenter: Str,
    /// The rows.
    pub what: What,
    /// Which of them.
    pub narrow: Narrow,
}

/// The rows that a read is about. Names are as the client wrote them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum What {
    /// All nodes.
    Nodes,
    /// The names of all services with their tags.
    Services,
    /// The instances of a service.
    Instances {
        /// The service.
        name: Str,
        /// What stands for it in the mesh, rather than itself.
        mesh: bool,
    },
    /// The instances that are registered with this address of their own.
    InstancesAt {
        /// The address, as registered.
        address: Str,
    },
    /// The instances of a service with the checks that count for them.
    Health {
        /// The service.
        name: Str,
        /// What stands for it in the mesh, rather than itself.
        mesh: bool,
    },
    /// A node with its instances.
    Node {
        /// Its name, or its UUID or the beginning of it.
        name: Str,
    },
    /// The checks of a node and of its instances.
    NodeChecks {
        /// The node's name, or its UUID or the beginning of it.
        node: Str,
    },
    /// The checks of a service.
    ServiceChecks {
        /// The service.
        name: Str,
    },
    /// The checks in a state.
    ChecksInState {
        /// The state's word, or `any`.
        state: Str,
    },
    /// A key.
    Key {
        /// The key.
        key: Str,
    },
    /// The entries of all keys with a prefix.
    KeyTree {
        /// The prefix.
        prefix: Str,
    },
    /// The names of all keys with a prefix.
    KeyNames {
        /// The prefix.
        prefix: Str,
        /// Names end behind the first of these after the prefix; empty: they do not.
        separator: Str,
    },
    /// A session.
    Session {
        /// Its id.
        id: Str,
    },
    /// All sessions.
    Sessions,
    /// The sessions of a node.
    NodeSessions {
        /// The node.
        node: Str,
    },
    /// The coordinates of all nodes.
    Coordinates,
    /// The coordinate of a node.
    Coordinate {
        /// The node.
        node: Str,
    },
    /// A node with its instances and all checks.
    NodeInfo {
        /// Its name, or its UUID or the beginning of it.
        name: Str,
    },
    /// All nodes with their instances and checks.
    NodeDump,
    /// All instances with the checks that count for them.
    ServiceDump,
}

/// Which rows are wanted, and in what order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Narrow {
    /// Instances must have all of these tags.
    pub tags: Vec<Str>,
    /// Nodes must have all of these pairs in their metadata.
    pub meta: Vec<(Str, Str)>,
    /// A filter expression; empty: none.
    pub filter: Str,
    /// Sort by the distance from this node; empty: do not.
    pub near: Str,
}

impl From<What> for Query {
    fn from(what: What) -> Query {
        Query {
            datacenter: Str::new(),
            what,
            narrow: Narrow::default(),
        }
    }
}

impl What {
    /// The same with conditions on the rows.
    pub fn narrowed(self, narrow: Narrow) -> Query {
        Query {
            datacenter: Str::new(),
            what: self,
            narrow,
        }
    }
}

impl Query {
    /// What a change must touch to wake who waits for another answer. It can change with the
    /// answer: a node's id may come to mean another node.
    pub fn keys(&self, view: &View) -> Vec<WatchKey> {
        let node = |name: &Str| {
            view.node_by_name_or_id(name)
                .map_or_else(|| fold(name), |n| fold(&n.node))
        };
        match &self.what {
            What::Nodes => vec![WatchKey::Nodes],
            What::Services if self.by_node() => vec![WatchKey::Services, WatchKey::Nodes],
            What::Services => vec![WatchKey::Services],
            What::Instances { name, mesh: true } | What::Health { name, mesh: true } => {
                vec![WatchKey::Connect(fold(name))]
            }
            What::Instances { name, mesh: false } => vec![WatchKey::Service(fold(name))],
            What::Health { name, mesh: false } => vec![WatchKey::ServiceHealth(fold(name))],
            What::InstancesAt { .. } => vec![WatchKey::Services, WatchKey::Nodes],
            What::Node { name } => vec![WatchKey::Node(node(name))],
            What::NodeChecks { node: name } => vec![WatchKey::NodeChecks(node(name))],
            What::ServiceChecks { name } => vec![WatchKey::ServiceChecks(fold(name))],
            What::ChecksInState { state } if state == "any" => vec![WatchKey::Checks],
            What::ChecksInState { state } => vec![WatchKey::ChecksInState(state.clone())],
            What::Key { key } => vec![WatchKey::Kv(key.clone())],
            What::KeyTree { prefix } | What::KeyNames { prefix, .. } => {
                vec![WatchKey::KvPrefix(prefix.clone())]
            }
            What::Session { id } => vec![WatchKey::Session(id.clone())],
            What::Sessions => vec![WatchKey::Sessions],
            What::NodeSessions { node } => vec![WatchKey::NodeSessions(fold(node))],
            What::Coordinates => vec![WatchKey::Coordinates],
            What::Coordinate { node } => vec![WatchKey::NodeCoordinate(fold(node))],
            What::NodeInfo { name } => {
                let name = node(name);
                vec![WatchKey::Node(name.clone()), WatchKey::NodeChecks(name)]
            }
            What::NodeDump | What::ServiceDump => {
                vec![WatchKey::Nodes, WatchKey::Services, WatchKey::Checks]
            }
        }
    }

    /// The index of the answer in a view of the whole state. Zero where nothing was ever written;
    /// it is sent as one.
    pub fn index(&self, view: &View) -> u64 {
        let t = view.tables();
        match &self.what {
            What::Nodes => t.nodes,
            What::Services if self.by_node() => t.services.max(t.nodes),
            What::Services => t.services,
            What::Instances { name, mesh: true } | What::Health { name, mesh: true } => {
                view.connect_index(name)
            }
            What::Instances { name, mesh: false } => view.service_index(name),
            What::Health { name, mesh: false } => view.health_index(name),
            What::InstancesAt { .. } => t.services.max(t.nodes),
            What::Node { name } => match view.node_by_name_or_id(name) {
                Some(node) => view.node_index(&node.node),
                None => t.node_extinction,
            },
            What::NodeChecks { .. } | What::ServiceChecks { .. } | What::ChecksInState { .. } => {
                t.checks
            }
            What::Key { key } => view.kv_index(key),
            What::KeyTree { prefix } | What::KeyNames { prefix, .. } => {
                view.kv_prefix_index(prefix)
            }
            What::Session { .. } | What::Sessions | What::NodeSessions { .. } => t.sessions,
            What::Coordinates | What::Coordinate { .. } => t.coordinates,
            What::NodeInfo { name } => match view.node_by_name_or_id(name) {
                Some(node) => view.node_index(&node.node).max(t.checks),
                None => t.node_extinction.max(t.checks),
            },
            What::NodeDump | What::ServiceDump => t.nodes.max(t.services).max(t.checks),
        }
    }

    /// Whether nodes decide which services are shown.
    fn by_node(&self) -> bool {
        !self.narrow.meta.is_empty() || !self.narrow.filter.is_empty()
    }
}

/// How a read wants its answer.
#[derive(Clone, Debug, PartialEq)]
pub struct ReadOptions {
    /// Wait for an index above this; zero: do not wait.
    pub index: u64,
    /// How long at most, with its random part.
    pub wait: Duration,
    /// How long at most, without the random part.
    pub asked: Duration,
    /// How fresh the answer must be.
    pub freshness: Freshness,
    /// An answer that was read before will do.
    pub cached: bool,
    /// A stale answer may be this old, else it is asked for once more and fresh; zero: however old.
    pub max_stale: Duration,
    /// An answer that was read before and may be out of date for longer than this is read anew.
    pub max_age: Option<Duration>,
    /// Where reading anew fails, an answer that is out of date for no longer than this will do.
    pub stale_if_error: Duration,
}

impl ReadOptions {
    /// A read that does not wait.
    pub fn now(freshness: Freshness) -> ReadOptions {
        ReadOptions {
            index: 0,
            wait: Duration::ZERO,
            asked: Duration::ZERO,
            freshness,
            cached: false,
            max_stale: Duration::ZERO,
            max_age: None,
            stale_if_error: Duration::ZERO,
        }
    }
}

/// How fresh an answer must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Freshness {
    /// Any server's view.
    Stale,
    /// Linearizable.
    Default,
    /// Linearizable, with a round of messages for each read.
    Consistent,
}

impl Freshness {
    /// The word of `X-Consul-Effective-Consistency`.
    pub fn word(self) -> &'static str {
        match self {
            Freshness::Stale => "stale",
            Freshness::Default => "leader",
            Freshness::Consistent => "consistent",
        }
    }

    /// What consensus must confirm; nothing for stale reads.
    pub fn barrier(self) -> Option<Consistency> {
        match self {
            Freshness::Stale => None,
            Freshness::Default => Some(Consistency::Default),
            Freshness::Consistent => Some(Consistency::Consistent),
        }
    }
}
