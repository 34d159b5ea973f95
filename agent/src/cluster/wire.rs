//! What servers say to each other: frames, the greeting, questions and answers.
//!
//! A connection begins with the byte [`FIRST_BYTE`]. The caller sends a [`Hello`], the called
//! server a [`Welcome`]; then the lane decides:
//!
//! * replication and heartbeat: one frame asks, one frame answers, in turn;
//! * snapshot: a frame with the head, frames with the body, an empty frame; one frame answers;
//! * questions: frames begin with a number of the caller's choice, answers come in any order.
//!
//! Every frame is its length (four bytes, little-endian) and as many bytes. An answer begins with
//! a byte that is zero for an answer, one for an error's text.

use lictor_raft::ServerInfo;
use lictor_state::{CoordinateUpdate, Outcome};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The first byte of a connection between Lictor's servers. Consul uses 1 to 10.
pub const FIRST_BYTE: u8 = 15;
/// The version of all that is written here.
pub const FORMAT: u16 = 1;
/// No frame is longer. A value of the key/value store and a batch of entries fit many times.
pub const FRAME_MAX: usize = 256 << 20;
/// A greeting is a few short texts.
pub const HELLO_MAX: usize = 16 << 10;
/// Memory is taken in steps of this size, as bytes come, not as a length promises.
const STEP: usize = 256 << 10;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Lane {
    /// Entries, votes, the transfer of leadership.
    Replication,
    /// Signs of life.
    Heartbeat,
    /// Snapshots.
    Snapshot,
    /// [`Ask`] and [`Answer`].
    Questions,
}

impl Lane {
    /// Whether consensus speaks here.
    pub fn is_raft(self) -> bool {
        self != Lane::Questions
    }
}

/// Who calls, and what for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`FORMAT`] of the caller.
    pub format: u16,
    /// What for.
    pub lane: Lane,
    /// The caller's datacenter.
    pub datacenter: String,
    /// The caller's UUID.
    pub id: String,
    /// Whom it means to call.
    pub target: String,
    /// The caller's cluster; empty while it has none.
    pub cluster: String,
}

/// The answer to a [`Hello`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Welcome {
    /// Go on.
    Yes,
    /// Not like this.
    No(String),
}

/// Bytes, written as such.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Blob(pub Vec<u8>);

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Blob, D::Error> {
        struct V;
        impl serde::de::Visitor<'_> for V {
            type Value = Blob;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E>(self, v: &[u8]) -> Result<Blob, E> {
                Ok(Blob(v.to_vec()))
            }
        }
        d.deserialize_bytes(V)
    }
}

/// A question to another server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Ask {
    /// Write: an encoded entry, whose time the leader stamps anew.
    Write(Blob),
    /// The index that a view must have reached for a read that begins now.
    ReadIndex {
        /// By asking a quorum, whatever the leader's lease says.
        consistent: bool,
    },
    /// How the server stands.
    Stats,
    /// Whether it belongs to a cluster.
    Founded,
    /// To belong to the first servers of a new cluster.
    Bind(Founding),
    /// A founding came to nothing.
    Release {
        /// Which.
        cluster: String,
    },
    /// A session was renewed.
    Renew {
        /// Which.
        session: String,
    },
    /// A node's coordinate.
    Coordinate(CoordinateUpdate),
    /// The servers of the cluster, as the leader shows them.
    Peers,
    /// Remove a server: by id or by address.
    RemovePeer {
        /// Its UUID, or empty.
        id: String,
        /// Its address, or empty.
        address: String,
    },
    /// Hand over the lead: to this server, or to any that can take it if empty.
    Transfer {
        /// Its UUID, or empty.
        id: String,
    },
    /// What autopilot makes of the servers.
    Autopilot,
    /// The caller is about to leave: take its vote.
    Leaving {
        /// Its UUID.
        id: String,
    },
    /// The caller has left: remove it.
    Left {
        /// Its UUID.
        id: String,
    },
}

/// The first servers of a new cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Founding {
    /// The name of the cluster to be: a UUID made for this attempt.
    pub cluster: String,
    /// The server that makes it.
    pub founder: String,
    /// Its voters.
    pub members: Vec<ServerInfo>,
}

/// How a server stands, for autopilot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Milliseconds since it heard the leader; `None`: never.
    pub last_contact_ms: Option<u64>,
    /// The term of its last entry.
    pub last_term: u64,
    /// Its last entry.
    pub last_index: u64,
}

/// The answer to an [`Ask`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Answer {
    /// Written.
    Written {
        /// The index of the entry.
        index: u64,
        /// What became of it.
        outcome: Outcome,
    },
    /// An index.
    Index(u64),
    /// How it stands.
    Stats(Stats),
    /// Its cluster, and the founding it is bound to; empty: none.
    Founded {
        /// The addresses of the servers of its cluster.
        peers: Vec<String>,
        /// The name of its cluster.
        cluster: String,
        /// The founding that it takes part in.
        bound: String,
    },
    /// Done.
    Done,
    /// A document for the HTTP API.
    Json(String),
    /// Not done.
    Failed(Failure),
}

/// Why a question was not answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Failure {
    /// Nobody leads, or not the one who was asked. Nothing was changed.
    NoLeader,
    /// What was to be changed may or may not have been.
    Unknown,
    /// The server is about to end. Nothing was changed.
    Stopped,
    /// It cannot be done. The text is for people.
    Refused(String),
    /// There is no such thing.
    Missing(String),
    /// The server does not know this question.
    Unsupported,
}

/// Writes a value into a frame of its own.
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    // Our own types, written to memory: there is nothing that could fail.
    if let Err(error) = rmp_serde::encode::write_named(&mut out, value) {
        unreachable!("a message that does not encode: {error}");
    }
    out
}

/// Reads a value.
///
/// # Errors
/// When the bytes are something else.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> io::Result<T> {
    rmp_serde::from_slice(bytes).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))
}

/// Sends one frame made of these parts, and flushes it.
///
/// # Errors
/// What the connection says, and when the parts are longer than a frame may be.
pub async fn send<W: AsyncWrite + Unpin>(out: &mut W, parts: &[&[u8]]) -> io::Result<()> {
    let length: usize = parts.iter().map(|p| p.len()).sum();
    if length > FRAME_MAX {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("a message of {length} bytes is longer than servers send"),
        ));
    }
    // One small write for the length and what is short, so that it is one packet.
    let mut head = (length as u32).to_le_bytes().to_vec();
    let mut rest = parts.iter();
    for part in rest.by_ref() {
        if part.len() > 16 << 10 {
            out.write_all(&head).await?;
            head.clear();
            out.write_all(part).await?;
        } else {
            head.extend_from_slice(part);
        }
    }
    out.write_all(&head).await?;
    out.flush().await
}

/// Receives one frame, no longer than `max`.
///
/// # Errors
/// What the connection says, and when a longer frame is announced.
pub async fn receive<R: AsyncRead + Unpin>(input: &mut R, max: usize) -> io::Result<Vec<u8>> {
    let length = input.read_u32_le().await? as usize;
    if length > max {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("a message of {length} bytes was announced"),
        ));
    }
    let mut out = Vec::with_capacity(length.min(STEP));
    while out.len() < length {
        let have = out.len();
        out.resize((have + STEP).min(length), 0);
        input.read_exact(&mut out[have..]).await?;
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_pass_and_lies_about_length_do_not() {
        let (mut a, mut b) = tokio::io::duplex(1 << 20);
        let long = vec![7; 700_000];
        send(&mut a, &[b"ab", &long, b"c"]).await.unwrap();
        let got = receive(&mut b, FRAME_MAX).await.unwrap();
        assert_eq!(got.len(), long.len() + 3);
        assert_eq!((got[0], got[2], got[got.len() - 1]), (b'a', 7, b'c'));
        send(&mut a, &[b"too long"]).await.unwrap();
        assert!(receive(&mut b, 4).await.is_err());

        let (mut a, mut b) = tokio::io::duplex(64);
        a.write_all(&(FRAME_MAX as u32).to_le_bytes())
            .await
            .unwrap();
        drop(a);
        let error = receive(&mut b, FRAME_MAX).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn questions_survive_their_encoding() {
        for ask in [
            Ask::Write(Blob(vec![0, 255, 3])),
            Ask::ReadIndex { consistent: true },
            Ask::Release {
                cluster: "c".to_owned(),
            },
        ] {
            assert_eq!(decode::<Ask>(&encode(&ask)).unwrap(), ask);
        }
        assert!(encode(&Ask::Write(Blob(vec![200; 1000]))).len() < 1020);
        assert!(decode::<Ask>(b"\xc1").is_err());
        assert!(decode::<Ask>(&encode(&"Nonsense")).is_err());
    }
}
