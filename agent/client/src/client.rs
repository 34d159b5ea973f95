//! Requests and answers.

use crate::config::ClientConfig;
use crate::error::Error;
use crate::query::{QueryOptions, encode_query, escape_path};
use crate::transport::{Lease, SharedTransport, Transport, broken_text};
use base64::Engine;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use std::time::Duration;

/// A client of one agent. Clones share its connections.
#[derive(Clone)]
pub struct Client {
    config: Arc<ClientConfig>,
    transport: SharedTransport,
    base_url: Arc<str>,
    host: HeaderValue,
    prefix: Arc<str>,
    token: Option<HeaderValue>,
    authorization: Option<HeaderValue>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("url", &self.base_url)
            .finish_non_exhaustive()
    }
}

/// A request to be sent.
#[derive(Clone, Debug)]
pub struct Request {
    method: Method,
    path: String,
    params: Vec<(String, String)>,
    raw_query: Option<String>,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Bytes,
    timeout: Option<Duration>,
}

impl Request {
    /// A request for a plain path (`/v1/kv/a b`), which is escaped on the way.
    pub fn new(method: Method, path: &str) -> Request {
        Request::encoded(method, &escape_path(path))
    }

    /// A request for a path that is already escaped, or that is meant to be odd.
    pub fn encoded(method: Method, path: &str) -> Request {
        Request {
            method,
            path: path.to_owned(),
            params: Vec::new(),
            raw_query: None,
            headers: Vec::new(),
            body: Bytes::new(),
            timeout: None,
        }
    }

    /// Adds a parameter.
    pub fn param(mut self, key: &str, value: impl Into<String>) -> Request {
        self.params.push((key.to_owned(), value.into()));
        self
    }

    /// Adds the parameters of a read.
    pub fn options(mut self, options: &QueryOptions) -> Request {
        self.params.extend(options.to_params());
        self
    }

    /// Sets the whole query string, as it is; parameters added otherwise are not sent then.
    pub fn raw_query(mut self, query: &str) -> Request {
        self.raw_query = Some(query.to_owned());
        self
    }

    /// Adds a header; one that HTTP does not allow is left out.
    pub fn header(mut self, name: &str, value: &str) -> Request {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            self.headers.push((name, value));
        }
        self
    }

    /// Sets the body.
    pub fn body(mut self, body: impl Into<Bytes>) -> Request {
        self.body = body.into();
        self
    }

    /// Sets the body to a value's JSON.
    pub fn json<T: serde::Serialize + ?Sized>(self, value: &T) -> Request {
        self.body(lictor_wire::gojson::to_vec(value))
            .header("content-type", "application/json")
    }

    /// Limits this exchange; wins over the client's own limit.
    pub fn timeout(mut self, limit: Duration) -> Request {
        self.timeout = Some(limit);
        self
    }

    fn has_param(&self, key: &str) -> bool {
        self.params.iter().any(|(k, _)| k == key)
    }
}

/// What the agent says about the answer to a read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueryMeta {
    /// The index of the result, to wait for the next; zero where the answer has none.
    pub index: u64,
    /// Milliseconds since the answering server heard its leader.
    pub last_contact_ms: u64,
    /// Whether a leader is known.
    pub known_leader: bool,
    /// Whether the token's rights hid rows.
    pub filtered_by_acls: bool,
    /// Whether the agent's cache answered.
    pub cache_hit: bool,
}

/// An answer, read to its end.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    path: String,
}

impl Response {
    /// A header's text; nothing if it is absent or not text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// What the headers say about the result.
    pub fn meta(&self) -> QueryMeta {
        let number = |name| self.header(name).and_then(|v| v.parse().ok()).unwrap_or(0);
        let truth = |name| self.header(name) == Some("true");
        QueryMeta {
            index: number("x-consul-index"),
            last_contact_ms: number("x-consul-lastcontact"),
            known_leader: truth("x-consul-knownleader"),
            filtered_by_acls: truth("x-consul-results-filtered-by-acls"),
            cache_hit: self.header("x-cache") == Some("HIT"),
        }
    }

    /// The body as text; bytes that are no UTF-8 are replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// This answer if its status is a success.
    ///
    /// # Errors
    /// [`Error::Status`] otherwise.
    pub fn ok(self) -> Result<Response, Error> {
        if self.status.is_success() {
            return Ok(self);
        }
        Err(Error::Status {
            code: self.status.as_u16(),
            text: self.text().trim().to_owned(),
        })
    }

    /// The body, decoded.
    ///
    /// # Errors
    /// [`Error::Decode`] if it is not what is expected.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_slice(&self.body).map_err(|source| Error::Decode {
            url: self.path.clone(),
            source,
        })
    }
}

/// An answer that is still coming in.
pub struct Streaming {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    method: Method,
    url: String,
    body: Incoming,
    _lease: Lease,
}

/// Bytes of an error's text that are kept.
const ERROR_TEXT: usize = 4096;

impl Streaming {
    /// This answer if its status is a success.
    ///
    /// # Errors
    /// [`Error::Status`] otherwise; its text is read within `limit`.
    pub async fn ok(mut self, limit: Duration) -> Result<Streaming, Error> {
        if self.status.is_success() {
            return Ok(self);
        }
        let mut text = Vec::new();
        let read = async {
            while let Ok(Some(piece)) = self.chunk().await {
                text.extend_from_slice(&piece);
                if text.len() >= ERROR_TEXT {
                    break;
                }
            }
        };
        // What has come until then is what can be said.
        let _ = tokio::time::timeout(limit, read).await;
        text.truncate(ERROR_TEXT);
        Err(Error::Status {
            code: self.status.as_u16(),
            text: String::from_utf8_lossy(&text).trim().to_owned(),
        })
    }

    /// The next piece of the body; `None` at its end.
    ///
    /// # Errors
    /// [`Error::Broken`] if the connection ends before the body does.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        while let Some(frame) = self.body.frame().await {
            let frame = frame.map_err(|err| Error::Broken {
                method: self.method.to_string(),
                url: self.url.clone(),
                what: broken_text(&err),
            })?;
            if let Ok(data) = frame.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }
}

fn secret_header(text: &str, what: &str) -> Result<HeaderValue, Error> {
    let mut value = HeaderValue::try_from(text)
        .map_err(|_| Error::Config(format!("{what} has characters that HTTP does not allow")))?;
    value.set_sensitive(true);
    Ok(value)
}

impl Client {
    /// A client of the agent that `config` names. Reads the files it names; connects later.
    ///
    /// # Errors
    /// [`Error::Config`] if the address makes no sense or a file cannot be used.
    pub fn new(config: ClientConfig) -> Result<Client, Error> {
        let endpoint = config.endpoint()?;
        let token = match &config.token_file {
            Some(path) => {
                let text = std::fs::read_to_string(path).map_err(|err| {
                    Error::Config(format!(
                        "Error loading token file: cannot read {}: {err}",
                        path.display()
                    ))
                })?;
                let text = text.trim().to_owned();
                if text.is_empty() {
                    config.token.clone()
                } else {
                    Some(text)
                }
            }
            None => config.token.clone(),
        };
        let authorization = config.auth.as_ref().map(|auth| {
            let pair = format!("{}:{}", auth.user, auth.password);
            format!(
                "Basic {}",
                base64::engine::general_purpose::STANDARD.encode(pair)
            )
        });
        let base_url = endpoint.base_url();
        let (host, prefix) = match &endpoint {
            crate::Endpoint::Tcp {
                authority, prefix, ..
            } => (authority.clone(), prefix.clone()),
            crate::Endpoint::Unix(_) => ("localhost".to_owned(), String::new()),
        };
        Ok(Client {
            host: HeaderValue::try_from(host)
                .map_err(|_| Error::Config(format!("invalid address {:?}", config.address)))?,
            prefix: escape_path(&prefix).into(),
            token: token.map(|t| secret_header(&t, "the token")).transpose()?,
            authorization: authorization
                .map(|a| secret_header(&a, "the user name or password"))
                .transpose()?,
            transport: Arc::new(Transport::new(&config, endpoint)?),
            base_url: base_url.into(),
            config: Arc::new(config),
        })
    }

    /// The configuration it was made from.
    pub fn config(&self) -> &ClientConfig {
        &self.config
    }

    /// The first part of every URL, for messages.
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    fn prepare(
        &self,
        request: Request,
    ) -> Result<(http::Request<Full<Bytes>>, String, String), Error> {
        let mut request = request;
        if !self.config.datacenter.is_empty() && !request.has_param("dc") {
            request
                .params
                .push(("dc".to_owned(), self.config.datacenter.clone()));
        }
        let query = request
            .raw_query
            .unwrap_or_else(|| encode_query(&request.params));
        let mut target = request.path;
        if !query.is_empty() {
            target.push('?');
            target.push_str(&query);
        }
        let url = format!("{}{target}", self.base_url);
        let path = target.clone();
        let mut built = http::Request::builder()
            .method(request.method)
            .uri(format!("{}{target}", self.prefix))
            .body(Full::new(request.body))
            .map_err(|err| Error::Config(format!("{url} is not a URL: {err}")))?;
        let headers = built.headers_mut();
        headers.insert(http::header::HOST, self.host.clone());
        headers.insert(
            http::header::USER_AGENT,
            HeaderValue::from_static(concat!("lictor/", env!("CARGO_PKG_VERSION"))),
        );
        if let Some(token) = &self.token {
            headers.insert(HeaderName::from_static("x-consul-token"), token.clone());
        }
        if let Some(authorization) = &self.authorization {
            headers.insert(http::header::AUTHORIZATION, authorization.clone());
        }
        for (name, value) in request.headers {
            headers.insert(name, value);
        }
        Ok((built, url, path))
    }

    /// Sends a request and reads the whole answer, whatever its status.
    ///
    /// # Errors
    /// No connection, a broken one, no answer in time, or one larger than allowed.
    pub async fn send(&self, request: Request) -> Result<Response, Error> {
        let limit = request.timeout.or(self.config.timeout);
        let method = request.method.clone();
        let (built, url, path) = self.prepare(request)?;
        let whole = self.send_prepared(built, &method, &url, path);
        match limit {
            None => whole.await,
            Some(limit) => match tokio::time::timeout(limit, whole).await {
                Ok(result) => result,
                Err(_) => Err(Error::Timeout {
                    method: method.to_string(),
                    url: url.clone(),
                    limit,
                }),
            },
        }
    }

    async fn send_prepared(
        &self,
        request: http::Request<Full<Bytes>>,
        method: &Method,
        url: &str,
        path: String,
    ) -> Result<Response, Error> {
        let (response, lease) = self.transport.exchange(request, url).await?;
        let (parts, mut body) = response.into_parts();
        let mut collected = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|err| Error::Broken {
                method: method.to_string(),
                url: url.to_owned(),
                what: broken_text(&err),
            })?;
            if let Ok(data) = frame.into_data() {
                if collected.len() + data.len() > self.config.max_answer {
                    return Err(Error::TooLarge {
                        url: url.to_owned(),
                        limit: self.config.max_answer,
                    });
                }
                collected.extend_from_slice(&data);
            }
        }
        self.transport.give_back(lease);
        Ok(Response {
            status: parts.status,
            headers: parts.headers,
            body: collected.freeze(),
            path,
        })
    }

    /// Sends a request and gives its answer piece by piece. Only the head is waited for, and only
    /// the head is limited in time.
    ///
    /// # Errors
    /// No connection, a broken one, or no head in time.
    pub async fn stream(&self, request: Request) -> Result<Streaming, Error> {
        let limit = request.timeout.or(self.config.timeout);
        let method = request.method.clone();
        let (built, url, _) = self.prepare(request)?;
        let head = self.transport.exchange(built, &url);
        let (response, lease) = match limit {
            None => head.await?,
            Some(limit) => {
                tokio::time::timeout(limit, head)
                    .await
                    .map_err(|_| Error::Timeout {
                        method: method.to_string(),
                        url: url.clone(),
                        limit,
                    })??
            }
        };
        let (parts, body) = response.into_parts();
        Ok(Streaming {
            status: parts.status,
            headers: parts.headers,
            method,
            url,
            body,
            _lease: lease,
        })
    }

    /// Sends any request: a method, a plain path, parameters and a body.
    ///
    /// # Errors
    /// As [`Client::send`]; a method that HTTP does not allow is [`Error::Config`].
    pub async fn raw(
        &self,
        method: &str,
        path: &str,
        query: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Response, Error> {
        let method = Method::from_bytes(method.as_bytes())
            .map_err(|_| Error::Config(format!("{method:?} is not a method")))?;
        let mut request = Request::new(method, path).body(body);
        for (k, v) in query {
            request = request.param(k, *v);
        }
        self.send(request).await
    }

    /// Reads a path and decodes its answer.
    ///
    /// # Errors
    /// As [`Client::send`], another status than success, or an answer of another form.
    pub async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        options: &QueryOptions,
    ) -> Result<(T, QueryMeta), Error> {
        self.read(Request::new(Method::GET, path).options(options))
            .await
    }

    /// Sends a request and decodes its answer.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn read<T: DeserializeOwned>(
        &self,
        request: Request,
    ) -> Result<(T, QueryMeta), Error> {
        let response = self.send(request).await?.ok()?;
        Ok((response.json()?, response.meta()))
    }

    /// Sends a request whose answer does not matter beyond its success.
    ///
    /// # Errors
    /// As [`Client::send`], or another status than success.
    pub async fn tell(&self, request: Request) -> Result<(), Error> {
        self.send(request).await?.ok().map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    /// Serves the given answers, one per request, `per_connection` on each connection; gives back
    /// the heads of the requests and how many connections there were.
    async fn serve(
        listener: TcpListener,
        answers: Vec<&'static str>,
        per_connection: usize,
    ) -> (Vec<String>, usize) {
        let (mut heads, mut connections) = (Vec::new(), 0);
        let mut answers = answers.into_iter().peekable();
        while answers.peek().is_some() {
            let (mut io, _) = listener.accept().await.unwrap();
            connections += 1;
            for _ in 0..per_connection {
                let Some(answer) = answers.next() else { break };
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    if io.read(&mut byte).await.unwrap() == 0 {
                        return (heads, connections);
                    }
                    head.push(byte[0]);
                }
                heads.push(String::from_utf8(head).unwrap());
                io.write_all(answer.as_bytes()).await.unwrap();
            }
        }
        (heads, connections)
    }

    async fn agent(
        answers: Vec<&'static str>,
        per_connection: usize,
    ) -> (Client, tokio::task::JoinHandle<(Vec<String>, usize)>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let task = tokio::spawn(serve(listener, answers, per_connection));
        let config = ClientConfig {
            token: Some("t1".into()),
            datacenter: "dc9".into(),
            ..ClientConfig::at(address)
        };
        (Client::new(config).unwrap(), task)
    }

    #[tokio::test]
    async fn requests_carry_token_datacenter_and_options_and_share_a_connection() {
        let (client, task) = agent(
            vec![
                "HTTP/1.1 200 OK\r\nX-Consul-Index: 7\r\nX-Consul-KnownLeader: true\r\nContent-Length: 6\r\n\r\n[\"a\"]\n",
                "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 10\r\n\r\nno leader\n",
            ],
            2,
        )
        .await;
        let options = QueryOptions {
            stale: true,
            ..QueryOptions::default()
        };
        let (list, meta): (Vec<String>, _) = client.get("/v1/x y", &options).await.unwrap();
        assert_eq!(
            (list, meta.index, meta.known_leader),
            (vec!["a".to_owned()], 7, true)
        );
        let err = client
            .tell(Request::new(Method::PUT, "/v1/z").param("dc", "other"))
            .await
            .unwrap_err();
        assert_eq!(err.to_string(), "Unexpected response code: 500 (no leader)");
        let (heads, connections) = task.await.unwrap();
        assert_eq!(connections, 1);
        assert!(
            heads[0].starts_with("GET /v1/x%20y?dc=dc9&stale= HTTP/1.1\r\n"),
            "{}",
            heads[0]
        );
        assert!(heads[0].to_lowercase().contains("x-consul-token: t1\r\n"));
        assert!(heads[1].starts_with("PUT /v1/z?dc=other HTTP/1.1\r\n"));
    }

    #[tokio::test]
    async fn a_connection_that_was_closed_meanwhile_is_replaced() {
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]";
        let (client, task) = agent(vec![answer, answer], 1).await;
        for _ in 0..2 {
            let (list, _): (Vec<String>, _) =
                client.get("/v1/x", &QueryOptions::default()).await.unwrap();
            assert!(list.is_empty());
        }
        assert_eq!(task.await.unwrap().1, 2);
    }

    #[tokio::test]
    async fn nobody_there_is_told_with_the_address() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let client = Client::new(ClientConfig::at(address.to_string())).unwrap();
        let err = client.raw("GET", "/v1/kv/x", &[], "").await.unwrap_err();
        assert_eq!(
            err.to_string(),
            format!(
                "Get \"http://{address}/v1/kv/x\": dial tcp {address}: connect: connection refused"
            )
        );
        assert!(err.is_unsent());
    }

    #[tokio::test]
    async fn an_answer_cut_short_and_one_too_large_are_errors() {
        let (client, _task) =
            agent(vec!["HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nabc"], 1).await;
        let err = client.raw("PUT", "/v1/x", &[], "").await.unwrap_err();
        assert!(matches!(err, Error::Broken { .. }), "{err}");
        let (client, _task) = agent(
            vec!["HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabcdef"],
            1,
        )
        .await;
        let small = ClientConfig {
            max_answer: 5,
            ..client.config().clone()
        };
        let err = Client::new(small)
            .unwrap()
            .raw("GET", "/v1/x", &[], "")
            .await
            .unwrap_err();
        assert!(matches!(err, Error::TooLarge { limit: 5, .. }), "{err}");
    }

    #[tokio::test]
    async fn a_limit_in_time_is_kept() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client =
            Client::new(ClientConfig::at(listener.local_addr().unwrap().to_string())).unwrap();
        let request = Request::new(Method::GET, "/v1/x").timeout(Duration::from_millis(20));
        assert!(matches!(
            client.send(request).await.unwrap_err(),
            Error::Timeout { .. }
        ));
    }

    #[tokio::test]
    async fn unix_sockets_are_spoken_to() {
        let dir = std::env::temp_dir().join(format!("lictor-client-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("agent.sock");
        let _ = std::fs::remove_file(&path);
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        let task = tokio::spawn(async move {
            let (mut io, _) = listener.accept().await.unwrap();
            let mut buffer = [0; 1024];
            let n = io.read(&mut buffer).await.unwrap();
            io.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ntrue")
                .await
                .unwrap();
            String::from_utf8_lossy(&buffer[..n]).into_owned()
        });
        let client = Client::new(ClientConfig::at(format!("unix://{}", path.display()))).unwrap();
        let response = client.raw("PUT", "/v1/kv/a", &[], "b").await.unwrap();
        assert_eq!(response.text(), "true");
        assert!(
            task.await
                .unwrap()
                .to_lowercase()
                .contains("host: localhost\r\n")
        );
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[tokio::test]
    async fn a_long_answer_comes_in_pieces() {
        let (client, _task) = agent(
            vec!["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"],
            1,
        )
        .await;
        let mut answer = client
            .stream(Request::new(Method::GET, "/v1/agent/monitor"))
            .await
            .unwrap();
        let mut all = Vec::new();
        while let Some(piece) = answer.chunk().await.unwrap() {
            all.extend_from_slice(&piece);
        }
        assert_eq!(all, b"abcde");
    }
}
