//! One end of a connection: its streams, its output, and its sense of time.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

mod input;

use self::input::{HEAD, Input};
use crate::StreamId;
use crate::frame::{Code, Flags, HEADER, Header, HeaderError, Kind};
use crate::stream::{HALF_CLOSED_TIMEOUT, Read, Stream, StreamError};

/// Silence after which the other side is asked whether it is there.
pub const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// Silence after that question which ends the session.
pub const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// Output that makes no progress for this long ends the session.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(10);
/// A stream that the other side does not acknowledge in this time ends the session.
pub const OPEN_TIMEOUT: Duration = Duration::from_secs(75);
/// Streams that may wait for the other side to take them.
pub const MAX_UNACKNOWLEDGED: usize = 256;
/// Bytes of frames that answer the other side and wait to be sent.
pub const MAX_CONTROL: usize = 256 * 1024;

/// How often streams are looked at that may not stay as they are.
const SCAN: Duration = Duration::from_secs(15);

/// Which side of the connection this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It has dialed; its streams have odd numbers.
    Client,
    /// It was called; its streams have even numbers.
    Server,
}

/// What a session may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Streams of the other side that wait for [`Session::accept`]; the next is reset. 256 is the
    /// protocol's; 0 takes no streams at all.
    pub backlog: usize,
    /// Streams at once, of both sides; the next of the other side is reset.
    pub max_streams: usize,
    /// Bytes received and not read, over all streams; the stream that goes beyond is reset.
    pub max_unread: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            backlog: 256,
            max_streams: 16_384,
            max_unread: 64 << 20,
        }
    }
}

/// What has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A stream waits for [`Session::accept`].
    Incoming,
    /// The other side has taken a stream of ours.
    Acknowledged(StreamId),
    /// Bytes wait for [`Session::read_into`].
    Readable(StreamId),
    /// The other side will send no more; what it has sent may still wait to be read. A stream that
    /// the own side has closed as well, and that has nothing to be read, is gone with this.
    Closed(StreamId),
    /// All that was written to the stream has left with [`Session::poll_output`].
    Sent(StreamId),
    /// The stream is gone, by the other side or by a limit.
    Reset(StreamId),
    /// The other side takes no new streams.
    GoAway(Code),
}

/// Why a session ended. Nothing more can be done with it but to send what
/// [`Session::poll_output`] still gives, and to close the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum End {
    /// A frame that cannot be.
    #[error("{0}")]
    Header(#[from] HeaderError),
    /// More than the window allowed, or after its end.
    #[error("receive window exceeded on stream {0}")]
    Window(u32),
    /// A stream opened twice, or under a number that is not the other side's.
    #[error("stream {0} cannot be opened")]
    Stream(u32),
    /// The other side asks without taking the answers.
    #[error("the other side takes no answers")]
    Overrun,
    /// The other side has ended the session.
    #[error("the other side ended the session: {0:?}")]
    GoneAway(Code),
    /// No answer to a ping.
    #[error("keepalive timeout")]
    KeepAlive,
    /// Output makes no progress.
    #[error("connection write timeout")]
    Stalled,
    /// A stream was not acknowledged.
    #[error("stream open timeout")]
    Unacknowledged,
}

/// Why no stream can be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The session has ended, or the own side has said go away.
    #[error("session shutdown")]
    Ended,
    /// The other side takes no new streams.
    #[error("remote end is not accepting connections")]
    GoneAway,
    /// All numbers were used.
    #[error("streams exhausted")]
    Exhausted,
    /// As many streams as may be.
    #[error("too many streams")]
    TooMany,
    /// [`MAX_UNACKNOWLEDGED`] streams wait for [`Event::Acknowledged`]; the other side would reset
    /// the next.
    #[error("too many streams wait to be accepted")]
    Backlog,
}

/// One end of a connection.
#[derive(Debug)]
pub struct Session {
    role: Role,
    limits: Limits,
    input: Input,
    /// In the order of their numbers. Boxed: removing one moves pointers, and an idle session with
    /// one stream has room for few of them.
    #[allow(clippy::vec_box)]
    streams: Vec<Box<Stream>>,
    accept: VecDeque<u32>,
    events: VecDeque<Event>,
    /// Frames without a body, as bytes.
    control: Vec<u8>,
    /// Streams that have bytes and credit, in the order of their turns.
    ready: VecDeque<u32>,
    /// The next own stream; 0 when all numbers were used.
    next: u32,
    /// Own streams that the other side has not taken yet.
    unacked: usize,
    /// Received and not read, over all streams.
    unread: usize,
    heard: Duration,
    /// The value of the unanswered ping, and when it was sent.
    ping: Option<(u32, Duration)>,
    pings: u32,
    /// Since when output waits for the driver.
    stalled: Option<Duration>,
    scan: Option<Duration>,
    told_away: bool,
    heard_away: bool,
    ended: Option<End>,
}

impl Session {
    /// A session over a connection that was opened now.
    #[must_use]
    pub fn new(role: Role, limits: Limits, now: Duration) -> Self {
        Self {
            role,
            limits,
            input: HEAD,
            streams: Vec::new(),
            accept: VecDeque::new(),
            events: VecDeque::new(),
            control: Vec::new(),
            ready: VecDeque::new(),
            next: match role {
                Role::Client => 1,
                Role::Server => 2,
            },
            unacked: 0,
            unread: 0,
            heard: now,
            ping: None,
            pings: 0,
            stalled: None,
            scan: None,
            told_away: false,
            heard_away: false,
            ended: None,
        }
    }

    /// Streams that exist now.
    #[must_use]
    pub fn streams(&self) -> usize {
        self.streams.len()
    }

    /// Bytes received and not read, over all streams.
    #[must_use]
    pub fn unread(&self) -> usize {
        self.unread
    }

    /// Why the session has ended, if it has.
    #[must_use]
    pub fn ended(&self) -> Option<End> {
        self.ended
    }

    /// The next thing that has happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        let event = self.events.pop_front();
        if event.is_none() && self.events.capacity() > 0 {
            self.events = VecDeque::new();
        }
        event
    }

    /// Whether [`Session::poll_event`] has something.
    #[must_use]
    pub fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    // ---- streams ----

    /// Opens a stream. Data may be written at once.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open_stream(&mut self, now: Duration) -> Result<StreamId, OpenError> {
        if self.ended.is_some() || self.told_away {
            return Err(OpenError::Ended);
        }
        if self.heard_away {
            return Err(OpenError::GoneAway);
        }
        if self.streams.len() >= self.limits.max_streams {
            return Err(OpenError::TooMany);
        }
        if self.unacked >= MAX_UNACKNOWLEDGED {
            return Err(OpenError::Backlog);
        }
        let id = self.next;
        if id == 0 {
            return Err(OpenError::Exhausted);
        }
        self.next = id.checked_add(2).unwrap_or(0);
        let mut stream = Box::new(Stream::new(id, now));
        stream.unacked = true;
        self.unacked += 1;
        push(
            &mut self.control,
            stream.header(Kind::Window, Flags::SYN, 0),
        );
        self.insert(stream);
        self.plan_scan(now);
        Ok(StreamId(id))
    }

    /// Takes the next stream that the other side has opened, and acknowledges it.
    pub fn accept(&mut self) -> Option<StreamId> {
        loop {
            let id = self.accept.pop_front()?;
            if self.accept.is_empty() {
                self.accept = VecDeque::new();
            }
            let Ok(at) = self.find(id) else { continue };
            let stream = &mut self.streams[at];
            stream.waiting = false;
            push(
                &mut self.control,
                stream.header(Kind::Window, Flags::ACK, 0),
            );
            return Some(StreamId(id));
        }
    }

    /// Queues bytes. They leave with [`Session::poll_output`] as the other side gives credit.
    /// Nothing bounds the queue here: see [`Session::queued`].
    ///
    /// # Errors
    /// The stream is gone, or closed for writing.
    pub fn write(&mut self, id: StreamId, data: Bytes) -> Result<(), StreamError> {
        let at = self.find(id.0).map_err(|_| StreamError::Gone)?;
        self.streams[at].write(data)?;
        self.make_ready(at);
        Ok(())
    }

    /// Bytes that were written and have not left; 0 for a stream that is gone.
    #[must_use]
    pub fn queued(&self, id: StreamId) -> usize {
        self.find(id.0).map_or(0, |at| self.streams[at].queued())
    }

    /// Moves all that was received to the end of `into`, and gives credit for it.
    ///
    /// # Errors
    /// The stream is gone.
    pub fn read_into(&mut self, id: StreamId, into: &mut Vec<u8>) -> Result<Read, StreamError> {
        let at = self.find(id.0).map_err(|_| StreamError::Gone)?;
        let stream = &mut self.streams[at];
        let read = stream.read_into(into);
        self.unread -= read.bytes;
        if let Some(credit) = stream.credit() {
            push(&mut self.control, credit);
        }
        self.remove_if_over(at);
        Ok(read)
    }

    /// Ends the own direction after all that was written. Reading goes on.
    pub fn close_write(&mut self, id: StreamId, now: Duration) {
        if let Ok(at) = self.find(id.0) {
            self.streams[at].close_write(now);
            self.finish(at, now);
        }
    }

    /// Ends the own direction after all that was written, and reads no more. This is how the
    /// reference implementation closes a stream.
    pub fn close(&mut self, id: StreamId, now: Duration) {
        if let Ok(at) = self.find(id.0) {
            let stream = &mut self.streams[at];
            self.unread -= stream.stop_reading();
            stream.close_write(now);
            self.finish(at, now);
        }
    }

    /// Drops the stream at once, with all that waits in it, on both sides.
    pub fn reset(&mut self, id: StreamId) {
        if let Ok(at) = self.find(id.0) {
            self.drop_stream(at);
            push(&mut self.control, rst(id.0));
        }
    }

    /// Takes and opens no more streams; those there are go on.
    pub fn go_away(&mut self, code: Code) {
        if !self.told_away && self.ended.is_none() {
            self.told_away = true;
            push(&mut self.control, Header::go_away(code));
        }
    }

    // ---- bytes ----

    /// Appends what is to be sent, at most about `max` bytes (control frames come in full). When it
    /// appends nothing, nothing waits. The driver says by [`Session::progress`] that bytes have
    /// left.
    pub fn poll_output(&mut self, now: Duration, out: &mut Vec<u8>, max: usize) {
        let before = out.len();
        if !self.control.is_empty() {
            out.append(&mut self.control);
            self.control = Vec::new();
        }
        while out.len() + HEADER < before + max && self.ended.is_none() {
            let Some(id) = self.ready.pop_front() else {
                break;
            };
            let Ok(at) = self.find(id) else { continue };
            let stream = &mut self.streams[at];
            stream.ready = false;
            if stream.send(out, before + max - out.len()) {
                self.events.push_back(Event::Sent(StreamId(id)));
                if let Some(fin) = stream.fin() {
                    out.extend_from_slice(&fin.encode());
                    self.remove_if_over(at);
                }
            } else {
                self.make_ready(at);
            }
        }
        if self.ready.is_empty() && self.ready.capacity() > 0 {
            self.ready = VecDeque::new();
        }
        if out.len() > before && self.stalled.is_none() {
            self.stalled = Some(now);
        }
    }

    /// Some bytes of the output have left; `all` when none waits with the driver.
    pub fn progress(&mut self, now: Duration, all: bool) {
        self.stalled = (!all).then_some(now);
    }

    // ---- time ----

    /// When [`Session::handle_timeout`] is to be called at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Duration {
        let ping = match self.ping {
            Some((_, sent)) => sent + PING_TIMEOUT,
            None => self.heard + KEEP_ALIVE,
        };
        let stalled = self.stalled.map(|since| since + STALL_TIMEOUT);
        [stalled, self.scan]
            .into_iter()
            .flatten()
            .fold(ping, Ord::min)
    }

    /// Lets time pass: asks whether the other side is there, resets streams that stay half closed.
    /// Early calls do nothing.
    ///
    /// # Errors
    /// The session has ended.
    pub fn handle_timeout(&mut self, now: Duration) -> Result<(), End> {
        if let Some(end) = self.ended {
            return Err(end);
        }
        if self
            .stalled
            .is_some_and(|since| now >= since + STALL_TIMEOUT)
        {
            return Err(self.end(End::Stalled));
        }
        match self.ping {
            Some((_, sent)) if now >= sent + PING_TIMEOUT => {
                return Err(self.end(End::KeepAlive));
            }
            None if now >= self.heard + KEEP_ALIVE => {
                self.pings = self.pings.wrapping_add(1);
                self.ping = Some((self.pings, now));
                push(&mut self.control, ping(Flags::SYN, self.pings));
            }
            _ => {}
        }
        if self.scan.is_some_and(|at| now >= at) {
            self.scan(now)?;
        }
        Ok(())
    }

    fn scan(&mut self, now: Duration) -> Result<(), End> {
        self.scan = None;
        let (mut more, mut stale) = (false, Vec::new());
        for stream in &self.streams {
            if stream.unacked {
                if now >= stream.since + OPEN_TIMEOUT {
                    return Err(self.end(End::Unacknowledged));
                }
                more = true;
            }
            if stream.half_closed() {
                if now >= stream.since + HALF_CLOSED_TIMEOUT {
                    stale.push(stream.id);
                }
                more = true;
            }
        }
        for id in stale {
            self.reset(StreamId(id));
            self.events.push_back(Event::Reset(StreamId(id)));
        }
        if more {
            self.plan_scan(now);
        }
        Ok(())
    }

    fn plan_scan(&mut self, now: Duration) {
        self.scan.get_or_insert(now + SCAN);
    }

    // ---- helpers ----

    fn end(&mut self, end: End) -> End {
        let code = match end {
            End::Header(_) | End::Window(_) | End::Stream(_) | End::Overrun => Some(Code::Protocol),
            End::GoneAway(_) | End::KeepAlive | End::Stalled | End::Unacknowledged => None,
        };
        // The other side hears why, and nothing else.
        self.control = Vec::new();
        if let Some(code) = code {
            push(&mut self.control, Header::go_away(code));
        }
        self.ended = Some(end);
        end
    }

    fn find(&self, id: u32) -> Result<usize, usize> {
        // Numbers grow, so the newest are at the end.
        match self.streams.last() {
            Some(last) if last.id < id => Err(self.streams.len()),
            Some(_) => self.streams.binary_search_by_key(&id, |s| s.id),
            None => Err(0),
        }
    }

    fn insert(&mut self, stream: Box<Stream>) {
        if let Err(at) = self.find(stream.id) {
            self.streams.insert(at, stream);
        }
    }

    fn drop_stream(&mut self, at: usize) {
        let stream = self.streams.remove(at);
        self.unread -= stream.unread();
        self.unacked -= usize::from(stream.unacked);
        if stream.waiting {
            self.accept.retain(|id| *id != stream.id);
        }
        if self.streams.is_empty() {
            self.streams = Vec::new();
        }
    }

    fn remove_if_over(&mut self, at: usize) {
        let stream = &self.streams[at];
        if stream.over() && !stream.waiting {
            self.drop_stream(at);
        }
    }

    fn make_ready(&mut self, at: usize) {
        let stream = &mut self.streams[at];
        if !stream.ready && stream.can_send() {
            stream.ready = true;
            self.ready.push_back(stream.id);
        }
    }

    fn finish(&mut self, at: usize, now: Duration) {
        self.plan_scan(now);
        if let Some(fin) = self.streams[at].fin() {
            push(&mut self.control, fin);
            self.remove_if_over(at);
        }
    }
}

fn push(control: &mut Vec<u8>, header: Header) {
    control.extend_from_slice(&header.encode());
}

fn ping(flags: Flags, value: u32) -> Header {
    Header {
        kind: Kind::Ping,
        flags,
        stream: 0,
        length: value,
    }
}

fn rst(stream: u32) -> Header {
    Header {
        kind: Kind::Window,
        flags: Flags::RST,
        stream,
        length: 0,
    }
}
