//! What many checks cost: `cargo run --profile quick -p lictor-check --example many [CHECKS] [SECONDS] [tcp|http]`
//!
//! Runs TCP (or HTTP) checks at 10 s against a server in a process of its own, and prints the
//! processor time that the checks take, in ms per second, and the memory of the process.

use lictor_check::{Checks, Options};
use lictor_wire::catalog::Status;
use lictor_wire::checktype::CheckType;
use lictor_wire::duration::GoDuration;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Accepts and answers, until its input ends.
fn serve() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    println!("{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        let mut buffer = [0; 1024];
        for mut stream in listener.incoming().flatten() {
            // A TCP check closes at once; an HTTP check asks.
            if let Ok(1..) = stream.read(&mut buffer) {
                let _ = stream.write_all(
                    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
                );
            }
        }
    });
    let _ = std::io::stdin().read_to_end(&mut vec![]);
}

/// The processor time of all threads of this process.
fn used() -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task")
        .into_iter()
        .flatten()
        .flatten();
    let stats =
        tasks.filter_map(|task| std::fs::read_to_string(task.path().join("schedstat")).ok());
    Duration::from_nanos(
        stats
            .filter_map(|stat| stat.split(' ').next()?.parse::<u64>().ok())
            .sum(),
    )
}

/// The resident memory, in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    if args.get(1).is_some_and(|arg| arg == "serve") {
        return serve();
    }
    let number = |at: usize, default: u64| {
        args.get(at)
            .and_then(|arg| arg.parse().ok())
            .unwrap_or(default)
    };
    let (count, seconds) = (number(1, 2_000), number(2, 20));
    let http = args.get(3).is_some_and(|kind| kind == "http");
    let mut server = Command::new(&args[0])
        .arg("serve")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the server starts");
    let mut address = String::new();
    BufReader::new(server.stdout.take().expect("its output"))
        .read_line(&mut address)
        .expect("its address");
    let address = address.trim();

    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let (ok, bad) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let (passing, failing) = (Arc::clone(&ok), Arc::clone(&bad));
        let checks = Checks::new(Options::default(), move |_: &str, status, _| {
            (if status == Status::Passing { &passing } else { &failing }).fetch_add(1, Ordering::Relaxed);
        });
        let empty = resident();
        for n in 0..count {
            let mut check = CheckType { interval: GoDuration::from_secs(10), ..CheckType::default() };
            match http {
                true => check.http = format!("http://{address}/health").into(),
                false => check.tcp = address.into(),
            }
            checks.start(&format!("service:web-{n}"), &check, Status::Critical);
        }
        // A full round first, so that every check has run once.
        tokio::time::sleep(Duration::from_secs(11)).await;
        ok.store(0, Ordering::Relaxed);
        let (begin, before) = (Instant::now(), used());
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        let (took, cpu) = (begin.elapsed().as_secs_f64(), (used() - before).as_secs_f64());
        let runs = ok.load(Ordering::Relaxed);
        println!(
            "{count} {} checks at 10 s: {:.1} ms/s of processor time, {:.0} us a run ({:.0} runs/s, {} failed), {} KiB for the checks, {} KiB in all",
            if http { "HTTP" } else { "TCP" },
            cpu * 1e3 / took,
            cpu * 1e6 / runs.max(1) as f64,
            runs as f64 / took,
            bad.load(Ordering::Relaxed),
            resident().saturating_sub(empty),
            resident(),
        );
        checks.shutdown().await;
    });
    let _ = server.kill();
    let _ = server.wait();
}
