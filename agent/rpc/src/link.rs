//! A yamux session over a socket.

use std::cell::Cell;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use lictor_yamux::{Limits, Role, Session};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::error::SessionError;

/// Bytes that are read, or put together for writing, at once.
const BUFFER: usize = 64 * 1024;

thread_local! {
    /// The buffers belong to the thread, so that a session that waits has none.
    static INPUT: Cell<Option<Box<[u8]>>> = const { Cell::new(None) };
    static OUTPUT: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Joins a session with a socket and the clock.
pub(crate) struct Link<IO> {
    io: IO,
    pub session: Session,
    /// Bytes that the socket did not take yet.
    out: Vec<u8>,
    sent: usize,
    flush: bool,
    origin: Instant,
    sleep: Pin<Box<Sleep>>,
    alarm: Option<Duration>,
    alarmed: bool,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Link<IO> {
    pub(crate) fn new(io: IO, role: Role, limits: Limits) -> Self {
        let session = Session::new(role, limits, Duration::ZERO);
        let origin = Instant::now();
        Self {
            io,
            sleep: Box::pin(sleep_until(origin + session.poll_timeout())),
            session,
            out: Vec::new(),
            sent: 0,
            flush: false,
            origin,
            alarm: None,
            alarmed: false,
        }
    }

    /// Makes [`Link::poll`] return at this time at the latest, by the clock of [`Link::now`].
    pub(crate) fn wake_by(&mut self, at: Duration) {
        self.alarm = Some(self.alarm.map_or(at, |alarm| alarm.min(at)));
    }

    /// Whether such a time has come since the last question.
    pub(crate) fn alarmed(&mut self) -> bool {
        std::mem::take(&mut self.alarmed)
    }

    /// Sends these bytes before anything of the session.
    pub(crate) fn first(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// The session's clock.
    pub(crate) fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    /// Everything that was to be sent has left.
    pub(crate) fn is_flushed(&self) -> bool {
        self.out.is_empty() && !self.flush
    }

    /// Sends what there is, then reads. Returns when something was read, or time has passed that
    /// means something; the session may have events then. Dropping the future that polls this
    /// loses nothing.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SessionError>> {
        let polled = self.poll_inner(cx);
        if let Poll::Ready(Err(SessionError::Session(_))) = &polled {
            // The other side may hear why; it is not waited for.
            let _ = self.poll_write(cx);
        }
        polled
    }

    fn poll_inner(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SessionError>> {
        self.poll_write(cx)?;
        if self.session.has_events() {
            return Poll::Ready(Ok(()));
        }
        if self.poll_read(cx)?.is_ready() {
            return Poll::Ready(Ok(()));
        }
        let due = self.origin + self.due();
        // Each byte that comes moves the timeout on. The timer follows when it fires.
        if due < self.sleep.deadline() {
            self.sleep.as_mut().reset(due);
        }
        if self.sleep.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        let now = self.now();
        self.session.handle_timeout(now)?;
        if self.alarm.is_some_and(|alarm| now >= alarm) {
            self.alarm = None;
            self.alarmed = true;
        }
        let due = self.origin + self.due();
        self.sleep.as_mut().reset(due);
        Poll::Ready(Ok(()))
    }

    fn due(&self) -> Duration {
        let due = self.session.poll_timeout();
        self.alarm.map_or(due, |alarm| alarm.min(due))
    }

    /// Writes until the socket takes no more or nothing is left.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Result<(), SessionError> {
        loop {
            let now = self.now();
            if self.out.is_empty() {
                let mut buffer = OUTPUT.take();
                buffer.clear();
                self.session.poll_output(now, &mut buffer, BUFFER);
                let written = if buffer.is_empty() {
                    Poll::Ready(Ok(0))
                } else {
                    Pin::new(&mut self.io).poll_write(cx, &buffer)
                };
                let sent = match &written {
                    Poll::Ready(Ok(n)) => *n,
                    _ => 0,
                };
                let total = buffer.len();
                if sent < total {
                    self.out = buffer[sent..].to_vec();
                }
                buffer.clear();
                if buffer.capacity() <= 2 * BUFFER {
                    OUTPUT.set(buffer);
                }
                if total == 0 {
                    break;
                }
                self.flush = true;
                match written {
                    Poll::Ready(Ok(0)) => return Err(SessionError::Eof),
                    Poll::Ready(Ok(_)) => self.session.progress(now, self.out.is_empty()),
                    Poll::Ready(Err(error)) => return Err(error.into()),
                    Poll::Pending => return Ok(()),
                }
            } else {
                match Pin::new(&mut self.io).poll_write(cx, &self.out[self.sent..]) {
                    Poll::Ready(Ok(0)) => return Err(SessionError::Eof),
                    Poll::Ready(Ok(n)) => {
                        self.sent += n;
                        if self.sent == self.out.len() {
                            self.out = Vec::new();
                            self.sent = 0;
                        }
                        self.flush = true;
                        self.session.progress(now, self.out.is_empty());
                    }
                    Poll::Ready(Err(error)) => return Err(error.into()),
                    Poll::Pending => return Ok(()),
                }
            }
        }
        if self.flush && Pin::new(&mut self.io).poll_flush(cx)?.is_ready() {
            self.flush = false;
        }
        Ok(())
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SessionError>> {
        let mut buffer = INPUT
            .take()
            .unwrap_or_else(|| vec![0; BUFFER].into_boxed_slice());
        let mut input = ReadBuf::new(&mut buffer);
        let polled = Pin::new(&mut self.io).poll_read(cx, &mut input);
        let result = match polled {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(error)) => Poll::Ready(Err(error.into())),
            Poll::Ready(Ok(())) if input.filled().is_empty() => Poll::Ready(Err(SessionError::Eof)),
            Poll::Ready(Ok(())) => {
                let now = self.now();
                let handled = self.session.handle_bytes(now, input.filled());
                Poll::Ready(handled.map_err(SessionError::Session))
            }
        };
        INPUT.set(Some(buffer));
        result
    }
}
