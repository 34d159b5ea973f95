//! Gossip membership, wire-compatible with memberlist and Serf, as a core without IO.
//!
//! [`Core`] is one member: packets, bytes of streams and due times go in by `handle_*`; packets,
//! stream requests, events and the next due time come out by `poll_*`. It never reads a clock, draws
//! no randomness but from its seed, opens no socket and no file. So a test feeds it one packet, and a
//! simulation runs hundreds of members from one number.
//!
//! | module | what |
//! | --- | --- |
//! | [`msgpack`], [`packet`], [`keyring`] | the bytes |
//! | [`memberlist`] | who answers: SWIM with Lifeguard |
//! | [`serf`] | who is a member: intents, tags, events, queries, keys, snapshot |
//! | [`coordinate`] | how far members are from each other: Vivaldi |
//! | [`admission`] | who may be a member |

pub mod admission;
pub mod config;
pub mod coordinate;
mod core;
pub mod event;
pub mod keyring;
pub mod memberlist;
pub mod msgpack;
pub mod packet;
pub mod random;
#[cfg(test)]
mod recorded;
pub mod serf;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
pub mod stats;
#[cfg(test)]
mod testing;
pub mod time;
mod timers;

pub use admission::{Admission, AdmitAll, Peer};
pub use config::{Config, SerfConfig};
pub use core::{ConfigError, Core, Own};
pub use event::{Event, Tags};
pub use memberlist::{StreamAction, StreamClosed, StreamId, Transmit};
pub use serf::{Member, Status};
pub use time::Time;
