//! What the API shows of the servers' health.

use super::super::wire::Stats;
use super::health::{Health, Server};
use crate::time::rfc3339;
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

    fn last_contact(&self) -> String {
        let ms = i64::try_from(self.stats.last_contact_ms.unwrap_or(0)).unwrap_or(i64::MAX);
        GoDuration::from_millis(ms).to_string()
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

    /// `/v1/operator/autopilot/health`
    pub fn health(&self) -> Value {
        let rows: Vec<Value> = self
            .servers
            .iter()
            .map(|s| {
                json!({
                    "ID": s.id, "Name": s.name, "Address": s.address, "SerfStatus": s.standing,
                    "Version": s.version, "Leader": s.leader, "LastContact": s.last_contact(),
                    "LastTerm": s.stats.last_term, "LastIndex": s.stats.last_index,
                    "Healthy": s.healthy, "Voter": s.voter,
                    "StableSince": rfc3339(s.stable_since, false),
                })
            })
            .collect();
        json!({"Healthy": self.healthy, "FailureTolerance": self.tolerance, "Servers": rows})
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
                    "Version": s.version, "LastContact": s.last_contact(),
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
