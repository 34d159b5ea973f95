//! The endpoints, one method each.

mod agent;
mod catalog;
mod kv;
mod operator;
mod session;

pub use agent::MemberQuery;
pub use kv::KvWrite;
pub use operator::{KeyAction, KeyringAnswer};

use crate::client::Client;
use crate::error::Error;

impl Client {
    /// The Raft address of the leader; empty while there is none.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn leader(&self) -> Result<String, Error> {
        self.get("/v1/status/leader", &Default::default())
            .await
            .map(|(leader, _)| leader)
    }
}
