//! Who of the members is a server, read from its gossip tags as Consul does.

use lictor_wire::Str;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

/// How a member stands in the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It takes part.
    Alive,
    /// It is saying goodbye.
    Leaving,
    /// It left.
    Left,
    /// It does not answer.
    Failed,
}

/// The tag by which our servers know each other: the newest format of replicated commands that the
/// server reads. A server without it is Consul's, and never becomes part of our consensus.
pub const OWN_TAG: &str = "lictor";
/// Our newest format of replicated commands, as [`OWN_TAG`] tells it.
pub const FORMAT: u32 = lictor_state::COMMAND_FORMAT as u32;
/// The first format in which a second copy of a request is known for what it is.
pub const ONCE: u8 = 2;

/// The address from which servers are called: that to which the servers' port is bound, as Consul
/// has it; `None` where the system is to choose. Limits and firewalls of the called one see it.
pub fn source(rpc_bind: SocketAddr) -> Option<IpAddr> {
    Some(rpc_bind.ip()).filter(|ip| !ip.is_unspecified())
}

/// The newest format that all of these servers read, those that may come back among them. Zero
/// where there is none, or one that is not ours.
pub fn oldest_format<'m>(servers: impl IntoIterator<Item = &'m ServerMember>) -> u32 {
    let there = servers.into_iter().filter(|s| s.standing != Standing::Left);
    there.map(|s| s.format.unwrap_or(0)).min().unwrap_or(0)
}

/// A server, as its tags describe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerMember {
    /// The member's name in its pool.
    pub name: Str,
    /// The node's UUID.
    pub id: Str,
    /// The datacenter.
    pub datacenter: Str,
    /// Where its RPC port is.
    pub rpc: SocketAddr,
    /// The port of its WAN pool, if it has one.
    pub wan_port: Option<u16>,
    /// How it stands.
    pub standing: Standing,
    /// It says that it makes a cluster alone.
    pub bootstrap: bool,
    /// So many servers make a cluster; zero: it waits to be taken in.
    pub expect: u32,
    /// It is not to have a vote.
    pub non_voter: bool,
    /// It takes RPC in TLS.
    pub tls: bool,
    /// `d.d.d`, the version that it claims.
    pub build: Str,
    /// The newest format of replicated commands that it reads; `None` for a server of Consul's.
    pub format: Option<u32>,
}

impl ServerMember {
    /// Reads a member's tags. `None` for a client, and for a server one of whose tags cannot be
    /// read: Consul takes such a one for no server at all.
    pub fn of(
        name: &str,
        addr: SocketAddr,
        tags: &BTreeMap<String, String>,
        standing: Standing,
    ) -> Option<ServerMember> {
        let tag = |key: &str| tags.get(key).map(String::as_str);
        if tag("role") != Some("consul") {
            return None;
        }
        let optional = |key: &str| match tag(key) {
            None | Some("") => Some(None),
            Some(text) => text.parse::<u32>().ok().map(Some),
        };
        let port = tag("port")?.parse::<u16>().ok()?;
        tag("vsn")?.parse::<i64>().ok()?;
        let build = version(tag("build")?)?;
        let expect = optional("expect")?.unwrap_or(0);
        let wan_port = match optional("wan_join_port")? {
            None => None,
            Some(port) => Some(u16::try_from(port).ok()?),
        };
        optional("raft_vsn")?;
        let (mut feature_fault, mut grpc, mut grpc_good) = (false, false, false);
        for (key, value) in tags {
            if key.starts_with("ft_") {
                feature_fault |= value.parse::<i64>().is_err();
            } else if key.starts_with("sl_") {
                feature_fault |= value.parse::<SocketAddr>().is_err();
            } else if key == "grpc_port" || key == "grpc_tls_port" {
                grpc = true;
                grpc_good |= value.parse::<u16>().is_ok_and(|p| p > 0);
            }
        }
        if feature_fault || (grpc && !grpc_good) {
            return None;
        }
        let has = |key: &str| tags.contains_key(key);
        Some(ServerMember {
            name: name.into(),
            id: tag("id").unwrap_or("").into(),
            datacenter: tag("dc").unwrap_or("").into(),
            rpc: SocketAddr::new(addr.ip(), port),
            wan_port,
            standing,
            bootstrap: has("bootstrap"),
            expect,
            non_voter: has("nonvoter") || has("read_replica"),
            tls: has("use_tls"),
            build: build.into(),
            format: tag(OWN_TAG).and_then(|f| f.parse().ok()),
        })
    }
}

/// The member that is the server with this id. One that was given another name has two rows for a
/// while: the one that is there counts.
pub fn best<'m>(servers: &'m [ServerMember], id: &str) -> Option<&'m ServerMember> {
    let rank = |s: &&ServerMember| match s.standing {
        Standing::Alive => 0,
        Standing::Leaving => 1,
        Standing::Failed => 2,
        Standing::Left => 3,
    };
    servers
        .iter()
        .filter(|s| s.id.eq_ignore_ascii_case(id))
        .min_by_key(rank)
}

/// The first `d.d.d` in a build tag.
pub fn version(build: &str) -> Option<String> {
    let mut rest = build;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        rest = &rest[start..];
        let end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let mut parts = rest[..end].split('.');
        if let (Some(a), Some(b), Some(c)) = (parts.next(), parts.next(), parts.next())
            && [a, b, c].iter().all(|p| !p.is_empty())
        {
            return Some(format!("{a}.{b}.{c}"));
        }
        rest = &rest[end..];
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(extra: &[(&str, &str)]) -> BTreeMap<String, String> {
        [
            ("role", "consul"),
            ("port", "8300"),
            ("vsn", "2"),
            ("build", "1.16.4:abcdef12"),
            ("dc", "dc1"),
            ("id", "u"),
        ]
        .iter()
        .chain(extra)
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect()
    }

    fn read(extra: &[(&str, &str)]) -> Option<ServerMember> {
        let at = SocketAddr::from(([10, 0, 0, 1], 8301));
        ServerMember::of("s", at, &tags(extra), Standing::Alive)
    }

    #[test]
    fn tags_make_a_server() {
        let server = read(&[("expect", "3"), ("wan_join_port", "8302")]).unwrap();
        assert_eq!(server.rpc, SocketAddr::from(([10, 0, 0, 1], 8300)));
        assert_eq!((server.expect, server.wan_port), (3, Some(8302)));
        assert_eq!(server.build, "1.16.4");
        assert_eq!(server.format, None);
        assert_eq!(read(&[(OWN_TAG, "1")]).unwrap().format, Some(1));
        assert!(read(&[("bootstrap", "1")]).unwrap().bootstrap);
    }

    #[test]
    fn servers_are_called_from_the_bound_address() {
        let with = |bind: &str| source(bind.parse().unwrap());
        assert_eq!(with("0.0.0.0:8300"), None);
        assert_eq!(with("[::]:8300"), None);
        assert_eq!(with("10.0.0.7:8300"), Some([10, 0, 0, 7].into()));
    }

    #[test]
    fn one_bad_tag_and_it_is_none() {
        for bad in [
            ("role", "node"),
            ("port", "x"),
            ("vsn", ""),
            ("build", "dev"),
            ("expect", "many"),
            ("wan_join_port", "70000"),
            ("raft_vsn", "three"),
            ("ft_fs", "yes"),
            ("sl_a", "nowhere"),
            ("grpc_port", "0"),
        ] {
            assert_eq!(read(&[bad]), None, "{bad:?}");
        }
        assert!(read(&[("grpc_port", "0"), ("grpc_tls_port", "8503")]).is_some());
    }
}
