//! The configuration of autopilot: replicated, so that every leader follows the same one.

use crate::apply::Step;
use crate::command::Outcome;
use crate::watch::WatchKey;
use lictor_wire::{GoDuration, Str};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// How autopilot looks after the servers. The defaults are Consul's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AutopilotConfig {
    /// Remove servers that have failed.
    pub cleanup_dead_servers: bool,
    /// A server that has not heard the leader for longer is not healthy.
    pub last_contact_threshold: GoDuration,
    /// A server whose log is further behind, in entries, is not healthy.
    pub max_trailing_logs: u64,
    /// No server is removed below this number of voters; zero: no such limit.
    pub min_quorum: u64,
    /// A server must be healthy for so long before it gets a vote.
    pub server_stabilization_time: GoDuration,
    /// Stored without effect, as in Consul's free edition.
    pub redundancy_zone_tag: Str,
    /// Stored without effect.
    pub disable_upgrade_migration: bool,
    /// Stored without effect.
    pub upgrade_version_tag: Str,
    /// The entry that first set it.
    pub create_index: u64,
    /// The entry that last set it.
    pub modify_index: u64,
}

impl Default for AutopilotConfig {
    fn default() -> AutopilotConfig {
        AutopilotConfig {
            cleanup_dead_servers: true,
            last_contact_threshold: GoDuration::from_millis(200),
            max_trailing_logs: 250,
            min_quorum: 0,
            server_stabilization_time: GoDuration::from_secs(10),
            redundancy_zone_tag: Str::new(),
            disable_upgrade_migration: false,
            upgrade_version_tag: Str::new(),
            create_index: 0,
            modify_index: 0,
        }
    }
}

/// When a configuration takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AutopilotRule {
    /// Whatever there is.
    Always,
    /// If there is none yet.
    IfAbsent,
    /// If the present one was last set by this entry.
    Cas(u64),
}

/// A new configuration of autopilot; its indexes do not count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AutopilotChange {
    /// The configuration.
    pub config: AutopilotConfig,
    /// When it takes effect.
    pub rule: AutopilotRule,
}

impl Step<'_> {
    /// Gives whether the configuration was set.
    pub(crate) fn autopilot(&mut self, change: &AutopilotChange) -> Outcome {
        let old = self.v.autopilot.as_deref();
        let wanted = match change.rule {
            AutopilotRule::Always => true,
            AutopilotRule::IfAbsent => old.is_none(),
            AutopilotRule::Cas(index) => old.is_some_and(|o| o.modify_index == index),
        };
        if wanted {
            let create_index = old.map_or(self.index, |o| o.create_index);
            self.v.autopilot = Some(Arc::new(AutopilotConfig {
                create_index,
                modify_index: self.index,
                ..change.config.clone()
            }));
            self.changes.touch(WatchKey::Autopilot);
        }
        Outcome::Flag(wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Changes, Command, Entry, State, read_snapshot, write_snapshot};

    fn set(state: &mut State, index: u64, min_quorum: u64, rule: AutopilotRule) -> Outcome {
        let config = AutopilotConfig {
            min_quorum,
            ..AutopilotConfig::default()
        };
        let command = Command::Autopilot(Box::new(AutopilotChange { config, rule }));
        let entry = Entry { at: 0, command };
        let entry = Entry::decode(&entry.encode()).unwrap();
        state.apply(index, &entry, &mut Changes::default())
    }

    #[test]
    fn the_first_seed_stays_and_cas_compares() {
        let mut state = State::default();
        let now = |state: &State| {
            let view = state.view();
            let c = view.autopilot().unwrap();
            (c.min_quorum, c.create_index, c.modify_index)
        };
        assert_eq!(
            set(&mut state, 3, 1, AutopilotRule::IfAbsent),
            Outcome::Flag(true)
        );
        assert_eq!(
            set(&mut state, 4, 2, AutopilotRule::IfAbsent),
            Outcome::Flag(false)
        );
        assert_eq!(now(&state), (1, 3, 3));
        assert_eq!(
            set(&mut state, 5, 2, AutopilotRule::Cas(4)),
            Outcome::Flag(false)
        );
        assert_eq!(
            set(&mut state, 6, 2, AutopilotRule::Cas(3)),
            Outcome::Flag(true)
        );
        assert_eq!(now(&state), (2, 3, 6));
        assert_eq!(
            set(&mut state, 7, 3, AutopilotRule::Always),
            Outcome::Flag(true)
        );
        assert_eq!(now(&state), (3, 3, 7));
        let mut bytes = Vec::new();
        write_snapshot(&state.view(), &mut bytes).unwrap();
        let view = read_snapshot(&mut bytes.as_slice(), 1).unwrap();
        assert_eq!(view.autopilot(), state.view().autopilot());
    }
}
