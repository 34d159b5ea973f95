//! The address that this process has towards its agent.

use std::time::Duration;

/// How often it is looked for: the agent's name may not be known yet when everything starts at once.
const TRIES: u32 = 60;

/// The address that packets to the agent at `base_url` leave with. Sends none.
pub async fn own_address(base_url: &str) -> Result<String, String> {
    let at = host_and_port(base_url).ok_or_else(|| {
        format!("-address=auto needs an agent that is reached by TCP, not {base_url}")
    })?;
    let mut last = String::new();
    for _ in 0..TRIES {
        match look(&at).await {
            Ok(address) => return Ok(address),
            Err(error) => last = error.to_string(),
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    Err(format!("no address towards the agent at {at}: {last}"))
}

async fn look(at: &str) -> std::io::Result<String> {
    let mut last = std::io::Error::other("the name has no address");
    for agent in tokio::net::lookup_host(at).await? {
        let any = if agent.is_ipv4() {
            "0.0.0.0:0"
        } else {
            "[::]:0"
        };
        let socket = tokio::net::UdpSocket::bind(any).await?;
        match socket.connect(agent).await {
            Ok(()) => return Ok(socket.local_addr()?.ip().to_string()),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn host_and_port(base_url: &str) -> Option<String> {
    let rest = base_url
        .split_once("://")
        .map_or(base_url, |(_, rest)| rest);
    let at = rest.split('/').next().filter(|at| !at.is_empty())?;
    if base_url.starts_with("unix:") {
        return None;
    }
    let has_port = at
        .rsplit_once(':')
        .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    Some(if has_port {
        at.to_owned()
    } else {
        format!("{at}:80")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn towards_loopback_it_is_loopback() {
        assert_eq!(
            own_address("http://127.0.0.1:8500").await.unwrap(),
            "127.0.0.1"
        );
        assert!(own_address("unix:///x").await.is_err());
    }

    #[test]
    fn the_port_may_be_left_out() {
        assert_eq!(host_and_port("http://agent1").unwrap(), "agent1:80");
        assert_eq!(host_and_port("agent1:8500").unwrap(), "agent1:8500");
        assert_eq!(host_and_port("https://a:1/x").unwrap(), "a:1");
    }
}
