//! Servers of one datacenter meet in the WAN pool: one link between two datacenters is enough.

use crate::agent::Shared;
use crate::servers::Standing;
use lictor_gossip::Status;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Servers that could not be reached are tried again after this.
const AGAIN: Duration = Duration::from_secs(60);

/// Joins the other servers of the LAN pool in the WAN pool, until the agent ends.
pub async fn run(shared: Arc<Shared>) {
    let Some(wan) = shared.gossip.wan() else {
        return;
    };
    let mut lan = shared.gossip.servers_changed();
    let mut tried: HashMap<SocketAddr, tokio::time::Instant> = HashMap::new();
    loop {
        lan.mark_unchanged();
        let now = tokio::time::Instant::now();
        tried.retain(|_, at| now.duration_since(*at) < AGAIN);
        let missing = missing(&shared);
        let targets: Vec<SocketAddr> = missing
            .iter()
            .copied()
            .filter(|at| !tried.contains_key(at))
            .collect();
        if !targets.is_empty() {
            tried.extend(targets.iter().map(|at| (*at, now)));
            let joined = wan.join(targets).await;
            for (at, error) in joined.failed {
                tracing::debug!(target: "agent.server", address = %at, error = %error, "Failed to flood-join server at address");
            }
            tracing::debug!(target: "agent.server", servers = joined.contacted, "Successfully performed flood-join for servers");
        }
        // Nobody missing, nothing to wait for but a change.
        tokio::select! {
            changed = lan.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(AGAIN), if !missing.is_empty() => {}
        }
    }
}

/// The WAN addresses of servers here that are not in the WAN pool.
fn missing(shared: &Shared) -> Vec<SocketAddr> {
    let there = shared.gossip.wan_members();
    crate::members::servers(shared)
        .into_iter()
        .filter(|s| s.standing == Standing::Alive && s.name != shared.node_name)
        .filter(|s| {
            let name = format!("{}.{}", s.name, s.datacenter);
            there
                .get(name.as_str())
                .is_none_or(|m| m.status != Status::Alive)
        })
        .filter_map(|s| Some(SocketAddr::new(s.rpc.ip(), s.wan_port?)))
        .collect()
}
