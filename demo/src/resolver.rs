//! Asks a DNS server over UDP, and over TCP where UDP's answer is cut.

use crate::message::{self, Answer, Srv};
use hickory_proto::rr::RecordType;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket, lookup_host};
use tokio::time::timeout;

/// Which server is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolver {
    /// The one at this `host:port`.
    At(String),
    /// Those of the system.
    System,
}

/// The servers of a `resolv.conf`.
pub fn name_servers(resolv_conf: &str) -> Vec<SocketAddr> {
    resolv_conf
        .lines()
        .filter_map(|line| {
            line.split_whitespace()
                .collect::<Vec<_>>()
                .strip_prefix(&["nameserver"])
                .map(<[_]>::to_vec)
        })
        .filter_map(|rest| rest.first()?.parse::<IpAddr>().ok())
        .map(|ip| SocketAddr::new(ip, 53))
        .collect()
}

impl Resolver {
    async fn server(&self) -> Result<SocketAddr, String> {
        match self {
            Resolver::At(address) => lookup_host(address.as_str())
                .await
                .map_err(|err| format!("the DNS server {address}: {err}"))?
                .next()
                .ok_or_else(|| format!("the DNS server {address} has no address")),
            Resolver::System => {
                let path = "/etc/resolv.conf";
                let text = std::fs::read_to_string(path)
                    .map_err(|err| format!("cannot read {path}: {err}"))?;
                name_servers(&text)
                    .first()
                    .copied()
                    .ok_or_else(|| format!("{path} names no server"))
            }
        }
    }

    /// The SRV records of a name.
    pub async fn srv(&self, id: u16, name: &str, limit: Duration) -> Result<Vec<Srv>, String> {
        self.ask(id, name, RecordType::SRV, limit, message::read_srv)
            .await
    }

    /// The addresses of a name, those of version 4 first.
    pub async fn addresses(
        &self,
        id: u16,
        name: &str,
        limit: Duration,
    ) -> Result<Vec<IpAddr>, String> {
        let found = self
            .ask(id, name, RecordType::A, limit, message::read_addresses)
            .await?;
        if !found.is_empty() {
            return Ok(found);
        }
        self.ask(
            id.wrapping_add(1),
            name,
            RecordType::AAAA,
            limit,
            message::read_addresses,
        )
        .await
    }

    async fn ask<T>(
        &self,
        id: u16,
        name: &str,
        kind: RecordType,
        limit: Duration,
        read: fn(&[u8]) -> Result<Answer<T>, String>,
    ) -> Result<Vec<T>, String> {
        let server = self.server().await?;
        let question = message::question(id, name, kind)?;
        let late = |_| format!("no answer from the DNS server {server} within {limit:?}");
        let bytes = timeout(limit, over_udp(server, id, &question))
            .await
            .map_err(late)?;
        let bytes = bytes.map_err(|err| format!("the DNS server {server}: {err}"))?;
        let answer = match read(&bytes)? {
            Answer::Truncated => {
                let bytes = timeout(limit, over_tcp(server, &question))
                    .await
                    .map_err(late)?;
                read(&bytes.map_err(|err| format!("the DNS server {server} over TCP: {err}"))?)?
            }
            answer => answer,
        };
        match answer {
            Answer::Found(list) => Ok(list),
            Answer::Nothing => Ok(Vec::new()),
            Answer::Truncated => Err("an answer over TCP is cut".to_owned()),
        }
    }
}

async fn over_udp(server: SocketAddr, id: u16, question: &[u8]) -> std::io::Result<Vec<u8>> {
    let own: SocketAddr = if server.is_ipv4() {
        ([0, 0, 0, 0], 0).into()
    } else {
        (IpAddr::from([0u16; 8]), 0).into()
    };
    let socket = UdpSocket::bind(own).await?;
    socket.connect(server).await?;
    socket.send(question).await?;
    let mut buffer = vec![0; 4096];
    loop {
        let n = socket.recv(&mut buffer).await?;
        if message::belongs(&buffer[..n], id) {
            buffer.truncate(n);
            return Ok(buffer);
        }
    }
}

async fn over_tcp(server: SocketAddr, question: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut io = TcpStream::connect(server).await?;
    let length = u16::try_from(question.len())
        .map_err(|_| std::io::Error::other("the question is too long"))?;
    io.write_all(&length.to_be_bytes()).await?;
    io.write_all(question).await?;
    let mut answer = vec![0; usize::from(io.read_u16().await?)];
    io.read_exact(&mut answer).await?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::op::{Message, MessageType};
    use hickory_proto::rr::rdata::A;
    use hickory_proto::rr::{RData, Record};
    use tokio::net::TcpListener;

    #[test]
    fn the_systems_servers_are_read() {
        let text = "# comment\nsearch example\nnameserver 10.0.0.2\nnameserver ::1 # local\nnameserver nonsense\noptions x";
        let want: Vec<SocketAddr> =
            vec!["10.0.0.2:53".parse().unwrap(), "[::1]:53".parse().unwrap()];
        assert_eq!(name_servers(text), want);
    }

    fn reply(question: &[u8], cut: bool) -> Vec<u8> {
        let mut m = Message::from_vec(question).unwrap();
        m.metadata.message_type = MessageType::Response;
        m.metadata.truncation = cut;
        if !cut {
            let name = m.queries[0].name().clone();
            m.add_answer(Record::from_rdata(name, 0, RData::A(A::new(10, 1, 2, 3))));
        }
        m.to_vec().unwrap()
    }

    #[tokio::test]
    async fn an_answer_that_is_cut_is_fetched_over_tcp() {
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = tcp.local_addr().unwrap();
        let udp = UdpSocket::bind(address).await.unwrap();
        let server = tokio::spawn(async move {
            let mut buffer = [0; 512];
            let (n, from) = udp.recv_from(&mut buffer).await.unwrap();
            // What does not belong is passed over.
            udp.send_to(&reply(&buffer[..n], true)[1..], from)
                .await
                .unwrap();
            udp.send_to(&reply(&buffer[..n], true), from).await.unwrap();
            let (mut io, _) = tcp.accept().await.unwrap();
            let mut question = vec![0; usize::from(io.read_u16().await.unwrap())];
            io.read_exact(&mut question).await.unwrap();
            let answer = reply(&question, false);
            io.write_all(&u16::try_from(answer.len()).unwrap().to_be_bytes())
                .await
                .unwrap();
            io.write_all(&answer).await.unwrap();
        });
        let resolver = Resolver::At(address.to_string());
        let found = resolver
            .addresses(9, "web.service.consul", Duration::from_secs(5))
            .await
            .unwrap();
        assert_eq!(found, ["10.1.2.3".parse::<IpAddr>().unwrap()]);
        server.await.unwrap();
    }

    #[tokio::test]
    async fn silence_has_an_end() {
        let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let resolver = Resolver::At(udp.local_addr().unwrap().to_string());
        let err = resolver
            .srv(1, "a.b", Duration::from_millis(20))
            .await
            .unwrap_err();
        assert!(err.starts_with("no answer from the DNS server"), "{err}");
    }
}
