//! The kinds of checks that ask by a protocol, thresholds, aliases across nodes, and what becomes
//! of a script that hangs: each as a user has it, against something that answers.

use lictor_tests::{
    Agent, Folder, GrpcTarget, HttpTarget, Reply, TcpTarget, Value, free_port, json, until,
};
use tokio::net::UdpSocket;

async fn register(agent: &Agent, check: Value) {
    agent.put("/v1/agent/check/register", check).await.ok();
}

/// The output of the check, once its status is this and the output holds that.
async fn becomes(agent: &Agent, id: &str, status: &str, part: &str) -> String {
    let (state, output) = (format!("/{id}/Status"), format!("/{id}/Output"));
    let wish = |r: &Reply| r.str(&state) == status && r.str(&output).contains(part);
    let checks = agent.get_until("/v1/agent/checks", wish).await;
    checks.str(&output).to_owned()
}

#[tokio::test]
async fn a_udp_check_fails_where_nobody_listens() {
    let agent = Agent::dev().await;
    let silent = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    let address = silent.local_addr().expect("its address").to_string();
    let check = json!({"Name": "udp", "UDP": address, "Interval": "50ms", "Timeout": "100ms"});
    register(&agent, check).await;
    let text = format!("UDP connect {address}: Success");
    becomes(&agent, "udp", "passing", &text).await;
    let kind = agent.get("/v1/agent/checks").await.ok();
    assert_eq!(kind.str("/udp/Type"), "udp");
    drop(silent);
    becomes(&agent, "udp", "critical", "connection refused").await;
}

#[tokio::test]
async fn a_grpc_check_asks_how_the_service_is() {
    let agent = Agent::dev().await;
    let target = GrpcTarget::start().await;
    let address = target.address();
    for (name, service) in [("all", ""), ("web", "/web"), ("other", "/other")] {
        let grpc = format!("{address}{service}");
        register(
            &agent,
            json!({"Name": name, "GRPC": grpc, "Interval": "50ms", "Timeout": "5s"}),
        )
        .await;
    }
    let success = |service: &str| format!("gRPC check {address}{service}: success");
    becomes(&agent, "all", "passing", &success("")).await;
    becomes(&agent, "web", "passing", &success("/web")).await;
    becomes(&agent, "other", "critical", "code = NotFound").await;
    target.serves(false);
    let text = format!("gRPC {address}/web serving status: NOT_SERVING");
    becomes(&agent, "web", "critical", &text).await;
    target.serves(true);
    becomes(&agent, "web", "passing", &success("/web")).await;
    drop(target);
    becomes(&agent, "web", "critical", "code = Unavailable").await;
}

#[tokio::test]
async fn a_ping_of_http2_wants_an_answer() {
    let agent = Agent::dev().await;
    // An agent speaks HTTP/2 to those who begin with it.
    let own = agent.http_address().to_string();
    let mute = TcpTarget::start().await;
    for (name, address) in [("own", own), ("mute", mute.address().to_string())] {
        register(
            &agent,
            json!({"Name": name, "H2PING": address, "H2PingUseTLS": false, "Interval": "50ms", "Timeout": "200ms"}),
        )
        .await;
    }
    becomes(&agent, "own", "passing", "HTTP2 ping was successful").await;
    becomes(&agent, "mute", "critical", "HTTP2 ping failed").await;
}

#[tokio::test]
async fn a_check_by_https_trusts_whom_the_system_trusts() {
    let folder = Folder::new();
    crate::http::certificates(&folder).await;
    let port = free_port();
    let file = |name: &str| folder.join(name).display().to_string();
    let tls = json!({"cert_file": file("cert.pem"), "key_file": file("key.pem")});
    let build = || Agent::build().config(json!({"ports": {"https": port}, "tls": {"https": tls}}));
    let url = format!("https://localhost:{port}/v1/status/leader");
    let trusting = json!({"Name": "trusting", "HTTP": url, "Interval": "100ms"});
    let blind = json!({"Name": "blind", "HTTP": url, "Interval": "100ms", "TLSSkipVerify": true});

    let agent = build().start().await;
    register(&agent, trusting.clone()).await;
    register(&agent, blind).await;
    let unknown = "x509: certificate signed by unknown authority";
    becomes(&agent, "trusting", "critical", unknown).await;
    becomes(&agent, "blind", "passing", "HTTP GET https://localhost").await;
    drop(agent);

    let authority = file("ca.pem");
    let agent = build().env("SSL_CERT_FILE", &authority).start().await;
    register(&agent, trusting.clone()).await;
    becomes(&agent, "trusting", "passing", "200 OK").await;
    let mut other = trusting;
    other["Name"] = json!("other");
    other["TLSServerName"] = json!("elsewhere.example");
    register(&agent, other).await;
    becomes(&agent, "other", "critical", "elsewhere.example").await;
}

#[tokio::test]
async fn a_failure_warns_before_it_is_critical_if_asked_for() {
    let agent = Agent::dev().await;
    let web = HttpTarget::start().await;
    let check = json!({"CheckID": "c", "HTTP": web.url("/"), "Interval": "100ms", "Status": "passing",
                       "FailuresBeforeWarning": 1, "FailuresBeforeCritical": 5});
    agent.register(json!({"Name": "web", "Check": check})).await;
    becomes(&agent, "c", "passing", "200").await;
    web.answers(500, "down");
    let from = web.seen().len();
    becomes(&agent, "c", "warning", "").await;
    let warned = web.seen().len() - from;
    becomes(&agent, "c", "critical", "down").await;
    let failed = web.seen().len() - from;
    assert!(
        failed >= 4 && warned < failed,
        "warning after {warned}, critical after {failed}"
    );
    // Nothing but a success takes it back, and one is enough.
    web.answers(200, "up");
    becomes(&agent, "c", "passing", "up").await;
}

#[tokio::test]
async fn an_alias_follows_a_service_or_a_node_of_the_catalog() {
    let agent = Agent::dev().await;
    let far = async |status: &str| {
        let service = json!({"ID": "db-1", "Service": "db", "Port": 5432});
        let check =
            json!({"CheckID": "db-check", "Name": "db", "ServiceID": "db-1", "Status": status});
        agent
            .external(
                "far",
                "10.1.1.1",
                json!({"Service": service, "Check": check}),
            )
            .await;
    };
    let node = async |status: &str| {
        let check = json!({"CheckID": "host", "Name": "host", "Status": status});
        agent
            .external("far", "10.1.1.1", json!({"Check": check}))
            .await;
    };
    register(
        &agent,
        json!({"Name": "of-service", "AliasNode": "far", "AliasService": "db-1"}),
    )
    .await;
    register(&agent, json!({"Name": "of-node", "AliasNode": "far"})).await;
    becomes(&agent, "of-service", "critical", "").await;
    far("passing").await;
    becomes(&agent, "of-service", "passing", "").await;
    becomes(&agent, "of-node", "passing", "").await;
    far("warning").await;
    becomes(&agent, "of-service", "warning", "").await;
    far("passing").await;
    becomes(&agent, "of-service", "passing", "").await;
    // The node's own checks are its services', too.
    node("critical").await;
    becomes(&agent, "of-service", "critical", "").await;
    becomes(&agent, "of-node", "critical", "").await;
    node("passing").await;
    becomes(&agent, "of-service", "passing", "").await;
    agent
        .put("/v1/catalog/deregister", json!({"Node": "far"}))
        .await
        .ok();
    becomes(&agent, "of-service", "critical", "").await;
}

#[tokio::test]
async fn a_script_that_hangs_is_ended_with_its_children() {
    let agent = Agent::build()
        .config(json!({"enable_script_checks": true}))
        .start()
        .await;
    let pid = agent.folder().join("child");
    let script = format!("sleep 300 & echo $! > {}; wait", pid.display());
    register(
        &agent,
        json!({"Name": "hangs", "Args": ["sh", "-c", script], "Interval": "500ms", "Timeout": "300ms",
               "Status": "passing"}),
    )
    .await;
    becomes(&agent, "hangs", "critical", "Timed out (300ms)").await;
    agent.put("/v1/agent/check/deregister/hangs", ()).await.ok();
    let child = std::fs::read_to_string(&pid).expect("the number of its child");
    let child = format!("/proc/{}", child.trim());
    let ended = async || {
        // A zombie has ended, and is somebody else's to bury.
        let state = std::fs::read_to_string(format!("{child}/stat")).unwrap_or_default();
        (state.is_empty() || state.contains(") Z ")).then_some(())
    };
    until("the end of the script's child", ended).await;
}

#[tokio::test]
async fn a_check_in_a_file_says_all_of_it() {
    let web = HttpTarget::start().await;
    let file = format!(
        "service {{\n name = \"web\"\n port = 80\n check {{\n  id = \"c\"\n  http = \"{}\"\n  \
         interval = \"100ms\"\n  timeout = \"5s\"\n  success_before_passing = 2\n  failures_before_warning = 1\n  \
         failures_before_critical = 3\n  deregister_critical_service_after = \"90m\"\n  notes = \"by file\"\n }}\n}}\n",
        web.url("/health")
    );
    web.answers(500, "starting");
    let agent = Agent::build().file("web.hcl", file).start().await;
    becomes(&agent, "c", "critical", "starting").await;
    web.answers(200, "started");
    let from = web.seen().len();
    becomes(&agent, "c", "passing", "started").await;
    assert!(web.seen().len() >= from + 2, "one success was enough");
    let checks = agent.get("/v1/agent/checks").await.ok();
    assert_eq!(
        (
            checks.str("/c/Notes"),
            checks.str("/c/Type"),
            checks.str("/c/ServiceName")
        ),
        ("by file", "http", "web")
    );
}
