//! What the interfaces do, one area a file.

mod agent_services;
mod blocking;
mod catalog;
mod check_kinds;
mod checks;
mod cli;
mod config;
mod dns;
mod filter;
mod health;
mod http;
mod kv;
mod sessions;
