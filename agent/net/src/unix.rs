//! Unix sockets as files: who may use them, what becomes of one that lies there already, and who
//! removes it.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};

use crate::accounts::id_of;
use crate::listener::{BACKLOG, BindError};

/// A unix socket to listen on (`unix:///path` in `addresses`, with the permissions of
/// `unix_sockets`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnixSocket {
    /// Where the file is made.
    pub path: PathBuf,
    /// Its permission bits; without, what the umask leaves.
    pub mode: Option<u32>,
    /// Its owner, by number or by name in `/etc/passwd`.
    pub user: Option<String>,
    /// Its group, by number or by name in `/etc/group`.
    pub group: Option<String>,
}

/// Reads permission bits as written in a configuration: octal, `0660` or `660`.
pub fn parse_mode(text: &str) -> Option<u32> {
    let mode = u32::from_str_radix(text, 8).ok()?;
    (mode <= 0o7777).then_some(mode)
}

/// The file of a listening socket, removed when this is dropped, unless another file has taken its
/// place.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    /// Device and inode.
    identity: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|now| now == self.identity) {
            fs::remove_file(&self.path).ok();
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let meta = fs::symlink_metadata(path)?;
    Ok((meta.dev(), meta.ino()))
}

/// Makes the socket: nobody can connect before its permissions are set.
pub(crate) fn bind(want: &UnixSocket) -> Result<(UnixListener, SocketFile), BindError> {
    let path = &want.path;
    let fail =
        |what: &'static str, error: io::Error| BindError::new("unix", path.display(), what, error);
    make_way(path)?;
    let address = SockAddr::unix(path).map_err(|e| fail("bind", e))?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(|e| fail("socket", e))?;
    socket
        .set_nonblocking(true)
        .map_err(|e| fail("socket", e))?;
    socket.bind(&address).map_err(|e| fail("bind", e))?;
    let file = SocketFile {
        path: path.clone(),
        identity: identity(path).map_err(|e| fail("stat", e))?,
    };
    if want.user.is_some() || want.group.is_some() {
        let user = account(want.user.as_deref(), "user", "/etc/passwd", path)?;
        let group = account(want.group.as_deref(), "group", "/etc/group", path)?;
        chown(path, user, group).map_err(|e| fail("chown", e))?;
    }
    // After the owner: changing it clears the set-id bits.
    if let Some(mode) = want.mode {
        fs::set_permissions(path, fs::Permissions::from_mode(mode))
            .map_err(|e| fail("chmod", e))?;
    }
    socket.listen(BACKLOG).map_err(|e| fail("listen", e))?;
    Ok((socket.into(), file))
}

/// Removes a socket that nobody answers on. Anything else stays, and is an error.
fn make_way(path: &Path) -> Result<(), BindError> {
    let in_use = |hint| {
        let error = io::Error::from_raw_os_error(libc::EADDRINUSE);
        Err(BindError::new("unix", path.display(), "bind", error).with_hint(hint))
    };
    match fs::symlink_metadata(path) {
        Err(_) => return Ok(()), // nothing there, or `bind` will say why not
        Ok(meta) if !meta.file_type().is_socket() => {
            return in_use("a file that is not a socket has this name; it is left alone");
        }
        Ok(_) => {}
    }
    match answers(path) {
        Ok(false) => {
            tracing::warn!(path = %path.display(), "replacing a socket that nobody answers on");
            fs::remove_file(path).map_err(|e| BindError::new("unix", path.display(), "remove", e))
        }
        Ok(true) => in_use("another process answers on this socket"),
        Err(_) => in_use("whether another process answers on this socket cannot be found out"),
    }
}

/// Whether a process listens. Does not wait: a full queue is an answer too.
fn answers(path: &Path) -> io::Result<bool> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    match socket.connect(&SockAddr::unix(path)?) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => Ok(false),
        Err(e) => Err(e),
    }
}

fn account(
    who: Option<&str>,
    kind: &'static str,
    file: &'static str,
    path: &Path,
) -> Result<Option<u32>, BindError> {
    let Some(who) = who.filter(|w| !w.is_empty()) else {
        return Ok(None);
    };
    // A file that cannot be read knows no names; numbers work all the same.
    let known = fs::read_to_string(file).unwrap_or_default();
    id_of(who, &known).map(Some).ok_or_else(|| {
        let error = io::Error::other(format!("unknown {kind} {who} (not in {file})"));
        BindError::new("unix", path.display(), "chown", error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(name: &str) -> PathBuf {
        let place = std::env::temp_dir().join(format!("lictor-net-{}-{name}", std::process::id()));
        fs::remove_file(&place).ok();
        place
    }

    fn at(path: &Path) -> UnixSocket {
        UnixSocket {
            path: path.to_owned(),
            ..UnixSocket::default()
        }
    }

    #[test]
    fn modes_are_octal() {
        assert_eq!(parse_mode("0755"), Some(0o755));
        assert_eq!(parse_mode("660"), Some(0o660));
        assert_eq!(parse_mode("888"), None);
        assert_eq!(parse_mode("70000"), None);
        assert_eq!(parse_mode(""), None);
    }

    #[test]
    fn permissions_are_set_and_the_file_goes_with_its_owner() {
        let path = place("mode");
        let want = UnixSocket {
            mode: Some(0o640),
            group: Some(nix_gid().to_string()),
            ..at(&path)
        };
        let (listener, file) = bind(&want).expect("a socket");
        let meta = fs::metadata(&path).expect("a file");
        assert_eq!(meta.permissions().mode() & 0o7777, 0o640);
        assert_eq!(meta.gid(), nix_gid());
        drop((listener, file));
        assert!(!path.exists());
    }

    fn nix_gid() -> u32 {
        fs::metadata("/proc/self").expect("proc").gid()
    }

    #[test]
    fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let path = place("stale");
        drop(UnixListener::bind(&path).expect("an old socket"));
        assert!(path.exists(), "the old socket's file is still there");
        let (listener, _file) = bind(&at(&path)).expect("nobody answered there");
        let error = bind(&at(&path)).expect_err("somebody answers there");
        assert_eq!(
            error.to_string(),
            format!(
                "listen unix {}: bind: address already in use",
                path.display()
            )
        );
        assert!(error.hint().is_some_and(|h| h.contains("answers")));
        drop(listener);
    }

    #[test]
    fn other_files_are_left_alone() {
        let path = place("file");
        fs::write(&path, "precious").expect("a file");
        assert!(bind(&at(&path)).is_err());
        assert_eq!(fs::read_to_string(&path).expect("still there"), "precious");
        fs::remove_file(&path).ok();
    }

    #[test]
    fn a_successor_keeps_its_file() {
        let path = place("successor");
        let (_first, file) = bind(&at(&path)).expect("a socket");
        fs::remove_file(&path).expect("somebody removes it");
        let (_second, other) = bind(&at(&path)).expect("and another takes its place");
        drop(file);
        assert!(path.exists(), "the second one's file must stay");
        drop(other);
        assert!(!path.exists());
    }

    #[test]
    fn unknown_accounts_are_named() {
        let path = place("account");
        let want = UnixSocket {
            user: Some("no-such-user-here".into()),
            ..at(&path)
        };
        let error = bind(&want).expect_err("nobody has that name");
        assert!(error.to_string().contains("unknown user no-such-user-here"));
        assert!(!path.exists(), "nothing is left behind");
    }
}
