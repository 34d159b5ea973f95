//! What the tests of this crate share: a state that is written to, and short words for its rows.

use crate::{Changes, Command, Entry, KvOp, KvVerb, Outcome, State, View, WatchKey};
use lictor_wire::{
    DeregisterRequest, GoDuration, HealthCheck, NodeService, RegisterRequest, Session,
    SessionBehavior, Status, Str,
};
use std::sync::Arc;

/// A state with a clock and a log.
pub(crate) struct World {
    pub(crate) state: State,
    /// The index of the last entry.
    pub(crate) index: u64,
    /// Milliseconds since 1970.
    pub(crate) now: u64,
    /// What the last entry touched.
    pub(crate) changes: Changes,
}

impl World {
    pub(crate) fn new() -> World {
        // Not from one on, so that no index is equal to a count by accident.
        World {
            state: State::default(),
            index: 10,
            now: 1_000_000,
            changes: Changes::default(),
        }
    }

    /// Applies one command, which has travelled through the log.
    pub(crate) fn run(&mut self, command: Command) -> Outcome {
        self.index += 1;
        self.changes.clear();
        let entry = Entry {
            at: self.now,
            command,
        };
        let entry = Entry::decode(&entry.encode()).unwrap();
        self.state.apply(self.index, &entry, &mut self.changes)
    }

    /// A command that must succeed. Gives its index.
    pub(crate) fn done(&mut self, command: Command) -> u64 {
        let outcome = self.run(command);
        assert!(
            matches!(outcome, Outcome::Done | Outcome::Flag(true)),
            "{outcome:?}"
        );
        self.index
    }

    /// A command that must be refused, changing nothing and waking nobody. Gives the text.
    pub(crate) fn refused(&mut self, command: Command) -> String {
        let before = self.bytes();
        let Outcome::Refused(text) = self.run(command) else {
            panic!("not refused")
        };
        assert_eq!(self.bytes(), before, "something changed");
        assert!(self.changes.is_empty(), "{:?}", self.changes);
        text
    }

    pub(crate) fn view(&self) -> View {
        self.state.view()
    }

    /// The snapshot, as if nothing but the applied index had happened.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut state = self.state.clone();
        state.skip(0);
        let mut out = Vec::new();
        crate::write_snapshot(&state.view(), &mut out).unwrap();
        out
    }

    /// Whether the last entry wakes a read that waits for this.
    pub(crate) fn woke(&self, key: &WatchKey) -> bool {
        self.changes
            .keys()
            .iter()
            .any(|changed| match (key, changed) {
                (WatchKey::KvPrefix(prefix), WatchKey::Kv(key)) => key.starts_with(prefix.as_str()),
                _ => key == changed,
            })
    }
}

pub(crate) fn register(r: RegisterRequest) -> Command {
    Command::Register(Box::new(r))
}

/// A node without anything on it.
pub(crate) fn node(name: &str) -> RegisterRequest {
    RegisterRequest {
        node: name.into(),
        address: "10.0.0.1".into(),
        datacenter: "dc1".into(),
        ..RegisterRequest::default()
    }
}

pub(crate) fn instance(id: &str, name: &str) -> NodeService {
    NodeService {
        id: id.into(),
        service: name.into(),
        port: 80,
        ..NodeService::default()
    }
}

/// A proxy that stands for a service in the mesh.
pub(crate) fn proxy(id: &str, name: &str, destination: &str) -> NodeService {
    NodeService {
        kind: "connect-proxy".into(),
        proxy: Some(Box::new(
            serde_json::json!({ "DestinationServiceName": destination }),
        )),
        ..instance(id, name)
    }
}

pub(crate) fn check(id: &str, service_id: &str, status: Status) -> HealthCheck {
    HealthCheck {
        check_id: id.into(),
        name: id.into(),
        service_id: service_id.into(),
        status,
        ..HealthCheck::default()
    }
}

pub(crate) fn with_service(name: &str, service: NodeService) -> Command {
    register(RegisterRequest {
        service: Some(Box::new(service)),
        ..node(name)
    })
}

pub(crate) fn with_check(name: &str, check: HealthCheck) -> Command {
    register(RegisterRequest {
        check: Some(Box::new(check)),
        ..node(name)
    })
}

pub(crate) fn deregister(node: &str, service_id: &str, check_id: &str) -> Command {
    Command::Deregister(DeregisterRequest {
        node: node.into(),
        service_id: service_id.into(),
        check_id: check_id.into(),
        ..DeregisterRequest::default()
    })
}

pub(crate) fn kv_op(verb: KvVerb, key: &str, value: &str) -> KvOp {
    KvOp {
        verb,
        key: key.into(),
        value: Arc::from(value.as_bytes()),
        flags: 0,
        session: Str::new(),
        index: 0,
    }
}

pub(crate) fn set(key: &str, value: &str) -> Command {
    Command::Kv(kv_op(KvVerb::Set, key, value))
}

pub(crate) fn cas(key: &str, value: &str, index: u64) -> Command {
    Command::Kv(KvOp {
        index,
        ..kv_op(KvVerb::Cas, key, value)
    })
}

pub(crate) fn lock(key: &str, session: &str, value: &str) -> Command {
    Command::Kv(KvOp {
        session: session.into(),
        ..kv_op(KvVerb::Lock, key, value)
    })
}

pub(crate) fn unlock(key: &str, session: &str, value: &str) -> Command {
    Command::Kv(KvOp {
        session: session.into(),
        ..kv_op(KvVerb::Unlock, key, value)
    })
}

pub(crate) fn delete(key: &str) -> Command {
    Command::Kv(kv_op(KvVerb::Delete, key, ""))
}

pub(crate) fn delete_cas(key: &str, index: u64) -> Command {
    Command::Kv(KvOp {
        index,
        ..kv_op(KvVerb::DeleteCas, key, "")
    })
}

pub(crate) fn delete_tree(prefix: &str) -> Command {
    Command::Kv(kv_op(KvVerb::DeleteTree, prefix, ""))
}

/// A session without checks.
pub(crate) fn session(id: &str, node: &str, behavior: SessionBehavior, delay_secs: i64) -> Session {
    Session {
        id: id.into(),
        node: node.into(),
        behavior,
        lock_delay: GoDuration::from_secs(delay_secs),
        ..Session::default()
    }
}

pub(crate) fn create(session: Session) -> Command {
    Command::SessionCreate(Box::new(session))
}
