//! What travels between agents and servers on Consul's RPC port: the encoding ([`codec`]), the
//! arguments and replies of the methods ([`message`]), and how these become rows and commands and
//! back ([`convert`]).
//!
//! This crate is pure: bytes come in as arguments and go out as results. It knows nothing of
//! connections, frames and limits.

pub mod codec;
pub mod convert;
pub mod message;

pub use codec::{Bytes, Error, Time, from_slice, to_vec};
