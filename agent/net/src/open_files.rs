//! The process's limit of open files, and what it means for the number of connections.

use std::io;

/// Raises the soft limit of open files to the hard one, and returns the limit that now holds.
/// Meant to be called once at start. Programs started afterwards inherit the raised limit.
///
/// # Errors
/// What the kernel says when the limit can be neither read nor raised.
pub fn raise_open_files() -> io::Result<u64> {
    let mut now = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `getrlimit` writes one `rlimit` through the pointer, which is to a live local.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut now) } != 0 {
        return Err(io::Error::last_os_error());
    }
    if now.rlim_cur < now.rlim_max {
        let wanted = libc::rlimit {
            rlim_cur: now.rlim_max,
            rlim_max: now.rlim_max,
        };
        // SAFETY: `setrlimit` reads one `rlimit` through the pointer, which is to a live local.
        if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &wanted) } != 0 {
            return Err(io::Error::last_os_error());
        }
        now = wanted;
    }
    Ok(now.rlim_cur)
}

/// How many HTTP connections a process may hold that may open `files` files: what is left after a
/// tenth, at least 64 and at most 4096, is kept for everything else (Raft's log, gossip, RPC, DNS,
/// checks).
pub fn connections_for(files: u64) -> usize {
    let kept = (files / 10).clamp(64, 4096);
    usize::try_from(files.saturating_sub(kept).max(16)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_files_are_kept_for_the_rest() {
        assert_eq!(connections_for(1024), 922);
        assert_eq!(connections_for(1_000_000), 995_904);
        assert_eq!(connections_for(10), 16);
    }

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let raised = raise_open_files().expect("the limit can be raised");
        assert_eq!(raise_open_files().expect("and read again"), raised);
        assert!(raised > 0);
    }
}
