//! The command line.

use lictor_tests::{Agent, Folder, json, lictor_binary, run};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(20);

async fn alone(args: &[&str]) -> lictor_tests::Output {
    run(lictor_binary(), args, &[], "", LIMIT).await
}

#[tokio::test]
async fn version_and_help_need_no_agent() {
    let version = alone(&["version"]).await.ok();
    assert!(
        version.stdout.contains("v1.21") && version.stdout.contains("Lictor"),
        "{}",
        version.stdout
    );
    assert_eq!(alone(&["--version"]).await.ok().stdout, version.stdout);
    let help = alone(&["--help"]).await.ok();
    for command in [
        "agent", "catalog", "event", "info", "keygen", "kv", "leave", "lock", "maint", "members",
        "reload", "services", "validate", "version", "watch",
    ] {
        assert!(
            help.all().contains(&format!("\n    {command} ")),
            "{command}"
        );
    }
    assert_eq!(alone(&[]).await.code, 127);
    let unknown = alone(&["membres"]).await.expect(127);
    assert!(
        unknown.stderr.contains("members"),
        "the nearest command: {}",
        unknown.stderr
    );
    alone(&["kv"]).await.expect(1);
    let wrong = alone(&["members", "-no-such-flag"]).await.expect(1);
    assert!(
        wrong
            .stderr
            .starts_with("flag provided but not defined: -no-such-flag")
    );
}

#[tokio::test]
async fn members_are_a_table() {
    let agent = Agent::dev().await;
    let out = agent.cli(&["members"]).await.ok();
    let table = out.table();
    assert_eq!(table[0][..4], ["Node", "Address", "Status", "Type"]);
    assert_eq!(
        (table[1][0], table[1][2], table[1][3]),
        ("lictor-test", "alive", "server")
    );
    agent.cli(&["members", "-status=failed"]).await.expect(2);
    let info = agent.cli(&["info"]).await.ok();
    assert!(info.stdout.contains("state = Leader"), "{}", info.stdout);
}

#[tokio::test]
async fn keys_are_put_got_and_deleted() {
    let agent = Agent::dev().await;
    let out = agent.cli(&["kv", "put", "cli/a", "hello"]).await.ok();
    assert_eq!(out.stdout, "Success! Data written to: cli/a\n");
    assert_eq!(
        agent.cli(&["kv", "get", "cli/a"]).await.ok().stdout,
        "hello\n"
    );
    agent
        .cli_with(&["kv", "put", "cli/in", "-"], "from stdin")
        .await
        .ok();
    agent
        .cli(&["kv", "put", "-flags=5", "cli/b", "x"])
        .await
        .ok();
    let listed = agent.cli(&["kv", "get", "-recurse", "cli/"]).await.ok();
    assert_eq!(listed.stdout, "cli/a:hello\ncli/b:x\ncli/in:from stdin\n");
    let missing = agent.cli(&["kv", "get", "cli/none"]).await.expect(1);
    assert_eq!(missing.stderr, "Error! No key exists at: cli/none\n");
    let cas = agent
        .cli(&["kv", "put", "-cas", "-modify-index=1", "cli/a", "y"])
        .await
        .expect(1);
    assert_eq!(cas.stderr, "Error! Did not write to cli/a: CAS failed\n");

    let exported = agent.cli(&["kv", "export", "cli/"]).await.ok().stdout;
    agent.cli(&["kv", "delete", "-recurse", "cli/"]).await.ok();
    assert_eq!(
        agent.cli(&["kv", "get", "-keys", "cli/"]).await.ok().stdout,
        ""
    );
    agent.cli_with(&["kv", "import", "-"], &exported).await.ok();
    assert_eq!(agent.get("/v1/kv/cli/b").await.ok().number("/0/Flags"), 5);
}

#[tokio::test]
async fn the_catalog_is_listed() {
    let agent = Agent::dev().await;
    let service = json!({"ID": "c1", "Service": "web", "Port": 1, "Tags": ["t1", "t2"]});
    agent
        .external(
            "far",
            "10.40.0.1",
            json!({"NodeMeta": {"r": "1"}, "Service": service}),
        )
        .await;
    assert_eq!(
        agent.cli(&["catalog", "datacenters"]).await.ok().stdout,
        "dc1\n"
    );
    assert_eq!(
        agent.cli(&["catalog", "services"]).await.ok().stdout,
        "consul\nweb\n"
    );
    let nodes = agent.cli(&["catalog", "nodes", "-service=web"]).await.ok();
    assert_eq!(nodes.table()[1], ["far", "10.40.0.1", "dc1"]);
    let none = agent.cli(&["catalog", "nodes", "-service=none"]).await.ok();
    assert!(
        none.stderr.starts_with("No nodes match the given query"),
        "{}",
        none.stderr
    );
}

#[tokio::test]
async fn services_are_registered_from_flags_and_files() {
    let agent = Agent::dev().await;
    let folder = Folder::new();
    let hcl = folder.write("svc.hcl", "service { name = \"from-hcl\" tags = [\"h\"] }");
    let hcl = hcl.display().to_string();
    let out = agent
        .cli(&["services", "register", "-name=flag", "-port=80", "-tag=a"])
        .await
        .ok();
    assert_eq!(out.stdout, "Registered service: flag\n");
    agent.cli(&["services", "register", &hcl]).await.ok();
    assert_eq!(
        agent.get("/v1/agent/services").await.ok().keys(),
        ["flag", "from-hcl"]
    );
    agent
        .cli(&["services", "deregister", "-id=flag"])
        .await
        .ok();
    agent.cli(&["services", "deregister", &hcl]).await.ok();
    assert_eq!(agent.get("/v1/agent/services").await.ok().json, json!({}));
    agent.cli(&["services", "register"]).await.expect(1);
}

#[tokio::test]
async fn maintenance_is_switched() {
    let agent = Agent::dev().await;
    agent.cli(&["maint", "-enable", "-reason=works"]).await.ok();
    let listed = agent.cli(&["maint"]).await.ok();
    assert!(listed.stdout.contains("Reason: works"), "{}", listed.stdout);
    agent.cli(&["maint", "-disable"]).await.ok();
    assert_eq!(agent.cli(&["maint"]).await.ok().stdout, "");
}

#[tokio::test]
async fn a_watch_prints_and_a_lock_runs() {
    let agent = Agent::dev().await;
    agent.put("/v1/kv/watched", "v1").await.ok();
    let seen = agent
        .cli(&["watch", "-type=key", "-key=watched"])
        .await
        .ok();
    assert!(
        seen.stdout.contains("\"Value\": \"djE=\""),
        "{}",
        seen.stdout
    );
    agent.cli(&["watch", "-type=no-such-type"]).await.expect(1);
    let locked = agent.cli(&["lock", "cli-lock", "echo locked"]).await.ok();
    assert_eq!(locked.stdout, "locked\n");
    let failing = ["lock", "-child-exit-code", "cli-lock", "exit 3"];
    assert_ne!(
        agent.cli(&failing).await.code,
        0,
        "the code of the child counts if asked for"
    );
}

#[tokio::test]
async fn without_an_agent_commands_say_what_failed() {
    let nowhere = format!("127.0.0.1:{}", lictor_tests::free_port());
    let env = [("CONSUL_HTTP_ADDR", nowhere.as_str())];
    let run = async |args: &[&str]| {
        run(lictor_binary(), args, &env, "", LIMIT)
            .await
            .expect(1)
            .stderr
    };
    let members = run(&["members"]).await;
    assert!(
        members.starts_with("Error retrieving members: Get \"http://127.0.0.1:"),
        "{members}"
    );
    assert!(members.contains("connection refused"), "{members}");
    let kv = run(&["kv", "get", "x"]).await;
    assert!(kv.starts_with("Error querying Consul agent: "), "{kv}");
    let leave = run(&["leave"]).await;
    assert!(leave.starts_with("Error leaving: "), "{leave}");
}

#[tokio::test]
async fn configuration_is_checked_without_an_agent() {
    let folder = Folder::new();
    let check = async |name: &str, content: &str| {
        let path = folder.write(name, content).display().to_string();
        run(lictor_binary(), &["validate", &path], &[], "", LIMIT).await
    };
    let good = check(
        "good.json",
        r#"{"bind_addr": "127.0.0.1", "data_dir": "data"}"#,
    )
    .await
    .ok();
    assert_eq!(good.stdout, "Configuration is valid!\n");
    check(
        "good.hcl",
        "bind_addr = \"127.0.0.1\"\ndata_dir = \"data\"\nserver = true",
    )
    .await
    .ok();
    let unknown = check("unknown.hcl", "data_dir = \"data\"\nno_such_setting = 1")
        .await
        .expect(1);
    assert!(
        unknown
            .stderr
            .contains("invalid config key no_such_setting"),
        "{}",
        unknown.stderr
    );
    let broken = check("broken.json", "{\"datacenter\": ").await.expect(1);
    assert!(
        broken.stderr.starts_with("Config validation failed: "),
        "{}",
        broken.stderr
    );
    alone(&["validate", "/nonexistent.json"]).await.expect(1);
}

#[tokio::test]
async fn a_key_for_gossip_has_32_bytes() {
    let (one, two) = (
        alone(&["keygen"]).await.ok().stdout,
        alone(&["keygen"]).await.ok().stdout,
    );
    assert_ne!(one, two);
    // 32 bytes are 43 digits of base64 and one sign for what is missing.
    assert!(one.trim().len() == 44 && one.trim().ends_with('='), "{one}");
}

#[tokio::test]
async fn an_agent_leaves_and_reloads_on_command() {
    let mut agent = Agent::dev().await;
    agent.write_config("svc.hcl", "service { name = \"late\" }");
    let out = agent.cli(&["reload"]).await.ok();
    assert_eq!(out.stdout, "Configuration reload triggered\n");
    assert_eq!(agent.get("/v1/agent/services").await.ok().keys(), ["late"]);
    let out = agent.cli(&["leave"]).await.ok();
    assert_eq!(out.stdout, "Graceful leave complete\n");
    assert_eq!(agent.exit().await.code, 0);
}

/// Starts `monitor`, waits until it shows a line, and gives it with the file that it writes to.
async fn monitor(agent: &Agent) -> (tokio::process::Child, std::path::PathBuf) {
    let path = agent.folder().join("monitor.log");
    let file = std::fs::File::create(&path).expect("a file");
    let address = agent.http_address().to_string();
    let child = tokio::process::Command::new(lictor_binary())
        .args(["monitor", "-log-level=debug", "-http-addr", &address])
        .stdout(file)
        .kill_on_drop(true)
        .spawn()
        .expect("a monitor");
    let mut port = 0;
    lictor_tests::until("a line of the log", async || {
        // What does not change is not written about.
        port += 1;
        agent
            .register(json!({"Name": "seen-in-the-log", "Port": port}))
            .await;
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        text.contains("seen-in-the-log").then_some(())
    })
    .await;
    (child, path)
}

#[tokio::test]
async fn the_log_of_an_agent_is_shown() {
    let mut agent = Agent::dev().await;
    let (mut child, _) = monitor(&agent).await;
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
    // SAFETY: kill takes two numbers and touches no memory of ours. The child has not been waited
    // for, so its number is not another process's.
    unsafe {
        libc::kill(pid.expect("it runs"), libc::SIGINT);
    }
    let code = async |child: &mut tokio::process::Child| {
        let end = tokio::time::timeout(LIMIT, child.wait()).await;
        end.expect("in time").expect("its end").code()
    };
    assert_eq!(code(&mut child).await, Some(0), "Ctrl-C is the usual end");

    let (mut child, path) = monitor(&agent).await;
    agent.signal(libc::SIGTERM);
    agent.exit().await;
    assert_eq!(code(&mut child).await, Some(1));
    let text = std::fs::read_to_string(path).expect("what it showed");
    assert!(text.contains("Remote side ended the monitor!"), "{text}");
}
