//! Clients that wait on a key while one other writes it, and record what they are told.

use crate::load::{Clock, number};
use crate::watch_order::{self, Change, Sight};
use lictor_client::{Client, KvWrite, QueryOptions};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;

/// How long one query waits.
const WAIT: Duration = Duration::from_secs(10);
/// After which time a query or a write is given up.
const LIMIT: Duration = Duration::from_secs(25);

/// A client of an agent, with the agent's number.
pub type Numbered = (u32, Client);

/// A key, its writer and its watchers.
pub struct Watching {
    key: String,
    clock: Clock,
    stop: Arc<AtomicBool>,
    /// The modify index at which watchers may end.
    last: Arc<AtomicU64>,
    written: Arc<AtomicU64>,
    writer: Option<JoinHandle<Vec<Change>>>,
    watchers: Vec<JoinHandle<Watched>>,
}

/// What one watcher recorded.
#[derive(Clone, Debug, Default)]
pub struct Watched {
    /// The answers, in order.
    pub sights: Vec<Sight>,
    /// Queries that had no answer: the agent, and what was said.
    pub errors: Vec<(u32, String)>,
}

/// What all recorded.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// Acknowledged writes.
    pub changes: Vec<Change>,
    /// Each watcher's part.
    pub watched: Vec<Watched>,
}

impl Record {
    /// Fails if a watcher was told something wrong, or nothing for longer than `limit` after a
    /// change was acknowledged.
    #[track_caller]
    pub fn is_good(&self, limit: Duration) {
        let limit = u64::try_from(limit.as_nanos()).ok();
        for (n, watched) in self.watched.iter().enumerate() {
            if let Err(broken) = watch_order::check(&self.changes, &watched.sights, limit) {
                panic!("watcher {n}: {broken}\nits errors: {:?}", watched.errors);
            }
        }
    }

    /// Errors of all watchers.
    pub fn errors(&self) -> Vec<&(u32, String)> {
        self.watched.iter().flat_map(|w| &w.errors).collect()
    }
}

impl Watching {
    /// Starts one writer, which goes to its next agent after an error, and watchers, each with
    /// agents of its own, which do the same.
    pub fn start(key: &str, writer: Vec<Numbered>, watchers: Vec<Vec<Numbered>>) -> Watching {
        let clock = Clock::start();
        let stop = Arc::new(AtomicBool::new(false));
        let last = Arc::new(AtomicU64::new(u64::MAX));
        let written = Arc::new(AtomicU64::new(0));
        let watch = |agents| tokio::spawn(watch(key.to_owned(), agents, clock, last.clone()));
        Watching {
            watchers: watchers.into_iter().map(watch).collect(),
            writer: Some(tokio::spawn(write(
                key.to_owned(),
                writer,
                clock,
                stop.clone(),
                written.clone(),
            ))),
            key: key.to_owned(),
            clock,
            stop,
            last,
            written,
        }
    }

    /// Waits until so many more writes have been acknowledged.
    pub async fn progress(&self, more: u64) {
        let wanted = self.written.load(Ordering::Relaxed) + more;
        let what = format!("{more} more writes of {}", self.key);
        crate::until_for(Duration::from_secs(60), &what, async || {
            (self.written.load(Ordering::Relaxed) >= wanted).then_some(())
        })
        .await;
    }

    /// The clock of what is recorded.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// Ends the writer and gives every watcher time to see the last write.
    pub async fn stop(mut self) -> Record {
        self.stop.store(true, Ordering::Relaxed);
        let writer = self.writer.take().expect("the writer");
        let changes = writer.await.expect("the writer's record");
        let last = changes.iter().map(|c| c.index).max().unwrap_or(0);
        self.last.store(last, Ordering::Relaxed);
        let mut watched = Vec::new();
        for watcher in std::mem::take(&mut self.watchers) {
            let one = tokio::time::timeout(Duration::from_secs(60), watcher).await;
            let one = one.unwrap_or_else(|_| panic!("a watcher never saw index {last}"));
            watched.push(one.expect("a watcher's record"));
        }
        Record { changes, watched }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        // Where a test has failed.
        self.writer.iter().for_each(JoinHandle::abort);
        self.watchers.iter().for_each(JoinHandle::abort);
    }
}

async fn write(
    key: String,
    agents: Vec<Numbered>,
    clock: Clock,
    stop: Arc<AtomicBool>,
    written: Arc<AtomicU64>,
) -> Vec<Change> {
    let mut changes: Vec<Change> = Vec::new();
    let mut turn = 0;
    let mut value = 0;
    while !stop.load(Ordering::Relaxed) {
        value += 1;
        let client = &agents[turn % agents.len()].1;
        let write = KvWrite {
            key: key.clone(),
            value: value.to_string().into(),
            ..KvWrite::default()
        };
        let put = tokio::time::timeout(LIMIT, client.kv_put(&write)).await;
        let acknowledged = clock.now();
        if !matches!(put, Ok(Ok(true))) {
            turn += 1;
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        }
        // Its modify index. Nobody else writes, but an earlier write in doubt may come after it.
        let mut index = None;
        for _ in 0..50 {
            let client = &agents[turn % agents.len()].1;
            let options = QueryOptions::default();
            match tokio::time::timeout(LIMIT, client.kv_get(&key, &options)).await {
                Ok(Ok((row, _))) => {
                    index = row
                        .filter(|r| number(&r.value) == value)
                        .map(|r| r.modify_index);
                    break;
                }
                _ => turn += 1,
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        if let Some(index) = index {
            changes.push(Change {
                value,
                index,
                acknowledged,
            });
            written.fetch_add(1, Ordering::Relaxed);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    changes
}

async fn watch(key: String, agents: Vec<Numbered>, clock: Clock, last: Arc<AtomicU64>) -> Watched {
    let mut watched = Watched::default();
    let mut turn = 0;
    let mut index = 0;
    loop {
        let (agent, client) = &agents[turn % agents.len()];
        let options = QueryOptions {
            index,
            wait: Some(WAIT),
            ..QueryOptions::default()
        };
        let sent = clock.now();
        let answer = tokio::time::timeout(LIMIT, client.kv_get(&key, &options)).await;
        let answered = clock.now();
        let error = match answer {
            Ok(Ok((row, meta))) => {
                let held = row.map(|row| (number(&row.value), row.modify_index));
                watched.sights.push(Sight {
                    asked: index,
                    index: meta.index,
                    held,
                    sent,
                    answered,
                    agent: *agent,
                });
                index = meta.index;
                if held.is_some_and(|(_, index)| index >= last.load(Ordering::Relaxed)) {
                    return watched;
                }
                continue;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {LIMIT:?}"),
        };
        watched.errors.push((*agent, error));
        turn += 1;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
