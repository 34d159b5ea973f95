//! One stream of a session: windows, what was received and not read, what waits to be sent.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Buf, Bytes};

use crate::frame::{Flags, HEADER, Header, Kind};

/// Bytes a sender may send on a stream before it was given more credit: a constant of the protocol,
/// never negotiated.
pub const WINDOW: u32 = 256 * 1024;

/// A stream that only one side has closed is reset after this time, as newer versions of the
/// reference implementation do.
pub const HALF_CLOSED_TIMEOUT: Duration = Duration::from_secs(300);

/// Bytes of one data frame that we send: small enough that many streams take turns.
const CHUNK: usize = 32 * 1024;

/// Why an operation on a stream is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// The stream was reset, or closed by both sides, or never was.
    #[error("stream closed")]
    Gone,
    /// The own side has closed it for writing.
    #[error("stream closed for writing")]
    Closed,
}

/// What reading has given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Read {
    /// Bytes appended.
    pub bytes: usize,
    /// Nothing more will come.
    pub end: bool,
}

#[derive(Debug)]
pub(crate) struct Stream {
    pub id: u32,
    /// Received and not yet read.
    recv: Vec<u8>,
    /// What the other side may still send.
    recv_window: u32,
    send: VecDeque<Bytes>,
    queued: usize,
    send_window: u32,
    /// When it was opened; then, when the own side was closed.
    pub since: Duration,
    /// Opened by us, and the other side has not said so yet.
    pub unacked: bool,
    /// Waits for `accept`.
    pub waiting: bool,
    /// The own side will write no more.
    closing: bool,
    fin_sent: bool,
    pub fin_received: bool,
    /// Nobody reads any more.
    discard: bool,
    /// In the session's list of streams that can send.
    pub ready: bool,
    /// The reader was told that there is something.
    pub told: bool,
}

impl Stream {
    pub(crate) fn new(id: u32, now: Duration) -> Self {
        Self {
            id,
            recv: Vec::new(),
            recv_window: WINDOW,
            send: VecDeque::new(),
            queued: 0,
            send_window: WINDOW,
            since: now,
            unacked: false,
            waiting: false,
            closing: false,
            fin_sent: false,
            fin_received: false,
            discard: false,
            ready: false,
            told: false,
        }
    }

    /// Both sides are done, and so is the reader.
    pub(crate) fn over(&self) -> bool {
        self.fin_sent && self.fin_received && self.recv.is_empty()
    }

    /// The own side is done, and the other one is not, or does not take the rest.
    pub(crate) fn half_closed(&self) -> bool {
        self.closing && !(self.fin_sent && self.fin_received)
    }

    pub(crate) fn unread(&self) -> usize {
        self.recv.len()
    }

    pub(crate) fn queued(&self) -> usize {
        self.queued
    }

    /// Takes an announced frame off the window; `false` when it was not allowed.
    pub(crate) fn announce(&mut self, length: u32) -> bool {
        match self.recv_window.checked_sub(length) {
            Some(rest) if !self.fin_received || length == 0 => {
                self.recv_window = rest;
                true
            }
            _ => false,
        }
    }

    /// Keeps bytes for the reader; how many were kept.
    pub(crate) fn receive(&mut self, bytes: &[u8]) -> usize {
        if self.discard {
            return 0;
        }
        self.recv.extend_from_slice(bytes);
        bytes.len()
    }

    /// Moves what was received to the end of `into`.
    pub(crate) fn read_into(&mut self, into: &mut Vec<u8>) -> Read {
        let bytes = self.recv.len();
        // An idle stream keeps no buffer.
        let received = std::mem::take(&mut self.recv);
        if into.is_empty() {
            *into = received;
        } else {
            into.extend_from_slice(&received);
        }
        self.told = false;
        Read {
            bytes,
            end: self.fin_received,
        }
    }

    /// Credit to be sent now: at least half a window was read since the last time.
    pub(crate) fn credit(&mut self) -> Option<Header> {
        if self.fin_received || self.discard {
            return None;
        }
        let unread = u32::try_from(self.recv.len()).unwrap_or(WINDOW);
        let delta = WINDOW
            .saturating_sub(unread)
            .saturating_sub(self.recv_window);
        (delta >= WINDOW / 2).then(|| {
            self.recv_window += delta;
            self.header(Kind::Window, Flags::NONE, delta)
        })
    }

    pub(crate) fn credited(&mut self, credit: u32) {
        self.send_window = self.send_window.saturating_add(credit);
    }

    pub(crate) fn write(&mut self, data: Bytes) -> Result<(), StreamError> {
        if self.closing {
            return Err(StreamError::Closed);
        }
        if !data.is_empty() {
            self.queued += data.len();
            self.send.push_back(data);
        }
        Ok(())
    }

    pub(crate) fn can_send(&self) -> bool {
        self.queued > 0 && self.send_window > 0
    }

    /// The own side is done writing.
    pub(crate) fn close_write(&mut self, now: Duration) {
        if !self.closing {
            self.closing = true;
            self.since = now;
        }
    }

    /// Nobody will read what comes; how many unread bytes were dropped.
    pub(crate) fn stop_reading(&mut self) -> usize {
        self.discard = true;
        std::mem::take(&mut self.recv).len()
    }

    /// The last frame of the own side, when it is due.
    pub(crate) fn fin(&mut self) -> Option<Header> {
        if !self.closing || self.fin_sent || self.queued > 0 {
            return None;
        }
        self.fin_sent = true;
        Some(self.header(Kind::Window, Flags::FIN, 0))
    }

    /// Appends one data frame of at most `room` bytes with its header; `true` when the last byte of
    /// what was written has left.
    pub(crate) fn send(&mut self, out: &mut Vec<u8>, room: usize) -> bool {
        let window = usize::try_from(self.send_window).unwrap_or(usize::MAX);
        let length = self
            .queued
            .min(window)
            .min(CHUNK)
            .min(room.saturating_sub(HEADER));
        let Ok(length32) = u32::try_from(length) else {
            return false;
        };
        if length == 0 {
            return false;
        }
        out.extend_from_slice(&self.header(Kind::Data, Flags::NONE, length32).encode());
        let mut left = length;
        while left > 0 {
            let Some(piece) = self.send.front_mut() else {
                break;
            };
            let part = left.min(piece.len());
            out.extend_from_slice(&piece[..part]);
            left -= part;
            if part == piece.len() {
                self.send.pop_front();
            } else {
                piece.advance(part);
            }
        }
        self.queued -= length;
        self.send_window -= length32;
        if self.queued == 0 {
            self.send = VecDeque::new();
        }
        self.queued == 0
    }

    pub(crate) fn header(&self, kind: Kind, flags: Flags, length: u32) -> Header {
        Header {
            kind,
            flags,
            stream: self.id,
            length,
        }
    }
}
