//! The static programs in a container that holds nothing else, on a real Docker daemon.

use lictor_client::{Client, ClientConfig};
use lictor_tests::{
    Folder, Output, Question, demo_binary, free_port, lictor_binary, peer, run, until_for,
    workspace,
};
use std::net::SocketAddr;
use std::time::Duration;

const IMAGE: &str = "lictor:test";

async fn docker(args: &[&str]) -> Output {
    let host = std::env::var("DOCKER_HOST").unwrap_or_default();
    let env: &[(&str, &str)] = if host.is_empty() {
        &[]
    } else {
        &[("DOCKER_HOST", &host)]
    };
    run(
        &peer("docker", "docker.io"),
        args,
        env,
        "",
        Duration::from_secs(120),
    )
    .await
}

/// Builds the image from the programs under test, as docker/Dockerfile.host says.
async fn image() {
    let info = docker(&["version"]).await;
    assert_eq!(
        info.code,
        0,
        "no Docker daemon, and this test needs one (tests/run starts it): {}",
        info.all()
    );
    let folder = Folder::new();
    for (name, path) in [("lictor", lictor_binary()), ("lictor-demo", demo_binary())] {
        std::fs::copy(path, folder.join(name)).expect("a copy of the program");
    }
    let file = workspace()
        .join("docker/Dockerfile.host")
        .display()
        .to_string();
    let context = folder.path().display().to_string();
    docker(&[
        "build", "--quiet", "--tag", IMAGE, "--file", &file, &context,
    ])
    .await
    .ok();
}

/// A container that is removed when it goes.
struct Container(String);

impl Drop for Container {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::process::Command::new("docker")
                .args(["logs", &self.0])
                .output();
            let text = log.map(|l| {
                String::from_utf8_lossy(&l.stdout).into_owned()
                    + &String::from_utf8_lossy(&l.stderr)
            });
            eprintln!(
                "---- the container's log ----\n{}",
                text.unwrap_or_default()
            );
        }
        let _ = std::process::Command::new("docker")
            .args(["rm", "--force", &self.0])
            .output();
    }
}

#[tokio::test]
async fn the_programs_need_nothing_beside_them() {
    for path in [lictor_binary(), demo_binary()] {
        let bytes = std::fs::read(path).expect("the program");
        // A program that wants a loader names it in a segment of type PT_INTERP.
        let loader = bytes
            .windows(9)
            .any(|w| w == b"/ld-linux" || w == b"/ld-musl-");
        assert!(!loader, "{} is not static", path.display());
    }
}

#[tokio::test]
async fn an_image_from_scratch_runs_both_programs() {
    image().await;
    let version = docker(&["run", "--rm", IMAGE, "version"]).await.ok();
    assert!(version.stdout.contains("Lictor"), "{}", version.stdout);
    let demo = docker(&[
        "run",
        "--rm",
        "--entrypoint",
        "/bin/lictor-demo",
        IMAGE,
        "-h",
    ])
    .await
    .ok();
    assert!(
        demo.stdout.starts_with("Usage: lictor-demo"),
        "{}",
        demo.stdout
    );

    let (http, dns) = (free_port(), free_port());
    let started = docker(&[
        "run",
        "--detach",
        "--publish",
        &format!("127.0.0.1:{http}:8500"),
        "--publish",
        &format!("127.0.0.1:{dns}:8600/tcp"),
        "--publish",
        &format!("127.0.0.1:{dns}:8600/udp"),
        IMAGE,
        "agent",
        "-dev",
        "-client",
        "0.0.0.0",
    ])
    .await
    .ok();
    let container = Container(started.stdout.trim().to_owned());
    let client = Client::new(ClientConfig::at(format!("127.0.0.1:{http}"))).expect("a client");
    let ready = async || {
        client
            .leader()
            .await
            .ok()
            .filter(|leader| !leader.is_empty())
    };
    until_for(Duration::from_secs(60), "the agent in its container", ready).await;
    let write = lictor_client::KvWrite {
        key: "a".into(),
        value: "in a box".into(),
        ..Default::default()
    };
    assert!(client.kv_put(&write).await.expect("an answer"));
    let service = serde_json::json!({"Name": "boxed", "Port": 1, "Address": "10.9.8.7"});
    let service = serde_json::from_value(service).expect("a service");
    client
        .register_service(&service)
        .await
        .expect("a registration");
    let server = SocketAddr::from(([127, 0, 0, 1], dns));
    for question in [
        Question::new("boxed.service.consul", "A"),
        Question::new("boxed.service.consul", "A").tcp(),
    ] {
        let answer = until_for(Duration::from_secs(20), "the service by DNS", async || {
            question
                .try_ask(server)
                .await
                .filter(|a| a.code == "NOERROR")
        })
        .await;
        answer.gives(&["10.9.8.7"]);
    }
    // Docker stops with SIGTERM and kills after ten seconds: the code tells which it was.
    docker(&["stop", &container.0]).await.ok();
    let code = docker(&["inspect", "--format", "{{.State.ExitCode}}", &container.0])
        .await
        .ok();
    assert_eq!(
        code.stdout.trim(),
        "1",
        "a -dev agent ends with 1 on SIGTERM; 137 is a kill"
    );
}

#[tokio::test]
async fn the_image_keeps_its_data_in_a_volume() {
    image().await;
    let http = free_port();
    let volume = format!("lictor-test-{http}");
    let start = async || {
        let publish = format!("127.0.0.1:{http}:8500");
        let mount = format!("{volume}:/data");
        let args = [
            "run",
            "--detach",
            "--publish",
            &publish,
            "--volume",
            &mount,
            IMAGE,
            "agent",
            "-server",
            "-bootstrap-expect=1",
            "-client",
            "0.0.0.0",
            "-node",
            "boxed",
            "-data-dir",
            "/data",
        ];
        Container(docker(&args).await.ok().stdout.trim().to_owned())
    };
    let client = Client::new(ClientConfig::at(format!("127.0.0.1:{http}"))).expect("a client");
    let ready = async || {
        client
            .leader()
            .await
            .ok()
            .filter(|leader| !leader.is_empty())
    };
    let first = start().await;
    until_for(
        Duration::from_secs(60),
        "the server in its container",
        ready,
    )
    .await;
    let write = lictor_client::KvWrite {
        key: "kept".into(),
        value: "x".into(),
        ..Default::default()
    };
    assert!(client.kv_put(&write).await.expect("an answer"));
    drop(first);
    let second = start().await;
    until_for(
        Duration::from_secs(60),
        "the server in its next container",
        ready,
    )
    .await;
    let (row, _) = client
        .kv_get("kept", &Default::default())
        .await
        .expect("an answer");
    assert!(row.is_some(), "the key is lost");
    drop(second);
    docker(&["volume", "rm", &volume]).await.ok();
}
