//! `KVS`.

use super::{Call, Reply, reply};
use crate::query::{What, rows};
use crate::writes;
use lictor_rpc_wire::message::{
    IndexedDirEntries, IndexedKeyList, KeyListRequest, KeyRequest, KvsRequest,
};
use lictor_state::{Command, KvVerb, Outcome};

pub(super) async fn call(call: &Call<'_>, method: &str) -> Option<Reply> {
    Some(match method {
        "Apply" => apply(call).await,
        "Get" => get(call).await,
        "List" => list(call).await,
        "ListKeys" => list_keys(call).await,
        _ => return None,
    })
}

async fn apply(call: &Call<'_>) -> Reply {
    let args: KvsRequest = call.args()?;
    call.own_datacenter(&args.datacenter)?;
    if args.dir_ent.key.is_empty() && args.op != "delete-tree" {
        return Err("Must provide key".to_owned());
    }
    let number = args.write.request;
    let op = args.into_op()?;
    writes::key(op.verb, &op.key)?;
    call.shared.metrics.count("kvs.apply");
    // Consul's servers say false of what cannot fail.
    let can_fail = !matches!(op.verb, KvVerb::Set | KvVerb::Delete | KvVerb::DeleteTree);
    let outcome = call.shared.store.write_as(Command::Kv(op), number).await;
    match outcome.map_err(|e| e.to_string())? {
        Outcome::Refused(text) => Err(format!("raft apply failed: {text}")),
        outcome => reply(&(can_fail && outcome == Outcome::Flag(true))),
    }
}

async fn get(call: &Call<'_>) -> Reply {
    let args: KeyRequest = call.args()?;
    call.own_datacenter(&args.datacenter)?;
    let what = What::Key {
        key: args.key.clone(),
    };
    call.read_all(what, &args.options, |view, meta| IndexedDirEntries {
        entries: view
            .kv(&args.key)
            .map(|e| (&**e).into())
            .into_iter()
            .collect(),
        meta,
    })
    .await
}

async fn list(call: &Call<'_>) -> Reply {
    let args: KeyRequest = call.args()?;
    call.own_datacenter(&args.datacenter)?;
    let what = What::KeyTree {
        prefix: args.key.clone(),
    };
    call.read_all(what, &args.options, |view, meta| IndexedDirEntries {
        entries: view.kv_range(&args.key).map(|e| (&**e).into()).collect(),
        meta,
    })
    .await
}

async fn list_keys(call: &Call<'_>) -> Reply {
    let args: KeyListRequest = call.args()?;
    call.own_datacenter(&args.datacenter)?;
    let what = What::KeyNames {
        prefix: args.prefix.clone(),
        separator: args.separator.clone(),
    };
    call.read_all(what, &args.options, |view, meta| {
        let names = rows::key_names(view, &args.prefix, &args.separator);
        IndexedKeyList {
            keys: names.into_iter().map(Into::into).collect(),
            meta,
        }
    })
    .await
}
