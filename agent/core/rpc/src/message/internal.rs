//! `Internal`, and the mesh's authority as far as agents without a mesh ask for it.

use super::{CheckServiceNode, NodeInfo, QueryMeta, QueryOptions, messages};
use crate::codec::{Bytes, Time};
use lictor_wire::Str;
use serde_json::Value;
use std::collections::BTreeMap;

messages! {
    /// Reply of `Internal.NodeInfo` and `Internal.NodeDump`.
    IndexedNodeDump {
        imported_dump: Vec<NodeInfo> = "ImportedDump",
        dump: Vec<NodeInfo> = "Dump",
        ..meta: QueryMeta,
    }

    /// Arguments of `Internal.ServiceDump`.
    ServiceDumpRequest {
        datacenter: Str = "Datacenter",
        service_kind: Str = "ServiceKind",
        use_service_kind: bool = "UseServiceKind",
        nodes_only: bool = "NodesOnly",
        source: super::QuerySource = "Source",
        peer_name: Str = "PeerName",
        ..options: QueryOptions,
    }

    /// Reply of `Internal.ServiceDump`.
    IndexedNodesWithGateways {
        imported_nodes: Vec<CheckServiceNode> = "ImportedNodes",
        nodes: Vec<CheckServiceNode> = "Nodes",
        gateways: Vec<Value> = "Gateways",
        ..meta: QueryMeta,
    }

    /// Arguments of `Internal.EventFire`; the reply is a [`QueryMeta`].
    EventFireRequest {
        datacenter: Str = "Datacenter",
        /// The event's name, without the prefix of user events.
        name: Str = "Name",
        /// The event's body as gossip carries it.
        payload: Bytes = "Payload",
        ..options: QueryOptions,
    }

    /// Arguments of `Internal.KeyringOperation`.
    KeyringRequest {
        /// `list`, `install`, `use` or `remove`.
        operation: Str = "Operation",
        /// The key in base64.
        key: Str = "Key",
        datacenter: Str = "Datacenter",
        forwarded: bool = "Forwarded",
        relay_factor: u8 = "RelayFactor",
        local_only: bool = "LocalOnly",
        ..options: QueryOptions,
    }

    /// What a pool answered to an operation on its keys.
    KeyringResponse {
        wan: bool = "WAN",
        datacenter: Str = "Datacenter",
        segment: Str = "Segment",
        partition: Str = "Partition",
        messages: Option<BTreeMap<String, String>> = "Messages",
        keys: Option<BTreeMap<String, i64>> = "Keys",
        primary_keys: Option<BTreeMap<String, i64>> = "PrimaryKeys",
        num_nodes: i64 = "NumNodes",
        error: String = "Error",
    }

    /// Reply of `Internal.KeyringOperation`.
    KeyringResponses {
        responses: Vec<KeyringResponse> = "Responses",
        ..meta: QueryMeta,
    }

    /// Reply of `ConnectCA.Roots`.
    IndexedCaRoots {
        active_root_id: Str = "ActiveRootID",
        trust_domain: Str = "TrustDomain",
        roots: Vec<CaRoot> = "Roots",
        ..meta: QueryMeta,
    }

    /// A root certificate of the mesh.
    CaRoot {
        id: Str = "ID",
        name: Str = "Name",
        serial_number: u64 = "SerialNumber",
        signing_key_id: Str = "SigningKeyID",
        external_trust_domain: Str = "ExternalTrustDomain",
        not_before: Time = "NotBefore",
        not_after: Time = "NotAfter",
        root_cert: String = "RootCert",
        intermediate_certs: Vec<String> = "IntermediateCerts",
        signing_cert: String = "SigningCert",
        signing_key: String = "SigningKey",
        active: bool = "Active",
        rotated_out_at: Time = "RotatedOutAt",
        private_key_type: Str = "PrivateKeyType",
        private_key_bits: i64 = "PrivateKeyBits",
        ..index: super::RaftIndex,
    }
}
