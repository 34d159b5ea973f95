use crate::message::{self, KvsRequest, SessionSpecificRequest, TxnResponse};
use crate::{from_slice, to_vec};
use lictor_state::{
    CatalogVerb, CheckOp, KvOp, KvRead, KvReadVerb, KvVerb, NodeOp, Outcome, ServiceOp, TxnError,
    TxnOp, TxnResult,
};
use lictor_wire::rows;
use lictor_wire::{
    ConnectMarks, GoDuration, HealthCheck, KvEntry, Node, NodeService, RegisterRequest,
    ServiceAddress, ServiceCheckRef, Session, SessionBehavior, Status, Str, Weights,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use std::sync::Arc;

/// Over the wire.
fn sent<T: Serialize + DeserializeOwned>(message: &T) -> T {
    from_slice(&to_vec(message).unwrap()).unwrap()
}

fn node() -> Node {
    Node {
        id: "f4d2431d-78a5-9136-6282-0418a1d95840".into(),
        node: "n1".into(),
        address: "10.0.0.1".into(),
        datacenter: "dc1".into(),
        tagged_addresses: Some([("lan", "10.0.0.1")].into_iter().collect()),
        meta: None,
        create_index: 1,
        modify_index: 2,
    }
}

fn service() -> NodeService {
    let address = ServiceAddress {
        address: "10.0.0.9".into(),
        port: 80,
    };
    NodeService {
        kind: "connect-proxy".into(),
        id: "web-1".into(),
        service: "web".into(),
        tags: ["a", "b"].map(Str::from).into(),
        address: "10.0.0.2".into(),
        tagged_addresses: Some(Box::new([("wan".into(), address)].into_iter().collect())),
        meta: Some([("k", "v")].into_iter().collect()),
        port: 8080,
        socket_path: "/tmp/s".into(),
        weights: Weights {
            passing: 3,
            warning: 0,
        },
        enable_tag_override: true,
        proxy: Some(Box::new(json!({
            "EnvoyExtensions": [{"Name": "builtin/lua", "Required": true, "Arguments": {"a": 1}, "ConsulVersion": "", "EnvoyVersion": ""}],
            "DestinationServiceName": "db",
            "DestinationServiceID": "db-1",
            "LocalServiceAddress": "127.0.0.1",
            "LocalServicePort": 5432,
            "LocalServiceSocketPath": "/s",
            "Mode": "transparent",
            "Config": {"deep": {"list": [1, 2.5, null]}, "protocol": "http"},
            "Upstreams": [{
                "DestinationType": "service", "DestinationNamespace": "ns", "DestinationPartition": "p",
                "DestinationPeer": "peer", "DestinationName": "cache", "Datacenter": "", "LocalBindAddress": "127.0.0.1",
                "LocalBindPort": 9191, "LocalBindSocketPath": "/l", "LocalBindSocketMode": "0600",
                "Config": {"x": "y"}, "MeshGateway": {"Mode": "local"},
                "IngressHosts": ["h"], "CentrallyConfigured": true,
            }],
            "MeshGateway": {"Mode": "remote"},
            "Expose": {"Checks": true, "Paths": [{"ListenerPort": 1, "Path": "/p", "LocalPathPort": 2, "Protocol": "http2", "ParsedFromCheck": true}]},
            "TransparentProxy": {"OutboundListenerPort": 15001, "DialedDirectly": true},
            "MutualTLSMode": "strict",
            "AccessLogs": {"Enabled": true, "DisableListenerLogs": true, "Type": "file", "Path": "/log", "JSONFormat": "{}", "TextFormat": "t"},
        }))),
        connect: Some(Box::new(ConnectMarks {
            native: true,
            sidecar_service: None,
        })),
        locality: Some(Box::new(json!({"Region": "eu", "Zone": "eu-1"}))),
        peer_name: Str::new(),
        create_index: 3,
        modify_index: 4,
    }
}

fn check() -> HealthCheck {
    HealthCheck {
        node: "n1".into(),
        check_id: "c1".into(),
        name: "alive".into(),
        status: Status::Warning,
        notes: "notes".into(),
        output: "output".into(),
        service_id: "web-1".into(),
        service_name: "web".into(),
        service_tags: [Str::from("a")].into(),
        kind: "http".into(),
        interval: "10s".into(),
        timeout: "1s".into(),
        exposed_port: 21500,
        definition: Some(Box::new(json!({
            "Interval": "10s", "OutputMaxSize": 4096, "Timeout": "1.5s",
            "DeregisterCriticalServiceAfter": "1h30m0s", "HTTP": "http://a/", "TLSServerName": "s",
            "TLSSkipVerify": true, "Header": {"X": ["1", "2"]}, "Method": "PUT", "Body": "b",
            "DisableRedirects": true, "TCP": "a:1", "TCPUseTLS": true, "UDP": "a:2", "H2PING": "a:3",
            "OSService": "svc", "H2PingUseTLS": true, "ScriptArgs": ["x"], "DockerContainerID": "d",
            "Shell": "sh", "GRPC": "a:4", "GRPCUseTLS": true, "AliasNode": "n", "AliasService": "s",
            "TTL": "30s",
        }))),
        create_index: 5,
        modify_index: 6,
    }
}

#[test]
fn rows_survive_the_wire() {
    assert_eq!(Node::from(sent(&message::Node::from(&node()))), node());
    let over = NodeService::from(sent(&message::NodeService::from(&service())));
    assert_eq!(over, service());
    // The JSON that clients of HTTP see is the same to the letter.
    assert_eq!(
        serde_json::to_string(&over).unwrap(),
        serde_json::to_string(&service()).unwrap()
    );
    let over = HealthCheck::from(sent(&message::HealthCheck::from(&check())));
    assert_eq!(over, check());
    let plain = NodeService {
        id: "p".into(),
        service: "p".into(),
        ..NodeService::default()
    };
    assert_eq!(
        NodeService::from(sent(&message::NodeService::from(&plain))),
        plain
    );
    let entry = KvEntry {
        lock_index: 1,
        key: "k".into(),
        flags: u64::MAX,
        value: Arc::from(&[0, 255][..]),
        session: "s".into(),
        create_index: 2,
        modify_index: 3,
    };
    assert_eq!(KvEntry::from(sent(&message::DirEntry::from(&entry))), entry);

    let row = rows::ServiceNode {
        node: Arc::new(node()),
        service: Arc::new(service()),
    };
    let over = rows::ServiceNode::from(sent(&message::ServiceNode::from(&row)));
    assert_eq!(*over.service, service());
    assert_eq!((over.node.create_index, &over.node.id), (0, &node().id));

    let row = rows::CheckServiceNode {
        node: Arc::new(node()),
        service: Arc::new(service()),
        checks: vec![Arc::new(check())],
    };
    let over = rows::CheckServiceNode::from(sent(&message::CheckServiceNode::from(&row)));
    assert_eq!(
        (&*over.node, &*over.service, &*over.checks[0]),
        (&node(), &service(), &check())
    );

    let row = rows::NodeServices {
        node: Arc::new(node()),
        services: vec![Arc::new(service())],
    };
    let over = rows::NodeServices::from(sent(&message::NodeServices::from(&row)));
    assert_eq!((&*over.node, &over.services), (&node(), &row.services));
    let over = rows::NodeServiceList::from(sent(&message::NodeServiceList::from(&row)));
    assert_eq!(over.services, Some(row.services));
    let nothing = rows::NodeServiceList::from(message::NodeServiceList::default());
    assert!(nothing.node.is_none() && nothing.services.is_none());
}

#[test]
fn sessions_survive_the_wire() {
    let session = Session {
        id: "s".into(),
        name: "n".into(),
        node: "n1".into(),
        lock_delay: GoDuration::from_secs(15),
        behavior: SessionBehavior::Delete,
        ttl: "30s".into(),
        node_checks: vec!["serfHealth".into()],
        service_checks: Some(vec![ServiceCheckRef {
            id: "web".into(),
            namespace: Str::new(),
        }]),
        create_index: 1,
        modify_index: 2,
    };
    let sent_one = sent(&message::Session::from(&session));
    assert_eq!(Session::try_from(sent_one.clone()), Ok(session.clone()));
    // As clients of old list their checks, and as some list them twice.
    let old = sent_one.clone().for_servers_before_1_7();
    assert_eq!(old.checks, ["serfHealth"]);
    assert_eq!(Session::try_from(old.clone()), Ok(session.clone()));
    let twice = message::Session {
        node_checks: old.checks.clone(),
        ..old
    };
    assert_eq!(Session::try_from(twice), Ok(session));
    let unknown = message::Session {
        behavior: "keep".into(),
        ..sent_one
    };
    assert_eq!(
        Session::try_from(unknown),
        Err("Invalid Behavior setting 'keep'".to_owned())
    );
    let ours = SessionSpecificRequest::of("dc1", "id", message::QueryOptions::default());
    assert_eq!((&*ours.session_id, &*ours.session), ("id", "id"));
    let old = SessionSpecificRequest {
        session: "id".into(),
        ..SessionSpecificRequest::default()
    };
    assert_eq!((ours.id(), old.id()), (&"id".into(), &"id".into()));
}

#[test]
fn registrations_are_completed() {
    let given = message::RegisterRequest {
        node: "n1".into(),
        service: Some(Box::new(message::NodeService {
            service: "web".into(),
            ..message::NodeService::default()
        })),
        check: Some(Box::new(message::HealthCheck {
            name: "alive".into(),
            ..message::HealthCheck::default()
        })),
        checks: vec![message::HealthCheck {
            check_id: "c".into(),
            node: "n2".into(),
            status: "passing".into(),
            ..message::HealthCheck::default()
        }],
        ..message::RegisterRequest::default()
    };
    let r = RegisterRequest::from(sent(&given));
    let service = r.service.as_ref().unwrap();
    assert_eq!((&*service.id, service.weights), ("web", Weights::default()));
    let check = r.check.as_ref().unwrap();
    assert_eq!(
        (&*check.check_id, &*check.node, &check.status),
        ("alive", "n1", &Status::Critical)
    );
    assert_eq!((&*r.checks[0].check_id, &*r.checks[0].node), ("c", "n2"));
    assert_eq!(
        RegisterRequest::from(sent(&message::RegisterRequest::from(&r))),
        r
    );
}

fn kv(verb: KvVerb) -> KvOp {
    KvOp {
        verb,
        key: "k".into(),
        value: Arc::from(&b"v"[..]),
        flags: 1,
        session: "s".into(),
        index: 2,
    }
}

#[test]
fn every_write_of_a_key_has_its_word() {
    use KvVerb::*;
    for verb in [Set, Cas, Lock, Unlock, Delete, DeleteCas, DeleteTree] {
        let request = sent(&KvsRequest::of("dc1", &kv(verb)));
        assert_eq!(request.into_op(), Ok(kv(verb)));
    }
    let unknown = KvsRequest {
        op: "get".into(),
        ..KvsRequest::default()
    };
    assert_eq!(
        unknown.into_op(),
        Err("Invalid KVS operation 'get'".to_owned())
    );
}

#[test]
fn transactions_survive_the_wire() {
    use KvReadVerb::*;
    let mut ops = vec![TxnOp::Kv(kv(KvVerb::Lock))];
    for verb in [
        Get,
        GetOrEmpty,
        GetTree,
        CheckIndex,
        CheckSession,
        CheckNotExists,
    ] {
        ops.push(TxnOp::KvRead(KvRead {
            verb,
            key: "k".into(),
            flags: 1,
            session: "s".into(),
            index: 2,
        }));
    }
    for verb in [
        CatalogVerb::Get,
        CatalogVerb::Set,
        CatalogVerb::Cas,
        CatalogVerb::Delete,
        CatalogVerb::DeleteCas,
    ] {
        ops.push(TxnOp::Node(NodeOp { verb, node: node() }));
        ops.push(TxnOp::Service(ServiceOp {
            verb,
            node: "n1".into(),
            service: Box::new(service()),
        }));
        ops.push(TxnOp::Check(CheckOp {
            verb,
            check: Box::new(check()),
        }));
    }
    for op in &ops {
        let message = sent(&message::TxnOp::from(op));
        assert_eq!(message.into_op(), Ok(Some(op.clone())));
    }
    assert_eq!(message::TxnOp::default().into_op(), Ok(None));
    let unknown = message::TxnOp {
        kv: Some(message::TxnKvOp {
            verb: "put".into(),
            ..message::TxnKvOp::default()
        }),
        ..message::TxnOp::default()
    };
    assert_eq!(
        unknown.into_op(),
        Err("unknown KV operation: put".to_owned())
    );

    let results = vec![
        TxnResult::Kv(Arc::new(KvEntry {
            key: "k".into(),
            ..KvEntry::default()
        })),
        TxnResult::Node(Arc::new(node())),
        TxnResult::Service(Arc::new(service())),
        TxnResult::Check(Arc::new(check())),
    ];
    let reply = sent(&TxnResponse::of(&results, &[]));
    assert_eq!(
        reply.into_outcome(),
        Outcome::Txn {
            results,
            errors: Vec::new()
        }
    );
    let errors = vec![TxnError::new(3, "failed index check")];
    let reply = sent(&TxnResponse::of(&[], &errors));
    assert_eq!(
        reply.into_outcome(),
        Outcome::Txn {
            results: Vec::new(),
            errors
        }
    );
}
