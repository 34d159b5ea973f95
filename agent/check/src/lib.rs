//! Lictor's health checks: what runs them, when, and what their results mean.
//!
//! The pure half decides: [`schedule`] (when), [`Thresholds`] (how many results in a row count),
//! [`Tail`] (which part of an output is kept), [`alias`] (what following another service says).
//! The other half acts: one module for each kind of check, and [`Checks`], the driver that runs
//! them on time, one run of a check at a time, each under a deadline.
//!
//! Kinds, defaults and texts are Consul's, so that what people and scripts match on stays true.

pub mod alias;
pub mod schedule;

mod checks;
mod dial;
mod exec;
mod grpc;
mod h2ping;
mod http_check;
mod job;
mod options;
mod script;
mod tail;
mod tcp;
mod texts;
mod thresholds;
mod tls;
mod udp;
mod url;

pub use checks::{Checks, NoTtl, Notify};
pub use exec::{Exec, ExecFuture};
pub use options::Options;
pub use tail::{Tail, keep_head};
pub use thresholds::Thresholds;
pub use tls::CheckTls;

/// Why a registration with a script is refused while `enable_script_checks` is off. Consul's text.
pub const SCRIPTS_DISABLED_REMOTE: &str = "Scripts are disabled on this agent from remote calls; to enable, configure 'enable_script_checks' to true";

/// Why a definition file with a script is refused while both settings are off. Consul's text.
pub const SCRIPTS_DISABLED: &str = "Scripts are disabled on this agent; to enable, configure \
     'enable_script_checks' or 'enable_local_script_checks' to true";

/// Most bytes of a check's output that are kept where nobody says otherwise (Consul's
/// `check_output_max_size`).
pub const OUTPUT_MAX_SIZE: usize = 4096;
