//! Configuration: files, flags, their order, and what is refused.

use lictor_tests::{Agent, Folder, HttpTarget, Reply, json, lictor_binary, run, until};
use std::time::Duration;

#[tokio::test]
async fn services_and_checks_come_from_files() {
    let agent = Agent::build()
        .file("a.json", r#"{"service": {"name": "one", "port": 1, "tags": ["x"],
                            "check": {"ttl": "1h", "status": "passing"}}}"#)
        .file("b.json", r#"{"services": [{"name": "two", "port": 2},
                            {"id": "two-b", "name": "two", "port": 3}]}"#)
        .file("c.hcl", "service {\n name = \"three\"\n port = 4\n checks = [ { id = \"c3\", name = \"c3\", ttl = \"1h\" } ]\n}\n")
        .file("d.json", r#"{"check": {"id": "lone", "name": "lone check", "ttl": "1h"}}"#)
        .file("e.txt", "this is no configuration")
        .start()
        .await;
    let services = agent.get("/v1/agent/services").await.ok();
    assert_eq!(services.keys(), ["one", "three", "two", "two-b"]);
    let checks = agent.get("/v1/agent/checks").await.ok();
    assert_eq!(checks.keys(), ["c3", "lone", "service:one"]);
    agent
        .get_until("/v1/catalog/services", |r| {
            r.keys() == ["consul", "one", "three", "two"]
        })
        .await;
}

#[tokio::test]
async fn later_files_win_and_flags_win_over_files() {
    let agent = Agent::build()
        .file(
            "1.json",
            r#"{"datacenter": "first", "node_meta": {"a": "1"}, "domain": "one."}"#,
        )
        .file(
            "2.json",
            r#"{"datacenter": "second", "node_meta": {"b": "2"}}"#,
        )
        .arg("-domain")
        .arg("flag.test")
        .arg("-node-meta")
        .arg("c:3")
        .start()
        .await;
    let own = agent.get("/v1/agent/self").await.ok();
    assert_eq!(own.str("/Config/Datacenter"), "second");
    for key in ["a", "b", "c"] {
        assert!(own.at(&format!("/Meta/{key}")).is_string(), "{key}");
    }
    agent
        .dns("lictor-test.node.flag.test", "A")
        .await
        .gives(&["127.0.0.1"]);
    agent
        .dns("lictor-test.node.one", "A")
        .await
        .nothing("REFUSED");
}

/// Starts an agent that must not start, and gives what it complained of.
async fn refused(args: &[&str], config: &str) -> String {
    let folder = Folder::new();
    let path = folder.write("x.json", config).display().to_string();
    let args = [&["agent", "-bind=127.0.0.1", "-config-file", &path], args].concat();
    let out = run(lictor_binary(), &args, &[], "", Duration::from_secs(20)).await;
    assert_eq!(out.code, 1, "{config} {args:?}: {}", out.all());
    out.stderr
}

#[tokio::test]
async fn what_makes_no_sense_ends_the_start_with_a_word() {
    for (config, word) in [
        (r#"{"no_such_key": 1}"#, "invalid config key no_such_key"),
        (r#"{"datacentre": "x"}"#, "datacenter"),
        ("{", "unexpected end of JSON input"),
        (
            r#"{"check_update_interval": "word"}"#,
            "check_update_interval",
        ),
        (r#"{"service": {"port": 1}}"#, "name"),
        (r#"{"node_id": "not-a-uuid"}"#, "node_id"),
        (r#"{"datacenter": "a b"}"#, "datacenter"),
        (r#"{"ports": {"http": 70000}}"#, "ports.http"),
        (r#"{"ports": {"http": "8500"}}"#, "ports.http"),
    ] {
        let text = refused(&["-dev"], config).await;
        assert!(
            text.starts_with("==> ") && text.contains(word),
            "{config}: {text}"
        );
    }
    for args in [
        &["-dev", "-no-such-flag"][..],
        &["-dev", "-log-level", "loud"],
        &["-dev", "-config-dir", "/nonexistent"],
        &["-dev", "word"],
        &["-server"],
    ] {
        let text = refused(args, "{}").await;
        assert!(!text.is_empty(), "{args:?} said nothing");
    }
}

#[tokio::test]
async fn a_port_in_use_ends_the_start_with_a_word() {
    let first = Agent::dev().await;
    let port = first.http_address().port();
    let mut second = Agent::build()
        .config(json!({"ports": {"http": port}}))
        .spawn();
    let end = second.exit().await;
    assert_eq!(end.code, 1);
    let log = second.log();
    assert!(
        log.contains(&port.to_string()) && log.contains("in use"),
        "{log}"
    );
}

#[tokio::test]
async fn an_unchanged_service_sees_nothing_of_a_reload() {
    let mut agent = Agent::build()
        .file(
            "kept.json",
            r#"{"service": {"name": "kept", "port": 2,
                               "check": {"id": "kept-c", "name": "c", "ttl": "1h"}}}"#,
        )
        .file("svc.json", r#"{"service": {"name": "before", "port": 1}}"#)
        .start()
        .await;
    agent
        .put("/v1/agent/check/pass/kept-c?note=fine", ())
        .await
        .ok();
    agent
        .get_until("/v1/health/service/kept?passing", |r| r.rows().len() == 1)
        .await;
    let index = async || {
        let row = agent.get("/v1/health/service/kept").await.ok();
        let checks = row.at("/0/Checks").as_array().expect("checks").len();
        let of_check = row.number(&format!("/0/Checks/{}/ModifyIndex", checks - 1));
        (row.number("/0/Service/ModifyIndex"), of_check, row.index())
    };
    let before = index().await;
    agent.write_config("svc.json", r#"{"service": {"name": "after", "port": 9}}"#);
    agent.signal(libc::SIGHUP);
    let wish = |r: &Reply| r.keys() == ["after", "consul", "kept"];
    agent.get_until("/v1/catalog/services", wish).await;
    assert_eq!(index().await, before, "the kept service flapped");
    let checks = agent.get("/v1/agent/checks").await.ok();
    assert_eq!(
        (checks.str("/kept-c/Status"), checks.str("/kept-c/Output")),
        ("passing", "fine")
    );
    assert!(agent.runs());
}

#[tokio::test]
async fn a_reload_of_broken_files_keeps_what_is() {
    let mut agent = Agent::build()
        .file("svc.hcl", "service { name = \"r1\" }")
        .start()
        .await;
    agent.write_config("svc.hcl", "service { name = \"r2\" }");
    agent.put("/v1/agent/reload", ()).await.ok();
    assert_eq!(agent.get("/v1/agent/services").await.ok().keys(), ["r2"]);
    agent.write_config("svc.hcl", "service { name = ");
    let broken = agent.put("/v1/agent/reload", ()).await.expect(500);
    assert!(broken.text.contains("svc.hcl"), "{}", broken.text);
    agent.signal(libc::SIGHUP);
    until("the complaint in the log", async || {
        agent.log().contains("Reload config failed").then_some(())
    })
    .await;
    assert_eq!(agent.get("/v1/agent/services").await.ok().keys(), ["r2"]);
    assert!(agent.runs());
}

#[tokio::test]
async fn a_watch_calls_its_handler() {
    let web = HttpTarget::start().await;
    let handler = json!({"path": web.url("/w"), "method": "POST", "timeout": "5s"});
    let watch = json!({"type": "key", "key": "watched", "handler_type": "http",
                       "http_handler_config": handler});
    let agent = Agent::build()
        .config(json!({"watches": [watch]}))
        .start()
        .await;
    for value in ["one", "two"] {
        agent.put("/v1/kv/watched", value).await.ok();
        let index = agent.get("/v1/kv/watched").await.ok().index();
        let line = format!("x-consul-index: {index}");
        let called = until("the call of the handler", async || {
            web.seen()
                .into_iter()
                .find(|seen| seen.to_lowercase().contains(&line))
        })
        .await;
        assert!(
            called.starts_with("POST /w ") && called.contains("\"Key\":\"watched\""),
            "{called}"
        );
    }
}

#[tokio::test]
async fn the_process_number_is_in_a_file_while_it_runs() {
    let folder = Folder::new();
    let path = folder.join("lictor.pid");
    let arg = format!("-pid-file={}", path.display());
    let mut agent = Agent::build().arg(arg).start().await;
    let text = std::fs::read_to_string(&path).expect("the file");
    assert_eq!(text, agent.pid().to_string());
    agent.signal(libc::SIGINT);
    agent.exit().await;
    assert!(!path.exists(), "it goes with the process");
}

#[tokio::test]
async fn logs_can_be_json_and_files() {
    let folder = Folder::new();
    let file = folder.join("own.log");
    let agent = Agent::build()
        .arg("-log-json")
        .arg(format!("-log-file={}", file.display()))
        .start()
        .await;
    let lines = agent.log();
    for line in lines.lines() {
        let row: lictor_tests::Value =
            serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        assert!(
            row["@message"].is_string() && row["@timestamp"].is_string(),
            "{line}"
        );
    }
    let found = std::fs::read_dir(folder.path())
        .expect("the folder")
        .count();
    assert!(lines.lines().count() > 3 && found > 0, "{lines}");
}
