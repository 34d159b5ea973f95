//! The driver: when checks run, which results are delivered, and what stopping means.

mod common;

use common::*;
use lictor_check::{Checks, NoTtl, Options};
use lictor_wire::catalog::Status::{Critical, Passing, Warning};
use lictor_wire::checktype::CheckType;
use lictor_wire::duration::GoDuration;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;

/// A file of this test's own.
fn scratch(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("lictor-check-{}-{name}", std::process::id()))
}

fn script(text: &str) -> CheckType {
    check(|c| c.script_args = ["sh", "-c", text].map(Into::into).to_vec())
}

async fn until(wanted: impl Fn() -> bool) {
    let limit = Instant::now() + LIMIT;
    while !wanted() {
        assert!(Instant::now() < limit);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn runs_of_one_check_do_not_overlap_and_go_on() {
    // A lock that only one holds: a run that finds it taken says so.
    let dir = scratch("overlap");
    let text = format!("mkdir {0} || exit 2; sleep 0.03; rmdir {0}", dir.display());
    let results = Results::new();
    let checks = Checks::new(quick(), results.clone());
    checks.start("s", &script(&text), Critical);
    let all = results.until(|all| all.len() >= 8).await;
    checks.shutdown().await;
    assert!(
        all.iter().all(|(_, status, _)| *status == Passing),
        "{all:?}"
    );
    let _ = std::fs::remove_dir(dir);
}

#[tokio::test]
async fn a_hung_script_is_critical_at_once_and_run_again() {
    let results = Results::new();
    let checks = Checks::new(quick(), results.clone());
    let mut hung = script("sleep 600 & wait");
    hung.timeout = GoDuration::from_millis(50);
    // Whatever the thresholds are.
    hung.failures_before_critical = 1_000;
    hung.failures_before_warning = 1_000;
    checks.start("s", &hung, Passing);
    let all = results.until(|all| all.len() >= 3).await;
    let want = (
        "s".to_owned(),
        Critical,
        "Timed out (50ms) running check".to_owned(),
    );
    assert!(all.iter().all(|update| *update == want), "{all:?}");
    checks.shutdown().await;
}

#[tokio::test]
async fn thresholds_hold_results_back() {
    let up = Arc::new(AtomicBool::new(true));
    let is_up = Arc::clone(&up);
    let web = Web::start(move |_| {
        answer(
            if is_up.load(Ordering::SeqCst) {
                "200 OK"
            } else {
                "500 Oh"
            },
            "",
            "",
        )
    })
    .await;
    let results = Results::new();
    let checks = Checks::new(quick(), results.clone());
    let mut c = check(|c| c.http = web.url("/").into());
    (
        c.success_before_passing,
        c.failures_before_warning,
        c.failures_before_critical,
    ) = (4, 2, 4);
    checks.start("c", &c, Critical);
    assert_eq!(results.until(|all| !all.is_empty()).await[0].1, Passing); // the first counts at once
    let before = web.asked().len();
    up.store(false, Ordering::SeqCst);
    let all = results
        .until(|all| all.last().is_some_and(|u| u.1 == Critical))
        .await;
    let asked = web.asked().len();
    // One answer may have been on its way when the server went down; then two warnings and the
    // fourth failure.
    assert!(asked >= before + 4, "{before} {asked}");
    let statuses: Vec<_> = all
        .iter()
        .map(|u| u.1.clone())
        .skip_while(|s| *s == Passing)
        .collect();
    assert_eq!(statuses, [Warning, Warning, Critical]);
    up.store(true, Ordering::SeqCst);
    let seen = results.all().len();
    let all = results
        .until(|all| all.last().is_some_and(|u| u.1 == Passing))
        .await;
    assert!(web.asked().len() >= asked + 4);
    assert!(all[seen..].iter().all(|u| u.1 != Warning));
    checks.shutdown().await;
}

#[tokio::test]
async fn after_a_stop_nothing_is_delivered_and_no_script_is_left() {
    let (begun, results) = (scratch("begun"), Results::new());
    let checks = Checks::new(quick(), results.clone());
    let text = format!(
        "echo $$ > {0}.tmp; mv {0}.tmp {0}; sleep 600",
        begun.display()
    );
    let mut c = script(&text);
    c.timeout = GoDuration::from_secs(600);
    checks.start("s", &c, Critical);
    until(|| begun.exists()).await;
    assert!(checks.stop("s"));
    assert!(!checks.stop("s"));
    let pid = std::fs::read_to_string(&begun).unwrap();
    let stat = format!("/proc/{}/stat", pid.trim());
    let runs = || std::fs::read_to_string(&stat).is_ok_and(|s| !s.contains(") Z "));
    until(|| !runs()).await;
    assert_eq!(results.all(), []);
    assert!(checks.is_empty());
    std::fs::remove_file(begun).unwrap();
    checks.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_result_arrives_after_stop_has_returned() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move { while listener.accept().await.is_ok() {} });
    // The checks are numbered; those below `stopped` have been stopped.
    let [stopped, late, count] = [(); 3].map(|()| Arc::new(AtomicUsize::new(0)));
    let (below, too_late, seen) = (Arc::clone(&stopped), Arc::clone(&late), Arc::clone(&count));
    let options = Options {
        min_interval: Duration::from_millis(1),
        ..Options::default()
    };
    let checks = Checks::new(options, move |key: &str, _, _| {
        seen.fetch_add(1, Ordering::SeqCst);
        // Long enough for a stop to happen meanwhile.
        std::thread::sleep(Duration::from_micros(500));
        if key.parse::<usize>().unwrap() < below.load(Ordering::SeqCst) {
            too_late.fetch_add(1, Ordering::SeqCst);
        }
    });
    let mut c = check(|c| c.tcp = address.into());
    c.interval = GoDuration::from_millis(1);
    for n in 0..100 {
        let before = count.load(Ordering::SeqCst);
        checks.start(&n.to_string(), &c, Critical);
        until(|| count.load(Ordering::SeqCst) > before).await;
        checks.stop(&n.to_string());
        stopped.store(n + 1, Ordering::SeqCst);
    }
    checks.shutdown().await;
    assert_eq!(late.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn starting_again_replaces() {
    let results = Results::new();
    let checks = Checks::new(quick(), results.clone());
    checks.start("s", &script("echo one"), Critical);
    results
        .until(|all| all.last().is_some_and(|u| u.2 == "one\n"))
        .await;
    checks.start("s", &script("echo two"), Critical);
    let seen = results.all().len();
    let all = results.until(|all| all.len() >= seen + 3).await;
    assert!(all[seen..].iter().all(|u| u.2 == "two\n"), "{all:?}");
    assert_eq!(checks.len(), 1);
    // An alias has no runner: it only ends what was there.
    checks.start(
        "s",
        &CheckType {
            alias_service: "x".into(),
            ..CheckType::default()
        },
        Critical,
    );
    assert_eq!(checks.len(), 0);
    checks.shutdown().await;
}

#[tokio::test]
async fn few_scripts_run_at_a_time_and_waiting_costs_no_time_of_theirs() {
    let results = Results::new();
    let options = Options {
        max_scripts: 1,
        ..quick()
    };
    let checks = Checks::new(options, results.clone());
    let lock = scratch("turns");
    let text = format!("mkdir {0} || exit 2; sleep 0.1; rmdir {0}", lock.display());
    for n in 0..6 {
        let mut c = script(&text);
        // Each takes 100 ms, so the last waits longer than its own limit.
        c.timeout = GoDuration::from_millis(400);
        checks.start(&format!("s{n}"), &c, Critical);
    }
    let names = |all: &[Update]| {
        all.iter()
            .map(|u| u.0.clone())
            .collect::<std::collections::BTreeSet<_>>()
            .len()
    };
    let all = results.until(|all| names(all) == 6).await;
    assert!(all.iter().all(|u| u.1 == Passing), "{all:?}");
    checks.shutdown().await;
    let _ = std::fs::remove_dir(lock);
}

#[tokio::test]
async fn a_ttl_check_waits_to_be_told() {
    let results = Results::new();
    let checks = Checks::new(quick(), results.clone());
    let ttl = |ms| CheckType {
        ttl: GoDuration::from_millis(ms),
        ..CheckType::default()
    };
    checks.start("long", &ttl(3_600_000), Critical);
    assert_eq!(
        checks.ttl_set("long", Passing, "all good"),
        Ok("all good".to_owned())
    );
    assert_eq!(
        results.all(),
        [("long".to_owned(), Passing, "all good".to_owned())]
    );

    checks.start("brief", &ttl(50), Passing);
    assert_eq!(results.next().await, (Critical, "TTL expired".to_owned()));
    checks.ttl_set("brief", Warning, "hm").unwrap();
    let (status, output) = results.next().await;
    assert_eq!(
        (status, output.as_str()),
        (
            Critical,
            "TTL expired (last output before timeout follows): hm"
        )
    );
    assert_eq!(results.all().len(), 4, "each silence is said once");

    // Words keep it alive, though the queue still has its first moment.
    checks.start("kept", &ttl(400), Passing);
    let (begin, mut last, mut silence) = (Instant::now(), Instant::now(), Duration::ZERO);
    while begin.elapsed() < Duration::from_millis(900) {
        checks.ttl_set("kept", Passing, "").unwrap();
        silence = silence.max(last.elapsed());
        last = Instant::now();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // On a machine that stood still meanwhile, it was right to expire.
    if silence < Duration::from_millis(350) {
        assert!(
            results
                .all()
                .iter()
                .all(|u| u.0 != "kept" || u.1 == Passing)
        );
    }
    results
        .until(|all| all.iter().any(|u| u.0 == "kept" && u.1 == Critical))
        .await;
    checks.shutdown().await;
}

#[tokio::test]
async fn only_ttl_checks_can_be_told() {
    let checks = Checks::new(quick(), |_: &str, _, _| {});
    checks.start("t", &check(|c| c.tcp = "127.0.0.1:1".into()), Critical);
    let error = checks.ttl_set("t", Passing, "").unwrap_err();
    assert_eq!(
        error.to_string(),
        "CheckID \"t\" does not have associated TTL"
    );
    assert_eq!(
        checks.ttl_set("nobody", Passing, ""),
        Err(NoTtl("nobody".into()))
    );
    checks.start(
        "n",
        &CheckType {
            ttl: GoDuration::from_secs(60),
            output_max_size: 26,
            ..CheckType::default()
        },
        Critical,
    );
    let long = "x".repeat(6_000);
    assert_eq!(
        checks.ttl_set("n", Passing, &long).unwrap(),
        format!("{} ... (captured 26 of 6000 bytes)", "x".repeat(26))
    );
    checks.shutdown().await;
}

#[tokio::test]
async fn after_the_shutdown_nothing_starts() {
    let results = Results::new();
    let checks = Checks::new(quick(), results.clone());
    checks.start("s", &script("sleep 600"), Critical);
    tokio::time::timeout(LIMIT, checks.shutdown())
        .await
        .unwrap();
    checks.start("s", &script("true"), Critical);
    assert!(checks.is_empty());
    tokio::time::timeout(LIMIT, checks.shutdown())
        .await
        .unwrap();
    assert_eq!(results.all(), []);
}

#[tokio::test]
async fn first_runs_are_spread_over_the_interval() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move { while listener.accept().await.is_ok() {} });
    let times = Arc::new(std::sync::Mutex::new(vec![]));
    let (seen, begin) = (Arc::clone(&times), Instant::now());
    let options = Options { seed: 7, ..quick() };
    let checks = Checks::new(options, move |_: &str, _, _| {
        seen.lock().unwrap().push(begin.elapsed())
    });
    for n in 0..200 {
        let mut c = check(|c| c.tcp = address.clone().into());
        c.interval = GoDuration::from_secs(2);
        checks.start(&n.to_string(), &c, Critical);
    }
    until(|| times.lock().unwrap().len() >= 200).await;
    let mut times = times.lock().unwrap()[..200].to_vec();
    times.sort();
    // About a quarter of them in each quarter; a slow machine only moves them later.
    let early = times
        .iter()
        .filter(|t| **t < Duration::from_millis(500))
        .count();
    assert!(early < 100, "{early}");
    assert!(
        times[199] > Duration::from_millis(1_500),
        "{:?}",
        times[199]
    );
    checks.shutdown().await;
}

#[tokio::test]
async fn registering_again_and_again_does_not_keep_a_check_from_running() {
    let results = Results::new();
    let checks = Checks::new(quick(), results.clone());
    // Takes far longer than there is between two registrations.
    let mut c = script("sleep 0.2; echo done");
    let begin = Instant::now();
    while results.all().len() < 2 {
        assert!(begin.elapsed() < LIMIT);
        c.notes = format!("{:?}", begin.elapsed()).into();
        checks.start("s", &c, Critical);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    checks.shutdown().await;
}
