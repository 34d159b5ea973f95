//! Sessions: `/v1/session/`.

use lictor_tests::{Agent, Value, json, until_for};
use std::time::{Duration, Instant};

async fn create(agent: &Agent, body: Value) -> String {
    let made = agent.put("/v1/session/create", body).await.ok();
    made.str("/ID").to_owned()
}

#[tokio::test]
async fn a_session_lives() {
    let agent = Agent::dev().await;
    let id = create(
        &agent,
        json!({"Name": "lock", "LockDelay": "5s", "Behavior": "delete"}),
    )
    .await;
    let info = agent.get(&format!("/v1/session/info/{id}")).await.ok();
    for (pointer, value) in [
        ("/0/ID", json!(id)),
        ("/0/Name", json!("lock")),
        ("/0/Node", json!("lictor-test")),
        ("/0/LockDelay", json!(5_000_000_000_u64)),
        ("/0/Behavior", json!("delete")),
        ("/0/TTL", json!("")),
        ("/0/NodeChecks", json!(["serfHealth"])),
    ] {
        assert_eq!(info.at(pointer), &value, "{pointer}");
    }
    assert_eq!(
        agent.get("/v1/session/list").await.ok().column("/ID"),
        [id.as_str()]
    );
    let on_node = agent.get("/v1/session/node/lictor-test").await.ok();
    assert_eq!(on_node.column("/ID"), [id.as_str()]);
    assert_eq!(
        agent.get("/v1/session/node/other").await.ok().json,
        json!([])
    );

    let destroy = format!("/v1/session/destroy/{id}");
    assert_eq!(agent.put(&destroy, ()).await.ok().json, json!(true));
    assert_eq!(
        agent.get(&format!("/v1/session/info/{id}")).await.ok().json,
        json!([])
    );
    assert_eq!(
        agent.put(&destroy, ()).await.ok().json,
        json!(true),
        "a second time"
    );
}

#[tokio::test]
async fn what_is_not_said_has_defaults() {
    let agent = Agent::dev().await;
    let made = agent.put("/v1/session/create", ()).await.ok();
    let info = agent
        .get(&format!("/v1/session/info/{}", made.str("/ID")))
        .await
        .ok();
    assert_eq!(info.at("/0/LockDelay"), &json!(15_000_000_000_u64));
    assert_eq!(info.str("/0/Behavior"), "release");
    for (said, kept) in [
        (json!(7), 7_000_000_000_u64),
        (json!("2m"), 120_000_000_000),
    ] {
        let id = create(&agent, json!({"LockDelay": said})).await;
        let info = agent.get(&format!("/v1/session/info/{id}")).await.ok();
        assert_eq!(info.at("/0/LockDelay"), &json!(kept));
    }
}

#[tokio::test]
async fn wrong_sessions_are_refused() {
    let agent = Agent::dev().await;
    let refused = async |body: Value, text: &str| {
        agent
            .put("/v1/session/create", body)
            .await
            .refused(500, text);
    };
    refused(
        json!({"Behavior": "explode"}),
        "Invalid Behavior setting 'explode'",
    )
    .await;
    refused(
        json!({"TTL": "1s"}),
        "Invalid Session TTL '1000000000', must be between [10s=24h0m0s]",
    )
    .await;
    refused(
        json!({"TTL": "48h"}),
        "Invalid Session TTL '172800000000000', must be between [10s=24h0m0s]",
    )
    .await;
    refused(
        json!({"Node": "nobody"}),
        "apply failed: Missing node registration",
    )
    .await;
    refused(
        json!({"Checks": ["nope"]}),
        "apply failed: Missing check 'nope' registration",
    )
    .await;
    agent.put("/v1/session/create", "{").await.expect(400);
    agent
        .put("/v1/session/create", json!({"LockDelay": "soon"}))
        .await
        .expect(400);
    agent
        .put("/v1/session/destroy/", ())
        .await
        .refused(400, "Missing session");
    let nobody = "00000000-1111-2222-3333-444444444444";
    agent
        .put(&format!("/v1/session/renew/{nobody}"), ())
        .await
        .refused(404, &format!("Session id '{nobody}' not found"));
    assert_eq!(agent.get("/v1/session/list").await.ok().json, json!([]));
}

#[tokio::test]
async fn the_end_of_a_session_frees_or_deletes_what_it_held() {
    let agent = Agent::dev().await;
    for behavior in ["release", "delete"] {
        let id = create(&agent, json!({"Behavior": behavior, "LockDelay": "0s"})).await;
        let key = format!("/v1/kv/{behavior}");
        agent.put(&format!("{key}?acquire={id}"), "v").await.ok();
        agent
            .put(&format!("/v1/session/destroy/{id}"), ())
            .await
            .ok();
        if behavior == "delete" {
            agent.get(&key).await.expect(404);
        } else {
            assert_eq!(agent.get(&key).await.ok().at("/0/Session"), &Value::Null);
        }
    }
}

/// Consul's promise: not before the TTL, and at twice the TTL at the latest.
#[tokio::test]
async fn a_session_with_a_ttl_ends_between_one_and_two_of_it() {
    let agent = Agent::dev().await;
    let start = Instant::now();
    let id = create(&agent, json!({"TTL": "10s", "LockDelay": "0s"})).await;
    agent
        .put(&format!("/v1/kv/ttl?acquire={id}"), "v")
        .await
        .ok();
    until_for(Duration::from_secs(40), "the session's end", async || {
        (agent.get("/v1/session/list").await.ok().json == json!([])).then_some(())
    })
    .await;
    let took = start.elapsed();
    assert!(took >= Duration::from_secs(10), "ended after {took:?}");
    assert_eq!(
        agent.get("/v1/kv/ttl").await.ok().at("/0/Session"),
        &Value::Null
    );
}

#[tokio::test]
async fn renewing_gives_the_session() {
    let agent = Agent::dev().await;
    let id = create(&agent, json!({"TTL": "10s"})).await;
    let renewed = agent.put(&format!("/v1/session/renew/{id}"), ()).await.ok();
    assert_eq!((renewed.str("/0/ID"), renewed.str("/0/TTL")), (&*id, "10s"));
}

#[tokio::test]
async fn after_an_invalidation_the_lock_delay_holds() {
    let agent = Agent::dev().await;
    let first = create(&agent, json!({"LockDelay": "1s"})).await;
    let second = create(&agent, json!({"LockDelay": "0s"})).await;
    let acquire = format!("/v1/kv/delayed?acquire={second}");
    agent
        .put(&format!("/v1/kv/delayed?acquire={first}"), "v")
        .await
        .ok();
    agent
        .put(&format!("/v1/session/destroy/{first}"), ())
        .await
        .ok();
    let destroyed = Instant::now();
    assert_eq!(agent.put(&acquire, "v").await.ok().json, json!(false));
    until_for(
        Duration::from_secs(20),
        "the end of the lock-delay",
        async || (agent.put(&acquire, "v").await.ok().json == json!(true)).then_some(()),
    )
    .await;
    // The delay began before its answer came, by no more than the answer took.
    assert!(
        destroyed.elapsed() > Duration::from_millis(800),
        "{:?}",
        destroyed.elapsed()
    );

    let third = create(&agent, json!({"LockDelay": "10s"})).await;
    agent
        .put(&format!("/v1/kv/free?acquire={third}"), "v")
        .await
        .ok();
    agent
        .put(&format!("/v1/kv/free?release={third}"), "v")
        .await
        .ok();
    let taken = agent
        .put(&format!("/v1/kv/free?acquire={second}"), "v")
        .await
        .ok();
    assert_eq!(taken.json, json!(true), "no delay after a release");
}

#[tokio::test]
async fn a_critical_check_ends_the_sessions_that_name_it() {
    let agent = Agent::dev().await;
    let check = json!({"ID": "sc", "Name": "sc", "TTL": "1h", "Status": "passing"});
    agent.put("/v1/agent/check/register", check).await.ok();
    agent
        .get_until("/v1/health/node/lictor-test", |r| r.rows().len() == 2)
        .await;
    let id = create(&agent, json!({"Checks": ["serfHealth", "sc"]})).await;
    agent
        .put(&format!("/v1/kv/sc?acquire={id}"), "v")
        .await
        .ok();

    agent.put("/v1/agent/check/warn/sc", ()).await.ok();
    agent
        .get_until("/v1/health/state/warning", |r| r.rows().len() == 1)
        .await;
    assert_eq!(
        agent.get("/v1/session/list").await.ok().rows().len(),
        1,
        "a warning leaves it"
    );

    agent.put("/v1/agent/check/fail/sc", ()).await.ok();
    agent
        .get_until("/v1/session/list", |r| r.json == json!([]))
        .await;
    assert_eq!(
        agent.get("/v1/kv/sc").await.ok().at("/0/Session"),
        &Value::Null
    );
    agent
        .put("/v1/session/create", json!({"Checks": ["sc"]}))
        .await
        .refused(500, "apply failed: Check 'sc' is in critical state");
}
