//! `Operator`.

use super::{RaftIndex, WriteRequest, messages};
use crate::codec::Time;
use lictor_wire::Str;

messages! {
    /// A server of the Raft configuration.
    RaftServer {
        id: Str = "ID",
        node: Str = "Node",
        address: Str = "Address",
        leader: bool = "Leader",
        protocol_version: Str = "ProtocolVersion",
        voter: bool = "Voter",
        last_index: u64 = "LastIndex",
    }

    /// Reply of `Operator.RaftGetConfiguration`.
    RaftConfiguration {
        servers: Vec<RaftServer> = "Servers",
        index: u64 = "Index",
    }

    /// Arguments of `Operator.RaftRemovePeerByAddress` and `Operator.RaftRemovePeerByID`.
    RaftRemovePeerRequest {
        datacenter: Str = "Datacenter",
        address: Str = "Address",
        id: Str = "ID",
        ..write: WriteRequest,
    }

    /// What autopilot may do. Durations are nanoseconds.
    AutopilotConfig {
        cleanup_dead_servers: bool = "CleanupDeadServers",
        last_contact_threshold: i64 = "LastContactThreshold",
        max_trailing_logs: u64 = "MaxTrailingLogs",
        min_quorum: u64 = "MinQuorum",
        server_stabilization_time: i64 = "ServerStabilizationTime",
        redundancy_zone_tag: Str = "RedundancyZoneTag",
        disable_upgrade_migration: bool = "DisableUpgradeMigration",
        upgrade_version_tag: Str = "UpgradeVersionTag",
        ..index: RaftIndex,
    }

    /// Arguments of `Operator.AutopilotSetConfiguration`; the reply is a bool.
    AutopilotSetConfigRequest {
        datacenter: Str = "Datacenter",
        config: AutopilotConfig = "Config",
        /// Whether the configuration's index must be that of the present one.
        cas: bool = "CAS",
        ..write: WriteRequest,
    }

    /// How well a server does. `last_contact` is in nanoseconds.
    ServerHealth {
        id: Str = "ID",
        name: Str = "Name",
        address: Str = "Address",
        serf_status: i64 = "SerfStatus",
        version: Str = "Version",
        leader: bool = "Leader",
        last_contact: i64 = "LastContact",
        last_term: u64 = "LastTerm",
        last_index: u64 = "LastIndex",
        healthy: bool = "Healthy",
        voter: bool = "Voter",
        stable_since: Time = "StableSince",
    }

    /// Reply of `Operator.ServerHealth`.
    OperatorHealthReply {
        healthy: bool = "Healthy",
        failure_tolerance: i64 = "FailureTolerance",
        servers: Vec<ServerHealth> = "Servers",
    }
}
