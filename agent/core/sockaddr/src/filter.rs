//! `include` and `exclude`: dividing a list by a property of its elements.

use std::net::IpAddr;

use regex::{Regex, RegexBuilder};

use crate::address::{Address, Family};
use crate::interface::{Flags, IfAddr};
use crate::limits;
use crate::number::parse_uint;
use crate::quote::{quote, quote_ascii};
use crate::rfc;

/// Which half of the list a filter keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    /// `include`
    Matching,
    /// `exclude`
    Others,
}

/// Applies `include` or `exclude` with a selector and its value.
pub(crate) fn filter<'a>(
    keep: Keep,
    selector: &str,
    value: &str,
    list: &[IfAddr<'a>],
) -> Result<Vec<IfAddr<'a>>, String> {
    let mut half = Half {
        keep,
        kept: Vec::new(),
    };
    match selector.to_lowercase().as_str() {
        "address" => {
            let regex = compile("address", value)?;
            half.divide(list, |a| regex.is_match(&a.address.to_string()))?;
        }
        "flag" | "flags" => {
            let wanted = WantedFlags::parse(value)?;
            half.divide(list, |a| wanted.matches(a))?;
        }
        "name" => {
            let regex = compile("name", value)?;
            half.divide(list, |a| regex.is_match(&a.interface.name))?;
        }
        "network" => {
            for text in value.split('|') {
                let network = Address::parse(text).ok_or_else(|| {
                    format!(
                        "unable to create an IP address from {}: invalid IPAddr {text}",
                        quote_ascii(text)
                    )
                })?;
                half.divide(list, |a| network.contains(a.address))?;
            }
        }
        "port" => {
            // Addresses of interfaces have no port, which reads as 0.
            let matched = compile("port", value)?.is_match("0");
            half.divide(list, |_| matched)?;
        }
        "rfc" | "rfcs" => {
            for text in value.split('|') {
                let blocks = rfc_blocks(text)
                    .map_err(|e| format!("unable to lookup RFC number {}: {e}", quote(text)))?;
                half.divide(list, |a| rfc::any_contains(blocks, a.address))?;
            }
        }
        "size" => {
            let size = parse_uint(value, 64)
                .map_err(|e| format!("invalid exclude size argument ({}): {e}", quote(value)))?;
            check_size(size, list)?;
            half.divide(list, |a| u64::from(a.address.prefix) == size)?;
        }
        "type" => half.divide_by_type(value, list)?,
        _ => {
            let word = match keep {
                Keep::Matching => "include",
                Keep::Others => "exclude",
            };
            return Err(format!("invalid {word} selector {}", quote(selector)));
        }
    }
    Ok(half.kept)
}

/// The half of a list that is kept. Alternatives are divided one after the
/// other, so an address can be kept several times.
struct Half<'a> {
    keep: Keep,
    kept: Vec<IfAddr<'a>>,
}

impl<'a> Half<'a> {
    fn push(&mut self, matched: bool, item: IfAddr<'a>) -> Result<(), String> {
        if matched == (self.keep == Keep::Matching) {
            if self.kept.len() >= limits::ADDRESSES {
                return Err(limits::too_many_addresses());
            }
            self.kept.push(item);
        }
        Ok(())
    }

    fn divide(
        &mut self,
        list: &[IfAddr<'a>],
        matches: impl Fn(&IfAddr<'a>) -> bool,
    ) -> Result<(), String> {
        list.iter()
            .try_for_each(|item| self.push(matches(item), *item))
    }

    /// Unlike the other alternatives, types are asked address by address.
    fn divide_by_type(&mut self, value: &str, list: &[IfAddr<'a>]) -> Result<(), String> {
        let value = value.to_lowercase();
        let types: Vec<&str> = value.split('|').collect();
        if let Some(bad) = types
            .iter()
            .find(|t| !matches!(**t, "ip" | "ipv4" | "ipv6" | "unix"))
        {
            return Err(format!("unsupported type {} {}", quote(bad), quote(&value)));
        }
        for item in list {
            for wanted in &types {
                let matched = match *wanted {
                    "ip" => true,
                    "ipv4" => item.address.family == Family::V4,
                    "ipv6" => item.address.family == Family::V6,
                    // No interface has an address of the local family.
                    _ => false,
                };
                self.push(matched, *item)?;
            }
        }
        Ok(())
    }
}

fn rfc_blocks(text: &str) -> Result<&'static [Address], String> {
    let number = parse_uint(text, 64)
        .map_err(|e| format!("unable to parse RFC number {}: {e}", quote(text)))?;
    rfc::blocks(number).ok_or_else(|| format!("unsupported RFC {number}"))
}

/// Refuses a prefix length that an address of the list cannot have.
fn check_size(size: u64, list: &[IfAddr<'_>]) -> Result<(), String> {
    for item in list {
        let family = item.address.family;
        if size > u64::from(family.width()) {
            return Err(format!(
                "mask size out of bounds for {} address: {size}",
                family.name()
            ));
        }
    }
    Ok(())
}

/// Compiles the regular expression of a selector.
fn compile(what: &str, pattern: &str) -> Result<Regex, String> {
    RegexBuilder::new(pattern)
        .size_limit(limits::REGEX)
        .build()
        .map_err(|error| {
            format!(
                "Unable to compile {what} regexp {}: error parsing regexp: {}",
                quote_ascii(pattern),
                reason(&error.to_string(), pattern)
            )
        })
}

/// Puts what is wrong with a pattern into the words of Go, where they are
/// common mistakes.
fn reason(error: &str, pattern: &str) -> String {
    let words = error
        .rsplit_once("error: ")
        .map_or(error, |(_, reason)| reason)
        .trim();
    match words {
        "unclosed group" => format!("missing closing ): `{pattern}`"),
        "unopened group" => format!("unexpected ): `{pattern}`"),
        "unclosed character class" => {
            let class = pattern.find('[').map_or(pattern, |at| &pattern[at..]);
            format!("missing closing ]: `{class}`")
        }
        "repetition operator missing expression" => {
            let operator = pattern.trim_start_matches(|c| !"*+?".contains(c));
            let operator = operator.chars().next().map_or("", |_| &operator[..1]);
            format!("missing argument to repetition operator: `{operator}`")
        }
        words => words.to_owned(),
    }
}

/// What `include "flags"` looks for: flags of the interface, properties of the
/// address, or both.
///
/// go-sockaddr matches if all the interface's flags are there *or* any of the
/// address's properties is, so `up|forwardable` takes what is either.
#[derive(Default)]
struct WantedFlags {
    interface: Option<Flags>,
    address: Vec<fn(Address) -> bool>,
}

impl WantedFlags {
    fn parse(text: &str) -> Result<Self, String> {
        let mut wanted = Self::default();
        for name in text.to_lowercase().split('|') {
            match name {
                "broadcast" => wanted.flag(Flags::BROADCAST),
                // Nothing asks for the absence of a flag: after "down", "up" is
                // no longer required, and that alone matches everything.
                "down" => {
                    let flags = wanted.interface.unwrap_or_default();
                    wanted.interface = Some(flags.without(Flags::UP));
                }
                "forwardable" => wanted.address.push(rfc::is_forwardable),
                "global unicast" => wanted.address.push(is_global_unicast),
                "interface-local multicast" => wanted.address.push(is_interface_local_multicast),
                "link-local multicast" => wanted.address.push(is_link_local_multicast),
                "link-local unicast" => wanted.address.push(is_link_local_unicast),
                "loopback" => {
                    wanted.flag(Flags::LOOPBACK);
                    wanted.address.push(|a| a.ip().is_loopback());
                }
                "multicast" => {
                    wanted.flag(Flags::MULTICAST);
                    wanted.address.push(|a| a.ip().is_multicast());
                }
                "point-to-point" => wanted.flag(Flags::POINT_TO_POINT),
                "unspecified" => wanted.address.push(|a| a.ip().is_unspecified()),
                "up" => wanted.flag(Flags::UP),
                unknown => {
                    return Err(format!("Unknown interface flag: {}", quote_ascii(unknown)));
                }
            }
        }
        Ok(wanted)
    }

    fn flag(&mut self, flag: Flags) {
        self.interface = Some(self.interface.unwrap_or_default() | flag);
    }

    fn matches(&self, item: &IfAddr<'_>) -> bool {
        self.interface
            .is_some_and(|flags| item.interface.flags.contains(flags))
            || self.address.iter().any(|property| property(item.address))
    }
}

/// The meaning of Go's `net.IP.IsGlobalUnicast`: private addresses count.
fn is_global_unicast(address: Address) -> bool {
    let ip = address.ip();
    let broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    !(broadcast
        || ip.is_unspecified()
        || ip.is_loopback()
        || ip.is_multicast()
        || is_link_local_unicast(address))
}

fn is_link_local_unicast(address: Address) -> bool {
    match address.ip() {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

fn is_link_local_multicast(address: Address) -> bool {
    match address.ip() {
        // RFC 5771, section 4: the local network control block.
        IpAddr::V4(ip) => ip.octets()[..3] == [224, 0, 0],
        IpAddr::V6(ip) => multicast_scope(ip.segments()[0]) == Some(2),
    }
}

fn is_interface_local_multicast(address: Address) -> bool {
    match address.ip() {
        IpAddr::V4(_) => false,
        IpAddr::V6(ip) => multicast_scope(ip.segments()[0]) == Some(1),
    }
}

/// The scope in the first group of an IPv6 multicast address, RFC 4291,
/// section 2.7.
const fn multicast_scope(group: u16) -> Option<u16> {
    if group >> 8 == 0xff {
        Some(group & 0xf)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interface::{Interface, all};

    fn one(address: &str, prefix: u8, flags: Flags) -> Interface {
        Interface {
            name: "eth0".into(),
            flags,
            addresses: vec![(address.parse().unwrap(), prefix)],
            ..Interface::default()
        }
    }

    #[test]
    fn properties_of_addresses() {
        let names = [
            "global unicast",
            "interface-local multicast",
            "link-local multicast",
            "link-local unicast",
            "loopback",
            "multicast",
            "unspecified",
            "forwardable",
        ];
        let cases = [
            ("10.0.0.1", "global unicast,forwardable"),
            ("127.0.0.1", "loopback"),
            ("0.0.0.0", "unspecified"),
            ("255.255.255.255", ""),
            ("224.0.0.251", "link-local multicast,multicast,forwardable"),
            ("224.0.1.1", "multicast,forwardable"),
            ("169.254.0.1", "link-local unicast"),
            ("::1", "loopback"),
            ("::", "unspecified"),
            ("fe80::1", "link-local unicast"),
            ("ff01::1", "interface-local multicast,multicast,forwardable"),
            ("ff12::1", "link-local multicast,multicast,forwardable"),
            ("ff05::2", "multicast,forwardable"),
            ("fd00::1", "global unicast,forwardable"),
        ];
        for (address, expected) in cases {
            let interfaces = [one(address, 128, Flags::default())];
            let list = all(&interfaces);
            let matching: Vec<&str> = names
                .into_iter()
                .filter(|name| {
                    let kept = filter(Keep::Matching, "flags", name, &list).unwrap();
                    !kept.is_empty()
                })
                .collect();
            assert_eq!(matching.join(","), expected, "{address}");
        }
    }

    #[test]
    fn a_list_cannot_grow_without_bound() {
        let interfaces = [one("10.0.0.1", 8, Flags::UP)];
        let list = all(&interfaces);
        let many = ["ip"; 1000].join("|");
        let once = filter(Keep::Matching, "type", &many, &list).unwrap();
        assert_eq!(once.len(), 1000);
        let error = filter(Keep::Matching, "type", &many, &once).unwrap_err();
        assert_eq!(error, limits::too_many_addresses());
        let many = ["10.0.0.0/8"; 1000].join("|");
        let error = filter(Keep::Matching, "network", &many, &once).unwrap_err();
        assert_eq!(error, limits::too_many_addresses());
    }

    #[test]
    fn a_regular_expression_cannot_grow_without_bound() {
        let error = filter(Keep::Matching, "name", "(a{1000}){1000}", &[]).unwrap_err();
        assert!(error.contains("size"), "{error}");
    }

    #[test]
    fn mistakes_in_regular_expressions_read_as_in_go() {
        let cases = [
            ("(", "missing closing ): `(`"),
            ("a)", "unexpected ): `a)`"),
            ("e[th", "missing closing ]: `[th`"),
            ("*", "missing argument to repetition operator: `*`"),
            ("|+", "missing argument to repetition operator: `+`"),
        ];
        for (pattern, expected) in cases {
            let error = filter(Keep::Others, "name", pattern, &[]).unwrap_err();
            assert!(error.ends_with(expected), "{error}");
        }
    }
}
