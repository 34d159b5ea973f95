//! Patroni keeps a PostgreSQL pair with its leader lock in the key/value store: a session with a
//! TTL, an acquired key, checks and services of its own, and waiting reads.

use crate::process::Process;
use lictor_client::{Client, ClientConfig, Method, Request};
use lictor_tests::{Agent, Folder, free_port, json, peer, until_for};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const SLOW: Duration = Duration::from_secs(120);

struct Member {
    name: &'static str,
    rest: u16,
    process: Process,
}

impl Member {
    fn start(name: &'static str, folder: &Folder, agent: &Agent) -> Member {
        let (rest, sql) = (free_port(), free_port());
        let postgres = peer("postgres", "postgresql");
        let bin = std::fs::canonicalize(&postgres).expect("its place");
        let bin = bin.parent().expect("its folder").display().to_string();
        let data = folder.join(name).display().to_string();
        let user = |name: &str| json!({"username": name, "password": "secret"});
        // JSON is YAML, too.
        let config = json!({
            "scope": "pair",
            "name": name,
            "restapi": {"listen": format!("127.0.0.1:{rest}"), "connect_address": format!("127.0.0.1:{rest}")},
            "consul": {"host": agent.http_address().to_string(), "register_service": true},
            "bootstrap": {
                "dcs": {"ttl": 20, "loop_wait": 1, "retry_timeout": 5,
                        "postgresql": {"parameters": {"fsync": "off", "shared_buffers": "16MB", "max_connections": 20}}},
                "initdb": [{"encoding": "UTF8"}, {"locale": "C"}],
                "pg_hba": ["host all all 127.0.0.1/32 trust", "host replication all 127.0.0.1/32 trust", "local all all trust"],
            },
            "postgresql": {
                "listen": format!("127.0.0.1:{sql}"),
                "connect_address": format!("127.0.0.1:{sql}"),
                "data_dir": format!("{data}/sql"),
                "bin_dir": bin,
                "pgpass": format!("{data}/pgpass"),
                "authentication": {"superuser": user("postgres"), "replication": user("replicator")},
                "parameters": {"unix_socket_directories": data},
            },
        });
        let path = folder.write(&format!("{name}/patroni.yml"), config.to_string());
        let patroni = peer("patroni", "patroni");
        let command = as_postgres(&patroni, &path, folder);
        Member {
            name,
            rest,
            process: Process::start(command, &folder.join(&format!("{name}.log"))),
        }
    }

    /// Whether it plays that part, by its own interface.
    async fn is(&self, part: &str) -> bool {
        let client =
            Client::new(ClientConfig::at(format!("127.0.0.1:{}", self.rest))).expect("a client");
        let answer = client
            .send(Request::encoded(Method::GET, &format!("/{part}")))
            .await;
        answer.is_ok_and(|a| a.status == 200)
    }
}

/// PostgreSQL refuses to run as root: then it runs as the user that Debian's package made.
fn as_postgres(patroni: &Path, config: &Path, folder: &Folder) -> Command {
    // SAFETY: geteuid only returns a number.
    if unsafe { libc::geteuid() } != 0 {
        let mut command = Command::new(patroni);
        command.arg(config);
        return command;
    }
    let given = Command::new("chown")
        .args(["-R", "postgres"])
        .arg(folder.path())
        .status();
    assert!(
        given.is_ok_and(|s| s.success()),
        "the folder cannot be given to postgres"
    );
    let mut command = Command::new(peer("runuser", "util-linux"));
    command
        .args(["-u", "postgres", "--"])
        .arg(patroni)
        .arg(config);
    command.current_dir(folder.path());
    command
}

#[tokio::test]
async fn the_leader_changes_when_it_ends() {
    let library = Path::new("/usr/lib/python3/dist-packages/consul/__init__.py");
    assert!(
        library.is_file(),
        "this test needs Debian's package python3-consul, and tests/run installs it"
    );
    let folder = Folder::new();
    let agent = Agent::dev().await;
    let lock = "/v1/kv/service/pair/leader";
    let holder = async || agent.try_get(&format!("{lock}?raw")).await.map(|r| r.text);

    let first = Member::start("one", &folder, &agent);
    until_for(SLOW, "a leader", async || {
        (holder().await? == "one" && first.is("primary").await).then_some(())
    })
    .await;
    let row = agent.get(lock).await.ok();
    let session = agent
        .get(&format!("/v1/session/info/{}", row.str("/0/Session")))
        .await
        .ok();
    assert_eq!(
        session.rows().len(),
        1,
        "the lock is held by a session that is there"
    );

    let second = Member::start("two", &folder, &agent);
    until_for(SLOW, "a replica", async || {
        second.is("replica").await.then_some(())
    })
    .await;
    let primary = agent
        .get_until("/v1/health/service/pair?passing&tag=master", |r| {
            r.rows().len() == 1
        })
        .await;
    assert!(primary.text.contains("one"), "{}", primary.text);
    agent
        .get_until("/v1/health/service/pair?passing&tag=replica", |r| {
            r.rows().len() == 1
        })
        .await;

    first.process.signal(libc::SIGTERM);
    until_for(SLOW, "another leader", async || {
        (holder().await? == second.name && second.is("primary").await).then_some(())
    })
    .await;
    // Its service follows: whoever asks by DNS finds the new one.
    let found = async || {
        agent
            .get("/v1/health/service/pair?passing&tag=master")
            .await
            .ok()
    };
    until_for(SLOW, "the new leader in the catalog", async || {
        let rows = found().await;
        (rows.rows().len() == 1 && rows.text.contains("two")).then_some(())
    })
    .await;
    assert_eq!(
        agent
            .dns("master.pair.service.consul", "SRV")
            .await
            .answers
            .len(),
        1
    );
    assert_eq!(first.name, "one");
}
