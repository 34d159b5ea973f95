//! Anti-entropy as a pure function: what we vouch for and what the catalog has, to the few writes
//! that make them equal.

use lictor_state::{Command, View, fold};
use lictor_wire::{
    DeregisterRequest, HealthCheck, Node, NodeService, RegisterRequest, Str, StrMap,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What the agent vouches for.
#[derive(Debug, Default)]
pub struct LocalSide {
    /// Services by id.
    pub services: BTreeMap<Str, Arc<NodeService>>,
    /// Checks by id.
    pub checks: BTreeMap<Str, LocalCheckSide>,
    /// Whether the node's own facts were in sync.
    pub node_in_sync: bool,
    /// Whether this is all there is, so that what the catalog has beyond it must go.
    pub complete: bool,
    /// Services that were registered again since the catalog had them: their own tags count.
    pub fresh: BTreeSet<Str>,
}

/// A check that the agent vouches for.
#[derive(Debug)]
pub struct LocalCheckSide {
    /// The check.
    pub check: Arc<HealthCheck>,
    /// Whether a changed output is still kept back.
    pub output_deferred: bool,
}

/// What the agent says of its node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The node's UUID.
    pub id: Str,
    /// Its name.
    pub name: Str,
    /// Its address.
    pub address: Str,
    /// Its datacenter.
    pub datacenter: Str,
    /// Its addresses by purpose.
    pub tagged_addresses: StrMap,
    /// Its metadata.
    pub meta: StrMap,
}

/// What to write, and what is in sync once it is written.
#[derive(Debug, Default)]
pub struct Plan {
    /// The writes, in order, with what each says in the log.
    pub writes: Vec<(Command, Said)>,
    /// What is in sync afterwards.
    pub done: Done,
    /// Services whose tags the catalog changed, where they allow it: as they were, and as they are
    /// now. Only a complete comparison adopts tags (Consul's rule): what was just registered is
    /// written as it is.
    pub adopted: Vec<(Arc<NodeService>, Arc<NodeService>)>,
}

/// What a write says in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// The node's own facts.
    Node,
    /// A service.
    Service(Str),
    /// A check.
    Check(Str),
    /// A service taken away.
    ServiceGone(Str),
    /// A check taken away.
    CheckGone(Str),
}

/// What is in sync after the writes of a plan.
#[derive(Debug, Default)]
pub struct Done {
    /// Services, as they were written.
    pub services: Vec<(Str, Arc<NodeService>)>,
    /// Checks, as they were written.
    pub checks: Vec<(Str, Arc<HealthCheck>)>,
    /// The node's own facts.
    pub node: bool,
}

/// Services that servers register for themselves are not the agent's.
const SERVER_SERVICE: &str = "consul";
/// The check that the leader keeps for each member is not the agent's.
const SERF_HEALTH: &str = "serfHealth";

/// What the catalog has of this node.
#[derive(Clone, Copy, Debug)]
pub struct Remote<'a> {
    /// The node with its services.
    pub services: &'a View,
    /// Its checks.
    pub checks: &'a View,
}

/// Compares what is given and says what to write. Nothing of any other node is touched.
pub fn plan(me: &Identity, local: &LocalSide, remote: Remote<'_>) -> Plan {
    let mut plan = Plan::default();
    if local.complete || !local.node_in_sync {
        let known = remote.services.node(&me.name);
        node(me, known.map(|n| &**n), &mut plan);
    }
    if local.complete {
        removals(me, local, remote, &mut plan);
    }
    writes(me, local, remote, &mut plan);
    plan
}

/// What the catalog has of ours and we no longer have.
fn removals(me: &Identity, local: &LocalSide, catalog: Remote<'_>, plan: &mut Plan) {
    for remote in catalog.services.services_of(&me.name) {
        if remote.id != SERVER_SERVICE && !local.services.contains_key(&remote.id) {
            let gone = DeregisterRequest {
                node: me.name.clone(),
                service_id: remote.id.clone(),
                ..Default::default()
            };
            plan.writes.push((
                Command::Deregister(gone),
                Said::ServiceGone(remote.id.clone()),
            ));
        }
    }
    for remote in catalog.checks.checks_of_node(&me.name) {
        let with_service = !remote.service_id.is_empty()
            && remote.service_id != SERVER_SERVICE
            && !local.services.contains_key(&remote.service_id);
        if remote.check_id != SERF_HEALTH
            && !local.checks.contains_key(&remote.check_id)
            && !with_service
        {
            let gone = DeregisterRequest {
                node: me.name.clone(),
                check_id: remote.check_id.clone(),
                ..Default::default()
            };
            plan.writes.push((
                Command::Deregister(gone),
                Said::CheckGone(remote.check_id.clone()),
            ));
        }
    }
}

/// What we have and the catalog has not, or not so.
fn writes(me: &Identity, local: &LocalSide, catalog: Remote<'_>, plan: &mut Plan) {
    let mut with_service: Vec<&Str> = Vec::new();
    for (id, service) in &local.services {
        let remote = catalog.services.service(&me.name, id);
        let open = service.enable_tag_override && local.complete && !local.fresh.contains(id);
        let service = match remote {
            Some(remote) if open && service.tags != remote.tags => {
                let mut adopted = (**service).clone();
                adopted.tags = remote.tags.clone();
                let adopted = Arc::new(adopted);
                plan.adopted.push((service.clone(), adopted.clone()));
                adopted
            }
            _ => service.clone(),
        };
        let same = remote.is_some_and(|remote| {
            let mut wanted = (*service).clone();
            // Mesh addresses are given by the servers.
            keep_virtual(&mut wanted, remote);
            wanted.same_as(remote)
        });
        if same {
            plan.done.services.push((id.clone(), service));
            continue;
        }
        // A service travels with its checks, so that it is never seen without them.
        let checks: Vec<&LocalCheckSide> = local
            .checks
            .values()
            .filter(|c| c.check.service_id == *id)
            .collect();
        with_service.extend(checks.iter().map(|c| &c.check.check_id));
        let request = RegisterRequest {
            service: Some(Box::new((*service).clone())),
            checks: checks.iter().map(|c| (*c.check).clone()).collect(),
            ..base(me)
        };
        plan.writes.push((
            Command::Register(Box::new(request)),
            Said::Service(id.clone()),
        ));
        plan.done.services.push((id.clone(), service));
        for check in checks {
            plan.done
                .checks
                .push((check.check.check_id.clone(), check.check.clone()));
        }
    }
    for (id, side) in &local.checks {
        if with_service.contains(&id) {
            continue;
        }
        let remote = catalog.checks.check(&me.name, id);
        let same = remote.is_some_and(|remote| {
            let mut wanted = (*side.check).clone();
            if side.output_deferred {
                wanted.output = remote.output.clone();
            }
            // The catalog has the tags of when the check was last written.
            wanted.service_tags = remote.service_tags.clone();
            wanted.node = remote.node.clone();
            wanted.same_as(remote)
        });
        if !same {
            let request = RegisterRequest {
                check: Some(Box::new((*side.check).clone())),
                ..base(me)
            };
            plan.writes.push((
                Command::Register(Box::new(request)),
                Said::Check(id.clone()),
            ));
        }
        if !side.output_deferred || !same {
            plan.done.checks.push((id.clone(), side.check.clone()));
        }
    }
}

fn base(me: &Identity) -> RegisterRequest {
    RegisterRequest {
        id: me.id.clone(),
        node: me.name.clone(),
        address: me.address.clone(),
        datacenter: me.datacenter.clone(),
        tagged_addresses: Some(me.tagged_addresses.clone()),
        node_meta: Some(me.meta.clone()),
        ..RegisterRequest::default()
    }
}

fn node(me: &Identity, remote: Option<&Node>, plan: &mut Plan) {
    plan.done.node = true;
    let same = remote.is_some_and(|n| {
        fold(&n.id) == fold(&me.id)
            && n.node == me.name
            && n.address == me.address
            && n.tagged_addresses.as_ref() == Some(&me.tagged_addresses)
            && n.meta.as_ref() == Some(&me.meta)
    });
    if !same {
        plan.writes
            .push((Command::Register(Box::new(base(me))), Said::Node));
    }
}

fn keep_virtual(wanted: &mut NodeService, remote: &NodeService) {
    const KEY: &str = "consul-virtual";
    let Some(address) = remote.tagged_addresses.as_ref().and_then(|t| t.get(KEY)) else {
        return;
    };
    wanted
        .tagged_addresses
        .get_or_insert_with(Default::default)
        .insert(KEY.into(), address.clone());
}

#[cfg(test)]
mod tests {
    use super::*;
    use lictor_state::{Changes, Entry, State};
    use lictor_wire::Status;

    fn made(me: &Identity, local: &LocalSide, view: &View) -> Plan {
        let remote = Remote {
            services: view,
            checks: view,
        };
        plan(me, local, remote)
    }

    fn me() -> Identity {
        Identity {
            id: "".into(),
            name: "n1".into(),
            address: "10.0.0.1".into(),
            datacenter: "dc1".into(),
            ..Identity::default()
        }
    }

    fn service(id: &str, port: i64) -> Arc<NodeService> {
        Arc::new(NodeService {
            id: id.into(),
            service: id.into(),
            port,
            ..NodeService::default()
        })
    }

    fn check(id: &str, service: &str, output: &str) -> LocalCheckSide {
        let check = HealthCheck {
            node: "n1".into(),
            check_id: id.into(),
            name: id.into(),
            service_id: service.into(),
            service_name: service.into(),
            status: Status::Passing,
            output: output.into(),
            ..HealthCheck::default()
        };
        LocalCheckSide {
            check: Arc::new(check),
            output_deferred: false,
        }
    }

    fn run(state: &mut State, plan: &Plan) {
        for (command, _) in &plan.writes {
            let index = state.index() + 1;
            state.apply(
                index,
                &Entry {
                    at: 0,
                    command: command.clone(),
                },
                &mut Changes::default(),
            );
        }
    }

    #[test]
    fn one_round_makes_both_sides_equal_and_a_second_writes_nothing() {
        let mut state = State::default();
        let mut local = LocalSide {
            complete: true,
            ..LocalSide::default()
        };
        local.services.insert("web".into(), service("web", 80));
        local.checks.insert("c1".into(), check("c1", "web", ""));
        local.checks.insert("disk".into(), check("disk", "", ""));
        let plan = made(&me(), &local, &state.view());
        assert_eq!(
            plan.writes.len(),
            3,
            "node, service with its check, node check: {:?}",
            plan.writes
        );
        run(&mut state, &plan);
        assert!(made(&me(), &local, &state.view()).writes.is_empty());

        // What is ours and gone is taken away; what is another's stays.
        let other = RegisterRequest {
            node: "n2".into(),
            address: "10.0.0.2".into(),
            service: Some(Box::new((*service("x", 1)).clone())),
            ..Default::default()
        };
        let server = RegisterRequest {
            service: Some(Box::new((*service("consul", 8300)).clone())),
            ..base(&me())
        };
        let serf = RegisterRequest {
            check: Some(Box::new(HealthCheck {
                check_id: "serfHealth".into(),
                ..Default::default()
            })),
            ..base(&me())
        };
        for request in [other, server, serf] {
            let index = state.index() + 1;
            state.apply(
                index,
                &Entry {
                    at: 0,
                    command: Command::Register(Box::new(request)),
                },
                &mut Changes::default(),
            );
        }
        let plan = made(
            &me(),
            &LocalSide {
                complete: true,
                ..LocalSide::default()
            },
            &state.view(),
        );
        let mut said: Vec<&Said> = plan.writes.iter().map(|(_, s)| s).collect();
        said.sort_by_key(|s| format!("{s:?}"));
        assert_eq!(
            said,
            [
                &Said::CheckGone("disk".into()),
                &Said::ServiceGone("web".into())
            ]
        );
        run(&mut state, &plan);
        assert!(state.view().has_service("x") && state.view().has_service("consul"));
        assert!(state.view().check("n1", "serfHealth").is_some());
    }

    #[test]
    fn a_changed_output_that_is_kept_back_is_not_written() {
        let mut state = State::default();
        let mut local = LocalSide {
            complete: true,
            ..LocalSide::default()
        };
        local.checks.insert("c".into(), check("c", "", "old"));
        let plan = made(&me(), &local, &state.view());
        run(&mut state, &plan);
        let mut row = check("c", "", "new");
        row.output_deferred = true;
        local.checks.insert("c".into(), row);
        assert!(made(&me(), &local, &state.view()).writes.is_empty());
        local.checks.insert("c".into(), check("c", "", "new"));
        assert_eq!(made(&me(), &local, &state.view()).writes.len(), 1);
    }

    #[test]
    fn the_catalogs_tags_win_where_the_service_allows_it() {
        let mut state = State::default();
        let mut local = LocalSide {
            complete: true,
            ..LocalSide::default()
        };
        let mut mine = (*service("web", 80)).clone();
        mine.enable_tag_override = true;
        local.services.insert("web".into(), Arc::new(mine.clone()));
        let plan = made(&me(), &local, &state.view());
        run(&mut state, &plan);
        mine.tags = Arc::from(["v2".into()]);
        let request = RegisterRequest {
            service: Some(Box::new(mine)),
            ..base(&me())
        };
        let index = state.index() + 1;
        state.apply(
            index,
            &Entry {
                at: 0,
                command: Command::Register(Box::new(request)),
            },
            &mut Changes::default(),
        );
        let plan = made(&me(), &local, &state.view());
        assert!(plan.writes.is_empty());
        let [(was, is)] = &plan.adopted[..] else {
            panic!("{:?}", plan.adopted);
        };
        assert!(Arc::ptr_eq(was, &local.services["web"]));
        assert_eq!(is.tags, Arc::from([Str::from("v2")]));
        assert!(Arc::ptr_eq(&plan.done.services[0].1, is));
        // Other changes do not undo them.
        let mut moved = (**was).clone();
        moved.port = 81;
        local.services.insert("web".into(), Arc::new(moved));
        let plan = made(&me(), &local, &state.view());
        let [(Command::Register(request), _)] = &plan.writes[..] else {
            panic!("{:?}", plan.writes);
        };
        let written = request.service.as_ref().expect("a service");
        assert_eq!((written.port, &*written.tags), (81, &["v2".into()][..]));
        // What was registered again is written as it is: at once, and if that failed, later.
        for (complete, fresh) in [(false, false), (true, true)] {
            local.complete = complete;
            local.fresh = fresh.then(|| "web".into()).into_iter().collect();
            let plan = made(&me(), &local, &state.view());
            assert!(plan.adopted.is_empty());
            let [(Command::Register(request), _)] = &plan.writes[..] else {
                panic!("{:?}", plan.writes);
            };
            assert!(request.service.as_ref().is_some_and(|s| s.tags.is_empty()));
        }
    }
}
