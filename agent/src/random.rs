//! Randomness at the edge: the system's for ids, a fast generator for spreading things in time.

use lictor_wire::Str;
use std::cell::Cell;

thread_local! {
    static STATE: Cell<u64> = Cell::new(seed());
}

fn seed() -> u64 {
    let mut bytes = [0; 8];
    fill(&mut bytes);
    u64::from_le_bytes(bytes) | 1
}

/// Whether the system gives random bytes. A static program has them from the kernel's files, which
/// a container has and a bare `chroot` has not.
///
/// # Errors
/// What is missing and what to do.
pub fn available() -> Result<(), String> {
    getrandom::fill(&mut [0; 8]).map_err(|error| {
        let why = match error.raw_os_error() {
            Some(number) => std::io::Error::from_raw_os_error(number).to_string(),
            None => error.to_string(),
        };
        format!(
            "The system gives no random numbers: {why}. /dev/random and /dev/urandom must be there; for a chroot, mount /dev into it"
        )
    })
}

/// Fills with the system's randomness.
pub fn fill(bytes: &mut [u8]) {
    // It was there at the start. Without randomness there are no safe ids: better to end.
    if let Err(error) = getrandom::fill(bytes) {
        panic!("the system gives no random bytes: {error}");
    }
}

/// A fast number for jitter and shuffles (xorshift64*). Not for secrets.
pub fn next() -> u64 {
    STATE.with(|state| {
        let mut x = state.get();
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        state.set(x);
        x.wrapping_mul(0x2545_f491_4f6c_dd1d)
    })
}

/// A number from zero up to, not including, `bound`.
pub fn below(bound: u64) -> u64 {
    if bound == 0 {
        0
    } else {
        ((u128::from(next()) * u128::from(bound)) >> 64) as u64
    }
}

/// A number from zero up to, not including, one.
pub fn unit() -> f64 {
    (next() >> 11) as f64 / (1u64 << 53) as f64
}

/// A random UUID in Consul's form.
pub fn uuid() -> Str {
    let mut b = [0u8; 16];
    fill(&mut b);
    format_uuid(b)
}

/// The text of a UUID.
pub fn format_uuid(b: [u8; 16]) -> Str {
    let hex: String = b.iter().map(|b| format!("{b:02x}")).collect();
    Str::from(format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_in_their_bounds() {
        for _ in 0..10_000 {
            assert!(below(7) < 7);
            assert!((0.0..1.0).contains(&unit()));
        }
        assert_eq!(below(0), 0);
        assert_ne!(uuid(), uuid());
        assert_eq!(uuid().len(), 36);
    }
}
