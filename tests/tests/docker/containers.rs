//! Containers as services.

use crate::engine::{Container, FIXTURE, FIXTURE_HEALTH, daemon, docker, fixture};
use lictor_tests::{Agent, Builder, Folder, Value, free_port, json, until, until_for};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::net::{UnixListener, UnixStream};

/// A name that no other test has: several may run on one daemon.
pub fn unique(name: &str) -> String {
    format!("{name}-{}-{}", std::process::id(), free_port())
}

/// An agent that follows the containers with a label.
pub fn follower(label: &str, host: &str, builder: Builder) -> Builder {
    builder.config(json!({
        "enable_script_checks": true,
        "docker": {
            "enabled": true,
            "host": host,
            "host_address": "192.0.2.77",
            "hostname": "dockhost",
            "filter_label": label,
            "drain_timeout": "3s",
        },
    }))
}

/// Id, port and whether it passes, of all instances of a service.
pub async fn instances(agent: &Agent, service: &str) -> Vec<(String, u64, bool)> {
    let all = agent
        .get(&format!("/v1/health/service/{service}"))
        .await
        .ok();
    let mut out: Vec<(String, u64, bool)> = all
        .rows()
        .iter()
        .map(|row| {
            let checks = row["Checks"].as_array().expect("checks");
            (
                row["Service"]["ID"].as_str().unwrap_or_default().to_owned(),
                row["Service"]["Port"].as_u64().unwrap_or(0),
                checks.iter().all(|c| c["Status"] == "passing"),
            )
        })
        .collect();
    out.sort();
    out
}

async fn until_instances(agent: &Agent, service: &str, want: &[(String, u64, bool)]) {
    let mut last = Vec::new();
    let end = Instant::now() + Duration::from_secs(20);
    while Instant::now() < end {
        last = instances(agent, service).await;
        if last == want {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{service}: {last:?} instead of {want:?}");
}

pub fn name_label(service: &str) -> String {
    format!("SERVICE_NAME={service}")
}

#[tokio::test]
async fn a_container_comes_is_checked_drains_and_goes() {
    fixture().await;
    let label = unique("follow");
    let agent = follower(&label, &daemon(), Agent::build()).start().await;
    let (name, service) = (unique("web"), unique("web"));
    let c = Container::run(
        &name,
        &[
            "-p",
            "80",
            "-l",
            &label,
            "-l",
            &name_label(&service),
            "-l",
            "SERVICE_TAGS=a,b\\,c",
            FIXTURE_HEALTH,
            "serve",
            "80",
            "2000",
        ],
    )
    .await;
    let id = format!("dockhost:{name}:80");
    let port = c.port().await;
    // No verdict without a result.
    until_instances(&agent, &service, &[(id.clone(), port, false)]).await;
    docker(&["exec", &name, "/fixture", "make", "/ok"])
        .await
        .ok();
    until_instances(&agent, &service, &[(id.clone(), port, true)]).await;
    let row = agent
        .get(&format!("/v1/catalog/service/{service}"))
        .await
        .ok();
    assert_eq!(row.at("/0/ServiceTags"), &json!(["a", "b,c"]));
    assert_eq!(row.str("/0/ServiceAddress"), "192.0.2.77");
    // Other signals change nothing.
    docker(&["kill", "--signal", "HUP", &name]).await;
    agent
        .dns_until(&format!("{service}.service.consul"), "A", |a| {
            a.code == "NOERROR"
        })
        .await;

    // The stop signal takes it out while it still serves: it has two seconds.
    let stop = {
        let name = name.clone();
        tokio::spawn(async move { docker(&["stop", &name]).await })
    };
    until_instances(&agent, &service, &[(id.clone(), port, false)]).await;
    assert!(!stop.is_finished(), "it was out before its process ended");
    assert!(
        tokio::net::TcpStream::connect(("127.0.0.1", u16::try_from(port).unwrap()))
            .await
            .is_ok(),
        "it still serves"
    );
    agent
        .dns_until(&format!("{service}.service.consul"), "A", |a| {
            a.code != "NOERROR"
        })
        .await;
    stop.await.expect("the stop").ok();
    until_instances(&agent, &service, &[]).await;
    let shown = agent.cli(&["docker", "ps", "-all"]).await;
    assert!(
        shown.stdout.contains(&name) && shown.stdout.contains("exited (0"),
        "{}",
        shown.all()
    );
}

#[tokio::test]
async fn who_outlives_the_stop_signal_comes_back_and_pausing_takes_out() {
    fixture().await;
    let label = unique("follow");
    let agent = follower(&label, &daemon(), Agent::build()).start().await;
    let (name, service) = (unique("st"), unique("st"));
    let c = Container::run(
        &name,
        &[
            "-p",
            "80",
            "-l",
            &label,
            "-l",
            &name_label(&service),
            FIXTURE,
            "stubborn",
            "80",
        ],
    )
    .await;
    let id = format!("dockhost:{name}:80");
    let port = c.port().await;
    let with = |passing| [(id.clone(), port, passing)];
    until_instances(&agent, &service, &with(true)).await;
    docker(&["kill", "--signal", "TERM", &name]).await.ok();
    until_instances(&agent, &service, &with(false)).await;
    until_instances(&agent, &service, &with(true)).await;
    docker(&["pause", &name]).await.ok();
    until_instances(&agent, &service, &with(false)).await;
    docker(&["unpause", &name]).await.ok();
    until_instances(&agent, &service, &with(true)).await;
    // A renamed container has another id, and the old one is gone.
    let other = unique("renamed");
    docker(&["rename", &name, &other]).await.ok();
    let _removed = Container(other.clone());
    until_instances(
        &agent,
        &service,
        &[(format!("dockhost:{other}:80"), port, true)],
    )
    .await;
}

#[tokio::test]
async fn a_hundred_restarts_leave_the_live_one() {
    fixture().await;
    let label = unique("follow");
    let agent = follower(&label, &daemon(), Agent::build()).start().await;
    let (name, service) = (unique("re"), unique("re"));
    let c = Container::run(
        &name,
        &[
            "-p",
            "80",
            "-l",
            &label,
            "-l",
            &name_label(&service),
            FIXTURE,
        ],
    )
    .await;
    for _ in 0..100 {
        docker(&["restart", "-t", "0", &name]).await.ok();
    }
    let port = c.port().await;
    until_instances(
        &agent,
        &service,
        &[(format!("dockhost:{name}:80"), port, true)],
    )
    .await;
}

#[tokio::test]
async fn what_went_while_the_agent_was_killed_does_not_survive() {
    fixture().await;
    let label = unique("follow");
    let data = Folder::new();
    let mut agent = follower(&label, &daemon(), Agent::build_server(data.path()))
        .start()
        .await;
    let (gone, stays, service) = (unique("gone"), unique("stays"), unique("sv"));
    let args = |name: &str| {
        let service = name_label(&service);
        let name = name.to_owned();
        let label = label.clone();
        async move { Container::run(&name, &["-p", "80", "-l", &label, "-l", &service, FIXTURE]).await }
    };
    let first = args(&gone).await;
    let second = args(&stays).await;
    agent.register(json!({"Name": "by-hand", "Port": 1})).await;
    until("both", async || {
        (instances(&agent, &service).await.len() == 2).then_some(())
    })
    .await;
    agent.kill().await;
    drop(first);
    agent.start_again().await;
    let begun = Instant::now();
    let port = second.port().await;
    until_instances(
        &agent,
        &service,
        &[(format!("dockhost:{stays}:80"), port, true)],
    )
    .await;
    eprintln!(
        "an agent that was killed is ready again: {} ms",
        begun.elapsed().as_millis()
    );
    // What others registered is not touched.
    assert_eq!(instances(&agent, "by-hand").await.len(), 1);
}

#[tokio::test]
async fn checks_run_inside_containers() {
    fixture().await;
    let (name, paused, stopped) = (unique("ex"), unique("pz"), unique("sp"));
    let agent = Agent::build()
        .config(json!({"enable_script_checks": true}))
        .env("DOCKER_HOST", &daemon())
        .start()
        .await;
    let _c = Container::run(&name, &[FIXTURE, "hang"]).await;
    let _p = Container::run(&paused, &[FIXTURE, "hang"]).await;
    docker(&["pause", &paused]).await.ok();
    docker(&["create", "--name", &stopped, FIXTURE]).await.ok();
    let _s = Container(stopped.clone());
    let cases: [(&str, &str, Value, &str, &str); 9] = [
        (
            "good",
            &name,
            json!(["/fixture", "exit", "0"]),
            "passing",
            "",
        ),
        (
            "warn",
            &name,
            json!(["/fixture", "exit", "1"]),
            "warning",
            "",
        ),
        (
            "stderr",
            &name,
            json!(["/fixture", "err", "it broke", "7"]),
            "critical",
            "it broke",
        ),
        (
            "flood",
            &name,
            json!(["/fixture", "flood", "100000", "0"]),
            "passing",
            "Captured 4096 of 100000 bytes",
        ),
        (
            "hang",
            &name,
            json!(["/fixture", "hang"]),
            "critical",
            "Timed out (1s) running check",
        ),
        (
            "missing",
            &name,
            json!(["/no-such"]),
            "critical",
            "cannot be started in container",
        ),
        (
            "paused",
            &paused,
            json!(["/fixture", "exit", "0"]),
            "critical",
            "is paused",
        ),
        (
            "stopped",
            &stopped,
            json!(["/fixture", "exit", "0"]),
            "critical",
            "is not running",
        ),
        (
            "gone",
            "no-such-container",
            json!(["/fixture"]),
            "critical",
            "there is no container no-such-container",
        ),
    ];
    for (id, container, args, _, _) in &cases {
        let check = json!({"ID": id, "Name": id, "DockerContainerID": container, "Args": args, "Interval": "1s", "Timeout": "1s"});
        agent.put("/v1/agent/check/register", check).await.ok();
    }
    for (id, _, _, status, output) in &cases {
        agent
            .get_until("/v1/agent/checks", |all| {
                let check = all.at(&format!("/{id}"));
                let text = check["Output"].as_str().unwrap_or_default();
                // The first status of a check is critical too, but it says nothing.
                check["Status"] == *status && text.contains(output)
            })
            .await;
    }
    agent.put("/v1/agent/check/deregister/hang", "").await.ok();
    // What did not end was ended.
    until("only the container's own process", async || {
        let top = docker(&["top", &name, "-o", "pid,args"]).await.ok();
        (top.stdout.matches("/fixture hang").count() == 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn checks_inside_containers_need_script_checks() {
    let agent = Agent::dev().await;
    let check = json!({"Name": "x", "DockerContainerID": "c", "Args": ["a"], "Interval": "1s"});
    let reply = agent.put("/v1/agent/check/register", check).await;
    reply.refused(500, "Scripts are disabled on this agent from remote calls; to enable, configure 'enable_script_checks' to true");
}

#[tokio::test]
async fn a_check_inside_a_container_says_that_the_daemon_is_away() {
    let agent = Agent::build()
        .config(json!({"enable_script_checks": true}))
        .env("DOCKER_HOST", "unix:///no/such/docker.sock")
        .start()
        .await;
    let check = json!({"ID": "c", "Name": "c", "DockerContainerID": "x", "Args": ["a"], "Interval": "1s", "Timeout": "1s"});
    agent.put("/v1/agent/check/register", check).await.ok();
    agent
        .get_until("/v1/agent/checks", |all| {
            let text = all.at("/c/Output").as_str().unwrap_or_default();
            all.at("/c/Status") == &json!("critical")
                && text.contains("/no/such/docker.sock is not reached")
        })
        .await;
}

/// A proxy in front of the daemon's socket that can be cut.
struct Proxy {
    path: PathBuf,
    up: Arc<AtomicBool>,
}

impl Proxy {
    fn start(folder: &Folder) -> Proxy {
        let path = folder.join("proxy.sock");
        let listener = UnixListener::bind(&path).expect("a socket");
        let up = Arc::new(AtomicBool::new(true));
        let open = up.clone();
        let target = daemon().trim_start_matches("unix://").to_owned();
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let (open, target) = (open.clone(), target.clone());
                tokio::spawn(async move {
                    if !open.load(Ordering::SeqCst) {
                        return;
                    }
                    let Ok(mut far) = UnixStream::connect(Path::new(&target)).await else {
                        return;
                    };
                    let cut = async {
                        while open.load(Ordering::SeqCst) {
                            tokio::time::sleep(Duration::from_millis(10)).await;
                        }
                    };
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                        () = cut => {}
                    }
                });
            }
        });
        Proxy { path, up }
    }

    fn set(&self, up: bool) {
        self.up.store(up, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn after_a_cut_with_a_flood_of_events_all_is_right_within_a_second() {
    fixture().await;
    let label = unique("follow");
    let folder = Folder::new();
    let proxy = Proxy::start(&folder);
    let host = format!("unix://{}", proxy.path.display());
    let agent = follower(&label, &host, Agent::build()).start().await;
    let (gone, moved, new, service) = (
        unique("gone"),
        unique("moved"),
        unique("new"),
        unique("cut"),
    );
    let run = |name: String| {
        let (label, service) = (label.clone(), name_label(&service));
        async move { Container::run(&name, &["-p", "80", "-l", &label, "-l", &service, FIXTURE]).await }
    };
    let first = run(gone.clone()).await;
    let second = run(moved.clone()).await;
    until("both", async || {
        (instances(&agent, &service).await.len() == 2).then_some(())
    })
    .await;
    proxy.set(false);
    until("the agent to notice", async || {
        let shown = agent.get("/v1/lictor/docker/containers").await.ok();
        (shown.at("/Daemon/Connected") == &json!(false)).then_some(())
    })
    .await;
    // What is registered stays while nobody knows better.
    assert_eq!(instances(&agent, &service).await.len(), 2);
    drop(first);
    docker(&["restart", "-t", "0", &moved]).await.ok();
    let third = run(new.clone()).await;
    // The daemon remembers 256 events; each of these is three.
    for _ in 0..100 {
        docker(&["exec", &moved, "/fixture", "exit", "0"])
            .await
            .ok();
    }
    let mut want = vec![
        (format!("dockhost:{moved}:80"), second.port().await, true),
        (format!("dockhost:{new}:80"), third.port().await, true),
    ];
    want.sort();
    proxy.set(true);
    let back = Instant::now();
    until_instances(&agent, &service, &want).await;
    let took = back.elapsed();
    eprintln!(
        "the daemon is back after a cut with 300 events: {} ms",
        took.as_millis()
    );
    assert!(took < Duration::from_millis(1500), "it took {took:?}");
}

#[tokio::test]
async fn a_bad_label_is_told_and_hurts_no_other() {
    fixture().await;
    let label = unique("follow");
    let agent = follower(&label, &daemon(), Agent::build()).start().await;
    let (bad, good, service) = (unique("bad"), unique("good"), unique("lb"));
    let _bad = Container::run(
        &bad,
        &[
            "-p",
            "127.0.0.1::80",
            "-l",
            &label,
            "-l",
            &name_label(&service),
            FIXTURE,
        ],
    )
    .await;
    let long = format!("SERVICE_LONG={}", "x".repeat(600));
    let c = Container::run(
        &good,
        &[
            "-p",
            "80",
            "-l",
            &label,
            "-l",
            &name_label(&service),
            "-l",
            &long,
            FIXTURE,
        ],
    )
    .await;
    let port = c.port().await;
    until_instances(
        &agent,
        &service,
        &[(format!("dockhost:{good}:80"), port, true)],
    )
    .await;
    let shown = until_for(Duration::from_secs(20), "both problems", async || {
        let shown = agent.cli(&["docker", "ps"]).await;
        (shown.stdout.contains("longer than 512") && shown.stdout.contains("loopback only"))
            .then_some(shown)
    })
    .await;
    shown.expect(2);
}

#[tokio::test]
async fn registrator_shows_adopts_and_removes_what_was_left_behind() {
    fixture().await;
    let agent = Agent::dev().await;
    let (name, service) = (unique("rg"), unique("rg"));
    let c = Container::run(&name, &["-p", "80", "-l", &name_label(&service), FIXTURE]).await;
    let port = c.port().await;
    let host = lictor_host_name();
    let id = format!("{host}:{name}:80");
    let gone = format!("{host}:{}:80", unique("long-gone"));
    for id in [&id, &gone] {
        agent
            .register(json!({"ID": id, "Name": service, "Port": 1, "Address": "192.0.2.1"}))
            .await;
    }
    agent
        .register(json!({"ID": "by-hand", "Name": "by-hand", "Port": 1}))
        .await;
    let uri = format!("consul://{}", agent.http_address());
    let daemon = daemon();
    let run = async |args: &[&str]| {
        lictor_tests::run(
            lictor_tests::lictor_binary(),
            args,
            &[("DOCKER_HOST", &daemon)],
            "",
            Duration::from_secs(60),
        )
        .await
    };
    let dry = run(&[
        "registrator",
        "-ip",
        "192.0.2.7",
        "-cleanup",
        "-dry-run",
        &uri,
    ])
    .await
    .ok();
    assert!(
        dry.stdout
            .contains(&format!("adopt     {id}  {service}  192.0.2.7:{port}")),
        "{}",
        dry.all()
    );
    assert!(
        dry.stdout.contains(&format!("remove    {gone}")),
        "{}",
        dry.all()
    );
    assert!(!dry.stdout.contains("by-hand"), "{}", dry.all());
    assert_eq!(
        instances(&agent, &service).await.len(),
        2,
        "nothing was changed"
    );

    let mut child = tokio::process::Command::new(lictor_tests::lictor_binary())
        .args(["registrator", "-ip", "192.0.2.7", "-cleanup", &uri])
        .env("DOCKER_HOST", &daemon)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("the registrator");
    until_instances(&agent, &service, &[(id.clone(), port, true)]).await;
    drop(c);
    until_instances(&agent, &service, &[]).await;
    assert_eq!(instances(&agent, "by-hand").await.len(), 1);
    child.kill().await.expect("its end");
}

fn lictor_host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .expect("the host's name")
        .trim()
        .to_owned()
}
