//! What only the leader does: members into the catalog, TTLs of sessions, batches of coordinates,
//! the forgetting of tombstones.

mod members;

use crate::agent::Shared;
use crate::cluster::wire::{Answer, Ask, Failure};
use crate::cluster::{autopilot, forward};
use crate::query::{Freshness, Query, ReadOptions, What};
use crate::store::WriteError;
use lictor_raft::Leadership;
use lictor_state::{Command, CoordinateUpdate, WatchKey, fold};
use lictor_wire::{GoDuration, Session, Str};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// A session's time runs out at twice its TTL: never early, whatever the network does.
const TTL_FACTOR: u32 = 2;
/// Tombstones live this long, and up to one step longer.
const TOMBSTONE_TTL: Duration = Duration::from_secs(15 * 60);
const TOMBSTONE_STEP: Duration = Duration::from_secs(30);
/// Coordinates are written in batches of this size, so many a period; the rest is dropped.
const COORDINATE_BATCH: usize = 128;
const COORDINATE_BATCHES: usize = 5;

/// What other parts of the agent tell the leader's duties.
#[derive(Debug)]
pub struct Leader {
    renewals: Mutex<HashMap<Str, Instant>>,
    coordinates: Mutex<HashMap<Str, CoordinateUpdate>>,
    gained: watch::Sender<u64>,
    coordinate_came: tokio::sync::Notify,
}

impl Default for Leader {
    fn default() -> Leader {
        Leader {
            renewals: Mutex::default(),
            coordinates: Mutex::default(),
            gained: watch::Sender::new(0),
            coordinate_came: tokio::sync::Notify::new(),
        }
    }
}

impl Leader {
    /// Changes whenever this server begins to lead.
    pub fn gained(&self) -> watch::Receiver<u64> {
        self.gained.subscribe()
    }

    /// A session's time begins anew.
    pub fn session_renewed(&self, session: &Session) {
        if let Some(deadline) = deadline(session) {
            self.renewals
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(session.id.clone(), deadline);
        }
    }

    /// Takes in a coordinate; the last one of a node wins.
    pub fn coordinate(&self, update: CoordinateUpdate) {
        let mut all = self
            .coordinates
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // Bounded by what a period may write, and then some for those who come last.
        if all.len() < 2 * COORDINATE_BATCH * COORDINATE_BATCHES || all.contains_key(&update.node) {
            all.insert(fold(&update.node), update);
        }
        drop(all);
        self.coordinate_came.notify_one();
    }
}

fn deadline(session: &Session) -> Option<Instant> {
    let ttl = GoDuration::parse(&session.ttl).ok().filter(|t| t.0 > 0)?;
    Some(Instant::now() + ttl.to_std() * TTL_FACTOR)
}

/// Gives a session its full time again, wherever its time is kept; nothing where there is none of
/// that id.
pub async fn renew_session(
    shared: &Arc<Shared>,
    id: &Str,
) -> Result<Option<Arc<Session>>, WriteError> {
    if let Some(upstream) = shared.store.upstream() {
        return upstream.renew_session(id).await;
    }
    let query = Query::from(What::Session { id: id.clone() });
    let options = ReadOptions::now(Freshness::Default);
    let found = shared.store.read(&query, &options).await?;
    let Some(session) = found.view.session(id).cloned() else {
        return Ok(None);
    };
    // The leader alone keeps its time.
    let ask = Ask::Renew {
        session: id.to_string(),
    };
    match forward::ask_leader(shared, &ask, forward::ANSWER).await? {
        Answer::Failed(Failure::Missing(_)) => Ok(None),
        _ => Ok(Some(session)),
    }
}

/// Runs the duties whenever this server leads, until the agent ends.
pub async fn run(shared: Arc<Shared>) {
    let Some(consensus) = shared.store.consensus().cloned() else {
        return;
    };
    let mut leadership = consensus.leadership();
    loop {
        let Leadership {
            is_leader, term, ..
        } = leadership.borrow_and_update().clone();
        if is_leader {
            tracing::info!(target: "agent.server", "cluster leadership acquired");
            crate::gossip::new_leader(&shared).await;
            tokio::select! {
                () = lead(&shared) => {}
                () = lost(&mut leadership, term) => tracing::warn!(target: "agent.server", "cluster leadership lost"),
            }
            continue;
        }
        if leadership.changed().await.is_err() {
            return;
        }
    }
}

/// Returns when this server does not lead in that term any more. It may lead again by then: what it
/// knew of sessions is void all the same, for another may have led between.
async fn lost(leadership: &mut watch::Receiver<Leadership>, term: u64) {
    loop {
        {
            let now = leadership.borrow_and_update();
            if !now.is_leader || now.term != term {
                return;
            }
        }
        if leadership.changed().await.is_err() {
            return;
        }
    }
}

async fn lead(shared: &Arc<Shared>) {
    let established = || shared.leader.gained.send_modify(|n| *n += 1);
    tokio::join!(
        members::run(shared, established),
        sessions(shared),
        coordinates(shared),
        tombstones(shared),
        autopilot::lead(shared)
    );
}

/// Ends sessions whose time is over. A new leader gives each its full time.
async fn sessions(shared: &Arc<Shared>) {
    let mut deadlines: HashMap<Str, Instant> = HashMap::new();
    shared
        .leader
        .renewals
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clear();
    let mut watch = shared.store.watch(vec![WatchKey::Sessions]);
    loop {
        let view = shared.store.view();
        deadlines.retain(|id, _| view.session(id).is_some());
        for session in view.sessions().filter(|s| !s.ttl.is_empty()) {
            if !deadlines.contains_key(&session.id)
                && let Some(deadline) = deadline(session)
            {
                deadlines.insert(session.id.clone(), deadline);
            }
        }
        drop(view);
        for (id, deadline) in shared
            .leader
            .renewals
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .drain()
        {
            if let Some(known) = deadlines.get_mut(&id) {
                *known = deadline;
            }
        }
        let now = Instant::now();
        let over: Vec<Str> = deadlines
            .iter()
            .filter(|(_, at)| **at <= now)
            .map(|(id, _)| id.clone())
            .collect();
        for id in over {
            tracing::debug!(target: "agent.server", session = %id, "Session TTL expired");
            // A failure leaves the session where it is: the next round tries again.
            match shared
                .store
                .write_as_leader(Command::SessionDestroy(id.clone()))
                .await
            {
                Ok(_) => _ = deadlines.remove(&id),
                Err(error) => {
                    tracing::error!(target: "agent.server", session = %id, error = %error, "Session apply failed");
                    deadlines.insert(id, now + Duration::from_secs(10));
                }
            }
        }
        let next = deadlines.values().min().copied();
        tokio::select! {
            () = watch.changed() => {}
            () = sleep_until(next) => {}
        }
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

/// Writes the coordinates that came in, once a period.
async fn coordinates(shared: &Arc<Shared>) {
    let period = if shared.config().dev_mode {
        Duration::from_millis(100)
    } else {
        Duration::from_secs(5)
    };
    let own = CoordinateUpdate {
        node: shared.node_name.clone(),
        coord: shared.coordinate(),
    };
    if !shared.config().disable_coordinates {
        shared.leader.coordinate(own);
    }
    loop {
        let waiting = !shared
            .leader
            .coordinates
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_empty();
        if !waiting {
            // Nothing to write: sleep until a coordinate has come, not ten times a second.
            shared.leader.coordinate_came.notified().await;
        }
        tokio::time::sleep(period).await;
        let all = std::mem::take(
            &mut *shared
                .leader
                .coordinates
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        let mut rows: Vec<CoordinateUpdate> = all.into_values().collect();
        let most = COORDINATE_BATCH * COORDINATE_BATCHES;
        if rows.len() > most {
            tracing::warn!(target: "agent.server.coordinate", number_discarded = rows.len() - most, "Discarded coordinate updates");
            rows.truncate(most);
        }
        while !rows.is_empty() {
            let rest = rows.split_off(rows.len().min(COORDINATE_BATCH));
            let batch = std::mem::replace(&mut rows, rest);
            if let Err(error) = shared
                .store
                .write_as_leader(Command::Coordinates(batch))
                .await
            {
                tracing::warn!(target: "agent.server.coordinate", error = %error, "Batch update failed");
            }
        }
    }
}

/// Forgets tombstones that every reader of a prefix has had time to see.
async fn tombstones(shared: &Arc<Shared>) {
    let mut pending: Vec<(Instant, u64)> = Vec::new();
    loop {
        let view = shared.store.view();
        let index = view.tables().tombstones;
        if view.has_tombstones() && pending.last().is_none_or(|(_, last)| *last < index) {
            pending.push((Instant::now() + TOMBSTONE_TTL, index));
        }
        drop(view);
        let now = Instant::now();
        let due = pending
            .iter()
            .filter(|(at, _)| *at <= now)
            .map(|(_, index)| *index)
            .max();
        if let Some(index) = due {
            match shared
                .store
                .write_as_leader(Command::ReapTombstones(index))
                .await
            {
                Ok(_) => pending.retain(|(at, _)| *at > now),
                Err(error) => {
                    tracing::error!(target: "agent.server", index, error = %error, "failed to reap tombstones up to index");
                }
            }
        }
        tokio::time::sleep(TOMBSTONE_STEP).await;
    }
}
