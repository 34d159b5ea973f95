//! Leaving: say so, go, and stay a while to answer those who have not heard.

use super::message::{LeaveIntent, kind};
use super::{Effect, Life, Serf, Timer};
use crate::event::Event;
use crate::memberlist::Token;
use crate::time::Time;

/// Where a leave stands, and until when it waits there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    None,
    /// The intent is being gossiped.
    Intent(Time),
    /// Memberlist's goodbye is being gossiped.
    Goodbye(Time),
    /// It spreads, while we answer probes.
    Propagate(Time),
    Done,
}

/// The intent's token in Serf's queue.
const INTENT: Token = 1;
/// The goodbye's token in memberlist's queue.
pub(crate) const GOODBYE: Token = 2;

impl Serf {
    /// Begins to leave. [`Event::Left`] tells the end.
    pub(crate) fn leave(&mut self, now: Time) {
        if self.life != Life::Alive {
            return;
        }
        self.life = Life::Leaving;
        self.record_leave();
        let intent = LeaveIntent {
            ltime: self.clock.tick(),
            node: self.name.clone(),
            prune: false,
        };
        self.leave_intent(now, &intent);
        if self.has_company() {
            self.queue_intent(Self::framed(kind::LEAVE, &intent), Some(INTENT));
            self.enter(Phase::Intent(now + self.config.serf.broadcast_timeout));
        } else {
            self.goodbye(now);
        }
    }

    fn enter(&mut self, phase: Phase) {
        if let Some(at) = self.leave.deadline() {
            self.timers.cancel(at, Timer::Leave);
        }
        self.leave = phase;
        if let Some(at) = phase.deadline() {
            self.timers.set(at, Timer::Leave);
        }
    }

    fn goodbye(&mut self, now: Time) {
        self.enter(Phase::Goodbye(now + self.config.serf.broadcast_timeout));
        self.effects.push_back(Effect::Leave);
    }

    /// Memberlist said goodbye; `heard` if somebody is there to hear it.
    pub(crate) fn said_goodbye(&mut self, now: Time, heard: bool) {
        if !heard {
            self.finish_leave(now);
        }
    }

    fn finish_leave(&mut self, _now: Time) {
        self.enter(Phase::Done);
        self.life = Life::Left;
        self.emit(Event::Left);
    }

    /// The time of a phase is over.
    pub(super) fn leave_step(&mut self, now: Time) {
        match self.leave {
            Phase::Intent(_) => self.goodbye(now),
            Phase::Goodbye(_) => self.enter(Phase::Propagate(
                now + self.config.serf.leave_propagate_delay,
            )),
            Phase::Propagate(_) => self.finish_leave(now),
            Phase::None | Phase::Done => {}
        }
    }

    /// Messages with these tokens were sent as often as they are.
    pub(crate) fn notice_sent(&mut self, now: Time, memberlist: &[Token]) {
        if matches!(self.leave, Phase::Goodbye(_)) && memberlist.contains(&GOODBYE) {
            self.leave_step(now);
        }
        if self.intent_queue.take_done().contains(&INTENT) && matches!(self.leave, Phase::Intent(_))
        {
            self.leave_step(now);
        }
    }
}

impl Phase {
    const fn deadline(self) -> Option<Time> {
        match self {
            Self::Intent(at) | Self::Goodbye(at) | Self::Propagate(at) => Some(at),
            Self::None | Self::Done => None,
        }
    }
}
