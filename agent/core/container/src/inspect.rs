//! A container as `GET /containers/{id}/json` describes it: the fields that matter here. Whatever
//! is missing or null is empty, since versions of the daemon differ.

use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::collections::BTreeMap;

fn nullable<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// The keys of an object, or the texts of a list: the daemon writes exposed ports as the former.
fn keys<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::Object(map) => map.into_iter().map(|(key, _)| key).collect(),
        Value::Array(list) => list
            .into_iter()
            .filter_map(|v| v.as_str().map(str::to_owned))
            .collect(),
        _ => Vec::new(),
    })
}

/// A container.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Container {
    /// 64 hex digits.
    #[serde(deserialize_with = "nullable")]
    pub id: String,
    /// Its name, with a slash in front.
    #[serde(deserialize_with = "nullable")]
    pub name: String,
    /// Whether it runs.
    #[serde(deserialize_with = "nullable")]
    pub state: State,
    /// What it was made of.
    #[serde(deserialize_with = "nullable")]
    pub config: ContainerConfig,
    /// How it sits on its host.
    #[serde(deserialize_with = "nullable")]
    pub host_config: HostConfig,
    /// Its addresses and published ports.
    #[serde(deserialize_with = "nullable")]
    pub network_settings: NetworkSettings,
}

impl Container {
    /// The name without its slash.
    pub fn short_name(&self) -> &str {
        self.name.strip_prefix('/').unwrap_or(&self.name)
    }

    /// Whether its process runs, paused or not.
    pub fn is_up(&self) -> bool {
        self.state.running && !self.state.restarting && !self.state.dead
    }

    /// One run of it: the id alone does not tell a restarted container from what it was.
    pub fn run(&self) -> (&str, &str) {
        (&self.id, &self.state.started_at)
    }
}

/// Whether a container runs and how it ended.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
#[allow(clippy::struct_excessive_bools)] // as the daemon has it
pub struct State {
    /// created, running, paused, restarting, removing, exited or dead.
    #[serde(deserialize_with = "nullable")]
    pub status: String,
    /// Its process exists.
    #[serde(deserialize_with = "nullable")]
    pub running: bool,
    /// Its processes are frozen.
    #[serde(deserialize_with = "nullable")]
    pub paused: bool,
    /// It waits for its next start.
    #[serde(deserialize_with = "nullable")]
    pub restarting: bool,
    /// It could not be removed whole.
    #[serde(deserialize_with = "nullable")]
    pub dead: bool,
    /// The kernel ended it for want of memory.
    #[serde(rename = "OOMKilled", deserialize_with = "nullable")]
    pub oom_killed: bool,
    /// Its first process, in the daemon's namespace.
    #[serde(deserialize_with = "nullable")]
    pub pid: i64,
    /// How it ended.
    #[serde(deserialize_with = "nullable")]
    pub exit_code: i64,
    /// Why it did not start.
    #[serde(deserialize_with = "nullable")]
    pub error: String,
    /// RFC 3339.
    #[serde(deserialize_with = "nullable")]
    pub started_at: String,
    /// RFC 3339.
    #[serde(deserialize_with = "nullable")]
    pub finished_at: String,
    /// Its HEALTHCHECK, if it has one.
    pub health: Option<Health>,
}

/// The state of a HEALTHCHECK.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Health {
    /// starting, healthy, unhealthy; none without a check.
    #[serde(deserialize_with = "nullable")]
    pub status: String,
    /// Failures in a row.
    #[serde(deserialize_with = "nullable")]
    pub failing_streak: i64,
    /// The last five runs.
    #[serde(deserialize_with = "nullable")]
    pub log: Vec<HealthRun>,
}

/// One run of a HEALTHCHECK.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct HealthRun {
    /// 0 is healthy.
    #[serde(deserialize_with = "nullable")]
    pub exit_code: i64,
    /// What it printed.
    #[serde(deserialize_with = "nullable")]
    pub output: String,
}

/// What a container was made of.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ContainerConfig {
    /// The image as it was named.
    #[serde(deserialize_with = "nullable")]
    pub image: String,
    /// `NAME=value`
    #[serde(deserialize_with = "nullable")]
    pub env: Vec<String>,
    /// Labels of image and container.
    #[serde(deserialize_with = "nullable")]
    pub labels: BTreeMap<String, String>,
    /// `80/tcp`: of the image and of the command line.
    #[serde(deserialize_with = "keys")]
    pub exposed_ports: Vec<String>,
    /// The signal that means stop; SIGTERM when empty.
    #[serde(deserialize_with = "nullable")]
    pub stop_signal: String,
    /// Seconds between that signal and the kill, if the image or the command line says.
    pub stop_timeout: Option<i64>,
}

/// How a container sits on its host.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct HostConfig {
    /// default, bridge, host, none, `container:<id>`, or the name of a network.
    #[serde(deserialize_with = "nullable")]
    pub network_mode: String,
}

/// Addresses and published ports.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct NetworkSettings {
    /// Where a port of the container is published; null where it is only exposed.
    #[serde(deserialize_with = "nullable")]
    pub ports: BTreeMap<String, Option<Vec<Binding>>>,
    /// Address on the default bridge; empty everywhere else.
    #[serde(rename = "IPAddress", deserialize_with = "nullable")]
    pub ip_address: String,
    /// The networks it is on, by name.
    #[serde(deserialize_with = "nullable")]
    pub networks: BTreeMap<String, Network>,
}

/// A published port.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Binding {
    /// Address on the host; 0.0.0.0 and :: are all of them.
    #[serde(deserialize_with = "nullable")]
    pub host_ip: String,
    /// Port on the host.
    #[serde(deserialize_with = "nullable")]
    pub host_port: String,
}

/// A container on a network.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Network {
    /// The network's id.
    #[serde(rename = "NetworkID", deserialize_with = "nullable")]
    pub network_id: String,
    /// The container's IPv4 address there.
    #[serde(rename = "IPAddress", deserialize_with = "nullable")]
    pub ip_address: String,
    /// Its IPv6 address there.
    #[serde(rename = "GlobalIPv6Address", deserialize_with = "nullable")]
    pub ipv6_address: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_daemon_leaves_out_or_writes_as_null_is_empty() {
        let text = r#"{"Id":"ab","Name":"/web","State":{"Status":"running","Running":true,"Health":null},
            "Config":{"Image":"a/web:1","Env":null,"Labels":null,"ExposedPorts":{"80/tcp":{}}},
            "HostConfig":{"NetworkMode":"default"},
            "NetworkSettings":{"Ports":{"80/tcp":null,"81/udp":[{"HostIp":"::","HostPort":"7"}]},"Networks":null},"More":1}"#;
        let c: Container = serde_json::from_str(text).unwrap();
        assert_eq!((c.short_name(), c.is_up()), ("web", true));
        assert_eq!(c.config.exposed_ports, ["80/tcp"]);
        assert_eq!(c.network_settings.ports["80/tcp"], None);
        assert_eq!(
            c.network_settings.ports["81/udp"].as_ref().unwrap()[0].host_port,
            "7"
        );
        assert_eq!(
            serde_json::from_str::<Container>("{}").unwrap(),
            Container::default()
        );
    }
}
