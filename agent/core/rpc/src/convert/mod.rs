//! Rows and commands as messages, and back: `From` where nothing can fail, named functions where
//! words have to be understood.
//!
//! Messages say more than the rows keep (partitions, peers, the indexes of requests): that is
//! dropped. What Consul's servers fill in where a request says nothing is filled in here, so that
//! both of its writers, an agent over RPC and a client over HTTP, mean the same.

mod commands;
mod definition;
mod proxy;
mod rows;
#[cfg(test)]
mod tests;
mod txn;

pub use commands::{kv_verb, kv_word};
pub use txn::{catalog_verb, catalog_word, read_verb, read_word};
