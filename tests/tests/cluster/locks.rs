//! Locks of sessions under faults.

use lictor_tests::cluster::{Cluster, Plan};
use lictor_tests::locking::Locking;
use std::time::Duration;

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
