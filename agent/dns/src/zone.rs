//! The settings in the form that answers need.

use crate::record::{Dn, LONGEST_NAME};
use crate::settings::{Settings, SettingsError};
use hickory_proto::rr::Name;
use lictor_state::fold;
use lictor_wire::Str;
use std::collections::HashMap;
use std::time::Duration;

/// Checked settings: parsed names, ordered rules.
#[derive(Clone, Debug)]
pub struct Zone {
    /// As given.
    pub settings: Settings,
    /// The domains answered for, in lower case, longest first.
    pub(crate) domains: Vec<Name>,
    /// The labels of the first domain.
    pub(crate) domain: Box<[u8]>,
    /// Names in every zone: itself, its name server, its mailbox.
    pub(crate) apex: Dn,
    pub(crate) name_server: Dn,
    pub(crate) mailbox: Dn,
    /// The agent's datacenter in lower case.
    pub(crate) datacenter: Str,
    ttl_exact: HashMap<Str, u32>,
    /// Longest first.
    ttl_prefix: Vec<(Str, u32)>,
    ttl_all: u32,
}

impl Zone {
    /// Checks the settings.
    pub fn new(settings: Settings) -> Result<Zone, SettingsError> {
        let domain = name_of("domain", &settings.domain)?;
        let mut domains = vec![domain.clone()];
        if !settings.alt_domain.trim_matches('.').is_empty() {
            domains.push(name_of("alt_domain", &settings.alt_domain)?);
        }
        domains.sort_by_key(|d| std::cmp::Reverse(d.iter().count()));
        let bad = || SettingsError::BadName {
            key: "datacenter",
            value: settings.datacenter.clone(),
        };
        Dn::below(&settings.datacenter).ok_or_else(bad)?;

        let mut zone = Zone {
            domains,
            domain: Dn::from(&domain).parts(&[])[0].into(),
            apex: Dn::domain(),
            name_server: Dn::below("ns").unwrap_or_else(Dn::domain),
            mailbox: Dn::below("hostmaster").unwrap_or_else(Dn::domain),
            datacenter: fold(&settings.datacenter),
            ttl_exact: HashMap::new(),
            ttl_prefix: Vec::new(),
            ttl_all: 0,
            settings,
        };
        for (rule, ttl) in &zone.settings.service_ttl {
            let (rule, ttl) = (fold(rule), seconds(*ttl));
            match rule.strip_suffix('*') {
                Some("") => zone.ttl_all = ttl,
                Some(prefix) => zone.ttl_prefix.push((prefix.into(), ttl)),
                None => {
                    zone.ttl_exact.insert(rule, ttl);
                }
            }
        }
        zone.ttl_prefix
            .sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
        Ok(zone)
    }

    /// The TTL of answers about nodes, in seconds.
    pub fn node_ttl(&self) -> u32 {
        seconds(self.settings.node_ttl)
    }

    /// The TTL of answers about a service (its name in lower case): the exact rule, else that of
    /// the longest prefix, else `*`.
    pub fn service_ttl(&self, name: &str) -> u32 {
        if let Some(ttl) = self.ttl_exact.get(name) {
            return *ttl;
        }
        let prefix = self
            .ttl_prefix
            .iter()
            .find(|(prefix, _)| name.starts_with(prefix.as_str()));
        prefix.map_or(self.ttl_all, |(_, ttl)| *ttl)
    }

    /// Whether a datacenter (in lower case, or none given) is this agent's.
    pub(crate) fn is_own(&self, datacenter: Option<&Str>) -> bool {
        datacenter.is_none_or(|dc| *dc == self.datacenter)
    }
}

/// Whole seconds, as TTLs count.
pub(crate) fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}

/// Bytes that the longest label of our own needs before the domain.
const ROOM: usize = "hostmaster".len() + 1;

fn name_of(key: &'static str, value: &str) -> Result<Name, SettingsError> {
    if value.trim_end_matches('.').is_empty() {
        return Ok(Name::root());
    }
    let name = Dn::whole(&value.to_ascii_lowercase())
        .filter(|name| name.len_in(&[]) + ROOM <= LONGEST_NAME);
    name.map(|name| name.to_name())
        .ok_or_else(|| SettingsError::BadName {
            key,
            value: value.into(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(rules: &[(&str, u64)]) -> Zone {
        let service_ttl = rules
            .iter()
            .map(|(k, v)| (k.to_string(), Duration::from_secs(*v)))
            .collect();
        Zone::new(Settings {
            service_ttl,
            ..Settings::default()
        })
        .unwrap()
    }

    #[test]
    fn the_most_exact_ttl_counts() {
        let zone = zone(&[("*", 1), ("we*", 2), ("web*", 3), ("Web", 4)]);
        assert_eq!(zone.service_ttl("web"), 4);
        assert_eq!(zone.service_ttl("webs"), 3);
        assert_eq!(zone.service_ttl("west"), 2);
        assert_eq!(zone.service_ttl("db"), 1);
        assert_eq!(
            Zone::new(Settings::default()).unwrap().service_ttl("web"),
            0
        );
    }

    #[test]
    fn a_ttl_below_a_second_is_none() {
        let settings = Settings {
            node_ttl: Duration::from_millis(999),
            ..Settings::default()
        };
        assert_eq!(Zone::new(settings).unwrap().node_ttl(), 0);
    }

    #[test]
    fn names_that_dns_cannot_carry_are_refused_by_key() {
        let long = "x".repeat(64);
        for (key, settings) in [
            (
                "domain",
                Settings {
                    domain: format!("{long}."),
                    ..Settings::default()
                },
            ),
            (
                "alt_domain",
                Settings {
                    alt_domain: "a..b".into(),
                    ..Settings::default()
                },
            ),
            (
                "datacenter",
                Settings {
                    datacenter: String::new(),
                    ..Settings::default()
                },
            ),
        ] {
            let error = Zone::new(settings).unwrap_err().to_string();
            assert!(error.starts_with(key), "{error}");
        }
    }
}
