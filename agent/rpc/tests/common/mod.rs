//! A service to talk to, and a server for it on loopback.
#![allow(dead_code)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use bytes::Bytes;
use lictor_gossip::msgpack::{Reader, Writer};
use lictor_rpc::{BoxFuture, ServeOptions, Service, serve_multiplexed, serve_plain};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

/// Methods for tests. `running` counts the calls of `Test.Wait` that are not over.
#[derive(Clone, Default)]
pub struct Methods {
    pub running: Arc<AtomicUsize>,
    pub calls: Arc<AtomicUsize>,
}

struct Running(Arc<AtomicUsize>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

impl Service for Methods {
    fn call(
        &self,
        method: String,
        args: Bytes,
        _: SocketAddr,
    ) -> BoxFuture<Result<Vec<u8>, String>> {
        self.calls.fetch_add(1, SeqCst);
        let running = self.running.clone();
        Box::pin(async move {
            match method.as_str() {
                "Status.Ping" => Ok(vec![0x80]),
                "Test.Echo" => Ok(args.to_vec()),
                "Test.Large" => {
                    let size: usize = Reader::new(&args).int().map_err(|e| e.to_string())?;
                    Ok(raw(&pattern(size)))
                }
                "Test.Wait" => {
                    running.fetch_add(1, SeqCst);
                    let _running = Running(running);
                    std::future::pending().await
                }
                "Test.Sleep" => {
                    let ms: u64 = Reader::new(&args).int().map_err(|e| e.to_string())?;
                    sleep(Duration::from_millis(ms)).await;
                    Ok(vec![0xc3])
                }
                "Test.Panic" => panic!("on purpose"),
                "Test.Fail" => Err(Reader::new(&args)
                    .text()
                    .map_err(|e| e.to_string())?
                    .to_owned()),
                other if other.starts_with("Test.") => {
                    Err(format!("rpc: can't find method {other}"))
                }
                other => Err(format!("rpc: can't find service {other}")),
            }
        })
    }
}

/// Bytes that no shift leaves as they were.
pub fn pattern(size: usize) -> Vec<u8> {
    (0..size).map(|i| (i % 251) as u8).collect()
}

pub fn raw(bytes: &[u8]) -> Vec<u8> {
    let mut out = Writer::default();
    out.raw(bytes);
    out.bytes
}

pub fn uint(value: u64) -> Vec<u8> {
    let mut out = Writer::default();
    out.uint(value);
    out.bytes
}

/// A server on loopback; dropping it ends all its connections.
pub struct TestServer {
    pub addr: SocketAddr,
    pub methods: Methods,
    _task: JoinSet<()>,
}

impl TestServer {
    pub async fn start() -> Self {
        Self::with(ServeOptions::default()).await
    }

    pub async fn with(options: ServeOptions) -> Self {
        Self::at("127.0.0.1:0".parse().unwrap(), options).await
    }

    pub async fn at(addr: SocketAddr, options: ServeOptions) -> Self {
        let listener = TcpListener::bind(addr).await.expect("a free port");
        let addr = listener.local_addr().expect("bound");
        let methods = Methods::default();
        let service = methods.clone();
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (mut stream, peer) = listener.accept().await.expect("accepts");
                stream.set_nodelay(true).expect("a socket");
                let (service, options) = (service.clone(), options.clone());
                connections.spawn(async move {
                    let _ = match stream.read_u8().await {
                        Ok(4) => serve_multiplexed(stream, service, options, peer).await,
                        Ok(0) => serve_plain(stream, service, options, peer).await,
                        _ => return,
                    };
                });
            }
        });
        Self {
            addr,
            methods,
            _task: task,
        }
    }
}

/// Waits until the condition holds; fails after 10 s.
pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < end, "not so after 10 s: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

/// A deadline that is not met only when something is wrong.
pub fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}
