//! Client and server of this crate against each other.

mod common;

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use common::{TestServer, eventually, pattern, raw, soon, uint};
use lictor_rpc::{CallError, Client, ClientLimits, Dial, Memory, Pool, ServeOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

async fn client(server: &TestServer) -> Client {
    let stream = TcpStream::connect(server.addr).await.expect("it listens");
    Client::start(stream, ClientLimits::default())
}

#[tokio::test]
async fn calls_and_errors() {
    let server = TestServer::start().await;
    let client = client(&server).await;
    let reply = client
        .call("Test.Echo", &raw(b"hello"), soon())
        .await
        .expect("a reply");
    assert_eq!(reply, raw(b"hello"));
    for (method, args, error) in [
        ("Test.Nope", vec![0x80], "rpc: can't find method Test.Nope"),
        (
            "NoDot",
            vec![0x80],
            "rpc: service/method request ill-formed: NoDot",
        ),
        ("Test.Fail", raw(b"Permission denied"), "Permission denied"),
        ("Test.Panic", vec![0x80], "rpc: internal error"),
    ] {
        let outcome = client.call(method, &args, soon()).await;
        assert_eq!(outcome, Err(CallError::Remote(error.into())));
    }
    let reply = client.call("Status.Ping", &[0x80], soon()).await;
    assert_eq!(reply.expect("the session goes on"), [0x80][..]);
}

#[tokio::test]
async fn large_replies_and_requests() {
    let server = TestServer::start().await;
    let client = client(&server).await;
    for size in [0, 31, 65_536, 262_144, 262_145, 5 << 20] {
        let reply = client
            .call("Test.Large", &uint(size as u64), soon())
            .await
            .expect("a reply");
        assert!(reply == raw(&pattern(size)), "{size} bytes");
        let reply = client
            .call("Test.Echo", &raw(&pattern(size)), soon())
            .await
            .expect("a reply");
        assert!(reply == raw(&pattern(size)), "{size} bytes");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_streams_at_once() {
    let server = TestServer::start().await;
    let client = client(&server).await;
    let calls = (0..2000_u64).map(|i| {
        let client = client.clone();
        tokio::spawn(async move {
            let args = uint(i);
            let method = if i % 2 == 0 {
                "Test.Echo"
            } else {
                "Test.Large"
            };
            let reply = client.call(method, &args, soon()).await.expect("a reply");
            let want = if i % 2 == 0 {
                args
            } else {
                raw(&pattern(i as usize))
            };
            assert_eq!(reply, want);
        })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.expect("right");
    }
}

#[tokio::test]
async fn a_waiting_call_holds_up_nobody_and_ends_with_its_caller() {
    let server = TestServer::start().await;
    let client = client(&server).await;
    let running = server.methods.running.clone();
    let waiting = {
        let client = client.clone();
        tokio::spawn(async move { client.call("Test.Wait", &[0x80], soon()).await })
    };
    eventually("it waits", || running.load(SeqCst) == 1).await;
    client
        .call("Status.Ping", &[0x80], soon())
        .await
        .expect("not held up");
    waiting.abort();
    eventually("dropped at the server", || running.load(SeqCst) == 0).await;

    let end = Instant::now() + Duration::from_millis(100);
    let outcome = client.call("Test.Wait", &[0x80], end).await;
    assert_eq!(outcome, Err(CallError::Timeout));
    eventually("dropped at the server", || running.load(SeqCst) == 0).await;
    client
        .call("Status.Ping", &[0x80], soon())
        .await
        .expect("the session goes on");
}

#[tokio::test]
async fn a_lost_server_is_told_from_one_that_was_not_reached() {
    let server = TestServer::start().await;
    let pool = Arc::new(Pool::new(Dial::default(), ClientLimits::default()));
    let addr = server.addr;
    let running = server.methods.running.clone();
    let waiting = {
        let pool = pool.clone();
        tokio::spawn(async move { pool.call(addr, "Test.Wait", &[0x80], soon()).await })
    };
    eventually("it waits", || running.load(SeqCst) == 1).await;
    assert_eq!(pool.sessions(), 1);
    drop(server);
    let outcome = waiting.await.expect("no panic");
    assert!(matches!(outcome, Err(CallError::Lost(_))), "{outcome:?}");
    let outcome = pool.call(addr, "Status.Ping", &[0x80], soon()).await;
    let text = outcome.expect_err("nobody listens").to_string();
    assert_eq!(
        text,
        format!(
            "rpc error getting client: failed to get conn: dial tcp <nil>->{addr}: connect: connection refused"
        )
    );
    let server = TestServer::at(addr, ServeOptions::default()).await;
    pool.call(addr, "Status.Ping", &[0x80], soon())
        .await
        .expect("it is back");
    drop(server);
}

#[tokio::test]
async fn plain_requests_one_after_the_other() {
    let server = TestServer::start().await;
    let mut stream = TcpStream::connect(server.addr).await.expect("it listens");
    let head = |seq: u8, method: &str| {
        let mut bytes = vec![0x82, 0xa3];
        bytes.extend_from_slice(b"Seq");
        bytes.push(seq);
        bytes.extend_from_slice(&[0xad]);
        bytes.extend_from_slice(b"ServiceMethod");
        bytes.extend_from_slice(&raw(method.as_bytes()));
        bytes
    };
    // Two at once, the second as an array and in pieces, and then the end of the client's side.
    let mut first = vec![0];
    first.extend_from_slice(&head(1, "Test.Echo"));
    first.extend_from_slice(&raw(b"one"));
    first.push(0x92);
    first.extend_from_slice(&raw(b"Test.Echo"));
    stream.write_all(&first).await.expect("taken");
    stream.write_all(&[2]).await.expect("taken");
    stream.write_all(&raw(b"two")).await.expect("taken");
    stream.shutdown().await.expect("half closed");
    let mut answers = Vec::new();
    timeout(Duration::from_secs(10), stream.read_to_end(&mut answers))
        .await
        .expect("in time")
        .expect("read");
    let answer = |seq: u8, body: &[u8]| {
        let mut bytes = vec![0x83, 0xa5];
        bytes.extend_from_slice(b"Error");
        bytes.push(0xa0);
        bytes.push(0xa3);
        bytes.extend_from_slice(b"Seq");
        bytes.push(seq);
        bytes.push(0xad);
        bytes.extend_from_slice(b"ServiceMethod");
        bytes.extend_from_slice(&raw(b"Test.Echo"));
        bytes.extend_from_slice(&raw(body));
        bytes
    };
    assert_eq!(answers, [answer(1, b"one"), answer(2, b"two")].concat());
}

#[tokio::test]
async fn plain_calls_end_with_their_client() {
    let server = TestServer::start().await;
    let running = server.methods.running.clone();
    let mut stream = TcpStream::connect(server.addr).await.expect("it listens");
    let mut bytes = vec![0, 0x92];
    bytes.extend_from_slice(&raw(b"Test.Wait"));
    bytes.extend_from_slice(&[7, 0x80]);
    stream.write_all(&bytes).await.expect("taken");
    eventually("it waits", || running.load(SeqCst) == 1).await;
    // A reset, not an orderly end.
    stream.set_zero_linger().expect("a socket");
    drop(stream);
    eventually("dropped", || running.load(SeqCst) == 0).await;
}

#[tokio::test]
async fn requests_are_bounded() {
    let memory = Memory::new(1 << 20);
    let server = TestServer::with(ServeOptions {
        max_request: 64 * 1024,
        memory: memory.clone(),
        ..ServeOptions::default()
    })
    .await;
    let client = client(&server).await;
    let outcome = client
        .call("Test.Echo", &raw(&pattern(65_536)), soon())
        .await;
    assert!(matches!(outcome, Err(CallError::Lost(_))), "{outcome:?}");
    client
        .call("Test.Echo", &raw(&pattern(60_000)), soon())
        .await
        .expect("small enough");
    // Many large ones at once: what does not fit is reset, and all is given back.
    let calls: Vec<_> = (0..64)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move {
                let args = raw(&pattern(60_000));
                client.call("Test.Echo", &args, soon()).await.is_ok()
            })
        })
        .collect();
    for call in calls {
        call.await.expect("no panic");
    }
    client
        .call("Status.Ping", &[0x80], soon())
        .await
        .expect("the session goes on");
    eventually("given back", || memory.taken() == 0).await;
}

#[tokio::test]
async fn incomplete_requests_end() {
    let server = TestServer::with(ServeOptions {
        request_timeout: Duration::from_millis(200),
        ..ServeOptions::default()
    })
    .await;
    let mut stream = TcpStream::connect(server.addr).await.expect("it listens");
    // Opens stream 1 and sends the beginning of a header.
    stream
        .write_all(&[
            4, 0, 1, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0x82,
        ])
        .await
        .expect("taken");
    let mut answer = [0; 24];
    timeout(Duration::from_secs(10), stream.read_exact(&mut answer))
        .await
        .expect("in time")
        .expect("read");
    assert_eq!(answer[..12], [0, 1, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0], "ACK");
    assert_eq!(answer[12..], [0, 1, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0], "FIN");
}

#[tokio::test]
async fn stopping_answers_what_runs() {
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let server = TestServer::with(ServeOptions {
        stop: Some(stopped),
        ..ServeOptions::default()
    })
    .await;
    let client = client(&server).await;
    client
        .call("Status.Ping", &[0x80], soon())
        .await
        .expect("a session");
    let calls = server.methods.calls.clone();
    let slow = {
        let client = client.clone();
        tokio::spawn(async move { client.call("Test.Sleep", &uint(200), soon()).await })
    };
    eventually("it runs", || calls.load(SeqCst) == 2).await;
    stop.send_replace(true);
    assert_eq!(slow.await.expect("no panic").expect("a reply"), [0xc3][..]);
    eventually("the session ends", || client.is_closed()).await;
    let outcome = client.call("Status.Ping", &[0x80], soon()).await;
    assert!(matches!(outcome, Err(CallError::NotSent(_))), "{outcome:?}");
}

#[tokio::test]
async fn idle_sessions_end_and_are_made_again() {
    let server = TestServer::start().await;
    let limits = ClientLimits {
        idle: Duration::from_millis(100),
        ..ClientLimits::default()
    };
    let pool = Pool::new(Dial::default(), limits);
    for _ in 0..3 {
        pool.call(server.addr, "Status.Ping", &[0x80], soon())
            .await
            .expect("a reply");
        eventually("closed", || pool.sessions() == 0).await;
    }
    // A call keeps it.
    pool.call(server.addr, "Test.Sleep", &uint(400), soon())
        .await
        .expect("a reply");
}

#[tokio::test]
async fn idle_clients_are_closed_when_that_is_wanted() {
    let server = TestServer::with(ServeOptions {
        idle: Some(Duration::from_millis(100)),
        ..ServeOptions::default()
    })
    .await;
    let client = client(&server).await;
    let reply = client.call("Test.Sleep", &uint(400), soon()).await;
    reply.expect("not idle while it waits");
    eventually("closed", || client.is_closed()).await;
}

/// A client by hand: stream 1 asks for more than a window, and gives no credit.
#[tokio::test]
async fn answers_that_nobody_takes_end() {
    let server = TestServer::with(ServeOptions {
        reply_timeout: Duration::from_millis(200),
        ..ServeOptions::default()
    })
    .await;
    let mut stream = TcpStream::connect(server.addr).await.expect("it listens");
    let mut bytes = vec![4, 0, 1, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0];
    let mut request = vec![0x92];
    request.extend_from_slice(&raw(b"Test.Large"));
    request.push(1);
    request.extend_from_slice(&uint(300_000));
    bytes.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, request.len() as u8]);
    bytes.extend_from_slice(&request);
    stream.write_all(&bytes).await.expect("taken");
    let mut answers = Vec::new();
    let reset = [0, 1, 0, 8, 0, 0, 0, 1, 0, 0, 0, 0];
    while !answers.ends_with(&reset) {
        let read = timeout(Duration::from_secs(10), stream.read_buf(&mut answers));
        assert_ne!(read.await.expect("in time").expect("read"), 0);
    }
    assert!(answers.len() > 262_144);
}

#[tokio::test]
async fn what_waits_in_streams_is_bounded() {
    let memory = Memory::new(1 << 20);
    let server = TestServer::with(ServeOptions {
        memory: memory.clone(),
        ..ServeOptions::default()
    })
    .await;
    let mut stream = TcpStream::connect(server.addr).await.expect("it listens");
    stream.write_all(&[4]).await.expect("taken");
    let running = server.methods.running.clone();
    let mut request = vec![0x92];
    request.extend_from_slice(&raw(b"Test.Wait"));
    request.extend_from_slice(&[1, 0x80]);
    let head = |kind: u8, flags: u8, id: u32, length: usize| {
        let [a, b, c, d] = id.to_be_bytes();
        let [e, f, g, h] = (length as u32).to_be_bytes();
        [0, kind, 0, flags, a, b, c, d, e, f, g, h]
    };
    // Each stream has a request that waits,
    let ids = (1..100_u32).step_by(2);
    for id in ids.clone() {
        let open = head(1, 1, id, 0);
        let data = head(0, 0, id, request.len());
        let bytes = [&open[..], &data, &request].concat();
        stream.write_all(&bytes).await.expect("taken");
    }
    eventually("all wait", || running.load(SeqCst) == 50).await;
    // and then much behind it.
    for id in ids {
        let data = head(0, 0, id, 200_000);
        let bytes = [&data[..], &[0; 200_000]].concat();
        if stream.write_all(&bytes).await.is_err() {
            break;
        }
    }
    eventually("the session is ended", || running.load(SeqCst) == 0).await;
    eventually("given back", || memory.taken() == 0).await;
}
