//! Our members beside real ones: the `serf` command (Debian's package `serf`, or the one named by the
//! variable `SERF`) on loopback addresses. Each test has addresses of its own, so all run at once.
// A test drives real sockets and processes.
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    clippy::disallowed_macros
)]

#[path = "../examples/pool/driver.rs"]
mod driver;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use driver::{Pool, Setup};
use lictor_gossip::random::Seed;
use lictor_gossip::serf::{KeyOperation, QueryParams};
use lictor_gossip::{AdmitAll, Config, Event, Own, Status, Tags};
use tokio::sync::mpsc;

/// Nothing here takes longer, unless it is broken.
const PATIENCE: Duration = Duration::from_secs(40);
/// Between two looks at a condition.
const STEP: Duration = Duration::from_millis(50);

fn serf_binary() -> String {
    std::env::var("SERF").unwrap_or_else(|_| "serf".to_owned())
}

/// A real agent.
struct Real {
    child: Child,
    name: String,
    addr: SocketAddr,
    rpc: String,
    dir: PathBuf,
}

impl Drop for Real {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Real {
    /// Starts an agent and waits until it answers.
    async fn start(name: &str, ip: &str, more: &[&str]) -> Self {
        let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("serf-{}-{ip}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a folder for its files");
        let log = std::fs::File::create(dir.join("log")).expect("a log file");
        let rpc = format!("{ip}:7373");
        let child = Command::new(serf_binary())
            .args(["agent", "-profile=local", "-log-level=debug"])
            .arg(format!("-node={name}"))
            .arg(format!("-bind={ip}:7946"))
            .arg(format!("-rpc-addr={rpc}"))
            .args(more.iter().map(|arg| arg.replace("DIR", dir.to_str().expect("a plain path"))))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| {
                panic!("these tests need the `serf` command (apt-get install serf, or set SERF to its path): {error}")
            });
        let addr = format!("{ip}:7946").parse().expect("an address");
        let it = Self {
            child,
            name: name.to_owned(),
            addr,
            rpc,
            dir,
        };
        it.until("it answers", || it.command("members", &[]).0)
            .await;
        it
    }

    /// Runs a command of its command line: whether it worked, and what it printed.
    fn command(&self, verb: &str, args: &[&str]) -> (bool, String) {
        let output = Command::new(serf_binary())
            .arg(verb)
            .arg(format!("-rpc-addr={}", self.rpc))
            .args(args)
            .output()
            .expect("the serf command");
        let text = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        (output.status.success(), text)
    }

    async fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let end = Instant::now() + PATIENCE;
        while !holds() {
            if Instant::now() > end {
                let log = std::fs::read_to_string(self.dir.join("log")).unwrap_or_default();
                let (_, members) = self.command("members", &[]);
                panic!(
                    "{} waited in vain until {what}\n{members}\n{log}",
                    self.name
                );
            }
            tokio::time::sleep(STEP).await;
        }
    }

    /// Its members: name to status and tags, as its command prints them.
    fn members(&self) -> BTreeMap<String, (String, String)> {
        let (_, text) = self.command("members", &[]);
        text.lines()
            .filter_map(|line| {
                let mut words = line.split_whitespace();
                let (name, _, status) = (words.next()?, words.next()?, words.next()?);
                let mut tags: Vec<&str> = words.next().unwrap_or("").split(',').collect();
                tags.sort_unstable();
                Some((name.to_owned(), (status.to_owned(), tags.join(","))))
            })
            .collect()
    }

    async fn sees(&self, name: &str, status: &str, tags: &str) {
        let wanted = (status.to_owned(), tags.to_owned());
        let what = format!("it sees {name} {status} {tags}");
        self.until(&what, || self.members().get(name) == Some(&wanted))
            .await;
    }

    fn file(&self, name: &str) -> String {
        std::fs::read_to_string(self.dir.join(name)).unwrap_or_default()
    }
}

/// A member of ours, with all its events.
struct Ours {
    pool: Pool,
    events: mpsc::Receiver<Event>,
    seen: Vec<Event>,
    addr: SocketAddr,
}

impl Ours {
    async fn start(
        name: &str,
        ip: &str,
        tags: &[(&str, &str)],
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let addr = format!("{ip}:7946").parse().expect("an address");
        let mut config = Config::local();
        change(&mut config);
        let tags: Tags = tags
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        let own = Own {
            name: name.to_owned(),
            advertise: addr,
            tags,
        };
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).expect("randomness");
        let setup = Setup {
            bind: addr,
            snapshot: None,
            admission: Box::new(AdmitAll),
            seed: Seed(seed),
        };
        let (sender, events) = mpsc::channel(4096);
        let pool = Pool::start(config, own, setup, sender)
            .await
            .expect("sockets");
        Self {
            pool,
            events,
            seen: Vec::new(),
            addr,
        }
    }

    async fn join(&mut self, to: SocketAddr) -> usize {
        let join = self
            .pool
            .with(move |core, now| core.join(now, &[to], false))
            .await;
        let done = self
            .event(
                "the join ends",
                |event| matches!(event, Event::JoinDone { id, .. } if Some(*id) == join),
            )
            .await;
        let Event::JoinDone { contacted, .. } = done else {
            unreachable!()
        };
        contacted
    }

    /// Waits for an event that may have come already.
    async fn event(&mut self, what: &str, wanted: impl Fn(&Event) -> bool) -> Event {
        let end = tokio::time::Instant::now() + PATIENCE;
        loop {
            if let Some(event) = self.seen.iter().find(|event| wanted(event)) {
                return event.clone();
            }
            match tokio::time::timeout_at(end, self.events.recv()).await {
                Ok(Some(event)) => self.seen.push(event),
                Ok(None) | Err(_) => panic!("waited in vain until {what}: {:#?}", self.seen),
            }
        }
    }

    async fn status(&self, name: &str) -> Option<(Status, String)> {
        let name = name.to_owned();
        let member = self
            .pool
            .with(move |core, _| core.member(&name).cloned())
            .await??;
        let tags: Vec<String> = member
            .tags
            .iter()
            .map(|(k, v)| format!("{k}={v}"))
            .collect();
        Some((member.status, tags.join(",")))
    }

    async fn sees(&self, name: &str, status: Status, tags: &str) {
        let end = Instant::now() + PATIENCE;
        loop {
            let seen = self.status(name).await;
            if seen == Some((status, tags.to_owned())) {
                return;
            }
            assert!(
                Instant::now() < end,
                "waited in vain for {name} {status:?} {tags}; it is {seen:?}"
            );
            tokio::time::sleep(STEP).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_joins_us_and_both_see_tags_events_queries_and_leaves() {
    let mut ours = Ours::start(
        "ours",
        "127.0.51.1",
        &[("role", "web"), ("dc", "x")],
        |_| {},
    )
    .await;
    let join = format!("-join={}", ours.addr);
    let real = Real::start(
        "real",
        "127.0.51.2",
        &[
            &join,
            "-tag=role=db",
            "-event-handler=user:deploy=cat > DIR/deploy",
            "-event-handler=query:load=echo 42",
        ],
    )
    .await;
    real.sees("ours", "alive", "dc=x,role=web").await;
    ours.sees("real", Status::Alive, "role=db").await;

    // Events, both ways.
    ours.pool
        .with(|core, now| core.fire_event(now, "deploy", b"version 7", false))
        .await
        .unwrap()
        .unwrap();
    real.until("the event came", || {
        real.file("deploy").trim_end() == "version 7"
    })
    .await;
    assert!(
        real.command("event", &["-coalesce=false", "restart", "all of it"])
            .0
    );
    ours.event("the event came", |event| {
        matches!(event, Event::User { name, payload, .. } if name == "restart" && payload == b"all of it")
    })
    .await;

    // Queries, both ways; the answer of a shell ends with its line.
    let params = QueryParams {
        ack: true,
        ..QueryParams::default()
    };
    let id = ours
        .pool
        .with(move |core, now| core.query(now, "load", b"", &params))
        .await
        .unwrap()
        .unwrap();
    ours.event(
        "the ack came",
        |event| matches!(event, Event::QueryAck { id: of, from } if *of == id && &**from == "real"),
    )
    .await;
    ours.event("the answer came", |event| {
        matches!(event, Event::QueryResponse { id: of, from, payload } if *of == id && &**from == "real" && payload == b"42\n")
    })
    .await;
    let asking = tokio::task::spawn_blocking({
        let rpc = real.rpc.clone();
        move || {
            let output = Command::new(serf_binary())
                .args([
                    "query",
                    "-no-ack",
                    &format!("-rpc-addr={rpc}"),
                    "-tag=role=^w",
                    "who",
                    "are you",
                ])
                .output()
                .expect("the serf command");
            String::from_utf8_lossy(&output.stdout).into_owned()
        }
    });
    let Event::Query(query) = ours
        .event(
            "the query came",
            |event| matches!(event, Event::Query(q) if q.name == "who"),
        )
        .await
    else {
        unreachable!()
    };
    assert_eq!(
        (&query.payload[..], &*query.source),
        (&b"are you"[..], "real")
    );
    ours.pool
        .with(move |core, now| core.respond(now, &query, b"ours indeed"))
        .await
        .unwrap()
        .unwrap();
    let answers = asking.await.unwrap();
    assert!(
        answers.contains("Response from 'ours': ours indeed"),
        "{answers}"
    );

    // Tags, both ways.
    let tags = Tags::from([("role".to_owned(), "cache".to_owned())]);
    ours.pool
        .with(move |core, now| core.set_tags(now, &tags))
        .await
        .unwrap()
        .unwrap();
    real.sees("ours", "alive", "role=cache").await;
    assert!(real.command("tags", &["-set", "zone=b"]).0);
    ours.sees("real", Status::Alive, "role=db,zone=b").await;

    // Coordinates come with the probes.
    let end = Instant::now() + PATIENCE;
    while ours
        .pool
        .with(|core, _| core.coordinate_of("real").is_none())
        .await
        .unwrap()
    {
        assert!(Instant::now() < end, "no coordinate came");
        tokio::time::sleep(STEP).await;
    }

    // It leaves, and we see it left.
    assert!(real.command("leave", &[]).0);
    ours.sees("real", Status::Left, "role=db,zone=b").await;
    assert!(
        !ours
            .seen
            .iter()
            .any(|event| matches!(event, Event::MemberFailed(_))),
        "{:?}",
        ours.seen
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn we_join_it_and_leave() {
    let real = Real::start("real", "127.0.52.2", &["-tag=role=db"]).await;
    let mut ours = Ours::start("ours", "127.0.52.1", &[("role", "web")], |config| {
        config.compress = true
    })
    .await;
    assert_eq!(ours.join(real.addr).await, 1);
    ours.sees("real", Status::Alive, "role=db").await;
    real.sees("ours", "alive", "role=web").await;
    ours.pool.with(|core, now| core.leave(now)).await;
    real.sees("ours", "left", "role=web").await;
    ours.event("the leave ends", |event| matches!(event, Event::Left))
        .await;
    assert!(!real.file("log").contains("EventMemberFailed"));
    // Who left may come back.
    drop(ours);
    tokio::time::sleep(STEP).await;
    let mut ours = Ours::start("ours", "127.0.52.1", &[("role", "again")], |_| {}).await;
    assert_eq!(ours.join(real.addr).await, 1);
    real.sees("ours", "alive", "role=again").await;
    ours.sees("ours", Status::Alive, "role=again").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_is_seen_on_both_sides_and_can_be_forced_to_leave() {
    let real = Real::start("real", "127.0.53.2", &[]).await;
    let other = Real::start("other", "127.0.53.3", &["-join=127.0.53.2:7946"]).await;
    let mut ours = Ours::start("ours", "127.0.53.1", &[], |_| {}).await;
    let mut doomed = Ours::start("doomed", "127.0.53.4", &[], |_| {}).await;
    assert_eq!(ours.join(real.addr).await, 1);
    assert_eq!(doomed.join(ours.addr).await, 1);
    for agent in [&real, &other] {
        agent.sees("ours", "alive", "").await;
        agent.sees("doomed", "alive", "").await;
    }
    // Killed without a word.
    drop(other);
    drop(doomed);
    ours.sees("other", Status::Failed, "").await;
    ours.sees("doomed", Status::Failed, "").await;
    real.sees("other", "failed", "").await;
    real.sees("doomed", "failed", "").await;
    real.sees("ours", "alive", "").await;
    // Declared gone: one by us, one by it.
    ours.pool
        .with(|core, now| core.force_leave(now, "other", false))
        .await;
    real.sees("other", "left", "").await;
    assert!(real.command("force-leave", &["doomed"]).0);
    ours.sees("doomed", Status::Left, "").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_encrypted_pool_and_the_rotation_of_its_key() {
    use base64::Engine as _;
    let base64 = |key: &[u8]| base64::engine::general_purpose::STANDARD.encode(key);
    let (old, new) = ([7_u8; 16], [9_u8; 32]);
    let encrypt = format!("-encrypt={}", base64(&old));
    let real = Real::start("real", "127.0.54.2", &[&encrypt]).await;
    let mut stranger = Ours::start("stranger", "127.0.54.3", &[], |_| {}).await;
    assert_eq!(stranger.join(real.addr).await, 0);
    drop(stranger);
    let mut wrong = Ours::start("wrong", "127.0.54.4", &[], |config| {
        config.keys = vec![vec![8; 16]]
    })
    .await;
    assert_eq!(wrong.join(real.addr).await, 0);
    drop(wrong);

    let mut ours = Ours::start("ours", "127.0.54.1", &[], |config| {
        config.keys = vec![old.to_vec()]
    })
    .await;
    assert_eq!(ours.join(real.addr).await, 1);
    real.sees("ours", "alive", "").await;
    ours.sees("real", Status::Alive, "").await;
    // Installed by it, put to use by us, the old one removed by it.
    let (ok, text) = real.command("keys", &[&format!("-install={}", base64(&new))]);
    assert!(ok, "{text}");
    ours.event(
        "the ring changed",
        |event| matches!(event, Event::KeyringChanged(keys) if keys.len() == 2),
    )
    .await;
    let done = key_operation(&mut ours, KeyOperation::Use, new.to_vec()).await;
    assert_eq!(
        (done.nodes, done.responses, done.errors),
        (2, 2, 0),
        "{done:?}"
    );
    let (ok, text) = real.command("keys", &[&format!("-remove={}", base64(&old))]);
    assert!(ok, "{text}");
    let done = key_operation(&mut ours, KeyOperation::List, Vec::new()).await;
    assert_eq!(
        (done.responses, done.keys.get(&base64(&new))),
        (2, Some(&2)),
        "{done:?}"
    );
    assert_eq!(done.keys.len(), 1);
    let (ok, text) = real.command("keys", &["-list"]);
    assert!(
        ok && text.contains(&base64(&new)) && text.contains("[2/2]"),
        "{text}"
    );
    // The pool still talks.
    ours.pool.with(|core, now| core.leave(now)).await;
    real.sees("ours", "left", "").await;
}

async fn key_operation(
    ours: &mut Ours,
    operation: KeyOperation,
    key: Vec<u8>,
) -> lictor_gossip::serf::KeyResult {
    let id = ours
        .pool
        .with(move |core, now| core.key_operation(now, operation, &key, 0))
        .await
        .unwrap()
        .unwrap();
    let done = ours
        .event(
            "the keys are done",
            |event| matches!(event, Event::KeyDone(result) if result.id == id),
        )
        .await;
    let Event::KeyDone(result) = done else {
        unreachable!()
    };
    result
}
