//! A server's storage under load on a disk whose power is cut again and again.
//!
//! What is checked after each cut: it opens; the log, the vote and the newest snapshot are those
//! of the last acknowledged step, or of the step that was under way, whole; no entry is missing
//! between snapshot and log.

use super::Chance;
use super::disk::{Flush, SimulatedDisk};
use crate::directory::{self, Opened};
use crate::format::SnapshotHead;
use crate::log::{Content, Job, LogReader, LogStore, Writer};
use crate::snapshot::{Loaded, SnapshotStore};
use crate::types::{
    Done, LogEntry, LogId, Proposal, TypeConfig, Vote, log_id, membership, term_of, vote,
};
use crate::{ServerInfo, server_id};
use futures_util::future::join;
use lictor_state::{Changes, Command, Entry, KvOp, KvVerb, State, View};
use openraft::EntryPayload;
use openraft::entry::RaftEntry;
use openraft::storage::RaftLogStorage;
use openraft::type_config::TypeConfigExt;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};

/// What a correct storage holds.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    vote: Option<Vote>,
    /// All entries that were ever there and not truncated, dropped ones too.
    entries: BTreeMap<u64, LogEntry>,
    purged: Option<LogId>,
    snapshot: Option<LogId>,
}

impl Model {
    fn last(&self) -> Option<LogId> {
        self.entries.values().next_back().map(|e| e.log_id)
    }

    /// The state after this entry.
    fn state(&self, upto: u64) -> View {
        let (mut state, mut changes) = (State::default(), Changes::default());
        for entry in self.entries.range(..=upto).map(|(_, e)| e) {
            match &entry.payload {
                EntryPayload::Normal(p) => {
                    drop(state.apply(entry.log_id.index, &p.0, &mut changes))
                }
                _ => state.skip(entry.log_id.index),
            }
        }
        state.view()
    }
}

fn payload(term: u64, index: u64, chance: &mut Chance) -> LogEntry {
    let size = if chance.percent(5) {
        9000
    } else {
        chance.below(200)
    };
    let value = format!("{term}/{index}/{}", "x".repeat(size as usize));
    let op = KvOp {
        verb: KvVerb::Set,
        key: format!("k{}", index % 50).into(),
        value: Arc::from(value.as_bytes()),
        flags: index,
        session: "".into(),
        index: 0,
    };
    let payload = match chance.below(20) {
        0 => EntryPayload::Blank,
        1 => EntryPayload::Membership(members()),
        _ => EntryPayload::Normal(Proposal(Arc::new(Entry {
            at: index,
            command: Command::Kv(op),
        }))),
    };
    LogEntry::new(log_id(term, index), payload)
}

fn members() -> crate::types::Membership {
    let server = ServerInfo {
        node_id: "own".to_owned(),
        name: "s".to_owned(),
        address: "10.0.0.1:8300".to_owned(),
    };
    membership(
        vec![BTreeSet::from([server_id("own")])],
        BTreeMap::from([(server_id("own"), server)]),
    )
    .unwrap()
}

/// The storage of one life, driven step by step.
struct Life {
    log: LogStore,
    writer: Writer,
    jobs: mpsc::Receiver<Job>,
    store: SnapshotStore,
    committed: Option<LogId>,
}

/// The power is gone.
struct Dark;

impl Life {
    /// Stores all that waits in one commit.
    async fn pump(writer: &mut Writer, jobs: &mut mpsc::Receiver<Job>) -> Result<(), Dark> {
        let mut batch = Vec::from_iter(jobs.recv().await);
        while let Ok(job) = jobs.try_recv() {
            batch.push(job);
        }
        writer.step(&mut batch).map_or(Ok(()), |_| Err(Dark))
    }

    /// One step of the load. `model` becomes what it asks for; an answer that it was done is only
    /// given when all of it was acknowledged.
    async fn step(&mut self, model: &mut Model, chance: &mut Chance) -> Result<(), Dark> {
        let term = model
            .vote
            .as_ref()
            .map_or(1, |v| v.leader_id.term)
            .max(model.last().map_or(0, |id| term_of(&id)));
        let next = model.last().map_or(0, |id| id.index + 1);
        match chance.below(20) {
            0 => {
                let new = vote(term + 1, chance.below(5), chance.percent(50));
                model.vote = Some(new);
                let (stored, pumped) = join(
                    self.log.save_vote(&new),
                    Life::pump(&mut self.writer, &mut self.jobs),
                )
                .await;
                pumped?;
                stored.map_err(|_| Dark)
            }
            1 => {
                // Only what is not committed can go.
                let from = self.committed.map_or(0, |id| id.index + 1);
                let keep = from + chance.below((next - from).max(1));
                let after = keep
                    .checked_sub(1)
                    .and_then(|i| model.entries.get(&i))
                    .map(|e| e.log_id);
                model.entries.split_off(&after.map_or(0, |id| id.index + 1));
                let work = self.log.truncate_after(after);
                let (stored, pumped) =
                    join(work, Life::pump(&mut self.writer, &mut self.jobs)).await;
                pumped?;
                stored.map_err(|_| Dark)
            }
            2 | 3 if self.committed.is_some_and(|id| model.snapshot < Some(id)) => {
                let last = self.committed.unwrap();
                model.snapshot = Some(last);
                let head = SnapshotHead {
                    last: Some(last),
                    membership_at: Some(last),
                    membership: members(),
                };
                self.store
                    .write(&head, &model.state(last.index))
                    .map(|_| ())
                    .map_err(|_| Dark)
            }
            4 if model.snapshot.is_some() => {
                let before = self.log.get_log_state().await.unwrap().last_purged_log_id;
                self.log
                    .purge(model.snapshot.unwrap())
                    .await
                    .map_err(|_| Dark)?;
                model.purged = self.log.get_log_state().await.unwrap().last_purged_log_id;
                if model.purged == before {
                    return Ok(());
                }
                Life::pump(&mut self.writer, &mut self.jobs).await
            }
            _ => {
                // Several appends may wait for one commit.
                let mut waiting = Vec::new();
                let mut index = next;
                for _ in 0..=chance.below(4) {
                    let entries: Vec<_> = (0..=chance.below(6))
                        .map(|i| payload(term, index + i, chance))
                        .collect();
                    index += entries.len() as u64;
                    model
                        .entries
                        .extend(entries.iter().map(|e| (e.log_id.index, e.clone())));
                    let (done, stored) = TypeConfig::oneshot();
                    self.log
                        .append(entries, Done::signal(done))
                        .await
                        .map_err(|_| Dark)?;
                    waiting.push(stored);
                }
                Life::pump(&mut self.writer, &mut self.jobs).await?;
                for stored in waiting {
                    stored.await.map_err(|_| Dark)?.map_err(|_| Dark)?;
                }
                // All that is stored here is committed, but for a few at the end.
                let upto = (index - 1).saturating_sub(chance.below(4));
                self.committed = model
                    .entries
                    .get(&upto)
                    .map(|e| e.log_id)
                    .max(self.committed);
                self.log.save_committed(self.committed).await.unwrap();
                Ok(())
            }
        }
    }
}

/// Compares what was found with what should be there.
async fn compare(
    content: &Content,
    newest: Option<&Loaded>,
    reader: &LogReader,
    model: &Model,
) -> Result<(), String> {
    let differ = |what: &str, found: &dyn std::fmt::Debug, expected: &dyn std::fmt::Debug| {
        if format!("{found:?}") == format!("{expected:?}") {
            Ok(())
        } else {
            Err(format!("{what}: found {found:?}, expected {expected:?}"))
        }
    };
    differ("vote", &content.vote, &model.vote)?;
    differ("last entry", &content.last, &model.last().max(model.purged))?;
    differ("dropped", &content.purged, &model.purged)?;
    differ(
        "snapshot",
        &newest.and_then(|l| l.head.last),
        &model.snapshot,
    )?;
    if let Some(loaded) = newest {
        let upto = loaded.head.last.map_or(0, |id| id.index);
        let rows = |view: &View| view.kv_range("").cloned().collect::<Vec<_>>();
        if rows(&loaded.view) != rows(&model.state(upto)) || loaded.view.index() != upto {
            return Err(format!("the snapshot at {upto} has another state"));
        }
    }
    let found = reader
        .read(0, u64::MAX, usize::MAX)
        .await
        .map_err(|e| e.to_string())?;
    let first = model.purged.map_or(0, |id| id.index + 1);
    let expected: Vec<&LogEntry> = model.entries.range(first..).map(|(_, e)| e).collect();
    if found.iter().ne(expected.iter().copied()) {
        return Err(format!(
            "{} entries from {first} on, expected {}, or others",
            found.len(),
            expected.len()
        ));
    }
    Ok(())
}

/// Lets a server live through so many cuts.
async fn live(seed: u64, cuts: u64, ignored: Option<Flush>) -> Result<u64, String> {
    let dir = Path::new("/raft");
    let mut chance = Chance::new(seed);
    let mut disk = SimulatedDisk::new(ignored);
    // What may be found: acknowledged first, and what was under way.
    let mut possible = vec![Model::default()];
    let mut steps = 0;
    for cut in 0..cuts {
        let context = |why: String| format!("seed {seed}, cut {cut}: {why}");
        // The first look is undisturbed; then it is opened for real, and that may be cut too.
        let looked = directory::open(Arc::new(disk.copy()), dir, Some("own"), 1);
        let Opened {
            log,
            content,
            newest,
            floor,
            ..
        } = looked.map_err(|e| context(e.to_string()))?;
        let (log, _writer, _jobs) = LogStore::parts(log, &content, floor, watch::Sender::new(None));
        let reader = LogReader::new(log.handle());
        let (mut found, mut why) = (None, Vec::new());
        for candidate in possible.drain(..) {
            match compare(&content, newest.as_ref(), &reader, &candidate).await {
                Ok(()) => found = Some(candidate),
                Err(error) => why.push(error),
            }
        }
        let mut model = found.ok_or_else(|| context(why.join("; or ")))?;

        disk.power_for(1 + chance.below(500));
        let mut life = match directory::open(Arc::new(disk.clone()), dir, Some("own"), 1) {
            Err(_) if disk.is_dark() => None,
            Err(error) => return Err(context(error.to_string())),
            Ok(Opened {
                log,
                content,
                store,
                floor,
                ..
            }) => {
                let committed = content.committed.max(model.snapshot);
                let (log, writer, jobs) =
                    LogStore::parts(log, &content, floor, watch::Sender::new(None));
                Some(Life {
                    log,
                    writer,
                    jobs,
                    store,
                    committed,
                })
            }
        };
        possible.push(model.clone());
        while let Some(living) = &mut life {
            match living.step(&mut model, &mut chance).await {
                Ok(()) => {
                    steps += 1;
                    possible = vec![model.clone()];
                }
                Err(Dark) => {
                    if !disk.is_dark() {
                        return Err(context("a step failed while there was power".to_owned()));
                    }
                    possible.push(model.clone());
                    life = None;
                }
            }
        }
        disk = disk.cut(&mut chance);
    }
    Ok(steps)
}

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(work)
}

#[test]
fn a_thousand_cuts_lose_nothing() {
    let steps: u64 = (0..125).map(|seed| run(live(seed, 8, None)).unwrap()).sum();
    // The load must be a load: otherwise nothing was tested.
    assert!(steps > 5_000, "{steps} steps");
}

#[test]
fn no_flush_can_be_left_out() {
    for flush in [
        Flush::Log,
        Flush::Snapshot,
        Flush::SnapshotName,
        Flush::Header,
        Flush::Names,
    ] {
        let noticed = (0..60).find_map(|seed| run(live(seed, 8, Some(flush))).err());
        assert!(
            noticed.is_some(),
            "without the flush of {flush:?} nothing was lost in 480 cuts"
        );
    }
}
