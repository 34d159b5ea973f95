//! One session to one server: each call has a stream for itself while it lasts.

use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use lictor_yamux::{Code, Event, Limits, OpenError, Role, StreamId};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use crate::error::{CallError, SessionError};
use crate::first_byte;
use crate::frame::{Inbox, RequestHead, ResponseHead};
use crate::link::Link;

/// What a session to a server may hold.
#[derive(Clone, Copy, Debug)]
pub struct ClientLimits {
    /// Calls at once; the next fails. Each has a stream.
    pub max_calls: usize,
    /// Streams that are kept for the next call.
    pub idle_streams: usize,
    /// A session without calls is closed after this time.
    pub idle: Duration,
    /// Bytes of a reply at most.
    pub max_reply: usize,
}

impl Default for ClientLimits {
    /// Consul's numbers, where it has some.
    fn default() -> Self {
        Self {
            max_calls: 16_384,
            idle_streams: 32,
            idle: Duration::from_secs(127),
            max_reply: 512 << 20,
        }
    }
}

/// A session to a server. Clones share it; it ends when all are dropped and no call runs, when it
/// was idle for too long, or when the connection is lost.
#[derive(Clone, Debug)]
pub struct Client {
    commands: mpsc::UnboundedSender<Command>,
    seq: Arc<AtomicU64>,
}

/// Its number is bounded by the callers: each has one call, and one cancellation, at most.
#[derive(Debug)]
enum Command {
    Call(Order),
    /// The caller is gone.
    Cancel {
        seq: u64,
    },
}

#[derive(Debug)]
struct Order {
    seq: u64,
    request: Bytes,
    reply: oneshot::Sender<Result<Bytes, CallError>>,
}

/// Cancels the call when the caller's future is dropped.
struct Guard<'a> {
    client: &'a Client,
    seq: u64,
    armed: bool,
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if self.armed {
            let cancel = Command::Cancel { seq: self.seq };
            // When the session is over, so is the call.
            let _ = self.client.commands.send(cancel);
        }
    }
}

fn over() -> CallError {
    CallError::NotSent("session shutdown".into())
}

impl Client {
    /// Starts a session on a connection on which nothing was sent yet: the first byte is sent here.
    /// Has to be called in a tokio runtime.
    pub fn start<IO>(io: IO, limits: ClientLimits) -> Self
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (commands, receiver) = mpsc::unbounded_channel();
        let session = Limits {
            // Servers open no streams.
            backlog: 0,
            max_streams: limits.max_calls.saturating_add(limits.idle_streams),
            ..Limits::default()
        };
        let mut link = Link::new(io, Role::Client, session);
        link.first(&[first_byte::MULTIPLEXED]);
        link.wake_by(limits.idle);
        let mut driver = Driver {
            link,
            limits,
            commands: receiver,
            waiting: VecDeque::new(),
            calls: HashMap::new(),
            streams: HashMap::new(),
            idle: Vec::new(),
            active: Duration::ZERO,
            away: false,
        };
        tokio::spawn(async move {
            let end = poll_fn(|cx| driver.poll(cx)).await;
            driver.finish(end.err());
        });
        Self {
            commands,
            seq: Arc::new(AtomicU64::new(0)),
        }
    }

    /// The session takes no more calls.
    pub fn is_closed(&self) -> bool {
        self.commands.is_closed()
    }

    /// Asks the server: `args` is one msgpack value, and so is the reply. Dropping the future
    /// cancels the call, on the server too.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn call(
        &self,
        method: &str,
        args: &[u8],
        deadline: Instant,
    ) -> Result<Bytes, CallError> {
        let seq = self.seq.fetch_add(1, Relaxed) + 1;
        let mut request = RequestHead::encode(method, seq);
        request.extend_from_slice(args);
        let (reply, answer) = oneshot::channel();
        let command = Command::Call(Order {
            seq,
            request: request.into(),
            reply,
        });
        self.commands.send(command).map_err(|_| over())?;
        let mut guard = Guard {
            client: self,
            seq,
            armed: true,
        };
        let answer = timeout_at(deadline, answer).await;
        let Ok(answer) = answer else {
            return Err(CallError::Timeout);
        };
        guard.armed = false;
        // Without a word the session's task was ended from outside: nobody knows how far it came.
        answer.unwrap_or_else(|_| Err(CallError::Lost("session shutdown".into())))
    }
}

/// A stream with a call on it.
struct Call {
    seq: u64,
    inbox: Inbox,
    /// All of the request has left.
    sent: bool,
    reply: oneshot::Sender<Result<Bytes, CallError>>,
}

struct Driver<IO> {
    link: Link<IO>,
    limits: ClientLimits,
    commands: mpsc::UnboundedReceiver<Command>,
    /// Calls that have no stream yet.
    waiting: VecDeque<Order>,
    calls: HashMap<StreamId, Call>,
    streams: HashMap<u64, StreamId>,
    /// Streams without a call, the last used at the end.
    idle: Vec<StreamId>,
    active: Duration,
    /// No new calls.
    away: bool,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Driver<IO> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SessionError>> {
        loop {
            while !self.away {
                match self.commands.poll_recv(cx) {
                    Poll::Ready(Some(command)) => self.command(command),
                    Poll::Ready(None) => self.leave(),
                    Poll::Pending => break,
                }
            }
            if self.away {
                // Callers may still cancel.
                while let Poll::Ready(Some(command)) = self.commands.poll_recv(cx) {
                    self.command(command);
                }
            }
            while let Some(event) = self.link.session.poll_event() {
                self.event(event);
            }
            match self.link.poll(cx) {
                Poll::Ready(Ok(())) => {
                    if self.link.alarmed() {
                        self.tick();
                    }
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    let over = self.away && self.calls.is_empty() && self.link.is_flushed();
                    return if over {
                        Poll::Ready(Ok(()))
                    } else {
                        Poll::Pending
                    };
                }
            }
        }
    }

    /// Takes no more calls; those that run are answered.
    fn leave(&mut self) {
        if !self.away {
            self.away = true;
            self.commands.close();
            for order in self.waiting.drain(..) {
                order.fail(over());
            }
            self.link.session.go_away(Code::Normal);
        }
    }

    fn tick(&mut self) {
        let now = self.link.now();
        if !self.calls.is_empty() {
            self.active = now;
        }
        let due = self.active + self.limits.idle;
        if now >= due {
            self.leave();
        } else {
            self.link.wake_by(due);
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Call(order) => {
                if self.away {
                    order.fail(over());
                } else if self.calls.len() + self.waiting.len() >= self.limits.max_calls {
                    order.fail(CallError::NotSent("too many calls".into()));
                } else {
                    self.waiting.push_back(order);
                    self.begin();
                }
            }
            Command::Cancel { seq } => {
                if let Some(id) = self.streams.remove(&seq) {
                    self.calls.remove(&id);
                    self.link.session.reset(id);
                    self.begin();
                    self.active = self.link.now();
                }
            }
        }
    }

    /// Puts calls on streams, as many as there may be.
    fn begin(&mut self) {
        let now = self.link.now();
        while let Some(order) = self.waiting.pop_front() {
            if order.reply.is_closed() {
                continue;
            }
            let id = match self.idle.pop() {
                Some(id) => id,
                None => match self.link.session.open_stream(now) {
                    Ok(id) => id,
                    Err(OpenError::Backlog) => {
                        self.waiting.push_front(order);
                        return;
                    }
                    Err(error) => {
                        order.fail(CallError::NotSent(error.to_string()));
                        if error != OpenError::TooMany {
                            self.leave();
                        }
                        continue;
                    }
                },
            };
            if self.link.session.write(id, order.request.clone()).is_err() {
                // It has gone while it was idle; its event comes.
                self.waiting.push_front(order);
                continue;
            }
            self.active = now;
            self.streams.insert(order.seq, id);
            let call = Call {
                seq: order.seq,
                inbox: Inbox::default(),
                sent: false,
                reply: order.reply,
            };
            self.calls.insert(id, call);
        }
        if self.waiting.is_empty() && self.waiting.capacity() > 0 {
            self.waiting = VecDeque::new();
        }
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Sent(id) => {
                if let Some(call) = self.calls.get_mut(&id) {
                    call.sent = true;
                }
            }
            Event::Acknowledged(_) => self.begin(),
            Event::Readable(id) => self.read(id),
            Event::Closed(id) => {
                self.read(id);
                if let Some(call) = self.take(id) {
                    call.lost("EOF");
                }
                self.close(id);
            }
            Event::Reset(id) => {
                self.idle.retain(|idle| *idle != id);
                if let Some(call) = self.take(id) {
                    call.lost("stream reset");
                }
                self.begin();
            }
            Event::GoAway(_) => self.leave(),
            // None are taken.
            Event::Incoming => {}
        }
    }

    fn read(&mut self, id: StreamId) {
        let Some(call) = self.calls.get_mut(&id) else {
            // Nothing was asked.
            self.drop_stream(id);
            return;
        };
        let session = &mut self.link.session;
        if session.read_into(id, &mut call.inbox.bytes).is_err() {
            return;
        }
        let outcome = match call.inbox.take(self.limits.max_reply) {
            Ok(None) => return,
            Ok(Some(message)) => match ResponseHead::decode(&message.head) {
                Ok(head) if head.seq != call.seq => Err(format!("unexpected Seq {}", head.seq)),
                Ok(_) if !call.inbox.is_empty() => Err("unexpected bytes after a reply".into()),
                Ok(head) if head.error.is_empty() => Ok(Ok(message.body)),
                Ok(head) => Ok(Err(head.error)),
                Err(error) => Err(error.to_string()),
            },
            Err(error) => Err(error.to_string()),
        };
        let Some(call) = self.take(id) else { return };
        match outcome {
            Ok(Ok(reply)) => {
                call.answer(Ok(reply));
                if self.idle.len() < self.limits.idle_streams && !self.away {
                    self.idle.push(id);
                    self.begin();
                } else {
                    self.close(id);
                }
            }
            Ok(Err(text)) => {
                call.answer(Err(CallError::Remote(text)));
                self.close(id);
            }
            Err(text) => {
                call.lost(&text);
                self.drop_stream(id);
            }
        }
    }

    fn take(&mut self, id: StreamId) -> Option<Call> {
        let call = self.calls.remove(&id)?;
        self.streams.remove(&call.seq);
        self.active = self.link.now();
        Some(call)
    }

    fn close(&mut self, id: StreamId) {
        self.idle.retain(|idle| *idle != id);
        let now = self.link.now();
        self.link.session.close(id, now);
    }

    fn drop_stream(&mut self, id: StreamId) {
        self.idle.retain(|idle| *idle != id);
        self.link.session.reset(id);
    }

    /// The session is over: every call hears it.
    fn finish(mut self, error: Option<SessionError>) {
        self.commands.close();
        let text = match error {
            Some(error) => error.to_string(),
            None => "session shutdown".into(),
        };
        for order in self.waiting.drain(..) {
            order.fail(over());
        }
        for (_, call) in self.calls.drain() {
            call.lost(&text);
        }
        while let Ok(command) = self.commands.try_recv() {
            if let Command::Call(order) = command {
                order.fail(over());
            }
        }
    }
}

impl Order {
    fn fail(self, error: CallError) {
        // A caller that has gone wants no answer.
        let _ = self.reply.send(Err(error));
    }
}

impl Call {
    fn answer(self, outcome: Result<Bytes, CallError>) {
        let _ = self.reply.send(outcome);
    }

    fn lost(self, text: &str) {
        let error = if self.sent {
            CallError::Lost(text.into())
        } else {
            CallError::NotSent(text.into())
        };
        self.answer(Err(error));
    }
}
