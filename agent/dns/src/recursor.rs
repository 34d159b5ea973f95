//! Asking others: questions about foreign names go to the recursors, as bytes and come back as
//! bytes.
//!
//! Each question travels with a new id from a new port (RFC 5452), and counts only with that id,
//! from that server and with that question. A truncated answer is asked for again over TCP.

use crate::settings::{RecursorStrategy, Settings};
use crate::shuffle::Shuffle;
use hickory_proto::op::{Message, Query};
use hickory_proto::rr::{DNSClass, Name, RecordType};
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// Where the question begins.
const HEADER: usize = 12;

/// Why each of the recursors gave no answer.
#[derive(Debug, Default)]
pub(crate) struct Failures(Vec<(SocketAddr, io::Error)>);

impl fmt::Display for Failures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (server, error)) in self.0.iter().enumerate() {
            let comma = if i > 0 { ", " } else { "" };
            write!(f, "{comma}{server}: {error}")?;
        }
        Ok(())
    }
}

/// Asks the recursors in turn until one says NOERROR or NXDOMAIN. Gives the answer as it came,
/// with the id of the request; else what each of them did instead.
pub(crate) async fn forward(
    request: &[u8],
    question_end: usize,
    settings: &Settings,
) -> Result<Vec<u8>, Failures> {
    let mut failures = Failures::default();
    let (Some(asked), Ok(random)) = (request.get(HEADER..question_end), getrandom::u64()) else {
        return Err(failures);
    };
    let recursors = &settings.recursors;
    let order: Vec<usize> = match settings.recursor_strategy {
        RecursorStrategy::Sequential => (0..recursors.len()).collect(),
        RecursorStrategy::Random => Shuffle::new(recursors.len(), random >> 16).collect(),
    };
    let mut query = request.to_vec();
    for at in order {
        let server = recursors[at];
        let Ok(word) = getrandom::u32() else { continue };
        query[..2].copy_from_slice(&word.to_be_bytes()[..2]);
        match exchange(&query, asked, server, settings.recursor_timeout).await {
            Ok(mut answer) => {
                answer[..2].copy_from_slice(&request[..2]);
                return Ok(answer);
            }
            Err(error) => failures.0.push((server, error)),
        }
    }
    Err(failures)
}

/// Asks for the addresses of a name and gives the message that came.
pub(crate) async fn resolve(
    name: &Name,
    kind: RecordType,
    settings: &Settings,
) -> Result<Message, Failures> {
    let mut question = Query::query(name.clone(), kind);
    question.set_query_class(DNSClass::IN);
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(question);
    let request = message.to_vec().map_err(|_| Failures::default())?;
    let answer = forward(&request, request.len(), settings).await?;
    Message::from_vec(&answer).map_err(|_| Failures::default())
}

async fn exchange(
    query: &[u8],
    asked: &[u8],
    server: SocketAddr,
    limit: Duration,
) -> io::Result<Vec<u8>> {
    let answer = match timeout(limit, over_udp(query, asked, server)).await {
        Ok(answer) => answer?,
        Err(_) => return Err(io::ErrorKind::TimedOut.into()),
    };
    let answer = if answer[2] & crate::encode::TC != 0 {
        match timeout(limit, over_tcp(query, asked, server)).await {
            Ok(Ok(whole)) => whole,
            // Better a part that says so than nothing.
            _ => answer,
        }
    } else {
        answer
    };
    match answer[3] & 0x0f {
        0 | 3 => Ok(answer),
        code => Err(io::Error::other(format!("response code {code}"))),
    }
}

async fn over_udp(query: &[u8], asked: &[u8], server: SocketAddr) -> io::Result<Vec<u8>> {
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    // Only what comes from there is read then.
    socket.connect(server).await?;
    socket.send(query).await?;
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        let length = socket.recv(&mut buffer).await?;
        if answers(&buffer[..length], query, asked) {
            buffer.truncate(length);
            return Ok(buffer);
        }
    }
}

async fn over_tcp(query: &[u8], asked: &[u8], server: SocketAddr) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(query.len()).map_err(io::Error::other)?;
    let mut framed = Vec::with_capacity(query.len() + 2);
    framed.extend_from_slice(&length.to_be_bytes());
    framed.extend_from_slice(query);
    stream.write_all(&framed).await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0; length.into()];
    stream.read_exact(&mut answer).await?;
    match answers(&answer, query, asked) {
        true => Ok(answer),
        false => Err(io::Error::other("the answer is to another question")),
    }
}

/// Whether a message is the answer to this question: same id, a response, same name, type and
/// class.
fn answers(answer: &[u8], query: &[u8], asked: &[u8]) -> bool {
    let Some(question) = answer.get(HEADER..HEADER + asked.len()) else {
        return false;
    };
    let (name, rest) = asked.split_at(asked.len().saturating_sub(4));
    answer[..2] == query[..2]
        && answer[2] & 0x80 != 0
        && answer[4..6] == [0, 1]
        // The lengths of labels are below the letters: nothing but case is passed over.
        && question[..name.len()].eq_ignore_ascii_case(name)
        && question[name.len()..] == *rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_answer_to_the_question_counts() {
        let query = b"\x12\x34\x01\x00\x00\x01\0\0\0\0\0\0\x03www\x00\0\x01\0\x01";
        let asked = &query[HEADER..];
        let mut good = query.to_vec();
        good[2] = 0x81;
        assert!(answers(&good, query, asked));
        good[13..16].copy_from_slice(b"WwW");
        assert!(answers(&good, query, asked));
        for (at, byte) in [(0, 0x13), (2, 0x01), (5, 0), (13, b'x'), (18, 2), (20, 3)] {
            let mut bad = good.clone();
            bad[at] = byte;
            assert!(!answers(&bad, query, asked), "{at}");
        }
        for length in 0..good.len() {
            assert!(!answers(&good[..length], query, asked));
        }
    }
}
