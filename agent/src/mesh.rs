//! The service mesh as far as registrations show it: proxies are stored and returned as given.

use lictor_wire::NodeService;
use serde_json::{Map, Value, json};

/// The kinds of proxies that stand for a service.
const CONNECT_PROXY: &str = "connect-proxy";

/// What is wrong with a proxy registration, in Consul's words.
pub fn proxy_faults(service: &NodeService) -> Vec<String> {
    let mut faults = Vec::new();
    if service.kind != CONNECT_PROXY {
        return faults;
    }
    if service.port == 0 && service.socket_path.is_empty() {
        faults.push("Port or SocketPath must be set for a connect-proxy".to_owned());
    }
    match service.proxy_destination() {
        None => faults.push(
            "Proxy.DestinationServiceName must be non-empty for Connect proxy services".to_owned(),
        ),
        Some(name) if name.trim().is_empty() => {
            faults.push(
                "Proxy.DestinationServiceName must be non-empty for Connect proxy services"
                    .to_owned(),
            );
        }
        Some("*") => faults.push(
            "Proxy.DestinationServiceName must not be a wildcard for Connect proxy services"
                .to_owned(),
        ),
        Some(_) => {}
    }
    faults
}

/// Several faults as Consul lists them.
pub fn fault_list(faults: &[String]) -> String {
    let plural = if faults.len() == 1 { "error" } else { "errors" };
    let mut out = format!("{} {plural} occurred:\n", faults.len());
    for fault in faults {
        out.push_str(&format!("\t* {fault}\n"));
    }
    out.push('\n');
    out
}

/// The order in which Consul prints a proxy's fields.
const PROXY_FIELDS: [&str; 12] = [
    "DestinationServiceName",
    "DestinationServiceID",
    "LocalServiceAddress",
    "LocalServicePort",
    "LocalServiceSocketPath",
    "Mode",
    "Config",
    "Upstreams",
    "MeshGateway",
    "Expose",
    "TransparentProxy",
    "AccessLogs",
];

/// A proxy block with its defaults filled in, fields in Consul's order and spelling. Unknown
/// fields are kept behind them.
pub fn normal_proxy(given: Value) -> Value {
    let Value::Object(given) = given else {
        return given;
    };
    let mut given: Vec<(String, Value)> = given.into_iter().map(|(k, v)| (camel(&k), v)).collect();
    let mut take = |name: &str| {
        let at = given
            .iter()
            .position(|(k, _)| k.eq_ignore_ascii_case(name))?;
        Some(given.remove(at).1)
    };
    let mut out = Map::new();
    for field in PROXY_FIELDS {
        let value = take(field);
        match (field, value) {
            ("Mode", value) => {
                out.insert(field.to_owned(), value.unwrap_or_else(|| json!("")));
            }
            ("MeshGateway" | "Expose", value) => {
                out.insert(field.to_owned(), value.unwrap_or_else(|| json!({})));
            }
            ("Upstreams", Some(Value::Array(all))) => {
                out.insert(
                    field.to_owned(),
                    Value::Array(all.into_iter().map(normal_upstream).collect()),
                );
            }
            (_, Some(Value::Null)) | (_, None) => {}
            (_, Some(value)) => {
                out.insert(field.to_owned(), value);
            }
        }
    }
    out.extend(given);
    Value::Object(out)
}

fn normal_upstream(given: Value) -> Value {
    let Value::Object(given) = given else {
        return given;
    };
    let mut out = Map::new();
    let mut rest: Vec<(String, Value)> = given.into_iter().map(|(k, v)| (camel(&k), v)).collect();
    let mut take = |name: &str| {
        let at = rest
            .iter()
            .position(|(k, _)| k.eq_ignore_ascii_case(name))?;
        Some(rest.remove(at).1)
    };
    out.insert(
        "DestinationType".into(),
        take("DestinationType")
            .filter(|v| v != "")
            .unwrap_or_else(|| json!("service")),
    );
    for field in [
        "DestinationNamespace",
        "DestinationPartition",
        "DestinationPeer",
        "DestinationName",
    ] {
        if let Some(value) = take(field) {
            out.insert(field.into(), value);
        }
    }
    out.insert(
        "Datacenter".into(),
        take("Datacenter").unwrap_or_else(|| json!("")),
    );
    for field in [
        "LocalBindAddress",
        "LocalBindPort",
        "LocalBindSocketPath",
        "LocalBindSocketMode",
        "Config",
    ] {
        if let Some(value) = take(field) {
            out.insert(field.into(), value);
        }
    }
    out.insert(
        "MeshGateway".into(),
        take("MeshGateway").unwrap_or_else(|| json!({})),
    );
    out.extend(rest);
    Value::Object(out)
}

/// `local_bind_port` as `LocalBindPort`: files and older clients write it so.
fn camel(key: &str) -> String {
    if !key.contains('_') && key.starts_with(|c: char| c.is_ascii_uppercase()) {
        return key.to_owned();
    }
    key.split('_')
        .map(|word| match word {
            "id" => "ID".to_owned(),
            word => {
                let mut letters = word.chars();
                letters.next().map_or_else(String::new, |first| {
                    first.to_ascii_uppercase().to_string() + letters.as_str()
                })
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_gets_its_defaults_and_keeps_what_was_said() {
        let given = json!({"upstreams": [{"destination_name": "db", "local_bind_port": 1234}], "destination_service_name": "web"});
        assert_eq!(
            normal_proxy(given).to_string(),
            r#"{"DestinationServiceName":"web","Mode":"","Upstreams":[{"DestinationType":"service","DestinationName":"db","Datacenter":"","LocalBindPort":1234,"MeshGateway":{}}],"MeshGateway":{},"Expose":{}}"#
        );
    }
}
