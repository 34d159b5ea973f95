//! One connection: request after request, until either side has enough.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http::header::CONTENT_LENGTH;
use http::{Method, Request, Response, Version};
use hyper::body::Body;
use tokio::io::AsyncWrite;
use tokio::time::{Instant, Sleep, sleep_until};

use super::encode::{self, After, Framing};
use super::head::{self, Look};
use super::intake::Intake;
use super::scratch;
use super::sender::Sender;
use crate::body::RequestBody;
use crate::limits::LimitValues;
use crate::peer::Peer;
use crate::raw::Reject;
use crate::server::{BoxError, Control, HttpService};
use crate::stream::Stream;

/// How long the rest of an unread body may take to come.
const DISCARD_TIME: Duration = Duration::from_secs(5);
/// How long we stay after the last answer, so that what the client still sends does not make its
/// kernel throw the answer away. Go's figure.
const LINGER: Duration = Duration::from_millis(500);
/// Bytes read and thrown away meanwhile.
const LINGER_BYTES: usize = 1024 * 1024;

/// What holds for one connection.
pub(crate) struct Settings {
    pub(crate) peer: Peer,
    pub(crate) limits: Arc<LimitValues>,
    /// When the first byte must have come, if that is sooner than a whole head must.
    pub(crate) first_byte: Option<Instant>,
}

/// How a connection ended.
pub(crate) enum End<S> {
    Closed,
    /// The client speaks HTTP/2: the stream, what it has said so far, and the service.
    Http2(Stream, Bytes, S),
}

/// What has been heard from a client that was to send a request.
enum Heard {
    Head(Bytes),
    Http2,
    Reject(Reject),
    Nothing,
}

/// Serves a connection to its end.
pub(crate) async fn serve<S: HttpService>(
    stream: Stream,
    service: S,
    settings: &Settings,
    control: &Control,
) -> End<S> {
    let mut wire = Wire {
        stream,
        inbox: BytesMut::new(),
        gone_at: None,
    };
    let idle = settings.limits.idle_timeout;
    let start = settings.first_byte.unwrap_or_else(|| Instant::now() + idle);
    let mut timer = pin!(sleep_until(start));
    let mut first = true;
    loop {
        // What is not needed while the answer is made ends with this block: a waiting connection
        // pays for all that is in scope.
        let (mut asked, request) = {
            let heard = wire.hear(timer.as_mut(), settings, control, first).await;
            let asked = match heard {
                Heard::Head(bytes) => head::parse(&bytes).map(|h| wire.ask(h, &settings.peer)),
                Heard::Http2 => return End::Http2(wire.stream, wire.inbox.freeze(), service),
                Heard::Reject(reject) => Err(reject),
                Heard::Nothing => {
                    wire.finish(timer, false).await;
                    return End::Closed;
                }
            };
            match asked {
                Ok(asked) => asked,
                Err(reject) => {
                    wire.refuse(timer, reject).await;
                    return End::Closed;
                }
            }
        };
        first = false;
        let call = pin!(service.answer(request));
        let done = wire
            .exchange(timer.as_mut(), &mut asked, call, settings, control)
            .await;
        if let Done::Close { linger } = done {
            wire.finish(timer, linger).await;
            return End::Closed;
        }
    }
}

/// Waits for the first bytes of a client that is known to speak HTTP/2.
pub(crate) async fn wait_for_bytes(stream: &mut Stream, until: Instant) -> Option<Bytes> {
    let mut timer = pin!(sleep_until(until));
    poll_fn(
        |cx| match scratch::poll_read(cx, stream, Bytes::copy_from_slice) {
            Poll::Ready(Ok(bytes)) if !bytes.is_empty() => Poll::Ready(Some(bytes)),
            Poll::Ready(_) => Poll::Ready(None),
            Poll::Pending => timer.as_mut().poll(cx).map(|()| None),
        },
    )
    .await
}

/// What follows an answer.
enum Done {
    Next,
    Close { linger: bool },
}

const CLOSE: Done = Done::Close { linger: false };

/// What must be known of a request to answer it.
struct Asked {
    head_only: bool,
    version: Version,
    /// The client would like the connection to stay.
    keep_alive: bool,
    intake: Intake,
}

struct Wire {
    stream: Stream,
    /// Bytes that have come and are not used yet. Without an allocation while there are none.
    inbox: BytesMut,
    /// When the answer is given up, once the client has closed its side.
    gone_at: Option<Instant>,
}

impl Wire {
    /// Waits for the head of a request. All of it must come within one deadline.
    async fn hear(
        &mut self,
        mut timer: Pin<&mut Sleep>,
        settings: &Settings,
        control: &Control,
        first: bool,
    ) -> Heard {
        let (mut seen, mut until) = (0, None);
        poll_fn(|cx| {
            let max = settings.limits.max_header_bytes;
            if let Poll::Ready(heard) = self.poll_head(cx, &mut seen, max, first) {
                return Poll::Ready(heard);
            }
            // Idle connections go first; whoever is within a request may finish it.
            if self.inbox.is_empty() && control.is_draining() {
                return Poll::Ready(Heard::Nothing);
            }
            let until = *until.get_or_insert_with(|| Instant::now() + settings.limits.idle_timeout);
            let until = match settings.first_byte {
                Some(sooner) if first && self.inbox.is_empty() => sooner,
                _ => until,
            };
            poll_timer(timer.as_mut(), cx, until).map(|()| Heard::Nothing)
        })
        .await
    }

    /// Gives the memory of an empty inbox back.
    fn free_inbox(&mut self) {
        if self.inbox.is_empty() {
            self.inbox = BytesMut::new();
        }
    }

    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        seen: &mut usize,
        max: usize,
        first: bool,
    ) -> Poll<Heard> {
        loop {
            let blank = head::blank(&self.inbox);
            if blank > 0 && *seen == 0 {
                self.inbox.advance(blank);
                self.free_inbox();
            }
            if !self.inbox.is_empty() {
                match head::look(&self.inbox, seen, first) {
                    Look::Head(n) if n <= max => {
                        let head = Bytes::copy_from_slice(&self.inbox[..n]);
                        self.inbox.advance(n);
                        self.free_inbox();
                        return Poll::Ready(Heard::Head(head));
                    }
                    Look::Head(_) => return Poll::Ready(Heard::Reject(Reject::TooLarge)),
                    Look::Http2 => return Poll::Ready(Heard::Http2),
                    Look::Reject(reject) => return Poll::Ready(Heard::Reject(reject)),
                    Look::More if self.inbox.len() >= max => {
                        return Poll::Ready(Heard::Reject(Reject::TooLarge));
                    }
                    Look::More => {}
                }
            }
            if self.gone_at.is_some() {
                return Poll::Ready(Heard::Nothing);
            }
            let inbox = &mut self.inbox;
            // Most heads come whole and alone: those are copied once, to their exact size.
            let read = scratch::poll_read(cx, &mut self.stream, |bytes| {
                if bytes.is_empty() {
                    // Within a request or between two?
                    return Some(if inbox.is_empty() {
                        Heard::Nothing
                    } else {
                        Heard::Reject(Reject::BadRequest(""))
                    });
                }
                if inbox.is_empty() {
                    let bytes = &bytes[head::blank(bytes)..];
                    if bytes.is_empty() {
                        return None;
                    }
                    if let Look::Head(n) = head::look(bytes, &mut 0, first)
                        && n <= max
                    {
                        inbox.extend_from_slice(&bytes[n..]);
                        return Some(Heard::Head(Bytes::copy_from_slice(&bytes[..n])));
                    }
                }
                inbox.extend_from_slice(bytes);
                None
            });
            match ready!(read) {
                Ok(Some(heard)) => return Poll::Ready(heard),
                Ok(None) => {}
                Err(_) => return Poll::Ready(Heard::Nothing),
            }
        }
    }

    /// Makes a request for the service of a head, and of what may follow it.
    fn ask(&mut self, head: head::Head, peer: &Peer) -> (Asked, Request<RequestBody>) {
        let (intake, body) = Intake::new(&head, &mut self.inbox);
        self.free_inbox();
        let asked = Asked {
            head_only: head.request.method() == Method::HEAD,
            version: head.request.version(),
            keep_alive: head.keep_alive,
            intake,
        };
        let mut request = head.request.map(|()| body);
        request.extensions_mut().insert(peer.clone());
        (asked, request)
    }

    /// Has a request answered.
    async fn exchange<F, B, E>(
        &mut self,
        mut timer: Pin<&mut Sleep>,
        asked: &mut Asked,
        mut call: Pin<&mut F>,
        settings: &Settings,
        control: &Control,
    ) -> Done
    where
        F: Future<Output = Result<Response<B>, E>>,
        E: Into<BoxError>,
        B: Body<Error: Into<BoxError>>,
    {
        let intake = &mut asked.intake;
        let limits = &*settings.limits;
        let answer = {
            poll_fn(|cx| {
                loop {
                    if let Poll::Ready(answer) = call.as_mut().poll(cx) {
                        return Poll::Ready(answer.map_err(Into::into));
                    }
                    let eof = self.gone_at.is_some();
                    let fed = intake.poll_feed(cx, &mut self.stream, &mut self.inbox, eof);
                    if fed.is_pending() {
                        break;
                    }
                }
                self.poll_gone(cx, timer.as_mut(), limits.half_close_grace)
                    .map(|()| Err(BoxError::from("the client is gone")))
            })
            .await
        };
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                tracing::debug!(%error, "request without an answer");
                return CLOSE;
            }
        };
        intake.close();

        let keep = asked.keep_alive
            && self.gone_at.is_none()
            && !control.is_draining()
            && intake.can_be_discarded();
        let linger = !intake.is_over() || !self.inbox.is_empty();
        match self
            .send(
                timer.as_mut(),
                answer,
                asked.version,
                asked.head_only,
                keep,
                limits,
            )
            .await
        {
            Ok(After::Keep) => self.discard(timer, intake).await,
            Ok(After::Close) => Done::Close { linger },
            Err(error) => {
                tracing::debug!(%error, "answer not delivered");
                CLOSE
            }
        }
    }

    /// Ready when the client is gone: at once if the connection is broken, after `grace` if the
    /// client has closed its side, for it may still read.
    fn poll_gone(
        &mut self,
        cx: &mut Context<'_>,
        timer: Pin<&mut Sleep>,
        grace: Duration,
    ) -> Poll<()> {
        // What has come waits in the inbox, and no more is read until it is used.
        if self.gone_at.is_none() && self.inbox.is_empty() {
            let inbox = &mut self.inbox;
            let read = scratch::poll_read(cx, &mut self.stream, |bytes| {
                inbox.extend_from_slice(bytes);
                bytes.is_empty()
            });
            match ready!(read) {
                Ok(true) => self.gone_at = Some(Instant::now() + grace),
                Ok(false) => {}
                Err(_) => return Poll::Ready(()),
            }
        }
        match self.gone_at {
            Some(at) => poll_timer(timer, cx, at),
            None => Poll::Pending,
        }
    }

    /// Sends an answer.
    async fn send<B>(
        &mut self,
        mut timer: Pin<&mut Sleep>,
        answer: Response<B>,
        version: Version,
        head_only: bool,
        keep: bool,
        limits: &LimitValues,
    ) -> Result<After, BoxError>
    where
        B: Body<Error: Into<BoxError>>,
    {
        let (body, mut sender, after) = {
            let (parts, body) = answer.into_parts();
            let exact = if body.is_end_stream() {
                Some(0)
            } else {
                body.size_hint().exact()
            };
            let stated = head_only && parts.headers.contains_key(CONTENT_LENGTH);
            let framing = if stated {
                Framing::None
            } else {
                encode::framing(parts.status, version != Version::HTTP_10, head_only, exact)
            };
            let keep = keep && framing != Framing::ToClose && !head::says_close(&parts.headers);
            let after = if keep { After::Keep } else { After::Close };
            let mut bytes = scratch::take_output();
            scratch::with_date(|date| {
                encode::head(&mut bytes, version, &parts, framing, after, date);
            });
            (body, Sender::new(bytes, framing, !head_only), after)
        };
        let mut body = pin!(body);
        let mut stuck_until = None;
        poll_fn(|cx| {
            let mut progress = false;
            let sent = sender.poll_send(cx, &mut self.stream, body.as_mut(), &mut progress);
            if sent.is_ready() {
                return sent;
            }
            if progress {
                stuck_until = None;
            }
            if sender.is_stuck() {
                let until =
                    *stuck_until.get_or_insert_with(|| Instant::now() + limits.write_timeout);
                return poll_timer(timer.as_mut(), cx, until)
                    .map(|()| Err("the client does not read".into()));
            }
            self.poll_gone(cx, timer.as_mut(), limits.half_close_grace)
                .map(|()| Err("the client is gone".into()))
        })
        .await?;
        Ok(after)
    }

    /// Throws away what is left of a body.
    async fn discard(&mut self, mut timer: Pin<&mut Sleep>, intake: &mut Intake) -> Done {
        if intake.is_over() {
            return Done::Next;
        }
        let until = Instant::now() + DISCARD_TIME;
        let mut discarded = 0;
        let ended = poll_fn(|cx| {
            intake
                .poll_discard(cx, &mut self.stream, &mut self.inbox, &mut discarded)
                .map(Some)
                .or_else_pending(|| poll_timer(timer.as_mut(), cx, until).map(|()| None))
        })
        .await;
        if ended == Some(true) {
            Done::Next
        } else {
            Done::Close { linger: true }
        }
    }

    /// Sends an answer to what is no request, and closes. If it cannot be sent, that is that.
    async fn refuse(&mut self, mut timer: Pin<&mut Sleep>, reject: Reject) {
        let until = Instant::now() + LINGER;
        let answer = reject.answer();
        let mut rest = answer.as_bytes();
        poll_fn(|cx| {
            while !rest.is_empty() {
                match Pin::new(&mut self.stream).poll_write(cx, rest) {
                    Poll::Ready(Ok(n)) if n > 0 => rest = &rest[n..],
                    Poll::Ready(_) => return Poll::Ready(()),
                    Poll::Pending => return poll_timer(timer.as_mut(), cx, until),
                }
            }
            Poll::Ready(())
        })
        .await;
        self.finish(timer, true).await;
    }

    /// Closes the connection; with `linger` only after the client has, or shortly after.
    async fn finish(&mut self, mut timer: Pin<&mut Sleep>, linger: bool) {
        let until = Instant::now() + LINGER;
        let (mut shut, mut bytes_left) = (false, LINGER_BYTES);
        poll_fn(|cx| {
            if !shut {
                match Pin::new(&mut self.stream).poll_shutdown(cx) {
                    Poll::Ready(Ok(())) if linger => shut = true,
                    Poll::Ready(_) => return Poll::Ready(()),
                    Poll::Pending => return poll_timer(timer.as_mut(), cx, until),
                }
            }
            loop {
                match scratch::poll_read(cx, &mut self.stream, <[u8]>::len) {
                    Poll::Ready(Ok(n)) if n > 0 && n < bytes_left => bytes_left -= n,
                    Poll::Ready(_) => return Poll::Ready(()),
                    Poll::Pending => return poll_timer(timer.as_mut(), cx, until),
                }
            }
        })
        .await;
    }
}

/// Ready at `until`. The one timer of a connection is moved forward when it is too late, and only
/// when it fires if it is too early: a busy connection leaves it alone.
fn poll_timer(mut timer: Pin<&mut Sleep>, cx: &mut Context<'_>, until: Instant) -> Poll<()> {
    if until < timer.deadline() {
        timer.as_mut().reset(until);
    }
    loop {
        ready!(timer.as_mut().poll(cx));
        if timer.deadline() >= until {
            return Poll::Ready(());
        }
        timer.as_mut().reset(until);
    }
}

trait OrElsePending<T> {
    fn or_else_pending(self, f: impl FnOnce() -> Poll<T>) -> Poll<T>;
}

impl<T> OrElsePending<T> for Poll<T> {
    fn or_else_pending(self, f: impl FnOnce() -> Poll<T>) -> Poll<T> {
        if self.is_ready() { self } else { f() }
    }
}
