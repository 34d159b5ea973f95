//! Network coordinates: Vivaldi with a height, a latency filter, adjustment and gravity.
//!
//! Each member places itself in an eight-dimensional space so that distances are round-trip times
//! (Dabek et al., "Vivaldi", 2004; height and adjustment after Ledlie et al., "Network Coordinates
//! in the Wild", 2007). Coordinates travel in the acks of probes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::msgpack::{self, Reader, Value, record};
use crate::random::Rng;

const DIMENSIONS: usize = 8;
const ERROR_MAX: f64 = 1.5;
const HEIGHT_MIN: f64 = 1.0e-5;
/// How strongly an observation moves the error and the position.
const CE: f64 = 0.25;
const CC: f64 = 0.25;
const ADJUSTMENT_WINDOW: usize = 20;
const FILTER: usize = 3;
/// Pulls the whole pool towards the origin, so that it does not drift.
const GRAVITY: f64 = 150.0;
const TINY: f64 = 1.0e-6;
/// A round trip that is no measurement any more.
const ROUND_TRIP_MAX: Duration = Duration::from_secs(10);
/// The version byte of a coordinate in an ack.
const VERSION: u8 = 1;

/// A place in the network; all in seconds but the error.
#[derive(Clone, Debug, PartialEq)]
pub struct Coordinate {
    /// The position in the plane of the network's core.
    pub vec: [f64; DIMENSIONS],
    /// How sure its owner is: 0 for certain, 1.5 for not at all.
    pub error: f64,
    /// Corrects for what the space cannot express.
    pub adjustment: f64,
    /// The way from the core to the owner, which every path shares.
    pub height: f64,
}

impl Default for Coordinate {
    fn default() -> Self {
        Self {
            vec: [0.0; DIMENSIONS],
            error: ERROR_MAX,
            adjustment: 0.0,
            height: HEIGHT_MIN,
        }
    }
}

record! {
    /// A coordinate as it travels: of any number of dimensions.
    Wire {
        adjustment: f64 = "Adjustment" always,
        error: f64 = "Error" always,
        height: f64 = "Height" always,
        vec: Vec<f64> = "Vec" always,
    }
}

impl Coordinate {
    /// The payload of an ack.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let wire = Wire {
            adjustment: self.adjustment,
            error: self.error,
            height: self.height,
            vec: self.vec.to_vec(),
        };
        msgpack::tagged(VERSION, &wire)
    }

    /// Reads the payload of an ack; `None` for another version, another number of dimensions, or
    /// what is no number.
    #[must_use]
    pub fn decode(payload: &[u8]) -> Option<Self> {
        let (&VERSION, body) = payload.split_first()? else {
            return None;
        };
        let wire = Wire::read(&mut Reader::new(body)).ok()?;
        let vec = wire.vec.try_into().ok()?;
        let it = Self {
            vec,
            error: wire.error,
            adjustment: wire.adjustment,
            height: wire.height,
        };
        it.is_valid().then_some(it)
    }

    fn is_valid(&self) -> bool {
        self.vec
            .iter()
            .chain([&self.error, &self.adjustment, &self.height])
            .all(|number| number.is_finite())
    }

    /// The round-trip time to expect between two places.
    #[must_use]
    pub fn distance_to(&self, other: &Self) -> Duration {
        let seconds = self.distance(other);
        Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX)
    }

    fn distance(&self, other: &Self) -> f64 {
        let raw = self.raw_distance(other);
        let adjusted = raw + self.adjustment + other.adjustment;
        if adjusted > 0.0 { adjusted } else { raw }
    }

    fn raw_distance(&self, other: &Self) -> f64 {
        magnitude(&difference(&self.vec, &other.vec)) + self.height + other.height
    }

    /// Moves away from `other` by `force` seconds (towards it, if negative).
    fn apply_force(&mut self, force: f64, other: &Self, rng: &mut Rng) {
        let mut direction = difference(&self.vec, &other.vec);
        let length = magnitude(&direction);
        if length > TINY {
            direction.iter_mut().for_each(|part| *part /= length);
        } else {
            direction = random_direction(rng);
        }
        for (part, unit) in self.vec.iter_mut().zip(direction) {
            *part += unit * force;
        }
        if length > TINY {
            self.height =
                ((self.height + other.height) * force / length + self.height).max(HEIGHT_MIN);
        }
    }
}

fn difference(a: &[f64; DIMENSIONS], b: &[f64; DIMENSIONS]) -> [f64; DIMENSIONS] {
    std::array::from_fn(|at| a[at] - b[at])
}

fn magnitude(vec: &[f64; DIMENSIONS]) -> f64 {
    vec.iter().map(|part| part * part).sum::<f64>().sqrt()
}

/// Two nodes in one place have to part somehow.
fn random_direction(rng: &mut Rng) -> [f64; DIMENSIONS] {
    loop {
        let vec = std::array::from_fn(|_| rng.unit() - 0.5);
        let length = magnitude(&vec);
        if length > TINY {
            return vec.map(|part| part / length);
        }
    }
}

/// What is known of another member.
#[derive(Debug, Default)]
struct Peer {
    /// Its last round-trip times, the newest last.
    samples: Vec<f64>,
    last: Option<Coordinate>,
}

/// The own coordinate and what it is computed from.
#[derive(Debug)]
pub struct Coordinates {
    own: Coordinate,
    adjustments: [f64; ADJUSTMENT_WINDOW],
    next: usize,
    peers: BTreeMap<Arc<str>, Peer>,
    /// Times the own coordinate became nonsense and was reset.
    pub resets: u64,
}

impl Default for Coordinates {
    fn default() -> Self {
        Self {
            own: Coordinate::default(),
            adjustments: [0.0; ADJUSTMENT_WINDOW],
            next: 0,
            peers: BTreeMap::new(),
            resets: 0,
        }
    }
}

impl Coordinates {
    /// The own coordinate.
    #[must_use]
    pub fn own(&self) -> &Coordinate {
        &self.own
    }

    /// The last coordinate that another member told us.
    #[must_use]
    pub fn of(&self, name: &str) -> Option<&Coordinate> {
        self.peers.get(name)?.last.as_ref()
    }

    /// Forgets a member that is gone.
    pub fn forget(&mut self, name: &str) {
        self.peers.remove(name);
    }

    /// Takes in a measured round trip to a member at this place. False if it is no measurement.
    pub fn observe(
        &mut self,
        name: &Arc<str>,
        other: Coordinate,
        round_trip: Duration,
        rng: &mut Rng,
    ) -> bool {
        if round_trip > ROUND_TRIP_MAX || !other.is_valid() {
            return false;
        }
        let peer = self.peers.entry(name.clone()).or_default();
        if peer.samples.len() == FILTER {
            peer.samples.remove(0);
        }
        peer.samples.push(round_trip.as_secs_f64());
        let mut sorted = peer.samples.clone();
        sorted.sort_by(f64::total_cmp);
        let seconds = sorted[sorted.len() / 2];
        self.update(&other, seconds, rng);
        self.peers.entry(name.clone()).or_default().last = Some(other);
        if !self.own.is_valid() {
            self.own = Coordinate::default();
            self.resets += 1;
        }
        true
    }

    #[allow(clippy::cast_precision_loss)]
    fn update(&mut self, other: &Coordinate, seconds: f64, rng: &mut Rng) {
        let seconds = seconds.max(TINY);
        let distance = self.own.distance(other);
        let wrongness = (distance - seconds).abs() / seconds;
        // Who is surer moves less.
        let total = (self.own.error + other.error).max(TINY);
        let weight = self.own.error / total;
        self.own.error =
            (CE * weight * wrongness + self.own.error * (1.0 - CE * weight)).min(ERROR_MAX);
        let force = CC * weight * (seconds - distance);
        self.own.apply_force(force, other, rng);

        self.adjustments[self.next] = seconds - self.own.raw_distance(other);
        self.next = (self.next + 1) % ADJUSTMENT_WINDOW;
        self.own.adjustment =
            self.adjustments.iter().sum::<f64>() / (2.0 * ADJUSTMENT_WINDOW as f64);

        let origin = Coordinate::default();
        let pull = -(self.own.distance(&origin) / GRAVITY).powi(2);
        self.own.apply_force(pull, &origin, rng);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{hex, unhex};
    use proptest::prelude::{prop_assert, proptest};

    #[test]
    fn the_payload_of_a_real_ack() {
        let payload = "0184aa41646a7573746d656e74cb3eefbe96ff0a8ca2a54572726f72cb3ff6f19e12ade71aa6486569676874cb3ee4f8b588e368f1a356656398cbbeda50e6deca51cbcb3ef6d704a073aab7cbbf03302779a865c1cb3f0f9881740b2850cbbec36237f899fbf3cbbeefe2ea25ff9ab5cb3f05c8b9f5b68806cbbed861185b878068";
        let coordinate = Coordinate::decode(&unhex(payload)).unwrap();
        assert!((1.4..1.5).contains(&coordinate.error));
        assert_eq!(hex(&coordinate.encode()), payload);
        assert_eq!(Coordinate::decode(b""), None);
        assert_eq!(
            Coordinate::decode(&unhex(&payload.replacen("01", "02", 1))),
            None
        );
    }

    #[test]
    fn other_dimensions_and_no_numbers_are_refused() {
        let refused =
            |wire: Wire| assert_eq!(Coordinate::decode(&msgpack::tagged(VERSION, &wire)), None);
        refused(Wire {
            vec: vec![0.0; 7],
            ..Wire::default()
        });
        refused(Wire {
            vec: vec![f64::NAN; 8],
            ..Wire::default()
        });
        refused(Wire {
            vec: vec![0.0; 8],
            height: f64::INFINITY,
            ..Wire::default()
        });
        let mut own = Coordinates::default();
        let late = Duration::from_millis(10_001);
        assert!(!own.observe(&"a".into(), Coordinate::default(), late, &mut Rng::new(1)));
        assert_eq!(*own.own(), Coordinate::default());
    }

    #[test]
    fn a_single_outlier_is_filtered() {
        let mut own = Coordinates::default();
        let mut rng = Rng::new(1);
        for millis in [10, 10, 5000] {
            own.observe(
                &"a".into(),
                Coordinate::default(),
                Duration::from_millis(millis),
                &mut rng,
            );
        }
        assert!(own.own().distance_to(&Coordinate::default()) < Duration::from_millis(50));
        assert!(own.of("a").is_some());
        own.forget("a");
        assert!(own.of("a").is_none());
    }

    /// Members on a ring of given round trips find places that predict them.
    #[test]
    fn a_pool_learns_its_distances() {
        const COUNT: usize = 12;
        let mut rng = Rng::new(42);
        let mut pool: Vec<Coordinates> = (0..COUNT).map(|_| Coordinates::default()).collect();
        let truth = |a: usize, b: usize| {
            let steps = (a + COUNT - b) % COUNT;
            let steps = u32::try_from(steps.min(COUNT - steps)).unwrap();
            Duration::from_millis(5) + Duration::from_millis(10) * steps
        };
        for _ in 0..20_000 {
            let (a, b) = (rng.below(COUNT), rng.below(COUNT));
            if a != b {
                let there = pool[b].own().clone();
                pool[a].observe(&format!("n{b}").into(), there, truth(a, b), &mut rng);
            }
        }
        let mut error = 0.0;
        for a in 0..COUNT {
            for b in 0..a {
                let guess = pool[a].own().distance_to(pool[b].own()).as_secs_f64();
                error += (guess - truth(a, b).as_secs_f64()).abs() / truth(a, b).as_secs_f64();
            }
        }
        let mean = error / f64::from(u32::try_from(COUNT * (COUNT - 1) / 2).unwrap());
        assert!(mean < 0.15, "mean relative error {mean}");
    }

    proptest! {
        #[test]
        fn always_a_valid_place(steps in proptest::collection::vec((0_u64..12_000, -1.0e300..1.0e300_f64, 0.0..1.0e300_f64), 1..50)) {
            let mut own = Coordinates::default();
            let mut rng = Rng::new(1);
            for (millis, at, height) in steps {
                let other = Coordinate { vec: [at; 8], height, ..Coordinate::default() };
                own.observe(&"a".into(), other, Duration::from_millis(millis), &mut rng);
                prop_assert!(own.own().is_valid());
            }
        }
    }
}
