//! HTTP/1.0 and 1.1 for servers (RFC 9110 and 9112), with Go's habits.
//!
//! [`head`], [`chunked`] and [`encode`] are pure; [`connection`] moves bytes.
//!
//! Where this differs from the Go server in Consul:
//! - A request target may have 65,534 bytes, longer ones are answered with 414 (Go: what the limit
//!   of the headers leaves).
//! - Empty lines before a request are skipped, as RFC 9112, section 2.2, would have it (Go: 400).
//! - `Transfer-Encoding` in HTTP/1.0 is refused (Go ignores it); together with `Content-Length` it
//!   makes the request the last of its connection (Go goes on).
//! - Folded header lines are refused (Go joins them), and bad names of fields are answered with a
//!   plain 400 (Go sometimes says `invalid header name`).
//! - Targets in absolute form without an authority, and in authority form, are refused.
//! - A client that expects `100 Continue` and has sent its body already does not get it.
//! - `OPTIONS *` reaches the service (Go answers it itself, with 200 and nothing).

mod chunked;
mod connection;
mod encode;
mod head;
mod intake;
mod scratch;
mod sender;

pub(crate) use connection::{End, Settings, serve, wait_for_bytes};
