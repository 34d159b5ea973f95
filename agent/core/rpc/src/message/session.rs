//! `Session`.

use super::{QueryMeta, QueryOptions, WriteRequest, messages};
use lictor_wire::Str;

messages! {
    /// A session.
    Session {
        id: Str = "ID",
        name: Str = "Name",
        node: Str = "Node",
        /// Nanoseconds.
        lock_delay: i64 = "LockDelay",
        /// `release` or `delete`.
        behavior: Str = "Behavior",
        /// A duration as text.
        ttl: Str = "TTL",
        node_checks: Vec<Str> = "NodeChecks",
        service_checks: Vec<ServiceCheck> = "ServiceChecks",
        /// The list of checks before 1.7.
        checks: Vec<Str> = "Checks",
        create_index: u64 = "CreateIndex",
        modify_index: u64 = "ModifyIndex",
    }

    /// A service check named by a session.
    ServiceCheck {
        id: Str = "ID",
        namespace: Str = "Namespace",
    }

    /// Arguments of `Session.Apply`; the reply is the id of a new session.
    SessionRequest {
        datacenter: Str = "Datacenter",
        /// `create` or `destroy`.
        op: Str = "Op",
        session: Session = "Session",
        ..write: WriteRequest,
    }

    /// Arguments of `Session.Get` and `Session.Renew`.
    SessionSpecificRequest {
        datacenter: Str = "Datacenter",
        session_id: Str = "SessionID",
        /// The name of the field before 1.7.
        session: Str = "Session",
        ..options: QueryOptions,
    }

    /// Reply of the reads.
    IndexedSessions {
        sessions: Vec<Session> = "Sessions",
        ..meta: QueryMeta,
    }
}

impl SessionSpecificRequest {
    /// Names the session in both fields, for servers of any version.
    #[must_use]
    pub fn of(datacenter: &str, id: &str, options: QueryOptions) -> SessionSpecificRequest {
        SessionSpecificRequest {
            datacenter: datacenter.into(),
            session_id: id.into(),
            session: id.into(),
            options,
        }
    }

    /// The session named, in whichever field.
    pub fn id(&self) -> &Str {
        if self.session_id.is_empty() {
            &self.session
        } else {
            &self.session_id
        }
    }
}

impl Session {
    /// The form that servers before 1.7 understand: one list of checks. Servers since then would
    /// take a check that stands in both lists for two.
    #[must_use]
    pub fn for_servers_before_1_7(mut self) -> Session {
        self.checks.append(&mut self.node_checks);
        self
    }
}
