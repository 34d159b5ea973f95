//! Rules over the whole configuration. The first that is broken ends the work.

use std::collections::BTreeMap;

use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::{Engine as _, alphabet};

use lictor_wire::duration::go_quote;

use super::{Resolver, definitions::metadata};
use crate::config::{Config, ListenAddr};

/// Checks the rules and adds warnings.
pub(super) fn check(c: &Config, r: &mut Resolver<'_>) -> Result<(), String> {
    name("datacenter", &c.datacenter, r)?;
    if c.data_dir.is_none() && !c.dev_mode {
        return Err("data_dir cannot be empty".into());
    }
    node_name(c, r)?;
    alt_domain(c, r)?;
    bootstrap(c, r)?;
    name("primary_datacenter", &c.primary_datacenter, r)?;
    if !c.dev_mode && c.ui.enabled && c.ui.dir.is_some() {
        return Err(format!(
            "Both the ui_config.enabled and ui_config.dir were specified, please provide only one.{}",
            r.place("ui_config.dir")
        ));
    }
    metadata(&c.node_meta, false)
        .map_err(|reason| format!("node_meta invalid: {reason}{}", r.place("node_meta")))?;
    if let Some(key) = &c.encrypt {
        encrypt(key)
            .map_err(|reason| format!("encrypt has invalid key: {reason}{}", r.place("encrypt")))?;
    }
    if !(2..=3).contains(&c.protocol) {
        return Err(format!(
            "protocol cannot be {}. Must be 2 or 3{}",
            c.protocol,
            r.place("protocol")
        ));
    }
    if c.raft_protocol != 3 {
        return Err(format!(
            "raft_protocol version {} is not supported; only version 3 is{}",
            c.raft_protocol,
            r.place("raft_protocol")
        ));
    }
    unique(c)?;
    if c.enable_script_checks && !c.acl.enabled && c.http.allow_write_http_from.is_empty() {
        r.warn("using enable-script-checks without ACLs and without allow_write_http_from is DANGEROUS, use enable-local-script-checks instead");
    }
    bootstrap_warnings(c, r);
    scripts(c)
}

fn name(key: &str, text: &str, r: &Resolver<'_>) -> Result<(), String> {
    if text.is_empty() {
        return Err(format!("{key} cannot be empty"));
    }
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    if !text.chars().all(fits) {
        return Err(format!(
            "{key} can only contain lowercase alphanumeric, - or _ characters. received: {}{}",
            go_quote(text),
            r.place(key)
        ));
    }
    Ok(())
}

fn node_name(c: &Config, r: &mut Resolver<'_>) -> Result<(), String> {
    let name = &c.node_name;
    if name.is_empty() {
        return Err("node_name cannot be empty".into());
    }
    let quoted = go_quote(name);
    if !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
        r.warn(format!("Node name {quoted} will not be discoverable via DNS due to invalid characters. Valid characters include all alpha-numerics and dashes."));
    } else if name.len() > 63 {
        r.warn(format!("Node name {quoted} will not be discoverable via DNS due to it being too long. Valid lengths are between 1 and 63 bytes."));
    }
    Ok(())
}

fn alt_domain(c: &Config, r: &Resolver<'_>) -> Result<(), String> {
    let first = c.dns.alt_domain.split('.').next().unwrap_or("");
    let taken = [
        "service",
        "connect",
        "node",
        "query",
        "addr",
        c.datacenter.as_str(),
    ];
    if taken.contains(&first) {
        return Err(format!(
            "alt_domain cannot start with {{service,connect,node,query,addr,{}}}{}",
            c.datacenter,
            r.place("alt_domain")
        ));
    }
    Ok(())
}

fn bootstrap(c: &Config, r: &Resolver<'_>) -> Result<(), String> {
    let expect = c.bootstrap_expect > 0;
    let (key, text) = if c.bootstrap && !c.server {
        ("bootstrap", "'bootstrap = true' requires 'server = true'")
    } else if expect && !c.server {
        (
            "bootstrap_expect",
            "'bootstrap_expect > 0' requires 'server = true'",
        )
    } else if expect && c.dev_mode {
        (
            "bootstrap_expect",
            "'bootstrap_expect > 0' not allowed in dev mode",
        )
    } else if expect && c.bootstrap {
        (
            "bootstrap_expect",
            "'bootstrap_expect > 0' and 'bootstrap = true' are mutually exclusive",
        )
    } else {
        return Ok(());
    };
    Err(format!("{text}{}", r.place(key)))
}

fn bootstrap_warnings(c: &Config, r: &mut Resolver<'_>) {
    if !c.server || c.dev_mode {
        return;
    }
    match c.bootstrap_expect {
        0 if c.bootstrap => r.warn("bootstrap = true: do not enable unless necessary"),
        0 => {}
        expect => {
            if expect == 2 {
                r.warn("bootstrap_expect = 2: A cluster with 2 servers will provide no failure tolerance.");
            } else if expect % 2 == 0 {
                r.warn("bootstrap_expect is even number: A cluster with an even number of servers does not achieve optimum fault tolerance.");
            }
            r.warn(format!("bootstrap_expect > 0: expecting {expect} servers"));
        }
    }
}

/// No two listeners on one address, and none on that of the cluster.
fn unique(c: &Config) -> Result<(), String> {
    let mut used: BTreeMap<ListenAddr, &str> = BTreeMap::new();
    let dns: Vec<ListenAddr> = c
        .listeners
        .dns
        .iter()
        .copied()
        .map(ListenAddr::Tcp)
        .collect();
    let mut cluster = Vec::new();
    if c.server {
        cluster.push(("RPC Advertise", c.rpc_advertise));
    }
    cluster.push(("Serf Advertise LAN", c.serf_lan.advertise));
    if let Some(wan) = &c.serf_wan {
        cluster.push(("Serf Advertise WAN", wan.advertise));
    }
    let cluster = cluster
        .into_iter()
        .map(|(what, addr)| (what, ListenAddr::Tcp(addr)));
    let l = &c.listeners;
    let lists = [
        ("DNS", &dns),
        ("HTTP", &l.http),
        ("HTTPS", &l.https),
        ("gRPC", &l.grpc),
        ("gRPC TLS", &l.grpc_tls),
    ];
    let listeners = lists
        .into_iter()
        .flat_map(|(what, list)| list.iter().map(move |addr| (what, addr.clone())));
    for (what, addr) in listeners.chain(cluster) {
        if let Some(other) = used.insert(addr.clone(), what) {
            let addr = match addr {
                ListenAddr::Tcp(addr) => addr.to_string(),
                ListenAddr::Unix(path) => path,
            };
            return Err(format!(
                "{what} address {addr} already configured for {other}"
            ));
        }
    }
    Ok(())
}

/// Script checks of files need leave.
fn scripts(c: &Config) -> Result<(), String> {
    if c.enable_script_checks || c.enable_local_script_checks {
        return Ok(());
    }
    let own = c.checks.iter();
    let of_services = c.services.iter().flat_map(|service| &service.checks);
    if let Some(check) = own.chain(of_services).find(|check| check.is_script()) {
        return Err(format!(
            "check {}: Scripts are disabled on this agent; to enable, configure 'enable_script_checks' or 'enable_local_script_checks' to true",
            go_quote(&check.name)
        ));
    }
    Ok(())
}

/// Standard base64, as forgiving as Go's about the unused bits of the last character.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

/// A gossip key: standard base64 of 16, 24 or 32 bytes.
fn encrypt(key: &str) -> Result<(), String> {
    let bytes = BASE64
        .decode(key)
        .map_err(|_| format!("illegal base64 data at input byte {}", corrupt_at(key)))?;
    match bytes.len() {
        16 | 24 | 32 => Ok(()),
        _ => Err("key size must be 16, 24 or 32 bytes".into()),
    }
}

/// Where Go's decoder says that base64 is corrupt: at the first character that cannot stand there,
/// or at the start of a group that is not complete.
fn corrupt_at(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut in_group = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        match byte {
            b'=' => {
                // Two or three characters and then padding up to four is right.
                let missing = 4 - in_group;
                let padding = bytes[at..].iter().take_while(|b| **b == b'=').count();
                return match in_group {
                    2 if padding < missing && at + 1 < bytes.len() => at,
                    2 | 3 if padding < missing => bytes.len(),
                    2 | 3 => at + missing,
                    _ => at,
                };
            }
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/' => in_group = (in_group + 1) % 4,
            _ => return at,
        }
    }
    bytes.len() - in_group
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corrupt_base64_is_placed_as_in_go() {
        for (text, at) in [
            ("abc", 0),
            ("abcdab", 4),
            ("ab!d", 2),
            ("a===", 1),
            ("abcd=", 4),
            ("ab=", 3),
            ("ab=x", 2),
            ("ab==x", 4),
        ] {
            let text_of = encrypt(text).expect_err(text);
            assert_eq!(
                text_of,
                format!("illegal base64 data at input byte {at}"),
                "for {text}"
            );
        }
        assert_eq!(
            encrypt("YWJj").expect_err("short"),
            "key size must be 16, 24 or 32 bytes"
        );
        assert_eq!(encrypt("AAAAAAAAAAAAAAAAAAAAAA=="), Ok(()));
    }
}
