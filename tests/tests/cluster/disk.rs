//! A disk that is full.

use lictor_tests::cluster::Plan;
use lictor_tests::json;
use std::time::Duration;

/// The leader's disk is full: what it cannot keep it does not acknowledge, and the cluster goes on
/// without it. With room again, and started again if it has ended, it takes part as before.
#[tokio::test]
#[ignore = "takes a minute"]
async fn a_full_disk_stops_its_server_and_not_the_cluster() {
    let mut cluster = Plan::servers(3)
        .clients(1)
        .disk(64 << 20)
        .config(json!({"log_level": "info"}))
        .start()
        .await;
    super::under_load(&mut cluster, async |cluster| {
        let leader = cluster.leader().await;
        let full = &mut cluster.servers[leader];
        full.up = false;
        let filler = full.disk.as_ref().expect("a small disk").fill();
        // What was allocated before may last for some writes.
        let other = cluster.server_but(leader);
        let agent = &cluster.servers[other].agent;
        for n in 0..40 {
            agent
                .try_put(&format!("/v1/kv/big/{n}"), vec![b'x'; 100_000])
                .await;
        }
        let now = cluster.leader_but(Some(leader)).await;
        assert_ne!(now, leader);
        super::meanwhile(Duration::from_secs(3)).await;
        std::fs::remove_file(filler).expect("room again");
        let server = &mut cluster.servers[leader];
        if server.agent.runs() {
            server.kill().await;
        } else {
            let end = server.agent.exit().await;
            println!("it has ended: {end:?}");
        }
        server.start_again();
        cluster.settled().await;
    })
    .await;
}
