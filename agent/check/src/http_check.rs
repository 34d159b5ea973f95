//! HTTP checks: 2xx passes, 429 warns, anything else is critical.

use crate::dial::{DialError, Dialer};
use crate::job::Outcome;
use crate::tail::Tail;
use crate::tcp::DEADLINE;
use crate::texts::io_text;
use crate::tls::{Connector, Speaks, handshake_text, is_not_tls};
use crate::url::{Url, UrlError};
use base64::Engine;
use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode, Uri, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use lictor_wire::base::Str;
use lictor_wire::catalog::Status;
use lictor_wire::checktype::CheckType;
use lictor_wire::duration::go_quote;
use std::error::Error;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout_at};

/// Who asks.
const USER_AGENT: &str = "Consul Health Check";

/// What is understood.
const ACCEPT: &str = "text/plain, text/*, */*";

/// Most requests of one run: Go's limit for redirects.
const MAX_REQUESTS: usize = 10;

/// Most bytes of an answer that are read. Only the end of an output is kept, but a body that
/// never ends should not keep a processor busy until the time limit.
const MAX_BODY: u64 = 16 << 20;

/// Headers that say how a message is sent: ours to decide, not the definition's.
const OF_THE_CONNECTION: [HeaderName; 6] = [
    header::HOST,
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::TRAILER,
    header::UPGRADE,
];

/// An HTTP check.
pub(crate) struct HttpCheck {
    /// The URL as the definition has it: part of the output.
    given: Str,
    /// The method as the definition has it; never empty.
    word: Str,
    /// What is asked, or the whole output if it cannot be.
    ask: Result<Ask, String>,
    tls_server_name: Str,
    tls_skip_verify: bool,
    disable_redirects: bool,
    timeout: Duration,
    limit: usize,
}

/// A request that can be repeated.
#[derive(Clone)]
struct Ask {
    method: Method,
    url: Url,
    /// The `Host` header, if it is not the URL's.
    host: Option<HeaderValue>,
    headers: HeaderMap,
    body: Bytes,
}

/// An answer, and the connection that its body still comes from.
struct Answer {
    response: Response<Incoming>,
    connection: Connection,
}

impl HttpCheck {
    pub(crate) fn new(check: &CheckType, timeout: Duration, limit: usize) -> HttpCheck {
        let given = if check.proxy_http.is_empty() {
            &check.http
        } else {
            &check.proxy_http
        };
        let word = if check.method.is_empty() {
            "GET".into()
        } else {
            check.method.clone()
        };
        HttpCheck {
            ask: Ask::new(check, given, &word),
            given: given.clone(),
            word,
            tls_server_name: check.tls_server_name.clone(),
            tls_skip_verify: check.tls_skip_verify,
            disable_redirects: check.disable_redirects,
            timeout,
            limit,
        }
    }

    pub(crate) async fn run(&self, dialer: &Dialer, connector: &Connector) -> Outcome {
        let deadline = Instant::now() + self.timeout;
        let mut ask = match &self.ask {
            Ok(ask) => ask.clone(),
            Err(why) => return Outcome::critical(why.as_str()),
        };
        for _ in 0..MAX_REQUESTS {
            let failed = |why: &str| {
                Outcome::critical(format!(
                    "{} {}: {why}",
                    title(&self.word),
                    go_quote(&ask.url.shown())
                ))
            };
            let answer = match timeout_at(
                deadline,
                self.exchange(&ask, dialer, connector, deadline),
            )
            .await
            {
                Ok(Ok(answer)) => answer,
                Ok(Err(Some(why))) => return failed(&why),
                Ok(Err(None)) | Err(_) => {
                    return failed(&format!(
                        "{DEADLINE} (Client.Timeout exceeded while awaiting headers)"
                    ));
                }
            };
            let next = if self.disable_redirects {
                None
            } else {
                ask.redirected(&answer.response)
            };
            match next {
                None => return self.judge(answer, deadline).await,
                Some(Ok(next)) => ask = next,
                Some(Err(why)) => return failed(&why),
            }
        }
        let url = go_quote(&ask.url.shown());
        Outcome::critical(format!(
            "{} {url}: stopped after {MAX_REQUESTS} redirects",
            title(&self.word)
        ))
    }

    /// Connects and asks. An error is the text to show; `None` if the time was up.
    async fn exchange(
        &self,
        ask: &Ask,
        dialer: &Dialer,
        connector: &Connector,
        deadline: Instant,
    ) -> Result<Answer, Option<String>> {
        let url = &ask.url;
        let host = if url.host.contains(':') {
            format!("[{}]", url.host)
        } else {
            url.host.clone()
        };
        let address = format!("{host}:{}", url.port_or_default());
        let stream = dialer
            .connect(&address, deadline)
            .await
            .map_err(|e| match e {
                DialError::Timeout(_) => None,
                failed => Some(failed.text("tcp", &address)),
            })?;
        let path = match (stream.local_addr(), stream.peer_addr()) {
            (Ok(local), Ok(peer)) => format!("{local}->{peer}"),
            _ => address,
        };
        if !url.tls {
            return over_http1(stream, ask, &path).await.map_err(Some);
        }
        let name = if self.tls_server_name.is_empty() {
            url.host.as_str()
        } else {
            self.tls_server_name.as_str()
        };
        let shaken = connector
            .connect(stream, name, self.tls_skip_verify, Speaks::Http)
            .await;
        let stream = shaken.map_err(|e| {
            Some(if is_not_tls(&e) {
                "http: server gave HTTP response to HTTPS client".to_owned()
            } else {
                handshake_text(&e)
            })
        })?;
        let answer = match stream.get_ref().1.alpn_protocol() {
            Some(b"h2") => over_http2(stream, ask, &path).await,
            _ => over_http1(stream, ask, &path).await,
        };
        answer.map_err(Some)
    }

    /// Reads the answer's body as far as time and limit allow, and judges by the status.
    async fn judge(&self, answer: Answer, deadline: Instant) -> Outcome {
        let Answer {
            response,
            mut connection,
        } = answer;
        let line = status_line(&response);
        let code = response.status();
        let mut tail = Tail::new(self.limit);
        let mut body = response.into_body();
        let read = async {
            // A body that breaks off, or does not end in time, has still said its status.
            while let Some(Ok(frame)) = body.frame().await {
                if let Some(data) = frame.data_ref() {
                    tail.write(data);
                }
                if tail.total() > MAX_BODY {
                    break;
                }
            }
        };
        let _ = timeout_at(deadline, connection.beside(read)).await;
        let output = format!(
            "HTTP {} {}: {line} Output: {}",
            self.word,
            self.given,
            tail.text()
        );
        let status = match code {
            code if code.is_success() => Status::Passing,
            StatusCode::TOO_MANY_REQUESTS => Status::Warning,
            _ => Status::Critical,
        };
        Outcome::new(status, output)
    }
}

impl Ask {
    fn new(check: &CheckType, given: &str, word: &str) -> Result<Ask, String> {
        let method = Method::from_bytes(word.as_bytes())
            .map_err(|_| format!("net/http: invalid method {}", go_quote(word)))?;
        let unusable = |why: String| format!("{} {}: {why}", title(word), go_quote(given));
        let url = Url::parse(given).map_err(|e| match e {
            UrlError::Parse(why) => why,
            UrlError::Unusable(why) => unusable(why),
        })?;
        let mut headers = HeaderMap::new();
        let mut host = None;
        for (name, values) in &check.header {
            let key = HeaderName::from_bytes(name.as_bytes()).map_err(|_| {
                unusable(format!(
                    "net/http: invalid header field name {}",
                    go_quote(name)
                ))
            })?;
            for value in values {
                let value = HeaderValue::from_bytes(value.trim().as_bytes()).map_err(|_| {
                    unusable(format!(
                        "net/http: invalid header field value for {}",
                        go_quote(name)
                    ))
                })?;
                if key == header::HOST {
                    host = host.or(Some(value)).filter(|host| !host.is_empty());
                } else if !OF_THE_CONNECTION.contains(&key) {
                    headers.append(key.clone(), value);
                }
            }
        }
        headers
            .entry(header::USER_AGENT)
            .or_insert(HeaderValue::from_static(USER_AGENT));
        headers
            .entry(header::ACCEPT)
            .or_insert(HeaderValue::from_static(ACCEPT));
        if let Some(credentials) = url.credentials() {
            let text = format!(
                "Basic {}",
                base64::engine::general_purpose::STANDARD.encode(credentials)
            );
            if let Ok(value) = HeaderValue::from_str(&text) {
                headers.entry(header::AUTHORIZATION).or_insert(value);
            }
        }
        let body = Bytes::copy_from_slice(check.body.as_bytes());
        Ok(Ask {
            method,
            url,
            host,
            headers,
            body,
        })
    }

    /// The request that a redirect leads to; `None` if the answer is none.
    fn redirected(&self, response: &Response<Incoming>) -> Option<Result<Ask, String>> {
        let keeps_method = match response.status().as_u16() {
            301..=303 => false,
            307 | 308 => true,
            _ => return None,
        };
        let location = response
            .headers()
            .get(header::LOCATION)
            .filter(|l| !l.is_empty())?;
        let location = String::from_utf8_lossy(location.as_bytes());
        let (url, absolute) = match self.url.join(&location) {
            Ok(joined) => joined,
            Err(UrlError::Parse(why)) => {
                return Some(Err(format!(
                    "failed to parse Location header {}: {why}",
                    go_quote(&location)
                )));
            }
            Err(UrlError::Unusable(why)) => return Some(Err(why)),
        };
        let mut next = Ask {
            url,
            ..self.clone()
        };
        if absolute {
            next.host = None;
        }
        if !keeps_method {
            if next.method != Method::HEAD {
                next.method = Method::GET;
            }
            next.body = Bytes::new();
        }
        if !is_within(&next.url.host, &self.url.host) {
            for secret in [
                header::AUTHORIZATION,
                header::WWW_AUTHENTICATE,
                header::COOKIE,
            ] {
                next.headers.remove(secret);
            }
        }
        Some(Ok(next))
    }

    /// The request as one of the two versions sends it. Go's error text if it cannot be.
    fn request(&self, version: Version) -> Result<Request<Full<Bytes>>, String> {
        let host = match &self.host {
            Some(host) => host.clone(),
            None => HeaderValue::from_str(&self.url.authority).map_err(|e| e.to_string())?,
        };
        let target = self.url.target();
        let mut headers = self.headers.clone();
        let uri = if version == Version::HTTP_2 {
            let authority = host.to_str().map_err(|e| e.to_string())?;
            format!("https://{authority}{target}")
        } else {
            headers.insert(header::HOST, host);
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            target
        };
        let has_body = matches!(self.method, Method::POST | Method::PUT | Method::PATCH);
        if has_body && self.body.is_empty() {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        let mut request = Request::new(Full::new(self.body.clone()));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = uri.parse::<Uri>().map_err(|e| e.to_string())?;
        *request.version_mut() = version;
        *request.headers_mut() = headers;
        Ok(request)
    }
}

async fn over_http1<S>(stream: S, ask: &Ask, path: &str) -> Result<Answer, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let request = ask.request(Version::HTTP_11)?;
    let io = TokioIo::new(stream);
    let (mut sender, connection) = http1::Builder::new()
        .title_case_headers(true)
        .handshake(io)
        .await
        .map_err(|e| hyper_text(&e, path))?;
    let mut connection = Connection::new(connection);
    let response = connection
        .beside(sender.send_request(request))
        .await
        .map_err(|e| hyper_text(&e, path))?;
    Ok(Answer {
        response,
        connection,
    })
}

async fn over_http2<S>(stream: S, ask: &Ask, path: &str) -> Result<Answer, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let request = ask.request(Version::HTTP_2)?;
    let io = TokioIo::new(stream);
    let (mut sender, connection) = http2::Builder::new(TokioExecutor::new())
        .handshake(io)
        .await
        .map_err(|e| hyper_text(&e, path))?;
    let mut connection = Connection::new(connection);
    let response = connection
        .beside(sender.send_request(request))
        .await
        .map_err(|e| hyper_text(&e, path))?;
    Ok(Answer {
        response,
        connection,
    })
}

/// The half of a connection that moves the bytes: it has to be driven while something waits for
/// them. In the same task, so that a run that is given up takes its connection with it.
pub(crate) struct Connection(Option<Pin<Box<dyn Future<Output = ()> + Send>>>);

impl Connection {
    pub(crate) fn new<E>(
        connection: impl Future<Output = Result<(), E>> + Send + 'static,
    ) -> Connection {
        // What went wrong in it is said to whoever waits for an answer, too.
        Connection(Some(Box::pin(async { _ = connection.await })))
    }

    /// Drives the connection until `work` is done.
    pub(crate) async fn beside<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        poll_fn(|cx| {
            if self
                .0
                .as_mut()
                .is_some_and(|connection| connection.as_mut().poll(cx).is_ready())
            {
                self.0 = None;
            }
            work.as_mut().poll(cx)
        })
        .await
    }
}

/// What went wrong between request and answer, as Go says it. `path` is `local->peer`.
fn hyper_text(error: &hyper::Error, path: &str) -> String {
    if let Some(io) = io_cause(error).filter(|io| io.kind() != io::ErrorKind::UnexpectedEof) {
        let call = if io.kind() == io::ErrorKind::BrokenPipe {
            "write"
        } else {
            "read"
        };
        return format!("{call} tcp {path}: {call}: {}", io_text(io));
    }
    if error.is_parse() {
        return "net/http: HTTP/1.x transport connection broken: malformed HTTP response"
            .to_owned();
    }
    if error.is_incomplete_message()
        || error.is_closed()
        || error.is_canceled()
        || io_cause(error).is_some()
    {
        return "EOF".to_owned();
    }
    error
        .source()
        .map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}

fn io_cause<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a io::Error> {
    let mut cause = Some(error);
    while let Some(e) = cause {
        if let Some(io) = e.downcast_ref() {
            return Some(io);
        }
        cause = e.source();
    }
    None
}

/// The status with its words: those the server sent, or the usual ones.
fn status_line(response: &Response<Incoming>) -> String {
    let code = response.status();
    let words = match response.extensions().get::<hyper::ext::ReasonPhrase>() {
        Some(own) => String::from_utf8_lossy(own.as_bytes()).into_owned(),
        None => code.canonical_reason().unwrap_or_default().to_owned(),
    };
    format!("{} {words}", code.as_u16())
}

/// `POST` as Go begins its messages: `Post`.
fn title(word: &str) -> String {
    let mut chars = word.chars();
    chars
        .next()
        .into_iter()
        .chain(chars.flat_map(char::to_lowercase))
        .collect()
}

/// Whether a host is another one or lies below it, so that secrets may follow a redirect there.
fn is_within(host: &str, parent: &str) -> bool {
    let (host, parent) = (host.to_ascii_lowercase(), parent.to_ascii_lowercase());
    host == parent
        || (!host.contains(':')
            && host
                .strip_suffix(&parent)
                .is_some_and(|front| front.ends_with('.')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_asked_is_said_as_go_says_it() {
        let why = |method: &str, url: &str, header: &str| {
            let mut check = CheckType {
                http: url.into(),
                method: method.into(),
                ..CheckType::default()
            };
            check
                .header
                .insert(header.to_owned(), vec!["a\nb".to_owned()]);
            if header == "X" {
                check.header.clear();
            }
            HttpCheck::new(&check, Duration::ZERO, 1)
                .ask
                .map(|_| ())
                .unwrap_err()
        };
        assert_eq!(
            why("B D", "http://x/", "X"),
            r#"net/http: invalid method "B D""#
        );
        assert_eq!(
            why("POST", "ftp://x/", "X"),
            r#"Post "ftp://x/": unsupported protocol scheme "ftp""#
        );
        assert_eq!(
            why("", "http://x/%zz", "X"),
            r#"parse "http://x/%zz": invalid URL escape "%zz""#
        );
        assert_eq!(
            why("", "http://x/", "X-Y"),
            r#"Get "http://x/": net/http: invalid header field value for "X-Y""#
        );
        assert_eq!(
            why("", "http://x/", "X Y"),
            r#"Get "http://x/": net/http: invalid header field name "X Y""#
        );
    }

    #[test]
    fn the_definition_chooses_headers_but_not_the_framing() {
        let mut check = CheckType {
            http: "http://u:p@x:1/y".into(),
            method: "POST".into(),
            body: "b".into(),
            ..CheckType::default()
        };
        for (name, value) in [
            ("Host", "other"),
            ("content-length", "7"),
            ("X-A", "1"),
            ("Connection", "keep-alive"),
        ] {
            check
                .header
                .insert(name.to_owned(), vec![value.to_owned(), "second".to_owned()]);
        }
        let ask = HttpCheck::new(&check, Duration::ZERO, 1)
            .ask
            .unwrap_or_else(|e| panic!("{e}"));
        let request = ask.request(Version::HTTP_11).unwrap();
        let all = |name: &str| {
            request
                .headers()
                .get_all(name)
                .iter()
                .map(|v| v.to_str().unwrap())
                .collect::<Vec<_>>()
        };
        assert_eq!(all("host"), ["other"]);
        assert_eq!(all("x-a"), ["1", "second"]);
        assert_eq!(all("connection"), ["close"]);
        assert_eq!(all("content-length"), Vec::<&str>::new());
        assert_eq!(all("authorization"), ["Basic dTpw"]);
        assert_eq!(all("user-agent"), [USER_AGENT]);
        assert_eq!(request.uri(), "/y");
        assert_eq!(
            ask.request(Version::HTTP_2).unwrap().uri(),
            "https://other/y"
        );
    }

    #[test]
    fn secrets_follow_only_below_the_same_host() {
        assert!(is_within("a.test", "A.test") && is_within("b.a.test", "a.test"));
        assert!(!is_within("ba.test", "a.test") && !is_within("test", "a.test"));
        assert_eq!(
            (
                title("POST").as_str(),
                title("get").as_str(),
                title("").as_str()
            ),
            ("Post", "get", "")
        );
    }
}
