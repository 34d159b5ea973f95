//! What the process itself uses.

use std::fs;
use std::time::Duration;

/// Resources of this process. What cannot be read is zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessStats {
    /// Memory in use that is not swapped out, in bytes.
    pub rss: u64,
    /// Threads.
    pub threads: u64,
    /// Open file descriptors.
    pub fds: u64,
    /// Time on processors since the start, of all threads, in user and system mode.
    pub cpu: Duration,
}

/// Resources that this process uses now.
pub fn process_stats() -> ProcessStats {
    let text = crate::read("/proc/self/stat").unwrap_or_default();
    let mut stats = parse(
        &text,
        setting(libc::_SC_PAGESIZE),
        setting(libc::_SC_CLK_TCK),
    )
    .unwrap_or_default();
    // Less the one that lists the directory.
    stats.fds =
        fs::read_dir("/proc/self/fd").map_or(0, |list| (list.count() as u64).saturating_sub(1));
    stats
}

/// A constant of the running system.
fn setting(name: libc::c_int) -> u64 {
    // SAFETY: the call takes any number and touches no memory of ours.
    let value = unsafe { libc::sysconf(name) };
    u64::try_from(value).unwrap_or(0)
}

/// Reads the text of `/proc/self/stat`, proc_pid_stat(5). `page` is in bytes,
/// `ticks` are those of a second.
fn parse(stat: &str, page: u64, ticks: u64) -> Option<ProcessStats> {
    // The second field is the name, in parentheses, and may hold anything.
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().take(22).collect();
    // Fields are numbered from 1; the first of these is the third.
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    let spent = field(14)?.saturating_add(field(15)?);
    let cpu = match ticks {
        0 => Duration::ZERO,
        _ => {
            Duration::from_secs(spent / ticks)
                + Duration::from_nanos(spent % ticks * 1_000_000_000 / ticks)
        }
    };
    Some(ProcessStats {
        rss: field(24)?.saturating_mul(page),
        threads: field(20)?,
        fds: 0,
        cpu,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = "31495 (a ) b (c) R 31437 31437 16599 0 -1 4194304 104 0 0 0 1250 333 0 0 20 0 7 0 377007 2998272 395 18446744073709551615 1 1 0\n";

    #[test]
    fn numbers_after_the_name() {
        let stats = parse(SAMPLE, 4096, 100).unwrap();
        let expected = ProcessStats {
            rss: 395 * 4096,
            threads: 7,
            fds: 0,
            cpu: Duration::from_millis(15_830),
        };
        assert_eq!(stats, expected);
        assert_eq!(parse(SAMPLE, 4096, 0).unwrap().cpu, Duration::ZERO);
        for bad in [
            "",
            "1 (x) R",
            "1 (x",
            "1 (x) R a b c d e f g h i j k l m n o p q r s t u",
        ] {
            assert_eq!(parse(bad, 4096, 100), None, "{bad}");
        }
    }

    #[test]
    fn this_process() {
        let before = process_stats();
        assert!(
            before.rss > 0 && before.threads > 0 && before.fds >= 3,
            "{before:?}"
        );
        assert!(process_stats().cpu >= before.cpu);
    }
}
