//! Where the programs under test are.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// The folder of the workspace.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests/ lies in the workspace")
}

/// The agent: `LICTOR_BIN`, else the newest that was built.
pub fn lictor_binary() -> &'static Path {
    static FOUND: LazyLock<PathBuf> = LazyLock::new(|| find("LICTOR_BIN", "lictor"));
    &FOUND
}

/// The demo: `LICTOR_DEMO_BIN`, else the newest that was built.
pub fn demo_binary() -> &'static Path {
    static FOUND: LazyLock<PathBuf> = LazyLock::new(|| find("LICTOR_DEMO_BIN", "lictor-demo"));
    &FOUND
}

/// What runs in the containers of tests: `LICTOR_TEST_CONTAINER`, else the newest that was built. It
/// must be static.
pub fn container_binary() -> &'static Path {
    static FOUND: LazyLock<PathBuf> =
        LazyLock::new(|| find("LICTOR_TEST_CONTAINER", "lictor-test-container"));
    &FOUND
}

fn find(variable: &str, name: &str) -> PathBuf {
    if let Some(given) = std::env::var_os(variable) {
        let path = PathBuf::from(given);
        assert!(
            path.is_file(),
            "{variable} names {}, which is no file",
            path.display()
        );
        return path;
    }
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| workspace().join("target"), PathBuf::from);
    let static_target = target.join(format!("{}-unknown-linux-gnu", std::env::consts::ARCH));
    let built = [&target, &static_target]
        .into_iter()
        .flat_map(|dir| ["debug", "quick", "release"].map(|profile| dir.join(profile).join(name)))
        .filter_map(|path| Some((path.metadata().ok()?.modified().ok()?, path)))
        .max();
    match built {
        Some((_, path)) => path,
        None => panic!(
            "{name} is not built: run `cargo build -p {name}`, or name it with {variable}, \
             or start all tests with tests/run"
        ),
    }
}
