//! User events: fired once, delivered once to every member.

use super::message::{EventBody, EventSlot, UserEvent, kind};
use super::{Life, Serf};
use crate::event::Event;
use crate::msgpack::Bytes;

/// Lamport times that are remembered.
pub(super) const RING: u64 = 512;
/// Different events of one time that are remembered: each comes from another member.
const SLOT_MAX: usize = 4096;

/// Why an event was not fired. Nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EventError {
    /// Name and payload, or the message around them, are larger than the limit.
    #[error("user event exceeds limit of {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: usize,
    },
    /// We are leaving or have left.
    #[error("leaving the pool")]
    Leaving,
}

/// The recent events, by time.
#[derive(Debug, Default)]
pub(super) struct Ring {
    slots: Vec<Option<EventSlot>>,
    /// Older ones are not wanted.
    pub min_time: u64,
}

impl Ring {
    /// Whether an event is new and recent; remembers it.
    fn is_new(&mut self, clock: u64, event: &UserEvent) -> bool {
        if event.ltime < self.min_time || (clock > RING && event.ltime < clock - RING) {
            return false;
        }
        if self.slots.is_empty() {
            self.slots.resize(512, None);
        }
        let Ok(at) = usize::try_from(event.ltime % RING) else {
            return false;
        };
        let slot = self.slots[at].get_or_insert_default();
        if slot.ltime != event.ltime {
            *slot = EventSlot {
                events: Vec::new(),
                ltime: event.ltime,
            };
        }
        let known = |body: &EventBody| body.name == event.name && body.payload == event.payload;
        if slot.events.len() >= SLOT_MAX || slot.events.iter().any(known) {
            return false;
        }
        slot.events.push(EventBody {
            name: event.name.clone(),
            payload: event.payload.clone(),
        });
        true
    }

    /// What an exchange carries of it.
    pub(super) fn recent(&self) -> Vec<Option<EventSlot>> {
        self.slots.iter().flatten().cloned().map(Some).collect()
    }
}

impl Serf {
    /// Fires an event: its Lamport time.
    pub(crate) fn fire_event(
        &mut self,
        name: &str,
        payload: &[u8],
        coalesce: bool,
    ) -> Result<u64, EventError> {
        let limit = self.config.serf.user_event_limit;
        if self.life != Life::Alive {
            return Err(EventError::Leaving);
        }
        let ltime = self.event_clock.now();
        let event = UserEvent {
            coalesce,
            ltime,
            name: name.to_owned(),
            payload: Bytes(payload.to_vec()),
        };
        let framed = Self::framed(kind::USER_EVENT, &event);
        // The frame's own byte does not count.
        if name.len() + payload.len() > limit || framed.len() - 1 > limit {
            return Err(EventError::TooLarge { limit });
        }
        self.event_clock.tick();
        self.user_event(event);
        self.enqueue(|it| &mut it.event_queue, framed, None);
        Ok(ltime)
    }

    /// An event came: true if it is news to spread.
    pub(super) fn user_event(&mut self, event: UserEvent) -> bool {
        if !self.event_clock.witness(event.ltime)
            || !self.events_seen.is_new(self.event_clock.now(), &event)
        {
            return false;
        }
        let UserEvent {
            coalesce,
            ltime,
            name,
            payload,
        } = event;
        self.snapshot.saw_event(ltime);
        self.emit(Event::User {
            ltime,
            name,
            payload: payload.0,
            coalesce,
        });
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(ltime: u64, name: &str) -> UserEvent {
        UserEvent {
            coalesce: false,
            ltime,
            name: name.into(),
            payload: Bytes::default(),
        }
    }

    #[test]
    fn each_once_and_none_too_old() {
        let mut ring = Ring::default();
        assert!(ring.is_new(2, &event(1, "a")));
        assert!(!ring.is_new(2, &event(1, "a")));
        assert!(ring.is_new(2, &event(1, "b")));
        assert!(
            ring.is_new(514, &event(513, "a")),
            "the slot of 1 serves 513"
        );
        assert!(!ring.is_new(514, &event(1, "c")));
        assert!(ring.is_new(514, &event(2, "c")));
        ring.min_time = 600;
        assert!(!ring.is_new(601, &event(599, "d")));
        assert!(ring.is_new(601, &event(600, "d")));
        assert_eq!(ring.recent().len(), 3);
    }
}
