//! The rules, one packet at a time.

use super::*;
use crate::keyring::Keyring;
use crate::packet::message::{Ping, PushPullHeader};
use crate::random::{NonceSource, Seed};

#[derive(Default)]
struct Stub {
    log: Vec<String>,
    user: Vec<Vec<u8>>,
    refuse: Option<String>,
    shun: Option<String>,
    exchanged: Vec<Result<usize, StreamError>>,
    notes: Vec<Note>,
    coordinate: Vec<u8>,
}

impl Delegate for Stub {
    fn admit(&mut self, node: &Alive) -> Result<(), String> {
        match &self.refuse {
            Some(name) if **name == *node.node => Err("not welcome".into()),
            _ => Ok(()),
        }
    }
    fn admit_asker(&mut self, nodes: &[NodeState]) -> Result<(), String> {
        match &self.shun {
            Some(name) if nodes.iter().any(|node| *node.name == **name) => Err("go away".into()),
            _ => Ok(()),
        }
    }
    fn admit_merge(&mut self, nodes: &[NodeState]) -> Result<(), String> {
        if nodes
            .iter()
            .any(|node| self.refuse.as_deref() == Some(&node.name))
        {
            Err("not welcome".into())
        } else {
            Ok(())
        }
    }
    fn joined(&mut self, _: Time, node: &Node) {
        self.log.push(format!("join {}", node.name));
    }
    fn updated(&mut self, _: Time, node: &Node) {
        self.log.push(format!("update {}", node.name));
    }
    fn gone(&mut self, _: Time, node: &Node) {
        self.log.push(format!("{:?} {}", node.state, node.name));
    }
    fn conflict(&mut self, _: Time, known: &Node, other: &Alive) {
        self.log
            .push(format!("conflict {} {:?}", known.name, other.addr));
    }
    fn user_message(&mut self, _: Time, message: &[u8]) {
        self.user.push(message.to_vec());
    }
    fn has_broadcasts(&self) -> bool {
        false
    }
    fn broadcasts(&mut self, _: usize, _: &mut usize, _: usize, _: &mut Vec<Arc<[u8]>>) {}
    fn local_state(&mut self) -> Vec<u8> {
        b"state".to_vec()
    }
    fn merge_state(&mut self, _: Time, state: &[u8], _: Option<Exchange>, join: bool) {
        self.log
            .push(format!("state {} {join}", String::from_utf8_lossy(state)));
    }
    fn ack_payload(&mut self) -> Vec<u8> {
        self.coordinate.clone()
    }
    fn measured(&mut self, _: Time, node: &Arc<str>, round_trip: Duration, _: &[u8]) {
        self.log
            .push(format!("measured {node} {}", round_trip.as_millis()));
    }
    fn exchanged(
        &mut self,
        _: Time,
        _: Exchange,
        _: SocketAddr,
        result: Result<Vec<NodeState>, StreamError>,
    ) {
        self.exchanged.push(result.map(|nodes| nodes.len()));
    }
    fn note(&mut self, note: Note) {
        self.notes.push(note);
    }
}

struct World {
    list: Memberlist,
    stub: Stub,
    now: Time,
}

fn ip(last: u8) -> RawIp {
    RawIp::V4([10, 0, 0, last])
}

fn addr(last: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, last], 7946))
}

fn alive_message(name: &str, last: u8, incarnation: u32) -> Alive {
    Alive {
        addr: ip(last),
        incarnation,
        meta: Arc::from([]),
        node: name.into(),
        port: 7946,
        vsn: Versions::ours(5),
    }
}

fn accuse(node: &str, from: &str, incarnation: u32) -> Accusation {
    Accusation {
        from: from.into(),
        incarnation,
        node: node.into(),
    }
}

impl World {
    fn with(config: Config) -> Self {
        let mut nonces = NonceSource::new(&Seed::from_number(1));
        let rng = nonces.rng();
        let identity = Identity {
            name: "me".into(),
            advertise: addr(1),
            versions: Versions::ours(5),
        };
        let codec = Codec::new(
            config.label.clone(),
            Keyring::new(&config.keys).unwrap(),
            true,
            true,
            nonces,
        );
        let mut list = Memberlist::new(config, identity, codec, rng);
        let mut stub = Stub::default();
        list.start(&mut stub, Time::ZERO, Arc::from([]));
        stub.log.clear();
        Self {
            list,
            stub,
            now: Time::ZERO,
        }
    }

    fn new() -> Self {
        Self::with(Config {
            push_pull_interval: Duration::ZERO,
            ..Config::lan()
        })
    }

    fn packet(&mut self, from: u8, kind: u8, message: &impl msgpack::Value) {
        self.list.handle_packet(
            &mut self.stub,
            self.now,
            addr(from),
            &msgpack::tagged(kind, message),
        );
        self.list.table.check();
    }

    fn alive(&mut self, name: &str, last: u8, incarnation: u32) {
        self.packet(last, kind::ALIVE, &alive_message(name, last, incarnation));
    }

    fn state(&self, name: &str) -> Option<(State, u32)> {
        self.list
            .node(name)
            .map(|node| (node.state, node.incarnation))
    }

    fn log(&mut self) -> Vec<String> {
        std::mem::take(&mut self.stub.log)
    }

    /// Lets time pass, timer by timer; all that was sent, by target and message.
    fn run(&mut self, millis: u64) -> Vec<(Time, SocketAddr, Vec<u8>)> {
        let end = self.now + Duration::from_millis(millis);
        let mut sent = Vec::new();
        while let Some(due) = self.list.poll_timeout().filter(|due| *due <= end) {
            self.now = due;
            self.list.handle_timeout(&mut self.stub, due);
            sent.extend(self.sent());
        }
        self.now = end;
        sent
    }

    fn sent(&mut self) -> Vec<(Time, SocketAddr, Vec<u8>)> {
        let mut sent = Vec::new();
        while let Some(transmit) = self.list.poll_transmit() {
            for part in self.list.codec.open_packet(&transmit.bytes).unwrap().iter() {
                sent.push((self.now, transmit.to, part.to_vec()));
            }
        }
        sent
    }

    fn forget_gossip(&mut self) {
        self.list.queue = Queue::default();
    }
}

fn of_kind(sent: &[(Time, SocketAddr, Vec<u8>)], wanted: u8) -> Vec<(Time, SocketAddr, Vec<u8>)> {
    sent.iter()
        .filter(|(.., message)| message[0] == wanted)
        .cloned()
        .collect()
}

#[test]
fn alive_needs_a_greater_incarnation_and_others_an_equal_one() {
    let mut w = World::new();
    w.alive("a", 2, 0);
    assert_eq!(w.state("a"), None);
    w.alive("a", 2, 5);
    assert_eq!(w.state("a"), Some((State::Alive, 5)));
    w.packet(3, kind::SUSPECT, &accuse("a", "b", 4));
    assert_eq!(w.state("a"), Some((State::Alive, 5)));
    w.packet(3, kind::SUSPECT, &accuse("a", "b", 5));
    w.alive("a", 2, 5);
    assert_eq!(w.state("a"), Some((State::Suspect, 5)));
    w.alive("a", 2, 6);
    assert_eq!(w.state("a"), Some((State::Alive, 6)));
    w.packet(3, kind::DEAD, &accuse("a", "b", 6));
    assert_eq!(w.state("a"), Some((State::Dead, 6)));
    w.packet(3, kind::SUSPECT, &accuse("a", "b", 7));
    w.packet(3, kind::DEAD, &accuse("a", "a", 7));
    assert_eq!(w.state("a"), Some((State::Dead, 6)));
    w.alive("a", 2, 7);
    w.packet(3, kind::DEAD, &accuse("a", "a", 7));
    assert_eq!(w.log(), ["join a", "Dead a", "join a", "Left a"]);
}

#[test]
fn changed_tags_are_an_update() {
    let mut w = World::new();
    w.alive("a", 2, 1);
    w.packet(
        2,
        kind::ALIVE,
        &Alive {
            meta: Arc::from(&b"x"[..]),
            ..alive_message("a", 2, 2)
        },
    );
    w.alive("a", 2, 3);
    assert_eq!(w.log(), ["join a", "update a", "update a"]);
    w.packet(
        2,
        kind::ALIVE,
        &Alive {
            meta: vec![0; MAX_META + 1].into(),
            ..alive_message("a", 2, 4)
        },
    );
    assert_eq!(w.state("a"), Some((State::Alive, 3)));
}

#[test]
fn wrong_versions_and_refused_nodes_stay_out() {
    let mut w = World::new();
    for vsn in [[0, 5, 2, 2, 5, 5], [1, 0, 2, 2, 5, 5], [3, 2, 2, 2, 5, 5]] {
        w.packet(
            2,
            kind::ALIVE,
            &Alive {
                vsn: Versions(vsn),
                ..alive_message("a", 2, 1)
            },
        );
    }
    w.stub.refuse = Some("a".into());
    w.alive("a", 2, 1);
    assert_eq!(w.list.known(), 1);
    assert_eq!(w.list.counters.refused, 1);
}

#[test]
fn a_name_on_another_address() {
    let mut w = World::with(Config {
        dead_name_reclaim: Duration::from_secs(30),
        ..Config::lan()
    });
    w.alive("a", 2, 5);
    w.alive("a", 3, 9);
    assert_eq!(w.log(), ["join a", "conflict a 10.0.0.3"]);
    // The same address in sixteen bytes is another one.
    let RawIp::V4(bytes) = ip(2) else {
        unreachable!()
    };
    let mapped = RawIp::V6(std::net::Ipv4Addr::from(bytes).to_ipv6_mapped().octets());
    w.packet(
        2,
        kind::ALIVE,
        &Alive {
            addr: mapped,
            ..alive_message("a", 2, 9)
        },
    );
    assert_eq!(w.log(), ["conflict a ::ffff:10.0.0.2"]);
    w.packet(4, kind::DEAD, &accuse("a", "b", 5));
    w.now = w.now + Duration::from_secs(30);
    w.alive("a", 3, 1);
    assert_eq!(w.log(), ["Dead a", "conflict a 10.0.0.3"]);
    w.now = w.now + Duration::from_millis(1);
    w.alive("a", 3, 1);
    assert_eq!(w.log(), ["join a"]);
    assert_eq!(
        (w.state("a"), w.list.node("a").unwrap().ip),
        (Some((State::Alive, 1)), ip(3))
    );
    // Who left may come back from anywhere at once.
    w.packet(4, kind::DEAD, &accuse("a", "a", 1));
    w.alive("a", 4, 1);
    assert_eq!(w.log(), ["Left a", "join a"]);
}

#[test]
fn we_object_to_what_is_said_about_us() {
    let mut w = World::new();
    w.packet(2, kind::SUSPECT, &accuse("me", "b", 1));
    assert_eq!(
        (w.state("me"), w.list.health()),
        (Some((State::Alive, 2)), 1)
    );
    w.packet(2, kind::DEAD, &accuse("me", "b", 7));
    assert_eq!(
        (w.state("me"), w.list.health()),
        (Some((State::Alive, 8)), 2)
    );
    // An echo of what we said is nothing; what an earlier life said is outbid.
    w.alive("me", 1, 8);
    assert_eq!(w.state("me"), Some((State::Alive, 8)));
    w.alive("me", 1, 7);
    w.packet(2, kind::SUSPECT, &accuse("me", "b", 7));
    assert_eq!(w.state("me"), Some((State::Alive, 8)));
    w.alive("me", 1, 20);
    assert_eq!(w.state("me"), Some((State::Alive, 21)));
    w.packet(
        2,
        kind::ALIVE,
        &Alive {
            meta: Arc::from(&b"old"[..]),
            ..alive_message("me", 1, 21)
        },
    );
    assert_eq!(w.state("me"), Some((State::Alive, 22)));
    w.alive("a", 2, 1);
    let gossip = of_kind(&w.run(300), kind::ALIVE);
    let last: Alive = msgpack::decode(&gossip[0].2[1..]).unwrap();
    assert!(
        gossip
            .iter()
            .any(
                |(.., message)| msgpack::decode::<Alive>(&message[1..]).unwrap().incarnation == 22
            )
    );
    assert!(last.meta.is_empty());
}

#[test]
fn who_spreads_what_was_refuted_is_told() {
    let mut w = World::new();
    w.alive("a", 2, 5);
    w.forget_gossip();
    w.packet(3, kind::SUSPECT, &accuse("a", "b", 4));
    assert_eq!(w.sent(), []);
    w.packet(3, kind::DEAD, &accuse("a", "b", 4));
    let (_, to, message) = w.sent().remove(0);
    assert_eq!(
        (to, msgpack::decode::<Alive>(&message[1..]).unwrap()),
        (addr(3), alive_message("a", 2, 5))
    );
    w.packet(3, kind::DEAD, &accuse("a", "b", 5));
    assert_eq!((w.sent(), w.state("a").unwrap().0), (vec![], State::Dead));
    // About us, a stale suspicion is enough.
    w.packet(3, kind::SUSPECT, &accuse("me", "b", 1));
    w.forget_gossip();
    w.packet(3, kind::SUSPECT, &accuse("me", "b", 1));
    assert_eq!(w.sent().len(), 1);
    assert_eq!(w.state("me"), Some((State::Alive, 2)));
}

#[test]
fn a_silent_node_is_probed_suspected_and_judged() {
    let mut w = World::new();
    for (name, last) in [("a", 2), ("b", 3), ("c", 4), ("d", 5)] {
        w.alive(name, last, 1);
    }
    w.forget_gossip();
    let sent = w.run(1000);
    let (began, target, ping) = of_kind(&sent, kind::PING).remove(0);
    let ping: Ping = msgpack::decode(&ping[1..]).unwrap();
    assert_eq!(
        (
            w.list.node(&ping.node).unwrap().ip.ip().unwrap(),
            &*ping.source_node
        ),
        (target.ip(), "me")
    );
    // Helpers are asked after the timeout, and none of them is the target.
    let rest = u64::try_from(
        (began + Duration::from_millis(1000))
            .since(w.now)
            .as_millis(),
    )
    .unwrap();
    let sent = [sent, w.run(rest + 1)].concat();
    let asked = of_kind(&sent, kind::INDIRECT_PING);
    assert_eq!(asked.len(), 3);
    for (at, helper, message) in &asked {
        let ask: IndirectPing = msgpack::decode(&message[1..]).unwrap();
        assert_eq!(
            (at.since(began).as_millis(), ask.seq, &ask.node, ask.nack),
            (500, ping.seq, &ping.node, true)
        );
        assert_ne!(helper.ip(), target.ip());
    }
    assert!(matches!(w.list.poll_stream(), Some(StreamAction::Dial { to, .. }) if to == target));
    // No nack came: our own network may be the reason.
    assert_eq!(
        (w.state(&ping.node).unwrap().0, w.list.health()),
        (State::Suspect, 3)
    );
    let began = began + Duration::from_secs(1);
    // Nobody confirms: four nodes are too few to know, so the long window holds.
    let window = suspicion::suspicion_min(4, 5, Duration::from_secs(1)) * 6;
    w.run(u64::try_from((began + window).since(w.now).as_millis()).unwrap() - 1);
    assert_eq!(w.state(&ping.node).unwrap().0, State::Suspect);
    w.run(2);
    assert_eq!(w.state(&ping.node).unwrap().0, State::Dead);
}

#[test]
fn confirmations_end_a_suspicion_early() {
    let mut w = World::new();
    for (name, last) in [("a", 2), ("b", 3), ("c", 4), ("d", 5), ("e", 6)] {
        w.alive(name, last, 1);
    }
    w.packet(3, kind::SUSPECT, &accuse("a", "b", 1));
    for from in ["b", "c", "c", "d"] {
        w.packet(3, kind::SUSPECT, &accuse("a", from, 1));
    }
    w.run(3999);
    assert_eq!(w.state("a"), Some((State::Suspect, 1)));
    w.run(2);
    assert_eq!(w.state("a"), Some((State::Dead, 1)));
    // A confirmation that comes when the shortened time has passed fires at once.
    w.packet(3, kind::SUSPECT, &accuse("e", "b", 1));
    w.run(15_000);
    w.packet(3, kind::SUSPECT, &accuse("e", "c", 1));
    w.packet(3, kind::SUSPECT, &accuse("e", "d", 1));
    assert_eq!(w.state("e"), Some((State::Dead, 1)));
}

#[test]
fn an_answer_ends_the_round_and_heals() {
    let mut w = World::new();
    w.alive("a", 2, 1);
    w.forget_gossip();
    w.list.health = 2;
    let ping = loop {
        if let Some((.., ping)) = of_kind(&w.run(50), kind::PING).pop() {
            break msgpack::decode::<Ping>(&ping[1..]).unwrap();
        }
    };
    w.log();
    w.packet(
        2,
        kind::ACK,
        &Ack {
            payload: msgpack::Bytes::default(),
            seq: ping.seq + 100,
        },
    );
    assert_eq!(w.list.health(), 2);
    w.packet(
        2,
        kind::ACK,
        &Ack {
            payload: msgpack::Bytes::default(),
            seq: ping.seq,
        },
    );
    assert_eq!(w.list.health(), 1);
    assert!(w.log()[0].starts_with("measured a "));
    // A second ack finds nothing.
    w.packet(
        2,
        kind::ACK,
        &Ack {
            payload: msgpack::Bytes::default(),
            seq: ping.seq,
        },
    );
    assert_eq!((w.list.health(), w.log().len()), (1, 0));
    w.run(900);
    assert_eq!(w.state("a").unwrap().0, State::Alive);
}

#[test]
fn a_suspect_hears_of_it_with_the_ping() {
    let mut w = World::new();
    w.alive("a", 2, 1);
    w.packet(3, kind::SUSPECT, &accuse("a", "b", 1));
    w.forget_gossip();
    let sent = w.run(1000);
    let suspect = of_kind(&sent, kind::SUSPECT).remove(0);
    assert_eq!(suspect.1, addr(2));
    assert_eq!(
        msgpack::decode::<Accusation>(&suspect.2[1..]).unwrap(),
        accuse("a", "me", 1)
    );
    assert_eq!(of_kind(&sent, kind::PING)[0].0, suspect.0);
}

#[test]
fn pings_are_answered_where_they_say() {
    let mut w = World::new();
    w.stub.coordinate = vec![1, 2];
    w.forget_gossip();
    w.packet(
        2,
        kind::PING,
        &Ping {
            node: "other".into(),
            seq: 1,
            ..Ping::default()
        },
    );
    assert_eq!(w.sent(), []);
    w.packet(
        2,
        kind::PING,
        &Ping {
            seq: 2,
            ..Ping::default()
        },
    );
    w.packet(
        2,
        kind::PING,
        &Ping {
            node: "me".into(),
            seq: 3,
            source_addr: ip(9),
            source_port: 77,
            ..Ping::default()
        },
    );
    w.packet(
        2,
        kind::PING,
        &Ping {
            node: "me".into(),
            seq: 4,
            source_port: 77,
            ..Ping::default()
        },
    );
    let sent = w.sent();
    let ports: Vec<_> = sent.iter().map(|(_, to, _)| *to).collect();
    assert_eq!(
        ports,
        [addr(2), SocketAddr::from(([10, 0, 0, 9], 77)), addr(2)]
    );
    let ack: Ack = msgpack::decode(&sent[1].2[1..]).unwrap();
    assert_eq!((ack.seq, ack.payload.0), (3, vec![1, 2]));
}

#[test]
fn a_helper_relays_ack_or_nack() {
    let mut w = World::new();
    w.forget_gossip();
    let ask = |seq, nack| IndirectPing {
        nack,
        node: "t".into(),
        port: 0,
        seq,
        target: ip(7),
        ..IndirectPing::default()
    };
    w.packet(2, kind::INDIRECT_PING, &ask(70, true));
    w.packet(3, kind::INDIRECT_PING, &ask(71, true));
    w.packet(4, kind::INDIRECT_PING, &ask(72, false));
    let sent = w.sent();
    assert!(
        sent.iter().all(|(_, to, _)| *to == addr(7)),
        "port 0 is our own"
    );
    let ping: Ping = msgpack::decode(&sent[0].2[1..]).unwrap();
    assert_eq!(
        (&*ping.node, &*ping.source_node, ping.source_addr),
        ("t", "me", ip(1))
    );
    w.packet(
        7,
        kind::ACK,
        &Ack {
            payload: msgpack::Bytes(vec![9]),
            seq: ping.seq,
        },
    );
    let (_, to, message) = w.sent().remove(0);
    let ack: Ack = msgpack::decode(&message[1..]).unwrap();
    assert_eq!((to, ack.seq, ack.payload.0.len()), (addr(2), 70, 0));
    let sent = w.run(600);
    assert_eq!(sent.len(), 1, "no nack for who did not ask for it");
    assert_eq!((sent[0].1, sent[0].2[0]), (addr(3), kind::NACK));
    assert_eq!(msgpack::decode::<Nack>(&sent[0].2[1..]).unwrap().seq, 71);
    // An ack after the nack is of no use to anybody.
    let late: Ping = Ping {
        seq: ping.seq + 1,
        ..ping
    };
    w.packet(
        7,
        kind::ACK,
        &Ack {
            payload: msgpack::Bytes::default(),
            seq: late.seq,
        },
    );
    assert_eq!(w.sent(), []);
}

#[test]
fn leaving_is_said_and_not_taken_back() {
    let mut w = World::new();
    w.alive("a", 2, 1);
    w.forget_gossip();
    w.log();
    assert!(w.list.leave(&mut w.stub, w.now, 42));
    assert_eq!(w.log(), ["Left me"]);
    w.packet(2, kind::SUSPECT, &accuse("me", "a", 1));
    w.alive("me", 1, 9);
    assert_eq!(w.state("me"), Some((State::Left, 1)));
    let sent = w.run(3000);
    let said = of_kind(&sent, kind::DEAD);
    assert_eq!(said.len(), 4);
    assert_eq!(
        msgpack::decode::<Accusation>(&said[0].2[1..]).unwrap(),
        accuse("me", "me", 1)
    );
    assert_eq!(w.list.take_done(), [42]);
    assert_eq!(
        of_kind(&sent, kind::PING).len(),
        0,
        "who leaves judges nobody"
    );
    // But it still answers.
    w.packet(
        2,
        kind::PING,
        &Ping {
            node: "me".into(),
            seq: 3,
            ..Ping::default()
        },
    );
    assert_eq!(of_kind(&w.sent(), kind::ACK).len(), 1);
}

#[test]
fn a_pause_is_no_verdict_on_others() {
    let mut w = World::new();
    w.alive("a", 2, 1);
    w.alive("b", 3, 1);
    w.packet(3, kind::SUSPECT, &accuse("a", "b", 1));
    let deadline = w.now + suspicion::suspicion_min(4, 3, Duration::from_secs(1));
    w.run(500);
    // Ten seconds without a beat: nobody can have objected in our hearing.
    w.now = w.now + Duration::from_secs(10);
    w.list.handle_timeout(&mut w.stub, w.now);
    assert_eq!(w.state("a"), Some((State::Suspect, 1)));
    assert!(
        w.stub
            .notes
            .iter()
            .any(|note| matches!(note, Note::Paused { .. }))
    );
    assert!(w.list.health() >= 1);
    w.run(1000);
    assert_eq!(w.state("a"), Some((State::Suspect, 1)));
    assert!(deadline < w.now);
    w.run(8000);
    assert_eq!(w.state("a"), Some((State::Dead, 1)));
}

#[test]
fn what_is_dead_for_long_is_forgotten_when_the_cycle_wraps() {
    let mut w = World::new();
    w.alive("a", 2, 1);
    w.packet(2, kind::DEAD, &accuse("a", "b", 1));
    w.run(29_000);
    assert_eq!(w.list.known(), 2);
    w.run(4000);
    assert_eq!(w.list.known(), 1);
}

/// Moves a stream's bytes between two members until both are silent.
fn converse(a: &mut World, b: &mut World) {
    let mut ids = BTreeMap::new();
    loop {
        let mut moved = false;
        while let Some(action) = a.list.poll_stream() {
            moved = true;
            match action {
                StreamAction::Dial { id, .. } => {
                    let other = b.list.accept_stream(b.now, addr(1)).unwrap();
                    ids.insert(id, other);
                    a.list.handle_stream_open(&mut a.stub, id);
                }
                StreamAction::Write { id, bytes } => {
                    for piece in bytes.chunks(100) {
                        b.list
                            .handle_stream_data(&mut b.stub, b.now, ids[&id], piece);
                    }
                }
                StreamAction::Close { id } => {
                    b.list
                        .handle_stream_closed(&mut b.stub, b.now, ids[&id], StreamClosed::End)
                }
            }
        }
        while let Some(action) = b.list.poll_stream() {
            moved = true;
            let back = |id| *ids.iter().find(|(_, other)| **other == id).unwrap().0;
            match action {
                StreamAction::Dial { .. } => panic!("b does not dial"),
                StreamAction::Write { id, bytes } => {
                    a.list
                        .handle_stream_data(&mut a.stub, a.now, back(id), &bytes)
                }
                StreamAction::Close { id } => {
                    a.list
                        .handle_stream_closed(&mut a.stub, a.now, back(id), StreamClosed::End)
                }
            }
        }
        if !moved {
            return;
        }
    }
}

#[test]
fn an_exchange_brings_both_together() {
    let config = Config {
        label: b"x".to_vec(),
        keys: vec![vec![7; 16]],
        compress: true,
        ..Config::lan()
    };
    let (mut a, mut b) = (World::with(config.clone()), World::with(config));
    a.list.config.compress = false;
    // Two members of one name would refute each other: what they know is what we look at.
    for (name, last) in [("p", 11), ("q", 12), ("r", 13), ("s", 14)] {
        let message = alive_message(name, last, 3);
        b.list.alive(&mut b.stub, b.now, &message, false);
    }
    let now = b.now;
    b.list.suspect(&mut b.stub, now, &accuse("q", "z", 3));
    b.list.dead(&mut b.stub, now, &accuse("r", "z", 3), None);
    b.list.dead(&mut b.stub, now, &accuse("s", "s", 3), None);
    for (name, last) in [("p", 11), ("q", 12), ("r", 13), ("s", 14)] {
        let message = alive_message(name, last, 2);
        a.list.alive(&mut a.stub, a.now, &message, false);
    }
    a.log();
    b.log();
    a.list
        .exchange(
            now,
            Exchange::Join {
                id: 1,
                ignore_old: false,
            },
            addr(2),
        )
        .unwrap();
    converse(&mut a, &mut b);
    assert_eq!(a.stub.exchanged, [Ok(5)]);
    assert_eq!(a.state("p"), Some((State::Alive, 3)));
    // Dead elsewhere is no more than suspect here; left is left.
    assert_eq!(a.state("q").unwrap().0, State::Suspect);
    assert_eq!(a.state("r").unwrap().0, State::Suspect);
    assert_eq!(a.state("s"), Some((State::Left, 3)));
    assert!(a.log().contains(&"state state true".to_owned()));
    assert!(b.log().contains(&"state state true".to_owned()));
    assert!(a.list.streams.open.is_empty() && b.list.streams.open.is_empty());
    assert_eq!(
        (
            a.list.streams.held,
            b.list.streams.held,
            b.list.streams.inbound
        ),
        (0, 0, 0)
    );
}

#[test]
fn a_refused_exchange_still_shows_our_state() {
    let (mut a, mut b) = (World::new(), World::new());
    let stranger = alive_message("stranger", 9, 1);
    a.list.alive(&mut a.stub, a.now, &stranger, false);
    b.stub.refuse = Some("stranger".into());
    a.list
        .exchange(
            a.now,
            Exchange::Join {
                id: 1,
                ignore_old: false,
            },
            addr(2),
        )
        .unwrap();
    converse(&mut a, &mut b);
    assert_eq!(a.stub.exchanged, [Ok(1)]);
    assert_eq!(b.list.known(), 1);
    assert!(matches!(
        &b.stub.notes[..],
        [Note::Stream {
            error: StreamError::Refused(_),
            ..
        }]
    ));
    // One node without versions poisons the merge.
    let header = PushPullHeader {
        join: false,
        nodes: 1,
        user_state_len: 0,
    };
    let mut bytes = msgpack::tagged(kind::PUSH_PULL, &header);
    let mut out = msgpack::Writer::default();
    msgpack::Value::write(
        &NodeState {
            name: "old".into(),
            state: 2,
            ..NodeState::default()
        },
        &mut out,
    );
    bytes.extend_from_slice(&out.bytes);
    let id = b.list.accept_stream(b.now, addr(3)).unwrap();
    b.list.handle_stream_data(&mut b.stub, b.now, id, &bytes);
    assert!(
        matches!(b.stub.notes.last(), Some(Note::Stream { error: StreamError::Refused(why), .. }) if why.contains("old"))
    );
}

#[test]
fn who_is_shunned_learns_nothing() {
    let (mut a, mut b) = (World::new(), World::new());
    let stranger = alive_message("stranger", 9, 1);
    a.list.alive(&mut a.stub, a.now, &stranger, false);
    b.stub.shun = Some("stranger".into());
    a.list.exchange(a.now, Exchange::Periodic, addr(2)).unwrap();
    converse(&mut a, &mut b);
    assert_eq!(
        a.stub.exchanged,
        [Err(StreamError::Remote("go away".into()))]
    );
    assert_eq!(b.list.known(), 1);
    assert!(b.list.streams.open.is_empty());
}

#[test]
fn a_member_alone_sleeps() {
    let mut w = World::with(Config::lan());
    assert_eq!(w.list.poll_timeout(), None);
    w.now = Time::from_millis(3_600_000);
    w.alive("a", 2, 1);
    let next = w.list.poll_timeout().unwrap();
    assert!(
        next.since(w.now) <= Duration::from_millis(200),
        "it gossips"
    );
    w.run(2_000);
    assert_eq!(w.list.counters.probes, 2);
    assert!(
        w.stub
            .notes
            .iter()
            .all(|n| !matches!(n, Note::Paused { .. }))
    );
    // Forgotten, it leaves silence behind.
    w.packet(3, kind::DEAD, &accuse("a", "a", 1));
    w.run(120_000);
    assert_eq!((w.list.known(), w.list.poll_timeout()), (1, None));
}

#[test]
fn streams_are_bounded_in_number_and_time() {
    let mut w = World::new();
    let ids: Vec<_> = (0..200)
        .map_while(|_| w.list.accept_stream(w.now, addr(3)))
        .collect();
    assert_eq!(ids.len(), 128);
    w.run(10_001);
    assert!(w.list.streams.open.is_empty());
    assert!(w.list.accept_stream(w.now, addr(3)).is_some());
}

#[test]
fn tcp_speaks_for_a_node_that_udp_does_not_reach() {
    let mut w = World::new();
    let mut target = World::new();
    w.alive("me-too", 2, 1);
    target.list.identity.name = "me-too".into();
    w.forget_gossip();
    let start = loop {
        if !of_kind(&w.run(10), kind::PING).is_empty() {
            break w.now;
        }
    };
    w.run(500);
    converse(&mut w, &mut target);
    w.run(600);
    assert!(w.now.since(start).as_millis() > 1000);
    assert_eq!(w.state("me-too"), Some((State::Alive, 1)));
    assert!(
        w.stub
            .notes
            .iter()
            .any(|note| matches!(note, Note::OnlyTcp { .. }))
    );
}

#[test]
fn hostile_packets_change_nothing() {
    let mut w = World::new();
    w.alive("a", 2, 1);
    let mut rng = Rng::new(5);
    for _ in 0..20_000 {
        let len = rng.below(60);
        let mut packet: Vec<u8> = (0..len)
            .map(|_| u8::try_from(rng.below(256)).unwrap())
            .collect();
        if let Some(first) = packet.first_mut() {
            *first = u8::try_from(rng.below(14)).unwrap();
        }
        w.list.handle_packet(&mut w.stub, w.now, addr(66), &packet);
    }
    w.list.table.check();
    assert_eq!(w.list.known(), 2);
    assert!(w.list.relays.len() <= MAX_RELAYS && w.list.outbox.len() <= MAX_OUTBOX);
}
