//! Everything that is written to the disk, byte by byte, with its version.
//!
//! Numbers are little-endian. In every format the place of checksum and version is fixed for all
//! times, so that any binary can tell damage from a newer format.

use crate::types::{
    LogEntry, LogId, Membership, Payload, Proposal, ServerInfo, Vote, log_id, membership, term_of,
    vote,
};
use lictor_state::{DecodeError, Entry};
use openraft::EntryPayload;
use openraft::entry::RaftEntry;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A format on the disk or between servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// What has this format.
    pub name: &'static str,
    /// The version that is written, and the newest that is read.
    pub version: u32,
}

/// The directory as a whole: which files there are, and the header file.
pub(crate) const DIRECTORY: u16 = 1;
/// The tables of the log file.
pub(crate) const LOG: u16 = 1;
/// A record of the log.
pub(crate) const RECORD: u8 = 1;
/// A snapshot file, up to the state that it carries.
pub(crate) const SNAPSHOT: u16 = 1;
/// A request between servers.
pub(crate) const WIRE: u8 = 1;

/// All formats of this crate. Each is refused by name when it is newer; a change that an older
/// binary cannot read raises its number, and the golden file of the old one stays readable.
pub const FORMATS: &[Format] = &[
    Format {
        name: "directory",
        version: DIRECTORY as u32,
    },
    Format {
        name: "log",
        version: LOG as u32,
    },
    Format {
        name: "record",
        version: RECORD as u32,
    },
    Format {
        name: "snapshot",
        version: SNAPSHOT as u32,
    },
    Format {
        name: "wire",
        version: WIRE as u32,
    },
];

/// Why bytes cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// They are not what was written.
    Damaged(String),
    /// They are whole, but of another version.
    Newer {
        /// The version found.
        found: u32,
        /// The newest that can be read.
        known: u32,
    },
}

impl std::fmt::Display for Unreadable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Unreadable::Damaged(why) => f.write_str(why),
            Unreadable::Newer { found, known } => write!(
                f,
                "it has format {found}, this version reads format {known}: it was written by a newer lictor"
            ),
        }
    }
}

fn damaged<T>(why: impl Into<String>) -> Result<T, Unreadable> {
    Err(Unreadable::Damaged(why.into()))
}

/// Takes a number of bytes from the front.
fn take<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], Unreadable> {
    match bytes.split_first_chunk::<N>() {
        Some((head, rest)) => {
            *bytes = rest;
            Ok(*head)
        }
        None => damaged("it ends too early"),
    }
}

fn crc(parts: &[&[u8]]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finalize()
}

// ---- log records ----
//
// crc u32 over (index u64, all that follows) | version u8 | kind u8 | term u64 | payload

const BLANK: u8 = 0;
const COMMAND: u8 = 1;
const MEMBERSHIP: u8 = 2;

/// Writes the record of an entry over what is in `out`.
pub(crate) fn write_record(entry: &LogEntry, out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(&[0; 4]);
    let kind = match &entry.payload {
        EntryPayload::Blank => BLANK,
        EntryPayload::Normal(_) => COMMAND,
        EntryPayload::Membership(_) => MEMBERSHIP,
    };
    out.extend_from_slice(&[RECORD, kind]);
    out.extend_from_slice(&term_of(&entry.log_id).to_le_bytes());
    match &entry.payload {
        EntryPayload::Blank => {}
        EntryPayload::Normal(proposal) => out.extend_from_slice(&proposal.0.encode()),
        EntryPayload::Membership(m) => out.extend_from_slice(&membership_bytes(m)),
    }
    let sum = crc(&[&entry.log_id.index.to_le_bytes(), &out[4..]]);
    out[..4].copy_from_slice(&sum.to_le_bytes());
}

/// Checks a record and reads its term, without reading the command in it.
pub(crate) fn check_record(index: u64, bytes: &[u8]) -> Result<LogId, Unreadable> {
    let (term, kind, body) = record_head(index, bytes)?;
    match body.first() {
        Some(found) if kind == COMMAND && !(1..=lictor_state::FORMAT).contains(found) => {
            Err(Unreadable::Newer {
                found: (*found).into(),
                known: lictor_state::FORMAT.into(),
            })
        }
        _ => Ok(log_id(term, index)),
    }
}

fn record_head(index: u64, mut bytes: &[u8]) -> Result<(u64, u8, &[u8]), Unreadable> {
    let sum = u32::from_le_bytes(take(&mut bytes)?);
    if sum != crc(&[&index.to_le_bytes(), bytes]) {
        return damaged("its checksum is wrong");
    }
    let [version] = take(&mut bytes)?;
    if version != RECORD {
        return Err(Unreadable::Newer {
            found: version.into(),
            known: RECORD.into(),
        });
    }
    let [kind] = take(&mut bytes)?;
    Ok((u64::from_le_bytes(take(&mut bytes)?), kind, bytes))
}

/// Reads a record.
pub(crate) fn read_record(index: u64, bytes: &[u8]) -> Result<LogEntry, Unreadable> {
    let (term, kind, body) = record_head(index, bytes)?;
    let payload: Payload = match kind {
        BLANK => EntryPayload::Blank,
        COMMAND => match Entry::decode(body) {
            Ok(entry) => EntryPayload::Normal(Proposal(Arc::new(entry))),
            Err(DecodeError::Format { found }) => {
                return Err(Unreadable::Newer {
                    found: found.into(),
                    known: lictor_state::FORMAT.into(),
                });
            }
            Err(error) => return damaged(error.to_string()),
        },
        MEMBERSHIP => EntryPayload::Membership(read_membership(body)?),
        other => return damaged(format!("records of kind {other} are unknown")),
    };
    Ok(<LogEntry as RaftEntry>::new(log_id(term, index), payload))
}

// ---- memberships ----

/// openraft's membership in a form of our own: theirs may change with their version.
#[derive(Serialize, Deserialize)]
struct MembershipForm {
    configs: Vec<BTreeSet<u64>>,
    servers: BTreeMap<u64, ServerInfo>,
}

impl MembershipForm {
    fn of(m: &Membership) -> MembershipForm {
        MembershipForm {
            configs: m.get_joint_config().clone(),
            servers: m
                .nodes()
                .map(|(id, server)| (*id, server.clone()))
                .collect(),
        }
    }

    fn membership(self) -> Result<Membership, Unreadable> {
        if self.configs.is_empty() && self.servers.is_empty() {
            return Ok(Membership::default());
        }
        membership(self.configs, self.servers).or_else(damaged)
    }
}

fn membership_bytes(m: &Membership) -> Vec<u8> {
    // Our own types, written to memory: there is nothing that could fail.
    rmp_serde::to_vec_named(&MembershipForm::of(m)).unwrap_or_default()
}

fn read_membership(bytes: &[u8]) -> Result<Membership, Unreadable> {
    match rmp_serde::from_slice::<MembershipForm>(bytes) {
        Ok(form) => form.membership(),
        Err(error) => damaged(error.to_string()),
    }
}

// ---- values of the log file's second table ----
//
// crc u32 over (name, all that follows) | the value

/// The version of the log file's tables.
pub(crate) const KEY_FORMAT: &str = "format";
/// The vote.
pub(crate) const KEY_VOTE: &str = "vote";
/// The last entry known as committed; it may lag.
pub(crate) const KEY_COMMITTED: &str = "committed";
/// The last entry that was dropped from the front.
pub(crate) const KEY_PURGED: &str = "purged";

fn sealed(name: &str, value: &[u8]) -> Vec<u8> {
    let mut out = crc(&[name.as_bytes(), value]).to_le_bytes().to_vec();
    out.extend_from_slice(value);
    out
}

fn unsealed<'a>(name: &str, mut bytes: &'a [u8]) -> Result<&'a [u8], Unreadable> {
    let sum = u32::from_le_bytes(take(&mut bytes)?);
    if sum != crc(&[name.as_bytes(), bytes]) {
        return damaged(format!("the checksum of its {name} is wrong"));
    }
    Ok(bytes)
}

/// The value of [`KEY_FORMAT`].
pub(crate) fn write_log_format(version: u16) -> Vec<u8> {
    sealed(KEY_FORMAT, &version.to_le_bytes())
}

/// Checks the value of [`KEY_FORMAT`].
pub(crate) fn check_log_format(bytes: &[u8]) -> Result<(), Unreadable> {
    let mut value = unsealed(KEY_FORMAT, bytes)?;
    match u16::from_le_bytes(take(&mut value)?) {
        LOG => Ok(()),
        found => Err(Unreadable::Newer {
            found: found.into(),
            known: LOG.into(),
        }),
    }
}

/// The value of [`KEY_VOTE`]: term u64, server u64, committed u8.
pub(crate) fn write_vote(v: &Vote) -> Vec<u8> {
    let mut value = v.leader_id.term.to_le_bytes().to_vec();
    value.extend_from_slice(&v.leader_id.voted_for.to_le_bytes());
    value.push(v.committed.into());
    sealed(KEY_VOTE, &value)
}

/// Reads the value of [`KEY_VOTE`].
pub(crate) fn read_vote(bytes: &[u8]) -> Result<Vote, Unreadable> {
    let mut value = unsealed(KEY_VOTE, bytes)?;
    let term = u64::from_le_bytes(take(&mut value)?);
    let server = u64::from_le_bytes(take(&mut value)?);
    Ok(vote(term, server, take::<1>(&mut value)? != [0]))
}

/// The value of [`KEY_COMMITTED`] or [`KEY_PURGED`]: term u64, index u64.
pub(crate) fn write_log_id(name: &str, id: &LogId) -> Vec<u8> {
    let mut value = term_of(id).to_le_bytes().to_vec();
    value.extend_from_slice(&id.index.to_le_bytes());
    sealed(name, &value)
}

/// Reads the value of [`KEY_COMMITTED`] or [`KEY_PURGED`].
pub(crate) fn read_log_id(name: &str, bytes: &[u8]) -> Result<LogId, Unreadable> {
    let mut value = unsealed(name, bytes)?;
    let term = u64::from_le_bytes(take(&mut value)?);
    Ok(log_id(term, u64::from_le_bytes(take(&mut value)?)))
}

// ---- the header of the directory, and of a snapshot ----
//
// magic [u8; 8] | version u16 | length u32 | body | crc u32 over all of it

const DIRECTORY_MAGIC: &[u8; 8] = b"LICTORDD";
const SNAPSHOT_MAGIC: &[u8; 8] = b"LICTORRS";

/// No header is larger: a length beyond it is damage, not data.
const HEADER_MAX: u32 = 1 << 20;

fn framed(magic: &[u8; 8], version: u16, body: &[u8]) -> Vec<u8> {
    let mut out = magic.to_vec();
    out.extend_from_slice(&version.to_le_bytes());
    out.extend_from_slice(&(body.len() as u32).to_le_bytes());
    out.extend_from_slice(body);
    let sum = crc(&[&out]);
    out.extend_from_slice(&sum.to_le_bytes());
    out
}

/// Reads a frame from a stream, leaving what follows it.
fn read_frame(
    magic: &[u8; 8],
    known: u16,
    input: &mut dyn std::io::Read,
) -> std::io::Result<Result<Vec<u8>, Unreadable>> {
    let mut head = [0; 14];
    if let Err(error) = input.read_exact(&mut head) {
        return short(error);
    }
    if &head[..8] != magic {
        return Ok(damaged("it does not begin as such a file does"));
    }
    let version = u16::from_le_bytes([head[8], head[9]]);
    let length = u32::from_le_bytes([head[10], head[11], head[12], head[13]]);
    if length > HEADER_MAX {
        return Ok(damaged(format!("its header claims {length} bytes")));
    }
    let mut rest = vec![0; length as usize + 4];
    if let Err(error) = input.read_exact(&mut rest) {
        return short(error);
    }
    let sum = rest.split_off(length as usize);
    if sum != crc(&[&head, &rest]).to_le_bytes() {
        return Ok(damaged("the checksum of its header is wrong"));
    }
    if version != known {
        return Ok(Err(Unreadable::Newer {
            found: version.into(),
            known: known.into(),
        }));
    }
    Ok(Ok(rest))
}

fn short<T>(error: std::io::Error) -> std::io::Result<Result<T, Unreadable>> {
    match error.kind() {
        std::io::ErrorKind::UnexpectedEof => Ok(damaged("it ends too early")),
        _ => Err(error),
    }
}

/// The header file of the directory of the server with this UUID.
pub(crate) fn write_directory_header(node_id: &str) -> Vec<u8> {
    framed(DIRECTORY_MAGIC, DIRECTORY, node_id.as_bytes())
}

/// Reads the UUID in a directory's header file.
pub(crate) fn read_directory_header(mut bytes: &[u8]) -> Result<String, Unreadable> {
    match read_frame(DIRECTORY_MAGIC, DIRECTORY, &mut bytes) {
        Ok(frame) => String::from_utf8(frame?).or_else(|_| damaged("its server id is no text")),
        Err(error) => damaged(error.to_string()),
    }
}

/// What a snapshot covers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SnapshotHead {
    /// The last entry in it.
    pub(crate) last: Option<LogId>,
    /// The entry of the membership.
    pub(crate) membership_at: Option<LogId>,
    /// The membership.
    pub(crate) membership: Membership,
}

#[derive(Serialize, Deserialize)]
struct SnapshotForm {
    last: Option<(u64, u64)>,
    membership_at: Option<(u64, u64)>,
    membership: MembershipForm,
}

/// The head of a snapshot; the state's own stream follows it.
pub(crate) fn write_snapshot_head(head: &SnapshotHead) -> Vec<u8> {
    let pair = |id: &LogId| (term_of(id), id.index);
    let form = SnapshotForm {
        last: head.last.as_ref().map(pair),
        membership_at: head.membership_at.as_ref().map(pair),
        membership: MembershipForm::of(&head.membership),
    };
    // Our own types, written to memory: there is nothing that could fail.
    framed(
        SNAPSHOT_MAGIC,
        SNAPSHOT,
        &rmp_serde::to_vec_named(&form).unwrap_or_default(),
    )
}

/// Reads the head of a snapshot, leaving the state's stream.
///
/// # Errors
///
/// Outside: reading failed. Inside: what was read is no head.
pub(crate) fn read_snapshot_head(
    input: &mut dyn std::io::Read,
) -> std::io::Result<Result<SnapshotHead, Unreadable>> {
    let body = match read_frame(SNAPSHOT_MAGIC, SNAPSHOT, input)? {
        Ok(body) => body,
        Err(error) => return Ok(Err(error)),
    };
    let form: SnapshotForm = match rmp_serde::from_slice(&body) {
        Ok(form) => form,
        Err(error) => return Ok(damaged(error.to_string())),
    };
    let id = |(term, index)| log_id(term, index);
    Ok(form.membership.membership().map(|membership| SnapshotHead {
        last: form.last.map(id),
        membership_at: form.membership_at.map(id),
        membership,
    }))
}

#[cfg(test)]
mod tests;
