//! The bodies of memberlist's messages.

use std::sync::Arc;

use crate::msgpack::{Bytes, RawIp, record};

record! {
    /// "Are you there?"
    Ping {
        /// Whom it is meant for; empty for anyone. A receiver of another name stays silent.
        node: Arc<str> = "Node" always,
        /// Comes back in the ack.
        seq: u32 = "SeqNo" always,
        /// Where the ack goes; the packet's source if absent.
        source_addr: RawIp = "SourceAddr" if_set,
        /// Who asks.
        source_node: Arc<str> = "SourceNode" if_set,
        /// The port that belongs to `source_addr`.
        source_port: u16 = "SourcePort" if_set,
    }
}

record! {
    /// "Ping that one for me."
    IndirectPing {
        /// The requester understands a nack.
        nack: bool = "Nack" always,
        /// The target's name.
        node: Arc<str> = "Node" always,
        /// The target's port; 0 for the helper's own.
        port: u16 = "Port" always,
        /// The requester's number.
        seq: u32 = "SeqNo" always,
        /// Where ack and nack go.
        source_addr: RawIp = "SourceAddr" if_set,
        /// Who asks.
        source_node: Arc<str> = "SourceNode" if_set,
        /// The port that belongs to `source_addr`.
        source_port: u16 = "SourcePort" if_set,
        /// The target's address.
        target: RawIp = "Target" always,
    }
}

record! {
    /// The answer to a ping.
    Ack {
        /// The sender's network coordinate, if any.
        payload: Bytes = "Payload" always,
        /// The ping's number.
        seq: u32 = "SeqNo" always,
    }
}

record! {
    /// A helper got no answer.
    Nack {
        /// The number of the indirect ping.
        seq: u32 = "SeqNo" always,
    }
}

record! {
    /// The answer to a stream that was not understood.
    Failure {
        /// Why.
        error: String = "Error" always,
    }
}

record! {
    /// An accusation: the body of both "suspect" and "dead".
    Accusation {
        /// Who says so. In a "dead", the node itself when it left by its own will.
        from: Arc<str> = "From" always,
        /// Which life of the node is meant.
        incarnation: u32 = "Incarnation" always,
        /// Who is accused.
        node: Arc<str> = "Node" always,
    }
}

record! {
    /// A node says that it lives.
    Alive {
        /// Its address.
        addr: RawIp = "Addr" always,
        /// Its incarnation.
        incarnation: u32 = "Incarnation" always,
        /// Its tags, opaque here.
        meta: Arc<[u8]> = "Meta" always,
        /// Its name.
        node: Arc<str> = "Node" always,
        /// Its port.
        port: u16 = "Port" always,
        /// Its protocol versions.
        vsn: Versions = "Vsn" always,
    }
}

record! {
    /// A compressed part.
    Compressed {
        /// 0, LZW.
        algo: u8 = "Algo" always,
        /// The stream.
        buf: Bytes = "Buf" always,
    }
}

record! {
    /// What a push/pull begins with.
    PushPullHeader {
        /// The initiator is joining.
        join: bool = "Join" always,
        /// Nodes that follow.
        nodes: i64 = "Nodes" always,
        /// Bytes that follow the nodes.
        user_state_len: i64 = "UserStateLen" always,
    }
}

record! {
    /// One node of a push/pull.
    NodeState {
        /// Its address.
        addr: RawIp = "Addr" always,
        /// Its incarnation.
        incarnation: u32 = "Incarnation" always,
        /// Its tags.
        meta: Arc<[u8]> = "Meta" always,
        /// Its name.
        name: Arc<str> = "Name" always,
        /// Its port.
        port: u16 = "Port" always,
        /// 0 alive, 1 suspect, 2 dead, 3 left.
        state: i64 = "State" always,
        /// Its protocol versions.
        vsn: Versions = "Vsn" always,
    }
}

record! {
    /// What a user message on a stream begins with.
    UserHeader {
        /// Bytes that follow.
        len: i64 = "UserMsgLen" always,
    }
}

/// The version vector: protocol (memberlist) and delegate (Serf) as minimum, maximum, current.
///
/// A vector of any other length than six reads as all zero, which every check refuses: old peers
/// look at the six bytes without counting them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Versions(pub [u8; 6]);

impl Versions {
    /// What we speak, with the given Serf protocol (Consul 4, the `serf` command 5).
    #[must_use]
    pub const fn ours(serf: u8) -> Self {
        Self([1, 5, 2, 2, 5, serf])
    }

    /// The highest memberlist protocol understood: 3 reads a TCP ping, 4 a nack, 5 a checksum.
    #[must_use]
    pub const fn max(self) -> u8 {
        self.0[1]
    }
}

impl crate::msgpack::Value for Versions {
    fn write(&self, out: &mut crate::msgpack::Writer) {
        out.raw(&self.0);
    }
    fn read(from: &mut crate::msgpack::Reader<'_>) -> Result<Self, crate::msgpack::ReadError> {
        from.raw()
            .map(|raw| Self(raw.try_into().unwrap_or_default()))
    }
}
