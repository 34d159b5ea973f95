//! The formats, and the golden files of `tests/golden`: what a release has written stays readable.
//!
//! `LICTOR_GOLDEN=write cargo test -p lictor-raft golden` writes the files anew. Do that only for
//! a format that no release has written; for a new version of a format add a file beside the old.

use super::*;
use crate::directory;
use crate::disk::RealFs;
use crate::error::StartError;
use crate::simulation::Scratch;
use lictor_state::{Changes, Command, KvOp, KvVerb, State, View};
use std::path::PathBuf;

fn golden(name: &str, now: &[u8]) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name);
    if std::env::var_os("LICTOR_GOLDEN").is_some_and(|v| v == "write") {
        std::fs::write(&path, now).unwrap();
    }
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn server(number: u64) -> ServerInfo {
    ServerInfo {
        node_id: format!("adf4238a-882b-9ddc-4a9d-5b6758e4159{number}"),
        name: format!("server-{number}"),
        address: format!("10.0.0.{number}:8300"),
    }
}

fn members() -> Membership {
    let servers: BTreeMap<u64, ServerInfo> = (1..=3).map(|n| (server(n).id(), server(n))).collect();
    membership(
        vec![BTreeSet::from([server(1).id(), server(2).id()])],
        servers,
    )
    .unwrap()
}

fn entry() -> Entry {
    let op = KvOp {
        verb: KvVerb::Set,
        key: "golden/key".into(),
        value: Arc::from(&b"\0value\xff"[..]),
        flags: 42,
        session: "".into(),
        index: 0,
    };
    Entry {
        at: 1_700_000_000_000,
        command: Command::Kv(op),
    }
}

fn command() -> LogEntry {
    LogEntry::new(
        log_id(3, 7),
        EntryPayload::Normal(Proposal(Arc::new(entry()))),
    )
}

/// A command of the second format.
fn numbered() -> LogEntry {
    let Entry { at, command } = entry();
    let command = Command::Once((1 << 60, 9, 8).into(), Box::new(command));
    LogEntry::new(
        log_id(3, 8),
        EntryPayload::Normal(Proposal(Arc::new(Entry { at, command }))),
    )
}

fn record(entry: &LogEntry) -> Vec<u8> {
    let mut out = vec![1, 2, 3];
    write_record(entry, &mut out);
    out
}

fn view() -> View {
    let mut state = State::default();
    state.apply(7, &entry(), &mut Changes::default());
    state.skip(9);
    state.view()
}

fn head() -> SnapshotHead {
    SnapshotHead {
        last: Some(log_id(3, 9)),
        membership_at: Some(log_id(1, 0)),
        membership: members(),
    }
}

fn snapshot() -> Vec<u8> {
    let mut out = Vec::new();
    crate::snapshot::write(&head(), &view(), &mut out).unwrap();
    out
}

#[test]
fn golden_records_are_read_and_written() {
    let kinds = [
        ("record-1-command.bin", command()),
        ("record-1-numbered-command.bin", numbered()),
        (
            "record-1-blank.bin",
            LogEntry::new(log_id(4, 8), EntryPayload::Blank),
        ),
        (
            "record-1-membership.bin",
            LogEntry::new(log_id(1, 0), EntryPayload::Membership(members())),
        ),
    ];
    for (name, entry) in kinds {
        let bytes = golden(name, &record(&entry));
        assert_eq!(
            read_record(entry.log_id.index, &bytes).unwrap(),
            entry,
            "{name}"
        );
        // A command may have got fields that older binaries pass over; all else is ours.
        let same = if name.contains("command") {
            4..14
        } else {
            0..bytes.len()
        };
        let (now, then) = (&record(&entry)[same.clone()], &bytes[same]);
        assert_eq!(
            now, then,
            "{name}: written differently, so its version must be raised"
        );
    }
}

#[test]
fn golden_values_are_read_and_written() {
    let v = vote(5, server(2).id(), true);
    let bytes = golden("vote-1.bin", &write_vote(&v));
    assert_eq!((read_vote(&bytes).unwrap(), write_vote(&v)), (v, bytes));
    let id = log_id(5, 99);
    let bytes = golden("committed-1.bin", &write_log_id(KEY_COMMITTED, &id));
    assert_eq!(
        (
            read_log_id(KEY_COMMITTED, &bytes).unwrap(),
            write_log_id(KEY_COMMITTED, &id)
        ),
        (id, bytes.clone())
    );
    // A value is not taken for another.
    assert!(read_log_id(KEY_PURGED, &bytes).is_err());
    let bytes = golden("log-format-1.bin", &write_log_format(LOG));
    assert_eq!(
        (check_log_format(&bytes), write_log_format(LOG)),
        (Ok(()), bytes)
    );
}

#[test]
fn golden_header_is_read_and_written() {
    let bytes = golden("header-1.bin", &write_directory_header(&server(1).node_id));
    assert_eq!(read_directory_header(&bytes).unwrap(), server(1).node_id);
    assert_eq!(write_directory_header(&server(1).node_id), bytes);
}

#[test]
fn golden_log_is_read() {
    let scratch = Scratch::new("golden-log");
    let (dir, own) = (scratch.path(), server(1).node_id);
    let mut opened = directory::open(Arc::new(RealFs), dir, Some(&own), 1).unwrap();
    let first = LogEntry::new(log_id(1, 0), EntryPayload::Membership(members()));
    let mut batch = opened.log.begin().unwrap();
    batch.vote(&vote(3, server(1).id(), true)).unwrap();
    batch
        .append(
            &[
                first.clone(),
                LogEntry::new(log_id(3, 1), EntryPayload::Blank),
            ],
            &mut Vec::new(),
        )
        .unwrap();
    batch.committed(&log_id(3, 1)).unwrap();
    batch.commit().unwrap();
    drop(opened);
    let path = dir.join("log.redb");
    // Opened again, it gives back the room that it does not need.
    for _ in 0..2 {
        drop(directory::open(Arc::new(RealFs), dir, Some(&own), 1).unwrap());
    }
    let bytes = golden("log-1.redb", &std::fs::read(&path).unwrap());
    std::fs::write(&path, bytes).unwrap();
    let opened = directory::open(Arc::new(RealFs), dir, Some(&own), 1).unwrap();
    assert_eq!(opened.content.vote, Some(vote(3, server(1).id(), true)));
    assert_eq!(
        (opened.content.last, opened.content.committed),
        (Some(log_id(3, 1)), Some(log_id(3, 1)))
    );
    assert_eq!(
        opened.log.reader().read(0, 9, usize::MAX).unwrap()[0],
        first
    );
}

#[test]
fn golden_snapshot_is_read() {
    let bytes = golden("snapshot-1.snap", &snapshot());
    let loaded = crate::snapshot::read(&mut bytes.as_slice(), 0)
        .unwrap()
        .unwrap();
    assert_eq!(loaded.head, head());
    assert_eq!(loaded.view.index(), 9);
    assert_eq!(loaded.view.kv("golden/key"), view().kv("golden/key"));
    // The state's own part has its golden file elsewhere; ours is the head.
    let ours = write_snapshot_head(&head());
    assert_eq!(bytes[..ours.len()], ours);
}

#[test]
fn golden_snapshot_of_numbered_requests_is_read() {
    let mut state = State::default();
    let EntryPayload::Normal(proposal) = numbered().payload else {
        unreachable!("a command");
    };
    let first = state.apply(8, &proposal.0, &mut Changes::default());
    state.skip(9);
    let mut now = Vec::new();
    crate::snapshot::write(&head(), &state.view(), &mut now).unwrap();
    let bytes = golden("snapshot-1-numbered.snap", &now);
    let loaded = crate::snapshot::read(&mut bytes.as_slice(), 0)
        .unwrap()
        .unwrap();
    // A copy that comes after the restore is known for what it is.
    let mut state = State::from_view(loaded.view);
    let mut changes = Changes::default();
    assert_eq!(state.apply(10, &proposal.0, &mut changes), first);
    assert!(changes.is_empty());
}

/// All single bits and all cuts of it are noticed.
fn fragile(bytes: &[u8], read: impl Fn(&[u8]) -> bool) {
    assert!(read(bytes));
    for at in 0..bytes.len() {
        let mut damaged = bytes.to_vec();
        damaged[at] ^= 1 << (at % 8);
        assert!(!read(&damaged), "byte {at} of {}", bytes.len());
        assert!(!read(&bytes[..at]), "cut at {at}");
    }
}

#[test]
fn every_flipped_bit_is_noticed() {
    let bytes = record(&command());
    fragile(&bytes, |b| {
        read_record(7, b).is_ok() && check_record(7, b).is_ok()
    });
    // A record that was written to another place is no record of this place.
    assert!(read_record(8, &bytes).is_err());
    fragile(&write_vote(&vote(1, 2, true)), |b| read_vote(b).is_ok());
    fragile(&write_log_id(KEY_PURGED, &log_id(1, 2)), |b| {
        read_log_id(KEY_PURGED, b).is_ok()
    });
    fragile(&write_log_format(LOG), |b| check_log_format(b).is_ok());
    fragile(&write_directory_header("own"), |b| {
        read_directory_header(b).is_ok()
    });
    fragile(&snapshot(), |b| {
        crate::snapshot::read(&mut &*b, 0).unwrap().is_ok()
    });
    let mut longer = snapshot();
    longer.push(0);
    assert!(
        crate::snapshot::read(&mut longer.as_slice(), 0)
            .unwrap()
            .is_err()
    );
}

/// What the next version of a format would write: its version raised, its checksum right.
fn newer(bytes: &[u8], version_at: usize, seal: impl Fn(&mut [u8])) -> Vec<u8> {
    let mut out = bytes.to_vec();
    out[version_at] += 1;
    seal(&mut out);
    out
}

fn seal_frame(out: &mut [u8]) {
    let length = 14 + u32::from_le_bytes(out[10..14].try_into().unwrap()) as usize;
    let sum = crc(&[&out[..length]]).to_le_bytes();
    out[length..length + 4].copy_from_slice(&sum);
}

#[test]
fn an_older_binary_refuses_a_newer_format_by_name() {
    let record = newer(&record(&command()), 4, |out| {
        let sum = crc(&[&7_u64.to_le_bytes(), &out[4..]]).to_le_bytes();
        out[..4].copy_from_slice(&sum);
    });
    let found = |found| Unreadable::Newer { found, known: 1 };
    assert_eq!(read_record(7, &record).unwrap_err(), found(2));
    assert_eq!(check_record(7, &record).unwrap_err(), found(2));
    // A command of a newer state in a record of this version.
    let mut inside = self::record(&command());
    inside[14] = lictor_state::COMMAND_FORMAT + 1;
    let sum = crc(&[&7_u64.to_le_bytes(), &inside[4..]]).to_le_bytes();
    inside[..4].copy_from_slice(&sum);
    let beyond = Unreadable::Newer {
        found: u32::from(lictor_state::COMMAND_FORMAT) + 1,
        known: lictor_state::COMMAND_FORMAT.into(),
    };
    assert_eq!(read_record(7, &inside).unwrap_err(), beyond);
    assert_eq!(check_record(7, &inside).unwrap_err(), beyond);
    assert_eq!(
        check_log_format(&write_log_format(2)).unwrap_err(),
        found(2)
    );
    let snapshot = newer(&snapshot(), 8, seal_frame);
    assert_eq!(
        crate::snapshot::read(&mut snapshot.as_slice(), 0)
            .unwrap()
            .unwrap_err(),
        found(2)
    );
    let header = newer(&write_directory_header("own"), 8, seal_frame);
    assert_eq!(read_directory_header(&header).unwrap_err(), found(2));

    // And so in a directory: the line names the file, and nothing is changed.
    let open = |dir: &std::path::Path| directory::open(Arc::new(RealFs), dir, Some("own"), 1);
    for (name, bytes) in [("header", &header), ("snapshots/9-3.snap", &snapshot)] {
        let scratch = Scratch::new("newer");
        drop(open(scratch.path()).unwrap());
        let path = scratch.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let log = std::fs::read(scratch.path().join("log.redb")).unwrap();
        let error = open(scratch.path()).unwrap_err();
        assert!(
            matches!(
                error,
                StartError::Newer {
                    found: 2,
                    known: 1,
                    ..
                }
            ),
            "{error}"
        );
        assert!(
            error.to_string().contains(path.to_str().unwrap()),
            "{error}"
        );
        assert!(error.to_string().contains("newer lictor"), "{error}");
        assert!(log == std::fs::read(scratch.path().join("log.redb")).unwrap());
        assert_eq!(&std::fs::read(&path).unwrap(), bytes);
    }
}

#[test]
fn a_log_of_a_newer_format_is_refused_by_name() {
    for newer_record in [false, true] {
        let scratch = Scratch::new("newer-log");
        let mut opened = directory::open(Arc::new(RealFs), scratch.path(), Some("own"), 1).unwrap();
        opened.log.write_newer(newer_record);
        drop(opened);
        let before = std::fs::read(scratch.path().join("log.redb")).unwrap();
        let error = directory::open(Arc::new(RealFs), scratch.path(), Some("own"), 1).unwrap_err();
        assert!(
            matches!(
                error,
                StartError::Newer {
                    found: 2,
                    known: 1,
                    ..
                }
            ),
            "{error}"
        );
        assert!(error.to_string().contains("log.redb"), "{error}");
        assert!(before == std::fs::read(scratch.path().join("log.redb")).unwrap());
    }
}

#[test]
fn the_table_of_formats_is_complete() {
    let names: Vec<&str> = FORMATS.iter().map(|f| f.name).collect();
    assert_eq!(names, ["directory", "log", "record", "snapshot", "wire"]);
    assert!(FORMATS.iter().all(|f| f.version >= 1));
}
