//! The checkers see what they are to see in histories of real agents: with a rule broken on
//! purpose, and without.

use lictor_tests::cluster::{Cluster, Plan};
use lictor_tests::linear::Violation;
use lictor_tests::load::Load;
use std::time::Duration;

/// The harness alone: one server, every kind of operation, a kill and a pause.
#[tokio::test]
async fn a_lone_server_is_linearizable_across_a_kill_and_a_pause() {
    let mut cluster = Plan::servers(1).start().await;
    let history = super::under_load(&mut cluster, async |cluster| {
        let server = &mut cluster.servers[0];
        server.kill().await;
        server.start_again();
        cluster.leader().await;
        let server = &mut cluster.servers[0];
        server.pause();
        super::meanwhile(Duration::from_secs(1)).await;
        server.resume();
    })
    .await;
    assert!(!history.complaints.is_empty(), "a kill costs an answer");
    cluster.settled().await;
}

/// Stale reads given out as default ones: a follower that is cut off answers what was, and the
/// checker must see it.
#[tokio::test]
async fn stale_reads_taken_for_default_ones_are_seen() {
    let cluster = Plan::servers(3).start().await;
    let leader = cluster.leader().await;
    let cut_off = cluster.server_but(leader);
    let of = |i: usize| Cluster::clients_of(&cluster.servers[i..=i], 3);
    let load = Load::mixed("load/").start(of(leader));
    let readers = Load {
        stale: true,
        ..Load::reads("load/")
    };
    let readers = readers.start_by(load.clock(), of(cut_off));
    load.progress(30).await;
    cluster.net.isolate(&cluster.servers[cut_off].place);
    load.progress(100).await;
    cluster.net.heal();
    let history = load.stop().await.and(readers.stop().await);
    match history.verdict() {
        Err(Violation::NotLinearizable { explanation, .. }) => println!("seen: {explanation}"),
        other => panic!("a broken rule was not seen: {other:?}"),
    }
    cluster.settled().await;
}
