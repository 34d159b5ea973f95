//! Functions that choose among all addresses of the machine.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::address::Address;
use crate::filter::{Keep, filter};
use crate::interface::{Flags, IfAddr, Interface, all};
use crate::order::{join, sort_by_default_type_and_size, sort_by_type_and_size};
use crate::rfc;

/// `GetDefaultInterfaces`: the addresses of the default route's interface.
pub(crate) fn default_interfaces(interfaces: &[Interface]) -> Result<Vec<IfAddr<'_>>, String> {
    if !interfaces.iter().any(|i| i.is_default_route) {
        return Err("No default interface found".to_owned());
    }
    let mut list = all(interfaces);
    list.retain(|item| item.interface.is_default_route);
    Ok(list)
}

/// `GetPrivateInterfaces`: what RFC 6890 sets apart and routers forward, on
/// interfaces that are up, the default route's first.
pub(crate) fn private_interfaces(interfaces: &[Interface]) -> Vec<IfAddr<'_>> {
    let mut list = forwardable_and_up(interfaces);
    list.retain(|item| rfc::is_special_purpose(item.address));
    list
}

/// `GetPublicInterfaces`: the same of what RFC 6890 does not set apart.
pub(crate) fn public_interfaces(interfaces: &[Interface]) -> Vec<IfAddr<'_>> {
    let mut list = forwardable_and_up(interfaces);
    list.retain(|item| !rfc::is_special_purpose(item.address));
    list
}

fn forwardable_and_up(interfaces: &[Interface]) -> Vec<IfAddr<'_>> {
    let mut list = all(interfaces);
    list.retain(|item| {
        rfc::is_forwardable(item.address) && item.interface.flags.contains(Flags::UP)
    });
    sort_by_default_type_and_size(&mut list);
    list
}

/// `GetPrivateIPs`: every address RFC 6890 sets apart that routers forward.
/// The interface need not be up.
pub(crate) fn private_ips(interfaces: &[Interface]) -> Result<String, String> {
    let mut list = all(interfaces);
    sort_by_type_and_size(&mut list);
    list.retain(|item| rfc::is_special_purpose(item.address) && rfc::is_forwardable(item.address));
    join("address", " ", &list)
}

/// `GetPublicIPs`: every address RFC 6890 does not set apart. The interface
/// need not be up, nor routers forward it.
pub(crate) fn public_ips(interfaces: &[Interface]) -> Result<String, String> {
    let mut list = all(interfaces);
    sort_by_type_and_size(&mut list);
    list.retain(|item| !rfc::is_special_purpose(item.address));
    join("address", " ", &list)
}

/// `GetInterfaceIP`: the first forwardable address of interfaces whose name
/// matches the regular expression, or nothing.
pub(crate) fn interface_ip(pattern: &str, interfaces: &[Interface]) -> Result<String, String> {
    let mut list = filter(Keep::Matching, "name", pattern, &all(interfaces))?;
    list.retain(|item| rfc::is_forwardable(item.address));
    sort_by_type_and_size(&mut list);
    first_address(&list)
}

/// `GetInterfaceIPs`: all addresses of interfaces whose name matches.
pub(crate) fn interface_ips(pattern: &str, interfaces: &[Interface]) -> Result<String, String> {
    let mut list = filter(Keep::Matching, "name", pattern, &all(interfaces))?;
    sort_by_type_and_size(&mut list);
    join("address", " ", &list)
}

/// The first address of a list as text, or nothing.
pub(crate) fn first_address(list: &[IfAddr<'_>]) -> Result<String, String> {
    list.first()
        .map_or_else(|| Ok(String::new()), |item| item.attribute("address"))
}

/// Blocks that do not count as public when the agent looks for an address to
/// advertise. The list is Consul's own and not go-sockaddr's.
const NOT_PUBLIC: &[Address] = &[
    Address::v4([10, 0, 0, 0], 8),                      // RFC 1918
    Address::v4([100, 64, 0, 0], 10),                   // RFC 6598
    Address::v4([127, 0, 0, 0], 8),                     // RFC 1122, loopback
    Address::v4([169, 254, 0, 0], 16),                  // RFC 3927, link-local
    Address::v4([172, 16, 0, 0], 12),                   // RFC 1918
    Address::v4([192, 0, 0, 0], 24),                    // RFC 6890
    Address::v4([192, 0, 2, 0], 24),                    // RFC 5737, documentation
    Address::v4([192, 168, 0, 0], 16),                  // RFC 1918
    Address::v6([0, 0, 0, 0, 0, 0, 0, 1], 128),         // RFC 4291, loopback
    Address::v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10),     // RFC 4291, link-local
    Address::v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7),      // RFC 4193
    Address::v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10),     // RFC 3879, site-local
    Address::v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32), // RFC 3849
];

/// The private IPv4 addresses the agent may advertise if it is told none.
///
/// Those of all interfaces that are up, in order; those of loopback interfaces
/// only if no other interface that is up has any address. With more than one,
/// Consul refuses to choose.
pub fn private_ip_v4(interfaces: &[Interface]) -> Vec<Ipv4Addr> {
    active(interfaces)
        .filter(|ip| is_private(*ip))
        .filter_map(|ip| match ip {
            IpAddr::V4(ip) => Some(ip),
            IpAddr::V6(_) => None,
        })
        .collect()
}

/// The public IPv6 addresses the agent may advertise if it is bound to `::`
/// and told none. Of the same interfaces as for [`private_ip_v4`].
pub fn public_ip_v6(interfaces: &[Interface]) -> Vec<Ipv6Addr> {
    active(interfaces)
        .filter(|ip| !is_private(*ip))
        .filter_map(|ip| match ip {
            IpAddr::V4(_) => None,
            IpAddr::V6(ip) => Some(ip),
        })
        .collect()
}

fn is_private(ip: IpAddr) -> bool {
    rfc::any_contains(NOT_PUBLIC, Address::new(ip, 128))
}

/// Addresses of interfaces that are up, loopback only if there is no other.
fn active(interfaces: &[Interface]) -> impl Iterator<Item = IpAddr> {
    let is_loopback = |i: &Interface| i.flags.contains(Flags::LOOPBACK);
    let up = |i: &&Interface| i.flags.contains(Flags::UP) && !i.addresses.is_empty();
    let only_loopback = interfaces.iter().filter(up).all(is_loopback);
    interfaces
        .iter()
        .filter(up)
        .filter(move |i| only_loopback || !is_loopback(i))
        .flat_map(|i| i.addresses.iter().map(|(ip, _)| ip.to_canonical()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(name: &str, flags: Flags, addresses: &[&str]) -> Interface {
        Interface {
            name: name.into(),
            flags,
            addresses: addresses
                .iter()
                .map(|text| (text.parse().unwrap(), 24))
                .collect(),
            ..Interface::default()
        }
    }

    fn texts<T: ToString>(list: &[T]) -> Vec<String> {
        list.iter().map(T::to_string).collect()
    }

    #[test]
    fn addresses_to_advertise() {
        let lo = interface("lo", Flags::UP | Flags::LOOPBACK, &["127.0.0.1", "::1"]);
        let eth0 = interface(
            "eth0",
            Flags::UP,
            &["8.8.8.8", "10.0.0.5", "2600::5", "fd00::5", "fe80::5"],
        );
        let eth1 = interface(
            "eth1",
            Flags::UP,
            &["100.64.0.1", "198.18.0.1", "2001:db8::1"],
        );
        let down = interface("eth2", Flags::default(), &["10.0.0.9", "2600::9"]);
        let empty = interface("eth3", Flags::UP, &[]);

        let all = [lo.clone(), eth0, eth1, down.clone(), empty.clone()];
        assert_eq!(texts(&private_ip_v4(&all)), ["10.0.0.5", "100.64.0.1"]);
        assert_eq!(texts(&public_ip_v6(&all)), ["2600::5"]);

        let alone = [lo, down, empty];
        assert_eq!(texts(&private_ip_v4(&alone)), ["127.0.0.1"]);
        assert!(public_ip_v6(&alone).is_empty());
        assert!(private_ip_v4(&[]).is_empty());
    }

    #[test]
    fn mapped_addresses_are_ipv4() {
        let eth0 = interface("eth0", Flags::UP, &["::ffff:10.0.0.5", "::ffff:8.8.8.8"]);
        let all = [eth0];
        assert_eq!(texts(&private_ip_v4(&all)), ["10.0.0.5"]);
        assert!(public_ip_v6(&all).is_empty());
    }
}
