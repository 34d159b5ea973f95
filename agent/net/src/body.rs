//! The body of a request, whichever protocol it came by.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};

/// Why a body ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The client closed the connection, or it broke.
    #[error("unexpected EOF")]
    Closed,
    /// The chunks do not follow RFC 9112, section 7.1.
    #[error("malformed chunked encoding")]
    Malformed,
    /// The request has been answered: what was not read by then is lost.
    #[error("the request has been answered already")]
    Answered,
    /// HTTP/2 said something else.
    #[error(transparent)]
    Http2(#[from] hyper::Error),
}

/// The body of a request. Bytes are read from the connection when they are asked for, one buffer at
/// a time; dropping it unread is allowed.
pub struct RequestBody(Kind);

enum Kind {
    /// There is none, or it has been read.
    Empty,
    /// It came together with the headers.
    Whole(Bytes),
    /// The connection hands it over piece by piece.
    Pieces(Arc<Slot>),
    Http2(Incoming),
}

impl RequestBody {
    /// A body without bytes.
    pub fn empty() -> Self {
        Self(Kind::Empty)
    }

    pub(crate) fn pieces(slot: Arc<Slot>) -> Self {
        Self(Kind::Pieces(slot))
    }

    pub(crate) fn http2(incoming: Incoming) -> Self {
        Self(Kind::Http2(incoming))
    }
}

impl From<Bytes> for RequestBody {
    fn from(bytes: Bytes) -> Self {
        if bytes.is_empty() {
            return Self::empty();
        }
        Self(Kind::Whole(bytes))
    }
}

impl fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestBody")
            .field("size", &self.size_hint())
            .finish()
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.0 {
            Kind::Empty => Poll::Ready(None),
            Kind::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                self.0 = Kind::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Kind::Pieces(slot) => slot
                .poll_take(cx)
                .map(|piece| piece.map(|p| p.map(Frame::data))),
            Kind::Http2(incoming) => Pin::new(incoming)
                .poll_frame(cx)
                .map(|frame| frame.map(|f| f.map_err(BodyError::Http2))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Empty => true,
            Kind::Whole(_) => false,
            Kind::Pieces(slot) => slot.is_over(),
            Kind::Http2(incoming) => incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Pieces(slot) => match slot.lock().left {
                Some(left) => SizeHint::with_exact(left),
                None => SizeHint::default(),
            },
            Kind::Http2(incoming) => incoming.size_hint(),
        }
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if let Kind::Pieces(slot) = &self.0 {
            let mut state = slot.lock();
            state.wanted = false;
            state.ready = None;
        }
    }
}

/// Where the connection leaves one piece at a time. Reader and connection are usually one task,
/// but the reader may have been moved to another.
pub(crate) struct Slot(Mutex<State>);

struct State {
    ready: Option<Result<Bytes, BodyError>>,
    /// Nothing comes after what is ready.
    over: bool,
    /// The reader waits for a piece.
    wanted: bool,
    /// Bytes not yet handed to the reader, when that is known.
    left: Option<u64>,
    reader: Option<Waker>,
    connection: Option<Waker>,
}

impl Slot {
    pub(crate) fn new(length: Option<u64>) -> Self {
        Self(Mutex::new(State {
            ready: None,
            over: false,
            wanted: false,
            left: length,
            reader: None,
            connection: None,
        }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_over(&self) -> bool {
        let state = self.lock();
        state.over && state.ready.is_none()
    }

    fn poll_take(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        let mut state = self.lock();
        if let Some(piece) = state.ready.take() {
            if let (Ok(bytes), Some(left)) = (&piece, &mut state.left) {
                *left = left.saturating_sub(bytes.len() as u64);
            }
            return Poll::Ready(Some(piece));
        }
        if state.over {
            return Poll::Ready(None);
        }
        state.wanted = true;
        if !state
            .reader
            .as_ref()
            .is_some_and(|w| w.will_wake(cx.waker()))
        {
            state.reader = Some(cx.waker().clone());
        }
        // A connection that is this very task is running now and looks at the slot next.
        let other = state.connection.clone();
        drop(state);
        if let Some(connection) = other.filter(|c| !c.will_wake(cx.waker())) {
            connection.wake();
        }
        Poll::Pending
    }

    /// Whether the reader waits. If not, the connection is woken when it does.
    pub(crate) fn is_wanted(&self, cx: &Context<'_>) -> bool {
        let mut state = self.lock();
        if !state.wanted
            && !state
                .connection
                .as_ref()
                .is_some_and(|w| w.will_wake(cx.waker()))
        {
            state.connection = Some(cx.waker().clone());
        }
        state.wanted
    }

    /// Leaves a piece, or the end (`None`), for the reader.
    pub(crate) fn put(&self, piece: Option<Result<Bytes, BodyError>>, over: bool) {
        let mut state = self.lock();
        state.wanted = false;
        state.over = over || matches!(piece, None | Some(Err(_)));
        state.ready = piece;
        let reader = state.reader.take();
        drop(state);
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    /// Ends the body for a reader that outlives its request.
    pub(crate) fn close(&self) {
        if !self.lock().over {
            self.put(Some(Err(BodyError::Answered)), true);
        }
    }
}
