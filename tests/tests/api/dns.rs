//! The DNS interface.

use lictor_tests::{Agent, Answer, Question, json};

async fn web(agent: &Agent, count: u8) {
    for i in 1..=count {
        let port = 8000 + u16::from(i);
        let service = json!({"ID": "w", "Service": "web", "Port": port, "Tags": [format!("t{i}")]});
        agent
            .external(
                &format!("n{i}"),
                &format!("10.20.0.{i}"),
                json!({"Service": service}),
            )
            .await;
    }
}

fn srv(answer: &Answer) -> Vec<&str> {
    assert_eq!(answer.code, "NOERROR", "{answer:?}");
    answer.data()
}

#[tokio::test]
async fn a_node_has_an_address_and_its_facts() {
    let agent = Agent::dev().await;
    for name in [
        "lictor-test.node.consul",
        "lictor-test.node.dc1.consul",
        "LICTOR-Test.Node.CONSUL",
    ] {
        let answer = agent.dns(name, "A").await;
        answer.gives(&["127.0.0.1"]);
        assert_eq!(
            (answer.authoritative, answer.answers[0].ttl),
            (true, 0),
            "{name}"
        );
    }
    agent.external("six", "2001:db8::1", json!({})).await;
    agent
        .dns("six.node.consul", "AAAA")
        .await
        .gives(&["2001:db8::1"]);
    agent.dns("six.node.consul", "A").await.nothing("NOERROR");
    agent.external("named", "www.example.org", json!({})).await;
    agent
        .dns("named.node.consul", "A")
        .await
        .gives(&["www.example.org."]);
    agent
        .external("red", "10.0.0.9", json!({"NodeMeta": {"color": "red"}}))
        .await;
    agent
        .dns("red.node.consul", "TXT")
        .await
        .gives(&["color=red"]);
    agent
        .dns("nobody.node.consul", "A")
        .await
        .nothing("NXDOMAIN");
    agent
        .dns("lictor-test.node.nowhere.consul", "A")
        .await
        .nothing("NXDOMAIN");
}

#[tokio::test]
async fn a_service_has_addresses_and_ports() {
    let agent = Agent::dev().await;
    web(&agent, 3).await;
    let all = ["10.20.0.1", "10.20.0.2", "10.20.0.3"];
    agent.dns("web.service.consul", "A").await.gives(&all);
    agent.dns("web.service.dc1.consul", "A").await.gives(&all);
    agent.dns("WEB.Service.Consul", "A").await.gives(&all);
    let answer = agent.dns("web.service.consul", "SRV").await;
    assert_eq!(
        srv(&answer),
        [
            "1 1 8001 n1.node.dc1.consul.",
            "1 1 8002 n2.node.dc1.consul.",
            "1 1 8003 n3.node.dc1.consul."
        ]
    );
    let mut extra: Vec<(&str, &str)> = answer
        .additional
        .iter()
        .map(|r| (r.name.as_str(), r.data.as_str()))
        .collect();
    extra.sort_unstable();
    assert_eq!(
        extra[0],
        ("n1.node.dc1.consul.", "10.20.0.1"),
        "addresses come along"
    );
    agent
        .dns("t2.web.service.consul", "A")
        .await
        .gives(&["10.20.0.2"]);
    agent
        .dns("nope.web.service.consul", "A")
        .await
        .nothing("NXDOMAIN");
    agent
        .dns("web.service.consul", "AAAA")
        .await
        .nothing("NOERROR");
    let none = agent.dns("none.service.consul", "A").await;
    none.nothing("NXDOMAIN");
    assert_eq!(
        none.authority[0].kind, "SOA",
        "how long the absence may be kept"
    );
}

#[tokio::test]
async fn names_of_rfc_2782_are_read() {
    let agent = Agent::dev().await;
    web(&agent, 2).await;
    let one = agent.dns("_web._t1.service.consul", "SRV").await;
    assert_eq!(srv(&one), ["1 1 8001 n1.node.dc1.consul."]);
    let any = agent.dns("_web._tcp.service.consul", "SRV").await;
    assert_eq!(any.answers.len(), 2, "tcp stands for any tag");
    agent
        .dns("_web._nope.service.consul", "SRV")
        .await
        .nothing("NXDOMAIN");
}

#[tokio::test]
async fn weights_and_own_addresses_are_in_srv() {
    let agent = Agent::dev().await;
    let weights = json!({"Passing": 9, "Warning": 3});
    let own = json!({"Service": {"ID": "a", "Service": "web", "Port": 1, "Address": "10.99.0.1",
                                 "Weights": weights}});
    agent.external("n", "10.21.0.1", own).await;
    let answer = agent.dns("web.service.consul", "SRV").await;
    assert_eq!(srv(&answer), ["1 9 1 0a630001.addr.dc1.consul."]);
    agent
        .dns("0a630001.addr.dc1.consul", "A")
        .await
        .gives(&["10.99.0.1"]);
    agent
        .dns("20010db8000000000000000000000005.addr.consul", "AAAA")
        .await
        .gives(&["2001:db8::5"]);
    agent
        .dns("0a63.addr.dc1.consul", "A")
        .await
        .nothing("NXDOMAIN");
}

#[tokio::test]
async fn what_is_critical_is_left_out() {
    let agent = Agent::dev().await;
    for (i, status) in ["passing", "warning", "critical"].into_iter().enumerate() {
        let service = json!({"ID": "w", "Service": "web", "Port": 1});
        let check = json!({"CheckID": "c", "Name": "c", "Status": status, "ServiceID": "w"});
        let more = json!({"Service": service, "Check": check});
        agent
            .external(&format!("n{i}"), &format!("10.22.0.{i}"), more)
            .await;
    }
    agent
        .dns("web.service.consul", "A")
        .await
        .gives(&["10.22.0.0", "10.22.0.1"]);
    let node = json!({"CheckID": "disk", "Name": "d", "Status": "critical"});
    agent
        .external("n0", "10.22.0.0", json!({"Check": node}))
        .await;
    agent
        .dns("web.service.consul", "A")
        .await
        .gives(&["10.22.0.1"]);
    agent
        .put("/v1/catalog/deregister", json!({"Node": "n1"}))
        .await
        .ok();
    agent
        .dns("web.service.consul", "A")
        .await
        .nothing("NXDOMAIN");
    agent.dns("n2.node.consul", "A").await.gives(&["10.22.0.2"]);
}

/// A change is in the very next answer: nothing is cached longer than it is true.
#[tokio::test]
async fn a_change_is_in_the_next_answer() {
    let agent = Agent::dev().await;
    for port in 1..50_u16 {
        let service = json!({"Service": {"ID": "w", "Service": "web", "Port": port}});
        agent.external("n", "10.0.0.1", service).await;
        let answer = agent.dns("web.service.consul", "SRV").await;
        assert_eq!(srv(&answer), [format!("1 1 {port} n.node.dc1.consul.")]);
    }
}

#[tokio::test]
async fn the_domain_has_its_authority() {
    let agent = Agent::dev().await;
    let soa = agent.dns("consul", "SOA").await;
    assert!(
        soa.answers[0]
            .data
            .starts_with("ns.consul. hostmaster.consul. "),
        "{soa:?}"
    );
    agent
        .dns("consul", "NS")
        .await
        .gives(&["lictor-test.node.dc1.consul."]);
    for name in [
        "nothing.consul",
        "a.b.c.d.consul",
        "service.consul",
        "node.consul",
    ] {
        agent.dns(name, "A").await.nothing("NXDOMAIN");
    }
}

#[tokio::test]
async fn addresses_have_names() {
    let agent = Agent::dev().await;
    agent.external("rev", "10.23.0.7", json!({})).await;
    agent.external("rev6", "2001:db8::77", json!({})).await;
    agent
        .dns("7.0.23.10.in-addr.arpa", "PTR")
        .await
        .gives(&["rev.node.dc1.consul."]);
    let six = "7.7.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa";
    agent
        .dns(six, "PTR")
        .await
        .gives(&["rev6.node.dc1.consul."]);
    agent
        .dns("9.9.9.99.in-addr.arpa", "PTR")
        .await
        .nothing("NXDOMAIN");
}

#[tokio::test]
async fn other_domains_are_refused_without_recursors() {
    let agent = Agent::dev().await;
    for name in ["example.org", "org", "consul.example.org"] {
        let answer = agent.dns(name, "A").await;
        answer.nothing("REFUSED");
        assert!(!answer.authoritative && !answer.recursion_available);
    }
}

#[tokio::test]
async fn many_answers_fit_or_go_over_tcp() {
    let agent = Agent::dev().await;
    web(&agent, 60).await;
    let server = agent.dns_address();
    for kind in ["A", "SRV"] {
        let small = agent.dns("web.service.consul", kind).await;
        assert_eq!(
            small.answers.len(),
            3,
            "three by default in plain UDP, {kind}"
        );
        assert!(small.size <= 512 && !small.truncated);
        let tcp = Question::new("web.service.consul", kind)
            .tcp()
            .ask(server)
            .await;
        assert_eq!((tcp.answers.len(), tcp.truncated), (60, false), "{kind}");
    }
    let large = Question::new("web.service.consul", "A")
        .edns(1400)
        .ask(server)
        .await;
    assert_eq!((large.answers.len(), large.edns), (60, Some(1400)));
    let srv = Question::new("web.service.consul", "SRV")
        .edns(1400)
        .ask(server)
        .await;
    assert!(srv.size <= 1400, "{} bytes", srv.size);
}

#[tokio::test]
async fn answers_take_turns() {
    let agent = Agent::dev().await;
    web(&agent, 8).await;
    let mut first = std::collections::HashSet::new();
    for _ in 0..60 {
        let answer = agent.dns("web.service.consul", "A").await;
        first.insert(answer.answers[0].data.clone());
    }
    assert!(first.len() > 4, "the first was always one of {first:?}");
}

#[tokio::test]
async fn the_settings_of_dns_are_followed() {
    let agent = Agent::build()
        .config(json!({"domain": "example.test.", "dns_config": {
            "node_ttl": "30s", "service_ttl": {"*": "5s", "web": "10s"}, "only_passing": true,
            "enable_truncate": true, "udp_answer_limit": 2,
            "soa": {"refresh": 7200, "min_ttl": 60}}}))
        .start()
        .await;
    web(&agent, 5).await;
    let node = agent.dns("lictor-test.node.example.test", "A").await;
    node.gives(&["127.0.0.1"]);
    assert_eq!(node.answers[0].ttl, 30);
    agent
        .dns("lictor-test.node.consul", "A")
        .await
        .nothing("REFUSED");
    let cut = agent.dns("web.service.example.test", "A").await;
    assert_eq!(
        (cut.answers.len(), cut.truncated, cut.answers[0].ttl),
        (2, true, 10)
    );
    let service = json!({"ID": "w", "Service": "wary", "Port": 1});
    let check = json!({"CheckID": "c", "Name": "c", "Status": "warning", "ServiceID": "w"});
    agent
        .external("w", "10.0.0.1", json!({"Service": service, "Check": check}))
        .await;
    let none = agent.dns("wary.service.example.test", "A").await;
    none.nothing("NXDOMAIN");
    let soa = &none.authority[0];
    assert!(
        soa.data.contains(" 7200 ") && soa.data.ends_with(" 60"),
        "{}",
        soa.data
    );
}

#[tokio::test]
async fn recursors_are_asked_for_the_rest() {
    let upstream = Agent::dev().await;
    web(&upstream, 1).await;
    let recursor = format!("127.0.0.1:{}", upstream.dns_address().port());
    let agent = Agent::build()
        .config(json!({"domain": "other.", "recursors": [recursor]}))
        .start()
        .await;
    let answer = agent.dns("web.service.consul", "A").await;
    answer.gives(&["10.20.0.1"]);
    let own = agent.dns("lictor-test.node.other", "A").await;
    own.gives(&["127.0.0.1"]);
    assert!(own.recursion_available);
    drop(upstream);
    let lost = agent.dns("web.service.consul", "A").await;
    lost.nothing("SERVFAIL");
}

#[tokio::test]
async fn both_transports_say_the_same() {
    let agent = Agent::dev().await;
    web(&agent, 2).await;
    for (name, kind) in [
        ("web.service.consul", "SRV"),
        ("none.service.consul", "A"),
        ("x.org", "A"),
    ] {
        let udp = agent.dns(name, kind).await;
        let tcp = Question::new(name, kind)
            .tcp()
            .ask(agent.dns_address())
            .await;
        assert_eq!(
            (udp.code.as_str(), udp.data()),
            (tcp.code.as_str(), tcp.data()),
            "{name}"
        );
    }
    let question = Question::new("web.service.consul", "A").no_recursion();
    assert_eq!(question.ask(agent.dns_address()).await.answers.len(), 2);
}
