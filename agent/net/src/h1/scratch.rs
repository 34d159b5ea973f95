//! Buffers that belong to the thread: a connection that waits owns none.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::io::{AsyncRead, ReadBuf};

use crate::stream::Stream;

/// One read. Large enough that bodies of half a MiB take few system calls.
const READ: usize = 64 * 1024;
/// A larger buffer for answers is not kept.
const KEEP: usize = 64 * 1024;

thread_local! {
    static INPUT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    static OUTPUT: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    static DATE: RefCell<(u64, String)> = const { RefCell::new((u64::MAX, String::new())) };
}

/// Reads once, and shows what has come to `f`; an empty slice is the end of the stream.
pub(crate) fn poll_read<T>(
    cx: &mut Context<'_>,
    stream: &mut Stream,
    f: impl FnOnce(&[u8]) -> T,
) -> Poll<io::Result<T>> {
    INPUT.with_borrow_mut(|space| {
        space.resize(READ, 0);
        let mut buf = ReadBuf::new(space);
        ready!(Pin::new(stream).poll_read(cx, &mut buf))?;
        Poll::Ready(Ok(f(buf.filled())))
    })
}

/// An empty buffer for an answer. Give it back with [`put_output`].
pub(crate) fn take_output() -> Vec<u8> {
    OUTPUT.take()
}

/// Takes a buffer back.
pub(crate) fn put_output(mut buffer: Vec<u8>) {
    if buffer.capacity() <= KEEP {
        buffer.clear();
        OUTPUT.set(buffer);
    }
}

/// Shows the value of a `Date` field for now, written at most once a second, to `f`.
pub(crate) fn with_date<T>(f: impl FnOnce(&str) -> T) -> T {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    DATE.with_borrow_mut(|(second, text)| {
        if *second != now {
            *second = now;
            *text = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(now));
        }
        f(text)
    })
}
