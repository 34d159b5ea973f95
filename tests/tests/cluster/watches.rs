//! Blocking queries while servers go: no change is missed, nothing goes back.

use lictor_tests::cluster::{Cluster, Member, Plan};
use lictor_tests::watching::{Numbered, Watching};
use std::time::Duration;

/// How long after its acknowledgement a change may reach who waits, with a server killed between.
const SOON: Duration = Duration::from_secs(15);

fn numbered(members: &[Member]) -> Vec<Numbered> {
    let agents = members.iter().enumerate();
    agents
        .map(|(i, m)| (i as u32, m.agent.another_client()))
        .collect()
}

/// Watchers at client agents, each at one, and watchers that go from server to server.
fn watch(cluster: &Cluster) -> Watching {
    let servers = numbered(&cluster.servers);
    let clients = numbered(&cluster.clients);
    let mut watchers: Vec<Vec<Numbered>> = clients.iter().map(|c| vec![c.clone()]).collect();
    for first in 0..servers.len() {
        let mut turns = servers.clone();
        turns.rotate_left(first);
        watchers.push(turns);
    }
    Watching::start("watched", [clients, servers].concat(), watchers)
}

#[tokio::test]
async fn a_killed_server_is_invisible_to_who_waits_at_a_client() {
    let mut cluster = Plan::servers(3).clients(2).start().await;
    let watching = watch(&cluster);
    watching.progress(20).await;
    for round in 0..2 {
        let leader = cluster.leader().await;
        let who = if round == 0 {
            leader
        } else {
            cluster.server_but(leader)
        };
        cluster.servers[who].kill().await;
        cluster.leader().await;
        watching.progress(20).await;
        cluster.servers[who].start_again();
        cluster.settled().await;
    }
    watching.progress(20).await;
    let record = watching.stop().await;
    record.is_good(SOON);
    let of_clients: Vec<_> = record.watched[..2].iter().flat_map(|w| &w.errors).collect();
    assert!(of_clients.is_empty(), "{of_clients:?}");
    println!(
        "{} changes, errors of servers: {:?}",
        record.changes.len(),
        record.errors().len()
    );
}

#[tokio::test]
#[ignore = "takes a minute"]
async fn waiting_clients_miss_nothing_while_servers_are_cut_off_and_paused() {
    let mut cluster = Plan::servers(3).clients(3).start().await;
    let watching = watch(&cluster);
    watching.progress(20).await;
    for round in 0..3 {
        let leader = cluster.leader().await;
        let who = (leader + round) % 3;
        if round == 1 {
            cluster.servers[who].pause();
        } else {
            cluster.net.isolate(&cluster.servers[who].place);
            cluster.servers[who].up = false;
        }
        super::meanwhile(Duration::from_secs(8)).await;
        cluster.net.heal();
        cluster.servers[who].resume();
        cluster.settled().await;
        watching.progress(20).await;
    }
    // Those who ask a server that is cut off wait until it is not.
    watching.stop().await.is_good(Duration::from_secs(40));
}
