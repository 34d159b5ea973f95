//! `/v1/lictor/docker`: containers and what is registered for them. Lictor's own.

use super::{Call, HttpError, Reply};
use crate::agent::Shared;
use serde_json::json;
use std::sync::Arc;

/// `GET /v1/lictor/docker/containers`
pub async fn containers(shared: &Arc<Shared>, call: &mut Call) -> Result<Reply, HttpError> {
    let Some(watcher) = shared.docker.watcher() else {
        return Err(HttpError::not_found(
            "Containers are not registered by this agent: docker.enabled is false",
        ));
    };
    let status = watcher.status();
    let answer = json!({
        "Daemon": {
            "Host": watcher.host(),
            "Connected": status.connected,
            "Version": status.version,
            "Error": status.error,
        },
        "Hostname": status.hostname,
        "HostAddress": watcher.host_address(),
        "HostAddressFrom": status.host_address,
        "Containers": watcher.report(),
    });
    Ok(Reply::json(shared, call, &answer))
}
