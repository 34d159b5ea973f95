//! The servers' port: what a connection is for is told by its first byte.

use super::serve;
use super::wire::FIRST_BYTE;
use crate::agent::{Shared, StartFailed};
use lictor_config::Config;
use lictor_net::{LimitValues, Limits, ListenAddr, Listener, TcpServer};
use lictor_rpc::first_byte;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The limits of the port.
pub fn limits(config: &Config) -> LimitValues {
    LimitValues {
        max_conns_per_client: usize::try_from(config.limits.rpc_max_conns_per_client).unwrap_or(0),
        ..LimitValues::for_this_process()
    }
}

/// Listens. `None` where the port is off.
///
/// # Errors
/// When the address cannot be listened on.
pub fn bind(config: &Config) -> Result<Option<Listener>, StartFailed> {
    if !config.server || config.rpc_bind.port() == 0 {
        return Ok(None);
    }
    Listener::bind(&ListenAddr::Tcp(config.rpc_bind), None)
        .map(Some)
        .map_err(|e| {
            StartFailed(format!(
                "Failed to start Consul server: Failed to start RPC layer: {e}"
            ))
        })
}

/// Serves the port until the agent ends, and what is connected then until dropped.
pub async fn run(shared: Arc<Shared>, listener: Listener, limits: Arc<Limits>) {
    let server = TcpServer::new(limits);
    let refused = |peer: SocketAddr| {
        tracing::error!(target: "agent.server.rpc", conn = %peer, "rejecting RPC conn from because rpc_max_conns_per_client exceeded");
    };
    server
        .serve(listener, shared.ended(), refused, |stream, peer| {
            connection(shared.clone(), stream, peer)
        })
        .await;
}

async fn connection(shared: Arc<Shared>, mut stream: TcpStream, peer: SocketAddr) {
    let handshake = shared.config().limits.rpc_handshake_timeout.to_std();
    let first = match timeout(handshake, stream.read_u8()).await {
        Ok(Ok(first)) => first,
        // Closed without a word: somebody looked whether the port is open.
        Ok(Err(_)) => return,
        Err(_) => {
            tracing::debug!(target: "agent.server.rpc", conn = %peer, "a connection sent nothing");
            return;
        }
    };
    match first {
        FIRST_BYTE => serve::server(shared, Box::new(stream), handshake).await,
        first_byte::PLAIN | first_byte::MULTIPLEXED => {
            crate::rpc::connection(shared, first, stream, peer).await;
        }
        first_byte::TLS => {
            tracing::warn!(target: "agent.server.rpc", conn = %peer, "TLS connection attempted, server not configured for TLS");
        }
        other => {
            tracing::error!(target: "agent.server.rpc", byte = other, conn = %peer, "unrecognized RPC byte");
        }
    }
}
