//! HTTP/1 as clients see it on the wire.

mod common;

use std::time::Duration;

use common::{quick, soon, start};
use lictor_net::LimitValues;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const GET: &str = "GET /a HTTP/1.1\r\nHost: x\r\n\r\n";
const LAST: &str = "GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
const PLAIN: &str = "Content-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n";

/// Hides what changes.
fn undated(answer: &str) -> String {
    let at = answer.find("Date: ").expect("a date");
    let end = at + answer[at..].find("\r\n").expect("an end") + 2;
    assert_eq!(&answer[end - 5..end], "GMT\r\n");
    answer[..at].to_owned() + &answer[end..]
}

#[tokio::test]
async fn an_answer_is_written_as_go_writes_it() {
    let server = start(quick());
    let answer = server.raw(LAST).await;
    assert_eq!(
        undated(&answer),
        "HTTP/1.1 200 OK\r\nX-Consul-Index: 7\r\nContent-Length: 15\r\nConnection: close\r\n\r\n\
         GET /a HTTP/1.1"
    );
}

#[tokio::test]
async fn requests_that_are_none_are_refused_in_gos_words() {
    let server = start(quick());
    assert_eq!(
        server
            .raw("GET /v1/status/leader HTTP/1.1\r\nConnection: close\r\n\r\n")
            .await,
        format!(
            "HTTP/1.1 400 Bad Request: missing required Host header\r\n{PLAIN}\
             400 Bad Request: missing required Host header"
        )
    );
    let bad = format!("HTTP/1.1 400 Bad Request\r\n{PLAIN}400 Bad Request");
    assert_eq!(server.raw("NONSENSE\r\n\r\n").await, bad);
    // A TLS client on a plain port is told at once, not when it has waited long enough.
    assert_eq!(server.raw(b"\x16\x03\x01\x02\x00").await, bad);
    // What follows is not read, and does not make the client's kernel throw the answer away.
    let mut client = server.connect().await;
    client
        .send(format!("NONSENSE\r\n\r\n{}", "more ".repeat(60_000)))
        .await;
    assert_eq!(client.rest().await, bad);
    assert_eq!(
        server.server.counters().open,
        1,
        "it still takes what comes"
    );
    drop(client);
    server.until_open(0).await;
    // After a good request too, whose answer comes first.
    let both = server.raw(format!("{GET}NONSENSE\r\n\r\n")).await;
    assert!(both.starts_with("HTTP/1.1 200 OK\r\n"), "{both}");
    assert!(both.ends_with(&bad), "{both}");
}

#[tokio::test]
async fn a_head_that_breaks_off_is_no_request() {
    let server = start(quick());
    for (part, answer) in [
        ("", ""),
        ("\r\n", ""),
        ("GET / HT", "HTTP/1.1 400 Bad Request\r\n"),
    ] {
        let mut client = server.connect().await;
        client.send(part).await;
        client.0.shutdown().await.expect("half closed");
        assert_eq!(
            client
                .rest()
                .await
                .split_inclusive('\n')
                .next()
                .unwrap_or(""),
            answer
        );
    }
}

#[tokio::test]
async fn http_1_0_needs_no_host_and_ends() {
    let server = start(quick());
    let answer = server.raw("GET /a HTTP/1.0\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.0 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with("GET /a HTTP/1.0"), "{answer}");
    let answer = server.raw("GET /pieces HTTP/1.0\r\n\r\n").await;
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(
        !head.contains("Connection") && !head.contains("chunked"),
        "{head}"
    );
    assert_eq!(body, format!("first second {}", "z".repeat(10_000)));
    // Unless it asks not to.
    let mut client = server.connect().await;
    for _ in 0..2 {
        client
            .send("GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            .await;
        let (head, _) = client.answer().await;
        assert!(head.contains("Connection: keep-alive"), "{head}");
    }
}

#[tokio::test]
async fn requests_in_one_go_and_byte_by_byte() {
    let server = start(quick());
    let two = server.raw(format!("{GET}\r\n{LAST}")).await;
    assert_eq!(two.matches("HTTP/1.1 200 OK").count(), 2, "{two}");

    let mut client = server.connect().await;
    for byte in LAST.bytes() {
        client.send([byte]).await;
        tokio::task::yield_now().await;
    }
    assert!(client.rest().await.ends_with("GET /a HTTP/1.1"));
}

#[tokio::test]
async fn headers_have_a_limit() {
    let server = start(quick());
    let with = |n: usize| {
        format!(
            "GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Long: {}\r\n\r\n",
            "y".repeat(n)
        )
    };
    let answer = server.raw(with(1_052_000)).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert_eq!(
        server.raw(with(1_060_000)).await,
        format!(
            "HTTP/1.1 431 Request Header Fields Too Large\r\n{PLAIN}431 Request Header Fields Too Large"
        )
    );

    let small = start(LimitValues {
        max_header_bytes: 300,
        ..quick()
    });
    assert!(small.raw(with(100)).await.starts_with("HTTP/1.1 200 "));
    assert!(small.raw(with(400)).await.starts_with("HTTP/1.1 431 "));
}

#[tokio::test]
async fn bodies_arrive_however_they_are_sent() {
    let server = start(quick());
    let mut client = server.connect().await;
    for path in ["/echo", "/echo-elsewhere"] {
        client
            .send(format!(
                "PUT {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
            ))
            .await;
        assert_eq!(client.answer().await.1, "hello");

        client
            .send(format!(
                "PUT {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\n\r\nhello"
            ))
            .await;
        client.send(" wor").await;
        client.send("ld").await;
        assert_eq!(client.answer().await.1, "hello world");

        client
            .send(format!(
                "PUT {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel"
            ))
            .await;
        client.send("lo\r\n6\r\n world\r\n0\r\n").await;
        client.send(format!("\r\n{GET}")).await;
        assert_eq!(client.answer().await.1, "hello world");
        assert_eq!(client.answer().await.1, "GET /a HTTP/1.1");
    }
}

#[tokio::test]
async fn large_bodies_pass_piece_by_piece() {
    let server = start(quick());
    let mut client = server.connect().await;
    let n = 5_000_000;
    client
        .send(format!(
            "PUT /count HTTP/1.1\r\nHost: x\r\nContent-Length: {n}\r\n\r\n"
        ))
        .await;
    client.send(vec![b'b'; n]).await;
    assert_eq!(client.answer().await.1, n.to_string());
}

#[tokio::test]
async fn bodies_that_break_off_or_make_no_sense() {
    let server = start(quick());
    let mut client = server.connect().await;
    client
        .send("PUT /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhell")
        .await;
    client.0.shutdown().await.expect("half closed");
    assert!(client.rest().await.ends_with("body: unexpected EOF"));

    let answer = server
        .raw("PUT /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nxx\r\n")
        .await;
    assert!(answer.contains("Connection: close"), "{answer}");
    assert!(
        answer.ends_with("body: malformed chunked encoding"),
        "{answer}"
    );
}

#[tokio::test]
async fn who_reads_on_after_the_answer_gets_no_more() {
    let server = start(quick());
    let mut client = server.connect().await;
    client
        .send("PUT /later HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhell")
        .await;
    assert_eq!(client.answer().await.1, "not yet");
    client.send("o all").await;
    // The connection goes on, and what was sent since belongs to nobody.
    client.send(GET).await;
    assert_eq!(client.answer().await.1, "GET /a HTTP/1.1");
    server.shared.go.add_permits(1);
    soon(server.shared.seen.notified()).await;
}

#[tokio::test]
async fn a_body_is_sent_when_it_is_wanted() {
    let server = start(quick());
    let mut client = server.connect().await;
    let put = |path: &str| {
        format!(
            "PUT {path} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
        )
    };
    client.send(put("/echo")).await;
    assert_eq!(
        client.until("\r\n\r\n").await,
        "HTTP/1.1 100 Continue\r\n\r\n"
    );
    client.send("hello").await;
    assert_eq!(client.answer().await.1, "hello");

    // Not wanted: the client may send it or not, so nothing can follow.
    client.send(put("/a")).await;
    let (head, body) = client.answer().await;
    assert!(
        head.starts_with("HTTP/1.1 200 ") && head.contains("Connection: close"),
        "{head}"
    );
    assert_eq!(body, "PUT /a HTTP/1.1");
    assert!(client.has_ended().await);
}

#[tokio::test]
async fn an_unread_body_does_not_end_the_connection_unless_it_is_large() {
    let server = start(quick());
    let mut client = server.connect().await;
    client
        .send("PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n")
        .await;
    assert!(!client.answer().await.0.contains("Connection: close"));
    client.send(vec![b'u'; 100_000]).await;
    client
        .send("PUT /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        .await;
    assert!(client.answer().await.0.starts_with("HTTP/1.1 200 "));
    client.send("0\r\n\r\n").await;
    client.send(GET).await;
    assert_eq!(client.answer().await.1, "GET /a HTTP/1.1");

    client
        .send("PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 400000\r\n\r\n")
        .await;
    client.send(vec![b'u'; 400_000]).await;
    let answer = client.rest().await;
    assert!(answer.contains("Connection: close"), "{answer}");
    assert!(answer.ends_with("PUT /a HTTP/1.1"), "{answer}");
    assert_eq!(
        server.server.counters().open,
        1,
        "it still takes what comes"
    );
}

#[tokio::test]
async fn answers_of_every_kind() {
    let server = start(quick());
    let mut client = server.connect().await;
    let get = |method: &str, path: &str| format!("{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n");

    client.send(get("GET", "/pieces")).await;
    let head = client.until("\r\n\r\n").await;
    assert!(head.contains("Transfer-Encoding: chunked"), "{head}");
    let body = client.until("0\r\n\r\n").await;
    assert_eq!(
        body,
        format!(
            "6\r\nfirst \r\n7\r\nsecond \r\n2710\r\n{}\r\n0\r\n\r\n",
            "z".repeat(10_000)
        )
    );

    client.send(get("HEAD", "/a")).await;
    let head = client.until("\r\n\r\n").await;
    assert!(head.contains("Content-Length: 16\r\n"), "{head}");
    client.send(get("HEAD", "/pieces")).await;
    let head = client.until("\r\n\r\n").await;
    assert!(
        !head.contains("Content-Length") && !head.contains("chunked"),
        "{head}"
    );
    client.send(get("GET", "/204")).await;
    let head = client.until("\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 204 No Content\r\n"), "{head}");
    assert!(!head.contains("Content-Length"), "{head}");

    client.send(get("GET", "/close")).await;
    assert!(
        client
            .rest()
            .await
            .ends_with("Connection: close\r\n\r\nbye")
    );
}

#[tokio::test]
async fn large_answers_arrive_whole() {
    let server = start(quick());
    let mut client = server.connect().await;
    client.send("GET /big HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let (head, body) = client.answer().await;
    assert!(head.contains("Content-Length: 20000000"), "{head}");
    assert!(body.bytes().all(|b| b == b'x'));
    client.send(GET).await;
    assert_eq!(client.answer().await.1, "GET /a HTTP/1.1");
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut() {
    let server = start(LimitValues {
        write_timeout: Duration::from_millis(50),
        ..quick()
    });
    let mut client = server.connect().await;
    client.send("GET /big HTTP/1.1\r\nHost: x\r\n\r\n").await;
    server.until_open(1).await;
    server.until_open(0).await;
    let mut all = vec![];
    let read = soon(client.0.read_to_end(&mut all)).await;
    assert!(
        read.is_err() || all.len() < 20_000_000,
        "only what was in flight"
    );
}

#[tokio::test]
async fn a_client_that_has_closed_its_side_gets_its_answer() {
    let server = start(quick());
    let mut client = server.connect().await;
    client.send("GET /wait HTTP/1.1\r\nHost: x\r\n\r\n").await;
    client.0.shutdown().await.expect("half closed");
    server.begun().await;
    // Time for the server to see the end of the stream: with less, the test would only be milder.
    tokio::time::sleep(Duration::from_millis(100)).await;
    server.shared.go.add_permits(1);
    let answer = client.rest().await;
    assert!(answer.ends_with("\r\n\r\nwaited"), "{answer}");
    assert!(answer.contains("HTTP/1.1 200 OK"), "{answer}");
}

#[tokio::test]
async fn a_client_that_has_closed_its_side_is_not_waited_for_for_ever() {
    let server = start(LimitValues {
        half_close_grace: Duration::from_millis(30),
        ..quick()
    });
    let mut client = server.connect().await;
    client.send("GET /wait HTTP/1.1\r\nHost: x\r\n\r\n").await;
    client.0.shutdown().await.expect("half closed");
    server.dropped().await;
    server.until_open(0).await;
}

#[tokio::test]
async fn a_broken_connection_ends_its_request_at_once() {
    let server = start(quick()); // with ten seconds of grace
    let mut client = server.connect().await;
    client.send("GET /wait HTTP/1.1\r\nHost: x\r\n\r\n").await;
    server.begun().await;
    let before = std::time::Instant::now();
    socket2::SockRef::from(&client.0)
        .set_linger(Some(Duration::ZERO))
        .expect("a reset instead of an end");
    drop(client);
    server.dropped().await;
    assert!(before.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn what_is_sent_while_a_request_waits_is_answered_after_it() {
    let server = start(quick());
    let mut client = server.connect().await;
    client.send("GET /wait HTTP/1.1\r\nHost: x\r\n\r\n").await;
    server.begun().await;
    client.send(GET).await;
    client.send(LAST).await;
    server.shared.go.add_permits(1);
    assert_eq!(client.answer().await.1, "waited");
    assert_eq!(client.answer().await.1, "GET /a HTTP/1.1");
    assert!(client.rest().await.ends_with("GET /a HTTP/1.1"));
}

#[tokio::test]
async fn silence_ends() {
    let server = start(LimitValues {
        idle_timeout: Duration::from_millis(100),
        ..quick()
    });
    // Never a byte.
    assert_eq!(server.connect().await.rest().await, "");
    // After an answer.
    let mut client = server.connect().await;
    client.send(GET).await;
    assert_eq!(client.answer().await.1, "GET /a HTTP/1.1");
    assert_eq!(client.rest().await, "");
    // A head that comes too slowly.
    let mut client = server.connect().await;
    let slowly = async {
        loop {
            if client.0.write_all(b"G").await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon(slowly).await;
    // But not while a request is being answered.
    let mut client = server.connect().await;
    client.send("GET /wait HTTP/1.1\r\nHost: x\r\n\r\n").await;
    server.begun().await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    server.shared.go.add_permits(1);
    assert_eq!(client.answer().await.1, "waited");
}
