//! Connections of Consul's RPC to this server.

use super::limit::RequestLimits;
use crate::agent::Shared;
use bytes::Bytes;
use lictor_config::Config;
use lictor_rpc::{
    BoxFuture, Memory, ServeOptions, Service, first_byte, serve_multiplexed, serve_plain,
};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

/// What the connections of the port share.
#[derive(Debug, Default)]
pub struct Port {
    memory: Memory,
    limits: RequestLimits,
    connections: watch::Sender<usize>,
}

impl Port {
    /// Takes over a configuration.
    pub fn configure(&self, config: &Config) {
        self.limits.set(config);
    }

    /// Counts a call; an error is what its caller is told.
    fn admit(&self, shared: &Shared, method: &str, args: &[u8]) -> Result<(), String> {
        let Err(over) = self.limits.admit(method, args, shared.store.is_leader()) else {
            return Ok(());
        };
        shared.metrics.count("rpc.rate_limit.exceeded");
        tracing::debug!(target: "agent.server.rpc-rate-limit", rpc = method, limit_type = over.kind, limit_enforced = over.enforced, "RPC exceeded allowed rate limit");
        match over.enforced {
            true => Err(over.text.to_owned()),
            false => Ok(()),
        }
    }

    /// Returns when no connection is open. Those that are end by themselves when the agent ends
    /// and what they asked for is answered.
    pub async fn drained(&self) {
        let mut connections = self.connections.subscribe();
        // An error means that there is no port any more.
        let _ = connections.wait_for(|open| *open == 0).await;
    }

    fn opened(&self) -> impl Drop {
        struct Open<'a>(&'a Port);
        impl Drop for Open<'_> {
            fn drop(&mut self) {
                self.0.connections.send_modify(|open| *open -= 1);
            }
        }
        self.connections.send_modify(|open| *open += 1);
        Open(self)
    }
}

#[derive(Clone)]
struct Methods(Arc<Shared>);

impl Service for Methods {
    fn call(
        &self,
        method: String,
        args: Bytes,
        peer: SocketAddr,
    ) -> BoxFuture<Result<Vec<u8>, String>> {
        let shared = self.0.clone();
        Box::pin(async move {
            shared.rpc.admit(&shared, &method, &args)?;
            super::call(&shared, &method, &args, peer.ip()).await
        })
    }
}

/// Serves a connection whose first byte, 0 or 4, has been read. When the agent ends it takes no
/// new requests and answers those that it has.
pub async fn connection<S>(shared: Arc<Shared>, first: u8, stream: S, peer: SocketAddr)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let options = ServeOptions {
        memory: shared.rpc.memory.clone(),
        stop: Some(shared.ending()),
        ..ServeOptions::default()
    };
    let methods = Methods(shared.clone());
    let _open = shared.rpc.opened();
    let ended = if first == first_byte::MULTIPLEXED {
        Box::pin(serve_multiplexed(stream, methods, options, peer)).await
    } else {
        Box::pin(serve_plain(stream, methods, options, peer)).await
    };
    if let Err(error) = ended {
        tracing::debug!(target: "agent.server.rpc", conn = %peer, error = %error, "connection ended");
    }
}
