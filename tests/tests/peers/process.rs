//! A peer as a child process, ended when it goes.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A running program and its log.
pub struct Process {
    child: Child,
    log: PathBuf,
    name: String,
}

impl Process {
    /// Starts a program in a process group of its own: whatever it starts ends with it.
    pub fn start(mut command: Command, log: &Path) -> Process {
        let name = command.get_program().display().to_string();
        let file = std::fs::File::create(log).expect("a log");
        command
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("the log twice"))
            .stderr(file);
        command.process_group(0);
        let child = command.spawn().unwrap_or_else(|e| panic!("{name}: {e}"));
        Process {
            child,
            log: log.to_owned(),
            name,
        }
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: i32) {
        send(self.child.id() as i32, signal);
    }

    /// Whether it runs.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().expect("its state").is_none()
    }
}

fn send(pid: i32, signal: i32) {
    // SAFETY: kill takes two numbers and touches no memory of ours. The child has not been waited
    // for, so neither its number nor its group's is somebody else's.
    unsafe {
        libc::kill(pid, signal);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        send(-(self.child.id() as i32), libc::SIGKILL);
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = std::fs::read(&self.log).unwrap_or_default();
            let log = String::from_utf8_lossy(&log);
            let lines: Vec<&str> = log.lines().collect();
            let tail = &lines[lines.len().saturating_sub(40)..];
            eprintln!(
                "---- the end of what {} said ----\n{}",
                self.name,
                tail.join("\n")
            );
        }
    }
}
