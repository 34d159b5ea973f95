//! The parameters of a pool.

use std::time::Duration;

/// All parameters. Members of one pool should agree on the times; nothing breaks if they do not.
///
/// The profiles are memberlist's and Serf's: [`Config::lan`], [`Config::wan`], [`Config::local`].
#[derive(Clone, Debug)]
pub struct Config {
    /// Time between two probes.
    pub probe_interval: Duration,
    /// How long a direct probe waits before others are asked.
    pub probe_timeout: Duration,
    /// How many others are asked.
    pub indirect_checks: usize,
    /// The shortest suspicion, as a multiple of log10(members) probe intervals.
    pub suspicion_mult: u32,
    /// The longest suspicion, as a multiple of the shortest.
    pub suspicion_max_mult: u32,
    /// How often a message is sent, as a multiple of log10(members).
    pub retransmit_mult: u32,
    /// Time between two rounds of gossip.
    pub gossip_interval: Duration,
    /// How many members hear of each round.
    pub gossip_nodes: usize,
    /// How long the dead are told that they are dead, so that they can object.
    pub gossip_to_the_dead: Duration,
    /// Time between two full exchanges, stretched in large pools; zero for none.
    pub push_pull_interval: Duration,
    /// How long a stream may take.
    pub stream_timeout: Duration,
    /// Lifeguard: the health score stays below this. 1 switches awareness off.
    pub awareness_max: u32,
    /// Bytes of a packet before label and encryption are counted.
    pub packet_budget: usize,
    /// After how long a dead name may come back from another address; zero for never.
    pub dead_name_reclaim: Duration,
    /// Whether a probe that fails by UDP is tried by TCP.
    pub tcp_pings: bool,
    /// Whether what we send is compressed. All peers read both.
    pub compress: bool,
    /// Separates pools that share a network; at most 255 bytes.
    pub label: Vec<u8>,
    /// Keys of 16, 24 or 32 bytes, the primary one first; none for a pool without encryption.
    pub keys: Vec<Vec<u8>>,
    /// Whether plaintext is refused when there are keys.
    pub verify_incoming: bool,
    /// Whether ciphertext is sent when there are keys.
    pub verify_outgoing: bool,
    /// Members that are remembered at most; more are ignored and counted.
    pub max_members: usize,
    /// Serf's parameters.
    pub serf: SerfConfig,
}

/// Serf's part of the parameters.
#[derive(Clone, Debug)]
pub struct SerfConfig {
    /// The Serf protocol that we announce: Consul's agents say 4, the `serf` command 5.
    pub protocol: u8,
    /// How long a leave waits for its messages to be sent.
    pub broadcast_timeout: Duration,
    /// How long a leaver stays to answer probes, so that nobody takes it for failed.
    pub leave_propagate_delay: Duration,
    /// Time between two looks for members to forget.
    pub reap_interval: Duration,
    /// Time between two attempts to reach a failed member.
    pub reconnect_interval: Duration,
    /// After how long a failed member is forgotten.
    pub reconnect_timeout: Duration,
    /// A tag whose value, a Go duration, replaces the reconnect timeout for its member.
    pub reconnect_timeout_tag: Option<String>,
    /// After how long a member that left is forgotten.
    pub tombstone_timeout: Duration,
    /// How long an intent waits for its member to appear.
    pub recent_intents: Duration,
    /// Bytes of a user event: name and payload, and the whole message.
    pub user_event_limit: usize,
    /// Bytes of a query.
    pub query_limit: usize,
    /// Bytes of a response.
    pub response_limit: usize,
    /// Whether the pool votes when somebody else uses our name.
    pub resolve_name_conflicts: bool,
    /// Messages that each queue holds at least; it holds twice the members if that is more.
    pub queue_depth: usize,
    /// Rejoin with a snapshot although it ends with a leave.
    pub rejoin_after_leave: bool,
}

impl Default for SerfConfig {
    fn default() -> Self {
        const HOUR: u64 = 3600;
        Self {
            protocol: 5,
            broadcast_timeout: Duration::from_secs(5),
            leave_propagate_delay: Duration::from_secs(1),
            reap_interval: Duration::from_secs(15),
            reconnect_interval: Duration::from_secs(30),
            reconnect_timeout: Duration::from_secs(24 * HOUR),
            reconnect_timeout_tag: None,
            tombstone_timeout: Duration::from_secs(24 * HOUR),
            recent_intents: Duration::from_secs(300),
            user_event_limit: 512,
            query_limit: 1024,
            response_limit: 1024,
            resolve_name_conflicts: true,
            queue_depth: 4096,
            rejoin_after_leave: false,
        }
    }
}

impl Config {
    /// Members in one network.
    #[must_use]
    pub fn lan() -> Self {
        Self {
            probe_interval: Duration::from_secs(1),
            probe_timeout: Duration::from_millis(500),
            indirect_checks: 3,
            suspicion_mult: 4,
            suspicion_max_mult: 6,
            retransmit_mult: 4,
            gossip_interval: Duration::from_millis(200),
            gossip_nodes: 3,
            gossip_to_the_dead: Duration::from_secs(30),
            push_pull_interval: Duration::from_secs(30),
            stream_timeout: Duration::from_secs(10),
            awareness_max: 8,
            packet_budget: 1400,
            dead_name_reclaim: Duration::ZERO,
            tcp_pings: true,
            compress: false,
            label: Vec::new(),
            keys: Vec::new(),
            verify_incoming: true,
            verify_outgoing: true,
            max_members: 100_000,
            serf: SerfConfig::default(),
        }
    }

    /// Members in several networks.
    #[must_use]
    pub fn wan() -> Self {
        Self {
            probe_interval: Duration::from_secs(5),
            probe_timeout: Duration::from_secs(3),
            suspicion_mult: 6,
            gossip_interval: Duration::from_millis(500),
            gossip_nodes: 4,
            gossip_to_the_dead: Duration::from_secs(60),
            push_pull_interval: Duration::from_secs(60),
            stream_timeout: Duration::from_secs(30),
            ..Self::lan()
        }
    }

    /// Members on one machine.
    #[must_use]
    pub fn local() -> Self {
        Self {
            probe_timeout: Duration::from_millis(200),
            indirect_checks: 1,
            suspicion_mult: 3,
            retransmit_mult: 2,
            gossip_interval: Duration::from_millis(100),
            gossip_to_the_dead: Duration::from_secs(15),
            push_pull_interval: Duration::from_secs(15),
            stream_timeout: Duration::from_secs(1),
            ..Self::lan()
        }
    }

    /// Changes a profile to what Consul's agents run with.
    #[must_use]
    pub fn for_consul(mut self) -> Self {
        const HOUR: u64 = 3600;
        // Consul fills the WAN profile from the LAN's fan-out.
        self.gossip_nodes = 3;
        self.dead_name_reclaim = Duration::from_secs(30);
        self.serf.protocol = 4;
        self.serf.leave_propagate_delay = Duration::from_secs(3);
        self.serf.reconnect_timeout = Duration::from_secs(72 * HOUR);
        self.serf.reconnect_timeout_tag = Some("rc_tm".to_owned());
        self.serf.resolve_name_conflicts = false;
        self
    }
}
