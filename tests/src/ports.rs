//! Ports that nobody uses.

use std::collections::HashSet;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// Below what the kernel hands out for outgoing connections, so that none of those takes one.
const RANGE: std::ops::Range<u16> = 20_000..32_000;

static TAKEN: LazyLock<Mutex<(HashSet<u16>, u64)>> = LazyLock::new(|| {
    let clock = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let seed = clock.as_nanos() as u64 ^ (u64::from(std::process::id()) << 32);
    Mutex::new((HashSet::new(), seed))
});

/// A port that is free for TCP and UDP on every address, and is given to nobody else in this
/// process.
pub fn free_port() -> u16 {
    for _ in 0..10_000 {
        let port = candidate();
        let any = Ipv4Addr::UNSPECIFIED;
        if TcpListener::bind((any, port)).is_ok() && UdpSocket::bind((any, port)).is_ok() {
            return port;
        }
    }
    panic!("no free port in {RANGE:?}");
}

fn candidate() -> u16 {
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        // The step of a linear congruential generator (Knuth, MMIX): spread is all that matters.
        taken.1 = taken
            .1
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let port = RANGE.start + ((taken.1 >> 33) % RANGE.len() as u64) as u16;
        if taken.0.insert(port) {
            return port;
        }
        assert!(
            taken.0.len() < RANGE.len() / 2,
            "too many ports in one test program"
        );
    }
}
