//! Bytes on a connection, for what no client would send.

use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long an answer to raw bytes may take.
const LIMIT: Duration = Duration::from_secs(10);

/// A connection.
pub struct Raw(TcpStream);

impl Raw {
    /// Connects.
    pub async fn connect(address: SocketAddr) -> Raw {
        let connected = timeout(LIMIT, TcpStream::connect(address)).await;
        Raw(connected
            .expect("a connection in time")
            .expect("a connection"))
    }

    /// Sends bytes. That the other side has hung up is no error here: its answer tells.
    pub async fn send(&mut self, bytes: &[u8]) {
        let _ = timeout(LIMIT, self.0.write_all(bytes))
            .await
            .expect("room for the bytes in time");
    }

    /// Says that nothing more will be sent.
    pub async fn end(&mut self) {
        let _ = self.0.shutdown().await;
    }

    /// What comes until the other side ends the connection; panics if it does not in time.
    pub async fn rest(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        let end = timeout(LIMIT, self.0.read_to_end(&mut all)).await;
        assert!(
            end.is_ok(),
            "the connection stays open after {:?}",
            String::from_utf8_lossy(&all)
        );
        all
    }

    /// What comes until it has `end` in it.
    pub async fn until(&mut self, end: &[u8]) -> Vec<u8> {
        let mut all = Vec::new();
        let mut buffer = [0; 4096];
        while !all.windows(end.len()).any(|w| w == end) {
            let got = timeout(LIMIT, self.0.read(&mut buffer))
                .await
                .expect("an answer in time");
            match got {
                Ok(n) if n > 0 => all.extend_from_slice(&buffer[..n]),
                _ => panic!("ended after {:?}", String::from_utf8_lossy(&all)),
            }
        }
        all
    }

    /// The next line of a status, and nothing of what follows.
    pub async fn status_line(&mut self) -> String {
        let head = self.until(b"\r\n").await;
        let text = String::from_utf8_lossy(&head).into_owned();
        text.lines().next().unwrap_or_default().to_owned()
    }
}

/// Sends bytes and gives what comes until the other side ends the connection.
pub async fn exchange(address: SocketAddr, bytes: &[u8]) -> String {
    let mut raw = Raw::connect(address).await;
    raw.send(bytes).await;
    String::from_utf8_lossy(&raw.rest().await).into_owned()
}
