//! The agent's side of the DNS interface: its settings, and the state it answers from.

use crate::agent::Shared;
use crate::query::{Freshness, Query, ReadOptions, What};
use crate::store::WriteError;
use async_trait::async_trait;
use lictor_config::{Config, RecursorStrategy};
use lictor_dns::{Found, Lookup, Responder, SettingsError, Source, SourceError};
use lictor_raft::Consistency;
use lictor_state::View;
use lictor_wire::Str;
use std::sync::{Arc, Weak};
use std::time::Duration;

fn settings(config: &Config) -> lictor_dns::Settings {
    let d = &config.dns;
    lictor_dns::Settings {
        datacenter: config.datacenter.clone(),
        domain: d.domain.clone(),
        alt_domain: d.alt_domain.clone(),
        node_ttl: d.node_ttl.to_std(),
        service_ttl: d
            .service_ttl
            .iter()
            .map(|(name, ttl)| (name.clone(), ttl.to_std()))
            .collect(),
        only_passing: d.only_passing,
        enable_truncate: d.enable_truncate,
        udp_answer_limit: usize::try_from(d.udp_answer_limit).unwrap_or(0),
        a_record_limit: usize::try_from(d.a_record_limit).unwrap_or(0),
        disable_compression: d.disable_compression,
        enable_additional_node_meta_txt: d.enable_additional_node_meta_txt,
        recursors: d.recursors.clone(),
        recursor_timeout: d.recursor_timeout.to_std(),
        recursor_strategy: match d.recursor_strategy {
            RecursorStrategy::Sequential => lictor_dns::RecursorStrategy::Sequential,
            RecursorStrategy::Random => lictor_dns::RecursorStrategy::Random,
        },
        soa: lictor_dns::Soa {
            expire: d.soa.expire,
            min_ttl: d.soa.min_ttl,
            refresh: d.soa.refresh,
            retry: d.soa.retry,
        },
        allow_stale: d.allow_stale,
        max_stale: d.max_stale.to_std(),
        translate_wan_addrs: config.translate_wan_addrs,
    }
}

/// The state that DNS answers from.
struct State(Weak<Shared>);

impl State {
    fn shared(&self) -> Result<Arc<Shared>, SourceError> {
        let gone = || SourceError::Unavailable("the agent is ending".into());
        self.0.upgrade().ok_or_else(gone)
    }
}

#[async_trait]
impl Source for State {
    fn view(&self) -> Option<Arc<View>> {
        let shared = self.0.upgrade()?;
        // The view of a client agent is empty.
        shared
            .store
            .upstream()
            .is_none()
            .then(|| shared.store.view())
    }

    fn staleness(&self) -> Duration {
        let heard = |shared: Arc<Shared>| shared.store.contact().last_contact_ms;
        Duration::from_millis(self.0.upgrade().map_or(0, heard))
    }

    async fn consistent_view(&self) -> Result<Option<Arc<View>>, SourceError> {
        let shared = self.shared()?;
        if shared.store.upstream().is_some() {
            return Ok(None);
        }
        shared
            .store
            .ready_for(Consistency::Default)
            .await
            .map_err(failed)?;
        Ok(Some(shared.store.view()))
    }

    async fn find(&self, lookup: Lookup) -> Result<Found, SourceError> {
        let shared = self.shared()?;
        let store = match &lookup.datacenter {
            None => shared.store.clone(),
            Some(dc) => shared.store.at(dc).ok_or(SourceError::UnknownDatacenter)?,
        };
        let read = async |what: What| {
            let query = Query {
                datacenter: lookup.datacenter.clone().unwrap_or_default(),
                ..Query::from(what)
            };
            let options = options(&shared, lookup.allow_stale);
            let answered = store.read(&query, &options).await;
            answered.map(|a| a.view).map_err(failed)
        };
        Ok(match lookup.what.clone() {
            lictor_dns::What::Service { name, mesh } => {
                let what = What::Health {
                    name: name.clone(),
                    mesh,
                };
                let view = read(what).await?;
                Found::Service(if mesh {
                    view.connect_health(&name)
                } else {
                    view.health(&name)
                })
            }
            lictor_dns::What::Node { name } => {
                let view = read(What::Node { name: name.clone() }).await?;
                Found::Node(view.node(&name).cloned())
            }
            lictor_dns::What::Address { ip } => {
                let has = |text: &str| text.parse() == Ok(ip);
                let view = read(What::Nodes).await?;
                let node = view.nodes().find(|n| has(&n.address));
                let node = node.map(|n| n.node.clone());
                let service = if node.is_some() {
                    None
                } else {
                    let address = Str::from(ip.to_string());
                    let view = read(What::InstancesAt { address }).await?;
                    let mut all = view.all_instances();
                    all.find(|r| has(&r.service.address))
                        .map(|r| r.service.service.clone())
                };
                Found::Address { node, service }
            }
            // There are no prepared queries.
            lictor_dns::What::Query { .. } => Found::Query(None),
        })
    }
}

/// How DNS reads from servers.
fn options(shared: &Shared, allow_stale: bool) -> ReadOptions {
    let config = shared.config();
    let dns = &config.dns;
    let freshness = if allow_stale {
        Freshness::Stale
    } else {
        Freshness::Default
    };
    ReadOptions {
        max_stale: dns.max_stale.to_std(),
        cached: dns.use_cache,
        max_age: Some(dns.cache_max_age.to_std()).filter(|age| !age.is_zero()),
        ..ReadOptions::now(freshness)
    }
}

fn failed(error: WriteError) -> SourceError {
    match error {
        WriteError::NoLeader => SourceError::NoLeader,
        WriteError::Remote(text) if text.contains("No path to datacenter") => {
            SourceError::UnknownDatacenter
        }
        WriteError::Remote(text) if text.contains("No cluster leader") => SourceError::NoLeader,
        other => SourceError::Unavailable(other.to_string()),
    }
}

/// What answers the questions of all DNS listeners.
pub fn responder(config: &Config, shared: &Arc<Shared>) -> Result<Arc<Responder>, SettingsError> {
    Responder::new(settings(config), Arc::new(State(Arc::downgrade(shared))))
}

/// Takes over another configuration. One that cannot be is logged, and the old one stays.
pub fn reload(responder: &Responder, config: &Config) {
    if let Err(error) = responder.reload(settings(config)) {
        tracing::error!(target: "agent.dns", error = %error, "the DNS settings cannot be used, the old ones stay");
    }
}
