//! Which servers make a new cluster, and what they promise each other. No clock, no network.
//!
//! With `bootstrap_expect` several servers that know nothing make one cluster together, and never
//! two. One of them, the founder, asks all others to be bound to its founding; when all are, it
//! makes the cluster, and they get their logs from it. What is bound to a founding takes part in
//! no other one. So of two foundings that have a server in common one fails.
//!
//! A founder may be gone for good before it has decided. Whoever is bound to it may then be bound
//! to another founding that has all others of the first one: the old founder alone is no majority,
//! and finds nobody any more who listens to it.

use super::wire::Founding;
use crate::servers::{ServerMember, Standing};
use lictor_raft::ServerInfo;

/// What the known servers mean for a server that waits for others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There are not enough yet.
    Wait,
    /// There is something that a person must look at.
    Conflict {
        /// What.
        text: &'static str,
        /// Which member.
        member: String,
    },
    /// These are to be the voters, in order of their ids.
    Ready(Vec<ServerMember>),
}

/// Judges the servers that gossip knows. `expect` is above zero.
pub fn judge(datacenter: &str, expect: u32, servers: &[ServerMember]) -> Verdict {
    let mut ready = Vec::new();
    for server in servers {
        if server.datacenter != datacenter || server.standing != Standing::Alive {
            continue;
        }
        let conflict = |text| Verdict::Conflict {
            text,
            member: server.name.to_string(),
        };
        if server.expect != 0 && server.expect != expect {
            return conflict(
                "Member has a conflicting expect value. All nodes should expect the same number.",
            );
        }
        if server.bootstrap {
            return conflict("Member has bootstrap mode. Expect disabled.");
        }
        // What waits to be taken in, and what is not to vote, comes later.
        if server.expect == expect && !server.non_voter && server.format.is_some() {
            ready.push(server.clone());
        }
    }
    if ready.len() < expect as usize {
        return Verdict::Wait;
    }
    ready.sort_by(|a, b| a.id.cmp(&b.id));
    ready.dedup_by(|a, b| a.id == b.id);
    if ready.len() < expect as usize {
        return Verdict::Wait;
    }
    Verdict::Ready(ready)
}

/// A server as the membership names it.
pub fn info(server: &ServerMember) -> ServerInfo {
    ServerInfo {
        node_id: server.id.to_string(),
        name: server.name.to_string(),
        address: server.rpc.to_string(),
    }
}

/// Whether one that is bound to `old` may be bound to `new` instead. `gone` tells whether a server
/// is known not to be there.
pub fn may_rebind(old: &Founding, new: &Founding, gone: impl Fn(&str) -> bool) -> bool {
    let same = |a: &str, b: &str| a.eq_ignore_ascii_case(b);
    if old.cluster == new.cluster {
        return true;
    }
    if same(&old.founder, &new.founder) {
        // It has begun anew, so the old one came to nothing.
        return true;
    }
    let has = |id: &str| new.members.iter().any(|m| same(&m.node_id, id));
    let all_others = old
        .members
        .iter()
        .filter(|m| !same(&m.node_id, &old.founder))
        .all(|m| has(&m.node_id));
    gone(&old.founder) && all_others
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    fn member(id: &str, expect: u32) -> ServerMember {
        ServerMember {
            name: id.into(),
            id: id.into(),
            datacenter: "dc1".into(),
            rpc: SocketAddr::from(([127, 0, 0, 1], 8300)),
            wan_port: None,
            standing: Standing::Alive,
            bootstrap: false,
            expect,
            non_voter: false,
            tls: false,
            build: "1.21.0".into(),
            format: Some(1),
        }
    }

    fn ids(verdict: &Verdict) -> Vec<&str> {
        match verdict {
            Verdict::Ready(all) => all.iter().map(|s| s.id.as_str()).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn enough_alive_voters_of_the_same_mind_are_ready_in_one_order() {
        let mut all = vec![member("c", 3), member("a", 3)];
        assert_eq!(judge("dc1", 3, &all), Verdict::Wait);
        all.push(member("b", 3));
        assert_eq!(ids(&judge("dc1", 3, &all)), ["a", "b", "c"]);
        all.reverse();
        assert_eq!(ids(&judge("dc1", 3, &all)), ["a", "b", "c"]);
        // More than expected: all of them.
        all.push(member("d", 3));
        assert_eq!(ids(&judge("dc1", 3, &all)), ["a", "b", "c", "d"]);

        for change in [
            (|m: &mut ServerMember| m.standing = Standing::Failed) as fn(&mut ServerMember),
            |m| m.standing = Standing::Left,
            |m| m.non_voter = true,
            |m| m.expect = 0,
            |m| m.datacenter = "dc2".into(),
            // A server of Consul's.
            |m| m.format = None,
        ] {
            let mut few = vec![member("a", 3), member("b", 3), member("c", 3)];
            change(&mut few[1]);
            assert_eq!(judge("dc1", 3, &few), Verdict::Wait, "{:?}", few[1]);
        }
    }

    #[test]
    fn a_different_number_and_a_lone_bootstrap_are_conflicts() {
        let all = [member("a", 3), member("b", 3), member("c", 5)];
        let Verdict::Conflict { text, member: who } = judge("dc1", 3, &all) else {
            panic!("no conflict")
        };
        assert!(text.contains("conflicting expect") && who == "c");
        let mut alone = member("b", 0);
        alone.bootstrap = true;
        assert!(matches!(
            judge("dc1", 3, &[member("a", 3), alone]),
            Verdict::Conflict { .. }
        ));
    }

    #[test]
    fn bound_is_bound_unless_the_founder_is_gone_and_all_others_come_along() {
        let founding = |cluster: &str, founder: &str, members: &[&str]| Founding {
            cluster: cluster.to_owned(),
            founder: founder.to_owned(),
            members: members.iter().map(|id| info(&member(id, 3))).collect(),
        };
        let old = founding("1", "a", &["a", "b", "c"]);
        let gone = |id: &str| id == "a";
        let nobody = |_: &str| false;
        assert!(may_rebind(
            &old,
            &founding("2", "a", &["a", "b", "d"]),
            nobody
        ));
        assert!(!may_rebind(
            &old,
            &founding("2", "b", &["b", "c", "d"]),
            nobody
        ));
        assert!(may_rebind(
            &old,
            &founding("2", "b", &["b", "c", "d"]),
            gone
        ));
        // c might still help a to a majority.
        assert!(!may_rebind(
            &old,
            &founding("2", "b", &["b", "d", "e"]),
            gone
        ));
    }
}
