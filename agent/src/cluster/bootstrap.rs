//! Makes a new cluster with `bootstrap_expect` servers, once, when they have found each other.

use super::founding::{Verdict, info, judge, may_rebind};
use super::links::{AskError, Links};
use super::wire::{Answer, Ask, Failure, Founding};
use crate::agent::Shared;
use crate::servers::{self, ServerMember, Standing};
use futures_util::future::join_all;
use lictor_raft::{Consensus, ServerInfo};
use std::sync::Arc;
use std::time::Duration;

/// How often a waiting server looks around.
const LOOK: Duration = Duration::from_millis(250);
/// How long another server has to answer.
const ANSWER: Duration = Duration::from_secs(3);
/// The pause after a founding that came to nothing.
const AGAIN: Duration = Duration::from_secs(1);

/// Waits for enough servers and makes the cluster with them, or learns that there is one.
pub async fn run(shared: Arc<Shared>) {
    let Some(consensus) = shared.store.consensus().cloned() else {
        return;
    };
    let (expect, alone) = {
        let config = shared.config();
        (config.bootstrap_expect, config.bootstrap || config.dev_mode)
    };
    let bound = || shared.cluster.identity.get().bound.is_some();
    if alone || (expect == 0 && !bound()) {
        return;
    }
    let mut told = String::new();
    let mut say = |level_error: bool, text: &str, member: &str| {
        let line = format!("{text} {member}");
        if told != line {
            if level_error {
                tracing::error!(target: "agent.server", member, "{text}");
            } else {
                tracing::warn!(target: "agent.server", server = member, "{text}");
            }
            told = line;
        }
    };
    let mut changed = shared.gossip.servers_changed();
    while !consensus.is_founded().await {
        changed.mark_unchanged();
        let servers = shared.cluster.links.servers();
        check_binding(&shared, &consensus, &servers).await;
        if expect == 0 && !bound() {
            // It was part of a founding once, and waits to be taken in now.
            return;
        }
        match judge(&shared.datacenter, expect, &servers) {
            _ if expect == 0 => {}
            Verdict::Wait => {}
            Verdict::Conflict { text, member } => say(true, text, &member),
            Verdict::Ready(voters) => {
                let mine = |s: &ServerMember| s.id.eq_ignore_ascii_case(&shared.node_id);
                if voters.first().is_some_and(mine) {
                    match attempt(&shared, &consensus, &voters).await {
                        Attempt::Done => return,
                        Attempt::Exists(server) => {
                            tracing::info!(target: "agent.server", server = %server, "Existing Raft peers reported by server, disabling bootstrap mode");
                            return;
                        }
                        Attempt::Failed(text, server) => say(false, &text, &server),
                    }
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            _ = changed.changed() => {}
        }
    }
}

enum Attempt {
    Done,
    Exists(String),
    Failed(String, String),
}

async fn ask_all(
    links: &Arc<Links>,
    servers: &[ServerInfo],
    ask: &Ask,
) -> Vec<Result<Answer, AskError>> {
    join_all(servers.iter().map(|s| links.ask(s, ask, ANSWER))).await
}

async fn attempt(shared: &Arc<Shared>, consensus: &Consensus, voters: &[ServerMember]) -> Attempt {
    let others: Vec<ServerInfo> = voters
        .iter()
        .filter(|s| !s.id.eq_ignore_ascii_case(&shared.node_id))
        .map(info)
        .collect();
    let links = &shared.cluster.links;
    for (server, answer) in others
        .iter()
        .zip(ask_all(links, &others, &Ask::Founded).await)
    {
        match answer {
            Ok(Answer::Founded { peers, .. }) if peers.is_empty() => {}
            Ok(Answer::Founded { .. }) => return Attempt::Exists(server.name.clone()),
            Ok(other) => {
                return Attempt::Failed(
                    format!("failed to confirm peer status for server (will retry): {other:?}"),
                    server.name.clone(),
                );
            }
            Err(error) => {
                return Attempt::Failed(
                    format!("failed to confirm peer status for server (will retry): {error}"),
                    server.name.clone(),
                );
            }
        }
    }
    let founding = Founding {
        cluster: crate::random::uuid().to_string(),
        founder: shared.node_id.to_string(),
        members: voters.iter().map(info).collect(),
    };
    match bind(shared, consensus, &founding).await {
        Answer::Done => {}
        other => {
            return Attempt::Failed(
                format!("this server cannot take part in a new cluster now: {other:?}"),
                shared.node_name.to_string(),
            );
        }
    }
    let answers = ask_all(links, &others, &Ask::Bind(founding.clone())).await;
    let refusal = others
        .iter()
        .zip(answers)
        .find_map(|(server, answer)| match answer {
            Ok(Answer::Done) => None,
            Ok(other) => Some((server, format!("{other:?}"))),
            Err(error) => Some((server, error.to_string())),
        });
    if let Some((server, why)) = refusal {
        release(shared, &founding.cluster).await;
        let release = Ask::Release {
            cluster: founding.cluster,
        };
        ask_all(links, &others, &release).await;
        return Attempt::Failed(
            format!("a server does not take part in the new cluster (will retry): {why}"),
            server.name.clone(),
        );
    }
    let addresses: Vec<&str> = founding
        .members
        .iter()
        .map(|m| m.address.as_str())
        .collect();
    tracing::info!(target: "agent.server", addresses = %addresses.join(","), "Found expected number of peers, attempting bootstrap");
    let _joining = shared.cluster.joining.lock().await;
    match consensus.found(&founding.members).await {
        Ok(()) => Attempt::Done,
        Err(error) => {
            tracing::error!(target: "agent.server", error = %error, "failed to bootstrap cluster");
            Attempt::Failed(error.to_string(), shared.node_name.to_string())
        }
    }
}

/// Binds this server to a founding, if it may be.
pub async fn bind(shared: &Shared, consensus: &Consensus, founding: &Founding) -> Answer {
    let refused = |text: &str| Answer::Failed(Failure::Refused(text.to_owned()));
    let own = |m: &ServerInfo| m.node_id.eq_ignore_ascii_case(&shared.node_id);
    if founding.cluster.is_empty() || !founding.members.iter().any(own) {
        return refused("this server is not meant");
    }
    let _joining = shared.cluster.joining.lock().await;
    if consensus.is_founded().await || shared.cluster.is_receiving() {
        return refused("it belongs to a cluster");
    }
    let servers = shared.cluster.links.servers();
    let gone = |id: &str| servers::best(&servers, id).is_none_or(|s| s.standing != Standing::Alive);
    let identity = &shared.cluster.identity;
    if let Some(old) = identity.get().bound
        && !may_rebind(&old, founding, gone)
    {
        return refused(&format!(
            "it takes part in the new cluster that the server {} is about to make",
            old.founder
        ));
    }
    match identity.change(|b| {
        b.cluster.clear();
        b.bound = Some(founding.clone());
    }) {
        Ok(()) => Answer::Done,
        Err(error) => refused(&error),
    }
}

/// A founding came to nothing.
pub async fn release(shared: &Shared, cluster: &str) {
    let _joining = shared.cluster.joining.lock().await;
    let founded = match shared.store.consensus() {
        Some(consensus) => consensus.is_founded().await,
        None => false,
    };
    if founded {
        return;
    }
    let freed = shared.cluster.identity.change(|b| {
        if b.bound.as_ref().is_some_and(|f| f.cluster == cluster) {
            b.bound = None;
        }
    });
    if let Err(error) = freed {
        tracing::warn!(target: "agent.server", error = %error, "cannot note that a founding came to nothing");
    }
}

/// Asks the founder that this server is bound to whether it still means it.
async fn check_binding(shared: &Arc<Shared>, consensus: &Consensus, servers: &[ServerMember]) {
    let Some(bound) = shared.cluster.identity.get().bound else {
        return;
    };
    if consensus.is_founded().await {
        return;
    }
    if bound.founder.eq_ignore_ascii_case(&shared.node_id) {
        // Its own, and it has no log: it ended before it had decided.
        release(shared, &bound.cluster).await;
        return;
    }
    let founder = servers::best(servers, &bound.founder).filter(|s| s.standing == Standing::Alive);
    let Some(founder) = founder else { return };
    let answer = shared
        .cluster
        .links
        .ask(&info(founder), &Ask::Founded, ANSWER)
        .await;
    if let Ok(Answer::Founded {
        peers, bound: now, ..
    }) = answer
        && peers.is_empty()
        && now != bound.cluster
    {
        release(shared, &bound.cluster).await;
    }
}
