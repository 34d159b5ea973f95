//! The flags of every command that asks an agent.

use clap::ArgAction;
use lictor_client::{ClientConfig, QueryOptions};
use std::path::PathBuf;

/// The heading that these flags stand under.
pub(crate) const HEADING: &str = "HTTP API Options";

/// Where the agent is and how to speak to it.
#[derive(clap::Args, Clone, Debug, Default)]
#[command(next_help_heading = HEADING)]
pub(crate) struct HttpFlags {
    /// The address of the agent's HTTP API: host:port, http://host:port, https://host:port or
    /// unix:///path. CONSUL_HTTP_ADDR says the same; without either it is 127.0.0.1:8500.
    #[arg(long, value_name = "address")]
    http_addr: Option<String>,
    /// The ACL token to show. CONSUL_HTTP_TOKEN says the same; without either the agent uses its
    /// own.
    #[arg(long)]
    token: Option<String>,
    /// A file that holds the ACL token. CONSUL_HTTP_TOKEN_FILE says the same.
    #[arg(long)]
    token_file: Option<PathBuf>,
    /// A PEM file with the authorities to trust in HTTPS. CONSUL_CACERT says the same.
    #[arg(long)]
    ca_file: Option<PathBuf>,
    /// A directory of such files. CONSUL_CAPATH says the same.
    #[arg(long)]
    ca_path: Option<PathBuf>,
    /// A PEM file with the certificate to show where the agent asks for one. CONSUL_CLIENT_CERT
    /// says the same.
    #[arg(long)]
    client_cert: Option<PathBuf>,
    /// The PEM file with that certificate's key. CONSUL_CLIENT_KEY says the same.
    #[arg(long)]
    client_key: Option<PathBuf>,
    /// The name to expect in the agent's certificate. CONSUL_TLS_SERVER_NAME says the same.
    #[arg(long)]
    tls_server_name: Option<String>,
}

impl HttpFlags {
    /// `config` with what the flags say put over it. A token given by a flag wins over token
    /// files of the environment.
    pub(crate) fn over(&self, mut config: ClientConfig) -> ClientConfig {
        if let Some(address) = &self.http_addr {
            config.address.clone_from(address);
        }
        if let Some(file) = &self.token_file {
            config.token_file = Some(file.clone());
        }
        if let Some(token) = self.token.as_ref().filter(|t| !t.is_empty()) {
            config.token = Some(token.clone());
            config.token_file = None;
        }
        let tls = &mut config.tls;
        for (flag, place) in [
            (&self.ca_file, &mut tls.ca_file),
            (&self.ca_path, &mut tls.ca_path),
            (&self.client_cert, &mut tls.client_cert),
            (&self.client_key, &mut tls.client_key),
        ] {
            if flag.is_some() {
                place.clone_from(flag);
            }
        }
        if self.tls_server_name.is_some() {
            tls.server_name.clone_from(&self.tls_server_name);
        }
        config
    }
}

/// Which servers answer.
#[derive(clap::Args, Clone, Debug, Default)]
#[command(next_help_heading = HEADING)]
pub(crate) struct ServerFlags {
    /// The datacenter to ask; the agent's own unless given.
    #[arg(long)]
    pub(crate) datacenter: Option<String>,
    /// Let any server answer, not only the leader: faster, and a little behind at times. Has no
    /// effect on writes.
    #[arg(long, action = ArgAction::Set, default_value_t = false)]
    pub(crate) stale: bool,
}

/// The flags of commands that read from or write to the cluster.
#[derive(clap::Args, Clone, Debug, Default)]
pub(crate) struct ApiFlags {
    #[command(flatten)]
    http: HttpFlags,
    #[command(flatten)]
    pub(crate) server: ServerFlags,
}

impl ApiFlags {
    /// A client for the flags, the datacenter included.
    pub(crate) fn client(&self, cx: &mut crate::cx::Cx<'_>) -> Result<lictor_client::Client, i32> {
        let client = cx.client(&self.http)?;
        match self.server.datacenter.as_deref() {
            None | Some("") => Ok(client),
            Some(datacenter) => {
                let config = ClientConfig {
                    datacenter: datacenter.to_owned(),
                    ..client.config().clone()
                };
                lictor_client::Client::new(config)
                    .map_err(|err| cx.fail("Error connecting to Consul agent", &err))
            }
        }
    }

    /// The options of a read.
    pub(crate) fn options(&self) -> QueryOptions {
        QueryOptions {
            stale: self.server.stale,
            ..QueryOptions::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_win_over_the_environment() {
        let env = ClientConfig {
            token: Some("env".into()),
            token_file: Some("/env".into()),
            ..ClientConfig::at("env:1")
        };
        let flags = HttpFlags {
            token: Some("flag".into()),
            http_addr: Some("flag:2".into()),
            ..HttpFlags::default()
        };
        let both = flags.over(env.clone());
        assert_eq!(
            (
                both.address.as_str(),
                both.token.as_deref(),
                both.token_file
            ),
            ("flag:2", Some("flag"), None)
        );
        let same = HttpFlags::default().over(env);
        assert_eq!(
            (same.token.as_deref(), same.token_file),
            (Some("env"), Some("/env".into()))
        );
    }
}
