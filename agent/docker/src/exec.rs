//! Commands in containers.

use crate::daemon::{Daemon, DaemonError};
use bollard::exec::StartExecResults;
use bollard::models::ExecConfig;
use futures_util::StreamExt;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;

/// What is left behind in containers at most. The daemon can start a command but not end it.
const LEFT_BEHIND_MAX: usize = 64;

/// Runs commands in containers of one daemon.
#[derive(Clone)]
pub struct DockerExec {
    inner: Arc<Inner>,
}

struct Inner {
    host: Box<dyn Fn() -> String + Send + Sync>,
    daemon: Mutex<Option<Daemon>>,
    /// Commands that outlived their time: container and command to the exec's id.
    left: Mutex<HashMap<(String, Vec<String>), String>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl DockerExec {
    /// Runs commands at the daemon that `host` names when the first one is run.
    pub fn new(host: impl Fn() -> String + Send + Sync + 'static) -> DockerExec {
        DockerExec {
            inner: Arc::new(Inner {
                host: Box::new(host),
                daemon: Mutex::new(None),
                left: Mutex::default(),
            }),
        }
    }

    fn daemon(&self) -> Result<Daemon, DaemonError> {
        let mut known = lock(&self.inner.daemon);
        if let Some(daemon) = &*known {
            return Ok(daemon.clone());
        }
        let daemon = Daemon::at(&(self.inner.host)())?;
        *known = Some(daemon.clone());
        Ok(daemon)
    }

    /// Runs `argv` in a container, by id or name, until it ends; gives its exit code. What it
    /// prints goes to `output` as it comes, standard output and error alike. Dropping the future
    /// ends the command where that is possible: where its process can be seen and signalled from
    /// here. Where it goes on, the same command is not started a second time.
    ///
    /// # Errors
    /// A text for people: the container is paused, stopped or gone, the command is missing, the
    /// daemon is away or refuses.
    pub async fn run(
        &self,
        container: &str,
        argv: &[String],
        output: &mut (dyn FnMut(&[u8]) + Send),
    ) -> Result<i64, String> {
        let daemon = self.daemon().map_err(|e| e.to_string())?;
        let key = (container.to_owned(), argv.to_vec());
        self.nothing_left(&daemon, &key).await?;
        let config = ExecConfig {
            cmd: Some(argv.to_vec()),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            ..ExecConfig::default()
        };
        let answer = daemon.client().create_exec(container, config);
        let exec = daemon
            .ask("POST /containers/{id}/exec", answer)
            .await
            .map_err(|e| unstartable(container, &e))?
            .id;
        let mut run = Run {
            exec: self.clone(),
            daemon: daemon.clone(),
            id: Some(exec.clone()),
            key,
        };
        let answer = daemon.client().start_exec(&exec, None);
        let started = daemon
            .ask("POST /exec/{id}/start", answer)
            .await
            .map_err(|e| unstartable(container, &e))?;
        let mut printed = Printed::default();
        if let StartExecResults::Attached {
            output: mut parts, ..
        } = started
        {
            while let Some(part) = parts.next().await {
                match part {
                    Ok(part) => {
                        let bytes = part.into_bytes();
                        printed.add(&bytes);
                        output(&bytes);
                    }
                    Err(error) => {
                        return Err(daemon.explain("POST /exec/{id}/start", &error).to_string());
                    }
                }
            }
        }
        let answer = daemon.client().inspect_exec(&exec);
        let state = daemon
            .ask("GET /exec/{id}/json", answer)
            .await
            .map_err(|e| e.to_string())?;
        if state.running == Some(true) {
            // The container went on to hold it while the stream broke off: `run` ends it.
            return Err("the output broke off before the command ended".to_owned());
        }
        run.id = None;
        match state.exit_code {
            Some(code @ (126 | 127)) if printed.is_of_runtime() => Err(format!(
                "the command cannot be started in container {container} (exit code {code}): {}",
                printed.text()
            )),
            Some(code) => Ok(code),
            // A command without a result has no verdict.
            None => Err(format!(
                "container {container} ended before the command did"
            )),
        }
    }

    /// Whether an earlier run of the same command still goes on.
    async fn nothing_left(
        &self,
        daemon: &Daemon,
        key: &(String, Vec<String>),
    ) -> Result<(), String> {
        let (left, total) = {
            let left = lock(&self.inner.left);
            (left.get(key).cloned(), left.len())
        };
        if let Some(id) = left {
            let answer = daemon.client().inspect_exec(&id);
            match daemon.ask("GET /exec/{id}/json", answer).await {
                Ok(state) if state.running == Some(true) => {
                    return Err(format!(
                        "an earlier run of the command still goes on in container {} (process {} of its host); it is not started again",
                        key.0,
                        state.pid.unwrap_or_default()
                    ));
                }
                Ok(_) | Err(DaemonError::Missing(_)) => {
                    lock(&self.inner.left).remove(key);
                }
                Err(error) => return Err(error.to_string()),
            }
        } else if total >= LEFT_BEHIND_MAX {
            return Err(format!(
                "{LEFT_BEHIND_MAX} commands of checks still run in containers after their time; no more are started"
            ));
        }
        Ok(())
    }
}

/// What a command printed first: enough to tell the runtime's words from its own.
#[derive(Default)]
struct Printed(Vec<u8>);

impl Printed {
    fn add(&mut self, bytes: &[u8]) {
        let room = 400usize.saturating_sub(self.0.len());
        self.0.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0).trim().to_owned()
    }

    /// runc and crun begin so.
    fn is_of_runtime(&self) -> bool {
        let text = self.text();
        text.starts_with("OCI runtime exec failed") || text.starts_with("crun: ")
    }
}

fn unstartable(container: &str, error: &DaemonError) -> String {
    match error {
        DaemonError::Missing(_) => format!("there is no container {container}"),
        DaemonError::Refused(409, text) if text.contains("is paused") => {
            format!("container {container} is paused")
        }
        DaemonError::Refused(409, text) if text.contains("is not running") => {
            format!("container {container} is not running")
        }
        other => other.to_string(),
    }
}

/// A run under way. If it is dropped before its end, its process is ended.
struct Run {
    exec: DockerExec,
    daemon: Daemon,
    id: Option<String>,
    key: (String, Vec<String>),
}

impl Drop for Run {
    fn drop(&mut self) {
        let Some(id) = self.id.take() else { return };
        lock(&self.exec.inner.left).insert(self.key.clone(), id.clone());
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        let (exec, daemon, key) = (self.exec.clone(), self.daemon.clone(), self.key.clone());
        runtime.spawn(async move {
            if end(&daemon, &id).await {
                let mut left = lock(&exec.inner.left);
                if left.get(&key) == Some(&id) {
                    left.remove(&key);
                }
            }
        });
    }
}

/// Ends the process of an exec, if it can be seen from here. Whether it is over.
async fn end(daemon: &Daemon, id: &str) -> bool {
    let mut last = (String::new(), 0);
    for wait in [0, 50, 200, 1000] {
        tokio::time::sleep(Duration::from_millis(wait)).await;
        let answer = daemon.client().inspect_exec(id);
        let state = match daemon.ask("GET /exec/{id}/json", answer).await {
            Ok(state) => state,
            Err(DaemonError::Missing(_)) => return true,
            Err(_) => continue,
        };
        if state.running != Some(true) {
            return true;
        }
        let container = state.container_id.unwrap_or_default();
        let pid = state
            .pid
            .and_then(|pid| i32::try_from(pid).ok())
            .unwrap_or(0);
        if pid > 1 && is_in_container(pid, &container) {
            // SAFETY: `kill` takes two integers; it touches no memory of this process.
            unsafe { libc::kill(pid, libc::SIGKILL) };
        }
        last = (container, pid);
    }
    let (container, pid) = last;
    tracing::warn!(target: "agent.docker", container = %container, pid, "the command of a check outlived its time and could not be ended from here; it is not started again before it ends");
    false
}

/// Whether a process number, as this process sees numbers, is one of a container: a number of the
/// daemon's namespace may be somebody else's here.
fn is_in_container(pid: i32, container: &str) -> bool {
    !container.is_empty()
        && ["cgroup", "mountinfo"].iter().any(|file| {
            std::fs::read_to_string(format!("/proc/{pid}/{file}"))
                .is_ok_and(|text| text.contains(container))
        })
}
