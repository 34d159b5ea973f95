//! Configuration and tags in the form of the core.

use super::Which;
use crate::servers;
use crate::version;
use lictor_config::{Config, SerfPool};
use lictor_gossip::{Config as Settings, Tags};

/// The parameters of a pool.
pub fn core(config: &Config, pool: &SerfPool, which: Which, keys: Vec<Vec<u8>>) -> Settings {
    let profile = match which {
        Which::Lan => Settings::lan(),
        Which::Wan => Settings::wan(),
    };
    let mut it = profile.for_consul();
    it.gossip_nodes = usize::try_from(pool.gossip_nodes).unwrap_or(usize::MAX);
    it.gossip_interval = pool.gossip_interval.to_std();
    it.probe_interval = pool.probe_interval.to_std();
    it.probe_timeout = pool.probe_timeout.to_std();
    it.retransmit_mult = pool.retransmit_mult;
    it.suspicion_mult = pool.suspicion_mult;
    it.keys = keys;
    it.verify_incoming = config.encrypt_verify_incoming;
    it.verify_outgoing = config.encrypt_verify_outgoing;
    it.serf.reconnect_timeout = pool.reconnect_timeout.to_std();
    it.serf.rejoin_after_leave = config.rejoin_after_leave;
    it
}

/// The tags of this agent in the LAN pool, by which clients and other servers know what it is.
pub fn tags(config: &Config, node_id: &str) -> Tags {
    let mut tags = Tags::new();
    let mut put = |key: &str, value: &str| _ = tags.insert(key.to_owned(), value.to_owned());
    put("build", &format!("{}:", version::COMPATIBLE));
    put("dc", &config.datacenter);
    put("id", node_id);
    put("segment", "");
    put("vsn", "2");
    put("vsn_min", "2");
    put("vsn_max", "3");
    if !config.server {
        put("role", "node");
        let reconnect = config.advertise_reconnect_timeout;
        if reconnect.0 > 0 {
            put("rc_tm", &reconnect.to_string());
        }
        return tags;
    }
    put("acls", "0");
    put("role", "consul");
    put("ft_fs", "1");
    put("ft_si", "1");
    put("port", &config.rpc_advertise.port().to_string());
    put("raft_vsn", "3");
    if !config.tls.internal_rpc.cert_file.is_empty() {
        put("use_tls", "1");
    }
    put(servers::OWN_TAG, &servers::FORMAT.to_string());
    if let Some(pool) = &config.serf_wan {
        put("wan_join_port", &pool.advertise.port().to_string());
    }
    if config.bootstrap && !config.dev_mode {
        put("bootstrap", "1");
    }
    if config.bootstrap_expect > 1 {
        put("expect", &config.bootstrap_expect.to_string());
    }
    tags
}

/// The tags of a server in the WAN pool.
pub fn wan_tags(mut tags: Tags) -> Tags {
    tags.remove("wan_join_port");
    tags
}
