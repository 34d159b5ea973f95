//! What a session costs a server: many clients that are connected and idle, and then that wait.
//!
//! `cargo run --profile quick -p lictor-rpc --example idle -- [sessions]`
//!
//! With `-- at ADDRESS PID [sessions]` the sessions are made with a server that runs, whose
//! `limits.rpc_max_conns_per_client` must be as many, and only idle ones are measured.
//!
//! Prints anonymous resident memory and heap bytes for each session when all have made one call (so
//! each has one idle stream), when each has a call that waits, and when these were cancelled; then
//! the processor time of the keep-alive of all sessions.

use std::io::{BufRead, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use bytes::Bytes;
use lictor_rpc::{
    BoxFuture, Client, ClientLimits, ServeOptions, Service, first_byte, serve_multiplexed,
};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

/// `Status.Ping` is answered, everything else waits.
#[derive(Clone, Default)]
struct Methods {
    sessions: Arc<AtomicUsize>,
    waiting: Arc<AtomicUsize>,
}

struct Waits(Arc<AtomicUsize>);

impl Drop for Waits {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

impl Service for Methods {
    fn call(
        &self,
        method: String,
        _args: Bytes,
        _peer: SocketAddr,
    ) -> BoxFuture<Result<Vec<u8>, String>> {
        let methods = self.clone();
        Box::pin(async move {
            if method == "Status.Ping" {
                methods.sessions.fetch_add(1, SeqCst);
                return Ok(vec![0x80]);
            }
            methods.waiting.fetch_add(1, SeqCst);
            let _waits = Waits(methods.waiting);
            std::future::pending().await
        })
    }
}

fn main() {
    lictor_net::raise_open_files().expect("enough files");
    let args: Vec<String> = std::env::args().collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    if args.get(1).is_some_and(|arg| arg == "client") {
        let addr = args[2].parse().expect("an address");
        runtime.block_on(client(addr, args[3].parse().expect("a number")));
    } else if args.get(1).is_some_and(|arg| arg == "at") {
        let addr = args[2].parse().expect("an address");
        let n = args.get(4).map_or(10_000, |n| n.parse().expect("a number"));
        runtime.block_on(at(addr, &args[3], n));
    } else {
        let n = args.get(1).map_or(10_000, |n| n.parse().expect("a number"));
        runtime.block_on(server(n));
    }
}

/// Sessions with a server that is another process.
async fn at(addr: SocketAddr, pid: &str, n: usize) {
    let (rss, used) = (rss_anon(pid), cpu(pid));
    let clients = connect(addr, n).await;
    println!(
        "{n} sessions took {:.1} s of processor time",
        cpu(pid) - used
    );
    let report = || {
        let each = (rss_anon(pid) - rss) / n as i64;
        println!("idle, one stream: {n} sessions, each {each} bytes of RssAnon");
    };
    sleep(Duration::from_secs(2)).await;
    report();
    let (before, time) = (cpu(pid), Instant::now());
    sleep(Duration::from_secs(60)).await;
    println!(
        "with keep-alive of all: {:.1} ms of processor time a second",
        (cpu(pid) - before) * 1000.0 / time.elapsed().as_secs_f64()
    );
    report();
    drop(clients);
}

async fn server(n: usize) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket
        .bind("127.0.0.1:0".parse().expect("an address"))
        .expect("a free port");
    let listener = socket.listen(4096).expect("listens");
    let addr = listener.local_addr().expect("bound");
    let methods = Methods::default();
    let service = methods.clone();
    tokio::spawn(async move {
        let options = ServeOptions::default();
        while let Ok((mut stream, peer)) = listener.accept().await {
            let (service, options) = (service.clone(), options.clone());
            tokio::spawn(async move {
                if stream.read_u8().await.ok() == Some(first_byte::MULTIPLEXED) {
                    let _ = serve_multiplexed(stream, service, options, peer).await;
                }
            });
        }
    });
    let (mut child, mut turn) = start(addr, n);
    let (rss, heap) = (rss_anon("self"), heap_bytes());
    let report = |what: &str| {
        println!(
            "{what}: {n} sessions, each {} bytes of RssAnon, {} of heap",
            (rss_anon("self") - rss) / n as i64,
            (heap_bytes() - heap) / n as i64,
        );
    };
    until(|| methods.sessions.load(SeqCst) == n).await;
    report("idle, one stream");
    writeln!(turn, "wait").expect("the client lives");
    until(|| methods.waiting.load(SeqCst) == n).await;
    report("one call waits");
    writeln!(turn, "cancel").expect("the client lives");
    until(|| methods.waiting.load(SeqCst) == 0).await;
    report("idle again");
    let (before, time) = (cpu("self"), Instant::now());
    sleep(Duration::from_secs(60)).await;
    println!(
        "keep-alive of all: {:.1} ms of processor time a second",
        (cpu("self") - before) * 1000.0 / time.elapsed().as_secs_f64()
    );
    report("still idle");
    drop(turn);
    child.wait().expect("the client ends");
}

fn start(addr: SocketAddr, n: usize) -> (Child, ChildStdin) {
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .args(["client", &addr.to_string(), &n.to_string()])
        .stdin(Stdio::piped())
        .spawn()
        .expect("a client");
    let turn = child.stdin.take().expect("piped");
    (child, turn)
}

async fn until(holds: impl Fn() -> bool) {
    while !holds() {
        sleep(Duration::from_millis(50)).await;
    }
    // What is under way arrives.
    sleep(Duration::from_secs(1)).await;
}

/// So many sessions, each of which has made one call.
async fn connect(addr: SocketAddr, n: usize) -> Vec<Client> {
    let limits = ClientLimits {
        idle: Duration::from_secs(3600),
        ..ClientLimits::default()
    };
    let far = Instant::now() + Duration::from_secs(3600);
    let mut clients = Vec::new();
    for _ in 0..n {
        let stream = TcpStream::connect(addr).await.expect("it listens");
        let client = Client::start(stream, limits);
        let reply = client.call("Status.Ping", &[0x80], far).await;
        reply.expect("a reply");
        clients.push(client);
    }
    clients
}

async fn client(addr: SocketAddr, n: usize) {
    let far = Instant::now() + Duration::from_secs(3600);
    let clients = connect(addr, n).await;
    let (lines, mut turns) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for _ in std::io::stdin().lock().lines() {
            let _ = lines.send(());
        }
    });
    turns.recv().await;
    let mut calls = JoinSet::new();
    for client in &clients {
        let client = client.clone();
        calls.spawn(async move { client.call("Test.Wait", &[0x80], far).await });
    }
    turns.recv().await;
    calls.shutdown().await;
    while turns.recv().await.is_some() {}
}

fn rss_anon(pid: &str) -> i64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("Linux");
    let line = status.lines().find_map(|l| l.strip_prefix("RssAnon:"));
    let kib: i64 = line
        .and_then(|l| l.trim().strip_suffix(" kB"))
        .and_then(|n| n.trim().parse().ok())
        .expect("a number");
    kib * 1024
}

/// Seconds of processor time of a process.
fn cpu(pid: &str) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("Linux");
    let after = stat.rsplit(')').next().unwrap_or_default();
    let ticks = |at: usize| -> f64 {
        after
            .split_whitespace()
            .nth(at)
            .and_then(|n| n.parse().ok())
            .expect("a number")
    };
    (ticks(11) + ticks(12)) / 100.0
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
