//! dnsmasq in front: the usual way to have `.consul` in a host's resolver.

use crate::process::Process;
use lictor_tests::{Agent, Answer, Folder, Question, free_port, json, peer, until};
use std::net::SocketAddr;
use std::process::Command;

fn start(folder: &Folder, port: u16, agent: &Agent) -> Process {
    let mut command = Command::new(peer("dnsmasq", "dnsmasq-base"));
    command.args([
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--pid-file=",
        "--user=root",
    ]);
    command.args([
        "--no-resolv",
        "--no-hosts",
        "--bind-interfaces",
        "--listen-address=127.0.0.1",
    ]);
    command.arg(format!("--port={port}"));
    command.arg(format!(
        "--server=/consul/127.0.0.1#{}",
        agent.dns_address().port()
    ));
    command.arg(format!(
        "--rev-server=10.0.0.0/8,127.0.0.1#{}",
        agent.dns_address().port()
    ));
    Process::start(command, &folder.join("dnsmasq.log"))
}

#[tokio::test]
async fn a_forwarder_follows_a_service() {
    let folder = Folder::new();
    let agent = Agent::dev().await;
    let port = free_port();
    let _dnsmasq = start(&folder, port, &agent);
    let server = SocketAddr::from(([127, 0, 0, 1], port));
    let becomes = async |name: &str, kind: &str, wish: &dyn Fn(&Answer) -> bool| {
        let question = Question::new(name, kind);
        let look = async || question.try_ask(server).await.filter(|a| wish(a));
        until(&format!("{name} {kind} through dnsmasq"), look).await
    };
    becomes("web.service.consul", "A", &|a| a.code == "NXDOMAIN").await;
    let register = async |node: &str, address: &str| {
        let service = json!({"ID": "w", "Service": "web", "Port": 8080, "Tags": ["v1"]});
        agent
            .external(node, address, json!({"Service": service}))
            .await;
    };
    register("n1", "10.1.0.1").await;
    becomes("web.service.consul", "A", &|a| a.data() == ["10.1.0.1"]).await;
    register("n2", "10.1.0.2").await;
    becomes("web.service.consul", "A", &|a| {
        a.data() == ["10.1.0.1", "10.1.0.2"]
    })
    .await;
    let srv = becomes("_web._v1.service.consul", "SRV", &|a| a.answers.len() == 2).await;
    assert_eq!(srv.data()[0], "1 1 8080 n1.node.dc1.consul.");
    becomes("1.0.1.10.in-addr.arpa", "PTR", &|a| {
        a.data() == ["n1.node.dc1.consul."]
    })
    .await;
    agent
        .put("/v1/catalog/deregister", json!({"Node": "n1"}))
        .await
        .ok();
    becomes("web.service.consul", "A", &|a| a.data() == ["10.1.0.2"]).await;
    agent
        .put("/v1/catalog/deregister", json!({"Node": "n2"}))
        .await
        .ok();
    becomes("web.service.consul", "A", &|a| a.code == "NXDOMAIN").await;
}

#[tokio::test]
async fn many_answers_come_whole_over_tcp() {
    let folder = Folder::new();
    let agent = Agent::dev().await;
    for n in 1..=60 {
        let service = json!({"ID": "w", "Service": "web", "Port": n});
        agent
            .external(
                &format!("n{n}"),
                &format!("10.1.0.{n}"),
                json!({"Service": service}),
            )
            .await;
    }
    let port = free_port();
    let _dnsmasq = start(&folder, port, &agent);
    let server = SocketAddr::from(([127, 0, 0, 1], port));
    let question = Question::new("web.service.consul", "SRV").tcp();
    let answer = until("sixty answers", async || {
        question
            .try_ask(server)
            .await
            .filter(|a| a.answers.len() == 60)
    })
    .await;
    assert!(!answer.truncated);
}
