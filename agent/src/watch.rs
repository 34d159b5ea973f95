//! Who waits for what.
//!
//! A blocking query registers for exactly the [`WatchKey`]s it read, then reads, then sleeps. A
//! change wakes the slots of the keys it touched and nobody else. A slot lives as long as someone
//! waits on it, so that an idle system holds nothing.

use lictor_state::{Changes, WatchKey};
use lictor_wire::Str;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// The registry of all waiting reads.
#[derive(Debug, Default)]
pub struct Watches {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    slots: HashMap<WatchKey, (Arc<Slot>, usize)>,
    /// The lengths of watched key prefixes, with how many slots have each: a changed key is
    /// looked up once for each length, however many prefixes are watched.
    prefix_lengths: BTreeMap<usize, usize>,
}

#[derive(Debug, Default)]
struct Slot {
    generation: AtomicU64,
    notify: Notify,
}

/// A registration. What changes after it was made ends its [`Watch::changed`].
#[derive(Debug)]
pub struct Watch {
    watches: Arc<Watches>,
    keys: Vec<(WatchKey, Arc<Slot>, u64)>,
}

impl Watches {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // The map is whole at every point where a panic could happen: nothing in between.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers for these keys.
    pub fn register(self: &Arc<Watches>, keys: Vec<WatchKey>) -> Watch {
        let mut inner = self.lock();
        let keys = keys
            .into_iter()
            .map(|key| {
                let slot = match inner.slots.get_mut(&key) {
                    Some((slot, users)) => {
                        *users += 1;
                        slot.clone()
                    }
                    None => {
                        if let WatchKey::KvPrefix(prefix) = &key {
                            *inner.prefix_lengths.entry(prefix.len()).or_default() += 1;
                        }
                        let slot = Arc::new(Slot::default());
                        inner.slots.insert(key.clone(), (slot.clone(), 1));
                        slot
                    }
                };
                let generation = slot.generation.load(Ordering::Acquire);
                (key, slot, generation)
            })
            .collect();
        Watch {
            watches: self.clone(),
            keys,
        }
    }

    /// Wakes all who wait for what was touched.
    pub fn wake(&self, changes: &Changes) {
        let mut woken: Vec<Arc<Slot>> = Vec::new();
        {
            let inner = self.lock();
            if inner.slots.is_empty() {
                return;
            }
            for key in changes.keys() {
                if let Some((slot, _)) = inner.slots.get(key) {
                    woken.push(slot.clone());
                }
                if let WatchKey::Kv(name) = key {
                    for length in inner
                        .prefix_lengths
                        .keys()
                        .take_while(|n| **n <= name.len())
                    {
                        let Some(prefix) = name.get(..*length) else {
                            continue;
                        };
                        if let Some((slot, _)) =
                            inner.slots.get(&WatchKey::KvPrefix(Str::from(prefix)))
                        {
                            woken.push(slot.clone());
                        }
                    }
                }
            }
        }
        for slot in woken {
            slot.wake();
        }
    }

    /// Wakes everyone: after a restore, and when the agent ends.
    pub fn wake_all(&self) {
        let all: Vec<Arc<Slot>> = self
            .lock()
            .slots
            .values()
            .map(|(slot, _)| slot.clone())
            .collect();
        for slot in all {
            slot.wake();
        }
    }

    /// How many distinct things are waited for.
    pub fn len(&self) -> usize {
        self.lock().slots.len()
    }
}

impl Slot {
    fn wake(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.notify.notify_waiters();
    }

    async fn changed(&self, since: u64) {
        loop {
            // Made before the look at the generation: a wake in between is not lost.
            let notified = self.notify.notified();
            if self.generation.load(Ordering::Acquire) != since {
                return;
            }
            notified.await;
        }
    }
}

impl Watch {
    /// Ends when one of the keys was touched since the registration, or since the last call.
    pub async fn changed(&mut self) {
        match self.keys.as_slice() {
            [] => std::future::pending().await,
            [(_, slot, since)] => slot.changed(*since).await,
            many => {
                let waits = many
                    .iter()
                    .map(|(_, slot, since)| Box::pin(slot.changed(*since)));
                futures_util::future::select_all(waits).await;
            }
        }
        for (_, slot, since) in &mut self.keys {
            *since = slot.generation.load(Ordering::Acquire);
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut inner = self.watches.lock();
        for (key, _, _) in self.keys.drain(..) {
            let Some((_, users)) = inner.slots.get_mut(&key) else {
                continue;
            };
            *users -= 1;
            if *users > 0 {
                continue;
            }
            inner.slots.remove(&key);
            if let WatchKey::KvPrefix(prefix) = &key
                && let Some(count) = inner.prefix_lengths.get_mut(&prefix.len())
            {
                *count -= 1;
                if *count == 0 {
                    inner.prefix_lengths.remove(&prefix.len());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    fn touched(keys: &[WatchKey]) -> Changes {
        let mut changes = Changes::default();
        keys.iter().for_each(|k| changes.touch(k.clone()));
        changes
    }

    #[test]
    fn a_change_wakes_those_who_read_it_and_no_others() {
        let all = Arc::new(Watches::default());
        let mut web = all.register(vec![WatchKey::Service("web".into())]);
        let mut db = all.register(vec![WatchKey::Service("db".into()), WatchKey::Nodes]);
        all.wake(&touched(&[WatchKey::Service("web".into())]));
        assert!(web.changed().now_or_never().is_some());
        assert!(
            web.changed().now_or_never().is_none(),
            "one wake for one change"
        );
        assert!(db.changed().now_or_never().is_none());
        all.wake(&touched(&[WatchKey::Nodes]));
        assert!(db.changed().now_or_never().is_some());
        drop((web, db));
        assert_eq!(all.len(), 0);
    }

    #[test]
    fn a_key_wakes_the_prefixes_it_lies_under() {
        let all = Arc::new(Watches::default());
        let mut under = all.register(vec![WatchKey::KvPrefix("a/b".into())]);
        let mut every = all.register(vec![WatchKey::KvPrefix("".into())]);
        let mut other = all.register(vec![WatchKey::KvPrefix("a/c".into())]);
        all.wake(&touched(&[WatchKey::Kv("a/b/c".into())]));
        assert!(under.changed().now_or_never().is_some());
        assert!(every.changed().now_or_never().is_some());
        assert!(other.changed().now_or_never().is_none());
        // A prefix length that splits a letter is no prefix.
        all.wake(&touched(&[WatchKey::Kv("a\u{e9}".into())]));
        assert!(under.changed().now_or_never().is_none());
        drop((under, every, other));
        assert!(all.lock().prefix_lengths.is_empty());
    }

    #[test]
    fn what_changes_between_registration_and_wait_is_seen() {
        let all = Arc::new(Watches::default());
        let mut watch = all.register(vec![WatchKey::Nodes]);
        all.wake(&touched(&[WatchKey::Nodes]));
        assert!(watch.changed().now_or_never().is_some());
        all.wake_all();
        assert!(watch.changed().now_or_never().is_some());
    }
}
