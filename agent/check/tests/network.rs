//! TCP, UDP, gRPC and HTTP/2 ping checks against real sockets.

mod common;

use bytes::Bytes;
use common::*;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use lictor_wire::catalog::Status::{Critical, Passing};
use lictor_wire::duration::GoDuration;
use std::net::SocketAddr;
use tokio::net::{TcpListener, UdpSocket};
use tokio_rustls::TlsAcceptor;

#[tokio::test]
async fn a_tcp_check_passes_when_it_can_connect() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (status, output) = once(quick(), |c| c.tcp = address.to_string().into()).await;
    assert_eq!(
        (status, output),
        (Passing, format!("TCP connect {address}: Success"))
    );
    drop(listener);
    let (status, output) = once(quick(), |c| c.tcp = address.to_string().into()).await;
    assert_eq!(
        (status, output),
        (
            Critical,
            format!("dial tcp {address}: connect: connection refused")
        )
    );
    let (status, output) = once(quick(), |c| c.tcp = "127.0.0.1".into()).await;
    assert_eq!(
        (status, output),
        (
            Critical,
            "dial tcp: address 127.0.0.1: missing port in address".to_owned()
        )
    );
}

#[tokio::test]
async fn a_tcp_check_may_want_tls() {
    let web = Web::start_tls(Some(acceptor("good", false, &[])), |_| vec![]).await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let run = async |options, address: &str, skip: bool| {
        once(options, |c| {
            c.tcp = address.into();
            c.tcp_use_tls = true;
            c.tls_skip_verify = skip;
            c.timeout = GoDuration::from_millis(2_000);
        })
        .await
    };
    let success = (Passing, format!("TCP+TLS connect {}: Success", web.address));
    assert_eq!(run(trusting(), &web.address, false).await, success);
    assert_eq!(run(quick(), &web.address, true).await, success);
    let unknown =
        "tls: failed to verify certificate: x509: certificate signed by unknown authority";
    assert_eq!(
        run(quick(), &web.address, false).await,
        (Critical, unknown.to_owned())
    );
    let address = silent.local_addr().unwrap().to_string();
    assert_eq!(
        run(quick(), &address, false).await,
        (Critical, "context deadline exceeded".to_owned())
    );
}

#[tokio::test]
async fn a_udp_check_fails_only_where_nobody_listens() {
    let answering = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = answering.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let mut buffer = [0; 16];
        loop {
            let (n, from) = answering.recv_from(&mut buffer).await.unwrap();
            assert_eq!(n, 0, "an empty datagram");
            answering.send_to(b"pong", from).await.unwrap();
        }
    });
    let run = async |address: SocketAddr, ms: i64| {
        once(quick(), |c| {
            c.udp = address.to_string().into();
            c.timeout = GoDuration::from_millis(ms);
        })
        .await
    };
    let success = |address| (Passing, format!("UDP connect {address}: Success"));
    assert_eq!(run(address, 20_000).await, success(address));
    assert!(!server.is_finished());

    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    assert_eq!(run(address, 50).await, success(address));
    drop(silent);
    let (status, output) = run(address, 20_000).await;
    assert_eq!(status, Critical);
    assert!(output.starts_with("read udp 127.0.0.1:"), "{output}");
    assert!(
        output.ends_with(&format!("->{address}: read: connection refused")),
        "{output}"
    );
}

/// A gRPC health server: the service's name says what it answers.
async fn health(tls: Option<TlsAcceptor>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let tls = tls.clone();
            tokio::spawn(async move {
                let service = hyper::service::service_fn(answer_health);
                let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                match tls {
                    None => _ = server.serve_connection(TokioIo::new(stream), service).await,
                    Some(tls) => {
                        let Ok(stream) = tls.accept(stream).await else {
                            return;
                        };
                        let _ = server.serve_connection(TokioIo::new(stream), service).await;
                    }
                }
            });
        }
    });
    address
}

async fn answer_health(
    request: Request<Incoming>,
) -> Result<
    Response<http_body_util::combinators::BoxBody<Bytes, std::convert::Infallible>>,
    hyper::Error,
> {
    assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
    assert_eq!(request.headers()["content-type"], "application/grpc");
    assert_eq!(request.headers()["te"], "trailers");
    let body = request.into_body().collect().await?.to_bytes();
    let service = body
        .get(7..)
        .map(|s| String::from_utf8_lossy(s).into_owned())
        .unwrap_or_default();
    let (status, message): (&str, &[u8]) = match service.as_str() {
        "" | "up" => ("0", &[0, 0, 0, 0, 2, 8, 1]),
        "down" => ("0", &[0, 0, 0, 0, 2, 8, 2]),
        "broken" => ("0", &[9, 9]),
        "hang" => std::future::pending().await,
        _ => ("5", &[]),
    };
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_str(status).unwrap());
    trailers.insert(
        "grpc-message",
        HeaderValue::from_static("unknown%20service"),
    );
    let body =
        Full::new(Bytes::copy_from_slice(message)).with_trailers(async { Some(Ok(trailers)) });
    Ok(Response::builder()
        .header("content-type", "application/grpc")
        .body(body.boxed())
        .unwrap())
}

#[tokio::test]
async fn a_grpc_check_passes_when_the_service_serves() {
    let address = health(None).await;
    let run = async |service: &str, ms: i64| {
        once(quick(), |c| {
            c.grpc = format!("{address}{service}").into();
            c.timeout = GoDuration::from_millis(ms);
        })
        .await
    };
    assert_eq!(
        run("", 20_000).await,
        (Passing, format!("gRPC check {address}: success"))
    );
    assert_eq!(
        run("/up", 20_000).await,
        (Passing, format!("gRPC check {address}/up: success"))
    );
    assert_eq!(
        run("/down", 20_000).await,
        (
            Critical,
            format!("gRPC {address}/down serving status: NOT_SERVING")
        )
    );
    let rpc = |text: &str| (Critical, format!("rpc error: code = {text}"));
    assert_eq!(
        run("/x", 20_000).await,
        rpc("NotFound desc = unknown service")
    );
    assert_eq!(
        run("/broken", 20_000).await,
        rpc("Internal desc = grpc: failed to unmarshal the received message")
    );
    assert_eq!(
        run("/hang", 100).await,
        rpc("DeadlineExceeded desc = context deadline exceeded")
    );
    let dead = closed_port();
    let (_, output) = once(quick(), |c| c.grpc = format!("127.0.0.1:{dead}").into()).await;
    let dial = format!("dial tcp 127.0.0.1:{dead}: connect: connection refused");
    let text = format!(
        "rpc error: code = Unavailable desc = connection error: desc = \"transport: Error while dialing: {dial}\""
    );
    assert_eq!(output, text);
}

#[tokio::test]
async fn a_grpc_check_may_want_tls() {
    let address = health(Some(acceptor("good", false, &["h2"]))).await;
    let run = async |options, skip| {
        once(options, |c| {
            c.grpc = format!("{address}/up").into();
            c.grpc_use_tls = true;
            c.tls_skip_verify = skip;
        })
        .await
    };
    let success = (Passing, format!("gRPC check {address}/up: success"));
    assert_eq!(run(trusting(), false).await, success);
    assert_eq!(run(quick(), true).await, success);
    let (status, output) = run(quick(), false).await;
    assert_eq!(status, Critical);
    assert!(
        output.contains(
            "transport: authentication handshake failed: tls: failed to verify certificate"
        ),
        "{output}"
    );
}

#[tokio::test]
async fn a_ping_is_acknowledged_by_http2_only() {
    let (plain, safe) = (
        health(None).await,
        health(Some(acceptor("good", false, &["h2"]))).await,
    );
    let run = async |options, address: String, tls: bool, ms: i64| {
        once(options, |c| {
            c.h2ping = address.into();
            c.h2ping_use_tls = tls;
            c.timeout = GoDuration::from_millis(ms);
        })
        .await
    };
    let success = (Passing, "HTTP2 ping was successful".to_owned());
    assert_eq!(
        run(quick(), plain.to_string(), false, 20_000).await,
        success
    );
    assert_eq!(
        run(trusting(), safe.to_string(), true, 20_000).await,
        success
    );
    let (status, output) = run(quick(), safe.to_string(), true, 20_000).await;
    let unknown =
        "tls: failed to verify certificate: x509: certificate signed by unknown authority";
    assert_eq!(
        (status, output),
        (Critical, format!("Failed to dial to {safe}: {unknown}"))
    );
    let dead = format!("127.0.0.1:{}", closed_port());
    let (_, output) = run(quick(), dead.clone(), false, 20_000).await;
    assert_eq!(
        output,
        format!("Failed to dial to {dead}: dial tcp {dead}: connect: connection refused")
    );
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (_, output) = run(
        quick(),
        silent.local_addr().unwrap().to_string(),
        false,
        100,
    )
    .await;
    assert_eq!(output, "HTTP2 ping failed: context deadline exceeded");
    let web = Web::start(|_| answer("400 Bad Request", "", "what?")).await;
    let (status, output) = run(quick(), web.address.clone(), false, 20_000).await;
    assert_eq!(status, Critical);
    assert!(output.starts_with("HTTP2 ping failed: "), "{output}");
}
