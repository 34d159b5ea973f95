//! How many writes a second one server takes, how soon it is ready, and what it costs at rest.
//!
//! `cargo run --profile quick -p lictor-raft --example throughput -- memory|DIRECTORY [WRITERS] [SECONDS]`

use lictor_raft::{Consensus, Consistency, Options, Publish, ServerInfo, Storage};
use lictor_state::{Changes, Command, Entry, KvOp, KvVerb, View};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

#[derive(Default)]
struct Count(AtomicU64);

impl Publish for Count {
    fn publish(&self, view: View, _: &Changes) {
        drop(view);
        self.0.fetch_add(1, Ordering::Relaxed);
    }
    fn restored(&self, _: View) {}
}

fn entry(key: &str) -> Entry {
    let op = KvOp {
        verb: KvVerb::Set,
        key: key.into(),
        value: Arc::from(&[b'v'; 64][..]),
        flags: 0,
        session: "".into(),
        index: 0,
    };
    Entry {
        at: 1,
        command: Command::Kv(op),
    }
}

/// Processor time of this process so far, in milliseconds.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    let main: f64 = stat
        .split(' ')
        .next()
        .and_then(|n| n.parse().ok())
        .unwrap_or(0.0);
    let tasks = std::fs::read_dir("/proc/self/task")
        .into_iter()
        .flatten()
        .flatten();
    let all: f64 = tasks
        .filter_map(|t| std::fs::read_to_string(t.path().join("schedstat")).ok())
        .filter_map(|s| s.split(' ').next()?.parse::<f64>().ok())
        .sum();
    all.max(main) / 1e6
}

/// The anonymous memory of this process.
fn anonymous() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    line.unwrap_or("an unknown amount").trim().to_owned()
}

fn main() {
    let mut args = std::env::args().skip(1);
    let place = args.next().unwrap_or_else(|| "memory".to_owned());
    let writers: u64 = args.next().and_then(|n| n.parse().ok()).unwrap_or(64);
    let seconds: u64 = args.next().and_then(|n| n.parse().ok()).unwrap_or(3);
    let storage = if place == "memory" {
        Storage::Memory
    } else {
        Storage::Directory(place.clone().into())
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let begin = Instant::now();
        let server =
            ServerInfo { node_id: "own".to_owned(), name: "s".to_owned(), address: "127.0.0.1:8300".to_owned() };
        let options =
            Options { server, storage, bootstrap: true, multiplier: 5, snapshot_threshold: 16384, trailing_logs: 10240 };
        let count = Arc::new(Count::default());
        let consensus = Consensus::start(options, count.clone()).await.unwrap();
        println!("{place}: ready after {:?}, {} of anonymous memory", begin.elapsed(), anonymous());

        // The system accounts for the start only once the thread has slept.
        tokio::time::sleep(Duration::from_millis(100)).await;
        let (before, rest) = (cpu(), Instant::now());
        tokio::time::sleep(Duration::from_secs(2)).await;
        println!("at rest: {:.2} ms of processor time a second", (cpu() - before) / rest.elapsed().as_secs_f64());

        let (begin, end) = (Instant::now(), Instant::now() + Duration::from_secs(seconds));
        let tasks: Vec<_> = (0..writers)
            .map(|w| {
                let consensus = consensus.clone();
                tokio::spawn(async move {
                    let keys: Vec<String> = (0..64).map(|n| format!("key/{w}/{n}")).collect();
                    let (mut done, mut slowest) = (0_u64, Duration::ZERO);
                    while Instant::now() < end {
                        let asked = Instant::now();
                        consensus.propose(entry(&keys[(done % 64) as usize])).await.unwrap();
                        slowest = slowest.max(asked.elapsed());
                        done += 1;
                    }
                    (done, slowest)
                })
            })
            .collect();
        let (mut done, mut slowest) = (0, Duration::ZERO);
        for task in tasks {
            let (n, s) = task.await.unwrap();
            (done, slowest) = (done + n, slowest.max(s));
        }
        let rate = done as f64 / begin.elapsed().as_secs_f64();
        let batch = done as f64 / count.0.load(Ordering::Relaxed).max(1) as f64;
        println!("{writers} writers: {rate:.0} writes a second, {batch:.1} in a batch, the slowest took {slowest:?}");

        let begin = Instant::now();
        for _ in 0..1_000_000 {
            consensus.read_barrier(Consistency::Default).await.unwrap();
        }
        println!("a read barrier: {:?}", begin.elapsed() / 1_000_000);
        consensus.shutdown().await;
    });
}
