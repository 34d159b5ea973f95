//! What is on the disk: acknowledged writes survive `kill -9`, and a folder that cannot be used is
//! refused in one line and left as it is.

use lictor_client::{Client, KvWrite};
use lictor_tests::{Agent, Folder, Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const ROUNDS: u64 = 50;
const WRITERS: u64 = 6;
const KEYS: u64 = 8;

/// What one writer knows: for each of its keys the number last acknowledged and the number last
/// sent. Only it writes them, one after the other.
#[derive(Clone, Default)]
struct Ledger(BTreeMap<String, (u64, u64)>);

/// Writes growing numbers to its keys in turn until the agent is gone.
async fn write(
    client: Client,
    writer: u64,
    mut ledger: Ledger,
    acknowledged: Arc<AtomicU64>,
) -> Ledger {
    let mut number = ledger.0.values().map(|(_, sent)| *sent).max().unwrap_or(0);
    loop {
        number += 1;
        let key = format!("w{writer}/{}", number % KEYS);
        let entry = ledger.0.entry(key.clone()).or_default();
        entry.1 = number;
        let write = KvWrite {
            key,
            value: number.to_string().into(),
            ..KvWrite::default()
        };
        match client.kv_put(&write).await {
            Ok(written) => {
                assert!(written);
                entry.0 = number;
                acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            Err(_) => return ledger,
        }
    }
}

/// Fails unless each key holds what was acknowledged, or what was under way.
async fn check(agent: &Agent, ledgers: &[Ledger], round: u64) {
    let rows = agent.get("/v1/kv/?recurse").await;
    let held: BTreeMap<&str, &Value> = match rows.status {
        200 => rows
            .rows()
            .iter()
            .map(|row| (row["Key"].as_str().expect("a key"), row))
            .collect(),
        _ => BTreeMap::new(),
    };
    for (key, (acknowledged, sent)) in ledgers.iter().flat_map(|l| &l.0) {
        let raw = match held.get(key.as_str()) {
            Some(_) => agent.get(&format!("/v1/kv/{key}?raw")).await.ok().text,
            None => "0".to_owned(),
        };
        let found: u64 = raw.parse().expect("a number");
        // A write that was sent and not acknowledged may have happened, or not.
        let fits = found == *acknowledged || (found > *acknowledged && found <= *sent);
        assert!(
            fits,
            "round {round}: {key} is {found}; acknowledged {acknowledged}, sent {sent}"
        );
    }
}

#[tokio::test]
async fn acknowledged_writes_survive_fifty_kills() {
    let start = Instant::now();
    let folder = Folder::new();
    let mut agent = Agent::server(&folder.join("data")).await;
    let mut ledgers = vec![Ledger::default(); WRITERS as usize];
    let acknowledged = Arc::new(AtomicU64::new(0));
    let mut highest = 0;
    for round in 1..=ROUNDS {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let ledger = ledgers[writer as usize].clone();
                let count = acknowledged.clone();
                tokio::spawn(write(agent.another_client(), writer, ledger, count))
            })
            .collect();
        // Another moment each time, but never before the load has begun.
        let from = acknowledged.load(Ordering::Relaxed);
        let enough = 20 + (round * 37) % 160;
        lictor_tests::until("some load", async || {
            (acknowledged.load(Ordering::Relaxed) >= from + enough).then_some(())
        })
        .await;
        agent.kill().await;
        for (ledger, writer) in ledgers.iter_mut().zip(writers) {
            *ledger = writer.await.expect("a writer");
        }
        if round % 5 == 0 {
            // Killed again while it reads what the last one left.
            agent.spawn_again();
            tokio::time::sleep(Duration::from_millis(round)).await;
            agent.kill().await;
        }
        agent.start_again().await;
        check(&agent, &ledgers, round).await;
        let index = agent.get("/v1/kv/?recurse").await.index();
        assert!(
            index >= highest,
            "round {round}: the index went back to {index} from {highest}"
        );
        highest = index;
    }
    let writes = acknowledged.load(Ordering::Relaxed);
    println!(
        "{ROUNDS} kills, {writes} acknowledged writes, {:?}",
        start.elapsed()
    );
    assert!(writes > ROUNDS * 20);
}

/// A loss in the middle of registrations and removals: the agent and its catalog agree again.
#[tokio::test]
async fn services_are_whole_after_a_kill() {
    let folder = Folder::new();
    let mut agent = Agent::server(&folder.join("data")).await;
    for round in 0..8 {
        for n in 0..20 {
            let service =
                json!({"Name": format!("s{n}"), "Port": 1000 + round, "Check": {"TTL": "1h"}});
            agent.register(service).await;
        }
        agent.put("/v1/agent/service/deregister/s0", ()).await.ok();
        agent.kill().await;
        agent.start_again().await;
        let services = agent.get("/v1/agent/services").await.ok();
        assert_eq!(services.keys().len(), 19, "round {round}");
        for n in 1..20 {
            assert_eq!(
                services.at(&format!("/s{n}/Port")),
                &json!(1000 + round),
                "s{n}"
            );
        }
        agent
            .get_until("/v1/catalog/node/lictor-test", |r| {
                let listed = r.at("/Services").as_object();
                listed.is_some_and(|s| {
                    let ours = s.iter().filter(|(id, _)| *id != "consul");
                    ours.clone().count() == 19
                        && ours.clone().all(|(_, s)| s["Port"] == 1000 + round)
                })
            })
            .await;
    }
}

/// Every file below a folder, with its bytes.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir(dir).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            all.extend(files(&path));
        } else {
            all.insert(
                path.display().to_string(),
                std::fs::read(&path).expect("a file"),
            );
        }
    }
    all
}

/// A data folder with something in it, of an agent that has ended.
async fn filled(folder: &Folder) -> Agent {
    let mut agent = Agent::server(&folder.join("data")).await;
    for n in 0..50 {
        agent
            .put(
                &format!("/v1/kv/k{n}"),
                format!("value {n} {}", "x".repeat(200)),
            )
            .await
            .ok();
    }
    agent.signal(libc::SIGINT);
    agent.exit().await;
    agent
}

/// Starts it, expects a refusal in one line that holds `words`, and that nothing was written.
async fn refused(agent: &mut Agent, what: &str, words: &[&str]) {
    let before = files(agent.data());
    let log_before = agent.log().len();
    agent.spawn_again();
    let end = agent.exit().await;
    let log = agent.log()[log_before..].to_owned();
    assert_eq!(end.code, 1, "{what}: {log}");
    let lines: Vec<&str> = log.lines().filter(|l| l.starts_with("==> Error")).collect();
    assert_eq!(lines.len(), 1, "{what}: {log}");
    for word in words {
        assert!(
            lines[0].contains(word),
            "{what}: {word:?} is not in {:?}",
            lines[0]
        );
    }
    let after = files(agent.data());
    let names = |files: &BTreeMap<String, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&before), names(&after), "{what}: files came or went");
    for (name, bytes) in &before {
        assert!(after[name] == *bytes, "{what}: {name} was written to");
    }
}

#[tokio::test]
async fn a_folder_in_use_is_refused() {
    let folder = Folder::new();
    let data = folder.join("data");
    let _first = Agent::server(&data).await;
    let mut second = Agent::build_server(&data).spawn();
    let end = second.exit().await;
    assert_eq!(end.code, 1);
    assert!(
        second.log().contains("in use by another process"),
        "{}",
        second.log()
    );
}

#[tokio::test]
async fn a_newer_format_is_refused_by_name() {
    let folder = Folder::new();
    let mut agent = filled(&folder).await;
    let header = agent.data().join("raft/header");
    let mut bytes = std::fs::read(&header).expect("the header");
    // The version stands behind eight bytes that say what this is; a checksum ends the file.
    bytes[8] = 99;
    let body = bytes.len() - 4;
    let mut sum = flate2::Crc::new();
    sum.update(&bytes[..body]);
    bytes[body..].copy_from_slice(&sum.sum().to_le_bytes());
    std::fs::write(&header, bytes).expect("the header");
    refused(&mut agent, "version 99", &["format 99", "newer"]).await;
}

#[tokio::test]
async fn a_damaged_header_is_refused() {
    let folder = Folder::new();
    let mut agent = filled(&folder).await;
    let header = agent.data().join("raft/header");
    let whole = std::fs::read(&header).expect("the header");
    for (what, bytes) in [
        ("empty", Vec::new()),
        ("cut short", whole[..20].to_vec()),
        ("a bit turned", {
            let mut bytes = whole.clone();
            bytes[30] ^= 1;
            bytes
        }),
        (
            "something else",
            b"this is no header of ours, it is a letter".to_vec(),
        ),
    ] {
        std::fs::write(&header, bytes).expect("the header");
        refused(&mut agent, what, &["header", "damaged"]).await;
    }
    std::fs::write(&header, &whole).expect("the header");
    agent.start_again().await;
    agent.get("/v1/kv/k49").await.ok();
}

#[tokio::test]
async fn a_log_that_is_gone_is_noticed() {
    let folder = Folder::new();
    let mut agent = filled(&folder).await;
    std::fs::remove_file(agent.data().join("raft/log.redb")).expect("the log");
    refused(&mut agent, "no log", &["log.redb"]).await;
}

/// Whatever is turned or cut off in the log: either all that was acknowledged is there, or the
/// start ends with one line. It never starts with less.
#[tokio::test]
async fn a_damaged_log_is_never_read_as_a_shorter_one() {
    let folder = Folder::new();
    let mut agent = filled(&folder).await;
    let path = agent.data().join("raft/log.redb");
    let whole = std::fs::read(&path).expect("the log");
    let pristine = files(agent.data());
    let step = whole.len() / 14;
    let mut cases: Vec<(String, Vec<u8>)> = (0..14)
        .map(|n| {
            let at = n * step + 11 * n;
            let mut bytes = whole.clone();
            bytes[at..(at + 64).min(whole.len())]
                .iter_mut()
                .for_each(|b| *b ^= 0x55);
            (format!("64 bytes turned at {at}"), bytes)
        })
        .collect();
    for part in [0, 1, 2, 3] {
        let end = whole.len() * part / 4;
        cases.push((format!("cut at {end}"), whole[..end].to_vec()));
    }
    let (mut refused, mut survived) = (0, 0);
    for (what, bytes) in cases {
        for (name, content) in &pristine {
            std::fs::write(name, content).expect("the folder as it was");
        }
        std::fs::write(&path, &bytes).expect("the damaged log");
        let log_before = agent.log().len();
        agent.spawn_again();
        let up = lictor_tests::until_for(Duration::from_secs(20), &what, async || {
            if !agent.runs() {
                return Some(false);
            }
            let key = agent.try_get("/v1/kv/k0").await?;
            (key.status == 200 || key.status == 404).then_some(true)
        })
        .await;
        if up {
            for n in 0..50 {
                let value = agent.get(&format!("/v1/kv/k{n}?raw")).await;
                let right = format!("value {n} {}", "x".repeat(200));
                assert!(
                    value.status == 200 && value.text == right,
                    "{what}: k{n} is lost, and it started"
                );
            }
            agent.kill().await;
            survived += 1;
        } else {
            let end = agent.exit().await;
            let log = agent.log()[log_before..].to_owned();
            assert_eq!(end.code, 1, "{what}: {log}");
            let lines = log.lines().filter(|l| l.starts_with("==> ")).count();
            assert!(lines == 1 || log.contains("==> Starting"), "{what}: {log}");
            assert!(log.contains("log.redb"), "{what}: {log}");
            assert!(
                std::fs::read(&path).expect("the log") == bytes,
                "{what}: it was written to"
            );
            refused += 1;
        }
    }
    println!("{refused} refused, {survived} in places that do not matter");
    assert!(
        refused >= 5,
        "the damage was no damage: {refused} refused, {survived} survived"
    );
}

#[tokio::test]
async fn files_of_services_that_are_damaged_do_not_stop_it() {
    let folder = Folder::new();
    let mut agent = Agent::server(&folder.join("data")).await;
    for name in ["good", "bad"] {
        agent.register(json!({"Name": name, "Port": 1})).await;
    }
    agent.kill().await;
    let dir = agent.data().join("services");
    let mut broken = 0;
    for (name, bytes) in files(&dir) {
        if String::from_utf8_lossy(&bytes).contains("\"bad\"") {
            std::fs::write(&name, &bytes[..bytes.len() / 2]).expect("a broken file");
            broken += 1;
        }
    }
    assert_eq!(broken, 1);
    agent.start_again().await;
    assert_eq!(agent.get("/v1/agent/services").await.ok().keys(), ["good"]);
}

#[tokio::test]
async fn a_broken_node_id_or_server_file_is_refused() {
    let folder = Folder::new();
    let mut agent = filled(&folder).await;
    for name in ["node-id", "server_metadata.json"] {
        let path = agent.data().join(name);
        let whole = std::fs::read(&path).expect("the file");
        std::fs::write(&path, "{nonsense").expect("the file");
        refused(&mut agent, name, &[]).await;
        std::fs::write(&path, whole).expect("the file");
    }
    agent.start_again().await;
}

#[tokio::test]
async fn a_folder_it_may_not_write_is_refused() {
    let folder = Folder::new();
    // A file where a folder has to be: no rights can be taken from root.
    let data = folder.write("data", "I am a file");
    let mut agent = Agent::build_server(&data).spawn();
    let end = agent.exit().await;
    assert_eq!(end.code, 1);
    assert!(agent.log().contains("==> "), "{}", agent.log());
    assert_eq!(
        std::fs::read_to_string(&data).expect("the file"),
        "I am a file"
    );
}

/// Each write that is waited for is on the disk before its answer: a hundred of them are a hundred
/// blocks at least.
#[tokio::test]
async fn writes_reach_the_disk_one_by_one() {
    let folder = Folder::new();
    let agent = Agent::server(&folder.join("data")).await;
    let before = written(agent.pid());
    for n in 0..100 {
        agent.put("/v1/kv/a", n.to_string()).await.ok();
    }
    let more = written(agent.pid()) - before;
    assert!(
        more >= 100 * 4096,
        "{more} bytes were written for 100 writes"
    );
}

/// Bytes that the process has sent to the disk.
fn written(pid: u32) -> u64 {
    let io = std::fs::read_to_string(format!("/proc/{pid}/io")).expect("its counters");
    let line = io
        .lines()
        .find_map(|l| l.strip_prefix("write_bytes: "))
        .expect("the counter");
    line.trim().parse().expect("a number")
}
