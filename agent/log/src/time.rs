//! Points in time as RFC 3339 texts in UTC.

use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

/// Appends `2026-11-21T11:22:36.134Z`, with `digits` (at most 9) digits behind
/// the second. Times before 1970 are shown as its first instant.
pub(crate) fn rfc3339(out: &mut Vec<u8>, at: SystemTime, digits: usize) {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = civil(days);
    let (h, m, s) = (second / 3600, second / 60 % 60, second % 60);
    // Writing to a `Vec` cannot fail.
    let _ = write!(out, "{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}");
    if digits > 0 {
        let _ = write!(out, ".{:09}", since.subsec_nanos());
        out.truncate(out.len() - (9 - digits.min(9)));
    }
    out.push(b'Z');
}

/// Year, month and day of a day counted from 1970-01-01, in the Gregorian
/// calendar. Years are taken to begin in March, so that the leap day is the last.
fn civil(days: u64) -> (u64, u64, u64) {
    const DAYS_OF_400_YEARS: u64 = 146_097;
    // 719468 days lie between 0000-03-01 and 1970-01-01.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / DAYS_OF_400_YEARS, shifted % DAYS_OF_400_YEARS);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 {
        march_month + 3
    } else {
        march_month - 9
    };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn shown(micros: u64, digits: usize) -> String {
        let mut out = Vec::new();
        rfc3339(&mut out, UNIX_EPOCH + Duration::from_micros(micros), digits);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn dates_are_right() {
        assert_eq!(shown(0, 0), "1970-01-01T00:00:00Z");
        assert_eq!(shown(951_827_696_000_000, 3), "2000-02-29T12:34:56.000Z");
        assert_eq!(shown(951_868_800_000_000, 0), "2000-03-01T00:00:00Z");
        assert_eq!(shown(1_795_260_156_134_978, 3), "2026-11-21T11:22:36.134Z");
        assert_eq!(
            shown(1_795_260_156_091_978, 6),
            "2026-11-21T11:22:36.091978Z"
        );
        assert_eq!(shown(4_107_542_399_000_000, 0), "2100-02-28T23:59:59Z");
        assert_eq!(shown(4_107_542_400_000_000, 0), "2100-03-01T00:00:00Z");
    }
}
