//! Who may be in our pools: Consul's rules, and that servers of two kinds never mix.
//!
//! A Consul leader makes a voter of any member that says `role=consul`, and so would ours. Our
//! servers know each other by a tag of their own ([`OWN_TAG`]). A server refuses members that are
//! servers without it: when it joins, when others join it, before it shows them what it knows,
//! and one by one. A client lives with servers of either kind, not with a mix.

use super::driver::Published;
use crate::servers::{OWN_TAG, ServerMember, Standing};
use lictor_gossip::{Admission, Peer, Tags};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What members are measured against.
pub struct Rules {
    /// The pool of servers of all datacenters.
    pub wan: bool,
    /// Whether we are a server.
    pub server: bool,
    /// The own name in the pool.
    pub name: String,
    /// The own node's UUID.
    pub id: String,
    /// The own datacenter.
    pub datacenter: String,
    /// Networks whose members may join; empty: all.
    pub allowed: Vec<(IpAddr, u8)>,
    /// Whom the pool knows already.
    pub known: Arc<Published>,
    /// On a client: whether the servers that it last let in are ours.
    pub kind: Option<bool>,
    /// The own address in the pool.
    pub advertise: SocketAddr,
    /// Members of whose ids was told, and when.
    pub told: BTreeMap<Arc<str>, Instant>,
}

/// The same conflict is told this often.
const TELL_AGAIN: Duration = Duration::from_secs(60);
/// Conflicts that are remembered.
const TOLD: usize = 64;

fn tag<'t>(tags: &'t Tags, key: &str) -> &'t str {
    tags.get(key).map_or("", String::as_str)
}

/// Whether these tags are of a server, of whatever kind.
pub fn is_server(tags: &Tags) -> bool {
    tag(tags, "role") == "consul"
}

/// Whether these tags are of a server that is not ours.
pub fn is_foreign(tags: &Tags) -> bool {
    is_server(tags) && !tags.contains_key(OWN_TAG)
}

/// Why servers of another kind are refused.
pub fn foreign_server(name: &str) -> String {
    format!(
        "Member '{name}' is a server of Consul, and servers of Consul and of Lictor never form one cluster: join with a client agent (server = false), or move the data with an export"
    )
}

impl Rules {
    /// Tells of two members with one id where both are: the answer to them has only names.
    fn tell_conflict(&mut self, id: &str, peer: &Peer, other: &str, at: SocketAddr) {
        if self
            .told
            .get(&peer.name)
            .is_some_and(|t| t.elapsed() < TELL_AGAIN)
        {
            return;
        }
        if self.told.len() >= TOLD {
            self.told.clear();
        }
        self.told.insert(peer.name.clone(), Instant::now());
        let name = &peer.name;
        let here = address(peer);
        tracing::error!(target: "agent", "Node ID conflict for '{id}': both '{name}' at {here} and '{other}' at {at} are claiming it; remove the file node-id of one of them, and start it again");
    }

    fn foreign(&mut self, peer: &Peer) -> Result<(), String> {
        if !is_server(&peer.tags) || peer.left {
            return Ok(());
        }
        let ours = !is_foreign(&peer.tags);
        if self.server {
            return if ours {
                Ok(())
            } else {
                Err(foreign_server(&peer.name))
            };
        }
        if self.kind != Some(ours) {
            let mixed = self.known.servers().iter().any(|s| {
                s.standing != Standing::Left && *s.name != *peer.name && s.format.is_some() != ours
            });
            if mixed {
                return Err(foreign_mix(&peer.name));
            }
            self.kind = Some(ours);
        }
        Ok(())
    }

    fn one(&mut self, peer: &Peer) -> Result<(), String> {
        let ip = peer.ip.ip();
        if !self.allowed.is_empty()
            && !ip.is_some_and(|ip| self.allowed.iter().any(|n| crate::live::contains(*n, ip)))
        {
            return Err(format!(
                "Member '{}' is not in an allowed network: {:?}",
                peer.name, peer.ip
            ));
        }
        self.foreign(peer)?;
        let (role, dc) = (tag(&peer.tags, "role"), tag(&peer.tags, "dc"));
        if self.wan {
            if ServerMember::of(&peer.name, address(peer), &peer.tags, Standing::Alive).is_none() {
                return Err(format!("Member '{}' is not a server", peer.name));
            }
            return Ok(());
        }
        let id = tag(&peer.tags, "id");
        if !peer.left
            && !id.is_empty()
            && id == self.id
            && !peer.name.eq_ignore_ascii_case(&self.name)
        {
            let own = self.name.clone();
            self.tell_conflict(id, peer, &own, self.advertise);
            return Err(format!(
                "Member '{}' has conflicting node ID '{id}' with this agent's ID",
                peer.name
            ));
        }
        if matches!(role, "node" | "consul") && dc != self.datacenter {
            return Err(format!(
                "Member '{}' part of wrong datacenter '{dc}'",
                peer.name
            ));
        }
        Ok(())
    }
}

fn address(peer: &Peer) -> SocketAddr {
    let ip = peer.ip.ip().unwrap_or(IpAddr::from([0, 0, 0, 0]));
    SocketAddr::new(ip, peer.port)
}

fn foreign_mix(name: &str) -> String {
    format!("Member '{name}' is a server of another kind than those that this agent knows")
}

impl Admission for Rules {
    fn admit(&mut self, peer: &Peer) -> Result<(), String> {
        self.one(peer)
    }

    fn admit_asker(&mut self, peers: &[Peer]) -> Result<(), String> {
        if !self.server {
            return Ok(());
        }
        match peers.iter().find(|p| !p.left && is_foreign(&p.tags)) {
            Some(foreign) => Err(foreign_server(&foreign.name)),
            None => Ok(()),
        }
    }

    fn admit_merge(&mut self, peers: &[Peer]) -> Result<(), String> {
        let mut ids: BTreeMap<&str, &Peer> = BTreeMap::new();
        let mut kind = None;
        for peer in peers {
            if peer.name.as_ref() == self.name {
                continue;
            }
            self.one(peer)?;
            if peer.left {
                continue;
            }
            if is_server(&peer.tags)
                && *kind.get_or_insert(is_foreign(&peer.tags)) != is_foreign(&peer.tags)
            {
                return Err(foreign_mix(&peer.name));
            }
            let id = tag(&peer.tags, "id");
            if !self.wan
                && !id.is_empty()
                && let Some(other) = ids.insert(id, peer)
            {
                self.tell_conflict(id, peer, &other.name, address(other));
                return Err(format!(
                    "Member '{}' has conflicting node ID '{id}' with member '{}'",
                    peer.name, other.name
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lictor_gossip::packet::message::Versions;

    fn rules(server: bool) -> Rules {
        Rules {
            wan: false,
            server,
            name: "me".into(),
            id: "id-me".into(),
            datacenter: "dc1".into(),
            allowed: Vec::new(),
            known: Arc::new(Published::default()),
            kind: None,
            advertise: ([10, 0, 0, 9], 8301).into(),
            told: BTreeMap::new(),
        }
    }

    fn peer(name: &str, tags: &[(&str, &str)]) -> Peer {
        let mut all: Tags = [
            ("role", "node"),
            ("dc", "dc1"),
            ("vsn", "2"),
            ("build", "1.21.0:"),
        ]
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .into();
        all.insert("id".into(), format!("id-{name}"));
        all.extend(tags.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
        Peer {
            name: name.into(),
            ip: IpAddr::from([10, 0, 0, 1]).into(),
            port: 8301,
            tags: all,
            versions: Versions::ours(4),
            left: false,
        }
    }

    fn server(name: &str, ours: bool) -> Peer {
        let own: &[(&str, &str)] = &[("role", "consul"), ("port", "8300"), (OWN_TAG, "1")];
        peer(name, if ours { own } else { &own[..2] })
    }

    #[test]
    fn a_server_knows_no_server_of_another_kind() {
        let mut rules = rules(true);
        assert_eq!(rules.admit(&server("s", true)), Ok(()));
        let forged = server("f", false);
        let why = Err(foreign_server("f"));
        assert_eq!(rules.admit(&forged), why);
        assert_eq!(rules.admit_merge(&[peer("a", &[]), forged.clone()]), why);
        assert_eq!(rules.admit_asker(&[peer("a", &[]), forged.clone()]), why);
        let left = Peer {
            left: true,
            ..forged
        };
        assert_eq!(rules.admit_asker(&[left]), Ok(()));
        assert_eq!(
            rules.admit_asker(&[server("s", true), peer("a", &[])]),
            Ok(())
        );
    }

    #[test]
    fn a_client_lives_with_either_kind_and_with_no_mix() {
        for ours in [true, false] {
            let mut rules = rules(false);
            assert_eq!(rules.admit(&server("s", ours)), Ok(()));
            assert_eq!(rules.admit_asker(&[server("s", ours)]), Ok(()));
            let mix = [server("s", ours), server("t", !ours)];
            assert_eq!(rules.admit_merge(&mix), Err(foreign_mix("t")));
        }
    }

    #[test]
    fn ids_and_datacenters_are_those_of_consul() {
        let mut rules = rules(true);
        let refused = |result: Result<(), String>, text: &str| assert_eq!(result, Err(text.into()));
        refused(
            rules.admit(&peer("x", &[("id", "id-me")])),
            "Member 'x' has conflicting node ID 'id-me' with this agent's ID",
        );
        assert!(rules.told.contains_key("x"), "with both addresses");
        assert_eq!(rules.admit(&peer("ME", &[("id", "id-me")])), Ok(()));
        refused(
            rules.admit(&peer("x", &[("dc", "dc2")])),
            "Member 'x' part of wrong datacenter 'dc2'",
        );
        refused(
            rules.admit_merge(&[peer("a", &[("id", "u")]), peer("b", &[("id", "u")])]),
            "Member 'b' has conflicting node ID 'u' with member 'a'",
        );
        let plain = Peer {
            tags: Tags::new(),
            ..peer("serf", &[])
        };
        assert_eq!(rules.admit(&plain), Ok(()), "a member that is no agent");
        rules.allowed = vec![([10, 1, 0, 0].into(), 16)];
        assert!(rules.admit(&plain).is_err());
    }

    #[test]
    fn the_wide_pool_takes_servers_only() {
        let mut rules = Rules {
            wan: true,
            ..rules(true)
        };
        assert_eq!(
            rules.admit(&peer("c.dc2", &[("dc", "dc2")])),
            Err("Member 'c.dc2' is not a server".into())
        );
        let there = Peer {
            tags: server("s", true)
                .tags
                .into_iter()
                .chain([("dc".into(), "dc2".into())])
                .collect(),
            ..peer("s.dc2", &[])
        };
        assert_eq!(rules.admit(&there), Ok(()));
        assert!(rules.admit(&server("f.dc2", false)).is_err());
    }
}
