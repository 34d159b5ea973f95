//! `provider=aws`: moto is EC2 and ECS, and wants good signatures and the permissions of
//! `ecs/iam-policy.json`; metadata services are at their own addresses, one for each machine.

use crate::python::programs;
use lictor_tests::netns::{Net, Place};
use lictor_tests::{Agent, Folder, Metadata, Value, json, peer, until_for, workspace};
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The machine that AWS is on.
const AWS: u8 = 1;
const PORT: u16 = 5000;
/// How long agents may take to find each other: one that asked too early asks again.
const LIMIT: Duration = Duration::from_secs(60);

/// An account on a network of its own.
struct Account {
    net: Net,
    moto: Child,
    facts: Value,
}

impl Drop for Account {
    fn drop(&mut self) {
        let _ = self.moto.kill();
        let _ = self.moto.wait();
    }
}

impl Account {
    /// An account with instances: the number of a machine, and its tag.
    async fn with(instances: &[(u8, &str)]) -> Account {
        let programs = programs().await;
        let net = Net::new();
        let place = net.machine(AWS);
        let at = (place.address(), PORT);
        let mut moto = place.command(&programs.join("moto_server"));
        moto.args(["-H", &at.0.to_string(), "-p", &PORT.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let moto = moto.spawn().expect("moto");
        let mut account = Account {
            net,
            moto,
            facts: Value::Null,
        };
        until_for(LIMIT, "moto", async || {
            place.enter(|| TcpStream::connect(at).is_ok()).then_some(())
        })
        .await;
        let mut fill = place.command(&programs.join("python"));
        fill.arg(workspace().join("tests/tests/ecs/python/account.py"))
            .arg(format!("http://{}:{PORT}", at.0))
            .arg(workspace().join("ecs"));
        for (number, tag) in instances {
            fill.arg(format!("10.99.0.{number} {tag}"));
        }
        let out = output(fill).await;
        account.facts = serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}"));
        account
    }

    /// The text that finds the servers.
    fn text(&self, more: &str) -> String {
        format!(
            "provider=aws tag_key=lictor tag_value=server endpoint=http://10.99.0.{AWS}:{PORT} {more}"
        )
    }

    fn region(&self) -> &str {
        self.facts["region"].as_str().expect("a region")
    }

    /// EC2's metadata on a machine, with the role or without one.
    fn metadata(&self, place: &Place, role: bool) -> Metadata {
        let service = service_at(place, Ipv4Addr::new(169, 254, 169, 254));
        let document = json!({"region": self.region(), "instanceId": "i-1"});
        service.set("dynamic/instance-identity/document", document.to_string());
        if role {
            service.set("meta-data/iam/security-credentials/", "lictor\n");
            let role = self.facts["role"].to_string();
            service.set("meta-data/iam/security-credentials/lictor", role);
        }
        service
    }
}

async fn output(mut command: Command) -> String {
    let out = tokio::task::spawn_blocking(move || command.output().expect("it runs"));
    let out = out.await.expect("its output");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(out.status.success(), "{}", text(&out.stderr));
    text(&out.stdout)
}

/// A metadata service at port 80 of an address that only this machine has.
fn service_at(place: &Place, address: Ipv4Addr) -> Metadata {
    let mut add = place.command(&peer("ip", "iproute2"));
    let done = add.args(["address", "add", &format!("{address}/32"), "dev", "lo"]);
    assert!(done.status().expect("ip").success());
    Metadata::on(place.enter(|| TcpListener::bind((address, 80)).expect("port 80")))
}

/// The members that an agent knows to be alive.
async fn members(agent: &Agent) -> BTreeSet<String> {
    let reply = agent.try_get("/v1/agent/members").await;
    let rows = reply.map(|r| r.json).unwrap_or_default();
    let rows = rows.as_array().cloned().unwrap_or_default();
    let alive = rows.iter().filter(|m| m["Status"] == 1);
    alive
        .filter_map(|m| m["Name"].as_str().map(String::from))
        .collect()
}

fn server(folder: &Folder, place: &Place, name: &str, join: &str) -> Agent {
    let args = [
        "-server",
        "-bootstrap-expect=3",
        "-retry-interval=1s",
        "-retry-join",
        join,
    ];
    Agent::build_with(args.map(String::from).to_vec(), &folder.join(name))
        .config(json!({"node_name": name, "performance": {"raft_multiplier": 1}}))
        .within(place)
        .spawn()
}

/// Three servers and a client make a cluster, and nobody has named an address. The client is a task
/// with a role: its credentials and its region come from ECS.
#[tokio::test]
async fn agents_find_each_other_by_tag() {
    let tagged = "lictor=server";
    let account = Account::with(&[
        (11, tagged),
        (12, tagged),
        (13, tagged),
        (14, "lictor=other"),
        (99, tagged),
    ])
    .await;
    let folder = Folder::new();
    let join = account.text("");
    let mut services = Vec::new();
    let mut agents = Vec::new();
    let start = std::time::Instant::now();
    for number in 11..=13 {
        let place = account.net.machine(number);
        services.push(account.metadata(&place, true));
        // Sessions end; the agent gets another token.
        services[0].expire();
        agents.push(server(&folder, &place, &format!("server-{number}"), &join));
    }
    let place = account.net.machine(21);
    let task = service_at(&place, Ipv4Addr::new(169, 254, 170, 2));
    task.open(
        "/v2/credentials/x",
        Some("Bearer t"),
        account.facts["role"].to_string(),
    );
    let arn = format!("arn:aws:ecs:{}:123456789012:task/c/1", account.region());
    let document = json!({"TaskARN": arn, "DesiredStatus": "RUNNING", "KnownStatus": "RUNNING"});
    task.open("/v4/x/task", None, document.to_string());
    let args = ["-retry-interval=1s", "-retry-join", &join].map(String::from);
    let client = Agent::build_with(args.to_vec(), &folder.join("client"))
        .config(json!({"node_name": "client"}))
        .env(
            "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
            "/v2/credentials/x",
        )
        .env("AWS_CONTAINER_AUTHORIZATION_TOKEN", "Bearer t")
        .env("ECS_CONTAINER_METADATA_URI_V4", "http://169.254.170.2/v4/x")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .within(&place)
        .spawn();
    agents.push(client);
    let wanted: BTreeSet<String> = ["client", "server-11", "server-12", "server-13"]
        .map(String::from)
        .into();
    for agent in &agents {
        until_for(LIMIT, "four members", async || {
            (members(agent).await == wanted).then_some(())
        })
        .await;
    }
    until_for(LIMIT, "a leader", async || {
        let leader = agents[3].try_get("/v1/status/leader").await?;
        (leader.text.len() > 4).then_some(())
    })
    .await;
    println!(
        "three servers and a client, found by tag: {:?}",
        start.elapsed()
    );
    let log = agents[3].log();
    assert!(
        log.contains("Discovered servers") && log.contains("discover-aws: Region is eu-west-1"),
        "{log}"
    );
    // Terminated instances and those with another tag are nobody.
    for number in [11, 12, 13] {
        assert!(log.contains(&format!("10.99.0.{number}")), "{log}");
    }
    assert!(
        !log.contains("10.99.0.14") && !log.contains("10.99.0.99"),
        "{log}"
    );
}

/// Waits for a line of the log of an agent that cannot join.
async fn says(agent: &Agent, words: &str) {
    until_for(LIMIT, words, async || {
        agent.log().contains(words).then_some(())
    })
    .await;
    assert!(!agent.has_ended(), "it goes on trying");
}

/// What stands in the way is said, and when it is gone the next try works.
#[tokio::test]
async fn what_stands_in_the_way_is_named() {
    let account = Account::with(&[(11, "lictor=server")]).await;
    let folder = Folder::new();
    let place = account.net.machine(11);
    let lone = Agent::build_server(&folder.join("server"))
        .within(&place)
        .start()
        .await;
    let agent = |number: u8, more: &str, env: &[(&str, &str)]| {
        let place = account.net.machine(number);
        let args = ["-retry-interval=1s", "-retry-join", &account.text(more)].map(String::from);
        let mut agent = Agent::build_with(args.to_vec(), &folder.join(&number.to_string()))
            .config(json!({"node_name": format!("client-{number}")}))
            .within(&place);
        for (name, value) in env {
            agent = agent.env(name, value);
        }
        (place.clone(), agent.spawn())
    };
    let id = account.facts["nobody"]["id"].as_str().expect("an id");
    let secret = account.facts["nobody"]["secret"]
        .as_str()
        .expect("a secret");

    // No region, as nobody is there to say it.
    let (_, nowhere) = agent(21, "", &[]);
    says(&nowhere, "GetInstanceIdentityDocument failed").await;
    says(&nowhere, "No servers to join").await;

    // No credentials: each place that was tried.
    let (place, without) = agent(22, "region=eu-west-1", &[]);
    says(
        &without,
        "no credentials, tried environment: AWS_ACCESS_KEY_ID is not set; shared credentials file",
    )
    .await;
    says(&without, "EC2 instance role").await;
    // A service that keeps silent is beyond the hop limit; one without a role says so.
    let metadata = account.metadata(&place, false);
    metadata.mute(true);
    says(
        &without,
        "no answer within 1s): this is no EC2 instance, or the hop limit of its metadata is 1",
    )
    .await;
    metadata.mute(false);
    says(&without, "the instance has no role (no instance profile)").await;
    metadata.set("meta-data/iam/security-credentials/", "lictor");
    metadata.set(
        "meta-data/iam/security-credentials/lictor",
        account.facts["role"].to_string(),
    );
    until_for(LIMIT, "it joins", async || {
        (members(&without).await.len() == 2).then_some(())
    })
    .await;

    // A user without the permission, and one whose secret is another.
    let keys = [("AWS_ACCESS_KEY_ID", id), ("AWS_SECRET_ACCESS_KEY", secret)];
    let (_, denied) = agent(23, "region=eu-west-1", &keys);
    says(&denied, "lacks the permission ec2:DescribeInstances").await;
    let more = format!("region=eu-west-1 access_key_id={id} secret_access_key=\"wrong=\"");
    let (_, wrong) = agent(24, &more, &[]);
    says(&wrong, "AuthFailure").await;
    let log = wrong.log();
    assert!(!log.contains("wrong="), "a secret is in the log: {log}");

    // A task whose endpoint refuses it.
    let env = [("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:9/x")];
    let (_, refused) = agent(25, "region=eu-west-1", &env);
    says(
        &refused,
        "ECS task role: AWS_CONTAINER_CREDENTIALS_FULL_URI",
    )
    .await;
    drop(lone);
}

/// Servers that are tasks: their addresses come from ECS, found in all clusters or in one.
#[tokio::test]
async fn tasks_are_found_by_their_tags() {
    let account = Account::with(&[]).await;
    let folder = Folder::new();
    let role = |key: &str| {
        account.facts["role"][key]
            .as_str()
            .expect("a role")
            .to_owned()
    };
    for (number, more) in [(21, ""), (22, "ecs_cluster=c ecs_family=server")] {
        let text = account.text(&format!("service=ecs region={} {more}", account.region()));
        let args = ["-retry-interval=1s", "-retry-join", &text].map(String::from);
        let agent = Agent::build_with(args.to_vec(), &folder.join(&number.to_string()))
            .env("AWS_ACCESS_KEY_ID", &role("AccessKeyId"))
            .env("AWS_SECRET_ACCESS_KEY", &role("SecretAccessKey"))
            .env("AWS_SESSION_TOKEN", &role("Token"))
            .within(&account.net.machine(number))
            .spawn();
        says(&agent, "Discovered servers").await;
        let log = agent.log();
        let line = log.lines().find(|l| l.contains("Discovered servers"));
        let line = line.expect("the line");
        for (tag, found) in [("server", true), ("other", false)] {
            let tasks = account.facts["tasks"][tag].as_array().expect("tasks");
            assert_eq!(tasks.len(), 2);
            for address in tasks.iter().filter_map(Value::as_str) {
                assert_eq!(line.contains(address), found, "{tag} {address}: {line}");
            }
        }
    }
}

/// Providers that Consul has and Lictor has not are refused before anything starts.
#[tokio::test]
async fn other_clouds_are_refused() {
    let mut agent = Agent::build()
        .arg("-retry-join=provider=gce tag_value=x")
        .spawn();
    agent.log_is_checked();
    let exit = agent.exit().await;
    assert_eq!(exit.code, 1);
    let log = agent.log();
    assert!(
        log.contains("retry_join with provider=gce is not supported by this version of Lictor"),
        "{log}"
    );
}
