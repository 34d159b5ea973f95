//! What is counted for the operator.

/// Counters since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Packets received.
    pub packets_in: u64,
    /// Bytes of them.
    pub bytes_in: u64,
    /// Packets sent.
    pub packets_out: u64,
    /// Bytes of them.
    pub bytes_out: u64,
    /// Packets, or parts, that were malformed, damaged, of another pool or not decryptable.
    pub packets_rejected: u64,
    /// Pings for another name: somebody uses our address for another node.
    pub misdirected_pings: u64,
    /// Packets, messages or streams dropped because a bound was reached.
    pub dropped: u64,
    /// Nodes refused by the pool's rules or the limit of members.
    pub refused: u64,
    /// Probe rounds begun.
    pub probes: u64,
    /// Probe rounds that nobody answered.
    pub probes_failed: u64,
    /// Suspicions that ended with a verdict of ours.
    pub verdicts: u64,
    /// Times we objected to a suspicion.
    pub refutations: u64,
    /// Full exchanges ended well, begun by us or by others.
    pub exchanges: u64,
    /// Streams that failed.
    pub streams_failed: u64,
}

/// How things stand now. The names of Serf's own statistics are in brackets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Members that are not forgotten (`members`).
    pub members: usize,
    /// Failed ones among them (`failed`).
    pub failed: usize,
    /// Left ones among them (`left`).
    pub left: usize,
    /// Nodes in memberlist's table, in any state.
    pub known: usize,
    /// Live nodes in it, the own one included.
    pub live: usize,
    /// Suspect ones among them.
    pub suspects: usize,
    /// Lifeguard's score, 0 is well (`health_score`).
    pub health_score: u32,
    /// The own incarnation.
    pub incarnation: u32,
    /// The member clock (`member_time`).
    pub member_time: u64,
    /// The event clock (`event_time`).
    pub event_time: u64,
    /// The query clock (`query_time`).
    pub query_time: u64,
    /// Membership messages to gossip.
    pub member_queue: usize,
    /// Intents to gossip (`intent_queue`).
    pub intent_queue: usize,
    /// User events to gossip (`event_queue`).
    pub event_queue: usize,
    /// Queries to gossip (`query_queue`).
    pub query_queue: usize,
    /// Whether the pool has keys (`encrypted`).
    pub encrypted: bool,
    /// Times the own coordinate was reset (`coordinate_resets`).
    pub coordinate_resets: u64,
}
