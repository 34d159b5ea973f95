//! Metadata services of clouds, served by the test: EC2's (with its token), the credentials of a
//! task of ECS (with theirs), and whatever else is a path with an answer.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The largest head of a request.
const HEAD_MAX: usize = 16 << 10;

#[derive(Default)]
struct State {
    /// What EC2's service has, by path below `/latest/`.
    items: BTreeMap<String, String>,
    /// What is served without EC2's token, and what its `Authorization` must be.
    open: BTreeMap<String, (Option<String>, String)>,
    /// The token that is good now.
    token: u64,
    /// Paths that were answered well, in order.
    asked: Vec<String>,
    /// Whether tokens are given.
    mute: bool,
}

/// Such a service; gone with its value.
pub struct Metadata {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Metadata {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Metadata {
    /// A service on loopback.
    pub fn start() -> Metadata {
        Metadata::on(TcpListener::bind("127.0.0.1:0").expect("a port"))
    }

    /// A service on a listener, which may be one of another machine's.
    pub fn on(listener: TcpListener) -> Metadata {
        listener.set_nonblocking(true).expect("not blocking");
        let address = listener.local_addr().expect("its address");
        let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
        let state = Arc::new(Mutex::new(State::default()));
        let shared = state.clone();
        let task = tokio::spawn(async move {
            while let Ok((io, _)) = listener.accept().await {
                let state = shared.clone();
                tokio::spawn(async move { serve(io, &state).await });
            }
        });
        Metadata {
            address,
            state,
            task,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Sets an item of EC2's, by its path below `/latest/`.
    pub fn set(&self, path: &str, body: impl Into<String>) {
        self.state().items.insert(path.to_owned(), body.into());
    }

    /// Serves a path to everybody, or to those with this `Authorization`.
    pub fn open(&self, path: &str, authorization: Option<&str>, body: impl Into<String>) {
        let value = (authorization.map(String::from), body.into());
        self.state().open.insert(path.to_owned(), value);
    }

    /// The token that was given is good no more.
    pub fn expire(&self) {
        self.state().token += 1;
    }

    /// Whether tokens are asked for in vain: the answer does not come, as beyond the hop limit.
    pub fn mute(&self, yes: bool) {
        self.state().mute = yes;
    }

    /// How often a path was asked for, whatever the answer.
    pub fn asked(&self, path: &str) -> usize {
        self.state().asked.iter().filter(|p| *p == path).count()
    }
}

async fn serve(mut io: TcpStream, state: &Mutex<State>) {
    let mut head = Vec::new();
    while !head.windows(4).any(|w| w == b"\r\n\r\n") {
        if head.len() > HEAD_MAX || !matches!(io.read_buf(&mut head).await, Ok(n) if n > 0) {
            return;
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let Some((status, body)) = answer(
        &head,
        &mut state.lock().unwrap_or_else(PoisonError::into_inner),
    ) else {
        // Open, and silent.
        let _ = io.read(&mut [0]).await;
        return;
    };
    let text = format!(
        "HTTP/1.1 {status} x\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let _ = io.write_all(text.as_bytes()).await;
    let _ = io.shutdown().await;
}

fn answer(head: &str, state: &mut State) -> Option<(u16, String)> {
    let mut lines = head.lines();
    let mut first = lines.next().unwrap_or_default().split(' ');
    let (method, path) = (first.next()?, first.next()?.to_owned());
    let header = |name: &str| {
        head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name)
                .then(|| value.trim().to_owned())
        })
    };
    state.asked.push(path.clone());
    if let Some((wanted, body)) = state.open.get(&path) {
        return Some(match wanted {
            Some(_) if header("authorization") != *wanted => (401, "no such token".to_owned()),
            _ => (200, body.clone()),
        });
    }
    if path == "/latest/api/token" {
        if state.mute {
            return None;
        }
        let asked_well =
            method == "PUT" && header("x-aws-ec2-metadata-token-ttl-seconds").is_some();
        return Some(match asked_well {
            true => (200, format!("token-{}", state.token)),
            false => (400, String::new()),
        });
    }
    if header("x-aws-ec2-metadata-token") != Some(format!("token-{}", state.token)) {
        return Some((401, String::new()));
    }
    let item = path
        .strip_prefix("/latest/")
        .and_then(|p| state.items.get(p));
    Some(match item {
        Some(body) => (200, body.clone()),
        None => (404, String::new()),
    })
}
