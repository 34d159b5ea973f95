//! Servers killed under the hands of those who write through client agents: no write fails, and
//! none takes place twice.

use lictor_tests::cluster::{Cluster, Plan};
use lictor_tests::load::{Load, Running};
use lictor_tests::locking::Locking;
use std::time::Duration;

/// Callers of client agents, half of whose writes depend on what is there.
fn writers(cluster: &Cluster, count: usize) -> Running {
    let load = Load {
        keys: 12,
        pause: Duration::from_millis(2),
        // Beyond what an agent tries by itself, so that its error is seen and not ours.
        limit: Duration::from_secs(40),
        mix: (20, 40, 5),
        ..Load::mixed("once/")
    };
    load.start(Cluster::clients_of(&cluster.clients, count))
}

async fn kill(cluster: &mut Cluster, server: usize) {
    cluster.servers[server].kill().await;
    cluster.leader().await;
    let name = cluster.servers[server].name.clone();
    cluster.gone(&name).await;
    cluster.servers[server].start_again();
    cluster.settled().await;
}

async fn finish(load: Running) {
    load.progress(50).await;
    let history = load.stop().await;
    let (gap, at) = history.longest_gap();
    println!(
        "{} writes, the slowest {:?}, longest time without one {gap:?} at {at:?}",
        history.acknowledged(),
        history.slowest()
    );
    history.is_without_failure();
    // A conditional write that took place and was told that it did not would show here.
    println!("{:?}", history.is_linearizable());
}

#[tokio::test]
async fn a_killed_leader_fails_no_write_of_a_client_agent() {
    let mut cluster = Plan::servers(3).clients(2).start().await;
    let load = writers(&cluster, 12);
    load.progress(100).await;
    let leader = cluster.leader().await;
    kill(&mut cluster, leader).await;
    finish(load).await;
}

#[tokio::test]
#[ignore = "takes two minutes"]
async fn servers_killed_one_by_one_fail_no_write_of_a_client_agent() {
    let mut cluster = Plan::servers(3).clients(3).start().await;
    let load = writers(&cluster, 12);
    let locks = Locking::start("locked", Cluster::clients_of(&cluster.clients, 6));
    load.progress(100).await;
    for server in [0, 1, 2, 0, 1, 2] {
        kill(&mut cluster, server).await;
        load.progress(50).await;
    }
    // Always the one that is in the middle of most writes.
    for _ in 0..3 {
        let leader = cluster.leader().await;
        kill(&mut cluster, leader).await;
        load.progress(50).await;
    }
    finish(load).await;
    if let Err(clash) = locks.stop().await {
        panic!("{clash}");
    }
}
