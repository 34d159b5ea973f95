//! Three servers in one process: the seams that other servers come in by.

mod support;

use lictor_raft::{
    Consensus, Consistency, Lane, ProposeError, ReadError, ServerInfo, SnapshotBody, Storage,
    Transport, TransportError,
};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::{Scratch, Told, options, server, set};

type Answer<'a> = Pin<Box<dyn Future<Output = Result<Vec<u8>, TransportError>> + Send + 'a>>;

/// Brings requests to the servers of this process, as long as they are not cut off.
#[derive(Clone, Default)]
struct Switch(Arc<Mutex<BTreeMap<String, Consensus>>>);

/// The way out of one server.
struct Port {
    switch: Switch,
    from: String,
}

impl Switch {
    fn port(&self, from: &ServerInfo) -> Arc<Port> {
        Arc::new(Port {
            switch: self.clone(),
            from: from.address.clone(),
        })
    }

    fn plug(&self, consensus: &Consensus) {
        self.0
            .lock()
            .unwrap()
            .insert(consensus.server().address.clone(), consensus.clone());
    }

    fn unplug(&self, address: &str) {
        self.0.lock().unwrap().remove(address);
    }
}

impl Port {
    fn reach(&self, target: &ServerInfo) -> Result<Consensus, TransportError> {
        let servers = self.switch.0.lock().unwrap();
        let gone = || TransportError(format!("{target} does not answer"));
        servers.get(&self.from).ok_or_else(gone)?;
        servers.get(&target.address).cloned().ok_or_else(gone)
    }
}

impl Transport for Port {
    fn call<'a>(
        &'a self,
        target: &'a ServerInfo,
        _: Lane,
        request: Vec<u8>,
        limit: Duration,
    ) -> Answer<'a> {
        Box::pin(async move {
            let peer = self.reach(target)?;
            let served = tokio::time::timeout(limit, peer.serve(&request)).await;
            served
                .map_err(|e| TransportError(e.to_string()))?
                .map_err(|e| TransportError(e.to_string()))
        })
    }

    fn send_snapshot<'a>(
        &'a self,
        target: &'a ServerInfo,
        head: Vec<u8>,
        body: SnapshotBody,
        _: Duration,
    ) -> Answer<'a> {
        Box::pin(async move {
            let peer = self.reach(target)?;
            let mut bytes = Vec::new();
            body.write_to(&mut bytes)
                .map_err(|e| TransportError(e.to_string()))?;
            let served = peer
                .serve_snapshot(&head, std::io::Cursor::new(bytes))
                .await;
            served.map_err(|e| TransportError(e.to_string()))
        })
    }
}

struct Cluster {
    switch: Switch,
    servers: Vec<(Consensus, Arc<Told>)>,
    scratch: Option<Scratch>,
}

impl Cluster {
    fn storage(&self, number: u8) -> Storage {
        match &self.scratch {
            Some(scratch) => Storage::Directory(scratch.join(&format!("s{number}"))),
            None => Storage::Memory,
        }
    }

    async fn start(&self, number: u8, bootstrap: bool) -> (Consensus, Arc<Told>) {
        let mut options = options(number, self.storage(number));
        options.bootstrap = bootstrap;
        (options.snapshot_threshold, options.trailing_logs) = (64, 8);
        let told = Arc::new(Told::default());
        let port = self.switch.port(&options.server);
        let consensus = Consensus::start_with(options, told.clone(), port)
            .await
            .unwrap();
        self.switch.plug(&consensus);
        (consensus, told)
    }

    /// Three voters; the first leads.
    async fn of_three(scratch: Option<Scratch>) -> Cluster {
        let mut cluster = Cluster {
            switch: Switch::default(),
            servers: Vec::new(),
            scratch,
        };
        let first = cluster.start(1, true).await;
        // Enough for the others to need a snapshot.
        for n in 0..200 {
            first
                .0
                .propose(set(&format!("early{n}"), "v"))
                .await
                .unwrap();
        }
        first.0.snapshot().await.unwrap();
        cluster.servers.push(first);
        for number in [2, 3] {
            let joined = cluster.start(number, false).await;
            cluster.servers.push(joined);
        }
        let all: Vec<ServerInfo> = (1..=3).map(server).collect();
        cluster.servers[0]
            .0
            .change_servers(&all, &[])
            .await
            .unwrap();
        cluster
    }

    /// The server that leads, when there is one.
    async fn leader(&self, among: &[usize]) -> usize {
        for _ in 0..2000 {
            if let Some(found) = among.iter().find(|i| self.servers[**i].0.is_leader()) {
                return *found;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("nobody leads");
    }

    async fn all_show(&self, key: &str, value: &str, among: &[usize]) {
        for i in among {
            for _ in 0..2000 {
                if self.servers[*i].1.value(key).as_deref() == Some(value) {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            assert_eq!(
                self.servers[*i].1.value(key).as_deref(),
                Some(value),
                "server {i}"
            );
        }
    }

    async fn stop(self) {
        for (consensus, _) in &self.servers {
            consensus.shutdown().await;
        }
    }
}

async fn servers_join_replicate_and_take_over(scratch: Option<Scratch>) {
    let mut cluster = Cluster::of_three(scratch).await;
    let first = cluster.servers[0].0.clone();
    assert_eq!(first.status().voters.iter().filter(|p| p.voter).count(), 3);
    first.propose(set("a", "1")).await.unwrap();
    first.read_barrier(Consistency::Default).await.unwrap();
    first.read_barrier(Consistency::Consistent).await.unwrap();
    cluster.all_show("a", "1", &[0, 1, 2]).await;
    // They came by a snapshot.
    cluster.all_show("early7", "v", &[1, 2]).await;

    // A follower names the leader, and answers from its own view once it has caught up.
    let follower = cluster.servers[1].0.clone();
    assert_eq!(
        follower.propose(set("a", "2")).await,
        Err(ProposeError::NotLeader { leader: server(1) })
    );
    assert_eq!(
        follower.read_barrier(Consistency::Default).await,
        Err(ReadError::NotLeader { leader: server(1) })
    );
    let applied = first.propose(set("a", "3")).await.unwrap();
    let index = first.read_index(Consistency::Default).await.unwrap();
    assert!(index >= applied.index);
    follower
        .wait_applied(index, Duration::from_secs(10))
        .await
        .unwrap();
    assert_eq!(cluster.servers[1].1.value("a").as_deref(), Some("3"));

    // The lead is handed over.
    let mut leadership = cluster.servers[2].0.leadership();
    first.transfer_leadership(&server(3)).await.unwrap();
    leadership.wait_for(|l| l.is_leader).await.unwrap();
    let third = cluster.servers[2].0.clone();
    third.propose(set("b", "1")).await.unwrap();

    // The leader is cut off: it confirms nothing more, the others go on.
    cluster.switch.unplug(&server(3).address);
    assert!(third.read_barrier(Consistency::Consistent).await.is_err());
    let leader = cluster.leader(&[0, 1]).await;
    cluster.servers[leader]
        .0
        .propose(set("b", "2"))
        .await
        .unwrap();
    assert_eq!(cluster.servers[2].1.value("b").as_deref(), Some("1"));
    // It comes back and follows.
    cluster.switch.plug(&third);
    cluster.all_show("b", "2", &[0, 1, 2]).await;

    // One is stopped, misses more than the log keeps, and comes back at another address.
    if cluster.scratch.is_some() {
        let gone = if leader == 0 { 1 } else { 0 };
        let number = gone as u8 + 1;
        cluster.switch.unplug(&server(number).address);
        cluster.servers[gone].0.shutdown().await;
        let leader = cluster.leader(&[0, 1, 2]).await;
        let leading = cluster.servers[leader].0.clone();
        for n in 0..300 {
            leading.propose(set("c", &n.to_string())).await.unwrap();
        }
        cluster.servers[gone] = cluster.start(number, false).await;
        cluster.all_show("c", "299", &[0, 1, 2]).await;
    }

    // Back to one: it answers alone again.
    let leader = cluster.leader(&[0, 1, 2]).await;
    let last = cluster.servers[leader].0.clone();
    last.change_servers(std::slice::from_ref(last.server()), &[])
        .await
        .unwrap();
    last.propose(set("d", "1")).await.unwrap();
    assert_eq!(last.status().voters.len(), 1);
    last.read_barrier(Consistency::Consistent).await.unwrap();
    cluster.stop().await;
}

#[tokio::test]
async fn three_servers_in_memory() {
    servers_join_replicate_and_take_over(None).await;
}

#[tokio::test]
async fn three_servers_with_directories() {
    servers_join_replicate_and_take_over(Some(Scratch::new("three"))).await;
}

#[tokio::test]
async fn a_lost_quorum_is_recovered_by_hand() {
    let mut cluster = Cluster::of_three(Some(Scratch::new("recover"))).await;
    cluster.servers[0].0.propose(set("a", "1")).await.unwrap();
    cluster.all_show("a", "1", &[0, 1, 2]).await;
    for (consensus, _) in cluster.servers.drain(..) {
        cluster.switch.unplug(&consensus.server().address);
        consensus.shutdown().await;
    }
    let Storage::Directory(dir) = cluster.storage(2) else {
        panic!("no directory")
    };

    // Two are lost. The second alone cannot lead.
    let (alone, _told) = cluster.start(2, true).await;
    assert!(alone.propose(set("a", "2")).await.is_err());
    // While it runs, nobody else touches its directory.
    assert!(
        lictor_raft::recover(&dir, &[server(2)], &[])
            .unwrap_err()
            .to_string()
            .contains("in use")
    );
    cluster.switch.unplug(&server(2).address);
    alone.shutdown().await;

    assert!(lictor_raft::recover(&dir, &[], &[server(2)]).is_err());
    assert!(lictor_raft::recover(&dir, &[server(2), server(2)], &[]).is_err());
    assert!(
        lictor_raft::recover(
            &cluster.scratch.as_ref().unwrap().join("nothing"),
            &[server(2)],
            &[]
        )
        .is_err()
    );
    let moved = ServerInfo {
        address: "10.7.7.7:8300".to_owned(),
        ..server(2)
    };
    let recovered = lictor_raft::recover(&dir, std::slice::from_ref(&moved), &[]).unwrap();
    assert!(recovered.index > 200);
    // Once more changes nothing.
    assert_eq!(
        lictor_raft::recover(&dir, std::slice::from_ref(&moved), &[]).unwrap(),
        recovered
    );

    let mut options = options(2, Storage::Directory(dir));
    options.server = moved.clone();
    let told = Arc::new(Told::default());
    let consensus = Consensus::start(options, told.clone()).await.unwrap();
    assert!(consensus.is_leader());
    assert_eq!(
        (told.value("a").as_deref(), told.value("early7").as_deref()),
        (Some("1"), Some("v"))
    );
    consensus.propose(set("a", "2")).await.unwrap();
    let status = consensus.status();
    assert_eq!((status.voters.len(), status.leader), (1, Some(moved)));
    assert!(status.term > recovered.term);
    consensus.shutdown().await;
}

async fn until(what: &str, mut look: impl FnMut() -> bool) {
    for _ in 0..2000 {
        if look() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("it does not come to pass: {what}");
}

fn votes(consensus: &Consensus) -> Vec<(String, bool)> {
    let mut all: Vec<_> = consensus
        .status()
        .voters
        .into_iter()
        .map(|p| (p.info.name, p.voter))
        .collect();
    all.sort();
    all
}

#[tokio::test]
async fn servers_come_and_go_one_by_one() {
    let mut cluster = Cluster {
        switch: Switch::default(),
        servers: Vec::new(),
        scratch: None,
    };
    for number in 1..=3 {
        let server = cluster.start(number, number == 1).await;
        cluster.servers.push(server);
    }
    let first = cluster.servers[0].0.clone();
    assert!(first.is_founded().await);
    assert!(!cluster.servers[1].0.is_founded().await);
    assert!(matches!(
        first.found(&[server(1)]).await,
        Err(ProposeError::Refused(_))
    ));
    first.propose(set("a", "1")).await.unwrap();

    // One that cannot be reached holds nobody up.
    first.add_learner(&server(9)).await.unwrap();
    first.add_learner(&server(2)).await.unwrap();
    first.add_learner(&server(3)).await.unwrap();
    first.propose(set("a", "2")).await.unwrap();
    cluster.all_show("a", "2", &[1, 2]).await;
    assert!(votes(&first).contains(&("s2".to_owned(), false)));
    // A learner without a vote hears the leader all the same.
    assert!(cluster.servers[1].0.last_contact().is_some());
    first.promote(&server(2).node_id).await.unwrap();
    first.promote(&server(3).node_id).await.unwrap();
    first.remove(&server(9).node_id).await.unwrap();
    let of = |v: &[(&str, bool)]| -> Vec<(String, bool)> {
        v.iter().map(|(n, v)| ((*n).to_owned(), *v)).collect()
    };
    assert_eq!(
        votes(&first),
        of(&[("s1", true), ("s2", true), ("s3", true)])
    );
    assert!(!first.status().joint);
    first.settle().await.unwrap();
    until("all are known to be there", || {
        let last = first.last_log().0;
        let there = |p: &lictor_raft::Progress| p.index == last && p.contact.is_some();
        let all = first.progress();
        all.len() == 2 && all.iter().all(there)
    })
    .await;

    first.demote(&server(3).node_id).await.unwrap();
    assert_eq!(
        votes(&first),
        of(&[("s1", true), ("s2", true), ("s3", false)])
    );
    let moved = ServerInfo {
        name: "moved".to_owned(),
        ..server(2)
    };
    first.readdress(&moved).await.unwrap();
    assert!(votes(&first).contains(&("moved".to_owned(), true)));
    first.remove(&server(3).node_id).await.unwrap();
    first.remove(&server(2).node_id).await.unwrap();
    assert_eq!(votes(&first), of(&[("s1", true)]));
    first.propose(set("a", "3")).await.unwrap();
    until("it counts on itself alone", || {
        first.leader().is_some_and(|l| l.name == "s1")
    })
    .await;
    cluster.stop().await;
}

#[tokio::test]
async fn servers_found_a_cluster_together() {
    let mut cluster = Cluster {
        switch: Switch::default(),
        servers: Vec::new(),
        scratch: None,
    };
    for number in 1..=3 {
        let server = cluster.start(number, false).await;
        cluster.servers.push(server);
    }
    let all: Vec<ServerInfo> = (1..=3).map(server).collect();
    // Those without a log vote for nobody, unless they take part in a founding.
    let vote = cluster.servers[1].0.serve_without_vote(b"\x01nonsense");
    assert!(vote.await.is_err());
    cluster.servers[1].0.found(&all).await.unwrap();
    let leader = cluster.leader(&[0, 1, 2]).await;
    let leading = cluster.servers[leader].0.clone();
    leading.propose(set("a", "1")).await.unwrap();
    cluster.all_show("a", "1", &[0, 1, 2]).await;
    assert_eq!(votes(&leading).len(), 3);
    cluster.stop().await;
}

/// A voter comes back under its id without its log: it is noticed, and it begins anew.
#[tokio::test]
async fn a_lost_log_is_noticed() {
    let mut cluster = Cluster::of_three(Some(Scratch::new("lost"))).await;
    let leader = cluster.leader(&[0, 1, 2]).await;
    let leading = cluster.servers[leader].0.clone();
    leading.propose(set("a", "1")).await.unwrap();
    cluster.all_show("a", "1", &[0, 1, 2]).await;
    let gone = (leader + 1) % 3;
    let number = gone as u8 + 1;
    cluster.switch.unplug(&server(number).address);
    cluster.servers[gone].0.shutdown().await;
    let Storage::Directory(dir) = cluster.storage(number) else {
        panic!("no directory")
    };
    std::fs::remove_dir_all(dir).unwrap();
    cluster.servers[gone] = cluster.start(number, false).await;
    until("the loss", || leading.lost() == [server(number)]).await;
    // Nothing else stops for it.
    leading.propose(set("a", "2")).await.unwrap();
    assert!(leading.is_leader());
    leading.begin_anew(&server(number)).await.unwrap();
    assert_eq!(votes(&leading).len(), 2);
    assert!(leading.lost().is_empty());
    leading.add_learner(&server(number)).await.unwrap();
    cluster.all_show("a", "2", &[gone]).await;
    leading.promote(&server(number).node_id).await.unwrap();
    assert_eq!(votes(&leading).iter().filter(|(_, v)| *v).count(), 3);
    cluster.stop().await;
}

/// With two voters nothing can be decided without the one that lost its log.
#[tokio::test]
async fn of_two_the_other_gets_all_again() {
    let mut cluster = Cluster::of_three(Some(Scratch::new("two"))).await;
    let first = cluster.servers[0].0.clone();
    first
        .change_servers(&[server(1), server(2)], &[])
        .await
        .unwrap();
    first.propose(set("a", "1")).await.unwrap();
    cluster.all_show("a", "1", &[0, 1]).await;
    cluster.switch.unplug(&server(2).address);
    cluster.servers[1].0.shutdown().await;
    let Storage::Directory(dir) = cluster.storage(2) else {
        panic!("no directory")
    };
    std::fs::remove_dir_all(dir).unwrap();
    cluster.servers[1] = cluster.start(2, false).await;
    until("the loss", || first.lost() == [server(2)]).await;
    first.begin_anew(&server(2)).await.unwrap();
    cluster.all_show("a", "1", &[1]).await;
    first.propose(set("a", "2")).await.unwrap();
    cluster.all_show("a", "2", &[0, 1]).await;
    cluster.stop().await;
}
