//! Which function answers which path, by Go's rules for paths and Consul's for methods.

use super::answer::{HTML, Reply};
use super::options::{Params, unescape};
use super::{Body, Call, Head, HttpError};
use super::{
    catalog, coordinate, docker, event, health, kv, local, operator, raft, selfinfo, session,
    status, txn, ui,
};
use crate::agent::Shared;
use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, StatusCode};
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

/// What became of a request.
pub enum Outcome {
    /// Answered by an endpoint, or refused on its way to one. With the endpoint's path for
    /// metrics.
    Wrapped(Reply, &'static str),
    /// Answered by the router itself, without the headers of the API.
    Plain(Reply),
}

macro_rules! endpoints {
    ($($id:ident $path:literal $methods:literal $handler:path;)*) => {
        /// Every endpoint of the API.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        enum Endpoint { $($id),* }

        const TABLE: &[(&str, &str, Endpoint)] = &[$(($path, $methods, Endpoint::$id)),*];

        async fn run(endpoint: Endpoint, shared: &Arc<Shared>, call: &mut Call) -> Result<Reply, HttpError> {
            match endpoint {
                $(Endpoint::$id => $handler(shared, call).await,)*
            }
        }
    };
}

endpoints! {
    AgentSelf "/v1/agent/self" "GET" selfinfo::own;
    AgentHost "/v1/agent/host" "GET" selfinfo::host;
    AgentVersion "/v1/agent/version" "GET" selfinfo::version;
    AgentMembers "/v1/agent/members" "GET" selfinfo::members;
    AgentMetrics "/v1/agent/metrics" "GET" selfinfo::metrics;
    AgentMetricsStream "/v1/agent/metrics/stream" "GET" selfinfo::metrics_stream;
    AgentMonitor "/v1/agent/monitor" "GET" selfinfo::monitor;
    AgentJoin "/v1/agent/join/" "PUT" selfinfo::join;
    AgentForceLeave "/v1/agent/force-leave/" "PUT" selfinfo::force_leave;
    AgentLeave "/v1/agent/leave" "PUT" local::leave;
    AgentReload "/v1/agent/reload" "PUT" local::reload;
    AgentMaintenance "/v1/agent/maintenance" "PUT" local::node_maintenance;
    AgentToken "/v1/agent/token/" "PUT" local::token;
    AgentServices "/v1/agent/services" "GET" local::services;
    AgentService "/v1/agent/service/" "GET" local::service;
    AgentServiceRegister "/v1/agent/service/register" "PUT" local::service_register;
    AgentServiceDeregister "/v1/agent/service/deregister/" "PUT" local::service_deregister;
    AgentServiceMaintenance "/v1/agent/service/maintenance/" "PUT" local::service_maintenance;
    AgentChecks "/v1/agent/checks" "GET" local::checks;
    AgentCheckRegister "/v1/agent/check/register" "PUT" local::check_register;
    AgentCheckDeregister "/v1/agent/check/deregister/" "PUT" local::check_deregister;
    AgentCheckPass "/v1/agent/check/pass/" "PUT" local::check_pass;
    AgentCheckWarn "/v1/agent/check/warn/" "PUT" local::check_warn;
    AgentCheckFail "/v1/agent/check/fail/" "PUT" local::check_fail;
    AgentCheckUpdate "/v1/agent/check/update/" "PUT" local::check_update;
    AgentHealthById "/v1/agent/health/service/id/" "GET" local::health_by_id;
    AgentHealthByName "/v1/agent/health/service/name/" "GET" local::health_by_name;
    CatalogRegister "/v1/catalog/register" "PUT" catalog::register;
    CatalogDeregister "/v1/catalog/deregister" "PUT" catalog::deregister;
    CatalogDatacenters "/v1/catalog/datacenters" "GET" catalog::datacenters;
    CatalogNodes "/v1/catalog/nodes" "GET" catalog::nodes;
    CatalogServices "/v1/catalog/services" "GET" catalog::services;
    CatalogService "/v1/catalog/service/" "GET" catalog::service;
    CatalogConnect "/v1/catalog/connect/" "GET" catalog::connect;
    CatalogNode "/v1/catalog/node/" "GET" catalog::node;
    CatalogNodeServices "/v1/catalog/node-services/" "GET" catalog::node_services;
    HealthNode "/v1/health/node/" "GET" health::node;
    HealthChecks "/v1/health/checks/" "GET" health::service_checks;
    HealthState "/v1/health/state/" "GET" health::state;
    HealthService "/v1/health/service/" "GET" health::service;
    HealthConnect "/v1/health/connect/" "GET" health::connect;
    Kv "/v1/kv/" "GET,PUT,DELETE" kv::kv;
    SessionCreate "/v1/session/create" "PUT" session::create;
    SessionDestroy "/v1/session/destroy/" "PUT" session::destroy;
    SessionRenew "/v1/session/renew/" "PUT" session::renew;
    SessionInfo "/v1/session/info/" "GET" session::info;
    SessionNode "/v1/session/node/" "GET" session::node;
    SessionList "/v1/session/list" "GET" session::list;
    Txn "/v1/txn" "PUT" txn::txn;
    StatusLeader "/v1/status/leader" "GET" status::leader;
    StatusPeers "/v1/status/peers" "GET" status::peers;
    OperatorRaftConfiguration "/v1/operator/raft/configuration" "GET" raft::raft_configuration;
    OperatorRaftPeer "/v1/operator/raft/peer" "DELETE" raft::raft_peer;
    OperatorRaftTransfer "/v1/operator/raft/transfer-leader" "POST" raft::transfer_leader;
    OperatorAutopilotConfiguration "/v1/operator/autopilot/configuration" "GET,PUT" raft::configuration;
    OperatorAutopilotHealth "/v1/operator/autopilot/health" "GET" raft::health;
    OperatorAutopilotState "/v1/operator/autopilot/state" "GET" raft::state;
    EventFire "/v1/event/fire/" "PUT" event::fire;
    EventList "/v1/event/list" "GET" event::list;
    CoordinateDatacenters "/v1/coordinate/datacenters" "GET" coordinate::datacenters;
    CoordinateNodes "/v1/coordinate/nodes" "GET" coordinate::nodes;
    CoordinateNode "/v1/coordinate/node/" "GET" coordinate::node;
    CoordinateUpdate "/v1/coordinate/update" "PUT" coordinate::update;
    LictorDocker "/v1/lictor/docker/containers" "GET" docker::containers;
    OperatorKeyring "/v1/operator/keyring" "GET,POST,PUT,DELETE" operator::keyring;
    AclBootstrap "/v1/acl/bootstrap" "PUT" local::acl;
    AclLogin "/v1/acl/login" "POST" local::acl;
    AclLogout "/v1/acl/logout" "POST" local::acl;
    AclReplication "/v1/acl/replication" "GET" local::acl;
    AclPolicies "/v1/acl/policies" "GET" local::acl;
    AclPolicyCreate "/v1/acl/policy" "PUT" local::acl;
    AclPolicy "/v1/acl/policy/" "GET,PUT,DELETE" local::acl;
    AclPolicyName "/v1/acl/policy/name/" "GET" local::acl;
    AclRoles "/v1/acl/roles" "GET" local::acl;
    AclRoleCreate "/v1/acl/role" "PUT" local::acl;
    AclRole "/v1/acl/role/" "GET,PUT,DELETE" local::acl;
    AclRoleName "/v1/acl/role/name/" "GET" local::acl;
    AclBindingRules "/v1/acl/binding-rules" "GET" local::acl;
    AclBindingRuleCreate "/v1/acl/binding-rule" "PUT" local::acl;
    AclBindingRule "/v1/acl/binding-rule/" "GET,PUT,DELETE" local::acl;
    AclAuthMethods "/v1/acl/auth-methods" "GET" local::acl;
    AclAuthMethodCreate "/v1/acl/auth-method" "PUT" local::acl;
    AclAuthMethod "/v1/acl/auth-method/" "GET,PUT,DELETE" local::acl;
    AclTokens "/v1/acl/tokens" "GET" local::acl;
    AclTokenCreate "/v1/acl/token" "PUT" local::acl;
    AclTokenSelf "/v1/acl/token/self" "GET" local::acl;
    AclToken "/v1/acl/token/" "GET,PUT,DELETE" local::acl;
}

/// The table as the router asks it.
struct Routes {
    by_path: HashMap<&'static str, (&'static str, Endpoint)>,
}

static ROUTES: LazyLock<Routes> = LazyLock::new(|| Routes {
    by_path: TABLE
        .iter()
        .map(|(path, methods, endpoint)| (*path, (*methods, *endpoint)))
        .collect(),
});

enum Match<'p> {
    Found {
        pattern: &'static str,
        methods: &'static str,
        endpoint: Endpoint,
        rest: &'p str,
    },
    /// The path is that of a folder without its slash: Go sends the client there.
    Redirect(String),
    None,
}

impl Routes {
    /// The longest pattern that fits: the path itself, or a folder above it.
    fn find<'p>(&self, path: &'p str) -> Match<'p> {
        if let Some((pattern, (methods, endpoint))) = self.by_path.get_key_value(path) {
            return Match::Found {
                pattern,
                methods,
                endpoint: *endpoint,
                rest: "",
            };
        }
        if !path.ends_with('/') && self.by_path.contains_key(format!("{path}/").as_str()) {
            return Match::Redirect(format!("{path}/"));
        }
        let mut end = path.len();
        while let Some(slash) = path[..end].rfind('/') {
            if let Some((pattern, (methods, endpoint))) =
                self.by_path.get_key_value(&path[..=slash])
            {
                return Match::Found {
                    pattern,
                    methods,
                    endpoint: *endpoint,
                    rest: &path[slash + 1..],
                };
            }
            end = slash;
        }
        Match::None
    }
}

/// Go's `path.Clean` for request paths: no empty, `.` or `..` parts; a trailing slash stays.
fn clean(path: &str) -> Cow<'_, str> {
    let dirty = !path.starts_with('/')
        || path.contains("//")
        || path.split('/').any(|p| p == "." || p == "..");
    if !dirty {
        return Cow::Borrowed(path);
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            other => parts.push(other),
        }
    }
    let mut out = format!("/{}", parts.join("/"));
    if out.len() > 1 && (path.ends_with('/') || path.ends_with("/.") || path.ends_with("/..")) {
        out.push('/');
    }
    Cow::Owned(out)
}

fn redirect(status: StatusCode, word: &str, target: &str, query: Option<&str>) -> Reply {
    let mut location = target.to_owned();
    if let Some(query) = query {
        location.push('?');
        location.push_str(query);
    }
    let shown = location
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&#34;");
    let body = format!("<a href=\"{shown}\">{word}</a>.\n\n");
    let reply = Reply::bare(status, Bytes::from(body)).with(header::CONTENT_TYPE, HTML);
    match HeaderValue::from_str(&location) {
        Ok(value) => reply.with(header::LOCATION, value),
        Err(_) => reply,
    }
}

/// Answers a request or says why not.
pub async fn dispatch(shared: &Arc<Shared>, head: &Arc<Head>, body: Body) -> Outcome {
    let path = head.uri.path();
    let query = head.uri.query();
    if let Cow::Owned(cleaned) = clean(path)
        && head.method != Method::CONNECT
    {
        return Outcome::Plain(redirect(
            StatusCode::TEMPORARY_REDIRECT,
            "Temporary Redirect",
            &cleaned,
            query,
        ));
    }
    let Some(decoded) = unescape(path, false) else {
        return Outcome::Plain(Reply::text(StatusCode::BAD_REQUEST, "400 Bad Request"));
    };
    let live = shared.live();
    if !live.allow_unprintable && decoded.chars().any(is_unprintable) {
        return Outcome::Plain(Reply::text(StatusCode::BAD_REQUEST, Bytes::new()));
    }
    let (pattern, methods, endpoint, rest) = match ROUTES.find(path) {
        Match::Found {
            pattern,
            methods,
            endpoint,
            rest,
        } => (pattern, methods, endpoint, rest),
        Match::Redirect(target) => {
            return Outcome::Plain(redirect(
                StatusCode::TEMPORARY_REDIRECT,
                "Temporary Redirect",
                &target,
                query,
            ));
        }
        Match::None => {
            return match ui::answer(shared, head).await {
                Some(reply) => Outcome::Wrapped(reply, ""),
                None => Outcome::Plain(unrouted(shared, path, query)),
            };
        }
    };
    if live
        .block_endpoints
        .iter()
        .any(|prefix| path.starts_with(prefix.as_str()))
    {
        let error = HttpError::new(
            StatusCode::FORBIDDEN,
            "Endpoint is blocked by agent configuration",
        );
        return Outcome::Wrapped(error.into(), pattern);
    }
    let method = head.method.as_str();
    if method == "OPTIONS" {
        return Outcome::Wrapped(allow(Reply::empty(), methods), pattern);
    }
    if !methods.split(',').any(|m| m == method) {
        let error = HttpError::new(
            StatusCode::METHOD_NOT_ALLOWED,
            format!("method {method} not allowed"),
        );
        return Outcome::Wrapped(allow(error.into(), methods), pattern);
    }
    if method != "GET" && method != "HEAD" && !live.may_write(head.peer.addr.map(|a| a.ip())) {
        let error = HttpError::new(StatusCode::FORBIDDEN, "Access is restricted");
        return Outcome::Wrapped(error.into(), pattern);
    }
    let Some(params) = Params::parse(query.unwrap_or("")) else {
        return Outcome::Wrapped(
            Reply::text(StatusCode::INTERNAL_SERVER_ERROR, Bytes::new()),
            pattern,
        );
    };
    let rest = match &decoded {
        // The pattern is plain, so that it is as long in the decoded path.
        Cow::Owned(text) => text.get(pattern.len()..).unwrap_or_default().to_owned(),
        Cow::Borrowed(_) => rest.to_owned(),
    };
    if let Err(error) = community_only(&params, head) {
        return Outcome::Wrapped(error.into(), pattern);
    }
    let mut call = Call {
        head: head.clone(),
        params,
        rest,
        body: Some(body),
    };
    let reply = run(endpoint, shared, &mut call)
        .await
        .unwrap_or_else(Reply::from);
    Outcome::Wrapped(reply, pattern)
}

/// Namespaces and partitions are of the enterprise edition.
fn community_only(params: &Params, head: &Head) -> Result<(), HttpError> {
    for (param, name, what) in [
        (
            "ns",
            "x-consul-namespace",
            "Namespaces are a Consul Enterprise feature",
        ),
        (
            "partition",
            "x-consul-partition",
            "Partitions are a Consul Enterprise feature",
        ),
    ] {
        let by_param = params.get(param);
        let by_header = head
            .headers
            .get(name)
            .and_then(|v| v.to_str().ok())
            .unwrap_or("");
        if !by_param.is_empty() {
            return Err(HttpError::bad_request(format!(
                "Invalid query parameter: \"{param}\" - {what}"
            )));
        }
        if !by_header.is_empty() {
            let shown = if param == "ns" {
                "X-Consul-Namespace"
            } else {
                "X-Consul-Partition"
            };
            return Err(HttpError::bad_request(format!(
                "Invalid header: \"{shown}\" - {what}"
            )));
        }
    }
    Ok(())
}

fn allow(reply: Reply, methods: &str) -> Reply {
    match HeaderValue::from_str(&format!("OPTIONS,{methods}")) {
        Ok(value) => reply.with(header::ALLOW, value),
        Err(_) => reply,
    }
}

fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{fffd}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{200b}'..='\u{200f}'
        )
}

fn unrouted(shared: &Shared, path: &str, query: Option<&str>) -> Reply {
    let config = shared.config();
    if path == "/" {
        return if config.ui.enabled || config.ui.dir.is_some() {
            redirect(
                StatusCode::MOVED_PERMANENTLY,
                "Moved Permanently",
                &config.ui.content_path,
                query,
            )
        } else {
            Reply::text(
                StatusCode::OK,
                "Consul Agent: UI disabled. To enable, set ui_config.enabled=true in the agent configuration and restart.",
            )
        };
    }
    let text = if path.starts_with("/v1/") {
        "Invalid URL path: not a recognized HTTP API endpoint\n"
    } else {
        "Invalid URL path: if attempting to use the HTTP API, ensure the path starts with '/v1/'\n"
    };
    Reply::text(StatusCode::NOT_FOUND, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str) -> (Option<&'static str>, String) {
        match ROUTES.find(path) {
            Match::Found { pattern, rest, .. } => (Some(pattern), rest.to_owned()),
            Match::Redirect(to) => (None, to),
            Match::None => (None, String::new()),
        }
    }

    #[test]
    fn the_longest_pattern_wins() {
        assert_eq!(found("/v1/kv/a/b"), (Some("/v1/kv/"), "a/b".into()));
        assert_eq!(found("/v1/kv/"), (Some("/v1/kv/"), String::new()));
        assert_eq!(found("/v1/kv"), (None, "/v1/kv/".into()));
        assert_eq!(
            found("/v1/agent/service/register").0,
            Some("/v1/agent/service/register")
        );
        assert_eq!(
            found("/v1/agent/service/register/x"),
            (Some("/v1/agent/service/"), "register/x".into())
        );
        assert_eq!(found("/v1/nothing"), (None, String::new()));
    }

    #[test]
    fn paths_are_cleaned_as_go_cleans_them() {
        for (dirty, want) in [
            ("//a", "/a"),
            ("/a/../b/", "/b/"),
            ("/a/./b", "/a/b"),
            ("/..", "/"),
            ("/a//", "/a/"),
            ("/a/..", "/"),
        ] {
            assert_eq!(clean(dirty), want, "{dirty}");
        }
        assert!(matches!(clean("/v1/kv/a..b/"), Cow::Borrowed(_)));
    }
}
