//! Telling the service manager how far the agent is, sd_notify(3).

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Sends `state`, such as `READY=1`, to the service manager that
/// `NOTIFY_SOCKET` names. Does nothing without that variable; a failure is
/// logged at debug level only, as in Consul.
pub fn sd_notify(state: &str) {
    let Some(socket) = env::var_os("NOTIFY_SOCKET").filter(|socket| !socket.is_empty()) else {
        return;
    };
    if let Err(error) = send(&socket, state) {
        tracing::debug!(target: "agent", %error, "systemd notify failed");
    }
}

/// Sends a datagram to a socket by its path, or by its abstract name after `@`.
fn send(socket: &OsStr, state: &str) -> io::Result<()> {
    let address = match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(socket)?,
    };
    let sender = UnixDatagram::unbound()?;
    // A manager that does not read must not stop the agent.
    sender.set_nonblocking(true)?;
    sender.send_to_addr(state.as_bytes(), &address)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 64];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    #[test]
    fn states_reach_named_sockets() {
        let path = env::temp_dir().join(format!("lictor-host-{}-notify", std::process::id()));
        let _ = std::fs::remove_file(&path);
        assert!(send(path.as_os_str(), "READY=1").is_err());
        let socket = UnixDatagram::bind(&path).unwrap();
        send(path.as_os_str(), "READY=1").unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(received(&socket), "READY=1");
    }

    #[test]
    fn states_reach_abstract_sockets() {
        let name = format!("lictor-host-{}-notify", std::process::id());
        let socket =
            UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        send(OsStr::new(&format!("@{name}")), "STOPPING=1").unwrap();
        assert_eq!(received(&socket), "STOPPING=1");
    }
}
