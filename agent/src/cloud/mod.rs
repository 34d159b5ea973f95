//! Clouds: agents found by their tags, and notices of the end of this instance.
//!
//! What is asked and what answers mean is `lictor_aws`'s; here are the connections.

mod aws;
mod notices;

pub use notices::start as watch_notices;

use lictor_aws::{Text, TextError, Wish};
use lictor_config::{RetryJoin, without_secrets};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::Path;

/// The providers that Consul knows and this agent does not.
const OTHERS: [&str; 15] = [
    "aliyun",
    "azure",
    "digitalocean",
    "gce",
    "hcp",
    "k8s",
    "linode",
    "mdns",
    "os",
    "packet",
    "scaleway",
    "softlayer",
    "tencentcloud",
    "triton",
    "vsphere",
];

/// The one that is known.
pub const PROVIDERS: &str = "aws";

/// Refuses by name a provider that Consul has and this agent has not: it would try for ever.
///
/// # Errors
/// The provider.
pub fn supported(join: &RetryJoin) -> Result<(), String> {
    for address in join.addresses.iter().filter(|a| Text::is_one(a)) {
        let text = Text::parse(address);
        if let Some(name) = text.as_ref().ok().and_then(|text| text.provider().ok())
            && OTHERS.contains(&name)
        {
            return Err(format!("provider={name}"));
        }
    }
    Ok(())
}

/// The addresses that stand for all of `wished`, clouds asked anew each time. What cannot be found
/// out is told to the log, and the rest counts.
pub async fn addresses(wished: &[String], cluster: &str) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for address in wished {
        if !Text::is_one(address) {
            out.push(address.clone());
            continue;
        }
        let shown = without_secrets(address);
        match discover(address).await {
            Ok(found) => {
                tracing::info!(target: "agent", cluster, servers = %found.join(" "), "Discovered servers");
                out.extend(found);
            }
            Err(error) => {
                tracing::error!(target: "agent", address = %shown, error = %error, "Cannot discover address");
            }
        }
    }
    let mut seen = std::collections::BTreeSet::new();
    out.retain(|address| seen.insert(address.clone()));
    out
}

async fn discover(address: &str) -> Result<Vec<String>, String> {
    let text = Text::parse(address).map_err(|e| e.to_string())?;
    match text.provider().map_err(|e| e.to_string())? {
        "aws" => aws::discover(&Wish::read(&text))
            .await
            .map_err(|why| format!("discover-aws: {why}")),
        other => Err(TextError::unknown_provider(other).to_string()),
    }
}

fn var(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|v| !v.is_empty())
}

/// Where EC2's metadata service is to be asked.
///
/// # Errors
/// The operator has switched it off, or named a place that there is not.
pub fn metadata_service() -> Result<SocketAddr, String> {
    if var("AWS_EC2_METADATA_DISABLED").is_some_and(|v| v.eq_ignore_ascii_case("true")) {
        return Err("AWS_EC2_METADATA_DISABLED is set".to_owned());
    }
    match var("AWS_EC2_METADATA_SERVICE_ENDPOINT") {
        Some(url) => socket(&url)
            .ok_or_else(|| format!("AWS_EC2_METADATA_SERVICE_ENDPOINT: {url} is no address")),
        None => lictor_docker::metadata::EC2
            .parse()
            .map_err(|_| "no address".to_owned()),
    }
}

/// What tells that this is a machine of AWS, or a task.
#[derive(Clone, Debug, Default)]
pub struct Signs {
    /// Where EC2's metadata service is, if there should be one.
    pub ec2: Option<SocketAddr>,
    /// The URL of the task's own metadata.
    pub task: Option<String>,
}

/// Looks for signs of AWS. A machine that has none asks nobody.
pub fn signs() -> Signs {
    let task = var("ECS_CONTAINER_METADATA_URI_V4");
    let amazon = ["sys_vendor", "bios_vendor"].iter().any(|file| {
        std::fs::read_to_string(Path::new("/sys/class/dmi/id").join(file))
            .is_ok_and(|text| text.starts_with("Amazon EC2"))
    });
    let expected = var("AWS_EC2_METADATA_SERVICE_ENDPOINT").is_some() || amazon || task.is_some();
    Signs {
        ec2: metadata_service().ok().filter(|_| expected),
        task,
    }
}

/// The socket of an `http://host[:port]/...` URL.
pub fn socket(url: &str) -> Option<SocketAddr> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let at = rest.split('/').next()?;
    if let Ok(at) = at.parse() {
        return Some(at);
    }
    match at.parse::<IpAddr>() {
        Ok(ip) => Some(SocketAddr::new(ip, 80)),
        Err(_) if at.contains(':') => at.to_socket_addrs().ok()?.next(),
        Err(_) => (at, 80).to_socket_addrs().ok()?.next(),
    }
}

/// The part of a URL that follows its host.
pub fn path_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.find('/').map_or("/", |at| &rest[at..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_have_sockets_and_paths() {
        for (url, at, path) in [
            ("http://169.254.169.254", "169.254.169.254:80", "/"),
            ("http://127.0.0.1:1338/x", "127.0.0.1:1338", "/x"),
            ("http://[fd00:ec2::254]:80", "[fd00:ec2::254]:80", "/"),
        ] {
            assert_eq!(socket(url).unwrap().to_string(), at);
            assert_eq!(path_of(url), path);
        }
    }

    fn join(text: &str) -> RetryJoin {
        RetryJoin {
            addresses: vec![text.to_owned()],
            interval: lictor_wire::GoDuration::from_secs(30),
            max: 0,
        }
    }

    #[test]
    fn other_clouds_are_refused_by_name() {
        assert_eq!(
            supported(&join("provider=gce tag_value=x")),
            Err("provider=gce".to_owned())
        );
        for good in ["provider=aws tag_key=a", "10.0.0.1", "provider=nonsense"] {
            assert_eq!(supported(&join(good)), Ok(()), "{good}");
        }
    }

    #[tokio::test]
    async fn what_is_no_cloud_is_told() {
        for (text, wanted) in [
            ("provider=nonsense", "discover: unknown provider nonsense"),
            ("provider=", "discover: provider: missing value"),
            (
                "provider=aws region=eu/../x tag_key=a",
                "discover-aws: \"eu/../x\" is no region of AWS",
            ),
        ] {
            assert_eq!(discover(text).await.unwrap_err(), wanted);
        }
        assert_eq!(
            addresses(
                &[
                    "a".into(),
                    "provider=nonsense".into(),
                    "a".into(),
                    "b".into()
                ],
                "LAN"
            )
            .await,
            ["a", "b"]
        );
    }
}
