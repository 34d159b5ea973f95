//! A random order, computed only as far as it is used.

/// Splitmix64 (Steele, Lea, Flood 2014): a fair spread for load balancing, not for secrets.
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Rng {
        Rng(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }
}

const INLINE: usize = 16;

/// The numbers below `len` in an order that the seed decides, each once: Fisher and Yates, one
/// step a number. The first three of five thousand cost three steps.
#[derive(Clone, Debug)]
pub struct Shuffle {
    few: [u32; INLINE],
    many: Vec<u32>,
    len: usize,
    at: usize,
    rng: Rng,
}

impl Shuffle {
    /// The order of `len` numbers for a seed.
    pub fn new(len: usize, seed: u64) -> Shuffle {
        let mut few = [0; INLINE];
        let many = if len > INLINE {
            (0..len as u32).collect()
        } else {
            Vec::new()
        };
        for (i, slot) in few.iter_mut().enumerate() {
            *slot = i as u32;
        }
        Shuffle {
            few,
            many,
            len,
            at: 0,
            rng: Rng::new(seed),
        }
    }
}

impl Iterator for Shuffle {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        if self.at >= self.len {
            return None;
        }
        let slots = if self.len > INLINE {
            self.many.as_mut_slice()
        } else {
            &mut self.few
        };
        let pick = self.at + self.rng.below(self.len - self.at);
        slots.swap(self.at, pick);
        self.at += 1;
        Some(slots[self.at - 1] as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_comes_once() {
        for len in [0, 1, 2, 15, 16, 17, 100] {
            let mut seen: Vec<usize> = Shuffle::new(len, 7).collect();
            seen.sort_unstable();
            assert_eq!(seen, (0..len).collect::<Vec<_>>());
        }
    }

    #[test]
    fn every_number_is_first_about_as_often() {
        let mut count = [0u32; 3];
        for seed in 0..3000 {
            count[Shuffle::new(3, seed).next().unwrap()] += 1;
        }
        assert!(count.iter().all(|n| (900..1100).contains(n)), "{count:?}");
    }
}
