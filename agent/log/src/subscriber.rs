//! Where events arrive and are handed on.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, RwLock};
use std::time::{Duration, SystemTime};

use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Event, Metadata, span};

use crate::format::Formatter;
use crate::level::Level;
use crate::monitor::Monitor;
use crate::normal;
use crate::pipe::Pipe;
use crate::syslog::Syslog;

/// The subsystem that an event of `target` is shown under, in two parts to be
/// joined.
///
/// Targets from `agent` on are subsystems already. Crates of Lictor lose their
/// first name, and all but the agent's are put under it; consensus is shown
/// where Consul shows it.
///
/// ```
/// use lictor_log::subsystem;
/// assert_eq!(subsystem("agent.server.raft"), ("", "agent.server.raft"));
/// assert_eq!(subsystem("lictor_agent::leader"), ("", "agent"));
/// assert_eq!(subsystem("lictor_dns::server"), ("agent.", "dns"));
/// assert_eq!(subsystem("openraft::core"), ("agent.", "server.raft"));
/// assert_eq!(subsystem("hyper::proto"), ("agent.", "hyper"));
/// ```
pub fn subsystem(target: &str) -> (&'static str, &str) {
    if is_subsystem(target) {
        return ("", target);
    }
    let name = target.split("::").next().unwrap_or(target);
    match name
        .strip_prefix("lictor")
        .map(|rest| rest.trim_start_matches('_'))
        .unwrap_or(name)
    {
        "" | "agent" | "check" => ("", "agent"),
        "raft" | "openraft" => ("agent.", "server.raft"),
        name => ("agent.", name),
    }
}

fn is_subsystem(target: &str) -> bool {
    target
        .strip_prefix("agent")
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Whether an output of `level` shows events of this kind. An output that shows
/// a kind shows it at each greater level too.
fn shows(level: Level, metadata: &Metadata<'_>) -> bool {
    let needed = Level::of(metadata.level());
    if needed > level {
        return false;
    }
    let target = metadata.target();
    needed <= Level::Warn
        || level == Level::Trace
        || is_subsystem(target)
        || target.starts_with("lictor")
}

/// The outputs of the log.
pub(crate) struct Hub {
    level: AtomicU8,
    /// The greatest level of the monitors; 0 without any.
    monitored: AtomicU8,
    monitors: RwLock<Vec<Monitor>>,
    json: bool,
    stdout: Option<Pipe>,
    file: Option<Pipe>,
    syslog: Option<Syslog>,
}

impl Hub {
    pub(crate) fn new(
        level: Level,
        json: bool,
        stdout: Option<Pipe>,
        file: Option<Pipe>,
        syslog: Option<Syslog>,
    ) -> Hub {
        Hub {
            level: AtomicU8::new(level as u8),
            monitored: AtomicU8::new(0),
            monitors: RwLock::default(),
            json,
            stdout,
            file,
            syslog,
        }
    }

    pub(crate) fn level(&self) -> Level {
        Level::from_u8(self.level.load(Ordering::Relaxed)).unwrap_or_default()
    }

    pub(crate) fn set_level(&self, level: Level) {
        if self.level.swap(level as u8, Ordering::Relaxed) != level as u8 {
            tracing::callsite::rebuild_interest_cache();
        }
    }

    /// The level of the output that shows the most.
    fn ceiling(&self) -> Level {
        let monitored = Level::from_u8(self.monitored.load(Ordering::Relaxed));
        monitored.map_or(self.level(), |monitored| monitored.max(self.level()))
    }

    pub(crate) fn add(&self, monitor: Monitor) {
        self.change(|monitors| monitors.push(monitor));
    }

    pub(crate) fn remove(&self, id: u64) {
        self.change(|monitors| monitors.retain(|monitor| monitor.id != id));
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Monitor>)) {
        let mut monitors = self
            .monitors
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        change(&mut monitors);
        let most = monitors
            .iter()
            .map(|monitor| monitor.level as u8)
            .max()
            .unwrap_or(0);
        let before = self.monitored.swap(most, Ordering::Relaxed);
        // Not with the lock: the rebuilding may log by way of other subscribers.
        drop(monitors);
        if before != most {
            tracing::callsite::rebuild_interest_cache();
        }
    }

    pub(crate) fn release(&self) {
        if let Some(stdout) = &self.stdout {
            stdout.release();
        }
    }

    pub(crate) fn reopen(&self) {
        if let Some(file) = &self.file {
            file.reopen();
        }
    }

    pub(crate) fn flush(&self, timeout: Duration) {
        for pipe in [&self.stdout, &self.file].into_iter().flatten() {
            pipe.flush(timeout);
        }
    }

    fn hand_on(&self, formatter: &mut Formatter, at: SystemTime, event: &Event<'_>) {
        let metadata = event.metadata();
        let normal = normal::is_normal(event);
        let shows = |level| shows(level, metadata) && (!normal || level == Level::Trace);
        let main = shows(self.level());
        let (mut monitored_text, mut monitored_json) = (false, false);
        if self.monitored.load(Ordering::Relaxed) > 0 {
            // Values are formatted without the lock, as their code is not ours.
            for monitor in self
                .monitors()
                .iter()
                .filter(|monitor| shows(monitor.level))
            {
                *(if monitor.json {
                    &mut monitored_json
                } else {
                    &mut monitored_text
                }) = true;
            }
        }
        if monitored_text || main && (!self.json || self.syslog.is_some()) {
            let (line, start) = formatter.text(at, event);
            if main && !self.json {
                self.write(line);
            }
            if let Some(syslog) = self.syslog.as_ref().filter(|_| main) {
                syslog.send(Level::of(metadata.level()), &line[start..]);
            }
            if monitored_text {
                self.tell(&shows, false, line);
            }
        }
        if monitored_json || main && self.json {
            let line = formatter.json(at, event);
            if main && self.json {
                self.write(line);
            }
            if monitored_json {
                self.tell(&shows, true, line);
            }
        }
    }

    fn write(&self, line: &[u8]) {
        for pipe in [&self.stdout, &self.file].into_iter().flatten() {
            pipe.push(line);
        }
    }

    fn tell(&self, shows: &dyn Fn(Level) -> bool, json: bool, line: &[u8]) {
        let line = String::from_utf8_lossy(line);
        for monitor in self.monitors().iter() {
            if monitor.json == json && shows(monitor.level) {
                monitor.offer(&line);
            }
        }
    }

    fn monitors(&self) -> std::sync::RwLockReadGuard<'_, Vec<Monitor>> {
        self.monitors
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Takes the events of `tracing`.
pub(crate) struct Subscriber {
    hub: Arc<Hub>,
}

impl Subscriber {
    pub(crate) fn new(hub: Arc<Hub>) -> Self {
        Subscriber { hub }
    }
}

thread_local! {
    static FORMATTER: RefCell<Formatter> = RefCell::default();
}

impl tracing::Subscriber for Subscriber {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        // Each change of a level has this asked again.
        if self.enabled(metadata) {
            Interest::always()
        } else {
            Interest::never()
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        !metadata.is_span() && shows(self.hub.ceiling(), metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.hub.ceiling().filter())
    }

    fn event(&self, event: &Event<'_>) {
        let at = SystemTime::now();
        // A value may log while it is formatted, and threads log while they
        // end: neither finds the buffers of the thread.
        let done = FORMATTER.try_with(|formatter| match formatter.try_borrow_mut() {
            Ok(mut formatter) => {
                self.hub.hand_on(&mut formatter, at, event);
                true
            }
            Err(_) => false,
        });
        if done != Ok(true) {
            self.hub.hand_on(&mut Formatter::default(), at, event);
        }
    }

    // Spans are never enabled; the methods about them are there for the trait.

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::fmt;
    use std::sync::{Mutex, PoisonError};

    /// Runs `body` with its events going to `subscriber`. Which kinds of events
    /// are wanted is kept for the whole process, so tests take turns.
    pub(crate) fn with<T>(
        subscriber: impl tracing::Subscriber + Send + Sync,
        body: impl FnOnce() -> T,
    ) -> T {
        static TURN: Mutex<()> = Mutex::new(());
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        tracing::subscriber::with_default(subscriber, body)
    }

    #[test]
    fn targets_become_subsystems() {
        for (target, shown) in [
            ("agent", "agent"),
            ("agent.server.raft", "agent.server.raft"),
            ("agents", "agent.agents"),
            ("lictor", "agent"),
            ("lictor::http", "agent"),
            ("lictor_agent::leader", "agent"),
            ("lictor_check::http", "agent"),
            ("lictor_net::server", "agent.net"),
            ("lictor_raft::store", "agent.server.raft"),
            ("openraft::engine", "agent.server.raft"),
            ("hickory_server::server", "agent.hickory_server"),
            ("", "agent"),
        ] {
            let (prefix, name) = subsystem(target);
            assert_eq!(format!("{prefix}{name}"), shown, "{target}");
        }
    }

    #[test]
    fn spans_are_not_enabled() {
        let hub = Arc::new(Hub::new(Level::Trace, false, None, None, None));
        with(Subscriber::new(hub), || {
            assert!(tracing::info_span!(target: "agent", "s").is_disabled());
            assert!(tracing::enabled!(target: "hyper", tracing::Level::TRACE));
        });
    }

    #[test]
    fn levels_filter_before_anything_is_formatted() {
        struct Costly;
        impl fmt::Display for Costly {
            fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
                panic!("formatted");
            }
        }
        let hub = Arc::new(Hub::new(Level::Info, false, None, None, None));
        with(Subscriber::new(hub.clone()), || {
            tracing::debug!(target: "agent", "{}", Costly);
            tracing::info!(target: "openraft::core", "{}", Costly);
            assert!(!tracing::enabled!(target: "agent", tracing::Level::DEBUG));
            hub.set_level(Level::Debug);
            assert!(tracing::enabled!(target: "agent", tracing::Level::DEBUG));
            assert!(tracing::enabled!(target: "lictor_net::x", tracing::Level::DEBUG));
            assert!(!tracing::enabled!(target: "openraft", tracing::Level::DEBUG));
            assert!(tracing::enabled!(target: "openraft", tracing::Level::WARN));
        });
    }
}
