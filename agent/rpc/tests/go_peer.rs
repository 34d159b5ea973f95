//! Another hand's yamux and codec (tests/peers-go/rpc) as client of our server and as server of our
//! client. Needs Go; fails without it.

mod common;

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use common::{TestServer, eventually, pattern, raw, soon, uint};
use lictor_gossip::msgpack::Reader;
use lictor_rpc::{CallError, ClientLimits, Dial, Pool, ServeOptions};
use tokio::time::Instant;

/// The peer's program, built once.
fn peer() -> &'static Path {
    static PEER: OnceLock<PathBuf> = OnceLock::new();
    PEER.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/peers-go/rpc");
        let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("rpc-peer");
        let built = Command::new("go")
            .args(["build", "-o"])
            .arg(&program)
            .arg(".")
            .current_dir(source)
            .output()
            .expect("Go is needed to build the peer of this test (Debian: golang-go)");
        assert!(
            built.status.success(),
            "the peer was not built: {}",
            String::from_utf8_lossy(&built.stderr)
        );
        program
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn their_client_at_our_server() {
    let server = TestServer::with(ServeOptions {
        half_close_grace: Duration::from_millis(200),
        ..ServeOptions::default()
    })
    .await;
    let address = server.addr.to_string();
    let ended = tokio::task::spawn_blocking(move || {
        Command::new("timeout")
            .arg("120")
            .arg(peer())
            .args(["client", &address])
            .output()
            .expect("it runs")
    })
    .await
    .expect("no panic");
    let (out, err) = (
        String::from_utf8_lossy(&ended.stdout),
        String::from_utf8_lossy(&ended.stderr),
    );
    assert!(ended.status.success(), "{err}");
    assert_eq!(out, "ok\n");
}

/// Their server; it ends when its input does, and so with this.
struct Theirs {
    child: Child,
    addr: SocketAddr,
}

impl Theirs {
    fn start() -> Self {
        let mut child = Command::new(peer())
            .arg("serve")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it runs");
        let out = child.stdout.take().expect("piped");
        let mut line = String::new();
        BufReader::new(out).read_line(&mut line).expect("a line");
        let addr = line.trim().parse().expect("an address");
        Self { child, addr }
    }
}

impl Drop for Theirs {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_client_at_their_server() {
    let theirs = tokio::task::spawn_blocking(Theirs::start)
        .await
        .expect("it starts");
    let addr = theirs.addr;
    let pool = std::sync::Arc::new(Pool::new(Dial::default(), ClientLimits::default()));
    let reply = pool.call(addr, "Status.Ping", &[0x80], soon()).await;
    assert_eq!(reply.expect("a reply"), [0x80][..]);
    for size in [0, 31, 262_144, 262_145, 8 << 20] {
        let args = uint(size as u64);
        let reply = pool.call(addr, "Test.Large", &args, soon()).await;
        let reply = reply.expect("a reply");
        let mut reader = Reader::new(&reply);
        assert!(reader.raw().expect("bytes") == pattern(size), "{size}");
        assert!(reader.rest().is_empty());
        let args = raw(&pattern(size));
        let reply = pool.call(addr, "Test.Echo", &args, soon()).await;
        let reply = reply.expect("a reply");
        assert!(
            Reader::new(&reply).raw().expect("bytes") == pattern(size),
            "{size}"
        );
    }
    for (method, error) in [
        ("Test.Fail", "Permission denied"),
        ("Test.Nope", "rpc: can't find method Test.Nope"),
        ("Nope.Nope", "rpc: can't find service Nope.Nope"),
        ("NoDot", "rpc: service/method request ill-formed: NoDot"),
    ] {
        let outcome = pool
            .call(addr, method, &raw(b"Permission denied"), soon())
            .await;
        assert_eq!(outcome, Err(CallError::Remote(error.into())));
    }
    // Beyond what may wait to be accepted, and beyond what is kept for reuse.
    let calls: Vec<_> = (0..1000_u64)
        .map(|i| {
            let pool = pool.clone();
            tokio::spawn(async move {
                let reply = pool.call(addr, "Test.Large", &uint(i * 50), soon()).await;
                let reply = reply.expect("a reply");
                assert_eq!(
                    Reader::new(&reply).raw().expect("bytes"),
                    pattern(i as usize * 50)
                );
            })
        })
        .collect();
    for call in calls {
        call.await.expect("right");
    }
    let late = Instant::now() + Duration::from_millis(50);
    let outcome = pool.call(addr, "Test.Wait", &[0x80], late).await;
    assert_eq!(outcome, Err(CallError::Timeout));
    assert_eq!(pool.sessions(), 1, "all on one connection");

    let waiting = {
        let pool = pool.clone();
        tokio::spawn(async move { pool.call(addr, "Test.Wait", &[0x80], soon()).await })
    };
    let reply = pool.call(addr, "Test.Sleep", &uint(50), soon()).await;
    assert_eq!(reply.expect("not held up"), [0xc3][..]);
    drop(theirs);
    let outcome = waiting.await.expect("no panic");
    assert!(matches!(outcome, Err(CallError::Lost(_))), "{outcome:?}");
    eventually("the session is over", || pool.sessions() == 0).await;
}
