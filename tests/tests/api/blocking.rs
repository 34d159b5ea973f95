//! Reads that wait: what wakes them, what does not, and with which index.

use lictor_tests::{Agent, Value, json};
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// Waits on a path, makes the change once the wait is known to the agent, and gives the answer.
async fn woken(agent: &Agent, path: &str, change: impl AsyncFnOnce()) -> lictor_tests::Reply {
    let before = agent.get(path).await.index();
    let waiting = agent.wait_on(path, before);
    settle(agent).await;
    assert!(!waiting.is_finished(), "{path} did not wait");
    change().await;
    let reply = timeout(Duration::from_secs(10), waiting).await;
    let reply = reply
        .unwrap_or_else(|_| panic!("{path} was not woken"))
        .expect("an answer");
    assert!(
        reply.index() > before,
        "{path}: {} after {before}",
        reply.index()
    );
    reply
}

/// Waits on a path, makes a change, and fails if that wakes it. A second change that must wake it
/// shows that it did wait.
async fn not_woken(agent: &Agent, path: &str, other: impl AsyncFnOnce(), own: impl AsyncFnOnce()) {
    let before = agent.get(path).await.index();
    let waiting = agent.wait_on(path, before);
    settle(agent).await;
    other().await;
    settle(agent).await;
    assert!(!waiting.is_finished(), "{path} was woken");
    own().await;
    let woken = timeout(Duration::from_secs(10), waiting).await;
    woken
        .unwrap_or_else(|_| panic!("{path} did not wait"))
        .expect("an answer");
}

/// A few whole exchanges with the agent: what was sent before has been looked at by then.
async fn settle(agent: &Agent) {
    for _ in 0..10 {
        agent.get("/v1/status/leader").await.ok();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn service(agent: &Agent, node: &str, name: &str, port: u16) {
    agent
        .external(
            node,
            "10.0.0.1",
            json!({"Service": {"Service": name, "Port": port}}),
        )
        .await;
}

async fn check(agent: &Agent, node: &str, status: &str) {
    let check = json!({"CheckID": "k", "Name": "k", "Status": status});
    agent
        .external(node, "10.0.0.1", json!({"Check": check}))
        .await;
}

#[tokio::test]
async fn a_key_is_waited_for() {
    let agent = Agent::dev().await;
    let path = "/v1/kv/a";
    agent.put(path, "1").await.ok();
    let written = woken(&agent, path, async || drop(agent.put(path, "2").await.ok())).await;
    assert_eq!(written.str("/0/Value"), "Mg==");
    let gone = woken(&agent, path, async || drop(agent.delete(path).await.ok())).await;
    assert_eq!(gone.status, 404);
    let born = woken(&agent, path, async || drop(agent.put(path, "3").await.ok())).await;
    assert_eq!(born.status, 200, "a missing key is waited for, too");
}

#[tokio::test]
async fn a_prefix_is_waited_for_and_its_neighbours_are_not() {
    let agent = Agent::dev().await;
    agent.put("/v1/kv/x/1", "1").await.ok();
    let list = "/v1/kv/x/?recurse";
    let grown = woken(&agent, list, async || {
        drop(agent.put("/v1/kv/x/2", "2").await.ok())
    })
    .await;
    assert_eq!(grown.column("/Key"), ["x/1", "x/2"]);
    let keys = "/v1/kv/x/?keys";
    let shrunk = woken(&agent, keys, async || {
        drop(agent.delete("/v1/kv/x/1").await.ok())
    })
    .await;
    assert_eq!(shrunk.json, json!(["x/2"]));
    not_woken(
        &agent,
        list,
        async || drop(agent.put("/v1/kv/y", "1").await.ok()),
        async || drop(agent.put("/v1/kv/x/3", "3").await.ok()),
    )
    .await;
}

#[tokio::test]
async fn services_are_waited_for() {
    let agent = Agent::dev().await;
    let list = "/v1/catalog/services";
    let listed = woken(&agent, list, async || service(&agent, "n", "web", 1).await).await;
    assert_eq!(listed.keys(), ["consul", "web"]);
    let path = "/v1/catalog/service/web";
    let moved = woken(&agent, path, async || service(&agent, "n", "web", 2).await).await;
    assert_eq!(moved.at("/0/ServicePort"), &json!(2));
    let path = "/v1/health/service/web?passing";
    let failed = woken(&agent, path, async || check(&agent, "n", "critical").await).await;
    assert_eq!(failed.json, json!([]));
    let path = "/v1/health/service/later";
    let born = woken(&agent, path, async || {
        service(&agent, "n", "later", 1).await
    })
    .await;
    assert_eq!(born.rows().len(), 1, "a service nobody knew");
}

#[tokio::test]
async fn a_change_of_another_service_wakes_nobody() {
    let agent = Agent::dev().await;
    service(&agent, "n", "web", 1).await;
    service(&agent, "m", "db", 1).await;
    for path in ["/v1/health/service/web", "/v1/catalog/service/web"] {
        let port = if path.contains("health") { 2 } else { 3 };
        not_woken(
            &agent,
            path,
            async || service(&agent, "m", "db", port).await,
            async || service(&agent, "n", "web", port).await,
        )
        .await;
    }
}

#[tokio::test]
async fn registering_the_same_again_wakes_nobody() {
    let agent = Agent::dev().await;
    service(&agent, "n", "web", 1).await;
    not_woken(
        &agent,
        "/v1/health/service/web",
        async || service(&agent, "n", "web", 1).await,
        async || service(&agent, "n", "web", 2).await,
    )
    .await;
}

#[tokio::test]
async fn removals_wake() {
    let agent = Agent::dev().await;
    service(&agent, "n", "web", 1).await;
    let remove = async |what: Value| drop(agent.put("/v1/catalog/deregister", what).await.ok());
    let path = "/v1/health/service/web";
    let last = json!({"Node": "n", "ServiceID": "web"});
    assert_eq!(
        woken(&agent, path, async || remove(last).await).await.json,
        json!([])
    );
    let path = "/v1/catalog/nodes";
    let node = json!({"Node": "n"});
    let left = woken(&agent, path, async || remove(node).await).await;
    assert_eq!(left.column("/Node"), ["lictor-test"]);
}

#[tokio::test]
async fn states_nodes_and_sessions_are_waited_for() {
    let agent = Agent::dev().await;
    let path = "/v1/health/state/critical";
    let critical = woken(&agent, path, async || check(&agent, "n", "critical").await).await;
    assert_eq!(critical.column("/CheckID"), ["k"]);
    let path = "/v1/health/node/n";
    let well = woken(&agent, path, async || check(&agent, "n", "passing").await).await;
    assert_eq!(well.column("/Status"), ["passing"]);
    let path = "/v1/catalog/node/n";
    let more = woken(&agent, path, async || service(&agent, "n", "web", 1).await).await;
    assert!(more.at("/Services/web").is_object());
    let create = async || {
        drop(
            agent
                .put("/v1/session/create", json!({"Name": "s"}))
                .await
                .ok(),
        )
    };
    let sessions = woken(&agent, "/v1/session/list", create).await;
    assert_eq!(sessions.column("/Name"), ["s"]);
}

#[tokio::test]
async fn waiting_ends_in_time_with_the_same_index() {
    let agent = Agent::dev().await;
    agent.put("/v1/kv/a", "1").await.ok();
    let index = agent.get("/v1/kv/a").await.index();
    for (index, wait) in [(index, "300ms"), (index + 1000, "300ms")] {
        let start = Instant::now();
        let reply = agent
            .get(&format!("/v1/kv/a?index={index}&wait={wait}"))
            .await
            .ok();
        assert!(
            start.elapsed() >= Duration::from_millis(300),
            "{:?}",
            start.elapsed()
        );
        assert_eq!(reply.index(), agent.get("/v1/kv/a").await.index());
    }
}

#[tokio::test]
async fn an_old_index_or_none_is_answered_at_once() {
    let agent = Agent::dev().await;
    agent.put("/v1/kv/a", "1").await.ok();
    for query in ["wait=20s", "index=0&wait=20s", "index=1&wait=20s"] {
        let reply = timeout(
            Duration::from_secs(5),
            agent.get(&format!("/v1/kv/a?{query}")),
        )
        .await;
        reply.unwrap_or_else(|_| panic!("{query} waited")).ok();
    }
}

#[tokio::test]
async fn wrong_waits_are_refused() {
    let agent = Agent::dev().await;
    agent
        .get("/v1/kv/a?index=abc")
        .await
        .refused(400, "Invalid index");
    agent
        .get("/v1/kv/a?index=-1")
        .await
        .refused(400, "Invalid index");
    agent
        .get("/v1/kv/a?index=5&wait=abc")
        .await
        .refused(400, "Invalid wait time");
}

#[tokio::test]
async fn one_change_wakes_all_who_wait_for_it() {
    let agent = Agent::dev().await;
    agent.put("/v1/kv/a", "1").await.ok();
    let index = agent.get("/v1/kv/a").await.index();
    let waiting: Vec<_> = (0..50).map(|_| agent.wait_on("/v1/kv/a", index)).collect();
    settle(&agent).await;
    agent.put("/v1/kv/a", "2").await.ok();
    for one in waiting {
        let reply = timeout(Duration::from_secs(10), one)
            .await
            .expect("woken")
            .expect("an answer");
        assert_eq!(reply.str("/0/Value"), "Mg==");
    }
}

/// The index of a service never goes back, whatever happens to it: a client would miss a change.
#[tokio::test]
async fn the_index_of_a_service_never_goes_back() {
    let agent = Agent::dev().await;
    let path = "/v1/health/service/web";
    let mut last = agent.get(path).await.index();
    for round in 0..3_u16 {
        let mut higher = async |what: &str| {
            let index = agent.get(path).await.index();
            assert!(index >= last, "{what}, round {round}: {index} after {last}");
            last = index;
        };
        service(&agent, "n", "web", round + 1).await;
        higher("registered").await;
        check(
            &agent,
            "n",
            if round % 2 == 0 {
                "critical"
            } else {
                "passing"
            },
        )
        .await;
        higher("checked").await;
        let gone = json!({"Node": "n", "ServiceID": "web"});
        agent.put("/v1/catalog/deregister", gone).await.ok();
        higher("removed").await;
        agent.put("/v1/kv/other", round.to_string()).await.ok();
        higher("something else").await;
    }
}
