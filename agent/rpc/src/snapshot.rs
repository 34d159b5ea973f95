//! Snapshots between agents: one connection for one archive, after the first byte 5.
//!
//! The client says what it wants, sends the archive for a restore, and closes its sending side. The
//! server answers, and sends the archive for a save. What an archive is made of is nothing to this
//! module: bytes to the end of the stream.
//!
//! ```text
//! client  map {AllowStale, Datacenter, Op, Token}   archive, for a restore   end
//! server  map {Error, and what reads tell}          archive, for a save      end
//! ```

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use lictor_gossip::msgpack::{ReadError, Reader, Writer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout};

use crate::dial::Stream;
use crate::first_byte;
use crate::frame::{Scanner, fields, lossy};
use crate::pool::Pool;

/// A snapshot that makes no progress for this long is given up.
pub const SNAPSHOT_STALL: Duration = Duration::from_secs(30);

/// How long a server may take to restore.
const RESTORE_TIMEOUT: Duration = Duration::from_secs(600);

/// Bytes of what stands before an archive.
const MAX_HEAD: usize = 64 * 1024;

/// What is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SnapshotOp {
    /// The server sends its state.
    #[default]
    Save,
    /// The server takes this state.
    Restore,
}

/// What a client asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotRequest {
    /// The datacenter whose state it is.
    pub datacenter: String,
    /// Who asks.
    pub token: String,
    /// Any server may save, not the leader alone.
    pub allow_stale: bool,
    /// Save or restore.
    pub op: SnapshotOp,
}

/// What a server answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotReply {
    /// Empty, or why it was not done.
    pub error: String,
    /// The index that the archive covers.
    pub index: u64,
    /// How old the server's state may be.
    pub last_contact: Duration,
    /// Whether there is a leader.
    pub known_leader: bool,
}

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// No connection.
    #[error("{0}")]
    Dial(String),
    /// The connection broke, or made no progress.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// What stands before the archive cannot be read.
    #[error("malformed snapshot header: {0}")]
    Malformed(String),
    /// The server's words.
    #[error("{0}")]
    Remote(String),
}

impl From<ReadError> for SnapshotError {
    fn from(error: ReadError) -> Self {
        Self::Malformed(error.to_string())
    }
}

impl SnapshotRequest {
    fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.map(4);
        out.raw(b"AllowStale");
        out.bool(self.allow_stale);
        out.raw(b"Datacenter");
        out.raw(self.datacenter.as_bytes());
        out.raw(b"Op");
        out.uint(match self.op {
            SnapshotOp::Save => 0,
            SnapshotOp::Restore => 1,
        });
        out.raw(b"Token");
        out.raw(self.token.as_bytes());
        out.bytes
    }

    fn decode(bytes: &[u8]) -> Result<Self, SnapshotError> {
        let (mut request, mut op) = (Self::default(), 0_i64);
        let order = ["Datacenter", "Token", "AllowStale", "Op"];
        fields(bytes, &order, |name, from| {
            match name {
                "Datacenter" => request.datacenter = lossy(from)?,
                "Token" => request.token = lossy(from)?,
                "AllowStale" => request.allow_stale = from.bool()?,
                "Op" => op = from.int()?,
                _ => from.skip()?,
            }
            Ok(())
        })?;
        request.op = match op {
            0 => SnapshotOp::Save,
            1 => SnapshotOp::Restore,
            _ => {
                let text = format!("unrecognized snapshot op {op}");
                return Err(SnapshotError::Malformed(text));
            }
        };
        Ok(request)
    }
}

impl SnapshotReply {
    fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.map(5);
        out.raw(b"ConsistencyLevel");
        out.raw(b"");
        out.raw(b"Error");
        out.raw(self.error.as_bytes());
        out.raw(b"Index");
        out.uint(self.index);
        out.raw(b"KnownLeader");
        out.bool(self.known_leader);
        out.raw(b"LastContact");
        out.uint(u64::try_from(self.last_contact.as_nanos()).unwrap_or(u64::MAX));
        out.bytes
    }

    fn decode(bytes: &[u8]) -> Result<Self, SnapshotError> {
        let mut reply = Self::default();
        fields(bytes, &["Error"], |name, from: &mut Reader<'_>| {
            match name {
                "Error" => reply.error = lossy(from)?,
                "Index" => reply.index = from.int()?,
                "KnownLeader" => reply.known_leader = from.bool()?,
                "LastContact" => {
                    let nanos: i64 = from.int()?;
                    reply.last_contact = Duration::from_nanos(u64::try_from(nanos).unwrap_or(0));
                }
                _ => from.skip()?,
            }
            Ok(())
        })?;
        Ok(reply)
    }
}

/// Waits no longer than a snapshot may be without progress.
async fn within<T>(step: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(SNAPSHOT_STALL, step).await?
}

/// Reads one msgpack value and not a byte of what follows.
async fn read_head(
    io: &mut (impl AsyncRead + Unpin),
    patience: Duration,
) -> Result<Vec<u8>, SnapshotError> {
    timeout(patience, read_value(io))
        .await
        .map_err(io::Error::from)?
}

async fn read_value(io: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>, SnapshotError> {
    let (mut head, mut scanner) = (Vec::new(), Scanner::from(0));
    loop {
        match scanner.scan(&head, MAX_HEAD) {
            Err(error) => return Err(SnapshotError::Malformed(error.to_string())),
            Ok(Some(_)) => return Ok(head),
            Ok(None) => {
                let at = head.len();
                // At most MAX_HEAD: the scanner has seen to it.
                head.resize(at + scanner.missing(), 0);
                io.read_exact(&mut head[at..]).await?;
            }
        }
    }
}

/// Copies an archive to its end: the number of bytes. Neither side may pause for longer than
/// [`SNAPSHOT_STALL`].
///
/// # Errors
/// Of reading or writing; `InvalidData` when the archive is larger than `max`.
pub async fn copy_archive(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    max: u64,
) -> io::Result<u64> {
    let (mut buffer, mut copied) = (vec![0; 64 * 1024], 0);
    loop {
        let n = within(from.read(&mut buffer)).await?;
        if n == 0 {
            within(to.flush()).await?;
            return Ok(copied);
        }
        copied += n as u64;
        if copied > max {
            let text = format!("the archive is larger than {max} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        let mut rest = &buffer[..n];
        while !rest.is_empty() {
            match within(to.write(rest)).await? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                n => rest = &rest[n..],
            }
        }
    }
}

// ---- the server's side ----

/// Reads what the client wants, after the first byte. For a restore the archive follows on `io`, to
/// its end. Answer with [`send_saved`] or [`send_reply`], errors too.
///
/// # Errors
/// The connection broke, or its bytes mean nothing.
pub async fn accept_snapshot(
    io: &mut (impl AsyncRead + Unpin),
) -> Result<SnapshotRequest, SnapshotError> {
    SnapshotRequest::decode(&read_head(io, SNAPSHOT_STALL).await?)
}

/// Answers a save with the archive: the number of its bytes.
///
/// # Errors
/// Of the connection or of the archive's reader. The client is not told: it sees the end too early,
/// and knows by the archive's own check sums.
pub async fn send_saved(
    mut io: impl AsyncRead + AsyncWrite + Unpin,
    reply: &SnapshotReply,
    archive: impl AsyncRead + Unpin,
) -> io::Result<u64> {
    within(io.write_all(&reply.encode())).await?;
    let copied = copy_archive(archive, &mut io, u64::MAX).await?;
    within(io.shutdown()).await?;
    Ok(copied)
}

/// Answers a restore, or anything with an error. What the client has still to say is passed over,
/// because it reads the answer only then.
///
/// # Errors
/// Of the connection.
pub async fn send_reply(
    mut io: impl AsyncRead + AsyncWrite + Unpin,
    reply: &SnapshotReply,
) -> io::Result<()> {
    within(io.write_all(&reply.encode())).await?;
    within(io.shutdown()).await?;
    copy_archive(&mut io, tokio::io::sink(), u64::MAX).await?;
    Ok(())
}

// ---- the client's side ----

/// Asks for the state, on a connection whose first byte was sent. The archive follows on `io`, to
/// its end.
///
/// # Errors
/// The connection broke, or the server refuses.
pub async fn request_save(
    io: &mut (impl AsyncRead + AsyncWrite + Unpin),
    request: &SnapshotRequest,
) -> Result<SnapshotReply, SnapshotError> {
    within(io.write_all(&request.encode())).await?;
    within(io.shutdown()).await?;
    read_reply(io).await
}

/// Sends a state to be restored, on a connection whose first byte was sent. Returns when the server
/// has restored it.
///
/// # Errors
/// The connection broke, the archive cannot be read, or the server refuses.
pub async fn request_restore(
    io: &mut (impl AsyncRead + AsyncWrite + Unpin),
    request: &SnapshotRequest,
    archive: impl AsyncRead + Unpin,
) -> Result<SnapshotReply, SnapshotError> {
    within(io.write_all(&request.encode())).await?;
    copy_archive(archive, &mut *io, u64::MAX).await?;
    within(io.shutdown()).await?;
    read_reply(io).await
}

async fn read_reply(io: &mut (impl AsyncRead + Unpin)) -> Result<SnapshotReply, SnapshotError> {
    let reply = SnapshotReply::decode(&read_head(io, RESTORE_TIMEOUT).await?)?;
    if reply.error.is_empty() {
        Ok(reply)
    } else {
        Err(SnapshotError::Remote(reply.error))
    }
}

impl Pool {
    /// Asks the server at this address for its state; the archive is what can be read, to the end.
    ///
    /// # Errors
    /// [`SnapshotError`].
    pub async fn save_snapshot(
        &self,
        addr: SocketAddr,
        request: &SnapshotRequest,
    ) -> Result<(SnapshotReply, Stream), SnapshotError> {
        let mut io = self.dial_snapshot(addr).await?;
        let reply = request_save(&mut io, request).await?;
        Ok((reply, io))
    }

    /// Gives the server at this address a state.
    ///
    /// # Errors
    /// [`SnapshotError`].
    pub async fn restore_snapshot(
        &self,
        addr: SocketAddr,
        request: &SnapshotRequest,
        archive: impl AsyncRead + Unpin,
    ) -> Result<SnapshotReply, SnapshotError> {
        let mut io = self.dial_snapshot(addr).await?;
        request_restore(&mut io, request, archive).await
    }

    async fn dial_snapshot(&self, addr: SocketAddr) -> Result<Stream, SnapshotError> {
        let deadline = Instant::now() + crate::dial::DIAL_TIMEOUT;
        let stream = self.dial().connect(addr, deadline).await;
        let mut io = stream.map_err(SnapshotError::Dial)?;
        within(io.write_all(&[first_byte::SNAPSHOT])).await?;
        Ok(io)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ClientLimits, Dial};
    use tokio::net::TcpListener;

    fn archive() -> Vec<u8> {
        (0..3_000_000_u32).map(|i| (i % 253) as u8).collect()
    }

    fn request(op: SnapshotOp) -> SnapshotRequest {
        SnapshotRequest {
            datacenter: "dc1".into(),
            token: "secret".into(),
            allow_stale: true,
            op,
        }
    }

    /// A server for one connection: saves, restores what `archive` says, and refuses with `error`.
    async fn server(error: &'static str) -> (SocketAddr, tokio::task::JoinHandle<Vec<u8>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("bound");
        let task = tokio::spawn(async move {
            let (mut io, _) = listener.accept().await.expect("a client");
            assert_eq!(io.read_u8().await.expect("a byte"), first_byte::SNAPSHOT);
            let asked = accept_snapshot(&mut io).await.expect("well-formed");
            assert_eq!(asked, request(asked.op));
            let reply = SnapshotReply {
                error: error.into(),
                index: 1 << 40,
                last_contact: Duration::from_millis(15),
                known_leader: true,
            };
            let mut restored = Vec::new();
            match asked.op {
                _ if !error.is_empty() => send_reply(io, &reply).await.expect("taken"),
                SnapshotOp::Save => {
                    let sent = send_saved(io, &reply, &archive()[..]).await;
                    assert_eq!(sent.expect("taken"), 3_000_000);
                }
                SnapshotOp::Restore => {
                    copy_archive(&mut io, &mut restored, 4_000_000)
                        .await
                        .expect("all of it");
                    send_reply(io, &reply).await.expect("taken");
                }
            }
            restored
        });
        (addr, task)
    }

    fn pool() -> Pool {
        Pool::new(Dial::default(), ClientLimits::default())
    }

    #[tokio::test]
    async fn save() {
        let (addr, server) = server("").await;
        let saved = pool().save_snapshot(addr, &request(SnapshotOp::Save)).await;
        let (reply, io) = saved.expect("saved");
        assert_eq!((reply.index, reply.known_leader), (1 << 40, true));
        assert_eq!(reply.last_contact, Duration::from_millis(15));
        let mut got = Vec::new();
        copy_archive(io, &mut got, u64::MAX).await.expect("all");
        assert!(got == archive());
        server.await.expect("right");
    }

    #[tokio::test]
    async fn restore() {
        let (addr, server) = server("").await;
        let restored = pool()
            .restore_snapshot(addr, &request(SnapshotOp::Restore), &archive()[..])
            .await;
        assert_eq!(restored.expect("restored").index, 1 << 40);
        assert!(server.await.expect("right") == archive());
    }

    #[tokio::test]
    async fn refusals_are_heard() {
        for op in [SnapshotOp::Save, SnapshotOp::Restore] {
            let (addr, server) = server("Permission denied").await;
            // More than the sockets hold, so that it has to be read to the end.
            let archive = vec![0; 20 << 20];
            let (pool, request) = (pool(), request(op));
            let error = match op {
                SnapshotOp::Save => pool.save_snapshot(addr, &request).await.err(),
                SnapshotOp::Restore => {
                    let restored = pool.restore_snapshot(addr, &request, &archive[..]);
                    restored.await.err()
                }
            };
            assert_eq!(error.expect("refused").to_string(), "Permission denied");
            server.await.expect("right");
        }
    }

    #[tokio::test]
    async fn archives_may_be_too_large() {
        let mut kept = Vec::new();
        let copied = copy_archive(&archive()[..], &mut kept, 100_000).await;
        let error = copied.expect_err("too large");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert!(kept.len() <= 100_000);
    }

    #[tokio::test]
    async fn heads_that_lie_take_nothing() {
        for (bytes, end) in [
            (&b"\xdb\xff\xff\xff\xff"[..], "larger than 65536 bytes"),
            (b"\xc1", "malformed message"),
            (b"\x81\xa2Op\x07", "unrecognized snapshot op 7"),
            (b"\xa1X", "unexpected type byte 0xa1"),
        ] {
            let error = accept_snapshot(&mut &*bytes).await.expect_err("nonsense");
            assert!(error.to_string().ends_with(end), "{error}");
        }
        // Nothing of what follows is read.
        let mut bytes = &b"\x81\xa2Op\x01archive"[..];
        let asked = accept_snapshot(&mut bytes).await.expect("a restore");
        assert_eq!((asked.op, bytes), (SnapshotOp::Restore, &b"archive"[..]));
    }

    #[test]
    fn as_consul_writes_it() {
        let bytes = b"\x84\xaaAllowStale\xc2\xaaDatacenter\xa3dc1\xa2Op\x01\xa5Token\xa0";
        let want = SnapshotRequest {
            datacenter: "dc1".into(),
            op: SnapshotOp::Restore,
            ..SnapshotRequest::default()
        };
        assert_eq!(SnapshotRequest::decode(bytes).expect("well-formed"), want);
        assert_eq!(want.encode(), bytes);
    }
}
