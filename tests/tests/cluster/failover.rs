//! How long it takes until the next write after the leader is killed, and what three servers cost
//! that have nothing to do.

use lictor_tests::cluster::{Cluster, Plan};
use std::time::{Duration, Instant};

/// Kills the leader and gives the time until a write through each way has succeeded: at one of the
/// servers that remain, whichever is first, and at a client agent.
async fn killed(cluster: &mut Cluster, round: usize) -> (Duration, Duration) {
    let leader = cluster.leader().await;
    let others: Vec<usize> = (0..cluster.servers.len())
        .filter(|i| *i != leader)
        .collect();
    let agents: Vec<_> = others
        .iter()
        .map(|i| cluster.servers[*i].agent.another_client())
        .collect();
    let client = cluster.clients[0].agent.another_client();
    let start = Instant::now();
    // The signal alone: waiting for the end is not part of it.
    cluster.servers[leader].agent.signal(libc::SIGKILL);
    let write = async |client: lictor_client::Client, n: usize| {
        let write = lictor_client::KvWrite {
            key: format!("failover/{n}"),
            value: round.to_string().into(),
            ..lictor_client::KvWrite::default()
        };
        while !matches!(client.kv_put(&write).await, Ok(true)) {
            assert!(
                start.elapsed() < Duration::from_secs(30),
                "no write succeeds"
            );
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        start.elapsed()
    };
    let mut agents = agents.into_iter();
    let (one, other) = (agents.next().expect("one"), agents.next().expect("another"));
    let (first, second, through_client) =
        tokio::join!(write(one, 1), write(other, 2), write(client, 3));
    cluster.servers[leader].kill_is_done().await;
    cluster.servers[leader].start_again();
    cluster.settled().await;
    (first.min(second), through_client)
}

async fn measure(multiplier: u8, rounds: usize) -> Vec<(Duration, Duration)> {
    let mut cluster = Plan::servers(3)
        .clients(1)
        .multiplier(multiplier)
        .start()
        .await;
    let mut times = Vec::new();
    for round in 0..rounds {
        times.push(killed(&mut cluster, round).await);
    }
    times
}

fn median_and_worst(times: impl Iterator<Item = Duration>) -> (Duration, Duration) {
    let mut times: Vec<Duration> = times.collect();
    times.sort();
    (times[times.len() / 2], times[times.len() - 1])
}

#[tokio::test]
async fn a_killed_leader_costs_less_than_a_second_at_the_default() {
    let times = measure(5, 3).await;
    let (median, worst) = median_and_worst(times.iter().map(|t| t.0));
    println!("multiplier 5: median {median:?}, worst {worst:?}");
    // Twice the promise, for a machine that is busy with other things.
    assert!(worst < Duration::from_secs(2), "{times:?}");
}

/// The figures of docs/measurements.md: `tests/run cluster -- --ignored --nocapture figures`.
#[tokio::test]
#[ignore = "a measurement of some minutes"]
async fn figures_of_twenty_killed_leaders() {
    println!(
        "| raft_multiplier | at a server: median | worst | through a client agent: median | worst |"
    );
    println!("| --- | --- | --- | --- | --- |");
    for multiplier in [1, 5] {
        let times = measure(multiplier, 20).await;
        let (median, worst) = median_and_worst(times.iter().map(|t| t.0));
        let (by_client, worst_by_client) = median_and_worst(times.iter().map(|t| t.1));
        println!(
            "| {multiplier} | {} ms | {} ms | {} ms | {} ms |",
            median.as_millis(),
            worst.as_millis(),
            by_client.as_millis(),
            worst_by_client.as_millis()
        );
    }
}

/// Processor time of a process so far, in ticks of a hundredth of a second.
fn ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("its state");
    // Behind the name, which is in brackets, the twelfth and thirteenth are what it used itself
    // and what the system did for it.
    let (_, rest) = stat.rsplit_once(") ").expect("a name in brackets");
    let fields: Vec<&str> = rest.split(' ').collect();
    let number = |i: usize| fields[i].parse::<u64>().expect("a number");
    number(11) + number(12)
}

/// The other figures: `tests/run cluster -- --ignored --nocapture idle`.
#[tokio::test]
#[ignore = "a measurement of two minutes"]
async fn figures_of_three_idle_servers() {
    let time = Duration::from_secs(30);
    println!("| raft_multiplier | leader | each follower | client agent |");
    println!("| --- | --- | --- | --- |");
    for multiplier in [1, 5] {
        let cluster = Plan::servers(3)
            .clients(1)
            .multiplier(multiplier)
            .start()
            .await;
        let leader = cluster.leader().await;
        // What a start brings with it is over then.
        tokio::time::sleep(Duration::from_secs(15)).await;
        let pids: Vec<u32> = cluster.all().map(|m| m.agent.pid()).collect();
        let before: Vec<u64> = pids.iter().map(|p| ticks(*p)).collect();
        tokio::time::sleep(time).await;
        let used: Vec<f64> = pids
            .iter()
            .zip(before)
            .map(|(p, before)| (ticks(*p) - before) as f64 * 10.0 / time.as_secs_f64())
            .collect();
        assert_eq!(cluster.leader().await, leader, "nothing has happened");
        let followers = (0..3)
            .filter(|i| *i != leader)
            .map(|i| used[i])
            .sum::<f64>()
            / 2.0;
        println!(
            "| {multiplier} | {:.1} ms/s | {followers:.1} ms/s | {:.1} ms/s |",
            used[leader], used[3]
        );
    }
}
