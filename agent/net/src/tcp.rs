//! Connections that are no HTTP: accepted, counted, and handed on as they are.

use crate::limits::{Admission, Census, Counters, Limits};
use crate::listener::{Listener, Socketed};
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// How long `accept` pauses after an error such as too many open files: doubled up to the second.
const PAUSES: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));

/// Takes the connections of one TCP listener under limits of its own. Of [`Limits`] only the
/// numbers of connections count here.
#[derive(Debug)]
pub struct TcpServer {
    limits: Arc<Limits>,
    census: Arc<Census>,
}

impl TcpServer {
    /// A server that has taken nothing yet.
    pub fn new(limits: Arc<Limits>) -> TcpServer {
        TcpServer {
            limits,
            census: Arc::default(),
        }
    }

    /// The limits, to be replaced when the configuration changes.
    pub fn limits(&self) -> &Arc<Limits> {
        &self.limits
    }

    /// What has been counted.
    pub fn counters(&self) -> Counters {
        self.census.counters()
    }

    /// Accepts until `stop` is done, and then waits until the connections have ended; each is a
    /// task of its own that runs `handle`, and all of them end when this future is dropped.
    /// `refused` is told of connections over the limits, which are closed. Unix sockets are not
    /// served.
    pub async fn serve<F, T>(
        &self,
        listener: Listener,
        stop: impl Future<Output = ()>,
        refused: impl Fn(SocketAddr),
        handle: F,
    ) where
        F: Fn(TcpStream, SocketAddr) -> T,
        T: Future<Output = ()> + Send + 'static,
    {
        let Socketed::Tcp(socket) = &listener.socket else {
            return;
        };
        let mut tasks = JoinSet::new();
        let mut pause = PAUSES.0;
        let mut stop = std::pin::pin!(stop);
        loop {
            let accepted = tokio::select! {
                () = &mut stop => break,
                accepted = socket.accept() => accepted,
                Some(_) = tasks.join_next() => continue,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    self.census.accept_errors.fetch_add(1, Relaxed);
                    tracing::warn!(target: "agent.server.rpc", error = %error, "failed to accept RPC conn");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSES.1);
                    continue;
                }
            };
            pause = PAUSES.0;
            let client = peer.ip().to_canonical();
            let admission: Admission = match self.census.admit(Some(client), &self.limits.get()) {
                Ok(admission) => admission,
                Err(_) => {
                    refused(peer);
                    continue;
                }
            };
            let work = handle(stream, peer);
            tasks.spawn(async move {
                let _admitted = admission;
                work.await;
            });
        }
        // Who comes now is refused by the system, and knows that nothing was begun.
        drop(listener);
        while tasks.join_next().await.is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LimitValues, ListenAddr, LocalAddr};
    use std::sync::atomic::AtomicUsize;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn one_address_cannot_take_all_and_the_end_closes_all() {
        let listener =
            Listener::bind(&ListenAddr::Tcp(([127, 0, 0, 1], 0).into()), None).expect("a port");
        let LocalAddr::Tcp(at) = *listener.local_addr() else {
            panic!("TCP")
        };
        let limits = Arc::new(Limits::new(LimitValues {
            max_conns_per_client: 2,
            ..LimitValues::default()
        }));
        let refusals = Arc::new(AtomicUsize::new(0));
        let seen = refusals.clone();
        let server = tokio::spawn(async move {
            TcpServer::new(limits)
                .serve(
                    listener,
                    std::future::pending(),
                    |_| _ = seen.fetch_add(1, Relaxed),
                    |mut stream, _| async move {
                        let mut byte = [0];
                        while stream.read_exact(&mut byte).await.is_ok() {
                            if stream.write_all(&byte).await.is_err() {
                                return;
                            }
                        }
                    },
                )
                .await;
        });
        let mut held = Vec::new();
        for n in 0..2_u8 {
            let mut stream = TcpStream::connect(at).await.expect("connects");
            stream.write_all(&[n]).await.expect("takes");
            assert_eq!(stream.read_u8().await.expect("answers"), n);
            held.push(stream);
        }
        let mut third = TcpStream::connect(at).await.expect("connects");
        assert_eq!(third.read(&mut [0]).await.unwrap_or(0), 0, "closed");
        assert_eq!(refusals.load(Relaxed), 1);
        server.abort();
        assert_eq!(held[0].read(&mut [0]).await.unwrap_or(0), 0, "closed");
    }
}
