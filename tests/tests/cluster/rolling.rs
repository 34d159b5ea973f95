//! Servers restarted and replaced one after the other, while clients write through client agents
//! and notice nothing.

use lictor_tests::cluster::{Cluster, Plan};
use lictor_tests::load::{History, Load, Running};
use lictor_tests::until_for;
use std::time::Duration;

/// Callers of client agents that write all the time.
const WRITERS: usize = 9;

fn writers(cluster: &Cluster, count: usize) -> Running {
    let clients = Cluster::clients_of(&cluster.clients, count);
    let load = Load {
        // Beyond what an agent tries by itself, so that its error is seen and not ours.
        limit: Duration::from_secs(20),
        ..Load::writes("rolling/")
    };
    load.start(clients)
}

async fn finish(load: Running) -> History {
    load.progress(50).await;
    let history = load.stop().await;
    let (gap, at) = history.longest_gap();
    println!(
        "{} writes, {} failed, the slowest {:?}, longest time without one {gap:?} at {at:?}",
        history.acknowledged(),
        history.complaints.len(),
        history.slowest()
    );
    history.is_linearizable();
    history
}

/// Each server ends by a signal, as for an upgrade, and starts again.
#[tokio::test]
#[ignore = "takes a minute"]
async fn a_rolling_restart_fails_no_write() {
    restart(false).await.is_without_failure();
}

/// Each server is killed and starts again. What was on its way is sent again, and takes place once.
#[tokio::test]
#[ignore = "takes a minute"]
async fn a_rolling_kill_fails_no_write() {
    restart(true).await.is_without_failure();
}

/// The short form, in every run: the leader alone restarts.
#[tokio::test]
async fn a_restarted_leader_fails_no_write() {
    let mut cluster = Plan::servers(3).clients(2).start().await;
    let load = writers(&cluster, 6);
    load.progress(50).await;
    let leader = cluster.leader().await;
    replace_process(&mut cluster, leader, false).await;
    finish(load).await.is_without_failure();
}

async fn restart(kill: bool) -> History {
    let mut cluster = Plan::servers(3).clients(3).start().await;
    let load = writers(&cluster, WRITERS);
    load.progress(50).await;
    for server in 0..3 {
        replace_process(&mut cluster, server, kill).await;
        load.progress(20).await;
    }
    finish(load).await
}

async fn replace_process(cluster: &mut Cluster, server: usize, kill: bool) {
    let one = &mut cluster.servers[server];
    if kill {
        one.kill().await;
    } else {
        one.up = false;
        one.agent.signal(libc::SIGTERM);
        one.agent.exit().await;
    }
    cluster.leader().await;
    cluster.servers[server].start_again();
    cluster.settled().await;
}

/// Each server is replaced by another: the new one joins and is promoted, the old one leaves.
#[tokio::test]
#[ignore = "takes two minutes"]
async fn a_rolling_replacement_fails_no_write() {
    let mut cluster = Plan::servers(3).clients(3).start().await;
    let load = writers(&cluster, WRITERS);
    load.progress(50).await;
    for _ in 0..3 {
        cluster.add_server();
        // It has a vote then.
        cluster.settled().await;
        let mut old = cluster.servers.remove(0);
        old.up = false;
        old.agent.put("/v1/agent/leave", ()).await.ok();
        assert_eq!(old.agent.exit().await.code, 0);
        cluster.settled().await;
        no_voter(&cluster, &old.name).await;
        load.progress(20).await;
    }
    finish(load).await.is_without_failure();
}

async fn no_voter(cluster: &Cluster, name: &str) {
    let what = format!("{name} is no voter");
    until_for(Duration::from_secs(60), &what, async || {
        let path = "/v1/operator/raft/configuration";
        let reply = cluster.servers[0].agent.try_get(path).await?;
        let mut servers = reply.at("/Servers").as_array()?.iter();
        (!servers.any(|s| s["Node"] == name && s["Voter"] == true)).then_some(())
    })
    .await;
}
