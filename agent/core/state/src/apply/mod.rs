//! The one place where the state changes.

mod catalog;
mod kv;
mod once;
pub(crate) mod session;
mod txn;

use crate::command::{Command, CoordinateUpdate, Entry, Outcome};
use crate::view::{View, fold};
use crate::watch::{Changes, WatchKey};
use std::sync::Arc;

/// The state that commands are applied to. Readers take a [`View`] of it.
#[derive(Clone, Debug, Default)]
pub struct State {
    view: View,
}

/// What a step of `apply` needs at hand.
pub(crate) struct Step<'a> {
    pub(crate) v: &'a mut View,
    pub(crate) changes: &'a mut Changes,
    /// The index of the entry.
    pub(crate) index: u64,
    /// Milliseconds since 1970, stamped by the leader.
    now: u64,
}

/// A place to return to.
struct Saved {
    view: View,
    mark: usize,
}

impl State {
    /// A state that goes on from a view, for example a restored one.
    pub fn from_view(view: View) -> State {
        State { view }
    }

    /// What readers may see of it now.
    pub fn view(&self) -> View {
        self.view.clone()
    }

    /// The index of the last entry applied.
    pub fn index(&self) -> u64 {
        self.view.index
    }

    /// Notes an entry that carries no command: only the applied index moves.
    pub fn skip(&mut self, index: u64) {
        self.view.index = index;
    }

    /// Applies a committed entry. Total, deterministic and silent; a refused command changes
    /// nothing. What it touched is added to `changes`.
    pub fn apply(&mut self, index: u64, entry: &Entry, changes: &mut Changes) -> Outcome {
        self.view.index = index;
        let mut step = Step {
            v: &mut self.view,
            changes,
            index,
            now: entry.at,
        };
        step.run(&entry.command)
    }
}

impl Step<'_> {
    fn run(&mut self, command: &Command) -> Outcome {
        match command {
            Command::Register(request) => self.register(request),
            Command::Deregister(request) => self.deregister(request),
            Command::Kv(op) => self.kv(op),
            Command::SessionCreate(session) => self.session_create(session),
            Command::SessionDestroy(id) => {
                self.end_session(id);
                Outcome::Done
            }
            Command::ReapTombstones(up_to) => self.reap_tombstones(*up_to),
            Command::Coordinates(all) => self.coordinates(all),
            Command::Batch(all) => Outcome::Batch(all.iter().map(|c| self.run(c)).collect()),
            Command::Txn(ops) => self.txn(ops),
            Command::Autopilot(change) => self.autopilot(change),
            Command::Once(id, command) => self.once(*id, command),
        }
    }

    /// What is needed to undo what follows. The tables are persistent: this copies pointers.
    fn save(&self) -> Saved {
        Saved {
            view: self.v.clone(),
            mark: self.changes.mark(),
        }
    }

    /// Undoes all that was done since, so that nobody wakes for it. The applied index stays.
    fn undo(&mut self, saved: Saved) {
        *self.v = saved.view;
        self.changes.rewind(saved.mark);
    }

    fn coordinates(&mut self, all: &[CoordinateUpdate]) -> Outcome {
        for update in all {
            let node = fold(&update.node);
            // A node that left meanwhile is no error: the batch was collected before.
            if !self.v.nodes.contains_key(&node) {
                continue;
            }
            self.v
                .coordinates
                .insert(node.clone(), Arc::new(update.coord.clone()));
            self.v.tables.coordinates = self.index;
            self.changes.touch(WatchKey::Coordinates);
            self.changes.touch(WatchKey::NodeCoordinate(node));
        }
        Outcome::Done
    }
}

#[cfg(test)]
mod tests;
