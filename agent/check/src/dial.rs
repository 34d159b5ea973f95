//! Connections to what is checked: addresses, names, and Go's words for what goes wrong.

use crate::texts::io_text;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout, timeout_at};

/// Names looked up at a time. The system's resolver blocks a thread for each, for as long as its
/// name servers are silent, and the thread stays behind when the check's time is up.
const MAX_LOOKUPS: usize = 16;

/// The least time each of several addresses gets, unless less is left.
const MIN_TRY: Duration = Duration::from_secs(2);

/// How long the addresses of one family have before the other's are tried, too (RFC 8305: 250 ms;
/// Go's figure).
const FALLBACK_DELAY: Duration = Duration::from_millis(300);

/// Connects, with a bound on name look-ups.
#[derive(Clone, Debug)]
pub(crate) struct Dialer {
    lookups: Arc<Semaphore>,
}

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DialError {
    /// The time was up; while connecting to this address, if it got so far.
    Timeout(Option<SocketAddr>),
    /// Anything else, as Go prints it after the network's name.
    Failed(String),
}

impl DialError {
    /// The message for a network (`tcp`, `udp`).
    pub(crate) fn text(&self, network: &str, address: &str) -> String {
        match self {
            DialError::Timeout(Some(at)) => format!("dial {network} {at}: i/o timeout"),
            DialError::Timeout(None) => {
                let host = split_host_port(address).map_or(address, |(host, _)| host);
                format!("dial {network}: lookup {host}: i/o timeout")
            }
            DialError::Failed(why) => format!("dial {network}{why}"),
        }
    }
}

impl Dialer {
    pub(crate) fn new() -> Dialer {
        Dialer {
            lookups: Arc::new(Semaphore::new(MAX_LOOKUPS)),
        }
    }

    /// The addresses of `host:port`, in the resolver's order.
    pub(crate) async fn resolve(
        &self,
        network: &str,
        address: &str,
        deadline: Instant,
    ) -> Result<Vec<SocketAddr>, DialError> {
        let (host, port) =
            split_host_port(address).map_err(|why| DialError::Failed(format!(": {why}")))?;
        let port =
            parse_port(network, port).map_err(|why| DialError::Failed(format!(": {why}")))?;
        if host.is_empty() {
            return Ok(vec![SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port)]);
        }
        if let Ok(ip) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(ip, port)]);
        }
        let looked_up = timeout_at(deadline, self.look_up(host.to_owned(), port)).await;
        match looked_up.map_err(|_| DialError::Timeout(None))? {
            Ok(found) if !found.is_empty() => Ok(found),
            // The resolver's own words differ between systems; nearly always the name is unknown.
            _ => Err(DialError::Failed(format!(": lookup {host}: no such host"))),
        }
    }

    async fn look_up(&self, host: String, port: u16) -> io::Result<Vec<SocketAddr>> {
        let permit = Arc::clone(&self.lookups)
            .acquire_owned()
            .await
            .map_err(io::Error::other)?;
        let work = tokio::task::spawn_blocking(move || {
            let found = std::net::ToSocketAddrs::to_socket_addrs(&(host.as_str(), port))
                .map(Iterator::collect);
            drop(permit);
            found
        });
        work.await.map_err(io::Error::other)?
    }

    /// Connects to `host:port`.
    pub(crate) async fn connect(
        &self,
        address: &str,
        deadline: Instant,
    ) -> Result<TcpStream, DialError> {
        let found = self.resolve("tcp", address, deadline).await?;
        connect_any(&found, deadline, TcpStream::connect)
            .await
            .map_err(|e| match e {
                // Without a host Go shows the address as it was given.
                (at, Some(e)) => {
                    let shown = if address.starts_with(':') {
                        address.to_owned()
                    } else {
                        at.to_string()
                    };
                    DialError::Failed(format!(" {shown}: {}: {}", failed_call(&e), io_text(&e)))
                }
                (at, None) => DialError::Timeout(Some(at)),
            })
    }
}

/// The system call that must have failed.
fn failed_call(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EMFILE | libc::ENFILE | libc::EAFNOSUPPORT | libc::ENOBUFS) => "socket",
        _ => "connect",
    }
}

/// An address and what went wrong there; nothing if the time was up.
type Tried = (SocketAddr, Option<io::Error>);

/// Connects to one of the addresses of a name. Those of the first one's family come first; if
/// they have not answered after a moment, the other family is tried at the same time, so that a
/// host with broken IPv6 is still reached in time (RFC 8305, the way Go does it). The error is
/// that of the first address. `found` must not be empty: an empty one has timed out.
async fn connect_any<T, F>(
    found: &[SocketAddr],
    deadline: Instant,
    connect: impl Fn(SocketAddr) -> F,
) -> Result<T, Tried>
where
    F: Future<Output = io::Result<T>>,
{
    let family = found.first().is_some_and(SocketAddr::is_ipv4);
    let (first, second): (Vec<_>, Vec<_>) =
        found.iter().copied().partition(|at| at.is_ipv4() == family);
    let mut primary = pin!(connect_each(&first, deadline, &connect));
    if second.is_empty() {
        return primary.await;
    }
    let mut error = match timeout(FALLBACK_DELAY, &mut primary).await {
        Ok(Ok(connected)) => return Ok(connected),
        Ok(Err(e)) => Some(e),
        Err(_) => None,
    };
    let mut fallback = pin!(connect_each(&second, deadline, &connect));
    let mut fallback_failed = false;
    loop {
        tokio::select! {
            connected = &mut primary, if error.is_none() => match connected {
                Ok(connected) => return Ok(connected),
                Err(e) => error = Some(e),
            },
            connected = &mut fallback, if !fallback_failed => match connected {
                Ok(connected) => return Ok(connected),
                Err(_) => fallback_failed = true,
            },
        }
        if let Some(e) = error.take_if(|_| fallback_failed) {
            return Err(e);
        }
    }
}

/// Tries one address after the other.
async fn connect_each<T, F>(
    found: &[SocketAddr],
    deadline: Instant,
    connect: &impl Fn(SocketAddr) -> F,
) -> Result<T, Tried>
where
    F: Future<Output = io::Result<T>>,
{
    let mut first_error = None;
    for (tried, at) in found.iter().enumerate() {
        let now = Instant::now();
        let until = now + share(deadline.saturating_duration_since(now), found.len() - tried);
        match timeout_at(until, connect(*at)).await {
            Ok(Ok(connected)) => return Ok(connected),
            Ok(Err(e)) => _ = first_error.get_or_insert((*at, Some(e))),
            Err(_) => _ = first_error.get_or_insert((*at, None)),
        }
    }
    Err(first_error.unwrap_or_else(|| (SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0), None)))
}

/// The time for the next of `left` addresses: an even share, but enough to be worth trying.
fn share(remaining: Duration, left: usize) -> Duration {
    let even = remaining / u32::try_from(left.max(1)).unwrap_or(u32::MAX);
    even.max(MIN_TRY).min(remaining)
}

/// Host (without brackets) and port of `host:port`, with Go's words for what is wrong.
pub(crate) fn split_host_port(address: &str) -> Result<(&str, &str), String> {
    if address.is_empty() {
        return Err("missing address".to_owned());
    }
    let wrong = |why: &str| Err(format!("address {address}: {why}"));
    if let Some(inner) = address.strip_prefix('[') {
        let Some((host, rest)) = inner.split_once(']') else {
            return wrong("missing ']' in address");
        };
        return match rest.strip_prefix(':') {
            Some(port) if !port.contains(':') => Ok((host, port)),
            Some(_) => wrong("too many colons in address"),
            None => wrong("missing port in address"),
        };
    }
    match address.split_once(':') {
        None => wrong("missing port in address"),
        Some((_, rest)) if rest.contains(':') => wrong("too many colons in address"),
        Some(parts) => Ok(parts),
    }
}

fn parse_port(network: &str, port: &str) -> Result<u16, String> {
    if port.is_empty() {
        return Ok(0);
    }
    if port.bytes().all(|b| b.is_ascii_digit()) {
        return port
            .parse()
            .map_err(|_| format!("address {port}: invalid port"));
    }
    Err(format!("lookup {network}/{port}: unknown port"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(5)
    }

    #[tokio::test]
    async fn what_is_no_address_is_said_as_go_says_it() {
        for (address, want) in [
            ("", "dial tcp: missing address"),
            (
                "127.0.0.1",
                "dial tcp: address 127.0.0.1: missing port in address",
            ),
            (
                "::1:80",
                "dial tcp: address ::1:80: too many colons in address",
            ),
            ("[::1", "dial tcp: address [::1: missing ']' in address"),
            ("[::1]", "dial tcp: address [::1]: missing port in address"),
            ("127.0.0.1:99999", "dial tcp: address 99999: invalid port"),
            ("127.0.0.1:abc", "dial tcp: lookup tcp/abc: unknown port"),
        ] {
            let error = Dialer::new().connect(address, soon()).await.unwrap_err();
            assert_eq!(error.text("tcp", address), want);
        }
    }

    #[tokio::test]
    async fn names_are_looked_up_and_every_address_is_tried() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        // `localhost` may be ::1 first, where nobody listens.
        Dialer::new()
            .connect(&format!("localhost:{port}"), soon())
            .await
            .unwrap();
        Dialer::new()
            .connect(&format!(":{port}"), soon())
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn one_family_does_not_wait_for_the_other() {
        let [v6, v4]: [SocketAddr; 2] =
            ["[2001:db8::1]:80", "192.0.2.1:80"].map(|at| at.parse().unwrap());
        let refused = || Err(io::Error::from_raw_os_error(libc::ECONNREFUSED));
        let begin = Instant::now();
        // The first family is silent.
        let silent = |at: SocketAddr| async move {
            if at.is_ipv4() {
                Ok(at)
            } else {
                std::future::pending().await
            }
        };
        assert_eq!(connect_any(&[v6, v4], soon(), silent).await.unwrap(), v4);
        assert!((FALLBACK_DELAY..Duration::from_secs(5)).contains(&begin.elapsed()));
        // It refuses: the other's turn comes at once.
        let refusing =
            |at: SocketAddr| async move { if at.is_ipv4() { Ok(at) } else { refused() } };
        assert_eq!(connect_any(&[v6, v4], soon(), refusing).await.unwrap(), v4);
        // It is only slow: then it still may win.
        let slow = |at: SocketAddr| async move {
            if at.is_ipv4() {
                return refused();
            }
            tokio::time::sleep(2 * FALLBACK_DELAY).await;
            Ok(at)
        };
        assert_eq!(connect_any(&[v6, v4], soon(), slow).await.unwrap(), v6);
        // Both fail: the first error counts.
        let (at, error) = connect_any(&[v6, v4], soon(), |_| async { refused() })
            .await
            .unwrap_err();
        assert_eq!(
            (at, error.map(|e| e.kind())),
            (v6, Some(io::ErrorKind::ConnectionRefused))
        );
        let deadline = Instant::now() + Duration::from_millis(20);
        let never = |_| std::future::pending::<io::Result<()>>();
        let (at, error) = connect_any(&[v4, v6], deadline, never).await.unwrap_err();
        assert_eq!((at, error.is_none()), (v4, true));
    }

    #[test]
    fn several_addresses_share_the_time() {
        let s = Duration::from_secs;
        assert_eq!(share(s(10), 1), s(10));
        assert_eq!(share(s(10), 2), s(5));
        assert_eq!(share(s(10), 100), s(2));
        assert_eq!(share(s(1), 3), s(1));
        assert_eq!(share(s(1), 0), s(1));
    }

    #[test]
    fn a_timeout_names_what_was_waited_for() {
        let at = "10.0.0.1:80".parse().ok();
        assert_eq!(
            DialError::Timeout(at).text("tcp", "x:80"),
            "dial tcp 10.0.0.1:80: i/o timeout"
        );
        assert_eq!(
            DialError::Timeout(None).text("tcp", "x:80"),
            "dial tcp: lookup x: i/o timeout"
        );
    }
}
