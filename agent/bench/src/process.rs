//! Programs that are started, bound to a processor, looked at and ended.

use crate::{Result, client};
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Clock ticks in a second of `/proc/<pid>/stat`: 100 on every Linux that Debian builds.
const TICKS: f64 = 100.0;
/// A server that does not answer within this time has failed.
const START: Duration = Duration::from_secs(30);

/// One run of the program: where things are and how long they take.
pub struct Bench {
    /// The lictor binary.
    pub lictor: PathBuf,
    /// A folder of this run, on the disk that is measured.
    pub dir: PathBuf,
    /// Seconds of load in a round.
    pub seconds: u32,
    /// Rounds.
    pub rounds: u32,
    against: Vec<String>,
    server: usize,
}

impl Bench {
    /// Binds this process, and so every load generator, to the second processor.
    pub fn new(
        lictor: &Path,
        [server, load]: [usize; 2],
        dir: &Path,
        seconds: u32,
        rounds: u32,
        against: Vec<String>,
    ) -> Result<Bench> {
        for tool in ["taskset", "prlimit", "setpriv", "wrk", "dnsperf"] {
            if find(tool).is_none() {
                return Err(format!(
                    "{tool} is missing (Debian's packages util-linux, wrk and dnsperf have what is needed)"
                )
                .into());
            }
        }
        if server == load || std::thread::available_parallelism()?.get() < 2 {
            return Err("two processors are needed: one for the server, one for the load".into());
        }
        let pid = std::process::id().to_string();
        for command in [
            Command::new("taskset").args(["-p", "-c", &load.to_string(), &pid]),
            // Thousands of connections. Fails where the hard limit is lower; so do the scenarios.
            Command::new("prlimit").args(["--pid", &pid, "--nofile=65536:65536"]),
        ] {
            command
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()?;
        }
        let dir = dir.join(format!("lictor-bench-{pid}"));
        fs::create_dir(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
        Ok(Bench {
            lictor: fs::canonicalize(lictor)?,
            dir,
            seconds,
            rounds,
            against,
            server,
        })
    }

    /// Whether a reference is to be measured: asked for, and on this machine.
    pub fn wants(&self, name: &str, program: &str) -> bool {
        let asked = self.against.is_empty() || self.against.iter().any(|a| a == name);
        asked
            && (program.is_empty() || find(program).is_some() || {
                eprintln!("lictor-bench: {program} is missing: no comparison with {name}");
                false
            })
    }

    /// One line about where the figures come from.
    pub fn machine(&self) -> String {
        let first = |path: &str, key: &str| {
            let text = fs::read_to_string(path).unwrap_or_default();
            let line = text
                .lines()
                .find(|l| l.starts_with(key))
                .unwrap_or_default();
            line.trim_start_matches(key)
                .trim_matches([' ', '\t', ':'])
                .to_owned()
        };
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        format!(
            "{}, Linux {}, {} of memory; load of others before the run: {}; {} s a round, median of {}",
            first("/proc/cpuinfo", "model name"),
            kernel.trim(),
            first("/proc/meminfo", "MemTotal"),
            load.split(' ').next().unwrap_or_default(),
            self.seconds,
            self.rounds,
        )
    }

    /// A new folder in the folder of this run.
    pub fn folder(&self, name: &str) -> Result<PathBuf> {
        for n in 0.. {
            let path = self.dir.join(format!("{name}-{n}"));
            match fs::create_dir(&path) {
                Ok(()) => return Ok(path),
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(e.into()),
            }
        }
        Err("no name is free".into())
    }

    /// Starts a program on the server's processor. It ends with this program, however that ends.
    pub fn start(&self, program: &Path, args: &[String], dir: &Path) -> Result<Server> {
        let log = fs::File::create(dir.join("log"))?;
        let began = Instant::now();
        let child = Command::new("setpriv")
            .args([
                "--pdeathsig",
                "KILL",
                "taskset",
                "-c",
                &self.server.to_string(),
            ])
            .arg(program)
            .args(args)
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        Ok(Server {
            child,
            began,
            dir: dir.to_owned(),
            port: 0,
            dns: 0,
        })
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// A running server, ended when dropped.
pub struct Server {
    child: Child,
    began: Instant,
    dir: PathBuf,
    /// Its HTTP port on 127.0.0.1.
    pub port: u16,
    /// Its DNS port on 127.0.0.1.
    pub dns: u16,
}

impl Server {
    /// Asks until `ready` says yes; the time since the start.
    pub fn wait(&mut self, mut ready: impl FnMut(&Server) -> Result<bool>) -> Result<Duration> {
        while self.began.elapsed() < START {
            if let Some(status) = self.child.try_wait()? {
                return Err(format!("ended with {status}: {}", self.log()).into());
            }
            if ready(self).unwrap_or(false) {
                return Ok(self.began.elapsed());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Err(format!("not ready within {} s: {}", START.as_secs(), self.log()).into())
    }

    fn log(&self) -> String {
        let text = fs::read(self.dir.join("log")).unwrap_or_default();
        let from = text.len().saturating_sub(600);
        String::from_utf8_lossy(&text[from..])
            .trim()
            .replace('\n', " | ")
    }

    /// A connection for requests one after the other.
    pub fn client(&self) -> Result<client::Client> {
        client::Client::new(self.port)
    }

    /// Anonymous resident bytes: what the process itself holds, without the pages of its binary.
    pub fn memory(&self) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let kib = status.lines().find_map(|l| {
            l.strip_prefix("RssAnon:")?
                .trim()
                .strip_suffix(" kB")?
                .parse::<f64>()
                .ok()
        });
        Ok(kib.ok_or("no RssAnon")? * 1024.0)
    }

    /// Seconds of processor time that its threads of now have had, to the nanosecond.
    pub fn cpu_of_threads(&self) -> Result<f64> {
        let mut nanoseconds = 0.0;
        for thread in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let text = fs::read_to_string(thread?.path().join("schedstat")).unwrap_or_default();
            nanoseconds += text
                .split(' ')
                .next()
                .and_then(|n| n.parse::<f64>().ok())
                .unwrap_or(0.0);
        }
        Ok(nanoseconds / 1e9)
    }

    /// Seconds of processor time so far, those of threads that have ended included.
    pub fn cpu(&self) -> Result<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let fields = stat.rsplit_once(") ").ok_or("no stat")?.1;
        let ticks: f64 = fields
            .split(' ')
            .skip(11)
            .take(2)
            .filter_map(|n| n.parse::<f64>().ok())
            .sum();
        Ok(ticks / TICKS)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if self
            .dir
            .file_name()
            .is_some_and(|n| n.to_string_lossy().contains('-'))
        {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

/// Where a program is; system programs are not on everybody's path.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|dir| dir.join(program))
        .find(|file| file.is_file())
}

/// Ports that nobody has now, for TCP.
pub fn free_ports<const N: usize>() -> Result<[u16; N]> {
    let listeners = (0..N)
        .map(|_| TcpListener::bind(("127.0.0.1", 0)))
        .collect::<std::io::Result<Vec<_>>>()?;
    let mut ports = [0; N];
    for (port, listener) in ports.iter_mut().zip(&listeners) {
        *port = listener.local_addr()?.port();
    }
    Ok(ports)
}
