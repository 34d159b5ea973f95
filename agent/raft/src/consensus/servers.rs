//! What servers do with each other: join, leave, hand over, and answer requests.

use super::Consensus;
use crate::error::{ProposeError, ServeError};
use crate::machine::{SnapshotData, head_of};
use crate::network::{self, Request, Response};
use crate::snapshot;
use crate::types::{ServerInfo, TypeConfig};
use openraft::ChangeMembers;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{ClientWriteError, RaftError};
use openraft::raft::AppendEntriesResponse;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::sync::atomic::Ordering;

impl Consensus {
    /// Changes who belongs to the cluster: these vote, these follow without a vote, all others
    /// are removed. Servers that are new to the cluster must be listening. Only the leader can.
    pub async fn change_servers(
        &self,
        voters: &[ServerInfo],
        learners: &[ServerInfo],
    ) -> Result<(), ProposeError> {
        if self.inner.stopped.load(Ordering::Acquire) {
            return Err(ProposeError::Stopped);
        }
        // From here on others may come to lead: they take part in reads and keep time. A change
        // that is given up midway never ends in this sense.
        self.inner.change_begins();
        let result = self.replace_servers(voters, learners).await;
        self.inner.change_ended();
        result
    }

    async fn replace_servers(
        &self,
        voters: &[ServerInfo],
        learners: &[ServerInfo],
    ) -> Result<(), ProposeError> {
        let raft = &self.inner.raft;
        let failed = |e: RaftError<TypeConfig, ClientWriteError<TypeConfig>>| self.inner.refused(e);
        let nodes: BTreeMap<u64, ServerInfo> = voters
            .iter()
            .chain(learners)
            .map(|s| (s.id(), s.clone()))
            .collect();
        for (id, server) in &nodes {
            // Blocking: a voter that has nothing yet would hold up every commit.
            raft.add_learner(*id, server.clone(), true)
                .await
                .map_err(failed)?;
        }
        raft.change_membership(ChangeMembers::SetNodes(nodes.clone()), true)
            .await
            .map_err(failed)?;
        let ids: BTreeSet<u64> = voters.iter().map(ServerInfo::id).collect();
        raft.change_membership(ChangeMembers::ReplaceAllVoters(ids), true)
            .await
            .map_err(failed)?;
        let membership = raft.metrics().borrow_watched().membership_config.clone();
        let gone: BTreeSet<u64> = membership
            .nodes()
            .map(|(id, _)| *id)
            .filter(|id| !nodes.contains_key(id))
            .collect();
        if !gone.is_empty() {
            raft.change_membership(ChangeMembers::RemoveNodes(gone), true)
                .await
                .map_err(failed)?;
        }
        Ok(())
    }

    /// Hands the lead to another voter. It is asked, not waited for: see [`Consensus::leadership`].
    pub async fn transfer_leadership(&self, to: &ServerInfo) -> Result<(), ProposeError> {
        self.inner
            .raft
            .trigger()
            .transfer_leader(to.id())
            .await
            .map_err(|_| ProposeError::Stopped)
    }

    /// Answers a request that a [`Transport`](crate::Transport) brought.
    pub async fn serve(&self, request: &[u8]) -> Result<Vec<u8>, ServeError> {
        self.answer(network::decode(request)?).await
    }

    /// The same for a server that has no log, and is not about to make a cluster with others. It
    /// follows who leads, and votes for nobody: it may have had a log, with what its votes meant.
    pub async fn serve_without_vote(&self, request: &[u8]) -> Result<Vec<u8>, ServeError> {
        match network::decode(request)? {
            request @ Request::Append(_) => self.answer(request).await,
            _ => Err(ServeError::NoVote),
        }
    }

    async fn answer(&self, request: Request) -> Result<Vec<u8>, ServeError> {
        let raft = &self.inner.raft;
        let stopped = |_| ServeError::Stopped;
        let response = match request {
            Request::Append(rpc) => {
                let answer = raft.append_entries(rpc).await.map_err(stopped)?;
                // One who leads no more is refused by its vote: nobody was heard.
                if !matches!(answer, AppendEntriesResponse::HigherVote(_)) {
                    self.inner.heard_leader();
                }
                Response::Append(answer)
            }
            Request::Vote(rpc) => Response::Vote(raft.vote(rpc).await.map_err(stopped)?),
            Request::PreVote(rpc) => Response::Vote(raft.pre_vote(rpc).await.map_err(stopped)?),
            Request::Transfer(rpc) => Response::Transfer(
                raft.handle_transfer_leader(rpc)
                    .await
                    .map_err(|_| ServeError::Stopped)?,
            ),
        };
        Ok(network::encode(&response))
    }

    /// Takes in a snapshot that a [`Transport`](crate::Transport) brought. `body` is read on a thread that may block.
    pub async fn serve_snapshot(
        &self,
        head: &[u8],
        body: impl Read + Send + 'static,
    ) -> Result<Vec<u8>, ServeError> {
        let (vote, meta) = network::decode_snapshot_head(head)?;
        let (store, epoch) = (self.inner.store.clone(), self.inner.link.next_epoch());
        let (number, expected) = (
            self.inner.received.fetch_add(1, Ordering::Relaxed),
            head_of(&meta),
        );
        let receive = move || match &store {
            Some(store) => store
                .receive(number, &expected, body, epoch)
                .map(|(view, path)| (view, Some(path))),
            None => snapshot::receive(&expected, body, epoch).map(|view| (view, None)),
        };
        let received = tokio::task::spawn_blocking(receive)
            .await
            .map_err(std::io::Error::other);
        let (view, staged) = received
            .flatten()
            .map_err(|e| ServeError::Snapshot(e.to_string()))?;
        let data = SnapshotData::Received(view, staged.clone());
        let snapshot = openraft::Snapshot {
            meta,
            snapshot: data,
        };
        let answer = self.inner.raft.install_full_snapshot(vote, snapshot).await;
        if let (Some(store), Some(staged)) = (&self.inner.store, staged) {
            // It has another name by now, unless it was refused.
            store.discard(&staged);
        }
        let answer = answer.map_err(|_| ServeError::Stopped)?;
        self.inner.heard_leader();
        Ok(network::encode(&Response::Snapshot(answer)))
    }
}
