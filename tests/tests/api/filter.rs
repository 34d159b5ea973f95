//! `?filter=` expressions, where they are read and how they fail.

use lictor_tests::{Agent, exchange, json};

fn escaped(expression: &str) -> String {
    lictor_client::encode_query(&[("filter", expression)])
}

async fn fleet() -> Agent {
    let agent = Agent::dev().await;
    for (i, (rack, env)) in [("a", "prod"), ("a", "test"), ("b", "prod")]
        .into_iter()
        .enumerate()
    {
        let status = if i == 0 { "warning" } else { "passing" };
        let id = format!("f{i}");
        let service = json!({"ID": id, "Service": "web", "Port": 80 + i, "Tags": [env],
                             "Meta": {"env": env}});
        let check =
            json!({"CheckID": format!("c{i}"), "Name": "c", "ServiceID": id, "Status": status});
        let more = json!({"NodeMeta": {"rack": rack}, "Service": service, "Check": check});
        agent
            .external(&format!("n{i}"), &format!("10.10.0.{i}"), more)
            .await;
    }
    agent
}

#[tokio::test]
async fn rows_are_chosen() {
    let agent = fleet().await;
    let rows = async |path: &str, pointer: &str, expression: &str| {
        agent
            .get(&format!("{path}?{}", escaped(expression)))
            .await
            .ok()
            .column(pointer)
    };
    for (expression, nodes) in [
        (r#"Meta.rack == "a""#, vec!["n0", "n1"]),
        (r#"Node != "n1" and Meta.rack == "a""#, vec!["n0"]),
        (r#"Node matches "^n[12]$""#, vec!["n1", "n2"]),
        (r#"rack in Meta and not Meta.rack == "a""#, vec!["n2"]),
    ] {
        assert_eq!(
            rows("/v1/catalog/nodes", "/Node", expression).await,
            nodes,
            "{expression}"
        );
    }
    for (expression, nodes) in [
        ("ServicePort == 81", vec!["n1"]),
        (r#""prod" in ServiceTags"#, vec!["n0", "n2"]),
        (
            r#"ServiceMeta.env == "prod" and NodeMeta.rack == "b""#,
            vec!["n2"],
        ),
    ] {
        assert_eq!(
            rows("/v1/catalog/service/web", "/Node", expression).await,
            nodes,
            "{expression}"
        );
    }
    for (expression, nodes) in [
        ("Service.Meta.env == prod", vec!["n0", "n2"]),
        ("Checks.Status == warning", vec!["n0"]),
        ("not Checks.Status == warning", vec!["n1", "n2"]),
    ] {
        let path = "/v1/health/service/web";
        assert_eq!(
            rows(path, "/Node/Node", expression).await,
            nodes,
            "{expression}"
        );
    }
    assert_eq!(
        rows("/v1/health/state/any", "/CheckID", "CheckID == c1").await,
        ["c1"]
    );
    assert_eq!(
        rows("/v1/health/node/n0", "/CheckID", "Status == passing").await,
        [""; 0]
    );
}

#[tokio::test]
async fn services_of_the_agent_are_chosen() {
    let agent = Agent::dev().await;
    agent
        .register(json!({"Name": "a", "Tags": ["x"], "Port": 1, "Check": {"TTL": "1h"}}))
        .await;
    agent.register(json!({"Name": "b", "Port": 2})).await;
    let keys = async |path: &str, expression: &str| {
        agent
            .get(&format!("{path}?{}", escaped(expression)))
            .await
            .ok()
            .keys()
    };
    assert_eq!(keys("/v1/agent/services", "x in Tags").await, ["a"]);
    assert_eq!(
        keys("/v1/agent/services", "Port == 1 or Service == b").await,
        ["a", "b"]
    );
    assert_eq!(
        keys("/v1/agent/checks", "Status == critical").await,
        ["service:a"]
    );
    assert_eq!(keys("/v1/agent/checks", "Status == passing").await, [""; 0]);
}

#[tokio::test]
async fn wrong_expressions_are_refused_even_where_nothing_is() {
    let agent = Agent::dev().await;
    let prefix = "Failed to create boolean expression evaluator: ";
    for expression in [
        "Node ==",
        "NoSuchField == x",
        "Node matches \"[\"",
        "Node == x AND Node == y",
    ] {
        for path in ["/v1/catalog/nodes", "/v1/health/state/critical"] {
            let reply = agent
                .get(&format!("{path}?{}", escaped(expression)))
                .await
                .expect(500);
            assert!(
                reply.text.starts_with(prefix),
                "{expression}: {}",
                reply.text
            );
        }
    }
    let reply = agent.get("/v1/catalog/nodes?filter=").await.ok();
    assert_eq!(reply.rows().len(), 1, "an empty expression chooses all");
}

/// Deep nesting must not end the process.
#[tokio::test]
async fn a_deeply_nested_expression_is_survived() {
    let agent = Agent::dev().await;
    for depth in [50, 5_000] {
        let expression = format!("{}Node == x{}", "(".repeat(depth), ")".repeat(depth));
        let reply = agent
            .get(&format!("/v1/catalog/nodes?{}", escaped(&expression)))
            .await;
        assert!(
            [200, 500].contains(&reply.status),
            "{depth}: {}",
            reply.status
        );
        let expression = format!("{}Node == x", "not ".repeat(depth));
        let reply = agent
            .get(&format!("/v1/catalog/nodes?{}", escaped(&expression)))
            .await;
        assert!(
            [200, 500].contains(&reply.status),
            "{depth}: {}",
            reply.status
        );
    }
    // More than clients send: unescaped, a few hundred kilobytes.
    let deep = format!("{}Node==x{}", "(".repeat(150_000), ")".repeat(150_000));
    let request = format!(
        "GET /v1/catalog/nodes?filter={deep} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    );
    let text = exchange(agent.http_address(), request.as_bytes()).await;
    assert!(
        text.starts_with("HTTP/1.1 "),
        "{}",
        &text[..text.len().min(100)]
    );
    agent.get("/v1/status/leader").await.ok();
}
