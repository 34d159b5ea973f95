//! TCP checks: passing if a connection, and TLS on it if asked for, can be made.

use crate::dial::{Dialer, split_host_port};
use crate::job::Outcome;
use crate::tls::{Connector, Speaks, handshake_text};
use lictor_wire::base::Str;
use lictor_wire::catalog::Status;
use lictor_wire::checktype::CheckType;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// What Go says when a time limit ends a thing that is not a single system call.
pub(crate) const DEADLINE: &str = "context deadline exceeded";

/// A TCP check.
pub(crate) struct TcpCheck {
    address: Str,
    /// The name to verify and whether not to; `None` without TLS.
    tls: Option<(Str, bool)>,
    timeout: Duration,
}

impl TcpCheck {
    pub(crate) fn new(check: &CheckType, timeout: Duration) -> TcpCheck {
        let tls = check
            .tcp_use_tls
            .then(|| (tls_name(check, &check.tcp), check.tls_skip_verify));
        TcpCheck {
            address: check.tcp.clone(),
            tls,
            timeout,
        }
    }

    pub(crate) async fn run(&self, dialer: &Dialer, connector: &Connector) -> Outcome {
        let deadline = Instant::now() + self.timeout;
        let stream = match dialer.connect(&self.address, deadline).await {
            Ok(stream) => stream,
            Err(e) => return Outcome::critical(e.text("tcp", &self.address)),
        };
        let Some((name, skip_verify)) = &self.tls else {
            return Outcome::new(
                Status::Passing,
                format!("TCP connect {}: Success", self.address),
            );
        };
        match timeout_at(
            deadline,
            connector.connect(stream, name, *skip_verify, Speaks::Nothing),
        )
        .await
        {
            Ok(Ok(_)) => Outcome::new(
                Status::Passing,
                format!("TCP+TLS connect {}: Success", self.address),
            ),
            Ok(Err(e)) => Outcome::critical(handshake_text(&e)),
            Err(_) => Outcome::critical(DEADLINE),
        }
    }
}

/// The name a certificate must be for: what the definition says, else the host of the address.
pub(crate) fn tls_name(check: &CheckType, address: &str) -> Str {
    if !check.tls_server_name.is_empty() {
        return check.tls_server_name.clone();
    }
    split_host_port(address)
        .map_or(address, |(host, _)| host)
        .into()
}
