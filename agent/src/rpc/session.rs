//! `Session`.

use super::{Call, Reply, reply};
use crate::query::What;
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
    let number = args.write.request;
    let (command, id) = match args.op.as_str() {
        "create" => {
            let mut session = Session::try_from(args.session)?;
            // A numbered request names the session, so that its second copy names the same.
            if number.is_none() || writes::check_uuid(&session.id).is_err() {
                session.id = crate::random::uuid();
            }
            writes::session(&session, call.shared.live().session_ttl_min)?;
            call.shared.metrics.count("session.apply");
            let created = call.shared.store.create_session_as(session, number).await;
            return match created.map_err(|e| e.to_string())? {
                Ok(id) => reply(&id),
                Err(text) => Err(format!("apply failed: {text}")),
            };
        }
        "destroy" if args.session.id.is_empty() => return Err("Must provide ID".to_owned()),
        "destroy" => (Command::SessionDestroy(args.session.id), Str::new()),
        other => return Err(format!("Invalid session operation {other}")),
    };
    call.shared.metrics.count("session.apply");
    let outcome = call.shared.store.write_as(command, number).await;
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
    let renewed = crate::leader::renew_session(call.shared, args.id()).await;
    let session = renewed.map_err(|e| e.to_string())?;
    // A renewal says nothing of the leader.
    let index = call.shared.store.view().tables().sessions.max(1);
    let meta = super::read::meta(index, Contact::default());
    reply(&shown(session.iter(), meta))
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
