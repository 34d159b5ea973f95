//! What the API shows of the servers' health.

use super::super::wire::Stats;
use super::health::{Health, Server};
use crate::time::rfc3339;
use lictor_rpc_wire::Time;
use lictor_rpc_wire::message::{OperatorHealthReply, ServerHealth};
use lictor_wire::GoDuration;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::cmp::Reverse;

/// The servers' health, as it travels from the leader to whoever is asked.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct State {
    healthy: bool,
    tolerance: usize,
    pub(super) servers: Vec<Row>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Row {
    pub(super) id: String,
    name: String,
    address: String,
    standing: String,
    version: String,
    voter: bool,
    leader: bool,
    read_replica: bool,
    pub(super) stats: Stats,
    healthy: bool,
    /// Milliseconds since 1970.
    stable_since: u64,
}

impl Row {
    fn of(s: &Server) -> Row {
        Row {
            id: s.id.clone(),
            name: s.name.clone(),
            address: s.address.clone(),
            standing: super::word(s.standing).to_owned(),
            version: s.version.clone(),
            voter: s.voter,
            leader: s.leader,
            read_replica: s.read_replica,
            stats: s.stats,
            healthy: s.healthy,
            stable_since: s.stable_since.0,
        }
    }

    fn last_contact(&self) -> GoDuration {
        let ms = i64::try_from(self.stats.last_contact_ms.unwrap_or(0)).unwrap_or(0);
        GoDuration::from_millis(ms)
    }
}

impl State {
    pub(super) fn of(health: &Health) -> State {
        State {
            healthy: health.healthy(),
            tolerance: health.failure_tolerance(),
            servers: health.servers.values().map(Row::of).collect(),
        }
    }

    /// Whether all servers are healthy.
    pub fn healthy(&self) -> bool {
        self.healthy
    }

    /// How many voters may fail.
    pub fn failure_tolerance(&self) -> usize {
        self.tolerance
    }

    /// The answer of `Operator.ServerHealth`.
    pub fn health(&self) -> OperatorHealthReply {
        let row = |s: &Row| ServerHealth {
            id: s.id.as_str().into(),
            name: s.name.as_str().into(),
            address: s.address.as_str().into(),
            serf_status: match s.standing.as_str() {
                "alive" => 1,
                "leaving" => 2,
                "left" => 3,
                "failed" => 4,
                _ => 0,
            },
            version: s.version.as_str().into(),
            leader: s.leader,
            last_contact: s.last_contact().0,
            last_term: s.stats.last_term,
            last_index: s.stats.last_index,
            healthy: s.healthy,
            voter: s.voter,
            stable_since: Time::from_unix(
                i64::try_from(s.stable_since / 1000).unwrap_or(0),
                u32::try_from(s.stable_since % 1000).unwrap_or(0) * 1_000_000,
            ),
        };
        OperatorHealthReply {
            healthy: self.healthy,
            failure_tolerance: i64::try_from(self.tolerance).unwrap_or(i64::MAX),
            servers: self.servers.iter().map(row).collect(),
        }
    }

    /// `/v1/operator/autopilot/state`; `meta` gives the meta of a node by its name.
    pub fn state(&self, meta: impl Fn(&str) -> Value) -> Value {
        let mut servers = Map::new();
        for s in &self.servers {
            let status = match (s.leader, s.voter) {
                (true, _) => "leader",
                (false, true) => "voter",
                (false, false) => "non-voter",
            };
            let kind = if s.read_replica {
                "read-replica"
            } else {
                "voter"
            };
            let standing = match s.standing.as_str() {
                "none" => "unknown",
                "leaving" => "alive",
                other => other,
            };
            servers.insert(
                s.id.clone(),
                json!({
                    "ID": s.id, "Name": s.name, "Address": s.address, "NodeStatus": standing,
                    "Version": s.version, "LastContact": s.last_contact().to_string(),
                    "LastTerm": s.stats.last_term, "LastIndex": s.stats.last_index,
                    "Healthy": s.healthy, "StableSince": rfc3339(s.stable_since, true),
                    "ReadReplica": s.read_replica, "Status": status, "Meta": meta(&s.name),
                    "NodeType": kind,
                }),
            );
        }
        let mut voters: Vec<&Row> = self.servers.iter().filter(|s| s.voter).collect();
        voters.sort_by_key(|s| (Reverse(s.leader), Reverse(s.healthy), s.stable_since, &s.id));
        let leader = self.servers.iter().find(|s| s.leader);
        json!({
            "Healthy": self.healthy,
            "FailureTolerance": self.tolerance,
            "OptimisticFailureTolerance": self.tolerance,
            "Servers": servers,
            "Leader": leader.map_or("", |s| s.id.as_str()),
            "Voters": voters.iter().map(|s| s.id.as_str()).collect::<Vec<_>>(),
        })
    }
}
