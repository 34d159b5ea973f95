//! What servers ask of a write before they commit it, in Consul's order and words: the same
//! whichever way the write comes.

mod catalog;
mod txn;

pub use catalog::{check_uuid, deregistration, registration};
pub use txn::{OPS_MAX, operation};

use lictor_state::KvVerb;
use lictor_wire::{Coordinate, GoDuration, Session};

/// The longest time to live of a session.
const TTL_MAX: GoDuration = GoDuration::from_secs(86_400);

/// A session that is to be made. `ttl_min` is the shortest time to live that a client may ask for.
///
/// # Errors
/// What is wrong with it.
pub fn session(session: &Session, ttl_min: GoDuration) -> Result<(), String> {
    if session.node.is_empty() {
        return Err("Must provide Node".to_owned());
    }
    if session.ttl.is_empty() {
        return Ok(());
    }
    let ttl = GoDuration::parse(&session.ttl)
        .map_err(|e| format!("Session TTL '{}' invalid: {e}", session.ttl))?;
    if ttl.0 != 0 && (ttl < ttl_min || ttl > TTL_MAX) {
        return Err(format!(
            "Invalid Session TTL '{}', must be between [{ttl_min}={TTL_MAX}]",
            ttl.0
        ));
    }
    Ok(())
}

/// A key that is to be written, or a prefix that is to be deleted.
///
/// # Errors
/// There is none where one is needed.
pub fn key(verb: KvVerb, key: &str) -> Result<(), String> {
    if key.is_empty() && verb != KvVerb::DeleteTree {
        return Err("Must provide key".to_owned());
    }
    Ok(())
}

/// A coordinate that a node reports.
///
/// # Errors
/// It has another number of dimensions, or is not a place.
pub fn coordinate(coordinate: &Coordinate) -> Result<(), String> {
    if !coordinate.is_compatible() {
        return Err("incompatible coordinate".to_owned());
    }
    if !coordinate.is_valid() {
        return Err("invalid coordinate".to_owned());
    }
    Ok(())
}
