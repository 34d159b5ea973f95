//! How servers speak to each other: openraft's network over a [`Transport`] that moves bytes.

use crate::error::ServeError;
use crate::format::{SnapshotHead, WIRE, read_snapshot_head, write_snapshot_head};
use crate::machine::{MachineSnapshot, SnapshotData, head_of, meta_of};
use crate::snapshot::SnapshotStore;
use crate::types::{ServerInfo, SnapshotMeta, TypeConfig, Vote};
use futures_util::future::BoxFuture;
use openraft::OptionalSend;
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::RPCOption;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{AnyError, RaftNetworkFactory, RaftNetworkV2};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::future::Future;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What a request is for. Heartbeats must not wait behind entries, nor entries behind a snapshot:
/// a transport gives each its own connection or stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lane {
    /// Entries, votes, and the transfer of leadership.
    Replication,
    /// Signs of life.
    Heartbeat,
    /// Snapshots.
    Snapshot,
}

/// Why a request did not get its answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TransportError(pub String);

/// Carries requests to other servers, where [`Consensus::serve`](crate::Consensus::serve) and
/// [`Consensus::serve_snapshot`](crate::Consensus::serve_snapshot) answer them.
pub trait Transport: Send + Sync + 'static {
    /// Sends a request and waits for the answer, no longer than `limit`. Dropping the future gives up.
    fn call<'a>(
        &'a self,
        target: &'a ServerInfo,
        lane: Lane,
        request: Vec<u8>,
        limit: Duration,
    ) -> BoxFuture<'a, Result<Vec<u8>, TransportError>>;

    /// Sends a snapshot and waits for the answer. `limit` is for the answer after the last byte
    /// and for any time in which nothing moves. Dropping the future gives up.
    fn send_snapshot<'a>(
        &'a self,
        target: &'a ServerInfo,
        head: Vec<u8>,
        body: SnapshotBody,
        limit: Duration,
    ) -> BoxFuture<'a, Result<Vec<u8>, TransportError>>;
}

/// The transport of a server that has no others.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoPeers;

impl Transport for NoPeers {
    fn call<'a>(
        &'a self,
        target: &'a ServerInfo,
        _: Lane,
        _: Vec<u8>,
        _: Duration,
    ) -> BoxFuture<'a, Result<Vec<u8>, TransportError>> {
        Box::pin(async move { Err(TransportError(format!("no way to {target}"))) })
    }

    fn send_snapshot<'a>(
        &'a self,
        target: &'a ServerInfo,
        _: Vec<u8>,
        _: SnapshotBody,
        _: Duration,
    ) -> BoxFuture<'a, Result<Vec<u8>, TransportError>> {
        Box::pin(async move { Err(TransportError(format!("no way to {target}"))) })
    }
}

/// The bytes of a snapshot to send.
pub struct SnapshotBody(Body);

enum Body {
    File(Arc<SnapshotStore>, std::path::PathBuf),
    State(Box<(SnapshotHead, lictor_state::View)>),
}

impl SnapshotBody {
    /// Writes all of it. This blocks: call it on a thread that may.
    pub fn write_to(self, out: &mut dyn Write) -> io::Result<()> {
        match self.0 {
            Body::File(store, path) => {
                io::copy(&mut store.reader(&path)?, &mut { out }).map(|_| ())
            }
            Body::State(state) => crate::snapshot::write(&state.0, &state.1, out),
        }
    }
}

/// What a request asks for.
#[derive(Serialize, Deserialize)]
pub(crate) enum Request {
    Append(AppendEntriesRequest<TypeConfig>),
    Vote(VoteRequest<TypeConfig>),
    PreVote(VoteRequest<TypeConfig>),
    Transfer(TransferLeaderRequest<TypeConfig>),
}

/// The answer to a request of the same name.
#[derive(Serialize, Deserialize)]
pub(crate) enum Response {
    Append(AppendEntriesResponse<TypeConfig>),
    Vote(VoteResponse<TypeConfig>),
    Transfer(TransferLeaderResponse<TypeConfig>),
    Snapshot(SnapshotResponse<TypeConfig>),
}

/// A message with the version of the format before it.
pub(crate) fn encode<T: Serialize>(message: &T) -> Vec<u8> {
    let mut out = vec![WIRE];
    // Types that only hold numbers, text and bytes, written to memory: nothing can fail.
    if let Err(error) = rmp_serde::encode::write(&mut out, message) {
        unreachable!("a message that does not encode: {error}");
    }
    out
}

/// Reads a message.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ServeError> {
    match bytes.split_first() {
        Some((&WIRE, body)) => {
            rmp_serde::from_slice(body).map_err(|e| ServeError::Malformed(e.to_string()))
        }
        Some((&found, _)) => Err(ServeError::Format { found, known: WIRE }),
        None => Err(ServeError::Malformed("it is empty".to_owned())),
    }
}

/// The head of a snapshot on its way: the leader's vote and what the snapshot covers.
pub(crate) fn encode_snapshot_head(vote: &Vote, head: &SnapshotHead) -> Vec<u8> {
    let mut out = encode(vote);
    let mut framed = (out.len() as u32).to_le_bytes().to_vec();
    framed.append(&mut out);
    framed.append(&mut write_snapshot_head(head));
    framed
}

/// Reads the head of a snapshot on its way.
pub(crate) fn decode_snapshot_head(bytes: &[u8]) -> Result<(Vote, SnapshotMeta), ServeError> {
    let malformed = |why: &str| ServeError::Malformed(why.to_owned());
    let (length, rest) = bytes
        .split_first_chunk::<4>()
        .ok_or_else(|| malformed("it ends too early"))?;
    let (vote, mut rest) = rest
        .split_at_checked(u32::from_le_bytes(*length) as usize)
        .ok_or_else(|| malformed("it ends too early"))?;
    let head = read_snapshot_head(&mut rest).map_err(|e| malformed(&e.to_string()))?;
    Ok((
        decode(vote)?,
        meta_of(&head.map_err(|e| malformed(&e.to_string()))?),
    ))
}

/// Makes the connections to other servers.
pub(crate) struct Network {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) store: Option<Arc<SnapshotStore>>,
    pub(crate) acknowledged: Arc<Acknowledged>,
}

impl Network {
    fn peer(&self, id: u64, node: &ServerInfo, lane: Lane) -> PeerLink {
        PeerLink {
            transport: self.transport.clone(),
            store: self.store.clone(),
            acknowledged: self.acknowledged.clone(),
            id,
            target: node.clone(),
            lane,
        }
    }
}

/// What others have said that they have, while this server led. A server that has less than that
/// has lost a part of its log, and with it what its votes meant.
#[derive(Debug, Default)]
pub(crate) struct Acknowledged(Mutex<HashMap<u64, Told>>);

#[derive(Debug, Default)]
struct Told {
    term: u64,
    index: u64,
    lost: bool,
}

impl Acknowledged {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Told>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, id: u64, term: u64, index: u64) {
        let mut all = self.lock();
        let told = all.entry(id).or_default();
        if told.term != term {
            *told = Told {
                term,
                ..Told::default()
            };
        }
        told.index = told.index.max(index);
    }

    /// Whether one that does not have this entry has had it.
    fn denies(&self, id: u64, term: u64, index: u64) -> bool {
        let mut all = self.lock();
        match all.get_mut(&id) {
            Some(told) if told.term == term && index <= told.index => {
                told.lost = true;
                true
            }
            _ => false,
        }
    }

    /// The servers that have lost a part of their logs.
    pub(crate) fn lost(&self) -> Vec<u64> {
        let all = self.lock();
        all.iter()
            .filter(|(_, t)| t.lost)
            .map(|(id, _)| *id)
            .collect()
    }

    /// A server begins anew.
    pub(crate) fn forget(&self, id: u64) {
        self.lock().remove(&id);
    }
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = PeerLink;

    async fn new_client(&mut self, id: u64, node: &ServerInfo) -> PeerLink {
        self.peer(id, node, Lane::Replication)
    }

    async fn new_heartbeat_client(&mut self, id: u64, node: &ServerInfo) -> PeerLink {
        self.peer(id, node, Lane::Heartbeat)
    }

    async fn new_snapshot_client(&mut self, id: u64, node: &ServerInfo) -> PeerLink {
        self.peer(id, node, Lane::Snapshot)
    }
}

/// An append without an answer for so long is sent again, on another connection.
const APPEND_LIMIT: Duration = Duration::from_secs(1);
/// And as much longer for each so many bytes.
const APPEND_PIECE_LIMIT: Duration = Duration::from_secs(1);
const APPEND_PIECE: usize = 512 << 10;

/// The way to one server.
pub(crate) struct PeerLink {
    transport: Arc<dyn Transport>,
    store: Option<Arc<SnapshotStore>>,
    acknowledged: Arc<Acknowledged>,
    id: u64,
    target: ServerInfo,
    lane: Lane,
}

fn unreachable(why: impl std::fmt::Display) -> Unreachable<TypeConfig> {
    Unreachable::new(&AnyError::error(why))
}

impl PeerLink {
    async fn call(
        &self,
        request: &Request,
        option: &RPCOption,
    ) -> Result<Response, RPCError<TypeConfig>> {
        let bytes = encode(request);
        let limit = match (request, self.lane) {
            // The answer comes when a disk has it, and a narrow line takes its time for a batch.
            (Request::Append(_), Lane::Replication) => {
                let pieces = u32::try_from(bytes.len() / APPEND_PIECE).unwrap_or(u32::MAX);
                APPEND_LIMIT.max(option.soft_ttl()) + APPEND_PIECE_LIMIT.saturating_mul(pieces)
            }
            _ => option.soft_ttl(),
        };
        let answer = self
            .transport
            .call(&self.target, self.lane, bytes, limit)
            .await;
        let answer = answer.map_err(|e| RPCError::Unreachable(unreachable(e)))?;
        decode(&answer).map_err(|e| RPCError::Unreachable(unreachable(e)))
    }
}

fn mismatch() -> RPCError<TypeConfig> {
    RPCError::Unreachable(unreachable("the answer is to another question"))
}

impl RaftNetworkV2<TypeConfig> for PeerLink {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        let term = rpc.vote.leader_id.term;
        let before = rpc.prev_log_id.map_or(0, |id| id.index);
        let last = rpc.entries.last().map_or(before, |e| e.log_id.index);
        let Response::Append(answer) = self.call(&Request::Append(rpc), &option).await? else {
            return Err(mismatch());
        };
        match &answer {
            AppendEntriesResponse::Success => self.acknowledged.note(self.id, term, last),
            AppendEntriesResponse::PartialSuccess(upto) => {
                let upto = upto.map_or(0, |id| id.index);
                self.acknowledged.note(self.id, term, upto);
            }
            AppendEntriesResponse::Conflict if self.acknowledged.denies(self.id, term, before) => {
                // openraft counts on it that this does not happen.
                let why = format!("{} has lost a part of its log", self.target);
                return Err(RPCError::Unreachable(unreachable(why)));
            }
            AppendEntriesResponse::Conflict | AppendEntriesResponse::HigherVote(_) => {}
        }
        Ok(answer)
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        match self.call(&Request::Vote(rpc), &option).await? {
            Response::Vote(answer) => Ok(answer),
            _ => Err(mismatch()),
        }
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        match self.call(&Request::PreVote(rpc), &option).await? {
            Response::Vote(answer) => Ok(answer),
            _ => Err(mismatch()),
        }
    }

    async fn transfer_leader(
        &mut self,
        rpc: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RPCError<TypeConfig>> {
        match self.call(&Request::Transfer(rpc), &option).await? {
            Response::Transfer(answer) => Ok(answer),
            _ => Err(mismatch()),
        }
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: MachineSnapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let head = head_of(&snapshot.meta);
        let wire = encode_snapshot_head(&vote, &head);
        let body = match (snapshot.snapshot, &self.store) {
            (SnapshotData::File(path), Some(store)) => Body::File(store.clone(), path),
            (SnapshotData::View(view) | SnapshotData::Received(view, _), _) => {
                Body::State(Box::new((head, view)))
            }
            (SnapshotData::File(path), None) => {
                return Err(unreachable(format!("{}: no such snapshot", path.display())).into());
            }
        };
        let sent =
            self.transport
                .send_snapshot(&self.target, wire, SnapshotBody(body), option.soft_ttl());
        let answer = tokio::select! {
            answer = sent => answer.map_err(unreachable)?,
            closed = cancel => return Err(closed.into()),
        };
        match decode(&answer).map_err(unreachable)? {
            Response::Snapshot(answer) => Ok(answer),
            _ => Err(unreachable("the answer is to another question").into()),
        }
    }
}

#[cfg(test)]
mod tests;
