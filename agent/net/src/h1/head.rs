//! The head of a request: where it ends, and what it says.

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version};

use crate::raw::Reject;

/// The longest target the `http` crate can hold.
const MAX_TARGET: usize = 65_534;
/// Header fields looked for at first; more take a second look with room for `MANY_FIELDS`.
const FIELDS: usize = 32;
const MANY_FIELDS: usize = 4096;

/// What HTTP/2 clients that know before they ask send first (RFC 9113, section 3.4).
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What the bytes at the start of a request are.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// A head of this many bytes, the empty line included.
    Head(usize),
    /// The preface of HTTP/2.
    Http2,
    /// More bytes are needed.
    More,
    /// Nothing that can become a request.
    Reject(Reject),
}

/// Looks for the end of a head in `bytes`, which do not begin with a line end. `seen` remembers how
/// far earlier looks at the same bytes came. The preface counts only at the start of a connection
/// (`first`).
pub(crate) fn look(bytes: &[u8], seen: &mut usize, first: bool) -> Look {
    if first && bytes[0] == PREFACE[0] {
        let n = bytes.len().min(PREFACE.len());
        if bytes[..n] == PREFACE[..n] {
            return if n == PREFACE.len() {
                Look::Http2
            } else {
                Look::More
            };
        }
    }
    // Whoever speaks something else (TLS, for one) shall not wait for an answer until we give up.
    if !is_token(bytes[0]) {
        return Look::Reject(Reject::BadRequest(""));
    }
    let mut from = *seen;
    while let Some(at) = bytes[from..].iter().position(|b| *b == b'\n') {
        let end = from + at + 1;
        match &bytes[end..] {
            [b'\n', ..] => return Look::Head(end + 1),
            [b'\r', b'\n', ..] => return Look::Head(end + 2),
            // Too little follows to tell: look at this line end again.
            [] | [b'\r'] => {
                *seen = from + at;
                return Look::More;
            }
            _ => from = end,
        }
    }
    *seen = bytes.len();
    Look::More
}

/// How many bytes of line ends come before a request; RFC 9112, section 2.2, wants them ignored.
pub(crate) fn blank(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .take_while(|b| matches!(b, b'\r' | b'\n'))
        .count()
}

/// How the body of a request is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    Length(u64),
    Chunked,
}

/// A request without its body.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) request: Request<()>,
    pub(crate) coding: Coding,
    /// The client allows, or for HTTP/1.0 asks for, another request on this connection.
    pub(crate) keep_alive: bool,
    /// The client waits for a `100 Continue` before it sends the body.
    pub(crate) expects_continue: bool,
}

/// Reads a head that [`look`] has found.
pub(crate) fn parse(bytes: &Bytes) -> Result<Head, Reject> {
    const BAD: Reject = Reject::BadRequest("");
    let line_end = bytes.iter().position(|b| *b == b'\n').ok_or(BAD)?;
    let (line, fields) = bytes.split_at(line_end + 1);
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);

    // As Go cuts it: the method ends at the first space, the target at the next.
    let space = line.iter().position(|b| *b == b' ').ok_or(BAD)?;
    let (method, rest) = (&line[..space], &line[space + 1..]);
    let space = rest.iter().position(|b| *b == b' ').ok_or(BAD)?;
    let (target, version) = (&rest[..space], &rest[space + 1..]);

    let version = match version {
        b"HTTP/1.0" => Version::HTTP_10,
        // A later 1.x is spoken to as 1.1 (RFC 9110, section 2.5).
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'1'..=b'9'] => Version::HTTP_11,
        [b'H', b'T', b'T', b'P', b'/', a, b'.', b] if a.is_ascii_digit() && b.is_ascii_digit() => {
            return Err(Reject::Version);
        }
        _ => return Err(BAD),
    };
    let method = Method::from_bytes(method).map_err(|_| BAD)?;
    let uri = uri(bytes, target)?;
    let (headers, facts) = headers(bytes, fields)?;

    let http11 = version == Version::HTTP_11;
    if http11 && facts.hosts == 0 {
        return Err(Reject::BadRequest("missing required Host header"));
    }
    let coding = match facts.codings {
        0 => Coding::Length(facts.length.unwrap_or(0)),
        _ if !http11 => return Err(BAD),
        1 => Coding::Chunked,
        _ => return Err(Reject::TransferEncoding),
    };
    // Two ways to tell the length: somebody on the way may have taken the other one.
    let both = facts.codings > 0 && facts.length.is_some();

    let mut request = Request::new(());
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.version_mut() = version;
    *request.headers_mut() = headers;
    Ok(Head {
        request,
        coding,
        keep_alive: !facts.close && !both && (http11 || facts.keep),
        expects_continue: facts.expects_continue && http11 && coding != Coding::Length(0),
    })
}

/// The target as the `http` crate takes it. Bytes it refuses and Go accepts are escaped: that
/// changes nothing once path and query are decoded.
fn uri(head: &Bytes, target: &[u8]) -> Result<Uri, Reject> {
    const BAD: Reject = Reject::BadRequest("");
    match target {
        b"*" | [b'/', ..] => {}
        _ if scheme(target) => {}
        _ => return Err(BAD),
    }
    if target.iter().any(|b| *b < 0x21 || *b == 0x7f) {
        return Err(BAD);
    }
    let path = target.split(|b| *b == b'?').next().unwrap_or_default();
    if path.contains(&b'%') && !escapes_are_whole(path) {
        return Err(BAD);
    }
    if target.len() > MAX_TARGET {
        return Err(Reject::UriTooLong);
    }
    let shared = if target.iter().all(|b| is_plain(*b)) {
        head.slice_ref(target)
    } else {
        let escaped = escape(target);
        if escaped.len() > MAX_TARGET {
            return Err(Reject::UriTooLong);
        }
        Bytes::from(escaped)
    };
    Uri::from_maybe_shared(shared).map_err(|_| BAD)
}

/// `http://...`: a target in absolute form.
fn scheme(target: &[u8]) -> bool {
    let colon = target.iter().position(|b| *b == b':').unwrap_or(0);
    colon > 0
        && target[..colon].iter().all(u8::is_ascii_alphanumeric)
        && target[colon..].starts_with(b"://")
}

fn escapes_are_whole(path: &[u8]) -> bool {
    let mut parts = path.split(|b| *b == b'%');
    parts.next();
    parts.all(|p| p.len() >= 2 && p[..2].iter().all(u8::is_ascii_hexdigit))
}

/// Bytes that the `http` crate takes in both path and query.
fn is_plain(b: u8) -> bool {
    matches!(b, 0x21 | 0x24..=0x3b | 0x3d | 0x3f..=0x5f | 0x61..=0x7a | 0x7c | 0x7e)
}

fn escape(target: &[u8]) -> Vec<u8> {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = Vec::with_capacity(target.len() + 32);
    for b in target {
        if is_plain(*b) {
            out.push(*b);
        } else {
            out.extend([b'%', HEX[usize::from(b >> 4)], HEX[usize::from(b & 15)]]);
        }
    }
    out
}

/// What the fields say about the request's own framing and connection.
#[derive(Default)]
struct Facts {
    hosts: usize,
    length: Option<u64>,
    codings: usize,
    close: bool,
    keep: bool,
    expects_continue: bool,
}

impl Facts {
    /// Reads a field, if it is one of ours. RFC 9112, section 6.3, for what is refused.
    fn read(&mut self, name: &HeaderName, value: &[u8]) -> Result<(), Reject> {
        match *name {
            HOST => {
                self.hosts += 1;
                if self.hosts > 1 {
                    return Err(Reject::BadRequest(""));
                }
                if !value.iter().all(|b| in_host(*b)) {
                    return Err(Reject::BadRequest("malformed Host header"));
                }
            }
            CONTENT_LENGTH => {
                let n = length(value).ok_or(Reject::BadRequest(""))?;
                if self.length.is_some_and(|before| before != n) {
                    return Err(Reject::BadRequest(""));
                }
                self.length = Some(n);
            }
            TRANSFER_ENCODING => {
                if !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(Reject::TransferEncoding);
                }
                self.codings += 1;
            }
            CONNECTION => options(value, &mut self.close, &mut self.keep),
            EXPECT => {
                if !value.eq_ignore_ascii_case(b"100-continue") {
                    return Err(Reject::Expectation);
                }
                self.expects_continue = true;
            }
            _ => {}
        }
        Ok(())
    }
}

/// Digits alone, unlike what Rust's own parser takes, and no more than 63 bits.
fn length(value: &[u8]) -> Option<u64> {
    if !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let n: i64 = std::str::from_utf8(value).ok()?.parse().ok()?;
    u64::try_from(n).ok()
}

/// Bytes of a host and port (RFC 3986, section 3.2.2), as Go takes them.
fn in_host(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!$%&'()*+,-.:;=[]_~".contains(&b)
}

/// The options of a `Connection` field.
fn options(value: &[u8], close: &mut bool, keep: &mut bool) {
    for option in value.split(|b| *b == b',') {
        let option = option.trim_ascii();
        *close |= option.eq_ignore_ascii_case(b"close");
        *keep |= option.eq_ignore_ascii_case(b"keep-alive");
    }
}

fn headers(head: &Bytes, fields: &[u8]) -> Result<(HeaderMap, Facts), Reject> {
    let mut some = [httparse::EMPTY_HEADER; FIELDS];
    match httparse::parse_headers(fields, &mut some) {
        Ok(httparse::Status::Complete((_, found))) => collect(head, found),
        Err(httparse::Error::TooManyHeaders) => {
            let mut many = vec![httparse::EMPTY_HEADER; MANY_FIELDS];
            match httparse::parse_headers(fields, &mut many) {
                Ok(httparse::Status::Complete((_, found))) => collect(head, found),
                Err(httparse::Error::TooManyHeaders) => Err(Reject::TooLarge),
                _ => Err(Reject::BadRequest("")),
            }
        }
        _ => Err(Reject::BadRequest("")),
    }
}

fn collect(head: &Bytes, found: &[httparse::Header<'_>]) -> Result<(HeaderMap, Facts), Reject> {
    let mut headers = HeaderMap::with_capacity(found.len());
    let mut facts = Facts::default();
    for field in found {
        let name = HeaderName::from_bytes(field.name.as_bytes())
            .map_err(|_| Reject::BadRequest("invalid header name"))?;
        facts.read(&name, field.value)?;
        let value = HeaderValue::from_maybe_shared(head.slice_ref(field.value))
            .map_err(|_| Reject::BadRequest("invalid header value"))?;
        headers
            .try_append(name, value)
            .map_err(|_| Reject::TooLarge)?;
    }
    Ok((headers, facts))
}

/// Whether an answer's own `Connection` says close.
pub(crate) fn says_close(headers: &HeaderMap) -> bool {
    let (mut close, mut keep) = (false, false);
    for value in headers.get_all(CONNECTION) {
        options(value.as_bytes(), &mut close, &mut keep);
    }
    close
}

fn is_token(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: impl AsRef<[u8]>) -> Result<Head, Reject> {
        parse(&Bytes::copy_from_slice(text.as_ref()))
    }

    fn get(target: &str) -> Result<String, Reject> {
        read(format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n"))
            .map(|h| h.request.uri().to_string())
    }

    const BAD: Reject = Reject::BadRequest("");

    #[test]
    fn a_plain_request() {
        let head = read("PUT /v1/kv/a?cas=0 HTTP/1.1\r\nHost: x:1\r\nX-Consul-Token: t \r\nContent-Length: 3\r\n\r\n")
            .expect("good");
        assert_eq!(head.request.method(), Method::PUT);
        assert_eq!(head.request.uri(), "/v1/kv/a?cas=0");
        assert_eq!(head.request.headers()["x-consul-token"], "t");
        assert_eq!(head.coding, Coding::Length(3));
        assert!(head.keep_alive && !head.expects_continue);
    }

    #[test]
    fn ends_are_found_however_the_bytes_come() {
        for text in [
            &b"GET / HTTP/1.1\r\nHost: x\r\n\r\nrest"[..],
            b"GET / HTTP/1.1\nHost: x\n\nrest",
        ] {
            let whole = text.len() - 4;
            let mut seen = 0;
            for n in 1..whole {
                assert_eq!(look(&text[..n], &mut seen, true), Look::More, "{n}");
            }
            assert_eq!(look(text, &mut seen, true), Look::Head(whole));
            assert_eq!(look(text, &mut 0, false), Look::Head(whole));
        }
    }

    #[test]
    fn the_preface_is_known_only_at_the_start() {
        for n in 1..PREFACE.len() {
            assert_eq!(look(&PREFACE[..n], &mut 0, true), Look::More);
        }
        assert_eq!(look(PREFACE, &mut 0, true), Look::Http2);
        assert_eq!(look(PREFACE, &mut 0, false), Look::Head(18));
        assert_eq!(look(b"PUT / HTTP/1.1\n\n", &mut 0, true), Look::Head(16));
    }

    #[test]
    fn what_is_no_http_is_refused_at_the_first_byte() {
        assert_eq!(look(b"\x16\x03\x01", &mut 0, true), Look::Reject(BAD));
    }

    #[test]
    fn request_lines_that_are_none() {
        for line in [
            "NONSENSE",
            "GET /",
            "GET / HTTP/1.1 x",
            "GET /a b HTTP/1.1",
            "GET  / HTTP/1.1",
            "G\u{e4}T / HTTP/1.1",
            "GET / HTTP/11",
            "GET / HTTP/1.1 ",
            "GET / http/1.1",
            "GET nowhere HTTP/1.1",
            "GET /%zz HTTP/1.1",
            "GET /% HTTP/1.1",
            "CONNECT a:1 HTTP/1.1",
            " / HTTP/1.1",
        ] {
            assert_eq!(
                read(format!("{line}\r\nHost: x\r\n\r\n")).err(),
                Some(BAD),
                "{line}"
            );
        }
        let later = read("GET / HTTP/1.2\r\nHost: x\r\n\r\n").expect("spoken to as 1.1");
        assert_eq!(later.request.version(), Version::HTTP_11);
        let version = read("GET / HTTP/3.0\r\nHost: x\r\n\r\n");
        assert_eq!(version.err(), Some(Reject::Version));
    }

    #[test]
    fn targets_that_go_takes() {
        assert_eq!(get("/v1/kv/%2F?a=%zz").as_deref(), Ok("/v1/kv/%2F?a=%zz"));
        assert_eq!(
            get("/a<b>\"`?q=\"<").as_deref(),
            Ok("/a%3Cb%3E%22%60?q=%22%3C")
        );
        assert_eq!(get("/a#b").as_deref(), Ok("/a%23b"));
        assert_eq!(get("/\u{e4}").as_deref(), Ok("/%C3%A4"));
        assert_eq!(get("http://h:1/p?q").as_deref(), Ok("http://h:1/p?q"));
        assert_eq!(get("//a/../b").as_deref(), Ok("//a/../b"));
        let raw = read(b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n").expect("Go takes it");
        assert_eq!(raw.request.uri(), "/%FF");
        let star = read("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n").expect("good");
        assert_eq!(star.request.uri().path(), "*");
        assert_eq!(
            get(&format!("/{}", "x".repeat(65_534))),
            Err(Reject::UriTooLong)
        );
    }

    #[test]
    fn hosts() {
        let bad = |fields: &str, version: &str| {
            read(format!("GET / HTTP/{version}\r\n{fields}\r\n")).err()
        };
        let words = |w| Some(Reject::BadRequest(w));
        assert_eq!(bad("", "1.1"), words("missing required Host header"));
        assert_eq!(bad("", "1.0"), None);
        assert_eq!(bad("Host: a\r\nHost: a\r\n", "1.1"), words(""));
        assert_eq!(bad("Host: a/b\r\n", "1.1"), words("malformed Host header"));
        assert_eq!(bad("Host:\r\n", "1.1"), None);
        assert_eq!(bad("Host: [::1]:8500\r\n", "1.1"), None);
    }

    #[test]
    fn lengths_and_codings() {
        let of = |fields: &str| {
            read(format!("PUT / HTTP/1.1\r\nHost: x\r\n{fields}\r\n"))
                .map(|h| (h.coding, h.keep_alive))
        };
        assert_eq!(
            of("Content-Length: 5\r\nContent-Length: 5\r\n"),
            Ok((Coding::Length(5), true))
        );
        assert_eq!(of("Content-Length: 5\r\nContent-Length: 6\r\n"), Err(BAD));
        for bad in [
            "+5",
            "-1",
            "5,5",
            "0x5",
            "",
            "99999999999999999999",
            "9223372036854775808",
        ] {
            assert_eq!(of(&format!("Content-Length: {bad}\r\n")), Err(BAD), "{bad}");
        }
        assert_eq!(
            of("Transfer-Encoding: Chunked\r\n"),
            Ok((Coding::Chunked, true))
        );
        assert_eq!(
            of("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"),
            Ok((Coding::Chunked, false)),
            "nothing may follow such a request"
        );
        assert_eq!(
            of("Transfer-Encoding: gzip, chunked\r\n"),
            Err(Reject::TransferEncoding)
        );
        assert_eq!(
            of("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
            Err(Reject::TransferEncoding)
        );
        let old = read("PUT / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n");
        assert_eq!(old.err(), Some(BAD));
    }

    #[test]
    fn connections_are_kept_or_not() {
        let keeps = |version: &str, fields: &str| {
            read(format!("GET / HTTP/{version}\r\nHost: x\r\n{fields}\r\n"))
                .expect("good")
                .keep_alive
        };
        assert!(keeps("1.1", ""));
        assert!(!keeps("1.1", "Connection: Close\r\n"));
        assert!(!keeps("1.1", "Connection: keep-alive, close\r\n"));
        assert!(!keeps("1.0", ""));
        assert!(keeps("1.0", "Connection: Keep-Alive\r\n"));
    }

    #[test]
    fn expectations() {
        let of = |fields: &str| {
            read(format!("PUT / HTTP/1.1\r\nHost: x\r\n{fields}\r\n")).map(|h| h.expects_continue)
        };
        assert_eq!(
            of("Expect: 100-Continue\r\nContent-Length: 5\r\n"),
            Ok(true)
        );
        assert_eq!(
            of("Expect: 100-continue\r\n"),
            Ok(false),
            "there is no body to wait for"
        );
        assert_eq!(of("Expect: tea\r\n"), Err(Reject::Expectation));
    }

    #[test]
    fn many_fields_are_fine_and_too_many_are_not() {
        let with = |n: usize| {
            let fields: String = (0..n).map(|i| format!("X-{i}: v\r\n")).collect();
            read(format!("GET / HTTP/1.1\r\nHost: x\r\n{fields}\r\n"))
        };
        assert_eq!(with(1000).expect("good").request.headers().len(), 1001);
        assert_eq!(with(5000).err(), Some(Reject::TooLarge));
        for bad in [
            "No colon\r\n",
            " Leading: x\r\n",
            "Na me: x\r\n",
            "A: b\r\n folded\r\n",
            "A: \u{0}\r\n",
        ] {
            let text = format!("GET / HTTP/1.1\r\nHost: x\r\n{bad}\r\n");
            assert!(read(text).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 1..300)) {
            let _ = look(&bytes, &mut 0, true);
            let _ = read(&bytes);
        }

        #[test]
        fn no_target_panics(target in "[ -~\u{e4}]{1,40}") {
            let _ = get(&target);
        }
    }
}
