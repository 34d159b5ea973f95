//! The task that keeps the catalog equal to the local state.

use super::plan::{self, Identity, Said};
use crate::agent::Shared;
use crate::store::WriteError;
use lictor_raft::Consistency;
use lictor_state::{Command, Outcome};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A full comparison this often, and up to as long again: the size of the cluster stretches it.
const FULL: Duration = Duration::from_secs(60);
/// After a failure: this, and up to as long again.
const RETRY: Duration = Duration::from_secs(15);

/// Runs until the agent ends.
pub async fn run(shared: Arc<Shared>) {
    tracing::info!(target: "agent", "started state syncer");
    let mut dirty = shared.local.dirty();
    let mut leadership = shared.leader.gained();
    // A leader registers its own node first; doing both at once would write it twice.
    if shared.store.consensus().is_some() {
        let _ = tokio::time::timeout(RETRY, leadership.wait_for(|n| *n > 0)).await;
    }
    let mut all = true;
    loop {
        dirty.mark_unchanged();
        let next = match round(&shared, all).await {
            Ok(()) => FULL + FULL.mul_f64(crate::random::unit()),
            Err(error) => {
                tracing::error!(target: "agent.anti_entropy", error = %error, "failed to sync remote state");
                RETRY + RETRY.mul_f64(crate::random::unit())
            }
        };
        let mut at = Instant::now() + next;
        if let Some(deferred) = shared.local.next_deferred() {
            at = at.min(deferred);
        }
        all = tokio::select! {
            () = tokio::time::sleep_until(at.into()) => true,
            _ = dirty.changed() => false,
            _ = leadership.changed() => true,
        };
    }
}

/// Brings what changed into the catalog, now.
pub async fn now(shared: &Arc<Shared>) -> Result<(), WriteError> {
    round(shared, false).await
}

/// Makes the catalog equal to the local state. One round at a time.
async fn round(shared: &Arc<Shared>, all: bool) -> Result<(), WriteError> {
    let _one = shared.syncing.lock().await;
    shared.store.ready_for(Consistency::Default).await?;
    let view = shared.store.view();
    let local = shared.local.snapshot(Instant::now(), all);
    if !local.complete && local.node_in_sync && local.services.is_empty() && local.checks.is_empty()
    {
        return Ok(());
    }
    let me = shared.identity();
    let plan = plan::plan(&me, &local, &view);
    for (id, tags) in plan.adopt_tags {
        shared.local.adopt_tags(&id, tags);
    }
    if !plan.writes.is_empty()
        && let Err(error) = write(shared, &me, plan.writes).await
    {
        shared.local.round_failed();
        return Err(error);
    }
    shared.local.synced(&plan.done);
    Ok(())
}

async fn write(
    shared: &Shared,
    me: &Identity,
    writes: Vec<(Command, Said)>,
) -> Result<(), WriteError> {
    let (commands, said): (Vec<Command>, Vec<Said>) = writes.into_iter().unzip();
    let outcome = shared.store.write(Command::Batch(commands)).await?;
    let Outcome::Batch(outcomes) = outcome else {
        return Ok(());
    };
    for (outcome, said) in outcomes.into_iter().zip(said) {
        match (outcome, said) {
            (Outcome::Refused(text), said) => {
                tracing::warn!(target: "agent", node = %me.name, entry = ?said, error = %text, "the catalog refused an entry of this agent");
            }
            (_, Said::Node) => tracing::info!(target: "agent", "Synced node info"),
            (_, Said::Service(id)) => {
                tracing::info!(target: "agent", service = %id, "Synced service")
            }
            (_, Said::Check(id)) => tracing::info!(target: "agent", check = %id, "Synced check"),
            (_, Said::ServiceGone(id)) => {
                tracing::info!(target: "agent", service = %id, "Deregistered service")
            }
            (_, Said::CheckGone(id)) => {
                tracing::info!(target: "agent", check = %id, "Deregistered check")
            }
        }
    }
    Ok(())
}
