//! Instants as Go's `time.Time` marshals itself: fifteen bytes, or sixteen with odd seconds in the
//! zone's offset. Later generations of Go's codec write msgpack's own timestamps in place of them,
//! of four, eight or twelve bytes; these are read too.

use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde::ser::{Serialize, Serializer};

/// Seconds from the year 1 to 1970.
const TO_UNIX: i64 = 62_135_596_800;
/// The offset that stands for UTC itself.
const UTC: i16 = -1;

/// An instant with the zone that it was written in. The default is Go's zero time, which stands
/// for an absent one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time {
    /// Seconds since the first of January of the year 1, UTC.
    pub seconds: i64,
    /// Nanoseconds on top.
    pub nanos: u32,
    /// The zone's offset in seconds east of UTC; nothing for UTC itself.
    pub offset: Option<i32>,
}

impl Time {
    /// An instant in UTC.
    pub fn from_unix(seconds: i64, nanos: u32) -> Time {
        Time {
            seconds: seconds.saturating_add(TO_UNIX),
            nanos,
            offset: None,
        }
    }

    /// Seconds since 1970, which may be negative.
    pub fn unix(&self) -> i64 {
        self.seconds.saturating_sub(TO_UNIX)
    }

    /// Whether it stands for no time at all.
    pub fn is_zero(&self) -> bool {
        self.seconds == 0 && self.nanos == 0
    }

    fn from_bytes(bytes: &[u8]) -> Result<Time, &'static str> {
        let (head, odd_seconds) = match (bytes.first(), bytes) {
            (None, _) => return Ok(Time::default()),
            (Some(1), bytes) if bytes.len() == 15 => (bytes, 0),
            (Some(2), [head @ .., last]) if head.len() == 15 => (head, i32::from(*last as i8)),
            _ => return Time::from_timestamp(bytes),
        };
        let (mut seconds, mut nanos, mut minutes) = ([0; 8], [0; 4], [0; 2]);
        seconds.copy_from_slice(&head[1..9]);
        nanos.copy_from_slice(&head[9..13]);
        minutes.copy_from_slice(&head[13..15]);
        let minutes = i16::from_be_bytes(minutes);
        Ok(Time {
            seconds: i64::from_be_bytes(seconds),
            nanos: u32::from_be_bytes(nanos),
            offset: (minutes != UTC).then(|| i32::from(minutes) * 60 + odd_seconds),
        })
    }

    fn from_timestamp(bytes: &[u8]) -> Result<Time, &'static str> {
        let number = |bytes: &[u8]| bytes.iter().fold(0_u64, |sum, b| sum << 8 | u64::from(*b));
        let (seconds, nanos) = match bytes.len() {
            4 => (number(bytes), 0),
            // Thirty bits of nanoseconds, thirty-four of seconds.
            8 => (number(bytes) & 0x3_ffff_ffff, number(bytes) >> 34),
            12 => (number(&bytes[4..]), number(&bytes[..4])),
            _ => return Err("time of an unknown form"),
        };
        let nanos = u32::try_from(nanos).unwrap_or_default();
        Ok(Time::from_unix(seconds as i64, nanos))
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut bytes = [0; 16];
        let (minutes, odd) = match self.offset {
            None => (UTC, 0),
            // An offset too large to be one is written as UTC: the instant is the same.
            Some(offset) => (i16::try_from(offset / 60).unwrap_or(UTC), offset % 60),
        };
        bytes[0] = if odd == 0 { 1 } else { 2 };
        bytes[1..9].copy_from_slice(&self.seconds.to_be_bytes());
        bytes[9..13].copy_from_slice(&self.nanos.to_be_bytes());
        bytes[13..15].copy_from_slice(&minutes.to_be_bytes());
        // A remainder of sixty fits a byte.
        bytes[15] = odd as u8;
        s.serialize_bytes(&bytes[..if odd == 0 { 15 } else { 16 }])
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Time, D::Error> {
        struct V;
        impl Visitor<'_> for V {
            type Value = Time;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a time")
            }
            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Time, E> {
                Time::from_bytes(bytes).map_err(E::custom)
            }
        }
        d.deserialize_bytes(V)
    }
}
