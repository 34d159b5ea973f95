//! User events that this agent has seen.

use crate::agent::Shared;
use lictor_bexpr::re2;
use lictor_wire::UserEvent;
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use tokio::sync::watch;

/// Most events remembered.
const KEPT: usize = 256;

/// The events seen, newest last.
#[derive(Debug, Default)]
pub struct Events {
    seen: Mutex<VecDeque<UserEvent>>,
    news: watch::Sender<u64>,
}

impl Events {
    /// Ends when another event was seen.
    pub fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// Checks an event and hands it to all agents of the datacenter, to this one too.
    pub async fn fire(&self, shared: &Shared, event: &UserEvent) -> Result<(), String> {
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
        crate::gossip::fire(shared, event).await
    }

    /// Takes in an event, if it is meant for this node.
    pub fn receive(&self, shared: &Shared, event: UserEvent) {
        if !is_for(shared, &event) {
            return;
        }
        tracing::debug!(target: "agent", event_name = %event.name, event_id = %event.id, "new event");
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= KEPT {
            seen.pop_front();
        }
        seen.push_back(event);
        drop(seen);
        self.news.send_modify(|n| *n += 1);
    }

    /// The events of a name, or all, with their index.
    pub fn list(&self, name: &str) -> (u64, Vec<UserEvent>) {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let events: Vec<UserEvent> = seen
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
