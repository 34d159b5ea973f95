//! The settings that a reload may change and requests look at.

use crate::http::WaitLimits;
use http::header::{HeaderName, HeaderValue};
use lictor_config::Config;
use lictor_wire::GoDuration;
use std::net::IpAddr;

/// Settings of the HTTP interface as requests need them.
#[derive(Clone, Debug)]
pub struct Live {
    /// Limits of waiting.
    pub wait: WaitLimits,
    /// Headers added to every answer.
    pub response_headers: Vec<(HeaderName, HeaderValue)>,
    /// Path prefixes that answer 403.
    pub block_endpoints: Vec<String>,
    /// Networks that may write; empty: all.
    pub allow_write_from: Vec<(IpAddr, u8)>,
    /// Most bytes of a value.
    pub kv_max_value_size: usize,
    /// Shortest TTL of a session.
    pub session_ttl_min: GoDuration,
    /// Paths may hold unprintable characters.
    pub allow_unprintable: bool,
}

impl Live {
    /// What a configuration says.
    pub fn of(config: &Config) -> Live {
        let headers = config
            .http
            .response_headers
            .iter()
            .filter_map(|(name, value)| {
                Some((
                    HeaderName::try_from(name.as_str()).ok()?,
                    HeaderValue::try_from(value.as_str()).ok()?,
                ))
            });
        Live {
            wait: WaitLimits {
                default: config.default_query_time.to_std(),
                max: config.max_query_time.to_std(),
                discovery_max_stale: config.discovery_max_stale.to_std(),
                use_cache: config.http.use_cache,
            },
            response_headers: headers.collect(),
            block_endpoints: config.http.block_endpoints.clone(),
            allow_write_from: config
                .http
                .allow_write_http_from
                .iter()
                .filter_map(|text| parse_cidr(text))
                .collect(),
            kv_max_value_size: usize::try_from(config.limits.kv_max_value_size)
                .unwrap_or(usize::MAX),
            session_ttl_min: config.session_ttl_min,
            allow_unprintable: config.disable_http_unprintable_char_filter,
        }
    }

    /// Whether a client of this address may write. Without an address it came over a unix
    /// socket, whose permissions have decided.
    pub fn may_write(&self, from: Option<IpAddr>) -> bool {
        let Some(from) = from else { return true };
        self.allow_write_from.is_empty()
            || self.allow_write_from.iter().any(|net| contains(*net, from))
    }
}

/// Reads `10.0.0.0/8`, or a single address.
pub fn parse_cidr(text: &str) -> Option<(IpAddr, u8)> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address.parse().ok()?, bits.parse().ok()?),
        None => {
            let address: IpAddr = text.parse().ok()?;
            (address, if address.is_ipv4() { 32 } else { 128 })
        }
    };
    Some((address, bits))
}

/// Whether an address is in a network.
pub fn contains((net, bits): (IpAddr, u8), address: IpAddr) -> bool {
    match (net, address) {
        (IpAddr::V4(net), IpAddr::V4(address)) => {
            let shift = 32u32.saturating_sub(u32::from(bits));
            u64::from(net.to_bits()) >> shift == u64::from(address.to_bits()) >> shift
        }
        (IpAddr::V6(net), IpAddr::V6(address)) => {
            let shift = 128u32.saturating_sub(u32::from(bits));
            shift == 128 || net.to_bits() >> shift == address.to_bits() >> shift
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_contain_their_addresses() {
        let inside = |net: &str, ip: &str| contains(parse_cidr(net).unwrap(), ip.parse().unwrap());
        assert!(inside("10.0.0.0/8", "10.200.1.1") && !inside("10.0.0.0/8", "11.0.0.1"));
        assert!(inside("127.0.0.1", "127.0.0.1") && !inside("127.0.0.1/32", "127.0.0.2"));
        assert!(
            inside("0.0.0.0/0", "1.2.3.4") && inside("::/0", "::1") && !inside("::/0", "1.2.3.4")
        );
        assert!(inside("fd00::/8", "fd12::1") && !inside("fd00::/8", "fe80::1"));
    }
}
