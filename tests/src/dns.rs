//! DNS questions and what comes back.

use crate::netns::Place;
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, Record as RawRecord, RecordType};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(2);

/// A question.
#[derive(Clone, Debug)]
pub struct Question {
    name: String,
    kind: RecordType,
    tcp: bool,
    edns: Option<u16>,
    recursion_desired: bool,
}

impl Question {
    /// About a name, of a type such as `SRV`.
    pub fn new(name: &str, kind: &str) -> Question {
        Question {
            name: name.to_owned(),
            kind: kind
                .parse()
                .unwrap_or_else(|_| panic!("{kind} is no type of record")),
            tcp: false,
            edns: None,
            recursion_desired: true,
        }
    }

    /// Over TCP.
    pub fn tcp(mut self) -> Question {
        self.tcp = true;
        self
    }

    /// With EDNS, offering to take answers of this size.
    pub fn edns(mut self, size: u16) -> Question {
        self.edns = Some(size);
        self
    }

    /// Without wishing for recursion.
    pub fn no_recursion(mut self) -> Question {
        self.recursion_desired = false;
        self
    }

    fn message(&self, id: u16) -> Vec<u8> {
        let full = format!("{}.", self.name.trim_end_matches('.'));
        let mut message = Message::new(id, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = self.recursion_desired;
        message.add_query(Query::query(
            Name::from_ascii(&full).expect("a name"),
            self.kind,
        ));
        if let Some(size) = self.edns {
            let mut edns = Edns::new();
            edns.set_max_payload(size);
            message.set_edns(edns);
        }
        message.to_vec().expect("a question")
    }

    /// Asks a server; `None` without an answer in time.
    pub async fn try_ask(&self, server: SocketAddr) -> Option<Answer> {
        let udp = || std::net::UdpSocket::bind(("127.0.0.1", 0));
        let tcp = || std::net::TcpStream::connect_timeout(&server, LIMIT);
        self.try_ask_by(server, udp, tcp).await
    }

    /// Asks a server on a machine of a network of its own, from that machine.
    pub async fn try_ask_within(&self, place: &Place, server: SocketAddr) -> Option<Answer> {
        let udp = || place.enter(|| std::net::UdpSocket::bind(("127.0.0.1", 0)));
        let tcp = || place.enter(|| std::net::TcpStream::connect_timeout(&server, LIMIT));
        self.try_ask_by(server, udp, tcp).await
    }

    async fn try_ask_by(
        &self,
        server: SocketAddr,
        udp: impl FnOnce() -> io::Result<std::net::UdpSocket>,
        tcp: impl FnOnce() -> io::Result<std::net::TcpStream>,
    ) -> Option<Answer> {
        let id = 0x1c70 ^ (server.port().rotate_left(3));
        let question = self.message(id);
        let bytes = timeout(LIMIT, async {
            if self.tcp {
                ask_tcp(tcp()?, &question).await
            } else {
                ask_udp(udp()?, server, &question).await
            }
        });
        let bytes = bytes.await.ok()?.ok()?;
        Some(Answer::read(&bytes, id, &self.name))
    }

    /// Asks a server; panics without an answer in time.
    pub async fn ask(&self, server: SocketAddr) -> Answer {
        let answer = self.try_ask(server).await;
        answer.unwrap_or_else(|| panic!("no answer to {} {}", self.name, self.kind))
    }
}

async fn ask_udp(
    socket: std::net::UdpSocket,
    server: SocketAddr,
    question: &[u8],
) -> io::Result<Vec<u8>> {
    socket.set_nonblocking(true)?;
    let socket = UdpSocket::from_std(socket)?;
    socket.connect(server).await?;
    socket.send(question).await?;
    let mut buffer = vec![0; 65_535];
    let size = socket.recv(&mut buffer).await?;
    buffer.truncate(size);
    Ok(buffer)
}

async fn ask_tcp(stream: std::net::TcpStream, question: &[u8]) -> io::Result<Vec<u8>> {
    stream.set_nonblocking(true)?;
    let mut stream = TcpStream::from_std(stream)?;
    stream
        .write_all(&(question.len() as u16).to_be_bytes())
        .await?;
    stream.write_all(question).await?;
    let size = stream.read_u16().await?;
    let mut buffer = vec![0; usize::from(size)];
    stream.read_exact(&mut buffer).await?;
    Ok(buffer)
}

/// A record, as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Whose record it is.
    pub name: String,
    /// Its type, such as `SRV`.
    pub kind: String,
    /// How long it may be kept, in seconds.
    pub ttl: u32,
    /// The rest in the form of a zone file.
    pub data: String,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// `NOERROR`, `NXDOMAIN` and so on.
    pub code: String,
    /// Whether the server speaks for the name.
    pub authoritative: bool,
    /// Whether something was left out.
    pub truncated: bool,
    /// Whether the server would recurse.
    pub recursion_available: bool,
    /// The answers.
    pub answers: Vec<Record>,
    /// Who is responsible.
    pub authority: Vec<Record>,
    /// What helps; without the record of EDNS.
    pub additional: Vec<Record>,
    /// The size that EDNS of the answer offers.
    pub edns: Option<u16>,
    /// How many bytes it has.
    pub size: usize,
}

impl Answer {
    fn read(bytes: &[u8], id: u16, asked: &str) -> Answer {
        let message = Message::from_vec(bytes).unwrap_or_else(|e| panic!("answer to {asked}: {e}"));
        assert_eq!(
            message.metadata.id, id,
            "the number of the question about {asked}"
        );
        let code = match u16::from(message.metadata.response_code) {
            0 => "NOERROR",
            1 => "FORMERR",
            2 => "SERVFAIL",
            3 => "NXDOMAIN",
            4 => "NOTIMP",
            5 => "REFUSED",
            _ => "OTHER",
        };
        Answer {
            code: code.to_owned(),
            authoritative: message.metadata.authoritative,
            truncated: message.metadata.truncation,
            recursion_available: message.metadata.recursion_available,
            answers: records(&message.answers),
            authority: records(&message.authorities),
            additional: records(&message.additionals),
            edns: message.edns.as_ref().map(Edns::max_payload),
            size: bytes.len(),
        }
    }

    /// The data of the answers, sorted: their order is no promise.
    pub fn data(&self) -> Vec<&str> {
        let mut data: Vec<&str> = self.answers.iter().map(|r| r.data.as_str()).collect();
        data.sort_unstable();
        data
    }

    /// Fails unless there are exactly these answers, in any order.
    #[track_caller]
    pub fn gives(&self, data: &[&str]) {
        assert_eq!(
            (self.code.as_str(), self.data().as_slice()),
            ("NOERROR", data),
            "{self:?}"
        );
    }

    /// Fails unless the code is this and there is no answer.
    #[track_caller]
    pub fn nothing(&self, code: &str) {
        assert_eq!(
            (self.code.as_str(), self.answers.len()),
            (code, 0),
            "{self:?}"
        );
    }
}

fn records(raw: &[RawRecord]) -> Vec<Record> {
    let record = |r: &RawRecord| Record {
        name: r.name.to_ascii(),
        kind: r.record_type().to_string(),
        ttl: r.ttl,
        data: r.data.to_string(),
    };
    raw.iter().map(record).collect()
}
