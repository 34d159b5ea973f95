//! Locks of sessions under faults.

use lictor_client::Request;
use lictor_tests::cluster::{Cluster, Plan};
use lictor_tests::locking::Locking;
use lictor_tests::{Method, Value, json};
use std::time::{Duration, Instant};

async fn contend(cluster: &mut Cluster, happen: impl AsyncFnOnce(&mut Cluster)) {
    let clients = cluster.all().map(|m| m.agent.another_client()).collect();
    let locking = Locking::start("lock", clients);
    locking.progress(20).await;
    happen(cluster).await;
    locking.progress(20).await;
    match locking.stop().await {
        Ok(handed_over) => println!("the lock changed hands {handed_over} times"),
        Err(clash) => panic!("{clash}"),
    }
}

#[tokio::test]
async fn a_lock_has_one_holder_while_leaders_are_killed() {
    let mut cluster = Plan::servers(3).clients(2).start().await;
    contend(&mut cluster, async |cluster| {
        let leader = cluster.leader().await;
        cluster.servers[leader].kill().await;
        cluster.leader_but(Some(leader)).await;
        cluster.servers[leader].start_again();
        cluster.settled().await;
    })
    .await;
}

/// A leader that stands still for longer than sessions live does not end them when it goes on: they
/// were renewed with another leader meanwhile, and it does not know.
#[tokio::test]
#[ignore = "takes half a minute"]
async fn a_leader_that_returns_ends_no_session_that_was_renewed() {
    let mut cluster = Plan::servers(3).start().await;
    let leader = cluster.leader().await;
    let agent = cluster.servers[cluster.server_but(leader)]
        .agent
        .another_client();
    let mut sessions = Vec::new();
    for n in 0..20 {
        let body = json!({"TTL": "10s", "NodeChecks": [], "Name": format!("session-{n}")});
        let request = Request::new(Method::PUT, "/v1/session/create").json(&body);
        let (answer, _): (Value, _) = agent.read(request).await.expect("a session");
        sessions.push(answer["ID"].as_str().expect("its id").to_owned());
    }
    // Twice the TTL, and some time.
    let end = Instant::now() + Duration::from_secs(25);
    cluster.servers[leader].pause();
    cluster.leader_but(Some(leader)).await;
    let renew = async |id: &String| {
        let renewed = agent.renew_session(id).await.expect("an answer");
        assert!(renewed.is_some(), "{id} has ended");
    };
    while Instant::now() < end {
        for id in &sessions {
            renew(id).await;
        }
        super::meanwhile(Duration::from_secs(2)).await;
    }
    cluster.servers[leader].resume();
    cluster.settled().await;
    for id in &sessions {
        renew(id).await;
    }
}

/// Holders that are cut off or stand still lose the lock after their TTL, and not before.
#[tokio::test]
#[ignore = "takes two minutes"]
async fn a_lock_has_one_holder_while_servers_are_cut_off_and_paused() {
    let mut cluster = Plan::servers(3).clients(2).start().await;
    contend(&mut cluster, async |cluster| {
        for round in 0..3 {
            let leader = cluster.leader().await;
            if round % 2 == 0 {
                cluster.net.isolate(&cluster.servers[leader].place);
                cluster.servers[leader].up = false;
            } else {
                cluster.servers[leader].pause();
            }
            cluster.leader_but(Some(leader)).await;
            super::meanwhile(Duration::from_secs(14)).await;
            cluster.net.heal();
            cluster.servers[leader].resume();
            cluster.settled().await;
        }
    })
    .await;
}
