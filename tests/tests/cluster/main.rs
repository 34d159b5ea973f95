//! A cluster on machines of its own (network namespaces that the tests make), and what can happen
//! to it. Takes root, `ip` and `iptables`. The tests run one after the other.
//!
//! What runs without being asked for is done within three minutes; the rest is
//! `tests/run cluster -- --ignored`.

mod addresses;
mod clocks;
mod disk;
mod failover;
mod interfaces;
mod kills;
mod leaving;
mod locks;
mod network;
mod once;
mod partitions;
mod rolling;
mod rules;
mod watches;

use lictor_tests::cluster::{Cluster, Member};
use lictor_tests::load::{History, Load};
use std::time::Duration;

/// Starts clients at every server and client agent, two each; lets them work, has something
/// happen, lets them work again, and checks what they saw.
async fn under_load(cluster: &mut Cluster, happen: impl AsyncFnOnce(&mut Cluster)) -> History {
    let two = |m: &Member| [m.agent.another_client(), m.agent.another_client()];
    let load = Load::mixed("load/").start(cluster.all().flat_map(two).collect());
    load.progress(30).await;
    happen(cluster).await;
    load.progress(30).await;
    let history = load.stop().await;
    let summary = history.is_linearizable();
    let (gap, at) = history.longest_gap();
    println!("{summary:?}; longest time without a write {gap:?} at {at:?}");
    history
}

/// Lets time pass in which the load works on while something is wrong.
async fn meanwhile(time: Duration) {
    tokio::time::sleep(time).await;
}
