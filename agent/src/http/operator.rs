//! `/v1/operator`: what concerns the cluster itself.

use super::{Call, HttpError, Reply, catalog};
use crate::agent::Shared;
use crate::gossip::keys::{self, KeyOperation};
use http::Method;
use std::sync::Arc;

/// Answers to a query of keys are carried by so many other members at most.
const RELAYS_MAX: i64 = 5;

/// The body of a change.
#[derive(Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "PascalCase")]
struct KeyringRequest {
    key: String,
    token: String,
}

/// `/v1/operator/keyring`: lists, installs, uses or removes a key of the gossip pools.
pub async fn keyring(shared: &Arc<Shared>, call: &mut Call) -> Result<Reply, HttpError> {
    let operation = match call.head.method {
        Method::POST => KeyOperation::Install,
        Method::PUT => KeyOperation::Use,
        Method::DELETE => KeyOperation::Remove,
        _ => KeyOperation::List,
    };
    let mut key = String::new();
    if operation != KeyOperation::List {
        let body = call.document().await?;
        let request: KeyringRequest = catalog::decode(&body, "agent.keyringArgs")?;
        key = request.key;
    }
    let relay_factor = relay_factor(call.params.get("relay-factor"))
        .map_err(|e| HttpError::bad_request(format!("Error parsing relay factor: {e}")))?;
    let local_only = local_only(call.params.get("local-only"))
        .map_err(|e| HttpError::bad_request(format!("Error parsing local-only: {e}")))?;
    if local_only && operation != KeyOperation::List {
        return Err(HttpError::bad_request(
            "Error validating local-only: local-only can only be set for list requests",
        ));
    }
    let answers = match shared.store.upstream() {
        // Servers are in both pools.
        Some(upstream) => {
            let asked = upstream.keyring(operation, &key, relay_factor, local_only);
            asked.await?
        }
        None => keys::operate(shared, operation, &key, relay_factor, local_only).await,
    };
    if let Some(errors) = keys::errors(&answers) {
        return Err(HttpError::internal(errors));
    }
    Ok(match operation {
        KeyOperation::List => Reply::json(shared, call, &answers),
        _ => Reply::empty(),
    })
}

fn relay_factor(text: &str) -> Result<u8, String> {
    if text.is_empty() {
        return Ok(0);
    }
    let number: i64 = text.parse().map_err(|_| {
        format!(
            "strconv.Atoi: parsing {}: invalid syntax",
            lictor_wire::duration::go_quote(text)
        )
    })?;
    if !(0..=RELAYS_MAX).contains(&number) {
        return Err(format!("Relay factor must be in range: [0, {RELAYS_MAX}]"));
    }
    Ok(u8::try_from(number).unwrap_or(0))
}

/// A boolean as Go reads it.
fn local_only(text: &str) -> Result<bool, String> {
    match text {
        "" | "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        other => Err(format!(
            "strconv.ParseBool: parsing {}: invalid syntax",
            lictor_wire::duration::go_quote(other)
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read_as_go_reads_them() {
        assert_eq!((relay_factor(""), relay_factor("5")), (Ok(0), Ok(5)));
        assert_eq!(
            relay_factor("6"),
            Err("Relay factor must be in range: [0, 5]".into())
        );
        assert_eq!(
            relay_factor("x"),
            Err("strconv.Atoi: parsing \"x\": invalid syntax".into())
        );
        assert_eq!((local_only("t"), local_only("0")), (Ok(true), Ok(false)));
        assert!(local_only("yes").is_err());
    }
}
