//! What the code may not do, held by the tools: the core crates know no clock, no chance, no file
//! and no socket, and are built on no runtime.

use lictor_tests::{Folder, Output, run, workspace};
use std::path::PathBuf;
use std::time::Duration;

/// The crates in `agent/core`, by their folders.
fn core_crates() -> Vec<PathBuf> {
    let dir = std::fs::read_dir(workspace().join("agent/core")).expect("the folder of the cores");
    let crates: Vec<PathBuf> = dir
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.join("Cargo.toml").is_file())
        .collect();
    assert!(crates.len() >= 5, "{crates:?}");
    crates
}

async fn cargo(dir: &std::path::Path, args: &[&str]) -> Output {
    let path = std::env::var_os("CARGO").expect("cargo runs this");
    let home: Vec<(String, String)> = std::env::vars()
        .filter(|(k, _)| k.starts_with("CARGO_") || k.starts_with("RUSTUP_"))
        .filter(|(k, _)| !k.starts_with("CARGO_PKG") && k != "CARGO_MANIFEST_DIR")
        .collect();
    let env: Vec<(&str, &str)> = home.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    let manifest = dir.join("Cargo.toml").display().to_string();
    let args = [args, &["--manifest-path", &manifest]].concat();
    run(path.as_ref(), &args, &env, "", Duration::from_secs(120)).await
}

#[tokio::test]
async fn the_cores_are_built_on_no_runtime() {
    for dir in core_crates() {
        let tree = cargo(
            &dir,
            &[
                "tree",
                "--quiet",
                "--offline",
                "--edges=normal",
                "--prefix=none",
            ],
        )
        .await
        .ok();
        assert!(tree.stdout.starts_with("lictor-"), "{}", tree.all());
        for line in tree.stdout.lines() {
            let name = line.split(' ').next().unwrap_or_default();
            let banned = [
                "tokio",
                "mio",
                "hyper",
                "warp",
                "async-std",
                "getrandom",
                "rand",
                "socket2",
                "redb",
                "openraft",
            ];
            assert!(
                !banned.contains(&name),
                "{} is built on {name}",
                dir.display()
            );
        }
    }
}

#[test]
fn the_cores_share_one_fence_and_do_not_open_it() {
    let fence = workspace().join("agent/core/clippy.toml");
    assert!(fence.is_file(), "{} is gone", fence.display());
    for dir in core_crates() {
        for name in ["clippy.toml", ".clippy.toml"] {
            let own = dir.join(name);
            assert!(
                !own.exists(),
                "{} would take the place of the common one",
                own.display()
            );
        }
    }
}

/// The list itself: code with everything that is banned, built under the same file.
#[tokio::test]
async fn the_fence_bites() {
    let folder = Folder::new();
    let fence = std::fs::read(workspace().join("agent/core/clippy.toml")).expect("the fence");
    folder.write("clippy.toml", fence);
    // Two folders below, as the cores are: the file is found above the crate.
    let manifest =
        "[package]\nname = \"bitten\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[workspace]\n";
    folder.write("core/bitten/Cargo.toml", manifest);
    let banned = [
        "std::time::SystemTime::now()",
        "std::time::Instant::now()",
        "std::thread::sleep(std::time::Duration::ZERO)",
        "std::env::var(\"X\")",
        "std::fs::read(\"x\")",
        "std::fs::write(\"x\", \"y\")",
        "std::fs::File::open(\"x\")",
        "std::net::TcpStream::connect(\"x\")",
        "std::net::UdpSocket::bind(\"x\")",
        "std::net::TcpListener::bind(\"x\")",
        "std::hash::RandomState::new()",
        "std::collections::HashMap::<u8, u8>::new()",
        "std::collections::HashSet::<u8>::new()",
        "std::process::Command::new(\"x\")",
        "println!()",
    ];
    let mut code = String::from("//! Everything that is banned.\n");
    for (n, expression) in banned.iter().enumerate() {
        code.push_str(&format!(
            "/// One of them.\npub fn f{n}() {{\n    let _ = {expression};\n}}\n"
        ));
    }
    folder.write("core/bitten/src/lib.rs", &code);
    let dir = folder.join("core/bitten");
    let target = folder.join("target").display().to_string();
    let out = cargo(&dir, &["clippy", "--offline", "--target-dir", &target]).await;
    for (n, expression) in banned.iter().enumerate() {
        let line = 3 + n * 4 + 1;
        let place = format!("src/lib.rs:{line}:");
        assert!(
            out.stderr.contains(&place),
            "{expression} is allowed:\n{}",
            out.stderr
        );
    }
}

/// No source names `unsafe` without saying why it is sound; clippy looks at the word, this at the
/// lint that makes it look.
#[test]
fn the_lints_are_on_in_every_crate() {
    let manifest = std::fs::read_to_string(workspace().join("Cargo.toml")).expect("the manifest");
    for lint in [
        "undocumented_unsafe_blocks",
        "missing_docs",
        "todo",
        "unimplemented",
    ] {
        assert!(
            manifest.contains(lint),
            "the workspace does not ask for {lint}"
        );
    }
    let members = manifest
        .split_once("\nmembers = [")
        .and_then(|(_, rest)| rest.split_once(']'));
    let members: Vec<&str> = members
        .expect("members")
        .0
        .split('"')
        .skip(1)
        .step_by(2)
        .collect();
    assert!(members.len() > 10, "{members:?}");
    for member in members {
        let own = std::fs::read_to_string(workspace().join(member).join("Cargo.toml"))
            .expect("a manifest");
        let stand_in = member.starts_with("agent/stand-in/");
        assert!(
            stand_in || own.contains("[lints]\nworkspace = true"),
            "{member} has lints of its own"
        );
    }
}
