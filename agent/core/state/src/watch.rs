//! What a read depends on and what a change touches.

use lictor_wire::Str;

/// One thing that a blocking query can wait for. Names are folded to lower case (see
/// [`crate::fold`]), keys are not.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum WatchKey {
    /// Any node's row.
    Nodes,
    /// A node's row, or an instance on it.
    Node(Str),
    /// Any instance.
    Services,
    /// The instances of a service and the rows of their nodes.
    Service(Str),
    /// The same and their checks: all that a health answer shows.
    ServiceHealth(Str),
    /// Instances that stand for a service in the mesh.
    Connect(Str),
    /// Any check.
    Checks,
    /// Checks in this state, by its word.
    ChecksInState(Str),
    /// The checks of a node.
    NodeChecks(Str),
    /// The checks of a service.
    ServiceChecks(Str),
    /// A key.
    Kv(Str),
    /// All keys with this prefix. Never in a change: keys match it.
    KvPrefix(Str),
    /// Any session.
    Sessions,
    /// A session.
    Session(Str),
    /// The sessions of a node.
    NodeSessions(Str),
    /// Any coordinate.
    Coordinates,
    /// The coordinate of a node.
    NodeCoordinate(Str),
    /// The configuration of autopilot.
    Autopilot,
}

/// What a batch of commands touched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    keys: Vec<WatchKey>,
}

impl Changes {
    /// Notes one touched thing.
    pub fn touch(&mut self, key: WatchKey) {
        if self.keys.last() != Some(&key) {
            self.keys.push(key);
        }
    }

    /// How much was noted so far, for [`Changes::rewind`].
    pub(crate) fn mark(&self) -> usize {
        self.keys.len()
    }

    /// Forgets what was noted after the mark.
    pub(crate) fn rewind(&mut self, mark: usize) {
        self.keys.truncate(mark);
    }

    /// All that was touched; some may stand there twice.
    pub fn keys(&self) -> &[WatchKey] {
        &self.keys
    }

    /// Whether nothing was touched.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.keys.clear();
    }
}
