//! The catalog: `/v1/catalog/`.

use lictor_tests::{Agent, Method, Value, json};

#[tokio::test]
async fn a_node_lives() {
    let agent = Agent::dev().await;
    let facts = json!({"NodeMeta": {"zone": "a"},
                       "TaggedAddresses": {"lan": "10.0.0.1", "wan": "1.2.3.4"}});
    agent.external("far", "10.0.0.1", facts).await;
    let node = agent.get("/v1/catalog/node/far").await.ok();
    let index = node.number("/Node/CreateIndex");
    assert_eq!(
        node.json,
        json!({"Node": {"ID": "", "Node": "far", "Address": "10.0.0.1", "Datacenter": "dc1",
                        "TaggedAddresses": {"lan": "10.0.0.1", "wan": "1.2.3.4"},
                        "Meta": {"zone": "a"}, "CreateIndex": index, "ModifyIndex": index},
               "Services": {}})
    );
    assert_eq!(agent.get("/v1/health/node/far").await.ok().json, json!([]));

    agent.external("far", "10.0.0.2", json!({})).await;
    let moved = agent.get("/v1/catalog/node/far").await.ok();
    assert_eq!(
        (
            moved.str("/Node/Address"),
            moved.number("/Node/CreateIndex")
        ),
        ("10.0.0.2", index)
    );
    assert!(moved.number("/Node/ModifyIndex") > index);
    assert_eq!(
        moved.at("/Node/Meta"),
        &Value::Null,
        "a registration replaces the whole node"
    );

    let gone = agent
        .put("/v1/catalog/deregister", json!({"Node": "far"}))
        .await
        .ok();
    assert_eq!(gone.json, json!(true));
    assert_eq!(
        agent.get("/v1/catalog/node/far").await.ok().json,
        Value::Null
    );
    let again = agent
        .put("/v1/catalog/deregister", json!({"Node": "far"}))
        .await
        .ok();
    assert_eq!(again.json, json!(true));
}

#[tokio::test]
async fn a_service_lives_on_its_node() {
    let agent = Agent::dev().await;
    agent
        .external(
            "far",
            "10.0.0.2",
            json!({
                "Service": {"ID": "db-1", "Service": "db", "Tags": ["primary", "v8"], "Port": 5432,
                            "Address": "10.0.9.9", "Meta": {"m": "1"}},
                "Check": {"Node": "far", "CheckID": "service:db-1", "Name": "db",
                          "ServiceID": "db-1", "Status": "passing", "Notes": "n", "Output": "o"},
            }),
        )
        .await;
    let services = agent.get("/v1/catalog/services").await.ok();
    assert_eq!(
        services.json,
        json!({"consul": [], "db": ["primary", "v8"]})
    );
    let rows = agent.get("/v1/catalog/service/db").await.ok();
    assert_eq!(rows.rows().len(), 1);
    for (pointer, value) in [
        ("/0/Node", json!("far")),
        ("/0/Address", json!("10.0.0.2")),
        ("/0/Datacenter", json!("dc1")),
        ("/0/ServiceID", json!("db-1")),
        ("/0/ServiceName", json!("db")),
        ("/0/ServiceAddress", json!("10.0.9.9")),
        ("/0/ServicePort", json!(5432)),
        ("/0/ServiceTags", json!(["primary", "v8"])),
        ("/0/ServiceMeta", json!({"m": "1"})),
        ("/0/ServiceWeights", json!({"Passing": 1, "Warning": 1})),
        ("/0/ServiceEnableTagOverride", json!(false)),
    ] {
        assert_eq!(rows.at(pointer), &value, "{pointer}");
    }
    let listed = agent.get("/v1/catalog/node-services/far").await.ok();
    assert_eq!(
        (listed.str("/Node/Node"), listed.str("/Services/0/ID")),
        ("far", "db-1")
    );

    let remove = async |what: Value| agent.put("/v1/catalog/deregister", what).await.ok();
    remove(json!({"Node": "far", "CheckID": "service:db-1"})).await;
    assert_eq!(agent.get("/v1/health/checks/db").await.ok().json, json!([]));
    remove(json!({"Node": "far", "ServiceID": "db-1"})).await;
    assert_eq!(
        agent.get("/v1/catalog/service/db").await.ok().json,
        json!([])
    );
    assert_eq!(
        agent
            .get("/v1/catalog/node/far")
            .await
            .ok()
            .str("/Node/Node"),
        "far"
    );
}

#[tokio::test]
async fn removing_a_node_takes_all_of_it() {
    let agent = Agent::dev().await;
    let service = json!({"ID": "a", "Service": "web", "Port": 1});
    let check = json!({"CheckID": "c", "Name": "c", "Status": "passing", "ServiceID": "a"});
    agent
        .external(
            "far",
            "10.0.0.2",
            json!({"Service": service, "Check": check}),
        )
        .await;
    agent
        .put("/v1/catalog/deregister", json!({"Node": "far"}))
        .await
        .ok();
    assert_eq!(
        agent.get("/v1/catalog/service/web").await.ok().json,
        json!([])
    );
    assert_eq!(
        agent.get("/v1/health/checks/web").await.ok().json,
        json!([])
    );
    assert_eq!(
        agent.get("/v1/catalog/services").await.ok().json,
        json!({"consul": []})
    );
}

#[tokio::test]
async fn reads_narrow_by_tag_and_by_node_meta() {
    let agent = Agent::dev().await;
    for (node, zone, color) in [("n-a", "a", "blue"), ("n-b", "b", "green")] {
        let service = json!({"ID": node, "Service": "web", "Tags": [color, "v1"], "Port": 1});
        let facts = json!({"NodeMeta": {"zone": zone, "os": "x"}, "Service": service});
        agent.external(node, "10.0.1.1", facts).await;
    }
    let nodes = async |query: &str| {
        agent
            .get(&format!("/v1/catalog/service/web{query}"))
            .await
            .ok()
            .column("/Node")
    };
    assert_eq!(nodes("").await, ["n-a", "n-b"]);
    assert_eq!(nodes("?tag=green").await, ["n-b"]);
    assert_eq!(nodes("?tag=v1&tag=blue").await, ["n-a"]);
    assert_eq!(nodes("?tag=none").await, [""; 0]);
    assert_eq!(nodes("?node-meta=zone:b").await, ["n-b"]);
    let listed = agent
        .get("/v1/catalog/nodes?node-meta=os:x&node-meta=zone:a")
        .await
        .ok();
    assert_eq!(listed.column("/Node"), ["n-a"]);
    let services = agent
        .get("/v1/catalog/services?node-meta=zone:b")
        .await
        .ok();
    assert_eq!(services.json, json!({"web": ["green", "v1"]}));
    assert_eq!(
        agent.get("/v1/catalog/datacenters").await.ok().json,
        json!(["dc1"])
    );
    agent
        .get("/v1/catalog/nodes?dc=nowhere")
        .await
        .refused(500, "No path to datacenter");
    agent
        .get("/v1/catalog/service/")
        .await
        .refused(400, "Missing service name");
    agent
        .get("/v1/catalog/node/")
        .await
        .refused(400, "Missing node name");
}

#[tokio::test]
async fn wrong_registrations_are_refused_and_leave_nothing() {
    let agent = Agent::dev().await;
    let refused = async |body: Value, status: u16, text: &str| {
        agent
            .put("/v1/catalog/register", body)
            .await
            .refused(status, text);
    };
    refused(json!({}), 500, "Must provide node").await;
    let text = "Must provide address if SkipNodeUpdate is not set";
    refused(json!({"Node": "x"}), 500, text).await;
    refused(
        json!({"Node": "x", "Address": "1.1.1.1", "Service": {"ID": "only-id"}}),
        500,
        "Must provide service name (Service.Service) when service ID is provided",
    )
    .await;
    refused(
        json!({"Node": "x", "Address": "1.1.1.1",
               "Check": {"Name": "c", "Status": "passing", "ServiceID": "nope"}}),
        500,
        "Unknown service ID 'nope' for check ID 'c'",
    )
    .await;
    agent.put("/v1/catalog/register", "{oops").await.expect(400);
    agent
        .put("/v1/catalog/deregister", json!({}))
        .await
        .refused(500, "Must provide node");
    agent.put("/v1/catalog/deregister", "[").await.expect(400);
    let got = agent.get("/v1/catalog/register").await.expect(405);
    assert_eq!(got.header("allow"), Some("OPTIONS,PUT"));
    agent
        .request(Method::POST, "/v1/catalog/services", ())
        .await
        .expect(405);
    assert_eq!(
        agent.get("/v1/catalog/nodes").await.ok().column("/Node"),
        ["lictor-test"]
    );
}

#[tokio::test]
async fn a_node_with_an_id_can_take_another_name() {
    let agent = Agent::dev().await;
    let id = json!({"ID": "aaaaaaaa-0000-0000-0000-000000000001"});
    agent.external("first", "10.0.2.1", id.clone()).await;
    agent.external("second", "10.0.2.2", id).await;
    let names = agent.get("/v1/catalog/nodes").await.ok().column("/Node");
    assert_eq!(names, ["lictor-test", "second"]);
}

#[tokio::test]
async fn registering_what_is_so_moves_no_index() {
    let agent = Agent::dev().await;
    let body = json!({"Service": {"ID": "w", "Service": "web", "Port": 1, "Tags": ["a"]},
                      "Check": {"CheckID": "c", "Name": "c", "Status": "passing"}});
    agent.external("far", "10.0.0.1", body.clone()).await;
    let indexes = async || {
        let mut all = Vec::new();
        for path in [
            "/v1/catalog/nodes",
            "/v1/catalog/service/web",
            "/v1/health/service/web",
        ] {
            all.push(agent.get(path).await.ok().index());
        }
        all
    };
    let before = indexes().await;
    agent.external("far", "10.0.0.1", body).await;
    assert_eq!(indexes().await, before);
}

#[tokio::test]
async fn proxies_are_found_by_what_they_stand_for() {
    let agent = Agent::dev().await;
    agent
        .external(
            "n",
            "10.0.3.1",
            json!({"Service": {"Service": "api", "Port": 80}}),
        )
        .await;
    let proxy = json!({"Kind": "connect-proxy", "ID": "api-px", "Service": "api-px", "Port": 81,
                       "Proxy": {"DestinationServiceName": "api"}});
    agent
        .external("n", "10.0.3.1", json!({"Service": proxy}))
        .await;
    let found = agent.get("/v1/catalog/connect/api").await.ok();
    assert_eq!(found.column("/ServiceID"), ["api-px"]);
    let healthy = agent.get("/v1/health/connect/api").await.ok();
    assert_eq!(healthy.column("/Service/Kind"), ["connect-proxy"]);
    assert_eq!(
        agent.get("/v1/catalog/connect/nothing").await.ok().json,
        json!([])
    );
}
