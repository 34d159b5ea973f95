//! Input that means no good: it is answered with the error that is meant for it, or the connection
//! ends; the agent neither panics nor grows, and serves everybody else meanwhile.

use lictor_tests::{Agent, Question, Raw, exchange, json};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// Memory that a whole test of bad input may add.
const GROWTH: u64 = 64 << 20;

/// What is sent, its bytes, and which answers are right: statuses of HTTP, or codes of DNS with
/// `None` where there may be no answer.
type Hostile<'a, A> = (&'a str, Vec<u8>, &'a [A]);

/// The agent still serves, and has not grown.
async fn unharmed(agent: &mut Agent, before: u64) {
    agent.put("/v1/kv/alive", "x").await.ok();
    agent
        .dns("lictor-test.node.consul", "A")
        .await
        .gives(&["127.0.0.1"]);
    assert!(agent.runs());
    let grown = agent.memory().saturating_sub(before);
    assert!(grown < GROWTH, "{grown} bytes more than before");
    assert!(!agent.log().contains("panicked"), "{}", agent.log());
}

/// The status of an answer, or `closed` if there was none.
fn status(answer: &str) -> &str {
    match answer.split(' ').nth(1) {
        Some(code) if answer.starts_with("HTTP/1.") => code,
        _ => "closed",
    }
}

#[tokio::test]
async fn broken_requests_have_their_answer() {
    let mut agent = Agent::dev().await;
    let before = agent.memory();
    let long = "x".repeat(2_000_000);
    let many: String = (0..200_000).map(|n| format!("x{n}: y\r\n")).collect();
    let deep = format!("{}1{}", "[".repeat(200_000), "]".repeat(200_000));
    let nested = format!("{{\"Name\": {deep}}}");
    let objects = format!("{}1{}", "{\"a\":".repeat(100_000), "}".repeat(100_000));
    let put = |path: &str, body: &str| {
        format!(
            "PUT {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let head = |lines: &str| format!("PUT /v1/kv/h HTTP/1.1\r\nHost: x\r\n{lines}\r\n");
    let table: Vec<Hostile<&str>> = vec![
        ("no line at all", b"\r\n\r\n\r\n".to_vec(), &["400", "closed"]),
        ("zero bytes", vec![0; 4096], &["400", "closed"]),
        ("bytes above 127", vec![0xff; 4096], &["400", "closed"]),
        ("no version", b"GET /v1/status/leader\r\n\r\n".to_vec(), &["400"]),
        ("unknown version", b"GET / HTTP/9.9\r\nHost: x\r\n\r\n".to_vec(), &["400", "505"]),
        ("HTTP/2 without its rest", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), &["400", "closed", "505"]),
        ("TLS at a plain port", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".repeat(50), &["400", "closed"]),
        ("header without a colon", head("nonsense\r\nConnection: close\r\n").into_bytes(), &["400"]),
        ("zero in a header", b"GET / HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n".to_vec(), &["400"]),
        ("line break in a name", b"GET / HTTP/1.1\r\nHost: x\r\nX\n: y\r\n\r\n".to_vec(), &["400"]),
        ("length below zero", head("Content-Length: -1\r\n").into_bytes(), &["400"]),
        ("length a word", head("Content-Length: many\r\n").into_bytes(), &["400"]),
        ("two lengths", head("Content-Length: 1\r\nContent-Length: 2\r\n").into_bytes(), &["400"]),
        ("length beyond all numbers", head("Content-Length: 99999999999999999999999\r\n").into_bytes(), &["400", "413"]),
        ("a terabyte announced", head("Content-Length: 1099511627776\r\n").into_bytes(), &["413"]),
        ("unknown coding", head("Transfer-Encoding: rot13\r\n").into_bytes(), &["400", "501"]),
        ("broken chunk", format!("{}zz\r\n", head("Transfer-Encoding: chunked\r\n")).into_bytes(), &["400"]),
        ("endless chunk size", format!("{}{}\r\n", head("Transfer-Encoding: chunked\r\n"), "F".repeat(10_000)).into_bytes(), &["400", "413"]),
        ("negative chunk", format!("{}-5\r\nhello\r\n", head("Transfer-Encoding: chunked\r\n")).into_bytes(), &["400"]),
        ("a line of two megabytes", format!("GET /{long} HTTP/1.1\r\nHost: x\r\n\r\n").into_bytes(), &["431", "414"]),
        ("two hundred thousand headers", format!("GET / HTTP/1.1\r\nHost: x\r\n{many}\r\n").into_bytes(), &["431", "400"]),
        ("path that is no UTF-8", b"GET /v1/kv/\xff\xfe HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_vec(), &["400", "404"]),
        ("escapes that are none", b"GET /v1/kv/%zz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_vec(), &["400"]),
        ("escaped bytes that are no UTF-8", b"GET /v1/kv/%ff%fe HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_vec(), &["400", "404"]),
        ("lists two hundred thousand deep", put("/v1/agent/service/register", &deep).into_bytes(), &["400"]),
        ("such a list as a name", put("/v1/agent/service/register", &nested).into_bytes(), &["400"]),
        ("objects a hundred thousand deep", put("/v1/catalog/register", &objects).into_bytes(), &["400"]),
        ("half a surrogate", put("/v1/session/create", "{\"Name\": \"\\ud800\"}").into_bytes(), &["200", "400"]),
        ("a number without end", put("/v1/agent/service/register", &format!("{{\"Name\": \"x\", \"Port\": {}}}", "9".repeat(100_000))).into_bytes(), &["400"]),
        ("a port out of range", put("/v1/agent/service/register", "{\"Name\": \"x\", \"Port\": 1e300}").into_bytes(), &["400"]),
        ("a duration beyond all time", put("/v1/agent/check/register", "{\"Name\": \"x\", \"TTL\": \"99999999999999h\"}").into_bytes(), &["400"]),
        ("an index beyond all numbers", b"GET /v1/kv/a?index=99999999999999999999999 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_vec(), &["400"]),
        ("a wait beyond all time", b"GET /v1/kv/a?index=1&wait=99999999999999h HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_vec(), &["400", "404"]),
    ];
    for (what, bytes, right) in table {
        let mut raw = Raw::connect(agent.http_address()).await;
        raw.send(&bytes).await;
        raw.end().await;
        let answer = String::from_utf8_lossy(&raw.rest().await).into_owned();
        let shown = &answer[..answer.floor_char_boundary(200)];
        assert!(right.contains(&status(&answer)), "{what}: {shown:?}");
    }
    assert_eq!(agent.get("/v1/agent/services").await.ok().json, json!({}));
    unharmed(&mut agent, before).await;
}

#[tokio::test]
async fn bodies_larger_than_allowed_are_not_read_to_their_end() {
    let mut agent = Agent::dev().await;
    let before = agent.memory();
    for path in [
        "/v1/kv/big",
        "/v1/agent/service/register",
        "/v1/catalog/register",
        "/v1/session/create",
        "/v1/event/fire/e",
    ] {
        for chunked in [false, true] {
            let length = if chunked {
                "Transfer-Encoding: chunked".to_owned()
            } else {
                format!("Content-Length: {}", 1_u64 << 32)
            };
            let head = format!("PUT {path} HTTP/1.1\r\nHost: x\r\n{length}\r\n\r\n");
            let mut stream = TcpStream::connect(agent.http_address())
                .await
                .expect("a connection");
            stream.write_all(head.as_bytes()).await.expect("the head");
            let (mut read, mut write) = stream.into_split();
            let pump = tokio::spawn(async move {
                // A list of letters: begun as JSON, and without end.
                let piece = [b"10000\r\n".to_vec(), vec![b'['; 65536], b"\r\n".to_vec()].concat();
                let piece = if chunked { piece } else { vec![b'['; 65536] };
                let mut sent = 0_u64;
                while sent < 256 << 20 && write.write_all(&piece).await.is_ok() {
                    sent += piece.len() as u64;
                }
                sent
            });
            let mut answer = vec![0; 4096];
            let got = timeout(Duration::from_secs(20), read.read(&mut answer)).await;
            let size = got
                .unwrap_or_else(|_| panic!("{path}, chunked {chunked}: no answer"))
                .unwrap_or(0);
            let answer = String::from_utf8_lossy(&answer[..size]).into_owned();
            drop(read);
            let sent = pump.await.expect("the pump");
            assert!(
                ["413", "400", "closed"].contains(&status(&answer)),
                "{path}: {answer}"
            );
            assert!(sent < 128 << 20, "{path}: {sent} bytes were taken");
        }
    }
    unharmed(&mut agent, before).await;
}

#[tokio::test]
async fn requests_cut_off_anywhere_do_nothing() {
    let mut agent = Agent::dev().await;
    let before = agent.memory();
    let whole = b"PUT /v1/kv/cut HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\n\r\nhello world";
    for end in 0..whole.len() {
        let mut raw = Raw::connect(agent.http_address()).await;
        raw.send(&whole[..end]).await;
        raw.end().await;
        let answer = raw.rest().await;
        assert!(!answer.starts_with(b"HTTP/1.1 200"), "cut at {end}");
    }
    agent.get("/v1/kv/cut").await.expect(404);
    unharmed(&mut agent, before).await;
}

#[tokio::test]
async fn slow_and_idle_connections_hold_up_nobody() {
    let mut agent = Agent::dev().await;
    let before = agent.memory();
    let mut slow = Vec::new();
    for n in 0..150 {
        let mut raw = Raw::connect(agent.http_address()).await;
        let whole = b"PUT /v1/kv/slow HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nbegun";
        raw.send(&whole[..n % whole.len()]).await;
        slow.push(raw);
    }
    let mut tcp = Vec::new();
    // One address may hold 64.
    for _ in 0..50 {
        let mut raw = Raw::connect(agent.dns_address()).await;
        // A length, and then nothing.
        raw.send(&[0x02]).await;
        tcp.push(raw);
    }
    for n in 0..50 {
        let reply = timeout(
            Duration::from_secs(5),
            agent.put("/v1/kv/quick", n.to_string()),
        )
        .await;
        reply.expect("served beside the slow").ok();
        let question = Question::new("lictor-test.node.consul", "A").tcp();
        let answer = timeout(Duration::from_secs(5), question.ask(agent.dns_address())).await;
        answer
            .expect("served beside the slow")
            .gives(&["127.0.0.1"]);
    }
    drop((slow, tcp));
    unharmed(&mut agent, before).await;
}

#[tokio::test]
async fn connections_without_end_are_counted() {
    let mut agent = Agent::dev().await;
    let before = agent.memory();
    for address in [agent.http_address(), agent.dns_address()] {
        let mut held = Vec::new();
        for _ in 0..600 {
            held.push(TcpStream::connect(address).await.expect("a connection"));
        }
        drop(held);
    }
    lictor_tests::until("room for a connection", async || {
        agent
            .try_get("/v1/status/leader")
            .await
            .filter(|r| r.status == 200)
    })
    .await;
    unharmed(&mut agent, before).await;
}

/// What a DNS server answers to a datagram within a moment; nothing may be right, too.
async fn datagram(server: SocketAddr, bytes: &[u8]) -> Option<Vec<u8>> {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    socket.connect(server).await.expect("an address");
    socket.send(bytes).await.expect("sent");
    let mut buffer = vec![0; 65_536];
    let size = timeout(Duration::from_millis(300), socket.recv(&mut buffer))
        .await
        .ok()?
        .ok()?;
    buffer.truncate(size);
    Some(buffer)
}

fn question(flags: u16, counts: [u16; 4], rest: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0xab, 0xcd];
    bytes.extend(flags.to_be_bytes());
    counts.iter().for_each(|n| bytes.extend(n.to_be_bytes()));
    bytes.extend(rest);
    bytes
}

#[tokio::test]
async fn broken_questions_have_their_answer_or_none() {
    let mut agent = Agent::dev().await;
    let before = agent.memory();
    let server = agent.dns_address();
    let name = b"\x0blictor-test\x04node\x06consul\x00\x00\x01\x00\x01";
    let label = [&[63][..], &[b'x'; 63]].concat();
    let long = [label.repeat(8), vec![0, 0, 1, 0, 1]].concat();
    let opt = |version: u8| {
        [
            &b"\x00\x00\x29\x10\x00\x00"[..],
            &[version],
            b"\x00\x00\x00\x00",
        ]
        .concat()
    };
    #[allow(clippy::type_complexity)] // A table, read once.
    let table: Vec<Hostile<Option<u8>>> = vec![
        ("nothing", vec![], &[None]),
        ("one byte", vec![1], &[None]),
        ("half a head", vec![0xab, 0xcd, 1, 0, 0], &[None]),
        (
            "a head alone",
            question(0x0100, [0; 4], b""),
            &[None, Some(1), Some(0)],
        ),
        (
            "an answer for a question",
            question(0x8180, [1, 0, 0, 0], name),
            &[None],
        ),
        (
            "a question that is not there",
            question(0x0100, [1, 0, 0, 0], b""),
            &[None, Some(1)],
        ),
        (
            "65535 questions",
            question(0x0100, [0xffff, 0, 0, 0], name),
            &[None, Some(1)],
        ),
        (
            "65535 answers",
            question(0x0100, [1, 0xffff, 0xffff, 0xffff], name),
            &[None, Some(1)],
        ),
        (
            "a pointer to itself",
            question(0x0100, [1, 0, 0, 0], b"\xc0\x0c\x00\x01\x00\x01"),
            &[None, Some(1)],
        ),
        (
            "two pointers in a circle",
            question(0x0100, [1, 0, 0, 0], b"\xc0\x0e\xc0\x0c\x00\x01\x00\x01"),
            &[None, Some(1)],
        ),
        (
            "a pointer ahead",
            question(0x0100, [1, 0, 0, 0], b"\xc0\xff\x00\x01\x00\x01"),
            &[None, Some(1)],
        ),
        (
            "a name of 512 bytes",
            question(0x0100, [1, 0, 0, 0], &long),
            &[None, Some(1)],
        ),
        (
            "a label of a reserved kind",
            question(0x0100, [1, 0, 0, 0], b"\x80abc\x00\x00\x01\x00\x01"),
            &[None, Some(1)],
        ),
        (
            "a name cut off",
            question(0x0100, [1, 0, 0, 0], b"\x0blict"),
            &[None, Some(1)],
        ),
        ("opcode 2", question(0x1100, [1, 0, 0, 0], name), &[Some(4)]),
        (
            "EDNS of a later version",
            question(0x0100, [1, 0, 0, 1], &[&name[..], &opt(9)].concat()),
            &[Some(0), Some(1)],
        ),
        (
            "EDNS twice",
            question(
                0x0100,
                [1, 0, 0, 2],
                &[&name[..], &opt(0), &opt(0)].concat(),
            ),
            &[None, Some(1), Some(0)],
        ),
        (
            "two questions",
            question(0x0100, [2, 0, 0, 0], &[&name[..], name].concat()),
            &[None, Some(0), Some(1), Some(4)],
        ),
        (
            "more than was said",
            question(0x0100, [1, 0, 0, 0], &[&name[..], &[7; 300]].concat()),
            &[None, Some(0), Some(1)],
        ),
    ];
    for (what, bytes, right) in table {
        let answer = datagram(server, &bytes).await;
        let code = answer.as_ref().and_then(|a| a.get(3)).map(|b| b & 0x0f);
        assert!(right.contains(&code), "{what}: {code:?}");
        if let Some(answer) = answer {
            assert!(answer.len() <= 4096 && answer[2] & 0x80 != 0, "{what}");
        }
    }
    for size in [0_u16, 1, 11] {
        let mut raw = Raw::connect(server).await;
        raw.send(&size.to_be_bytes()).await;
        raw.send(&vec![0xff; size.into()]).await;
        raw.end().await;
        raw.rest().await;
    }
    unharmed(&mut agent, before).await;
}

/// The step of xorshift (Marsaglia): the same bytes in every run.
fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

#[tokio::test]
async fn twenty_thousand_turned_packets_do_no_harm() {
    let mut agent = Agent::dev().await;
    let service = json!({"ID": "w", "Service": "web", "Port": 1, "Tags": ["a"]});
    agent
        .external("n", "10.0.0.1", json!({"Service": service}))
        .await;
    let before = agent.memory();
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    socket
        .connect(agent.dns_address())
        .await
        .expect("an address");
    let seeds: [&[u8]; 3] = [
        b"\x03web\x07service\x06consul\x00\x00\x21\x00\x01\x00\x00\x29\x10\x00\x00\x00\x00\x00\x00\x00",
        b"\x017\x010\x0223\x0210\x07in-addr\x04arpa\x00\x00\x0c\x00\x01",
        b"\x04_web\x02_a\x07service\x03dc1\x06consul\x00\x00\xff\x00\x01",
    ];
    let mut chance = 0x9e37_79b9_7f4a_7c15;
    let mut buffer = [0; 4096];
    for n in 0..20_000 {
        let seed = seeds[n % seeds.len()];
        let extra = u16::from(n % seeds.len() == 0);
        let mut bytes = question(0x0100, [1, 0, 0, extra], seed);
        for _ in 0..1 + next(&mut chance) % 4 {
            let at = next(&mut chance) as usize % bytes.len();
            bytes[at] = next(&mut chance) as u8;
        }
        bytes.truncate(1 + next(&mut chance) as usize % (bytes.len() + 20));
        socket.send(&bytes).await.expect("sent");
        // Whatever comes back is taken, so that nothing piles up here.
        while socket.try_recv(&mut buffer).is_ok() {}
        if n % 500 == 0 {
            // A datagram may be lost in the flood; whoever asks again has an answer.
            let served = |a: &lictor_tests::Answer| a.data() == ["10.0.0.1"];
            agent.dns_until("web.service.consul", "A", served).await;
        }
    }
    unharmed(&mut agent, before).await;
}

#[tokio::test]
async fn values_of_the_catalog_may_hold_anything() {
    let mut agent = Agent::dev().await;
    let before = agent.memory();
    let odd = [
        "\u{0}",
        "\u{202e}abc",
        "a\"b\\c\n",
        "x".repeat(60_000).as_str(),
        "\u{1f980}",
        "..",
        "a/b",
        " ",
    ]
    .map(str::to_owned);
    for (n, text) in odd.iter().enumerate() {
        let service =
            json!({"ID": text, "Service": text, "Tags": [text], "Meta": {"k": text}, "Port": n});
        // Refused or taken, but never half.
        let reply = agent
            .put(
                "/v1/catalog/register",
                json!({"Node": format!("n{n}"), "Address": text, "Service": service}),
            )
            .await;
        assert!(
            [200, 400, 500].contains(&reply.status),
            "{text:?}: {}",
            reply.status
        );
        agent.get("/v1/catalog/services").await.ok();
        agent.get(&format!("/v1/health/node/n{n}")).await.ok();
        for kind in ["A", "SRV", "ANY"] {
            agent.dns(&format!("n{n}.node.consul"), kind).await;
        }
    }
    let list = exchange(
        agent.http_address(),
        b"GET /v1/catalog/nodes?pretty HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    )
    .await;
    assert_eq!(status(&list), "200");
    unharmed(&mut agent, before).await;
}
