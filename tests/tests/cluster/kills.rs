//! Servers that end or stop in an instant.

use lictor_tests::cluster::Plan;
use std::time::Duration;

#[tokio::test]
async fn a_killed_leader_loses_nothing() {
    let mut cluster = Plan::servers(3).clients(2).start().await;
    let history = super::under_load(&mut cluster, async |cluster| {
        let leader = cluster.leader().await;
        cluster.servers[leader].kill().await;
        cluster.leader_but(Some(leader)).await;
        let name = cluster.servers[leader].name.clone();
        cluster.gone(&name).await;
        cluster.servers[leader].start_again();
        cluster.settled().await;
    })
    .await;
    let (gap, _) = history.longest_gap();
    assert!(gap < Duration::from_secs(5), "no write for {gap:?}");
}

/// A leader that stands still for ten seconds: another takes over, and the old one, which has not
/// noticed, gives no outdated answer.
#[tokio::test]
async fn a_paused_leader_gives_no_outdated_answer() {
    let mut cluster = Plan::servers(3).clients(1).start().await;
    super::under_load(&mut cluster, async |cluster| {
        let leader = cluster.leader().await;
        cluster.servers[leader].pause();
        cluster.leader_but(Some(leader)).await;
        super::meanwhile(Duration::from_secs(10)).await;
        cluster.servers[leader].resume();
        cluster.settled().await;
    })
    .await;
}

/// Five servers, and every ten seconds one or two of them end or stand still.
#[tokio::test]
#[ignore = "takes two minutes"]
async fn five_servers_lose_two_again_and_again() {
    let mut cluster = Plan::servers(5).clients(10).start().await;
    super::under_load(&mut cluster, async |cluster| {
        for round in 0..6 {
            let leader = cluster.leader().await;
            let other = (leader + 1 + round % 4) % 5;
            cluster.servers[leader].kill().await;
            if round % 2 == 0 {
                cluster.servers[other].pause();
            } else {
                cluster.servers[other].kill().await;
            }
            cluster.leader_but(Some(leader)).await;
            super::meanwhile(Duration::from_secs(3)).await;
            cluster.servers[leader].start_again();
            if round % 2 == 0 {
                cluster.servers[other].resume();
            } else {
                cluster.servers[other].start_again();
            }
            cluster.settled().await;
        }
    })
    .await;
}

/// Without a majority nothing is acknowledged; with it again all goes on, and what was
/// acknowledged before is there.
#[tokio::test]
#[ignore = "takes half a minute"]
async fn all_servers_killed_at_once_lose_nothing() {
    let mut cluster = Plan::servers(3).clients(1).start().await;
    super::under_load(&mut cluster, async |cluster| {
        for _ in 0..3 {
            for server in &mut cluster.servers {
                server.kill().await;
            }
            for server in &mut cluster.servers {
                server.start_again();
            }
            cluster.settled().await;
            super::meanwhile(Duration::from_secs(2)).await;
        }
    })
    .await;
}
