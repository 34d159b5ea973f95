//! The local syslog.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::Error;
use crate::level::Level;

const SOCKET: &str = "/dev/log";

/// Longest message, in bytes: what common receivers take.
const LONGEST: usize = 8 * 1024;

/// Pause between attempts to reach a syslog that is gone.
const RETRY: Duration = Duration::from_secs(1);

/// Names of the facilities of RFC 3164, by their numbers; 12 to 15 have none.
const FACILITIES: [&str; 24] = [
    "KERN", "USER", "MAIL", "DAEMON", "AUTH", "SYSLOG", "LPR", "NEWS", "UUCP", "CRON", "AUTHPRIV",
    "FTP", "", "", "", "", "LOCAL0", "LOCAL1", "LOCAL2", "LOCAL3", "LOCAL4", "LOCAL5", "LOCAL6",
    "LOCAL7",
];

/// Sends messages in the form of RFC 3164, without the time: the receiver has
/// the same clock and knows its time zone.
pub(crate) struct Syslog {
    facility: u8,
    /// `name[process id]: `
    tag: String,
    path: &'static Path,
    link: Mutex<Link>,
}

struct Link {
    socket: Option<UnixDatagram>,
    tried: Instant,
    message: Vec<u8>,
}

impl Syslog {
    pub(crate) fn connect(facility: &str, name: &str) -> Result<Syslog, Error> {
        let number =
            facility_number(facility).ok_or_else(|| Error::Facility(facility.to_owned()))?;
        let socket = open(Path::new(SOCKET)).map_err(|source| Error::Syslog {
            path: SOCKET,
            source,
        })?;
        Ok(Self::new(number, name, Path::new(SOCKET), socket))
    }

    fn new(facility: u8, name: &str, path: &'static Path, socket: UnixDatagram) -> Syslog {
        Syslog {
            facility,
            tag: format!("{name}[{}]: ", std::process::id()),
            path,
            link: Mutex::new(Link {
                socket: Some(socket),
                tried: Instant::now(),
                message: Vec::new(),
            }),
        }
    }

    /// Sends one message. It is lost if the syslog does not take it at once.
    pub(crate) fn send(&self, level: Level, text: &[u8]) {
        let mut link = self.link.lock().unwrap_or_else(PoisonError::into_inner);
        let link = &mut *link;
        if link.socket.is_none() && link.tried.elapsed() >= RETRY {
            link.tried = Instant::now();
            link.socket = open(self.path).ok();
        }
        message(&mut link.message, self.facility, level, &self.tag, text);
        let Some(socket) = &link.socket else { return };
        match socket.send(&link.message) {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            // The syslog was started anew: its socket is another one.
            Err(_) => {
                link.tried = Instant::now();
                link.socket = open(self.path).ok();
                if let Some(socket) = &link.socket {
                    let _ = socket.send(&link.message);
                }
            }
        }
    }
}

fn open(path: &Path) -> std::io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.connect(path)?;
    Ok(socket)
}

fn facility_number(name: &str) -> Option<u8> {
    let at = FACILITIES
        .iter()
        .position(|known| !known.is_empty() && known.eq_ignore_ascii_case(name))?;
    u8::try_from(at).ok()
}

/// The severity of RFC 3164, one step up from the usual, as Consul has it.
const fn severity(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 5,
        Level::Debug => 6,
        Level::Trace => 7,
    }
}

fn message(out: &mut Vec<u8>, facility: u8, level: Level, tag: &str, text: &[u8]) {
    out.clear();
    out.extend_from_slice(
        format!("<{}>", u32::from(facility) * 8 + u32::from(severity(level))).as_bytes(),
    );
    out.extend_from_slice(tag.as_bytes());
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    let room = LONGEST.saturating_sub(out.len());
    let mut end = text.len().min(room);
    // Not in the middle of a character.
    while end < text.len() && end > 0 && text[end] & 0xc0 == 0x80 {
        end -= 1;
    }
    out.extend_from_slice(&text[..end]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_carry_priority_and_tag() {
        let mut out = Vec::new();
        for (facility, level, start) in [
            ("LOCAL0", Level::Error, "<131>"),
            ("local0", Level::Warn, "<132>"),
            ("LOCAL7", Level::Info, "<189>"),
            ("DAEMON", Level::Debug, "<30>"),
            ("KERN", Level::Trace, "<7>"),
        ] {
            message(
                &mut out,
                facility_number(facility).unwrap(),
                level,
                "lictor[7]: ",
                b"agent: message: a=1\n",
            );
            assert_eq!(
                String::from_utf8_lossy(&out),
                format!("{start}lictor[7]: agent: message: a=1")
            );
        }
        assert_eq!(facility_number("LOCAL8"), None);
        assert_eq!(facility_number(""), None);
        message(
            &mut out,
            16,
            Level::Info,
            "lictor[7]: ",
            "ä".repeat(LONGEST).as_bytes(),
        );
        assert!(out.len() <= LONGEST && out.len() > LONGEST - 2);
        assert!(std::str::from_utf8(&out).is_ok());
    }

    #[test]
    fn a_syslog_started_anew_is_found() {
        let path: &'static Path = Box::leak(
            crate::file::tests::scratch("syslog")
                .join("log")
                .into_boxed_path(),
        );
        let first = UnixDatagram::bind(path).unwrap();
        let syslog = Syslog::new(16, "lictor", path, open(path).unwrap());
        let id = std::process::id();
        let receive = |socket: &UnixDatagram| {
            let mut buffer = [0; 200];
            let length = socket.recv(&mut buffer).unwrap();
            String::from_utf8_lossy(&buffer[..length]).into_owned()
        };
        syslog.send(Level::Info, b"agent: one\n");
        assert_eq!(receive(&first), format!("<133>lictor[{id}]: agent: one"));
        drop(first);
        std::fs::remove_file(path).unwrap();
        // Nobody is there, which harms nothing.
        let second = UnixDatagram::bind(path).unwrap();
        syslog.send(Level::Warn, b"agent: two\n");
        assert_eq!(receive(&second), format!("<132>lictor[{id}]: agent: two"));
    }
}
