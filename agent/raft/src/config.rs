//! What openraft is told about time and size.

use openraft::{Config, SnapshotPolicy};

/// A log in memory need not be long: its snapshot is the state itself, and costs nothing.
const MEMORY_THRESHOLD: u64 = 1024;
/// Entries that a log in memory keeps behind its snapshot.
const MEMORY_TRAILING: u64 = 256;

/// A snapshot may take this long to be sent and taken in, in milliseconds.
const SNAPSHOT_TIMEOUT: u64 = 600_000;

/// The time between heartbeats at this `raft_multiplier`, in milliseconds.
pub(crate) fn heartbeat(multiplier: u32) -> u64 {
    (12 * u64::from(multiplier)).max(30)
}

/// openraft's configuration.
pub(crate) fn config(
    multiplier: u32,
    snapshot_threshold: u64,
    trailing_logs: u64,
    memory: bool,
) -> Config {
    let heartbeat = heartbeat(multiplier);
    let (threshold, trailing) = if memory {
        (
            snapshot_threshold.min(MEMORY_THRESHOLD),
            trailing_logs.min(MEMORY_TRAILING),
        )
    } else {
        (snapshot_threshold, trailing_logs)
    };
    let threshold = threshold.max(1);
    Config {
        cluster_name: "lictor".to_owned(),
        heartbeat_interval: heartbeat,
        election_timeout_min: 3 * heartbeat,
        election_timeout_max: 6 * heartbeat,
        install_snapshot_timeout: SNAPSHOT_TIMEOUT,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(threshold),
        max_in_snapshot_log_to_keep: trailing,
        // A follower is given entries as long as there are any; only then a snapshot.
        replication_lag_threshold: threshold.saturating_add(trailing),
        // Switched on once there are others.
        enable_tick: false,
        enable_pre_vote: Some(true),
        // A leader that comes back in its old term could write other entries under the ids of
        // those that followers have and it lost, because it had not flushed them.
        enable_leader_restore: Some(false),
        backoff: format!("{heartbeat}ms"),
        ..Config::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_multiplier_gives_a_valid_configuration() {
        for multiplier in 0..=10 {
            let config = config(multiplier, 0, 0, multiplier % 2 == 0)
                .validate()
                .unwrap();
            assert!(config.election_timeout_min >= 3 * config.heartbeat_interval);
        }
        assert_eq!((heartbeat(1), heartbeat(5)), (30, 60));
    }
}
