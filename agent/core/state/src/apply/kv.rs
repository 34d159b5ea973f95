//! The key/value store.

use super::Step;
use crate::command::{KvOp, KvVerb, Outcome};
use crate::watch::WatchKey;
use lictor_wire::duration::go_quote;
use lictor_wire::{KvEntry, Str};
use std::sync::Arc;

impl Step<'_> {
    pub(super) fn kv(&mut self, op: &KvOp) -> Outcome {
        match op.verb {
            KvVerb::Set => {
                self.put(op, Lock::Keep);
                Outcome::Flag(true)
            }
            KvVerb::Cas => {
                let current = self.v.kv.get(&op.key).map(|e| e.modify_index);
                let fits = match current {
                    None => op.index == 0,
                    Some(index) => op.index != 0 && op.index == index,
                };
                if fits {
                    self.put(op, Lock::Keep);
                }
                Outcome::Flag(fits)
            }
            KvVerb::Lock => self.lock(op),
            KvVerb::Unlock => self.unlock(op),
            KvVerb::Delete => {
                self.delete_key(&op.key);
                Outcome::Flag(true)
            }
            KvVerb::DeleteCas => match self.v.kv.get(&op.key).map(|e| e.modify_index) {
                None => Outcome::Flag(true),
                Some(index) if index == op.index => {
                    self.delete_key(&op.key);
                    Outcome::Flag(true)
                }
                Some(_) => Outcome::Flag(false),
            },
            KvVerb::DeleteTree => {
                self.delete_tree(&op.key);
                Outcome::Flag(true)
            }
        }
    }

    fn lock(&mut self, op: &KvOp) -> Outcome {
        // The delay is looked at first, as in Consul: within it even an unknown session is only
        // told to wait.
        match self.v.lock_delays.get(&op.key) {
            Some(until) if self.now < *until => return Outcome::Flag(false),
            Some(_) => {
                self.v.lock_delays.remove(&op.key);
            }
            None => {}
        }
        if op.session.is_empty() {
            return Outcome::Refused("missing session".to_owned());
        }
        if !self.v.sessions.contains_key(&op.session) {
            return Outcome::Refused(format!("invalid session {}", go_quote(&op.session)));
        }
        match self.v.kv.get(&op.key) {
            Some(entry) if entry.session == op.session => self.put(op, Lock::Again),
            Some(entry) if !entry.session.is_empty() => return Outcome::Flag(false),
            _ => self.put(op, Lock::Take),
        }
        Outcome::Flag(true)
    }

    fn unlock(&mut self, op: &KvOp) -> Outcome {
        if op.session.is_empty() {
            return Outcome::Refused("missing session".to_owned());
        }
        match self.v.kv.get(&op.key) {
            Some(entry) if entry.session == op.session => {
                self.put(op, Lock::Free);
                Outcome::Flag(true)
            }
            _ => Outcome::Flag(false),
        }
    }

    fn put(&mut self, op: &KvOp, lock: Lock) {
        let known = self.v.kv.get(&op.key);
        let (held, times) = known.map_or((Str::new(), 0), |e| (e.session.clone(), e.lock_index));
        let (session, lock_index) = match lock {
            // A plain write keeps the holder and forgets how often the key was locked.
            Lock::Keep => (held.clone(), 0),
            Lock::Take => (op.session.clone(), times + 1),
            Lock::Again => (op.session.clone(), times),
            Lock::Free => (Str::new(), times),
        };
        let mut row = KvEntry {
            lock_index,
            key: op.key.clone(),
            flags: op.flags,
            value: op.value.clone(),
            session,
            create_index: self.index,
            modify_index: self.index,
        };
        if let Some(known) = known {
            row.create_index = known.create_index;
            row.modify_index = known.modify_index;
            if **known == row {
                return;
            }
            row.modify_index = self.index;
        }
        if held != row.session {
            if !held.is_empty() {
                self.v.session_keys.remove(&(held, op.key.clone()));
            }
            if !row.session.is_empty() {
                self.v
                    .session_keys
                    .insert((row.session.clone(), op.key.clone()));
            }
        }
        self.v.kv.insert(op.key.clone(), Arc::new(row));
        self.v.tables.kvs = self.index;
        self.changes.touch(WatchKey::Kv(op.key.clone()));
    }

    /// Removes a key, leaving a tombstone for the lists that held it.
    pub(super) fn delete_key(&mut self, key: &Str) {
        if self.forget_key(key) {
            self.v.tombstones.insert(key.clone(), self.index);
            self.v.tables.tombstones = self.index;
        }
    }

    fn forget_key(&mut self, key: &Str) -> bool {
        let Some(entry) = self.v.kv.remove(key) else {
            return false;
        };
        if !entry.session.is_empty() {
            self.v
                .session_keys
                .remove(&(entry.session.clone(), key.clone()));
        }
        self.v.tables.kvs = self.index;
        self.changes.touch(WatchKey::Kv(key.clone()));
        true
    }

    fn delete_tree(&mut self, prefix: &Str) {
        let keys: Vec<Str> = self.v.kv_range(prefix).map(|e| e.key.clone()).collect();
        if keys.is_empty() {
            return;
        }
        for key in &keys {
            self.forget_key(key);
        }
        // One tombstone for the prefix; none for everything, whose index is the table's. Older
        // ones below it go: a list below the prefix does not see the new one, and an old one must
        // not hold its index back. Without any, the index is the table's, which is not lower.
        let older: Vec<Str> = self.v.tombstones_below(prefix).cloned().collect();
        for key in older {
            self.v.tombstones.remove(&key);
        }
        if !prefix.is_empty() {
            self.v.tombstones.insert(prefix.clone(), self.index);
            self.v.tables.tombstones = self.index;
        }
    }

    pub(super) fn reap_tombstones(&mut self, up_to: u64) -> Outcome {
        let gone: Vec<Str> = self
            .v
            .tombstones
            .iter()
            .filter(|(_, at)| **at <= up_to)
            .map(|(key, _)| key.clone())
            .collect();
        for key in gone {
            self.v.tombstones.remove(&key);
        }
        let over: Vec<Str> = self
            .v
            .lock_delays
            .iter()
            .filter(|(_, until)| **until <= self.now)
            .map(|(key, _)| key.clone())
            .collect();
        for key in over {
            self.v.lock_delays.remove(&key);
        }
        Outcome::Done
    }
}

/// What a write does to the lock.
#[derive(Clone, Copy)]
enum Lock {
    Keep,
    Take,
    Again,
    Free,
}
