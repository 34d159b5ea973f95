//! Sessions: made, and ended with all that hangs on them.

use super::Step;
use crate::command::Outcome;
use crate::view::fold;
use crate::watch::WatchKey;
use lictor_wire::{KvEntry, Session, SessionBehavior, Status, Str};
use std::sync::Arc;

/// A longer lock delay is cut to this, in milliseconds.
pub const LOCK_DELAY_MAX: u64 = 60_000;

impl Step<'_> {
    pub(super) fn session_create(&mut self, given: &Session) -> Outcome {
        if given.id.is_empty() {
            return Outcome::Refused("Missing Session ID".to_owned());
        }
        let node = fold(&given.node);
        if !self.v.nodes.contains_key(&node) {
            return Outcome::Refused("Missing node registration".to_owned());
        }
        let checks = session_checks(given);
        for id in &checks {
            match self.v.checks.get(&(node.clone(), fold(id))) {
                None => return Outcome::Refused(format!("Missing check '{id}' registration")),
                Some(check) if check.status == Status::Critical => {
                    return Outcome::Refused(format!("Check '{id}' is in critical state"));
                }
                Some(_) => {}
            }
        }
        for id in &checks {
            self.v
                .session_checks
                .insert((node.clone(), fold(id), given.id.clone()));
        }
        let mut row = given.clone();
        row.create_index = self.index;
        row.modify_index = self.index;
        self.v.sessions.insert(row.id.clone(), Arc::new(row));
        self.session_touched(&given.id, node);
        Outcome::Done
    }

    fn session_touched(&mut self, id: &Str, node: Str) {
        self.v.tables.sessions = self.index;
        self.changes.touch(WatchKey::Sessions);
        self.changes.touch(WatchKey::Session(id.clone()));
        self.changes.touch(WatchKey::NodeSessions(node));
    }

    pub(super) fn end_sessions_of_check(&mut self, node: &Str, check: &Str) {
        let ids: Vec<Str> = self
            .v
            .session_checks
            .range((node.clone(), check.clone(), Str::new())..)
            .take_while(|(n, c, _)| n == node && c == check)
            .map(|(_, _, id)| id.clone())
            .collect();
        for id in ids {
            self.end_session(&id);
        }
    }

    /// Ends a session: its keys are released or deleted, and cannot be locked for its delay.
    pub(super) fn end_session(&mut self, id: &Str) {
        let Some(session) = self.v.sessions.remove(id) else {
            return;
        };
        let node = fold(&session.node);
        for check in session_checks(&session) {
            self.v
                .session_checks
                .remove(&(node.clone(), fold(&check), id.clone()));
        }
        let delay = u64::try_from(session.lock_delay.0 / 1_000_000)
            .unwrap_or(0)
            .min(LOCK_DELAY_MAX);
        let keys: Vec<Str> = self.v.keys_of_session(id).cloned().collect();
        for key in keys {
            match session.behavior {
                SessionBehavior::Release => self.release(&key),
                SessionBehavior::Delete => self.delete_key(&key),
            }
            self.v.session_keys.remove(&(id.clone(), key.clone()));
            if delay > 0 {
                self.v.lock_delays.insert(key, self.now + delay);
            }
        }
        self.session_touched(id, node);
    }

    fn release(&mut self, key: &Str) {
        let Some(entry) = self.v.kv.get(key) else {
            return;
        };
        let row = KvEntry {
            session: Str::new(),
            modify_index: self.index,
            ..(**entry).clone()
        };
        self.v.kv.insert(key.clone(), Arc::new(row));
        self.v.tables.kvs = self.index;
        self.changes.touch(WatchKey::Kv(key.clone()));
    }
}

/// The checks that a session hangs on, of the node and of services.
fn session_checks(session: &Session) -> Vec<Str> {
    let services = session
        .service_checks
        .iter()
        .flatten()
        .map(|c| c.id.clone());
    session
        .node_checks
        .iter()
        .cloned()
        .chain(services)
        .collect()
}
