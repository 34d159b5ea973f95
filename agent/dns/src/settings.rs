//! What the configuration says about DNS.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

/// The settings of the DNS server, with Consul's defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The datacenter of this agent: what a name without a datacenter means.
    pub datacenter: String,
    /// The domain that is answered for, with or without the final dot.
    pub domain: String,
    /// A second domain; empty for none.
    pub alt_domain: String,
    /// How long answers about nodes may be cached; whole seconds count.
    pub node_ttl: Duration,
    /// How long answers about services may be cached: by name, by `prefix*`, or `*` for all.
    pub service_ttl: BTreeMap<String, Duration>,
    /// Leave out instances with a warning too.
    pub only_passing: bool,
    /// Set the TC bit when answers were left out.
    pub enable_truncate: bool,
    /// Answers in a datagram of 512 bytes; never more than eight. Zero means eight.
    pub udp_answer_limit: usize,
    /// Addresses in any answer; zero for no limit.
    pub a_record_limit: usize,
    /// Write every name in full.
    pub disable_compression: bool,
    /// Add the metadata of nodes as TXT records to answers about nodes and to SRV answers.
    pub enable_additional_node_meta_txt: bool,
    /// Whom to ask about other domains.
    pub recursors: Vec<SocketAddr>,
    /// How long to wait for one of them.
    pub recursor_timeout: Duration,
    /// In which order they are asked.
    pub recursor_strategy: RecursorStrategy,
    /// The numbers of the SOA record.
    pub soa: Soa,
    /// Answer from what this agent knows, without asking the leader.
    pub allow_stale: bool,
    /// How old that may be.
    pub max_stale: Duration,
    /// Use the `wan` addresses of other datacenters.
    pub translate_wan_addrs: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            datacenter: "dc1".into(),
            domain: "consul.".into(),
            alt_domain: String::new(),
            node_ttl: Duration::ZERO,
            service_ttl: BTreeMap::new(),
            only_passing: false,
            enable_truncate: false,
            udp_answer_limit: 3,
            a_record_limit: 0,
            disable_compression: false,
            enable_additional_node_meta_txt: true,
            recursors: Vec::new(),
            recursor_timeout: Duration::from_secs(2),
            recursor_strategy: RecursorStrategy::Sequential,
            soa: Soa::default(),
            allow_stale: true,
            max_stale: Duration::from_secs(87_600 * 3600),
            translate_wan_addrs: false,
        }
    }
}

/// The order in which recursors are asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RecursorStrategy {
    /// As configured.
    #[default]
    Sequential,
    /// Another order for each question.
    Random,
}

/// The numbers of the SOA record, in seconds (RFC 1035, 3.3.13).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Soa {
    /// When a secondary would stop answering.
    pub expire: u32,
    /// How long "there is no such name" may be cached.
    pub min_ttl: u32,
    /// How often a secondary would look for changes.
    pub refresh: u32,
    /// How long it would wait after a failure.
    pub retry: u32,
}

impl Default for Soa {
    fn default() -> Soa {
        Soa {
            expire: 86_400,
            min_ttl: 0,
            refresh: 3600,
            retry: 600,
        }
    }
}

/// Settings that no server can be made of.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// The domain, the second domain or the datacenter is not a DNS name.
    #[error("{key} = {value:?} is not a domain name: labels have 1 to 63 bytes, names at most 255")]
    BadName {
        /// The key of the configuration.
        key: &'static str,
        /// Its value.
        value: String,
    },
}
