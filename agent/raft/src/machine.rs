//! The state as openraft sees it: it applies what is committed, publishes once for each batch,
//! then answers.

use crate::consensus::Publish;
use crate::format::SnapshotHead;
use crate::snapshot::{self, Kept, Loaded, SnapshotStore};
use crate::types::{LogId, SnapshotMeta, StoredMembership, TypeConfig};
use futures_util::{Stream, StreamExt};
use lictor_state::{Changes, Outcome, State, View};
use openraft::storage::{ApplyResponder, EntryResponder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder, Snapshot};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// What a snapshot is handed around as.
#[derive(Clone, Debug)]
pub(crate) enum SnapshotData {
    /// A view, on a server without a directory.
    View(View),
    /// A file of the directory.
    File(PathBuf),
    /// Received from another server and read: the view, and where it was written to, if at all.
    Received(View, Option<PathBuf>),
}

pub(crate) type MachineSnapshot = openraft::alias::SnapshotOf<TypeConfig, SnapshotData>;

/// The head of a snapshot with this description.
pub(crate) fn head_of(meta: &SnapshotMeta) -> SnapshotHead {
    SnapshotHead {
        last: meta.last_log_id,
        membership_at: *meta.last_membership.log_id(),
        membership: meta.last_membership.membership().clone(),
    }
}

/// The description of a snapshot with this head.
pub(crate) fn meta_of(head: &SnapshotHead) -> SnapshotMeta {
    SnapshotMeta {
        last_log_id: head.last,
        last_membership: StoredMembership::new(head.membership_at, head.membership.clone()),
    }
}

/// What the machine shares with [`Consensus`](crate::Consensus).
pub(crate) struct Link {
    publish: Arc<dyn Publish>,
    /// Whether what is applied is published. While a start replays its log, it is not.
    live: AtomicBool,
    /// The latest view, until it is live.
    early: Mutex<View>,
    /// The last epoch that was given to a view.
    epoch: AtomicU64,
}

impl Link {
    pub(crate) fn new(publish: Arc<dyn Publish>) -> Link {
        Link {
            publish,
            live: AtomicBool::new(false),
            early: Mutex::default(),
            epoch: AtomicU64::new(0),
        }
    }

    /// An epoch that no view has.
    pub(crate) fn next_epoch(&self) -> u64 {
        self.epoch.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Publishes what the start has restored, and from now on everything.
    pub(crate) fn go_live(&self) {
        let view = std::mem::take(&mut *self.early.lock().unwrap_or_else(PoisonError::into_inner));
        self.live.store(true, Ordering::Release);
        self.publish.restored(view);
    }

    fn applied(&self, state: &State, changes: &Changes) {
        if self.live.load(Ordering::Acquire) {
            self.publish.publish(state.view(), changes);
        } else {
            *self.early.lock().unwrap_or_else(PoisonError::into_inner) = state.view();
        }
    }

    fn restored(&self, view: View) {
        if self.live.load(Ordering::Acquire) {
            self.publish.restored(view);
        } else {
            *self.early.lock().unwrap_or_else(PoisonError::into_inner) = view;
        }
    }
}

/// The state machine.
pub(crate) struct Machine {
    state: State,
    applied: Option<LogId>,
    membership: StoredMembership,
    store: Option<Arc<SnapshotStore>>,
    link: Arc<Link>,
    changes: Changes,
    answers: Vec<(ApplyResponder<TypeConfig>, Outcome)>,
}

impl Machine {
    /// A machine with the state of a snapshot, or with none.
    pub(crate) fn new(
        restored: Option<Loaded>,
        store: Option<Arc<SnapshotStore>>,
        link: Arc<Link>,
    ) -> Machine {
        let mut machine = Machine {
            state: State::default(),
            applied: None,
            membership: StoredMembership::default(),
            store,
            link,
            changes: Changes::default(),
            answers: Vec::new(),
        };
        if let Some(Loaded { head, view }) = restored {
            machine.restore(&meta_of(&head), view);
        }
        machine
    }

    fn restore(&mut self, meta: &SnapshotMeta, view: View) {
        self.state = State::from_view(view.clone());
        self.applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        self.link.restored(view);
    }

    fn meta(&self) -> SnapshotMeta {
        SnapshotMeta {
            last_log_id: self.applied,
            last_membership: self.membership.clone(),
        }
    }
}

impl RaftStateMachine<TypeConfig> for Machine {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        self.changes.clear();
        while let Some(next) = entries.next().await {
            let (entry, responder) = next?;
            let index = entry.log_id.index;
            let outcome = match entry.payload {
                EntryPayload::Normal(proposal) => {
                    self.state.apply(index, &proposal.0, &mut self.changes)
                }
                EntryPayload::Blank => {
                    self.state.skip(index);
                    Outcome::Done
                }
                EntryPayload::Membership(membership) => {
                    self.state.skip(index);
                    self.membership = StoredMembership::new(Some(entry.log_id), membership);
                    Outcome::Done
                }
            };
            self.applied = Some(entry.log_id);
            if let Some(responder) = responder {
                self.answers.push((responder, outcome));
            }
        }
        self.link.applied(&self.state, &self.changes);
        for (responder, outcome) in self.answers.drain(..) {
            responder.send(outcome);
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder {
            meta: self.meta(),
            view: self.state.view(),
            store: self.store.clone(),
        }
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: SnapshotData,
    ) -> Result<(), io::Error> {
        let view = match (snapshot, &self.store) {
            (SnapshotData::View(view), None) | (SnapshotData::Received(view, None), None) => view,
            (SnapshotData::Received(view, Some(staged)), Some(store)) => {
                let (store, head) = (store.clone(), head_of(meta));
                blocking(move || store.adopt(&staged, &head)).await?;
                view
            }
            (SnapshotData::View(view), Some(store))
            | (SnapshotData::Received(view, None), Some(store)) => {
                let (store, head, copy) = (store.clone(), head_of(meta), view.clone());
                blocking(move || store.write(&head, &copy)).await?;
                view
            }
            (SnapshotData::File(path), Some(store)) => {
                let (store, head, epoch) = (store.clone(), head_of(meta), self.link.next_epoch());
                let taken = move || {
                    let loaded =
                        snapshot::read(&mut io::BufReader::new(store.reader(&path)?), epoch)?;
                    let view = loaded
                        .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e.to_string()))?
                        .view;
                    store.write(&head, &view)?;
                    Ok(view)
                };
                blocking(taken).await?
            }
            (SnapshotData::File(path), None) | (SnapshotData::Received(_, Some(path)), None) => {
                return Err(io::Error::other(format!(
                    "{}: not a snapshot to install",
                    path.display()
                )));
            }
        };
        self.restore(meta, view);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<MachineSnapshot>, io::Error> {
        Ok(match &self.store {
            Some(store) => store.newest().map(|Kept { head, path }| Snapshot {
                meta: meta_of(&head),
                snapshot: SnapshotData::File(path),
            }),
            // In memory the state itself is the newest snapshot, and costs nothing.
            None if self.applied.is_some() => Some(Snapshot {
                meta: self.meta(),
                snapshot: SnapshotData::View(self.state.view()),
            }),
            None => None,
        })
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)))
}

/// Writes a snapshot of a view while the state goes on.
pub(crate) struct Builder {
    meta: SnapshotMeta,
    view: View,
    store: Option<Arc<SnapshotStore>>,
}

impl RaftSnapshotBuilder<TypeConfig> for Builder {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> Result<MachineSnapshot, io::Error> {
        let snapshot = match &self.store {
            // Of nothing, nothing is kept.
            Some(store) if self.meta.last_log_id.is_some() => {
                let (store, head, view) = (store.clone(), head_of(&self.meta), self.view.clone());
                SnapshotData::File(blocking(move || store.write(&head, &view)).await?.path)
            }
            _ => SnapshotData::View(self.view.clone()),
        };
        Ok(Snapshot {
            meta: self.meta.clone(),
            snapshot,
        })
    }
}
