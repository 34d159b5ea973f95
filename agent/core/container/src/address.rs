//! Which address an agent tells others, from facts.
//!
//! An agent with a network namespace of its own on Docker's default bridge is reached at its host's
//! address only, by published ports; that address it knows from a setting or from EC2, never by
//! itself. On a user-defined network its own address there is right. Never is a host name resolved.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

/// Where the agent runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the host's network namespace, in a container or not.
    Host,
    /// In a container on the default bridge.
    Bridge,
    /// In a container on a network of its own choice, such as Compose makes.
    Network,
    /// In an ECS task that has a network interface of its own.
    Task,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Place::Host => "the host's network namespace",
            Place::Bridge => "a container on the default bridge",
            Place::Network => "a container on a user-defined network",
            Place::Task => "an ECS task with an interface of its own",
        })
    }
}

/// A network interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Nic {
    /// Its name.
    pub name: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// It is one end of a pair whose other end is in another namespace.
    pub paired: bool,
}

/// What is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressFacts {
    /// Set by the operator, and where.
    pub given: Option<(IpAddr, String)>,
    /// The interfaces of this namespace.
    pub nics: Vec<Nic>,
    /// What packets to anywhere leave with.
    pub route: Vec<IpAddr>,
    /// This process is in a container.
    pub in_container: bool,
    /// The text of resolv.conf: only user-defined networks have Docker's name server in it.
    pub resolv_conf: String,
    /// What EC2 says is the address of the instance; the error if it should and does not.
    pub ec2: Option<Result<IpAddr, String>>,
    /// Network mode and addresses of this ECS task.
    pub task: Option<(String, Vec<IpAddr>)>,
}

/// An address that was not chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// Which.
    pub address: IpAddr,
    /// Of which interface.
    pub of: String,
    /// Why.
    pub why: &'static str,
}

/// A decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Where the agent runs.
    pub place: Place,
    /// The address and the rule that chose it, or what is missing.
    pub chosen: Result<(IpAddr, String), String>,
    /// The others.
    pub rejected: Vec<Rejected>,
}

impl AddressFacts {
    /// Where the agent runs.
    pub fn place(&self) -> Place {
        match &self.task {
            Some((mode, _)) if mode == "awsvpc" => return Place::Task,
            Some((mode, _)) if mode == "host" => return Place::Host,
            Some((mode, _)) if mode == "bridge" => return Place::Bridge,
            _ => {}
        }
        let of_host = |nic: &Nic| is_of_docker(&nic.name);
        if !self.in_container
            || self.nics.iter().any(of_host)
            || !self.nics.iter().any(|n| n.paired)
        {
            return Place::Host;
        }
        let servers = self.resolv_conf.lines().filter_map(|line| {
            let mut words = line.split_whitespace();
            (words.next() == Some("nameserver")).then(|| words.next())?
        });
        if servers.into_iter().any(|server| server == "127.0.0.11") {
            Place::Network
        } else {
            Place::Bridge
        }
    }
}

/// Bridges of Docker on its host, and the host's ends of containers.
fn is_of_docker(name: &str) -> bool {
    name == "docker0"
        || name == "docker_gwbridge"
        || name.starts_with("br-")
        || name.starts_with("veth")
}

fn link_local(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

/// Why an address is none to tell others, if it is.
fn fault(nic: &Nic, address: &IpAddr, place: Place) -> Option<&'static str> {
    if address.is_loopback() {
        Some("loopback")
    } else if link_local(address) {
        Some("link-local")
    } else if place == Place::Host && is_of_docker(&nic.name) {
        Some("a bridge of Docker")
    } else {
        None
    }
}

fn is_private(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_private() || is_shared(*v4),
        IpAddr::V6(v6) => v6.is_unique_local(),
    }
}

/// 100.64.0.0/10 (RFC 6598).
fn is_shared(address: Ipv4Addr) -> bool {
    let [a, b, ..] = address.octets();
    a == 100 && (64..128).contains(&b)
}

/// Decides which address to tell others.
pub fn choose_address(facts: &AddressFacts) -> Decision {
    let place = facts.place();
    let mut usable: Vec<(IpAddr, &str)> = Vec::new();
    let mut rejected: Vec<Rejected> = Vec::new();
    for nic in &facts.nics {
        for address in &nic.addresses {
            match fault(nic, address, place) {
                None => usable.push((*address, &nic.name)),
                Some(why) => rejected.push(Rejected {
                    address: *address,
                    of: nic.name.clone(),
                    why,
                }),
            }
        }
    }
    let chosen = choose(facts, place, &usable);
    let pick = chosen.as_ref().ok().map(|(address, _)| *address);
    let why = if place == Place::Bridge {
        "inside the default bridge, where other hosts do not reach it"
    } else {
        "another was chosen"
    };
    rejected.extend(
        usable
            .iter()
            .filter(|(a, _)| Some(*a) != pick)
            .map(|(address, of)| Rejected {
                address: *address,
                of: (*of).to_owned(),
                why,
            }),
    );
    Decision {
        place,
        chosen,
        rejected,
    }
}

fn choose(
    facts: &AddressFacts,
    place: Place,
    usable: &[(IpAddr, &str)],
) -> Result<(IpAddr, String), String> {
    if let Some((address, from)) = &facts.given {
        if address.is_unspecified() {
            return Err(format!(
                "{from} is {address}, which is no address to be reached at"
            ));
        }
        return Ok((*address, from.clone()));
    }
    let ec2 = |rule: &str| match &facts.ec2 {
        Some(Ok(address)) => Some((*address, rule.to_owned())),
        _ => None,
    };
    let ec2_trouble = || match &facts.ec2 {
        Some(Err(why)) => format!(" (EC2: {why})"),
        _ => String::new(),
    };
    match place {
        Place::Task => {
            let addresses = facts.task.iter().flat_map(|(_, a)| a);
            let first = addresses.copied().min_by_key(|a| !a.is_ipv4());
            first
                .map(|a| (a, "interface of the ECS task".to_owned()))
                .ok_or_else(|| "the metadata of the ECS task name no address: set -advertise".to_owned())
        }
        Place::Bridge => ec2("address of the EC2 instance, whose ports are published").ok_or_else(|| {
            format!(
                "this container is on Docker's default bridge, where other hosts do not reach it{}: set -advertise to the address of the host and publish the ports, or run with host networking (--network host)",
                ec2_trouble()
            )
        }),
        Place::Network => by_route(facts, usable, "address in the container's network"),
        Place::Host => ec2("address of the EC2 instance")
            .map_or_else(|| by_route(facts, usable, "source of the default route"), Ok),
    }
}

fn by_route(
    facts: &AddressFacts,
    usable: &[(IpAddr, &str)],
    rule: &str,
) -> Result<(IpAddr, String), String> {
    let known = |a: &&IpAddr| usable.iter().any(|(u, _)| u == *a);
    if let Some(address) = facts.route.iter().find(known) {
        return Ok((*address, rule.to_owned()));
    }
    let private: Vec<&(IpAddr, &str)> = usable
        .iter()
        .filter(|(a, _)| a.is_ipv4() && is_private(a))
        .collect();
    match private[..] {
        [(address, of)] => Ok((*address, format!("the only private address ({of})"))),
        [] if usable.len() == 1 => Ok((usable[0].0, format!("the only address ({})", usable[0].1))),
        _ => {
            let all: Vec<String> = usable.iter().map(|(a, of)| format!("{a} ({of})")).collect();
            Err(if all.is_empty() {
                "there is no address that others could reach: set -advertise".to_owned()
            } else {
                format!(
                    "there is no default route, and several addresses: {}: set -advertise",
                    all.join(", ")
                )
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn nic(name: &str, addresses: &[&str]) -> Nic {
        Nic {
            name: name.into(),
            addresses: addresses.iter().map(|a| ip(a)).collect(),
            paired: false,
        }
    }

    fn host() -> AddressFacts {
        AddressFacts {
            nics: vec![
                nic("lo", &["127.0.0.1", "::1"]),
                nic("eth0", &["10.0.0.5", "fe80::1"]),
                nic("docker0", &["172.17.0.1"]),
                nic("br-1234", &["172.18.0.1"]),
            ],
            route: vec![ip("10.0.0.5")],
            ..AddressFacts::default()
        }
    }

    /// In a container: one interface, whose other end is on the host.
    fn inside(address: &str) -> AddressFacts {
        let eth0 = Nic {
            paired: true,
            ..nic("eth0", &[address])
        };
        AddressFacts {
            nics: vec![nic("lo", &["127.0.0.1"]), eth0],
            route: vec![ip(address)],
            in_container: true,
            ..AddressFacts::default()
        }
    }

    #[track_caller]
    fn chosen(facts: &AddressFacts) -> (Place, String, String) {
        let d = choose_address(facts);
        let (address, rule) = d.chosen.unwrap();
        (d.place, address.to_string(), rule)
    }

    #[test]
    fn on_a_host_it_is_the_source_of_the_default_route() {
        assert_eq!(
            chosen(&host()),
            (
                Place::Host,
                "10.0.0.5".into(),
                "source of the default route".into()
            )
        );
        let rejected = choose_address(&host()).rejected;
        let why = |text: &str| {
            rejected
                .iter()
                .find(|r| r.address == ip(text))
                .map(|r| r.why)
        };
        assert_eq!(why("127.0.0.1"), Some("loopback"));
        assert_eq!(why("fe80::1"), Some("link-local"));
        assert_eq!(why("172.17.0.1"), Some("a bridge of Docker"));
        assert_eq!(why("172.18.0.1"), Some("a bridge of Docker"));
        // In a container with host networking the same.
        let container = AddressFacts {
            in_container: true,
            ..host()
        };
        assert_eq!(chosen(&container).0, Place::Host);
    }

    #[test]
    fn without_a_default_route_the_only_private_address_or_none() {
        let lone = AddressFacts {
            route: vec![],
            ..host()
        };
        assert_eq!(chosen(&lone).2, "the only private address (eth0)");
        let mut two = lone.clone();
        two.nics.push(nic("eth1", &["192.168.1.7"]));
        let text = choose_address(&two).chosen.unwrap_err();
        assert!(
            text.contains("10.0.0.5 (eth0), 192.168.1.7 (eth1)"),
            "{text}"
        );
        two.nics.clear();
        assert!(choose_address(&two).chosen.is_err());
    }

    #[test]
    fn a_setting_always_wins() {
        let mut facts = host();
        facts.given = Some((ip("203.0.113.9"), "-advertise".into()));
        facts.ec2 = Some(Ok(ip("10.9.9.9")));
        assert_eq!(chosen(&facts).1, "203.0.113.9");
        facts.given = Some((ip("0.0.0.0"), "-advertise".into()));
        assert!(choose_address(&facts).chosen.is_err());
    }

    #[test]
    fn on_ec2_it_is_the_instances_address() {
        let facts = AddressFacts {
            ec2: Some(Ok(ip("10.0.0.7"))),
            ..host()
        };
        assert_eq!(chosen(&facts).1, "10.0.0.7");
        let trouble = AddressFacts {
            ec2: Some(Err("no answer".into())),
            ..host()
        };
        assert_eq!(chosen(&trouble).1, "10.0.0.5");
    }

    #[test]
    fn on_the_default_bridge_only_the_hosts_address_counts() {
        let mut facts = inside("172.17.0.2");
        facts.resolv_conf = "nameserver 10.0.0.2\n".into();
        let d = choose_address(&facts);
        let text = d.chosen.unwrap_err();
        assert!(
            d.place == Place::Bridge
                && text.contains("-advertise")
                && text.contains("host networking"),
            "{text}"
        );
        facts.ec2 = Some(Err("the token did not come: hop limit".into()));
        assert!(
            choose_address(&facts)
                .chosen
                .unwrap_err()
                .contains("hop limit")
        );
        facts.ec2 = Some(Ok(ip("10.0.0.7")));
        assert_eq!(chosen(&facts).1, "10.0.0.7");
        facts.ec2 = None;
        facts.task = Some(("bridge".into(), vec![ip("172.17.0.2")]));
        assert!(choose_address(&facts).chosen.is_err());
    }

    #[test]
    fn on_a_network_of_compose_it_is_the_own_address() {
        let mut facts = inside("172.20.0.4");
        facts.resolv_conf = "search x\nnameserver 127.0.0.11\n".into();
        assert_eq!(
            chosen(&facts),
            (
                Place::Network,
                "172.20.0.4".into(),
                "address in the container's network".into()
            )
        );
    }

    #[test]
    fn a_task_has_the_address_of_its_interface() {
        let mut facts = inside("10.0.2.61");
        facts.task = Some(("awsvpc".into(), vec![ip("2001:db8::1"), ip("10.0.2.61")]));
        facts.ec2 = Some(Ok(ip("10.0.0.7")));
        assert_eq!(
            chosen(&facts),
            (
                Place::Task,
                "10.0.2.61".into(),
                "interface of the ECS task".into()
            )
        );
        facts.task = Some(("host".into(), vec![]));
        assert_eq!(chosen(&facts).1, "10.0.0.7");
    }
}
