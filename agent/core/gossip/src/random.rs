//! Randomness from one seed.
//!
//! Two streams that tell nothing about each other: [`Rng`] makes decisions (whom to probe, when to
//! tick), and every packet shows its choices; [`NonceSource`] makes nonces, where a repetition
//! under one key would break AES-GCM.

use aes_gcm::KeyInit;
use aes_gcm::aes::Aes256;
use aes_gcm::aes::cipher::BlockCipherEncrypt;

/// What all randomness of a core grows from. Take it from the operating system, fresh at each
/// start: equal seeds repeat nonces.
#[derive(Clone)]
pub struct Seed(pub [u8; 32]);

impl Seed {
    /// A seed for tests and simulations.
    #[must_use]
    pub fn from_number(number: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        Self(bytes)
    }
}

impl std::fmt::Debug for Seed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seed(..)")
    }
}

/// xoshiro256** (Blackman and Vigna, 2018).
#[derive(Clone, Debug)]
pub struct Rng {
    state: [u64; 4],
}

impl Rng {
    /// A generator for simulations. A core's own is made from its [`Seed`].
    #[must_use]
    pub fn new(number: u64) -> Self {
        NonceSource::new(&Seed::from_number(number)).rng()
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        let s = &mut self.state;
        let result = s[1].wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// A number below `bound`; 0 for a bound of 0.
    #[allow(clippy::cast_possible_truncation)]
    pub fn below(&mut self, bound: usize) -> usize {
        // Multiply and shift: the bias is below 2^-32 for every table we have.
        ((u128::from(self.next_u64()) * bound as u128) >> 64) as usize
    }

    /// A number in [0, 1).
    #[allow(clippy::cast_precision_loss)]
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A part of a duration, evenly from nothing to nearly all of it.
    pub fn part_of(&mut self, whole: std::time::Duration) -> std::time::Duration {
        whole.mul_f64(self.unit())
    }
}

/// AES-256 in counter mode under the seed: blocks that never repeat, of which 12 bytes are used, as
/// good as twelve random bytes each time.
pub struct NonceSource {
    cipher: Aes256,
    counter: u128,
}

impl std::fmt::Debug for NonceSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NonceSource(..)")
    }
}

impl NonceSource {
    /// The stream of this seed.
    #[must_use]
    pub fn new(seed: &Seed) -> Self {
        Self {
            cipher: Aes256::new(&seed.0.into()),
            counter: 0,
        }
    }

    fn block(&mut self) -> [u8; 16] {
        let mut block = self.counter.to_be_bytes().into();
        self.counter = self.counter.wrapping_add(1);
        self.cipher.encrypt_block(&mut block);
        block.into()
    }

    /// The next nonce.
    pub fn nonce(&mut self) -> [u8; 12] {
        let mut nonce = [0; 12];
        nonce.copy_from_slice(&self.block()[..12]);
        nonce
    }

    /// A generator of decisions that does not show this stream.
    pub fn rng(&mut self) -> Rng {
        let mut state = [0; 4];
        for pair in state.chunks_exact_mut(2) {
            let number = u128::from_be_bytes(self.block());
            pair[0] = (number >> 64) as u64;
            pair[1] = u64::try_from(number & u128::from(u64::MAX)).unwrap_or(1);
        }
        // All zeros is the one state that stays where it is.
        state[0] |= 1;
        Rng { state }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_one_stream() {
        let (mut a, mut b, mut c) = (Rng::new(7), Rng::new(7), Rng::new(8));
        let first: Vec<u64> = (0..5).map(|_| a.next_u64()).collect();
        assert_eq!(first, (0..5).map(|_| b.next_u64()).collect::<Vec<_>>());
        assert_ne!(first, (0..5).map(|_| c.next_u64()).collect::<Vec<_>>());
    }

    #[test]
    fn below_covers_the_range_evenly() {
        let mut rng = Rng::new(1);
        let mut seen = [0_u32; 7];
        for _ in 0..7000 {
            seen[rng.below(7)] += 1;
        }
        assert!(seen.iter().all(|n| (850..1150).contains(n)), "{seen:?}");
        assert_eq!(rng.below(0), 0);
        let mean = (0..10_000).map(|_| rng.unit()).sum::<f64>() / 10_000.0;
        assert!((0.48..0.52).contains(&mean), "{mean}");
    }

    #[test]
    fn nonces_differ() {
        let mut source = NonceSource::new(&Seed::from_number(3));
        let mut seen: Vec<_> = (0..1000).map(|_| source.nonce()).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 1000);
    }
}
