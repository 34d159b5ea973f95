//! User events that this agent has seen.

use crate::agent::Shared;
use lictor_bexpr::re2;
use lictor_wire::UserEvent;
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use tokio::sync::watch;

/// Most events remembered.
const KEPT: usize = 256;
/// Most bytes of name and payload together: what one gossip packet carries (Serf's limit).
const SIZE_MAX: usize = 512;

/// The events seen, newest last.
#[derive(Debug)]
pub struct Events {
    seen: Mutex<Seen>,
    news: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Seen {
    events: VecDeque<UserEvent>,
    ltime: u64,
}

impl Default for Events {
    fn default() -> Events {
        // Serf's clock stands at one before the first event.
        Events {
            seen: Mutex::new(Seen {
                events: VecDeque::new(),
                ltime: 1,
            }),
            news: watch::Sender::new(0),
        }
    }
}

impl Events {
    /// Ends when another event was seen.
    pub fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// Checks an event and hands it to all agents: to this one.
    pub fn fire(&self, shared: &Shared, event: UserEvent) -> Result<(), String> {
        if !event.tag_filter.is_empty() && event.service_filter.is_empty() {
            return Err("Cannot provide tag filter without service filter".to_owned());
        }
        for (what, filter) in [
            ("node", &event.node_filter),
            ("service", &event.service_filter),
            ("tag", &event.tag_filter),
        ] {
            if !filter.is_empty() {
                re2::Regex::new(filter).map_err(|e| format!("Invalid {what} filter: {e}"))?;
            }
        }
        if event.name.len() + event.payload.len() > SIZE_MAX {
            return Err(format!(
                "error broadcasting event: user event exceeds configured limit of {SIZE_MAX} bytes before encoding"
            ));
        }
        self.receive(shared, event);
        Ok(())
    }

    /// Takes in an event, if it is meant for this node.
    fn receive(&self, shared: &Shared, mut event: UserEvent) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.ltime += 1;
        event.ltime = seen.ltime;
        if !is_for(shared, &event) {
            return;
        }
        if seen.events.len() >= KEPT {
            seen.events.pop_front();
        }
        seen.events.push_back(event);
        drop(seen);
        self.news.send_modify(|n| *n += 1);
    }

    /// The events of a name, or all, with their index.
    pub fn list(&self, name: &str) -> (u64, Vec<UserEvent>) {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let events: Vec<UserEvent> = seen
            .events
            .iter()
            .filter(|e| name.is_empty() || e.name == name)
            .cloned()
            .collect();
        let index = events.last().map_or(1, |e| uuid_index(&e.id));
        (index, events)
    }
}

/// Consul's index of an event: the two halves of its id folded onto each other.
fn uuid_index(id: &str) -> u64 {
    let hex: String = id.chars().filter(|c| *c != '-').collect();
    let half = |range| {
        hex.get(range)
            .and_then(|h| u64::from_str_radix(h, 16).ok())
            .unwrap_or(0)
    };
    half(0..16) ^ half(16..32)
}

fn matches(filter: &str, text: &str) -> bool {
    filter.is_empty() || re2::Regex::new(filter).is_ok_and(|r| r.is_match(text))
}

fn is_for(shared: &Shared, event: &UserEvent) -> bool {
    if !matches(&event.node_filter, &shared.node_name) {
        return false;
    }
    if event.service_filter.is_empty() {
        return true;
    }
    shared.local.services().iter().any(|row| {
        matches(&event.service_filter, &row.service.service)
            && (event.tag_filter.is_empty()
                || row
                    .service
                    .tags
                    .iter()
                    .any(|t| matches(&event.tag_filter, t)))
    })
}
