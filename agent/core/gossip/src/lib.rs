//! Gossip membership, wire-compatible with memberlist and Serf, as a core without IO.

pub mod keyring;
pub mod msgpack;
pub mod packet;
pub mod random;
#[cfg(test)]
mod testing;
pub mod time;

pub use time::Time;
