//! The write path and the read path of this agent.
//!
//! Write: a command is stamped, proposed, committed, applied; the next [`View`] is published and
//! the watchers of what changed wake; then the writer is answered. Read: one atomic load.

use crate::watch::{Watch, Watches};
use crate::cluster::forward::Forward;
use arc_swap::ArcSwap;
use lictor_raft::{Consensus, Consistency, ProposeError, Publish, ReadError};
use lictor_state::{Changes, Command, Entry, Outcome, View, WatchKey};
use std::sync::{Arc, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

/// Where the replicated state is read and written.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    published: Arc<Published>,
    consensus: OnceLock<Consensus>,
    forward: OnceLock<Arc<Forward>>,
}

/// What consensus publishes to, and readers take from.
pub struct Published {
    view: ArcSwap<View>,
    watches: Arc<Watches>,
}

impl Publish for Published {
    fn publish(&self, view: View, changes: &Changes) {
        self.view.store(Arc::new(view));
        if !changes.is_empty() {
            self.watches.wake(changes);
        }
    }

    fn restored(&self, view: View) {
        self.view.store(Arc::new(view));
        self.watches.wake_all();
    }
}

/// Why a write was not acknowledged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// Nobody leads now. Nothing was written; try again.
    #[error("No cluster leader")]
    NoLeader,
    /// It is not known whether the write took place: read before repeating it.
    #[error("the write was not acknowledged in time; it may or may not have taken place")]
    Unknown,
    /// The agent is ending.
    #[error("the agent is shutting down")]
    Stopped,
}

impl Store {
    /// A store without consensus: reads see an empty state until [`Store::attach`].
    pub fn new() -> Store {
        let published = Published {
            view: ArcSwap::from_pointee(View::default()),
            watches: Arc::default(),
        };
        Store {
            inner: Arc::new(Inner {
                published: Arc::new(published),
                consensus: OnceLock::new(),
                forward: OnceLock::new(),
            }),
        }
    }

    /// What consensus publishes to.
    pub fn publisher(&self) -> Arc<Published> {
        self.inner.published.clone()
    }

    /// Joins the store with the consensus that feeds it. Only the first call counts.
    pub fn attach(&self, consensus: Consensus) {
        self.inner.consensus.set(consensus).ok();
    }

    /// The consensus of a server.
    pub fn consensus(&self) -> Option<&Consensus> {
        self.inner.consensus.get()
    }

    /// Joins the store with the way to other servers. Only the first call counts.
    pub fn attach_forward(&self, forward: Arc<Forward>) {
        self.inner.forward.set(forward).ok();
    }

    /// The way of a server to whoever leads.
    pub fn forward(&self) -> Option<&Arc<Forward>> {
        self.inner.forward.get()
    }

    /// The present view, as far as this server has it.
    pub fn view(&self) -> Arc<View> {
        self.inner.published.view.load_full()
    }

    /// Registers for changes; read after it.
    pub fn watch(&self, keys: Vec<WatchKey>) -> Watch {
        self.inner.published.watches.register(keys)
    }

    /// Wakes all who wait: the agent ends.
    pub fn wake_all(&self) {
        self.inner.published.watches.wake_all();
    }

    /// How many distinct things are waited for.
    pub fn watched(&self) -> usize {
        self.inner.published.watches.len()
    }

    /// Writes: here, or at the leader.
    pub async fn write(&self, command: Command) -> Result<Outcome, WriteError> {
        let consensus = self.consensus().ok_or(WriteError::NoLeader)?;
        let entry = Arc::new(Entry {
            at: unix_ms(),
            command,
        });
        if consensus.is_leader() {
            match consensus.propose(entry.clone()).await {
                Ok(applied) => return Ok(applied.outcome),
                Err(ProposeError::NoLeader | ProposeError::NotLeader { .. }) => {}
                Err(ProposeError::Stopped) => return Err(WriteError::Stopped),
                Err(_) => return Err(WriteError::Unknown),
            }
        }
        match self.forward() {
            // Boxed, so that the way of the leader stays small.
            Some(forward) => Box::pin(forward.write(entry)).await,
            None => Err(WriteError::NoLeader),
        }
    }

    /// Waits until the view may be used for a read of this consistency.
    pub async fn ready_for(&self, consistency: Consistency) -> Result<(), WriteError> {
        let consensus = self.consensus().ok_or(WriteError::NoLeader)?;
        if consensus.is_leader() {
            match consensus.read_barrier(consistency).await {
                Ok(()) => return Ok(()),
                Err(ReadError::Stopped) => return Err(WriteError::Stopped),
                Err(_) => {}
            }
        }
        match self.forward() {
            Some(forward) => Box::pin(forward.ready_for(consistency)).await,
            None => Err(WriteError::NoLeader),
        }
    }

    /// Whether this server leads.
    pub fn is_leader(&self) -> bool {
        self.consensus().is_some_and(Consensus::is_leader)
    }
}

impl Default for Store {
    fn default() -> Store {
        Store::new()
    }
}

/// Milliseconds since 1970 by this machine's clock.
pub fn unix_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}
