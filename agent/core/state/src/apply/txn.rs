//! Transactions: all operations or none.

use super::Step;
use crate::command::{KvOp, KvVerb, Outcome};
use crate::txn::{
    CatalogVerb, CheckOp, KvRead, KvReadVerb, NodeOp, ServiceOp, TxnError, TxnOp, TxnResult,
};
use crate::view::{View, fold};
use lictor_wire::duration::go_quote;
use lictor_wire::{KvEntry, Node, Str};
use std::sync::Arc;

/// What an operation gives: rows, or why it failed in Consul's words.
type Rows = Result<Vec<TxnResult>, String>;

/// Runs every operation, also after one has failed: the client learns of all that fail.
fn run_all(
    ops: &[TxnOp],
    mut run: impl FnMut(&TxnOp) -> Rows,
) -> Result<Vec<TxnResult>, Vec<TxnError>> {
    let mut results = Vec::with_capacity(ops.len());
    let mut errors = Vec::new();
    for (at, op) in ops.iter().enumerate() {
        match run(op) {
            Ok(rows) => results.extend(rows),
            Err(what) => errors.push(TxnError::new(at, what)),
        }
    }
    if errors.is_empty() {
        Ok(results)
    } else {
        Err(errors)
    }
}

impl Step<'_> {
    /// Runs a transaction. Where an operation fails nothing is changed and nobody wakes.
    pub(super) fn txn(&mut self, ops: &[TxnOp]) -> Outcome {
        // Lock delays come first: a transaction that must wait is not tried at all.
        let delayed = self.delayed_locks(ops);
        if !delayed.is_empty() {
            return Outcome::Txn {
                results: Vec::new(),
                errors: delayed,
            };
        }
        let saved = self.save();
        match run_all(ops, |op| self.txn_op(op)) {
            Ok(results) => Outcome::Txn {
                results,
                errors: Vec::new(),
            },
            Err(errors) => {
                self.undo(saved);
                Outcome::Txn {
                    results: Vec::new(),
                    errors,
                }
            }
        }
    }

    fn delayed_locks(&self, ops: &[TxnOp]) -> Vec<TxnError> {
        let mut errors = Vec::new();
        for (at, op) in ops.iter().enumerate() {
            if let TxnOp::Kv(KvOp {
                verb: KvVerb::Lock,
                key,
                ..
            }) = op
                && self
                    .v
                    .lock_delays
                    .get(key)
                    .is_some_and(|until| self.now < *until)
            {
                errors.push(TxnError::new(
                    at,
                    format!("failed to lock key {} due to lock delay", go_quote(key)),
                ));
            }
        }
        errors
    }

    fn txn_op(&mut self, op: &TxnOp) -> Rows {
        match op {
            TxnOp::Kv(op) => self.txn_kv(op),
            TxnOp::KvRead(op) => self.v.txn_kv(op),
            TxnOp::Node(op) => self.txn_node(op),
            TxnOp::Service(op) => self.txn_service(op),
            TxnOp::Check(op) => self.txn_check(op),
        }
    }

    fn txn_kv(&mut self, op: &KvOp) -> Rows {
        let key = go_quote(&op.key);
        match self.kv(op) {
            Outcome::Refused(text) => return Err(text),
            Outcome::Flag(false) => {
                return Err(match op.verb {
                    KvVerb::Lock => format!("failed to lock key {key}, lock is already held"),
                    KvVerb::Unlock => format!(
                        "failed to unlock key {key}, lock isn't held, or is held by another session"
                    ),
                    KvVerb::DeleteCas => format!("failed to delete key {key}, index is stale"),
                    _ => format!("failed to set key {key}, index is stale"),
                });
            }
            _ => {}
        }
        match op.verb {
            KvVerb::Delete | KvVerb::DeleteCas | KvVerb::DeleteTree => Ok(Vec::new()),
            KvVerb::Set | KvVerb::Cas | KvVerb::Lock | KvVerb::Unlock => Ok(self
                .v
                .kv
                .get(&op.key)
                .map(|entry| without_value(entry))
                .into_iter()
                .collect()),
        }
    }

    fn txn_node(&mut self, op: &NodeOp) -> Rows {
        let name = fold(&op.node.node);
        let index = self.v.nodes.get(&name).map(|n| n.modify_index);
        match op.verb {
            CatalogVerb::Get => return self.v.txn_node(&op.node),
            CatalogVerb::Cas if !may_set(index, op.node.modify_index) => {
                return Err(format!(
                    "failed to set node {}, index is stale",
                    go_quote(&op.node.node)
                ));
            }
            CatalogVerb::DeleteCas if index != Some(op.node.modify_index) => {
                return Err(format!(
                    "failed to delete node {}, index is stale",
                    go_quote(&op.node.node)
                ));
            }
            CatalogVerb::Set | CatalogVerb::Cas => self.put_node(&op.node)?,
            CatalogVerb::Delete | CatalogVerb::DeleteCas => {
                self.remove_node(&name);
                return Ok(Vec::new());
            }
        }
        Ok(self
            .v
            .node_of(&op.node)
            .map(|n| TxnResult::Node(n.clone()))
            .into_iter()
            .collect())
    }

    fn txn_service(&mut self, op: &ServiceOp) -> Rows {
        let (node, id) = (fold(&op.node), fold(&op.service.id));
        let place = (node.clone(), id.clone());
        let index = self.v.services.get(&place).map(|s| s.modify_index);
        let named = || {
            format!(
                "{} on node {}",
                go_quote(&op.service.id),
                go_quote(&op.node)
            )
        };
        match op.verb {
            CatalogVerb::Get => return self.v.txn_service(op),
            CatalogVerb::Cas if !may_set(index, op.service.modify_index) => {
                return Err(format!("failed to set service {}, index is stale", named()));
            }
            CatalogVerb::DeleteCas if index != Some(op.service.modify_index) => {
                return Err(format!(
                    "failed to delete service {}, index is stale",
                    named()
                ));
            }
            CatalogVerb::Set | CatalogVerb::Cas => self.put_service(&node, &op.service)?,
            CatalogVerb::Delete | CatalogVerb::DeleteCas => {
                self.remove_service(&node, &id);
                return Ok(Vec::new());
            }
        }
        Ok(self
            .v
            .services
            .get(&place)
            .map(|s| TxnResult::Service(s.clone()))
            .into_iter()
            .collect())
    }

    fn txn_check(&mut self, op: &CheckOp) -> Rows {
        let (node, id) = (fold(&op.check.node), fold(&op.check.check_id));
        let place = (node.clone(), id.clone());
        let index = self.v.checks.get(&place).map(|c| c.modify_index);
        let named = || {
            format!(
                "{} on node {}",
                go_quote(&op.check.check_id),
                go_quote(&op.check.node)
            )
        };
        match op.verb {
            CatalogVerb::Get => return self.v.txn_check(op),
            CatalogVerb::Cas if !may_set(index, op.check.modify_index) => {
                return Err(format!("failed to set check {}, index is stale", named()));
            }
            CatalogVerb::DeleteCas if index != Some(op.check.modify_index) => {
                return Err(format!(
                    "failed to delete check {}, index is stale",
                    named()
                ));
            }
            CatalogVerb::Set | CatalogVerb::Cas => self.put_check(&node, &op.check)?,
            CatalogVerb::Delete | CatalogVerb::DeleteCas => {
                self.remove_check(&node, &id);
                return Ok(Vec::new());
            }
        }
        Ok(self
            .v
            .checks
            .get(&place)
            .map(|c| TxnResult::Check(c.clone()))
            .into_iter()
            .collect())
    }
}

/// Consul's check-and-set: zero stands for a row that does not exist yet.
fn may_set(present: Option<u64>, given: u64) -> bool {
    present.unwrap_or(0) == given
}

/// A row of the store as writes and conditions show it.
fn without_value(entry: &KvEntry) -> TxnResult {
    TxnResult::Kv(Arc::new(KvEntry {
        value: Arc::from([]),
        ..entry.clone()
    }))
}

impl View {
    /// Runs a transaction that only reads. An operation that would write fails.
    pub fn txn_read(&self, ops: &[TxnOp]) -> Result<Vec<TxnResult>, Vec<TxnError>> {
        run_all(ops, |op| match op {
            TxnOp::KvRead(op) => self.txn_kv(op),
            TxnOp::Node(op) if op.verb == CatalogVerb::Get => self.txn_node(&op.node),
            TxnOp::Service(op) if op.verb == CatalogVerb::Get => self.txn_service(op),
            TxnOp::Check(op) if op.verb == CatalogVerb::Get => self.txn_check(op),
            _ => Err("cannot write in a read-only transaction".to_owned()),
        })
    }

    fn txn_kv(&self, op: &KvRead) -> Rows {
        let key = go_quote(&op.key);
        let entry = self.kv.get(&op.key);
        let row = match (op.verb, entry) {
            (KvReadVerb::GetTree, _) => {
                return Ok(self
                    .kv_range(&op.key)
                    .map(|entry| TxnResult::Kv(entry.clone()))
                    .collect());
            }
            (KvReadVerb::Get | KvReadVerb::GetOrEmpty, Some(entry)) => TxnResult::Kv(entry.clone()),
            (KvReadVerb::Get, None) => return Err(format!("key {key} doesn't exist")),
            // Consul gives back what was asked with.
            (KvReadVerb::GetOrEmpty, None) => TxnResult::Kv(Arc::new(KvEntry {
                key: op.key.clone(),
                flags: op.flags,
                session: op.session.clone(),
                modify_index: op.index,
                ..KvEntry::default()
            })),
            (KvReadVerb::CheckIndex, None) => {
                return Err(format!("failed to check index, key {key} doesn't exist"));
            }
            (KvReadVerb::CheckIndex, Some(entry)) if entry.modify_index != op.index => {
                let present = entry.modify_index;
                return Err(format!(
                    "failed index check for key {key}, current modify index {present} != {}",
                    op.index
                ));
            }
            (KvReadVerb::CheckSession, None) => {
                return Err(format!("failed to check session, key {key} doesn't exist"));
            }
            (KvReadVerb::CheckSession, Some(entry)) if entry.session != op.session => {
                let (present, wanted) = (go_quote(&entry.session), go_quote(&op.session));
                return Err(format!(
                    "failed session check for key {key}, current session {present} != {wanted}"
                ));
            }
            (KvReadVerb::CheckIndex | KvReadVerb::CheckSession, Some(entry)) => {
                without_value(entry)
            }
            (KvReadVerb::CheckNotExists, Some(_)) => return Err(format!("key {key} exists")),
            (KvReadVerb::CheckNotExists, None) => return Ok(Vec::new()),
        };
        Ok(vec![row])
    }

    /// The node that an operation means: by its id, whose beginning is enough, else by its name.
    fn node_of(&self, wanted: &Node) -> Option<&Arc<Node>> {
        if wanted.id.is_empty() {
            return self.nodes.get(&fold(&wanted.node));
        }
        let id = fold(&wanted.id);
        let (found, name) = self.node_ids.range(id.clone()..).next()?;
        if found.starts_with(id.as_str()) {
            self.nodes.get(name)
        } else {
            None
        }
    }

    fn txn_node(&self, wanted: &Node) -> Rows {
        match self.node_of(wanted) {
            Some(node) => Ok(vec![TxnResult::Node(node.clone())]),
            None => Err(format!("node {} doesn't exist", go_quote(&wanted.node))),
        }
    }

    fn txn_service(&self, op: &ServiceOp) -> Rows {
        match self.service(&op.node, &op.service.id) {
            Some(service) => Ok(vec![TxnResult::Service(service.clone())]),
            None => Err(missing("service", &op.service.id, &op.node)),
        }
    }

    fn txn_check(&self, op: &CheckOp) -> Rows {
        match self.check(&op.check.node, &op.check.check_id) {
            Some(check) => Ok(vec![TxnResult::Check(check.clone())]),
            None => Err(missing("check", &op.check.check_id, &op.check.node)),
        }
    }
}

fn missing(what: &str, id: &Str, node: &Str) -> String {
    format!(
        "{what} {} on node {} doesn't exist",
        go_quote(id),
        go_quote(node)
    )
}
