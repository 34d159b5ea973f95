//! Ten thousand waiting reads: one change wakes exactly those who wait for it, and they cost little.

use lictor_tests::{Agent, json};
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Keys that are watched; each by an equal share.
const KEYS: usize = 100;
/// Bytes that an idle watcher may cost.
const COST: u64 = 24 * 1024;

/// As many as open files allow, ten thousand at most. The agent inherits the limit.
fn watchers() -> usize {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: both calls read or write the struct given, which lives for the whole block.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit), 0);
        limit.rlim_cur = limit.rlim_max;
        libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
    }
    if limit.rlim_max >= 11_000 {
        10_000
    } else {
        2_000
    }
}

fn open_files(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd"))
        .expect("its files")
        .count()
}

/// Whether something has come on a connection.
fn answered(stream: &TcpStream) -> bool {
    let mut one = [0; 1];
    stream.try_read(&mut one).is_ok_and(|n| n > 0)
}

#[tokio::test]
async fn one_change_of_ten_thousand_wakes_exactly_its_own() {
    let count = watchers();
    println!("{count} watchers");
    let limits = json!({"limits": {"http_max_conns_per_client": count + 500}});
    let agent = Agent::build().config(limits).start().await;
    for key in 0..KEYS {
        agent.put(&format!("/v1/kv/watched/{key}"), "0").await.ok();
    }
    let index = agent
        .get(&format!("/v1/kv/watched/{}", KEYS - 1))
        .await
        .index();
    let (files, memory) = (open_files(agent.pid()), agent.memory());

    let mut streams = Vec::with_capacity(count);
    for n in 0..count {
        let connected = timeout(
            Duration::from_secs(20),
            TcpStream::connect(agent.http_address()),
        )
        .await;
        let mut stream = connected
            .expect("a connection in time")
            .expect("a connection");
        let key = n % KEYS;
        let request =
            format!("GET /v1/kv/watched/{key}?index={index}&wait=600s HTTP/1.1\r\nHost: x\r\n\r\n");
        stream
            .write_all(request.as_bytes())
            .await
            .expect("a request");
        streams.push(stream);
    }
    // All are waiting once the agent has nothing left to read.
    let waiting = count / KEYS;
    let quiet = async || agent.get("/v1/status/leader").await.ok();
    for _ in 0..20 {
        quiet().await;
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    assert_eq!(
        streams.iter().filter(|s| answered(s)).count(),
        0,
        "some did not wait"
    );
    let cost = agent.memory().saturating_sub(memory) / count as u64;
    println!("{cost} bytes for each idle watcher");
    assert!(cost < COST, "{cost} bytes for each idle watcher");

    for key in [7, 42] {
        let start = Instant::now();
        agent.put(&format!("/v1/kv/watched/{key}"), "1").await.ok();
        let own = || streams.iter().skip(key).step_by(KEYS);
        for stream in own() {
            timeout(Duration::from_secs(10), stream.readable())
                .await
                .expect("woken")
                .expect("an answer");
        }
        println!(
            "key {key}: all {waiting} answered after {:?}",
            start.elapsed()
        );
        assert!(own().all(answered));
    }
    for _ in 0..10 {
        quiet().await;
    }
    let woken = |key: usize| {
        streams
            .iter()
            .skip(key)
            .step_by(KEYS)
            .filter(|s| answered(s))
            .count()
    };
    let others: usize = (0..KEYS)
        .filter(|key| ![7, 42].contains(key))
        .map(woken)
        .sum();
    assert_eq!(others, 0, "woken by a change that is not theirs");

    drop(streams);
    lictor_tests::until("the connections' end", async || {
        (open_files(agent.pid()) <= files + 20).then_some(())
    })
    .await;
    agent.put("/v1/kv/after", "x").await.ok();
}
