//! Two datacenters that know each other through the WAN pool.

use lictor_tests::{Agent, Folder, json, until};
use std::time::{Duration, Instant};

struct World {
    one: Agent,
    two: Agent,
    client: Agent,
    _folder: Folder,
}

/// The address of a server in the WAN pool.
async fn wan_address(server: &Agent) -> String {
    let members = server.get("/v1/agent/members?wan=1").await.ok();
    format!("127.0.0.1:{}", members.number("/0/Port"))
}

/// A server in each of two datacenters, and a client agent in the first.
async fn world() -> World {
    let folder = Folder::new();
    let one = Agent::build_server(&folder.join("one"))
        .config(json!({"node_name": "one"}))
        .start()
        .await;
    let two = Agent::build_server(&folder.join("two"))
        .config(json!({
            "node_name": "two",
            "datacenter": "dc2",
            "retry_join_wan": [wan_address(&one).await],
            "retry_interval_wan": "500ms",
        }))
        .start()
        .await;
    let client = Agent::build_with(Vec::new(), &folder.join("client"))
        .config(json!({
            "node_name": "client",
            "retry_join": [one.gossip_address().to_string()],
            "retry_interval": "500ms",
        }))
        .start()
        .await;
    for agent in [&one, &two, &client] {
        until("both datacenters are known", async || {
            let known = agent.try_get("/v1/catalog/datacenters").await?;
            (known.json.as_array()?.len() == 2).then_some(())
        })
        .await;
    }
    World {
        one,
        two,
        client,
        _folder: folder,
    }
}

#[tokio::test]
async fn a_datacenter_is_read_and_written_from_another() {
    let w = world().await;
    let own = w.one.get("/v1/catalog/datacenters").await.ok();
    assert_eq!(own.json, json!(["dc1", "dc2"]));
    let own = w.two.get("/v1/catalog/datacenters").await.ok();
    assert_eq!(own.json, json!(["dc2", "dc1"]));

    for agent in [&w.one, &w.client] {
        assert_eq!(
            agent.put("/v1/kv/k?dc=dc2", "there").await.ok().text.trim(),
            "true"
        );
        assert_eq!(agent.get("/v1/kv/k?dc=dc2&raw").await.ok().text, "there");
        agent.get("/v1/kv/k").await.expect(404);
        assert_eq!(w.two.get("/v1/kv/k?raw").await.ok().text, "there");
        let cas = agent.put("/v1/kv/k?dc=dc2&cas=0", "no").await.ok();
        assert_eq!(cas.text.trim(), "false");

        let body = json!({"Node": "two", "Checks": []});
        let session = agent.put("/v1/session/create?dc=dc2", body).await.ok();
        let id = session.str("/ID").to_owned();
        w.two.get(&format!("/v1/session/info/{id}")).await.ok();
        let path = format!("/v1/session/renew/{id}?dc=dc2");
        assert_eq!(agent.put(&path, ()).await.ok().str("/0/ID"), id);
        let path = format!("/v1/session/destroy/{id}?dc=dc2");
        agent.put(&path, ()).await.ok();

        let txn = json!([{"KV": {"Verb": "delete", "Key": "k"}}]);
        agent.put("/v1/txn?dc=dc2", txn).await.ok();
        w.two.get("/v1/kv/k").await.expect(404);

        let leader = agent.get("/v1/status/leader?dc=dc2").await.ok();
        assert_eq!(leader.json, w.two.get("/v1/status/leader").await.ok().json);

        let nodes = agent.get("/v1/catalog/nodes?dc=dc2").await.ok();
        assert_eq!(nodes.column("/Node"), ["two"]);
        assert_eq!(nodes.column("/Datacenter"), ["dc2"]);
        let nodes = agent.get("/v1/catalog/nodes").await.ok();
        assert!(!nodes.column("/Node").contains(&"two".to_owned()));
    }
    let service = json!({"Datacenter": "dc2", "Node": "far", "Address": "10.9.8.7",
        "Service": {"Service": "web", "Port": 80}});
    w.client.put("/v1/catalog/register", service).await.ok();
    for agent in [&w.one, &w.client] {
        let web = agent.get("/v1/health/service/web?dc=dc2").await.ok();
        assert_eq!(web.column("/Node/Node"), ["far"]);
        let none = agent.get("/v1/health/service/web").await.ok();
        assert!(none.rows().is_empty());
        let answer = agent.dns("web.service.dc2.consul", "A").await;
        answer.gives(&["10.9.8.7"]);
        let answer = agent.dns("far.node.dc2.consul", "A").await;
        answer.gives(&["10.9.8.7"]);
        let none = agent.dns("web.service.consul", "A").await;
        none.nothing("NXDOMAIN");
    }
}

#[tokio::test]
async fn a_blocking_query_waits_in_the_other_datacenter() {
    let w = world().await;
    for (n, agent) in [&w.one, &w.client].into_iter().enumerate() {
        w.two.put(&format!("/v1/kv/k{n}"), "old").await.ok();
        let path = format!("/v1/kv/k{n}?dc=dc2&raw");
        let index = agent.get(&path).await.ok().index();
        let begun = Instant::now();
        let waiting = agent.wait_on(&path, index);
        // Whether it has begun to wait or not: the change is seen.
        w.two.put(&format!("/v1/kv/k{n}"), "new").await.ok();
        assert_eq!(waiting.await.expect("an answer").text, "new");
        assert!(begun.elapsed() < Duration::from_secs(30));
    }
}

#[tokio::test]
async fn a_datacenter_without_a_way_to_it_is_refused_as_consul_does() {
    let w = world().await;
    for path in [
        "/v1/kv/k?dc=nowhere",
        "/v1/catalog/nodes?dc=nowhere",
        "/v1/session/list?dc=nowhere",
    ] {
        w.one.get(path).await.refused(500, "No path to datacenter");
        let told = "rpc error making call: No path to datacenter";
        w.client.get(path).await.refused(500, told);
    }
    let told = w.one.put("/v1/kv/k?dc=nowhere", "v").await;
    told.refused(500, "No path to datacenter");

    // Known, and nobody is there any more.
    let World {
        one,
        two,
        client,
        _folder,
    } = w;
    two.put("/v1/agent/leave", ()).await.ok();
    until("the other datacenter is seen as left", async || {
        let reply = one.try_get("/v1/kv/k?dc=dc2").await?;
        let gone = "Remote DC has no server currently reachable";
        (reply.status == 500 && reply.text.contains(gone)).then_some(())
    })
    .await;
    let reply = client.get("/v1/kv/k?dc=dc2").await;
    let gone = "rpc error making call: Remote DC has no server currently reachable";
    reply.refused(500, gone);
}
