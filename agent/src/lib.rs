//! The Lictor agent: one process that is agent, server, HTTP and DNS interface.
//!
//! [`agent::Agent::start`] brings the parts up in order, [`agent::Agent::stop`] takes them down in
//! reverse; [`run`] is the life of the process around them: signals, reload, exit code.

mod addresses;
pub mod agent;
mod aliases;
mod clock;
mod cloud;
pub mod cluster;
pub mod command;
mod dns;
mod docker;
mod entrypoint;
mod events;
pub mod gossip;
pub mod http;
mod leader;
mod live;
pub mod load;
pub mod local;
mod members;
mod mesh;
mod metrics;
mod node_id;
mod privileges;
pub mod query;
mod random;
mod registrar;
mod registrator;
mod requests;
pub mod rpc;
pub mod run;
pub mod servers;
pub mod store;
mod time;
mod tls;
mod upstream;
pub mod version;
mod watch;
mod watches;
mod writes;
