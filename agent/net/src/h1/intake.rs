//! The body of a request on its way from the connection to who reads it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncWrite;

use super::chunked::Chunked;
use super::head::{Coding, Head};
use super::scratch;
use crate::body::{BodyError, RequestBody, Slot};
use crate::raw::CONTINUE;
use crate::stream::Stream;

/// An unread body up to this size is read and thrown away, so that the connection can be used
/// again; for a larger one it is closed. Go's figure.
const WORTH_DISCARDING: u64 = 256 * 1024;

#[derive(Debug)]
enum State {
    Length(u64),
    Chunked(Chunked),
    Over,
    /// What follows cannot be made sense of, or the client is gone.
    Broken,
}

/// The connection's side of a body.
pub(crate) struct Intake {
    state: State,
    slot: Option<Arc<Slot>>,
    /// How much of `100 Continue` has been sent, if the client waits for it.
    promised: Option<usize>,
}

impl Intake {
    /// Makes both sides. A body that has come with the head is handed over whole.
    pub(crate) fn new(head: &Head, inbox: &mut BytesMut) -> (Self, RequestBody) {
        let state = match head.coding {
            Coding::Length(0) => State::Over,
            Coding::Length(n) => match usize::try_from(n) {
                Ok(n) if n <= inbox.len() => {
                    let whole = inbox.split_to(n).freeze();
                    return (Self::over(), whole.into());
                }
                _ => State::Length(n),
            },
            Coding::Chunked => State::Chunked(Chunked::new()),
        };
        if matches!(state, State::Over) {
            return (Self::over(), RequestBody::empty());
        }
        let length = match state {
            State::Length(n) => Some(n),
            _ => None,
        };
        let slot = Arc::new(Slot::new(length));
        let intake = Self {
            state,
            slot: Some(slot.clone()),
            // A client that sends without waiting needs no leave.
            promised: (head.expects_continue && inbox.is_empty()).then_some(0),
        };
        (intake, RequestBody::pieces(slot))
    }

    fn over() -> Self {
        Self {
            state: State::Over,
            slot: None,
            promised: None,
        }
    }

    /// Whether the body has been read to its end.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }

    /// Whether what is unread may be thrown away to keep the connection.
    pub(crate) fn can_be_discarded(&self) -> bool {
        match &self.state {
            State::Over => true,
            // The client may send its body or, having seen the answer, not.
            _ if self.promised.is_some() => false,
            State::Length(n) => *n <= WORTH_DISCARDING,
            State::Chunked(_) => true,
            State::Broken => false,
        }
    }

    /// Hands over a piece when one is waited for; `Ready` when that was done.
    pub(crate) fn poll_feed(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut Stream,
        inbox: &mut BytesMut,
        eof: bool,
    ) -> Poll<()> {
        let Some(slot) = self.slot.clone() else {
            return Poll::Pending;
        };
        if !slot.is_wanted(cx) {
            return Poll::Pending;
        }
        while let Some(sent) = self.promised {
            match ready!(Pin::new(&mut *stream).poll_write(cx, &CONTINUE[sent..])) {
                Ok(n) if n > 0 && sent + n < CONTINUE.len() => self.promised = Some(sent + n),
                Ok(n) if n > 0 => {
                    self.promised = None;
                    ready!(Pin::new(&mut *stream).poll_flush(cx)).ok();
                }
                _ => return self.fail(&slot, BodyError::Closed),
            }
        }
        loop {
            match self.next(inbox) {
                Ok(Some(piece)) => {
                    slot.put(Some(Ok(piece)), self.is_over());
                    break;
                }
                Ok(None) if self.is_over() => {
                    slot.put(None, true);
                    break;
                }
                Ok(None) if eof => return self.fail(&slot, BodyError::Closed),
                Ok(None) => {
                    let read = scratch::poll_read(cx, stream, |bytes| {
                        inbox.extend_from_slice(bytes);
                        bytes.len()
                    });
                    match ready!(read) {
                        Ok(n) if n > 0 => {}
                        _ => return self.fail(&slot, BodyError::Closed),
                    }
                }
                Err(error) => return self.fail(&slot, error),
            }
        }
        if self.is_over() {
            self.slot = None;
        }
        Poll::Ready(())
    }

    fn fail(&mut self, slot: &Slot, error: BodyError) -> Poll<()> {
        self.state = State::Broken;
        self.slot = None;
        slot.put(Some(Err(error)), true);
        Poll::Ready(())
    }

    /// The next piece of the body in `inbox`.
    fn next(&mut self, inbox: &mut BytesMut) -> Result<Option<Bytes>, BodyError> {
        let piece = match &mut self.state {
            State::Over => return Ok(None),
            State::Broken => return Err(BodyError::Closed),
            State::Length(_) if inbox.is_empty() => return Ok(None),
            State::Length(left) => {
                let n = usize::try_from(*left).map_or(inbox.len(), |l| l.min(inbox.len()));
                *left -= n as u64;
                if *left == 0 {
                    self.state = State::Over;
                }
                Some(inbox.split_to(n).freeze())
            }
            State::Chunked(chunked) => {
                let piece = chunked.next(inbox).map_err(|_| BodyError::Malformed)?;
                // The last piece is known as such only once the end has been read.
                if chunked.is_over() {
                    self.state = State::Over;
                }
                piece
            }
        };
        if inbox.is_empty() {
            *inbox = BytesMut::new(); // gives its memory back
        }
        Ok(piece)
    }

    /// Who read the body has answered: what is left is for nobody.
    pub(crate) fn close(&mut self) {
        if let Some(slot) = self.slot.take() {
            slot.close();
        }
    }

    /// Reads the rest of the body and throws it away; `Ready(true)` when the next request follows.
    pub(crate) fn poll_discard(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut Stream,
        inbox: &mut BytesMut,
        discarded: &mut u64,
    ) -> Poll<bool> {
        loop {
            match self.next(inbox) {
                Err(_) => return Poll::Ready(false),
                Ok(Some(piece)) => {
                    *discarded += piece.len() as u64;
                    if *discarded > WORTH_DISCARDING {
                        return Poll::Ready(false);
                    }
                }
                Ok(None) if self.is_over() => return Poll::Ready(true),
                Ok(None) => {
                    let read = scratch::poll_read(cx, stream, |bytes| {
                        inbox.extend_from_slice(bytes);
                        bytes.len()
                    });
                    match ready!(read) {
                        Ok(n) if n > 0 => {}
                        _ => return Poll::Ready(false),
                    }
                }
            }
        }
    }
}
