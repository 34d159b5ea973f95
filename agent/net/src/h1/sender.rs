//! The answer on its way to the client.

use std::io::{self, IoSlice, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut};
use hyper::body::Body;
use tokio::io::AsyncWrite;

use super::encode::Framing;
use super::scratch;
use crate::server::BoxError;
use crate::stream::Stream;

/// Pieces of a body up to this size are copied behind the head, to be sent with it in one call.
/// Larger ones are sent from where they are: one answer may be shared by thousands of watchers.
const COPY: usize = 4 * 1024;
/// Bytes gathered before they are sent.
const GATHER: usize = 16 * 1024;
/// Parts of a body handed to the kernel at once.
const SLICES: usize = 16;

/// What of an answer has been made and not yet sent.
pub(crate) struct Sender<D> {
    /// Head, small pieces and chunk sizes, sent up to `sent`.
    bytes: Vec<u8>,
    sent: usize,
    /// A large piece, which follows `bytes`.
    piece: Option<D>,
    framing: Framing,
    /// The whole body is in `bytes` and `piece`.
    complete: bool,
    flushed: bool,
}

impl<D: Buf> Sender<D> {
    /// Begins with a head in a buffer from [`scratch::take_output`].
    pub(crate) fn new(head: Vec<u8>, framing: Framing, body_follows: bool) -> Self {
        Self {
            bytes: head,
            sent: 0,
            piece: None,
            framing,
            complete: !body_follows || matches!(framing, Framing::None | Framing::Length(0)),
            flushed: false,
        }
    }

    /// Whether it is the client that is waited for, not the body.
    pub(crate) fn is_stuck(&self) -> bool {
        self.is_staged() || !self.flushed
    }

    fn is_staged(&self) -> bool {
        self.sent < self.bytes.len() || self.piece.is_some()
    }

    /// Sends as much as there is and as goes. `Ready(Ok)` when all is sent; `progress` is set when
    /// the client took bytes.
    pub(crate) fn poll_send<B>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut Stream,
        mut body: Pin<&mut B>,
        progress: &mut bool,
    ) -> Poll<Result<(), BoxError>>
    where
        B: Body<Data = D>,
        B::Error: Into<BoxError>,
    {
        loop {
            while !self.complete && self.piece.is_none() && self.bytes.len() < GATHER {
                match body.as_mut().poll_frame(cx) {
                    Poll::Pending => break,
                    Poll::Ready(None) => self.end()?,
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error.into())),
                    Poll::Ready(Some(Ok(frame))) => {
                        // Trailers are not sent on.
                        if let Ok(data) = frame.into_data()
                            && data.has_remaining()
                        {
                            self.stage(data)?;
                        }
                    }
                }
            }
            if !self.is_staged() {
                if !self.flushed {
                    ready!(Pin::new(&mut *stream).poll_flush(cx))?;
                    self.flushed = true;
                }
                return if self.complete {
                    Poll::Ready(Ok(()))
                } else {
                    Poll::Pending
                };
            }
            ready!(self.poll_write(cx, stream))?;
            *progress = true;
        }
    }

    /// Takes a piece of the body.
    fn stage(&mut self, data: D) -> Result<(), BoxError> {
        match &mut self.framing {
            Framing::Length(left) => {
                *left = left
                    .checked_sub(data.remaining() as u64)
                    .ok_or("the body is longer than it said")?;
                self.complete = *left == 0;
            }
            Framing::Chunked => _ = write!(self.bytes, "{:x}\r\n", data.remaining()),
            Framing::ToClose | Framing::None => {}
        }
        if data.remaining() > COPY {
            self.piece = Some(data);
            return Ok(());
        }
        self.bytes.put(data);
        self.end_chunk();
        Ok(())
    }

    fn end_chunk(&mut self) {
        if self.framing == Framing::Chunked {
            self.bytes.extend_from_slice(b"\r\n");
        }
    }

    /// The body has ended.
    fn end(&mut self) -> Result<(), BoxError> {
        match self.framing {
            // Set complete before, when it was all there.
            Framing::Length(_) => return Err("the body is shorter than it said".into()),
            Framing::Chunked => self.bytes.extend_from_slice(b"0\r\n\r\n"),
            Framing::ToClose | Framing::None => {}
        }
        self.complete = true;
        Ok(())
    }

    /// One call.
    fn poll_write(&mut self, cx: &mut Context<'_>, stream: &mut Stream) -> Poll<io::Result<()>> {
        self.flushed = false;
        let bytes = &self.bytes[self.sent..];
        let written = match &self.piece {
            None => ready!(Pin::new(stream).poll_write(cx, bytes))?,
            Some(piece) => {
                let mut slices = [IoSlice::new(&[]); SLICES];
                slices[0] = IoSlice::new(bytes);
                let used = 1 + piece.chunks_vectored(&mut slices[1..]);
                ready!(Pin::new(stream).poll_write_vectored(cx, &slices[..used]))?
            }
        };
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        let own = written.min(bytes.len());
        self.sent += own;
        if let Some(piece) = &mut self.piece {
            piece.advance(written - own);
            if !piece.has_remaining() {
                self.piece = None;
                self.bytes.clear();
                self.sent = 0;
                self.end_chunk();
            }
        } else if self.sent == self.bytes.len() {
            self.bytes.clear();
            self.sent = 0;
        }
        Poll::Ready(Ok(()))
    }
}

impl<D> Drop for Sender<D> {
    fn drop(&mut self) {
        scratch::put_output(std::mem::take(&mut self.bytes));
    }
}
