//! The handle that everything else uses.

mod members;
mod servers;
mod suspend;
mod watch;

use crate::config::config;
use crate::directory;
use crate::disk::{Fs, Lock, RealFs};
use crate::error::{FatalError, ProposeError, ReadError, StartError};
use crate::log::{LogCloser, LogStore, Shared};
use crate::machine::{Link, Machine};
use crate::network::{Acknowledged, Network, NoPeers, Transport};
use crate::snapshot::SnapshotStore;
use crate::status::{self, Leadership, Status};
use crate::types::{LogId, Proposal, ServerInfo, TypeConfig};
use lictor_state::{Changes, Entry, OLDEST_COMMAND_FORMAT, Outcome, View};
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{
    ClientWriteError, ForwardReason, ForwardToLeader, LinearizableReadError, RaftError,
};
use openraft::metrics::{RaftServerMetrics, WaitError};
use openraft::{ChangeMembers, LinearizerOption, Raft, RaftMetrics, ReadPolicy};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::watch as channel;
use tokio::time::Instant;

/// How long a write may take before its outcome is called unknown; Consul gives it as long.
const WRITE_LIMIT: Duration = Duration::from_secs(30);

/// A leader that its quorum has not answered for so long cannot say when a write will be confirmed.
const QUORUM_LIMIT: Duration = Duration::from_secs(7);

/// How often a write that waits looks at that.
const QUORUM_STEP: Duration = Duration::from_secs(1);

/// How long a write or read waits for a new leader to hear from its quorum, or for a view to catch up.
const SETTLE_LIMIT: Duration = Duration::from_secs(5);

/// How often it asks meanwhile.
const SETTLE_STEP: Duration = Duration::from_millis(2);

/// How often a snapshot that was asked for is asked for again.
const SNAPSHOT_STEP: Duration = Duration::from_millis(50);

/// Where the log and the snapshots are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Storage {
    /// In memory: all is gone when the process ends.
    Memory,
    /// In this directory, which is made if need be.
    Directory(PathBuf),
}

/// How a server is to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Who it is, and where the others find it.
    pub server: ServerInfo,
    /// Where it stores.
    pub storage: Storage,
    /// Whether it makes itself the only voter of a new cluster if its log is empty.
    pub bootstrap: bool,
    /// Consul's `raft_multiplier`: stretches heartbeats and elections.
    pub multiplier: u32,
    /// A snapshot is made after this many entries.
    pub snapshot_threshold: u64,
    /// How many entries stay in the log behind a snapshot, at least.
    pub trailing_logs: u64,
}

/// Who is told what the state has become.
///
/// Both are called from the task that applies, one at a time and in order, and before any answer
/// goes out; they must return quickly.
pub trait Publish: Send + Sync + 'static {
    /// A batch was applied.
    fn publish(&self, view: View, changes: &Changes);

    /// The state was replaced: at the start, once, before [`Consensus::start`] returns; later when
    /// another server sent a snapshot. What was derived from an older view is void.
    fn restored(&self, view: View);
}

/// What became of a proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The index of its entry.
    pub index: u64,
    /// What the state made of it.
    pub outcome: Outcome,
}

/// What a read wants to know for certain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consistency {
    /// Every write acknowledged before is visible. On several servers this trusts that their
    /// monotonic clocks run at about one rate, and that a machine that was suspended can tell: one
    /// that its hypervisor has stopped, clocks and all, cannot.
    Default,
    /// The same, trusting no clock: a quorum is asked.
    Consistent,
}

/// Consensus among the servers of a datacenter, of which this process is one.
#[derive(Clone)]
pub struct Consensus {
    inner: Arc<Inner>,
}

struct Inner {
    id: u64,
    server: ServerInfo,
    raft: Raft<TypeConfig, Machine>,
    log: Arc<Shared>,
    link: Arc<Link>,
    store: Option<Arc<SnapshotStore>>,
    closer: Option<LogCloser>,
    /// Held while the directory is in use.
    lock: Mutex<Option<Lock>>,
    /// The only voter leads, and all that was committed is applied: its own view is the truth.
    sole: AtomicBool,
    /// Changes of the servers that were begun and not ended: until then nobody is alone.
    changing: AtomicU64,
    leads: AtomicBool,
    /// The newest format of commands that all servers read.
    readable: AtomicU8,
    /// Looks what that is now.
    look: OnceLock<Look>,
    stopped: AtomicBool,
    received: AtomicU64,
    acknowledged: Arc<Acknowledged>,
    /// When the leader was last heard, in milliseconds since `started`, plus one; zero: never.
    heard: AtomicU64,
    started: Instant,
    lease: Duration,
    suspensions: suspend::Suspensions,
    leadership: channel::Sender<Leadership>,
    fatal: channel::Receiver<Option<Arc<str>>>,
}

/// Gives the newest format of commands that all servers read.
type Look = Box<dyn Fn() -> u8 + Send + Sync>;

impl Consensus {
    /// Starts a server that has no way to others.
    ///
    /// A single voter leads when this returns. Nothing on the disk was changed if it fails.
    pub async fn start(
        options: Options,
        publish: Arc<dyn Publish>,
    ) -> Result<Consensus, StartError> {
        Consensus::start_with(options, publish, Arc::new(NoPeers)).await
    }

    /// Starts a server.
    pub async fn start_with(
        options: Options,
        publish: Arc<dyn Publish>,
        transport: Arc<dyn Transport>,
    ) -> Result<Consensus, StartError> {
        Consensus::start_on(Arc::new(RealFs), options, publish, transport).await
    }

    pub(crate) async fn start_on(
        fs: Arc<dyn Fs>,
        options: Options,
        publish: Arc<dyn Publish>,
        transport: Arc<dyn Transport>,
    ) -> Result<Consensus, StartError> {
        let Options {
            server,
            storage,
            bootstrap,
            multiplier,
            snapshot_threshold,
            trailing_logs,
        } = options;
        let id = server.id();
        let memory = storage == Storage::Memory;
        let config = config(multiplier, snapshot_threshold, trailing_logs, memory);
        // The lease that is trusted is shorter than the one that followers grant.
        let lease = Duration::from_millis(config.election_timeout_min / 2);
        let config = config
            .validate()
            .map_err(|e| StartError::Options(e.to_string()))?;
        let link = Arc::new(Link::new(publish));
        let (fatal_sender, fatal) = channel::channel(None);

        let mut empty = true;
        let (log, machine, store, closer, lock) = match storage {
            Storage::Memory => (
                LogStore::memory(),
                Machine::new(None, None, link.clone()),
                None,
                None,
                None,
            ),
            Storage::Directory(dir) => {
                let (epoch, own, at) = (link.next_epoch(), server.node_id.clone(), dir.clone());
                let open = move || -> Result<_, StartError> {
                    let lock = directory::lock(&*fs, &at)?;
                    Ok((lock, directory::open(fs, &at, Some(&own), epoch)?))
                };
                let joined = tokio::task::spawn_blocking(open).await;
                let (lock, opened) = joined.map_err(|e| StartError::Raft(e.to_string()))??;
                empty = opened.content.last.is_none()
                    && opened.newest.is_none()
                    && opened.content.vote.is_none();
                let (log, closer) = LogStore::file(
                    opened.log,
                    &opened.content,
                    opened.floor,
                    fatal_sender.clone(),
                )
                .map_err(|e| StartError::io(dir, e))?;
                let store = Arc::new(opened.store);
                let machine = Machine::new(opened.newest, Some(store.clone()), link.clone());
                (log, machine, Some(store), Some(closer), Some(lock))
            }
        };

        let shared = log.handle();
        let acknowledged = Arc::new(Acknowledged::default());
        let network = Network {
            transport,
            store: store.clone(),
            acknowledged: acknowledged.clone(),
        };
        let raft = Raft::build(id, Arc::new(config), network, log, machine)
            .await
            .map_err(raft_failed)?;
        link.go_live();
        raft.run();
        let inner = Arc::new(Inner {
            id,
            server,
            raft,
            log: shared,
            link,
            store,
            closer,
            lock: Mutex::new(lock),
            sole: AtomicBool::new(false),
            changing: AtomicU64::new(0),
            leads: AtomicBool::new(false),
            readable: AtomicU8::new(OLDEST_COMMAND_FORMAT),
            look: OnceLock::new(),
            stopped: AtomicBool::new(false),
            received: AtomicU64::new(0),
            acknowledged,
            heard: AtomicU64::new(0),
            started: Instant::now(),
            lease,
            suspensions: suspend::Suspensions::new(),
            leadership: channel::Sender::default(),
            fatal,
        });
        let consensus = Consensus { inner };
        let begun = consensus.begin(empty && bootstrap).await;
        if let Err(error) = begun {
            consensus.shutdown().await;
            return Err(error);
        }
        tokio::spawn(watch::watch_over(consensus.inner.clone(), fatal_sender));
        Ok(consensus)
    }

    /// Makes a cluster or takes up the lead of one's own; leaves it to time if there are others.
    async fn begin(&self, bootstrap: bool) -> Result<(), StartError> {
        let Inner {
            id, raft, server, ..
        } = &*self.inner;
        if bootstrap {
            raft.initialize(BTreeMap::from([(*id, server.clone())]))
                .await
                .map_err(|e| StartError::Raft(e.to_string()))?;
        }
        let mut metrics = raft.server_metrics();
        let alone = || async {
            let known = raft
                .with_raft_state(|state| state.membership_state.effective().clone())
                .await;
            known.map(|m| status::alone(&m, *id)).map_err(raft_failed)
        };
        if !alone().await? {
            raft.runtime_config().tick(true);
            return Ok(());
        }
        if !bootstrap {
            raft.trigger().elect(false).await.map_err(raft_failed)?;
        }
        while !metrics.borrow_and_update().state.is_leader() {
            metrics
                .changed()
                .await
                .map_err(|_| StartError::Raft(self.inner.end()))?;
        }
        // Answers when everything before is applied and published.
        raft.ensure_linearizable(ReadPolicy::ReadIndex)
            .await
            .map_err(|e| StartError::Raft(e.to_string()))?;
        self.inner.take_lead();
        // A server may come back with another address or name.
        let known = raft
            .server_metrics()
            .borrow_watched()
            .membership_config
            .get_node(id)
            .cloned();
        if known.as_ref() != Some(server) {
            let change = ChangeMembers::SetNodes(BTreeMap::from([(*id, server.clone())]));
            raft.change_membership(change, true)
                .await
                .map_err(|e| StartError::Raft(e.to_string()))?;
        }
        Ok(())
    }

    /// Says which format of commands all servers of the cluster read. Until then it is the oldest.
    pub fn set_readable(&self, format: u8) {
        self.inner.readable.store(format, Ordering::Release);
    }

    /// The newest format of commands that may be proposed.
    pub fn readable(&self) -> u8 {
        self.inner.readable.load(Ordering::Acquire)
    }

    /// Where to look when a command needs a newer format than was known to be read. Only the first
    /// call counts.
    pub fn learn_readable(&self, look: Box<dyn Fn() -> u8 + Send + Sync>) {
        self.inner.look.set(look).ok();
    }

    /// Whether all servers read this format.
    pub fn reads(&self, format: u8) -> bool {
        if self.readable() < format
            && let Some(look) = self.inner.look.get()
        {
            self.set_readable(look());
        }
        self.readable() >= format
    }

    /// Proposes an entry and waits until it is applied here.
    ///
    /// Dropping the future does not take the proposal back.
    ///
    /// # Errors
    /// [`ProposeError::TooNew`] for a command that not all servers could read: in their logs it
    /// would stop them.
    pub async fn propose(&self, entry: impl Into<Arc<Entry>>) -> Result<Applied, ProposeError> {
        let inner = &*self.inner;
        if inner.stopped.load(Ordering::Acquire) {
            return Err(ProposeError::Stopped);
        }
        let entry = entry.into();
        let needs = entry.command.format();
        if !self.reads(needs) {
            let readable = self.readable();
            return Err(ProposeError::TooNew { needs, readable });
        }
        let started = Instant::now();
        let mut write = std::pin::pin!(inner.write(Proposal(entry)));
        loop {
            tokio::select! {
                result = &mut write => return result,
                () = tokio::time::sleep(QUORUM_STEP) => {}
            }
            if inner.quorum_is_silent() {
                return Err(ProposeError::Unknown("most of the servers do not answer"));
            }
            if started.elapsed() >= WRITE_LIMIT {
                return Err(ProposeError::Unknown("it was not confirmed in time"));
            }
        }
    }

    /// Returns when this server's view shows every write that was acknowledged before the call.
    ///
    /// Take the view after it returned. A single voter answers at once.
    pub async fn read_barrier(&self, consistency: Consistency) -> Result<(), ReadError> {
        if self.inner.sole.load(Ordering::Acquire) {
            return Ok(());
        }
        // Boxed, so that the way of a single voter stays small.
        Box::pin(self.inner.barrier(consistency)).await.map(|_| ())
    }

    /// For a follower that asks the leader: the index that its view must have reached to answer a
    /// read that began before this call. Only the leader knows it.
    pub async fn read_index(&self, consistency: Consistency) -> Result<u64, ReadError> {
        self.inner.barrier(consistency).await
    }

    /// Returns when this server's view has reached the index.
    pub async fn wait_applied(&self, index: u64, limit: Duration) -> Result<(), ReadError> {
        let wait = self.inner.raft.wait(Some(limit));
        match wait
            .applied_index_at_least(Some(index), "reached the index")
            .await
        {
            Ok(_) => Ok(()),
            Err(WaitError::Timeout(..)) => Err(ReadError::Behind),
            Err(_) => Err(ReadError::Stopped),
        }
    }

    /// Whether this server is the only voter, so that it leads as long as it is there.
    pub fn is_sole(&self) -> bool {
        self.inner.sole.load(Ordering::Acquire)
    }

    /// Whether this server leads, and has applied all that was committed before it did.
    pub fn is_leader(&self) -> bool {
        self.inner.leads.load(Ordering::Acquire)
    }

    /// The term, as far as this server knows.
    pub fn term(&self) -> u64 {
        self.inner.leadership.borrow().term
    }

    /// Follows who leads.
    pub fn leadership(&self) -> channel::Receiver<Leadership> {
        self.inner.leadership.subscribe()
    }

    /// How the server stands.
    pub fn status(&self) -> Status {
        let metrics = self.inner.raft.metrics();
        // The guard holds up consensus: it lives no longer than the copy takes.
        let metrics: RaftMetrics<TypeConfig> = metrics.borrow_watched().clone();
        Status::of(&metrics, self.inner.log.last())
    }

    /// Who this server is.
    pub fn server(&self) -> &ServerInfo {
        &self.inner.server
    }

    /// Makes a snapshot now and waits until it is there.
    pub async fn snapshot(&self) -> Result<(), ReadError> {
        let raft = &self.inner.raft;
        let target: Option<LogId> = raft.metrics().borrow_watched().last_applied;
        loop {
            // Asked again from time to time: it is ignored while an earlier one is being written.
            raft.trigger()
                .snapshot()
                .await
                .map_err(|_| ReadError::Stopped)?;
            let wait = raft.wait(Some(SNAPSHOT_STEP));
            match wait
                .metrics(|m| m.snapshot >= target, "a snapshot was made")
                .await
            {
                Ok(_) => return Ok(()),
                Err(WaitError::Timeout(..)) => {}
                Err(WaitError::ShuttingDown) => return Err(ReadError::Stopped),
            }
        }
    }

    /// Returns when consensus has ended for a reason that a restart may mend: the disk refuses, or
    /// something is damaged. Never returns after an ordinary [`Consensus::shutdown`].
    pub async fn fatal(&self) -> FatalError {
        let mut fatal = self.inner.fatal.clone();
        loop {
            if let Some(why) = fatal.borrow_and_update().clone() {
                return FatalError(why);
            }
            if fatal.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Stops: what is under way is stored, the log closed, the directory free for another process.
    pub async fn shutdown(&self) {
        let inner = &*self.inner;
        inner.sole.store(false, Ordering::Release);
        inner.leads.store(false, Ordering::Release);
        inner.stopped.store(true, Ordering::Release);
        // An error here tells of a panic in a task, which has been reported by then.
        let _ = inner.raft.shutdown().await;
        if let Some(closer) = &inner.closer {
            closer.close().await;
        }
        if let Some(store) = inner.store.clone() {
            // It can only fail with the thread that it would wait for.
            let _ = tokio::task::spawn_blocking(move || store.close()).await;
        }
        drop(
            inner
                .lock
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
    }
}

fn raft_failed(error: openraft::errors::Fatal<TypeConfig>) -> StartError {
    StartError::Raft(error.to_string())
}

impl Inner {
    /// Notes that the leader was heard now.
    fn heard_leader(&self) {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX - 1);
        self.heard.store(now + 1, Ordering::Relaxed);
    }

    /// Why consensus has ended.
    fn end(&self) -> String {
        if let Some(why) = &*self.fatal.borrow() {
            return why.to_string();
        }
        let state = self.raft.metrics().borrow_watched().running_state.clone();
        state.err().map_or_else(
            || "consensus has stopped".to_owned(),
            |e| format!("consensus has stopped: {e}"),
        )
    }

    /// Whether this server leads others of which too few have answered lately.
    fn quorum_is_silent(&self) -> bool {
        use openraft::Instant as _;
        if self.sole.load(Ordering::Acquire) {
            return false;
        }
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let heard = metrics.last_quorum_acked.as_ref();
        metrics.state.is_leader() && heard.is_some_and(|at| at.elapsed() > QUORUM_LIMIT)
    }

    /// Notes that this server leads and is up to date.
    fn take_lead(&self) {
        self.leads.store(true, Ordering::Release);
        self.note_alone();
    }

    /// A change of the servers has begun: until it ends nobody is alone.
    fn change_begins(&self) {
        self.changing.fetch_add(1, Ordering::SeqCst);
        self.sole.store(false, Ordering::SeqCst);
        self.raft.runtime_config().tick(true);
    }

    /// It has ended. What it came to was published before, while nobody could be alone.
    fn change_ended(&self) {
        self.changing.fetch_sub(1, Ordering::SeqCst);
        if self.leads.load(Ordering::Acquire) {
            self.note_alone();
        }
    }

    /// Notes whether this server, which leads and is up to date, decides alone. One that does cannot
    /// be deposed.
    fn note_alone(&self) {
        let metrics: RaftServerMetrics<TypeConfig> =
            self.raft.server_metrics().borrow_watched().clone();
        let settled = metrics.membership_config == metrics.committed_membership_config;
        let alone = settled && status::alone(&metrics.membership_config, self.id);
        let alone = alone && metrics.state.is_leader();
        let unchanging = || self.changing.load(Ordering::SeqCst) == 0;
        self.sole.store(alone && unchanging(), Ordering::SeqCst);
        // One may have begun between the question and the answer.
        if !unchanging() {
            self.sole.store(false, Ordering::SeqCst);
        } else if alone && metrics.membership_config.nodes().count() == 1 {
            self.raft.runtime_config().tick(false);
        }
    }

    async fn write(&self, proposal: Proposal) -> Result<Applied, ProposeError> {
        let started = Instant::now();
        loop {
            match self.raft.client_write(proposal.clone()).await {
                Ok(done) => {
                    return Ok(Applied {
                        index: done.log_id.index,
                        outcome: done.data,
                    });
                }
                // A new leader whose quorum has not answered yet: the same again, here.
                Err(RaftError::APIError(ClientWriteError::ForwardToLeader(ForwardToLeader {
                    reason: ForwardReason::LeaseExpired,
                    ..
                }))) if started.elapsed() < SETTLE_LIMIT => tokio::time::sleep(SETTLE_STEP).await,
                Err(error) => return Err(self.refused(error)),
            }
        }
    }

    fn refused(&self, error: RaftError<TypeConfig, ClientWriteError<TypeConfig>>) -> ProposeError {
        match error {
            RaftError::APIError(ClientWriteError::ForwardToLeader(to)) => match to.leader_node {
                Some(leader) if to.leader_id != Some(self.id) => ProposeError::NotLeader { leader },
                _ => ProposeError::NoLeader,
            },
            RaftError::APIError(ClientWriteError::LogEntryDiscarded(_)) => {
                ProposeError::Unknown("the leader has changed")
            }
            // Only changes of the membership are answered like this: nothing was appended.
            RaftError::APIError(error) => ProposeError::Refused(error.to_string()),
            RaftError::Fatal(_) => ProposeError::Unknown("the server has stopped"),
        }
    }

    async fn barrier(&self, consistency: Consistency) -> Result<u64, ReadError> {
        let started = Instant::now();
        if consistency == Consistency::Default && !self.suspensions.within(self.lease) {
            let lease =
                LinearizerOption::new(Some(self.lease), false).with_wait_timeout(Duration::ZERO);
            if let Ok(read) = self.raft.ensure_linearizable(lease).await {
                return Ok(read.index());
            }
        }
        loop {
            match self.raft.ensure_linearizable(ReadPolicy::ReadIndex).await {
                Ok(read) => return Ok(read.index()),
                Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(to))) => {
                    match to.leader_node {
                        Some(leader) if to.leader_id != Some(self.id) => {
                            return Err(ReadError::NotLeader { leader });
                        }
                        _ if to.reason != ForwardReason::LeaseExpired
                            || started.elapsed() >= SETTLE_LIMIT =>
                        {
                            return Err(ReadError::NoLeader);
                        }
                        _ => tokio::time::sleep(SETTLE_STEP).await,
                    }
                }
                Err(RaftError::APIError(_)) => return Err(ReadError::NoLeader),
                Err(RaftError::Fatal(_)) => return Err(ReadError::Stopped),
            }
        }
    }
}
