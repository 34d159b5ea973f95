//! Which format of commands the cluster writes: servers are upgraded one by one, and what one of
//! them could not read must be in no log.

use crate::servers::{self, ServerMember};
use lictor_raft::ServerInfo;
use lictor_state::OLDEST_COMMAND_FORMAT;

/// The newest format that all servers of the membership read, as they announce it; this one reads
/// `ours`. One that gossip does not know may read only the oldest. It never sinks while no server
/// is downgraded: [`is_too_old`] keeps out who would lower it.
pub fn readable(ours: u8, own: &str, peers: &[ServerInfo], members: &[ServerMember]) -> u8 {
    let others = peers
        .iter()
        .filter(|p| !p.node_id.eq_ignore_ascii_case(own));
    others
        .map(|p| announced(&p.node_id, members))
        .fold(ours, u8::min)
}

/// Whether a server that is to be taken in could not read what this cluster may have written.
pub fn is_too_old(id: &str, members: &[ServerMember], readable: u8) -> bool {
    announced(id, members) < readable
}

fn announced(id: &str, members: &[ServerMember]) -> u8 {
    let format = servers::best(members, id).and_then(|m| m.format);
    format.map_or(OLDEST_COMMAND_FORMAT, |f| {
        u8::try_from(f).unwrap_or(u8::MAX)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::servers::Standing;

    fn member(n: u8, format: u32) -> ServerMember {
        ServerMember {
            name: format!("s{n}").into(),
            id: format!("id{n}").into(),
            datacenter: "dc1".into(),
            rpc: ([10, 0, 0, n], 8300).into(),
            wan_port: None,
            standing: Standing::Alive,
            bootstrap: false,
            expect: 3,
            non_voter: false,
            tls: false,
            build: "1.21.0".into(),
            format: Some(format),
        }
    }

    #[test]
    fn the_oldest_server_decides_until_it_is_upgraded() {
        let mut members = vec![member(1, 3), member(2, 2), member(3, 3)];
        let peers: Vec<ServerInfo> = members
            .iter()
            .map(super::super::super::founding::info)
            .collect();
        let found = |members: &[ServerMember]| readable(3, "ID1", &peers, members);
        assert_eq!(found(&members), 2);
        members[1].standing = Standing::Failed;
        assert_eq!(found(&members), 2, "it may come back as it was");
        members[1] = member(2, 9);
        assert_eq!(found(&members), 3, "not more than this one writes");
        members.remove(2);
        assert_eq!(found(&members), OLDEST_COMMAND_FORMAT, "nobody knows");
        // One that is no peer yet lowers nothing, and is not taken in.
        let mut members = vec![member(1, 3), member(2, 3), member(3, 3), member(4, 2)];
        assert_eq!(found(&members), 3);
        assert!(is_too_old("id4", &members, 3));
        assert!(is_too_old("id5", &members, 3), "it is not known");
        members[3].format = Some(3);
        assert!(!is_too_old("id4", &members, 3));
    }
}
