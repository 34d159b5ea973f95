//! Addresses, ports, pools.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use lictor_sockaddr as sockaddr;
use lictor_wire::{GoDuration, duration::go_quote};

use super::Resolver;
use crate::config::{Advertise, ListenAddr, Listeners, Ports, RetryJoin, SerfPool, UnixSockets};
use crate::error::Errors;

/// The network part of a configuration.
pub(super) struct Network {
    pub bind_addr: IpAddr,
    pub client_addrs: Vec<IpAddr>,
    pub advertise: Advertise,
    pub tagged_addresses: BTreeMap<String, String>,
    pub ports: Ports,
    pub listeners: Listeners,
    pub rpc_bind: SocketAddr,
    pub rpc_advertise: SocketAddr,
    pub unix_sockets: UnixSockets,
    pub serf_lan: SerfPool,
    pub serf_wan: Option<SerfPool>,
    pub retry_join_lan: RetryJoin,
    pub retry_join_wan: RetryJoin,
}

/// An address of the configuration: one of IP, or a path.
enum Addr {
    Ip(IpAddr),
    Unix(String),
}

fn one(text: impl Into<String>) -> Errors {
    Errors::One(text.into())
}

impl Resolver<'_> {
    pub(super) fn network(&mut self, server: bool) -> Result<Network, Errors> {
        let bind_addr = self.bind_addr()?;
        let client_addrs = self.ips("client_addr");
        if client_addrs.is_empty() {
            self.warn("client_addr is empty, client services (DNS, HTTP, HTTPS, GRPC) will not be listening for connections");
        }
        let ports = self.ports(server);
        let listeners = self.listeners(&client_addrs, &ports);
        let advertise = self.advertise(bind_addr)?;
        let mut tagged_addresses = self.map("tagged_addresses");
        for (name, addr) in [
            ("lan", Some(advertise.lan)),
            ("lan_ipv4", advertise.lan_ipv4),
            ("lan_ipv6", advertise.lan_ipv6),
            ("wan", Some(advertise.wan)),
            ("wan_ipv4", advertise.wan_ipv4),
            ("wan_ipv6", advertise.wan_ipv6),
        ] {
            if let Some(addr) = addr {
                tagged_addresses.insert(name.to_string(), addr.to_string());
            }
        }
        let serf_lan_bind = self.first_ip("serf_lan").unwrap_or(bind_addr);
        let serf_wan_bind = self.first_ip("serf_wan").unwrap_or(bind_addr);
        let serf_lan = self.pool(
            &PoolKeys::LAN,
            SocketAddr::new(serf_lan_bind, ports.serf_lan),
            SocketAddr::new(advertise.lan, ports.serf_lan),
        );
        let wan = |port| {
            (
                SocketAddr::new(serf_wan_bind, port),
                SocketAddr::new(advertise.wan, port),
            )
        };
        let serf_wan = match ports.serf_wan.map(wan) {
            // Read in any case, for the errors that it may hold.
            Some((bind, adv)) => Some(self.pool(&PoolKeys::WAN, bind, adv)).filter(|_| server),
            None => None,
        };
        Ok(Network {
            rpc_bind: SocketAddr::new(bind_addr, ports.server),
            rpc_advertise: SocketAddr::new(advertise.lan, ports.server),
            bind_addr,
            client_addrs,
            advertise,
            tagged_addresses,
            listeners,
            ports,
            unix_sockets: self.unix_sockets(),
            serf_lan,
            serf_wan,
            retry_join_lan: self.retry_join("retry_join", "retry_interval", "retry_max"),
            retry_join_wan: self.retry_join(
                "retry_join_wan",
                "retry_interval_wan",
                "retry_max_wan",
            ),
        })
    }

    /// Evaluates the templates of a text.
    fn expand(&mut self, path: &str, text: &str) -> Option<String> {
        match sockaddr::expand(text, self.interfaces) {
            Ok(text) => Some(text),
            Err(reason) => {
                let place = self.place(path);
                self.error(format!(
                    "{path}: error parsing {}: {reason}{place}",
                    go_quote(text)
                ));
                None
            }
        }
    }

    /// The addresses of a key, blanks between them.
    fn addrs(&mut self, path: &str) -> Vec<Addr> {
        let text = self.owned(path);
        let Some(text) = self.expand(path, &text) else {
            return Vec::new();
        };
        let mut addrs = Vec::new();
        for word in text.split_whitespace() {
            match addr(word) {
                Some(addr) => addrs.push(addr),
                None => {
                    let place = self.place(path);
                    self.error(format!("{path}: invalid ip address: {word}{place}"));
                }
            }
        }
        addrs
    }

    /// The same where Unix sockets make no sense.
    fn ips(&mut self, path: &str) -> Vec<IpAddr> {
        let mut ips = Vec::new();
        for addr in self.addrs(path) {
            match addr {
                Addr::Ip(ip) => ips.push(ip),
                Addr::Unix(_) => {
                    let place = self.place(path);
                    self.error(format!("{path} cannot be a unix socket{place}"));
                }
            }
        }
        ips
    }

    /// One address, or none.
    pub(super) fn first_ip(&mut self, path: &str) -> Option<IpAddr> {
        let ips = self.ips(path);
        if ips.len() > 1 {
            let all: Vec<String> = ips.iter().map(ToString::to_string).collect();
            let place = self.place(path);
            self.error(format!(
                "{path}: multiple addresses found: {}{place}",
                all.join(" ")
            ));
            return None;
        }
        ips.first().copied()
    }

    /// The address to bind to. Its faults end the work, and hide those of its template.
    fn bind_addr(&mut self) -> Result<IpAddr, Errors> {
        let addrs = self.addrs("bind_addr");
        let place = self.place("bind_addr");
        match addrs.as_slice() {
            [] => Err(one(format!("bind_addr cannot be empty{place}"))),
            [Addr::Ip(ip)] => Ok(*ip),
            [Addr::Unix(_)] => Err(one(format!("bind_addr cannot be a unix socket{place}"))),
            _ => Err(one(format!(
                "bind_addr cannot contain multiple addresses. Use 'addresses.{{dns,http,https}}' instead.{place}"
            ))),
        }
    }

    fn port(&mut self, path: &str) -> Option<u16> {
        let port = self.maybe_int(path).filter(|port| *port > 0)?;
        u16::try_from(port).map_or_else(
            |_| {
                let place = self.place(path);
                self.error(format!("{path}: invalid port: {port}{place}"));
                None
            },
            Some,
        )
    }

    fn ports(&mut self, server: bool) -> Ports {
        // Cluster ports cannot be off: an agent without gossip is none.
        let must = |r: &mut Self, path: &str| match r.port(path) {
            Some(port) => port,
            None => {
                if r.maybe_int(path).is_some_and(|port| port <= 0) {
                    let place = r.place(path);
                    r.error(format!("{path}: this port cannot be turned off{place}"));
                }
                0
            }
        };
        let server_port = match self.maybe_int("ports.server") {
            // Clients have no RPC listener anyway.
            Some(port) if port <= 0 && !server => 0,
            _ => must(self, "ports.server"),
        };
        let grpc_tls_given = self.maybe_int("ports.grpc_tls").is_some();
        Ports {
            dns: self.port("ports.dns"),
            http: self.port("ports.http"),
            https: self.port("ports.https"),
            grpc: self.port("ports.grpc"),
            grpc_tls: match grpc_tls_given {
                true => self.port("ports.grpc_tls"),
                // Servers offer it unless told otherwise.
                false => server.then_some(8503),
            },
            server: server_port,
            serf_lan: must(self, "ports.serf_lan"),
            serf_wan: self.port("ports.serf_wan"),
        }
    }

    fn listeners(&mut self, client_addrs: &[IpAddr], ports: &Ports) -> Listeners {
        let mut listen = |path: &str, port: Option<u16>| -> Vec<ListenAddr> {
            let own = self.addrs(path);
            let Some(port) = port else { return Vec::new() };
            let tcp = |ip| ListenAddr::Tcp(SocketAddr::new(ip, port));
            if own.is_empty() {
                return client_addrs.iter().copied().map(tcp).collect();
            }
            own.into_iter()
                .map(|addr| match addr {
                    Addr::Ip(ip) => tcp(ip),
                    Addr::Unix(path) => ListenAddr::Unix(path),
                })
                .collect()
        };
        let dns_addrs = listen("addresses.dns", ports.dns);
        let http = listen("addresses.http", ports.http);
        let https = listen("addresses.https", ports.https);
        let grpc = listen("addresses.grpc", ports.grpc);
        let grpc_tls = listen("addresses.grpc_tls", ports.grpc_tls);
        let mut dns = Vec::new();
        for addr in dns_addrs {
            match addr {
                ListenAddr::Tcp(addr) => dns.push(addr),
                ListenAddr::Unix(_) => self.error("DNS address cannot be a unix socket"),
            }
        }
        Listeners {
            dns,
            http,
            https,
            grpc,
            grpc_tls,
        }
    }

    fn advertise(&mut self, bind: IpAddr) -> Result<Advertise, Errors> {
        let given = self.first_ip("advertise_addr");
        let lan = match given {
            Some(ip) => ip,
            None if !bind.is_unspecified() => bind,
            None => self.detect(bind)?,
        };
        let (lan_ipv4, lan_ipv6) =
            self.by_version("advertise_addr_ipv4", "advertise_addr_ipv6", lan);
        let wan_given = self.first_ip("advertise_addr_wan");
        let wan = wan_given.unwrap_or(lan);
        let (mut wan_ipv4, mut wan_ipv6) =
            self.by_version("advertise_addr_wan_ipv4", "advertise_addr_wan_ipv6", wan);
        if wan_given.is_none() {
            wan_ipv4 = wan_ipv4.or(lan_ipv4);
            wan_ipv6 = wan_ipv6.or(lan_ipv6);
        }
        for (what, addr) in [("Advertise", lan), ("Advertise WAN", wan)] {
            if addr.is_unspecified() {
                return Err(one(format!("{what} address cannot be 0.0.0.0, :: or [::]")));
            }
        }
        Ok(Advertise {
            lan,
            lan_ipv4,
            lan_ipv6,
            wan,
            wan_ipv4,
            wan_ipv6,
        })
    }

    /// The only private IPv4 or public IPv6 address of the machine.
    fn detect(&mut self, bind: IpAddr) -> Result<IpAddr, Errors> {
        let (what, found): (&str, Vec<IpAddr>) = if bind.is_ipv4() {
            let found = sockaddr::private_ip_v4(self.interfaces);
            ("private IPv4", found.into_iter().map(IpAddr::V4).collect())
        } else {
            let found = sockaddr::public_ip_v6(self.interfaces);
            ("public IPv6", found.into_iter().map(IpAddr::V6).collect())
        };
        match found.as_slice() {
            [ip] => Ok(*ip),
            [] => Err(one(format!("No {what} address found"))),
            _ => Err(one(format!(
                "Multiple {what} addresses found. Please configure one with 'bind' and/or 'advertise'."
            ))),
        }
    }

    /// The addresses of both versions; where one is not given, `addr` if it is of that version.
    fn by_version(&mut self, v4: &str, v6: &str, addr: IpAddr) -> (Option<IpAddr>, Option<IpAddr>) {
        let mut pick = |path: &str, fits: fn(&IpAddr) -> bool, name: &str| match self.first_ip(path)
        {
            Some(ip) if fits(&ip) => Some(ip),
            Some(_) => {
                let place = self.place(path);
                self.error(format!("{path} must be an {name} address{place}"));
                None
            }
            None => Some(addr).filter(fits),
        };
        let ipv4 = pick(v4, IpAddr::is_ipv4, "ipv4");
        let ipv6 = pick(v6, IpAddr::is_ipv6, "ipv6");
        (ipv4, ipv6)
    }

    fn pool(&mut self, keys: &PoolKeys, bind: SocketAddr, advertise: SocketAddr) -> SerfPool {
        let gossip = |name: &str| format!("{}.{name}", keys.gossip);
        let mut pool = SerfPool {
            bind,
            advertise,
            allowed_cidrs: self.networks(keys.cidrs),
            reconnect_timeout: self.duration(keys.reconnect),
            gossip_nodes: self.small(&gossip("gossip_nodes")),
            gossip_interval: self.duration(&gossip("gossip_interval")),
            probe_interval: self.duration(&gossip("probe_interval")),
            probe_timeout: self.duration(&gossip("probe_timeout")),
            retransmit_mult: self.small(&gossip("retransmit_mult")),
            suspicion_mult: self.small(&gossip("suspicion_mult")),
        };
        if self.dev {
            // Fixed in dev mode, whatever the files say.
            let fast = GoDuration::from_millis(100);
            pool.gossip_interval = fast;
            pool.probe_interval = fast;
            pool.probe_timeout = fast;
            pool.suspicion_mult = 3;
        }
        pool
    }

    fn retry_join(&mut self, list: &str, interval: &str, max: &str) -> RetryJoin {
        let mut addresses = Vec::new();
        for text in self.list(list) {
            // Plain text, `provider=...` for one, is kept whole.
            if !text.contains("{{") {
                if !text.trim().is_empty() {
                    addresses.push(text);
                }
                continue;
            }
            let Some(found) = self.expand(list, &text) else {
                continue;
            };
            addresses.extend(found.split_whitespace().map(String::from));
        }
        RetryJoin {
            addresses,
            interval: self.duration(interval),
            max: self.small(max),
        }
    }

    pub(super) fn recursors(&mut self) -> Vec<SocketAddr> {
        let mut recursors = Vec::new();
        for text in self.list("recursors") {
            let Some(found) = self.expand("recursors", &text) else {
                continue;
            };
            for word in found.split_whitespace() {
                let bare = word.trim_start_matches('[').trim_end_matches(']');
                let addr = word.parse::<SocketAddr>().ok().or_else(|| {
                    bare.parse::<IpAddr>()
                        .ok()
                        .map(|ip| SocketAddr::new(ip, 53))
                });
                match addr {
                    Some(addr) if addr.ip().is_unspecified() => {
                        self.error("DNS recursor address cannot be 0.0.0.0, :: or [::]");
                    }
                    Some(addr) => recursors.push(addr),
                    None if word.starts_with("unix://") => {
                        self.error(format!("DNS Recursors cannot be unix sockets: {word}"));
                    }
                    None => {
                        let place = self.place("recursors");
                        self.error(format!("recursors: invalid ip address: {word}{place}"));
                    }
                }
            }
        }
        recursors
    }

    /// A list of networks.
    pub(super) fn networks(&mut self, path: &str) -> Vec<String> {
        let list = self.list(path);
        for network in &list {
            if !is_network(network) {
                let place = self.place(path);
                self.error(format!("{path}: invalid cidr: {network}{place}"));
            }
        }
        list
    }

    fn unix_sockets(&mut self) -> UnixSockets {
        let text = self.owned("unix_sockets.mode");
        let mode = if text.is_empty() {
            None
        } else {
            u32::from_str_radix(&text, 8).ok()
        };
        if !text.is_empty() && mode.is_none_or(|mode| mode > 0o7777) {
            let place = self.place("unix_sockets.mode");
            self.error(format!(
                "unix_sockets.mode: invalid mode: {}{place}",
                go_quote(&text)
            ));
        }
        UnixSockets {
            user: self.owned("unix_sockets.user"),
            group: self.owned("unix_sockets.group"),
            mode,
        }
    }
}

/// The keys of a gossip pool.
struct PoolKeys {
    gossip: &'static str,
    cidrs: &'static str,
    reconnect: &'static str,
}

impl PoolKeys {
    const LAN: PoolKeys = PoolKeys {
        gossip: "gossip_lan",
        cidrs: "serf_lan_allowed_cidrs",
        reconnect: "reconnect_timeout",
    };
    const WAN: PoolKeys = PoolKeys {
        gossip: "gossip_wan",
        cidrs: "serf_wan_allowed_cidrs",
        reconnect: "reconnect_timeout_wan",
    };
}

fn addr(word: &str) -> Option<Addr> {
    if let Some(path) = word.strip_prefix("unix://") {
        return Some(Addr::Unix(path.to_string()));
    }
    let bare = word.trim_start_matches('[').trim_end_matches(']');
    bare.parse().ok().map(Addr::Ip)
}

fn is_network(text: &str) -> bool {
    let Some((addr, bits)) = text.split_once('/') else {
        return false;
    };
    let (Ok(addr), Ok(bits)) = (addr.parse::<IpAddr>(), bits.parse::<u8>()) else {
        return false;
    };
    bits <= if addr.is_ipv4() { 32 } else { 128 }
}
