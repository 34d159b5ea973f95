//! Containers replaced one after the other under load. A server that goes on serving during its
//! grace period loses nobody: the stop signal takes it out of answers at once.

use crate::containers::{instances, name_label, unique};
use crate::engine::{Container, FIXTURE, daemon, fixture};
use lictor_client::QueryOptions;
use lictor_tests::{Agent, Question, json, until_for};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How many serve at a time.
const SERVERS: usize = 3;
/// How many are replaced.
const REPLACED: usize = 6;

/// What the clients counted.
#[derive(Default)]
struct Counts {
    answered: AtomicU64,
    failed: AtomicU64,
    over: AtomicBool,
}

impl Counts {
    fn count(&self, how: &str, outcome: Result<(), String>) {
        match outcome {
            Ok(()) => self.answered.fetch_add(1, Ordering::Relaxed),
            Err(why) => {
                eprintln!("{how}: {why}");
                self.failed.fetch_add(1, Ordering::Relaxed)
            }
        };
    }
}

/// One request to an instance.
async fn call(port: u16) -> Result<(), String> {
    let talk = async {
        let mut io = TcpStream::connect(("127.0.0.1", port)).await?;
        io.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await?;
        let mut answer = String::new();
        io.read_to_string(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    match tokio::time::timeout(Duration::from_secs(10), talk).await {
        Ok(Ok(answer)) if answer.ends_with("ok") => Ok(()),
        Ok(Ok(answer)) => Err(format!("port {port} answered {answer:?}")),
        Ok(Err(error)) => Err(format!("port {port}: {error}")),
        Err(_) => Err(format!("port {port} did not answer")),
    }
}

/// Looks up by DNS and calls, until it is over. Every answer counts once, whichever instance it
/// names first.
async fn by_dns(server: SocketAddr, service: String, counts: Arc<Counts>) {
    let question = Question::new(&format!("{service}.service.consul"), "SRV");
    while !counts.over.load(Ordering::Relaxed) {
        let Some(answer) = question.try_ask(server).await else {
            counts.count("dns", Err("no answer".to_owned()));
            continue;
        };
        let first = answer
            .data()
            .first()
            .and_then(|srv| srv.split(' ').nth(2)?.parse().ok());
        let outcome = match first {
            Some(port) => call(port).await,
            None => Err(format!("no instance: {}", answer.code)),
        };
        counts.count("dns", outcome);
    }
}

/// The same by HTTP.
async fn by_http(client: lictor_client::Client, service: String, counts: Arc<Counts>) {
    let options = QueryOptions::default();
    let mut turn = 0;
    while !counts.over.load(Ordering::Relaxed) {
        turn += 1;
        let found = client.health_service(&service, &[], true, &options).await;
        let outcome = match found {
            Ok((rows, _)) if !rows.is_empty() => {
                let port = rows[turn % rows.len()].service.port;
                call(u16::try_from(port).expect("a port")).await
            }
            Ok(_) => Err("no instance".to_owned()),
            Err(error) => Err(error.to_string()),
        };
        counts.count("http", outcome);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_replacement_under_load_fails_no_request() {
    fixture().await;
    let label = unique("roll");
    let agent = Agent::build()
        .config(json!({"docker": {
            "enabled": true,
            "host": daemon(),
            "host_address": "127.0.0.1",
            "hostname": "dockhost",
            "filter_label": label,
        }}))
        .start()
        .await;
    let service = unique("roll");
    let named = name_label(&service);
    // It serves on for three seconds after its stop signal, and is passing once it answers.
    let start = async || {
        let args = [
            "-p",
            "80",
            "-l",
            &label,
            "-l",
            &named,
            "-l",
            "SERVICE_CHECK_HTTP=/",
            "-l",
            "SERVICE_CHECK_INTERVAL=500ms",
            FIXTURE,
            "serve",
            "80",
            "3000",
        ];
        Container::run(&unique("roll"), &args).await
    };
    let passing = async |count: usize| {
        until_for(
            Duration::from_secs(60),
            &format!("{count} that pass"),
            async || {
                let all = instances(&agent, &service).await;
                (all.iter().filter(|i| i.2).count() == count).then_some(())
            },
        )
        .await;
    };
    let mut serving = Vec::new();
    for _ in 0..SERVERS {
        serving.push(start().await);
    }
    passing(SERVERS).await;

    let counts = Arc::new(Counts::default());
    let clients = [
        tokio::spawn(by_dns(agent.dns_address(), service.clone(), counts.clone())),
        tokio::spawn(by_http(
            agent.another_client(),
            service.clone(),
            counts.clone(),
        )),
        tokio::spawn(by_dns(agent.dns_address(), service.clone(), counts.clone())),
        tokio::spawn(by_http(
            agent.another_client(),
            service.clone(),
            counts.clone(),
        )),
    ];
    for _ in 0..REPLACED {
        serving.push(start().await);
        passing(SERVERS + 1).await;
        let old = serving.remove(0);
        crate::engine::docker(&["stop", "--time", "10", &old.0])
            .await
            .ok();
        passing(SERVERS).await;
    }
    counts.over.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.expect("a client");
    }
    let answered = counts.answered.load(Ordering::Relaxed);
    let failed = counts.failed.load(Ordering::Relaxed);
    eprintln!("{REPLACED} containers replaced: {answered} requests answered, {failed} failed");
    assert_eq!(failed, 0);
    assert!(answered > 100, "no load: {answered}");
}
