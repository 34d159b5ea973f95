//! Lamport clocks (Lamport, 1978).

/// A logical clock: what was seen lies before what is said next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lamport(u64);

/// Above this no clock of a living pool comes; a message from beyond would stop the clocks of all.
const ABSURD: u64 = 1 << 62;

impl Default for Lamport {
    fn default() -> Self {
        Self(1)
    }
}

impl Lamport {
    /// The time now.
    #[must_use]
    pub const fn now(self) -> u64 {
        self.0
    }

    /// The time now, which passes with it.
    pub fn tick(&mut self) -> u64 {
        let now = self.0;
        self.0 += 1;
        now
    }

    /// Takes in another's time: false if it is absurd, and its message better ignored.
    pub fn witness(&mut self, time: u64) -> bool {
        if time >= ABSURD {
            return false;
        }
        self.0 = self.0.max(time + 1);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_never_goes_back_and_never_stops() {
        let mut clock = Lamport::default();
        assert_eq!((clock.tick(), clock.now()), (1, 2));
        assert!(clock.witness(1));
        assert_eq!(clock.now(), 2);
        assert!(clock.witness(2));
        assert_eq!(clock.now(), 3);
        assert!(clock.witness(40));
        assert_eq!(clock.now(), 41);
        assert!(!clock.witness(u64::MAX));
        assert_eq!(clock.now(), 41);
    }
}
