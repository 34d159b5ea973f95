//! compose.yaml as it is shipped, started with the images of the programs under test and looked at
//! from outside.

use crate::engine::{DEMO_IMAGE, IMAGE, daemon, docker, image};
use lictor_client::{Client, ClientConfig, HealthEntry, QueryOptions};
use lictor_tests::netns::Place;
use lictor_tests::{Output, free_port, peer, run, until, until_for, workspace};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long something may take that takes seconds on a quiet machine: eight containers start at once.
const LONG: Duration = Duration::from_secs(90);

/// A project of docker-compose; what it made goes with it.
pub struct Project {
    name: String,
    file: PathBuf,
    variables: Vec<(String, String)>,
}

impl Project {
    /// On the daemon of the tests, with a free port for the first server.
    fn new(file: &str) -> (Project, u16) {
        let http = free_port();
        (Project::at(file, &daemon(), http), http)
    }

    /// On that daemon.
    pub fn at(file: &str, daemon: &str, http: u16) -> Project {
        let socket = daemon.trim_start_matches("unix://");
        let variables = [
            ("DOCKER_HOST", daemon),
            ("DOCKER_SOCKET", socket),
            ("LICTOR_IMAGE", IMAGE),
            ("LICTOR_DEMO_IMAGE", DEMO_IMAGE),
            ("LICTOR_HTTP_PORT", &http.to_string()),
            // For what a slow machine takes to make eight containers.
            ("COMPOSE_HTTP_TIMEOUT", "180"),
        ];
        Project {
            name: format!("lictor{}", free_port()),
            file: workspace().join(file),
            variables: variables
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .to_vec(),
        }
    }

    fn args<'a>(&'a self, args: &[&'a str]) -> Vec<&'a str> {
        let file = self.file.to_str().expect("a path in UTF-8");
        let mut all = vec![
            "--ansi",
            "never",
            "--project-name",
            &self.name,
            "--file",
            file,
        ];
        all.extend(args);
        all
    }

    /// Runs docker-compose.
    pub async fn run(&self, args: &[&str]) -> Output {
        let env: Vec<(&str, &str)> = self
            .variables
            .iter()
            .map(|(k, v)| (k.as_str(), v.as_str()))
            .collect();
        let program = peer("docker-compose", "docker-compose");
        let limit = Duration::from_secs(240);
        run(&program, &self.args(args), &env, "", limit).await.ok()
    }

    /// The name that docker-compose gives the first container of a service.
    pub fn container(&self, service: &str) -> String {
        format!("{}_{service}_1", self.name)
    }

    /// A container's address in the project's network.
    async fn address(&self, service: &str) -> String {
        let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
        let container = self.container(service);
        let out = docker(&["inspect", "--format", format, &container])
            .await
            .ok();
        out.stdout.trim().to_owned()
    }

    /// What the demo's client has counted: answered and failed.
    async fn tally(&self) -> (u64, u64) {
        let log = docker(&["logs", "--tail", "1", &self.container("demo-client")]).await;
        let counted = |line: &str| {
            let (_, rest) = line.rsplit_once('(')?;
            let (answered, rest) = rest.split_once(" ok, ")?;
            let (failed, _) = rest.split_once(" failed)")?;
            Some((answered.parse().ok()?, failed.parse().ok()?))
        };
        log.stdout
            .lines()
            .last()
            .and_then(counted)
            .unwrap_or((0, 0))
    }

    /// Waits until the client has had so many more answers.
    async fn client_goes_on(&self, after: &str, more: u64) {
        let (before, _) = self.tally().await;
        until_for(
            LONG,
            &format!("the demo's client after {after}"),
            async || (self.tally().await.0 >= before + more).then_some(()),
        )
        .await;
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        let compose = |args: &[&str]| {
            std::process::Command::new(peer("docker-compose", "docker-compose"))
                .args(self.args(args))
                .envs(self.variables.iter().cloned())
                .output()
        };
        if std::thread::panicking()
            && let Ok(logs) = compose(&["logs", "--no-color", "--tail", "40"])
        {
            eprintln!("{}", String::from_utf8_lossy(&logs.stdout));
        }
        let _ = compose(&["down", "--volumes", "--timeout", "1"]);
    }
}

fn dig_args(server: &str, name: &str, kind: &str) -> [String; 8] {
    let at = format!("@{server}");
    ["-p", "53", "+short", "+time=2", "+tries=1", &at, name, kind].map(str::to_owned)
}

/// What `dig` prints of an answer's data, a line each.
async fn dig(server: &str, name: &str, kind: &str) -> Vec<String> {
    let args = dig_args(server, name, kind);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let limit = Duration::from_secs(20);
    let out = run(&peer("dig", "bind9-dnsutils"), &args, &[], "", limit).await;
    // A server that does not answer yet is no failure of the test.
    if out.code != 0 {
        return Vec::new();
    }
    out.stdout.lines().map(str::to_owned).collect()
}

/// [`dig`] on a machine of its own.
pub fn dig_within(place: &Place, server: &str, name: &str, kind: &str) -> Vec<String> {
    let out = place
        .command(&peer("dig", "bind9-dnsutils"))
        .args(dig_args(server, name, kind))
        .output()
        .expect("dig");
    if !out.status.success() {
        return Vec::new();
    }
    let text = String::from_utf8_lossy(&out.stdout);
    text.lines().map(str::to_owned).collect()
}

async fn demo_instances(client: &Client) -> Vec<HealthEntry> {
    let options = QueryOptions::default();
    match client
        .health_service("lictor-demo", &[], true, &options)
        .await
    {
        Ok((rows, _)) => rows,
        Err(_) => Vec::new(),
    }
}

/// The nodes that demo servers are registered at.
async fn demo_nodes(client: &Client) -> BTreeSet<String> {
    let rows = demo_instances(client).await;
    rows.iter().map(|row| row.node.node.to_string()).collect()
}

/// Name and status of the members, as `lictor members` in a container shows them.
async fn members(project: &Project, service: &str) -> BTreeSet<(String, String, String)> {
    let container = project.container(service);
    let out = docker(&["exec", &container, "/bin/lictor", "members"]).await;
    out.table()
        .iter()
        .skip(1)
        .filter(|row| row.len() > 3)
        .map(|row| (row[0].to_owned(), row[2].to_owned(), row[3].to_owned()))
        .collect()
}

fn all_alive() -> BTreeSet<(String, String, String)> {
    ["server1", "server2", "server3", "agent1", "agent2"]
        .map(|name| {
            let kind = if name.starts_with('s') {
                "server"
            } else {
                "client"
            };
            (name.to_owned(), "alive".to_owned(), kind.to_owned())
        })
        .into()
}

#[tokio::test]
async fn the_compose_file_runs_a_cluster_and_its_demo() {
    image().await;
    let (project, http) = Project::new("compose.yaml");
    project.run(&["up", "--detach", "--no-build"]).await;
    let client = Client::new(ClientConfig::at(format!("127.0.0.1:{http}"))).expect("a client");

    // Members, catalog and health, by the published port of the first server.
    until_for(LONG, "five members", async || {
        (members(&project, "server1").await == all_alive()).then_some(())
    })
    .await;
    let both = BTreeSet::from(["agent1".to_owned(), "agent2".to_owned()]);
    until_for(LONG, "a demo server at each agent", async || {
        (demo_nodes(&client).await == both).then_some(())
    })
    .await;
    let ui = until_for(LONG, "the published port as a service", async || {
        let options = QueryOptions::default();
        let (rows, _) = client
            .health_service("lictor-ui", &[], true, &options)
            .await
            .ok()?;
        rows.into_iter().next()
    })
    .await;
    assert_eq!(ui.node.node, "agent1", "the label names this agent");
    assert_eq!(
        ui.service.address,
        project.address("server1").await.as_str()
    );
    for service in ["server1", "server2", "server3", "agent1", "agent2"] {
        let container = project.container(service);
        until_for(LONG, "a healthy container", async || {
            let args = [
                "inspect",
                "--format",
                "{{.State.Health.Status}}",
                &container,
            ];
            let out = docker(&args).await.ok();
            (out.stdout.trim() == "healthy").then_some(())
        })
        .await;
    }

    // DNS on port 53 of servers and agents: services, nodes, and what only the recursor knows.
    for service in ["server2", "agent1"] {
        let server = project.address(service).await;
        let found = until("the demo's servers by DNS", async || {
            let found = dig(&server, "lictor-demo.service.consul", "SRV").await;
            (found.len() == 2).then_some(found)
        })
        .await;
        assert!(
            found.iter().all(|line| line.split(' ').count() == 4),
            "{found:?}"
        );
        let node = dig(&server, "agent2.node.consul", "A").await;
        assert_eq!(node, [project.address("agent2").await]);
        let container = dig(&server, "server3", "A").await;
        assert_eq!(container, [project.address("server3").await]);
    }
    project.client_goes_on("the start", 6).await;

    // One server is killed.
    let killed = project.container("server2");
    docker(&["kill", &killed]).await.ok();
    project.client_goes_on("the death of a server", 10).await;
    // It has failed, and is then removed by the others.
    until_for(LONG, "the dead server to be noticed", async || {
        let alive = (
            "server2".to_owned(),
            "alive".to_owned(),
            "server".to_owned(),
        );
        let seen = members(&project, "server1").await;
        (!seen.is_empty() && !seen.contains(&alive)).then_some(())
    })
    .await;
    docker(&["start", &killed]).await.ok();
    until_for(LONG, "all five again", async || {
        (members(&project, "server1").await == all_alive()).then_some(())
    })
    .await;

    // One demo server is stopped.
    project.run(&["stop", "demo-server-a"]).await;
    until("the other demo server alone", async || {
        let alone = BTreeSet::from(["agent2".to_owned()]);
        (demo_nodes(&client).await == alone).then_some(())
    })
    .await;
    project.client_goes_on("the end of a demo server", 6).await;
    project.run(&["start", "demo-server-a"]).await;
    until("both demo servers", async || {
        (demo_nodes(&client).await == both).then_some(())
    })
    .await;

    // More of them appear.
    let scaled = [
        "up",
        "--detach",
        "--no-build",
        "--no-recreate",
        "--scale",
        "demo-server-b=3",
    ];
    project.run(&scaled).await;
    until_for(LONG, "four demo servers", async || {
        let rows = demo_instances(&client).await;
        let addresses: BTreeSet<&str> = rows.iter().map(|row| row.reachable_address()).collect();
        (addresses.len() == 4).then_some(())
    })
    .await;
    let fewer = [
        "up",
        "--detach",
        "--no-build",
        "--no-recreate",
        "--scale",
        "demo-server-b=1",
    ];
    project.run(&fewer).await;

    // A restart of any container but its own does not stop the client.
    for service in [
        "server1",
        "server2",
        "server3",
        "agent1",
        "agent2",
        "demo-server-a",
        "demo-server-b",
    ] {
        docker(&["restart", &project.container(service)]).await.ok();
        project
            .client_goes_on(&format!("a restart of {service}"), 6)
            .await;
    }
    until_for(LONG, "all five in the end", async || {
        (members(&project, "server1").await == all_alive()).then_some(())
    })
    .await;

    // The client's own words, and a leave within the grace period.
    project.run(&["stop", "demo-client"]).await;
    let log = docker(&["logs", &project.container("demo-client")])
        .await
        .ok();
    let last = log.stdout.lines().last().unwrap_or_default();
    assert!(last.contains("answered"), "{last}");
    for way in ["dns ", "http"] {
        let answered = |line: &&str| line.contains(way) && line.contains(" -> ");
        assert!(log.stdout.lines().filter(answered).count() > 10, "{way}");
    }
    let begun = Instant::now();
    project.run(&["stop", "agent2"]).await;
    assert!(begun.elapsed() < Duration::from_secs(30), "it was killed");
    until("an agent that left", async || {
        let left = ("agent2".to_owned(), "left".to_owned(), "client".to_owned());
        members(&project, "server1")
            .await
            .contains(&left)
            .then_some(())
    })
    .await;
}
