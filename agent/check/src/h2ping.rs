//! HTTP/2 ping checks: passing if the server acknowledges a PING (RFC 9113 section 6.7). Just
//! enough of HTTP/2 is spoken for that: the preface, settings, one ping, goodbye.

use crate::dial::Dialer;
use crate::job::Outcome;
use crate::tcp::{DEADLINE, tls_name};
use crate::texts::io_text;
use crate::tls::{Connector, Speaks, handshake_text};
use lictor_wire::base::Str;
use lictor_wire::catalog::Status;
use lictor_wire::checktype::CheckType;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};

/// The client's preface: the magic words and empty settings (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";

/// Acknowledges the server's settings.
const SETTINGS_ACK: [u8; 9] = [0, 0, 0, SETTINGS, ACK, 0, 0, 0, 0];

/// Says goodbye: no stream was opened, nothing is wrong.
const GOODBYE: [u8; 17] = [0, 0, 8, GOAWAY, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// The largest frame a server may send to a client that did not ask for larger ones.
const MAX_FRAME: u64 = 16 << 10;

/// Most frames before the acknowledgement; a server sends two or three.
const MAX_FRAMES: usize = 1_000;

const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const ACK: u8 = 1;

/// An HTTP/2 ping check.
pub(crate) struct PingCheck {
    address: Str,
    /// The name to verify and whether not to; `None` without TLS.
    tls: Option<(Str, bool)>,
    timeout: Duration,
}

impl PingCheck {
    pub(crate) fn new(check: &CheckType, timeout: Duration) -> PingCheck {
        let tls = check
            .h2ping_use_tls
            .then(|| (tls_name(check, &check.h2ping), check.tls_skip_verify));
        PingCheck {
            address: check.h2ping.clone(),
            tls,
            timeout,
        }
    }

    pub(crate) async fn run(&self, dialer: &Dialer, connector: &Connector) -> Outcome {
        let deadline = Instant::now() + self.timeout;
        let address = &self.address;
        let undialled =
            |why: &str| Outcome::critical(format!("Failed to dial to {address}: {why}"));
        let stream = match dialer.connect(address, deadline).await {
            Ok(stream) => stream,
            Err(e) => return undialled(&e.text("tcp", address)),
        };
        let pinged = match &self.tls {
            None => timeout_at(deadline, ping(stream)).await,
            Some((name, skip_verify)) => {
                match timeout_at(
                    deadline,
                    connector.connect(stream, name, *skip_verify, Speaks::Http2),
                )
                .await
                {
                    Ok(Ok(stream)) => timeout_at(deadline, ping(stream)).await,
                    Ok(Err(e)) => return undialled(&handshake_text(&e)),
                    Err(_) => return undialled(DEADLINE),
                }
            }
        };
        match pinged {
            Ok(Ok(())) => Outcome::new(Status::Passing, "HTTP2 ping was successful"),
            Ok(Err(e)) => Outcome::critical(format!("HTTP2 ping failed: {}", io_text(&e))),
            Err(_) => Outcome::critical(format!("HTTP2 ping failed: {DEADLINE}")),
        }
    }
}

/// Sends a ping and waits for its acknowledgement.
async fn ping(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    // What is in it does not matter: there is only this one.
    let payload = *b"lictor\0\0";
    let mut hello = PREFACE.to_vec();
    hello.extend_from_slice(&[0, 0, 8, PING, 0, 0, 0, 0, 0]);
    hello.extend_from_slice(&payload);
    stream.write_all(&hello).await?;
    stream.flush().await?;
    for _ in 0..MAX_FRAMES {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        let len = u64::from(u32::from_be_bytes([0, head[0], head[1], head[2]]));
        let (kind, flags) = (head[3], head[4]);
        if len > MAX_FRAME {
            return Err(io::Error::other("http2: frame too large"));
        }
        if kind == PING && flags & ACK != 0 && len == 8 {
            let mut back = [0; 8];
            stream.read_exact(&mut back).await?;
            if back == payload {
                // Out of courtesy: the answer is known.
                let _ = stream.write_all(&GOODBYE).await;
                let _ = stream.shutdown().await;
                return Ok(());
            }
            continue;
        }
        let skipped = tokio::io::copy(&mut (&mut stream).take(len), &mut tokio::io::sink()).await?;
        if skipped < len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match kind {
            SETTINGS if flags & ACK == 0 => {
                stream.write_all(&SETTINGS_ACK).await?;
                stream.flush().await?;
            }
            GOAWAY => {
                return Err(io::Error::other(
                    "http2: server sent GOAWAY and closed the connection",
                ));
            }
            _ => {}
        }
    }
    Err(io::Error::other(
        "http2: no acknowledgement among too many frames",
    ))
}
