//! Two Python clients: the tests that py-consul brings, against our agent, and consulate.

use lictor_tests::{Agent, lictor_binary, run, workspace};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::OnceCell;

/// What pip installs beside the client that is tested.
const PACKAGES: &[&str] = &[
    "requests==2.32.3",
    "aiohttp==3.11.11",
    "packaging",
    "pytest==8.3.4",
    "pytest-asyncio==0.25.2",
];
const PY_CONSUL: &str = "py-consul==1.8.0";
const CONSULATE: &str = "consulate==0.6.0";

/// A Python environment in the target folder, made once and kept: the packages come from PyPI.
async fn environment() -> &'static Path {
    static MADE: OnceCell<PathBuf> = OnceCell::const_new();
    MADE.get_or_init(make).await
}

async fn make() -> PathBuf {
    let wanted = [PACKAGES, &[PY_CONSUL, CONSULATE]].concat().join("\n");
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python");
    let mark = dir.join("installed");
    if std::fs::read_to_string(&mark).is_ok_and(|there| there == wanted) {
        return dir;
    }
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).expect("a folder");
    let place = dir.display().to_string();
    let base = Path::new("/usr/bin/python3");
    assert!(
        base.is_file(),
        "this test needs Debian's packages python3 and python3-venv, and tests/run installs them"
    );
    let limit = Duration::from_secs(300);
    let env: Vec<(String, String)> = std::env::vars().collect();
    let env: Vec<(&str, &str)> = env.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    run(base, &["-m", "venv", &place], &env, "", limit)
        .await
        .ok();
    let python = dir.join("bin/python");
    let install = [
        &["-m", "pip", "install", "--quiet", "wheel", "setuptools"],
        PACKAGES,
    ]
    .concat();
    run(&python, &install, &env, "", limit).await.ok();
    run(
        &python,
        &[
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-build-isolation",
            CONSULATE,
        ],
        &env,
        "",
        limit,
    )
    .await
    .ok();
    // The source package holds the tests.
    let sources = dir.join("source").display().to_string();
    let fetch = [
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--no-binary=:all:",
        "--dest",
        &sources,
        PY_CONSUL,
    ];
    run(&python, &fetch, &env, "", limit).await.ok();
    let archive = std::fs::read_dir(&sources)
        .expect("the download")
        .find_map(|entry| {
            let path = entry.expect("an entry").path();
            path.to_string_lossy()
                .ends_with(".tar.gz")
                .then(|| path.display().to_string())
        });
    let archive = archive.expect("the source package");
    run(
        &python,
        &["-m", "tarfile", "-e", &archive, &sources],
        &env,
        "",
        limit,
    )
    .await
    .ok();
    std::fs::write(mark, wanted).expect("the mark");
    dir
}

fn beside(name: &str) -> PathBuf {
    workspace().join("tests/tests/peers/python").join(name)
}

/// The lines of the list of what is known to fail: a file, a class or a test, and why.
fn known() -> Vec<(String, String)> {
    let text = std::fs::read_to_string(beside("py-consul.known")).expect("the list");
    let lines = text
        .lines()
        .filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, why) = line
                .split_once(" - ")
                .unwrap_or_else(|| panic!("no reason: {line}"));
            (name.trim().to_owned(), why.trim().to_owned())
        })
        .collect()
}

/// Whether an entry of the list, which may be a file or a class, covers the test.
fn covers(entry: &str, name: &str) -> bool {
    let rest = name.strip_prefix(entry);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::") || rest.starts_with('['))
}

/// Who chooses Lictor reads what does not work, and why.
#[test]
fn what_fails_is_named_in_the_documentation() {
    let text = std::fs::read_to_string(workspace().join("docs/compatibility.md")).expect("it");
    let rows: BTreeSet<&str> = text.lines().filter(|l| l.contains("test_")).collect();
    let known = known();
    let wanted: Vec<String> = known
        .iter()
        .map(|(name, why)| format!("| `{}` | {why} |", name.trim_start_matches("tests/")))
        .collect();
    assert_eq!(rows, wanted.iter().map(String::as_str).collect());
}

/// Every test of theirs passes, but for those in the list; and each of those fails: one that passes
/// must be struck off.
#[tokio::test]
async fn the_tests_of_py_consul_pass() {
    let dir = environment().await;
    let source = std::fs::read_dir(dir.join("source"))
        .expect("the sources")
        .find_map(|entry| {
            let path = entry.expect("an entry").path();
            path.is_dir().then_some(path)
        });
    let source = source.expect("the unpacked source");
    std::fs::copy(beside("conftest.py"), source.join("conftest.py")).expect("our conftest");
    let python = dir.join("bin/python");
    let lictor = lictor_binary().display().to_string();
    let root = format!("--rootdir={}", source.display());
    let tests = source.join("tests").display().to_string();
    let args = [
        "-m",
        "pytest",
        "-q",
        "-rA",
        "--tb=line",
        "-p",
        "no:cacheprovider",
        "-c",
        "/dev/null",
        &root,
        "-o",
        "asyncio_mode=auto",
        "-o",
        "asyncio_default_fixture_loop_scope=function",
        &tests,
    ];
    let path = source.display().to_string();
    let env = [
        ("LICTOR_BIN", lictor.as_str()),
        ("PYTHONPATH", path.as_str()),
    ];
    let out = run(&python, &args, &env, "", Duration::from_secs(300)).await;

    let (mut passed, mut failed) = (BTreeSet::new(), BTreeSet::new());
    for line in out.stdout.lines() {
        let mut words = line.split_whitespace();
        let (verdict, name) = (
            words.next().unwrap_or_default(),
            words.next().unwrap_or_default(),
        );
        // From their folder on.
        let start = name.rfind("/tests/").map_or(0, |at| at + 1);
        let name = name[start..].to_owned();
        match verdict {
            "PASSED" if name.contains("::") => passed.insert(name),
            "FAILED" | "ERROR" if name.contains("::") => failed.insert(name),
            _ => false,
        };
    }
    let known = known();
    let listed = |name: &str| known.iter().any(|(entry, _)| covers(entry, name));
    println!(
        "py-consul: {} passed, {} failed",
        passed.len(),
        failed.len()
    );
    assert!(passed.len() > 100, "{}", out.all());
    let new: Vec<_> = failed.iter().filter(|name| !listed(name)).collect();
    assert!(
        new.is_empty(),
        "these fail and are not in the list: {new:#?}\n{}",
        out.stdout
    );
    let freed: Vec<_> = known
        .iter()
        .filter(|(entry, _)| {
            let is = |name: &String| covers(entry, name);
            passed.iter().any(is) || !failed.iter().any(is)
        })
        .collect();
    assert!(
        freed.is_empty(),
        "these pass now, or some of what they cover: strike that off: {freed:#?}"
    );
}

#[tokio::test]
async fn consulate_works() {
    let dir = environment().await;
    let agent = Agent::dev().await;
    let script = beside("consulate_check.py").display().to_string();
    let port = agent.http_address().port().to_string();
    let out = run(
        &dir.join("bin/python"),
        &[&script, &port],
        &[],
        "",
        Duration::from_secs(60),
    )
    .await
    .ok();
    let parts: Vec<&str> = out.stdout.lines().collect();
    assert_eq!(parts.len(), 7, "{}", out.stdout);
}
