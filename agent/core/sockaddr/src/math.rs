//! `math`: calculating with addresses.

use crate::address::{Address, Family};
use crate::interface::IfAddr;
use crate::number::{parse_int, parse_uint};
use crate::quote::quote;

/// Applies `math` to every address of a list.
///
/// * `address` adds a signed number, wrapping at the ends of the family.
/// * `network` counts from the network's first address, or with a negative
///   number back from one past its last, staying within the network.
/// * `mask` clears all bits after a prefix; the network only ever widens.
pub(crate) fn math<'a>(
    operation: &str,
    value: &str,
    list: &[IfAddr<'a>],
) -> Result<Vec<IfAddr<'a>>, String> {
    let lower = operation.to_lowercase();
    list.iter()
        .map(|item| {
            let address = match lower.as_str() {
                "address" => add(operation, value, item.address),
                "network" => in_network(operation, value, item.address),
                "mask" => mask(operation, value, item.address),
                _ => Err(format!("unsupported math operation: {}", quote(operation))),
            };
            match address {
                Ok(address) => Ok(IfAddr { address, ..*item }),
                Err(error) => Err(format!(
                    "unable to perform an IPMath operation on {item}: {error}"
                )),
            }
        })
        .collect()
}

/// Reads a number that has to have a sign, so that nobody takes it for an
/// address.
fn signed(operation: &str, value: &str, family: Family) -> Result<i64, String> {
    if !value.trim_ascii_start().starts_with(['+', '-']) {
        return Err(format!(
            "sign (+/-) is required for operation {}",
            quote(operation)
        ));
    }
    // One bit more than an IPv4 address, to reach all of them both ways.
    let bits = match family {
        Family::V4 => 33,
        Family::V6 => 64,
    };
    parse_int(value, bits).map_err(|e| not_a_number(operation, value, &e))
}

fn not_a_number(operation: &str, value: &str, error: &str) -> String {
    format!(
        "unable to convert {} to int for operation {}: {error}",
        quote(value),
        quote(operation)
    )
}

fn add(operation: &str, value: &str, address: Address) -> Result<Address, String> {
    let distance = signed(operation, value, address.family)?;
    Ok(address.with_bits(address.bits.wrapping_add_signed(i128::from(distance))))
}

fn in_network(operation: &str, value: &str, address: Address) -> Result<Address, String> {
    let distance = signed(operation, value, address.family)?;
    let host = if distance >= 0 {
        u128::from(distance.unsigned_abs())
    } else {
        // One past the last host is host 0 again.
        address
            .host_mask()
            .wrapping_add(1)
            .wrapping_sub(u128::from(distance.unsigned_abs()))
    };
    Ok(address.with_bits(address.network() | (host & address.host_mask())))
}

fn mask(operation: &str, value: &str, address: Address) -> Result<Address, String> {
    let prefix = parse_uint(value, 32).map_err(|e| not_a_number(operation, value, &e))?;
    let width = address.family.width();
    let Some(prefix) = u8::try_from(prefix).ok().filter(|&p| p <= width) else {
        // go-sockaddr says 64 here, although it takes up to 128.
        let (family, most) = match address.family {
            Family::V4 => ("ipv4", 32),
            Family::V6 => ("ipv6", 64),
        };
        return Err(format!(
            "parameter for operation {} on {family} addresses must be between 0 and {most}",
            quote(operation)
        ));
    };
    let wanted = Address { prefix, ..address };
    Ok(Address {
        prefix: prefix.min(address.prefix),
        ..address.with_bits(wanted.network())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(operation: &str, value: &str, address: &str) -> String {
        let address = Address::parse(address).unwrap();
        let result = match operation {
            "address" => add(operation, value, address),
            "network" => in_network(operation, value, address),
            _ => mask(operation, value, address),
        };
        result.unwrap().to_string()
    }

    #[test]
    fn wraps_within_the_family() {
        assert_eq!(run("address", "+1", "255.255.255.255/8"), "0.0.0.0/8");
        assert_eq!(run("address", "-4294967296", "1.2.3.4"), "1.2.3.4");
        assert_eq!(
            run("address", "-1", "::/0"),
            "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/0"
        );
        assert_eq!(
            run("address", "-9223372036854775808", "::1"),
            "ffff:ffff:ffff:ffff:8000::1"
        );
    }

    #[test]
    fn stays_within_the_network() {
        assert_eq!(run("network", "+0", "fd00:1::7/48"), "fd00:1::/48");
        assert_eq!(run("network", "-1", "10.1.2.3/0"), "255.255.255.255/0");
        assert_eq!(
            run("network", "-9223372036854775808", "::/0"),
            "ffff:ffff:ffff:ffff:8000::/0"
        );
        assert_eq!(
            run("network", "-9223372036854775808", "fd00::1/128"),
            "fd00::1"
        );
        assert_eq!(run("network", "+4294967295", "10.1.2.3/30"), "10.1.2.3/30");
    }

    #[test]
    fn masks_widen_only() {
        assert_eq!(run("mask", "128", "fd00::1/64"), "fd00::1/64");
        assert_eq!(run("mask", "0", "fd00::1/64"), "::/0");
        assert_eq!(run("mask", "16", "10.1.2.3/8"), "10.1.0.0/8");
    }
}
