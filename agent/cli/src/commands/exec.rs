//! Child processes of `lock` and `watch`, and the signals meant for them.

use crate::cx::Cx;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::process::{Child, Command};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// How long a child may take to end after it was asked to.
pub(crate) const GRACE: Duration = Duration::from_secs(5);

/// A command of the words, or of a shell that reads them.
pub(crate) fn command(cx: &Cx<'_>, words: &[String], shell: bool) -> Command {
    if shell {
        let shell = (cx.env)("SHELL")
            .filter(|s| !s.is_empty())
            .unwrap_or_else(|| "/bin/sh".to_owned());
        let mut command = Command::new(shell);
        command.arg("-c").arg(words.join(" "));
        return command;
    }
    let mut command = Command::new(words.first().map(String::as_str).unwrap_or_default());
    command.args(words.get(1..).unwrap_or_default());
    command
}

/// A running child. Unless it shares our input it leads a process group of its own, so that what
/// it started can be ended with it.
pub(crate) struct Running {
    pub(crate) child: Child,
    pid: i32,
    group: bool,
}

impl Running {
    /// Starts a command that prints where we do. `input` is given to it; `None` shares ours.
    pub(crate) fn start(
        mut command: Command,
        share_input: bool,
        input: Stdio,
    ) -> std::io::Result<Running> {
        if share_input {
            command.stdin(Stdio::inherit());
        } else {
            command.stdin(input).process_group(0);
        }
        let child = command.spawn()?;
        let pid = child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .unwrap_or(0);
        Ok(Running {
            child,
            pid,
            group: !share_input,
        })
    }

    /// Sends a signal to it, and to its group.
    pub(crate) fn signal(&self, number: i32) {
        if self.pid <= 0 || self.child.id().is_none() {
            return;
        }
        let target = if self.group { -self.pid } else { self.pid };
        // SAFETY: kill takes two numbers and touches no memory of ours. The child has not been
        // waited for, so its number is not another process's.
        unsafe {
            libc::kill(target, number);
        }
    }

    /// Ends it: asks, waits up to [`GRACE`], then makes it. Says whether it went by itself.
    pub(crate) async fn end(&mut self) -> bool {
        self.signal(libc::SIGTERM);
        if tokio::time::timeout(GRACE, self.child.wait()).await.is_ok() {
            return true;
        }
        self.signal(libc::SIGKILL);
        let _ = self.child.wait().await;
        false
    }
}

/// Go's words for an exit that is no success.
pub(crate) fn exit_text(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(number)) => format!("signal: {number}"),
        (None, None) => "unknown exit status".to_owned(),
    }
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// To end (the signal's number).
    End(i32),
    /// Something for the child alone (the signal's number).
    Forward(i32),
}

/// The signals that we get.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
    quit: Signal,
    user1: Signal,
    user2: Signal,
}

impl Signals {
    pub(crate) fn new() -> std::io::Result<Signals> {
        Ok(Signals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
            quit: signal(SignalKind::quit())?,
            user1: signal(SignalKind::user_defined1())?,
            user2: signal(SignalKind::user_defined2())?,
        })
    }

    /// The next signal.
    pub(crate) async fn next(&mut self) -> Received {
        tokio::select! {
            _ = self.interrupt.recv() => Received::End(libc::SIGINT),
            _ = self.terminate.recv() => Received::End(libc::SIGTERM),
            _ = self.hangup.recv() => Received::Forward(libc::SIGHUP),
            _ = self.quit.recv() => Received::Forward(libc::SIGQUIT),
            _ = self.user1.recv() => Received::Forward(libc::SIGUSR1),
            _ = self.user2.recv() => Received::Forward(libc::SIGUSR2),
        }
    }

    /// The next signal that asks to end.
    pub(crate) async fn end(&mut self) -> i32 {
        loop {
            if let Received::End(number) = self.next().await {
                return number;
            }
        }
    }
}
