//! Answering requests on the streams of one session.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use lictor_yamux::{Code, Event, Limits, Role, StreamId};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use crate::error::SessionError;
use crate::frame::{FrameError, Inbox, Message, RequestHead, ResponseHead};
use crate::link::Link;
use crate::memory::{Memory, Share};

/// A future that owns what it needs.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The methods.
pub trait Service: Clone + Send + Sync + 'static {
    /// Answers one request: `args` and the reply are one msgpack value each; an error is a text.
    /// The future is dropped when the client goes away before it is done.
    ///
    /// After an error that begins with `rpc: can't find service `, `rpc: can't find method `,
    /// `rpc: service/method request ill-formed` or `codec.decoder:` the stream is closed, as
    /// Consul does; after others it stays open.
    fn call(
        &self,
        method: String,
        args: Bytes,
        peer: SocketAddr,
    ) -> BoxFuture<Result<Vec<u8>, String>>;
}

/// A client that was told goodbye has this long to go by itself.
const LINGER: Duration = Duration::from_millis(500);

/// How requests are served. A clone shares `memory` and `stop`.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// Bytes of one request at most, its header included; the stream of a larger one is closed.
    /// Consul has no limit here.
    pub max_request: usize,
    /// Streams of one session at once; the next is reset. Each has one request at most that is
    /// being answered. Consul has no limit here; its client agents have one stream for each
    /// blocking query.
    pub max_streams: usize,
    /// What all requests may take together.
    pub memory: Memory,
    /// A request that has begun to come and is not complete after this time closes its stream.
    pub request_timeout: Duration,
    /// An answer of which the client takes nothing for this long closes its stream.
    pub reply_timeout: Duration,
    /// How long a request is still worked on after the client has closed its sending side. A
    /// stream that is reset, or a lost connection, ends it at once.
    pub half_close_grace: Duration,
    /// A connection without requests is closed after this time; none is Consul's way: clients
    /// close what they do not need, and pings find those that are gone.
    pub idle: Option<Duration>,
    /// When it becomes true no new streams are taken, and the session ends when the running
    /// requests are answered.
    pub stop: Option<watch::Receiver<bool>>,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self {
            max_request: 16 << 20,
            max_streams: 16_384,
            memory: Memory::default(),
            request_timeout: Duration::from_secs(60),
            reply_timeout: Duration::from_secs(120),
            half_close_grace: Duration::from_secs(10),
            idle: None,
            stop: None,
        }
    }
}

/// What is told to clients whose request made the service panic.
const PANICKED: &str = "rpc: internal error";

/// Whether Consul closes a stream after this error.
pub(crate) fn closes(error: &str) -> bool {
    [
        "rpc: can't find service ",
        "rpc: can't find method ",
        "rpc: service/method request ill-formed",
        "codec.decoder:",
    ]
    .iter()
    .any(|start| error.starts_with(start))
}

/// Returns when the stop is said.
pub(crate) async fn stopped(stop: &mut Option<watch::Receiver<bool>>) {
    if let Some(stop) = stop {
        // A sender that is gone has not said it.
        if stop.wait_for(|stop| *stop).await.is_ok() {
            return;
        }
    }
    std::future::pending().await
}

/// A request as far as it is understood here.
pub(crate) struct Request {
    pub head: RequestHead,
    pub args: Bytes,
}

/// Reads a request's header; a method without a dot is answered here.
pub(crate) fn read_request(message: Message) -> Result<Result<Request, Answer>, FrameError> {
    let head = RequestHead::decode(&message.head)?;
    if head.method.contains('.') {
        return Ok(Ok(Request {
            head,
            args: message.body,
        }));
    }
    let error = format!("rpc: service/method request ill-formed: {}", head.method);
    Ok(Err(Answer::new(&head, Err(error))))
}

/// What is sent for one request.
pub(crate) struct Answer {
    pub head: Bytes,
    pub body: Bytes,
    /// The stream is closed after it.
    pub last: bool,
}

impl Answer {
    pub(crate) fn new(to: &RequestHead, outcome: Result<Vec<u8>, String>) -> Self {
        let (error, body) = match outcome {
            Ok(reply) => (String::new(), Bytes::from(reply)),
            // An error without a text would be none.
            Err(error) if error.is_empty() => (PANICKED.into(), Bytes::from_static(&[0x80])),
            Err(error) => (error, Bytes::from_static(&[0x80])),
        };
        Self {
            head: ResponseHead::encode(&error, to.seq, &to.method).into(),
            body,
            last: closes(&error),
        }
    }
}

/// Runs one request to its answer, whatever the service does.
pub(crate) async fn answer<S: Service>(service: S, request: Request, peer: SocketAddr) -> Answer {
    let Request { head, args } = request;
    let method = head.method.clone();
    let call = AssertUnwindSafe(async move { service.call(method, args, peer).await });
    let outcome = call
        .catch_unwind()
        .await
        .unwrap_or_else(|_| Err(PANICKED.into()));
    Answer::new(&head, outcome)
}

/// Serves a session after its first byte (4) was read, until the client closes it, breaks the
/// protocol or is gone, or [`ServeOptions::stop`] says so.
///
/// Requests on one stream are answered one after the other, those of several streams at once. The
/// future drops all running requests when it is dropped.
///
/// # Errors
/// Why the session ended; `Ok` after `stop` and idle time.
pub async fn serve_multiplexed<IO, S>(
    io: IO,
    service: S,
    options: ServeOptions,
    peer: SocketAddr,
) -> Result<(), SessionError>
where
    IO: AsyncRead + AsyncWrite + Unpin,
    S: Service,
{
    let limits = Limits {
        max_streams: options.max_streams,
        ..Limits::default()
    };
    let mut stop = options.stop.clone();
    let mut server = Server {
        link: Link::new(io, Role::Server, limits),
        service,
        share: options.memory.share(),
        options,
        peer,
        exchanges: HashMap::new(),
        calls: None,
        serial: 0,
        active: Duration::ZERO,
        stopping: false,
        linger: Duration::ZERO,
    };
    if let Some(idle) = server.options.idle {
        server.link.wake_by(idle);
    }
    let mut stopped = std::pin::pin!(stopped(&mut stop));
    std::future::poll_fn(|cx| {
        if !server.stopping && stopped.as_mut().poll(cx).is_ready() {
            server.leave();
        }
        server.poll(cx)
    })
    .await
}

/// What is going on in one stream. Streams that wait for a request have none.
struct Exchange {
    inbox: Inbox,
    share: Share,
    /// When the first byte of an incomplete request came.
    since: Option<Duration>,
    /// The running request, and its number.
    call: Option<(AbortHandle, u64)>,
    /// The answer has not left.
    sending: bool,
    /// What of it had not left when it was last looked at, and since when.
    stalled: Option<(usize, Duration)>,
    /// The client sends no more.
    closed: bool,
}

/// What tasks of a session come back with.
enum Done {
    Answered(StreamId, u64, Answer),
    /// The grace of a closed stream is over.
    Grace(StreamId, u64),
}

struct Server<IO, S> {
    link: Link<IO>,
    service: S,
    options: ServeOptions,
    peer: SocketAddr,
    /// For what was received and not read.
    share: Share,
    exchanges: HashMap<StreamId, Exchange>,
    calls: Option<JoinSet<Done>>,
    serial: u64,
    /// When the last request began or ended.
    active: Duration,
    stopping: bool,
    /// Until when it waits for the client to go, once it is stopping.
    linger: Duration,
}

impl<IO, S> Server<IO, S>
where
    IO: AsyncRead + AsyncWrite + Unpin,
    S: Service,
{
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SessionError>> {
        loop {
            while let Some(calls) = &mut self.calls {
                match calls.poll_join_next(cx) {
                    Poll::Ready(Some(Ok(done))) => self.done(done),
                    // Aborted; its exchange knows.
                    Poll::Ready(Some(Err(_))) => {}
                    Poll::Ready(None) => self.calls = None,
                    Poll::Pending => break,
                }
            }
            let waited = self.calls.is_some();
            while let Some(event) = self.link.session.poll_event() {
                self.event(event);
            }
            // What waits behind running requests is a part of what all requests may take.
            if !self.share.set(self.link.session.unread()) {
                let error = std::io::Error::other("requests take too much memory");
                return Poll::Ready(Err(error.into()));
            }
            if self.exchanges.is_empty() && self.exchanges.capacity() > 0 {
                self.exchanges = HashMap::new();
            }
            match self.link.poll(cx) {
                Poll::Ready(Ok(())) => {
                    if self.link.alarmed() && self.tick() {
                        self.leave();
                    }
                }
                Poll::Ready(Err(SessionError::Eof))
                    if self.stopping && self.exchanges.is_empty() =>
                {
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                // The first request has made the set of calls: nobody waits for it yet.
                Poll::Pending if !waited && self.calls.is_some() => {}
                Poll::Pending => {
                    let over = self.stopping
                        && self.exchanges.is_empty()
                        && self.link.is_flushed()
                        && self.link.now() >= self.linger;
                    return if over {
                        Poll::Ready(Ok(()))
                    } else {
                        Poll::Pending
                    };
                }
            }
        }
    }

    /// Says goodbye. What the client sent before it heard that is still answered: were the
    /// connection closed at once, it could not tell what became of it.
    fn leave(&mut self) {
        if !self.stopping {
            self.stopping = true;
            self.link.session.go_away(Code::Normal);
            self.linger = self.link.now() + LINGER;
            self.link.wake_by(self.linger);
        }
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Incoming => {
                // Bytes that are here already are told of.
                self.link.session.accept();
            }
            Event::Readable(id) => self.read(id),
            Event::Sent(id) => {
                if let Some(exchange) = self.exchanges.get_mut(&id) {
                    exchange.sending = false;
                    exchange.stalled = None;
                    self.read(id);
                }
            }
            Event::Closed(id) => self.closed(id),
            Event::Reset(id) => self.forget(id),
            Event::GoAway(_) | Event::Acknowledged(_) => {}
        }
    }

    /// Reads on, unless a request of this stream is being answered: what follows it waits in the
    /// stream's window.
    fn read(&mut self, id: StreamId) {
        let share = || self.options.memory.share();
        let exchange = self.exchanges.entry(id).or_insert_with(|| Exchange {
            inbox: Inbox::default(),
            share: share(),
            since: None,
            call: None,
            sending: false,
            stalled: None,
            closed: false,
        });
        if exchange.call.is_some() || exchange.sending {
            return;
        }
        let session = &mut self.link.session;
        let Ok(read) = session.read_into(id, &mut exchange.inbox.bytes) else {
            self.forget(id);
            return;
        };
        exchange.closed |= read.end;
        if !exchange.share.set(exchange.inbox.bytes.len()) {
            tracing::warn!(peer = %self.peer, "requests take too much memory, a stream was reset");
            session.reset(id);
            self.forget(id);
            return;
        }
        match exchange.inbox.take(self.options.max_request).transpose() {
            None if exchange.closed => self.close(id),
            None if exchange.inbox.is_empty() => self.forget(id),
            None => {
                let since = *exchange.since.get_or_insert(self.link.now());
                self.link.wake_by(since + self.options.request_timeout);
            }
            Some(message) => {
                exchange.since = None;
                match message.and_then(read_request) {
                    Ok(Ok(request)) => self.begin(id, request),
                    Ok(Err(answer)) => self.send(id, answer),
                    Err(error) => {
                        tracing::debug!(peer = %self.peer, %error, "request refused");
                        self.close(id);
                    }
                }
            }
        }
    }

    fn begin(&mut self, id: StreamId, request: Request) {
        self.active = self.link.now();
        self.serial += 1;
        let serial = self.serial;
        let call = answer(self.service.clone(), request, self.peer);
        let calls = self.calls.get_or_insert_default();
        let abort = calls.spawn(async move { Done::Answered(id, serial, call.await) });
        if let Some(exchange) = self.exchanges.get_mut(&id) {
            exchange.call = Some((abort, serial));
            if exchange.closed {
                self.plan_grace(id, serial);
            }
        }
    }

    fn done(&mut self, done: Done) {
        let (id, serial, answer) = match done {
            Done::Answered(id, serial, answer) => (id, serial, Some(answer)),
            Done::Grace(id, serial) => (id, serial, None),
        };
        let Some(exchange) = self.exchanges.get_mut(&id) else {
            return;
        };
        // The answer to a stream that was closed meanwhile is nobody's.
        if exchange.call.as_ref().is_none_or(|call| call.1 != serial) {
            return;
        }
        if let Some(answer) = answer {
            exchange.call = None;
            self.active = self.link.now();
            self.send(id, answer);
        } else {
            self.close(id);
        }
    }

    fn send(&mut self, id: StreamId, answer: Answer) {
        let session = &mut self.link.session;
        let written = session
            .write(id, answer.head)
            .and_then(|()| session.write(id, answer.body));
        match self.exchanges.get_mut(&id) {
            Some(exchange) if written.is_ok() => {
                // The share of the request stays until its answer has left.
                exchange.sending = true;
                if answer.last {
                    self.close(id);
                } else {
                    self.link
                        .wake_by(self.link.now() + self.options.reply_timeout);
                }
            }
            _ => self.forget(id),
        }
    }

    /// The client sends no more on this stream.
    fn closed(&mut self, id: StreamId) {
        let Some(exchange) = self.exchanges.get_mut(&id) else {
            self.close(id);
            return;
        };
        exchange.closed = true;
        match &exchange.call {
            Some((_, serial)) => {
                let serial = *serial;
                self.plan_grace(id, serial);
            }
            None if exchange.sending => {}
            None => self.close(id),
        }
    }

    fn plan_grace(&mut self, id: StreamId, serial: u64) {
        let grace = self.options.half_close_grace;
        self.calls.get_or_insert_default().spawn(async move {
            tokio::time::sleep(grace).await;
            Done::Grace(id, serial)
        });
    }

    /// Closes a stream after what was written to it.
    fn close(&mut self, id: StreamId) {
        let now = self.link.now();
        self.link.session.close(id, now);
        self.forget(id);
    }

    fn forget(&mut self, id: StreamId) {
        if let Some(exchange) = self.exchanges.remove(&id)
            && let Some((call, _)) = exchange.call
        {
            call.abort();
        }
    }

    /// Ends streams that make no progress; whether the whole session is idle.
    fn tick(&mut self) -> bool {
        let now = self.link.now();
        let (request, reply) = (self.options.request_timeout, self.options.reply_timeout);
        let (mut late, mut stuck, mut next) = (Vec::new(), Vec::new(), Duration::MAX);
        for (id, exchange) in &mut self.exchanges {
            match exchange.since {
                Some(since) if now >= since + request => late.push(*id),
                Some(since) => next = next.min(since + request),
                None => {}
            }
            if exchange.sending {
                let queued = self.link.session.queued(*id);
                match exchange.stalled {
                    Some((before, since)) if before == queued => {
                        if now >= since + reply {
                            stuck.push(*id);
                        } else {
                            next = next.min(since + reply);
                        }
                    }
                    _ => {
                        exchange.stalled = Some((queued, now));
                        next = next.min(now + reply);
                    }
                }
            }
        }
        if self.stopping && now < self.linger {
            next = next.min(self.linger);
        }
        if next < Duration::MAX {
            self.link.wake_by(next);
        }
        for id in late {
            tracing::debug!(peer = %self.peer, "a request was not completed in time");
            self.close(id);
        }
        for id in stuck {
            tracing::debug!(peer = %self.peer, "an answer was not taken in time");
            self.link.session.reset(id);
            self.forget(id);
        }
        let Some(idle) = self.options.idle else {
            return false;
        };
        if !self.exchanges.is_empty() {
            self.active = now;
        }
        let at = self.active.saturating_add(idle);
        self.link.wake_by(at);
        now >= at
    }
}
