//! `/v1/agent` and `/v1/event`.

use crate::client::{Client, QueryMeta, Request};
use crate::error::Error;
use crate::query::QueryOptions;
use crate::types::{AgentCheck, EventRow, ServiceEntry};
use bytes::Bytes;
use http::Method;
use lictor_wire::{Member, ServiceRequest};
use serde_json::Value;
use std::collections::BTreeMap;

/// Which members are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberQuery {
    /// Those of the WAN pool.
    pub wan: bool,
    /// Those of a segment; `_all` for all.
    pub segment: String,
    /// A filter expression.
    pub filter: String,
}

fn put(path: &str) -> Request {
    Request::new(Method::PUT, path)
}

impl Client {
    /// What the agent says about itself.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn agent_self(&self) -> Result<Value, Error> {
        self.get("/v1/agent/self", &QueryOptions::default())
            .await
            .map(|(v, _)| v)
    }

    /// The agent's name.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn node_name(&self) -> Result<String, Error> {
        let about = self.agent_self().await?;
        Ok(about["Config"]["NodeName"]
            .as_str()
            .unwrap_or_default()
            .to_owned())
    }

    /// The members that the agent knows.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn members(&self, query: &MemberQuery) -> Result<Vec<Member>, Error> {
        let mut request = Request::new(Method::GET, "/v1/agent/members");
        if !query.segment.is_empty() {
            request = request.param("segment", &query.segment);
        }
        if query.wan {
            request = request.param("wan", "1");
        }
        if !query.filter.is_empty() {
            request = request.param("filter", &query.filter);
        }
        self.read(request)
            .await
            .map(|(v, _): (Option<Vec<Member>>, _)| v.unwrap_or_default())
    }

    /// Lets the agent join the one at `address`.
    ///
    /// # Errors
    /// As [`Client::tell`].
    pub async fn join(&self, address: &str, wan: bool) -> Result<(), Error> {
        let request = put(&format!("/v1/agent/join/{address}"));
        self.tell(if wan {
            request.param("wan", "1")
        } else {
            request
        })
        .await
    }

    /// Lets the agent leave and end; answered when it has left.
    ///
    /// # Errors
    /// As [`Client::tell`].
    pub async fn leave(&self) -> Result<(), Error> {
        self.tell(put("/v1/agent/leave")).await
    }

    /// Marks a failed member as left.
    ///
    /// # Errors
    /// As [`Client::tell`].
    pub async fn force_leave(&self, node: &str, prune: bool, wan: bool) -> Result<(), Error> {
        let mut request = put(&format!("/v1/agent/force-leave/{node}"));
        if prune {
            request = request.param("prune", "1");
        }
        if wan {
            request = request.param("wan", "1");
        }
        self.tell(request).await
    }

    /// Lets the agent read its configuration again.
    ///
    /// # Errors
    /// As [`Client::tell`].
    pub async fn reload(&self) -> Result<(), Error> {
        self.tell(put("/v1/agent/reload")).await
    }

    /// Takes the agent's node out of answers, or puts it back.
    ///
    /// # Errors
    /// As [`Client::tell`].
    pub async fn node_maintenance(&self, enable: bool, reason: &str) -> Result<(), Error> {
        self.tell(maintenance(put("/v1/agent/maintenance"), enable, reason))
            .await
    }

    /// Takes one service of the agent's out of answers, or puts it back.
    ///
    /// # Errors
    /// As [`Client::tell`].
    pub async fn service_maintenance(
        &self,
        id: &str,
        enable: bool,
        reason: &str,
    ) -> Result<(), Error> {
        self.tell(maintenance(
            put(&format!("/v1/agent/service/maintenance/{id}")),
            enable,
            reason,
        ))
        .await
    }

    /// Registers a service with the agent.
    ///
    /// # Errors
    /// As [`Client::tell`].
    pub async fn register_service(&self, service: &ServiceRequest) -> Result<(), Error> {
        let mut body = serde_json::to_value(service).map_err(|source| Error::Decode {
            url: "/v1/agent/service/register".into(),
            source,
        })?;
        drop_empty(&mut body);
        self.tell(put("/v1/agent/service/register").json(&body))
            .await
    }

    /// Removes a service from the agent.
    ///
    /// # Errors
    /// As [`Client::tell`].
    pub async fn deregister_service(&self, id: &str) -> Result<(), Error> {
        self.tell(put(&format!("/v1/agent/service/deregister/{id}")))
            .await
    }

    /// The agent's own services by id.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn agent_services(&self) -> Result<BTreeMap<String, ServiceEntry>, Error> {
        self.get("/v1/agent/services", &QueryOptions::default())
            .await
            .map(|(v, _)| v)
    }

    /// The agent's own checks by id.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn agent_checks(&self) -> Result<BTreeMap<String, AgentCheck>, Error> {
        self.get("/v1/agent/checks", &QueryOptions::default())
            .await
            .map(|(v, _)| v)
    }

    /// Reports the state of a TTL check: `passing`, `warning` or `critical`.
    ///
    /// # Errors
    /// As [`Client::tell`].
    pub async fn update_check(&self, id: &str, status: &str, output: &str) -> Result<(), Error> {
        let body = serde_json::json!({"Status": status, "Output": output});
        self.tell(put(&format!("/v1/agent/check/update/{id}")).json(&body))
            .await
    }

    /// Fires a user event and gives its id. Filters that are empty are not sent.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn fire_event(&self, event: &EventRow) -> Result<String, Error> {
        let mut request = put(&format!("/v1/event/fire/{}", event.name))
            .header("content-type", "application/octet-stream")
            .body(Bytes::copy_from_slice(&event.payload));
        for (key, value) in [
            ("node", &event.node_filter),
            ("service", &event.service_filter),
            ("tag", &event.tag_filter),
        ] {
            if !value.is_empty() {
                request = request.param(key, value.as_str());
            }
        }
        let (fired, _): (EventRow, _) = self.read(request).await?;
        Ok(fired.id.to_string())
    }

    /// The recent events that the agent has seen; all of them if `name` is empty.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn events(
        &self,
        name: &str,
        options: &QueryOptions,
    ) -> Result<(Vec<EventRow>, QueryMeta), Error> {
        let mut request = Request::new(Method::GET, "/v1/event/list").options(options);
        if !name.is_empty() {
            request = request.param("name", name);
        }
        self.read(request)
            .await
            .map(|(v, meta): (Option<Vec<EventRow>>, _)| (v.unwrap_or_default(), meta))
    }
}

fn maintenance(request: Request, enable: bool, reason: &str) -> Request {
    let request = request.param("enable", if enable { "true" } else { "false" });
    if enable && !reason.is_empty() {
        request.param("reason", reason)
    } else {
        request
    }
}

/// Leaves out what says nothing, so that an agent that does not know a field is not bothered
/// with it. Numbers and switches stay: zero and false can be meant.
fn drop_empty(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.values_mut().for_each(drop_empty);
            map.retain(|_, v| match v {
                Value::Null => false,
                Value::String(s) => !s.is_empty(),
                Value::Array(a) => !a.is_empty(),
                Value::Object(o) => !o.is_empty(),
                _ => true,
            });
        }
        Value::Array(list) => list.iter_mut().for_each(drop_empty),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn empty_fields_are_not_sent() {
        let mut v = json!({"Name": "a", "Tags": [], "Port": 0, "Check": {"TTL": 1, "HTTP": "", "H2PingUseTLS": null},
            "Meta": {}, "Checks": [{"Notes": "", "TCP": "x"}]});
        drop_empty(&mut v);
        assert_eq!(
            v,
            json!({"Name": "a", "Port": 0, "Check": {"TTL": 1}, "Checks": [{"TCP": "x"}]})
        );
    }
}
