//! What is asked of a client agent is answered as a server answers it.

use lictor_tests::cluster::{Cluster, Member, Plan};
use lictor_tests::{Answer, Method, Question, Reply, Value, json, until_for};
use std::net::SocketAddr;
use std::time::Duration;

/// Reads whose answers are the same wherever they are asked.
const READS: &[&str] = &[
    "/v1/catalog/datacenters",
    "/v1/catalog/nodes",
    "/v1/catalog/nodes?filter=Node%20matches%20%22client%22",
    "/v1/catalog/nodes?node-meta=rack:r1",
    "/v1/catalog/services",
    "/v1/catalog/service/web",
    "/v1/catalog/service/web?tag=v2",
    "/v1/catalog/service/none",
    "/v1/catalog/node/client-1",
    "/v1/catalog/node/nobody",
    "/v1/catalog/node-services/client-1",
    "/v1/health/service/web",
    "/v1/health/service/web?passing",
    "/v1/health/service/web?passing&filter=Service.Port%20%3D%3D%2080",
    "/v1/health/service/consul",
    "/v1/health/checks/web",
    "/v1/health/node/client-1",
    "/v1/health/state/any",
    "/v1/health/state/critical",
    "/v1/health/state/odd",
    "/v1/kv/tree/a",
    "/v1/kv/tree/a?raw",
    "/v1/kv/tree?recurse",
    "/v1/kv/tree/?keys&separator=/",
    "/v1/kv/none",
    "/v1/kv/none?recurse",
    "/v1/session/list",
    "/v1/session/node/client-1",
    "/v1/session/info/00000000-0000-0000-0000-000000000000",
    "/v1/session/info/odd",
    "/v1/status/leader",
    "/v1/status/peers",
    "/v1/operator/raft/configuration",
    "/v1/operator/autopilot/configuration",
    "/v1/internal/ui/nodes",
    "/v1/internal/ui/services",
    "/v1/internal/ui/node/client-1",
    "/v1/catalog/service/web?filter=odd%20odd",
    "/v1/catalog/service/web?wait=odd",
    "/v1/catalog/service/web?stale&consistent",
];

/// Questions by DNS.
const QUESTIONS: &[(&str, &str)] = &[
    ("web.service.consul", "A"),
    ("web.service.consul", "SRV"),
    ("v2.web.service.consul", "SRV"),
    ("_web._tcp.service.consul", "SRV"),
    ("web.service.dc1.consul", "A"),
    ("none.service.consul", "A"),
    ("client-1.node.consul", "A"),
    ("client-1.node.consul", "TXT"),
    ("nobody.node.consul", "A"),
    ("consul.service.consul", "A"),
    ("consul", "SOA"),
    ("consul", "NS"),
    ("1.0.99.10.in-addr.arpa", "PTR"),
];

async fn filled() -> Cluster {
    let cluster = Plan::servers(3).clients(2).start().await;
    for (member, tag) in cluster.clients.iter().zip(["v1", "v2"]) {
        let service = json!({"Name": "web", "Port": 80, "Tags": [tag],
            "Check": {"TTL": "1h", "Status": "passing"}});
        member.agent.register(service).await;
    }
    let node = json!({"NodeMeta": {"rack": "r1"}, "Service": {"Service": "far", "Port": 1}});
    cluster.clients[0]
        .agent
        .external("far", "10.50.0.1", node)
        .await;
    for key in ["tree/a", "tree/b/c", "tree/b/d"] {
        cluster.clients[1]
            .agent
            .put(&format!("/v1/kv/{key}"), key)
            .await
            .ok();
    }
    let session = json!({"Name": "s"});
    cluster.clients[0]
        .agent
        .put("/v1/session/create", session)
        .await
        .ok();
    for member in cluster.all() {
        let both = |r: &Reply| r.json.as_array().is_some_and(|a| a.len() == 2);
        member
            .agent
            .get_until("/v1/health/service/web?passing", both)
            .await;
    }
    cluster
}

/// Rows in an order of their own: several paths shuffle.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Array(rows) => {
            let mut rows: Vec<Value> = rows.iter().map(sorted).collect();
            rows.sort_by_key(Value::to_string);
            Value::Array(rows)
        }
        Value::Object(fields) => {
            let fields = fields.iter().map(|(k, v)| (k.clone(), sorted(v)));
            Value::Object(fields.collect())
        }
        other => other.clone(),
    }
}

fn told(reply: &Reply) -> (u16, Value, String, Option<String>) {
    // Texts that are no JSON are compared as they are, values of keys too.
    let text = match reply.json {
        Value::Null => reply.text.clone(),
        _ => String::new(),
    };
    let index = reply.header("x-consul-index").map(str::to_owned);
    (reply.status, sorted(&reply.json), text, index)
}

#[tokio::test]
async fn a_client_agent_answers_as_a_server_does() {
    let cluster = filled().await;
    let mut wrong = Vec::new();
    for path in READS {
        let mut seen = Vec::new();
        // What an agent changes by itself comes to rest: the answers must agree soon.
        let agree = async || {
            seen.clear();
            for member in [
                &cluster.servers[0],
                &cluster.servers[1],
                &cluster.clients[0],
            ] {
                let reply = member.agent.try_get(path).await?;
                seen.push((member.name.clone(), told(&reply)));
            }
            seen.windows(2).all(|w| w[0].1 == w[1].1).then_some(())
        };
        let soon = tokio::time::timeout(
            Duration::from_secs(6),
            until_for(Duration::from_secs(20), path, agree),
        );
        if soon.await.is_err() {
            wrong.push(format!("{path}: {seen:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

async fn ask(member: &Member, name: &str, kind: &str, tcp: bool) -> Option<Answer> {
    let server = SocketAddr::from(([127, 0, 0, 1], 8600));
    let question = Question::new(name, kind).edns(4096);
    let question = if tcp { question.tcp() } else { question };
    question.try_ask_within(&member.place, server).await
}

#[tokio::test]
async fn a_client_agent_answers_dns_as_a_server_does() {
    let cluster = filled().await;
    for (name, kind) in QUESTIONS {
        for tcp in [false, true] {
            let mut told = Vec::new();
            for member in [&cluster.servers[0], &cluster.clients[0]] {
                let answer = ask(member, name, kind, tcp).await;
                let answer = answer
                    .unwrap_or_else(|| panic!("{} does not answer {name} {kind}", member.name));
                let mut records: Vec<String> = answer
                    .answers
                    .iter()
                    // The serial number is the time.
                    .filter(|r| r.kind != "SOA")
                    .map(|r| format!("{r:?}"))
                    .collect();
                records.sort();
                told.push((answer.code.clone(), records));
            }
            assert_eq!(told[0], told[1], "{name} {kind}, TCP {tcp}");
        }
    }
}

/// What is written through a client agent is read at once through any other agent, and through the
/// same.
#[tokio::test]
async fn what_is_written_through_one_agent_is_read_through_any() {
    let cluster = Plan::servers(3).clients(2).start().await;
    let members: Vec<&Member> = cluster.all().collect();
    for (n, writer) in members.iter().enumerate() {
        let key = format!("/v1/kv/seen/{n}");
        writer.agent.put(&key, "x").await.ok();
        for reader in &members {
            let reply = reader.agent.get(&format!("{key}?raw")).await;
            assert_eq!(
                (reply.status, reply.text.as_str()),
                (200, "x"),
                "{} wrote, {} reads",
                writer.name,
                reader.name
            );
        }
        let list = json!([{"KV": {"Verb": "delete", "Key": format!("seen/{n}")}},
            {"KV": {"Verb": "check-not-exists", "Key": format!("seen/{n}")}}]);
        writer
            .agent
            .request(Method::PUT, "/v1/txn", list)
            .await
            .ok();
        for reader in &members {
            reader.agent.get(&key).await.expect(404);
        }
    }
}
