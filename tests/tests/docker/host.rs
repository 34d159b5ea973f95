//! A Docker host of its own: a machine of a network that the test makes, with a daemon that is in
//! that machine's network namespace. So "host networking" is that machine's, and its ports are free.

use crate::engine::{FIXTURE, IMAGE, docker, fixture, image};
use lictor_tests::netns::{Net, Place};
use lictor_tests::{Folder, Output, peer, run, until_for};
use std::process::{Child, Stdio};
use std::time::Duration;

/// How long one call of a program may take.
const LIMIT: Duration = Duration::from_secs(120);

/// A machine with a Docker daemon, and another one beside it.
pub struct DockerHost {
    daemon: Child,
    folder: Folder,
    /// The machine.
    pub place: Place,
    /// Another one, without Docker.
    pub outside: Place,
    _net: Net,
}

impl DockerHost {
    /// Starts the daemon, and gives it the images of the tests.
    pub async fn start() -> DockerHost {
        image().await;
        fixture().await;
        let net = Net::new();
        let (outside, place) = (net.machine(1), net.machine(2));
        let folder = Folder::new();
        let mut command = place.command(&peer("dockerd", "docker.io"));
        command
            .arg("--host")
            .arg(format!("unix://{}", folder.join("docker.sock").display()))
            .arg("--data-root")
            .arg(folder.join("data"))
            .arg("--exec-root")
            .arg(folder.join("run"))
            .arg("--pidfile")
            .arg(folder.join("docker.pid"))
            .args(["--iptables=false", "--ip6tables=false", "--ip-masq=false"]);
        let log = std::fs::File::create(folder.join("dockerd.log")).expect("a log");
        let daemon = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the daemon");
        let host = DockerHost {
            daemon,
            folder,
            place,
            outside,
            _net: net,
        };
        until_for(Duration::from_secs(60), "the daemon", async || {
            (host.docker(&["version"]).await.code == 0).then_some(())
        })
        .await;
        let images = host.folder.join("images.tar");
        let file = images.to_str().expect("a path in UTF-8");
        docker(&["save", "--output", file, IMAGE, FIXTURE])
            .await
            .ok();
        host.docker(&["load", "--input", file]).await.ok();
        host
    }

    /// Its address for Docker's programs.
    pub fn address(&self) -> String {
        format!("unix://{}", self.folder.join("docker.sock").display())
    }

    /// Runs the docker program.
    pub async fn docker(&self, args: &[&str]) -> Output {
        let host = self.address();
        let program = peer("docker", "docker.io");
        run(&program, args, &[("DOCKER_HOST", &host)], "", LIMIT).await
    }

    /// Starts a container; gives its name.
    pub async fn run(&self, name: &str, args: &[&str]) {
        let mut all = vec!["run", "--detach", "--name", name];
        all.extend(args);
        self.docker(&all).await.ok();
    }

    /// The address of a container in the network that it is on.
    pub async fn container_address(&self, name: &str) -> String {
        let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
        let out = self.docker(&["inspect", "--format", format, name]).await;
        out.ok().stdout.trim().to_owned()
    }
}

impl Drop for DockerHost {
    fn drop(&mut self) {
        let docker = |args: &[&str]| {
            std::process::Command::new(peer("docker", "docker.io"))
                .args(args)
                .env("DOCKER_HOST", self.address())
                .output()
        };
        if let Ok(all) = docker(&["ps", "--all", "--format", "{{.Names}}"]) {
            for name in String::from_utf8_lossy(&all.stdout).lines() {
                if std::thread::panicking()
                    && let Ok(log) = docker(&["logs", "--tail", "40", name])
                {
                    let text = String::from_utf8_lossy(&log.stdout);
                    eprintln!(
                        "---- {name} ----\n{text}{}",
                        String::from_utf8_lossy(&log.stderr)
                    );
                }
                let _ = docker(&["rm", "--force", "--volumes", name]);
            }
        }
        // SAFETY: takes two numbers; the process is our child and not yet waited for.
        unsafe { libc::kill(self.daemon.id().cast_signed(), libc::SIGTERM) };
        let _ = self.daemon.wait();
        // The daemon leaves its namespace mounted.
        for entry in std::fs::read_dir(self.folder.join("run/netns"))
            .into_iter()
            .flatten()
            .flatten()
        {
            let _ = std::process::Command::new("umount")
                .arg(entry.path())
                .output();
        }
    }
}
