//! What the body of a transaction may say: Consul's API types, strict and by Go's rules.

use super::HttpError;
use super::base64::Base64;
use lictor_wire::gojson::{self, Mode};
use lictor_wire::{ServiceAddresses, Str, StrMap};
use serde::Deserialize;
use serde_json::{Map, Value};

/// The operations as given, by Go's rules for JSON and in its words.
pub(super) fn decode(body: &[u8]) -> Result<Vec<Given>, HttpError> {
    let failed = |text: String| HttpError::bad_request(format!("Failed to parse body: {text}"));
    if let Some(text) = gojson::syntax_error(body) {
        return Err(failed(text));
    }
    // As in Go, text that is not UTF-8 is mended, and only the first value counts.
    let body = String::from_utf8_lossy(body);
    let kind = match serde_json::Deserializer::from_str(&body)
        .into_iter::<Value>()
        .next()
    {
        Some(Ok(Value::Array(items))) => {
            let items = items.iter().map(|item| match item {
                Value::Null => Ok(Given::default()),
                item => gojson::decode_value(item, Mode::Strict, "api.TxnOp").map_err(failed),
            });
            return items.collect();
        }
        None | Some(Ok(Value::Null)) => return Ok(Vec::new()),
        Some(Err(error)) => return Err(failed(error.to_string())),
        Some(Ok(Value::Bool(_))) => "bool",
        Some(Ok(Value::Number(_))) => "number",
        Some(Ok(Value::String(_))) => "string",
        Some(Ok(Value::Object(_))) => "object",
    };
    Err(failed(format!(
        "json: cannot unmarshal {kind} into Go value of type api.TxnOps"
    )))
}

/// One operation of the body: the first part that is there counts.
#[derive(Debug, Default, Deserialize)]
#[serde(
    default,
    deny_unknown_fields,
    rename = "api.TxnOp",
    rename_all = "PascalCase"
)]
pub(super) struct Given {
    #[serde(rename = "KV")]
    pub(super) kv: Option<GivenKv>,
    pub(super) node: Option<GivenNode>,
    pub(super) service: Option<GivenService>,
    pub(super) check: Option<GivenCheck>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(
    default,
    deny_unknown_fields,
    rename = "api.KVTxnOp",
    rename_all = "PascalCase"
)]
pub(super) struct GivenKv {
    pub(super) verb: Str,
    pub(super) key: Str,
    pub(super) value: Base64,
    pub(super) flags: u64,
    pub(super) index: u64,
    pub(super) session: Str,
    #[serde(rename = "Namespace")]
    _namespace: Str,
    #[serde(rename = "Partition")]
    _partition: Str,
}

#[derive(Debug, Default, Deserialize)]
#[serde(
    default,
    deny_unknown_fields,
    rename = "api.NodeTxnOp",
    rename_all = "PascalCase"
)]
pub(super) struct GivenNode {
    pub(super) verb: Str,
    pub(super) node: NodeRow,
}

#[derive(Debug, Default, Deserialize)]
#[serde(
    default,
    deny_unknown_fields,
    rename = "api.Node",
    rename_all = "PascalCase"
)]
pub(super) struct NodeRow {
    #[serde(rename = "ID")]
    pub(super) id: Str,
    pub(super) node: Str,
    pub(super) address: Str,
    pub(super) datacenter: Str,
    pub(super) tagged_addresses: Option<StrMap>,
    pub(super) meta: Option<StrMap>,
    #[serde(rename = "CreateIndex")]
    _create_index: u64,
    pub(super) modify_index: u64,
    #[serde(rename = "Partition")]
    _partition: Str,
    #[serde(rename = "PeerName")]
    _peer_name: Str,
    #[serde(rename = "Locality")]
    _locality: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(
    default,
    deny_unknown_fields,
    rename = "api.ServiceTxnOp",
    rename_all = "PascalCase"
)]
pub(super) struct GivenService {
    pub(super) verb: Str,
    pub(super) node: Str,
    pub(super) service: ServiceRow,
}

/// What a service row may say. Consul reads all of it and keeps a part.
#[derive(Debug, Default, Deserialize)]
#[serde(
    default,
    deny_unknown_fields,
    rename = "api.AgentService",
    rename_all = "PascalCase"
)]
pub(super) struct ServiceRow {
    pub(super) kind: Str,
    #[serde(rename = "ID")]
    pub(super) id: Str,
    pub(super) service: Str,
    pub(super) tags: Vec<Str>,
    pub(super) meta: Option<StrMap>,
    pub(super) port: i64,
    pub(super) address: Str,
    #[serde(rename = "SocketPath")]
    _socket_path: Str,
    pub(super) tagged_addresses: ServiceAddresses,
    pub(super) weights: GivenWeights,
    pub(super) enable_tag_override: bool,
    #[serde(rename = "CreateIndex")]
    _create_index: u64,
    pub(super) modify_index: u64,
    #[serde(rename = "ContentHash")]
    _content_hash: Str,
    pub(super) proxy: Option<Value>,
    #[serde(rename = "Connect")]
    _connect: Option<Value>,
    #[serde(rename = "PeerName")]
    _peer_name: Str,
    #[serde(rename = "Namespace")]
    _namespace: Str,
    #[serde(rename = "Partition")]
    _partition: Str,
    #[serde(rename = "Datacenter")]
    _datacenter: Str,
    #[serde(rename = "Locality")]
    _locality: Option<Value>,
}

/// Weights of which one alone leaves the other zero.
#[derive(Debug, Default, Deserialize)]
#[serde(
    default,
    deny_unknown_fields,
    rename = "api.AgentWeights",
    rename_all = "PascalCase"
)]
pub(super) struct GivenWeights {
    pub(super) passing: i64,
    pub(super) warning: i64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(
    default,
    deny_unknown_fields,
    rename = "api.CheckTxnOp",
    rename_all = "PascalCase"
)]
pub(super) struct GivenCheck {
    pub(super) verb: Str,
    pub(super) check: CheckRow,
}

#[derive(Debug, Default, Deserialize)]
#[serde(
    default,
    deny_unknown_fields,
    rename = "api.HealthCheck",
    rename_all = "PascalCase"
)]
pub(super) struct CheckRow {
    pub(super) node: Str,
    #[serde(rename = "CheckID")]
    pub(super) check_id: Str,
    pub(super) name: Str,
    pub(super) status: Str,
    pub(super) notes: Str,
    pub(super) output: Str,
    #[serde(rename = "ServiceID")]
    pub(super) service_id: Str,
    #[serde(rename = "ServiceName")]
    _service_name: Str,
    #[serde(rename = "ServiceTags")]
    _service_tags: Vec<Str>,
    #[serde(rename = "Type")]
    pub(super) kind: Str,
    #[serde(rename = "Namespace")]
    _namespace: Str,
    #[serde(rename = "Partition")]
    _partition: Str,
    pub(super) exposed_port: i64,
    #[serde(rename = "PeerName")]
    _peer_name: Str,
    pub(super) definition: Option<Map<String, Value>>,
    #[serde(rename = "CreateIndex")]
    _create_index: u64,
    pub(super) modify_index: u64,
}
