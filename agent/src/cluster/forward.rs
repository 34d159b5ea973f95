//! To the leader, wherever it is: writes, the index that a read needs, and what only it can do.

use super::links::{AskError, Links};
use super::serve;
use super::wire::{Answer, Ask, Blob, Failure};
use crate::agent::Shared;
use crate::store::WriteError;
use futures_util::future::BoxFuture;
use lictor_raft::{Consensus, Consistency, ProposeError, ReadError, ServerInfo};
use lictor_state::{Command, Entry, Outcome};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep};

/// The longest a write takes before its outcome is called unknown.
const WRITE_LIMIT: Duration = Duration::from_secs(31);
/// How long the leader may take to name an index.
const INDEX_LIMIT: Duration = Duration::from_secs(6);
/// When another leads, the former leader has this long to answer what it was sent before.
const FORMER_LEADER: Duration = Duration::from_secs(1);
/// How often is looked for a leader while there is none.
const LOOK: Duration = Duration::from_millis(25);
/// A write that was forwarded is answered when it is applied here too, or after this.
const CATCH_UP: Duration = Duration::from_secs(5);
/// Reads that wait for the next question to the leader.
const READS: usize = 4096;

/// The leader has this long to answer a small question.
pub const ANSWER: Duration = Duration::from_secs(5);

type Asked = oneshot::Sender<Result<u64, Retry>>;

/// The way of this server to whoever leads.
pub struct Forward {
    consensus: Consensus,
    links: Arc<Links>,
    /// How long is tried while there is no leader (`performance.rpc_hold_timeout`).
    hold: Duration,
    default: mpsc::Sender<Asked>,
    consistent: mpsc::Sender<Asked>,
}

/// Nothing was changed: it may be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Retry {
    Again,
    Stopped,
}

impl Forward {
    /// Begins. Must be called within a runtime; what it begins ends with the value.
    pub fn start(consensus: Consensus, links: Arc<Links>, hold: Duration) -> Arc<Forward> {
        let (default, default_asked) = mpsc::channel(READS);
        let (consistent, consistent_asked) = mpsc::channel(READS);
        tokio::spawn(indexes(
            consensus.clone(),
            links.clone(),
            false,
            default_asked,
        ));
        tokio::spawn(indexes(
            consensus.clone(),
            links.clone(),
            true,
            consistent_asked,
        ));
        Arc::new(Forward {
            consensus,
            links,
            hold,
            default,
            consistent,
        })
    }

    /// Writes, here or at the leader. What carries a number is sent again where nobody knows what
    /// became of it; `unknown` says that it was proposed already, with such an end.
    ///
    /// # Errors
    /// [`WriteError::NoLeader`] after the hold time; [`WriteError::Unknown`] at once without a
    /// number, with one after the hold time.
    pub async fn write(&self, entry: Arc<Entry>, unknown: bool) -> Result<Outcome, WriteError> {
        let once = matches!(entry.command, Command::Once(..));
        let mut unknown = unknown;
        let mut began = Instant::now();
        let mut encoded = None;
        loop {
            let lost = match remote_leader(&self.consensus) {
                Some(leader) => {
                    let bytes = encoded.get_or_insert_with(|| Blob(entry.encode())).clone();
                    match self.write_at(&leader, Ask::Write(bytes)).await {
                        Ok(Answer::Written { index, outcome }) => {
                            // So that who has written finds it here. One who is behind is answered
                            // all the same: it is written.
                            let _ = self.consensus.wait_applied(index, CATCH_UP).await;
                            return Ok(outcome);
                        }
                        Ok(Answer::Failed(Failure::NoLeader | Failure::Stopped)) => false,
                        // A leader of an older version, which does not know the command.
                        Ok(Answer::Failed(Failure::Refused(text))) if !unknown => {
                            return Err(WriteError::Remote(text));
                        }
                        Ok(_) | Err(AskError::Lost(_)) => true,
                        Err(AskError::NotSent(_)) => false,
                    }
                }
                None => match self.consensus.propose(entry.clone()).await {
                    Ok(applied) => return Ok(applied.outcome),
                    Err(ProposeError::NoLeader | ProposeError::NotLeader { .. }) => false,
                    Err(ProposeError::Stopped) if !unknown => return Err(WriteError::Stopped),
                    Err(error @ ProposeError::TooNew { .. }) if !unknown => {
                        return Err(WriteError::Rpc(error.to_string()));
                    }
                    Err(ProposeError::Stopped | ProposeError::TooNew { .. }) => {
                        return Err(WriteError::Unknown);
                    }
                    Err(_) => true,
                },
            };
            if lost && !once {
                return Err(WriteError::Unknown);
            }
            if lost && !unknown {
                // However long it took to find out, it has the hold time from here.
                unknown = true;
                began = Instant::now();
            }
            if !self.wait_for_leader(began).await {
                return Err(match unknown {
                    true => WriteError::Unknown,
                    false => WriteError::NoLeader,
                });
            }
        }
    }

    /// Sends a write; gives up soon after another server has come to lead.
    async fn write_at(&self, leader: &ServerInfo, ask: Ask) -> Result<Answer, AskError> {
        let deposed = || AskError::Lost("another server leads".to_owned());
        let sent = tokio::select! {
            sent = self.links.send(leader, &ask, WRITE_LIMIT) => sent?,
            () = deposed_of(&self.consensus, leader) => {
                return Err(AskError::NotSent(deposed().to_string()));
            }
        };
        let late = async {
            deposed_of(&self.consensus, leader).await;
            sleep(FORMER_LEADER).await;
        };
        tokio::select! {
            answer = sent.answer(WRITE_LIMIT) => answer,
            () = late => Err(deposed()),
        }
    }

    /// Waits a moment, or until leadership has changed. False when it has been tried for long
    /// enough.
    async fn wait_for_leader(&self, began: Instant) -> bool {
        if began.elapsed() >= self.hold {
            return false;
        }
        let mut leadership = self.consensus.leadership();
        tokio::select! {
            _ = leadership.changed() => {}
            () = sleep(LOOK) => {}
        }
        true
    }

    /// Returns when this server's view may be used for a read of this consistency.
    ///
    /// # Errors
    /// [`WriteError::NoLeader`] after the hold time.
    pub async fn ready_for(&self, consistency: Consistency) -> Result<(), WriteError> {
        let began = Instant::now();
        loop {
            if remote_leader(&self.consensus).is_none() {
                match self.consensus.read_barrier(consistency).await {
                    Ok(()) => return Ok(()),
                    Err(ReadError::Stopped) => return Err(WriteError::Stopped),
                    Err(_) => {}
                }
            } else {
                match self.index(consistency).await {
                    Ok(index) => {
                        let left = self.hold.saturating_sub(began.elapsed()).max(LOOK);
                        match self.consensus.wait_applied(index, left).await {
                            Ok(()) => return Ok(()),
                            Err(ReadError::Stopped) => return Err(WriteError::Stopped),
                            Err(_) => {}
                        }
                    }
                    Err(Retry::Stopped) => return Err(WriteError::Stopped),
                    Err(Retry::Again) => {}
                }
            }
            if !self.wait_for_leader(began).await {
                return Err(WriteError::NoLeader);
            }
        }
    }

    /// Joins the next question for an index.
    async fn index(&self, consistency: Consistency) -> Result<u64, Retry> {
        let queue = match consistency {
            Consistency::Default => &self.default,
            Consistency::Consistent => &self.consistent,
        };
        let (sender, receiver) = oneshot::channel();
        queue.send(sender).await.map_err(|_| Retry::Stopped)?;
        receiver.await.map_err(|_| Retry::Stopped)?
    }
}

/// Asks the leader, which may be this server. Tried again while there is no leader: only for what
/// may be done twice.
///
/// # Errors
/// [`WriteError::NoLeader`] after the hold time.
pub fn ask_leader<'a>(
    shared: &'a Arc<Shared>,
    ask: &'a Ask,
    limit: Duration,
) -> BoxFuture<'a, Result<Answer, WriteError>> {
    Box::pin(async move {
        let (Some(forward), Some(consensus)) = (shared.store.forward(), shared.store.consensus())
        else {
            return Err(WriteError::NoLeader);
        };
        let began = Instant::now();
        loop {
            let answer = if consensus.is_leader() {
                Ok(serve::by_leader(shared, consensus, ask.clone()).await)
            } else if let Some(leader) = remote_leader(consensus) {
                tokio::select! {
                    answer = forward.links.ask(&leader, ask, limit) => answer,
                    // The former leader may never answer.
                    () = deposed_of(consensus, &leader) => {
                        if handed_over(consensus, ask) {
                            return Ok(Answer::Done);
                        }
                        continue;
                    }
                }
            } else {
                Ok(Answer::Failed(Failure::NoLeader))
            };
            match answer {
                Ok(Answer::Failed(Failure::NoLeader | Failure::Stopped)) | Err(_) => {}
                Ok(answer) => return Ok(answer),
            }
            if !forward.wait_for_leader(began).await {
                return Err(WriteError::NoLeader);
            }
        }
    })
}

/// Whether the change of leaders is what was asked for: the new one would find nothing to hand over.
fn handed_over(consensus: &Consensus, ask: &Ask) -> bool {
    let Ask::Transfer { id } = ask else {
        return false;
    };
    let leader = consensus.leadership().borrow().leader.clone();
    leader.is_some_and(|now| id.is_empty() || now.node_id.eq_ignore_ascii_case(id))
}

/// The leader, where it is another server.
pub fn remote_leader(consensus: &Consensus) -> Option<ServerInfo> {
    let leader = consensus.leadership().borrow().leader.clone()?;
    (leader.id() != consensus.server().id()).then_some(leader)
}

/// Returns when another server leads than this one.
async fn deposed_of(consensus: &Consensus, leader: &ServerInfo) {
    let mut leadership = consensus.leadership();
    let other =
        |l: &lictor_raft::Leadership| l.leader.as_ref().is_some_and(|now| now.id() != leader.id());
    if leadership.wait_for(other).await.is_err() {
        // There is no consensus any more; whoever waits ends by other means.
        std::future::pending::<()>().await;
    }
}

/// Asks the leader for an index on behalf of all reads that wait: one question serves all that had
/// begun when it was asked.
async fn indexes(
    consensus: Consensus,
    links: Arc<Links>,
    consistent: bool,
    mut asked: mpsc::Receiver<Asked>,
) {
    let mut waiting = Vec::new();
    while asked.recv_many(&mut waiting, READS).await > 0 {
        let result = match remote_leader(&consensus) {
            None => Err(Retry::Again),
            Some(leader) => {
                let ask = Ask::ReadIndex { consistent };
                tokio::select! {
                    answer = links.ask(&leader, &ask, INDEX_LIMIT) => match answer {
                        Ok(Answer::Index(index)) => Ok(index),
                        _ => Err(Retry::Again),
                    },
                    () = deposed_of(&consensus, &leader) => Err(Retry::Again),
                }
            }
        };
        for one in waiting.drain(..) {
            // Whoever asked may be gone.
            let _ = one.send(result);
        }
    }
}
