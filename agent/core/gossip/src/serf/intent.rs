//! Intents: what members say that they, or others, are about to do.
//!
//! Memberlist tells who answers; intents tell the difference between leaving and failing.

use std::sync::Arc;

use super::message::{JoinIntent, LeaveIntent, kind};
use super::{Life, MAX_INTENTS, Serf, Status, Timer};
use crate::event::Event;
use crate::time::Time;

/// An intent that came before its member.
#[derive(Clone, Copy, Debug)]
pub(super) struct Intent {
    pub leave: bool,
    pub ltime: u64,
    pub at: Time,
}

impl Serf {
    /// Keeps an intent about an unknown member: true if it is news.
    fn keep_intent(&mut self, now: Time, node: &Arc<str>, leave: bool, ltime: u64) -> bool {
        let intent = Intent {
            leave,
            ltime,
            at: now,
        };
        let full = self.intents.len() >= MAX_INTENTS;
        match self.intents.get_mut(node) {
            Some(known) if known.ltime >= ltime => false,
            Some(known) => {
                *known = intent;
                true
            }
            None if full => {
                self.dropped += 1;
                false
            }
            None => {
                self.intents.insert(node.clone(), intent);
                true
            }
        }
    }

    /// Somebody is said to have joined: true if it is news to spread.
    pub(super) fn join_intent(&mut self, now: Time, intent: &JoinIntent) -> bool {
        if !self.clock.witness(intent.ltime) {
            return false;
        }
        let Some(entry) = self.roster.get_mut(&intent.node) else {
            return self.keep_intent(now, &intent.node, false, intent.ltime);
        };
        if intent.ltime <= entry.status_time {
            return false;
        }
        if intent.node == self.name && self.life == Life::Alive {
            // Somebody knows more of us than we have said: a leave perhaps, which an exchange does
            // not carry. Taking the time over would make us deaf to it.
            self.announce_join();
            return false;
        }
        entry.status_time = intent.ltime;
        if entry.member.status == Status::Leaving {
            // It left and came back before the pool noticed that it was gone.
            self.change_status(&intent.node, Status::Alive);
        }
        true
    }

    /// Somebody is said to be leaving: true if it is news to spread.
    pub(super) fn leave_intent(&mut self, now: Time, intent: &LeaveIntent) -> bool {
        if !self.clock.witness(intent.ltime) {
            return false;
        }
        let Some(entry) = self.roster.get_mut(&intent.node) else {
            return self.keep_intent(now, &intent.node, true, intent.ltime);
        };
        let own = intent.node == self.name && self.life == Life::Alive;
        // Of two at one time, the others may have believed the leave.
        if intent.ltime < entry.status_time || (!own && intent.ltime == entry.status_time) {
            return false;
        }
        if own {
            // Said of an earlier life of ours, or by an operator elsewhere: we are here.
            self.announce_join();
            return false;
        }
        entry.status_time = intent.ltime;
        let status = entry.member.status;
        match status {
            Status::Alive => self.change_status(&intent.node, Status::Leaving),
            Status::Failed => self.mark_left(now, &intent.node),
            Status::Leaving | Status::Left => {}
        }
        if intent.prune {
            if matches!(status, Status::Alive | Status::Leaving) {
                // Let the leave run its course first.
                let serf = &self.config.serf;
                let at = now + serf.broadcast_timeout + serf.leave_propagate_delay;
                self.timers.set(at, Timer::Prune(intent.node.clone()));
            } else {
                self.erase(&intent.node);
            }
        }
        true
    }

    fn change_status(&mut self, name: &str, status: Status) {
        self.roster.set_status(name, status, None);
        if let Some(member) = self.member(name).cloned() {
            self.emit(Event::MemberStatus(member));
        }
    }

    /// A member is gone for good.
    pub(super) fn mark_left(&mut self, now: Time, name: &str) {
        self.roster.set_status(
            name,
            Status::Left,
            Some(now + self.config.serf.tombstone_timeout),
        );
        let Some(member) = self.member(name).cloned() else {
            return;
        };
        self.record_gone(now, &member.name);
        self.emit(Event::MemberLeave(member));
    }

    /// Tells the pool that we are here.
    pub(super) fn announce_join(&mut self) {
        let intent = JoinIntent {
            ltime: self.clock.now(),
            node: self.name.clone(),
        };
        self.clock.witness(intent.ltime);
        if let Some(own) = self.roster.get_mut(&intent.node) {
            own.status_time = own.status_time.max(intent.ltime);
        }
        self.queue_intent(Self::framed(kind::JOIN, &intent), None);
    }

    /// Declares a failed member gone; with `prune`, forgets it at once. False for an unknown name.
    pub(crate) fn force_leave(&mut self, now: Time, name: &str, prune: bool) -> bool {
        let Some(node) = self.member(name).map(|member| member.name.clone()) else {
            return false;
        };
        let intent = LeaveIntent {
            ltime: self.clock.tick(),
            node,
            prune,
        };
        self.leave_intent(now, &intent);
        if self.has_company() {
            self.queue_intent(Self::framed(kind::LEAVE, &intent), None);
        }
        true
    }

    /// Whether another member is present.
    pub(super) fn has_company(&self) -> bool {
        self.roster.present()
            > usize::from(
                self.member(&self.name)
                    .is_some_and(|own| own.status != Status::Left),
            )
    }
}
