//! Transactions: several operations that take place together or not at all.

use crate::command::KvOp;
use lictor_wire::{HealthCheck, KvEntry, Node, NodeService, Str};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// One operation of a transaction.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum TxnOp {
    /// Writes the key/value store.
    Kv(KvOp),
    /// Reads it, or looks whether it is as expected.
    KvRead(KvRead),
    /// Reads or writes a node.
    Node(NodeOp),
    /// Reads or writes an instance.
    Service(ServiceOp),
    /// Reads or writes a check.
    Check(CheckOp),
}

impl TxnOp {
    /// Whether the operation may change something.
    pub fn is_write(&self) -> bool {
        match self {
            TxnOp::Kv(_) => true,
            TxnOp::KvRead(_) => false,
            TxnOp::Node(op) => op.verb != CatalogVerb::Get,
            TxnOp::Service(op) => op.verb != CatalogVerb::Get,
            TxnOp::Check(op) => op.verb != CatalogVerb::Get,
        }
    }
}

/// A read of the key/value store, or a condition on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KvRead {
    /// What to do.
    pub verb: KvReadVerb,
    /// The key, or the prefix.
    pub key: Str,
    /// The flags given: `get-or-empty` returns them where there is no key.
    pub flags: u64,
    /// The session expected to hold the key.
    pub session: Str,
    /// The index expected.
    pub index: u64,
}

/// What a [`KvRead`] does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KvReadVerb {
    /// The entry of a key, which must exist.
    Get,
    /// The entry of a key, or an empty one.
    GetOrEmpty,
    /// The entries of all keys with the prefix.
    GetTree,
    /// Fails unless the key's index is `index`.
    CheckIndex,
    /// Fails unless `session` holds the key.
    CheckSession,
    /// Fails if there is such a key.
    CheckNotExists,
}

/// What a catalog operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CatalogVerb {
    /// Reads the row, which must exist.
    Get,
    /// Writes.
    Set,
    /// Writes if the row's index is its `modify_index`; zero: if there is no such row.
    Cas,
    /// Removes the row and all that hangs on it.
    Delete,
    /// Removes the row if its index is its `modify_index`.
    DeleteCas,
}

/// An operation on a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeOp {
    /// What to do.
    pub verb: CatalogVerb,
    /// The node. Reads find it by its id where one is given, else by its name.
    pub node: Node,
}

/// An operation on an instance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceOp {
    /// What to do.
    pub verb: CatalogVerb,
    /// The node's name.
    pub node: Str,
    /// The instance.
    pub service: Box<NodeService>,
}

/// An operation on a check, which names its node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckOp {
    /// What to do.
    pub verb: CatalogVerb,
    /// The check.
    pub check: Box<HealthCheck>,
}

/// A row that a transaction read or wrote. The JSON is that of `PUT /v1/txn`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum TxnResult {
    /// A key; without its value where it was not read.
    #[serde(rename = "KV")]
    Kv(Arc<KvEntry>),
    /// A node.
    Node(Arc<Node>),
    /// An instance.
    Service(Arc<NodeService>),
    /// A check.
    Check(Arc<HealthCheck>),
}

// The rows hold texts, whole numbers and JSON values, which all equal themselves.
impl Eq for TxnResult {}

/// Why a transaction did not take place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct TxnError {
    /// Which operation failed, counted from zero.
    pub op_index: u64,
    /// Why, in Consul's words.
    pub what: String,
}

impl TxnError {
    /// The failure of the operation at this place.
    pub fn new(at: usize, what: impl Into<String>) -> TxnError {
        TxnError {
            op_index: at as u64,
            what: what.into(),
        }
    }
}
