//! The agent that `up` starts for itself.

use crate::transcript::{Tone, Transcript};
use lictor_client::{Client, ClientConfig};
use std::collections::VecDeque;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

/// How long it may take to be ready.
const START_LIMIT: Duration = Duration::from_secs(20);
/// How long it may take to end before it is made to.
const STOP_LIMIT: Duration = Duration::from_secs(5);
/// Lines of its output that are kept to explain a failure.
const TAIL: usize = 20;

/// A running agent, in memory only, on ports of its own.
pub struct Agent {
    child: Child,
    /// Its HTTP address.
    pub http: String,
    /// Its DNS address.
    pub dns: String,
    tail: Arc<Mutex<VecDeque<String>>>,
}

/// The program beside this one, else the one that PATH finds.
pub fn find_program(given: Option<&Path>, own: Option<&Path>) -> PathBuf {
    if let Some(path) = given {
        return path.to_owned();
    }
    let beside = own.and_then(Path::parent).map(|dir| dir.join("lictor"));
    beside
        .filter(|path| path.is_file())
        .unwrap_or_else(|| PathBuf::from("lictor"))
}

/// Ports that were free a moment ago, for TCP and UDP.
fn free_ports<const N: usize>() -> std::io::Result<[u16; N]> {
    let mut held = Vec::new();
    let mut ports = [0; N];
    for port in &mut ports {
        // A port may be free for one and taken for the other.
        let pair = (0..50).find_map(|_| {
            let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).ok()?;
            let number = tcp.local_addr().ok()?.port();
            let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, number)).ok()?;
            Some((tcp, udp, number))
        });
        let (tcp, udp, number) = pair.ok_or_else(|| std::io::Error::other("no free ports"))?;
        *port = number;
        held.push((tcp, udp));
    }
    Ok(ports)
}

impl Agent {
    /// Starts an agent and waits until it takes writes.
    pub async fn start(program: &Path, log: &Arc<Transcript>) -> Result<Agent, String> {
        let [http, dns, server, lan, wan] =
            free_ports().map_err(|err| format!("cannot find ports: {err}"))?;
        let mut command = Command::new(program);
        command.args([
            "agent",
            "-dev",
            "-log-level=err",
            "-bind=127.0.0.1",
            "-client=127.0.0.1",
            "-node=demo",
        ]);
        for (flag, port) in [
            ("http", i32::from(http)),
            ("dns", i32::from(dns)),
            ("server", i32::from(server)),
            ("serf-lan", i32::from(lan)),
            ("serf-wan", i32::from(wan)),
            ("grpc", -1),
            ("grpc-tls", -1),
        ] {
            command.arg(format!("-{flag}-port={port}"));
        }
        // A group of its own: Ctrl-C is for us, and the agent ends after the servers have left.
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        let mut child = command.spawn().map_err(|err| {
            format!("cannot start {}: {err}. Say where lictor is with -lictor, or name an agent with -http-addr.", program.display())
        })?;
        let tail = Arc::new(Mutex::new(VecDeque::new()));
        if let Some(out) = child.stdout.take() {
            tokio::spawn(follow(out, tail.clone(), log.clone()));
        }
        if let Some(err) = child.stderr.take() {
            tokio::spawn(follow(err, tail.clone(), log.clone()));
        }
        let mut agent = Agent {
            child,
            http: format!("127.0.0.1:{http}"),
            dns: format!("127.0.0.1:{dns}"),
            tail,
        };
        agent.ready().await?;
        Ok(agent)
    }

    async fn ready(&mut self) -> Result<(), String> {
        let client = Client::new(ClientConfig::at(&self.http)).map_err(|err| err.to_string())?;
        let end = Instant::now() + START_LIMIT;
        loop {
            if client.leader().await.is_ok_and(|leader| !leader.is_empty()) {
                return Ok(());
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(format!("the agent ended: {status}\n{}", self.last_lines()));
            }
            if Instant::now() >= end {
                self.stop().await;
                return Err(format!(
                    "the agent was not ready within {START_LIMIT:?}\n{}",
                    self.last_lines()
                ));
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    fn last_lines(&self) -> String {
        let tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        tail.iter().map(|line| format!("  {line}\n")).collect()
    }

    /// Ends it: asks first, then makes it.
    pub async fn stop(&mut self) {
        if let Some(pid) = self.child.id().and_then(|id| i32::try_from(id).ok()) {
            // SAFETY: kill takes two numbers and touches no memory of ours. The child has not been
            // waited for, so its number is not another process's.
            unsafe {
                libc::kill(pid, libc::SIGINT);
            }
        }
        if timeout(STOP_LIMIT, self.child.wait()).await.is_err() {
            // Fails only if it has ended meanwhile.
            let _ = self.child.kill().await;
        }
    }
}

/// Keeps the last lines, and shows those that warn.
async fn follow(
    output: impl AsyncRead + Unpin,
    tail: Arc<Mutex<VecDeque<String>>>,
    log: Arc<Transcript>,
) {
    let mut lines = BufReader::new(output).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if let Some((_, text)) = line.split_once("[ERROR]") {
            log.say("agent", Tone::Bad, text.trim());
        }
        let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
        if tail.len() == TAIL {
            tail.pop_front();
        }
        tail.push_back(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_the_given_one_else_the_neighbour_else_that_of_the_path() {
        let dir = std::env::temp_dir().join(format!("lictor-demo-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let own = dir.join("lictor-demo");
        assert_eq!(find_program(None, Some(&own)), PathBuf::from("lictor"));
        std::fs::write(dir.join("lictor"), "").unwrap();
        assert_eq!(find_program(None, Some(&own)), dir.join("lictor"));
        assert_eq!(
            find_program(Some(Path::new("/x")), Some(&own)),
            PathBuf::from("/x")
        );
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn ports_differ() {
        let mut ports = free_ports::<5>().unwrap();
        ports.sort_unstable();
        assert!(ports.windows(2).all(|w| w[0] != w[1]) && ports[0] > 0);
    }

    #[tokio::test]
    async fn an_agent_that_does_not_start_is_explained() {
        let log = Arc::new(Transcript::new(Box::new(std::io::sink()), false));
        let err = Agent::start(Path::new("/nonexistent/lictor"), &log)
            .await
            .err()
            .unwrap();
        assert!(
            err.contains("-lictor") && err.contains("-http-addr"),
            "{err}"
        );
        let err = Agent::start(Path::new("/bin/false"), &log)
            .await
            .err()
            .unwrap();
        assert!(err.starts_with("the agent ended: exit status: 1"), "{err}");
    }
}
