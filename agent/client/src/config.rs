//! Where the agent is and how to speak to it.

use crate::error::Error;
use std::path::PathBuf;
use std::time::Duration;

/// The address that is asked when nobody says otherwise.
pub const DEFAULT_ADDRESS: &str = "127.0.0.1:8500";

/// A user name and password for HTTP basic authentication.
#[derive(Clone, PartialEq, Eq)]
pub struct BasicAuth {
    /// The user.
    pub user: String,
    /// The password; may be empty.
    pub password: String,
}

impl std::fmt::Debug for BasicAuth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BasicAuth")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// How TLS connections are made. Files are read when the client is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsOptions {
    /// A PEM file with the authorities to trust; without it and `ca_path` the system's are used.
    pub ca_file: Option<PathBuf>,
    /// A directory of such files.
    pub ca_path: Option<PathBuf>,
    /// A PEM file with this client's certificate and the chain above it.
    pub client_cert: Option<PathBuf>,
    /// The PEM file with its key.
    pub client_key: Option<PathBuf>,
    /// The name expected in the agent's certificate, where it is not the host of the address.
    pub server_name: Option<String>,
    /// Whether the agent's certificate is checked at all.
    pub verify: bool,
}

impl Default for TlsOptions {
    fn default() -> TlsOptions {
        TlsOptions {
            ca_file: None,
            ca_path: None,
            client_cert: None,
            client_key: None,
            server_name: None,
            verify: true,
        }
    }
}

/// Where the agent is and how to speak to it.
#[derive(Clone)]
pub struct ClientConfig {
    /// `host:port`, `http://host:port`, `https://host:port` or `unix:///path`.
    pub address: String,
    /// Whether an address without a scheme, or with `http://`, is spoken to by TLS all the same.
    pub ssl: bool,
    /// The ACL token.
    pub token: Option<String>,
    /// A file that holds the ACL token; wins over `token`.
    pub token_file: Option<PathBuf>,
    /// HTTP basic authentication, for proxies in front of an agent.
    pub auth: Option<BasicAuth>,
    /// TLS.
    pub tls: TlsOptions,
    /// The datacenter that requests are for; empty for the agent's own.
    pub datacenter: String,
    /// The limit of making a connection, TLS included.
    pub connect_timeout: Duration,
    /// The limit of one exchange, from the request's first byte to the answer's last; `None` waits
    /// as long as the agent does, as blocking queries need.
    pub timeout: Option<Duration>,
    /// The largest answer in bytes that is taken in; more is an error.
    pub max_answer: usize,
}

impl std::fmt::Debug for ClientConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The token stays out of logs.
        f.debug_struct("ClientConfig")
            .field("address", &self.address)
            .field("ssl", &self.ssl)
            .field("token", &self.token.as_ref().map(|_| "..."))
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

impl Default for ClientConfig {
    fn default() -> ClientConfig {
        ClientConfig {
            address: DEFAULT_ADDRESS.to_owned(),
            ssl: false,
            token: None,
            token_file: None,
            auth: None,
            tls: TlsOptions::default(),
            datacenter: String::new(),
            connect_timeout: Duration::from_secs(30),
            timeout: None,
            max_answer: 512 << 20,
        }
    }
}

impl ClientConfig {
    /// The default configuration for an agent at `address`.
    pub fn at(address: impl Into<String>) -> ClientConfig {
        ClientConfig {
            address: address.into(),
            ..ClientConfig::default()
        }
    }

    /// Reads Consul's variables through `lookup`. `LICTOR_HTTP_ADDR` and so on mean the same as
    /// their `CONSUL_` forms and win over them; an empty variable counts as absent.
    ///
    /// # Errors
    /// A switch that is neither true nor false, by the name of its variable.
    pub fn from_env(lookup: impl Fn(&str) -> Option<String>) -> Result<ClientConfig, Error> {
        let find = |name: &str| {
            ["LICTOR_", "CONSUL_"].into_iter().find_map(|prefix| {
                let full = format!("{prefix}{name}");
                lookup(&full).filter(|v| !v.is_empty()).map(|v| (full, v))
            })
        };
        let text = |name: &str| find(name).map(|(_, v)| v);
        let path = |name: &str| text(name).map(PathBuf::from);
        let switch = |name: &str| match find(name) {
            None => Ok(None),
            Some((full, v)) => parse_bool(&v)
                .map(Some)
                .ok_or_else(|| Error::Config(format!("{full} must be true or false, not {v:?}"))),
        };
        let mut config = ClientConfig::default();
        if let Some(address) = text("HTTP_ADDR") {
            config.address = address;
        }
        config.token = text("HTTP_TOKEN");
        config.token_file = path("HTTP_TOKEN_FILE");
        config.auth = text("HTTP_AUTH").map(|auth| {
            let (user, password) = auth.split_once(':').unwrap_or((&auth, ""));
            BasicAuth {
                user: user.to_owned(),
                password: password.to_owned(),
            }
        });
        config.ssl = switch("HTTP_SSL")?.unwrap_or(false);
        config.tls.verify = switch("HTTP_SSL_VERIFY")?.unwrap_or(true);
        config.tls.ca_file = path("CACERT");
        config.tls.ca_path = path("CAPATH");
        config.tls.client_cert = path("CLIENT_CERT");
        config.tls.client_key = path("CLIENT_KEY");
        config.tls.server_name = text("TLS_SERVER_NAME");
        Ok(config)
    }

    /// [`ClientConfig::from_env`] with this process's environment.
    ///
    /// # Errors
    /// As there.
    pub fn from_process_env() -> Result<ClientConfig, Error> {
        ClientConfig::from_env(|name| std::env::var(name).ok())
    }

    /// The address, understood.
    ///
    /// # Errors
    /// An unknown scheme, or a port that is no port.
    pub fn endpoint(&self) -> Result<Endpoint, Error> {
        Endpoint::parse(&self.address, self.ssl)
    }
}

/// An address, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A host and port.
    Tcp {
        /// Whether TLS is spoken.
        tls: bool,
        /// A name or an IP address, without brackets.
        host: String,
        /// The port.
        port: u16,
        /// The host and port as given, for the `Host` header and for messages.
        authority: String,
        /// A path in front of `/v1`, without a slash at its end; for proxies.
        prefix: String,
    },
    /// A unix socket.
    Unix(PathBuf),
}

impl Endpoint {
    /// Reads an address in one of Consul's forms.
    ///
    /// # Errors
    /// An unknown scheme, an empty host, or a port that is no port.
    pub fn parse(address: &str, ssl: bool) -> Result<Endpoint, Error> {
        let bad = |why: &str| Error::Config(format!("invalid address {address:?}: {why}"));
        let (scheme, rest) = match address.split_once("://") {
            Some((scheme, rest)) => (scheme.to_ascii_lowercase(), rest),
            None => (String::new(), address),
        };
        let tls = match scheme.as_str() {
            "unix" => {
                return if rest.is_empty() {
                    Err(bad("no path"))
                } else {
                    Ok(Endpoint::Unix(PathBuf::from(rest)))
                };
            }
            // TLS asked for by CONSUL_HTTP_SSL is not undone by a scheme.
            "" | "http" | "tcp" => ssl,
            "https" => true,
            other => return Err(bad(&format!("unknown protocol scheme {other:?}"))),
        };
        let (authority, prefix) = match rest.find('/') {
            Some(at) => (&rest[..at], rest[at..].trim_end_matches('/')),
            None => (rest, ""),
        };
        let default_port = if tls { 443 } else { 80 };
        let (host, port) = split_host_port(authority, default_port).map_err(|why| bad(&why))?;
        // "host" alone and ":8500" are both allowed; the latter is this machine.
        let host = if host.is_empty() { "127.0.0.1" } else { host };
        Ok(Endpoint::Tcp {
            tls,
            host: host.to_owned(),
            port,
            authority: authority.to_owned(),
            prefix: prefix.to_owned(),
        })
    }

    /// The first part of every URL: scheme, authority and prefix.
    pub fn base_url(&self) -> String {
        match self {
            Endpoint::Tcp {
                tls,
                authority,
                prefix,
                ..
            } => {
                format!(
                    "{}://{authority}{prefix}",
                    if *tls { "https" } else { "http" }
                )
            }
            Endpoint::Unix(_) => "http://localhost".to_owned(),
        }
    }
}

fn split_host_port(authority: &str, default: u16) -> Result<(&str, u16), String> {
    let port = |text: &str| {
        text.parse::<u16>()
            .map_err(|_| format!("invalid port {text:?}"))
    };
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, after) = rest.split_once(']').ok_or("missing ']' in address")?;
        return match after.strip_prefix(':') {
            Some(text) => Ok((host, port(text)?)),
            None if after.is_empty() => Ok((host, default)),
            None => Err("unexpected text after ']'".to_owned()),
        };
    }
    match authority.rsplit_once(':') {
        Some((host, _)) if host.contains(':') => Err("too many colons in address".to_owned()),
        Some((host, text)) => Ok((host, port(text)?)),
        None if authority.is_empty() => Err("no host".to_owned()),
        None => Ok((authority, default)),
    }
}

/// Go's `strconv.ParseBool`.
pub fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env<'a>(vars: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<String> + 'a {
        move |name| {
            vars.iter()
                .find(|(n, _)| *n == name)
                .map(|(_, v)| (*v).to_owned())
        }
    }

    fn tcp(address: &str, ssl: bool) -> (bool, String, u16, String) {
        match Endpoint::parse(address, ssl).unwrap() {
            Endpoint::Tcp {
                tls,
                host,
                port,
                prefix,
                ..
            } => (tls, host, port, prefix),
            Endpoint::Unix(path) => panic!("{path:?}"),
        }
    }

    #[test]
    fn every_form_of_address_is_read() {
        let t =
            |tls, host: &str, port, prefix: &str| (tls, host.to_owned(), port, prefix.to_owned());
        assert_eq!(
            tcp("127.0.0.1:8500", false),
            t(false, "127.0.0.1", 8500, "")
        );
        assert_eq!(
            tcp("http://a.example:1", false),
            t(false, "a.example", 1, "")
        );
        assert_eq!(
            tcp("https://a.example", false),
            t(true, "a.example", 443, "")
        );
        assert_eq!(tcp("a.example", false), t(false, "a.example", 80, ""));
        assert_eq!(tcp("http://a:1/consul/", true), t(true, "a", 1, "/consul"));
        assert_eq!(tcp("[::1]:8500", false), t(false, "::1", 8500, ""));
        assert_eq!(tcp(":8500", false), t(false, "127.0.0.1", 8500, ""));
        assert_eq!(
            Endpoint::parse("unix:///run/a.sock", false).unwrap(),
            Endpoint::Unix("/run/a.sock".into())
        );
        for bad in [
            "ftp://a", "a:99999", "::1:8500", "unix://", "http://", "[::1",
        ] {
            assert!(Endpoint::parse(bad, false).is_err(), "{bad}");
        }
    }

    #[test]
    fn our_variables_win_over_consuls() {
        let c = ClientConfig::from_env(env(&[
            ("CONSUL_HTTP_ADDR", "a:1"),
            ("LICTOR_HTTP_ADDR", "b:2"),
            ("CONSUL_HTTP_TOKEN", "t"),
            ("LICTOR_HTTP_TOKEN", ""),
            ("CONSUL_HTTP_AUTH", "u:p:q"),
            ("CONSUL_HTTP_SSL_VERIFY", "false"),
            ("CONSUL_CACERT", "/ca.pem"),
            ("CONSUL_TLS_SERVER_NAME", "server.dc1.consul"),
        ]))
        .unwrap();
        assert_eq!((c.address.as_str(), c.token.as_deref()), ("b:2", Some("t")));
        assert_eq!(
            c.auth,
            Some(BasicAuth {
                user: "u".into(),
                password: "p:q".into()
            })
        );
        assert_eq!((c.ssl, c.tls.verify), (false, false));
        assert_eq!(
            c.tls.ca_file.as_deref(),
            Some(std::path::Path::new("/ca.pem"))
        );
        assert_eq!(c.tls.server_name.as_deref(), Some("server.dc1.consul"));
    }

    #[test]
    fn an_empty_environment_is_the_default() {
        let c = ClientConfig::from_env(|_| None).unwrap();
        assert_eq!(
            (c.address.as_str(), c.token, c.ssl),
            ("127.0.0.1:8500", None, false)
        );
    }

    #[test]
    fn a_switch_that_is_none_is_named() {
        let err = ClientConfig::from_env(env(&[("CONSUL_HTTP_SSL", "maybe")])).unwrap_err();
        assert_eq!(
            err.to_string(),
            "CONSUL_HTTP_SSL must be true or false, not \"maybe\""
        );
    }

    #[test]
    fn secrets_stay_out_of_debug_output() {
        let c = ClientConfig {
            token: Some("s3cret".into()),
            ..ClientConfig::default()
        };
        assert!(!format!("{c:?}").contains("s3cret"));
    }
}
