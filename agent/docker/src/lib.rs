//! The edge to a Docker daemon.
//!
//! [`Watcher`] follows its containers and keeps a [`Registry`] equal to what
//! [`lictor_container`] says they mean. [`DockerExec`] runs commands in containers, for checks.
//! [`own`] finds out in which container this process runs itself, and [`metadata`] asks EC2 and
//! ECS. What is decided is decided in `lictor-container`; here is the talking.

mod daemon;
mod exec;
pub mod metadata;
pub mod own;
mod watch;

pub use daemon::{Daemon, DaemonError, host_from_env};
pub use exec::DockerExec;
pub use watch::{BoxFuture, Options, Registry, Status, Watcher};
