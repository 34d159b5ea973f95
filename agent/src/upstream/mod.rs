//! The way of a client agent to the servers: reads and writes as calls of Consul's RPC.
//!
//! A client agent holds no replicated state. A [`Query`] becomes a call, and the rows of its reply
//! a view that holds these rows alone, so that whoever asked reads them as on a server. Equal
//! blocking queries of one agent share a call (the module `flights`), and `?cached` reads an
//! answer that a blocking query in the background keeps fresh (the module `cache`).

mod abroad;
mod ask;
mod cache;
mod flights;
mod servers;
mod tell;

use crate::agent::Shared;
use crate::gossip::keys::{KeyOperation, KeyringAnswer};
use crate::query::{Freshness, Query, ReadOptions};
use crate::requests::{Requests, Ticket};
use crate::store::{Answered, Contact, TxnRead, WriteError};
use bytes::Bytes;
use cache::Cache;
use flights::{Flight, Flights, Key};
use lictor_config::Config;
use lictor_rpc::PortTls;
use lictor_rpc_wire::message::{
    self, DcRequest, QueryOptions, SessionRequest, SessionSpecificRequest, TxnReadRequest,
    TxnReadResponse,
};
use lictor_rpc_wire::{from_slice, to_vec};
use lictor_state::{Command, CoordinateUpdate, Outcome, Part, TxnOp, View};
use lictor_wire::{Session, Str};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until};

pub use abroad::Abroad;

/// What may be done with a call that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It may be asked again, whatever happened to it.
    Read,
    /// It may be sent again only where it certainly did nothing.
    Write,
    /// It carries a number by which the servers know a second copy: it may be sent again.
    Once,
}

/// Who answers calls: the servers of the own datacenter.
#[async_trait::async_trait]
pub trait Servers: Send + Sync + 'static {
    /// Calls a method with the bytes of its arguments and returns those of its reply. `wait` is how
    /// long the server may hold it by its arguments, beyond what any call may take.
    async fn call(
        &self,
        method: &'static str,
        args: Vec<u8>,
        kind: Kind,
        wait: Duration,
    ) -> Result<Bytes, WriteError>;

    /// Calls a method that waits for a change. `args` gives its arguments for the time that is
    /// left of `wait`.
    async fn wait(
        &self,
        method: &'static str,
        args: &(dyn Fn(Duration) -> Vec<u8> + Send + Sync),
        wait: Duration,
    ) -> Result<Bytes, WriteError> {
        self.call(method, args(wait), Kind::Read, wait).await
    }

    /// Whether every server knows the second copy of a request by its number.
    fn remember(&self) -> bool {
        false
    }

    /// Takes over another configuration.
    fn configure(&self, _: &Config) {}

    /// The lowest version of a server, `(major, minor)`; nothing while none is known.
    fn oldest(&self) -> Option<(u32, u32)> {
        None
    }

    /// Follows what gossip says of them, until the agent ends.
    async fn follow(&self, _: Arc<Shared>) {}
}

/// The servers, as a client agent uses them; and as a server uses those of another datacenter.
pub struct Upstream {
    inner: Arc<Inner>,
    /// The datacenter that is asked about.
    datacenter: Str,
}

struct Inner {
    servers: Arc<dyn Servers>,
    /// The own datacenter.
    home: Str,
    flights: Arc<Flights>,
    cache: Cache,
    epochs: AtomicU64,
    requests: Arc<Requests>,
}

impl Clone for Upstream {
    fn clone(&self) -> Upstream {
        Upstream {
            inner: self.inner.clone(),
            datacenter: self.datacenter.clone(),
        }
    }
}

/// A server that answers without news so long before the time is over has ended.
const EARLY: Duration = Duration::from_secs(1);
/// How often that is made up for in one read.
const TRIES: u32 = 16;

/// How one call reads.
#[derive(Clone, Copy, Debug)]
struct Ask {
    /// The index to wait above; zero: do not wait.
    index: u64,
    /// How long the server may wait.
    wait: Duration,
    freshness: Freshness,
}

impl Upstream {
    /// A client of these servers, for an agent of this datacenter.
    pub fn new(servers: Arc<dyn Servers>, datacenter: Str) -> Upstream {
        Upstream {
            inner: Arc::new(Inner {
                servers,
                home: datacenter.clone(),
                flights: Arc::default(),
                cache: Cache::default(),
                // Apart from those of replicated state, which count up from zero.
                epochs: AtomicU64::new(1 << 48),
                requests: Requests::new(),
            }),
            datacenter,
        }
    }

    /// The same servers, asked about another datacenter.
    #[must_use]
    pub fn at(&self, datacenter: &str) -> Upstream {
        Upstream {
            datacenter: datacenter.into(),
            ..self.clone()
        }
    }

    /// The servers that gossip knows, asked as this configuration says.
    pub fn routed(config: &Config, tls: Arc<PortTls>) -> Upstream {
        let servers = Arc::new(servers::Routed::of(config, tls));
        Upstream::new(servers, config.datacenter.as_str().into())
    }

    /// Takes over another configuration.
    pub fn configure(&self, config: &Config) {
        self.inner.servers.configure(config);
    }

    /// Follows what gossip says of the servers, until the agent ends.
    pub async fn follow(&self, shared: Arc<Shared>) {
        self.inner.servers.follow(shared).await;
    }

    /// Reads, as [`crate::store::Store::read`] promises.
    pub async fn read(&self, query: &Query, options: &ReadOptions) -> Result<Answered, WriteError> {
        if query.datacenter.is_empty() && self.datacenter != self.inner.home {
            // What is kept and shared is told apart by it.
            let query = Query {
                datacenter: self.datacenter.clone(),
                ..query.clone()
            };
            return Box::pin(self.read(&query, options)).await;
        }
        if options.cached && cache::holds(&query.what) {
            return self.inner.cache.read(self, query, options).await;
        }
        if options.index == 0 {
            return self.fetch(query, &Ask::now(options.freshness)).await;
        }
        self.wait(query, options).await
    }

    /// A blocking read.
    async fn wait(&self, query: &Query, options: &ReadOptions) -> Result<Answered, WriteError> {
        if options.freshness == Freshness::Consistent {
            // Whoever asks for that much does not take another's answer.
            let ask = Ask {
                index: options.index,
                wait: options.asked,
                freshness: options.freshness,
            };
            return self.fetch(query, &ask).await;
        }
        let begun = Instant::now();
        let deadline = begun + options.wait;
        let mut wait = options.asked;
        let mut early = 0;
        loop {
            let (flight, own) = self.join(query, options.index, wait, options.freshness, None);
            let answered = tokio::select! {
                answered = flight.landed() => answered?,
                // The server keeps the time of the one who set out; the others keep their own.
                () = sleep_until(deadline), if !own => break,
            };
            let left = deadline.saturating_duration_since(Instant::now());
            let news = answered.index > options.index;
            if own && !news && left > EARLY && answered.index == options.index && early < TRIES {
                // A server that ends answers all who wait. Another one goes on for it.
                early += 1;
                sleep(EARLY / 10).await;
                wait = deadline.saturating_duration_since(Instant::now());
                continue;
            }
            if own || (news && options.freshness == Freshness::Stale) {
                return Ok(answered);
            }
            if news || left.is_zero() {
                break;
            }
            wait = left;
        }
        // What has landed may have been on its way before this read began, and a write been
        // acknowledged between. All who were told of it share one look.
        let freshness = options.freshness;
        let (flight, _) = self.join(query, 0, Duration::ZERO, freshness, Some(begun));
        flight.landed().await
    }

    /// The call for this query and index that is on its way, if it began after `since`, or a new
    /// one, and whether it is new.
    fn join(
        &self,
        query: &Query,
        index: u64,
        wait: Duration,
        freshness: Freshness,
        since: Option<Instant>,
    ) -> (Arc<Flight>, bool) {
        let key = Key {
            query: query.clone(),
            index,
            freshness,
        };
        let this = self.clone();
        self.inner.flights.join(key, since, |key| async move {
            let ask = Ask {
                index: key.index,
                wait,
                freshness: key.freshness,
            };
            this.fetch(&key.query, &ask).await
        })
    }

    /// One call, and its rows as a view.
    async fn fetch(&self, query: &Query, ask: &Ask) -> Result<Answered, WriteError> {
        let dc = self.datacenter_of(query);
        let home = &self.inner.home;
        let (method, args) = ask::request(query, dc, home, ask)?;
        let reply = if ask.index == 0 {
            self.call_bytes(method, args, Kind::Read, ask.wait).await?
        } else {
            // Another server that takes over waits for what is left.
            let again = |wait| {
                let ask = Ask { wait, ..*ask };
                ask::request(query, dc, home, &ask).map_or_else(|_| args.clone(), |(_, args)| args)
            };
            self.inner.servers.wait(method, &again, ask.wait).await?
        };
        let (part, meta) = ask::rows(query, &reply).map_err(broken)?;
        Ok(self.answered(part, &meta, ask.freshness))
    }

    fn answered(&self, part: Part, meta: &message::QueryMeta, freshness: Freshness) -> Answered {
        let index = meta.index.max(1);
        let epoch = self.inner.epochs.fetch_add(1, Ordering::Relaxed);
        Answered {
            view: Arc::new(View::part(part, index, epoch)),
            index,
            contact: contact(meta),
            freshness,
            cache: None,
        }
    }

    fn datacenter_of<'a>(&'a self, query: &'a Query) -> &'a str {
        if query.datacenter.is_empty() {
            &self.datacenter
        } else {
            &query.datacenter
        }
    }

    async fn call_bytes(
        &self,
        method: &'static str,
        args: Vec<u8>,
        kind: Kind,
        wait: Duration,
    ) -> Result<Bytes, WriteError> {
        self.inner.servers.call(method, args, kind, wait).await
    }

    /// Calls a method that answers at once.
    pub async fn call<A: Serialize, R: DeserializeOwned>(
        &self,
        method: &'static str,
        args: &A,
        kind: Kind,
    ) -> Result<R, WriteError> {
        let args = to_vec(args).map_err(broken)?;
        let reply = self.call_bytes(method, args, kind, Duration::ZERO).await?;
        from_slice(&reply).map_err(broken)
    }

    /// A number for a write, where the servers make something of it.
    fn ticket(&self) -> Option<Ticket> {
        self.inner
            .servers
            .remember()
            .then(|| self.inner.requests.begin())
    }

    /// Calls a method that writes. `number` is where the number of the request belongs.
    async fn tell<A: Serialize, R: DeserializeOwned>(
        &self,
        method: &'static str,
        mut args: A,
        number: impl FnOnce(&mut A) -> &mut message::WriteRequest,
    ) -> Result<R, WriteError> {
        // It is over when the answer is here.
        let ticket = self.ticket();
        number(&mut args).request = ticket.as_ref().map(Ticket::id);
        let kind = if ticket.is_some() {
            Kind::Once
        } else {
            Kind::Write
        };
        self.call(method, &args, kind).await
    }

    /// Writes. What the servers refuse is an error, in their words.
    pub async fn write(&self, command: Command) -> Result<Outcome, WriteError> {
        tell::write(self, command).await
    }

    /// Makes a session and returns its id, which the servers choose.
    pub async fn create_session(&self, session: &Session) -> Result<Str, WriteError> {
        let mut request = SessionRequest::create(&self.datacenter, session);
        if self.inner.servers.oldest().is_some_and(|v| v < (1, 7)) {
            request.session = request.session.for_servers_before_1_7();
        }
        if self.inner.servers.remember() {
            // A second copy must make the same session.
            request.session.id = session.id.clone();
        }
        self.tell("Session.Apply", request, |r| &mut r.write).await
    }

    /// Gives a session its full time again; nothing where there is none of that id.
    pub async fn renew_session(&self, id: &str) -> Result<Option<Arc<Session>>, WriteError> {
        let request = SessionSpecificRequest::of(&self.datacenter, id, QueryOptions::default());
        // Twice renewed is renewed.
        let reply: message::IndexedSessions =
            self.call("Session.Renew", &request, Kind::Read).await?;
        match reply.sessions.into_iter().next() {
            Some(row) => Session::try_from(row)
                .map(|s| Some(Arc::new(s)))
                .map_err(broken),
            None => Ok(None),
        }
    }

    /// A transaction that only reads, as [`crate::store::Store::txn_read`] promises.
    pub async fn txn_read(
        &self,
        ops: &[TxnOp],
        freshness: Freshness,
    ) -> Result<(TxnRead, Contact), WriteError> {
        let request = TxnReadRequest {
            datacenter: self.datacenter.clone(),
            ops: ops.iter().map(message::TxnOp::from).collect(),
            options: ask::options(&Ask::now(freshness), &Str::new()),
        };
        let reply: TxnReadResponse = self.call("Txn.Read", &request, Kind::Read).await?;
        let contact = contact(&reply.meta);
        let outcome = match reply.response.into_outcome() {
            Outcome::Txn { results, errors } if errors.is_empty() => Ok(results),
            Outcome::Txn { errors, .. } => Err(errors),
            _ => Ok(Vec::new()),
        };
        Ok((outcome, contact))
    }

    /// Tells where a node is. The servers write it some seconds later.
    pub async fn update_coordinate(&self, update: &CoordinateUpdate) -> Result<(), WriteError> {
        let request = message::CoordinateUpdateRequest::of(&self.datacenter, update);
        let _: message::Empty = self.call("Coordinate.Update", &request, Kind::Read).await?;
        Ok(())
    }

    /// The address of the leader, empty where there is none.
    pub async fn leader(&self) -> Result<String, WriteError> {
        self.call("Status.Leader", &self.any_server(), Kind::Read)
            .await
    }

    /// The addresses of all servers of the Raft configuration.
    pub async fn peers(&self) -> Result<Vec<String>, WriteError> {
        self.call("Status.Peers", &self.any_server(), Kind::Read)
            .await
    }

    /// The names of the datacenters, nearest first.
    pub async fn datacenters(&self) -> Result<Vec<Str>, WriteError> {
        let request = DcRequest::default();
        self.call("Catalog.ListDatacenters", &request, Kind::Read)
            .await
    }

    /// The servers of each datacenter with their coordinates.
    pub async fn datacenter_coordinates(&self) -> Result<Vec<message::DatacenterMap>, WriteError> {
        self.call(
            "Coordinate.ListDatacenters",
            &message::Empty::default(),
            Kind::Read,
        )
        .await
    }

    /// Has the servers send a user event through gossip. `payload` is its body as gossip has it.
    pub async fn fire_event(&self, name: &str, payload: Vec<u8>) -> Result<(), WriteError> {
        let request = message::EventFireRequest {
            datacenter: self.datacenter.clone(),
            name: name.into(),
            payload: lictor_rpc_wire::Bytes(payload.into()),
            options: QueryOptions {
                allow_stale: true,
                ..QueryOptions::default()
            },
        };
        let _: message::QueryMeta = self
            .call("Internal.EventFire", &request, Kind::Write)
            .await?;
        Ok(())
    }

    /// Has a server do something to the keys of its pools: see [`crate::gossip::keys::operate`].
    pub async fn keyring(
        &self,
        operation: KeyOperation,
        key: &str,
        relay_factor: u8,
        local_only: bool,
    ) -> Result<Vec<KeyringAnswer>, WriteError> {
        let (word, kind) = match operation {
            KeyOperation::List => ("list", Kind::Read),
            KeyOperation::Install => ("install", Kind::Write),
            KeyOperation::Use => ("use", Kind::Write),
            KeyOperation::Remove => ("remove", Kind::Write),
        };
        let request = message::KeyringRequest {
            operation: word.into(),
            key: key.into(),
            datacenter: self.datacenter.clone(),
            relay_factor,
            local_only,
            ..message::KeyringRequest::default()
        };
        let reply: message::KeyringResponses = self
            .call("Internal.KeyringOperation", &request, kind)
            .await?;
        let counts = |keys: Option<BTreeMap<String, i64>>| {
            let count = |(key, n)| (key, usize::try_from(n).unwrap_or(0));
            keys.unwrap_or_default().into_iter().map(count).collect()
        };
        let answer = |r: message::KeyringResponse| KeyringAnswer {
            wan: r.wan,
            datacenter: r.datacenter.to_string(),
            segment: r.segment.to_string(),
            messages: r.messages.unwrap_or_default(),
            keys: counts(r.keys),
            primary_keys: counts(r.primary_keys),
            num_nodes: usize::try_from(r.num_nodes).unwrap_or(0),
            error: r.error,
        };
        Ok(reply.responses.into_iter().map(answer).collect())
    }

    fn any_server(&self) -> DcRequest {
        DcRequest {
            datacenter: self.datacenter.clone(),
            ..DcRequest::default()
        }
    }
}

impl Ask {
    fn now(freshness: Freshness) -> Ask {
        Ask {
            index: 0,
            wait: Duration::ZERO,
            freshness,
        }
    }
}

fn contact(meta: &message::QueryMeta) -> Contact {
    Contact {
        known: meta.known_leader,
        last_contact_ms: u64::try_from(meta.last_contact / 1_000_000).unwrap_or(0),
    }
}

/// A message that cannot be written or read.
fn broken(error: impl std::fmt::Display) -> WriteError {
    WriteError::Rpc(format!("rpc error making call: {error}"))
}

#[cfg(test)]
mod tests;
