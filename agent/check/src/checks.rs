//! The driver: runs checks when they are due and says what came of them.

use crate::job::{Job, Outcome, Runner, output_limit};
use crate::options::Options;
use crate::schedule::{self, Queue, Ttl, TtlState};
use crate::tail::keep_head;
use crate::thresholds::Thresholds;
use lictor_wire::base::Str;
use lictor_wire::catalog::Status;
use lictor_wire::checktype::CheckType;
use lictor_wire::duration::{GoDuration, go_quote};
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{Notify as Bell, mpsc};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, warn};

/// How far apart the driver wakes at least. What falls due in between starts together, a little
/// late: with thousands of checks that saves most of the waking.
const GRAIN: Duration = Duration::from_millis(20);

/// Takes results.
pub trait Notify: Send + Sync + 'static {
    /// A check has a result. Called for every result that counts, changed or not.
    ///
    /// No result of a check arrives after [`Checks::stop`] for it has returned; so that this can
    /// be promised, `stop`, `start` and `ttl_set` wait for a call that is under way for the same
    /// check. So do not call [`Checks`] from here, and take no lock here that is held elsewhere
    /// around a call of it. Do not block.
    fn update(&self, check: &str, status: Status, output: String);
}

impl<F: Fn(&str, Status, String) + Send + Sync + 'static> Notify for F {
    fn update(&self, check: &str, status: Status, output: String) {
        self(check, status, output);
    }
}

/// There is no check of that id that waits to be told. The text is Consul's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoTtl(pub Str);

impl std::fmt::Display for NoTtl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "CheckID {} does not have associated TTL",
            go_quote(&self.0)
        )
    }
}

impl std::error::Error for NoTtl {}

/// The checks of an agent.
///
/// Each runs at its interval, the first time at a random moment within it; the interval begins
/// again when a run has ended, so runs of one check never overlap. One task keeps the time for all
/// of them; a run has a task of its own only while it lasts.
pub struct Checks {
    inner: Arc<Inner>,
    /// Ends when the last run has ended.
    all_ended: tokio::sync::Mutex<mpsc::Receiver<()>>,
}

struct Inner {
    origin: Instant,
    min_interval: Duration,
    output_max_size: usize,
    runner: Runner,
    sink: Box<dyn Notify>,
    runtime: Handle,
    bell: Bell,
    table: Mutex<Table>,
}

struct Table {
    by_key: HashMap<Str, Arc<Entry>>,
    by_id: HashMap<u64, Arc<Entry>>,
    queue: Queue,
    next_id: u64,
    random: u64,
    /// Cloned for every run; taken away at the end.
    running: Option<mpsc::Sender<()>>,
}

/// A check between its start and its stop.
struct Entry {
    id: u64,
    key: Str,
    /// [`fingerprint`] of its definition.
    print: u64,
    plan: Plan,
    /// Held while a result is delivered, and by whoever ends the deliveries.
    live: Mutex<Live>,
}

enum Plan {
    /// Wait to be told; keep this much of what is said.
    Ttl { output_limit: usize },
    /// Run this.
    Every { interval: Duration, job: Job },
}

struct Live {
    stopped: bool,
    /// The last status that was delivered, or the one it began with.
    status: Status,
    thresholds: Thresholds,
    ttl: Option<Ttl>,
    run: Option<AbortHandle>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A sink that panicked has not left our state half-changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A number for all in a definition that changes what its runs do.
fn fingerprint(check: &CheckType) -> u64 {
    let runs = CheckType {
        name: Str::new(),
        notes: Str::new(),
        status: Str::new(),
        deregister_critical_service_after: GoDuration::ZERO,
        ..check.clone()
    };
    let mut hasher = DefaultHasher::new();
    format!("{runs:?}").hash(&mut hasher);
    hasher.finish()
}

impl Checks {
    /// Starts the driver on the runtime that this is called in (and panics outside of one).
    pub fn new(options: Options, sink: impl Notify) -> Checks {
        let (sender, receiver) = mpsc::channel(1);
        let inner = Arc::new(Inner {
            origin: Instant::now(),
            min_interval: options.min_interval.max(Duration::from_millis(1)),
            output_max_size: options.output_max_size,
            sink: Box::new(sink),
            runtime: Handle::current(),
            bell: Bell::new(),
            table: Mutex::new(Table {
                by_key: HashMap::new(),
                by_id: HashMap::new(),
                queue: Queue::default(),
                next_id: 0,
                random: options.seed,
                running: Some(sender),
            }),
            runner: Runner::new(options),
        });
        inner.runtime.spawn(keep_time(Arc::clone(&inner)));
        Checks {
            inner,
            all_ended: tokio::sync::Mutex::new(receiver),
        }
    }

    /// Starts a check, in place of one with the same id. `status` is the one it begins with; it is
    /// not delivered. A check that runs at intervals in just this way already goes on as if
    /// nothing had happened: who registers again and again does not keep a slow script from ever
    /// ending. An alias, or a definition that selects no kind, only replaces: whatever follows
    /// another check is fed by the agent (see [`crate::alias`]).
    pub fn start(&self, key: &str, check: &CheckType, status: Status) {
        let inner = &self.inner;
        let now = inner.now();
        let thresholds = Thresholds::new(
            check.success_before_passing,
            check.failures_before_warning,
            check.failures_before_critical,
        );
        let (plan, ttl) = if check.kind() == "ttl" {
            let output_limit = output_limit(check, inner.output_max_size);
            (
                Some(Plan::Ttl { output_limit }),
                Some(Ttl::new(check.ttl.to_std(), now)),
            )
        } else {
            let interval = schedule::interval(check.interval, inner.min_interval);
            (
                Job::of(check, inner.output_max_size).map(|job| Plan::Every { interval, job }),
                None,
            )
        };
        let print = fingerprint(check);
        let goes_on =
            |old: &Arc<Entry>| old.print == print && matches!(old.plan, Plan::Every { .. });
        if lock(&inner.table).by_key.get(key).is_some_and(goes_on) {
            return;
        }
        let Some(plan) = plan else {
            self.stop(key);
            return;
        };
        let mut table = lock(&inner.table);
        if table.running.is_none() {
            return;
        }
        let id = table.next_id;
        table.next_id += 1;
        let due = match (&plan, &ttl) {
            (Plan::Every { interval, .. }, _) => {
                now + schedule::first_offset(*interval, table.random())
            }
            (_, Some(ttl)) => ttl.expires(),
            (_, None) => now,
        };
        let live = Mutex::new(Live {
            stopped: false,
            status,
            thresholds,
            ttl,
            run: None,
        });
        let entry = Arc::new(Entry {
            id,
            key: key.into(),
            print,
            plan,
            live,
        });
        let replaced = table.by_key.insert(key.into(), Arc::clone(&entry));
        table.by_id.insert(id, entry);
        inner.put(&mut table, id, due);
        if let Some(old) = &replaced {
            table.forget(old.id);
        }
        drop(table);
        if let Some(old) = replaced {
            old.end();
        }
    }

    /// Ends a check and says whether there was one. A run that is under way is given up, and with
    /// it its script and that script's children. No result is delivered after the return.
    pub fn stop(&self, key: &str) -> bool {
        let entry = {
            let mut table = lock(&self.inner.table);
            let Some(entry) = table.by_key.remove(key) else {
                return false;
            };
            table.forget(entry.id);
            entry
        };
        entry.end();
        true
    }

    /// Somebody says how a check of kind `ttl` is: delivered at once, and its span starts again.
    /// Gives the output as it was kept: its head, within the limit.
    pub fn ttl_set(&self, key: &str, status: Status, output: &str) -> Result<String, NoTtl> {
        let inner = &self.inner;
        let unknown = || NoTtl(key.into());
        let entry = lock(&inner.table)
            .by_key
            .get(key)
            .cloned()
            .ok_or_else(unknown)?;
        let Plan::Ttl { output_limit } = entry.plan else {
            return Err(unknown());
        };
        let output = keep_head(output.to_owned(), output_limit);
        let expires = {
            let mut live = lock(&entry.live);
            let live = &mut *live;
            let Some(ttl) = live.ttl.as_mut().filter(|_| !live.stopped) else {
                return Err(unknown());
            };
            ttl.set(inner.now(), output.clone());
            let expires = ttl.expires();
            inner.deliver(&entry, live, status, output.clone());
            expires
        };
        let mut table = lock(&inner.table);
        // While it still waits for an earlier moment, it looks again then: no need to move it.
        if table.by_id.contains_key(&entry.id) && !table.queue.contains(entry.id) {
            inner.put(&mut table, entry.id, expires);
        }
        Ok(output)
    }

    /// The number of checks that run or wait.
    pub fn len(&self) -> usize {
        lock(&self.inner.table).by_key.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Ends all checks, for good, and returns when nothing of them runs any more.
    pub async fn shutdown(&self) {
        self.inner.close();
        // Every run holds a sender; when none is left there is nothing more to receive.
        while self.all_ended.lock().await.recv().await.is_some() {}
    }
}

impl Drop for Checks {
    fn drop(&mut self) {
        self.inner.close();
    }
}

impl Table {
    fn forget(&mut self, id: u64) {
        self.by_id.remove(&id);
        self.queue.remove(id);
    }

    /// The next number of a splitmix64 generator: even enough for spreading.
    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

impl Entry {
    /// Ends deliveries and the run, if there is one.
    fn end(&self) {
        let run = {
            let mut live = lock(&self.live);
            live.stopped = true;
            live.run.take()
        };
        if let Some(run) = run {
            run.abort();
        }
    }
}

impl Inner {
    fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    /// Puts a check into the queue, and wakes the driver if it would sleep too long.
    fn put(&self, table: &mut Table, id: u64, due: Duration) {
        let is_first = table.queue.next().is_none_or(|next| due < next);
        table.queue.put(id, due);
        if is_first {
            self.bell.notify_one();
        }
    }

    fn close(&self) {
        let entries: Vec<Arc<Entry>> = {
            let mut table = lock(&self.table);
            table.running = None;
            table.by_id.clear();
            table.queue = Queue::default();
            table.by_key.drain().map(|(_, entry)| entry).collect()
        };
        for entry in entries {
            entry.end();
        }
        self.bell.notify_one();
    }

    /// Starts the run of a check that is due, or looks at its timer.
    fn fire(self: &Arc<Inner>, entry: &Arc<Entry>, running: mpsc::Sender<()>) {
        let mut live = lock(&entry.live);
        let live = &mut *live;
        if live.stopped {
            return;
        }
        match (&entry.plan, &mut live.ttl) {
            (Plan::Every { .. }, _) => {
                let run = Run {
                    inner: Arc::clone(self),
                    entry: Arc::clone(entry),
                    _running: running,
                };
                live.run = Some(self.runtime.spawn(run.go()).abort_handle());
            }
            (Plan::Ttl { .. }, Some(ttl)) => match ttl.poll(self.now()) {
                TtlState::Expired(output) => {
                    warn!(check = %entry.key, "Check missed TTL, is now critical");
                    self.deliver(entry, live, Status::Critical, output);
                }
                TtlState::Waits(until) => {
                    let mut table = lock(&self.table);
                    if table.by_id.contains_key(&entry.id) {
                        self.put(&mut table, entry.id, until);
                    }
                }
                TtlState::Over => {}
            },
            (Plan::Ttl { .. }, None) => {}
        }
    }

    /// Hands a result on. The caller holds the check's lock.
    fn deliver(&self, entry: &Entry, live: &mut Live, status: Status, output: String) {
        match (&status, live.status == status) {
            (Status::Critical, false) => warn!(check = %entry.key, "Check is now critical"),
            _ => debug!(check = %entry.key, %status, "Check status updated"),
        }
        live.status = status.clone();
        self.sink.update(&entry.key, status, output);
    }

    /// Counts a result and hands it on if it counts.
    fn finish(&self, entry: &Entry, outcome: Outcome) {
        let mut live = lock(&entry.live);
        if live.stopped {
            return;
        }
        let counted = if outcome.at_once {
            Some(outcome.status)
        } else {
            live.thresholds.result(outcome.status)
        };
        match counted {
            Some(status) => self.deliver(entry, &mut live, status, outcome.output),
            None => debug!(check = %entry.key, "Check result has not reached its threshold"),
        }
    }
}

/// A run under way. When it ends, however it ends, the check gets its next place in the queue.
struct Run {
    inner: Arc<Inner>,
    entry: Arc<Entry>,
    /// [`Checks::shutdown`] waits until the last of these is gone.
    _running: mpsc::Sender<()>,
}

impl Run {
    async fn go(self) {
        let Plan::Every { job, .. } = &self.entry.plan else {
            return;
        };
        let mut outcome = self.inner.runner.run(job).await;
        let lingers = outcome.lingers.take();
        self.inner.finish(&self.entry, outcome);
        if let Some(mut process) = lingers {
            // The next run may begin only when this one is really over.
            let _ = process.wait().await;
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // The handle would keep the memory of the finished task.
        lock(&self.entry.live).run = None;
        let Plan::Every { interval, .. } = self.entry.plan else {
            return;
        };
        let due = self.inner.now() + interval;
        let mut table = lock(&self.inner.table);
        if table.by_id.contains_key(&self.entry.id) {
            self.inner.put(&mut table, self.entry.id, due);
        }
    }
}

/// Starts what is due, until the end.
async fn keep_time(inner: Arc<Inner>) {
    let mut due = Vec::new();
    loop {
        let now = inner.now();
        let (next, running) = {
            let mut table = lock(&inner.table);
            let Some(running) = table.running.clone() else {
                return;
            };
            while let Some(id) = table.queue.pop_due(now) {
                due.extend(table.by_id.get(&id).cloned());
            }
            (table.queue.next(), running)
        };
        for entry in due.drain(..) {
            inner.fire(&entry, running.clone());
        }
        drop(running);
        match next {
            None => inner.bell.notified().await,
            Some(next) => {
                let wake = inner.origin + next.max(now + GRAIN);
                tokio::select! {
                    () = sleep_until(wake) => {}
                    () = inner.bell.notified() => {}
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Seen = Arc<Mutex<Vec<Status>>>;

    fn started(check: &CheckType) -> (Checks, Arc<Entry>, Seen) {
        let seen = Seen::default();
        let sink = Arc::clone(&seen);
        let checks = Checks::new(Options::default(), move |_: &str, status, _| {
            lock(&sink).push(status)
        });
        checks.start("c", check, Status::Critical);
        let entry = lock(&checks.inner.table).by_key["c"].clone();
        (checks, entry, seen)
    }

    #[tokio::test]
    async fn a_result_that_comes_after_the_stop_is_dropped() {
        let hourly = CheckType {
            tcp: "127.0.0.1:1".into(),
            interval: GoDuration::from_secs(3_600),
            ..CheckType::default()
        };
        let (checks, entry, seen) = started(&hourly);
        checks
            .inner
            .finish(&entry, Outcome::new(Status::Passing, ""));
        checks.stop("c");
        checks.inner.finish(&entry, Outcome::critical_at_once(""));
        let running = mpsc::channel(1).0;
        checks.inner.fire(&entry, running);
        assert!(lock(&entry.live).run.is_none());
        assert_eq!(*lock(&seen), [Status::Passing]);
    }

    #[tokio::test]
    async fn a_timer_that_runs_out_after_the_stop_is_dropped() {
        let brief = CheckType {
            ttl: GoDuration(1),
            ..CheckType::default()
        };
        // On this one thread the driver does not get to run in between.
        let (checks, entry, seen) = started(&brief);
        checks.stop("c");
        checks.inner.fire(&entry, mpsc::channel(1).0);
        assert_eq!(*lock(&seen), []);
        checks.start("c", &brief, Status::Critical);
        let entry = lock(&checks.inner.table).by_key["c"].clone();
        while checks.inner.now() < Duration::from_millis(1) {}
        checks.inner.fire(&entry, mpsc::channel(1).0);
        checks.inner.fire(&entry, mpsc::channel(1).0);
        assert_eq!(*lock(&seen), [Status::Critical]);
    }

    #[tokio::test]
    async fn nothing_of_a_stopped_check_stays() {
        let (checks, entry, _) = started(&CheckType {
            ttl: GoDuration::from_secs(60),
            ..CheckType::default()
        });
        for _ in 0..100 {
            checks.stop("c");
            checks.start(
                "c",
                &CheckType {
                    ttl: GoDuration::from_secs(60),
                    ..CheckType::default()
                },
                Status::Critical,
            );
        }
        checks.stop("c");
        let table = lock(&checks.inner.table);
        assert!(table.by_id.is_empty() && table.queue.next().is_none());
        drop(table);
        assert_eq!(Arc::strong_count(&entry), 1);
    }

    #[test]
    fn names_and_notes_do_not_change_what_runs() {
        let check = CheckType {
            http: "http://x/".into(),
            ..CheckType::default()
        };
        let named = CheckType {
            name: "n".into(),
            notes: "n".into(),
            status: "passing".into(),
            ..check.clone()
        };
        let other = CheckType {
            method: "POST".into(),
            ..check.clone()
        };
        assert_eq!(fingerprint(&check), fingerprint(&named));
        assert_ne!(fingerprint(&check), fingerprint(&other));
    }
}
