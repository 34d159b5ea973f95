//! The part of `/v1/agent` in which the agent speaks of itself.

use super::answer::Payload;
use super::filter::{self, MemberRow};
use super::{Call, HttpError, Reply};
use crate::addresses;
use crate::agent::Shared;
use crate::members;
use crate::metrics::Span;
use crate::servers::Standing;
use crate::version;
use bytes::Bytes;
use http::StatusCode;
use http::header::{self, HeaderName, HeaderValue};
use lictor_gossip::Status;
use lictor_raft::Consensus;
use lictor_wire::{GoDuration, Member};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::Duration;

/// `GET /v1/agent/self`
pub async fn own(shared: &Arc<Shared>, call: &mut Call) -> Result<Reply, HttpError> {
    let config = shared.config();
    let mut out = Map::new();
    out.insert(
        "Config".into(),
        json!({
            "Datacenter": shared.datacenter,
            "PrimaryDatacenter": config.primary_datacenter,
            "NodeName": shared.node_name,
            "NodeID": shared.node_id,
            "Revision": "",
            "Server": config.server,
            "Version": version::COMPATIBLE,
            "BuildDate": version::BUILD_DATE,
        }),
    );
    let mut debug = config.debug_json();
    if let Some(debug) = debug.as_object_mut() {
        debug.insert("NodeID".into(), json!(shared.node_id));
        debug.insert("Version".into(), json!(version::COMPATIBLE));
        debug.insert("VersionMetadata".into(), json!(version::metadata()));
        debug.insert("VersionPrerelease".into(), json!(""));
        debug.insert("Revision".into(), json!(""));
        debug.insert("BuildDate".into(), json!(version::BUILD_DATE));
    }
    out.insert("DebugConfig".into(), debug);
    let coordinate = if config.disable_coordinates {
        Value::Null
    } else {
        json!(shared.coordinate())
    };
    out.insert("Coord".into(), coordinate);
    out.insert("Member".into(), json!(members::own(shared)));
    out.insert("Stats".into(), stats(shared).await);
    out.insert("Meta".into(), json!(shared.identity().meta));
    Ok(Reply::json(shared, call, &out))
}

/// What `consul info` prints: all values are texts.
async fn stats(shared: &Shared) -> Value {
    let (monitors, ttls, checks, services) = shared.local.counts();
    let lan = serf_stats(Some(shared.gossip.lan())).await;
    let wan = serf_stats(shared.gossip.wan()).await;
    let process = lictor_host::process_stats();
    let config = shared.config();
    let told = addresses::told(&config);
    let clients: Vec<String> = config
        .client_addrs
        .iter()
        .map(ToString::to_string)
        .collect();
    let mut out = json!({
        // Lictor's own: which address others are told, and why.
        "address": {
            "advertise": config.advertise.lan.to_string(), "bind": config.bind_addr.to_string(),
            "client": clients.join(" "), "place": told.place, "rejected": told.rejected, "rule": told.rule,
        },
        "agent": {
            "check_monitors": monitors.to_string(), "check_ttls": ttls.to_string(),
            "checks": checks.to_string(), "services": services.to_string(),
        },
        "build": {
            "prerelease": "", "revision": "", "version": version::COMPATIBLE, "version_metadata": version::metadata(),
        },
        "consul": match shared.store.consensus() {
            Some(consensus) => server_stats(shared, consensus),
            None => client_stats(shared),
        },
        "raft": shared.store.consensus().map(raft_stats),
        "runtime": {
            "arch": go_arch(), "cpu_count": cpus(), "goroutines": process.threads.to_string(), "max_procs": cpus(),
            "os": std::env::consts::OS, "version": concat!("rust-", env!("CARGO_PKG_RUST_VERSION")),
        },
        "serf_lan": lan,
        "serf_wan": wan,
    });
    if let Some(out) = out.as_object_mut() {
        // A client agent has no part in these.
        out.retain(|_, section| !section.is_null());
    }
    out
}

fn client_stats(shared: &Shared) -> Value {
    let known = members::servers(shared)
        .iter()
        .filter(|s| s.standing == Standing::Alive)
        .count();
    json!({"acl": "disabled", "known_servers": known.to_string(), "server": "false"})
}

fn server_stats(shared: &Shared, consensus: &Consensus) -> Value {
    let leader = consensus.leader().map(|l| l.address).unwrap_or_default();
    json!({
        "acl": "disabled", "bootstrap": shared.config().bootstrap.to_string(),
        "known_datacenters": members::datacenters(shared).len().to_string(),
        "leader": consensus.is_leader().to_string(), "leader_addr": leader, "server": "true",
    })
}

fn raft_stats(consensus: &Consensus) -> Value {
    let status = consensus.status();
    let contact = match consensus.last_contact() {
        _ if consensus.is_leader() => "0".to_owned(),
        None => "never".to_owned(),
        Some(since) => GoDuration::from(since).to_string(),
    };
    let servers: Vec<String> = status
        .voters
        .iter()
        .map(|p| {
            format!(
                "{{Suffrage:{} ID:{} Address:{}}}",
                if p.voter { "Voter" } else { "Nonvoter" },
                p.info.node_id,
                p.info.address
            )
        })
        .collect();
    // Of the voters, as Consul counts them.
    let own = consensus.server().id();
    let others = status
        .voters
        .iter()
        .filter(|p| p.voter && p.info.id() != own)
        .count();
    json!({
        "applied_index": status.applied_index.to_string(), "commit_index": status.commit_index.to_string(),
        "fsm_pending": "0", "last_contact": contact, "last_log_index": status.last_log_index.to_string(),
        "last_log_term": status.last_log_term.to_string(),
        "last_snapshot_index": status.last_snapshot_index.to_string(),
        "last_snapshot_term": status.last_snapshot_term.to_string(),
        "latest_configuration": format!("[{}]", servers.join(" ")),
        "latest_configuration_index": status.membership_index.to_string(),
        "num_peers": others.to_string(), "protocol_version": "3",
        "protocol_version_max": "3", "protocol_version_min": "0", "snapshot_version_max": "1",
        "snapshot_version_min": "0", "state": status.state.as_str(), "term": status.term.to_string(),
    })
}

/// How a pool stands, in Serf's words.
async fn serf_stats(pool: Option<&crate::gossip::driver::Pool>) -> Value {
    let stats = match pool {
        Some(pool) => pool.with(|core, _| core.stats()).await.unwrap_or_default(),
        None => return Value::Null,
    };
    json!({
        "coordinate_resets": stats.coordinate_resets.to_string(),
        "encrypted": stats.encrypted.to_string(),
        "event_queue": stats.event_queue.to_string(),
        "event_time": stats.event_time.to_string(),
        "failed": stats.failed.to_string(),
        "health_score": stats.health_score.to_string(),
        "intent_queue": stats.intent_queue.to_string(),
        "left": stats.left.to_string(),
        "member_time": stats.member_time.to_string(),
        "members": stats.members.to_string(),
        "query_queue": stats.query_queue.to_string(),
        "query_time": stats.query_time.to_string(),
    })
}

fn cpus() -> String {
    std::thread::available_parallelism()
        .map_or(1, std::num::NonZero::get)
        .to_string()
}

fn go_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// `GET /v1/agent/members`
pub async fn members(shared: &Arc<Shared>, call: &mut Call) -> Result<Reply, HttpError> {
    let wan = !call.params.get("wan").is_empty();
    let segment = call.params.get("segment");
    if !segment.is_empty() && segment != "_all" {
        if wan {
            return Err(HttpError::bad_request(
                "Cannot provide a segment with wan=true",
            ));
        }
        return Err(HttpError::internal(
            "Network segments are not supported in this version of Consul",
        ));
    }
    let filter = filter::of::<MemberRow<'_>>(call)?;
    let mut rows: Vec<Member> = if wan {
        members::wan(shared)
    } else {
        members::lan(shared)
    };
    rows.retain(|m| filter.keeps(&MemberRow(m)));
    Ok(Reply::json(shared, call, &rows))
}

/// `PUT /v1/agent/join/:address`
pub async fn join(shared: &Arc<Shared>, call: &mut Call) -> Result<Reply, HttpError> {
    let wan = !call.params.get("wan").is_empty();
    members::join(shared, &call.rest, wan)
        .await
        .map_err(|e| HttpError::internal(e.to_string()))?;
    Ok(Reply::empty())
}

/// `PUT /v1/agent/force-leave/:node`
pub async fn force_leave(shared: &Arc<Shared>, call: &mut Call) -> Result<Reply, HttpError> {
    let (prune, wan) = (call.params.has("prune"), call.params.has("wan"));
    members::force_leave(shared, &call.rest, prune, wan)
        .await
        .map_err(HttpError::internal)?;
    Ok(Reply::empty())
}

/// `GET /v1/agent/version`
pub async fn version(shared: &Arc<Shared>, call: &mut Call) -> Result<Reply, HttpError> {
    let human = format!("{}+{}", version::COMPATIBLE, version::metadata());
    let about =
        json!({"SHA": "", "BuildDate": version::BUILD_DATE, "HumanVersion": human, "FIPS": ""});
    Ok(Reply::json(shared, call, &about))
}

/// `GET /v1/agent/host`
pub async fn host(shared: &Arc<Shared>, call: &mut Call) -> Result<Reply, HttpError> {
    Ok(Reply::json(
        shared,
        call,
        &lictor_host::facts(shared.data_dir()),
    ))
}

/// The values that are read when they are asked for.
fn gauges(shared: &Shared) -> Vec<crate::metrics::Gauge> {
    let process = lictor_host::process_stats();
    let plain = |name: &str, value: f64| (name.to_owned(), value, Vec::new());
    let mut out = vec![
        plain("rpc.queries_blocking", shared.metrics.blocking_now() as f64),
        plain("runtime.alloc_bytes", process.rss as f64),
        plain("runtime.sys_bytes", process.rss as f64),
        plain("runtime.num_goroutines", process.threads as f64),
    ];
    if let Some(consensus) = shared.store.consensus() {
        out.extend(server_gauges(shared, consensus));
    }
    let version = vec![
        ("version", version::COMPATIBLE.to_owned()),
        ("pre_release", String::new()),
    ];
    out.push(("version".into(), 1.0, version));
    out
}

/// What only a server counts.
fn server_gauges(shared: &Shared, consensus: &Consensus) -> Vec<crate::metrics::Gauge> {
    let view = shared.store.view();
    let (names, instances) = view.service_counts();
    let status = consensus.status();
    let dc = || vec![("datacenter", shared.datacenter.to_string())];
    let plain = |name: &str, value: f64| (name.to_owned(), value, Vec::new());
    let leads = consensus.is_leader();
    let members = shared.gossip.lan_members();
    let count = |role: &str| {
        members
            .values()
            .filter(|m| m.status == Status::Alive && m.tags.get("role").is_some_and(|r| r == role))
            .count()
    };
    let (clients, servers) = (count("node"), count("consul"));
    // A lone server is not asked how it is, and is well while it leads.
    let health = shared.cluster.autopilot.last();
    let (tolerance, healthy) = health
        .filter(|_| leads && status.voters.len() > 1)
        .map_or((0, leads), |h| (h.failure_tolerance(), h.healthy()));
    vec![
        plain("autopilot.failure_tolerance", tolerance as f64),
        plain("autopilot.healthy", f64::from(u8::from(healthy))),
        ("members.clients".into(), clients as f64, dc()),
        ("members.servers".into(), servers as f64, dc()),
        plain("raft.applied_index", status.applied_index as f64),
        plain("raft.last_index", status.last_log_index as f64),
        plain("raft.commitNumLogs", 1.0),
        plain("server.isLeader", f64::from(u8::from(leads))),
        plain(
            "session_ttl.active",
            view.sessions().filter(|s| !s.ttl.is_empty()).count() as f64,
        ),
        ("state.kv_entries".into(), view.kv_count() as f64, dc()),
        ("state.nodes".into(), view.node_count() as f64, dc()),
        ("state.services".into(), names as f64, dc()),
        ("state.service_instances".into(), instances as f64, dc()),
    ]
}

fn snapshot(shared: &Shared, span: Span) -> crate::metrics::Snapshot {
    let config = shared.config();
    let telemetry = &config.telemetry;
    let host = (!telemetry.disable_hostname).then(lictor_host::hostname);
    // The longest prefix decides (`telemetry.prefix_filter`).
    let wanted = |name: &str| {
        let fit = |all: &[String]| {
            all.iter()
                .filter(|p| name.starts_with(p.as_str()))
                .map(String::len)
                .max()
        };
        match (
            fit(&telemetry.allowed_prefixes),
            fit(&telemetry.blocked_prefixes),
        ) {
            (None, None) => telemetry.filter_default,
            (allowed, blocked) => allowed > blocked,
        }
    };
    shared.metrics.snapshot(
        &telemetry.metrics_prefix,
        host.as_deref(),
        gauges(shared),
        span,
        wanted,
    )
}

/// `GET /v1/agent/metrics`
pub async fn metrics(shared: &Arc<Shared>, call: &mut Call) -> Result<Reply, HttpError> {
    static REASON: HeaderName = HeaderName::from_static("x-consul-reason");
    let accept = call.header("accept").unwrap_or("");
    let text = call.params.get("format") == "prometheus"
        || (accept.contains("version=0.0.4") && accept.contains("text/plain"))
        || accept.contains("application/openmetrics-text");
    if !text {
        return Ok(Reply::json(shared, call, &snapshot(shared, Span::Interval)));
    }
    if shared.config().telemetry.prometheus_retention_time.0 <= 0 {
        let why = "Prometheus is not enabled since its retention time is not positive";
        return Ok(Reply::empty().with(REASON.clone(), HeaderValue::from_static(why)));
    }
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    Ok(Reply::bare(
        StatusCode::OK,
        Bytes::from(snapshot(shared, Span::SinceStart).prometheus()),
    )
    .with(header::CONTENT_TYPE, kind))
}

/// `GET /v1/agent/metrics/stream`: one line of JSON for each interval.
pub async fn metrics_stream(shared: &Arc<Shared>, _: &mut Call) -> Result<Reply, HttpError> {
    let shared = shared.clone();
    let parts = futures_util::stream::unfold((shared, true), |(shared, first)| async move {
        if !first {
            tokio::select! {
                () = tokio::time::sleep(Duration::from_secs(10)) => {}
                () = shared.ended() => return None,
            }
        }
        let mut line = lictor_wire::gojson::to_vec(&snapshot(&shared, Span::Interval));
        line.push(b'\n');
        Some((Ok(Bytes::from(line)), (shared, false)))
    });
    Ok(streamed(Box::pin(parts)))
}

fn streamed(body: super::Body) -> Reply {
    let mut reply = Reply::empty();
    reply.body = Payload::Stream(body);
    reply
}

/// `GET /v1/agent/monitor`: the log as it comes.
pub async fn monitor(shared: &Arc<Shared>, call: &mut Call) -> Result<Reply, HttpError> {
    let word = match call.params.get("loglevel") {
        "" => "INFO",
        word => word,
    };
    let level = match word.to_ascii_uppercase().as_str() {
        "TRACE" => lictor_log::Level::Trace,
        "DEBUG" => lictor_log::Level::Debug,
        "INFO" => lictor_log::Level::Info,
        "WARN" => lictor_log::Level::Warn,
        "ERR" | "ERROR" => lictor_log::Level::Error,
        _ => return Err(HttpError::bad_request(format!("Unknown log level: {word}"))),
    };
    let lines = shared.log.monitor(level, call.params.has("logjson"));
    let parts =
        futures_util::stream::unfold((shared.clone(), lines), |(shared, mut lines)| async move {
            let line = tokio::select! {
                line = lines.next() => line?,
                () = shared.ended() => return None,
            };
            Some((Ok(Bytes::from(line)), (shared, lines)))
        });
    Ok(streamed(Box::pin(parts)))
}
