use super::*;
use crate::directory;
use crate::disk::RealFs;
use crate::machine::{Link, Machine};
use crate::simulation::Scratch;
use crate::types::{log_id, vote};
use lictor_state::{Changes, View};
use openraft::entry::RaftEntry;
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::type_config::TypeConfigExt;
use openraft::{EntryPayload, StorageError};

struct Nobody;

impl crate::Publish for Nobody {
    fn publish(&self, _: View, _: &Changes) {}
    fn restored(&self, _: View) {}
}

struct InMemory;

impl StoreBuilder<TypeConfig, LogStore, Machine> for InMemory {
    async fn build(&self) -> Result<((), LogStore, Machine), StorageError<TypeConfig>> {
        Ok((
            (),
            LogStore::memory(),
            Machine::new(None, None, Arc::new(Link::new(Arc::new(Nobody)))),
        ))
    }
}

struct InDirectory;

impl StoreBuilder<TypeConfig, LogStore, Machine, Scratch> for InDirectory {
    async fn build(&self) -> Result<(Scratch, LogStore, Machine), StorageError<TypeConfig>> {
        let scratch = Scratch::new("suite");
        // The suite drops entries without having made snapshots.
        let floor = Arc::new(Floor::default());
        floor.set(Some(log_id(u64::MAX, u64::MAX)));
        let (log, machine, _) = open_with(scratch.path(), Some(floor));
        Ok((scratch, log, machine))
    }
}

fn open(dir: &std::path::Path) -> (LogStore, Machine, LogCloser) {
    open_with(dir, None)
}

fn open_with(dir: &std::path::Path, floor: Option<Arc<Floor>>) -> (LogStore, Machine, LogCloser) {
    let opened = directory::open(Arc::new(RealFs), dir, Some("own"), 1).unwrap();
    let link = Arc::new(Link::new(Arc::new(Nobody)));
    let machine = Machine::new(opened.newest, Some(Arc::new(opened.store)), link);
    let (log, closer) = LogStore::file(
        opened.log,
        &opened.content,
        floor.unwrap_or(opened.floor),
        watch::Sender::new(None),
    )
    .unwrap();
    (log, machine, closer)
}

/// openraft's own tests of a log and a state machine.
#[tokio::test]
async fn the_log_in_memory_keeps_openrafts_contract() {
    Suite::test_all(InMemory).await.unwrap();
}

#[tokio::test]
async fn the_log_in_a_file_keeps_openrafts_contract() {
    Suite::test_all(InDirectory).await.unwrap();
}

fn blank(term: u64, index: u64) -> LogEntry {
    LogEntry::new(log_id(term, index), EntryPayload::Blank)
}

async fn append(log: &mut LogStore, entries: impl IntoIterator<Item = LogEntry>) {
    let (done, stored) = TypeConfig::oneshot();
    log.append(entries.into_iter().collect::<Vec<_>>(), Done::signal(done))
        .await
        .unwrap();
    stored.await.unwrap().unwrap();
}

async fn indexes(log: &mut LogStore, range: std::ops::Range<u64>) -> Vec<u64> {
    let mut reader = log.get_log_reader().await;
    reader
        .try_get_log_entries(range)
        .await
        .unwrap()
        .iter()
        .map(|e| e.log_id.index)
        .collect()
}

#[tokio::test]
async fn a_log_is_found_again_as_it_was_closed() {
    let scratch = Scratch::new("reopen");
    let (mut log, _machine, closer) = open(scratch.path());
    append(&mut log, (0..3000).map(|i| blank(1, i))).await;
    log.save_vote(&vote(4, 7, true)).await.unwrap();
    log.truncate_after(Some(log_id(1, 2899))).await.unwrap();
    append(&mut log, (2900..2950).map(|i| blank(4, i))).await;
    log.save_committed(Some(log_id(4, 2940))).await.unwrap();
    // The committed index goes along with the next commit.
    append(&mut log, [blank(4, 2950)]).await;
    // Most of it has left the memory: reading joins file and memory.
    assert!(log.shared.tail().first() > 2000);
    assert_eq!(
        indexes(&mut log, 0..9999).await,
        (0..2951).collect::<Vec<_>>()
    );
    assert_eq!(indexes(&mut log, 10..12).await, [10, 11]);
    closer.close().await;
    drop(log);

    let (mut log, _machine, _closer) = open(scratch.path());
    let state = log.get_log_state().await.unwrap();
    assert_eq!(
        (state.last_purged_log_id, state.last_log_id),
        (None, Some(log_id(4, 2950)))
    );
    assert_eq!(
        log.get_log_reader().await.read_vote().await.unwrap(),
        Some(vote(4, 7, true))
    );
    assert_eq!(log.read_committed().await.unwrap(), Some(log_id(4, 2940)));
    assert_eq!(
        indexes(&mut log, 2898..2902).await,
        [2898, 2899, 2900, 2901]
    );
    let mut reader = log.get_log_reader().await;
    let stream = reader.entries_stream(0..2951).await;
    let all: Vec<_> = futures_util::StreamExt::collect(stream).await;
    assert_eq!(
        all.into_iter()
            .map(|e: io::Result<LogEntry>| e.unwrap().log_id.index)
            .collect::<Vec<_>>(),
        (0..2951).collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn the_front_is_dropped_no_further_than_the_older_snapshot() {
    let scratch = Scratch::new("floor");
    let (mut log, _machine, closer) = open(scratch.path());
    append(&mut log, (0..2000).map(|i| blank(1, i))).await;
    log.purge(log_id(1, 1500)).await.unwrap();
    assert_eq!(log.get_log_state().await.unwrap().last_purged_log_id, None);
    let floor = log.durable.as_ref().unwrap().floor.clone();
    floor.set(Some(log_id(1, 1200)));
    log.purge(log_id(1, 1500)).await.unwrap();
    assert_eq!(
        log.get_log_state().await.unwrap().last_purged_log_id,
        Some(log_id(1, 1200))
    );
    assert_eq!(indexes(&mut log, 0..1203).await, [1201, 1202]);
    // A snapshot from elsewhere that reaches beyond the log makes all of it void.
    log.purge(log_id(3, 5000)).await.unwrap();
    append(&mut log, [blank(3, 5001)]).await;
    assert_eq!(indexes(&mut log, 0..9999).await, [5001]);
    closer.close().await;
    drop(log);

    // Nothing covers what was dropped: that is an error, not an empty state.
    let error = directory::open(Arc::new(RealFs), scratch.path(), Some("own"), 1)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("log.redb") && error.contains("5000"),
        "{error}"
    );
}

#[tokio::test]
async fn after_closing_everything_is_refused() {
    let scratch = Scratch::new("closed");
    let (mut log, _machine, closer) = open(scratch.path());
    append(&mut log, [blank(1, 0)]).await;
    closer.close().await;
    closer.close().await;
    assert!(log.save_vote(&vote(1, 1, false)).await.is_err());
    assert!(log.append([blank(1, 1)], Done::noop()).await.is_err());
}
