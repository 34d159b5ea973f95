//! One server, in memory and with a directory.

mod support;

use lictor_raft::{Consistency, ProposeError, ReadError, Role, StartError, Storage};
use lictor_state::Outcome;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use support::{Scratch, options, server, set, start};

const WAIT: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_server_in_memory_leads_at_once() {
    let begin = Instant::now();
    let (consensus, told) = start(options(1, Storage::Memory)).await.unwrap();
    assert!(consensus.is_leader());
    assert!(
        begin.elapsed() < Duration::from_millis(500),
        "{:?}",
        begin.elapsed()
    );
    assert_eq!(told.restored.load(Ordering::Relaxed), 1);

    let first = consensus.propose(set("a", "1")).await.unwrap();
    assert_eq!(first.outcome, Outcome::Flag(true));
    // Published before it is answered.
    assert_eq!(told.value("a").as_deref(), Some("1"));
    assert_eq!(told.view().index(), first.index);
    consensus.read_barrier(Consistency::Default).await.unwrap();
    consensus
        .read_barrier(Consistency::Consistent)
        .await
        .unwrap();
    assert!(consensus.read_index(Consistency::Consistent).await.unwrap() >= first.index);
    consensus.wait_applied(first.index, WAIT).await.unwrap();
    assert_eq!(
        consensus
            .wait_applied(first.index + 9, Duration::from_millis(1))
            .await,
        Err(ReadError::Behind)
    );

    let mut leadership = consensus.leadership();
    let led = leadership.wait_for(|l| l.is_leader).await.unwrap().clone();
    assert_eq!(led.leader, Some(server(1)));

    let status = consensus.status();
    assert_eq!(
        (status.state, status.leader, status.term),
        (Role::Leader, Some(server(1)), led.term)
    );
    assert_eq!(
        (status.last_log_index, status.last_log_term),
        (first.index, led.term)
    );
    assert_eq!(status.voters.len(), 1);
    assert!(status.voters[0].voter && status.voters[0].leader);

    consensus.shutdown().await;
    assert!(!consensus.is_leader());
    assert_eq!(
        consensus.propose(set("a", "2")).await,
        Err(ProposeError::Stopped)
    );
    assert_eq!(
        consensus.read_barrier(Consistency::Default).await,
        Err(ReadError::Stopped)
    );
    assert_eq!(consensus.status().state, Role::Stopped);
    consensus.shutdown().await;
}

#[tokio::test]
async fn what_a_server_could_not_read_is_in_no_log() {
    let (consensus, told) = start(options(1, Storage::Memory)).await.unwrap();
    let first = consensus.propose(set("a", "1")).await.unwrap();
    // A server is there that reads only what was before this command.
    consensus.set_readable(0);
    let why = consensus.propose(set("a", "2")).await.unwrap_err();
    let (needs, readable) = (1, 0);
    assert_eq!(why, ProposeError::TooNew { needs, readable });
    assert!(why.to_string().contains("upgrade all servers"), "{why}");
    assert_eq!(consensus.status().last_log_index, first.index);
    // It was upgraded.
    consensus.set_readable(1);
    consensus.propose(set("a", "3")).await.unwrap();
    assert_eq!(told.value("a").as_deref(), Some("3"));
    consensus.shutdown().await;
}

#[tokio::test]
async fn a_server_that_must_not_bootstrap_waits() {
    let scratch = Scratch::new("waits");
    let mut options = options(1, Storage::Directory(scratch.join("raft")));
    options.bootstrap = false;
    let (consensus, _told) = start(options).await.unwrap();
    assert!(!consensus.is_leader());
    assert_eq!(consensus.status().state, Role::Learner);
    assert_eq!(
        consensus.propose(set("a", "1")).await,
        Err(ProposeError::NoLeader)
    );
    assert_eq!(
        consensus.read_barrier(Consistency::Default).await,
        Err(ReadError::NoLeader)
    );
    consensus.shutdown().await;
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_restart() {
    let scratch = Scratch::new("restart");
    let at = || options(1, Storage::Directory(scratch.join("raft")));
    let mut last = 0;
    let mut term = 0;
    for round in 0..4 {
        let (consensus, told) = start(at()).await.unwrap();
        assert!(consensus.is_leader());
        for earlier in 0..round {
            assert_eq!(
                told.value(&format!("k{earlier}")),
                Some(format!("v{earlier}")),
                "round {round}"
            );
        }
        let applied = consensus
            .propose(set(&format!("k{round}"), &format!("v{round}")))
            .await
            .unwrap();
        assert!(applied.index > last);
        // A server that comes back never leads in a term in which it led before.
        let status = consensus.status();
        assert!(status.term > term);
        (last, term) = (applied.index, status.term);
        consensus.shutdown().await;
    }
}

#[tokio::test]
async fn snapshots_are_made_and_take_the_place_of_the_log() {
    let scratch = Scratch::new("snapshots");
    let at = || {
        let mut options = options(1, Storage::Directory(scratch.join("raft")));
        (options.snapshot_threshold, options.trailing_logs) = (100, 10);
        options
    };
    let (consensus, told) = start(at()).await.unwrap();
    for n in 0..450 {
        consensus.propose(set(&format!("k{n}"), "v")).await.unwrap();
    }
    consensus.snapshot().await.unwrap();
    let status = consensus.status();
    assert!(status.last_snapshot_index >= 450, "{status:?}");
    assert_eq!(status.last_snapshot_term, status.term);
    let count = told.view().kv_count();
    consensus.shutdown().await;

    let files = || {
        let dir = std::fs::read_dir(scratch.join("raft/snapshots")).unwrap();
        let mut names: Vec<String> = dir
            .map(|f| f.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    assert_eq!(files().len(), 2, "{:?}", files());
    let (consensus, told) = start(at()).await.unwrap();
    assert_eq!((told.view().kv_count(), count), (450, 450));
    assert_eq!(
        consensus.status().last_snapshot_index,
        status.last_snapshot_index
    );
    consensus.shutdown().await;

    // The newest is damaged: the older one and the log give the same state.
    let newest = scratch.join("raft/snapshots").join(format!(
        "{}-{}.snap",
        status.last_snapshot_index, status.last_snapshot_term
    ));
    let mut bytes = std::fs::read(&newest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&newest, &bytes).unwrap();
    let (consensus, told) = start(at()).await.unwrap();
    assert_eq!(told.view().kv_count(), 450);
    // What replaces it lets the damaged one go.
    for n in 450..700 {
        consensus.propose(set(&format!("k{n}"), "v")).await.unwrap();
    }
    consensus.snapshot().await.unwrap();
    consensus.propose(set("again", "v")).await.unwrap();
    consensus.snapshot().await.unwrap();
    assert!(!newest.exists());
    consensus.shutdown().await;

    // Both are damaged: one clear line, and nothing is changed.
    for name in files() {
        let path = scratch.join("raft/snapshots").join(name);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[20] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
    }
    let before = content(&scratch.join("raft"));
    let error = start(at()).await.err().unwrap();
    assert!(matches!(error, StartError::Damaged { .. }));
    let line = error.to_string();
    assert!(
        line.contains(".snap is damaged") && !line.contains('\n'),
        "{line}"
    );
    assert!(before == content(&scratch.join("raft")));
}

#[tokio::test]
async fn a_directory_is_used_by_one_process_and_one_server() {
    let scratch = Scratch::new("locked");
    let at = |number| options(number, Storage::Directory(scratch.join("raft")));
    let (consensus, _told) = start(at(1)).await.unwrap();
    let error = start(at(1)).await.err().unwrap();
    assert!(matches!(error, StartError::Locked { .. }), "{error}");
    assert!(
        error
            .to_string()
            .contains(scratch.join("raft").to_str().unwrap()),
        "{error}"
    );
    // The first is not disturbed.
    consensus.propose(set("a", "1")).await.unwrap();
    consensus.shutdown().await;
    let error = start(at(2)).await.err().unwrap();
    assert!(matches!(error, StartError::Foreign { .. }), "{error}");
    assert!(error.to_string().contains(&server(1).node_id), "{error}");
    let (consensus, told) = start(at(1)).await.unwrap();
    assert_eq!(told.value("a").as_deref(), Some("1"));
    consensus.shutdown().await;
}

#[tokio::test]
async fn a_new_address_is_taken_over() {
    let scratch = Scratch::new("address");
    let mut at = options(1, Storage::Directory(scratch.join("raft")));
    let (consensus, _told) = start(at.clone()).await.unwrap();
    consensus.propose(set("a", "1")).await.unwrap();
    consensus.shutdown().await;
    at.server.address = "10.9.9.9:8300".to_owned();
    at.server.node_id = at.server.node_id.to_uppercase();
    let (consensus, told) = start(at.clone()).await.unwrap();
    assert_eq!(told.value("a").as_deref(), Some("1"));
    assert_eq!(consensus.status().leader, Some(at.server.clone()));
    consensus.propose(set("a", "2")).await.unwrap();
    consensus.shutdown().await;
}

/// Every file of a directory, but for the lock.
fn content(dir: &std::path::Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(content(&path));
        } else {
            let bytes = std::fs::read(&path).unwrap();
            all.push((path, bytes));
        }
    }
    all.sort();
    all
}

#[tokio::test]
async fn a_damaged_directory_ends_the_start_and_stays_as_it_is() {
    let scratch = Scratch::new("damaged");
    let good = scratch.join("good");
    let at = |dir: &std::path::Path| options(1, Storage::Directory(dir.to_path_buf()));
    let (consensus, told) = start(at(&good)).await.unwrap();
    for n in 0..300 {
        consensus
            .propose(set(&format!("k{n}"), &"value ".repeat(20)))
            .await
            .unwrap();
    }
    let state = format!("{:?}", told.view());
    consensus.shutdown().await;
    let pristine = content(&good);

    let mut refused = 0;
    for round in 0..150_usize {
        let dir = scratch.join(&format!("round{round}"));
        std::fs::create_dir_all(dir.join("snapshots")).unwrap();
        for (path, bytes) in &pristine {
            let name = path.strip_prefix(&good).unwrap();
            let mut bytes = bytes.clone();
            if name.to_str() == Some("log.redb") {
                // Spread over the file, with single bits, whole pages and cuts.
                let place = (round * 0x9e37_79b9) % bytes.len();
                match round % 3 {
                    0 => bytes[place] ^= 1 << (round % 8),
                    1 => bytes[place / 4096 * 4096..]
                        .iter_mut()
                        .take(4096)
                        .for_each(|b| *b = 0xa5),
                    _ => bytes.truncate(place),
                }
            }
            std::fs::write(dir.join(name), bytes).unwrap();
        }
        let before = content(&dir);
        match start(at(&dir)).await {
            Err(error) => {
                refused += 1;
                let line = error.to_string();
                assert!(
                    matches!(error, StartError::Damaged { .. }),
                    "round {round}: {line}"
                );
                assert!(
                    line.contains("log.redb") && !line.contains('\n'),
                    "round {round}: {line}"
                );
                assert!(
                    before == content(&dir),
                    "round {round}: something was written"
                );
            }
            // The damage fell on bytes that nobody uses.
            Ok((consensus, told)) => {
                let now = told.view();
                assert_eq!(now.kv_count(), 300, "round {round}");
                assert!(
                    now.kv_range("k")
                        .all(|e| &*e.value == "value ".repeat(20).as_bytes()),
                    "round {round}"
                );
                consensus.shutdown().await;
            }
        }
    }
    assert!(refused >= 50, "{refused} of 150 were refused");
    assert!(!state.is_empty());

    for name in ["header", "log.redb"] {
        let dir = scratch.join(&format!("without-{name}"));
        std::fs::create_dir_all(dir.join("snapshots")).unwrap();
        for (path, bytes) in &pristine {
            if !path.ends_with(name) {
                std::fs::write(dir.join(path.strip_prefix(&good).unwrap()), bytes).unwrap();
            }
        }
        let before = content(&dir);
        let line = start(at(&dir)).await.err().unwrap().to_string();
        assert!(
            line.contains(&format!("{name} is damaged: it is missing")),
            "{line}"
        );
        assert!(before == content(&dir), "{name}");
    }
}
