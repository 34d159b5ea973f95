//! Two sessions against each other, whatever they do and however the bytes between them are cut;
//! and one session against bytes that mean nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use lictor_yamux::{Event, HALF_CLOSED_TIMEOUT, Limits, Role, Session, StreamId};
use proptest::collection::vec;
use proptest::prelude::*;

const NOW: Duration = Duration::ZERO;

#[derive(Clone, Debug)]
enum Step {
    Open {
        side: bool,
    },
    Write {
        side: bool,
        stream: usize,
        len: usize,
    },
    Read {
        side: bool,
        stream: usize,
    },
    CloseWrite {
        side: bool,
        stream: usize,
    },
    Close {
        side: bool,
        stream: usize,
    },
    Reset {
        side: bool,
        stream: usize,
    },
    /// Takes output up to `max`, and delivers `cut` of what is under way.
    Carry {
        side: bool,
        max: usize,
        cut: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let at = (any::<bool>(), 0..8_usize);
    prop_oneof![
        2 => any::<bool>().prop_map(|side| Step::Open { side }),
        6 => (at.clone(), prop_oneof![0..100_usize, 0..600_000_usize])
            .prop_map(|((side, stream), len)| Step::Write { side, stream, len }),
        6 => at.clone().prop_map(|(side, stream)| Step::Read { side, stream }),
        1 => at.clone().prop_map(|(side, stream)| Step::CloseWrite { side, stream }),
        1 => at.clone().prop_map(|(side, stream)| Step::Close { side, stream }),
        1 => at.prop_map(|(side, stream)| Step::Reset { side, stream }),
        12 => (any::<bool>(), 1..100_000_usize, prop_oneof![0..40_usize, 0..200_000_usize])
            .prop_map(|(side, max, cut)| Step::Carry { side, max, cut }),
    ]
}

/// What one side knows of a stream.
#[derive(Debug, Default)]
struct Known {
    written: usize,
    read: usize,
    /// It ended, by whichever side and way, before all was said: no promise on the rest.
    broken: bool,
    write_closed: bool,
    end_seen: bool,
}

struct Side {
    session: Session,
    known: BTreeMap<u32, Known>,
    /// Bytes under way from this side to the other.
    wire: Vec<u8>,
}

impl Side {
    fn new(role: Role) -> Self {
        Self {
            session: Session::new(role, Limits::default(), NOW),
            known: BTreeMap::new(),
            wire: Vec::new(),
        }
    }

    fn pick(&self, stream: usize) -> Option<StreamId> {
        let count = self.known.len();
        (count > 0).then(|| {
            let id = self.known.keys().nth(stream % count).expect("in range");
            StreamId(*id)
        })
    }

    fn events(&mut self) {
        while let Some(event) = self.session.poll_event() {
            match event {
                Event::Incoming => {
                    if let Some(id) = self.session.accept() {
                        self.known.insert(id.0, Known::default());
                    }
                }
                Event::Reset(id) => {
                    if let Some(known) = self.known.get_mut(&id.0) {
                        known.broken = true;
                    }
                }
                // A stream that both have closed is gone when all was read.
                Event::Closed(id) => {
                    if let Some(known) = self.known.get_mut(&id.0) {
                        known.end_seen = true;
                    }
                }
                _ => {}
            }
        }
    }

    /// The byte at a place of a stream's content, which tells both.
    fn byte(id: u32, from: Role, at: usize) -> u8 {
        let salt = if from == Role::Client { 17 } else { 91 };
        (at.wrapping_mul(31) ^ (at >> 8) ^ (id as usize * salt)) as u8
    }

    fn read(&mut self, id: StreamId, from: Role) {
        let known = self.known.get_mut(&id.0).expect("known");
        let mut bytes = Vec::new();
        if let Ok(read) = self.session.read_into(id, &mut bytes) {
            for (i, byte) in bytes.iter().enumerate() {
                assert_eq!(*byte, Self::byte(id.0, from, known.read + i), "stream {id}");
            }
            known.read += read.bytes;
            assert!(!read.end || known.end_seen, "told of");
        }
    }
}

struct Pair([Side; 2], Duration);

fn role(side: usize) -> Role {
    if side == 0 {
        Role::Client
    } else {
        Role::Server
    }
}

impl Pair {
    fn carry(&mut self, side: usize, max: usize, cut: usize) {
        let now = self.1;
        let from = &mut self.0[side];
        from.session.handle_timeout(now).expect("no reason to end");
        from.session.poll_output(now, &mut from.wire, max);
        from.session.progress(now, true);
        let cut = cut.min(from.wire.len());
        let rest = from.wire.split_off(cut);
        let piece = std::mem::replace(&mut from.wire, rest);
        let to = &mut self.0[1 - side];
        to.session.handle_bytes(now, &piece).expect("no violation");
        to.events();
        self.0[side].events();
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Open { side } => {
                let side = &mut self.0[usize::from(side)];
                if let Ok(id) = side.session.open_stream(NOW) {
                    side.known.insert(id.0, Known::default());
                }
            }
            Step::Write { side, stream, len } => {
                let from = role(usize::from(side));
                let side = &mut self.0[usize::from(side)];
                let Some(id) = side.pick(stream) else { return };
                let known = side.known.get_mut(&id.0).expect("known");
                let bytes: Vec<u8> = (0..len)
                    .map(|i| Side::byte(id.0, from, known.written + i))
                    .collect();
                if side.session.write(id, bytes.into()).is_ok() {
                    known.written += len;
                }
            }
            Step::Read { side, stream } => {
                let from = role(1 - usize::from(side));
                let side = &mut self.0[usize::from(side)];
                if let Some(id) = side.pick(stream) {
                    side.read(id, from);
                }
            }
            Step::CloseWrite { side, stream } => {
                let side = &mut self.0[usize::from(side)];
                if let Some(id) = side.pick(stream) {
                    side.session.close_write(id, NOW);
                    side.known.get_mut(&id.0).expect("known").write_closed = true;
                }
            }
            Step::Close { side, stream } => {
                let side = &mut self.0[usize::from(side)];
                if let Some(id) = side.pick(stream) {
                    side.session.close(id, NOW);
                    let known = side.known.get_mut(&id.0).expect("known");
                    // It reads no more, but what it wrote arrives.
                    known.write_closed = true;
                    known.end_seen = true;
                    known.broken = true;
                }
            }
            Step::Reset { side, stream } => {
                let side = &mut self.0[usize::from(side)];
                if let Some(id) = side.pick(stream) {
                    side.session.reset(id);
                    side.known.get_mut(&id.0).expect("known").broken = true;
                }
            }
            Step::Carry { side, max, cut } => self.carry(usize::from(side), max, cut),
        }
    }

    /// Lets everything flow until nothing moves.
    fn settle(&mut self) {
        let mut quiet = 0;
        while quiet < 3 {
            let mut moved = false;
            for side in 0..2 {
                self.carry(side, 50_000, 70_000);
                moved |= !self.0[side].wire.is_empty();
                let from = role(1 - side);
                let ids: Vec<u32> = self.0[side].known.keys().copied().collect();
                for id in ids {
                    let before = self.0[side].known[&id].read;
                    self.0[side].read(StreamId(id), from);
                    moved |= self.0[side].known[&id].read != before;
                }
            }
            quiet = if moved { 0 } else { quiet + 1 };
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 96,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn what_is_written_is_read(steps in vec(step(), 1..120)) {
        let mut pair = Pair([Side::new(Role::Client), Side::new(Role::Server)], NOW);
        for step in steps {
            pair.step(step);
        }
        pair.settle();
        for side in 0..2 {
            for (id, known) in &pair.0[side].known {
                let Some(other) = pair.0[1 - side].known.get(id) else {
                    prop_assert!(known.broken, "stream {} never arrived", id);
                    continue;
                };
                prop_assert!(other.read <= known.written);
                if !known.broken && !other.broken {
                    prop_assert_eq!(other.read, known.written, "stream {}", id);
                    prop_assert_eq!(other.end_seen, known.write_closed, "stream {}", id);
                }
            }
        }
        // When both sides have closed, nothing is left; what waits for credit from a reader that
        // has gone is reset in time.
        for side in &mut pair.0 {
            for id in side.known.keys() {
                side.session.close_write(StreamId(*id), NOW);
            }
        }
        pair.settle();
        while pair.1 < HALF_CLOSED_TIMEOUT * 2 {
            pair.1 += Duration::from_secs(9);
            pair.settle();
        }
        prop_assert_eq!(pair.0[0].session.streams(), 0);
        prop_assert_eq!(pair.0[1].session.streams(), 0);
    }

    #[test]
    fn any_bytes_are_survived(
        client in any::<bool>(),
        pieces in vec(vec(any::<u8>(), 0..200), 0..20),
    ) {
        let role = if client { Role::Client } else { Role::Server };
        let mut session = Session::new(role, Limits::default(), NOW);
        for piece in pieces {
            if session.handle_bytes(NOW, &piece).is_err() {
                break;
            }
        }
    }

    /// Frames that look right, in any order.
    #[test]
    fn any_frames_are_survived(
        frames in vec((0..4_u8, 0..16_u16, 0..12_u32, prop_oneof![
            Just(0_u32), 1..50_u32, any::<u32>()
        ]), 0..200),
        seed in any::<u64>(),
    ) {
        let limits = Limits { backlog: 3, max_streams: 5, max_unread: 2000 };
        let mut session = Session::new(Role::Server, limits, NOW);
        let mut held = 0;
        for (i, (kind, flags, stream, length)) in frames.into_iter().enumerate() {
            let mut bytes = vec![0, kind];
            bytes.extend_from_slice(&flags.to_be_bytes());
            bytes.extend_from_slice(&stream.to_be_bytes());
            bytes.extend_from_slice(&length.to_be_bytes());
            if kind == 0 {
                bytes.resize(12 + length.min(300) as usize, 0);
            }
            held += bytes.len();
            let ended = session.handle_bytes(NOW, &bytes).is_err();
            prop_assert!(session.streams() <= 5);
            let id = StreamId(stream);
            match (seed >> (i % 64)) & 7 {
                0 => drop(session.accept()),
                1 => drop(session.read_into(id, &mut Vec::new())),
                2 => drop(session.write(id, vec![1; 30].into())),
                3 => session.close(id, NOW),
                4 => session.reset(id),
                5 => drop(session.open_stream(NOW)),
                _ => {}
            }
            while session.poll_event().is_some() {}
            let mut out = Vec::new();
            session.poll_output(NOW, &mut out, 1000);
            session.progress(NOW, true);
            // Answers are not larger than what they answer, but for streams of our own.
            prop_assert!(out.len() <= held + 100_000);
            if ended {
                break;
            }
        }
    }
}
