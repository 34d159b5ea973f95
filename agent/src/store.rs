//! The write path and the read path of this agent.
//!
//! Write: a command is stamped, proposed, committed, applied; the next [`View`] is published and
//! the watchers of what changed wake; then the writer is answered. Read: one atomic load.

use crate::clock::{Stamps, unix_ms};
use crate::cluster::forward::Forward;
use crate::query::{Freshness, Query, ReadOptions};
use crate::requests::Requests;
use crate::servers;
use crate::upstream::{Abroad, Upstream};
use crate::watch::{Watch, Watches};
use arc_swap::ArcSwap;
use lictor_raft::{Consensus, Consistency, ProposeError, Publish, ReadError};
use lictor_state::{
    Changes, Command, Entry, Outcome, RequestId, TxnError, TxnOp, TxnResult, View, WatchKey,
};
use lictor_wire::{Session, Str};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Where the replicated state is read and written: on a server its consensus and the view that it
/// publishes, on a client agent the servers.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    published: Arc<Published>,
    consensus: OnceLock<Consensus>,
    forward: OnceLock<Arc<Forward>>,
    upstream: OnceLock<Upstream>,
    abroad: OnceLock<Arc<Abroad>>,
    ending: AtomicBool,
    stamps: Stamps,
    requests: Arc<Requests>,
}

/// What a read says of the leader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Contact {
    /// Whether there is one.
    pub known: bool,
    /// Milliseconds since it was heard; zero on the leader itself.
    pub last_contact_ms: u64,
}

/// The answer to a [`Query`].
#[derive(Clone, Debug)]
pub struct Answered {
    /// Where its rows are; whatever else is there was not asked for.
    pub view: Arc<View>,
    /// Its index; never zero.
    pub index: u64,
    /// How fresh it is.
    pub contact: Contact,
    /// How it was read.
    pub freshness: Freshness,
    /// Where it was kept by this agent, for reads that allow that.
    pub cache: Option<CacheNote>,
}

/// The rows of a transaction that only reads, or why it has none.
pub type TxnRead = Result<Vec<TxnResult>, Vec<TxnError>>;

/// What is said of an answer that may have been kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheNote {
    /// It was there already.
    pub hit: bool,
    /// Since when it may be out of date.
    pub age: Duration,
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

/// Why a read or write has no answer, or a write was not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
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
    /// This client agent knows of no server. Nothing was written.
    #[error("No known Consul servers")]
    NoServers,
    /// This agent asks more of its servers than its configuration lets it. Nothing was written.
    #[error("RPC rate limit exceeded")]
    RateLimited,
    /// A server refused, in its words.
    #[error("rpc error making call: {0}")]
    Remote(String),
    /// The call to a server failed; a write may have taken place.
    #[error("{0}")]
    Rpc(String),
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
                upstream: OnceLock::new(),
                abroad: OnceLock::new(),
                ending: AtomicBool::new(false),
                stamps: Stamps::default(),
                forward: OnceLock::new(),
                requests: Requests::new(),
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

    /// Joins the store of a client agent with its servers. Only the first call counts.
    pub fn attach_upstream(&self, upstream: Upstream) {
        self.inner.upstream.set(upstream).ok();
    }

    /// The servers of a client agent.
    pub fn upstream(&self) -> Option<&Upstream> {
        self.inner.upstream.get()
    }

    /// Joins the store of a server with those of other datacenters. Only the first call counts.
    pub fn attach_abroad(&self, abroad: Arc<Abroad>) {
        self.inner.abroad.set(abroad).ok();
    }

    /// The other datacenters, as a server knows them.
    pub fn abroad(&self) -> Option<&Arc<Abroad>> {
        self.inner.abroad.get()
    }

    /// The state of another datacenter; `None` where nobody knows a way to it. A client agent
    /// leaves that to the servers.
    pub fn at(&self, datacenter: &str) -> Option<Store> {
        let upstream = match (self.upstream(), self.abroad()) {
            (Some(upstream), _) => upstream.at(datacenter),
            (None, Some(abroad)) => abroad.at(datacenter)?,
            (None, None) => return None,
        };
        let store = Store::new();
        store.attach_upstream(upstream);
        Some(store)
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

    /// The agent ends: all who wait are answered with what there is.
    pub fn end(&self) {
        self.inner.ending.store(true, Ordering::Release);
        self.inner.published.watches.wake_all();
    }

    fn is_ending(&self) -> bool {
        self.inner.ending.load(Ordering::Acquire)
    }

    /// How many distinct things are waited for.
    pub fn watched(&self) -> usize {
        self.inner.published.watches.len()
    }

    /// The time to stamp on what this server proposes as the leader.
    pub fn stamp(&self) -> u64 {
        let term = self.consensus().map_or(0, Consensus::term);
        let latest = || self.view().last_lock_delay();
        self.inner
            .stamps
            .stamp(term, std::time::Instant::now(), unix_ms, latest)
    }

    /// Writes: here, or at the leader.
    pub async fn write(&self, command: Command) -> Result<Outcome, WriteError> {
        if let Some(upstream) = self.upstream() {
            return upstream.write(command).await;
        }
        self.write_as(command, None).await
    }

    /// Writes on a server, for whoever has given the request this number. Without one it gets a
    /// number of this server's, so that it can be sent again where its leader was lost.
    pub async fn write_as(
        &self,
        command: Command,
        number: Option<RequestId>,
    ) -> Result<Outcome, WriteError> {
        let consensus = self.consensus().ok_or(WriteError::NoLeader)?;
        let (mut ticket, mut number) = (None, number);
        if (number.is_some() || !consensus.is_sole()) && consensus.reads(servers::ONCE) {
            if number.is_none() {
                number = Some(ticket.insert(self.inner.requests.begin()).id());
            }
        } else {
            number = None;
        }
        let command = match number {
            Some(number) => Command::Once(number, Box::new(command)),
            None => command,
        };
        let entry = Arc::new(Entry {
            at: self.stamp(),
            command,
        });
        let mut unknown = false;
        if consensus.is_leader() {
            match consensus.propose(entry.clone()).await {
                Ok(applied) => return Ok(applied.outcome),
                Err(ProposeError::NoLeader | ProposeError::NotLeader { .. }) => {}
                Err(ProposeError::Stopped) => return Err(WriteError::Stopped),
                Err(error @ ProposeError::TooNew { .. }) => {
                    return Err(WriteError::Rpc(error.to_string()));
                }
                Err(_) if number.is_none() => return Err(WriteError::Unknown),
                Err(_) => unknown = true,
            }
        }
        match self.forward() {
            // Boxed, so that the way of the leader stays small.
            Some(forward) => Box::pin(forward.write(entry, unknown)).await,
            None if unknown => Err(WriteError::Unknown),
            None => Err(WriteError::NoLeader),
        }
    }

    /// Writes what this server has decided as the leader, and only as the leader: nothing is passed
    /// on. One that was stopped for a while and does not know yet that another leads has decided by
    /// what was; the other must not hear of it.
    ///
    /// # Errors
    /// [`WriteError::NoLeader`] if it does not lead.
    pub async fn write_as_leader(&self, command: Command) -> Result<Outcome, WriteError> {
        let consensus = self.consensus().ok_or(WriteError::NoLeader)?;
        let entry = Entry {
            at: self.stamp(),
            command,
        };
        match consensus.propose(entry).await {
            Ok(applied) => Ok(applied.outcome),
            Err(ProposeError::NoLeader | ProposeError::NotLeader { .. }) => {
                Err(WriteError::NoLeader)
            }
            Err(ProposeError::Stopped) => Err(WriteError::Stopped),
            Err(_) => Err(WriteError::Unknown),
        }
    }

    /// Makes a session: its id, or why the rules refuse it.
    pub async fn create_session(
        &self,
        session: Session,
    ) -> Result<Result<Str, String>, WriteError> {
        if let Some(upstream) = self.upstream() {
            return upstream.create_session(&session).await.map(Ok);
        }
        self.create_session_as(session, None).await
    }

    /// Makes a session on a server, for whoever has given the request this number.
    pub async fn create_session_as(
        &self,
        session: Session,
        number: Option<RequestId>,
    ) -> Result<Result<Str, String>, WriteError> {
        let id = session.id.clone();
        let command = Command::SessionCreate(Box::new(session));
        match self.write_as(command, number).await? {
            Outcome::Refused(text) => Ok(Err(text)),
            _ => Ok(Ok(id)),
        }
    }

    /// Runs a transaction that only reads, and says how fresh it is.
    pub async fn txn_read(
        &self,
        ops: &[TxnOp],
        freshness: Freshness,
    ) -> Result<(TxnRead, Contact), WriteError> {
        if let Some(upstream) = self.upstream() {
            return upstream.txn_read(ops, freshness).await;
        }
        if let Some(barrier) = freshness.barrier() {
            self.ready_for(barrier).await?;
        }
        Ok((self.view().txn_read(ops), self.contact()))
    }

    /// The address of the leader; empty where there is none.
    pub async fn leader(&self) -> Result<String, WriteError> {
        if let Some(upstream) = self.upstream() {
            return upstream.leader().await;
        }
        let leader = self.consensus().and_then(Consensus::leader);
        Ok(leader.map(|l| l.address).unwrap_or_default())
    }

    /// The addresses of the servers in the Raft configuration.
    pub async fn peers(&self) -> Result<Vec<String>, WriteError> {
        if let Some(upstream) = self.upstream() {
            return upstream.peers().await;
        }
        let voters = self.consensus().map(|c| c.status().voters);
        let voters = voters.unwrap_or_default().into_iter();
        Ok(voters.map(|p| p.info.address).collect())
    }

    /// Reads. With an index it waits until that of the answer is above it, or the time is over. An
    /// answer that is more stale than allowed is asked for once more, and fresh.
    pub async fn read(&self, query: &Query, options: &ReadOptions) -> Result<Answered, WriteError> {
        let answered = self.read_once(query, options).await?;
        let too_old = options.freshness == Freshness::Stale
            && !options.max_stale.is_zero()
            && u128::from(answered.contact.last_contact_ms) > options.max_stale.as_millis();
        if !too_old {
            return Ok(answered);
        }
        let fresh = ReadOptions {
            freshness: Freshness::Default,
            ..options.clone()
        };
        self.read_once(query, &fresh).await
    }

    async fn read_once(
        &self,
        query: &Query,
        options: &ReadOptions,
    ) -> Result<Answered, WriteError> {
        if let Some(upstream) = self.upstream() {
            return upstream.read(query, options).await;
        }
        let barrier = options.freshness.barrier().filter(|_| !options.cached);
        if let Some(barrier) = barrier {
            self.ready_for(barrier).await?;
        }
        if options.index == 0 {
            return Ok(self.answered(query, options));
        }
        let deadline = Instant::now() + options.wait;
        let mut watch = None;
        let mut keys = Vec::new();
        loop {
            // What is waited for can change with the answer: the nodes shown, for example.
            let now = query.keys(&self.view());
            if watch.is_none() || now != keys {
                watch = Some(self.watch(now.clone()));
                keys = now;
                // Registered first, read second: no change falls between.
            }
            let answer = self.answered(query, options);
            if answer.index > options.index {
                return Ok(answer);
            }
            // Who waits keeps no old state alive.
            drop(answer);
            let Some(watch) = watch.as_mut() else {
                continue;
            };
            let over = tokio::select! {
                () = watch.changed() => self.is_ending(),
                () = sleep_until(deadline) => true,
            };
            if over {
                if let Some(barrier) = barrier.filter(|_| !self.is_ending()) {
                    self.ready_for(barrier).await?;
                }
                return Ok(self.answered(query, options));
            }
        }
    }

    fn answered(&self, query: &Query, options: &ReadOptions) -> Answered {
        let view = self.view();
        Answered {
            index: query.index(&view).max(1),
            view,
            contact: self.contact(),
            freshness: options.freshness,
            cache: None,
        }
    }

    /// Whether and when the leader was heard.
    pub fn contact(&self) -> Contact {
        let Some(consensus) = self.consensus() else {
            return Contact::default();
        };
        // A leader that no quorum follows any more is none.
        let heard = consensus.last_contact().unwrap_or_default();
        Contact {
            known: consensus.has_leader(),
            last_contact_ms: u64::try_from(heard.as_millis()).unwrap_or(u64::MAX),
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
