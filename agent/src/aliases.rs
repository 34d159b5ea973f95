//! Checks that follow a service on another node, through the catalog.

use crate::agent::Shared;
use lictor_check::alias::{Followed, alias_status};
use lictor_state::{WatchKey, fold};
use lictor_wire::{CheckType, Str};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::task::AbortHandle;

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

async fn follow(shared: Arc<Shared>, id: Str, kind: CheckType) {
    let node = fold(&kind.alias_node);
    let mut watch = shared.store.watch(vec![
        WatchKey::NodeChecks(node.clone()),
        WatchKey::Node(node),
    ]);
    loop {
        let view = shared.store.view();
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
        watch.changed().await;
    }
}
