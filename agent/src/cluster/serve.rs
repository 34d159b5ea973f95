//! Answers other servers.

use super::links::{Stream, write_frames};
use super::wire::{
    self, Answer, Ask, FORMAT, FRAME_MAX, Failure, HELLO_MAX, Hello, Lane, Stats, Welcome,
};
use super::{autopilot, bootstrap, leave, operator};
use crate::agent::Shared;
use lictor_raft::{Consensus, Consistency, ProposeError, ReadError};
use lictor_state::Entry;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::BufReader;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;

/// Questions of one server that are worked on at a time; more wait in its connection.
const AT_ONCE: usize = 1024;
/// Answers that wait to be sent.
const OUTBOX: usize = 1024;
/// A snapshot that does not come forward for so long is given up.
const SNAPSHOT_STALL: Duration = Duration::from_secs(30);
/// Pieces of a snapshot that wait to be read.
const PIECES: usize = 8;

/// Serves a connection from another server, whose first byte has been read.
pub async fn server(shared: Arc<Shared>, mut stream: Stream, handshake: Duration) {
    let Some(consensus) = shared.store.consensus().cloned() else {
        return;
    };
    let greeted = timeout(handshake, greet(&shared, &consensus, &mut stream)).await;
    let hello = match greeted {
        Ok(Ok(Some(hello))) => hello,
        Ok(Ok(None)) | Err(_) => return,
        Ok(Err(error)) => {
            tracing::debug!(target: "agent.server.rpc", error = %error, "a server's greeting failed");
            return;
        }
    };
    let served = match hello.lane {
        Lane::Replication | Lane::Heartbeat => raft(&shared, &consensus, &hello, stream).await,
        Lane::Snapshot => snapshot(&shared, &consensus, &hello, stream).await,
        Lane::Questions => questions(shared.clone(), consensus, hello, stream).await,
    };
    if let Err(error) = served
        && error.kind() != io::ErrorKind::UnexpectedEof
    {
        tracing::debug!(target: "agent.server.rpc", error = %error, "a server's connection broke");
    }
}

/// Reads the greeting and answers it; `None`: refused.
async fn greet(
    shared: &Shared,
    consensus: &Consensus,
    stream: &mut Stream,
) -> io::Result<Option<Hello>> {
    let hello: Hello = wire::decode(&wire::receive(stream, HELLO_MAX).await?)?;
    let verdict = match judge(shared, consensus, &hello).await {
        Ok(()) => Welcome::Yes,
        Err(why) => {
            tracing::warn!(target: "agent.server.rpc", server = %hello.id, "a server is refused: {why}");
            Welcome::No(why)
        }
    };
    wire::send(stream, &[&wire::encode(&verdict)]).await?;
    Ok((verdict == Welcome::Yes).then_some(hello))
}

async fn judge(shared: &Shared, consensus: &Consensus, hello: &Hello) -> Result<(), String> {
    // A newer server may speak as older ones do.
    if hello.format == 0 || hello.format > FORMAT {
        return Err(format!(
            "it speaks format {} of the protocol between servers, this version speaks up to {FORMAT}",
            hello.format
        ));
    }
    if hello.datacenter != shared.datacenter.as_str() {
        return Err(format!(
            "it is of the datacenter {}, this one is of {}",
            hello.datacenter, shared.datacenter
        ));
    }
    if !hello.target.eq_ignore_ascii_case(&shared.node_id) {
        return Err(format!(
            "it looks for the server {}, this one is {}",
            hello.target, shared.node_id
        ));
    }
    if !hello.lane.is_raft() {
        return Ok(());
    }
    let _joining = shared.cluster.joining.lock().await;
    let founded = consensus.is_founded().await;
    let identity = &shared.cluster.identity;
    same_cluster(shared, founded, &hello.cluster)?;
    // One that has nothing belongs to whoever gives it a log.
    if !hello.cluster.is_empty() && identity.get().bound.is_none() {
        identity.change(|b| b.cluster.clone_from(&hello.cluster))?;
    }
    Ok(())
}

/// Whether a server of this cluster may speak about consensus here.
fn same_cluster(shared: &Shared, founded: bool, theirs: &str) -> Result<(), String> {
    let belongs = shared.cluster.identity.get();
    let own = match &belongs.bound {
        Some(bound) => bound.cluster.as_str(),
        None if founded => belongs.cluster.as_str(),
        None => "",
    };
    if own.is_empty() || own == theirs || (theirs.is_empty() && founded) {
        Ok(())
    } else {
        Err(format!(
            "it belongs to the cluster {theirs}, this server to {own}"
        ))
    }
}

fn framed(result: Result<Vec<u8>, String>) -> (u8, Vec<u8>) {
    match result {
        Ok(answer) => (0, answer),
        Err(text) => (1, text.into_bytes()),
    }
}

async fn raft(
    shared: &Shared,
    consensus: &Consensus,
    hello: &Hello,
    mut stream: Stream,
) -> io::Result<()> {
    let mut founded = false;
    loop {
        let request = wire::receive(&mut stream, FRAME_MAX).await?;
        let answer = if founded {
            consensus.serve(&request).await
        } else {
            // Until there is a log another founding may still win this server.
            let _joining = shared.cluster.joining.lock().await;
            founded = consensus.is_founded().await;
            same_cluster(shared, founded, &hello.cluster).map_err(io::Error::other)?;
            if founded || shared.cluster.identity.get().bound.is_some() {
                consensus.serve(&request).await
            } else {
                consensus.serve_without_vote(&request).await
            }
        };
        let (kind, body) = framed(answer.map_err(|e| e.to_string()));
        wire::send(&mut stream, &[&[kind], &body]).await?;
    }
}

async fn snapshot(
    shared: &Shared,
    consensus: &Consensus,
    hello: &Hello,
    mut stream: Stream,
) -> io::Result<()> {
    let head = wire::receive(&mut stream, FRAME_MAX).await?;
    let (pieces, body) = mpsc::channel(PIECES);
    let body = Pieces {
        pieces: body,
        now: io::Cursor::new(Vec::new()),
        whole: false,
    };
    // While it comes no founding may win this server.
    let _receiving = {
        let _joining = shared.cluster.joining.lock().await;
        let founded = consensus.is_founded().await;
        same_cluster(shared, founded, &hello.cluster).map_err(io::Error::other)?;
        shared.cluster.receives()
    };
    let serve = consensus.serve_snapshot(&head, body);
    let (received, answer) = tokio::join!(receive_pieces(&mut stream, pieces), serve);
    received?;
    let (kind, body) = framed(answer.map_err(|e| e.to_string()));
    wire::send(&mut stream, &[&[kind], &body]).await
}

/// Hands on the pieces of a snapshot, to the empty one at its end.
async fn receive_pieces(stream: &mut Stream, pieces: mpsc::Sender<Vec<u8>>) -> io::Result<()> {
    loop {
        let piece = timeout(SNAPSHOT_STALL, wire::receive(stream, FRAME_MAX))
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        let last = piece.is_empty();
        // Nobody reads any more where the snapshot was refused.
        if pieces.send(piece).await.is_err() || last {
            return Ok(());
        }
    }
}

/// Reads the pieces of a snapshot as they come. Blocks.
struct Pieces {
    pieces: mpsc::Receiver<Vec<u8>>,
    now: io::Cursor<Vec<u8>>,
    whole: bool,
}

impl io::Read for Pieces {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            let got = io::Read::read(&mut self.now, out)?;
            if got > 0 || self.whole || out.is_empty() {
                return Ok(got);
            }
            match self.pieces.blocking_recv() {
                Some(piece) if piece.is_empty() => self.whole = true,
                Some(piece) => self.now = io::Cursor::new(piece),
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
    }
}

async fn questions(
    shared: Arc<Shared>,
    consensus: Consensus,
    hello: Hello,
    stream: Stream,
) -> io::Result<()> {
    let (input, output) = tokio::io::split(stream);
    let (outbox, answers) = mpsc::channel(OUTBOX);
    let write = write_frames(output, answers);
    let hello = Arc::new(hello);
    let read = async move {
        let mut input = BufReader::with_capacity(16 << 10, input);
        let room = Arc::new(Semaphore::new(AT_ONCE));
        let mut tasks = tokio::task::JoinSet::new();
        loop {
            let frame = wire::receive(&mut input, FRAME_MAX).await?;
            while tasks.try_join_next().is_some() {}
            let Some((number, question)) = frame.split_first_chunk::<8>() else {
                return Err(io::ErrorKind::InvalidData.into());
            };
            let number = u64::from_le_bytes(*number);
            let ask = wire::decode::<Ask>(question);
            let Ok(permit) = room.clone().acquire_owned().await else {
                return Ok(());
            };
            let (shared, consensus) = (shared.clone(), consensus.clone());
            let (outbox, hello) = (outbox.clone(), hello.clone());
            tasks.spawn(async move {
                let answer = match ask {
                    Ok(ask) => answer(&shared, &consensus, &hello, ask).await,
                    Err(_) => Answer::Failed(Failure::Unsupported),
                };
                // Whoever asked may be gone.
                let _ = outbox.send((number, wire::encode(&answer))).await;
                drop(permit);
            });
        }
    };
    tokio::select! {
        read = read => read,
        () = write => Ok(()),
    }
}

/// What became of a proposal, for the server that sent it.
fn refused(error: ProposeError) -> Answer {
    Answer::Failed(match error {
        ProposeError::NoLeader | ProposeError::NotLeader { .. } => Failure::NoLeader,
        ProposeError::Stopped => Failure::Stopped,
        ProposeError::Refused(text) => Failure::Refused(text),
        ProposeError::TooNew { .. } => Failure::Refused(error.to_string()),
        _ => Failure::Unknown,
    })
}

async fn answer(shared: &Arc<Shared>, consensus: &Consensus, hello: &Hello, ask: Ask) -> Answer {
    match ask {
        Ask::Write(bytes) => {
            let entry = match Entry::decode(&bytes.0) {
                Ok(entry) => Entry {
                    at: shared.store.stamp(),
                    ..entry
                },
                Err(error) => return Answer::Failed(Failure::Refused(error.to_string())),
            };
            match consensus.propose(entry).await {
                Ok(applied) => Answer::Written {
                    index: applied.index,
                    outcome: applied.outcome,
                },
                Err(error) => refused(error),
            }
        }
        Ask::ReadIndex { consistent } => {
            let consistency = if consistent {
                Consistency::Consistent
            } else {
                Consistency::Default
            };
            match consensus.read_index(consistency).await {
                Ok(index) => Answer::Index(index),
                Err(ReadError::Stopped) => Answer::Failed(Failure::Stopped),
                Err(_) => Answer::Failed(Failure::NoLeader),
            }
        }
        Ask::Stats => Answer::Stats(stats(consensus)),
        Ask::Founded => {
            let founded = consensus.is_founded().await;
            let peers = if founded {
                consensus
                    .status()
                    .voters
                    .into_iter()
                    .map(|p| p.info.address)
                    .collect()
            } else {
                Vec::new()
            };
            let bound = shared.cluster.identity.get().bound;
            Answer::Founded {
                peers,
                cluster: shared.cluster.identity.cluster(founded),
                bound: bound.map(|b| b.cluster).unwrap_or_default(),
            }
        }
        Ask::Bind(founding) if founding.founder.eq_ignore_ascii_case(&hello.id) => {
            bootstrap::bind(shared, consensus, &founding).await
        }
        Ask::Bind(_) => Answer::Failed(Failure::Refused("not its founding".to_owned())),
        Ask::Release { cluster } => {
            bootstrap::release(shared, &cluster).await;
            Answer::Done
        }
        _ if !consensus.is_leader() => Answer::Failed(Failure::NoLeader),
        ask => by_leader(shared, consensus, ask).await,
    }
}

/// What only the leader answers.
pub async fn by_leader(shared: &Arc<Shared>, consensus: &Consensus, ask: Ask) -> Answer {
    match ask {
        Ask::Renew { session } => match shared.store.view().session(&session) {
            Some(session) => {
                shared.leader.session_renewed(session);
                Answer::Done
            }
            None => Answer::Failed(Failure::Missing(session)),
        },
        Ask::Coordinate(update) => {
            shared.leader.coordinate(update);
            Answer::Done
        }
        Ask::Peers => {
            autopilot::now(shared).await;
            let found = operator::configuration(shared, consensus);
            Answer::Json(serde_json::to_string(&found).unwrap_or_default())
        }
        Ask::RemovePeer { id, address } => operator::remove_peer(consensus, &id, &address).await,
        Ask::Transfer { id } => operator::transfer(consensus, &id).await,
        Ask::Autopilot => {
            let state = autopilot::now(shared).await;
            Answer::Json(serde_json::to_string(&state).unwrap_or_default())
        }
        Ask::Leaving { id } => leave::leaving(shared, consensus, &id).await,
        Ask::Left { id } => leave::left(shared, consensus, &id).await,
        _ => Answer::Failed(Failure::Unsupported),
    }
}

/// How this server stands.
pub fn stats(consensus: &Consensus) -> Stats {
    let (last_index, last_term) = consensus.last_log();
    Stats {
        last_contact_ms: consensus
            .last_contact()
            .map(|d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX)),
        last_term,
        last_index,
    }
}
