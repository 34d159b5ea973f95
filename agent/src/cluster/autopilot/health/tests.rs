use super::*;
use std::net::SocketAddr;

fn member(n: u8, standing: Standing) -> ServerMember {
    ServerMember {
        name: format!("s{n}").into(),
        id: format!("id{n}").into(),
        datacenter: "dc1".into(),
        rpc: SocketAddr::from(([10, 0, 0, n], 8300)),
        wan_port: None,
        standing,
        bootstrap: false,
        expect: 0,
        non_voter: false,
        tls: false,
        build: "1.21.0".into(),
        format: Some(1),
    }
}

fn info(n: u8) -> ServerInfo {
    super::super::super::founding::info(&member(n, Standing::Alive))
}

fn peer(n: u8, voter: bool) -> PeerFacts {
    PeerFacts {
        info: info(n),
        voter,
        leader: n == 1,
        answers: true,
        stats: Some(Stats {
            last_contact_ms: Some(if n == 1 { 0 } else { 40 }),
            last_term: 3,
            last_index: 1000,
        }),
    }
}

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

struct Scene {
    health: Health,
    peers: Vec<PeerFacts>,
    members: Vec<ServerMember>,
    config: AutopilotConfig,
}

impl Scene {
    fn of(voters: u8) -> Scene {
        Scene {
            health: Health::default(),
            peers: (1..=voters).map(|n| peer(n, true)).collect(),
            members: (1..=voters).map(|n| member(n, Standing::Alive)).collect(),
            config: AutopilotConfig::default(),
        }
    }

    fn round(&mut self, second: u64) {
        self.health.update(
            &self.config,
            &self.peers,
            &self.members,
            at(second),
            1000 * second,
        );
    }

    fn fail(&mut self, n: u8) {
        let i = usize::from(n - 1);
        self.members[i].standing = Standing::Failed;
        self.peers[i].answers = false;
        self.peers[i].stats = None;
    }

    fn removed(&self, second: u64) -> Vec<String> {
        self.health
            .removals(&self.config, at(second))
            .into_iter()
            .map(|r| r.id)
            .collect()
    }

    fn healthy(&self, n: u8) -> bool {
        self.health.servers[&format!("id{n}")].healthy
    }
}

#[test]
fn each_rule_of_health_counts() {
    let mut scene = Scene::of(3);
    scene.round(1);
    assert!(scene.health.healthy());
    assert_eq!(scene.health.failure_tolerance(), 1);
    for spoil in [
        (|p: &mut PeerFacts, _: &mut ServerMember| {
            p.stats.as_mut().unwrap().last_contact_ms = Some(201);
        }) as fn(&mut PeerFacts, &mut ServerMember),
        |p, _| p.stats.as_mut().unwrap().last_contact_ms = None,
        |p, _| p.stats.as_mut().unwrap().last_term = 2,
        |p, _| p.stats.as_mut().unwrap().last_index = 749,
        |_, m| m.standing = Standing::Failed,
        |_, m| m.id = "other".into(),
    ] {
        let mut scene = Scene::of(3);
        spoil(&mut scene.peers[2], &mut scene.members[2]);
        scene.round(1);
        assert!(!scene.healthy(3) && scene.healthy(2));
        assert!(!scene.health.healthy());
        assert_eq!(scene.health.failure_tolerance(), 0);
    }
    // One that does not answer keeps its old numbers.
    scene.peers[1].stats = None;
    scene.round(2);
    assert!(scene.healthy(2));
    assert_eq!(scene.health.servers["id2"].stable_since.0, 1000);
    // Without a leader nobody is healthy.
    scene.peers[0].leader = false;
    scene.round(3);
    assert!(!scene.healthy(2));
    assert_eq!(scene.health.servers["id2"].stable_since.0, 3000);
}

#[test]
fn votes_are_earned_by_time_but_not_in_the_first_moments() {
    let mut scene = Scene::of(3);
    scene.health.begin(at(100));
    scene.peers[2].voter = false;
    scene.round(101);
    assert_eq!(
        scene.health.promotions(&scene.config, at(101)),
        ["id3"],
        "at once: autopilot is younger than the time"
    );
    scene.health.begin(at(0));
    scene.round(200);
    let none: [&str; 0] = [];
    assert_eq!(scene.health.promotions(&scene.config, at(209)), none);
    assert_eq!(scene.health.promotions(&scene.config, at(210)), ["id3"]);
    // A stumble begins the time anew.
    scene.peers[2].stats.as_mut().unwrap().last_term = 1;
    scene.round(211);
    scene.peers[2].stats.as_mut().unwrap().last_term = 3;
    scene.round(212);
    assert_eq!(scene.health.promotions(&scene.config, at(221)), none);
    assert_eq!(scene.health.promotions(&scene.config, at(222)), ["id3"]);
    // A read replica never votes.
    scene.members[2].non_voter = true;
    scene.round(230);
    assert_eq!(scene.health.promotions(&scene.config, at(300)), none);
}

#[test]
fn the_dead_are_removed_but_never_too_many() {
    let none: [&str; 0] = [];
    let mut scene = Scene::of(3);
    scene.fail(3);
    scene.round(1);
    assert_eq!(scene.removed(1), ["id3"]);
    // Still answering: whatever gossip says, it works.
    scene.peers[2].answers = true;
    scene.round(2);
    assert_eq!(scene.removed(2), none);
    scene.peers[2].answers = false;
    scene.config.min_quorum = 3;
    scene.round(3);
    assert_eq!(scene.removed(3), none);
    scene.config.min_quorum = 0;
    scene.config.cleanup_dead_servers = false;
    assert_eq!(scene.removed(3), none);

    // Two of two: none.
    let mut scene = Scene::of(2);
    scene.fail(2);
    scene.round(1);
    assert_eq!(scene.removed(1), none);

    // Three of five: two. One that does not vote goes without counting, and first.
    let mut scene = Scene::of(6);
    scene.peers[5].voter = false;
    for n in [2, 3, 4, 6] {
        scene.fail(n);
    }
    scene.round(1);
    assert_eq!(scene.removed(1), ["id6", "id2", "id3"]);
}

#[test]
fn unknown_to_gossip_is_not_dead_yet() {
    let none: [&str; 0] = [];
    let mut scene = Scene::of(3);
    scene.fail(3);
    scene.members.remove(2);
    scene.round(1);
    assert_eq!(scene.removed(1), none);
    scene.round(30);
    assert_eq!(scene.removed(60), none);
    assert_eq!(scene.removed(61), ["id3"]);
    assert_eq!(scene.health.removals(&scene.config, at(61))[0].member, None);
}

#[test]
fn members_become_peers_and_peers_follow_members() {
    let peers: Vec<ServerInfo> = (1..=3).map(info).collect();
    let mut members: Vec<ServerMember> = (1..=3).map(|n| member(n, Standing::Alive)).collect();
    let nobody = |_: &str| false;
    let plan = |peers: &[ServerInfo], members: &[ServerMember]| {
        reconcile("id1", "dc1", peers, members, nobody)
    };
    assert_eq!(plan(&peers, &members), []);
    // A new one.
    members.push(member(4, Standing::Alive));
    assert_eq!(plan(&peers, &members), [Change::Add(info(4))]);
    assert_eq!(
        reconcile("id1", "dc1", &peers, &members, |id| id == "id4"),
        []
    );
    members[3].format = None;
    assert_eq!(plan(&peers, &members), [], "Consul's servers stay outside");
    members[3].format = Some(1);
    members[3].datacenter = "dc2".into();
    assert_eq!(plan(&peers, &members), []);
    members.pop();
    // Left is left; failed is not.
    members[2].standing = Standing::Failed;
    assert_eq!(plan(&peers, &members), []);
    members[2].standing = Standing::Left;
    assert!(matches!(&plan(&peers, &members)[..], [Change::Remove { id, .. }] if id == "id3"));
    // Never oneself.
    assert_eq!(reconcile("id3", "dc1", &peers, &members, nobody), []);
    // A new address.
    members[2] = member(3, Standing::Alive);
    members[2].rpc = SocketAddr::from(([10, 0, 0, 33], 8300));
    assert!(matches!(&plan(&peers, &members)[..],
        [Change::Readdress(new)] if new.node_id == "id3" && new.address == "10.0.0.33:8300"));
    // It was renamed: the old row says that it left, or failed.
    members[2] = member(3, Standing::Alive);
    let mut old = member(3, Standing::Left);
    old.name = "old".into();
    members.insert(0, old);
    assert_eq!(plan(&peers, &members), []);
    members.remove(0);
    // A new server where an old one was.
    members[2] = member(3, Standing::Alive);
    members[2].id = "id9".into();
    let changes = plan(&peers, &members);
    assert!(matches!(&changes[..],
        [Change::Remove { id, .. }, Change::Add(new)] if id == "id3" && new.node_id == "id9"));
}
