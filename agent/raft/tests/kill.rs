//! A server is killed in the middle of its work, fifty times: every write that it acknowledged is
//! there afterwards, and it starts.
//!
//! The server is this test's own program, started again with [`hammer`] as its only test.

mod support;

use lictor_raft::{Consensus, Storage};
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use support::{Scratch, options, set, start};

const ROUNDS: u64 = 50;
const WRITERS: u64 = 8;
/// The directory that [`hammer`] is to write to, and the number of the round.
const DIRECTORY: &str = "LICTOR_HAMMER_DIRECTORY";
const ROUND: &str = "LICTOR_HAMMER_ROUND";

fn at(dir: &std::path::Path) -> lictor_raft::Options {
    let mut options = options(1, Storage::Directory(dir.to_path_buf()));
    (options.snapshot_threshold, options.trailing_logs) = (400, 50);
    options
}

/// Writes as fast as it can and prints each write that was acknowledged, until it is killed.
#[test]
#[ignore = "started by the other test, and then killed"]
fn hammer() {
    let (Some(dir), Ok(round)) = (std::env::var_os(DIRECTORY), std::env::var(ROUND)) else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (consensus, _told) = start(at(dir.as_ref())).await.unwrap();
        let writers =
            (0..WRITERS).map(|w| tokio::spawn(write_on(consensus.clone(), format!("{round}/{w}"))));
        for writer in writers.collect::<Vec<_>>() {
            writer.await.unwrap();
        }
    });
}

async fn write_on(consensus: Consensus, name: String) {
    let mut out = std::io::stderr();
    for n in 0_u64.. {
        let key = format!("{name}/{n}");
        consensus.propose(set(&key, &n.to_string())).await.unwrap();
        // One system call for the whole line: a kill leaves it whole or not there.
        out.write_all(format!("acknowledged {key}\n").as_bytes())
            .unwrap();
    }
}

#[test]
fn fifty_kills_lose_no_acknowledged_write() {
    let scratch = Scratch::new("kill");
    let dir = scratch.join("raft");
    let mut acknowledged: Vec<String> = Vec::new();
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["hammer", "--exact", "--ignored", "--nocapture"])
            .env(DIRECTORY, &dir)
            .env(ROUND, round.to_string())
            .env("RUST_BACKTRACE", "0")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap());
        let count = Arc::new(AtomicU64::new(0));
        let reader = std::thread::spawn({
            let count = count.clone();
            move || {
                let mut keys = Vec::new();
                for line in lines.lines().map_while(Result::ok) {
                    match line.strip_prefix("acknowledged ") {
                        Some(key) => keys.push(key.to_owned()),
                        None => eprintln!("round {round}: {line}"),
                    }
                    count.fetch_add(1, Ordering::Relaxed);
                }
                keys
            }
        });
        // At a moment that the number of writes decides, not the clock: under load, and each time
        // at another place.
        let target = 40 + (round * 0x9e37_79b9) % 700;
        while count.load(Ordering::Relaxed) < target {
            assert!(
                child.try_wait().unwrap().is_none(),
                "round {round}: the server ended by itself"
            );
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let keys = reader.join().unwrap();
        assert!(keys.len() as u64 >= target.min(40));
        acknowledged.extend(keys);

        // Every other time the next server finds what was killed, not what was closed by this one.
        if round % 2 == 0 && round + 1 < ROUNDS {
            continue;
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let (consensus, told) = start(at(&dir)).await.unwrap();
            let view = told.view();
            for key in &acknowledged {
                let entry = view
                    .kv(key)
                    .unwrap_or_else(|| panic!("round {round}: {key} is lost"));
                assert_eq!(&*entry.value, key.rsplit('/').next().unwrap().as_bytes());
            }
            consensus.shutdown().await;
        });
    }
    assert!(acknowledged.len() as u64 > ROUNDS * 40);
}
