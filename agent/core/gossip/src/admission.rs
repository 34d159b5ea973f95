//! Who may be a member: the pool's own rules.

use std::sync::Arc;

use crate::event::Tags;
use crate::msgpack::RawIp;
use crate::packet::message::Versions;

/// A node that wants in, or that others know.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its name.
    pub name: Arc<str>,
    /// Its address.
    pub ip: RawIp,
    /// Its port.
    pub port: u16,
    /// Its tags.
    pub tags: Tags,
    /// Its protocol versions.
    pub versions: Versions,
    /// It is known as one that left.
    pub left: bool,
}

/// The rules. An error is a text for the log, and for who asked to join.
pub trait Admission: Send {
    /// May this node be known? Asked for each node that is new or changed, the own one excepted.
    ///
    /// # Errors
    /// No, and why.
    fn admit(&mut self, peer: &Peer) -> Result<(), String>;

    /// May one who knows these nodes hear of us? Asked before an exchange that another began is
    /// answered with our own state; a refusal is answered with its text. Everybody may by default.
    ///
    /// # Errors
    /// No, and why.
    fn admit_asker(&mut self, _peers: &[Peer]) -> Result<(), String> {
        Ok(())
    }

    /// May the pool that knows these nodes and ours become one?
    ///
    /// # Errors
    /// No, and why.
    fn admit_merge(&mut self, peers: &[Peer]) -> Result<(), String>;
}

/// Everybody may.
#[derive(Clone, Copy, Debug, Default)]
pub struct AdmitAll;

impl Admission for AdmitAll {
    fn admit(&mut self, _peer: &Peer) -> Result<(), String> {
        Ok(())
    }
    fn admit_merge(&mut self, _peers: &[Peer]) -> Result<(), String> {
        Ok(())
    }
}
