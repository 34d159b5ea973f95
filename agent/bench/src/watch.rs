//! Clients that wait for a change: how long until the last has it, and what they cost meanwhile.

use crate::client::{Head, request};
use crate::load::Sample;
use crate::process::Server;
use crate::{Result, client::Client};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};

/// What a client says while it waits.
const AGENT: &str = "User-Agent: Go-http-client/1.1\r\nAccept-Encoding: gzip\r\n\r\n";
/// Time for the server to come to rest with everybody waiting.
const SETTLE: Duration = Duration::from_secs(2);
/// Nobody waits longer than this for a change that took place.
const LIMIT: Duration = Duration::from_secs(60);

fn runtime() -> Result<Runtime> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}

async fn ask(port: u16, path: &str) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let head = request("GET", path, None);
    let head = format!(
        "{}{AGENT}",
        head.trim_end_matches("\r\n").to_owned() + "\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    Ok(stream)
}

/// Reads one answer whole.
async fn answer(mut stream: TcpStream) -> Result<()> {
    let mut bytes = Vec::with_capacity(4096);
    let length = loop {
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err("closed without an answer".into());
        }
        let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") else {
            continue;
        };
        let mut head = Head::default();
        for line in std::str::from_utf8(&bytes[..end])?.lines() {
            head.line(line)?;
        }
        if head.status != 200 {
            return Err(format!("a watcher got status {}", head.status).into());
        }
        break end + 4 + head.length.ok_or("an answer without a length")?;
    };
    while bytes.len() < length {
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err("half an answer".into());
        }
    }
    Ok(())
}

/// Milliseconds from the request for a change until the last of `n` waiting clients has its answer.
pub fn until_the_last(
    server: &Server,
    n: usize,
    path: &str,
    change: impl FnOnce(&mut Client) -> Result<()> + Send + 'static,
) -> Result<Sample> {
    let mut changer = server.client()?;
    runtime()?.block_on(async {
        let mut waiting = Vec::with_capacity(n);
        for _ in 0..n {
            waiting.push(tokio::spawn(answer(ask(server.port, path).await?)));
        }
        tokio::time::sleep(SETTLE).await;
        if waiting.iter().any(tokio::task::JoinHandle::is_finished) {
            return Err("a watcher had its answer before the change".into());
        }
        let (began, cpu) = (Instant::now(), server.cpu_of_threads()?);
        let changing = tokio::task::spawn_blocking(move || change(&mut changer));
        tokio::time::timeout(LIMIT, async {
            for one in waiting {
                one.await??;
            }
            Result::Ok(())
        })
        .await??;
        let took = began.elapsed();
        changing.await??;
        let cpu = server.cpu_of_threads()? - cpu;
        Ok(Sample {
            value: took.as_secs_f64() * 1000.0,
            by_cpu: Some(cpu * 1000.0),
        })
    })
}

/// Bytes of the server for each of `n` waiting clients.
pub fn cost(server: &Server, n: usize, path: impl Fn(usize) -> String) -> Result<f64> {
    let before = server.memory()?;
    let after = runtime()?.block_on(async {
        let mut waiting = Vec::with_capacity(n);
        for i in 0..n {
            waiting.push(ask(server.port, &path(i)).await?);
        }
        tokio::time::sleep(SETTLE).await;
        let after = server.memory()?;
        let mut byte = [0];
        for stream in &waiting {
            if stream.try_read(&mut byte).is_ok() {
                return Err("a watcher had its answer before any change".into());
            }
        }
        Result::Ok(after)
    })?;
    Ok((after - before) / n as f64)
}
