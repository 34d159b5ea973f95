//! The state as a stream of sections: each with its kind, its number of rows and a checksum.
//!
//! A section is written while walking an immutable [`View`] and restored into a new one, so that
//! neither needs the whole in memory twice. Rows are MessagePack maps with named fields: a newer
//! version may add fields, and reads what an older one wrote.

use crate::autopilot::AutopilotConfig;
use crate::command::Outcome;
use crate::once::Origin;
use crate::view::{TableIndexes, View, fold};
use lictor_wire::{Coordinate, HealthCheck, KvEntry, Node, NodeService, Session, Str};
use serde::{Serialize, de::DeserializeOwned};
use std::io::{Read, Write};
use std::sync::Arc;

/// The newest format of snapshots. Raised when an older binary could not read them. Format 2 has
/// the requests of which a copy may come; a state without such is written in format 1.
pub const FORMAT: u16 = 2;

const MAGIC: &[u8; 8] = b"LICTORSN";

/// No row is larger than this: a length beyond it is damage, not data. How large a value may be
/// is configured, so that this is far beyond what anyone would store.
const ROW_MAX: u32 = 1 << 30;

/// Why a snapshot cannot be read. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// Reading or writing failed.
    #[error("snapshot: {0}")]
    Io(#[from] std::io::Error),
    /// Not a snapshot of ours.
    #[error("this is not a lictor snapshot")]
    Magic,
    /// Written by another version, most likely a newer one.
    #[error(
        "the snapshot has format {found}, this version reads format {FORMAT}: it was written by a newer lictor"
    )]
    Format {
        /// The format found.
        found: u16,
    },
    /// The bytes are damaged.
    #[error("the snapshot is damaged in section {section}: {why}")]
    Damaged {
        /// The number of the section's kind.
        section: u8,
        /// What does not fit.
        why: String,
    },
}

const HEAD: u8 = 1;
const NODES: u8 = 2;
const SERVICES: u8 = 3;
const CHECKS: u8 = 4;
const KEYS: u8 = 5;
const TOMBSTONES: u8 = 6;
const LOCK_DELAYS: u8 = 7;
const SESSIONS: u8 = 8;
const COORDINATES: u8 = 9;
const NAMES: u8 = 10;
const NODE_INDEXES: u8 = 11;
const VIRTUAL_IPS: u8 = 12;
const ORIGINS: u8 = 13;
const ANSWERED: u8 = 14;
const END: u8 = 255;

// A field that an older version did not write counts as zero.
#[derive(Default, Serialize, serde::Deserialize)]
#[serde(default)]
struct Head {
    index: u64,
    nodes: u64,
    services: u64,
    checks: u64,
    kvs: u64,
    tombstones: u64,
    sessions: u64,
    coordinates: u64,
    service_extinction: u64,
    node_extinction: u64,
    connect_removal: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    autopilot: Option<AutopilotConfig>,
}

/// The checksum of a section covers its kind and its count, then every row with its length.
fn section_crc(kind: u8, count: u64) -> crc32fast::Hasher {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&[kind]);
    crc.update(&count.to_le_bytes());
    crc
}

struct Sink<'w, W> {
    out: &'w mut W,
    row: Vec<u8>,
}

impl<W: Write> Sink<'_, W> {
    fn section<T: Serialize>(
        &mut self,
        kind: u8,
        count: usize,
        rows: impl Iterator<Item = T>,
    ) -> Result<(), SnapshotError> {
        let mut crc = section_crc(kind, count as u64);
        self.out.write_all(&[kind])?;
        self.out.write_all(&(count as u64).to_le_bytes())?;
        let mut written = 0;
        for row in rows {
            self.row.clear();
            rmp_serde::encode::write_named(&mut self.row, &row).map_err(std::io::Error::other)?;
            let length = (self.row.len() as u32).to_le_bytes();
            crc.update(&length);
            crc.update(&self.row);
            self.out.write_all(&length)?;
            self.out.write_all(&self.row)?;
            written += 1;
        }
        if written != count {
            return Err(
                std::io::Error::other("a table changed its length while it was written").into(),
            );
        }
        self.out.write_all(&crc.finalize().to_le_bytes())?;
        Ok(())
    }
}

/// Writes a view.
pub fn write<W: Write>(view: &View, out: &mut W) -> Result<(), SnapshotError> {
    out.write_all(MAGIC)?;
    let format = if view.origins.is_empty() { 1 } else { FORMAT };
    out.write_all(&format.to_le_bytes())?;
    let mut sink = Sink {
        out,
        row: Vec::new(),
    };
    let t = &view.tables;
    let head = Head {
        index: view.index,
        nodes: t.nodes,
        services: t.services,
        checks: t.checks,
        kvs: t.kvs,
        tombstones: t.tombstones,
        sessions: t.sessions,
        coordinates: t.coordinates,
        service_extinction: t.service_extinction,
        node_extinction: t.node_extinction,
        connect_removal: t.connect_removal,
        autopilot: view.autopilot().cloned(),
    };
    sink.section(HEAD, 1, std::iter::once(head))?;
    sink.section(NODES, view.nodes.len(), view.nodes.values())?;
    sink.section(
        SERVICES,
        view.services.len(),
        view.services.iter().map(|((node, _), row)| (node, row)),
    )?;
    sink.section(CHECKS, view.checks.len(), view.checks.values())?;
    sink.section(KEYS, view.kv.len(), view.kv.values())?;
    sink.section(TOMBSTONES, view.tombstones.len(), view.tombstones.iter())?;
    sink.section(LOCK_DELAYS, view.lock_delays.len(), view.lock_delays.iter())?;
    sink.section(SESSIONS, view.sessions.len(), view.sessions.values())?;
    sink.section(COORDINATES, view.coordinates.len(), view.coordinates.iter())?;
    sink.section(
        NAMES,
        view.names.len(),
        view.names.values().map(|row| (&row.name, row.index)),
    )?;
    sink.section(NODE_INDEXES, view.node_index.len(), view.node_index.iter())?;
    sink.section(VIRTUAL_IPS, view.virtual_ips.len(), view.virtual_ips.iter())?;
    if format > 1 {
        sink.section(
            ORIGINS,
            view.origins.len(),
            view.origins.iter().map(|(id, o)| (id, o.at, o.floor)),
        )?;
        let answers = view.answered.iter();
        let rows = answers.map(|((origin, number), outcome)| (origin, number, outcome));
        sink.section(ANSWERED, view.answered.len(), rows)?;
    }
    sink.section(END, 0, std::iter::empty::<u8>())
}

struct Source<'r, R> {
    input: &'r mut R,
    section: u8,
}

impl<R: Read> Source<'_, R> {
    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], SnapshotError> {
        let mut out = [0; N];
        self.input.read_exact(&mut out)?;
        Ok(out)
    }

    fn damaged<T>(&self, why: impl std::fmt::Display) -> Result<T, SnapshotError> {
        Err(SnapshotError::Damaged {
            section: self.section,
            why: why.to_string(),
        })
    }

    fn rows<T: DeserializeOwned>(
        &mut self,
        count: u64,
        mut each: impl FnMut(T),
    ) -> Result<(), SnapshotError> {
        let mut crc = section_crc(self.section, count);
        let mut row = Vec::new();
        for _ in 0..count {
            let length_bytes = self.bytes::<4>()?;
            let length = u32::from_le_bytes(length_bytes);
            if length > ROW_MAX {
                return self.damaged(format!("a row of {length} bytes"));
            }
            row.clear();
            // Read what is there, not what the length promises.
            let got = self
                .input
                .by_ref()
                .take(u64::from(length))
                .read_to_end(&mut row)?;
            if got as u64 != u64::from(length) {
                return self.damaged("it ends in the middle of a row");
            }
            crc.update(&length_bytes);
            crc.update(&row);
            match rmp_serde::from_slice(&row) {
                Ok(value) => each(value),
                Err(error) => return self.damaged(error),
            }
        }
        if u32::from_le_bytes(self.bytes::<4>()?) != crc.finalize() {
            return self.damaged("its checksum is wrong");
        }
        Ok(())
    }
}

/// Reads a view. `epoch` must differ from that of every view that readers have seen.
pub fn read<R: Read>(input: &mut R, epoch: u64) -> Result<View, SnapshotError> {
    let mut source = Source { input, section: 0 };
    if &source.bytes::<8>()? != MAGIC {
        return Err(SnapshotError::Magic);
    }
    let found = u16::from_le_bytes(source.bytes()?);
    if !(1..=FORMAT).contains(&found) {
        return Err(SnapshotError::Format { found });
    }
    let mut view = View {
        epoch,
        ..View::default()
    };
    loop {
        let kind = source.bytes::<1>()?[0];
        source.section = kind;
        let count = u64::from_le_bytes(source.bytes()?);
        let v = &mut view;
        match kind {
            HEAD => source.rows(count, |h: Head| {
                v.index = h.index;
                v.tables = TableIndexes {
                    nodes: h.nodes,
                    services: h.services,
                    checks: h.checks,
                    kvs: h.kvs,
                    tombstones: h.tombstones,
                    sessions: h.sessions,
                    coordinates: h.coordinates,
                    service_extinction: h.service_extinction,
                    node_extinction: h.node_extinction,
                    connect_removal: h.connect_removal,
                };
                v.autopilot = h.autopilot.map(Arc::new);
            })?,
            NODES => source.rows(count, |row: Node| v.put_node(Arc::new(row)))?,
            SERVICES => source.rows(count, |(node, row): (Str, NodeService)| {
                v.put_service(node, Arc::new(row))
            })?,
            CHECKS => source.rows(count, |row: HealthCheck| v.put_check(Arc::new(row)))?,
            KEYS => source.rows(count, |row: KvEntry| v.put_key(Arc::new(row)))?,
            TOMBSTONES => source.rows(count, |(key, index): (Str, u64)| {
                v.tombstones.insert(key, index);
            })?,
            LOCK_DELAYS => source.rows(count, |(key, until): (Str, u64)| {
                v.lock_delays.insert(key, until);
            })?,
            SESSIONS => source.rows(count, |row: Session| v.put_session(Arc::new(row)))?,
            COORDINATES => source.rows(count, |(node, row): (Str, Coordinate)| {
                v.coordinates.insert(node, Arc::new(row));
            })?,
            NAMES => source.rows(count, |(name, index): (Str, u64)| {
                if let Some(row) = v.names.get_mut(&fold(&name)) {
                    row.index = index;
                    row.name = name;
                }
            })?,
            NODE_INDEXES => source.rows(count, |(node, index): (Str, u64)| {
                v.node_index.insert(node, index);
            })?,
            VIRTUAL_IPS => source.rows(count, |(name, number): (Str, u32)| {
                v.virtual_ips.insert(name, number);
            })?,
            ORIGINS => source.rows(count, |(id, at, floor): (u64, u64, u64)| {
                let kept = 0;
                v.origins.insert(id, Origin { at, floor, kept });
            })?,
            ANSWERED => source.rows(count, |(origin, number, row): (u64, u64, Outcome)| {
                if let Some(origin) = v.origins.get_mut(&origin) {
                    origin.kept += 1;
                }
                v.answered.insert((origin, number), row);
            })?,
            END => {
                source.rows(count, |_: u8| {})?;
                return Ok(view);
            }
            other => return source.damaged(format!("section {other} is unknown")),
        }
    }
}

#[cfg(test)]
mod tests;
