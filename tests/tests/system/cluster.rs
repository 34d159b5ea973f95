//! Several servers: they make one cluster, replicate, survive the loss of each other, leave and
//! come back.

mod faults;

use lictor_client::{Client, KvWrite};
use lictor_tests::{Agent, Builder, Folder, Value, json, until, until_for};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A condition that waits for the failure detector of gossip takes longer than others.
const FAILURE: Duration = Duration::from_secs(60);

fn folder_of(folder: &Folder, n: usize) -> std::path::PathBuf {
    folder.join(&format!("s{n}"))
}

fn builder(folder: &Folder, n: usize, expect: usize) -> Builder {
    Agent::build_server_of(&folder_of(folder, n), expect).config(json!({
        "node_name": format!("s{n}"),
        "retry_interval": "500ms",
        "performance": {"raft_multiplier": 1, "leave_drain_time": "100ms"},
    }))
}

/// Servers that have found each other. Some may be down.
struct Cluster {
    folder: Folder,
    servers: Vec<Agent>,
    join: Vec<String>,
}

impl Cluster {
    /// So many servers, with a leader.
    async fn of(count: usize) -> Cluster {
        Cluster::with(count, json!({})).await
    }

    async fn with(count: usize, more: Value) -> Cluster {
        let folder = Folder::new();
        let builders: Vec<Builder> = (1..=count).map(|n| builder(&folder, n, count)).collect();
        let join: Vec<String> = builders
            .iter()
            .map(|b| b.gossip_address().to_string())
            .collect();
        let servers = builders
            .into_iter()
            .map(|b| b.config(json!({"retry_join": join})).config(more.clone()))
            .map(Builder::spawn)
            .collect();
        let mut cluster = Cluster {
            folder,
            servers,
            join,
        };
        cluster.all_ready().await;
        cluster
    }

    async fn all_ready(&mut self) {
        for server in &mut self.servers {
            server.ready().await;
        }
    }

    /// One more server, which waits to be taken in.
    async fn add(&mut self) {
        let n = self.servers.len() + 1;
        let join = json!({"retry_join": self.join});
        let server = builder(&self.folder, n, 0).config(join).start().await;
        self.servers.push(server);
    }

    /// The server that leads, as all of `among` see it.
    async fn leader(&self, among: &[usize]) -> usize {
        let look = async || {
            let mut seen = Vec::new();
            for i in among {
                let reply = self.servers[*i].try_get("/v1/status/leader").await?;
                seen.push(
                    reply
                        .json
                        .as_str()?
                        .rsplit_once(':')?
                        .1
                        .parse::<u16>()
                        .ok()?,
                );
            }
            seen.dedup();
            let [port] = seen[..] else { return None };
            among
                .iter()
                .copied()
                .find(|i| self.servers[*i].server_port() == port)
        };
        until("one leader", look).await
    }

    /// Ids, votes and names by what a server shows.
    async fn peers(&self, of: usize) -> Vec<(String, bool)> {
        let path = "/v1/operator/raft/configuration?stale";
        let reply = self.servers[of].get(path).await.ok();
        let mut peers: Vec<_> = reply.json["Servers"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|s| {
                let name = s["Node"].as_str().unwrap_or_default().to_owned();
                (name, s["Voter"] == true)
            })
            .collect();
        peers.sort();
        peers
    }

    async fn peers_become(&self, of: usize, wanted: &[(&str, bool)]) {
        let wanted: Vec<_> = wanted.iter().map(|(n, v)| ((*n).to_owned(), *v)).collect();
        let mut last = Vec::new();
        let what = format!("the peers {wanted:?}");
        until_for(FAILURE, &what, async || {
            last = self.peers(of).await;
            (last == wanted).then_some(())
        })
        .await;
    }

    async fn put(&self, at: usize, key: &str, value: &str) {
        let reply = self.servers[at].put(&format!("/v1/kv/{key}"), value).await;
        assert_eq!(reply.ok().text, "true");
    }

    async fn read(&self, at: usize, key: &str) -> String {
        let path = format!("/v1/kv/{key}?raw");
        self.servers[at].get(&path).await.text
    }
}

#[tokio::test]
async fn what_is_written_anywhere_is_read_everywhere() {
    let cluster = Cluster::of(3).await;
    let leader = cluster.leader(&[0, 1, 2]).await;
    for at in 0..3 {
        cluster.put(at, &format!("k{at}"), &format!("v{at}")).await;
        for from in 0..3 {
            // At once, without waiting: reads are linearizable on every server.
            assert_eq!(
                cluster.read(from, &format!("k{at}")).await,
                format!("v{at}")
            );
            let consistent = format!("/v1/kv/k{at}?raw&consistent");
            let reply = cluster.servers[from].get(&consistent).await;
            assert_eq!(reply.ok().text, format!("v{at}"));
        }
        // Who has written finds it where it wrote, even stale.
        let stale = format!("/v1/kv/k{at}?stale&raw");
        let stale = cluster.servers[at].get(&stale).await;
        assert_eq!(stale.text, format!("v{at}"));
    }
    for (i, server) in cluster.servers.iter().enumerate() {
        let reply = server.get("/v1/kv/k0?stale").await.ok();
        assert_eq!(reply.header("x-consul-knownleader"), Some("true"));
        let contact = reply.header("x-consul-lastcontact").unwrap_or_default();
        let contact: u64 = contact.parse().expect("milliseconds");
        assert!(contact < 1000 && (i != leader || contact == 0), "{contact}");
        assert_eq!(server.get("/v1/status/peers").await.rows().len(), 3);
        let info = server.cli(&["info"]).await;
        assert!(info.stdout.contains("num_peers = 2"), "{}", info.stdout);
        let health = server.get_until("/v1/operator/autopilot/health", |r| r.status == 200);
        let health = health.await;
        assert_eq!(health.number("/FailureTolerance"), 1);
        assert_eq!(health.at("/Servers").as_array().map(Vec::len), Some(3));
    }
    let listed = cluster.servers[(leader + 1) % 3].cli(&["operator", "raft", "list-peers"]);
    let listed = listed.await.stdout;
    assert_eq!(listed.matches("follower").count(), 2, "{listed}");
    assert_eq!(listed.matches("leader").count(), 1, "{listed}");
    let state = cluster.servers[0].cli(&["operator", "autopilot", "state"]);
    let state = state.await.stdout;
    assert_eq!(
        state.matches("Healthy:           true").count(),
        3,
        "{state}"
    );
}

/// What one writer knows: the number last acknowledged and the number last sent, for each of its
/// keys. Only it writes them, one after the other.
type Ledger = BTreeMap<String, (u64, u64)>;

struct Load {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    writers: Vec<tokio::task::JoinHandle<Ledger>>,
}

impl Load {
    /// Writers, each at a server of its own and going on to the next one after a failure.
    fn start(cluster: &Cluster, writers: usize) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::new(AtomicU64::new(0));
        let clients: Vec<Client> = cluster.servers.iter().map(Agent::another_client).collect();
        let writers = (0..writers)
            .map(|n| {
                let (stop, acknowledged) = (stop.clone(), acknowledged.clone());
                tokio::spawn(write(clients.clone(), n, stop, acknowledged))
            })
            .collect();
        Load {
            stop,
            acknowledged,
            writers,
        }
    }

    /// Waits until so many more are acknowledged.
    async fn more(&self, count: u64) {
        let from = self.acknowledged.load(Ordering::Relaxed);
        until_for(FAILURE, "more acknowledged writes", async || {
            (self.acknowledged.load(Ordering::Relaxed) >= from + count).then_some(())
        })
        .await;
    }

    /// Ends it. Each key must hold what was acknowledged last, or what was sent after that.
    async fn check(self, cluster: &Cluster, at: usize) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        let mut keys = 0;
        for writer in self.writers {
            for (key, (acknowledged, sent)) in writer.await.expect("a writer") {
                let text = cluster.read(at, &key).await;
                let found: u64 = text.parse().unwrap_or(0);
                assert!(
                    found == acknowledged || (found > acknowledged && found <= sent),
                    "{key} is {found}; acknowledged {acknowledged}, sent {sent}"
                );
                keys += 1;
            }
        }
        assert!(keys > 0);
        self.acknowledged.load(Ordering::Relaxed)
    }
}

async fn write(
    clients: Vec<Client>,
    writer: usize,
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
) -> Ledger {
    let mut ledger = Ledger::new();
    let (mut number, mut at) = (0, writer);
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        let key = format!("load/{writer}/{}", number % 5);
        let entry = ledger.entry(key.clone()).or_default();
        entry.1 = number;
        let write = KvWrite {
            key,
            value: number.to_string().into(),
            ..KvWrite::default()
        };
        match clients[at % clients.len()].kv_put(&write).await {
            Ok(written) => {
                assert!(written);
                entry.0 = number;
                acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            Err(_) => {
                at += 1;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }
    ledger
}

/// Writes until it succeeds, from a given moment on.
async fn next_write(client: &Client, since: Instant, key: &str) -> Duration {
    let write = KvWrite {
        key: key.to_owned(),
        value: "1".into(),
        ..KvWrite::default()
    };
    until_for(FAILURE, "a write after the loss", async || {
        matches!(client.kv_put(&write).await, Ok(true)).then_some(())
    })
    .await;
    since.elapsed()
}

#[tokio::test]
async fn a_server_that_leaves_shrinks_the_quorum() {
    let mut cluster = Cluster::of(3).await;
    let leader = cluster.leader(&[0, 1, 2]).await;
    let load = Load::start(&cluster, 3);
    load.more(30).await;
    // The leader first: it hands over.
    cluster.servers[leader]
        .put("/v1/agent/leave", ())
        .await
        .ok();
    let end = cluster.servers[leader].exit().await;
    assert_eq!(end.code, 0);
    let rest: Vec<usize> = (0..3).filter(|i| *i != leader).collect();
    let name = |i: usize| format!("s{}", i + 1);
    let (a, b) = (name(rest[0]), name(rest[1]));
    cluster
        .peers_become(rest[0], &[(a.as_str(), true), (b.as_str(), true)])
        .await;
    load.more(30).await;
    let second = cluster.leader(&rest).await;
    let last = rest[0] + rest[1] - second;
    cluster.servers[second]
        .put("/v1/agent/leave", ())
        .await
        .ok();
    assert_eq!(cluster.servers[second].exit().await.code, 0);
    cluster
        .peers_become(last, &[(name(last).as_str(), true)])
        .await;
    load.more(30).await;
    load.check(&cluster, last).await;
    // Alone it answers, and comes back alone.
    cluster.put(last, "alone", "1").await;
    cluster.servers[last].kill().await;
    cluster.servers[last].start_again().await;
    assert_eq!(cluster.read(last, "alone").await, "1");
    // Those that left come back under their old names and ids, with their old data.
    for i in [leader, second] {
        cluster.servers[i].start_again().await;
    }
    cluster
        .peers_become(last, &[("s1", true), ("s2", true), ("s3", true)])
        .await;
    assert_eq!(cluster.read(leader, "alone").await, "1");
}

/// The leader lets one that says goodbye go, and does not hold it against it.
#[tokio::test]
async fn a_server_that_left_is_welcome_at_once() {
    let mut cluster = Cluster::of(3).await;
    let leader = cluster.leader(&[0, 1, 2]).await;
    let leaver = (leader + 1) % 3;
    cluster.servers[leaver]
        .put("/v1/agent/leave", ())
        .await
        .ok();
    assert_eq!(cluster.servers[leaver].exit().await.code, 0);
    assert_eq!(cluster.peers(leader).await.len(), 2);
    cluster.servers[leaver].start_again().await;
    // It is taken in when gossip shows it, long before a minute has passed.
    until_for(Duration::from_secs(30), "its return", async || {
        (cluster.peers(leader).await.len() == 3).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_new_server_earns_its_vote_and_a_dead_one_is_removed() {
    let more = json!({"autopilot": {"server_stabilization_time": "1s"}});
    let mut cluster = Cluster::with(3, more).await;
    for n in 0..50 {
        cluster.put(0, &format!("early/{n}"), "v").await;
    }
    cluster.add().await;
    cluster
        .peers_become(0, &[("s1", true), ("s2", true), ("s3", true), ("s4", true)])
        .await;
    assert_eq!(cluster.read(3, "early/7").await, "v");
    cluster.servers[3].kill().await;
    cluster
        .peers_become(0, &[("s1", true), ("s2", true), ("s3", true)])
        .await;
    cluster.put(1, "after", "1").await;
    // A new server on the old one's name: another id, an empty folder.
    std::fs::remove_dir_all(folder_of(&cluster.folder, 4)).expect("its data");
    cluster.servers[3].start_again().await;
    cluster
        .peers_become(0, &[("s1", true), ("s2", true), ("s3", true), ("s4", true)])
        .await;
    assert_eq!(cluster.read(3, "after").await, "1");
}

#[tokio::test]
async fn operators_remove_peers_move_the_lead_and_set_autopilot() {
    let mut cluster = Cluster::of(3).await;
    let leader = cluster.leader(&[0, 1, 2]).await;
    let (a, b) = ((leader + 1) % 3, (leader + 2) % 3);
    let set = [
        "operator",
        "autopilot",
        "set-config",
        "-cleanup-dead-servers=false",
    ];
    let out = cluster.servers[a].cli(&set).await;
    assert_eq!(out.stdout, "Configuration updated!\n", "{}", out.stderr);
    let shown = cluster.servers[b].cli(&["operator", "autopilot", "get-config"]);
    assert!(
        shown
            .await
            .stdout
            .starts_with("CleanupDeadServers = false\n")
    );

    // The lead goes where it is sent.
    let id = cluster.servers[b].get("/v1/agent/self").await;
    let id = id.str("/Config/NodeID").to_owned();
    let out = cluster.servers[a]
        .cli(&["operator", "raft", "transfer-leader", &format!("-id={id}")])
        .await;
    assert_eq!(out.stdout, "Success\n", "{}", out.stderr);
    assert_eq!(cluster.leader(&[0, 1, 2]).await, b);

    // A dead one stays until an operator removes it.
    cluster.servers[leader].kill().await;
    let dead = format!("s{}", leader + 1);
    until_for(FAILURE, "the failure", async || {
        let members = cluster.servers[a].get("/v1/agent/members").await;
        let failed = |m: &&Value| m["Name"] == dead.as_str() && m["Status"] == 4;
        members.rows().iter().find(failed).map(|_| ())
    })
    .await;
    let health = cluster.servers[a].get_until("/v1/operator/autopilot/health", |r| r.status == 429);
    assert_eq!(health.await.at("/Healthy"), &json!(false));
    assert_eq!(cluster.peers(a).await.len(), 3);
    let address = format!("127.0.0.1:{}", cluster.servers[leader].server_port());
    let out = cluster.servers[a]
        .cli(&[
            "operator",
            "raft",
            "remove-peer",
            &format!("-address={address}"),
        ])
        .await;
    let done = format!("Removed peer with address \"{address}\"\n");
    assert_eq!(out.stdout, done, "{}", out.stderr);
    assert_eq!(cluster.peers(b).await.len(), 2);
    cluster.put(a, "two", "1").await;
    let again = format!("/v1/operator/raft/peer?address={address}");
    let refused = cluster.servers[a].delete(&again).await;
    let why = format!("address \"{address}\" was not found in the Raft configuration");
    assert!(refused.text.ends_with(&why), "{}", refused.text);
}

#[tokio::test]
async fn all_servers_come_back_on_new_addresses() {
    let mut cluster = Cluster::of(3).await;
    cluster.put(0, "kept", "1").await;
    for server in &mut cluster.servers {
        server.kill().await;
    }
    let join: Vec<String> = cluster
        .join
        .iter()
        .enumerate()
        .map(|(i, at)| at.replace("127.0.0.1", &format!("127.0.0.{}", i + 11)))
        .collect();
    for (i, server) in cluster.servers.iter_mut().enumerate() {
        server.reconfigure(json!({"bind_addr": format!("127.0.0.{}", i + 11), "retry_join": join}));
        server.spawn_again();
    }
    cluster.all_ready().await;
    assert_eq!(cluster.read(1, "kept").await, "1");
    cluster.put(2, "kept", "2").await;
    let moved = |text: &str| (0..3).all(|i| text.contains(&format!("127.0.0.{}:", i + 11)));
    cluster.servers[0]
        .get_until("/v1/status/peers", |r| moved(&r.text))
        .await;
}

#[tokio::test]
async fn sessions_live_by_renewals_at_any_server() {
    let cluster = Cluster::with(3, json!({"session_ttl_min": "200ms"})).await;
    let leader = cluster.leader(&[0, 1, 2]).await;
    let follower = (leader + 1) % 3;
    let create = |name: &str| json!({"Name": name, "TTL": "2s", "Node": "s1", "LockDelay": "0s"});
    let put = async |name: &str| {
        let reply = cluster.servers[follower]
            .put("/v1/session/create", create(name))
            .await;
        reply.ok().str("/ID").to_owned()
    };
    let (kept, dropped) = (put("kept").await, put("dropped").await);
    let lock = format!("/v1/kv/lock?acquire={kept}");
    assert_eq!(cluster.servers[follower].put(&lock, "x").await.text, "true");
    let start = Instant::now();
    until("the end of the other session", async || {
        let renewed = cluster.servers[follower]
            .put(&format!("/v1/session/renew/{kept}"), ())
            .await;
        renewed.ok();
        let all = cluster.servers[leader].get("/v1/session/list").await;
        let has = |id: &str| all.rows().iter().any(|s| s["ID"] == id);
        assert!(has(&kept), "renewed all the time");
        (!has(&dropped)).then_some(())
    })
    .await;
    assert!(
        start.elapsed() >= Duration::from_secs(2),
        "not before its time"
    );
    let gone = cluster.servers[follower]
        .put(&format!("/v1/session/renew/{dropped}"), ())
        .await;
    gone.expect(404);
}

#[tokio::test]
async fn who_is_of_another_mind_is_told_and_left_alone() {
    let folder = Folder::new();
    let first = builder(&folder, 1, 3);
    let join = json!({"retry_join": [first.gossip_address().to_string()]});
    let mut first = first.config(join.clone()).spawn();
    let mut second = builder(&folder, 2, 5).config(join.clone()).spawn();
    until("the conflict in the log", async || {
        first
            .log()
            .contains("conflicting expect value")
            .then_some(())
    })
    .await;
    assert_eq!(first.get("/v1/status/leader").await.text, "\"\"");
    first.kill().await;
    second.kill().await;

    // A server with a cluster of its own does not become part of another.
    let cluster = Cluster::of(1).await;
    let stranger = Agent::build()
        .config(json!({"node_name": "stranger"}))
        .start()
        .await;
    let at = cluster.join[0].clone();
    stranger.put(&format!("/v1/agent/join/{at}"), ()).await.ok();
    until("the stranger is named", async || {
        let log = cluster.servers[0].log();
        log.contains("belongs to a cluster of its own")
            .then_some(())
    })
    .await;
    assert_eq!(cluster.peers(0).await, [("s1".to_owned(), true)]);
    stranger.put("/v1/kv/own", "1").await.ok();
    assert_eq!(cluster.servers[0].get("/v1/kv/own").await.status, 404);
}
