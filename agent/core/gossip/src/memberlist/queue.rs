//! The queue of messages to gossip: each is sent a limited number of times, the least sent first.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

/// Identifies a message whose end somebody waits for.
pub type Token = u64;

/// The order of sending: fewest transmissions, then the larger, then the newer.
type Key = (u32, Reverse<usize>, Reverse<u64>);

#[derive(Debug)]
struct Item {
    bytes: Arc<[u8]>,
    name: Option<Arc<str>>,
    token: Option<Token>,
}

/// A queue with a bound: when it is full, the message sent most often makes room.
#[derive(Debug, Default)]
pub struct Queue {
    items: BTreeMap<Key, Item>,
    by_name: BTreeMap<Arc<str>, Key>,
    next_id: u64,
    done: Vec<Token>,
}

impl Queue {
    /// Messages that wait.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Adds a message. One about the same name is replaced. Returns how many others had to go for
    /// the bound.
    pub fn push(
        &mut self,
        name: Option<Arc<str>>,
        bytes: Arc<[u8]>,
        token: Option<Token>,
        bound: usize,
    ) -> usize {
        if let Some(old) = name
            .as_ref()
            .and_then(|name| self.by_name.get(name).copied())
        {
            self.remove(old);
        }
        let mut dropped = 0;
        while self.items.len() >= bound.max(1) {
            let Some((&last, _)) = self.items.last_key_value() else {
                break;
            };
            self.remove(last);
            dropped += 1;
        }
        self.next_id += 1;
        let key = (0, Reverse(bytes.len()), Reverse(self.next_id));
        self.insert(key, Item { bytes, name, token });
        dropped
    }

    fn insert(&mut self, key: Key, item: Item) {
        if let Some(name) = &item.name {
            self.by_name.insert(name.clone(), key);
        }
        self.items.insert(key, item);
    }

    fn remove(&mut self, key: Key) -> Option<Item> {
        let item = self.items.remove(&key)?;
        if let Some(name) = &item.name {
            self.by_name.remove(name);
        }
        // Nobody will wait for what cannot be sent any more.
        self.done.extend(item.token);
        Some(item)
    }

    /// Takes messages for one packet, as many as fit: each costs its length and `overhead` of `room`.
    pub fn take(
        &mut self,
        overhead: usize,
        room: &mut usize,
        limit: u32,
        most: usize,
        out: &mut Vec<Arc<[u8]>>,
    ) {
        if self.items.is_empty() {
            return;
        }
        let mut again = Vec::new();
        let mut transmits = 0;
        while out.len() < most {
            let Some(fits) = room.checked_sub(overhead) else {
                break;
            };
            // The largest that fits among those sent this often.
            let from = (transmits, Reverse(fits), Reverse(u64::MAX));
            let Some((&key, _)) = self
                .items
                .range((Bound::Included(from), Bound::Unbounded))
                .next()
            else {
                break;
            };
            if key.0 != transmits {
                transmits = key.0;
                continue;
            }
            let Some(mut item) = self.items.remove(&key) else {
                break;
            };
            *room -= item.bytes.len() + overhead;
            out.push(item.bytes.clone());
            if transmits + 1 >= limit {
                if let Some(name) = &item.name {
                    self.by_name.remove(name);
                }
                self.done.extend(item.token.take());
            } else {
                again.push(((transmits + 1, key.1, key.2), item));
            }
        }
        // Only now, so that no message is twice in one packet.
        for (key, item) in again {
            self.insert(key, item);
        }
    }

    /// Messages for one packet, in the order of sending, without counting it as a transmission.
    pub fn peek(&self, overhead: usize, mut room: usize, most: usize) -> Vec<Arc<[u8]>> {
        // The first few are enough: the rest gets its turn.
        let mut out = Vec::new();
        for item in self.items.values().take(most) {
            if let Some(left) = room.checked_sub(item.bytes.len() + overhead) {
                room = left;
                out.push(item.bytes.clone());
            }
        }
        out
    }

    /// The tokens of messages that were sent as often as they are, or replaced.
    pub fn take_done(&mut self) -> Vec<Token> {
        std::mem::take(&mut self.done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(len: usize, byte: u8) -> Arc<[u8]> {
        vec![byte; len].into()
    }

    fn take(queue: &mut Queue, mut room: usize, limit: u32) -> Vec<(usize, u8)> {
        let mut out = Vec::new();
        queue.take(2, &mut room, limit, 100, &mut out);
        out.iter().map(|m| (m.len(), m[0])).collect()
    }

    #[test]
    fn least_sent_then_largest_then_newest() {
        let mut queue = Queue::default();
        for (len, byte) in [(10, 1), (20, 2), (10, 3)] {
            queue.push(None, message(len, byte), None, 100);
        }
        assert_eq!(take(&mut queue, 22, 3), [(20, 2)]);
        assert_eq!(take(&mut queue, 24, 3), [(10, 3), (10, 1)]);
        // All were sent once now; the newest of equal length goes first again.
        assert_eq!(take(&mut queue, 12, 3), [(10, 3)]);
        assert_eq!(take(&mut queue, 1000, 3), [(20, 2), (10, 1), (10, 3)]);
        assert_eq!(take(&mut queue, 1000, 3), [(20, 2), (10, 1)]);
        assert!(queue.is_empty());
    }

    #[test]
    fn a_packet_is_filled_with_what_still_fits() {
        let mut queue = Queue::default();
        for (len, byte) in [(50, 1), (30, 2), (5, 3)] {
            queue.push(None, message(len, byte), None, 100);
        }
        assert_eq!(take(&mut queue, 60, 9), [(50, 1), (5, 3)]);
        // What is too large waits, and does not hold up the rest.
        assert_eq!(take(&mut queue, 8, 9), [(5, 3)]);
        assert_eq!(take(&mut queue, 1, 9), []);
    }

    #[test]
    fn one_message_a_name_and_tokens_come_back() {
        let mut queue = Queue::default();
        queue.push(Some("a".into()), message(5, 1), Some(7), 100);
        queue.push(Some("a".into()), message(5, 2), Some(8), 100);
        assert_eq!(queue.take_done(), [7]);
        assert_eq!(take(&mut queue, 100, 2), [(5, 2)]);
        assert_eq!(queue.take_done(), []);
        assert_eq!(take(&mut queue, 100, 2), [(5, 2)]);
        assert_eq!(queue.take_done(), [8]);
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn a_peek_spends_nothing() {
        let mut queue = Queue::default();
        queue.push(None, message(50, 1), None, 100);
        queue.push(None, message(5, 2), None, 100);
        assert_eq!(
            queue
                .peek(2, 40, 9)
                .iter()
                .map(|m| m.len())
                .collect::<Vec<_>>(),
            [5]
        );
        assert_eq!(queue.peek(2, 100, 9).len(), 2);
        assert_eq!(take(&mut queue, 100, 1).len(), 2);
    }

    #[test]
    fn the_bound_drops_what_was_sent_most() {
        let mut queue = Queue::default();
        queue.push(None, message(9, 1), None, 2);
        assert_eq!(take(&mut queue, 100, 9), [(9, 1)]);
        queue.push(None, message(5, 2), None, 2);
        assert_eq!(queue.push(None, message(5, 3), None, 2), 1);
        assert_eq!(take(&mut queue, 100, 9), [(5, 3), (5, 2)]);
    }
}
