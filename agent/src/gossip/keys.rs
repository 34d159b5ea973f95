//! Encryption keys of whole pools: listed, installed, used, removed.

use super::driver::Pool;
use super::join::list;
use crate::agent::Shared;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
pub use lictor_gossip::serf::KeyOperation;
use lictor_gossip::serf::KeyResult;
use serde::Serialize;
use std::collections::BTreeMap;

/// What one pool answered, as the API shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct KeyringAnswer {
    /// Whether it is the WAN pool.
    #[serde(rename = "WAN")]
    pub wan: bool,
    /// The datacenter.
    pub datacenter: String,
    /// Enterprise only: empty.
    pub segment: String,
    /// What members said.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub messages: BTreeMap<String, String>,
    /// Keys, and how many members have each.
    pub keys: BTreeMap<String, usize>,
    /// Primary keys, and how many members use each.
    pub primary_keys: BTreeMap<String, usize>,
    /// Members that were asked.
    pub num_nodes: usize,
    /// What went wrong; empty if nothing did.
    #[serde(skip)]
    pub error: String,
}

/// Does something to the keys of the pools that this agent is in: the WAN first. `key` is base64,
/// or empty for a list. With `local_only` other members are not asked.
pub async fn operate(
    shared: &Shared,
    operation: KeyOperation,
    key: &str,
    relay_factor: u8,
    local_only: bool,
) -> Vec<KeyringAnswer> {
    let mut answers = Vec::new();
    if let Some(wan) = shared.gossip.wan().filter(|_| !local_only) {
        answers.push(one(shared, wan, true, operation, key, relay_factor).await);
    }
    let lan = shared.gossip.lan();
    if local_only {
        answers.push(own(shared, lan).await);
    } else {
        answers.push(one(shared, lan, false, operation, key, relay_factor).await);
    }
    answers
}

/// The errors of all pools as one text, if there are any.
pub fn errors(answers: &[KeyringAnswer]) -> Option<String> {
    let mut errors = Vec::new();
    for answer in answers.iter().filter(|a| !a.error.is_empty()) {
        let pool = if answer.wan {
            "WAN".to_owned()
        } else {
            format!("{} (LAN)", answer.datacenter)
        };
        errors.push(format!("{pool} error: {}", answer.error));
        for (node, message) in &answer.messages {
            errors.push(format!("{node}: {message}"));
        }
    }
    (!errors.is_empty()).then(|| list(&errors))
}

fn empty(shared: &Shared, wan: bool) -> KeyringAnswer {
    KeyringAnswer {
        wan,
        datacenter: shared.datacenter.to_string(),
        ..KeyringAnswer::default()
    }
}

/// The keys of this agent alone.
async fn own(shared: &Shared, pool: &Pool) -> KeyringAnswer {
    let keys = pool.with(|core, _| core.keys().map(|key| STANDARD.encode(key)).collect());
    let keys: Vec<String> = keys.await.unwrap_or_default();
    KeyringAnswer {
        primary_keys: keys
            .first()
            .map(|key| (key.clone(), 1))
            .into_iter()
            .collect(),
        error: if keys.is_empty() {
            "Keyring is empty (encryption not enabled)".to_owned()
        } else {
            String::new()
        },
        keys: keys.into_iter().map(|key| (key, 1)).collect(),
        num_nodes: 1,
        ..empty(shared, false)
    }
}

async fn one(
    shared: &Shared,
    pool: &Pool,
    wan: bool,
    operation: KeyOperation,
    key: &str,
    relay_factor: u8,
) -> KeyringAnswer {
    let failed = |error: String| KeyringAnswer {
        error,
        ..empty(shared, wan)
    };
    let key = match decode(key) {
        Ok(key) => key,
        Err(error) => return failed(error),
    };
    match pool.keys(operation, key, relay_factor).await {
        Ok(result) => answer(empty(shared, wan), result),
        Err(error) => failed(error.to_string()),
    }
}

fn answer(empty: KeyringAnswer, result: KeyResult) -> KeyringAnswer {
    let KeyResult {
        nodes,
        responses,
        errors,
        messages,
        keys,
        primary_keys,
        ..
    } = result;
    let error = if errors > 0 {
        format!("{errors}/{nodes} nodes reported failure")
    } else if responses != nodes {
        format!("{responses}/{nodes} nodes reported success")
    } else {
        String::new()
    };
    let messages = messages.into_iter();
    KeyringAnswer {
        messages: messages
            .map(|(node, text)| (node.to_string(), text))
            .collect(),
        keys,
        primary_keys,
        num_nodes: nodes,
        error,
        ..empty
    }
}

/// Reads base64, with Go's words for what is none.
fn decode(text: &str) -> Result<Vec<u8>, String> {
    STANDARD.decode(text).map_err(|error| {
        let at = match error {
            base64::DecodeError::InvalidByte(at, _)
            | base64::DecodeError::InvalidLastSymbol(at, _) => at,
            // Go stops where the last group of four begins.
            _ => text.len() / 4 * 4,
        };
        format!("illegal base64 data at input byte {at}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_listed_pool_by_pool() {
        let fault = |wan, node: &str| KeyringAnswer {
            wan,
            datacenter: "dc1".into(),
            error: "1/1 nodes reported failure".into(),
            messages: [(node.to_owned(), "Keyring is empty".to_owned())].into(),
            ..KeyringAnswer::default()
        };
        let text = errors(&[fault(true, "n.dc1"), fault(false, "n")]).unwrap();
        assert_eq!(
            text,
            "4 errors occurred:\n\t* WAN error: 1/1 nodes reported failure\n\t* n.dc1: Keyring is empty\n\t* dc1 (LAN) error: 1/1 nodes reported failure\n\t* n: Keyring is empty\n\n"
        );
        assert_eq!(errors(&[KeyringAnswer::default()]), None);
        assert_eq!(
            decode("%bc"),
            Err("illegal base64 data at input byte 0".into())
        );
    }
}
