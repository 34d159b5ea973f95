//! Which server is asked, and what is asked again: a client agent's way, Consul's in its rules.
//!
//! All requests go to the first server of one shuffled list. One that fails moves to the end. From
//! time to time the list is shuffled anew, so that the load follows changes among the servers.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::error::CallError;
use crate::pool::Pool;
use crate::rate::TokenBucket;

/// Any 64 bits.
pub type Random = Arc<dyn Fn() -> u64 + Send + Sync>;

/// A server, as gossip knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// The name of its node.
    pub name: String,
    /// Its RPC address.
    pub addr: SocketAddr,
}

/// What a request is, for the question whether it may be sent twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Answered at once, without effect.
    Read,
    /// Has an effect.
    Write,
    /// Has an effect, and the servers know a second copy of it for what it is: it may be sent
    /// again.
    Once,
    /// A read that waits for a change.
    Blocking {
        /// How long the server waits; zero is the default of 5 min, 10 min are the most.
        max_wait: Duration,
    },
}

/// Values that come from the configuration.
#[derive(Clone, Copy, Debug)]
pub struct RouterSettings {
    /// How long an answer to a request that does not wait may take (`limits.rpc_client_timeout`).
    pub timeout: Duration,
    /// Requests in a second (`limits.rpc_rate`); infinite is no limit.
    pub rate: f64,
    /// Requests at once (`limits.rpc_max_burst`).
    pub burst: u32,
}

impl Default for RouterSettings {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(60),
            rate: f64::INFINITY,
            burst: 1000,
        }
    }
}

/// Why there is no reply. Its text is what HTTP clients see.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// No server is known.
    #[error("No known Consul servers")]
    NoServers,
    /// The own limit on requests (`limits.rpc_rate`).
    #[error("RPC rate limit exceeded")]
    RateLimited,
    /// The last attempt's error.
    #[error("{0}")]
    Call(#[from] CallError),
}

impl Kind {
    /// Whether it may be sent again when nobody knows what became of it.
    fn is_repeatable(self) -> bool {
        self != Kind::Write
    }
}

/// Gives the arguments of a request that may be held for this much longer.
type Encode<'a> = dyn Fn(Duration) -> Cow<'a, [u8]> + Send + Sync + 'a;

/// Errors after which every request may be made again: it was not executed.
const AGAIN: [&str; 3] = [
    "No cluster leader",
    "rate limit exceeded, try again later",
    "please resubmit call for rechunking",
];

/// Waits before another attempt are up to this part of the hold time.
const JITTER_FRACTION: u32 = 16;

/// Asks servers.
pub struct Router {
    pool: Arc<Pool>,
    /// In the order in which they are asked. Changes of the order alone wake nobody.
    servers: watch::Sender<Vec<Server>>,
    settings: Mutex<(RouterSettings, TokenBucket)>,
    random: Random,
    start: Instant,
}

impl std::fmt::Debug for Router {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Router")
            .field("servers", &*self.servers.borrow())
            .finish_non_exhaustive()
    }
}

impl Router {
    /// A router that knows no server yet.
    pub fn new(pool: Arc<Pool>, settings: RouterSettings, random: Random) -> Self {
        let bucket = TokenBucket::new(settings.rate, settings.burst);
        Self {
            pool,
            servers: watch::Sender::new(Vec::new()),
            settings: Mutex::new((settings, bucket)),
            random,
            start: Instant::now(),
        }
    }

    /// The sessions.
    pub fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// Replaces the settings.
    pub fn set(&self, settings: RouterSettings) {
        let mut held = self.settings.lock().unwrap_or_else(PoisonError::into_inner);
        // A reload that changes nothing does not fill the bucket.
        if (held.0.rate, held.0.burst) != (settings.rate, settings.burst) {
            held.1 = TokenBucket::new(settings.rate, settings.burst);
        }
        held.0 = settings;
    }

    /// Replaces the list. Servers that were known keep their place, new ones get one by chance.
    /// Requests that wait for a server that is no longer there are sent to another one at once, where they
    /// may be sent twice.
    pub fn set_servers(&self, servers: Vec<Server>) {
        self.servers.send_if_modified(|held| {
            let before = held.len();
            held.retain(|server| servers.contains(server));
            let mut changed = held.len() != before;
            for server in servers {
                if !held.contains(&server) {
                    let at = below((self.random)(), held.len() + 1);
                    held.insert(at, server);
                    changed = true;
                }
            }
            changed
        });
    }

    /// The servers in the order in which they are asked.
    pub fn servers(&self) -> Vec<Server> {
        self.servers.borrow().clone()
    }

    /// Asks the first server, and others when that may be done: see [`Kind`]. `hold` is how long
    /// attempts go on (`rpc_hold_timeout`, Consul's default 7 s); a blocking query's own time comes
    /// on top. Dropping the future cancels the request at the server.
    ///
    /// | outcome | again |
    /// | --- | --- |
    /// | no connection, or the request did not leave | at once at the next server, each once; then after a wait |
    /// | connection lost after the request had left, or the server is none any more | the same, unless it is [`Kind::Write`] |
    /// | `No cluster leader`, `rate limit exceeded, try again later` | after a wait |
    /// | any other error, or no answer in time | no |
    ///
    /// # Errors
    /// [`RouteError`].
    pub async fn call(
        &self,
        method: &str,
        args: &[u8],
        kind: Kind,
        hold: Duration,
    ) -> Result<Bytes, RouteError> {
        self.ask(method, &|_| Cow::Borrowed(args), kind, hold).await
    }

    /// Asks a question that waits for a change, as [`Router::call`] does with
    /// [`Kind::Blocking`]. `args` gives its arguments for the time that is left: another server
    /// than the first waits no longer than that.
    ///
    /// # Errors
    /// [`RouteError`].
    pub async fn wait(
        &self,
        method: &str,
        args: &(dyn Fn(Duration) -> Vec<u8> + Send + Sync),
        max_wait: Duration,
        hold: Duration,
    ) -> Result<Bytes, RouteError> {
        let kind = Kind::Blocking { max_wait };
        self.ask(method, &|left| Cow::Owned(args(left)), kind, hold)
            .await
    }

    async fn ask(
        &self,
        method: &str,
        args: &Encode<'_>,
        kind: Kind,
        hold: Duration,
    ) -> Result<Bytes, RouteError> {
        let first = Instant::now();
        let whole = match kind {
            Kind::Blocking { max_wait } => blocking(max_wait),
            _ => Duration::ZERO,
        };
        let patience = hold + whole;
        let mut at_once = 0;
        loop {
            if !self.admit() {
                return Err(RouteError::RateLimited);
            }
            let (server, others) = {
                let servers = self.servers.borrow();
                let server = servers.first().cloned().ok_or(RouteError::NoServers)?;
                (server, servers.len() - 1)
            };
            // Zero would be the default.
            let left = whole
                .saturating_sub(first.elapsed())
                .max(Duration::from_millis(1));
            let timeout = match kind {
                Kind::Blocking { .. } => left + left / 16 + hold,
                _ => self.settings().timeout,
            };
            let deadline = Instant::now() + timeout;
            let args = args(left);
            let call = self.pool.call(server.addr, method, &args, deadline);
            let outcome = tokio::select! {
                biased;
                outcome = call => outcome,
                error = self.removed(&server), if kind.is_repeatable() => Err(error),
            };
            let error = match outcome {
                Ok(reply) => return Ok(reply),
                Err(error) => error,
            };
            let again = match &error {
                CallError::Remote(text) => AGAIN.iter().any(|part| text.contains(part)),
                CallError::NotSent(_) => true,
                CallError::Lost(_) => kind.is_repeatable(),
                CallError::Timeout => false,
            };
            if again || error.is_connection() || error == CallError::Timeout {
                tracing::debug!(method, server = %server.addr, %error, "RPC failed");
                self.failed(&server);
            }
            // The others are asked however long it took to find out that one is gone.
            if again && error.is_connection() && at_once < others {
                at_once += 1;
                continue;
            }
            if !again || first.elapsed() >= patience {
                return Err(error.into());
            }
            at_once = 0;
            sleep(self.pause(hold)).await;
        }
    }

    /// Shuffles the list, and brings the first server that answers `Status.Ping` to its head.
    pub async fn rebalance(&self) {
        let mut list = self.servers();
        if list.len() < 2 {
            return;
        }
        for at in (1..list.len()).rev() {
            list.swap(at, below((self.random)(), at + 1));
        }
        let mut answered = false;
        for _ in 0..list.len() {
            let deadline = Instant::now() + crate::dial::DIAL_TIMEOUT;
            let ping = self
                .pool
                .call(list[0].addr, "Status.Ping", &[0x80], deadline);
            match ping.await {
                Ok(_) => {
                    answered = true;
                    break;
                }
                Err(error) => {
                    tracing::debug!(server = %list[0].addr, %error, "no answer to a ping");
                    list.rotate_left(1);
                }
            }
        }
        if !answered {
            return;
        }
        // The list may have changed meanwhile: only the order is taken over.
        self.servers.send_if_modified(|held| {
            held.sort_by_key(|s| list.iter().position(|l| l == s).unwrap_or(usize::MAX));
            false
        });
    }

    /// Rebalances for ever. `nodes` is the number of nodes in the datacenter.
    pub async fn run(&self, nodes: impl Fn() -> usize) {
        loop {
            let servers = self.servers.borrow().len();
            sleep(rebalance_interval(servers, nodes(), (self.random)())).await;
            self.rebalance().await;
        }
    }

    fn settings(&self) -> RouterSettings {
        self.settings
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .0
    }

    fn admit(&self) -> bool {
        let mut settings = self.settings.lock().unwrap_or_else(PoisonError::into_inner);
        settings.1.take(self.start.elapsed())
    }

    /// Moves a server to the end. Of many requests that fail at once only the first does so.
    fn failed(&self, server: &Server) {
        self.servers.send_if_modified(|held| {
            if held.len() > 1 && held.first() == Some(server) {
                held.rotate_left(1);
            }
            false
        });
    }

    /// Returns when the server is not in the list any more.
    async fn removed(&self, server: &Server) -> CallError {
        let mut list = self.servers.subscribe();
        // The sender is ours, so it does not go away.
        let _ = list.wait_for(|held| !held.contains(server)).await;
        CallError::Lost(format!("server {} has left", server.name))
    }

    fn pause(&self, hold: Duration) -> Duration {
        part(hold / JITTER_FRACTION, (self.random)())
    }
}

/// How long a blocking query waits when it asks for this.
fn blocking(max_wait: Duration) -> Duration {
    if max_wait.is_zero() {
        Duration::from_secs(300)
    } else {
        max_wait.min(Duration::from_secs(600))
    }
}

/// The time until the next shuffle: 2 to 3 min, or more when there are so many nodes that the
/// servers would see more than 64 new connections a second each.
#[must_use]
pub fn rebalance_interval(servers: usize, nodes: usize, random: u64) -> Duration {
    let least = Duration::from_secs(120) + part(Duration::from_secs(60), random);
    let nodes = u32::try_from(nodes).unwrap_or(u32::MAX);
    let servers = u32::try_from(servers.max(1)).unwrap_or(u32::MAX);
    (Duration::from_micros(15_625).saturating_mul(nodes) / servers).max(least)
}

/// A part of a time, by chance.
fn part(whole: Duration, random: u64) -> Duration {
    let nanos = (u128::from(random) * whole.as_nanos()) >> 64;
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// A number below `n`, by chance.
fn below(random: u64, n: usize) -> usize {
    usize::try_from((u128::from(random) * n as u128) >> 64).unwrap_or(0)
}
