//! The agent's log: events of `tracing` as lines in the form of Consul's log.
//!
//! ```text
//! 2026-11-21T11:22:36.134Z [INFO]  agent.server: New leader elected: payload=node-1
//! ```
//!
//! The target of an event is its subsystem: those of the agent begin with
//! `agent` and are shown as they are, other ones are put under `agent` (see
//! [`subsystem`]). Events of libraries are shown from `WARN` up only, unless
//! the level is `TRACE`. Spans are not recorded and cost nothing.
//!
//! Lines go to standard output and, if asked for, to a file that is rotated, to
//! the local syslog, and to whoever follows the log by [`Handle::monitor`].
//! None of them can hold up the code that logs: what they cannot take in time
//! is dropped and counted.

mod file;
mod format;
mod level;
mod monitor;
mod normal;
mod pipe;
mod subscriber;
mod syslog;
mod time;

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

pub use level::Level;
pub use monitor::MonitorStream;
pub use subscriber::subsystem;

use file::RotatingFile;
use pipe::{Pipe, Stdout};
use subscriber::{Hub, Subscriber};
use syslog::Syslog;

/// Most bytes that wait for standard output, or for the file, before lines are
/// dropped: more than 1024 lines of the usual length.
const BACKLOG: usize = 256 * 1024;

/// How long [`Handle::flush`] waits for a slow output.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// Where the log goes and what it holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Least severe level that is written.
    pub level: Level,
    /// Write one JSON object per line to standard output and to the file.
    pub json: bool,
    /// Write to a file as well.
    pub file: Option<FileSettings>,
    /// Write to the local syslog as well, under this facility, such as `LOCAL0`.
    pub syslog: Option<String>,
    /// Name of the program, the tag of messages to syslog; empty means `lictor`.
    pub name: String,
}

/// The file of the log and its rotation.
///
/// The current file always has the same name; on rotation it is renamed to
/// `<name>-<nanoseconds since 1970><extension>`, as Consul does it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSettings {
    /// Path of the current file. A directory, or a path that ends in `/`, means
    /// the file `consul.log` therein.
    pub path: String,
    /// Rotate once the file has so many bytes; 0: however large it is.
    pub rotate_bytes: u64,
    /// Rotate once the file has been written for so long; zero: 24 hours.
    pub rotate_duration: Duration,
    /// Rotated files to keep; 0: all, negative: none.
    pub rotate_max_files: i64,
}

/// Why logging cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file, or its directory, cannot be written.
    #[error("Failed to setup logging: open {path}: {source}")]
    File {
        /// The file.
        path: String,
        /// What the system says.
        source: io::Error,
    },
    /// No syslog listens on this machine.
    #[error("Syslog setup error: {path}: {source}")]
    Syslog {
        /// Its socket.
        path: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// Syslog has no facility of this name.
    #[error("Syslog setup error: invalid syslog facility: {0}")]
    Facility(String),
    /// A thread that writes cannot be started, or standard output is closed.
    #[error("Failed to setup logging: {0}")]
    Start(#[from] io::Error),
    /// The program has a log already.
    #[error("Failed to setup logging: a log is set up already")]
    AlreadySet,
}

/// Makes the log that `settings` describe the one of this program.
///
/// Standard output is held back until [`Handle::release`], so that a banner can
/// come first. Keep a handle until the end of the program: the last one writes
/// what is still held when it is dropped.
///
/// # Errors
///
/// See [`Error`]. Nothing is set up then.
pub fn init(settings: Settings) -> Result<Handle, Error> {
    let (hub, handle) = build(settings)?;
    tracing::subscriber::set_global_default(Subscriber::new(hub)).map_err(|_| Error::AlreadySet)?;
    Ok(handle)
}

fn build(settings: Settings) -> Result<(Arc<Hub>, Handle), Error> {
    let tag = if settings.name.is_empty() {
        "lictor"
    } else {
        &settings.name
    };
    let syslog = settings
        .syslog
        .as_deref()
        .map(|facility| Syslog::connect(facility, tag))
        .transpose()?;
    let file = match settings.file {
        Some(file) => {
            let shown = file.path.clone();
            let opened = RotatingFile::open(file, SystemTime::now());
            Some(opened.map_err(|source| Error::File {
                path: shown,
                source,
            })?)
        }
        None => None,
    };
    let stdout = Pipe::start("log-stdout", Stdout::open()?, BACKLOG, true)?;
    let file = file
        .map(|file| Pipe::start("log-file", file, BACKLOG, false))
        .transpose()?;
    let hub = Arc::new(Hub::new(
        settings.level,
        settings.json,
        Some(stdout),
        file,
        syslog,
    ));
    Ok((
        hub.clone(),
        Handle {
            ending: Arc::new(Ending { hub }),
        },
    ))
}

/// Steers the log. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    ending: Arc<Ending>,
}

/// Writes what is held when the last handle goes.
struct Ending {
    hub: Arc<Hub>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.hub.release();
        self.hub.flush(FLUSH_TIMEOUT);
    }
}

impl Handle {
    /// Sets the least severe level that is written from now on. Monitors keep
    /// theirs.
    pub fn set_level(&self, level: Level) {
        self.ending.hub.set_level(level);
    }

    /// The level in force.
    pub fn level(&self) -> Level {
        self.ending.hub.level()
    }

    /// Lets standard output have the lines held back so far and all later ones.
    pub fn release(&self) {
        self.ending.hub.release();
    }

    /// Follows the log from now on: events of `level` and more severe ones,
    /// whatever the level of the log is, as lines of text or of JSON.
    pub fn monitor(&self, level: Level, json: bool) -> MonitorStream {
        MonitorStream::new(self.ending.hub.clone(), level, json)
    }

    /// Opens the file of the log anew under its name, for when something else
    /// has renamed it.
    pub fn reopen(&self) {
        self.ending.hub.reopen();
    }

    /// Waits until what was logged so far is written, at most a second per
    /// output. Does not wait for standard output while that is held back.
    pub fn flush(&self) {
        self.ending.hub.flush(FLUSH_TIMEOUT);
    }
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle")
            .field("level", &self.level())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn settings(path: &Path) -> Settings {
        Settings {
            level: Level::Info,
            file: Some(FileSettings {
                path: path.to_string_lossy().into_owned(),
                rotate_bytes: 0,
                rotate_duration: Duration::ZERO,
                rotate_max_files: 0,
            }),
            ..Settings::default()
        }
    }

    #[test]
    fn events_reach_the_file_by_level() {
        let dir = file::tests::scratch("lib");
        let path = dir.join("agent.log");
        let (hub, handle) = build(settings(&path)).unwrap();
        subscriber::tests::with(Subscriber::new(hub), || {
            tracing::debug!(target: "agent", "before");
            tracing::info!(target: "agent.server", payload = "n1", "New leader elected");
            handle.set_level(Level::Debug);
            assert_eq!(handle.level(), Level::Debug);
            tracing::debug!(target: "agent", "after");
            tracing::debug!(target: "hyper::proto", "of a library");
            tracing::warn!(target: "hyper::proto", "warning of a library");
        });
        handle.flush();
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().map(|line| &line[25..]).collect();
        assert_eq!(
            lines,
            [
                "[INFO]  agent.server: New leader elected: payload=n1",
                "[DEBUG] agent: after",
                "[WARN]  agent.hyper: warning of a library",
            ]
        );
    }

    #[test]
    fn a_file_that_cannot_be_written_is_refused() {
        let error = build(settings(Path::new("/proc/nowhere/agent.log")))
            .err()
            .unwrap();
        assert!(
            error
                .to_string()
                .starts_with("Failed to setup logging: open /proc/nowhere/agent.log: "),
            "{error}"
        );
    }

    #[test]
    fn unknown_facilities_are_refused() {
        let settings = Settings {
            syslog: Some("LOCAL9".into()),
            ..Settings::default()
        };
        assert_eq!(
            build(settings).err().unwrap().to_string(),
            "Syslog setup error: invalid syslog facility: LOCAL9"
        );
    }
}
