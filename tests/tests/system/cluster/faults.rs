//! Servers that are killed, paused, restarted and robbed.

use super::{Cluster, Load, next_write};
use lictor_tests::{Agent, json, until};
use std::time::{Duration, Instant};

#[tokio::test]
async fn the_leader_is_killed_under_load() {
    let mut cluster = Cluster::of(3).await;
    let load = Load::start(&cluster, 6);
    let mut took = Vec::new();
    for round in 0..5 {
        load.more(100).await;
        let leader = cluster.leader(&[0, 1, 2]).await;
        let other = (leader + 1) % 3;
        let client = cluster.servers[other].another_client();
        cluster.servers[leader].signal(libc::SIGKILL);
        let killed = Instant::now();
        took.push(next_write(&client, killed, &format!("after/{round}")).await);
        cluster.servers[leader].exit().await;
        load.more(50).await;
        cluster.servers[leader].start_again().await;
        // It has caught up when it reads what was written while it was away.
        assert_eq!(cluster.read(leader, &format!("after/{round}")).await, "1");
    }
    let writes = load.check(&cluster, 0).await;
    took.sort();
    println!("leader killed until a write succeeds: {took:?}; {writes} acknowledged writes");
    // The budget is a third of a second on a machine of one's own.
    assert!(took[took.len() / 2] < Duration::from_secs(3), "{took:?}");
}

#[tokio::test]
async fn servers_are_restarted_one_by_one_and_all_at_once() {
    let mut cluster = Cluster::of(3).await;
    let load = Load::start(&cluster, 4);
    for i in 0..3 {
        load.more(50).await;
        cluster.servers[i].signal(libc::SIGTERM);
        cluster.servers[i].exit().await;
        load.more(20).await;
        cluster.servers[i].start_again().await;
        cluster.leader(&[0, 1, 2]).await;
    }
    load.check(&cluster, 1).await;
    cluster.put(0, "before", "1").await;
    for server in &mut cluster.servers {
        server.kill().await;
    }
    for server in &mut cluster.servers {
        server.spawn_again();
    }
    cluster.all_ready().await;
    for i in 0..3 {
        assert_eq!(cluster.read(i, "before").await, "1");
    }
    cluster
        .peers_become(0, &[("s1", true), ("s2", true), ("s3", true)])
        .await;
}

#[tokio::test]
async fn a_lost_quorum_is_brought_back_by_hand() {
    let mut cluster = Cluster::of(3).await;
    cluster.put(0, "kept", "1").await;
    for i in 0..3 {
        assert_eq!(cluster.read(i, "kept").await, "1");
    }
    let id = cluster.servers[2].get("/v1/agent/self").await;
    let id = id.str("/Config/NodeID").to_owned();
    // The one that stays is the leader: it has to notice that it is none any more.
    loop {
        let leader = cluster.leader(&[0, 1, 2]).await;
        if leader == 2 {
            break;
        }
        let to = format!("-id={id}");
        cluster.servers[leader]
            .cli(&["operator", "raft", "transfer-leader", &to])
            .await;
    }
    for i in [0, 1] {
        cluster.servers[i].kill().await;
    }
    // Without a quorum nothing is written and nothing is confirmed; what is there can be seen.
    // The write is in the leader's own log, though: its outcome is unknown, and recovery keeps it.
    let refused = cluster.servers[2].put("/v1/kv/unknown", "2").await;
    assert!(refused.status == 500, "{}", refused.text);
    let unknown = cluster.servers[2].get("/v1/kv/kept").await;
    unknown.refused(500, "No cluster leader");
    let stale = cluster.servers[2].get("/v1/kv/kept?stale&raw").await;
    assert_eq!(stale.ok().text, "1");
    let stale = cluster.servers[2].get("/v1/kv/kept?stale").await;
    assert_eq!(stale.header("x-consul-knownleader"), Some("false"));
    assert_eq!(
        cluster.servers[2].get("/v1/status/leader").await.text,
        "\"\""
    );

    cluster.servers[2].kill().await;
    let raft = cluster.servers[2].data().join("raft");
    assert!(raft.join("peers.info").exists());
    let address = format!("127.0.0.1:{}", cluster.servers[2].server_port());
    let peers = json!([{"id": id, "address": address, "non_voter": false}]);
    std::fs::write(raft.join("peers.json"), peers.to_string()).expect("written");
    cluster.servers[2].start_again().await;
    assert!(!raft.join("peers.json").exists());
    assert_eq!(cluster.read(2, "kept").await, "1");
    cluster.put(2, "kept", "3").await;
    // The others come back and follow.
    for i in [0, 1] {
        cluster.servers[i].start_again().await;
    }
    cluster
        .peers_become(2, &[("s1", true), ("s2", true), ("s3", true)])
        .await;
    assert_eq!(cluster.read(0, "kept").await, "3");
}

/// The term, as a server knows it.
async fn term(server: &Agent) -> u64 {
    let about = server.get("/v1/agent/self").await.ok();
    about.str("/Stats/raft/term").parse().expect("a number")
}

#[tokio::test]
async fn a_paused_leader_answers_nothing_old() {
    let cluster = Cluster::of(3).await;
    for round in 0..3 {
        let leader = cluster.leader(&[0, 1, 2]).await;
        let other = (leader + 1) % 3;
        cluster.put(other, "k", &format!("old{round}")).await;
        assert_eq!(cluster.read(leader, "k").await, format!("old{round}"));
        let (old, client) = (
            &cluster.servers[leader],
            cluster.servers[other].another_client(),
        );
        old.signal(libc::SIGSTOP);
        let paused = Instant::now();
        next_write(&client, paused, "k2").await;
        cluster.put(other, "k", &format!("new{round}")).await;
        // Asked while it sleeps, answered when it wakes.
        let asked = old.another_client();
        let asked = tokio::spawn(async move {
            asked
                .kv_get("k", &lictor_client::QueryOptions::default())
                .await
        });
        tokio::time::sleep(Duration::from_millis(50)).await;
        old.signal(libc::SIGCONT);
        for _ in 0..20 {
            let reply = old.get("/v1/kv/k?raw").await;
            assert!(
                reply.status == 500 || reply.text == format!("new{round}"),
                "{} {}",
                reply.status,
                reply.text
            );
        }
        if let Ok(Ok((Some(row), _))) = asked.await {
            assert_eq!(*row.value, *format!("new{round}").as_bytes());
        }
    }
}

#[tokio::test]
async fn a_server_that_was_away_deposes_nobody() {
    let cluster = Cluster::of(3).await;
    let leader = cluster.leader(&[0, 1, 2]).await;
    let away = (leader + 2) % 3;
    let before = term(&cluster.servers[leader]).await;
    for _ in 0..3 {
        cluster.servers[away].signal(libc::SIGSTOP);
        // Ten times as long as it waits for a leader.
        tokio::time::sleep(Duration::from_secs(2)).await;
        cluster.put(leader, "k", "v").await;
        cluster.servers[away].signal(libc::SIGCONT);
        until("it has caught up", async || {
            let reply = cluster.servers[away].try_get("/v1/kv/k?raw").await?;
            (reply.text == "v").then_some(())
        })
        .await;
    }
    assert_eq!(cluster.leader(&[0, 1, 2]).await, leader);
    assert_eq!(term(&cluster.servers[leader]).await, before);
}

#[tokio::test]
async fn a_server_without_its_log_is_taken_in_anew() {
    let mut cluster = Cluster::of(3).await;
    let leader = cluster.leader(&[0, 1, 2]).await;
    let poor = (leader + 1) % 3;
    cluster.put(poor, "kept", "1").await;
    cluster.servers[poor].kill().await;
    // The node id stays: it comes back under the same one.
    let raft = cluster.servers[poor].data().join("raft");
    std::fs::remove_dir_all(raft).expect("its log");
    cluster.servers[poor].spawn_again();
    until("it is noticed", async || {
        let log = cluster.servers[leader].log();
        log.contains("server has lost its log").then_some(())
    })
    .await;
    cluster.put(leader, "after", "1").await;
    assert_eq!(cluster.leader(&[leader]).await, leader);
    cluster
        .peers_become(leader, &[("s1", true), ("s2", true), ("s3", true)])
        .await;
    assert_eq!(cluster.read(poor, "kept").await, "1");
    assert_eq!(cluster.read(poor, "after").await, "1");
}
