//! Joining: full exchanges with addresses that somebody gave us.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use super::{Effect, Life, Serf};
use crate::event::Event;
use crate::memberlist::{Exchange, StreamError};
use crate::time::Time;

/// A running join.
#[derive(Debug)]
struct Join {
    waiting: VecDeque<SocketAddr>,
    running: usize,
    contacted: usize,
    failed: Vec<(SocketAddr, StreamError)>,
    ignore_old: bool,
    /// One success is enough.
    any: bool,
}

/// All running joins.
#[derive(Debug, Default)]
pub(super) struct Joins {
    open: BTreeMap<u64, Join>,
    next: u64,
}

/// Addresses that are tried at once.
const AT_ONCE: usize = 8;
/// Joins that run at once, and addresses of each.
const MAX_JOINS: usize = 64;
const MAX_TARGETS: usize = 4096;

impl Serf {
    /// Joins by these addresses; with `any`, until the first success. [`Event::JoinDone`] tells the
    /// end. A call beyond the bounds ends at once without a contact.
    pub(crate) fn join(
        &mut self,
        now: Time,
        targets: &[SocketAddr],
        ignore_old: bool,
        any: bool,
    ) -> u64 {
        self.joins.next += 1;
        let id = self.joins.next;
        let mut join = Join {
            waiting: targets.iter().copied().take(MAX_TARGETS).collect(),
            running: 0,
            contacted: 0,
            failed: Vec::new(),
            ignore_old,
            any,
        };
        let refused = match () {
            () if self.life != Life::Alive => Some(StreamError::Leaving),
            () if self.joins.open.len() >= MAX_JOINS => Some(StreamError::TooMany),
            () => None,
        };
        if let Some(error) = refused {
            join.failed = join
                .waiting
                .drain(..)
                .map(|to| (to, error.clone()))
                .collect();
        }
        self.joins.open.insert(id, join);
        self.continue_join(now, id);
        id
    }

    /// An exchange of a join ended.
    pub(super) fn join_progress(
        &mut self,
        now: Time,
        id: u64,
        with: SocketAddr,
        result: Result<(), StreamError>,
    ) {
        let Some(join) = self.joins.open.get_mut(&id) else {
            return;
        };
        join.running = join.running.saturating_sub(1);
        match result {
            Ok(()) => {
                join.contacted += 1;
                if join.any {
                    join.waiting.clear();
                }
            }
            Err(error) => join.failed.push((with, error)),
        }
        self.continue_join(now, id);
    }

    fn continue_join(&mut self, _now: Time, id: u64) {
        let Some(join) = self.joins.open.get_mut(&id) else {
            return;
        };
        let at_once = if join.any { 1 } else { AT_ONCE };
        while join.running < at_once
            && let Some(to) = join.waiting.pop_front()
        {
            join.running += 1;
            let exchange = Exchange::Join {
                id,
                ignore_old: join.ignore_old,
            };
            self.effects.push_back(Effect::Exchange { exchange, to });
        }
        if join.running > 0 {
            return;
        }
        let Some(join) = self.joins.open.remove(&id) else {
            return;
        };
        if join.contacted > 0 {
            self.announce_join();
        }
        self.emit(Event::JoinDone {
            id,
            contacted: join.contacted,
            failed: join.failed,
        });
    }
}
