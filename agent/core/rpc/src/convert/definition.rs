//! What external monitors should run: JSON in rows, with durations as text; a struct in messages.

use super::proxy::{Fields, Object};
use crate::message::CheckDefinition;
use lictor_wire::GoDuration;
use serde_json::Value;
use std::collections::BTreeMap;

/// A duration of the JSON form: text, or a number of nanoseconds.
fn nanos(v: &Fields<'_>, name: &str) -> i64 {
    let given = match v.get(name) {
        // Go's clients write the parsed form beside the text.
        None => v.get(&format!("{name}Duration")),
        given => given,
    };
    match given {
        Some(Value::String(text)) => GoDuration::parse(text).map_or(0, |d| d.0),
        Some(number) => number.as_i64().unwrap_or_default(),
        None => 0,
    }
}

impl From<&Value> for CheckDefinition {
    fn from(value: &Value) -> CheckDefinition {
        let v = Fields::of(value);
        let header: Option<BTreeMap<String, Vec<String>>> =
            v.get("Header").and_then(Value::as_object).map(|map| {
                map.iter()
                    .map(|(name, values)| {
                        let values = values.as_array().into_iter().flatten();
                        let texts = values.filter_map(|v| v.as_str().map(str::to_owned));
                        (name.clone(), texts.collect())
                    })
                    .collect()
            });
        CheckDefinition {
            http: v.text("HTTP"),
            tls_server_name: v.text("TLSServerName"),
            tls_skip_verify: v.truth("TLSSkipVerify"),
            header,
            method: v.text("Method"),
            body: v.text("Body"),
            disable_redirects: v.truth("DisableRedirects"),
            tcp: v.text("TCP"),
            tcp_use_tls: v.truth("TCPUseTLS"),
            udp: v.text("UDP"),
            h2ping: v.text("H2PING"),
            os_service: v.text("OSService"),
            h2ping_use_tls: v.truth("H2PingUseTLS"),
            interval: nanos(&v, "Interval"),
            output_max_size: u64::try_from(v.number("OutputMaxSize")).unwrap_or_default(),
            timeout: nanos(&v, "Timeout"),
            deregister_critical_service_after: nanos(&v, "DeregisterCriticalServiceAfter"),
            script_args: v.texts("ScriptArgs"),
            docker_container_id: v.text("DockerContainerID"),
            shell: v.text("Shell"),
            grpc: v.text("GRPC"),
            grpc_use_tls: v.truth("GRPCUseTLS"),
            alias_node: v.text("AliasNode"),
            alias_service: v.text("AliasService"),
            ttl: nanos(&v, "TTL"),
        }
    }
}

impl CheckDefinition {
    /// The definition as rows keep it: the JSON of the HTTP API. Nothing where nothing was said.
    pub fn to_json(&self) -> Option<Box<Value>> {
        let mut out = Object::default();
        let span = |out: &mut Object, name: &str, nanos: i64| {
            if nanos != 0 {
                out.put(name, GoDuration(nanos).to_string());
            }
        };
        span(&mut out, "Interval", self.interval);
        let size = i64::try_from(self.output_max_size).unwrap_or(i64::MAX);
        out.number("OutputMaxSize", size);
        span(&mut out, "Timeout", self.timeout);
        span(
            &mut out,
            "DeregisterCriticalServiceAfter",
            self.deregister_critical_service_after,
        );
        out.text("HTTP", &self.http);
        out.text("TLSServerName", &self.tls_server_name);
        out.truth("TLSSkipVerify", self.tls_skip_verify);
        if let Some(header) = self.header.as_ref().filter(|h| !h.is_empty()) {
            let map: serde_json::Map<String, Value> = header
                .iter()
                .map(|(name, values)| (name.clone(), Value::from(values.clone())))
                .collect();
            out.put("Header", map);
        }
        out.text("Method", &self.method);
        out.text("Body", &self.body);
        out.truth("DisableRedirects", self.disable_redirects);
        out.text("TCP", &self.tcp);
        out.truth("TCPUseTLS", self.tcp_use_tls);
        out.text("UDP", &self.udp);
        out.text("H2PING", &self.h2ping);
        out.text("OSService", &self.os_service);
        out.truth("H2PingUseTLS", self.h2ping_use_tls);
        out.texts("ScriptArgs", &self.script_args);
        out.text("DockerContainerID", &self.docker_container_id);
        out.text("Shell", &self.shell);
        out.text("GRPC", &self.grpc);
        out.truth("GRPCUseTLS", self.grpc_use_tls);
        out.text("AliasNode", &self.alias_node);
        out.text("AliasService", &self.alias_service);
        span(&mut out, "TTL", self.ttl);
        out.into_value()
    }
}
