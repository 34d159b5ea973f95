//! The servers' port: what a connection is for is told by its first byte.

use super::links::Io;
use super::serve;
use super::wire::FIRST_BYTE;
use crate::agent::{Shared, StartFailed};
use lictor_config::Config;
use lictor_net::{LimitValues, Limits, ListenAddr, Listener, TcpServer};
use lictor_rpc::first_byte;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
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
    let limit = shared.config().limits.rpc_handshake_timeout.to_std();
    let Some(first) = first_byte_of(&mut stream, limit, peer).await else {
        return;
    };
    if first != first_byte::TLS {
        if shared.rpc_tls.verify_incoming() {
            tracing::warn!(target: "agent.server.rpc", conn = %peer, key = "tls.internal_rpc.verify_incoming", "Non-TLS connection attempted with VerifyIncoming set");
            return;
        }
        let is_server = shared.rpc_tls.is_server(None);
        // A box for each way that a connection goes: what waits for years holds no room for the
        // others.
        return Box::pin(protocol(shared, first, stream, peer, is_server)).await;
    }
    let mut stream = match Box::pin(timeout(limit, shared.rpc_tls.accept(stream))).await {
        Ok(Some(Ok(stream))) => stream,
        Ok(None) => {
            tracing::warn!(target: "agent.server.rpc", conn = %peer, key = "tls.internal_rpc.cert_file", "TLS connection attempted, server not configured for TLS");
            return;
        }
        Ok(Some(Err(error))) => {
            tracing::warn!(target: "agent.server.rpc", conn = %peer, error = %error, "TLS handshake failed");
            return;
        }
        Err(_) => {
            tracing::debug!(target: "agent.server.rpc", conn = %peer, "a TLS handshake took too long");
            return;
        }
    };
    let Some(first) = first_byte_of(&mut stream, limit, peer).await else {
        return;
    };
    if first == first_byte::TLS {
        tracing::error!(target: "agent.server.rpc", conn = %peer, "TLS connection attempting to establish inner TLS connection");
        return;
    }
    let is_server = shared.rpc_tls.is_server(Some(&stream));
    Box::pin(protocol(shared, first, stream, peer, is_server)).await;
}

async fn first_byte_of<S: Io>(stream: &mut S, limit: Duration, peer: SocketAddr) -> Option<u8> {
    match timeout(limit, stream.read_u8()).await {
        Ok(Ok(first)) => Some(first),
        // Closed without a word: somebody looked whether the port is open.
        Ok(Err(_)) => None,
        Err(_) => {
            tracing::debug!(target: "agent.server.rpc", conn = %peer, "a connection sent nothing");
            None
        }
    }
}

/// Serves what the first byte says. `is_server` tells why the other side can be no server.
async fn protocol<S: Io>(
    shared: Arc<Shared>,
    first: u8,
    stream: S,
    peer: SocketAddr,
    is_server: Result<(), String>,
) {
    match first {
        FIRST_BYTE => {
            if let Err(why) = is_server {
                tracing::warn!(target: "agent.server.rpc", conn = %peer, key = "tls.internal_rpc.verify_server_hostname", "a server is refused: {why}");
                return;
            }
            let limit = shared.config().limits.rpc_handshake_timeout.to_std();
            Box::pin(serve::server(shared, Box::new(stream), limit)).await;
        }
        first_byte::PLAIN | first_byte::MULTIPLEXED => {
            Box::pin(crate::rpc::connection(shared, first, stream, peer)).await;
        }
        other => {
            tracing::error!(target: "agent.server.rpc", byte = other, conn = %peer, "unrecognized RPC byte");
        }
    }
}
