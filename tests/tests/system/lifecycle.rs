//! Start, signals, leaving, exit codes, and what a restart keeps.

use lictor_tests::{Agent, Folder, Reply, free_port, json, until};
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};
use tokio::time::timeout;

const AT_ONCE: Duration = Duration::from_secs(5);

#[tokio::test]
async fn a_dev_agent_ends_at_once_on_either_signal() {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        let mut agent = Agent::dev().await;
        agent.signal(signal);
        let end = agent.exit().await;
        assert!(end.code == 1 && end.took < AT_ONCE, "{signal}: {end:?}");
        assert!(
            agent.log().contains("Graceful shutdown disabled. Exiting"),
            "the log says why"
        );
    }
}

#[tokio::test]
async fn leaving_on_a_signal_can_be_asked_for_and_its_code_is_zero() {
    for (key, value, signal) in [
        ("leave_on_terminate", true, libc::SIGTERM),
        ("skip_leave_on_interrupt", false, libc::SIGINT),
    ] {
        let mut agent = Agent::build().config(json!({key: value})).start().await;
        agent.signal(signal);
        let end = agent.exit().await;
        assert_eq!(end.code, 0, "{key}");
        assert!(
            agent.log().contains("Gracefully shutting down agent"),
            "{key}"
        );
    }
}

#[tokio::test]
async fn hangup_and_broken_pipes_do_not_end_it() {
    let mut agent = Agent::dev().await;
    agent.signal(libc::SIGPIPE);
    agent.signal(libc::SIGHUP);
    until("the reload", async || {
        agent
            .log()
            .contains("Reloading configuration")
            .then_some(())
    })
    .await;
    agent.get("/v1/status/leader").await.ok();
    assert!(agent.runs());
}

#[tokio::test]
async fn a_request_to_leave_is_answered_before_the_end() {
    let mut agent = Agent::dev().await;
    agent.get("/v1/agent/leave").await.expect(405);
    let reply = agent.put("/v1/agent/leave", ()).await.ok();
    assert_eq!(reply.text, "");
    assert_eq!(agent.exit().await.code, 0);
}

#[tokio::test]
async fn waiting_reads_do_not_hold_up_the_end() {
    let mut agent = Agent::dev().await;
    agent.put("/v1/kv/a", "x").await.ok();
    let index = agent.get("/v1/kv/a").await.index();
    let mut raw = lictor_tests::Raw::connect(agent.http_address()).await;
    let request = format!("GET /v1/kv/a?index={index}&wait=600s HTTP/1.1\r\nHost: x\r\n\r\n");
    raw.send(request.as_bytes()).await;
    agent.get("/v1/kv/a").await.ok();
    agent.signal(libc::SIGTERM);
    let end = agent.exit().await;
    assert!(end.took < Duration::from_secs(10), "{end:?}");
    raw.rest().await;
}

#[tokio::test]
async fn its_ports_are_free_after_its_end() {
    let mut agent = Agent::dev().await;
    for _ in 0..5 {
        agent.signal(libc::SIGINT);
        agent.exit().await;
        agent.start_again().await;
    }
}

#[tokio::test]
async fn a_signal_while_it_starts_ends_it() {
    for delay in [0, 5, 20, 60] {
        let folder = Folder::new();
        let mut agent = Agent::build_server(&folder.join("data")).spawn();
        tokio::time::sleep(Duration::from_millis(delay)).await;
        agent.signal(libc::SIGTERM);
        let end = agent.exit().await;
        // Before its handlers are set the system ends it.
        assert!(
            [1, -1].contains(&end.code) && end.took < AT_ONCE,
            "{delay} ms: {end:?}"
        );
        // Whatever it had begun to write, the next start can use.
        agent.start_again().await;
    }
}

#[tokio::test]
async fn systemd_is_told_when_it_is_ready() {
    let folder = Folder::new();
    let path = folder.join("notify.sock");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket
        .set_read_timeout(Some(Duration::from_secs(20)))
        .expect("a limit");
    let agent = Agent::build()
        .env("NOTIFY_SOCKET", &path.display().to_string())
        .start()
        .await;
    let mut buffer = [0; 100];
    let size = socket.recv(&mut buffer).expect("a word");
    assert!(
        buffer[..size].starts_with(b"READY=1"),
        "{:?}",
        &buffer[..size]
    );
    drop(agent);
}

#[tokio::test]
async fn it_is_ready_soon() {
    let times: Vec<Duration> = {
        let mut times = Vec::new();
        for _ in 0..5 {
            let start = Instant::now();
            let agent = Agent::dev().await;
            agent.put("/v1/kv/first", "x").await.ok();
            times.push(start.elapsed());
        }
        times
    };
    let best = times.iter().min().expect("times");
    println!("from start to the first accepted write: {best:?} at best");
    assert!(*best < Duration::from_secs(2), "{times:?}");
}

#[tokio::test]
async fn a_restart_keeps_what_was_there() {
    let folder = Folder::new();
    let mut agent = Agent::server(&folder.join("data")).await;
    agent.put("/v1/kv/keep/a", "value").await.ok();
    agent.put("/v1/kv/keep/a", "other").await.ok();
    agent
        .register(
            json!({"Name": "keeper", "Port": 5, "Tags": ["t"], "Meta": {"m": "1"},
                         "Check": {"TTL": "1h", "CheckID": "keeper-c"}}),
        )
        .await;
    let check = json!({"Name": "node-check", "TTL": "1h"});
    agent.put("/v1/agent/check/register", check).await.ok();
    agent
        .put("/v1/agent/check/pass/keeper-c?note=well", ())
        .await
        .ok();
    agent
        .put("/v1/agent/maintenance?enable=true&reason=night", ())
        .await
        .ok();
    agent
        .external(
            "far",
            "10.50.0.1",
            json!({"Service": {"Service": "far", "Port": 1}}),
        )
        .await;
    let session = agent
        .put("/v1/session/create", json!({"Name": "s"}))
        .await
        .ok();
    let passing = |r: &Reply| r.str("/0/Checks/1/Output") == "well";
    agent
        .get_until("/v1/health/service/keeper", |r| {
            passing(r) || r.text.contains("well")
        })
        .await;

    let read = async |agent: &Agent| {
        let mut all = Vec::new();
        for path in [
            "/v1/kv/keep/a",
            "/v1/catalog/service/far",
            "/v1/session/list",
            "/v1/agent/services",
            "/v1/catalog/service/keeper",
        ] {
            all.push((path, agent.get(path).await.ok().json));
        }
        let checks = agent.get("/v1/agent/checks").await.ok();
        for check in ["_node_maintenance", "keeper-c", "node-check"] {
            for field in ["Status", "Output", "Notes"] {
                all.push((field, checks.at(&format!("/{check}/{field}")).clone()));
            }
        }
        let own = agent.get("/v1/agent/self").await.ok();
        all.push(("node id", own.at("/Config/NodeID").clone()));
        all
    };
    let before = read(&agent).await;
    for signal in [libc::SIGINT, libc::SIGKILL] {
        agent.signal(signal);
        agent.exit().await;
        agent.start_again().await;
        // The agent's own entries are rewritten only where they differ.
        agent
            .get_until("/v1/catalog/service/keeper", |r| r.rows().len() == 1)
            .await;
        assert_eq!(read(&agent).await, before, "after signal {signal}");
    }
    let id = session.str("/ID");
    let destroyed = agent
        .put(&format!("/v1/session/destroy/{id}"), ())
        .await
        .ok();
    assert_eq!(destroyed.json, json!(true));
}

#[tokio::test]
async fn checks_go_on_after_a_restart() {
    let folder = Folder::new();
    let web = lictor_tests::HttpTarget::start().await;
    let mut agent = Agent::server(&folder.join("data")).await;
    let checks = json!([
        {"CheckID": "long", "TTL": "1h"},
        {"CheckID": "short", "TTL": "3s"},
        {"CheckID": "over", "TTL": "1s"},
        {"CheckID": "http", "HTTP": web.url("/"), "Interval": "100ms"},
    ]);
    agent
        .register(json!({"Name": "web", "Checks": checks}))
        .await;
    let gone = json!({"Name": "gone", "TTL": "1h"});
    agent.put("/v1/agent/check/register", gone).await.ok();
    agent.put("/v1/agent/check/deregister/gone", ()).await.ok();
    let is = |r: &Reply, id: &str, status: &str| r.str(&format!("/{id}/Status")) == status;
    agent
        .get_until("/v1/agent/checks", |r| is(r, "http", "passing"))
        .await;
    for id in ["long", "short", "over"] {
        let pass = format!("/v1/agent/check/pass/{id}?note=fine");
        agent.put(&pass, ()).await.ok();
    }
    agent.kill().await;
    // Nobody can report while it is away.
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    web.answers(500, "down");
    agent.start_again().await;

    let now = agent.get("/v1/agent/checks").await.ok();
    assert_eq!(now.keys(), ["http", "long", "over", "short"]);
    assert!(is(&now, "long", "passing") && now.str("/long/Output") == "fine");
    assert!(is(&now, "over", "critical"), "its time was over before");
    agent
        .get_until("/v1/agent/checks", |r| {
            r.str("/http/Output").contains("down")
        })
        .await;
    // Reports count no longer than they would have without a restart, or anew from it.
    let expired = agent
        .get_until("/v1/agent/checks", |r| is(r, "short", "critical"))
        .await;
    assert_eq!(expired.str("/short/Output"), "TTL expired");
    assert!(is(&expired, "long", "passing"));
    let seen = |r: &Reply| {
        let rows = r.rows().iter();
        rows.filter(|c| c["Status"] == "critical").count() == 3
    };
    agent.get_until("/v1/health/checks/web", seen).await;
}

/// What is usual at a start is no warning: who reads warnings is to find reasons to act.
#[tokio::test]
async fn a_first_start_warns_of_nothing_but_its_settings() {
    for _ in 0..10 {
        let folder = Folder::new();
        let mut agent = Agent::server(&folder.join("data")).await;
        agent.put("/v1/kv/a", "b").await.ok();
        agent.signal(libc::SIGTERM);
        agent.exit().await;
        let log = agent.log();
        let warnings: Vec<&str> = log
            .lines()
            .filter(|line| line.contains("[WARN]") || line.contains("[ERROR]"))
            .filter(|line| !line.contains("ootstrap"))
            .collect();
        assert!(warnings.is_empty(), "{warnings:#?}");
    }
}

#[tokio::test]
async fn waits_across_a_restart_go_on_where_they_were() {
    let folder = Folder::new();
    let mut agent = Agent::server(&folder.join("data")).await;
    agent.put("/v1/kv/a", "1").await.ok();
    let index = agent.get("/v1/kv/a").await.index();
    agent.kill().await;
    agent.start_again().await;
    let waiting = agent.wait_on("/v1/kv/a", index);
    agent.put("/v1/kv/b", "1").await.ok();
    assert!(!waiting.is_finished());
    agent.put("/v1/kv/a", "2").await.ok();
    let reply = timeout(Duration::from_secs(10), waiting)
        .await
        .expect("woken")
        .expect("an answer");
    assert!(reply.index() > index);
}

#[tokio::test]
async fn a_dev_agent_leaves_nothing_on_the_disk() {
    let agent = Agent::dev().await;
    agent.put("/v1/kv/a", "1").await.ok();
    agent.register(json!({"Name": "web"})).await;
    let mut names: Vec<String> = std::fs::read_dir(agent.folder().path())
        .expect("its folder")
        .map(|e| {
            e.expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    names.sort();
    assert_eq!(
        names,
        ["agent.log", "base.json", "conf.d"],
        "only what the test itself made"
    );
}

#[tokio::test]
async fn two_agents_do_not_share_a_port() {
    let port = free_port();
    let config = json!({"ports": {"dns": port}});
    let _first = Agent::build().config(config.clone()).start().await;
    let mut second = Agent::build().config(config).spawn();
    assert_eq!(second.exit().await.code, 1);
    assert!(second.log().contains(&port.to_string()), "{}", second.log());
}
