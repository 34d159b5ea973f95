//! The head of an answer.

use std::io::Write;

use http::header::{CONNECTION, CONTENT_LENGTH, DATE, TRANSFER_ENCODING};
use http::{StatusCode, Version, response};

/// How the body of an answer is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// There is none, and no length is stated: 204, 304, or an unknown length to `HEAD`.
    None,
    /// This many bytes are stated and follow (after `HEAD` they do not).
    Length(u64),
    /// Chunks follow.
    Chunked,
    /// The end of the connection is the end of the body: for HTTP/1.0.
    ToClose,
}

/// What becomes of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    Close,
    Keep,
}

/// Chooses how to delimit a body whose exact length may be known.
pub(crate) fn framing(
    status: StatusCode,
    http11: bool,
    head_only: bool,
    exact: Option<u64>,
) -> Framing {
    if status.is_informational()
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED
    {
        return Framing::None;
    }
    match exact {
        Some(n) => Framing::Length(n),
        None if head_only => Framing::None,
        None if http11 => Framing::Chunked,
        None => Framing::ToClose,
    }
}

/// Writes a head. Names of fields are written as Go writes them (`X-Consul-Index`): scripts look
/// for that. Fields that describe the connection are ours alone, except that a stated length is
/// kept where no body is sent.
pub(crate) fn head(
    out: &mut Vec<u8>,
    request: Version,
    answer: &response::Parts,
    framing: Framing,
    after: After,
    date: &str,
) {
    let http11 = request != Version::HTTP_10;
    out.extend_from_slice(if http11 { b"HTTP/1.1 " } else { b"HTTP/1.0 " });
    out.extend_from_slice(answer.status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(answer.status.canonical_reason().unwrap_or("").as_bytes());
    out.extend_from_slice(b"\r\n");
    let mut dated = false;
    for (name, value) in &answer.headers {
        if *name == CONNECTION
            || *name == TRANSFER_ENCODING
            || (*name == CONTENT_LENGTH && framing != Framing::None)
        {
            continue;
        }
        dated |= *name == DATE;
        title(out, name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    if !dated {
        out.extend_from_slice(b"Date: ");
        out.extend_from_slice(date.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    match framing {
        // Writing to a vector does not fail.
        Framing::Length(n) => _ = write!(out, "Content-Length: {n}\r\n"),
        Framing::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        Framing::None | Framing::ToClose => {}
    }
    match after {
        After::Close if http11 => out.extend_from_slice(b"Connection: close\r\n"),
        After::Keep if !http11 => out.extend_from_slice(b"Connection: keep-alive\r\n"),
        // The habit of the version.
        After::Close | After::Keep => {}
    }
    out.extend_from_slice(b"\r\n");
}

/// `x-consul-index` as `X-Consul-Index`.
fn title(out: &mut Vec<u8>, name: &[u8]) {
    let mut start = true;
    for b in name {
        out.push(if start { b.to_ascii_uppercase() } else { *b });
        start = *b == b'-';
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Response;

    fn written(
        answer: http::response::Builder,
        version: Version,
        framing: Framing,
        after: After,
    ) -> String {
        let (parts, ()) = answer.body(()).expect("good").into_parts();
        let mut out = vec![];
        head(&mut out, version, &parts, framing, after, "now");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn heads() {
        let answer = || {
            Response::builder()
                .header("X-Consul-Index", "5")
                .header("content-length", "77")
                .header("connection", "upgrade")
        };
        assert_eq!(
            written(answer(), Version::HTTP_11, Framing::Length(3), After::Keep),
            "HTTP/1.1 200 OK\r\nX-Consul-Index: 5\r\nDate: now\r\nContent-Length: 3\r\n\r\n"
        );
        assert_eq!(
            written(answer(), Version::HTTP_10, Framing::Length(3), After::Keep),
            "HTTP/1.0 200 OK\r\nX-Consul-Index: 5\r\nDate: now\r\nContent-Length: 3\r\nConnection: keep-alive\r\n\r\n"
        );
        assert_eq!(
            written(answer(), Version::HTTP_11, Framing::Chunked, After::Close),
            "HTTP/1.1 200 OK\r\nX-Consul-Index: 5\r\nDate: now\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        );
        assert_eq!(
            written(
                answer().status(304),
                Version::HTTP_11,
                Framing::None,
                After::Keep
            ),
            "HTTP/1.1 304 Not Modified\r\nX-Consul-Index: 5\r\nContent-Length: 77\r\nDate: now\r\n\r\n"
        );
        assert_eq!(
            written(
                Response::builder().status(299).header("date", "then"),
                Version::HTTP_11,
                Framing::Length(0),
                After::Keep
            ),
            "HTTP/1.1 299 \r\nDate: then\r\nContent-Length: 0\r\n\r\n"
        );
    }

    #[test]
    fn bodies_are_delimited() {
        let ok = StatusCode::OK;
        assert_eq!(framing(ok, true, false, Some(3)), Framing::Length(3));
        assert_eq!(framing(ok, true, false, None), Framing::Chunked);
        assert_eq!(framing(ok, false, false, None), Framing::ToClose);
        assert_eq!(framing(ok, true, true, Some(3)), Framing::Length(3));
        assert_eq!(framing(ok, true, true, None), Framing::None);
        assert_eq!(
            framing(StatusCode::NO_CONTENT, true, false, Some(0)),
            Framing::None
        );
    }
}
