//! The settings of mesh proxies: JSON in rows, as the HTTP API shows it; structs in messages.

use crate::message::{
    AccessLogs, ConnectProxyConfig, EnvoyExtension, Expose, ExposePath, MeshGateway,
    TransparentProxy, Upstream,
};
use lictor_wire::Str;
use serde_json::{Map, Value};

/// Reads the fields of an object by their names, without regard to case, as Go does. A field of
/// another kind than expected counts as absent.
pub(super) struct Fields<'a>(Option<&'a Map<String, Value>>);

impl<'a> Fields<'a> {
    pub(super) fn of(value: &'a Value) -> Fields<'a> {
        Fields(value.as_object())
    }

    pub(super) fn get(&self, name: &str) -> Option<&'a Value> {
        let map = self.0?;
        map.get(name).or_else(|| {
            map.iter()
                .find_map(|(key, value)| key.eq_ignore_ascii_case(name).then_some(value))
        })
    }

    pub(super) fn text(&self, name: &str) -> Str {
        self.get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .into()
    }

    pub(super) fn number(&self, name: &str) -> i64 {
        self.get(name).and_then(Value::as_i64).unwrap_or_default()
    }

    pub(super) fn truth(&self, name: &str) -> bool {
        self.get(name).and_then(Value::as_bool).unwrap_or_default()
    }

    pub(super) fn list(&self, name: &str) -> &'a [Value] {
        self.get(name)
            .and_then(Value::as_array)
            .map_or(&[], Vec::as_slice)
    }

    pub(super) fn texts<T: for<'t> From<&'t str>>(&self, name: &str) -> Vec<T> {
        let list = self.list(name).iter();
        list.filter_map(|v| v.as_str().map(T::from)).collect()
    }

    fn part(&self, name: &str) -> Fields<'a> {
        Fields(self.get(name).and_then(Value::as_object))
    }

    fn map(&self, name: &str) -> Option<Map<String, Value>> {
        self.get(name)?.as_object().cloned()
    }
}

/// Builds an object from the fields that say something.
#[derive(Default)]
pub(super) struct Object(Map<String, Value>);

impl Object {
    pub(super) fn put(&mut self, name: &str, value: impl Into<Value>) {
        self.0.insert(name.to_owned(), value.into());
    }

    pub(super) fn text(&mut self, name: &str, text: &str) {
        if !text.is_empty() {
            self.put(name, text);
        }
    }

    pub(super) fn number(&mut self, name: &str, number: i64) {
        if number != 0 {
            self.put(name, number);
        }
    }

    pub(super) fn truth(&mut self, name: &str, truth: bool) {
        if truth {
            self.put(name, true);
        }
    }

    pub(super) fn list(&mut self, name: &str, list: Vec<Value>) {
        if !list.is_empty() {
            self.put(name, list);
        }
    }

    pub(super) fn texts<T: AsRef<str>>(&mut self, name: &str, list: &[T]) {
        self.list(name, list.iter().map(|t| t.as_ref().into()).collect());
    }

    fn part(&mut self, name: &str, part: Object) {
        if !part.0.is_empty() {
            self.put(name, part.0);
        }
    }

    fn map(&mut self, name: &str, map: &Option<Map<String, Value>>) {
        if let Some(map) = map.as_ref().filter(|m| !m.is_empty()) {
            self.put(name, map.clone());
        }
    }

    pub(super) fn into_value(self) -> Option<Box<Value>> {
        (!self.0.is_empty()).then(|| Box::new(Value::Object(self.0)))
    }
}

impl From<&Value> for ConnectProxyConfig {
    fn from(value: &Value) -> ConnectProxyConfig {
        let v = Fields::of(value);
        let (expose, transparent, logs) = (
            v.part("Expose"),
            v.part("TransparentProxy"),
            v.part("AccessLogs"),
        );
        ConnectProxyConfig {
            envoy_extensions: v.list("EnvoyExtensions").iter().map(extension).collect(),
            destination_service_name: v.text("DestinationServiceName"),
            destination_service_id: v.text("DestinationServiceID"),
            local_service_address: v.text("LocalServiceAddress"),
            local_service_port: v.number("LocalServicePort"),
            local_service_socket_path: v.text("LocalServiceSocketPath"),
            mode: v.text("Mode"),
            config: v.map("Config"),
            upstreams: v.list("Upstreams").iter().map(upstream).collect(),
            mesh_gateway: gateway(&v),
            expose: Expose {
                checks: expose.truth("Checks"),
                paths: expose.list("Paths").iter().map(path).collect(),
            },
            transparent_proxy: TransparentProxy {
                outbound_listener_port: transparent.number("OutboundListenerPort"),
                dialed_directly: transparent.truth("DialedDirectly"),
            },
            mutual_tls_mode: v.text("MutualTLSMode"),
            access_logs: AccessLogs {
                enabled: logs.truth("Enabled"),
                disable_listener_logs: logs.truth("DisableListenerLogs"),
                kind: logs.text("Type"),
                path: logs.text("Path"),
                json_format: logs.text("JSONFormat"),
                text_format: logs.text("TextFormat"),
            },
        }
    }
}

fn gateway(v: &Fields<'_>) -> MeshGateway {
    MeshGateway {
        mode: v.part("MeshGateway").text("Mode"),
    }
}

fn extension(value: &Value) -> EnvoyExtension {
    let v = Fields::of(value);
    EnvoyExtension {
        name: v.text("Name"),
        required: v.truth("Required"),
        arguments: v.map("Arguments"),
        consul_version: v.text("ConsulVersion"),
        envoy_version: v.text("EnvoyVersion"),
    }
}

fn upstream(value: &Value) -> Upstream {
    let v = Fields::of(value);
    Upstream {
        destination_type: v.text("DestinationType"),
        destination_namespace: v.text("DestinationNamespace"),
        destination_partition: v.text("DestinationPartition"),
        destination_peer: v.text("DestinationPeer"),
        destination_name: v.text("DestinationName"),
        datacenter: v.text("Datacenter"),
        local_bind_address: v.text("LocalBindAddress"),
        local_bind_port: v.number("LocalBindPort"),
        local_bind_socket_path: v.text("LocalBindSocketPath"),
        local_bind_socket_mode: v.text("LocalBindSocketMode"),
        config: v.map("Config"),
        mesh_gateway: gateway(&v),
        ingress_hosts: v.texts("IngressHosts"),
        centrally_configured: v.truth("CentrallyConfigured"),
    }
}

fn path(value: &Value) -> ExposePath {
    let v = Fields::of(value);
    ExposePath {
        listener_port: v.number("ListenerPort"),
        path: v.text("Path"),
        local_path_port: v.number("LocalPathPort"),
        protocol: v.text("Protocol"),
        parsed_from_check: v.truth("ParsedFromCheck"),
    }
}

impl ConnectProxyConfig {
    /// The settings as rows keep them: the JSON of the HTTP API, in its order of fields. Nothing
    /// where nothing was said.
    pub fn to_json(&self) -> Option<Box<Value>> {
        if *self == ConnectProxyConfig::default() {
            return None;
        }
        let mut out = Object::default();
        let extensions = self.envoy_extensions.iter().map(extension_json).collect();
        out.list("EnvoyExtensions", extensions);
        out.text("DestinationServiceName", &self.destination_service_name);
        out.text("DestinationServiceID", &self.destination_service_id);
        out.text("LocalServiceAddress", &self.local_service_address);
        out.number("LocalServicePort", self.local_service_port);
        out.text("LocalServiceSocketPath", &self.local_service_socket_path);
        out.put("Mode", self.mode.as_str());
        out.map("Config", &self.config);
        out.list(
            "Upstreams",
            self.upstreams.iter().map(upstream_json).collect(),
        );
        out.put("MeshGateway", gateway_json(&self.mesh_gateway));
        out.put("Expose", expose_json(&self.expose));
        let mut transparent = Object::default();
        transparent.number(
            "OutboundListenerPort",
            self.transparent_proxy.outbound_listener_port,
        );
        transparent.truth("DialedDirectly", self.transparent_proxy.dialed_directly);
        out.part("TransparentProxy", transparent);
        out.text("MutualTLSMode", &self.mutual_tls_mode);
        let logs = &self.access_logs;
        let mut access = Object::default();
        access.truth("Enabled", logs.enabled);
        access.truth("DisableListenerLogs", logs.disable_listener_logs);
        access.text("Type", &logs.kind);
        access.text("Path", &logs.path);
        access.text("JSONFormat", &logs.json_format);
        access.text("TextFormat", &logs.text_format);
        out.part("AccessLogs", access);
        out.into_value()
    }
}

fn gateway_json(gateway: &MeshGateway) -> Value {
    let mut out = Object::default();
    out.text("Mode", &gateway.mode);
    Value::Object(out.0)
}

fn extension_json(e: &EnvoyExtension) -> Value {
    let mut out = Object::default();
    out.put("Name", e.name.as_str());
    out.put("Required", e.required);
    out.put("Arguments", e.arguments.clone());
    out.put("ConsulVersion", e.consul_version.as_str());
    out.put("EnvoyVersion", e.envoy_version.as_str());
    Value::Object(out.0)
}

fn upstream_json(u: &Upstream) -> Value {
    let mut out = Object::default();
    let kind = match u.destination_type.as_str() {
        "" => "service",
        kind => kind,
    };
    out.put("DestinationType", kind);
    out.text("DestinationNamespace", &u.destination_namespace);
    out.text("DestinationPartition", &u.destination_partition);
    out.text("DestinationPeer", &u.destination_peer);
    out.text("DestinationName", &u.destination_name);
    out.put("Datacenter", u.datacenter.as_str());
    out.text("LocalBindAddress", &u.local_bind_address);
    out.number("LocalBindPort", u.local_bind_port);
    out.text("LocalBindSocketPath", &u.local_bind_socket_path);
    out.text("LocalBindSocketMode", &u.local_bind_socket_mode);
    out.map("Config", &u.config);
    out.put("MeshGateway", gateway_json(&u.mesh_gateway));
    out.texts("IngressHosts", &u.ingress_hosts);
    out.truth("CentrallyConfigured", u.centrally_configured);
    Value::Object(out.0)
}

fn expose_json(expose: &Expose) -> Value {
    let mut out = Object::default();
    out.truth("Checks", expose.checks);
    let paths = expose.paths.iter().map(|path| {
        let mut out = Object::default();
        out.number("ListenerPort", path.listener_port);
        out.text("Path", &path.path);
        out.number("LocalPathPort", path.local_path_port);
        out.text("Protocol", &path.protocol);
        out.truth("ParsedFromCheck", path.parsed_from_check);
        Value::Object(out.0)
    });
    out.list("Paths", paths.collect());
    Value::Object(out.0)
}
