//! What a dependency calls a warning and is part of an ordinary day.
//!
//! openraft warns when an answer comes for a term that is over, which every start on an empty disk
//! and every election may bring, and when nobody waits for an answer any more, which happens when
//! a client goes away. It also warns of each message that another server did not answer, thirty
//! times a second while that is down: who is out of reach is told once, by the agent itself. Who
//! reads warnings is to find reasons to act.

use std::fmt::{self, Write};

use tracing::field::{Field, Visit};
use tracing::{Event, Level};

/// How such messages begin.
const BEGINNINGS: [&str; 9] = [
    "A message will be ignored because ",
    "OneshotConsumer.tx.send: ",
    "ProgressResponder.commit_tx.send: ",
    "ProgressResponder.complete_tx.send: ",
    "HeartbeatWorker(",
    "ReplicationCore recv RPCError: ",
    "timeout while requesting ",
    "while requesting ",
    "sleep due to ",
];

/// Whether the event is one of those.
pub(crate) fn is_normal(event: &Event<'_>) -> bool {
    let metadata = event.metadata();
    if *metadata.level() != Level::WARN || !metadata.target().starts_with("openraft::") {
        return false;
    }
    let mut message = Beginning::default();
    event.record(&mut message);
    BEGINNINGS.iter().any(|start| message.0.starts_with(start))
}

/// The beginning of a message; the rest may be long.
#[derive(Default)]
struct Beginning(String);

impl Write for Beginning {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.push_str(text);
        // An error ends the formatting.
        if self.0.len() > 64 {
            Err(fmt::Error)
        } else {
            Ok(())
        }
    }
}

impl Visit for Beginning {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            let _ = write!(self, "{value:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::level::Level;
    use crate::monitor::MonitorStream;
    use crate::subscriber::tests::with;
    use crate::subscriber::{Hub, Subscriber};
    use std::sync::Arc;

    #[test]
    fn what_is_normal_is_told_to_those_who_want_all() {
        let hub = Arc::new(Hub::new(Level::Error, false, None, None, None));
        with(Subscriber::new(hub.clone()), || {
            let mut usual = MonitorStream::new(hub.clone(), Level::Debug, false);
            let mut all = MonitorStream::new(hub.clone(), Level::Trace, false);
            let mut lines = || [usual.try_next(), all.try_next()].map(|line| line.is_some());
            let vote = "<T0-N1:Q>".repeat(20);
            tracing::warn!(target: "openraft::core::raft_core",
                "A message will be ignored because {} vote changed: msg sent by vote: {}", "Leader", vote);
            assert_eq!(lines(), [false, true]);
            tracing::warn!(target: "openraft::raft::responder::impls::oneshot_responder",
                "OneshotConsumer.tx.send: is_ok: {}", false);
            assert_eq!(lines(), [false, true]);
            tracing::warn!(target: "openraft::core::raft_core", "a quorum was lost while waiting for {}", "Vote");
            assert_eq!(lines(), [true, true]);
            tracing::error!(target: "openraft::core::raft_core", "A message will be ignored because it is");
            assert_eq!(lines(), [true, true]);
            tracing::warn!(target: "agent", "A message will be ignored because it is ours");
            assert_eq!(lines(), [true, true]);
        });
    }
}
