//! Members of the LAN pool into the catalog, by what differs.
//!
//! An alive agent has its node there with a passing check `serfHealth`, and servers the service
//! `consul`; the check of a failed one is critical; one that left or was forgotten is not there.
//! Nodes without that check are no agent's, and are never touched.

use crate::agent::Shared;
use crate::gossip::driver::Members;
use crate::servers::{self, ServerMember};
use crate::store::WriteError;
use lictor_gossip::{Member, Status as Standing};
use lictor_state::{Command, Outcome, View, fold};
use lictor_wire::{
    DeregisterRequest, HealthCheck, NodeService, RegisterRequest, Status, Str, StrMap,
};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// All members are compared this often, whatever changed: the catalog may have been changed, too.
const FULL: Duration = Duration::from_secs(60);
/// After a failure.
const RETRY: Duration = Duration::from_secs(1);
/// Members in one entry of the log.
const BATCH: usize = 128;
/// The check of members.
const CHECK: &str = "serfHealth";

/// What is done for a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Alive,
    Failed,
    /// With the reason.
    Gone(&'static str),
}

/// Keeps the catalog equal to the pool. `first` is called when all members have been compared once.
pub(super) async fn run(shared: &Arc<Shared>, first: impl FnOnce()) {
    let mut first = Some(first);
    let mut changed = shared.gossip.changed();
    let mut seen: Option<Arc<Members>> = None;
    let mut settled = std::pin::pin!(shared.gossip.settled());
    let mut is_settled = false;
    loop {
        changed.mark_unchanged();
        let now = shared.gossip.lan_members();
        let view = shared.store.view();
        let full = seen.is_none();
        let mut work = Vec::new();
        match &seen {
            None => work.extend(now.values().filter_map(|m| plan(shared, &view, m))),
            Some(seen) => work.extend(differences(shared, &view, seen, &now)),
        }
        // Before the members of the last run have been asked, nobody is known to be gone.
        if full && is_settled {
            work.extend(strays(shared, &view, &now));
        }
        drop(view);
        let wait = match write(shared, work).await {
            Ok(()) => {
                seen = Some(now);
                FULL
            }
            Err(error) => {
                tracing::error!(target: "agent.server", error = %error, "failed to reconcile members");
                seen = None;
                RETRY
            }
        };
        if let Some(first) = first.take() {
            first();
        }
        let full_at = Instant::now() + wait;
        tokio::select! {
            _ = changed.changed() => {}
            () = tokio::time::sleep_until(full_at) => seen = None,
            () = &mut settled, if !is_settled => {
                is_settled = true;
                seen = None;
            }
        }
    }
}

/// What to write for the members that changed.
fn differences(
    shared: &Shared,
    view: &View,
    seen: &Members,
    now: &Members,
) -> Vec<(Str, Action, Command)> {
    use imbl::ordmap::DiffItem;
    seen.diff(now)
        .filter_map(|item| match item {
            DiffItem::Add(_, member)
            | DiffItem::Update {
                new: (_, member), ..
            } => plan(shared, view, member),
            DiffItem::Remove(_, member) if handled(shared, member) => {
                gone(shared, view, &member.name, "reaped")
            }
            DiffItem::Remove(..) => None,
        })
        .collect()
}

/// Nodes of agents that nobody in the pool is.
fn strays(shared: &Shared, view: &View, now: &Members) -> Vec<(Str, Action, Command)> {
    let known: HashSet<Str> = now.keys().map(|name| fold(name)).collect();
    view.nodes()
        .filter(|node| !known.contains(&fold(&node.node)))
        .filter(|node| view.check(&node.node, CHECK).is_some())
        .filter_map(|node| gone(shared, view, &node.node, "reaped"))
        .collect()
}

/// Whether a member is an agent of this datacenter.
fn handled(shared: &Shared, member: &Member) -> bool {
    let tag = |key: &str| member.tags.get(key).map_or("", String::as_str);
    match tag("role") {
        "node" => tag("dc") == shared.datacenter.as_str(),
        "consul" => crate::members::server(member)
            .is_some_and(|s| s.datacenter == shared.datacenter && tag("segment").is_empty()),
        _ => false,
    }
}

fn plan(shared: &Shared, view: &View, member: &Member) -> Option<(Str, Action, Command)> {
    if !handled(shared, member) {
        return None;
    }
    match member.status {
        Standing::Alive => alive(&shared.datacenter, view, member),
        Standing::Failed => failed(&shared.datacenter, view, member),
        Standing::Left => gone(shared, view, &member.name, "left"),
        // It is still there.
        Standing::Leaving => None,
    }
}

fn check(status: Status) -> HealthCheck {
    HealthCheck {
        check_id: CHECK.into(),
        name: "Serf Health Status".into(),
        output: match status {
            Status::Passing => "Agent alive and reachable".into(),
            _ => "Agent not live or unreachable".into(),
        },
        status,
        ..HealthCheck::default()
    }
}

fn alive(datacenter: &Str, view: &View, member: &Member) -> Option<(Str, Action, Command)> {
    let name = Str::from(&*member.name);
    let address = Str::from(member.addr.ip().to_string());
    let id = Str::from(member.tags.get("id").map_or("", String::as_str));
    let service = crate::members::server(member).map(|s| service(&s, member));
    let known = view.node(&name);
    let equal = known.is_some_and(|n| n.address == address && (id.is_empty() || n.id == id))
        && view
            .check(&name, CHECK)
            .is_some_and(|c| c.status == Status::Passing)
        && service.as_ref().is_none_or(|wanted| {
            view.service(&name, &wanted.id)
                .is_some_and(|s| s.meta == wanted.meta && s.port == wanted.port)
        });
    if equal {
        return None;
    }
    // A known node keeps what its agent says of it; of a new one its version is known.
    let meta = match known {
        Some(node) => node.meta.clone(),
        None => member
            .tags
            .get("build")
            .and_then(|build| servers::version(build))
            .map(|version| [("consul-version", version.as_str())].into_iter().collect()),
    };
    let request = RegisterRequest {
        datacenter: datacenter.clone(),
        id,
        node: name.clone(),
        address,
        tagged_addresses: known.and_then(|n| n.tagged_addresses.clone()),
        node_meta: meta,
        service: service.map(Box::new),
        check: Some(Box::new(check(Status::Passing))),
        ..RegisterRequest::default()
    };
    Some((name, Action::Alive, Command::Register(Box::new(request))))
}

/// The service of a server.
fn service(server: &ServerMember, member: &Member) -> NodeService {
    let tag = |key: &str| member.tags.get(key).map_or("", String::as_str);
    let [min, max, current, ..] = member.versions.0.map(|v| v.to_string());
    let flag = |key: &str| {
        if member.tags.contains_key(key) {
            "true"
        } else {
            "false"
        }
    };
    let mut meta = StrMap::new();
    for (key, value) in [
        ("non_voter", if server.non_voter { "true" } else { "false" }),
        ("raft_version", tag("raft_vsn")),
        ("read_replica", flag("read_replica")),
        ("serf_protocol_current", &current),
        ("serf_protocol_max", &max),
        ("serf_protocol_min", &min),
        ("version", &server.build),
    ] {
        meta.insert(key, value);
    }
    for key in ["grpc_port", "grpc_tls_port"] {
        if tag(key).parse::<u16>().is_ok_and(|port| port > 0) {
            meta.insert(key, tag(key));
        }
    }
    NodeService {
        id: "consul".into(),
        service: "consul".into(),
        port: i64::from(server.rpc.port()),
        meta: Some(meta),
        ..NodeService::default()
    }
}

fn failed(datacenter: &Str, view: &View, member: &Member) -> Option<(Str, Action, Command)> {
    let name = Str::from(&*member.name);
    if view.node(&name).is_none() {
        tracing::info!(target: "agent.server", member = %name, "ignoring failed event for member because it does not exist in the catalog");
        return None;
    }
    if view
        .check(&name, CHECK)
        .is_some_and(|c| c.status == Status::Critical)
    {
        return None;
    }
    let request = RegisterRequest {
        datacenter: datacenter.clone(),
        id: member.tags.get("id").map_or("", String::as_str).into(),
        node: name.clone(),
        address: member.addr.ip().to_string().into(),
        check: Some(Box::new(check(Status::Critical))),
        // Only its check changes: the node may be somebody else's by now.
        skip_node_update: true,
        ..RegisterRequest::default()
    };
    Some((name, Action::Failed, Command::Register(Box::new(request))))
}

fn gone(
    shared: &Shared,
    view: &View,
    name: &str,
    reason: &'static str,
) -> Option<(Str, Action, Command)> {
    if name.eq_ignore_ascii_case(&shared.node_name) {
        // Another leader will do it, when we are gone.
        tracing::debug!(target: "agent.server", member = name, "deregistering self should be done by follower");
        return None;
    }
    view.node(name)?;
    let name = Str::from(name);
    let request = DeregisterRequest {
        datacenter: shared.datacenter.clone(),
        node: name.clone(),
        ..DeregisterRequest::default()
    };
    Some((name, Action::Gone(reason), Command::Deregister(request)))
}

async fn write(shared: &Shared, work: Vec<(Str, Action, Command)>) -> Result<(), WriteError> {
    let mut work = work.into_iter();
    loop {
        let some: Vec<_> = work.by_ref().take(BATCH).collect();
        if some.is_empty() {
            return Ok(());
        }
        let mut said = Vec::with_capacity(some.len());
        let mut commands = Vec::with_capacity(some.len());
        for (member, action, command) in some {
            match action {
                Action::Alive => {
                    tracing::info!(target: "agent.server", member = %member, partition = "default", "member joined, marking health alive");
                }
                Action::Failed => {
                    tracing::info!(target: "agent.server", member = %member, partition = "default", "member failed, marking health critical");
                }
                Action::Gone(reason) => {
                    tracing::info!(target: "agent.server", member = %member, partition = "default", reason, "deregistering member");
                }
            }
            said.push(member);
            commands.push(command);
        }
        let command = match commands.len() {
            1 => commands.remove(0),
            _ => Command::Batch(commands),
        };
        let outcomes = match shared.store.write(command).await? {
            Outcome::Batch(outcomes) => outcomes,
            one => vec![one],
        };
        for (member, outcome) in said.into_iter().zip(outcomes) {
            if let Outcome::Refused(error) = outcome {
                tracing::error!(target: "agent.server", member = %member, error, "failed to reconcile member");
            }
        }
    }
}
