//! The types that openraft is driven with.

use lictor_state::{Entry, Outcome};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A server of the cluster. It is known by its id; name and address may change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerInfo {
    /// The node's UUID.
    pub node_id: String,
    /// The node's name.
    pub name: String,
    /// Where its port for servers is: `ip:port`.
    pub address: String,
}

impl ServerInfo {
    /// The number that stands for this server in votes and memberships.
    pub fn id(&self) -> u64 {
        server_id(&self.node_id)
    }
}

impl std::fmt::Display for ServerInfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({}) at {}", self.name, self.node_id, self.address)
    }
}

/// The number of the server with this UUID: 64-bit FNV-1a of its lower-case text. It is written
/// to votes and memberships, so it never changes.
pub fn server_id(node_id: &str) -> u64 {
    node_id.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, b| {
        (hash ^ u64::from(b.to_ascii_lowercase())).wrapping_mul(0x0100_0000_01b3)
    })
}

/// What is proposed: shared, because log, replication and state machine hold it at the same time.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Proposal(pub(crate) Arc<Entry>);

impl std::fmt::Display for Proposal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Proposal {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_bytes(&self.0.encode())
    }
}

impl<'de> Deserialize<'de> for Proposal {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl serde::de::Visitor<'_> for Bytes {
            type Value = Proposal;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an encoded entry")
            }
            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Proposal, E> {
                Entry::decode(bytes)
                    .map(|e| Proposal(Arc::new(e)))
                    .map_err(E::custom)
            }
        }
        d.deserialize_bytes(Bytes)
    }
}

/// One leader in a term, as in the Raft paper.
pub(crate) type LeaderId = openraft::impls::leader_id_std::LeaderId<u64, u64>;

openraft::declare_raft_types!(
    pub(crate) TypeConfig:
        D = Proposal,
        R = Outcome,
        NodeId = u64,
        Node = ServerInfo,
        LeaderId = LeaderId,
);

pub(crate) type LogId = openraft::alias::LogIdOf<TypeConfig>;
pub(crate) type LogEntry = openraft::alias::EntryOf<TypeConfig>;
pub(crate) type Payload = openraft::alias::PayloadOf<TypeConfig>;
pub(crate) type Vote = openraft::alias::VoteOf<TypeConfig>;
pub(crate) type Membership = openraft::Membership<u64, ServerInfo>;
pub(crate) type StoredMembership = openraft::alias::StoredMembershipOf<TypeConfig>;
pub(crate) type SnapshotMeta = openraft::alias::SnapshotMetaOf<TypeConfig>;
pub(crate) type Done = openraft::storage::IOFlushed<TypeConfig>;

/// The id of an entry.
pub(crate) fn log_id(term: u64, index: u64) -> LogId {
    LogId::new(
        openraft::vote::leader_id_std::CommittedLeaderId::new(term),
        index,
    )
}

/// The term of an entry.
pub(crate) fn term_of(id: &LogId) -> u64 {
    id.committed_leader_id().term
}

/// A vote for a server.
pub(crate) fn vote(term: u64, server: u64, committed: bool) -> Vote {
    if committed {
        Vote::new_committed(term, server)
    } else {
        Vote::new(term, server)
    }
}

/// A membership of these voters; all of them are in `servers`, which may hold learners too.
pub(crate) fn membership(
    configs: Vec<BTreeSet<u64>>,
    servers: BTreeMap<u64, ServerInfo>,
) -> Result<Membership, String> {
    Membership::new(configs, servers).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use lictor_state::Command;

    #[test]
    fn the_number_of_a_server_is_fixed() {
        // Votes on disk hold it.
        assert_eq!(server_id(""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(server_id("a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(server_id("ADF4238A"), server_id("adf4238a"));
        assert_ne!(server_id("adf4238a"), server_id("adf4238b"));
    }

    #[test]
    fn a_proposal_travels_as_the_bytes_of_its_entry() {
        let proposal = Proposal(Arc::new(Entry {
            at: 9,
            command: Command::SessionDestroy("s".into()),
        }));
        let bytes = rmp_serde::to_vec(&proposal).unwrap();
        assert_eq!(rmp_serde::from_slice::<Proposal>(&bytes).unwrap(), proposal);
        assert!(rmp_serde::from_slice::<Proposal>(&rmp_serde::to_vec(&7).unwrap()).is_err());
    }
}
