//! `/v1/status`: who leads.

use super::{Call, HttpError, Reply, read};
use crate::agent::Shared;
use std::sync::Arc;

/// `GET /v1/status/leader`
pub async fn leader(shared: &Arc<Shared>, call: &mut Call) -> Result<Reply, HttpError> {
    let store = read::store(shared, call)?;
    Ok(Reply::json(shared, call, &store.leader().await?))
}

/// `GET /v1/status/peers`
pub async fn peers(shared: &Arc<Shared>, call: &mut Call) -> Result<Reply, HttpError> {
    let store = read::store(shared, call)?;
    Ok(Reply::json(shared, call, &store.peers().await?))
}
