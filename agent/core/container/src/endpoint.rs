//! Where a port of a container can be reached: an address and its port, from one source.

use crate::facts::{HostAddress, Settings, Surroundings};
use crate::inspect::{Binding, Container};
use crate::name::PortKey;
use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// Which rule found an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    /// The label that the operator named for addresses.
    Label,
    /// The interface of an ECS task.
    Task,
    /// Host networking: the host's address and the port itself.
    Host,
    /// Published on one address of the host.
    Binding,
    /// Published on all addresses of the host.
    Published,
    /// The container's address in this network.
    Network(String),
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rule::Label => f.write_str("address of the label"),
            Rule::Task => f.write_str("interface of the ECS task"),
            Rule::Host => f.write_str("host networking"),
            Rule::Binding => f.write_str("published on an address of the host"),
            Rule::Published => f.write_str("published on the host"),
            Rule::Network(name) => write!(f, "address in network {name}"),
        }
    }
}

/// An address with its port, and the same in the other family where there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// What is registered.
    pub at: SocketAddr,
    /// The same service in the other family.
    pub other: Option<SocketAddr>,
    /// How it was found.
    pub rule: Rule,
}

impl Endpoint {
    /// Of several addresses of one source: IPv4 first, then the other family.
    fn of(addresses: &[SocketAddr], rule: Rule) -> Option<Endpoint> {
        let v4 = addresses.iter().find(|a| a.is_ipv4()).copied();
        let v6 = addresses.iter().find(|a| a.is_ipv6()).copied();
        let at = v4.or(v6)?;
        Some(Endpoint {
            at,
            other: v6.filter(|_| v4.is_some()),
            rule,
        })
    }
}

/// How a container sits on its host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind<'a> {
    Host,
    None,
    /// In the namespace of another container.
    Joined(&'a str),
    /// On networks of its own.
    Networks,
}

pub(crate) fn kind(container: &Container) -> Kind<'_> {
    match container.host_config.network_mode.as_str() {
        "host" => Kind::Host,
        "none" => Kind::None,
        mode => match mode.strip_prefix("container:") {
            Some(owner) => Kind::Joined(owner),
            None => Kind::Networks,
        },
    }
}

/// A container together with what decides about its addresses.
#[derive(Clone, Copy)]
pub(crate) struct Site<'a> {
    pub container: &'a Container,
    /// The container whose network namespace it is in: itself, or what `container:` leads to.
    pub owner: Option<&'a Container>,
    pub settings: &'a Settings,
    pub around: &'a Surroundings,
    /// The network that the container's own metadata names for a port.
    pub network: Option<&'a str>,
}

/// How many times `container:` is followed. Docker allows one step; a circle must end.
const JOINS_MAX: usize = 8;

/// The container that owns the network namespace.
pub(crate) fn namespace_owner<'a>(
    container: &'a Container,
    all: &'a BTreeMap<String, Container>,
) -> Option<&'a Container> {
    let mut at = container;
    for _ in 0..JOINS_MAX {
        match kind(at) {
            Kind::Joined(owner) => at = all.get(owner)?,
            _ => return Some(at),
        }
    }
    None
}

/// The bindings that lead somewhere.
fn bindings<'a>(container: &'a Container, port: &PortKey) -> Vec<(IpAddr, u16, &'a Binding)> {
    let of_port = container
        .network_settings
        .ports
        .iter()
        .filter(|(key, _)| PortKey::parse(key).as_ref() == Some(port));
    of_port
        .filter_map(|(_, bindings)| bindings.as_ref())
        .flatten()
        .filter_map(|b| {
            let port = b.host_port.parse().ok().filter(|p: &u16| *p > 0)?;
            let address = match b.host_ip.as_str() {
                "" => "0.0.0.0",
                text => text,
            };
            Some((address.parse().ok()?, port, b))
        })
        .collect()
}

/// The ports of a container that become services, in order, each once.
pub(crate) fn candidates(site: &Site<'_>) -> Vec<PortKey> {
    let c = site.container;
    let parse = |keys: &mut dyn Iterator<Item = &String>| -> Vec<PortKey> {
        keys.filter_map(|key| PortKey::parse(key)).collect()
    };
    let mut all = parse(&mut c.config.exposed_ports.iter());
    all.extend(parse(&mut c.network_settings.ports.keys()));
    all.sort();
    all.dedup();
    let every = match kind(c) {
        // What these expose is reachable wherever they are at all.
        Kind::Host | Kind::Joined(_) => true,
        Kind::None => false,
        Kind::Networks => {
            site.settings.internal || site.network.is_some() || is_task(site) || routed(site)
        }
    };
    if !every {
        all.retain(|port| !bindings(c, port).is_empty());
    }
    all
}

fn is_task(site: &Site<'_>) -> bool {
    task_addresses(site).is_some()
}

fn task_addresses<'a>(site: &'a Site<'_>) -> Option<&'a Vec<IpAddr>> {
    let tasks = &site.around.tasks;
    let of = |c: &Container| tasks.get(&c.id).filter(|found| !found.is_empty());
    of(site.container).or_else(|| site.owner.and_then(of))
}

/// Whether the network that would be chosen is one that other hosts reach without publishing.
fn routed(site: &Site<'_>) -> bool {
    let chosen = site.owner.and_then(|owner| choose_network(site, owner));
    chosen.is_some_and(|(_, id)| {
        let driver = site.around.drivers.get(id).map(String::as_str);
        matches!(driver, Some("macvlan" | "ipvlan" | "overlay"))
    })
}

/// The network to take an address from, with its id: the one that metadata or settings name, the
/// one of the mode, one that the agent is on, else the first by name.
fn choose_network<'a>(site: &Site<'_>, owner: &'a Container) -> Option<(&'a str, &'a str)> {
    let networks = &owner.network_settings.networks;
    let named = |name: &str| networks.get_key_value(name);
    let shared = || {
        let mut all = networks.iter();
        all.find(|(_, n)| site.around.shared_networks.contains(&n.network_id))
    };
    let (name, network) = site
        .network
        .or(site.settings.network.as_deref())
        .and_then(named)
        .or_else(|| named(&owner.host_config.network_mode))
        .or_else(shared)
        .or_else(|| networks.iter().next())?;
    Some((name, &network.network_id))
}

fn network_addresses(owner: &Container, name: &str) -> Vec<IpAddr> {
    let Some(network) = owner.network_settings.networks.get(name) else {
        return Vec::new();
    };
    let texts = [&network.ip_address, &network.ipv6_address];
    texts.iter().filter_map(|text| text.parse().ok()).collect()
}

fn in_network(owner: &Container, name: &str, port: u16) -> Option<Endpoint> {
    let all: Vec<SocketAddr> = network_addresses(owner, name)
        .into_iter()
        .map(|address| SocketAddr::new(address, port))
        .collect();
    Endpoint::of(&all, Rule::Network(name.to_owned()))
}

/// Where a port of a container is reached, or why nowhere.
pub(crate) fn endpoint(site: &Site<'_>, port: &PortKey) -> Result<Endpoint, String> {
    let Some(owner) = site.owner else {
        return Err("the container whose network it shares is not there".to_owned());
    };
    if let Some(found) = labelled(site, owner, port)? {
        return Ok(found);
    }
    if let Some(name) = site.network {
        return in_network(owner, name, port.port).ok_or_else(|| {
            let names: Vec<&str> = owner.network_settings.networks.keys().map(String::as_str).collect();
            format!(
                "SERVICE_NETWORK names {name:?}, but the container has no address there; it is on: {}",
                names.join(", ")
            )
        });
    }
    if let Some(addresses) = task_addresses(site) {
        let all: Vec<SocketAddr> = addresses
            .iter()
            .map(|address| SocketAddr::new(*address, port.port))
            .collect();
        return Endpoint::of(&all, Rule::Task).ok_or_else(|| "the task has no address".to_owned());
    }
    if kind(owner) == Kind::Host {
        let Some(host) = &site.around.host else {
            return Err(NO_HOST.to_owned());
        };
        return on_host(host, &[(port.port, true), (port.port, false)], Rule::Host)
            .ok_or_else(|| NO_HOST.to_owned());
    }
    if kind(owner) == Kind::None {
        return Err("it is on no network (mode none)".to_owned());
    }
    let network = choose_network(site, owner).map(|(name, id)| (name.to_owned(), id.to_owned()));
    let internal = || {
        let (name, _) = network.as_ref()?;
        in_network(owner, name, port.port)
    };
    if site.settings.internal {
        return internal().ok_or_else(|| "it has no address in any network".to_owned());
    }
    let bound = bindings(owner, port);
    if !bound.is_empty() {
        return published(site, owner, &bound, port);
    }
    let joined = matches!(kind(site.container), Kind::Joined(_));
    if joined || routed(site) {
        return internal().ok_or_else(|| "it has no address in any network".to_owned());
    }
    Err("the port is exposed but not published".to_owned())
}

const NO_HOST: &str = "the host's address is not known to this agent: set docker.host_address, or run the agent with host networking";

/// The address that a label of the container holds, with the port that goes with it.
fn labelled(
    site: &Site<'_>,
    owner: &Container,
    port: &PortKey,
) -> Result<Option<Endpoint>, String> {
    let Some(key) = &site.settings.ip_label else {
        return Ok(None);
    };
    let Some(text) = site
        .container
        .config
        .labels
        .get(key)
        .filter(|t| !t.is_empty())
    else {
        return Ok(None);
    };
    // `10.1.2.3/24` is how address managers write it.
    let address: IpAddr = text
        .split('/')
        .next()
        .and_then(|text| text.trim().parse().ok())
        .filter(|address: &IpAddr| !address.is_unspecified())
        .ok_or_else(|| format!("label {key} holds no address: {text:?}"))?;
    let own = owner
        .network_settings
        .networks
        .keys()
        .any(|name| network_addresses(owner, name).contains(&address));
    let host_port = bindings(owner, port).first().map(|(_, port, _)| *port);
    let number = match host_port {
        Some(number) if !own && !site.settings.internal => number,
        _ => port.port,
    };
    Ok(Some(Endpoint {
        at: SocketAddr::new(address, number),
        other: None,
        rule: Rule::Label,
    }))
}

/// The host's addresses with these ports: `(port, for IPv4)`.
fn on_host(host: &HostAddress, ports: &[(u16, bool)], rule: Rule) -> Option<Endpoint> {
    let all: Vec<SocketAddr> = ports
        .iter()
        .filter_map(|(port, v4)| {
            let address = if *v4 {
                host.v4.map(IpAddr::V4)
            } else {
                host.v6.map(IpAddr::V6)
            };
            Some(SocketAddr::new(address?, *port))
        })
        .collect();
    Endpoint::of(&all, rule)
}

fn published(
    site: &Site<'_>,
    owner: &Container,
    bound: &[(IpAddr, u16, &Binding)],
    port: &PortKey,
) -> Result<Endpoint, String> {
    let host = site.around.host.as_ref();
    let forced = host.filter(|host| host.forced);
    let loopback = |a: &IpAddr| a.is_loopback();
    let open: Vec<_> = bound.iter().filter(|(a, _, _)| !loopback(a)).collect();
    // The operator's word that the host's address is loopback makes what is there reachable.
    let host_is_loopback = forced.is_some_and(|h| {
        h.v4.is_some_and(|a| a.is_loopback()) || h.v6.is_some_and(|a| a.is_loopback())
    });
    if open.is_empty() && !host_is_loopback {
        return Err(
            "it is published on loopback only, where nobody but its host reaches it".to_owned(),
        );
    }
    let by_family = |all: &[&(IpAddr, u16, &Binding)]| -> Vec<(u16, bool)> {
        all.iter()
            .map(|(a, port, _)| (*port, a.is_ipv4()))
            .collect()
    };
    if let Some(host) = forced {
        let usable: Vec<_> = if open.is_empty() {
            bound.iter().collect()
        } else {
            open
        };
        if let Some(found) = on_host(host, &by_family(&usable), Rule::Published) {
            return Ok(found);
        }
        // An address of the family that the binding is not of: Docker's proxy serves both.
        let ports: Vec<(u16, bool)> = by_family(&usable).iter().map(|(p, v4)| (*p, !v4)).collect();
        return on_host(host, &ports, Rule::Published).ok_or_else(|| NO_HOST.to_owned());
    }
    let specific: Vec<SocketAddr> = open
        .iter()
        .filter(|(a, _, _)| !a.is_unspecified())
        .map(|(a, port, _)| SocketAddr::new(*a, *port))
        .collect();
    if let Some(found) = Endpoint::of(&specific, Rule::Binding) {
        return Ok(found);
    }
    if let Some(host) = host
        && let Some(found) = on_host(host, &by_family(&open), Rule::Published)
    {
        return Ok(found);
    }
    let shared = owner
        .network_settings
        .networks
        .iter()
        .find(|(_, n)| site.around.shared_networks.contains(&n.network_id))
        .and_then(|(name, _)| in_network(owner, name, port.port));
    shared.ok_or_else(|| format!("{NO_HOST}, or put the agent and the container on one network"))
}
