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

/// What is written for a member.
struct Work {
    member: Str,
    action: Action,
    commands: Vec<Command>,
}

/// Who we are.
struct Me {
    name: Str,
    datacenter: Str,
}

/// Keeps the catalog equal to the pool. `first` is called when all members have been compared once.
pub(super) async fn run(shared: &Arc<Shared>, first: impl FnOnce()) {
    let me = Me {
        name: shared.node_name.clone(),
        datacenter: shared.datacenter.clone(),
    };
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
            None => work.extend(now.values().filter_map(|m| plan(&me, &view, &now, m))),
            Some(seen) => work.extend(differences(&me, &view, seen, &now)),
        }
        // Before the members of the last run have been asked, nobody is known to be gone.
        if full && is_settled {
            work.extend(strays(&me, &view, &now));
        }
        drop(view);
        let wait = match write(shared, work).await {
            Ok(true) => {
                seen = Some(now);
                FULL
            }
            // Whatever stands in the way may be gone with the next change.
            Ok(false) => {
                seen = None;
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
fn differences(me: &Me, view: &View, seen: &Members, now: &Members) -> Vec<Work> {
    use imbl::ordmap::DiffItem;
    seen.diff(now)
        .filter_map(|item| match item {
            DiffItem::Add(_, member)
            | DiffItem::Update {
                new: (_, member), ..
            } => plan(me, view, now, member),
            DiffItem::Remove(_, member) if handled(me, member) => {
                gone(me, view, &member.name, "reaped")
            }
            DiffItem::Remove(..) => None,
        })
        .collect()
}

/// Nodes of agents that nobody in the pool is.
fn strays(me: &Me, view: &View, now: &Members) -> Vec<Work> {
    let known: HashSet<Str> = now.keys().map(|name| fold(name)).collect();
    view.nodes()
        .filter(|node| !known.contains(&fold(&node.node)))
        .filter(|node| view.check(&node.node, CHECK).is_some())
        .filter_map(|node| gone(me, view, &node.node, "reaped"))
        .collect()
}

/// Whether a member is an agent of this datacenter.
fn handled(me: &Me, member: &Member) -> bool {
    let tag = |key: &str| member.tags.get(key).map_or("", String::as_str);
    match tag("role") {
        "node" => tag("dc") == me.datacenter.as_str(),
        "consul" => crate::members::server(member)
            .is_some_and(|s| s.datacenter == me.datacenter && tag("segment").is_empty()),
        _ => false,
    }
}

fn plan(me: &Me, view: &View, pool: &Members, member: &Member) -> Option<Work> {
    if !handled(me, member) {
        return None;
    }
    match member.status {
        Standing::Alive if is_doubled(view, pool, member) => None,
        Standing::Alive => alive(&me.datacenter, view, member),
        Standing::Failed => failed(&me.datacenter, view, member),
        Standing::Left => gone(me, view, &member.name, "left"),
        // It is still there.
        Standing::Leaving => None,
    }
}

/// Whether the node with this member's id is another one that takes part. To register both in turn
/// would take the node and its services from each other, again and again.
fn is_doubled(view: &View, pool: &Members, member: &Member) -> bool {
    let id = member.tags.get("id").map_or("", String::as_str);
    let node = view.node_by_id(id).filter(|_| !id.is_empty());
    let Some(node) = node.filter(|n| !n.node.eq_ignore_ascii_case(&member.name)) else {
        return false;
    };
    let other = pool.get(node.node.as_str());
    let Some(other) = other.filter(|o| {
        o.status == Standing::Alive
            && o.tags
                .get("id")
                .is_some_and(|its| its.eq_ignore_ascii_case(id))
    }) else {
        return false;
    };
    tracing::error!(target: "agent.server", "Node ID conflict for '{id}': both '{}' at {} and '{}' at {} are claiming it; the first is not registered", member.name, member.addr, other.name, other.addr);
    true
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

fn alive(datacenter: &Str, view: &View, member: &Member) -> Option<Work> {
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
    let mut commands = Vec::new();
    if known.is_some_and(|n| !n.id.is_empty() && !id.is_empty() && fold(&n.id) != fold(&id)) {
        // A name has one owner in the pool: the node that had it is no more, and its name is free
        // as soon as the catalog knows that.
        commands.push(critical(datacenter, member));
    }
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
    commands.push(Command::Register(Box::new(request)));
    Some(Work {
        member: name,
        action: Action::Alive,
        commands,
    })
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

fn failed(datacenter: &Str, view: &View, member: &Member) -> Option<Work> {
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
    Some(Work {
        commands: vec![critical(datacenter, member)],
        member: name,
        action: Action::Failed,
    })
}

/// The check of a member turns critical; its node's own row stays as it is.
fn critical(datacenter: &Str, member: &Member) -> Command {
    Command::Register(Box::new(RegisterRequest {
        datacenter: datacenter.clone(),
        node: Str::from(&*member.name),
        address: member.addr.ip().to_string().into(),
        check: Some(Box::new(check(Status::Critical))),
        skip_node_update: true,
        ..RegisterRequest::default()
    }))
}

fn gone(me: &Me, view: &View, name: &str, reason: &'static str) -> Option<Work> {
    if name.eq_ignore_ascii_case(&me.name) {
        // Another leader will do it, when we are gone.
        tracing::debug!(target: "agent.server", member = name, "deregistering self should be done by follower");
        return None;
    }
    view.node(name)?;
    let name = Str::from(name);
    let request = DeregisterRequest {
        datacenter: me.datacenter.clone(),
        node: name.clone(),
        ..DeregisterRequest::default()
    };
    Some(Work {
        member: name,
        action: Action::Gone(reason),
        commands: vec![Command::Deregister(request)],
    })
}

/// Writes; false if the catalog refused something.
async fn write(shared: &Shared, work: Vec<Work>) -> Result<bool, WriteError> {
    let mut work = work.into_iter();
    let mut accepted = true;
    loop {
        let some: Vec<Work> = work.by_ref().take(BATCH).collect();
        if some.is_empty() {
            return Ok(accepted);
        }
        let mut members = Vec::new();
        let mut commands = Vec::new();
        for Work {
            member,
            action,
            commands: mut of_member,
        } in some
        {
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
            members.resize(members.len() + of_member.len(), member);
            commands.append(&mut of_member);
        }
        let command = match commands.len() {
            1 => commands.remove(0),
            _ => Command::Batch(commands),
        };
        let outcomes = match shared.store.write_as_leader(command).await? {
            Outcome::Batch(outcomes) => outcomes,
            one => vec![one],
        };
        for (member, outcome) in members.into_iter().zip(outcomes) {
            if let Outcome::Refused(error) = outcome {
                accepted = false;
                tracing::error!(target: "agent.server", member = %member, error, "failed to reconcile member");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lictor_gossip::packet::message::Versions;
    use lictor_state::{Changes, Entry, State};

    /// A catalog, and the pool that it follows.
    struct World {
        state: State,
        members: Members,
        me: Me,
    }

    impl World {
        fn new() -> World {
            World {
                state: State::from_view(View::default()),
                members: Members::default(),
                me: Me {
                    name: "me".into(),
                    datacenter: "dc1".into(),
                },
            }
        }

        fn set(&mut self, member: Member) {
            self.members.insert(member.name.clone(), member);
        }

        fn apply(&mut self, command: Command) -> Outcome {
            let index = self.state.index() + 1;
            let entry = Entry { at: 0, command };
            self.state.apply(index, &entry, &mut Changes::default())
        }

        /// Compares and writes; what was done to whom.
        fn reconcile(&mut self, seen: Option<&Members>) -> Vec<(String, Action)> {
            let view = self.state.view();
            let work: Vec<Work> = match seen {
                Some(seen) => differences(&self.me, &view, seen, &self.members),
                None => {
                    let planned = self
                        .members
                        .values()
                        .filter_map(|m| plan(&self.me, &view, &self.members, m));
                    planned
                        .chain(strays(&self.me, &view, &self.members))
                        .collect()
                }
            };
            let mut done = Vec::new();
            for one in work {
                for command in one.commands {
                    let outcome = self.apply(command);
                    assert!(!matches!(outcome, Outcome::Refused(_)), "{outcome:?}");
                }
                done.push((one.member.to_string(), one.action));
            }
            done
        }

        fn status(&self, node: &str) -> Option<Status> {
            self.state
                .view()
                .check(node, CHECK)
                .map(|c| c.status.clone())
        }
    }

    fn member(name: &str, id: &str, standing: Standing) -> Member {
        let tags = [
            ("role", "node"),
            ("dc", "dc1"),
            ("id", id),
            ("build", "1.21.0:"),
        ]
        .map(|(k, v)| (k.to_owned(), v.to_owned()));
        let addr: std::net::SocketAddr = ([10, 0, 0, 1], 8301).into();
        Member {
            name: name.into(),
            addr,
            tags: Arc::new(tags.into()),
            status: standing,
            versions: Versions::ours(4),
            ip: addr.ip().into(),
        }
    }

    const ID: [&str; 2] = [
        "11111111-2222-3333-4444-555555555555",
        "22222222-2222-3333-4444-555555555555",
    ];

    fn alive(name: &str) -> Member {
        member(name, ID[0], Standing::Alive)
    }

    #[test]
    fn a_member_runs_through_its_life() {
        let mut w = World::new();
        w.set(alive("a"));
        assert_eq!(w.reconcile(None), [("a".to_owned(), Action::Alive)]);
        assert_eq!(w.status("a"), Some(Status::Passing));
        assert_eq!(w.reconcile(None), [], "what is equal is not written");
        let seen = w.members.clone();
        w.set(member("a", ID[0], Standing::Leaving));
        assert_eq!(w.reconcile(Some(&seen)), []);
        w.set(member("a", ID[0], Standing::Failed));
        assert_eq!(w.reconcile(Some(&seen)), [("a".to_owned(), Action::Failed)]);
        assert_eq!(w.status("a"), Some(Status::Critical));
        assert_eq!(w.reconcile(None), []);
        w.set(member("a", ID[0], Standing::Left));
        assert_eq!(w.reconcile(None), [("a".to_owned(), Action::Gone("left"))]);
        assert!(w.state.view().node("a").is_none());
        assert_eq!(w.reconcile(None), []);
    }

    #[test]
    fn who_is_forgotten_goes_and_strangers_stay() {
        let mut w = World::new();
        w.set(alive("a"));
        w.reconcile(None);
        let external = |node: &str, check: Option<HealthCheck>| {
            Command::Register(Box::new(RegisterRequest {
                node: node.into(),
                address: "10.0.0.9".into(),
                check: check.map(Box::new),
                ..RegisterRequest::default()
            }))
        };
        w.apply(external("elsewhere", None));
        w.apply(external("ghost", Some(check(Status::Passing))));
        w.apply(external("me", Some(check(Status::Passing))));
        assert_eq!(
            w.reconcile(None),
            [("ghost".to_owned(), Action::Gone("reaped"))]
        );
        let seen = w.members.clone();
        w.members.remove("a");
        assert_eq!(
            w.reconcile(Some(&seen)),
            [("a".to_owned(), Action::Gone("reaped"))]
        );
        let view = w.state.view();
        let left: Vec<String> = view.nodes().map(|n| n.node.to_string()).collect();
        assert_eq!(left, ["elsewhere", "me"]);
    }

    #[test]
    fn a_rebuilt_machine_takes_its_name_over() {
        let mut w = World::new();
        w.set(alive("a"));
        w.reconcile(None);
        w.set(member("a", ID[1], Standing::Alive));
        assert_eq!(w.reconcile(None), [("a".to_owned(), Action::Alive)]);
        assert_eq!(w.status("a"), Some(Status::Passing));
        let view = w.state.view();
        assert_eq!(view.node("a").map(|n| n.id.as_str()), Some(ID[1]));
    }

    #[test]
    fn two_members_with_one_id_do_not_take_the_node_from_each_other() {
        let mut w = World::new();
        w.set(alive("a"));
        w.reconcile(None);
        w.set(alive("b"));
        assert_eq!(w.reconcile(None), []);
        assert_eq!(w.status("a"), Some(Status::Passing));
        // One that was given another name is there under the new one only.
        w.set(member("a", ID[0], Standing::Failed));
        w.reconcile(None);
        assert_eq!(w.status("b"), Some(Status::Passing));
        assert!(w.state.view().node("a").is_none());
    }

    #[test]
    fn other_members_are_no_nodes() {
        let mut w = World::new();
        let with = |key: &str, value: &str| {
            let mut it = alive("x");
            let mut tags = (*it.tags).clone();
            tags.insert(key.to_owned(), value.to_owned());
            it.tags = Arc::new(tags);
            it
        };
        for (key, value) in [("role", "web"), ("dc", "dc2"), ("role", "consul")] {
            w.set(with(key, value));
            assert_eq!(w.reconcile(None), [], "{key} {value}");
        }
        w.set(member("never-seen", ID[1], Standing::Failed));
        assert_eq!(w.reconcile(None), []);
    }
}
