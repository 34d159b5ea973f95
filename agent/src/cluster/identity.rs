//! To which cluster this server belongs.
//!
//! Each founding of a cluster has a name. A server takes part in one only, and then speaks about
//! consensus with servers of that cluster only: so two foundings that do not know of each other,
//! or a server with the old data of another cluster, can do no harm.

use super::wire::Founding;
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The file's format. Raised when an older binary could not read it.
const FORMAT: u32 = 1;
const FILE: &str = "cluster.json";

/// What a server knows about its cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Belongs {
    lictor_format: u32,
    /// The cluster's name; empty while it is not known.
    pub cluster: String,
    /// A founding that it has agreed to take part in, and which may or may not take place.
    pub bound: Option<Founding>,
}

/// Keeps [`Belongs`], in a file where there is a data directory.
#[derive(Debug)]
pub struct Identity {
    path: Option<PathBuf>,
    now: Mutex<Belongs>,
}

impl Identity {
    /// Reads what was kept. `dir` is the directory of consensus; `None` keeps nothing.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn open(dir: Option<&Path>) -> Result<Identity, String> {
        let path = dir.map(|dir| dir.join(FILE));
        let now = match path.as_deref().map(|p| (p, std::fs::read(p))) {
            None => Belongs::default(),
            Some((_, Err(e))) if e.kind() == std::io::ErrorKind::NotFound => Belongs::default(),
            Some((path, Err(e))) => return Err(format!("{}: {e}", path.display())),
            Some((path, Ok(bytes))) => {
                let read: Belongs = serde_json::from_slice(&bytes)
                    .map_err(|e| format!("{} is damaged: {e}", path.display()))?;
                if read.lictor_format > FORMAT {
                    return Err(format!(
                        "{} has format {}, this version reads format {FORMAT}: it was written by a newer lictor",
                        path.display(),
                        read.lictor_format
                    ));
                }
                read
            }
        };
        Ok(Identity {
            path,
            now: Mutex::new(now),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Belongs> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known.
    pub fn get(&self) -> Belongs {
        self.lock().clone()
    }

    /// The name of the cluster: that of the founding, if it has taken place.
    pub fn cluster(&self, founded: bool) -> String {
        let now = self.lock();
        match &now.bound {
            Some(bound) if founded => bound.cluster.clone(),
            Some(_) => String::new(),
            None if founded => now.cluster.clone(),
            None => String::new(),
        }
    }

    /// Gives a cluster its name that was made without others.
    ///
    /// # Errors
    /// As [`Identity::change`].
    pub fn founded(&self, name: impl FnOnce() -> String) -> Result<(), String> {
        self.change(|b| {
            if b.cluster.is_empty() && b.bound.is_none() {
                b.cluster = name();
            }
        })
    }

    /// Changes what is known. It is on the disk when this returns.
    ///
    /// # Errors
    /// When it could not be written; then nothing has changed.
    pub fn change(&self, change: impl FnOnce(&mut Belongs)) -> Result<(), String> {
        let mut now = self.lock();
        let mut new = now.clone();
        change(&mut new);
        new.lictor_format = FORMAT;
        if *now == new {
            return Ok(());
        }
        if let Some(path) = &self.path {
            write(path, &new).map_err(|e| format!("{}: {e}", path.display()))?;
        }
        *now = new;
        Ok(())
    }
}

fn write(path: &Path, value: &Belongs) -> std::io::Result<()> {
    let aside = path.with_extension("json.tmp");
    let mut file = std::fs::File::create(&aside)?;
    file.write_all(&serde_json::to_vec(value)?)?;
    file.sync_all()?;
    std::fs::rename(&aside, path)?;
    if let Some(dir) = path.parent() {
        std::fs::File::open(dir)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_kept_and_newer_files_are_refused() {
        let dir = std::env::temp_dir().join(format!("lictor-identity-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let founding = Founding {
            cluster: "c1".to_owned(),
            founder: "a".to_owned(),
            members: Vec::new(),
        };
        let identity = Identity::open(Some(&dir)).unwrap();
        identity
            .change(|b| b.bound = Some(founding.clone()))
            .unwrap();
        // Bound is not founded.
        assert_eq!(identity.cluster(false), "");
        assert_eq!(identity.cluster(true), "c1");
        let again = Identity::open(Some(&dir)).unwrap();
        assert_eq!(again.get(), identity.get());
        again.change(|b| b.lictor_format = 0).unwrap();
        std::fs::write(dir.join(FILE), br#"{"LictorFormat":2}"#).unwrap();
        assert!(Identity::open(Some(&dir)).unwrap_err().contains("newer"));
        std::fs::write(dir.join(FILE), b"{").unwrap();
        assert!(Identity::open(Some(&dir)).unwrap_err().contains("damaged"));
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
