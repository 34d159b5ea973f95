//! Real sockets, and recursors that behave in all sorts of ways.

mod common;

use common::{Ask, Catalog, ask, lines, responder, service};
use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use lictor_dns::{BindError, DnsServer, RecursorStrategy, Settings, bind};
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(5);

fn local() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

async fn server(settings: Settings) -> (Arc<Catalog>, DnsServer) {
    server_at(local(), settings).await
}

async fn server_at(address: SocketAddr, settings: Settings) -> (Arc<Catalog>, DnsServer) {
    let (catalog, responder) = responder(Catalog::default(), settings);
    catalog.parity_node();
    catalog.web(5, "dweb");
    (catalog, bind(address, responder).await.unwrap())
}

/// Both protocols on one free port.
async fn pair() -> (UdpSocket, TcpListener) {
    loop {
        let udp = UdpSocket::bind(local()).await.unwrap();
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
            return (udp, tcp);
        }
    }
}

async fn udp(server: &DnsServer, ask: &Ask) -> Message {
    let socket = UdpSocket::bind(local()).await.unwrap();
    socket
        .send_to(&ask.bytes(), server.local_addr())
        .await
        .unwrap();
    let mut buffer = [0; 65535];
    let (length, _) = timeout(SOON, socket.recv_from(&mut buffer))
        .await
        .expect("an answer in time")
        .unwrap();
    Message::from_vec(&buffer[..length]).unwrap()
}

async fn exchange(stream: &mut TcpStream, ask: &Ask) -> Message {
    let bytes = ask.bytes();
    stream.write_u16(bytes.len() as u16).await.unwrap();
    stream.write_all(&bytes).await.unwrap();
    let length = timeout(SOON, stream.read_u16())
        .await
        .expect("an answer in time")
        .unwrap();
    let mut answer = vec![0; length.into()];
    stream.read_exact(&mut answer).await.unwrap();
    Message::from_vec(&answer).unwrap()
}

async fn tcp(server: &DnsServer, ask: &Ask) -> Message {
    exchange(
        &mut TcpStream::connect(server.local_addr()).await.unwrap(),
        ask,
    )
    .await
}

#[tokio::test]
async fn datagrams_and_connections_on_one_port() {
    let settings = Settings {
        enable_truncate: true,
        ..Settings::default()
    };
    // An address that no other test takes ports of.
    let (_, server) = server_at(SocketAddr::from(([127, 0, 0, 2], 0)), settings).await;
    let question = ask("dweb.service.consul", "A");
    let part = udp(&server, &question).await;
    assert_eq!((part.answers.len(), part.metadata.truncation), (3, true));
    // Two questions over one connection, one after the other.
    let mut stream = TcpStream::connect(server.local_addr()).await.unwrap();
    for _ in 0..2 {
        let whole = exchange(&mut stream, &question).await;
        assert_eq!((whole.answers.len(), whole.metadata.truncation), (5, false));
    }
    let address = server.local_addr();
    server.shutdown().await;
    // The idle connection is closed, and the port is free again.
    assert_eq!(
        timeout(SOON, stream.read(&mut [0; 1]))
            .await
            .unwrap()
            .unwrap(),
        0
    );
    UdpSocket::bind(address).await.unwrap();
    TcpListener::bind(address).await.unwrap();
}

#[tokio::test]
async fn many_clients_at_once() {
    let (_, server) = server(Settings::default()).await;
    let server = Arc::new(server);
    let mut tasks = tokio::task::JoinSet::new();
    for i in 0..40 {
        let server = server.clone();
        tasks.spawn(async move {
            let question = ask("dweb.service.consul", "SRV");
            match i % 2 {
                0 => udp(&server, &question).await.answers.len(),
                _ => tcp(&server, &question).await.answers.len(),
            }
        });
    }
    let mut counts = tasks.join_all().await;
    counts.sort_unstable();
    assert_eq!(counts, [[3; 20], [5; 20]].concat());
}

#[tokio::test]
async fn a_client_cannot_take_all_connections() {
    let (_, server) = server(Settings::default()).await;
    let mut held = Vec::new();
    // More than one client may have, less than all may.
    for _ in 0..80 {
        held.push(TcpStream::connect(server.local_addr()).await.unwrap());
    }
    let mut closed = 0;
    for stream in held.iter_mut().rev().take(16) {
        let end = timeout(SOON, stream.read(&mut [0; 1]))
            .await
            .expect("closed at once");
        closed += usize::from(matches!(end, Ok(0) | Err(_)));
    }
    assert_eq!(closed, 16);
    let question = ask("dweb.service.consul", "A");
    assert_eq!(exchange(&mut held[0], &question).await.answers.len(), 5);
    assert_eq!(udp(&server, &question).await.answers.len(), 3);
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let (_, first) = server(Settings::default()).await;
    let (_, again) = responder(Catalog::default(), Settings::default());
    let error = bind(first.local_addr(), again.clone()).await.err().unwrap();
    assert!(matches!(
        error,
        BindError::InUse {
            protocol: "udp",
            ..
        }
    ));
    assert!(
        error.to_string().contains(&first.local_addr().to_string()),
        "{error}"
    );

    // Free for datagrams is not free for connections.
    let (udp, taken) = pair().await;
    drop(udp);
    let error = bind(taken.local_addr().unwrap(), again)
        .await
        .err()
        .unwrap();
    assert!(
        matches!(
            error,
            BindError::InUse {
                protocol: "tcp",
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn a_missing_right_says_how_to_get_it() {
    let address = SocketAddr::from(([0, 0, 0, 0], 53));
    let text = BindError::NoRight { address }.to_string();
    for part in [
        "0.0.0.0:53",
        "root",
        "setcap cap_net_bind_service=+ep",
        "-dns-port 8600",
    ] {
        assert!(text.contains(part), "{text}");
    }
}

/// How a recursor behaves.
#[derive(Clone, Copy, PartialEq)]
enum Manner {
    /// Answers with this code, one address where that is NOERROR.
    Code(ResponseCode),
    /// Never answers.
    Silent,
    /// Sends lies first: another id, another question, no response; then the truth.
    Lies,
    /// Truncates over UDP, twenty addresses over TCP.
    Truncates,
    /// Truncates over UDP, closes over TCP.
    TruncatesOnly,
    /// Answers with a CNAME and its address.
    Alias,
}

struct Recursor {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
}

fn answer_to(query: &[u8], manner: Manner, over_tcp: bool) -> Vec<u8> {
    let mut message = Message::from_vec(query).unwrap();
    message.metadata.message_type = MessageType::Response;
    message.metadata.recursion_available = true;
    let name = message.queries[0].name().clone();
    let a = |i: u8| Record::from_rdata(name.clone(), 60, RData::A(A::new(198, 51, 100, i)));
    match manner {
        Manner::Code(ResponseCode::NoError) | Manner::Lies
            if message.queries[0].query_type() == RecordType::AAAA =>
        {
            let ip = RData::AAAA(AAAA("2001:db8::99".parse().unwrap()));
            message.add_answer(Record::from_rdata(name.clone(), 60, ip));
        }
        Manner::Code(ResponseCode::NoError) | Manner::Lies => {
            message.add_answer(a(1));
        }
        Manner::Code(code) => message.metadata.response_code = code,
        Manner::Truncates if over_tcp => {
            message.add_answers((0..20).map(a));
        }
        Manner::Truncates | Manner::TruncatesOnly => message.metadata.truncation = true,
        Manner::Alias => {
            let real = Name::from_str("real.example.org.").unwrap();
            message.add_answer(Record::from_rdata(
                name.clone(),
                60,
                RData::CNAME(CNAME(real.clone())),
            ));
            message.add_answer(Record::from_rdata(
                real,
                60,
                RData::A(A::new(198, 51, 100, 9)),
            ));
        }
        Manner::Silent => {}
    }
    message.edns = None;
    message.to_vec().unwrap()
}

async fn recursor(manner: Manner) -> Recursor {
    let (socket, listener) = pair().await;
    let address = socket.local_addr().unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    tokio::spawn(async move {
        let mut buffer = [0; 4096];
        loop {
            let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
            count.fetch_add(1, Ordering::Relaxed);
            if manner == Manner::Silent {
                continue;
            }
            let answer = answer_to(&buffer[..length], manner, false);
            if manner == Manner::Lies {
                let lie = |at: usize, flip: u8| {
                    let mut lie = answer.clone();
                    lie[at] ^= flip;
                    lie
                };
                for lie in [lie(0, 1), lie(14, 1), lie(2, 0x80), answer[..5].to_vec()] {
                    socket.send_to(&lie, from).await.unwrap();
                }
            }
            socket.send_to(&answer, from).await.unwrap();
        }
    });
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            if manner == Manner::TruncatesOnly {
                continue;
            }
            let length = stream.read_u16().await.unwrap();
            let mut query = vec![0; length.into()];
            stream.read_exact(&mut query).await.unwrap();
            let answer = answer_to(&query, manner, true);
            stream.write_u16(answer.len() as u16).await.unwrap();
            stream.write_all(&answer).await.unwrap();
        }
    });
    Recursor { address, asked }
}

async fn with_recursors(
    manners: &[Manner],
    strategy: RecursorStrategy,
) -> (Vec<Recursor>, Arc<Catalog>, DnsServer) {
    let mut recursors = Vec::new();
    for manner in manners {
        recursors.push(recursor(*manner).await);
    }
    let settings = Settings {
        recursors: recursors.iter().map(|r| r.address).collect(),
        recursor_strategy: strategy,
        recursor_timeout: Duration::from_millis(150),
        ..Settings::default()
    };
    let (catalog, server) = server(settings).await;
    (recursors, catalog, server)
}

const GOOD: Manner = Manner::Code(ResponseCode::NoError);
const ANSWER: [&str; 2] = ["NoError rd ra", "ans www.example.org. 60 A 198.51.100.1"];

#[tokio::test]
async fn foreign_names_go_to_the_first_recursor_that_answers() {
    let bad = [
        Manner::Silent,
        Manner::Code(ResponseCode::ServFail),
        Manner::Code(ResponseCode::Refused),
        Manner::Lies,
        GOOD,
    ];
    let (recursors, _, server) = with_recursors(&bad, RecursorStrategy::Sequential).await;
    let question = ask("www.example.org", "A");
    assert_eq!(lines(&udp(&server, &question).await), ANSWER);
    assert_eq!(lines(&tcp(&server, &question.clone().tcp()).await), ANSWER);
    let asked: Vec<usize> = recursors
        .iter()
        .map(|r| r.asked.load(Ordering::Relaxed))
        .collect();
    assert_eq!(asked, [2, 2, 2, 2, 0]);
    // Our own names stay here, and say that there is recursion.
    let own = udp(&server, &ask("t0.dweb.service.consul", "A")).await;
    assert_eq!(lines(&own)[0], "NoError aa rd ra");
    assert_eq!(recursors[0].asked.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn there_is_no_such_name_is_an_answer() {
    let nx = Manner::Code(ResponseCode::NXDomain);
    let (recursors, _, server) = with_recursors(&[nx, GOOD], RecursorStrategy::Sequential).await;
    assert_eq!(
        lines(&udp(&server, &ask("no.example.org", "A")).await),
        ["NXDomain rd ra"]
    );
    assert_eq!(recursors[1].asked.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn when_all_fail_so_do_we() {
    let (_, _, server) = with_recursors(
        &[Manner::Silent, Manner::Code(ResponseCode::ServFail)],
        RecursorStrategy::Random,
    )
    .await;
    let reply = udp(&server, &ask("www.example.org", "A").edns(1232)).await;
    assert_eq!(lines(&reply), ["ServFail rd ra"]);
    assert!(reply.edns.is_some());
}

#[tokio::test]
async fn a_closed_port_is_no_reason_to_wait() {
    // Bound and dropped: nobody listens there now.
    let nobody = UdpSocket::bind("127.0.0.3:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let good = recursor(GOOD).await;
    let settings = Settings {
        recursors: vec![nobody, good.address],
        ..Settings::default()
    };
    let (_, server) = server(settings).await;
    let reply = timeout(
        Duration::from_millis(1500),
        udp(&server, &ask("www.example.org", "A")),
    )
    .await;
    assert_eq!(lines(&reply.expect("sooner than a time-out")), ANSWER);
}

#[tokio::test]
async fn random_order_asks_them_all_now_and_then() {
    let (recursors, _, server) = with_recursors(&[GOOD, GOOD], RecursorStrategy::Random).await;
    for _ in 0..60 {
        udp(&server, &ask("www.example.org", "A")).await;
    }
    let asked: Vec<usize> = recursors
        .iter()
        .map(|r| r.asked.load(Ordering::Relaxed))
        .collect();
    assert_eq!(asked.iter().sum::<usize>(), 60);
    assert!(asked.iter().all(|n| *n > 5), "{asked:?}");
}

#[tokio::test]
async fn truncated_answers_are_fetched_over_tcp() {
    let (_, _, server) = with_recursors(&[Manner::Truncates], RecursorStrategy::Sequential).await;
    let question = ask("www.example.org", "A");
    let whole = tcp(&server, &question.clone().tcp()).await;
    assert_eq!(
        (whole.answers.len(), whole.metadata.truncation),
        (20, false)
    );
    let whole = udp(&server, &question.clone().edns(1232)).await;
    assert_eq!(
        (whole.answers.len(), whole.metadata.truncation),
        (20, false)
    );
    // Twenty addresses of sixteen bytes fit into 512, two hundred would not.
    let long = ask(
        &format!(
            "{}.{}.{}.example.org",
            "a".repeat(60),
            "b".repeat(60),
            "c".repeat(60)
        ),
        "A",
    );
    let part = udp(&server, &long).await;
    assert_eq!((part.answers.len(), part.metadata.truncation), (0, true));

    let (_, _, server) =
        with_recursors(&[Manner::TruncatesOnly], RecursorStrategy::Sequential).await;
    assert!(udp(&server, &question).await.metadata.truncation);
}

#[tokio::test]
async fn unknown_addresses_go_to_the_recursors() {
    let (recursors, _, server) = with_recursors(
        &[Manner::Code(ResponseCode::NXDomain)],
        RecursorStrategy::Sequential,
    )
    .await;
    let reply = udp(&server, &ask("9.9.9.99.in-addr.arpa", "PTR")).await;
    assert_eq!(lines(&reply), ["NXDomain rd ra"]);
    let reply = udp(&server, &ask("1.0.20.10.in-addr.arpa", "PTR")).await;
    assert_eq!(
        lines(&reply)[1],
        "ans 1.0.20.10.in-addr.arpa. 0 PTR dn-0.node.dc1.consul."
    );
    assert_eq!(recursors[0].asked.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn names_of_services_are_resolved() {
    let (_, catalog, server) = with_recursors(&[Manner::Alias], RecursorStrategy::Sequential).await;
    let row = |id: &str| lictor_wire::NodeService {
        address: format!("{id}.example.org").into(),
        ..service(id, "ext", 443)
    };
    catalog.service("e1", "10.60.0.1", row("one"));
    catalog.node("e2", "two.example.org", &[]);
    assert_eq!(
        lines(&udp(&server, &ask("ext.service.consul", "A")).await),
        [
            "NoError aa rd ra",
            "ans ext.service.consul. 0 CNAME one.example.org.",
            "ans one.example.org. 0 CNAME real.example.org.",
            "ans real.example.org. 0 A 198.51.100.9",
        ]
    );
    assert_eq!(
        lines(&tcp(&server, &ask("ext.service.consul", "SRV").tcp()).await),
        [
            "NoError aa rd ra",
            "ans ext.service.consul. 0 SRV 1 1 443 one.example.org.",
            "add one.example.org. 0 CNAME real.example.org.",
            "add real.example.org. 0 A 198.51.100.9",
        ]
    );
    assert_eq!(
        udp(&server, &ask("e2.node.consul", "A"))
            .await
            .answers
            .len(),
        3
    );
    // One with an address of its own answers alone.
    catalog.service("e3", "10.60.0.3", service("three", "ext", 443));
    assert_eq!(
        lines(&udp(&server, &ask("ext.service.consul", "A")).await),
        ["NoError aa rd ra", "ans ext.service.consul. 0 A 10.60.0.3"]
    );
}

#[tokio::test]
async fn a_service_behind_a_name_has_ipv6_too() {
    let (_, catalog, server) = with_recursors(&[GOOD], RecursorStrategy::Sequential).await;
    let row = lictor_wire::NodeService {
        address: "one.example.org".into(),
        ..service("x", "ext", 443)
    };
    catalog.service("e1", "10.60.0.1", row);
    assert_eq!(
        lines(&udp(&server, &ask("ext.service.consul", "AAAA")).await)[1..],
        [
            "ans ext.service.consul. 0 CNAME one.example.org.",
            "ans one.example.org. 0 AAAA 2001:db8::99"
        ]
    );
}

#[tokio::test]
async fn pending_answers_have_a_bound() {
    let silent = recursor(Manner::Silent).await;
    let settings = Settings {
        recursors: vec![silent.address],
        recursor_timeout: Duration::from_secs(60),
        ..Settings::default()
    };
    let (catalog, responder) = responder(Catalog::default(), settings);
    catalog.web(5, "dweb");
    let mut pending = tokio::task::JoinSet::new();
    for _ in 0..600 {
        let responder = responder.clone();
        pending.spawn(async move { ask("www.example.org", "A").send(&responder).await });
    }
    // Those over the bound fail at once, the others wait.
    for _ in 512..600 {
        let reply = timeout(SOON, pending.join_next())
            .await
            .expect("at once")
            .unwrap()
            .unwrap();
        assert_eq!(reply.metadata.response_code, ResponseCode::ServFail);
    }
    assert_eq!((pending.len(), responder.stats().overloaded), (512, 88));
    assert_eq!(
        ask("dweb.service.consul", "A")
            .send(&responder)
            .await
            .answers
            .len(),
        3
    );
    // Who gave up makes room.
    pending.shutdown().await;
    let again = timeout(
        Duration::from_millis(50),
        ask("www.example.org", "A").send(&responder),
    )
    .await;
    assert!(again.is_err() && responder.stats().overloaded == 88);
}
