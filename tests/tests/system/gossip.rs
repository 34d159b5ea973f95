//! Agents among others: who sees whom, who is refused, and what becomes of those who go.

use lictor_tests::{Agent, Builder, Folder, Reply, Value, free_port, json, until};
use std::net::TcpListener;

/// A server of its own that is to be called so.
fn named(name: &str) -> Builder {
    Agent::build().config(json!({"node_name": name}))
}

/// One that joins another.
fn joining(name: &str, other: &Agent) -> Builder {
    named(name)
        .arg("-join")
        .arg(other.gossip_address().to_string())
}

fn statuses(reply: &Reply) -> Vec<(String, i64)> {
    let rows = reply.json.as_array().cloned().unwrap_or_default();
    let text = |row: &Value| row["Name"].as_str().unwrap_or_default().to_owned();
    let mut all: Vec<_> = rows
        .iter()
        .map(|row| (text(row), row["Status"].as_i64().unwrap_or(0)))
        .collect();
    all.sort();
    all
}

/// Waits until an agent sees these members, with these statuses.
async fn sees(agent: &Agent, path: &str, wanted: &[(&str, i64)]) {
    let wanted: Vec<(String, i64)> = wanted.iter().map(|(n, s)| ((*n).to_owned(), *s)).collect();
    agent.get_until(path, |r| statuses(r) == wanted).await;
}

async fn serf_check(agent: &Agent, node: &str, status: &str) {
    agent
        .get_until(&format!("/v1/health/node/{node}"), |r| {
            r.at("/0/CheckID") == "serfHealth" && r.at("/0/Status") == status
        })
        .await;
}

async fn not_in_the_catalog(agent: &Agent, node: &str) {
    agent
        .get_until(&format!("/v1/catalog/node/{node}"), |r| r.text == "null")
        .await;
}

const LAN: &str = "/v1/agent/members";
const WAN: &str = "/v1/agent/members?wan=1";

#[tokio::test]
async fn a_killed_agent_is_seen_to_fail_and_forced_out() {
    let a = named("a").start().await;
    a.external("elsewhere", "10.0.0.9", json!({})).await;
    let mut b = joining("b", &a).start().await;
    for agent in [&a, &b] {
        sees(agent, LAN, &[("a", 1), ("b", 1)]).await;
        // Servers of one datacenter meet in the wide pool by themselves.
        sees(agent, WAN, &[("a.dc1", 1), ("b.dc1", 1)]).await;
    }
    serf_check(&a, "b", "passing").await;
    let row = a.get("/v1/catalog/node/b").await;
    assert_eq!(row.at("/Services/consul/Meta/version"), "1.21.0");
    let member = &a.get(LAN).await.json[0];
    assert_eq!(member["Tags"]["role"], "consul");
    assert_eq!(
        member["Tags"]["lictor"],
        Value::Null,
        "shown as Consul does"
    );
    let before = a.get("/v1/catalog/nodes").await.index();

    b.kill().await;
    sees(&a, LAN, &[("a", 1), ("b", 4)]).await;
    serf_check(&a, "b", "critical").await;
    let out = a.cli(&["members", "-status=failed"]).await;
    assert!(
        out.stdout.contains("failed") && !out.stdout.contains("alive"),
        "{}",
        out.stdout
    );

    let out = a.cli(&["force-leave", "b"]).await;
    assert_eq!((out.code, out.stdout.as_str()), (0, ""), "{}", out.stderr);
    sees(&a, LAN, &[("a", 1), ("b", 3)]).await;
    not_in_the_catalog(&a, "b").await;
    assert!(a.get("/v1/catalog/nodes").await.index() > before);
    a.cli(&["force-leave", "-prune", "b"]).await;
    sees(&a, LAN, &[("a", 1)]).await;
    sees(&a, WAN, &[("a.dc1", 1)]).await;
    // Who is nobody's agent stays.
    assert_ne!(a.get("/v1/catalog/node/elsewhere").await.text, "null");
    let refused = a.put("/v1/agent/force-leave/b", ()).await.expect(500);
    assert_eq!(refused.text, "agent: No node found with name 'b'");
}

#[tokio::test]
async fn who_leaves_is_gone_and_comes_back() {
    let a = named("a").start().await;
    let mut b = joining("b", &a).start().await;
    serf_check(&a, "b", "passing").await;
    b.put("/v1/agent/leave", ()).await.ok();
    assert_eq!(b.exit().await.code, 0);
    sees(&a, LAN, &[("a", 1), ("b", 3)]).await;
    not_in_the_catalog(&a, "b").await;
    b.start_again().await;
    sees(&a, LAN, &[("a", 1), ("b", 1)]).await;
    serf_check(&a, "b", "passing").await;
}

#[tokio::test]
async fn an_unchanged_member_is_written_once() {
    let a = named("a").start().await;
    let _b = joining("b", &a).start().await;
    serf_check(&a, "b", "passing").await;
    let index = a.get("/v1/catalog/nodes").await.index();
    // A third member is news about itself only.
    let _c = joining("c", &a).start().await;
    serf_check(&a, "c", "passing").await;
    let row = a.get("/v1/catalog/node/b").await;
    assert!(row.at("/Node/ModifyIndex").as_u64() <= Some(index));
    let log = a.log();
    let joined = |name: &str| {
        let line = format!("member joined, marking health alive: member={name} ");
        log.matches(&line).count()
    };
    assert_eq!((joined("a"), joined("b"), joined("c")), (1, 1, 1), "{log}");
}

#[tokio::test]
async fn events_reach_those_they_are_for() {
    let a = named("a").start().await;
    let b = joining("b", &a).start().await;
    sees(&b, LAN, &[("a", 1), ("b", 1)]).await;
    a.cli(&["event", "-name=only-a", "-node=^a$", "x"]).await;
    a.cli(&["event", "-name=deploy", "v2"]).await;
    let heard = b
        .get_until("/v1/event/list", |r| {
            r.json.as_array().is_some_and(|l| !l.is_empty())
        })
        .await;
    assert_eq!(
        heard.json.as_array().map(Vec::len),
        Some(1),
        "{}",
        heard.text
    );
    assert_eq!(
        (heard.at("/0/Name"), heard.at("/0/Payload")),
        (&json!("deploy"), &json!("djI="))
    );
    let fired = b.put("/v1/event/fire/back", "y").await.ok();
    let back = a
        .get_until("/v1/event/list?name=back", |r| r.at("/0/ID").is_string())
        .await;
    assert_eq!(back.at("/0/ID"), fired.at("/ID"));
    assert_eq!(
        a.get("/v1/event/list?name=only-a").await.json[0]["Name"],
        "only-a"
    );
}

const KEY: &str = "AAECAwQFBgcICQoLDA0ODw==";
const OTHER: &str = "Dw4NDAsKCQgHBgUEAwIBAA==";

#[tokio::test]
async fn keys_keep_strangers_out_and_are_rotated() {
    let folder = Folder::new();
    let a = Agent::build_server(&folder.join("a"))
        .config(json!({"node_name": "a", "encrypt": KEY}))
        .start()
        .await;
    let plain = named("plain").start().await;
    let wrong = named("wrong")
        .config(json!({"encrypt": OTHER}))
        .start()
        .await;
    for stranger in [&plain, &wrong] {
        let path = format!("/v1/agent/join/{}", a.gossip_address());
        stranger.put(&path, ()).await.expect(500);
    }
    let mut b = Agent::build_server(&folder.join("b"))
        .config(json!({"node_name": "b", "encrypt": KEY}))
        .arg("-join")
        .arg(a.gossip_address().to_string())
        .start()
        .await;
    sees(&a, LAN, &[("a", 1), ("b", 1)]).await;
    sees(&a, WAN, &[("a.dc1", 1), ("b.dc1", 1)]).await;
    for (flag, wanted) in [("-install", [2, 2]), ("-use", [2, 2]), ("-remove", [0, 2])] {
        let key = if flag == "-remove" { KEY } else { OTHER };
        let out = a.cli(&["keyring", flag, key]).await;
        assert_eq!(out.code, 0, "{}", out.stderr);
        let list = a.cli(&["keyring", "-list"]).await.stdout;
        for (key, count) in [KEY, OTHER].into_iter().zip(wanted) {
            let line = format!("  {key} [{count}/2]");
            assert_eq!(
                list.matches(&line).count(),
                if count == 0 { 0 } else { 2 },
                "{list}"
            );
        }
    }
    // The file keeps what was changed; the setting is of no matter any more.
    let file = folder.join("b/serf/local.keyring");
    until("the new key in the file", async || {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        (text.contains(OTHER) && !text.contains(KEY)).then_some(())
    })
    .await;
    b.kill().await;
    sees(&a, LAN, &[("a", 1), ("b", 4)]).await;
    b.start_again().await;
    sees(&a, LAN, &[("a", 1), ("b", 1)]).await;
    assert!(
        b.log()
            .contains("keyring doesn't include key provided with -encrypt")
    );
    let own = b.get("/v1/operator/keyring?local-only=true").await;
    assert_eq!(own.at("/0/PrimaryKeys"), &json!({OTHER: 1}));
    let refused = plain.get("/v1/operator/keyring").await.expect(500);
    assert!(
        refused
            .text
            .contains("* plain: Keyring is empty (encryption not enabled)"),
        "{}",
        refused.text
    );
}

#[tokio::test]
async fn a_restart_finds_its_pool_by_its_snapshot() {
    let folder = Folder::new();
    let a = named("a").start().await;
    let server =
        |name: &str| Agent::build_server(&folder.join(name)).config(json!({"node_name": name}));
    let mut b = server("b").start().await;
    b.put(&format!("/v1/agent/join/{}", a.gossip_address()), ())
        .await
        .ok();
    sees(&b, LAN, &[("a", 1), ("b", 1)]).await;
    let file = folder.join("b/serf/local.snapshot");
    until("the other in the snapshot", async || {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        text.contains("alive: a ").then_some(())
    })
    .await;
    b.kill().await;
    b.start_again().await;
    sees(&b, LAN, &[("a", 1), ("b", 1)]).await;
    sees(&a, LAN, &[("a", 1), ("b", 1)]).await;
    // After a leave it stays alone.
    b.put("/v1/agent/leave", ()).await.ok();
    b.exit().await;
    b.start_again().await;
    sees(&b, LAN, &[("b", 1)]).await;
}

#[tokio::test]
async fn joining_is_tried_again_and_given_up() {
    let port = free_port();
    let mut agent = named("a")
        .config(json!({"retry_join": [format!("127.0.0.1:{port}")], "retry_interval": "50ms", "retry_max": 2}))
        .spawn();
    let end = agent.exit().await;
    assert_eq!(end.code, 1);
    let log = agent.log();
    assert_eq!(
        log.matches("Join cluster failed, will retry").count(),
        2,
        "{log}"
    );
    assert!(
        log.contains("Retry join failed: error=\"agent: max join LAN retry exhausted, exiting\""),
        "{log}"
    );

    let late = named("b")
        .config(json!({"retry_join": [format!("127.0.0.1:{port}")], "retry_interval": "50ms"}))
        .start()
        .await;
    let _there = named("there")
        .config(json!({"ports": {"serf_lan": port}}))
        .start()
        .await;
    sees(&late, LAN, &[("b", 1), ("there", 1)]).await;
    until("the line that scripts wait for", async || {
        late.log()
            .contains(
                "Join cluster completed. Synced with initial agents: cluster=LAN num_agents=1",
            )
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_taken_port_is_named_with_its_setting() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("its address").port();
    let mut agent = named("a")
        .config(json!({"ports": {"serf_lan": port}}))
        .spawn();
    assert_eq!(agent.exit().await.code, 1);
    let wanted = format!(
        "Failed to start LAN gossip: listen tcp 127.0.0.1:{port}: address already in use (set by ports.serf_lan"
    );
    assert!(agent.log().contains(&wanted), "{}", agent.log());
}

#[tokio::test]
async fn distances_are_measured() {
    let a = named("a").start().await;
    let b = joining("b", &a).start().await;
    sees(&b, LAN, &[("a", 1), ("b", 1)]).await;
    until("a round trip between servers", async || {
        let out = b.cli(&["rtt", "-wan", "a.dc1", "b.dc1"]).await;
        (out.code == 0 && out.stdout.contains("using WAN coordinates")).then_some(())
    })
    .await;
    let own = until("a round trip between agents", async || {
        let own = b.get("/v1/agent/self").await;
        (own.at("/Coord/Error") != &json!(1.5)).then_some(own)
    })
    .await;
    assert_eq!(own.at("/Stats/serf_lan/members"), "2");
    assert_eq!(own.at("/Member/Name"), "b");
}
