//! Limits, listeners, TLS, HTTP/2 and the end.

mod common;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common::{Client, Show, listen, quick, soon, start, start_with, tls_settings};
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use lictor_net::{
    Drained, HttpServer, LimitValues, Limits, ListenAddr, Listener, Tls, TlsSettings, UnixSocket,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;

const GET: &str = "GET /a HTTP/1.1\r\nHost: x\r\n\r\n";
const WAIT: &str = "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n";
const PEER: &str = "GET /peer HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

fn limited(max_conns_per_client: usize) -> LimitValues {
    LimitValues {
        max_conns_per_client,
        ..quick()
    }
}

#[tokio::test]
async fn one_client_may_have_so_many_connections() {
    let server = start(limited(2));
    let mut first = server.connect().await;
    let _second = server.connect().await;
    server.until_open(2).await;
    let refused = server.raw(GET).await;
    assert_eq!(
        refused,
        "HTTP/1.1 429 Too Many Requests\r\nContent-Type: text/plain\r\nContent-Length: 81\r\n\
         Connection: close\r\n\r\n\
         Your IP is issuing too many concurrent connections, please rate limit your calls\n"
    );
    // Those that are in are served, and a place that is given back is free.
    first.send(GET).await;
    assert_eq!(first.answer().await.1, "GET /a HTTP/1.1");
    drop(first);
    server.until_open(1).await;
    assert!(
        server
            .raw(PEER)
            .await
            .ends_with("addr=127.0.0.1 unix=false tls=false certificate=None")
    );
    let counters = server.server.counters();
    assert_eq!((counters.accepted, counters.refused_per_client), (3, 1));
}

#[tokio::test]
async fn all_listeners_count_together_and_the_limit_can_change() {
    let server = start(limited(1));
    let other = listen(&server.server, &server.show, None);
    let _held = server.connect().await;
    server.until_open(1).await;
    let mut client = Client(TcpStream::connect(other).await.expect("it listens"));
    assert!(client.rest().await.starts_with("HTTP/1.1 429 "));
    server.server.limits().set(limited(0));
    let mut client = Client(TcpStream::connect(other).await.expect("it listens"));
    client.send(GET).await;
    assert_eq!(client.answer().await.1, "GET /a HTTP/1.1");
}

#[tokio::test]
async fn all_clients_together_may_have_so_many_connections() {
    let server = start(LimitValues {
        max_conns: 1,
        ..quick()
    });
    let _held = server.connect().await;
    server.until_open(1).await;
    let refused = server.raw(GET).await;
    assert!(
        refused.starts_with("HTTP/1.1 503 Service Unavailable\r\n"),
        "{refused}"
    );
    assert_eq!(server.server.counters().refused_total, 1);
}

#[tokio::test]
async fn unix_sockets() {
    let path = std::env::temp_dir().join(format!("lictor-net-{}.sock", std::process::id()));
    let at = ListenAddr::Unix(UnixSocket {
        path: path.clone(),
        mode: Some(0o600),
        ..UnixSocket::default()
    });
    let server = HttpServer::new(Arc::new(Limits::new(limited(1))));
    server.serve(Listener::bind(&at, None).expect("bound"), Show::default());
    // Not counted per client.
    let _held = UnixStream::connect(&path).await.expect("it listens");
    let mut client = Client(UnixStream::connect(&path).await.expect("it listens"));
    client.send(PEER).await;
    let answer = client.rest().await;
    assert!(
        answer.ends_with("addr=none unix=true tls=false certificate=None"),
        "{answer}"
    );
    server.shutdown(Duration::from_secs(5)).await;
    assert!(!path.exists(), "its file goes with it");
}

#[tokio::test]
async fn ipv4_clients_of_an_ipv6_listener_have_ipv4_addresses() {
    let server = HttpServer::new(Arc::new(Limits::new(quick())));
    let Ok(listener) = Listener::bind(&ListenAddr::Tcp("[::]:0".parse().expect("good")), None)
    else {
        return; // a machine without IPv6
    };
    let port = match listener.local_addr() {
        lictor_net::LocalAddr::Tcp(addr) => addr.port(),
        lictor_net::LocalAddr::Unix(_) => unreachable!("TCP was asked for"),
    };
    server.serve(listener, Show::default());
    let stream = TcpStream::connect(("127.0.0.1", port))
        .await
        .expect("both families");
    let mut client = Client(stream);
    client.send(PEER).await;
    assert!(client.rest().await.contains("addr=127.0.0.1 "));
}

#[tokio::test]
async fn the_end_answers_what_has_begun() {
    let server = start(quick());
    let (mut idle, mut fresh, mut busy) = (
        server.connect().await,
        server.connect().await,
        server.connect().await,
    );
    idle.send(GET).await;
    idle.answer().await;
    busy.send(WAIT).await;
    server.begun().await;
    server.until_open(3).await;

    let handle = server.server.clone();
    let shutdown = tokio::spawn(async move { handle.shutdown(common::PATIENCE).await });
    assert_eq!(idle.rest().await, "");
    assert_eq!(fresh.rest().await, "");
    server.until_open(1).await;
    assert!(
        TcpStream::connect(server.addr).await.is_err(),
        "nobody listens"
    );
    assert!(!shutdown.is_finished(), "it waits for the answer");
    server.shared.go.add_permits(1);
    let answer = busy.rest().await;
    assert!(
        answer.contains("Connection: close") && answer.ends_with("waited"),
        "{answer}"
    );
    assert_eq!(soon(shutdown).await.expect("no panic"), Drained { cut: 0 });
    assert_eq!(server.server.counters().open, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_end_of_many_at_once() {
    for _ in 0..5 {
        let server = start(limited(0));
        let (mut idle, mut busy) = (vec![], vec![]);
        for _ in 0..50 {
            idle.push(server.connect().await);
            busy.push(server.connect().await);
        }
        for client in &mut busy {
            client.send(WAIT).await;
        }
        soon(server.shared.begun.acquire_many(50))
            .await
            .expect("open")
            .forget();
        let handle = server.server.clone();
        let shutdown = tokio::spawn(async move { handle.shutdown(common::PATIENCE).await });
        for client in &mut idle {
            assert_eq!(client.rest().await, "");
        }
        server.shared.go.add_permits(50);
        for client in &mut busy {
            assert!(client.rest().await.ends_with("waited"));
        }
        assert_eq!(soon(shutdown).await.expect("no panic"), Drained { cut: 0 });
    }
}

#[tokio::test]
async fn the_end_has_a_deadline() {
    let server = start(quick());
    let (mut half, mut busy) = (server.connect().await, server.connect().await);
    half.send("GET /a HTT").await;
    busy.send(WAIT).await;
    server.begun().await;
    server.until_open(2).await;
    let drained = soon(server.server.shutdown(Duration::from_millis(50))).await;
    assert_eq!(drained, Drained { cut: 2 });
    assert_eq!(server.server.counters().open, 0);
    server.dropped().await;
    assert!(half.has_ended().await && busy.has_ended().await);
    // A listener that comes too late is closed.
    let late = listen(&server.server, &server.show, None);
    soon(server.server.shutdown(Duration::ZERO)).await;
    assert!(TcpStream::connect(late).await.is_err());
}

#[tokio::test]
async fn warp_filters_fit() {
    use warp::Filter;
    let filter = warp::path!("v1" / "kv" / String)
        .and(warp::body::bytes())
        .and(warp::ext::optional::<lictor_net::Peer>())
        .map(|key, body: Bytes, peer: Option<lictor_net::Peer>| {
            format!("{key} {} {}", body.len(), peer.is_some())
        });
    let service = hyper_util::service::TowerToHyperService::new(warp::service(filter));
    let server = start(quick());
    let listener =
        Listener::bind(&ListenAddr::Tcp(([127, 0, 0, 1], 0).into()), None).expect("bound");
    let addr = listener.local_addr().to_string();
    server.server.serve(listener, service);
    let mut client = Client(TcpStream::connect(addr).await.expect("it listens"));
    client
        .send("PUT /v1/kv/a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc")
        .await;
    assert_eq!(client.answer().await.1, "a 3 true");
}

// TLS.

fn tls(settings: TlsSettings) -> Arc<Tls> {
    Arc::new(Tls::new(&settings).expect("good settings"))
}

fn client_config(alpn: &[&str], certificate: bool) -> Arc<rustls::ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    let ca = CertificateDer::from_pem_slice(include_bytes!("pki/ca.pem")).expect("PEM");
    roots.add(ca).expect("a CA");
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots);
    let mut config = if certificate {
        let chain = CertificateDer::pem_slice_iter(include_bytes!("pki/client.pem"))
            .collect::<Result<_, _>>()
            .expect("PEM");
        let key = PrivateKeyDer::from_pem_slice(include_bytes!("pki/client-key.pem")).expect("PEM");
        builder.with_client_auth_cert(chain, key).expect("a pair")
    } else {
        builder.with_no_client_auth()
    };
    config.alpn_protocols = alpn.iter().map(|a| a.as_bytes().to_vec()).collect();
    Arc::new(config)
}

async fn secure(
    addr: std::net::SocketAddr,
    config: Arc<rustls::ClientConfig>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(addr).await?;
    let name = ServerName::try_from("localhost").expect("a name");
    soon(tokio_rustls::TlsConnector::from(config).connect(name, stream)).await
}

#[tokio::test]
async fn https() {
    let server = start_with(quick(), Some(tls(tls_settings())));
    let mut client = Client(
        secure(server.addr, client_config(&["http/1.1"], false))
            .await
            .expect("a handshake"),
    );
    client.send("GET /big HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(client.answer().await.1.len(), 20_000_000);
    client
        .send("PUT /count HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\n\r\n")
        .await;
    client.send(vec![b'b'; 300_000]).await;
    assert_eq!(client.answer().await.1, "300000");
    client.send(PEER).await;
    let answer = client.rest().await; // with a proper end: close_notify
    assert!(
        answer.ends_with("addr=127.0.0.1 unix=false tls=true certificate=None"),
        "{answer}"
    );
}

#[tokio::test]
async fn clients_are_verified() {
    let settings = TlsSettings {
        client_ca_pem: Some(include_bytes!("pki/ca.pem").to_vec()),
        verify_incoming: true,
        ..tls_settings()
    };
    let server = start_with(quick(), Some(tls(settings)));
    let mut known = Client(
        secure(server.addr, client_config(&[], true))
            .await
            .expect("let in"),
    );
    known.send(PEER).await;
    let answer = known.rest().await;
    assert!(answer.contains("tls=true certificate=Some("), "{answer}");

    // With TLS 1.3 the client learns of its refusal only when it reads.
    if let Ok(mut stranger) = secure(server.addr, client_config(&[], false)).await {
        let mut byte = [0];
        assert!(soon(stranger.read(&mut byte)).await.is_err());
    }
    assert_eq!(server.server.counters().failed_handshakes, 1);
}

#[tokio::test]
async fn certificates_are_replaced_while_serving() {
    let tls = tls(tls_settings());
    let server = start_with(quick(), Some(tls.clone()));
    let leaf = |stream: &TlsStream<TcpStream>| {
        stream.get_ref().1.peer_certificates().expect("shown")[0].to_vec()
    };
    let before = secure(server.addr, client_config(&[], false))
        .await
        .expect("let in");
    tls.reload(&TlsSettings {
        cert_pem: include_bytes!("pki/client.pem").to_vec(),
        key_pem: include_bytes!("pki/client-key.pem").to_vec(),
        ..TlsSettings::default()
    })
    .expect("good settings");
    let after = secure(server.addr, client_config(&[], false))
        .await
        .expect("let in");
    assert_ne!(leaf(&before), leaf(&after));
    let mut before = Client(before);
    before.send(GET).await;
    assert_eq!(before.answer().await.1, "GET /a HTTP/1.1");
}

#[tokio::test]
async fn a_handshake_has_a_deadline_that_ends_with_the_first_byte() {
    let limits = LimitValues {
        https_handshake_timeout: Duration::from_millis(200),
        ..quick()
    };
    let server = start_with(limits, Some(tls(tls_settings())));
    // Silence before it.
    let mut silent = server.connect().await;
    assert_eq!(silent.rest().await, "");
    assert_eq!(server.server.counters().failed_handshakes, 1);
    // Silence after it, in either protocol.
    for alpn in ["http/1.1", "h2"] {
        let mut silent = secure(server.addr, client_config(&[alpn], false))
            .await
            .expect("let in");
        let mut rest = vec![];
        let _ = soon(silent.read_to_end(&mut rest)).await;
        assert!(rest.is_empty());
    }
    // No longer once a request has begun.
    let mut client = Client(
        secure(server.addr, client_config(&[], false))
            .await
            .expect("let in"),
    );
    client.send(WAIT).await;
    server.begun().await;
    tokio::time::sleep(Duration::from_millis(400)).await;
    server.shared.go.add_permits(1);
    assert_eq!(client.answer().await.1, "waited");
}

#[tokio::test]
async fn http_on_a_tls_port_is_told_so() {
    let server = start_with(quick(), Some(tls(tls_settings())));
    assert_eq!(
        server.raw(GET).await,
        "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"
    );
}

// HTTP/2.

async fn over_http2<I>(io: I, paths: &[&str]) -> Vec<String>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(io))
            .await
            .expect("a connection");
    tokio::spawn(connection);
    let mut answers = vec![];
    for path in paths {
        let request = Request::post(format!("http://localhost{path}"))
            .body(Full::new(Bytes::from_static(b"body")))
            .expect("good");
        let answer = soon(sender.send_request(request)).await.expect("an answer");
        let body = soon(answer.into_body().collect()).await.expect("all of it");
        answers.push(String::from_utf8(body.to_bytes().to_vec()).expect("text"));
    }
    answers
}

#[tokio::test]
async fn http2_by_prior_knowledge() {
    let server = start(quick());
    let stream = TcpStream::connect(server.addr).await.expect("it listens");
    assert_eq!(
        over_http2(stream, &["/a", "/echo", "/peer"]).await,
        [
            "POST /a HTTP/2.0",
            "body",
            "addr=127.0.0.1 unix=false tls=false certificate=None"
        ]
    );
}

#[tokio::test]
async fn http2_by_agreement() {
    let server = start_with(quick(), Some(tls(tls_settings())));
    let stream = secure(server.addr, client_config(&["h2", "http/1.1"], false))
        .await
        .expect("let in");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    assert_eq!(
        over_http2(stream, &["/echo", "/peer"]).await,
        [
            "body",
            "addr=127.0.0.1 unix=false tls=true certificate=None"
        ]
    );
}

#[tokio::test]
async fn http2_ends_too() {
    let server = start(quick());
    let stream = TcpStream::connect(server.addr).await.expect("it listens");
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .expect("a connection");
    let connection = tokio::spawn(connection);
    let request = Request::get("http://localhost/wait")
        .body(Full::new(Bytes::new()))
        .expect("good");
    let answer = tokio::spawn(sender.send_request(request));
    server.begun().await;
    let handle = server.server.clone();
    let shutdown = tokio::spawn(async move { handle.shutdown(common::PATIENCE).await });
    soon(async { while TcpStream::connect(server.addr).await.is_ok() {} }).await;
    server.shared.go.add_permits(1);
    let answer = soon(answer).await.expect("no panic").expect("an answer");
    let body = answer.into_body().collect().await.expect("all of it");
    assert_eq!(body.to_bytes(), "waited");
    assert_eq!(soon(shutdown).await.expect("no panic"), Drained { cut: 0 });
    drop(sender);
    let _ = soon(connection).await;
}
