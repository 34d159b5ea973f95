//! Times as the daemon writes them.

/// Nanoseconds since 1970 of an RFC 3339 time in UTC, such as `2026-01-02T03:04:05.678901234Z`.
/// `None` for anything else, and for years before 1970 (the daemon's "never" is the year 1).
pub fn nanos(text: &str) -> Option<u64> {
    let text = text.strip_suffix('Z')?;
    let (date, time) = text.split_once('T')?;
    let mut date = date.splitn(3, '-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let (clock, fraction) = time.split_once('.').unwrap_or((time, ""));
    let mut clock = clock.splitn(3, ':').map(|part| part.parse::<u64>().ok());
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    if hour > 23 || minute > 59 || second > 60 || fraction.len() > 9 {
        return None;
    }
    let nano = match fraction {
        "" => 0,
        digits => digits.parse::<u64>().ok()? * 10u64.pow(9 - u32::try_from(digits.len()).ok()?),
    };
    // Days since 1970 by Howard Hinnant's days-from-civil.
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    let seconds = u64::try_from(days).ok()? * 86_400 + hour * 3_600 + minute * 60 + second;
    seconds.checked_mul(1_000_000_000)?.checked_add(nano)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        assert_eq!(nanos("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(
            nanos("2000-02-29T12:34:56.5Z"),
            Some(951_827_696_500_000_000)
        );
        assert_eq!(
            nanos("2026-11-21T11:22:36.000000001Z"),
            Some(1_795_260_156_000_000_001)
        );
        for text in [
            "0001-01-01T00:00:00Z",
            "",
            "x",
            "2026-11-21",
            "2026-11-21T11:22:36",
            "2026-11-21T1:2Z",
            "2026-13-21T11:22:36Z",
            "2026-11-21T11:22:36.0000000001Z",
        ] {
            assert_eq!(nanos(text), None, "{text}");
        }
    }
}
