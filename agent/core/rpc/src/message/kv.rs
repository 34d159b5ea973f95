//! `KVS` and `Txn`.

use super::{
    HealthCheck, Node, NodeService, QueryMeta, QueryOptions, Session, WriteRequest, messages,
};
use crate::codec::Bytes;
use lictor_wire::Str;
use serde_json::Value;

messages! {
    /// A key with its value.
    DirEntry {
        lock_index: u64 = "LockIndex",
        key: Str = "Key",
        flags: u64 = "Flags",
        value: Bytes = "Value",
        session: Str = "Session",
        create_index: u64 = "CreateIndex",
        modify_index: u64 = "ModifyIndex",
    }

    /// Arguments of `KVS.Apply`. The reply is a bool, which says nothing for `set`, `delete` and
    /// `delete-tree`.
    KvsRequest {
        datacenter: Str = "Datacenter",
        op: Str = "Op",
        /// The index of a check-and-set is its `modify_index`.
        dir_ent: DirEntry = "DirEnt",
        ..write: WriteRequest,
    }

    /// Arguments of `KVS.Get` and `KVS.List`.
    KeyRequest {
        datacenter: Str = "Datacenter",
        key: Str = "Key",
        ..options: QueryOptions,
    }

    /// Arguments of `KVS.ListKeys`.
    KeyListRequest {
        datacenter: Str = "Datacenter",
        prefix: Str = "Prefix",
        /// Spelled so on the wire.
        separator: Str = "Seperator",
        ..options: QueryOptions,
    }

    /// Reply of `KVS.Get` and `KVS.List`.
    IndexedDirEntries {
        entries: Vec<DirEntry> = "Entries",
        ..meta: QueryMeta,
    }

    /// Reply of `KVS.ListKeys`.
    IndexedKeyList {
        keys: Vec<Str> = "Keys",
        ..meta: QueryMeta,
    }

    /// An operation of a transaction: one of these.
    TxnOp {
        kv: Option<TxnKvOp> = "KV",
        /// Not understood: a transaction with one is refused.
        intention: Option<Value> = "Intention",
        node: Option<TxnNodeOp> = "Node",
        service: Option<TxnServiceOp> = "Service",
        check: Option<TxnCheckOp> = "Check",
        session: Option<TxnSessionOp> = "Session",
    }

    /// An operation on a key.
    TxnKvOp {
        verb: Str = "Verb",
        dir_ent: DirEntry = "DirEnt",
    }

    /// An operation on a node.
    TxnNodeOp {
        verb: Str = "Verb",
        node: Node = "Node",
    }

    /// An operation on an instance.
    TxnServiceOp {
        verb: Str = "Verb",
        node: Str = "Node",
        service: NodeService = "Service",
    }

    /// An operation on a check.
    TxnCheckOp {
        verb: Str = "Verb",
        check: HealthCheck = "Check",
    }

    /// An operation on a session.
    TxnSessionOp {
        verb: Str = "Verb",
        session: Session = "Session",
    }

    /// Arguments of `Txn.Apply`.
    TxnRequest {
        datacenter: Str = "Datacenter",
        ops: Vec<TxnOp> = "Ops",
        ..write: WriteRequest,
    }

    /// Arguments of `Txn.Read`.
    TxnReadRequest {
        datacenter: Str = "Datacenter",
        ops: Vec<TxnOp> = "Ops",
        ..options: QueryOptions,
    }

    /// A row that a transaction read or wrote: one of these.
    TxnResult {
        kv: Option<DirEntry> = "KV",
        node: Option<Box<Node>> = "Node",
        service: Option<Box<NodeService>> = "Service",
        check: Option<Box<HealthCheck>> = "Check",
    }

    /// Why a transaction did not take place.
    TxnError {
        op_index: i64 = "OpIndex",
        what: String = "What",
    }

    /// Reply of `Txn.Apply`. A failed transaction is no error of the call.
    TxnResponse {
        results: Vec<TxnResult> = "Results",
        errors: Vec<TxnError> = "Errors",
    }

    /// Reply of `Txn.Read`.
    TxnReadResponse {
        ..response: TxnResponse,
        ..meta: QueryMeta,
    }
}
