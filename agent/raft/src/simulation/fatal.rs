//! A whole server on a disk that fails.

use super::Chance;
use super::disk::SimulatedDisk;
use crate::{
    Consensus, NoPeers, Options, ProposeError, Publish, ReadError, Role, ServerInfo, Storage,
};
use lictor_state::{Changes, Command, Entry, KvOp, KvVerb, View};
use std::sync::{Arc, Mutex};

#[derive(Default)]
struct Latest(Mutex<View>);

impl Publish for Latest {
    fn publish(&self, view: View, _: &Changes) {
        *self.0.lock().unwrap() = view;
    }
    fn restored(&self, view: View) {
        *self.0.lock().unwrap() = view;
    }
}

fn set(n: u64) -> Entry {
    let op = KvOp {
        verb: KvVerb::Set,
        key: format!("k{n}").into(),
        value: Arc::from(&b"v"[..]),
        flags: n,
        session: "".into(),
        index: 0,
    };
    Entry {
        at: 1,
        command: Command::Kv(op),
    }
}

async fn start(disk: &SimulatedDisk) -> (Consensus, Arc<Latest>) {
    let server = ServerInfo {
        node_id: "own".to_owned(),
        name: "s".to_owned(),
        address: "10.0.0.1:8300".to_owned(),
    };
    let options = Options {
        server,
        storage: Storage::Directory("/raft".into()),
        bootstrap: true,
        multiplier: 1,
        snapshot_threshold: 50,
        trailing_logs: 10,
    };
    let latest = Arc::new(Latest::default());
    let started = Consensus::start_on(
        Arc::new(disk.clone()),
        options,
        latest.clone(),
        Arc::new(NoPeers),
    )
    .await;
    (started.unwrap(), latest)
}

/// When the disk fails, no write is acknowledged any more, the process is told why, and what was
/// acknowledged is there when the power is back.
#[tokio::test]
async fn a_disk_that_fails_ends_consensus_and_loses_nothing() {
    let mut chance = Chance::new(1);
    let mut disk = SimulatedDisk::new(None);
    let (mut next, mut acknowledged) = (0, Vec::new());
    for _ in 0..12 {
        let (consensus, latest) = start(&disk).await;
        let view = latest.0.lock().unwrap().clone();
        for n in &acknowledged {
            assert!(view.kv(&format!("k{n}")).is_some(), "k{n} is lost");
        }
        let told = tokio::spawn({
            let consensus = consensus.clone();
            async move { consensus.fatal().await }
        });
        disk.power_for(20 + chance.below(800));
        let error = loop {
            next += 1;
            match consensus.propose(set(next)).await {
                Ok(_) => acknowledged.push(next),
                Err(error) => break error,
            }
        };
        // Stopped, if a snapshot was what failed, between two writes.
        let expected = matches!(error, ProposeError::Unknown(_) | ProposeError::Stopped);
        assert!(expected, "{error}");
        let why = told.await.unwrap().to_string();
        assert!(
            why.contains("the power is cut") && !why.contains('\n'),
            "{why}"
        );
        let mut leadership = consensus.leadership();
        leadership.wait_for(|l| !l.is_leader).await.unwrap();
        assert_eq!(consensus.propose(set(0)).await, Err(ProposeError::Stopped));
        assert_eq!(
            consensus.read_barrier(crate::Consistency::Default).await,
            Err(ReadError::Stopped)
        );
        assert_eq!(consensus.status().state, Role::Stopped);
        assert!(!consensus.is_leader());
        consensus.shutdown().await;
        disk = disk.cut(&mut chance);
    }
    assert!(acknowledged.len() > 200, "{} writes", acknowledged.len());
}
