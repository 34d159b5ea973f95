//! What the first process of a container needs of the kernel: another user, one capability, the
//! signals and the ends of processes.

use std::io;

/// A user and its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User {
    /// The user's number.
    pub uid: u32,
    /// The group's number.
    pub gid: u32,
}

/// Whether this process is root.
pub fn is_root() -> bool {
    // SAFETY: takes nothing, touches no memory, cannot fail.
    unsafe { libc::geteuid() == 0 }
}

fn done(result: libc::c_long) -> io::Result<()> {
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

const CAP_NET_BIND_SERVICE: libc::c_ulong = 10;
/// `_LINUX_CAPABILITY_VERSION_3` of linux/capability.h.
const CAPABILITY_VERSION: u32 = 0x2008_0522;

#[repr(C)]
struct CapHeader {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct CapData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Drops root for good: its groups, its user, and with them its capabilities, save, if `low_ports`,
/// the one to listen below port 1024, which programs that are run inherit. To be called while the
/// process has one thread.
pub fn become_user(user: User, groups: &[u32], low_ports: bool) -> io::Result<()> {
    if user.uid == 0 {
        return Ok(());
    }
    // SAFETY: the pointer and the length are those of a slice that lives through the call.
    done(libc::c_long::from(unsafe {
        libc::setgroups(groups.len(), groups.as_ptr())
    }))?;
    // SAFETY: takes an integer.
    done(libc::c_long::from(unsafe { libc::setgid(user.gid) }))?;
    if low_ports {
        // SAFETY: takes integers; what the kernel does not know it refuses.
        done(libc::c_long::from(unsafe {
            libc::prctl(libc::PR_SET_KEEPCAPS, 1, 0, 0, 0)
        }))?;
    }
    // SAFETY: takes an integer.
    done(libc::c_long::from(unsafe { libc::setuid(user.uid) }))?;
    if low_ports {
        keep_low_ports()?;
    }
    Ok(())
}

fn keep_low_ports() -> io::Result<()> {
    let header = CapHeader {
        version: CAPABILITY_VERSION,
        pid: 0,
    };
    let bit = 1u32 << CAP_NET_BIND_SERVICE;
    let none = CapData {
        effective: 0,
        permitted: 0,
        inheritable: 0,
    };
    let data = [
        CapData {
            effective: bit,
            permitted: bit,
            inheritable: bit,
        },
        none,
    ];
    // SAFETY: the kernel reads one header and, for this version, two data structures, which live
    // through the call and are laid out as linux/capability.h has them.
    done(unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) })?;
    // SAFETY: takes integers.
    done(libc::c_long::from(unsafe {
        libc::prctl(
            libc::PR_CAP_AMBIENT,
            libc::PR_CAP_AMBIENT_RAISE as libc::c_ulong,
            CAP_NET_BIND_SERVICE,
            0,
            0,
        )
    }))
}

/// All signals, kept back to be taken one by one.
pub struct Signals(libc::sigset_t);

impl Signals {
    /// Keeps all signals of this thread back. Programs that are started inherit that, unless
    /// [`Signals::let_through`] is applied to them.
    pub fn block() -> Signals {
        // SAFETY: `sigfillset` writes the whole set before anybody reads it; zero is a value of
        // it. The set lives through both calls.
        unsafe {
            let mut set: libc::sigset_t = std::mem::zeroed();
            libc::sigfillset(&raw mut set);
            libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
            Signals(set)
        }
    }

    /// Lets a program that is to be started have its signals.
    pub fn let_through(&self, command: &mut std::process::Command) {
        use std::os::unix::process::CommandExt;
        let set = self.0;
        let unblock = move || {
            // SAFETY: the set was filled and lives in the closure.
            let error = unsafe {
                libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const set, std::ptr::null_mut())
            };
            if error == 0 {
                Ok(())
            } else {
                Err(io::Error::from_raw_os_error(error))
            }
        };
        // SAFETY: between fork and exec the closure only calls `pthread_sigmask`, which may be
        // called there (signal-safety(7)); it allocates nothing and takes no lock.
        unsafe { command.pre_exec(unblock) };
    }

    /// The next signal.
    pub fn wait(&self) -> i32 {
        loop {
            let mut signal = 0;
            // SAFETY: the set was filled; the signal's place is writable.
            if unsafe { libc::sigwait(&raw const self.0, &raw mut signal) } == 0 {
                return signal;
            }
        }
    }
}

/// Sends a signal to a process.
pub fn send(pid: u32, signal: i32) {
    if let Ok(pid) = libc::pid_t::try_from(pid) {
        // SAFETY: takes integers. The process is our child and not yet reaped, so the number is
        // its own.
        unsafe { libc::kill(pid, signal) };
    }
}

/// A child that has ended, with its status as `wait` gives it; `None` if there is none right now.
pub fn reap() -> Option<(u32, i32)> {
    let mut status = 0;
    // SAFETY: the status' place is writable.
    let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
    u32::try_from(pid)
        .ok()
        .filter(|pid| *pid > 0)
        .map(|pid| (pid, status))
}
