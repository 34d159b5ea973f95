//! The task that keeps the catalog equal to the local state.

use super::plan::{self, Identity, LocalSide, Remote, Said};
use crate::agent::Shared;
use crate::query::{Freshness, Query, ReadOptions, What};
use crate::servers::Standing;
use crate::store::WriteError;
use lictor_state::{Command, Outcome, View};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A full comparison this often, and up to as long again: the size of the cluster stretches it.
const FULL: Duration = Duration::from_secs(60);
/// After a failure: this, and up to as long again.
const RETRY: Duration = Duration::from_secs(15);

/// After a server came: up to this.
const SERVER_UP: Duration = Duration::from_secs(3);
/// Up to so many members, times are not stretched.
const SMALL: usize = 128;

/// How much a pool of this size stretches the times (Consul's rule): one more for each doubling.
fn scale(members: usize) -> u32 {
    if members <= SMALL {
        return 1;
    }
    // The logarithm rounded up, above that of `SMALL`, and one more.
    (usize::BITS - (members - 1).leading_zeros()) - SMALL.ilog2() + 1
}

/// Runs until the agent ends.
pub async fn run(shared: Arc<Shared>) {
    tracing::info!(target: "agent", "started state syncer");
    let mut dirty = shared.local.dirty();
    let mut leadership = shared.leader.gained();
    let mut servers = shared.gossip.server_up();
    // A leader registers its own node first; doing both at once would write it twice.
    if shared.store.consensus().is_some() {
        let _ = tokio::time::timeout(RETRY, leadership.wait_for(|n| *n > 0)).await;
    }
    let mut all = true;
    let mut full_at = Instant::now();
    loop {
        dirty.mark_unchanged();
        let spread = |time: Duration| {
            let most = time * scale(shared.gossip.lan_members().len());
            most.mul_f64(crate::random::unit())
        };
        match round(&shared, all).await {
            Ok(()) if all => full_at = Instant::now() + FULL + spread(FULL),
            Ok(()) => {}
            Err(error) => {
                tracing::error!(target: "agent.anti_entropy", error = %error, "failed to sync remote state");
                let wait = if error == WriteError::NoServers && knows_servers(&shared) {
                    // Gossip told of it between the round's failure and now, or before this task
                    // began to listen: nobody will tell again.
                    spread(SERVER_UP)
                } else {
                    RETRY + spread(RETRY)
                };
                full_at = Instant::now() + wait;
            }
        }
        loop {
            let deferred = shared.local.next_deferred();
            let at = deferred.map_or(full_at, |at| at.min(full_at));
            all = tokio::select! {
                () = tokio::time::sleep_until(at.into()) => true,
                _ = dirty.changed() => false,
                _ = leadership.changed() => true,
                _ = servers.changed() => {
                    // Every agent saw the same server come: not all at once.
                    full_at = full_at.min(Instant::now() + spread(SERVER_UP));
                    continue;
                }
            };
            break;
        }
    }
}

/// Whether gossip knows of a server that is there.
fn knows_servers(shared: &Shared) -> bool {
    let servers = crate::members::servers(shared);
    servers.iter().any(|s| s.standing == Standing::Alive)
}

/// When the last round ended and why it failed, if it did.
pub type LastFailure = Option<(Instant, WriteError)>;

/// Brings what changed into the catalog, now. Who has waited for a round that failed takes its
/// outcome: without servers each round takes its time to find that out.
pub async fn now(shared: &Arc<Shared>) -> Result<(), WriteError> {
    let asked = Instant::now();
    let mut last = shared.syncing.lock().await;
    if let Some((_, error)) = last.as_ref().filter(|(at, _)| *at >= asked) {
        return Err(error.clone());
    }
    let result = make_equal(shared, false).await;
    *last = result.clone().err().map(|error| (Instant::now(), error));
    result
}

/// One round at a time.
async fn round(shared: &Arc<Shared>, all: bool) -> Result<(), WriteError> {
    let mut last = shared.syncing.lock().await;
    let result = make_equal(shared, all).await;
    *last = result.clone().err().map(|error| (Instant::now(), error));
    result
}

/// Makes the catalog equal to the local state.
async fn make_equal(shared: &Arc<Shared>, all: bool) -> Result<(), WriteError> {
    if shared.has_left() {
        return Ok(());
    }
    let local = shared.local.snapshot(Instant::now(), all);
    if !local.complete && local.node_in_sync && local.services.is_empty() && local.checks.is_empty()
    {
        return Ok(());
    }
    let me = shared.identity();
    let remote = match remote(shared, &me, &local).await {
        Ok(remote) => remote,
        Err(error) => {
            if local.complete {
                shared.local.round_failed();
            }
            return Err(error);
        }
    };
    let remote = Remote {
        services: &remote.0,
        checks: &remote.1,
    };
    let plan = plan::plan(&me, &local, remote);
    shared.local.adopt(plan.adopted);
    if !plan.writes.is_empty()
        && let Err(error) = write(shared, &me, plan.writes).await
    {
        shared.local.round_failed();
        return Err(error);
    }
    shared.local.synced(&plan.done);
    Ok(())
}

/// What the catalog has of this node: its services, and its checks.
async fn remote(
    shared: &Shared,
    me: &Identity,
    local: &LocalSide,
) -> Result<(Arc<View>, Arc<View>), WriteError> {
    let overridden = local.services.values().any(|s| s.enable_tag_override);
    if shared.store.upstream().is_some() && !local.complete && !overridden {
        // What changed here is written whatever the servers have: they need not be asked.
        return Ok(Default::default());
    }
    let read = async |what: What| {
        let options = ReadOptions::now(Freshness::Default);
        let answered = shared.store.read(&Query::from(what), &options).await;
        answered.map(|a| a.view)
    };
    let name = || me.name.clone();
    tokio::try_join!(
        read(What::Node { name: name() }),
        read(What::NodeChecks { node: name() })
    )
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

#[cfg(test)]
mod tests {
    #[test]
    fn times_stretch_with_each_doubling() {
        for (members, factor) in [
            (1, 1),
            (128, 1),
            (129, 2),
            (256, 2),
            (257, 3),
            (512, 3),
            (1024, 4),
            (10_000, 8),
        ] {
            assert_eq!(super::scale(members), factor, "{members}");
        }
    }
}
