//! Requests one after the other on a connection of their own, without a multiplexer.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use crate::error::SessionError;
use crate::frame::Inbox;
use crate::memory::Share;
use crate::server::{Answer, ServeOptions, Service, answer, read_request, stopped};

/// What follows a request that is being answered is read up to this; then the client has to wait.
const AHEAD: usize = 64 * 1024;

/// An answer that makes no progress for this long ends the connection.
const STALL: Duration = Duration::from_secs(10);

/// Serves a connection after its first byte (0) was read, until the client closes it or is gone.
/// [`ServeOptions::stop`] ends it after the running request.
///
/// # Errors
/// Why the connection ended, unless the client closed it between two requests.
pub async fn serve_plain<IO, S>(
    io: IO,
    service: S,
    options: ServeOptions,
    peer: SocketAddr,
) -> Result<(), SessionError>
where
    IO: AsyncRead + AsyncWrite + Unpin,
    S: Service,
{
    let mut stop = options.stop.clone();
    let mut connection = Connection {
        io,
        inbox: Inbox::default(),
        share: options.memory.share(),
        closed: false,
    };
    loop {
        let request = tokio::select! {
            biased;
            () = stopped(&mut stop) => return Ok(()),
            request = connection.request(&options) => request?,
        };
        let Some(message) = request else {
            return Ok(());
        };
        let answer = match read_request(message).map_err(io::Error::other)? {
            Err(answer) => answer,
            Ok(request) => {
                let grace = options.half_close_grace;
                tokio::select! {
                    answer = answer(service.clone(), request, peer) => answer,
                    error = connection.watch(grace) => return Err(error),
                }
            }
        };
        connection.send(&answer).await?;
        if answer.last {
            return Ok(());
        }
    }
}

struct Connection<IO> {
    io: IO,
    inbox: Inbox,
    share: Share,
    closed: bool,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Connection<IO> {
    /// The next request; `None` when the client has closed the connection between two.
    async fn request(
        &mut self,
        options: &ServeOptions,
    ) -> Result<Option<crate::frame::Message>, SessionError> {
        loop {
            let message = self.inbox.take(options.max_request);
            if let Some(message) = message.map_err(io::Error::other)? {
                return Ok(Some(message));
            }
            if self.closed {
                return if self.inbox.is_empty() {
                    Ok(None)
                } else {
                    Err(SessionError::Eof)
                };
            }
            let patience = if self.inbox.is_empty() {
                // Nobody waits for these bytes.
                self.inbox = Inbox::default();
                options.idle
            } else {
                Some(options.request_timeout)
            };
            let read = match patience {
                Some(patience) => timeout(patience, self.read()).await,
                None => Ok(self.read().await),
            };
            match read {
                Ok(read) => read?,
                Err(_) if self.inbox.is_empty() => return Ok(None),
                Err(late) => return Err(io::Error::from(late).into()),
            }
            if !self.share.set(self.inbox.bytes.len()) {
                return Err(io::Error::other("requests take too much memory").into());
            }
        }
    }

    async fn read(&mut self) -> Result<(), SessionError> {
        let bytes = &mut self.inbox.bytes;
        bytes.reserve(4096);
        self.closed = self.io.read_buf(bytes).await? == 0;
        Ok(())
    }

    /// While a request is answered: returns when the client is gone.
    async fn watch(&mut self, grace: Duration) -> SessionError {
        while !self.closed {
            if self.inbox.bytes.len() >= AHEAD {
                return std::future::pending().await;
            }
            if let Err(error) = self.read().await {
                return error;
            }
        }
        tokio::time::sleep(grace).await;
        SessionError::Eof
    }

    async fn send(&mut self, answer: &Answer) -> Result<(), SessionError> {
        for mut part in [&answer.head[..], &answer.body[..]] {
            while !part.is_empty() {
                let written = timeout(STALL, self.io.write(part)).await;
                match written.map_err(io::Error::from)?? {
                    0 => return Err(SessionError::Eof),
                    n => part = &part[n..],
                }
            }
        }
        let flushed = std::future::poll_fn(|cx| Pin::new(&mut self.io).poll_flush(cx));
        timeout(STALL, flushed).await.map_err(io::Error::from)??;
        Ok(())
    }
}
