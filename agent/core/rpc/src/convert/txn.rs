//! Transactions.

use super::commands::{kv_verb, kv_word};
use crate::message::{self, DirEntry, TxnCheckOp, TxnKvOp, TxnNodeOp, TxnResponse, TxnServiceOp};
use lictor_state::{
    CatalogVerb, CheckOp, KvRead, KvReadVerb, NodeOp, Outcome, ServiceOp, TxnError, TxnOp,
    TxnResult,
};
use lictor_wire::{HealthCheck, KvEntry, Node, NodeService};
use std::sync::Arc;

/// The verb that a read of the key/value store is named by.
pub fn read_word(verb: KvReadVerb) -> &'static str {
    match verb {
        KvReadVerb::Get => "get",
        KvReadVerb::GetOrEmpty => "get-or-empty",
        KvReadVerb::GetTree => "get-tree",
        KvReadVerb::CheckIndex => "check-index",
        KvReadVerb::CheckSession => "check-session",
        KvReadVerb::CheckNotExists => "check-not-exists",
    }
}

/// The read of that name.
pub fn read_verb(word: &str) -> Option<KvReadVerb> {
    Some(match word {
        "get" => KvReadVerb::Get,
        "get-or-empty" => KvReadVerb::GetOrEmpty,
        "get-tree" => KvReadVerb::GetTree,
        "check-index" => KvReadVerb::CheckIndex,
        "check-session" => KvReadVerb::CheckSession,
        "check-not-exists" => KvReadVerb::CheckNotExists,
        _ => return None,
    })
}

/// The verb that an operation on the catalog is named by.
pub fn catalog_word(verb: CatalogVerb) -> &'static str {
    match verb {
        CatalogVerb::Get => "get",
        CatalogVerb::Set => "set",
        CatalogVerb::Cas => "cas",
        CatalogVerb::Delete => "delete",
        CatalogVerb::DeleteCas => "delete-cas",
    }
}

/// The operation on the catalog of that name.
pub fn catalog_verb(word: &str) -> Option<CatalogVerb> {
    Some(match word {
        "get" => CatalogVerb::Get,
        "set" => CatalogVerb::Set,
        "cas" => CatalogVerb::Cas,
        "delete" => CatalogVerb::Delete,
        "delete-cas" => CatalogVerb::DeleteCas,
        _ => return None,
    })
}

impl message::TxnOp {
    /// The operation as the state runs it; nothing for an empty one, which is none. Rows are taken
    /// as they are, without the checks of a server.
    ///
    /// # Errors
    /// Nobody knows the verb, or the operation; the text is Consul's.
    pub fn into_op(self) -> Result<Option<TxnOp>, String> {
        let catalog = |word: &str, what: &str| {
            catalog_verb(word).ok_or_else(|| format!("unknown {what} operation: {word}"))
        };
        if let Some(TxnKvOp { verb, dir_ent }) = self.kv {
            if let Some(verb) = kv_verb(&verb) {
                return Ok(Some(TxnOp::Kv(dir_ent.into_op(verb))));
            }
            let Some(verb) = read_verb(&verb) else {
                return Err(format!("unknown KV operation: {verb}"));
            };
            return Ok(Some(TxnOp::KvRead(KvRead {
                verb,
                key: dir_ent.key,
                flags: dir_ent.flags,
                session: dir_ent.session,
                index: dir_ent.modify_index,
            })));
        }
        Ok(if self.intention.is_some() {
            return Err("unknown operation: intentions are not supported".to_owned());
        } else if let Some(TxnNodeOp { verb, node }) = self.node {
            Some(TxnOp::Node(NodeOp {
                verb: catalog(&verb, "node")?,
                node: node.into(),
            }))
        } else if let Some(op) = self.service {
            Some(TxnOp::Service(ServiceOp {
                verb: catalog(&op.verb, "service")?,
                node: op.node,
                service: Box::new(op.service.into()),
            }))
        } else if let Some(TxnCheckOp { verb, check }) = self.check {
            Some(TxnOp::Check(CheckOp {
                verb: catalog(&verb, "check")?,
                check: Box::new(check.into()),
            }))
        } else if let Some(op) = self.session {
            return Err(format!("unknown session operation: {}", op.verb));
        } else {
            None
        })
    }
}

impl From<&TxnOp> for message::TxnOp {
    /// An operation that messages have no form for is an empty one.
    fn from(op: &TxnOp) -> message::TxnOp {
        let mut out = message::TxnOp::default();
        match op {
            TxnOp::Kv(op) => {
                out.kv = Some(TxnKvOp {
                    verb: kv_word(op.verb).into(),
                    dir_ent: op.into(),
                });
            }
            TxnOp::KvRead(read) => {
                out.kv = Some(TxnKvOp {
                    verb: read_word(read.verb).into(),
                    dir_ent: DirEntry {
                        key: read.key.clone(),
                        flags: read.flags,
                        session: read.session.clone(),
                        modify_index: read.index,
                        ..DirEntry::default()
                    },
                });
            }
            TxnOp::Node(op) => {
                out.node = Some(TxnNodeOp {
                    verb: catalog_word(op.verb).into(),
                    node: (&op.node).into(),
                });
            }
            TxnOp::Service(op) => {
                out.service = Some(TxnServiceOp {
                    verb: catalog_word(op.verb).into(),
                    node: op.node.clone(),
                    service: (&*op.service).into(),
                });
            }
            TxnOp::Check(op) => {
                out.check = Some(TxnCheckOp {
                    verb: catalog_word(op.verb).into(),
                    check: (&*op.check).into(),
                });
            }
            _ => {}
        }
        out
    }
}

impl From<&TxnResult> for message::TxnResult {
    fn from(result: &TxnResult) -> message::TxnResult {
        let mut out = message::TxnResult::default();
        match result {
            TxnResult::Kv(entry) => out.kv = Some((&**entry).into()),
            TxnResult::Node(node) => out.node = Some(Box::new((&**node).into())),
            TxnResult::Service(service) => out.service = Some(Box::new((&**service).into())),
            TxnResult::Check(check) => out.check = Some(Box::new((&**check).into())),
            _ => {}
        }
        out
    }
}

impl message::TxnResult {
    /// The row; nothing where there is none that is understood.
    pub fn into_result(self) -> Option<TxnResult> {
        if let Some(entry) = self.kv {
            Some(TxnResult::Kv(Arc::new(KvEntry::from(entry))))
        } else if let Some(node) = self.node {
            Some(TxnResult::Node(Arc::new(Node::from(*node))))
        } else if let Some(service) = self.service {
            Some(TxnResult::Service(Arc::new(NodeService::from(*service))))
        } else {
            let check = self.check?;
            Some(TxnResult::Check(Arc::new(HealthCheck::from(*check))))
        }
    }
}

impl TxnResponse {
    /// The reply that says this.
    pub fn of(results: &[TxnResult], errors: &[TxnError]) -> TxnResponse {
        TxnResponse {
            results: results.iter().map(message::TxnResult::from).collect(),
            errors: errors
                .iter()
                .map(|e| message::TxnError {
                    op_index: i64::try_from(e.op_index).unwrap_or(i64::MAX),
                    what: e.what.clone(),
                })
                .collect(),
        }
    }

    /// What the reply says.
    pub fn into_outcome(self) -> Outcome {
        Outcome::Txn {
            results: self
                .results
                .into_iter()
                .filter_map(message::TxnResult::into_result)
                .collect(),
            errors: self
                .errors
                .into_iter()
                .map(|e| TxnError {
                    op_index: u64::try_from(e.op_index).unwrap_or_default(),
                    what: e.what,
                })
                .collect(),
        }
    }
}
