//! The methods of Consul's server RPC, as this server answers them.
//!
//! Arguments and replies are bytes here; connections, frames and limits are the transport's. Reads
//! go the way of all reads ([`crate::query`]), writes are checked as those over HTTP are
//! (`crate::writes`).

mod catalog;
mod coordinate;
mod health;
mod internal;
mod kv;
mod limit;
mod operator;
mod read;
mod serve;
mod session;
mod status;
#[cfg(test)]
mod tests;
mod txn;

pub use serve::{Port, connection};

use crate::agent::Shared;
use crate::store::WriteError;
use lictor_rpc_wire::{from_slice, to_vec};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::net::IpAddr;
use std::sync::Arc;

/// The encoding of a reply, or the text of an error.
type Reply = Result<Vec<u8>, String>;

/// What methods say of another datacenter than ours. The call is passed on then, if anybody knows
/// a way.
const NO_PATH: &str = "No path to datacenter";

/// A call that is being answered.
struct Call<'a> {
    shared: &'a Arc<Shared>,
    method: &'a str,
    args: &'a [u8],
}

impl Call<'_> {
    fn args<T: DeserializeOwned>(&self) -> Result<T, String> {
        from_slice(self.args).map_err(|e| e.to_string())
    }

    /// Refuses another datacenter; the empty one is ours.
    fn own_datacenter(&self, named: &str) -> Result<(), String> {
        if named.is_empty() || *named == *self.shared.datacenter {
            Ok(())
        } else {
            Err(NO_PATH.to_owned())
        }
    }
}

/// Encodes a reply.
fn reply<T: Serialize + ?Sized>(value: &T) -> Reply {
    to_vec(value).map_err(|e| e.to_string())
}

/// The reply without content.
fn empty() -> Reply {
    reply(&lictor_rpc_wire::message::Empty::default())
}

/// Answers a call. Errors are texts in Consul's words; those of methods that do not exist and of
/// arguments that do not decode are Go's.
///
/// # Errors
/// What the caller is told.
pub async fn call(shared: &Arc<Shared>, method: &str, args: &[u8], peer: IpAddr) -> Reply {
    shared.metrics.count("rpc.request");
    let Some((service, name)) = method.rsplit_once('.') else {
        return Err(format!("rpc: service/method request ill-formed: {method}"));
    };
    let call = Call {
        shared,
        method,
        args,
    };
    let answered = match service {
        "Status" => status::call(&call, name),
        "Catalog" => catalog::call(&call, name).await,
        "Health" => health::call(&call, name).await,
        "KVS" => kv::call(&call, name).await,
        "Session" => session::call(&call, name).await,
        "Txn" => txn::call(&call, name).await,
        "Coordinate" => coordinate::call(&call, name).await,
        "Internal" => internal::call(&call, name).await,
        "Operator" => operator::call(&call, name).await,
        // Its methods exist, and the mesh does not.
        "ConnectCA" => Some(Err(
            "Connect must be enabled in order to use this endpoint".to_owned()
        )),
        _ => return Err(format!("rpc: can't find service {method}")),
    };
    let mut reply = answered.unwrap_or_else(|| Err(format!("rpc: can't find method {method}")));
    if reply.as_ref().is_err_and(|error| error == NO_PATH)
        && let Some(abroad) = shared.store.abroad()
        && let Some(answered) = Box::pin(abroad.forward(method, args)).await
    {
        reply = answered;
    }
    if let Err(error) = &reply {
        shared.metrics.count("rpc.request_error");
        tracing::debug!(target: "agent.server.rpc", method, from = %peer, error, "request failed");
    }
    match reply {
        // Nothing was done; these are the words after which every client asks another server.
        Err(error) if error == WriteError::Stopped.to_string() => {
            Err(WriteError::NoLeader.to_string())
        }
        reply => reply,
    }
}
