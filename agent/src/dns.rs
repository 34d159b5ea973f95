//! The agent's side of the DNS interface: its settings, and the state it answers from.

use crate::agent::Shared;
use async_trait::async_trait;
use lictor_config::{Config, RecursorStrategy};
use lictor_dns::{Responder, SettingsError, Source, SourceError};
use lictor_raft::Consistency;
use lictor_state::View;
use std::sync::{Arc, Weak};

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

#[async_trait]
impl Source for State {
    fn view(&self) -> Option<Arc<View>> {
        self.0.upgrade().map(|shared| shared.store.view())
    }

    async fn consistent_view(&self) -> Result<Option<Arc<View>>, SourceError> {
        let gone = || SourceError::Unavailable("the agent is ending".into());
        let shared = self.0.upgrade().ok_or_else(gone)?;
        shared
            .store
            .ready_for(Consistency::Default)
            .await
            .map_err(|e| SourceError::Unavailable(e.to_string()))?;
        Ok(Some(shared.store.view()))
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
