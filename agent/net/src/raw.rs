//! Answers that are sent as they stand, outside of any request: the bytes are those of Consul's
//! agent and of the Go server inside it.

/// The client has too many connections open.
pub(crate) const TOO_MANY_FROM_CLIENT: &[u8] = b"HTTP/1.1 429 Too Many Requests\r\n\
    Content-Type: text/plain\r\nContent-Length: 81\r\nConnection: close\r\n\r\n\
    Your IP is issuing too many concurrent connections, please rate limit your calls\n";

/// The agent as a whole has too many connections open. Consul has no such limit; the form follows
/// the one above.
pub(crate) const TOO_MANY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
    Content-Type: text/plain\r\nContent-Length: 39\r\nConnection: close\r\n\r\n\
    The agent has too many connections open";

/// A request in the clear on a TLS port.
pub(crate) const HTTP_ON_HTTPS: &[u8] = b"HTTP/1.0 400 Bad Request\r\n\r\n\
    Client sent an HTTP request to an HTTPS server.\n";

/// What lets a client send its body.
pub(crate) const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// A request that cannot be served, and never reaches the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reject {
    /// 400, with words when Go has some.
    BadRequest(&'static str),
    /// 431: line and headers are larger than the limit.
    TooLarge,
    /// 414: a target longer than 65,534 bytes, which the `http` crate cannot represent. Go has no
    /// such limit.
    UriTooLong,
    /// 417: `Expect` asks for something other than `100-continue`.
    Expectation,
    /// 501: a transfer coding other than `chunked`.
    TransferEncoding,
    /// 505: a well-formed version that is not 1.0 or 1.1.
    Version,
}

impl Reject {
    /// The whole answer. The connection is closed after it.
    pub(crate) fn answer(self) -> String {
        let (status, words) = match self {
            Reject::BadRequest("") => ("400 Bad Request", None),
            Reject::BadRequest(words) => ("400 Bad Request", Some(words)),
            Reject::TooLarge => ("431 Request Header Fields Too Large", None),
            Reject::UriTooLong => ("414 Request URI Too Long", None),
            Reject::Expectation => {
                return "HTTP/1.1 417 Expectation Failed\r\nConnection: close\r\n\
                        Content-Length: 0\r\n\r\n"
                    .into();
            }
            Reject::TransferEncoding => {
                return "HTTP/1.1 501 Not Implemented\r\n\
                        Content-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n\
                        Unsupported transfer encoding"
                    .into();
            }
            Reject::Version => (
                "505 HTTP Version Not Supported",
                Some("unsupported protocol version"),
            ),
        };
        let line = match words {
            Some(words) => format!("{status}: {words}"),
            None => status.to_owned(),
        };
        format!(
            "HTTP/1.1 {line}\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n{line}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn length_is_true(answer: &[u8]) {
        let text = std::str::from_utf8(answer).expect("text");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        let length = head
            .lines()
            .find_map(|l| l.strip_prefix("Content-Length: "))
            .expect("a length");
        assert_eq!(length, body.len().to_string());
    }

    #[test]
    fn lengths_are_true() {
        length_is_true(TOO_MANY_FROM_CLIENT);
        length_is_true(TOO_MANY);
    }

    #[test]
    fn refusals_read_like_gos() {
        assert_eq!(
            Reject::BadRequest("missing required Host header").answer(),
            "HTTP/1.1 400 Bad Request: missing required Host header\r\n\
             Content-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n\
             400 Bad Request: missing required Host header"
        );
        assert_eq!(
            Reject::TooLarge.answer(),
            "HTTP/1.1 431 Request Header Fields Too Large\r\n\
             Content-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n\
             431 Request Header Fields Too Large"
        );
        assert!(
            Reject::BadRequest("")
                .answer()
                .ends_with("\r\n\r\n400 Bad Request")
        );
    }
}
