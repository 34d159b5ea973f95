//! A small HTTP/1.1 client: one connection, one request at a time.

use crate::Result;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// A connection.
pub struct Client {
    stream: BufReader<TcpStream>,
}

/// An answer.
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The catalog's index, if the answer has one.
    pub index: Option<u64>,
    /// The body.
    pub body: Vec<u8>,
}

impl Client {
    /// Connects to a port of 127.0.0.1.
    pub fn new(port: u16) -> Result<Client> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        Ok(Client {
            stream: BufReader::new(stream),
        })
    }

    /// Asks, and reads the answer.
    pub fn ask(&mut self, method: &str, path: &str, body: &[u8]) -> Result<Answer> {
        let mut request = request(method, path, Some(body.len())).into_bytes();
        request.extend_from_slice(body);
        self.stream.get_mut().write_all(&request)?;
        let mut head = Head::default();
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line)? == 0 {
                return Err("closed without an answer".into());
            }
            if !head.line(line.trim_end())? {
                break;
            }
        }
        let mut body = vec![0; head.length.ok_or("an answer without a length")?];
        self.stream.read_exact(&mut body)?;
        Ok(Answer {
            status: head.status,
            index: head.index,
            body,
        })
    }

    /// Asks, and fails if the answer is not 200.
    pub fn good(&mut self, method: &str, path: &str, body: &[u8]) -> Result<Answer> {
        let answer = self.ask(method, path, body)?;
        if answer.status != 200 {
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            return Err(format!("{method} {path}: {} {text}", answer.status).into());
        }
        Ok(answer)
    }
}

/// The head of a request.
pub fn request(method: &str, path: &str, length: Option<usize>) -> String {
    let length = length.map_or(String::new(), |n| format!("Content-Length: {n}\r\n"));
    format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: */*\r\n{length}\r\n")
}

/// The head of an answer, line by line.
#[derive(Default)]
pub struct Head {
    /// The status.
    pub status: u16,
    /// Bytes of the body.
    pub length: Option<usize>,
    index: Option<u64>,
}

impl Head {
    /// Takes a line without its end; whether more come.
    pub fn line(&mut self, line: &str) -> Result<bool> {
        if self.status == 0 {
            self.status = line
                .split(' ')
                .nth(1)
                .and_then(|n| n.parse().ok())
                .ok_or("no status")?;
        } else if let Some((name, value)) = line.split_once(':') {
            match name.to_ascii_lowercase().as_str() {
                "content-length" => self.length = value.trim().parse().ok(),
                "x-consul-index" => self.index = value.trim().parse().ok(),
                _ => {}
            }
        }
        Ok(!line.is_empty())
    }
}
