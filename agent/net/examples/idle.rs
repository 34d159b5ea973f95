//! What a waiting connection costs: many clients ask and are not answered yet.
//!
//! `cargo run --profile quick -p lictor-net --example idle -- [connections] [ours|hyper]`
//!
//! Prints anonymous resident memory and heap bytes for each connection while all wait for the
//! first time, and again after each has been answered and has asked anew. `hyper` serves the same
//! with hyper's own HTTP/1 connection, for comparison.

use std::convert::Infallible;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use lictor_net::{HttpServer, LimitValues, Limits, ListenAddr, Listener, LocalAddr};
use tokio::sync::Semaphore;

const ASK: &[u8] = b"GET /v1/health/service/web?index=1234&wait=300s&passing=1 HTTP/1.1\r\n\
    Host: 127.0.0.1:8500\r\nUser-Agent: Go-http-client/1.1\r\n\
    X-Consul-Token: 6f1b7a30-5f43-4d0e-9d0a-111111111111\r\nAccept-Encoding: gzip\r\n\r\n";

/// Requests that have begun, and leave to end.
struct Gate {
    begun: Semaphore,
    go: Semaphore,
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    if args.get(1).is_some_and(|a| a == "client") {
        client(
            args[2].parse().expect("address"),
            args[3].parse().expect("count"),
        );
        return;
    }
    let n = args.get(1).map_or(5000, |n| n.parse().expect("a number"));
    let ours = args.get(2).is_none_or(|a| a == "ours");
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(server(n, ours));
}

async fn server(n: u32, ours: bool) {
    let gate = Arc::new(Gate {
        begun: Semaphore::new(0),
        go: Semaphore::new(0),
    });
    let limits = LimitValues {
        max_conns_per_client: 0,
        ..LimitValues::for_this_process()
    };
    let server = HttpServer::new(Arc::new(Limits::new(limits)));
    let addr = if ours {
        let at = ListenAddr::Tcp(([127, 0, 0, 1], 0).into());
        let listener = Listener::bind(&at, None).expect("a free port");
        let LocalAddr::Tcp(addr) = *listener.local_addr() else {
            unreachable!("TCP was asked for")
        };
        let gate = gate.clone();
        server.serve(listener, service_fn(move |r| answer(gate.clone(), r)));
        addr
    } else {
        with_hyper(gate.clone()).await
    };

    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .args(["client", &addr.to_string(), &n.to_string()])
        .stdin(Stdio::piped())
        .spawn()
        .expect("a client");
    let mut turn = child.stdin.take().expect("piped");
    let (rss, heap) = (rss_anon(), heap_bytes());
    for round in 1..=3 {
        writeln!(turn, "ask").expect("the client lives");
        gate.begun.acquire_many(n).await.expect("open").forget();
        tokio::time::sleep(Duration::from_millis(300)).await;
        println!(
            "round {round}: {n} waiting, per connection {} bytes of RssAnon, {} of heap",
            (rss_anon() - rss) / i64::from(n),
            (heap_bytes() - heap) / i64::from(n),
        );
        gate.go.add_permits(n as usize);
    }
    drop(turn);
    let ended = tokio::task::spawn_blocking(move || child.wait());
    ended.await.expect("no panic").expect("the client ends");
}

async fn answer<B>(
    gate: Arc<Gate>,
    request: Request<B>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    gate.begun.add_permits(1);
    gate.go.acquire().await.expect("open").forget();
    drop(request); // an agent keeps some of it as long as it waits
    Ok(Response::new(Full::new(Bytes::from(vec![b'x'; 20_000]))))
}

async fn with_hyper(gate: Arc<Gate>) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a free port");
    let addr = listener.local_addr().expect("bound");
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(120));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let gate = gate.clone();
            let service = service_fn(move |r| answer(gate.clone(), r));
            tokio::spawn(http.serve_connection(TokioIo::new(stream), service));
        }
    });
    addr
}

/// Opens all connections, asks on each when told to, and reads the answers before it asks again.
fn client(addr: SocketAddr, n: usize) {
    lictor_net::raise_open_files().expect("enough files");
    let mut connections: Vec<_> = (0..n)
        .map(|_| BufReader::with_capacity(64, TcpStream::connect(addr).expect("it listens")))
        .collect();
    for (round, _) in std::io::stdin().lock().lines().enumerate() {
        for connection in &mut connections {
            if round > 0 {
                read_answer(connection);
            }
            connection.get_mut().write_all(ASK).expect("it reads");
        }
    }
}

fn read_answer(connection: &mut BufReader<TcpStream>) {
    let (mut line, mut length) = (String::new(), 0);
    while line != "\r\n" {
        line.clear();
        connection.read_line(&mut line).expect("a line");
        if let Some(n) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
            length = n.trim().parse().expect("a number");
        }
    }
    let mut body = vec![0; length];
    connection.read_exact(&mut body).expect("all of it");
}

fn rss_anon() -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|l| l.strip_prefix("RssAnon:"));
    let kib: i64 = line
        .and_then(|l| l.trim().strip_suffix(" kB"))
        .and_then(|n| n.trim().parse().ok())
        .expect("a number");
    kib * 1024
}

#[cfg(target_env = "gnu")]
fn heap_bytes() -> i64 {
    // SAFETY: `mallinfo2` takes nothing and returns a plain structure.
    let info = unsafe { libc::mallinfo2() };
    i64::try_from(info.uordblks + info.hblkhd).expect("less than all memory")
}

#[cfg(not(target_env = "gnu"))]
fn heap_bytes() -> i64 {
    0
}
