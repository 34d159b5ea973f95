//! Joining pools by address.

use super::driver::Pool;
use super::{Which, rules};
use crate::agent::Shared;
use lictor_config::RetryJoin;
use lictor_gossip::Status;
use lictor_gossip::packet::message::NodeState;
use lictor_gossip::serf::{Snapshot, decode_tags};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Addresses looked at side by side before a join.
const PEEKS: usize = 8;
/// The number of a node that left, in an exchange.
const LEFT: i64 = 3;

/// Why nobody could be joined.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// One reason for each address, in Consul's form of a list.
    #[error("{0}")]
    Failed(String),
    /// A server of another kind is there. Trying again is of no use.
    #[error("{0}")]
    Foreign(String),
    /// This agent is not in that pool.
    #[error("Must be a server to join WAN cluster")]
    NotServer,
}

/// Joins by addresses (`host`, `host:port`, `[v6]:port`, each with `name/` before it where that is
/// known) and tells how many answered. One that works is enough.
///
/// # Errors
/// None worked.
pub async fn join(shared: &Shared, which: Which, addresses: &[String]) -> Result<usize, JoinError> {
    let config = shared.config();
    let (pool, port) = match which {
        Which::Lan => (shared.gossip.lan(), config.serf_lan.advertise.port()),
        Which::Wan => match (shared.gossip.wan(), &config.serf_wan) {
            (Some(pool), Some(settings)) => (pool, settings.advertise.port()),
            _ => return Err(JoinError::NotServer),
        },
    };
    let mut failures = Vec::new();
    let mut targets = Vec::new();
    for address in addresses {
        match resolve(address, port).await {
            Ok(found) => targets.extend(found),
            Err(error) => failures.push(error),
        }
    }
    if config.server {
        targets = look_first(pool, targets, &mut failures).await?;
    }
    let contacted = contact(pool, targets, &mut failures).await;
    if contacted > 0 {
        return Ok(contacted);
    }
    Err(JoinError::Failed(list(&failures)))
}

/// Errors in the form of Go's `multierror`.
pub fn list(errors: &[String]) -> String {
    let what = if errors.len() == 1 { "error" } else { "errors" };
    let mut text = format!("{} {what} occurred:\n", errors.len());
    for error in errors {
        text.push_str(&format!("\t* {error}\n"));
    }
    text.push('\n');
    text
}

async fn contact(pool: &Pool, targets: Vec<SocketAddr>, failures: &mut Vec<String>) -> usize {
    if targets.is_empty() {
        return 0;
    }
    let joined = pool.join(targets).await;
    for (at, error) in joined.failed {
        failures.push(format!("Failed to join {at}: {error}"));
    }
    joined.contacted
}

/// A server looks before it is seen: those who answer and know no server of another kind.
async fn look_first(
    pool: &Pool,
    targets: Vec<SocketAddr>,
    failures: &mut Vec<String>,
) -> Result<Vec<SocketAddr>, JoinError> {
    let mut good = Vec::new();
    for some in targets.chunks(PEEKS) {
        let looks = some.iter().map(|at| async { (*at, pool.peek(*at).await) });
        for (at, seen) in futures_util::future::join_all(looks).await {
            match seen {
                Ok(nodes) => match foreign(&nodes) {
                    Some(name) => {
                        let why = rules::foreign_server(name);
                        return Err(JoinError::Foreign(format!("Failed to join {at}: {why}")));
                    }
                    None => good.push(at),
                },
                Err(error) => failures.push(format!("Failed to join {at}: {error}")),
            }
        }
    }
    Ok(good)
}

/// A server of another kind among the nodes of an exchange.
fn foreign(nodes: &[NodeState]) -> Option<&str> {
    nodes
        .iter()
        .find(|node| node.state != LEFT && rules::is_foreign(&decode_tags(&node.meta)))
        .map(|node| node.name.as_ref())
}

/// All addresses that a text stands for.
async fn resolve(address: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    let place = address.split_once('/').map_or(address, |(_, place)| place);
    let bare = place.trim_start_matches('[').trim_end_matches(']');
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    if let Ok(at) = place.parse::<SocketAddr>() {
        return Ok(vec![at]);
    }
    let with_port = match place.rsplit_once(':') {
        Some((_, port)) if port.parse::<u16>().is_ok() => place.to_owned(),
        _ => format!("{place}:{port}"),
    };
    let host = with_port.rsplit_once(':').map_or(place, |(host, _)| host);
    let unknown = || format!("Failed to resolve {address}: lookup {host}: no such host");
    let found: Vec<SocketAddr> = tokio::net::lookup_host(&with_port)
        .await
        .map_err(|_| unknown())?
        .collect();
    if found.is_empty() {
        return Err(unknown());
    }
    Ok(found)
}

/// Joins as often as the configuration says; gives up by ending the agent.
pub async fn until_joined(shared: Arc<Shared>, which: Which, wish: RetryJoin) {
    let cluster = which.name();
    tracing::info!(target: "agent", cluster, discovery_methods = crate::cloud::PROVIDERS, "Retry join is supported for the following discovery methods");
    tracing::info!(target: "agent", cluster, "Joining cluster...");
    let mut attempt = 0;
    loop {
        let addresses = crate::cloud::addresses(&wish.addresses, cluster).await;
        match which {
            Which::Lan => {
                tracing::info!(target: "agent", lan_addresses = ?addresses, "(LAN) joining")
            }
            Which::Wan => {
                tracing::info!(target: "agent", wan_addresses = ?addresses, "(WAN) joining")
            }
        }
        let joined = match addresses.is_empty() {
            true => Err(JoinError::Failed("No servers to join".to_owned())),
            false => join(&shared, which, &addresses).await,
        };
        let error = match joined {
            Ok(n) => {
                tracing::info!(target: "agent", number_of_nodes = n, "({cluster}) joined");
                tracing::info!(target: "agent", cluster, num_agents = n, "Join cluster completed. Synced with initial agents");
                return;
            }
            Err(error @ JoinError::Failed(_)) => error,
            Err(error) => {
                tracing::error!(target: "agent", error = %error, "Retry join failed");
                shared.end_fatal(error.to_string());
                return;
            }
        };
        tracing::warn!(target: "agent", number_of_nodes = 0, error = %error, "({cluster}) couldn't join");
        attempt += 1;
        if wish.max > 0 && attempt > wish.max {
            let why = format!("agent: max join {cluster} retry exhausted, exiting");
            tracing::error!(target: "agent", error = %why, "Retry join failed");
            shared.end_fatal(format!("Retry join failed: {why}"));
            return;
        }
        tracing::warn!(target: "agent", cluster, retry_interval = %wish.interval, error = %error, "Join cluster failed, will retry");
        tokio::time::sleep(wish.interval.to_std()).await;
    }
}

/// Whether anybody else takes part.
fn has_company(pool: &Pool) -> bool {
    let members = pool.published().members();
    let alive = members.values().filter(|m| m.status == Status::Alive);
    alive.take(2).count() > 1
}

/// Finds a pool again: its members of the last run are tried in random order until one answers.
pub async fn rejoin(shared: &Shared, pool: &Pool, known: &Snapshot) {
    let own = pool
        .with(|core, _| core.own().map(|own| (own.name.clone(), own.addr)))
        .await;
    let Some(Some((name, at))) = own else { return };
    let mut members: Vec<_> = known
        .alive
        .iter()
        .filter(|(n, a)| ***n != *name && **a != at)
        .collect();
    if members.is_empty() {
        return;
    }
    for i in (1..members.len()).rev() {
        let j = usize::try_from(crate::random::below(i as u64 + 1)).unwrap_or(0);
        members.swap(i, j);
    }
    let server = shared.config().server;
    for (name, at) in members {
        if has_company(pool) {
            // Somebody else found the pool meanwhile, by address or from there.
            return;
        }
        tracing::info!(target: "agent", "serf: Attempting re-join to previously known node: {name}: {at}");
        let mut failures = Vec::new();
        let mut targets = vec![*at];
        if server {
            targets = match look_first(pool, targets, &mut failures).await {
                Ok(targets) => targets,
                Err(error) => {
                    tracing::error!(target: "agent", error = %error, "serf: no re-join");
                    continue;
                }
            };
        }
        if contact(pool, targets, &mut failures).await > 0 {
            tracing::info!(target: "agent", "serf: Re-joined to previously known node: {name}: {at}");
            return;
        }
    }
    tracing::warn!(target: "agent", "serf: Failed to re-join any previously known node");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn addresses_have_many_forms() {
        let at = |text: &str| vec![text.parse::<SocketAddr>().unwrap()];
        for (text, wanted) in [
            ("10.0.0.1", "10.0.0.1:8301"),
            ("10.0.0.1:99", "10.0.0.1:99"),
            ("n1/10.0.0.1:99", "10.0.0.1:99"),
            ("::1", "[::1]:8301"),
            ("[::1]", "[::1]:8301"),
            ("[::1]:99", "[::1]:99"),
        ] {
            assert_eq!(resolve(text, 8301).await, Ok(at(wanted)), "{text}");
        }
        assert_eq!(
            resolve("no-such-host.invalid", 8301).await,
            Err(
                "Failed to resolve no-such-host.invalid: lookup no-such-host.invalid: no such host"
                    .into()
            )
        );
    }

    #[test]
    fn lists_are_those_of_go() {
        assert_eq!(list(&["a".into()]), "1 error occurred:\n\t* a\n\n");
        assert_eq!(
            list(&["a".into(), "b".into()]),
            "2 errors occurred:\n\t* a\n\t* b\n\n"
        );
    }
}
