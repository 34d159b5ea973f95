//! The whole program: how it lives and ends, what it keeps, what it withstands. These tests look
//! at time and memory and run one after the other.

mod client;
mod cluster;
mod crowd;
mod demo;
mod durability;
mod fence;
mod gossip;
mod hostile;
mod lifecycle;
mod tls;
mod wan;
mod watchers;
