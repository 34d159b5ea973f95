//! What Consul 1.21 answers, form by form.

mod common;

use common::{Catalog, NX, OK, SOA, ask, lines, plain, responder, service, table};
use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption};
use lictor_dns::Settings;
use lictor_wire::{Status, Weights};

#[tokio::test]
async fn nodes() {
    let (catalog, responder) = plain();
    catalog.node("v6-node", "2001:db8::1", &[]);
    catalog.node("named-node", "www.example.org", &[]);
    catalog.node(
        "meta-node",
        "10.20.9.9",
        &[("color", "red"), ("rfc1035-note", "x=y")],
    );
    catalog.node("dotted.example.org", "10.20.9.10", &[]);
    table(
        &responder,
        &[
            (
                "parity-node.node.consul",
                "A",
                &[
                    OK,
                    "ans parity-node.node.consul. 0 A 127.0.0.1",
                    "add parity-node.node.consul. 0 TXT [\"consul-network-segment=\"]",
                    "add parity-node.node.consul. 0 TXT [\"consul-version=1.21.0\"]",
                ],
            ),
            (
                "parity-node.node.dc1.consul",
                "ANY",
                &[
                    OK,
                    "ans parity-node.node.dc1.consul. 0 A 127.0.0.1",
                    "ans parity-node.node.dc1.consul. 0 TXT [\"consul-network-segment=\"]",
                    "ans parity-node.node.dc1.consul. 0 TXT [\"consul-version=1.21.0\"]",
                ],
            ),
            (
                "parity-node.node.consul",
                "TXT",
                &[
                    OK,
                    "ans parity-node.node.consul. 0 TXT [\"consul-network-segment=\"]",
                    "ans parity-node.node.consul. 0 TXT [\"consul-version=1.21.0\"]",
                ],
            ),
            (
                "parity-node.node.consul",
                "AAAA",
                &[
                    OK,
                    "add parity-node.node.consul. 0 TXT [\"consul-network-segment=\"]",
                    "add parity-node.node.consul. 0 TXT [\"consul-version=1.21.0\"]",
                ],
            ),
            ("parity-node.node.consul", "SRV", &[OK]),
            ("no-such.node.consul", "A", NX),
            ("parity-node.node.nowhere.consul", "A", NX),
            (
                "v6-node.node.consul",
                "AAAA",
                &[OK, "ans v6-node.node.consul. 0 AAAA 2001:db8::1"],
            ),
            ("v6-node.node.consul", "A", &[OK]),
            (
                "named-node.node.consul",
                "A",
                &[OK, "ans named-node.node.consul. 0 CNAME www.example.org."],
            ),
            (
                "dotted.example.org.node.consul",
                "A",
                &[OK, "ans dotted.example.org.node.consul. 0 A 10.20.9.10"],
            ),
            (
                "meta-node.node.consul",
                "TXT",
                &[
                    OK,
                    "ans meta-node.node.consul. 0 TXT [\"color=red\"]",
                    "ans meta-node.node.consul. 0 TXT [\"x=y\"]",
                ],
            ),
        ],
    )
    .await;
    let mixed = ask("PARITY-Node.NODE.Consul", "A").lines(&responder).await;
    assert_eq!(mixed[1], "ans PARITY-Node.NODE.Consul. 0 A 127.0.0.1");
    assert_eq!(
        mixed[2],
        "add PARITY-Node.NODE.Consul. 0 TXT [\"consul-network-segment=\"]"
    );
}

#[tokio::test]
async fn services() {
    let (catalog, responder) = plain();
    catalog.web(3, "dweb");
    let addresses = |name: &str| {
        let row = |ip| format!("ans {name}. 0 A 10.20.0.{ip}");
        vec![OK.to_string(), row(1), row(2), row(3)]
    };
    for (name, kind) in [
        ("dweb.service.consul", "A"),
        ("dweb.service.consul", "ANY"),
        ("dweb.service.consul", "TXT"),
        ("dweb.service.dc1.consul", "A"),
        ("dweb.service.dc1.dc.consul", "A"),
    ] {
        assert_eq!(
            ask(name, kind).lines(&responder).await,
            addresses(name),
            "{kind} {name}"
        );
    }
    table(
        &responder,
        &[
            (
                "dweb.service.consul",
                "SRV",
                &[
                    OK,
                    "ans dweb.service.consul. 0 SRV 1 1 8000 dn-0.node.dc1.consul.",
                    "ans dweb.service.consul. 0 SRV 1 1 8001 dn-1.node.dc1.consul.",
                    "ans dweb.service.consul. 0 SRV 1 1 8002 dn-2.node.dc1.consul.",
                    "add dn-0.node.dc1.consul. 0 A 10.20.0.1",
                    "add dn-1.node.dc1.consul. 0 A 10.20.0.2",
                    "add dn-2.node.dc1.consul. 0 A 10.20.0.3",
                ],
            ),
            ("dweb.service.consul", "AAAA", &[OK, SOA]),
            ("dweb.service.consul", "MX", &[OK, SOA]),
            (
                "t1.dweb.service.consul",
                "A",
                &[OK, "ans t1.dweb.service.consul. 0 A 10.20.0.2"],
            ),
            (
                "t1.dweb.service.dc1.consul",
                "SRV",
                &[
                    OK,
                    "ans t1.dweb.service.dc1.consul. 0 SRV 1 1 8001 dn-1.node.dc1.consul.",
                    "add dn-1.node.dc1.consul. 0 A 10.20.0.2",
                ],
            ),
            ("nope.dweb.service.consul", "A", NX),
            ("none.service.consul", "A", NX),
            ("none.service.consul", "SRV", NX),
            ("dweb.service.nowhere.consul", "A", NX),
            (
                "T2.DWEB.Service.CONSUL",
                "SRV",
                &[
                    OK,
                    "ans T2.DWEB.Service.CONSUL. 0 SRV 1 1 8002 dn-2.node.dc1.CONSUL.",
                    "add dn-2.node.dc1.CONSUL. 0 A 10.20.0.3",
                ],
            ),
            (
                "consul.service.consul",
                "SRV",
                &[
                    OK,
                    "ans consul.service.consul. 0 SRV 1 1 8300 parity-node.node.dc1.consul.",
                    "add parity-node.node.dc1.consul. 0 A 127.0.0.1",
                    "add parity-node.node.dc1.consul. 0 TXT [\"consul-network-segment=\"]",
                    "add parity-node.node.dc1.consul. 0 TXT [\"consul-version=1.21.0\"]",
                ],
            ),
            (
                "_dweb._t0.service.consul",
                "SRV",
                &[
                    OK,
                    "ans _dweb._t0.service.consul. 0 SRV 1 1 8000 dn-0.node.dc1.consul.",
                    "add dn-0.node.dc1.consul. 0 A 10.20.0.1",
                ],
            ),
            ("_dweb._nope.service.consul", "SRV", NX),
            ("_none._tcp.service.consul", "SRV", NX),
        ],
    )
    .await;
    for name in [
        "_dweb._tcp.service.consul",
        "_dweb._all.service.dc1.consul",
        "_dweb._TCP.consul",
    ] {
        let found = ask(name, "SRV").send(&responder).await;
        assert_eq!(
            (found.answers.len(), found.additionals.len()),
            (3, 3),
            "{name}"
        );
    }
    assert_eq!(
        ask("_dweb._tcp.service.consul", "A")
            .lines(&responder)
            .await
            .len(),
        4
    );
}

#[tokio::test]
async fn weights_and_addresses() {
    let (catalog, responder) = plain();
    let at = |address: &str, row| lictor_wire::NodeService {
        address: address.into(),
        ..row
    };
    let weights = Weights {
        passing: 9,
        warning: 3,
    };
    catalog.service(
        "dw",
        "10.21.0.1",
        lictor_wire::NodeService {
            weights,
            ..service("a", "dww", 1)
        },
    );
    catalog.service("dw", "10.21.0.1", at("10.99.0.1", service("b", "dww", 2)));
    catalog.service(
        "dw",
        "10.21.0.1",
        at("2001:db8::5", service("c", "dww6", 3)),
    );
    catalog.service(
        "dw",
        "10.21.0.1",
        at("host.example.org", service("d", "dwname", 4)),
    );
    catalog.service(
        "dw",
        "10.21.0.1",
        at("dwself.service.consul", service("e", "dwself", 5)),
    );
    catalog.service("dx", "out.example.org", service("f", "dwout", 6));
    table(
        &responder,
        &[
            (
                "dww.service.consul",
                "SRV",
                &[
                    OK,
                    "ans dww.service.consul. 0 SRV 1 1 2 0a630001.addr.dc1.consul.",
                    "ans dww.service.consul. 0 SRV 1 9 1 dw.node.dc1.consul.",
                    "add 0a630001.addr.dc1.consul. 0 A 10.99.0.1",
                    "add dw.node.dc1.consul. 0 A 10.21.0.1",
                ],
            ),
            (
                "dww.service.consul",
                "A",
                &[OK, "ans dww.service.consul. 0 A 10.21.0.1", "ans dww.service.consul. 0 A 10.99.0.1"],
            ),
            ("dww6.service.consul", "AAAA", &[OK, "ans dww6.service.consul. 0 AAAA 2001:db8::5"]),
            (
                "dww6.service.consul",
                "SRV",
                &[
                    OK,
                    "ans dww6.service.consul. 0 SRV 1 1 3 20010db8000000000000000000000005.addr.dc1.consul.",
                    "add 20010db8000000000000000000000005.addr.dc1.consul. 0 AAAA 2001:db8::5",
                ],
            ),
            ("dww6.service.consul", "A", &[OK, SOA]),
            ("dwname.service.consul", "A", &[OK, "ans dwname.service.consul. 0 CNAME host.example.org."]),
            ("dwname.service.consul", "SRV", &[OK, "ans dwname.service.consul. 0 SRV 1 1 4 host.example.org."]),
            ("dwout.service.consul", "A", &[OK, "ans dwout.service.consul. 0 CNAME out.example.org."]),
            ("dwout.service.consul", "SRV", &[OK, "ans dwout.service.consul. 0 SRV 1 1 6 out.example.org."]),
            // An instance whose address is the very name that was asked for has its node's.
            ("dwself.service.consul", "A", &[OK, "ans dwself.service.consul. 0 A 10.21.0.1"]),
            (
                "dwself.service.consul",
                "SRV",
                &[
                    OK,
                    "ans dwself.service.consul. 0 SRV 1 1 5 dw.node.dc1.consul.",
                    "add dw.node.dc1.consul. 0 A 10.21.0.1",
                ],
            ),
            ("0a630001.addr.dc1.consul", "A", &[OK, "ans 0a630001.addr.dc1.consul. 0 A 10.99.0.1"]),
            ("0a630001.addr.consul", "A", &[OK, "ans 0a630001.addr.consul. 0 A 10.99.0.1"]),
            ("0a630001.addr.consul", "ANY", &[OK, "ans 0a630001.addr.consul. 0 A 10.99.0.1"]),
            ("0a630001.addr.consul", "AAAA", &[OK, "add 0a630001.addr.consul. 0 A 10.99.0.1"]),
            (
                "20010db8000000000000000000000005.addr.dc1.consul",
                "AAAA",
                &[OK, "ans 20010db8000000000000000000000005.addr.dc1.consul. 0 AAAA 2001:db8::5"],
            ),
            ("0a63.addr.dc1.consul", "A", NX),
        ],
    )
    .await;
    // Two instances with one address are one answer, and two with ports of their own.
    catalog.service("dw", "10.21.0.1", service("g", "dww", 7));
    assert_eq!(
        ask("dww.service.consul", "A")
            .send(&responder)
            .await
            .answers
            .len(),
        2
    );
    let hosts = ask("dww.service.consul", "SRV").send(&responder).await;
    assert_eq!((hosts.answers.len(), hosts.additionals.len()), (3, 2));
}

#[tokio::test]
async fn health_decides() {
    let (catalog, responder) = plain();
    for (i, status) in [Status::Passing, Status::Warning, Status::Critical]
        .into_iter()
        .enumerate()
    {
        let (node, address) = (format!("dh-{i}"), format!("10.22.0.{i}"));
        catalog.service(&node, &address, service("s", "dhs", i as i64));
        catalog.check(&node, &address, "s", "c", status);
    }
    let name = "dhs.service.consul";
    let both: &[&str] = &[
        OK,
        "ans dhs.service.consul. 0 A 10.22.0.0",
        "ans dhs.service.consul. 0 A 10.22.0.1",
    ];
    table(&responder, &[(name, "A", both)]).await;
    let hosts = ask(name, "SRV").lines(&responder).await;
    assert_eq!(
        hosts[1],
        "ans dhs.service.consul. 0 SRV 1 1 0 dh-0.node.dc1.consul."
    );
    assert_eq!(hosts.len(), 5);
    catalog.check("dh-0", "10.22.0.0", "", "node", Status::Critical);
    table(
        &responder,
        &[(name, "A", &[OK, "ans dhs.service.consul. 0 A 10.22.0.1"])],
    )
    .await;
    catalog.check("dh-1", "10.22.0.1", "s", "c", Status::Critical);
    table(&responder, &[(name, "A", NX), (name, "SRV", NX)]).await;
    table(
        &responder,
        &[(
            "dh-2.node.consul",
            "A",
            &[OK, "ans dh-2.node.consul. 0 A 10.22.0.2"],
        )],
    )
    .await;
}

#[tokio::test]
async fn answers_follow_the_catalog() {
    let (catalog, responder) = plain();
    catalog.web(2, "dweb");
    let count = async |name: &str| ask(name, "A").send(&responder).await.answers.len();
    assert_eq!(count("dweb.service.consul").await, 2);
    assert_eq!(count("t1.dweb.service.consul").await, 1);
    catalog.web(3, "dweb");
    assert_eq!(count("dweb.service.consul").await, 3);
    // What happens to others leaves the answer as it is.
    catalog.web(1, "other");
    assert_eq!(count("dweb.service.consul").await, 3);
    catalog.deregister("dn-1", "dweb-1");
    assert_eq!(count("dweb.service.consul").await, 2);
    assert_eq!(count("t1.dweb.service.consul").await, 0);
    catalog.node("dn-0", "10.20.0.99", &[]);
    let found = ask("t0.dweb.service.consul", "A").lines(&responder).await;
    assert_eq!(found[1], "ans t0.dweb.service.consul. 0 A 10.20.0.99");
    catalog.deregister("dn-0", "");
    catalog.deregister("dn-2", "");
    table(&responder, &[("dweb.service.consul", "A", NX)]).await;
    catalog.web(1, "dweb");
    assert_eq!(count("dweb.service.consul").await, 1);
}

#[tokio::test]
async fn the_zone() {
    let (_, responder) = plain();
    let soa = SOA.replace("aut", "ans");
    let server = "aut consul. 0 NS parity-node.node.dc1.consul.";
    let glue = "add parity-node.node.dc1.consul. 0 A 127.0.0.1";
    let answer = server.replace("aut", "ans");
    table(
        &responder,
        &[
            ("consul", "SOA", &[OK, &soa, server, glue]),
            ("consul", "NS", &[OK, &answer, glue]),
            ("parity-node.node.consul", "SOA", &[OK, &soa, server, glue]),
            ("consul.service.consul", "NS", &[OK, &answer, glue]),
            ("consul", "A", NX),
            ("consul", "ANY", NX),
            ("ns.consul", "A", NX),
            ("nothing.consul", "A", NX),
            ("a.b.c.d.consul", "A", NX),
            ("service.consul", "A", NX),
            ("node.consul", "A", NX),
            ("consul", "AXFR", &["NotImp rd"]),
        ],
    )
    .await;
}

#[tokio::test]
async fn at_most_three_servers_with_names_that_hosts_have() {
    let (catalog, responder) = responder(Catalog::default(), Settings::default());
    for name in ["s1", "s2", "s3", "s4", "under_score", "dot.ted"] {
        catalog.service(name, "10.0.0.1", service("consul", "consul", 8300));
    }
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..100 {
        let reply = ask("consul", "NS").send(&responder).await;
        assert_eq!((reply.answers.len(), reply.additionals.len()), (3, 3));
        seen.extend(lines(&reply).into_iter().filter(|l| l.starts_with("ans")));
    }
    let names: Vec<_> = seen
        .iter()
        .map(|l| l.trim_start_matches("ans consul. 0 NS "))
        .collect();
    assert_eq!(
        names,
        ["s1", "s2", "s3", "s4"].map(|s| format!("{s}.node.dc1.consul."))
    );
}

#[tokio::test]
async fn names_of_addresses() {
    let (catalog, responder) = plain();
    catalog.node("rev", "10.23.0.7", &[]);
    catalog.node("rev2", "2001:db8::77", &[]);
    let row = lictor_wire::NodeService {
        address: "10.23.0.8".into(),
        ..service("rs", "rev-svc", 1)
    };
    catalog.service("rev", "10.23.0.7", row);
    let v6 = "7.7.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa";
    let v6_answer = format!("ans {v6}. 0 PTR rev2.node.dc1.consul.");
    let node = "ans 7.0.23.10.in-addr.arpa. 0 PTR rev.node.dc1.consul.";
    table(
        &responder,
        &[
            ("7.0.23.10.in-addr.arpa", "PTR", &[OK, node]),
            ("7.0.23.10.in-addr.arpa", "ANY", &[OK, node]),
            (
                "1.0.0.127.in-addr.arpa",
                "PTR",
                &[
                    OK,
                    "ans 1.0.0.127.in-addr.arpa. 0 PTR parity-node.node.dc1.consul.",
                ],
            ),
            ("9.9.9.99.in-addr.arpa", "PTR", NX),
            ("x.in-addr.arpa", "PTR", NX),
            (v6, "PTR", &[OK, &v6_answer]),
            (
                "8.0.23.10.in-addr.arpa",
                "PTR",
                &[
                    OK,
                    "ans 8.0.23.10.in-addr.arpa. 0 PTR rev-svc.service.dc1.consul.",
                ],
            ),
        ],
    )
    .await;
    catalog.deregister("rev", "");
    table(
        &responder,
        &[
            ("7.0.23.10.in-addr.arpa", "PTR", NX),
            ("8.0.23.10.in-addr.arpa", "PTR", NX),
        ],
    )
    .await;
}

#[tokio::test]
async fn transports() {
    let (catalog, responder) = plain();
    catalog.web(3, "dtr");
    let name = "dtr.service.consul";
    for kind in ["A", "SRV"] {
        let udp = ask(name, kind).lines(&responder).await;
        assert_eq!(ask(name, kind).tcp().lines(&responder).await, udp);
        for size in [1232, 4096] {
            let message = ask(name, kind).edns(size).send(&responder).await;
            assert_eq!(lines(&message), udp);
            let edns = message.edns.unwrap();
            assert_eq!((edns.max_payload(), edns.version()), (size, 0));
            assert!(edns.options().as_ref().is_empty());
        }
    }
    let missing = ask("none.service.consul", "A")
        .edns(4096)
        .send(&responder)
        .await;
    assert_eq!(lines(&missing), NX);
    assert_eq!(missing.edns.unwrap().max_payload(), 4096);

    let mut subnet = ask(name, "A").edns(4096);
    subnet.subnet = Some(("10.0.0.0", 24));
    let edns = subnet.send(&responder).await.edns.unwrap();
    let Some(EdnsOption::Subnet(echo)) = edns.option(EdnsCode::Subnet) else {
        panic!("no subnet")
    };
    // The answer holds for everybody.
    assert_eq!(
        (
            echo.addr().to_string().as_str(),
            echo.source_prefix(),
            echo.scope_prefix()
        ),
        ("10.0.0.0", 24, 0)
    );

    let mut no_recursion = ask(name, "A");
    no_recursion.recursion_desired = false;
    assert_eq!(no_recursion.lines(&responder).await[0], "NoError aa");
    let mut chaos = ask(name, "A");
    chaos.class = 3;
    assert_eq!(chaos.lines(&responder).await.len(), 4);
}

#[tokio::test]
async fn foreign_names_are_refused_without_recursors() {
    let (_, responder) = plain();
    for (name, kind) in [
        ("example.org", "A"),
        ("example.org", "ANY"),
        ("org", "SOA"),
        ("", "NS"),
        ("consul.example.org", "A"),
        ("xconsul", "A"),
    ] {
        assert_eq!(
            ask(name, kind).lines(&responder).await,
            ["Refused rd"],
            "{kind} {name}"
        );
        assert_eq!(
            ask(name, kind).tcp().edns(1232).lines(&responder).await,
            ["Refused rd"],
            "{kind} {name}"
        );
    }
}

#[tokio::test]
async fn the_mesh_has_names_of_its_own() {
    let (catalog, responder) = plain();
    let mut proxy = service("web-proxy", "web-proxy", 21000);
    proxy.kind = "connect-proxy".into();
    proxy.proxy = Some(Box::new(
        [("DestinationServiceName", "web")].into_iter().collect(),
    ));
    catalog.service("m1", "10.30.0.1", proxy);
    table(
        &responder,
        &[
            (
                "web.connect.consul",
                "A",
                &[OK, "ans web.connect.consul. 0 A 10.30.0.1"],
            ),
            (
                "web.virtual.consul",
                "A",
                &[OK, "ans web.virtual.consul. 0 A 240.0.0.1"],
            ),
            ("none.connect.consul", "A", NX),
            ("none.virtual.consul", "A", NX),
        ],
    )
    .await;
}
