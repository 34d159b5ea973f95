//! What the tests share: a directory that goes away, someone who is told of views, entries.
#![allow(dead_code, reason = "each test takes what it needs")]

use lictor_raft::{Consensus, Options, Publish, ServerInfo, StartError, Storage};
use lictor_state::{Changes, Command, Entry, KvOp, KvVerb, View};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// A directory of a test; removed with it.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new(name: &str) -> Scratch {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path =
            std::env::temp_dir().join(format!("lictor-{name}-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Keeps the latest view and what has happened.
#[derive(Default)]
pub struct Told {
    view: Mutex<View>,
    pub published: AtomicU64,
    pub restored: AtomicU64,
}

impl Told {
    pub fn view(&self) -> View {
        self.view.lock().unwrap().clone()
    }

    pub fn value(&self, key: &str) -> Option<String> {
        self.view()
            .kv(key)
            .map(|entry| String::from_utf8(entry.value.to_vec()).unwrap())
    }
}

impl Publish for Told {
    fn publish(&self, view: View, changes: &Changes) {
        assert!(view.index() > self.view().index(), "views go forward");
        assert!(changes.keys().len() < 100_000);
        *self.view.lock().unwrap() = view;
        self.published.fetch_add(1, Ordering::Relaxed);
    }

    fn restored(&self, view: View) {
        *self.view.lock().unwrap() = view;
        self.restored.fetch_add(1, Ordering::Relaxed);
    }
}

pub fn server(number: u8) -> ServerInfo {
    ServerInfo {
        node_id: format!("00000000-0000-4000-8000-0000000000{number:02x}"),
        name: format!("s{number}"),
        address: format!("10.0.0.{number}:8300"),
    }
}

pub fn options(number: u8, storage: Storage) -> Options {
    Options {
        server: server(number),
        storage,
        bootstrap: true,
        multiplier: 1,
        snapshot_threshold: 8192,
        trailing_logs: 1024,
    }
}

pub async fn start(options: Options) -> Result<(Consensus, Arc<Told>), StartError> {
    let told = Arc::new(Told::default());
    Ok((Consensus::start(options, told.clone()).await?, told))
}

pub fn set(key: &str, value: &str) -> Entry {
    Entry {
        at: 1,
        command: Command::Kv(KvOp {
            verb: KvVerb::Set,
            key: key.into(),
            value: Arc::from(value.as_bytes()),
            flags: 0,
            session: "".into(),
            index: 0,
        }),
    }
}
