//! The numbers of this agent's writes, by which the servers know a second copy of one.
//!
//! See [`RequestId`]: a write whose answer was lost is sent again under its number, and is carried
//! out once. A number is over when nobody waits for the answer any more.

use lictor_state::RequestId;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Gives numbers.
#[derive(Debug)]
pub struct Requests {
    origin: u64,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    last: u64,
    numbers: BTreeSet<u64>,
}

/// A write that somebody waits for. Its number is over when it is dropped.
#[derive(Debug)]
pub struct Ticket {
    requests: Arc<Requests>,
    id: RequestId,
}

impl Requests {
    /// Numbers of an agent that begins. The servers tell agents apart by what chance gives here.
    pub fn new() -> Arc<Requests> {
        let mut bytes = [0; 8];
        crate::random::fill(&mut bytes);
        Arc::new(Requests {
            origin: u64::from_le_bytes(bytes),
            open: Mutex::default(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number for a write that begins.
    pub fn begin(self: &Arc<Requests>) -> Ticket {
        let mut open = self.lock();
        open.last += 1;
        let number = open.last;
        open.numbers.insert(number);
        let floor = open.numbers.first().copied().unwrap_or(number);
        Ticket {
            requests: self.clone(),
            id: RequestId {
                origin: self.origin,
                number,
                floor,
            },
        }
    }
}

impl Ticket {
    /// What the servers are told.
    pub fn id(&self) -> RequestId {
        self.id
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.requests.lock().numbers.remove(&self.id.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floor_is_the_oldest_write_that_is_waited_for() {
        let requests = Requests::new();
        let numbers = |t: &Ticket| (t.id().number, t.id().floor);
        let one = requests.begin();
        let two = requests.begin();
        assert_eq!((numbers(&one), numbers(&two)), ((1, 1), (2, 1)));
        drop(two);
        assert_eq!(numbers(&requests.begin()), (3, 1));
        drop(one);
        assert_eq!(numbers(&requests.begin()), (4, 4));
        assert_ne!(Requests::new().begin().id().origin, requests.origin);
    }
}
