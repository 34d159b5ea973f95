//! How errors of the system read in a check's output: as in Consul, which prints Go's texts.

use std::io;

/// The text of a system error: lower case and without its number.
pub(crate) fn io_text(error: &io::Error) -> String {
    if error.raw_os_error().is_none() {
        return match error.kind() {
            io::ErrorKind::TimedOut => "i/o timeout".to_owned(),
            io::ErrorKind::UnexpectedEof => "EOF".to_owned(),
            _ => error.to_string(),
        };
    }
    let text = error.to_string();
    let text = text
        .rfind(" (os error")
        .map_or(text.as_str(), |at| &text[..at]);
    let mut chars = text.chars();
    chars
        .next()
        .map(|first| first.to_lowercase().chain(chars).collect())
        .unwrap_or_default()
}

/// A moment as RFC 3339 writes it, from seconds since 1970.
pub(crate) fn rfc3339(unix: u64) -> String {
    let (days, secs) = (unix / 86_400, unix % 86_400);
    // Howard Hinnant's days-to-civil, with years that begin in March.
    let days = days + 719_468;
    let era = days / 146_097;
    let of_era = days % 146_097;
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (secs / 3_600, secs / 60 % 60, secs % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_errors_read_as_in_go() {
        for (code, want) in [
            (libc::ECONNREFUSED, "connection refused"),
            (libc::ENOENT, "no such file or directory"),
            (libc::EHOSTUNREACH, "no route to host"),
            (libc::EMFILE, "too many open files"),
            (libc::ENOEXEC, "exec format error"),
        ] {
            assert_eq!(io_text(&io::Error::from_raw_os_error(code)), want);
        }
        assert_eq!(io_text(&io::ErrorKind::UnexpectedEof.into()), "EOF");
        assert_eq!(io_text(&io::ErrorKind::TimedOut.into()), "i/o timeout");
    }

    #[test]
    fn moments_are_dates() {
        for (unix, want) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_798_761_599, "2026-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(unix), want);
        }
    }
}
