//! HTTP checks against real servers.

mod common;

use common::*;
use lictor_check::{CheckTls, Checks, Options};
use lictor_wire::catalog::Status::{Critical, Passing, Warning};
use lictor_wire::duration::GoDuration;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

#[tokio::test]
async fn the_status_code_decides() {
    let code = Arc::new(AtomicU16::new(200));
    let now = Arc::clone(&code);
    let web = Web::start(move |_| {
        let code = now.load(Ordering::Relaxed);
        let words = match code {
            200 => "OK",
            204 => "No Content",
            429 => "Too Many Requests",
            _ => "Own Words",
        };
        answer(
            &format!("{code} {words}"),
            "",
            if code == 204 { "" } else { "hello" },
        )
    })
    .await;
    let results = Results::new();
    let checks = Checks::new(quick(), results.clone());
    checks.start(
        "web",
        &check(|c| c.http = web.url("/health").into()),
        Critical,
    );
    for (number, status, text) in [
        (200, Passing, "200 OK Output: hello"),
        (429, Warning, "429 Too Many Requests Output: hello"),
        (503, Critical, "503 Own Words Output: hello"),
        (204, Passing, "204 No Content Output: "),
        (404, Critical, "404 Own Words Output: hello"),
        (299, Passing, "299 Own Words Output: hello"),
        (304, Critical, "304 Own Words Output: "),
    ] {
        code.store(number, Ordering::Relaxed);
        let output = format!("HTTP GET {}: {text}", web.url("/health"));
        results
            .until(|all| all.last() == Some(&("web".to_owned(), status.clone(), output.clone())))
            .await;
    }
    checks.shutdown().await;
}

#[tokio::test]
async fn the_request_is_as_defined() {
    let web = Web::start(|_| answer("200 OK", "", "fine")).await;
    let (status, output) = once(quick(), |c| {
        c.http = web.url("/p?q=1").into();
        c.method = "POST".into();
        c.body = "{\"a\":1}".into();
        c.header.insert(
            "X-Probe".to_owned(),
            vec!["one".to_owned(), "two".to_owned()],
        );
        c.header
            .insert("Host".to_owned(), vec!["inner.test".to_owned()]);
    })
    .await;
    assert_eq!(
        (status, output),
        (
            Passing,
            format!("HTTP POST {}: 200 OK Output: fine", web.url("/p?q=1"))
        )
    );
    let asked = &web.asked()[0];
    assert_eq!(
        (asked.line(), asked.body.as_str()),
        ("POST /p?q=1 HTTP/1.1", "{\"a\":1}")
    );
    assert_eq!(asked.header("x-probe"), ["one", "two"]);
    assert_eq!(asked.header("host"), ["inner.test"]);
    assert_eq!(asked.header("user-agent"), ["Consul Health Check"]);
    assert_eq!(asked.header("accept"), ["text/plain, text/*, */*"]);
    assert_eq!(asked.header("connection"), ["close"]);

    once(quick(), |c| {
        c.http = web.url("").into();
        c.header
            .insert("user-agent".to_owned(), vec!["mine".to_owned()]);
    })
    .await;
    let asked = web.asked().pop().unwrap();
    assert_eq!(
        (asked.line(), asked.header("user-agent")),
        ("GET / HTTP/1.1", vec!["mine"])
    );
    assert_eq!(asked.header("host"), [web.address.as_str()]);
}

#[tokio::test]
async fn redirects_are_followed_unless_they_are_the_answer() {
    let other = Web::start(|_| answer("200 OK", "", "elsewhere")).await;
    let away = format!("Location: {}\r\n", other.url("/there"));
    let web = Web::start(move |asked| match asked.line().split(' ').nth(1).unwrap() {
        "/see" => answer("302 Found", "Location: end\r\n", "moved"),
        "/same" => answer("307 Temporary Redirect", "Location: /end\r\n", ""),
        "/away" => answer("301 Moved Permanently", &away, ""),
        "/loop" => answer("302 Found", "Location: /loop\r\n", ""),
        "/nowhere" => answer("302 Found", "", "no location"),
        _ => answer("200 OK", "", &asked.head[..4]),
    })
    .await;
    let run = async |path: &str, stay: bool| {
        once(quick(), |c| {
            c.http = web.url(path).into();
            c.method = "PUT".into();
            c.body = "x".into();
            c.disable_redirects = stay;
            c.header
                .insert("Host".to_owned(), vec!["h.test".to_owned()]);
            c.header
                .insert("Authorization".to_owned(), vec!["secret".to_owned()]);
        })
        .await
    };
    let text = |path: &str, rest: &str| format!("HTTP PUT {}: {rest}", web.url(path));
    assert_eq!(
        run("/see", false).await,
        (Passing, text("/see", "200 OK Output: GET "))
    );
    assert_eq!(
        run("/same", false).await,
        (Passing, text("/same", "200 OK Output: PUT "))
    );
    let last = web.asked().pop().unwrap();
    assert_eq!(
        (
            last.body.as_str(),
            last.header("host"),
            last.header("authorization")
        ),
        ("x", vec!["h.test"], vec!["secret"])
    );
    assert_eq!(
        run("/see", true).await,
        (Critical, text("/see", "302 Found Output: moved"))
    );
    assert_eq!(
        run("/nowhere", false).await,
        (Critical, text("/nowhere", "302 Found Output: no location"))
    );
    assert_eq!(
        run("/away", false).await,
        (Passing, text("/away", "200 OK Output: elsewhere"))
    );
    assert_eq!(other.asked()[0].header("host"), [other.address.as_str()]);

    let before = web.asked().len();
    let (status, output) = run("/loop", false).await;
    assert_eq!(
        (status, output),
        (
            Critical,
            format!("Put \"{}\": stopped after 10 redirects", web.url("/loop"))
        )
    );
    assert!(web.asked().len() >= before + 10);
}

#[tokio::test]
async fn what_goes_wrong_is_said_as_go_says_it() {
    let dead = closed_port();
    let (status, output) = once(quick(), |c| {
        c.http = format!("http://127.0.0.1:{dead}/").into()
    })
    .await;
    let refused = format!(
        "Get \"http://127.0.0.1:{dead}/\": dial tcp 127.0.0.1:{dead}: connect: connection refused"
    );
    assert_eq!((status, output), (Critical, refused));

    let web = Web::start(|asked| match asked.line().contains("/bad") {
        true => b"hello\r\n\r\n".to_vec(),
        false => b" ".to_vec(),
    })
    .await;
    let (_, output) = once(quick(), |c| c.http = web.url("/bad").into()).await;
    assert_eq!(
        output,
        format!(
            "Get \"{}\": net/http: HTTP/1.x transport connection broken: malformed HTTP response",
            web.url("/bad")
        )
    );
    let (_, output) = once(quick(), |c| c.http = "ftp://x/".into()).await;
    assert_eq!(
        output,
        "Get \"ftp://x/\": unsupported protocol scheme \"ftp\""
    );
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up() {
    let web = Web::start(|_| vec![]).await;
    let (status, output) = once(quick(), |c| {
        c.http = web.url("/").into();
        c.timeout = GoDuration::from_millis(100);
    })
    .await;
    let text = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)";
    assert_eq!(
        (status, output),
        (Critical, format!("Get \"{}\": {text}", web.url("/")))
    );
}

#[tokio::test]
async fn a_body_that_does_not_end_has_said_its_status() {
    let web = Web::start(|_| b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf".to_vec()).await;
    let (status, output) = once(quick(), |c| {
        c.http = web.url("/hang").into();
        c.timeout = GoDuration::from_millis(300);
    })
    .await;
    assert_eq!(
        (status, output),
        (
            Passing,
            format!("HTTP GET {}: 200 OK Output: half", web.url("/hang"))
        )
    );
}

#[tokio::test]
async fn the_end_of_a_long_body_is_kept_as_text() {
    let web =
        Web::start(|_| answer("200 OK", "", &format!("{}\u{20ac}end", "x".repeat(100_000)))).await;
    for (own, agent, kept) in [
        (0, 4, "end"),
        (6, 4096, "\u{20ac}end"),
        (5, 4096, "end"),
        (4096, 3, "end"),
    ] {
        let options = Options {
            output_max_size: agent,
            ..quick()
        };
        let (_, output) = once(options, |c| {
            c.http = web.url("/").into();
            c.output_max_size = own;
        })
        .await;
        assert_eq!(
            output,
            format!("HTTP GET {}: 200 OK Output: {kept}", web.url("/")),
            "{own} {agent}"
        );
    }
}

#[tokio::test]
async fn certificates_are_verified_unless_told_otherwise() {
    let serve = |name, asks| {
        Web::start_tls(Some(acceptor(name, asks, &[])), |_| {
            answer("200 OK", "", "safe")
        })
    };
    let (good, expired) = (serve("good", false).await, serve("expired", false).await);
    let run = async |options: Options, web: &Web, name: &str, skip: bool| {
        let (status, output) = once(options, |c| {
            c.http = format!("https://{}/", web.address).into();
            c.tls_server_name = name.into();
            c.tls_skip_verify = skip;
        })
        .await;
        let output = output.replace(&web.address, "ADDR");
        (status, output)
    };
    let safe = (
        Passing,
        "HTTP GET https://ADDR/: 200 OK Output: safe".to_owned(),
    );
    let failed = |why: &str| (Critical, format!("Get \"https://ADDR/\": {why}"));
    assert_eq!(run(trusting(), &good, "", false).await, safe);
    assert_eq!(run(trusting(), &good, "web.test", false).await, safe);
    assert_eq!(
        run(trusting(), &good, "other.test", false).await,
        failed(
            "tls: failed to verify certificate: x509: certificate is valid for localhost, web.test, not other.test"
        )
    );
    assert_eq!(run(trusting(), &good, "other.test", true).await, safe);
    // The platform's authorities do not include that of the tests.
    assert_eq!(
        run(quick(), &good, "", false).await,
        failed("tls: failed to verify certificate: x509: certificate signed by unknown authority")
    );
    assert_eq!(run(quick(), &good, "", true).await, safe);
    let (status, output) = run(trusting(), &expired, "", false).await;
    assert_eq!(status, Critical);
    assert!(
        output.contains("x509: certificate has expired or is not yet valid: current time 2"),
        "{output}"
    );
    assert!(
        output.ends_with(" is after 2021-01-01T00:00:00Z"),
        "{output}"
    );
    assert_eq!(run(trusting(), &expired, "", true).await, safe);

    let hasty = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = hasty.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = hasty.accept().await {
            // Reads the greeting first, so that closing does not reset the connection.
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream
                .write_all(&answer("400 Bad Request", "", "what?"))
                .await;
        }
    });
    let (_, output) = once(quick(), |c| c.http = format!("https://{address}/").into()).await;
    assert_eq!(
        output,
        format!("Get \"https://{address}/\": http: server gave HTTP response to HTTPS client")
    );
}

#[tokio::test]
async fn an_identity_is_shown_to_servers_that_ask() {
    let web = Web::start_tls(Some(acceptor("good", true, &[])), |_| {
        answer("200 OK", "", "known")
    })
    .await;
    let url = format!("https://{}/", web.address);
    let (status, _) = once(trusting(), |c| c.http = url.clone().into()).await;
    assert_eq!(status, Critical);
    let tls = CheckTls {
        roots: Some(certificate("ca")),
        identity: Some((certificate("good"), key())),
    };
    let (status, output) = once(Options { tls, ..quick() }, |c| c.http = url.clone().into()).await;
    assert_eq!(
        (status, output),
        (Passing, format!("HTTP GET {url}: 200 OK Output: known"))
    );
}

#[tokio::test]
async fn http2_is_spoken_where_the_server_wants_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let tls = acceptor("good", false, &["h2"]);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(stream) = tls.accept(stream).await else {
                continue;
            };
            tokio::spawn(async move {
                let service = hyper::service::service_fn(
                    |request: http::Request<hyper::body::Incoming>| async move {
                        let text = format!(
                            "{:?} {} {}",
                            request.version(),
                            request.method(),
                            request.uri()
                        );
                        Ok::<_, std::convert::Infallible>(http::Response::new(
                            http_body_util::Full::new(bytes::Bytes::from(text)),
                        ))
                    },
                );
                let server =
                    hyper::server::conn::http2::Builder::new(hyper_util::rt::TokioExecutor::new());
                let _ = server
                    .serve_connection(hyper_util::rt::TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    let (status, output) = once(trusting(), |c| {
        c.http = format!("https://{address}/x").into()
    })
    .await;
    let text =
        format!("HTTP GET https://{address}/x: 200 OK Output: HTTP/2.0 GET https://{address}/x");
    assert_eq!((status, output), (Passing, text));
}
