//! An address together with the length of its network's prefix.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The family of an address. IPv4 sorts first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    /// Bits of an address.
    pub(crate) const fn width(self) -> u8 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }

    /// The mask that leaves only the bits an address of this family has.
    const fn all(self) -> u128 {
        match self {
            Self::V4 => u32::MAX as u128,
            Self::V6 => u128::MAX,
        }
    }

    /// The name the attribute `type` gives.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }
}

/// An address in its network: `10.0.0.5/24`.
///
/// The bits of an IPv4 address are the low 32 of `bits`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) family: Family,
    pub(crate) bits: u128,
    pub(crate) prefix: u8,
}

impl Address {
    /// An IPv4 network, for tables.
    pub(crate) const fn v4(octets: [u8; 4], prefix: u8) -> Self {
        Self {
            family: Family::V4,
            bits: u32::from_be_bytes(octets) as u128,
            prefix,
        }
    }

    /// An IPv6 network, for tables: all 16-bit groups, most significant first.
    pub(crate) const fn v6(groups: [u16; 8], prefix: u8) -> Self {
        let mut bits = 0;
        let mut i = 0;
        while i < 8 {
            bits = (bits << 16) | groups[i] as u128;
            i += 1;
        }
        Self {
            family: Family::V6,
            bits,
            prefix,
        }
    }

    /// An interface's address. A prefix longer than the address counts as the
    /// whole address, and an IPv4 address mapped into IPv6 (RFC 4291, section
    /// 2.5.5.2) as the IPv4 address, as in Go's `net`.
    pub(crate) fn new(ip: IpAddr, prefix: u8) -> Self {
        match ip {
            IpAddr::V4(ip) => Self::v4(ip.octets(), prefix.min(32)),
            IpAddr::V6(ip) => match ip.to_ipv4_mapped() {
                Some(ip) => Self::v4(ip.octets(), prefix.min(128).saturating_sub(96)),
                None => Self::v6(ip.segments(), prefix.min(128)),
            },
        }
    }

    /// Reads the argument of `include "network"`: an address, an address with
    /// a prefix length, or an address with a port, which does not count.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if let Some((ip, prefix)) = text.split_once('/') {
            // Some VPN clients write the mask of an IPv4 address as eight hex
            // digits; go-sockaddr drops those and keeps the address.
            if prefix.len() == 8
                && prefix.bytes().all(|b| b.is_ascii_hexdigit())
                && let Ok(ip) = ip.parse::<Ipv4Addr>()
            {
                return Some(Self::v4(ip.octets(), 32));
            }
            return Self::from_cidr(ip.parse().ok()?, parse_prefix(prefix)?);
        }
        if let Some(ip) = text.parse().ok().or_else(|| parse_with_port(text)) {
            return Some(Self::new(ip, 128));
        }
        // Square brackets without a port are understood around IPv6 only.
        let inner = text.strip_prefix('[')?.strip_suffix(']')?;
        let ip: Ipv6Addr = inner.parse().ok()?;
        Some(Self::v6(ip.segments(), 128))
    }

    fn from_cidr(ip: IpAddr, prefix: u8) -> Option<Self> {
        match ip {
            IpAddr::V4(v4) => (prefix <= 32).then(|| Self::v4(v4.octets(), prefix)),
            IpAddr::V6(v6) if prefix <= 128 => Some(match v6.to_ipv4_mapped() {
                // Prefixes within the mapping's own 96 bits make no sense; Go
                // takes the first 32 bits of such a mask.
                Some(v4) if prefix < 96 => Self::v4(v4.octets(), prefix.min(32)),
                Some(v4) => Self::v4(v4.octets(), prefix - 96),
                None => Self::v6(v6.segments(), prefix),
            }),
            IpAddr::V6(_) => None,
        }
    }

    /// The mask of the network.
    pub(crate) const fn mask(self) -> u128 {
        self.family.all() & !self.host_mask()
    }

    /// The bits that number hosts within the network.
    pub(crate) const fn host_mask(self) -> u128 {
        if self.prefix == 0 {
            return self.family.all();
        }
        let hosts = self.family.width() - self.prefix;
        // Fits: the prefix is at least 1, so fewer than 128 bits remain.
        (1 << hosts) - 1
    }

    /// The first address of the network.
    pub(crate) const fn network(self) -> u128 {
        self.bits & self.mask()
    }

    /// The last address of the network: the broadcast address of IPv4.
    pub(crate) const fn last(self) -> u128 {
        self.network() | self.host_mask()
    }

    /// The same network with another address, wrapped to the family's width.
    pub(crate) const fn with_bits(self, bits: u128) -> Self {
        Self {
            bits: bits & self.family.all(),
            ..self
        }
    }

    /// Whether `other`'s whole network lies in this one.
    pub(crate) fn contains(self, other: Self) -> bool {
        self.family == other.family
            && self.network() <= other.network()
            && self.last() >= other.last()
    }

    /// The address as the standard library's type. What is IPv4 mapped into
    /// IPv6 becomes IPv4, so that predicates see what Go's see.
    pub(crate) fn ip(self) -> IpAddr {
        self.ip_of(self.bits).to_canonical()
    }

    fn ip_of(self, bits: u128) -> IpAddr {
        match self.family {
            // Never truncates: `bits` is kept within the family's width.
            Family::V4 => IpAddr::V4(Ipv4Addr::from_bits(bits as u32)),
            Family::V6 => IpAddr::V6(Ipv6Addr::from_bits(bits)),
        }
    }

    /// Writes bits of this address's family as Go writes addresses, mapped
    /// IPv4 as plain IPv4.
    fn text(self, bits: u128) -> String {
        self.ip_of(bits).to_canonical().to_string()
    }

    /// The attribute of this lower-case name, if addresses of the family have
    /// it.
    pub(crate) fn attribute(self, name: &str) -> Option<String> {
        // IPv4 networks of one or two addresses have neither a network nor a
        // broadcast address to leave out (RFC 3021); IPv6 has no broadcast.
        let reserved = u128::from(self.family == Family::V4 && self.prefix < 31);
        Some(match (name, self.family) {
            ("address" | "host", _) => self.text(self.bits),
            ("network", _) => self.text(self.network()),
            ("netmask", _) => self.text(self.mask()),
            ("first_usable", _) => self.text(self.network() + reserved),
            ("last_usable", _) => self.text(self.last() - reserved),
            ("mask_bits", _) => self.prefix.to_string(),
            // Addresses of interfaces never have a port.
            ("port", _) => "0".to_owned(),
            ("size", _) => match self.host_mask().checked_add(1) {
                Some(size) => size.to_string(),
                None => "340282366920938463463374607431768211456".to_owned(),
            },
            ("octets", _) => {
                let octets = self.bits.to_be_bytes();
                let width = usize::from(self.family.width() / 8);
                let texts: Vec<String> = octets[16 - width..].iter().map(u8::to_string).collect();
                texts.join(" ")
            }
            ("binary", Family::V4) => format!("{:032b}", self.bits),
            ("binary", Family::V6) => format!("{:0128b}", self.bits),
            ("hex", Family::V4) => format!("{:08x}", self.bits),
            ("hex", Family::V6) => format!("{:032x}", self.bits),
            ("broadcast", Family::V4) => self.text(self.last()),
            ("uint32", Family::V4) | ("uint128", Family::V6) => self.bits.to_string(),
            ("string", _) => self.to_string(),
            ("type", _) => self.family.name().to_owned(),
            _ => return None,
        })
    }
}

/// Writes the address with its prefix length, if that is not the whole address.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text(self.bits))?;
        if self.prefix < self.family.width() {
            write!(f, "/{}", self.prefix)?;
        }
        Ok(())
    }
}

/// Reads a prefix length: digits only, leading zeros allowed.
fn parse_prefix(text: &str) -> Option<u8> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

fn parse_with_port(text: &str) -> Option<IpAddr> {
    let (host, port) = text.rsplit_once(':')?;
    let digits = port.bytes().all(|b| b.is_ascii_digit());
    if !digits || (!port.is_empty() && port.parse::<u16>().is_err()) {
        return None;
    }
    match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        Some(host) => host.parse().ok(),
        None => host.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_networks() {
        let cases = [
            ("10.0.0.0/8", Some("10.0.0.0/8")),
            ("10.0.0.0/08", Some("10.0.0.0/8")),
            ("10.0.0.5", Some("10.0.0.5")),
            ("10.0.0.5:80", Some("10.0.0.5")),
            ("[10.0.0.5]:80", Some("10.0.0.5")),
            ("10.0.0.5:", Some("10.0.0.5")),
            ("10.0.0.5/00ffffff", Some("10.0.0.5")),
            ("fd00::/00000040", Some("fd00::/40")),
            ("::1", Some("::1")),
            ("fd00::/8", Some("fd00::/8")),
            ("[::1]", Some("::1")),
            ("[::1]:80", Some("::1")),
            ("::ffff:10.0.0.0/104", Some("10.0.0.0/8")),
            ("::ffff:10.0.0.1/24", Some("10.0.0.1/24")),
            ("::ffff:10.0.0.1", Some("10.0.0.1")),
            ("", None),
            (":80", None),
            ("10.0.0.0/33", None),
            ("10.0.0.0/-1", None),
            ("10.0.0.0/+8", None),
            ("10.0.0.0/", None),
            ("10.0.0.0/256", None),
            ("10.0.0", None),
            ("010.0.0.1", None),
            ("10.0.0.5:70000", None),
            ("10.0.0.5:http", None),
            ("[10.0.0.5]", None),
            ("::/129", None),
            ("fe80::1%eth0", None),
            ("localhost", None),
        ];
        for (text, expected) in cases {
            let got = Address::parse(text).map(|a| a.to_string());
            assert_eq!(got.as_deref(), expected, "{text:?}");
        }
    }

    #[test]
    fn a_prefix_never_exceeds_the_address() {
        let v4 = Address::new("10.0.0.1".parse().unwrap(), 200);
        assert_eq!(v4.to_string(), "10.0.0.1");
        let v6 = Address::new("fd00::1".parse().unwrap(), 200);
        assert_eq!(v6.to_string(), "fd00::1");
        let mapped = Address::new("::ffff:10.0.0.1".parse().unwrap(), 120);
        assert_eq!(mapped.to_string(), "10.0.0.1/24");
    }

    #[test]
    fn containment_is_of_whole_networks() {
        let net = |text| Address::parse(text).unwrap();
        assert!(net("10.0.0.0/8").contains(net("10.1.2.3/16")));
        assert!(net("10.0.0.0/8").contains(net("10.0.0.0/8")));
        assert!(!net("10.0.0.0/24").contains(net("10.0.0.5/16")));
        assert!(!net("0.0.0.0/0").contains(net("::1")));
        assert!(net("::/0").contains(net("ffff::/16")));
    }

    #[test]
    fn the_edges_of_the_address_space_do_not_overflow() {
        for text in ["0.0.0.0/0", "255.255.255.255/0", "::/0", "255.255.255.255"] {
            let address = Address::parse(text).unwrap();
            for name in ["first_usable", "last_usable", "size", "netmask", "network"] {
                assert!(address.attribute(name).is_some(), "{text} {name}");
            }
        }
    }
}
