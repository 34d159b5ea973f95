//! The methods, answered by an agent in development mode.

use super::call;
use crate::agent::{Agent, Shared};
use crate::load::Loader;
use lictor_rpc_wire::message::*;
use lictor_rpc_wire::{Bytes, from_slice, to_vec};
use lictor_wire::Str;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

const PEER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(20);

/// One agent for all tests: each uses names of its own.
struct Server {
    runtime: tokio::runtime::Runtime,
    agent: Agent,
}

fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let ports = "ports { http = -1 dns = -1 grpc = -1 grpc_tls = -1 server = 18307 serf_lan = 18308 serf_wan = 18309 }";
        let args = ["-dev", "-node", "server", "-hcl", ports].map(str::to_owned);
        let flags = lictor_config::parse_agent_flags(args).unwrap();
        let loader = Loader::new(flags);
        let config = loader.load().unwrap().config;
        let log = lictor_log::init(lictor_log::Settings::default()).unwrap();
        let agent = runtime.block_on(Agent::start(config, loader, log)).unwrap();
        let server = Server { runtime, agent };
        // Until it leads, and is in its own catalog.
        server.run(async {
            let began = Instant::now();
            while server.agent.shared.store.view().node("server").is_none() {
                assert!(began.elapsed() < LONG, "the server does not lead");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        server
    })
}

impl Server {
    fn run<T>(&self, what: impl Future<Output = T>) -> T {
        self.runtime.block_on(what)
    }
}

async fn ask<T: DeserializeOwned>(method: &str, args: &impl Serialize) -> Result<T, String> {
    let shared: &Arc<Shared> = &server().agent.shared;
    let args = to_vec(args).unwrap();
    let reply = call(shared, method, &args, PEER).await?;
    Ok(from_slice(&reply).unwrap())
}

/// A call from outside of the runtime.
fn asked<T: DeserializeOwned>(method: &str, args: &impl Serialize) -> Result<T, String> {
    server().run(ask(method, args))
}

fn refused(method: &str, args: &impl Serialize) -> String {
    asked::<lictor_rpc_wire::message::Empty>(method, args).unwrap_err()
}

fn service_request(name: &str) -> ServiceSpecificRequest {
    ServiceSpecificRequest {
        datacenter: "dc1".into(),
        service_name: name.into(),
        ..ServiceSpecificRequest::default()
    }
}

fn node_request(name: &str) -> NodeSpecificRequest {
    NodeSpecificRequest {
        datacenter: "dc1".into(),
        node: name.into(),
        ..NodeSpecificRequest::default()
    }
}

/// An instance of a service on a node, with a check of that status.
fn registration(node: &str, service: &str, tags: &[&str], status: &str) -> RegisterRequest {
    RegisterRequest {
        datacenter: "dc1".into(),
        node: node.into(),
        address: "10.0.0.1".into(),
        node_meta: Some([("zone", node)].into_iter().collect()),
        service: Some(Box::new(NodeService {
            service: service.into(),
            tags: tags.iter().map(|t| Str::from(*t)).collect(),
            port: 80,
            ..NodeService::default()
        })),
        check: Some(Box::new(HealthCheck {
            name: format!("{service} alive").into(),
            service_id: service.into(),
            status: status.into(),
            ..HealthCheck::default()
        })),
        ..RegisterRequest::default()
    }
}

fn register(node: &str, service: &str, tags: &[&str], status: &str) {
    let args = registration(node, service, tags, status);
    let Empty {} = asked("Catalog.Register", &args).unwrap();
}

#[test]
fn status_is_answered_with_and_without_arguments() {
    let Empty {} = asked("Status.Ping", &Empty {}).unwrap();
    let Empty {} = asked("Status.Ping", &()).unwrap();
    let leader: String = asked("Status.Leader", &Empty {}).unwrap();
    assert_eq!(leader, "127.0.0.1:18307");
    let peers: Vec<String> = asked("Status.Peers", &DcRequest::default()).unwrap();
    assert_eq!(peers, std::slice::from_ref(&leader));
    let stats: RaftStats = asked("Status.RaftStats", &Empty {}).unwrap();
    assert!(
        stats.last_index > 0 && stats.last_contact == "0",
        "{stats:?}"
    );
    let raft: RaftConfiguration =
        asked("Operator.RaftGetConfiguration", &DcRequest::default()).unwrap();
    assert_eq!(raft.servers.len(), 1);
    let only = &raft.servers[0];
    assert_eq!((&*only.node, &*only.address), ("server", &*leader));
    assert!(only.leader && only.voter);
}

#[test]
fn what_cannot_be_answered_is_said_in_the_usual_words() {
    for (method, error) in [
        ("Ping", "rpc: service/method request ill-formed: Ping"),
        ("Nobody.Ping", "rpc: can't find service Nobody.Ping"),
        ("Status.Nothing", "rpc: can't find method Status.Nothing"),
        (
            "ConnectCA.Roots",
            "Connect must be enabled in order to use this endpoint",
        ),
    ] {
        assert_eq!(refused(method, &Empty {}), error);
    }
    let error = refused("KVS.Get", &"a text");
    assert!(error.starts_with("codec.decoder:"), "{error}");
    for method in [
        "Catalog.ListNodes",
        "Catalog.ListServices",
        "Catalog.Register",
        "Catalog.Deregister",
        "Health.ServiceNodes",
        "Health.ChecksInState",
        "KVS.Get",
        "KVS.Apply",
        "KVS.ListKeys",
        "Session.List",
        "Session.Apply",
        "Session.Renew",
        "Txn.Apply",
        "Txn.Read",
        "Coordinate.Update",
        "Coordinate.ListNodes",
        "Internal.NodeDump",
        "Operator.RaftGetConfiguration",
        "Status.Leader",
    ] {
        let elsewhere = serde_json::json!({"Datacenter": "dc2"});
        let error = refused(method, &elsewhere);
        assert_eq!(error, "No path to datacenter", "{method}");
    }
    let wrong = serde_json::json!({"Filter": "Nothing == a"});
    let error = refused("Catalog.ListNodes", &wrong);
    assert!(
        error.starts_with("Failed to create boolean expression evaluator:"),
        "{error}"
    );
}

#[test]
fn refused_registrations_change_nothing() {
    let good = || registration("refused", "web", &[], "passing");
    let mut nameless = good();
    nameless.node = "".into();
    let mut homeless = good();
    homeless.address = "".into();
    let mut odd = good();
    odd.id = "x".into();
    let mut anonymous = good();
    anonymous.service = Some(Box::new(NodeService {
        id: "web".into(),
        ..NodeService::default()
    }));
    let mut elsewhere = good();
    elsewhere.check.as_mut().unwrap().node = "other".into();
    for (request, error) in [
        (nameless, "Must provide node"),
        (
            homeless,
            "Must provide address if SkipNodeUpdate is not set",
        ),
        (odd, "Bad node ID: uuid string is wrong length"),
        (
            anonymous,
            "Must provide service name (Service.Service) when service ID is provided",
        ),
        (
            elsewhere,
            "check's node \"other\" does not match node name \"refused\" in the registration request",
        ),
    ] {
        assert_eq!(refused("Catalog.Register", &request), error);
    }
    let found: IndexedNodeServices =
        asked("Catalog.NodeServices", &node_request("refused")).unwrap();
    assert_eq!(found.node_services, None);
    assert!(found.meta.index > 0 && found.meta.known_leader);
    assert_eq!(
        refused("Catalog.Deregister", &DeregisterRequest::default()),
        "Must provide node"
    );
}

#[test]
fn a_registration_is_found_in_every_way() {
    register("found-1", "found", &["a", "b"], "passing");
    register("found-2", "found", &["b"], "critical");

    let reply: IndexedNodeServices =
        asked("Catalog.NodeServices", &node_request("found-1")).unwrap();
    let found = reply.node_services.unwrap();
    let service = &found.services["found"];
    assert_eq!((&*service.id, &*service.service), ("found", "found"));
    let one = Weights {
        passing: 1,
        warning: 1,
    };
    assert_eq!(service.weights, Some(one));
    assert_eq!(service.create_index, service.modify_index);

    let reply: IndexedNodeServiceList =
        asked("Catalog.NodeServiceList", &node_request("found-2")).unwrap();
    assert_eq!(reply.node_services.services.len(), 1);
    let unknown: IndexedNodeServiceList =
        asked("Catalog.NodeServiceList", &node_request("unknown")).unwrap();
    assert_eq!(unknown.node_services, NodeServiceList::default());

    let nodes = |args: &ServiceSpecificRequest| -> Vec<Str> {
        let reply: IndexedServiceNodes = asked("Catalog.ServiceNodes", args).unwrap();
        let healthy: IndexedCheckServiceNodes = asked("Health.ServiceNodes", args).unwrap();
        let names: Vec<Str> = reply.service_nodes.into_iter().map(|n| n.node).collect();
        let node = |n: CheckServiceNode| n.node.unwrap().node;
        let same: Vec<Str> = healthy.nodes.into_iter().map(node).collect();
        assert_eq!(names, same);
        names
    };
    let all = service_request("found");
    assert_eq!(nodes(&all), ["found-1", "found-2"]);
    // Tags count only where they are said to.
    let mut tagged = service_request("found");
    tagged.service_tags = vec!["a".into(), "b".into()];
    assert_eq!(nodes(&tagged).len(), 2);
    tagged.tag_filter = true;
    assert_eq!(nodes(&tagged), ["found-1"]);
    // The tag of old clients wins.
    tagged.service_tag = "b".into();
    assert_eq!(nodes(&tagged).len(), 2);
    let mut placed = service_request("found");
    placed.node_meta_filters = Some([("zone", "found-2")].into_iter().collect());
    assert_eq!(nodes(&placed), ["found-2"]);
    let mut mesh = service_request("found");
    mesh.connect = true;
    assert!(nodes(&mesh).is_empty());
    let mut peer = service_request("found");
    peer.peer_name = "there".into();
    assert!(nodes(&peer).is_empty());
    let mut filtered = service_request("found");
    filtered.options.filter = "a in ServiceTags".into();
    let reply: IndexedServiceNodes = asked("Catalog.ServiceNodes", &filtered).unwrap();
    assert_eq!(reply.service_nodes.len(), 1);
    assert_eq!(reply.service_nodes[0].service_port, 80);
    filtered.options.filter = "Checks.Status == critical".into();
    let reply: IndexedCheckServiceNodes = asked("Health.ServiceNodes", &filtered).unwrap();
    assert_eq!(reply.nodes.len(), 1);
    assert_eq!(reply.nodes[0].checks[0].status, "critical");
    assert_eq!(
        refused("Health.ServiceNodes", &service_request("")),
        "Must provide service name"
    );

    let reply: IndexedHealthChecks = asked("Health.ServiceChecks", &all).unwrap();
    assert_eq!(reply.health_checks.len(), 2);
    let reply: IndexedHealthChecks = asked("Health.NodeChecks", &node_request("found-1")).unwrap();
    assert_eq!(reply.health_checks[0].check_id, "found alive");
    let mut state = ChecksInStateRequest {
        state: "critical".into(),
        ..ChecksInStateRequest::default()
    };
    state.options.filter = "ServiceName == found".into();
    let reply: IndexedHealthChecks = asked("Health.ChecksInState", &state).unwrap();
    assert_eq!(reply.health_checks.len(), 1);

    let services: IndexedServices =
        asked("Catalog.ListServices", &DcSpecificRequest::default()).unwrap();
    assert_eq!(services.services["found"], ["a", "b"]);
    let list: IndexedServiceList =
        asked("Catalog.ServiceList", &DcSpecificRequest::default()).unwrap();
    assert!(list.services.iter().any(|s| s.name == "found"));
    let mut all_nodes = DcSpecificRequest::default();
    all_nodes.options.filter = "Node matches \"^found-\"".into();
    let nodes: IndexedNodes = asked("Catalog.ListNodes", &all_nodes).unwrap();
    assert_eq!(nodes.nodes.len(), 2);
    let datacenters: Vec<String> = asked("Catalog.ListDatacenters", &Empty {}).unwrap();
    assert_eq!(datacenters, ["dc1"]);

    let info: IndexedNodeDump = asked("Internal.NodeInfo", &node_request("found-1")).unwrap();
    assert_eq!(info.dump.len(), 1);
    assert_eq!(
        (info.dump[0].services.len(), info.dump[0].checks.len()),
        (1, 1)
    );
    all_nodes.options.filter = "Services.Service == found and Checks.Status == critical".into();
    let dump: IndexedNodeDump = asked("Internal.NodeDump", &all_nodes).unwrap();
    let names: Vec<Str> = dump.dump.into_iter().map(|n| n.node).collect();
    assert_eq!(names, ["found-2"]);
    let mut dump = ServiceDumpRequest::default();
    dump.options.filter = "Service.Service == found".into();
    let rows: IndexedNodesWithGateways = asked("Internal.ServiceDump", &dump).unwrap();
    assert_eq!(rows.nodes.len(), 2);
    (dump.use_service_kind, dump.service_kind) = (true, "mesh-gateway".into());
    let rows: IndexedNodesWithGateways = asked("Internal.ServiceDump", &dump).unwrap();
    assert!(rows.nodes.is_empty());

    let gone = DeregisterRequest {
        node: "found-1".into(),
        ..DeregisterRequest::default()
    };
    for _ in 0..2 {
        let Empty {} = asked("Catalog.Deregister", &gone).unwrap();
    }
    let left: IndexedServiceNodes = asked("Catalog.ServiceNodes", &all).unwrap();
    assert_eq!(left.service_nodes.len(), 1);
}

#[test]
fn reads_wait_for_a_change_or_their_time() {
    register("waiting-1", "waiting", &[], "passing");
    let mut args = service_request("waiting");
    let first: IndexedCheckServiceNodes = asked("Health.ServiceNodes", &args).unwrap();
    args.options.min_query_index = first.meta.index;
    args.options.max_query_time = 100_000_000;
    let began = Instant::now();
    let same: IndexedCheckServiceNodes = asked("Health.ServiceNodes", &args).unwrap();
    assert!(began.elapsed() >= Duration::from_millis(100));
    assert_eq!(same, first);

    args.options.max_query_time = 0;
    let shared = &server().agent.shared;
    let before = shared.metrics.blocking_now();
    let waiting = server()
        .runtime
        .spawn(async move { ask::<IndexedCheckServiceNodes>("Health.ServiceNodes", &args).await });
    let began = Instant::now();
    while shared.metrics.blocking_now() <= before {
        assert!(began.elapsed() < LONG, "the read does not wait");
        std::thread::yield_now();
    }
    register("waiting-2", "waiting", &[], "warning");
    let found = server()
        .run(async { tokio::time::timeout(LONG, waiting).await })
        .expect("the read was not woken")
        .unwrap()
        .unwrap();
    assert_eq!(found.nodes.len(), 2);
    assert!(found.meta.index > first.meta.index);
}

fn kvs(op: &str, key: &str, value: &[u8]) -> KvsRequest {
    KvsRequest {
        datacenter: "dc1".into(),
        op: op.into(),
        dir_ent: DirEntry {
            key: key.into(),
            value: Bytes::from(value),
            ..DirEntry::default()
        },
        write: WriteRequest::default(),
    }
}

fn key(key: &str) -> KeyRequest {
    KeyRequest {
        datacenter: "dc1".into(),
        key: key.into(),
        options: QueryOptions::default(),
    }
}

#[test]
fn keys() {
    // What cannot fail is answered with false.
    for name in ["keys/a/1", "keys/a/2", "keys/b"] {
        assert_eq!(asked("KVS.Apply", &kvs("set", name, b"\0\xff")), Ok(false));
    }
    let found: IndexedDirEntries = asked("KVS.Get", &key("keys/b")).unwrap();
    let entry = &found.entries[0];
    assert_eq!(entry.value, Bytes::from(&b"\0\xff"[..]));
    assert_eq!(found.meta.index, entry.modify_index);
    let absent: IndexedDirEntries = asked("KVS.Get", &key("keys/c")).unwrap();
    assert!(absent.entries.is_empty() && absent.meta.index >= entry.modify_index);

    let mut cas = kvs("cas", "keys/b", b"new");
    assert_eq!(asked("KVS.Apply", &cas), Ok(false));
    cas.dir_ent.modify_index = entry.modify_index;
    assert_eq!(asked("KVS.Apply", &cas), Ok(true));

    let list: IndexedDirEntries = asked("KVS.List", &key("keys/")).unwrap();
    let names: Vec<&str> = list.entries.iter().map(|e| &*e.key).collect();
    assert_eq!(names, ["keys/a/1", "keys/a/2", "keys/b"]);
    let names = KeyListRequest {
        prefix: "keys/".into(),
        separator: "/".into(),
        ..KeyListRequest::default()
    };
    let names: IndexedKeyList = asked("KVS.ListKeys", &names).unwrap();
    assert_eq!(names.keys, ["keys/a/", "keys/b"]);

    let mut lock = kvs("lock", "keys/b", b"mine");
    lock.dir_ent.session = "nobody".into();
    assert_eq!(
        refused("KVS.Apply", &lock),
        "raft apply failed: invalid session \"nobody\""
    );
    assert_eq!(
        refused("KVS.Apply", &kvs("set", "", b"")),
        "Must provide key"
    );
    assert_eq!(
        refused("KVS.Apply", &kvs("put", "k", b"")),
        "Invalid KVS operation 'put'"
    );
    assert_eq!(
        asked("KVS.Apply", &kvs("delete-tree", "keys/", b"")),
        Ok(false)
    );
    let list: IndexedDirEntries = asked("KVS.List", &key("keys/")).unwrap();
    assert!(list.entries.is_empty());
}

#[test]
fn sessions() {
    register("sessions", "sessions", &[], "passing");
    let create = |session: Session| SessionRequest {
        op: "create".into(),
        session,
        ..SessionRequest::default()
    };
    let wish = || Session {
        node: "sessions".into(),
        ttl: "10s".into(),
        lock_delay: 1,
        behavior: "delete".into(),
        // As clients before 1.7 say it.
        checks: vec!["sessions alive".into()],
        ..Session::default()
    };
    let id: Str = asked("Session.Apply", &create(wish())).unwrap();
    let by_id = SessionSpecificRequest::of("dc1", &id, QueryOptions::default());
    let found: IndexedSessions = asked("Session.Get", &by_id).unwrap();
    assert_eq!(found.sessions.len(), 1);
    assert_eq!(found.sessions[0].node_checks, ["sessions alive"]);
    assert_eq!(found.sessions[0].behavior, "delete");
    let renewed: IndexedSessions = asked("Session.Renew", &by_id).unwrap();
    assert_eq!(renewed.sessions, found.sessions);
    assert!(!renewed.meta.known_leader);
    let of_node: IndexedSessions =
        asked("Session.NodeSessions", &node_request("sessions")).unwrap();
    assert_eq!(of_node.sessions, found.sessions);
    let list: IndexedSessions = asked("Session.List", &DcSpecificRequest::default()).unwrap();
    assert!(list.sessions.contains(&found.sessions[0]));

    let mut lock = kvs("lock", "sessions/key", b"");
    lock.dir_ent.session = id.clone();
    assert_eq!(asked("KVS.Apply", &lock), Ok(true));

    let destroy = SessionRequest::destroy("dc1", &id);
    for _ in 0..2 {
        assert_eq!(asked("Session.Apply", &destroy), Ok(String::new()));
    }
    for method in ["Session.Get", "Session.Renew"] {
        let gone: IndexedSessions = asked(method, &by_id).unwrap();
        assert!(gone.sessions.is_empty());
    }
    let locked: IndexedDirEntries = asked("KVS.Get", &key("sessions/key")).unwrap();
    assert!(locked.entries.is_empty());

    let with = |change: &dyn Fn(&mut Session)| {
        let mut session = wish();
        change(&mut session);
        create(session)
    };
    for (request, error) in [
        (with(&|s| s.node = "".into()), "Must provide Node"),
        (
            with(&|s| s.behavior = "keep".into()),
            "Invalid Behavior setting 'keep'",
        ),
        (
            with(&|s| s.ttl = "1s".into()),
            "Invalid Session TTL '1000000000', must be between [10s=24h0m0s]",
        ),
        (
            with(&|s| s.node = "unknown-node".into()),
            "apply failed: Missing node registration",
        ),
        (
            with(&|s| s.checks = vec!["c".into()]),
            "apply failed: Missing check 'c' registration",
        ),
        (SessionRequest::destroy("dc1", ""), "Must provide ID"),
    ] {
        assert_eq!(refused("Session.Apply", &request), error);
    }
}

#[test]
fn transactions() {
    let kv = |verb: &str, name: &str| TxnOp {
        kv: Some(TxnKvOp {
            verb: verb.into(),
            dir_ent: kvs("", name, b"v").dir_ent,
        }),
        ..TxnOp::default()
    };
    let apply = |ops: Vec<TxnOp>| TxnRequest {
        ops,
        ..TxnRequest::default()
    };
    let done: TxnResponse = asked(
        "Txn.Apply",
        &apply(vec![kv("set", "txn/a"), kv("get", "txn/a")]),
    )
    .unwrap();
    assert!(done.errors.is_empty());
    let values: Vec<&Bytes> = done
        .results
        .iter()
        .map(|r| &r.kv.as_ref().unwrap().value)
        .collect();
    assert_eq!(values, [&Bytes::default(), &Bytes::from(&b"v"[..])]);

    // A failed one is no error of the call.
    let failed: TxnResponse = asked(
        "Txn.Apply",
        &apply(vec![kv("set", "txn/b"), kv("get", "txn/none")]),
    )
    .unwrap();
    assert!(failed.results.is_empty());
    assert_eq!(failed.errors[0].op_index, 1);
    let malformed: TxnResponse =
        asked("Txn.Apply", &apply(vec![kv("set", ""), kv("put", "k")])).unwrap();
    let texts: Vec<&str> = malformed.errors.iter().map(|e| &*e.what).collect();
    assert_eq!(texts, ["Must provide key", "unknown KV operation: put"]);
    let many = apply(vec![kv("get", "k"); 129]);
    assert_eq!(
        refused("Txn.Apply", &many),
        "Transaction contains too many operations (129 > 128)"
    );

    let read = |ops: Vec<TxnOp>| TxnReadRequest {
        ops,
        ..TxnReadRequest::default()
    };
    let found: TxnReadResponse = asked("Txn.Read", &read(vec![kv("get-tree", "txn/")])).unwrap();
    assert_eq!(found.response.results.len(), 1);
    assert_eq!((found.meta.index, found.meta.known_leader), (0, true));
    let error = refused("Txn.Read", &read(vec![kv("set", "txn/a")]));
    assert!(error.contains("writes"), "{error}");
}

#[test]
fn coordinates_are_written_and_sort() {
    for node in ["near-1", "near-2"] {
        register(node, "near", &[], "passing");
    }
    let at = |node: &str, x: f64| CoordinateUpdateRequest {
        node: node.into(),
        coord: Some(Coordinate {
            vec: vec![x, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
            error: 0.1,
            adjustment: 0.0,
            height: 1e-5,
        }),
        ..CoordinateUpdateRequest::default()
    };
    let mut flat = at("near-1", 0.0);
    flat.coord.as_mut().unwrap().vec.pop();
    assert_eq!(
        refused("Coordinate.Update", &flat),
        "incompatible coordinate"
    );
    assert_eq!(
        refused("Coordinate.Update", &at("near-1", f64::NAN)),
        "invalid coordinate"
    );
    for (node, x) in [("near-1", 0.5), ("near-2", 0.0), ("server", 0.01)] {
        let Empty {} = asked("Coordinate.Update", &at(node, x)).unwrap();
    }
    let mut of_node = node_request("near-1");
    let began = Instant::now();
    // They are written in batches.
    let found = loop {
        let found: IndexedCoordinates = asked("Coordinate.Node", &of_node).unwrap();
        if !found.coordinates.is_empty() {
            break found;
        }
        assert!(began.elapsed() < LONG, "the coordinate is not written");
        of_node.options.min_query_index = found.meta.index;
        of_node.options.max_query_time = 1_000_000_000;
    };
    let coordinate = found.coordinates[0].coord.as_ref().unwrap();
    assert_eq!(coordinate.vec[0].to_bits(), 0.5_f64.to_bits());
    let all: IndexedCoordinates =
        asked("Coordinate.ListNodes", &DcSpecificRequest::default()).unwrap();
    assert!(all.coordinates.len() >= 3);
    let datacenters: Vec<DatacenterMap> = asked("Coordinate.ListDatacenters", &Empty {}).unwrap();
    assert_eq!(
        (&*datacenters[0].datacenter, &*datacenters[0].area_id),
        ("dc1", "wan")
    );

    let mut near = service_request("near");
    let nodes = |args: &ServiceSpecificRequest| -> Vec<Str> {
        let reply: IndexedServiceNodes = asked("Catalog.ServiceNodes", args).unwrap();
        reply.service_nodes.into_iter().map(|n| n.node).collect()
    };
    near.source = QuerySource {
        datacenter: "dc1".into(),
        node: "server".into(),
        ..QuerySource::default()
    };
    assert_eq!(nodes(&near), ["near-2", "near-1"]);
    // A place in another datacenter sorts nothing.
    near.source.datacenter = "dc2".into();
    assert_eq!(nodes(&near), ["near-1", "near-2"]);
}
