//! The arguments and replies of the methods.
//!
//! Names, types and order of the fields are those of Consul 1.21; fields that older versions lack
//! are unknown keys to them, and missing ones are zero to us. Lists and maps that may be nil are
//! told apart from empty ones only where they are options.

mod catalog;
mod flat;
mod internal;
mod kv;
mod operator;
mod proxy;
mod rows;
mod session;
mod write;

pub use catalog::*;
pub use flat::Flat;
pub(crate) use flat::messages;
pub use internal::*;
pub use kv::*;
pub use operator::*;
pub use proxy::*;
pub use rows::*;
pub use session::*;
pub use write::*;

use lictor_wire::Str;

messages! {
    /// What stands before the arguments of a call.
    RequestHeader {
        service_method: Str = "ServiceMethod",
        seq: u64 = "Seq",
    }

    /// What stands before the reply of a call. With an error, the reply is an empty map.
    ResponseHeader {
        error: Str = "Error",
        seq: u64 = "Seq",
        service_method: Str = "ServiceMethod",
    }

    /// Arguments or a reply without content.
    Empty {}

    /// The options of a read. Durations are nanoseconds. The fields on caching concern the client's
    /// own cache.
    QueryOptions {
        token: Str = "Token",
        min_query_index: u64 = "MinQueryIndex",
        max_query_time: i64 = "MaxQueryTime",
        allow_stale: bool = "AllowStale",
        require_consistent: bool = "RequireConsistent",
        use_cache: bool = "UseCache",
        max_stale_duration: i64 = "MaxStaleDuration",
        max_age: i64 = "MaxAge",
        must_revalidate: bool = "MustRevalidate",
        stale_if_error: i64 = "StaleIfError",
        filter: Str = "Filter",
        allow_not_modified_response: bool = "AllowNotModifiedResponse",
    }

    /// What a reply tells of itself. `last_contact` is in nanoseconds.
    QueryMeta {
        index: u64 = "Index",
        last_contact: i64 = "LastContact",
        known_leader: bool = "KnownLeader",
        consistency_level: Str = "ConsistencyLevel",
        not_modified: bool = "NotModified",
        backend: i64 = "Backend",
        results_filtered_by_acls: bool = "ResultsFilteredByACLs",
    }

    /// From where to sort by distance.
    QuerySource {
        datacenter: Str = "Datacenter",
        segment: Str = "Segment",
        node: Str = "Node",
        node_partition: Str = "NodePartition",
        ip: Str = "Ip",
    }

    /// Arguments of a read that needs only the datacenter.
    DcSpecificRequest {
        datacenter: Str = "Datacenter",
        node_meta_filters: Option<lictor_wire::StrMap> = "NodeMetaFilters",
        source: QuerySource = "Source",
        peer_name: Str = "PeerName",
        ..options: QueryOptions,
    }

    /// Arguments of reads about one node.
    NodeSpecificRequest {
        datacenter: Str = "Datacenter",
        node: Str = "Node",
        peer_name: Str = "PeerName",
        merge_central_config: bool = "MergeCentralConfig",
        ..options: QueryOptions,
    }

    /// Arguments of the methods of `Status`, of `Catalog.ListDatacenters` and of the reads of
    /// `Operator`.
    DcRequest {
        datacenter: Str = "Datacenter",
        ..options: QueryOptions,
    }

    /// Reply of `Status.RaftStats`.
    RaftStats {
        last_contact: Str = "LastContact",
        last_term: u64 = "LastTerm",
        last_index: u64 = "LastIndex",
    }
}
