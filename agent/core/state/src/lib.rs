//! The replicated state of Lictor: what a [`Command`] does to it (the module `apply`) and what can be read
//! from it ([`View`]).
//!
//! This crate is pure. Time and ids arrive inside commands, stamped by the leader; [`State::apply`]
//! is total, deterministic and silent: the same state and command give the same bytes on every
//! server. A [`View`] is immutable, cheap to clone, and never waits for a writer.
//!
//! The index rules are Consul's: every read has an index that moves when, and nearly only when,
//! its answer may have changed (Consul's documentation of blocking queries).

mod apply;
mod autopilot;
mod command;
mod once;
mod part;
mod snapshot;
#[cfg(test)]
mod testing;
mod txn;
mod view;
mod watch;

pub use apply::State;
pub use apply::session::LOCK_DELAY_MAX;
pub use autopilot::{AutopilotChange, AutopilotConfig, AutopilotRule};
pub use command::{
    Command, CoordinateUpdate, DecodeError, Entry, FORMAT as COMMAND_FORMAT, KvOp, KvVerb,
    OLDEST_FORMAT as OLDEST_COMMAND_FORMAT, Outcome,
};
pub use once::RequestId;
pub use part::Part;
pub use snapshot::{
    FORMAT as SNAPSHOT_FORMAT, SnapshotError, read as read_snapshot, write as write_snapshot,
};
pub use txn::{
    CatalogVerb, CheckOp, KvRead, KvReadVerb, NodeOp, ServiceOp, TxnError, TxnOp, TxnResult,
};
pub use view::{Row, TableIndexes, View, fold};
pub use watch::{Changes, WatchKey};
