//! Programs of other people that some tests need.

use std::path::{Path, PathBuf};

/// Where Debian puts PostgreSQL's programs: a folder for each version.
const POSTGRESQL: &str = "/usr/lib/postgresql";

/// Where a program is. Panics with what to install if it is missing: a test without its peer
/// fails, it is not left out.
#[track_caller]
pub fn peer(program: &str, package: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let extra = ["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from);
    let versions = std::fs::read_dir(Path::new(POSTGRESQL))
        .into_iter()
        .flatten();
    let versions = versions.filter_map(|entry| Some(entry.ok()?.path().join("bin")));
    let places = std::env::split_paths(&path).chain(extra).chain(versions);
    let found = places
        .map(|dir| dir.join(program))
        .find(|path| path.is_file());
    found.unwrap_or_else(|| {
        panic!("this test needs {program}, which is not installed: Debian's package {package} has it, and tests/run installs it")
    })
}
