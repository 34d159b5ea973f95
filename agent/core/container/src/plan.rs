//! From one container to its services.

use crate::check::check;
use crate::endpoint::{Endpoint, Kind, Site, candidates, endpoint, kind, namespace_owner};
use crate::facts::{Mode, Settings, Surroundings};
use crate::inspect::Container;
use crate::metadata::{Metadata, PortMetadata};
use crate::name::{PortKey, generated_id, image_base};
use lictor_wire::{ServiceAddress, ServiceRequest, Str, StrMap};
use std::collections::{BTreeMap, BTreeSet};

/// Most services of one container. A published range of ports would else be thousands.
pub const SERVICES_MAX: usize = 256;

/// Consul's limits of metadata.
const META_MAX: usize = 64;
const META_KEY_MAX: usize = 128;
const META_VALUE_MAX: usize = 512;

/// A service of a container.
#[derive(Clone, Debug, PartialEq)]
pub struct Registration {
    /// What is registered, its check included.
    pub request: ServiceRequest,
    /// Where it is reached.
    pub endpoint: Endpoint,
    /// The port inside the container.
    pub port: PortKey,
}

/// Why something of a container is not as it may have been meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The port it concerns; the whole container if there is none.
    pub port: Option<PortKey>,
    /// What is wrong.
    pub text: String,
}

/// What a container means for the catalog.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Its services.
    pub services: Vec<Registration>,
    /// What is wrong.
    pub problems: Vec<Problem>,
    /// Why it is left out on purpose.
    pub left_out: Option<&'static str>,
}

impl Plan {
    fn out(why: &'static str) -> Plan {
        Plan {
            left_out: Some(why),
            ..Plan::default()
        }
    }

    fn problem(&mut self, port: Option<&PortKey>, text: impl Into<String>) {
        self.problems.push(Problem {
            port: port.cloned(),
            text: text.into(),
        });
    }
}

/// Whether a container belongs to the machinery of ECS.
fn is_of_ecs(c: &Container) -> bool {
    let name = c.config.labels.get("com.amazonaws.ecs.container-name");
    name.is_some_and(|name| name == "~internal~ecs~pause")
        || matches!(
            image_base(&c.config.image),
            "amazon-ecs-pause" | "amazon-ecs-agent"
        )
}

/// What a running container means for the catalog. `all` are the daemon's containers by id: one
/// may share the network of another.
pub fn plan(
    container: &Container,
    settings: &Settings,
    around: &Surroundings,
    all: &BTreeMap<String, Container>,
) -> Plan {
    let c = container;
    if let Some(filter) = &settings.filter
        && !filter.keeps(&c.config.labels)
    {
        return Plan::out("it does not carry the label of docker.filter_label");
    }
    if is_of_ecs(c) {
        return Plan::out("it belongs to ECS itself");
    }
    let meta = Metadata::read(&c.config.env, &c.config.labels);
    if around.own_container.as_deref() == Some(c.id.as_str()) && !meta.names_something() {
        return Plan::out("it is the agent's own container");
    }
    if settings.mode == Mode::Explicit && !meta.names_something() {
        return Plan::out("it has no SERVICE_NAME, and docker.mode is explicit");
    }
    let site = Site {
        container: c,
        owner: namespace_owner(c, all),
        settings,
        around,
        network: meta.general("network"),
    };
    let mut out = Plan::default();
    let mut ports = candidates(&site);
    // What has a name of its own was meant to be found, published or not.
    for port in meta.ports() {
        let exposed = |p: &PortKey| u32::from(p.port) == port;
        if ports.iter().any(exposed) {
            continue;
        }
        let own = u16::try_from(port).map(|port| meta.of_port(port));
        if own.is_ok_and(|own| own.own_name && !own.ignored()) {
            let key = u16::try_from(port).ok().map(|port| PortKey {
                port,
                protocol: "tcp".to_owned(),
            });
            out.problem(
                key.as_ref(),
                format!("SERVICE_{port}_NAME is set, but the port is not published: publish it, or name a network with SERVICE_NETWORK"),
            );
        }
    }
    if ports.is_empty() {
        if meta.general("name").is_some() && out.problems.is_empty() {
            let text = if kind(c) == Kind::None {
                "SERVICE_NAME is set, but the container is on no network (mode none)"
            } else {
                "SERVICE_NAME is set, but no port is published: publish one, or name a network with SERVICE_NETWORK"
            };
            out.problem(None, text);
        } else if out.problems.is_empty() {
            out.left_out = Some("no port is published");
        }
        return out;
    }
    // The number of ports decides about the suffix before any is left out, as it did.
    let many = ports.len() > 1;
    if ports.len() > SERVICES_MAX {
        out.problem(
            None,
            format!(
                "it publishes {} ports; only the first {SERVICES_MAX} are registered",
                ports.len()
            ),
        );
        ports.truncate(SERVICES_MAX);
    }
    let mut ids = BTreeSet::new();
    for port in ports {
        let own = meta.of_port(port.port);
        if own.ignored() || (settings.mode == Mode::Explicit && own.get("name").is_none()) {
            continue;
        }
        let site = Site {
            network: own.get("network"),
            ..site
        };
        match endpoint(&site, &port) {
            Ok(at) => {
                let r = registration(c, settings, &own, &port, at, many, &mut ids, &mut out);
                out.services.push(r);
            }
            Err(why) => out.problem(Some(&port), format!("not registered: {why}")),
        }
    }
    out
}

#[allow(clippy::too_many_arguments)] // one step of `plan`, apart for its length
fn registration(
    c: &Container,
    settings: &Settings,
    meta: &PortMetadata,
    port: &PortKey,
    endpoint: Endpoint,
    many: bool,
    ids: &mut BTreeSet<String>,
    out: &mut Plan,
) -> Registration {
    let name = match meta.get("name") {
        Some(name) if meta.own_name || !many => name.to_owned(),
        given => format!(
            "{}{}",
            given.unwrap_or_else(|| image_base(&c.config.image)),
            if many {
                format!("-{}", port.port)
            } else {
                String::new()
            }
        ),
    };
    let generated = generated_id(&settings.hostname, c.short_name(), port);
    let mut id = meta.get("id").unwrap_or(&generated).to_owned();
    if !ids.insert(id.clone()) {
        // Registrator let one overwrite the other.
        out.problem(
            Some(port),
            format!("SERVICE_ID {id:?} is that of another port of this container: registered as {generated:?}; use SERVICE_{}_ID", port.port),
        );
        id = generated;
        ids.insert(id.clone());
    }
    let mut tags = meta.tags();
    tags.extend(settings.tags.iter().cloned());
    if !port.is_tcp() {
        tags.push(port.protocol.clone());
    }
    let attributes = attributes(meta, port, out);
    let mut problems = Vec::new();
    let check = check(meta, &endpoint, port, &c.id, &mut problems);
    for text in problems {
        out.problem(Some(port), text);
    }
    let mut tagged = BTreeMap::new();
    for at in [Some(endpoint.at), endpoint.other].into_iter().flatten() {
        let names = if at.is_ipv4() {
            ["lan_ipv4", "wan_ipv4"]
        } else {
            ["lan_ipv6", "wan_ipv6"]
        };
        for name in names {
            let address = ServiceAddress {
                address: at.ip().to_string().into(),
                port: i64::from(at.port()),
            };
            tagged.insert(Str::from(name), address);
        }
    }
    Registration {
        request: ServiceRequest {
            id: id.into(),
            name: name.into(),
            tags: tags.into_iter().map(Str::from).collect(),
            address: endpoint.at.ip().to_string().into(),
            port: i64::from(endpoint.at.port()),
            tagged_addresses: tagged,
            meta: (!attributes.is_empty()).then_some(attributes),
            check: check.map(Box::new),
            ..ServiceRequest::default()
        },
        endpoint,
        port: port.clone(),
    }
}

/// The metadata of a service. What the catalog would refuse is left out and reported: one such
/// pair made Registrator lose the whole service.
fn attributes(meta: &PortMetadata, port: &PortKey, out: &mut Plan) -> StrMap {
    let mut kept = Vec::new();
    for (key, value) in meta.attributes() {
        let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        let fault = if key.len() > META_KEY_MAX {
            format!("its name is longer than {META_KEY_MAX} characters")
        } else if !key.bytes().all(fits) {
            "its name holds characters other than letters, digits, - and _".to_owned()
        } else if key.starts_with("consul-") {
            "names that begin with consul- are reserved".to_owned()
        } else if value.len() > META_VALUE_MAX {
            format!("its value is longer than {META_VALUE_MAX} characters")
        } else if kept.len() >= META_MAX {
            format!("a service has at most {META_MAX} pairs")
        } else {
            kept.push((key.to_owned(), value.to_owned()));
            continue;
        };
        let shown: String = key.chars().take(60).collect();
        out.problem(
            Some(port),
            format!(
                "SERVICE_{} is left out of the metadata: {fault}",
                shown.to_uppercase()
            ),
        );
    }
    kept.into_iter().collect()
}

#[cfg(test)]
mod tests;
