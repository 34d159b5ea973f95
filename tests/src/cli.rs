//! Programs that run and end.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

/// What a program said.
#[derive(Clone, Debug)]
pub struct Output {
    /// Its exit code; -1 if a signal ended it.
    pub code: i32,
    /// What it wrote.
    pub stdout: String,
    /// What it complained of.
    pub stderr: String,
}

impl Output {
    /// This output, if the code is 0.
    #[track_caller]
    pub fn ok(self) -> Output {
        assert_eq!(self.code, 0, "{}{}", self.stdout, self.stderr);
        self
    }

    /// This output, if the code is that.
    #[track_caller]
    pub fn expect(self, code: i32) -> Output {
        assert_eq!(self.code, code, "{}{}", self.stdout, self.stderr);
        self
    }

    /// Both texts.
    pub fn all(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }

    /// The lines of a table, each as its words.
    pub fn table(&self) -> Vec<Vec<&str>> {
        self.stdout
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect()
    }
}

/// Runs a program to its end, in a clean environment plus `env`. Panics if it takes longer than
/// `limit`, after ending it.
pub async fn run(
    program: &Path,
    args: &[&str],
    env: &[(&str, &str)],
    stdin: &str,
    limit: Duration,
) -> Output {
    let mut command = Command::new(program);
    command.args(args).env_clear().kill_on_drop(true);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let kept = ["PATH", "HOME", "TMPDIR"].into_iter();
    command.envs(kept.filter_map(|k| Some((k, std::env::var_os(k)?))));
    command.envs(env.iter().copied());
    let mut child = command
        .spawn()
        .unwrap_or_else(|e| panic!("{}: {e}", program.display()));
    let mut pipe = child.stdin.take().expect("a pipe to it");
    let input = stdin.to_owned();
    let write = tokio::spawn(async move {
        // A program that reads nothing closes it early.
        let _ = pipe.write_all(input.as_bytes()).await;
    });
    let done = timeout(limit, child.wait_with_output()).await;
    let done = done.unwrap_or_else(|_| panic!("{} {args:?} did not end", program.display()));
    let done = done.expect("its output");
    let _ = write.await;
    Output {
        code: done.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&done.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&done.stderr).into_owned(),
    }
}
