//! The gossip pools as the API shows them.

use crate::agent::Shared;
use crate::gossip::Which;
use crate::gossip::join::{self, JoinError};
use crate::servers::{OWN_TAG, ServerMember, Standing};
use lictor_gossip::Status;
use lictor_wire::{Member, Str, StrMap};
use std::sync::Arc;

/// The members of the LAN pool.
pub fn lan(shared: &Shared) -> Vec<Member> {
    shared.gossip.lan_members().values().map(shown).collect()
}

/// The members of the WAN pool; none where this agent is not in it.
pub fn wan(shared: &Shared) -> Vec<Member> {
    shared.gossip.wan_members().values().map(shown).collect()
}

/// This agent in the LAN pool.
pub fn own(shared: &Shared) -> Option<Member> {
    let members = shared.gossip.lan_members();
    members.get(shared.node_name.as_str()).map(shown)
}

fn shown(m: &lictor_gossip::Member) -> Member {
    let [
        protocol_min,
        protocol_max,
        protocol_cur,
        delegate_min,
        delegate_max,
        delegate_cur,
    ] = m.versions.0;
    let mut tags = StrMap::new();
    for (key, value) in m.tags.iter().filter(|(key, _)| *key != OWN_TAG) {
        tags.insert(key.as_str(), value.as_str());
    }
    Member {
        name: Str::from(&*m.name),
        addr: m.addr.ip().to_string().into(),
        port: m.addr.port(),
        tags,
        status: i64::from(m.status.number()),
        protocol_min,
        protocol_max,
        protocol_cur,
        delegate_min,
        delegate_max,
        delegate_cur,
    }
}

/// A member as a server, if it is one.
pub fn server(m: &lictor_gossip::Member) -> Option<ServerMember> {
    let standing = match m.status {
        Status::Alive => Standing::Alive,
        Status::Leaving => Standing::Leaving,
        Status::Left => Standing::Left,
        Status::Failed => Standing::Failed,
    };
    ServerMember::of(&m.name, m.addr, &m.tags, standing)
}

/// The servers of this datacenter that the pool knows, in whatever standing.
pub fn servers(shared: &Shared) -> Vec<ServerMember> {
    let servers = shared.gossip.lan().published().servers();
    let ours = |s: &&ServerMember| s.datacenter == shared.datacenter;
    servers.iter().filter(ours).cloned().collect()
}

/// The datacenters that this agent knows, in no order that means anything.
pub fn datacenters(shared: &Shared) -> Vec<Str> {
    let servers = shared.gossip.wan().map(|pool| pool.published().servers());
    let mut all: Vec<Str> = servers
        .iter()
        .flat_map(|servers| servers.iter())
        .map(|s| s.datacenter.clone())
        .filter(|dc| *dc != shared.datacenter)
        .collect();
    all.sort();
    all.dedup();
    all.insert(0, shared.datacenter.clone());
    all
}

/// Joins an address.
pub async fn join(shared: &Arc<Shared>, address: &str, wan: bool) -> Result<usize, JoinError> {
    let which = if wan { Which::Wan } else { Which::Lan };
    let addresses = [address.to_owned()];
    if wan {
        tracing::info!(target: "agent", wan_addresses = ?addresses, "(WAN) joining");
    } else {
        tracing::info!(target: "agent", lan_addresses = ?addresses, "(LAN) joining");
    }
    let joined = join::join(shared, which, &addresses).await;
    let pool = which.name();
    match &joined {
        Ok(n) => tracing::info!(target: "agent", number_of_nodes = n, "({pool}) joined"),
        Err(error) => {
            tracing::warn!(target: "agent", number_of_nodes = 0, error = %error, "({pool}) couldn't join")
        }
    }
    joined
}

/// The words of Go for an error of the system: without Rust's number and capital.
pub fn go_error(error: &std::io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_lowercase().to_string() + letters.as_str()
    })
}

/// Marks a failed member as left, and forgets it with `prune`; a server in both pools. An alive
/// one says itself that it is here.
pub async fn force_leave(
    shared: &Shared,
    name: &str,
    prune: bool,
    wan: bool,
) -> Result<(), String> {
    tracing::info!(target: "agent", node = name, "Force leaving node");
    let suffix = format!(".{}", shared.datacenter);
    let wide = if wan || name.ends_with(&suffix) {
        name.to_owned()
    } else {
        format!("{name}{suffix}")
    };
    let mut found = false;
    let gossip = &shared.gossip;
    for (pool, name) in [
        (Some(gossip.lan()).filter(|_| !wan), name),
        (gossip.wan(), wide.as_str()),
    ] {
        let Some(pool) = pool else { continue };
        let name = name.to_owned();
        let told = pool.with(move |core, now| {
            // Of ourselves there is nothing to say: we would only object.
            core.own().is_some_and(|own| *own.name == *name) || core.force_leave(now, &name, prune)
        });
        found |= told.await.unwrap_or(false);
    }
    if found {
        Ok(())
    } else {
        Err(format!("agent: No node found with name '{name}'"))
    }
}
