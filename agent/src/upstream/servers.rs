//! The servers that gossip knows, asked over Consul's RPC.

use super::{Kind, Servers};
use crate::agent::Shared;
use crate::members;
use crate::servers::Standing;
use crate::store::WriteError;
use bytes::Bytes;
use lictor_config::Config;
use lictor_rpc::{CallError, ClientLimits, Dial, Pool, RouteError, Router, RouterSettings, Server};
use std::sync::Arc;
use std::time::Duration;

/// The servers of the own datacenter. They are nobody until [`follow`] runs.
pub struct Routed {
    router: Arc<Router>,
    /// How long a call is tried again.
    hold: Duration,
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
    pub fn new(config: &Config) -> Routed {
        let pool = Arc::new(Pool::new(Dial::new(None), ClientLimits::default()));
        let random = Arc::new(crate::random::next);
        Routed {
            router: Arc::new(Router::new(pool, settings(config), random)),
            hold: config.performance.rpc_hold_timeout.to_std(),
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
        let kind = match kind {
            Kind::Write => lictor_rpc::Kind::Write,
            Kind::Read if wait.is_zero() => lictor_rpc::Kind::Read,
            Kind::Read => lictor_rpc::Kind::Blocking { max_wait: wait },
        };
        let called = self.router.call(method, &args, kind, self.hold).await;
        called.map_err(|error| match error {
            RouteError::NoServers => WriteError::NoServers,
            RouteError::RateLimited => WriteError::RateLimited,
            RouteError::Call(CallError::Remote(text)) => WriteError::Remote(text),
            RouteError::Call(other) => WriteError::Rpc(other.to_string()),
        })
    }

    fn configure(&self, config: &Config) {
        self.router.set(settings(config));
    }

    async fn follow(&self, shared: Arc<Shared>) {
        let nodes = || shared.gossip.lan_members().len();
        tokio::join!(self.router.run(nodes), follow(&shared, &self.router));
    }
}

/// Asks those servers that take part in gossip, for as long as they do.
async fn follow(shared: &Shared, router: &Router) {
    let mut changed = shared.gossip.servers_changed();
    loop {
        changed.mark_unchanged();
        let servers = members::servers(shared)
            .into_iter()
            // One that is saying goodbye still answers.
            .filter(|s| matches!(s.standing, Standing::Alive | Standing::Leaving))
            .map(|s| Server {
                name: s.name.to_string(),
                addr: s.rpc,
            });
        let servers: Vec<Server> = servers.collect();
        let before = router.servers();
        for server in servers.iter().filter(|s| !before.contains(s)) {
            tracing::info!(target: "agent.client", server = %server.name, address = %server.addr, "adding server");
        }
        for server in before.iter().filter(|s| !servers.contains(s)) {
            tracing::info!(target: "agent.client", server = %server.name, address = %server.addr, "removing server");
            router.pool().forget(server.addr);
        }
        router.set_servers(servers);
        if changed.changed().await.is_err() {
            return;
        }
    }
}
