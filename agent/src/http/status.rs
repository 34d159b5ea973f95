//! `/v1/status`: who leads.

use super::{Call, HttpError, Reply, read};
use crate::agent::Shared;
use std::sync::Arc;

/// `GET /v1/status/leader`
pub async fn leader(shared: &Arc<Shared>, call: &mut Call) -> Result<Reply, HttpError> {
    read::own_datacenter(shared, call)?;
    let address = shared
        .store
        .consensus()
        .and_then(lictor_raft::Consensus::leader)
        .map(|l| l.address)
        .unwrap_or_default();
    Ok(Reply::json(shared, call, &address))
}

/// `GET /v1/status/peers`
pub async fn peers(shared: &Arc<Shared>, call: &mut Call) -> Result<Reply, HttpError> {
    read::own_datacenter(shared, call)?;
    let peers: Vec<String> = match shared.store.consensus() {
        Some(consensus) => consensus
            .status()
            .voters
            .into_iter()
            .map(|p| p.info.address)
            .collect(),
        None => Vec::new(),
    };
    Ok(Reply::json(shared, call, &peers))
}
