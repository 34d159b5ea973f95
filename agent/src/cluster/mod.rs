//! This server among the servers of its datacenter: how they find and hear each other, make a
//! cluster, look after it, and leave it.

pub mod autopilot;
pub mod bootstrap;
pub mod forward;
pub mod founding;
pub mod identity;
pub mod leave;
pub mod links;
pub mod listen;
pub mod operator;
pub mod recovery;
mod serve;
pub mod wire;

use identity::Identity;
use links::Links;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::Mutex;

/// What the parts of this module share.
pub struct Cluster {
    /// The ways to other servers.
    pub links: Arc<Links>,
    /// The cluster that this server belongs to.
    pub identity: Arc<Identity>,
    /// Health of the servers.
    pub autopilot: autopilot::Autopilot,
    /// Held while it is decided to which cluster a server without a log belongs.
    joining: Mutex<()>,
    receiving: AtomicUsize,
}

impl Cluster {
    /// The parts, at rest.
    pub fn new(links: Arc<Links>, identity: Arc<Identity>) -> Cluster {
        Cluster {
            links,
            identity,
            autopilot: autopilot::Autopilot::default(),
            joining: Mutex::new(()),
            receiving: AtomicUsize::new(0),
        }
    }

    /// Counts a snapshot that is on its way here, until the value is dropped.
    fn receives(&self) -> impl Drop {
        struct Receiving<'a>(&'a AtomicUsize);
        impl Drop for Receiving<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::SeqCst);
            }
        }
        self.receiving.fetch_add(1, Ordering::SeqCst);
        Receiving(&self.receiving)
    }

    fn is_receiving(&self) -> bool {
        self.receiving.load(Ordering::SeqCst) > 0
    }
}
