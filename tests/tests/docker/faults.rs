//! What happens to containers, and how long until the agent shows it. Each time is printed
//! (`tests/run docker faults -- --nocapture`); the limits are loose, for slow machines.

use crate::containers::{follower, instances, name_label, unique};
use crate::engine::{Container, FIXTURE, FIXTURE_HEALTH, daemon, docker, fixture};
use lictor_tests::{Agent, Folder, Value, json, until};
use std::collections::BTreeSet;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// What no change of a container takes until it is shown, however slow the machine.
const LIMIT: Duration = Duration::from_secs(5);

fn now() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a clock")
}

/// When the daemon says that the last event of a kind took place, since 1970.
async fn event_time(container: &str, event: &str) -> Duration {
    until(
        &format!("the daemon's event {event} of {container}"),
        async || {
            // A length of time would be cut to whole seconds.
            let until = now();
            let until = format!("--until={}.{:09}", until.as_secs(), until.subsec_nanos());
            let out = docker(&[
                "events",
                "--since=10m",
                &until,
                "--filter",
                &format!("container={container}"),
                "--filter",
                &format!("event={event}"),
                "--format={{.TimeNano}}",
            ])
            .await
            .ok();
            let last = out.stdout.lines().last()?.trim().parse().ok()?;
            Some(Duration::from_nanos(last))
        },
    )
    .await
}

/// Does something to a container, waits until a service is as wished, and prints how long after
/// the daemon's event it was.
async fn converges(
    agent: &Agent,
    service: &str,
    what: &str,
    (container, event): (&str, &str),
    args: &[&str],
    wish: impl Fn(&[(String, u64, bool)]) -> bool,
) {
    let doing = docker(args);
    let seeing = async {
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            let seen = instances(agent, service).await;
            if wish(&seen) {
                return now();
            }
            assert!(Instant::now() < end, "{what}: {seen:?}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let (done, seen) = tokio::join!(doing, seeing);
    done.ok();
    let took = seen.saturating_sub(event_time(container, event).await);
    eprintln!("{what}: {} ms", took.as_millis());
    assert!(took < LIMIT, "{what}: {took:?}");
}

#[tokio::test]
async fn what_happens_to_containers_is_shown_soon() {
    fixture().await;
    let label = unique("soon");
    let agent = follower(&label, &daemon(), Agent::build()).start().await;
    let (name, service) = (unique("fa"), unique("fa"));
    let named = name_label(&service);
    let base = [
        "run", "--detach", "-p", "80", "-l", &label, "-l", &named, "--name", &name,
    ];
    let up = |i: &[(String, u64, bool)]| i.len() == 1 && i[0].2;
    let out = |i: &[(String, u64, bool)]| i.len() == 1 && !i[0].2;
    let none = |i: &[(String, u64, bool)]| i.is_empty();
    let at = (name.as_str(), "start");

    let args = [&base[..], &[FIXTURE, "stubborn", "80"]].concat();
    converges(&agent, &service, "a container starts", at, &args, up).await;
    let c = Container(name.clone());
    let before = c.port().await;
    let args = ["kill", "--signal", "TERM", &name];
    converges(
        &agent,
        &service,
        "its stop signal",
        (&name, "kill"),
        &args,
        out,
    )
    .await;
    let args = ["restart", "-t", "0", &name];
    let moved = |i: &[(String, u64, bool)]| up(i) && i[0].1 != before;
    converges(
        &agent,
        &service,
        "a restart on another port",
        at,
        &args,
        moved,
    )
    .await;
    let args = ["pause", &name];
    converges(&agent, &service, "a pause", (&name, "pause"), &args, out).await;
    let args = ["unpause", &name];
    converges(&agent, &service, "its end", (&name, "unpause"), &args, up).await;
    let other = unique("renamed");
    let renamed = |i: &[(String, u64, bool)]| i.len() == 1 && i[0].0.contains(&other);
    let args = ["rename", &name, &other];
    converges(
        &agent,
        &service,
        "another name",
        (&other, "rename"),
        &args,
        renamed,
    )
    .await;
    drop(c);
    let c = Container(other.clone());
    let args = ["kill", &other];
    converges(
        &agent,
        &service,
        "SIGKILL and the end",
        (&other, "die"),
        &args,
        none,
    )
    .await;
    drop(c);

    let health = unique("fh");
    let base = [
        "run", "--detach", "-p", "80", "-l", &label, "-l", &named, "--name", &health,
    ];
    let args = [&base[..], &[FIXTURE_HEALTH]].concat();
    converges(
        &agent,
        &service,
        "one with a HEALTHCHECK",
        (&health, "start"),
        &args,
        out,
    )
    .await;
    let _c = Container(health.clone());
    let at = (health.as_str(), "health_status");
    let args = ["exec", &health, "/fixture", "make", "/ok"];
    converges(&agent, &service, "the HEALTHCHECK is good", at, &args, up).await;
    let args = ["exec", &health, "/fixture", "remove", "/ok"];
    converges(&agent, &service, "the HEALTHCHECK is bad", at, &args, out).await;
}

#[tokio::test]
async fn a_container_that_ran_out_of_memory_leaves_a_trace() {
    fixture().await;
    let label = unique("oom");
    let agent = follower(&label, &daemon(), Agent::build()).start().await;
    let (name, service) = (unique("big"), unique("big"));
    let named = name_label(&service);
    let args = [
        "-p",
        "80",
        "-l",
        &label,
        "-l",
        &named,
        "--memory=16m",
        "--memory-swap=16m",
        FIXTURE,
        "eat",
        "200000000",
    ];
    let _c = Container::run(&name, &args).await;
    until("the trace", async || {
        let shown = agent.cli(&["docker", "ps", "-all"]).await;
        let line = shown.stdout.lines().find(|l| l.contains(&name))?.to_owned();
        line.contains("exited (137, out of memory)").then_some(())
    })
    .await;
    assert_eq!(instances(&agent, &service).await, []);
}

#[tokio::test]
async fn two_agents_with_the_same_containers_are_told_of_each_other() {
    fixture().await;
    let label = unique("both");
    let (data, other) = (Folder::new(), Folder::new());
    let mut first = follower(&label, &daemon(), Agent::build_server(data.path()))
        .config(json!({"node_name": "first"}))
        .start()
        .await;
    let join = first.gossip_address().to_string();
    let mut second = follower(
        &label,
        &daemon(),
        Agent::build_with(Vec::new(), other.path()),
    )
    .config(json!({"node_name": "second", "retry_join": [join]}))
    .start()
    .await;
    let (name, service) = (unique("tw"), unique("tw"));
    let named = name_label(&service);
    let _c = Container::run(&name, &["-p", "80", "-l", &label, "-l", &named, FIXTURE]).await;
    for (agent, rival) in [(&first, "second"), (&second, "first")] {
        let shown = until("the other agent as a problem", async || {
            let shown = agent.cli(&["docker", "ps"]).await;
            shown
                .stdout
                .contains("two agents follow this container")
                .then_some(shown)
        })
        .await
        .expect(2);
        assert!(
            shown
                .stdout
                .contains(&format!("node {rival} has registered it")),
            "{}",
            shown.stdout
        );
        let log = agent.log();
        let told = log
            .lines()
            .find(|l| l.contains("another agent has registered this container"));
        let told = told.unwrap_or_else(|| panic!("{log}"));
        assert!(told.contains(rival) && told.contains(&name), "{told}");
    }
    first.log_is_checked();
    second.log_is_checked();
}

/// Address and tagged addresses of a service's only instance.
async fn only(agent: &Agent, service: &str) -> Option<Value> {
    let all = agent
        .try_get(&format!("/v1/catalog/service/{service}"))
        .await?;
    match all.rows() {
        [row] => Some(row.clone()),
        _ => None,
    }
}

/// A network that goes with its value.
struct Network(String);

impl Network {
    async fn create(name: &str, args: &[&str]) -> Network {
        let mut all = vec!["network", "create"];
        all.extend(args);
        all.push(name);
        docker(&all).await.ok();
        Network(name.to_owned())
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        crate::engine::docker_now(&["network", "rm", &self.0]);
    }
}

#[tokio::test]
async fn several_networks_both_families_and_a_shared_namespace() {
    fixture().await;
    let label = unique("nets");
    let agent = follower(&label, &daemon(), Agent::build()).start().await;
    let (near, far) = (unique("near"), unique("far"));
    let _near = Network::create(&near, &[]).await;
    let _far = Network::create(&far, &["--ipv6", "--subnet=fd00:1ec7:0:7::/64"]).await;
    let (name, service) = (unique("mn"), unique("mn"));
    let (named, network) = (name_label(&service), format!("SERVICE_NETWORK={far}"));
    let args = [
        "--network",
        &near,
        "-l",
        &label,
        "-l",
        &named,
        "-l",
        &network,
        FIXTURE,
    ];
    let _c = Container::run(&name, &args).await;
    // Not on that network: told, and nothing is guessed.
    until("the problem", async || {
        let shown = agent.cli(&["docker", "ps"]).await;
        (shown.code == 2 && shown.stdout.contains(&far)).then_some(())
    })
    .await;
    assert_eq!(only(&agent, &service).await, None);
    docker(&["network", "connect", &far, &name]).await.ok();
    let address = async |family: &str| {
        let format = format!("{{{{(index .NetworkSettings.Networks {far:?}).{family}}}}}");
        docker(&["inspect", "--format", &format, &name])
            .await
            .ok()
            .stdout
            .trim()
            .to_owned()
    };
    let (v4, v6) = (
        address("IPAddress").await,
        address("GlobalIPv6Address").await,
    );
    assert!(v6.starts_with("fd00:1ec7:0:7:"), "{v6}");
    until("the address in the network that was named", async || {
        let row = only(&agent, &service).await?;
        (row["ServiceAddress"] == v4.as_str()).then_some(())
    })
    .await;
    let tagged =
        |row: &Value, family: &str| row["ServiceTaggedAddresses"][family]["Address"].clone();
    let row = only(&agent, &service).await.expect("the instance");
    assert_eq!(
        (tagged(&row, "lan_ipv4"), tagged(&row, "lan_ipv6")),
        (json!(v4), json!(v6))
    );
    agent
        .dns_until(&format!("{service}.service.consul"), "A", |a| {
            a.data() == [v4.as_str()]
        })
        .await;

    // A container in its namespace is reached where it is, with a port of its own.
    let (joined, inside) = (unique("in"), unique("in"));
    let shared = format!("container:{name}");
    let named = name_label(&inside);
    let args = [
        "--network",
        &shared,
        "-l",
        &label,
        "-l",
        &named,
        "-l",
        &network,
        FIXTURE,
        "serve",
        "81",
    ];
    let _j = Container::run(&joined, &args).await;
    until("the service of the container inside", async || {
        let row = only(&agent, &inside).await?;
        (row["ServiceAddress"] == v4.as_str()).then_some(())
    })
    .await;
    docker(&["network", "disconnect", &far, &name]).await.ok();
    until("both without that network", async || {
        let gone = only(&agent, &service).await.is_none() && only(&agent, &inside).await.is_none();
        gone.then_some(())
    })
    .await;
}

/// Memory of an agent that follows a hundred containers. Prints it; takes minutes and 1 GB.
#[tokio::test]
#[ignore = "takes a hundred containers"]
async fn a_hundred_containers_cost_little_memory() {
    fixture().await;
    let label = unique("many");
    let agent = follower(&label, &daemon(), Agent::build()).start().await;
    until("the first look", async || {
        let shown = agent.try_get("/v1/lictor/docker/containers").await?;
        (shown.at("/Daemon/Connected") == &json!(true)).then_some(())
    })
    .await;
    let before = agent.memory();
    let service = unique("many");
    let named = name_label(&service);
    let mut all = Vec::new();
    for _ in 0..100 {
        all.push(
            Container::run(
                &unique("m"),
                &["-p", "80", "-l", &label, "-l", &named, FIXTURE],
            )
            .await,
        );
    }
    until("a hundred instances", async || {
        let ids: BTreeSet<String> = instances(&agent, &service)
            .await
            .into_iter()
            .map(|i| i.0)
            .collect();
        (ids.len() == 100).then_some(())
    })
    .await;
    let after = agent.memory();
    eprintln!("memory: {before} bytes with none, {after} with a hundred containers");
    assert!(after < before + 20_000_000);
}
