//! A client agent: it answers what its server answers, and lives without servers too.

use lictor_tests::{Agent, Builder, Folder, Method, Question, Reply, json};
use std::time::{Duration, Instant};

/// Reads of the catalog and the stores.
const READS: &[&str] = &[
    "/v1/catalog/datacenters",
    "/v1/catalog/nodes",
    "/v1/catalog/nodes?near=far",
    "/v1/catalog/nodes?near=client",
    "/v1/catalog/nodes?filter=Node%20matches%20%22c%22",
    "/v1/catalog/nodes?node-meta=rack:r1",
    "/v1/catalog/nodes?index=1",
    "/v1/catalog/services",
    "/v1/catalog/services?node-meta=rack:r1",
    "/v1/catalog/services?filter=ServicePort%20==%2080",
    "/v1/catalog/service/web",
    "/v1/catalog/service/WEB",
    "/v1/catalog/service/web?tag=v2",
    "/v1/catalog/service/web?tag=v1&tag=prod",
    "/v1/catalog/service/web?near=far",
    "/v1/catalog/service/far",
    "/v1/catalog/service/none",
    "/v1/catalog/service/web?peer=elsewhere",
    "/v1/catalog/connect/web",
    "/v1/catalog/connect/native",
    "/v1/catalog/connect/none",
    "/v1/catalog/node/client",
    "/v1/catalog/node/far",
    "/v1/catalog/node/nobody",
    "/v1/catalog/node/client?filter=Service%20==%20web",
    "/v1/catalog/node-services/client",
    "/v1/catalog/node-services/nobody",
    "/v1/health/service/web",
    "/v1/health/service/web?pretty",
    "/v1/health/service/web?passing",
    "/v1/health/service/web?passing&filter=Service.Port%20%3D%3D%2080",
    "/v1/health/service/web?near=far",
    "/v1/health/service/web?stale",
    "/v1/health/service/web?consistent",
    "/v1/health/service/web?max_stale=1h",
    "/v1/health/service/web?index=1",
    "/v1/health/service/web?index=1000000&wait=10ms",
    "/v1/health/service/consul",
    "/v1/health/service/none",
    "/v1/health/connect/web",
    "/v1/health/connect/native",
    "/v1/health/checks/web",
    "/v1/health/checks/far?node-meta=rack:r1",
    "/v1/health/checks/far?node-meta=rack:r2",
    "/v1/health/checks/far?near=far",
    "/v1/health/node/client",
    "/v1/health/node/far?filter=Status%20==%20warning",
    "/v1/health/node/nobody",
    "/v1/health/state/any",
    "/v1/health/state/any?near=far",
    "/v1/health/state/critical",
    "/v1/health/state/odd",
    "/v1/kv/tree/a",
    "/v1/kv/tree/a?raw",
    "/v1/kv/tree/a?index=1",
    "/v1/kv/tree/a?index=1000000&wait=10ms",
    "/v1/kv/empty",
    "/v1/kv/empty?raw",
    "/v1/kv/locked",
    "/v1/kv/tree?recurse",
    "/v1/kv/tree/?keys&separator=/",
    "/v1/kv/?keys",
    "/v1/kv/?recurse",
    "/v1/kv/none",
    "/v1/kv/none?recurse",
    "/v1/kv/none?keys",
    "/v1/session/list",
    "/v1/session/node/client",
    "/v1/session/node/nobody",
    "/v1/session/info/odd",
    "/v1/status/leader",
    "/v1/status/peers",
    "/v1/coordinate/nodes",
    "/v1/coordinate/node/nobody",
    "/v1/catalog/service/web?filter=odd%20odd",
    "/v1/catalog/service/web?wait=odd",
    "/v1/catalog/service/web?stale&consistent",
    "/v1/operator/raft/configuration",
    "/v1/operator/autopilot/configuration",
    "/v1/operator/autopilot/health",
];

/// Questions by DNS.
const QUESTIONS: &[(&str, &str)] = &[
    ("web.service.consul", "A"),
    ("web.service.consul", "SRV"),
    ("v2.web.service.consul", "SRV"),
    ("_web._tcp.service.consul", "SRV"),
    ("web.service.dc1.consul", "A"),
    ("none.service.consul", "A"),
    ("far.service.consul", "ANY"),
    ("far.service.consul", "AAAA"),
    ("client.node.consul", "A"),
    ("far.node.consul", "TXT"),
    ("nobody.node.consul", "A"),
    ("consul.service.consul", "A"),
    ("consul", "NS"),
    ("web.connect.consul", "SRV"),
    ("9.9.9.10.in-addr.arpa", "PTR"),
    ("1.0.50.10.in-addr.arpa", "PTR"),
    ("9.9.9.9.in-addr.arpa", "PTR"),
];

fn client(folder: &Folder, server: &Agent) -> Builder {
    Agent::build_with(Vec::new(), &folder.join("client")).config(json!({
        "node_name": "client",
        "retry_join": [server.gossip_address().to_string()],
        "retry_interval": "500ms",
    }))
}

/// A server and a client agent.
async fn pair(folder: &Folder) -> (Agent, Agent) {
    let server = Agent::build_server(&folder.join("server"))
        .config(json!({"node_name": "server"}))
        .start()
        .await;
    let client = client(folder, &server).start().await;
    (server, client)
}

/// Everything through the client agent, but for one instance on the server's node.
async fn fill(server: &Agent, client: &Agent) {
    let check = |status: &str| json!({"TTL": "1h", "Status": status});
    client
        .register(json!({"Name": "web", "ID": "web1", "Port": 80, "Tags": ["v1", "prod"],
            "Meta": {"ver": "1"}, "Weights": {"Passing": 5, "Warning": 1}, "Check": check("passing"),
            "TaggedAddresses": {"lan": {"Address": "10.1.1.1", "Port": 8080}}}))
        .await;
    server
        .register(
            json!({"Name": "web", "ID": "web2", "Port": 81, "Tags": ["v2"],
            "Check": check("critical")}),
        )
        .await;
    client
        .register(
            json!({"Name": "web-proxy", "Kind": "connect-proxy", "Port": 9000,
            "Proxy": {"DestinationServiceName": "web", "Config": {"a": 1, "b": ["x", {"c": 1.5}]},
                "Upstreams": [{"DestinationName": "db", "LocalBindPort": 1234}]}}),
        )
        .await;
    client
        .register(json!({"Name": "native", "Port": 9001, "Connect": {"Native": true}}))
        .await;
    let far = json!({
        "NodeMeta": {"rack": "r1"}, "TaggedAddresses": {"wan": "1.2.3.4"},
        "Service": {"Service": "far", "ID": "f1", "Port": 1, "Address": "10.9.9.9"},
        "Checks": [
            {"Name": "h", "Status": "warning", "ServiceID": "f1",
                "Definition": {"HTTP": "http://x/", "Interval": "10s", "Header": {"A": ["b"]}}},
            {"Name": "n", "Status": "passing", "Notes": "none", "Output": "fine"},
        ],
    });
    client.external("far", "10.50.0.1", far).await;
    for key in ["tree/a", "tree/b/c", "tree/b/d", "empty"] {
        let value = if key == "empty" { "" } else { key };
        let path = format!("/v1/kv/{key}?flags=42");
        client.put(&path, value).await.ok();
    }
    let session = client
        .put(
            "/v1/session/create",
            json!({"Name": "s", "LockDelay": "0s"}),
        )
        .await
        .ok();
    let lock = format!("/v1/kv/locked?acquire={}", session.str("/ID"));
    assert_eq!(client.put(&lock, "mine").await.ok().text, "true");
    let coordinate = json!({"Node": "far",
        "Coord": {"Vec": [0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1], "Error": 1.5, "Height": 0.001}});
    client.put("/v1/coordinate/update", coordinate).await.ok();
    client
        .get_until("/v1/coordinate/node/far", |r| r.status == 200)
        .await;
}

/// What an answer says, with its headers of Consul's.
fn told(reply: &Reply) -> String {
    let names = [
        "x-consul-index",
        "x-consul-knownleader",
        "x-consul-lastcontact",
        "x-consul-effective-consistency",
        "x-consul-query-backend",
        "content-type",
    ];
    let headers: Vec<String> = names
        .into_iter()
        .filter_map(|name| Some(format!("{name}: {}", reply.header(name)?)))
        .collect();
    format!("{} {headers:?} {}", reply.status, reply.text)
}

#[tokio::test]
async fn it_answers_what_its_server_answers() {
    let folder = Folder::new();
    let (server, client) = pair(&folder).await;
    fill(&server, &client).await;
    let mut wrong = Vec::new();
    for path in READS {
        // Coordinates are written every few seconds: once more where one came between.
        let mut seen = (String::new(), String::new());
        for _ in 0..3 {
            seen = (told(&server.get(path).await), told(&client.get(path).await));
            if seen.0 == seen.1 {
                break;
            }
        }
        if seen.0 != seen.1 {
            wrong.push(format!("{path}\n  server {}\n  client {}", seen.0, seen.1));
        }
    }
    for (name, kind) in QUESTIONS {
        for tcp in [false, true] {
            let question = || {
                let question = Question::new(name, kind).edns(4096);
                if tcp { question.tcp() } else { question }
            };
            let mut seen = Vec::new();
            for agent in [&server, &client] {
                let answer = question().ask(agent.dns_address()).await;
                let mut records: Vec<String> =
                    answer.answers.iter().map(|r| format!("{r:?}")).collect();
                records.sort();
                seen.push((answer.code.clone(), records));
            }
            if seen[0] != seen[1] {
                wrong.push(format!("{name} {kind}, TCP {tcp}: {seen:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn what_its_servers_refuse_is_refused_in_their_words() {
    let folder = Folder::new();
    let (server, client) = pair(&folder).await;
    let unknown = json!({"Node": "x", "Address": "10.0.0.1",
        "Check": {"Name": "c", "ServiceID": "nope"}});
    for (path, body) in [
        ("/v1/catalog/register", unknown),
        ("/v1/session/create", json!({"Node": "nobody"})),
        ("/v1/kv/k?acquire=nope", json!("x")),
    ] {
        let own = server.put(path, body.clone()).await.expect(500);
        let through = client.put(path, body).await.expect(500);
        assert_eq!(through.text, format!("rpc error making call: {}", own.text));
    }
    // What is wrong with a request itself is seen where it is made.
    for path in ["/v1/kv/", "/v1/kv/k?cas=odd", "/v1/session/renew/nope"] {
        let (own, through) = (server.put(path, ()).await, client.put(path, ()).await);
        assert_eq!((through.status, through.text), (own.status, own.text));
    }
    let ops = json!([{"KV": {"Verb": "set", "Key": "k", "Value": "YQ=="}},
        {"KV": {"Verb": "get", "Key": "none"}}]);
    let own = server.request(Method::PUT, "/v1/txn", ops.clone()).await;
    let through = client.request(Method::PUT, "/v1/txn", ops).await;
    assert_eq!(own.status, 409);
    assert_eq!((through.status, through.text), (own.status, own.text));
    let elsewhere = client.get("/v1/catalog/nodes?dc=elsewhere").await;
    assert!(
        elsewhere.status == 500 && elsewhere.text.contains("No path to datacenter"),
        "{}",
        elsewhere.text
    );
}

#[tokio::test]
async fn kept_answers_are_there_at_once_and_follow() {
    let folder = Folder::new();
    let (_server, client) = pair(&folder).await;
    let path = "/v1/health/service/kept?cached";
    let first = client.get(path).await.ok();
    assert_eq!(
        (first.header("x-cache"), first.header("age")),
        (Some("MISS"), None)
    );
    let second = client.get(path).await.ok();
    assert_eq!(
        (second.header("x-cache"), second.header("age")),
        (Some("HIT"), Some("0"))
    );
    client.register(json!({"Name": "kept"})).await;
    let there = |r: &Reply| r.rows().len() == 1;
    let third = client.get_until(path, there).await;
    assert_eq!(third.header("x-cache"), Some("HIT"));
}

/// A hundred wait for the same at a client agent: it asks once, and all have their answer.
#[tokio::test]
async fn who_waits_at_it_is_answered() {
    let folder = Folder::new();
    let (server, client) = pair(&folder).await;
    let index = client.get("/v1/kv/awaited").await.index();
    let waiting: Vec<_> = (0..100)
        .map(|_| client.wait_on("/v1/kv/awaited", index))
        .collect();
    let blocking = async |agent: &Agent, count: f64| {
        agent
            .get_until("/v1/agent/metrics", |r| {
                r.at("/Gauges")
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter(|g| {
                        g["Name"]
                            .as_str()
                            .is_some_and(|n| n.ends_with("rpc.queries_blocking"))
                    })
                    .any(|g| g["Value"].as_f64() == Some(count))
            })
            .await;
    };
    blocking(&client, 100.0).await;
    let before = Instant::now();
    server.put("/v1/kv/awaited", "x").await.ok();
    for reader in waiting {
        let reply = reader.await.expect("an answer");
        assert_eq!((reply.status, reply.index() > index), (200, true));
    }
    assert!(before.elapsed() < Duration::from_secs(10));
    blocking(&client, 0.0).await;
}

#[tokio::test]
async fn without_servers_it_still_is_an_agent() {
    let folder = Folder::new();
    let lone = Agent::build_with(Vec::new(), &folder.join("client"))
        .config(json!({"node_name": "client"}))
        .spawn();
    lone.get_until("/v1/agent/self", |r| r.status == 200).await;
    let read = lone.get("/v1/catalog/nodes").await.expect(500);
    assert_eq!(read.text, "No known Consul servers");
    assert_eq!(read.index(), 1);
    lone.get("/v1/kv/k")
        .await
        .refused(500, "No known Consul servers");
    lone.put("/v1/kv/k", "v")
        .await
        .refused(500, "No known Consul servers");
    let answer = lone.dns("web.service.consul", "A").await;
    answer.nothing("SERVFAIL");
    // What it vouches for needs nobody.
    lone.register(json!({"Name": "web", "Port": 80, "Check": {"TTL": "1h", "Status": "passing"}}))
        .await;
    let services = lone.get("/v1/agent/services").await.ok();
    assert_eq!(services.keys(), ["web"]);
    lone.get("/v1/agent/health/service/name/web").await.ok();
    let stats = lone.get("/v1/agent/self").await.ok();
    assert_eq!(stats.str("/Stats/consul/server"), "false");
    assert_eq!(stats.str("/Stats/consul/known_servers"), "0");
    assert!(stats.at("/Stats/raft").is_null() && stats.at("/Stats/serf_wan").is_null());
    // And reaches the catalog when there is one.
    let server = Agent::build_server(&folder.join("server"))
        .config(json!({"node_name": "server"}))
        .start()
        .await;
    let join = format!("/v1/agent/join/{}", server.gossip_address());
    lone.put(&join, ()).await.ok();
    server
        .get_until("/v1/health/service/web?passing", |r| r.rows().len() == 1)
        .await;
    lone.get_until("/v1/kv/?keys", |r| r.status == 200).await;
}
