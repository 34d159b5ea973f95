//! Network interfaces and their addresses.

use std::ffi::CStr;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ptr;

use lictor_sockaddr::{Flags, Interface, parse_proc_net_ipv6_route, parse_proc_net_route};

/// The network interfaces of this machine, by their numbers, with the one of the
/// default route marked: that of IPv4, or of IPv6 if IPv4 has none.
///
/// # Errors
///
/// If the system does not list them.
pub fn interfaces() -> io::Result<Vec<Interface>> {
    let v4 = crate::read("/proc/net/route").unwrap_or_default();
    let v6 = crate::read("/proc/net/ipv6_route").unwrap_or_default();
    let default = parse_proc_net_route(&v4).or_else(|| parse_proc_net_ipv6_route(&v6));
    let mut all = collect(entries()?, default);
    for interface in &mut all {
        let read = |file: &str| {
            crate::line(&format!("/sys/class/net/{}/{file}", interface.name))?
                .parse()
                .ok()
        };
        interface.mtu = read("mtu").unwrap_or(0);
        if interface.index == 0 {
            interface.index = read("ifindex").unwrap_or(0);
        }
    }
    all.sort_by_key(|interface| interface.index);
    Ok(all)
}

/// One entry of `getifaddrs`: an address of an interface, or the interface itself.
struct Entry {
    name: String,
    /// The `IFF_` bits.
    flags: u32,
    kind: Kind,
}

enum Kind {
    Link {
        index: u32,
        address: Vec<u8>,
    },
    Address {
        address: IpAddr,
        prefix: u8,
    },
    /// An address of no concern here, or none.
    Other,
}

/// Joins the entries of each interface.
fn collect(entries: Vec<Entry>, default: Option<&str>) -> Vec<Interface> {
    let mut all: Vec<Interface> = Vec::new();
    for entry in entries {
        // An address may have a label of its own, such as `eth0:1`.
        let known = |name: &str| all.iter().position(|interface| interface.name == name);
        let base = entry.name.split(':').next().unwrap_or_default();
        let at = known(&entry.name)
            .or_else(|| known(base))
            .unwrap_or_else(|| {
                all.push(Interface {
                    name: entry.name.clone(),
                    flags: Flags::from_linux(entry.flags),
                    is_default_route: default == Some(entry.name.as_str()),
                    ..Interface::default()
                });
                all.len() - 1
            });
        match entry.kind {
            Kind::Link { index, address } => {
                all[at].index = index;
                all[at].hardware_address = address;
            }
            Kind::Address { address, prefix } => all[at].addresses.push((address, prefix)),
            Kind::Other => {}
        }
    }
    all
}

/// The list that the system keeps, freed when dropped.
struct List(*mut libc::ifaddrs);

impl Drop for List {
    fn drop(&mut self) {
        // SAFETY: the pointer is the one `getifaddrs` gave, and is not used again.
        unsafe { libc::freeifaddrs(self.0) }
    }
}

fn entries() -> io::Result<Vec<Entry>> {
    let mut first = ptr::null_mut();
    // SAFETY: `first` is writable; the call sets it if it succeeds.
    if unsafe { libc::getifaddrs(&mut first) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let list = List(first);
    let mut out = Vec::new();
    let mut next = list.0;
    // SAFETY: each pointer of the list is null, at its end, or leads to an entry
    // that lives, unchanged, as long as `list`.
    while let Some(entry) = unsafe { next.as_ref() } {
        next = entry.ifa_next;
        // SAFETY: the name of an entry is a string that ends in a zero byte and
        // lives as long as `list`.
        let name = unsafe { CStr::from_ptr(entry.ifa_name) }
            .to_string_lossy()
            .into_owned();
        // SAFETY: both are null or lead to socket addresses of the list.
        let kind = unsafe { kind(entry.ifa_addr, entry.ifa_netmask) };
        out.push(Entry {
            name,
            flags: entry.ifa_flags,
            kind,
        });
    }
    Ok(out)
}

/// Reads the address of an entry, and its netmask.
///
/// # Safety
///
/// Each pointer is null or leads to a socket address that is as large as its
/// family says and that nothing changes meanwhile.
unsafe fn kind(address: *const libc::sockaddr, netmask: *const libc::sockaddr) -> Kind {
    if address.is_null() {
        return Kind::Other;
    }
    // SAFETY: not null; every socket address begins with its family. It may lie
    // at any place, so it is read as if unaligned.
    let family = unsafe { ptr::read_unaligned(&raw const (*address).sa_family) };
    match i32::from(family) {
        libc::AF_PACKET => {
            // SAFETY: of this family, hence a `sockaddr_ll`.
            let link = unsafe { ptr::read_unaligned(address.cast::<libc::sockaddr_ll>()) };
            let length = usize::from(link.sll_halen).min(link.sll_addr.len());
            Kind::Link {
                index: u32::try_from(link.sll_ifindex).unwrap_or(0),
                address: link.sll_addr[..length].to_vec(),
            }
        }
        libc::AF_INET => {
            let v4 = |at: *const libc::sockaddr| {
                // SAFETY: not null, as tested before each use; of this family,
                // hence a `sockaddr_in`, as is the mask of such an address.
                u32::from_be(
                    unsafe { ptr::read_unaligned(at.cast::<libc::sockaddr_in>()) }
                        .sin_addr
                        .s_addr,
                )
            };
            let prefix = if netmask.is_null() {
                32
            } else {
                v4(netmask).leading_ones()
            };
            Kind::Address {
                address: Ipv4Addr::from(v4(address)).into(),
                prefix: prefix as u8,
            }
        }
        libc::AF_INET6 => {
            let v6 = |at: *const libc::sockaddr| {
                // SAFETY: as above, for `sockaddr_in6`.
                u128::from_be_bytes(
                    unsafe { ptr::read_unaligned(at.cast::<libc::sockaddr_in6>()) }
                        .sin6_addr
                        .s6_addr,
                )
            };
            let prefix = if netmask.is_null() {
                128
            } else {
                v6(netmask).leading_ones()
            };
            Kind::Address {
                address: Ipv6Addr::from(v6(address)).into(),
                prefix: prefix as u8,
            }
        }
        _ => Kind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_here() {
        let all = interfaces().unwrap();
        let lo = all.iter().find(|interface| interface.name == "lo").unwrap();
        assert!(
            lo.addresses.contains(&("127.0.0.1".parse().unwrap(), 8)),
            "{lo:?}"
        );
        assert!(lo.flags.contains(Flags::UP | Flags::LOOPBACK));
        assert!(lo.index > 0 && lo.mtu > 0 && !lo.is_default_route);
        assert!(
            all.iter()
                .filter(|interface| interface.is_default_route)
                .count()
                <= 1
        );
        assert!(all.is_sorted_by_key(|interface| interface.index));
    }

    #[test]
    fn entries_are_joined() {
        let entry = |name: &str, kind| Entry {
            name: name.into(),
            flags: 0x1043,
            kind,
        };
        let address = |text: &str, prefix| Kind::Address {
            address: text.parse().unwrap(),
            prefix,
        };
        let all = collect(
            vec![
                entry(
                    "lo",
                    Kind::Link {
                        index: 1,
                        address: vec![0; 6],
                    },
                ),
                entry(
                    "eth0",
                    Kind::Link {
                        index: 2,
                        address: vec![2, 0, 0, 0, 0, 1],
                    },
                ),
                entry("tun0", Kind::Other),
                entry("lo", address("127.0.0.1", 8)),
                entry("eth0", address("10.0.0.5", 24)),
                entry("eth0:1", address("10.0.0.6", 32)),
                entry("odd:1", address("10.9.0.1", 16)),
                entry("eth0", address("fe80::1", 64)),
            ],
            Some("eth0"),
        );
        let names: Vec<_> = all
            .iter()
            .map(|interface| interface.name.as_str())
            .collect();
        assert_eq!(names, ["lo", "eth0", "tun0", "odd:1"]);
        let eth0 = &all[1];
        assert!(eth0.is_default_route && !all[0].is_default_route);
        assert_eq!(eth0.hardware_address, [2, 0, 0, 0, 0, 1]);
        assert_eq!(
            eth0.flags,
            Flags::UP | Flags::BROADCAST | Flags::RUNNING | Flags::MULTICAST
        );
        let shown: Vec<_> = eth0
            .addresses
            .iter()
            .map(|(ip, prefix)| format!("{ip}/{prefix}"))
            .collect();
        assert_eq!(shown, ["10.0.0.5/24", "10.0.0.6/32", "fe80::1/64"]);
    }
}
