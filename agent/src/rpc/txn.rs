//! `Txn`.

use super::read::{freshness, meta};
use super::{Call, Reply, reply};
use crate::writes::{self, OPS_MAX};
use lictor_rpc_wire::message::{self, TxnReadRequest, TxnReadResponse, TxnRequest, TxnResponse};
use lictor_state::{Command, Outcome, TxnError, TxnOp};

pub(super) async fn call(call: &Call<'_>, method: &str) -> Option<Reply> {
    Some(match method {
        "Apply" => apply(call).await,
        "Read" => read(call).await,
        _ => return None,
    })
}

/// The operations as the state runs them, or what is wrong with them. An empty operation is none.
fn operations(
    call: &Call<'_>,
    given: Vec<message::TxnOp>,
) -> Result<Result<Vec<TxnOp>, Vec<TxnError>>, String> {
    if given.len() > OPS_MAX {
        return Err(format!(
            "Transaction contains too many operations ({} > {OPS_MAX})",
            given.len()
        ));
    }
    let (mut ops, mut errors) = (Vec::with_capacity(given.len()), Vec::new());
    for (at, op) in given.into_iter().enumerate() {
        let checked = op.into_op().and_then(|op| match op {
            Some(mut op) => writes::operation(&mut op, &call.shared.datacenter).map(|()| Some(op)),
            None => Ok(None),
        });
        match checked {
            Ok(op) => ops.extend(op),
            Err(what) => errors.push(TxnError::new(at, what)),
        }
    }
    Ok(if errors.is_empty() {
        Ok(ops)
    } else {
        Err(errors)
    })
}

async fn apply(call: &Call<'_>) -> Reply {
    let args: TxnRequest = call.args()?;
    call.own_datacenter(&args.datacenter)?;
    call.shared.metrics.count("txn.apply");
    let ops = match operations(call, args.ops)? {
        Ok(ops) => ops,
        Err(errors) => return reply(&TxnResponse::of(&[], &errors)),
    };
    let store = &call.shared.store;
    let outcome = store.write_as(Command::Txn(ops), args.write.request).await;
    match outcome.map_err(|e| e.to_string())? {
        Outcome::Txn { results, errors } => reply(&TxnResponse::of(&results, &errors)),
        Outcome::Refused(text) => Err(text),
        other => Err(format!("unexpected outcome of a transaction: {other:?}")),
    }
}

async fn read(call: &Call<'_>) -> Reply {
    let args: TxnReadRequest = call.args()?;
    call.own_datacenter(&args.datacenter)?;
    call.shared.metrics.count("txn.read");
    let store = &call.shared.store;
    if let Some(barrier) = freshness(&args.options).barrier() {
        store.ready_for(barrier).await.map_err(|e| e.to_string())?;
    }
    let outcome = match operations(call, args.ops)? {
        Ok(ops) if ops.iter().any(TxnOp::is_write) => {
            return Err("a transaction that writes cannot be read".to_owned());
        }
        Ok(ops) => store.view().txn_read(&ops),
        Err(errors) => Err(errors),
    };
    let response = match &outcome {
        Ok(results) => TxnResponse::of(results, &[]),
        Err(errors) => TxnResponse::of(&[], errors),
    };
    reply(&TxnReadResponse {
        response,
        meta: meta(0, store.contact()),
    })
}
