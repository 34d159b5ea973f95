//! Every way to run on a Docker host: which address is chosen, and that others reach it there.

use crate::engine::IMAGE;
use crate::host::DockerHost;
use lictor_tests::netns::Place;
use lictor_tests::{Agent, Folder, lictor_binary, until_for};
use std::collections::BTreeMap;
use std::net::TcpStream;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(60);

/// Whether something listens there, seen from a machine.
fn reaches(from: &Place, address: &str, port: u16) -> bool {
    let at = format!("{address}:{port}").parse().expect("an address");
    from.enter(|| TcpStream::connect_timeout(&at, Duration::from_secs(2)).is_ok())
}

/// Address and status of the members, by name.
async fn members(agent: &Agent) -> BTreeMap<String, (String, u64)> {
    let Some(all) = agent.try_get("/v1/agent/members").await else {
        return BTreeMap::new();
    };
    let row = |m: &lictor_tests::Value| {
        let text = |key: &str| m[key].as_str().unwrap_or_default().to_owned();
        (
            text("Name"),
            (text("Addr"), m["Status"].as_u64().unwrap_or(0)),
        )
    };
    all.rows().iter().map(row).collect()
}

async fn until_alive_at(agent: &Agent, name: &str, address: &str) {
    until_for(LONG, &format!("{name} alive at {address}"), async || {
        let all = members(agent).await;
        (all.get(name) == Some(&(address.to_owned(), 1))).then_some(())
    })
    .await;
}

#[tokio::test]
async fn in_every_mode_the_address_that_is_chosen_is_reached_by_others() {
    let host = DockerHost::start().await;
    let data = Folder::new();
    let server = Agent::build_server(data.path())
        .within(&host.outside)
        .start()
        .await;
    let join = format!("-retry-join={}", host.outside.address());
    let own = host.place.address().to_string();

    // The plain host: its own address, not that of the bridge.
    let folder = Folder::new();
    let shown = folder.join("plain.log");
    let mut plain = host
        .place
        .command(lictor_binary())
        .args([
            "agent",
            "-node=plain",
            "-retry-interval=1s",
            &join,
            "-data-dir",
        ])
        .arg(folder.join("data"))
        .stdout(std::fs::File::create(&shown).expect("a log"))
        .spawn()
        .expect("the agent");
    until_alive_at(&server, "plain", &own).await;
    assert!(reaches(&host.outside, &own, 8301));
    assert!(
        !reaches(&host.outside, &own, 8500),
        "clients are served on loopback only"
    );
    let log = std::fs::read_to_string(&shown).expect("the log");
    let line = log
        .lines()
        .find(|l| l.contains("advertise address found"))
        .expect("the choice");
    for words in ["the only private address", "a bridge of Docker", "docker0"] {
        assert!(line.contains(words), "{line}");
    }
    plain.kill().expect("its end");
    plain.wait().expect("its end");

    // Host networking: the same.
    let args = [
        "--network=host",
        IMAGE,
        "agent",
        "-node=hosted",
        "-retry-interval=1s",
        &join,
    ];
    host.run("hosted", &args).await;
    until_alive_at(&server, "hosted", &own).await;
    assert!(reaches(&host.outside, &own, 8301));
    assert!(
        !reaches(&host.outside, &own, 8500),
        "clients are served on loopback only"
    );
    let info = host
        .docker(&["exec", "hosted", "/bin/lictor", "info"])
        .await
        .ok();
    for words in [
        format!("advertise = {own}"),
        "client = 127.0.0.1".to_owned(),
        "place = the host's network namespace".to_owned(),
        "(docker0: a bridge of Docker)".to_owned(),
    ] {
        assert!(info.stdout.contains(&words), "{words}: {}", info.stdout);
    }
    host.docker(&["rm", "--force", "hosted"]).await.ok();

    // The default bridge: the host's address, as told, by the ports that are published.
    let advertise = format!("-advertise={own}");
    let args = [
        "--publish=8301:8301",
        "--publish=8301:8301/udp",
        "--publish=8500:8500",
        IMAGE,
        "agent",
        "-node=bridged",
        "-retry-interval=1s",
        &join,
        &advertise,
    ];
    host.run("bridged", &args).await;
    until_alive_at(&server, "bridged", &own).await;
    assert!(reaches(&host.outside, &own, 8301));
    assert!(
        reaches(&host.outside, &own, 8500),
        "all interfaces of the container serve clients"
    );
    host.docker(&["rm", "--force", "bridged"]).await.ok();

    // A network of its own: the container's address there, reached by another container.
    host.docker(&["network", "create", "own"]).await.ok();
    let first = [
        "--network=own",
        IMAGE,
        "agent",
        "-node=first",
        "-server",
        "-bootstrap-expect=1",
    ];
    host.run("first", &first).await;
    let second = [
        "--network=own",
        IMAGE,
        "agent",
        "-node=second",
        "-retry-interval=1s",
        "-retry-join=first",
    ];
    host.run("second", &second).await;
    let alive_at = async |address: &str| {
        until_for(LONG, &format!("second alive at {address}"), async || {
            let seen = host
                .docker(&["exec", "first", "/bin/lictor", "members"])
                .await;
            let at = format!("{address}:8301");
            let is = |row: &Vec<&str>| row.starts_with(&["second", &at, "alive"]);
            seen.table().iter().any(is).then_some(())
        })
        .await;
    };
    let before = host.container_address("second").await;
    alive_at(&before).await;
    let at = format!("{before}:8500");
    let reached = [
        "run",
        "--rm",
        "--network=own",
        crate::engine::FIXTURE,
        "get",
        &at,
    ];
    host.docker(&reached).await.ok();

    // Restarted on another address it is back by itself.
    host.docker(&["stop", "--time", "0", "second"]).await.ok();
    host.run(
        "squatter",
        &["--network=own", crate::engine::FIXTURE, "hang"],
    )
    .await;
    assert_eq!(host.container_address("squatter").await, before);
    host.docker(&["start", "second"]).await.ok();
    let after = host.container_address("second").await;
    assert_ne!(after, before);
    alive_at(&after).await;
}

#[tokio::test]
async fn the_file_for_bridge_and_host_networking_shows_both_on_one_host() {
    use crate::compose::{Project, dig_within};
    let host = DockerHost::start().await;
    let project = Project::at("docker/compose.host.yaml", &host.address(), 8500);
    project.run(&["up", "--detach", "--no-build"]).await;
    let own = host.place.address().to_string();
    let format = "{{(index (index .NetworkSettings.Ports \"8500/tcp\") 0).HostPort}}";
    let web = project.container("web");
    // By DNS on the bridge, where containers ask; the port is another one after a restart.
    let mut ports = Vec::new();
    for _ in 0..2 {
        let inspected = host
            .docker(&["inspect", "--format", format, &web])
            .await
            .ok();
        let port = inspected.stdout.trim().to_owned();
        until_for(LONG, "the web service by DNS on the bridge", async || {
            let found = dig_within(&host.place, "172.17.0.1", "web.service.consul", "SRV");
            (found.len() == 1 && found[0].starts_with(&format!("1 1 {port} "))).then_some(())
        })
        .await;
        let address = dig_within(&host.place, "172.17.0.1", "web.service.consul", "A");
        assert_eq!(address, [own.as_str()]);
        assert!(reaches(&host.outside, &own, port.parse().expect("a port")));
        assert!(
            !reaches(&host.outside, &own, 8500),
            "the agent serves this host alone"
        );
        ports.push(port);
        host.docker(&["stop", "--time", "1", &web]).await.ok();
        until_for(LONG, "nothing of it", async || {
            let found = dig_within(&host.place, "172.17.0.1", "web.service.consul", "A");
            found.is_empty().then_some(())
        })
        .await;
        host.docker(&["start", &web]).await.ok();
    }
    assert_ne!(ports[0], ports[1], "the port did not change");
}
