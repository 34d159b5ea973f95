//! The files of gossip: snapshots, from which a restarted agent finds its pools again.

use lictor_gossip::serf::{Snapshot, SnapshotAction};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::sync::{Notify, mpsc};

/// How long lines are collected before the next are written.
const PAUSE: Duration = Duration::from_millis(500);
/// The last lines have this long to reach the disk.
const LAST: Duration = Duration::from_secs(2);

/// The folder of gossip in a data directory, made if it is not there; only for its owner, as keys
/// lie in it.
///
/// # Errors
/// It cannot be made.
pub fn folder(data_dir: &Path) -> Result<PathBuf, String> {
    let folder = data_dir.join("serf");
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&folder)
        .map_err(|e| {
            format!(
                "failed to create {}: {}",
                folder.display(),
                crate::members::go_error(&e)
            )
        })?;
    Ok(folder)
}

/// A snapshot file and what it told at the start.
pub struct SnapshotFile {
    /// Where it is.
    pub path: PathBuf,
    /// What it tells.
    pub content: Snapshot,
}

impl SnapshotFile {
    /// Reads a file; one that is not there tells nothing.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn open(path: PathBuf, rejoin_after_leave: bool) -> Result<SnapshotFile, String> {
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => {
                let why = crate::members::go_error(&error);
                return Err(format!("failed to open {}: {why}", path.display()));
            }
        };
        // A torn last line need not be text.
        let content = Snapshot::replay(&String::from_utf8_lossy(&bytes), rejoin_after_leave);
        Ok(SnapshotFile { path, content })
    }
}

/// Writes a snapshot file beside the driver: one action is written, one may wait.
pub struct SnapshotWriter {
    actions: mpsc::Sender<SnapshotAction>,
    hurry: Arc<Notify>,
    done: tokio::task::JoinHandle<()>,
}

/// A place for the next action.
pub struct Slot<'a>(mpsc::Permit<'a, SnapshotAction>);

impl Slot<'_> {
    /// Gives the action to the writer.
    pub fn send(self, action: SnapshotAction) {
        self.0.send(action);
    }
}

impl SnapshotWriter {
    /// A place, unless one action waits already.
    pub fn slot(&self) -> Option<Slot<'_>> {
        self.actions.try_reserve().ok().map(Slot)
    }

    /// Writes the last actions and waits until they are written, for a while.
    pub async fn finish(self, last: Vec<SnapshotAction>) {
        let SnapshotWriter {
            actions,
            hurry,
            done,
        } = self;
        hurry.notify_one();
        let rest = async move {
            for action in last {
                let _ = actions.send(action).await;
            }
            drop(actions);
            let _ = done.await;
        };
        if tokio::time::timeout(LAST, rest).await.is_err() {
            tracing::warn!(target: "agent", "the gossip snapshot could not be written in time");
        }
    }
}

/// Begins to write a file.
pub fn write_snapshots(file: SnapshotFile) -> SnapshotWriter {
    let (actions, mut queue) = mpsc::channel::<SnapshotAction>(1);
    let hurry = Arc::new(Notify::new());
    let hurried = hurry.clone();
    let done = tokio::spawn(async move {
        let mut well = true;
        let mut calm = true;
        while let Some(action) = queue.recv().await {
            match save(&file.path, action).await {
                Ok(()) => well = true,
                // A snapshot only helps a restart; without it one joins by address.
                Err(error) => {
                    if std::mem::take(&mut well) {
                        let path = file.path.display().to_string();
                        tracing::error!(target: "agent", path, error = %error, "serf: Failed to update snapshot");
                    }
                }
            }
            if calm {
                tokio::select! {
                    () = tokio::time::sleep(PAUSE) => {}
                    () = hurried.notified() => calm = false,
                }
            }
        }
    });
    SnapshotWriter {
        actions,
        hurry,
        done,
    }
}

async fn save(path: &Path, action: SnapshotAction) -> io::Result<()> {
    match action {
        SnapshotAction::Append(text) => {
            let mut options = tokio::fs::OpenOptions::new();
            let mut file = options.create(true).append(true).open(path).await?;
            file.write_all(text.as_bytes()).await?;
            file.flush().await
        }
        SnapshotAction::Replace(text) => {
            let mut beside = path.to_owned().into_os_string();
            beside.push(".compact");
            tokio::fs::write(&beside, text).await?;
            tokio::fs::rename(&beside, path).await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_written_is_read() {
        let dir = std::env::temp_dir().join(format!("lictor-snapshot-{}", std::process::id()));
        let path = folder(&dir).unwrap().join("local.snapshot");
        let open = || SnapshotFile::open(path.clone(), false).unwrap();
        let writer = write_snapshots(open());
        let append = |text: &str| SnapshotAction::Append(text.to_owned());
        writer
            .slot()
            .unwrap()
            .send(append("alive: a 127.0.0.1:1\n"));
        writer.finish(vec![append("clock: 3\n")]).await;
        let content = open().content;
        assert_eq!((content.alive.len(), content.clock), (1, 3));
        let writer = write_snapshots(open());
        let all = SnapshotAction::Replace("alive: b 127.0.0.1:2\n".to_owned());
        writer.finish(vec![all, append("alive: torn 127.")]).await;
        let names: Vec<String> = open().content.alive.into_keys().collect();
        assert_eq!(names, ["b"]);
        std::fs::remove_dir_all(dir).unwrap();
    }
}
