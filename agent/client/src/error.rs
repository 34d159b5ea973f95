//! What can go wrong, in the words of Consul's Go client.

use std::io;

/// Which step of making a connection failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DialPhase {
    /// The host's name has no address.
    Lookup,
    /// Nobody answered at the address.
    Connect,
    /// TLS was not agreed on.
    Handshake,
}

/// Why there is no answer, or not the one wanted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting makes no sense. Nothing was sent.
    #[error("{0}")]
    Config(String),
    /// No connection was made. Nothing was sent, so the request may be repeated.
    #[error("{} {}: {}", go_method(.method), quote(.url), dial_text(.network, .address, *.phase, .source))]
    Unreachable {
        /// The method.
        method: String,
        /// The whole URL.
        url: String,
        /// `tcp` or `unix`.
        network: &'static str,
        /// The address that was tried, or the name that was looked up.
        address: String,
        /// How far it came.
        phase: DialPhase,
        /// Why.
        source: io::Error,
    },
    /// The connection ended before the answer was complete. Whether the agent acted is unknown.
    #[error("{} {}: {}", go_method(.method), quote(.url), .what)]
    Broken {
        /// The method.
        method: String,
        /// The whole URL.
        url: String,
        /// What happened.
        what: String,
    },
    /// The time allowed for the exchange was over. Whether the agent acted is unknown.
    #[error("{} {}: no answer within {limit:?}", go_method(.method), quote(.url))]
    Timeout {
        /// The method.
        method: String,
        /// The whole URL.
        url: String,
        /// The time allowed.
        limit: std::time::Duration,
    },
    /// The agent answered with another status than success.
    #[error("Unexpected response code: {code}{}", in_brackets(.text))]
    Status {
        /// The status.
        code: u16,
        /// The answer's body, without blanks at its ends.
        text: String,
    },
    /// The agent answered with something that is not what the API promises.
    #[error("unexpected answer from {url}: {source}")]
    Decode {
        /// The path that was asked.
        url: String,
        /// Where it differs.
        source: serde_json::Error,
    },
    /// The answer is larger than allowed.
    #[error("the answer from {url} is larger than {limit} bytes")]
    TooLarge {
        /// The whole URL.
        url: String,
        /// The limit in bytes.
        limit: usize,
    },
}

impl Error {
    /// What a person can do about it, in one line; nothing where the text says it all.
    pub fn hint(&self) -> Option<String> {
        match self {
            Error::Unreachable { phase: DialPhase::Lookup, address, .. } => Some(format!(
                "The name {address:?} has no address here. Correct -http-addr or CONSUL_HTTP_ADDR."
            )),
            Error::Unreachable { phase: DialPhase::Handshake, address, source, .. } => {
                let text = source.to_string();
                Some(if text.contains("UnknownIssuer") {
                    format!(
                        "The certificate of {address} is from an authority that is not trusted here. \
                         Name it with -ca-file or CONSUL_CACERT."
                    )
                } else if text.contains("NotValidForName") || text.contains("not valid for name") {
                    format!(
                        "The certificate of {address} carries another name. \
                         Say which with -tls-server-name or CONSUL_TLS_SERVER_NAME."
                    )
                } else if text.contains("corrupt message") || text.contains("InvalidContentType") {
                    format!("{address} seems to speak plain HTTP. Try -http-addr=http://{address}.")
                } else {
                    format!("Is {address} the HTTPS address of an agent? Set -http-addr or CONSUL_HTTP_ADDR.")
                })
            }
            Error::Unreachable { address, .. } => Some(format!(
                "Is an agent running at {address}? If it is elsewhere, set -http-addr or CONSUL_HTTP_ADDR."
            )),
            Error::Status { code: 400, text } if text.contains("HTTP request to an HTTPS server") => {
                Some("The agent speaks HTTPS there: set -http-addr=https://... or CONSUL_HTTP_SSL=true.".to_owned())
            }
            _ => None,
        }
    }

    /// The status the agent answered with, if it did.
    pub fn status(&self) -> Option<u16> {
        match self {
            Error::Status { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// Whether the request surely did not reach the agent.
    pub fn is_unsent(&self) -> bool {
        matches!(self, Error::Config(_) | Error::Unreachable { .. })
    }
}

/// Go's errors write methods as words: `Get`, `Put`.
fn go_method(method: &str) -> String {
    let mut out = method.to_ascii_lowercase();
    if let Some(first) = out.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    out
}

fn quote(url: &str) -> String {
    lictor_wire::duration::go_quote(url)
}

fn in_brackets(text: &str) -> String {
    if text.is_empty() {
        " ()".to_owned()
    } else {
        format!(" ({text})")
    }
}

/// Go's text of a failed dial: `dial tcp 127.0.0.1:8500: connect: connection refused`.
fn dial_text(network: &str, address: &str, phase: DialPhase, source: &io::Error) -> String {
    match phase {
        DialPhase::Lookup => format!("dial {network}: lookup {address}: no such host"),
        DialPhase::Handshake => format!("tls: {source}"),
        DialPhase::Connect if source.kind() == io::ErrorKind::TimedOut => {
            format!("dial {network} {address}: i/o timeout")
        }
        DialPhase::Connect => format!("dial {network} {address}: connect: {}", errno_text(source)),
    }
}

/// The system's error texts in lower case, as Go prints them.
pub(crate) fn errno_text(err: &io::Error) -> String {
    match err.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::ConnectionReset => "connection reset by peer".to_owned(),
        io::ErrorKind::BrokenPipe => "broken pipe".to_owned(),
        io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::HostUnreachable => "no route to host".to_owned(),
        io::ErrorKind::NetworkUnreachable => "network is unreachable".to_owned(),
        io::ErrorKind::AddrNotAvailable => "cannot assign requested address".to_owned(),
        _ => err.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(phase: DialPhase, kind: io::ErrorKind) -> Error {
        Error::Unreachable {
            method: "GET".into(),
            url: "http://127.0.0.1:8500/v1/kv/x".into(),
            network: "tcp",
            address: "127.0.0.1:8500".into(),
            phase,
            source: kind.into(),
        }
    }

    #[test]
    fn the_texts_are_those_of_go() {
        assert_eq!(
            refused(DialPhase::Connect, io::ErrorKind::ConnectionRefused).to_string(),
            "Get \"http://127.0.0.1:8500/v1/kv/x\": dial tcp 127.0.0.1:8500: connect: connection refused"
        );
        assert!(
            refused(DialPhase::Connect, io::ErrorKind::TimedOut)
                .to_string()
                .ends_with("dial tcp 127.0.0.1:8500: i/o timeout")
        );
        let status = Error::Status {
            code: 500,
            text: "No cluster leader".into(),
        };
        assert_eq!(
            status.to_string(),
            "Unexpected response code: 500 (No cluster leader)"
        );
        assert_eq!(
            Error::Status {
                code: 404,
                text: String::new()
            }
            .to_string(),
            "Unexpected response code: 404 ()"
        );
    }

    #[test]
    fn an_unreachable_agent_comes_with_advice() {
        let hint = refused(DialPhase::Connect, io::ErrorKind::ConnectionRefused)
            .hint()
            .unwrap();
        assert!(
            hint.contains("127.0.0.1:8500") && hint.contains("CONSUL_HTTP_ADDR"),
            "{hint}"
        );
        assert_eq!(
            Error::Status {
                code: 500,
                text: "x".into()
            }
            .hint(),
            None
        );
    }
}
