//! Keeps what can be asked without waiting up to date with what consensus says.

use super::{Inner, SETTLE_STEP};
use crate::status::{self, Leadership, Role};
use crate::types::TypeConfig;
use openraft::ReadPolicy;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::metrics::RaftServerMetrics;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::watch;

/// Follows the state of consensus until it ends.
pub(super) async fn watch_over(inner: Arc<Inner>, fatal: watch::Sender<Option<Arc<str>>>) {
    let mut metrics = inner.raft.server_metrics();
    loop {
        let now: RaftServerMetrics<TypeConfig> = metrics.borrow_and_update().clone();
        let role = Role::of(now.state);
        if !status::alone(&now.membership_config, inner.id) {
            inner.sole.store(false, Ordering::Release);
        }
        if now.membership_config.nodes().count() != 1 {
            inner.raft.runtime_config().tick(true);
        }
        if role != Role::Leader {
            inner.sole.store(false, Ordering::Release);
            inner.leads.store(false, Ordering::Release);
        }
        let mut leads = role == Role::Leader;
        if leads
            && !(inner.leads.load(Ordering::Acquire)
                && inner.leadership.borrow().term == now.vote.leader_id.term)
        {
            // A leader begins its work when all that was committed before is in its view.
            leads = tokio::select! {
                ready = inner.raft.ensure_linearizable(ReadPolicy::ReadIndex) => ready.is_ok(),
                _ = metrics.changed() => false,
            };
        }
        if leads && !inner.stopped.load(Ordering::Acquire) {
            inner.take_lead();
        }
        let news = Leadership {
            is_leader: leads,
            leader: status::server(&now.membership_config, now.current_leader),
            term: now.vote.leader_id.term,
        };
        inner.leadership.send_if_modified(|old| {
            let changed = *old != news;
            *old = news;
            changed
        });
        if role == Role::Leader && !leads {
            // Not ready yet, or something has changed meanwhile: look again.
            tokio::time::sleep(SETTLE_STEP).await;
            if inner.raft.metrics().borrow_watched().running_state.is_err() {
                break;
            }
            continue;
        }
        if metrics.changed().await.is_err() {
            break;
        }
    }
    inner.sole.store(false, Ordering::Release);
    inner.leads.store(false, Ordering::Release);
    inner.leadership.send_replace(Leadership::default());
    if !inner.stopped.swap(true, Ordering::AcqRel) {
        // Asked for before the value is held: the answer looks at it.
        let end: Arc<str> = inner.end().into();
        fatal.send_if_modified(|why| {
            let unknown = why.is_none();
            why.get_or_insert(end);
            unknown
        });
    }
}
