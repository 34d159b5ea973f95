//! The log of a whole program. In one test, as a program has one log only.

use std::fmt;
use std::time::Duration;

use lictor_log::{Error, FileSettings, Level, Settings};

/// A value that logs while it is formatted.
struct Noisy;

impl fmt::Display for Noisy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        tracing::info!(target: "agent.inner", "inner");
        f.write_str("outer")
    }
}

/// A value that must not be formatted.
struct Costly;

impl fmt::Display for Costly {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("formatted");
    }
}

#[test]
fn a_program_logs() {
    let path = std::env::temp_dir().join(format!("lictor-log-{}-global.log", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let settings = || Settings {
        level: Level::Info,
        json: false,
        file: Some(FileSettings {
            path: path.to_string_lossy().into_owned(),
            rotate_bytes: 0,
            rotate_duration: Duration::ZERO,
            rotate_max_files: 0,
        }),
        syslog: None,
        name: "test".to_owned(),
    };
    let log = lictor_log::init(settings()).unwrap();
    assert!(matches!(
        lictor_log::init(settings()),
        Err(Error::AlreadySet)
    ));

    tracing::info!(target: "agent", value = %Noisy, "event");
    tracing::debug!(target: "agent", value = %Costly, "not wanted");
    tracing::info!(target: "openraft::core", value = %Costly, "not wanted");

    // Followers see what the log leaves out, from any thread.
    let mut lines = log.monitor(Level::Debug, true);
    let thread = std::thread::spawn(|| tracing::debug!(target: "agent.cache", n = 1, "details"));
    thread.join().unwrap();
    let line = lines.try_next().unwrap();
    assert!(
        line.contains(r#""@module":"agent.cache""#) && line.ends_with(",\"n\":1}\n"),
        "{line}"
    );
    drop(lines);
    tracing::debug!(target: "agent", value = %Costly, "not wanted any more");

    let kept = log.clone();
    drop(log);
    kept.set_level(Level::Trace);
    tracing::trace!(target: "openraft::core", "all of it");
    kept.set_level(Level::Error);
    tracing::warn!(target: "agent", value = %Costly, "not wanted");
    kept.flush();

    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let lines: Vec<&str> = text.lines().map(|line| &line[25..]).collect();
    assert_eq!(
        lines,
        [
            "[INFO]  agent.inner: inner",
            "[INFO]  agent: event: value=outer",
            "[TRACE] agent.server.raft: all of it",
        ]
    );
}
