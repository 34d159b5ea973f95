//! The types of Lictor's HTTP API, with the JSON that Consul's clients expect.
//!
//! This crate is pure: no clocks, sockets, files or randomness. It holds what travels (catalog
//! rows, checks, sessions, key/value entries, requests) and how it is written: Go's JSON
//! ([`gojson`]), Go's durations ([`duration`]).

pub mod base;
pub mod catalog;
pub mod checktype;
pub mod duration;
pub mod gojson;
pub mod request;
pub mod rows;

pub use base::{Str, StrMap};
pub use catalog::*;
pub use checktype::CheckType;
pub use duration::GoDuration;
pub use request::*;
