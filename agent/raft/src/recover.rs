//! Quorum recovery: gives the servers that are left a membership of their own, while they are
//! stopped.

use crate::disk::RealFs;
use crate::error::StartError;
use crate::format::SnapshotHead;
use crate::types::{ServerInfo, log_id, membership, term_of, vote};
use crate::{directory, types};
use lictor_state::{Changes, State};
use openraft::EntryPayload;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

/// How many entries are replayed at a time.
const CHUNK: u64 = 1024;

/// What a recovery left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// The last entry; all before it count as committed, whether or not they were.
    pub index: u64,
    /// Its term.
    pub term: u64,
}

/// Rewrites the membership in the directory of a stopped server to these voters and learners.
///
/// For when so many servers are lost that no quorum is left. All that this server has in its log
/// counts as committed, as Consul's recovery by `peers.json` does. Every server that is left must
/// be given the same lists, while all of them are stopped. The last step that changes anything is
/// one rename, so a recovery that was broken off has either not happened or is complete.
pub fn recover(
    dir: &Path,
    voters: &[ServerInfo],
    learners: &[ServerInfo],
) -> Result<Recovered, StartError> {
    let membership = members(voters, learners)?;
    if !dir.is_dir() {
        return Err(StartError::Servers(format!(
            "there is no data directory {}",
            dir.display()
        )));
    }
    let _lock = directory::lock(&RealFs, dir)?;
    let opened = directory::open(Arc::new(RealFs), dir, None, 1)?;
    let mut log = opened.log;
    let failed = |e| StartError::io(dir, e);
    let restored = opened.newest;
    let mut last = restored.as_ref().and_then(|loaded| loaded.head.last);
    let mut state = restored.map_or_else(State::default, |loaded| State::from_view(loaded.view));
    let end = opened.content.last.map_or(0, |id| id.index + 1);
    let (reader, mut changes) = (log.reader(), Changes::default());
    let mut next = last.or(opened.content.purged).map_or(0, |id| id.index + 1);
    while next < end {
        let entries = reader
            .read(next, end.min(next + CHUNK), usize::MAX)
            .map_err(failed)?;
        if entries.is_empty() {
            break;
        }
        for entry in entries {
            let index = entry.log_id.index;
            match entry.payload {
                EntryPayload::Normal(proposal) => {
                    state.apply(index, &proposal.0, &mut changes);
                }
                EntryPayload::Blank | EntryPayload::Membership(_) => state.skip(index),
            }
            changes.clear();
            (last, next) = (Some(entry.log_id), index + 1);
        }
    }
    let Some(last) = last else {
        return Err(StartError::Servers(format!(
            "the data directory {} holds nothing to recover",
            dir.display()
        )));
    };
    // First the vote, so that nobody leads by what was decided before; then the snapshot with the
    // new membership, behind which the whole log is void.
    if let Some(old) = opened.content.vote {
        let mut batch = log.begin().map_err(failed)?;
        batch
            .vote(&vote(old.leader_id.term, old.leader_id.voted_for, false))
            .map_err(failed)?;
        batch.commit().map_err(failed)?;
    }
    let last = log_id(term_of(&last), last.index);
    let head = SnapshotHead {
        last: Some(last),
        membership_at: Some(last),
        membership,
    };
    opened.store.write(&head, &state.view()).map_err(failed)?;
    Ok(Recovered {
        index: last.index,
        term: term_of(&last),
    })
}

fn members(
    voters: &[ServerInfo],
    learners: &[ServerInfo],
) -> Result<types::Membership, StartError> {
    let refuse = |text: String| Err(StartError::Servers(text));
    if voters.is_empty() {
        return refuse("a recovery needs a voter".to_owned());
    }
    let mut servers = BTreeMap::new();
    for server in voters.iter().chain(learners) {
        if server.node_id.is_empty() || server.address.is_empty() {
            return refuse(format!("the server {server} needs an id and an address"));
        }
        if servers
            .values()
            .any(|other: &ServerInfo| other.address == server.address)
        {
            return refuse(format!("two servers have the address {}", server.address));
        }
        if servers.insert(server.id(), server.clone()).is_some() {
            return refuse(format!("the server {} is given twice", server.node_id));
        }
    }
    let ids: BTreeSet<u64> = voters.iter().map(ServerInfo::id).collect();
    membership(vec![ids], servers).map_err(StartError::Servers)
}
