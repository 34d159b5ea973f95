//! Many thousands of members and nodes: what an agent makes of them, and what that costs.

use lictor_client::Request;
use lictor_tests::crowd::Crowd;
use lictor_tests::{Agent, Folder, Method, Value, json, until_for};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(60);

/// Processor time of a process so far.
fn used(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("its state");
    let (_, rest) = stat.rsplit_once(") ").expect("a name in brackets");
    let fields: Vec<&str> = rest.split(' ').collect();
    let ticks = |i: usize| fields[i].parse::<u64>().expect("a number");
    Duration::from_millis((ticks(11) + ticks(12)) * 10)
}

async fn nodes(agent: &Agent) -> usize {
    agent.get("/v1/catalog/nodes").await.rows().len()
}

/// Waits until all of a crowd are passing nodes.
async fn registered(agent: &Agent, count: usize) -> Duration {
    let begin = Instant::now();
    until_for(LIMIT, "the crowd in the catalog", async || {
        (nodes(agent).await > count).then_some(())
    })
    .await;
    begin.elapsed()
}

#[tokio::test]
async fn a_thousand_members_are_nodes_and_one_event_costs_one_write() {
    let folder = Folder::new();
    let agent = Agent::server(folder.path()).await;
    let crowd = Crowd::new(1000);
    crowd.join(agent.gossip_address());
    registered(&agent, 1000).await;
    let row = agent
        .get(&format!("/v1/catalog/node/{}", Crowd::name(777)))
        .await;
    assert_eq!(row.str("/Node/Address"), Crowd::address(777).to_string());

    // One that says something new of itself is news to the pool, and none to the catalog.
    let index = agent.get("/v1/catalog/nodes").await.index();
    crowd.change(agent.gossip_address(), 5, 2);
    let changed = Crowd::name(5);
    agent
        .get_until("/v1/agent/members", |r| {
            let news = |m: &Value| m["Name"] == *changed && m["Tags"]["life"] == "2";
            r.rows().iter().any(news)
        })
        .await;
    // One that is gone takes one row with it.
    crowd.silence(9);
    let gone = Crowd::name(9);
    crowd.leave(agent.gossip_address(), 9, 1);
    agent
        .get_until(&format!("/v1/catalog/node/{gone}"), |r| r.text == "null")
        .await;
    assert_eq!(nodes(&agent).await, 1000);
    for still in [4, 5, 10] {
        let row = agent
            .get(&format!("/v1/catalog/node/{}", Crowd::name(still)))
            .await;
        assert!(row.number("/Node/ModifyIndex") <= index, "{}", row.text);
    }
    assert!(crowd.pings() < 500, "one probe a second, whoever there is");
}

/// The figures of docs/measurements.md: `tests/run system -- --ignored --nocapture ten_thousand`.
#[tokio::test]
#[ignore = "a measurement of two minutes"]
async fn figures_of_ten_thousand_nodes() {
    const COUNT: usize = 10_000;
    let folder = Folder::new();
    let agent = Agent::server(folder.path()).await;
    let pid = agent.pid();
    let (memory, begun) = (agent.memory(), used(pid));
    let crowd = Crowd::new(COUNT);
    crowd.join(agent.gossip_address());
    let took = registered(&agent, COUNT).await;
    let joined = used(pid);
    println!(
        "{COUNT} members join: all in the catalog after {:.2} s, {} ms of processor time, {} bytes of memory each",
        took.as_secs_f64(),
        (joined - begun).as_millis(),
        (agent.memory() - memory) / COUNT as u64
    );
    tokio::time::sleep(Duration::from_secs(20)).await;
    let rest = used(pid);
    tokio::time::sleep(Duration::from_secs(60)).await;
    let idle = used(pid) - rest;
    println!(
        "rest, with one full comparison a minute: {:.2} ms/s",
        idle.as_secs_f64() * 1e3 / 60.0
    );

    let before = used(pid);
    for member in 0..200 {
        crowd.change(agent.gossip_address(), member, 2);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!(
        "a changed member: {:.2} ms of processor time",
        (used(pid) - before).as_secs_f64() * 1e3 / 200.0
    );
    crowd.silence(4321);

    let before = (used(pid), Instant::now(), agent.memory());
    let writers = (0..32).map(|writer| {
        let client = agent.another_client();
        async move {
            for n in (writer..COUNT).step_by(32) {
                let body = json!({"Node": format!("x{n:05}"), "Address": "10.1.2.3",
                    "Service": {"ID": format!("web{n}"), "Service": "web", "Port": 8080},
                    "Check": {"CheckID": format!("c{n}"), "ServiceID": format!("web{n}"), "Name": "c", "Status": "passing"}});
                let request = Request::new(Method::PUT, "/v1/catalog/register").json(&body);
                client.tell(request).await.expect("it is registered");
            }
        }
    });
    futures_util::future::join_all(writers).await;
    println!(
        "{COUNT} more nodes with an instance and a check by 32 clients: {:.0}/s, {:.3} ms of processor time and {} bytes each",
        COUNT as f64 / before.1.elapsed().as_secs_f64(),
        (used(pid) - before.0).as_secs_f64() * 1e3 / COUNT as f64,
        (agent.memory() - before.2) / COUNT as u64
    );
    for n in 0..10 {
        agent.external(&Crowd::name(n * 7), &Crowd::address(n * 7).to_string(),
            json!({"SkipNodeUpdate": true, "Service": {"ID": "few", "Service": "few", "Port": 1}})).await;
    }
    println!("| question | median | worst of 40 | bytes |\n| --- | ---: | ---: | ---: |");
    for path in [
        "/v1/health/service/few?passing",
        "/v1/catalog/node/crowd-05000",
        "/v1/health/state/critical",
        "/v1/catalog/nodes",
        "/v1/health/state/any",
        "/v1/agent/members",
        "/v1/health/service/web?passing",
    ] {
        let (mut times, mut bytes) = (Vec::new(), 0);
        let client = agent.another_client();
        for _ in 0..40 {
            let begin = Instant::now();
            // Read, and not looked into: that would measure this program.
            let (place, query) = path.split_once('?').unwrap_or((path, ""));
            let request = Request::new(Method::GET, place).raw_query(query);
            let answer = client.send(request).await;
            times.push(begin.elapsed());
            bytes = answer.expect("an answer").text().len();
        }
        times.sort();
        println!(
            "| `{path}` | {:.2} ms | {:.2} ms | {bytes} |",
            times[20].as_secs_f64() * 1e3,
            times[39].as_secs_f64() * 1e3
        );
    }
    for name in [
        "crowd-05000.node.consul",
        "few.service.consul",
        "web.service.consul",
    ] {
        let mut times = Vec::new();
        for _ in 0..40 {
            let begin = Instant::now();
            let answer = agent.dns(name, "A").await;
            assert!(!answer.data().is_empty(), "{name}");
            times.push(begin.elapsed());
        }
        times.sort();
        println!(
            "| {name} | {:.2} ms | {:.2} ms | |",
            times[20].as_secs_f64() * 1e3,
            times[39].as_secs_f64() * 1e3
        );
    }
}

/// The figures of docs/measurements.md: `tests/run system -- --ignored --nocapture hundreds`.
#[tokio::test]
#[ignore = "a measurement of two minutes"]
async fn figures_of_hundreds_of_agents() {
    const COUNT: usize = 200;
    let folder = Folder::new();
    let named = |name: &str| json!({"node_name": name});
    let server = Agent::build_server(&folder.join("server"))
        .config(named("server"))
        .start()
        .await;
    let join = server.gossip_address().to_string();
    let begin = Instant::now();
    let mut clients: Vec<Agent> = (0..COUNT)
        .map(|n| {
            let args = vec!["-retry-join".to_owned(), join.clone()];
            let name = format!("client-{n}");
            // Each has an address of its own: servers limit the connections from one.
            let bind = json!({"bind_addr": format!("127.0.8.{}", n + 1)});
            Agent::build_with(args, &folder.join(&name))
                .config(named(&name))
                .config(bind)
                .spawn()
        })
        .collect();
    let alive = async |agent: &Agent| {
        let reply = agent.try_get("/v1/agent/members").await?;
        Some(reply.rows().iter().filter(|m| m["Status"] == 1).count())
    };
    for client in &mut clients {
        client.ready().await;
        until_for(LIMIT, "all members", async || {
            (alive(client).await? > COUNT).then_some(())
        })
        .await;
    }
    registered(&server, COUNT).await;
    println!(
        "{COUNT} client agents: all started, and each sees all others, after {:.1} s",
        begin.elapsed().as_secs_f64()
    );
    tokio::time::sleep(Duration::from_secs(30)).await;
    let before: Vec<Duration> = clients.iter().map(|c| used(c.pid())).collect();
    let of_server = used(server.pid());
    tokio::time::sleep(Duration::from_secs(30)).await;
    let mut rest: Vec<f64> = clients
        .iter()
        .zip(before)
        .map(|(c, before)| (used(c.pid()) - before).as_secs_f64() * 1e3 / 30.0)
        .collect();
    rest.sort_by(f64::total_cmp);
    println!(
        "at rest: a client {:.2} ms/s (median; worst {:.2}), the server {:.2} ms/s",
        rest[COUNT / 2],
        rest[COUNT - 1],
        (used(server.pid()) - of_server).as_secs_f64() * 1e3 / 30.0
    );
    let wrong = clients
        .iter()
        .filter(|c| c.log().contains("EventMemberFailed"));
    println!("agents that took another for failed: {}", wrong.count());

    let mut dead = clients.remove(COUNT / 2);
    let begin = Instant::now();
    dead.kill().await;
    let mut seen = Vec::new();
    for client in clients.iter().step_by(10) {
        until_for(LIMIT, "the failure", async || {
            (alive(client).await? == COUNT).then_some(())
        })
        .await;
        seen.push(begin.elapsed().as_secs_f64());
    }
    let path = format!("/v1/health/node/client-{}", COUNT / 2);
    server
        .get_until(&path, |r| r.at("/0/Status") == "critical")
        .await;
    println!(
        "a killed one: seen after {:.1} s, by all after {:.1} s, critical in the catalog after {:.1} s",
        seen[0],
        seen[seen.len() - 1],
        begin.elapsed().as_secs_f64()
    );
}
