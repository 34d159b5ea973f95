//! What Consul 1.21 answers, form by form.

mod common;

use common::{Ask, Catalog, SOA, ask, lines, responder, service};
use hickory_proto::rr::RecordType;
use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption};
use lictor_dns::{Found, Queried, Responder, Settings, SourceError, Transport, What};
use lictor_wire::rows::CheckServiceNode;
use lictor_wire::{Node, Status, Weights};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

async fn table(responder: &Responder, rows: &[(&str, &str, &[&str])]) {
    for (name, kind, expected) in rows {
        assert_eq!(ask(name, kind).lines(responder).await, *expected, "{kind} {name}");
    }
}

fn plain() -> (Arc<Catalog>, Arc<Responder>) {
    let (catalog, responder) = responder(Catalog::default(), Settings::default());
    catalog.parity_node();
    (catalog, responder)
}

const OK: &str = "NoError aa rd";
const NX: &[&str] = &["NXDomain aa rd", SOA];

#[tokio::test]
async fn nodes() {
    let (catalog, responder) = plain();
    catalog.node("v6-node", "2001:db8::1", &[]);
    catalog.node("named-node", "www.example.org", &[]);
    catalog.node("meta-node", "10.20.9.9", &[("color", "red"), ("rfc1035-note", "x=y")]);
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
            ("v6-node.node.consul", "AAAA", &[OK, "ans v6-node.node.consul. 0 AAAA 2001:db8::1"]),
            ("v6-node.node.consul", "A", &[OK]),
            ("named-node.node.consul", "A", &[OK, "ans named-node.node.consul. 0 CNAME www.example.org."]),
            ("dotted.example.org.node.consul", "A", &[OK, "ans dotted.example.org.node.consul. 0 A 10.20.9.10"]),
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
    assert_eq!(mixed[2], "add PARITY-Node.NODE.Consul. 0 TXT [\"consul-network-segment=\"]");
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
        assert_eq!(ask(name, kind).lines(&responder).await, addresses(name), "{kind} {name}");
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
            ("t1.dweb.service.consul", "A", &[OK, "ans t1.dweb.service.consul. 0 A 10.20.0.2"]),
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
    for name in ["_dweb._tcp.service.consul", "_dweb._all.service.dc1.consul", "_dweb._TCP.consul"] {
        let found = ask(name, "SRV").send(&responder).await;
        assert_eq!((found.answers.len(), found.additionals.len()), (3, 3), "{name}");
    }
    assert_eq!(ask("_dweb._tcp.service.consul", "A").lines(&responder).await.len(), 4);
}

#[tokio::test]
async fn weights_and_addresses() {
    let (catalog, responder) = plain();
    let at = |address: &str, row| lictor_wire::NodeService { address: address.into(), ..row };
    let weights = Weights { passing: 9, warning: 3 };
    catalog.service("dw", "10.21.0.1", lictor_wire::NodeService { weights, ..service("a", "dww", 1) });
    catalog.service("dw", "10.21.0.1", at("10.99.0.1", service("b", "dww", 2)));
    catalog.service("dw", "10.21.0.1", at("2001:db8::5", service("c", "dww6", 3)));
    catalog.service("dw", "10.21.0.1", at("host.example.org", service("d", "dwname", 4)));
    catalog.service("dw", "10.21.0.1", at("dwself.service.consul", service("e", "dwself", 5)));
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
    assert_eq!(ask("dww.service.consul", "A").send(&responder).await.answers.len(), 2);
    let hosts = ask("dww.service.consul", "SRV").send(&responder).await;
    assert_eq!((hosts.answers.len(), hosts.additionals.len()), (3, 2));
}

#[tokio::test]
async fn health_decides() {
    let (catalog, responder) = plain();
    for (i, status) in [Status::Passing, Status::Warning, Status::Critical].into_iter().enumerate() {
        let (node, address) = (format!("dh-{i}"), format!("10.22.0.{i}"));
        catalog.service(&node, &address, service("s", "dhs", i as i64));
        catalog.check(&node, &address, "s", "c", status);
    }
    let name = "dhs.service.consul";
    let both: &[&str] = &[OK, "ans dhs.service.consul. 0 A 10.22.0.0", "ans dhs.service.consul. 0 A 10.22.0.1"];
    table(&responder, &[(name, "A", both)]).await;
    let hosts = ask(name, "SRV").lines(&responder).await;
    assert_eq!(hosts[1], "ans dhs.service.consul. 0 SRV 1 1 0 dh-0.node.dc1.consul.");
    assert_eq!(hosts.len(), 5);
    catalog.check("dh-0", "10.22.0.0", "", "node", Status::Critical);
    table(&responder, &[(name, "A", &[OK, "ans dhs.service.consul. 0 A 10.22.0.1"])]).await;
    catalog.check("dh-1", "10.22.0.1", "s", "c", Status::Critical);
    table(&responder, &[(name, "A", NX), (name, "SRV", NX)]).await;
    table(&responder, &[("dh-2.node.consul", "A", &[OK, "ans dh-2.node.consul. 0 A 10.22.0.2"])]).await;
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
    let names: Vec<_> = seen.iter().map(|l| l.trim_start_matches("ans consul. 0 NS ")).collect();
    assert_eq!(names, ["s1", "s2", "s3", "s4"].map(|s| format!("{s}.node.dc1.consul.")));
}

#[tokio::test]
async fn names_of_addresses() {
    let (catalog, responder) = plain();
    catalog.node("rev", "10.23.0.7", &[]);
    catalog.node("rev2", "2001:db8::77", &[]);
    let row = lictor_wire::NodeService { address: "10.23.0.8".into(), ..service("rs", "rev-svc", 1) };
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
                &[OK, "ans 1.0.0.127.in-addr.arpa. 0 PTR parity-node.node.dc1.consul."],
            ),
            ("9.9.9.99.in-addr.arpa", "PTR", NX),
            ("x.in-addr.arpa", "PTR", NX),
            (v6, "PTR", &[OK, &v6_answer]),
            (
                "8.0.23.10.in-addr.arpa",
                "PTR",
                &[OK, "ans 8.0.23.10.in-addr.arpa. 0 PTR rev-svc.service.dc1.consul."],
            ),
        ],
    )
    .await;
    catalog.deregister("rev", "");
    table(&responder, &[("7.0.23.10.in-addr.arpa", "PTR", NX), ("8.0.23.10.in-addr.arpa", "PTR", NX)]).await;
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
    let missing = ask("none.service.consul", "A").edns(4096).send(&responder).await;
    assert_eq!((lines(&missing).as_slice(), missing.edns.unwrap().max_payload()), (&NX.map_lines()[..], 4096));

    let mut subnet = ask(name, "A").edns(4096);
    subnet.subnet = Some(("10.0.0.0", 24));
    let edns = subnet.send(&responder).await.edns.unwrap();
    let Some(EdnsOption::Subnet(echo)) = edns.option(EdnsCode::Subnet) else { panic!("no subnet") };
    // The answer holds for everybody.
    assert_eq!((echo.addr().to_string().as_str(), echo.source_prefix(), echo.scope_prefix()), ("10.0.0.0", 24, 0));

    let mut no_recursion = ask(name, "A");
    no_recursion.recursion_desired = false;
    assert_eq!(no_recursion.lines(&responder).await[0], "NoError aa");
    let mut chaos = ask(name, "A");
    chaos.class = 3;
    assert_eq!(chaos.lines(&responder).await.len(), 4);
}

trait MapLines {
    fn map_lines(&self) -> Vec<String>;
}

impl MapLines for [&str] {
    fn map_lines(&self) -> Vec<String> {
        self.iter().map(|l| l.to_string()).collect()
    }
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
        assert_eq!(ask(name, kind).lines(&responder).await, ["Refused rd"], "{kind} {name}");
        assert_eq!(ask(name, kind).tcp().edns(1232).lines(&responder).await, ["Refused rd"], "{kind} {name}");
    }
}

#[tokio::test]
async fn many_answers() {
    let (catalog, responder) = plain();
    for i in 0..60 {
        catalog.service(&format!("big-{i:02}"), &format!("10.24.1.{}", i + 1), service("b", "dbig", 9000 + i));
    }
    let counts = async |ask: Ask| {
        let m = ask.send(&responder).await;
        assert!(!m.metadata.truncation);
        (m.answers.len(), m.authorities.len(), m.additionals.len())
    };
    let name = "dbig.service.consul";
    assert_eq!(counts(ask(name, "A")).await, (3, 0, 0));
    assert_eq!(counts(ask(name, "SRV")).await, (3, 0, 3));
    assert_eq!(counts(ask(name, "ANY")).await, (3, 0, 0));
    assert_eq!(counts(ask(name, "A").edns(1400)).await, (60, 0, 0));
    assert_eq!(counts(ask(name, "A").tcp()).await, (60, 0, 0));
    assert_eq!(counts(ask(name, "SRV").tcp()).await, (60, 0, 60));
    // Hosts in the additional section are those of the answers.
    let m = ask(name, "SRV").send(&responder).await;
    for line in lines(&m).iter().filter(|l| l.starts_with("ans")) {
        let host = line.rsplit(' ').next().unwrap();
        assert!(lines(&m).iter().any(|l| l.starts_with(&format!("add {host}"))), "{line}");
    }
}

fn settings_of_the_test() -> Settings {
    let ttl = [("*", 5), ("ttl-a", 10), ("ttl-p*", 7)];
    Settings {
        domain: "example.test.".into(),
        node_ttl: Duration::from_secs(30),
        service_ttl: ttl.iter().map(|(k, v)| (k.to_string(), Duration::from_secs(*v))).collect(),
        only_passing: true,
        enable_truncate: true,
        udp_answer_limit: 2,
        soa: lictor_dns::Soa { refresh: 7200, min_ttl: 60, ..lictor_dns::Soa::default() },
        ..Settings::default()
    }
}

#[tokio::test]
async fn settings_are_kept() {
    let (catalog, responder) = responder(Catalog::default(), settings_of_the_test());
    catalog.parity_node();
    catalog.web(5, "ttl-a");
    catalog.web(1, "ttl-pq");
    catalog.service("so-w", "10.25.0.1", service("w", "ttl-b", 1));
    catalog.check("so-w", "10.25.0.1", "w", "c", Status::Warning);
    let soa = "aut example.test. 60 SOA ns.example.test. hostmaster.example.test. 7200 600 86400 60";
    table(
        &responder,
        &[
            (
                "parity-node.node.example.test",
                "A",
                &[
                    OK,
                    "ans parity-node.node.example.test. 30 A 127.0.0.1",
                    "add parity-node.node.example.test. 30 TXT [\"consul-network-segment=\"]",
                    "add parity-node.node.example.test. 30 TXT [\"consul-version=1.21.0\"]",
                ],
            ),
            ("parity-node.node.consul", "A", &["Refused rd"]),
            ("ttl-b.service.example.test", "A", &["NXDomain aa rd", soa]),
            ("none.service.example.test", "A", &["NXDomain aa rd", soa]),
            (
                "example.test",
                "NS",
                &[
                    OK,
                    "ans example.test. 30 NS parity-node.node.dc1.example.test.",
                    "add parity-node.node.dc1.example.test. 30 A 127.0.0.1",
                ],
            ),
            ("ttl-pq.service.example.test", "A", &[OK, "ans ttl-pq.service.example.test. 7 A 10.20.0.1"]),
            ("0a630001.addr.example.test", "A", &[OK, "ans 0a630001.addr.example.test. 30 A 10.99.0.1"]),
        ],
    )
    .await;
    let cut = ask("ttl-a.service.example.test", "A").send(&responder).await;
    assert_eq!((cut.answers.len(), cut.metadata.truncation), (2, true));
    assert!(cut.answers.iter().all(|r| r.ttl == 10));
    let whole = ask("ttl-a.service.example.test", "A").tcp().send(&responder).await;
    assert_eq!((whole.answers.len(), whole.metadata.truncation), (5, false));

    // New settings count at once, for what was cached too.
    responder.reload(Settings { a_record_limit: 1, ..Settings::default() }).unwrap();
    let found = ask("ttl-b.service.consul", "A").lines(&responder).await;
    assert_eq!(found, [OK, "ans ttl-b.service.consul. 0 A 10.25.0.1"]);
    assert_eq!(ask("ttl-a.service.consul", "A").tcp().send(&responder).await.answers.len(), 1);
    assert_eq!(ask("ttl-a.service.consul", "SRV").tcp().send(&responder).await.answers.len(), 5);
    let bad = Settings { domain: "a..b".into(), ..Settings::default() };
    assert!(responder.reload(bad).is_err());
    assert_eq!(ask("ttl-b.service.consul", "A").send(&responder).await.answers.len(), 1);
}

#[tokio::test]
async fn the_second_domain_answers_in_its_own_name() {
    let settings = Settings { alt_domain: "alt.test".into(), ..Settings::default() };
    let (catalog, responder) = responder(Catalog::default(), settings);
    catalog.web(1, "dweb");
    table(
        &responder,
        &[
            (
                "dweb.service.alt.test",
                "SRV",
                &[
                    OK,
                    "ans dweb.service.alt.test. 0 SRV 1 1 8000 dn-0.node.dc1.alt.test.",
                    "add dn-0.node.dc1.alt.test. 0 A 10.20.0.1",
                ],
            ),
            (
                "none.service.alt.test",
                "A",
                &["NXDomain aa rd", "aut alt.test. 0 SOA ns.alt.test. hostmaster.alt.test. 3600 600 86400 0"],
            ),
            ("dweb.service.consul", "A", &[OK, "ans dweb.service.consul. 0 A 10.20.0.1"]),
        ],
    )
    .await;
}

#[tokio::test]
async fn node_texts_can_be_switched_off() {
    let settings = Settings { enable_additional_node_meta_txt: false, ..Settings::default() };
    let (catalog, responder) = responder(Catalog::default(), settings);
    catalog.parity_node();
    for (name, kind) in [("parity-node.node.consul", "A"), ("consul.service.consul", "SRV")] {
        let message = ask(name, kind).send(&responder).await;
        assert!(message.additionals.iter().all(|r| r.record_type() == RecordType::A));
    }
    assert_eq!(ask("parity-node.node.consul", "TXT").send(&responder).await.answers.len(), 2);
    assert_eq!(ask("parity-node.node.consul", "ANY").send(&responder).await.answers.len(), 3);
}

#[tokio::test]
async fn compression_can_be_switched_off() {
    let settings = Settings { disable_compression: true, ..Settings::default() };
    let (catalog, responder) = responder(Catalog::default(), settings);
    catalog.web(3, "dweb");
    let question = ask("dweb.service.consul", "SRV").tcp();
    let bytes = responder.respond(&question.bytes(), common::client(), Transport::Tcp).await.unwrap();
    let name = b"\x04dweb\x07service\x06consul\0";
    assert_eq!(bytes.windows(name.len()).filter(|w| w == name).count(), 4);
}

#[tokio::test]
async fn every_instance_comes_first_now_and_then() {
    let (catalog, responder) = plain();
    catalog.web(20, "dweb");
    let mut first = BTreeMap::new();
    for _ in 0..2000 {
        let message = ask("dweb.service.consul", "A").send(&responder).await;
        *first.entry(message.answers[0].data.to_string()).or_insert(0) += 1;
    }
    assert_eq!(first.len(), 20);
    assert!(first.values().all(|n| (50..170).contains(n)), "{first:?}");
}

#[tokio::test]
async fn the_mesh_has_names_of_its_own() {
    let (catalog, responder) = plain();
    let mut proxy = service("web-proxy", "web-proxy", 21000);
    proxy.kind = "connect-proxy".into();
    proxy.proxy = Some(Box::new([("DestinationServiceName", "web")].into_iter().collect()));
    catalog.service("m1", "10.30.0.1", proxy);
    table(
        &responder,
        &[
            ("web.connect.consul", "A", &[OK, "ans web.connect.consul. 0 A 10.30.0.1"]),
            ("web.virtual.consul", "A", &[OK, "ans web.virtual.consul. 0 A 240.0.0.1"]),
            ("none.connect.consul", "A", NX),
            ("none.virtual.consul", "A", NX),
        ],
    )
    .await;
}

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
        find: Box::new(move |lookup| match (lookup.datacenter.as_deref(), lookup.what) {
            (Some("dc2") | None, What::Service { name, .. }) if name == "web" => Ok(Found::Service(vec![row()])),
            (Some("dc2") | None, What::Node { name }) if name == "r1" => Ok(Found::Node(Some(row().node))),
            (None, What::Address { .. }) => Ok(Found::Address { node: Some("r1".into()), service: None }),
            (None, What::Query { name, client }) if name == "near.me" => {
                assert!(["192.0.2.7", "10.0.0.0"].contains(&client.to_string().as_str()));
                let ttl = Some(Duration::from_secs(33));
                Ok(Found::Query(Some(Queried { service: "web".into(), datacenter: "dc2".into(), nodes: vec![row()], ttl })))
            }
            (_, What::Query { .. }) => Ok(Found::Query(None)),
            (Some("dc3"), _) => Err(SourceError::NoLeader),
            (Some(_), _) => Err(SourceError::UnknownDatacenter),
            (None, What::Service { .. }) => Ok(Found::Service(Vec::new())),
            (None, What::Node { .. }) => Ok(Found::Node(None)),
        }),
        ..Catalog::default()
    }
}

#[tokio::test]
async fn other_datacenters_and_prepared_queries_are_asked_for() {
    let settings = Settings { translate_wan_addrs: true, ..Settings::default() };
    let (_, responder) = responder(elsewhere(true), settings);
    table(
        &responder,
        &[
            ("web.service.dc2.consul", "A", &[OK, "ans web.service.dc2.consul. 0 A 198.51.100.1"]),
            (
                "web.service.dc2.consul",
                "SRV",
                &[
                    OK,
                    "ans web.service.dc2.consul. 0 SRV 1 1 80 r1.node.dc2.consul.",
                    "add r1.node.dc2.consul. 0 A 198.51.100.1",
                ],
            ),
            ("r1.node.dc2.consul", "A", &[OK, "ans r1.node.dc2.consul. 0 A 198.51.100.1"]),
            ("web.service.dc3.consul", "A", &["ServFail aa rd"]),
            ("web.service.dc4.consul", "A", NX),
            ("web.service.dc1.consul", "A", NX),
            ("near.me.query.consul", "A", &[OK, "ans near.me.query.consul. 33 A 198.51.100.1"]),
            ("none.query.consul", "A", NX),
        ],
    )
    .await;
    let mut subnet = ask("near.me.query.consul", "A").edns(1232);
    subnet.subnet = Some(("10.0.0.0", 24));
    let edns = subnet.send(&responder).await.edns.unwrap();
    let Some(EdnsOption::Subnet(echo)) = edns.option(EdnsCode::Subnet) else { panic!("no subnet") };
    assert_eq!((echo.source_prefix(), echo.scope_prefix()), (24, 24));
}

#[tokio::test]
async fn a_client_agent_asks_for_everything() {
    let (_, responder) = responder(elsewhere(false), Settings::default());
    table(
        &responder,
        &[
            ("web.service.consul", "A", &[OK, "ans web.service.consul. 0 A 10.50.0.1"]),
            ("none.service.consul", "A", NX),
            ("r1.node.consul", "A", &[OK, "ans r1.node.consul. 0 A 10.50.0.1"]),
            (
                "1.0.50.10.in-addr.arpa",
                "PTR",
                &[OK, "ans 1.0.50.10.in-addr.arpa. 0 PTR r1.node.dc1.consul."],
            ),
            ("0a630001.addr.consul", "A", &[OK, "ans 0a630001.addr.consul. 0 A 10.99.0.1"]),
            ("nothing.consul", "A", NX),
        ],
    )
    .await;
}

#[tokio::test]
async fn consistency_is_as_configured() {
    let (catalog, responder) = plain();
    catalog.web(1, "dweb");
    let send = async || ask("dweb.service.consul", "A").send(&responder).await.answers.len();
    assert_eq!(send().await, 1);
    assert_eq!(catalog.consistent.load(Ordering::Relaxed), 0);
    catalog.stale_ms.store(6_000, Ordering::Relaxed);
    assert_eq!(send().await, 1);
    assert_eq!((catalog.consistent.load(Ordering::Relaxed), responder.stats().stale), (0, 1));
    responder.reload(Settings { max_stale: Duration::from_secs(5), ..Settings::default() }).unwrap();
    assert_eq!(send().await, 1);
    assert_eq!(catalog.consistent.load(Ordering::Relaxed), 1);
    catalog.stale_ms.store(0, Ordering::Relaxed);
    responder.reload(Settings { allow_stale: false, ..Settings::default() }).unwrap();
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
