//! What the agent settles for all of its checks.

use crate::exec::Exec;
use crate::tls::CheckTls;
use crate::{OUTPUT_MAX_SIZE, schedule};
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::time::Duration;

/// Settings of the driver.
pub struct Options {
    /// Shorter intervals are raised to this.
    pub min_interval: Duration,
    /// Most bytes of output kept (Consul's `check_output_max_size`); a definition may only lower
    /// it. At least one.
    pub output_max_size: usize,
    /// Most scripts and container commands that run at a time; others wait their turn, and their
    /// time limit begins when it comes.
    pub max_scripts: usize,
    /// Most network checks that run at a time. Keeps the agent's file descriptors for its own
    /// work while many targets are silent.
    pub max_connections: usize,
    /// Whom checks trust and who they are.
    pub tls: CheckTls,
    /// Runs commands in containers; without one such checks are critical.
    pub exec: Option<Arc<dyn Exec>>,
    /// Where the numbers for first offsets begin. Any value will do; equal ones spread alike.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            min_interval: schedule::MIN_INTERVAL,
            output_max_size: OUTPUT_MAX_SIZE,
            max_scripts: 64,
            max_connections: 1024,
            tls: CheckTls::default(),
            exec: None,
            seed: RandomState::new().build_hasher().finish(),
        }
    }
}
