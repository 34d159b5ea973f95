//! Servers whose addresses change.

use lictor_tests::cluster::{Cluster, Plan};
use lictor_tests::until;
use std::net::Ipv4Addr;
use std::time::Duration;

/// All servers end and start on other addresses with their old data, as after a move of a data
/// centre: the cluster is the same.
#[tokio::test]
#[ignore = "takes two minutes"]
async fn all_servers_on_new_addresses_are_the_same_cluster() {
    let mut cluster = Plan::servers(3).clients(1).start().await;
    super::under_load(&mut cluster, async |cluster| {
        // What a server remembers of the members it has on disk half a second later, as Serf does;
        // the client, which stays where it is, is found by that alone.
        until("every server remembers the client", async || {
            cluster
                .servers
                .iter()
                .all(|server| {
                    let file = server.agent.data().join("serf/local.snapshot");
                    std::fs::read_to_string(file).is_ok_and(|text| text.contains("alive: client-1"))
                })
                .then_some(())
        })
        .await;
        let new: Vec<Ipv4Addr> = (1..=3).map(|n| Ipv4Addr::new(10, 99, 1, n)).collect();
        for server in &mut cluster.servers {
            server.kill().await;
        }
        for (server, address) in cluster.servers.iter_mut().zip(&new) {
            Cluster::readdress(server, *address, &new);
            server.start_again();
        }
        // The client knows none of the new addresses: servers that know it tell it. As long as it
        // takes the old ones for alive it refuses the new, and for 30 s after it has seen them
        // dead: a name is not to be taken over by whoever claims it.
        let (_, took) = cluster.settled_within(Duration::from_secs(150)).await;
        println!("settled after {took:?}");
        let peers = cluster.servers[0]
            .agent
            .get("/v1/operator/raft/configuration")
            .await
            .ok();
        for (i, address) in new.iter().enumerate() {
            assert!(
                peers.text.contains(&format!("{address}:8300")),
                "server {i}: {}",
                peers.text
            );
        }
    })
    .await;
}

/// One server alone moves while the others go on.
#[tokio::test]
#[ignore = "takes half a minute"]
async fn one_server_on_a_new_address_rejoins() {
    let mut cluster = Plan::servers(3).start().await;
    super::under_load(&mut cluster, async |cluster| {
        let leader = cluster.leader().await;
        let server = &mut cluster.servers[leader];
        server.kill().await;
        let name = server.name.clone();
        cluster.leader_but(Some(leader)).await;
        cluster.gone(&name).await;
        let others: Vec<Ipv4Addr> = cluster.up().map(|m| m.place.address()).collect();
        let address = Ipv4Addr::new(10, 99, 2, 1);
        let server = &mut cluster.servers[leader];
        Cluster::readdress(server, address, &others);
        server.start_again();
        cluster.settled_within(Duration::from_secs(150)).await;
    })
    .await;
}
