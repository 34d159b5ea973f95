//! A connection to a daemon, with errors that say what to do.

use bollard::Docker;
use bollard::errors::Error;
use bollard::models::EventMessage;
use bollard::query_parameters::{EventsOptionsBuilder, ListContainersOptionsBuilder};
use futures_util::Stream;
use lictor_container::Container;
use std::collections::{BTreeMap, HashMap};
use std::error::Error as _;
use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

/// Where the daemon is unless something says otherwise.
const DEFAULT_HOST: &str = "unix:///var/run/docker.sock";

/// How long an answer may take. Inspecting takes milliseconds; a daemon under load, seconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where the daemon is: `DOCKER_HOST`, else its usual socket.
pub fn host_from_env() -> String {
    std::env::var("DOCKER_HOST")
        .ok()
        .filter(|host| !host.is_empty())
        .unwrap_or_else(|| DEFAULT_HOST.to_owned())
}

/// Why the daemon did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DaemonError {
    /// It was not reached, or not within its time. The text says how to mend it where that is
    /// known.
    Away(String),
    /// There is no such thing.
    Missing(String),
    /// It refused: status and text.
    Refused(u16, String),
}

impl fmt::Display for DaemonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DaemonError::Away(text) | DaemonError::Missing(text) => f.write_str(text),
            DaemonError::Refused(status, text) => {
                write!(f, "the Docker daemon answered {status}: {text}")
            }
        }
    }
}

/// A daemon.
#[derive(Clone)]
pub struct Daemon {
    docker: Docker,
    host: String,
}

/// What a daemon says of itself.
#[derive(Clone, Debug, Default)]
pub struct About {
    /// The name of its host.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its clock; RFC 3339.
    pub time: String,
}

impl Daemon {
    /// A client of the daemon at `host` (`unix://`, `tcp://`, `https://`; with `tcp://`, the
    /// variables `DOCKER_TLS_VERIFY` and `DOCKER_CERT_PATH` ask for TLS). Nothing is sent yet.
    pub fn at(host: &str) -> Result<Daemon, DaemonError> {
        let docker = Docker::connect_with_host(host).map_err(|e| away(host, &e))?;
        Ok(Daemon {
            docker,
            host: host.to_owned(),
        })
    }

    /// Where it is.
    pub fn host(&self) -> &str {
        &self.host
    }

    pub(crate) fn client(&self) -> &Docker {
        &self.docker
    }

    /// Waits for an answer, and explains its failure.
    pub(crate) async fn ask<T>(
        &self,
        what: &str,
        answer: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, DaemonError> {
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(self.explain(what, &error)),
            Err(_) => Err(DaemonError::Away(format!(
                "the Docker daemon at {} did not answer within {} s",
                self.host,
                PATIENCE.as_secs()
            ))),
        }
    }

    /// What an error means, with `what` was called (`POST /containers/{id}/exec`).
    pub(crate) fn explain(&self, what: &str, error: &Error) -> DaemonError {
        match error {
            Error::DockerResponseServerError {
                status_code,
                message,
            } => match status_code {
                404 => DaemonError::Missing(message.trim().to_owned()),
                // What socket proxies say to calls that they do not let through.
                401 | 403 | 405 => DaemonError::Refused(
                    *status_code,
                    format!("{what} is not allowed at {}: {}", self.host, message.trim()),
                ),
                status => DaemonError::Refused(*status, message.trim().to_owned()),
            },
            other => away(&self.host, other),
        }
    }

    /// What it says of itself.
    pub async fn about(&self) -> Result<About, DaemonError> {
        let info = self.ask("GET /info", self.docker.info()).await?;
        Ok(About {
            name: info.name.unwrap_or_default(),
            version: info.server_version.unwrap_or_default(),
            time: info.system_time.unwrap_or_default(),
        })
    }

    /// Whether it answers.
    pub async fn ping(&self) -> Result<(), DaemonError> {
        self.ask("GET /_ping", self.docker.ping()).await.map(drop)
    }

    /// The ids of all containers, running or not.
    pub async fn list(&self) -> Result<Vec<String>, DaemonError> {
        let options = ListContainersOptionsBuilder::default().all(true).build();
        let all = self
            .ask(
                "GET /containers/json",
                self.docker.list_containers(Some(options)),
            )
            .await?;
        Ok(all.into_iter().filter_map(|c| c.id).collect())
    }

    /// A container as it is now; `None` if it is gone.
    pub async fn inspect(&self, id: &str) -> Result<Option<Container>, DaemonError> {
        let answer = self.docker.inspect_container(id, None);
        match self.ask("GET /containers/{id}/json", answer).await {
            Ok(found) => {
                let shape = |e: serde_json::Error| {
                    DaemonError::Refused(200, format!("container {id}: {e}"))
                };
                let value = serde_json::to_value(found).map_err(shape)?;
                serde_json::from_value(value).map(Some).map_err(shape)
            }
            Err(DaemonError::Missing(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The drivers of the networks, by id.
    pub async fn drivers(&self) -> Result<BTreeMap<String, String>, DaemonError> {
        let all = self
            .ask("GET /networks", self.docker.list_networks(None))
            .await?;
        Ok(all
            .into_iter()
            .filter_map(|n| Some((n.id?, n.driver.unwrap_or_default())))
            .collect())
    }

    /// What happens to containers from `since` on. The daemon remembers its last 256 events only,
    /// and filters after it has forgotten.
    pub(crate) fn events(
        &self,
        since: &str,
    ) -> impl Stream<Item = Result<EventMessage, Error>> + use<> {
        let filters: HashMap<&str, Vec<&str>> = HashMap::from([
            ("type", vec!["container", "network"]),
            ("event", EVENTS.to_vec()),
        ]);
        let options = EventsOptionsBuilder::default()
            .since(since)
            .filters(&filters)
            .build();
        self.docker.events(Some(options))
    }
}

/// What to be told of. Without a filter every run of every HEALTHCHECK would be three events.
const EVENTS: [&str; 15] = [
    "create",
    "start",
    "restart",
    "kill",
    "die",
    "stop",
    "oom",
    "pause",
    "unpause",
    "rename",
    "update",
    "destroy",
    "health_status",
    "connect",
    "disconnect",
];

/// The daemon was not reached: why, and what to do about it.
fn away(host: &str, error: &Error) -> DaemonError {
    let mut text = error.to_string();
    let mut source = error.source();
    let mut denied = false;
    while let Some(inner) = source {
        if let Some(io) = inner.downcast_ref::<std::io::Error>() {
            denied |= io.kind() == std::io::ErrorKind::PermissionDenied;
        }
        let more = inner.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        source = inner.source();
    }
    let path = host.strip_prefix("unix://");
    let hint = match path {
        // Docker makes one where it is to mount something that is not there.
        Some(path) if std::fs::metadata(path).is_ok_and(|m| m.is_dir()) => format!(
            "; {path} is a folder: the host has no socket of the name that was to be mounted there"
        ),
        Some(path) if denied || text.contains("ermission denied") => group_hint(path),
        Some(_) if matches!(error, Error::SocketNotFoundError(_)) => {
            "; is Docker running, and its socket mounted into this container?".to_owned()
        }
        _ => String::new(),
    };
    DaemonError::Away(format!(
        "the Docker daemon at {host} is not reached: {text}{hint}"
    ))
}

/// Which group to take for a socket that may not be opened.
fn group_hint(path: &str) -> String {
    let Ok(meta) = std::fs::metadata(path) else {
        return String::new();
    };
    let groups = std::fs::read_to_string("/etc/group").unwrap_or_default();
    let name = group_name(&groups, meta.gid());
    let shown = name.map_or_else(
        || meta.gid().to_string(),
        |n| format!("{} ({n})", meta.gid()),
    );
    format!(
        "; the socket belongs to group {shown}: run the agent with that group, in a container by --group-add {}",
        meta.gid()
    )
}

fn group_name(groups: &str, gid: u32) -> Option<&str> {
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(gid)).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_daemon_that_is_not_there_is_away_with_advice() {
        let error = match Daemon::at("unix:///no/such/docker.sock") {
            Ok(daemon) => daemon.ping().await.unwrap_err(),
            Err(error) => error,
        };
        let text = error.to_string();
        assert!(
            text.contains("/no/such/docker.sock") && text.contains("is Docker running"),
            "{text}"
        );
        let daemon = Daemon::at("tcp://127.0.0.1:1").unwrap();
        let error = daemon.ping().await.unwrap_err();
        assert!(
            matches!(&error, DaemonError::Away(t) if t.contains("127.0.0.1:1")),
            "{error}"
        );
        assert!(Daemon::at("carrier-pigeon://x").is_err());
    }

    #[tokio::test]
    async fn a_folder_in_the_place_of_the_socket_is_named() {
        let error = match Daemon::at("unix:///tmp") {
            Ok(daemon) => daemon.ping().await.unwrap_err(),
            Err(error) => error,
        };
        assert!(error.to_string().contains("/tmp is a folder"), "{error}");
    }

    #[test]
    fn groups_have_names() {
        let groups = "root:x:0:\ndocker:x:998:me\nbroken";
        assert_eq!(group_name(groups, 998), Some("docker"));
        assert_eq!(group_name(groups, 1), None);
    }
}
