//! The keys of the pools: from the configuration, and from the files that rotations are kept in.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use tokio::sync::watch;

/// The keys that a pool starts with, the primary one first, and the file they are kept in.
#[derive(Debug, Default)]
pub struct Keys {
    /// The keys; none for a pool without encryption.
    pub keys: Vec<Vec<u8>>,
    /// Where changes are kept.
    pub file: Option<PathBuf>,
}

/// Reads the keys of a pool by Consul's rules: a file wins over the configuration, and the first
/// start writes it. `encrypt` is the configured key; without a folder nothing is read or written.
/// `pool` is LAN or WAN.
///
/// # Errors
/// The file cannot be read or written, or holds no keys.
pub fn load(encrypt: Option<&str>, folder: Option<&Path>, pool: &str) -> Result<Keys, String> {
    let given = match encrypt {
        None => None,
        Some(text) => {
            let key = STANDARD.decode(text);
            Some(key.map_err(|e| format!("encrypt has invalid key: {e}"))?)
        }
    };
    let Some(folder) = folder else {
        return Ok(Keys {
            keys: given.into_iter().collect(),
            file: None,
        });
    };
    let name = if pool == "WAN" { "remote" } else { "local" };
    let path = folder.join(format!("{name}.keyring"));
    if !path.exists() {
        if let Some(key) = &given {
            save(&path, std::slice::from_ref(key))?;
        }
        return Ok(Keys {
            keys: given.into_iter().collect(),
            file: Some(path),
        });
    }
    let keys = read(&path)?;
    if given.is_some_and(|key| !keys.contains(&key)) {
        tracing::warn!(target: "agent", keyring = pool, "keyring doesn't include key provided with -encrypt, using keyring");
    }
    Ok(Keys {
        keys,
        file: Some(path),
    })
}

fn failed(what: &str, path: &Path, why: impl std::fmt::Display) -> String {
    format!("failed to {what} keyring {}: {why}", path.display())
}

fn read(path: &Path) -> Result<Vec<Vec<u8>>, String> {
    let text =
        std::fs::read(path).map_err(|e| failed("read", path, crate::members::go_error(&e)))?;
    let texts: Vec<String> = serde_json::from_slice(&text).map_err(|e| failed("read", path, e))?;
    let keys: Result<Vec<Vec<u8>>, _> = texts.iter().map(|text| STANDARD.decode(text)).collect();
    let keys = keys.map_err(|e| failed("read", path, e))?;
    if keys.is_empty() {
        return Err(format!("no keys present in keyring: {}", path.display()));
    }
    Ok(keys)
}

/// Writes a keyring file, whole or not at all, for its owner only.
fn save(path: &Path, keys: &[Vec<u8>]) -> Result<(), String> {
    let texts: Vec<String> = keys.iter().map(|key| STANDARD.encode(key)).collect();
    let text = serde_json::to_string_pretty(&texts).unwrap_or_default();
    let beside = path.with_extension("keyring.tmp");
    let write = || {
        let mut file = std::fs::OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&beside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&beside, path)
    };
    write().map_err(|e| failed("write", path, crate::members::go_error(&e)))
}

/// Keeps the file equal to the keys of the pool.
pub async fn keep(path: PathBuf, mut keys: watch::Receiver<Vec<Vec<u8>>>) {
    while keys.changed().await.is_ok() {
        let now = keys.borrow_and_update().clone();
        let path = path.clone();
        let saved = tokio::task::spawn_blocking(move || save(&path, &now)).await;
        if let Ok(Err(error)) = saved {
            tracing::error!(target: "agent", error = %error, "a change of the gossip keys is lost at the next start");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_wins_and_the_first_start_writes_it() {
        let dir = std::env::temp_dir().join(format!("lictor-keyring-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("local.keyring");
        let load = |key: Option<&[u8]>| {
            let text = key.map(|key| STANDARD.encode(key));
            load(text.as_deref(), Some(&dir), "LAN").map(|keys| keys.keys)
        };
        assert_eq!(load(None).unwrap().len(), 0);
        assert_eq!(load(Some(&[1; 16])).unwrap(), [[1; 16]]);
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &std::fs::metadata(&path).unwrap().permissions(),
        );
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(load(None).unwrap(), [[1; 16]], "from the file");
        assert_eq!(load(Some(&[2; 16])).unwrap(), [[1; 16]]);
        save(&path, &[vec![3; 32], vec![1; 16]]).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("[\n  \"AwMD"), "{text}");
        assert_eq!(load(None).unwrap().len(), 2);
        std::fs::write(&path, "[]").unwrap();
        let error = load(None).unwrap_err();
        assert!(error.starts_with("no keys present in keyring: "), "{error}");
        std::fs::remove_dir_all(dir).unwrap();
    }
}
