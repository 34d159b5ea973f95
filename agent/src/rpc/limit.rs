//! How many requests this server answers in a time (`limits.request_limits`).
//!
//! Only calls that come over the network count, as in Consul: what the agent's own HTTP port asks
//! is served without one. What keeps the cluster together (`Status`, consensus) is exempt.

use lictor_config::{Config, RequestLimitsMode};
use lictor_rpc::TokenBucket;
use lictor_rpc_wire::from_slice;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::time::Instant;

/// A bucket holds what comes in this many seconds.
const SECONDS: f64 = 10.0;

const ELSEWHERE: &str = "rate limit exceeded, try again later or against a different server";
const LEADER_ONLY: &str =
    "rate limit exceeded for operation that can only be performed by the leader, try again later";

/// Methods that change something.
const WRITES: &[&str] = &[
    "Catalog.Deregister",
    "Catalog.Register",
    "Coordinate.Update",
    "Internal.EventFire",
    "KVS.Apply",
    "Operator.AutopilotSetConfiguration",
    "Operator.RaftRemovePeerByAddress",
    "Operator.RaftRemovePeerByID",
    "Session.Apply",
    "Session.Renew",
    "Txn.Apply",
];

/// The limits and how much of them is used.
#[derive(Debug)]
pub struct RequestLimits {
    start: Instant,
    held: Mutex<Held>,
}

#[derive(Debug)]
struct Held {
    given: Given,
    read: TokenBucket,
    write: TokenBucket,
}

type Given = (RequestLimitsMode, Option<f64>, Option<f64>);

fn bucket(rate: Option<f64>) -> TokenBucket {
    let rate = rate.unwrap_or(f64::INFINITY);
    let burst = (rate * SECONDS).clamp(1.0, f64::from(u32::MAX));
    TokenBucket::new(rate, burst as u32)
}

impl Default for RequestLimits {
    fn default() -> RequestLimits {
        RequestLimits {
            start: Instant::now(),
            held: Mutex::new(Held {
                given: (RequestLimitsMode::Disabled, None, None),
                read: bucket(None),
                write: bucket(None),
            }),
        }
    }
}

/// The one argument that is looked at.
#[derive(serde::Deserialize, Default)]
#[serde(default, rename_all = "PascalCase")]
struct Stale {
    allow_stale: bool,
}

impl RequestLimits {
    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over a configuration. One that changes nothing here does not fill the buckets.
    pub fn set(&self, config: &Config) {
        let l = &config.limits;
        let given = (
            l.request_limits_mode,
            l.request_limits_read_rate,
            l.request_limits_write_rate,
        );
        let mut held = self.lock();
        if held.given != given {
            *held = Held {
                given,
                read: bucket(given.1),
                write: bucket(given.2),
            };
        }
    }

    /// Counts a call.
    ///
    /// # Errors
    /// There are too many: what the caller is told, in Consul's words.
    pub fn admit(&self, method: &str, args: &[u8], leads: bool) -> Result<(), Exceeded> {
        let write = WRITES.contains(&method);
        let mut held = self.lock();
        if held.given.0 == RequestLimitsMode::Disabled || method.starts_with("Status.") {
            return Ok(());
        }
        let now = self.start.elapsed();
        let bucket = if write {
            &mut held.write
        } else {
            &mut held.read
        };
        if bucket.take(now) {
            return Ok(());
        }
        let enforced = held.given.0 == RequestLimitsMode::Enforcing;
        drop(held);
        let stale = || from_slice::<Stale>(args).unwrap_or_default().allow_stale;
        let text = if leads && (write || !stale()) {
            LEADER_ONLY
        } else {
            ELSEWHERE
        };
        Err(Exceeded {
            kind: if write { "global/write" } else { "global/read" },
            enforced,
            text,
        })
    }
}

/// A limit that is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exceeded {
    /// Which.
    pub kind: &'static str,
    /// Whether the call is refused.
    pub enforced: bool,
    /// What its caller is told then.
    pub text: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;
    use lictor_rpc_wire::message::{KeyRequest, QueryOptions};
    use lictor_rpc_wire::to_vec;

    fn limits(mode: RequestLimitsMode, rate: f64) -> RequestLimits {
        let flags = lictor_config::Flags {
            dev: true,
            ..lictor_config::Flags::default()
        };
        let mut config = crate::load::Loader::new(flags).load().unwrap().config;
        config.limits.request_limits_mode = mode;
        config.limits.request_limits_read_rate = Some(rate);
        config.limits.request_limits_write_rate = Some(rate);
        let limits = RequestLimits::default();
        limits.set(&config);
        limits
    }

    #[tokio::test(start_paused = true)]
    async fn reads_and_writes_have_buckets_of_their_own() {
        let limits = limits(RequestLimitsMode::Enforcing, 2.0);
        for _ in 0..20 {
            assert_eq!(limits.admit("KVS.Apply", b"\x80", true), Ok(()));
        }
        let refused = limits.admit("KVS.Apply", b"\x80", true).unwrap_err();
        assert_eq!((refused.enforced, refused.text), (true, LEADER_ONLY));
        let elsewhere = limits.admit("KVS.Apply", b"\x80", false).unwrap_err();
        assert_eq!(elsewhere.text, ELSEWHERE);
        for _ in 0..20 {
            assert_eq!(limits.admit("KVS.Get", b"\x80", true), Ok(()));
        }
        let stale = KeyRequest {
            options: QueryOptions {
                allow_stale: true,
                ..QueryOptions::default()
            },
            ..KeyRequest::default()
        };
        let stale = to_vec(&stale).unwrap();
        let text = |args: &[u8], leads| limits.admit("KVS.Get", args, leads).unwrap_err().text;
        assert_eq!(text(b"\x80", true), LEADER_ONLY);
        assert_eq!(text(&stale, true), ELSEWHERE);
        assert_eq!(text(b"\x80", false), ELSEWHERE);
        // What keeps the cluster together is not counted.
        assert_eq!(limits.admit("Status.Ping", b"\x80", true), Ok(()));
        tokio::time::advance(std::time::Duration::from_millis(501)).await;
        assert_eq!(limits.admit("KVS.Apply", b"\x80", true), Ok(()));
        assert!(limits.admit("KVS.Apply", b"\x80", true).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_permissive_limit_refuses_nothing_and_a_disabled_one_is_none() {
        let permissive = limits(RequestLimitsMode::Permissive, 0.1);
        assert_eq!(permissive.admit("KVS.Get", b"\x80", true), Ok(()));
        let told = permissive.admit("KVS.Get", b"\x80", true).unwrap_err();
        assert!(!told.enforced);
        let disabled = limits(RequestLimitsMode::Disabled, 0.1);
        for _ in 0..10 {
            assert_eq!(disabled.admit("KVS.Get", b"\x80", true), Ok(()));
        }
    }
}
