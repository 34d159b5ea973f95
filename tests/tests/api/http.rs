//! The HTTP interface itself: methods, paths, headers, encodings, sockets, limits.

use flate2::read::GzDecoder;
use lictor_tests::{Agent, Folder, Method, Raw, exchange, json, peer, run, until};
use std::io::Read;
use std::time::Duration;

#[tokio::test]
async fn each_path_knows_its_methods() {
    let agent = Agent::dev().await;
    for (method, path, allow) in [
        ("POST", "/v1/agent/self", "OPTIONS,GET"),
        ("DELETE", "/v1/agent/services", "OPTIONS,GET"),
        ("GET", "/v1/agent/service/register", "OPTIONS,PUT"),
        ("GET", "/v1/session/create", "OPTIONS,PUT"),
        ("PATCH", "/v1/kv/x", "OPTIONS,GET,PUT,DELETE"),
        ("FOO", "/v1/status/leader", "OPTIONS,GET"),
        ("HEAD", "/v1/status/leader", "OPTIONS,GET"),
        ("HEAD", "/v1/kv/x", "OPTIONS,GET,PUT,DELETE"),
    ] {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let reply = agent.request(method.clone(), path, ()).await.expect(405);
        assert_eq!(reply.header("allow"), Some(allow), "{method} {path}");
        if method != Method::HEAD {
            assert_eq!(reply.text, format!("method {method} not allowed"));
        }
    }
    let options = agent.request(Method::OPTIONS, "/v1/kv/x", ()).await.ok();
    assert_eq!(options.header("allow"), Some("OPTIONS,GET,PUT,DELETE"));
    assert_eq!(options.text, "");
}

#[tokio::test]
async fn unknown_paths_say_so() {
    let agent = Agent::dev().await;
    for path in [
        "/v1/",
        "/v1/nothing",
        "/v1/agent",
        "/v1/KV/x",
        "/v1/catalog",
    ] {
        let text = "Invalid URL path: not a recognized HTTP API endpoint";
        agent.get(path).await.refused(404, text);
    }
    for path in ["/v1", "/v2/kv/x", "/nothing"] {
        let text = "Invalid URL path: if attempting to use the HTTP API, ensure the path starts with '/v1/'";
        agent.get(path).await.refused(404, text);
    }
    for (path, place) in [
        ("/v1//agent/self", "/v1/agent/self"),
        ("/v1/kv/../agent/members", "/v1/agent/members"),
    ] {
        let reply = agent.get(path).await.expect(307);
        assert_eq!(reply.header("location"), Some(place));
    }
}

/// The documentation tells of each path that it is not there: then it is not.
#[tokio::test]
async fn what_is_said_to_be_missing_is_missing() {
    let text = lictor_tests::workspace().join("docs/compatibility.md");
    let text = std::fs::read_to_string(text).expect("the documentation");
    let rows = text.lines().filter_map(|line| {
        let (paths, state) = line.strip_prefix("| `/v1/")?.split_once(" | ")?;
        state.starts_with("404").then(|| format!("`/v1/{paths}"))
    });
    let agent = Agent::dev().await;
    let mut tried = 0;
    for row in rows {
        for path in row.split('`').skip(1).step_by(2) {
            assert!(path.starts_with("/v1/"), "{path}");
            let path = path.replace("...", "x").replace(":name", "x");
            let answer = agent.get(&path).await;
            assert_eq!(answer.status, 404, "{path} is there");
            assert!(
                answer.text.starts_with("Invalid URL path"),
                "{path}: {}",
                answer.text
            );
            tried += 1;
        }
    }
    assert!(tried >= 10, "only {tried} paths");
}

#[tokio::test]
async fn consistency_is_named_and_two_at_once_are_refused() {
    let agent = Agent::dev().await;
    agent.put("/v1/kv/a", "1").await.ok();
    for (query, word) in [
        ("", "leader"),
        ("?stale", "stale"),
        ("?consistent", "consistent"),
    ] {
        let reply = agent.get(&format!("/v1/catalog/nodes{query}")).await.ok();
        assert_eq!(reply.header("x-consul-effective-consistency"), Some(word));
        agent.get(&format!("/v1/kv/a{query}")).await.ok();
    }
    let text = "Cannot specify ?stale with ?consistent, conflicting semantics.";
    agent
        .get("/v1/kv/a?stale&consistent")
        .await
        .refused(400, text);
    agent
        .get("/v1/catalog/nodes?stale&consistent")
        .await
        .refused(400, text);
}

#[tokio::test]
async fn pretty_is_for_people() {
    let agent = Agent::dev().await;
    let plain = agent.get("/v1/catalog/services").await.ok();
    let pretty = agent.get("/v1/catalog/services?pretty").await.ok();
    assert_eq!(pretty.json, plain.json);
    assert!(pretty.text.contains("\n    \"consul\""), "{}", pretty.text);
}

#[tokio::test]
async fn large_answers_are_packed_for_those_who_ask() {
    let agent = Agent::dev().await;
    let value = "lictor ".repeat(2000);
    agent.put("/v1/kv/large", value.as_str()).await.ok();
    let packed = agent
        .request_with(
            Method::GET,
            "/v1/kv/large?raw",
            &[("accept-encoding", "gzip")],
        )
        .await
        .ok();
    assert_eq!(packed.header("content-encoding"), Some("gzip"));
    assert_eq!(packed.header("vary"), Some("Accept-Encoding"));
    assert!(packed.body.len() < value.len() / 4);
    let mut text = String::new();
    GzDecoder::new(&packed.body[..])
        .read_to_string(&mut text)
        .expect("gzip");
    assert_eq!(text, value);
    let plain = agent.get("/v1/kv/large?raw").await.ok();
    assert_eq!(
        (plain.header("content-encoding"), plain.text.as_str()),
        (None, value.as_str())
    );
}

#[tokio::test]
async fn configured_headers_are_on_every_answer() {
    let headers = json!({"Access-Control-Allow-Origin": "*", "X-Own": "yes"});
    let config = json!({"http_config": {"response_headers": headers}});
    let agent = Agent::build().config(config).start().await;
    for path in ["/v1/catalog/datacenters", "/v1/nothing", "/v1/kv/none"] {
        let reply = agent.get(path).await;
        assert_eq!(reply.header("x-own"), Some("yes"), "{path}");
        assert_eq!(
            reply.header("access-control-allow-origin"),
            Some("*"),
            "{path}"
        );
    }
}

#[tokio::test]
async fn writes_can_be_kept_to_some_networks() {
    let config = json!({"http_config": {"allow_write_http_from": ["10.0.0.0/8"]}});
    let agent = Agent::build().config(config).start().await;
    agent.put("/v1/kv/a", "x").await.expect(403);
    agent.get("/v1/kv/a").await.expect(404);
    let config = json!({"http_config": {"allow_write_http_from": ["127.0.0.0/8"]}});
    let agent = Agent::build().config(config).start().await;
    agent.put("/v1/kv/a", "x").await.ok();
}

#[tokio::test]
async fn requests_that_are_none_are_told_so() {
    let agent = Agent::dev().await;
    let at = agent.http_address();
    let no_host = exchange(
        at,
        b"GET /v1/status/leader HTTP/1.1\r\nConnection: close\r\n\r\n",
    )
    .await;
    assert!(no_host.starts_with("HTTP/1.1 400 "), "{no_host}");
    let nonsense = exchange(at, b"NONSENSE\r\n\r\n").await;
    assert!(nonsense.starts_with("HTTP/1.1 400 "), "{nonsense}");
    let old = exchange(at, b"GET /v1/status/leader HTTP/1.0\r\n\r\n").await;
    assert!(old.starts_with("HTTP/1.0 200 "), "{old}");
}

#[tokio::test]
async fn two_requests_in_one_go_have_two_answers_in_order() {
    let agent = Agent::dev().await;
    agent.put("/v1/kv/one", "first").await.ok();
    agent.put("/v1/kv/two", "second").await.ok();
    let both = b"GET /v1/kv/one?raw HTTP/1.1\r\nHost: x\r\n\r\n\
                 GET /v1/kv/two?raw HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let text = exchange(agent.http_address(), both).await;
    let (first, second) = (text.find("first"), text.find("second"));
    assert!(first.is_some() && first < second, "{text}");
    assert_eq!(text.matches("HTTP/1.1 200 OK").count(), 2);
}

#[tokio::test]
async fn a_unix_socket_serves_the_same() {
    let folder = Folder::new();
    let socket = folder.join("http.sock");
    let address = format!("unix://{}", socket.display());
    let addresses = format!("127.0.0.1 {address}");
    let config = json!({"addresses": {"http": addresses}, "unix_sockets": {"mode": "0600"}});
    let agent = Agent::build().config(config).start().await;
    agent.put("/v1/kv/a", "x").await.ok();
    let client =
        lictor_client::Client::new(lictor_client::ClientConfig::at(&address)).expect("a client");
    let (row, _) = client
        .kv_get("a", &Default::default())
        .await
        .expect("an answer");
    assert_eq!(row.expect("the key").key, "a");
    use std::os::unix::fs::PermissionsExt;
    let mode = socket.metadata().expect("the socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

/// Makes an authority and a certificate for localhost.
pub(crate) async fn certificates(folder: &Folder) {
    let openssl = peer("openssl", "openssl");
    folder.write("ext", "subjectAltName=DNS:localhost,IP:127.0.0.1\n");
    let file = |name: &str| folder.join(name).display().to_string();
    let (ca, ca_key, key) = (file("ca.pem"), file("ca-key.pem"), file("key.pem"));
    let (request, certificate, extra) = (file("request.pem"), file("cert.pem"), file("ext"));
    let ec = [
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
    ];
    let own = [
        "req",
        "-x509",
        "-days",
        "2",
        "-subj",
        "/CN=test authority",
        "-keyout",
        &ca_key,
        "-out",
        &ca,
    ];
    let asked = [
        "req",
        "-subj",
        "/CN=localhost",
        "-keyout",
        &key,
        "-out",
        &request,
    ];
    let signed = [
        "x509",
        "-req",
        "-days",
        "2",
        "-in",
        &request,
        "-CA",
        &ca,
        "-CAkey",
        &ca_key,
        "-CAcreateserial",
        "-extfile",
        &extra,
        "-out",
        &certificate,
    ];
    for args in [
        [&own[..], &ec].concat(),
        [&asked[..], &ec].concat(),
        signed.to_vec(),
    ] {
        run(&openssl, &args, &[], "", Duration::from_secs(20))
            .await
            .ok();
    }
}

#[tokio::test]
async fn https_is_served_beside_http() {
    let folder = Folder::new();
    certificates(&folder).await;
    let port = lictor_tests::free_port();
    let file = |name: &str| folder.join(name).display().to_string();
    let tls = json!({"cert_file": file("cert.pem"), "key_file": file("key.pem"), "ca_file": file("ca.pem")});
    let config = json!({"ports": {"https": port}, "tls": {"https": tls}});
    let agent = Agent::build().config(config).start().await;
    agent.put("/v1/kv/a", "over tls").await.ok();
    let curl = peer("curl", "curl");
    let url = format!("https://localhost:{port}/v1/kv/a?raw");
    let limit = Duration::from_secs(20);
    let trusted = ["-sS", "--cacert", &file("ca.pem"), &url];
    assert_eq!(
        run(&curl, &trusted, &[], "", limit).await.ok().stdout,
        "over tls"
    );
    for version in ["--http1.1", "--http2"] {
        let args = [&trusted[..], &[version]].concat();
        assert_eq!(
            run(&curl, &args, &[], "", limit).await.ok().stdout,
            "over tls",
            "{version}"
        );
    }
    let stranger = run(&curl, &["-sS", &url], &[], "", limit).await;
    assert_eq!(
        stranger.code, 60,
        "a certificate that nobody vouches for: {}",
        stranger.stderr
    );
    let plain = format!("http://localhost:{port}/v1/kv/a");
    let plain = run(
        &curl,
        &["-sS", "-o", "/dev/null", "-w", "%{http_code}", &plain],
        &[],
        "",
        limit,
    )
    .await;
    assert_ne!(plain.stdout, "200", "plain text at a TLS port");
}

#[tokio::test]
async fn https_can_ask_for_certificates_of_clients() {
    let folder = Folder::new();
    certificates(&folder).await;
    let port = lictor_tests::free_port();
    let file = |name: &str| folder.join(name).display().to_string();
    let tls = json!({"cert_file": file("cert.pem"), "key_file": file("key.pem"),
                     "ca_file": file("ca.pem"), "verify_incoming": true});
    let config = json!({"ports": {"https": port}, "tls": {"https": tls}});
    let _agent = Agent::build().config(config).start().await;
    let curl = peer("curl", "curl");
    let url = format!("https://localhost:{port}/v1/status/leader");
    let limit = Duration::from_secs(20);
    let (ca, cert, key) = (file("ca.pem"), file("cert.pem"), file("key.pem"));
    let stranger = run(&curl, &["-sS", "--cacert", &ca, &url], &[], "", limit).await;
    assert_ne!(stranger.code, 0, "{}", stranger.stdout);
    let known = ["-sS", "--cacert", &ca, "--cert", &cert, "--key", &key, &url];
    run(&curl, &known, &[], "", limit).await.ok();
}

#[tokio::test]
async fn one_address_has_200_connections_and_no_more() {
    let agent = Agent::dev().await;
    let mut held = Vec::new();
    let mut refused = None;
    // The harness itself holds one or a few.
    for _ in 0..220 {
        let mut raw = Raw::connect(agent.http_address()).await;
        raw.send(b"GET /v1/status/leader HTTP/1.1\r\nHost: x\r\n\r\n")
            .await;
        let line = raw.status_line().await;
        if line != "HTTP/1.1 200 OK" {
            refused = Some((line, held.len()));
            break;
        }
        held.push(raw);
    }
    let (line, count) = refused.expect("no end of connections");
    assert_eq!(line, "HTTP/1.1 429 Too Many Requests");
    assert!((190..=200).contains(&count), "refused after {count}");
    held.truncate(100);
    until("room for new connections", async || {
        let mut raw = Raw::connect(agent.http_address()).await;
        raw.send(b"GET /v1/status/leader HTTP/1.1\r\nHost: x\r\n\r\n")
            .await;
        (raw.status_line().await == "HTTP/1.1 200 OK").then_some(())
    })
    .await;
}

#[tokio::test]
async fn headers_end_at_a_mebibyte() {
    let agent = Agent::dev().await;
    let request = |size: usize| {
        let long = "y".repeat(size);
        format!(
            "GET /v1/status/leader HTTP/1.1\r\nHost: x\r\nX-Long: {long}\r\nConnection: close\r\n\r\n"
        )
    };
    let small = exchange(agent.http_address(), request(1_000_000).as_bytes()).await;
    assert!(
        small.starts_with("HTTP/1.1 200 "),
        "{}",
        &small[..small.len().min(200)]
    );
    let large = exchange(agent.http_address(), request(1_100_000).as_bytes()).await;
    assert!(
        large.starts_with("HTTP/1.1 431 "),
        "{}",
        &large[..large.len().min(200)]
    );
}

#[tokio::test]
async fn an_agent_tells_about_itself() {
    let agent = Agent::dev().await;
    let own = agent.get("/v1/agent/self").await.ok();
    assert_eq!(own.str("/Config/NodeName"), "lictor-test");
    assert_eq!(own.at("/Config/Server"), &json!(true));
    assert_eq!(own.str("/Member/Tags/role"), "consul");
    let members = agent.get("/v1/agent/members").await.ok();
    assert_eq!(members.column("/Name"), ["lictor-test"]);
    let leader = agent.get("/v1/status/leader").await.ok();
    assert_eq!(
        agent.get("/v1/status/peers").await.ok().json,
        json!([leader.json])
    );
    let metrics = agent.get("/v1/agent/metrics").await.ok();
    assert_eq!(
        metrics.keys(),
        ["Counters", "Gauges", "Points", "Samples", "Timestamp"]
    );
    let host = agent.get("/v1/agent/host").await.ok();
    assert!(host.at("/Memory/total").is_number() && host.at("/CPU/0").is_object());
}

#[tokio::test]
async fn events_are_fired_and_listed() {
    let agent = Agent::dev().await;
    let fired = agent.put("/v1/event/fire/deploy", "payload").await.ok();
    let listed = agent
        .get_until("/v1/event/list?name=deploy", |r| r.rows().len() == 1)
        .await;
    assert_eq!(listed.str("/0/ID"), fired.str("/ID"));
    assert_eq!(listed.str("/0/Payload"), "cGF5bG9hZA==");
    assert_eq!(
        agent.get("/v1/event/list?name=other").await.ok().json,
        json!([])
    );
}

#[tokio::test]
async fn the_log_can_be_followed() {
    let agent = Agent::dev().await;
    let request = lictor_client::Request::encoded(Method::GET, "/v1/agent/monitor")
        .raw_query("loglevel=debug");
    let mut stream = agent.client().stream(request).await.expect("a stream");
    agent.register(json!({"Name": "seen-in-the-log"})).await;
    let mut text = String::new();
    let read = async {
        while !text.contains("seen-in-the-log") {
            let piece = stream.chunk().await.expect("a stream").expect("more of it");
            text.push_str(&String::from_utf8_lossy(&piece));
        }
    };
    tokio::time::timeout(Duration::from_secs(10), read)
        .await
        .expect("the line in time");
    agent
        .get("/v1/agent/monitor?loglevel=loud")
        .await
        .expect(400);
}
