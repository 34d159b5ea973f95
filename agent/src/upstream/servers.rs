//! The servers that gossip knows, asked over Consul's RPC.

use super::{Kind, Servers};
use crate::agent::Shared;
use crate::members;
use crate::servers::{self, ServerMember, Standing};
use crate::store::WriteError;
use bytes::Bytes;
use lictor_config::Config;
use lictor_rpc::{
    CallError, ClientLimits, Dial, Pool, PortTls, RouteError, Router, RouterSettings, Server,
};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The servers of a datacenter. They are nobody until [`follow`] runs.
pub struct Routed {
    router: Arc<Router>,
    /// How long a call is tried again.
    hold: Duration,
    tls: Arc<PortTls>,
    datacenter: String,
    /// They are those of another datacenter.
    abroad: bool,
    oldest: Mutex<Option<(u32, u32)>>,
    /// Whether all of them know requests by their numbers.
    remember: AtomicBool,
}

/// What decides how servers are asked.
fn settings(config: &Config) -> RouterSettings {
    RouterSettings {
        timeout: config.limits.rpc_client_timeout.to_std(),
        rate: config.limits.rpc_rate.unwrap_or(f64::INFINITY),
        burst: config.limits.rpc_max_burst,
    }
}

impl Routed {
    /// Asks as this configuration says.
    pub fn of(config: &Config, tls: Arc<PortTls>) -> Routed {
        Routed::to(config, tls, &config.datacenter)
    }

    /// Asks the servers of another datacenter.
    pub fn abroad(config: &Config, tls: Arc<PortTls>, datacenter: &str) -> Routed {
        Routed {
            abroad: true,
            ..Routed::to(config, tls, datacenter)
        }
    }

    fn failed(&self, error: RouteError) -> WriteError {
        match error {
            RouteError::NoServers if self.abroad => {
                WriteError::Rpc("Remote DC has no server currently reachable".to_owned())
            }
            RouteError::NoServers => WriteError::NoServers,
            RouteError::RateLimited => WriteError::RateLimited,
            RouteError::Call(CallError::Remote(text)) => WriteError::Remote(text),
            RouteError::Call(other) => WriteError::Rpc(other.to_string()),
        }
    }

    /// Brings another server to the head of the list.
    pub async fn rebalance(&self) {
        self.router.rebalance().await;
    }

    /// Calls a method, as [`Servers::call`] does.
    pub async fn send(
        &self,
        method: &str,
        args: &[u8],
        kind: Kind,
        wait: Duration,
    ) -> Result<Bytes, WriteError> {
        let kind = match kind {
            Kind::Write => lictor_rpc::Kind::Write,
            Kind::Once => lictor_rpc::Kind::Once,
            Kind::Read if wait.is_zero() => lictor_rpc::Kind::Read,
            Kind::Read => lictor_rpc::Kind::Blocking { max_wait: wait },
        };
        let called = self.router.call(method, args, kind, self.hold).await;
        called.map_err(|error| self.failed(error))
    }

    fn to(config: &Config, tls: Arc<PortTls>, datacenter: &str) -> Routed {
        let hold = config.performance.rpc_hold_timeout.to_std();
        let source = servers::source(config.rpc_bind);
        let routed = Routed {
            datacenter: datacenter.to_owned(),
            ..Routed::new(settings(config), hold, source, tls)
        };
        routed.secure();
        routed
    }

    /// Connections made from now on have the TLS of the present configuration.
    fn secure(&self) {
        match self.tls.outgoing(&self.datacenter) {
            Ok(tls) => self.router.pool().dial().set_tls(tls),
            // For the own datacenter the start has refused such a name.
            Err(error) => tracing::error!(target: "agent.client", error = %error, "no TLS"),
        }
    }

    fn new(
        settings: RouterSettings,
        hold: Duration,
        source: Option<IpAddr>,
        tls: Arc<PortTls>,
    ) -> Routed {
        let pool = Arc::new(Pool::new(Dial::new(source), ClientLimits::default()));
        let random = Arc::new(crate::random::next);
        Routed {
            router: Arc::new(Router::new(pool, settings, random)),
            hold,
            tls,
            datacenter: String::new(),
            abroad: false,
            oldest: Mutex::new(None),
            remember: AtomicBool::new(false),
        }
    }
}

#[async_trait::async_trait]
impl Servers for Routed {
    async fn call(
        &self,
        method: &'static str,
        args: Vec<u8>,
        kind: Kind,
        wait: Duration,
    ) -> Result<Bytes, WriteError> {
        self.send(method, &args, kind, wait).await
    }

    async fn wait(
        &self,
        method: &'static str,
        args: &(dyn Fn(Duration) -> Vec<u8> + Send + Sync),
        wait: Duration,
    ) -> Result<Bytes, WriteError> {
        let waited = self.router.wait(method, args, wait, self.hold).await;
        waited.map_err(|error| self.failed(error))
    }

    fn remember(&self) -> bool {
        self.remember.load(Ordering::Relaxed)
    }

    fn configure(&self, config: &Config) {
        self.router.set(settings(config));
        self.secure();
    }

    fn oldest(&self) -> Option<(u32, u32)> {
        *self.oldest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn follow(&self, shared: Arc<Shared>) {
        let nodes = || shared.gossip.lan_members().len();
        let members = async {
            let mut changed = shared.gossip.servers_changed();
            loop {
                changed.mark_unchanged();
                self.take(&members::servers(&shared));
                if changed.changed().await.is_err() {
                    return;
                }
            }
        };
        tokio::join!(self.router.run(nodes), members);
    }
}

impl Routed {
    /// Asks those servers that take part in gossip, from now on.
    pub fn take(&self, known: &[ServerMember]) {
        let remember = servers::oldest_format(known) >= u32::from(servers::ONCE);
        self.remember.store(remember, Ordering::Relaxed);
        // One whose name no certificate can have is not asked in the clear instead.
        let verifiable = self.tls.outgoing(&self.datacenter).is_ok();
        // One that is saying goodbye still answers.
        let asked = |s: &&ServerMember| {
            verifiable && matches!(s.standing, Standing::Alive | Standing::Leaving)
        };
        let known: Vec<&ServerMember> = known.iter().filter(asked).collect();
        let servers: Vec<Server> = known
            .iter()
            .map(|s| Server {
                name: s.name.to_string(),
                addr: s.rpc,
            })
            .collect();
        let before = self.router.servers();
        for server in servers.iter().filter(|s| !before.contains(s)) {
            tracing::info!(target: "agent.client", server = %server.name, address = %server.addr, "adding server");
        }
        for server in before.iter().filter(|s| !servers.contains(s)) {
            tracing::info!(target: "agent.client", server = %server.name, address = %server.addr, "removing server");
            self.router.pool().forget(server.addr);
        }
        self.router.set_servers(servers);
        let oldest = known.iter().filter_map(|s| version(&s.build)).min();
        *self.oldest.lock().unwrap_or_else(PoisonError::into_inner) = oldest;
    }
}

/// Major and minor of `d.d.d`.
fn version(build: &str) -> Option<(u32, u32)> {
    let mut parts = build.split('.').map(str::parse);
    Some((parts.next()?.ok()?, parts.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::servers::OWN_TAG;
    use std::collections::BTreeMap;
    use std::net::SocketAddr;

    fn server(n: u8, build: &str, standing: Standing) -> ServerMember {
        let tags: BTreeMap<String, String> = [
            ("role", "consul"),
            ("port", "8300"),
            ("vsn", "2"),
            ("build", build),
            ("dc", "dc1"),
            (OWN_TAG, "1"),
        ]
        .into_iter()
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .collect();
        let at = SocketAddr::from(([10, 0, 0, n], 8301));
        ServerMember::of(&format!("s{n}"), at, &tags, standing).unwrap()
    }

    #[tokio::test]
    async fn servers_are_asked_while_they_take_part() {
        let tls = Arc::new(PortTls::new(lictor_rpc::PortTlsSettings::default()).unwrap());
        let hold = Duration::from_secs(7);
        let routed = Routed::new(RouterSettings::default(), hold, None, tls);
        assert_eq!(routed.oldest(), None);
        routed.take(&[
            server(1, "1.21.0:x", Standing::Alive),
            server(2, "1.6.9:x", Standing::Leaving),
            server(3, "1.4.4:x", Standing::Failed),
            server(4, "1.4.4:x", Standing::Left),
        ]);
        let mut names: Vec<String> = routed
            .router
            .servers()
            .into_iter()
            .map(|s| s.name)
            .collect();
        names.sort();
        assert_eq!(names, ["s1", "s2"]);
        assert_eq!(routed.oldest(), Some((1, 6)));
        // They speak the first format.
        assert!(!routed.remember());
        let mut newer = server(1, "1.21.0:x", Standing::Alive);
        newer.format = Some(servers::FORMAT);
        routed.take(&[newer.clone(), server(4, "1.4.4:x", Standing::Left)]);
        assert!(routed.remember());
        // One that may come back does not know them.
        routed.take(&[newer, server(3, "1.4.4:x", Standing::Failed)]);
        assert!(!routed.remember());
        routed.take(&[]);
        assert!(!routed.remember());
        let none = routed
            .call("Status.Ping", vec![0x80], Kind::Read, Duration::ZERO)
            .await;
        assert_eq!(none, Err(WriteError::NoServers));
    }
}
