//! UDP checks: critical only if the target's system says that nobody listens. An empty datagram
//! is sent; an answer passes, and so does silence until the time limit, since most services do
//! not answer an empty datagram.

use crate::dial::Dialer;
use crate::job::Outcome;
use crate::texts::io_text;
use lictor_wire::base::Str;
use lictor_wire::catalog::Status;
use lictor_wire::checktype::CheckType;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};

/// A UDP check.
pub(crate) struct UdpCheck {
    address: Str,
    timeout: Duration,
}

impl UdpCheck {
    pub(crate) fn new(check: &CheckType, timeout: Duration) -> UdpCheck {
        UdpCheck {
            address: check.udp.clone(),
            timeout,
        }
    }

    pub(crate) async fn run(&self, dialer: &Dialer) -> Outcome {
        let deadline = Instant::now() + self.timeout;
        let found = match dialer.resolve("udp", &self.address, deadline).await {
            Ok(found) => found,
            Err(e) => return Outcome::critical(e.text("udp", &self.address)),
        };
        let Some(peer) = found.first() else {
            return Outcome::critical(format!("dial udp: lookup {}: no such host", self.address));
        };
        let socket = match open(*peer).await {
            Ok(socket) => socket,
            Err(e) => {
                return Outcome::critical(format!("dial udp {peer}: connect: {}", io_text(&e)));
            }
        };
        let local = socket
            .local_addr()
            .map_or_else(|_| String::new(), |at| at.to_string());
        let failed = |call: &str, e: io::Error| {
            Outcome::critical(format!(
                "{call} udp {local}->{peer}: {call}: {}",
                io_text(&e)
            ))
        };
        if let Err(e) = socket.send(&[]).await {
            return failed("write", e);
        }
        match timeout_at(deadline, socket.recv(&mut [0; 1])).await {
            Ok(Err(e)) => failed("read", e),
            Ok(Ok(_)) | Err(_) => Outcome::new(
                Status::Passing,
                format!("UDP connect {}: Success", self.address),
            ),
        }
    }
}

async fn open(peer: SocketAddr) -> io::Result<UdpSocket> {
    let any: SocketAddr = match peer {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(peer).await?;
    Ok(socket)
}
