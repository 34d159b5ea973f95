//! What the view alone cannot answer: other datacenters, prepared queries, client agents,
//! consistency, names that lead to other names.

mod common;

use common::{Catalog, NX, OK, ask, plain, responder, service, table};
use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption};
use lictor_dns::{Found, Queried, Settings, SourceError, What};
use lictor_wire::Node;
use lictor_wire::rows::CheckServiceNode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
/// A source that knows another datacenter and a prepared query.
fn elsewhere(holds_view: bool) -> Catalog {
    let row = || CheckServiceNode {
        node: Arc::new(Node {
            node: "r1".into(),
            address: "10.50.0.1".into(),
            datacenter: "dc2".into(),
            tagged_addresses: Some([("wan", "198.51.100.1")].into_iter().collect()),
            ..Node::default()
        }),
        service: Arc::new(service("w", "web", 80)),
        checks: Vec::new(),
    };
    Catalog {
        holds_view,
        find: Box::new(
            move |lookup| match (lookup.datacenter.as_deref(), lookup.what) {
                (Some("dc2") | None, What::Service { name, .. }) if name == "web" => {
                    Ok(Found::Service(vec![row()]))
                }
                (Some("dc2") | None, What::Node { name }) if name == "r1" => {
                    Ok(Found::Node(Some(row().node)))
                }
                (None, What::Address { .. }) => Ok(Found::Address {
                    node: Some("r1".into()),
                    service: None,
                }),
                (None, What::Query { name, client }) if name == "near.me" => {
                    assert!(["192.0.2.7", "10.0.0.0"].contains(&client.to_string().as_str()));
                    let ttl = Some(Duration::from_secs(33));
                    Ok(Found::Query(Some(Queried {
                        service: "web".into(),
                        datacenter: "dc2".into(),
                        nodes: vec![row()],
                        ttl,
                    })))
                }
                (_, What::Query { .. }) => Ok(Found::Query(None)),
                (Some("dc3"), _) => Err(SourceError::NoLeader),
                (Some(_), _) => Err(SourceError::UnknownDatacenter),
                (None, What::Service { .. }) => Ok(Found::Service(Vec::new())),
                (None, What::Node { .. }) => Ok(Found::Node(None)),
            },
        ),
        ..Catalog::default()
    }
}

#[tokio::test]
async fn other_datacenters_and_prepared_queries_are_asked_for() {
    let settings = Settings {
        translate_wan_addrs: true,
        ..Settings::default()
    };
    let (_, responder) = responder(elsewhere(true), settings);
    table(
        &responder,
        &[
            (
                "web.service.dc2.consul",
                "A",
                &[OK, "ans web.service.dc2.consul. 0 A 198.51.100.1"],
            ),
            (
                "web.service.dc2.consul",
                "SRV",
                &[
                    OK,
                    "ans web.service.dc2.consul. 0 SRV 1 1 80 r1.node.dc2.consul.",
                    "add r1.node.dc2.consul. 0 A 198.51.100.1",
                ],
            ),
            (
                "r1.node.dc2.consul",
                "A",
                &[OK, "ans r1.node.dc2.consul. 0 A 198.51.100.1"],
            ),
            ("web.service.dc3.consul", "A", &["ServFail aa rd"]),
            ("web.service.dc4.consul", "A", NX),
            ("web.service.dc1.consul", "A", NX),
            (
                "near.me.query.consul",
                "A",
                &[OK, "ans near.me.query.consul. 33 A 198.51.100.1"],
            ),
            ("none.query.consul", "A", NX),
        ],
    )
    .await;
    let mut subnet = ask("near.me.query.consul", "A").edns(1232);
    subnet.subnet = Some(("10.0.0.0", 24));
    let edns = subnet.send(&responder).await.edns.unwrap();
    let Some(EdnsOption::Subnet(echo)) = edns.option(EdnsCode::Subnet) else {
        panic!("no subnet")
    };
    assert_eq!((echo.source_prefix(), echo.scope_prefix()), (24, 24));
}

#[tokio::test]
async fn a_client_agent_asks_for_everything() {
    let (_, responder) = responder(elsewhere(false), Settings::default());
    table(
        &responder,
        &[
            (
                "web.service.consul",
                "A",
                &[OK, "ans web.service.consul. 0 A 10.50.0.1"],
            ),
            ("none.service.consul", "A", NX),
            (
                "r1.node.consul",
                "A",
                &[OK, "ans r1.node.consul. 0 A 10.50.0.1"],
            ),
            (
                "1.0.50.10.in-addr.arpa",
                "PTR",
                &[OK, "ans 1.0.50.10.in-addr.arpa. 0 PTR r1.node.dc1.consul."],
            ),
            (
                "0a630001.addr.consul",
                "A",
                &[OK, "ans 0a630001.addr.consul. 0 A 10.99.0.1"],
            ),
            ("nothing.consul", "A", NX),
        ],
    )
    .await;
}

#[tokio::test]
async fn consistency_is_as_configured() {
    let (catalog, responder) = plain();
    catalog.web(1, "dweb");
    let send = async || {
        ask("dweb.service.consul", "A")
            .send(&responder)
            .await
            .answers
            .len()
    };
    assert_eq!(send().await, 1);
    assert_eq!(catalog.consistent.load(Ordering::Relaxed), 0);
    catalog.stale_ms.store(6_000, Ordering::Relaxed);
    assert_eq!(send().await, 1);
    assert_eq!(
        (
            catalog.consistent.load(Ordering::Relaxed),
            responder.stats().stale
        ),
        (0, 1)
    );
    responder
        .reload(Settings {
            max_stale: Duration::from_secs(5),
            ..Settings::default()
        })
        .unwrap();
    assert_eq!(send().await, 1);
    assert_eq!(catalog.consistent.load(Ordering::Relaxed), 1);
    catalog.stale_ms.store(0, Ordering::Relaxed);
    responder
        .reload(Settings {
            allow_stale: false,
            ..Settings::default()
        })
        .unwrap();
    assert_eq!(send().await, 1);
    assert_eq!(catalog.consistent.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn names_in_our_own_domain_lead_to_each_other() {
    let (catalog, responder) = plain();
    catalog.web(2, "dweb");
    let at = |address: &str, name: &str| lictor_wire::NodeService {
        address: address.into(),
        ..service(name, name, 1)
    };
    catalog.service("x", "10.40.0.1", at("t0.dweb.service.consul", "one"));
    catalog.service("x", "10.40.0.1", at("one.service.consul", "two"));
    catalog.service("x", "10.40.0.1", at("loop-b.service.consul", "loop-a"));
    catalog.service("x", "10.40.0.1", at("loop-a.service.consul", "loop-b"));
    table(
        &responder,
        &[
            (
                "one.service.consul",
                "A",
                &[
                    OK,
                    "ans one.service.consul. 0 CNAME t0.dweb.service.consul.",
                    "ans t0.dweb.service.consul. 0 A 10.20.0.1",
                ],
            ),
            (
                "two.service.consul",
                "A",
                &[
                    OK,
                    "ans one.service.consul. 0 CNAME t0.dweb.service.consul.",
                    "ans t0.dweb.service.consul. 0 A 10.20.0.1",
                    "ans two.service.consul. 0 CNAME one.service.consul.",
                ],
            ),
            (
                "one.service.consul",
                "SRV",
                &[
                    OK,
                    "ans one.service.consul. 0 SRV 1 1 1 t0.dweb.service.consul.",
                    "add t0.dweb.service.consul. 0 A 10.20.0.1",
                ],
            ),
        ],
    )
    .await;
    let round = ask("loop-a.service.consul", "A").send(&responder).await;
    assert!(round.answers.len() <= 4);
}
