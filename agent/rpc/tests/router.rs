//! Which server is asked, and what is asked again.

mod common;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use common::{TestServer, eventually, raw, uint};
use lictor_rpc::{
    CallError, ClientLimits, Dial, Kind, Pool, RouteError, Router, RouterSettings, ServeOptions,
    Server, rebalance_interval,
};
use tokio::net::TcpListener;
use tokio::time::{Instant, timeout};

const HOLD: Duration = Duration::from_secs(7);
const BLOCKING: Kind = Kind::Blocking {
    max_wait: Duration::from_secs(60),
};

fn router() -> Arc<Router> {
    with(RouterSettings::default())
}

fn with(settings: RouterSettings) -> Arc<Router> {
    let pool = Arc::new(Pool::new(Dial::default(), ClientLimits::default()));
    // Always the same order of numbers: a test that fails, fails again.
    let state = AtomicU64::new(42);
    let random = Arc::new(move || {
        let x = state.fetch_add(0x9e37_79b9_7f4a_7c15, SeqCst);
        (x ^ (x >> 31)).wrapping_mul(0x94d0_49bb_1331_11eb)
    });
    Arc::new(Router::new(pool, settings, random))
}

fn named(addr: SocketAddr) -> Server {
    Server {
        name: format!("server-{}", addr.port()),
        addr,
    }
}

/// An address where nobody listens.
async fn nowhere() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    listener.local_addr().expect("bound")
}

async fn servers(n: usize) -> Vec<TestServer> {
    let mut servers = Vec::new();
    for _ in 0..n {
        servers.push(TestServer::start().await);
    }
    servers
}

fn list(servers: &[TestServer]) -> Vec<Server> {
    servers.iter().map(|s| named(s.addr)).collect()
}

fn calls(server: &TestServer) -> usize {
    server.methods.calls.load(SeqCst)
}

#[tokio::test]
async fn no_servers() {
    let error = router()
        .call("Status.Ping", &[0x80], Kind::Read, HOLD)
        .await
        .expect_err("nobody to ask");
    assert_eq!(error, RouteError::NoServers);
    assert_eq!(error.to_string(), "No known Consul servers");
}

#[tokio::test]
async fn the_first_is_used_for_everything() {
    let servers = servers(3).await;
    let router = router();
    router.set_servers(list(&servers));
    for _ in 0..10 {
        router
            .call("Test.Echo", &uint(1), Kind::Write, HOLD)
            .await
            .expect("a reply");
    }
    let mut counts: Vec<usize> = servers.iter().map(calls).collect();
    counts.sort_unstable();
    assert_eq!(counts, [0, 0, 10]);
    assert_eq!(router.pool().sessions(), 1);
}

#[tokio::test]
async fn servers_that_cannot_be_reached_are_passed_over_at_once() {
    let servers = servers(1).await;
    let router = router();
    let mut all = list(&servers);
    for _ in 0..4 {
        all.push(named(nowhere().await));
    }
    router.set_servers(all);
    let begun = Instant::now();
    for kind in [Kind::Write, Kind::Read] {
        router
            .call("Test.Echo", &uint(1), kind, HOLD)
            .await
            .expect("a reply");
    }
    assert!(begun.elapsed() < HOLD / 16 * 4, "without waiting");
    assert_eq!(
        router.servers()[0],
        named(servers[0].addr),
        "kept at the head"
    );
}

#[tokio::test]
async fn nobody_there_is_an_error_after_the_hold_time() {
    let router = router();
    router.set_servers(vec![named(nowhere().await), named(nowhere().await)]);
    let hold = Duration::from_millis(300);
    let begun = Instant::now();
    let error = router
        .call("Status.Ping", &[0x80], Kind::Read, hold)
        .await
        .expect_err("nobody there");
    assert!(begun.elapsed() >= hold);
    assert!(
        matches!(error, RouteError::Call(CallError::NotSent(_))),
        "{error}"
    );
    assert!(error.to_string().ends_with("connection refused"), "{error}");
}

#[tokio::test]
async fn a_server_that_comes_back_in_time_is_not_noticed() {
    let addr = nowhere().await;
    let router = router();
    router.set_servers(vec![named(addr)]);
    let call = {
        let router = router.clone();
        tokio::spawn(async move { router.call("Test.Echo", &uint(1), Kind::Write, HOLD).await })
    };
    tokio::time::sleep(Duration::from_millis(100)).await;
    let _server = TestServer::at(addr, ServeOptions::default()).await;
    call.await.expect("no panic").expect("a reply");
}

#[tokio::test]
async fn errors_that_allow_it_are_asked_again() {
    for text in [
        "No cluster leader",
        "rpc error making call: No cluster leader",
        "rate limit exceeded, try again later or against a different server",
    ] {
        let servers = servers(2).await;
        let router = router();
        router.set_servers(list(&servers));
        let hold = Duration::from_millis(300);
        let error = router
            .call("Test.Fail", &raw(text.as_bytes()), Kind::Write, hold)
            .await
            .expect_err("it never works");
        assert_eq!(error, RouteError::Call(CallError::Remote(text.into())));
        assert_eq!(error.to_string(), format!("rpc error making call: {text}"));
        assert!(servers.iter().all(|s| calls(s) > 0), "both were asked");
    }
    for text in [
        "Permission denied",
        "rate limit exceeded for operation that can only be performed by the leader, try again later",
        "EOF",
    ] {
        let servers = servers(2).await;
        let router = router();
        router.set_servers(list(&servers));
        router
            .call("Test.Fail", &raw(text.as_bytes()), Kind::Read, HOLD)
            .await
            .expect_err("it never works");
        assert_eq!(servers.iter().map(calls).sum::<usize>(), 1, "{text}");
    }
}

#[tokio::test]
async fn what_may_be_sent_twice_moves_on_when_its_server_dies_and_writes_do_not() {
    for kind in [Kind::Read, BLOCKING, Kind::Once, Kind::Write] {
        let mut servers = servers(2).await;
        let router = router();
        router.set_servers(list(&servers));
        let call = {
            let router = router.clone();
            tokio::spawn(async move { router.call("Test.Wait", &[0x80], kind, HOLD).await })
        };
        let waits = |s: &TestServer| s.methods.running.load(SeqCst) == 1;
        eventually("one waits", || servers.iter().any(waits)).await;
        let at = servers.iter().position(waits).expect("one");
        drop(servers.remove(at));
        let begun = Instant::now();
        if kind == Kind::Write {
            let outcome = call.await.expect("no panic");
            assert!(
                matches!(outcome, Err(RouteError::Call(CallError::Lost(_)))),
                "{outcome:?}"
            );
            assert_eq!(calls(&servers[0]), 0, "it may have been done");
        } else {
            eventually("the other has it", || waits(&servers[0])).await;
            assert!(begun.elapsed() < Duration::from_secs(3));
            call.abort();
        }
        assert_eq!(router.servers()[0], named(servers[0].addr));
    }
}

#[tokio::test]
async fn what_may_be_sent_twice_leaves_a_server_that_was_removed() {
    for kind in [Kind::Read, BLOCKING, Kind::Once, Kind::Write] {
        let servers = servers(2).await;
        let router = router();
        router.set_servers(list(&servers));
        let call = {
            let router = router.clone();
            tokio::spawn(async move { router.call("Test.Wait", &[0x80], kind, HOLD).await })
        };
        let waits = |s: &TestServer| s.methods.running.load(SeqCst) == 1;
        eventually("one waits", || servers.iter().any(waits)).await;
        let at = servers.iter().position(waits).expect("one");
        let (gone, other) = (&servers[at], &servers[1 - at]);
        router.set_servers(vec![named(other.addr)]);
        if kind == Kind::Write {
            let reply = router.call("Test.Echo", &uint(1), kind, HOLD).await;
            reply.expect("from the other");
            assert!(waits(gone), "a write is not given up");
        } else {
            eventually("the other has it", || waits(other)).await;
            eventually("the first was told", || !waits(gone)).await;
        }
        call.abort();
    }
}

/// Whoever waits is not made to wait longer because servers go away.
#[tokio::test]
async fn a_wait_that_moves_takes_the_time_that_is_left_with_it() {
    let mut servers = servers(2).await;
    let router = router();
    router.set_servers(list(&servers));
    let asked: Arc<std::sync::Mutex<Vec<Duration>>> = Arc::default();
    let whole = Duration::from_secs(60);
    let call = {
        let (router, asked) = (router.clone(), asked.clone());
        tokio::spawn(async move {
            let args = move |left: Duration| {
                asked.lock().unwrap().push(left);
                vec![0x80]
            };
            router.wait("Test.Wait", &args, whole, HOLD).await
        })
    };
    let waits = |s: &TestServer| s.methods.running.load(SeqCst) == 1;
    eventually("one waits", || servers.iter().any(waits)).await;
    let spent = Duration::from_millis(400);
    tokio::time::sleep(spent).await;
    let at = servers.iter().position(waits).expect("one");
    drop(servers.remove(at));
    eventually("the other has it", || waits(&servers[0])).await;
    call.abort();
    let asked = asked.lock().unwrap();
    assert_eq!(asked.len(), 2, "{asked:?}");
    assert!(
        asked[0] <= whole && asked[1] + spent <= asked[0],
        "{asked:?}"
    );
}

/// A server that stood still and is given up late: the others are asked all the same.
#[tokio::test]
async fn a_write_that_waited_for_longer_than_the_hold_time_is_still_sent_again() {
    let servers = servers(2).await;
    let router = router();
    router.set_servers(list(&servers));
    let hold = Duration::from_millis(50);
    let call = {
        let router = router.clone();
        tokio::spawn(async move { router.call("Test.Wait", &[0x80], Kind::Once, hold).await })
    };
    let waits = |s: &TestServer| s.methods.running.load(SeqCst) == 1;
    eventually("one waits", || servers.iter().any(waits)).await;
    tokio::time::sleep(4 * hold).await;
    let at = servers.iter().position(waits).expect("one");
    router.set_servers(vec![named(servers[1 - at].addr)]);
    eventually("the other has it", || waits(&servers[1 - at])).await;
    call.abort();
}

#[tokio::test]
async fn dropping_a_call_ends_it_at_the_server() {
    let servers = servers(1).await;
    let router = router();
    router.set_servers(list(&servers));
    let running = servers[0].methods.running.clone();
    let call = router.call("Test.Wait", &[0x80], BLOCKING, HOLD);
    timeout(Duration::from_millis(300), call)
        .await
        .expect_err("it waits");
    eventually("ended", || running.load(SeqCst) == 0).await;
}

#[tokio::test]
async fn answers_that_take_too_long_are_an_error() {
    let servers = servers(1).await;
    let router = with(RouterSettings {
        timeout: Duration::from_millis(100),
        ..RouterSettings::default()
    });
    router.set_servers(list(&servers));
    let error = router
        .call("Test.Wait", &[0x80], Kind::Read, HOLD)
        .await
        .expect_err("it waits");
    assert_eq!(error, RouteError::Call(CallError::Timeout));
    // A blocking query has its own time.
    router
        .call("Test.Sleep", &uint(300), BLOCKING, HOLD)
        .await
        .expect("a reply");
}

#[tokio::test]
async fn requests_have_a_rate() {
    let servers = servers(1).await;
    let settings = RouterSettings {
        rate: 0.001,
        burst: 3,
        ..RouterSettings::default()
    };
    let router = with(settings);
    router.set_servers(list(&servers));
    let mut refused = 0;
    for _ in 0..5 {
        if let Err(error) = router.call("Status.Ping", &[0x80], Kind::Read, HOLD).await {
            assert_eq!(error.to_string(), "RPC rate limit exceeded");
            refused += 1;
        }
    }
    assert_eq!((refused, calls(&servers[0])), (2, 3));
    router.set(settings);
    let reply = router.call("Status.Ping", &[0x80], Kind::Read, HOLD).await;
    assert_eq!(reply, Err(RouteError::RateLimited), "nothing has changed");
    router.set(RouterSettings::default());
    let reply = router.call("Status.Ping", &[0x80], Kind::Read, HOLD).await;
    reply.expect("no limit");
}

#[tokio::test]
async fn rebalancing_ends_at_a_server_that_answers() {
    let servers = servers(2).await;
    let router = router();
    let mut all = list(&servers);
    for _ in 0..3 {
        all.push(named(nowhere().await));
    }
    router.set_servers(all.clone());
    let mut heads = Vec::new();
    for _ in 0..20 {
        router.rebalance().await;
        let order = router.servers();
        assert!(all.iter().all(|s| order.contains(s)) && order.len() == 5);
        assert!(servers.iter().any(|s| named(s.addr) == order[0]));
        heads.push(order[0].addr);
    }
    heads.sort_unstable();
    heads.dedup();
    assert_eq!(heads.len(), 2, "each is at the head at times");
}

#[test]
fn rebalancing_is_rarer_in_large_datacenters() {
    let secs = Duration::from_secs;
    assert_eq!(rebalance_interval(3, 10, 0), secs(120));
    let most = rebalance_interval(3, 10, u64::MAX);
    assert!(most > secs(179) && most <= secs(180));
    assert_eq!(
        rebalance_interval(3, 100_000, 0),
        Duration::from_micros(15_625) * 100_000 / 3
    );
    assert_eq!(rebalance_interval(0, 0, 0), secs(120));
}
