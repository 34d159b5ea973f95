//! The file system that holds a directory.

use std::ffi::CString;
use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use serde_json::{Value, json};

use crate::percent;

/// `Disk` of the answer, in bytes. Free is what an ordinary user can have.
pub(crate) fn facts(path: &Path) -> io::Result<Value> {
    let usage = usage(path).map_err(|error| {
        io::Error::new(error.kind(), format!("statvfs {}: {error}", path.display()))
    })?;
    let mounts = crate::read("/proc/self/mountinfo").unwrap_or_default();
    let real = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let fstype = filesystem(&mounts, real.as_os_str().as_bytes()).unwrap_or_default();
    Ok(shape(&path.to_string_lossy(), fstype, &usage))
}

/// Numbers of a file system: sizes in bytes, and inodes.
#[derive(Default)]
struct Usage {
    total: u64,
    /// Not in use.
    free: u64,
    /// Not in use and not reserved for the superuser.
    available: u64,
    inodes: u64,
    inodes_free: u64,
}

fn usage(path: &Path) -> io::Result<Usage> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut stat = MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: `path` is a string that ends in a zero byte and lives beyond the
    // call; `stat` is writable and as large as the call expects.
    if unsafe { libc::statvfs(path.as_ptr(), stat.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call has succeeded and so has filled all of it.
    let stat = unsafe { stat.assume_init() };
    // The widths of these types differ between machines.
    #[allow(clippy::unnecessary_cast)]
    let bytes = |blocks: libc::fsblkcnt_t| (blocks as u64).saturating_mul(stat.f_frsize as u64);
    #[allow(clippy::unnecessary_cast)]
    Ok(Usage {
        total: bytes(stat.f_blocks),
        free: bytes(stat.f_bfree),
        available: bytes(stat.f_bavail),
        inodes: stat.f_files as u64,
        inodes_free: stat.f_ffree as u64,
    })
}

fn shape(path: &str, fstype: &str, usage: &Usage) -> Value {
    let used = usage.total.saturating_sub(usage.free);
    let inodes_used = usage.inodes.saturating_sub(usage.inodes_free);
    json!({
        "path": path,
        "fstype": fstype,
        "total": usage.total,
        "free": usage.available,
        "used": used,
        // Of what an ordinary user can have, as `df` shows it.
        "usedPercent": percent(used, used.saturating_add(usage.available)),
        "inodesTotal": usage.inodes,
        "inodesUsed": inodes_used,
        "inodesFree": usage.inodes_free,
        "inodesUsedPercent": percent(inodes_used, usage.inodes),
    })
}

/// The type of the file system at `path`, in the text of
/// `/proc/self/mountinfo` (proc_pid_mountinfo(5)): that of the longest mount
/// point above it, the last one of equal ones as it covers the others.
fn filesystem<'a>(mountinfo: &'a str, path: &[u8]) -> Option<&'a str> {
    let mut best: Option<(usize, &str)> = None;
    for line in mountinfo.lines() {
        let Some((mount, device)) = line.split_once(" - ") else {
            continue;
        };
        let (Some(point), Some(fstype)) = (mount.split(' ').nth(4), device.split(' ').next())
        else {
            continue;
        };
        let point = unescape(point);
        let inside = match path.strip_prefix(point.as_slice()) {
            Some(rest) => rest.is_empty() || rest[0] == b'/' || point == b"/",
            None => false,
        };
        if inside && best.is_none_or(|(length, _)| point.len() >= length) {
            best = Some((point.len(), fstype));
        }
    }
    best.map(|(_, fstype)| fstype)
}

/// Undoes the `\040` by which the kernel writes blanks and the like.
fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.as_bytes();
    while let [first, rest @ ..] = bytes {
        bytes = rest;
        let octal = |b: u8| (b'0'..=b'7').contains(&b).then(|| u32::from(b - b'0'));
        let code = match rest {
            [a, b, c, ..] if *first == b'\\' => octal(*a)
                .zip(octal(*b))
                .zip(octal(*c))
                .map(|((a, b), c)| a * 64 + b * 8 + c),
            _ => None,
        };
        match code.and_then(|code| u8::try_from(code).ok()) {
            Some(byte) => {
                out.push(byte);
                bytes = &rest[3..];
            }
            None => out.push(*first),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = r"22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 27 0:30 / /var/lib rw shared:3 master:1 - btrfs /dev/vdb rw
31 27 0:31 / /var/lib/two\040words rw - xfs /dev/vdc rw
32 27 0:32 / /data rw - ext3 /dev/vdd rw
33 32 0:33 / /data rw - tmpfs none rw
short line
40 27 0:32 / /odd\9 rw - zfs x rw
";

    #[test]
    fn the_nearest_mount_point_counts() {
        for (path, fstype) in [
            ("/", "ext4"),
            ("/etc", "ext4"),
            ("/var/lib", "btrfs"),
            ("/var/lib/lictor", "btrfs"),
            ("/var/library", "ext4"),
            ("/var/lib/two words/x", "xfs"),
            ("/data/x", "tmpfs"),
            ("/odd\\9", "zfs"),
        ] {
            assert_eq!(filesystem(MOUNTS, path.as_bytes()), Some(fstype), "{path}");
        }
        assert_eq!(filesystem("", b"/"), None);
    }

    #[test]
    fn numbers_of_a_disk() {
        let usage = Usage {
            total: 1000,
            free: 600,
            available: 400,
            inodes: 50,
            inodes_free: 40,
        };
        assert_eq!(
            shape("/data", "ext4", &usage).to_string(),
            r#"{"path":"/data","fstype":"ext4","total":1000,"free":400,"used":400,"usedPercent":50,"inodesTotal":50,"inodesUsed":10,"inodesFree":40,"inodesUsedPercent":20}"#
        );
        assert_eq!(shape("/proc", "proc", &Usage::default())["usedPercent"], 0);
    }

    #[test]
    fn paths_with_a_zero_byte_are_refused() {
        assert!(facts(Path::new("/a\0b")).is_err());
    }
}
