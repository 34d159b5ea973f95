//! The rules of writing, each told by what a reader sees of it.

mod catalog;
mod kv;
mod nodes;
mod properties;
mod sessions;
mod txn;
