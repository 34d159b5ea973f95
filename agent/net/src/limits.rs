//! Limits that hold for all listeners of an agent together, and what has been counted.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;

/// The values of the limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitValues {
    /// Connections from one client address (`limits.http_max_conns_per_client`, Consul's default
    /// 200); 0 is none. Unix sockets are not counted. A change leaves open connections alone.
    pub max_conns_per_client: usize,
    /// Connections of all clients together, unix sockets too; 0 is none.
    pub max_conns: usize,
    /// Bytes of a request's line and headers together. Consul's default, and
    /// `http_config.max_header_bytes` = 0, is 1 MiB and 4 KiB: see [`LimitValues::header_bytes`].
    pub max_header_bytes: usize,
    /// From accepting a TLS connection until the first byte of a request has come
    /// (`limits.https_handshake_timeout`, Consul's default 5 s).
    pub https_handshake_timeout: Duration,
    /// From accepting a plain connection, or from the end of an answer, until the next request's
    /// headers are complete. Clients written in Go keep idle connections for 90 s: it must be more.
    pub idle_timeout: Duration,
    /// How long an answer may make no progress because the client does not read.
    pub write_timeout: Duration,
    /// How long an answer is still worked on after the client has closed its sending side. A client
    /// that is gone looks the same as one that still reads; this is how long it costs us something.
    pub half_close_grace: Duration,
}

impl Default for LimitValues {
    fn default() -> Self {
        Self {
            max_conns_per_client: 200,
            max_conns: 0,
            max_header_bytes: Self::header_bytes(0),
            https_handshake_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(120),
            write_timeout: Duration::from_secs(120),
            half_close_grace: Duration::from_secs(10),
        }
    }
}

impl LimitValues {
    /// The defaults, with the soft limit of open files raised and the number of connections
    /// derived from it.
    pub fn for_this_process() -> Self {
        let max_conns = match crate::raise_open_files() {
            Ok(files) => crate::connections_for(files),
            Err(error) => {
                tracing::warn!(%error, "the limit of open files could not be raised");
                crate::connections_for(1024)
            }
        };
        Self {
            max_conns,
            ..Self::default()
        }
    }

    /// What `http_config.max_header_bytes` means: 0 or less is 1 MiB, and 4 KiB are always added,
    /// as Go's server does.
    pub fn header_bytes(configured: i64) -> usize {
        let base = match usize::try_from(configured) {
            Ok(0) | Err(_) => 1 << 20,
            Ok(n) => n,
        };
        base.saturating_add(4096)
    }

    /// What `limits.http_max_conns_per_client` means: 0 and negative values switch it off.
    pub fn conns_per_client(configured: i64) -> usize {
        usize::try_from(configured).unwrap_or(0)
    }
}

/// Limits that can be replaced while connections are open.
#[derive(Debug)]
pub struct Limits(ArcSwap<LimitValues>);

impl Limits {
    /// Limits that start with these values.
    pub fn new(values: LimitValues) -> Self {
        Self(ArcSwap::from_pointee(values))
    }

    /// The values that hold now.
    pub fn get(&self) -> Arc<LimitValues> {
        self.0.load_full()
    }

    /// Replaces the values. Counts hold for the next connection; deadlines and the header size for
    /// connections accepted from now on.
    pub fn set(&self, values: LimitValues) {
        self.0.store(Arc::new(values));
    }
}

/// What the listeners have seen. Counts only grow, but for [`Counters::open`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections open now, those in a TLS handshake included.
    pub open: usize,
    /// Connections let in so far.
    pub accepted: u64,
    /// Connections refused because their client had too many.
    pub refused_per_client: u64,
    /// Connections refused because there were too many in all.
    pub refused_total: u64,
    /// TLS handshakes that failed or took too long.
    pub failed_handshakes: u64,
    /// Errors of `accept` itself, such as too many open files.
    pub accept_errors: u64,
}

/// Why a connection was not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    PerClient,
    Total,
}

/// The tally behind the limits: who is in, and what happened.
#[derive(Debug, Default)]
pub(crate) struct Census {
    open: AtomicUsize,
    accepted: AtomicU64,
    refused_per_client: AtomicU64,
    refused_total: AtomicU64,
    pub(crate) failed_handshakes: AtomicU64,
    pub(crate) accept_errors: AtomicU64,
    clients: Mutex<HashMap<IpAddr, u32>>,
}

/// The permission to hold one connection, given back when dropped.
#[derive(Debug)]
pub(crate) struct Admission {
    census: Arc<Census>,
    client: Option<IpAddr>,
}

impl Census {
    /// Lets a connection in, or says why not. `client` is `None` for unix sockets.
    pub(crate) fn admit(
        self: &Arc<Self>,
        client: Option<IpAddr>,
        limits: &LimitValues,
    ) -> Result<Admission, Refusal> {
        // The guard is made first, so that every way out of here gives the place back.
        let before = self.open.fetch_add(1, Relaxed);
        let mut admission = Admission {
            census: self.clone(),
            client: None,
        };
        if limits.max_conns > 0 && before >= limits.max_conns {
            self.refused_total.fetch_add(1, Relaxed);
            return Err(Refusal::Total);
        }
        if let Some(client) = client {
            // Counted even while the limit is off, so that switching it on counts what is there.
            let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
            let count = clients.entry(client).or_insert(0);
            let max = u32::try_from(limits.max_conns_per_client).unwrap_or(u32::MAX);
            if max > 0 && *count >= max {
                drop(clients);
                self.refused_per_client.fetch_add(1, Relaxed);
                return Err(Refusal::PerClient);
            }
            *count += 1;
            admission.client = Some(client);
        }
        self.accepted.fetch_add(1, Relaxed);
        Ok(admission)
    }

    pub(crate) fn counters(&self) -> Counters {
        Counters {
            open: self.open.load(Relaxed),
            accepted: self.accepted.load(Relaxed),
            refused_per_client: self.refused_per_client.load(Relaxed),
            refused_total: self.refused_total.load(Relaxed),
            failed_handshakes: self.failed_handshakes.load(Relaxed),
            accept_errors: self.accept_errors.load(Relaxed),
        }
    }

    #[cfg(test)]
    fn clients(&self) -> usize {
        self.clients.lock().expect("not poisoned").len()
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        if let Some(client) = self.client {
            let mut clients = self
                .census
                .clients
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            if let Some(count) = clients.get_mut(&client) {
                *count -= 1;
                if *count == 0 {
                    clients.remove(&client);
                }
            }
        }
        self.census.open.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn ip(last: u8) -> Option<IpAddr> {
        Some(Ipv4Addr::new(192, 0, 2, last).into())
    }

    #[test]
    fn one_client_cannot_take_all() {
        let census = Arc::new(Census::default());
        let limits = LimitValues {
            max_conns_per_client: 2,
            ..LimitValues::default()
        };
        let first = census.admit(ip(1), &limits).expect("first");
        let _second = census.admit(ip(1), &limits).expect("second");
        assert_eq!(census.admit(ip(1), &limits).err(), Some(Refusal::PerClient));
        let _other = census.admit(ip(2), &limits).expect("another client");
        let _unix = census.admit(None, &limits).expect("a unix socket");
        assert_eq!(census.counters().open, 4);
        drop(first);
        let _again = census.admit(ip(1), &limits).expect("its place is free");
        assert_eq!(census.counters().refused_per_client, 1);
        assert_eq!(census.counters().accepted, 5);
    }

    #[test]
    fn zero_is_off_and_turning_it_on_counts_who_is_there() {
        let census = Arc::new(Census::default());
        let mut limits = LimitValues {
            max_conns_per_client: LimitValues::conns_per_client(-1),
            ..LimitValues::default()
        };
        let held: Vec<_> = (0..300).map(|_| census.admit(ip(1), &limits)).collect();
        assert!(held.iter().all(Result::is_ok));
        limits.max_conns_per_client = 200;
        assert!(census.admit(ip(1), &limits).is_err());
        drop(held);
        assert_eq!((census.counters().open, census.clients()), (0, 0));
    }

    #[test]
    fn all_together_are_bounded() {
        let census = Arc::new(Census::default());
        let limits = LimitValues {
            max_conns: 2,
            ..LimitValues::default()
        };
        let _a = census.admit(ip(1), &limits).expect("first");
        let _b = census.admit(None, &limits).expect("second");
        assert_eq!(census.admit(ip(3), &limits).err(), Some(Refusal::Total));
        assert_eq!(census.counters().open, 2);
        assert_eq!(census.clients(), 1, "a refused client leaves no trace");
    }

    #[test]
    fn configured_header_sizes() {
        assert_eq!(LimitValues::header_bytes(0), 1_052_672);
        assert_eq!(LimitValues::header_bytes(-5), 1_052_672);
        assert_eq!(LimitValues::header_bytes(8192), 12_288);
    }
}
