//! What the operator wants and what is known beside the containers themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Which containers are registered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Those that carry a service name in label or variable.
    Explicit,
    /// All that publish a port.
    #[default]
    Published,
}

impl Mode {
    /// Reads `explicit` or `published`.
    pub fn parse(text: &str) -> Option<Mode> {
        match text {
            "explicit" => Some(Mode::Explicit),
            "published" => Some(Mode::Published),
            _ => None,
        }
    }
}

/// Whether a container that ended with a failure leaves the catalog.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Deregister {
    /// Every end takes it out.
    #[default]
    Always,
    /// One that failed stays, critical, until it runs again or is removed.
    OnSuccess,
}

impl Deregister {
    /// Reads `always` or `on-success`.
    pub fn parse(text: &str) -> Option<Deregister> {
        match text {
            "always" => Some(Deregister::Always),
            "on-success" => Some(Deregister::OnSuccess),
            _ => None,
        }
    }
}

/// The label that a container must carry to be this agent's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// The label.
    pub key: String,
    /// Its value; any if there is none.
    pub value: Option<String>,
}

impl Filter {
    /// Reads `key` or `key=value`.
    pub fn parse(text: &str) -> Option<Filter> {
        let (key, value) = match text.split_once('=') {
            Some((key, value)) => (key, Some(value.to_owned())),
            None => (text, None),
        };
        (!key.is_empty()).then(|| Filter {
            key: key.to_owned(),
            value,
        })
    }

    /// Whether these labels pass.
    pub fn keeps(&self, labels: &BTreeMap<String, String>) -> bool {
        match (labels.get(&self.key), &self.value) {
            (Some(found), Some(wanted)) => found == wanted,
            (Some(_), None) => true,
            (None, _) => false,
        }
    }
}

/// What the operator wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Which containers.
    pub mode: Mode,
    /// Containers' own addresses and ports instead of the host's (`-internal`).
    pub internal: bool,
    /// The label that holds a container's address (`-useIpFromLabel`).
    pub ip_label: Option<String>,
    /// The network to take addresses from where a container is on several and says nothing.
    pub network: Option<String>,
    /// Tags of every service (`-tags`).
    pub tags: Vec<String>,
    /// First part of service ids.
    pub hostname: String,
    /// Which containers are this agent's at all.
    pub filter: Option<Filter>,
    /// Whether failed containers stay.
    pub deregister: Deregister,
    /// How long a container that got its stop signal stays out of answers, in milliseconds, if it
    /// goes on running.
    pub drain_ms: u64,
}

/// The host's address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostAddress {
    /// IPv4.
    pub v4: Option<Ipv4Addr>,
    /// IPv6.
    pub v6: Option<Ipv6Addr>,
    /// It was set by the operator: it counts for every published port, and may be loopback.
    pub forced: bool,
}

impl HostAddress {
    /// One address.
    pub fn of(address: IpAddr, forced: bool) -> HostAddress {
        let mut out = HostAddress {
            forced,
            ..HostAddress::default()
        };
        out.add(address);
        out
    }

    /// Adds the address of the other family, or replaces one.
    pub fn add(&mut self, address: IpAddr) {
        match address {
            IpAddr::V4(v4) => self.v4 = Some(v4),
            IpAddr::V6(v6) => self.v6 = Some(v6),
        }
    }
}

/// What is known beside the containers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// The host's address: from a setting, from EC2 or ECS, or known because the agent is in the
    /// host's network namespace. Never guessed.
    pub host: Option<HostAddress>,
    /// The agent's own container, if it runs in one of this daemon.
    pub own_container: Option<String>,
    /// Ids of the networks that the agent is on itself.
    pub shared_networks: BTreeSet<String>,
    /// Drivers of the daemon's networks by the network's id.
    pub drivers: BTreeMap<String, String>,
    /// Addresses of ECS tasks that have interfaces of their own, by container id.
    pub tasks: BTreeMap<String, Vec<IpAddr>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_wants_a_label_or_a_value() {
        let labels: BTreeMap<String, String> = [("a".to_owned(), "1".to_owned())].into();
        let keeps = |text| Filter::parse(text).map(|f| f.keeps(&labels));
        assert_eq!(keeps("a"), Some(true));
        assert_eq!(keeps("a=1"), Some(true));
        assert_eq!(keeps("a=2"), Some(false));
        assert_eq!(keeps("b"), Some(false));
        assert_eq!(keeps("=x"), None);
    }
}
