//! Notices of the end of an instance or a task: services leave the answers, the agent leaves.

use lictor_tests::{Agent, Folder, Metadata, json, until};

/// An agent that looks at a metadata service, with a service of its own.
struct Watched {
    server: Agent,
    agent: Agent,
    _folder: Folder,
}

const SPOT: &str = "meta-data/spot/instance-action";
const LIFECYCLE: &str = "meta-data/autoscaling/target-lifecycle-state";

async fn watched(env: &[(&str, &str)], drain: &str) -> Watched {
    let folder = Folder::new();
    let server = Agent::dev().await;
    let args = vec![format!("-retry-join={}", server.gossip_address())];
    let mut builder = Agent::build_with(args, &folder.join("client")).config(json!({
        "node_name": "client",
        "aws": {"notice_interval": "1s", "drain_time": drain},
        "service": {"name": "web", "port": 80},
    }));
    for (name, value) in env {
        builder = builder.env(name, value);
    }
    let agent = builder.start().await;
    server
        .get_until("/v1/health/service/web?passing", |r| {
            r.json.as_array().is_some_and(|a| a.len() == 1)
        })
        .await;
    Watched {
        server,
        agent,
        _folder: folder,
    }
}

async fn looked(metadata: &Metadata, path: &str) {
    until("two looks for notices", async || {
        (metadata.asked(path) > 1).then_some(())
    })
    .await;
}

/// The node's services are out of answers, by HTTP and DNS, while the agent is still a member.
async fn drained(w: &Watched, words: &str) {
    w.server
        .get_until("/v1/health/service/web?passing", |r| r.json == json!([]))
        .await;
    let checks = w.server.get("/v1/health/node/client").await;
    let rows = checks.json.as_array().expect("checks");
    let mark = rows.iter().find(|c| c["CheckID"] == "_node_maintenance");
    let notes = mark.expect("the mark")["Notes"].as_str().expect("notes");
    assert!(notes.contains(words), "{notes}");
    let serf = rows.iter().find(|c| c["CheckID"] == "serfHealth");
    assert_eq!(serf.expect("serfHealth")["Status"], "passing");
    w.server
        .dns("web.service.consul", "A")
        .await
        .nothing("NXDOMAIN");
}

/// The agent has left the cluster and ended well.
async fn left(w: &mut Watched) {
    let exit = w.agent.exit().await;
    assert_eq!(exit.code, 0);
    w.server
        .get_until("/v1/catalog/nodes", |r| {
            r.json.as_array().is_some_and(|a| a.len() == 1)
        })
        .await;
    let members = w.server.get("/v1/agent/members").await;
    let rows = members.json.as_array().expect("members").clone();
    let client = rows.iter().find(|m| m["Name"] == "client");
    assert_eq!(client.expect("the client")["Status"], 3, "left, not failed");
}

#[tokio::test]
async fn a_spot_notice_drains_and_leaves() {
    let metadata = Metadata::start();
    metadata.set(LIFECYCLE, "InService");
    let mut w = watched(
        &[("AWS_EC2_METADATA_SERVICE_ENDPOINT", &metadata.url())],
        "8s",
    )
    .await;
    looked(&metadata, &format!("/latest/{LIFECYCLE}")).await;
    // A session that has ended is begun anew.
    metadata.expire();
    looked(&metadata, "/latest/api/token").await;
    let notice = json!({"action": "terminate", "time": "2999-01-01T00:00:00Z"});
    metadata.set(SPOT, notice.to_string());
    drained(
        &w,
        "the spot instance will terminate at 2999-01-01T00:00:00Z",
    )
    .await;
    left(&mut w).await;

    // Whoever starts it again gets an agent that stays, out of answers: it would come and go.
    w.agent.spawn_again();
    drained_again(&w).await;
    assert!(w.agent.runs());
    let log = w.agent.log();
    assert!(log.contains("the notice is older than this start"), "{log}");
}

async fn drained_again(w: &Watched) {
    w.server
        .get_until("/v1/health/node/client", |r| {
            r.json
                .as_array()
                .is_some_and(|a| a.iter().any(|c| c["CheckID"] == "_node_maintenance"))
        })
        .await;
}

#[tokio::test]
async fn scaling_in_drains_and_leaves() {
    let metadata = Metadata::start();
    let mut w = watched(
        &[("AWS_EC2_METADATA_SERVICE_ENDPOINT", &metadata.url())],
        "8s",
    )
    .await;
    looked(&metadata, &format!("/latest/{LIFECYCLE}")).await;
    metadata.set(LIFECYCLE, "Terminated");
    drained(
        &w,
        "the scaling group's target for the instance is Terminated",
    )
    .await;
    left(&mut w).await;
}

/// How long it takes from a notice until nobody is given the services any more, beside the time
/// until it is looked for.
#[tokio::test]
#[ignore = "a measurement: tests/run ecs -- --ignored --nocapture"]
async fn how_long_it_takes() {
    let mut took = Vec::new();
    for _ in 0..10 {
        let metadata = Metadata::start();
        let url = metadata.url();
        let mut w = watched(&[("AWS_EC2_METADATA_SERVICE_ENDPOINT", &url)], "0s").await;
        looked(&metadata, &format!("/latest/{LIFECYCLE}")).await;
        let start = std::time::Instant::now();
        metadata.set(LIFECYCLE, "Terminated");
        w.server
            .get_until("/v1/health/service/web?passing", |r| r.json == json!([]))
            .await;
        let out = start.elapsed();
        left(&mut w).await;
        took.push((out, start.elapsed()));
    }
    took.sort();
    println!(
        "looked for each second: (out of answers, left) median {:?}, worst {:?}",
        took[5], took[9]
    );
}

/// As on Fargate: no EC2, and the task's own metadata.
#[tokio::test]
async fn a_task_that_is_stopped_drains_and_leaves() {
    let metadata = Metadata::start();
    let task = |desired: &str| json!({"DesiredStatus": desired, "KnownStatus": "RUNNING"});
    metadata.open("/v4/x/task", None, task("RUNNING").to_string());
    let uri = format!("{}/v4/x", metadata.url());
    let env = [
        ("ECS_CONTAINER_METADATA_URI_V4", uri.as_str()),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ];
    let mut w = watched(&env, "8s").await;
    looked(&metadata, "/v4/x/task").await;
    metadata.open("/v4/x/task", None, task("STOPPED").to_string());
    drained(&w, "ECS stops the task").await;
    left(&mut w).await;
}

/// A server drains, and stays a member unless `leave_on_terminate` lets it go.
#[tokio::test]
async fn a_server_drains_and_stays() {
    let metadata = Metadata::start();
    let folder = Folder::new();
    let mut server = Agent::build_server(&folder.join("data"))
        .env("AWS_EC2_METADATA_SERVICE_ENDPOINT", &metadata.url())
        .config(json!({
            "aws": {"notice_interval": "1s", "drain_time": "0s"},
            "service": {"name": "web", "port": 80},
        }))
        .start()
        .await;
    looked(&metadata, &format!("/latest/{LIFECYCLE}")).await;
    metadata.set(LIFECYCLE, "Terminated");
    server
        .get_until("/v1/health/service/web?passing", |r| r.json == json!([]))
        .await;
    until("the rule is told", async || {
        let log = server.log();
        log.contains("a server stays a member").then_some(())
    })
    .await;
    // The mark is of this run: a reload keeps it, and no later start finds it.
    assert_eq!(server.put("/v1/agent/reload", ()).await.status, 200);
    let checks = server.get("/v1/agent/checks").await;
    assert!(
        checks.json.get("_node_maintenance").is_some(),
        "{}",
        checks.text
    );
    metadata.set(LIFECYCLE, "InService");
    server.signal(libc::SIGTERM);
    server.exit().await;
    server.start_again().await;
    looked(&metadata, &format!("/latest/{LIFECYCLE}")).await;
    let checks = server.get("/v1/agent/checks").await;
    assert!(
        checks.json.get("_node_maintenance").is_none(),
        "{}",
        checks.text
    );
}

/// Elsewhere nobody is asked, and where it is switched off neither.
#[tokio::test]
async fn it_can_be_switched_off() {
    let metadata = Metadata::start();
    metadata.set(LIFECYCLE, "Terminated");
    let agent = Agent::build()
        .env("AWS_EC2_METADATA_SERVICE_ENDPOINT", &metadata.url())
        .config(json!({"aws": {"leave_on_notice": false}}))
        .start()
        .await;
    let log = agent.log();
    assert!(!log.contains("watching for notices"), "{log}");
    assert_eq!(metadata.asked(&format!("/latest/{LIFECYCLE}")), 0);
}
