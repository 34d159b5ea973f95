//! Health: `/v1/health/`.

use lictor_tests::{Agent, json};

async fn instance(agent: &Agent, node: &str, status: &str) {
    let service = json!({"ID": node, "Service": "web", "Port": 80, "Tags": ["all", status]});
    let check = json!({"CheckID": "c", "Name": "c", "Status": status, "ServiceID": node});
    let facts = json!({"NodeMeta": {"is": status}, "Service": service, "Check": check});
    agent.external(node, "10.2.0.1", facts).await;
}

#[tokio::test]
async fn checks_are_listed_by_state() {
    let agent = Agent::dev().await;
    for status in ["passing", "warning", "critical"] {
        let check = json!({"CheckID": status, "Name": status, "Status": status});
        agent
            .external(status, "10.0.0.1", json!({"Check": check}))
            .await;
    }
    let ids = async |state: &str| {
        agent
            .get(&format!("/v1/health/state/{state}"))
            .await
            .ok()
            .column("/CheckID")
    };
    assert_eq!(ids("warning").await, ["warning"]);
    assert_eq!(ids("critical").await, ["critical"]);
    let mut any = ids("any").await;
    any.sort();
    assert_eq!(any, ["critical", "passing", "serfHealth", "warning"]);
    agent
        .get("/v1/health/state/")
        .await
        .refused(400, "Missing check state");
}

#[tokio::test]
async fn instances_come_with_their_node_and_checks() {
    let agent = Agent::dev().await;
    instance(&agent, "n-1", "passing").await;
    let row = agent.get("/v1/health/service/web").await.ok();
    assert_eq!(row.str("/0/Node/Address"), "10.2.0.1");
    assert_eq!(row.at("/0/Service/Port"), &json!(80));
    assert_eq!(row.str("/0/Checks/0/CheckID"), "c");
    assert_eq!(row.str("/0/Checks/0/ServiceName"), "web");
    assert_eq!(
        row.at("/0/Checks/0/ServiceTags"),
        &json!(["all", "passing"])
    );
}

#[tokio::test]
async fn passing_leaves_out_all_that_does_not_pass() {
    let agent = Agent::dev().await;
    for status in ["passing", "warning", "critical"] {
        instance(&agent, status, status).await;
    }
    let nodes = async |query: &str| {
        let mut nodes = agent
            .get(&format!("/v1/health/service/web{query}"))
            .await
            .ok()
            .column("/Node/Node");
        nodes.sort();
        nodes
    };
    let all = ["critical", "passing", "warning"];
    assert_eq!(nodes("").await, all);
    assert_eq!(nodes("?passing").await, ["passing"]);
    assert_eq!(nodes("?passing=true").await, ["passing"]);
    assert_eq!(nodes("?passing=false").await, all);
    assert_eq!(nodes("?tag=warning").await, ["warning"]);
    assert_eq!(nodes("?tag=all&tag=passing").await, ["passing"]);
    assert_eq!(nodes("?node-meta=is:critical").await, ["critical"]);
    agent
        .get("/v1/health/service/web?passing=perhaps")
        .await
        .refused(400, "Invalid value for ?passing");
    agent
        .get("/v1/health/service/")
        .await
        .refused(400, "Missing service name");
}

#[tokio::test]
async fn a_check_of_the_node_counts_for_each_of_its_services() {
    let agent = Agent::dev().await;
    let node = async |status: &str| {
        let check = json!({"CheckID": "disk", "Name": "disk", "Status": status});
        agent
            .external("n", "10.0.0.1", json!({"Check": check}))
            .await;
        agent
            .get("/v1/health/service/web?passing")
            .await
            .ok()
            .rows()
            .len()
    };
    agent
        .external(
            "n",
            "10.0.0.1",
            json!({"Service": {"Service": "web", "Port": 1}}),
        )
        .await;
    assert_eq!(node("critical").await, 0);
    assert_eq!(node("passing").await, 1);
    let row = agent.get("/v1/health/service/web").await.ok();
    assert_eq!(row.str("/0/Checks/0/CheckID"), "disk");
    assert_eq!(
        agent.get("/v1/health/checks/web").await.ok().json,
        json!([])
    );
}

#[tokio::test]
async fn what_is_not_there_is_an_empty_list() {
    let agent = Agent::dev().await;
    for path in [
        "service/none",
        "checks/none",
        "node/none",
        "connect/none",
        "state/warning",
    ] {
        let empty = agent.get(&format!("/v1/health/{path}")).await.ok();
        assert_eq!(empty.json, json!([]), "{path}");
        assert!(empty.index() > 0, "{path}");
    }
}

#[tokio::test]
async fn the_agent_vouches_for_itself() {
    let agent = Agent::dev().await;
    let own = agent.get("/v1/health/node/lictor-test").await.ok();
    assert_eq!(own.str("/0/CheckID"), "serfHealth");
    assert_eq!(own.str("/0/Status"), "passing");
    assert_eq!(own.str("/0/Output"), "Agent alive and reachable");
    let server = agent.get("/v1/health/service/consul").await.ok();
    assert_eq!(server.column("/Node/Node"), ["lictor-test"]);
}
