//! The daemon, images and containers of tests.

use lictor_tests::{
    Folder, Output, container_binary, demo_binary, lictor_binary, peer, run, workspace,
};
use std::path::Path;
use std::time::Duration;
use tokio::sync::OnceCell;

/// The image of the agent.
pub const IMAGE: &str = "lictor:test";
/// The image of the demo.
pub const DEMO_IMAGE: &str = "lictor-demo:test";
/// What runs in the containers that are registered.
pub const FIXTURE: &str = "lictor-test-container:test";
/// The same with a HEALTHCHECK: whether there is a file `/ok`.
pub const FIXTURE_HEALTH: &str = "lictor-test-container:health";

/// Where the daemon is.
pub fn daemon() -> String {
    std::env::var("DOCKER_HOST").unwrap_or_else(|_| "unix:///var/run/docker.sock".to_owned())
}

/// Runs the docker program.
pub async fn docker(args: &[&str]) -> Output {
    let host = daemon();
    run(
        &peer("docker", "docker.io"),
        args,
        &[("DOCKER_HOST", &host)],
        "",
        Duration::from_secs(120),
    )
    .await
}

async fn there_is_a_daemon() {
    let info = docker(&["version"]).await;
    assert_eq!(
        info.code,
        0,
        "no Docker daemon, and this test needs one (tests/run docker starts it): {}",
        info.all()
    );
}

async fn build(tag: &str, more: &[&str], file: &Path, context: &Path) {
    let (file, context) = (file.display().to_string(), context.display().to_string());
    let mut args = vec!["build", "--quiet", "--tag", tag, "--file", &file];
    args.extend(more);
    args.push(&context);
    docker(&args).await.ok();
}

/// Builds our images from the programs under test, as docker/Dockerfile.host says, once.
pub async fn image() {
    static BUILT: OnceCell<()> = OnceCell::const_new();
    BUILT
        .get_or_init(async || {
            there_is_a_daemon().await;
            let folder = Folder::new();
            std::fs::create_dir_all(folder.join("programs")).expect("a folder");
            for (name, path) in [("lictor", lictor_binary()), ("lictor-demo", demo_binary())] {
                std::fs::copy(path, folder.join("programs").join(name))
                    .expect("a copy of the program");
            }
            let images = folder.join("images");
            let script = workspace().join("docker/rootfs.sh");
            let (out, programs) = (
                images.display().to_string(),
                folder.join("programs").display().to_string(),
            );
            let limit = Duration::from_secs(60);
            run(&script, &[&out, &programs], &[], "", limit).await.ok();
            let file = workspace().join("docker/Dockerfile.host");
            build(IMAGE, &[], &file, &images).await;
            build(DEMO_IMAGE, &["--target", "demo"], &file, &images).await;
        })
        .await;
}

/// Builds what runs in the containers that are registered, once.
pub async fn fixture() {
    static BUILT: OnceCell<()> = OnceCell::const_new();
    BUILT
        .get_or_init(async || {
            there_is_a_daemon().await;
            let folder = Folder::new();
            std::fs::copy(container_binary(), folder.join("fixture")).expect("a copy of the program");
            let file = folder.write(
                "Dockerfile",
                "FROM scratch\nCOPY fixture /fixture\nEXPOSE 80\nENTRYPOINT [\"/fixture\"]\nCMD [\"serve\", \"80\"]\n",
            );
            build(FIXTURE, &[], &file, folder.path()).await;
            let file = folder.write(
                "Dockerfile.health",
                format!("FROM {FIXTURE}\nHEALTHCHECK --interval=1s --retries=1 CMD [\"/fixture\", \"there\", \"/ok\"]\n"),
            );
            build(FIXTURE_HEALTH, &[], &file, folder.path()).await;
        })
        .await;
}

/// A container that is removed when it goes. By name or id.
pub struct Container(pub String);

impl Container {
    /// Runs a container with a name that no other test has, and gives it.
    pub async fn run(name: &str, args: &[&str]) -> Container {
        let mut all = vec!["run", "--detach", "--name", name];
        all.extend(args);
        docker(&all).await.ok();
        Container(name.to_owned())
    }

    /// The host's port of port 80.
    pub async fn port(&self) -> u64 {
        let format = "{{(index (index .NetworkSettings.Ports \"80/tcp\") 0).HostPort}}";
        let out = docker(&["inspect", "--format", format, &self.0]).await.ok();
        out.stdout.trim().parse().expect("a port")
    }
}

/// [`docker`] where nothing can be waited for; `None` if it cannot be run.
pub fn docker_now(args: &[&str]) -> Option<std::process::Output> {
    let mut command = std::process::Command::new(peer("docker", "docker.io"));
    command
        .args(args)
        .env("DOCKER_HOST", daemon())
        .output()
        .ok()
}

impl Drop for Container {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(log) = docker_now(&["logs", &self.0])
        {
            let text = String::from_utf8_lossy(&log.stdout) + String::from_utf8_lossy(&log.stderr);
            eprintln!("---- the container's log ----\n{text}");
        }
        docker_now(&["rm", "--force", "--volumes", &self.0]);
    }
}
