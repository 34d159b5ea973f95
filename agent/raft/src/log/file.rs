//! The log file: a redb database with two tables, the records by index and a few named values.
//!
//! redb guards its own trees, but neither its values nor a file that was closed cleanly, and it
//! panics on some damage. So every value carries a checksum, everything is checked when the file
//! is opened, and a panic of redb ends as an error.

use crate::disk::{Guard, Guarded, guarded};
use crate::error::StartError;
use crate::format::{self, Unreadable};
use crate::types::{LogEntry, LogId, Vote};
use redb::{
    Database, DatabaseError, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction,
};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const RECORDS: TableDefinition<u64, &[u8]> = TableDefinition::new("records");
const VALUES: TableDefinition<&str, &[u8]> = TableDefinition::new("values");

/// redb would take a gigabyte.
const CACHE: usize = 8 << 20;

/// How many dropped records leave the file with one commit: a commit that others wait for must
/// not take longer because a snapshot was made.
const DROP_STEP: u64 = 512;

/// What a log file holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Content {
    /// The vote.
    pub(crate) vote: Option<Vote>,
    /// The last entry known as committed.
    pub(crate) committed: Option<LogId>,
    /// The last entry dropped from the front.
    pub(crate) purged: Option<LogId>,
    /// The last entry, of those dropped if there are no others.
    pub(crate) last: Option<LogId>,
    /// The index of the first entry that was not dropped.
    pub(crate) begin: u64,
}

/// The log file. One thread writes, any may read.
#[derive(Debug)]
pub(crate) struct LogFile {
    db: Arc<Database>,
    path: PathBuf,
    /// The lowest index that has a row.
    lowest: u64,
    /// Rows up to this index are dropped, though they may still be there.
    dropped: Option<u64>,
    record: Vec<u8>,
}

/// Reads records from the file.
#[derive(Clone, Debug)]
pub(crate) struct LogFileReader {
    db: Arc<Database>,
    path: PathBuf,
}

/// One transaction's changes.
pub(crate) struct Batch<'a> {
    txn: WriteTransaction,
    file: &'a mut LogFile,
}

/// Calls redb, turning what it throws into an error.
fn caught<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied());
        text.unwrap_or("its structure is broken").to_owned()
    })
}

fn other(error: impl Into<redb::Error>) -> io::Error {
    match error.into() {
        redb::Error::Io(error) => error,
        error => io::Error::other(error),
    }
}

impl LogFile {
    /// Opens the file, or makes it if it is `new`. Nothing is written before the guard is released,
    /// which is for the caller to do when everything else is found to be good.
    pub(crate) fn open(
        backend: Box<dyn redb::StorageBackend>,
        path: &Path,
        new: bool,
    ) -> Result<(LogFile, Content, Guard), StartError> {
        let (file, guard) = guarded(backend);
        let result = caught(|| LogFile::open_guarded(file, path, new));
        let (file, content) = result.unwrap_or_else(|why| Err(StartError::damaged(path, why)))?;
        Ok((file, content, guard))
    }

    fn open_guarded(
        backend: Guarded,
        path: &Path,
        new: bool,
    ) -> Result<(LogFile, Content), StartError> {
        let error = |e: DatabaseError| match e {
            DatabaseError::DatabaseAlreadyOpen => StartError::Locked {
                dir: path.parent().unwrap_or(path).to_path_buf(),
            },
            DatabaseError::UpgradeRequired(found) => StartError::Newer {
                file: path.to_path_buf(),
                found: found.into(),
                known: format::LOG.into(),
            },
            DatabaseError::Storage(redb::StorageError::Io(e))
                if !matches!(
                    e.kind(),
                    io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
                ) =>
            {
                StartError::io(path, e)
            }
            e => StartError::damaged(path, e),
        };
        let fresh = redb::StorageBackend::len(&backend).map_err(|e| StartError::io(path, e))? == 0;
        if fresh && !new {
            return Err(StartError::damaged(path, "it is empty"));
        }
        let db = Database::builder()
            .set_cache_size(CACHE)
            .set_check_integrity_on_open(true)
            .create_with_backend(backend)
            .map_err(error)?;
        let mut file = LogFile {
            db: Arc::new(db),
            path: path.to_path_buf(),
            lowest: 0,
            dropped: None,
            record: Vec::new(),
        };
        if fresh {
            file.begin()
                .and_then(Batch::found)
                .map_err(|e| StartError::io(path, e))?;
        }
        let content = file.examine().map_err(|e| match e {
            Unreadable::Damaged(why) => StartError::damaged(path, why),
            Unreadable::Newer { found, known } => StartError::Newer {
                file: path.to_path_buf(),
                found,
                known,
            },
        })?;
        Ok((file, content))
    }

    /// Reads everything once.
    fn examine(&mut self) -> Result<Content, Unreadable> {
        let why = |e: &dyn std::fmt::Display| Unreadable::Damaged(e.to_string());
        let txn = self.db.begin_read().map_err(|e| why(&e))?;
        let values = txn.open_table(VALUES).map_err(|e| why(&e))?;
        let value = |name: &str| -> Result<Option<Vec<u8>>, Unreadable> {
            Ok(values
                .get(name)
                .map_err(|e| why(&e))?
                .map(|v| v.value().to_vec()))
        };
        match value(format::KEY_FORMAT)? {
            Some(bytes) => format::check_log_format(&bytes)?,
            None => return Err(Unreadable::Damaged("it does not say its format".to_owned())),
        }
        let id = |name| {
            value(name)?
                .map(|v| format::read_log_id(name, &v))
                .transpose()
        };
        let mut content = Content {
            vote: value(format::KEY_VOTE)?
                .map(|v| format::read_vote(&v))
                .transpose()?,
            committed: id(format::KEY_COMMITTED)?,
            purged: id(format::KEY_PURGED)?,
            last: None,
            begin: 0,
        };
        content.last = content.purged;
        let after = content.purged.map_or(0, |id| id.index + 1);
        let mut lowest = None;
        let mut expected = None;
        for row in txn
            .open_table(RECORDS)
            .map_err(|e| why(&e))?
            .iter()
            .map_err(|e| why(&e))?
        {
            let (index, bytes) = row.map_err(|e| why(&e))?;
            let index = index.value();
            lowest.get_or_insert(index);
            if index < after {
                continue;
            }
            if index
                != expected.unwrap_or(if content.purged.is_some() {
                    after
                } else {
                    index
                })
            {
                return Err(Unreadable::Damaged(format!(
                    "the record before {index} is missing"
                )));
            }
            if expected.is_none() {
                content.begin = index;
            }
            expected = Some(index + 1);
            content.last = Some(format::check_record(index, bytes.value()).map_err(
                |e| match e {
                    Unreadable::Damaged(text) => {
                        Unreadable::Damaged(format!("record {index}: {text}"))
                    }
                    newer => newer,
                },
            )?);
        }
        self.dropped = content.purged.map(|id| id.index);
        self.lowest = lowest.unwrap_or(after);
        Ok(content)
    }

    /// Where the file lies.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A reader of the file. It keeps the file open.
    pub(crate) fn reader(&self) -> LogFileReader {
        LogFileReader {
            db: self.db.clone(),
            path: self.path.clone(),
        }
    }

    /// Whether records that were dropped still lie in the file.
    pub(crate) fn has_dropped(&self) -> bool {
        self.dropped.is_some_and(|upto| self.lowest <= upto)
    }

    /// Begins a transaction.
    pub(crate) fn begin(&mut self) -> io::Result<Batch<'_>> {
        Ok(Batch {
            txn: self.db.begin_write().map_err(other)?,
            file: self,
        })
    }
}

#[cfg(test)]
impl LogFile {
    /// Writes what a later version of the tables, or of a record in them, would.
    pub(crate) fn write_newer(&mut self, record: bool) {
        let mut batch = self.begin().unwrap();
        if record {
            let mut bytes = vec![0, 0, 0, 0, format::RECORD + 1];
            let sum = crc32fast::hash(&[&0_u64.to_le_bytes(), &bytes[4..]].concat());
            bytes[..4].copy_from_slice(&sum.to_le_bytes());
            batch
                .txn
                .open_table(RECORDS)
                .unwrap()
                .insert(0, bytes.as_slice())
                .unwrap();
        } else {
            batch
                .put(
                    format::KEY_FORMAT,
                    &format::write_log_format(format::LOG + 1),
                )
                .unwrap();
        }
        batch.commit().unwrap();
    }
}

impl Batch<'_> {
    /// Makes the tables of a new file.
    fn found(mut self) -> io::Result<()> {
        self.txn.open_table(RECORDS).map_err(other)?;
        self.put(format::KEY_FORMAT, &format::write_log_format(format::LOG))?;
        self.commit()
    }

    fn put(&mut self, name: &str, value: &[u8]) -> io::Result<()> {
        let mut values = self.txn.open_table(VALUES).map_err(other)?;
        values.insert(name, value).map_err(other)?;
        Ok(())
    }

    /// Stores the vote.
    pub(crate) fn vote(&mut self, vote: &Vote) -> io::Result<()> {
        self.put(format::KEY_VOTE, &format::write_vote(vote))
    }

    /// Stores what is known as committed.
    pub(crate) fn committed(&mut self, id: &LogId) -> io::Result<()> {
        self.put(
            format::KEY_COMMITTED,
            &format::write_log_id(format::KEY_COMMITTED, id),
        )
    }

    /// Adds records at the end and tells their sizes.
    pub(crate) fn append(
        &mut self,
        entries: &[LogEntry],
        sizes: &mut Vec<(u64, usize)>,
    ) -> io::Result<()> {
        let mut records = self.txn.open_table(RECORDS).map_err(other)?;
        for entry in entries {
            format::write_record(entry, &mut self.file.record);
            sizes.push((entry.log_id.index, self.file.record.len()));
            records
                .insert(entry.log_id.index, self.file.record.as_slice())
                .map_err(other)?;
        }
        Ok(())
    }

    /// Removes all records from this index on.
    pub(crate) fn truncate(&mut self, from: u64) -> io::Result<()> {
        self.txn
            .open_table(RECORDS)
            .map_err(other)?
            .retain_in(from.., |_, _| false)
            .map_err(other)
    }

    /// Drops all records up to this one. They leave the file little by little.
    pub(crate) fn purge(&mut self, upto: &LogId) -> io::Result<()> {
        self.put(
            format::KEY_PURGED,
            &format::write_log_id(format::KEY_PURGED, upto),
        )?;
        self.file.dropped = self.file.dropped.max(Some(upto.index));
        Ok(())
    }

    /// Removes some of the records that were dropped.
    pub(crate) fn sweep(&mut self) -> io::Result<()> {
        let Some(upto) = self.file.dropped.filter(|upto| self.file.lowest <= *upto) else {
            return Ok(());
        };
        let end = upto.min(self.file.lowest.saturating_add(DROP_STEP - 1));
        let mut records = self.txn.open_table(RECORDS).map_err(other)?;
        records
            .retain_in(self.file.lowest..=end, |_, _| false)
            .map_err(other)?;
        self.file.lowest = end + 1;
        Ok(())
    }

    /// Makes all of it durable, or none.
    pub(crate) fn commit(self) -> io::Result<()> {
        self.txn.commit().map_err(other)
    }
}

impl LogFileReader {
    /// The entries from `start` to before `end` that are there, in order, and no more once they
    /// are larger than `limit` bytes together; at least one if there is one.
    pub(crate) fn read(&self, start: u64, end: u64, limit: usize) -> io::Result<Vec<LogEntry>> {
        let damaged = |index: u64, why: String| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{}: record {index}: {why}", self.path.display()),
            )
        };
        let read = || -> io::Result<Vec<LogEntry>> {
            let txn = self.db.begin_read().map_err(other)?;
            let records = txn.open_table(RECORDS).map_err(other)?;
            let (mut found, mut size) = (Vec::new(), 0);
            for row in records.range(start..end).map_err(other)? {
                let (index, bytes) = row.map_err(other)?;
                size += bytes.value().len();
                if size > limit && !found.is_empty() {
                    break;
                }
                let index = index.value();
                found.push(
                    format::read_record(index, bytes.value())
                        .map_err(|e| damaged(index, e.to_string()))?,
                );
            }
            Ok(found)
        };
        caught(read).unwrap_or_else(|why| Err(damaged(start, why)))
    }
}
