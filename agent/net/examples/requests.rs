//! How many small requests a second one core serves.
//!
//! `taskset -c 0 cargo run --profile quick -p lictor-net --example requests -- [ours|hyper]`
//!
//! The server runs on this process's core; the load (32 connections, no pipelining) in a child
//! process, which is moved to core 1 when `taskset` is there. `hyper` serves the same with hyper's
//! own HTTP/1 connection, for comparison.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use lictor_net::{HttpServer, LimitValues, Limits, ListenAddr, Listener, LocalAddr};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const ASK: &[u8] = b"GET /v1/kv/some/key HTTP/1.1\r\nHost: 127.0.0.1:8500\r\n\
    User-Agent: Go-http-client/1.1\r\nAccept-Encoding: gzip\r\n\r\n";
const CONNECTIONS: usize = 32;
const TIME: Duration = Duration::from_secs(4);

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    if args.get(1).is_some_and(|a| a == "client") {
        runtime.block_on(client(args[2].parse().expect("an address")));
        return;
    }
    let ours = args.get(1).is_none_or(|a| a == "ours");
    runtime.block_on(async move {
        let server = HttpServer::new(Arc::new(Limits::new(LimitValues::default())));
        let addr = if ours {
            with_ours(&server)
        } else {
            with_hyper().await
        };
        let me = std::env::current_exe().expect("this program");
        let load = move || {
            Command::new("taskset")
                .args(["-c", "1"])
                .arg(&me)
                .args(["client", &addr.to_string()])
                .status()
                .or_else(|_| {
                    Command::new(&me)
                        .args(["client", &addr.to_string()])
                        .status()
                })
        };
        let before = cpu();
        let ended = tokio::task::spawn_blocking(load).await.expect("no panic");
        ended.expect("the client ran");
        let after = cpu();
        println!(
            "server: {:.2} s user, {:.2} s system",
            after.0 - before.0,
            after.1 - before.1
        );
    });
}

async fn answer<B>(_: Request<B>) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = Full::new(Bytes::from_static(
        b"[{\"Key\":\"some/key\",\"Value\":\"dGVzdA==\"}]",
    ));
    let mut answer = Response::new(body);
    let headers = answer.headers_mut();
    headers.insert(
        "content-type",
        http::HeaderValue::from_static("application/json"),
    );
    headers.insert("x-consul-index", http::HeaderValue::from_static("123"));
    Ok(answer)
}

fn with_ours(server: &HttpServer) -> SocketAddr {
    let at = ListenAddr::Tcp(([127, 0, 0, 1], 0).into());
    let listener = Listener::bind(&at, None).expect("a free port");
    let LocalAddr::Tcp(addr) = *listener.local_addr() else {
        unreachable!("TCP was asked for")
    };
    server.serve(listener, service_fn(answer));
    addr
}

async fn with_hyper() -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a free port");
    let addr = listener.local_addr().expect("bound");
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(120))
        .pipeline_flush(true);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).expect("an option");
            tokio::spawn(http.serve_connection(TokioIo::new(stream), service_fn(answer)));
        }
    });
    addr
}

async fn client(addr: SocketAddr) {
    let until = Instant::now() + TIME;
    let mut tasks = vec![];
    for _ in 0..CONNECTIONS {
        tasks.push(tokio::spawn(async move {
            let mut stream = tokio::net::TcpStream::connect(addr)
                .await
                .expect("it listens");
            stream.set_nodelay(true).expect("an option");
            let (mut n, mut buffer) = (0u64, [0; 4096]);
            while Instant::now() < until {
                stream.write_all(ASK).await.expect("it reads");
                let mut got = 0;
                while got == 0 || !buffer[..got].ends_with(b"]") {
                    got += stream.read(&mut buffer[got..]).await.expect("it answers");
                }
                n += 1;
            }
            n
        }));
    }
    let mut all = 0;
    for task in tasks {
        all += task.await.expect("no panic");
    }
    println!("{:.0} requests/s", all as f64 / TIME.as_secs_f64());
}

/// Seconds of CPU this process has used, its own and the kernel's for it.
fn cpu() -> (f64, f64) {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap_or("")
        .split_whitespace()
        .collect();
    let seconds = |field: usize| fields[field].parse::<f64>().expect("ticks") / 100.0;
    (seconds(11), seconds(12))
}
