//! The other datacenters, as the WAN pool of a server knows them.

use super::servers::Routed;
use super::{Kind, Upstream};
use crate::agent::Shared;
use crate::servers::ServerMember;
use arc_swap::ArcSwap;
use lictor_config::Config;
use lictor_rpc::PortTls;
use lictor_rpc_wire::from_slice;
use lictor_wire::Str;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// How often another of a datacenter's servers comes first.
const REBALANCE: Duration = Duration::from_secs(150);

/// Methods that change something: they are sent again only where they surely did nothing.
const WRITES: &[&str] = &[
    "ACL.",
    "Catalog.Deregister",
    "Catalog.Register",
    "ConfigEntry.Apply",
    "ConfigEntry.Delete",
    "Internal.EventFire",
    "Internal.KeyringOperation",
    "KVS.Apply",
    "Operator.",
    "PreparedQuery.Apply",
    "Session.Apply",
    "Txn.Apply",
];

/// Ways to the servers of other datacenters.
pub struct Abroad {
    home: Str,
    config: ArcSwap<Config>,
    tls: Arc<PortTls>,
    all: Mutex<BTreeMap<Str, Known>>,
}

/// A datacenter of which the WAN pool has a server, in whatever standing.
#[derive(Clone)]
struct Known {
    upstream: Upstream,
    servers: Arc<Routed>,
}

/// What is read of arguments that are passed on.
#[derive(serde::Deserialize, Default)]
#[serde(default, rename_all = "PascalCase")]
struct Where {
    datacenter: String,
    min_query_index: u64,
    max_query_time: i64,
}

impl Abroad {
    /// Knows nobody until [`Abroad::follow`] runs.
    pub fn new(config: &Config, tls: Arc<PortTls>) -> Abroad {
        Abroad {
            home: config.datacenter.as_str().into(),
            config: ArcSwap::from_pointee(config.clone()),
            tls,
            all: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Str, Known>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self, datacenter: &str) -> Option<Known> {
        self.lock().get(datacenter).cloned()
    }

    /// Takes over another configuration.
    pub fn configure(&self, config: &Config) {
        self.config.store(Arc::new(config.clone()));
        for known in self.lock().values() {
            known.upstream.configure(config);
        }
    }

    /// The way to a datacenter; `None` where nobody knows one.
    pub fn at(&self, datacenter: &str) -> Option<Upstream> {
        self.known(datacenter).map(|known| known.upstream)
    }

    /// Passes a call on to the datacenter that its arguments name, as they came. `None` where
    /// nobody knows a way to it.
    pub async fn forward(&self, method: &str, args: &[u8]) -> Option<Result<Vec<u8>, String>> {
        let wanted: Where = from_slice(args).ok()?;
        let known = self.known(&wanted.datacenter)?;
        let (kind, wait) = match wanted.min_query_index {
            _ if WRITES.iter().any(|start| method.starts_with(start)) => {
                (Kind::Write, Duration::ZERO)
            }
            0 => (Kind::Read, Duration::ZERO),
            _ => {
                let nanos = u64::try_from(wanted.max_query_time).unwrap_or(0);
                // Zero is the servers' default.
                let wait = match nanos {
                    0 => Duration::from_secs(300),
                    nanos => Duration::from_nanos(nanos),
                };
                (Kind::Read, wait)
            }
        };
        let reply = known.servers.send(method, args, kind, wait).await;
        Some(reply.map(|bytes| bytes.to_vec()).map_err(|e| e.to_string()))
    }

    /// Follows what the WAN pool says, until the agent ends.
    pub async fn follow(&self, shared: Arc<Shared>) {
        let Some(wan) = shared.gossip.wan() else {
            return;
        };
        let mut changed = wan.published().servers_changed();
        let mut due = Instant::now() + REBALANCE;
        loop {
            changed.mark_unchanged();
            self.take(&wan.published().servers());
            tokio::select! {
                alive = changed.changed() => if alive.is_err() {
                    return;
                },
                () = sleep_until(due) => {
                    due = Instant::now() + REBALANCE;
                    let all: Vec<Known> = self.lock().values().cloned().collect();
                    for known in all {
                        known.servers.rebalance().await;
                    }
                }
            }
        }
    }

    fn take(&self, members: &[ServerMember]) {
        let mut by_datacenter: BTreeMap<&Str, Vec<ServerMember>> = BTreeMap::new();
        for member in members.iter().filter(|m| m.datacenter != self.home) {
            let servers = by_datacenter.entry(&member.datacenter).or_default();
            servers.push(member.clone());
        }
        let config = self.config.load();
        let mut all = self.lock();
        all.retain(|datacenter, _| by_datacenter.contains_key(datacenter));
        for (datacenter, servers) in by_datacenter {
            let known = all.entry(datacenter.clone()).or_insert_with(|| {
                let servers = Arc::new(Routed::abroad(&config, self.tls.clone(), datacenter));
                Known {
                    upstream: Upstream::new(servers.clone(), self.home.clone()).at(datacenter),
                    servers,
                }
            });
            known.servers.take(&servers);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::servers::{OWN_TAG, Standing};
    use lictor_rpc::PortTlsSettings;
    use lictor_rpc_wire::message::KvsRequest;
    use lictor_rpc_wire::to_vec;
    use std::net::SocketAddr;

    fn member(name: &str, dc: &str, standing: Standing) -> ServerMember {
        let tags = [
            ("role", "consul"),
            ("port", "1"),
            ("vsn", "2"),
            ("build", "1.21.0:x"),
            ("dc", dc),
            (OWN_TAG, "2"),
        ];
        let tags = tags.map(|(k, v)| (k.to_owned(), v.to_owned()));
        let at = SocketAddr::from(([127, 0, 0, 1], 8302));
        ServerMember::of(name, at, &tags.into_iter().collect(), standing).unwrap()
    }

    #[tokio::test]
    async fn a_datacenter_is_known_while_a_member_is() {
        let flags = lictor_config::Flags {
            dev: true,
            ..lictor_config::Flags::default()
        };
        let config = crate::load::Loader::new(flags).load().unwrap().config;
        let tls = Arc::new(PortTls::new(PortTlsSettings::default()).unwrap());
        let abroad = Abroad::new(&config, tls);
        let request = |dc: &str| {
            let request = KvsRequest {
                datacenter: dc.into(),
                ..KvsRequest::default()
            };
            to_vec(&request).unwrap()
        };
        abroad.take(&[
            member("a.dc1", "dc1", Standing::Alive),
            member("b.dc2", "dc2", Standing::Failed),
        ]);
        assert!(abroad.at("dc1").is_none(), "that is here");
        assert!(abroad.at("dc3").is_none());
        assert_eq!(abroad.forward("KVS.Apply", &request("dc3")).await, None);
        let reply = abroad.forward("KVS.Apply", &request("dc2")).await;
        assert_eq!(
            reply,
            Some(Err("Remote DC has no server currently reachable".to_owned()))
        );
        abroad.take(&[]);
        assert!(abroad.at("dc2").is_none());
        assert_eq!(abroad.forward("KVS.Apply", b"\xa1x").await, None);
    }
}
