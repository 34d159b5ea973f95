//! Commands as calls.

use super::Upstream;
use crate::store::WriteError;
use lictor_rpc_wire::message::{self, DeregisterRequest, Empty, KvsRequest, SessionRequest};
use lictor_state::{Command, KvOp, KvVerb, Outcome};
use lictor_wire::{RegisterRequest, Str};

/// Writes a command. What the servers refuse is an error in their words; within a batch it is the
/// outcome of that entry, and the others go on.
pub(super) async fn write(to: &Upstream, command: Command) -> Result<Outcome, WriteError> {
    match command {
        Command::Batch(all) => {
            let mut outcomes = Vec::with_capacity(all.len());
            for command in all {
                // One call for each entry, in order: Consul's servers know no more than that.
                outcomes.push(match single(to, command).await {
                    Err(WriteError::Remote(text)) if !is_passing(&text) => Outcome::Refused(text),
                    other => other?,
                });
            }
            Ok(Outcome::Batch(outcomes))
        }
        command => single(to, command).await,
    }
}

/// Whether a server's words mean that the same may succeed soon.
fn is_passing(text: &str) -> bool {
    const PASSING: &[&str] = &[
        "No cluster leader",
        "leader not found in server lookup mapping",
        "Not ready to serve consistent reads",
        "rate limit exceeded",
        "please resubmit call for rechunking",
        "EOF",
        "stream closed",
        "session shutdown",
        "deadline",
        "leadership lost",
        "node is not the leader",
        "not acknowledged",
        "shutting down",
    ];
    PASSING.iter().any(|p| text.contains(p))
}

async fn single(to: &Upstream, command: Command) -> Result<Outcome, WriteError> {
    match command {
        Command::Register(request) => register(to, &request).await,
        Command::Deregister(mut request) => {
            fill(&mut request.datacenter, to);
            let request = DeregisterRequest::from(&request);
            let _: Empty = to
                .tell("Catalog.Deregister", request, |r| &mut r.write)
                .await?;
            Ok(Outcome::Done)
        }
        Command::Kv(op) => kv(to, &op).await,
        Command::SessionDestroy(id) => {
            let request = SessionRequest::destroy(&to.datacenter, &id);
            let _: Str = to.tell("Session.Apply", request, |r| &mut r.write).await?;
            Ok(Outcome::Done)
        }
        Command::SessionCreate(session) => {
            to.create_session(&session).await?;
            Ok(Outcome::Done)
        }
        Command::Coordinates(all) => {
            for update in &all {
                to.update_coordinate(update).await?;
            }
            Ok(Outcome::Done)
        }
        Command::Txn(ops) => {
            let request = message::TxnRequest {
                datacenter: to.datacenter.clone(),
                ops: ops.iter().map(message::TxnOp::from).collect(),
                write: message::WriteRequest::default(),
            };
            let reply: message::TxnResponse =
                to.tell("Txn.Apply", request, |r| &mut r.write).await?;
            Ok(reply.into_outcome())
        }
        other => Err(WriteError::Rpc(format!(
            "a client agent does not write this: {}",
            lictor_state::Entry {
                at: 0,
                command: other
            }
        ))),
    }
}

fn fill(datacenter: &mut Str, to: &Upstream) {
    if datacenter.is_empty() {
        *datacenter = to.datacenter.clone();
    }
}

async fn register(to: &Upstream, request: &RegisterRequest) -> Result<Outcome, WriteError> {
    let mut request = message::RegisterRequest::from(request);
    fill(&mut request.datacenter, to);
    let _: Empty = to
        .tell("Catalog.Register", request, |r| &mut r.write)
        .await?;
    Ok(Outcome::Done)
}

async fn kv(to: &Upstream, op: &KvOp) -> Result<Outcome, WriteError> {
    let request = KvsRequest::of(&to.datacenter, op);
    let flag: bool = to.tell("KVS.Apply", request, |r| &mut r.write).await?;
    Ok(match op.verb {
        // Servers answer false to these, whatever they did.
        KvVerb::Set | KvVerb::Delete | KvVerb::DeleteTree => Outcome::Done,
        _ => Outcome::Flag(flag),
    })
}
