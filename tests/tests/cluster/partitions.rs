//! Networks that are cut, in both directions or in one, and networks that lose packets.

use lictor_tests::cluster::{Cluster, Plan};
use lictor_tests::{Method, until_for};
use std::time::{Duration, Instant};

/// The leader alone: it acknowledges nothing, gives no outdated answer and steps down; when it is
/// back it does not depose the new one.
#[tokio::test]
async fn a_leader_cut_off_is_replaced_and_does_not_disturb_when_it_returns() {
    let mut cluster = Plan::servers(3).clients(1).start().await;
    super::under_load(&mut cluster, async |cluster| {
        let leader = cluster.leader().await;
        cut_off(cluster, leader).await;
        let new = cluster.leader_but(Some(leader)).await;
        super::meanwhile(Duration::from_secs(8)).await;
        heal(cluster, leader).await;
        // It was away and has asked for votes all the time, in vain: with pre-vote nobody's term
        // has grown by it.
        assert_eq!(
            cluster.settled().await.0,
            new,
            "the one who returned has deposed the leader"
        );
    })
    .await;
}

/// A follower alone. Nobody else notices.
#[tokio::test]
#[ignore = "takes half a minute"]
async fn a_follower_cut_off_disturbs_nobody() {
    let mut cluster = Plan::servers(3).start().await;
    super::under_load(&mut cluster, async |cluster| {
        let leader = cluster.leader().await;
        let follower = cluster.server_but(leader);
        cut_off(cluster, follower).await;
        super::meanwhile(Duration::from_secs(15)).await;
        heal(cluster, follower).await;
        assert_eq!(cluster.settled().await.0, leader);
    })
    .await;
}

/// The leader hears nobody but is heard: its heartbeats keep the others quiet, so it must itself
/// see that nobody answers.
#[tokio::test]
#[ignore = "takes half a minute"]
async fn a_leader_that_hears_nobody_steps_down() {
    one_way(|leader, other| (other, leader)).await;
}

/// The leader is heard by nobody but hears.
#[tokio::test]
#[ignore = "takes half a minute"]
async fn a_leader_that_nobody_hears_is_replaced() {
    one_way(|leader, other| (leader, other)).await;
}

async fn one_way(direction: fn(usize, usize) -> (usize, usize)) {
    let mut cluster = Plan::servers(3).clients(1).start().await;
    super::under_load(&mut cluster, async |cluster| {
        let leader = cluster.leader().await;
        let others = (0..3).filter(|i| *i != leader);
        for (from, to) in others.map(|other| direction(leader, other)) {
            let (from, to) = (&cluster.servers[from].place, &cluster.servers[to].place);
            cluster.net.cut_one_way(from, to);
        }
        cluster.servers[leader].up = false;
        let cut = Instant::now();
        cluster.leader_but(Some(leader)).await;
        println!("another leader after {:?}", cut.elapsed());
        super::meanwhile(Duration::from_secs(5)).await;
        heal(cluster, leader).await;
        cluster.settled().await;
    })
    .await;
}

/// Two servers that cannot reach each other, while a third reaches both: one leader all the same.
#[tokio::test]
#[ignore = "takes half a minute"]
async fn a_bridge_between_two_keeps_one_leader() {
    let mut cluster = Plan::servers(3).start().await;
    super::under_load(&mut cluster, async |cluster| {
        let leader = cluster.leader().await;
        let other = cluster.server_but(leader);
        let (a, b) = (
            &cluster.servers[leader].place,
            &cluster.servers[other].place,
        );
        cluster.net.cut(&[a], &[b]);
        super::meanwhile(Duration::from_secs(12)).await;
        cluster.net.heal();
        cluster.settled().await;
    })
    .await;
}

/// Five servers in two parts: the greater goes on with all clients that it has, the lesser answers
/// stale reads only and takes up what it missed.
#[tokio::test]
#[ignore = "takes a minute"]
async fn of_two_parts_the_greater_goes_on() {
    let mut cluster = Plan::servers(5).clients(10).start().await;
    super::under_load(&mut cluster, async |cluster| {
        let leader = cluster.leader().await;
        let lesser: Vec<usize> = vec![leader, cluster.server_but(leader)];
        let (some, others): (Vec<_>, Vec<_>) = cluster
            .servers
            .iter()
            .enumerate()
            .partition(|(i, _)| lesser.contains(i));
        let some: Vec<_> = some.iter().map(|(_, m)| &m.place).collect();
        let mut others: Vec<_> = others.iter().map(|(_, m)| &m.place).collect();
        others.extend(cluster.clients.iter().map(|m| &m.place));
        cluster.net.cut(&some, &others);
        for i in &lesser {
            cluster.servers[*i].up = false;
        }
        cluster.leader_but(Some(leader)).await;
        let alone = &cluster.servers[lesser[0]].agent;
        alone.get("/v1/kv/load/0?stale").await;
        super::meanwhile(Duration::from_secs(10)).await;
        cluster.net.heal();
        for i in &lesser {
            cluster.servers[*i].up = true;
        }
        cluster.settled().await;
    })
    .await;
}

/// A fifth of all packets lost: nobody healthy is declared dead for good, and what is
/// acknowledged holds.
#[tokio::test]
#[ignore = "takes a minute"]
async fn a_fifth_of_all_packets_lost_breaks_no_promise() {
    let mut cluster = Plan::servers(3).clients(3).multiplier(5).start().await;
    super::under_load(&mut cluster, async |cluster| {
        cluster.net.lose(20);
        super::meanwhile(Duration::from_secs(30)).await;
        cluster.net.heal();
        cluster.settled().await;
    })
    .await;
}

/// A follower without its leader answers stale reads and says how old they are; other reads end
/// with Consul's error and not with an outdated answer.
#[tokio::test]
#[ignore = "takes half a minute"]
async fn a_server_without_a_leader_answers_stale_reads_alone() {
    let mut cluster = Plan::servers(3).start().await;
    let leader = cluster.leader().await;
    let alone = cluster.server_but(leader);
    cluster.servers[leader]
        .agent
        .put("/v1/kv/a", "1")
        .await
        .ok();
    cluster.servers[alone]
        .agent
        .get_until("/v1/kv/a?raw&stale", |r| r.text == "1")
        .await;
    cut_off(&mut cluster, alone).await;
    let agent = &cluster.servers[alone].agent;
    until_for(Duration::from_secs(20), "it knows no leader", async || {
        let reply = agent.try_get("/v1/status/leader").await?;
        (reply.text.trim() == "\"\"").then_some(())
    })
    .await;
    let stale = agent.get("/v1/kv/a?raw&stale").await.ok();
    assert_eq!(stale.text, "1");
    assert_eq!(stale.header("x-consul-knownleader"), Some("false"));
    let age = stale.header("x-consul-lastcontact").unwrap_or_default();
    assert!(age.parse::<u64>().is_ok_and(|ms| ms > 100), "{age:?}");
    for (method, path) in [(Method::GET, "/v1/kv/a"), (Method::PUT, "/v1/kv/a")] {
        let start = Instant::now();
        agent
            .request(method, path, "")
            .await
            .refused(500, "No cluster leader");
        // It has been tried for the rpc hold time of 7 s.
        assert!(start.elapsed() < Duration::from_secs(12));
    }
    heal(&mut cluster, alone).await;
    cluster.settled().await;
}

async fn cut_off(cluster: &mut Cluster, server: usize) {
    cluster.net.isolate(&cluster.servers[server].place);
    cluster.servers[server].up = false;
}

async fn heal(cluster: &mut Cluster, server: usize) {
    cluster.net.heal();
    cluster.servers[server].up = true;
}
