//! Clocks of servers that are set while they run: by an hour, ahead and back.

use lictor_tests::cluster::{Cluster, Plan};
use lictor_tests::{Agent, Method, Value, json};
use std::time::{Duration, Instant};

const HOUR: i64 = 3_600_000;

/// Makes a session without checks; gives its id.
async fn session(agent: &Agent, more: Value) -> String {
    let mut body = json!({"NodeChecks": []});
    for (key, value) in more.as_object().expect("an object") {
        body[key] = value.clone();
    }
    let reply = agent.put("/v1/session/create", body.to_string()).await.ok();
    reply.at("/ID").as_str().expect("an id").to_owned()
}

async fn acquires(agent: &Agent, session: &str) -> bool {
    let path = format!("/v1/kv/lock?acquire={session}");
    agent.put(&path, "").await.ok().text.trim() == "true"
}

/// Leaves a lock whose session ends with this delay, and gives when that was asked for and the
/// session of another that wants it.
async fn left_lock(agent: &Agent, delay: &str) -> (Instant, String) {
    let one = session(agent, json!({"LockDelay": delay})).await;
    let other = session(agent, json!({"LockDelay": delay})).await;
    assert!(acquires(agent, &one).await);
    let asked = Instant::now();
    let path = format!("/v1/session/destroy/{one}");
    agent.put(&path, ()).await.ok();
    (asked, other)
}

/// A lock-delay lasts as long as it is to last, whatever becomes of the leader's clock meanwhile.
#[tokio::test]
async fn a_clock_that_is_set_changes_no_lock_delay() {
    let cluster = Plan::servers(3).clients(1).start().await;
    let agent = &cluster.clients[0].agent;
    let (asked, other) = left_lock(agent, "5s").await;
    let mut hours = [1, -1, 0, 9].into_iter().cycle();
    while !acquires(agent, &other).await {
        assert!(asked.elapsed() < Duration::from_secs(30), "it never ends");
        let ahead = HOUR * hours.next().expect("no end");
        cluster.servers.iter().for_each(|s| s.set_clock(ahead));
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let took = asked.elapsed();
    assert!(took >= Duration::from_secs(5), "it ended after {took:?}");
}

/// A new leader whose clock is hours behind that of the one before: its delays end, if late, no
/// later than the longest that there is.
#[tokio::test]
#[ignore = "takes a minute"]
async fn a_leader_whose_clock_is_behind_ends_lock_delays() {
    let mut cluster = Plan::servers(3).clients(1).start().await;
    let leader = cluster.leader().await;
    // Its next term reads its clock.
    cluster.servers[leader].set_clock(HOUR);
    cluster.servers[leader].kill().await;
    cluster.servers[leader].start_again();
    cluster.settled().await;
    lead(&cluster, leader).await;
    let agent = &cluster.clients[0].agent;
    let (asked, other) = left_lock(agent, "15s").await;
    cluster.servers[leader].kill().await;
    cluster.leader_but(Some(leader)).await;
    let agent = &cluster.clients[0].agent;
    while !acquires(agent, &other).await {
        assert!(asked.elapsed() < Duration::from_secs(90), "it never ends");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    println!("after {:?}", asked.elapsed());
    assert!(asked.elapsed() >= Duration::from_secs(15));
    cluster.servers[leader].start_again();
    cluster.settled().await;
}

/// Hands the lead to that server.
async fn lead(cluster: &Cluster, wanted: usize) {
    if cluster.leader().await == wanted {
        return;
    }
    let id = cluster.servers[wanted]
        .agent
        .get("/v1/agent/self")
        .await
        .ok();
    let id = id
        .at("/Config/NodeID")
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let path = format!("/v1/operator/raft/transfer-leader?id={id}");
    let agent = &cluster.servers[wanted].agent;
    agent.request(Method::POST, &path, "").await.ok();
    lictor_tests::until("it leads", async || {
        (cluster.leader().await == wanted).then_some(())
    })
    .await;
}

/// Clocks that are set again and again, ahead and back, on all servers: what is read and written
/// holds, and so do sessions that are renewed; one that is not ends.
#[tokio::test]
#[ignore = "takes a minute"]
async fn clocks_that_are_set_break_no_promise() {
    let mut cluster = Plan::servers(3).clients(2).start().await;
    super::under_load(&mut cluster, async |cluster| {
        let agent = &cluster.clients[0].agent;
        let ttl = json!({"TTL": "10s"});
        let kept = session(agent, ttl.clone()).await;
        let left = session(agent, ttl).await;
        let hours = [1, -1, 24, 0, -24, 5, 6, 7, -7, -6, -5, 0];
        for (round, ahead) in hours.iter().cycle().take(24).enumerate() {
            let server = &cluster.servers[round % 3];
            server.set_clock(HOUR * ahead);
            if round % 8 == 7 {
                let leader = cluster.leader().await;
                lead(cluster, (leader + 1) % 3).await;
            }
            let path = format!("/v1/session/renew/{kept}");
            agent.put(&path, ()).await.ok();
            super::meanwhile(Duration::from_secs(1)).await;
        }
        let of = async |id: &str| agent.get(&format!("/v1/session/info/{id}")).await.ok();
        assert!(of(&kept).await.text.contains(&kept), "it was renewed");
        let path = format!("/v1/session/info/{left}");
        // A leader gives each its full time again, twice its TTL.
        lictor_tests::until_for(Duration::from_secs(60), "it has ended", async || {
            let reply = agent.try_get(&path).await?;
            (!reply.text.contains(&left)).then_some(())
        })
        .await;
        cluster.servers.iter().for_each(|s| s.set_clock(0));
        cluster.settled().await;
    })
    .await;
}
