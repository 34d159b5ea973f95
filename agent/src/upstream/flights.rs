//! Equal blocking queries share a call.
//!
//! The call lives as long as somebody waits for it.

use crate::query::{Freshness, Query};
use crate::store::{Answered, WriteError};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// What two queries must have in common to share a call.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) query: Query,
    pub(super) index: u64,
    pub(super) freshness: Freshness,
}

/// The calls that are on their way.
#[derive(Debug, Default)]
pub(super) struct Flights {
    all: Mutex<HashMap<Key, Weak<Flight>>>,
}

type Landed = Option<Result<Answered, WriteError>>;

/// A call on its way, with all who wait for it.
#[derive(Debug)]
pub(super) struct Flight {
    key: Key,
    begun: Instant,
    landed: watch::Receiver<Landed>,
    task: AbortHandle,
    flights: Weak<Flights>,
}

impl Flights {
    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Weak<Flight>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The call of this key that is on its way, if it began after `since`, or a new one, and
    /// whether it is new.
    pub(super) fn join<F, R>(
        self: &Arc<Flights>,
        key: Key,
        since: Option<Instant>,
        start: F,
    ) -> (Arc<Flight>, bool)
    where
        F: FnOnce(Key) -> R,
        R: Future<Output = Result<Answered, WriteError>> + Send + 'static,
    {
        let mut all = self.lock();
        if let Some(flight) = all.get(&key).and_then(Weak::upgrade) {
            // One that has landed says what was, not what is.
            let serves = since.is_none_or(|since| flight.begun >= since);
            if serves && flight.landed.borrow().is_none() {
                return (flight, false);
            }
        }
        let (tell, landed) = watch::channel(None);
        let call = start(key.clone());
        let task = tokio::spawn(async move {
            let result = call.await;
            tell.send_replace(Some(result));
        });
        let flight = Arc::new(Flight {
            key: key.clone(),
            begun: Instant::now(),
            landed,
            task: task.abort_handle(),
            flights: Arc::downgrade(self),
        });
        all.insert(key, Arc::downgrade(&flight));
        (flight, true)
    }

    /// How many there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }
}

impl Flight {
    /// What came of the call.
    pub(super) async fn landed(&self) -> Result<Answered, WriteError> {
        let mut landed = self.landed.clone();
        match landed.wait_for(Option::is_some).await {
            Ok(result) => result.clone().unwrap_or(Err(WriteError::Stopped)),
            Err(_) => Err(WriteError::Stopped),
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.task.abort();
        let Some(flights) = self.flights.upgrade() else {
            return;
        };
        if let Entry::Occupied(entry) = flights.lock().entry(self.key.clone())
            // Another one may have set out meanwhile.
            && entry.get().strong_count() == 0
        {
            entry.remove();
        }
    }
}
