//! What this agent vouches for: its services, its checks and their results.
//!
//! The local state is the truth for them and the catalog a copy, kept equal by anti-entropy
//! ([`plan`], pure) in the [`sync`] task.

mod convert;
mod files;
pub mod plan;
pub mod sync;

pub use convert::{check_from_file, service_from_file};
pub use files::{Files, FilesError, SavedCheck, SavedService, replace};

use crate::local::files::SavedState;
use lictor_check::alias::{Followed, alias_status};
use lictor_wire::{CheckType, GoDuration, HealthCheck, NodeService, Status, Str};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Where a registration came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A configuration file: it goes when the file no longer has it.
    File,
    /// The API: it stays until it is deregistered, over restarts too.
    Api,
    /// A container: it is kept over restarts, and goes when the container is gone.
    Docker,
}

impl Source {
    /// The word in the agent's files.
    pub fn word(self) -> &'static str {
        match self {
            Source::File => "local",
            Source::Api => "remote",
            Source::Docker => "docker",
        }
    }

    /// Where a registration of the agent's files came from.
    pub fn of_word(word: &str) -> Source {
        if word == Source::Docker.word() {
            Source::Docker
        } else {
            Source::Api
        }
    }
}

/// A service of this agent.
#[derive(Clone, Debug)]
pub struct LocalService {
    /// The service.
    pub service: Arc<NodeService>,
    /// The token it was registered with.
    pub token: Str,
    /// Where it came from.
    pub source: Source,
    /// The hash of its definition: 16 hex digits.
    pub hash: Str,
    /// Whether the catalog has it as it is.
    in_sync: bool,
    /// Whether it took another's place since the catalog had it.
    fresh: bool,
}

/// A check of this agent.
#[derive(Clone, Debug)]
pub struct LocalCheck {
    /// The check as the catalog shall show it.
    pub check: Arc<HealthCheck>,
    /// What it does; nothing for the marks of maintenance.
    pub kind: Option<Arc<CheckType>>,
    /// The token it was registered with.
    pub token: Str,
    /// Where it came from.
    pub source: Source,
    /// Since when it is critical.
    pub critical_since: Option<Instant>,
    /// Whether the catalog has it as it is.
    in_sync: bool,
    /// Until when a change of the output alone is kept back.
    deferred_until: Option<Instant>,
}

#[derive(Debug, Default)]
struct Inner {
    services: BTreeMap<Str, LocalService>,
    checks: BTreeMap<Str, LocalCheck>,
    /// Whether the catalog has our node's addresses and metadata.
    node_in_sync: bool,
    /// Whether something was taken away that the catalog may still have.
    removed: bool,
}

/// The services and checks of this agent.
pub struct Local {
    inner: Mutex<Inner>,
    files: Option<Files>,
    /// Counts changes that the catalog should see at once.
    dirty: watch::Sender<u64>,
    /// Counts changes of definitions, for `?hash=` reads.
    changed: watch::Sender<u64>,
    node: Str,
    /// How long output changes are kept back (`check_update_interval`).
    output_delay: Mutex<Duration>,
    /// Drop the output of checks (`discard_check_output`).
    discard_output: std::sync::atomic::AtomicBool,
}

impl Local {
    /// An empty local state of a node, kept in `files` where there are any.
    pub fn new(node: Str, files: Option<Files>) -> Local {
        Local {
            inner: Mutex::default(),
            files,
            dirty: watch::Sender::new(0),
            changed: watch::Sender::new(0),
            node,
            output_delay: Mutex::new(Duration::from_secs(300)),
            discard_output: false.into(),
        }
    }

    /// Sets `check_update_interval` and `discard_check_output`.
    pub fn configure(&self, output_delay: Duration, discard_output: bool) {
        *self
            .output_delay
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = output_delay;
        self.discard_output
            .store(discard_output, std::sync::atomic::Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn touch(&self) {
        self.dirty.send_modify(|n| *n += 1);
    }

    /// Ends when something should be synced now.
    pub fn dirty(&self) -> watch::Receiver<u64> {
        self.dirty.subscribe()
    }

    /// Ends when a definition changed.
    pub fn definitions(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// The file store, if this agent has one.
    pub fn files(&self) -> Option<&Files> {
        self.files.as_ref()
    }

    // ---- reading ----

    /// All services by id.
    pub fn services(&self) -> Vec<LocalService> {
        self.lock().services.values().cloned().collect()
    }

    /// A service.
    pub fn service(&self, id: &str) -> Option<LocalService> {
        self.lock().services.get(id).cloned()
    }

    /// All checks by id.
    pub fn checks(&self) -> Vec<LocalCheck> {
        self.lock().checks.values().cloned().collect()
    }

    /// A check.
    pub fn check(&self, id: &str) -> Option<LocalCheck> {
        self.lock().checks.get(id).cloned()
    }

    /// How many checks run, how many wait to be told, how many there are, how many services.
    pub fn counts(&self) -> (usize, usize, usize, usize) {
        let inner = self.lock();
        let ttl = inner
            .checks
            .values()
            .filter(|c| c.kind.as_ref().is_some_and(|k| k.is_ttl()))
            .count();
        let monitors = inner
            .checks
            .values()
            .filter(|c| {
                c.kind
                    .as_ref()
                    .is_some_and(|k| !k.is_ttl() && !k.is_alias())
            })
            .count();
        (monitors, ttl, inner.checks.len(), inner.services.len())
    }

    // ---- services ----

    /// Adds or replaces a service. Its checks are added apart.
    pub fn put_service(&self, service: NodeService, token: Str, source: Source) {
        let hash = content_hash(&service);
        let id = service.id.clone();
        let service = Arc::new(service);
        let mut inner = self.lock();
        let known = inner.services.get(&id);
        let fresh = known.is_some();
        let same = known.is_some_and(|old| {
            old.service.same_as(&service) && old.token == token && old.source == source
        });
        if same {
            return;
        }
        if source != Source::File
            && let Some(files) = &self.files
        {
            files.save_service(&service, &token, source.word());
        }
        inner.services.insert(
            id,
            LocalService {
                service,
                token,
                source,
                hash,
                in_sync: false,
                fresh,
            },
        );
        drop(inner);
        self.changed.send_modify(|n| *n += 1);
        self.touch();
    }

    /// Removes a service and gives the ids of its checks, which are removed with it.
    pub fn remove_service(&self, id: &str) -> Option<Vec<Str>> {
        let mut inner = self.lock();
        inner.services.remove(id)?;
        let checks: Vec<Str> = inner
            .checks
            .iter()
            .filter(|(_, c)| c.check.service_id == id)
            .map(|(check, _)| check.clone())
            .collect();
        for check in &checks {
            inner.checks.remove(check);
        }
        inner.removed = true;
        if let Some(files) = &self.files {
            files.remove_service(id);
            checks.iter().for_each(|c| files.remove_check(c));
        }
        drop(inner);
        self.changed.send_modify(|n| *n += 1);
        self.touch();
        Some(checks)
    }

    // ---- checks ----

    /// Adds or replaces a check. One that was there under the same id keeps its status and output
    /// unless `status` says otherwise.
    pub fn put_check(
        &self,
        check: HealthCheck,
        kind: Option<CheckType>,
        token: Str,
        source: Source,
    ) -> Arc<HealthCheck> {
        let mut check = check;
        check.node = self.node.clone();
        let id = check.check_id.clone();
        let mut inner = self.lock();
        if let Some(service) = inner.services.get(&check.service_id) {
            check.service_name = service.service.service.clone();
            check.service_tags = service.service.tags.clone();
        }
        let known = inner.checks.get(&id);
        let same = known.is_some_and(|old| {
            old.check.same_as(&check)
                && old.kind.as_deref() == kind.as_ref()
                && old.token == token
                && old.source == source
        });
        let in_sync = same && known.is_some_and(|old| old.in_sync);
        let critical_since = match (&check.status, known.and_then(|old| old.critical_since)) {
            (Status::Critical, Some(since)) => Some(since),
            (Status::Critical, None) => Some(Instant::now()),
            _ => None,
        };
        let check = Arc::new(check);
        if source != Source::File
            && !same
            && let Some(files) = &self.files
        {
            files.save_check(&check, kind.as_ref(), &token, source.word());
        }
        let row = LocalCheck {
            check: check.clone(),
            kind: kind.map(Arc::new),
            token,
            source,
            critical_since,
            in_sync,
            deferred_until: None,
        };
        inner.checks.insert(id, row);
        drop(inner);
        self.changed.send_modify(|n| *n += 1);
        if !in_sync {
            self.touch();
        }
        check
    }

    /// Removes a check. Whether it was there.
    pub fn remove_check(&self, id: &str) -> bool {
        let there = {
            let mut inner = self.lock();
            let there = inner.checks.remove(id).is_some();
            inner.removed |= there;
            there
        };
        if there {
            if let Some(files) = &self.files {
                files.remove_check(id);
            }
            self.changed.send_modify(|n| *n += 1);
            self.touch();
        }
        there
    }

    /// A result of a check. A changed status is synced at once; a changed output alone is kept
    /// back for a while, so that a chatty check does not write to every server every few seconds.
    /// Gives the ids of services whose aliases should be looked at.
    pub fn update_check(&self, id: &str, status: Status, output: String) -> Option<Str> {
        let discard = self
            .discard_output
            .load(std::sync::atomic::Ordering::Relaxed);
        let output = if discard {
            Str::new()
        } else {
            Str::from(output)
        };
        let delay = *self
            .output_delay
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut inner = self.lock();
        let row = inner.checks.get_mut(id)?;
        if row.check.status == status && row.check.output == output {
            return None;
        }
        let same_status = row.check.status == status;
        row.critical_since = match (&status, row.critical_since) {
            (Status::Critical, since) => Some(since.unwrap_or_else(Instant::now)),
            _ => None,
        };
        let mut check = (*row.check).clone();
        check.status = status;
        check.output = output;
        let service = check.service_id.clone();
        row.check = Arc::new(check);
        if same_status && !delay.is_zero() {
            // From half to one and a half of the interval: not all at once.
            let wait = delay / 2 + delay.mul_f64(crate::random::unit());
            row.deferred_until
                .get_or_insert_with(|| Instant::now() + wait);
            return None;
        }
        row.in_sync = false;
        row.deferred_until = None;
        drop(inner);
        self.touch();
        Some(service)
    }

    /// Keeps the state of a TTL check for the next start.
    pub fn save_state(&self, id: &str, ttl: GoDuration) {
        let (Some(files), Some(row)) = (&self.files, self.check(id)) else {
            return;
        };
        let expires =
            crate::clock::unix_ms() / 1000 + u64::try_from(ttl.0 / 1_000_000_000).unwrap_or(0);
        files.save_state(&SavedState {
            check_id: row.check.check_id.clone(),
            output: row.check.output.clone(),
            status: row.check.status.clone(),
            expires,
        });
    }

    /// The aliases of a service on this node, with what they follow now.
    pub fn aliases_of(&self, service: &str) -> Vec<(Str, Status, String)> {
        let inner = self.lock();
        let mut out = Vec::new();
        for (id, row) in &inner.checks {
            let Some(kind) = row.kind.as_ref().filter(|k| k.is_alias()) else {
                continue;
            };
            if kind.alias_service != service
                || !(kind.alias_node.is_empty() || kind.alias_node == self.node)
            {
                continue;
            }
            let (status, output) = alias_now(&inner, id, kind);
            out.push((id.clone(), status, output));
        }
        out
    }

    /// What an alias of a service of this node follows now.
    pub fn alias(&self, id: &str, kind: &CheckType) -> (Status, String) {
        alias_now(&self.lock(), id, kind)
    }

    // ---- anti-entropy ----

    /// A copy for the plan: all, or what is not known to be in sync where nothing was removed
    /// since the last complete round.
    fn snapshot(&self, now: Instant, all: bool) -> plan::LocalSide {
        let mut inner = self.lock();
        for row in inner.checks.values_mut() {
            if row.deferred_until.is_some_and(|until| until <= now) {
                row.deferred_until = None;
                row.in_sync = false;
            }
        }
        let complete = all || std::mem::take(&mut inner.removed);
        let services = inner
            .services
            .iter()
            .filter(|(_, s)| complete || !s.in_sync);
        let checks = inner.checks.iter().filter(|(_, c)| complete || !c.in_sync);
        plan::LocalSide {
            services: services
                .map(|(id, s)| (id.clone(), s.service.clone()))
                .collect(),
            checks: checks
                .map(|(id, c)| {
                    (
                        id.clone(),
                        plan::LocalCheckSide {
                            check: c.check.clone(),
                            output_deferred: c.deferred_until.is_some(),
                        },
                    )
                })
                .collect(),
            node_in_sync: inner.node_in_sync,
            complete,
            fresh: inner
                .services
                .iter()
                .filter(|(_, s)| s.fresh)
                .map(|(id, _)| id.clone())
                .collect(),
        }
    }

    /// Notes that a round failed: the next one looks at everything.
    fn round_failed(&self) {
        self.lock().removed = true;
    }

    /// The time of the next deferred change.
    fn next_deferred(&self) -> Option<Instant> {
        self.lock()
            .checks
            .values()
            .filter_map(|c| c.deferred_until)
            .min()
    }

    /// Notes that the catalog has these as they were when the plan was made.
    fn synced(&self, done: &plan::Done) {
        let mut inner = self.lock();
        for (id, service) in &done.services {
            if let Some(row) = inner.services.get_mut(id)
                && Arc::ptr_eq(&row.service, service)
            {
                row.in_sync = true;
                row.fresh = false;
            }
        }
        for (id, check) in &done.checks {
            if let Some(row) = inner.checks.get_mut(id)
                && Arc::ptr_eq(&row.check, check)
            {
                row.in_sync = true;
                row.deferred_until = None;
            }
        }
        if done.node {
            inner.node_in_sync = true;
        }
    }

    /// Takes over tags that the catalog changed on services that allow it, if they are still what
    /// they were.
    fn adopt(&self, adopted: Vec<(Arc<NodeService>, Arc<NodeService>)>) {
        let mut inner = self.lock();
        for (was, is) in adopted {
            if let Some(row) = inner.services.get_mut(&is.id)
                && Arc::ptr_eq(&row.service, &was)
            {
                row.service = is;
            }
        }
    }

    /// Notes that the node's own facts changed.
    pub fn doubt_node(&self) {
        self.lock().node_in_sync = false;
        self.touch();
    }
}

fn alias_now(inner: &Inner, id: &str, kind: &CheckType) -> (Status, String) {
    let followed = Followed {
        node: &kind.alias_node,
        service_id: &kind.alias_service,
        exists: kind.alias_service.is_empty() || inner.services.contains_key(&kind.alias_service),
    };
    let others = inner
        .checks
        .iter()
        .filter(|(other, _)| other.as_str() != id)
        .map(|(_, row)| &*row.check);
    alias_status(followed, others)
}

/// The hash of a service's definition, for `?hash=` reads: equal definitions have equal hashes.
pub fn content_hash(service: &NodeService) -> Str {
    let mut plain = service.clone();
    plain.create_index = 0;
    plain.modify_index = 0;
    let digest = Sha256::digest(lictor_wire::gojson::to_vec(&plain));
    digest[..8]
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect::<String>()
        .into()
}
