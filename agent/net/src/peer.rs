//! Who sent a request.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls_pki_types::CertificateDer;

/// The other end of the connection a request came on; an extension of every request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// The client's address; `None` on a unix socket. IPv4 addresses that arrived on an IPv6
    /// socket (`::ffff:192.0.2.1`) are given as IPv4.
    pub addr: Option<SocketAddr>,
    /// The request came over a unix socket.
    pub unix: bool,
    /// The request came over TLS.
    pub tls: bool,
    /// The client's own certificate, if it showed one and it was verified.
    pub certificate: Option<Arc<CertificateDer<'static>>>,
}
