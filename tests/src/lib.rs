//! What the integration tests share: agents as child processes, requests, DNS questions, targets
//! for checks, and waiting.
//!
//! The tests see what a user sees: the built programs, their ports and their files. Nothing here
//! reaches into the agent. Rules: every agent has ports and folders of its own and is ended by its
//! process number when its [`Agent`] goes; nothing sleeps and hopes, everything waits for a
//! condition with a deadline ([`until`]); and where a test fails the end of the agent's log is shown
//! (all of it is kept in the folder that `LICTOR_TEST_LOGS` names).

mod agent;
mod binary;
mod cli;
pub mod cluster;
pub mod crowd;
mod dns;
pub mod exclusion;
mod files;
mod grpc;
pub mod linear;
pub mod load;
pub mod locking;
mod metadata;
pub mod netns;
mod peer;
mod ports;
mod raw;
mod reply;
mod target;
mod wait;
pub mod watch_order;
pub mod watching;

pub use agent::{Agent, Builder, Exit};
pub use binary::{container_binary, demo_binary, lictor_binary, workspace};
pub use cli::{Output, run};
pub use dns::{Answer, Question, Record};
pub use files::Folder;
pub use grpc::GrpcTarget;
pub use metadata::Metadata;
pub use peer::peer;
pub use ports::free_port;
pub use raw::{Raw, exchange};
pub use reply::{Body, Reply};
pub use target::{HttpTarget, TcpTarget};
pub use wait::{DEADLINE, until, until_for};

pub use lictor_client::Method;
pub use serde_json::{Value, json};
