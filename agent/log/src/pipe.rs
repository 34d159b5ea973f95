//! Writing on a thread of its own, so that a slow output holds nobody up.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

/// What a pipe leads to.
pub(crate) trait Sink: Send + 'static {
    /// Writes whole lines.
    fn write(&mut self, lines: &[u8], now: SystemTime) -> io::Result<()>;

    /// Opens the output anew, if it has a name to be opened by.
    fn reopen(&mut self, now: SystemTime) -> io::Result<()>;
}

/// The near end. Lines are gathered in one buffer while the writer writes
/// another, so that a line costs a copy and no allocation.
pub(crate) struct Pipe {
    shared: Arc<Shared>,
    /// Most bytes that wait.
    limit: usize,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// There is something to do for the writer.
    work: Condvar,
    /// The writer has done something.
    done: Condvar,
}

#[derive(Default)]
struct State {
    waiting: Vec<u8>,
    /// Lines that found no room since the last ones that were written.
    dropped: u64,
    /// The writer must wait.
    held: bool,
    reopen: bool,
    ended: bool,
    /// The writer has lines in hand.
    writing: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pipe {
    /// Starts the thread that writes to `sink`; with `held` it does not write
    /// before [`Pipe::release`].
    pub(crate) fn start(name: &str, sink: impl Sink, limit: usize, held: bool) -> io::Result<Pipe> {
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                held,
                ..State::default()
            }),
            ..Shared::default()
        });
        let far = shared.clone();
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || run(&far, sink))?;
        Ok(Pipe { shared, limit })
    }

    /// Hands a line over, or drops it if too many wait.
    pub(crate) fn push(&self, line: &[u8]) {
        let mut state = self.shared.lock();
        if state.waiting.len() + line.len() > self.limit {
            state.dropped += 1;
            return;
        }
        let idle = state.waiting.is_empty();
        state.waiting.extend_from_slice(line);
        let wake = idle && !state.held && !state.writing;
        drop(state);
        if wake {
            self.shared.work.notify_one();
        }
    }

    pub(crate) fn release(&self) {
        self.shared.lock().held = false;
        self.shared.work.notify_one();
    }

    pub(crate) fn reopen(&self) {
        self.shared.lock().reopen = true;
        self.shared.work.notify_one();
    }

    /// Waits until all lines handed over before are written. Gives false if
    /// that did not happen in time, or cannot as the pipe is held.
    pub(crate) fn flush(&self, timeout: Duration) -> bool {
        let end = Instant::now() + timeout;
        let mut state = self.shared.lock();
        loop {
            if state.waiting.is_empty() && !state.writing && !state.reopen {
                return true;
            }
            let left = end.saturating_duration_since(Instant::now());
            if state.held || left.is_zero() {
                return false;
            }
            state = self
                .shared
                .done
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.shared.lock().ended = true;
        self.shared.work.notify_one();
    }
}

/// Buffers keep no more than this when a burst is over.
const KEPT: usize = 16 * 1024;

fn run(shared: &Shared, mut sink: impl Sink) {
    let mut lines = Vec::new();
    let mut failing = false;
    loop {
        let (dropped, reopen) = {
            let mut state = shared.lock();
            while !(state.ended || !state.held && (state.reopen || !state.waiting.is_empty())) {
                state = shared
                    .work
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            if state.ended && state.waiting.is_empty() {
                return;
            }
            std::mem::swap(&mut state.waiting, &mut lines);
            state.writing = true;
            (
                std::mem::take(&mut state.dropped),
                std::mem::take(&mut state.reopen),
            )
        };
        let now = SystemTime::now();
        let mut result = if reopen { sink.reopen(now) } else { Ok(()) };
        if !lines.is_empty() {
            result = result.and(sink.write(&lines, now));
        }
        lines.clear();
        lines.shrink_to(KEPT);
        {
            let mut state = shared.lock();
            state.writing = false;
        }
        shared.done.notify_all();
        // These take the way of all events, to the other outputs as well.
        if dropped > 0 {
            tracing::warn!(target: "agent", dropped, "Log lines were dropped because an output is too slow");
        }
        match result {
            Ok(()) => failing = false,
            Err(error) if !std::mem::replace(&mut failing, true) => {
                tracing::error!(target: "agent", %error, "an output of the log cannot be written");
            }
            Err(_) => {}
        }
    }
}

/// Standard output, without the lock and the buffer of the standard library:
/// a blocked terminal must not block who prints elsewhere.
pub(crate) struct Stdout(File);

impl Stdout {
    pub(crate) fn open() -> io::Result<Stdout> {
        Ok(Stdout(File::from(
            io::stdout().as_fd().try_clone_to_owned()?,
        )))
    }
}

impl Sink for Stdout {
    fn write(&mut self, mut lines: &[u8], _: SystemTime) -> io::Result<()> {
        while !lines.is_empty() {
            match self.0.write(lines) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => lines = &lines[written..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Another program may have set the terminal to non-blocking.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    thread::sleep(Duration::from_millis(5))
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn reopen(&mut self, _: SystemTime) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    /// Tells what is written, and takes a permit for each time.
    struct Slow {
        seen: mpsc::Sender<String>,
        permits: mpsc::Receiver<()>,
    }

    impl Sink for Slow {
        fn write(&mut self, lines: &[u8], _: SystemTime) -> io::Result<()> {
            self.seen
                .send(String::from_utf8_lossy(lines).into_owned())
                .map_err(io::Error::other)?;
            self.permits.recv().map_err(io::Error::other)
        }
        fn reopen(&mut self, _: SystemTime) -> io::Result<()> {
            self.seen.send("reopened".into()).map_err(io::Error::other)
        }
    }

    fn slow(limit: usize, held: bool) -> (Pipe, mpsc::Receiver<String>, mpsc::Sender<()>) {
        let (seen, sees) = mpsc::channel();
        let (permit, permits) = mpsc::channel();
        (
            Pipe::start("test", Slow { seen, permits }, limit, held).unwrap(),
            sees,
            permit,
        )
    }

    #[test]
    fn a_stuck_output_holds_nobody_up() {
        let (pipe, sees, permit) = slow(6, false);
        pipe.push(b"a\n");
        assert_eq!(sees.recv().unwrap(), "a\n");
        // The writer is stuck with the first line: three more have room.
        for line in ["b\n", "c\n", "d\n", "e\n", "f\n"] {
            pipe.push(line.as_bytes());
        }
        assert!(!pipe.flush(Duration::ZERO));
        assert_eq!(pipe.shared.lock().dropped, 2);
        permit.send(()).unwrap();
        assert_eq!(sees.recv().unwrap(), "b\nc\nd\n");
        permit.send(()).unwrap();
        assert!(pipe.flush(Duration::from_secs(60)));
        assert_eq!(pipe.shared.lock().dropped, 0);
    }

    #[test]
    fn held_lines_come_with_the_release() {
        let (pipe, sees, permit) = slow(100, true);
        pipe.push(b"a\n");
        pipe.push(b"b\n");
        assert!(
            !pipe.flush(Duration::from_secs(60)),
            "does not wait while held"
        );
        assert!(sees.try_recv().is_err());
        permit.send(()).unwrap();
        pipe.release();
        assert_eq!(sees.recv().unwrap(), "a\nb\n");
        assert!(pipe.flush(Duration::from_secs(60)));
        pipe.reopen();
        assert!(pipe.flush(Duration::from_secs(60)));
        assert_eq!(sees.try_recv().unwrap(), "reopened");
    }

    #[test]
    fn the_thread_ends_with_the_pipe_and_writes_what_waits() {
        let (pipe, sees, permit) = slow(100, true);
        pipe.push(b"last\n");
        permit.send(()).unwrap();
        drop(pipe);
        assert_eq!(sees.recv().unwrap(), "last\n");
        assert!(sees.recv().is_err(), "the sink is gone");
    }

    #[test]
    fn a_failing_output_is_tried_again() {
        let (pipe, sees, permit) = slow(100, false);
        drop(permit);
        pipe.push(b"a\n");
        assert_eq!(sees.recv().unwrap(), "a\n");
        assert!(pipe.flush(Duration::from_secs(60)));
        pipe.push(b"b\n");
        assert_eq!(sees.recv().unwrap(), "b\n");
    }
}
