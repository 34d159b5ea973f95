//! The commands, one module each or a few that belong together.

mod agent;
mod catalog;
mod docker;
mod event;
mod exec;
mod gossip;
mod info;
mod keygen;
mod keyring;
mod kv;
mod lock;
mod maint;
mod members;
mod monitor;
mod operator;
mod rtt;
mod services;
mod validate;
pub(crate) mod version;
mod watch;

use crate::command::{Entry, Group, entry};

/// Every command but `agent`.
pub(crate) static ALL: &[Entry] = &[
    entry::<catalog::Datacenters>(),
    entry::<catalog::Nodes>(),
    entry::<catalog::Services>(),
    entry::<docker::Ps>(),
    entry::<event::Event>(),
    entry::<gossip::ForceLeave>(),
    entry::<info::Info>(),
    entry::<gossip::Join>(),
    entry::<keygen::Keygen>(),
    entry::<keyring::Keyring>(),
    entry::<kv::Delete>(),
    entry::<kv::Export>(),
    entry::<kv::Get>(),
    entry::<kv::Import>(),
    entry::<kv::Put>(),
    entry::<agent::Leave>(),
    entry::<lock::Lock>(),
    entry::<maint::Maint>(),
    entry::<members::Members>(),
    entry::<monitor::Monitor>(),
    entry::<operator::GetConfig>(),
    entry::<operator::SetConfig>(),
    entry::<operator::AutopilotState>(),
    entry::<operator::ListPeers>(),
    entry::<operator::RemovePeer>(),
    entry::<operator::TransferLeader>(),
    entry::<agent::Reload>(),
    entry::<rtt::Rtt>(),
    entry::<services::Deregister>(),
    entry::<services::Register>(),
    entry::<validate::Validate>(),
    entry::<version::Version>(),
    entry::<watch::Watch>(),
];

/// Commands that are parts of the agent, run by [`crate::Hooks::agent`].
pub(crate) const OF_AGENT: [(&str, &str); 4] = [
    (
        "addresses",
        "Shows which addresses an agent would choose, and why",
    ),
    ("agent", "Runs an agent"),
    (
        "entrypoint",
        "Runs an agent as the first process of a container",
    ),
    (
        "registrator",
        "Registers containers with an agent, as Registrator does",
    ),
];

/// The names that only stand in front of others.
pub(crate) static GROUPS: &[Group] = &[
    Group {
        name: "catalog",
        about: "Looks into the catalog",
        long: "The catalog holds the nodes and services of a datacenter. List the known \
datacenters, the nodes of one, and the services on them:

    $ {p} catalog datacenters
    $ {p} catalog nodes -service=web
    $ {p} catalog services -tags",
    },
    Group {
        name: "docker",
        about: "Looks at the containers that the agent follows",
        long: "With docker.enabled an agent registers the containers of a Docker daemon. See \
which, and what keeps others out:

    $ {p} docker ps
    $ {p} docker ps -all",
    },
    Group {
        name: "kv",
        about: "Works with the key-value store",
        long: "Reads and writes the key-value store. Write a key, read it, read all below a \
prefix, delete it:

    $ {p} kv put app/limit 5
    $ {p} kv get app/limit
    $ {p} kv get -recurse app/
    $ {p} kv delete app/limit",
    },
    Group {
        name: "operator",
        about: "Looks after the servers",
        long: "Tools for those who run the servers: the membership of consensus, and autopilot, \
which looks after it:

    $ {p} operator raft list-peers
    $ {p} operator autopilot state",
    },
    Group {
        name: "operator autopilot",
        about: "Shows and changes what autopilot does",
        long:
            "Autopilot takes in new servers, gives them a vote when they have proved themselves, \
and removes dead ones:

    $ {p} operator autopilot state
    $ {p} operator autopilot get-config
    $ {p} operator autopilot set-config -cleanup-dead-servers=false",
    },
    Group {
        name: "operator raft",
        about: "Shows and changes the membership of consensus",
        long: "Lists the servers that consensus counts on, removes one that is gone, and hands \
the lead over:

    $ {p} operator raft list-peers
    $ {p} operator raft remove-peer -id=8e4f...
    $ {p} operator raft transfer-leader",
    },
    Group {
        name: "services",
        about: "Works with the agent's services",
        long: "Registers services with the agent and removes them again. What is registered \
here is known to this agent and ends with it, unless its data directory keeps it:

    $ {p} services register -name=web -port=80
    $ {p} services deregister -id=web",
    },
];

/// The words behind the flags where none are wanted.
pub(crate) fn none_wanted(cx: &mut crate::cx::Cx<'_>, args: &[String]) -> Result<(), i32> {
    if args.is_empty() {
        return Ok(());
    }
    cx.complain(format_args!(
        "Too many arguments (expected 0, got {})",
        args.len()
    ));
    Err(1)
}

/// `key=value` as flags give it.
pub(crate) fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((k, v)) => Ok((k.to_owned(), v.to_owned())),
        None => Err(format!("Missing \"=\" value in argument: {text}")),
    }
}
