//! Following the log from within the program.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc;

use crate::level::Level;
use crate::subscriber::Hub;

/// Lines that wait for a slow reader before further ones are dropped, as in
/// Consul.
const WAITING: usize = 512;

/// Numbers monitors, so that each can be taken off again.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// The hub's side.
pub(crate) struct Monitor {
    pub(crate) id: u64,
    pub(crate) level: Level,
    pub(crate) json: bool,
    lines: mpsc::Sender<String>,
    dropped: Arc<AtomicU64>,
}

impl Monitor {
    pub(crate) fn offer(&self, line: &str) {
        match self.lines.try_reserve() {
            Ok(place) => place.send(line.to_owned()),
            Err(_) => {
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// The lines of the log from when it was made until it is dropped.
///
/// At most 512 lines wait; those that come while so many do are dropped.
pub struct MonitorStream {
    id: u64,
    hub: Arc<Hub>,
    lines: mpsc::Receiver<String>,
    dropped: Arc<AtomicU64>,
}

impl MonitorStream {
    pub(crate) fn new(hub: Arc<Hub>, level: Level, json: bool) -> Self {
        let (sender, lines) = mpsc::channel(WAITING);
        let dropped = Arc::new(AtomicU64::new(0));
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        hub.add(Monitor {
            id,
            level,
            json,
            lines: sender,
            dropped: dropped.clone(),
        });
        MonitorStream {
            id,
            hub,
            lines,
            dropped,
        }
    }

    /// The next line, with its newline. A value of many lines makes the text
    /// more than one line. Nothing is lost if the future is dropped.
    pub async fn next(&mut self) -> Option<String> {
        self.lines.recv().await
    }

    /// The next line if there is one.
    pub fn try_next(&mut self) -> Option<String> {
        self.lines.try_recv().ok()
    }

    /// How many lines were dropped so far because the reader was too slow.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

impl Drop for MonitorStream {
    fn drop(&mut self) {
        self.hub.remove(self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subscriber::Subscriber;
    use crate::subscriber::tests::with;

    #[test]
    fn slow_readers_lose_lines_and_are_told_how_many() {
        let hub = Arc::new(Hub::new(Level::Error, false, None, None, None));
        with(Subscriber::new(hub.clone()), || {
            let mut slow = MonitorStream::new(hub.clone(), Level::Info, false);
            let mut json = MonitorStream::new(hub.clone(), Level::Debug, true);
            for n in 0..600 {
                tracing::info!(target: "agent", n, "line");
            }
            assert_eq!(slow.dropped(), 88);
            for n in 0..512 {
                let line = slow.try_next().unwrap();
                assert!(line.ends_with(&format!("agent: line: n={n}\n")), "{line}");
            }
            assert_eq!(slow.try_next(), None);
            tracing::debug!(target: "agent", "not for it");
            tracing::info!(target: "agent", "again");
            assert!(slow.try_next().unwrap().ends_with("agent: again\n"));
            assert_eq!(slow.try_next(), None);
            assert_eq!(json.dropped(), 90);
            assert!(
                json.try_next()
                    .unwrap()
                    .starts_with("{\"@level\":\"info\",\"@message\":\"line\"")
            );
        });
    }

    #[test]
    fn the_level_falls_back_with_the_last_monitor() {
        let hub = Arc::new(Hub::new(Level::Warn, false, None, None, None));
        with(Subscriber::new(hub.clone()), || {
            let enabled = || tracing::enabled!(target: "agent", tracing::Level::DEBUG);
            assert!(!enabled());
            let one = MonitorStream::new(hub.clone(), Level::Debug, false);
            let two = MonitorStream::new(hub.clone(), Level::Trace, false);
            assert!(enabled());
            drop(two);
            assert!(enabled());
            drop(one);
            assert!(!enabled());
        });
    }

    #[test]
    fn readers_wait_for_lines() {
        let hub = Arc::new(Hub::new(Level::Warn, false, None, None, None));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .build()
            .unwrap();
        with(Subscriber::new(hub.clone()), || {
            let mut lines = MonitorStream::new(hub.clone(), Level::Info, false);
            let reader = runtime.spawn(async move {
                let line = lines.next().await;
                (line, lines)
            });
            tracing::info!(target: "agent", "now");
            let (line, _lines) = runtime.block_on(reader).unwrap();
            assert!(line.unwrap().ends_with("[INFO]  agent: now\n"));
        });
    }
}
