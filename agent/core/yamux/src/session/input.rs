//! What comes in: bytes to frames, and frames to streams.

use std::collections::VecDeque;
use std::time::Duration;

use super::{End, Event, MAX_CONTROL, Role, Session, ping, push, rst};
use crate::StreamId;
use crate::frame::{Code, Flags, HEADER, Header, Kind};
use crate::stream::{Stream, WINDOW};

/// Where in the input the session is.
#[derive(Debug)]
pub(super) enum Input {
    Head {
        bytes: [u8; HEADER],
        filled: u8,
    },
    /// `fin`: the body is the last of its stream.
    Body {
        stream: u32,
        left: u32,
        fin: bool,
    },
}

pub(super) const HEAD: Input = Input::Head {
    bytes: [0; HEADER],
    filled: 0,
};

impl Session {
    /// Takes bytes that came, cut anywhere.
    ///
    /// # Errors
    /// The session has ended. What remains of the input is ignored, then and later.
    pub fn handle_bytes(&mut self, now: Duration, mut bytes: &[u8]) -> Result<(), End> {
        if let Some(end) = self.ended {
            return Err(end);
        }
        if !bytes.is_empty() {
            self.heard = now;
            self.ping = None;
        }
        while !bytes.is_empty() {
            match &mut self.input {
                Input::Head {
                    bytes: head,
                    filled,
                } => {
                    let at = usize::from(*filled);
                    let part = bytes.len().min(HEADER - at);
                    head[at..at + part].copy_from_slice(&bytes[..part]);
                    bytes = &bytes[part..];
                    if at + part < HEADER {
                        *filled = u8::try_from(at + part).unwrap_or(0);
                        break;
                    }
                    let head = *head;
                    self.input = HEAD;
                    let handled = Header::decode(head)
                        .map_err(End::Header)
                        .and_then(|header| self.handle_frame(now, header));
                    if let Err(end) = handled {
                        return Err(self.end(end));
                    }
                }
                Input::Body { stream, left, fin } => {
                    let (id, announced, fin) = (*stream, *left, *fin);
                    let part = bytes
                        .len()
                        .min(usize::try_from(announced).unwrap_or(usize::MAX));
                    let (body, rest) = bytes.split_at(part);
                    bytes = rest;
                    let after = announced.saturating_sub(u32::try_from(part).unwrap_or(u32::MAX));
                    self.input = if after == 0 {
                        HEAD
                    } else {
                        Input::Body {
                            stream: id,
                            left: after,
                            fin,
                        }
                    };
                    self.handle_body(id, body);
                    if fin && after == 0 {
                        self.handle_fin(now, id);
                    }
                }
            }
            if self.control.len() > MAX_CONTROL {
                return Err(self.end(End::Overrun));
            }
        }
        Ok(())
    }

    fn handle_frame(&mut self, now: Duration, header: Header) -> Result<(), End> {
        match header.kind {
            Kind::Ping => {
                // An answer has said all by having come.
                if header.flags.has(Flags::SYN) {
                    push(&mut self.control, ping(Flags::ACK, header.length));
                }
                Ok(())
            }
            Kind::GoAway => {
                let code = Code::of(header.length);
                if code != Code::Normal {
                    return Err(End::GoneAway(code));
                }
                if !self.heard_away {
                    self.heard_away = true;
                    self.events.push_back(Event::GoAway(code));
                }
                Ok(())
            }
            Kind::Data | Kind::Window => self.handle_stream_frame(now, header),
        }
    }

    fn handle_stream_frame(&mut self, now: Duration, header: Header) -> Result<(), End> {
        let id = header.stream;
        if header.flags.has(Flags::SYN) {
            self.incoming(now, id)?;
        }
        let found = self.find(id);
        if header.kind == Kind::Data {
            // A stream may just have gone: what is under way for it is let pass, but never more
            // than it could have been allowed.
            let allowed = match found {
                Ok(at) => self.streams[at].announce(header.length),
                Err(_) => header.length <= WINDOW,
            };
            if !allowed {
                return Err(End::Window(id));
            }
            if header.length > 0 {
                self.input = Input::Body {
                    stream: id,
                    left: header.length,
                    fin: header.flags.has(Flags::FIN),
                };
            }
        }
        let Ok(at) = found else { return Ok(()) };
        if header.flags.has(Flags::RST) {
            self.drop_stream(at);
            self.events.push_back(Event::Reset(StreamId(id)));
            return Ok(());
        }
        let stream = &mut self.streams[at];
        if header.flags.has(Flags::ACK) && stream.unacked {
            stream.unacked = false;
            self.unacked -= 1;
            self.events.push_back(Event::Acknowledged(StreamId(id)));
        }
        if header.kind == Kind::Window && header.length > 0 {
            stream.credited(header.length);
            self.make_ready(at);
        }
        // With a body, the end comes after it.
        if header.flags.has(Flags::FIN) && matches!(self.input, Input::Head { .. }) {
            self.handle_fin(now, id);
        }
        Ok(())
    }

    /// The other side opens a stream.
    fn incoming(&mut self, now: Duration, id: u32) -> Result<(), End> {
        let theirs = match self.role {
            Role::Client => id.is_multiple_of(2),
            Role::Server => !id.is_multiple_of(2),
        };
        if !theirs || id == 0 || self.find(id).is_ok() {
            return Err(End::Stream(id));
        }
        if self.told_away
            || self.accept.len() >= self.limits.backlog
            || self.streams.len() >= self.limits.max_streams
        {
            push(&mut self.control, rst(id));
            return Ok(());
        }
        let mut stream = Box::new(Stream::new(id, now));
        stream.waiting = true;
        self.insert(stream);
        self.accept.push_back(id);
        self.events.push_back(Event::Incoming);
        Ok(())
    }

    fn handle_body(&mut self, id: u32, body: &[u8]) {
        let Ok(at) = self.find(id) else { return };
        let stream = &mut self.streams[at];
        let kept = stream.receive(body);
        self.unread += kept;
        if kept > 0 {
            tell(stream, &mut self.events);
        }
        if self.unread > self.limits.max_unread {
            self.reset(StreamId(id));
            self.events.push_back(Event::Reset(StreamId(id)));
        }
    }

    fn handle_fin(&mut self, now: Duration, id: u32) {
        let Ok(at) = self.find(id) else { return };
        let stream = &mut self.streams[at];
        if !stream.fin_received {
            stream.fin_received = true;
            self.events.push_back(Event::Closed(StreamId(id)));
            self.plan_scan(now);
            self.remove_if_over(at);
        }
    }
}

fn tell(stream: &mut Stream, events: &mut VecDeque<Event>) {
    if !stream.told {
        stream.told = true;
        events.push_back(Event::Readable(StreamId(stream.id)));
    }
}
