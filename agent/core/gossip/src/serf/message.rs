//! Serf's messages. Each is a type byte and one struct, carried in a memberlist user message.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::msgpack::{Bytes, RawIp, record};

/// Type bytes.
pub mod kind {
    #![allow(missing_docs)]
    pub const LEAVE: u8 = 0;
    pub const JOIN: u8 = 1;
    pub const PUSH_PULL: u8 = 2;
    pub const USER_EVENT: u8 = 3;
    pub const QUERY: u8 = 4;
    pub const QUERY_RESPONSE: u8 = 5;
    pub const CONFLICT_RESPONSE: u8 = 6;
    pub const KEY_REQUEST: u8 = 7;
    pub const KEY_RESPONSE: u8 = 8;
    pub const RELAY: u8 = 9;
}

/// In a query: acks are wanted. In a response: this is one.
pub const FLAG_ACK: u32 = 1;
/// In a query: do not gossip it on.
pub const FLAG_NO_BROADCAST: u32 = 2;

record! {
    /// "This member is leaving."
    LeaveIntent {
        /// When, in the member clock.
        ltime: u64 = "LTime" always,
        /// Who.
        node: Arc<str> = "Node" always,
        /// Forget it at once.
        prune: bool = "Prune" always,
    }
}

record! {
    /// "This member joined."
    JoinIntent {
        /// When, in the member clock.
        ltime: u64 = "LTime" always,
        /// Who.
        node: Arc<str> = "Node" always,
    }
}

record! {
    /// A user event.
    UserEvent {
        /// Equal ones may be taken together.
        coalesce: bool = "CC" always,
        /// When, in the event clock.
        ltime: u64 = "LTime" always,
        /// Its name.
        name: String = "Name" always,
        /// Its payload.
        payload: Bytes = "Payload" always,
    }
}

record! {
    /// A question to the pool.
    QueryMessage {
        /// Where answers go.
        addr: RawIp = "Addr" always,
        /// Who is asked, encoded.
        filters: Vec<Bytes> = "Filters" always,
        /// [`FLAG_ACK`], [`FLAG_NO_BROADCAST`].
        flags: u32 = "Flags" always,
        /// Random.
        id: u32 = "ID" always,
        /// When, in the query clock.
        ltime: u64 = "LTime" always,
        /// Its name.
        name: String = "Name" always,
        /// Its payload.
        payload: Bytes = "Payload" always,
        /// Where answers go.
        port: u16 = "Port" always,
        /// How many others carry each answer, too.
        relay_factor: u8 = "RelayFactor" always,
        /// Who asks.
        source_node: String = "SourceNode" always,
        /// How long answers are awaited, in nanoseconds.
        timeout: i64 = "Timeout" always,
    }
}

record! {
    /// An answer, or an ack.
    QueryResponse {
        /// [`FLAG_ACK`] for an ack.
        flags: u32 = "Flags" always,
        /// Who answers.
        from: Arc<str> = "From" always,
        /// The query's.
        id: u32 = "ID" always,
        /// The query's.
        ltime: u64 = "LTime" always,
        /// The answer.
        payload: Bytes = "Payload" always,
    }
}

record! {
    /// A filter by a tag.
    TagFilter {
        /// A regular expression, found anywhere in the value.
        expr: String = "Expr" always,
        /// The tag; "" is the value of one that is not there.
        tag: String = "Tag" always,
    }
}

record! {
    /// Where a relayed message goes.
    RelayHeader {
        /// The address.
        addr: UdpAddr = "DestAddr" always,
        /// The name.
        name: String = "DestName" always,
    }
}

record! {
    /// An address as Go's `net.UDPAddr`.
    UdpAddr {
        /// The address.
        ip: RawIp = "IP" always,
        /// The port.
        port: i64 = "Port" always,
        /// The zone of an IPv6 address.
        zone: String = "Zone" always,
    }
}

record! {
    /// The key of a key query.
    KeyRequest {
        /// Empty to list keys.
        key: Bytes = "Key" always,
    }
}

record! {
    /// The answer to a key query.
    KeyResponse {
        /// All keys, base64, the primary one first.
        keys: Vec<String> = "Keys" always,
        /// What went wrong, or should be known.
        message: String = "Message" always,
        /// The primary key, base64.
        primary_key: String = "PrimaryKey" always,
        /// Whether it worked.
        result: bool = "Result" always,
    }
}

record! {
    /// What a member knows of the owner of a disputed name.
    ConflictMember {
        /// Address.
        addr: RawIp = "Addr" always,
        /// Serf version.
        delegate_cur: u8 = "DelegateCur" always,
        /// Serf version.
        delegate_max: u8 = "DelegateMax" always,
        /// Serf version.
        delegate_min: u8 = "DelegateMin" always,
        /// Name.
        name: Arc<str> = "Name" always,
        /// Port.
        port: u16 = "Port" always,
        /// Memberlist version.
        protocol_cur: u8 = "ProtocolCur" always,
        /// Memberlist version.
        protocol_max: u8 = "ProtocolMax" always,
        /// Memberlist version.
        protocol_min: u8 = "ProtocolMin" always,
        /// Status number.
        status: i64 = "Status" always,
        /// Tags.
        tags: BTreeMap<String, String> = "Tags" always,
    }
}

record! {
    /// The user state of an exchange.
    PushPull {
        /// The event clock.
        event_ltime: u64 = "EventLTime" always,
        /// The recent events.
        events: Vec<Option<EventSlot>> = "Events" always,
        /// The member clock.
        ltime: u64 = "LTime" always,
        /// Members that left.
        left: Vec<Arc<str>> = "LeftMembers" always,
        /// The query clock.
        query_ltime: u64 = "QueryLTime" always,
        /// The status times of all members.
        status: BTreeMap<Arc<str>, u64> = "StatusLTimes" always,
    }
}

record! {
    /// All events of one time.
    EventSlot {
        /// The events.
        events: Vec<EventBody> = "Events" always,
        /// The time.
        ltime: u64 = "LTime" always,
    }
}

record! {
    /// A remembered event.
    EventBody {
        /// Its name.
        name: String = "Name" always,
        /// Its payload.
        payload: Bytes = "Payload" always,
    }
}
