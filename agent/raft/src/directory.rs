//! The directory of a server: whose it is, its log and its snapshots, checked against each other.

use crate::disk::{Fs, Guard, Lock, write_whole};
use crate::error::StartError;
use crate::format::{self, Unreadable};
use crate::log::{Content, LogFile};
use crate::snapshot::{Floor, Loaded, SnapshotStore};
use std::fs::TryLockError;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const LOCK: &str = "lock";
const HEADER: &str = "header";
const LOG: &str = "log.redb";
const LOG_ASIDE: &str = "log.redb.tmp";
const SNAPSHOTS: &str = "snapshots";

/// What a directory holds.
#[derive(Debug)]
pub(crate) struct Opened {
    /// The log.
    pub(crate) log: LogFile,
    /// What the log holds.
    pub(crate) content: Content,
    /// The snapshots.
    pub(crate) store: SnapshotStore,
    /// The newest good snapshot.
    pub(crate) newest: Option<Loaded>,
    /// Up to where the log may be dropped.
    pub(crate) floor: Arc<Floor>,
}

/// Keeps other processes out of the directory, which is made if need be.
pub(crate) fn lock(fs: &dyn Fs, dir: &Path) -> Result<Lock, StartError> {
    fs.make_dir(dir).map_err(|e| StartError::io(dir, e))?;
    let path = dir.join(LOCK);
    fs.lock(&path).map_err(|e| match e {
        TryLockError::WouldBlock => StartError::Locked {
            dir: dir.to_path_buf(),
        },
        TryLockError::Error(error) => StartError::io(path, error),
    })
}

/// Opens a directory, or makes it for the server `own`. Without `own` it must be there and may be
/// anyone's.
pub(crate) fn open(
    fs: Arc<dyn Fs>,
    dir: &Path,
    own: Option<&str>,
    epoch: u64,
) -> Result<Opened, StartError> {
    let (header, log, snapshots) = (dir.join(HEADER), dir.join(LOG), dir.join(SNAPSHOTS));
    let there = |path: &PathBuf| fs.exists(path).map_err(|e| StartError::io(path, e));
    let founded = there(&header)?;
    match own {
        _ if founded => {
            let found = read_header(&*fs, &header)?;
            if let Some(own) = own.filter(|own| !own.eq_ignore_ascii_case(&found)) {
                return Err(StartError::Foreign {
                    dir: dir.to_path_buf(),
                    found,
                    own: own.to_owned(),
                });
            }
            if !there(&log)? {
                return Err(StartError::damaged(log, "it is missing"));
            }
        }
        None => return Err(StartError::damaged(header, "it is missing")),
        Some(_) => {
            fs.make_dir(&snapshots)
                .map_err(|e| StartError::io(&snapshots, e))?;
        }
    }
    let io = |e| StartError::io(&log, e);
    let (log_file, content, guard) = if founded || there(&log)? {
        let (file, content, guard) = LogFile::open(fs.database(&log).map_err(io)?, &log, false)?;
        (file, content, Some(guard))
    } else {
        // A log gets its name when it is whole.
        let aside = dir.join(LOG_ASIDE);
        if there(&aside)? {
            fs.remove(&aside).map_err(io)?;
        }
        let (file, content, guard) = LogFile::open(fs.database(&aside).map_err(io)?, &log, true)?;
        guard.release().map_err(io)?;
        fs.rename(&aside, &log).map_err(io)?;
        (file, content, None)
    };
    let floor = Arc::new(Floor::default());
    let found = SnapshotStore::open(fs.clone(), &snapshots, epoch, floor.clone())?;
    // The header is written last: with it there is a log, without it there is nothing to lose.
    if !founded
        && (content != Content::default() || found.newest.is_some() || !found.damaged.is_empty())
    {
        return Err(StartError::damaged(header, "it is missing"));
    }
    let covered = found.newest.as_ref().and_then(|loaded| loaded.head.last);
    if let Some(purged) = content.purged
        && covered.is_none_or(|covered| covered.index < purged.index)
    {
        let (file, why) = found
            .damaged
            .into_iter()
            .next()
            .unwrap_or((log.clone(), "its front is missing".to_owned()));
        return Err(StartError::damaged(
            file,
            format!(
                "{why}; the log begins after entry {}, and no good snapshot reaches that far",
                purged.index
            ),
        ));
    }
    // All is well: from here on the log may be written to.
    guard
        .map_or(Ok(()), Guard::release)
        .map_err(|e| StartError::io(&log, e))?;
    if let Some(own) = own.filter(|_| !founded) {
        let sync = |dir: &Path| fs.sync_dir(dir).map_err(|e| StartError::io(dir, e));
        sync(dir)?;
        dir.parent()
            .filter(|parent| !parent.as_os_str().is_empty())
            .map(sync)
            .transpose()?;
        let bytes = format::write_directory_header(own);
        write_whole(&*fs, dir, "header.tmp", HEADER, |out| out.write_all(&bytes))
            .map_err(|e| StartError::io(&header, e))?;
    }
    found
        .store
        .tidy()
        .map_err(|e| StartError::io(&snapshots, e))?;
    for (file, why) in &found.damaged {
        tracing::warn!(file = %file.display(), "a snapshot is damaged ({why}); an older one and the log replace it");
    }
    Ok(Opened {
        log: log_file,
        content,
        store: found.store,
        newest: found.newest,
        floor,
    })
}

fn read_header(fs: &dyn Fs, path: &Path) -> Result<String, StartError> {
    let mut bytes = Vec::new();
    let read = fs.open(path).and_then(|file| {
        std::io::Read::read_to_end(&mut std::io::Read::take(file, 1 << 16), &mut bytes)
    });
    read.map_err(|e| StartError::io(path, e))?;
    format::read_directory_header(&bytes).map_err(|e| match e {
        Unreadable::Damaged(why) => StartError::damaged(path, why),
        Unreadable::Newer { found, known } => StartError::Newer {
            file: path.to_path_buf(),
            found,
            known,
        },
    })
}
