//! What the settings change, and how much fits into an answer.

mod common;

use common::{Ask, Catalog, OK, ask, lines, plain, responder, service, table};
use hickory_proto::rr::RecordType;
use lictor_dns::{Settings, Transport};
use lictor_wire::Status;
use std::collections::BTreeMap;
use std::time::Duration;
#[tokio::test]
async fn many_answers() {
    let (catalog, responder) = plain();
    for i in 0..60 {
        catalog.service(
            &format!("big-{i:02}"),
            &format!("10.24.1.{}", i + 1),
            service("b", "dbig", 9000 + i),
        );
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
        assert!(
            lines(&m)
                .iter()
                .any(|l| l.starts_with(&format!("add {host}"))),
            "{line}"
        );
    }
}

fn settings_of_the_test() -> Settings {
    let ttl = [("*", 5), ("ttl-a", 10), ("ttl-p*", 7)];
    Settings {
        domain: "example.test.".into(),
        node_ttl: Duration::from_secs(30),
        service_ttl: ttl
            .iter()
            .map(|(k, v)| (k.to_string(), Duration::from_secs(*v)))
            .collect(),
        only_passing: true,
        enable_truncate: true,
        udp_answer_limit: 2,
        soa: lictor_dns::Soa {
            refresh: 7200,
            min_ttl: 60,
            ..lictor_dns::Soa::default()
        },
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
    let soa =
        "aut example.test. 60 SOA ns.example.test. hostmaster.example.test. 7200 600 86400 60";
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
            (
                "ttl-pq.service.example.test",
                "A",
                &[OK, "ans ttl-pq.service.example.test. 7 A 10.20.0.1"],
            ),
            (
                "0a630001.addr.example.test",
                "A",
                &[OK, "ans 0a630001.addr.example.test. 30 A 10.99.0.1"],
            ),
        ],
    )
    .await;
    let cut = ask("ttl-a.service.example.test", "A")
        .send(&responder)
        .await;
    assert_eq!((cut.answers.len(), cut.metadata.truncation), (2, true));
    assert!(cut.answers.iter().all(|r| r.ttl == 10));
    let whole = ask("ttl-a.service.example.test", "A")
        .tcp()
        .send(&responder)
        .await;
    assert_eq!((whole.answers.len(), whole.metadata.truncation), (5, false));

    // New settings count at once, for what was cached too.
    responder
        .reload(Settings {
            a_record_limit: 1,
            ..Settings::default()
        })
        .unwrap();
    let found = ask("ttl-b.service.consul", "A").lines(&responder).await;
    assert_eq!(found, [OK, "ans ttl-b.service.consul. 0 A 10.25.0.1"]);
    assert_eq!(
        ask("ttl-a.service.consul", "A")
            .tcp()
            .send(&responder)
            .await
            .answers
            .len(),
        1
    );
    assert_eq!(
        ask("ttl-a.service.consul", "SRV")
            .tcp()
            .send(&responder)
            .await
            .answers
            .len(),
        5
    );
    let bad = Settings {
        domain: "a..b".into(),
        ..Settings::default()
    };
    assert!(responder.reload(bad).is_err());
    assert_eq!(
        ask("ttl-b.service.consul", "A")
            .send(&responder)
            .await
            .answers
            .len(),
        1
    );
}

#[tokio::test]
async fn the_second_domain_answers_in_its_own_name() {
    let settings = Settings {
        alt_domain: "alt.test".into(),
        ..Settings::default()
    };
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
                &[
                    "NXDomain aa rd",
                    "aut alt.test. 0 SOA ns.alt.test. hostmaster.alt.test. 3600 600 86400 0",
                ],
            ),
            (
                "dweb.service.consul",
                "A",
                &[OK, "ans dweb.service.consul. 0 A 10.20.0.1"],
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn node_texts_can_be_switched_off() {
    let settings = Settings {
        enable_additional_node_meta_txt: false,
        ..Settings::default()
    };
    let (catalog, responder) = responder(Catalog::default(), settings);
    catalog.parity_node();
    for (name, kind) in [
        ("parity-node.node.consul", "A"),
        ("consul.service.consul", "SRV"),
    ] {
        let message = ask(name, kind).send(&responder).await;
        assert!(
            message
                .additionals
                .iter()
                .all(|r| r.record_type() == RecordType::A)
        );
    }
    assert_eq!(
        ask("parity-node.node.consul", "TXT")
            .send(&responder)
            .await
            .answers
            .len(),
        2
    );
    assert_eq!(
        ask("parity-node.node.consul", "ANY")
            .send(&responder)
            .await
            .answers
            .len(),
        3
    );
}

#[tokio::test]
async fn compression_can_be_switched_off() {
    let settings = Settings {
        disable_compression: true,
        ..Settings::default()
    };
    let (catalog, responder) = responder(Catalog::default(), settings);
    catalog.web(3, "dweb");
    let question = ask("dweb.service.consul", "SRV").tcp();
    let bytes = responder
        .respond(&question.bytes(), common::client(), Transport::Tcp)
        .await
        .unwrap();
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
        *first
            .entry(message.answers[0].data.to_string())
            .or_insert(0) += 1;
    }
    assert_eq!(first.len(), 20);
    assert!(first.values().all(|n| (50..170).contains(n)), "{first:?}");
}
