//! Script checks: a program of this host whose exit code is the status, in the way of Nagios
//! plugins. It runs in a process group of its own, so that its time limit ends its children too.

use crate::job::{Outcome, status_of_exit};
use crate::tail::Tail;
use crate::texts::io_text;
use lictor_wire::base::Str;
use lictor_wire::checktype::CheckType;
use lictor_wire::duration::{GoDuration, go_quote};
use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};
use tokio::time::{Instant, timeout_at};

/// A script check.
pub(crate) struct ScriptCheck {
    argv: Vec<Str>,
    timeout: Duration,
    limit: usize,
}

impl ScriptCheck {
    pub(crate) fn new(check: &CheckType, timeout: Duration, limit: usize) -> ScriptCheck {
        ScriptCheck {
            argv: check.script_args.clone(),
            timeout,
            limit,
        }
    }

    pub(crate) async fn run(&self) -> Outcome {
        let program = self.argv.first().map_or("", Str::as_str);
        if program.is_empty() {
            return Outcome::critical_at_once("exec: no command");
        }
        let (mut group, mut output) = match spawn(&self.argv) {
            Ok(started) => started,
            Err(e) => return Outcome::critical_at_once(start_text(program, &e)),
        };
        let mut tail = Tail::new(self.limit);
        let deadline = Instant::now() + self.timeout;
        match timeout_at(deadline, follow(&mut group, &mut output, &mut tail)).await {
            Ok(Ok(exit)) => {
                group.is_over();
                Outcome {
                    at_once: false,
                    ..of_exit(exit, &tail)
                }
            }
            Ok(Err(e)) => Outcome::critical_at_once(io_text(&e)),
            Err(_) => {
                group.kill();
                let text = timeout_text(self.timeout, &tail);
                Outcome {
                    lingers: group.take(),
                    ..Outcome::critical_at_once(text)
                }
            }
        }
    }
}

fn of_exit(exit: ExitStatus, tail: &Tail) -> Outcome {
    Outcome::new(
        status_of_exit(exit.code().map(i64::from)),
        tail.text_with_note(),
    )
}

/// What a check that took too long says: the limit, and the output so far. Consul's text.
pub(crate) fn timeout_text(limit: Duration, tail: &Tail) -> String {
    let mut text = format!("Timed out ({}) running check", GoDuration::from(limit));
    if tail.total() > 0 {
        text.push_str("\n\n");
        text.push_str(&tail.text_with_note());
    }
    text
}

/// Reads the output to its end, then waits for the exit.
///
/// In this order, because a process that was waited for gives its number back, and with it the
/// number of its group: as long as something may still have to be killed, it must not.
async fn follow(
    group: &mut Group,
    output: &mut pipe::Receiver,
    tail: &mut Tail,
) -> io::Result<ExitStatus> {
    let mut buffer = [0; 4096];
    loop {
        match output.read(&mut buffer).await? {
            0 => return group.wait().await,
            n => tail.write(&buffer[..n]),
        }
    }
}

/// Starts a program with no input and one pipe for all of its output.
fn spawn(argv: &[Str]) -> io::Result<(Group, pipe::Receiver)> {
    let (reader, writer) = io::pipe()?;
    let mut command = Command::new(argv[0].as_str());
    command
        .args(argv[1..].iter().map(Str::as_str))
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer)
        .process_group(0)
        .kill_on_drop(true);
    let child = command.spawn()?;
    drop(command); // It holds our copies of the pipe's end, which would never close.
    let group = Group {
        leader: child.id().and_then(|id| i32::try_from(id).ok()),
        child: Some(child),
    };
    Ok((group, pipe::Receiver::from_owned_fd(reader.into())?))
}

/// Why a program did not start, as Go says it.
fn start_text(program: &str, error: &io::Error) -> String {
    let not_found = matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied
    );
    if not_found && !program.contains('/') {
        return format!(
            "exec: {}: executable file not found in $PATH",
            go_quote(program)
        );
    }
    if error.kind() == io::ErrorKind::InvalidInput {
        return format!("fork/exec {program}: invalid argument");
    }
    format!("fork/exec {program}: {}", io_text(error))
}

/// A process and its group. Dropped before the process has been waited for, it kills the group:
/// so a check that is removed leaves nothing behind.
struct Group {
    leader: Option<i32>,
    child: Option<Child>,
}

impl Group {
    async fn wait(&mut self) -> io::Result<ExitStatus> {
        match &mut self.child {
            Some(child) => child.wait().await,
            None => Err(io::Error::other("the process is gone")),
        }
    }

    /// The leader has been waited for: its number may be another's by now.
    fn is_over(&mut self) {
        self.leader = None;
    }

    fn kill(&mut self) {
        if let Some(leader) = self.leader.take().filter(|id| *id > 1) {
            // SAFETY: `kill` takes two integers and touches no memory of ours. The group is the
            // one that was made for this process: its leader has not been waited for, so the
            // number cannot have been given to another.
            unsafe { libc::kill(-leader, libc::SIGKILL) };
        }
    }

    fn take(&mut self) -> Option<Child> {
        self.child.take()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lictor_wire::catalog::Status;

    async fn run(argv: &[&str], timeout_ms: u64, limit: usize) -> Outcome {
        let argv = argv.iter().map(|a| Str::from(*a)).collect();
        ScriptCheck {
            argv,
            timeout: Duration::from_millis(timeout_ms),
            limit,
        }
        .run()
        .await
    }

    async fn shell(script: &str) -> (Status, String) {
        let out = run(&["sh", "-c", script], 20_000, 4096).await;
        assert!(!out.at_once);
        (out.status, out.output)
    }

    #[tokio::test]
    async fn the_exit_code_is_the_status() {
        assert_eq!(
            shell("echo fine").await,
            (Status::Passing, "fine\n".to_owned())
        );
        assert_eq!(
            shell("echo hm >&2; exit 1").await,
            (Status::Warning, "hm\n".to_owned())
        );
        assert_eq!(
            shell("echo bad; exit 2").await,
            (Status::Critical, "bad\n".to_owned())
        );
        assert_eq!(shell("kill -9 $$").await, (Status::Critical, String::new()));
        assert_eq!(
            shell("cat; echo no input").await,
            (Status::Passing, "no input\n".to_owned())
        );
    }

    #[tokio::test]
    async fn output_and_errors_stand_in_the_order_of_writing_and_the_end_is_kept() {
        assert_eq!(shell("echo 1; echo 2 >&2; echo 3").await.1, "1\n2\n3\n");
        let out = run(
            &[
                "sh",
                "-c",
                "i=0; while [ $i -lt 3000 ]; do echo 0123456789; i=$((i+1)); done",
            ],
            20_000,
            22,
        )
        .await;
        assert_eq!(
            out.output,
            "Captured 22 of 33000 bytes\n...\n0123456789\n0123456789\n"
        );
        assert_eq!(out.status, Status::Passing);
    }

    #[tokio::test]
    async fn a_program_that_does_not_start_is_critical_at_once() {
        for (argv, want) in [
            (
                &["/nonexistent/program"][..],
                "fork/exec /nonexistent/program: no such file or directory",
            ),
            (
                &["no-such-program-here"],
                r#"exec: "no-such-program-here": executable file not found in $PATH"#,
            ),
            (&["/etc/passwd"], "fork/exec /etc/passwd: permission denied"),
            (&["/bin/sh", "a\0b"], "fork/exec /bin/sh: invalid argument"),
            (&[""], "exec: no command"),
            (&[], "exec: no command"),
        ] {
            let out = run(argv, 1_000, 4096).await;
            assert_eq!(
                (out.status, out.output.as_str(), out.at_once),
                (Status::Critical, want, true)
            );
        }
    }

    /// Whether a process runs (a dead one that nobody waited for does not).
    fn is_running(pid: &str) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(") ")
            .is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
    }

    async fn gone(pid: &str) {
        let limit = Instant::now() + Duration::from_secs(20);
        while is_running(pid) {
            assert!(Instant::now() < limit, "process {pid} still runs");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn a_script_that_hangs_is_killed_with_its_children() {
        let out = run(&["sh", "-c", "sleep 600 & echo $!; wait"], 300, 4096).await;
        let pid = out
            .output
            .strip_prefix("Timed out (300ms) running check\n\n")
            .expect(&out.output)
            .trim();
        assert!(pid.parse::<u32>().is_ok(), "{pid}");
        assert_eq!((out.status, out.at_once), (Status::Critical, true));
        let exit = out
            .lingers
            .expect("the process is waited for")
            .wait()
            .await
            .unwrap();
        assert_eq!(exit.code(), None);
        gone(pid).await;
        let out = run(&["sleep", "600"], 50, 4096).await;
        assert_eq!(out.output, "Timed out (50ms) running check");
    }

    #[tokio::test]
    async fn a_child_that_keeps_the_output_open_is_waited_for_and_killed() {
        let out = run(&["sh", "-c", "sleep 600 & echo $!"], 300, 4096).await;
        let pid = out
            .output
            .strip_prefix("Timed out (300ms) running check\n\n")
            .expect(&out.output)
            .trim();
        gone(pid).await;
    }

    #[tokio::test]
    async fn a_run_that_is_given_up_leaves_nothing_behind() {
        let dir = std::env::temp_dir().join(format!("lictor-check-{}", std::process::id()));
        let script = format!(
            "sleep 600 & echo $! > {}.tmp; mv {0}.tmp {0}; wait",
            dir.display()
        );
        let pid = {
            let argv = ["sh", "-c", &script];
            let mut running = std::pin::pin!(run(&argv, 60_000, 4096));
            let limit = Instant::now() + Duration::from_secs(20);
            loop {
                assert!(Instant::now() < limit);
                let step = tokio::time::timeout(Duration::from_millis(5), &mut running).await;
                assert!(step.is_err(), "the script must not end by itself");
                if let Ok(pid) = std::fs::read_to_string(&dir) {
                    break pid.trim().to_owned();
                }
            }
        };
        gone(&pid).await;
        std::fs::remove_file(&dir).unwrap();
    }
}
