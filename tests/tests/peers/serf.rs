//! The `serf` command in our pool: a member of another hand, and one that lies about what it is.

use crate::process::Process;
use lictor_tests::{Agent, Builder, Folder, free_port, json, peer, until};
use std::process::Command;

/// A running `serf` agent.
struct Serf {
    folder: Folder,
    port: u16,
    rpc: String,
    _process: Process,
}

impl Serf {
    async fn start(name: &str, tags: &[(&str, &str)], more: &[&str]) -> Serf {
        let folder = Folder::new();
        let port = free_port();
        let rpc = format!("127.0.0.1:{}", free_port());
        let mut command = Command::new(peer("serf", "serf"));
        command
            .args(["agent", "-profile=local", "-log-level=debug"])
            .arg(format!("-node={name}"))
            .arg(format!("-bind=127.0.0.1:{port}"))
            .arg(format!("-rpc-addr={rpc}"))
            .args(tags.iter().map(|(k, v)| format!("-tag={k}={v}")))
            .args(more);
        let process = Process::start(command, &folder.join("serf.log"));
        let serf = Serf {
            folder,
            port,
            rpc,
            _process: process,
        };
        until("serf answers", async || {
            serf.command(&["members"]).0.then_some(())
        })
        .await;
        serf
    }

    /// Runs a command of its own: whether it worked, and what it printed.
    fn command(&self, args: &[&str]) -> (bool, String) {
        let (verb, args) = args.split_first().expect("a command");
        let output = Command::new(peer("serf", "serf"))
            .arg(verb)
            .arg(format!("-rpc-addr={}", self.rpc))
            .args(args)
            .output()
            .expect("the serf command");
        let text = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        (output.status.success(), text)
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    async fn prints(&self, args: &[&str], wish: impl Fn(&str) -> bool) -> String {
        until(&format!("the wished answer of {args:?}"), async || {
            let (_, text) = self.command(args);
            wish(&text).then_some(text)
        })
        .await
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("serf.log")).unwrap_or_default()
    }
}

fn named(name: &str) -> Builder {
    Agent::build().config(json!({"node_name": name}))
}

async fn member(agent: &Agent, name: &str, status: i64) {
    agent
        .get_until("/v1/agent/members", |r| {
            r.rows()
                .iter()
                .any(|m| m["Name"] == name && m["Status"] == status)
        })
        .await;
}

#[tokio::test]
async fn a_plain_member_is_seen_and_is_no_node() {
    let agent = named("a").start().await;
    let serf = Serf::start("plain", &[("x", "1")], &[]).await;
    let (joined, text) = serf.command(&["join", &agent.gossip_address().to_string()]);
    assert!(joined, "{text}");
    member(&agent, "plain", 1).await;
    serf.prints(&["members"], |text| {
        text.lines()
            .any(|l| l.starts_with("a ") && l.contains("role=consul"))
    })
    .await;
    // An event of ours is heard there, in Consul's form.
    agent.cli(&["event", "-name=deploy", "v1"]).await;
    until("the event in its log", async || {
        serf.log().contains("consul:event:deploy").then_some(())
    })
    .await;
    serf.command(&["leave"]);
    member(&agent, "plain", 3).await;
    assert_eq!(agent.get("/v1/catalog/node/plain").await.text, "null");
}

/// What a client agent says of itself.
const CLIENT: [(&str, &str); 6] = [
    ("role", "node"),
    ("dc", "dc1"),
    ("id", "22222222-2222-3333-4444-555555555555"),
    ("vsn", "2"),
    ("build", "1.16.4:abcdef12"),
    ("segment", ""),
];

#[tokio::test]
async fn a_client_agent_is_a_node_while_it_is_there() {
    let agent = named("a").start().await;
    let serf = Serf::start("c", &CLIENT, &[]).await;
    agent
        .put(&format!("/v1/agent/join/{}", serf.address()), ())
        .await
        .ok();
    member(&agent, "c", 1).await;
    let row = agent
        .get_until("/v1/catalog/node/c", |r| r.at("/Node/ID").is_string())
        .await;
    assert_eq!(row.str("/Node/ID"), CLIENT[2].1);
    assert_eq!(row.str("/Node/Meta/consul-version"), "1.16.4");
    assert_eq!(row.at("/Services"), &json!({}));
    agent
        .get_until("/v1/health/node/c", |r| r.at("/0/Status") == "passing")
        .await;
    drop(serf);
    member(&agent, "c", 4).await;
    agent
        .get_until("/v1/health/node/c", |r| {
            r.at("/0/Status") == "critical" && r.at("/0/Output") == "Agent not live or unreachable"
        })
        .await;
    agent.cli(&["force-leave", "c"]).await;
    agent
        .get_until("/v1/catalog/node/c", |r| r.text == "null")
        .await;
}

/// What a server of Consul says of itself.
const SERVER: [(&str, &str); 9] = [
    ("role", "consul"),
    ("dc", "dc1"),
    ("id", "33333333-2222-3333-4444-555555555555"),
    ("vsn", "2"),
    ("build", "1.16.4:abcdef12"),
    ("segment", ""),
    ("port", "8300"),
    ("raft_vsn", "3"),
    ("acls", "0"),
];

#[tokio::test]
async fn a_server_of_another_kind_never_learns_of_ours() {
    let foreign = Serf::start("foreign", &SERVER, &[]).await;

    // One that is to join it looks first, and ends.
    let mut starting = named("a").arg("-join").arg(foreign.address()).spawn();
    assert_eq!(starting.exit().await.code, 1);
    let why = "Member 'foreign' is a server of Consul, and servers of Consul and of Lictor never form one cluster";
    assert!(starting.log().contains(why), "{}", starting.log());

    // One that runs refuses to.
    let agent = named("b").start().await;
    let refused = agent
        .put(&format!("/v1/agent/join/{}", foreign.address()), ())
        .await
        .expect(500);
    assert!(refused.text.contains(why), "{}", refused.text);

    // One that is joined shows nothing.
    let (joined, text) = foreign.command(&["join", &agent.gossip_address().to_string()]);
    assert!(!joined, "{text}");
    until("the refusal in its log", async || {
        foreign.log().contains(why).then_some(())
    })
    .await;
    let (_, members) = foreign.command(&["members"]);
    assert_eq!(members.lines().count(), 1, "{members}");
    assert_eq!(agent.get("/v1/agent/members").await.rows().len(), 1);
}

/// A cluster is upgraded server by server: one that could not read what the others write is not
/// among them, and they say why.
#[tokio::test]
async fn a_server_of_an_older_format_is_not_taken_in() {
    let agent = named("a").start().await;
    let older = [&SERVER[..], &[("lictor", "0")]].concat();
    let serf = Serf::start("older", &older, &[]).await;
    let (joined, text) = serf.command(&["join", &agent.gossip_address().to_string()]);
    assert!(joined, "{text}");
    member(&agent, "older", 1).await;
    until("the reason in the log", async || {
        let log = agent.log();
        let said = log.contains("cannot read the format that the log is written in");
        (said && log.contains("name=older")).then_some(())
    })
    .await;
    let servers = agent.get("/v1/operator/raft/configuration").await;
    assert_eq!(servers.at("/Servers").as_array().map(Vec::len), Some(1));
    agent.put("/v1/kv/k", "v").await.ok();
}
