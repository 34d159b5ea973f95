//! What a pool tells its operator, in the words that people search logs for.

use lictor_gossip::Event;
use lictor_gossip::memberlist::{Note, StreamError};
use std::time::{Duration, Instant};

/// Lines of one pool within [`PER`]: whoever can send us packets must not fill the disk.
const LINES: u32 = 20;
const PER: Duration = Duration::from_secs(10);

/// The log of one pool.
pub struct Log {
    wan: bool,
    since: Instant,
    lines: u32,
    hidden: u64,
}

/// A line in the log of the pool's subsystem, which has to be known when it is compiled.
macro_rules! line {
    ($it:expr, $level:ident, $($what:tt)*) => {
        if $it.wan {
            tracing::$level!(target: "agent.server.serf.wan", $($what)*)
        } else {
            tracing::$level!(target: "agent.server.serf.lan", $($what)*)
        }
    };
}

impl Log {
    /// The log of the pool `lan` or `wan`.
    pub fn new(pool: &str) -> Log {
        Log {
            wan: pool == "wan",
            since: Instant::now(),
            lines: 0,
            hidden: 0,
        }
    }

    /// Whether a line that others can cause may be written.
    fn may(&mut self) -> bool {
        if self.since.elapsed() >= PER {
            self.since = Instant::now();
            self.lines = 0;
        }
        if self.lines >= LINES {
            self.hidden += 1;
            return false;
        }
        self.lines += 1;
        let hidden = std::mem::take(&mut self.hidden);
        if hidden > 0 {
            line!(self, warn, lines = hidden, "serf: lines left out");
        }
        true
    }

    /// A user event came faster than the agent takes them.
    pub fn lost_event(&mut self) {
        if self.may() {
            line!(self, warn, "serf: user event dropped, too many wait");
        }
    }

    /// Something happened in the pool.
    pub fn event(&mut self, event: &Event) {
        match event {
            Event::MemberJoin(m) => {
                line!(
                    self,
                    info,
                    "serf: EventMemberJoin: {} {}",
                    m.name,
                    m.addr.ip()
                )
            }
            Event::MemberUpdate(m) => line!(self, info, "serf: EventMemberUpdate: {}", m.name),
            Event::MemberLeave(m) => {
                line!(
                    self,
                    info,
                    "serf: EventMemberLeave: {} {}",
                    m.name,
                    m.addr.ip()
                )
            }
            Event::MemberFailed(m) => {
                line!(
                    self,
                    info,
                    "serf: EventMemberFailed: {} {}",
                    m.name,
                    m.addr.ip()
                )
            }
            Event::MemberReap(m) => line!(self, info, "serf: EventMemberReap: {}", m.name),
            Event::NameConflict { name, known, other } if self.may() => {
                line!(
                    self,
                    error,
                    "serf: Name conflict for '{name}' both {known} and {other} are claiming"
                )
            }
            Event::Note(note) if self.may() => self.note(note),
            _ => {}
        }
    }

    fn note(&self, note: &Note) {
        match note {
            Note::Packet { from, error } => {
                line!(self, warn, from = %from, error = %error, "memberlist: packet dropped")
            }
            Note::Message { error } => {
                line!(self, warn, error = %error, "serf: message dropped")
            }
            // Who wanted the exchange says why it failed.
            Note::Stream {
                error: StreamError::Failed(_) | StreamError::Leaving,
                ..
            } => {}
            Note::Stream { with, error } => {
                line!(self, warn, with = %with, error = %error, "memberlist: exchange failed")
            }
            Note::Refuted { from } => {
                line!(
                    self,
                    warn,
                    "memberlist: Refuting a suspect message (from: {from})"
                )
            }
            Note::Suspect { node, from } => {
                line!(self, info, from = %from, "memberlist: Suspect {node} has failed, no acks received")
            }
            Note::OnlyTcp { node } => {
                line!(
                    self,
                    warn,
                    "memberlist: Was able to connect to {node} over TCP but UDP probes failed, network may be misconfigured"
                )
            }
            Note::Refused { node, why } => {
                line!(self, warn, node = %node, error = %why, "memberlist: member refused")
            }
            Note::Paused { lasted } if *lasted < Duration::from_secs(1) => {
                line!(self, debug, lasted = ?lasted, "memberlist: this process was late")
            }
            Note::Paused { lasted } => {
                line!(self, warn, lasted = ?lasted, "memberlist: this process did not run for a while")
            }
            Note::QueueFull { dropped } => {
                line!(self, warn, dropped, "serf: queue is full, messages dropped")
            }
            _ => {}
        }
    }
}
