//! Clients that use keys all the time and record what they see.

use crate::linear::{self, Event, Op, Outcome, Seen, Summary, Violation};
use lictor_client::{Client, Error, KvWrite, QueryOptions};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// The clock of one recording: one process, so all see the same.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    /// One that begins now.
    pub fn start() -> Clock {
        Clock(Instant::now())
    }

    /// Nanoseconds since its start.
    pub fn now(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// What clients do.
#[derive(Clone, Debug)]
pub struct Load {
    /// What the keys begin with; they are of this load alone.
    pub prefix: String,
    /// How many keys.
    pub keys: u64,
    /// The pause after each operation.
    pub pause: Duration,
    /// After which time an operation is given up.
    pub limit: Duration,
    /// Of a hundred operations: reads, conditional writes, deletes. The rest are puts.
    pub mix: (u64, u64, u64),
    /// Reads any server may answer, recorded as if they were not such reads. This breaks the rule
    /// on purpose.
    pub stale: bool,
}

impl Load {
    /// Every kind of operation on a few keys, one at a time for each client.
    pub fn mixed(prefix: &str) -> Load {
        Load {
            prefix: prefix.to_owned(),
            keys: 5,
            pause: Duration::from_millis(10),
            limit: Duration::from_secs(8),
            mix: (50, 15, 5),
            stale: false,
        }
    }

    /// Puts alone, on more keys.
    pub fn writes(prefix: &str) -> Load {
        Load {
            keys: 40,
            mix: (0, 0, 0),
            ..Load::mixed(prefix)
        }
    }

    /// Reads alone.
    pub fn reads(prefix: &str) -> Load {
        Load {
            mix: (100, 0, 0),
            ..Load::mixed(prefix)
        }
    }

    /// Starts one client each. They work until they are stopped.
    pub fn start(&self, clients: Vec<Client>) -> Running {
        self.start_by(Clock::start(), clients)
    }

    /// As [`Load::start`], by the clock of another load, so that the two histories can be one.
    pub fn start_by(&self, clock: Clock, clients: Vec<Client>) -> Running {
        let stop = Arc::new(AtomicBool::new(false));
        let numbers = Arc::new(AtomicU64::new(1));
        let acknowledged = Arc::new(AtomicU64::new(0));
        let spawn = |(number, client): (usize, Client)| {
            tokio::spawn(
                Worker {
                    number: number as u32,
                    client,
                    load: self.clone(),
                    clock,
                    stop: stop.clone(),
                    numbers: numbers.clone(),
                    acknowledged: acknowledged.clone(),
                    random: number as u64 + 1,
                    last: HashMap::new(),
                    history: History::default(),
                }
                .run(),
            )
        };
        Running {
            workers: clients.into_iter().enumerate().map(spawn).collect(),
            stop: stop.clone(),
            acknowledged: acknowledged.clone(),
            clock,
        }
    }
}

/// Clients at work.
pub struct Running {
    workers: Vec<JoinHandle<History>>,
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    clock: Clock,
}

impl Running {
    /// Writes acknowledged so far.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// The clock of what is recorded.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// Waits until so many more writes have been acknowledged.
    pub async fn progress(&self, more: u64) {
        let wanted = self.acknowledged() + more;
        let what = format!("{more} more acknowledged writes");
        crate::until_for(Duration::from_secs(60), &what, async || {
            (self.acknowledged() >= wanted).then_some(())
        })
        .await;
    }

    /// Lets each client end its operation and gives what they recorded.
    pub async fn stop(mut self) -> History {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = History::default();
        for worker in std::mem::take(&mut self.workers) {
            all = all.and(worker.await.expect("a client's record"));
        }
        all
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Where a test has failed.
        self.stop.store(true, Ordering::Relaxed);
        self.workers.iter().for_each(JoinHandle::abort);
    }
}

/// What clients recorded.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Their operations, by start.
    pub events: Vec<Event>,
    /// Operations without a good answer: when, in nanoseconds, and what was said.
    pub complaints: Vec<(u64, String)>,
}

impl History {
    /// This and another by the same clock.
    pub fn and(mut self, other: History) -> History {
        self.events.extend(other.events);
        self.complaints.extend(other.complaints);
        self.events.sort_by_key(|e| e.start);
        self.complaints.sort_by_key(|(at, _)| *at);
        self
    }

    /// Fails unless the history is linearizable. It is written to a file then.
    #[track_caller]
    pub fn is_linearizable(&self) -> Summary {
        match self.verdict() {
            Ok(summary) => summary,
            Err(violation) => {
                let name = format!("lictor-history-{}.txt", std::process::id());
                let path = std::env::temp_dir().join(name);
                let text: String = self
                    .events
                    .iter()
                    .map(|e| format!("{} {e}\n", e.key))
                    .collect();
                let kept = std::fs::write(&path, text).is_ok();
                let kept = if kept {
                    path.display().to_string()
                } else {
                    "nowhere".to_owned()
                };
                panic!("{violation}\n    all operations: {kept}");
            }
        }
    }

    /// Whether it is linearizable.
    ///
    /// # Errors
    /// What does not fit.
    pub fn verdict(&self) -> Result<Summary, Violation> {
        linear::check(&self.events, linear::STATE_LIMIT)
    }

    /// Fails if any operation had no good answer.
    #[track_caller]
    pub fn is_without_failure(&self) {
        let first: Vec<&(u64, String)> = self.complaints.iter().take(5).collect();
        assert!(
            first.is_empty(),
            "{} of {} operations failed, the first: {first:#?}",
            self.complaints.len(),
            self.events.len()
        );
    }

    /// How many writes were acknowledged.
    pub fn acknowledged(&self) -> usize {
        self.events.iter().filter(|e| acknowledged(e)).count()
    }

    /// The longest time between two acknowledged writes of whichever clients, with its start.
    pub fn longest_gap(&self) -> (Duration, Duration) {
        let mut ends: Vec<u64> = self
            .events
            .iter()
            .filter(|e| acknowledged(e))
            .map(|e| e.end)
            .collect();
        ends.sort_unstable();
        let gaps = ends.windows(2).map(|w| (w[1] - w[0], w[0]));
        let (gap, at) = gaps.max().unwrap_or_default();
        (Duration::from_nanos(gap), Duration::from_nanos(at))
    }

    /// The slowest acknowledged write.
    pub fn slowest(&self) -> Duration {
        let times = self
            .events
            .iter()
            .filter(|e| acknowledged(e))
            .map(|e| e.end - e.start);
        Duration::from_nanos(times.max().unwrap_or_default())
    }
}

fn acknowledged(event: &Event) -> bool {
    matches!(event.outcome, Outcome::Done | Outcome::Applied(_))
}

struct Worker {
    number: u32,
    client: Client,
    load: Load,
    clock: Clock,
    stop: Arc<AtomicBool>,
    /// The next number that nobody has written.
    numbers: Arc<AtomicU64>,
    acknowledged: Arc<AtomicU64>,
    random: u64,
    /// What it last read of each key.
    last: HashMap<u64, Option<Seen>>,
    history: History,
}

impl Worker {
    fn draw(&mut self, below: u64) -> u64 {
        // Knuth's MMIX generator: spread is all that matters.
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % below
    }

    async fn run(mut self) -> History {
        while !self.stop.load(Ordering::Relaxed) {
            let key = self.draw(self.load.keys);
            let op = self.choose(key);
            let name = format!("{}{key}", self.load.prefix);
            let start = self.clock.now();
            let outcome = self.perform(key, &name, op).await;
            let end = self.clock.now();
            let outcome = outcome.unwrap_or_else(|error| {
                self.history
                    .complaints
                    .push((end, format!("{op:?}: {error}")));
                if error.is_unsent() {
                    Outcome::Failed
                } else {
                    // An error of the agent may come after the request went on its way.
                    Outcome::Unknown
                }
            });
            let event = Event {
                client: self.number,
                key: name,
                op,
                outcome,
                start,
                end,
            };
            if acknowledged(&event) {
                self.acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            self.history.events.push(event);
            tokio::time::sleep(self.load.pause).await;
        }
        self.history
    }

    fn choose(&mut self, key: u64) -> Op {
        let (reads, conditional, deletes) = self.load.mix;
        let value = self.numbers.fetch_add(1, Ordering::Relaxed);
        let kind = self.draw(100);
        if kind < reads {
            Op::Get
        } else if kind < reads + conditional
            && let Some(last) = self.last.get(&key)
        {
            Op::Cas {
                expected: last.map(|s| s.value),
                value,
            }
        } else if kind < reads + conditional + deletes {
            Op::Delete
        } else {
            Op::Put(value)
        }
    }

    async fn perform(&mut self, key: u64, name: &str, op: Op) -> Result<Outcome, Error> {
        let write = |value: u64, cas: Option<u64>| KvWrite {
            key: name.to_owned(),
            value: value.to_string().into(),
            cas,
            ..KvWrite::default()
        };
        match op {
            Op::Get => {
                let options = QueryOptions {
                    stale: self.load.stale,
                    ..QueryOptions::default()
                };
                let row = self.limited(self.client.kv_get(name, &options)).await?.0;
                let seen = row.map(|row| Seen {
                    value: number(&row.value),
                    index: row.modify_index,
                });
                self.last.insert(key, seen);
                Ok(Outcome::Read(seen))
            }
            Op::Put(value) => {
                let write = write(value, None);
                let written = self.limited(self.client.kv_put(&write)).await?;
                assert!(written, "a put without a condition was refused");
                Ok(Outcome::Done)
            }
            Op::Cas { value, .. } => {
                let seen = self.last.get(&key).copied().flatten();
                let write = write(value, Some(seen.map_or(0, |s| s.index)));
                let applied = self.limited(self.client.kv_put(&write)).await?;
                Ok(Outcome::Applied(applied))
            }
            Op::Delete => {
                let deleted = self.limited(self.client.kv_delete(name, None)).await?;
                assert!(deleted, "a delete without a condition was refused");
                Ok(Outcome::Done)
            }
        }
    }

    async fn limited<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let limit = self.load.limit;
        let done = tokio::time::timeout(limit, work).await;
        done.unwrap_or_else(|_| {
            Err(Error::Timeout {
                method: String::new(),
                url: self.client.base_url().to_owned(),
                limit,
            })
        })
    }
}

/// The number that a value is; zero, which nobody writes, if it is none.
pub(crate) fn number(value: &[u8]) -> u64 {
    std::str::from_utf8(value)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(0)
}
