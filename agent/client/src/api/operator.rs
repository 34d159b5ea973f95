//! `/v1/operator`.

use crate::client::{Client, Request};
use crate::error::Error;
use http::Method;
use serde::Deserialize;
use std::collections::BTreeMap;

/// What is done to the keys of gossip encryption.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyAction {
    /// Add one to open with.
    Install,
    /// Make an installed one the primary.
    Use,
    /// Remove one that is not the primary.
    Remove,
}

/// The keys of one gossip pool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct KeyringAnswer {
    /// Whether it is the WAN pool.
    #[serde(rename = "WAN")]
    pub wan: bool,
    /// The datacenter.
    pub datacenter: String,
    /// What members said.
    pub messages: Option<BTreeMap<String, String>>,
    /// Keys, base64, and how many members have each.
    pub keys: BTreeMap<String, usize>,
    /// Primary keys, base64, and how many members use each.
    pub primary_keys: BTreeMap<String, usize>,
    /// Members that were asked.
    pub num_nodes: usize,
}

fn request(method: Method, relay_factor: u8) -> Request {
    let request = Request::new(method, "/v1/operator/keyring");
    if relay_factor == 0 {
        return request;
    }
    request.param("relay-factor", relay_factor.to_string())
}

impl Client {
    /// The keys of the gossip pools. With `local_only` those of the agent's LAN pool, without asking
    /// other members.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn keyring(
        &self,
        relay_factor: u8,
        local_only: bool,
    ) -> Result<Vec<KeyringAnswer>, Error> {
        let mut request = request(Method::GET, relay_factor);
        if local_only {
            request = request.param("local-only", "true");
        }
        self.read(request).await.map(|(v, _)| v)
    }

    /// Changes the keys of the gossip pools, on all members.
    ///
    /// # Errors
    /// As [`Client::tell`].
    pub async fn change_keyring(
        &self,
        action: KeyAction,
        key: &str,
        relay_factor: u8,
    ) -> Result<(), Error> {
        let method = match action {
            KeyAction::Install => Method::POST,
            KeyAction::Use => Method::PUT,
            KeyAction::Remove => Method::DELETE,
        };
        let body = serde_json::json!({"Key": key});
        self.tell(request(method, relay_factor).json(&body)).await
    }
}
