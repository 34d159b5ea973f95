//! gRPC checks: the standard health protocol, version 1 (`grpc.health.v1.Health/Check`). Passing
//! if the server, or the service named after the slash, is SERVING. The two messages are small
//! enough to be written by hand.

use crate::dial::{DialError, Dialer};
use crate::http_check::Connection;
use crate::job::Outcome;
use crate::tcp::{DEADLINE, tls_name};
use crate::tls::{Connector, Speaks, handshake_text};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Version, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use lictor_wire::base::Str;
use lictor_wire::catalog::Status;
use lictor_wire::checktype::CheckType;
use lictor_wire::duration::go_quote;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout_at};

/// Most bytes of an answer that are read; a well-formed one has seven.
const MAX_ANSWER: usize = 64 << 10;

/// A gRPC check.
pub(crate) struct GrpcCheck {
    /// `host:port` or `host:port/service`, as given.
    target: Str,
    /// The name to verify and whether not to; `None` without TLS.
    tls: Option<(Str, bool)>,
    timeout: Duration,
}

/// A gRPC status other than OK: a code and a message.
#[derive(Debug, PartialEq, Eq)]
struct RpcError {
    code: u32,
    message: String,
}

const CODES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];
const UNKNOWN: u32 = 2;
const DEADLINE_EXCEEDED: u32 = 4;
const INTERNAL: u32 = 13;
const UNAVAILABLE: u32 = 14;

impl RpcError {
    fn new(code: u32, message: impl Into<String>) -> RpcError {
        RpcError {
            code,
            message: message.into(),
        }
    }

    /// As the Go library prints it.
    fn text(&self) -> String {
        let name = CODES
            .get(self.code as usize)
            .map_or_else(|| format!("Code({})", self.code), |name| (*name).to_owned());
        format!("rpc error: code = {name} desc = {}", self.message)
    }

    fn connection(why: &str) -> RpcError {
        RpcError::new(
            UNAVAILABLE,
            format!(
                "connection error: desc = {}",
                go_quote(&format!("transport: {why}"))
            ),
        )
    }
}

impl GrpcCheck {
    pub(crate) fn new(check: &CheckType, timeout: Duration) -> GrpcCheck {
        let target = if check.proxy_grpc.is_empty() {
            check.grpc.clone()
        } else {
            check.proxy_grpc.clone()
        };
        let (address, _) = split_target(&target);
        let tls = check
            .grpc_use_tls
            .then(|| (tls_name(check, address), check.tls_skip_verify));
        GrpcCheck {
            target,
            tls,
            timeout,
        }
    }

    pub(crate) async fn run(&self, dialer: &Dialer, connector: &Connector) -> Outcome {
        let deadline = Instant::now() + self.timeout;
        let asked = timeout_at(deadline, self.ask(dialer, connector, deadline)).await;
        match asked.unwrap_or_else(|_| Err(RpcError::new(DEADLINE_EXCEEDED, DEADLINE))) {
            Ok(1) => Outcome::new(
                Status::Passing,
                format!("gRPC check {}: success", self.target),
            ),
            Ok(other) => Outcome::critical(format!(
                "gRPC {} serving status: {}",
                self.target,
                serving_name(other)
            )),
            Err(e) => Outcome::critical(e.text()),
        }
    }

    async fn ask(
        &self,
        dialer: &Dialer,
        connector: &Connector,
        deadline: Instant,
    ) -> Result<u64, RpcError> {
        let (address, service) = split_target(&self.target);
        let stream = dialer
            .connect(address, deadline)
            .await
            .map_err(|e| match e {
                DialError::Timeout(_) => RpcError::new(DEADLINE_EXCEEDED, DEADLINE),
                failed => RpcError::connection(&format!(
                    "Error while dialing: {}",
                    failed.text("tcp", address)
                )),
            })?;
        let Some((name, skip_verify)) = &self.tls else {
            return call(stream, "http", address, service, self.timeout).await;
        };
        let shaken = connector
            .connect(stream, name, *skip_verify, Speaks::Http2)
            .await;
        let stream = shaken.map_err(|e| {
            RpcError::connection(&format!(
                "authentication handshake failed: {}",
                handshake_text(&e)
            ))
        })?;
        call(stream, "https", address, service, self.timeout).await
    }
}

fn split_target(target: &str) -> (&str, &str) {
    target.split_once('/').unwrap_or((target, ""))
}

/// Makes the call and gives the number of the serving status.
async fn call<S>(
    stream: S,
    scheme: &str,
    address: &str,
    service: &str,
    timeout: Duration,
) -> Result<u64, RpcError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let broken =
        |e: hyper::Error| RpcError::connection(&format!("error while talking to the server: {e}"));
    let (mut sender, connection) = http2::Builder::new(TokioExecutor::new())
        .handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    let mut connection = Connection::new(connection);
    let request = request(scheme, address, service, timeout)?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(broken)?;
        let (head, mut body) = response.into_parts();
        let (mut message, mut trailers) = (BytesMut::new(), None);
        while let Some(frame) = body.frame().await {
            match frame.map_err(broken)?.into_data() {
                Ok(data) if message.len() + data.len() > MAX_ANSWER => {
                    return Err(RpcError::new(8, "grpc: received message larger than max"));
                }
                Ok(data) => message.extend_from_slice(&data),
                Err(other) => trailers = other.into_trailers().ok(),
            }
        }
        verdict(head.status, &head.headers, trailers.as_ref(), &message)
    };
    connection.beside(answer).await
}

fn request(
    scheme: &str,
    address: &str,
    service: &str,
    timeout: Duration,
) -> Result<Request<Full<Bytes>>, RpcError> {
    let mut request = Request::new(Full::new(encode(service)));
    let uri = format!("{scheme}://{address}/grpc.health.v1.Health/Check");
    *request.uri_mut() = uri
        .parse()
        .map_err(|e: http::uri::InvalidUri| RpcError::new(INTERNAL, e.to_string()))?;
    *request.method_mut() = Method::POST;
    *request.version_mut() = Version::HTTP_2;
    let headers = request.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/grpc"),
    );
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
    headers.insert(
        header::USER_AGENT,
        HeaderValue::from_static("Consul Health Check"),
    );
    // At most eight digits (gRPC over HTTP/2): a day is more than any check takes.
    let millis = timeout.as_millis().clamp(1, 86_400_000);
    if let Ok(value) = HeaderValue::from_str(&format!("{millis}m")) {
        headers.insert("grpc-timeout", value);
    }
    Ok(request)
}

/// What an answer says: its HTTP status, then the gRPC status (in the trailers, or in the headers
/// of an answer without a body), then the message.
fn verdict(
    status: StatusCode,
    headers: &HeaderMap,
    trailers: Option<&HeaderMap>,
    message: &[u8],
) -> Result<u64, RpcError> {
    if status != StatusCode::OK {
        let code = match status.as_u16() {
            400 => INTERNAL,
            401 => 16,
            403 => 7,
            404 => 12,
            429 | 502..=504 => UNAVAILABLE,
            _ => UNKNOWN,
        };
        let words = status.canonical_reason().unwrap_or_default();
        let text = format!(
            "unexpected HTTP status code received from server: {} ({words})",
            status.as_u16()
        );
        return Err(RpcError::new(code, text));
    }
    let of = |name: &str| {
        trailers
            .and_then(|t| t.get(name))
            .or_else(|| headers.get(name))
            .map(HeaderValue::as_bytes)
    };
    let Some(code) = of("grpc-status") else {
        return Err(RpcError::new(
            INTERNAL,
            "server closed the stream without sending trailers",
        ));
    };
    match std::str::from_utf8(code)
        .ok()
        .and_then(|code| code.parse::<u32>().ok())
    {
        Some(0) => decode(message).ok_or_else(|| {
            RpcError::new(INTERNAL, "grpc: failed to unmarshal the received message")
        }),
        Some(code) => Err(RpcError::new(
            code,
            percent_decode(of("grpc-message").unwrap_or_default()),
        )),
        None => Err(RpcError::new(INTERNAL, "malformed grpc-status")),
    }
}

/// A `HealthCheckRequest` in its frame: no compression, length, then field 1 with the service.
fn encode(service: &str) -> Bytes {
    let mut message = Vec::with_capacity(service.len() + 8);
    if !service.is_empty() {
        message.push(0x0a);
        let mut len = service.len();
        while len >= 0x80 {
            message.push((len & 0x7f) as u8 | 0x80);
            len >>= 7;
        }
        message.push(len as u8);
        message.extend_from_slice(service.as_bytes());
    }
    let mut frame = vec![0];
    frame.extend_from_slice(
        &u32::try_from(message.len())
            .unwrap_or(u32::MAX)
            .to_be_bytes(),
    );
    frame.extend_from_slice(&message);
    frame.into()
}

/// The status in a framed `HealthCheckResponse` (field 1, zero if absent); `None` if it is none.
fn decode(frame: &[u8]) -> Option<u64> {
    let (head, rest) = frame.split_at_checked(5)?;
    let len = u32::from_be_bytes(head[1..].try_into().ok()?);
    if head[0] != 0 || rest.len() != len as usize {
        return None;
    }
    let (mut rest, mut status) = (rest, 0);
    while !rest.is_empty() {
        let (field, wire) = varint(&mut rest).map(|key| (key >> 3, key & 7))?;
        match wire {
            0 => {
                let value = varint(&mut rest)?;
                if field == 1 {
                    status = value;
                }
            }
            1 => rest = rest.get(8..)?,
            2 => {
                let len = usize::try_from(varint(&mut rest)?).ok()?;
                rest = rest.get(len..)?;
            }
            5 => rest = rest.get(4..)?,
            _ => return None,
        }
    }
    Some(status)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

fn serving_name(status: u64) -> String {
    match status {
        0 => "UNKNOWN".to_owned(),
        1 => "SERVING".to_owned(),
        2 => "NOT_SERVING".to_owned(),
        3 => "SERVICE_UNKNOWN".to_owned(),
        other => other.to_string(),
    }
}

fn percent_decode(text: &[u8]) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        let hex = after
            .get(..2)
            .filter(|_| byte == b'%')
            .and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(decoded) => {
                out.push(decoded);
                rest = &after[2..];
            }
            None => {
                out.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_their_frames() {
        assert_eq!(&encode("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(&encode("ab")[..], [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        let long = encode(&"x".repeat(300));
        assert_eq!(
            (&long[..8], long.len()),
            (&[0, 0, 0, 1, 47, 0x0a, 0xac, 2][..], 308)
        );
    }

    #[test]
    fn answers_are_read_and_broken_ones_refused() {
        for (frame, want) in [
            (&[0, 0, 0, 0, 2, 8, 1][..], Some(1)),
            (&[0, 0, 0, 0, 0], Some(0)),
            (&[0, 0, 0, 0, 7, 0x12, 1, b'x', 8, 2, 0x20, 9], Some(2)),
            (
                &[0, 0, 0, 0, 11, 0x11, 1, 2, 3, 4, 5, 6, 7, 8, 8, 1],
                Some(1),
            ),
            (&[1, 0, 0, 0, 2, 8, 1], None),    // compressed
            (&[0, 0, 0, 0, 3, 8, 1], None),    // shorter than it says
            (&[0, 0, 0, 0, 1, 8, 1], None),    // longer
            (&[0, 0, 0, 0, 1, 8], None),       // a key without a value
            (&[0, 0, 0, 0, 2, 0x12, 9], None), // a text beyond the end
            (&[0, 0, 0, 0, 1, 0x0b], None),    // a group
            (&[0, 0], None),
        ] {
            assert_eq!(decode(frame), want, "{frame:?}");
        }
        let endless = [&[0, 0, 0, 0, 11][..], &[0xff; 11]].concat();
        assert_eq!(decode(&endless), None);
    }

    #[test]
    fn the_status_is_where_grpc_puts_it() {
        let map = |pairs: &[(&'static str, &'static str)]| -> HeaderMap {
            pairs
                .iter()
                .map(|(k, v)| {
                    (
                        http::HeaderName::from_static(k),
                        HeaderValue::from_static(v),
                    )
                })
                .collect()
        };
        let (empty, ok) = (HeaderMap::new(), map(&[("grpc-status", "0")]));
        let serving = [0, 0, 0, 0, 2, 8, 1];
        assert_eq!(verdict(StatusCode::OK, &empty, Some(&ok), &serving), Ok(1));
        let error = map(&[("grpc-status", "5"), ("grpc-message", "unknown%20service")]);
        let text = verdict(StatusCode::OK, &error, None, &[])
            .unwrap_err()
            .text();
        assert_eq!(text, "rpc error: code = NotFound desc = unknown service");
        let text = verdict(StatusCode::BAD_GATEWAY, &empty, None, &[])
            .unwrap_err()
            .text();
        assert_eq!(
            text,
            "rpc error: code = Unavailable desc = unexpected HTTP status code received from server: 502 (Bad Gateway)"
        );
        assert_eq!(
            verdict(StatusCode::OK, &empty, None, &serving)
                .unwrap_err()
                .code,
            INTERNAL
        );
        assert_eq!(
            RpcError::new(99, "x").text(),
            "rpc error: code = Code(99) desc = x"
        );
    }
}
