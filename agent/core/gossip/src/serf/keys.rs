//! Changing the keys of a whole pool by queries.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::message::{KeyRequest, KeyResponse, kind};
use super::query::{Purpose, Query, QueryError, QueryId, QueryParams};
use super::{Effect, Serf};
use crate::event::Event;
use crate::keyring::{Keyring, KeyringError};
use crate::msgpack::{self, Bytes};
use crate::time::Time;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// What is done to the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyOperation {
    /// Add one to open with.
    Install,
    /// Make an installed one the primary.
    Use,
    /// Remove one that is not the primary.
    Remove,
    /// List all.
    List,
}

impl KeyOperation {
    /// The query's name.
    const fn query(self) -> &'static str {
        match self {
            Self::Install => "_serf_install-key",
            Self::Use => "_serf_use-key",
            Self::Remove => "_serf_remove-key",
            Self::List => "_serf_list-keys",
        }
    }
}

/// What the pool answered to an operation on its keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyResult {
    /// Which one, as returned when it began.
    pub id: u64,
    /// What was done.
    pub operation: KeyOperation,
    /// Members that were asked.
    pub nodes: usize,
    /// Members that answered.
    pub responses: usize,
    /// Members that answered with an error.
    pub errors: usize,
    /// What members said, errors above all.
    pub messages: BTreeMap<Arc<str>, String>,
    /// Keys, base64, and how many members have each.
    pub keys: BTreeMap<String, usize>,
    /// Primary keys, base64, and how many members use each.
    pub primary_keys: BTreeMap<String, usize>,
}

/// Answers, counted.
#[derive(Debug)]
pub(super) struct Tally {
    pub result: KeyResult,
}

impl Tally {
    /// Counts an answer: true if it is the last one.
    pub(super) fn count(&mut self, from: &Arc<str>, payload: &[u8]) -> bool {
        let result = &mut self.result;
        result.responses += 1;
        let response = match payload.split_first() {
            Some((&kind::KEY_RESPONSE, body)) => msgpack::decode::<KeyResponse>(body).ok(),
            _ => None,
        };
        match response {
            Some(response) => {
                result.errors += usize::from(!response.result);
                if !response.message.is_empty() {
                    result.messages.insert(from.clone(), response.message);
                }
                for key in response.keys {
                    *result.keys.entry(key).or_default() += 1;
                }
                if !response.primary_key.is_empty() {
                    *result.primary_keys.entry(response.primary_key).or_default() += 1;
                }
            }
            None => {
                result.errors += 1;
                result
                    .messages
                    .insert(from.clone(), "invalid key query response type".to_owned());
            }
        }
        result.responses >= result.nodes
    }
}

impl Serf {
    /// Does something to the keys of all members.
    pub(crate) fn key_operation(
        &mut self,
        now: Time,
        operation: KeyOperation,
        key: &[u8],
        relay_factor: u8,
        nodes: usize,
    ) -> Result<QueryId, QueryError> {
        let payload = msgpack::tagged(
            kind::KEY_REQUEST,
            &KeyRequest {
                key: Bytes(key.to_vec()),
            },
        );
        let params = QueryParams {
            relay_factor,
            ..QueryParams::default()
        };
        let result = KeyResult {
            id: 0,
            operation,
            nodes,
            responses: 0,
            errors: 0,
            messages: BTreeMap::new(),
            keys: BTreeMap::new(),
            primary_keys: BTreeMap::new(),
        };
        let id = self.ask(
            now,
            operation.query(),
            &payload,
            &params,
            Purpose::Keys(Tally { result }),
        )?;
        if let Some(Purpose::Keys(tally)) = self
            .pending
            .get_mut(&id)
            .map(|pending| &mut pending.purpose)
        {
            tally.result.id = u64::from(id.id);
        }
        Ok(id)
    }

    /// Somebody wants something done to our keys.
    pub(super) fn key_query(&mut self, query: Query, operation: KeyOperation) {
        let request = match query.payload.split_first() {
            Some((&kind::KEY_REQUEST, body)) => {
                msgpack::decode::<KeyRequest>(body).unwrap_or_default()
            }
            _ => KeyRequest::default(),
        };
        self.effects.push_back(Effect::Keys {
            query,
            operation,
            key: request.key.0,
        });
    }

    /// Does it, and answers.
    pub(crate) fn change_keys(
        &mut self,
        now: Time,
        ring: &mut Keyring,
        query: &Query,
        operation: KeyOperation,
        key: &[u8],
    ) {
        let mut response = KeyResponse {
            result: true,
            ..KeyResponse::default()
        };
        if ring.is_enabled() {
            let changed = match operation {
                KeyOperation::Install => ring.install(key),
                KeyOperation::Use => ring.use_key(key),
                KeyOperation::Remove => ring.remove(key),
                KeyOperation::List => Ok(()),
            };
            match changed {
                Err(error) => response = failed(error),
                Ok(()) if operation == KeyOperation::List => {
                    return self.list_keys(now, ring, query);
                }
                Ok(()) => {
                    let keys = ring.keys().map(|key| key.bytes().to_vec()).collect();
                    self.emit(Event::KeyringChanged(keys));
                }
            }
        } else {
            response.result = false;
            response.message = if operation == KeyOperation::List {
                "Keyring is empty (encryption not enabled)".to_owned()
            } else {
                "No keyring to modify (encryption not enabled)".to_owned()
            };
        }
        let _ = self.respond(now, query, &msgpack::tagged(kind::KEY_RESPONSE, &response));
    }

    /// Answers with all keys, or with as many as fit.
    fn list_keys(&mut self, now: Time, ring: &Keyring, query: &Query) {
        let all: Vec<String> = ring
            .keys()
            .map(|key| STANDARD.encode(key.bytes()))
            .collect();
        let mut response = KeyResponse {
            primary_key: all.first().cloned().unwrap_or_default(),
            keys: all.clone(),
            result: true,
            ..KeyResponse::default()
        };
        loop {
            let payload = msgpack::tagged(kind::KEY_RESPONSE, &response);
            if self.response_fits(query, &payload) || response.keys.is_empty() {
                let _ = self.respond(now, query, &payload);
                return;
            }
            response.keys.pop();
            response.message = format!(
                "truncated key list response, showing first {} of {} keys",
                response.keys.len(),
                all.len()
            );
        }
    }
}

fn failed(error: KeyringError) -> KeyResponse {
    KeyResponse {
        message: error.to_string(),
        ..KeyResponse::default()
    }
}
