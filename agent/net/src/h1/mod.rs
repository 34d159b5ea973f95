//! HTTP/1.0 and 1.1 for servers (RFC 9110 and 9112), with Go's habits.
//!
//! [`head`], [`chunked`] and [`encode`] are pure; [`connection`] moves bytes.
//!
//! Known differences from the Go server in Consul: a request target may have 65,534 bytes (Go: what
//! the header limit leaves); a body after `HTTP/1.0` with `Transfer-Encoding` is refused (Go
//! ignores the coding); a request with both `Transfer-Encoding` and `Content-Length` is the last of
//! its connection; line ends within chunked bodies must be CRLF; folded header lines are refused.

mod chunked;
mod connection;
mod encode;
mod head;
mod intake;
mod scratch;
mod sender;

pub(crate) use connection::{End, Settings, serve, wait_for_bytes};
