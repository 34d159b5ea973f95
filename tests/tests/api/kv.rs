//! The key/value store: `/v1/kv/`.

use lictor_tests::{Agent, Method, Value, json};

async fn keys(agent: &Agent, path: &str) -> Value {
    agent.get(path).await.ok().json
}

async fn session(agent: &Agent) -> String {
    let made = agent
        .put("/v1/session/create", json!({"LockDelay": "0s"}))
        .await
        .ok();
    made.str("/ID").to_owned()
}

#[tokio::test]
async fn a_key_lives() {
    let agent = Agent::dev().await;
    let missing = agent.get("/v1/kv/a/b").await.expect(404);
    assert_eq!((missing.text.as_str(), missing.index() > 0), ("", true));

    assert_eq!(
        agent.put("/v1/kv/a/b", "hello").await.ok().json,
        json!(true)
    );
    let born = agent.get("/v1/kv/a/b").await.ok();
    let index = born.index();
    assert_eq!(
        born.json,
        json!([{"LockIndex": 0, "Key": "a/b", "Flags": 0, "Value": "aGVsbG8=",
                "CreateIndex": index, "ModifyIndex": index}])
    );
    assert_eq!(born.header("content-type"), Some("application/json"));
    assert_eq!(born.header("x-consul-knownleader"), Some("true"));
    assert_eq!(born.header("x-consul-lastcontact"), Some("0"));

    agent.put("/v1/kv/a/b", "world").await.ok();
    let changed = agent.get("/v1/kv/a/b").await.ok();
    assert_eq!(changed.number("/0/CreateIndex"), index);
    assert!(changed.number("/0/ModifyIndex") > index);
    assert_eq!(changed.str("/0/Value"), "d29ybGQ=");

    assert_eq!(agent.delete("/v1/kv/a/b").await.ok().json, json!(true));
    agent.get("/v1/kv/a/b").await.expect(404);
    assert_eq!(
        agent.delete("/v1/kv/a/b").await.ok().json,
        json!(true),
        "deleting nothing"
    );
}

#[tokio::test]
async fn values_are_bytes() {
    let agent = Agent::dev().await;
    let all: Vec<u8> = (0..=255).collect();
    agent.put("/v1/kv/bytes", all.clone()).await.ok();
    let raw = agent.get("/v1/kv/bytes?raw").await.ok();
    assert_eq!(raw.body, all);
    assert_eq!(raw.header("content-type"), Some("text/plain"));
    assert_eq!(raw.header("content-security-policy"), Some("sandbox"));

    agent.put("/v1/kv/empty", "").await.ok();
    assert_eq!(
        agent.get("/v1/kv/empty").await.ok().at("/0/Value"),
        &Value::Null
    );
    assert_eq!(agent.get("/v1/kv/empty?raw").await.ok().body, b"");
    agent.get("/v1/kv/nothing?raw").await.expect(404);
}

#[tokio::test]
async fn flags_are_kept_to_the_last_bit() {
    let agent = Agent::dev().await;
    agent
        .put("/v1/kv/f?flags=18446744073709551615", "x")
        .await
        .ok();
    assert_eq!(
        agent.get("/v1/kv/f").await.ok().number("/0/Flags"),
        u64::MAX
    );
    agent.put("/v1/kv/f", "x").await.ok();
    assert_eq!(
        agent.get("/v1/kv/f").await.ok().number("/0/Flags"),
        0,
        "a write without flags"
    );
    for wrong in ["18446744073709551616", "-1", "abc"] {
        agent
            .put(&format!("/v1/kv/f?flags={wrong}"), "x")
            .await
            .expect(500);
    }
}

#[tokio::test]
async fn prefixes_are_text_and_not_folders() {
    let agent = Agent::dev().await;
    for key in ["tree/", "tree/a", "tree/b/1", "tree/b/2", "treehouse"] {
        agent.put(&format!("/v1/kv/{key}"), key).await.ok();
    }
    let listed = agent.get("/v1/kv/tree?recurse").await.ok().column("/Key");
    assert_eq!(
        listed,
        ["tree/", "tree/a", "tree/b/1", "tree/b/2", "treehouse"]
    );
    assert_eq!(
        keys(&agent, "/v1/kv/tree/?keys").await,
        json!(["tree/", "tree/a", "tree/b/1", "tree/b/2"])
    );
    assert_eq!(
        keys(&agent, "/v1/kv/tree/?keys&separator=/").await,
        json!(["tree/", "tree/a", "tree/b/"])
    );
    assert_eq!(
        keys(&agent, "/v1/kv/tree?keys&separator=/").await,
        json!(["tree/", "treehouse"])
    );
    agent.get("/v1/kv/nothing/?recurse").await.expect(404);
    agent.get("/v1/kv/nothing/?keys").await.expect(404);

    agent.delete("/v1/kv/tree/b/?recurse").await.ok();
    assert_eq!(
        keys(&agent, "/v1/kv/?keys").await,
        json!(["tree/", "tree/a", "treehouse"])
    );
    agent.delete("/v1/kv/tree?recurse").await.ok();
    assert_eq!(
        keys(&agent, "/v1/kv/?keys").await,
        json!([]),
        "all keys of an empty store"
    );
    agent.get("/v1/kv/?recurse").await.expect(404);
}

#[tokio::test]
async fn check_and_set_compares_the_index() {
    let agent = Agent::dev().await;
    let mut written = 0;
    let mut put = async |query: &str| {
        written += 1;
        let value = written.to_string();
        agent
            .put(&format!("/v1/kv/c?{query}"), value)
            .await
            .ok()
            .json
    };
    let delete = async |query: &str| agent.delete(&format!("/v1/kv/c?{query}")).await.ok().json;
    assert_eq!(put("cas=77").await, json!(false), "there is no key yet");
    assert_eq!(put("cas=0").await, json!(true));
    assert_eq!(put("cas=0").await, json!(false), "there is one now");
    let index = agent.get("/v1/kv/c").await.ok().number("/0/ModifyIndex");
    assert_eq!(put(&format!("cas={}", index + 1)).await, json!(false));
    assert_eq!(put(&format!("cas={index}")).await, json!(true));
    assert_eq!(
        put(&format!("cas={index}")).await,
        json!(false),
        "the index has moved on"
    );
    assert_eq!(delete(&format!("cas={index}")).await, json!(false));
    assert_eq!(delete("cas=0").await, json!(false));
    let index = agent.get("/v1/kv/c").await.ok().number("/0/ModifyIndex");
    assert_eq!(delete(&format!("cas={index}")).await, json!(true));
    agent.get("/v1/kv/c").await.expect(404);
    agent.put("/v1/kv/c?cas=word", "x").await.expect(500);
}

#[tokio::test]
async fn of_many_that_check_and_set_at_once_one_succeeds() {
    let agent = Agent::dev().await;
    let clients: Vec<_> = (0..16).map(|_| agent.another_client()).collect();
    let attempts = clients.iter().map(|client| async {
        let write = lictor_client::KvWrite {
            key: "race".to_owned(),
            cas: Some(0),
            ..lictor_client::KvWrite::default()
        };
        client.kv_put(&write).await.expect("an answer")
    });
    let won = futures_util::future::join_all(attempts).await;
    assert_eq!(won.iter().filter(|won| **won).count(), 1, "{won:?}");
}

#[tokio::test]
async fn a_session_holds_a_key_alone() {
    let agent = Agent::dev().await;
    let (a, b) = (session(&agent).await, session(&agent).await);
    let put = async |query: String, value: &str| {
        agent
            .put(&format!("/v1/kv/lock?{query}"), value)
            .await
            .ok()
            .json
    };
    let row = async || agent.get("/v1/kv/lock").await.ok();

    assert_eq!(put(format!("acquire={a}"), "by a").await, json!(true));
    assert_eq!(
        (
            row().await.str("/0/Session"),
            row().await.number("/0/LockIndex")
        ),
        (&*a, 1)
    );
    assert_eq!(put(format!("acquire={b}"), "by b").await, json!(false));
    assert_eq!(put(format!("acquire={a}"), "again").await, json!(true));
    assert_eq!(
        row().await.number("/0/LockIndex"),
        1,
        "the holder took it again"
    );
    assert_eq!(put(format!("release={b}"), "x").await, json!(false));
    assert_eq!(put(format!("release={a}"), "done").await, json!(true));
    assert_eq!(
        row().await.at("/0/Session"),
        &Value::Null,
        "a free key names no session"
    );
    assert_eq!(put(format!("acquire={b}"), "mine").await, json!(true));
    assert_eq!(
        (
            row().await.str("/0/Session"),
            row().await.number("/0/LockIndex")
        ),
        (&*b, 2)
    );

    assert_eq!(
        agent.delete("/v1/kv/lock").await.ok().json,
        json!(true),
        "a held key"
    );
    agent.get("/v1/kv/lock").await.expect(404);
    let nobody = "00000000-dead-beef-0000-000000000000";
    agent
        .put(&format!("/v1/kv/lock?acquire={nobody}"), "x")
        .await
        .refused(
            500,
            &format!("raft apply failed: invalid session \"{nobody}\""),
        );
    agent
        .put(&format!("/v1/kv/lock?acquire={a}&release={a}"), "x")
        .await
        .refused(400, &format!("Conflicting flags: acquire={a}&release={a}"));
}

/// As in Consul: whoever fences with LockIndex must not write the key plainly.
#[tokio::test]
async fn a_plain_write_to_a_held_key_keeps_the_holder_and_resets_the_lock_index() {
    let agent = Agent::dev().await;
    let a = session(&agent).await;
    agent
        .put(&format!("/v1/kv/lock?acquire={a}"), "1")
        .await
        .ok();
    agent.put("/v1/kv/lock", "2").await.ok();
    let row = agent.get("/v1/kv/lock").await.ok();
    assert_eq!(
        (row.str("/0/Session"), row.number("/0/LockIndex")),
        (&*a, 0)
    );
}

#[tokio::test]
async fn names_are_what_the_path_says_after_unescaping() {
    let agent = Agent::dev().await;
    agent.put("/v1/kv/n/%C3%BCber%20x", "v").await.ok();
    agent.put("/v1/kv/n/a%2Fb", "v").await.ok();
    agent.put("/v1/kv/n/trail/", ()).await.ok();
    assert_eq!(
        keys(&agent, "/v1/kv/n/?keys").await,
        json!(["n/a/b", "n/trail/", "n/über x"])
    );
    agent.get("/v1/kv/n/a/b").await.ok();
    agent.get("/v1/kv/n/trail").await.expect(404);
    agent
        .put("/v1/kv/", "v")
        .await
        .refused(400, "Missing key name");
    agent.get("/v1/kv/").await.refused(400, "Missing key name");
    agent
        .delete("/v1/kv/")
        .await
        .refused(400, "Missing key name");
    agent
        .request(Method::POST, "/v1/kv/n/x", "v")
        .await
        .refused(405, "method POST not allowed");
    let cleaned = agent.get("/v1/kv//n").await.expect(307);
    assert_eq!(cleaned.header("location"), Some("/v1/kv/n"));
}

#[tokio::test]
async fn values_end_at_512_kib() {
    let agent = Agent::dev().await;
    let most = vec![b'x'; 512 * 1024];
    agent.put("/v1/kv/big", most.clone()).await.ok();
    assert_eq!(agent.get("/v1/kv/big?raw").await.ok().body, most);
    let over = agent
        .put("/v1/kv/over", vec![b'x'; 512 * 1024 + 1])
        .await
        .expect(413);
    let text = "Request body(524289 bytes) too large, max size: 524288 bytes.";
    assert!(over.text.starts_with(text), "{}", over.text);
    agent.get("/v1/kv/over").await.expect(404);
}

#[tokio::test]
async fn the_limit_of_values_can_be_set() {
    let agent = Agent::build()
        .config(json!({"limits": {"kv_max_value_size": 10}}))
        .start()
        .await;
    agent.put("/v1/kv/a", "0123456789").await.ok();
    agent.put("/v1/kv/a", "0123456789a").await.expect(413);
}

#[tokio::test]
async fn indexes_belong_to_keys_and_prefixes() {
    let agent = Agent::dev().await;
    let index = async |path: &str| agent.get(path).await.index();
    agent.put("/v1/kv/i/a", "1").await.ok();
    agent.put("/v1/kv/i/b", "1").await.ok();
    let (a, b) = (index("/v1/kv/i/a").await, index("/v1/kv/i/b").await);
    assert!(a < b);
    assert_eq!(
        index("/v1/kv/i/?recurse").await,
        b,
        "a list has the highest of its keys"
    );
    agent.put("/v1/kv/elsewhere", "1").await.ok();
    assert_eq!(index("/v1/kv/i/?recurse").await, b);
    agent.delete("/v1/kv/i/b").await.ok();
    assert!(
        index("/v1/kv/i/?recurse").await > b,
        "a deletion moves the list"
    );
    assert_eq!(index("/v1/kv/i/a").await, a);
    agent.put("/v1/kv/i/a", "1").await.ok();
    assert_eq!(
        index("/v1/kv/i/a").await,
        a,
        "writing what is there changes nothing"
    );
}
