//! The gossip pool as the API shows it. Until this agent gossips it knows one member: itself.

use crate::agent::Shared;
use crate::servers::{self, ServerMember, Standing};
use lictor_wire::{Member, Str, StrMap};
use std::net::SocketAddr;

/// The members of the LAN pool.
pub fn lan(shared: &Shared) -> Vec<Member> {
    let config = shared.config();
    vec![member(
        shared,
        shared.node_name.clone(),
        config.serf_lan.advertise,
    )]
}

/// The members of the WAN pool; none where it is off.
pub fn wan(shared: &Shared) -> Vec<Member> {
    let config = shared.config();
    let name = Str::from(format!("{}.{}", shared.node_name, shared.datacenter));
    config
        .serf_wan
        .as_ref()
        .map(|pool| member(shared, name, pool.advertise))
        .into_iter()
        .collect()
}

fn member(shared: &Shared, name: Str, at: SocketAddr) -> Member {
    Member {
        name,
        addr: at.ip().to_string().into(),
        port: at.port(),
        tags: tags(shared),
        status: 1,
        protocol_min: 1,
        protocol_max: 5,
        protocol_cur: 2,
        delegate_min: 2,
        delegate_max: 5,
        delegate_cur: 4,
    }
}

/// The servers of this datacenter that the pool knows, in whatever standing.
pub fn servers(shared: &Shared) -> Vec<ServerMember> {
    let config = shared.config();
    let mut all = tags(shared)
        .iter()
        .map(|(k, v)| (k.as_str().to_owned(), v.as_str().to_owned()))
        .collect::<std::collections::BTreeMap<_, _>>();
    all.insert(servers::OWN_TAG.to_owned(), servers::FORMAT.to_string());
    ServerMember::of(
        &shared.node_name,
        config.serf_lan.advertise,
        &all,
        Standing::Alive,
    )
    .into_iter()
    .collect()
}

/// The tags of this agent, by which clients and other servers know what it is.
pub fn tags(shared: &Shared) -> StrMap {
    let config = shared.config();
    let mut tags = StrMap::new();
    let mut put = |key: &str, value: &str| _ = tags.insert(key, value);
    put("acls", "0");
    put("build", &format!("{}:", crate::version::COMPATIBLE));
    put("dc", &shared.datacenter);
    put("id", &shared.node_id);
    put("segment", "");
    put("vsn", "2");
    put("vsn_min", "2");
    put("vsn_max", "3");
    if !config.server {
        put("role", "node");
        return tags;
    }
    put("role", "consul");
    put("ft_fs", "1");
    put("ft_si", "1");
    put("port", &config.rpc_advertise.port().to_string());
    put("raft_vsn", "3");
    if let Some(pool) = &config.serf_wan {
        put("wan_join_port", &pool.advertise.port().to_string());
    }
    if config.bootstrap && !config.dev_mode {
        put("bootstrap", "1");
    }
    tags
}

/// Joins an address. There is nobody to gossip with yet: an agent can only meet itself.
pub async fn join(shared: &Shared, address: &str, wan: bool) -> Result<usize, String> {
    let config = shared.config();
    let own = if wan {
        if !config.server {
            return Err("Must be a server to join WAN cluster".to_owned());
        }
        config.serf_wan.as_ref().map(|p| p.advertise)
    } else {
        Some(config.serf_lan.advertise)
    };
    let port = own.map_or(8301, |a| a.port());
    let target = with_port(address, port);
    let fail = |why: String| format!("1 error occurred:\n\t* Failed to join {target}: {why}\n\n");
    let resolved = match tokio::net::lookup_host(&target).await {
        Ok(mut all) => all
            .next()
            .ok_or_else(|| fail(format!("lookup {target}: no such host")))?,
        Err(_) => {
            return Err(format!(
                "1 error occurred:\n\t* Failed to resolve {address}: lookup {address}: no such host\n\n"
            ));
        }
    };
    if Some(resolved) == own {
        return Ok(1);
    }
    match tokio::time::timeout(
        std::time::Duration::from_secs(10),
        tokio::net::TcpStream::connect(resolved),
    )
    .await
    {
        Ok(Ok(_)) => Err(fail(
            "this version of Lictor does not gossip with other agents".to_owned(),
        )),
        Ok(Err(error)) => Err(fail(format!(
            "dial tcp {resolved}: connect: {}",
            go_error(&error)
        ))),
        Err(_) => Err(fail(format!("dial tcp {resolved}: i/o timeout"))),
    }
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

fn with_port(address: &str, port: u16) -> String {
    if address.parse::<SocketAddr>().is_ok() {
        return address.to_owned();
    }
    match address.parse::<std::net::IpAddr>() {
        Ok(ip) => SocketAddr::new(ip, port).to_string(),
        Err(_)
            if address
                .rsplit_once(':')
                .is_some_and(|(_, p)| p.parse::<u16>().is_ok()) =>
        {
            address.to_owned()
        }
        Err(_) => format!("{address}:{port}"),
    }
}

/// Marks a failed member as left. Nobody but this agent is known.
pub fn force_leave(shared: &Shared, name: &str) -> Result<(), String> {
    if name == shared.node_name.as_str() {
        // Alive members say themselves that they are here.
        return Ok(());
    }
    Err(format!("agent: No node found with name '{name}'"))
}
