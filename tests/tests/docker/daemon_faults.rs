//! Faults with the daemon: it is restarted, killed, behind TLS, or behind a proxy that lets only
//! reading through. A daemon for itself, in a network of its own, so that nobody else's is touched.

use lictor_tests::netns::{Net, Place};
use lictor_tests::{Agent, Folder, Output, container_binary, json, peer, run, until, until_for};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

const LIMIT: Duration = Duration::from_secs(60);
/// "Within a second after its return", where the machine does nothing else.
const CONVERGED: Duration = Duration::from_millis(1500);
/// The same where it does.
const SOON: Duration = Duration::from_secs(5);
const IMAGE: &str = "lictor-fault:test";

/// A daemon of its own.
struct Engine {
    folder: Folder,
    place: Place,
    /// What holds the containers, as on a host: it is not the daemon's child.
    containerd: Child,
    child: Option<Child>,
    more: Vec<String>,
    _net: Net,
}

impl Engine {
    /// A daemon with these further arguments, and the image of what runs in containers.
    async fn start(more: &[String]) -> Engine {
        let net = Net::new();
        let (folder, place) = (Folder::new(), net.machine(1));
        let path = |name: &str| folder.join(name).display().to_string();
        let mut containerd = place.command(&peer("containerd", "containerd"));
        // Without the part that is for Kubernetes.
        let config = "version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n";
        let config = folder
            .write("containerd.toml", config)
            .display()
            .to_string();
        containerd
            .args(["--config", &config, "--root", &path("containerd")])
            .args(["--state", &path("state")])
            .args(["--address", &path("containerd.sock"), "--log-level", "warn"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut engine = Engine {
            containerd: containerd.spawn().expect("containerd"),
            folder,
            place,
            child: None,
            more: more.to_vec(),
            _net: net,
        };
        engine.up().await;
        let context = engine.folder.join("image");
        std::fs::create_dir_all(&context).expect("a folder");
        std::fs::copy(container_binary(), context.join("fixture")).expect("the program");
        let file = "FROM scratch\nCOPY fixture /fixture\nEXPOSE 80\nENTRYPOINT [\"/fixture\"]\n";
        std::fs::write(context.join("Dockerfile"), file).expect("the file");
        let context = context.display().to_string();
        engine
            .docker(&["build", "--quiet", "--tag", IMAGE, &context])
            .await
            .ok();
        engine
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("docker.sock")
    }

    fn host(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    async fn docker(&self, args: &[&str]) -> Output {
        let host = self.host();
        let env = [("DOCKER_HOST", host.as_str())];
        run(&peer("docker", "docker.io"), args, &env, "", LIMIT).await
    }

    /// Runs a container in the host's namespace, registered as a service at port 80; it listens on
    /// this port.
    async fn run(&self, name: &str, port: &str, more: &[&str]) {
        let mut args = vec!["run", "--detach", "--name", name, "--network", "host"];
        args.extend(["--label", "SERVICE_NAME=web"]);
        args.extend(more);
        args.extend([IMAGE, "serve", port]);
        self.docker(&args).await.ok();
    }

    /// Starts the daemon and waits until it answers; gives the moment of its answer.
    async fn up(&mut self) -> Instant {
        let mut command = self.command();
        self.child = Some(command.spawn().expect("dockerd"));
        until_for(LIMIT, "the daemon", async || {
            self.answers().await.then_some(())
        })
        .await;
        Instant::now()
    }

    fn command(&self) -> Command {
        let path = |name: &str| self.folder.join(name).display().to_string();
        let mut command = self.place.command(&peer("dockerd", "docker.io"));
        command
            .args(["--host", &self.host(), "--data-root", &path("data")])
            .args(["--containerd", &path("containerd.sock")])
            .args([
                "--exec-root",
                &path("exec"),
                "--pidfile",
                &path("docker.pid"),
            ])
            .args(["--iptables=false", "--ip6tables=false", "--ip-masq=false"])
            .args(&self.more)
            .stdin(Stdio::null());
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.folder.join("docker.log"))
            .expect("a log");
        command
            .stdout(log.try_clone().expect("the log twice"))
            .stderr(log);
        command
    }

    async fn answers(&self) -> bool {
        let Ok(mut io) = UnixStream::connect(self.socket()).await else {
            return false;
        };
        let ask = b"GET /_ping HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n";
        let mut text = Vec::new();
        io.write_all(ask).await.is_ok()
            && io.read_to_end(&mut text).await.is_ok()
            && text.starts_with(b"HTTP/1.1 200")
    }

    /// Ends the daemon by a signal and waits for its end.
    fn down(&mut self, signal: i32) {
        let Some(mut child) = self.child.take() else {
            return;
        };
        // `ip netns exec` and its like become the daemon, so this is its process.
        // SAFETY: kill takes two numbers; the process is a child that was not waited for.
        unsafe { libc::kill(child.id().cast_signed(), signal) };
        let _ = child.wait();
    }

    fn agent(&self, host: &str) -> lictor_tests::Builder {
        Agent::build().within(&self.place).config(json!({
            "enable_script_checks": true,
            "docker": {
                "enabled": true,
                "mode": "explicit",
                "host": host,
                "host_address": "192.0.2.77",
                "hostname": "dockhost",
            },
        }))
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // One that a failed test has killed is needed to take its containers away.
        if self.child.is_none() {
            let mut command = self.command();
            self.child = command.spawn().ok();
            for _ in 0..100 {
                if std::os::unix::net::UnixStream::connect(self.socket()).is_ok() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(100));
            }
        }
        let docker = |args: &[&str]| {
            let mut command = std::process::Command::new(peer("docker", "docker.io"));
            let out = command.args(args).env("DOCKER_HOST", self.host()).output();
            out.map(|o| String::from_utf8_lossy(&o.stdout).into_owned())
                .unwrap_or_default()
        };
        let ids = docker(&["ps", "--all", "--quiet"]);
        for id in ids.split_whitespace() {
            docker(&["rm", "--force", id]);
        }
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.folder.join("docker.log")).unwrap_or_default();
            let tail: Vec<&str> = log.lines().rev().take(30).collect();
            eprintln!(
                "---- the daemon's log ----\n{}",
                tail.into_iter().rev().collect::<Vec<_>>().join("\n")
            );
        }
        self.down(libc::SIGTERM);
        // SAFETY: kill takes two numbers; the process is a child that was not waited for.
        unsafe { libc::kill(self.containerd.id().cast_signed(), libc::SIGTERM) };
        let _ = self.containerd.wait();
        // The daemon leaves its network namespace mounted.
        for entry in std::fs::read_dir(self.folder.join("exec/netns"))
            .into_iter()
            .flatten()
            .flatten()
        {
            let _ = std::process::Command::new("umount")
                .arg(entry.path())
                .status();
        }
    }
}

/// The ids of the instances of `web` that pass.
async fn passing(agent: &Agent) -> Vec<String> {
    let reply = agent.get("/v1/health/service/web?passing").await.ok();
    let mut ids: Vec<String> = reply
        .rows()
        .iter()
        .filter_map(|row| row["Service"]["ID"].as_str().map(String::from))
        .collect();
    ids.sort();
    ids
}

async fn until_passing(agent: &Agent, want: &[&str]) {
    until_for(LIMIT, &format!("{want:?}"), async || {
        (passing(agent).await == want).then_some(())
    })
    .await;
}

async fn until_connected(agent: &Agent, yes: bool) {
    until_for(LIMIT, "the agent to know of the daemon", async || {
        let shown = agent.get("/v1/lictor/docker/containers").await.ok();
        (shown.at("/Daemon/Connected") == &json!(yes)).then_some(())
    })
    .await;
}

/// A daemon that is killed while its containers go on: nothing changes, and what changes later is
/// seen. Then one that is stopped with its containers: those that come back with it stay, the others
/// go.
#[tokio::test]
async fn a_daemon_is_killed_and_restarted() {
    let mut engine = Engine::start(&["--live-restore".to_owned()]).await;
    let agent = engine.agent(&engine.host()).start().await;
    engine.run("stays", "80", &[]).await;
    until_passing(&agent, &["dockhost:stays:80"]).await;
    engine.down(libc::SIGKILL);
    until_connected(&agent, false).await;
    assert_eq!(passing(&agent).await, ["dockhost:stays:80"], "it serves on");
    let back = engine.up().await;
    until_connected(&agent, true).await;
    println!(
        "daemon killed and started: connected after {:?}",
        back.elapsed()
    );
    assert!(
        back.elapsed() < SOON,
        "connected after {:?}",
        back.elapsed()
    );
    assert_eq!(passing(&agent).await, ["dockhost:stays:80"]);
    engine.docker(&["rm", "--force", "stays"]).await.ok();
    until_passing(&agent, &[]).await;

    engine.down(libc::SIGTERM);
    engine.more.clear();
    engine.up().await;
    engine.run("again", "80", &["--restart", "always"]).await;
    engine.run("once", "81", &[]).await;
    until_passing(&agent, &["dockhost:again:80", "dockhost:once:80"]).await;
    // It takes its containers along, and tells nobody any more.
    engine.down(libc::SIGTERM);
    until_connected(&agent, false).await;
    let back = engine.up().await;
    until_passing(&agent, &["dockhost:again:80"]).await;
    println!("daemon restarted: converged after {:?}", back.elapsed());
    assert!(back.elapsed() < SOON, "after {:?}", back.elapsed());
}

/// Behind a proxy that lets reading through all works but commands in containers, and the refused
/// call is named.
#[tokio::test]
async fn behind_a_proxy_that_only_reads_all_but_commands_works() {
    let engine = Engine::start(&[]).await;
    let path = engine.folder.join("proxy.sock");
    let listener = UnixListener::bind(&path).expect("a socket");
    let far = engine.socket();
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let far = far.clone();
            tokio::spawn(async move { read_only(near, &far).await });
        }
    });
    let host = format!("unix://{}", path.display());
    let agent = engine.agent(&host).start().await;
    engine.run("web", "80", &[]).await;
    until_passing(&agent, &["dockhost:web:80"]).await;
    agent
        .register(json!({
            "Name": "checked",
            "Check": {
                "DockerContainerID": "web",
                "Args": ["/fixture", "exit", "0"],
                "Interval": "1s",
                "Timeout": "5s",
            },
        }))
        .await;
    let output = until("the check's output", async || {
        let checks = agent.get("/v1/agent/checks").await;
        let check = checks.json["service:checked"].clone();
        let output = check["Output"].as_str().unwrap_or_default().to_owned();
        (!output.is_empty()).then_some(output)
    })
    .await;
    assert!(
        output.contains("POST /containers/{id}/exec is not allowed at"),
        "{output}"
    );
    // Changes are followed as before.
    engine.docker(&["rm", "--force", "web"]).await.ok();
    until_passing(&agent, &[]).await;
}

/// Lets GET and HEAD through, and refuses the rest as such proxies do.
async fn read_only(mut near: UnixStream, far: &Path) {
    let mut head = Vec::new();
    while !head.windows(4).any(|w| w == b"\r\n\r\n") {
        if head.len() > 16 << 10 || !matches!(near.read_buf(&mut head).await, Ok(n) if n > 0) {
            return;
        }
    }
    if !head.starts_with(b"GET ") && !head.starts_with(b"HEAD ") {
        let body = "<html><body><h1>403 Forbidden</h1></body></html>";
        let text = format!(
            "HTTP/1.1 403 Forbidden\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        let _ = near.write_all(text.as_bytes()).await;
        let _ = near.shutdown().await;
        return;
    }
    let Ok(mut far) = UnixStream::connect(far).await else {
        return;
    };
    // One request on each connection, so that the next one is looked at too.
    let head = String::from_utf8_lossy(&head).replacen("\r\n", "\r\nConnection: close\r\n", 1);
    if far.write_all(head.as_bytes()).await.is_ok() {
        let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
    }
}

/// Keys and certificates: an authority, a server at 127.0.0.1, a client.
async fn certificates(folder: &Path) {
    let openssl = peer("openssl", "openssl");
    let call = async |args: &str| {
        let args: Vec<String> = args
            .split(' ')
            .map(|word| match word.strip_prefix('@') {
                Some(name) => folder.join(name).display().to_string(),
                None => word.to_owned(),
            })
            .collect();
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        run(&openssl, &args, &[], "", LIMIT).await.ok();
    };
    let new = "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    call(&format!(
        "{new} -x509 -days 2 -subj /CN=authority -keyout @ca-key.pem -out @ca.pem"
    ))
    .await;
    let extensions = [
        (
            "server",
            "subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth\n",
        ),
        ("client", "extendedKeyUsage=clientAuth\n"),
    ];
    for (name, extension) in extensions {
        std::fs::write(folder.join(format!("{name}.ext")), extension).expect("a file");
        let (key, cert) = match name {
            "client" => ("key.pem", "cert.pem"),
            _ => ("server-key.pem", "server.pem"),
        };
        call(&format!(
            "{new} -subj /CN={name} -keyout @{key} -out @{name}.csr"
        ))
        .await;
        call(&format!("x509 -req -days 2 -in @{name}.csr -CA @ca.pem -CAkey @ca-key.pem -CAcreateserial -extfile @{name}.ext -out @{cert}")).await;
    }
}

/// `DOCKER_HOST=tcp://...` with `DOCKER_TLS_VERIFY` and `DOCKER_CERT_PATH`, as the docker program
/// takes them: containers and commands in them. Without the client's certificate it is refused.
#[tokio::test]
async fn a_daemon_is_reached_by_tls() {
    let folder = Folder::new();
    certificates(folder.path()).await;
    let path = |name: &str| folder.join(name).display().to_string();
    let more = [
        "--host=tcp://127.0.0.1:2376".to_owned(),
        "--tlsverify".to_owned(),
        format!("--tlscacert={}", path("ca.pem")),
        format!("--tlscert={}", path("server.pem")),
        format!("--tlskey={}", path("server-key.pem")),
    ];
    let engine = Engine::start(&more).await;
    engine.run("web", "80", &[]).await;
    let host = "tcp://127.0.0.1:2376";
    let certificates = folder.path().display().to_string();
    let agent = engine
        .agent(host)
        .env("DOCKER_TLS_VERIFY", "1")
        .env("DOCKER_CERT_PATH", &certificates)
        .start()
        .await;
    // The agent is on the daemon's host all the same, and cannot know it: the address is set.
    until_passing(&agent, &["dockhost:web:80"]).await;
    agent
        .register(json!({
            "Name": "checked",
            "Check": {
                "DockerContainerID": "web",
                "Args": ["/fixture", "err", "spoken", "1"],
                "Interval": "1s",
                "Timeout": "5s",
            },
        }))
        .await;
    until("the command's output", async || {
        let checks = agent.get("/v1/agent/checks").await;
        let check = checks.json["service:checked"].clone();
        (check["Status"] == "warning" && check["Output"].as_str()?.contains("spoken")).then_some(())
    })
    .await;
    drop(agent);

    // Another authority's client: the daemon does not let it in, and the agent says where.
    let stranger = Folder::new();
    self::certificates(stranger.path()).await;
    std::fs::copy(folder.join("ca.pem"), stranger.join("ca.pem")).expect("the authority");
    let agent = engine
        .agent(host)
        .env("DOCKER_TLS_VERIFY", "1")
        .env("DOCKER_CERT_PATH", &stranger.path().display().to_string())
        .start()
        .await;
    until_for(LIMIT, "a line about the daemon", async || {
        let log = agent.log();
        let line = log
            .lines()
            .find(|l| l.contains(host) && l.contains("not reached"))?;
        (line.contains("ertificate") || line.contains("alert")).then_some(())
    })
    .await;
    assert!(passing(&agent).await.is_empty());
}

/// The long part: the socket is away for 30 s while containers come and go.
#[tokio::test]
#[ignore = "half a minute; tests/run docker -- --ignored"]
async fn a_socket_that_was_cut_for_half_a_minute_costs_a_second() {
    let mut worst = Duration::ZERO;
    let engine = Engine::start(&[]).await;
    let path = engine.folder.join("proxy.sock");
    let agent = engine.agent(&format!("unix://{}", path.display()));
    let open = |far: PathBuf| {
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).expect("a socket");
        tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((mut near, _)) = listener.accept().await {
                let far = far.clone();
                connections.spawn(async move {
                    if let Ok(mut far) = UnixStream::connect(far).await {
                        let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                    }
                });
            }
        })
    };
    let mut through = open(engine.socket());
    let agent = agent.start().await;
    engine.run("first", "80", &[]).await;
    until_passing(&agent, &["dockhost:first:80"]).await;
    let mut name = "first".to_owned();
    for round in 0..3 {
        through.abort();
        until_connected(&agent, false).await;
        let cut = Instant::now();
        engine.docker(&["rm", "--force", &name]).await.ok();
        name = format!("next-{round}");
        engine.run(&name, "80", &[]).await;
        tokio::time::sleep(Duration::from_secs(30).saturating_sub(cut.elapsed())).await;
        through = open(engine.socket());
        let back = Instant::now();
        until_passing(&agent, &[&format!("dockhost:{name}:80")]).await;
        worst = worst.max(back.elapsed());
    }
    println!("socket cut for 30 s: converged after {worst:?} at worst of three");
    assert!(worst < CONVERGED, "{worst:?}");
}
