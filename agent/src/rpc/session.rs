//! `Session`.

use super::{Call, Reply, reply};
use crate::query::{Freshness, Query, ReadOptions, What};
use crate::store::Contact;
use crate::writes;
use lictor_rpc_wire::message::{
    self, DcSpecificRequest, IndexedSessions, NodeSpecificRequest, QueryMeta, SessionRequest,
    SessionSpecificRequest,
};
use lictor_state::{Command, Outcome};
use lictor_wire::{Session, Str};
use std::sync::Arc;

pub(super) async fn call(call: &Call<'_>, method: &str) -> Option<Reply> {
    Some(match method {
        "Apply" => apply(call).await,
        "Get" => get(call).await,
        "Renew" => renew(call).await,
        "List" => list(call).await,
        "NodeSessions" => of_node(call).await,
        _ => return None,
    })
}

async fn apply(call: &Call<'_>) -> Reply {
    let args: SessionRequest = call.args()?;
    call.own_datacenter(&args.datacenter)?;
    let (command, id) = match args.op.as_str() {
        "create" => {
            let mut session = Session::try_from(args.session)?;
            writes::session(&session, call.shared.live().session_ttl_min)?;
            session.id = crate::random::uuid();
            let id = session.id.clone();
            (Command::SessionCreate(Box::new(session)), id)
        }
        "destroy" if args.session.id.is_empty() => return Err("Must provide ID".to_owned()),
        "destroy" => (Command::SessionDestroy(args.session.id), Str::new()),
        other => return Err(format!("Invalid session operation {other}")),
    };
    call.shared.metrics.count("session.apply");
    let outcome = call.shared.store.write(command).await;
    match outcome.map_err(|e| e.to_string())? {
        Outcome::Refused(text) => Err(format!("apply failed: {text}")),
        _ => reply(&id),
    }
}

fn shown<'a>(rows: impl Iterator<Item = &'a Arc<Session>>, meta: QueryMeta) -> IndexedSessions {
    IndexedSessions {
        sessions: rows.map(|s| message::Session::from(&**s)).collect(),
        meta,
    }
}

async fn get(call: &Call<'_>) -> Reply {
    let args: SessionSpecificRequest = call.args()?;
    call.own_datacenter(&args.datacenter)?;
    let id = args.id().clone();
    call.read_all(
        What::Session { id: id.clone() },
        &args.options,
        |view, meta| shown(view.session(&id).into_iter(), meta),
    )
    .await
}

async fn renew(call: &Call<'_>) -> Reply {
    let args: SessionSpecificRequest = call.args()?;
    call.own_datacenter(&args.datacenter)?;
    let query = Query::from(What::Session {
        id: args.id().clone(),
    });
    let options = ReadOptions::now(Freshness::Default);
    let found = call.shared.store.read(&query, &options).await;
    let found = found.map_err(|e| e.to_string())?;
    let session = found.view.session(args.id());
    if let Some(session) = session {
        call.shared.leader.session_renewed(session);
    }
    // A renewal says nothing of the leader.
    let meta = super::read::meta(found.index, Contact::default());
    reply(&shown(session.into_iter(), meta))
}

async fn list(call: &Call<'_>) -> Reply {
    let args: DcSpecificRequest = call.args()?;
    call.own_datacenter(&args.datacenter)?;
    call.read_all(What::Sessions, &args.options, |view, meta| {
        shown(view.sessions(), meta)
    })
    .await
}

async fn of_node(call: &Call<'_>) -> Reply {
    let args: NodeSpecificRequest = call.args()?;
    call.own_datacenter(&args.datacenter)?;
    let what = What::NodeSessions {
        node: args.node.clone(),
    };
    call.read_all(what, &args.options, |view, meta| {
        shown(view.sessions_of_node(&args.node), meta)
    })
    .await
}
