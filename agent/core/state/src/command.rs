//! Everything that changes the replicated state.

use crate::autopilot::AutopilotChange;
use crate::once::RequestId;
use crate::txn::{TxnError, TxnOp, TxnResult};
use lictor_wire::{Coordinate, DeregisterRequest, RegisterRequest, Session, Str};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The newest format of encoded entries, and the newest that is read. Raised with a command that an
/// older binary could not read.
///
/// | format | new in it |
/// | --- | --- |
/// | 1 | |
/// | 2 | [`Command::Once`] |
pub const FORMAT: u8 = 2;
/// What every release reads.
pub const OLDEST_FORMAT: u8 = 1;

/// A command with the time that the leader stamped on it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Milliseconds since 1970 by the leader's clock. Only lock delays look at it.
    pub at: u64,
    /// What to do.
    pub command: Command,
}

/// A change of the replicated state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Command {
    /// Registers a node, and with it perhaps a service and checks.
    Register(Box<RegisterRequest>),
    /// Removes a check, a service or a whole node.
    Deregister(DeregisterRequest),
    /// Changes the key/value store.
    Kv(KvOp),
    /// Makes a session; its id was chosen by the leader.
    SessionCreate(Box<Session>),
    /// Ends a session.
    SessionDestroy(Str),
    /// Forgets the deletions of keys up to this index.
    ReapTombstones(u64),
    /// New coordinates of nodes.
    Coordinates(Vec<CoordinateUpdate>),
    /// Several commands in one entry, in order; each stands for itself.
    Batch(Vec<Command>),
    /// Operations that take place together or not at all.
    Txn(Vec<TxnOp>),
    /// A configuration of autopilot.
    Autopilot(Box<AutopilotChange>),
    /// A request that may come twice, and is carried out once: a copy gets the outcome of the
    /// first.
    Once(RequestId, Box<Command>),
}

/// A change of one key, or of a prefix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KvOp {
    /// What to do.
    pub verb: KvVerb,
    /// The key, or the prefix.
    pub key: Str,
    /// The value to write.
    #[serde(with = "bytes_form")]
    pub value: Arc<[u8]>,
    /// The client's flags.
    pub flags: u64,
    /// The session of a lock or unlock.
    pub session: Str,
    /// The index of a check-and-set.
    pub index: u64,
}

mod bytes_form {
    use serde::{Deserializer, Serializer};
    use std::sync::Arc;

    pub(super) fn serialize<S: Serializer>(v: &Arc<[u8]>, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_bytes(v)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Arc<[u8]>, D::Error> {
        struct V;
        impl serde::de::Visitor<'_> for V {
            type Value = Arc<[u8]>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E>(self, v: &[u8]) -> Result<Arc<[u8]>, E> {
                Ok(Arc::from(v))
            }
        }
        d.deserialize_bytes(V)
    }
}

/// What a [`KvOp`] does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KvVerb {
    /// Writes.
    Set,
    /// Writes if the key's index is `index`; zero: if there is no such key.
    Cas,
    /// Writes and locks.
    Lock,
    /// Writes and unlocks.
    Unlock,
    /// Deletes a key.
    Delete,
    /// Deletes a key if its index is `index`.
    DeleteCas,
    /// Deletes every key with the prefix.
    DeleteTree,
}

/// The coordinate of a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CoordinateUpdate {
    /// The node's name.
    pub node: Str,
    /// Where it is.
    pub coord: Coordinate,
}

/// What became of a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Done, or nothing to do.
    Done,
    /// A check-and-set or a lock: whether it took place.
    Flag(bool),
    /// Refused by the rules of the catalog; nothing was changed. The text is Consul's.
    Refused(String),
    /// The outcomes of a batch.
    Batch(Vec<Outcome>),
    /// What a transaction read and wrote, or why nothing of it took place.
    Txn {
        /// The rows, in the order of the operations. Removals give none.
        results: Vec<TxnResult>,
        /// The operations that failed; where there is one, nothing was changed.
        errors: Vec<TxnError>,
    },
}

impl Command {
    /// The oldest format that has this command: who reads it, or a newer one, can apply it. A new
    /// command says the format that came with it.
    pub fn format(&self) -> u8 {
        match self {
            Command::Register(_)
            | Command::Deregister(_)
            | Command::Kv(_)
            | Command::SessionCreate(_)
            | Command::SessionDestroy(_)
            | Command::ReapTombstones(_)
            | Command::Coordinates(_)
            | Command::Txn(_)
            | Command::Autopilot(_) => 1,
            Command::Batch(all) => all.iter().map(Command::format).fold(1, u8::max),
            Command::Once(_, command) => command.format().max(2),
        }
    }
}

impl Entry {
    /// The bytes of the log record, in the oldest format that has its command: while servers are
    /// upgraded one by one, those that are not yet read what they know.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![self.command.format()];
        // Our own types, written to memory: there is nothing that could fail.
        if let Err(error) = rmp_serde::encode::write_named(&mut out, self) {
            unreachable!("a command that does not encode: {error}");
        }
        out
    }

    /// Reads a log record.
    pub fn decode(bytes: &[u8]) -> Result<Entry, DecodeError> {
        match bytes.split_first() {
            None => Err(DecodeError::Empty),
            Some((OLDEST_FORMAT..=FORMAT, body)) => {
                rmp_serde::from_slice(body).map_err(|e| DecodeError::Damaged(e.to_string()))
            }
            Some((&other, _)) => Err(DecodeError::Format { found: other }),
        }
    }
}

/// Why a log record cannot be read. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The record has no bytes.
    #[error("the record is empty")]
    Empty,
    /// Written by another version, most likely a newer one.
    #[error(
        "the record has format {found}, this version reads format {FORMAT}: it was written by a newer lictor"
    )]
    Format {
        /// The format found.
        found: u8,
    },
    /// The bytes are not a command.
    #[error("the record is damaged: {0}")]
    Damaged(String),
}

impl std::fmt::Display for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.command.fmt(f)
    }
}

impl std::fmt::Display for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Command::Register(r) => write!(f, "register {}", r.node),
            Command::Deregister(r) => write!(f, "deregister {}", r.node),
            Command::Kv(op) => write!(f, "kv {:?} {}", op.verb, op.key),
            Command::SessionCreate(s) => write!(f, "session create {}", s.id),
            Command::SessionDestroy(id) => write!(f, "session destroy {id}"),
            Command::ReapTombstones(index) => write!(f, "reap tombstones {index}"),
            Command::Coordinates(all) => write!(f, "{} coordinates", all.len()),
            Command::Batch(all) => write!(f, "batch of {}", all.len()),
            Command::Txn(ops) => write!(f, "transaction of {}", ops.len()),
            Command::Autopilot(_) => f.write_str("configuration of autopilot"),
            Command::Once(_, command) => command.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::txn::{KvRead, KvReadVerb};

    #[test]
    fn entries_survive_their_encoding() {
        let entry = Entry {
            at: 7,
            command: Command::Kv(KvOp {
                verb: KvVerb::Set,
                key: "k".into(),
                value: Arc::from(&b"\0\xff"[..]),
                flags: u64::MAX,
                session: Str::new(),
                index: 0,
            }),
        };
        assert_eq!(Entry::decode(&entry.encode()), Ok(entry));
    }

    /// Logs are read by later versions: what was once written must keep its meaning.
    #[test]
    fn entries_keep_their_bytes() {
        let op = |verb| KvOp {
            verb,
            key: "k".into(),
            value: Arc::from(&b"v"[..]),
            flags: 1,
            session: "s".into(),
            index: 2,
        };
        let read = KvRead {
            verb: KvReadVerb::CheckNotExists,
            key: "k".into(),
            flags: 0,
            session: Str::new(),
            index: 3,
        };
        for (command, want) in [
            (
                Command::Kv(op(KvVerb::Cas)),
                "[01][82][a2]at[05][a7]command[81][a2]Kv[86][a4]verb[a3]Cas[a3]key[a1]k[a5]value[c4][01]v[a5]flags[01][a7]session[a1]s[a5]index[02]",
            ),
            (
                Command::Txn(vec![TxnOp::Kv(op(KvVerb::Lock)), TxnOp::KvRead(read)]),
                "[01][82][a2]at[05][a7]command[81][a3]Txn[92][81][a2]Kv[86][a4]verb[a4]Lock[a3]key[a1]k[a5]value[c4][01]v[a5]flags[01][a7]session[a1]s[a5]index[02][81][a6]KvRead[85][a4]verb[ae]CheckNotExists[a3]key[a1]k[a5]flags[00][a7]session[a0][a5]index[03]",
            ),
            (
                Command::SessionDestroy("s".into()),
                "[01][82][a2]at[05][a7]command[81][ae]SessionDestroy[a1]s",
            ),
            (
                Command::ReapTombstones(9),
                "[01][82][a2]at[05][a7]command[81][ae]ReapTombstones[09]",
            ),
            (
                Command::Once(
                    RequestId {
                        origin: 3,
                        number: 2,
                        floor: 1,
                    },
                    Box::new(Command::SessionDestroy("s".into())),
                ),
                "[02][82][a2]at[05][a7]command[81][a4]Once[92][93][03][02][01][81][ae]SessionDestroy[a1]s",
            ),
        ] {
            let bytes = Entry { at: 5, command }.encode();
            // Letters as they are, all else in hexadecimal.
            let text: String = bytes
                .iter()
                .map(|b| {
                    if b.is_ascii_alphabetic() {
                        char::from(*b).to_string()
                    } else {
                        format!("[{b:02x}]")
                    }
                })
                .collect();
            assert_eq!(text, want);
        }
    }

    #[test]
    fn an_entry_is_written_in_the_oldest_format_that_has_it() {
        let one = Command::ReapTombstones(9);
        let all = Command::Batch(vec![one.clone(), Command::Batch(Vec::new())]);
        for command in [one, all] {
            assert_eq!(command.format(), OLDEST_FORMAT);
            let bytes = Entry { at: 5, command }.encode();
            assert_eq!(bytes.first(), Some(&OLDEST_FORMAT));
        }
    }

    #[test]
    fn a_newer_format_is_refused_by_name() {
        let text = Entry::decode(&[9, 1, 2]).unwrap_err().to_string();
        assert!(
            text.contains("format 9") && text.contains("newer"),
            "{text}"
        );
        assert_eq!(Entry::decode(&[]), Err(DecodeError::Empty));
        assert!(matches!(
            Entry::decode(&[FORMAT, 0xc1]),
            Err(DecodeError::Damaged(_))
        ));
    }
}
