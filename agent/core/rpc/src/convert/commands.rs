//! Writes: requests as commands, and commands as requests.

use super::rows::{locality_in, locality_out};
use crate::codec::Bytes;
use crate::message::{
    self, CoordinateUpdateRequest, DirEntry, KvsRequest, RaftIndex, SessionRequest, WriteRequest,
};
use lictor_state::{CoordinateUpdate, KvOp, KvVerb};
use lictor_wire::{Coordinate, DeregisterRequest, HealthCheck, NodeService, RegisterRequest, Str};

fn token(token: &Str) -> WriteRequest {
    WriteRequest {
        token: token.clone(),
        ..WriteRequest::default()
    }
}

impl From<message::RegisterRequest> for RegisterRequest {
    /// An instance without id gets its name as id, a check without id its name, a check without
    /// node the node of the request.
    fn from(r: message::RegisterRequest) -> RegisterRequest {
        let check = |check: message::HealthCheck| {
            let mut check = HealthCheck::from(check);
            if check.check_id.is_empty() {
                check.check_id = check.name.clone();
            }
            if check.node.is_empty() {
                check.node = r.node.clone();
            }
            check
        };
        let service = r.service.map(|service| {
            let mut service = NodeService::from(*service);
            if service.id.is_empty() {
                service.id = service.service.clone();
            }
            Box::new(service)
        });
        RegisterRequest {
            datacenter: r.datacenter,
            id: r.id,
            address: r.address,
            tagged_addresses: r.tagged_addresses,
            node_meta: r.node_meta,
            service,
            check: r.check.map(|c| Box::new(check(*c))),
            checks: r.checks.into_iter().map(check).collect(),
            skip_node_update: r.skip_node_update,
            locality: locality_in(r.locality),
            peer_name: r.peer_name,
            token: r.write.token,
            node: r.node,
        }
    }
}

impl From<&RegisterRequest> for message::RegisterRequest {
    fn from(r: &RegisterRequest) -> message::RegisterRequest {
        message::RegisterRequest {
            datacenter: r.datacenter.clone(),
            id: r.id.clone(),
            node: r.node.clone(),
            address: r.address.clone(),
            tagged_addresses: r.tagged_addresses.clone(),
            node_meta: r.node_meta.clone(),
            service: r.service.as_deref().map(|s| Box::new(s.into())),
            check: r.check.as_deref().map(|c| Box::new(c.into())),
            checks: r.checks.iter().map(message::HealthCheck::from).collect(),
            skip_node_update: r.skip_node_update,
            peer_name: r.peer_name.clone(),
            locality: locality_out(r.locality.as_ref()),
            write: token(&r.token),
            index: RaftIndex::default(),
        }
    }
}

impl From<message::DeregisterRequest> for DeregisterRequest {
    fn from(r: message::DeregisterRequest) -> DeregisterRequest {
        DeregisterRequest {
            datacenter: r.datacenter,
            node: r.node,
            service_id: r.service_id,
            check_id: r.check_id,
            peer_name: r.peer_name,
            token: r.write.token,
        }
    }
}

impl From<&DeregisterRequest> for message::DeregisterRequest {
    fn from(r: &DeregisterRequest) -> message::DeregisterRequest {
        message::DeregisterRequest {
            datacenter: r.datacenter.clone(),
            node: r.node.clone(),
            service_id: r.service_id.clone(),
            check_id: r.check_id.clone(),
            peer_name: r.peer_name.clone(),
            write: token(&r.token),
        }
    }
}

/// The verb that a write of the key/value store is named by.
pub fn kv_word(verb: KvVerb) -> &'static str {
    match verb {
        KvVerb::Set => "set",
        KvVerb::Cas => "cas",
        KvVerb::Lock => "lock",
        KvVerb::Unlock => "unlock",
        KvVerb::Delete => "delete",
        KvVerb::DeleteCas => "delete-cas",
        KvVerb::DeleteTree => "delete-tree",
    }
}

/// The write of that name.
pub fn kv_verb(word: &str) -> Option<KvVerb> {
    Some(match word {
        "set" => KvVerb::Set,
        "cas" => KvVerb::Cas,
        "lock" => KvVerb::Lock,
        "unlock" => KvVerb::Unlock,
        "delete" => KvVerb::Delete,
        "delete-cas" => KvVerb::DeleteCas,
        "delete-tree" => KvVerb::DeleteTree,
        _ => return None,
    })
}

impl DirEntry {
    /// The write of this entry.
    pub fn into_op(self, verb: KvVerb) -> KvOp {
        KvOp {
            verb,
            key: self.key,
            value: self.value.0,
            flags: self.flags,
            session: self.session,
            index: self.modify_index,
        }
    }
}

impl From<&KvOp> for DirEntry {
    fn from(op: &KvOp) -> DirEntry {
        DirEntry {
            key: op.key.clone(),
            flags: op.flags,
            value: Bytes(op.value.clone()),
            session: op.session.clone(),
            modify_index: op.index,
            ..DirEntry::default()
        }
    }
}

impl KvsRequest {
    /// The write as a request.
    pub fn of(datacenter: &str, op: &KvOp) -> KvsRequest {
        KvsRequest {
            datacenter: datacenter.into(),
            op: kv_word(op.verb).into(),
            dir_ent: op.into(),
            write: WriteRequest::default(),
        }
    }

    /// The request as a write.
    ///
    /// # Errors
    /// Nobody knows the operation; the text is Consul's.
    pub fn into_op(self) -> Result<KvOp, String> {
        match kv_verb(&self.op) {
            Some(verb) => Ok(self.dir_ent.into_op(verb)),
            None => Err(format!("Invalid KVS operation '{}'", self.op)),
        }
    }
}

impl SessionRequest {
    /// Asks for a new session.
    pub fn create(datacenter: &str, session: &lictor_wire::Session) -> SessionRequest {
        SessionRequest {
            datacenter: datacenter.into(),
            op: "create".into(),
            session: session.into(),
            write: WriteRequest::default(),
        }
    }

    /// Asks to end a session.
    pub fn destroy(datacenter: &str, id: &str) -> SessionRequest {
        SessionRequest {
            datacenter: datacenter.into(),
            op: "destroy".into(),
            session: message::Session {
                id: id.into(),
                ..message::Session::default()
            },
            write: WriteRequest::default(),
        }
    }
}

impl CoordinateUpdateRequest {
    /// The update as a request.
    pub fn of(datacenter: &str, update: &CoordinateUpdate) -> CoordinateUpdateRequest {
        CoordinateUpdateRequest {
            datacenter: datacenter.into(),
            node: update.node.clone(),
            coord: Some((&update.coord).into()),
            ..CoordinateUpdateRequest::default()
        }
    }

    /// The request as an update; an absent coordinate has no dimensions, and so is incompatible.
    pub fn into_update(self) -> CoordinateUpdate {
        CoordinateUpdate {
            node: self.node,
            coord: Coordinate::from(self.coord.unwrap_or_default()),
        }
    }
}
