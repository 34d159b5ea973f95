//! Yamux, the multiplexer of Consul's server RPC, as a core without IO.
//!
//! A [`Session`] is one end of one connection. Bytes that came go in by
//! [`Session::handle_bytes`], bytes to send come out by [`Session::poll_output`], what happened by
//! [`Session::poll_event`]. It reads no clock: `now` is the time since any moment the driver chose.
//!
//! ```
//! # use lictor_yamux::{Event, Limits, Role, Session};
//! # use std::time::Duration;
//! let now = Duration::ZERO;
//! let mut client = Session::new(Role::Client, Limits::default(), now);
//! let mut server = Session::new(Role::Server, Limits::default(), now);
//! let stream = client.open_stream(now)?;
//! client.write(stream, "hello".into())?;
//! let mut wire = Vec::new();
//! client.poll_output(now, &mut wire, 65_536);
//! server.handle_bytes(now, &wire)?;
//! assert_eq!(server.poll_event(), Some(Event::Incoming));
//! let stream = server.accept().expect("it came");
//! let mut data = Vec::new();
//! server.read_into(stream, &mut data)?;
//! assert_eq!(data, b"hello");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What is bounded
//!
//! Memory is taken for bytes that have come, never for a length that was announced. A stream holds
//! at most its window of unread bytes (256 KiB), all streams of a session together at most
//! [`Limits::max_unread`]; their number is [`Limits::max_streams`]. Frames that answer the other
//! side (pings, acknowledgements, resets) are kept until they are sent, up to 256 KiB; a peer that
//! asks for more without reading ends the session. What the own side writes is the own side's to
//! bound: [`Session::queued`] tells what waits.
//!
//! An idle session owns its structure (some 400 bytes) and nothing else.

mod frame;
mod session;
mod stream;

pub use frame::{Code, Flags, Header, HeaderError, Kind};
pub use session::{
    End, Event, KEEP_ALIVE, Limits, MAX_CONTROL, MAX_UNACKNOWLEDGED, OPEN_TIMEOUT, OpenError,
    PING_TIMEOUT, Role, STALL_TIMEOUT, Session,
};
pub use stream::{HALF_CLOSED_TIMEOUT, Read, StreamError, WINDOW};

/// The number of a stream: odd ones are the client's, even ones the server's. A number is not used
/// twice in a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u32);

impl std::fmt::Display for StreamId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}
