//! Gossip membership, wire-compatible with memberlist and Serf, as a core without IO.

pub mod config;
pub mod keyring;
pub mod memberlist;
pub mod msgpack;
pub mod packet;
pub mod random;
pub mod stats;
#[cfg(test)]
mod testing;
pub mod time;
mod timers;

pub use time::Time;
