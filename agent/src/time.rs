//! Dates as texts, in UTC.

/// Year, month and day of a day since 1970-01-01 (Howard Hinnant's civil-from-days).
fn civil(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (
        yoe + era * 400 + i64::from(month <= 2),
        month,
        doy - (153 * mp + 2) / 5 + 1,
    )
}

/// `2026-01-02 15:04:05` of a second since 1970.
pub fn date_time(secs: u64) -> String {
    let (year, month, day) = civil((secs / 86_400) as i64);
    let (h, m, s) = (secs / 3600 % 24, secs / 60 % 60, secs % 60);
    format!("{year:04}-{month:02}-{day:02} {h:02}:{m:02}:{s:02}")
}

/// `20260102T150405Z` of a second since 1970: ISO 8601 without separators.
pub fn compact(secs: u64) -> String {
    let text = date_time(secs).replace(' ', "T").replace(['-', ':'], "");
    format!("{text}Z")
}

/// RFC 3339 as Go writes it, of a moment in milliseconds since 1970; with or without its fraction
/// of a second.
pub fn rfc3339(ms: u64, fraction: bool) -> String {
    let part = match ms % 1000 {
        part if fraction && part > 0 => format!(".{part:03}").trim_end_matches('0').to_owned(),
        _ => String::new(),
    };
    format!("{}{part}Z", date_time(ms / 1000).replace(' ', "T"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right() {
        assert_eq!(date_time(0), "1970-01-01 00:00:00");
        assert_eq!(date_time(951_827_696), "2000-02-29 12:34:56");
        assert_eq!(date_time(1_795_260_156), "2026-11-21 11:22:36");
        assert_eq!(compact(1_440_938_160), "20150830T123600Z");
        assert_eq!(rfc3339(951_827_696_120, true), "2000-02-29T12:34:56.12Z");
        assert_eq!(rfc3339(951_827_696_120, false), "2000-02-29T12:34:56Z");
        assert_eq!(rfc3339(951_827_696_000, true), "2000-02-29T12:34:56Z");
    }
}
