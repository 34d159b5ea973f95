//! Checks that follow a service on another node, through the catalog.

use crate::agent::Shared;
use crate::query::{Freshness, Query, ReadOptions, What};
use lictor_check::alias::{Followed, alias_status};
use lictor_wire::{CheckType, Str};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::AbortHandle;

/// How long one wait for a change takes.
const WAIT: Duration = Duration::from_secs(600);

/// The aliases that follow other nodes, each a task.
#[derive(Debug, Default)]
pub struct Aliases(Mutex<HashMap<Str, AbortHandle>>);

impl Aliases {
    /// Follows from now on.
    pub fn start(&self, shared: &Arc<Shared>, id: &Str, kind: &CheckType) {
        let task = tokio::spawn(follow(shared.clone(), id.clone(), kind.clone()));
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(old) = all.insert(id.clone(), task.abort_handle()) {
            old.abort();
        }
    }

    /// Follows no more.
    pub fn stop(&self, id: &str) {
        if let Some(task) = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(id)
        {
            task.abort();
        }
    }

    /// Ends all.
    pub fn end(&self) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .drain()
            .for_each(|(_, task)| task.abort());
    }
}

/// After a failure: this, and up to as long again.
const RETRY: Duration = Duration::from_secs(5);
/// A change that comes right after another one waits this long.
const PACE: Duration = Duration::from_millis(10);

async fn follow(shared: Arc<Shared>, id: Str, kind: CheckType) {
    let query = Query::from(What::NodeInfo {
        name: kind.alias_node.clone(),
    });
    let mut index = 0;
    loop {
        let options = ReadOptions {
            index,
            wait: WAIT,
            asked: WAIT,
            ..ReadOptions::now(Freshness::Stale)
        };
        let answered = match shared.store.read(&query, &options).await {
            Ok(answered) => answered,
            Err(error) => {
                tracing::warn!(target: "agent", check = %id, error = %error, "Failed to watch the alias of a check");
                tokio::time::sleep(RETRY + RETRY.mul_f64(crate::random::unit())).await;
                index = 0;
                continue;
            }
        };
        let view = answered.view;
        let exists = if kind.alias_service.is_empty() {
            view.node(&kind.alias_node).is_some()
        } else {
            view.service(&kind.alias_node, &kind.alias_service)
                .is_some()
        };
        let followed = Followed {
            node: &kind.alias_node,
            service_id: &kind.alias_service,
            exists,
        };
        let (status, output) = alias_status(
            followed,
            view.checks_of_node(&kind.alias_node).map(|c| &**c),
        );
        drop(view);
        shared.local.update_check(&id, status, output);
        // An index that goes back means that the state was replaced: begin anew.
        index = if answered.index < index {
            0
        } else {
            answered.index
        };
        tokio::time::sleep(PACE).await;
    }
}
