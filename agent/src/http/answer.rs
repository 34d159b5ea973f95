//! What a handler gives back, and how it becomes a response.

use super::cache::Encoded;
use super::{Call, Head, HttpError};
use crate::agent::Shared;
use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};
use lictor_wire::gojson;
use serde::Serialize;
use std::io::Write;
use std::sync::Arc;

/// Plain text, as Go's server names it.
pub const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
/// JSON.
pub const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// The pages that Go's router makes.
pub const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");

/// An answer on its way out.
#[derive(Debug)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// Headers of its own.
    pub headers: HeaderMap,
    /// The body.
    pub body: Payload,
}

/// The body of an answer.
pub enum Payload {
    /// All of it.
    Whole(Bytes),
    /// All of it, and others have the same.
    Shared(Arc<Encoded>),
    /// Parts as they come; never compressed.
    Stream(super::Body),
}

impl std::fmt::Debug for Payload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Payload::Whole(b) => write!(f, "{} bytes", b.len()),
            Payload::Shared(b) => write!(f, "{} shared bytes", b.plain().len()),
            Payload::Stream(_) => f.write_str("stream"),
        }
    }
}

impl Reply {
    /// An answer without headers.
    pub fn bare(status: StatusCode, body: Bytes) -> Reply {
        Reply {
            status,
            headers: HeaderMap::new(),
            body: Payload::Whole(body),
        }
    }

    /// 200 with nothing to say.
    pub fn empty() -> Reply {
        Reply::bare(StatusCode::OK, Bytes::new()).with(header::CONTENT_TYPE, TEXT)
    }

    /// Text.
    pub fn text(status: StatusCode, text: impl Into<Bytes>) -> Reply {
        Reply::bare(status, text.into()).with(header::CONTENT_TYPE, TEXT)
    }

    /// JSON that is already encoded.
    pub fn encoded(body: Bytes) -> Reply {
        Reply::bare(StatusCode::OK, body).with(header::CONTENT_TYPE, JSON)
    }

    /// JSON that several requests share.
    pub fn shared(answer: Arc<Encoded>) -> Reply {
        let mut reply = Reply::encoded(Bytes::new());
        reply.body = Payload::Shared(answer);
        reply
    }

    /// JSON in the form that the request asks for.
    pub fn json<T: Serialize + ?Sized>(shared: &Shared, call: &Call, value: &T) -> Reply {
        Reply::encoded(encode(shared, call, value))
    }

    /// With one more header.
    pub fn with(mut self, name: HeaderName, value: HeaderValue) -> Reply {
        self.headers.insert(name, value);
        self
    }

    /// With another status.
    pub fn status(mut self, status: StatusCode) -> Reply {
        self.status = status;
        self
    }
}

/// JSON in the form that the request asks for: indented in dev mode or with `?pretty`, which adds
/// a newline.
pub fn encode<T: Serialize + ?Sized>(shared: &Shared, call: &Call, value: &T) -> Bytes {
    let asked = call.params.has("pretty");
    let mut body = if asked || shared.pretty {
        gojson::to_pretty(value)
    } else {
        gojson::to_vec(value)
    };
    if asked {
        body.push(b'\n');
    }
    Bytes::from(body)
}

impl From<HttpError> for Reply {
    fn from(error: HttpError) -> Reply {
        Reply::text(error.status, error.text)
    }
}

/// Answers smaller than this are not worth compressing.
const GZIP_MIN: usize = 1400;

/// The last step: headers that every answer has, compression, HEAD.
pub fn finish(shared: &Shared, head: &Head, reply: Reply, wrapped: bool) -> warp::reply::Response {
    static VARY: HeaderValue = HeaderValue::from_static("Accept-Encoding");
    static ALLOW: HeaderValue = HeaderValue::from_static("allow");
    static POLICY: HeaderName = HeaderName::from_static("x-consul-default-acl-policy");
    let Reply {
        status,
        mut headers,
        body,
    } = reply;
    if wrapped {
        headers.insert(header::VARY, VARY.clone());
        headers.insert(POLICY.clone(), ALLOW.clone());
    }
    for (name, value) in &shared.live().response_headers {
        headers.insert(name.clone(), value.clone());
    }
    let zip = |length: usize| length >= GZIP_MIN && accepts_gzip(head);
    let (plain, packed) = match body {
        Payload::Whole(body) => {
            let packed = zip(body.len()).then(|| gzip(&body)).flatten();
            (body, packed)
        }
        Payload::Shared(answer) => {
            let plain = answer.plain().clone();
            let packed = zip(plain.len()).then(|| answer.packed()).flatten();
            (plain, packed.cloned())
        }
        Payload::Stream(parts) => {
            let parts = warp::reply::Reply::into_response(warp::reply::stream(parts));
            return assemble(parts, status, headers);
        }
    };
    if packed.is_some() {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    let body = packed.unwrap_or(plain);
    let body = if head.method == http::Method::HEAD {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        Bytes::new()
    } else {
        body
    };
    let response = warp::reply::Response::new(body.into());
    assemble(response, status, headers)
}

fn assemble(
    mut response: warp::reply::Response,
    status: StatusCode,
    headers: HeaderMap,
) -> warp::reply::Response {
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

fn accepts_gzip(head: &Head) -> bool {
    let Some(accepted) = head
        .headers
        .get(header::ACCEPT_ENCODING)
        .and_then(|v| v.to_str().ok())
    else {
        return false;
    };
    accepted.split(',').any(|word| {
        let (name, quality) = word.split_once(';').unwrap_or((word, ""));
        matches!(name.trim(), "gzip" | "*")
            && !matches!(quality.trim(), "q=0" | "q=0.0" | "q=0.00" | "q=0.000")
    })
}

/// Packs a body.
pub(super) fn gzip(body: &[u8]) -> Option<Bytes> {
    let mut encoder = flate2::write::GzEncoder::new(
        Vec::with_capacity(body.len() / 4),
        flate2::Compression::fast(),
    );
    encoder.write_all(body).ok()?;
    encoder.finish().ok().map(Bytes::from)
}
