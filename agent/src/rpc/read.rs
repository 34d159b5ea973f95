//! Reads: the options of a request, and what its reply tells of itself.

use super::{Call, Reply, reply};
use crate::http::filter::{self, Wanted};
use crate::http::{Encoded, jittered};
use crate::query::{Freshness, Narrow, Query, ReadOptions, What};
use crate::store::{Answered, Contact};
use bytes::Bytes;
use lictor_bexpr::Row;
use lictor_rpc_wire::from_slice;
use lictor_rpc_wire::message::{QueryMeta, QueryOptions, QuerySource};
use lictor_state::View;
use lictor_wire::{Str, StrMap};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// What a reply tells of itself.
pub(super) fn meta(index: u64, contact: Contact) -> QueryMeta {
    let millis = i64::try_from(contact.last_contact_ms).unwrap_or(i64::MAX);
    QueryMeta {
        index,
        last_contact: millis.saturating_mul(1_000_000),
        known_leader: contact.known,
        ..QueryMeta::default()
    }
}

/// How fresh an answer must be.
pub(super) fn freshness(options: &QueryOptions) -> Freshness {
    match options {
        QueryOptions {
            require_consistent: true,
            ..
        } => Freshness::Consistent,
        QueryOptions {
            allow_stale: true, ..
        } => Freshness::Stale,
        _ => Freshness::Default,
    }
}

/// The filter for rows that are shown as `R`.
pub(super) fn wanted<R: Row>(options: &QueryOptions) -> Result<Wanted<R>, String> {
    filter::compile(&options.filter).map_err(|e| e.text)
}

/// The arguments that decide when to answer, and what a client keeps.
const WHEN: [&str; 11] = [
    "AllowNotModifiedResponse",
    "AllowStale",
    "MaxAge",
    "MaxQueryTime",
    "MaxStaleDuration",
    "MinQueryIndex",
    "MustRevalidate",
    "RequireConsistent",
    "StaleIfError",
    "Token",
    "UseCache",
];

/// Whether the index of an answer moves with every change of it. It does not where coordinates
/// sort, and where the rows of one table decide about those of another.
fn is_shareable(query: &Query) -> bool {
    let narrow = &query.narrow;
    narrow.near.is_empty()
        && match &query.what {
            What::Nodes
            | What::Services
            | What::Instances { mesh: false, .. }
            | What::InstancesAt { .. }
            | What::Health { mesh: false, .. }
            | What::Node { .. }
            | What::NodeDump
            | What::ServiceDump
            | What::Coordinates => true,
            What::NodeChecks { .. } | What::ServiceChecks { .. } | What::ChecksInState { .. } => {
                narrow.meta.is_empty()
            }
            _ => false,
        }
}

/// See [`Call::key`].
fn key(method: &str, args: &[u8]) -> Option<String> {
    let mut args: BTreeMap<String, serde_json::Value> = from_slice(args).ok()?;
    args.retain(|name, _| !WHEN.contains(&name.as_str()));
    let args = serde_json::to_string(&args).ok()?;
    Some(format!("{method} {args}"))
}

impl Call<'_> {
    /// Which rows are wanted, and in what order.
    pub(super) fn narrow(
        &self,
        meta: Option<StrMap>,
        source: &QuerySource,
        options: &QueryOptions,
    ) -> Narrow {
        let ours = *source.datacenter == *self.shared.datacenter;
        let meta = meta.unwrap_or_default();
        Narrow {
            tags: Vec::new(),
            meta: meta.iter().map(|(k, v)| (k.clone(), v.clone())).collect(),
            filter: options.filter.clone(),
            near: if ours {
                source.node.clone()
            } else {
                Str::new()
            },
        }
    }

    /// Runs a read to the view that answers it.
    pub(super) async fn answered(
        &self,
        query: &Query,
        options: &QueryOptions,
    ) -> Result<Answered, String> {
        let limits = self.shared.live().wait;
        let asked = Duration::from_nanos(u64::try_from(options.max_query_time).unwrap_or(0));
        let options = ReadOptions {
            index: options.min_query_index,
            wait: jittered(asked, &limits),
            asked,
            ..ReadOptions::now(freshness(options))
        };
        let store = &self.shared.store;
        let _waiting = (options.index != 0).then(|| self.shared.metrics.query_blocks());
        store.read(query, &options).await.map_err(|e| e.to_string())
    }

    /// Runs a read and encodes its answer, or gives the encoding of an equal request. Two thousand
    /// agents that wait for one service cost one encoding.
    pub(super) async fn read<T: Serialize>(
        &self,
        query: &Query,
        options: &QueryOptions,
        answer: impl FnOnce(&View, QueryMeta) -> T,
    ) -> Reply {
        let answered = self.answered(query, options).await?;
        let mut contact = answered.contact;
        if answered.freshness != Freshness::Stale {
            // What the leader has confirmed is not old.
            contact.last_contact_ms = 0;
        }
        let (view, index) = (&*answered.view, answered.index);
        let shareable = contact.known && contact.last_contact_ms == 0 && is_shareable(query);
        let key = if shareable { self.key() } else { None };
        let answers = &self.shared.answers;
        if let Some(found) = key
            .as_ref()
            .and_then(|k| answers.find(k, view.epoch(), index))
        {
            return Ok(found.plain().to_vec());
        }
        let encoded = reply(&answer(view, meta(index, contact)))?;
        if let Some(key) = key {
            let kept = Encoded::new(Bytes::copy_from_slice(&encoded));
            answers.keep(&key, view.epoch(), index, &kept);
        }
        Ok(encoded)
    }

    /// What two requests must have in common to share an answer: the method and every argument but
    /// those that decide only when to answer.
    fn key(&self) -> Option<String> {
        key(self.method, self.args)
    }

    /// A read that nothing narrows.
    pub(super) async fn read_all<T: Serialize>(
        &self,
        what: What,
        options: &QueryOptions,
        answer: impl FnOnce(&View, QueryMeta) -> T,
    ) -> Reply {
        self.read(&Query::from(what), options, answer).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lictor_rpc_wire::message::{NodeSpecificRequest, ServiceSpecificRequest};
    use lictor_rpc_wire::to_vec;

    fn request(change: impl FnOnce(&mut ServiceSpecificRequest)) -> Option<String> {
        let mut request = ServiceSpecificRequest {
            service_name: "web".into(),
            ..ServiceSpecificRequest::default()
        };
        change(&mut request);
        key("Health.ServiceNodes", &to_vec(&request).unwrap())
    }

    #[test]
    fn only_what_decides_when_to_answer_does_not_tell_requests_apart() {
        let plain = request(|_| {});
        assert!(plain.is_some());
        let later = request(|r| {
            r.options = QueryOptions {
                token: "secret".into(),
                min_query_index: 7,
                max_query_time: 8,
                allow_stale: true,
                max_age: 9,
                ..QueryOptions::default()
            };
        });
        assert_eq!(later, plain);
        for other in [
            request(|r| r.service_name = "db".into()),
            request(|r| r.service_tags = vec!["a".into()]),
            request(|r| r.tag_filter = true),
            request(|r| r.options.filter = "Node.ID == a".into()),
            request(|r| r.node_meta_filters = Some([("k", "v")].into_iter().collect())),
            request(|r| r.peer_name = "there".into()),
            key(
                "Catalog.ServiceNodes",
                &to_vec(&ServiceSpecificRequest::default()).unwrap(),
            ),
        ] {
            assert!(other.is_some());
            assert_ne!(other, plain);
        }
        assert_eq!(key("Health.ServiceNodes", b"\xa1k"), None);
    }

    #[test]
    fn what_is_sorted_by_distance_is_not_shared() {
        let near = Narrow {
            near: "server".into(),
            ..Narrow::default()
        };
        assert!(is_shareable(&What::Nodes.into()));
        assert!(!is_shareable(&What::Nodes.narrowed(near)));
        let of_key = What::Key { key: "k".into() };
        assert!(!is_shareable(&of_key.into()));
        let args = NodeSpecificRequest::default();
        assert_eq!(freshness(&args.options), Freshness::Default);
    }
}
