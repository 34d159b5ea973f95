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
