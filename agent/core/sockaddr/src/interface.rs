//! Network interfaces as the caller describes them.

use std::fmt;
use std::net::IpAddr;
use std::ops::BitOr;

use crate::address::Address;

/// What state a network interface is in and what it can do.
///
/// The names are those of Go's `net.Flags`, which templates print.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flags(u8);

impl Flags {
    /// Switched on by the administrator.
    pub const UP: Self = Self(1);
    /// Reaches all hosts of its network with one packet.
    pub const BROADCAST: Self = Self(1 << 1);
    /// Leads back to the machine itself.
    pub const LOOPBACK: Self = Self(1 << 2);
    /// Leads to one other host.
    pub const POINT_TO_POINT: Self = Self(1 << 3);
    /// Can send to groups of hosts.
    pub const MULTICAST: Self = Self(1 << 4);
    /// Has a carrier.
    pub const RUNNING: Self = Self(1 << 5);

    const NAMES: [&str; 6] = [
        "up",
        "broadcast",
        "loopback",
        "pointtopoint",
        "multicast",
        "running",
    ];

    /// Translates the `IFF_` bits of Linux, as `getifaddrs` and
    /// `/sys/class/net/*/flags` give them.
    pub const fn from_linux(bits: u32) -> Self {
        const TABLE: [(u32, Flags); 6] = [
            (0x1, Flags::UP),
            (0x2, Flags::BROADCAST),
            (0x8, Flags::LOOPBACK),
            (0x10, Flags::POINT_TO_POINT),
            (0x40, Flags::RUNNING),
            (0x1000, Flags::MULTICAST),
        ];
        let mut flags = 0;
        let mut i = 0;
        while i < TABLE.len() {
            if bits & TABLE[i].0 != 0 {
                flags |= TABLE[i].1.0;
            }
            i += 1;
        }
        Self(flags)
    }

    /// Whether all of `other` is set here. Nothing is always set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// These flags without those of `other`.
    pub(crate) const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

impl BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Writes the names of the flags set, separated by `|`, or `0`.
impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut first = true;
        for (bit, name) in Self::NAMES.iter().enumerate() {
            if self.0 & (1 << bit) != 0 {
                let separator = if first { "" } else { "|" };
                write!(f, "{separator}{name}")?;
                first = false;
            }
        }
        if first { f.write_str("0") } else { Ok(()) }
    }
}

/// A network interface and its addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Interface {
    /// The number the kernel gave it, from 1.
    pub index: u32,
    /// Its name, such as `eth0`.
    pub name: String,
    /// The largest packet it carries, in bytes.
    pub mtu: u32,
    /// Its link-layer address; empty or all zeros if it has none.
    pub hardware_address: Vec<u8>,
    /// Its state and abilities.
    pub flags: Flags,
    /// Its addresses, each with the length of its network's prefix in bits, in
    /// the order the machine lists them.
    pub addresses: Vec<(IpAddr, u8)>,
    /// Whether the machine's default route leaves by it. As in go-sockaddr,
    /// that is the default route of IPv4.
    pub is_default_route: bool,
}

/// Writes what Go prints for a `net.Interface`: index, MTU, name, link-layer
/// address and flags.
impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{} {} {} ", self.index, self.mtu, self.name)?;
        if self.hardware_address.iter().any(|&byte| byte != 0) {
            for (i, byte) in self.hardware_address.iter().enumerate() {
                let separator = if i == 0 { "" } else { ":" };
                write!(f, "{separator}{byte:02x}")?;
            }
        }
        write!(f, " {}}}", self.flags)
    }
}

/// One address of one interface: the element of every list in a template.
#[derive(Debug, Clone, Copy)]
pub(crate) struct IfAddr<'a> {
    pub(crate) address: Address,
    pub(crate) interface: &'a Interface,
}

impl IfAddr<'_> {
    /// The attribute of this name, in any case.
    pub(crate) fn attribute(&self, name: &str) -> Result<String, String> {
        let name = name.to_lowercase();
        let own = match name.as_str() {
            "name" => Some(self.interface.name.clone()),
            "flags" => Some(self.interface.flags.to_string()),
            _ => self.address.attribute(&name),
        };
        own.filter(|value| !value.is_empty())
            .ok_or_else(|| format!("unsupported attribute name {}", crate::quote::quote(&name)))
    }
}

impl fmt::Display for IfAddr<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.address, self.interface)
    }
}

/// All addresses of all interfaces, in order, up to the limit of a list.
pub(crate) fn all(interfaces: &[Interface]) -> Vec<IfAddr<'_>> {
    interfaces
        .iter()
        .flat_map(|interface| {
            interface.addresses.iter().map(|&(ip, prefix)| IfAddr {
                address: Address::new(ip, prefix),
                interface,
            })
        })
        .take(crate::limits::ADDRESSES)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_print_as_in_go() {
        assert_eq!(Flags::default().to_string(), "0");
        assert_eq!((Flags::RUNNING | Flags::UP).to_string(), "up|running");
        assert_eq!(Flags::POINT_TO_POINT.to_string(), "pointtopoint");
    }

    #[test]
    fn flags_of_linux() {
        // lo and eth0 as `/sys/class/net/*/flags` show them.
        assert_eq!(Flags::from_linux(0x9).to_string(), "up|loopback");
        assert_eq!(
            Flags::from_linux(0x1003).to_string(),
            "up|broadcast|multicast"
        );
        assert_eq!(
            Flags::from_linux(0x1_10d1).to_string(),
            "up|pointtopoint|multicast|running"
        );
        assert_eq!(Flags::from_linux(!0), Flags(0b11_1111));
    }

    #[test]
    fn a_hardware_address_of_zeros_is_none() {
        let mut interface = Interface {
            index: 1,
            name: "lo".into(),
            mtu: 65536,
            hardware_address: vec![0; 6],
            flags: Flags::UP,
            ..Interface::default()
        };
        assert_eq!(interface.to_string(), "{1 65536 lo  up}");
        interface.hardware_address = vec![2, 0x42, 0, 0, 0, 0xff];
        assert_eq!(interface.to_string(), "{1 65536 lo 02:42:00:00:00:ff up}");
    }
}
