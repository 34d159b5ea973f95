//! Thousands of members of a gossip pool in one process: they answer probes, and that is all.
//!
//! All have one port and an address of their own in 127/8, so that two sockets serve them. They
//! look like client agents. What is gossiped to them they ignore.

use lictor_gossip::Tags;
use lictor_gossip::keyring::Keyring;
use lictor_gossip::msgpack::{self, Bytes, Value, Writer};
use lictor_gossip::packet::message::{
    Accusation, Ack, Alive, NodeState, Ping, PushPullHeader, Versions,
};
use lictor_gossip::packet::{Codec, kind};
use lictor_gossip::random::{NonceSource, Seed};
use lictor_gossip::serf::encode_tags;
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long the sockets wait before they look whether all is over.
const LOOK: Duration = Duration::from_millis(200);
/// Serf's number of a leave.
const LEAVE: u8 = 0;
/// Members of a crowd, at most: three bytes of an address.
const MOST: usize = 1 << 20;

/// The crowd. It is gone with the value.
pub struct Crowd {
    shared: Arc<Shared>,
    count: usize,
}

struct Shared {
    port: u16,
    udp: UdpSocket,
    over: AtomicBool,
    pings: AtomicU64,
    silent: Mutex<BTreeSet<Arc<str>>>,
}

impl Crowd {
    /// So many members that know nobody yet.
    pub fn new(count: usize) -> Crowd {
        assert!(count < MOST, "{count} members have no addresses");
        let listener = TcpListener::bind(("0.0.0.0", 0)).expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let udp = UdpSocket::bind(("0.0.0.0", port)).expect("the same port");
        udp.set_read_timeout(Some(LOOK)).expect("a time limit");
        listener.set_nonblocking(true).expect("not waiting");
        let shared = Arc::new(Shared {
            port,
            udp,
            over: AtomicBool::new(false),
            pings: AtomicU64::new(0),
            silent: Mutex::default(),
        });
        let packets = shared.clone();
        std::thread::spawn(move || packets.answer_packets());
        let streams = shared.clone();
        std::thread::spawn(move || streams.answer_streams(&listener));
        Crowd { shared, count }
    }

    /// The name of one of them.
    pub fn name(member: usize) -> String {
        format!("crowd-{member:05}")
    }

    /// Its address.
    pub fn address(member: usize) -> Ipv4Addr {
        let [_, a, b, c] = u32::try_from(member).unwrap_or(0).to_be_bytes();
        Ipv4Addr::new(127, 100 + a, b, c)
    }

    /// All of them join the pool of an agent.
    pub fn join(&self, agent: SocketAddr) {
        let mut stream = TcpStream::connect(agent).expect("the agent listens");
        let limit = Some(Duration::from_secs(20));
        stream.set_read_timeout(limit).expect("a time limit");
        let state = self.shared.state(true, self.count);
        stream.write_all(&state).expect("our state is taken");
        // Its own state follows when it has read ours.
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("its state");
        assert_eq!(answer.first(), Some(&kind::PUSH_PULL), "{answer:?}");
    }

    /// One of them changes its tags: a new incarnation of it is told to the agent.
    pub fn change(&self, agent: SocketAddr, member: usize, incarnation: u32) {
        let mut tags = tags(member);
        tags.insert("life".to_owned(), incarnation.to_string());
        let alive = Alive {
            addr: IpAddr::from(Crowd::address(member)).into(),
            incarnation,
            meta: encode_tags(&tags).into(),
            node: Crowd::name(member).into(),
            port: self.shared.port,
            vsn: Versions::ours(4),
        };
        let message = msgpack::tagged(kind::ALIVE, &alive);
        self.shared.udp.send_to(&message, agent).expect("a packet");
    }

    /// One of them leaves: first Serf is told, then memberlist.
    pub fn leave(&self, agent: SocketAddr, member: usize, incarnation: u32) {
        let name: Arc<str> = Crowd::name(member).into();
        let mut intent = Writer::after(vec![kind::USER, LEAVE]);
        intent.map(3);
        for (key, write) in [
            (
                "LTime",
                &(|out: &mut Writer| out.uint(1000)) as &dyn Fn(&mut Writer),
            ),
            ("Node", &|out: &mut Writer| out.raw(name.as_bytes())),
            ("Prune", &|out: &mut Writer| out.bool(false)),
        ] {
            intent.raw(key.as_bytes());
            write(&mut intent);
        }
        let dead = Accusation {
            from: name.clone(),
            incarnation,
            node: name.clone(),
        };
        let messages = [intent.bytes, msgpack::tagged(kind::DEAD, &dead)];
        let packet = lictor_gossip::packet::compound(&messages);
        self.shared.udp.send_to(&packet, agent).expect("a packet");
    }

    /// One of them does not answer any more.
    pub fn silence(&self, member: usize) {
        let mut silent = self
            .shared
            .silent
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        silent.insert(Crowd::name(member).into());
    }

    /// Probes that came.
    pub fn pings(&self) -> u64 {
        self.shared.pings.load(Ordering::Relaxed)
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
    }
}

/// What a client agent says of itself.
fn tags(member: usize) -> Tags {
    [
        ("role", "node"),
        ("dc", "dc1"),
        ("vsn", "2"),
        ("vsn_min", "2"),
        ("vsn_max", "3"),
        ("build", "1.21.0:"),
        ("segment", ""),
        ("id", &format!("00000000-0000-4000-8000-{member:012x}")),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into()
}

impl Shared {
    fn goes_on(&self) -> bool {
        !self.over.load(Ordering::Relaxed)
    }

    fn state(&self, join: bool, count: usize) -> Vec<u8> {
        let header = PushPullHeader {
            join,
            nodes: i64::try_from(count).unwrap_or(0),
            user_state_len: 0,
        };
        let mut out = Writer::after(msgpack::tagged(kind::PUSH_PULL, &header));
        for member in 0..count {
            let node = NodeState {
                addr: IpAddr::from(Crowd::address(member)).into(),
                incarnation: 1,
                meta: encode_tags(&tags(member)).into(),
                name: Crowd::name(member).into(),
                port: self.port,
                state: 0,
                vsn: Versions::ours(4),
            };
            node.write(&mut out);
        }
        out.bytes
    }

    /// The answer to a ping; none from a member that is silent.
    fn ack(&self, ping: &Ping) -> Option<Vec<u8>> {
        self.pings.fetch_add(1, Ordering::Relaxed);
        let silent = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        let ack = Ack {
            payload: Bytes(Vec::new()),
            seq: ping.seq,
        };
        (!silent.contains(&ping.node)).then(|| msgpack::tagged(kind::ACK, &ack))
    }

    fn answer_packets(&self) {
        let keys = Keyring::new::<&[u8]>([]).expect("no keys");
        let nonces = NonceSource::new(&Seed::from_number(1));
        let codec = Codec::new(Vec::new(), keys, true, true, nonces);
        let mut buffer = vec![0; 65_536];
        while self.goes_on() {
            let Ok((len, from)) = self.udp.recv_from(&mut buffer) else {
                continue;
            };
            // Nobody outside this machine has business here.
            if !from.ip().is_loopback() {
                continue;
            }
            let Ok(parts) = codec.open_packet(&buffer[..len]) else {
                continue;
            };
            for message in parts.iter() {
                let Some((&kind::PING, body)) = message.split_first() else {
                    continue;
                };
                if let Ok(ping) = msgpack::decode::<Ping>(body)
                    && let Some(ack) = self.ack(&ping)
                {
                    // A lost answer is asked for again.
                    let _ = self.udp.send_to(&ack, from);
                }
            }
        }
    }

    fn answer_streams(&self, listener: &TcpListener) {
        while self.goes_on() {
            match listener.accept() {
                Ok((stream, from)) if from.ip().is_loopback() => {
                    let _ = self.answer_stream(stream);
                }
                Ok(_) => {}
                Err(_) => std::thread::sleep(LOOK / 10),
            }
        }
    }

    fn answer_stream(&self, mut stream: TcpStream) -> std::io::Result<()> {
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(LOOK))?;
        let mut buffer = vec![0; 65_536];
        let len = stream.read(&mut buffer)?;
        match buffer[..len].split_first() {
            Some((&kind::PING, body)) => {
                if let Ok(ping) = msgpack::decode::<Ping>(body)
                    && let Some(ack) = self.ack(&ping)
                {
                    stream.write_all(&ack)?;
                }
            }
            Some((&kind::PUSH_PULL, _)) => {
                // All that is said is that the first of us is still there.
                while stream.read(&mut buffer).is_ok_and(|len| len > 0) {}
                stream.write_all(&self.state(false, 1))?;
            }
            _ => {}
        }
        Ok(())
    }
}
