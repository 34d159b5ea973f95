//! Leaving: the leader, a follower, a client, and all but one.

use lictor_tests::cluster::{Cluster, Plan};
use lictor_tests::load::Load;
use lictor_tests::{Value, json};
use std::time::{Duration, Instant};

/// How long a leave may take.
const LEAVE: Duration = Duration::from_secs(15);

/// Lets a member leave and waits until it has ended and everybody knows.
async fn leave(cluster: &mut Cluster, is_server: bool, place: usize) {
    let members = if is_server {
        &mut cluster.servers
    } else {
        &mut cluster.clients
    };
    let member = &mut members[place];
    member.up = false;
    let start = Instant::now();
    member.agent.put("/v1/agent/leave", ()).await.ok();
    let end = member.agent.exit().await;
    let name = member.name.clone();
    assert_eq!(end.code, 0, "{name}");
    assert!(start.elapsed() < LEAVE, "{name} took {:?}", start.elapsed());
    cluster.gone(&name).await;
    cluster.settled().await;
}

async fn voters(cluster: &Cluster) -> Vec<String> {
    let server = cluster.up().next().expect("a server");
    let reply = server
        .agent
        .get("/v1/operator/raft/configuration")
        .await
        .ok();
    let servers = reply.at("/Servers").as_array().cloned().unwrap_or_default();
    let mut names: Vec<String> = servers
        .iter()
        .filter(|s| s["Voter"] == true)
        .map(|s| s["Node"].as_str().unwrap_or_default().to_owned())
        .collect();
    names.sort();
    names
}

/// A leave of the leader costs no write of a client agent's callers and next to no time: it hands
/// its office over first.
#[tokio::test]
async fn a_leader_leaves_without_a_failed_write() {
    let mut cluster = Plan::servers(3).clients(2).start().await;
    let clients = Cluster::clients_of(&cluster.clients, 4);
    let load = Load {
        limit: Duration::from_secs(20),
        ..Load::writes("leave/")
    };
    let load = load.start(clients);
    load.progress(50).await;
    let leader = cluster.leader().await;
    leave(&mut cluster, true, leader).await;
    load.progress(50).await;
    let history = load.stop().await;
    history.is_without_failure();
    history.is_linearizable();
    let (gap, _) = history.longest_gap();
    println!("longest time without a write: {gap:?}");
    assert_eq!(voters(&cluster).await.len(), 2);
}

/// A client that leaves is gone from the catalog with its services; its return is an ordinary
/// join.
#[tokio::test]
async fn a_client_leaves_and_returns() {
    let mut cluster = Plan::servers(1).clients(2).start().await;
    let service = json!({"Name": "web", "Port": 80});
    cluster.clients[0].agent.register(service).await;
    let instances = async |cluster: &Cluster, count: usize| {
        let agent = &cluster.clients[1].agent;
        let path = "/v1/health/service/web?passing";
        agent
            .get_until(path, |r| {
                r.json.as_array().is_some_and(|a| a.len() == count)
            })
            .await;
    };
    instances(&cluster, 1).await;
    leave(&mut cluster, false, 0).await;
    instances(&cluster, 0).await;
    let nodes = cluster.servers[0].agent.get("/v1/catalog/nodes").await.ok();
    assert!(!nodes.text.contains("client-1"), "{}", nodes.text);
    let left = cluster.servers[0].agent.get("/v1/agent/members").await.ok();
    let state = |name: &str| {
        left.rows()
            .iter()
            .find(|r| r["Name"] == name)
            .map(|r| r["Status"].clone())
    };
    assert_eq!(state("client-1"), Some(json!(3)), "left, not failed");
    cluster.clients[0].start_again();
    cluster.settled().await;
    // It kept what was registered with it.
    instances(&cluster, 1).await;
}

/// Servers leave one after the other down to one, which goes on: each leave makes the quorum
/// smaller.
#[tokio::test]
#[ignore = "takes a minute and a half"]
async fn servers_leave_down_to_one() {
    let mut cluster = Plan::servers(3).start().await;
    for left in [2, 1] {
        let leader = cluster.leader().await;
        // A follower first, then the leader.
        let who = if left == 2 {
            cluster.server_but(leader)
        } else {
            leader
        };
        leave(&mut cluster, true, who).await;
        let leader = cluster.leader().await;
        let agent = &cluster.servers[leader].agent;
        agent.put("/v1/kv/a", left.to_string()).await.ok();
        assert_eq!(voters(&cluster).await.len(), left);
    }
    // Those who left come back with their data.
    for server in cluster.servers.iter_mut().filter(|s| !s.up) {
        server.start_again();
    }
    cluster.settled().await;
    assert_eq!(voters(&cluster).await.len(), 3);
    let last = cluster.servers[0].agent.get("/v1/kv/a?raw").await.ok();
    assert_eq!(last.text, "1");
}

/// A client that was killed stays in the catalog as critical until it is forced to leave.
#[tokio::test]
#[ignore = "takes half a minute"]
async fn a_failed_client_is_critical_until_it_is_forced_to_leave() {
    let mut cluster = Plan::servers(1).clients(1).start().await;
    let service = json!({"Name": "web", "Port": 80});
    cluster.clients[0].agent.register(service).await;
    let server = &cluster.servers[0].agent;
    server
        .get_until("/v1/catalog/service/web", |r| r.json != json!([]))
        .await;
    cluster.clients[0].kill().await;
    cluster.gone("client-1").await;
    let server = &cluster.servers[0].agent;
    let checks = server.get("/v1/health/node/client-1").await.ok();
    let serf = checks.rows().iter().find(|c| c["CheckID"] == "serfHealth");
    let status = serf.map_or(Value::Null, |c| c["Status"].clone());
    assert_eq!(status, json!("critical"));
    server.cli(&["force-leave", "client-1"]).await.ok();
    server
        .get_until("/v1/catalog/service/web", |r| r.json == json!([]))
        .await;
}
