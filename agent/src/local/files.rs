//! The files of the data directory that hold what was registered by the API: Consul's layout and
//! names, so that an operator finds what they know.

use lictor_wire::{CheckType, HealthCheck, NodeService, Status, Str, gojson};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The format of these files. Raised when an older binary could not read them.
pub const FORMAT: u32 = 1;

/// The files of one agent.
#[derive(Clone, Debug)]
pub struct Files {
    root: PathBuf,
}

/// A service as it is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SavedService {
    /// The format; files of Consul have none.
    #[serde(default = "first_format")]
    pub lictor_format: u32,
    /// The token it was registered with.
    #[serde(default)]
    pub token: Str,
    /// The service.
    pub service: NodeService,
    /// `remote`: registered by the API. `docker`: for a container, and removed with it.
    #[serde(default)]
    pub source: Str,
}

/// A check as it is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SavedCheck {
    /// The format; files of Consul have none.
    #[serde(default = "first_format")]
    pub lictor_format: u32,
    /// The check.
    pub check: HealthCheck,
    /// What it does.
    #[serde(rename = "ChkType")]
    pub kind: Option<CheckType>,
    /// The token it was registered with.
    #[serde(default)]
    pub token: Str,
    /// `remote`: registered by the API. `docker`: for a container, and removed with it.
    #[serde(default)]
    pub source: Str,
}

/// The last state of a TTL check.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SavedState {
    /// The check.
    #[serde(rename = "CheckID")]
    pub check_id: Str,
    /// Its output.
    pub output: Str,
    /// Its status.
    pub status: Status,
    /// Until when the state counts, in seconds since 1970.
    pub expires: u64,
}

fn first_format() -> u32 {
    1
}

/// Why the files cannot be used. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FilesError {
    /// The system refused.
    #[error("{path}: {error}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Written by a newer version.
    #[error(
        "{path} has format {found}, this version reads format {FORMAT}: it was written by a newer lictor"
    )]
    Newer {
        /// Which file.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
}

impl Files {
    /// The files below a data directory. The folders are made.
    pub fn open(data_dir: &Path) -> Result<Files, FilesError> {
        let files = Files {
            root: data_dir.to_owned(),
        };
        for folder in ["services", "checks", "checks/state"] {
            let path = files.root.join(folder);
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&path)
                .map_err(|error| FilesError::Io { path, error })?;
        }
        Ok(files)
    }

    fn path(&self, folder: &str, id: &str) -> PathBuf {
        let name: String = Sha256::digest(id.as_bytes())
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        self.root.join(folder).join(name)
    }

    /// Keeps a service. `source` is the word of where it came from.
    pub fn save_service(&self, service: &NodeService, token: &Str, source: &str) {
        let saved = SavedService {
            lictor_format: FORMAT,
            token: token.clone(),
            service: service.clone(),
            source: source.into(),
        };
        self.write(&self.path("services", &service.id), &saved, true);
    }

    /// Keeps a check.
    pub fn save_check(
        &self,
        check: &HealthCheck,
        kind: Option<&CheckType>,
        token: &Str,
        source: &str,
    ) {
        let saved = SavedCheck {
            lictor_format: FORMAT,
            check: check.clone(),
            kind: kind.cloned(),
            token: token.clone(),
            source: source.into(),
        };
        self.write(&self.path("checks", &check.check_id), &saved, true);
    }

    /// Keeps the state of a TTL check.
    pub fn save_state(&self, state: &SavedState) {
        self.write(&self.path("checks/state", &state.check_id), state, false);
    }

    /// Forgets a service.
    pub fn remove_service(&self, id: &str) {
        remove(&self.path("services", id));
    }

    /// Forgets a check and its state.
    pub fn remove_check(&self, id: &str) {
        remove(&self.path("checks", id));
        remove(&self.path("checks/state", id));
    }

    /// A failure to keep a registration is logged, not returned: the registration itself stands.
    fn write<T: Serialize>(&self, path: &Path, value: &T, sync: bool) {
        if let Err(error) = replace(path, &gojson::to_vec(value), sync) {
            tracing::error!(target: "agent", file = %path.display(), error = %error, "failed to keep a registration for the next start");
        }
    }

    /// All services kept. Those that cannot be read are logged and left where they are.
    pub fn services(&self) -> Result<Vec<SavedService>, FilesError> {
        self.read_all(
            "services",
            "Failed decoding service file",
            |s: &SavedService| s.lictor_format,
        )
    }

    /// All checks kept.
    pub fn checks(&self) -> Result<Vec<SavedCheck>, FilesError> {
        self.read_all("checks", "Failed decoding check file", |c: &SavedCheck| {
            c.lictor_format
        })
    }

    fn read_all<T: DeserializeOwned>(
        &self,
        folder: &str,
        broken: &str,
        format: fn(&T) -> u32,
    ) -> Result<Vec<T>, FilesError> {
        let folder = self.root.join(folder);
        let io = |path: &Path| {
            let path = path.to_owned();
            move |error| FilesError::Io { path, error }
        };
        let mut out = Vec::new();
        for entry in fs::read_dir(&folder).map_err(io(&folder))? {
            let path = entry.map_err(io(&folder))?.path();
            if path.is_dir() {
                continue;
            }
            if path.extension().is_some_and(|e| e == "tmp") {
                tracing::warn!(target: "agent", file = %path.display(), "Ignoring temporary file");
                continue;
            }
            let bytes = fs::read(&path).map_err(io(&path))?;
            // The format first: a newer file need not fit our types.
            #[derive(Deserialize)]
            struct Version {
                #[serde(rename = "LictorFormat", default = "first_format")]
                format: u32,
            }
            if let Ok(Version { format: found }) = serde_json::from_slice(&bytes)
                && found > FORMAT
            {
                return Err(FilesError::Newer { path, found });
            }
            match gojson::decode::<T>(&bytes, gojson::Mode::Lenient, "file") {
                Ok(value) if format(&value) <= FORMAT => out.push(value),
                Ok(_) => {}
                Err(error) => {
                    tracing::error!(target: "agent", file = %path.display(), error = %error, "{broken}")
                }
            }
        }
        Ok(out)
    }

    /// The last state of a TTL check, if it still counts at `now` (seconds since 1970).
    pub fn state(&self, id: &str, now: u64) -> Option<SavedState> {
        let path = self.path("checks/state", id);
        let bytes = fs::read(&path).ok()?;
        match serde_json::from_slice::<SavedState>(&bytes) {
            Ok(state) if state.expires > now => Some(state),
            Ok(_) => {
                tracing::debug!(target: "agent", check = %id, "check state expired, not restoring");
                remove(&path);
                None
            }
            Err(error) => {
                tracing::error!(target: "agent", file = %path.display(), error = %error, "failed decoding check state");
                remove(&path);
                None
            }
        }
    }
}

fn remove(path: &Path) {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::error!(target: "agent", file = %path.display(), error = %error, "failed to remove a file");
        }
        _ => {}
    }
}

/// Replaces a file in one step: a reader sees the old one or the new one.
pub fn replace(path: &Path, bytes: &[u8], sync: bool) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)?;
    file.write_all(bytes)?;
    if sync {
        file.sync_all()?;
    }
    drop(file);
    fs::rename(&temporary, path)?;
    if sync && let Some(folder) = path.parent() {
        fs::File::open(folder)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use lictor_wire::GoDuration;

    /// A folder of its own that goes with the test.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Folder {
            let path =
                std::env::temp_dir().join(format!("lictor-files-{}-{name}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Folder(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).ok();
        }
    }

    fn service() -> NodeService {
        NodeService {
            id: "web-1".into(),
            service: "web".into(),
            tags: ["v1".into()].into(),
            meta: Some([("owner", "a")].into_iter().collect()),
            port: 80,
            ..NodeService::default()
        }
    }

    fn check() -> (HealthCheck, CheckType) {
        let check = HealthCheck {
            node: "n".into(),
            check_id: "c".into(),
            name: "alive".into(),
            service_id: "web-1".into(),
            kind: "ttl".into(),
            ..HealthCheck::default()
        };
        let kind = CheckType {
            check_id: "c".into(),
            name: "alive".into(),
            ttl: GoDuration::from_secs(60),
            ..CheckType::default()
        };
        (check, kind)
    }

    fn state() -> SavedState {
        SavedState {
            check_id: "c".into(),
            output: "well".into(),
            status: Status::Passing,
            expires: 1_000,
        }
    }

    /// What is written today must be what an agent of another day can read: the golden files are
    /// what the first release wrote. `LICTOR_WRITE_GOLDEN=1` writes them anew.
    #[test]
    fn the_files_are_what_they_were() {
        let folder = Folder::new("golden");
        let files = Files::open(&folder.0).unwrap();
        let (check, kind) = check();
        files.save_service(&service(), &Str::from("t"), "remote");
        files.save_check(&check, Some(&kind), &Str::new(), "remote");
        files.save_state(&state());
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/local/golden");
        for (path, name) in [
            (files.path("services", "web-1"), "service.json"),
            (files.path("checks", "c"), "check.json"),
            (files.path("checks/state", "c"), "state.json"),
        ] {
            let written = fs::read_to_string(&path).unwrap();
            if std::env::var_os("LICTOR_WRITE_GOLDEN").is_some() {
                fs::write(golden.join(name), &written).unwrap();
            }
            assert_eq!(
                written,
                fs::read_to_string(golden.join(name)).unwrap(),
                "{name}"
            );
        }
        let back = files.services().unwrap();
        assert_eq!((back.len(), &back[0].service), (1, &service()));
        assert_eq!(back[0].token, "t");
        let back = files.checks().unwrap();
        assert_eq!(
            (&back[0].check, back[0].kind.as_ref()),
            (&check, Some(&kind))
        );
        assert_eq!(files.state("c", 999).unwrap().output, "well");
    }

    #[test]
    fn a_state_counts_until_it_expires() {
        let folder = Folder::new("state");
        let files = Files::open(&folder.0).unwrap();
        files.save_state(&state());
        assert!(files.state("c", 1_000).is_none());
        assert!(
            !files.path("checks/state", "c").exists(),
            "and is forgotten then"
        );
    }

    #[test]
    fn a_newer_file_is_refused_by_name_and_a_broken_one_left_alone() {
        let folder = Folder::new("newer");
        let files = Files::open(&folder.0).unwrap();
        let broken = folder.0.join("services/broken");
        fs::write(&broken, "{").unwrap();
        assert!(files.services().unwrap().is_empty());
        assert_eq!(fs::read_to_string(&broken).unwrap(), "{");
        let newer = folder.0.join("services/newer");
        fs::write(&newer, r#"{"LictorFormat":99,"Service":7}"#).unwrap();
        let text = files.services().unwrap_err().to_string();
        assert!(
            text.contains("services/newer") && text.contains("format 99") && text.contains("newer"),
            "{text}"
        );
    }

    #[test]
    fn files_of_consul_are_read() {
        let folder = Folder::new("consul");
        let files = Files::open(&folder.0).unwrap();
        let text = r#"{"Token":"","Service":{"ID":"web","Service":"web","Tags":null,"Address":"","Meta":{"a":"b"},"Port":80,"Weights":{"Passing":1,"Warning":1},"EnableTagOverride":false,"Proxy":{"Mode":"","MeshGateway":{},"Expose":{}},"Connect":{},"PeerName":"","CreateIndex":0,"ModifyIndex":0},"Source":"remote"}"#;
        fs::write(files.path("services", "web"), text).unwrap();
        let back = files.services().unwrap();
        assert_eq!((back.len(), back[0].service.port), (1, 80));
    }
}
