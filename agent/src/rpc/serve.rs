//! The methods on a connection.

use crate::agent::Shared;
use bytes::Bytes;
use lictor_rpc::{BoxFuture, ServeOptions, Service, first_byte, serve_multiplexed, serve_plain};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};

/// The methods of this server, for the transport.
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
        Box::pin(async move { super::call(&shared, &method, &args, peer.ip()).await })
    }
}

/// Serves a connection whose first byte, which has been read, is that of requests with or without
/// a multiplexer.
pub async fn connection<IO>(
    shared: Arc<Shared>,
    options: ServeOptions,
    first: u8,
    stream: IO,
    peer: SocketAddr,
) where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let methods = Methods(shared);
    let served = if first == first_byte::MULTIPLEXED {
        serve_multiplexed(stream, methods, options, peer).await
    } else {
        serve_plain(stream, methods, options, peer).await
    };
    if let Err(error) = served {
        tracing::debug!(target: "agent.server.rpc", conn = %peer, error = %error, "the connection ended");
    }
}
