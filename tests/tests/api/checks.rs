//! The checks of this agent: `/v1/agent/check/`, and what they do by themselves.

use lictor_tests::{Agent, HttpTarget, Reply, TcpTarget, Value, free_port, json};

async fn register(agent: &Agent, check: Value) {
    agent.put("/v1/agent/check/register", check).await.ok();
}

/// The check, once its status is this.
async fn becomes(agent: &Agent, id: &str, status: &str) -> Reply {
    let path = format!("/{id}/Status");
    agent
        .get_until("/v1/agent/checks", |r| r.str(&path) == status)
        .await
}

#[tokio::test]
async fn a_ttl_check_says_what_it_is_told() {
    let agent = Agent::dev().await;
    register(
        &agent,
        json!({"Name": "mem", "TTL": "1h", "Notes": "memory"}),
    )
    .await;
    let born = agent.get("/v1/agent/checks").await.ok();
    assert_eq!(
        (born.str("/mem/Status"), born.str("/mem/Type")),
        ("critical", "ttl")
    );
    for (verb, status) in [
        ("pass", "passing"),
        ("warn", "warning"),
        ("fail", "critical"),
    ] {
        agent
            .put(&format!("/v1/agent/check/{verb}/mem?note=said+{verb}"), ())
            .await
            .ok();
        let checks = agent.get("/v1/agent/checks").await.ok();
        let output = format!("said {verb}");
        assert_eq!(
            (checks.str("/mem/Status"), checks.str("/mem/Output")),
            (status, &*output)
        );
        let wish = |r: &Reply| r.column("/Output").contains(&output);
        agent.get_until("/v1/health/node/lictor-test", wish).await;
    }
    let update = "/v1/agent/check/update/mem";
    agent
        .put(update, json!({"Status": "passing", "Output": "curl ok"}))
        .await
        .ok();
    assert_eq!(
        agent.get("/v1/agent/checks").await.ok().str("/mem/Output"),
        "curl ok"
    );
    let wrong = agent.put(update, json!({"Status": "splendid"})).await;
    wrong.refused(400, "Invalid check status: 'splendid'");
    agent.put(update, "{").await.expect(400);
    agent.put("/v1/agent/check/pass/nobody", ()).await.refused(
        404,
        "Unknown check ID \"nobody\". Ensure that the check ID is passed, not the check name.",
    );

    agent.put("/v1/agent/check/deregister/mem", ()).await.ok();
    assert_eq!(agent.get("/v1/agent/checks").await.ok().json, json!({}));
    agent
        .get_until("/v1/health/node/lictor-test", |r| r.rows().len() == 1)
        .await;
}

#[tokio::test]
async fn long_output_is_cut_with_a_word_about_it() {
    let agent = Agent::dev().await;
    register(&agent, json!({"Name": "c", "TTL": "1h"})).await;
    let long = json!({"Status": "passing", "Output": "x".repeat(6000)});
    agent.put("/v1/agent/check/update/c", long).await.ok();
    let checks = agent.get("/v1/agent/checks").await.ok();
    let output = checks.str("/c/Output");
    assert!(
        output.ends_with("x ... (captured 4096 of 6000 bytes)"),
        "{output}"
    );
}

#[tokio::test]
async fn a_ttl_check_that_hears_nothing_is_critical() {
    let agent = Agent::dev().await;
    register(
        &agent,
        json!({"Name": "brief", "TTL": "300ms", "Status": "passing"}),
    )
    .await;
    let expired = becomes(&agent, "brief", "critical").await;
    assert_eq!(expired.str("/brief/Output"), "TTL expired");
    agent
        .put("/v1/agent/check/pass/brief?note=back", ())
        .await
        .ok();
    assert_eq!(
        agent
            .get("/v1/agent/checks")
            .await
            .ok()
            .str("/brief/Status"),
        "passing"
    );
}

#[tokio::test]
async fn an_http_check_goes_by_the_status() {
    let agent = Agent::dev().await;
    let web = HttpTarget::start().await;
    let header = json!({"X-Probe": ["one"]});
    register(
        &agent,
        json!({"Name": "web", "HTTP": web.url("/health"), "Interval": "50ms", "Timeout": "5s",
               "Header": header, "Method": "POST", "Body": "hello"}),
    )
    .await;
    becomes(&agent, "web", "passing").await;
    let seen = web.seen().swap_remove(0).to_lowercase();
    assert!(seen.starts_with("post /health http/1.1\r\n"), "{seen}");
    assert!(
        seen.contains("\r\nx-probe: one\r\n") && seen.ends_with("\r\n\r\nhello"),
        "{seen}"
    );
    assert!(
        seen.contains("\r\nuser-agent: consul health check\r\n"),
        "{seen}"
    );
    web.answers(429, "busy");
    becomes(&agent, "web", "warning").await;
    web.answers(503, "broken");
    let failed = becomes(&agent, "web", "critical").await;
    assert!(
        failed.str("/web/Output").ends_with("Output: broken"),
        "{}",
        failed.text
    );
    web.answers(204, "");
    becomes(&agent, "web", "passing").await;
}

#[tokio::test]
async fn connections_that_fail_are_critical_and_say_why() {
    let agent = Agent::dev().await;
    let open = TcpTarget::start().await;
    let closed = free_port();
    let tcp =
        |name: &str, address: String| json!({"Name": name, "TCP": address, "Interval": "50ms"});
    register(&agent, tcp("open", open.address().to_string())).await;
    register(&agent, tcp("shut", format!("127.0.0.1:{closed}"))).await;
    let http = format!("http://127.0.0.1:{closed}/");
    register(
        &agent,
        json!({"Name": "refused", "HTTP": http, "Interval": "50ms"}),
    )
    .await;
    let good = becomes(&agent, "open", "passing").await;
    let text = format!("TCP connect {}: Success", open.address());
    assert_eq!(good.str("/open/Output"), text);
    for name in ["shut", "refused"] {
        let path = format!("/{name}/Output");
        agent
            .get_until("/v1/agent/checks", |r| {
                r.str(&path).contains("connection refused")
            })
            .await;
    }
}

#[tokio::test]
async fn a_server_that_says_nothing_is_critical_after_the_timeout() {
    let agent = Agent::dev().await;
    let mute = TcpTarget::start().await;
    let url = format!("http://{}/", mute.address());
    let check = json!({"Name": "mute", "HTTP": url, "Interval": "50ms", "Timeout": "200ms"});
    register(&agent, check).await;
    agent
        .get_until("/v1/agent/checks", |r| !r.str("/mute/Output").is_empty())
        .await;
    assert_eq!(
        agent.get("/v1/agent/checks").await.ok().str("/mute/Status"),
        "critical"
    );
}

#[tokio::test]
async fn scripts_run_where_they_are_allowed_and_their_code_counts() {
    let agent = Agent::build()
        .config(json!({"enable_script_checks": true}))
        .start()
        .await;
    for (code, word, status) in [
        (0, "fine", "passing"),
        (1, "hm", "warning"),
        (2, "bad", "critical"),
    ] {
        let name = format!("script-{code}");
        let script = format!("echo {word}; exit {code}");
        let args = json!(["sh", "-c", script]);
        register(
            &agent,
            json!({"Name": name, "Args": args, "Interval": "100ms"}),
        )
        .await;
        let path = format!("/{name}/Output");
        let done = agent
            .get_until("/v1/agent/checks", |r| !r.str(&path).is_empty())
            .await;
        assert_eq!(
            (done.str(&path), done.str(&format!("/{name}/Status"))),
            (&*format!("{word}\n"), status)
        );
    }
    let slow =
        json!({"Name": "slow", "Args": ["sleep", "60"], "Interval": "100ms", "Timeout": "200ms"});
    register(&agent, slow).await;
    let cut = agent
        .get_until("/v1/agent/checks", |r| !r.str("/slow/Output").is_empty())
        .await;
    assert_eq!(cut.str("/slow/Output"), "Timed out (200ms) running check");
    let absent = json!({"Name": "absent", "Args": ["/nonexistent/program"], "Interval": "100ms"});
    register(&agent, absent).await;
    let missing = agent
        .get_until("/v1/agent/checks", |r| !r.str("/absent/Output").is_empty())
        .await;
    assert!(
        missing.str("/absent/Output").contains("no such file"),
        "{}",
        missing.text
    );
}

#[tokio::test]
async fn a_script_that_prints_without_end_costs_no_memory() {
    let agent = Agent::build()
        .config(json!({"enable_script_checks": true}))
        .start()
        .await;
    let before = agent.memory();
    let args = json!([
        "sh",
        "-c",
        "yes a-line-of-output | head -c 200000000; exit 1"
    ]);
    let check = json!({"Name": "noisy", "Args": args, "Interval": "1s", "Timeout": "15s"});
    register(&agent, check).await;
    let done = becomes(&agent, "noisy", "warning").await;
    assert!(done.str("/noisy/Output").len() < 8192);
    let grown = agent.memory().saturating_sub(before);
    assert!(grown < 32 << 20, "{grown} bytes more");
}

#[tokio::test]
async fn scripts_are_off_unless_allowed() {
    let agent = Agent::dev().await;
    let text = "Scripts are disabled on this agent from remote calls; to enable, configure 'enable_script_checks' to true";
    let check = json!({"Name": "no", "Args": ["true"], "Interval": "1s"});
    agent
        .put("/v1/agent/check/register", check.clone())
        .await
        .refused(500, text);
    let service = json!({"Name": "no", "Check": check});
    agent
        .put("/v1/agent/service/register", service)
        .await
        .refused(500, text);
    assert_eq!(agent.get("/v1/agent/checks").await.ok().json, json!({}));
    assert_eq!(agent.get("/v1/agent/services").await.ok().json, json!({}));
}

#[tokio::test]
async fn wrong_checks_are_refused() {
    let agent = Agent::dev().await;
    let refused = async |body: Value, status: u16, text: &str| {
        agent
            .put("/v1/agent/check/register", body)
            .await
            .refused(status, text);
    };
    let interval = "Invalid check: Interval must be > 0 for Script, HTTP, H2PING, TCP, UDP or OSService checks";
    let ttl = "Invalid check: TTL must be > 0 for TTL checks";
    refused(json!({"TTL": "1h"}), 400, "Missing check name").await;
    refused(
        json!({"Name": "c", "TTL": "1h", "Status": "great"}),
        400,
        "Bad check status",
    )
    .await;
    refused(
        json!({"Name": "c", "HTTP": "http://127.0.0.1/"}),
        400,
        interval,
    )
    .await;
    refused(json!({"Name": "c", "Interval": "1s"}), 400, ttl).await;
    refused(json!({"Name": "c", "TTL": "-5s"}), 400, ttl).await;
    refused(
        json!({"Name": "c", "TTL": "1h", "Interval": "1s", "TCP": "127.0.0.1:1"}),
        400,
        "Invalid check: Interval and TTL cannot both be specified",
    )
    .await;
    refused(
        json!({"Name": "c", "TTL": "1h", "ServiceID": "nobody"}),
        404,
        "ServiceID \"nobody\" does not exist",
    )
    .await;
    assert_eq!(agent.get("/v1/agent/checks").await.ok().json, json!({}));
}

#[tokio::test]
async fn an_alias_follows_another_service() {
    let agent = Agent::dev().await;
    let check = json!({"TTL": "1h", "CheckID": "main", "Status": "passing"});
    agent
        .register(json!({"Name": "main", "Check": check}))
        .await;
    let alias = json!({"CheckID": "alias", "Name": "follows", "AliasService": "main"});
    agent
        .register(json!({"Name": "side", "Check": alias}))
        .await;
    becomes(&agent, "alias", "passing").await;
    agent.put("/v1/agent/check/fail/main", ()).await.ok();
    becomes(&agent, "alias", "critical").await;
}

#[tokio::test]
async fn a_service_critical_for_too_long_is_deregistered() {
    let agent = Agent::dev().await;
    // The shortest time that counts is a minute; the check itself says so.
    let check = json!({"TTL": "1h", "DeregisterCriticalServiceAfter": "1m"});
    agent.register(json!({"Name": "web", "Check": check})).await;
    // What is well again in between stays, and so does what did not ask for it.
    agent
        .register(json!({"Name": "well", "Check": check}))
        .await;
    agent
        .put("/v1/agent/check/pass/service:well", ())
        .await
        .ok();
    agent
        .register(json!({"Name": "kept", "Check": {"TTL": "1h"}}))
        .await;
    let limit = std::time::Duration::from_secs(120);
    lictor_tests::until_for(limit, "the service's end", async || {
        (agent.get("/v1/agent/services").await.ok().keys() == ["kept", "well"]).then_some(())
    })
    .await;
    assert_eq!(
        agent.get("/v1/agent/checks").await.ok().keys(),
        ["service:kept", "service:well"]
    );
    agent
        .get_until("/v1/catalog/service/web", |r| r.json == json!([]))
        .await;
}

#[tokio::test]
async fn two_failures_and_two_successes_can_be_asked_for() {
    let agent = Agent::dev().await;
    let web = HttpTarget::start().await;
    let check = json!({"Name": "web", "HTTP": web.url("/"), "Interval": "50ms", "Status": "passing",
                       "SuccessBeforePassing": 2, "FailuresBeforeCritical": 3});
    register(&agent, check).await;
    // The first result counts at once.
    agent
        .get_until("/v1/agent/checks", |r| !r.str("/web/Output").is_empty())
        .await;
    web.answers(500, "down");
    let down_from = web.seen().len();
    becomes(&agent, "web", "critical").await;
    assert!(
        web.seen().len() >= down_from + 2,
        "two failures were enough"
    );
    web.answers(200, "up");
    let up_from = web.seen().len();
    becomes(&agent, "web", "passing").await;
    assert!(web.seen().len() > up_from, "one success was enough");
}
