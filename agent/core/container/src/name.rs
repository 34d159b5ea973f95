//! Names and ids.

use std::fmt;

/// A port of a container with its protocol. Ordered by number, then protocol.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PortKey {
    /// The number inside the container.
    pub port: u16,
    /// tcp, udp or sctp.
    pub protocol: String,
}

impl PortKey {
    /// Reads `80/tcp`; without a protocol it is TCP.
    pub fn parse(text: &str) -> Option<PortKey> {
        let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let port = port.parse().ok().filter(|port| *port > 0)?;
        Some(PortKey {
            port,
            protocol: protocol.to_lowercase(),
        })
    }

    /// Whether it is anything but TCP, which ids and tags say.
    pub fn is_tcp(&self) -> bool {
        self.protocol == "tcp"
    }
}

impl fmt::Display for PortKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.port, self.protocol)
    }
}

/// The last part of an image's name, without registry, path, tag and digest.
pub fn image_base(image: &str) -> &str {
    let image = image.split('@').next().unwrap_or(image);
    let base = image.rsplit('/').next().unwrap_or(image);
    base.split(':').next().unwrap_or(base)
}

/// The id of a service that has none of its own: `<host>:<container>:<port>`, and the protocol if
/// it is not TCP.
pub fn generated_id(hostname: &str, container: &str, port: &PortKey) -> String {
    if port.is_tcp() {
        format!("{hostname}:{container}:{}", port.port)
    } else {
        format!("{hostname}:{container}:{}:{}", port.port, port.protocol)
    }
}

/// Whether an id is one that this host's containers get: what a registrator of this host wrote,
/// and nobody else.
pub fn is_generated_id(id: &str, hostname: &str) -> bool {
    let Some(rest) = id
        .strip_prefix(hostname)
        .and_then(|rest| rest.strip_prefix(':'))
    else {
        return false;
    };
    let mut parts = rest.split(':');
    let name = parts.next().unwrap_or_default();
    let port = parts.next().unwrap_or_default();
    let protocol = parts.next();
    let mut letters = name.bytes();
    letters.next().is_some_and(|b| b.is_ascii_alphanumeric())
        && name.len() > 1
        && letters.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
        && !port.is_empty()
        && port.bytes().all(|b| b.is_ascii_digit())
        && matches!(protocol, None | Some("udp" | "sctp"))
        && parts.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_have_a_base() {
        for (image, base) in [
            ("nginx", "nginx"),
            ("a/redis:7", "redis"),
            ("registry:5000/a/b:1.2", "b"),
            ("registry:5000/a/b", "b"),
            // Registrator made `b@sha256` of it.
            ("a/b@sha256:0123", "b"),
            ("registry:5000/b:1@sha256:0123", "b"),
            ("", ""),
        ] {
            assert_eq!(image_base(image), base, "{image}");
        }
    }

    #[test]
    fn generated_ids_are_known_again_and_others_are_not() {
        let port = |text| PortKey::parse(text).unwrap();
        for text in ["80/tcp", "53/udp", "9/sctp"] {
            let id = generated_id("host-1", "web_1", &port(text));
            assert!(is_generated_id(&id, "host-1"), "{id}");
            assert!(!is_generated_id(&id, "host"), "{id}");
        }
        for id in [
            "host-1:web:80:tcp",
            "host-1:web",
            "host-1:-web:80",
            "host-1:w/b:80",
            "web",
            "host-1:web:80:udp:1",
            "host-1:web:",
        ] {
            assert!(!is_generated_id(id, "host-1"), "{id}");
        }
    }

    #[test]
    fn ports_have_a_number_and_a_protocol() {
        assert_eq!(PortKey::parse("80").unwrap().to_string(), "80/tcp");
        for text in ["0/tcp", "x/tcp", "70000/tcp", ""] {
            assert_eq!(PortKey::parse(text), None, "{text}");
        }
    }
}
