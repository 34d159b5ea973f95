//! The static programs in a container that holds nothing else, on a real Docker daemon.

use crate::engine::{Container, DEMO_IMAGE, IMAGE, docker, image};
use lictor_client::{Client, ClientConfig};
use lictor_tests::{Question, demo_binary, free_port, lictor_binary, until_for};
use std::net::SocketAddr;
use std::time::Duration;

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
    let demo = docker(&["run", "--rm", DEMO_IMAGE, "-h"]).await.ok();
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
        let mount = format!("{volume}:/consul/data");
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

#[tokio::test]
async fn the_first_process_drops_root_keeps_low_ports_and_forwards_signals() {
    image().await;
    let http = free_port();
    let publish = format!("127.0.0.1:{http}:8500");
    let args = [
        "run",
        "--detach",
        "--publish",
        &publish,
        "--env",
        "CONSUL_ALLOW_PRIVILEGED_PORTS=yes",
        "--env",
        "CONSUL_LOCAL_CONFIG={\"leave_on_terminate\": true, \"node_name\": \"by-variable\"}",
        IMAGE,
        "agent",
        "-server",
        "-bootstrap-expect=1",
        "-client=0.0.0.0",
        "-dns-port=53",
    ];
    let container = Container(docker(&args).await.ok().stdout.trim().to_owned());
    let client = Client::new(ClientConfig::at(format!("127.0.0.1:{http}"))).expect("a client");
    let name = until_for(Duration::from_secs(60), "the agent", async || {
        client.node_name().await.ok()
    })
    .await;
    assert_eq!(name, "by-variable");
    let top = docker(&["top", &container.0, "-o", "pid,uid,args"])
        .await
        .ok();
    let users: Vec<&str> = top
        .stdout
        .lines()
        .skip(1)
        .filter_map(|line| line.split_whitespace().nth(1))
        .collect();
    assert_eq!(users, ["100", "100"], "{}", top.stdout);
    docker(&["stop", &container.0]).await.ok();
    let code = docker(&["inspect", "--format", "{{.State.ExitCode}}", &container.0])
        .await
        .ok();
    assert_eq!(code.stdout.trim(), "0", "a graceful leave; 137 is a kill");
}

#[tokio::test]
async fn only_lictor_is_run_and_the_link_is_there() {
    image().await;
    let sh = docker(&["run", "--rm", IMAGE, "sh", "-c", "true"]).await;
    assert_eq!(sh.code, 127, "{}", sh.all());
    let consul = docker(&[
        "run",
        "--rm",
        "--entrypoint",
        "/bin/consul",
        IMAGE,
        "version",
    ])
    .await
    .ok();
    assert!(
        consul.stdout.starts_with("Consul v1.21"),
        "{}",
        consul.stdout
    );
    let size = docker(&["image", "inspect", "--format", "{{.Size}}", IMAGE])
        .await
        .ok();
    let size: u64 = size.stdout.trim().parse().expect("a number");
    // Not the size of a release: the programs of tests are not optimised as a whole.
    assert!(size < 45_000_000, "the image has {size} bytes");
}

#[tokio::test]
async fn in_a_bridge_a_member_needs_the_hosts_address_and_on_a_network_its_own() {
    image().await;
    let bridge = docker(&[
        "run",
        "--rm",
        IMAGE,
        "addresses",
        "-retry-join=x",
        "-data-dir=/tmp",
    ])
    .await;
    assert_eq!(bridge.code, 1, "{}", bridge.all());
    for word in ["default bridge", "-advertise", "host networking"] {
        assert!(bridge.stdout.contains(word), "{}", bridge.all());
    }
    let network = format!("lictor-test-{}", free_port());
    docker(&["network", "create", &network]).await.ok();
    let own = docker(&[
        "run",
        "--rm",
        "--network",
        &network,
        IMAGE,
        "addresses",
        "-retry-join=x",
        "-data-dir=/tmp",
    ])
    .await;
    docker(&["network", "rm", &network]).await.ok();
    let own = own.ok();
    assert!(
        own.stdout.contains("a container on a user-defined network"),
        "{}",
        own.stdout
    );
    assert!(
        own.stdout.contains(": address in the container's network"),
        "{}",
        own.stdout
    );
    let host = docker(&[
        "run",
        "--rm",
        "--network",
        "host",
        IMAGE,
        "addresses",
        "-data-dir=/tmp",
    ])
    .await;
    assert!(
        host.stdout.contains("the host's network namespace"),
        "{}",
        host.all()
    );
}
