//! The demo: servers that keep moving lose no request where there are two, and visibly some where
//! there is one.

use lictor_tests::{Output, demo_binary, lictor_binary, run};
use std::time::Duration;

async fn up(args: &[&str]) -> Output {
    let lictor = format!("-lictor={}", lictor_binary().display());
    let args = [&["up", "-color=never", &lictor], args].concat();
    run(demo_binary(), &args, &[], "", Duration::from_secs(120)).await
}

/// The ports that the servers were on, all together.
fn moves(output: &Output) -> u64 {
    let ports = output.stdout.lines().filter_map(|line| {
        let (_, rest) = line.split_once("refused ")?;
        rest.split_once("on ")?
            .1
            .strip_suffix(" ports")?
            .parse::<u64>()
            .ok()
    });
    ports.sum()
}

/// The last line of the client, such as `sent 4: 4 answered, 0 failed; dns 2 of 2; http 2 of 2`.
fn summary(output: &Output) -> &str {
    let line = output
        .stdout
        .lines()
        .rev()
        .find_map(|line| line.split_once("sent "));
    line.unwrap_or_else(|| panic!("no summary: {}", output.all()))
        .1
}

#[tokio::test]
async fn two_servers_that_move_lose_no_request() {
    let out = up(&[
        "-interval=600ms",
        "-grace=100ms",
        "-rate=50",
        "-count=600",
        "-strict=true",
    ])
    .await;
    let moved = moves(&out);
    println!("{} ports; {}", moved, summary(&out));
    assert_eq!(out.code, 0, "{}", out.all());
    assert!(
        summary(&out).starts_with("600: 600 answered, 0 failed"),
        "{}",
        summary(&out)
    );
    assert!(
        summary(&out).contains("dns 300 of 300; http 300 of 300"),
        "{}",
        summary(&out)
    );
    assert!(
        moved >= 22,
        "only {moved} ports, which is {} restarts",
        moved.saturating_sub(2)
    );
}

#[tokio::test]
async fn dns_alone_and_http_alone_lose_none_either() {
    for via in ["dns", "http"] {
        let way = format!("-via={via}");
        let out = up(&[
            "-interval=600ms",
            "-grace=100ms",
            "-rate=50",
            "-count=300",
            "-strict=true",
            &way,
        ])
        .await;
        assert_eq!(out.code, 0, "{}", out.all());
        let all = format!("; {via} 300 of 300");
        assert!(summary(&out).contains(&all), "{}", summary(&out));
    }
}

#[tokio::test]
async fn one_server_that_moves_is_missed() {
    let out = up(&[
        "-servers=1",
        "-interval=500ms",
        "-grace=500ms",
        "-rate=50",
        "-count=200",
        "-strict=true",
    ])
    .await;
    assert_eq!(out.code, 1, "{}", out.all());
    assert!(
        summary(&out).contains("no such host"),
        "the drop is not visible: {}",
        summary(&out)
    );
    assert!(!summary(&out).contains(": 0 answered"), "{}", summary(&out));
}

#[tokio::test]
async fn a_grace_that_leaves_nobody_to_call_is_refused() {
    let out = up(&["-interval=600ms", "-grace=300ms", "-count=1"])
        .await
        .expect(1);
    assert!(
        out.stderr
            .starts_with("-grace=300ms is too long for 2 servers"),
        "{}",
        out.stderr
    );
    assert_eq!(out.stdout, "", "nothing was started");
    // One more server, and there is always one.
    let more = [
        "-interval=600ms",
        "-grace=300ms",
        "-servers=3",
        "-rate=50",
        "-count=200",
        "-strict=true",
    ];
    up(&more).await.ok();
}

#[tokio::test]
async fn a_program_that_is_not_there_is_explained() {
    let args = ["up", "-lictor=/nonexistent/lictor"];
    let out = run(demo_binary(), &args, &[], "", Duration::from_secs(20))
        .await
        .expect(1);
    assert!(
        out.stderr.contains("/nonexistent/lictor") && out.stderr.contains("-http-addr"),
        "{}",
        out.stderr
    );
}

/// As somebody would run it by hand: an agent, servers and a client of their own, and a server
/// that is killed without a word.
#[tokio::test]
async fn its_parts_run_alone_and_a_killed_server_is_taken_out() {
    let agent = lictor_tests::Agent::dev().await;
    let http = agent.http_address().to_string();
    let dns = agent.dns_address().to_string();
    let server = || {
        std::process::Command::new(demo_binary())
            .args(["server", "-interval=1h", "-version=v1", "-http-addr", &http])
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .spawn()
            .expect("a server")
    };
    let (mut one, mut two) = (server(), server());
    let passing = "/v1/health/service/lictor-demo?passing";
    agent.get_until(passing, |r| r.rows().len() == 2).await;
    let args = [
        "client",
        "-rate=100",
        "-count=100",
        "-strict=true",
        "-http-addr",
        &http,
        "-dns-addr",
        &dns,
    ];
    let out = run(demo_binary(), &args, &[], "", Duration::from_secs(60))
        .await
        .ok();
    assert!(
        summary(&out).starts_with("100: 100 answered"),
        "{}",
        summary(&out)
    );

    one.kill().expect("a kill");
    one.wait().expect("its end");
    // Its check runs every five seconds.
    agent.get_until(passing, |r| r.rows().len() == 1).await;
    let out = run(demo_binary(), &args, &[], "", Duration::from_secs(60)).await;
    two.kill().expect("a kill");
    two.wait().expect("its end");
    assert!(out.ok().stdout.contains("100 answered, 0 failed"));
}
