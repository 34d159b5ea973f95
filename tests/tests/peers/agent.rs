//! A client agent's calls, made by another hand's multiplexer and codec (tests/peers-go/agent).

use lictor_tests::{Agent, Folder, peer, run, workspace};
use std::time::Duration;

#[tokio::test]
async fn a_client_agent_in_go_is_served() {
    let go = peer("go", "golang-go");
    let source = workspace().join("tests/peers-go/agent");
    let folder = Folder::new();
    let program = folder.join("agent");
    let home = folder.path().display().to_string();
    let built = tokio::process::Command::new(&go)
        .args(["build", "-o"])
        .arg(&program)
        .arg(".")
        .current_dir(source)
        .output()
        .await
        .expect("go runs");
    let said = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success(), "the peer was not built: {said}");
    let agent = Agent::dev().await;
    let address = agent.server_address().to_string();
    let env = [("HOME", home.as_str())];
    let done = run(&program, &[&address], &env, "", Duration::from_secs(60)).await;
    assert_eq!(
        (done.code, done.stdout.as_str()),
        (0, "ok\n"),
        "{}",
        done.all()
    );
    // What it fired has reached the server's own agent.
    let events = agent.get("/v1/event/list?name=deploy").await;
    assert_eq!(events.json[0]["Name"], "deploy", "{}", events.text);
}
